"""Counters of servers: which server counts where, and how the master reads it. For their layout see upstream/stats.pxd.

    publish (any thread, with the GIL): stats_give: FREE or LEFT -> USED; a server that comes back finds its old counts
    the loop:  counts; stats_left when a peer is reaped: USED -> LEFT
    publish, when nothing is free: a LEFT one is added to its upstream's STATS_GONE and given to another server
    the master adds them up: upstream/stats_read.pyx

So the sums of an upstream never fall, and those of a server do not while its workers let go of it one after the other.
"""

cdef dict stats_places = {}         # (number of the upstream, name) -> places in loop.server_stats that have this name
cdef uint32_t stats_next = 0        # where the search for a place goes on
cdef uint64_t stats_lefts = 0      # how often a peer has left its counters; written by the loop
cdef uint64_t stats_vain = 0      # 1 + stats_lefts at the start of a search that found nothing


cdef int stats_room(int upstreams) noexcept nogil:
    return 2 * (upstreams + 1) + STATS_SERVERS


cdef uint32_t stats_bytes_room(size_t size, int workers) noexcept nogil:
    """How many server_stats each worker has in `size` bytes of counters. Worker and master each reckon it: nobody is told."""
    return <uint32_t> ((size - workers * sizeof(WorkerStats)) // (workers * sizeof(ServerStats)))


cdef size_t stats_at(int worker, int workers, uint32_t room) noexcept nogil:
    """Bytes from the start of the memory to a worker's server_stats."""
    return workers * sizeof(WorkerStats) + <size_t> worker * room * sizeof(ServerStats)


cdef int stats_init(size_t size, int upstreams) except -1:
    """Our part of the shared memory: two for each upstream, and for the servers of addresses that variables gave."""
    global stats_next
    cdef int i
    stats_places.clear()
    loop.nserver_stats = stats_bytes_room(size, loop.processes)
    if loop.nserver_stats < <uint32_t> stats_room(upstreams) - STATS_SERVERS:
        raise ValueError("the shared memory is too small for these upstreams")
    loop.server_stats = <ServerStats*> (<char*> loop.all + stats_at(loop.worker, loop.processes, loop.nserver_stats))
    for i in range(upstreams + 1):
        loop.server_stats[2 * i].upstream = loop.server_stats[2 * i + 1].upstream = i
        loop.server_stats[2 * i].state = STATS_REST
        loop.server_stats[2 * i + 1].state = STATS_GONE
    stats_next = 2 * (upstreams + 1)
    lb_atomic_store(&loop.st.server_stats_used, stats_next)
    return 0


cdef ServerStats* stats_rest(int upstream) noexcept nogil:
    return &loop.server_stats[2 * upstream]


# ---- giving out, with the GIL

cdef ServerStats* stats_give(Upstream* u, Str name) except NULL:
    """The counters of a server with this address: the one it had before, a new one, or the upstream's STATS_REST."""
    cdef tuple key = (u.number, name.p[:name.n])
    cdef uint32_t at = 0
    for at in stats_places.get(key, ()):
        if lb_atomic_load(&loop.server_stats[at].state) == STATS_LEFT:
            loop.server_stats[at].since = stats_wall()
            loop.server_stats[at].condition = COND_UP
            loop.server_stats[at].slow_until = 0
            loop.server_stats[at].state = STATS_USED
            return &loop.server_stats[at]
    if name.n > LB_SERVER_NAME or loop.checker or not stats_find(&at):
        return u.rest
    if loop.server_stats[at].state == STATS_LEFT:
        stats_fold(at)
    stats_places.setdefault(key, []).append(at)
    stats_name(&loop.server_stats[at], u, name)
    if at >= loop.st.server_stats_used:
        lb_atomic_store(&loop.st.server_stats_used, at + 1)
    return &loop.server_stats[at]


cdef bint stats_find(uint32_t* at) noexcept nogil:
    """A place that nobody counts in: one never used, else the next that was left. No second search while none was."""
    global stats_next, stats_vain
    cdef uint32_t _i, first = 2 * (loop.nups + 1)
    cdef uint64_t left = lb_atomic_load(&stats_lefts)
    if stats_next < loop.nserver_stats and loop.server_stats[stats_next].state == STATS_FREE:
        at[0] = stats_next
        stats_next += 1
        return True
    if stats_vain == left + 1:
        return False
    for _i in range(loop.nserver_stats - first):
        if stats_next >= loop.nserver_stats:
            stats_next = first
        at[0] = stats_next
        stats_next += 1
        if lb_atomic_load(&loop.server_stats[at[0]].state) != STATS_USED:
            return True
    stats_vain = left + 1
    return False


cdef int stats_fold(uint32_t at) except -1:
    """What it holds goes to its upstream's STATS_GONE; it is free."""
    cdef ServerStats* t = &loop.server_stats[at]
    cdef ServerStats* gone = &loop.server_stats[2 * t.upstream + 1]
    places = stats_places[t.upstream, t.name[:t.name_len]]
    places.remove(at)
    if not places:
        del stats_places[t.upstream, t.name[:t.name_len]]
    lb_atomic_store(&loop.st.folding, loop.st.folding + 1)
    stats_sum(&gone.active, t)
    t.state = STATS_FREE
    lb_atomic_store(&loop.st.folding, loop.st.folding + 1)
    return 0


cdef void stats_name(ServerStats* t, Upstream* u, Str name) noexcept nogil:
    memset(t, 0, sizeof(ServerStats))
    t.upstream = u.number
    t.name_len = name.n
    memcpy(t.name, name.p, name.n)
    t.since = stats_wall()
    lb_atomic_store(&t.state, STATS_USED)


cdef inline uint64_t stats_wall() noexcept nogil:
    """Unix ms; 0 before the loop runs: the server was there when the worker began."""
    return loop.env.wall if loop.st.turns else 0


# ---- counting, in the loop

cdef inline void stats_bytes(Request* r) noexcept nogil:
    """What has gone to its server and come from it since it was counted last."""
    cdef ServerStats* t = r.peer.stats
    t.sent += r.up.put - r.told_put
    t.received += r.up.got - r.told_got
    r.told_put = r.up.put
    r.told_got = r.up.got


cdef inline void stats_head(Request* r) noexcept nogil:
    """The head of an answer, in r.up_status and r.up_header."""
    cdef ServerStats* t = r.peer.stats
    cdef uint32_t kind = (r.up_status * 41u) >> 12      # hundreds, exact up to 1098
    if 1 <= kind <= 5:
        (&t.status_1xx)[kind - 1] += 1
    stats_time(t.header, &t.header_ms, r.up_header)


cdef void stats_condition(Peer* p) noexcept nogil:
    """After anything that may have changed it."""
    cdef ServerStats* t = p.stats
    cdef uint64_t now = COND_UP
    if t.state != STATS_USED:           # shared by several
        return
    if p.removed:
        now = COND_REMOVED
    elif p.down:
        now = COND_DOWN
    elif p.max_fails and p.fails >= p.max_fails and not p.single:
        now = COND_FAILED
        t.retry_at = loop.env.wall + (p.checked + p.fail_timeout - loop.now)
    if now != t.condition:
        t.condition = now
        t.since = stats_wall()


cdef inline void stats_left(ServerStats* t) noexcept nogil:
    """Its peer is buried."""
    if t.state == STATS_USED:
        lb_atomic_store(&t.state, STATS_LEFT)
        lb_atomic_store(&stats_lefts, stats_lefts + 1)


cdef inline void stats_sum(uint64_t* sums, ServerStats* t) noexcept nogil:
    cdef uint64_t* n = &t.active
    cdef int i
    for i in range(LB_SERVER_COUNTERS_N):
        sums[i] += n[i]


cdef int stats_consul(uint32_t upstream, bint good) except -1:
    """A query for this upstream has ended."""
    if upstream >= loop.nups:
        raise IndexError(f"no upstream number {upstream}")
    if good:
        stats_rest(upstream).consul_answer = <uint64_t> (time.time() * 1000)
    else:
        stats_rest(upstream).consul_errors += 1
    return 0
