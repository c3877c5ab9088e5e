/* Every counter, declared once: name, kind, name in /metrics, meaning. The structs in shared memory, COUNTERS and
 * SERVER_COUNTERS of lb._fast are made of these lists, and of those read_stats, /status.json, /metrics and the sums
 * that the master keeps.
 *
 * kind    counter: only grows; gauge: what is there now; named: a counter whose name in /metrics has no _total;
 *         private: a worker's own, no sum of it means anything; glitch: COUNT_IF, lb_glitches_total{place=...};
 *         sum: of a histogram's times; histogram: LB_CELLS cells.
 * metric  "": none. "NAME LABEL=VALUE": one sample of a family that several counters share.
 *
 * stats.pxd tells Cython the names. A name there that is not here does not compile; tests/test_stats_table.py looks for
 * the other way round. */
#ifndef LB_STATS_H
#define LB_STATS_H

#include <stddef.h>
#include <stdint.h>

/* X(name, kind, metric of all workers, metric of each worker, help): a worker's, written by it only. */
#define LB_COUNTERS(X)                                                                                                 \
    X(pid, private, "", "", "The worker's process.")                                                                   \
    X(heartbeat_ms, private, "", "", "Its monotonic clock at the last turn of its loop.")                              \
    X(accepting, private, "", "", "1: its listeners are in epoll.")                                                    \
    X(clients, gauge, "nginx_connections_active", "lb_worker_connections", "Client connections open.")                 \
    X(accepts, named, "nginx_connections_accepted", "lb_worker_accepts", "Client connections accepted.")               \
    X(handled, named, "nginx_connections_handled", "", "Client connections handled.")                                  \
    X(requests, counter, "nginx_http_requests", "lb_worker_requests", "HTTP requests.")                                \
    X(sessions, counter, "lb_stream_sessions", "", "Stream sessions begun.")                                           \
    X(reading, gauge, "nginx_connections_reading", "", "Clients that are sending a head.")                             \
    X(writing, gauge, "nginx_connections_writing", "", "Clients with a request under way.")                            \
    X(waiting, gauge, "nginx_connections_waiting", "", "Idle clients.")                                                \
    X(upstream_connects, counter, "", "", "Connections to servers begun.")                                             \
    X(upstream_reuses, counter, "", "", "Requests that took a kept connection.")                                       \
    X(upstream_open, gauge, "", "lb_worker_upstream_connections", "Connections to servers open.")                      \
    X(upstream_idle, gauge, "", "lb_worker_upstream_idle", "Of them kept for later.")                                  \
    X(retries, counter, "", "", "Requests that a server failed and the next one got.")                                 \
    X(failures, counter, "", "", "Failed tries that count for max_fails.")                                             \
    X(no_live, counter, "", "", "Requests for which no server could be chosen.")                                       \
    X(bytes_in, counter, "lb_received_bytes", "", "Bytes from clients.")                                               \
    X(bytes_out, counter, "lb_sent_bytes", "", "Bytes to clients.")                                                    \
    X(refused, counter, "lb_refused_heads", "", "Requests refused because they are no proper HTTP.")                   \
    X(status_none, counter, "", "", "Requests without an answer.")                                                     \
    X(status_1xx, counter, "lb_http_responses code=1xx", "", "Answers to clients by class.")                           \
    X(status_2xx, counter, "lb_http_responses code=2xx", "", "Answers to clients by class.")                           \
    X(status_3xx, counter, "lb_http_responses code=3xx", "", "Answers to clients by class.")                           \
    X(status_4xx, counter, "lb_http_responses code=4xx", "", "Answers to clients by class.")                           \
    X(status_5xx, counter, "lb_http_responses code=5xx", "", "Answers to clients by class.")                           \
    X(accept_errors, counter, "lb_accept_errors", "", "Connections that could not be accepted.")                       \
    X(no_slots, counter, "lb_no_slots", "", "Times that worker_connections were not enough.")                          \
    X(log_dropped, counter, "lb_log_lines_dropped", "", "Log lines lost to a slow or full target.")                    \
    X(tables, counter, "", "", "Lists of servers that took over.")                                                     \
    X(turns, counter, "", "", "Turns of the loop.")                                                                    \
    X(temp_files, gauge, "", "", "Temporary files in use.")                                                            \
    X(password_checks, counter, "lb_password_checks", "", "Passwords of auth_basic that had to be worked out.")        \
    X(syslog_sent, counter, "lb_syslog_datagrams", "", "Log lines sent to syslog.")                                    \
    X(syslog_dropped, counter, "lb_syslog_lines_dropped", "", "Lost log lines meant for syslog.")                      \
    X(syslog_errors, counter, "lb_syslog_errors", "", "Failures to reach a syslog server.")                            \
    X(tls_handshakes_13, counter, "lb_tls_handshakes version=1.3", "", "Handshakes with clients, by version.")         \
    X(tls_handshakes_12, counter, "lb_tls_handshakes version=1.2", "", "Handshakes with clients, by version.")         \
    X(tls_handshakes_old, counter, "lb_tls_handshakes version=old", "", "Handshakes with clients, by version.")        \
    X(tls_resumed, counter, "lb_tls_resumed", "", "Handshakes with clients that resumed a session.")                   \
    X(tls_failed_closed, counter, "lb_tls_failed reason=closed", "", "Handshakes with clients that failed.")           \
    X(tls_failed_timeout, counter, "lb_tls_failed reason=timeout", "", "Handshakes with clients that failed.")         \
    X(tls_failed_protocol, counter, "lb_tls_failed reason=protocol", "", "Handshakes with clients that failed.")       \
    X(tls_failed_certificate, counter, "lb_tls_failed reason=certificate", "", "Handshakes with clients that failed.") \
    X(tls_failed_name, counter, "lb_tls_failed reason=name", "", "Handshakes with clients that failed.")               \
    X(tls_failed_garbage, counter, "lb_tls_failed reason=garbage", "", "Handshakes with clients that failed.")         \
    X(tls_failed_other, counter, "lb_tls_failed reason=other", "", "Handshakes with clients that failed.")             \
    X(tls_broken, counter, "lb_tls_broken", "", "Connections of clients that broke TLS after the handshake.")          \
    X(h2_connections, counter, "lb_http2_connections", "", "Connections of clients that spoke HTTP/2.")                \
    X(h2_streams, counter, "lb_http2_streams", "", "Streams of HTTP/2 that became requests.")                          \
    X(h2_streams_open, gauge, "lb_http2_streams_open", "", "Of them those that are open.")                             \
    X(h2_resets, counter, "lb_http2_resets by=client", "", "Streams of HTTP/2 that were reset.")                       \
    X(h2_resets_sent, counter, "lb_http2_resets by=lb", "", "Streams of HTTP/2 that were reset.")                      \
    X(h2_refused, counter, "lb_http2_refused", "", "Streams beyond http2_max_concurrent_streams.")                     \
    X(h2_faults, counter, "lb_http2_faults", "", "Connections ended because the client broke a rule of HTTP/2.")       \
    X(h2_flood_reset, counter, "lb_http2_floods rule=resets", "", "Of them those that did something too often.")       \
    X(h2_flood_idle, counter, "lb_http2_floods rule=frames", "", "Of them those that did something too often.")        \
    X(h2_flood_answers, counter, "lb_http2_floods rule=answers", "", "Of them those that did something too often.")    \
    X(h2_flood_continuation, counter, "lb_http2_floods rule=block", "", "Of them those that did something too often.") \
    X(h2_flood_streams, counter, "lb_http2_floods rule=streams", "", "Of them those that did something too often.")    \
    X(up_tls_handshakes, counter, "lb_tls_to_servers_handshakes", "", "Handshakes with servers.")                      \
    X(up_tls_resumed, counter, "lb_tls_to_servers_resumed", "", "Handshakes with servers that resumed a session.")     \
    X(up_tls_failed_closed, counter, "lb_tls_to_servers_failed reason=closed", "", "Handshakes with servers that failed.") \
    X(up_tls_failed_timeout, counter, "lb_tls_to_servers_failed reason=timeout", "", "Handshakes with servers that failed.") \
    X(up_tls_failed_protocol, counter, "lb_tls_to_servers_failed reason=protocol", "", "Handshakes with servers that failed.") \
    X(up_tls_failed_certificate, counter, "lb_tls_to_servers_failed reason=certificate", "", "Handshakes with servers that failed.") \
    X(up_tls_failed_verify, counter, "lb_tls_to_servers_failed reason=verify", "", "Handshakes with servers that failed.") \
    X(up_tls_failed_name, counter, "lb_tls_to_servers_failed reason=name", "", "Handshakes with servers that failed.") \
    X(up_tls_failed_garbage, counter, "lb_tls_to_servers_failed reason=garbage", "", "Handshakes with servers that failed.") \
    X(up_tls_failed_other, counter, "lb_tls_to_servers_failed reason=other", "", "Handshakes with servers that failed.") \
    X(up_tls_broken, counter, "lb_tls_to_servers_broken", "", "Connections to servers that broke TLS after it.")       \
    X(glitch_epoll_add, glitch, "", "", "The kernel did not take a socket into epoll: its connection was closed.")     \
    X(glitch_epoll_wait, glitch, "", "", "epoll_wait() failed.")                                                       \
    X(glitch_close, glitch, "", "", "close() of a connection failed: its descriptor was not the worker's any more.")   \
    X(glitch_event, glitch, "", "", "An event for a connection that has ended.")                                       \
    X(glitch_timer, glitch, "", "", "A timer of a connection that has ended.")

