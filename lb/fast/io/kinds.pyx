"""What kind of connection does what: one row per kind, and nobody asks for the kind in a ladder.

    begin    accept, the PROXY header or the handshake is done with it (of listeners and our own descriptors: NULL)
    event    epoll or a post: loop_event
    timeout  its timer: loop_timeout
    drain    the worker ends now: drain_end
    count    its state changes: conn_state
"""


cdef void loop_kind(int kind, void (*begin)(Conn*) noexcept nogil, void (*event)(Conn*) noexcept nogil,
                    void (*timeout)(Conn*) noexcept nogil, void (*drain)(Conn*) noexcept nogil,
                    void (*count)(Conn*, int, int) noexcept nogil) noexcept nogil:
    cdef ConnKind* k = &loop.kinds[kind]
    k.begin = begin
    k.event = event
    k.timeout = timeout
    k.drain = drain
    k.count = count


cdef void loop_kinds_init() noexcept nogil:
    # kind, begin, event, timeout, drain, count
    loop_kind(K_LISTEN, NULL, accept_event, NULL, NULL, NULL)
    loop_kind(K_WAKE, NULL, loop_wake_event, NULL, NULL, NULL)
    loop_kind(K_SIGNAL, NULL, loop_signal_event, NULL, NULL, NULL)
    loop_kind(K_PROXY_PROTOCOL, proxy_protocol_accepted, proxy_protocol_event, proxy_protocol_timed_out,
              conn_close, conn_count_early)
    loop_kind(K_HANDSHAKE, conn_handshake_begin, conn_handshake_event, conn_handshake_timeout, conn_close, conn_count_early)
    loop_kind(K_HTTP, client_accepted, client_event, client_timeout, client_drain, conn_count_http)
    loop_kind(K_TCP, tcp_begin, tcp_event, tcp_timeout, tcp_drain, conn_count_tcp)
    loop_kind(K_UP, NULL, up_event, up_timeout, NULL, conn_count_up)
    loop_kind(K_H2, h2_begin, h2_event, h2_timeout, h2_drain, conn_count_h2)
    loop_kind(K_STREAM, NULL, client_event, client_timeout, client_drain, conn_count_stream)
    loop_kind(K_CHECK, NULL, check_event, check_timer, check_drain, NULL)


cdef inline void loop_event(Conn* c) noexcept nogil:
    loop.kinds[c.kind].event(c)


cdef void loop_timeout(Conn* c) noexcept nogil:
    COUNT_IF(loop.kinds[c.kind].timeout == NULL, loop.st.glitch_timer)
    if loop.kinds[c.kind].timeout != NULL:
        loop.kinds[c.kind].timeout(c)


# ---- counters of the status page

cdef void conn_count_up(Conn* c, int old, int state) noexcept nogil:
    if old == S_FREE:
        loop.st.upstream_open += 1
    elif state == S_FREE:
        loop.st.upstream_open -= 1


cdef void conn_count_tcp(Conn* c, int old, int state) noexcept nogil:
    """Of these nginx's stub_status counts no more than that they are open."""
    loop.clients += (old == S_FREE) - (state == S_FREE)
    loop.st.clients = loop.clients


cdef void conn_count_early(Conn* c, int old, int state) noexcept nogil:
    if c.lst.tcp:
        conn_count_tcp(c, old, state)
    else:
        conn_count_http(c, old, state)


cdef void conn_count_h2(Conn* c, int old, int state) noexcept nogil:
    """Its streams are what is written to."""
    conn_count_http(c, old, state)
    loop.st.writing += <uint64_t> (old == S_BUSY) - <uint64_t> (state == S_BUSY)


cdef void conn_count_stream(Conn* c, int old, int state) noexcept nogil:
    loop.st.writing += <uint64_t> (state == S_BUSY) - <uint64_t> (old == S_BUSY)


cdef void conn_count_http(Conn* c, int old, int state) noexcept nogil:
    if old == S_IDLE:
        conn_idle_unlink(c)
        loop.st.waiting -= 1
    elif old == S_NEW or old == S_HANDSHAKE:
        loop.st.waiting -= 1
    elif old == S_HEAD:
        loop.st.reading -= 1
    elif old == S_BUSY or old == S_LINGERING:
        loop.st.writing -= 1
    else:
        loop.clients += 1
    if state == S_IDLE:
        conn_idle_link(c)
        loop.st.waiting += 1
    elif state == S_NEW or state == S_HANDSHAKE:
        loop.st.waiting += 1
    elif state == S_HEAD:
        loop.st.reading += 1
    elif state == S_BUSY or state == S_LINGERING:
        loop.st.writing += 1
    else:
        loop.clients -= 1
    loop.st.clients = loop.clients
