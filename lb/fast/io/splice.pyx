"""Bytes in bulk: splice(2) from socket to socket through a pooled pipe, without copying them into this process.

    recv fills the scratch buffer (or a long body is known to come)
        -> splice_move: socket -> pipe -> socket -> ... -> quiet: recv again

A pipe belongs to the connection that is read (`Conn.pipe`) while bytes are in it; an empty one goes back to the pool, so that
only transfers in flight hold pipes. What is held per direction is one pipe at most: it is filled only when it is empty.
"""

cdef enum:
    PIPE_SIZE = 262144          # 256 KiB did best; 64 KiB and 1 MiB were slower
    PIPES_KEPT = 32             # empty pipes kept per worker
    SPLICE_LEAST = 16384          # a body with this much to come is worth a pipe
    QUIET = 4096                # a splice below this: no bulk any more

cdef enum Spliced:
    SPLICE_WAIT = 0               # one side has no bytes, or no room, for now
    SPLICE_MORE = 1               # its share of this turn is used up: post and go on
    SPLICE_EOF = 2                # all passed on, and the source has ended
    SPLICE_BROKEN_FROM = 3        # the source failed
    SPLICE_BROKEN_TO = 4          # the destination failed
    SPLICE_NO_PIPE = 5            # no pipe to be had: copy


cdef Pipe* splice_pipe_take() noexcept nogil:
    """An empty pipe, or NULL when there are no descriptors or no memory for one."""
    cdef Pipe* p = loop.pipes
    cdef int fds[2]
    if p != NULL:
        loop.pipes = p.next
        loop.npipes -= 1
        loop.pipes_out += 1
        return p
    if pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0:
        return NULL
    p = <Pipe*> malloc(sizeof(Pipe))
    if p == NULL:
        close(fds[0])
        close(fds[1])
        return NULL
    p.r = fds[0]
    p.w = fds[1]
    p.filled = 0
    p.size = fcntl(p.w, F_SETPIPE_SZ, PIPE_SIZE)
    if <int32_t> p.size <= 0:           # pipe-user-pages-soft is used up: the size it has
        p.size = 65536
    loop.pipes_out += 1
    return p


cdef void splice_pipe_give(Conn* c) noexcept nogil:
    """The connection lets go of its pipe: into the pool when it is empty, closed when bytes are in it."""
    cdef Pipe* p = c.pipe
    if p == NULL:
        return
    c.pipe = NULL
    loop.pipes_out -= 1
    if p.filled or loop.npipes >= PIPES_KEPT:
        close(p.r)
        close(p.w)
        free(p)
        return
    p.next = loop.pipes
    loop.pipes = p
    loop.npipes += 1
    loop.pipes_at = loop.now


cdef void splice_pipes_drop() noexcept nogil:
    """Close the empty pipes: at the end, and when none was used for a second."""
    cdef Pipe* p
    while loop.pipes != NULL:
        p = loop.pipes
        loop.pipes = p.next
        close(p.r)
        close(p.w)
        free(p)
    loop.npipes = 0


cdef ssize_t splice_pipe_read(Pipe* p, char* to, size_t n) noexcept nogil:
    """Into this process after all: bytes, or <= 0 where none came."""
    cdef ssize_t got = read(p.r, to, n)
    if got > 0:
        p.filled -= <uint32_t> got
    return got


cdef inline bint splice_allowed(Conn* a, Conn* b) noexcept nogil:
    """Bytes may go around this process: both transports can, and nothing waits ahead of them."""
    return a.inb == NULL and b.out == NULL and a.io.splice_in != NULL and b.io.splice_out != NULL


cdef int splice_move(Conn* a, Conn* b, int64_t most, int64_t* took, int64_t* gave) noexcept nogil:
    """Move up to `most` bytes from `a` on to `b`. `took`: bytes read from a; `gave`: bytes given to b. -> Spliced"""
    cdef int rc = splice_turns(a, b, most, took, gave)
    if debug_on(a):
        debug_spliced(a, b, took[0], gave[0])
    return rc


cdef int splice_turns(Conn* a, Conn* b, int64_t most, int64_t* took, int64_t* gave) noexcept nogil:
    cdef int _i, rc
    took[0] = gave[0] = 0
    for _i in range(4):
        if a.pipe == NULL or a.pipe.filled == 0:
            rc = splice_in(a, most - took[0], took)
            if rc >= 0:
                return rc
        rc = splice_out(a, b, gave)
        if rc >= 0:
            return rc
    splice_pipe_give(a)                        # empty: another transfer may use it before our next turn
    return SPLICE_MORE


cdef int splice_in(Conn* a, int64_t most, int64_t* took) noexcept nogil:
    """Fill the empty pipe of `a`. -> -1: bytes are in it; else Spliced."""
    cdef ssize_t n
    if most <= 0 or not a.ready & R_READ or a.flags & CF_EOF:
        splice_pipe_give(a)
        return SPLICE_EOF if a.flags & CF_EOF else SPLICE_WAIT
    if a.pipe == NULL:
        a.pipe = splice_pipe_take()
        if a.pipe == NULL:
            a.flags &= ~CF_BULK
            return SPLICE_NO_PIPE
    n = a.io.splice_in(a, a.pipe, most if most < a.pipe.size else a.pipe.size)
    if n > 0:
        if n < QUIET:
            a.flags &= ~CF_BULK
        a.pipe.filled = <uint32_t> n
        took[0] += n
        a.got += n
        return -1
    splice_pipe_give(a)
    return SPLICE_EOF if n == IO_END else SPLICE_WAIT if n == IO_AGAIN else SPLICE_BROKEN_FROM


cdef int splice_out(Conn* a, Conn* b, int64_t* gave) noexcept nogil:
    """Empty the pipe of `a` into `b`. -> -1: it is empty; else Spliced."""
    cdef ssize_t n
    if not b.ready & R_WRITE:
        return SPLICE_WAIT
    n = b.io.splice_out(b, a.pipe)
    if n <= 0:
        return SPLICE_WAIT if n == 0 else SPLICE_BROKEN_TO
    a.pipe.filled -= <uint32_t> n
    gave[0] += n
    b.put += n
    return -1 if a.pipe.filled == 0 else splice_out(a, b, gave)
