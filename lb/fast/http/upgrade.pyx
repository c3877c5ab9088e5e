"""What comes before an answer's final head: 101, which makes a tunnel of the exchange, and 103, which may be passed on.

A tunnel begins only after a 101 whose Upgrade is one that the client asked for, in a location that forwards Upgrade and
Connection (proxy_set_header). Then bytes go both ways as in a TCP session (stream/tcp.pyx); the server's end, and silence for
proxy_read_timeout, end it.
"""


cdef bint upgrade_wanted(Request* r) noexcept nogil:
    """Did our request head offer the client's Upgrade?"""
    cdef uint64_t both = 1ull << F_UPGRADE | 1ull << F_CONNECTION
    return r.h.flags & H_UPGRADE and r.loc.overridden & both == both and not r.loc.http10 and r.inb.done


cdef Field* upgrade_field_of(Head* h, int known) noexcept nogil:
    cdef uint32_t i
    for i in range(h.nfields):
        if h.fields[i].id == known:
            return &h.fields[i]
    return NULL


cdef bint upgrade_matches(Request* r, const char* p, Head* h) noexcept nogil:
    """Is the 101's Upgrade a member of the client's? `p`: start of the 101's head."""
    cdef Field* theirs = upgrade_field_of(h, F_UPGRADE)
    cdef Field* ours = upgrade_field_of(&r.h, F_UPGRADE)
    cdef uint32_t i = 0, start, end
    cdef const char* s
    if theirs == NULL or ours == NULL or theirs.value_len == 0 or not h.flags & H_UPGRADE:
        return False
    s = r.head + ours.value
    while i < ours.value_len:
        while i < ours.value_len and s[i] in (32, 9, 44):
            i += 1
        start = i
        while i < ours.value_len and s[i] != 44:
            i += 1
        end = i
        while end > start and s[end - 1] in (32, 9):
            end -= 1
        if end - start == theirs.value_len and strncasecmp(s + start, p + theirs.value, end - start) == 0:
            return True
    return False


cdef bint upgrade_switched(Request* r, const char* p, Head* h) noexcept nogil:
    return upgrade_wanted(r) and upgrade_matches(r, p, h)


cdef void upgrade_begin(Request* r, const char* head, Head* h, const char* rest, uint32_t n) noexcept nogil:
    """The 101 to the client, what came behind it, and what the client has sent in the meantime to the server."""
    cdef Conn* c = r.client
    cdef Conn* u = r.up
    cdef Buf* b = c.inb
    cdef Message m
    cdef Field* f = upgrade_field_of(h, F_UPGRADE)
    if debug_on(c):
        debug_response(r, head, h)
    r.up_status = 101
    r.status = 101 if c.h2 == NULL else 200
    r.up_header = loop.now - r.up_start
    stats_head(r)
    peer_time_seen(r, TIMED_HEADER, r.up_header)
    request_phase(r, PH_READING_BODY)
    r.flags &= ~(RQ_KEEP | RQ_UP_KEEP)
    message_begin(&m, r, c, loop.heads, HEADS)
    m.upgrade.p = <char*> head + f.value
    m.upgrade.n = f.value_len
    response_head_start(&m, 101, head + h.target, h.target_len, 0)
    h1_response_fields(&m.front, r, &loop.env, head, h)
    if r.loc.uses & USES_UP_HEAD:
        response_keep_head(r, head, h)
    if r.stuck != NULL:                 # the tunnel has no other answer
        sticky_head_came(r, head, h)
        sticky_answered(r)
    response_head_end(&m, -1)
    if r.flags & RQ_GAVE_UP:
        response_given_up(r)
        return
    request_phase(r, PH_TUNNEL)
    r.flags |= RQ_STARTED
    c.inb = NULL
    if m.front.full or not message_send_head(&m) or (n and not conn_send(c, rest, n)) or (
            b != NULL and not conn_send(u, buf_data(b) + b.off, buf_len(b))):
        c.flags |= CF_FAILED
    if b != NULL:
        buf_free_chain(&loop.pool, b)
    c.flags |= CF_USED                  # small messages both ways: TCP_NODELAY at the first send
    u.flags |= CF_USED
    timer_clear(&u.timer)
    peer_ok(r.peer)
    if c.flags & CF_FAILED:
        tcp_end(r)
        return
    tcp_move_both(r)


# ---- 103

cdef bint upgrade_hints_wanted(Request* r) noexcept nogil:
    """early_hints: is one of its values neither empty nor "0"?"""
    cdef uint32_t i
    cdef char room[1024]
    cdef Out o
    if r.h.minor == 0 or r.flags & RQ_STARTED:
        return False
    for i in range(r.loc.nhints):
        out_init(&o, room, sizeof(room))
        var_write_value(&o, r, &loop.env, &r.loc.hints[i])
        if o.full or (o.p - room > 1 or (o.p > room and room[0] != 48)):
            return True
    return False


cdef void upgrade_hints_pass(Request* r, const char* head, Head* h) noexcept nogil:
    """The 103's own fields; a client that does not take them is noticed by the answer itself."""
    cdef Message m
    cdef uint32_t i
    message_begin(&m, r, r.client, loop.heads, HEADS)
    message_status(&m, 103, b"Early Hints", 11)
    for i in range(h.nfields):
        if not h.fields[i].flags & FF_HOP and not (HIDDEN >> h.fields[i].id) & 1:
            h1_field(&m.front, head, &h.fields[i])
    m.to.enc.head(&m, HEAD_END)
    if not m.front.full:
        r.interim_n += message_front(&m)
        message_send_head(&m)
