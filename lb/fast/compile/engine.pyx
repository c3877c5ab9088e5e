"""The engine's Python face: class Engine (one per worker), and the shared counters. See lb/_fast.pyi for the contract.

Everything here runs with the GIL, before or beside the loop; the loop itself never comes here. Memory of the compiled
configuration lives as long as the Engine (`self.kept`).
"""

STOP_RELOAD = STOP_RELOAD_
STOP_QUIT = STOP_QUIT_
STOP_NOW = STOP_NOW_
NGINX_VERSION = "1.31.5"        # whose behaviour lb follows
BUILD = (<bytes> LB_BUILD_NAME).decode()
BUILT = {
    "mode": BUILD,
    "flags": (<bytes> LB_BUILD_FLAGS).decode(),
    "compiler": (<bytes> LB_COMPILER).decode(),
    "cython": f"{CYTHON_HEX_VERSION >> 24}.{CYTHON_HEX_VERSION >> 16 & 255}.{CYTHON_HEX_VERSION >> 8 & 255}",
}

cdef dict VARIABLE_IDS = {
    "host": V_HOST, "http_": V_HTTP_, "arg_": V_ARG_, "cookie_": V_COOKIE_, "remote_addr": V_REMOTE_ADDR,
    "remote_port": V_REMOTE_PORT, "binary_remote_addr": V_BINARY_REMOTE_ADDR, "server_name": V_SERVER_NAME,
    "server_port": V_SERVER_PORT, "server_addr": V_SERVER_ADDR, "server_protocol": V_SERVER_PROTOCOL, "scheme": V_SCHEME,
    "request": V_REQUEST, "request_method": V_REQUEST_METHOD, "request_uri": V_REQUEST_URI, "uri": V_URI,
    "document_uri": V_URI, "args": V_ARGS, "query_string": V_ARGS, "is_args": V_IS_ARGS, "proxy_host": V_PROXY_HOST,
    "proxy_port": V_PROXY_PORT, "proxy_add_x_forwarded_for": V_PROXY_ADD_X_FORWARDED_FOR,
    "content_length": V_CONTENT_LENGTH, "content_type": V_CONTENT_TYPE, "connection": V_CONNECTION,
    "connection_requests": V_CONNECTION_REQUESTS, "hostname": V_HOSTNAME, "pid": V_PID, "msec": V_MSEC,
    "time_iso8601": V_TIME_ISO8601, "time_local": V_TIME_LOCAL, "nginx_version": V_NGINX_VERSION,
    "request_body": V_REQUEST_BODY, "request_body_file": V_REQUEST_BODY_FILE,
    "gzip_ratio": V_GZIP_RATIO,
    "request_id": V_REQUEST_ID, "status": V_STATUS, "bytes_sent": V_BYTES_SENT, "body_bytes_sent": V_BODY_BYTES_SENT,
    "request_length": V_REQUEST_LENGTH, "request_time": V_REQUEST_TIME, "upstream_addr": V_UPSTREAM_ADDR,
    "upstream_status": V_UPSTREAM_STATUS, "protocol": V_PROTOCOL, "bytes_received": V_BYTES_RECEIVED,
    "connection_time": V_CONNECTION_TIME, "pipe": V_PIPE, "remote_user": V_REMOTE_USER, "request_port": V_REQUEST_PORT,
    "is_request_port": V_IS_REQUEST_PORT, "session_time": V_REQUEST_TIME,
    "upstream_connect_time": V_UPSTREAM_CONNECT_TIME, "upstream_header_time": V_UPSTREAM_HEADER_TIME,
    "upstream_first_byte_time": V_UPSTREAM_HEADER_TIME, "upstream_response_time": V_UPSTREAM_RESPONSE_TIME,
    "upstream_session_time": V_UPSTREAM_RESPONSE_TIME, "upstream_response_length": V_UPSTREAM_RESPONSE_LENGTH,
    "upstream_bytes_sent": V_UPSTREAM_BYTES_SENT, "upstream_bytes_received": V_UPSTREAM_BYTES_RECEIVED,
    "document_root": V_DOCUMENT_ROOT, "realpath_root": V_REALPATH_ROOT, "request_filename": V_REQUEST_FILENAME,
    "upstream_http_": V_UPSTREAM_HTTP_, "upstream_cookie_": V_UPSTREAM_COOKIE_, "sent_http_": V_SENT_HTTP_,
    "sent_trailer_": V_SENT_TRAILER_, "upstream_trailer_": V_UPSTREAM_TRAILER_,
    "proxy_protocol_addr": V_PROXY_PROTOCOL_ADDR, "proxy_protocol_port": V_PROXY_PROTOCOL_PORT,
    "proxy_protocol_server_addr": V_PROXY_PROTOCOL_SERVER_ADDR, "proxy_protocol_server_port": V_PROXY_PROTOCOL_SERVER_PORT,
    "proxy_protocol_tlv_": V_PROXY_PROTOCOL_TLV_, "limit_req_status": V_LIMIT_REQ_STATUS,
    "realip_remote_addr": V_REALIP_REMOTE_ADDR, "realip_remote_port": V_REALIP_REMOTE_PORT,
}
VARIABLES = frozenset(VARIABLE_IDS)
cdef dict METHODS = {"round_robin": LB_ROUND_ROBIN, "least_conn": LB_LEAST_CONN, "ip_hash": LB_IP_HASH, "hash": LB_HASH,
                     "random": LB_RANDOM}
