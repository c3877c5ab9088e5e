"""Servers of upstreams, for HTTP requests and TCP sessions alike: choose, reuse or connect, fail over, give back.

    up_start -> balance_choose -> pool_take_for -> up_ready
                       -> connect -> S_CONNECT -> up_event -> up_connected [S_HANDSHAKE] -> up_ready (proxy_send, tcp_connected)
                             failed: up_failed -> peer_fail -> up_start again, or the final status
    up_release -> pool_put (S_IDLE) or conn_close (upstream/pool.pyx)
"""

cdef enum Why:                  # why a try failed
    WHY_CONNECT = 0             # connect() failed
    WHY_BROKEN = 1              # it broke before it answered
    WHY_TIMEOUT = 2             # connect or read timeout
    WHY_INVALID = 3             # its answer is no HTTP
    WHY_STATUS = 4              # its answer has a status that proxy_next_upstream names


# ---- one try

cdef void up_start(Request* r) noexcept nogil:
    """Find a server for the request and a connection to it; ends with up_ready, in S_CONNECT, or with the final status."""
    cdef Peer* p
    cdef Conn* u
    cdef int e
    if r.ups.key.n and r.key.p == NULL:
        up_hash_key(r)
    if regex_gave_up(r):                      # its upstream (proxy_pass with variables) or its key is not known
        return
    if r.tries == 0:
        up_tries_begin(r)
    while True:
        p = balance_choose(r.ups, r, &loop.env) if r.ups != &loop.direct else proxy_pass_take(r)
        if p == NULL:
            up_exhausted(r)
            return
        request_phase(r, PH_CONNECTING)
        r.peer = p
        r.tries += 1
        r.up_start = loop.now
        r.up_connect = r.up_header = r.up_response = -1
        r.up_status = 0
        r.up_sent = r.up_received = 0
        r.flags |= RQ_HELD
        if debug_on(r.client):
            debug_peer(r, b"get peer:")
        peer_take(p)
        peer_pending_begin(r)
        u = pool_take_for(r)
        if u != NULL:
            up_attach(r, u)
            r.flags |= RQ_REUSED
            if debug_on(r.client):
                debug_number(r.client, b"get keepalive peer: using connection fd", conn_descriptor(u))
            loop.st.upstream_reuses += 1
            up_ready(r)
            return
        e = up_connect(r)
        if e == 0:
            return
        if e > 0:
            log_connect(r, e)
        if e < 0 or e in (ENOMEM, EMFILE, ENFILE, ENOBUFS):      # our want, not the server's fault
            up_release(r, False)
            up_final(r, 500)
            return
        if not up_next(r, WHY_CONNECT):
            return


cdef void up_hash_key(Request* r) noexcept nogil:
    """r.key: the value of `hash`, once for all tries; cut where it is longer than a head may be."""
    cdef Out o
    out_init(&o, loop.heads, HEADS)
    var_write_value(&o, r, &loop.env, &r.ups.key)
    r.key.p = <char*> request_memory(r, <uint32_t> (o.p - loop.heads) + 1)
    if r.key.p != NULL:
        r.key.n = <uint32_t> (o.p - loop.heads)
        memcpy(r.key.p, loop.heads, r.key.n)


cdef void up_attach(Request* r, Conn* u) noexcept nogil:
    r.up = u
    u.req = r
    u.loc = r.loc
    if unlikely(loop.debug):
        debug_attach(r, u)
    r.up_got = r.told_got = u.got
    r.up_put = r.told_put = u.put
    u.served += 1
    conn_state(u, S_BUSY)


cdef int up_connect(Request* r) noexcept nogil:
    """Begin a connection to r.peer. 0, or the errno; -1: proxy_bind's address cannot be had (logged)."""
    cdef Peer* p = r.peer
    cdef int e = 0
    cdef Conn* u = conn_connect(<sockaddr*> p.sa, p.sa_len, up_outgoing_set, r, &e)
    if u == NULL:
        return e
    u.peer = p
    up_local_keep(u, r)
    if debug_on(r.client):
        debug_connect(r, u)
    up_attach(r, u)
    conn_state(u, S_CONNECT)
    r.flags &= ~RQ_REUSED
    loop.st.upstream_connects += 1
    p.stats.connects += 1
    timer_set(&loop.wheel, &u.timer, loop.now + r.settings.connect_timeout)
    return 0


