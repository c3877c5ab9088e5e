# A worker: its listeners, its counters, and the loop that is all its state. Included by types.pxd.

ctypedef struct Listener:
    Conn* conn              # NULL: not ours (another worker's reuseport socket), or closed
    int32_t fd
    uint8_t tcp             # a stream server
    uint8_t kind            # what its clients become: K_HTTP or K_TCP
    const Transport* io     # of its clients
    const TlsConf* tls      # `listen ... ssl`: the default server's; or NULL
    int64_t handshake_timeout   # how long the transport's handshake may take
    uint8_t local           # a unix socket
    uint8_t delay           # tcp_nodelay off
    uint8_t proxy_protocol_first         # proxy_protocol: connections begin with a PROXY header
    int64_t proxy_protocol_timeout  # how long it may take
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
    Settings* settings      # of `stream`, or of the default server
    Str addr                # bound address as written, for $server_addr of wildcard listeners see route/variables/request.pxd
    Str port
    uint8_t armed           # in epoll
    uint8_t h2              # HTTP/2 is spoken here, where TLS does not say which

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
    void (*user)(Out* o, Request* r, uint32_t slot) noexcept nogil      # writes a user variable (route/variables/user.pyx)
    bint (*match)(Request* r, Regex* re, const char* p, uint32_t n) noexcept nogil      # regex_match on a copy
    void (*file)(Out* o, Request* r, int var) noexcept nogil            # writes $document_root and the like (static/path.pyx)

ctypedef struct Inbox:      # what Python threads leave for the loop; each with its eventfd write
    void* tables            # Table*, newest first
    void* spent             # Table*, the other way: replaced, freed by the next publisher
    uint64_t stop           # Stop
    uint64_t reopen         # new log fds wait in LogFile.fresh
    void* contexts          # TlsRenewal*, newest first
    void* passwords         # AuthJob* that were checked, newest first

ctypedef struct Loop:       # one per worker; the only state of the machine rooms
    int32_t ep
    int32_t wake_fd
    int32_t signal_fd
    uint8_t stopping        # Stop in force
    uint8_t paused          # listeners are out of epoll, though we run
    uint8_t done            # leave the loop
    uint8_t armed           # listeners are in epoll
    uint8_t debug           # some client may be traced: trace points look at Conn.debug
    int64_t now             # ms, monotonic; read once a turn
    int64_t second          # wall-clock second that `date` and env.local show
    int64_t resume_at       # when paused listeners are looked at again
    int64_t stop_at         # when the present stop began
    int64_t stop_most       # ms that a graceful stop may take: worker_shutdown_timeout; 0: no limit
    int64_t mean_at         # when `mean` was worked out
    uint64_t mean           # clients per worker, over the workers that run
    uint64_t others         # a worker with fewer clients accepts
    const Transport* io     # of connections to servers, and of clients before what their listener says
    uint64_t cutting        # seed of the cutting transport, which counts on; 0: plain
    uint8_t stalled         # whose handshake it never ends: K_HANDSHAKE (clients), K_UP; 0: nobody's
    ConnKind kinds[KINDS]
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
    void* match_data        # PCRE2's (route/regex.pyx)
    void* match_context
    void* jit_stack
    LogFile* logs
    uint32_t nlogs
    ErrorLogs errors        # of the main context
    Cidrs debug_clients     # debug_connection
    char* line              # LOG_LINE: where a message is put together
    uint64_t told_dropped   # st.log_dropped and st.syslog_errors as the error log has them
    uint64_t told_lines     # st.log_dropped of it
    int64_t told_at         # when it was told
    uint64_t told_glitches  # lb_glitches as the error log has them
    uint64_t told_places    # a bit for each counter: the glitches that it has
    char* log_name          # LOG_LINE: a name with variables
    int64_t name_told       # when a failure to open one was told
    LogCache* log_caches
    int64_t caches_at       # when they were looked through
    int64_t flush_at        # when a log buffer's time is up; 0: none waits
    uint32_t batch          # connections to accept at once: grows while there are more
    uint32_t clients        # open client connections
    uint32_t worker         # our slot
    uint32_t workers
    uint32_t processes      # workers, and the checker if there is one: so many have a block of counters
    uint8_t checker         # we are it
    HealthTable* health     # what the checks say; NULL: nobody is checked
    uint64_t health_seen    # HealthTable.changes that we know
    Peer** health_peers     # by place in that table
    uint64_t numbers        # last $connection
    uint32_t temps          # last number of a temporary file
    int64_t disk_us         # that this turn has spent on temporary files
    WorkerStats* st         # our block (c/stats.h): written by us only
    WorkerStats* all        # all workers' blocks
    ServerStats* server_stats   # ours
    uint32_t nserver_stats  # room for so many
    Inbox inbox
    TlsWorker tls
    void* deflaters         # idle states of zlib (http/gzip.pyx)
    uint32_t ndeflaters     # of them
    uint32_t deflaters_out  # in use
    char* zipped            # HEADROOM + SCRATCH + TAILROOM: what gzip makes; NULL before the first use
    H2* h2_dirty            # connections with frames for the end of the turn
    H2Stream* h2_free       # streams to be used again
    char* h2_in             # H2_READ: what one read of a connection brings; NULL before the first
    uint32_t h2_in_room     # http2_recv_buffer_size
    char* h2_text           # H2_TEXT: heads out of field blocks, and into them
    char* h2_side           # H2_SIDE: decoded texts
    char* scratch           # HEADROOM + SCRATCH (more, if a server's head may be larger) + TAILROOM
    char* heads             # HEADS, or more: heads_room
    uint32_t heads_room     # for the head of a server's answer as it goes to the client
    uint32_t up_head_most   # the largest proxy_buffer_size
    Field* fields           # of the head that is parsed: max_fields
    uint32_t max_fields     # the largest max_headers, at least MAX_FIELDS
    AuthState* auth         # of auth_basic; NULL: there is none
