# A client's HTTP/2 connection and its streams (h2/). Included by types.pxd.

cdef enum H2Flag:           # H2.flags
    H2_PREFACE = 1          # the client's preface is here
    H2_SETTINGS = 2         # and its first SETTINGS
    H2_DIRTY = 4            # on loop.h2_dirty: frames wait for the end of the turn
    H2_GOING = 8            # a first GOAWAY has said that the connection will end
    H2_GONE = 16            # the last one: no new stream, and it ends with those that are there
    H2_BROKEN = 32          # the client broke a rule of the connection: nothing more is read
    H2_DEAD = 64            # its streams are being ended
    H2_SHUT = 128           # our end was said, and what waits is sent
    H2_STARVED = 256        # streams wait for the connection's window, or for its socket

cdef enum H2StreamFlag:     # H2Stream.flags
    HS_ENDED = 1            # the client has ended its side
    HS_FIN = 2              # nothing follows `pending` but `trailers`
    HS_DONE = 4             # our side has ended: END_STREAM or RST_STREAM is on its way
    HS_HEAD = 8             # the answer's final head is on its way
    HS_RESET = 16           # by the client, or by us: the exchange ends
    HS_WAITS = 32           # bytes wait for a window or the socket
    HS_INCREMENTAL = 64     # RFC 9218
    HS_TUNNEL = 128         # an extended CONNECT
    HS_OPENED = 512         # somebody reads its body: the window is as large as it will be
    HS_LENGTH = 256         # `left` counts down what Content-Length said

ctypedef struct H2Stream:   # Conn.io_state of a stream's Conn
    H2* h2
    Conn* conn
    H2Stream* chain         # of its hash
    H2Stream* prev          # all of a connection, oldest first
    H2Stream* next
    uint32_t id
    uint16_t flags          # H2StreamFlag
    uint8_t urgency         # RFC 9218: 0 first, 7 last
    int32_t window          # what the client takes of its body; below 0 after a smaller INITIAL_WINDOW_SIZE
    int32_t open            # what the client may send
    uint32_t taken          # of that, what was taken and not given back yet
    int64_t left            # HS_LENGTH
    uint64_t pending        # bytes of the body that were announced and are in no frame yet
    uint32_t code           # HS_RESET: why
    Buf* come               # DATA that nobody has read
    Buf* trailers           # lines

cdef enum:
    H2_HASH = 8             # chains of streams
    H2_RECENT = 8           # streams that we reset, whose frames may still be on their way

ctypedef struct H2:         # Conn.h2 of a connection (K_H2), and of its streams
    Conn* conn
    H2* dirty               # next on loop.h2_dirty
    H2Stream* streams[8]   # by id
    H2Stream* first         # all, oldest first
    H2Stream* last
    Buf* out                # frames of this turn
    Buf* block              # a field block that CONTINUATION goes on with
    uint32_t flags          # H2Flag
    uint32_t nstreams
    uint32_t last_id        # highest stream that the client has opened
    uint32_t served         # streams that have become requests
    uint32_t initial        # INITIAL_WINDOW_SIZE of the client
    uint32_t frame_most     # its MAX_FRAME_SIZE
    int32_t window          # what the client takes of all bodies
    uint32_t open           # what it may send of all bodies
    uint32_t block_id       # stream of `block`; 0: none is open
    uint8_t block_flags     # of its HEADERS
    uint8_t block_parts     # CONTINUATIONs of it so far
    uint8_t data_pad        # of the DATA that comes
    uint32_t data_left      # bytes of it still to come, padding included
    uint32_t data_id
    uint8_t data_flags
    uint8_t nrecent
    uint32_t recent[8]     # H2_RECENT
    uint32_t answers        # SETTINGS and PING answered while the client took nothing
    int64_t resets_at       # when `resets` was brought up to date
    int32_t resets          # streams reset without progress, of a budget that fills up again
    int32_t idle            # frames that brought nothing, of another one
    int64_t idle_at         # when that was used up last
    uint32_t turn           # streams begun in the present read
    uint32_t share          # bytes that a stream may send before others are asked; 0: no limit
    HpackTable in_
    HpackTable out_
