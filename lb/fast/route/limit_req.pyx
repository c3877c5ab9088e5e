"""limit_req: requests that come too often wait, or are refused.

    request_handle -> limit_passes -> (goes on) | reply_status(limit_req_status) | PH_DELAYED: a timer,
        then limit_over -> request_handle

All of a location's limits are asked first; they count the request only if none refuses it, as nginx does. The zones' memory
and arithmetic are in route/limit_req.pxd.
"""


cdef uint64_t limit_ask(Request* r, LimitRule* rule, bint count) noexcept nogil:
    cdef LimitAsk a
    cdef uint64_t key
    cdef Str text = var_text(r, &rule.zone.key)
    if text.n == 0:
        return 0
    key = limit_hash(text.p, text.n)
    a.rate = rule.zone.rate
    a.burst = rule.burst
    a.now = loop.now
    return limit_count(&rule.zone.sets[key % rule.zone.nsets], key, &a, count)


cdef bint limit_passes(Request* r) noexcept nogil:
    """False: the request was answered, or waits."""
    cdef Location* l = r.loc
    cdef LimitRule* rule
    cdef LimitRule* worst = NULL
    cdef uint64_t excess = 0, most = 0
    cdef int64_t delay, longest = 0
    cdef uint32_t i
    r.limited = LIMIT_PASSED
    for i in range(l.nlimits):
        rule = &l.limits[i]
        excess = limit_ask(r, rule, i == l.nlimits - 1)
        if debug_on(r.client):
            debug_limit(r, rule, excess)
        if excess > rule.burst:
            r.limited = LIMIT_REJECTED | l.limit_dry
            limit_log(r, rule, excess, False)
            if l.limit_dry:
                return True
            reply_status(r, l.limit_status)
            return False
    for i in range(l.nlimits):
        rule = &l.limits[i]
        excess = limit_ask(r, rule, True) if i < l.nlimits - 1 else excess
        delay = <int64_t> ((excess - rule.delay) * 1000 // rule.zone.rate) if excess > rule.delay else 0
        if delay > longest:
            longest = delay
            worst = rule
            most = excess
    if longest == 0:
        return True
    r.limited = LIMIT_DELAYED | l.limit_dry
    limit_log(r, worst, most, True)
    if l.limit_dry:
        return True
    request_phase(r, PH_DELAYED)
    if debug_on(r.client):
        debug_number(r.client, b"limit_req: delayed, ms:", longest)
    timer_set(&loop.wheel, &r.client.timer, loop.now + longest)
    if r.client.ready & (R_ERR | R_HUP):        # its end came with the request: no further event will tell
        loop_post(r.client)
    return False


cdef void limit_over(Request* r) noexcept nogil:
    """It has waited long enough."""
    request_phase(r, PH_ROUTING)
    request_handle(r)


cdef void limit_event(Request* r) noexcept nogil:
    """While it waits: only the client's end counts."""
    if r.client.ready & (R_ERR | R_HUP):
        client_gone(r)


cdef void limit_log(Request* r, LimitRule* rule, uint64_t excess, bint delayed) noexcept nogil:
    """limiting requests, excess: 1.000 by zone "one"; delaying request, excess: 0.998, by zone "one" """
    cdef Out o
    cdef int level = r.loc.limit_level
    if delayed and level < LOG_INFO:
        level += 1
    if not error_begin(&o, error_logs_of(r), level):
        return
    error_connection(&o, r.client)
    out_text(&o, b"delaying request" if delayed else b"limiting requests")
    if r.loc.limit_dry:
        out_text(&o, b", dry run")
    out_text(&o, b", excess: ")
    out_seconds(&o, <int64_t> excess)
    out_text(&o, b", by zone \"" if delayed else b" by zone \"")
    out_str(&o, rule.zone.name)
    out_char(&o, 34)
    error_context(&o, r)
    error_end(&o, error_logs_of(r), level)
