"""Session tickets: keys for OpenSSL out of the ring, and the rings themselves (TlsRing), which the master makes.

One ring is the master's own: random, rotated, inherited by workers and by the next binary (lb/master/ticket_keys.py). Each
distinct list of `ssl_session_ticket_key` has another, read from its files. They lie in no core, and are wiped when they go.
"""

TICKET_RING_SIZE = TICKET_RING

cdef object tls_ring_own = None         # the master's own TlsRing
cdef object tls_file_rings = weakref.WeakValueDictionary()      # names of files -> TlsRing
cdef EVP_CIPHER* tls_ticket_128 = NULL  # fetched once: a look-up by name costs more than the encryption
cdef EVP_CIPHER* tls_ticket_256 = NULL


cdef int tls_tickets_init() except -1:
    global tls_ticket_128, tls_ticket_256
    if tls_ticket_256 == NULL:
        tls_ticket_128 = EVP_CIPHER_fetch(NULL, b"AES-128-CBC", NULL)
        tls_ticket_256 = EVP_CIPHER_fetch(NULL, b"AES-256-CBC", NULL)
    if tls_ticket_128 == NULL or tls_ticket_256 == NULL:
        raise ValueError(tls_said("EVP_CIPHER_fetch()"))
    return 0


cdef int tls_ticket_key(SSL* ssl, uint8_t* name, uint8_t* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac, int enc) noexcept nogil:
    """OpenSSL's tlsext_ticket_key_evp_cb, of the context that a connection began with: the server that was chosen has the ring.

    0: no such key, a full handshake. 2: the ticket is good, and the client gets a new one: it is of an older key; TLS 1.3 always.
    """
    cdef Tls* t = <Tls*> SSL_get_ex_data(ssl, 0)
    cdef TicketKey key
    cdef int at
    cdef bint good
    if t == NULL or t.conf.ring == NULL:
        return 0
    at = tls_ticket_find(t.conf.ring, NULL if enc else name, &key)
    if at < 0:
        return 0
    if enc and RAND_bytes(iv, 16) != 1:
        return -1
    good = tls_ticket_use(&key, iv, cipher, mac, enc)
    if enc:
        memcpy(name, key.name, 16)
    OPENSSL_cleanse(&key, sizeof(key))
    if not good:
        return -1
    return 1 if enc or (at == 0 and SSL_version(ssl) != TLS1_3_VERSION) else 2


cdef bint tls_ticket_use(TicketKey* key, uint8_t* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac, int enc) noexcept nogil:
    cdef OSSL_PARAM params[3]
    params[0] = OSSL_PARAM_construct_octet_string(b"key", key.mac, 32 if key.size == 80 else 16)
    params[1] = OSSL_PARAM_construct_utf8_string(b"digest", b"SHA256", 0)
    params[2] = OSSL_PARAM_construct_end()
    return (EVP_MAC_CTX_set_params(mac, params) == 1
            and EVP_CipherInit_ex(cipher, tls_ticket_256 if key.size == 80 else tls_ticket_128, NULL, key.aes, iv, enc) == 1)


def tls_ticket_file(str name):
    """The key in a file of ssl_session_ticket_key. Raises ValueError with nginx's words."""
    try:
        with open(name, "rb", buffering=0) as stream:
            key = stream.read(81)
    except OSError as error:
        raise ValueError(f'open() "{name}" failed ({error.errno}: {error.strerror})') from None
    if len(key) not in (48, 80):
        raise ValueError(f'"{name}" must be 48 or 80 bytes')
    return key


