"""From the model to what routes: names, servers, locations, operations, maps, regular expressions. With the GIL, once.

Memory is the arena's (`mem`, `text`); regular expressions are freed with it. What names another part (error_page @name) is
resolved when its server is whole.
"""

cdef dict TESTS = {"true": IF_TRUE, "=": IF_EQUAL, "~": IF_REGEX, "-f": IF_FILE, "-d": IF_DIR, "-e": IF_EXISTS, "-x": IF_EXEC}
cdef dict METHOD_BITS = {"GET": M_GET, "HEAD": M_HEAD, "POST": M_POST, "PUT": M_PUT, "DELETE": M_DELETE, "OPTIONS": M_OPTIONS,
                         "PATCH": M_PATCH, "MKCOL": M_MKCOL, "COPY": M_COPY, "MOVE": M_MOVE, "PROPFIND": M_PROPFIND,
                         "PROPPATCH": M_PROPPATCH, "LOCK": M_LOCK, "UNLOCK": M_UNLOCK}


cdef int compile_variables(Compiled e, config) except -1:
    """Slots and maps: before any value is compiled."""
    cdef Map* m
    e.conf.nvars = len(config.variables)
    e.conf.vars = <UserVar*> e.mem(e.conf.nvars * sizeof(UserVar))
    e.slots = {name: i for i, name in enumerate(config.variables)}
    for i, name in enumerate(config.variables):
        e.conf.vars[<int> i].name = e.text(name.rpartition(" ")[2])    # without the `stream` of its own name
    for one in config.maps:
        m = <Map*> e.mem(sizeof(Map))
        compile_map(e, m, one)
        e.conf.vars[<int> e.slots[one.name]].map = m
    e.map_uses = e.uses
    return 0


cdef int compile_upstream_names(Compiled e, config) except -1:
    """The upstreams by name, for proxy_pass with variables."""
    names = {"http": [], "stream": []}
    for i, upstream in enumerate(config.upstreams):
        names[upstream.kind].append((upstream.name.lower(), <size_t> &e.conf.ups[<int> i]))
    compile_dict(e, &e.conf.ups_names, names["http"])
    return compile_dict(e, &e.conf.stream_names, names["stream"])


cdef int compile_map(Compiled e, Map* m, one) except -1:
    m.source = e.value(one.source)
    m.fallback = compile_value(e, one.default)
    m.hostnames = one.hostnames
    m.is_volatile = one.volatile
    exact = [(key, <size_t> compile_value(e, value)) for key, value in one.exact]
    regexes = [(regex, <size_t> compile_value(e, value)) for regex, value in one.regexes]
    return compile_name_table(e, &m.names, exact, regexes, one.hostnames)


cdef Value* compile_value(Compiled e, parts) except NULL:
    cdef Value* v = <Value*> e.mem(sizeof(Value))
    v[0] = e.value(parts)
    return v


# ---- names

cdef int compile_name_table(Compiled e, Names* t, list keys, list regexes, bint wildcards) except -1:
    """keys: (lower case text, pointer); the first of several equal ones counts."""
    exact, head, tail = [], [], []
    for key, at in keys:
        if not wildcards:
            exact.append((key, at))
        elif key.startswith("*."):
            head.append((key[1:], at))
        elif key.startswith("."):
            exact.append((key[1:], at))
            head.append((key, at))
        elif key.endswith(".*"):
            tail.append((key[:len(key) - 1], at))
        else:
            exact.append((key, at))
    compile_dict(e, &t.exact, exact)
    compile_dict(e, &t.head, head)
    compile_dict(e, &t.tail, tail)
    t.nregex = len(regexes)
    t.regexes = <Regex*> e.mem(t.nregex * sizeof(Regex))
    t.values = <void**> e.mem(t.nregex * sizeof(void*))
    for i, (regex, at) in enumerate(regexes):
        compile_regex_fill(e, &t.regexes[<int> i], regex)
        t.values[<int> i] = <void*> <size_t> at
    return 0


cdef int compile_dict(Compiled e, Dict* d, list pairs) except -1:
    cdef uint32_t places = 4
    cdef DictEntry* at
    cdef Str key
    while places < 2 * len(pairs):
        places *= 2
    if not pairs:
        return 0
    d.mask = places - 1
    d.entries = <DictEntry*> e.mem(places * sizeof(DictEntry))
    for text, value in pairs:
        key = e.text(text)
        at = dict_place(d, key.p, key.n)
        if at.key.p == NULL:
            at.key = key
            at.hash = dict_hash(key.p, key.n)
            at.value = <void*> <size_t> value
            d.n += 1
    return 0


