"""The ring of a new table (balance/ring.pxd), made from the ring of the last one and from what has changed since.

Called by a publisher, with the GIL, which it gives up for the walk over the points.  The last table cannot be freed
meanwhile: it is spent when a newer one of its upstream is swapped in, and that is the one in the making.
"""

cdef class Past:
    """What the publishers of one upstream remember of its last table."""
    cdef Table* last            # NULL: none yet
    cdef dict numbers           # of its ring: text of a server -> its place in Group.alike; also of some that have left
    cdef bint by_name           # lists that come from outside: their order is no reason for one of two equal points

    def __cinit__(self, bint by_name):
        self.numbers = {}
        self.by_name = by_name


cdef struct Draft:              # what one ring_build has on its way
    uint32_t* entry             # by place in Group.alike, as the next two: an entry with this text
    uint32_t* base              # ring_base_hash of those that do not stay
    uint8_t* stays              # its points are those of the last ring
    uint64_t total              # points, if there were no bound
    uint32_t nfresh             # points that must be made
    uint32_t nold               # points that stay
    Point* fresh
    Point* spare


cdef int ring_build(Table* t, object remembered, object servers) except -1:
    """The ring of the primaries. Servers that are written alike are one server of the ring, as in nginx."""
    cdef Past past = remembered
    cdef Group* g = &t.rank[0]
    cdef Group* old = &past.last.rank[0] if past.last != NULL else NULL
    cdef bint whole
    cdef dict numbers
    cdef Draft d
    memset(&d, 0, sizeof(d))
    if old != NULL and old.nalike > 2 * old.nall + 64:      # mostly numbers that nobody has any more
        old = NULL
    whole = old == NULL or t.base == NULL
    try:
        numbers = ring_numbers(t, past.numbers if old != NULL else {}, servers, whole, old.nalike if old != NULL else 0)
        ring_count(t, &d)
        ring_compare(t, past, servers, old, &d)
        ring_members(t)
        g.ring = <Point*> publish_need(<size_t> (d.nfresh + d.nold) * sizeof(Point))
        d.fresh = <Point*> publish_need(d.nfresh * sizeof(Point))
        d.spare = <Point*> publish_need(d.nfresh * sizeof(Point))
        with nogil:
            ring_draw(g, old, &d)
    finally:
        free(d.entry)
        free(d.base)
        free(d.stays)
        free(d.fresh)
        free(d.spare)
    if whole:
        past.numbers = numbers
    else:
        past.numbers.update(numbers)
    return 0


cdef dict ring_numbers(Table* t, dict known, object servers, bint whole, uint32_t after):
    """Entry.number: for each text the one that it is known by, else from `after` on; room for all in Group.alike.

    Returns the numbers of all texts (`whole`), or of those that are new: entries that are not touched have theirs.
    """
    cdef uint32_t _i, i, n = t.n if whole else t.ntouched
    cdef dict numbers = {}
    for _i in range(n):
        i = _i if whole else t.touched[_i]
        if t.entries[i].backup:
            continue
        text = servers[i].written or servers[i].name
        found = numbers.get(text)
        if found is None:
            found = known.get(text)
            if found is None:
                found = after
                after += 1
            if whole or text not in known:
                numbers[text] = found
        t.entries[i].number = found
    t.rank[0].nalike = after
    return numbers


cdef int ring_count(Table* t, Draft* d) except -1:
    """Group.alike: how many servers have a text, and the largest of their weights in `points`."""
    cdef Group* g = &t.rank[0]
    cdef Alike* a
    cdef uint32_t i
    g.alike = <Alike*> publish_need(g.nalike * sizeof(Alike))
    d.entry = <uint32_t*> publish_need(g.nalike * sizeof(uint32_t))
    d.base = <uint32_t*> publish_need(g.nalike * sizeof(uint32_t))
    d.stays = <uint8_t*> publish_need(g.nalike)
    for i in range(t.n):
        if t.entries[i].backup:
            continue
        d.total += <uint64_t> t.entries[i].weight * RING_POINTS
        d.entry[t.entries[i].number] = i
        a = &g.alike[t.entries[i].number]
        a.n += 1
        a.points = max(a.points, t.entries[i].weight)   # more points of the same text would be the same points
    return 0


cdef int ring_compare(Table* t, Past past, object servers, Group* old, Draft* d) except -1:
    """How many points each has, and which of them the last ring has already."""
    cdef Group* g = &t.rank[0]
    cdef uint64_t most = RING_MOST
    cdef uint32_t k
    cdef Alike* a
    cdef Str name
    cdef bytes text
    for k in range(g.nalike):
        a = &g.alike[k]
        if a.n == 0:
            continue
        if d.total <= most:
            a.points *= RING_POINTS
        else:
            a.points = 1 + <uint32_t> (<uint64_t> a.points * RING_POINTS * most // d.total)
        if old != NULL and k < old.nalike and old.alike[k].points == a.points:
            a.order = old.alike[k].order
            d.stays[k] = 1
            d.nold += a.points
            continue
        text = os.fsencode(servers[d.entry[k]].written or servers[d.entry[k]].name)
        name.p = <char*> text
        name.n = len(text)
        d.base[k] = ring_base_hash(name)
        a.order = d.base[k] if past.by_name else k
        d.nfresh += a.points
    return 0


cdef int ring_members(Table* t) except -1:
    """Group.sorted: the servers of each number together."""
    cdef Group* g = &t.rank[0]
    cdef uint32_t i, k, at = 0
    g.sorted = <Peer**> publish_need(g.nall * sizeof(Peer*))
    for k in range(g.nalike):
        g.alike[k].first = at
        at += g.alike[k].n
        g.alike[k].n = 0
    for i in range(t.n):
        if not t.entries[i].backup:
            k = t.entries[i].number
            g.sorted[g.alike[k].first + g.alike[k].n] = t.entries[i].peer
            g.alike[k].n += 1
    return 0


cdef void ring_draw(Group* g, Group* old, Draft* d) noexcept nogil:
    """Sort what is new into what stays."""
    cdef uint32_t k, n = 0
    for k in range(g.nalike):
        if g.alike[k].n and not d.stays[k]:
            n += ring_points(d.fresh + n, k, d.base[k], g.alike[k].points)
    ring_sort(d.fresh, d.spare, n)
    if d.nold:
        g.nring = ring_merge(g.ring, old.ring, old.nring, d.stays, d.fresh, n)
    else:
        g.nring = ring_merge(g.ring, NULL, 0, NULL, d.fresh, n)
    ring_ties(g.ring, g.nring, g.alike)
