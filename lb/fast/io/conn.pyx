"""Connections: a slab of Conn structs, one function that changes a state, one that closes, and the way to their bytes.

    accept / connect -> conn_new -> conn_state(...) -> conn_recv, conn_send, conn_flush -> conn_close -> (next turn) reuse

Owner of a Conn: the room of its kind. A closed Conn goes back to the slab with a new generation; while it is still on the
posted list it is recycled from there.

Bytes travel by Conn.io, one row of operations per transport (Transport in io/structs.pxd): plain sockets (io/plain.pyx), and
for tests io/cutting.pyx. What a transport promises, and its users rely on:

* R_READ up: a read is worth a try. A read that finds nothing takes it down, and so does one that knows it took the last byte.
  As long as it stays up behind a short read the connection is posted: no event will tell of the rest.
* R_WRITE likewise: a write that takes less than it was given takes it down.
* What is down comes up by an event of the descriptor, or, where no such event will come, by a post: the transport posts the
  connection (loop_post), and its `pending` says what to raise then (loop_run_posted).
* An event may be for nothing. What peek has shown, reads give at once.
"""


cdef inline Conn* conn_at(uint32_t idx) noexcept nogil:
    return &loop.chunks[idx >> SLAB_SHIFT][idx & ((1 << SLAB_SHIFT) - 1)]


cdef inline int conn_descriptor(Conn* c) noexcept nogil:
    """For the debug log; -1: it has none."""
    return c.fd


cdef bint conn_slab_grow() noexcept nogil:
    cdef Conn** chunks
    cdef Conn* c
    cdef int i
    c = <Conn*> calloc(1 << SLAB_SHIFT, sizeof(Conn))
    if c == NULL:
        return False
    chunks = <Conn**> realloc(loop.chunks, (loop.nchunks + 1) * sizeof(Conn*))
    if chunks == NULL:
        free(c)
        return False
    loop.chunks = chunks
    chunks[loop.nchunks] = c
    for i in range((1 << SLAB_SHIFT) - 1, -1, -1):
        c[i].idx = (loop.nchunks << SLAB_SHIFT) + i
        c[i].gen = 1
        c[i].posted = loop.free_conns
        loop.free_conns = &c[i]
    loop.nchunks += 1
    return True


cdef Conn* conn_new(int fd, int kind) noexcept nogil:
    """A Conn of plain sockets for fd, or NULL: no slot (worker_connections) or no memory. Takes fd only on success."""
    cdef Conn* c
    if loop.nconns >= loop.max_conns and not conn_reclaim():
        return NULL
    c = conn_slot(fd, kind)
    if c != NULL:
        loop.nconns += 1
    return c


cdef Conn* conn_slot(int fd, int kind) noexcept nogil:
    """A Conn of the slab, as conn_new, that worker_connections does not count: it has no descriptor of its own."""
    cdef Conn* c
    if loop.free_conns == NULL and not conn_slab_grow():
        return NULL
    c = loop.free_conns
    loop.free_conns = c.posted
    c.posted = NULL
    c.fd = fd
    c.io = &plain
    c.kind = kind
    c.enc = &h1_encoder
    c.born = c.opened = loop.now
    c.got = c.put = 0
    c.loc = NULL
    c.debug = 0
    BUG_ON(c.state != S_FREE or c.req != NULL or c.inb != NULL or c.out != NULL or c.timer.due != 0)
    return c


cdef void conn_recycle(Conn* c) noexcept nogil:
    c.posted = loop.free_conns
    loop.free_conns = c


cdef void conn_close(Conn* c) noexcept nogil:
    """The end of a connection: every list, timer, buffer and count it is in. Its exchange must have let go of it."""
    BUG_ON(c.kind == K_FREE)
    BUG_ON(c.req != NULL and (c.req.client == c or c.req.up == c))
    if debug_on(c):
        debug_close(c)
    conn_state(c, S_FREE)
    timer_drop(&c.timer)
    if c.inb != NULL:
        buf_free_chain(&loop.pool, c.inb)
        c.inb = NULL
    if c.out != NULL:
        buf_free_chain(&loop.pool, c.out)
        c.out = NULL
    if c.proxy_protocol != NULL:
        buf_free(&loop.pool, c.proxy_protocol)
        c.proxy_protocol = NULL
    splice_pipe_give(c)
    if unlikely(c.h2 != NULL):
        h2_closed(c)
    c.io.close(c)
    loop.nconns -= c.kind != K_STREAM
    c.gen += 1
    c.kind = K_FREE
    c.ready = 0
    c.req = NULL
    c.lst = NULL
    c.peer = NULL
    c.served = 0
    c.addr_len = 0
    c.number = 0
    if c.flags & CF_POSTED:         # loop_run_posted recycles it
        c.flags = CF_POSTED
        return
    c.flags = 0
    conn_recycle(c)


