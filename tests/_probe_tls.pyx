"""The record layer of lb/fast/tls, opened to Python: included by _probe.pyx, whose guarded memory it uses."""

cdef TlsCrypto tls_crypto
TLS_WORKS = tls_crypto_init(&tls_crypto)
TLS_RECORD_BYTES = sizeof(TlsRecord)
TLS_EVENTS = {
    TLS_NOTHING: "nothing", TLS_TICKET: "ticket", TLS_UPDATED: "updated", TLS_UPDATE_ASKED: "update asked",
    TLS_RENEGOTIATION: "renegotiation", TLS_CLOSED: "closed", TLS_FATAL: "fatal", TLS_WARNING: "warning",
}


class TlsAlert(Exception):
    """A negative answer: its number."""


def tls_suite(int number):
    return tls_suite_of(number)


def tls_label(int suite, bytes secret, bytes label, int n):
    """HKDF-Expand-Label with an empty context; None: refused."""
    cdef uint8_t out[64]
    memset(out, 0, sizeof(out))
    assert len(secret) == tls_suite_hash(suite)
    if not tls_keys_label(suite, <const uint8_t*> PyBytes_AsString(secret), label, len(label), out, n):
        return None
    return (<char*> out)[:n]


def tls_prf(int suite, bytes secret, bytes seed, int n):
    cdef uint8_t* out = <uint8_t*> out_memory.take(n, True)
    cdef const uint8_t* s = <const uint8_t*> text_memory.hold(seed, True)
    assert tls_keys_prf(suite, <const uint8_t*> PyBytes_AsString(secret), len(secret), s, len(seed), out, n)
    return (<char*> out)[:n]


cdef class TlsLayer:
    """One connection's record layer. Every call is made twice, from the same state, at both places of the guarded memory."""

    cdef TlsRecord r

    def start13(self, int suite, bint server, bytes rx, bytes tx):
        cdef const uint8_t* a = <const uint8_t*> PyBytes_AsString(rx)
        cdef const uint8_t* b = <const uint8_t*> PyBytes_AsString(tx)
        assert len(rx) == len(tx)
        memset(&self.r, 0xa5, sizeof(self.r))
        return bool(tls_keys_13(&tls_crypto, &self.r, suite, server, a, b, len(rx)))

    def start12(self, int suite, bint server, bytes master, bytes client_random, bytes server_random):
        cdef const uint8_t* a = <const uint8_t*> PyBytes_AsString(client_random)
        cdef const uint8_t* b = <const uint8_t*> PyBytes_AsString(server_random)
        assert len(master) == 48 and len(client_random) == 32 == len(server_random)
        memset(&self.r, 0xa5, sizeof(self.r))
        return bool(tls_keys_12(&tls_crypto, &self.r, suite, server, <const uint8_t*> PyBytes_AsString(master), a, b))

    def seal(self, bytes plain, int type=23, bint in_place=False):
        """The record; None: refused."""
        cdef TlsRecord before = self.r
        first = self.seal_at(type, plain, in_place, True)
        self.r = before
        second = self.seal_at(type, plain, in_place, False)
        assert first == second
        return first

    cdef seal_at(self, int type, bytes plain, bint in_place, bint at_end):
        cdef uint32_t n = len(plain), start = tls_record_start(&self.r), made
        cdef uint32_t room = start + n + TLS_TAG + (1 if self.r.version13 else 0)
        cdef char* out = out_memory.take(room, at_end)
        cdef const char* source = out + start
        if in_place:
            memcpy(out + start, PyBytes_AsString(plain), n)
        else:
            source = text_memory.hold(plain, at_end)
        made = tls_record_seal(&tls_crypto, &self.r, type, source, n, out)
        assert made == 0 or made == room
        return out[:made] if made else None

    def open(self, bytes text):
        """(bytes used, type, content); None: more must come; TlsAlert: refused."""
        cdef TlsRecord before = self.r
        first = self.open_at(text, True)
        self.r = before
        second = self.open_at(text, False)
        assert first == second, (first, second)
        if first is not None and first[0] < 0:
            raise TlsAlert(-first[0])
        return first

    cdef open_at(self, bytes text, bint at_end):
        cdef char* p = text_memory.hold(text, at_end)
        cdef uint8_t type = 0xa5
        cdef char* plain = NULL
        cdef uint32_t n = 0xa5a5a5a5
        cdef int rc = tls_record_open(&tls_crypto, &self.r, p, len(text), &type, &plain, &n)
        if rc <= 0:
            assert type == 0 and plain == NULL and n == 0
            return (rc, 0, b"") if rc else None
        assert p < plain and plain + n + TLS_TAG <= p + rc
        return rc, type, plain[:n]

    def messages(self, bytes content):
        """What handshake messages in a record ask for: [event]."""
        cdef const char* p = text_memory.hold(content, True)
        cdef uint32_t n = len(content), used = 0
        cdef int rc
        found = []
        while True:
            rc = tls_message_next(&tls_crypto, &self.r, p, n, &used)
            if rc < 0:
                raise TlsAlert(-rc)
            p += used
            n -= used
            if rc == TLS_NOTHING:
                assert n == 0
                return found
            found.append(TLS_EVENTS[rc])

    def alert(self, bytes content):
        cdef int rc = tls_message_alert(&self.r, text_memory.hold(content, True), len(content))
        if rc < 0:
            raise TlsAlert(-rc)
        return TLS_EVENTS[rc]

    def update(self, bint ask=False):
        """The record of a KeyUpdate; None: refused."""
        cdef uint32_t n
        cdef char* out = out_memory.take(TLS_UPDATE_BYTES, True)
        n = tls_message_update(&tls_crypto, &self.r, ask, out)
        assert n == 0 or n == TLS_UPDATE_BYTES
        return out[:n] if n else None

    def next_keys(self):
        """What we send is sealed with the next keys, as after a KeyUpdate that was sealed by hand."""
        assert tls_keys_update(&tls_crypto, &self.r.tx, self.r.suite)

    def send_alert(self, int alert):
        cdef char out[64]
        cdef uint32_t n = tls_message_send_alert(&tls_crypto, &self.r, alert, out)
        return out[:n]

    def wipe(self):
        tls_record_wipe(&tls_crypto, &self.r)

    def memory(self):
        return (<char*> &self.r)[:sizeof(TlsRecord)]

    def holds_context(self):
        """Are its keys in a context of the process: (sealing, opening)?"""
        return (self.r.tx.generation == tls_crypto.seal[self.r.suite].generation != 0,
                self.r.rx.generation == tls_crypto.open[self.r.suite].generation != 0)

    def moved(self):
        """A copy elsewhere in memory, as when a connection moves."""
        cdef TlsLayer other = TlsLayer()
        other.r = self.r
        return other

    @property
    def keys(self):
        """(rx key, rx iv, tx key, tx iv)"""
        cdef uint32_t n = tls_suite_key(self.r.suite)
        rx = (<char*> self.r.rx.key)[:n], (<char*> self.r.rx.iv)[:12]
        return *rx, (<char*> self.r.tx.key)[:n], (<char*> self.r.tx.iv)[:12]

    @property
    def worn(self):
        return bool(tls_keys_worn(&self.r))

    def set(self, rx_seq=None, tx_seq=None, most=None, rx_most=None):
        if rx_seq is not None:
            self.r.rx.seq = rx_seq
        if tx_seq is not None:
            self.r.tx.seq = tx_seq
        if most is not None:
            self.r.most = most
        if rx_most is not None:
            self.r.rx_most = rx_most

    @property
    def seqs(self):
        return self.r.rx.seq, self.r.tx.seq

    def start(self):
        return tls_record_start(&self.r)


