"""Counters of one server of an upstream, in memory shared with the master: who has which, and counting a time.

What they are is in c/stats.h. A worker's ServerStats lie behind the WorkerStats of all workers: two for each upstream
(STATS_REST, STATS_GONE), then one for each server, given out by upstream/stats.pyx. Written by their worker only, read by the
master at any time.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from lb.fast.c.stats cimport lb_stats_bounds
from lb.fast.c.sys cimport lb_clz64

cdef enum:
    STATS_SERVERS = 16384       # servers of a worker with counters of their own; the others of an upstream share STATS_REST

cdef enum StatsState:
    STATS_FREE = 0              # nothing in it may be read
    STATS_USED = 1              # a peer counts in it
    STATS_LEFT = 2              # its peer is gone; what it counted stays until the place is needed for another
    STATS_REST = 3              # of an upstream, for good: servers beyond STATS_SERVERS, tries that no server got, its own
    STATS_GONE = 4              # of an upstream, for good: what those had counted whose places were given to others

cdef enum Condition:
    COND_UP = 0
    COND_DOWN = 1               # by configuration, or Consul's word
    COND_FAILED = 2             # max_fails failures, and no success since
    COND_REMOVED = 3            # in no list any more; what runs on it is finished
    COND_DRAINS = 4             # `drain`: only what sticky binds to it
    CONDITIONS = 5


cdef inline uint32_t stats_cell(int64_t ms) noexcept nogil:
    """The first cell whose bound is not below `ms`."""
    cdef uint32_t bits
    if ms <= 1:
        return 0
    if ms > 10000:
        return 13
    bits = 63 - lb_clz64(<uint64_t> ms)         # 2^bits <= ms
    bits -= bits > 10                           # so many bounds lie below 2^bits
    return bits + (ms > lb_stats_bounds[bits])


cdef inline void stats_time(uint64_t* cells, uint64_t* sum, int64_t ms) noexcept nogil:
    cells[stats_cell(ms)] += 1
    sum[0] += ms
