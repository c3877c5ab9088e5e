"""Choosing a server: arithmetic on a table, the same cost with 3 and with 10,000 servers.

Round robin follows a sequence that was worked out when the table was built (nginx's smooth weighted order for small lists),
least_conn and least_time keep a heap by (load / weight),
ip_hash and hash are nginx's with a binary search instead of its walk. A server that
may not be used now is stepped over; only when many in a row may not, the list is walked once.

    choose -> one method over the primaries -> the same over the backups -> NULL: no live upstreams
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from lb.fast.types cimport (Alike, Conn, Env, Group, LB_HASH, LB_HASH_RING, LB_IP_HASH, LB_LEAST_CONN, LB_LEAST_TIME,
                            LB_RANDOM, LB_RANDOM_TWO, Peer, Request, Table, Upstream)
from lb.fast.upstream.hash cimport HASH_TRIES, hash_crc_text, hash_step
from lb.fast.upstream.ring cimport ring_find, ring_next
from lb.fast.c.sys cimport AF_INET, AF_INET6, sockaddr, sockaddr_in, sockaddr_in6

cdef enum:
    NO_HEAP = 0xFFFFFFFF    # Peer.heap of a server outside any heap
    STEPS = 64              # servers stepped over in the sequence before the list is walked
    TIMED_LOOKS = 4         # servers whose estimate is worked out anew for a choice
    TIMED_STEP = 20         # ms that make no difference
    TIMED_MOST = 5000       # ms from which on all are equally slow


cdef inline bint balance_has_heap(Upstream* u) noexcept nogil:
    return u.method == LB_LEAST_CONN or u.method == LB_LEAST_TIME


cdef inline bint peer_failed(Peer* p, int64_t now) noexcept nogil:
    """Passive health, as nginx: max_fails failures take it out for fail_timeout since the last check."""
    return p.max_fails and p.fails >= p.max_fails and not p.single and now - p.checked <= p.fail_timeout


cdef inline bint peer_usable(Peer* p, int64_t now) noexcept nogil:
    if p.down or (p.max_conns and p.active >= p.max_conns):
        return False
    return not peer_failed(p, now)


cdef inline bint balance_was_tried(Request* r, Peer* p) noexcept nogil:
    cdef uint32_t i
    for i in range(r.ntried):
        if r.tried[i] == p:
            return True
    return False


cdef inline bint balance_may_take(Request* r, Peer* p, int64_t now) noexcept nogil:
    return peer_usable(p, now) and not (r.ntried and balance_was_tried(r, p))


# ---- least_conn and least_time: a binary heap of the usable servers

cdef inline void peer_load(Peer* p, int64_t now) noexcept nogil:
    p.load = balance_timed_load(p, now) if p.ups.method == LB_LEAST_TIME else p.active


cdef inline uint64_t balance_timed_load(Peer* p, int64_t now) noexcept nogil:
    """As nginx: the mean time, halved with each fail_timeout without a try, in steps of 20 ms, times its requests and one."""
    cdef double ms = p.mean
    cdef int64_t idle = now - p.checked, waited
    if idle > p.fail_timeout:
        idle //= p.fail_timeout + 1000
        ms = ms / <double> (1 << idle) if idle < 31 else 0
    if p.pending:
        waited = now - p.pending_since // p.pending
        if waited > ms:
            ms = <double> waited
    if ms > TIMED_MOST:
        ms = TIMED_MOST - TIMED_STEP
    return <uint64_t> (<int64_t> ms // TIMED_STEP + 1) * (1 + p.active)


cdef inline void balance_timed_refresh(Group* g, uint32_t* pos, int64_t now) noexcept nogil:
    """Estimates change with the clock, too: look at some again, in turn, and on top. Up to TIMED_LOOKS servers: at all."""
    cdef uint32_t _i
    cdef uint32_t looks = g.n if g.n < TIMED_LOOKS else TIMED_LOOKS
    cdef Peer* p
    for _i in range(looks):
        pos[0] = (pos[0] + 1) % g.n
        p = g.peers[pos[0]]
        peer_load(p, now)
        balance_heap_up(g.heap, p.heap)
        balance_heap_down(g.heap, g.n, p.heap)
    for _i in range(looks):
        p = g.heap[0]
        peer_load(p, now)
        balance_heap_down(g.heap, g.n, 0)
        if g.heap[0] == p:
            return


cdef inline bint balance_heap_less(Peer* a, Peer* b) noexcept nogil:
    """Less load per weight first; among equals, the one whose weighted turn is due."""
    cdef uint64_t x = a.load * b.weight
    cdef uint64_t y = b.load * a.weight
    if x != y:
        return x < y
    return a.turn < b.turn


cdef inline void balance_heap_up(Peer** heap, uint32_t i) noexcept nogil:
    cdef Peer* p = heap[i]
    cdef uint32_t parent
    while i:
        parent = (i - 1) >> 1
        if not balance_heap_less(p, heap[parent]):
            break
        heap[i] = heap[parent]
        heap[i].heap = i
        i = parent
    heap[i] = p
    p.heap = i


cdef inline void balance_heap_down(Peer** heap, uint32_t n, uint32_t i) noexcept nogil:
    cdef Peer* p = heap[i]
    cdef uint32_t child
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and balance_heap_less(heap[child + 1], heap[child]):
            child += 1
        if not balance_heap_less(heap[child], p):
            break
        heap[i] = heap[child]
        heap[i].heap = i
        i = child
    heap[i] = p
    p.heap = i


cdef inline void balance_heap_build(Group* g, int64_t now) noexcept nogil:
    """After a swap: `active` and `turn` of the servers are what they are now."""
    cdef uint32_t i
    for i in range(g.n):
        peer_load(g.peers[i], now)
        g.heap[i] = g.peers[i]
        g.heap[i].heap = i
    i = g.n // 2
    while i:
        i -= 1
        balance_heap_down(g.heap, g.n, i)


cdef inline void peer_moved(Peer* p, int64_t now) noexcept nogil:
    """`active`, or what least_time knows, has changed: put the server where it belongs."""
    cdef Group* g
    peer_load(p, now)
    if p.heap == NO_HEAP:
        return
    g = &p.ups.table.rank[p.backup]
    balance_heap_up(g.heap, p.heap)
    balance_heap_down(g.heap, g.n, p.heap)


cdef inline Peer* balance_pick_least(Group* g, double* turn, Request* r, int64_t now) noexcept nogil:
    """The least used. Who was away (down, failed, new) takes its next turn with the others: it does not make up for lost ones."""
    cdef Peer* best
    cdef uint32_t i
    if g.n == 0:
        return NULL
    best = g.heap[0]
    if not balance_may_take(r, best, now):
        best = NULL
        for i in range(g.n):
            if balance_may_take(r, g.heap[i], now) and (best == NULL or balance_heap_less(g.heap[i], best)):
                best = g.heap[i]
    if best != NULL:
        if best.turn > turn[0]:
            turn[0] = best.turn
        best.turn = turn[0] + 1.0 / best.weight
    return best


# ---- round robin

cdef inline uint32_t balance_seq_place(Group* g, Peer* p) noexcept nogil:
    """A server's first place in the sequence."""
    cdef uint32_t i
    for i in range(g.nseq):
        if g.peers[g.seq[i]] == p:
            return i
    return 0


