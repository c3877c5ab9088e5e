"""Huffman's code of HPACK (RFC 7541 section 5.2, appendix B): texts to codes and back.

Pure and bounded. The tables are in c/hpack.h: one look for codes of up to 8 bits, which are all of digits and most letters; the
longer ones are found by their length, since the code is canonical.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from lb.fast.c.hpack cimport lb_huff_at, lb_huff_bits, lb_huff_code, lb_huff_first, lb_huff_limit, lb_huff_short, lb_huff_symbol
from lb.fast.c.sys cimport unlikely

cdef enum:
    HUFFMAN_MOST = 30           # bits of a code


cdef inline bint huffman_decode(const uint8_t* p, uint32_t n, char* out, uint32_t most, uint32_t* made) noexcept nogil:
    """`made`: bytes of the text, of which the first `most` are written. False: no code, or its padding is none."""
    cdef uint64_t window = 0
    cdef uint32_t bits = 0, count = 0, w, size
    cdef uint16_t short_
    cdef uint8_t symbol
    cdef const uint8_t* end = p + n
    while True:
        while bits <= 56 and p < end:
            window = window << 8 | p[0]
            bits += 8
            p += 1
        if bits < 5:                        # the shortest code
            break
        w = <uint32_t> (window << (32 - bits)) if bits <= 32 else <uint32_t> (window >> (bits - 32))
        if bits < 32:                       # what is not there any more reads as padding
            w |= 0xFFFFFFFFu >> bits
        short_ = lb_huff_short[w >> 24]
        if short_:
            size = short_ >> 8
            symbol = <uint8_t> short_
        else:
            size = 9
            while size <= HUFFMAN_MOST and w >= lb_huff_limit[size]:
                size += 1
            if size > HUFFMAN_MOST:         # the end's code, or the beginning of it: padding
                break
            symbol = lb_huff_symbol[lb_huff_at[size] + ((w >> (32 - size)) - lb_huff_first[size])]
        if size > bits:
            break
        bits -= size
        if count < most:
            out[count] = <char> symbol
        count += 1
    made[0] = count
    return bits < 8 and p == end and (window & ((1u << bits) - 1)) == (1u << bits) - 1


cdef inline uint32_t huffman_size(const uint8_t* p, uint32_t n) noexcept nogil:
    """Bytes of its code."""
    cdef uint64_t bits = 0
    cdef uint32_t i
    for i in range(n):
        bits += lb_huff_bits[p[i]]
    return <uint32_t> ((bits + 7) >> 3)


cdef inline void huffman_encode(const uint8_t* p, uint32_t n, uint8_t* out) noexcept nogil:
    """Into huffman_size(p, n) bytes."""
    cdef uint64_t window = 0
    cdef uint32_t bits = 0, i
    for i in range(n):
        window = window << lb_huff_bits[p[i]] | lb_huff_code[p[i]]
        bits += lb_huff_bits[p[i]]
        while bits >= 8:
            bits -= 8
            out[0] = <uint8_t> (window >> bits)
            out += 1
    if bits:
        out[0] = <uint8_t> (window << (8 - bits) | 0xFFu >> bits)
