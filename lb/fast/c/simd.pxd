"""Declarations of c/simd.h: byte classes of HTTP and the scans over them. The rules are beside the code there."""

from libc.stdint cimport uint8_t, uint32_t

cdef extern from "simd.h" nogil:
    enum:
        LB_TCHAR
        LB_TARGET
        LB_VALUE
        LB_NAME
        LB_HOST
        LB_QDTEXT
        LB_ESCAPE
        LB_HEX
    const uint8_t* lb_class
    uint8_t lb_hex(uint8_t c) noexcept
    bint lb_is(const uint8_t* s, const char* lower, size_t n) noexcept
    bint lb_same(const uint8_t* s, const char* text, size_t n) noexcept
    const uint8_t* lb_scan_class(const uint8_t* s, const uint8_t* end, uint8_t cls) noexcept
    const uint8_t* lb_scan_value(const uint8_t* s, const uint8_t* end) noexcept
    const uint8_t* lb_scan_name(const uint8_t* s, const uint8_t* end) noexcept
    const uint8_t* lb_scan_target(const uint8_t* s, const uint8_t* end, uint32_t* dots) noexcept
    const uint8_t* lb_scan_value_plain(const uint8_t* s, const uint8_t* end) noexcept
    const uint8_t* lb_scan_name_plain(const uint8_t* s, const uint8_t* end) noexcept
    const uint8_t* lb_scan_target_plain(const uint8_t* s, const uint8_t* end, uint32_t* dots) noexcept
