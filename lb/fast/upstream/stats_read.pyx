"""How the master reads server_stats: sums by server and by upstream over workers, and what they think of each server.

    server_stats_add, once for each worker: a copy of one moment -> rows of numbers, by the server's address
    server_stats_settle, once: what the workers see becomes one state, and since when; who is in no worker is named

A row holds the counters of a ServerStats, then how many workers see the server in which condition, then its state.

The master may be root, and who has taken over a worker writes here what he likes. So the master reckons itself where the
ServerStats of a worker are (StatsBlock), bounds what it reads as a count or a length, looks at a copy that nobody changes
meanwhile, and takes no name that could be more than one word of a text.
"""

SERVER_STATS_OTHER = b"other"              # the name of STATS_REST among the servers

cdef enum:
    FOLDING_TRIES = 100             # looks at `folding` before a reader takes what there is: a worker may have died in it
    ROW_CONDITIONS = LB_SERVER_COUNTERS_N   # for each Condition: how many have it, of them with `since` 0, least and last `since`
    ROW_RETRY = ROW_CONDITIONS + 16         # the last retry_at
    ROW_SLOW = ROW_RETRY + 1                # the last slow_until, and its slow_ms
    ROW_STATE = ROW_SLOW + 2                # 1 + Condition; 0: no worker has said anything
    ROW_SINCE = ROW_STATE + 1               # Unix ms of the change to it
    ROW = ROW_SINCE + 1

SERVER_STATS_ROW = ROW              # numbers in a row of sums
SERVER_STATS_RETRY, SERVER_STATS_STATE, SERVER_STATS_SINCE, SERVER_STATS_SLOW = ROW_RETRY, ROW_STATE, ROW_SINCE, ROW_SLOW
SERVER_STATS_BOUNDS = tuple([lb_stats_bounds[i] for i in range(LB_CELLS - 1)])


cdef void stats_shown(uint64_t* row, ServerStats* t) noexcept nogil:
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
    if t.slow_until > row[ROW_SLOW]:
        row[ROW_SLOW] = t.slow_until
        row[ROW_SLOW + 1] = t.slow_ms


ctypedef struct StatsBlock:         # where a worker's counters are
    WorkerStats* st
    ServerStats* all
    uint64_t n                      # of its server_stats, were ever used
    uint32_t room                   # there are


cdef int stats_find_row(const unsigned char[::1] view, int worker, layout, StatsBlock* b) except -1:
    """`layout`: (workers, bytes of their counters), as the master made the memory. Raises ValueError for what it cannot be."""
    cdef int workers
    cdef size_t size
    workers, size = layout
    if not 0 <= worker < workers or size > <size_t> view.shape[0] or size < workers * sizeof(WorkerStats):
        raise ValueError(f"no counters of worker {worker} of {workers} in {size} of {view.shape[0]} bytes")
    b.room = stats_bytes_room(size, workers)
    b.st = <WorkerStats*> &view[0] + worker
    b.all = <ServerStats*> (&view[0] + stats_at(worker, workers, b.room))
    b.n = lb_atomic_load(&b.st.server_stats_used)
    if b.n > b.room:
        b.n = b.room
    return 0


def clear_stats(shm, int worker, tuple layout):
    """Zero one worker's counters, before another worker takes the slot."""
    cdef StatsBlock b
    stats_find_row(shm, worker, layout, &b)
    memset(b.all, 0, b.n * sizeof(ServerStats))
    memset(b.st, 0, sizeof(WorkerStats))


cdef bint stats_named(ServerStats* t) noexcept nogil:
    """Is its name the text of an address? No control bytes, which would end a line somewhere."""
    cdef uint32_t i
    if t.name_len == 0 or t.name_len > LB_SERVER_NAME:
        return False
    for i in range(t.name_len):
        if 0 <= <signed char> t.name[i] < 32 or t.name[i] == 127:
            return False
    return True


cdef ServerStats* stats_copy(StatsBlock* b, uint64_t* n) except? NULL:
    """What a worker has in use, at one moment: no sum is missing or there twice. To be freed."""
    cdef const WorkerStats* st = b.st
    cdef const ServerStats* all = b.all
    cdef ServerStats* copy
    cdef uint64_t i, before
    cdef int _i
    n[0] = b.n
    copy = <ServerStats*> publish_need(n[0] * sizeof(ServerStats))
    with nogil:
        for _i in range(FOLDING_TRIES):
            before = lb_atomic_load(<uint64_t*> &st.folding)
            if before & 1 and _i + 1 < FOLDING_TRIES:
                continue
            for i in range(n[0]):
                copy[i].state = lb_atomic_load(<uint64_t*> &all[i].state)
                if copy[i].state != STATS_FREE:
                    memcpy(&copy[i].upstream, &all[i].upstream, sizeof(ServerStats) - sizeof(uint64_t))
            if before == lb_atomic_load(<uint64_t*> &st.folding):
                break
    return copy