cdef int compile_regex_fill(Compiled e, Regex* re, regex) except -1:
    cdef uint32_t groups = 0
    cdef pcre2_code* code = regex_compile(os.fsencode(regex.pattern), regex.caseless, e.regex_context)
    pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &groups)
    e.conf.groups = max(e.conf.groups, groups)
    re.next = e.conf.regexes
    e.conf.regexes = re
    re.code = code
    re.text = e.text(regex.pattern)
    re.where = e.text(regex.where)
    re.groups = groups
    re.nnames = len(regex.names)
    re.slots = <uint32_t*> e.mem(re.nnames * sizeof(uint32_t))
    re.nums = <uint32_t*> e.mem(re.nnames * sizeof(uint32_t))
    for i, (name, group) in enumerate(regex.names):
        re.slots[<int> i] = e.slots[name]
        re.nums[<int> i] = group
    return 0


cdef Regex* compile_regex(Compiled e, regex) except NULL:
    cdef Regex* re = <Regex*> e.mem(sizeof(Regex))
    compile_regex_fill(e, re, regex)
    return re


# ---- servers

cdef int compile_servers(Compiled e, Listener* l, listener) except -1:
    cdef Server* s
    keys, regexes = [], []
    l.nservers = len(listener.http)
    l.servers = <Server**> e.mem(l.nservers * sizeof(Server*))
    for i, server in enumerate(listener.http):
        if id(server) not in e.servers:
            e.servers[id(server)] = <size_t> compile_server(e, server)
        s = <Server*> <size_t> e.servers[id(server)]
        l.servers[<int> i] = s
        l.head_most = max(l.head_most, s.head_most)
        l.line_most = max(l.line_most, s.line_most)
        l.fields_most = max(l.fields_most, s.fields_most)
        l.lenient |= s.lenient
        keys += [(name, <size_t> s) for name in server.names if not name.startswith("~")]
        regexes += [(regex, <size_t> s) for regex in server.regexes]
    l.fallback = l.servers[<int> listener.default_server]
    l.has_names = l.nservers > 1 or len(regexes) > 0        # one server without captures: no look-up at all
    return compile_name_table(e, &l.names, keys, regexes, True)


cdef Server* compile_server(Compiled e, server) except NULL:
    cdef Server* s = <Server*> e.mem(sizeof(Server))
    s.name = e.text(server.names[0].removeprefix(".") if server.names else "")
    s.merge_slashes = server.merge_slashes
    s.tls = compile_tls_of(e, server.tls)
    e.limits(s, server.settings)
    named = {}
    pending = []
    compile_location_fill(e, &s.fallback, server.handler, server.settings, "", pending)
    compile_locations(e, &s.routes, server.locations, named, pending)
    s.ops = compile_ops(e, server.ops, &s.nops, pending)
    s.nnamed = len(named)
    s.named = <Location**> e.mem(s.nnamed * sizeof(Location*))
    for i, one in enumerate(named.values()):
        s.named[<int> i] = <Location*> <size_t> one
    compile_try(e, &s.fallback, server.try_files, pending)
    for at, name in pending:
        (<Location**> <size_t> at)[0] = <Location*> <size_t> named.get(name, 0)
    return s


cdef int compile_locations(Compiled e, Routes* t, locations, dict named, list pending) except -1:
    fixed = {}
    for one in locations:
        if one.match in ("exact", "prefix", "noregex"):
            fixed.setdefault(os.fsencode(one.pattern), {})[one.match == "exact"] = one
    regex = [one for one in locations if one.match == "regex"]
    compile_spots(e, t, fixed, named, pending)
    t.nregex = len(regex)
    t.regex = <Location**> e.mem(t.nregex * sizeof(Location*))
    for i, one in enumerate(regex):
        t.regex[<int> i] = compile_location(e, one, named, pending)
    for one in locations:
        if one.match == "named":
            named[one.pattern] = <size_t> compile_location(e, one, named, pending)
    return 0


cdef int compile_spots(Compiled e, Routes* t, dict fixed, dict named, list pending) except -1:
    """`fixed`: pattern -> {is it `=`: location}."""
    cdef Spot* at
    open_ = []              # the prefixes that the next pattern may begin with, each with its spot, shortest first
    t.nspots = len(fixed)
    t.spots = <Spot*> e.mem(t.nspots * sizeof(Spot))
    for i, pattern in enumerate(sorted(fixed)):
        at = &t.spots[<int> i]
        at.pattern = e.text(pattern)
        while open_ and not pattern.startswith(open_[len(open_) - 1][0]):
            open_.pop()
        at.parent = open_[len(open_) - 1][1] if open_ else -1
        for exact, one in fixed[pattern].items():
            if exact:
                at.exact = compile_location(e, one, named, pending)
            else:
                at.prefix = compile_location(e, one, named, pending)
                open_.append((pattern, i))
    return 0


