"""The configuration in C: made once from the model, shared by all workers of a generation.

    Compiled()      the master, before anything else: addresses are reserved, nothing is in them
    fill(config)    a child of the master: the model (lb/model) becomes structs there, and the child ends with it
    step()          the master: the memory becomes its own, regular expressions get their machine code, a few at a time
    fork            workers: the same pages, copy-on-write; Engine(compiled, ...) binds them to the process (compile/engine.pyx)
    the generation is gone: __dealloc__

The arena is a memfd that the child maps shared and the master maps private at the same addresses, so pointers stay true and
what a process writes is its own. The master neither reads the model nor waits for its compilation; a worker has no copy of it,
neither in Python nor in C. `fill` makes no thread, no descriptor and no connection, and needs no loop: texts, structs, PCRE2's
codes, all in the arena. What is not plain memory but must exist once, before the fork, is made in `step`, where the machine code
of regular expressions is made today: TLS contexts (from keys that the child has read), cache zones, check tables.
What belongs to one process (descriptors, buffers, counters, lists of servers) is the Engine's.
"""

cdef dict VARIABLE_IDS = {
    "host": V_HOST, "http_": V_HTTP_, "arg_": V_ARG_, "cookie_": V_COOKIE_, "remote_addr": V_REMOTE_ADDR,
    "remote_port": V_REMOTE_PORT, "binary_remote_addr": V_BINARY_REMOTE_ADDR, "server_name": V_SERVER_NAME,
    "server_port": V_SERVER_PORT, "server_addr": V_SERVER_ADDR, "server_protocol": V_SERVER_PROTOCOL, "scheme": V_SCHEME,
    "http2": V_HTTP2,
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
    "https": V_HTTPS, "ssl_protocol": V_SSL_PROTOCOL, "ssl_cipher": V_SSL_CIPHER, "ssl_ciphers": V_SSL_CIPHERS,
    "ssl_curve": V_SSL_CURVE, "ssl_curves": V_SSL_CURVES, "ssl_session_id": V_SSL_SESSION_ID,
    "ssl_session_reused": V_SSL_SESSION_REUSED, "ssl_server_name": V_SSL_SERVER_NAME,
    "ssl_early_data": V_SSL_EARLY_DATA, "ssl_alpn_protocol": V_SSL_ALPN_PROTOCOL, "ssl_sigalg": V_SSL_SIGALG,
    "ssl_client_sigalg": V_SSL_CLIENT_SIGALG, "ssl_client_verify": V_SSL_CLIENT_VERIFY,
    "ssl_client_cert": V_SSL_CLIENT_CERT, "ssl_client_escaped_cert": V_SSL_CLIENT_ESCAPED_CERT,
    "ssl_client_raw_cert": V_SSL_CLIENT_RAW_CERT, "ssl_client_s_dn": V_SSL_CLIENT_S_DN,
    "ssl_client_i_dn": V_SSL_CLIENT_I_DN, "ssl_client_s_dn_legacy": V_SSL_CLIENT_S_DN_LEGACY,
    "ssl_client_i_dn_legacy": V_SSL_CLIENT_I_DN_LEGACY, "ssl_client_serial": V_SSL_CLIENT_SERIAL,
    "ssl_client_fingerprint": V_SSL_CLIENT_FINGERPRINT, "ssl_client_v_start": V_SSL_CLIENT_V_START,
    "ssl_client_v_end": V_SSL_CLIENT_V_END, "ssl_client_v_remain": V_SSL_CLIENT_V_REMAIN,
    "realip_remote_addr": V_REALIP_REMOTE_ADDR, "realip_remote_port": V_REALIP_REMOTE_PORT,
    "ssl_preread_server_name": V_SSL_PREREAD_SERVER_NAME, "ssl_preread_protocol": V_SSL_PREREAD_PROTOCOL,
    "ssl_preread_alpn_protocols": V_SSL_PREREAD_ALPN_PROTOCOLS,
}
VARIABLES = frozenset(VARIABLE_IDS)

