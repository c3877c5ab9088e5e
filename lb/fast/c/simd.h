/* Byte classes of HTTP and the scans over them: which bytes may stand where, and the first one that may not.
 *
 * Owns nothing. The classes are one table, computed by the compiler from the grammar (RFC 9110, 9112, 3986) below. The
 * scans handle 16 bytes a step with SSE2, which every x86-64 has; `_plain` is the same by the table, for other
 * machines and for the test that compares the two.
 *
 * Contract of every scan: it looks at [s, end) only, but may load the 16 bytes that end at `end` (the target's: 17), so
 * those must belong to the buffer. A full step loads at s; the last one loads at end - 16 and drops the low bits.
 */
#ifndef LB_SIMD_H
#define LB_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* gcc must be told: it would rather keep one copy of these than fold their constants. */
#define LB_INLINE static inline __attribute__((always_inline))

enum {
    LB_TCHAR = 1,    /* RFC 9110 5.6.2: tchar */
    LB_TARGET = 2,   /* what browsers send in a target: all but control bytes, SP, DEL, "#"; "%" is the caller's to judge */
    LB_VALUE = 4,    /* RFC 9110 5.5: field-vchar (obs-text with it), SP, HTAB; RFC 9112 4: the reason phrase */
    LB_NAME = 8,     /* the tchars that names are made of: letters, digits, "-" */
    LB_HOST = 16,    /* RFC 3986 unreserved: what is left of reg-name without pct-encoded and sub-delims */
    LB_QDTEXT = 32,  /* RFC 9110 5.6.4: qdtext */
    LB_ESCAPE = 64,  /* nginx escapes these in a path that it writes */
    LB_HEX = 128,    /* RFC 5234: HEXDIG, of either case */
};

#define LB_IS_DIGIT(c) ((c) >= '0' && (c) <= '9')
#define LB_IS_ALPHA(c) (((c) | 32) >= 'a' && ((c) | 32) <= 'z')
#define LB_IS_ALNUM(c) (LB_IS_DIGIT(c) || LB_IS_ALPHA(c))
#define LB_IS_HEX(c) (LB_IS_DIGIT(c) || (((c) | 32) >= 'a' && ((c) | 32) <= 'f'))
#define LB_IS_UNRESERVED(c) (LB_IS_ALNUM(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~')
#define LB_IS_TCHAR(c)                                                                                            \
    (LB_IS_ALNUM(c) || (c) == '!' || ((c) >= '#' && (c) <= '\'') || (c) == '*' || (c) == '+' || (c) == '-' ||     \
     (c) == '.' || ((c) >= '^' && (c) <= '`') || (c) == '|' || (c) == '~')
#define LB_IS_TARGET(c) ((c) > ' ' && (c) != 127 && (c) != '#' && (c) != '%')
#define LB_IS_VALUE(c) ((c) == '\t' || ((c) >= ' ' && (c) != 127))
#define LB_IS_QDTEXT(c) (LB_IS_VALUE(c) && (c) != '"' && (c) != '\\')
#define LB_IS_ESCAPE(c)                                                                                           \
    ((c) <= ' ' || (c) >= 127 || (c) == '"' || (c) == '#' || (c) == '%' || (c) == '<' || (c) == '>' ||            \
     (c) == '?' || (c) == '\\' || (c) == '^' || (c) == '`' || ((c) >= '{' && (c) <= '}'))

#define LB_CLASS(c)                                                                                               \
    ((LB_IS_TCHAR(c) ? LB_TCHAR : 0) | (LB_IS_TARGET(c) ? LB_TARGET : 0) | (LB_IS_VALUE(c) ? LB_VALUE : 0) |      \
     ((LB_IS_ALNUM(c) || (c) == '-') ? LB_NAME : 0) | (LB_IS_UNRESERVED(c) ? LB_HOST : 0) |                       \
     (LB_IS_QDTEXT(c) ? LB_QDTEXT : 0) | (LB_IS_ESCAPE(c) ? LB_ESCAPE : 0) | (LB_IS_HEX(c) ? LB_HEX : 0))
#define LB_CLASS4(c) LB_CLASS(c), LB_CLASS((c) + 1), LB_CLASS((c) + 2), LB_CLASS((c) + 3)
#define LB_CLASS16(c) LB_CLASS4(c), LB_CLASS4((c) + 4), LB_CLASS4((c) + 8), LB_CLASS4((c) + 12)
#define LB_CLASS64(c) LB_CLASS16(c), LB_CLASS16((c) + 16), LB_CLASS16((c) + 32), LB_CLASS16((c) + 48)

static const uint8_t lb_class[256] = {LB_CLASS64(0), LB_CLASS64(64), LB_CLASS64(128), LB_CLASS64(192)};

/* The value of a byte of class LB_HEX. */
static inline uint8_t lb_hex(uint8_t c)
{
    return (uint8_t)((c & 15) + (c >> 6) * 9);
}

/* Are the n bytes at s this text, letters of either case? `lower` is in lower case and made of letters, digits, "-", "/"
 * and ":"; s is visible ASCII (setting bit 5 makes such a byte of no other visible one). With a constant n this compiles
 * to at most n / 8 + 1 words compared: the last one overlaps the one before. */
LB_INLINE int lb_is(const uint8_t *s, const char *lower, size_t n)
{
    const uint64_t to_lower = 0x2020202020202020u;
    uint64_t a, b, differ = 0;
    uint32_t c, d;
    size_t i;

    if (n >= 8) {
        for (i = 0; i < n; i += 8) {
            size_t at = i + 8 <= n ? i : n - 8;
            memcpy(&a, s + at, 8);
            memcpy(&b, lower + at, 8);
            differ |= (a | to_lower) ^ b;
        }
    } else if (n >= 4) {
        for (i = 0; i < n; i += 4) {
            size_t at = i + 4 <= n ? i : n - 4;
            memcpy(&c, s + at, 4);
            memcpy(&d, lower + at, 4);
            differ |= (c | (uint32_t)to_lower) ^ d;
        }
    } else {
        for (i = 0; i < n; i++)
            differ |= (uint64_t)((s[i] | 0x20) ^ (uint8_t)lower[i]);
    }
    return differ == 0;
}

