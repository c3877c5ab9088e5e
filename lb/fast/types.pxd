"""Every struct and enum of the engine. A field's line says what it holds; who may write it is said at the struct.

Sizes are bytes, times are milliseconds of the monotonic clock (`loop.now`) unless the name ends in `_us`.
"""

from lb.fast.clients cimport *
from lb.fast.limit cimport LimitSet
from lb.fast.logtypes cimport *
from lb.fast.ruleids cimport *
from lb.fast.sys cimport tm
from lb.fast.tally cimport Tally
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


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
    F_KNOWN = 31            # how many ids there are; at most 32: they are bits of masks

cdef enum FieldFlag:
    FF_HOP = 1              # hop-by-hop: fixed list of RFC 9110 section 7.6.1, `Proxy`, or named by Connection
    FF_BAD_NAME = 2         # in a request, a name with another tchar than letters, digits, `-`: dropped (but see NamesKept)

cdef enum Lax:              # Head.lenient: what is taken though the grammar forbids it; Head.lax: what of it was there
    LX_LF = 1               # LF alone ends a line
    LX_BYTES = 2            # control bytes in a value or reason phrase, but CR, LF, NUL
    LX_CODING = 4           # Transfer-Encoding in HTTP/1.0
    LX_EMPTY = 8            # an empty line before the status line
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
    H_BAD_NAMES = 128       # requests: a field with FF_BAD_NAME
    H_TARGET_QUOTED = 64    # the path holds % or // or /. : uri.pxd must normalise it (else it is literal)

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

ctypedef struct Chunked:    # decoder of one chunked body (chunk.pxd); all zero at the start
    uint8_t state           # chunk.pxd's own
    uint8_t bad             # Rule when refused
    uint8_t lenient         # the caller's: proxy_lenient
    uint16_t line           # bytes of the chunk extension or trailer line so far (bounded)
    uint32_t trailer        # bytes of the trailer section so far (bounded)
    uint64_t left           # data bytes of this chunk still to come
    uint64_t total          # data bytes of the body so far
    uint32_t excess         # bytes of extensions beyond what the data pays for (bounded)
    char* keep              # the caller's TRAILER_MAX bytes for the trailer section, or NULL: it is dropped


# ---------------------------------------------------------------- memory, timers, text

ctypedef struct Buf
ctypedef struct Pipe
ctypedef struct Timer
ctypedef struct Conn
ctypedef struct Request
ctypedef struct Peer
ctypedef struct Upstream
ctypedef struct Table
ctypedef struct Listener
ctypedef struct Location
ctypedef struct Server
ctypedef struct StreamServer
ctypedef struct Slot

ctypedef struct Buf:        # a block from the pool (buf.pxd); its bytes follow the struct
    Buf* next               # chain, or the pool's free list
    uint32_t cap            # bytes that fit
    uint32_t off            # first byte not yet consumed
    uint32_t end            # one past the last byte written
    uint32_t cls            # size class

ctypedef struct Pool:       # free blocks by size class; one per worker
    Buf* free[8]            # LIFO: the last freed is the hottest
    uint32_t nfree[8]       # blocks in each list
    uint64_t out            # blocks handed out and not yet given back

ctypedef struct Pipe:       # of the bulk pump (pump.pyx)
    Pipe* next              # pool
    int32_t r
    int32_t w
    uint32_t filled         # bytes in it
    uint32_t size

ctypedef struct Timer:      # first member of Conn, so that a timer's address is its connection's
    Timer* prev
    Timer* next
    int64_t at              # deadline; 0: none (a visit of the wheel then unlinks it)
    int64_t due             # when the wheel visits it: <= at while linked; 0: not linked

ctypedef struct Wheel:      # hashed wheel: one slot per tick, a deadline may be several turns away
    Timer slots[4096]       # list heads
    uint64_t busy[64]       # one bit per slot that may hold a timer
    int64_t tick            # last tick that was visited

ctypedef struct Str:
    char* p
    uint32_t n

ctypedef struct Out:        # bounded writer (out.pxd)
    char* p                 # next byte
    char* end               # one past the last that fits
    uint32_t full           # set when something did not fit; nothing more is written
    uint32_t missing        # set by a variable that is not there (a log shows `-`), which is not the same as an empty one


# ---------------------------------------------------------------- connections

cdef enum Kind:
    K_FREE = 0
    K_LISTEN = 1            # listening socket
    K_WAKE = 2              # eventfd: Python threads have something for the loop
    K_SIGNAL = 3            # signalfd
    K_HTTP = 4              # client of an http server
    K_TCP = 5               # client of a stream server
    K_UP = 6                # connection to a server of an upstream
    K_GREET = 7             # client of either, before its PROXY header is whole (greet.pyx)

cdef enum State:            # changed by conn_state() only
    S_FREE = 0
    S_IDLE = 1              # client between requests; upstream connection in its peer's pool
    S_HEAD = 2              # client: part of a request head is here
    S_CONNECT = 3           # upstream: connect() under way
    S_BUSY = 4              # an exchange runs
    S_LINGER = 5            # client: answered, our side shut; reading what is still on its way
    S_NEW = 6               # client: accepted, nothing received yet
    S_STATES = 7