/* X(name, kind, metric, help), H: a histogram. Of a server and, summed, of its upstream: lb_server_METRIC and
 * lb_upstream_METRIC; U: of upstreams alone. The sum of histogram NAME is NAME_ms. */
#define LB_SERVER_COUNTERS(X, H, U)                                                                                    \
    X(active, gauge, "active", "Requests and sessions that servers work on now.")                                      \
    X(requests, counter, "requests", "Requests (stream: sessions) given to servers, retries included.")                \
    X(status_1xx, counter, "responses code=1xx", "Answers of servers by class.")                                       \
    X(status_2xx, counter, "responses code=2xx", "Answers of servers by class.")                                       \
    X(status_3xx, counter, "responses code=3xx", "Answers of servers by class.")                                       \
    X(status_4xx, counter, "responses code=4xx", "Answers of servers by class.")                                       \
    X(status_5xx, counter, "responses code=5xx", "Answers of servers by class.")                                       \
    X(sent, counter, "sent_bytes", "Bytes sent to servers.")                                                           \
    X(received, counter, "received_bytes", "Bytes received from servers.")                                             \
    X(retries, counter, "retries", "Requests that a server failed and the next one got.")                              \
    X(failures, counter, "failures", "Failed tries that count for max_fails.")                                         \
    X(retries_refused, counter, "retries_refused", "Failed tries that proxy_next_upstream_budget let no other follow.") \
    X(connects, counter, "connects", "Connections begun.")                                                             \
    X(tls_handshakes, counter, "tls_handshakes", "TLS handshakes done.")                                               \
    X(tls_resumed, counter, "tls_resumed", "Of them those that resumed a session.")                                    \
    X(tls_failed, counter, "tls_failed reason=handshake", "TLS handshakes that failed.")                               \
    X(tls_failed_verify, counter, "tls_failed reason=verify", "TLS handshakes that failed.")                           \
    U(no_live, counter, "no_live", "Requests for which no server could be chosen.")                                    \
    X(connect_ms, sum, "", "Of connect.")                                                                              \
    X(header_ms, sum, "", "Of header.")                                                                                \
    X(response_ms, sum, "", "Of response.")                                                                            \
    H(connect, histogram, "connect_seconds", "Time until a connection was made.")                                      \
    H(header, histogram, "first_byte_seconds",                                                                         \
      "Time from the choice of the server to the head of its answer (stream: its first byte).")                        \
    H(response, histogram, "response_seconds",                                                                         \
      "Time from the choice of the server to the end of its answer (stream: of the session).")                         \
    U(consul_errors, counter, "consul_errors", "Queries to Consul that failed.")

