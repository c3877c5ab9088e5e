"""Looking a text up: exact, `*.x` by its longest end, `x.*` by its longest beginning, as nginx orders them; and the place
of a path among locations, by its longest beginning.

Owns nothing; compile/routes.pyx fills the tables, route/location.pyx (server names, locations) and route/variables/user.pyx
(map) ask. Names are lower case; spots are in the order of their bytes, so that all that begin with one text stand together,
behind it.
"""

from libc.stdint cimport int32_t, uint32_t
from lb.fast.types cimport Dict, DictEntry, Names, Spot, Str
from lb.fast.c.sys cimport memcmp


cdef inline uint32_t dict_hash(const char* p, uint32_t n) noexcept nogil:
    """FNV-1a."""
    cdef uint32_t h = 2166136261u, i
    for i in range(n):
        h = (h ^ <unsigned char> p[i]) * 16777619u
    return h


cdef inline DictEntry* dict_place(Dict* d, const char* p, uint32_t n) noexcept nogil:
    """The entry of this key, or the free one where it would go."""
    cdef uint32_t h = dict_hash(p, n)
    cdef uint32_t i = h & d.mask
    cdef DictEntry* e = &d.entries[i]
    while e.key.p != NULL and not (e.hash == h and e.key.n == n and memcmp(e.key.p, p, n) == 0):
        i = (i + 1) & d.mask
        e = &d.entries[i]
    return e


cdef inline void* dict_find(Dict* d, const char* p, uint32_t n) noexcept nogil:
    return dict_place(d, p, n).value if d.n else NULL


cdef inline void* names_find(Names* t, const char* low, uint32_t n) noexcept nogil:
    """What an exact name or a wildcard gives for this text in lower case, or NULL."""
    cdef uint32_t i
    cdef void* found = dict_find(&t.exact, low, n)
    if found != NULL:
        return found
    if t.head.n:
        for i in range(1, n):           # from the left: the longest end first
            if low[i] == c".":
                found = dict_find(&t.head, low + i, n - i)
                if found != NULL:
                    return found
    if t.tail.n:
        i = n
        while i > 1:
            i -= 1
            if low[i] == c".":
                found = dict_find(&t.tail, low, i + 1)
                if found != NULL:
                    return found
    return NULL


cdef inline void dict_lower_into(char* to, const char* p, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        to[i] = p[i] + 32 if c"A" <= p[i] <= c"Z" else p[i]


# ---- spots

cdef inline int location_spot_order(Str* at, const char* p, uint32_t n) noexcept nogil:
    """-1, 0 or 1: this spot's bytes stand before, are, or stand behind the n bytes at p."""
    cdef int order = memcmp(at.p, p, at.n if at.n < n else n)
    if order != 0:
        return -1 if order < 0 else 1
    return -1 if at.n < n else 1 if at.n > n else 0


cdef inline int32_t location_spot_last(Spot* spots, uint32_t count, const char* p, uint32_t n) noexcept nogil:
    """The last spot that does not stand behind p; -1: all do."""
    cdef uint32_t low = 0, high = count, middle
    while low < high:
        middle = (low + high) // 2
        if location_spot_order(&spots[middle].pattern, p, n) <= 0:
            low = middle + 1
        else:
            high = middle
    return <int32_t> low - 1


cdef inline Spot* location_spot_slash(Spot* spots, uint32_t count, const char* p, uint32_t n) noexcept nogil:
    """The spot that is p and a slash, or NULL. `spots`: those that stand behind p."""
    cdef uint32_t low = 0, high = count, middle
    cdef Str* at
    while low < high:
        middle = (low + high) // 2
        at = &spots[middle].pattern
        if at.n <= n or memcmp(at.p, p, n) != 0 or at.p[n] > c"/" or at.p[n] < 0:
            high = middle           # behind p, and it does not begin with p: behind p/ too
        elif at.p[n] < c"/":
            low = middle + 1
        elif at.n > n + 1:
            high = middle
        else:
            return &spots[middle]
    return NULL