cdef enum Ready:            # what epoll told and no system call has disproved
    R_READ = 1
    R_WRITE = 2
    R_HUP = 4               # the peer closed or failed: a read will come to the end
    R_ERR = 8               # EPOLLERR or EPOLLHUP: both directions are gone

cdef enum ConnFlag:
    CF_EOF = 1              # read to the end
    CF_SHUT = 2             # we shut our sending side
    CF_NODELAY = 4          # TCP_NODELAY is set
    CF_POSTED = 8           # on the list of what runs before the next wait
    CF_UNIX = 16            # not TCP
    CF_USED = 32            # upstream: has served a request before
    CF_FAILED = 64          # an I/O error was seen
    CF_BULK = 128           # what is read here goes through the pump

ctypedef struct Conn:       # a socket; in a slab, never moves; written by the loop only
    Timer timer             # first: see Timer
    int32_t fd
    uint32_t idx            # place in the slab
    uint32_t gen            # grows when freed: an event of an older life is dropped
    uint8_t kind            # Kind
    uint8_t state           # State
    uint8_t ready           # Ready
    uint8_t flags           # ConnFlag
    Buf* inb                # bytes received and not yet parsed (part of a head, the next pipelined request)
    Buf* out                # bytes to send that the kernel did not take yet
    Pipe* pipe              # bytes read in bulk on their way to the other side
    Request* req            # the exchange that runs here, or NULL (HTTP/1: one at a time)
    Listener* lst           # client: where it came in
    Peer* peer              # upstream: the server it leads to
    Conn* prev              # idle list of its kind (clients, or the upstream's pool), oldest first
    Conn* next
    Conn* pnext             # upstream: next idle one of the same peer
    Conn* pprev
    Conn* posted            # next on loop.posted
    uint64_t got            # bytes received and sent in its whole life
    uint64_t put
    int64_t opened          # when accepted or connected
    int64_t born            # when accepted or connected; when it became idle, or began to linger
    int64_t began           # client: when the first byte of its present head came
    uint8_t piped           # client: that came behind another request's
    uint64_t number         # $connection
    Location* loc           # client: of its last exchange, for how it idles and lingers; upstream: the same, for `local`
    uint32_t served         # requests begun
    uint32_t fresh          # upstream: pooled in this turn; epoll has not looked at it since
    Buf* greeting           # client: what its PROXY header said (a Greeting), or NULL
    uint32_t addr_len       # of addr
    char addr[28]           # client: sockaddr_in or sockaddr_in6; realip replaces it for a request. upstream: proxy_bind's


# ---------------------------------------------------------------- one exchange

cdef enum BodyKind:
    B_NONE = 0              # no body
    B_LENGTH = 1            # `left` bytes to come
    B_CHUNKED = 2           # chunked coding
    B_CLOSE = 3             # to the end of the connection (responses)

ctypedef struct Body:       # framing of one message body, as it comes in
    uint8_t kind            # BodyKind
    uint8_t done            # its last byte was read
    uint8_t chunk_out       # it leaves in our own chunks
    int64_t left            # B_LENGTH
    uint64_t seen           # body bytes read
    uint64_t raw            # the same with their chunks' framing
    Chunked ch              # B_CHUNKED

cdef enum ReqFlag:
    RQ_KEEP = 1             # keep the client connection after the answer
    RQ_STARTED = 2          # bytes of the answer were given to the client
    RQ_REUSED = 4           # the upstream connection came from the pool
    RQ_NO_REPLAY = 8        # body bytes left that we do not hold: it cannot be sent again
    RQ_SENT = 16            # bytes of the request went to the present server
    RQ_UP_KEEP = 32         # the upstream connection may go to the pool
    RQ_TCP = 64             # a stream session
    RQ_ANSWERED = 128       # the whole answer was read, or made here
    RQ_UP_HEAD = 256        # the final response head was parsed
    RQ_CONTINUE = 512       # 100 Continue is due to the client before its body is read
    RQ_HELD = 1024          # peer.active counts us
    RQ_BODY_OFF = 2048      # the server takes no more of the client's body: the rest stays unread
    RQ_BODY_DROP = 4096     # the client's body is read but not passed on: proxy_pass_request_body off, proxy_set_body
    RQ_GATHER = 8192        # its body is read whole before a server is chosen (gather.pyx)
    RQ_DISCARD = 16384      # answered and logged; the rest of its body is read away
    RQ_TUNNEL = 32768       # 101 Switching Protocols: bytes both ways (tunnel.pyx)
    RQ_HOLD = 65536         # the answer may wait in memory and on disk for its client (hold.pyx)
    RQ_KEPT = 131072        # fields of an answer with X-Accel-Redirect go with it (accel.pyx)
    RQ_ALIAS_URI = 262144   # try_files found a file of an `alias` in a regular expression's location: the path is behind it
    RQ_HEAD_SENT = 1 << 19  # the method that went to the server is HEAD: its answer has no body
    RQ_CONNECT = 1 << 20    # no pooled connection any more: one had ended when it was used
    RQ_GAVE_UP = 1 << 21    # a regular expression could not say whether it matches: the answer is 500 (regex.pyx)
    RQ_INTERNAL = 1 << 24   # an internal redirect or a rewrite made the present path
    RQ_URI_NEW = 1 << 25    # the target as received is no longer what goes to a server
    RQ_NO_LOCATION = 1 << 26    # rewrite ... break: proxy_pass's URI is not used
    RQ_URI_CHANGED = 1 << 27    # a rewrite asks for another look for a location
    RQ_ERROR_PAGE = 1 << 28     # an error_page was taken: no further one, unless recursive
    RQ_DELAYED = 1 << 30    # limit_req: it waits (limit.pyx)
    RQ_PENDING = 1 << 22        # peer.pending counts us
    RQ_UP_ENDED = 1 << 23       # a session's server has ended: peer.ended counts us, no longer peer.active
    RQ_BODY_LEFT = 1 << 29      # part of the client's body will not be read: linger at the end

