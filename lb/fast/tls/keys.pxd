"""Keys of the record layer: derived from the secrets of a finished handshake, updated, wiped. Pure but for libcrypto's heap.

    1.3  CLIENT_TRAFFIC_SECRET_0, SERVER_TRAFFIC_SECRET_0 -> tls_keys_13 -> key, iv      KeyUpdate: secret -> tls_keys_update
    1.2  master secret, both randoms                      -> tls_keys_12 -> key, iv

A connection keeps a TlsRecord and nothing in libcrypto: the contexts of the ciphers belong to the process (TlsCrypto), one for
each suite and direction. Which keys a context holds is told by their generation: a number that a TlsCrypto gives once only, so
that memory that was freed and used again never meets the keys of its last owner.

Sources: RFC 8446 sections 7.1 to 7.3 and 4.6.3, RFC 5246 sections 5 and 6.3, RFC 5288, RFC 7905. A function that derives
answers False when libcrypto failed or the arguments fit no suite: then the connection keeps its SSL or ends.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from lb.fast.c.sys cimport memcpy, memset
from lb.fast.tls.evp cimport (
    ERR_clear_error, EVP_CIPHER, EVP_CIPHER_CTX, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_CipherInit_ex, EVP_MD,
    EVP_aes_128_gcm, EVP_aes_256_gcm, EVP_chacha20_poly1305, EVP_sha256, EVP_sha384, HMAC, OPENSSL_cleanse,
)

cdef enum TlsSuite:             # the AEAD of a cipher suite; its hash goes with it in every suite of tls_suite_of
    TLS_AES_128_GCM = 0         # SHA-256
    TLS_AES_256_GCM = 1         # SHA-384
    TLS_CHACHA20_POLY1305 = 2   # SHA-256
    TLS_SUITES = 3
    TLS_NO_SUITE = -1           # any other: the connection keeps its SSL

cdef enum:
    TLS_PLAIN = 1 << 14         # bytes of a record's content at most (RFC 8446 section 5.1, RFC 5246 section 6.2.1)
    TLS_IV = 12
    TLS_SECRET = 48             # bytes of the longest secret
    TLS_KEY_BLOCK = 88          # bytes of the longest key block of 1.2: two keys of 32, two IVs of 12
    TLS_KEY_RECORDS = 1 << 24   # records after which a key of AES-GCM is changed: RFC 8446 section 5.5 allows 2^24.5

ctypedef struct TlsSlot:        # a context of the process
    EVP_CIPHER_CTX* ctx         # NULL: libcrypto lacks the cipher
    uint64_t generation         # whose keys it holds; 0: nobody's

ctypedef struct TlsCrypto:      # one for each process: tls_crypto_init
    TlsSlot seal[3]             # by TlsSuite
    TlsSlot open[3]
    uint64_t generation         # the last that was given

ctypedef struct TlsKeys:        # one direction of one connection
    uint64_t seq                # of the next record
    uint64_t generation         # 0: no keys
    uint8_t key[32]
    uint8_t iv[12]              # 1.2 with AES-GCM: the first four bytes, the salt (RFC 5288 section 3)
    uint8_t secret[48]          # 1.3: what the next keys are made from; 1.2: zeros

ctypedef struct TlsMessage:     # where handshake messages in records stand: message.pxd
    uint32_t left               # bytes of the body to come
    uint8_t head[4]             # type, length
    uint8_t have                # bytes of the head
    uint8_t body                # first byte of the body

ctypedef struct TlsRecord:      # the record layer of one connection, after its handshake
    TlsKeys rx
    TlsKeys tx
    TlsMessage message
    uint16_t most               # bytes of content in a record that is sent: 1 to 2^14, the owner may lower it
    uint16_t rx_most            # ... that is received: lower if max_fragment_length was agreed on (RFC 6066 section 4)
    uint8_t version13           # 0: TLS 1.2
    uint8_t suite               # TlsSuite
    uint8_t server              # we are the server
    uint8_t nonce_n             # bytes of explicit nonce in a record: 8 for 1.2 with AES-GCM, else 0
    uint8_t refused             # the alert of the first record that was refused: all later ones are, too
    uint8_t empty               # records without content, one after another
    uint8_t messages            # handshake messages since the last content
    uint8_t warnings            # warning alerts since the last content


# ---- the process

cdef inline const EVP_CIPHER* tls_suite_cipher(int suite) noexcept nogil:
    if suite == TLS_AES_128_GCM:
        return EVP_aes_128_gcm()
    return EVP_aes_256_gcm() if suite == TLS_AES_256_GCM else EVP_chacha20_poly1305()


cdef inline bint tls_slot_init(TlsSlot* slot, int suite, bint sealing) noexcept nogil:
    """The cipher is looked up here, once: from now on a context is only given keys and nonces."""
    slot.ctx = EVP_CIPHER_CTX_new()
    if slot.ctx != NULL and EVP_CipherInit_ex(slot.ctx, tls_suite_cipher(suite), NULL, NULL, NULL, sealing) == 1:
        return True
    EVP_CIPHER_CTX_free(slot.ctx)
    slot.ctx = NULL
    ERR_clear_error()
    return False


cdef inline uint32_t tls_crypto_init(TlsCrypto* crypto) noexcept nogil:
    """Once in a process, after its fork. Bit 1 << TlsSuite for each suite that works; 0: this libcrypto has none."""
    cdef uint32_t found = 0
    cdef int i
    memset(crypto, 0, sizeof(TlsCrypto))
    for i in range(TLS_SUITES):
        if tls_slot_init(&crypto.seal[i], i, True) and tls_slot_init(&crypto.open[i], i, False):
            found |= <uint32_t> 1 << i
    return found


cdef inline void tls_crypto_free(TlsCrypto* crypto) noexcept nogil:
    cdef int i
    for i in range(TLS_SUITES):
        EVP_CIPHER_CTX_free(crypto.seal[i].ctx)
        EVP_CIPHER_CTX_free(crypto.open[i].ctx)
    memset(crypto, 0, sizeof(TlsCrypto))


cdef inline int tls_suite_of(uint32_t number) noexcept nogil:
    """The AEAD of a cipher suite by its number of IANA (two bytes); TLS_NO_SUITE: not one of ours."""
    if number in (0x1301, 0xC02B, 0xC02F, 0x009C, 0x009E):      # 1.3; 1.2: ECDHE with ECDSA, with RSA; RSA; DHE
        return TLS_AES_128_GCM
    if number in (0x1302, 0xC02C, 0xC030, 0x009D, 0x009F):
        return TLS_AES_256_GCM
    if number in (0x1303, 0xCCA9, 0xCCA8, 0xCCAA):              # 1.3; 1.2: ECDHE with ECDSA, with RSA; DHE
        return TLS_CHACHA20_POLY1305
    return TLS_NO_SUITE


# ---- hashes

cdef inline uint32_t tls_suite_key(int suite) noexcept nogil:
    """Bytes of a key."""
    return 16 if suite == TLS_AES_128_GCM else 32


cdef inline uint32_t tls_suite_hash(int suite) noexcept nogil:
    """Bytes of a hash, and so of a secret in 1.3."""
    return 48 if suite == TLS_AES_256_GCM else 32


cdef inline bint tls_keys_hmac(int suite, const uint8_t* key, uint32_t key_n, const uint8_t* p, uint32_t n,
                               uint8_t* out) noexcept nogil:
    """HMAC with the suite's hash into out, tls_suite_hash(suite) bytes."""
    cdef const EVP_MD* md = EVP_sha384() if suite == TLS_AES_256_GCM else EVP_sha256()
    cdef unsigned int made = 0
    if HMAC(md, key, <int> key_n, p, n, out, &made) == NULL or made != tls_suite_hash(suite):
        ERR_clear_error()
        return False
    return True