cdef Location* compile_location(Compiled e, one, dict named, list pending) except NULL:
    cdef Location* l = <Location*> e.mem(sizeof(Location))
    l.exact = one.match == "exact"
    l.noregex = one.match == "noregex"
    l.internal = one.internal
    l.redirect_to = isinstance(one.handler, ProxyPass) and one.pattern.endswith("/") and one.regex is None
    compile_location_fill(e, l, one.handler, one.settings, one.pattern, pending)
    if one.regex is not None:
        l.regex = compile_regex(e, one.regex)
    compile_try(e, l, one.try_files, pending)
    compile_locations(e, &l.routes, one.locations, named, pending)
    l.settings.ops = compile_ops(e, one.ops, &l.settings.nops, pending)
    l.uses |= e.uses
    if one.except_location is not None:
        l.except_loc = compile_location(e, one.except_location, named, pending)
        for method in one.except_methods:
            l.except_methods |= 1u << <int> METHOD_BITS[method]
    return l


cdef int compile_location_fill(Compiled e, Location* l, handler, settings, pattern, list pending) except -1:
    """What every kind of location has."""
    l.pattern = e.text(pattern)
    e.location(l, handler, settings)
    compile_files(e, l, settings.files)
    l.recursive_error_pages = settings.recursive_error_pages
    l.intercept_errors = settings.proxy_intercept_errors
    l.absolute_redirect = settings.absolute_redirect
    l.port_in_redirect = settings.port_in_redirect
    l.server_name_in_redirect = settings.server_name_in_redirect
    pages = [(page, status) for page in settings.error_pages for status in page.statuses]
    l.nerror_pages = len(pages)
    l.error_pages = <ErrorPage*> e.mem(l.nerror_pages * sizeof(ErrorPage))
    for i, (page, status) in enumerate(pages):
        compile_error_page(e, &l.error_pages[<int> i], page, status, pending)
    return 0


cdef int compile_error_page(Compiled e, ErrorPage* p, page, int status, list pending) except -1:
    first = page.target[0] if page.target else ""
    p.status = status
    p.overwrite = page.overwrite
    p.target = e.value(page.target)
    if len(page.target) == 1 and isinstance(first, str) and first[:1] == "@":
        pending.append((<size_t> &p.named, first))
    return 0


# ---- operations

cdef list compile_flattened(ops, list out):
    """[operation, place behind its block] of each, an `if` before what is in it."""
    for op in ops:
        entry = [op, 0]
        out.append(entry)
        if isinstance(op, If):
            compile_flattened(op.ops, out)
            entry[1] = len(out)
    return out


cdef Op* compile_ops(Compiled e, ops, uint32_t* n, list pending) except NULL:
    cdef list flat = compile_flattened(ops, [])
    cdef Op* out = <Op*> e.mem(len(flat) * sizeof(Op))
    n[0] = len(flat)
    for i, (op, behind) in enumerate(flat):
        out[<int> i].next = behind
        compile_op(e, &out[<int> i], op, pending)
    return out


cdef int compile_op(Compiled e, Op* out, op, list pending) except -1:
    if isinstance(op, Set):
        out.kind = OP_SET
        out.slot = -1 if op.name == "args" else e.slots[op.name]
        out.value = e.value(op.value)
    elif isinstance(op, Rewrite):
        compile_rewrite(e, out, op)
    elif isinstance(op, If):
        out.kind = OP_IF
        out.test = TESTS[op.condition.kind]
        out.negate = op.condition.negate
        out.value = e.value(op.condition.value)
        out.text = e.value(op.condition.text)
        if op.condition.regex is not None:
            out.regex = compile_regex(e, op.condition.regex)
        if op.location is not None:
            out.loc = compile_location(e, op.location, {}, pending)
    elif isinstance(op, Break):
        out.kind = OP_BREAK
    else:
        out.kind = OP_RETURN
        out.status = op.status
        out.value = e.value(op.text)
    return 0


cdef int compile_rewrite(Compiled e, Op* out, op) except -1:
    out.kind = OP_REWRITE
    out.regex = compile_regex(e, op.regex)
    out.value = e.value(op.uri)
    out.status = op.redirect
    out.has_args = op.args is not None
    out.add_args = op.add_args
    out.last = op.last
    out.here = op.here
    out.in_args = any(isinstance(part, str) and "?" in part for part in op.uri)
    if op.args is not None:
        out.text = e.value(op.args)
        compile_escape_captures(&out.text)
    if op.redirect:
        compile_escape_captures(&out.value)
    return 0


cdef void compile_escape_captures(Value* v) noexcept:
    cdef uint32_t i
    for i in range(v.n):
        if v.pieces[i].var == V_CAPTURE:
            v.pieces[i].var = V_CAPTURE_ARG