cdef enum:
    ARENA_MOST = 1 << 30        # bytes that are reserved: addresses only; less where the process may not have so many
    ARENA_LEAST = 1 << 26
    ARENA_GROWS = 1 << 20       # bytes of the file at a time
    JIT_AT_ONCE = 64            # regular expressions in one step: half a millisecond

cdef size_t arenas = 0          # bytes of all configurations in this process


def arena_bytes():
    """Memory of all compiled configurations of this process."""
    return arenas


cdef class Compiled:
    cdef Conf* conf             # at the start of the arena
    cdef size_t reserved        # bytes of addresses; 0: it is whole and ours
    cdef int fd                 # the memory until then
    cdef int secrets            # private keys, until the contexts are made
    cdef dict keys              # of them, by digest
    cdef list sessions          # TlsRing, TlsZone, StickyZone: memory that it refers to
    cdef list contexts          # TlsContext, one for each of Config.tls and then of Config.tls_up
    cdef int tls_servers        # how many of them are of Config.tls
    cdef Regex* next            # without machine code yet, as all behind it
    # while it is filled
    cdef dict zones             # limit_req_zone -> its LimitZone*
    cdef dict texts             # bytes -> where they lie: equal ones are one
    cdef dict servers           # id of a server of the model -> Server*: those of several listeners are one
    cdef dict types             # pairs of `types` -> Dict*
    cdef str prefix             # what relative paths start from
    cdef dict slots             # user variable -> place in Conf.vars
    cdef dict log_index         # path -> place in Conf.logs
    cdef dict log_caches        # open_log_file_cache -> LogCache*: equal ones are one
    cdef uint64_t tls_uses      # $ssl_ variables of all values: var_tls_bit
    cdef uint32_t map_uses      # Uses of all maps
    cdef uint32_t uses          # Uses of the values compiled since it was cleared
    cdef void* regex_context    # PCRE2's: its memory is ours

    def __cinit__(self):
        self.fd = self.secrets = -1
        self.contexts = []
        self.sessions = []

    def __init__(self):
        """Raises OSError."""
        try:
            self.fd = os.memfd_create("lb-configuration", os.MFD_CLOEXEC)
            self.secrets = os.memfd_create("lb-keys", os.MFD_CLOEXEC)
        except OSError as error:
            raise OSError(error.errno, error.strerror, "memfd_create()") from None
        self.conf = <Conf*> compile_arena_reserve(&self.reserved)

    def descriptors(self):
        """Those that a child which fills it must not close; -1 when nothing has to be filled any more."""
        return self.fd, self.secrets

    def fill(self, config, error_logs, dict keys=None):
        """`error_logs` of the main context, the first one at least; `keys`: private keys by their digest.

        Raises ValueError for what the engine does not take.
        """
        if self.fd < 0:
            raise RuntimeError("it is compiled")
        compile_arena_open(self.conf, self.reserved, self.fd)
        self.zones, self.texts, self.servers, self.types, self.log_index, self.log_caches = {}, {}, {}, {}, {}, {}
        self.prefix = config.prefix
        self.regex_context = compile_arena_regex_context(self.conf)
        try:
            self.compile(config, error_logs)
        finally:
            self.zones = self.texts = self.servers = self.types = self.log_index = self.log_caches = self.slots = None
        compile_arena_seal(self.conf, self.fd)
        compile_secrets_write(self.secrets, keys or {})

    def step(self, tls=()):
        """After `fill`: a bounded part of what is left to be done. `tls`: Config.tls and Config.tls_up. True: that was all.

        Raises OSError; ValueError: not filled, or OpenSSL does not take what it took when the file was checked.
        """
        cdef int _i
        if self.fd >= 0:
            self.take()
            return self.next == NULL and not tls
        if len(self.contexts) < len(tls):
            return self.context(tls)
        for _i in range(JIT_AT_ONCE):
            if self.next == NULL:
                return True
            pcre2_jit_compile(<pcre2_code*> self.next.code, PCRE2_JIT_COMPLETE)     # without it (a hardened kernel): interpreted
            self.next = self.next.next
        return self.next == NULL

    cdef bint context(self, tls) except -1:
        """One more SSL_CTX. True: it was the last, and nothing else is left."""
        cdef int i = len(self.contexts)
        made = TlsContext.get(tls[i], [self.keys[one.key_digest] for one in tls[i].certificates])
        self.contexts.append(made)
        self.conf.tls[i].ctx = (<TlsContext> made).ctx
        if isinstance(tls[i], TlsServer):
            self.sessions += compile_tls_sessions(&self.conf.tls[i], tls[i], [one for one in tls if isinstance(one, TlsServer)])
        if i + 1 < len(tls):
            return False
        compile_secrets_forget(self.keys)
        return self.next == NULL

    def renew(self, int place, conf, keys):
        tls_renewal_context(self.contexts, place, conf, keys)
        SSL_CTX_free(<SSL_CTX*> (<TlsContext> self.contexts[place]).ctx)    # here it is `contexts` that holds it
        self.conf.tls[place].ctx = (<TlsContext> self.contexts[place]).ctx

    def staple(self, int place, bytes digest, bytes response, int64_t until):
        tls_staple_check(digest, response)
        if not 0 <= place < <int> self.conf.ntls:
            raise ValueError(f"no place {place}")
        tls_staple_set(<SSL_CTX*> self.conf.tls[place].ctx, <const uint8_t*> <char*> digest, tls_staple_copy(response),
                       <uint32_t> len(response), until)

    cdef int take(self) except -1:
        """The memory becomes this process's own."""
        global arenas
        compile_arena_take(self.conf, self.reserved, self.fd)
        self.reserved = 0
        close(self.fd)
        self.fd = -1
        self.keys = compile_secrets_take(self.secrets)
        self.secrets = -1
        self.next = self.conf.regexes
        self.sessions += compile_sticky_zones(self.conf)
        arenas += self.conf.size
        return 0

    cdef Conf* root(self) except NULL:
        if self.fd >= 0 or self.next != NULL or len(self.contexts) < <int> self.conf.ntls:
            raise RuntimeError("it is not yet compiled")
        return self.conf

    def __dealloc__(self):
        global arenas
        if self.fd >= 0:
            close(self.fd)
        if self.secrets >= 0:
            close(self.secrets)
        if self.reserved:
            munmap(self.conf, self.reserved)
        elif self.conf != NULL:
            arenas -= self.conf.size
            compile_arena_free(self.conf)

    cdef int compile(self, config, error_logs) except -1:
        cdef Conf* conf = self.conf
        cdef int i
        compile_debug(self, config)
        compile_logs(self, config, error_logs)
        compile_variables(self, config)
        compile_zones(self, config)
        compile_tls(self, config)               # before the upstreams: checks over TLS name their part of it
        self.upstreams_init(config.upstreams)
        conf.health_size = config.check_memory
        conf.max_fields = max([MAX_FIELDS] + [one.settings.max_headers for listener in config.listeners for one in listener.http])
        conf.h2_in_room = config.http2_recv_buffer_size
        compile_upstream_names(self, config)
        conf.nlisteners = len(config.listeners)
        conf.listeners = <Listener*> self.mem(conf.nlisteners * sizeof(Listener))
        for i, listener in enumerate(config.listeners):
            self.listener_init(&conf.listeners[i], listener)
        compile_tls_uses(self)
        return 0

    # ---- memory

    cdef void* mem(self, size_t n) except NULL:
        """Zeroed memory that lives as long as this."""
        cdef void* at = compile_arena_need(self.conf, n)
        if at == NULL:
            raise MemoryError("the configuration is too large")
        return at

    cdef Str text(self, object s):
        """With a NUL behind it. Equal ones are one: nobody writes to them."""
        cdef bytes b = s if isinstance(s, bytes) else os.fsencode(s)
        cdef Str out
        out.n = len(b)
        at = self.texts.get(b)
        if at is None:
            out.p = <char*> self.mem(out.n + 1)
            memcpy(out.p, <char*> b, out.n)
            self.texts[b] = <size_t> out.p
        else:
            out.p = <char*> <size_t> at
        return out

    # ---- compiling the configuration

    cdef int upstreams_init(self, upstreams) except -1:
        cdef Upstream* u
        self.conf.nups = len(upstreams)
        self.conf.ups = <Upstream*> self.mem(self.conf.nups * sizeof(Upstream))
        for i, upstream in enumerate(upstreams):
            u = &self.conf.ups[<int> i]
            u.name = self.text(upstream.name)
            u.number = i
            u.method = balance_named(upstream.method)
            u.key = self.value(upstream.hash_key)
            u.sticky = compile_sticky(self, upstream.sticky)
            u.keepalive_time = upstream.keepalive_time_ms
            u.slow_start = <int64_t> upstream.upsync.slow_start_s * 1000 if upstream.upsync is not None else 0
            u.tcp = upstream.kind == "stream"
            u.keepalive = upstream.keepalive
            u.local = upstream.keepalive_local
            if upstream.balancer == "least_time":
                u.timed = TIMED[upstream.least_time]
                u.inflight = upstream.least_time_inflight
            u.keepalive_requests = upstream.keepalive_requests
            u.keepalive_timeout = upstream.keepalive_timeout_ms
            u.check = compile_check(self, upstream.check)
        return 0

    cdef int listener_init(self, Listener* l, listener) except -1:
        l.local = listener.address.family == AF_UNIX
        l.tcp = listener.stream is not None
        l.addr = self.text(listener.text)
        l.port = self.text(str(listener.address.port))
        if l.tcp:
            l.stream = self.stream(listener.stream)
            l.settings = &l.stream.settings
        else:
            compile_servers(self, l, listener)
            l.settings = &l.fallback.fallback.settings
        l.kind = K_TCP if l.tcp else K_HTTP
        l.h2 = listener.http2
        if listener.ssl:
            l.tls = l.stream.tls if l.tcp else l.fallback.tls
        l.handshake_timeout = (60_000 if l.tcp and l.tls == NULL else l.tls.handshake_timeout if l.tcp
                               else listener.http[listener.default_server].settings.client_header_timeout_ms)
        l.proxy_protocol_first = listener.proxy_protocol
        l.proxy_protocol_timeout = (listener.stream.proxy_protocol_timeout_ms if l.tcp
                           else listener.http[listener.default_server].settings.client_header_timeout_ms)
        l.fd = -1
        l.delay = not (listener.stream.tcp_nodelay if l.tcp else listener.http[listener.default_server].settings.tcp_nodelay)
        return 0

    cdef StreamServer* stream(self, server) except NULL:
        cdef StreamServer* s = <StreamServer*> self.mem(sizeof(StreamServer))
        compile_settings(self, &s.settings, server)
        s.settings.ups = &self.conf.ups[<int> server.upstream] if server.upstream >= 0 else NULL
        s.settings.read_timeout = server.proxy_timeout_ms
        s.settings.next.mask = NX_ERROR | NX_TIMEOUT if server.next_upstream else 0
        s.settings.ops = compile_ops(self, server.sets, &s.settings.nops, [])
        s.text = compile_value(self, server.text) if server.text is not None else NULL
        s.target = compile_value(self, server.target) if server.target is not None else NULL
        s.show = server.show
        s.plain = (s.settings.ups != NULL and not s.show and s.settings.nops == 0 and not server.access
                   and server.realip is None and not server.ssl_preread)
        s.buffer = min(server.buffer_size or SCRATCH, SCRATCH)    # nginx would hang with 0
        s.delay = not server.tcp_nodelay
        s.send_proxy_protocol = {"off": 0, "on": 1, "v2": 2}[server.proxy_protocol]
        s.cut = not server.half_close
        s.tls = compile_tls_of(self, server.tls)
        s.settings.up_tls = compile_tls_up(self, server.proxy_tls)
        s.preread = server.ssl_preread
        s.preread_buffer = min(server.preread_buffer_size, 0x7FFFFFFF)
        s.preread_timeout = server.preread_timeout_ms
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
        s.h2_streams = settings.http2_max_concurrent_streams
        s.h2_preread = settings.http2_body_preread_size
        s.lenient = LX_REQUEST if settings.lenient_requests else 0
        return 0

    cdef int location(self, Location* l, handler, settings) except -1:
        self.uses = 0
        compile_settings(self, &l.settings, settings)
        l.settings.read_timeout = settings.proxy_read_timeout_ms
        l.write_timeout = settings.proxy_send_timeout_ms
        l.keepalive_timeout = settings.keepalive_timeout_ms
        l.keepalive_requests = settings.keepalive_requests
        l.header_timeout = settings.client_header_timeout_ms
        l.body_timeout = settings.client_body_timeout_ms
        l.send_timeout = settings.send_timeout_ms
        l.max_body = settings.client_max_body_size
        l.keepalive_header = settings.keepalive_header_s
        l.keepalive_time = settings.keepalive_time_ms
        l.h2_chunk = min(settings.http2_chunk_size, 0xFFFFFF)
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
        self.set_headers(l, settings.set_headers)
        compile_proxy(self, l, settings)
        compile_limits(self, l, settings)
        compile_auth(self, l, settings.auth)
        self.handler(l, handler)
        l.uses = self.uses
        return 0

    cdef int handler(self, Location* l, handler) except -1:
        if isinstance(handler, ProxyPass):
            l.handler = DO_PROXY
            l.settings.up_tls = compile_tls_up(self, handler.tls)
            if handler.url is not None:
                l.proxy_url = compile_value(self, handler.url)
                return 0
            l.settings.ups = &self.conf.ups[<int> handler.upstream]
            l.proxy_host = self.text(handler.host)
            if handler.uri is not None:
                l.uri = self.text(handler.uri)
        elif isinstance(handler, UpstreamShow):
            l.handler = DO_SHOW
        elif isinstance(handler, CheckStatus):
            l.handler = DO_CHECK_STATUS
            l.check_format = {"html": CF_HTML, "csv": CF_CSV, "json": CF_JSON}[handler.format]
        return 0

    cdef int set_headers(self, Location* l, headers) except -1:
        cdef SetHeader* h
        cdef bytes name
        headers = [(field, text) for field, text in headers if field.lower() not in FRAMING]    # those are lb's own
        hosts = [i for i, (field, _) in enumerate(headers) if field.lower() == "host"]
        last = hosts.pop() if hosts else -1         # the last one counts
        headers = [one for i, one in enumerate(headers) if i not in hosts or i == last]
        l.nsets = len(headers)
        l.sets = <SetHeader*> self.mem(l.nsets * sizeof(SetHeader))
        for i, (header, value) in enumerate(headers):
            h = &l.sets[<int> i]
            name = header.encode()
            h.name = self.text(name)
            h.value = self.value(value)
            h.id = field_id(<uint8_t*> h.name.p, h.name.n)
            if h.id:
                l.overridden |= 1ull << h.id
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
            if piece.var > V_TLS:
                self.tls_uses |= var_tls_bit(piece.var)
            if piece.var == V_SENT_HTTP_:
                self.uses |= USES_SENT_HEAD
            elif piece.var == V_UPSTREAM_HTTP_ or piece.var == V_UPSTREAM_COOKIE_:
                self.uses |= USES_UP_HEAD
            elif piece.var == V_SENT_TRAILER_:
                self.uses |= USES_SENT_TRAILERS
            elif piece.var == V_UPSTREAM_TRAILER_:
                self.uses |= USES_UP_TRAILERS
        return v
