"""TLS to servers: the handshake behind connect(), whose certificate that is, and sessions for the next connection.

    up_tries_begin -> tls_up_begin: what this request asks for, once for all its tries
    up_connected (S_CONNECT) -> tls_connect: the row `tls`, SNI, certificate, a kept session -> S_HANDSHAKE
        -> tls_done: tls_server_verified -> tls_up_done | tls_up_failed
    a ticket comes (TLS 1.3: behind the handshake) -> tls_session_came -> Peer.sessions -> tls_connect of the next connection

As nginx, OpenSSL does not break off for a certificate: it is judged when the handshake is done, so that the log can say why.
Records stay OpenSSL's (ssl_record_engine is for clients): its sessions come in records that only it can read.

What a connection was made for is its TlsConf, the name and the certificate that variables named; a request takes a pooled
connection, and a connection resumes a session, of the same three only: both speak with the rights of that certificate.
"""

cdef enum:
    TLS_SESSIONS_MOST = 8       # kept for one server: of different settings, names, certificates; the one used last stays


# ---- what a request asks for

cdef void tls_up_begin(Request* r) noexcept nogil:
    r.up_name = tls_server_name(r)
    r.up_pair = tls_up_pair(r)


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
    if i and i < name.n and name.p[i - 1] == c":" and (memchr(name.p, c":", i - 1) == NULL
                                                       or (i > 1 and name.p[i - 2] == c"]")):
        name.n = i - 1
    if name.n > 2 and name.p[0] == c"[" and name.p[name.n - 1] == c"]":
        name.p += 1
        name.n -= 2
    return name


cdef Str tls_up_pair(Request* r) noexcept nogil:
    """FILE NUL KEY NUL where variables name them; n 0: nothing is shown, as in nginx where the file comes to nothing."""
    cdef Str both, file, key
    both.p = NULL
    both.n = 0
    if r.up_tls.nlazy == 0:
        return both
    file = tls_lazy_text(NULL, r, &r.up_tls.lazy.file)
    if file.n == 0:
        return both
    key = tls_lazy_text(NULL, r, &r.up_tls.lazy.key)
    both.p = <char*> request_memory(r, file.n + key.n + 2)
    if both.p == NULL:
        return both
    both.n = file.n + key.n + 2
    memcpy(both.p, file.p, file.n)
    both.p[file.n] = 0
    memcpy(both.p + file.n + 1, key.p, key.n)
    both.p[both.n - 1] = 0
    return both


cdef inline bint tls_same(Str* a, Str* b) noexcept nogil:
    return a.n == b.n and (a.n == 0 or memcmp(a.p, b.p, a.n) == 0)


cdef bint tls_fits(Conn* u, Request* r) noexcept nogil:
    """Is this pooled connection of the TLS that the request wants, or of none where it wants none?"""
    cdef Tls* t
    if r.up_tls == NULL or u.io != &tls:
        return r.up_tls == NULL and u.io != &tls
    t = tls_of(u)
    return t.conf == r.up_tls and tls_same(&t.name, &r.up_name) and tls_same(&t.pair, &r.up_pair)


# ---- the handshake

cdef bint tls_connect(Conn* u, Request* r) noexcept nogil:
    """The connection to r.peer, which stands, becomes one of TLS. False: no memory, or no certificate (the log has said why)."""
    return tls_connect_as(u, r.up_tls, &r.up_name, &r.up_pair, r.settings.up_sni)


cdef bint tls_connect_as(Conn* u, const TlsConf* conf, Str* name, Str* pair, bint sni) noexcept nogil:
    """`name`: whose certificate it shall be, and, with `sni`, what the server is told; `pair`: as Tls.pair."""
    cdef Tls* t = tls_new(u, conf)
    if t == NULL:
        return False
    u.io = &tls
    t.flags |= TLS_CLIENT
    SSL_set_connect_state(<SSL*> t.ssl)
    if not tls_keep_text(&t.name, name) or not tls_keep_text(&t.pair, pair):
        return False
    if t.name.n and sni and not tls_is_address(&t.name):      # RFC 6066 section 3: no literal addresses
        SSL_set_tlsext_host_name(<SSL*> t.ssl, t.name.p)
    if t.pair.n and not tls_up_show(t):
        return False
    tls_session_use(u, t)
    return True


