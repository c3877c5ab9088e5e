"""TLS to servers: the handshake behind connect(), whose certificate that is, and sessions for the next connection.

    up_connected (S_CONNECT) -> tls_connect: the row `tls`, SNI, a kept session -> S_HANDSHAKE -> tls_done: tls_server_verified
    a ticket comes (TLS 1.3: behind the handshake) -> tls_session_came -> Peer.sessions -> tls_connect of the next connection

As nginx, OpenSSL does not break off for a certificate: it is judged when the handshake is done, so that the log can say why.
Records stay OpenSSL's (ssl_record_engine is for clients): its sessions come in records that only it can read.
"""

cdef enum:
    TLS_SESSIONS_MOST = 8       # kept for one server: of different settings, or names


cdef bint tls_connect(Conn* u, Request* r) noexcept nogil:
    """The connection to r.peer, which stands, becomes one of TLS. False: memory is out."""
    cdef Tls* t = tls_new(u, r.up_tls)
    cdef Str name = tls_server_name(r)
    if t == NULL:
        return False
    u.io = &tls
    t.flags |= TLS_CLIENT
    SSL_set_connect_state(<SSL*> t.ssl)
    if name.n:
        t.name.p = <char*> malloc(name.n + 1)
        if t.name.p == NULL:
            return False
        memcpy(t.name.p, name.p, name.n)
        t.name.p[name.n] = 0
        t.name.n = name.n
        if r.settings.up_sni and not tls_is_address(&t.name):          # RFC 6066 section 3: no literal addresses
            SSL_set_tlsext_host_name(<SSL*> t.ssl, t.name.p)
    tls_session_use(u, t)
    return True


cdef Str tls_server_name(Request* r) noexcept nogil:
    """proxy_ssl_name, without a port; n 0: nothing of this server asks for it."""
    cdef Str name
    cdef uint32_t i
    name.p = NULL
    name.n = 0
    if not r.settings.up_sni and r.up_tls.verify == TLS_VERIFY_OFF:
        return name
    name = var_text(r, &r.settings.up_name)
    i = name.n
    while i and c"0" <= name.p[i - 1] <= c"9":
        i -= 1
    if i and i < name.n and name.p[i - 1] == c":" and (memchr(name.p, c":", i - 1) == NULL or (i > 1 and name.p[i - 2] == c"]")):
        name.n = i - 1
    if name.n > 2 and name.p[0] == c"[" and name.p[name.n - 1] == c"]":
        name.p += 1
        name.n -= 2
    return name


cdef bint tls_is_address(Str* name) noexcept nogil:
    """Of a text that ends in a zero byte."""
    cdef char to[16]
    return inet_pton(AF_INET, name.p, to) == 1 or inet_pton(AF_INET6, name.p, to) == 1


cdef bint tls_fits(Conn* u, Request* r) noexcept nogil:
    """Is this pooled connection of the TLS that the request wants, or of none where it wants none?"""
    cdef Tls* t
    cdef Str name
    if r.up_tls == NULL or u.io != &tls:
        return r.up_tls == NULL and u.io != &tls
    t = tls_of(u)
    if t.conf != r.up_tls:
        return False
    name = tls_server_name(r)
    return name.n == t.name.n and (name.n == 0 or memcmp(name.p, t.name.p, name.n) == 0)


# ---- whose certificate it is

cdef bint tls_server_verified(Conn* u, Tls* t) noexcept nogil:
    """proxy_ssl_verify. False: `refused` says why."""
    cdef X509* x
    cdef bint good
    if t.conf.verify == TLS_VERIFY_OFF:
        return True
    t.refused = SSL_get_verify_result(<SSL*> t.ssl)
    if t.refused != 0:
        return False
    x = SSL_get_peer_certificate(<SSL*> t.ssl)
    if x == NULL:
        t.refused = -1
        return False
    if tls_is_address(&t.name):
        good = X509_check_ip_asc(x, t.name.p, 0) == 1
    else:
        good = X509_check_host(x, t.name.p, t.name.n, 0, NULL) == 1
    X509_free(x)
    if not good:
        t.refused = -1
    return good


cdef void tls_log_upstream(Request* r, Conn* u) noexcept nogil:
    """WHY while SSL handshaking to upstream, in nginx's words."""
    cdef Out o
    cdef Tls* t = tls_of(u)
    if not error_begin(&o, error_logs_of(r), LOG_ERR):
        return
    error_connection(&o, r.client)
    if t.refused > 0:
        out_text(&o, b"upstream SSL certificate verify error: (")
        out_uint(&o, <uint64_t> t.refused)
        out_char(&o, c":")
        out_text(&o, X509_verify_cert_error_string(t.refused))
        out_char(&o, c")")
    elif t.refused < 0:
        out_text(&o, b"upstream SSL certificate does not match \"")
        out_escaped(&o, t.name.p, t.name.n)
        out_char(&o, 34)
    else:
        tls_explain(u, &o)
    out_text(&o, b" while SSL handshaking to upstream")
    error_context(&o, r)
    error_end(&o, error_logs_of(r), LOG_ERR)


# ---- sessions

cdef int tls_session_came(SSL* ssl, SSL_SESSION* s) noexcept nogil:
    """OpenSSL has a session for the next connection: it is the peer's from here on. 1: we keep it."""
    cdef Tls* t = <Tls*> SSL_get_ex_data(ssl, 0)
    cdef Peer* p = t.conn.peer
    cdef TlsSession* k
    if p == NULL or p.removed or not t.conf.reuse:
        return 0
    k = tls_session_find(p, t)
    if k != NULL:
        SSL_SESSION_free(<SSL_SESSION*> k.session)
        k.session = s
        return 1
    if p.nsessions >= TLS_SESSIONS_MOST:
        return 0
    k = <TlsSession*> calloc(1, sizeof(TlsSession) + t.name.n)
    if k == NULL:
        return 0
    k.next = p.sessions
    k.conf = t.conf
    k.session = s
    k.name.p = <char*> k + sizeof(TlsSession)
    k.name.n = t.name.n
    if t.name.n:
        memcpy(k.name.p, t.name.p, t.name.n)
    p.sessions = k
    p.nsessions += 1
    return 1


cdef TlsSession* tls_session_find(Peer* p, Tls* t) noexcept nogil:
    cdef TlsSession* k = p.sessions
    while k != NULL and not (k.conf == t.conf and k.name.n == t.name.n
                             and (t.name.n == 0 or memcmp(k.name.p, t.name.p, t.name.n) == 0)):
        k = k.next
    return k


cdef void tls_session_use(Conn* u, Tls* t) noexcept nogil:
    """As nginx, one of TLS 1.3 may be used more than once."""
    cdef TlsSession* k = tls_session_find(u.peer, t) if t.conf.reuse else NULL
    if k != NULL:
        SSL_set_session(<SSL*> t.ssl, <SSL_SESSION*> k.session)


cdef void tls_sessions_drop(Peer* p) noexcept nogil:
    cdef TlsSession* k
    while p.sessions != NULL:
        k = p.sessions
        p.sessions = k.next
        SSL_SESSION_free(<SSL_SESSION*> k.session)
        free(k)
    p.nsessions = 0
