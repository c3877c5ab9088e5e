"""Certificates that change while workers run (ssl_certificate_watch): from the child that has read them to every handshake.

    child: tls_renewal_write -> memfd -> master: tls_renewal_read, Compiled.renew -> workers' control threads: tls_renewal_read,
    Engine.renew: an SSL_CTX, Inbox.contexts -> the loop, at the end of a turn: tls_renewed

TlsConf.ctx holds a reference of its own in a worker. The old SSL_CTX goes with its last SSL.
"""

import pickle

ctypedef struct TlsRenewal:     # of Inbox.contexts
    TlsRenewal* next
    TlsConf* conf
    SSL_CTX* ctx                # a reference; NULL: it is a response to staple (staple.pyx)
    void* staple                # from here on of this: DER, and how much
    uint32_t n
    int64_t until
    uint8_t digest[32]          # of its certificate


def tls_renewal_write(int fd, renewals):
    """Keys travel in memory only: to our own master and workers, which is why pickle is safe here."""
    made = pickle.dumps(list(renewals))
    with open(fd, "wb", closefd=False, buffering=0) as stream:
        stream.write(made)
    tls_forget(made)


def tls_renewal_read(int fd):
    """Does not move the descriptor's place, which all that have it share."""
    read = os.pread(fd, os.fstat(fd).st_size, 0)
    found = pickle.loads(read)
    tls_forget(read)
    return found


cdef SSL_CTX* tls_renewal_context(list contexts, int place, conf, keys) except NULL:
    """Made, and kept as the one of that place, with a reference for TlsConf.ctx."""
    cdef TlsContext made
    if not 0 <= place < len(contexts):
        raise ValueError(f"there are no {place + 1} of them")
    made = TlsContext.get(conf, keys)
    SSL_CTX_up_ref(made.ctx)
    contexts[place] = made
    return made.ctx


cdef int tls_renewal_hold(TlsConf* confs, uint32_t n) except -1:
    """A worker begins."""
    cdef uint32_t i
    for i in range(n):
        if confs[i].ctx != NULL:
            SSL_CTX_up_ref(<SSL_CTX*> confs[i].ctx)
    return 0


cdef int tls_renewal_release(TlsConf* confs, uint32_t n) except -1:
    cdef uint32_t i
    tls_renewed()
    for i in range(n):
        SSL_CTX_free(<SSL_CTX*> confs[i].ctx)       # the Compiled has its own
        tls_lazy_forget(&confs[i])
    return 0


cdef int tls_renewal_post(TlsConf* conf, SSL_CTX* ctx) except -1:
    """For the loop. Any thread."""
    cdef TlsRenewal* made = <TlsRenewal*> calloc(1, sizeof(TlsRenewal))
    if made == NULL:
        SSL_CTX_free(ctx)
        raise MemoryError()
    made.conf = conf
    made.ctx = ctx
    lb_atomic_push(&loop.inbox.contexts, made, <void**> &made.next)
    return 0


cdef void tls_renewed() noexcept nogil:
    """The loop takes what was posted, in the order in which it was."""
    cdef TlsRenewal* r = <TlsRenewal*> lb_atomic_swap(&loop.inbox.contexts, NULL)
    cdef TlsRenewal* first = NULL
    cdef TlsRenewal* after
    while r != NULL:
        after = r.next
        r.next = first
        first = r
        r = after
    while first != NULL:
        after = first.next
        if first.ctx == NULL:
            tls_staple_set(<SSL_CTX*> first.conf.ctx, first.digest, first.staple, first.n, first.until)
        else:
            SSL_CTX_free(<SSL_CTX*> first.conf.ctx)
            first.conf.ctx = first.ctx
        free(first)
        first = after
