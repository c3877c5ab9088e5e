"""Balancing by a key: `hash KEY` and `hash KEY consistent`, the same server as nginx for the same key and list.

`hash`: CRC-32 of the key, a place in the running sums of weights (binary search); when that server may not be used, the CRC
of "1" + key and so on is added, 20 times at most. `consistent`: 160 points a server and unit of weight on a ring of 2^32
(ketama, as Cache::Memcached::Fast), worked out by the publisher; the next points are looked at when a server may not be
used. After 20 misses both go on as round robin, as nginx does.
"""

from libc.stdint cimport uint32_t, uint64_t
from lb.fast.types cimport Alike, Group, Peer, Point, Request, Str
from lb.fast.sys cimport memcmp

cdef extern from "crc.h" nogil:
    uint32_t lb_crc_more(uint32_t crc, const char* p, uint32_t n) noexcept

cdef extern from "<stdlib.h>" nogil:
    void qsort(void* base, size_t n, size_t size, int (*cmp)(const void*, const void*) noexcept nogil) noexcept

cdef enum:
    HASH_TRIES = 20         # servers passed over before round robin takes over
    RING_POINTS = 160       # a server and unit of weight
    RING_MOST = 1 << 22     # points of a whole ring; more are thinned out evenly
    CRC_START = 0xFFFFFFFF


cdef inline uint32_t crc_text(const char* p, uint32_t n) noexcept nogil:
    return ~lb_crc_more(CRC_START, p, n)


cdef inline uint64_t hash_step(Str key, uint32_t again) noexcept nogil:
    """What try number `again` (from 0) adds: ((crc32([AGAIN] KEY) >> 16) & 0x7fff), as Cache::Memcached."""
    cdef char digits[2]
    cdef uint32_t crc = CRC_START, n = 0
    if again:
        if again >= 10:
            digits[0] = <char> (48 + again // 10)
            n = 1
        digits[n] = <char> (48 + again % 10)
        crc = lb_crc_more(crc, digits, n + 1)
    crc = lb_crc_more(crc, key.p, key.n)
    return (~crc >> 16) & 0x7fff


# ---- the ring

cdef inline int point_order(const void* a, const void* b) noexcept nogil:
    """By hash; of equal ones the server that comes first in the list."""
    cdef const Point* x = <const Point*> a
    cdef const Point* y = <const Point*> b
    if x.hash != y.hash:
        return -1 if x.hash < y.hash else 1
    return -1 if x.server < y.server else <int> (x.server > y.server)


cdef inline uint32_t base_hash(Str name) noexcept nogil:
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


cdef inline uint32_t ring_points(Point* points, uint32_t server, Str name, uint32_t n) noexcept nogil:
    """The n points of one server, each from the hash of the one before."""
    cdef uint32_t base = base_hash(name), previous = 0, j
    for j in range(n):
        previous = ~lb_crc_more(base, <char*> &previous, 4)     # its bytes in little-endian order
        points[j].hash = previous
        points[j].server = server
    return n


cdef inline uint32_t ring_sort(Point* points, uint32_t n) noexcept nogil:
    """In order, equal hashes once. How many are left."""
    cdef uint32_t i = 0, j
    if n == 0:
        return 0
    qsort(points, n, sizeof(Point), point_order)
    for j in range(1, n):
        if points[i].hash != points[j].hash:
            i += 1
            points[i] = points[j]
    return i + 1


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
