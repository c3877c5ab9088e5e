"""Declarations of the C library and the kernel that the rooms use. No code of ours."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "debug.h" nogil:
    void BUG_ON(bint cond) noexcept
    void COUNT_IF(bint cond, uint64_t counter) noexcept     # a macro: `counter` is a glitch of loop.st (stats.h)
    unsigned long lb_glitches
    void COUNT_WALK(int before, int after) noexcept
    unsigned long LB_WALKED(int before, int after) noexcept
    bint likely "lb_likely"(bint x) noexcept
    bint unlikely "lb_unlikely"(bint x) noexcept
    void lb_errno_set(int e) noexcept
    const char* LB_BUILD_NAME
    const int LB_CUTTING
    const char* LB_BUILD_FLAGS
    const char* LB_COMPILER "__VERSION__"    # of gcc or clang
    const int CYTHON_HEX_VERSION

cdef extern from "<string.h>" nogil:
    void* memcpy(void* to, const void* frm, size_t n) noexcept
    void* memmove(void* to, const void* frm, size_t n) noexcept
    void* memset(void* to, int c, size_t n) noexcept
    int memcmp(const void* a, const void* b, size_t n) noexcept
    void* memmem(const void* hay, size_t n, const void* needle, size_t k) noexcept
    void* memchr(const void* p, int c, size_t n) noexcept
    size_t strlen(const char* s) noexcept
    int strncmp(const char* a, const char* b, size_t n) noexcept
    const char* strrchr(const char* s, int c) noexcept
    char* strerror_r(int e, char* buf, size_t n) noexcept

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* a, const char* b, size_t n) noexcept

cdef extern from "<stdlib.h>" nogil:
    void* malloc(size_t n) noexcept
    void* calloc(size_t n, size_t size) noexcept
    void* realloc(void* p, size_t n) noexcept
    void free(void* p) noexcept
    char* realpath(const char* path, char* resolved) noexcept
    int posix_memalign(void** p, size_t align, size_t n) noexcept
    void abort() noexcept
    void qsort(void* base, size_t n, size_t size, int (*order)(const void*, const void*) noexcept nogil) noexcept

cdef extern from "<errno.h>" nogil:
    int errno
    enum:
        EAGAIN, EINTR, EINPROGRESS, ECONNREFUSED, ECONNRESET, EPIPE, ETIMEDOUT, EMFILE, ENFILE, ENOBUFS, ENOMEM
        ECONNABORTED, EPROTO, EPERM, EADDRNOTAVAIL, EEXIST, ENOENT, EFBIG, EBADF, EMSGSIZE
        ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH
        ESRCH, EACCES, ENOTDIR, ENAMETOOLONG, ELOOP, EINVAL

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* at, size_t n, int rights, int flags, int fd, int64_t offset) noexcept
    int munmap(void* at, size_t n) noexcept
    int madvise(void* at, size_t n, int what) noexcept
    int mlock(const void* at, size_t n) noexcept
    void* MAP_FAILED
    enum:
        PROT_NONE, PROT_READ, PROT_WRITE, MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE, MADV_DONTDUMP

cdef extern from "<sys/prctl.h>" nogil:
    int prctl(int what, ...) noexcept
    int PR_SET_DUMPABLE

cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    struct tm:
        int tm_sec, tm_min, tm_hour, tm_mday, tm_mon, tm_year, tm_wday
        long tm_gmtoff
    int clock_gettime(int clock, timespec* ts) noexcept
    int nanosleep(const timespec* how_long, timespec* left) noexcept
    tm* gmtime_r(const time_t* t, tm* out) noexcept
    tm* localtime_r(const time_t* t, tm* out) noexcept
    enum:
        CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, CLOCK_REALTIME, CLOCK_REALTIME_COARSE

cdef extern from "<sys/stat.h>" nogil:
    ctypedef struct stat_t "struct stat":
        unsigned int st_mode
        uint64_t st_dev
        uint64_t st_ino
        int64_t st_size
        time_t st_mtime
        timespec st_mtim, st_ctim
    int stat(const char* path, stat_t* st) noexcept
    int fstat(int fd, stat_t* st) noexcept
    enum:
        S_IFMT, S_IFREG, S_IFDIR

cdef extern from "<unistd.h>" nogil:
    int close(int fd) noexcept
    ssize_t read(int fd, void* p, size_t n) noexcept
    ssize_t write(int fd, const void* p, size_t n) noexcept
    int getpid() noexcept
    int dup(int fd) noexcept
    int unlink(const char* path) noexcept
    int ftruncate(int fd, int64_t n) noexcept
    ssize_t pread(int fd, void* p, size_t n, int64_t at) noexcept
    ssize_t pwrite(int fd, const void* p, size_t n, int64_t at) noexcept

cdef extern from "<sys/stat.h>" nogil:
    int mkdir(const char* path, unsigned int mode) noexcept

cdef extern from "<fcntl.h>" nogil:
    ssize_t splice(int fd_in, void* off_in, int fd_out, void* off_out, size_t n, unsigned int flags) noexcept
    int pipe2(int* fds, int flags) noexcept
    int file_open "open"(const char* path, int flags, int mode) noexcept
    int fcntl(int fd, int cmd, int arg) noexcept
    enum:
        O_RDWR, O_WRONLY, O_APPEND, O_CREAT, O_EXCL, O_NONBLOCK, O_CLOEXEC, F_GETFL, F_SETPIPE_SZ
        SPLICE_F_MOVE, SPLICE_F_NONBLOCK
        O_RDONLY, O_NOCTTY

cdef extern from "<sys/sendfile.h>" nogil:
    ssize_t sendfile(int to, int frm, int64_t* at, size_t n) noexcept

cdef extern from "<sys/types.h>" nogil:
    ctypedef unsigned int socklen_t

cdef extern from "<sys/socket.h>" nogil:
    struct sockaddr:
        unsigned short sa_family
    struct linger:
        int l_onoff
        int l_linger
    int socket(int family, int kind, int proto) noexcept
    int connect(int fd, const sockaddr* sa, socklen_t n) noexcept
    int accept4(int fd, sockaddr* sa, socklen_t* n, int flags) noexcept
    ssize_t recv(int fd, void* p, size_t n, int flags) noexcept
    ssize_t send(int fd, const void* p, size_t n, int flags) noexcept
    int shutdown(int fd, int how) noexcept
    int getsockopt(int fd, int level, int name, void* value, socklen_t* n) noexcept
    int setsockopt(int fd, int level, int name, const void* value, socklen_t n) noexcept
    int bind(int fd, const sockaddr* sa, socklen_t n) noexcept
    int getsockname(int fd, sockaddr* sa, socklen_t* n) noexcept
    enum:
        AF_INET, AF_INET6, AF_UNIX, SOCK_STREAM, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_CLOEXEC, SOL_SOCKET, SO_ERROR, SO_KEEPALIVE
        SO_LINGER, SO_RCVBUF, SO_SNDBUF
        SHUT_WR, SHUT_RDWR, MSG_NOSIGNAL, MSG_PEEK, MSG_DONTWAIT, MSG_MORE

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        uint32_t s_addr
    struct in6_addr:
        uint8_t s6_addr[16]
    struct sockaddr_in:
        unsigned short sin_family
        uint16_t sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        unsigned short sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr
        uint32_t sin6_scope_id
    uint16_t ntohs(uint16_t x) noexcept
    uint16_t htons(uint16_t x) noexcept
    enum:
        IPPROTO_TCP, IPPROTO_IP, IPPROTO_IPV6, IP_TRANSPARENT, IPV6_TRANSPARENT, IP_BIND_ADDRESS_NO_PORT

cdef extern from "<netinet/tcp.h>" nogil:
    enum:
        TCP_NODELAY, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT

cdef extern from "<arpa/inet.h>" nogil:
    const char* inet_ntop(int family, const void* addr, char* out, socklen_t n) noexcept
    int inet_pton(int family, const char* text, void* out) noexcept

cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long what, ...) noexcept

cdef extern from "<linux/sockios.h>" nogil:
    enum:
        SIOCOUTQ            # bytes sent and not yet acknowledged

cdef extern from "<sys/un.h>" nogil:
    struct sockaddr_un:
        unsigned short sun_family
        char sun_path[108]

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* fds, unsigned long n, int ms) noexcept
    enum:
        POLLOUT

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data:
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data data
    int epoll_create1(int flags) noexcept
    int epoll_ctl(int ep, int op, int fd, epoll_event* ev) noexcept
    int epoll_wait(int ep, epoll_event* ev, int n, int timeout) noexcept
    enum:
        EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP
        EPOLL_CLOEXEC
    const uint32_t EPOLLET
    const uint32_t EPOLLEXCLUSIVE

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int n, int flags) noexcept
    enum:
        EFD_NONBLOCK, EFD_CLOEXEC, EFD_SEMAPHORE

cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    int sigemptyset(sigset_t* s) noexcept
    int sigaddset(sigset_t* s, int sig) noexcept
    int kill(int pid, int sig) noexcept
    enum:
        SIGTERM, SIGINT, SIGQUIT

cdef extern from "<sys/signalfd.h>" nogil:
    struct signalfd_siginfo:
        uint32_t ssi_signo
        uint32_t ssi_pid
    int signalfd(int fd, const sigset_t* mask, int flags) noexcept
    enum:
        SFD_NONBLOCK, SFD_CLOEXEC

cdef extern from * nogil:
    """
    #define lb_atomic_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define lb_atomic_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    static inline void *lb_atomic_swap(void **p, void *v) { return __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL); }
    static inline int lb_atomic_push(void **head, void *item, void **next) {
        void *old = __atomic_load_n(head, __ATOMIC_RELAXED);
        do { *next = old; } while (!__atomic_compare_exchange_n(head, &old, item, 1, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
        return old == 0;
    }
    static inline int lb_atomic_swap_if(uint64_t *p, uint64_t was, uint64_t now) {
        return __atomic_compare_exchange_n(p, &was, now, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    }
    static inline int lb_ctz64(unsigned long long x) { return __builtin_ctzll(x); }
    static inline int lb_clz64(unsigned long long x) { return __builtin_clzll(x); }
    """
    uint64_t lb_atomic_load(uint64_t* p) noexcept
    void lb_atomic_store(uint64_t* p, uint64_t v) noexcept
    void* lb_atomic_swap(void** p, void* v) noexcept
    bint lb_atomic_swap_if(uint64_t* p, uint64_t was, uint64_t now) noexcept
    int lb_atomic_push(void** head, void* item, void** next) noexcept
    int lb_ctz64(uint64_t x) noexcept
    int lb_clz64(uint64_t x) noexcept
