"""Counters of one server of an upstream, in memory shared with the master: their layout, and counting a time.

A worker's server_stats lie behind the WorkerStats of all workers: two for each upstream (TALLY_REST, TALLY_GONE), then one for each
server, given out by upstream/stats.pyx. Written by their worker only, read by the master at any time.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from lb.fast.c.sys cimport lb_clz64

cdef enum:
    TALLY_NAME = 112            # longest text of an address: unix: and 107 bytes
    TALLY_SERVERS = 16384       # servers of a worker with a stats of their own; the others of an upstream share one
    TALLY_CELLS = 14            # of a histogram: TALLY_BOUNDS, and what is above them
    TALLY_COUNTERS = 59         # uint64_t from `active` to `consul_errors`

cdef enum TallyState:
    TALLY_FREE = 0              # nothing in it may be read
    TALLY_USED = 1              # a peer counts in it
    TALLY_LEFT = 2              # its peer is gone; what it counted stays until the stats is needed for another
    TALLY_REST = 3              # of an upstream, for good: servers beyond TALLY_SERVERS, tries that no server got
    TALLY_GONE = 4              # of an upstream, for good: what server_stats had counted that were given to others

cdef enum Condition:
    COND_UP = 0
    COND_DOWN = 1               # by configuration, or Consul's word
    COND_FAILED = 2             # max_fails failures, and no success since
    COND_REMOVED = 3            # in no list any more; what runs on it is finished

ctypedef struct ServerStats:
    uint64_t state              # TallyState; written last when it is given out
    uint32_t upstream           # its number in the configuration
    uint32_t name_len
    char name[112]              # the address as text
    uint64_t condition          # Condition
    uint64_t since              # Unix ms of the change to it; 0: since the worker began
    uint64_t retry_at           # COND_FAILED: Unix ms from which on it is tried again
    uint64_t active             # requests and sessions that use it now; all from here on count up, but this
    uint64_t requests           # given to it
    uint64_t status[5]          # its answers, 1xx to 5xx
    uint64_t sent               # bytes to it
    uint64_t received           # bytes from it
    uint64_t retries            # requests that went on to the next server
    uint64_t failures           # tries that count for max_fails
    uint64_t connects           # connections begun
    uint64_t no_live            # TALLY_REST: requests for which no server could be chosen
    uint64_t connect_ms         # sums of the histograms
    uint64_t header_ms
    uint64_t response_ms
    uint64_t connect[14]        # time to connect, of the connections that were made
    uint64_t header[14]         # time from the choice of the server to the head (stream: first byte) of its answer
    uint64_t response[14]       # time from there to the end of the exchange, of those with an answer (stream: of sessions)
    uint64_t consul_errors      # TALLY_REST: queries to Consul that failed; this and the next are written by pullers
    uint64_t consul_answer      # TALLY_REST: Unix ms of Consul's last good answer; 0: none yet
    uint64_t spare[1]           # 640 bytes: whole cache lines

# Bounds of the cells in ms. Each lies in another interval from 2^k to 2^(k+1), so one comparison finds the cell: between 1024
# and 2048 there is none.
cdef extern from *:
    """
    static const uint16_t lb_tally_bounds[14] = {1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 65535};
    """
    const unsigned short lb_tally_bounds[14]


cdef inline uint32_t stats_cell(int64_t ms) noexcept nogil:
    """The first cell whose bound is not below `ms`."""
    cdef uint32_t bits
    if ms <= 1:
        return 0
    if ms > 10000:
        return 13
    bits = 63 - lb_clz64(<uint64_t> ms)         # 2^bits <= ms
    bits -= bits > 10                           # so many bounds lie below 2^bits
    return bits + (ms > lb_tally_bounds[bits])


cdef inline void stats_time(uint64_t* cells, uint64_t* sum, int64_t ms) noexcept nogil:
    cells[stats_cell(ms)] += 1
    sum[0] += ms
