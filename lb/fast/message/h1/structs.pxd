# HTTP/1 heads and chunked bodies, as the parsers leave them. Included by types.pxd.

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
    M_MKCOL = 10            # of WebDAV, for limit_except
    M_COPY = 11
    M_MOVE = 12
    M_PROPFIND = 13
    M_PROPPATCH = 14
    M_LOCK = 15
    M_UNLOCK = 16

cdef enum TargetForm:       # RFC 9112 section 3.2
    T_ORIGIN = 0            # /path?query
    T_ABSOLUTE = 1          # http://authority/path?query
    T_AUTHORITY = 2         # host:port (CONNECT): never, lb refuses CONNECT
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
    F_REFRESH = 28
    F_EXPIRES = 29
    F_ETAG = 30
    F_KNOWN = 31            # how many ids there are; at most 64: they are bits of masks

cdef enum FieldFlag:
    FF_HOP = 1              # hop-by-hop: fixed list of RFC 9110 section 7.6.1, `Proxy`, or named by Connection
    FF_BAD_NAME = 2         # in a request, a name with another tchar than letters, digits, `-`: dropped (but see NamesKept)

cdef enum Lax:              # Head.lenient: what is taken though the grammar forbids it; Head.lax: what of it was there
    LX_LF = 1               # LF alone ends a line
    LX_BYTES = 2            # control bytes in a value or reason phrase, but CR, LF, NUL
    LX_CODING = 4           # Transfer-Encoding in HTTP/1.0
    LX_EMPTY = 8            # an empty line before the status line
    LX_HTTPS = 16           # a target https://..., which is no fault where TLS is spoken
    LX_REQUEST = 1          # lenient_requests
    LX_ANSWER = 15          # proxy_lenient

cdef enum HeadFlag:
    H_CHUNKED = 1           # Transfer-Encoding: chunked
    H_CLOSE = 2             # Connection: close
    H_KEEP_ALIVE = 4        # Connection: keep-alive
    H_UPGRADE = 8           # Connection: upgrade, and an Upgrade field
    H_EXPECT_100 = 16       # Expect: 100-continue
    H_HAS_HOST = 32         # a Host field is there
    H_ACCEL = 128           # responses: an X-Accel-* field
    H_BAD_NAMES = 256       # requests: a field with FF_BAD_NAME
    H_TARGET_QUOTED = 64    # the path holds % or // or /. : message/h1/uri.pxd must normalise it (else it is literal)

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
    uint16_t flags          # HeadFlag
    uint16_t status         # status code (responses)
    uint16_t nfields
    uint32_t start          # empty lines skipped before the request line
    uint32_t method_len     # the method's text is at `start`
    uint32_t target         # request-target (requests), reason phrase (responses)
    uint32_t target_len
    uint32_t path           # path and query of the target; "?q" for http://a?q: the path is then "/"
    uint32_t path_len       # 0 for * and for http://a
    uint32_t host           # without port and final dot, case as received: of the absolute-form, else of the Host field
    uint32_t host_len
    uint32_t authority      # the same with its port; `a` for `a:`
    uint32_t authority_len
    uint32_t size           # bytes of the whole head, its last CRLF included (P_DONE)
    int64_t content_length  # -1: none
    uint16_t error          # P_BAD: status to answer: 400 405 414 417 501 505 (responses: 502)
    uint16_t rule           # P_BAD: Rule
    uint32_t error_at       # P_BAD: offset of the byte
    uint32_t error_name     # P_BAD: name of the field at fault, for the log
    uint16_t error_name_len # its length; 0: not in a field, or its name is not whole
    Field* fields           # the caller's array
    uint32_t max_fields     # its size, at most 65535; more fields than that are P_BAD with 400, as nginx's max_headers
    uint32_t max_target     # a longer target is P_BAD with 414; 0: no limit of its own
    uint8_t lenient         # the caller's: Lax
    uint8_t lax             # Lax

ctypedef struct Chunked:    # decoder of one chunked body (message/h1/chunk.pxd); all zero at the start
    uint8_t state           # message/h1/chunk.pxd's own
    uint8_t bad             # Rule when refused
    uint8_t lenient         # the caller's: proxy_lenient
    uint16_t line           # bytes of the chunk extension or trailer line so far (bounded)
    uint32_t trailer        # bytes of the trailer section so far (bounded)
    uint64_t left           # data bytes of this chunk still to come
    uint64_t total          # data bytes of the body so far
    uint32_t excess         # bytes of extensions beyond what the data pays for (bounded)
    char* keep              # the caller's TRAILER_MAX bytes for the trailer section, or NULL: it is dropped
