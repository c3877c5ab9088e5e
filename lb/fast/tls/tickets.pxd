"""A ring of ticket keys in memory that the master shares with all workers: the first encrypts, all decrypt.

The master alone writes; a worker copies the one key that it needs and looks at `seq` before and behind it. Times are seconds of
CLOCK_MONOTONIC, which all processes of a machine share. No calls of OpenSSL here.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from lb.fast.c.sys cimport lb_atomic_load, memcmp, memcpy, memmove, memset

cdef extern from * nogil:
    """
    #define lb_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
    """
    void lb_fence() noexcept

cdef enum:
    TICKET_KEYS = 32
    TICKET_RING = 4096          # bytes of its memory
    TICKET_MAGIC = 0x6b746c31   # changes with the form of the ring: another binary may inherit it
    TICKET_LOOKS = 1000         # at a ring that is being written

ctypedef struct TicketKey:
    uint8_t name[16]
    uint8_t mac[32]
    uint8_t aes[32]
    uint32_t size               # 48: AES-128 and 16 bytes of mac; 80: AES-256 and 32
    uint32_t unused
    int64_t made                # s
    int64_t keep                # s that it decrypts for, after it has stopped to encrypt

ctypedef struct TicketRing:
    uint64_t magic
    uint64_t seq                # odd: the master writes
    uint32_t n
    TicketKey keys[32]          # TICKET_KEYS; newest first


cdef inline int tls_ticket_find(TicketRing* r, const uint8_t* name, TicketKey* out) noexcept nogil:
    """A copy of the key of this name, or of the one that encrypts (NULL). Its place; -1: it is not there."""
    cdef uint64_t seq
    cdef uint32_t i, _looks
    cdef int at
    for _looks in range(<uint32_t> TICKET_LOOKS):
        seq = lb_atomic_load(&r.seq)
        if seq & 1:
            continue
        at = -1
        for i in range(r.n if r.n < TICKET_KEYS else <uint32_t> TICKET_KEYS):
            if name == NULL or memcmp(r.keys[i].name, name, 16) == 0:
                memcpy(out, &r.keys[i], sizeof(TicketKey))
                at = <int> i
                break
        lb_fence()
        if lb_atomic_load(&r.seq) == seq:
            return at
    return -1


cdef inline void tls_ticket_write_begin(TicketRing* r) noexcept nogil:
    r.seq |= 1                  # also behind a master that was killed while it wrote
    lb_fence()


cdef inline void tls_ticket_write_end(TicketRing* r) noexcept nogil:
    lb_fence()
    r.seq += 1


cdef inline void tls_ticket_push(TicketRing* r, TicketKey* key) noexcept nogil:
    """It encrypts from now on; the oldest goes where there is no room."""
    tls_ticket_write_begin(r)
    if r.n > TICKET_KEYS - 1:
        r.n = TICKET_KEYS - 1
    memmove(&r.keys[1], &r.keys[0], r.n * sizeof(TicketKey))
    memcpy(&r.keys[0], key, sizeof(TicketKey))
    r.n += 1
    tls_ticket_write_end(r)


cdef inline uint32_t tls_ticket_drop_old(TicketRing* r, int64_t now) noexcept nogil:
    """Wipe the keys whose tickets are all too old. How many."""
    cdef uint32_t i = 1
    cdef uint32_t had = r.n
    while i < r.n and now < r.keys[i - 1].made + r.keys[i].keep:
        i += 1
    if i >= r.n:
        return 0
    tls_ticket_write_begin(r)
    memset(&r.keys[i], 0, (had - i) * sizeof(TicketKey))
    r.n = i
    tls_ticket_write_end(r)
    return had - i
