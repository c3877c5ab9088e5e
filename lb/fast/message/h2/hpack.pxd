"""HPACK (RFC 7541): field blocks to fields and back, with the table that both sides of a connection keep.

    block -> hpack_next ... -> a field at a time           a field -> hpack_write -> its bytes

Pure: bytes in, fields out; what it owns is the table's memory, which is taken with the first field that goes into it and is in
proportion to what is in it (hpack_free gives it back). What a peer can make it hold is bounded by `ceiling`.

    block    = *( size ) *( indexed | literal )                                       section 4.2, 6
    indexed  = 1xxxxxxx                     literal, kept  = 01xxxxxx [ name ] value
    size     = 001xxxxx                     literal        = 000Nxxxx [ name ] value  (N: never kept by anybody)
    name, value = Hxxxxxxx *OCTET           (H: Huffman's code)                       section 5.2
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from lb.fast.c.hpack cimport lb_static_fields, lb_static_name
from lb.fast.c.sys cimport free, likely, memcmp, memcpy, memmove, memset, realloc, unlikely
from lb.fast.message.h2.huffman cimport huffman_decode

cdef enum:
    HPACK_STATIC = 61
    HPACK_DEFAULT = 4096        # bytes of a table that nobody has said anything of (RFC 9113 section 6.5.2)
    HPACK_OVERHEAD = 32         # what an entry counts for beside its texts
    HPACK_ADDED = 24            # the most that hpack_write adds to the texts of a field

cdef enum HpackRead:            # what hpack_next says
    HPACK_BAD = -1              # no field block, or memory is out: the connection cannot go on
    HPACK_END = 0
    HPACK_FIELD = 1

cdef enum HpackHow:             # hpack_write
    HPACK_KEEP = 0              # may go into the table
    HPACK_ONCE = 1
    HPACK_NEVER = 2             # nobody on the way may keep it either

ctypedef struct HpackEntry:
    uint16_t at                 # of its name in `bytes`; the value follows
    uint16_t name_n
    uint16_t value_n
    uint16_t hash               # of both

ctypedef struct HpackTable:     # all zero but `most` and `ceiling` at the start: hpack_init
    char* bytes                 # texts, oldest first, one behind the other
    HpackEntry* entries         # a ring
    uint32_t room               # of bytes
    uint32_t end                # of the newest text
    uint32_t places             # of entries: a power of two
    uint32_t newest             # its place
    uint32_t n
    uint32_t size               # as the RFC counts
    uint32_t most               # bytes that the encoder uses
    uint32_t ceiling            # that the decoder allows
    uint8_t told                # an encoder: a smaller `most` must be said in the next block

ctypedef struct HpackField:     # texts that hold until the next call
    const char* name
    const char* value
    uint32_t name_n
    uint32_t value_n
    uint8_t cut                 # a text was longer than there was room: its end is not there
    uint8_t fielded             # state of a block: a field was there, so no size may come any more


cdef inline void hpack_init(HpackTable* t, uint32_t ceiling) noexcept nogil:
    memset(t, 0, sizeof(HpackTable))
    t.most = t.ceiling = ceiling


cdef inline void hpack_free(HpackTable* t) noexcept nogil:
    free(t.bytes)
    free(t.entries)
    t.bytes = NULL
    t.entries = NULL
    t.room = t.places = t.n = t.size = t.end = 0


cdef inline bint hpack_copy(HpackTable* t, const HpackTable* was) noexcept nogil:
    """One of its own, as `was` is now. False: memory is out, and there is none."""
    t[0] = was[0]
    t.bytes = <char*> realloc(NULL, was.room) if was.room else NULL
    t.entries = <HpackEntry*> realloc(NULL, was.places * sizeof(HpackEntry)) if was.places else NULL
    if (was.room and t.bytes == NULL) or (was.places and t.entries == NULL):
        hpack_free(t)
        return False
    if was.room:
        memcpy(t.bytes, was.bytes, was.room)
    if was.places:
        memcpy(t.entries, was.entries, was.places * sizeof(HpackEntry))
    return True


cdef inline HpackEntry* hpack_entry(HpackTable* t, uint32_t back) noexcept nogil:
    """`back` behind the newest."""
    return &t.entries[(t.newest - back) & (t.places - 1)]


cdef inline void hpack_shrink(HpackTable* t, uint32_t most) noexcept nogil:
    """The oldest go until the rest counts for no more than `most`."""
    cdef HpackEntry* e
    while t.size > most:
        e = hpack_entry(t, t.n - 1)
        t.size -= e.name_n + e.value_n + HPACK_OVERHEAD
        t.n -= 1


cdef inline void hpack_resize(HpackTable* t, uint32_t most) noexcept nogil:
    t.most = most
    hpack_shrink(t, most)


cdef inline bint hpack_room(HpackTable* t, uint32_t need) noexcept nogil:
    """Room behind the newest for a text of so many bytes, and a place for its entry. False: memory is out."""
    cdef uint32_t start, i, want = t.room
    cdef void* p
    if t.n == t.places and not hpack_places(t):
        return False
    if likely(t.room - t.end >= need):
        return True
    start = hpack_entry(t, t.n - 1).at if t.n else t.end
    if t.n and start:
        memmove(t.bytes, t.bytes + start, t.end - start)
        for i in range(t.n):
            hpack_entry(t, i).at -= <uint16_t> start
    t.end -= start
    if want < (t.end + need) * 3 // 2:      # room for as many again, so that texts move once or twice in their life
        want = ((t.end + need) * 3 // 2 + 63) & ~63u
    if want == t.room:
        return True
    p = realloc(t.bytes, want)
    if p == NULL:
        return t.room - t.end >= need
    t.bytes = <char*> p
    t.room = want
    return True


cdef inline bint hpack_places(HpackTable* t) noexcept nogil:
    """Twice as many, in the order of their age."""
    cdef uint32_t i, places = 2 * t.places if t.places else 8
    cdef HpackEntry* made = <HpackEntry*> realloc(NULL, places * sizeof(HpackEntry))
    if made == NULL:
        return False
    for i in range(t.n):
        made[i] = hpack_entry(t, t.n - 1 - i)[0]
    free(t.entries)
    t.entries = made
    t.places = places
    t.newest = (t.n - 1) & (places - 1)
    return True


cdef inline uint16_t hpack_hash(const char* name, uint32_t name_n, const char* value, uint32_t value_n) noexcept nogil:
    cdef uint32_t h = name_n * 31 + value_n
    if name_n:
        h = h * 31 + <uint8_t> name[0] + (<uint32_t> <uint8_t> name[name_n - 1] << 5)
    if value_n:
        h = h * 31 + <uint8_t> value[value_n - 1] + (<uint32_t> <uint8_t> value[value_n // 2] << 6)
    return <uint16_t> (h ^ h >> 16)


cdef inline bint hpack_insert(HpackTable* t, const char* name, uint32_t name_n, const char* value,
                              uint32_t value_n) noexcept nogil:
    """Section 4.4; the texts lie outside of the table, and are whole where they fit in it. False: memory is out."""
    cdef HpackEntry* e
    if <uint64_t> name_n + value_n + HPACK_OVERHEAD > t.most:
        hpack_shrink(t, 0)
        return True
    hpack_shrink(t, t.most - name_n - value_n - HPACK_OVERHEAD)
    if not hpack_room(t, name_n + value_n):
        return False
    t.newest = (t.newest + 1) & (t.places - 1)
    e = &t.entries[t.newest]
    e.at = <uint16_t> t.end
    e.name_n = <uint16_t> name_n
    e.value_n = <uint16_t> value_n
    e.hash = hpack_hash(name, name_n, value, value_n)
    memcpy(t.bytes + t.end, name, name_n)
    memcpy(t.bytes + t.end + name_n, value, value_n)
    t.end += name_n + value_n
    t.size += name_n + value_n + HPACK_OVERHEAD
    t.n += 1
    return True


# ---- in

cdef inline bint hpack_integer(const uint8_t* p, uint32_t n, uint32_t* at, int bits, uint32_t* to) noexcept nogil:
    """Section 5.1. False: cut short, or beyond 2^28."""
    cdef uint32_t mask = (1u << bits) - 1
    cdef uint64_t found
    cdef int shift = 0
    if at[0] >= n:
        return False
    found = p[at[0]] & mask
    at[0] += 1
    if found < mask:
        to[0] = <uint32_t> found
        return True
    while at[0] < n and shift <= 21:
        found += <uint64_t> (p[at[0]] & 127) << shift
        shift += 7
        at[0] += 1
        if not p[at[0] - 1] & 128:
            to[0] = <uint32_t> found
            return True
    return False


cdef inline bint hpack_text(const uint8_t* p, uint32_t n, uint32_t* at, char* room, uint32_t most, const char** text,
                            uint32_t* text_n) noexcept nogil:
    """Section 5.2: where it lies, in the block or decoded into `room`."""
    cdef uint32_t size = 0
    cdef bint coded = at[0] < n and p[at[0]] & 128
    if not hpack_integer(p, n, at, 7, &size) or size > n - at[0]:
        return False
    if coded:
        text[0] = room
        if not huffman_decode(p + at[0], size, room, most, text_n):
            return False
    else:
        text[0] = <const char*> p + at[0]
        text_n[0] = size
    at[0] += size
    return True


cdef inline bint hpack_indexed(HpackTable* t, uint32_t index, HpackField* f) noexcept nogil:
    cdef HpackEntry* e
    if index == 0 or index > HPACK_STATIC + t.n:
        return False
    if index <= HPACK_STATIC:
        f.name = lb_static_fields[index].name
        f.name_n = lb_static_fields[index].name_n
        f.value = lb_static_fields[index].value
        f.value_n = lb_static_fields[index].value_n
        return True
    e = hpack_entry(t, index - HPACK_STATIC - 1)
    f.name = t.bytes + e.at
    f.name_n = e.name_n
    f.value = t.bytes + e.at + e.name_n
    f.value_n = e.value_n
    return True


cdef inline int hpack_next(HpackTable* t, const uint8_t* p, uint32_t n, uint32_t* at, char* room, uint32_t most,
                           HpackField* f) noexcept nogil:
    """The next field of the block p[0:n] from `at` on, which goes on behind it. `room`: 2 x `most` bytes, `most` 4096 at least.

    `f` lives as long as the block, zeroed before it. -> HpackRead
    """
    cdef uint32_t index = 0
    while at[0] < n and p[at[0]] & 0xE0 == 0x20:            # the size of the table
        if f.fielded or not hpack_integer(p, n, at, 5, &index) or index > t.ceiling:
            return HPACK_BAD
        hpack_resize(t, index)
    if at[0] >= n:
        return HPACK_END
    f.fielded = 1
    f.cut = 0
    if p[at[0]] & 128:
        return HPACK_FIELD if hpack_integer(p, n, at, 7, &index) and hpack_indexed(t, index, f) else HPACK_BAD
    return HPACK_FIELD if hpack_literal(t, p, n, at, room, most, f) else HPACK_BAD


cdef inline bint hpack_literal(HpackTable* t, const uint8_t* p, uint32_t n, uint32_t* at, char* room, uint32_t most,
                               HpackField* f) noexcept nogil:
    """Section 6.2, from its first octet on."""
    cdef uint32_t index = 0
    cdef bint keep = p[at[0]] & 64
    if not hpack_integer(p, n, at, 6 if keep else 4, &index):
        return False
    if index:
        if not hpack_indexed(t, index, f):
            return False
        if index > HPACK_STATIC and keep:   # what goes in may push it out, or move it
            memcpy(room, f.name, f.name_n)
            f.name = room
    elif not hpack_text(p, n, at, room, most, &f.name, &f.name_n):
        return False
    if not hpack_text(p, n, at, room + most, most, &f.value, &f.value_n):
        return False
    f.cut = (f.name == room and f.name_n > most) or (f.value == room + most and f.value_n > most)
    return not keep or hpack_insert(t, f.name, f.name_n, f.value, f.value_n)


# ---- out

cdef inline char* hpack_put_integer(char* out, uint8_t first, int bits, uint32_t x) noexcept nogil:
    cdef uint32_t mask = (1u << bits) - 1
    if likely(x < mask):
        out[0] = <char> (first | x)
        return out + 1
    out[0] = <char> (first | mask)
    out += 1
    x -= mask
    while x >= 128:
        out[0] = <char> (x & 127 | 128)
        x >>= 7
        out += 1
    out[0] = <char> x
    return out + 1


cdef inline char* hpack_put_text(char* out, const char* p, uint32_t n) noexcept nogil:
    """As it is: Huffman's code would cost more time than its bytes."""
    out = hpack_put_integer(out, 0, 7, n)
    memcpy(out, p, n)
    return out + n


