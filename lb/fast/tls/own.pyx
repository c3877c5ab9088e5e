"""Records of our own after OpenSSL's handshake: what transport.pyx does where Tls.ssl is NULL.

    keylog: secrets -> tls_own_begin (the handshake is done): keys, the SSL is freed
    tls_own_take: socket -> worker's buffer -> tls_record_open in place -> the reader's memory
    tls_own_send: tls_record_seal -> worker's buffer -> socket

A record's content that its reader has no room for waits decrypted in Tls.plain; records that have come and were not opened in
Tls.part. Alerts are OpenSSL's: close_notify when we end, the one that a bad record asks for, then nothing more.
"""

cdef enum:
    TLS_SOON = 24576            # sealed bytes that are sent at once: two records; 1 MiB costs a fifth less so than in 64 KiB

cdef TlsCrypto tls_crypto               # of this process: contexts of the ciphers
cdef uint32_t tls_suites = 0            # bit per TlsSuite


cdef void tls_own_init() noexcept nogil:
    """Once in a worker, after the fork."""
    global tls_suites
    tls_suites = tls_crypto_init(&tls_crypto)


cdef void tls_own_drop() noexcept nogil:
    tls_crypto_free(&tls_crypto)


# ---- from the handshake

cdef void tls_own_message_seen(int ours, int version, int type, const void* p, size_t n, SSL* ssl, void* arg) noexcept nogil:
    """OpenSSL's msg_callback: records are counted; behind our Finished of TLS 1.3 comes the first secret that is wanted.

    A keylog callback is there for as long as one is due and no longer: OpenSSL prints each of the five secrets of a handshake for
    it, byte by byte with sprintf, 4 % of its time.
    """
    if type == SSL3_RT_HEADER:
        tls_own_count(<Tls*> SSL_get_ex_data(ssl, 0), ours, (<const uint8_t*> p)[0])
    elif ours and version == TLS1_3_VERSION and type == SSL3_RT_HANDSHAKE and n and (<const uint8_t*> p)[0] == SSL3_MT_FINISHED:
        SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(ssl), tls_keylog)


cdef void tls_own_count(Tls* t, int ours, uint8_t type) noexcept nogil:
    """Records behind ChangeCipherSpec: where the sequence numbers of TLS 1.2 stand. A Finished may come in several records."""
    cdef TlsKeys* k
    if t != NULL:
        k = &t.record.tx if ours else &t.record.rx
        k.seq = 0 if type == TLS_CHANGE_CIPHER_SPEC else k.seq + 1


cdef inline void tls_own_listen(Tls* t, bint on) noexcept nogil:
    """Around a step of the handshake: the second secret comes in the step after the first."""
    if t.conf.own and t.secrets == 1:
        if on:
            SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(<SSL*> t.ssl), tls_keylog)
        else:
            SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(<SSL*> t.ssl), NULL)


cdef void tls_keylog(const SSL* ssl, const char* line) noexcept nogil:
    """LABEL client-random secret, in hexadecimal (NSS): the two secrets of data in TLS 1.3 are kept for tls_own_begin."""
    cdef Tls* t = <Tls*> SSL_get_ex_data(ssl, 0)
    cdef const char* hex
    cdef bint server = strncmp(line, b"SERVER_TRAFFIC_SECRET_0 ", 24) == 0
    if t == NULL or not t.conf.own:
        return
    if not server and strncmp(line, b"CLIENT_TRAFFIC_SECRET_0 ", 24) != 0:
        return
    hex = strrchr(line, 32) + 1
    t.nsecret = <uint8_t> tls_own_hex(hex, (<uint8_t*> t.record.tx.secret) if server == (not t.flags & TLS_CLIENT)
                                      else <uint8_t*> t.record.rx.secret)
    t.secrets += 1
    SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(ssl), NULL)


cdef uint32_t tls_own_hex(const char* hex, uint8_t* out) noexcept nogil:
    """Bytes of a secret; 0: it is none."""
    cdef uint32_t n = 0
    while n < TLS_SECRET and hex[2 * n] > 32:
        out[n] = <uint8_t> (lb_hex(<uint8_t> hex[2 * n]) << 4 | lb_hex(<uint8_t> hex[2 * n + 1]))
        n += 1
    return n


