"""`check` and its brothers, from the model (lb.model.check.Check)."""

cdef tuple CHECK_VALUES = ("", "check_addr", "check_host", "check_port", "check_upstream")


cdef CheckConf* compile_check(Compiled of, check) except? NULL:
    """NULL: the servers of this upstream are not checked."""
    cdef CheckConf* f
    if check is None:
        return NULL
    f = <CheckConf*> of.mem(sizeof(CheckConf))
    f.type = check_type_named(check.type)
    f.interval = check.interval_ms
    f.fast = check.fast_interval_ms
    f.down = check.down_interval_ms
    f.timeout = check.timeout_ms
    f.rise = check.rise
    f.fall = check.fall
    f.port = check.port
    f.default_down = check.default_down
    f.requests = check.keepalive_requests
    for status in check.expect_alive:
        f.expect |= 1u << <int> status
    compile_check_send(of, f, check.send)
    return f


cdef int compile_check_send(Compiled of, CheckConf* f, parts) except -1:
    """`parts`: texts (bytes) and names of values."""
    cdef CheckPiece* piece = NULL
    if parts is None:
        return 0
    f.send = <CheckPiece*> of.mem((len(parts) + 1) * sizeof(CheckPiece))
    for part in parts:
        piece = &f.send[f.nsend]
        f.nsend += 1
        if isinstance(part, bytes):
            piece.text = of.text(part)
        else:
            piece.value = CHECK_VALUES.index(part)
    return 0
