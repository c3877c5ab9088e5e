"""type=grpc, redis and postgres: what is sent, and what their answers (grpc.pxd, databases.pxd) are taken for."""


cdef enum:
    GRPC_PREFACE = 33           # bytes before the first question: the client's preface, and SETTINGS
    GRPC_WINDOW = 32768         # bytes of DATA after which the connection's window is opened again
    GRPC_IDLE = 1000            # frames between two checks

cdef struct GrpcKept:           # Check.grpc: a connection that has served
    HpackTable hpack            # of the server's fields
    uint32_t stream             # of the last question
    uint32_t data               # of DATA since the window was opened
    uint32_t frames             # since the last answer


cdef void check_grpc_send(Check* k, Out* o) noexcept nogil:
    """The question as compiled, on the connection's next stream; behind the preface only on a new one."""
    cdef GrpcKept* g = <GrpcKept*> k.grpc
    cdef Str text = k.conf.send[0].text
    cdef uint32_t first = GRPC_PREFACE
    if k.served == 1 or g == NULL:
        check_grpc_forget(k)
        out_str(o, text)
        return
    g.stream += 2
    g.frames = 0
    if g.data > GRPC_WINDOW:
        grpc_put(o, 4, GF_WINDOW, 0, 0)
        grpc_put_number(o, g.data, 4)
        g.data = 0
    while first + 9 <= text.n:              # HEADERS, DATA
        out_put(o, text.p + first, 5)
        grpc_put_number(o, g.stream, 4)
        out_put(o, text.p + first + 9, grpc_number(<const uint8_t*> text.p + first, 3))
        first += 9 + grpc_number(<const uint8_t*> text.p + first, 3)


cdef void check_grpc_forget(Check* k) noexcept nogil:
    if k.grpc == NULL:
        return
    hpack_free(&(<GrpcKept*> k.grpc).hpack)
    free(k.grpc)
    k.grpc = NULL


cdef int check_grpc_judge(Check* k, const char* p, uint32_t n, bint end) noexcept nogil:
    """By grpc-status, wherever it stands; a server that answers 0 must say SERVING, too."""
    cdef GrpcKept* g = <GrpcKept*> k.grpc
    cdef GrpcAnswer a
    cdef int rc = grpc_read(<const uint8_t*> p, n, loop.heads, HEADS, g.stream if g != NULL else 1,
                            &g.hpack if g != NULL else NULL, &a)
    if rc == P_MORE:
        return JUDGE_MORE
    if rc == P_BAD:
        return JUDGE_FAIL               # `why` is CHECK_INVALID from the start
    rc = check_grpc_answer(k, &a)
    if rc == JUDGE_OK and not end and k.served < k.conf.requests:
        k.keep = check_grpc_keep(k, &a, p, n)
    hpack_free(&a.hpack)
    return rc


cdef int check_grpc_answer(Check* k, GrpcAnswer* a) noexcept nogil:
    if a.error < 0 and a.http < 0:
        return JUDGE_FAIL
    if a.error == 0 and a.leaving and k.grpc != NULL:
        return JUDGE_AGAIN              # it had gone before it saw the question
    if a.error >= 0:
        return check_grpc_refused(k, a.error, b"error of HTTP/2")
    if a.http != 200:
        return check_grpc_refused(k, a.http, b"HTTP status")
    if a.grpc < 0:
        check_note(k, b"no grpc-status", 14)
        return JUDGE_FAIL
    if a.grpc != k.conf.grpc:
        return check_grpc_refused(k, a.grpc, b"grpc-status")
    if a.grpc == 0 and a.serving != 1:
        return check_grpc_refused(k, a.serving, b"serving status")
    k.detail = 0
    return JUDGE_OK


cdef bint check_grpc_keep(Check* k, GrpcAnswer* a, const char* p, uint32_t n) noexcept nogil:
    """The answer is good: acknowledge what came with it, and remember where the connection stands."""
    cdef GrpcKept* g = <GrpcKept*> k.grpc
    cdef uint32_t size = 0, frames = 0
    cdef Out o
    out_init(&o, loop.heads, HEADS)
    if grpc_idle(<const uint8_t*> p, a.size, True, &size, &frames, &o) != P_DONE:
        return False
    if o.p > loop.heads and not conn_send(k.conn, loop.heads, <size_t> (o.p - loop.heads)):
        return False
    if g == NULL:
        g = <GrpcKept*> calloc(1, sizeof(GrpcKept))
        if g == NULL:
            return False
        g.stream = 1
        k.grpc = g
    hpack_free(&g.hpack)
    g.hpack = a.hpack
    memset(&a.hpack, 0, sizeof(HpackTable))
    g.data += a.data
    return check_grpc_between(k, p + a.size, n - a.size)


cdef bint check_grpc_between(Check* k, const char* p, uint32_t n) noexcept nogil:
    """What comes while no question is open; a part of a frame waits for its rest. False: the connection cannot serve again."""
    cdef GrpcKept* g = <GrpcKept*> k.grpc
    cdef uint32_t size = 0
    cdef Out o
    out_init(&o, loop.heads, HEADS)
    if grpc_idle(<const uint8_t*> p, n, False, &size, &g.frames, &o) != P_DONE or g.frames > GRPC_IDLE:
        return False
    if o.p > loop.heads and not conn_send(k.conn, loop.heads, <size_t> (o.p - loop.heads)):
        return False
    if n > size:
        conn_keep(k.conn, p + size, n - size)
    return True


cdef bint check_grpc_idle(Check* k) noexcept nogil:
    """An event between two checks. False: the connection has ended, or cannot serve again."""
    cdef Conn* c = k.conn
    cdef uint32_t n = check_waiting(c)
    cdef ssize_t got
    while c.ready & R_READ:
        if n == CHECK_MOST:
            return False
        got = conn_recv(c, loop.scratch + n, CHECK_MOST - n)
        if got == IO_END or got == IO_FAILED:
            return False
        n += <uint32_t> got if got > 0 else 0
    return check_grpc_between(k, loop.scratch, n) and conn_flush(c) >= 0


cdef int check_grpc_refused(Check* k, int code, const char* what) noexcept nogil:
    check_note(k, what, <uint32_t> strlen(what))
    return check_refused(k, code)


cdef void check_redis_send(Check* k, Out* o) noexcept nogil:
    out_text(o, b"*1\r\n$4\r\nPING\r\n")


cdef int check_redis_judge(Check* k, const char* p, uint32_t n, bint end) noexcept nogil:
    cdef Str said
    cdef uint32_t size = 0
    cdef int rc
    said.p = NULL
    said.n = 0
    rc = redis_answer(p, n, &size, &said)
    if rc == DB_ALIVE:
        k.keep = size == n
    return check_database(k, rc, &said)


cdef void check_postgres_send(Check* k, Out* o) noexcept nogil:
    """A startup packet of protocol 3.0: length, version, user and database, each with a zero byte, and one more."""
    out_put(o, b"\x00\x00\x00\x23\x00\x03\x00\x00user\x00lb\x00database\x00postgres\x00\x00", 35)


cdef int check_postgres_judge(Check* k, const char* p, uint32_t n, bint end) noexcept nogil:
    cdef Str said
    said.p = NULL
    said.n = 0
    return check_database(k, postgres_answer(p, n, &said), &said)


cdef int check_database(Check* k, int answer, Str* said) noexcept nogil:
    if answer == DB_MORE:
        return JUDGE_MORE
    if answer == DB_ALIVE:
        return JUDGE_OK
    if answer == DB_REFUSES:
        check_note(k, said.p, said.n)
        return check_refused(k, 0)
    return JUDGE_FAIL
