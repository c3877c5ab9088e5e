"""Messages of the error log with what they are about: a connection, an exchange, a refused head. Texts are nginx's.

    log_request: TEXT (ERRNO) while PHASE, client: C, server: S, request: "LINE", upstream: "U", host: "H", referrer: "R"

Where lb knows more (the rule that was broken, the byte), it stands behind nginx's own words.
"""


cdef void error_connection(Out* o, Conn* c) noexcept nogil:
    out_char(o, 42)
    out_uint(o, c.number)
    out_char(o, 32)


cdef void error_client(Out* o, Conn* c) noexcept nogil:
    out_put(o, b", client: ", 10)
    sockaddr_write(o, c.addr, c.addr_len)


cdef void error_quoted(Out* o, const char* name, const char* p, uint32_t n) noexcept nogil:
    """, NAME: "VALUE": what a client sent, at most 1 KiB of it."""
    out_put(o, b", ", 2)
    out_text(o, name)
    out_put(o, b": \"", 3)
    out_escaped(o, p, n if n < 1024 else 1024)
    out_char(o, 34)


# ---- a client without a request

cdef void log_client(int level, Conn* c, const char* text) noexcept nogil:
    """TEXT, client: C, server: ADDRESS: before a request no server is chosen, and nginx tells where it listens."""
    log_client_of(level, c, text, c.lst.addr)


cdef void log_client_of(int level, Conn* c, const char* text, Str server) noexcept nogil:
    cdef Out o
    if not error_begin(&o, error_logs_of_client(c), level):
        return
    error_connection(&o, c)
    out_text(&o, text)
    error_client(&o, c)
    out_put(&o, b", server: ", 10)
    out_str(&o, server)
    error_end(&o, error_logs_of_client(c), level)


cdef void log_handshake(Conn* c) noexcept nogil:
    """The handshake of a client has failed: WHY while SSL handshaking, client: C, server: ADDRESS"""
    cdef Out o
    cdef char text[512]
    cdef int level = LOG_INFO
    out_init(&o, text, sizeof(text) - 1)
    if c.io.explain != NULL:
        level = c.io.explain(c, &o)
        out_text(&o, b" while SSL handshaking")
    else:
        out_text(&o, b"peer closed connection in handshake")
    o.p[0] = 0
    log_client(level, c, text)


cdef void log_handshake_late(Conn* c) noexcept nogil:
    log_client(LOG_INFO, c, b"client timed out (110: Connection timed out) while SSL handshaking")


cdef void log_idle_end(Conn* c) noexcept nogil:
    """client C closed keepalive connection"""
    cdef Out o
    if not error_begin(&o, error_logs_of_client(c), LOG_INFO):
        return
    error_connection(&o, c)
    out_put(&o, b"client ", 7)
    sockaddr_write(&o, c.addr, c.addr_len)
    out_text(&o, b" closed keepalive connection")
    error_end(&o, error_logs_of_client(c), LOG_INFO)


# ---- an exchange

cdef void error_context(Out* o, Request* r) noexcept nogil:
    cdef Field* referrer
    error_client(o, r.client)
    out_put(o, b", server: ", 10)
    if r.flags & RQ_TCP:
        out_str(o, r.client.lst.addr)
        error_session(o, r)
        return
    out_str(o, r.srv.name)
    error_request_line(o, r)
    if r.ups != NULL and r.up_first:    # a server was looked for
        error_upstream(o, r)
    if r.h.authority_len:
        error_quoted(o, b"host", r.head + r.h.authority, r.h.authority_len)
    referrer = var_find_field(r, F_REFERER) if r.h.nfields else NULL
    if referrer != NULL:
        error_quoted(o, b"referrer", r.head + referrer.value, referrer.value_len)


cdef void error_upstream(Out* o, Request* r) noexcept nogil:
    """, upstream: "http://127.0.0.1:81/what/it/is/asked/for" """
    cdef char target[1024]
    cdef Out t
    out_init(&t, target, sizeof(target))
    h1_target(&t, r)
    out_text(o, b", upstream: \"https://" if r.up_tls != NULL else b", upstream: \"http://")
    out_str(o, r.peer.name if r.peer != NULL else r.ups.name)
    if r.peer != NULL and r.peer.family == AF_UNIX:
        out_char(o, 58)
    out_escaped(o, target, <uint32_t> (t.p - target))
    out_char(o, 34)


