"""The record layer of TLS 1.3 and 1.2 after the handshake: records sealed and opened where they lie. Pure: no I/O, no state but
TlsRecord and the process's cipher contexts, no memory taken.

TLS 1.3 (RFC 8446 section 5.2), every cipher; nonce = iv XOR sequence number:

    | 23 | 03 03 | length |  content  | type | zeros  |  tag (16)  |
     '---- header, AAD --' '-------- encrypted ------'

TLS 1.2, AES-GCM (RFC 5288): nonce = iv (4, the salt) + the 8 bytes that the record carries; ours carry the sequence number, which
is unique. TLS 1.2, ChaCha20-Poly1305 (RFC 7905): no nonce in the record, iv XOR sequence number. AAD for both (RFC 5246 section
6.2.3.3): sequence number (8), type, 03 03, bytes of the content (2).

    | type | 03 03 | length | nonce (8 or 0) |  content  |  tag (16)  |
                                             '-encrypted-'

    bytes -> tls_record_check_head -> tls_record_decrypt -> tls_record_inner (1.3) -> tls_record_check_content -> type, content
    type, content -> tls_record_seal -> bytes

What holds:
* Nothing of a record is handed out before its tag was right; a length is checked before it is used.
* The first refusal is the last word: TlsRecord.refused answers for every later record (RFC 8446 section 6.2).
* A sequence number is used once, and never wraps. A nonce is never used twice with one key: it is the sequence number alone that
  makes it. (TLS 1.2 with AES-GCM: OpenSSL sealed Finished, record 0, with a nonce of 8 random bytes.)
* A record is opened with the keys of its own connection: the context is keyed anew unless its generation is that of the keys.
* change_cipher_spec is refused: RFC 8446 section 5 lets it pass until the peer's Finished only, and that was before us.

Owner: the transport. It sends the alert that a negative answer names, ends the connection, and wipes.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from lb.fast.c.sys cimport memcpy
from lb.fast.tls.evp cimport (
    ERR_clear_error, EVP_CIPHER_CTX, EVP_CIPHER_CTX_ctrl, EVP_CTRL_AEAD_GET_TAG, EVP_CTRL_AEAD_SET_TAG, EVP_CipherInit_ex,
    EVP_DecryptFinal_ex, EVP_DecryptUpdate, EVP_EncryptFinal_ex, EVP_EncryptUpdate, OPENSSL_cleanse,
)
from lb.fast.tls.keys cimport TLS_IV, TLS_PLAIN, TlsCrypto, TlsKeys, TlsRecord, TlsSlot

cdef enum TlsContent:           # RFC 8446 section 5.1
    TLS_CHANGE_CIPHER_SPEC = 20
    TLS_ALERT = 21
    TLS_HANDSHAKE = 22
    TLS_DATA = 23

cdef enum TlsAlert:             # RFC 8446 section 6
    TLS_CLOSE_NOTIFY = 0
    TLS_UNEXPECTED_MESSAGE = 10
    TLS_BAD_RECORD_MAC = 20
    TLS_RECORD_OVERFLOW = 22
    TLS_ILLEGAL_PARAMETER = 47
    TLS_DECODE_ERROR = 50
    TLS_PROTOCOL_VERSION = 70
    TLS_INTERNAL_ERROR = 80
    TLS_USER_CANCELED = 90
    TLS_NO_RENEGOTIATION = 100

cdef enum:
    TLS_HEAD = 5
    TLS_TAG = 16
    TLS_NONCE = 8               # the explicit nonce of 1.2 with AES-GCM
    TLS_SEALED_13 = TLS_PLAIN + 256                     # the largest `length` of 1.3 (RFC 8446 section 5.2)
    TLS_SEALED_12 = TLS_PLAIN + TLS_NONCE + TLS_TAG     # ... of 1.2: what an AEAD makes of 2^14 bytes (RFC 5246 6.2.3 has + 2048)
    TLS_RECORD_MOST = TLS_HEAD + TLS_SEALED_13          # bytes of a whole record
    TLS_OVERHEAD = TLS_HEAD + TLS_NONCE + TLS_TAG       # bytes that sealing adds, at most
    TLS_EMPTY_MOST = 32         # records without content, one after another, as OpenSSL
    TLS_COPY = 1024             # content of this size is copied and sealed in one step: the second step costs more


# ---- the parts of a record

cdef inline uint32_t tls_record_length(const char* p) noexcept nogil:
    """`length` of the header at p[0:5]."""
    return <uint32_t> (<uint8_t> p[3]) << 8 | <uint8_t> p[4]


cdef inline void tls_record_head(char* out, uint8_t type, uint32_t length) noexcept nogil:
    out[0] = <char> type
    out[1] = 3
    out[2] = 3
    out[3] = <char> (length >> 8)
    out[4] = <char> length


cdef inline uint32_t tls_record_start(const TlsRecord* r) noexcept nogil:
    """Bytes of a record before its content: header and explicit nonce."""
    return TLS_HEAD + r.nonce_n


cdef inline void tls_record_number(uint64_t seq, uint8_t* out) noexcept nogil:
    """Eight bytes, the highest first."""
    cdef int i
    for i in range(8):
        out[i] = <uint8_t> (seq >> (56 - 8 * i))


cdef inline void tls_record_nonce(const TlsRecord* r, const TlsKeys* k, const char* p, uint8_t* nonce) noexcept nogil:
    """The nonce of the record at p, 12 bytes."""
    cdef int i
    memcpy(nonce, k.iv, TLS_IV)
    if r.nonce_n:
        memcpy(nonce + 4, p + TLS_HEAD, TLS_NONCE)      # RFC 5288 section 3
        return
    for i in range(8):                                  # RFC 8446 section 5.3, RFC 7905 section 2
        nonce[4 + i] ^= <uint8_t> (k.seq >> (56 - 8 * i))


cdef inline uint32_t tls_record_aad(const TlsRecord* r, const TlsKeys* k, const char* p, uint32_t content,
                                    uint8_t* aad) noexcept nogil:
    """What the tag covers beside the content, 13 bytes at most; their number."""
    if r.version13:
        memcpy(aad, p, TLS_HEAD)                        # RFC 8446 section 5.2
        return TLS_HEAD
    tls_record_number(k.seq, aad)                       # RFC 5246 section 6.2.3.3
    memcpy(aad + 8, p, 3)
    aad[11] = <uint8_t> (content >> 8)
    aad[12] = <uint8_t> content
    return 13


cdef inline EVP_CIPHER_CTX* tls_record_context(TlsSlot* slot, const TlsKeys* k, const uint8_t* nonce,
                                               bint sealing) noexcept nogil:
    """The process's context with these keys and this nonce; NULL: libcrypto failed, or there are no keys.

    A generation is given once only, and every change of keys takes a new one: equal means the same key.
    """
    cdef const uint8_t* key = <const uint8_t*> k.key
    if k.generation == 0:
        return NULL
    if slot.generation == k.generation:
        key = NULL
    if EVP_CipherInit_ex(slot.ctx, NULL, NULL, key, nonce, sealing) != 1:
        slot.generation = 0
        return NULL
    slot.generation = k.generation
    return slot.ctx


# ---- sealing

cdef inline bint tls_record_encrypt(EVP_CIPHER_CTX* ctx, const uint8_t* aad, uint32_t aad_n, const char* plain, uint32_t n,
                                    bint type_follows, char* out) noexcept nogil:
    """plain[0:n], and the type that lies at out[n] if it follows, into out, and the tag behind it."""
    cdef uint8_t* to = <uint8_t*> out
    cdef int made = 0
    if EVP_EncryptUpdate(ctx, NULL, &made, aad, <int> aad_n) != 1:
        return False
    if n > 0 and EVP_EncryptUpdate(ctx, to, &made, <const uint8_t*> plain, <int> n) != 1:
        return False
    if type_follows and EVP_EncryptUpdate(ctx, to + n, &made, to + n, 1) != 1:
        return False
    n += type_follows
    return EVP_EncryptFinal_ex(ctx, to + n, &made) == 1 and EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TLS_TAG, to + n) == 1


cdef inline uint32_t tls_record_seal(TlsCrypto* crypto, TlsRecord* r, uint8_t type, const char* plain, uint32_t n,
                                     char* out) noexcept nogil:
    """One record of plain[0:n] into `out`, which has room for n + TLS_OVERHEAD bytes; its length. 0: the connection must end.

    `plain` is either out + tls_record_start(r) or does not touch what is written. n is 0 to r.most: RFC 8446 section 5.1, and
    no handshake message or alert is empty (ibid.). Once sealed, bytes are sent or kept; nothing is ever sealed twice.
    """
    cdef uint8_t nonce[12]
    cdef uint8_t aad[13]
    cdef char* content = out + tls_record_start(r)
    cdef uint32_t inner = n + (1 if r.version13 else 0), aad_n
    cdef bint apart
    cdef EVP_CIPHER_CTX* ctx
    if n > r.most or (n == 0 and type != TLS_DATA) or r.tx.seq == <uint64_t> -1:    # RFC 8446 section 5.3: never wraps
        return 0
    tls_record_head(out, TLS_DATA if r.version13 else type, r.nonce_n + inner + TLS_TAG)
    if r.nonce_n:
        tls_record_number(r.tx.seq, <uint8_t*> out + TLS_HEAD)
    if n <= TLS_COPY and plain != content:
        memcpy(content, plain, n)
        plain = content
    if r.version13:
        content[n] = <char> type                        # RFC 8446 section 5.2: TLSInnerPlaintext, no padding
    tls_record_nonce(r, &r.tx, out, nonce)
    aad_n = tls_record_aad(r, &r.tx, out, n, aad)
    ctx = tls_record_context(&crypto.seal[r.suite], &r.tx, nonce, True)
    apart = plain != content                            # then the type, which lies behind the content, is a step of its own
    if ctx == NULL or not tls_record_encrypt(ctx, aad, aad_n, plain, n if apart else inner, apart and r.version13, content):
        return tls_record_failed(&crypto.seal[r.suite])
    r.tx.seq += 1
    return tls_record_start(r) + inner + TLS_TAG


cdef inline uint32_t tls_record_failed(TlsSlot* slot) noexcept nogil:
    """libcrypto's error is nobody's business later; what its context holds is not known."""
    slot.generation = 0
    ERR_clear_error()
    return 0


# ---- opening

cdef inline int tls_record_check_head(const TlsRecord* r, const char* p) noexcept nogil:
    """The header at p[0:5]: 0, or a negative alert. Known to be bad before the rest has come."""
    cdef uint32_t length = tls_record_length(p)
    if r.version13 and p[0] != TLS_DATA:
        return -TLS_UNEXPECTED_MESSAGE          # RFC 8446 section 5: all is protected now, and change_cipher_spec is over
    if p[1] != 3 or p[2] != 3:
        # RFC 8446 section 5.2: always 0x0303. RFC 5246 section 6.2.1: the version that was agreed on. Alerts as OpenSSL's.
        return -TLS_DECODE_ERROR if r.version13 and p[1] == 3 else -TLS_PROTOCOL_VERSION
    if length > <uint32_t> (TLS_SEALED_13 if r.version13 else TLS_SEALED_12):
        return -TLS_RECORD_OVERFLOW             # RFC 8446 section 5.2, RFC 5246 section 6.2.3
    if length < r.nonce_n + <uint32_t> TLS_TAG + (1 if r.version13 else 0):
        return -TLS_BAD_RECORD_MAC              # no room for nonce, tag and, in 1.3, a type: it cannot be opened
    return 0


cdef inline int tls_record_decrypt(TlsCrypto* crypto, TlsRecord* r, char* p, char* content, uint32_t n) noexcept nogil:
    """content[0:n], of the record at p, decrypted in place; its tag lies behind it. 0, or a negative alert."""
    cdef uint8_t nonce[12]
    cdef uint8_t aad[13]
    cdef uint8_t* at = <uint8_t*> content
    cdef uint32_t aad_n
    cdef int made = 0
    cdef EVP_CIPHER_CTX* ctx
    if r.rx.seq == <uint64_t> -1:               # RFC 8446 section 5.3: never wraps
        return -TLS_INTERNAL_ERROR
    tls_record_nonce(r, &r.rx, p, nonce)
    aad_n = tls_record_aad(r, &r.rx, p, n, aad)
    ctx = tls_record_context(&crypto.open[r.suite], &r.rx, nonce, False)
    if (ctx == NULL or EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TLS_TAG, at + n) != 1
            or EVP_DecryptUpdate(ctx, NULL, &made, aad, <int> aad_n) != 1):
        tls_record_failed(&crypto.open[r.suite])
        return -TLS_INTERNAL_ERROR
    if (n > 0 and EVP_DecryptUpdate(ctx, at, &made, at, <int> n) != 1) or EVP_DecryptFinal_ex(ctx, at + n, &made) != 1:
        tls_record_failed(&crypto.open[r.suite])
        return -TLS_BAD_RECORD_MAC              # RFC 8446 section 5.2, RFC 5246 section 6.2.3.3
    r.rx.seq += 1
    return 0


cdef inline int tls_record_inner(const char* content, uint32_t* n, uint8_t* type) noexcept nogil:
    """TLSInnerPlaintext (RFC 8446 sections 5.2, 5.4): the last byte that is not zero is the type. 0, or a negative alert."""
    if n[0] > TLS_PLAIN + 1:
        return -TLS_RECORD_OVERFLOW             # RFC 8446 section 5.4: with its padding
    while n[0] > 0 and content[n[0] - 1] == 0:
        n[0] -= 1
    if n[0] == 0:
        return -TLS_UNEXPECTED_MESSAGE          # RFC 8446 section 5.4: zeros only
    n[0] -= 1
    type[0] = <uint8_t> content[n[0]]
    return 0


cdef inline int tls_record_check_content(TlsRecord* r, uint8_t type, uint32_t n) noexcept nogil:
    """What was in a record whose tag was right: 0, or a negative alert."""
    if n > r.rx_most:
        return -TLS_RECORD_OVERFLOW             # RFC 8446 section 5.1, RFC 5246 section 6.2.1, RFC 6066 section 4
    if type != TLS_DATA and type != TLS_HANDSHAKE and type != TLS_ALERT:
        return -TLS_UNEXPECTED_MESSAGE          # RFC 8446 section 5, RFC 5246 section 6
    if n == 0 and type != TLS_DATA:
        return -TLS_UNEXPECTED_MESSAGE          # RFC 8446 section 5.4, RFC 5246 section 6.2.1
    if r.version13 and type != TLS_HANDSHAKE and (r.message.have or r.message.left):
        return -TLS_UNEXPECTED_MESSAGE          # RFC 8446 section 5.1: no other record inside a handshake message
    if n == 0:
        r.empty += 1
        return -TLS_UNEXPECTED_MESSAGE if r.empty > TLS_EMPTY_MOST else 0     # no rule but OpenSSL's: work without progress
    r.empty = 0
    if type == TLS_DATA:
        r.messages = r.warnings = 0
    return 0


cdef inline int tls_record_opened(TlsCrypto* crypto, TlsRecord* r, char* p, uint32_t length, uint8_t* type, char** plain,
                                  uint32_t* plain_n) noexcept nogil:
    """The whole record at p, whose header is right, opened; 0, or a negative alert."""
    cdef char* content = p + tls_record_start(r)
    cdef uint32_t n = length - r.nonce_n - TLS_TAG
    cdef uint8_t kind = <uint8_t> p[0]
    cdef int rc = tls_record_decrypt(crypto, r, p, content, n)
    if rc == 0 and r.version13:
        rc = tls_record_inner(content, &n, &kind)
    if rc == 0:
        rc = tls_record_check_content(r, kind, n)
    if rc == 0:
        type[0] = kind
        plain[0] = content
        plain_n[0] = n
    return rc


cdef inline int tls_record_open(TlsCrypto* crypto, TlsRecord* r, char* p, uint32_t n, uint8_t* type, char** plain,
                                uint32_t* plain_n) noexcept nogil:
    """The first record of p[0:n]: its bytes, and its type and content, which lies inside it. 0: more must come. Negative: an
    alert of TlsAlert, for ever. Content of no bytes is possible, for TLS_DATA only.
    """
    cdef uint32_t length
    cdef int rc
    type[0] = 0
    plain[0] = NULL
    plain_n[0] = 0
    if r.refused:
        return -<int> r.refused
    if n < TLS_HEAD:
        return 0
    rc = tls_record_check_head(r, p)
    if rc == 0:
        length = tls_record_length(p)
        if n - TLS_HEAD < length:
            return 0
        rc = tls_record_opened(crypto, r, p, length, type, plain, plain_n)
        if rc == 0:
            return <int> (TLS_HEAD + length)
    r.refused = <uint8_t> -rc
    return rc


cdef inline uint32_t tls_record_size(const char* p, uint32_t n) noexcept nogil:
    """Bytes of the first record of p[0:n], or of what is known of it yet: more than n says that it is not whole."""
    return TLS_HEAD + tls_record_length(p) if n >= TLS_HEAD else TLS_HEAD


cdef inline uint32_t tls_record_count(const char* p, uint32_t n) noexcept nogil:
    """Whole records in p[0:n]: what a server's OpenSSL sent after the client's Finished (tickets) is where tx.seq begins."""
    cdef uint32_t count = 0, size = tls_record_size(p, n)
    while n >= TLS_HEAD and size <= n:
        count += 1
        p += size
        n -= size
        size = tls_record_size(p, n)
    return count


# ---- the end

cdef inline void tls_record_forget(TlsSlot* slot, const TlsKeys* k) noexcept nogil:
    """Take k out of a context of the process, if it is there."""
    cdef uint8_t none[32]
    if slot.ctx == NULL or k.generation == 0 or slot.generation != k.generation:
        return
    OPENSSL_cleanse(none, sizeof(none))
    EVP_CipherInit_ex(slot.ctx, NULL, NULL, none, none, -1)
    slot.generation = 0


cdef inline void tls_record_wipe(TlsCrypto* crypto, TlsRecord* r) noexcept nogil:
    """The connection ends: its keys and secrets are in no memory of ours. Safe to call twice."""
    tls_record_forget(&crypto.seal[r.suite], &r.tx)
    tls_record_forget(&crypto.open[r.suite], &r.rx)
    OPENSSL_cleanse(r, sizeof(TlsRecord))