ctypedef struct TempPath:   # client_body_temp_path, proxy_temp_path
    Str dir
    uint8_t levels[3]       # digits of each level of directories
    uint8_t n               # levels

ctypedef struct Spool:      # a temporary file (spool.pyx), or a static one
    int32_t fd
    uint8_t keep            # the file stays
    uint8_t ours            # a static file (file.pyx): read only
    uint8_t chunked         # it leaves as a chunk: the last one is still to come
    Str path                # ends in NUL; n 0: it has no name any more
    uint64_t size           # bytes written, or where to end
    uint64_t at             # bytes passed on

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
    Server* srv             # http
    StreamServer* stream    # tcp
    Upstream* ups
    Peer* peer              # chosen server; its `active` counts us
    Buf* mem                # this request's memory: blocks, newest first
    char* head              # copy of the client's head
    Head h                  # parsed head; its fields are copied too
    Body inb                # the client's body
    Body outb               # the server's body
    Buf* body               # body bytes that came with the head: sent after the head, kept for a retry
    Spool* spool            # the whole body, where it is too long for memory
    Spool* hold             # what of the answer waits on disk for the client, or a static file
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
    uint8_t uri_changes     # rewrites and internal redirects so far
    uint32_t flags          # ReqFlag
    uint16_t status         # sent to the client, 0: none yet
    uint16_t up_status      # of the last upstream answer
    uint16_t tries          # servers tried
    uint16_t ntried         # of tried[]
    uint32_t local_len      # of local
    char* local             # proxy_bind: the sockaddr that connections come from
    OwnAddress* own         # the client's own address, where realip has replaced it; or NULL
    Peer* direct            # the one server of a proxy_pass whose variables gave an address
    Peer** tried            # servers that failed this request (compared, never followed)
    Str key                 # of `hash`; p NULL: not worked out yet
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
    uint64_t told_got       # the same, as far as the server's tally has them
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
    uint64_t put_told       # the same, as far as Stats.bytes_out has it
    uint32_t head_n         # bytes of the answer's head
    uint32_t interim_n      # and of the 1xx heads before it
    uint64_t received       # bytes of head and body from the client


# ---------------------------------------------------------------- values (value.pxd)

ctypedef struct Piece:      # a literal, or a variable
    uint16_t var            # Variable; 0: literal
    Str text                # the literal, or what follows a family's prefix ("foo" of $http_foo)

ctypedef struct Value:
    uint32_t n
    Piece* pieces


# ---------------------------------------------------------------- upstreams

ctypedef struct Peer:       # a server's address; outlives the tables that list it. Written by the loop, made by publish
    Upstream* ups
    char* sa                # sockaddr
    uint32_t sa_len
    int32_t family
    Str name                # as written: in logs and $upstream_addr
    uint32_t weight         # of the present table, as the next five
    uint32_t max_fails
    int64_t fail_timeout
    uint32_t max_conns
    uint8_t down
    uint8_t backup
    uint8_t removed         # in no table: freed when its last user leaves
    uint8_t single          # the only server: never taken for unavailable
    uint8_t listed          # a table that lists it has been swapped in
    uint32_t active         # requests and sessions that use it
    uint64_t load           # what the heap goes by: `active`, or least_time's estimate
    double mean             # least_time: ms that its answers take; 0: none yet
    uint32_t pending        # least_time inflight: requests that are not answered, and the sum of the times when they began
    int64_t pending_since
    uint32_t ended          # sessions that it has ended and that go on for their clients
    uint32_t fails          # failures within fail_timeout
    int64_t checked         # when it was last tried after failing
    int64_t failed          # when it failed last
    Conn* idle              # pooled connections, newest first; those of this turn are in Loop.fresh
    uint32_t nidle
    uint32_t heap           # place in the least_conn heap
    double turn             # least_conn: when its next one is due; breaks ties as weighted round robin
    Tally* tally            # what it has done, for the status port

ctypedef struct Entry:      # one line of a table, copied into the peer when the table is swapped in
    Peer* peer
    uint32_t weight
    uint32_t max_fails
    int64_t fail_timeout
    uint32_t max_conns
    uint8_t down
    uint8_t backup
    uint32_t number         # hash consistent: place in Group.alike

ctypedef struct Point:      # of a ring (`hash ... consistent`)
    uint32_t hash
    uint32_t server         # place in Group.alike

ctypedef struct Alike:      # servers that are written alike (a host name's addresses): one set of points for all of them
    uint32_t first          # places in Group.sorted
    uint32_t n              # 0: no server has this number any more
    uint32_t turn           # round robin among them; written by the loop
    uint32_t points         # how many the ring has of them
    uint32_t order          # whose point counts where two have one hash: the lower