cdef void up_connected(Conn* u) noexcept nogil:
    """connect() is through: the transport's handshake, within the same deadline, and then the request."""
    cdef Request* r = u.req
    cdef int rc
    if r.up_tls != NULL and u.state == S_CONNECT and not up_secure(u, r):
        return
    if u.io.handshake != NULL:
        conn_state(u, S_HANDSHAKE)
        rc = u.io.handshake(u)
        if rc == 0:
            return
        if rc < 0:
            if u.io == &tls:
                tls_up_failed(r, u)
            else:
                log_try(r, b"peer closed connection in handshake", u.io.error(u), b"while handshaking with upstream")
            up_failed(r, WHY_CONNECT)
            return
    if u.io == &tls:
        tls_up_done(u)
    timer_clear(&u.timer)
    if debug_on(u):
        debug_number(u, b"connected, ms:", loop.now - r.up_start)
    conn_state(u, S_BUSY)
    stats_time(u.peer.stats.connect, &u.peer.stats.connect_ms, loop.now - r.up_start)
    peer_time_seen(r, TIMED_CONNECT, loop.now - r.up_start)
    up_ready(r)


cdef bint up_secure(Conn* u, Request* r) noexcept nogil:
    """TLS begins; before it, as in nginx, the PROXY header. False: the try is over, another may be under way."""
    cdef Buf* b
    if r.flags & RQ_TCP and r.stream.send_proxy_protocol:
        if not proxy_protocol_send(r):
            up_failed(r, WHY_CONNECT)
            return False
        b = u.out
        while b != NULL:                # what waits of it goes out as it is
            b.sealed = 1
            b = b.next
    if tls_connect(u, r):
        return True
    up_release(r, False)                # our want, not the server's fault
    up_final(r, 500)
    return False


cdef void up_ready(Request* r) noexcept nogil:
    r.up_connect = loop.now - r.up_start
    if r.flags & RQ_TCP:
        tcp_connected(r)
    else:
        proxy_send(r)


cdef void up_event(Conn* u) noexcept nogil:
    cdef Request* r = u.req
    cdef int e
    cdef char byte
    if u.state == S_IDLE:
        if u.ready & R_READ and conn_peek(u, &byte, 1) != IO_AGAIN:      # the server ended it, or sent what nobody asked for
            pool_close(u)
        return
    if u.state == S_CONNECT:
        if u.ready & R_ERR:
            e = u.io.error(u)           # 0: a unix socket that was connected, and left by the server since
            if e:
                log_try(r, b"connect() failed", e, b"while connecting to upstream")
                up_failed(r, WHY_CONNECT)
                return
        if u.ready & R_WRITE:
            up_connected(u)
        return
    if u.state == S_HANDSHAKE:
        up_connected(u)
        return
    if r.phase == PH_TUNNEL:
        tcp_event(u)
    else:
        proxy_event(r)


cdef void up_timeout(Conn* u) noexcept nogil:
    cdef Request* r = u.req
    if u.state == S_IDLE:
        pool_close(u)
        return
    if u.state == S_CONNECT:
        log_try(r, b"upstream timed out", ETIMEDOUT, b"while connecting to upstream")
    elif u.state == S_HANDSHAKE:
        if u.io == &tls:
            tls_up_count(u, LB_TLS_TIMEOUT)
        log_try(r, b"upstream timed out", ETIMEDOUT, b"while SSL handshaking to upstream" if u.io == &tls
                else b"while handshaking with upstream")
    elif u.out != NULL or r.client.pipe != NULL:
        log_try(r, b"upstream timed out", ETIMEDOUT, b"while sending request to upstream")
    else:
        log_try(r, b"upstream timed out", ETIMEDOUT, b"while reading response header from upstream"
                if r.phase < PH_READING_BODY else b"while reading upstream")
    if r.phase >= PH_READING_BODY:  # too late for another server: the client sees the break
        peer_fail(r)
        client_break_off(r)
        return
    up_failed(r, WHY_TIMEOUT)