cdef void conn_hang_up(Conn* c) noexcept nogil:
    """Close its socket and forget what waits; the Conn goes on without one, and no event of the old one reaches it."""
    if c.inb != NULL:
        buf_free_chain(&loop.pool, c.inb)
        c.inb = NULL
    if c.out != NULL:
        buf_free_chain(&loop.pool, c.out)
        c.out = NULL
    c.io.close(c)
    c.io = &plain_none
    c.gen += 1
    c.ready = 0
    c.flags &= CF_POSTED


cdef inline bint conn_has_socket(Conn* c) noexcept nogil:
    return c.io != &plain_none


cdef void conn_state(Conn* c, int state) noexcept nogil:
    """The one place where Conn.state changes: keeps the idle list of clients and the counters of the status page."""
    cdef int old = c.state
    if old == state:
        return
    c.state = state
    if debug_on(c):
        debug_state(c, old, state)
    if loop.kinds[c.kind].count != NULL:
        loop.kinds[c.kind].count(c, old, state)


# ---- idle clients, the one that waits longest first

cdef void conn_idle_link(Conn* c) noexcept nogil:
    c.next = NULL
    c.prev = loop.idle_last
    if loop.idle_last != NULL:
        loop.idle_last.next = c
    else:
        loop.idle_first = c
    loop.idle_last = c


cdef void conn_idle_unlink(Conn* c) noexcept nogil:
    if c.prev != NULL:
        c.prev.next = c.next
    else:
        loop.idle_first = c.next
    if c.next != NULL:
        c.next.prev = c.prev
    else:
        loop.idle_last = c.prev
    c.prev = c.next = NULL


cdef bint conn_idle_enough(Conn* c) noexcept nogil:
    """May lb close this idle client by itself? keepalive_min_timeout says from when on."""
    return c.loc == NULL or loop.now - c.born >= c.loc.keepalive_min


cdef bint conn_reclaim() noexcept nogil:
    """Slots have run out: close the client that has been idle longest. False when none is idle."""
    cdef Conn* c = loop.idle_first
    loop.st.no_slots += 1
    while c != NULL and not conn_idle_enough(c):
        c = c.next
    if c == NULL:
        return False
    conn_close(c)
    return True


# ---- bytes

cdef inline ssize_t conn_recv(Conn* c, char* p, size_t n) noexcept nogil:
    """Read once. > 0: bytes; IO_END; IO_AGAIN; IO_FAILED."""
    cdef ssize_t got
    if likely(c.io == &plain):
        got = plain_recv(c, p, n)
    else:
        got = conn_recv_by(c, p, n)
    if debug_on(c):
        debug_bytes(c, b"recv:", got, n)
    if likely(got > 0):
        c.got += got
    return got


cdef ssize_t conn_recv_by(Conn* c, char* p, size_t n) noexcept nogil:
    cdef ssize_t got = c.io.recv(c, p, n)
    if got > 0 and <size_t> got < n and c.ready & R_READ:
        loop_post(c)
    return got


cdef inline ssize_t conn_write(Conn* c, const char* p, size_t n) noexcept nogil:
    """Send once. Bytes taken (0: none now), or IO_FAILED."""
    cdef ssize_t got
    if likely(c.io == &plain):
        got = plain_send(c, p, n)
    else:
        got = c.io.send(c, p, n)
    if debug_on(c):
        debug_bytes(c, b"send:", got, n)
    if likely(got > 0):
        c.put += got
    return got


cdef ssize_t conn_peek(Conn* c, char* p, size_t n) noexcept nogil:
    """Look at what has come, without taking it: as conn_recv, but the end stays, too. It may show less than there is."""
    cdef ssize_t got = c.io.peek(c, p, n)
    if got > 0 and <size_t> got < n and c.io.pending(c):
        loop_post(c)
    return got


