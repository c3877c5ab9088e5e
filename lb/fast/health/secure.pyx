"""Checks over TLS: the engine's own client side, as requests use it, between connect() and the question.

A session of the last check serves for the next one. What ended a handshake is told in the words of the error log.
"""


cdef void check_secure(Check* k) noexcept nogil:
    """Its connection stands: the handshake, within the check's own time-out."""
    cdef Str name = k.conf.tls_name
    cdef Str none
    none.p = NULL
    none.n = 0
    if name.n == 0 and k.conf.tls.verify:
        name = check_host(k)
    k.phase = CP_HANDSHAKE
    if tls_connect_as(k.conn, k.conf.tls, &name, &none, k.conf.tls_name.n != 0):
        check_handshake(k)
    else:
        check_want(k, ENOMEM)


cdef Str check_host(Check* k) noexcept nogil:
    """The server as it is written, without its port and brackets."""
    cdef Str s = k.peer.name
    cdef uint32_t i = s.n
    if k.peer.family != AF_UNIX:
        while i and s.p[i - 1] != 58:
            i -= 1
        s.n = i - 1 if i else s.n
    if s.n > 2 and s.p[0] == c"[" and s.p[s.n - 1] == c"]":
        s.p += 1
        s.n -= 2
    return s


cdef void check_handshake(Check* k) noexcept nogil:
    cdef Conn* c = k.conn
    cdef char text[512]
    cdef Out o
    cdef int rc = c.io.handshake(c)
    if rc == 0:
        return
    if rc > 0:
        check_ask(k)
        return
    tls_session_drop(k.peer, tls_of(c))     # if it was the session's fault, the next handshake is a full one
    out_init(&o, text, sizeof(text))
    tls_up_explain(c, &o)
    check_note(k, text, <uint32_t> (o.p - text))
    check_fail(k, CHECK_TLS, 0)
