"""proxy_pass with variables: the URL is made for each request, its host is an upstream's name or an address.

A server that is an address and nothing else lives as long as the request that named it: no pool, no health, no memory of it.
Host names that are no upstream would need a resolver: 502, with nginx's text.
"""


cdef bint proxy_pass_url(Request* r) noexcept nogil:
    """Evaluate r.loc.proxy_url into r.ups, r.proxy_host and r.proxy_uri. False: the request was answered."""
    cdef Str url = var_text(r, r.loc.proxy_url)
    cdef Str host
    cdef uint32_t at = 0
    cdef char* low
    cdef void* found
    cdef uint32_t scheme = 8 if url.n >= 8 and strncasecmp(url.p, b"https://", 8) == 0 else 7
    if scheme == 7 and (url.n < 7 or strncasecmp(url.p, b"http://", 7) != 0):
        proxy_pass_log_quoted(r, b"invalid URL prefix in", url)
        reply_status(r, 500)
        return False
    if scheme == 7:
        r.up_tls = NULL
    host.p = url.p + scheme
    host.n = url.n - scheme
    if host.n >= 5 and strncasecmp(host.p, b"unix:", 5) == 0:
        at = 5
        while at < host.n and host.p[at] != c":":
            at += 1
        proxy_pass_uri(r, host.p + at + 1, host.n - at - 1 if at < host.n else 0)
    else:
        while at < host.n and host.p[at] != c"/" and host.p[at] != c"?":
            at += 1
        proxy_pass_uri(r, host.p + at, host.n - at)
    host.n = at
    low = <char*> request_memory(r, host.n + 1)
    if low == NULL or not proxy_pass_no_line_end(url):
        reply_status(r, 500)
        return False
    dict_lower_into(low, host.p, host.n)
    r.proxy_host = host
    found = dict_find(&loop.ups_names, low, host.n)
    if found != NULL:
        r.ups = <Upstream*> found
        return True
    if host.n == 0:
        proxy_pass_log_quoted(r, b"no host in upstream", url)
        reply_status(r, 500)
        return False
    if proxy_pass_to(r, host, 443 if r.up_tls != NULL else 80):
        return True
    reply_status(r, r.status)
    return False


cdef bint proxy_pass_no_line_end(Str s) noexcept nogil:
    """What a client sent may be in it: nothing that ends a line, a word of the request line, or a C string."""
    cdef uint32_t i
    for i in range(s.n):
        if <unsigned char> s.p[i] <= 32 or s.p[i] == 127:
            return False
    return True


cdef void proxy_pass_uri(Request* r, char* p, uint32_t n) noexcept nogil:
    """The URI part: none, or one that begins with a slash."""
    cdef char* q
    r.proxy_uri.p = NULL
    r.proxy_uri.n = 0
    if n == 0:
        return
    if p[0] == c"?":
        q = <char*> request_memory(r, n + 1)
        if q == NULL:
            return
        q[0] = c"/"
        memcpy(q + 1, p, n)
        p = q
        n += 1
    r.proxy_uri.p = p
    r.proxy_uri.n = n


