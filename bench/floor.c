/* floor: what the kernel alone charges for relaying TCP: an epoll loop with splice(2) and nothing else.
 *
 *   floor PORT BACKEND_PORT PIPE_KIB
 *
 * No balancing, no timeouts, no failures, no configuration: the least that a relay in user space can cost on this machine,
 * measured in the same run as the real ones. Edge-triggered, one registration a socket, one pipe a direction.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, FLAGS = SPLICE_F_MOVE | SPLICE_F_NONBLOCK };

struct side {
    struct side *other;
    int fd, pipe[2], filled;
    int readable, writable, ended;
};

static int epoll, pipe_size;

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static void must(int ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static struct side *side_new(int fd) {
    struct side *s = calloc(1, sizeof *s);
    int one = 1;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = s};
    must(s && pipe2(s->pipe, O_NONBLOCK | O_CLOEXEC) == 0, "pipe");
    fcntl(s->pipe[1], F_SETPIPE_SZ, pipe_size);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    s->fd = fd;
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) == 0, "epoll_ctl");
    return s;
}

static void accept_one(int listener, int backend) {
    struct sockaddr_in to = loopback(backend);
    int client = accept(listener, NULL, NULL), server = socket(AF_INET, SOCK_STREAM, 0);
    if (client < 0) return;
    must(server >= 0 && connect(server, (struct sockaddr *)&to, sizeof to) == 0, "connect");
    struct side *a = side_new(client), *b = side_new(server);
    a->other = b;
    b->other = a;
}

/* Move what `s` has to the other side, until one of them would block. */
static void relay(struct side *s) {
    struct side *to = s->other;
    while (!s->ended) {
        if (s->filled == 0) {
            if (!s->readable) return;
            ssize_t n = splice(s->fd, NULL, s->pipe[1], NULL, (size_t)pipe_size, FLAGS);
            if (n <= 0) s->readable = 0;
            if (n == 0 || (n < 0 && errno != EAGAIN)) {
                s->ended = 1;
                shutdown(to->fd, SHUT_WR);
            }
            if (n <= 0) return;
            s->filled = (int)n;
        }
        if (!to->writable) return;
        ssize_t n = splice(s->pipe[0], NULL, to->fd, NULL, (size_t)s->filled, FLAGS);
        if (n < 0) {
            to->writable = 0;
            s->ended |= errno != EAGAIN;
            return;
        }
        s->filled -= (int)n;
    }
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS], ev = {.events = EPOLLIN};
    struct sockaddr_in at;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    must(argc == 4, "usage: floor PORT BACKEND_PORT PIPE_KIB");
    signal(SIGPIPE, SIG_IGN);
    at = loopback(atoi(argv[1]));
    pipe_size = atoi(argv[3]) * 1024;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    must(bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 512) == 0, "listen");
    epoll = epoll_create1(EPOLL_CLOEXEC);
    must(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &ev) == 0, "epoll");
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct side *s = events[i].data.ptr;
            if (!s) {
                accept_one(listener, atoi(argv[2]));
                continue;
            }
            s->readable |= (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
            s->writable |= (events[i].events & EPOLLOUT) != 0;
            if (!s->other) continue; /* its pair is being made */
            relay(s);
            relay(s->other);
            if (s->ended && s->other->ended && s->fd >= 0) {
                /* both ends seen: the descriptors go, the structs stay for events of this batch (a bench's worth of them) */
                struct side *both[2] = {s, s->other};
                for (int k = 0; k < 2; k++) {
                    close(both[k]->fd);
                    close(both[k]->pipe[0]);
                    close(both[k]->pipe[1]);
                    both[k]->fd = -1;
                }
            }
        }
    }
}
