"""The PROXY protocol, versions 1 and 2: what a proxy in front of lb says of its client before the client's first byte.

Source: the specification in HAProxy's doc/proxy-protocol.txt. Strict: everything that it does not allow is P_BAD at the first
byte that shows it; the header has at most PROXY_PROTOCOL_MOST bytes. `known` 0: UNKNOWN, LOCAL, or a family without addresses.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from lb.fast.types cimport ProxyProtocol, P_BAD, P_DONE, P_MORE, Str
from lb.fast.c.sys cimport (AF_INET, AF_INET6, htons, inet_ntop, inet_pton, memchr, memcmp, memcpy, memset, sockaddr_in,
                          sockaddr_in6)

cdef enum:
    PROXY_PROTOCOL_MOST = 4096    # bytes, TLVs included, as nginx
    PROXY_V1_MOST = 107       # bytes of a version 1 line
    PROXY_V2_LEN = 59        # of a version 2 header of ours


cdef inline int proxy_protocol_parse(const char* p, uint32_t n, ProxyProtocol* g) noexcept nogil:
    """The header at p[0:n]; P_DONE: g is filled, g.size tells how long it is."""
    memset(g, 0, sizeof(ProxyProtocol))
    if n == 0:
        return P_MORE
    if p[0] == c"P":
        return proxy_protocol_v1(p, n, g)
    return proxy_protocol_v2(<const uint8_t*> p, n, g)


# ---- version 1: PROXY TCP4 1.2.3.4 5.6.7.8 1234 80 CRLF

cdef inline int proxy_protocol_v1(const char* p, uint32_t n, ProxyProtocol* g) noexcept nogil:
    cdef uint32_t most = n if n < PROXY_V1_MOST else PROXY_V1_MOST
    cdef const char* end
    if memcmp(p, b"PROXY ", n if n < 6 else 6) != 0:
        return P_BAD
    end = <const char*> memchr(p, 10, most)
    if end == NULL:
        return P_MORE if n < PROXY_V1_MOST else P_BAD
    if (end - 1)[0] != 13:
        return P_BAD
    g.size = <uint32_t> (end + 1 - p)
    p += 6
    end -= 1
    if end - p >= 7 and memcmp(p, b"UNKNOWN", 7) == 0:      # "the receiver must ignore anything presented before the CRLF"
        return P_DONE if end - p == 7 or p[7] == 32 else P_BAD
    if end - p < 5 or memcmp(p, b"TCP", 3) != 0 or p[4] != 32 or (p[3] != c"4" and p[3] != c"6"):
        return P_BAD
    return proxy_protocol_line(p + 5, end, AF_INET if p[3] == c"4" else AF_INET6, g)


cdef inline int proxy_protocol_line(const char* p, const char* end, int family, ProxyProtocol* g) noexcept nogil:
    """SOURCE DESTINATION PORT PORT"""
    g.source_len = <uint32_t> (sizeof(sockaddr_in) if family == AF_INET else sizeof(sockaddr_in6))
    p = proxy_protocol_address(p, end, family, g.source, g.source_text)
    if p != NULL:
        p = proxy_protocol_address(p, end, family, g.server, g.server_text)
    if p != NULL:
        p = proxy_protocol_port(p, end, g.source)
    if p != NULL and p < end and p[0] == 32:
        p = proxy_protocol_port(p + 1, end, g.server)
        if p == end:
            g.known = 1
            return P_DONE
    return P_BAD


cdef inline const char* proxy_protocol_address(const char* p, const char* end, int family, char* sa, char* text) noexcept nogil:
    """One address and the space behind it; `text` gets it as written. NULL: it is none."""
    cdef const char* stop = <const char*> memchr(p, 32, end - p)
    if stop == NULL or stop - p >= 46 or memchr(p, 0, stop - p) != NULL:
        return NULL
    memcpy(text, p, stop - p)
    text[stop - p] = 0
    if family == AF_INET:
        (<sockaddr_in*> sa).sin_family = AF_INET
        return stop + 1 if inet_pton(AF_INET, text, &(<sockaddr_in*> sa).sin_addr) == 1 else NULL
    (<sockaddr_in6*> sa).sin6_family = AF_INET6
    return stop + 1 if inet_pton(AF_INET6, text, &(<sockaddr_in6*> sa).sin6_addr) == 1 else NULL


cdef inline const char* proxy_protocol_port(const char* p, const char* end, char* sa) noexcept nogil:
    """Decimal digits, 0 to 65535, no zero before another digit. The port lies at the same place in both sockaddrs."""
    cdef const char* start = p
    cdef uint32_t port = 0
    while p < end and c"0" <= p[0] <= c"9" and p - start < 5:
        port = port * 10 + <uint32_t> (p[0] - 48)
        p += 1
    if p == start or port > 65535 or (start[0] == c"0" and p - start > 1):
        return NULL
    (<sockaddr_in*> sa).sin_port = htons(<uint16_t> port)
    return p


# ---- version 2: 12 bytes of signature, version and command, family and transport, length, addresses, TLVs

cdef inline int proxy_protocol_v2(const uint8_t* p, uint32_t n, ProxyProtocol* g) noexcept nogil:
    cdef uint32_t length, need
    if memcmp(p, b"\r\n\r\n\0\r\nQUIT\n", n if n < 12 else 12) != 0:
        return P_BAD
    if n < 16:
        return P_BAD if n > 12 and not (p[12] == 0x20 or p[12] == 0x21) else P_MORE
    length = <uint32_t> p[14] << 8 | p[15]
    if not (p[12] == 0x20 or p[12] == 0x21) or p[13] >> 4 > 3 or p[13] & 15 > 2 or length > PROXY_PROTOCOL_MOST - 16:
        return P_BAD
    need = 12 if p[13] >> 4 == 1 else 36 if p[13] >> 4 == 2 else 216 if p[13] >> 4 == 3 else 0
    if p[12] == 0x21 and length < need:
        return P_BAD
    if n < 16 + length:
        return P_MORE
    g.size = 16 + length
    if p[12] == 0x21 and p[13] & 15 == 1:       # PROXY, a stream
        if p[13] >> 4 == 1:
            proxy_protocol_inet(p + 16, g)
            g.tlvs = length - 12
        elif p[13] >> 4 == 2:
            proxy_protocol_inet6(p + 16, g)
            g.tlvs = length - 36
    return P_DONE


cdef inline void proxy_protocol_inet(const uint8_t* p, ProxyProtocol* g) noexcept nogil:
    g.source_len = sizeof(sockaddr_in)
    (<sockaddr_in*> g.source).sin_family = (<sockaddr_in*> g.server).sin_family = AF_INET
    memcpy(&(<sockaddr_in*> g.source).sin_addr, p, 4)
    memcpy(&(<sockaddr_in*> g.server).sin_addr, p + 4, 4)
    memcpy(&(<sockaddr_in*> g.source).sin_port, p + 8, 2)
    memcpy(&(<sockaddr_in*> g.server).sin_port, p + 10, 2)
    inet_ntop(AF_INET, p, g.source_text, sizeof(g.source_text))
    inet_ntop(AF_INET, p + 4, g.server_text, sizeof(g.server_text))
    g.known = 1


cdef inline void proxy_protocol_inet6(const uint8_t* p, ProxyProtocol* g) noexcept nogil:
    g.source_len = sizeof(sockaddr_in6)
    (<sockaddr_in6*> g.source).sin6_family = (<sockaddr_in6*> g.server).sin6_family = AF_INET6
    memcpy(&(<sockaddr_in6*> g.source).sin6_addr, p, 16)
    memcpy(&(<sockaddr_in6*> g.server).sin6_addr, p + 16, 16)
    memcpy(&(<sockaddr_in6*> g.source).sin6_port, p + 32, 2)
    memcpy(&(<sockaddr_in6*> g.server).sin6_port, p + 34, 2)
    inet_ntop(AF_INET6, p, g.source_text, sizeof(g.source_text))
    inet_ntop(AF_INET6, p + 16, g.server_text, sizeof(g.server_text))
    g.known = 1


# ---- version 2, written

cdef inline uint32_t proxy_protocol_write(char* out, const char* source, const char* server, int family) noexcept nogil:
    """The header for a stream from sockaddr `source` to sockaddr `server`, PROXY_V2_LEN bytes at most, into `out`; its length.

    `family`: that of both, or AF_UNIX: no addresses can be given. Its one TLV is the CRC32c, as nginx.
    """
    cdef uint8_t* p = <uint8_t*> out
    cdef uint32_t n = 16, i, crc
    memcpy(p, b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00", 16)
    if family == AF_INET:
        p[13] = 0x11
        memcpy(p + 16, &(<sockaddr_in*> source).sin_addr, 4)
        memcpy(p + 20, &(<sockaddr_in*> server).sin_addr, 4)
        n = 24
    elif family == AF_INET6:
        p[13] = 0x21
        memcpy(p + 16, &(<sockaddr_in6*> source).sin6_addr, 16)
        memcpy(p + 32, &(<sockaddr_in6*> server).sin6_addr, 16)
        n = 48
    if n > 16:
        memcpy(p + n, &(<sockaddr_in*> source).sin_port, 2)         # the port lies at the same place in both sockaddrs
        memcpy(p + n + 2, &(<sockaddr_in*> server).sin_port, 2)
        n += 4
    memcpy(p + n, b"\x03\x00\x04\x00\x00\x00\x00", 7)
    n += 7
    p[15] = <uint8_t> (n - 16)
    crc = proxy_protocol_crc32c(p, n)                      # with zeros in its own place
    for i in range(4):
        p[n - 4 + i] = <uint8_t> (crc >> (24 - 8 * i))
    return n


cdef enum:
    CASTAGNOLI = 0x82F63B78


cdef inline uint32_t proxy_protocol_crc32c(const uint8_t* p, uint32_t n) noexcept nogil:
    """Castagnoli's, reflected (RFC 3720, appendix B.4): bit by bit, for a few bytes of each connection."""
    cdef uint32_t crc = 0xFFFFFFFF, i, _k
    for i in range(n):
        crc ^= p[i]
        for _k in range(8):
            crc = (crc >> 1) ^ (CASTAGNOLI & (0 - (crc & 1)))
    return ~crc


# ---- TLVs: type, length (2 bytes), value

cdef inline Str proxy_protocol_tlv(Str tlvs, uint32_t kind) noexcept nogil:
    """The value of the first TLV of this type; p NULL: there is none, or what comes before it is cut short."""
    cdef const uint8_t* p = <const uint8_t*> tlvs.p
    cdef uint32_t n
    cdef Str s
    s.p = NULL
    s.n = 0
    while tlvs.n >= 3:
        n = <uint32_t> p[1] << 8 | p[2]
        if n > tlvs.n - 3:
            break
        if p[0] == kind and kind:
            s.p = <char*> p + 3
            s.n = n
            break
        p += 3 + n
        tlvs.n -= 3 + n
    return s
