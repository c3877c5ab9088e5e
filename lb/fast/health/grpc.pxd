"""An answer of gRPC's health service, as bytes of an HTTP/2 connection (RFC 9113): what its fields and its message say.

Read from its beginning each time: a check's answer is a few hundred bytes. On a new connection the server's SETTINGS come first;
PING and WINDOW_UPDATE may come between. What must be acknowledged is found by grpc_idle, when the answer is whole. Pure.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from lb.fast.types cimport P_BAD, P_DONE, P_MORE, Out
from lb.fast.c.sys cimport memcmp, memcpy, memset
from lb.fast.io.writer cimport out_char, out_put
from lb.fast.message.h2.hpack cimport (
    HPACK_DEFAULT, HPACK_END, HPACK_FIELD, HpackField, HpackTable, hpack_copy, hpack_free, hpack_init, hpack_next,
)

cdef enum:
    GRPC_FRAME = 16384          # the largest frame that a server may send, since a check allows no larger one
    GRPC_MESSAGE = 64           # bytes of the message that are looked at

cdef enum GrpcFrame:            # types and flags of frames
    GF_DATA = 0
    GF_HEADERS = 1
    GF_RESET = 3
    GF_SETTINGS = 4
    GF_PING = 6
    GF_GOAWAY = 7
    GF_WINDOW = 8
    GF_CONTINUATION = 9
    GF_ACK = 1
    GF_END_STREAM = 1
    GF_END_HEADERS = 4
    GF_PADDED = 8
    GF_PRIORITY = 32

ctypedef struct GrpcAnswer:
    int32_t http                # `:status`; -1: none came
    int32_t grpc                # `grpc-status`; -1: none came
    int32_t serving             # ServingStatus of the message: 1 is SERVING; -1: there was no message
    int32_t error               # of RST_STREAM or GOAWAY; -1: none
    uint32_t stream             # of the question
    uint32_t size               # bytes of the answer, where it is whole
    uint32_t data               # of DATA: what the connection's window has lost
    uint8_t leaving             # GOAWAY: this is the connection's last answer
    HpackTable hpack            # as the answer leaves it: the reader's to keep or free, where it is whole
    char message[64]
    uint32_t nmessage


cdef inline uint32_t grpc_number(const uint8_t* p, int bytes_) noexcept nogil:
    cdef uint32_t found = 0
    cdef int i
    for i in range(bytes_):
        found = found << 8 | p[i]
    return found


cdef inline int grpc_read(const uint8_t* p, uint32_t n, char* room, uint32_t most, uint32_t stream, const HpackTable* was,
                          GrpcAnswer* a) noexcept nogil:
    """p[0:n]: all that the server has sent since the last answer, which left its fields' table as `was`; NULL: there was none.
    `room`, of `most` bytes, is for field blocks. P_DONE: `a` is the whole answer to `stream`."""
    cdef int rc
    memset(a, 0, sizeof(GrpcAnswer))
    a.http = a.grpc = a.serving = a.error = -1
    a.stream = stream
    hpack_init(&a.hpack, HPACK_DEFAULT)
    if was != NULL and not hpack_copy(&a.hpack, was):
        return P_BAD
    rc = grpc_frames(p, n, room, most, was == NULL, a)
    if rc != P_DONE:
        hpack_free(&a.hpack)
    return rc


cdef inline int grpc_frames(const uint8_t* p, uint32_t n, char* room, uint32_t most, bint first, GrpcAnswer* a) noexcept nogil:
    """`first`: the connection's SETTINGS must be there."""
    cdef uint32_t at = 0, size, nblock = 0, whose
    cdef uint8_t kind, flags
    cdef bint open = False, ended = False   # a block that CONTINUATION goes on with; its stream ends with it
    cdef int rc
    while n - at >= 9:
        size = grpc_number(p + at, 3)
        kind = p[at + 3]
        flags = p[at + 4]
        whose = grpc_number(p + at + 5, 4) & 0x7FFFFFFF
        if size > GRPC_FRAME or (at == 0 and first and kind != GF_SETTINGS) or open != (kind == GF_CONTINUATION):
            return P_BAD
        if n - at - 9 < size:
            return P_MORE
        if kind == GF_HEADERS or kind == GF_CONTINUATION:
            if whose != a.stream or not grpc_block(p + at + 9, size, flags if kind == GF_HEADERS else 0, room, most, &nblock):
                return P_BAD
            ended = flags & GF_END_STREAM if kind == GF_HEADERS else ended
            open = not flags & GF_END_HEADERS
            if not open and not grpc_fields(a, room, nblock):
                return P_BAD
            nblock = nblock if open else 0
            rc = grpc_end(a) if not open and ended else P_MORE
        else:
            rc = grpc_frame(p + at + 9, size, kind, flags, whose, a)
        at += 9 + size
        a.size = at
        if rc != P_MORE:
            return rc
    return P_MORE


cdef inline int grpc_frame(const uint8_t* p, uint32_t n, uint8_t kind, uint8_t flags, uint32_t stream,
                           GrpcAnswer* a) noexcept nogil:
    """One that has no fields."""
    if kind == GF_DATA:
        a.data += n
        if stream == a.stream:
            return grpc_data(p, n, flags, a)
    elif kind == GF_RESET and stream == a.stream:
        if n != 4:
            return P_BAD
        a.error = <int32_t> (grpc_number(p, 4) & 0x7FFFFFFF)
        return P_DONE
    elif kind == GF_GOAWAY:
        if n < 8:
            return P_BAD
        a.leaving = 1
        if (grpc_number(p, 4) & 0x7FFFFFFF) >= a.stream and grpc_number(p + 4, 4) == 0:
            return P_MORE                   # it ends after this stream
        a.error = <int32_t> (grpc_number(p + 4, 4) & 0x7FFFFFFF)
        return P_DONE
    return P_MORE


