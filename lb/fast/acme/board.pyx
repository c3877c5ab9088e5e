"""The board of challenges: memory that the master makes before it forks, one process writes and all workers read.

A reader looks at `seq` before and behind its copy. What lies here is asked for by whoever comes: a token with its key
authorization (http-01), or a certificate made for one challenge, with a key that is good for nothing else (tls-alpn-01).
"""

cdef enum:
    ACME_CHALLENGES = 128       # an order has at most 100 names (lb/config/table_acme.py)
    ACME_LOOKS = 1000           # at a board that is being written
    ACME_PATH = 28              # bytes of "/.well-known/acme-challenge/"
    ACME_ALPN = 13              # bytes of the extension that offers acme-tls/1 alone
    TLSEXT_ALPN = 16            # RFC 7301

ctypedef struct AcmeChallenge:
    uint8_t alpn                # tls-alpn-01: name is the SNI; else http-01: name is the token
    uint16_t name_n
    uint16_t value_n
    uint16_t key_n
    char name[256]
    char value[1536]            # the key authorization; or the certificate, DER
    char key[256]               # DER

ctypedef struct AcmeBoard:
    uint64_t seq                # odd: it is being written
    uint32_t n
    AcmeChallenge items[128]    # ACME_CHALLENGES

cdef AcmeBoard* acme_board = NULL       # of this process and those that it forks; NULL: no configuration had ACME yet
cdef SSL_CTX* acme_ctx = NULL           # of this worker: it chooses acme-tls/1


cdef bint acme_find(bint alpn, const char* name, uint32_t n, AcmeChallenge* out) noexcept nogil:
    """A copy of the challenge of this name. False: there is none."""
    cdef uint64_t seq
    cdef uint32_t i, _looks
    cdef AcmeChallenge* one
    cdef bint found
    for _looks in range(<uint32_t> ACME_LOOKS):
        seq = lb_atomic_load(&acme_board.seq)
        if seq & 1:
            continue
        found = False
        for i in range(min(acme_board.n, <uint32_t> ACME_CHALLENGES)):
            one = &acme_board.items[i]
            if one.alpn == alpn and one.name_n == n and n <= sizeof(one.name) and memcmp(one.name, name, n) == 0:
                memcpy(out, one, sizeof(AcmeChallenge))
                found = True
                break
        lb_fence()
        if lb_atomic_load(&acme_board.seq) == seq:
            return found
    return False


# ---- http-01

cdef bint acme_answered(Request* r) noexcept nogil:
    """The key authorization of a token that is asked for (RFC 8555 section 8.3), before anything that the server says, as nginx's
    module. False: it is no such request; an unknown token may be another client's of ACME, and its location is asked."""
    cdef AcmeChallenge found
    cdef char* p
    if acme_board.n == 0 or r.h.method != M_GET or r.uri_len <= ACME_PATH:
        return False
    if memcmp(r.uri, b"/.well-known/acme-challenge/", ACME_PATH) != 0:
        return False
    if not acme_find(False, r.uri + ACME_PATH, r.uri_len - ACME_PATH, &found):
        return False
    r.flags &= ~RQ_KEEP
    p = <char*> request_memory(r, found.value_n)
    if p == NULL:
        reply_status(r, 500)
        return True
    memcpy(p, found.value, found.value_n)
    reply(r, 200, b"text/plain", p, found.value_n)
    return True


# ---- tls-alpn-01

cdef bint acme_hello(SSL* ssl, Tls* t) noexcept nogil:
    """A ClientHello that offers acme-tls/1 alone gets the certificate of its name's challenge (RFC 8737 section 3). False: it is
    none, or nobody has asked for such a challenge."""
    cdef AcmeChallenge found
    cdef const uint8_t* p = NULL
    cdef size_t n = 0
    if acme_board.n == 0 or t.name.n == 0 or SSL_client_hello_get0_ext(ssl, TLSEXT_ALPN, &p, &n) != 1:
        return False
    if n != ACME_ALPN or p[0] != 0 or p[1] != 11 or p[2] != 10 or memcmp(p + 3, b"acme-tls/1", 10) != 0:
        return False
    return acme_find(True, t.name.p, t.name.n, &found) and acme_show(ssl, t, &found)


cdef bint acme_show(SSL* ssl, Tls* t, AcmeChallenge* one) noexcept nogil:
    cdef const uint8_t* p = <const uint8_t*> one.value
    cdef X509* x = d2i_X509(NULL, &p, one.value_n)
    cdef EVP_PKEY* k
    cdef bint good
    p = <const uint8_t*> one.key
    k = d2i_AutoPrivateKey(NULL, &p, one.key_n)
    good = (x != NULL and k != NULL and acme_context() and SSL_set_SSL_CTX(ssl, acme_ctx) != NULL
            and SSL_use_certificate(ssl, x) == 1 and SSL_use_PrivateKey(ssl, k) == 1)
    X509_free(x)
    EVP_PKEY_free(k)
    ERR_clear_error()
    if good:
        SSL_set_options(ssl, SSL_OP_NO_TICKET)
        SSL_set_verify(ssl, SSL_VERIFY_NONE, tls_verify_any)
        t.flags |= TLS_ACME
    return good


cdef bint acme_context() noexcept nogil:
    global acme_ctx
    if acme_ctx == NULL:
        acme_ctx = SSL_CTX_new(TLS_server_method())
        if acme_ctx == NULL:
            return False
        SSL_CTX_set_session_cache_mode(acme_ctx, SSL_SESS_CACHE_OFF)
        SSL_CTX_set_alpn_select_cb(acme_ctx, acme_alpn, NULL)
    return True


cdef int acme_alpn(SSL* ssl, const uint8_t** out, uint8_t* n, const uint8_t* asked, unsigned int asked_n,
                   void* arg) noexcept nogil:
    """What acme_hello has seen: one protocol."""
    out[0] = asked + 1
    n[0] = asked[0]
    return SSL_TLSEXT_ERR_OK


# ---- who writes it

def acme_board_make():
    """In the master, before it forks whoever shall have it. Raises OSError."""
    global acme_board
    cdef void* p
    if acme_board != NULL:
        return
    p = mmap(NULL, sizeof(AcmeBoard), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)
    if p == <void*> MAP_FAILED:
        raise OSError(errno, "mmap()")
    acme_board = <AcmeBoard*> p


def acme_board_set(challenges):
    """What is answered from now on. How many there is room for. One process at a time. Raises ValueError: one is too long."""
    cdef AcmeChallenge* one
    cdef uint32_t n = 0
    made = list(challenges)[:ACME_CHALLENGES]
    for _, name, value, key in made:
        if len(name) > 256 or len(value) > 1536 or len(key) > 256:
            raise ValueError("a challenge is too long")
    acme_board.seq |= 1         # also behind a process that was killed while it wrote
    lb_fence()
    for alpn, name, value, key in made:
        one = &acme_board.items[n]
        one.alpn = alpn
        one.name_n, one.value_n, one.key_n = len(name), len(value), len(key)
        memcpy(one.name, <char*> <bytes> name, one.name_n)
        memcpy(one.value, <char*> <bytes> value, one.value_n)
        memcpy(one.key, <char*> <bytes> key, one.key_n)
        n += 1
    acme_board.n = n
    lb_fence()
    acme_board.seq += 1
    return n


def process_without_core():
    """This process has private keys: it leaves no core, and others of its user cannot look into it."""
    prctl(PR_SET_DUMPABLE, 0)
