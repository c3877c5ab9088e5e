"""type=grpc, redis and postgres: what is sent, and what their answers (grpc.pxd, databases.pxd) are taken for."""


cdef int check_grpc_judge(Check* k, const char* p, uint32_t n, bint end) noexcept nogil:
    """By grpc-status, wherever it stands; a server that answers 0 must say SERVING, too."""
    cdef GrpcAnswer a
    cdef int rc = grpc_read(<const uint8_t*> p, n, loop.heads, HEADS, &a)
    if rc == P_MORE:
        return JUDGE_MORE
    if rc == P_BAD or (a.error < 0 and a.http < 0):
        return JUDGE_FAIL               # `why` is CHECK_INVALID from the start
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
