"""The host and port of a request: is this text an authority that lb serves?

Owns nothing; message/h1/head.pxd calls it for the target in absolute form, message/h1/framing.pxd for the Host field.

    authority  = uri-host [ ":" [ port ] ]                RFC 9110 4.2.1, 7.2; no userinfo
    uri-host   = "[" IPv6address "]" / label *( "." label ) [ "." ]
    label      = 1*unreserved                             RFC 3986 3.2.2 without pct-encoded and sub-delims:
    port       = 1 to 5 digits, 1 to 65535                no DNS name needs them, and proxies disagree about them
"""

from libc.stdint cimport uint8_t, uint32_t
from lb.fast.c.simd cimport LB_HOST, LB_NAME, lb_class, lb_scan_class
from lb.fast.c.sys cimport memchr, memcpy

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* out) noexcept
    enum:
        AF_INET6


cdef inline bint host_authority(const uint8_t* s, uint32_t n, uint32_t* host_len, uint32_t* whole) noexcept nogil:
    """Sets the lengths of the host (without a final dot) and of the host with its port (without an empty one)."""
    cdef uint32_t host = host_ipv6_len(s, n) if n > 0 and s[0] == c"[" else host_name_len(s, n)
    if host == 0:
        return False
    whole[0] = n
    host_len[0] = host - 1 if s[host - 1] == c"." else host
    if host == n:
        return True
    if host + 1 == n:
        whole[0] = host
    return s[host] == c":" and host_port_ok(s + host + 1, n - host - 1)


cdef inline uint32_t host_name_len(const uint8_t* s, uint32_t n) noexcept nogil:
    """The length of the name or IPv4 address at s; 0: none, or a label of it is empty."""
    cdef const uint8_t* end = s + n
    cdef const uint8_t* at = s
    cdef const uint8_t* label = s
    while True:
        at = lb_scan_class(at, end, LB_NAME)
        if at == end or not lb_class[at[0]] & LB_HOST:
            return <uint32_t> (at - s)
        if at[0] == c".":
            if at == label:
                return 0
            label = at + 1
        at += 1


cdef inline uint32_t host_ipv6_len(const uint8_t* s, uint32_t n) noexcept nogil:
    """The length of the "[address]" at s; 0: none."""
    cdef char text[46]      # INET6_ADDRSTRLEN
    cdef uint8_t binary[16]
    cdef const uint8_t* close = <const uint8_t*> memchr(s, c"]", n)
    cdef size_t size
    if close == NULL or close - s > 46:
        return 0
    size = close - s - 1
    memcpy(text, s + 1, size)
    text[size] = 0
    return <uint32_t> size + 2 if inet_pton(AF_INET6, text, binary) == 1 else 0


cdef inline bint host_port_ok(const uint8_t* s, uint32_t n) noexcept nogil:
    cdef uint32_t i, port = 0
    if n > 5:
        return False
    for i in range(n):
        if s[i] < c"0" or s[i] > c"9":
            return False
        port = port * 10 + s[i] - c"0"
    return n == 0 or 0 < port < 65536
