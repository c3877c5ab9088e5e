"""Variables about the client's TLS. Their texts were made at the end of the handshake (tls/info.pyx), those that are used."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from lb.fast.types cimport Conn, K_STREAM, Out, Request, Str, TLS_EARLY, Tls, TlsInfo
from lb.fast.io.writer cimport out_int, out_put, out_str, out_uint
from lb.fast.route.variables.upstream cimport var_missing

cdef enum TlsVariable:      # numbers of their own, behind those of route/variables/client.pxd; one bit each in TlsConf.uses
    V_TLS = 3000
    V_SSL_PROTOCOL, V_SSL_CIPHER, V_SSL_CIPHERS, V_SSL_CURVE, V_SSL_CURVES, V_SSL_SESSION_ID, V_SSL_SESSION_REUSED
    V_SSL_SERVER_NAME, V_SSL_ALPN_PROTOCOL, V_SSL_SIGALG
    V_SSL_CLIENT_SIGALG, V_SSL_CLIENT_VERIFY, V_SSL_CLIENT_CERT, V_SSL_CLIENT_ESCAPED_CERT, V_SSL_CLIENT_RAW_CERT
    V_SSL_CLIENT_S_DN, V_SSL_CLIENT_I_DN, V_SSL_CLIENT_S_DN_LEGACY, V_SSL_CLIENT_I_DN_LEGACY, V_SSL_CLIENT_SERIAL
    V_SSL_CLIENT_FINGERPRINT, V_SSL_CLIENT_V_START, V_SSL_CLIENT_V_END, V_SSL_CLIENT_V_REMAIN
    V_TLS_KEPT              # those before are kept as texts
    V_HTTPS, V_SSL_EARLY_DATA


cdef inline uint64_t var_tls_bit(int var) noexcept nogil:
    return 1ull << (var - V_TLS) if var < V_TLS_KEPT else 0


cdef inline void var_tls(Out* o, Conn* c, int64_t now, int var) noexcept nogil:
    """`now`: Unix seconds."""
    cdef Tls* t = NULL
    cdef Str* s
    cdef int64_t left
    if c.secure:
        t = <Tls*> (c.io_state if c.kind != K_STREAM else c.h2.conn.io_state)
    if t == NULL:
        var_missing(o)
    elif var == V_HTTPS:
        out_put(o, b"on", 2)
    elif var == V_SSL_EARLY_DATA:
        if t.flags & TLS_EARLY:
            out_put(o, b"1", 1)
        else:
            var_missing(o)
    elif t.info == NULL:
        var_missing(o)
    elif var == V_SSL_CLIENT_V_REMAIN:
        if t.info.until == 0:
            var_missing(o)
            return
        left = t.info.until - now
        out_uint(o, <uint64_t> (left // 86400) if left > 0 else 0)
    else:
        s = &t.info.texts[var - V_TLS]
        if s.n == 0:
            var_missing(o)
            return
        out_str(o, s[0])