ctypedef struct Group:      # the servers of one rank: [0] primary, [1] backup
    uint32_t n
    Peer** peers            # usable ones (not down), in list order
    uint32_t nseq
    uint32_t* seq           # order of weighted round robin: places in peers
    uint64_t total          # sum of weights
    uint64_t* upto          # ip_hash, hash, random: running sums of weights, all servers (down ones too) in list order
    Peer** all              # the servers of those sums
    uint32_t nall
    Peer** heap             # least_conn: room for the servers of this table and of the one before
    Point* ring             # hash consistent
    uint32_t nring
    Alike* alike
    uint32_t nalike
    Peer** sorted           # servers in the order of `alike`

ctypedef struct Table:      # an immutable list of servers, built off the loop
    Upstream* ups
    Table* next             # queue from the publishers to the loop
    Table* base             # made from this one, which lists the same but for `touched` and `gone`; NULL: from nothing
    uint32_t n
    Entry* entries
    uint32_t* touched       # places in entries: new, or not as in `base`; without base: all of them
    uint32_t ntouched
    Group rank[2]
    Peer** gone             # peers of the former table that this one does not list
    uint32_t ngone
    Str show                # text of /upstream_show

cdef enum Balance:
    LB_ROUND_ROBIN = 0
    LB_LEAST_CONN = 1
    LB_IP_HASH = 2
    LB_HASH = 3
    LB_HASH_RING = 4        # hash consistent
    LB_RANDOM = 5
    LB_RANDOM_TWO = 6
    LB_LEAST_TIME = 7
    LB_METHODS = 8

cdef enum Timed:            # least_time: what is measured
    TIMED_CONNECT = 1
    TIMED_HEADER = 2        # of a stream: the first byte
    TIMED_LAST = 3

ctypedef struct Upstream:
    Str name
    uint32_t number         # in the configuration
    Tally* rest             # of servers without a tally of their own
    uint8_t method          # Balance
    uint8_t tcp
    uint8_t timed           # Timed; 0: not least_time
    uint8_t inflight        # least_time ... inflight
    uint8_t local           # keepalive ... local
    Table* table            # present servers; NULL before the first publish
    uint32_t pos[2]         # next place in each rank's sequence
    double turn             # least_conn: of the server that was chosen last, or later
    Conn* idle_first        # pooled connections of all its peers, oldest first
    Conn* idle_last
    uint32_t nidle
    uint32_t keepalive      # most pooled connections
    uint32_t keepalive_requests
    int64_t keepalive_timeout
    int64_t keepalive_time  # a connection older than this is not pooled again
    Value key               # hash


# ---------------------------------------------------------------- compiled configuration (made by api, read by the loop)

ctypedef struct LimitZone:  # limit_req_zone
    Str name
    Value key
    uint64_t rate           # thousandths of requests in a second
    LimitSet* sets          # in memory that all workers share
    uint64_t nsets

ctypedef struct LimitRule:  # limit_req, in thousandths of requests
    LimitZone* zone
    uint64_t burst
    uint64_t delay          # from here on they wait

ctypedef struct RealIp:     # set_real_ip_from, real_ip_header, real_ip_recursive
    Cidrs proxies           # who is believed
    uint8_t kind            # RealFrom
    uint8_t recursive
    Str name

# ---- routing and rewriting

ctypedef struct Regex:      # a compiled regular expression (regex.pyx)
    void* code              # pcre2_code
    Str text                # as written, for the log
    Str where               # FILE:LINE, for the log
    uint32_t groups         # captures in it
    uint32_t nnames
    uint32_t* slots         # named captures: user variable
    uint32_t* nums          # and number of its group

ctypedef struct DictEntry:  # of Dict
    Str key                 # lower case; p NULL: free
    uint32_t hash
    void* value

ctypedef struct Dict:       # text to something: open addressing, at most half full
    uint32_t mask           # places - 1
    uint32_t n              # 0: empty, entries is NULL
    DictEntry* entries

ctypedef struct Names:      # what a server name or a map's key is looked up in, in this order
    Dict exact
    Dict head               # "*.x" by ".x": the longest wins
    Dict tail               # "x.*" by "x."
    uint32_t nregex
    Regex* regexes          # the first that matches
    void** values           # of the regexes

ctypedef struct Map:        # map{}
    Value source
    Value* fallback         # `default`
    Names names
    uint8_t hostnames
    uint8_t is_volatile

ctypedef struct UserVar:    # a variable of set, map or a named capture
    Str name
    Map* map                # or NULL

cdef enum SlotState:
    SLOT_EMPTY = 0
    SLOT_SET = 1
    SLOT_BUSY = 2           # its map is being looked up: a map that needs itself ends there

ctypedef struct Slot:       # a user variable's value in a request
    Str value
    uint8_t state           # SlotState

cdef enum OpKind:
    OP_SET = 1
    OP_REWRITE = 2
    OP_RETURN = 3
    OP_BREAK = 4
    OP_IF = 5

cdef enum OpTest:           # OP_IF
    IF_TRUE = 0
    IF_EQUAL = 1
    IF_REGEX = 2
    IF_FILE = 3
    IF_DIR = 4
    IF_EXISTS = 5
    IF_EXEC = 6

