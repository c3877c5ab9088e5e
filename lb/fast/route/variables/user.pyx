"""The variables that a configuration makes: `set`, `map` and named captures. One slot each in a request that uses any.

A map is looked up when its variable is first asked for, and kept for the request (`volatile`: each time).
route/variables/request.pxd reaches this room through Env.user; texts live in the request's memory.
"""


cdef Str var_text(Request* r, Value* v) noexcept nogil:
    """A value as text that lives as long as the request. Empty without memory."""
    cdef char small[2048]
    cdef Out o
    cdef Buf* big = NULL
    cdef Str s
    s.p = b""
    s.n = 0
    if v.n == 0:
        return s
    if v.n == 1 and v.pieces[0].var == V_LITERAL:
        return v.pieces[0].text
    out_init(&o, small, sizeof(small))
    var_write_value(&o, r, &loop.env, v)
    if o.full:
        big = buf_new(&loop.pool, HEADS)
        if big == NULL:
            return s
        out_init(&o, buf_data(big), HEADS)
        var_write_value(&o, r, &loop.env, v)
        s.n = <uint32_t> (o.p - buf_data(big))
    else:
        s.n = <uint32_t> (o.p - small)
    s.p = <char*> request_memory(r, s.n + 1)
    if s.p == NULL:
        s.p = b""
        s.n = 0
    else:
        memcpy(s.p, buf_data(big) if big != NULL else small, s.n)
    if big != NULL:
        buf_free(&loop.pool, big)
    return s


cdef bint var_match_copy(Request* r, Regex* re, const char* p, uint32_t n) noexcept nogil:
    """Env.match: for a text that does not live as long as the request, as its captures must."""
    cdef char* copy = <char*> request_memory(r, n + 1)
    if copy == NULL:
        r.flags |= RQ_GAVE_UP
        return False
    memcpy(copy, p, n)
    return regex_match(r, re, copy, n)


cdef Slot* var_slots(Request* r) noexcept nogil:
    """The request's slots, made when first used; NULL without memory."""
    cdef uint32_t n = loop.nvars * sizeof(Slot)
    if r.slots == NULL:
        r.slots = <Slot*> request_memory(r, n)
        if r.slots != NULL:
            memset(r.slots, 0, n)
    return r.slots


cdef void var_slot_put(Request* r, uint32_t slot, Str value) noexcept nogil:
    cdef Slot* slots = var_slots(r)
    if slots != NULL:
        slots[slot].value = value
        slots[slot].state = SLOT_SET


cdef Str var_capture_text(Request* r, uint32_t n) noexcept nogil:
    """$1 to $9 of the last match, or empty."""
    cdef Str s
    s.p = b""
    s.n = 0
    if n < r.ncaptures and r.captures[2 * n] != 4294967295u:
        s.p = r.subject + r.captures[2 * n]
        s.n = r.captures[2 * n + 1] - r.captures[2 * n]
    return s


cdef Str var_user_value(Request* r, uint32_t slot) noexcept nogil:
    cdef Str s
    cdef Slot* slots = var_slots(r)
    cdef Map* m = loop.vars[slot].map
    s.p = b""
    s.n = 0
    if slots == NULL:
        return s
    if slots[slot].state == SLOT_SET:
        return slots[slot].value
    if m == NULL or slots[slot].state == SLOT_BUSY:
        var_log_unset(r, slot, m != NULL)
        return s
    slots[slot].state = SLOT_BUSY
    s = var_map_value(r, m)
    slots[slot].state = SLOT_EMPTY
    if not m.is_volatile and not r.flags & RQ_GAVE_UP:     # a value that is not known is not kept
        var_slot_put(r, slot, s)
    return s


cdef void var_user(Out* o, Request* r, uint32_t slot) noexcept nogil:
    """Env.user: a user variable, or (slots from CAPTURES on) a capture."""
    out_str(o, var_user_value(r, slot))


cdef Str var_map_value(Request* r, Map* m) noexcept nogil:
    cdef Str key = var_text(r, &m.source)
    cdef Value* v = var_map_find(r, m, key)
    return var_text(r, v)


cdef Value* var_map_find(Request* r, Map* m, Str key) noexcept nogil:
    cdef uint32_t n = key.n, i
    cdef void* found
    cdef char* low
    if m.hostnames and n and key.p[n - 1] == c".":
        n -= 1
    low = <char*> request_memory(r, n + 1)
    if low == NULL:
        return m.fallback
    dict_lower_into(low, key.p, n)
    found = names_find(&m.names, low, n)
    if found != NULL:
        return <Value*> found
    for i in range(m.names.nregex):
        if regex_match(r, &m.names.regexes[i], key.p, n):
            return <Value*> m.names.values[i]
        if r.flags & RQ_GAVE_UP:
            break
    return m.fallback


cdef void var_log_unset(Request* r, uint32_t slot, bint cycle) noexcept nogil:
    cdef Out o
    cdef int level = LOG_ERR if cycle else LOG_WARN
    if not error_begin(&o, error_logs_of(r), level):
        return
    error_connection(&o, r.client)
    out_text(&o, b"cycle while evaluating variable \"" if cycle else b"using uninitialized \"")
    out_str(&o, loop.vars[slot].name)
    out_text(&o, b"\"" if cycle else b"\" variable")
    error_context(&o, r)
    error_end(&o, error_logs_of(r), level)