cdef bint tls_own_begin(Tls* t) noexcept nogil:
    """The handshake is done: from here on the records are ours, if the suite is. False: the SSL goes on.

    Called before what it has sealed leaves the worker's buffer: the tickets of TLS 1.3 are the first records under the new
    keys, and all that a server's last step writes.
    """
    cdef SSL* ssl = <SSL*> t.ssl
    cdef int suite = tls_suite_of(SSL_CIPHER_get_id(SSL_get_current_cipher(ssl)) & 0xFFFF)
    cdef bint good
    if (not t.conf.own or suite < 0 or not tls_suites & 1u << suite or SSL_pending(ssl) > 0 or SSL_has_pending(ssl)
            or loop.tls.pushed):
        tls_own_forget(t)
        return False
    if SSL_version(ssl) == TLS1_3_VERSION:
        good = tls_own_13(t, suite)
    else:
        good = SSL_version(ssl) == TLS1_2_VERSION and tls_own_12(t, suite)
    if not good:
        tls_own_forget(t)
        return False
    tls_own_limit(t, SSL_SESSION_get_max_fragment_length(SSL_get_session(ssl)))
    SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)       # or its session would count as broken
    SSL_free(ssl)
    t.ssl = NULL
    return True


cdef bint tls_own_13(Tls* t, int suite) noexcept nogil:
    cdef uint8_t rx[48]
    cdef uint8_t tx[48]
    cdef bint good
    memcpy(rx, t.record.rx.secret, 48)
    memcpy(tx, t.record.tx.secret, 48)
    good = t.secrets == 2 and t.nsecret
    if good:
        good = tls_keys_13(&tls_crypto, &t.record, suite, not t.flags & TLS_CLIENT, rx, tx, t.nsecret)
    if not t.flags & TLS_CLIENT:
        t.record.tx.seq = tls_record_count(loop.tls.go, loop.tls.ngo)
    OPENSSL_cleanse(rx, sizeof(rx))
    OPENSSL_cleanse(tx, sizeof(tx))
    return good


cdef bint tls_own_12(Tls* t, int suite) noexcept nogil:
    cdef SSL* ssl = <SSL*> t.ssl
    cdef uint8_t master[48]
    cdef uint8_t client[32]
    cdef uint8_t server[32]
    cdef uint64_t rx_seq = t.record.rx.seq, tx_seq = t.record.tx.seq
    cdef bint good
    good = (SSL_SESSION_get_master_key(SSL_get_session(ssl), master, sizeof(master)) == 48
            and SSL_get_client_random(ssl, client, 32) == 32 and SSL_get_server_random(ssl, server, 32) == 32
            and tls_keys_12(&tls_crypto, &t.record, suite, not t.flags & TLS_CLIENT, master, client, server))
    OPENSSL_cleanse(master, sizeof(master))
    if good:
        t.record.rx.seq = rx_seq
        t.record.tx.seq = tx_seq
    return good


cdef void tls_own_limit(Tls* t, int code) noexcept nogil:
    """RFC 6066 section 4: 1 is 512 bytes of plaintext, 4 is 4,096; 0: no other limit than the record's."""
    cdef uint32_t most = t.conf.buffer
    if 1 <= code <= 4:
        t.record.rx_most = <uint16_t> (256 << code)
        if most > t.record.rx_most:
            most = t.record.rx_most
    t.record.most = <uint16_t> most


cdef void tls_own_forget(Tls* t) noexcept nogil:
    tls_record_wipe(&tls_crypto, &t.record)
    t.nsecret = t.secrets = 0


# ---- bytes in

