"""The checker at work: when a server is asked, the connection on which it is, and what comes of it.

    a table is swapped in -> check_follow: a Check for each of its servers that is not `down`; check_forget for those that went
    check_timer: CP_WAIT -> check_start -> [check_connect: CP_CONNECT -> [CP_HANDSHAKE]] -> check_ask: CP_SEND, CP_READ
        -> check_read -> judge -> check_done -> CP_WAIT, until `interval` after the start of this one
    check_timer in any other phase: the check took longer than `timeout`

A Check has one Conn for its life, whose timer is its clock: its socket comes and goes (plain_open, conn_hang_up). What asks a
server's agent (agent.pyx) is a second Check of its own, with its own settings.
"""

cdef enum:
    CHECK_MOST = SCRATCH        # bytes of an answer that a type may look at
    CHECK_SPREAD = 1000         # ms over which the first checks of a long list are spread, at most
    CHECK_AGAIN = 250           # ms between the first checks of a server, at most
    CHECK_AT_ONCE = 20          # the same when the one before was passed
    CHECK_PAUSE = 500           # ms until the next try when this process has no descriptor or memory to spare
    CHECK_BATCH = 128           # checks that begin together, where there are so many: a wake-up costs as much as a check
    CHECK_GRID = 64             # ms between such batches, at most
    CHECK_CROWD = 16            # checks that wait for a server: from here on their events are gathered
    CHECK_GATHER_US = 1000      # for so long


cdef struct CheckCrowd:         # of this process
    uint64_t rate               # checks in 1,000 s, as the intervals say
    uint32_t running            # checks that wait for their server

cdef CheckCrowd check_crowd


# ---- many at once

cdef void check_gather() noexcept nogil:
    """Before the loop waits: let the answers of many gather. One by one each would wake this process, and its caches are cold."""
    cdef timespec pause
    if check_crowd.running < CHECK_CROWD or loop.posted != NULL:
        return
    pause.tv_sec = 0
    pause.tv_nsec = CHECK_GATHER_US * 1000
    nanosleep(&pause, NULL)


