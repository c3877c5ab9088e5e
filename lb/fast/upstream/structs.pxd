# Upstreams, their servers, and the tables that list them. Included by types.pxd.

cdef enum Down:             # Peer.down, Entry.down: why no method chooses it
    PEER_DOWN = 1           # by configuration, or Consul's word
    PEER_DRAINS = 2         # `drain`: what sticky binds to it still comes

cdef enum:
    ROUTE_MOST = 32         # bytes of a route: `route=`, or the MD5 of the address in hex

ctypedef struct Route:      # what sticky knows a server by
    uint64_t hash           # sticky_hash of the text; 0: its upstream has no sticky
    uint8_t n
    char text[32]           # ROUTE_MOST

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
    uint8_t down            # Down
    uint8_t backup
    uint8_t removed         # in no table: freed when its last user leaves
    uint8_t single          # the only server: never taken for unavailable
    uint8_t listed          # a table that lists it has been swapped in
    uint8_t partial         # it takes a part of its weight only (peer_share), and is among Upstream.parts
    uint16_t share          # of its weight, in 256; 256: all of it
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
    uint64_t pull           # weight times peer_share: what a method with a heap divides by
    int64_t slow_start      # ms, of the present table; 0: none
    int64_t began           # when its slow start began; 0: it is in none
    uint64_t id             # of its address in its upstream: who leaves the list and comes back has the same
    Peer* part_prev         # Upstream.parts: a ring; NULL: not in it
    Peer* part_next
    TlsSession* sessions    # of TLS, for its next connections
    uint32_t nsessions
    ServerStats* stats      # what it has done, for the status port
    Health* health          # what its checks say; NULL: it has none
    uint64_t health_generation      # of that place, while it is this server's
    uint8_t out             # its checks have taken it out, as this worker saw at the last change
    Check* check            # in the checker: its next or present check
    Route route             # of the present table
    Check* agent            # and what its agent is asked

ctypedef struct Entry:      # one line of a table, copied into the peer when the table is swapped in
    Peer* peer
    uint32_t weight
    uint32_t max_fails
    int64_t fail_timeout
    uint32_t max_conns
    uint8_t down
    uint8_t backup
    int64_t slow_start
    uint32_t number         # hash consistent: place in Group.alike
    Route route             # of sticky

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
    uint32_t* routes        # sticky: places in Table.entries, and 1, by the hash of their route; NULL: no sticky
    uint32_t routes_mask

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

ctypedef struct BalanceMethod:  # one row of balance/methods.pyx: all that tells one method from another
    const char* name            # as lb.model.Upstream.method
    Peer* (*pick)(Upstream* u, Group* g, uint32_t* pos, Request* r, Env* env) noexcept nogil    # of this rank, or NULL
    uint64_t (*load)(Peer* p, int64_t now) noexcept nogil       # what the heap goes by, for its weight; NULL: no heap
    uint64_t (*key)(Request* r) noexcept nogil      # what it goes by, as a number; 0: none this time. NULL: it has no key
    int (*build)(Table* t, object past, object servers) except -1   # a new table's own part, with the GIL; NULL: none
    uint8_t by_order            # goes by the order of the list: a table is not made from the last one and a change

cdef enum:
    BUDGET_CELLS = 10           # seconds that a budget of retries looks back

ctypedef struct Budget:         # proxy_next_upstream_budget: what this worker asked of an upstream, by upstream/budget.pyx
    int64_t second              # of the newest cell
    uint32_t requests[10]       # BUDGET_CELLS, by second
    uint32_t retries[10]
    uint64_t nrequests          # their sums
    uint64_t nretries
    uint64_t refused            # since it began to refuse
    int64_t refused_at          # the last time
    uint8_t refusing
cdef enum StickyKind:
    STICKY_COOKIE = 1
    STICKY_ROUTE = 2
    STICKY_LEARN = 3

cdef enum:
    STICKY_NO_EXPIRES = -1  # Sticky.expires
    STICKY_EXPIRES_MAX = -2

ctypedef struct Sticky:     # `sticky` of an upstream
    uint8_t kind            # StickyKind
    uint8_t httponly
    uint8_t secure
    uint8_t header          # learn: with the head of the answer
    uint32_t uses           # Uses of `create`
    Value* lookup           # what names the route, or the session: the first that is not empty
    uint32_t nlookup
    Str name                # of the cookie
    int64_t expires         # s
    Value domain
    Value samesite
    Str path
    Value* create           # what names a new session
    uint32_t ncreate
    int64_t timeout
    Str zone
    uint64_t size           # bytes of it
    StickySet* sets         # of learn: in memory that all workers share
    uint64_t nsets

ctypedef struct Stuck:      # Request.stuck: the server that a request got from an upstream with sticky
    Sticky* by
    Route route

cdef enum Timed:            # least_time: what is measured
    TIMED_CONNECT = 1
    TIMED_HEADER = 2        # of a stream: the first byte
    TIMED_LAST = 3

ctypedef struct Upstream:
    Str name
    uint32_t number         # in the configuration
    ServerStats* rest       # of servers without counters of their own
    BalanceMethod* method
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
    CheckConf* check        # NULL: its servers are not checked
    Peer* parts             # those with `partial`, and who of them is looked at next
    int64_t slow_start      # ms: of servers that name none (upsync_slow_start)
    uint64_t lots           # state of the draws of peer_takes
    Budget budget
    Sticky* sticky          # NULL: none
