"""The text of a sockaddr: its address, its port."""

from libc.stdint cimport uint32_t
from lb.fast.types cimport Out
from lb.fast.io.writer cimport out_put, out_text, out_uint
from lb.fast.c.sys cimport AF_INET, AF_INET6, AF_UNIX, inet_ntop, ntohs, sockaddr, sockaddr_in, sockaddr_in6


cdef inline void sockaddr_write(Out* o, const char* sa, uint32_t n) noexcept nogil:
    """The address of a sockaddr without its port; `unix:` for a unix socket."""
    cdef char text[64]
    cdef const void* at
    if n == 0 or (<sockaddr*> sa).sa_family == AF_UNIX:
        out_put(o, b"unix:", 5)
        return
    if (<sockaddr*> sa).sa_family == AF_INET:
        at = &(<sockaddr_in*> sa).sin_addr
    else:
        at = &(<sockaddr_in6*> sa).sin6_addr
    if inet_ntop((<sockaddr*> sa).sa_family, at, text, sizeof(text)) != NULL:
        out_text(o, text)


cdef inline uint32_t sockaddr_port(const char* sa, uint32_t n) noexcept nogil:
    if n and (<sockaddr*> sa).sa_family in (AF_INET, AF_INET6):
        return ntohs((<sockaddr_in*> sa).sin_port)      # the port is at the same place in both
    return 0


cdef inline void sockaddr_write_port(Out* o, const char* sa, uint32_t n) noexcept nogil:
    """Nothing for a unix socket, and for an address that came without a port (realip)."""
    if sockaddr_port(sa, n):
        out_uint(o, sockaddr_port(sa, n))
