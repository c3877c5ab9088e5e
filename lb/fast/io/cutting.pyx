"""The transport that exists to find faults: plain sockets that behave as badly as any transport may. In builds with checks only.

    LB_CUTTING=SEED lb ...             clients and servers alike; the seed makes the dice
    LB_CUTTING=SEED:clients lb ...     their handshakes never end (:servers: those with servers)

It takes bytes from the socket into a store of its own, as TLS takes a record, and gives them out cut where the dice say, so
that the descriptor is silent while bytes are here; takes a part of what is sent; says "not now" without a cause, in a
handshake of several rounds too; and refuses splice and sendfile. What it withheld it posts the connection for.
"""

cdef enum:
    CUTTING_STORE = 16384       # as long as a TLS record
    CUTTING_FINE = 65536        # bytes of a connection that are cut fine: behind them one cut in eight is

cdef Transport cutting


ctypedef struct Cutting:        # Conn.io_state
    uint64_t dice
    uint32_t off                # of the store: first byte not yet given
    uint32_t end
    uint32_t shown              # bytes that peek has shown: reads give these at once
    uint32_t rounds             # of the handshake that are still to come
    uint32_t owed               # Ready: what "not now" without a cause took down
    char store[CUTTING_STORE]


cdef void cutting_init() noexcept nogil:
    memcpy(&cutting, &plain, sizeof(Transport))
    cutting.name = b"cutting"
    cutting.recv = cutting_recv
    cutting.send = cutting_send
    cutting.peek = cutting_peek
    cutting.pending = cutting_pending
    cutting.handshake = cutting_handshake
    cutting.splice_in = NULL
    cutting.splice_out = NULL
    cutting.sendfile = NULL
    cutting.close = cutting_close


cdef Cutting* cutting_of(Conn* c) noexcept nogil:
    """Its state, made at the first use."""
    cdef Cutting* s = <Cutting*> c.io_state
    if s == NULL:
        s = <Cutting*> calloc(1, sizeof(Cutting))
        if s == NULL:
            abort()
        loop.cutting += 1
        s.dice = loop.cutting * 0x9E3779B97F4A7C15ULL
        s.rounds = cutting_dice(s, 4)
        c.io_state = s
    return s


cdef uint32_t cutting_dice(Cutting* s, uint32_t n) noexcept nogil:
    """0 to n - 1 (xorshift64*)."""
    s.dice ^= s.dice >> 12
    s.dice ^= s.dice << 25
    s.dice ^= s.dice >> 27
    return <uint32_t> ((s.dice * 0x2545F4914F6CDD1DULL) >> 33) % n


cdef size_t cutting_cut(Cutting* s, uint64_t so_far, size_t n) noexcept nogil:
    """How many of n bytes: all, some, or very few."""
    cdef uint32_t how = cutting_dice(s, 4)
    if n < 2 or how == 0 or (so_far > CUTTING_FINE and cutting_dice(s, 8)):
        return n
    if how == 1:
        return 1 + cutting_dice(s, <uint32_t> n)
    return 1 + cutting_dice(s, 8 if n > 8 else <uint32_t> n)


cdef bint cutting_not_now(Conn* c, Cutting* s, int ready) noexcept nogil:
    """One time in four: no, and the connection is posted."""
    s.owed &= ~ready
    if cutting_dice(s, 4):
        return False
    cutting_owe(c, s, ready)
    return True


cdef void cutting_owe(Conn* c, Cutting* s, int ready) noexcept nogil:
    c.ready &= ~ready
    s.owed |= ready
    loop_post(c)


cdef int cutting_pending(Conn* c) noexcept nogil:
    cdef Cutting* s = cutting_of(c)
    return s.owed | (R_READ if s.end - s.off > s.shown else 0)


cdef ssize_t cutting_fill(Conn* c, Cutting* s) noexcept nogil:
    """Take from the socket what fits in the store. As plain_recv."""
    cdef ssize_t got
    if s.off:
        memmove(s.store, s.store + s.off, s.end - s.off)
        s.end -= s.off
        s.off = 0
    if s.end == CUTTING_STORE:
        return 1
    got = plain_recv(c, s.store + s.end, CUTTING_STORE - s.end)
    if got > 0:
        s.end += <uint32_t> got
    return got


cdef ssize_t cutting_recv(Conn* c, char* p, size_t n) noexcept nogil:
    cdef Cutting* s = cutting_of(c)
    cdef ssize_t got
    if not s.shown and cutting_not_now(c, s, R_READ):
        return IO_AGAIN
    if s.off == s.end:
        got = cutting_fill(c, s)
        if got <= 0:
            return got
    if n > s.end - s.off:
        n = s.end - s.off
    if s.shown and n > s.shown:
        n = s.shown
    n = cutting_cut(s, c.got, n)
    memcpy(p, s.store + s.off, n)
    s.off += <uint32_t> n
    s.shown -= <uint32_t> n if s.shown else 0
    if s.off < s.end:
        c.ready |= R_READ
    return n


cdef ssize_t cutting_peek(Conn* c, char* p, size_t n) noexcept nogil:
    """What is in the store and behind it; one who looks again sees more."""
    cdef Cutting* s = cutting_of(c)
    cdef ssize_t got = cutting_fill(c, s)
    cdef uint32_t have = s.end - s.off
    if got == IO_END:                   # a look does not take it
        c.flags &= ~CF_EOF
        c.ready |= R_READ
    if have == 0:
        return got
    if not s.shown and cutting_not_now(c, s, R_READ):
        return IO_AGAIN
    if n > have:
        n = have
    got = cutting_cut(s, 0, n)
    if s.shown < got:
        s.shown = <uint32_t> got
    elif s.shown < n:
        s.shown += 1
    if s.shown < have:
        c.ready |= R_READ
    if n > s.shown:
        n = s.shown
    memcpy(p, s.store + s.off, n)
    return n


cdef ssize_t cutting_send(Conn* c, const char* p, size_t n) noexcept nogil:
    cdef Cutting* s = cutting_of(c)
    cdef ssize_t got
    cdef size_t some
    if cutting_not_now(c, s, R_WRITE):
        return 0
    some = cutting_cut(s, c.put, n)
    got = plain_send(c, p, some)
    if got == <ssize_t> some and some < n:
        cutting_owe(c, s, R_WRITE)
    return got


cdef int cutting_handshake(Conn* c) noexcept nogil:
    """So many rounds; it fails when the connection is gone. Of a unix socket that is told as soon as both ends are closed, though
    bytes may wait."""
    cdef Cutting* s = cutting_of(c)
    cdef bint stalled = loop.stalled == c.kind
    if (c.ready & R_ERR and not c.flags & CF_UNIX) or (stalled and c.ready & R_HUP):
        return IO_FAILED
    if stalled:
        return 0
    if s.rounds == 0:
        return 1
    s.rounds -= 1
    loop_post(c)
    return 0


cdef void cutting_close(Conn* c) noexcept nogil:
    free(c.io_state)
    c.io_state = NULL
    plain_close(c)
