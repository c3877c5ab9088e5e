"""The debug log: one connection's way, step by step, in nginx's words where nginx has them. Always built in.

    error_log FILE debug: all clients of what logs there
    debug_connection ADDRESS: all messages of these clients, in every error log

    accept -> debug_accepted: Conn.debug     server, location chosen -> debug_server, debug_location: what their error_log says
    a trace point:  if debug_on(c): debug_...(c, ...)      nothing is worked out before the test: off, it compares one byte

A line is `*N TEXT`, N the number of the client's connection, also where a server's connection is told of.
"""

cdef enum:
    DEBUG_MOST = 2048           # bytes of a text that somebody sent


cdef inline bint debug_on(Conn* c) noexcept nogil:
    return unlikely(loop.debug) and c.debug


cdef ErrorLogs* debug_logs(Conn* c) noexcept nogil:
    """The error logs of what this connection does now."""
    cdef Request* r = c.req
    cdef Conn* client = r.client if r != NULL else c
    cdef ErrorLogs* e = &loop.errors
    if r != NULL and r.settings != NULL:
        e = r.settings.errors
    elif client.kind == K_UP:
        e = &loop.errors
    elif client.loc != NULL:
        e = client.loc.settings.errors
    elif client.lst != NULL:
        return error_logs_of_client(client)
    return e.loud if c.debug & DEBUG_CLIENT else e


cdef bint debug_begin(Out* o, Conn* c, const char* text) noexcept nogil:
    """*N TEXT"""
    cdef Conn* client = c.req.client if c.req != NULL else c
    if not error_begin(o, debug_logs(c), LOG_DEBUG):
        return False
    if client.number:
        error_connection(o, client)
    out_text(o, text)
    return True


cdef void debug_end(Out* o, Conn* c) noexcept nogil:
    error_end(o, debug_logs(c), LOG_DEBUG)


cdef void debug_quote(Out* o, const char* p, uint32_t n) noexcept nogil:
    out_char(o, 34)
    out_escaped(o, p, n if n < DEBUG_MOST else DEBUG_MOST)
    out_char(o, 34)


# ---- texts of any kind

cdef void debug_text(Conn* c, const char* text) noexcept nogil:
    cdef Out o
    if debug_begin(&o, c, text):
        debug_end(&o, c)


cdef void debug_number(Conn* c, const char* text, int64_t n) noexcept nogil:
    """TEXT N"""
    cdef Out o
    if debug_begin(&o, c, text):
        out_char(&o, 32)
        out_int(&o, n)
        debug_end(&o, c)


cdef void debug_quoted(Conn* c, const char* text, const char* p, uint32_t n) noexcept nogil:
    """TEXT "VALUE" """
    cdef Out o
    if debug_begin(&o, c, text):
        out_char(&o, 32)
        debug_quote(&o, p, n)
        debug_end(&o, c)


cdef void debug_bytes(Conn* c, const char* text, int64_t got, uint64_t most) noexcept nogil:
    """recv: fd:7 83 of 65536; a negative `got` is the error that the call said."""
    cdef Out o
    cdef int e = errno
    if debug_begin(&o, c, text):
        debug_fd(&o, c)
        out_int(&o, got)
        out_text(&o, b" of ")
        out_uint(&o, most)
        if got < 0:
            error_number(&o, e)
        debug_end(&o, c)
    lb_errno_set(e)


cdef void debug_fd(Out* o, Conn* c) noexcept nogil:
    out_text(o, b" fd:")
    out_int(o, conn_descriptor(c))
    out_char(o, 32)


cdef void debug_lines(Conn* c, const char* text, const char* p, uint32_t n) noexcept nogil:
    """TEXT "LINE" for each line of a head that lb has written."""
    cdef const char* end = p + n
    cdef const char* stop
    while p < end:
        stop = <const char*> memchr(p, 13, end - p)
        if stop == NULL or stop == p:
            return
        debug_quoted(c, text, p, <uint32_t> (stop - p))
        p = stop + 2


