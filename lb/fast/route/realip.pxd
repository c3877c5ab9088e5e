"""The address of a client as a field tells it (X-Forwarded-For: a, b, c), believed as far as proxies that are trusted wrote it.

The last address of the last field is the client that spoke to the nearest proxy. With `recursive` it goes on to the left as long
as the address found is itself a trusted proxy's (ngx_http_get_forwarded_addr).
"""

from libc.stdint cimport uint16_t, uint32_t
from lb.fast.route.cidr cimport cidr_find
from lb.fast.types cimport Cidrs
from lb.fast.c.sys cimport (AF_INET, AF_INET6, htons, inet_pton, memchr, memcpy, memset, sockaddr_in, sockaddr_in6)


cdef inline uint32_t realip_address_of(const char* p, uint32_t n, char* sa) noexcept nogil:
    """The sockaddr of ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT, and its length; 0: it is none. `sa` has 28 bytes."""
    cdef uint32_t port = 0, i
    cdef uint32_t len = realip_plain_address(p, n, sa)
    if len:
        return len
    i = n
    while i and c"0" <= p[i - 1] <= c"9":
        i -= 1
    if i < 2 or i == n or n - i > 5 or p[i - 1] != c":":
        return 0
    len = i - 1
    while i < n:
        port = port * 10 + <uint32_t> (p[i] - 48)
        i += 1
    return realip_with_port(p, len, port, sa)


cdef inline uint32_t realip_with_port(const char* p, uint32_t n, uint32_t port, char* sa) noexcept nogil:
    """p[0:n]: 1.2.3.4, or an IPv6 address in brackets."""
    cdef uint32_t len
    if port == 0 or port > 65535:
        return 0
    if p[0] == c"[":
        len = realip_plain_address(p + 1, n - 2, sa) if n > 2 and p[n - 1] == c"]" else 0
    else:
        len = realip_plain_address(p, n, sa) if memchr(p, c":", n) == NULL else 0
    if len:
        (<sockaddr_in*> sa).sin_port = htons(<uint16_t> port)       # the port is at the same place in both
    return len


cdef inline uint32_t realip_plain_address(const char* p, uint32_t n, char* sa) noexcept nogil:
    cdef char text[48]
    if n == 0 or n >= sizeof(text) or memchr(p, 0, n) != NULL:
        return 0
    memcpy(text, p, n)
    text[n] = 0
    memset(sa, 0, sizeof(sockaddr_in6))
    if memchr(p, c":", n) == NULL:
        (<sockaddr_in*> sa).sin_family = AF_INET
        return sizeof(sockaddr_in) if inet_pton(AF_INET, text, &(<sockaddr_in*> sa).sin_addr) == 1 else 0
    (<sockaddr_in6*> sa).sin6_family = AF_INET6
    return sizeof(sockaddr_in6) if inet_pton(AF_INET6, text, &(<sockaddr_in6*> sa).sin6_addr) == 1 else 0


cdef inline bint realip_parse(const char* p, uint32_t n, Cidrs* proxies, bint recursive, char* sa, uint32_t* len) noexcept nogil:
    """Take addresses from the end of p[0:n] while the one at hand (sa, *len) is a trusted proxy's. True: all were taken."""
    cdef char found[28]
    cdef uint32_t start, got
    while n:
        while n and (p[n - 1] == 32 or p[n - 1] == 44):
            n -= 1
        start = n
        while start and p[start - 1] != 32 and p[start - 1] != 44:
            start -= 1
        if cidr_find(proxies, sa, len[0]) == NULL:
            return False
        got = realip_address_of(p + start, n - start, found)
        if got == 0:
            return False
        memcpy(sa, found, got)
        len[0] = got
        if not recursive:
            return False
        n = start
    return True