# ---- the end of a try

cdef void up_release(Request* r, bint keep) noexcept nogil:
    """The request lets go of its server: the connection is pooled or closed."""
    cdef Conn* u = r.up
    cdef Peer* p = r.peer
    if u != NULL:
        if (r.flags & RQ_TCP and r.up_connect >= 0) or (not r.flags & RQ_TCP and r.outb.done):
            peer_time_seen(r, TIMED_LAST, loop.now - r.up_start)
        r.up_response = loop.now - r.up_start
        if debug_on(u):
            debug_peer(r, b"free peer:")
        r.up_sent = u.put - r.up_put
        r.up_received = u.got - r.up_got
        stats_bytes(r)
        if r.up_header >= 0 or (r.flags & RQ_TCP and r.up_connect >= 0):
            stats_time(p.stats.response, &p.stats.response_ms, r.up_response)
        r.up = NULL
        u.req = NULL
        if (keep and not p.removed and not loop.stopping and u.served < r.ups.keepalive_requests and r.ups.keepalive
                and loop.now - u.born <= r.ups.keepalive_time):
            pool_put(u)
        else:
            conn_close(u)
    peer_pending_end(r)
    if r.flags & RQ_UP_ENDED:
        p.ended -= 1
        peer_gone(p)
    elif r.flags & RQ_HELD:
        peer_leave(p)
    r.flags &= ~(RQ_HELD | RQ_UP_ENDED)


cdef void up_abandon(Request* r) noexcept nogil:
    """The exchange ends without a failure of the server: let go of it, if it is still held."""
    if r.flags & RQ_HELD:
        up_release(r, False)


cdef bint up_idempotent(Request* r) noexcept nogil:
    """May it be sent again after bytes of it went out? Not POST, LOCK, PATCH (nginx), nor a method we do not know."""
    return r.h.method not in (M_OTHER, M_POST, M_PATCH, M_LOCK)


cdef bint up_may_retry(Request* r, uint32_t why, bint stale) noexcept nogil:
    """Does proxy_next_upstream let another server be asked? `stale`: a pooled connection may always have ended."""
    cdef NextRule* n = &r.settings.next
    if r.flags & (RQ_STARTED | RQ_NO_REPLAY):
        return False
    if r.phase > PH_CONNECTING and not up_idempotent(r) and not n.mask & NX_NON_IDEMPOTENT:
        return False
    if stale:
        return True
    if not n.mask & why or r.left <= 1 or (n.timeout and loop.now - r.up_first >= n.timeout):
        return False
    return likely(not n.budget) or budget_allows(r)


cdef uint32_t up_next_bit(int why, int status) noexcept nogil:
    """The condition of proxy_next_upstream (Next) that has come true."""
    if why == WHY_TIMEOUT:
        return NX_TIMEOUT
    if why == WHY_INVALID:
        return NX_INVALID
    if why != WHY_STATUS:
        return NX_ERROR
    if status == 500: return NX_500
    if status == 502: return NX_502
    if status == 503: return NX_503
    if status == 504: return NX_504
    if status == 403: return NX_403
    if status == 404: return NX_404
    if status == 429: return NX_429
    return 0


cdef void up_tries_begin(Request* r) noexcept nogil:
    """As nginx: no more tries than there are servers, backup ones included, or than proxy_next_upstream_tries."""
    cdef Table* t = r.ups.table
    cdef NextRule* n = &r.settings.next
    cdef uint32_t most = 1 if r.ups == &loop.direct else 65535
    if t != NULL and t.rank[0].n + t.rank[1].n < most:
        most = t.rank[0].n + t.rank[1].n
    if n.tries and n.tries < most:
        most = n.tries
    r.left = <uint16_t> most
    r.up_first = loop.now
    if unlikely(n.budget):
        budget_request(r)
    up_local_begin(r)
    if r.up_tls != NULL:
        tls_up_begin(r)


cdef void up_failed(Request* r, int why) noexcept nogil:
    """This try has failed before anything of an answer reached the client."""
    if up_next(r, why):
        up_start(r)


