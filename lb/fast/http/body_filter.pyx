"""The chain of body filters: what an answer's body passes between its source and the way out.

    decoded from a server | read from a file | made here
        -> filter_run -> BodyFilter.body -> filter_next ... -> response_pass

A filter takes all that it is given, and hands on what it makes in pieces with HEADROOM before and TAILROOM behind them
(it says where by Message.floor). It may keep bytes back only on FLOW_MORE. It lies in its request's memory; what else it
owns goes with `free`, which filter_reset calls once, at whatever end the exchange comes to. How to add one:
doc/maintainers.md.
"""


cdef bint filter_run(Message* m, char* p, uint32_t n, int flow) noexcept nogil:
    """n bytes of the body, and `m`'s head before them where it has one. False: the client's connection failed, or the
    disk."""
    cdef BodyFilter* f = m.r.filters
    if likely(f == NULL):
        return response_pass(m, p, n, flow == FLOW_LAST)
    if not f.body(f, m, p, n, flow):
        return False
    if message_front(m) == 0:
        return True
    m.floor = loop.scratch              # nothing came out: the head by itself
    return response_pass(m, loop.scratch + HEADROOM, 0, False)


cdef inline bint filter_next(BodyFilter* f, Message* m, char* p, uint32_t n, int flow) noexcept nogil:
    """What `f` has made goes on."""
    if f.next != NULL:
        return f.next.body(f.next, m, p, n, flow)
    return response_pass(m, p, n, flow == FLOW_LAST)


cdef void filter_add(Request* r, BodyFilter* f) noexcept nogil:
    """Behind those that are there."""
    cdef BodyFilter** at = &r.filters
    while at[0] != NULL:
        at = &at[0].next
    f.next = NULL
    at[0] = f


cdef void filter_reset(Request* r) noexcept nogil:
    """The answer that was begun is not to be, or the exchange is over."""
    cdef BodyFilter* f = r.filters
    r.coded = 0
    r.filters = NULL
    while f != NULL:
        f.free(f)
        f = f.next
