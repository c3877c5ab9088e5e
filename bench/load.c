/* load: the load generator and the TCP backend of the benchmarks, one thread, epoll.
 *
 *   load serve --port P --request N --response M
 *       For each N bytes received on a connection, send M bytes.  With --http: for each empty line received (the end of a
 *       head without body), an answer with a body of 128 bytes.
 *
 *   load drive --port P --connections C --seconds S (--request N --response M | --http PATH)
 *              [--rate R] [--each] [--warm S]
 *       Without --rate: closed loop, each connection sends its next request when the answer has come.  With --rate: open
 *       loop; requests are due at R a second with exponential gaps, whether or not earlier ones are answered, and a latency
 *       counts from the moment a request was due (so a stalled proxy is charged for all who wait).  --each: a new
 *       connection for each request.  Prints one line of JSON; times in microseconds.
 *
 * It serves the measurements only: no IPv6, no TLS, an HTTP answer must have a Content-Length.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 18, EVENTS = 256, MAX_FD = 65536 };

struct options {
    int port, connections, http, each;
    double seconds, warm, rate;
    size_t request, response;
    char path[256];
} opt = {.connections = 1, .seconds = 1, .request = 128, .response = 128};

struct conn {
    int fd;
    int busy;           /* a request is out */
    int connecting;     /* waits for its connect to end */
    int writable;       /* EPOLLOUT is asked for */
    size_t unsent;      /* bytes of the request (drive) or of the answers (serve) still to send */
    size_t got;         /* bytes of the current request (serve) or answer (drive) */
    size_t expect;      /* length of the answer, 0: its head is not complete */
    size_t head;        /* bytes of the head kept in text */
    uint64_t due;       /* ns: when the request was due */
    char text[1024];    /* the head of an HTTP answer */
};

static int ep;
static struct conn *conns[MAX_FD];
static char *payload;   /* what is sent */
static size_t payload_len;
static char scratch[BUFFER];

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void watch(struct conn *c, int op, int writable) {
    struct epoll_event e = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.fd = c->fd};
    c->writable = writable;
    if (epoll_ctl(ep, op, c->fd, &e)) die("epoll_ctl");
}

static struct sockaddr_in address(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(opt.port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static void nodelay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* ---- latencies: a histogram with 128 steps in each power of two, in ns: an error below 1 % ---- */

static uint64_t histogram[64 * 128], counted, largest;

static unsigned slot(uint64_t ns) {
    if (ns < 128) return ns;
    unsigned power = 63 - __builtin_clzll(ns);
    return (power - 6) * 128 + ((ns >> (power - 7)) & 127);
}

static double slot_us(unsigned i) {
    if (i < 128) return i / 1000.0;
    return (double)((uint64_t)(128 + i % 128) << (i / 128 - 1)) / 1000.0;
}

static void count(uint64_t ns) {
    histogram[slot(ns)]++;
    counted++;
    if (ns > largest) largest = ns;
}

static double percentile(double share) {
    uint64_t wanted = (uint64_t)ceil(share * counted), seen = 0;
    for (unsigned i = 0; i < sizeof histogram / sizeof *histogram; i++)
        if ((seen += histogram[i]) >= wanted && wanted) return slot_us(i);
    return 0;
}

/* ---- serve ---- */

static void serve_close(struct conn *c) {
    close(c->fd);
    conns[c->fd] = NULL;
    free(c);
}

static int serve_send(struct conn *c) {
    while (c->unsent) {
        size_t skip = opt.http ? (payload_len - c->unsent % payload_len) % payload_len : 0;
        size_t part = c->unsent < payload_len - skip ? c->unsent : payload_len - skip;
        ssize_t n = send(c->fd, payload + skip, part, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) return -1;
            if (!c->writable) watch(c, EPOLL_CTL_MOD, 1);
            return 0;
        }
        c->unsent -= n;
    }
    if (c->writable) watch(c, EPOLL_CTL_MOD, 0);
    return 0;
}

/* Ends of heads in the n bytes of scratch; c->got is how much of the mark the last bytes were. */
static size_t heads(struct conn *c, ssize_t n) {
    size_t found = 0;
    for (ssize_t i = 0; i < n; i++) {
        c->got = scratch[i] == "\r\n\r\n"[c->got] ? c->got + 1 : scratch[i] == '\r';
        if (c->got == 4) { c->got = 0; found++; }
    }
    return found;
}

static int serve_event(struct conn *c, uint32_t events) {
    if (events & EPOLLIN) {
        ssize_t n = recv(c->fd, scratch, sizeof scratch, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) return -1;
        if (n > 0 && opt.http) {
            c->unsent += heads(c, n) * payload_len;
        } else if (n > 0) {
            c->got += n;
            c->unsent += c->got / opt.request * opt.response;
            c->got %= opt.request;
        }
    } else if (events & (EPOLLHUP | EPOLLERR)) {
        return -1;
    }
    return serve_send(c);
}

static void serve_accept(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        nodelay(fd);
        if (fd >= MAX_FD) { close(fd); continue; }
        struct conn *c = conns[fd] = calloc(1, sizeof *c);
        c->fd = fd;
        watch(c, EPOLL_CTL_ADD, 0);
    }
}

