"""Who has which place in the memory of checks: an open hash table of (upstream, address) that all processes share.

    publish (any process, any thread, with the GIL): a new peer -> health_give -> its place, found or made
    the checker: a server leaves -> health_leave: GONE; it comes back -> the same place, begun anew
    a new server, when a GONE place is older than HEALTH_KEPT -> that place, with a new generation
    the master, at a reload: health_carry: what was known goes into the table of the next configuration

One lock for all, taken when servers come and never by the loop. A process that was killed with it loses it: its number is in it.
"""

cdef enum:
    HEALTH_KEPT = 60000         # ms that a GONE place keeps its server: workers may still list it
    HEALTH_SPINS = 2000         # looks at the lock, of 50 us, before anybody asks whether its holder lives


cdef inline Health* health_places(HealthTable* t) noexcept nogil:
    return <Health*> (t + 1)


cdef void health_format(HealthTable* t, size_t size) noexcept nogil:
    """Fresh, zeroed memory of `size` bytes."""
    t.room = (size - sizeof(HealthTable)) // sizeof(Health)


cdef void health_lock(HealthTable* t) noexcept nogil:
    cdef uint64_t holder
    cdef int spins = 0
    cdef timespec pause
    pause.tv_sec = 0
    pause.tv_nsec = 50_000
    while True:
        holder = 0
        if lb_atomic_swap_if(&t.lock, holder, <uint64_t> getpid()):
            return
        nanosleep(&pause, NULL)
        spins += 1
        holder = lb_atomic_load(&t.lock)
        if spins % HEALTH_SPINS == 0 and holder and kill(<int> holder, 0) != 0 and errno == ESRCH:
            lb_atomic_swap_if(&t.lock, holder, 0)


cdef inline void health_unlock(HealthTable* t) noexcept nogil:
    lb_atomic_store(&t.lock, 0)


cdef uint64_t health_hash(uint32_t upstream, Str name) noexcept nogil:
    return limit_hash(name.p, name.n) ^ (<uint64_t> (upstream + 1) * 0x9E3779B97F4A7C15u)


cdef inline bint health_is(Health* h, uint64_t hash, uint32_t upstream, Str name) noexcept nogil:
    return (h.hash == hash and h.upstream == upstream and h.name_len == name.n and memcmp(h.name, name.p, name.n) == 0
            and h.state != HEALTH_BUSY)


cdef Health* health_find(HealthTable* t, uint32_t upstream, Str name, uint64_t hash, Health** spare) noexcept nogil:
    """Its place, with the lock held; else NULL, and in `spare` one that it may have (or NULL)."""
    cdef Health* all = health_places(t)
    cdef Health* h
    cdef uint64_t i
    cdef int64_t old = check_clock() // 1000 - HEALTH_KEPT
    spare[0] = NULL
    for i in range(t.room):
        h = &all[(hash + i) % t.room]
        if h.state == HEALTH_FREE:
            if spare[0] == NULL:
                spare[0] = h
            return NULL
        if health_is(h, hash, upstream, name):
            return h
        if spare[0] == NULL and (h.state == HEALTH_BUSY or (h.state == HEALTH_GONE and <int64_t> h.ended < old)):
            spare[0] = h
    return NULL


cdef Health* health_give(HealthTable* t, uint32_t upstream, Str name, bint default_down) noexcept nogil:
    """The place of this server, which may begin anew; NULL: there is none left."""
    cdef Health* spare
    cdef Health* h
    cdef uint64_t hash = health_hash(upstream, name)
    if name.n > LB_SERVER_NAME:
        return NULL
    health_lock(t)
    h = health_find(t, upstream, name, hash, &spare)
    if h == NULL and spare == NULL:
        t.refused += 1
    elif h == NULL or h.state == HEALTH_GONE:
        h = health_begin(t, h if h != NULL else spare, upstream, name, hash, default_down)
    health_unlock(t)
    return h


