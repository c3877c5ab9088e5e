"""Access logs: one line for each request or session, in `combined` or in a format of the configuration.

    request_log, tcp_end -> access_log_write -> access_log_lined | log_named
        -> access_log_line: combined, or var_write and escaping -> log/log.pyx
"""


cdef void access_log_write(AccessLog* logs, uint32_t n, Request* r) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        if logs[i].conditional and not access_log_wanted(&logs[i].condition, r):
            continue
        if logs[i].name != NULL:
            log_named(&logs[i], r)
        else:
            access_log_lined(&logs[i], r)


cdef bint access_log_wanted(Value* condition, Request* r) noexcept nogil:
    """if=VALUE: neither empty nor "0"."""
    cdef Out o
    out_init(&o, loop.heads, HEADS)
    var_write_value(&o, r, &loop.env, condition)
    return o.p > loop.heads and not (o.p == loop.heads + 1 and loop.heads[0] == 48)


cdef void access_log_lined(AccessLog* log, Request* r) noexcept nogil:
    """A line that does not fit in what is left of the buffer is tried once more in an empty one."""
    cdef Out o
    if not log_room(log.file, &o, LOG_LINE, 0):
        return
    access_log_line(&o, log, r)
    if o.full and log.file.n:
        log_write(log.file)
        if not log_room(log.file, &o, LOG_LINE, 0):
            return
        access_log_line(&o, log, r)
    log_commit(log.file, &o)


cdef void access_log_line(Out* o, AccessLog* log, Request* r) noexcept nogil:
    if log.combined:
        access_log_combined(o, r)
    else:
        access_log_format(o, log, r)


cdef void access_log_format(Out* o, AccessLog* log, Request* r) noexcept nogil:
    """Literals as they are, each variable's value escaped."""
    cdef Out v
    cdef Piece* piece
    cdef uint32_t i
    for i in range(log.format.n):
        piece = &log.format.pieces[i]
        if piece.var == V_LITERAL:
            out_str(o, piece.text)
            continue
        out_init(&v, loop.heads, HEADS)
        var_write(&v, r, &loop.env, piece)
        if log.escape == ESC_NONE:
            out_put(o, loop.heads, <uint32_t> (v.p - loop.heads))
        elif log.escape == ESC_JSON:
            out_json(o, loop.heads, <uint32_t> (v.p - loop.heads))
        elif v.missing and v.p == loop.heads:
            out_char(o, 45)
        else:
            out_escaped(o, loop.heads, <uint32_t> (v.p - loop.heads))
    out_char(o, 10)


cdef void access_log_field(Out* o, Request* r, int field) noexcept nogil:
    """"VALUE" of a request field, or "-"."""
    cdef Field* f = var_find_field(r, field) if r.h.nfields else NULL
    out_char(o, 34)
    if f == NULL:
        out_char(o, 45)
    else:
        out_escaped(o, r.head + f.value, f.value_len)
    out_char(o, 34)


cdef void access_log_user(Out* o, Request* r) noexcept nogil:
    """$remote_user, or `-`."""
    cdef Out v
    if r.h.nfields and var_find_field(r, F_AUTHORIZATION) != NULL:
        out_init(&v, loop.heads, HEADS)
        var_remote_user(&v, r)
        if v.p > loop.heads:
            out_escaped(o, loop.heads, <uint32_t> (v.p - loop.heads))
            return
    out_char(o, 45)


cdef void access_log_combined(Out* o, Request* r) noexcept nogil:
    cdef uint32_t n = 0
    sockaddr_write(o, r.client.addr, r.client.addr_len)
    out_put(o, b" - ", 3)
    access_log_user(o, r)
    out_put(o, b" [", 2)
    out_local(o, &loop.env.local)
    out_put(o, b"] \"", 3)
    if r.head != NULL:
        while r.head[r.h.start + n] not in (0, 10, 13):
            n += 1
        out_escaped(o, r.head + r.h.start, n)
    out_put(o, b"\" ", 2)
    out_padded(o, r.status, 3)
    out_char(o, 32)
    out_uint(o, var_body_bytes_sent(r))
    out_char(o, 32)
    access_log_field(o, r, F_REFERER)
    out_char(o, 32)
    access_log_field(o, r, F_USER_AGENT)
    out_char(o, 10)
