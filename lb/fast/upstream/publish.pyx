"""From a Python list of servers to the table that the loop balances over.

    any thread, with the GIL: publish -> delta_table (upstream/delta.pyx), where it is known what has changed since the last list,
        else table_build: peers found or made -> sequences, sums, ring -> inbox, eventfd
    the loop, at the end of a turn: table_swap (upstream/table.pyx) -> the old table is spent
    the next publisher: table_sweep frees what is spent

The registry of an upstream (address -> Peer) belongs to the publishers; a peer's live fields belong to the loop.  The
table that was published last is alive: it is spent when a newer one is swapped in.
"""

# ---- building, with the GIL

cdef bytes publish_sockaddr_bytes(object address):
    """The C sockaddr of a lb.model.Address."""
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


cdef void* publish_need(size_t n) except NULL:
    """Zeroed memory, or MemoryError."""
    cdef void* p = calloc(1, n if n else 1)
    if p == NULL:
        raise MemoryError()
    return p


cdef Str publish_str_copy(bytes text):
    """A copy of its own, to be freed with its owner."""
    cdef Str s
    s.n = len(text)
    s.p = <char*> publish_need(s.n + 1)
    memcpy(s.p, <char*> text, s.n)
    return s


cdef Peer* peer_new(Upstream* ups, tuple key, object server) except NULL:
    cdef bytes sa = key[0]
    cdef Peer* p = <Peer*> publish_need(sizeof(Peer))
    p.ups = ups
    p.name = publish_str_copy(os.fsencode(str(server.address)))
    p.sa = <char*> publish_need(len(sa))
    memcpy(p.sa, <char*> sa, len(sa))
    p.sa_len = len(sa)
    p.family = server.address.family
    p.heap = NO_HEAP
    p.id = peer_id(p.sa, p.sa_len, key[1])
    p.share = SHARE_WHOLE
    p.stats = stats_give(ups, p.name)
    health_peer(p)
    return p


cdef int publish_entry_set(Entry* e, Peer* p, object server) except -1:
    e.peer = p
    health_peer(p)
    e.weight = server.weight
    e.max_fails = server.max_fails
    e.fail_timeout = <int64_t> server.fail_timeout_s * 1000
    e.max_conns = server.max_conns
    e.down = server.down
    e.backup = server.backup
    e.slow_start = <int64_t> server.slow_start_s * 1000
    return 0


cdef Table* table_new(Upstream* ups, uint32_t n, bytes show) except NULL:
    cdef Table* t = <Table*> publish_need(sizeof(Table))
    t.ups = ups
    t.n = n
    t.entries = <Entry*> publish_need(n * sizeof(Entry))
    t.touched = <uint32_t*> publish_need(n * sizeof(uint32_t))
    t.show = publish_str_copy(show)
    return t


cdef Table* table_build(Upstream* ups, dict registry, Past past, object servers, bytes show) except NULL:
    """A table over `servers`; `registry` becomes theirs. Raises ValueError for an address that is none."""
    cdef list addresses = [publish_sockaddr_bytes(server.address) for server in servers]    # before anything is changed
    cdef Table* t = table_new(ups, len(servers), show)
    cdef dict fresh = {}
    cdef tuple key
    for i, server in enumerate(servers):
        key = (addresses[i], 0)
        while key in fresh:             # the same address twice in a file is two servers, as in nginx
            key = (key[0], key[1] + 1)
        if key in registry:
            publish_entry_set(&t.entries[i], <Peer*> <size_t> registry.pop(key), server)
        else:
            publish_entry_set(&t.entries[i], peer_new(ups, key, server), server)
        fresh[key] = <size_t> t.entries[i].peer
    publish_gone(t, list(registry.values()))
    registry.clear()
    registry.update(fresh)
    publish_touch_all(t)
    table_finish(t, past, servers)
    return t


cdef int publish_gone(Table* t, list gone) except -1:
    t.ngone = len(gone)
    t.gone = <Peer**> publish_need(t.ngone * sizeof(Peer*))
    for i, p in enumerate(gone):
        t.gone[i] = <Peer*> <size_t> p
    return 0


cdef void publish_touch_all(Table* t) noexcept:
    cdef uint32_t i
    t.ntouched = t.n
    for i in range(t.n):
        t.touched[i] = i


cdef int table_finish(Table* t, Past past, object servers) except -1:
    """All that follows from the entries."""
    cdef Table* last = past.last
    cdef int rank
    for rank in range(2):
        publish_group(t, rank, last.rank[rank].n if last != NULL else 0)
    if t.ups.method.build != NULL:
        t.ups.method.build(t, past, servers)
    past.last = t
    return 0


cdef int publish_group(Table* t, int rank, uint32_t before) except -1:
    """The servers of one rank: the usable ones with their sequence, and all of them with running sums for ip_hash.

    `before`: how many usable ones the last table had.
    """
    cdef Group* g = &t.rank[rank]
    cdef uint32_t* weights = <uint32_t*> publish_need(t.n * sizeof(uint32_t))
    cdef uint32_t i
    cdef Entry* e
    g.peers = <Peer**> publish_need(t.n * sizeof(Peer*))
    if balance_has_heap(t.ups):
        g.heap = <Peer**> publish_need((t.n + before) * sizeof(Peer*))
    g.all = <Peer**> publish_need(t.n * sizeof(Peer*))
    g.upto = <uint64_t*> publish_need(t.n * sizeof(uint64_t))
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
    balance_sequence(g, weights)
    free(weights)
    return 0


# ---- freeing

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
    free(t.touched)
    free(t.gone)
    free(t.show.p)
    free(t)


cdef void table_sweep() noexcept nogil:
    """Free what the loop has replaced: long arrays go back to the kernel, and the loop shall not wait for that."""
    cdef Table* t = <Table*> lb_atomic_swap(&loop.inbox.spent, NULL)
    cdef Table* after
    while t != NULL:
        after = t.next
        table_free(t)
        t = after
