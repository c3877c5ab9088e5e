"""Frames of HTTP/2 (RFC 9113 sections 4 and 6): their heads read and written, and what is wrong with one by its head alone.

    frame = length (24) type (8) flags (8) reserved (1) stream (31) payload
"""

from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    FRAME_HEAD = 9
    FRAME_MOST = 16384          # payload of a frame that is sent to us: SETTINGS_MAX_FRAME_SIZE as everybody begins
    FRAME_WINDOW = 65535        # flow-control window as everybody begins
    FRAME_WINDOW_MOST = 2147483647
    FRAME_PREFACE = 24          # bytes of what a client begins with

cdef enum FrameType:
    FT_DATA = 0
    FT_HEADERS = 1
    FT_PRIORITY = 2
    FT_RST_STREAM = 3
    FT_SETTINGS = 4
    FT_PUSH_PROMISE = 5
    FT_PING = 6
    FT_GOAWAY = 7
    FT_WINDOW_UPDATE = 8
    FT_CONTINUATION = 9
    FT_PRIORITY_UPDATE = 16     # RFC 9218

cdef enum FrameFlag:
    FF_END_STREAM = 1           # DATA, HEADERS
    FF_ACK = 1                  # SETTINGS, PING
    FF_END_HEADERS = 4
    FF_PADDED = 8
    FF_PRIORITY = 32

cdef enum FrameSetting:
    FS_HEADER_TABLE_SIZE = 1
    FS_ENABLE_PUSH = 2
    FS_MAX_CONCURRENT_STREAMS = 3
    FS_INITIAL_WINDOW_SIZE = 4
    FS_MAX_FRAME_SIZE = 5
    FS_MAX_HEADER_LIST_SIZE = 6
    FS_ENABLE_CONNECT_PROTOCOL = 8      # RFC 8441
    FS_NO_RFC7540_PRIORITIES = 9        # RFC 9218

cdef enum FrameError:           # RFC 9113 section 7
    FE_NO_ERROR = 0
    FE_PROTOCOL_ERROR = 1
    FE_INTERNAL_ERROR = 2
    FE_FLOW_CONTROL_ERROR = 3
    FE_SETTINGS_TIMEOUT = 4
    FE_STREAM_CLOSED = 5
    FE_FRAME_SIZE_ERROR = 6
    FE_REFUSED_STREAM = 7
    FE_CANCEL = 8
    FE_COMPRESSION_ERROR = 9
    FE_CONNECT_ERROR = 10
    FE_ENHANCE_YOUR_CALM = 11
    FE_INADEQUATE_SECURITY = 12
    FE_HTTP_1_1_REQUIRED = 13

ctypedef struct Frame:
    uint32_t n                  # bytes of its payload
    uint32_t id                 # its stream
    uint8_t type                # FrameType, or one that nobody knows
    uint8_t flags


cdef inline uint32_t frame_u32(const uint8_t* p) noexcept nogil:
    return <uint32_t> p[0] << 24 | <uint32_t> p[1] << 16 | <uint32_t> p[2] << 8 | p[3]


cdef inline void frame_put_u32(char* p, uint32_t x) noexcept nogil:
    p[0] = <char> (x >> 24)
    p[1] = <char> (x >> 16)
    p[2] = <char> (x >> 8)
    p[3] = <char> x


cdef inline void frame_read(const uint8_t* p, Frame* f) noexcept nogil:
    """From its 9 bytes."""
    f.n = <uint32_t> p[0] << 16 | <uint32_t> p[1] << 8 | p[2]
    f.type = p[3]
    f.flags = p[4]
    f.id = frame_u32(p + 5) & 0x7FFFFFFF


cdef inline char* frame_put(char* p, uint32_t n, uint8_t type, uint8_t flags, uint32_t id) noexcept nogil:
    """Its 9 bytes; where the payload begins."""
    p[0] = <char> (n >> 16)
    p[1] = <char> (n >> 8)
    p[2] = <char> n
    p[3] = <char> type
    p[4] = <char> flags
    frame_put_u32(p + 5, id)
    return p + FRAME_HEAD


cdef inline uint32_t frame_fault(const Frame* f) noexcept nogil:
    """What its head breaks of section 6, so that the connection ends with this FrameError; 0: nothing."""
    if f.n > FRAME_MOST:
        return FE_FRAME_SIZE_ERROR
    if f.type in (FT_DATA, FT_HEADERS, FT_RST_STREAM, FT_CONTINUATION, FT_PRIORITY):
        if f.id == 0:
            return FE_PROTOCOL_ERROR
        if f.type == FT_RST_STREAM and f.n != 4:
            return FE_FRAME_SIZE_ERROR
        return 0
    if f.type == FT_SETTINGS:
        if f.id:
            return FE_PROTOCOL_ERROR
        return FE_FRAME_SIZE_ERROR if f.n % 6 or (f.flags & FF_ACK and f.n) else 0
    if f.type == FT_PING:
        return FE_PROTOCOL_ERROR if f.id else FE_FRAME_SIZE_ERROR if f.n != 8 else 0
    if f.type == FT_GOAWAY:
        return FE_PROTOCOL_ERROR if f.id else FE_FRAME_SIZE_ERROR if f.n < 8 else 0
    if f.type == FT_WINDOW_UPDATE:
        return FE_FRAME_SIZE_ERROR if f.n != 4 else 0
    if f.type == FT_PRIORITY_UPDATE:
        return FE_PROTOCOL_ERROR if f.id else FE_FRAME_SIZE_ERROR if f.n < 4 else 0
    return FE_PROTOCOL_ERROR if f.type == FT_PUSH_PROMISE else 0


cdef inline uint32_t frame_fixed(const Frame* f) noexcept nogil:
    """Bytes of a HEADERS before its field block."""
    return (1 if f.flags & FF_PADDED else 0) + (5 if f.flags & FF_PRIORITY else 0)


cdef inline bint frame_strip(const Frame* f, const uint8_t** p, uint32_t* n) noexcept nogil:
    """Of a whole HEADERS: its field block without padding and priority. False: there is less in it than that."""
    cdef uint32_t begin = frame_fixed(f), pad = 0
    if f.flags & FF_PADDED and n[0]:
        pad = p[0][0]
    if begin + pad > n[0]:
        return False
    p[0] += begin
    n[0] -= begin + pad
    return True


cdef inline uint32_t frame_depends(const Frame* f, const uint8_t* p) noexcept nogil:
    """The stream that a HEADERS with FF_PRIORITY says it depends on; its payload is long enough (frame_strip)."""
    return frame_u32(p + (1 if f.flags & FF_PADDED else 0)) & 0x7FFFFFFF