cdef bint tls_keep_text(Str* to, Str* text) noexcept nogil:
    """A copy of its own with a zero byte behind it. False: memory is out."""
    if text.n == 0:
        return True
    to.p = <char*> malloc(text.n + 1)
    if to.p == NULL:
        return False
    memcpy(to.p, text.p, text.n)
    to.p[text.n] = 0
    to.n = text.n
    return True


cdef bint tls_up_show(Tls* t) noexcept nogil:
    cdef Str file, key
    file.p = t.pair.p
    file.n = <uint32_t> strlen(file.p)
    key.p = file.p + file.n + 1
    key.n = t.pair.n - file.n - 2
    return tls_lazy_put(<SSL*> t.ssl, t, file, key)


cdef bint tls_is_address(Str* name) noexcept nogil:
    """Of a text that ends in a zero byte."""
    cdef char to[16]
    return inet_pton(AF_INET, name.p, to) == 1 or inet_pton(AF_INET6, name.p, to) == 1


cdef void tls_up_keylog(const SSL* ssl, const char* line) noexcept nogil:
    """proxy_ssl_key_log: OpenSSL's line, in the format of NSS."""
    cdef Tls* t = <Tls*> SSL_get_ex_data(ssl, 0)
    cdef Out o
    if not log_room(t.conf.key_log, &o, <uint32_t> strlen(line) + 1, 0):
        return
    out_text(&o, line)
    out_char(&o, 10)
    log_commit(t.conf.key_log, &o)


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
    t.refused = -1
    x = SSL_get_peer_certificate(<SSL*> t.ssl)
    if x == NULL or t.name.n == 0:
        X509_free(x)
        return False
    if tls_is_address(&t.name):
        good = X509_check_ip_asc(x, t.name.p, 0) == 1
    else:
        good = X509_check_host(x, t.name.p, t.name.n, 0, NULL) == 1
    X509_free(x)
    if good:
        t.refused = 0
    return good


# ---- its end: counted, and in the log

cdef void tls_up_done(Conn* u) noexcept nogil:
    loop.st.up_tls_handshakes += 1
    u.peer.stats.tls_handshakes += 1
    if tls_of(u).flags & TLS_REUSED:
        loop.st.up_tls_resumed += 1
        u.peer.stats.tls_resumed += 1


cdef void tls_up_failed(Request* r, Conn* u) noexcept nogil:
    """The handshake has failed: by what is it counted, and WHY while SSL handshaking to upstream, in nginx's words."""
    cdef Out o
    cdef Tls* t = tls_of(u)
    cdef int level = LOG_CRIT if t.refused == 0 and t.why and lb_tls_ours(t.why) else LOG_ERR
    tls_session_drop(u.peer, t)         # if it was the session's fault, the next handshake is a full one
    tls_up_count(u, LB_TLS_CLOSED if t.why == 0 else lb_tls_group(t.why))
    if not error_begin(&o, error_logs_of(r), level):
        return
    error_connection(&o, r.client)
    tls_up_explain(u, &o)
    out_text(&o, b" while SSL handshaking to upstream")
    error_context(&o, r)
    error_end(&o, error_logs_of(r), level)


cdef void tls_up_explain(Conn* u, Out* o) noexcept nogil:
    """Why the handshake failed, in nginx's words."""
    cdef Tls* t = tls_of(u)
    if t.refused > 0:
        out_text(o, b"upstream SSL certificate verify error: (")
        out_uint(o, <uint64_t> t.refused)
        out_char(o, c":")
        out_text(o, X509_verify_cert_error_string(t.refused))
        out_char(o, c")")
    elif t.refused < 0:
        out_text(o, b"upstream SSL certificate does not match \"")
        out_escaped(o, t.name.p, t.name.n)
        out_char(o, 34)
    else:
        tls_explain(u, o)


