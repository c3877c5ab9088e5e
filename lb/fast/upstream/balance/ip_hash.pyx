"""ip_hash: the same server as nginx for the same client and list."""


cdef inline uint32_t balance_ip_hash_more(uint32_t h, const unsigned char* p, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        h = (h * 113 + p[i]) % 6271
    return h


cdef Peer* balance_ip_hash_pick(Upstream* u, Group* g, uint32_t* pos, Request* r, Env* env) noexcept nogil:
    """nginx's ip_hash: first three bytes of IPv4, all of IPv6; 20 more hashes when the server may not be used."""
    cdef unsigned char zero[3]
    cdef const unsigned char* key = zero
    cdef uint32_t n = 3, h = 89, _i
    cdef Conn* c = r.client
    cdef Peer* p
    if g.n < 2:
        return balance_round_robin_pick(u, g, pos, r, env)
    zero[0] = zero[1] = zero[2] = 0
    if c.addr_len and (<sockaddr*> c.addr).sa_family == AF_INET:
        key = <const unsigned char*> &(<sockaddr_in*> c.addr).sin_addr
    elif c.addr_len and (<sockaddr*> c.addr).sa_family == AF_INET6:
        key = <const unsigned char*> &(<sockaddr_in6*> c.addr).sin6_addr
        n = 16
    for _i in range(21):
        h = balance_ip_hash_more(h, key, n)
        p = peer_at_weight(g, h % g.total)
        if balance_may_take(r, p, env.now):
            return p
    return balance_round_robin_pick(u, g, pos, r, env)


cdef BalanceMethod balance_ip_hash = BalanceMethod(
    name=b"ip_hash", pick=balance_ip_hash_pick, load=NULL, build=NULL, by_order=True)
