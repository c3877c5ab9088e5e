# A message on its way out, and the protocol that writes it. Included by types.pxd.

# Between the steps of a head its makers write fields into m.front, as lines `Name: value CRLF` whatever the protocol.

cdef enum HeadPart:         # steps of Encoder.head
    HEAD_START = 0          # status line, request line
    HEAD_FRAMING = 1        # how the body is framed, what becomes of the connection
    HEAD_END = 2            # the last: what else is made of the lines since HEAD_START is made here

# How one protocol writes messages, requests to servers and answers to clients alike (Conn.enc).
#   head    into m.front
#   body    n bytes go: what stands before them into m.front, what stands behind into m.back
#   end     nothing more goes, but trailers (lines): into m.back
#   send    where front is lines until it leaves: what leaves now of it and of the n bytes at `data`. False: it failed
#   abort   it breaks off: the other side must not take it for whole. True: its connection will be reset for that
ctypedef struct Encoder:
    void (*head)(Message* m, int part) noexcept nogil
    void (*body)(Message* m, uint64_t n) noexcept nogil
    void (*end)(Message* m, const char* trailers, uint32_t n) noexcept nogil
    bint (*abort)(Message* m) noexcept nogil
    bint (*send)(Message* m, const char* data, uint64_t n) noexcept nogil       # NULL: front, data, back as they are

ctypedef struct Message:    # what goes out at once of a message, on its sender's stack (message/message.pyx)
    Request* r
    Conn* to                # r.client or r.up
    char* begin             # of `front`
    char* floor             # where the room in front of the body's bytes begins
    Out front               # head and framing that go before the body's bytes
    char* behind            # of `back`: its first byte
    Out back                # what goes behind the body's bytes
    Str phrase              # HEAD_START of an answer
    Str upgrade             # HEAD_FRAMING of a 101
    int64_t length          # HEAD_FRAMING: Content-Length; -1: none
    uint16_t status         # of an answer; 0: a request
    uint8_t framing         # BodyKind: how the body leaves
    uint8_t last            # for `send`: `end` was called
    uint64_t body           # and `body`, for so many bytes
    Str trailers
