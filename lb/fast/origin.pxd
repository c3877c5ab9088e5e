"""Variables about where a client comes from: what a PROXY header said, and the address that realip has replaced."""

from libc.stdint cimport uint32_t
from lb.fast.buf cimport buf_data
from lb.fast.types cimport Conn, Greeting, Out, Request
from lb.fast.out cimport out_text, out_uint
from lb.fast.outcome cimport write_missing
from lb.fast.sys cimport ntohs, sockaddr_in

cdef enum Origin:           # Variable numbers of their own, behind those of outcome.pxd
    V_ORIGIN = 2000
    V_PROXY_PROTOCOL_ADDR, V_PROXY_PROTOCOL_PORT, V_PROXY_PROTOCOL_SERVER_ADDR, V_PROXY_PROTOCOL_SERVER_PORT
    V_REALIP_REMOTE_ADDR, V_REALIP_REMOTE_PORT


cdef inline void write_greeting(Out* o, Conn* c, int var) noexcept nogil:
    cdef Greeting* g = <Greeting*> buf_data(c.greeting) if c.greeting != NULL else NULL
    if g == NULL or not g.known:
        write_missing(o)
    elif var == V_PROXY_PROTOCOL_ADDR:
        out_text(o, g.source_text)
    elif var == V_PROXY_PROTOCOL_SERVER_ADDR:
        out_text(o, g.server_text)
    elif var == V_PROXY_PROTOCOL_PORT:
        out_uint(o, ntohs((<sockaddr_in*> g.source).sin_port))  # at the same place in both sockaddrs
    else:
        out_uint(o, ntohs((<sockaddr_in*> g.server).sin_port))
