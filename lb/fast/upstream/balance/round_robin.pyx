"""round_robin: nginx's smooth weighted order, as a sequence that is worked out when the table is built.

Every other method goes on here when it has found no server, so that each table has the sequence.
"""

cdef enum:
    STEPS = 64                  # servers stepped over in the sequence before the list is walked
    SEQ_EXACT = 1 << 22         # steps (servers x sum of weights) up to which nginx's sequence is worked out exactly
    SEQ_MOST = 1 << 16          # places of a longer sequence, or 4 per server


cdef inline uint32_t balance_seq_place(Group* g, Peer* p) noexcept nogil:
    """A server's first place in the sequence."""
    cdef uint32_t i
    for i in range(g.nseq):
        if g.peers[g.seq[i]] == p:
            return i
    return 0


cdef Peer* balance_round_robin_pick(Upstream* u, Group* g, uint32_t* pos, Request* r, Env* env) noexcept nogil:
    """The next server of the sequence. A retry does not move it on: else each request would begin at the bad one of two."""
    cdef uint32_t i, _i, at = pos[0]
    cdef uint32_t steps = g.nseq if g.nseq < STEPS else STEPS
    cdef int64_t now = env.now
    cdef Peer* p
    if at >= g.nseq:
        at = 0
    for _i in range(steps):
        p = g.peers[g.seq[at]]
        at += 1
        if at == g.nseq:
            at = 0
        if balance_may_take(r, p, now):
            if r.ntried == 0:
                pos[0] = at
            return p
    for i in range(g.n):
        p = g.peers[(at + i) % g.n]
        if balance_may_take(r, p, now):
            if r.ntried == 0:
                pos[0] = balance_seq_place(g, p) + 1
            return p
    return NULL


cdef BalanceMethod balance_round_robin = BalanceMethod(
    name=b"round_robin", pick=balance_round_robin_pick, load=NULL, key=NULL, build=NULL, by_order=False)


# ---- the sequence of a new table

cdef inline uint32_t balance_gcd(uint32_t a, uint32_t b) noexcept nogil:
    cdef uint32_t t
    while b:
        t = a % b
        a = b
        b = t
    return a


cdef inline void balance_sequence_smooth(const uint32_t* weights, int64_t* current, uint32_t n, uint32_t* seq, uint32_t total) \
        noexcept nogil:
    """nginx's smooth weighted round robin, one whole period: each step adds every weight and takes the largest."""
    cdef uint32_t step, i, best
    for i in range(n):
        current[i] = 0
    for step in range(total):
        best = 0
        for i in range(n):
            current[i] += weights[i]
            if current[i] > current[best]:
                best = i
        current[best] -= total
        seq[step] = best


cdef int balance_sequence(Group* g, uint32_t* weights) except -1:
    """g.seq: plain order for equal weights, nginx's smooth order while it is cheap, else each server spread evenly."""
    cdef uint32_t i, d = 0
    cdef uint64_t total = 0
    cdef int64_t* current
    for i in range(g.n):
        d = balance_gcd(weights[i], d)
    for i in range(g.n):
        weights[i] //= d
        total += weights[i]
    if total * g.n > SEQ_EXACT and total > g.n:
        return balance_sequence_spread(g, weights, total)
    g.nseq = total
    g.seq = <uint32_t*> publish_need(total * sizeof(uint32_t))
    if total == g.n:
        for i in range(g.n):
            g.seq[i] = i
        return 0
    current = <int64_t*> publish_need(g.n * sizeof(int64_t))
    balance_sequence_smooth(weights, current, g.n, g.seq, total)
    free(current)
    return 0


cdef struct Place:
    double at                   # 0 to 1: where in the period
    uint32_t server


cdef int balance_place_order(const void* a, const void* b) noexcept nogil:
    cdef const Place* x = <const Place*> a
    cdef const Place* y = <const Place*> b
    if x.at != y.at:
        return -1 if x.at < y.at else 1
    return (x.server > y.server) - (x.server < y.server)


cdef int balance_sequence_spread(Group* g, uint32_t* weights, uint64_t total) except -1:
    """Large lists: the k-th of a server's w places lies at (k + 1/2) / w of the period."""
    cdef uint64_t most = max(<uint64_t> SEQ_MOST, 4 * <uint64_t> g.n)
    cdef uint32_t i, k
    cdef uint64_t n = 0
    cdef Place* places
    for i in range(g.n):
        if total > most:
            weights[i] = max(1, <uint32_t> (<double> weights[i] * most / total + 0.5))
        n += weights[i]
    places = <Place*> publish_need(n * sizeof(Place))
    n = 0
    for i in range(g.n):
        for k in range(weights[i]):
            places[n].at = (k + 0.5) / weights[i]
            places[n].server = i
            n += 1
    qsort(places, n, sizeof(Place), balance_place_order)
    g.nseq = n
    g.seq = <uint32_t*> publish_need(n * sizeof(uint32_t))
    for i in range(n):
        g.seq[i] = places[i].server
    free(places)
    return 0