cdef bint proxy_pass_to(Request* r, Str host, uint32_t port) noexcept nogil:
    """A peer for an address literal; `port`: its default, 0: it must have one. False: r.status says why not."""
    cdef char sa[128]
    cdef bint bare = host.n == 0 or host.p[host.n - 1] == c"]" or memchr(host.p, c":", host.n) == NULL
    cdef uint32_t n = proxy_pass_sockaddr(sa, host, port)
    cdef Peer* p
    if n == 0:
        r.status = 502 if port else 500
        proxy_pass_log_quoted(r, b"no port in upstream" if bare and not port else b"no resolver defined to resolve", host)
        return False
    p = <Peer*> calloc(1, sizeof(Peer))
    if p != NULL:
        p.sa = <char*> malloc(n)
        p.name.p = <char*> malloc(host.n + 4)
    if p == NULL or p.sa == NULL or p.name.p == NULL:
        if p != NULL:
            peer_free(p)
        r.status = 500
        return False
    memcpy(p.sa, sa, n)
    p.sa_len = n
    p.family = (<sockaddr*> sa).sa_family
    memcpy(p.name.p, host.p, host.n)
    p.name.n = host.n
    if bare and port == 80:
        memcpy(p.name.p + host.n, b":80", 3)
        p.name.n += 3
    elif bare:
        memcpy(p.name.p + host.n, b":443", 4)
        p.name.n += 4
    p.ups = &loop.direct
    p.stats = loop.direct.rest
    p.removed = 1                       # in no table: it goes with its last user
    p.single = 1
    p.heap = NO_HEAP
    r.ups = &loop.direct
    r.direct = p
    return True


cdef uint32_t proxy_pass_sockaddr(char* sa, Str host, uint32_t port) noexcept nogil:
    """The sockaddr of 1.2.3.4[:PORT], [ADDR][:PORT] or unix:PATH; its length, or 0. `port`: the default, 0: none."""
    cdef char text[64]
    cdef uint32_t n = host.n, i
    cdef sockaddr_in* v4 = <sockaddr_in*> sa
    cdef sockaddr_in6* v6 = <sockaddr_in6*> sa
    cdef sockaddr_un* un = <sockaddr_un*> sa
    memset(sa, 0, 128)
    if n > 5 and strncasecmp(host.p, b"unix:", 5) == 0:
        if n - 5 >= sizeof(un.sun_path):
            return 0
        un.sun_family = AF_UNIX
        memcpy(un.sun_path, host.p + 5, n - 5)
        return sizeof(sockaddr_un)
    i = n
    while i and c"0" <= host.p[i - 1] <= c"9":
        i -= 1
    if i and i < n and n - i <= 5 and host.p[i - 1] == c":" and memchr(host.p, c":", i - 1) == NULL or (
            i > 1 and i < n and n - i <= 5 and host.p[i - 1] == c":" and host.p[i - 2] == c"]"):
        port = 0
        n = i - 1
        while i < host.n:
            port = port * 10 + <uint32_t> (host.p[i] - 48)
            i += 1
    if n == 0 or n >= sizeof(text) or port == 0 or port > 65535:
        return 0
    if host.p[0] == c"[" and host.p[n - 1] == c"]":
        memcpy(text, host.p + 1, n - 2)
        text[n - 2] = 0
        v6.sin6_family = AF_INET6
        v6.sin6_port = htons(<uint16_t> port)
        return sizeof(sockaddr_in6) if inet_pton(AF_INET6, text, &v6.sin6_addr) == 1 else 0
    memcpy(text, host.p, n)
    text[n] = 0
    v4.sin_family = AF_INET
    v4.sin_port = htons(<uint16_t> port)
    return sizeof(sockaddr_in) if inet_pton(AF_INET, text, &v4.sin_addr) == 1 else 0


cdef Peer* proxy_pass_take(Request* r) noexcept nogil:
    """The server of this request, once."""
    cdef Peer* p = r.direct
    r.direct = NULL
    return p


cdef void proxy_pass_drop(Request* r) noexcept nogil:
    """The request ends, or begins again, before it has taken its server."""
    if r.direct != NULL:
        peer_free(r.direct)
        r.direct = NULL


cdef void proxy_pass_log_quoted(Request* r, const char* text, Str what) noexcept nogil:
    """TEXT "WHAT" """
    cdef Out o
    if not error_begin(&o, error_logs_of(r), LOG_ERR):
        return
    error_connection(&o, r.client)
    out_text(&o, text)
    out_text(&o, b" \"")
    out_escaped(&o, what.p, what.n if what.n < 512 else 512)
    out_char(&o, 34)
    error_context(&o, r)
    error_end(&o, error_logs_of(r), LOG_ERR)
