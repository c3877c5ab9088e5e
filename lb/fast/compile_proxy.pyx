"""The settings of a proxied location from the model (lb/config/model.py) to the structs that the rooms read. With the GIL.

Memory and texts come from the Engine and live as long as it does.
"""

cdef frozenset FRAMING = frozenset({"content-length", "transfer-encoding"})
cdef dict BODY_FILES = {"off": BODY_FILE_OFF, "on": BODY_FILE_ON, "clean": BODY_FILE_CLEAN}
cdef dict TIMED = {"connect": TIMED_CONNECT, "header": TIMED_HEADER, "last_byte": TIMED_LAST}
cdef dict NEXT = {"error": NX_ERROR, "timeout": NX_TIMEOUT, "invalid_header": NX_INVALID, "http_500": NX_500,
                  "http_502": NX_502, "http_503": NX_503, "http_504": NX_504, "http_403": NX_403, "http_404": NX_404,
                  "http_429": NX_429, "non_idempotent": NX_NON_IDEMPOTENT}
cdef dict EXPIRES = {"epoch": EX_EPOCH, "max": EX_MAX, "access": EX_ACCESS, "modified": EX_MODIFIED, "daily": EX_DAILY,
                     "text": EX_TEXT}


cdef int compile_proxy(Engine e, Location* l, settings) except -1:
    l.bare = not settings.proxy_pass_request_headers
    l.no_body = not settings.proxy_pass_request_body
    l.method = e.value(settings.proxy_method or ())
    if settings.proxy_set_body is not None:
        l.has_body = 1
        l.body = e.value(settings.proxy_set_body)
    l.stream_body = not settings.proxy_request_buffering
    l.body_buffer = settings.client_body_buffer_size
    l.body_file = BODY_FILES[settings.client_body_in_file_only]
    l.single_buffer = settings.client_body_in_single_buffer
    l.buffering = settings.proxy_buffering
    l.pass_trailers = settings.proxy_pass_trailers
    l.lenient = LX_ANSWER if settings.proxy_lenient else 0
    l.ignore = (("x-accel-redirect" in settings.proxy_ignore_headers) * IGN_REDIRECT
                | ("x-accel-buffering" in settings.proxy_ignore_headers) * IGN_BUFFERING)
    l.head_max = min(settings.proxy_buffer_size, MAX_HEAD)
    loop.up_head_most = max(loop.up_head_most, l.head_max)
    l.buffers = settings.proxy_buffers
    l.temp_max = settings.proxy_max_temp_file_size
    l.nhints = len(settings.early_hints)
    l.hints = <Value*> e.mem(l.nhints * sizeof(Value))
    for i, value in enumerate(settings.early_hints):
        l.hints[<int> i] = e.value(value)
    compile_temp(e, &l.body_path, settings.client_body_temp)
    compile_temp(e, &l.answer_path, settings.proxy_temp)
    for word in settings.next_upstream:
        l.next.mask |= <uint16_t> NEXT[word]
    l.next.tries = min(settings.next_upstream_tries, 65535)
    l.next.timeout = settings.next_upstream_timeout_ms
    compile_shape(e, l, settings.shape)
    return 0


cdef int compile_outgoing(Engine e, Outgoing* o, settings) except -1:
    """Of a location or of a stream server: their fields have the same names."""
    o.keepalive = settings.proxy_socket_keepalive
    o.rcvbuf = settings.proxy_socket_rcvbuf
    o.sndbuf = settings.proxy_socket_sndbuf
    if settings.proxy_bind is not None:
        o.bound = 1
        o.transparent = settings.proxy_bind.transparent
        o.local = e.value(settings.proxy_bind.address)
    return 0


cdef int compile_temp(Engine e, TempPath* t, path) except -1:
    t.dir = e.text(path.directory)
    t.n = len(path.levels)
    for i, level in enumerate(path.levels):
        t.levels[<int> i] = level
    return 0


cdef int compile_shape(Engine e, Location* l, shape) except -1:
    """l.shape stays NULL where answers pass as they are."""
    cdef Shape* s
    if shape == type(shape)():
        return 0
    s = l.shape = <Shape*> e.mem(sizeof(Shape))
    s.hide, s.nhide = compile_names(e, shape.hide), len(shape.hide)
    s.passed, s.npassed = compile_names(e, shape.passed), len(shape.passed)
    for name in shape.passed:
        s.own |= name_bit(name) & (1u << F_DATE | 1u << F_SERVER)
    s.redirects, s.nredirects = compile_swaps(e, shape.redirects), len(shape.redirects)
    s.domains, s.ndomains = compile_swaps(e, shape.cookie_domains), len(shape.cookie_domains)
    s.paths, s.npaths = compile_swaps(e, shape.cookie_paths), len(shape.cookie_paths)
    compile_cookie_flags(e, s, shape.cookie_flags)
    s.adds, s.nadds = compile_adds(e, shape.add), len(shape.add)
    s.trailers, s.ntrailers = compile_adds(e, shape.trailers), len(shape.trailers)
    if shape.expires is not None:
        s.expires = EXPIRES[shape.expires.kind]
        s.expires_seconds = shape.expires.seconds
        s.expires_text = e.value(shape.expires.text)
        s.expires_modified = shape.expires.modified
    l.special = special_bits(s, shape)
    return 0


cdef uint32_t name_bit(str name) except? 0:
    cdef bytes raw = name.encode()
    return 1u << field_id(<uint8_t*> <char*> raw, len(raw))


cdef uint32_t special_bits(Shape* s, shape) except? 0:
    """Which fields write_shaped must see."""
    cdef uint32_t bits = 0
    for name in shape.hide:
        bits |= name_bit(name)
    if s.nredirects:
        bits |= 1u << F_LOCATION | 1u << F_REFRESH
    if s.ndomains or s.npaths or s.nflags:
        bits |= 1u << F_SET_COOKIE
    return bits


cdef Str* compile_names(Engine e, names) except NULL:
    cdef Str* found = <Str*> e.mem(len(names) * sizeof(Str))
    for i, name in enumerate(names):
        found[<int> i] = e.text(name)
    return found


cdef Swap* compile_swaps(Engine e, swaps) except NULL:
    cdef Swap* found = <Swap*> e.mem(len(swaps) * sizeof(Swap))
    for i, swap in enumerate(swaps):
        found[<int> i].regex = NULL if swap.regex is None else regex_new(e, swap.regex)
        found[<int> i].pattern = e.value(swap.pattern)
        found[<int> i].replacement = e.value(swap.replacement)
    return found


cdef AddField* compile_adds(Engine e, fields) except NULL:
    cdef AddField* found = <AddField*> e.mem(len(fields) * sizeof(AddField))
    for i, field in enumerate(fields):
        found[<int> i].name = e.text(field.name)
        found[<int> i].value = e.value(field.value)
        found[<int> i].always = field.always
    return found


cdef int compile_cookie_flags(Engine e, Shape* s, rules) except -1:
    cdef CookieRule* c
    s.nflags = len(rules)
    s.flags = <CookieRule*> e.mem(s.nflags * sizeof(CookieRule))
    for i, rule in enumerate(rules):
        c = &s.flags[<int> i]
        c.regex = NULL if rule.regex is None else regex_new(e, rule.regex)
        c.name = e.value(rule.name)
        c.n = len(rule.flags)
        c.words = <Value*> e.mem(c.n * sizeof(Value))
        for k, word in enumerate(rule.flags):
            c.words[<int> k] = e.value(word)
    return 0
