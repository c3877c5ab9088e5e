"""Declarations of c/hpack.h: the tables of RFC 7541, appendices A and B."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef extern from "hpack.h" nogil:
    ctypedef struct lb_static_field:
        const char* name
        const char* value
        uint8_t name_n
        uint8_t value_n
    const lb_static_field* lb_static_fields
    const uint32_t* lb_huff_code
    const uint8_t* lb_huff_bits
    const uint16_t* lb_huff_short
    const uint32_t* lb_huff_limit
    const uint32_t* lb_huff_first
    const uint16_t* lb_huff_at
    const uint8_t* lb_huff_symbol
    uint32_t lb_static_name(const uint8_t* s, uint32_t n) noexcept
