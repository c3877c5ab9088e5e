"""What the content of records may be after the handshake, beside data: handshake messages and alerts. Pure.

    Handshake: type (1), length (3), body        one record holds many, one message lies in many records (RFC 8446 section 5.1)
    Alert: level (1), description (1)             one record holds one, whole (ibid.)

    TLS_HANDSHAKE -> tls_message_next -> what to do, until all of the content is used      TLS_ALERT -> tls_message_alert

Of a message only its head and one byte of its body are kept: a ticket passes by. The content of a record must have gone through
before the next record is opened: a KeyUpdate changes the keys that open it, here. A negative answer is an alert, as in
record.pxd, and the last word, too. Sources: RFC 8446 sections 4.6, 5.1, 6, RFC 5246 sections 7.2, 7.4.1.
"""

from libc.stdint cimport uint8_t, uint32_t
from lb.fast.c.sys cimport memset
from lb.fast.tls.keys cimport TlsCrypto, TlsRecord, tls_keys_update
from lb.fast.tls.record cimport (
    TLS_ALERT, TLS_CLOSE_NOTIFY, TLS_DECODE_ERROR, TLS_HANDSHAKE, TLS_ILLEGAL_PARAMETER, TLS_INTERNAL_ERROR,
    TLS_UNEXPECTED_MESSAGE, TLS_USER_CANCELED, tls_record_seal, tls_record_start,
)

cdef enum TlsEvent:
    TLS_NOTHING = 0             # all of the content is used
    TLS_TICKET = 1              # 1.3, from a server: a NewSessionTicket went by
    TLS_UPDATED = 2             # 1.3: the peer's keys were changed
    TLS_UPDATE_ASKED = 3        # ... and ours must be, before the next data: tls_message_update(False)
    TLS_RENEGOTIATION = 4       # 1.2: ClientHello or HelloRequest begins; either may be left without an answer
    TLS_CLOSED = 5              # close_notify: the peer's bytes have ended
    TLS_FATAL = 6               # any other alert that ends the connection
    TLS_WARNING = 7             # one that does not

cdef enum TlsHandshake:         # RFC 8446 section 4
    TLS_HELLO_REQUEST = 0
    TLS_CLIENT_HELLO = 1
    TLS_NEW_SESSION_TICKET = 4
    TLS_KEY_UPDATE = 24

cdef enum:
    TLS_MESSAGES_MOST = 32      # messages without data between them: work without progress
    TLS_WARNINGS_MOST = 5       # warning alerts, ditto, as OpenSSL
    TLS_TICKET_MOST = 131338    # bytes of a NewSessionTicket: every field of RFC 8446 section 4.6.1 at its longest
    TLS_HELLO_MOST = 131396     # bytes of a ClientHello, ditto (section 4.1.2)
    TLS_UPDATE_BYTES = 5 + 5 + 1 + 16       # of the record that tls_message_update makes


cdef inline int tls_message_head(TlsRecord* r) noexcept nogil:
    """The four bytes of a message's head are there: may it come, and is its length possible? 0, or a negative alert."""
    cdef uint8_t type = r.message.head[0]
    cdef uint32_t n = <uint32_t> r.message.head[1] << 16 | <uint32_t> r.message.head[2] << 8 | r.message.head[3]
    cdef uint32_t least, most
    if r.version13 and type == TLS_KEY_UPDATE:
        least = most = 1                                # RFC 8446 section 4.6.3
    elif r.version13 and type == TLS_NEW_SESSION_TICKET and not r.server:
        least, most = 14, TLS_TICKET_MOST               # RFC 8446 section 4.6.1: 4 + 4 + 1 + 0 + 2 + 1 + 2 + 0
    elif not r.version13 and type == TLS_CLIENT_HELLO and r.server:
        least, most = 39, TLS_HELLO_MOST                # RFC 5246 section 7.4.1.2: 2 + 32 + 1 + 0 + 2 + ... + 1 + 1
    elif not r.version13 and type == TLS_HELLO_REQUEST and not r.server:
        least = most = 0                                # RFC 5246 section 7.4.1.1
    else:
        return -TLS_UNEXPECTED_MESSAGE                  # client authentication after the handshake is never offered
    if not least <= n <= most:
        return -TLS_DECODE_ERROR                        # RFC 8446 section 6.2
    r.message.left = n
    r.messages += 1
    return -TLS_UNEXPECTED_MESSAGE if r.messages > TLS_MESSAGES_MOST else 0


