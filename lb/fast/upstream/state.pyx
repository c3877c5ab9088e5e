"""What a worker has learned of its servers, as plain data: the old worker gives it, the new one starts with it.

    old worker: any thread, with the GIL: state_read -> [[positions], {server: [failures, checked, turn]}] per upstream
    new worker: main thread, after the first publish and before the loop: state_apply

The list of a server in its slow start has a fourth member: when that began. `checked` and it are times of
CLOCK_MONOTONIC in ms, which all processes share. The reader takes numbers that the loop may change
at that moment: each is whole, and one that is a request old does no harm. It follows no table (the loop frees those), only the
registry, whose peers live as long as they are in it.
"""

cdef enum:
    HANDOVER_TURNS = 1000       # servers up to which the turns of least_conn are handed over: each one is a line


cdef str state_peer_label(tuple key, Peer* p):
    """A server's address, and which of several with this address it is."""
    return f"{p.name.p[:p.name.n].decode('utf-8', 'surrogateescape')} {key[1]}"


cdef list state_read(list registries):
    cdef list found = []
    cdef dict peers
    cdef Upstream* u
    cdef Peer* p
    cdef bint turns
    for i, registry in enumerate(registries):
        u = &loop.ups[<int> i]
        turns = balance_has_heap(u) and len(registry) <= HANDOVER_TURNS
        peers = {}
        for key, at in list(registry.items()):
            p = <Peer*> <size_t> at
            if p.fails or p.began or (turns and p.turn):
                peers[state_peer_label(key, p)] = [p.fails, p.checked, p.turn, *([p.began] if p.began else ())]
        found.append([[u.pos[0], u.pos[1]], peers])
    return found


cdef int state_apply(list registries, dict learned) except -1:
    """`learned`: number of an upstream here -> what an old worker said of it."""
    cdef Upstream* u
    cdef Peer* p
    cdef int rank
    loop_take_inbox()                    # the first tables: from here on every upstream has its peers
    for i, (positions, peers) in learned.items():
        u = &loop.ups[<int> i]
        for key, at in registries[i].items():
            p = <Peer*> <size_t> at
            known = peers.get(state_peer_label(key, p))
            if known is not None:
                p.fails, p.checked, p.turn = known[:3]
                peer_slow_go_on(p, known[3] if len(known) > 3 else 0)
                u.turn = max(u.turn, p.turn - 1)        # newcomers stand with them
                stats_condition(p)
        for rank in range(2):
            if u.table.rank[rank].nseq:
                u.pos[rank] = <uint32_t> positions[rank] % u.table.rank[rank].nseq
            if balance_has_heap(u):
                balance_heap_build(&u.table.rank[rank], loop.now)
    return 0
