"""proxy_next_upstream_budget: of what an upstream was asked in the last 10 s, retries are at most a share.

    up_tries_begin -> budget_request        up_may_retry -> budget_allows -> no: the failure is the answer
    up_next -> budget_retry

A cell a second, and their sums; each worker counts its own requests. Counted are the requests of locations (servers of stream)
that have a budget. The second try after a pooled connection that has ended is no retry: the server was not asked.
"""

cdef void budget_turn(Request* r) noexcept nogil:
    """The cells of this second: what is older than the window is forgotten. Refusing ends when none was refused for as long."""
    cdef Budget* b = &r.ups.budget
    cdef int64_t second = loop.now // 1000
    cdef uint32_t at
    if likely(second == b.second):
        return
    if second - b.second >= BUDGET_CELLS:
        memset(b.requests, 0, sizeof(b.requests))
        memset(b.retries, 0, sizeof(b.retries))
        b.nrequests = b.nretries = 0
        b.second = second
    while b.second < second:
        b.second += 1
        at = <uint32_t> (b.second % BUDGET_CELLS)
        b.nrequests -= b.requests[at]
        b.nretries -= b.retries[at]
        b.requests[at] = b.retries[at] = 0
    if b.refusing and loop.now - b.refused_at > 1000 * BUDGET_CELLS:
        b.refusing = 0
        budget_log(LOG_NOTICE, r, b"within their budget again, refused were: ", b.refused)


cdef void budget_request(Request* r) noexcept nogil:
    """A request for an upstream, whatever becomes of it."""
    budget_turn(r)
    r.ups.budget.requests[r.ups.budget.second % BUDGET_CELLS] += 1
    r.ups.budget.nrequests += 1


cdef void budget_retry(Upstream* u) noexcept nogil:
    """budget_allows has just said yes."""
    u.budget.retries[u.budget.second % BUDGET_CELLS] += 1
    u.budget.nretries += 1


cdef bint budget_allows(Request* r) noexcept nogil:
    """May this request, which r.peer has failed, be one more retry? A no is counted and, the first time, logged."""
    cdef NextRule* n = &r.settings.next
    cdef Budget* b = &r.ups.budget
    budget_turn(r)
    if b.retries[b.second % BUDGET_CELLS] < n.least or (b.nretries + 1) * 10000 <= b.nrequests * n.share:
        return True
    if not b.refusing:
        b.refusing = 1
        b.refused = 0
        budget_log(LOG_WARN, r, b"at their budget, what fails is not passed on; in the last 10 s: ", b.nretries)
    b.refused += 1
    b.refused_at = loop.now
    r.peer.stats.retries_refused += 1
    return False


cdef void budget_log(int level, Request* r, const char* what, uint64_t n) noexcept nogil:
    """[warn] retries to upstream "u" are at their budget..."""
    cdef ErrorLogs* logs = error_logs_of(r)
    cdef Out o
    if not error_begin(&o, logs, level):
        return
    error_connection(&o, r.client)
    out_text(&o, b"retries to upstream \"")
    out_escaped(&o, r.ups.name.p, r.ups.name.n if r.ups.name.n < 512 else 512)
    out_text(&o, b"\" are ")
    out_text(&o, what)
    out_uint(&o, n)
    error_context(&o, r)
    error_end(&o, logs, level)
