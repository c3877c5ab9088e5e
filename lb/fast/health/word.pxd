"""What the checker has found, as a worker reads it with each choice: one word of shared memory.

    generation << 16 | share << 8 | HealthBit

The generation is that of the place in the table: when the place has been given to another server, the word says nothing any
more of the one that has kept a pointer to it (then it is taken for up, as a server without checks).
"""

from libc.stdint cimport uint64_t
from lb.fast.types cimport Peer
from lb.fast.c.sys cimport lb_atomic_load, likely

cdef enum HealthBit:
    HEALTH_DOWN = 1         # the checks' verdict, or `default_down` before there is one
    HEALTH_UNSEEN = 2       # no verdict yet
    HEALTH_AGENT_DOWN = 4   # the agent says down, stopped or fail
    HEALTH_DRAIN = 8        # the agent says drain: out for new requests
    HEALTH_MAINT = 16       # the agent says maint
    HEALTH_NO_SHARE = 32    # the agent says 0%
    HEALTH_AGENT = HEALTH_AGENT_DOWN | HEALTH_DRAIN | HEALTH_MAINT | HEALTH_NO_SHARE
    HEALTH_OUT = HEALTH_DOWN | HEALTH_AGENT                     # for new requests
    HEALTH_AWAY = HEALTH_DOWN | HEALTH_AGENT_DOWN | HEALTH_MAINT   # for those that sticky binds to it, too

cdef enum:
    HEALTH_SHARE = 8        # where the share begins: of its weight, in 1/255, as the agent says
    HEALTH_WHOLE = 255      # all of it
    HEALTH_GENERATION = 16  # where the generation begins


cdef inline bint health_says(Peer* p, uint64_t bits) noexcept nogil:
    cdef uint64_t word
    if likely(p.health == NULL):
        return False
    word = lb_atomic_load(&p.health.word)
    return word & bits and word >> HEALTH_GENERATION == p.health_generation


cdef inline bint health_out(Peer* p) noexcept nogil:
    """Is it taken out by its checks?"""
    return health_says(p, HEALTH_OUT)


cdef inline bint health_away(Peer* p) noexcept nogil:
    """Also for what is bound to it? One that drains, or has no share, goes on with that."""
    return health_says(p, HEALTH_AWAY)
