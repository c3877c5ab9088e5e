"""The engine's Python face: class Engine (one per worker), and the shared counters. See lb/_fast.pyi for the contract.

Everything here runs with the GIL, before or beside the loop; the loop itself never comes here. An Engine binds what
compile/compiled.pyx has made to this process: epoll, eventfd, signalfd, its block of counters, the descriptors of listeners and
logs, match data, scratch memory. Each upstream then gets its servers by `publish`, before `run`. What it makes for that lives as
long as it does (`self.kept`); of the compiled configuration it writes only what is the worker's own (copy-on-write).
"""

STOP_RELOAD = STOP_RELOAD_
STOP_QUIT = STOP_QUIT_
STOP_NOW = STOP_NOW_
NGINX_VERSION = "1.31.5"        # whose behaviour lb follows
BUILD = (<bytes> LB_BUILD_NAME).decode()
CUTTING = bool(LB_CUTTING)      # is the cutting transport built in?
PHASES = ("routing", "delayed", "body", "connecting", "reading head", "reading body", "tunnel", "answered", "discarding",
          "done")
BUILT = {
    "mode": BUILD,
    "flags": (<bytes> LB_BUILD_FLAGS).decode(),
    "compiler": (<bytes> LB_COMPILER).decode(),
    "openssl": (<bytes> OPENSSL_VERSION_TEXT).decode(),         # whose headers; and the one that runs
    "openssl_runs": (<bytes> OpenSSL_version(0)).decode(),
    "cython": f"{CYTHON_HEX_VERSION >> 24}.{CYTHON_HEX_VERSION >> 16 & 255}.{CYTHON_HEX_VERSION >> 8 & 255}",
}


def phases_walked():
    """How often exchanges of this process went from one phase to another; a release build does not count."""
    numbers = range(len(PHASES))
    return {(PHASES[i], PHASES[k]): LB_WALKED(i, k) for i in numbers for k in numbers if LB_WALKED(i, k)}


