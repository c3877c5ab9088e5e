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
    compile_check_expect(of, f, check)
    f.tls = compile_tls_up(of, check.tls)
    f.tls_name = of.text(check.tls_name)
    f.grpc = check.grpc_status
    f.skip = check.skip_when_served
    if check.agent is not None:
        f.agent = compile_check_agent(of, f, check.agent)
    return f


cdef int compile_check_expect(Compiled of, CheckConf* f, check) except -1:
    f.head = bool(check.send) and isinstance(check.send[0], bytes) and check.send[0].startswith(b"HEAD ")
    f.nranges = len(check.expect_status)
    f.ranges = <CheckRange*> of.mem(f.nranges * sizeof(CheckRange))
    for i, (low, high) in enumerate(check.expect_status):
        f.ranges[<int> i].low, f.ranges[<int> i].high = low, high
    f.nfields = len(check.expect_fields)
    f.fields = <CheckMatch*> of.mem(f.nfields * sizeof(CheckMatch))
    for i, match in enumerate(check.expect_fields):
        compile_check_match(of, &f.fields[<int> i], match)
    if check.expect_body is not None:
        f.body = <CheckMatch*> of.mem(sizeof(CheckMatch))
        compile_check_match(of, f.body, check.expect_body)
    if check.expect_text is not None:
        f.text = <CheckMatch*> of.mem(sizeof(CheckMatch))
        compile_check_match(of, f.text, check.expect_text)
    return 0


cdef int compile_check_match(Compiled of, CheckMatch* m, match) except -1:
    m.name = of.text(match.name)
    m.text = of.text(match.text)
    m.regex = NULL if match.regex is None else compile_regex(of, match.regex)
    return 0


cdef CheckConf* compile_check_agent(Compiled of, CheckConf* checks, agent) except NULL:
    cdef CheckConf* f = <CheckConf*> of.mem(sizeof(CheckConf))
    f.type = check_type_agent()
    f.interval = agent.interval_ms or checks.interval
    f.timeout = checks.timeout
    f.port = agent.port
    f.rise = f.fall = f.requests = 1
    compile_check_send(of, f, agent.send)
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
