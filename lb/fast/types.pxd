"""Every struct and enum of the engine: a list of contents, each room has its own file. They are included, not cimported, because
they name each other. A field's line says what it holds; who may write it is said at the struct.

Sizes are bytes, times are milliseconds of the monotonic clock (`loop.now`) unless the name ends in `_us`.
"""

from lb.fast.io.clients cimport *
from lb.fast.route.limit_req cimport LimitSet
from lb.fast.log.types cimport *
from lb.fast.message.h1.ruleids cimport *
from lb.fast.c.sys cimport tm
from lb.fast.message.h2.hpack cimport HpackTable
from lb.fast.tls.keys cimport TlsRecord
from lb.fast.tls.session_cache cimport SessionZone
from lb.fast.tls.tickets cimport TicketRing
from lb.fast.upstream.sessions cimport StickySet
from lb.fast.c.stats cimport ServerStats, WorkerStats
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

ctypedef struct Buf
ctypedef struct Pipe
ctypedef struct Timer
ctypedef struct Conn
ctypedef struct Transport
ctypedef struct Request
ctypedef struct Message
ctypedef struct Encoder
ctypedef struct Peer
ctypedef struct Health
ctypedef struct Check
ctypedef struct CheckConf
ctypedef struct CheckType
ctypedef struct Upstream
ctypedef struct Table
ctypedef struct Listener
ctypedef struct Settings
ctypedef struct Location
ctypedef struct TlsConf
ctypedef struct TlsSession
ctypedef struct LogFile
ctypedef struct Server
ctypedef struct StreamServer
ctypedef struct ClientHello
ctypedef struct Slot
ctypedef struct Stuck
ctypedef struct Regex
ctypedef struct H2
ctypedef struct H2Stream
ctypedef struct RequestExtra

include "message/h1/structs.pxd"
include "io/structs.pxd"
include "route/variables/structs.pxd"
include "http/structs.pxd"
include "upstream/structs.pxd"
include "health/structs.pxd"
include "route/structs.pxd"
include "auth/structs.pxd"
include "log/structs.pxd"
include "static/structs.pxd"
include "http/settings.pxd"
include "stream/structs.pxd"
include "compile/structs.pxd"
include "message/structs.pxd"
include "tls/structs.pxd"
include "h2/structs.pxd"
include "io/worker.pxd"
