"""SSL_CTX from the model (lb.model.tls), and the server that a ClientHello chooses.

A context is made where the configuration is checked, to see that OpenSSL takes it, and once more in the master before the fork,
where a reload takes the one that it has if nothing of it has changed (TlsContext.get).

    ClientHello -> tls_hello: SNI -> tls_server_by_name -> tls_choose: the server's SSL_CTX, versions, verification, groups
"""

import weakref

cdef object tls_contexts = weakref.WeakValueDictionary()    # lb.model.TlsServer -> TlsContext: of all generations of this master

cdef dict TLS_VERSIONS = {"SSLv2": 0, "SSLv3": SSL_OP_NO_SSLv3, "TLSv1": SSL_OP_NO_TLSv1, "TLSv1.1": SSL_OP_NO_TLSv1_1,
                          "TLSv1.2": SSL_OP_NO_TLSv1_2, "TLSv1.3": SSL_OP_NO_TLSv1_3}


cdef class TlsContext:
    """An SSL_CTX, freed with the last configuration that uses it."""

    cdef SSL_CTX* ctx
    cdef object __weakref__

    def __init__(self, conf, keys):
        """`keys`: the private key of each of conf.certificates, as DER. Raises ValueError."""
        tls_bio_init()
        ERR_clear_error()
        cdef bint server = isinstance(conf, TlsServer)
        self.ctx = SSL_CTX_new(TLS_server_method() if server else TLS_client_method())
        if self.ctx == NULL:
            raise ValueError(tls_said("SSL_CTX_new()"))
        tls_context_basics(self.ctx, conf)
        cdef TlsStaples* staples = NULL
        if server and conf.certificates and (conf.ocsp_response or conf.stapling is not None):
            staples = tls_staples_make(self.ctx, len(conf.certificates))
        for certificate, key in zip(conf.certificates, keys):
            tls_context_pair(self.ctx, certificate, key)
            if staples != NULL:
                tls_staple_add(self.ctx, staples, certificate, conf.ocsp_response)
        if keys or conf.lazy:  # a core of this process, and of all that it forks, would have them in it
            prctl(PR_SET_DUMPABLE, 0)
        if not server:
            tls_context_client(self.ctx, conf)
            tls_commands(self.ctx, conf.conf_commands)
            return
        if conf.prefer_server_ciphers:
            SSL_CTX_set_options(self.ctx, SSL_OP_CIPHER_SERVER_PREFERENCE)
        tls_context_verify(self.ctx, conf)
        if conf.lazy:
            SSL_CTX_set_cert_cb(self.ctx, tls_lazy_take, NULL)
        elif conf.awaited and not conf.certificates:
            SSL_CTX_set_cert_cb(self.ctx, tls_awaits, NULL)
        tls_sessions_init(self.ctx, conf)
        tls_settings_init(self.ctx, conf)
        SSL_CTX_set_client_hello_cb(self.ctx, tls_hello, NULL)
        SSL_CTX_set_tlsext_servername_callback(self.ctx, tls_name_taken)
        tls_commands(self.ctx, conf.conf_commands)

    def __dealloc__(self):
        SSL_CTX_free(self.ctx)

    @staticmethod
    def get(conf, keys):
        """Made before, or now. Raises ValueError."""
        made = tls_contexts.get(conf)
        if made is None:
            made = tls_contexts[conf] = TlsContext(conf, keys)
        return made


def tls_check(conf, keys):
    """Does OpenSSL take it? Raises ValueError."""
    TlsContext(conf, keys)


cdef int tls_context_basics(SSL_CTX* ctx, conf) except -1:
    cdef uint64_t options = (SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF
                             | SSL_OP_SINGLE_ECDH_USE | SSL_OP_SINGLE_DH_USE)
    cdef bytes ciphers = conf.ciphers.encode()
    SSL_CTX_clear_options(ctx, SSL_OP_NO_SSLv3 | SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 | SSL_OP_NO_TLSv1_2 | SSL_OP_NO_TLSv1_3)
    for version, off in TLS_VERSIONS.items():
        if version not in conf.protocols:
            options |= <uint64_t> off
    SSL_CTX_set_min_proto_version(ctx, 0)
    SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION)
    SSL_CTX_set_options(ctx, options)
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER)
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF)
    if SSL_CTX_set_cipher_list(ctx, ciphers) != 1:
        raise ValueError(tls_said(f'SSL_CTX_set_cipher_list("{conf.ciphers}")'))
    return 0