cdef inline bint tls_keys_label(int suite, const uint8_t* secret, const char* label, uint32_t label_n, uint8_t* out,
                                uint32_t n) noexcept nogil:
    """HKDF-Expand-Label(secret, label, "", n) of RFC 8446 section 7.1, for n up to one hash: HKDF's T(1), RFC 5869.

        HkdfLabel: length (2), length of the label (1), "tls13 " + label, length of the context (1): 0; then HKDF's counter: 1
    """
    cdef uint8_t info[32]
    cdef uint8_t block[48]
    cdef uint32_t at = 3 + 6 + label_n
    if n > tls_suite_hash(suite) or at + 2 > sizeof(info):
        return False
    info[0] = 0
    info[1] = <uint8_t> n
    info[2] = <uint8_t> (6 + label_n)
    memcpy(info + 3, b"tls13 ", 6)
    memcpy(info + 9, label, label_n)
    info[at] = 0
    info[at + 1] = 1
    if not tls_keys_hmac(suite, secret, tls_suite_hash(suite), info, at + 2, block):
        return False
    memcpy(out, block, n)
    OPENSSL_cleanse(block, sizeof(block))
    return True


cdef inline bint tls_keys_prf(int suite, const uint8_t* secret, uint32_t secret_n, const uint8_t* seed, uint32_t seed_n,
                              uint8_t* out, uint32_t n) noexcept nogil:
    """PRF(secret, label, seed) of RFC 5246 section 5, label and seed in one: P_hash, seed_n up to 96.

        A(0) = seed, A(i) = HMAC(secret, A(i - 1));  out = HMAC(secret, A(1) + seed) + HMAC(secret, A(2) + seed) + ...
    """
    cdef uint8_t a[48 + 96]     # A(i) + seed
    cdef uint8_t block[48]
    cdef uint32_t size = tls_suite_hash(suite), part
    cdef bint ok = seed_n <= 96 and tls_keys_hmac(suite, secret, secret_n, seed, seed_n, a)
    while ok and n > 0:
        memcpy(a + size, seed, seed_n)
        ok = tls_keys_hmac(suite, secret, secret_n, a, size + seed_n, block)
        if not ok:
            break
        part = n if n < size else size
        memcpy(out, block, part)
        out += part
        n -= part
        if n > 0:
            ok = tls_keys_hmac(suite, secret, secret_n, a, size, block)
            memcpy(a, block, size)
    OPENSSL_cleanse(a, sizeof(a))
    OPENSSL_cleanse(block, sizeof(block))
    return ok