cdef void error_session(Out* o, Request* r) noexcept nogil:
    """, upstream: "127.0.0.1:81", bytes from/to client:5/4, bytes from/to upstream:4/5"""
    if r.up_first == 0:                 # no server was looked for
        return
    out_put(o, b", upstream: \"", 13)
    out_str(o, r.peer.name if r.peer != NULL else r.ups.name)
    out_char(o, 34)
    error_bytes(o, r)


cdef void error_bytes(Out* o, Request* r) noexcept nogil:
    out_text(o, b", bytes from/to client:")
    out_uint(o, r.received)
    out_char(o, 47)
    out_uint(o, var_bytes_sent(r))
    out_text(o, b", bytes from/to upstream:")
    out_uint(o, r.up.got - r.up_got if r.up != NULL else r.up_received)
    out_char(o, 47)
    out_uint(o, r.up.put - r.up_put if r.up != NULL else r.up_sent)


cdef void error_request_line(Out* o, Request* r) noexcept nogil:
    cdef uint32_t n = 0
    if r.head != NULL:
        while n < 1024 and r.head[r.h.start + n] not in (0, 10, 13):
            n += 1
    error_quoted(o, b"request", r.head + r.h.start, n)


cdef void log_request(int level, Request* r, const char* text, int e, const char* phase) noexcept nogil:
    """nginx's line with the whole context of an exchange."""
    cdef Out o
    if not error_begin(&o, error_logs_of(r), level):
        return
    error_connection(&o, r.client)
    out_text(&o, text)
    error_number(&o, e)
    if phase[0]:
        out_char(&o, 32)
        out_text(&o, phase)
    error_context(&o, r)
    error_end(&o, error_logs_of(r), level)


cdef void log_body_large(Request* r, uint64_t before, uint64_t n) noexcept nogil:
    """A body beyond client_max_body_size: its Content-Length, or what came and what came now."""
    cdef Out o
    if not error_begin(&o, error_logs_of(r), LOG_ERR):
        return
    error_connection(&o, r.client)
    if r.h.content_length > 0:
        out_text(&o, b"client intended to send too large body: ")
        out_uint(&o, <uint64_t> r.h.content_length)
    else:
        out_text(&o, b"client intended to send too large chunked body: ")
        out_uint(&o, before)
        out_char(&o, 43)
        out_uint(&o, n)
    out_text(&o, b" bytes")
    error_context(&o, r)
    error_end(&o, error_logs_of(r), LOG_ERR)


# ---- its server

cdef const char* error_try_phase(Request* r) noexcept nogil:
    """What the request does with its server."""
    if r.up != NULL and r.up.state == S_HANDSHAKE and r.up.io == &tls:
        return b"while SSL handshaking to upstream"
    if r.up == NULL or r.up.state == S_CONNECT or r.up.state == S_HANDSHAKE or r.flags & RQ_TCP:
        return b"while connecting to upstream"
    return b"while reading upstream" if r.phase >= PH_READING_BODY else b"while reading response header from upstream"


cdef void log_try(Request* r, const char* text, int e, const char* phase) noexcept nogil:
    log_request(LOG_ERR, r, text, e, phase)


cdef void log_connect(Request* r, int e) noexcept nogil:
    """connect() said no at once: [crit] where it is not the other side that refuses, as nginx."""
    cdef Out o
    cdef bint far = e in (ECONNREFUSED, ECONNRESET, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH, EAGAIN)
    cdef int level = LOG_ERR if far else LOG_CRIT
    if not error_begin(&o, error_logs_of(r), level):
        return
    error_connection(&o, r.client)
    out_text(&o, b"connect() to ")
    out_str(&o, r.peer.name)
    out_text(&o, b" failed")
    error_number(&o, e)
    out_text(&o, b" while connecting to upstream")
    error_context(&o, r)
    error_end(&o, error_logs_of(r), level)


# ---- heads that are refused

cdef void log_refused(Request* r, Head* h) noexcept nogil:
    """client sent invalid request: bare LF at byte 41 while reading client request line (http-strictness rule 11)"""
    cdef Out o
    if not error_begin(&o, error_logs_of(r), LOG_INFO):
        return
    error_connection(&o, r.client)
    if h.error == 408:
        out_text(&o, b"client timed out")
        error_number(&o, ETIMEDOUT)
    elif h.rule == 0:
        out_text(&o, b"client sent too long header line or too many headers")
    else:
        out_text(&o, b"client sent ")
        out_text(&o, rule_refusal_text(h.rule, False))
        out_put(&o, b": ", 2)
        log_rule(&o, r.head, h)
    if h.rule and h.rule < R_NAME_EMPTY:
        out_text(&o, b" while reading client request line")
    else:
        out_text(&o, b" while reading client request headers")
    error_context(&o, r)
    error_end(&o, error_logs_of(r), LOG_INFO)


