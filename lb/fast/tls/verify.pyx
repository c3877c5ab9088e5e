"""Certificates of clients: what a server asks for, and what becomes of one that is not as it should be.

    CertificateRequest (SSL_VERIFY_PEER, names of authorities) -> OpenSSL's chain check: every outcome is taken (tls_verify_any)
    -> tls_done: tls_verify_taken keeps the outcome -> http: client_tls_status: 495, 496; stream: the session ends

The handshake itself does not fail for the certificate, as in nginx: a client of HTTP gets a page that says why.
"""


cdef int tls_context_verify(SSL_CTX* ctx, conf) except -1:
    """To clients: ssl_verify_client and what belongs to it."""
    cdef const uint8_t* p
    cdef X509* x
    if conf.verify_client != "off":
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, tls_verify_any)
        SSL_CTX_set_verify_depth(ctx, conf.verify_depth)
    if conf.client_authorities or conf.trusted or conf.crls:
        tls_context_trust(ctx, dict.fromkeys(conf.client_authorities + conf.trusted), conf.crls)
    for der in dict.fromkeys(conf.client_authorities):
        p = <const uint8_t*> <char*> <bytes> der
        x = d2i_X509(NULL, &p, len(der))
        good = x != NULL and SSL_CTX_add_client_CA(ctx, x) == 1
        X509_free(x)
        if not good:
            raise ValueError(tls_said("SSL_CTX_add_client_CA()"))
    return 0


cdef int tls_verify_any(int good, X509_STORE_CTX* store) noexcept nogil:
    """The handshake goes on: SSL_get_verify_result tells."""
    return 1


cdef void tls_verify_taken(Tls* t) noexcept nogil:
    """The handshake with a client is done: what it has shown, and what variables want to know of it."""
    cdef X509* x = NULL
    if t.conf.verify != TLS_VERIFY_OFF:
        x = SSL_get_peer_certificate(<SSL*> t.ssl)
        t.shown = x != NULL
        t.verified = <int16_t> SSL_get_verify_result(<SSL*> t.ssl)
        if tls_verify_status(t, t.conf.verify):
            loop.st.tls_failed_certificate += 1
    tls_info_take(t, x)
    X509_free(x)


cdef int tls_verify_status(Tls* t, int verify) noexcept nogil:
    """nginx's 495 (not good), 496 (none); 0: as it should be."""
    if verify == TLS_VERIFY_OFF:
        return 0
    if t.verified != X509_V_OK and (verify != TLS_VERIFY_OPTIONAL_NO_CA or not tls_verify_only_authority(t.verified)):
        return 495
    return 496 if verify == TLS_VERIFY_ON and not t.shown else 0


cdef bint tls_verify_only_authority(int e) noexcept nogil:
    """Its authority is none that we know: all that `optional_no_ca` leaves to others."""
    return e in (X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
                 X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
                 X509_V_ERR_CERT_UNTRUSTED)


cdef void tls_verify_why(Tls* t, int status, Out* o) noexcept nogil:
    """nginx's line in the error log, with a NUL."""
    if status == 496:
        out_text(o, b"client sent no required SSL certificate")
    else:
        out_text(o, b"client SSL certificate verify error: (")
        out_uint(o, t.verified)
        out_char(o, c":")
        out_text(o, X509_verify_cert_error_string(t.verified))
        out_char(o, c")")
    o.p[0] = 0


cdef void tls_info_verify(Out* o, Tls* t) noexcept nogil:
    """$ssl_client_verify."""
    if not t.shown:
        out_put(o, b"NONE", 4)
    elif t.verified == X509_V_OK:
        out_put(o, b"SUCCESS", 7)
    else:
        out_put(o, b"FAILED:", 7)
        out_text(o, X509_verify_cert_error_string(t.verified))


cdef bint tls_verify_session(Conn* c) noexcept nogil:
    """A session of stream begins. False: its client's certificate forbids it; the log has been told."""
    cdef Tls* t = tls_of(c)
    cdef char text[256]
    cdef Out o
    cdef int status = tls_verify_status(t, t.conf.verify)
    if status == 0:
        return True
    out_init(&o, text, sizeof(text) - 1)
    tls_verify_why(t, status, &o)
    out_text(&o, b" while SSL handshaking")
    o.p[0] = 0
    log_client(LOG_INFO, c, text)
    return False
