"""HPACK (RFC 7541), as much of it as a check of gRPC asks: the numbers in `:status` and `grpc-status` of field blocks.

All of a block is decoded, Huffman's code and the dynamic table too, since each field stands on those before it; of other fields
no more is kept than their size. Pure, and bounded: 128 fields in the table, which is 4096 bytes at 32 and more each.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from lb.fast.c.sys cimport memcmp

cdef enum:
    HPACK_TABLE = 4096          # bytes of the dynamic table: the default of RFC 9113, which a check does not change
    HPACK_PLACES = HPACK_TABLE // 32
    HPACK_STATIC = 61
    HPACK_KEEP = 16             # bytes of a text that are looked at

cdef enum HpackName:
    HPACK_OTHER = 0
    HPACK_STATUS = 1            # `:status`
    HPACK_GRPC = 2              # `grpc-status`

ctypedef struct HpackField:     # one of the dynamic table
    uint32_t size               # its name, its value and 32
    uint32_t name_len
    uint8_t name                # HpackName
    int32_t value               # as a number; -1: it is none

ctypedef struct HpackKept:          # all zero at the start
    HpackField fields[128]      # a ring; the newest is at `newest`
    uint32_t newest
    uint32_t n
    uint32_t size
    uint32_t most               # that the peer's encoder has said it uses; `sized`: it has
    uint8_t sized
    int32_t status              # what was found; -1: nothing
    int32_t grpc

ctypedef struct HpackText:      # a string, decoded
    char p[16]                  # its beginning
    uint32_t n                  # its whole length


cdef inline uint32_t grpc_hpack_static_name(uint32_t index) noexcept nogil:
    """Bytes of the name of a field of the static table."""
    cdef const char* sizes = (
        b"\x0a\x07\x07\x05\x05\x07\x07\x07\x07\x07\x07\x07\x07\x07\x0e\x0f\x0f\x0d\x06\x1b\x03\x05\x0d\x0d\x13"
        b"\x10\x10\x0e\x10\x0d\x0c\x06\x04\x04\x06\x07\x04\x04\x08\x11\x0d\x08\x13\x0d\x04\x08\x0c\x12\x13\x05"
        b"\x07\x07\x0b\x06\x0a\x19\x11\x0a\x04\x03\x10")
    return <uint8_t> sizes[index - 1]


cdef inline int32_t grpc_hpack_static_status(uint32_t index) noexcept nogil:
    """Of `:status`, which has seven places; -1: another field."""
    cdef const char* codes = b"200204206304400404500"
    return grpc_hpack_number(codes + 3 * (index - 8), 3) if 8 <= index <= 14 else -1


cdef inline int32_t grpc_hpack_number(const char* p, uint32_t n) noexcept nogil:
    """Of one to five digits; -1: it is none."""
    cdef int32_t found = 0
    cdef uint32_t i
    if n == 0 or n > 5:
        return -1
    for i in range(n):
        if not 48 <= p[i] <= 57:
            return -1
        found = found * 10 + (p[i] - 48)
    return found


cdef inline bint grpc_hpack_integer(const uint8_t* p, uint32_t n, uint32_t* at, int bits, uint32_t* to) noexcept nogil:
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


cdef inline void grpc_hpack_text_add(HpackText* t, char c) noexcept nogil:
    if t.n < HPACK_KEEP:
        t.p[t.n] = c
    t.n += 1


cdef inline bint grpc_hpack_huffman(const uint8_t* p, uint32_t n, HpackText* t) noexcept nogil:
    """Appendix B, whose code is canonical: how many codes have each length, and the symbols in their order. False: no code."""
    cdef const char* counts = (
        b"\x00\x00\x00\x00\x00\x0a\x1a\x20\x06\x00\x05\x03\x02\x06\x02\x03\x00\x00\x00\x03\x08\x0d\x1a\x1d\x0c"
        b"\x04\x0f\x13\x1d\x00\x04")
    cdef const char* symbols = (
        b"\x30\x31\x32\x61\x63\x65\x69\x6f\x73\x74\x20\x25\x2d\x2e\x2f\x33\x34\x35\x36\x37\x38\x39\x3d\x41\x5f"
        b"\x62\x64\x66\x67\x68\x6c\x6d\x6e\x70\x72\x75\x3a\x42\x43\x44\x45\x46\x47\x48\x49\x4a\x4b\x4c\x4d\x4e"
        b"\x4f\x50\x51\x52\x53\x54\x55\x56\x57\x59\x6a\x6b\x71\x76\x77\x78\x79\x7a\x26\x2a\x2c\x3b\x58\x5a\x21"
        b"\x22\x28\x29\x3f\x27\x2b\x7c\x23\x3e\x00\x24\x40\x5b\x5d\x7e\x5e\x7d\x3c\x60\x7b\x5c\xc3\xd0\x80\x82"
        b"\x83\xa2\xb8\xc2\xe0\xe2\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6\x81\x84\x85\x86\x88\x92"
        b"\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9\x01\x87\x89\x8a\x8b"
        b"\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\xbf\xc5\xe7\xef\x09"
        b"\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed\xc7\xcf\xea\xeb\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb"
        b"\xee\xf0\xf2\xf3\xff\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe\x02"
        b"\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f"
        b"\x7f\xdc\xf9\x0a\x0d\x16")
    cdef uint32_t code = 0, first = 0, place = 0, i
    cdef int size = 0, bit
    cdef bint ones = True
    for i in range(n):
        for bit in range(7, -1, -1):
            code = code << 1 | (p[i] >> bit & 1)
            ones = ones and p[i] >> bit & 1
            size += 1
            if size > 30:
                return False
            first <<= 1
            if code - first < <uint32_t> counts[size]:
                place += code - first
                if place > 255:                 # the code that means the end: it may not stand here
                    return False
                grpc_hpack_text_add(t, symbols[place])
                code = first = place = 0
                size = 0
                ones = True
            else:
                first += <uint32_t> counts[size]
                place += <uint32_t> counts[size]
    return size < 8 and ones                    # padding: the beginning of that code


cdef inline bint grpc_hpack_text(const uint8_t* p, uint32_t n, uint32_t* at, HpackText* t) noexcept nogil:
    """Section 5.2."""
    cdef uint32_t size = 0, i
    cdef bint coded = at[0] < n and p[at[0]] & 128
    t.n = 0
    if not grpc_hpack_integer(p, n, at, 7, &size) or size > n - at[0]:
        return False
    if coded:
        if not grpc_hpack_huffman(p + at[0], size, t):
            return False
    else:
        for i in range(size):
            grpc_hpack_text_add(t, <char> p[at[0] + i])
    at[0] += size
    return True


cdef inline HpackField* grpc_hpack_dynamic(HpackKept* h, uint32_t index) noexcept nogil:
    """Of the table of both, from 62; NULL: there is none."""
    cdef uint32_t back = index - HPACK_STATIC - 1
    if index <= HPACK_STATIC or back >= h.n:
        return NULL
    return &h.fields[(h.newest + HPACK_PLACES - back) % HPACK_PLACES]


cdef inline void grpc_hpack_shrink(HpackKept* h, uint32_t most) noexcept nogil:
    """The oldest go, until the rest is of `most` bytes."""
    while h.n and h.size > most:
        h.size -= h.fields[(h.newest + HPACK_PLACES - (h.n - 1)) % HPACK_PLACES].size
        h.n -= 1


cdef inline void grpc_hpack_insert(HpackKept* h, uint8_t name, uint32_t name_len, uint32_t value_len, int32_t value) noexcept nogil:
    cdef uint32_t most = h.most if h.sized else <uint32_t> HPACK_TABLE
    cdef uint32_t size
    cdef HpackField* f
    if name_len > HPACK_TABLE or value_len > HPACK_TABLE or name_len + value_len + 32 > most:
        grpc_hpack_shrink(h, 0)
        return
    size = name_len + value_len + 32
    grpc_hpack_shrink(h, most - size)
    h.newest = (h.newest + 1) % HPACK_PLACES
    f = &h.fields[h.newest]
    f.size = size
    f.name = name
    f.name_len = name_len
    f.value = value
    h.n += 1
    h.size += size


cdef inline void grpc_hpack_found(HpackKept* h, uint8_t name, int32_t value) noexcept nogil:
    if name == HPACK_STATUS:
        h.status = value
    elif name == HPACK_GRPC:
        h.grpc = value


cdef inline bint grpc_hpack_indexed(HpackKept* h, uint32_t index) noexcept nogil:
    cdef HpackField* f
    if 1 <= index <= HPACK_STATIC:
        if grpc_hpack_static_status(index) >= 0:
            h.status = grpc_hpack_static_status(index)
        return True
    f = grpc_hpack_dynamic(h, index)
    if f == NULL:
        return False
    grpc_hpack_found(h, f.name, f.value)
    return True


cdef inline bint grpc_hpack_literal(HpackKept* h, const uint8_t* p, uint32_t n, uint32_t* at, int bits, bint keep) noexcept nogil:
    """Section 6.2, from the octet with the index of the name."""
    cdef HpackText t
    cdef HpackField* f
    cdef uint32_t index = 0, name_len
    cdef uint8_t name = HPACK_OTHER
    cdef int32_t value
    if not grpc_hpack_integer(p, n, at, bits, &index):
        return False
    if index == 0:
        if not grpc_hpack_text(p, n, at, &t):
            return False
        name_len = t.n
        if t.n == 7 and memcmp(t.p, b":status", 7) == 0:
            name = HPACK_STATUS
        elif t.n == 11 and memcmp(t.p, b"grpc-status", 11) == 0:
            name = HPACK_GRPC
    elif index <= HPACK_STATIC:
        name_len = grpc_hpack_static_name(index)
        name = HPACK_STATUS if 8 <= index <= 14 else HPACK_OTHER
    else:
        f = grpc_hpack_dynamic(h, index)
        if f == NULL:
            return False
        name = f.name
        name_len = f.name_len
    if not grpc_hpack_text(p, n, at, &t):
        return False
    value = grpc_hpack_number(t.p, t.n)
    grpc_hpack_found(h, name, value)
    if keep:
        grpc_hpack_insert(h, name, name_len, t.n, value)
    return True


cdef inline bint grpc_hpack_block(HpackKept* h, const uint8_t* p, uint32_t n) noexcept nogil:
    """A whole field block: `status` and `grpc` are what it says, -1 what it does not. False: it is none."""
    cdef uint32_t at = 0, index = 0
    h.status = h.grpc = -1
    while at < n:
        if p[at] & 128:
            if not grpc_hpack_integer(p, n, &at, 7, &index) or not grpc_hpack_indexed(h, index):
                return False
        elif p[at] & 64:
            if not grpc_hpack_literal(h, p, n, &at, 6, True):
                return False
        elif p[at] & 32:
            if not grpc_hpack_integer(p, n, &at, 5, &index) or index > HPACK_TABLE:
                return False
            h.most = index
            h.sized = 1
            grpc_hpack_shrink(h, index)
        elif not grpc_hpack_literal(h, p, n, &at, 4, False):
            return False
    return True
