"""Who a client is, as structs: networks, a PROXY header's word, the address that realip has replaced (part of types.pxd)."""

from libc.stdint cimport uint8_t, uint32_t

ctypedef struct Cidr:       # a network, in allow, deny
    uint8_t family          # AF_
    uint8_t bits
    uint8_t deny
    uint8_t net[16]

ctypedef struct Cidrs:      # in the order of the configuration
    Cidr* at
    uint32_t n
    uint8_t v4              # some are of AF_INET

cdef enum RealFrom:
    REAL_FIELD = 0          # the first field of RealIp.name
    REAL_FORWARDED = 1      # X-Forwarded-For, all of them
    REAL_PROXY_PROTOCOL = 2       # the PROXY header

ctypedef struct OwnAddress: # that of the connection, while realip's is in its place
    uint32_t len
    char sa[28]

ctypedef struct ProxyProtocol:   # what a PROXY header says (stream/proxy_protocol.pxd)
    uint32_t size           # bytes of the header
    uint32_t source_len     # of source, and of server
    uint32_t tlvs           # bytes of TLVs (version 2): the last ones of the header; in Conn.proxy_protocol behind this struct
    char source[28]         # sockaddr of the client
    char server[28]         # and that it connected to
    char source_text[46]    # the same as text, NUL behind it
    char server_text[46]
    uint8_t known           # the addresses are there

cdef enum LimitStatus:      # of a request that limit_req was asked about; and 1: dry run
    LIMIT_NONE = 0
    LIMIT_PASSED = 2
    LIMIT_DELAYED = 4
    LIMIT_REJECTED = 6
