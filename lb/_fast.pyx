"""The engine: rooms in the order a byte travels. No logic here.

Pure rooms (lb/fast/*.pxd: no state, no system call) are cimported; machine rooms (lb/fast/*.pyx) are included, so that all of
it is one translation unit: everything inlines, and no struct can differ between two halves.
"""

import os
import platform
import time

from lb import __version__
from lb.config.model import Break, If, ProxyPass, Return, Rewrite, Set, UpstreamShow, Var
from lb.syslog import head_text
from lb.upsync.show import block as show_block

from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

# What everything is made of
from lb.fast.types cimport *
from lb.fast.sys cimport *

# Pure rooms
from lb.fast.buf cimport *
from lb.fast.wheel cimport *
from lb.fast.tally cimport *
from lb.fast.out cimport *
from lb.fast.head cimport parse_request, parse_response
from lb.fast.fields cimport field_id
from lb.fast.rules cimport refusal_text, rule_text
from lb.fast.chunk cimport TRAILER_MAX, chunk_decode, lenient_takes
from lb.fast.uri cimport uri_normalise
from lb.fast.cidr cimport cidr_find
from lb.fast.forwarded cimport address_of, forwarded, plain_address
from lb.fast.limit cimport *
from lb.fast.greeting cimport GREETING_MOST, greeting_write, parse_greeting
from lb.fast.origin cimport *
from lb.fast.outcome cimport *
from lb.fast.simd cimport LB_NAME, LB_VALUE, lb_class, lb_hex
from lb.fast.names cimport *
from lb.fast.address cimport *
from lb.fast.value cimport *
from lb.fast.swap cimport *
from lb.fast.shape cimport *
from lb.fast.rewrite cimport *
from lb.fast.ring cimport *
from lb.fast.balance cimport *

# Machine rooms
include "fast/poll.pyx"         # the loop: wait, events, timers
include "fast/slice.pyx"        # the loop runs at once when it wakes
include "fast/tally.pyx"        # counters of servers, for the master
include "fast/conn.pyx"         # sockets: slab, states, recv and send
include "fast/pump.pyx"         # bytes in bulk: splice
include "fast/log.pyx"          # log files, the error log
include "fast/errlog.pyx"       # messages with what they are about
include "fast/syslog.pyx"       # log lines as datagrams
include "fast/logzip.pyx"       # compressed log files
include "fast/lognames.pyx"     # log files that requests name
include "fast/access.pyx"       # access logs
include "fast/accept.pyx"       # clients come in
include "fast/request.pyx"      # an exchange and its memory
include "fast/spool.pyx"        # temporary files
include "fast/gather.pyx"       # a request's body, whole before a server is chosen
include "fast/regex.pyx"        # PCRE2
include "fast/vars.pyx"         # variables of set, map and captures
include "fast/linger.pyx"       # the end of a client connection
include "fast/heads.pyx"        # heads of requests: read, refused
include "fast/http.pyx"         # HTTP clients: an exchange, keep-alive, the end
include "fast/greet.pyx"        # PROXY headers
include "fast/limit.pyx"        # limit_req
include "fast/admit.pyx"        # realip, allow, deny
include "fast/route.pyx"        # server, location, phases
include "fast/ops.pyx"          # set, rewrite, return, break, if
include "fast/redirect.pyx"     # error_page, internal redirects
include "fast/accel.pyx"        # X-Accel-Redirect, X-Accel-Buffering
include "fast/direct.pyx"       # proxy_pass with variables
include "fast/body.pyx"         # the client's body on its way to the server
include "fast/answer.pyx"       # answers that lb makes itself
include "fast/place.pyx"        # which file a path stands for
include "fast/file.pyx"         # static files
include "fast/tcp.pyx"          # TCP sessions
include "fast/session.pyx"      # what a stream server does before or instead: set, return, a server by a value
include "fast/peer.pyx"         # a server: its life, passive health, how long it takes
include "fast/pool.pyx"         # upstream connections that wait for the next request
include "fast/outgoing.pyx"     # sockets to servers: options, proxy_bind
include "fast/upstream.pyx"     # choose, connect, reuse, fail over
include "fast/tunnel.pyx"       # 101 and 103
include "fast/hold.pyx"         # an answer that waits for its client
include "fast/proxy.pyx"        # HTTP servers: request out, answer in
include "fast/drain.pyx"        # leaving
include "fast/ring_build.pyx"   # `hash ... consistent`: the ring of a new table
include "fast/table.pyx"        # a new table takes over
include "fast/publish.pyx"      # a Python list becomes a table
include "fast/amend.pyx"        # a table made from the last one
include "fast/tallies.pyx"      # counters of servers, as the master reads them
include "fast/handover.pyx"     # what an old worker tells a new one
include "fast/differ.pyx"       # where two answers of Consul differ
include "fast/api.pyx"          # class Engine
include "fast/compile_admit.pyx"    # who may come in
include "fast/compile_proxy.pyx"    # what api leaves to it: the settings of a proxied location
include "fast/compile_logs.pyx"     # logs and their targets
include "fast/compile_files.pyx"    # static files
include "fast/compile_routes.pyx"   # servers, locations, operations, maps: from the model