cdef inline int grpc_data(const uint8_t* p, uint32_t n, uint8_t flags, GrpcAnswer* a) noexcept nogil:
    cdef uint32_t pad = 0
    if flags & GF_PADDED:
        if n == 0 or p[0] >= n:
            return P_BAD
        pad = 1
        n -= p[0]
    n -= pad
    if n > GRPC_MESSAGE - a.nmessage:
        n = GRPC_MESSAGE - a.nmessage
    memcpy(a.message + a.nmessage, p + pad, n)
    a.nmessage += n
    return grpc_end(a) if flags & GF_END_STREAM else P_MORE


cdef inline void grpc_put(Out* o, uint32_t size, uint8_t kind, uint8_t flags, uint32_t stream) noexcept nogil:
    """The nine bytes before a frame."""
    grpc_put_number(o, size, 3)
    out_char(o, <char> kind)
    out_char(o, <char> flags)
    grpc_put_number(o, stream, 4)


cdef inline void grpc_put_number(Out* o, uint32_t x, int bytes_) noexcept nogil:
    cdef int i
    for i in range(bytes_ - 1, -1, -1):
        out_char(o, <char> (x >> (8 * i) & 255))


cdef inline int grpc_idle(const uint8_t* p, uint32_t n, bint answered, uint32_t* size, uint32_t* frames, Out* o) noexcept nogil:
    """Whole frames of a connection on which no question is open, or (`answered`) those of an answer that was read: what they
    want acknowledged goes to `o`. `size`: their bytes; `frames`: counted on. P_BAD: the connection cannot serve again."""
    cdef uint32_t at = 0, length
    cdef uint8_t kind, flags
    while n - at >= 9:
        length = grpc_number(p + at, 3)
        kind = p[at + 3]
        flags = p[at + 4]
        if length > GRPC_FRAME or kind == GF_GOAWAY or (not answered and (kind <= GF_HEADERS or kind == GF_CONTINUATION)):
            return P_BAD
        if n - at - 9 < length:
            break
        if kind == GF_SETTINGS and not flags & GF_ACK:
            grpc_put(o, 0, GF_SETTINGS, GF_ACK, 0)
        elif kind == GF_PING and not flags & GF_ACK:
            if length != 8:
                return P_BAD
            grpc_put(o, 8, GF_PING, GF_ACK, 0)
            out_put(o, <const char*> p + at + 9, 8)
        at += 9 + length
        frames[0] += 1
    size[0] = at
    return P_DONE


cdef inline bint grpc_block(const uint8_t* p, uint32_t n, uint8_t flags, char* room, uint32_t most, uint32_t* had) noexcept nogil:
    """A part of a field block, without padding and priority, behind the `had` bytes of `room`."""
    cdef uint32_t begin = 0, pad = 0
    if flags & GF_PADDED:
        if n == 0:
            return False
        pad = p[0]
        begin = 1
    if flags & GF_PRIORITY:
        begin += 5
    if begin + pad > n or n - begin - pad > most - had[0]:
        return False
    memcpy(room + had[0], p + begin, n - begin - pad)
    had[0] += n - begin - pad
    return True


cdef inline bint grpc_fields(GrpcAnswer* a, const char* block, uint32_t n) noexcept nogil:
    """A whole field block: `:status` and `grpc-status` of it. False: it is none."""
    cdef char room[2 * 4096]
    cdef HpackField f
    cdef uint32_t at = 0
    cdef int rc
    memset(&f, 0, sizeof(f))
    while True:
        rc = hpack_next(&a.hpack, <const uint8_t*> block, n, &at, room, 4096, &f)
        if rc != HPACK_FIELD:
            return rc == HPACK_END
        if f.name_n == 7 and memcmp(f.name, b":status", 7) == 0:
            if grpc_decimal(f.value, f.value_n) >= 200:     # not one of 1xx
                a.http = grpc_decimal(f.value, f.value_n)
        elif f.name_n == 11 and memcmp(f.name, b"grpc-status", 11) == 0:
            if grpc_decimal(f.value, f.value_n) >= 0:
                a.grpc = grpc_decimal(f.value, f.value_n)


cdef inline int32_t grpc_decimal(const char* p, uint32_t n) noexcept nogil:
    """Of one to five digits; -1: it is none."""
    cdef int32_t found = 0
    cdef uint32_t i
    if n == 0 or n > 5:
        return -1
    for i in range(n):
        if not 48 <= p[i] <= 57:
            return -1
        found = found * 10 + (p[i] - 48)
    return found


cdef inline int grpc_end(GrpcAnswer* a) noexcept nogil:
    """The stream has ended: its message is HealthCheckResponse, whose field 1 is the status."""
    cdef uint32_t size, i = 5
    if a.nmessage == 0:
        return P_DONE
    if a.nmessage < 5 or a.message[0]:      # cut short, or compressed, which nobody asked for
        return P_BAD
    size = grpc_number(<const uint8_t*> a.message + 1, 4)
    a.serving = 0
    if size == 0:
        return P_DONE
    if a.nmessage - 5 < 2 or size < 2:
        return P_BAD
    if a.message[i] == 8 and not a.message[i + 1] & 0x80:
        a.serving = a.message[i + 1]
    return P_DONE