cdef tuple COUNTERS = ("pid", "heartbeat_ms", "accepting", "clients", "accepts", "handled", "requests", "sessions", "reading",
                       "writing", "waiting", "upstream_connects", "upstream_reuses", "upstream_open", "upstream_idle",
                       "retries", "failures", "no_live", "bytes_in", "bytes_out", "refused", "status_none", "status_1xx",
                       "status_2xx", "status_3xx", "status_4xx", "status_5xx", "accept_errors", "no_slots", "log_dropped",
                       "tables", "odd", "turns", "spools", "syslog_sent", "syslog_dropped", "syslog_errors")


def stats_size(int workers, int upstreams=0):
    """Bytes of the shared counters of that many workers, and of their server_stats for so many upstreams."""
    return workers * (sizeof(WorkerStats) + stats_room(upstreams) * sizeof(ServerStats))


def read_stats(shm, int worker):
    """One worker's counters by name; all zero before it has started."""
    cdef const unsigned char[::1] view = shm
    cdef const uint64_t* at = <const uint64_t*> &view[worker * sizeof(WorkerStats)]
    return {name: at[i] for i, name in enumerate(COUNTERS)}


def clear_stats(shm, int worker):
    """Zero one worker's counters, before another worker takes the slot."""
    cdef unsigned char[::1] view = shm
    stats_clear(&view[0], worker)
    memset(&view[worker * sizeof(WorkerStats)], 0, sizeof(WorkerStats))