cdef bint pool_unasked(Request* r) noexcept nogil:
    """A pooled connection ended under the request: had its server gone before the request came to it? Then it did not
    acknowledge all of it (a server that did may have acted on it). Of a reset nobody can tell; nor of a unix socket."""
    cdef Conn* u = r.up
    if u.put == r.up_put:
        return True
    return u.flags & CF_EOF and not u.flags & CF_UNIX and plain_unacknowledged(u) > 0


cdef bint up_next(Request* r, int why) noexcept nogil:
    """Let go of the failed server. True: another try is due; False: the request has got its final answer.

    A pooled connection may always have ended: its server is not to blame, and another is asked whatever proxy_next_upstream
    says. It itself is asked again only if the request did not get there, or if it is the only one (as nginx); so one request
    asks a server once.
    """
    cdef bint stale = why == WHY_BROKEN and r.flags & RQ_REUSED
    cdef uint32_t bit = up_next_bit(why, r.up_status)
    cdef bint again = up_may_retry(r, bit, stale)
    cdef int status
    if why != WHY_STATUS:
        r.up_status = 504 if why == WHY_TIMEOUT else 502
    status = r.up_status
    if not stale and not bit & (NX_403 | NX_404):
        peer_fail(r)
    if again and stale:
        r.flags |= RQ_CONNECT
    if again and not (stale and (r.peer.single or pool_unasked(r))):
        again = up_tried_add(r, r.peer)
        r.left -= r.left > 0
    if unlikely(r.settings.next.budget) and again and not stale:
        budget_retry(r.ups)
    if debug_on(r.client):
        debug_next(r, why, again)
    r.peer.stats.retries += again
    up_release(r, False)
    up_try_add(r, r.peer)
    if again:
        r.flags &= ~RQ_REUSED
        loop.st.retries += 1
        return True
    up_final(r, status)
    return False


cdef void up_exhausted(Request* r) noexcept nogil:
    """No server is left to try: the group's name stands for it in $upstream_addr."""
    loop.st.no_live += 1
    r.ups.rest.no_live += 1
    r.peer = NULL
    log_request(LOG_ERR, r, b"no live upstreams while connecting to upstream", 0, b"")
    up_try_none(r)
    up_final(r, 502)


cdef void up_final(Request* r, int status) noexcept nogil:
    up_try_add(r, r.peer)
    if r.flags & RQ_TCP:
        r.status = status
        tcp_end(r)
    else:
        reply_status(r, status)


cdef bint up_tried_add(Request* r, Peer* p) noexcept nogil:
    """Remember that this server failed this request, also if it leaves the list and comes back. False: 64 were tried."""
    if r.tried == NULL:
        r.tried = <uint64_t*> request_memory(r, 64 * sizeof(uint64_t))
    if r.tried == NULL or r.ntried == 64:
        return False
    r.tried[r.ntried] = p.id
    r.ntried += 1
    return True


cdef void up_try_add(Request* r, Peer* p) noexcept nogil:
    """The server was let go of: keep what $upstream_* tell of it. 64 tries at most are kept (up_tried_add)."""
    cdef Try* t
    if r.peer == NULL:
        return
    t = <Try*> request_memory(r, sizeof(Try) + p.name.n)
    if t != NULL:
        var_try_now(r, loop.now, t)
        t.addr.p = <char*> t + sizeof(Try)
        memcpy(t.addr.p, p.name.p, p.name.n)
        up_try_link(r, t)
    r.peer = NULL


cdef void up_try_link(Request* r, Try* t) noexcept nogil:
    t.next = NULL
    t.redirect = r.redirected
    r.redirected = 0
    if r.last_try != NULL:
        r.last_try.next = t
    else:
        r.first_try = t
    r.last_try = t


cdef void up_try_none(Request* r) noexcept nogil:
    """No server could be chosen: the upstream's name stands for it, as in nginx."""
    cdef Try* t = <Try*> request_memory(r, sizeof(Try))
    if t == NULL:
        return
    memset(t, 0, sizeof(Try))
    t.addr = r.ups.name
    t.status = 502
    t.connect = t.header = -1
    up_try_link(r, t)
