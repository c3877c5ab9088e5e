# Memory, timers, text, and the connection. Included by types.pxd.

ctypedef struct Buf:        # a block from the pool (io/buf.pxd); its bytes follow the struct
    Buf* next               # chain, or the pool's free list
    uint32_t cap            # bytes that fit
    uint32_t off            # first byte not yet consumed
    uint32_t end            # one past the last byte written
    uint16_t cls            # size class
    uint16_t sealed         # Conn.out: bytes as the transport sends them

ctypedef struct Pool:       # free blocks by size class; one per worker
    Buf* free[8]            # LIFO: the last freed is the hottest
    uint32_t nfree[8]       # blocks in each list
    uint64_t out            # blocks handed out and not yet given back

ctypedef struct Pipe:       # bytes in bulk (io/splice.pyx)
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
    void (*trace)(Timer* t, int64_t at) noexcept nogil      # debug: is told of each deadline; NULL: nobody is

ctypedef struct Str:
    char* p
    uint32_t n

ctypedef struct Out:        # bounded writer (io/writer.pxd)
    char* p                 # next byte
    char* end               # one past the last that fits
    uint32_t full           # set when something did not fit; nothing more is written
    uint32_t missing        # set by a variable that is not there (a log shows `-`), which is not the same as an empty one

cdef enum Kind:
    K_FREE = 0
    K_LISTEN = 1            # listening socket
    K_WAKE = 2              # eventfd: Python threads have something for the loop
    K_SIGNAL = 3            # signalfd
    K_HTTP = 4              # client of an http server
    K_TCP = 5               # client of a stream server
    K_UP = 6                # connection to a server of an upstream
    K_PROXY_PROTOCOL = 7             # client of either, before its PROXY header is whole (stream/proxy_protocol.pyx)
    K_HANDSHAKE = 8         # client of either, before its transport is up (io/handshake.pyx)
    K_CHECK = 9             # a server that is checked, in the checker (health/checker.pyx)
    K_H2 = 10               # client of an http server that speaks HTTP/2 (h2/connection.pyx)
    K_STREAM = 11           # a stream of such a one: it has no descriptor
    KINDS = 12

cdef enum State:            # changed by conn_state() only
    S_FREE = 0
    S_IDLE = 1              # client between requests; upstream connection in its peer's pool
    S_HEAD = 2              # client: part of a request head is here
    S_CONNECT = 3           # upstream: connect() under way
    S_BUSY = 4              # an exchange runs
    S_LINGERING = 5            # client: answered, our side shut; reading what is still on its way
    S_NEW = 6               # client: accepted, nothing received yet
    S_HANDSHAKE = 7         # the transport's handshake is under way: of a client, or behind connect()
    S_STATES = 8

cdef enum Ready:            # what epoll told and no system call has disproved
    R_READ = 1
    R_WRITE = 2
    R_HUP = 4               # the peer closed or failed: a read will come to the end
    R_ERR = 8               # EPOLLERR or EPOLLHUP: both directions are gone

cdef enum Debug:            # Conn.debug
    DEBUG_LEVEL = 1         # the error_log of what it asks for has the level debug
    DEBUG_CLIENT = 2        # debug_connection names its client: all error logs have all of it

cdef enum ConnFlag:
    CF_EOF = 1              # read to the end
    CF_SHUT = 2             # we shut our sending side
    CF_NODELAY = 4          # TCP_NODELAY is set
    CF_POSTED = 8           # on the list of what runs before the next wait
    CF_UNIX = 16            # not TCP
    CF_USED = 32            # upstream: has served a request before
    CF_FAILED = 64          # an I/O error was seen
    CF_BULK = 128           # what is read here goes by splice

cdef enum Io:               # what an operation of a transport answers where it moves no bytes
    IO_END = 0              # reading: the peer has ended
    IO_AGAIN = -1           # nothing now; what makes it worth another try is an event or a post
    IO_FAILED = -2          # the connection is broken (CF_FAILED is set)

