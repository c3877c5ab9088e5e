"""Tallies: which server counts where, and how the master reads it. For their layout see tally.pxd.

    publish (any thread, with the GIL): tally_give: FREE or LEFT -> USED; a server that comes back finds its old counts
    the loop:  counts; tally_left when a peer is buried: USED -> LEFT
    publish, when nothing is free: a LEFT one is added to its upstream's TALLY_GONE and given to another server
    the master: tallies_add: one pass over a worker's tallies into sums by server and by upstream

So the sums of an upstream never fall, and those of a server do not while its workers let go of it one after the other.
"""

cdef dict tally_places = {}         # (number of the upstream, name) -> places in loop.tallies that have this name
cdef uint32_t tally_next = 0        # where the search for a place goes on


cdef int tallies_of(int upstreams) noexcept nogil:
    return 2 * (upstreams + 1) + TALLY_SERVERS


cdef int tallies_init(size_t size, int upstreams) except -1:
    """Our part of the shared memory: two for each upstream, and for the servers of addresses that variables gave."""
    global tally_next
    cdef size_t stats = loop.workers * sizeof(Stats)
    cdef int i
    tally_places.clear()
    loop.ntallies = <uint32_t> ((size - stats) // (loop.workers * sizeof(Tally)))
    if loop.ntallies < <uint32_t> tallies_of(upstreams) - TALLY_SERVERS:
        raise ValueError("the shared memory is too small for these upstreams")
    loop.st.tallies = stats + loop.worker * loop.ntallies * sizeof(Tally)
    loop.tallies = <Tally*> (<char*> loop.all + loop.st.tallies)
    for i in range(upstreams + 1):
        loop.tallies[2 * i].upstream = loop.tallies[2 * i + 1].upstream = i
        loop.tallies[2 * i].state = TALLY_REST
        loop.tallies[2 * i + 1].state = TALLY_GONE
    loop.st.tallied = tally_next = 2 * (upstreams + 1)
    return 0


cdef Tally* tally_rest(int upstream) noexcept nogil:
    return &loop.tallies[2 * upstream]


# ---- giving out, with the GIL

cdef Tally* tally_give(Upstream* u, Str name) except NULL:
    """A tally for a server with this address: the one it had before, a new one, or the upstream's TALLY_REST."""
    cdef tuple key = (u.number, name.p[:name.n])
    cdef uint32_t at = 0
    for at in tally_places.get(key, ()):
        if lb_atomic_load(&loop.tallies[at].state) == TALLY_LEFT:
            loop.tallies[at].since = tally_wall()
            loop.tallies[at].condition = COND_UP
            loop.tallies[at].state = TALLY_USED
            return &loop.tallies[at]
    if name.n > TALLY_NAME or not tally_find(&at):
        return u.rest
    if loop.tallies[at].state == TALLY_LEFT:
        tally_fold(at)
    tally_places.setdefault(key, []).append(at)
    tally_name(&loop.tallies[at], u, name)
    if at >= loop.st.tallied:
        lb_atomic_store(&loop.st.tallied, at + 1)
    return &loop.tallies[at]


cdef bint tally_find(uint32_t* at) noexcept nogil:
    """A place that nobody counts in: one never used, else the next that was left."""
    global tally_next
    cdef uint32_t _i, first = 2 * (loop.nups + 1)
    if tally_next < loop.ntallies and loop.tallies[tally_next].state == TALLY_FREE:
        at[0] = tally_next
        tally_next += 1
        return True
    for _i in range(loop.ntallies - first):
        if tally_next >= loop.ntallies:
            tally_next = first
        at[0] = tally_next
        tally_next += 1
        if lb_atomic_load(&loop.tallies[at[0]].state) != TALLY_USED:
            return True
    return False


cdef int tally_fold(uint32_t at) except -1:
    """What it holds goes to its upstream's TALLY_GONE; it is free."""
    cdef Tally* t = &loop.tallies[at]
    cdef Tally* gone = &loop.tallies[2 * t.upstream + 1]
    places = tally_places[t.upstream, t.name[:t.name_len]]
    places.remove(at)
    if not places:
        del tally_places[t.upstream, t.name[:t.name_len]]
    lb_atomic_store(&loop.st.folding, loop.st.folding + 1)
    tally_sum(&gone.active, t)
    t.state = TALLY_FREE
    lb_atomic_store(&loop.st.folding, loop.st.folding + 1)
    return 0


cdef void tally_name(Tally* t, Upstream* u, Str name) noexcept nogil:
    memset(t, 0, sizeof(Tally))
    t.upstream = u.number
    t.name_len = name.n
    memcpy(t.name, name.p, name.n)
    t.since = tally_wall()
    lb_atomic_store(&t.state, TALLY_USED)


cdef inline uint64_t tally_wall() noexcept nogil:
    """Unix ms; 0 before the loop runs: the server was there when the worker began."""
    return loop.env.wall if loop.st.turns else 0


# ---- counting, in the loop

cdef inline void tally_bytes(Request* r) noexcept nogil:
    """What has gone to its server and come from it since it was counted last."""
    cdef Tally* t = r.peer.tally
    t.sent += r.up.put - r.told_put
    t.received += r.up.got - r.told_got
    r.told_put = r.up.put
    r.told_got = r.up.got


cdef inline void tally_head(Request* r) noexcept nogil:
    """The head of an answer, in r.up_status and r.up_header."""
    cdef Tally* t = r.peer.tally
    cdef uint32_t kind = (r.up_status * 41u) >> 12      # hundreds, exact up to 1098
    if 1 <= kind <= 5:
        t.status[kind - 1] += 1
    tally_time(t.header, &t.header_ms, r.up_header)


cdef void tally_condition(Peer* p) noexcept nogil:
    """After anything that may have changed it."""
    cdef Tally* t = p.tally
    cdef uint64_t now = COND_UP
    if t.state != TALLY_USED:           # shared by several
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
        t.since = tally_wall()


cdef inline void tally_left(Tally* t) noexcept nogil:
    """Its peer is buried."""
    if t.state == TALLY_USED:
        lb_atomic_store(&t.state, TALLY_LEFT)


# ---- reading, in the master

TALLY_OTHER = b"other"              # the name of TALLY_REST among the servers

cdef enum:
    FOLDING_TRIES = 100             # looks at `folding` before a reader takes what there is: a worker may have died in it
    ROW_CONDITIONS = TALLY_COUNTERS         # for each Condition: tallies with it, of them with `since` 0, least and last `since`
    ROW_RETRY = ROW_CONDITIONS + 16         # the last retry_at
    ROW = ROW_RETRY + 1

TALLY_ROW = ROW                     # numbers in a row of sums
TALLY_BOUNDS = tuple([lb_tally_bounds[i] for i in range(TALLY_CELLS - 1)])
TALLY_FIELDS = ("active", "requests", "1xx", "2xx", "3xx", "4xx", "5xx", "sent", "received", "retries", "failures", "connects",
                "no_live", "connect_ms", "header_ms", "response_ms", "connect", "header", "response", "consul_errors")


cdef inline void tally_sum(uint64_t* sums, Tally* t) noexcept nogil:
    cdef uint64_t* n = &t.active
    cdef int i
    for i in range(TALLY_COUNTERS):
        sums[i] += n[i]


cdef void tally_shown(uint64_t* row, Tally* t) noexcept nogil:
    """The condition of a server in one worker."""
    cdef uint64_t* c = row + ROW_CONDITIONS + 4 * (t.condition & 3)
    c[0] += 1
    if t.since == 0:
        c[1] += 1
    else:
        if c[2] == 0 or t.since < c[2]:
            c[2] = t.since
        if t.since > c[3]:
            c[3] = t.since
    if t.condition == COND_FAILED and t.retry_at > row[ROW_RETRY]:
        row[ROW_RETRY] = t.retry_at


cdef void tallies_clear(unsigned char* shm, int worker) noexcept nogil:
    cdef Stats* st = <Stats*> shm + worker
    memset(shm + st.tallies, 0, st.tallied * sizeof(Tally))


cdef Tally* tallies_copy(const unsigned char* shm, int worker, uint64_t* n) except? NULL:
    """What a worker has in use, at one moment: no sum is missing or there twice. To be freed."""
    cdef const Stats* st = <const Stats*> shm + worker
    cdef const Tally* all = <const Tally*> (shm + st.tallies)
    cdef Tally* copy
    cdef uint64_t i, before
    cdef int _i
    n[0] = lb_atomic_load(<uint64_t*> &st.tallied)
    copy = <Tally*> need(n[0] * sizeof(Tally))
    with nogil:
        for _i in range(FOLDING_TRIES):
            before = lb_atomic_load(<uint64_t*> &st.folding)
            if before & 1 and _i + 1 < FOLDING_TRIES:
                continue
            for i in range(n[0]):
                copy[i].state = lb_atomic_load(<uint64_t*> &all[i].state)
                if copy[i].state != TALLY_FREE:
                    memcpy(&copy[i].upstream, &all[i].upstream, sizeof(Tally) - sizeof(uint64_t))
            if before == lb_atomic_load(<uint64_t*> &st.folding):
                break
    return copy


cdef uint64_t* tally_row(dict rows, bytes name) except NULL:
    row = rows.get(name)
    if row is None:
        row = rows[name] = bytearray(ROW * sizeof(uint64_t))
    return <uint64_t*> PyByteArray_AS_STRING(row)


cdef int tally_consul(uint32_t upstream, bint good) except -1:
    """A query for this upstream has ended."""
    if upstream >= loop.nups:
        raise IndexError(f"no upstream number {upstream}")
    if good:
        tally_rest(upstream).consul_answer = <uint64_t> (time.time() * 1000)
    else:
        tally_rest(upstream).consul_errors += 1
    return 0


def consul_notes(shm, int worker):
    """For each upstream number of this worker: Unix time of Consul's last good answer (0: none), queries that failed."""
    cdef const unsigned char[::1] view = shm
    cdef const Stats* st = <const Stats*> &view[0] + worker
    cdef const Tally* all = <const Tally*> (&view[0] + st.tallies)
    cdef list found = []
    cdef uint64_t i
    for i in range(0, st.tallied, 2):
        if all[i].state != TALLY_REST:
            break
        found.append((all[i].consul_answer / 1000.0, all[i].consul_errors))
    return found


def tallies_add(shm, int worker, list tables, *, bint dead=False, bint serving=True):
    """Add what a worker has counted to `tables`: for each number of an upstream (and one more, for the servers of addresses
    that variables gave) a dict from a server's address to a row of uint64; b"" is the sum of the upstream.

    dead: without what there is now. serving: with the condition of each server.
    """
    cdef const unsigned char[::1] view = shm
    cdef uint64_t n, i
    cdef Tally* all = tallies_copy(&view[0], worker, &n)
    cdef Tally* t
    cdef uint64_t* row
    try:
        for i in range(n):
            t = &all[i]
            if t.state == TALLY_FREE or t.upstream >= <size_t> len(tables):
                continue
            if dead:
                t.active = 0
            rows = tables[t.upstream]
            tally_sum(tally_row(rows, b""), t)
            if t.state == TALLY_GONE or (t.state == TALLY_REST and t.requests == 0):
                continue
            row = tally_row(rows, TALLY_OTHER if t.state == TALLY_REST else t.name[:t.name_len])
            tally_sum(row, t)
            if t.state == TALLY_USED and serving and not dead:
                tally_shown(row, t)
    finally:
        free(all)