cdef bint conn_take(Conn* c, char* p, size_t n) noexcept nogil:
    """Read bytes that conn_peek has shown. False: the connection failed."""
    cdef ssize_t got
    while n:
        got = conn_recv(c, p, n)
        if got <= 0:
            return False
        p += got
        n -= got
    c.ready |= R_READ               # the peek may have seen what lies behind them: no edge tells of it again
    return True


cdef bint conn_nothing_came(Conn* c) noexcept nogil:
    """Neither a byte nor the end: asks the kernel."""
    cdef char byte
    return conn_peek(c, &byte, 1) == IO_AGAIN and not c.io.pending(c)


cdef ssize_t conn_sendfile(Conn* c, int file, int64_t at, size_t n) noexcept nogil:
    """From a file at `at`. Bytes; 0: none now, or (with R_WRITE up) the file has ended; IO_FAILED. Through the scratch buffer
    where the transport must see them."""
    cdef ssize_t got
    if c.io.sendfile != NULL:
        got = c.io.sendfile(c, file, at, n)
        if got > 0:
            c.put += got
        return got
    got = pread(file, loop.scratch, n if n < SCRATCH else SCRATCH, at)
    return conn_write(c, loop.scratch, got) if got > 0 else 0


cdef bint conn_send(Conn* c, const char* p, size_t n) noexcept nogil:
    """Send these bytes, keeping what the kernel does not take. False: the connection failed, or memory is out.

    Bounded by its callers: none of them reads more for a connection whose `out` is not empty.
    """
    cdef ssize_t got = 0
    cdef Buf* b
    if c.flags & CF_FAILED:
        return False
    if c.out == NULL:
        got = conn_write(c, p, n)
        if likely(got == <ssize_t> n):
            return True
        if got < 0:
            return False
    b = buf_append(&loop.pool, c.out, p + got, <uint32_t> (n - got))
    if b == NULL:
        c.flags |= CF_FAILED
        return False
    c.out = b
    return True


cdef int conn_flush(Conn* c) noexcept nogil:
    """Send what waits in `out`. 1: all gone; 0: some still waits; -1: the connection failed."""
    cdef Buf* b
    cdef Buf* rest
    cdef ssize_t got
    while c.out != NULL:
        if not c.ready & R_WRITE:
            return 0
        b = c.out
        if unlikely(b.sealed):
            got = plain_send(c, buf_data(b) + b.off, buf_len(b))
        else:
            c.out = NULL                # what the transport cannot send of it comes here, sealed
            got = conn_write(c, buf_data(b) + b.off, buf_len(b))
            rest = b
            if got > 0 and <uint32_t> got == buf_len(b):
                rest = b.next
            c.out = conn_chain(c.out, rest)
        if got < 0:
            return -1
        b.off += <uint32_t> got
        if b.off == b.end:
            if c.out == b:
                c.out = b.next
            buf_free(&loop.pool, b)
    return 1


cdef inline Buf* conn_chain(Buf* first, Buf* then) noexcept nogil:
    cdef Buf* last = first
    if likely(first == NULL):
        return then
    while last.next != NULL:
        last = last.next
    last.next = then
    return first


cdef bint conn_keep_sealed(Conn* c, const char* p, uint32_t n) noexcept nogil:
    """Bytes of a transport, ready to be sent, wait in `out`: behind those of their kind, before what is not sealed yet."""
    cdef Buf* b
    cdef Buf** at = &c.out
    if n == 0:
        return True
    b = buf_copy(&loop.pool, p, n)
    if b == NULL:
        c.flags |= CF_FAILED
        return False
    b.sealed = 1
    while at[0] != NULL and at[0].sealed:
        at = &at[0].next
    b.next = at[0]
    at[0] = b
    return True


cdef void conn_keep(Conn* c, const char* p, uint32_t n) noexcept nogil:
    """Keep bytes that were read but not parsed yet. Without memory for them the connection fails at its next use."""
    c.inb = buf_copy(&loop.pool, p, n)
    if c.inb == NULL:
        c.flags |= CF_FAILED


cdef void conn_reset(Conn* c) noexcept nogil:
    """Its close will be a reset, not a FIN."""
    c.io.reset(c)


cdef void conn_abort(Conn* c) noexcept nogil:
    """What was sent is not whole: its end is a FIN without the transport's own word of an end (TLS: close_notify)."""
    if c.io.abort != NULL:
        c.io.abort(c)