cdef class Engine:
    cdef Compiled compiled      # whose memory the loop reads; it must not go before us
    cdef list kept              # objects whose memory the loop uses
    cdef list registries        # per upstream: {(sockaddr, occurrence): Peer*}
    cdef list pasts             # per upstream: Past
    cdef unsigned char[::1] shm

    def __cinit__(self):
        self.kept = []
        self.registries = []
        self.pasts = []

    def __init__(self, Compiled compiled, config, listeners, *, int worker, shm, logs, int error_fd, bint checker=False):
        cdef int i
        if loop.scratch != NULL:
            raise RuntimeError("one Engine per process")
        self.shm = shm
        self.compiled = compiled
        self.loop_init(compiled.root(), worker, config.worker_processes, config.worker_connections)
        loop.processes = config.processes
        loop.checker = checker
        if checker:
            loop.max_conns = 0xFFFFFFFF
        stats_init(len(self.shm) - compiled.conf.zones_size - compiled.conf.health_size, len(config.upstreams))
        loop.stop_most = config.worker_shutdown_timeout_ms
        self.logs_bind(logs, error_fd)
        self.zones_bind()
        tls_renewal_hold(compiled.conf.tls, compiled.conf.ntls)
        self.upstreams_bind(config.upstreams)
        for i, fd in enumerate(listeners):
            self.listener_bind(&loop.listeners[i], fd)
        self.heads_fit()
        regex_init(compiled.conf.groups)
        if checker:
            regex_limit()
        compile_beacon(self)
        self.special(loop.wake_fd, K_WAKE)
        self.special(loop.signal_fd, K_SIGNAL)

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
        cdef int i, fd
        cdef int64_t old
        for i in range(<int> loop.nlogs):
            fd = compile_log_fd(i, logs, error_fd)
            if fd >= 0:
                old = <int64_t> lb_atomic_swap(<void**> &loop.logs[i].fresh, <void*> <size_t> <int> fd)
                if old >= 0:            # the loop has not come to it yet
                    close(<int> old)
        lb_atomic_store(&loop.inbox.reopen, 1)
        self.wake()

    def renew(self, int place, conf, keys):
        tls_renewal_post(&self.compiled.conf.tls[place], tls_renewal_context(self.compiled.contexts, place, conf, keys))
        self.wake()

    def staple(self, int place, bytes digest, bytes response, int64_t until):
        if not 0 <= place < <int> self.compiled.conf.ntls:
            raise ValueError(f"no place {place}")
        tls_staple_post(&self.compiled.conf.tls[place], digest, response, until)
        self.wake()

    def consul(self, int upstream, bint good):
        table_sweep()
        stats_consul(upstream, good)

    def learned(self):
        return state_read(self.registries)

    def unchecked(self):
        return health_open(loop.health)

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
                active += (<Peer*> <size_t> p).active + (<Peer*> <size_t> p).ended
        return {"connections": conns, "buffers": loop.pool.out, "active": active, "clients": loop.clients,
                "pipes": loop.pipes_out, "upstream_idle": loop.st.upstream_idle}

    def __dealloc__(self):
        cdef uint32_t i
        if loop.st == NULL:
            return
        lb_beacon.itself = NULL
        loop_take_inbox()
        tls_renewal_release(self.compiled.conf.tls, self.compiled.conf.ntls)
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
            free(loop.logs[i].buf)
            loop.logs[i].buf = NULL
        regex_drop()
        h2_drop()
        tls_own_drop()
        for i in range(loop.nchunks):
            free(loop.chunks[i])
        free(loop.chunks)
        close(loop.ep)
        close(loop.wake_fd)
        close(loop.signal_fd)
        memset(&loop, 0, sizeof(loop))

    # ---- binding

    cdef void* mem(self, size_t n) except NULL:
        """Zeroed memory that lives as long as the Engine."""
        cdef bytearray block = bytearray(n + 1)
        self.kept.append(block)
        return <void*> PyByteArray_AS_STRING(block)

    cdef Str text(self, str s):
        cdef bytes b = os.fsencode(s)
        cdef Str out
        self.kept.append(b)
        out.p = <char*> b
        out.n = len(b)
        return out

    cdef int loop_init(self, Conf* conf, int worker, int workers, int connections) except -1:
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
        self.conf_bind(conf)
        loop.env.hostname = self.text(platform.node().lower())    # as nginx
        loop.env.version = self.text(f"lb/{__version__}")
        loop.env.product = self.text("lb")
        loop.env.nginx_version = self.text(NGINX_VERSION)
        memcpy(&loop.env.random, <char*> seed, 16)
        for i in range(loop.nups):
            loop.ups[<int> i].lots = loop.env.random[0] + i
        loop.second = -1
        loop_clock()
        timer_init(&loop.wheel, loop.now)
        loop.debug = conf.debug
        loop.debug_clients = conf.debug_clients
        loop.wheel.trace = NULL
        if conf.debug:
            loop.wheel.trace = debug_timer
        loop_kinds_init()
        self.transport_init(os.environ.get("LB_CUTTING", ""))
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

    cdef int transport_init(self, str given) except -1:
        """Plain sockets; with LB_CUTTING=SEED[:clients|:servers] in a build with checks the one that is there to find faults."""
        plain_init()
        tls_init()
        h2_init()
        loop.io = &plain
        if not given:
            return 0
        if not CUTTING:
            raise RuntimeError("LB_CUTTING: this build has no cutting transport")
        seed, _, stalled = given.partition(":")
        loop.cutting = int(seed) or 1
        loop.stalled = {"": 0, "clients": K_HANDSHAKE, "servers": K_UP}[stalled]
        cutting_init()
        loop.io = &cutting
        return 0

    cdef int special(self, int fd, int kind) except -1:
        """A descriptor of the engine's own in the loop: level-triggered."""
        cdef Conn* c = conn_new(fd, kind)
        if c == NULL or not loop_add(c, EPOLLIN):
            raise OSError(errno, "epoll_ctl")
        return 0

    cdef int conf_bind(self, Conf* conf) except -1:
        """What the loop reads of the configuration, and memory of the sizes that it asks for."""
        loop.listeners, loop.nlisteners = conf.listeners, conf.nlisteners
        loop.ups, loop.nups = conf.ups, conf.nups
        loop.ups_names, loop.stream_names = conf.ups_names, conf.stream_names
        loop.vars, loop.nvars = conf.vars, conf.nvars
        loop.logs, loop.nlogs = conf.logs, conf.nlogs
        loop.errors = conf.errors
        loop.log_caches = conf.log_caches
        loop.up_head_most = conf.up_head_most
        loop.max_fields = conf.max_fields
        loop.h2_in_room = conf.h2_in_room
        loop.fields = <Field*> self.mem(loop.max_fields * sizeof(Field))
        loop.scratch = <char*> self.mem(HEADROOM + SCRATCH + TAILROOM)
        loop.heads = <char*> self.mem(HEADS)
        loop.line = <char*> self.mem(LOG_LINE)
        loop.log_name = <char*> self.mem(LOG_LINE)
        loop.tls.come = <char*> self.mem(TLS_COME if conf.ntls else 0)
        loop.tls.go = <char*> self.mem(TLS_GO if conf.ntls else 0)
        loop.env.user = var_user
        loop.env.match = var_match_copy
        loop.env.file = path_var
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

    cdef int logs_bind(self, logs, int error_fd) except -1:
        """Descriptors (sockets, for syslog) and buffers."""
        cdef LogFile* f
        cdef LogCache* cache = loop.log_caches
        cdef int i
        for i in range(<int> loop.nlogs):
            f = &loop.logs[i]
            f.fresh = f.fd = -1
            f.buf = <char*> publish_need(f.room)
            if f.zip_level:
                f.zip = log_zip_new(f, f.zip_level)
            if f.syslog != NULL:
                syslog_open(f)
            else:
                log_open(f, compile_log_fd(i, logs, error_fd))
        while cache != NULL:
            cache.chains = <OpenLog**> self.mem((cache.mask + 1) * sizeof(OpenLog*))
            cache = cache.next
        return 0

    cdef int zones_bind(self) except -1:
        """The zones of limit_req lie behind the counters, in the order of the configuration."""
        cdef LimitZone* z
        cdef size_t at = len(self.shm) - self.compiled.conf.zones_size - self.compiled.conf.health_size
        cdef uint32_t i
        for i in range(self.compiled.conf.nzones):
            z = &self.compiled.conf.zones[i]
            z.sets = <LimitSet*> ((<size_t> &self.shm[0] + at + 63) & ~<size_t> 63)
            at += z.size
        loop.health = health_part(self.shm, self.compiled.conf.health_size)
        if loop.health != NULL:
            loop.health_peers = <Peer**> self.mem(loop.health.room * sizeof(Peer*))
            loop.health_seen = lb_atomic_load(&loop.health.changes)
        return 0

    cdef int upstreams_bind(self, upstreams) except -1:
        for i, upstream in enumerate(upstreams):
            loop.ups[<int> i].rest = stats_rest(i)
            self.registries.append({})
            self.pasts.append(Past(upstream.upsync is not None))
        loop.direct.number = loop.nups
        loop.direct.method = &balance_round_robin
        loop.direct.rest = stats_rest(loop.nups)
        return 0

    cdef int listener_bind(self, Listener* l, fd) except -1:
        cdef int one = not l.delay
        if fd is None:
            return 0
        l.fd = fd
        os.set_blocking(fd, False)
        if not l.local:                  # accepted sockets inherit it: no system call per connection
            setsockopt(l.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
        l.io = loop.io if l.tls == NULL else &tls
        l.conn = conn_new(l.fd, K_LISTEN)
        if l.conn == NULL:
            raise MemoryError()
        l.conn.lst = l
        return 0


cdef int compile_log_fd(int i, logs, int error_fd) except? -1:
    """Of log number i, from {path: descriptor}; -1: it has none."""
    cdef Str* path = &loop.logs[i].path
    return error_fd if i == 0 else logs.get(os.fsdecode(path.p[:path.n]), -1)