cdef void debug_fields(Conn* c, const char* text, const char* head, Head* h) noexcept nogil:
    """TEXT "NAME: VALUE" for each field of a parsed head."""
    cdef uint32_t i
    cdef Field* f
    for i in range(h.nfields):
        f = &h.fields[i]
        debug_quoted(c, text, head + f.name, f.value + f.value_len - f.name)


# ---- connections

cdef const char* debug_kind_name(int kind) noexcept nogil:
    if kind == K_FREE: return b"free"
    if kind == K_LISTEN: return b"listen"
    if kind == K_WAKE: return b"wake"
    if kind == K_SIGNAL: return b"signal"
    if kind == K_HTTP: return b"http client"
    if kind == K_TCP: return b"tcp client"
    if kind == K_UP: return b"upstream"
    if kind == K_PROXY_PROTOCOL: return b"client before its PROXY header"
    if kind == K_HANDSHAKE: return b"client before its transport is up"
    if kind == K_CHECK: return b"check of a server"
    if kind == K_H2: return b"http2 client"
    if kind == K_STREAM: return b"http2 stream"
    return b"?"


cdef const char* debug_state_name(int state) noexcept nogil:
    if state == S_FREE: return b"free"
    if state == S_IDLE: return b"idle"
    if state == S_HEAD: return b"head"
    if state == S_CONNECT: return b"connect"
    if state == S_BUSY: return b"busy"
    if state == S_LINGERING: return b"lingering"
    if state == S_NEW: return b"new"
    if state == S_HANDSHAKE: return b"handshake"
    return b"?"


cdef void debug_accepted(Conn* c) noexcept nogil:
    """Is this client to be traced? debug_connection asks for its own address, as nginx; else its listener's error_log says."""
    cdef Out o
    if loop.debug_clients.n and cidr_find(&loop.debug_clients, c.addr, c.addr_len) != NULL:
        c.debug = DEBUG_CLIENT
    elif error_logs_of_client(c).most >= LOG_DEBUG:
        c.debug = DEBUG_LEVEL
    if c.debug and debug_begin(&o, c, b"accept: "):
        error_socket(&o, c.addr, c.addr_len)
        out_text(&o, b" fd:")
        out_int(&o, conn_descriptor(c))
        debug_end(&o, c)


cdef void debug_level(Conn* c, ErrorLogs* e) noexcept nogil:
    """From here on the client's messages go to these logs."""
    c.debug = (c.debug & DEBUG_CLIENT) | (DEBUG_LEVEL if e.most >= LOG_DEBUG else 0)


cdef void debug_state(Conn* c, int old, int state) noexcept nogil:
    """connection fd:7 head -> busy"""
    cdef Out o
    if debug_begin(&o, c, b"connection"):
        debug_fd(&o, c)
        out_text(&o, debug_state_name(old))
        out_text(&o, b" -> ")
        out_text(&o, debug_state_name(state))
        debug_end(&o, c)


cdef void debug_event(Conn* c) noexcept nogil:
    """epoll: fd:7 read write hup err"""
    cdef Out o
    if debug_begin(&o, c, b"epoll:"):
        debug_fd(&o, c)
        if c.ready & R_READ:
            out_text(&o, b"read ")
        if c.ready & R_WRITE:
            out_text(&o, b"write ")
        if c.ready & R_HUP:
            out_text(&o, b"hup ")
        if c.ready & R_ERR:
            out_text(&o, b"err ")
        debug_end(&o, c)


cdef void debug_timer(Timer* t, int64_t at) noexcept nogil:
    """Wheel.trace. event timer: fd:7 60000 ms"""
    cdef Out o
    cdef Conn* c = <Conn*> t
    if c.debug and t.at != at and debug_begin(&o, c, b"event timer:"):
        debug_fd(&o, c)
        out_int(&o, at - loop.now)
        out_text(&o, b" ms")
        debug_end(&o, c)


