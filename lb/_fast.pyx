"""The engine: rooms in the order a byte travels. No logic here.

Pure rooms (lb/fast/*.pxd: no state, no system call) are cimported; machine rooms (lb/fast/*.pyx) are included, so that all of
it is one translation unit: everything inlines, and no struct can differ between two halves.
"""

import json
import os
import platform
import time
from collections import namedtuple

from lb import __version__
from lb.model import Break, CheckStatus, If, ProxyPass, Return, Rewrite, Set, TlsServer, UpstreamShow, Var
from lb.syslog import head_text

from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

# What everything is made of
from lb.fast.types cimport *
from lb.fast.c.sys cimport *
from lb.fast.c.stats cimport *
from lb.fast.tls.openssl cimport *
from lb.fast.tls.keys cimport *
from lb.fast.tls.record cimport *
from lb.fast.tls.message cimport *
from lb.fast.tls.tickets cimport *
from lb.fast.tls.session_cache cimport *

# Pure rooms
from lb.fast.message.h2.frame cimport *
from lb.fast.message.h2.hpack cimport *
from lb.fast.message.h2.lines cimport *
from lb.fast.io.buf cimport *
from lb.fast.io.timer cimport *
from lb.fast.upstream.stats cimport *
from lb.fast.io.writer cimport *
from lb.fast.message.h1.head cimport head_parse_request, head_parse_response
from lb.fast.message.h1.fields cimport field_id
from lb.fast.message.h1.rules cimport rule_refusal_text, rule_text
from lb.fast.message.h1.chunk cimport TRAILER_MAX, chunk_decode, chunk_lenient_takes
from lb.fast.message.h1.uri cimport uri_normalise
from lb.fast.route.cidr cimport cidr_find
from lb.fast.auth.basic cimport *
from lb.fast.route.realip cimport realip_address_of, realip_parse, realip_plain_address
from lb.fast.route.limit_req cimport *
from lb.fast.stream.proxy_protocol cimport PROXY_PROTOCOL_MOST, proxy_protocol_write, proxy_protocol_parse
from lb.fast.route.variables.client cimport *
from lb.fast.stream.client_hello cimport hello_alpn, hello_begin, hello_copy, hello_parse
from lb.fast.route.variables.tls cimport *
from lb.fast.route.variables.upstream cimport *
from lb.fast.c.simd cimport LB_NAME, LB_VALUE, lb_class, lb_hex
from lb.fast.route.names cimport *
from lb.fast.io.sockaddr cimport *
from lb.fast.route.variables.request cimport *
from lb.fast.http.proxy_redirect cimport *
from lb.fast.http.header_filter cimport *
from lb.fast.message.h1.write cimport *
from lb.fast.upstream.balance.hash cimport HASH_TRIES, hash_crc_text, hash_key_number, hash_step
from lb.fast.upstream.balance.ring cimport *
from lb.fast.health.word cimport *
from lb.fast.upstream.balance.share cimport *
from lb.fast.health.served cimport health_served
from lb.fast.health.grpc cimport *
from lb.fast.health.agent_words cimport AGENT_LINE, AgentWords, agent_line, agent_words
from lb.fast.health.databases cimport *
from lb.fast.upstream.balance.usable cimport *
from lb.fast.upstream.balance.heap cimport *
from lb.fast.upstream.sessions cimport *

