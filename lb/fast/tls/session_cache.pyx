"""Session ids (TLS 1.2; of TLS 1.3 the stateful tickets, where there are no others): OpenSSL's callbacks over the zones.

    new session -> tls_cache_on_new -> tls_cache_put         a client comes back -> tls_cache_on_ask -> tls_cache_get

OpenSSL's own cache is never used: it is one for each context, and no other worker sees it. The callbacks are those of the context
that a connection began with; the zone is that of the server that was chosen.
"""

cdef object tls_zones = weakref.WeakValueDictionary()     # (name, bytes) -> TlsZone
cdef enum:
    TLS_ZONES = 64
cdef SessionZone* tls_zones_all[64]     # of this process, for tls_cache_on_gone
cdef int tls_nzones = 0


cdef class TlsZone:
    """Memory of one cache: of all processes, or (`builtin`: no name) each worker's own."""

    cdef SessionZone zone
    cdef size_t size
    cdef int owner
    cdef object __weakref__

    def __cinit__(self, str name, size_t size):
        global tls_nzones
        cdef int shared = MAP_SHARED if name else MAP_PRIVATE
        self.size = size
        self.zone.sets = <SessionSet*> mmap(NULL, size, PROT_READ | PROT_WRITE, shared | MAP_ANONYMOUS, -1, 0)
        if self.zone.sets == <SessionSet*> MAP_FAILED:
            self.zone.sets = NULL
            raise OSError(errno, "mmap()")
        self.zone.nsets = size // SESSION_SET
        self.owner = getpid()
        madvise(self.zone.sets, size, MADV_DONTDUMP)
        if tls_nzones < TLS_ZONES:
            tls_zones_all[tls_nzones] = &self.zone
            tls_nzones += 1

    def __dealloc__(self):
        global tls_nzones
        cdef int i
        if self.zone.sets == NULL:
            return
        for i in range(tls_nzones):
            if tls_zones_all[i] == &self.zone:
                tls_nzones -= 1
                tls_zones_all[i] = tls_zones_all[tls_nzones]
                break
        munmap(self.zone.sets, self.size)

    @staticmethod
    def get(str name, size_t size):
        """As nginx: a reload keeps a zone of the same name and size."""
        zone = tls_zones.get((name, size))
        if zone is None:
            zone = tls_zones[name, size] = TlsZone(name, size)
        return zone


def tls_sessions_release(int pid):
    """A worker is dead: the locks that it held are taken from it."""
    for zone in list(tls_zones.values()):
        tls_cache_release(&(<TlsZone> zone).zone, pid)


cdef int tls_sessions_init(SSL_CTX* ctx, conf) except -1:
    """What a context says of sessions. Its mode alone decides whether a server shows session ids (`off`: none)."""
    cdef long mode = SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL | SSL_SESS_CACHE_NO_AUTO_CLEAR
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF if conf.session_cache.kind == "off" else mode)
    SSL_CTX_sess_set_new_cb(ctx, tls_cache_on_new)
    SSL_CTX_sess_set_get_cb(ctx, tls_cache_on_ask)
    SSL_CTX_sess_set_remove_cb(ctx, tls_cache_on_gone)
    SSL_CTX_set_timeout(ctx, max(conf.session_timeout_s, 1))
    tls_tickets_init()
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, tls_ticket_key)
    SSL_CTX_set_options(ctx, SSL_OP_NO_ANTI_REPLAY)         # it would make all tickets stateful; as nginx
    if not conf.session_tickets:
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET)
        if conf.session_cache.kind in ("off", "none"):
            SSL_CTX_set_num_tickets(ctx, 0)                 # of TLS 1.3: nobody would know them
    if conf.early_data:
        SSL_CTX_set_max_early_data(ctx, TLS_EARLY_MOST)
    return 0


cdef void tls_sessions_choose(SSL* ssl, SSL_CTX* ctx) noexcept nogil:
    """Of a context that was chosen: what SSL_set_SSL_CTX leaves as it was."""
    SSL_set_num_tickets(ssl, SSL_CTX_get_num_tickets(ctx))
    SSL_set_max_early_data(ssl, SSL_CTX_get_max_early_data(ctx))
    SSL_set_recv_max_early_data(ssl, SSL_CTX_get_recv_max_early_data(ctx))


cdef void tls_session_bind(SSL* ssl, Tls* t) noexcept nogil:
    """A session is good for the same settings and the same name (RFC 6066 section 3)."""
    cdef uint8_t sid[32]
    cdef uint64_t name
    memcpy(sid, t.conf.sid, 32)
    if t.name.n:
        memcpy(&name, sid, 8)
        name ^= tls_cache_hash(t.name.p, t.name.n)
        memcpy(sid, &name, 8)
    SSL_set_session_id_context(ssl, sid, 32)


cdef void tls_session_time(SSL* ssl, Tls* t) noexcept nogil:
    """A new session lives as long as the chosen server says, not the one that its connection began with."""
    cdef SSL_SESSION* s = SSL_get_session(ssl)
    if s != NULL and not SSL_session_reused(ssl):
        SSL_SESSION_set_timeout(s, t.conf.session_timeout)


cdef int tls_cache_on_new(SSL* ssl, SSL_SESSION* session) noexcept nogil:
    """0: OpenSSL's reference stays its own."""
    cdef Tls* t = <Tls*> SSL_get_ex_data(ssl, 0)
    cdef uint8_t text[SESSION_MOST]
    cdef uint8_t* p = text
    cdef const uint8_t* id
    cdef unsigned int id_n = 0
    cdef int n
    cdef int64_t now = loop.now // 1000
    if t == NULL or t.flags & TLS_CLIENT or t.conf.cache == NULL:
        return 0
    if SSL_version(ssl) == TLS1_3_VERSION and not SSL_get_options(ssl) & SSL_OP_NO_TICKET:
        return 0
    id = SSL_SESSION_get_id(session, &id_n)
    n = i2d_SSL_SESSION(session, NULL)
    if id_n and 0 < n <= SESSION_MOST:
        i2d_SSL_SESSION(session, &p)
        tls_cache_put(t.conf.cache, getpid(), id, id_n, <char*> text, n, now, now + t.conf.session_timeout)
        OPENSSL_cleanse(text, n)
    return 0


cdef SSL_SESSION* tls_cache_on_ask(SSL* ssl, const uint8_t* id, int id_n, int* copy) noexcept nogil:
    cdef Tls* t = <Tls*> SSL_get_ex_data(ssl, 0)
    cdef uint8_t text[SESSION_MOST]
    cdef const uint8_t* p = text
    cdef SSL_SESSION* found
    cdef uint32_t n
    copy[0] = 0
    if t == NULL or t.conf.cache == NULL or id_n <= 0:
        return NULL
    n = tls_cache_get(t.conf.cache, getpid(), id, id_n, <char*> text, loop.now // 1000)
    if n == 0:
        return NULL
    found = d2i_SSL_SESSION(NULL, &p, n)
    OPENSSL_cleanse(text, n)
    return found


cdef void tls_cache_on_gone(SSL_CTX* ctx, SSL_SESSION* session) noexcept nogil:
    """A session that failed, or is too old. Whose it was is not said: it is looked for everywhere."""
    cdef unsigned int id_n = 0
    cdef const uint8_t* id = SSL_SESSION_get_id(session, &id_n)
    cdef int i
    if id_n:
        for i in range(tls_nzones):
            tls_cache_drop(tls_zones_all[i], getpid(), id, id_n)
