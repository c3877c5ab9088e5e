"""Certificates whose files are named by variables: loaded during the handshake, with the worker's rights, and kept for a while.

    ClientHello -> tls_hello (server by name) -> tls_lazy_take (OpenSSL's cert_cb): names of the files -> cache | files -> SSL

As nginx does it. What a handshake may cost is bounded: files of TLS_LAZY_MOST bytes, no waiting for a FIFO. The cache
(ssl_certificate_cache) is the worker's; an entry is read anew after `valid`, and goes after `inactive` without use or when `max`
others were used since.
"""

cdef enum:
    TLS_LAZY_MOST = 65536       # bytes of a file, and of a value with a certificate in it (data:)
    TLS_LAZY_CHAIN = 16         # certificates of a file
    TLS_LAZY_NAME = 4096

ctypedef struct TlsPair:        # a certificate with its chain and key; its OpenSSL objects are its own
    TlsPair* next               # in the cache: used before it
    TlsPair* prev
    uint64_t made               # ms, monotonic
    uint64_t used
    EVP_PKEY* key
    uint32_t n
    uint32_t name_len
    X509* chain[TLS_LAZY_CHAIN]
    char* name                  # of both files, one behind the other with a NUL between

ctypedef struct TlsPairs:       # the cache of one TlsConf in one worker, newest use first
    TlsPair* first
    TlsPair* last
    uint32_t n


cdef int tls_lazy_no_password(char* p, int n, int writing, void* password) noexcept nogil:
    return -1


cdef int tls_lazy_take(SSL* ssl, void* arg) noexcept nogil:
    """OpenSSL's cert_cb. 1: the certificates are set, or there is nothing to do; 0: the handshake fails, the log has said why."""
    cdef Tls* t = <Tls*> SSL_get_ex_data(ssl, 0)
    cdef Request* r
    cdef uint32_t i
    cdef int good = 1
    if t == NULL or t.conf.nlazy == 0:
        return 1
    if t.name.n and memchr(t.name.p, c"/", t.name.n) != NULL:
        log_client(LOG_ERR, t.conn,
                   b"cannot load certificate: the server name of the ClientHello has a slash, while SSL handshaking")
        return 0
    r = request_new(t.conn, 512)
    if r == NULL:
        return 0
    tls_lazy_request(r, t)
    SSL_certs_clear(ssl)
    for i in range(t.conf.nlazy):
        if good:
            good = tls_lazy_one(ssl, t, r, &t.conf.lazy[i])
    request_free(r)
    return good


cdef void tls_lazy_request(Request* r, Tls* t) noexcept nogil:
    """An exchange for the values: all that is known of it is its connection and its server."""
    if t.conn.lst.tcp:
        r.flags = RQ_TCP
        r.stream = t.conn.lst.stream
        r.settings = &r.stream.settings
    else:
        r.srv = t.srv
        r.loc = &t.srv.fallback
        r.settings = &r.loc.settings


cdef bint tls_lazy_one(SSL* ssl, Tls* t, Request* r, TlsLazy* lazy) noexcept nogil:
    return tls_lazy_put(ssl, t, tls_lazy_text(t, r, &lazy.file), tls_lazy_text(t, r, &lazy.key))


cdef bint tls_lazy_put(SSL* ssl, Tls* t, Str file, Str key) noexcept nogil:
    """Out of the cache, or of the files. False: the log has said why not."""
    cdef char names[2 * TLS_LAZY_NAME]
    cdef TlsPair* pair
    cdef bint kept = False, good
    if file.n + key.n + 2 <= sizeof(names) and not tls_lazy_is_data(file) and not tls_lazy_is_data(key):
        memcpy(names, file.p, file.n + 1)
        memcpy(names + file.n + 1, key.p, key.n + 1)
        pair = tls_lazy_find(<TlsConf*> t.conf, names, file.n + key.n + 2)
        if pair != NULL:
            return tls_lazy_set(ssl, t, pair, file, key)
        kept = t.conf.lazy_max > 0
    pair = tls_lazy_load(t, file, key)
    if pair == NULL:
        return False
    good = tls_lazy_set(ssl, t, pair, file, key)
    if good and kept:
        tls_lazy_keep(<TlsConf*> t.conf, pair, names, file.n + key.n + 2)
    else:
        tls_lazy_drop(pair)
    return good


cdef bint tls_lazy_set(SSL* ssl, Tls* t, TlsPair* pair, Str file, Str key) noexcept nogil:
    cdef uint32_t i
    ERR_clear_error()
    if SSL_use_certificate(ssl, pair.chain[0]) != 1:
        return tls_lazy_complain(t, b"certificate", file, b"SSL_use_certificate()", 0)
    for i in range(1, pair.n):
        if SSL_add1_chain_cert(ssl, pair.chain[i]) != 1:
            return tls_lazy_complain(t, b"certificate", file, b"SSL_add1_chain_cert()", 0)
    if X509_check_private_key(pair.chain[0], pair.key) != 1 or SSL_use_PrivateKey(ssl, pair.key) != 1:
        return tls_lazy_complain(t, b"certificate key", key, b"SSL_use_PrivateKey()", 0)
    return True


