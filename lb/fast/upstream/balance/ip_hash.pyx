"""ip_hash: the same server as nginx for the same client and list."""


cdef inline uint32_t balance_ip_hash_more(uint32_t h, const unsigned char* p, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        h = (h * 113 + p[i]) % 6271
    return h


cdef inline const unsigned char* balance_ip_hash_address(Request* r, uint32_t* n) noexcept nogil:
    """First three bytes of IPv4, all of IPv6; zeros for a client without an address."""
    cdef Conn* c = r.client
    n[0] = 3
    if c.addr_len and (<sockaddr*> c.addr).sa_family == AF_INET:
        return <const unsigned char*> &(<sockaddr_in*> c.addr).sin_addr
    if c.addr_len and (<sockaddr*> c.addr).sa_family == AF_INET6:
        n[0] = 16
        return <const unsigned char*> &(<sockaddr_in6*> c.addr).sin6_addr
    return <const unsigned char*> b"\0\0"


cdef uint64_t balance_ip_hash_key(Request* r) noexcept nogil:
    cdef uint32_t n
    cdef const unsigned char* key = balance_ip_hash_address(r, &n)
    return <uint64_t> hash_crc_text(<const char*> key, n) + 1


cdef Peer* balance_ip_hash_pick(Upstream* u, Group* g, uint32_t* pos, Request* r, Env* env) noexcept nogil:
    """nginx's ip_hash; 20 more hashes when the server may not be used."""
    cdef uint32_t n, h = 89, _i
    cdef const unsigned char* key = balance_ip_hash_address(r, &n)
    cdef Peer* p
    if g.n < 2:
        return balance_round_robin_pick(u, g, pos, r, env)
    for _i in range(21):
        h = balance_ip_hash_more(h, key, n)
        p = peer_at_weight(g, h % g.total)
        if balance_may_take(r, p, env.now):
            return p
    return balance_round_robin_pick(u, g, pos, r, env)


cdef BalanceMethod balance_ip_hash = BalanceMethod(
    name=b"ip_hash", pick=balance_ip_hash_pick, load=NULL, key=balance_ip_hash_key, build=NULL, by_order=True)