#define LB_CELLS 14 /* of a histogram: the bounds, and what is above them */
#define LB_SERVER_NAME 112 /* longest text of an address: unix: and 107 bytes */

#define LB_FIELD(name, ...) uint64_t name;
#define LB_FIELDS(name, ...) uint64_t name[LB_CELLS];
#define LB_ONE(...) +1
#define LB_MANY(...) +LB_CELLS

typedef union {
    struct {
        LB_COUNTERS(LB_FIELD)
        uint64_t server_stats_used; /* how many of them were ever used */
        uint64_t folding;           /* not even: what one ServerStats holds is being added to another */
    };
    uint64_t block[80];             /* whole cache lines */
} WorkerStats;

typedef union {
    struct {
        uint64_t state;             /* StatsState; written last when it is given out */
        uint32_t upstream;          /* its number in the configuration */
        uint32_t name_len;
        char name[LB_SERVER_NAME];  /* the address as text */
        uint64_t condition;         /* Condition */
        uint64_t since;             /* Unix ms of the change to it; 0: since the worker began */
        uint64_t retry_at;          /* COND_FAILED: Unix ms from which on it is tried again */
        LB_SERVER_COUNTERS(LB_FIELD, LB_FIELDS, LB_FIELD)
        uint64_t consul_answer;     /* Unix ms of Consul's last good answer; 0: none yet */
        uint64_t slow_until;        /* Unix ms of the end of its slow start, and how long that takes; 0: it is in none */
        uint64_t slow_ms;
    };
    uint64_t block[88];
} ServerStats;