static void serve(void) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in a = address();
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&a, sizeof a) || listen(listener, 4096)) die("listen");
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener}, ready[EVENTS];
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(ep, ready, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) serve_accept(listener);
            else if (conns[fd] && serve_event(conns[fd], ready[i].events)) serve_close(conns[fd]);
        }
    }
}

/* ---- drive ---- */

static struct conn **idle;          /* stack of connections without a request */
static int idle_count;
static uint64_t *queue;             /* due times that wait for a connection (open loop), a ring */
static size_t queue_head, queue_tail, queue_size = 1 << 20;
static uint64_t started, measured_from, ends, next_due;
static uint64_t done, bad_status, socket_errors, refused, dropped;

static int drive_send(struct conn *c) {
    while (c->unsent) {
        ssize_t n = send(c->fd, payload + payload_len - c->unsent, c->unsent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) return -1;
            if (!c->writable) watch(c, EPOLL_CTL_MOD, 1);
            return 0;
        }
        c->unsent -= n;
    }
    if (c->writable) watch(c, EPOLL_CTL_MOD, 0);
    return 0;
}

static void drive_open(struct conn *c) {
    struct sockaddr_in a = address();
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0 || c->fd >= MAX_FD) die("socket");
    nodelay(c->fd);
    conns[c->fd] = c;
    c->connecting = connect(c->fd, (struct sockaddr *)&a, sizeof a) != 0;
    if (c->connecting && errno != EINPROGRESS) refused++;
    watch(c, EPOLL_CTL_ADD, c->connecting);
}

static void drive_shut(struct conn *c) {
    close(c->fd);
    conns[c->fd] = NULL;
    c->fd = -1;
}

static void drive_begin(struct conn *c, uint64_t due) {
    c->busy = 1;
    c->due = due;
    c->got = c->head = 0;
    c->expect = opt.http ? 0 : opt.response;
    c->unsent = payload_len;
    if (c->fd < 0) drive_open(c);
    if (!c->connecting && drive_send(c)) { /* the reader sees the error too */ }
}

/* The request of c has ended, well or not: give c its next one, or let it rest. */
static void drive_next(struct conn *c) {
    c->busy = 0;
    uint64_t t = now();
    if (t >= ends) return;
    if (!opt.rate) drive_begin(c, t);
    else if (queue_head != queue_tail) drive_begin(c, queue[queue_head++ % queue_size]);
    else idle[idle_count++] = c;
}

static void drive_failed(struct conn *c) {
    int was_busy = c->busy;
    drive_shut(c);
    c->connecting = 0;
    if (was_busy) {
        if (now() >= measured_from) socket_errors++;
        drive_next(c);
    } /* an idle connection that the proxy closed: opened again at its next request */
}

static void drive_done(struct conn *c) {
    uint64_t t = now();
    if (c->due >= measured_from && t < ends) { count(t - c->due); done++; }
    if (opt.each) drive_shut(c);
    drive_next(c);
}

/* HTTP: find the end of the head in what has come, and from it the length of the whole answer. */
static int drive_head(struct conn *c, const char *data, size_t n) {
    size_t part = sizeof c->text - 1 - c->head;
    if (n < part) part = n;
    memcpy(c->text + c->head, data, part);
    c->head += part;
    c->text[c->head] = 0;
    char *end = strstr(c->text, "\r\n\r\n");
    if (!end) return c->head == sizeof c->text - 1 ? -1 : 0;
    char *length = strcasestr(c->text, "\r\ncontent-length:");
    if (!length || length > end) return -1;
    c->expect = (end - c->text) + 4 + strtoull(length + 17, NULL, 10);
    if (c->head < 12 || c->text[9] != '2') bad_status += now() >= measured_from;
    return 0;
}

static void drive_read(struct conn *c) {
    ssize_t n = recv(c->fd, scratch, sizeof scratch, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0 || !c->busy) { drive_failed(c); return; }
    if (!c->expect && drive_head(c, scratch, n)) { drive_failed(c); return; }
    c->got += n;
    if (c->expect && c->got >= c->expect) drive_done(c);
}

static void drive_event(struct conn *c, uint32_t events) {
    if (c->connecting && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) { refused += now() >= measured_from; drive_failed(c); return; }
        c->connecting = 0;
    }
    if ((events & EPOLLOUT) && drive_send(c)) { drive_failed(c); return; }
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) drive_read(c);
}

