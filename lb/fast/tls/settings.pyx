"""What else a server says of handshakes: DH parameters, ALPN, and OpenSSL's own commands (ssl_conf_command), which come last."""


cdef int tls_settings_init(SSL_CTX* ctx, conf) except -1:
    if conf.dh_params:
        tls_dh_params(ctx, conf.dh_params, "")
    if conf.alpn:
        SSL_CTX_set_alpn_select_cb(ctx, tls_alpn, NULL)
    return 0


cdef int tls_dh_params(SSL_CTX* ctx, bytes pem, str name) except -1:
    cdef BIO* b = BIO_new_mem_buf(<char*> pem, <int> len(pem))
    cdef EVP_PKEY* k
    if b == NULL:
        raise MemoryError()
    k = PEM_read_bio_Parameters(b, NULL)
    BIO_free(b)
    if k == NULL:
        raise ValueError(tls_said(f'PEM_read_bio_DHparams("{name}")'))
    if SSL_CTX_set0_tmp_dh_pkey(ctx, k) != 1:
        EVP_PKEY_free(k)
        raise ValueError(tls_said(f'SSL_CTX_set0_tmp_dh_pkey("{name}")'))
    return 0


def tls_dh_check(bytes pem, str name):
    """Of this file. Raises ValueError."""
    cdef SSL_CTX* ctx = SSL_CTX_new(TLS_server_method())
    ERR_clear_error()
    try:
        tls_dh_params(ctx, pem, name)
    finally:
        SSL_CTX_free(ctx)


cdef int tls_alpn(SSL* ssl, const uint8_t** out, uint8_t* n, const uint8_t* asked, unsigned int asked_n,
                  void* arg) noexcept nogil:
    """The server's order; no common protocol: the alert no_application_protocol (RFC 7301)."""
    cdef Tls* t = <Tls*> SSL_get_ex_data(ssl, 0)
    if t.conf.alpn.n == 0:
        return SSL_TLSEXT_ERR_NOACK
    if SSL_select_next_proto(<uint8_t**> out, n, <const uint8_t*> t.conf.alpn.p, t.conf.alpn.n, asked,
                             asked_n) != OPENSSL_NPN_NEGOTIATED:
        return SSL_TLSEXT_ERR_ALERT_FATAL
    if n[0] == 2 and memcmp(out[0], b"h2", 2) == 0 and not t.conn.lst.tcp:
        t.flags |= TLS_H2
    return SSL_TLSEXT_ERR_OK


cdef int tls_commands(SSL_CTX* ctx, commands) except -1:
    """(name, value, ...) of ssl_conf_command. Raises ValueError with nginx's words."""
    cdef SSL_CONF_CTX* c
    if not commands:
        return 0
    c = SSL_CONF_CTX_new()
    if c == NULL:
        raise MemoryError()
    SSL_CONF_CTX_set_flags(c, SSL_CONF_FLAG_FILE | SSL_CONF_FLAG_SERVER | SSL_CONF_FLAG_CLIENT | SSL_CONF_FLAG_CERTIFICATE
                           | SSL_CONF_FLAG_SHOW_ERRORS)
    SSL_CONF_CTX_set_ssl_ctx(c, ctx)
    try:
        for name, value, *_ in commands:
            tls_command(c, name, value)
        if SSL_CONF_CTX_finish(c) != 1:
            raise ValueError(tls_said("SSL_CONF_CTX_finish()"))
    finally:
        SSL_CONF_CTX_free(c)
    return 0


cdef int tls_command(SSL_CONF_CTX* c, str name, str value) except -1:
    cdef bytes n = os.fsencode(name)
    cdef bytes v = os.fsencode(value)
    if SSL_CONF_cmd(c, n, v) <= 0:
        raise ValueError(tls_said(f'SSL_CONF_cmd("{name}", "{value}")'))
    return 0


def tls_command_check(str name, str value):
    """One alone. Raises ValueError."""
    cdef SSL_CTX* ctx = SSL_CTX_new(TLS_server_method())
    ERR_clear_error()
    try:
        tls_commands(ctx, [(name, value)])
    finally:
        SSL_CTX_free(ctx)


def tls_command_type(str name):
    """"file", "dir" or "": what its value names."""
    cdef SSL_CONF_CTX* c = SSL_CONF_CTX_new()
    cdef bytes n = os.fsencode(name)
    SSL_CONF_CTX_set_flags(c, SSL_CONF_FLAG_FILE | SSL_CONF_FLAG_SERVER | SSL_CONF_FLAG_CERTIFICATE)
    kind = SSL_CONF_cmd_value_type(c, n)
    SSL_CONF_CTX_free(c)
    return "file" if kind == SSL_CONF_TYPE_FILE else "dir" if kind == SSL_CONF_TYPE_DIR else ""
