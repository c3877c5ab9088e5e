"""Rise and fall: what a result makes of a server (ngx_http_upstream_check_status_update of the module).

A server goes up after `rise` passed checks in a row, down after `fall` failed ones. The counts go on growing, as the module's do.
"""

cdef const char* CHECK_TEXTS[11]
CHECK_TEXTS[:] = [
    b"ok", b"no check yet", b"connect() failed", b"the connection broke", b"the server closed the connection", b"timed out",
    b"invalid answer", b"refusing answer", b"answer too large", b"expected text not found", b"TLS handshake failed"]
cdef const char* CHECK_PHASES[5]
CHECK_PHASES[:] = [b"", b" while connecting", b" while TLS handshaking", b" while sending", b" while waiting for the answer"]


cdef bint health_verdict(Check* k, bint ok) noexcept nogil:
    """Count a result, and change the word if it is up or down from here on. True: it is."""
    cdef Health* h = k.health
    cdef uint64_t word = h.word
    cdef bint down
    h.ended = <uint64_t> loop.now
    h.checks += 1
    h.failures += not ok
    h.results = (h.results << 1 | <uint32_t> (not ok)) & ((1 << HEALTH_RESULTS) - 1)
    h.nresults += h.nresults < HEALTH_RESULTS
    if ok:
        h.rise += 1
        h.fall = 0
    else:
        h.fall += 1
        h.rise = 0
    health_tell(k, ok)
    if word & HEALTH_DOWN:
        down = not (ok and h.rise >= k.conf.rise)
    else:
        down = not ok and h.fall >= k.conf.fall
    if word & HEALTH_UNSEEN and not (h.rise >= k.conf.rise or h.fall >= k.conf.fall):
        return False
    k.known = 1
    if not word & HEALTH_UNSEEN and down == (word & HEALTH_DOWN != 0):
        return False
    lb_atomic_store(&h.word, (word & ~<uint64_t> (HEALTH_DOWN | HEALTH_UNSEEN)) | (HEALTH_DOWN if down else 0))
    h.since = <uint64_t> loop.now
    h.changes += 1
    health_announce(loop.health, h)
    return True


cdef void health_tell(Check* k, bint ok) noexcept nogil:
    """What this check has said, in words."""
    cdef Health* h = k.health
    cdef Out o
    if ok and h.why == CHECK_OK and k.detail == h.detail:
        return
    h.why = CHECK_OK if ok else k.why
    h.detail = k.detail
    out_init(&o, h.text, HEALTH_TEXT)
    health_words(&o, h.why, h.detail)
    if k.note_len and not ok:
        out_text(&o, b": ")
        out_put(&o, k.note, min(k.note_len, <uint32_t> (o.end - o.p)))
    h.text_len = <uint32_t> (o.p - h.text)


cdef void health_words(Out* o, uint32_t why, int32_t detail) noexcept nogil:
    """timed out while connecting; connect() failed (111: Connection refused); refusing answer 503"""
    out_text(o, CHECK_TEXTS[why if why < CHECK_WHYS else CHECK_INVALID])
    if why == CHECK_TIMEOUT:
        out_text(o, CHECK_PHASES[detail if 0 <= detail <= CP_READ else 0])
    elif why == CHECK_CONNECT or why == CHECK_BROKEN:
        error_number(o, detail)
    elif detail:
        out_char(o, 32)
        out_int(o, detail)