ctypedef struct Op:         # one operation of a server's or location's flat array
    uint8_t kind            # OpKind
    uint8_t test            # OpTest
    uint8_t negate
    uint8_t has_args        # OP_REWRITE: `text` is the new query
    uint8_t add_args        # OP_REWRITE: the old query is added
    uint8_t last            # OP_REWRITE: ends this round
    uint8_t here            # OP_REWRITE: the location stays
    uint8_t in_args         # OP_REWRITE to a URL: it has a "?"
    uint16_t status         # OP_RETURN; OP_REWRITE: 301, 302 or 0
    int32_t slot            # OP_SET: user variable; -1: $args
    uint32_t next           # OP_IF: where to go on when it does not hold
    Regex* regex
    Value value             # of OP_SET and OP_RETURN; tested by OP_IF; new path or URL of OP_REWRITE
    Value text              # OP_IF: to compare with; OP_REWRITE: new query
    Location* loc           # OP_IF in a location: its implicit location

ctypedef struct ErrorPage:  # for one status
    uint16_t status
    int16_t overwrite       # -1: the same status; 0: that of the page; else this one
    Value target
    Location* named         # of a target @NAME without variables

ctypedef struct SetHeader:
    Str name
    Value value
    uint8_t id              # FieldId

ctypedef struct AddField:   # add_header, add_trailer
    Str name
    Value value
    uint8_t always

ctypedef struct Swap:       # proxy_redirect, proxy_cookie_domain, proxy_cookie_path
    Regex* regex            # instead of `pattern`, or NULL
    Value pattern
    Value replacement

cdef enum CookieFlag:
    SC_SECURE = 1
    SC_NO_SECURE = 2
    SC_HTTPONLY = 4
    SC_NO_HTTPONLY = 8
    SC_SAMESITE = 48        # two bits: 16 Strict, 32 Lax, 48 None
    SC_NO_SAMESITE = 64

ctypedef struct CookieRule: # proxy_cookie_flags
    Regex* regex            # instead of `name`, or NULL
    Value name
    uint32_t n
    Value* words            # each comes to a CookieFlag

cdef enum ExpiresKind:
    EX_OFF = 0
    EX_EPOCH = 1
    EX_MAX = 2
    EX_ACCESS = 3
    EX_MODIFIED = 4
    EX_DAILY = 5
    EX_TEXT = 6             # what expires_text comes to

ctypedef struct Shape:      # what a location makes of an answer's fields (shape.pxd)
    Str* hide               # proxy_hide_header
    uint32_t nhide
    Str* passed             # proxy_pass_header
    uint32_t npassed
    uint32_t own            # bit per FieldId: Date and Server that pass
    Swap* redirects
    uint32_t nredirects
    Swap* domains
    uint32_t ndomains
    Swap* paths
    uint32_t npaths
    CookieRule* flags
    uint32_t nflags
    AddField* adds
    uint32_t nadds
    AddField* trailers
    uint32_t ntrailers
    uint8_t expires         # ExpiresKind
    uint8_t expires_modified    # EX_TEXT: its times count from Last-Modified
    int64_t expires_seconds
    Value expires_text

cdef enum BodyFile:
    BODY_FILE_OFF = 0
    BODY_FILE_ON = 1
    BODY_FILE_CLEAN = 2

cdef enum Next:             # proxy_next_upstream
    NX_ERROR = 1
    NX_TIMEOUT = 2
    NX_INVALID = 4
    NX_500 = 8
    NX_502 = 16
    NX_503 = 32
    NX_504 = 64
    NX_403 = 128
    NX_404 = 256
    NX_429 = 512
    NX_NON_IDEMPOTENT = 1024

ctypedef struct NextRule:
    uint16_t mask           # Next
    uint16_t tries          # 0: no limit
    int64_t timeout         # 0: no limit

cdef enum Ignore:           # proxy_ignore_headers, of those that lb reads
    IGN_REDIRECT = 1
    IGN_BUFFERING = 2

cdef enum Linger:           # lingering_close
    LINGER_OFF = 0
    LINGER_ON = 1
    LINGER_ALWAYS = 2

cdef enum Handler:
    DO_FILE = 0
    DO_PROXY = 1
    DO_TRY = 2              # try_files, then Files.behind
    DO_SHOW = 3

ctypedef struct Syslog:     # a target that takes datagrams (syslog.pyx)
    char* sa                # sockaddr
    uint32_t sa_len
    int32_t family
    uint8_t facility
    uint8_t severity        # of access logs
    uint8_t told            # `error` was logged
    int32_t error           # errno of the last failure, 0 once something was sent since
    int64_t retry_at        # when a socket may be made again
    Str head                # " host tag: ", what follows the date
    Str server              # as written

ctypedef struct TryName:
    Value name
    uint8_t is_dir

cdef enum Since:            # if_modified_since
    SINCE_OFF = 0
    SINCE_EXACT = 1
    SINCE_BEFORE = 2

ctypedef struct Files:      # of a location: which file a path stands for, and how it is sent (file.pyx)
    Value root
    Str prefix              # for a root whose variables give a relative path
    uint32_t trusted        # bytes of the root that the configuration itself wrote: `..` there is its own business
    int32_t alias           # bytes of the path that the root replaces; -1: the root is the whole name
    Value* index
    uint32_t nindex
    Dict* types             # by extension: media type, ends in a zero byte
    uint8_t quiet           # log_not_found off
    uint8_t no_etag
    uint8_t no_ranges
    uint8_t since           # Since
    uint8_t behind          # Handler that follows try_files
    uint16_t try_status     # 0: try_last
    TryName* tries
    uint32_t ntries
    Value try_last
    Location* try_named

