"""Counters as Cython sees them: the names that are used. What they are, their order and meaning is in stats.h."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef extern from "stats.h" nogil:
    enum:
        LB_CELLS, LB_SERVER_NAME, LB_COUNTERS_N, LB_SERVER_COUNTERS_N
    ctypedef struct WorkerStats:
        uint64_t pid, heartbeat_ms, accepting, clients, accepts, handled, requests, sessions, reading, writing, waiting
        uint64_t upstream_connects, upstream_reuses, upstream_open, upstream_idle, retries, failures, no_live
        uint64_t bytes_in, bytes_out, refused, status_none, status_1xx, status_2xx, status_3xx, status_4xx, status_5xx
        uint64_t accept_errors, no_slots, log_dropped, tables, turns, temp_files
        uint64_t password_checks, syslog_sent, syslog_dropped, syslog_errors
        uint64_t tls_handshakes_13, tls_handshakes_12, tls_handshakes_old, tls_resumed
        uint64_t tls_failed_closed, tls_failed_timeout, tls_failed_protocol, tls_failed_certificate, tls_failed_name
        uint64_t tls_failed_garbage, tls_failed_other, tls_broken, up_tls_broken
        uint64_t h2_connections, h2_streams, h2_streams_open, h2_resets, h2_resets_sent, h2_refused, h2_faults
        uint64_t h2_flood_reset, h2_flood_idle, h2_flood_answers, h2_flood_continuation, h2_flood_streams
        uint64_t up_tls_handshakes, up_tls_resumed, up_tls_failed_closed, up_tls_failed_timeout, up_tls_failed_protocol
        uint64_t up_tls_failed_certificate, up_tls_failed_verify, up_tls_failed_name, up_tls_failed_garbage, up_tls_failed_other
        uint64_t glitch_epoll_add, glitch_epoll_wait, glitch_close, glitch_event, glitch_timer
        uint64_t server_stats_used, folding
    ctypedef struct ServerStats:
        uint64_t state
        uint32_t upstream, name_len
        char name[112]
        uint64_t condition, since, retry_at
        uint64_t active, requests, status_1xx, status_2xx, status_3xx, status_4xx, status_5xx, sent, received, retries
        uint64_t retries_refused, slow_until, slow_ms
        uint64_t tls_handshakes, tls_resumed, tls_failed, tls_failed_verify
        uint64_t failures, connects, no_live, connect_ms, header_ms, response_ms
        uint64_t connect[14]
        uint64_t header[14]
        uint64_t response[14]
        uint64_t consul_errors, consul_answer
    ctypedef struct LbCounter:
        const char* name
        const char* kind
        const char* metric
        const char* worker
        const char* help
        uint32_t at, cells, servers, glitch
    const LbCounter lb_counters[]
    const LbCounter lb_server_counters[]
    const uint16_t lb_stats_bounds[]
