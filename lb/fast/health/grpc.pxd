"""An answer of gRPC's health service, as bytes of an HTTP/2 connection (RFC 9113): what its fields and its message say.

Read from the beginning each time: a check's answer is a few hundred bytes. The server's SETTINGS come first, PING and
WINDOW_UPDATE may come between; nothing of it is answered, since the connection ends with the check. Pure.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from lb.fast.types cimport P_BAD, P_DONE, P_MORE
from lb.fast.c.sys cimport memcmp, memcpy, memset
from lb.fast.message.h2.hpack cimport (
    HPACK_DEFAULT, HPACK_END, HPACK_FIELD, HpackField, HpackTable, hpack_free, hpack_init, hpack_next,
)

cdef enum:
    GRPC_FRAME = 16384          # the largest frame that a server may send, since a check allows no larger one
    GRPC_MESSAGE = 64           # bytes of the message that are looked at

cdef enum GrpcFrame:            # types and flags of frames
    GF_DATA = 0
    GF_HEADERS = 1
    GF_RESET = 3
    GF_SETTINGS = 4
    GF_GOAWAY = 7
    GF_CONTINUATION = 9
    GF_END_STREAM = 1
    GF_END_HEADERS = 4
    GF_PADDED = 8
    GF_PRIORITY = 32

ctypedef struct GrpcAnswer:
    int32_t http                # `:status`; -1: none came
    int32_t grpc                # `grpc-status`; -1: none came
    int32_t serving             # ServingStatus of the message: 1 is SERVING; -1: there was no message
    int32_t error               # of RST_STREAM or GOAWAY; -1: none
    HpackTable hpack            # while it is read
    char message[64]
    uint32_t nmessage


cdef inline uint32_t grpc_number(const uint8_t* p, int bytes_) noexcept nogil:
    cdef uint32_t found = 0
    cdef int i
    for i in range(bytes_):
        found = found << 8 | p[i]
    return found


cdef inline int grpc_read(const uint8_t* p, uint32_t n, char* room, uint32_t most, GrpcAnswer* a) noexcept nogil:
    """p[0:n]: all that the server has sent. `room`, of `most` bytes, is for field blocks. P_DONE: `a` is the whole answer."""
    cdef int rc
    memset(a, 0, sizeof(GrpcAnswer))
    a.http = a.grpc = a.serving = a.error = -1
    hpack_init(&a.hpack, HPACK_DEFAULT)
    rc = grpc_frames(p, n, room, most, a)
    hpack_free(&a.hpack)
    return rc


cdef inline int grpc_frames(const uint8_t* p, uint32_t n, char* room, uint32_t most, GrpcAnswer* a) noexcept nogil:
    cdef uint32_t at = 0, size, nblock = 0
    cdef uint8_t kind, flags
    cdef bint open = False, ended = False   # a block that CONTINUATION goes on with; its stream ends with it
    cdef int rc
    while n - at >= 9:
        size = grpc_number(p + at, 3)
        kind = p[at + 3]
        flags = p[at + 4]
        if size > GRPC_FRAME or (at == 0 and kind != GF_SETTINGS) or open != (kind == GF_CONTINUATION):
            return P_BAD
        if n - at - 9 < size:
            return P_MORE
        if kind == GF_HEADERS or kind == GF_CONTINUATION:
            if not grpc_block(p + at + 9, size, flags if kind == GF_HEADERS else 0, room, most, &nblock):
                return P_BAD
            ended = flags & GF_END_STREAM if kind == GF_HEADERS else ended
            open = not flags & GF_END_HEADERS
            if not open and not grpc_fields(a, room, nblock):
                return P_BAD
            nblock = nblock if open else 0
            if not open and ended:
                return grpc_end(a)
        else:
            rc = grpc_frame(p + at + 9, size, kind, flags, grpc_number(p + at + 5, 4) & 0x7FFFFFFF, a)
            if rc != P_MORE:
                return rc
        at += 9 + size
    return P_MORE


cdef inline int grpc_frame(const uint8_t* p, uint32_t n, uint8_t kind, uint8_t flags, uint32_t stream,
                           GrpcAnswer* a) noexcept nogil:
    """One that has no fields."""
    cdef uint32_t pad = 0
    if kind == GF_DATA and stream == 1:
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
    if kind == GF_RESET and stream == 1:
        if n != 4:
            return P_BAD
        a.error = <int32_t> (grpc_number(p, 4) & 0x7FFFFFFF)
        return P_DONE
    if kind == GF_GOAWAY:
        if n < 8:
            return P_BAD
        if grpc_number(p, 4) & 0x7FFFFFFF and grpc_number(p + 4, 4) == 0:
            return P_MORE                   # it ends after this stream
        a.error = <int32_t> (grpc_number(p + 4, 4) & 0x7FFFFFFF)
        return P_DONE
    return P_MORE


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