cdef void tls_up_count(Conn* u, int group) noexcept nogil:
    """A handshake that failed, by reason."""
    cdef Tls* t = tls_of(u)
    if t.refused:
        u.peer.stats.tls_failed_verify += 1
    else:
        u.peer.stats.tls_failed += 1
    if t.refused > 0:
        loop.st.up_tls_failed_verify += 1
    elif t.refused < 0 or group == LB_TLS_NAME:
        loop.st.up_tls_failed_name += 1
    elif group == LB_TLS_TIMEOUT:
        loop.st.up_tls_failed_timeout += 1
    elif group == LB_TLS_CLOSED:
        loop.st.up_tls_failed_closed += 1
    elif group == LB_TLS_PROTOCOL:
        loop.st.up_tls_failed_protocol += 1
    elif group == LB_TLS_CERTIFICATE:
        loop.st.up_tls_failed_certificate += 1
    elif group == LB_TLS_GARBAGE:
        loop.st.up_tls_failed_garbage += 1
    else:
        loop.st.up_tls_failed_other += 1


# ---- sessions

cdef int tls_session_came(SSL* ssl, SSL_SESSION* s) noexcept nogil:
    """OpenSSL has a session for the next connection: it is the peer's from here on. 1: we keep it."""
    cdef Tls* t = <Tls*> SSL_get_ex_data(ssl, 0)
    cdef Peer* p = t.conn.peer
    cdef TlsSession* k
    if p == NULL or p.removed or (t.conf.verify and SSL_get_verify_result(ssl) != 0):
        return 0
    k = tls_session_find(p, t)
    if k != NULL:
        SSL_SESSION_free(<SSL_SESSION*> k.session)
        k.session = s
        return 1
    k = <TlsSession*> calloc(1, sizeof(TlsSession) + t.name.n + t.pair.n)
    if k == NULL:
        return 0
    k.conf = t.conf
    k.session = s
    k.name.p = <char*> k + sizeof(TlsSession)
    k.name.n = t.name.n
    k.pair.p = k.name.p + k.name.n
    k.pair.n = t.pair.n
    if t.name.n:
        memcpy(k.name.p, t.name.p, t.name.n)
    if t.pair.n:
        memcpy(k.pair.p, t.pair.p, t.pair.n)
    k.next = p.sessions
    p.sessions = k
    p.nsessions += 1
    tls_sessions_drop(p, TLS_SESSIONS_MOST)
    return 1


cdef TlsSession* tls_session_find(Peer* p, Tls* t) noexcept nogil:
    """It is the first one now; NULL: there is none."""
    cdef TlsSession** at = &p.sessions
    cdef TlsSession* k
    while at[0] != NULL and not (at[0].conf == t.conf and tls_same(&at[0].name, &t.name) and tls_same(&at[0].pair, &t.pair)):
        at = &at[0].next
    k = at[0]
    if k != NULL:
        at[0] = k.next
        k.next = p.sessions
        p.sessions = k
    return k


cdef void tls_session_use(Conn* u, Tls* t) noexcept nogil:
    """As nginx, one of TLS 1.3 may be used more than once: a copy of it, since OpenSSL offers an object once."""
    cdef TlsSession* k = tls_session_find(u.peer, t) if t.conf.reuse else NULL
    cdef SSL_SESSION* copy = SSL_SESSION_dup(<SSL_SESSION*> k.session) if k != NULL else NULL
    if copy != NULL:
        SSL_set_session(<SSL*> t.ssl, copy)
        SSL_SESSION_free(copy)


cdef void tls_session_drop(Peer* p, Tls* t) noexcept nogil:
    cdef TlsSession* k = tls_session_find(p, t)
    if k != NULL:
        p.sessions = k.next
        tls_session_free(p, k)


cdef void tls_session_free(Peer* p, TlsSession* k) noexcept nogil:
    p.nsessions -= 1
    SSL_SESSION_free(<SSL_SESSION*> k.session)
    free(k)


cdef void tls_sessions_drop(Peer* p, uint32_t left) noexcept nogil:
    """All but the first `left`."""
    cdef TlsSession** at = &p.sessions
    cdef TlsSession* k
    while at[0] != NULL and left:
        at = &at[0].next
        left -= 1
    while at[0] != NULL:
        k = at[0]
        at[0] = k.next
        tls_session_free(p, k)
