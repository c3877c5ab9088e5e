"""TLS in a compiled configuration: what the loop reads (TlsConf), and the private keys on their way to the master.

Keys never lie in the arena: the child that has read them writes them into a memfd of their own, the master reads them, makes its
contexts and forgets them (the file is emptied before it is closed, what Python held of it is wiped).
"""

import struct

cdef dict VERIFY = {"off": TLS_VERIFY_OFF, "on": TLS_VERIFY_ON, "optional": TLS_VERIFY_OPTIONAL,
                    "optional_no_ca": TLS_VERIFY_OPTIONAL_NO_CA}


cdef int compile_tls(Compiled e, config) except -1:
    """Of clients first, then of servers."""
    cdef TlsConf* t
    e.tls_servers = len(config.tls)
    e.conf.ntls = e.tls_servers + len(config.tls_up)
    e.conf.tls = <TlsConf*> e.mem(e.conf.ntls * sizeof(TlsConf))
    for i, server in enumerate(config.tls):
        compile_tls_clients(e, &e.conf.tls[<int> i], server, any(one.early_data for one in config.tls))
    for i, client in enumerate(config.tls_up):
        t = &e.conf.tls[e.tls_servers + <int> i]
        t.verify = TLS_VERIFY_ON if client.verify else TLS_VERIFY_OFF
        t.buffer = 16384
        t.reuse = client.session_reuse
        t.key_log = &e.conf.logs[<int> e.log_index[client.key_log]] if client.key_log else NULL
        compile_tls_pair(e, t, client)
    return 0


cdef void compile_tls_uses(Compiled e) noexcept:
    """All values are compiled: what handshakes must keep for them."""
    for i in range(e.tls_servers):
        e.conf.tls[<int> i].uses = e.tls_uses


cdef int compile_tls_clients(Compiled e, TlsConf* t, server, bint early) except -1:
    t.verify = VERIFY[server.verify_client]
    t.own = server.record_engine == "lb"
    t.reject = server.reject_handshake
    t.buffer = min(max(server.buffer_size, 1), 16384)
    t.handshake_timeout = server.handshake_timeout_ms
    t.groups = e.text(server.groups)
    tls_lazy_compile(e, t, server)
    t.session_timeout = max(server.session_timeout_s, 1)
    t.alpn = e.text(b"".join(bytes([len(name)]) + name for name in map(os.fsencode, server.alpn)))
    t.early = early
    sid = server.session_context()
    memcpy(t.sid, <char*> sid, sizeof(t.sid))
    return 0


cdef int compile_tls_pair(Compiled e, TlsConf* t, client) except -1:
    """proxy_ssl_certificate with variables."""
    t.nlazy = len(client.lazy)
    t.lazy = <TlsLazy*> e.mem(t.nlazy * sizeof(TlsLazy))
    for i, (file, key) in enumerate(client.lazy):
        t.lazy[<int> i].file = e.value(file)
        t.lazy[<int> i].key = e.value(key)
    if client.lazy_cache is not None:
        t.lazy_max, t.lazy_inactive, t.lazy_valid = client.lazy_cache
    return 0


cdef const TlsConf* compile_tls_up(Compiled e, int i) noexcept:
    return &e.conf.tls[e.tls_servers + i] if i >= 0 else NULL


cdef list compile_tls_sessions(TlsConf* t, server, servers):
    """In the master: memory of sessions, and the context that a connection begins with. What has to live as long as `t`."""
    cache = server.session_cache
    ring = TlsRing.of_server(server)
    kept = [ring]
    t.ring = (<TlsRing> ring).ring
    if cache.kind in ("shared", "builtin"):
        zone = TlsZone.get(cache.name, cache.size)
        kept.append(zone)
        t.cache = &(<TlsZone> zone).zone
    elif cache.kind == "off" and any(one.session_cache.kind in ("shared", "builtin") for one in servers):
        first = TlsContext.get(TlsServer(), [])     # with `off` no callback would come, whatever the name chooses
        kept.append(first)
        t.first = (<TlsContext> first).ctx
    return kept


cdef const TlsConf* compile_tls_of(Compiled e, int i) noexcept:
    return &e.conf.tls[i] if i >= 0 else NULL


# ---- private keys

cdef int compile_secrets_write(int fd, dict keys) except -1:
    """Digest, length, DER of each."""
    with open(fd, "wb", closefd=False, buffering=0) as stream:
        for digest, key in keys.items():
            stream.write(struct.pack("=32sI", digest, len(key)))
            stream.write(key)
    return 0


cdef dict compile_secrets_take(int fd):
    """As they were written; the file is emptied and closed."""
    cdef dict found = {}
    cdef size_t at = 0, size
    try:
        size = os.fstat(fd).st_size
        while at < size:
            digest, n = struct.unpack("=32sI", os.pread(fd, 36, at))
            found[digest] = os.pread(fd, n, at + 36)
            at += 36 + n
        if size:
            os.pwrite(fd, bytes(size), 0)
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)
    return found


cdef int compile_secrets_forget(dict keys) except -1:
    for key in keys.values():
        tls_forget(key)
    keys.clear()
    return 0
