"""Looking a text up: exact, `*.x` by its longest end, `x.*` by its longest beginning, as nginx orders them.

Owns nothing; compile_routes.pyx fills the tables, route.pyx (server names) and vars.pyx (map) ask. Keys are lower case.
"""

from libc.stdint cimport uint32_t
from lb.fast.types cimport Dict, DictEntry, Names
from lb.fast.sys cimport memcmp


cdef inline uint32_t text_hash(const char* p, uint32_t n) noexcept nogil:
    """FNV-1a."""
    cdef uint32_t h = 2166136261u, i
    for i in range(n):
        h = (h ^ <unsigned char> p[i]) * 16777619u
    return h


cdef inline DictEntry* dict_place(Dict* d, const char* p, uint32_t n) noexcept nogil:
    """The entry of this key, or the free one where it would go."""
    cdef uint32_t h = text_hash(p, n)
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


cdef inline void lower_into(char* to, const char* p, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        to[i] = p[i] + 32 if c"A" <= p[i] <= c"Z" else p[i]