cdef void debug_timer_fired(Conn* c) noexcept nogil:
    cdef Out o
    if debug_begin(&o, c, b"event timer fired:"):
        debug_fd(&o, c)
        out_text(&o, debug_state_name(c.state))
        debug_end(&o, c)


cdef void debug_close(Conn* c) noexcept nogil:
    cdef Out o
    if debug_begin(&o, c, b"close "):
        out_text(&o, debug_kind_name(c.kind))
        out_text(&o, b" connection:")
        debug_fd(&o, c)
        debug_end(&o, c)


cdef void debug_spliced(Conn* a, Conn* b, int64_t took, int64_t gave) noexcept nogil:
    cdef Out o
    if debug_begin(&o, a, b"splice:"):
        debug_fd(&o, a)
        out_text(&o, b"to")
        debug_fd(&o, b)
        out_int(&o, took)
        out_text(&o, b" in, ")
        out_int(&o, gave)
        out_text(&o, b" out")
        debug_end(&o, a)


# ---- a request's way

cdef void debug_head(Request* r) noexcept nogil:
    """The request line and each field as they were received."""
    cdef Conn* c = r.client
    debug_quoted(c, b"http request line:", r.head + r.h.start, debug_line_length(r.head + r.h.start, r.h.size - r.h.start))
    debug_fields(c, b"http header:", r.head, &r.h)
    debug_number(c, b"http header done, bytes of the head:", r.h.size)


cdef uint32_t debug_line_length(const char* p, uint32_t n) noexcept nogil:
    cdef uint32_t i = 0
    while i < n and p[i] != 13 and p[i] != 10:
        i += 1
    return i


cdef void debug_server(Request* r) noexcept nogil:
    """The server, and the path that locations are looked for with."""
    cdef Conn* c = r.client
    debug_level(c, r.settings.errors)
    if not c.debug:
        return
    debug_quoted(c, b"http server:", r.srv.name.p, r.srv.name.n)
    if r.uri != NULL:
        debug_quoted(c, b"http uri:", r.uri, r.uri_len)
        debug_quoted(c, b"http args:", r.args, r.args_len)


cdef void debug_location(Request* r) noexcept nogil:
    debug_level(r.client, r.settings.errors)
    if r.client.debug:
        debug_quoted(r.client, b"using configuration", r.loc.pattern.p, r.loc.pattern.n)


cdef const char* debug_op_name(int kind) noexcept nogil:
    if kind == OP_SET: return b"set"
    if kind == OP_REWRITE: return b"rewrite"
    if kind == OP_RETURN: return b"return"
    if kind == OP_BREAK: return b"break"
    return b"if"


cdef void debug_op(Request* r, Op* op) noexcept nogil:
    """http script rewrite "^/old/(.*)" on "/old/x"; the others: by name."""
    cdef Out o
    if not debug_begin(&o, r.client, b"http script "):
        return
    out_text(&o, debug_op_name(op.kind))
    if op.regex != NULL:
        out_char(&o, 32)
        debug_quote(&o, op.regex.text.p, op.regex.text.n)
    if op.kind == OP_REWRITE:
        out_text(&o, b" on ")
        debug_quote(&o, r.uri, r.uri_len)
    debug_end(&o, r.client)


cdef void debug_rewritten(Request* r) noexcept nogil:
    """rewritten data: "/new", args: "a=1" """
    cdef Out o
    if debug_begin(&o, r.client, b"rewritten data: "):
        debug_quote(&o, r.uri, r.uri_len)
        out_text(&o, b", args: ")
        debug_quote(&o, r.args, r.args_len)
        debug_end(&o, r.client)


cdef void debug_limit(Request* r, LimitRule* rule, uint64_t excess) noexcept nogil:
    """limit_req "one": excess 0.500 of 2.000"""
    cdef Out o
    if debug_begin(&o, r.client, b"limit_req "):
        debug_quote(&o, rule.zone.name.p, rule.zone.name.n)
        out_text(&o, b": excess ")
        out_seconds(&o, <int64_t> excess)
        out_text(&o, b" of ")
        out_seconds(&o, <int64_t> rule.burst)
        debug_end(&o, r.client)


