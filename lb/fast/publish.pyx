"""From a Python list of servers to the table that the loop balances over.

    any thread, with the GIL: publish -> table_build (peers found or made, sequences worked out) -> inbox, eventfd
    the loop, at the end of a turn: table_swap (one pointer; peers that stay keep failures, connections and pool;
        removed ones are closed and buried) -> the old table is freed

The registry of an upstream (address -> Peer) belongs to the publishers; a peer's live fields belong to the loop.
"""

cdef uint64_t last_stamp = 0
cdef enum:
    SEQ_EXACT = 1 << 22         # steps (servers x sum of weights) up to which nginx's sequence is worked out exactly
    SEQ_MOST = 1 << 16          # places of a longer sequence, or 4 per server


# ---- building, with the GIL

cdef bytes sockaddr_bytes(object address):
    """The C sockaddr of a lb.config.model.Address."""
    cdef sockaddr_in v4
    cdef sockaddr_in6 v6
    cdef sockaddr_un un
    cdef str text = address.host
    cdef bytes host = os.fsencode(text) if address.family == AF_UNIX else text.encode("ascii")
    if address.family == AF_UNIX:
        if <size_t> len(host) >= sizeof(un.sun_path):
            raise ValueError(f"path of unix socket is too long: {address.host}")
        memset(&un, 0, sizeof(un))
        un.sun_family = AF_UNIX
        memcpy(un.sun_path, <char*> host, len(host))
        return (<char*> &un)[:sizeof(un)]
    if address.family == AF_INET6:
        memset(&v6, 0, sizeof(v6))
        v6.sin6_family = AF_INET6
        v6.sin6_port = htons(address.port)
        if inet_pton(AF_INET6, <char*> host, &v6.sin6_addr) != 1:
            raise ValueError(f"not an IPv6 address: {address.host}")
        return (<char*> &v6)[:sizeof(v6)]
    memset(&v4, 0, sizeof(v4))
    v4.sin_family = AF_INET
    v4.sin_port = htons(address.port)
    if inet_pton(AF_INET, <char*> host, &v4.sin_addr) != 1:
        raise ValueError(f"not an IPv4 address: {address.host}")
    return (<char*> &v4)[:sizeof(v4)]


cdef void* need(size_t n) except NULL:
    """Zeroed memory, or MemoryError."""
    cdef void* p = calloc(1, n if n else 1)
    if p == NULL:
        raise MemoryError()
    return p


cdef Str str_copy(bytes text):
    """A copy of its own, to be freed with its owner."""
    cdef Str s
    s.n = len(text)
    s.p = <char*> need(s.n + 1)
    memcpy(s.p, <char*> text, s.n)
    return s


cdef Peer* peer_new(Upstream* ups, bytes sa, object server) except NULL:
    cdef Peer* p = <Peer*> need(sizeof(Peer))
    p.ups = ups
    p.name = str_copy(os.fsencode(str(server.address)))
    p.sa = <char*> need(len(sa))
    memcpy(p.sa, <char*> sa, len(sa))
    p.sa_len = len(sa)
    p.family = server.address.family
    p.heap = NO_HEAP
    p.tally = tally_give(ups, p.name)
    return p


cdef Table* table_build(Upstream* ups, dict registry, Rings rings, object servers, bytes show) except NULL:
    """A table over `servers`; `registry` becomes theirs."""
    global last_stamp
    cdef Table* t = <Table*> need(sizeof(Table))
    cdef dict fresh = {}
    cdef Entry* e
    cdef tuple key
    last_stamp += 1
    t.stamp = last_stamp
    t.ups = ups
    t.n = len(servers)
    t.entries = <Entry*> need(t.n * sizeof(Entry))
    t.show = str_copy(show)
    for i, server in enumerate(servers):
        sa = sockaddr_bytes(server.address)
        key = (sa, 0)
        while key in fresh:             # the same address twice in a file is two servers, as in nginx
            key = (sa, key[1] + 1)
        e = &t.entries[i]
        if key in registry:
            e.peer = <Peer*> <size_t> registry.pop(key)
        else:
            e.peer = peer_new(ups, sa, server)
        fresh[key] = <size_t> e.peer
        e.weight = server.weight
        e.max_fails = server.max_fails
        e.fail_timeout = <int64_t> server.fail_timeout_s * 1000
        e.max_conns = server.max_conns
        e.down = server.down
        e.backup = server.backup
    gone_build(t, list(registry.values()))
    registry.clear()
    registry.update(fresh)
    group_build(t, 0)
    group_build(t, 1)
    if ups.method == LB_HASH_RING:
        ring_build(t, rings, servers)
        rings.last = t
    return t


