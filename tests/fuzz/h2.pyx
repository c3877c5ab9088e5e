"""What the HTTP/2 fuzzer runs: an input is field blocks of one connection, each behind its length (2 bytes; the first byte of all
is the table's size, in 32 bytes). They are decoded, written as lines of a head, and the head is parsed. abort() when something
does not hold.

What holds: a table never counts more than it may, and its texts lie in its memory; a decoded text lies where it may; what the
lines are made of is as many lines as there were fields, whatever is in them; what the encoder writes of the fields is decoded to
the same by another table. Built by tests/fuzz/__main__.py.
"""

from libc.stdint cimport uint8_t, uint32_t
from lb.fast.c.sys cimport abort, free, malloc, memcmp, memcpy, memset
from lb.fast.message.h1.head cimport head_parse_request
from lb.fast.message.h2.hpack cimport (
    HPACK_ADDED, HPACK_BAD, HPACK_FIELD, HPACK_KEEP, HpackField, HpackTable, hpack_entry, hpack_free, hpack_init, hpack_next,
    hpack_write,
)
from lb.fast.message.h2.lines cimport LINES_GOOD, Lines, lines_begin, lines_end, lines_field
from lb.fast.types cimport Field, Head

cdef enum:
    MOST = 4096                 # bytes of a decoded text
    ROOM = 6000                 # of a head


cdef inline void must(bint holds) noexcept nogil:
    if not holds:
        abort()


cdef void look(HpackTable* t) noexcept nogil:
    cdef uint32_t i, size = 0
    must(t.size <= t.most and t.most <= t.ceiling and t.n <= t.places)
    for i in range(t.n):
        must(<uint32_t> hpack_entry(t, i).at + hpack_entry(t, i).name_n + hpack_entry(t, i).value_n <= t.end <= t.room)
        size += hpack_entry(t, i).name_n + hpack_entry(t, i).value_n + 32
    must(size == t.size)


cdef void again(HpackTable* out, HpackTable* back, const HpackField* f, char* room) noexcept nogil:
    """One field through our encoder and back."""
    cdef uint32_t most = f.name_n + f.value_n + HPACK_ADDED, at = 0
    cdef char* made = <char*> malloc(most)
    cdef uint32_t n = <uint32_t> (hpack_write(out, made, f.name, f.name_n, f.value, f.value_n, HPACK_KEEP) - made)
    cdef HpackField g
    must(n <= most)
    memset(&g, 0, sizeof(g))
    must(hpack_next(back, <const uint8_t*> made, n, &at, room, MOST, &g) == HPACK_FIELD and at == n)
    must(g.name_n == f.name_n and g.value_n == f.value_n and not g.cut)
    must(memcmp(g.name, f.name, f.name_n) == 0 and memcmp(g.value, f.value, f.value_n) == 0)
    must(out.size == back.size and out.n == back.n)
    free(made)


cdef void parse(Lines* l, uint32_t fields) noexcept nogil:
    """A head that is said to be good has one line for each field at most, and two for what is before them."""
    cdef Head h
    cdef Field places[64]
    cdef uint32_t n = <uint32_t> (l.text.p - l.begin), i, lines = 0
    for i in range(n):
        lines += l.begin[i] == c"\n"
    must(lines <= fields + 6)
    memset(&h, 0, sizeof(h))
    h.fields = places
    h.max_fields = 64
    head_parse_request(l.begin, n, &h)


cdef bint block(HpackTable* t, HpackTable* out, HpackTable* back, const uint8_t* p, uint32_t n, char* rooms) noexcept nogil:
    """False: it was refused, and the connection ends."""
    cdef HpackField f
    cdef Lines l
    cdef uint32_t at = 0, fields = 0
    cdef int rc
    memset(&f, 0, sizeof(f))
    lines_begin(&l, rooms, ROOM, rooms + ROOM, ROOM)
    while True:
        rc = hpack_next(t, p, n, &at, rooms + 2 * ROOM, MOST, &f)
        must(at <= n)
        look(t)
        if rc != HPACK_FIELD:
            break
        fields += 1
        if not f.cut and f.name_n <= MOST and f.value_n <= MOST:
            again(out, back, &f, rooms + 2 * ROOM + 2 * MOST)
        lines_field(&l, &f)
    lines_end(&l)
    must(l.text.p - l.begin <= ROOM)
    if l.fault == LINES_GOOD:
        parse(&l, fields)
    return rc != HPACK_BAD


cdef public int fuzz_one(const uint8_t* data, size_t n) noexcept nogil:
    cdef HpackTable t
    cdef HpackTable out
    cdef HpackTable back
    cdef char* rooms = <char*> malloc(2 * ROOM + 4 * MOST)
    cdef uint8_t* copy
    cdef size_t at = 1
    cdef uint32_t size
    cdef bint good = n > 0
    hpack_init(&t, 32 * data[0] if n else 0)
    hpack_init(&out, 1024)
    hpack_init(&back, 1024)
    while good and n - at >= 2:
        size = min(<uint32_t> (n - at - 2), <uint32_t> data[at] << 8 | data[at + 1])
        copy = <uint8_t*> malloc(size + 1)          # so that the sanitizer sees its end
        memcpy(copy + 1, data + at + 2, size)
        good = block(&t, &out, &back, copy + 1, size, rooms)
        free(copy)
        at += 2 + size
    hpack_free(&t)
    hpack_free(&out)
    hpack_free(&back)
    free(rooms)
    return 0
