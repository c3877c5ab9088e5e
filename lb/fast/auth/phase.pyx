"""The access phase: whether a request may have its answer. nginx's steps in nginx's order, by `satisfy`.

    request_handle -> auth_passes -> auth_run: step after step -> request_admitted
                                          a step waits: PH_ACCESS, then auth_run again from there
                                          no: auth_refuse -> [auth_delay: PH_ACCESS, auth_over] -> reply_status

satisfy all: each step may refuse. satisfy any: the first that says yes is enough; if none does, 401 goes before 403.
"""


cdef bint auth_passes(Request* r) noexcept nogil:
    """False: the request was answered, or goes on later."""
    if likely(r.loc.auth == NULL):
        if access_admits(r, &r.settings.access):
            return True
        reply_status(r, 403)
        return False
    if request_extra(r) == NULL:
        reply_status(r, 500)
        return False
    r.extra.step = 0
    r.extra.code = 0
    r.extra.verdict = VERDICT_NONE
    auth_run(r)
    return False


cdef void auth_run(Request* r) noexcept nogil:
    """The steps that are left."""
    cdef AuthConf* a = r.loc.auth
    cdef RequestExtra* x = r.extra
    cdef int says
    while x.step < AUTH_STEPS:
        says = auth_step(r, a, x.step)
        if says == AUTH_WAITS:
            auth_wait(r)
            return
        x.step += 1
        if says == AUTH_YES and a.any:
            x.code = 0
            r.challenge.n = 0
            break
        if a.any and (says == 401 or says == 403):
            if x.code != 401:
                x.code = <uint16_t> says
        elif says > AUTH_WAITS:
            auth_refuse(r, says)
            return
    if x.code:
        if x.code == 403:
            log_request(LOG_ERR, r, b"access forbidden by rule", 0, b"")
        auth_refuse(r, x.code)
        return
    if r.phase == PH_ACCESS:
        request_phase(r, PH_ROUTING)
    request_admitted(r)


cdef int auth_step(Request* r, AuthConf* a, int step) noexcept nogil:
    """What one step says: AuthSays, or a status."""
    if step == AUTH_ADDRESS:
        return access_says(r, &r.settings.access, a.any)
    return auth_basic(r, a) if a.basic else AUTH_NOTHING


cdef void auth_wait(Request* r) noexcept nogil:
    """The client's end, a verdict or a deadline will tell."""
    if r.phase != PH_ACCESS:
        request_phase(r, PH_ACCESS)
    if r.client.ready & (R_ERR | R_HUP):        # its end came with the request: no further event will tell
        loop_post(r.client)


cdef void auth_refuse(Request* r, int status) noexcept nogil:
    """401 goes out when auth_delay is over: guesses take their time."""
    if status == 401 and r.loc.auth.delay:
        log_request(LOG_INFO, r, b"delaying unauthorized request", 0, b"")
        auth_wait(r)
        timer_set(&loop.wheel, &r.client.timer, loop.now + r.loc.auth.delay)
        return
    if r.phase == PH_ACCESS:
        request_phase(r, PH_ROUTING)
    reply_status(r, status)


cdef void auth_over(Request* r) noexcept nogil:
    """auth_delay is over."""
    request_phase(r, PH_ROUTING)
    reply_status(r, 401)