# Machine rooms
include "fast/io/loop.pyx"                    # the loop: wait, events, timers
include "fast/io/sched.pyx"                   # the loop runs at once when it wakes
include "fast/upstream/stats.pyx"             # counters of servers, for the master
include "fast/io/kinds.pyx"                   # what a kind of connection does
include "fast/io/plain.pyx"                   # transport: plain sockets
include "fast/io/cutting.pyx"                 # transport: of the tests
include "fast/tls/bio.pyx"                    # OpenSSL's reads and writes
include "fast/tls/own.pyx"                    # our own records after its handshake
include "fast/tls/verify.pyx"                 # certificates of clients
include "fast/tls/info.pyx"                   # what variables tell of TLS
include "fast/tls/broken.pyx"                 # TLS that breaks after the handshake
include "fast/tls/fault.pyx"                  # handshakes that failed
include "fast/tls/transport.pyx"              # transport: TLS
include "fast/tls/early.pyx"                  # early data of TLS 1.3
include "fast/io/conn.pyx"                    # connections: slab, states, recv and send
include "fast/message/h1/encode.pyx"          # HTTP/1's head, body, end, abort
include "fast/io/handshake.pyx"               # a transport's handshake
include "fast/io/splice.pyx"                  # bytes in bulk: splice
include "fast/log/log.pyx"                    # log files, the error log
include "fast/log/error_log.pyx"              # messages with what they are about
include "fast/log/debug.pyx"                  # the debug log: steps of a connection
include "fast/log/syslog.pyx"                 # log lines as datagrams
include "fast/log/gzip.pyx"                   # compressed log files
include "fast/log/names.pyx"                  # log files that requests name
include "fast/log/access_log.pyx"             # access logs
include "fast/io/accept.pyx"                  # clients come in
include "fast/http/request.pyx"               # an exchange and its memory
include "fast/message/message.pyx"            # the way out of every message
include "fast/http/temp_file.pyx"             # temporary files
include "fast/http/request_buffering.pyx"     # a request's body, whole before a server is chosen
include "fast/route/regex.pyx"                # PCRE2
include "fast/route/variables/user.pyx"       # variables of set, map and captures
include "fast/http/lingering_close.pyx"       # the end of a client connection
include "fast/http/client_head.pyx"           # heads of requests: read, refused
include "fast/http/client.pyx"                # HTTP clients: an exchange, keep-alive, the end
include "fast/h2/output.pyx"                  # HTTP/2: frames of a turn gather
include "fast/h2/flood.pyx"                   # what may not be done too often
include "fast/h2/settings.pyx"                # frames about the connection
include "fast/h2/stream_end.pyx"              # how a stream ends
include "fast/h2/stream.pyx"                  # a stream as a transport
include "fast/h2/encode.pyx"                  # HTTP/2's head, body, end, abort
include "fast/h2/scheduling.pyx"              # whose bytes go first
include "fast/h2/request.pyx"                 # a field block becomes a request
include "fast/h2/receive.pyx"                 # bytes to frames
include "fast/h2/connection.pyx"              # its life and its ends
include "fast/stream/proxy_protocol.pyx"      # PROXY headers
include "fast/route/limit_req.pyx"            # limit_req
include "fast/route/access.pyx"               # realip, allow, deny
include "fast/auth/passwords.pyx"             # what threads do: files of passwords, hashes
include "fast/auth/basic.pyx"                 # auth_basic
include "fast/auth/phase.pyx"                 # the access phase
include "fast/route/location.pyx"             # server, location, phases
include "fast/route/rewrite.pyx"              # set, rewrite, return, break, if
include "fast/http/internal_redirect.pyx"     # error_page, internal redirects
include "fast/http/x_accel.pyx"               # X-Accel-Redirect, X-Accel-Buffering
include "fast/upstream/proxy_pass_variables.pyx"# proxy_pass with variables
include "fast/http/request_body.pyx"          # the client's body on its way to the server
include "fast/http/local_reply.pyx"           # answers that lb makes itself
include "fast/http/body_filter.pyx"           # what an answer's body passes on its way out
include "fast/http/gzip.pyx"                  # gzip
include "fast/acme/board.pyx"                 # challenges of an ACME server
include "fast/static/path.pyx"                # which file a path stands for
include "fast/static/file.pyx"                # static files
include "fast/stream/tcp.pyx"                 # TCP sessions
include "fast/stream/preread.pyx"             # ssl_preread: a look at the first bytes
include "fast/stream/session.pyx"             # what a stream server does before or instead: set, return, a server by a value
include "fast/upstream/balance/round_robin.pyx"   # the methods: one file each
include "fast/upstream/balance/least_conn.pyx"
include "fast/upstream/balance/least_time.pyx"
include "fast/upstream/balance/ip_hash.pyx"
include "fast/upstream/balance/hash.pyx"
include "fast/upstream/balance/ring_build.pyx"    # `hash ... consistent`: the ring of a new table
include "fast/upstream/balance/hash_ring.pyx"
include "fast/upstream/balance/random.pyx"
include "fast/upstream/sticky.pyx"            # sticky sessions: the server that a client is bound to
include "fast/upstream/balance/methods.pyx"       # their table, and the choice
include "fast/upstream/slow_start.pyx"        # a server that takes a part of its weight
include "fast/upstream/budget.pyx"            # how many retries an upstream gets
include "fast/upstream/peer.pyx"              # a server: its life, passive health, how long it takes
include "fast/upstream/pool.pyx"              # upstream connections that wait for the next request
include "fast/tls/upstream.pyx"               # TLS to servers
include "fast/upstream/outgoing.pyx"          # sockets to servers: options, proxy_bind
include "fast/upstream/upstream.pyx"          # choose, connect, reuse, fail over
include "fast/http/upgrade.pyx"               # 101 and 103
include "fast/http/response_buffering.pyx"    # an answer that waits for its client
include "fast/http/lenient.pyx"               # what proxy_lenient takes
include "fast/http/proxy.pyx"                 # the connection to the server: request out, answer in
include "fast/http/response.pyx"              # the server's answer
include "fast/health/http.pyx"                # checks: HTTP
include "fast/health/protocols.pyx"           # and the module's other types
include "fast/health/expect.pyx"              # what an answer must have in it
include "fast/health/services.pyx"            # gRPC, Redis, PostgreSQL
include "fast/health/secure.pyx"              # checks over TLS
include "fast/health/agent.pyx"               # agents of servers
include "fast/health/types.pyx"               # their table
include "fast/health/verdict.pyx"             # rise and fall
include "fast/health/checker.pyx"             # when a server is asked, and how
include "fast/health/changes.pyx"             # a server goes up or down
include "fast/health/table.pyx"               # the memory of all processes
include "fast/health/status.pyx"              # check_status
include "fast/health/read.pyx"                # what is shown of it
include "fast/io/drain.pyx"                   # leaving
include "fast/upstream/table.pyx"             # a new table takes over
include "fast/upstream/publish.pyx"           # a Python list becomes a table
include "fast/upstream/delta.pyx"             # a table made from the last one
include "fast/upstream/counters.pyx"          # the tables of counters, for Python
include "fast/upstream/stats_read.pyx"        # counters of servers, as the master reads them
include "fast/upstream/state.pyx"             # what an old worker tells a new one
include "fast/upstream/diff.pyx"              # where two answers of Consul differ
include "fast/tls/load.pyx"                   # certificates and keys
include "fast/tls/certificate.pyx"            # what certificates say of themselves
include "fast/tls/staple.pyx"                 # stapled OCSP responses
include "fast/tls/ocsp.pyx"                   # OCSP requests and responses
include "fast/tls/context.pyx"                # SSL_CTX
include "fast/tls/tickets.pyx"                # ticket keys
include "fast/tls/session_cache.pyx"          # session ids
include "fast/tls/settings.pyx"               # ALPN, DH parameters, commands
include "fast/tls/lazy.pyx"                   # certificates that variables name
include "fast/tls/renewal.pyx"                # new certificates while workers run
include "fast/compile/arena.pyx"              # its memory
include "fast/compile/compiled.pyx"           # the configuration, once for all workers
include "fast/compile/sticky.pyx"             # sticky: its values, its zone
include "fast/compile/access.pyx"             # who may come in
include "fast/compile/proxy.pyx"              # what api leaves to it: the settings of a proxied location
include "fast/compile/logs.pyx"               # logs and their targets
include "fast/compile/tls.pyx"                # what servers say of TLS, and the keys
include "fast/compile/check.pyx"              # active checks
include "fast/compile/files.pyx"              # static files
include "fast/compile/layout.pyx"              # for those who look at this process from outside
include "fast/compile/routes.pyx"             # servers, locations, operations, maps: from the model
include "fast/compile/engine.pyx"             # class Engine