ctypedef struct LogFile:    # access or error log: lines gather here and are written once per turn of the loop, or per buffer
    int32_t fd
    uint32_t n              # bytes waiting
    uint32_t room           # bytes of buf
    uint32_t keep           # buffer=: bytes that may wait; 0: written every turn
    int64_t flush           # flush=: how long they may wait; 0: no limit
    int64_t since           # when the first of them came
    uint8_t waits           # not ours alone, so not O_NONBLOCK: stderr
    uint8_t torn            # buf begins with the rest of a line whose start was written
    char* buf
    uint64_t dropped        # lines lost to a full or failing file
    Syslog* syslog          # NULL: a file. Its buffer holds records, not lines
    LogZip* zip             # gzip, or NULL
    int64_t fresh           # fd to use from the next turn on (reopen), swapped atomically; -1: none

cdef enum Escape:           # of log_format
    ESC_DEFAULT = 0         # \xHH, and `-` for what is not there
    ESC_JSON = 1
    ESC_NONE = 2

ctypedef struct AccessLog:
    LogFile* file
    uint8_t combined        # nginx's `combined`: no format of its own
    uint8_t escape          # Escape
    uint8_t conditional     # if=
    Value* name             # of a file that each line names: `file` is where its line is made; or NULL
    LogCache* cache         # of such files, or NULL
    Value format
    Value condition

ctypedef struct ErrorLogs:  # where messages of a level go: those of a location, a server, or the main context
    uint32_t n
    uint32_t most           # the largest of levels: worse messages and those are written
    LogFile** files
    uint32_t* levels

ctypedef struct Spot:       # a text that locations of one level begin with
    Str pattern
    Location* exact         # `=`; or NULL
    Location* prefix        # or NULL
    int32_t parent          # the longest other spot with a prefix location that this one begins with; -1: none

ctypedef struct Routes:     # the locations of one level
    Spot* spots             # in the order of their bytes
    uint32_t nspots
    Location** regex        # in file order
    uint32_t nregex

ctypedef struct Outgoing:   # how connections to servers are made
    uint8_t keepalive       # proxy_socket_keepalive
    uint8_t bound           # proxy_bind: `local`
    uint8_t transparent
    int32_t rcvbuf          # 0: the kernel's choice
    int32_t sndbuf
    Value local

ctypedef struct Location:
    uint8_t exact
    uint8_t handler         # Handler
    uint8_t http10          # proxy_http_version 1.0
    uint8_t stream_body     # proxy_request_buffering off
    uint8_t body_file       # BodyFile: client_body_in_file_only
    uint8_t single_buffer   # client_body_in_single_buffer
    uint64_t body_buffer    # client_body_buffer_size
    TempPath body_path
    TempPath answer_path
    uint8_t buffering       # proxy_buffering
    uint8_t ignore          # Ignore
    uint8_t pass_trailers   # proxy_pass_trailers
    uint8_t lenient         # Lax: proxy_lenient
    uint32_t head_max       # proxy_buffer_size
    uint64_t buffers        # proxy_buffers, all of them
    uint64_t temp_max       # proxy_max_temp_file_size
    Value* hints            # early_hints
    uint32_t nhints
    uint8_t bare            # proxy_pass_request_headers off
    uint8_t no_body         # proxy_pass_request_body off
    uint8_t has_body        # proxy_set_body: `body`
    Value body
    Value method            # proxy_method; n 0: the client's
    NextRule next
    Shape* shape            # NULL: an answer's fields pass as they are
    uint32_t special        # bit per FieldId of an answer's fields that do not simply pass
    Str pattern
    Upstream* ups
    Str proxy_host
    Str uri                 # URI part of proxy_pass; p NULL: none
    SetHeader* sets
    uint32_t nsets
    uint32_t overridden     # bit per FieldId that a SetHeader replaces
    uint8_t sets_other      # a SetHeader replaces a field with no id
    int64_t connect_timeout
    int64_t read_timeout
    int64_t write_timeout
    Outgoing out
    int64_t keepalive_timeout
    uint32_t keepalive_requests
    int64_t header_timeout
    int64_t body_timeout
    int64_t send_timeout
    int64_t max_body        # 0: no limit
    AccessLog* logs
    uint32_t nlogs
    ErrorLogs* errors
    uint32_t keepalive_header   # N of `Keep-Alive: timeout=N`
    int64_t keepalive_time
    int64_t keepalive_min   # keepalive_min_timeout: lb itself does not close an idle client before
    int64_t linger_time
    int64_t linger_timeout
    uint8_t linger          # Linger
    uint8_t no_chunks       # chunked_transfer_encoding off
    uint8_t keepalive_off   # 1: msie6, 2: safari
    uint8_t reset           # reset_timedout_connection
    uint8_t no_tokens       # server_tokens off
    Str default_type        # ends in a zero byte
    uint32_t uses           # Uses (outcome.pxd): heads that its values need
    Cidrs access            # allow, deny
    LimitRule* limits
    uint32_t nlimits
    uint16_t limit_status
    uint8_t limit_level
    uint8_t limit_dry
    RealIp* realip          # NULL: nobody is believed
    Op* ops                 # run before the handler
    uint32_t nops
    Routes routes           # locations in this one
    Regex* regex            # of a regular expression's location
    uint8_t noregex         # ^~
    uint8_t internal
    uint8_t redirect_to     # `/x/` that sends `/x` here with 301
    uint8_t recursive_error_pages
    uint8_t intercept_errors
    uint8_t absolute_redirect
    uint8_t port_in_redirect
    uint8_t server_name_in_redirect
    ErrorPage* error_pages
    uint32_t nerror_pages
    uint32_t except_methods # limit_except: bit per Method that stays here; 0: no limit_except
    Location* except_loc    # where the others go
    Value* proxy_url        # proxy_pass with variables, or NULL
    Files* files
    Server* srv

