"""What a reader of this process's memory, or of its core, has to know: `lb inspect` (lb/inspect/).

lb_beacon lies in the extension's data under a magic text; it leads to the loop and to a JSON text that says where the fields
of the structs lie and what their numbers mean. So the reader needs no debugging symbols and no build like this one.

    {"structs": {"Conn": {"size": 256, "fields": {"fd": [32, 4, "i"], ...}}}, "names": {"State": {"1": "idle"}}, "flags": {...}}

A field is [offset, bytes, kind]: u unsigned (pointers too), i signed, s a Str, a bytes.
"""

cdef extern from "debug.h" nogil:
    cdef struct Beacon "lb_beacon":
        void* itself
        void* loop
        const char* text
        uint64_t n
    Beacon lb_beacon


cdef tuple compile_field(void* base, void* field, size_t n, str kind):
    return <size_t> field - <size_t> base, n, kind


def layout():
    """The JSON text, as bytes."""
    structs = {"Loop": compile_layout_loop(), "Conn": compile_layout_conn(), "Request": compile_layout_request(),
               **compile_layout_parts()}
    return json.dumps({
        "slab": 1 << SLAB_SHIFT,
        "structs": {name: {"size": size, "fields": fields} for name, (size, fields) in structs.items()},
        "names": {"Kind": {i: (<bytes> debug_kind_name(i)).decode() for i in range(KINDS)},
                  "State": {i: (<bytes> debug_state_name(i)).decode() for i in range(S_STATES)},
                  "Phase": dict(enumerate(PHASES))},
        "flags": {"Ready": {"read": R_READ, "write": R_WRITE, "hup": R_HUP, "err": R_ERR},
                  "ConnFlag": compile_conn_flags(), "ReqFlag": compile_request_flags()},
    }).encode()


cdef dict compile_conn_flags():
    return {"eof": CF_EOF, "shut": CF_SHUT, "nodelay": CF_NODELAY, "posted": CF_POSTED, "unix": CF_UNIX, "used": CF_USED,
            "failed": CF_FAILED, "bulk": CF_BULK}


cdef dict compile_request_flags():
    return {"tcp": RQ_TCP, "keep": RQ_KEEP, "started": RQ_STARTED, "continue": RQ_CONTINUE, "body_left": RQ_BODY_LEFT,
            "internal": RQ_INTERNAL, "uri_new": RQ_URI_NEW, "no_location": RQ_NO_LOCATION, "uri_changed": RQ_URI_CHANGED,
            "alias_uri": RQ_ALIAS_URI, "error_page": RQ_ERROR_PAGE, "gave_up": RQ_GAVE_UP, "kept": RQ_KEPT, "held": RQ_HELD,
            "pending": RQ_PENDING, "up_ended": RQ_UP_ENDED, "reused": RQ_REUSED, "connect": RQ_CONNECT, "up_keep": RQ_UP_KEEP,
            "no_replay": RQ_NO_REPLAY, "body_off": RQ_BODY_OFF, "body_drop": RQ_BODY_DROP, "head_sent": RQ_HEAD_SENT,
            "hold": RQ_HOLD, "broken": RQ_BROKEN}


cdef tuple compile_layout_loop():
    cdef Loop* x = &loop
    return sizeof(Loop), {
        "now": compile_field(x, &x.now, sizeof(x.now), "i"),
        "pid": compile_field(x, &x.env.pid, sizeof(x.env.pid), "u"),
        "worker": compile_field(x, &x.worker, sizeof(x.worker), "u"),
        "stopping": compile_field(x, &x.stopping, sizeof(x.stopping), "u"),
        "chunks": compile_field(x, &x.chunks, sizeof(x.chunks), "u"),
        "nchunks": compile_field(x, &x.nchunks, sizeof(x.nchunks), "u"),
        "nconns": compile_field(x, &x.nconns, sizeof(x.nconns), "u"),
        "max_conns": compile_field(x, &x.max_conns, sizeof(x.max_conns), "u"),
        "clients": compile_field(x, &x.clients, sizeof(x.clients), "u"),
    }


