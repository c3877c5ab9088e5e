"""A table made from the last one and from what has changed since: pointers are copied, and only new servers are looked at.

With the GIL.  Of 5,000 servers, table_build looks at 5,000 Python objects (2 ms); this copies 5,000 entries (some us).  The
registry has exactly the servers of the last table, so each server of a change is found there, or the change does not fit, and
table_build does the work.
"""

ctypedef struct Mark:           # a peer of the last table that is not copied
    Peer* peer
    int32_t now                 # place in Change.altered; -1: it is gone


cdef int delta_mark_order(const void* a, const void* b) noexcept nogil:
    cdef size_t x = <size_t> (<const Mark*> a).peer
    cdef size_t y = <size_t> (<const Mark*> b).peer
    return (x > y) - (x < y)


cdef inline Mark* delta_mark_find(Mark* marks, uint32_t n, Peer* p) noexcept nogil:
    cdef uint32_t low = 0, high = n, mid
    while low < high:
        mid = (low + high) >> 1
        if <size_t> marks[mid].peer < <size_t> p:
            low = mid + 1
        else:
            high = mid
    return &marks[low] if low < n and marks[low].peer == p else NULL


cdef Table* delta_table(Upstream* ups, dict registry, Past past, object servers, bytes show, object change) except? NULL:
    """The last table with a lb.upsync.merge.Change. NULL: it does not fit, and nothing has happened."""
    cdef Table* last = past.last
    cdef list added = delta_new(registry, change.added)
    cdef list gone = delta_known(registry, change.removed)
    cdef list altered = delta_known(registry, [now for _, now in change.altered])
    cdef Table* t
    if ups.method.by_order:         # of `servers`, which is not the change's
        return NULL
    if last == NULL or added is None or gone is None or altered is None or len(set(gone + altered)) != len(gone) + len(altered):
        return NULL
    if <uint32_t> len(servers) != last.n + <uint32_t> len(added) - <uint32_t> len(gone):
        return NULL
    t = table_new(ups, len(servers), show)
    for key, server in zip(reversed(added), reversed(change.added)):
        publish_entry_set(&t.entries[t.ntouched], peer_new(ups, key, server), server)
        registry[key] = <size_t> t.entries[t.ntouched].peer
        t.touched[t.ntouched] = t.ntouched
        t.ntouched += 1
    delta_copy(t, last, [registry.pop(key) for key in gone], [registry[key] for key in altered], change.altered)
    t.base = last
    table_finish(t, past, servers)
    if table_single(t) != table_single(last):
        publish_touch_all(t)
    return t


cdef list delta_new(dict registry, object servers):
    """Their keys in the registry, which has none of them; else None."""
    cdef list keys = [(publish_sockaddr_bytes(one.address), 0) for one in servers]
    if len(set(keys)) != len(keys) or not registry.keys().isdisjoint(keys):
        return None
    return keys


cdef list delta_known(dict registry, object servers):
    """Their keys in the registry, which has each of them once; else None."""
    cdef list keys = [(publish_sockaddr_bytes(one.address), 0) for one in servers]
    for key in keys:
        if key not in registry or (key[0], 1) in registry:
            return None
    return keys


cdef int delta_copy(Table* t, Table* last, list gone, list altered, object pairs) except -1:
    """What stays of the last table, behind what is new. `gone`, `altered`: peers; `pairs`: (as it was, as it is)."""
    cdef uint32_t n = len(gone) + len(altered), i, at = t.ntouched
    cdef Mark* marks = <Mark*> publish_need(n * sizeof(Mark))
    cdef Mark* m
    publish_gone(t, gone)
    for i, p in enumerate(gone + altered):
        marks[i].peer = <Peer*> <size_t> p
        marks[i].now = <int32_t> i - t.ngone if i >= t.ngone else -1
    qsort(marks, n, sizeof(Mark), delta_mark_order)
    for i in range(last.n):
        m = delta_mark_find(marks, n, last.entries[i].peer)
        if m == NULL:
            t.entries[at] = last.entries[i]
        elif m.now < 0:
            continue
        else:
            publish_entry_set(&t.entries[at], m.peer, pairs[m.now][1])
            t.touched[t.ntouched] = at
            t.ntouched += 1
        at += 1
    free(marks)
    BUG_ON(at != t.n)
    return 0