cdef ssize_t tls_own_take(Conn* c, Tls* t, char* p, size_t n, bint peek) noexcept nogil:
    """As tls_take."""
    cdef size_t had
    if t.plain == NULL or not peek:
        tls_enter(c, t)
        had = tls_own_fill(c, t, p, n, peek)
        tls_own_look(c, t, had)
        if not tls_leave(c, t):
            c.flags |= CF_FAILED
    if peek:
        if t.plain != NULL:
            had = min(n, <size_t> buf_len(t.plain))
            memcpy(p, buf_data(t.plain) + t.plain.off, had)
        else:
            had = 0
    return had if had else tls_own_nothing(c, t)


cdef size_t tls_own_fill(Conn* c, Tls* t, char* p, size_t n, bint peek) noexcept nogil:
    """What waits decrypted, then records, until there is no whole one, or no room. To peek: until something waits."""
    cdef size_t had = 0
    cdef int rc
    if t.plain != NULL and not peek:
        had = tls_own_plain(t, p, n)
    while t.plain == NULL and had < n and not t.flags & TLS_ENDED:
        rc = tls_own_record(c, t, p, n, &had, peek)
        if rc == 0:
            if tls_pull(c) <= 0:
                break
        elif rc < 0:
            tls_own_refuse(c, t, <uint8_t> -rc)
    return had


cdef size_t tls_own_plain(Tls* t, char* p, size_t n) noexcept nogil:
    """Of what waits decrypted."""
    cdef Buf* b = t.plain
    if n > buf_len(b):
        n = buf_len(b)
    memcpy(p, buf_data(b) + b.off, n)
    b.off += <uint32_t> n
    if b.off == b.end:
        t.plain = NULL
        tls_buf_free(b)
    return n


cdef int tls_own_record(Conn* c, Tls* t, char* p, size_t n, size_t* had, bint peek) noexcept nogil:
    """Open one record of the worker's buffer. 0: there is no whole one; negative: an alert."""
    cdef TlsWorker* w = &loop.tls
    cdef uint8_t type
    cdef char* plain
    cdef uint32_t plain_n, room
    cdef int rc = tls_record_open(&tls_crypto, &t.record, w.come + w.off, w.end - w.off, &type, &plain, &plain_n)
    if rc <= 0:
        return rc
    w.off += <uint32_t> rc
    if type == TLS_HANDSHAKE:
        return tls_own_message(c, t, plain, plain_n)
    if type == TLS_ALERT:
        return tls_own_alert(c, t, plain, plain_n)
    room = 0 if peek else <uint32_t> min(n - had[0], <size_t> plain_n)
    memcpy(p + had[0], plain, room)
    had[0] += room
    if room < plain_n:
        t.plain = buf_copy(&loop.pool, plain + room, plain_n - room)
        if t.plain == NULL:
            return -TLS_INTERNAL_ERROR
    return 1


cdef int tls_own_message(Conn* c, Tls* t, const char* p, uint32_t n) noexcept nogil:
    """Handshake messages after the handshake: key updates; renegotiation is declined. As tls_own_record."""
    cdef TlsWorker* w = &loop.tls
    cdef uint32_t used = 0, made
    cdef int rc = 1
    while rc > 0:
        rc = tls_message_next(&tls_crypto, &t.record, p, n, &used)
        p += used
        n -= used
        if rc == TLS_UPDATE_ASKED:
            t.flags |= TLS_UPDATE_DUE       # once for all that ask, before the next data (RFC 8446 section 4.6.3)
        elif rc == TLS_RENEGOTIATION and (c.out == NULL or not c.out.sealed):
            if w.ngo > TLS_GO - TLS_SEALED_MOST and not tls_push(c):
                return -TLS_INTERNAL_ERROR
            made = tls_own_warn(t, w.go + w.ngo)
            if made == 0:
                return -TLS_INTERNAL_ERROR
            w.ngo += made
    return rc if rc < 0 else 1


cdef uint32_t tls_own_warn(Tls* t, char* out) noexcept nogil:
    """no_renegotiation, a warning: RFC 5246 section 7.2.2."""
    cdef char* body = out + tls_record_start(&t.record)
    body[0] = 1
    body[1] = TLS_NO_RENEGOTIATION
    return tls_record_seal(&tls_crypto, &t.record, TLS_ALERT, body, 2, out)