/* Are the n bytes at s exactly this text? */
LB_INLINE int lb_same(const uint8_t *s, const char *text, size_t n)
{
    return memcmp(s, text, n) == 0;
}

LB_INLINE const uint8_t *lb_scan_class(const uint8_t *s, const uint8_t *end, uint8_t cls)
{
    while (s < end && (lb_class[*s] & cls))
        s++;
    return s;
}

/* The first byte of [s, end) that may not stand in a field value; `end` if there is none. */
static inline const uint8_t *lb_scan_value_plain(const uint8_t *s, const uint8_t *end)
{
    return lb_scan_class(s, end, LB_VALUE);
}

/* The first byte of [s, end) that is no letter, digit or "-"; `end` if there is none. */
static inline const uint8_t *lb_scan_name_plain(const uint8_t *s, const uint8_t *end)
{
    return lb_scan_class(s, end, LB_NAME);
}

/* Stops at a byte of [s, end) that is "?", "%" or may not stand in a target, and now and then at another one: the
 * caller looks at it and goes on behind it. Sets *dots where it passed "//" or "/." (the first byte of the pair may be
 * s[-1], which must be readable). */
static inline const uint8_t *lb_scan_target_plain(const uint8_t *s, const uint8_t *end, uint32_t *dots)
{
    for (; s < end && (lb_class[*s] & LB_TARGET) && *s != '?'; s++)
        *dots |= s[-1] == '/' && (*s == '/' || *s == '.');
    return s;
}

#if defined(__SSE2__) && !defined(LB_NO_SIMD)
#include <emmintrin.h>

/* Bytes in [lo, lo + n): one addition turns the range into the lowest signed values. */
LB_INLINE __m128i lb_range(__m128i b, int lo, int n)
{
    return _mm_cmplt_epi8(_mm_add_epi8(b, _mm_set1_epi8((char)(128 - lo))), _mm_set1_epi8((char)(n - 128)));
}

LB_INLINE __m128i lb_eq(__m128i b, int c)
{
    return _mm_cmpeq_epi8(b, _mm_set1_epi8((char)c));
}

LB_INLINE __m128i lb_load(const uint8_t *s)
{
    return _mm_loadu_si128((const __m128i *)s);
}

LB_INLINE uint32_t lb_bits(__m128i b)
{
    return (uint32_t)_mm_movemask_epi8(b);
}

/* How far the step at s must load before s, so as not to pass end. */
LB_INLINE size_t lb_back(const uint8_t *s, const uint8_t *end)
{
    size_t left = (size_t)(end - s);
    return left < 16 ? 16 - left : 0;
}

LB_INLINE const uint8_t *lb_scan_value(const uint8_t *s, const uint8_t *end)
{
    for (;;) {
        size_t back = lb_back(s, end);
        __m128i b = lb_load(s - back);
        __m128i control = _mm_andnot_si128(lb_eq(b, '\t'), lb_range(b, 0, 32));
        uint32_t stops = lb_bits(_mm_or_si128(control, lb_eq(b, 127))) >> back;
        if (stops)
            return s + __builtin_ctz(stops);
        if (end - s <= 16)
            return end;
        s += 16;
    }
}

LB_INLINE const uint8_t *lb_scan_name(const uint8_t *s, const uint8_t *end)
{
    for (;;) {
        size_t back = lb_back(s, end);
        __m128i b = lb_load(s - back);
        __m128i alpha = lb_range(_mm_or_si128(b, _mm_set1_epi8(32)), 'a', 26);
        __m128i rest = _mm_or_si128(lb_range(b, '0', 10), lb_eq(b, '-'));
        uint32_t stops = (lb_bits(_mm_or_si128(alpha, rest)) ^ 0xffff) >> back;
        if (stops)
            return s + __builtin_ctz(stops);
        if (end - s <= 16)
            return end;
        s += 16;
    }
}

/* Passes "&" to ";", "=", "@" to "[", "_" and small letters; the rarer bytes are left to the caller. */
LB_INLINE const uint8_t *lb_scan_target(const uint8_t *s, const uint8_t *end, uint32_t *dots)
{
    for (;;) {
        size_t back = lb_back(s, end);
        __m128i b = lb_load(s - back);
        __m128i before = lb_load(s - back - 1);
        __m128i most = _mm_or_si128(lb_range(b, '&', ';' - '&' + 1), lb_range(b, '@', '[' - '@' + 1));
        __m128i rest = _mm_or_si128(_mm_or_si128(lb_eq(b, '='), lb_eq(b, '_')), lb_range(b, 'a', 26));
        uint32_t stops = (lb_bits(_mm_or_si128(most, rest)) ^ 0xffff) >> back;
        __m128i pair = _mm_and_si128(lb_eq(before, '/'), _mm_or_si128(lb_eq(b, '/'), lb_eq(b, '.')));
        uint32_t pairs = lb_bits(pair) >> back;
        if (stops) {
            *dots |= pairs & ((stops & (0u - stops)) - 1); /* those below the first stop */
            return s + __builtin_ctz(stops);
        }
        *dots |= pairs;
        if (end - s <= 16)
            return end;
        s += 16;
    }
}

#else

#define lb_scan_value lb_scan_value_plain
#define lb_scan_name lb_scan_name_plain
#define lb_scan_target lb_scan_target_plain

#endif
#endif
