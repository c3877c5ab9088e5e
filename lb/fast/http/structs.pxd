# One exchange: its bodies, its files, its tries. Included by types.pxd.

cdef enum BodyKind:
    B_NONE = 0              # no body
    B_LENGTH = 1            # `left` bytes to come
    B_CHUNKED = 2           # chunked coding
    B_CLOSE = 3             # to the end of the connection (responses)
    B_STREAM = 4            # to the end of its stream, which only the transport knows (requests)

ctypedef struct Body:       # framing of one message body, as it comes in
    uint8_t kind            # BodyKind
    uint8_t done            # its last byte was read
    uint8_t out             # BodyKind: how it leaves
    int64_t left            # B_LENGTH
    uint64_t seen           # body bytes read
    uint64_t raw            # the same with their chunks' framing
    Chunked ch              # B_CHUNKED

cdef enum Phase:            # Request.phase: where an exchange stands; request_phase changes it (http/request.pyx)
    PH_ROUTING = 0          # its location, and what comes before a server is chosen; lb's own answers are made here
    PH_DELAYED = 1          # limit_req: it waits (route/limit_req.pyx)
    PH_BODY = 2             # its body is read whole before a server is chosen (http/request_buffering.pyx)
    PH_CONNECTING = 3       # a server is chosen; nothing has gone to it
    PH_READING_HEAD = 4     # the request goes to it, or has gone: the head of its answer is awaited
    PH_READING_BODY = 5     # the answer's final head was parsed
    PH_TUNNEL = 6           # bytes both ways: a stream session, or what a 101 has made (stream/tcp.pyx)
    PH_ANSWERED = 7         # the whole answer was read, or made here: the client takes what is left of it
    PH_DISCARDING = 8       # logged; the rest of its body is read away
    PH_DONE = 9             # over
    PH_ACCESS = 10          # whether it may have an answer is being found out (auth/phase.pyx)

cdef enum ReqFlag:          # facts that hold whatever the phase
    # its client
    RQ_TCP = 1 << 0         # a stream session
    RQ_KEEP = 1 << 1        # keep the client connection after the answer
    RQ_STARTED = 1 << 2     # bytes of the answer were given to the client
    RQ_CONTINUE = 1 << 3    # 100 Continue is due to the client before its body is read
    RQ_BODY_LEFT = 1 << 4   # part of the client's body will not be read: linger at the end
    # its path
    RQ_INTERNAL = 1 << 5    # an internal redirect or a rewrite made the present path
    RQ_URI_NEW = 1 << 6     # the target as received is no longer what goes to a server
    RQ_NO_LOCATION = 1 << 7     # rewrite ... break: proxy_pass's URI is not used
    RQ_URI_CHANGED = 1 << 8     # a rewrite asks for another look for a location
    RQ_ALIAS_URI = 1 << 9   # path_try_files found a file of a regular expression's `alias`: the path is behind it
    RQ_ERROR_PAGE = 1 << 10     # an error_page was taken: no further one, unless recursive
    RQ_GAVE_UP = 1 << 11    # a regular expression could not say whether it matches: the answer is 500 (route/regex.pyx)
    RQ_KEPT = 1 << 12       # fields of an answer with X-Accel-Redirect go with it (http/x_accel.pyx)
    # its server
    RQ_HELD = 1 << 13       # peer.active counts us
    RQ_PENDING = 1 << 14    # peer.pending counts us
    RQ_UP_ENDED = 1 << 15   # a session's server has ended: peer.ended counts us, no longer peer.active
    RQ_REUSED = 1 << 16     # the upstream connection came from the pool
    RQ_CONNECT = 1 << 17    # no pooled connection any more: one had ended when it was used
    RQ_UP_KEEP = 1 << 18    # the upstream connection may go to the pool
    RQ_NO_REPLAY = 1 << 19  # body bytes left that we do not hold: it cannot be sent again
    RQ_BODY_OFF = 1 << 20   # the server takes no more of the client's body: the rest stays unread
    RQ_BODY_DROP = 1 << 21  # the client's body is read but not passed on: proxy_pass_request_body off, proxy_set_body
    RQ_HEAD_SENT = 1 << 22  # the method that went to the server is HEAD: its answer has no body
    RQ_HOLD = 1 << 23       # the answer may wait in memory and on disk for its client (http/response_buffering.pyx)
    RQ_BROKEN = 1 << 24     # the answer ends behind what waits for the client, and is not whole (client_break_off)

ctypedef struct TempPath:   # client_body_temp_path, proxy_temp_path
    Str dir
    uint8_t levels[3]       # digits of each level of directories
    uint8_t n               # levels

ctypedef struct TempFile:      # a temporary file (http/temp_file.pyx), or a static one
    int32_t fd
    uint8_t keep            # the file stays
    uint8_t ours            # a static file (static/file.pyx): read only
    Str path                # ends in NUL; n 0: it has no name any more
    uint64_t size           # bytes written, or where to end
    uint64_t at             # bytes passed on
    uint64_t framed         # an answer's: where the piece ends whose framing went out before it; 0: none yet
    char back[8]            # and what goes out behind that
    uint8_t nback

cdef enum Flow:             # what a filter is told of what follows these bytes
    FLOW_MORE = 0           # more is at hand
    FLOW_FLUSH = 1          # nothing now: what was held back must go on
    FLOW_LAST = 2           # nothing at all

ctypedef struct BodyFilter: # a step of a body's way out, in its request's memory (http/body_filter.pyx)
    BodyFilter* next
    bint (*body)(BodyFilter* f, Message* m, char* p, uint32_t n, int flow) noexcept nogil   # False: as filter_next
    void (*free)(BodyFilter* f) noexcept nogil