cdef inline char* hpack_write_size(HpackTable* t, char* out) noexcept nogil:
    """At the start of a block: the size, where the decoder does not know it. At most 6 bytes."""
    if likely(not t.told):
        return out
    t.told = 0
    return hpack_put_integer(out, 0x20, 5, t.most)


cdef inline uint32_t hpack_find(HpackTable* t, const char* name, uint32_t name_n, const char* value,
                                uint32_t value_n) noexcept nogil:
    """The index of a field in the dynamic table; 0: it is not there."""
    cdef uint32_t i
    cdef uint16_t hash = hpack_hash(name, name_n, value, value_n)
    cdef HpackEntry* e
    for i in range(t.n):
        e = hpack_entry(t, i)
        if (e.hash == hash and e.name_n == name_n and e.value_n == value_n
                and memcmp(t.bytes + e.at, name, name_n) == 0 and memcmp(t.bytes + e.at + name_n, value, value_n) == 0):
            return HPACK_STATIC + 1 + i
    return 0


cdef inline char* hpack_write(HpackTable* t, char* out, const char* name, uint32_t name_n, const char* value, uint32_t value_n,
                              int how) noexcept nogil:
    """A field whose name is in lower case, into name_n + value_n + HPACK_ADDED bytes at most. Where it ends."""
    cdef uint32_t index = lb_static_name(<const uint8_t*> name, name_n), found
    if how == HPACK_KEEP:
        found = hpack_find(t, name, name_n, value, value_n)
        if found:
            return hpack_put_integer(out, 0x80, 7, found)
        if name_n + value_n + HPACK_OVERHEAD > t.most or not hpack_insert(t, name, name_n, value, value_n):
            how = HPACK_ONCE
    if how == HPACK_KEEP:
        out = hpack_put_integer(out, 0x40, 6, index)
    else:
        out = hpack_put_integer(out, 0x10 if how == HPACK_NEVER else 0, 4, index)
    if index == 0:
        out = hpack_put_text(out, name, name_n)
    return hpack_put_text(out, value, value_n)