cdef int gone_build(Table* t, list gone) except -1:
    t.ngone = len(gone)
    t.gone = <Peer**> need(t.ngone * sizeof(Peer*))
    for i, p in enumerate(gone):
        t.gone[i] = <Peer*> <size_t> p
    return 0


cdef int group_build(Table* t, int rank) except -1:
    """The servers of one rank: the usable ones with their sequence, and all of them with running sums for ip_hash."""
    cdef Group* g = &t.rank[rank]
    cdef uint32_t* weights = <uint32_t*> need(t.n * sizeof(uint32_t))
    cdef uint32_t i
    cdef Entry* e
    g.peers = <Peer**> need(t.n * sizeof(Peer*))
    g.heap = <Peer**> need(t.n * sizeof(Peer*))
    g.all = <Peer**> need(t.n * sizeof(Peer*))
    g.upto = <uint64_t*> need(t.n * sizeof(uint64_t))
    for i in range(t.n):
        e = &t.entries[i]
        if e.backup != rank:
            continue
        g.total += e.weight
        g.all[g.nall] = e.peer
        g.upto[g.nall] = g.total
        g.nall += 1
        if not e.down:
            weights[g.n] = e.weight
            g.peers[g.n] = e.peer
            g.n += 1
    sequence_build(g, weights)
    free(weights)
    return 0


cdef int sequence_build(Group* g, uint32_t* weights) except -1:
    """g.seq: plain order for equal weights, nginx's smooth order while it is cheap, else each server spread evenly."""
    cdef uint32_t i, d = 0
    cdef uint64_t total = 0
    cdef int64_t* current
    for i in range(g.n):
        d = gcd(weights[i], d)
    for i in range(g.n):
        weights[i] //= d
        total += weights[i]
    if total * g.n > SEQ_EXACT and total > g.n:
        return sequence_spread(g, weights, total)
    g.nseq = total
    g.seq = <uint32_t*> need(total * sizeof(uint32_t))
    if total == g.n:
        for i in range(g.n):
            g.seq[i] = i
        return 0
    current = <int64_t*> need(g.n * sizeof(int64_t))
    smooth_sequence(weights, current, g.n, g.seq, total)
    free(current)
    return 0


cdef struct Place:
    double at                   # 0 to 1: where in the period
    uint32_t server


cdef int place_order(const void* a, const void* b) noexcept nogil:
    cdef const Place* x = <const Place*> a
    cdef const Place* y = <const Place*> b
    if x.at != y.at:
        return -1 if x.at < y.at else 1
    return (x.server > y.server) - (x.server < y.server)


cdef int sequence_spread(Group* g, uint32_t* weights, uint64_t total) except -1:
    """Large lists: the k-th of a server's w places lies at (k + 1/2) / w of the period."""
    cdef uint64_t most = max(<uint64_t> SEQ_MOST, 4 * <uint64_t> g.n)
    cdef uint32_t i, k
    cdef uint64_t n = 0
    cdef Place* places
    for i in range(g.n):
        if total > most:
            weights[i] = max(1, <uint32_t> (<double> weights[i] * most / total + 0.5))
        n += weights[i]
    places = <Place*> need(n * sizeof(Place))
    n = 0
    for i in range(g.n):
        for k in range(weights[i]):
            places[n].at = (k + 0.5) / weights[i]
            places[n].server = i
            n += 1
    qsort(places, n, sizeof(Place), place_order)
    g.nseq = n
    g.seq = <uint32_t*> need(n * sizeof(uint32_t))
    for i in range(n):
        g.seq[i] = places[i].server
    free(places)
    return 0


