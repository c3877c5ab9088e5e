"""What is shown of checks: rows for the status port, read by the master at any time."""

CHECK_WHYS_SHOWN = ("ok", "none", "connect", "broken", "closed", "timeout", "invalid", "status", "large", "text", "tls")

HealthRow = namedtuple("HealthRow", (
    "upstream", "name", "down", "unseen", "decided", "rise", "fall", "why", "detail", "text", "since", "ended", "took_us",
    "checks", "failures", "skipped", "agent", "share", "late", "changes", "results", "order"))


def health_rows(shm, size_t size):
    """Of every checked server one HealthRow, in no order. `size`: of the part at the end of `shm` that is theirs; times are Unix
    seconds (0: never), results "+" and "-", the oldest first."""
    cdef HealthTable* t = health_part(shm, size)
    cdef Health* all
    cdef Health h
    cdef uint64_t i
    cdef list rows = []
    if t == NULL:
        return rows
    all = health_places(t)
    for i in range(t.room):
        if lb_atomic_load(&all[i].state) != HEALTH_USED:
            continue
        memcpy(&h, &all[i], sizeof(Health))
        rows.append(health_row(&h))
    return rows


cdef double health_unix(uint64_t ms):
    """Unix seconds, as the wall clock stands now, of a moment of the monotonic one; 0: never."""
    cdef timespec ts
    if ms == 0:
        return 0.0
    clock_gettime(CLOCK_MONOTONIC, &ts)
    return round(time.time() - (ts.tv_sec + ts.tv_nsec / 1e9) + ms / 1000.0, 3)


cdef object health_row(Health* h):
    cdef int i
    cdef uint32_t n = min(h.nresults, <uint32_t> HEALTH_RESULTS)
    results = "".join(["-" if h.results >> (n - 1 - i) & 1 else "+" for i in range(<int> n)])
    name = h.name[:min(h.name_len, <uint32_t> LB_SERVER_NAME)].decode("utf-8", "replace")
    text = h.text[:min(h.text_len, <uint32_t> HEALTH_TEXT)].decode("utf-8", "replace")
    agent = h.agent[:min(h.agent_len, <uint32_t> sizeof(h.agent))].decode("ascii", "replace")
    decided = "agent" if h.word & HEALTH_AGENT else "check" if h.word & HEALTH_DOWN else ""
    return HealthRow(
        h.upstream, name, bool(h.word & HEALTH_OUT), bool(h.word & HEALTH_UNSEEN), decided, h.rise, h.fall,
        CHECK_WHYS_SHOWN[h.why if h.why < CHECK_WHYS else CHECK_INVALID], h.detail, text,
        health_unix(h.since), health_unix(h.ended), h.took_us, h.checks, h.failures, h.skipped, agent,
        (h.word >> HEALTH_SHARE & 255) / 255.0, h.late, h.changes, results, h.order)


cdef bint health_open(HealthTable* t) noexcept nogil:
    """Is there an upstream of this process that has nobody to use only because nobody has been checked yet?"""
    cdef uint32_t i, k
    cdef uint64_t word
    cdef bint unseen, usable
    cdef Upstream* u
    for i in range(loop.nups):
        u = &loop.ups[i]
        if t == NULL or u.check == NULL or u.table == NULL:
            continue
        unseen = usable = False
        for k in range(u.table.n):
            if u.table.entries[k].down & PEER_DOWN:
                continue
            if not health_out(u.table.entries[k].peer):
                usable = True
                break
            word = lb_atomic_load(&u.table.entries[k].peer.health.word)
            unseen |= word & HEALTH_UNSEEN != 0
        if unseen and not usable:
            return True
    return False


def health_totals(shm, size_t size):
    """(places, used, refused, reloads, ms that the checker was behind at most), or None: nothing is checked."""
    cdef HealthTable* t = health_part(shm, size)
    if t == NULL:
        return None
    return t.room, t.used, t.refused, t.epoch, t.behind
