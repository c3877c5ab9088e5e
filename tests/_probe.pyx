"""The pure rooms of lb/fast, opened to Python for tests: bytes in, Python values out. Built in the work tree only.

Every input is copied next to an inaccessible page before a room sees it, so that one byte read too far kills the test:
first to the very end of a page, then to the very start of one; both must give the same.
"""

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from lb.fast.message.h1.chunk cimport chunk_decode, chunk_lenient_takes as lenient_takes
from lb.fast.route.realip cimport realip_address_of as room_address
from lb.fast.stream.proxy_protocol cimport proxy_protocol_parse as room_greeting
from lb.fast.stream.client_hello cimport hello_alpn, hello_begin, hello_copy, hello_parse, hello_version
from lb.fast.message.h1.head cimport head_parse_request as head_request, head_parse_response as head_response
from lb.fast.upstream.balance.ring cimport ring_base_hash as base_hash, ring_merge, ring_next, ring_points, ring_sort, ring_ties
from lb.fast.message.h1.rules cimport rule_status, rule_text
from lb.fast.c.simd cimport (
    lb_class, lb_scan_name, lb_scan_name_plain, lb_scan_target, lb_scan_target_plain, lb_scan_value,
    lb_scan_value_plain,
)
from lb.fast.c.sys cimport CLOCK_MONOTONIC, clock_gettime, free, malloc, memcpy, memset, timespec
from lb.fast.tls.keys cimport (
    TlsCrypto, TlsRecord, tls_crypto_init, tls_keys_12, tls_keys_13, tls_keys_label, tls_keys_prf, tls_keys_update, tls_keys_worn,
    tls_suite_hash, tls_suite_key, tls_suite_of,
)
from lb.fast.tls.message cimport (
    TLS_CLOSED, TLS_FATAL, TLS_NOTHING, TLS_RENEGOTIATION, TLS_TICKET, TLS_UPDATED, TLS_UPDATE_ASKED, TLS_UPDATE_BYTES,
    TLS_WARNING, tls_message_alert, tls_message_next, tls_message_send_alert, tls_message_update,
)
from lb.fast.tls.record cimport (
    TLS_TAG, tls_record_count, tls_record_open, tls_record_seal, tls_record_size, tls_record_start, tls_record_wipe,
)
from lb.fast.health.agent_words cimport AgentWords, agent_line, agent_words
from lb.fast.health.databases cimport DB_ALIVE, DB_INVALID, DB_MORE, DB_REFUSES, postgres_answer, redis_answer
from lb.fast.health.grpc cimport GrpcAnswer, grpc_read
from lb.fast.message.h2.frame cimport Frame, frame_fault, frame_put, frame_read, frame_strip
from lb.fast.message.h2.hpack cimport (
    HPACK_ADDED, HPACK_BAD, HPACK_FIELD, HPACK_KEEP, HpackField, HpackTable, hpack_free, hpack_init, hpack_next, hpack_resize,
    hpack_write, hpack_write_size,
)
from lb.fast.message.h2.huffman cimport huffman_decode, huffman_encode, huffman_size
from lb.fast.message.h2.lines cimport LINES_LARGE, LINES_MALFORMED, Lines, lines_begin, lines_end, lines_field
from lb.fast.health.word cimport HEALTH_AGENT_DOWN, HEALTH_DRAIN, HEALTH_MAINT
from lb.fast.types cimport (
    Alike, Chunked, ClientHello,
    FF_BAD_NAME, FF_HOP, Field, ProxyProtocol as Greeting, H_CHUNKED, H_CLOSE, H_EXPECT_100, H_HAS_HOST,
    H_KEEP_ALIVE,
    H_TARGET_QUOTED, H_UPGRADE, Head, LX_ANSWER, LX_BYTES, LX_CODING, LX_EMPTY, LX_LF, LX_REQUEST,
    P_BAD, P_DONE, P_MORE, Point, R_CHUNK_SIZE, R_COUNT, R_PATH_NUL, Str,
)
from lb.fast.message.h1.uri cimport uri_escape as room_escape, uri_normalise as room_normalise

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* addr, size_t n, int protection, int flags, int fd, long offset) noexcept
    int mprotect(void* p, size_t n, int protection) noexcept
    void* MAP_FAILED
    enum:
        PROT_NONE, PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS

cdef enum:
    PAGE = 4096
    ROOM = 1 << 20          # bytes of a text at most


cdef class Guarded:
    """Memory between two pages that nobody may touch."""

    cdef char* p

    def __cinit__(self):
        cdef char* base = <char*> mmap(
            NULL, ROOM + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if base == MAP_FAILED:
            raise MemoryError
        if mprotect(base, PAGE, PROT_NONE) != 0 or mprotect(base + PAGE + ROOM, PAGE, PROT_NONE) != 0:
            raise OSError("mprotect")
        self.p = base + PAGE

    cdef char* take(self, size_t n, bint at_end) except NULL:
        """Room for n bytes, with nothing behind (at_end) or nothing before it."""
        if n > ROOM:
            raise ValueError("text too long for the probe")
        return self.p + ROOM - n if at_end else self.p

    cdef char* hold(self, bytes text, bint at_end) except NULL:
        cdef char* p = self.take(len(text), at_end)
        memcpy(p, PyBytes_AsString(text), len(text))
        return p


cdef Guarded text_memory = Guarded()
cdef Guarded out_memory = Guarded()

RESULTS = {P_MORE: "more", P_DONE: "done", P_BAD: "bad"}
FLAGS = {
    H_CHUNKED: "chunked", H_CLOSE: "close", H_KEEP_ALIVE: "keep-alive", H_UPGRADE: "upgrade", H_EXPECT_100: "expect",
    H_HAS_HOST: "host", H_TARGET_QUOTED: "quoted",
}
LAX = {LX_LF: "lf", LX_BYTES: "bytes", LX_CODING: "coding", LX_EMPTY: "empty"}
HEAD_RULES = {rule_text(rule).decode() for rule in range(1, R_CHUNK_SIZE)}
CHUNK_RULES = {rule_text(rule).decode() for rule in range(R_CHUNK_SIZE, R_PATH_NUL)}
PATH_RULES = {rule_text(rule).decode() for rule in range(R_PATH_NUL, R_COUNT)}
RULES = HEAD_RULES | CHUNK_RULES | PATH_RULES


def both(call):
    """call(at_end) for both places of the text."""
    first, second = call(True), call(False)
    assert first == second, (first, second)
    return first


# ---------------------------------------------------------------- head.pxd

def parse_request(bytes text, max_fields=100, max_target=0, lenient=False):
    """A dict: `result` more, done or bad; for done what the Head says, for bad the refusal."""
    lax = LX_REQUEST if lenient else 0
    return both(lambda at_end: parse_head(text, max_fields, max_target, lax, at_end, False))


def parse_response(bytes text, max_fields=100, lenient=False):
    return both(lambda at_end: parse_head(text, max_fields, 0, LX_ANSWER if lenient else 0, at_end, True))


cdef dict parse_head(bytes text, size_t max_fields, uint32_t max_target, uint8_t lenient, bint at_end, bint response):
    cdef const char* p = text_memory.hold(text, at_end)
    cdef Head h
    cdef int result
    memset(&h, 0xa5, sizeof(h))             # what the parser does not set must show
    h.fields = <Field*> malloc(max_fields * sizeof(Field) + 1)
    h.max_fields = max_fields
    h.max_target = max_target
    h.lenient = lenient
    try:
        result = head_response(p, len(text), &h) if response else head_request(p, len(text), &h)
        if result == P_MORE:
            return {"result": "more"}
        if result == P_BAD:
            return refusal(p, &h)
        return head_dict(p, &h, response)
    finally:
        free(h.fields)


cdef bytes span(const char* p, uint32_t at, uint32_t n):
    return PyBytes_FromStringAndSize(p + at, n)


cdef dict refusal(const char* p, Head* h):
    return {
        "result": "bad", "error": h.error, "rule": rule_text(h.rule).decode(), "at": h.error_at,
        "field": span(p, h.error_name, h.error_name_len),
    }


cdef dict head_dict(const char* p, Head* h, bint response):
    fields = [field_dict(p, &h.fields[i]) for i in range(h.nfields)]
    found = {
        "result": "done", "minor": h.minor, "size": h.size, "start": h.start, "fields": fields,
        "length": h.content_length, "flags": {FLAGS[bit] for bit in FLAGS if h.flags & bit},
        "lax": {LAX[bit] for bit in LAX if h.lax & bit},
    }
    if response:
        return found | {"status": h.status, "reason": span(p, h.target, h.target_len)}
    return found | {
        "method": span(p, h.start, h.method_len), "method_id": h.method, "form": h.form,
        "target": span(p, h.target, h.target_len), "path": span(p, h.path, h.path_len),
        "host": span(p, h.host, h.host_len), "authority": span(p, h.authority, h.authority_len),
    }


cdef dict field_dict(const char* p, Field* f):
    return {
        "name": span(p, f.name, f.name_len), "value": span(p, f.value, f.value_len), "id": f.id,
        "hop": f.flags & FF_HOP != 0, "bad_name": f.flags & FF_BAD_NAME != 0,
    }


def status_of(rule):
    """The status for a rule, by its text."""
    return next(rule_status(number) for number in range(R_COUNT) if rule_text(number).decode() == rule)


def time_head(bytes text, rounds, response=False):
    """Nanoseconds per parse, and what the last one answered."""
    cdef const char* p = text_memory.hold(text, True)
    cdef uint32_t _i, n = len(text), count = rounds
    cdef bint is_response = response
    cdef int result = P_MORE
    cdef Field fields[100]
    cdef timespec begin, end
    cdef Head h
    h.fields = fields
    h.max_fields = 100
    h.max_target = 8192
    h.lenient = 0
    with nogil:
        clock_gettime(CLOCK_MONOTONIC, &begin)
        for _i in range(count):
            result = head_response(p, n, &h) if is_response else head_request(p, n, &h)
        clock_gettime(CLOCK_MONOTONIC, &end)
    return ((end.tv_sec - begin.tv_sec) * 1e9 + end.tv_nsec - begin.tv_nsec) / count, RESULTS[result]


# ---------------------------------------------------------------- chunk.pxd

cdef class ChunkDecoder:
    """One chunked body, fed piece by piece."""

    cdef Chunked state

    def __cinit__(self, lenient=False):
        memset(&self.state, 0, sizeof(Chunked))
        self.state.lenient = lenient

    def feed(self, bytes text):
        """(result, data, used). The two places of the text give the same, from the same state."""
        cdef Chunked before = self.state
        first = self.run(text, True)
        self.state = before
        second = self.run(text, False)
        assert first == second, (first, second)
        return first

    cdef tuple run(self, bytes text, bint at_end):
        cdef char* p = text_memory.hold(text, at_end)
        cdef uint32_t used = 0xa5a5a5a5, out_len = 0xa5a5a5a5
        cdef int result = chunk_decode(&self.state, p, len(text), &used, &out_len)
        return RESULTS[result], span(p, 0, out_len), used

    @property
    def total(self):
        return self.state.total

    def lenient_takes(self, byte):
        """Would a lenient decoder have taken the byte that this one refused?"""
        return bool(lenient_takes(&self.state, byte))

    @property
    def rule(self):
        return rule_text(self.state.bad).decode()


def time_chunks(bytes text, rounds):
    """Nanoseconds per decoding of a whole body; the time of copying it in is left out."""
    cdef uint32_t _i, n = len(text), count = rounds, used = 0, out_len = 0
    cdef const char* source = PyBytes_AsString(text)
    cdef char* p = text_memory.hold(text, True)
    cdef int result = P_MORE
    cdef Chunked state
    cdef timespec begin, end
    cdef double total = 0
    for _i in range(count):
        memset(&state, 0, sizeof(state))
        memcpy(p, source, n)
        clock_gettime(CLOCK_MONOTONIC, &begin)
        result = chunk_decode(&state, p, n, &used, &out_len)
        clock_gettime(CLOCK_MONOTONIC, &end)
        total += (end.tv_sec - begin.tv_sec) * 1e9 + end.tv_nsec - begin.tv_nsec
    return total / count, RESULTS[result]


# ---------------------------------------------------------------- uri.pxd

def uri_normalise(bytes text):
    """(path, query or None), or (None, rule, offset) for a refusal."""
    return both(lambda at_end: normalise(text, at_end))


cdef tuple normalise(bytes text, bint at_end):
    cdef const char* p = text_memory.hold(text, at_end)
    cdef char* out = out_memory.take(len(text), at_end)
    cdef uint32_t out_len = 0xa5a5a5a5, args = 0xa5a5a5a5
    if room_normalise(p, len(text), out, &out_len, &args, True) == P_BAD:
        return None, rule_text(args).decode(), out_len
    return span(out, 0, out_len), text[args:] if args else None


def uri_escape(bytes text):
    return both(lambda at_end: escape(text, at_end))


cdef bytes escape(bytes text, bint at_end):
    cdef char* out = out_memory.take(3 * len(text), at_end)
    return span(out, 0, room_escape(text_memory.hold(text, at_end), len(text), out))


def time_normalise(bytes text, rounds):
    """Nanoseconds per path."""
    cdef const char* p = text_memory.hold(text, True)
    cdef char* out = out_memory.take(len(text), True)
    cdef uint32_t _i, n = len(text), count = rounds, out_len = 0, args = 0
    cdef timespec begin, end
    clock_gettime(CLOCK_MONOTONIC, &begin)
    for _i in range(count):
        room_normalise(p, n, out, &out_len, &args, True)
    clock_gettime(CLOCK_MONOTONIC, &end)
    return ((end.tv_sec - begin.tv_sec) * 1e9 + end.tv_nsec - begin.tv_nsec) / count


# ---------------------------------------------------------------- proxy_protocol.pxd, realip.pxd

def greeting(bytes text):
    """("done", size, None or (client, server, their ports)), ("more",) or ("bad",)."""
    return both(lambda at_end: greeting_at(text, at_end))


cdef tuple greeting_at(bytes text, bint at_end):
    cdef Greeting g
    cdef int rc = room_greeting(text_memory.hold(text, at_end), len(text), &g)
    if rc != P_DONE:
        return (RESULTS[rc],)
    if not g.known:
        return "done", g.size, None
    assert g.source_len in (16, 28)
    return "done", g.size, (g.source_text.decode(), g.server_text.decode(),
                            <uint8_t> g.source[2] << 8 | <uint8_t> g.source[3],
                            <uint8_t> g.server[2] << 8 | <uint8_t> g.server[3])


def address_of(bytes text):
    """The sockaddr's bytes; b"" for what is no address."""
    return both(lambda at_end: address_at(text, at_end))


cdef bytes address_at(bytes text, bint at_end):
    cdef char sa[28]
    cdef uint32_t n = room_address(text_memory.hold(text, at_end), len(text), sa)
    return (<char*> sa)[:n]


# ---------------------------------------------------------------- simd.h

def byte_class(int c):
    return lb_class[c]


def scan(str what, bytes text, int start, bint plain):
    """(how far the scan gets from `start`, whether it saw dots); `start` is 17 or more: scans load from before."""
    cdef const uint8_t* p = <const uint8_t*> text_memory.hold(text, True)
    cdef const uint8_t* s = p + start
    cdef const uint8_t* end = p + len(text)
    cdef uint32_t dots = 0
    if what == "value":
        s = lb_scan_value_plain(s, end) if plain else lb_scan_value(s, end)
    elif what == "name":
        s = lb_scan_name_plain(s, end) if plain else lb_scan_name(s, end)
    else:
        s = lb_scan_target_plain(s, end, &dots) if plain else lb_scan_target(s, end, &dots)
    return s - p - start, dots != 0


# ---------------------------------------------------------------- ring.pxd

def ring_of(bytes name, int points):
    """The hashes of one server's points, in the order in which they are made."""
    cdef Point* made = <Point*> malloc(points * sizeof(Point))
    cdef Str text
    text.p = text_memory.hold(name, True)
    text.n = len(name)
    assert ring_points(made, 7, base_hash(text), points) == <uint32_t> points
    assert all(made[i].server == 7 for i in range(points))
    found = [made[i].hash for i in range(points)]
    free(made)
    return found


def ring(list old, list stays, list fresh, list orders):
    """A ring of the points `old` (sorted), of which those of `stays` remain, and `fresh`: [(hash, server)]."""
    cdef uint32_t i, n, size = len(old) + len(fresh)
    cdef Point* points = <Point*> malloc((size + 2 * len(fresh) + len(old) + 1) * sizeof(Point))
    cdef Point* was = points + size
    cdef Point* new = was + len(old)
    cdef Alike* alike = <Alike*> malloc((len(orders) + 1) * sizeof(Alike))
    cdef bytes flags = bytes([number in stays for number in range(len(orders))])
    for i in range(len(old)):
        was[i].hash, was[i].server = old[i]
    for i in range(len(fresh)):
        new[i].hash, new[i].server = fresh[i]
    for i in range(len(orders)):
        alike[i].order = orders[i]
    ring_sort(new, new + len(fresh), len(fresh))
    n = ring_merge(points, was, len(old), <const uint8_t*> PyBytes_AsString(flags), new, len(fresh))
    ring_ties(points, n, alike)
    found = [(points[i].hash, points[i].server) for i in range(n)]
    after = [ring_next(points, n, i) for i in range(n)]
    free(alike)
    free(points)
    return found, after


# ---------------------------------------------------------------- tls/

include "_probe_tls.pyx"
include "_probe_sessions.pyx"


# ---------------------------------------------------------------- health/

include "_probe_checks.pyx"


# ---------------------------------------------------------------- HTTP/2: _probe_h2.pyx

include "_probe_h2.pyx"


# ---------------------------------------------------------------- client_hello.pxd

def hello(list parts):
    """("done", name, version, alpn), ("more",) or ("bad",): what the parser says when the client's bytes come in these parts."""
    return both(lambda at_end: hello_at(parts, at_end))


cdef tuple hello_at(list parts, bint at_end):
    cdef ClientHello h
    cdef bytes text = b""
    cdef int rc = P_MORE
    cdef const uint8_t* p = NULL
    hello_begin(&h)
    for part in parts:
        text += part
        p = <const uint8_t*> text_memory.hold(text, at_end)
        rc = hello_parse(&h, p, len(text))
        if rc != P_MORE:
            break
    if rc != P_DONE:
        return (RESULTS[rc],)
    name, alpn = hello_text(p, h.name_at, h.name_len), b""
    if h.alpn_len:
        alpn = hello_text(p, h.alpn_at, h.alpn_len)
        alpn = bytearray(alpn)
        hello_alpn(alpn, len(alpn))
    return "done", name, (<bytes> hello_version(h.version)).decode(), bytes(alpn)[1:]


cdef bytes hello_text(const uint8_t* p, uint32_t at, uint32_t n):
    cdef char* out = out_memory.take(n, True)
    hello_copy(p, at, n, out)
    return out[:n]