# ---- keys of a connection

cdef inline void tls_keys_begin(TlsCrypto* crypto, TlsKeys* k, uint64_t seq) noexcept nogil:
    """New keys are in k: no context has them yet."""
    crypto.generation += 1
    k.generation = crypto.generation
    k.seq = seq


cdef inline bint tls_keys_of_secret(TlsCrypto* crypto, TlsKeys* k, int suite) noexcept nogil:
    """Key and IV of k.secret, the sequence at 0: RFC 8446 sections 7.3 and 5.3."""
    if not tls_keys_label(suite, k.secret, b"key", 3, k.key, tls_suite_key(suite)):
        return False
    if not tls_keys_label(suite, k.secret, b"iv", 2, k.iv, TLS_IV):
        return False
    tls_keys_begin(crypto, k, 0)
    return True


cdef inline bint tls_keys_update(TlsCrypto* crypto, TlsKeys* k, int suite) noexcept nogil:
    """The next keys of this direction, for a KeyUpdate that was received or sent: RFC 8446 section 7.2."""
    cdef uint8_t secret[48]
    cdef bint ok = tls_keys_label(suite, k.secret, b"traffic upd", 11, secret, tls_suite_hash(suite))
    if ok:
        memcpy(k.secret, secret, tls_suite_hash(suite))
        ok = tls_keys_of_secret(crypto, k, suite)
    OPENSSL_cleanse(secret, sizeof(secret))
    return ok