cdef Health* health_begin(HealthTable* t, Health* h, uint32_t upstream, Str name, uint64_t hash, bint default_down) \
        noexcept nogil:
    """A server without any past, with the lock held. Who kept a pointer to the one before it sees a new generation."""
    t.used += h.state == HEALTH_FREE
    t.generation += 1
    lb_atomic_store(&h.state, HEALTH_BUSY)
    lb_atomic_store(&h.word, t.generation << HEALTH_GENERATION | <uint64_t> 255 << HEALTH_SHARE | HEALTH_UNSEEN
                    | (HEALTH_DOWN if default_down else 0))
    memset(&h.hash, 0, sizeof(Health) - <size_t> (<char*> &h.hash - <char*> h))
    h.hash = hash
    h.upstream = upstream
    h.name_len = name.n
    h.why = CHECK_NONE
    memcpy(h.name, name.p, name.n)
    lb_atomic_store(&h.state, HEALTH_USED)
    return h


cdef void health_leave(Health* h) noexcept nogil:
    """The checker's list has it no more."""
    h.ended = <uint64_t> loop.now
    lb_atomic_store(&h.state, HEALTH_GONE)


cdef void health_peer(Peer* p) noexcept nogil:
    """Give a peer its place, if its upstream has checks; again, if its place went to another server meanwhile."""
    cdef Health* h = p.health
    if p.ups.check == NULL or loop.health == NULL:
        return
    if h != NULL and lb_atomic_load(&h.word) >> HEALTH_GENERATION == p.health_generation and h.state == HEALTH_USED:
        return
    h = health_give(loop.health, p.ups.number, p.name, p.ups.check.default_down)
    if h != NULL:
        p.health_generation = lb_atomic_load(&h.word) >> HEALTH_GENERATION
        loop.health_peers[h - health_places(loop.health)] = p
    p.health = h


def health_carry(shm, size_t size, was, size_t was_size, numbers):
    cdef HealthTable* to = health_part(shm, size)
    cdef HealthTable* frm = health_part(was, was_size)
    cdef Health* all
    cdef Health* h
    cdef Health* spare
    cdef uint64_t i, generation, hash
    cdef Str name
    if to == NULL or frm == NULL:
        return
    to.epoch = frm.epoch + 1
    all = health_places(frm)
    for i in range(frm.room):
        h = &all[i]
        number = numbers.get(h.upstream) if h.state == HEALTH_USED else None
        if number is None:
            continue
        name.p, name.n = h.name, min(h.name_len, <uint32_t> LB_SERVER_NAME)
        hash = health_hash(number, name)
        if health_find(to, number, name, hash, &spare) != NULL or spare == NULL:
            continue
        health_begin(to, spare, number, name, hash, False)
        generation = spare.word >> HEALTH_GENERATION
        memcpy(&spare.rise, &h.rise, sizeof(Health) - <size_t> (<char*> &h.rise - <char*> h))
        memcpy(spare.name, name.p, name.n)
        spare.word = generation << HEALTH_GENERATION | (h.word & ((1 << HEALTH_GENERATION) - 1))


cdef HealthTable* health_part(shm, size_t size) except? NULL:
    """The table at the end of a generation's memory, made when it is not there yet."""
    cdef unsigned char[::1] view
    cdef HealthTable* t
    if size == 0:
        return NULL
    view = shm
    if size > <size_t> view.shape[0] or size < sizeof(HealthTable):
        raise ValueError(f"no table of checks of {size} in {view.shape[0]} bytes")
    t = <HealthTable*> ((<size_t> &view[0] + view.shape[0] - size + 63) & ~<size_t> 63)
    if t.room == 0:
        health_format(t, size - 64)
    return t


def health_size(size_t bytes_):
    return bytes_ + 64 + sizeof(HealthTable), bytes_ // sizeof(Health)


HEALTH_EACH = sizeof(Health)