cdef int tls_context_pair(SSL_CTX* ctx, certificate, bytes key) except -1:
    """One certificate with its chain and its key."""
    cdef X509* x
    cdef EVP_PKEY* k
    cdef const uint8_t* p
    for i, der in enumerate(certificate.chain):
        p = <const uint8_t*> <char*> <bytes> der
        x = d2i_X509(NULL, &p, len(der))
        if x == NULL:
            raise ValueError(tls_said("d2i_X509()"))
        rc = SSL_CTX_add1_chain_cert(ctx, x) if i else SSL_CTX_use_certificate(ctx, x)
        X509_free(x)
        if rc != 1:
            raise ValueError(f'cannot load certificate "{certificate.file}": {tls_said("SSL_CTX_use_certificate()")}')
    p = <const uint8_t*> <char*> key
    k = d2i_AutoPrivateKey(NULL, &p, len(key))
    if k == NULL:
        raise ValueError(f'cannot load certificate key "{certificate.key_file}": {tls_said("d2i_AutoPrivateKey()")}')
    x = tls_x509(certificate.chain[0])      # OpenSSL itself lets a key of another kind pass
    rc = X509_check_private_key(x, k) == 1 and SSL_CTX_use_PrivateKey(ctx, k) == 1
    X509_free(x)
    EVP_PKEY_free(k)
    if rc != 1:
        raise ValueError(tls_said(f'SSL_CTX_use_PrivateKey("{certificate.key_file}")'))
    return 0


cdef int tls_context_client(SSL_CTX* ctx, conf) except -1:
    """To servers, which may renegotiate, as with nginx: whom we trust, what we speak; sessions come to tls_session_came."""
    cdef bytes alpn = b"".join(bytes([len(one)]) + one for one in map(os.fsencode, conf.alpn))
    SSL_CTX_clear_options(ctx, SSL_OP_NO_RENEGOTIATION)
    if alpn and SSL_CTX_set_alpn_protos(ctx, <const uint8_t*> <char*> alpn, <unsigned int> len(alpn)) != 0:
        raise ValueError("SSL_CTX_set_alpn_protos() failed")
    if conf.key_log:
        SSL_CTX_set_keylog_callback(ctx, tls_up_keylog)
    if conf.trusted or conf.crls:
        tls_context_trust(ctx, conf.trusted, conf.crls)
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, tls_verify_any)        # it looks at the whole chain, as in nginx
    SSL_CTX_set_verify_depth(ctx, conf.verify_depth)
    if conf.session_reuse:
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL)
        SSL_CTX_sess_set_new_cb(ctx, tls_session_came)
    return 0


cdef int tls_context_trust(SSL_CTX* ctx, trusted, crls) except -1:
    """Authorities, and their lists of what was revoked, which are then needed for all of a chain, as in nginx."""
    cdef X509_STORE* store = SSL_CTX_get_cert_store(ctx)
    cdef X509* x
    cdef X509_CRL* crl
    cdef const uint8_t* p
    for der in trusted:
        p = <const uint8_t*> <char*> <bytes> der
        x = d2i_X509(NULL, &p, len(der))
        good = x != NULL and X509_STORE_add_cert(store, x) == 1
        X509_free(x)
        if not good:
            raise ValueError(tls_said("X509_STORE_add_cert()"))
    for der in crls:
        p = <const uint8_t*> <char*> <bytes> der
        crl = d2i_X509_CRL(NULL, &p, len(der))
        good = crl != NULL and X509_STORE_add_crl(store, crl) == 1
        X509_CRL_free(crl)
        if not good:
            raise ValueError(tls_said("X509_STORE_add_crl()"))
    if crls:
        X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL)
    return 0


# ---- the ClientHello