cdef bint tls_lazy_complain(Tls* t, const char* what, Str name, const char* call, int e) noexcept nogil:
    """cannot load WHAT "NAME": CALL failed (...) while SSL handshaking, client: C, server: S. False, for the caller to return."""
    cdef Out o
    cdef char text[2048]
    cdef char said[256]
    cdef unsigned long why = ERR_peek_error()
    out_init(&o, text, sizeof(text) - 64)
    out_text(&o, b"cannot load ")
    out_text(&o, what)
    out_text(&o, b" \"")
    if tls_lazy_is_data(name):
        out_text(&o, b"data:")      # never what is in it
    else:
        out_put(&o, name.p, min(name.n, <uint32_t> 1024))
    out_text(&o, b"\": ")
    out_text(&o, call)
    if e:
        out_text(&o, b" failed")
        error_number(&o, e)
    elif why:
        ERR_error_string_n(why, said, sizeof(said))
        out_text(&o, b" failed (SSL: ")
        out_text(&o, said)
        out_text(&o, b")")
    ERR_clear_error()
    if t.flags & TLS_CLIENT:
        o.p[0] = 0
        log_request(LOG_ERR, t.conn.req, text, 0, b"")
        return False
    out_text(&o, b" while SSL handshaking")
    o.p[0] = 0
    log_client(LOG_ERR, t.conn, text)
    return False


# ---- names

cdef inline bint tls_lazy_is_data(Str name) noexcept nogil:
    return name.n >= 5 and memcmp(name.p, b"data:", 5) == 0


cdef Str tls_lazy_text(Tls* t, Request* r, Value* v) noexcept nogil:
    """In the request's memory, with a NUL behind it; empty without memory."""
    cdef Out o
    cdef Str s
    cdef uint32_t i
    cdef char* room = <char*> malloc(TLS_LAZY_MOST)
    s.p = b""
    s.n = 0
    if room == NULL:
        return s
    out_init(&o, room, TLS_LAZY_MOST)
    for i in range(v.n):
        if v.pieces[i].var == V_TLS_NAME:
            out_str(&o, t.name)
        elif v.pieces[i].var == V_LITERAL:
            out_str(&o, v.pieces[i].text)
        else:
            var_write(&o, r, &loop.env, &v.pieces[i])
    if not o.full:
        s.n = <uint32_t> (o.p - room)
        s.p = <char*> request_memory(r, s.n + 1)
        if s.p == NULL:
            s.p = b""
            s.n = 0
        else:
            memcpy(s.p, room, s.n)
            s.p[s.n] = 0
    OPENSSL_cleanse(room, TLS_LAZY_MOST if o.full else s.n)
    free(room)
    return s


# ---- files

cdef TlsPair* tls_lazy_load(Tls* t, Str file, Str key) noexcept nogil:
    """NULL: it does not load, and the log has said why."""
    cdef TlsPair* pair = <TlsPair*> calloc(1, sizeof(TlsPair))
    cdef char* room = <char*> malloc(TLS_LAZY_MOST)
    cdef int64_t n
    cdef bint good = False
    if pair != NULL and room != NULL:
        ERR_clear_error()
        n = tls_lazy_read(t, b"certificate", file, room)
        if n >= 0 and tls_lazy_certificates(t, pair, file, room, <int> n):
            n = tls_lazy_read(t, b"certificate key", key, room)
            good = n >= 0 and tls_lazy_key(t, pair, key, room, <int> n)
            if n > 0:
                OPENSSL_cleanse(room, n)
    free(room)
    if not good and pair != NULL:
        tls_lazy_drop(pair)
        return NULL
    pair.made = pair.used = <uint64_t> loop.now
    return pair


cdef int64_t tls_lazy_read(Tls* t, const char* what, Str name, char* room) noexcept nogil:
    """Bytes of a file, or of what stands behind `data:`; -1: it cannot be read."""
    cdef stat_t found
    cdef ssize_t got
    cdef int e = 0
    cdef int fd
    if tls_lazy_is_data(name):
        memcpy(room, name.p + 5, name.n - 5)
        return name.n - 5
    fd = file_open(name.p, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0)
    if fd < 0:
        tls_lazy_complain(t, what, name, b"open()", errno)
        return -1
    if fstat(fd, &found) < 0 or found.st_mode & S_IFMT != S_IFREG:
        close(fd)
        tls_lazy_complain(t, what, name, b"it is not a file", 0)
        return -1
    got = pread(fd, room, TLS_LAZY_MOST, 0)
    e = errno
    close(fd)
    if got < 0:
        tls_lazy_complain(t, what, name, b"read()", e)
        return -1
    if got == TLS_LAZY_MOST:
        tls_lazy_complain(t, what, name, b"it is longer than 65535 bytes", 0)
        return -1
    return got