# ---- the loop's side

cdef void table_swap(Table* t) noexcept nogil:
    """This list is the upstream's from here on."""
    cdef Upstream* u = t.ups
    cdef Table* old = u.table
    cdef uint32_t i
    cdef int rank
    cdef double turn = turn_least(old)
    for i in range(t.n):
        entry_apply(&t.entries[i], t, turn)
    for rank in range(2):
        u.pos[rank] = position(u, t, rank)
    u.table = t
    if u.method == LB_LEAST_CONN:
        heap_build(&t.rank[0])
        heap_build(&t.rank[1])
    for i in range(t.ngone):
        peer_remove(t.gone[i])
    loop.st.tables += 1
    if old != NULL:
        table_free(old)


cdef double turn_least(Table* t) noexcept nogil:
    """Where newcomers stand in least_conn's turns: with the one that is due first, not far behind all."""
    cdef double least = -1
    cdef uint32_t i
    if t == NULL or t.ups.method != LB_LEAST_CONN:
        return 0
    for i in range(t.n):
        if least < 0 or t.entries[i].peer.turn < least:
            least = t.entries[i].peer.turn
    return least if least > 0 else 0


cdef void entry_apply(Entry* e, Table* t, double turn) noexcept nogil:
    cdef Peer* p = e.peer
    if p.stamp == 0:
        p.turn = turn
    p.stamp = t.stamp
    p.weight = e.weight
    p.max_fails = e.max_fails
    p.fail_timeout = e.fail_timeout
    p.max_conns = e.max_conns
    p.down = e.down
    p.backup = e.backup
    p.single = t.rank[0].nall == 1 and t.rank[1].nall == 0
    p.heap = NO_HEAP
    tally_condition(p)
    if e.down:
        peer_drop_idle(p)


cdef uint32_t position(Upstream* u, Table* t, int rank) noexcept nogil:
    """Where round robin goes on in the new list: at the server that was next, or the first after it that stayed."""
    cdef Group* g = &t.rank[rank]
    cdef Group* was
    cdef uint32_t i, _i, at
    cdef Peer* p
    i = g.nseq
    while i:
        i -= 1
        g.peers[g.seq[i]].first = i
    if u.table == NULL:                 # workers begin at different servers
        return <uint32_t> (<uint64_t> g.nseq * loop.worker // loop.workers)
    was = &u.table.rank[rank]
    at = u.pos[rank]
    for _i in range(was.nseq):
        if at >= was.nseq:
            at = 0
        p = was.peers[was.seq[at]]
        if p.stamp == t.stamp and not p.down and p.backup == rank:
            return p.first
        at += 1
    return <uint32_t> (<uint64_t> g.nseq * loop.worker // loop.workers)


cdef void peer_drop_idle(Peer* p) noexcept nogil:
    while p.idle != NULL:
        pool_close(p.idle)


cdef void peer_remove(Peer* p) noexcept nogil:
    """The list no longer has it: what runs goes on, pooled connections close, and then it is buried."""
    p.heap = NO_HEAP
    peer_drop_idle(p)
    p.removed = 1
    tally_condition(p)
    peer_gone(p)


cdef void peer_free(Peer* p) noexcept nogil:
    free(p.sa)
    free(p.name.p)
    free(p)


cdef void table_free(Table* t) noexcept nogil:
    cdef int rank
    cdef Group* g
    for rank in range(2):
        g = &t.rank[rank]
        free(g.peers)
        free(g.seq)
        free(g.upto)
        free(g.all)
        free(g.heap)
        free(g.ring)
        free(g.alike)
        free(g.sorted)
    free(t.entries)
    free(t.gone)
    free(t.show.p)
    free(t)