cdef class TlsRing:
    """Keys in shared memory of this process and those that it forks."""

    cdef TicketRing* ring
    cdef readonly int fd                # memfd of the master's own; -1
    cdef int owner                      # pid of who wipes it
    cdef object __weakref__

    def __cinit__(self, int fd=-1):
        self.fd = -1
        self.ring = <TicketRing*> mmap(NULL, TICKET_RING, PROT_READ | PROT_WRITE,
                                       MAP_SHARED | (MAP_ANONYMOUS if fd < 0 else 0), fd, 0)
        if self.ring == <TicketRing*> MAP_FAILED:
            self.ring = NULL
            raise OSError(errno, "mmap()")
        if self.ring.magic not in (0, TICKET_MAGIC):    # another binary's, which uses it in its own form
            munmap(self.ring, TICKET_RING)
            self.ring = NULL
            raise OSError(EINVAL, "the ring of ticket keys has another form")
        self.fd = fd
        self.owner = getpid()
        madvise(self.ring, TICKET_RING, MADV_DONTDUMP)
        mlock(self.ring, TICKET_RING)   # not into the swap, where the limit allows
        self.ring.magic = TICKET_MAGIC
        if self.ring.seq & 1:           # its master was killed while it wrote
            tls_ticket_write_end(self.ring)

    def __dealloc__(self):
        if self.ring == NULL:
            return
        if self.fd < 0 and self.owner == getpid():      # with a descriptor the next binary may have it
            OPENSSL_cleanse(self.ring, TICKET_RING)
        munmap(self.ring, TICKET_RING)

    @staticmethod
    def own():
        """The master's. Made with its first use."""
        global tls_ring_own
        if tls_ring_own is None:
            fd = os.memfd_create("lb-ticket-keys", os.MFD_CLOEXEC)
            os.ftruncate(fd, TICKET_RING)
            tls_ring_own = TlsRing(fd)
        if (<TlsRing> tls_ring_own).ring.n == 0:
            tls_ring_own.rotate(<int64_t> time.monotonic(), 1, 1)
        return tls_ring_own

    @staticmethod
    def adopt(int fd):
        """The own ring is that of the binary before us. Raises OSError."""
        global tls_ring_own
        tls_ring_own = TlsRing(fd)

    @staticmethod
    def made():
        """The own ring, or None: nothing has needed it."""
        return tls_ring_own

    @staticmethod
    def of_files(names):
        """Raises ValueError: a file is no key."""
        ring = tls_file_rings.get(names)
        if ring is None:
            ring = TlsRing()
            ring.load(names)
            tls_file_rings[names] = ring
        return ring

    @staticmethod
    def of_server(conf):
        """That of a lb.model.TlsServer."""
        return TlsRing.of_files(conf.ticket_keys) if conf.ticket_keys else TlsRing.own()

    def load(self, names):
        """The keys of these files, instead of what it has. Raises ValueError: then nothing has changed."""
        keys = [tls_ticket_file(name) for name in names]
        cdef TicketRing* r = self.ring
        tls_ticket_write_begin(r)
        OPENSSL_cleanse(r.keys, sizeof(r.keys))
        r.n = 0
        for key in keys[:TICKET_KEYS]:
            tls_ring_take(&r.keys[r.n], key)
            r.n += 1
        tls_ticket_write_end(r)
        for key in keys:
            tls_forget(key)

    def rotate(self, int64_t now, int64_t every, int64_t keep):
        """Drop what is too old; a new key, if the first is `every` s old. True: there is one. `keep`: how long tickets live."""
        cdef TicketRing* r = self.ring
        cdef TicketKey key
        if r.n and r.keys[0].keep < keep:
            r.keys[0].keep = keep
        tls_ticket_drop_old(r, now)
        if r.n and r.keys[0].made <= now < r.keys[0].made + every:
            return False
        if RAND_bytes(<uint8_t*> &key, 80) != 1:
            raise ValueError(tls_said("RAND_bytes()"))
        key.size = 80
        key.unused = 0
        key.made = now
        key.keep = keep
        tls_ticket_push(r, &key)
        OPENSSL_cleanse(&key, sizeof(key))
        return True

    def names(self):
        """Of its keys, as they stand in every ticket (no secret); the first encrypts."""
        return tuple((<char*> self.ring.keys[i].name)[:16] for i in range(self.ring.n))

    def due(self, int64_t every):
        """time.monotonic() of the next thing that `rotate` has to do."""
        cdef TicketRing* r = self.ring
        if r.n == 0:
            return 0
        times = [r.keys[0].made + every]
        times += [r.keys[i - 1].made + r.keys[i].keep for i in range(1, r.n)]
        return min(times)


cdef int tls_ring_take(TicketKey* key, bytes text) except -1:
    """nginx's two forms: name, AES, HMAC of 16 bytes each; or name of 16, HMAC of 32, AES of 32."""
    cdef const char* p = text
    key.size = <uint32_t> len(text)
    memcpy(key.name, p, 16)
    if key.size == 48:
        memcpy(key.aes, p + 16, 16)
        memcpy(key.mac, p + 32, 16)
    else:
        memcpy(key.mac, p + 16, 32)
        memcpy(key.aes, p + 48, 32)
    return 0