cdef enum NamesKept:        # field names that are not dropped, beyond those of letters, digits and `-`
    KEEP_PLAIN = 0
    KEEP_UNDERSCORES = 1    # underscores_in_headers on
    KEEP_ALL = 2            # ignore_invalid_headers off: every token

ctypedef struct Server:     # server {} of http
    Str name                # $server_name: the first name
    uint32_t line_most      # longest line of a head
    uint32_t head_most      # longest head
    uint32_t fields_most    # most fields
    uint8_t names_kept      # NamesKept
    uint8_t lenient         # Lax: lenient_requests
    Routes routes
    Location** named        # @ locations
    uint32_t nnamed
    Op* ops                 # run before a location is looked for
    uint32_t nops
    uint8_t merge_slashes
    Location fallback       # where no location matches

ctypedef struct StreamServer:
    Upstream* ups           # NULL: `show`, `text` or `target`
    Value* text             # `return`
    Value* target           # proxy_pass with variables
    Op* ops                 # `set`
    uint32_t nops
    uint32_t buffer         # bytes of one read
    uint8_t plain           # nothing before ups
    uint8_t show            # upstream_show
    Outgoing out
    NextRule next
    uint8_t cut             # proxy_half_close off: the end of one direction ends the session
    uint8_t greet           # proxy_protocol: servers get a PROXY header of this version; 0: none
    int64_t connect_timeout
    int64_t timeout
    uint8_t delay           # tcp_nodelay off
    Cidrs access            # allow, deny
    RealIp* realip          # NULL: nobody is believed
    AccessLog* logs
    uint32_t nlogs
    ErrorLogs* errors

ctypedef struct Listener:
    Conn* conn              # NULL: not ours (another worker's reuseport socket), or closed
    int32_t fd
    uint8_t tcp             # a stream server
    uint8_t local           # a unix socket
    uint8_t delay           # tcp_nodelay off
    uint8_t greeted         # proxy_protocol: connections begin with a PROXY header
    int64_t greet_timeout   # how long it may take
    uint32_t head_most      # the largest of its servers, for before one is known
    uint32_t line_most
    uint32_t fields_most
    uint8_t lenient         # Lax: of any of its servers, for before one is known
    Server** servers
    uint32_t nservers
    Server* fallback        # default server
    Names names             # to Server*
    uint8_t has_names       # more than one server, or captures in a name: look it up
    StreamServer* stream
    Str addr                # bound address as written, for $server_addr of wildcard listeners see value.pxd
    Str port
    uint8_t armed           # in epoll


# ---------------------------------------------------------------- the loop

ctypedef struct Stats:      # one per worker, in memory shared with the master; written by its worker only
    uint64_t pid
    uint64_t heartbeat      # loop.now of the last turn
    uint64_t accepting      # listeners are in epoll
    uint64_t clients        # open client connections
    uint64_t accepts
    uint64_t handled
    uint64_t requests
    uint64_t sessions
    uint64_t reading        # clients that send a head
    uint64_t writing        # clients with an exchange
    uint64_t waiting        # idle clients
    uint64_t up_connects
    uint64_t up_reuses
    uint64_t up_open        # open upstream connections
    uint64_t up_idle        # of them pooled
    uint64_t retries
    uint64_t failures       # failed tries
    uint64_t no_live        # requests with no server to try
    uint64_t bytes_in       # from clients
    uint64_t bytes_out      # to clients
    uint64_t refused        # heads refused
    uint64_t status[6]      # answers by class, [0]: none sent
    uint64_t accept_errors
    uint64_t no_slots       # a connection was refused or an idle one closed for want of a slot
    uint64_t log_dropped
    uint64_t tables         # server lists swapped in
    uint64_t odd            # COUNT_IF: what should not happen
    uint64_t turns          # turns of the loop
    uint64_t spools         # temporary files in use
    uint64_t syslog_sent    # datagrams
    uint64_t syslog_dropped # lines, part of log_dropped
    uint64_t syslog_errors  # failures to make a socket or to send
    uint64_t spare[25]      # the block is 512 bytes: whole cache lines
    uint64_t tallied        # how many of them were ever used
    uint64_t folding        # odd: what one tally holds is being added to another


cdef enum:
    SCRATCH = 65536         # bytes of one read
    FIRST_READ = 16384      # of an answer's first read: what is behind it of a long body is spliced, not copied
    HEADROOM = 20480        # before them: where an answer's head is put in front of its body
    TAILROOM = 8192         # behind them: the end of a chunk, and trailers
    HEADS = 131072          # where heads are written: a client's largest head, what is added, and a first body
    MAX_HEAD = 1048576      # largest head of a server, whatever proxy_buffer_size says
    INTERIM_MOST = 32       # 1xx heads before an answer
    HEAD_MOST = 61440       # largest head of a client, whatever large_client_header_buffers says
    MAX_FIELDS = 1000       # of a server's head
    SLAB_SHIFT = 8          # connections per chunk of the slab: 256

