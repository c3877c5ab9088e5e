"""From the model to what admits clients: realip, allow and deny, limit_req. With the GIL, once; memory is the arena's."""


cdef int compile_cidrs(Compiled e, Cidrs* list, networks, denied) except -1:
    """`networks` in order; `denied`: of each, whether it is a `deny`."""
    cdef Cidr* c
    cdef bytes net
    list.n = len(networks)
    list.at = <Cidr*> e.mem(list.n * sizeof(Cidr))
    for i, network in enumerate(networks):
        c = &list.at[<int> i]
        net = network.address
        c.family = network.family
        c.bits = network.bits
        c.deny = denied[i]
        memcpy(c.net, <char*> net, len(net))
        list.v4 |= network.family == AF_INET
    return 0


cdef int compile_access(Compiled e, Cidrs* list, rules) except -1:
    return compile_cidrs(e, list, [rule.network for rule in rules], [not rule.allow for rule in rules])


cdef RealIp* compile_realip(Compiled e, model) except? NULL:
    cdef RealIp* real
    if model is None:
        return NULL
    real = <RealIp*> e.mem(sizeof(RealIp))
    compile_cidrs(e, &real.proxies, model.proxies, [False] * len(model.proxies))
    real.kind = {"proxy_protocol": REAL_PROXY_PROTOCOL, "x-forwarded-for": REAL_FORWARDED}.get(model.field, REAL_FIELD)
    real.name = e.text(model.field)
    real.recursive = model.recursive
    return real


cdef int compile_auth(Compiled e, Location* l, auth) except -1:
    """l.auth stays NULL where allow and deny are all."""
    if auth is None:
        return 0
    l.auth = <AuthConf*> e.mem(sizeof(AuthConf))
    l.auth.any = auth.satisfy == "any"
    l.auth.delay = auth.delay_ms
    if auth.realm is not None:
        l.auth.basic = 1
        l.auth.realm = e.value(auth.realm)
        l.auth.user_file = e.value(auth.user_file)
    return 0


# ---- limit_req

cdef int compile_zones(Compiled e, config) except -1:
    """Their settings; each worker knows where the memory that they share lies."""
    cdef LimitZone* z
    e.conf.nzones = len(config.limit_zones)
    e.conf.zones = <LimitZone*> e.mem(e.conf.nzones * sizeof(LimitZone))
    for i, zone in enumerate(config.limit_zones):
        z = &e.conf.zones[<int> i]
        z.name = e.text(zone.name)
        z.key = e.value(zone.key)
        z.rate = zone.rate
        z.size = zone.size
        z.nsets = zone.size // sizeof(LimitSet) - 1
        e.zones[zone.name] = <size_t> z
        e.conf.zones_size += zone.size
    return 0


cdef int compile_limits(Compiled e, Location* l, settings) except -1:
    l.nlimits = len(settings.limits)
    l.limits = <LimitRule*> e.mem(l.nlimits * sizeof(LimitRule))
    l.limit_status = settings.limit_req_status
    l.limit_level = LEVELS[settings.limit_req_log_level]
    l.limit_dry = settings.limit_req_dry_run
    for i, rule in enumerate(settings.limits):
        l.limits[<int> i].zone = <LimitZone*> <size_t> e.zones[rule.zone]
        l.limits[<int> i].burst = rule.burst
        l.limits[<int> i].delay = rule.delay
    return 0
