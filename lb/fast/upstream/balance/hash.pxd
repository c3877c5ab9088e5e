"""Balancing by a key: `hash KEY` and `hash KEY consistent`, the same server as nginx for the same key and list.

`hash`: CRC-32 of the key, a place in the running sums of weights (binary search); when that server may not be used, the CRC of
"1" + key and so on is added, 20 times at most. `consistent`: the ring of balance/ring.pxd; when a server may not be used the
next points are looked at. After 20 misses both go on as round robin, as nginx does.
"""

from libc.stdint cimport uint32_t, uint64_t
from lb.fast.types cimport Request, Str

cdef extern from "crc.h" nogil:
    uint32_t lb_crc_more(uint32_t crc, const char* p, uint32_t n) noexcept

cdef enum:
    HASH_TRIES = 20         # servers passed over before round robin takes over
    CRC_START = 0xFFFFFFFF


cdef inline uint32_t hash_crc_text(const char* p, uint32_t n) noexcept nogil:
    return ~lb_crc_more(CRC_START, p, n)


cdef inline uint64_t hash_key_number(Request* r) noexcept nogil:
    """The key as a number; 0: an empty one, which is none."""
    return <uint64_t> hash_crc_text(r.key.p, r.key.n) + 1 if r.key.n else 0


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
