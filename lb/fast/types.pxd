"""Every struct and enum of the engine. A field's line says what it holds; who may write it is said at the struct.

Sizes are bytes, times are milliseconds of the monotonic clock (`loop.now`) unless the name ends in `_us`.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


# ---------------------------------------------------------------- HTTP heads (head.pxd, chunk.pxd, uri.pxd)

cdef enum Parsed:           # what a sans-I/O parser answers
    P_MORE = 0              # not yet whole: feed the same bytes and more
    P_DONE = 1              # whole
    P_BAD = 2               # refused: Head.error, .rule, .error_at say why

cdef enum Method:           # known methods; all others are M_OTHER (forwarded by their text)
    M_OTHER = 0
    M_GET = 1
    M_HEAD = 2
    M_POST = 3
    M_PUT = 4
    M_DELETE = 5
    M_OPTIONS = 6
    M_PATCH = 7
    M_CONNECT = 8
    M_TRACE = 9

cdef enum TargetForm:       # RFC 9112 section 3.2
    T_ORIGIN = 0            # /path?query
    T_ABSOLUTE = 1          # http://authority/path?query
    T_AUTHORITY = 2         # host:port (CONNECT)
    T_ASTERISK = 3          # *

cdef enum FieldId:          # fields that lb itself reads; 0 is any other
    F_OTHER = 0
    F_HOST = 1
    F_CONNECTION = 2
    F_CONTENT_LENGTH = 3
    F_TRANSFER_ENCODING = 4
    F_TE = 5
    F_TRAILER = 6
    F_UPGRADE = 7
    F_KEEP_ALIVE = 8
    F_PROXY_CONNECTION = 9
    F_PROXY = 10
    F_EXPECT = 11
    F_DATE = 12
    F_SERVER = 13
    F_CONTENT_TYPE = 14
    F_USER_AGENT = 15
    F_REFERER = 16
    F_X_FORWARDED_FOR = 17
    F_COOKIE = 18
    F_LOCATION = 19
    F_SET_COOKIE = 20
    F_X_ACCEL = 21          # X-Accel-*: not passed to clients, as nginx
    F_X_PAD = 22            # not passed to clients, as nginx
    F_LAST_MODIFIED = 23
    F_AUTHORIZATION = 24
    F_ACCEPT_ENCODING = 25
    F_IF_MODIFIED_SINCE = 26
    F_RANGE = 27
    F_KNOWN = 28            # how many ids there are

cdef enum FieldFlag:
    FF_HOP = 1              # hop-by-hop: fixed list of RFC 9110 section 7.6.1, `Proxy`, or named by Connection
    FF_BAD_NAME = 2         # a name with `_`: dropped (underscores_in_headers off)

cdef enum HeadFlag:
    H_CHUNKED = 1           # Transfer-Encoding: chunked
    H_CLOSE = 2             # Connection: close
    H_KEEP_ALIVE = 4        # Connection: keep-alive
    H_UPGRADE = 8           # Connection: upgrade, and an Upgrade field
    H_EXPECT_100 = 16       # Expect: 100-continue
    H_HAS_HOST = 32         # a Host field is there
    H_TARGET_QUOTED = 64    # target holds % or . or // : uri.pxd must normalise it (a hint: else the path is literal)

ctypedef struct Field:
    uint32_t name           # offset of the name in the head
    uint32_t value          # offset of the value, without the white space around it
    uint32_t value_len
    uint16_t name_len
    uint8_t id              # FieldId
    uint8_t flags           # FieldFlag

ctypedef struct Head:       # offsets count from the first byte given to the parser
    uint8_t method          # Method (requests)
    uint8_t form            # TargetForm (requests)
    uint8_t minor           # HTTP/1.minor: 0 or 1 (1.2 to 1.9 are read as 1)
    uint8_t flags           # HeadFlag
    uint16_t status         # status code (responses)
    uint16_t nfields
    uint32_t start          # empty lines skipped before the request line
    uint32_t method_len     # the method's text is at `start`
    uint32_t target         # request-target (requests), reason phrase (responses)
    uint32_t target_len
    uint32_t path           # origin-form part of the target (from its first / on); path_len 0 for * and CONNECT, and for http://a
    uint32_t path_len
    uint32_t host           # authority's host without port: absolute-form's if there, else the Host field's; lower case is NOT applied
    uint32_t host_len
    uint32_t authority      # the same with its port, as received
    uint32_t authority_len
    uint32_t size           # bytes of the whole head, its last CRLF included (P_DONE)
    int64_t content_length  # -1: none
    uint16_t error          # P_BAD: status to answer: 400 414 431 501 505 (responses: 502)
    uint16_t rule           # P_BAD: Rule
    uint32_t error_at       # P_BAD: offset of the byte
    Field* fields           # the caller's array
    uint32_t max_fields     # its size; more fields than that are P_BAD with 431 (400 as nginx: see head.pxd)

ctypedef struct Chunked:    # decoder of one chunked body (chunk.pxd); all zero at the start
    uint8_t state           # chunk.pxd's own
    uint8_t bad             # Rule when refused
    uint16_t line           # bytes of the chunk extension or trailer line so far (bounded)
    uint32_t trailer        # bytes of the trailer section so far (bounded)
    uint64_t left           # data bytes of this chunk still to come
    uint64_t total          # data bytes of the body so far
