"""Whose bytes go first where the connection's window or its socket has held several streams up (RFC 9218).

    h2_settle -> h2_schedule: by urgency; of one urgency the oldest first, incremental ones by turns -> client_event -> conn_flush

A stream whose client said nothing of its priority is incremental, against the RFC's default: clients that know nothing of
priorities then see all of their answers go on, as with nginx.
"""

cdef enum:
    H2_URGENCY = 3              # of who does not say
    H2_SHARE = 16384            # bytes of an incremental stream at a time
    H2_ROUNDS = 32              # of one turn of the loop


cdef void h2_schedule(H2* h) noexcept nogil:
    cdef int urgency, _i
    h.flags &= ~<uint32_t> H2_STARVED
    for _i in range(H2_ROUNDS):
        urgency = h2_most_urgent(h)
        if urgency < 0:
            return
        if not h2_schedule_urgency(h, <uint8_t> urgency):
            h.flags |= H2_STARVED
            return
    h.flags |= H2_STARVED               # enough for one turn of the loop
    loop_post(h.conn)


cdef int h2_most_urgent(H2* h) noexcept nogil:
    """Of the streams that wait for their turn; -1: none does."""
    cdef H2Stream* s = h.first
    cdef int found = -1
    while s != NULL:
        if s.flags & HS_WAITS and s.window > 0 and (found < 0 or s.urgency < found):
            found = s.urgency
        s = s.next
    return found


cdef bint h2_schedule_urgency(H2* h, uint8_t urgency) noexcept nogil:
    """One turn for each. False: the connection takes no more."""
    cdef H2Stream* s = h.first
    cdef H2Stream* after
    cdef uint32_t left = h.nstreams
    while s != NULL and left:
        after = s.next
        left -= 1
        if s.flags & HS_WAITS and s.urgency == urgency and s.window > 0:
            if h.window <= 0 or h.conn.out != NULL or h.flags & H2_BROKEN or h.conn.flags & CF_FAILED:
                return False
            s.flags &= ~<uint32_t> HS_WAITS
            if s.flags & HS_INCREMENTAL:
                h2_stream_last(s)
                h.share = H2_SHARE
            s.conn.ready |= R_WRITE
            client_event(s.conn)
            h.share = 0
        s = after
    return True


cdef void h2_stream_last(H2Stream* s) noexcept nogil:
    """Behind the others: they are asked first the next time."""
    cdef H2* h = s.h2
    if h.last == s:
        return
    s.next.prev = s.prev
    if s.prev != NULL:
        s.prev.next = s.next
    else:
        h.first = s.next
    s.prev = h.last
    s.next = NULL
    h.last.next = s
    h.last = s


cdef void h2_prioritise(H2Stream* s, const char* p, uint32_t n) noexcept nogil:
    """A Priority field's value: `u=0` to `u=7`, `i`; what else is in it is not for us, and what is wrong counts as not said
    (section 4)."""
    cdef uint32_t i = 0, start
    s.urgency = H2_URGENCY
    s.flags &= ~<uint32_t> HS_INCREMENTAL
    while i < n:
        while i < n and p[i] in (32, 9, 44):
            i += 1
        start = i
        while i < n and p[i] != 44:
            i += 1
        if i - start >= 3 and p[start] == c"u" and p[start + 1] == c"=" and 48 <= p[start + 2] <= 55 \
                and (i - start == 3 or p[start + 3] in (32, 9, 59)):
            s.urgency = <uint8_t> (p[start + 2] - 48)
        elif i > start and p[start] == c"i" and (i - start == 1 or p[start + 1] in (32, 9, 59)
                                                or (i - start >= 4 and memcmp(p + start, b"i=?1", 4) == 0)):
            s.flags |= HS_INCREMENTAL
        elif i - start >= 4 and memcmp(p + start, b"i=?0", 4) == 0:
            s.flags &= ~<uint32_t> HS_INCREMENTAL


cdef void h2_on_priority_update(H2* h, const Frame* f, const uint8_t* p) noexcept nogil:
    """Section 7.1; of a stream that is not there it says nothing that would be kept."""
    cdef uint32_t id = frame_u32(p) & 0x7FFFFFFF
    cdef H2Stream* s
    if not h2_count_idle(h):
        return
    if not id & 1:
        h2_fault(h, FE_PROTOCOL_ERROR, b"client sent PRIORITY_UPDATE for an impossible stream")
        return
    s = h2_find(h, id)
    if s != NULL:
        h2_prioritise(s, <const char*> p + 4, f.n - 4)