cdef class Engine:
    cdef list kept              # objects whose memory the compiled configuration points into
    cdef dict zones             # limit_req_zone -> its LimitZone*
    cdef list registries        # per upstream: {(sockaddr, occurrence): Peer*}
    cdef list pasts             # per upstream: Past
    cdef dict types             # pairs of `types` -> Dict*
    cdef str prefix             # what relative paths start from
    cdef dict slots             # user variable -> place in loop.vars
    cdef list regexes           # pcre2_code* of this Engine
    cdef int groups             # of the regex that has most
    cdef dict log_index         # path -> place in loop.logs; "" is the error log
    cdef dict log_caches        # open_log_file_cache -> LogCache*: equal ones are one
    cdef unsigned char[::1] shm
    cdef uint32_t map_uses      # Uses of all maps
    cdef uint32_t uses          # Uses of the values compiled since it was cleared

    def __cinit__(self):
        self.kept = []
        self.registries = []
        self.pasts = []
        self.slots = {}
        self.types = {}
        self.regexes = []
        self.log_index = {}
        self.log_caches = {}

    def __init__(self, config, listeners, *, int worker, int workers, shm, logs, int error_fd, error_level, error_logs=()):
        cdef int i
        if loop.scratch != NULL:
            raise RuntimeError("one Engine per process")
        self.shm = shm
        self.prefix = config.prefix
        self.loop_init(worker, workers, config.worker_connections)
        stats_init(len(self.shm) - sum(zone.size for zone in config.limit_zones), len(config.upstreams))
        loop.stop_most = config.worker_shutdown_timeout_ms
        compile_logs(self, config, logs, error_fd, error_level, error_logs)
        compile_variables(self, config)
        compile_zones(self, config)
        self.upstreams_init(config.upstreams)
        loop.max_fields = max([MAX_FIELDS] + [one.settings.max_headers for listener in config.listeners for one in listener.http])
        loop.fields = <Field*> self.mem(loop.max_fields * sizeof(Field))
        compile_upstream_names(self, config)
        loop.nlisteners = len(config.listeners)
        loop.listeners = <Listener*> self.mem(loop.nlisteners * sizeof(Listener))
        for i, listener in enumerate(config.listeners):
            self.listener_init(&loop.listeners[i], listener, listeners[i])
        self.heads_fit()
        regex_init(self.groups)
        self.special(loop.wake_fd, K_WAKE)
        self.special(loop.signal_fd, K_SIGNAL)
        for i, upstream in enumerate(config.upstreams):
            self.publish(i, upstream.servers, show_block(upstream.name, upstream.servers))

    # ---- what Python threads call

    def publish(self, int upstream, servers, bytes show, change=None):
        if not 0 <= upstream < <int> loop.nups:
            raise IndexError(f"no upstream number {upstream}")
        table_sweep()
        cdef dict registry = self.registries[upstream]
        cdef Past past = self.pasts[upstream]
        cdef Table* t = NULL
        if change is not None:
            t = delta_table(&loop.ups[upstream], registry, past, servers, show, change)
        if t == NULL:
            t = table_build(&loop.ups[upstream], registry, past, servers, show)
        lb_atomic_push(&loop.inbox.tables, t, <void**> &t.next)
        self.wake()

    def stop(self, int mode):
        if mode not in (STOP_RELOAD_, STOP_QUIT_, STOP_NOW_):
            raise ValueError(f"no stop mode {mode}")
        lb_atomic_store(&loop.inbox.stop, max(<uint64_t> mode, lb_atomic_load(&loop.inbox.stop)))
        self.wake()

    def reopen(self, logs, int error_fd):
        for path, i in self.log_index.items():
            fd = error_fd if path == "" else logs.get(path, -1)
            if fd >= 0:
                old = <int64_t> lb_atomic_swap(<void**> &loop.logs[<int> i].fresh, <void*> <size_t> <int> fd)
                if old >= 0:            # the loop has not come to it yet
                    close(<int> old)
        lb_atomic_store(&loop.inbox.reopen, 1)
        self.wake()

    def consul(self, int upstream, bint good):
        table_sweep()
        stats_consul(upstream, good)

    def learned(self):
        return state_read(self.registries)

    def start_with(self, dict learned):
        state_apply(self.registries, learned)

    cdef int wake(self) except -1:
        cdef uint64_t one = 1
        if write(loop.wake_fd, &one, sizeof(one)) < 0 and errno != EAGAIN:
            raise OSError(errno, "eventfd")
        return 0

    def run(self):
        with nogil:
            sched_shorten()    # of this thread: no other is made by it any more
            loop_run()

    def open_handles(self):
        """What is open beyond the engine's own eventfd and signalfd, after run(): all zero, or something leaks."""
        cdef uint32_t i, conns = 0, active = 0
        for i in range(loop.nchunks << SLAB_SHIFT):
            if conn_at(i).kind not in (K_FREE, K_WAKE, K_SIGNAL, K_LISTEN):
                conns += 1
        for registry in self.registries:
            for p in registry.values():
                active += (<Peer*> <size_t> p).active
        return {"connections": conns, "buffers": loop.pool.out, "active": active, "clients": loop.clients,
                "pipes": loop.pipes_out, "upstream_idle": loop.st.up_idle}

    def __dealloc__(self):
        cdef uint32_t i
        if loop.st == NULL:
            return
        loop_take_inbox()
        for i in range(loop.nups):
            if loop.ups[i].table != NULL:
                table_free(loop.ups[i].table)
        for registry in self.registries:
            for p in registry.values():
                peer_free(<Peer*> <size_t> p)
        peer_reap()
        buf_pool_drop(&loop.pool)
        for i in range(loop.nlogs):
            log_zip_free(loop.logs[i].zip)
        for code in self.regexes:
            pcre2_code_free(<pcre2_code*> <size_t> code)
        regex_drop()
        for i in range(loop.nchunks):
            free(loop.chunks[i])
        free(loop.chunks)
        close(loop.ep)
        close(loop.wake_fd)
        close(loop.signal_fd)
        memset(&loop, 0, sizeof(loop))

    # ---- compiling the configuration

    cdef void* mem(self, size_t n) except NULL:
        """Zeroed memory that lives as long as the Engine."""
        cdef bytearray block = bytearray(n + 1)
        self.kept.append(block)
        return <void*> PyByteArray_AS_STRING(block)

    cdef Str text(self, object s):
        cdef bytes b = s if isinstance(s, bytes) else os.fsencode(s)
        cdef Str out
        self.kept.append(b)
        out.p = <char*> b
        out.n = len(b)
        return out

    cdef int loop_init(self, int worker, int workers, int connections) except -1:
        cdef sigset_t signals
        cdef bytes seed = os.urandom(16)
        memset(&loop, 0, sizeof(loop))
        loop.worker = worker
        loop.workers = workers
        loop.all = <WorkerStats*> &self.shm[0]
        loop.st = &loop.all[worker]
        memset(loop.st, 0, sizeof(WorkerStats))
        loop.st.pid = loop.env.pid = getpid()
        loop.max_conns = connections + 64       # the slab also holds listeners and the two fds of our own
        loop.batch = 1
        loop.scratch = <char*> self.mem(HEADROOM + SCRATCH + TAILROOM)
        loop.heads = <char*> self.mem(HEADS)
        loop.env.hostname = self.text(platform.node().lower())    # as nginx
        loop.env.version = self.text(f"lb/{__version__}")
        loop.env.product = self.text("lb")
        loop.env.nginx_version = self.text(NGINX_VERSION)
        memcpy(&loop.env.random, <char*> seed, 16)
        loop.second = -1
        loop_clock()
        timer_init(&loop.wheel, loop.now)
        loop.ep = epoll_create1(EPOLL_CLOEXEC)
        loop.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        sigemptyset(&signals)
        sigaddset(&signals, SIGTERM)
        sigaddset(&signals, SIGINT)
        sigaddset(&signals, SIGQUIT)
        loop.signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC)
        if loop.ep < 0 or loop.wake_fd < 0 or loop.signal_fd < 0:
            raise OSError(errno, "epoll, eventfd or signalfd")
        return 0

    cdef int special(self, int fd, int kind) except -1:
        """A descriptor of the engine's own in the loop: level-triggered."""
        cdef Conn* c = conn_new(fd, kind)
        if c == NULL or not loop_add(c, EPOLLIN):
            raise OSError(errno, "epoll_ctl")
        return 0

    cdef int heads_fit(self) except -1:
        """Room for the largest head of a server that proxy_buffer_size allows, as it comes and as it leaves."""
        if loop.up_head_most + FIRST_READ > SCRATCH:
            loop.scratch = <char*> self.mem(HEADROOM + loop.up_head_most + FIRST_READ + TAILROOM)
        loop.heads_room = HEADS
        if loop.up_head_most > HEADS // 2:
            loop.heads_room = 2 * loop.up_head_most
            loop.heads = <char*> self.mem(loop.heads_room)
        return 0

    cdef int upstreams_init(self, upstreams) except -1:
        cdef Upstream* u
        loop.nups = len(upstreams)
        loop.ups = <Upstream*> self.mem(loop.nups * sizeof(Upstream))
        for i, upstream in enumerate(upstreams):
            u = &loop.ups[<int> i]
            u.name = self.text(upstream.name)
            u.number = i
            u.rest = stats_rest(i)
            u.method = METHODS[upstream.balancer]
            if upstream.hash_consistent:
                u.method = LB_HASH_RING
            elif upstream.random_two:
                u.method = LB_RANDOM_TWO
            u.key = self.value(upstream.hash_key)
            u.keepalive_time = upstream.keepalive_time_ms
            u.tcp = upstream.kind == "stream"
            u.keepalive = upstream.keepalive
            u.keepalive_requests = upstream.keepalive_requests
            u.keepalive_timeout = upstream.keepalive_timeout_ms
            self.registries.append({})
            self.pasts.append(Past(upstream.upsync is not None))
        loop.direct.number = loop.nups
        loop.direct.rest = stats_rest(loop.nups)
        return 0

    cdef int listener_init(self, Listener* l, listener, fd) except -1:
        cdef int one = 1
        l.local = listener.address.family == AF_UNIX
        l.tcp = listener.stream is not None
        l.addr = self.text(listener.text)
        l.port = self.text(str(listener.address.port))
        if l.tcp:
            l.stream = self.stream(listener.stream)
        else:
            compile_servers(self, l, listener)
        l.proxy_protocol_first = listener.proxy_protocol
        l.proxy_protocol_timed_out = (listener.stream.proxy_protocol_timeout_ms if l.tcp
                           else listener.http[listener.default_server].settings.client_header_timeout_ms)
        l.fd = -1
        if fd is None:
            return 0
        l.fd = fd
        os.set_blocking(fd, False)
        l.delay = not (listener.stream.tcp_nodelay if l.tcp else listener.http[listener.default_server].settings.tcp_nodelay)
        one = not l.delay
        if not l.local:                  # accepted sockets inherit it: no system call per connection
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
        l.conn = conn_new(fd, K_LISTEN)
        if l.conn == NULL:
            raise MemoryError()
        l.conn.lst = l
        return 0

    cdef StreamServer* stream(self, server) except NULL:
        cdef StreamServer* s = <StreamServer*> self.mem(sizeof(StreamServer))
        s.ups = &loop.ups[<int> server.upstream] if server.upstream >= 0 else NULL
        s.text = compile_value(self, server.text) if server.text is not None else NULL
        s.target = compile_value(self, server.target) if server.target is not None else NULL
        s.ops = compile_ops(self, server.sets, &s.nops, [])
        s.show = server.show
        s.plain = s.ups != NULL and not s.show and s.nops == 0 and not server.access and server.realip is None
        s.keepalive = server.socket_keepalive
        s.buffer = min(server.buffer_size or SCRATCH, SCRATCH)    # nginx would hang with 0
        s.connect_timeout = server.proxy_connect_timeout_ms
        s.timeout = server.proxy_timeout_ms
        s.delay = not server.tcp_nodelay
        s.nlogs = len(server.access_logs)
        s.logs = compile_access_logs(self, server.access_logs)
        s.errors = compile_errors(self, server.error_logs)
        compile_access(self, &s.access, server.access)
        s.realip = compile_realip(self, server.realip)
        s.send_proxy_protocol = server.proxy_protocol
        s.next.mask = NX_ERROR | NX_TIMEOUT if server.next_upstream else 0
        s.cut = not server.half_close
        s.next.tries = min(server.next_upstream_tries, 65535)
        s.next.timeout = server.next_upstream_timeout_ms
        return s

    cdef int limits(self, Server* s, settings) except -1:
        """Of heads. A head lies whole in one read of the engine, so HEAD_MOST is the end of all limits."""
        count, length = settings.large_client_header_buffers
        s.line_most = min(max(length, settings.client_header_buffer_size), HEAD_MOST)
        s.head_most = min(max(count * length, settings.client_header_buffer_size), HEAD_MOST)
        s.fields_most = settings.max_headers
        s.names_kept = KEEP_UNDERSCORES if settings.underscores_in_headers else KEEP_PLAIN
        if not settings.ignore_invalid_headers:
            s.names_kept = KEEP_ALL
        return 0

    cdef int location(self, Location* l, handler, settings) except -1:
        self.uses = 0
        l.connect_timeout = settings.proxy_connect_timeout_ms
        l.read_timeout = settings.proxy_read_timeout_ms
        l.write_timeout = settings.proxy_send_timeout_ms
        l.up_keepalive = settings.proxy_socket_keepalive
        l.keepalive_timeout = settings.keepalive_timeout_ms
        l.keepalive_requests = settings.keepalive_requests
        l.header_timeout = settings.client_header_timeout_ms
        l.body_timeout = settings.client_body_timeout_ms
        l.send_timeout = settings.send_timeout_ms
        l.max_body = settings.client_max_body_size
        l.keepalive_header = settings.keepalive_header_s
        l.keepalive_time = settings.keepalive_time_ms
        l.keepalive_min = settings.keepalive_min_timeout_ms
        l.linger = {"off": LINGER_OFF, "on": LINGER_ON, "always": LINGER_ALWAYS}[settings.lingering_close]
        l.linger_time = settings.lingering_time_ms
        l.linger_timeout = settings.lingering_timeout_ms
        l.no_chunks = not settings.chunked_transfer_encoding
        l.keepalive_off = ("msie6" in settings.keepalive_disable) | ("safari" in settings.keepalive_disable) << 1
        l.reset = settings.reset_timedout_connection
        l.no_tokens = settings.server_tokens == "off"
        l.default_type = self.text(settings.default_type)
        l.http10 = settings.proxy_http_version == "1.0"
        l.nlogs = len(settings.access_logs)
        l.logs = compile_access_logs(self, settings.access_logs)
        l.errors = compile_errors(self, settings.error_logs)
        self.set_headers(l, settings.set_headers)
        compile_proxy(self, l, settings)
        compile_access(self, &l.access, settings.access)
        l.realip = compile_realip(self, settings.realip)
        compile_limits(self, l, settings)
        self.handler(l, handler)
        l.uses = self.uses
        return 0

    cdef int handler(self, Location* l, handler) except -1:
        if isinstance(handler, ProxyPass):
            l.handler = DO_PROXY
            if handler.url is not None:
                l.proxy_url = compile_value(self, handler.url)
                return 0
            l.ups = &loop.ups[<int> handler.upstream]
            l.proxy_host = self.text(handler.host)
            if handler.uri is not None:
                l.uri = self.text(handler.uri)
        elif isinstance(handler, UpstreamShow):
            l.handler = DO_SHOW
        return 0

    cdef int set_headers(self, Location* l, headers) except -1:
        cdef SetHeader* h
        cdef bytes name
        headers = [(field, text) for field, text in headers if field.lower() not in FRAMING]    # those are lb's own
        l.nsets = len(headers)
        l.sets = <SetHeader*> self.mem(l.nsets * sizeof(SetHeader))
        for i, (header, value) in enumerate(headers):
            h = &l.sets[<int> i]
            name = header.encode()
            h.name = self.text(name)
            h.value = self.value(value)
            h.id = field_id(<uint8_t*> h.name.p, h.name.n)
            if h.id:
                l.overridden |= 1u << h.id
            else:
                l.sets_other = 1
        return 0

    cdef Value value(self, parts) except *:
        cdef Value v
        cdef Piece* piece
        v.n = len(parts)
        v.pieces = <Piece*> self.mem(v.n * sizeof(Piece))
        for i, part in enumerate(parts):
            piece = &v.pieces[<int> i]
            if isinstance(part, str):
                piece.text = self.text(part)
                continue
            name = part.name
            if name in self.slots:
                piece.var = V_USER
                self.uses |= self.map_uses
                piece.text.n = self.slots[name]
                continue
            if name.isdecimal():
                piece.var = V_CAPTURE
                piece.text.n = int(name)
                continue
            if name not in VARIABLE_IDS:            # a family: the rest of the name is its argument
                family = max((one for one in VARIABLE_IDS if one.endswith("_") and name.startswith(one)), key=len)
                name, rest = family, name[len(family):]
                piece.text = self.text(rest)
            piece.var = VARIABLE_IDS[name]
            if piece.var == V_SENT_HTTP_:
                self.uses |= USES_SENT_HEAD
            elif piece.var == V_UPSTREAM_HTTP_ or piece.var == V_UPSTREAM_COOKIE_:
                self.uses |= USES_UP_HEAD
            elif piece.var == V_SENT_TRAILER_:
                self.uses |= USES_SENT_TRAILERS
            elif piece.var == V_UPSTREAM_TRAILER_:
                self.uses |= USES_UP_TRAILERS
        return v
