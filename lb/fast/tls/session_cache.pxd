"""Sessions in memory that all workers share: `ssl_session_cache shared:NAME:SIZE`. Sets of 8 KiB, each with its lock.

A set is its entries, one behind the other, oldest first; a new one that finds no room pushes the oldest out. A lock is the
pid of who holds it, for a few hundred nanoseconds. Who does not get it has no session: a full handshake. That of a worker that
was killed is taken from it by the master, which forgets the set (tls_cache_release). Times are seconds of CLOCK_MONOTONIC.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from lb.fast.c.sys cimport lb_atomic_load, lb_atomic_store, memcmp, memcpy, memmove, memset

cdef extern from * nogil:
    """
    static inline int lb_take(unsigned long *p, unsigned long v) {
        unsigned long none = 0;
        return __atomic_compare_exchange_n(p, &none, v, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
    }
    """
    int lb_take(unsigned long* p, unsigned long v) noexcept

cdef enum:
    SESSION_SET = 8192
    SESSION_ROOM = 8192 - 64
    SESSION_MOST = 4000         # bytes of one; a client's certificate makes it large
    SESSION_ID = 32
    SESSION_SPINS = 20000

ctypedef struct SessionEntry:   # its bytes follow
    uint16_t size               # with this head, a multiple of 8
    uint16_t n                  # bytes
    uint32_t id_n
    int64_t until               # s
    uint64_t check              # of the bytes
    uint8_t id[32]

ctypedef struct SessionSet:     # SESSION_SET bytes
    uint64_t lock               # pid of who holds it, or 0
    uint32_t end                # of the entries
    char unused[52]
    char room[8128]             # SESSION_ROOM

ctypedef struct SessionZone:
    SessionSet* sets
    uint64_t nsets


cdef inline uint64_t tls_cache_hash(const char* p, uint32_t n) noexcept nogil:
    """FNV-1a."""
    cdef uint64_t h = 14695981039346656037u
    cdef uint32_t i
    for i in range(n):
        h = (h ^ <uint8_t> p[i]) * 1099511628211u
    return h ^ h >> 29


cdef inline bint tls_cache_lock(SessionSet* s, uint64_t pid) noexcept nogil:
    cdef uint32_t _spins
    for _spins in range(<uint32_t> SESSION_SPINS):
        if lb_atomic_load(&s.lock) == 0 and lb_take(<unsigned long*> &s.lock, pid):
            if s.end > SESSION_ROOM:
                s.end = 0
            return True
    return False


cdef inline SessionEntry* tls_cache_next(SessionSet* s, uint32_t at) noexcept nogil:
    """The entry that begins here; NULL: the last was before. What no entry can be ends the set."""
    cdef SessionEntry* e = <SessionEntry*> (s.room + at)
    if at >= s.end:
        return NULL
    if (s.end - at < sizeof(SessionEntry) or e.size > s.end - at or e.size < sizeof(SessionEntry) + e.n
            or e.id_n > SESSION_ID or e.size & 7):
        s.end = at
        return NULL
    return e


cdef inline void tls_cache_cut(SessionSet* s, SessionEntry* e) noexcept nogil:
    """Out with it, and nothing of it stays."""
    cdef uint32_t size = e.size
    cdef char* behind = <char*> e + size
    memmove(e, behind, s.room + s.end - behind)
    s.end -= size
    memset(s.room + s.end, 0, size)


cdef inline bint tls_cache_is(SessionEntry* e, const uint8_t* id, uint32_t id_n) noexcept nogil:
    return e.id_n == id_n and memcmp(e.id, id, id_n) == 0


cdef inline SessionSet* tls_cache_set(SessionZone* z, const uint8_t* id, uint32_t id_n) noexcept nogil:
    return &z.sets[tls_cache_hash(<const char*> id, id_n) % z.nsets]


cdef inline void tls_cache_put(SessionZone* z, uint64_t pid, const uint8_t* id, uint32_t id_n, const char* p, uint32_t n,
                             int64_t now, int64_t until) noexcept nogil:
    """Keep these bytes under this id until then."""
    cdef SessionSet* s = tls_cache_set(z, id, id_n)
    cdef SessionEntry* e
    cdef uint32_t at = 0, size = (<uint32_t> sizeof(SessionEntry) + n + 7) & ~7u
    if id_n == 0 or id_n > SESSION_ID or n > SESSION_MOST or not tls_cache_lock(s, pid):
        return
    while True:
        e = tls_cache_next(s, at)
        if e == NULL:
            break
        if e.until <= now or tls_cache_is(e, id, id_n):
            tls_cache_cut(s, e)
        else:
            at += e.size
    while s.end + size > SESSION_ROOM and tls_cache_next(s, 0) != NULL:
        tls_cache_cut(s, <SessionEntry*> s.room)
    e = <SessionEntry*> (s.room + s.end)
    e.size = <uint16_t> size
    e.n = <uint16_t> n
    e.id_n = id_n
    e.until = until
    e.check = tls_cache_hash(p, n)
    memcpy(e.id, id, id_n)
    memcpy(<char*> e + sizeof(SessionEntry), p, n)
    s.end += size
    lb_atomic_store(&s.lock, 0)


cdef inline uint32_t tls_cache_get(SessionZone* z, uint64_t pid, const uint8_t* id, uint32_t id_n, char* out,
                                 int64_t now) noexcept nogil:
    """Its bytes, SESSION_MOST at most; 0: it is not there, or too old."""
    cdef SessionSet* s = tls_cache_set(z, id, id_n)
    cdef SessionEntry* e
    cdef uint32_t at = 0, n = 0
    if not tls_cache_lock(s, pid):
        return 0
    while n == 0:
        e = tls_cache_next(s, at)
        if e == NULL:
            break
        if tls_cache_is(e, id, id_n):
            if e.until > now and e.n <= SESSION_MOST and e.check == tls_cache_hash(<char*> e + sizeof(SessionEntry), e.n):
                n = e.n
                memcpy(out, <char*> e + sizeof(SessionEntry), n)
            break
        at += e.size
    lb_atomic_store(&s.lock, 0)
    return n


cdef inline void tls_cache_drop(SessionZone* z, uint64_t pid, const uint8_t* id, uint32_t id_n) noexcept nogil:
    cdef SessionSet* s = tls_cache_set(z, id, id_n)
    cdef SessionEntry* e
    cdef uint32_t at = 0
    if not tls_cache_lock(s, pid):
        return
    while True:
        e = tls_cache_next(s, at)
        if e == NULL or tls_cache_is(e, id, id_n):
            break
        at += e.size
    if e != NULL:
        tls_cache_cut(s, e)
    lb_atomic_store(&s.lock, 0)


cdef inline uint32_t tls_cache_release(SessionZone* z, uint64_t pid) noexcept nogil:
    """A process is dead: sets that it holds are forgotten. How many."""
    cdef uint64_t i
    cdef uint32_t n = 0
    for i in range(z.nsets):
        if lb_atomic_load(&z.sets[i].lock) == pid:
            z.sets[i].end = 0
            memset(z.sets[i].room, 0, SESSION_ROOM)
            lb_atomic_store(&z.sets[i].lock, 0)
            n += 1
    return n
