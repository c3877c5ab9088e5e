# Active health checks. Included by types.pxd.

cdef enum HealthState:      # Health.state
    HEALTH_FREE = 0         # never used: a search ends here
    HEALTH_BUSY = 1         # being filled
    HEALTH_USED = 2
    HEALTH_GONE = 3         # its server is in no list of the checker: another may have the place after a while

cdef enum CheckWhy:         # how a check ended; Health.why. `detail` is in brackets
    CHECK_OK = 0
    CHECK_NONE = 1          # there was none yet
    CHECK_CONNECT = 2       # (errno)
    CHECK_BROKEN = 3        # the connection broke before the answer was whole (errno)
    CHECK_CLOSED = 4        # it ended
    CHECK_TIMEOUT = 5       # (CheckPhase in which it was)
    CHECK_INVALID = 6       # not an answer of this protocol
    CHECK_STATUS = 7        # an answer that says no (HTTP status, or the protocol's own code)
    CHECK_LARGE = 8         # an answer that does not end
    CHECK_TEXT = 9          # an answer without what was expected in it
    CHECK_TLS = 10          # the handshake failed
    CHECK_WHYS = 11

cdef enum CheckPhase:
    CP_WAIT = 0             # for the next check; its connection may be kept meanwhile
    CP_CONNECT = 1
    CP_HANDSHAKE = 2
    CP_SEND = 3
    CP_READ = 4

cdef enum CheckJudgement:   # what a type's `judge` says
    JUDGE_MORE = 0          # too few bytes
    JUDGE_OK = 1
    JUDGE_FAIL = 2          # Check.why and .detail say why
    JUDGE_AGAIN = 3         # a kept connection that had ended already: ask on a new one

cdef enum:
    HEALTH_TEXT = 96        # of what the last check said
    HEALTH_RESULTS = 10     # that are remembered
    HEALTH_CHANGED = 256

ctypedef struct Health:     # what all know of a checked server: shared memory. The checker writes it, but for a new place
    uint64_t state          # HealthState
    uint64_t word           # generation << 16 | share << 8 | HealthBit (health/word.pxd): all that a choice reads
    uint64_t hash           # of upstream and name
    uint32_t upstream       # its number
    uint32_t name_len
    uint32_t rise           # checks that it passed in a row; 0: the last one failed
    uint32_t fall           # the same of those that failed
    uint32_t why            # CheckWhy of the last one
    int32_t detail
    uint64_t since          # ms, monotonic, as all times here: up or down since then; 0: no verdict yet
    uint64_t ended          # of the last check; while GONE: when it went
    uint64_t took_us        # the last one
    uint64_t checks         # in all
    uint64_t failures       # of them
    uint64_t late           # of them began late, because the one before took longer than the interval
    uint64_t changes        # of up and down
    uint32_t results        # bits: the newest is the lowest, 1 is a failure
    uint32_t nresults       # how many of them there are, up to HEALTH_RESULTS
    uint32_t text_len
    uint32_t order          # its place in its upstream's list, for check_status
    char text[96]           # what the last check said, for people
    char name[112]          # the address as written
    uint64_t served         # a worker's last good answer, told again only when it has aged (served.pxd)
    uint64_t skipped        # checks that real traffic had answered
    uint32_t agent_len
    char agent[36]          # what the agent said last, for people

ctypedef struct HealthTable:    # at the start of that memory
    uint64_t lock           # pid of the process that looks for a place; 0: nobody does
    uint64_t room           # places behind this struct
    uint64_t used           # of them, ever
    uint64_t refused        # servers that found no place: they are not checked
    uint64_t generation     # of the last place that was given
    uint64_t epoch          # how often the configuration was reloaded (check_status)
    uint64_t behind         # ms: how late the checker was in its last second, at most
    uint64_t changes        # of words, ever: workers compare it with what they have seen
    uint32_t changed[256]   # HEALTH_CHANGED: the last places whose word has changed, by `changes`

ctypedef struct CheckPiece: # of what is sent: text, or a value of the server
    Str text
    uint8_t value           # CheckValue; 0: text

ctypedef struct CheckMatch: # what is looked for in an answer
    Str name                # of a field; n 0: not in one
    Str text
    Regex* regex            # in place of `text`; or NULL

ctypedef struct CheckRange: # of HTTP status
    uint16_t low
    uint16_t high

ctypedef struct CheckConf:  # `check` of an upstream, compiled
    const CheckType* type
    CheckPiece* send        # NULL: the type's own
    uint32_t nsend
    uint32_t expect         # http: a bit for each class of status (2: 2xx)
    uint32_t rise
    uint32_t fall
    int64_t interval
    int64_t fast            # between checks until there is a verdict, and while it changes
    int64_t down            # while it is down
    int64_t timeout
    uint16_t port           # 0: the server's own
    uint8_t default_down
    uint32_t requests       # on one connection; 1: each check has its own
    uint8_t head            # http: what is sent is a HEAD
    uint8_t skip            # check_skip_when_served
    CheckRange* ranges      # http: in place of `expect`, where there are some
    uint32_t nranges
    CheckMatch* fields      # http: of the answer's head
    uint32_t nfields
    CheckMatch* body        # http: in its body; or NULL
    CheckMatch* text        # tcp: in what comes; or NULL
    const TlsConf* tls      # or NULL
    Str tls_name            # SNI, and whose certificate it must be; n 0: none is told
    int32_t grpc            # grpc-status of a server that lives
    CheckConf* agent        # check_agent; or NULL
    uint32_t unplaced       # servers that found no place, as the checker's log has them

ctypedef struct CheckType:  # one row of health/types.pyx
    const char* name
    uint8_t keeps           # its connection may serve for the next check
    void (*send)(Check* k, Out* o) noexcept nogil       # what it sends where the configuration does not say; NULL: nothing
    # Something came on a kept connection; False: it has ended. NULL: it has. Its `send` makes messages of what is configured
    bint (*idle)(Check* k) noexcept nogil
    int (*judge)(Check* k, const char* p, uint32_t n, bint end) noexcept nogil    # all that came; `end`: that is all. JUDGE_
    void (*done)(Check* k, bint ok) noexcept nogil      # in place of rise and fall; NULL: those

ctypedef struct Check:      # of one server, in the checker only
    Conn* conn              # for its timer, and its socket while it has one
    Peer* peer
    Health* health
    CheckConf* conf
    uint8_t phase           # CheckPhase
    uint8_t keep            # the judge: the connection stands where it stood before the request
    uint8_t known           # has a verdict
    uint8_t first           # had none when this process began to ask
    uint8_t why             # CheckWhy of the check that runs
    uint8_t runs            # waits for its server: counted in check_crowd
    uint8_t settled         # the judge: the answer is good, more bytes are wanted for nothing but to keep the connection
    int32_t detail
    uint32_t served         # checks on this connection
    void* grpc              # GrpcKept: where a kept connection stands (services.pyx); or NULL
    int64_t due             # when the next one is to begin; ms
    int64_t began           # this check
    int64_t began_us
    uint32_t note_len
    char note[72]           # what else there is to say of a failure
    uint32_t sa_len
    char sa[112]            # where to: the server's address, with the check's port
