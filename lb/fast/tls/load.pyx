"""Certificates and keys from PEM, as DER. With the GIL, by the process that reads the configuration.

Everything raises ValueError with nginx's words; the file's name is the caller's to add.
"""


cdef str tls_said(str call):
    """CALL failed (SSL: error:...): the first that OpenSSL has queued, as nginx prints it."""
    cdef char text[256]
    cdef unsigned long e = ERR_peek_error()
    ERR_clear_error()
    if e == 0:
        return f"{call} failed"
    ERR_error_string_n(e, text, sizeof(text))
    return f"{call} failed (SSL: {(<char*> text).decode('ascii', 'replace')})"


cdef int tls_password(char* p, int n, int writing, void* password) noexcept with gil:
    """What PEM_read_bio_PrivateKey asks: a bytes object, or NULL: there is none, and nobody is to be asked."""
    cdef bytes text
    if password == NULL:
        return -1
    text = <bytes> password
    if len(text) > n:
        return -1
    memcpy(p, <char*> text, len(text))
    return <int> len(text)


cdef int tls_no_password(char* p, int n, int writing, void* password) noexcept with gil:
    return 0


cdef bytes tls_der(X509* x):
    cdef uint8_t* p = NULL
    cdef int n = i2d_X509(x, &p)
    if n < 0:
        raise ValueError(tls_said("i2d_X509()"))
    made = (<char*> p)[:n]
    OPENSSL_free(p)
    return made


def tls_certificates(bytes pem, bint trusted=True):
    """All certificates of a PEM text, as DER, in its order. Raises ValueError."""
    cdef BIO* b = BIO_new_mem_buf(<char*> pem, len(pem))
    cdef X509* x
    cdef list found = []
    ERR_clear_error()
    if b == NULL:
        raise MemoryError()
    try:
        while True:
            x = PEM_read_bio_X509_AUX(b, NULL, tls_no_password, NULL)
            if x == NULL:
                if found and ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_PEM and ERR_GET_REASON(
                        ERR_peek_last_error()) == PEM_R_NO_START_LINE:
                    ERR_clear_error()
                    return tuple(found)
                raise ValueError(tls_said("PEM_read_bio_X509_AUX()" if not found else "PEM_read_bio_X509()"))
            try:
                found.append(tls_der(x))
            finally:
                X509_free(x)
    finally:
        BIO_free(b)


def tls_crls(bytes pem):
    """All lists of revoked certificates of a PEM text, as DER. Raises ValueError."""
    cdef BIO* b = BIO_new_mem_buf(<char*> pem, len(pem))
    cdef X509_CRL* x
    cdef uint8_t* p
    cdef int n
    cdef list found = []
    if b == NULL:
        raise MemoryError()
    try:
        while True:
            ERR_clear_error()
            x = PEM_read_bio_X509_CRL(b, NULL, tls_no_password, NULL)
            if x == NULL:
                break
            p = NULL
            n = i2d_X509_CRL(x, &p)
            X509_CRL_free(x)
            if n < 0:
                raise ValueError(tls_said("i2d_X509_CRL()"))
            found.append((<char*> p)[:n])
            OPENSSL_free(p)
    finally:
        BIO_free(b)
    if not found:
        raise ValueError(tls_said("PEM_read_bio_X509_CRL()"))
    ERR_clear_error()
    return tuple(found)


def tls_key(bytes pem, passwords=()):
    """The private key of a PEM text, as DER; each password is tried. Raises ValueError."""
    cdef BIO* b
    cdef EVP_PKEY* k = NULL
    cdef uint8_t* p = NULL
    cdef int n
    for password in passwords or (None,):
        ERR_clear_error()
        b = BIO_new_mem_buf(<char*> pem, len(pem))
        if b == NULL:
            raise MemoryError()
        k = PEM_read_bio_PrivateKey(b, NULL, tls_password, <void*> password if password is not None else NULL)
        BIO_free(b)
        if k != NULL:
            break
    if k == NULL:
        raise ValueError(tls_said("PEM_read_bio_PrivateKey()"))
    n = i2d_PrivateKey(k, &p)
    EVP_PKEY_free(k)
    if n < 0:
        raise ValueError(tls_said("i2d_PrivateKey()"))
    made = (<char*> p)[:n]
    OPENSSL_cleanse(p, n)
    OPENSSL_free(p)
    return made


def tls_forget(bytes secret):
    """Wipe a key that nobody needs any more. Its bytes object must have no other user."""
    OPENSSL_cleanse(<char*> secret, len(secret))