ctypedef struct Transport:  # how the bytes of a connection travel; the contract is in io/conn.pyx
    const char* name
    ssize_t (*recv)(Conn* c, char* p, size_t n) noexcept nogil
    ssize_t (*send)(Conn* c, const char* p, size_t n) noexcept nogil          # 0: none now
    ssize_t (*peek)(Conn* c, char* p, size_t n) noexcept nogil
    int (*pending)(Conn* c) noexcept nogil              # Ready: what can go on without an event of the descriptor
    int (*handshake)(Conn* c) noexcept nogil            # 1: done; 0: not yet; IO_FAILED. NULL: there is none
    void (*failed)(Conn* c, bint late) noexcept nogil   # a client's handshake has failed, or takes too long: counted. NULL: not
    int (*explain)(Conn* c, Out* o) noexcept nogil      # what ended the handshake; its log level. NULL: there is none
    ssize_t (*splice_in)(Conn* c, Pipe* to, size_t n) noexcept nogil          # NULL: not past this process
    ssize_t (*splice_out)(Conn* c, Pipe* frm) noexcept nogil                  # NULL: not past this process
    ssize_t (*sendfile)(Conn* c, int file, int64_t at, size_t n) noexcept nogil         # NULL: not past this process
    void (*shutdown)(Conn* c) noexcept nogil            # end our direction; the other goes on
    void (*reset)(Conn* c) noexcept nogil               # its close will break off what was sent
    void (*abort)(Conn* c) noexcept nogil               # its end shall not say that all was sent. NULL: it never does
    void (*close)(Conn* c) noexcept nogil
    int (*error)(Conn* c) noexcept nogil                # the errno of what failed, which it clears; 0: nothing did
    bint (*local)(Conn* c, char* sa, uint32_t* n) noexcept nogil    # our own address, of *n bytes at most

ctypedef struct ConnKind:   # what a kind of connection does (io/kinds.pyx)
    void (*begin)(Conn* c) noexcept nogil               # it has become one of this kind
    void (*event)(Conn* c) noexcept nogil
    void (*timeout)(Conn* c) noexcept nogil
    void (*drain)(Conn* c) noexcept nogil               # the worker ends now: log, let go, close; NULL: ended elsewhere
    void (*count)(Conn* c, int old, int state) noexcept nogil       # its state changes: counters, lists; NULL: none

ctypedef struct Conn:       # a connection; in a slab, never moves; written by the loop only
    Timer timer             # first: see Timer
    const Transport* io     # how its bytes travel
    void* io_state          # the transport's own
    H2* h2                  # of K_H2 and K_STREAM: the connection's; NULL: it speaks HTTP/1
    int32_t fd              # the transport's: -1 where it has none (nobody else may ask)
    uint32_t idx            # place in the slab
    uint32_t gen            # grows when freed: an event of an older life is dropped
    uint8_t kind            # Kind
    uint8_t state           # State
    uint8_t ready           # Ready
    uint8_t flags           # ConnFlag
    Buf* inb                # bytes received and not yet parsed (part of a head, the next pipelined request)
    Buf* out                # bytes to send that the kernel did not take yet
    Pipe* pipe              # bytes read in bulk on their way to the other side
    Encoder* enc            # how messages are written to it
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
    uint8_t secure          # TLS: its handshake is done
    uint8_t debug           # Debug: its steps go to the error log (log/debug.pyx)
    uint64_t number         # $connection; upstream: of its client, where that is traced
    Location* loc           # client: of its last exchange, for how it idles and lingers; upstream: the same, for `local`
    uint32_t served         # requests begun
    uint32_t fresh          # upstream: pooled in this turn; epoll has not looked at it since
    Buf* proxy_protocol           # client: what its PROXY header said (a ProxyProtocol), or NULL
    uint32_t addr_len       # of addr
    char addr[28]           # client: sockaddr_in or sockaddr_in6; realip replaces it for a request. upstream: proxy_bind's
