"""What the TLS fuzzer runs: an input is a script of what one record layer seals and of what befalls its records on the way to
another; all that must hold of what comes out there. abort() when not.

    input: kind (suite: modulo 3; bit 2: TLS 1.3; bit 3: the receiver is a server), piece (bytes that arrive at once), steps
    step: what it is (low 3 bits; the high 5: a number N), then its own bytes

        0 data of N bytes     1 handshake content of N bytes     2 alert of N bytes     3 any type: type, content of N bytes
        4 a bit of the next record is flipped: place     5 the next record comes twice (N even) or is cut to its first N bytes
        6 N bytes as they are     7 KeyUpdate of the sender's own (N odd: asks), or data in place

What holds: as long as the wire is as it was sealed, every record comes out as it went in, or is refused by a rule for its
content; from the first byte that differs on, no record comes out; after a refusal, none ever. Built by tests/fuzz/__main__.py.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from lb.fast.c.sys cimport abort, free, malloc, memcmp, memcpy, memmove, memset
from lb.fast.tls.keys cimport (
    TLS_SUITES, TlsCrypto, TlsRecord, tls_crypto_init, tls_keys_12, tls_keys_13, tls_keys_update, tls_suite_hash,
)
from lb.fast.tls.message cimport (
    TLS_CLOSED, TLS_NOTHING, TLS_UPDATED, TLS_UPDATE_ASKED, TLS_WARNING, tls_message_alert, tls_message_next, tls_message_update,
)
from lb.fast.tls.record cimport (
    TLS_ALERT, TLS_DATA, TLS_HANDSHAKE, TLS_OVERHEAD, tls_record_count, tls_record_open, tls_record_seal,
    tls_record_size, tls_record_start, tls_record_wipe,
)

cdef enum:
    ROOM = 1 << 14          # bytes on the wire at most
    MOST = 300              # bytes of a record's content at most

ctypedef struct Talk:
    TlsRecord sender
    TlsRecord receiver
    char wire[16384]        # what has arrived and was not opened
    uint32_t n
    uint32_t piece
    bint damaged            # the wire is not as it was sealed
    bint ended              # the receiver refused
    char plain[300]         # the content that the next record must have
    uint32_t plain_n
    uint8_t type
    bint expected           # there is such a record

ctypedef struct Script:
    const uint8_t* p
    uint32_t n

cdef TlsCrypto crypto
cdef bint ready = False


cdef inline void must(bint holds) noexcept nogil:
    if not holds:
        abort()


cdef inline uint8_t byte(Script* s) noexcept nogil:
    if s.n == 0:
        return 0
    s.p += 1
    s.n -= 1
    return (s.p - 1)[0]


cdef uint32_t text(Script* s, uint32_t n, char* out) noexcept nogil:
    """n bytes of the script, or what there is; their number."""
    n = n if n < s.n else s.n
    memcpy(out, s.p, n)
    s.p += n
    s.n -= n
    return n


cdef void start(Talk* t, uint8_t kind) noexcept nogil:
    cdef uint8_t secrets[2][48]
    cdef int suite = (kind & 3) % TLS_SUITES
    cdef bint server = kind & 8 != 0
    cdef uint32_t n = tls_suite_hash(suite)
    memset(secrets[0], 1, 48)
    memset(secrets[1], 2, 48)
    memset(t, 0, sizeof(Talk))
    if kind & 4:
        must(tls_keys_13(&crypto, &t.receiver, suite, server, secrets[0], secrets[1], n))
        must(tls_keys_13(&crypto, &t.sender, suite, not server, secrets[1], secrets[0], n))
    else:
        must(tls_keys_12(&crypto, &t.receiver, suite, server, secrets[0], secrets[0], secrets[1]))
        must(tls_keys_12(&crypto, &t.sender, suite, not server, secrets[0], secrets[0], secrets[1]))


# ---- the receiver

cdef void messages(Talk* t, const char* p, uint32_t n) noexcept nogil:
    """Handshake content: the sender's keys follow the receiver's."""
    cdef uint32_t used = 0, events = 0
    cdef int rc = 1
    while rc > 0:
        rc = tls_message_next(&crypto, &t.receiver, p, n, &used)
        if rc < 0:
            break
        must(used <= n and (rc == TLS_NOTHING or used > 0))
        p += used
        n -= used
        events += 1
        if rc == TLS_UPDATED or rc == TLS_UPDATE_ASKED:
            must(n == 0)
            if not t.damaged and t.sender.tx.seq > 0:       # tls_message_update has done it
                must(tls_keys_update(&crypto, &t.sender.tx, t.sender.suite))
    must(rc < 0 or n == 0)
    t.ended = t.ended or rc < 0


cdef void content(Talk* t, uint8_t type, const char* p, uint32_t n) noexcept nogil:
    """A record came out: it must be the one that was sealed."""
    cdef int rc
    must(not t.damaged and not t.ended and t.expected)
    must(type == t.type and n == t.plain_n and memcmp(p, t.plain, n) == 0)
    t.expected = False
    if type == TLS_HANDSHAKE:
        messages(t, p, n)
    elif type == TLS_ALERT:
        rc = tls_message_alert(&t.receiver, p, n)
        must(rc < 0 or TLS_CLOSED <= rc <= TLS_WARNING)
        t.ended = rc < 0
    else:
        must(type == TLS_DATA)


cdef int open_one(Talk* t, uint32_t n) noexcept nogil:
    """One record of the first n bytes of the wire, from a copy of exactly that size."""
    cdef char* copy = <char*> malloc(n)
    cdef uint8_t type = 0xa5
    cdef char* plain = NULL
    cdef uint32_t plain_n = 0
    cdef int rc
    memcpy(copy, t.wire, n)
    rc = tls_record_open(&crypto, &t.receiver, copy, n, &type, &plain, &plain_n)
    must(rc <= <int> n and (rc <= 0 or <uint32_t> rc == tls_record_size(t.wire, n)))
    must(rc > 0 or (plain == NULL and type == 0))
    must(not t.ended or rc < 0)
    if rc > 0:
        must(copy <= plain and plain + plain_n <= copy + rc and tls_record_count(t.wire, n) >= 1)
        content(t, type, plain, plain_n)
    elif rc < 0:
        t.ended = True
    else:
        must(tls_record_size(t.wire, n) > n)
    free(copy)
    return rc


cdef void arrive(Talk* t, const char* p, uint32_t n) noexcept nogil:
    """Bytes reach the receiver, some at a time."""
    cdef uint32_t part
    cdef int rc
    if t.n + n > ROOM:
        return
    while n > 0:
        part = t.piece if t.piece and t.piece < n else n
        memcpy(t.wire + t.n, p, part)
        t.n += part
        p += part
        n -= part
        rc = 1
        while rc > 0 and t.n > 0:
            rc = open_one(t, t.n)
            if rc > 0:
                t.n -= <uint32_t> rc
                memmove(t.wire, t.wire + rc, t.n)
    must(t.damaged or t.ended or (t.n == 0 and not t.expected))


# ---- the sender

cdef void may_be_refused(Talk* t) noexcept nogil:
    """A record that no rule forbids must have come out."""
    cdef uint8_t refused = t.receiver.refused
    if t.ended and not t.damaged and refused:
        must(t.type != TLS_DATA or t.plain_n == 0 or t.receiver.message.have or t.receiver.message.left)


cdef void deliver(Talk* t, char* record, uint32_t n, uint32_t flip, uint8_t how, uint32_t number) noexcept nogil:
    cdef bint was_sound = not t.damaged and not t.ended
    if n == 0:
        return
    if flip:
        record[(flip >> 3) % n] ^= <char> (1 << (flip & 7))
        t.damaged = True
    if how == 5 and number & 1 and number < n:
        t.damaged = True
        if number:
            arrive(t, record, number)
        return
    arrive(t, record, n)
    if was_sound and not flip:
        may_be_refused(t)
    if how == 5:
        t.damaged = True
        arrive(t, record, n)


cdef uint32_t seal(Talk* t, Script* s, uint8_t what, uint32_t n, char* out) noexcept nogil:
    """The next record into out; what is in it into t."""
    cdef uint32_t made, i
    cdef char* place = out + tls_record_start(&t.sender)
    t.type = TLS_DATA
    if what == 3:
        t.type = byte(s)
    elif what == 1 or what == 2:
        t.type = TLS_HANDSHAKE if what == 1 else TLS_ALERT
    t.plain_n = text(s, n, t.plain)
    memcpy(place, t.plain, t.plain_n)
    made = tls_record_seal(&crypto, &t.sender, t.type, place if what == 7 else t.plain, t.plain_n, out)
    must(made > 0 or (t.plain_n == 0 and t.type != TLS_DATA))
    must(made <= t.plain_n + TLS_OVERHEAD)
    t.expected = made > 0
    if t.sender.version13 and what == 3 and t.type == 0:        # padding: the last byte that is not zero is the type
        i = t.plain_n
        while i > 0 and t.plain[i - 1] == 0:
            i -= 1
        t.plain_n = i - 1 if i else 0
        t.type = <uint8_t> t.plain[i - 1] if i else 0
    return made


cdef void update(Talk* t, bint ask) noexcept nogil:
    """A KeyUpdate by tls_message_update, which changes the sender's keys itself."""
    cdef char out[64]
    cdef uint64_t before = t.receiver.rx.generation
    cdef uint32_t n = tls_message_update(&crypto, &t.sender, ask, out)
    must((n > 0) == (t.sender.version13 != 0))
    if n == 0:
        return
    t.type = TLS_HANDSHAKE
    t.plain_n = 5
    memcpy(t.plain, b"\x18\0\0\x01\0", 5)
    t.plain[4] = <char> ask
    t.expected = True
    must(t.sender.tx.seq == 0)
    arrive(t, out, n)
    if t.receiver.rx.generation == before:      # inside another message, it was none: now the keys differ
        t.damaged = True


