"""The pure readers of checks' answers, opened to Python: included by _probe.pyx, whose guarded memory it uses."""

DATABASE_ANSWERS = {DB_MORE: "more", DB_ALIVE: "alive", DB_REFUSES: "refuses", DB_INVALID: "invalid"}
AGENT_BITS = {HEALTH_AGENT_DOWN: "down", HEALTH_DRAIN: "drain", HEALTH_MAINT: "maint"}


def grpc(bytes text, uint32_t room=65536):
    """("done", :status, grpc-status, serving, error), ("more",) or ("bad",)."""
    return both(lambda at_end: grpc_at(text, room, at_end))


cdef tuple grpc_at(bytes text, uint32_t room, bint at_end):
    cdef GrpcAnswer a
    cdef const uint8_t* p = <const uint8_t*> text_memory.hold(text, at_end)
    cdef int rc = grpc_read(p, len(text), out_memory.take(room, at_end), room, 1, NULL, &a)
    if rc != P_DONE:
        return (RESULTS[rc],)
    hpack_free(&a.hpack)
    return "done", a.http, a.grpc, a.serving, a.error


def redis(bytes text):
    """(answer, bytes of it, what it says)."""
    return both(lambda at_end: redis_at(text, at_end))


cdef tuple redis_at(bytes text, bint at_end):
    cdef Str said
    cdef uint32_t size = 0
    cdef int rc
    said.p = NULL
    said.n = 0
    rc = redis_answer(text_memory.hold(text, at_end), len(text), &size, &said)
    return DATABASE_ANSWERS[rc], size, said.p[:said.n] if rc == DB_REFUSES else b""


def postgres(bytes text):
    """(answer, what it says)."""
    return both(lambda at_end: postgres_at(text, at_end))


cdef tuple postgres_at(bytes text, bint at_end):
    cdef Str said
    cdef int rc
    said.p = NULL
    said.n = 0
    rc = postgres_answer(text_memory.hold(text, at_end), len(text), &said)
    return DATABASE_ANSWERS[rc], said.p[:said.n] if rc == DB_REFUSES and said.n else b""


def agent(bytes text, bint end=False):
    """(bits raised, bits cleared, percent, words known) of a line, or None: it is not whole."""
    return both(lambda at_end: agent_at(text, end, at_end))


cdef object agent_at(bytes text, bint end, bint at_end):
    cdef AgentWords w
    cdef uint32_t size = 0
    cdef const char* p = text_memory.hold(text, at_end)
    if not agent_line(p, len(text), end, &size):
        return None
    agent_words(p, size, &w)
    return agent_names(w.raise_), agent_names(w.clear), w.percent, w.known


cdef set agent_names(int bits):
    return {name for bit, name in AGENT_BITS.items() if bits & bit}