cdef void debug_client(Conn* c, const char* text, const char* sa, uint32_t n) noexcept nogil:
    """TEXT ADDRESS"""
    cdef Out o
    if debug_begin(&o, c, text):
        out_char(&o, 32)
        sockaddr_write(&o, sa, n)
        debug_end(&o, c)


cdef const char* debug_handler_name(int handler) noexcept nogil:
    if handler == DO_PROXY: return b"content: proxy_pass"
    if handler == DO_SHOW: return b"content: upstream_show"
    if handler == DO_CHECK_STATUS: return b"content: check_status"
    if handler == DO_TRY: return b"content: try_files"
    return b"content: static"


cdef void debug_special(Request* r, int status) noexcept nogil:
    """http special response: 404, "/uri" """
    cdef Out o
    if debug_begin(&o, r.client, b"http special response: "):
        out_int(&o, status)
        out_text(&o, b", ")
        debug_quote(&o, r.uri, r.uri_len if r.uri != NULL else 0)
        debug_end(&o, r.client)


# ---- its server

cdef void debug_peer(Request* r, const char* text) noexcept nogil:
    """get peer: "127.0.0.1:81" of "u", try 1"""
    cdef Out o
    if debug_begin(&o, r.client, text):
        out_char(&o, 32)
        debug_quote(&o, r.peer.name.p, r.peer.name.n)
        out_text(&o, b" of ")
        debug_quote(&o, r.ups.name.p, r.ups.name.n)
        out_text(&o, b", try ")
        out_uint(&o, r.tries)
        debug_end(&o, r.client)


cdef void debug_attach(Request* r, Conn* u) noexcept nogil:
    """What the connection does from here on, it does for this client."""
    u.debug = r.client.debug
    u.number = r.client.number


cdef void debug_pooled(Conn* u) noexcept nogil:
    """It is no client's any more: of a pooled one the error log of the main context tells."""
    if u.debug:
        debug_number(u, b"free keepalive peer: saving connection fd", conn_descriptor(u))
    u.debug = DEBUG_LEVEL if loop.errors.most >= LOG_DEBUG else 0
    u.number = 0


cdef void debug_connect(Request* r, Conn* u) noexcept nogil:
    """connect to 127.0.0.1:81, fd:9"""
    cdef Out o
    if debug_begin(&o, r.client, b"connect to "):
        out_str(&o, r.peer.name)
        out_text(&o, b", fd:")
        out_int(&o, conn_descriptor(u))
        debug_end(&o, r.client)


cdef const char* debug_why_name(int why) noexcept nogil:
    if why == WHY_CONNECT: return b"connect failed"
    if why == WHY_BROKEN: return b"connection broken"
    if why == WHY_TIMEOUT: return b"timeout"
    if why == WHY_INVALID: return b"invalid header"
    return b"status"


cdef void debug_next(Request* r, int why, bint again) noexcept nogil:
    """http next upstream: timeout, another try | the last try"""
    cdef Out o
    if debug_begin(&o, r.client, b"http next upstream: "):
        out_text(&o, debug_why_name(why))
        out_text(&o, b", another try" if again else b", that was the last try")
        debug_end(&o, r.client)


cdef void debug_response(Request* r, const char* head, Head* h) noexcept nogil:
    """The server's status and each field of its head."""
    cdef Out o
    cdef Conn* c = r.client
    if debug_begin(&o, c, b"http proxy status "):
        out_int(&o, h.status)
        out_char(&o, 32)
        debug_quote(&o, head + h.target, h.target_len)
        debug_end(&o, c)
    debug_fields(c, b"http proxy header:", head, h)
    debug_number(c, b"http proxy header done, bytes of the head:", h.size)


cdef void debug_sent_up(Request* r, const char* p, uint32_t n) noexcept nogil:
    """The head that goes to the server, line by line."""
    debug_lines(r.client, b"http proxy request:", p, n)
