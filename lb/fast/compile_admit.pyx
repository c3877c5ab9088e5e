"""From the model to what admits clients: allow and deny. With the GIL, once; memory is the Engine's."""


cdef int cidrs_fill(Engine e, Cidrs* list, networks, denied) except -1:
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


cdef int access_fill(Engine e, Cidrs* list, rules) except -1:
    return cidrs_fill(e, list, [rule.network for rule in rules], [not rule.allow for rule in rules])


cdef RealIp* realip_new(Engine e, model) except? NULL:
    cdef RealIp* real
    if model is None:
        return NULL
    real = <RealIp*> e.mem(sizeof(RealIp))
    cidrs_fill(e, &real.proxies, model.proxies, [False] * len(model.proxies))
    real.kind = {"proxy_protocol": REAL_GREETING, "x-forwarded-for": REAL_FORWARDED}.get(model.field, REAL_FIELD)
    real.name = e.text(model.field)
    real.recursive = model.recursive
    return real