cdef enum Coded:            # Request.coded
    CODED_VARY = 1          # it depends on Accept-Encoding
    CODED_GZIP = 2

ctypedef struct Try:        # a server that a request was given to and has left
    Try* next
    Str addr
    uint16_t status         # 0: it did not answer
    uint8_t redirect        # an internal redirect lies before it
    int64_t connect         # ms, -1: not reached
    int64_t header
    int64_t response
    uint64_t length         # of the answer's body, with the framing of its chunks
    uint64_t sent
    uint64_t received

ctypedef struct Request:    # one exchange of a client with an upstream; lies at the start of its first memory block
    Conn* client
    Conn* up                # present upstream connection, or NULL
    Location* loc           # http
    Settings* settings      # of `loc` or `stream`
    Server* srv             # http
    StreamServer* stream    # tcp
    Upstream* ups
    const TlsConf* up_tls   # of TLS to its servers; NULL: none
    Str up_name             # the name that they are asked for, and that their certificate must have
    Str up_pair             # proxy_ssl_certificate and its key, where variables name them: FILE NUL KEY NUL
    Peer* peer              # chosen server; its `active` counts us
    Buf* mem                # this request's memory: blocks, newest first
    char* head              # copy of the client's head
    Head h                  # parsed head; its fields are copied too
    Body inb                # the client's body
    Body outb               # the server's body
    Buf* body               # body bytes that came with the head: sent after the head, kept for a retry
    BodyFilter* filters     # of the answer, first to last; NULL: none
    uint64_t gzip_in        # bytes that the answer's gzip took and gave
    uint64_t gzip_out
    TempFile* body_file            # the whole body, where it is too long for memory
    TempFile* response_file             # what of the answer waits on disk for the client, or a static file
    char* uri               # normalised path, decoded
    uint32_t uri_len
    uint32_t args_len
    char* args              # the query, without its "?"
    Str method              # its text; GET after an error_page
    Str location            # of a redirect that lb makes itself; p NULL: none
    Str challenge           # WWW-Authenticate lines of a server's 401 that an error_page stands for
    Str proxy_host          # of the handler's proxy_pass
    Str proxy_uri
    Slot* slots             # user variables, or NULL before the first one is used
    char* subject           # what the last regex matched: captures are parts of it
    uint32_t* captures      # offsets in it: begin and end of the whole, of $1, of $2...; 4294967295: not set
    uint32_t ncaptures      # pairs of them
    uint16_t err_status     # status that the answer shows whatever its maker says; 0: its own
    uint64_t unfit          # 416: length of the file, and 1
    uint8_t coded           # Coded: of the answer
    uint8_t uri_changes     # rewrites and internal redirects so far
    uint64_t flags          # ReqFlag
    uint8_t phase           # Phase
    uint16_t status         # sent to the client, 0: none yet
    uint16_t up_status      # of the last upstream answer
    uint16_t tries          # servers tried
    uint16_t ntried         # of tried[]
    uint8_t passed          # servers that the present choice has passed over: they take a part of their weight
    uint32_t local_len      # of local
    char* local             # proxy_bind: the sockaddr that connections come from
    OwnAddress* own         # the client's own address, where realip has replaced it; or NULL
    ClientHello* hello      # ssl_preread: what the client asks for; NULL: it is off, or that was no hello
    Peer* direct            # the one server of a proxy_pass whose variables gave an address
    uint64_t* tried         # Peer.id of servers that failed this request
    Str key                 # of `hash`; p NULL: not worked out yet
    Stuck* stuck            # by sticky (cookie, learn); NULL: its servers are of no such upstream
    Try* first_try          # servers that were left, in order
    Try* last_try
    uint8_t limited         # LimitStatus
    uint8_t interim         # 1xx heads that its servers sent
    uint8_t redirected      # the present server follows an internal redirect
    uint8_t piped           # its first bytes came behind another request's
    int64_t start           # when its head's first byte came, or the session was accepted
    int64_t up_start        # when the present server was chosen; the next three are ms from there, -1: not yet
    int64_t up_connect      # connected
    int64_t up_header       # head of its answer read
    int64_t up_response     # let go of
    uint64_t up_got         # Conn.got and .put of its connection when it was taken
    uint64_t up_put
    uint64_t told_got       # the same, as far as the server's stats has them
    uint64_t told_put
    uint64_t up_received    # bytes from and to it, once it was let go of
    uint64_t up_sent
    char* up_text           # copy of the head of its answer (Location.uses), or NULL
    Head* up_head
    Str kept                # RQ_KEPT: lines for the head that the client gets
    Str kept_type           # and a media type that ends in a zero byte; p NULL: none
    char* up_trailers       # TRAILER_MAX bytes: the trailer section of its answer (proxy_pass_trailers), or NULL
    Str sent_trailers       # copy of the trailer section that the client was sent (Location.uses)
    Str sent_head           # copy of the head that the client was sent (Location.uses)
    int64_t up_first        # when the first server was chosen
    uint16_t left           # servers that may still be asked, the present one included
    uint64_t put_at         # Conn.put of the client when it began: what its socket took since is $bytes_sent
    uint64_t put_told       # the same, as far as WorkerStats.bytes_out has it
    uint32_t head_n         # bytes of the answer's head
    uint32_t interim_n      # and of the 1xx heads before it
    uint64_t received       # bytes of head and body from the client
    RequestExtra* extra     # what few requests have, or NULL
