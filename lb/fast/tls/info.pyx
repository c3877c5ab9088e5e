"""What variables tell of a client's TLS: taken once, at the end of the handshake, and only what the configuration uses.

    tls_done -> tls_info_take: texts in one piece of memory behind a TlsInfo (Tls.info) -> var_tls

Afterwards there may be no SSL any more. A configuration without such variables keeps nothing.
"""

cdef enum:
    TLS_INFO_MOST = 98304       # all texts together: a certificate three times, once escaped


cdef void tls_info_take(Tls* t, X509* x) noexcept nogil:
    """`x`: the client's certificate, or NULL. Without memory the variables are missing."""
    cdef Str texts[V_TLS_KEPT - V_TLS]
    cdef char* room
    cdef Out o
    cdef int var
    if t.conf.uses == 0:
        return
    room = <char*> malloc(TLS_INFO_MOST)
    if room == NULL:
        return
    memset(texts, 0, sizeof(texts))
    out_init(&o, room, TLS_INFO_MOST)
    for var in range(V_TLS + 1, <int> V_TLS_KEPT):
        if t.conf.uses & var_tls_bit(var):
            texts[var - V_TLS].p = o.p
            tls_info_write(&o, t, x, var)
            if o.full:
                break
            texts[var - V_TLS].n = <uint32_t> (o.p - texts[var - V_TLS].p)
    tls_info_keep(t, texts, room, <size_t> (o.p - room))
    if t.info != NULL and x != NULL:
        t.info.until = tls_info_end(x)
    OPENSSL_cleanse(room, <size_t> (o.p - room))
    free(room)


cdef void tls_info_keep(Tls* t, Str* texts, const char* room, size_t n) noexcept nogil:
    """A copy of no more than there is."""
    cdef int i
    cdef char* p
    t.info = <TlsInfo*> malloc(sizeof(TlsInfo) + n)
    if t.info == NULL:
        return
    p = <char*> t.info + sizeof(TlsInfo)
    memcpy(p, room, n)
    t.info.until = 0
    for i in range(V_TLS_KEPT - V_TLS):
        t.info.texts[i].n = texts[i].n
        t.info.texts[i].p = p + (texts[i].p - room) if texts[i].p != NULL else NULL


cdef void tls_info_write(Out* o, Tls* t, X509* x, int var) noexcept nogil:
    cdef SSL* ssl = <SSL*> t.ssl
    cdef const uint8_t* p = NULL
    cdef unsigned int n = 0
    if var >= V_SSL_CLIENT_CERT:
        if x != NULL:
            tls_info_certificate(o, x, var)
    elif var == V_SSL_CLIENT_VERIFY:
        tls_info_verify(o, t)
    elif var == V_SSL_PROTOCOL:
        tls_info_text(o, SSL_get_version(ssl))
    elif var == V_SSL_CIPHER:
        tls_info_text(o, SSL_CIPHER_get_name(SSL_get_current_cipher(ssl)))
    elif var == V_SSL_CIPHERS:
        tls_info_ciphers(o, ssl)
    elif var == V_SSL_CURVE:
        tls_info_group(o, lb_tls_group_used(ssl))
    elif var == V_SSL_CURVES:
        tls_info_groups(o, ssl)
    elif var == V_SSL_SESSION_ID:
        p = SSL_SESSION_get_id(SSL_get_session(ssl), &n)
        tls_info_hex(o, p, n)
    elif var == V_SSL_SESSION_REUSED:
        out_char(o, c"r" if t.flags & TLS_REUSED else c".")
    elif var == V_SSL_SERVER_NAME:
        tls_info_text(o, SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name))
    elif var == V_SSL_ALPN_PROTOCOL:
        SSL_get0_alpn_selected(ssl, &p, &n)
        out_put(o, <const char*> p, n)
    else:
        tls_info_text(o, lb_tls_signature(ssl, var == V_SSL_CLIENT_SIGALG))


cdef void tls_info_text(Out* o, const char* text) noexcept nogil:
    if text != NULL:
        out_text(o, text)


cdef void tls_info_hex(Out* o, const uint8_t* p, unsigned int n) noexcept nogil:
    cdef const char* digits = b"0123456789abcdef"
    cdef unsigned int i
    for i in range(n):
        out_char(o, digits[p[i] >> 4])
        out_char(o, digits[p[i] & 15])


cdef void tls_info_ciphers(Out* o, SSL* ssl) noexcept nogil:
    """All that the client has offered, unknown ones as 0x1234."""
    cdef const uint8_t* p = NULL
    cdef const SSL_CIPHER* known
    cdef size_t n = lb_tls_ciphers(ssl, &p), at = 0
    while at + 2 <= n:
        if at:
            out_char(o, c":")
        known = SSL_CIPHER_find(ssl, p + at)
        if known != NULL:
            out_text(o, SSL_CIPHER_get_name(known))
        else:
            out_put(o, b"0x", 2)
            tls_info_hex(o, p + at, 2)
        at += 2


