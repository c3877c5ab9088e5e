"""Networks: which of a list holds an address. The list is walked in the order of the configuration, as nginx does.

An IPv6 address that stands for an IPv4 one (::ffff:1.2.3.4) is looked for among the IPv4 networks, if there are any.
"""

from libc.stdint cimport uint8_t, uint32_t
from lb.fast.types cimport Cidr, Cidrs
from lb.fast.c.sys cimport AF_INET, AF_INET6, AF_UNIX, memcmp, sockaddr, sockaddr_in, sockaddr_in6


cdef inline bint cidr_bits_same(const uint8_t* a, const uint8_t* b, uint32_t bits) noexcept nogil:
    """Are the first `bits` of both the same?"""
    cdef uint32_t whole = bits >> 3
    if memcmp(a, b, whole) != 0:
        return False
    return bits & 7 == 0 or (a[whole] ^ b[whole]) >> (8 - (bits & 7)) == 0


cdef inline Cidr* cidr_find(Cidrs* list, const char* sa, uint32_t n) noexcept nogil:
    """The first network that holds this sockaddr (n 0: of a unix socket), or NULL."""
    cdef uint32_t i
    cdef int family = (<sockaddr*> sa).sa_family if n else AF_UNIX
    cdef const uint8_t* at = NULL
    if family == AF_INET:
        at = <const uint8_t*> &(<sockaddr_in*> sa).sin_addr
    elif family == AF_INET6:
        at = <const uint8_t*> &(<sockaddr_in6*> sa).sin6_addr
        if list.v4 and memcmp(at, b"\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0:
            at += 12
            family = AF_INET
    for i in range(list.n):
        if list.at[i].family == family and (at == NULL or cidr_bits_same(at, list.at[i].net, list.at[i].bits)):
            return &list.at[i]
    return NULL