cdef inline int tls_message_done(TlsCrypto* crypto, TlsRecord* r, uint32_t behind) noexcept nogil:
    """A message is complete, `behind` bytes of its record's content follow it: an event, or a negative alert."""
    cdef uint8_t type = r.message.head[0], body = r.message.body
    memset(&r.message, 0, sizeof(r.message))
    if type != TLS_KEY_UPDATE:
        return TLS_TICKET if r.version13 else TLS_RENEGOTIATION
    if behind > 0:
        return -TLS_UNEXPECTED_MESSAGE                  # RFC 8446 section 5.1: keys change where a record ends
    if body > 1:
        return -TLS_ILLEGAL_PARAMETER                   # RFC 8446 section 4.6.3
    if not tls_keys_update(crypto, &r.rx, r.suite):
        return -TLS_INTERNAL_ERROR
    return TLS_UPDATE_ASKED if body else TLS_UPDATED


cdef inline int tls_message_step(TlsCrypto* crypto, TlsRecord* r, const uint8_t* p, uint32_t n, uint32_t* used) noexcept nogil:
    """Up to the end of one message, or of p[0:n], n > 0."""
    cdef uint32_t i = 0, part
    cdef int rc
    while r.message.have < 4:
        if i == n:
            used[0] = n
            return TLS_NOTHING
        r.message.head[r.message.have] = p[i]
        r.message.have += 1
        i += 1
        if r.message.have == 4:
            rc = tls_message_head(r)
            if rc < 0:
                return rc
    part = n - i if n - i < r.message.left else r.message.left
    if part > 0:
        r.message.body = p[i]                           # of a KeyUpdate: all of it
    r.message.left -= part
    used[0] = i + part
    return tls_message_done(crypto, r, n - i - part) if r.message.left == 0 else TLS_NOTHING


cdef inline int tls_message_next(TlsCrypto* crypto, TlsRecord* r, const char* p, uint32_t n, uint32_t* used) noexcept nogil:
    """The content p[0:n] of a record of type TLS_HANDSHAKE: the next TlsEvent of it, or a negative alert.

    Call again with what lies behind `used` bytes until the answer is TLS_NOTHING.
    """
    cdef int rc
    used[0] = 0
    if n == 0:
        return TLS_NOTHING
    rc = tls_message_step(crypto, r, <const uint8_t*> p, n, used)
    if rc < 0:
        r.refused = <uint8_t> -rc
    return rc


cdef inline uint32_t tls_message_update(TlsCrypto* crypto, TlsRecord* r, bint ask, char* out) noexcept nogil:
    """A KeyUpdate into `out`, TLS_UPDATE_BYTES; what is sealed later has new keys. `ask`: the peer shall do it, too (never in
    answer to TLS_UPDATE_ASKED). Its length; 0: the connection must end. RFC 8446 section 4.6.3. TLS 1.3 only.
    """
    cdef char* body = out + tls_record_start(r)
    cdef uint32_t n
    body[0] = TLS_KEY_UPDATE
    body[1] = body[2] = 0
    body[3] = 1
    body[4] = 1 if ask else 0
    n = tls_record_seal(crypto, r, TLS_HANDSHAKE, body, 5, out) if r.version13 else 0
    return n if n > 0 and tls_keys_update(crypto, &r.tx, r.suite) else 0


cdef inline uint32_t tls_message_send_alert(TlsCrypto* crypto, TlsRecord* r, uint8_t alert, char* out) noexcept nogil:
    """The record of an alert into `out`, 2 + TLS_OVERHEAD bytes; its length. close_notify and user_canceled are warnings."""
    cdef char* body = out + tls_record_start(r)
    body[0] = 1 if alert == TLS_CLOSE_NOTIFY or alert == TLS_USER_CANCELED else 2
    body[1] = <char> alert
    return tls_record_seal(crypto, r, TLS_ALERT, body, 2, out)


cdef inline int tls_message_read_alert(TlsRecord* r, const uint8_t* p, uint32_t n) noexcept nogil:
    if n != 2:
        return -TLS_DECODE_ERROR                        # RFC 8446 section 5.1: one, whole
    if p[1] == TLS_CLOSE_NOTIFY:
        return TLS_CLOSED                               # of either level: RFC 8446 section 6.1
    if r.version13 and p[1] != TLS_USER_CANCELED:
        return TLS_FATAL                                # RFC 8446 section 6: whatever the level
    if not r.version13 and p[0] == 2:
        return TLS_FATAL                                # RFC 5246 section 7.2.2
    if not r.version13 and p[0] != 1:
        return -TLS_ILLEGAL_PARAMETER                   # RFC 5246 section 7.2: there is no such level
    r.warnings += 1
    return -TLS_UNEXPECTED_MESSAGE if r.warnings > TLS_WARNINGS_MOST else TLS_WARNING


cdef inline int tls_message_alert(TlsRecord* r, const char* p, uint32_t n) noexcept nogil:
    """The content p[0:n] of a record of type TLS_ALERT: TLS_CLOSED, TLS_FATAL, TLS_WARNING (p[1] is its description), or a
    negative alert."""
    cdef int rc = tls_message_read_alert(r, <const uint8_t*> p, n)
    if rc < 0:
        r.refused = <uint8_t> -rc
    return rc
