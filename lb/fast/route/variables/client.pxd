"""Variables about a client that are neither its request's nor its connection's own: what a PROXY header said, the address
that realip has replaced, what limit_req did, what ssl_preread saw.
"""

from libc.stdint cimport uint8_t, uint32_t
from lb.fast.io.sockaddr cimport sockaddr_write, sockaddr_write_port
from lb.fast.io.buf cimport buf_data
from lb.fast.types cimport Conn, ProxyProtocol, LIMIT_DELAYED, LIMIT_NONE, LIMIT_PASSED, LIMIT_REJECTED, Out, Piece, Request, Str
from lb.fast.stream.proxy_protocol cimport proxy_protocol_tlv
from lb.fast.stream.client_hello cimport hello_version
from lb.fast.io.writer cimport out_str, out_text, out_uint
from lb.fast.route.variables.upstream cimport var_missing
from lb.fast.c.sys cimport memcmp, ntohs, sockaddr_in

cdef enum ClientVar:           # Variable numbers of their own, behind those of route/variables/upstream.pxd
    V_CLIENT = 2000
    V_PROXY_PROTOCOL_ADDR, V_PROXY_PROTOCOL_PORT, V_PROXY_PROTOCOL_SERVER_ADDR, V_PROXY_PROTOCOL_SERVER_PORT
    V_PROXY_PROTOCOL_TLV_, V_REALIP_REMOTE_ADDR, V_REALIP_REMOTE_PORT, V_LIMIT_REQ_STATUS
    V_SSL_PREREAD_SERVER_NAME, V_SSL_PREREAD_PROTOCOL, V_SSL_PREREAD_ALPN_PROTOCOLS


cdef inline void var_client(Out* o, Request* r, Piece* v) noexcept nogil:
    """A variable of this room."""
    cdef const char* sa = r.client.addr
    cdef uint32_t n = r.client.addr_len
    if r.own != NULL:
        sa = r.own.sa
        n = r.own.len
    if v.var == V_REALIP_REMOTE_ADDR:
        sockaddr_write(o, sa, n)
    elif v.var == V_REALIP_REMOTE_PORT:
        sockaddr_write_port(o, sa, n)
    elif v.var == V_LIMIT_REQ_STATUS:
        var_limit_status(o, r.limited)
    elif v.var >= V_SSL_PREREAD_SERVER_NAME:
        var_hello(o, r, v.var)
    else:
        var_proxy_protocol(o, r.client, v)


cdef inline void var_hello(Out* o, Request* r, int var) noexcept nogil:
    """Empty while the hello is not whole; missing where it was none."""
    if r.hello == NULL:
        var_missing(o)
    elif not r.hello.done:
        return
    elif var == V_SSL_PREREAD_SERVER_NAME:
        out_str(o, r.hello.name)
    elif var == V_SSL_PREREAD_PROTOCOL:
        out_text(o, hello_version(r.hello.version))
    else:
        out_str(o, r.hello.alpn)


cdef inline void var_limit_status(Out* o, int status) noexcept nogil:
    if status & ~1 == LIMIT_NONE:
        var_missing(o)
        return
    out_text(o, b"PASSED" if status & ~1 == LIMIT_PASSED else b"DELAYED" if status & ~1 == LIMIT_DELAYED else b"REJECTED")
    if status & 1:
        out_text(o, b"_DRY_RUN")


cdef inline void var_proxy_protocol(Out* o, Conn* c, Piece* v) noexcept nogil:
    cdef ProxyProtocol* g = <ProxyProtocol*> buf_data(c.proxy_protocol) if c.proxy_protocol != NULL else NULL
    cdef Str tlv
    if g == NULL or not g.known:
        var_missing(o)
    elif v.var == V_PROXY_PROTOCOL_ADDR:
        out_text(o, g.source_text)
    elif v.var == V_PROXY_PROTOCOL_SERVER_ADDR:
        out_text(o, g.server_text)
    elif v.var == V_PROXY_PROTOCOL_PORT:
        out_uint(o, ntohs((<sockaddr_in*> g.source).sin_port))  # at the same place in both sockaddrs
    elif v.var == V_PROXY_PROTOCOL_SERVER_PORT:
        out_uint(o, ntohs((<sockaddr_in*> g.server).sin_port))
    else:
        tlv.p = <char*> g + sizeof(ProxyProtocol)
        tlv.n = g.tlvs
        var_tlv(o, tlv, v.text)


cdef inline void var_tlv(Out* o, Str tlvs, Str name) noexcept nogil:
    """$proxy_protocol_tlv_NAME of a version 2 header, as nginx names them; ssl_NAME: of those within `ssl`."""
    cdef const uint8_t* p
    cdef Str s
    if name.n > 4 and memcmp(name.p, b"ssl_", 4) == 0:
        s.p = name.p + 4
        s.n = name.n - 4
        tlvs = proxy_protocol_tlv(tlvs, 0x20)
        if tlvs.n < 5:
            var_missing(o)
            return
        if s.n == 6 and memcmp(s.p, b"verify", 6) == 0:
            p = <const uint8_t*> tlvs.p
            out_uint(o, <uint32_t> p[1] << 24 | <uint32_t> p[2] << 16 | <uint32_t> p[3] << 8 | p[4])
            return
        tlvs.p += 5
        tlvs.n -= 5
        s = proxy_protocol_tlv(tlvs, var_tlv_type(s, b"version\0\x21cn\0\x22cipher\0\x23sig_alg\0\x24key_alg\0\x25\0"))
    else:
        s = proxy_protocol_tlv(tlvs, var_tlv_type(name, b"alpn\0\x01authority\0\x02unique_id\0\x05ssl\0\x20netns\0\x30\0"))
    if s.p == NULL:
        var_missing(o)
    out_str(o, s)


cdef inline uint32_t var_tlv_type(Str name, const char* known) noexcept nogil:
    """The number of 0xHH, or of a name in `known` (NAME NUL TYPE ... NUL); 0: none."""
    cdef uint32_t i, n, number = 0
    if name.n > 2 and name.p[0] == c"0" and name.p[1] == c"x":
        for i in range(2, name.n):
            if name.p[i] > c"f" or (c"9" < name.p[i] < c"a") or name.p[i] < c"0" or number > 255:
                return 0
            number = number * 16 + <uint32_t> (name.p[i] - 48 if name.p[i] <= c"9" else name.p[i] - 87)
        return number
    while known[0]:
        n = 0
        while known[n]:
            n += 1
        if n == name.n and memcmp(known, name.p, n) == 0:
            return <uint8_t> known[n + 1]
        known += n + 2
    return 0