cdef tuple compile_layout_conn():
    cdef Conn c
    cdef void* x = &c
    return sizeof(Conn), {
        "timer": compile_field(x, &c.timer.at, sizeof(c.timer.at), "i"),
        "fd": compile_field(x, &c.fd, sizeof(c.fd), "i"),
        "idx": compile_field(x, &c.idx, sizeof(c.idx), "u"),
        "gen": compile_field(x, &c.gen, sizeof(c.gen), "u"),
        "kind": compile_field(x, &c.kind, sizeof(c.kind), "u"),
        "state": compile_field(x, &c.state, sizeof(c.state), "u"),
        "ready": compile_field(x, &c.ready, sizeof(c.ready), "u"),
        "flags": compile_field(x, &c.flags, sizeof(c.flags), "u"),
        "inb": compile_field(x, &c.inb, sizeof(c.inb), "u"),
        "out": compile_field(x, &c.out, sizeof(c.out), "u"),
        "pipe": compile_field(x, &c.pipe, sizeof(c.pipe), "u"),
        "req": compile_field(x, &c.req, sizeof(c.req), "u"),
        "lst": compile_field(x, &c.lst, sizeof(c.lst), "u"),
        "peer": compile_field(x, &c.peer, sizeof(c.peer), "u"),
        "got": compile_field(x, &c.got, sizeof(c.got), "u"),
        "put": compile_field(x, &c.put, sizeof(c.put), "u"),
        "opened": compile_field(x, &c.opened, sizeof(c.opened), "i"),
        "number": compile_field(x, &c.number, sizeof(c.number), "u"),
        "served": compile_field(x, &c.served, sizeof(c.served), "u"),
        "addr_len": compile_field(x, &c.addr_len, sizeof(c.addr_len), "u"),
        "addr": compile_field(x, &c.addr, sizeof(c.addr), "a"),
    }


cdef tuple compile_layout_request():
    cdef Request r
    cdef void* x = &r
    return sizeof(Request), {
        "client": compile_field(x, &r.client, sizeof(r.client), "u"),
        "up": compile_field(x, &r.up, sizeof(r.up), "u"),
        "loc": compile_field(x, &r.loc, sizeof(r.loc), "u"),
        "srv": compile_field(x, &r.srv, sizeof(r.srv), "u"),
        "ups": compile_field(x, &r.ups, sizeof(r.ups), "u"),
        "peer": compile_field(x, &r.peer, sizeof(r.peer), "u"),
        "flags": compile_field(x, &r.flags, sizeof(r.flags), "u"),
        "phase": compile_field(x, &r.phase, sizeof(r.phase), "u"),
        "method": compile_field(x, &r.method, sizeof(r.method), "s"),
        "uri": compile_field(x, &r.uri, sizeof(r.uri), "u"),
        "uri_len": compile_field(x, &r.uri_len, sizeof(r.uri_len), "u"),
        "args": compile_field(x, &r.args, sizeof(r.args), "u"),
        "args_len": compile_field(x, &r.args_len, sizeof(r.args_len), "u"),
        "status": compile_field(x, &r.status, sizeof(r.status), "u"),
        "up_status": compile_field(x, &r.up_status, sizeof(r.up_status), "u"),
        "tries": compile_field(x, &r.tries, sizeof(r.tries), "u"),
        "start": compile_field(x, &r.start, sizeof(r.start), "i"),
        "up_start": compile_field(x, &r.up_start, sizeof(r.up_start), "i"),
        "received": compile_field(x, &r.received, sizeof(r.received), "u"),
        "in_done": compile_field(x, &r.inb.done, sizeof(r.inb.done), "u"),
        "in_seen": compile_field(x, &r.inb.seen, sizeof(r.inb.seen), "u"),
        "out_done": compile_field(x, &r.outb.done, sizeof(r.outb.done), "u"),
        "out_seen": compile_field(x, &r.outb.seen, sizeof(r.outb.seen), "u"),
    }


cdef dict compile_layout_parts():
    """What connections and requests point to."""
    cdef Peer p
    cdef Upstream u
    cdef Server s
    cdef Location l
    cdef Listener e
    cdef Buf b
    return {
        "Peer": (sizeof(Peer), {
            "name": compile_field(&p, &p.name, sizeof(p.name), "s"),
            "active": compile_field(&p, &p.active, sizeof(p.active), "u"),
            "nidle": compile_field(&p, &p.nidle, sizeof(p.nidle), "u"),
            "fails": compile_field(&p, &p.fails, sizeof(p.fails), "u"),
            "removed": compile_field(&p, &p.removed, sizeof(p.removed), "u"),
        }),
        "Upstream": (sizeof(Upstream), {"name": compile_field(&u, &u.name, sizeof(u.name), "s")}),
        "Server": (sizeof(Server), {"name": compile_field(&s, &s.name, sizeof(s.name), "s")}),
        "Location": (sizeof(Location), {"pattern": compile_field(&l, &l.pattern, sizeof(l.pattern), "s")}),
        "Listener": (sizeof(Listener), {"addr": compile_field(&e, &e.addr, sizeof(e.addr), "s")}),
        "Buf": (sizeof(Buf), {
            "next": compile_field(&b, &b.next, sizeof(b.next), "u"),
            "off": compile_field(&b, &b.off, sizeof(b.off), "u"),
            "end": compile_field(&b, &b.end, sizeof(b.end), "u"),
        }),
    }


cdef int compile_beacon(Engine e) except -1:
    cdef bytes text = layout()
    e.kept.append(text)
    lb_beacon.itself = &lb_beacon
    lb_beacon.loop = &loop
    lb_beacon.text = text
    lb_beacon.n = len(text)
    return 0