_Static_assert(sizeof(WorkerStats) == 80 * 8, "counters of a worker: make its block a cache line longer");
_Static_assert(sizeof(ServerStats) == 88 * 8, "counters of a server: make its block a cache line longer");

enum { LB_COUNTERS_N = 0 LB_COUNTERS(LB_ONE), LB_SERVER_COUNTERS_N = 0 LB_SERVER_COUNTERS(LB_ONE, LB_MANY, LB_ONE) };

/* The lists as tables. `at` is in numbers of 8 bytes: from the start of WorkerStats, or from ServerStats.active. */
typedef struct {
    const char *name, *kind, *metric, *worker, *help;
    uint32_t at, cells, servers, glitch;
} LbCounter;

#define LB_GLITCH_private 0
#define LB_GLITCH_counter 0
#define LB_GLITCH_named 0
#define LB_GLITCH_gauge 0
#define LB_GLITCH_glitch 1
#define LB_ROW(name, kind, metric, worker, help) \
    {#name, #kind, metric, worker, help, offsetof(WorkerStats, name) / 8, 1, 0, LB_GLITCH_##kind},
#define LB_PLACE(name) ((offsetof(ServerStats, name) - offsetof(ServerStats, active)) / 8)
#define LB_SERVER_ROW(name, kind, metric, help) {#name, #kind, metric, "", help, LB_PLACE(name), 1, 1, 0},
#define LB_SERVER_ROWS(name, kind, metric, help) {#name, #kind, metric, "", help, LB_PLACE(name), LB_CELLS, 1, 0},
#define LB_UPSTREAM_ROW(name, kind, metric, help) {#name, #kind, metric, "", help, LB_PLACE(name), 1, 0, 0},

static const LbCounter lb_counters[] = {LB_COUNTERS(LB_ROW){0}};
static const LbCounter lb_server_counters[] = {LB_SERVER_COUNTERS(LB_SERVER_ROW, LB_SERVER_ROWS, LB_UPSTREAM_ROW){0}};

/* Bounds of the cells in ms. Each lies in another interval from 2^k to 2^(k+1), so one comparison finds the cell:
 * between 1024 and 2048 there is none. */
static const uint16_t lb_stats_bounds[LB_CELLS] = {1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 65535};

#endif
