"""The ring of `hash KEY consistent`: 160 points a server and unit of weight on a circle of 2^32, sorted (ketama, as
Cache::Memcached::Fast and nginx have it). A key belongs to the first point at its hash or after it.

The publisher keeps the ring of the last table and merges what changed into a copy of it: of 10,000 servers with 1.6 million
points one that changes costs a walk over memory, not a sort.

    points of the servers that are new or have another weight: ring_points -> ring_sort
    points of the last ring, without the servers that are gone or have another weight -+-> ring_merge -> ring_ties
    the sorted new ones ---------------------------------------------------------------+

Points of one hash (1.6 million have some 300 pairs) all stay in the ring, so that one of them can go; the first counts, which
is that of the lower Alike.order. ring_next steps over the others, which nginx takes out.
"""

from libc.stdint cimport uint8_t, uint32_t
from lb.fast.types cimport Alike, Point, Str
from lb.fast.upstream.balance.hash cimport CRC_START
from lb.fast.c.sys cimport memcmp, memcpy, memset

cdef extern from "crc.h" nogil:
    uint32_t lb_crc_more(uint32_t crc, const char* p, uint32_t n) noexcept
    uint32_t lb_crc_four(uint32_t crc, uint32_t bytes) noexcept

cdef enum:
    RING_POINTS = 160       # a server and unit of weight
    RING_MOST = 1 << 22     # points of a whole ring; more are thinned out evenly
    DIGIT = 11              # bits of one pass of the sort: three passes
    DIGITS = 1 << DIGIT


cdef inline uint32_t ring_base_hash(Str name) noexcept nogil:
    """The running CRC of HOST \\0 PORT, for a server as it is written."""
    cdef const char* host = name.p
    cdef uint32_t n = name.n, i = name.n, crc
    cdef char zero = 0
    if n >= 5 and (memcmp(host, b"unix:", 5) == 0):
        crc = lb_crc_more(CRC_START, host + 5, n - 5)
        return lb_crc_more(crc, &zero, 1)
    while i and 48 <= host[i - 1] <= 57:
        i -= 1
    if i == 0 or host[i - 1] != 58:
        crc = lb_crc_more(CRC_START, host, n)
        return lb_crc_more(crc, &zero, 1)
    crc = lb_crc_more(CRC_START, host, i - 1)
    crc = lb_crc_more(crc, &zero, 1)
    return lb_crc_more(crc, host + i, n - i)


cdef inline uint32_t ring_points(Point* points, uint32_t server, uint32_t base, uint32_t n) noexcept nogil:
    """The n points of the server with this ring_base_hash, each from the hash of the one before. Gives n."""
    cdef uint32_t previous = 0, j
    for j in range(n):
        previous = ~lb_crc_four(base, previous)
        points[j].hash = previous
        points[j].server = server
    return n


cdef inline void ring_pass(const Point* source, Point* target, uint32_t n, uint32_t* counts, uint32_t shift) noexcept nogil:
    """Stable, by the digit at `shift`. `counts`: how many points have which; used up."""
    cdef uint32_t i, digit, many, at = 0, most = DIGITS
    for i in range(most):
        many = counts[i]
        counts[i] = at
        at += many
    for i in range(n):
        digit = (source[i].hash >> shift) & (DIGITS - 1)
        target[counts[digit]] = source[i]
        counts[digit] += 1


cdef inline void ring_sort(Point* points, Point* spare, uint32_t n) noexcept nogil:
    """By hash, in `points`; `spare` is as large."""
    cdef uint32_t counts[3][DIGITS]
    cdef uint32_t i, hash
    memset(counts, 0, sizeof(counts))
    for i in range(n):
        hash = points[i].hash
        counts[0][hash & (DIGITS - 1)] += 1
        counts[1][(hash >> DIGIT) & (DIGITS - 1)] += 1
        counts[2][hash >> (2 * DIGIT)] += 1
    ring_pass(points, spare, n, counts[0], 0)
    ring_pass(spare, points, n, counts[1], DIGIT)
    ring_pass(points, spare, n, counts[2], 2 * DIGIT)
    memcpy(points, spare, n * sizeof(Point))


cdef inline uint32_t ring_merge(
    Point* out, const Point* old, uint32_t nold, const uint8_t* stays, const Point* fresh, uint32_t nfresh
) noexcept nogil:
    """The points of `old` whose server stays, and `fresh`, by hash. Gives their number."""
    cdef uint32_t i, j = 0, n = 0
    for i in range(nold):
        while j < nfresh and fresh[j].hash < old[i].hash:
            out[n] = fresh[j]
            n += 1
            j += 1
        if stays[old[i].server]:
            out[n] = old[i]
            n += 1
    while j < nfresh:
        out[n] = fresh[j]
        n += 1
        j += 1
    return n


cdef inline void ring_ties(Point* points, uint32_t n, const Alike* alike) noexcept nogil:
    """Points of one hash in the order of their servers."""
    cdef uint32_t i, j
    cdef Point moved
    for i in range(1, n):
        if points[i].hash != points[i - 1].hash:
            continue
        j = i
        while j and points[j - 1].hash == points[j].hash and alike[points[j].server].order < alike[points[j - 1].server].order:
            moved = points[j]
            points[j] = points[j - 1]
            points[j - 1] = moved
            j -= 1


cdef inline uint32_t ring_find(const Point* points, uint32_t n, uint32_t hash) noexcept nogil:
    """The first point at `hash` or after it; n when it lies behind the last."""
    cdef uint32_t low = 0, high = n, mid
    while low < high:
        mid = (low + high) >> 1
        if hash > points[mid].hash:
            low = mid + 1
        else:
            high = mid
    return low


cdef inline uint32_t ring_next(const Point* points, uint32_t n, uint32_t at) noexcept nogil:
    """The first point of the next hash, around the circle."""
    cdef uint32_t hash = points[at].hash
    while at < n and points[at].hash == hash:
        at += 1
    return at if at < n else 0