cdef inline int64_t check_grid(int64_t wait) noexcept nogil:
    """ms between the moments at which checks begin: a power of two, which makes batches of CHECK_BATCH; little beside `wait`."""
    cdef int64_t grid = CHECK_GRID
    while grid > 1 and (grid > wait // 8 or <uint64_t> grid * check_crowd.rate > CHECK_BATCH * 1000 * 1000):
        grid >>= 1
    return grid


cdef void check_run(Check* k, bint runs) noexcept nogil:
    """It waits for its server, or does no more."""
    if runs != k.runs:
        k.runs = runs
        check_crowd.running += 1 if runs else -1


# ---- who is checked

cdef void check_follow(Table* t) noexcept nogil:
    """A new list is in use."""
    cdef uint32_t i, unplaced = 0
    cdef Entry* e
    if t.ups.check == NULL:
        return
    for i in range(t.ngone):
        check_forget(t.gone[i])
    for i in range(t.ntouched):
        e = &t.entries[t.touched[i]]
        if e.down & PEER_DOWN:
            check_forget(e.peer)
        elif e.peer.check == NULL and e.peer.health != NULL:
            e.peer.check = check_begin(e.peer, t.ups.check, t.n)
            agent_begin(e.peer, t.n)
    for i in range(t.n):
        if t.entries[i].peer.health != NULL:
            t.entries[i].peer.health.order = i
        else:
            unplaced += not t.entries[i].down & PEER_DOWN
    if unplaced != t.ups.check.unplaced:
        t.ups.check.unplaced = unplaced
        check_log_unplaced(t.ups, unplaced)


cdef Check* check_begin(Peer* p, CheckConf* conf, uint32_t servers) noexcept nogil:
    """NULL: memory is out, as the log says."""
    cdef Check* k = <Check*> calloc(1, sizeof(Check))
    cdef Conn* c = conn_new(-1, K_CHECK) if k != NULL else NULL
    cdef uint64_t spread = servers // 8
    if c == NULL:
        free(k)
        log_line(LOG_ALERT, b"no memory for the check of a server: it is not checked")
        return NULL
    c.io = &plain_none
    c.peer = p
    k.conn = c
    k.peer = p
    k.health = p.health
    k.conf = conf
    k.known = not p.health.word & HEALTH_UNSEEN
    check_address(k)
    check_crowd.rate += 1000_000 // <uint64_t> conf.interval
    conn_state(c, S_IDLE)
    k.first = not k.known
    if k.known:                     # by the checker before us: go on
        spread = <uint64_t> k.conf.interval
    elif spread > CHECK_SPREAD:
        spread = CHECK_SPREAD
    timer_set(&loop.wheel, &c.timer, loop.now + 1 + <int64_t> (balance_random_more(&loop.env) % (spread + 1)))
    return k


cdef inline Check* check_of(Conn* c) noexcept nogil:
    """Whose connection it is: a server's check, or what asks its agent."""
    return c.peer.check if c.peer.check != NULL and c.peer.check.conn == c else c.peer.agent


cdef void check_address(Check* k) noexcept nogil:
    """Where to: the server, with the port of the checks. A unix socket has none, and is asked itself."""
    cdef Peer* p = k.peer
    k.sa_len = p.sa_len
    memcpy(k.sa, p.sa, p.sa_len)
    if k.conf.port and p.family == AF_INET:
        (<sockaddr_in*> k.sa).sin_port = htons(k.conf.port)
    elif k.conf.port and p.family == AF_INET6:
        (<sockaddr_in6*> k.sa).sin6_port = htons(k.conf.port)


cdef void check_forget(Peer* p) noexcept nogil:
    """It is checked no more, and what was known of it ends."""
    cdef Check* k = p.check
    if k == NULL:
        return
    health_leave(k.health)
    check_end(k)
    if p.agent != NULL:
        check_end(p.agent)


cdef void check_end(Check* k) noexcept nogil:
    check_run(k, False)
    check_crowd.rate -= 1000_000 // <uint64_t> k.conf.interval
    conn_hang_up(k.conn)
    check_grpc_forget(k)
    if k.peer.agent == k:
        k.peer.agent = NULL
    else:
        k.peer.check = NULL
    conn_close(k.conn)
    free(k)


cdef void check_drain(Conn* c) noexcept nogil:
    check_end(check_of(c))


# ---- one check

cdef void check_timer(Conn* c) noexcept nogil:
    cdef Check* k = check_of(c)
    if k.phase == CP_READ and k.settled:
        check_done(k, True)
        return
    if k.phase != CP_WAIT:
        check_fail(k, CHECK_TIMEOUT, k.phase)
        return
    if k.conf.skip and check_served(k):
        return
    if k.due and loop.now - k.due > <int64_t> loop.health.behind:
        loop.health.behind = <uint64_t> (loop.now - k.due)
    check_start(k)


cdef bint check_served(Check* k) noexcept nogil:
    """check_skip_when_served: a server that is up has just answered a request well. True: the next check is set."""
    cdef Health* h = k.health
    cdef int64_t until = <int64_t> lb_atomic_load(&h.served) + k.conf.interval
    if until <= loop.now or h.fall or h.word & (HEALTH_DOWN | HEALTH_UNSEEN):
        return False
    h.skipped += 1
    k.due = until
    timer_set(&loop.wheel, &k.conn.timer, until)
    return True


cdef void check_start(Check* k) noexcept nogil:
    k.began = loop.now
    k.began_us = check_clock()
    k.why = CHECK_INVALID
    k.detail = 0
    k.keep = 0
    k.settled = 0
    k.note_len = 0
    check_run(k, True)
    timer_set(&loop.wheel, &k.conn.timer, loop.now + k.conf.timeout)
    if conn_has_socket(k.conn):
        check_ask(k)
    else:
        check_connect(k)


cdef int64_t check_clock() noexcept nogil:
    cdef timespec ts
    clock_gettime(CLOCK_MONOTONIC, &ts)
    return <int64_t> ts.tv_sec * 1000000 + ts.tv_nsec // 1000


cdef void check_connect(Check* k) noexcept nogil:
    cdef int e = plain_open(k.conn, <sockaddr*> k.sa, k.sa_len)
    k.served = 0
    k.phase = CP_CONNECT
    if e in (ENOMEM, EMFILE, ENFILE, ENOBUFS, EADDRNOTAVAIL):
        check_want(k, e)
    elif e:
        check_fail(k, CHECK_CONNECT, e)


cdef void check_want(Check* k, int e) noexcept nogil:
    """Our want, not the server's fault: no result."""
    log_errno(LOG_ALERT, b"a server cannot be checked: socket() or connect() failed", e)
    conn_hang_up(k.conn)
    check_run(k, False)
    k.phase = CP_WAIT
    timer_set(&loop.wheel, &k.conn.timer, loop.now + CHECK_PAUSE)


cdef void check_event(Conn* c) noexcept nogil:
    cdef Check* k = check_of(c)
    cdef int e
    if k.phase == CP_CONNECT:
        e = c.io.error(c) if c.ready & R_ERR else 0
        if e:
            check_fail(k, CHECK_CONNECT, e)
        elif c.ready & R_WRITE and k.conf.tls != NULL:
            check_secure(k)
        elif c.ready & R_WRITE:
            check_ask(k)
    elif k.phase == CP_HANDSHAKE:
        check_handshake(k)
    elif k.phase == CP_SEND:
        check_flush(k)
    elif k.phase == CP_READ:
        check_read(k)
    elif conn_has_socket(c):
        check_idle(k)


cdef void check_idle(Check* k) noexcept nogil:
    """A kept connection has ended, or says what nobody asked for."""
    cdef Conn* c = k.conn
    if k.conf.type.idle != NULL:
        if not k.conf.type.idle(k):
            conn_hang_up(c)
    elif c.ready & R_READ and not conn_nothing_came(c):
        conn_hang_up(c)


cdef void check_ask(Check* k) noexcept nogil:
    """Its connection stands: ask."""
    cdef Conn* c = k.conn
    cdef Out o
    k.served += 1
    out_init(&o, loop.heads, HEADS)
    if k.conf.send != NULL and k.conf.type.idle == NULL:
        check_pieces(k, &o)
    elif k.conf.type.send != NULL:
        k.conf.type.send(k, &o)
    if o.p > loop.heads and not conn_send(c, loop.heads, <size_t> (o.p - loop.heads)):
        check_broken(k, CHECK_BROKEN, errno)
        return
    k.phase = CP_SEND
    check_flush(k)


cdef void check_flush(Check* k) noexcept nogil:
    cdef int rc = conn_flush(k.conn)
    if rc < 0:
        check_broken(k, CHECK_BROKEN, errno)
    elif rc:
        k.phase = CP_READ
        check_read(k)


cdef void check_broken(Check* k, int why, int detail) noexcept nogil:
    """Before the first byte of an answer. The server may have ended a kept connection while the question was on its way: that
    says nothing of it, and it is asked again on a new one, within the same time."""
    if k.served > 1:
        conn_hang_up(k.conn)
        check_connect(k)
    else:
        check_fail(k, why, detail)


cdef uint32_t check_waiting(Conn* c) noexcept nogil:
    """What waits in Conn.inb goes to the scratch buffer: its bytes."""
    cdef uint32_t n = 0
    if c.inb != NULL:
        n = buf_len(c.inb)
        memcpy(loop.scratch, buf_data(c.inb) + c.inb.off, n)
        buf_free_chain(&loop.pool, c.inb)
        c.inb = NULL
    return n


cdef void check_pieces(Check* k, Out* o) noexcept nogil:
    """What check_http_send says, with what it says of the server."""
    cdef uint32_t i
    for i in range(k.conf.nsend):
        out_str(o, k.conf.send[i].text)
        if k.conf.send[i].value:
            check_value(k, k.conf.send[i].value, o)


cdef void check_read(Check* k) noexcept nogil:
    """Judge what has come, from its beginning; what is not enough waits in Conn.inb."""
    cdef Conn* c = k.conn
    cdef uint32_t n = check_waiting(c)
    cdef ssize_t got = IO_AGAIN
    cdef int judged
    while True:
        if n == CHECK_MOST:
            check_fail(k, CHECK_LARGE, 0)
            return
        got = conn_recv(c, loop.scratch + n, CHECK_MOST - n) if c.ready & R_READ else IO_AGAIN
        if got == IO_FAILED and k.settled:
            check_done(k, True)
            return
        if n == 0 and (got == IO_FAILED or got == IO_END) and k.served > 1:
            check_broken(k, CHECK_CLOSED, 0)
            return
        if got == IO_FAILED:
            check_fail(k, CHECK_BROKEN, errno)
            return
        n += <uint32_t> got if got > 0 else 0
        judged = k.conf.type.judge(k, loop.scratch, n, got == IO_END)
        if judged == JUDGE_OK:
            check_done(k, True)
        elif judged == JUDGE_FAIL:
            check_done(k, False)
        elif judged == JUDGE_AGAIN:
            check_broken(k, CHECK_CLOSED, 0)
        elif got == IO_END:
            check_fail(k, CHECK_CLOSED, 0)
        elif got > 0 and c.ready & R_READ:
            continue
        elif n:
            conn_keep(c, loop.scratch, n)
        return


# ---- its end

cdef void check_fail(Check* k, int why, int detail) noexcept nogil:
    k.why = why
    k.detail = detail
    k.keep = 0
    check_done(k, False)


cdef void check_done(Check* k, bint ok) noexcept nogil:
    cdef Health* h = k.health
    cdef uint32_t fell = h.fall
    if not (ok and k.keep and k.conf.type.keeps and k.served < k.conf.requests):
        conn_hang_up(k.conn)
    check_run(k, False)
    k.phase = CP_WAIT
    if k.conf.type.done != NULL:
        k.conf.type.done(k, ok)
        check_at(k, k.conf.interval)
        return
    h.took_us = <uint64_t> (check_clock() - k.began_us)
    if health_verdict(k, ok):
        check_log_change(k)
    elif not ok and fell == 0:
        check_log_failure(k)
    check_next(k, ok)


cdef void check_next(Check* k, bint ok) noexcept nogil:
    """The next one, an interval after the start of this one."""
    cdef CheckConf* f = k.conf
    cdef int64_t wait = f.interval
    if k.known and k.first:             # all began within a short time: from here on they are spread over the interval
        k.first = 0
        wait = 1 + <int64_t> (balance_random_more(&loop.env) % <uint64_t> wait)
    elif not k.known:
        wait = CHECK_AT_ONCE if ok else CHECK_AGAIN
        if wait > f.interval:
            wait = f.interval
    elif f.fast and (k.health.fall if not k.health.word & HEALTH_DOWN else k.health.rise):
        wait = f.fast
    elif f.down and k.health.word & HEALTH_DOWN:
        wait = f.down
    check_at(k, wait)


cdef void check_at(Check* k, int64_t wait) noexcept nogil:
    """Begin the next one so long after this one has begun."""
    cdef int64_t grid = check_grid(wait)
    cdef int64_t at = k.began + wait
    if k.known:                         # 5 % more or less, so that they do not march in step
        at += <int64_t> (balance_random_more(&loop.env) % <uint64_t> (wait // 10 + 1)) - wait // 20
    at = (at + grid // 2) & ~(grid - 1)
    if at <= loop.now:
        k.health.late += k.conf.type.done == NULL
        at = loop.now + 1
    k.due = at
    timer_set(&loop.wheel, &k.conn.timer, at)


# ---- the error log, in the module's words

cdef void check_log(int level, Check* k, const char* head, bint why) noexcept nogil:
    cdef Out o
    if not error_begin(&o, &loop.errors, level):
        return
    out_text(&o, head)
    out_text(&o, b" peer: ")
    out_str(&o, k.peer.name)
    out_char(&o, 32)
    if why:
        out_text(&o, b": ")
        out_put(&o, k.health.text, k.health.text_len)
    out_text(&o, b", upstream: \"")
    out_str(&o, k.peer.ups.name)
    out_char(&o, 34)
    error_end(&o, &loop.errors, level)


cdef void check_log_unplaced(Upstream* u, uint32_t n) noexcept nogil:
    cdef Out o
    if n == 0 or not error_begin(&o, &loop.errors, LOG_ERR):
        return
    out_text(&o, b"check_shm_size is too small: ")
    out_uint(&o, n)
    out_text(&o, b" servers are not checked, and taken for up, upstream: \"")
    out_str(&o, u.name)
    out_char(&o, 34)
    error_end(&o, &loop.errors, LOG_ERR)


cdef void check_log_change(Check* k) noexcept nogil:
    if k.health.word & HEALTH_DOWN:
        check_log(LOG_ERR, k, b"disable check", True)
    else:
        check_log(LOG_ERR, k, b"enable check", False)


cdef void check_log_failure(Check* k) noexcept nogil:
    """The first of a row: the others would fill the log."""
    if k.health.why == CHECK_TIMEOUT:
        check_log(LOG_ERR, k, b"check time out with", True)
    else:
        check_log(LOG_ERR, k, b"check failed with", True)