cdef void log_rule(Out* o, const char* head, Head* h) noexcept nogil:
    """bare CR in field value in "X" at byte 41"""
    out_text(o, rule_text(h.rule))
    if head != NULL and h.error_name_len and h.error_name_len < 128 and h.error_name + h.error_name_len <= 256:
        out_put(o, b" in \"", 5)
        out_escaped(o, head + h.error_name, h.error_name_len)
        out_char(o, 34)
    out_put(o, b" at byte ", 9)
    out_uint(o, h.error_at)


cdef void error_lenient(Out* o) noexcept nogil:
    out_text(o, b" (\"proxy_lenient on\" would take it)")


cdef void log_chunks(Request* r, uint8_t c) noexcept nogil:
    """upstream sent invalid chunked response: ... while reading upstream. `c`: the byte that was refused."""
    cdef Out o
    if not error_begin(&o, error_logs_of(r), LOG_ERR):
        return
    error_connection(&o, r.client)
    out_text(&o, b"upstream sent invalid chunked response: ")
    out_text(&o, rule_text(r.outb.ch.bad))
    if chunk_lenient_takes(&r.outb.ch, c):
        error_lenient(&o)
    out_text(&o, b" while reading upstream")
    error_context(&o, r)
    error_end(&o, error_logs_of(r), LOG_ERR)


cdef void log_invalid(Request* r, Head* h, bint big, bint lenient) noexcept nogil:
    """upstream sent invalid header: ... while reading response header from upstream. `lenient`: proxy_lenient would take it."""
    cdef Out o
    if not error_begin(&o, error_logs_of(r), LOG_ERR):
        return
    error_connection(&o, r.client)
    if big:
        out_text(&o, b"upstream sent too big header")
    elif h.status == 101:
        out_text(&o, b"upstream switched protocols though nobody asked")
    else:
        out_text(&o, b"upstream sent ")
        out_text(&o, rule_refusal_text(h.rule, True))
        out_put(&o, b": ", 2)
        log_rule(&o, NULL, h)
        if lenient:
            error_lenient(&o)
    out_text(&o, b" while reading response header from upstream")
    error_context(&o, r)
    error_end(&o, error_logs_of(r), LOG_ERR)


# ---- sessions

cdef void error_socket(Out* o, const char* sa, uint32_t n) noexcept nogil:
    """127.0.0.1:80, [::1]:80, unix:"""
    cdef bint six = n != 0 and (<sockaddr*> sa).sa_family == AF_INET6
    if six:
        out_char(o, 91)
    sockaddr_write(o, sa, n)
    if six:
        out_char(o, 93)
    if n and (<sockaddr*> sa).sa_family != AF_UNIX:
        out_char(o, 58)
        out_uint(o, sockaddr_port(sa, n))


cdef void log_connected(Request* r, Conn* c) noexcept nogil:
    """[info] client A connected to B; proxy A connected to B"""
    cdef Out o
    cdef char sa[128]
    cdef uint32_t n = sizeof(sa)
    if not error_begin(&o, error_logs_of(r), LOG_INFO):
        return
    if not c.io.local(c, sa, &n):
        n = 0
    error_connection(&o, r.client)
    if c == r.client:
        out_put(&o, b"client ", 7)
        error_socket(&o, c.addr, c.addr_len)
        out_text(&o, b" connected to ")
        out_str(&o, c.lst.addr)
    else:
        out_put(&o, b"proxy ", 6)
        error_socket(&o, sa, n)
        out_text(&o, b" connected to ")
        out_str(&o, c.peer.name)
    error_end(&o, error_logs_of(r), LOG_INFO)


cdef void log_session_end(Request* r) noexcept nogil:
    """[info] upstream disconnected, bytes from/to client:5/4, bytes from/to upstream:4/5; before it, what broke"""
    cdef Out o
    cdef bint up = r.up.flags & (CF_EOF | CF_FAILED) and not r.client.flags & CF_FAILED
    if r.up.flags & CF_FAILED:
        log_try(r, b"recv() failed", ECONNRESET, b"while proxying connection")
    elif r.client.flags & CF_FAILED:
        log_request(LOG_INFO, r, b"recv() failed", ECONNRESET, b"while proxying connection")
    if not error_begin(&o, error_logs_of(r), LOG_INFO):
        return
    error_connection(&o, r.client)
    out_text(&o, b"upstream disconnected" if up else b"client disconnected")
    error_bytes(&o, r)
    error_end(&o, error_logs_of(r), LOG_INFO)