cdef bint tls_lazy_certificates(Tls* t, TlsPair* pair, Str file, char* room, int n) noexcept nogil:
    cdef BIO* b = BIO_new_mem_buf(room, n)
    cdef X509* x
    if b == NULL:
        return False
    while pair.n < TLS_LAZY_CHAIN:
        x = PEM_read_bio_X509_AUX(b, NULL, tls_lazy_no_password, NULL)
        if x == NULL:
            break
        pair.chain[pair.n] = x
        pair.n += 1
    BIO_free(b)
    if pair.n == 0:
        return tls_lazy_complain(t, b"certificate", file, b"PEM_read_bio_X509_AUX()", 0)
    ERR_clear_error()
    return True


cdef bint tls_lazy_key(Tls* t, TlsPair* pair, Str file, char* room, int n) noexcept nogil:
    cdef BIO* b = BIO_new_mem_buf(room, n)
    if b == NULL:
        return False
    pair.key = PEM_read_bio_PrivateKey(b, NULL, tls_lazy_no_password, NULL)
    BIO_free(b)
    return pair.key != NULL or tls_lazy_complain(t, b"certificate key", file, b"PEM_read_bio_PrivateKey()", 0)


cdef void tls_lazy_drop(TlsPair* pair) noexcept nogil:
    cdef uint32_t i
    for i in range(pair.n):
        X509_free(pair.chain[i])
    EVP_PKEY_free(pair.key)
    free(pair.name)
    free(pair)


# ---- the cache

cdef TlsPair* tls_lazy_find(TlsConf* conf, const char* names, uint32_t n) noexcept nogil:
    """One that may be used, now the newest; NULL: there is none. Those whose time is over go."""
    cdef TlsPairs* all = <TlsPairs*> conf.pairs
    cdef TlsPair* one = all.first if all != NULL else NULL
    while all != NULL and all.last != NULL and loop.now - <int64_t> all.last.used >= conf.lazy_inactive:
        tls_lazy_leave(all, all.last, True)
    one = all.first if all != NULL else NULL
    while one != NULL and not (one.name_len == n and memcmp(one.name, names, n) == 0):
        one = one.next
    if one == NULL:
        return NULL
    if loop.now - <int64_t> one.made >= conf.lazy_valid:
        tls_lazy_leave(all, one, True)
        return NULL
    tls_lazy_leave(all, one, False)
    one.used = <uint64_t> loop.now
    tls_lazy_enter(all, one)
    return one


cdef void tls_lazy_keep(TlsConf* conf, TlsPair* pair, const char* names, uint32_t n) noexcept nogil:
    cdef TlsPairs* all = <TlsPairs*> conf.pairs
    if all == NULL:
        all = <TlsPairs*> calloc(1, sizeof(TlsPairs))
        conf.pairs = all
    pair.name = <char*> malloc(n)
    if all == NULL or pair.name == NULL:
        tls_lazy_drop(pair)
        return
    memcpy(pair.name, names, n)
    pair.name_len = n
    tls_lazy_enter(all, pair)
    if all.n > conf.lazy_max:
        tls_lazy_leave(all, all.last, True)


cdef void tls_lazy_enter(TlsPairs* all, TlsPair* one) noexcept nogil:
    one.prev = NULL
    one.next = all.first
    if all.first != NULL:
        all.first.prev = one
    else:
        all.last = one
    all.first = one
    all.n += 1


cdef void tls_lazy_leave(TlsPairs* all, TlsPair* one, bint drop) noexcept nogil:
    if one.prev != NULL:
        one.prev.next = one.next
    else:
        all.first = one.next
    if one.next != NULL:
        one.next.prev = one.prev
    else:
        all.last = one.prev
    all.n -= 1
    if drop:
        tls_lazy_drop(one)


cdef void tls_lazy_forget(TlsConf* conf) noexcept nogil:
    """The worker ends."""
    cdef TlsPairs* all = <TlsPairs*> conf.pairs
    if all == NULL:
        return
    while all.last != NULL:
        tls_lazy_leave(all, all.last, True)
    free(all)
    conf.pairs = NULL


# ---- from the model

cdef int tls_lazy_compile(Compiled e, TlsConf* t, server) except -1:
    t.nlazy = len(server.lazy)
    t.lazy = <TlsLazy*> e.mem(t.nlazy * sizeof(TlsLazy))
    for i, (file, key) in enumerate(server.lazy):
        t.lazy[<int> i].file = tls_lazy_value(e, file)
        t.lazy[<int> i].key = tls_lazy_value(e, key)
    if server.lazy_cache is not None:
        t.lazy_max, t.lazy_inactive, t.lazy_valid = server.lazy_cache
    return 0


cdef Value tls_lazy_value(Compiled e, parts) except *:
    """$ssl_server_name is what the ClientHello says: a request has it only when the handshake is done."""
    cdef Value v = e.value([part if isinstance(part, str) or part.name != "ssl_server_name" else "" for part in parts])
    for i, part in enumerate(parts):
        if not isinstance(part, str) and part.name == "ssl_server_name":
            v.pieces[<int> i].var = V_TLS_NAME
    return v