cdef int tls_own_alert(Conn* c, Tls* t, const char* p, uint32_t n) noexcept nogil:
    cdef int rc = tls_message_alert(&t.record, p, n)
    if rc == TLS_CLOSED:
        t.flags |= TLS_ENDED
    elif rc == TLS_FATAL:
        tls_broke_off(c, lb_tls_error_of_alert(<uint8_t> p[1]))
        t.flags |= TLS_QUIET | TLS_ENDED
        c.flags |= CF_FAILED
    return rc if rc < 0 else 1


cdef void tls_own_refuse(Conn* c, Tls* t, uint8_t alert) noexcept nogil:
    """A bad record: its alert is the last that we send. Bytes of good records before it are still given."""
    cdef TlsWorker* w = &loop.tls
    t.flags |= TLS_QUIET | TLS_ENDED | TLS_REFUSED
    tls_broke_off(c, lb_tls_error(alert, t.record.version13))
    if w.ngo <= TLS_GO - TLS_SEALED_MOST:
        w.ngo += tls_message_send_alert(&tls_crypto, &t.record, alert, w.go + w.ngo)


cdef void tls_own_look(Conn* c, Tls* t, size_t had) noexcept nogil:
    """Is there more that no event will tell of? The socket's end, too, where it was seen behind the `had` bytes of a read."""
    cdef TlsWorker* w = &loop.tls
    cdef uint32_t left = w.end - w.off
    t.flags &= ~TLS_MORE
    if t.plain != NULL or t.flags & TLS_ENDED or (left and tls_record_size(w.come + w.off, left) <= left) \
            or (had and c.flags & (CF_EOF | CF_FAILED)):
        t.flags |= TLS_MORE
        c.ready |= R_READ
    if c.flags & CF_EOF and t.flags & TLS_MORE:     # the socket's end lies behind them
        c.flags &= ~CF_EOF


cdef ssize_t tls_own_nothing(Conn* c, Tls* t) noexcept nogil:
    """A read that brought nothing: why."""
    if t.flags & TLS_REFUSED or c.flags & CF_FAILED:
        t.flags &= ~TLS_MORE
        c.flags |= CF_FAILED
        c.ready &= ~(R_READ | R_WRITE)
        return IO_FAILED
    if t.flags & TLS_ENDED or c.flags & CF_EOF:
        t.flags &= ~TLS_MORE
        c.flags |= CF_EOF
        c.ready &= ~R_READ
        return IO_END
    return IO_AGAIN


# ---- bytes out

cdef ssize_t tls_own_send(Conn* c, Tls* t, const char* p, size_t n) noexcept nogil:
    """As tls_send."""
    cdef TlsWorker* w = &loop.tls
    cdef size_t gone = 0
    cdef uint32_t some, made
    tls_enter(c, t)
    while gone < n and (c.out == NULL or not c.out.sealed):
        if w.ngo > TLS_SOON and not tls_push(c):
            break
        if unlikely(t.flags & TLS_UPDATE_DUE or tls_keys_worn(&t.record)):
            t.flags &= ~TLS_UPDATE_DUE
            made = tls_message_update(&tls_crypto, &t.record, False, w.go + w.ngo)
            if made == 0:
                c.flags |= CF_FAILED
                break
            w.ngo += made
        some = <uint32_t> min(n - gone, <size_t> t.record.most)
        made = tls_record_seal(&tls_crypto, &t.record, TLS_DATA, p + gone, some, w.go + w.ngo)
        if made == 0:
            c.flags |= CF_FAILED
            break
        w.ngo += made
        gone += some
    if not tls_leave(c, t) or c.flags & CF_FAILED:
        c.flags |= CF_FAILED
        return IO_FAILED
    return gone


cdef void tls_own_close(Conn* c, Tls* t) noexcept nogil:
    """close_notify."""
    tls_enter(c, t)
    loop.tls.ngo = tls_message_send_alert(&tls_crypto, &t.record, TLS_CLOSE_NOTIFY, loop.tls.go)
    tls_leave(c, t)
