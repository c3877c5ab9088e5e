"""check_skip_when_served: a worker tells the checker that a server has answered well; seldom, so that no line of shared memory
goes from core to core with each request."""

from libc.stdint cimport int64_t, uint64_t
from lb.fast.types cimport Peer
from lb.fast.c.sys cimport lb_atomic_load, lb_atomic_store


cdef inline void health_served(Peer* p, int64_t now) noexcept nogil:
    """An answer below 500 has come. Told again when what is there is older than half an interval."""
    if not p.ups.check.skip or now - <int64_t> lb_atomic_load(&p.health.served) <= p.ups.check.interval // 2:
        return
    if lb_atomic_load(&p.health.word) >> 16 == p.health_generation:
        lb_atomic_store(&p.health.served, <uint64_t> now)