static void schedule(void) {
    for (uint64_t t = now(); next_due <= t && next_due < ends;) {
        if (idle_count) drive_begin(idle[--idle_count], next_due);
        else if (queue_tail - queue_head < queue_size) queue[queue_tail++ % queue_size] = next_due;
        else dropped++;
        next_due += (uint64_t)(-log(1 - drand48()) / opt.rate * 1e9);
    }
}

/* Until the next request is due, to the nanosecond: the generator must not spin on the core of the backend. */
static struct timespec wait_time(void) {
    uint64_t t = now(), until = opt.rate && next_due < ends ? next_due : ends, rest = until > t ? until - t : 0;
    return (struct timespec){.tv_sec = rest / 1000000000u, .tv_nsec = rest % 1000000000u};
}

static void report(double seconds) {
    printf("{\"requests\": %lu, \"seconds\": %.6f, \"per_second\": %.1f, \"p50_us\": %.1f, \"p90_us\": %.1f, "
           "\"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f, \"bad_status\": %lu, \"socket_errors\": %lu, "
           "\"refused\": %lu, \"unanswered\": %lu}\n",
           done, seconds, done / seconds, percentile(.5), percentile(.9), percentile(.99), percentile(.999),
           largest / 1000.0, bad_status, socket_errors, refused, (queue_tail - queue_head) + dropped);
}

static void drive(void) {
    struct epoll_event ready[EVENTS];
    idle = calloc(opt.connections, sizeof *idle);
    queue = calloc(queue_size, sizeof *queue);
    prctl(PR_SET_TIMERSLACK, 1);
    started = next_due = now();
    measured_from = started + (uint64_t)(opt.warm * 1e9);
    ends = measured_from + (uint64_t)(opt.seconds * 1e9);
    for (int i = 0; i < opt.connections; i++) {
        struct conn *c = calloc(1, sizeof *c);
        c->fd = -1;
        if (!opt.each) drive_open(c);
        if (opt.rate) idle[idle_count++] = c;
        else drive_begin(c, started);
    }
    while (now() < ends) {
        if (opt.rate) schedule();
        struct timespec timeout = wait_time();
        int n = epoll_pwait2(ep, ready, EVENTS, &timeout, NULL);
        for (int i = 0; i < n; i++)
            if (conns[ready[i].data.fd]) drive_event(conns[ready[i].data.fd], ready[i].events);
    }
    report((now() - measured_from) / 1e9);
}

static void make_payload(int serving) {
    if (opt.http && serving) {
        payload = malloc(1024);
        payload_len = snprintf(payload, 1024, "HTTP/1.1 200 OK\r\nContent-Length: 128\r\n\r\n%0128d", 0);
        return;
    }
    if (opt.http) {
        payload = malloc(1024);
        payload_len = snprintf(payload, 1024, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n", opt.path, opt.port,
                               opt.each ? "Connection: close\r\n" : "");
        return;
    }
    payload_len = serving ? (opt.response < BUFFER ? opt.response : BUFFER) : opt.request;
    payload = malloc(payload_len);
    memset(payload, 'x', payload_len);
}

int main(int argc, char **argv) {
    static const struct option names[] = {
        {"port", 1, 0, 'p'}, {"connections", 1, 0, 'c'}, {"seconds", 1, 0, 's'}, {"request", 1, 0, 'q'},
        {"response", 1, 0, 'r'}, {"http", 1, 0, 'h'}, {"rate", 1, 0, 'R'}, {"each", 0, 0, 'e'}, {"warm", 1, 0, 'w'}, {0}};
    for (int o; (o = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (o) {
        case 'p': opt.port = atoi(optarg); break;
        case 'c': opt.connections = atoi(optarg); break;
        case 's': opt.seconds = atof(optarg); break;
        case 'w': opt.warm = atof(optarg); break;
        case 'R': opt.rate = atof(optarg); break;
        case 'q': opt.request = strtoull(optarg, NULL, 10); break;
        case 'r': opt.response = strtoull(optarg, NULL, 10); break;
        case 'e': opt.each = 1; break;
        case 'h': opt.http = 1; snprintf(opt.path, sizeof opt.path, "%s", optarg); break;
        default: return 2;
        }
    }
    int serving = optind < argc && !strcmp(argv[optind], "serve");
    if (optind >= argc || (!serving && strcmp(argv[optind], "drive")) || !opt.port || !opt.request || !opt.response) {
        fprintf(stderr, "usage: load serve|drive --port P ... (see the top of load.c)\n");
        return 2;
    }
    make_payload(serving);
    if ((ep = epoll_create1(0)) < 0) die("epoll_create1");
    if (serving) serve();
    else drive();
    return 0;
}
