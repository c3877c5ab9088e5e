"""A new table takes over, in the loop, at the end of a turn.

    table_swap: touched entries -> their peers; heaps; round robin's places; peers that are gone are closed, and
        buried when their last user leaves; the old table is spent (upstream/publish.pyx frees it)

Peers that stay keep failures, connections and pool.  A table that was made from the last one touches what has changed and
no other peer: with 10,000 servers, walking over all of them would hold up every request of the worker for milliseconds.
"""

cdef void table_swap(Table* t) noexcept nogil:
    """This list is the upstream's from here on."""
    cdef Upstream* u = t.ups
    cdef Table* old = u.table
    cdef uint32_t i
    cdef int rank
    BUG_ON(t.base != NULL and t.base != old)
    if balance_has_heap(u):
        table_heaps_follow(t, old)
    else:
        table_entries_apply(t)
    for i in range(t.ngone):
        t.gone[i].listed = 0
    for rank in range(2):
        u.pos[rank] = table_position(u, t, rank)
    u.table = t
    for i in range(t.ngone):
        peer_remove(t.gone[i])
    if loop.checker:
        check_follow(t)
    loop.st.tables += 1
    if old != NULL:
        lb_atomic_push(&loop.inbox.spent, old, <void**> &old.next)


cdef void table_entries_apply(Table* t) noexcept nogil:
    cdef uint32_t i
    cdef bint arrive = table_some_stay(t)
    for i in range(t.ntouched):
        table_entry_apply(&t.entries[t.touched[i]], t, arrive)


cdef bint table_some_stay(Table* t) noexcept nogil:
    """Is there a server that has been listed before? Where all are new, none of them needs to start slowly."""
    cdef uint32_t i
    if t.ups.table == NULL or t.ntouched < t.n:
        return t.ups.table != NULL
    for i in range(t.n):
        if t.entries[i].peer.listed:
            return True
    return False


cdef void table_entry_apply(Entry* e, Table* t, bint arrive) noexcept nogil:
    cdef Peer* p = e.peer
    cdef bint comes = arrive
    if p.listed:
        comes = p.down != 0
    if e.down:
        comes = False
    p.listed = 1
    p.weight = e.weight
    p.max_fails = e.max_fails
    p.fail_timeout = e.fail_timeout
    p.max_conns = e.max_conns
    p.down = e.down
    p.backup = e.backup
    if t.ups.sticky != NULL:
        p.route = e.route
    p.single = table_single(t)
    p.out = health_out(p)
    p.heap = NO_HEAP
    p.slow_start = e.slow_start if e.slow_start else t.ups.slow_start
    peer_pull(p, loop.now)
    health_share(p)
    stats_condition(p)
    if comes:
        peer_began(p)
    if e.down & PEER_DOWN:
        peer_drop_idle(p)


cdef inline bint table_single(Table* t) noexcept nogil:
    """Its only server is never taken for unavailable."""
    return t.rank[0].nall == 1 and t.rank[1].nall == 0


cdef uint32_t table_position(Upstream* u, Table* t, int rank) noexcept nogil:
    """Where round robin goes on in the new list: at the server that was next, or the first after it that stayed."""
    cdef Group* g = &t.rank[rank]
    cdef Group* was
    cdef uint32_t _i, at
    cdef Peer* p
    if u.table != NULL:
        was = &u.table.rank[rank]
        at = u.pos[rank]
        for _i in range(was.nseq):
            if at >= was.nseq:
                at = 0
            p = was.peers[was.seq[at]]
            if p.listed and not p.down and p.backup == rank:
                return balance_seq_place(g, p)
            at += 1
    return <uint32_t> (<uint64_t> g.nseq * loop.worker // loop.workers)     # workers begin at different servers


# ---- methods with a heap

cdef void table_heaps_follow(Table* t, Table* old) noexcept nogil:
    """Apply the entries, and order the servers: all anew, or only those that are touched."""
    cdef uint32_t n[2]
    cdef uint32_t i
    cdef int rank
    if t.base == NULL:
        table_entries_apply(t)
        balance_heap_build(&t.rank[0], loop.now)
        balance_heap_build(&t.rank[1], loop.now)
        return
    for rank in range(2):
        n[rank] = old.rank[rank].n
        memcpy(t.rank[rank].heap, old.rank[rank].heap, n[rank] * sizeof(Peer*))
    for i in range(t.ngone):
        table_heap_take(t, n, t.gone[i])
    for i in range(t.ntouched):
        table_heap_take(t, n, t.entries[t.touched[i]].peer)
    table_entries_apply(t)
    for i in range(t.ntouched):
        table_heap_give(t, n, t.entries[t.touched[i]].peer)
    BUG_ON(n[0] != t.rank[0].n or n[1] != t.rank[1].n)


cdef void table_heap_take(Table* t, uint32_t* n, Peer* p) noexcept nogil:
    """Out of the heap of its rank, which has n[rank] servers."""
    cdef Peer** heap = t.rank[p.backup].heap
    cdef uint32_t at = p.heap
    cdef Peer* last
    if at == NO_HEAP:
        return
    p.heap = NO_HEAP
    n[p.backup] -= 1
    last = heap[n[p.backup]]
    if last != p:
        heap[at] = last
        balance_heap_up(heap, at)
        balance_heap_down(heap, n[p.backup], last.heap)


cdef void table_heap_give(Table* t, uint32_t* n, Peer* p) noexcept nogil:
    if p.down:
        return
    peer_load(p, loop.now)
    t.rank[p.backup].heap[n[p.backup]] = p
    balance_heap_up(t.rank[p.backup].heap, n[p.backup])
    n[p.backup] += 1


# ---- what is gone

cdef void peer_drop_idle(Peer* p) noexcept nogil:
    while p.idle != NULL:
        pool_close(p.idle)


cdef void peer_remove(Peer* p) noexcept nogil:
    """The list no longer has it: what runs goes on, pooled connections close, and then it is buried."""
    p.heap = NO_HEAP
    peer_drop_idle(p)
    peer_part_leave(p)
    p.removed = 1
    stats_condition(p)
    peer_gone(p)


cdef void peer_free(Peer* p) noexcept nogil:
    health_let_go(p)
    tls_sessions_drop(p, 0)
    free(p.sa)
    free(p.name.p)
    free(p)