def tls_size(bytes text):
    return tls_record_size(text_memory.hold(text, True), len(text))


def tls_count(bytes text):
    return tls_record_count(text_memory.hold(text, True), len(text))


def time_seal(TlsLayer layer, int n, int rounds, TlsLayer other=None):
    """Nanoseconds for a record of n bytes, in place; with `other`, keys of two connections take turns."""
    cdef char* out = out_memory.take(n + 64, False)
    cdef TlsRecord* r = &layer.r
    cdef TlsRecord* s = &other.r if other is not None else r
    cdef int i
    cdef uint32_t made = 1
    cdef timespec begin, end
    with nogil:
        clock_gettime(CLOCK_MONOTONIC, &begin)
        for i in range(rounds):
            made &= 0 != tls_record_seal(&tls_crypto, s if i & 1 else r, 23, out + tls_record_start(r), n, out)
        clock_gettime(CLOCK_MONOTONIC, &end)
    assert made
    return ((end.tv_sec - begin.tv_sec) * 1e9 + end.tv_nsec - begin.tv_nsec) / rounds


def time_seal_apart(TlsLayer layer, bytes plain, int rounds):
    """The same, from other memory."""
    cdef char* out = out_memory.take(len(plain) + 64, False)
    cdef const char* p = PyBytes_AsString(plain)
    cdef uint32_t n = len(plain), made = 1
    cdef int _i
    cdef timespec begin, end
    clock_gettime(CLOCK_MONOTONIC, &begin)
    for _i in range(rounds):
        made &= 0 != tls_record_seal(&tls_crypto, &layer.r, 23, p, n, out)
    clock_gettime(CLOCK_MONOTONIC, &end)
    assert made
    return ((end.tv_sec - begin.tv_sec) * 1e9 + end.tv_nsec - begin.tv_nsec) / rounds


def time_open(TlsLayer layer, bytes record, int rounds):
    """Nanoseconds to open this record, again and again: the copy in is part of it."""
    cdef const char* source = PyBytes_AsString(record)
    cdef char* p = text_memory.take(len(record), False)
    cdef uint32_t size = len(record), n = 0
    cdef uint8_t type = 0
    cdef char* plain = NULL
    cdef uint64_t seq = layer.r.rx.seq
    cdef int _i, rc = 1
    cdef timespec begin, end
    clock_gettime(CLOCK_MONOTONIC, &begin)
    for _i in range(rounds):
        memcpy(p, source, size)
        layer.r.rx.seq = seq
        rc = tls_record_open(&tls_crypto, &layer.r, p, size, &type, &plain, &n)
    clock_gettime(CLOCK_MONOTONIC, &end)
    layer.r.rx.seq = seq
    assert rc > 0
    return ((end.tv_sec - begin.tv_sec) * 1e9 + end.tv_nsec - begin.tv_nsec) / rounds