cdef enum Stop:             # what a stop asks; larger is stronger
    RUN = 0
    STOP_RELOAD_ = 1        # finish what runs; idle clients get a last chance
    STOP_QUIT_ = 2          # finish what runs; idle clients are closed
    STOP_NOW_ = 3

ctypedef struct Env:        # what values need beside the request
    int64_t now             # monotonic, ms
    int64_t wall            # since 1970, ms
    tm local                # broken-down wall clock, for the logs
    uint64_t pid
    Str hostname
    Str version             # lb/0.1.0
    Str product             # lb
    Str nginx_version       # $nginx_version
    uint64_t random[2]      # state of $request_id
    void (*user)(Out* o, Request* r, uint32_t slot) noexcept nogil      # writes a user variable (vars.pyx)
    bint (*match)(Request* r, Regex* re, const char* p, uint32_t n) noexcept nogil      # regex_match on a copy
    void (*file)(Out* o, Request* r, int var) noexcept nogil            # writes $document_root and the like (place.pyx)

ctypedef struct Inbox:      # what Python threads leave for the loop; each with its eventfd write
    void* tables            # Table*, newest first
    void* spent             # Table*, the other way: replaced, freed by the next publisher
    uint64_t stop           # Stop
    uint64_t reopen         # new log fds wait in LogFile.fresh

ctypedef struct Loop:       # one per worker; the only state of the machine rooms
    int32_t ep
    int32_t wake_fd
    int32_t signal_fd
    uint8_t stopping        # Stop in force
    uint8_t paused          # listeners are out of epoll, though we run
    uint8_t done            # leave the loop
    uint8_t armed           # listeners are in epoll
    int64_t now             # ms, monotonic; read once a turn
    int64_t second          # wall-clock second that `date` and env.local show
    int64_t resume_at       # when paused listeners are looked at again
    int64_t stop_at         # when the present stop began
    int64_t stop_most       # ms that a graceful stop may take: worker_shutdown_timeout; 0: no limit
    int64_t mean_at         # when `mean` was worked out
    uint64_t mean           # clients per worker, over the workers that run
    uint64_t others         # a worker with fewer clients accepts
    Env env
    char date[32]           # IMF-fixdate of `second`
    Pool pool
    Wheel wheel
    Pipe* pipes             # empty ones
    uint32_t npipes
    uint32_t pipes_out      # in connections
    int64_t pipes_at        # when one was given back last
    Conn** chunks           # slab
    uint32_t nchunks
    uint32_t nconns         # in use
    uint32_t max_conns      # worker_connections
    Conn* free_conns        # linked by `posted`
    Conn* posted            # to run before the next wait, newest first
    Conn* idle_first        # idle clients, oldest first
    Conn* idle_last
    Conn* fresh             # upstream connections pooled in this turn, newest first (linked by pnext, pprev)
    uint8_t looked          # epoll told in this turn of all there was to tell
    Peer* dead              # removed peers without users: freed at the end of the turn (linked by `ups`)
    Listener* listeners
    uint32_t nlisteners
    Upstream* ups
    uint32_t nups
    Dict ups_names          # of http, to Upstream*
    Dict stream_names       # of stream, to Upstream*
    Upstream direct         # addresses that variables gave: one request each, nothing is kept
    UserVar* vars           # by slot
    uint32_t nvars
    uint32_t max_groups     # captures of the regex that has most, and 1
    void* match_data        # PCRE2's (regex.pyx)
    void* match_context
    void* jit_stack
    LogFile* logs
    uint32_t nlogs
    ErrorLogs errors        # of the main context
    char* line              # LOG_LINE: where a message is put together
    uint64_t told_dropped   # st.log_dropped and st.syslog_errors as the error log has them
    uint64_t told_lines     # st.log_dropped of it
    int64_t told_at         # when it was told
    char* log_name          # LOG_LINE: a name with variables
    int64_t name_told       # when a failure to open one was told
    LogCache* log_caches
    int64_t caches_at       # when they were looked through
    int64_t flush_at        # when a log buffer's time is up; 0: none waits
    uint32_t batch          # connections to accept at once: grows while there are more
    uint32_t clients        # open client connections
    uint32_t worker         # our slot
    uint32_t workers
    uint64_t numbers        # last $connection
    uint32_t temps          # last number of a temporary file
    int64_t disk_us         # that this turn has spent on temporary files
    Stats* st               # our block
    Stats* all              # all workers' blocks
    Tally* tallies          # ours
    uint32_t ntallies       # room for so many
    Inbox inbox
    char* scratch           # HEADROOM + SCRATCH (more, if a server's head may be larger) + TAILROOM
    char* heads             # HEADS, or more: heads_room
    uint32_t heads_room     # for the head of a server's answer as it goes to the client
    uint32_t up_head_most   # the largest proxy_buffer_size
    Field* fields           # of the head that is parsed: max_fields
    uint32_t max_fields     # the largest max_headers, at least MAX_FIELDS
