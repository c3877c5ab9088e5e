# A compiled configuration: the start of its arena (compile/arena.pyx). Written when it is made, then only read. Included by
# types.pxd.

ctypedef struct Conf:
    size_t size             # bytes of the arena, this struct included
    size_t used             # of them, while it grows
    size_t most             # of addresses
    int32_t fd              # the memory, in the process that fills it
    uint8_t sealed          # it is whole
    Listener* listeners     # a worker writes its descriptors into them, as into `ups`, `logs`, `log_caches` and `zones`
    uint32_t nlisteners
    Upstream* ups
    uint32_t nups
    Dict ups_names          # of http, to Upstream*
    Dict stream_names       # of stream, to Upstream*
    UserVar* vars           # by slot
    uint32_t nvars
    LogFile* logs           # the first is the first error log of the main context
    uint32_t nlogs
    ErrorLogs errors        # of the main context
    LogCache* log_caches
    Cidrs debug_clients     # debug_connection
    uint8_t debug           # some log wants debug messages
    TlsConf* tls            # one for each of Config.tls; a master fills in what it has made
    uint32_t ntls
    LimitZone* zones
    uint32_t nzones
    size_t zones_size       # bytes of shared memory for all of them
    size_t health_size      # bytes of it for what checks say, behind them; 0: there are none
    Regex* regexes          # all of them
    uint32_t groups         # captures of the one that has most
    uint32_t up_head_most   # the largest proxy_buffer_size
    uint32_t max_fields     # the largest max_headers, at least MAX_FIELDS
    uint32_t h2_in_room     # http2_recv_buffer_size