cdef void run(Talk* t, Script* s) noexcept nogil:
    cdef char record[512]
    cdef uint32_t number, n, flip = 0
    cdef uint8_t step, how = 0, cut = 0
    while s.n > 0:
        step = byte(s)
        number = step >> 3
        if step & 7 == 4:
            flip = <uint32_t> byte(s) << 3 | number & 7 or 1
        elif step & 7 == 5:
            how = 5
            cut = <uint8_t> number
        elif step & 7 == 6:
            n = text(s, number, record)
            t.damaged = t.damaged or n > 0
            arrive(t, record, n)
        elif step & 7 == 7 and number & 2:
            update(t, number & 1)
        else:
            n = seal(t, s, step & 7, number * 8 if number & 16 else number, record)
            deliver(t, record, n, flip, how, cut)
            flip = how = 0


cdef public int fuzz_one(const uint8_t* data, size_t n) noexcept nogil:
    global ready
    cdef Script s
    cdef Talk* t
    if n < 3 or n > 1 << 12:
        return 0
    if not ready:
        must(tls_crypto_init(&crypto) == 7)
        ready = True
    t = <Talk*> malloc(sizeof(Talk))
    start(t, data[0])
    t.piece = data[1]
    s.p = data + 2
    s.n = <uint32_t> n - 2
    run(t, &s)
    tls_record_wipe(&crypto, &t.sender)
    tls_record_wipe(&crypto, &t.receiver)
    free(t)
    return 0