cdef inline bint tls_keys_worn(const TlsRecord* r) noexcept nogil:
    """It is time to change the keys of what we send: RFC 8446 section 5.5. TLS 1.2 has no way to."""
    return r.version13 and r.suite != TLS_CHACHA20_POLY1305 and r.tx.seq >= TLS_KEY_RECORDS


cdef inline bint tls_keys_start(TlsCrypto* crypto, TlsRecord* r, int suite, bint version13, bint server) noexcept nogil:
    """An empty record layer. False: there is no such suite here."""
    memset(r, 0, sizeof(TlsRecord))
    if not 0 <= suite < TLS_SUITES or crypto.seal[suite].ctx == NULL or crypto.open[suite].ctx == NULL:
        return False
    r.version13 = version13
    r.suite = <uint8_t> suite
    r.server = server
    r.most = r.rx_most = TLS_PLAIN
    r.nonce_n = 0 if version13 or suite == TLS_CHACHA20_POLY1305 else 8
    return True


cdef inline bint tls_keys_13(TlsCrypto* crypto, TlsRecord* r, int suite, bint server, const uint8_t* rx_secret,
                             const uint8_t* tx_secret, uint32_t n) noexcept nogil:
    """After a handshake of TLS 1.3: the two traffic secrets of n bytes each.

    Both sequences begin at 0. A server's OpenSSL sends tickets under these secrets at the end of the handshake, one record
    each: the owner sets tx.seq to their number (tls_record_count), or sequence numbers would be used twice.
    """
    if not tls_keys_start(crypto, r, suite, True, server) or n != tls_suite_hash(suite):
        return False
    memcpy(r.rx.secret, rx_secret, n)
    memcpy(r.tx.secret, tx_secret, n)
    if tls_keys_of_secret(crypto, &r.rx, suite) and tls_keys_of_secret(crypto, &r.tx, suite):
        return True
    OPENSSL_cleanse(r, sizeof(TlsRecord))
    return False


cdef inline bint tls_keys_12(TlsCrypto* crypto, TlsRecord* r, int suite, bint server, const uint8_t* master,
                             const uint8_t* client_random, const uint8_t* server_random) noexcept nogil:
    """After a handshake of TLS 1.2: its master secret (48 bytes) and randoms (32 each). Finished was record 0 of both ways.

    key_block = PRF(master, "key expansion", server_random + client_random): client's key, server's key, client's IV, server's IV
    (RFC 5246 section 6.3; an AEAD has no MAC keys).
    """
    cdef uint8_t seed[13 + 64]
    cdef uint8_t block[88]
    cdef uint32_t key_n, iv_n, i
    cdef bint ok
    if not tls_keys_start(crypto, r, suite, False, server):
        return False
    memcpy(seed, b"key expansion", 13)
    memcpy(seed + 13, server_random, 32)
    memcpy(seed + 45, client_random, 32)
    key_n = tls_suite_key(suite)
    iv_n = 4 if r.nonce_n else TLS_IV           # RFC 5288 section 3: salt; RFC 7905 section 2: whole
    ok = tls_keys_prf(suite, master, 48, seed, sizeof(seed), block, 2 * (key_n + iv_n))
    if ok:
        i = 1 if server else 0                  # whose keys we send with: the client's are first
        memcpy(r.tx.key, block + i * key_n, key_n)
        memcpy(r.rx.key, block + (1 - i) * key_n, key_n)
        memcpy(r.tx.iv, block + 2 * key_n + i * iv_n, iv_n)
        memcpy(r.rx.iv, block + 2 * key_n + (1 - i) * iv_n, iv_n)
        tls_keys_begin(crypto, &r.rx, 1)
        tls_keys_begin(crypto, &r.tx, 1)
    OPENSSL_cleanse(block, sizeof(block))
    return ok