cdef uint64_t* stats_row(dict rows, bytes name) except NULL:
    row = rows.get(name)
    if row is None:
        row = rows[name] = bytearray(ROW * sizeof(uint64_t))
    return <uint64_t*> PyByteArray_AS_STRING(row)


def consul_notes(shm, int worker, tuple layout):
    """For each upstream number of this worker: Unix time of Consul's last good answer (0: none), queries that failed."""
    cdef StatsBlock b
    cdef list found = []
    cdef uint64_t i
    stats_find_row(shm, worker, layout, &b)
    for i in range(0, b.n, 2):
        if b.all[i].state != STATS_REST:
            break
        found.append((b.all[i].consul_answer / 1000.0, b.all[i].consul_errors))
    return found


def server_stats_add(shm, int worker, tuple layout, list tables, *, bint dead=False, bint serving=True):
    """Add what a worker has counted to `tables`: for each number of an upstream (and one more, for the servers of addresses
    that variables gave) a dict from a server's address to a row of uint64; b"" is the sum of the upstream.

    dead: without what there is now. serving: with the condition of each server.
    """
    cdef StatsBlock b
    cdef uint64_t n, i
    cdef ServerStats* all
    cdef ServerStats* t
    cdef uint64_t* row
    stats_find_row(shm, worker, layout, &b)
    all = stats_copy(&b, &n)
    try:
        for i in range(n):
            t = &all[i]
            if t.state == STATS_FREE or t.upstream >= <size_t> len(tables):
                continue
            if dead:
                t.active = 0
            rows = tables[t.upstream]
            stats_sum(stats_row(rows, b""), t)
            if t.state == STATS_GONE or (t.state == STATS_REST and t.requests == 0):
                continue
            row = stats_row(rows, SERVER_STATS_OTHER if t.state == STATS_REST or not stats_named(t) else t.name[:t.name_len])
            stats_sum(row, t)
            if t.state == STATS_USED and serving and not dead:
                stats_shown(row, t)
    finally:
        free(all)


# ---- what a server is

cdef int stats_condition_of(uint64_t* row) noexcept nogil:
    """All workers together: one that takes it for failed is enough to say so; -1: no worker has it."""
    if row[ROW_CONDITIONS + 4 * COND_FAILED]:
        return COND_FAILED
    if row[ROW_CONDITIONS + 4 * COND_UP]:
        return COND_UP
    if row[ROW_CONDITIONS + 4 * COND_DOWN]:
        return COND_DOWN
    return COND_REMOVED if row[ROW_CONDITIONS + 4 * COND_REMOVED] else -1


cdef uint64_t stats_since_of(uint64_t* row, uint64_t* before, int condition) noexcept nogil:
    """Unix ms; 0: not known. A worker that began after the change does not know: then what was known before holds."""
    cdef uint64_t* c = row + ROW_CONDITIONS + 4 * condition
    cdef uint64_t since = c[2] if condition == COND_FAILED else c[3]
    if before == NULL or before[ROW_STATE] != <uint64_t> condition + 1 or c[1] == 0:
        return since
    if condition == COND_FAILED:
        return since if since and since < before[ROW_SINCE] else before[ROW_SINCE]
    return since if since > before[ROW_SINCE] else before[ROW_SINCE]


cdef bint stats_settle(uint64_t* row, uint64_t* before, uint64_t now, uint64_t started) noexcept nogil:
    """State and time of one server. False: nobody has it."""
    cdef int condition = stats_condition_of(row)
    cdef uint64_t since
    if condition < 0 and row[0]:        # only workers that are finishing use it
        row[ROW_STATE] = COND_REMOVED + 1
        row[ROW_SINCE] = before[ROW_SINCE] if before != NULL and before[ROW_STATE] == COND_REMOVED + 1 else now
        return True
    if condition < 0:
        if before != NULL:
            row[ROW_STATE] = before[ROW_STATE]
            row[ROW_SINCE] = before[ROW_SINCE]
        return False
    since = stats_since_of(row, before, condition)
    row[ROW_STATE] = condition + 1
    row[ROW_SINCE] = since if since else started
    return True


def server_stats_settle(dict rows, dict before, uint64_t now, uint64_t started):
    """Set state and time in all rows of an upstream, after every server_stats_add; `before`: the same of an earlier moment.

    Times are Unix ms; `started`: when nothing else is known. Returns the addresses that no worker has any more.
    """
    cdef list gone = []
    cdef uint64_t* old
    for name, row in rows.items():
        if name == b"" or name == SERVER_STATS_OTHER:
            continue
        was = before.get(name)
        old = <uint64_t*> PyByteArray_AS_STRING(was) if was is not None else NULL
        if not stats_settle(<uint64_t*> PyByteArray_AS_STRING(row), old, now, started):
            gone.append(name)
    return gone
