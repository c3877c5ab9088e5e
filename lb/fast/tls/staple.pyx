"""Stapled OCSP responses (RFC 6066 section 8): one for each certificate of an SSL_CTX, replaced while handshakes go on.

    ssl_stapling_file: TlsContext -> tls_staples_make: for good
    fetched: the master's child -> master: Compiled.staple -> workers' control threads: Engine.staple, Inbox.contexts -> the loop:
    tls_staple_take

They live as long as their SSL_CTX (its ex_data): handshakes that have begun with one that was replaced find them.
"""

from libc.stdint cimport INT64_MAX
from libc.time cimport time as unix_time

ctypedef struct TlsStaple:      # of one certificate
    X509* x                     # a reference: SSL_get_certificate() gives this very one
    uint8_t digest[32]          # SHA-256 of its DER
    void* der                   # the response; NULL: none
    uint32_t n
    int64_t until               # Unix seconds: its nextUpdate

ctypedef struct TlsStaples:
    TlsStaple* of
    uint32_t n

cdef int tls_staple_index = -1      # of SSL_CTX's ex_data


cdef TlsStaples* tls_staples_make(SSL_CTX* ctx, uint32_t most) except NULL:
    """For the certificates that tls_staple_add adds."""
    global tls_staple_index
    cdef TlsStaples* made = <TlsStaples*> calloc(1, sizeof(TlsStaples))
    if made != NULL:
        made.of = <TlsStaple*> calloc(most + 1, sizeof(TlsStaple))
    if tls_staple_index < 0:
        tls_staple_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, tls_staples_free)
    if made == NULL or made.of == NULL or SSL_CTX_set_ex_data(ctx, tls_staple_index, made) != 1:
        raise MemoryError()
    SSL_CTX_set_tlsext_status_cb(ctx, tls_staple)
    return made


cdef int tls_staple_add(SSL_CTX* ctx, TlsStaples* all, certificate, bytes response) except -1:
    """The certificate that was given to the context last; a response of a file has no end."""
    cdef TlsStaple* s = &all.of[all.n]
    cdef bytes digest = hashlib.sha256(certificate.chain[0]).digest()
    s.x = SSL_CTX_get0_certificate(ctx)
    X509_up_ref(s.x)
    memcpy(s.digest, <char*> digest, sizeof(s.digest))
    all.n += 1
    if response:
        s.der = tls_staple_copy(response)
        s.n = len(response)
        s.until = INT64_MAX
    return 0


cdef void* tls_staple_copy(bytes response) except NULL:
    cdef void* copy = malloc(len(response))
    if copy == NULL:
        raise MemoryError()
    memcpy(copy, <char*> response, len(response))
    return copy


cdef void tls_staples_free(void* ctx, void* p, CRYPTO_EX_DATA* data, int i, long n, void* arg) noexcept nogil:
    """The SSL_CTX ends. Any thread."""
    cdef TlsStaples* all = <TlsStaples*> p
    cdef uint32_t at
    if all == NULL:
        return
    for at in range(all.n):
        X509_free(all.of[at].x)
        free(all.of[at].der)
    free(all.of)
    free(all)


cdef int tls_staple(SSL* ssl, void* arg) noexcept nogil:
    """A client asks for the certificate's status: OpenSSL takes a copy of its own. The certificate is chosen by then."""
    cdef TlsStaples* all = <TlsStaples*> SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), tls_staple_index)
    cdef X509* x = SSL_get_certificate(ssl)
    cdef TlsStaple* s
    cdef void* copy
    cdef uint32_t i
    for i in range(all.n):
        s = &all.of[i]
        if s.x != x or s.der == NULL or s.until < <int64_t> unix_time(NULL):
            continue
        copy = OPENSSL_malloc(s.n)
        if copy == NULL:
            break
        memcpy(copy, s.der, s.n)
        SSL_set_tlsext_status_ocsp_resp(ssl, copy, <long> s.n)
        return SSL_TLSEXT_ERR_OK
    return SSL_TLSEXT_ERR_NOACK


# ---- new ones

cdef void tls_staple_set(SSL_CTX* ctx, const uint8_t* digest, void* der, uint32_t n, int64_t until) noexcept nogil:
    """Of the certificate with this digest, if the context has it. Takes `der`."""
    cdef TlsStaples* all = NULL
    cdef TlsStaple* s
    cdef uint32_t i
    if ctx != NULL and tls_staple_index >= 0:
        all = <TlsStaples*> SSL_CTX_get_ex_data(ctx, tls_staple_index)
    for i in range(all.n if all != NULL else 0):
        s = &all.of[i]
        if memcmp(s.digest, digest, sizeof(s.digest)) == 0:
            free(s.der)
            s.der = der
            s.n = n
            s.until = until
            return
    free(der)


cdef int tls_staple_check(bytes digest, bytes response) except -1:
    if len(digest) != 32 or not response:
        raise ValueError("no SHA-256, or no response")
    return 0


cdef int tls_staple_post(TlsConf* conf, bytes digest, bytes response, int64_t until) except -1:
    """For the loop. Any thread."""
    cdef TlsRenewal* made
    tls_staple_check(digest, response)
    made = <TlsRenewal*> calloc(1, sizeof(TlsRenewal))
    if made == NULL:
        raise MemoryError()
    made.conf = conf
    made.n = len(response)
    made.until = until
    memcpy(made.digest, <char*> digest, sizeof(made.digest))
    try:
        made.staple = tls_staple_copy(response)
    except MemoryError:
        free(made)
        raise
    lb_atomic_push(&loop.inbox.contexts, made, <void**> &made.next)
    return 0