cdef inline Peer* balance_pick_next(Group* g, uint32_t* pos, Request* r, int64_t now) noexcept nogil:
    """The next server of the sequence. A retry does not move it on: else each request would begin at the bad one of two."""
    cdef uint32_t i, _i, at = pos[0]
    cdef uint32_t steps = g.nseq if g.nseq < STEPS else STEPS
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


# ---- ip_hash

cdef inline uint32_t balance_hash_more(uint32_t h, const unsigned char* p, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        h = (h * 113 + p[i]) % 6271
    return h


cdef inline Peer* peer_at_weight(Group* g, uint64_t w) noexcept nogil:
    """The server in whose share of the sum of weights `w` falls."""
    cdef uint32_t low = 0, high = g.nall - 1, mid
    while low < high:
        mid = (low + high) >> 1
        if w < g.upto[mid]:
            high = mid
        else:
            low = mid + 1
    return g.all[low]


cdef inline Peer* balance_pick_ip_hash(Group* g, uint32_t* pos, Request* r, int64_t now) noexcept nogil:
    """nginx's ip_hash: first three bytes of IPv4, all of IPv6; 20 more hashes when the server may not be used."""
    cdef unsigned char zero[3]
    cdef const unsigned char* key = zero
    cdef uint32_t n = 3, h = 89, _i
    cdef Conn* c = r.client
    cdef Peer* p
    zero[0] = zero[1] = zero[2] = 0
    if c.addr_len and (<sockaddr*> c.addr).sa_family == AF_INET:
        key = <const unsigned char*> &(<sockaddr_in*> c.addr).sin_addr
    elif c.addr_len and (<sockaddr*> c.addr).sa_family == AF_INET6:
        key = <const unsigned char*> &(<sockaddr_in6*> c.addr).sin6_addr
        n = 16
    if g.nall:
        for _i in range(21):
            h = balance_hash_more(h, key, n)
            p = peer_at_weight(g, h % g.total)
            if balance_may_take(r, p, now):
                return p
    return balance_pick_next(g, pos, r, now)


# ---- hash: see upstream/hash.pxd and upstream/ring.pxd

cdef inline Peer* balance_pick_hash(Group* g, uint32_t* pos, Request* r, int64_t now) noexcept nogil:
    cdef uint64_t h = 0
    cdef uint32_t i
    cdef Peer* p
    for i in range(HASH_TRIES + 1):
        h += hash_step(r.key, i)
        p = peer_at_weight(g, h % g.total)
        if balance_may_take(r, p, now):
            return p
    return balance_pick_next(g, pos, r, now)


cdef inline Peer* balance_pick_alike(Group* g, Alike* a, Request* r, int64_t now) noexcept nogil:
    """One of the servers that are written alike, in turn."""
    cdef uint32_t _i
    cdef Peer* p
    for _i in range(a.n):
        p = g.sorted[a.first + a.turn % a.n]
        a.turn += 1
        if balance_may_take(r, p, now):
            return p
    return NULL


cdef inline Peer* balance_pick_ring(Group* g, uint32_t* pos, Request* r, int64_t now) noexcept nogil:
    cdef uint32_t _i, at = ring_find(g.ring, g.nring, hash_crc_text(r.key.p, r.key.n))
    cdef Peer* p
    if at == g.nring:
        at = 0
    for _i in range(HASH_TRIES + 1):
        p = balance_pick_alike(g, &g.alike[g.ring[at].server], r, now)
        if p != NULL:
            return p
        at = ring_next(g.ring, g.nring, at)
    return balance_pick_next(g, pos, r, now)


# ---- random

cdef inline uint64_t balance_random_more(Env* env) noexcept nogil:
    """xorshift128+: for spreading, not for secrets."""
    cdef uint64_t x = env.random[0], y = env.random[1]
    env.random[0] = y
    x ^= x << 23
    env.random[1] = x ^ y ^ (x >> 17) ^ (y >> 26)
    return env.random[1] + y


cdef inline Peer* balance_pick_random(Group* g, uint32_t* pos, Request* r, Env* env, bint two) noexcept nogil:
    """A server by weight; with `two`, of two different ones the one with fewer connections for its weight.

    On a tie the first, for that is the one drawn by weight.  (nginx takes the second: of two idle servers always the
    other one, so that the heaviest gets least.)
    """
    cdef Peer* first = NULL
    cdef Peer* p
    cdef int _i
    for _i in range(HASH_TRIES + 1):
        p = peer_at_weight(g, balance_random_more(env) % g.total)
        if p == first or not balance_may_take(r, p, env.now):
            continue
        if first == NULL and two:
            first = p
            continue
        if first != NULL and <uint64_t> p.active * first.weight >= <uint64_t> first.active * p.weight:
            return first
        return p
    return balance_pick_next(g, pos, r, env.now)


# ---- the table of methods

cdef inline Peer* balance_pick(Upstream* u, Table* t, int rank, Request* r, Env* env) noexcept nogil:
    cdef Group* g = &t.rank[rank]
    cdef int method = u.method
    if method == LB_LEAST_TIME and g.n:
        balance_timed_refresh(g, &u.pos[rank], env.now)
    if balance_has_heap(u):
        return balance_pick_least(g, &u.turn, r, env.now)
    if method != 0 and g.n > 1:
        if method == LB_IP_HASH:
            return balance_pick_ip_hash(g, &u.pos[rank], r, env.now)
        if method == LB_RANDOM or method == LB_RANDOM_TWO:
            return balance_pick_random(g, &u.pos[rank], r, env, method == LB_RANDOM_TWO)
        if method == LB_HASH and r.key.n:
            return balance_pick_hash(g, &u.pos[rank], r, env.now)
        if method == LB_HASH_RING and r.key.n and g.nring:
            return balance_pick_ring(g, &u.pos[rank], r, env.now)
    return balance_pick_next(g, &u.pos[rank], r, env.now)


cdef inline Peer* balance_choose(Upstream* u, Request* r, Env* env) noexcept nogil:
    """A server for this request that it has not tried, or NULL. For `hash`, r.key must be there."""
    cdef Table* t = u.table
    cdef Peer* p
    cdef int64_t now = env.now
    if t == NULL:
        return NULL
    p = balance_pick(u, t, 0, r, env)
    if p == NULL and t.rank[1].n:
        p = balance_pick(u, t, 1, r, env)
    if p != NULL and now - p.checked > p.fail_timeout:
        p.checked = now
    return p


# ---- sequences, worked out by the publisher

cdef inline uint32_t balance_gcd(uint32_t a, uint32_t b) noexcept nogil:
    cdef uint32_t t
    while b:
        t = a % b
        a = b
        b = t
    return a


cdef inline void balance_smooth_sequence(const uint32_t* weights, int64_t* current, uint32_t n, uint32_t* seq, uint32_t total) \
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
