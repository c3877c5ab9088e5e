/* tls: the load of the TLS benchmarks: one thread, blocking sockets, one connection or request at a time, paced.
 *
 *   tls handshakes --port P --seconds S [--rate R]     full handshakes, each on a new connection that is closed behind it;
 *                                                      without --rate as fast as they come
 *   tls requests   --port P --seconds S --rate R --connections C
 *                                                      keep-alive requests over C connections, due at R a second; a latency
 *                                                      counts from when a request was due
 *   tls resume     --port P --count N --session FILE   N connections with the session of FILE (none there: a first full
 *                                                      handshake makes it); the newest session goes to FILE
 *   tls idle       --port P --count N                  N connections, one request each; then waits for a line on stdin
 *
 * Prints one line of JSON; times in microseconds. TLS as OpenSSL chooses it; certificates are not looked at.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 4000000 };

static struct { int port, connections, count; double seconds, rate; const char *session; } opt = {.connections = 1, .seconds = 1};
static SSL_CTX *ctx;
static SSL_SESSION *newest;
static uint32_t *latency;
static long requests, errors, reused;
static const char ask[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void wait_until(int64_t at) {
    struct timespec t = {at / 1000000000LL, at % 1000000000LL};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static int keep(SSL *ssl, SSL_SESSION *session) {
    (void)ssl;
    SSL_SESSION_free(newest);
    newest = session;
    return 1;
}

static SSL *open_one(SSL_SESSION *session) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(opt.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0) { errors++; close(fd); return NULL; }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    SSL *ssl = SSL_new(ctx);
    SSL_set_tlsext_host_name(ssl, "localhost");
    SSL_set_fd(ssl, fd);
    if (session) { /* a copy: OpenSSL offers one session once */
        SSL_SESSION *copy = SSL_SESSION_dup(session);
        SSL_set_session(ssl, copy);
        SSL_SESSION_free(copy);
    }
    if (SSL_connect(ssl) != 1) { errors++; close(fd); SSL_free(ssl); return NULL; }
    reused += SSL_session_reused(ssl);
    return ssl;
}

static void close_one(SSL *ssl) {
    int fd = SSL_get_fd(ssl);
    SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(ssl);
    close(fd);
}

/* One request and its whole answer: the body is 128 bytes and ends in "x\n". */
static int request(SSL *ssl) {
    char text[4096];
    int got = 0;
    if (SSL_write(ssl, ask, sizeof ask - 1) <= 0) return 0;
    while (got < 2 || memcmp(text + got - 2, "x\n", 2)) {
        int n = got < (int)sizeof text ? SSL_read(ssl, text + got, sizeof text - got) : -1;
        if (n <= 0) return 0;
        got += n;
    }
    return 1;
}

static int by_size(const void *a, const void *b) { return *(uint32_t *)a < *(uint32_t *)b ? -1 : *(uint32_t *)a > *(uint32_t *)b; }

static void note(int64_t since) {
    if (requests < MOST) latency[requests] = (now() - since) / 1000;
    requests++;
}

static void handshakes(void) {
    int64_t start = now(), end = start + opt.seconds * 1e9, due = start, gap = opt.rate ? 1e9 / opt.rate : 0;
    for (; now() < end; due += gap) {
        if (gap) wait_until(due);
        int64_t from = gap ? due : now();
        SSL *ssl = open_one(NULL);
        if (!ssl) continue;
        note(from);
        close_one(ssl);
    }
}

static void paced_requests(void) {
    SSL **all = calloc(opt.connections, sizeof *all);
    for (int i = 0; i < opt.connections; i++) {
        if (!(all[i] = open_one(NULL)) || !request(all[i])) { fprintf(stderr, "no connection\n"); exit(1); }
    }
    int64_t start = now(), end = start + opt.seconds * 1e9, due = start, gap = 1e9 / opt.rate;
    for (long i = 0; due < end; i++, due += gap) {
        wait_until(due);
        if (request(all[i % opt.connections])) note(due);
        else errors++;
    }
    for (int i = 0; i < opt.connections; i++) close_one(all[i]);
}

static void resume(void) {
    FILE *file = fopen(opt.session, "r");
    SSL_SESSION *session = file ? PEM_read_SSL_SESSION(file, NULL, NULL, NULL) : NULL;
    if (file) fclose(file);
    for (int i = session ? 0 : -1; i < opt.count; i++) {
        SSL *ssl = open_one(session);
        if (!ssl) continue;
        if (!request(ssl)) errors++;
        if (i >= 0) requests++;
        close_one(ssl);
        if (!session && newest && SSL_SESSION_up_ref(newest)) session = newest;
    }
    if (newest && (file = fopen(opt.session, "w"))) { PEM_write_SSL_SESSION(file, newest); fclose(file); }
}

static void idle(void) {
    char line[8];
    for (int i = 0; i < opt.count; i++) {
        SSL *ssl = open_one(NULL);
        if (!ssl || !request(ssl)) errors++;
        else requests++;
    }
    printf("ready\n");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return;
}

int main(int argc, char **argv) {
    static const struct option names[] = {{"port", 1, 0, 'p'}, {"seconds", 1, 0, 's'}, {"rate", 1, 0, 'r'}, {"connections", 1, 0, 'c'},
                                          {"count", 1, 0, 'n'}, {"session", 1, 0, 'f'}, {0}};
    for (int o; (o = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (o) {
        case 'p': opt.port = atoi(optarg); break;
        case 's': opt.seconds = atof(optarg); break;
        case 'r': opt.rate = atof(optarg); break;
        case 'c': opt.connections = atoi(optarg); break;
        case 'n': opt.count = atoi(optarg); break;
        case 'f': opt.session = optarg; break;
        default: return 2;
        }
    }
    const char *what = optind < argc ? argv[optind] : "";
    latency = calloc(MOST, sizeof *latency);
    ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, keep);
    if (!strcmp(what, "handshakes")) handshakes();
    else if (!strcmp(what, "requests") && opt.rate) paced_requests();
    else if (!strcmp(what, "resume") && opt.session) resume();
    else if (!strcmp(what, "idle")) idle();
    else { fprintf(stderr, "usage: tls handshakes|requests|resume|idle --port P ... (see the top of tls.c)\n"); return 2; }
    long n = requests < MOST ? requests : MOST;
    qsort(latency, n, sizeof *latency, by_size);
    printf("{\"requests\": %ld, \"errors\": %ld, \"reused\": %ld, \"per_second\": %.1f, \"p50_us\": %u, \"p99_us\": %u}\n", requests, errors,
           reused, requests / opt.seconds, n ? latency[n / 2] : 0, n ? latency[n * 99 / 100] : 0);
    return 0;
}