cdef void tls_info_group(Out* o, int nid) noexcept nogil:
    cdef unsigned int number = 0
    cdef const char* name
    cdef uint8_t pair[2]
    if nid == 0:
        return
    name = lb_tls_group_name(nid, &number)
    if name != NULL:
        out_text(o, name)
        return
    pair[0] = <uint8_t> (number >> 8)
    pair[1] = <uint8_t> (number & 255)
    out_put(o, b"0x", 2)
    tls_info_hex(o, pair, 2)


cdef void tls_info_groups(Out* o, SSL* ssl) noexcept nogil:
    """All that the client has offered."""
    cdef int nids[128]
    cdef int n = <int> SSL_get1_curves(ssl, NULL), i
    if n <= 0 or n > 128:
        return
    SSL_get1_curves(ssl, nids)
    for i in range(n):
        if i:
            out_char(o, c":")
        tls_info_group(o, nids[i])


# ---- of the certificate

cdef void tls_info_certificate(Out* o, X509* x, int var) noexcept nogil:
    cdef uint8_t digest[64]
    cdef unsigned int n = 0
    cdef BIO* b
    if var == V_SSL_CLIENT_FINGERPRINT:
        if X509_digest(x, EVP_sha1(), digest, &n) == 1:
            tls_info_hex(o, digest, n)
        return
    if var == V_SSL_CLIENT_S_DN_LEGACY or var == V_SSL_CLIENT_I_DN_LEGACY:
        tls_info_name_legacy(o, X509_get_subject_name(x) if var == V_SSL_CLIENT_S_DN_LEGACY else X509_get_issuer_name(x))
        return
    if var == V_SSL_CLIENT_V_REMAIN:        # worked out when it is asked for
        return
    b = BIO_new(BIO_s_mem())
    if b == NULL:
        return
    tls_info_print(b, x, var)
    tls_info_printed(o, b, var)
    BIO_free(b)


cdef void tls_info_print(BIO* b, X509* x, int var) noexcept nogil:
    if var == V_SSL_CLIENT_S_DN:
        X509_NAME_print_ex(b, X509_get_subject_name(x), 0, XN_FLAG_RFC2253)
    elif var == V_SSL_CLIENT_I_DN:
        X509_NAME_print_ex(b, X509_get_issuer_name(x), 0, XN_FLAG_RFC2253)
    elif var == V_SSL_CLIENT_SERIAL:
        i2a_ASN1_INTEGER(b, X509_get_serialNumber(x))
    elif var == V_SSL_CLIENT_V_START:
        ASN1_TIME_print(b, X509_get0_notBefore(x))
    elif var == V_SSL_CLIENT_V_END:
        ASN1_TIME_print(b, X509_get0_notAfter(x))
    else:
        PEM_write_bio_X509(b, x)


cdef void tls_info_printed(Out* o, BIO* b, int var) noexcept nogil:
    """PEM as nginx gives it: _raw_ as it is, _cert with a tab before each line but the first and no last line end, _escaped_."""
    cdef char* p = NULL
    cdef long n = BIO_get_mem_data(b, &p), i
    if var == V_SSL_CLIENT_CERT:
        for i in range(n - 1):
            out_char(o, p[i])
            if p[i] == c"\n":
                out_char(o, c"\t")
    elif var == V_SSL_CLIENT_ESCAPED_CERT:
        for i in range(n):
            tls_info_escape(o, <uint8_t> p[i])
    else:
        out_put(o, p, <uint32_t> n)


cdef void tls_info_escape(Out* o, uint8_t c) noexcept nogil:
    """As a component of a URI: all but unreserved characters (RFC 3986 section 2.3)."""
    cdef const char* digits = b"0123456789ABCDEF"
    if c"a" <= c <= c"z" or c"A" <= c <= c"Z" or c"0" <= c <= c"9" or c in (c"-", c".", c"_", c"~"):
        out_char(o, c)
        return
    out_char(o, c"%")
    out_char(o, digits[c >> 4])
    out_char(o, digits[c & 15])


cdef void tls_info_name_legacy(Out* o, X509_NAME* name) noexcept nogil:
    cdef char* p = X509_NAME_oneline(name, NULL, 0)
    if p != NULL:
        out_text(o, p)
        OPENSSL_free(p)


cdef int64_t tls_info_end(X509* x) noexcept nogil:
    """Unix seconds of the end of its validity; 0: unknown."""
    cdef int days = 0, seconds = 0
    if ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x)) != 1:
        return 0
    return loop.env.wall // 1000 + <int64_t> days * 86400 + seconds