cdef int tls_hello(SSL* ssl, int* alert, void* arg) noexcept nogil:
    """SNI before all that a server decides. OpenSSL's client_hello_cb."""
    cdef Tls* t = <Tls*> SSL_get_ex_data(ssl, 0)
    cdef Server* srv
    cdef const uint8_t* name = NULL
    cdef uint32_t n = tls_hello_name(ssl, &name)
    if t.name.p == NULL and n:
        t.name.p = <char*> malloc(n + 1)
        if t.name.p == NULL:
            alert[0] = SSL_AD_INTERNAL_ERROR
            return SSL_CLIENT_HELLO_ERROR
        dict_lower_into(t.name.p, <const char*> name, n)
        t.name.p[n] = 0
        t.name.n = n
    if not t.conn.lst.tcp:
        srv = tls_server_by_name(t.conn.lst, &t.name)
        t.srv = srv
        if srv.tls != NULL:
            t.conf = srv.tls
    if unlikely(acme_board != NULL) and acme_hello(ssl, t):
        return SSL_CLIENT_HELLO_SUCCESS
    if t.conf.reject:
        alert[0] = SSL_AD_UNRECOGNIZED_NAME
        return SSL_CLIENT_HELLO_ERROR
    tls_choose(ssl, t)
    return SSL_CLIENT_HELLO_SUCCESS


cdef uint32_t tls_hello_name(SSL* ssl, const uint8_t** name) noexcept nogil:
    """The host name of the extension (RFC 6066 section 3): length of the list, type 0, length, bytes. 0: there is none."""
    cdef const uint8_t* p = NULL
    cdef size_t n = 0, have
    if SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n) != 1 or n < 5:
        return 0
    have = p[0] << 8 | p[1]
    if have + 2 != n or p[2] != TLSEXT_NAMETYPE_host_name:
        return 0
    have = p[3] << 8 | p[4]
    if have == 0 or have + 5 > n or have > TLSEXT_MAXLEN_host_name or memchr(p + 5, 0, have) != NULL:
        return 0
    if p[4 + have] == c".":         # as in Host: a final dot is none of the name
        have -= 1
    name[0] = p + 5
    return <uint32_t> have


cdef Server* tls_server_by_name(Listener* l, Str* name) noexcept nogil:
    """As location_server_by_host, before there is a request: captures of names are made again with the first Host."""
    cdef uint32_t i
    cdef void* found
    if not l.has_names or name.n == 0:
        return l.fallback
    found = names_find(&l.names, name.p, name.n)
    if found != NULL:
        return <Server*> found
    for i in range(l.names.nregex):
        if regex_run(&l.names.regexes[i], name.p, name.n, 0) > 0:
            return <Server*> l.names.values[i]
    return l.fallback


cdef void tls_choose(SSL* ssl, Tls* t) noexcept nogil:
    """What SSL_set_SSL_CTX leaves as it was is set on the SSL, so that all of a server's settings hold for its names."""
    cdef SSL_CTX* ctx = <SSL_CTX*> t.conf.ctx
    cdef uint64_t options
    if SSL_get_SSL_CTX(ssl) != ctx:
        SSL_set_SSL_CTX(ssl, ctx)
        options = SSL_CTX_get_options(ctx)
        SSL_clear_options(ssl, SSL_get_options(ssl) & ~options)
        SSL_set_options(ssl, options)
        SSL_set_min_proto_version(ssl, SSL_CTX_get_min_proto_version(ctx))
        SSL_set_max_proto_version(ssl, SSL_CTX_get_max_proto_version(ctx))
        SSL_set_verify(ssl, SSL_CTX_get_verify_mode(ctx), tls_verify_any)
        SSL_set_verify_depth(ssl, SSL_CTX_get_verify_depth(ctx))
        tls_sessions_choose(ssl, ctx)
    if t.conf.own:
        SSL_set_msg_callback(ssl, tls_own_message_seen)
    tls_session_bind(ssl, t)
    if t.conf.groups.n:
        SSL_set1_groups_list(ssl, t.conf.groups.p)


cdef int tls_awaits(SSL* ssl, void* arg) noexcept nogil:
    """OpenSSL's cert_cb of a server whose certificate the ACME server has not issued yet: no handshake, as nginx's module."""
    cdef Tls* t = <Tls*> SSL_get_ex_data(ssl, 0)
    log_client(LOG_ERR, t.conn, b"no certificate has been issued yet for this server's acme_certificate, while SSL handshaking")
    return 0


cdef int tls_name_taken(SSL* ssl, int* alert, void* arg) noexcept nogil:
    """The name is acknowledged (RFC 6066 section 3). Comes when the session is found or made, with a name or without."""
    cdef Tls* t = <Tls*> SSL_get_ex_data(ssl, 0)
    tls_session_time(ssl, t)
    return SSL_TLSEXT_ERR_OK if t.name.n else SSL_TLSEXT_ERR_NOACK
