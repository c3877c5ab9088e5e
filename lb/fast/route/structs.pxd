# What routes a request, and who may pass: made by compile/, read by the loop. Included by types.pxd.

ctypedef struct LimitZone:  # limit_req_zone
    Str name
    Value key
    uint64_t rate           # thousandths of requests in a second
    uint64_t size           # bytes of them
    LimitSet* sets          # in memory that all workers share: where this worker has it
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

ctypedef struct Regex:      # a compiled regular expression (route/regex.pyx)
    Regex* next             # all of a configuration
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
