"""Memory of a compiled configuration: a memfd, at the same addresses in the process that fills it and in the one that uses it.

    compile_arena_reserve   addresses, no memory
    compile_arena_open      the process that fills it: the file is mapped there, shared
    compile_arena_need      a zeroed part of it
    compile_arena_seal      it is whole
    compile_arena_take      the process that uses it: mapped there privately, the rest of the addresses is given back
    compile_arena_free

Nothing in it is freed alone.
"""


cdef int compile_arena_failed(str call) except -1:
    raise OSError(errno, os.strerror(errno), call)


cdef void* compile_arena_reserve(size_t* n) except NULL:
    """Where nothing else is. n: how much."""
    cdef void* at
    n[0] = <size_t> ARENA_MOST
    while True:
        at = mmap(NULL, n[0], PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        if at != MAP_FAILED:
            return at
        if n[0] <= ARENA_LEAST:
            n[0] = 0
            compile_arena_failed("mmap()")
        n[0] >>= 1


cdef int compile_arena_open(Conf* conf, size_t most, int fd) except -1:
    if ftruncate(fd, ARENA_GROWS) != 0 or mmap(
            conf, most, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0) == MAP_FAILED:
        compile_arena_failed("memory for a configuration")
    conf.fd = fd
    conf.most = most
    conf.size = ARENA_GROWS
    conf.used = (sizeof(Conf) + 15) & ~<size_t> 15
    return 0


cdef void* compile_arena_need(Conf* conf, size_t n) noexcept nogil:
    """Zeroed; NULL when there is no more."""
    cdef size_t at = conf.used
    cdef size_t end = (at + n + 15) & ~<size_t> 15
    cdef size_t size = conf.size
    if n > conf.most or end > conf.most:
        return NULL
    if end > size:
        size = (end + ARENA_GROWS - 1) & ~(<size_t> ARENA_GROWS - 1)
        if ftruncate(conf.fd, <int64_t> size) != 0:
            return NULL
        conf.size = size
    conf.used = end
    return <char*> conf + at


cdef int compile_arena_seal(Conf* conf, int fd) except -1:
    cdef size_t size = (conf.used + 4095) & ~<size_t> 4095
    if ftruncate(fd, <int64_t> size) != 0:
        compile_arena_failed("memory for a configuration")
    conf.size = size
    conf.sealed = 1
    return 0


cdef int compile_arena_take(Conf* conf, size_t reserved, int fd) except -1:
    cdef size_t size = os.fstat(fd).st_size
    if size < sizeof(Conf):
        raise ValueError("the configuration is not compiled")
    if mmap(conf, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0) == MAP_FAILED:
        compile_arena_failed("memory for a configuration")
    if not conf.sealed or conf.size != size:
        raise ValueError("the configuration is not compiled")
    if size < reserved:
        munmap(<char*> conf + size, reserved - size)
    return 0


cdef void compile_arena_free(Conf* conf) noexcept:
    cdef Regex* re = conf.regexes
    while re != NULL:           # their machine code is not in the arena
        pcre2_code_free(<pcre2_code*> re.code)
        re = re.next
    munmap(conf, conf.size)


# ---- for PCRE2: an expression lies in the arena; what it needs later (its machine code) does not

cdef void* compile_arena_regex_context(Conf* conf) except NULL:
    """A context for pcre2_compile, in the arena."""
    cdef void* general = pcre2_general_context_create(compile_arena_regex_need, compile_arena_regex_free, conf)
    cdef void* made = pcre2_compile_context_create(general) if general != NULL else NULL
    if made == NULL:
        raise MemoryError
    return made


cdef void* compile_arena_regex_need(size_t n, void* conf) noexcept nogil:
    return malloc(n) if (<Conf*> conf).sealed else compile_arena_need(<Conf*> conf, n)


cdef void compile_arena_regex_free(void* at, void* conf) noexcept nogil:
    if <size_t> at < <size_t> conf or <size_t> at >= <size_t> conf + (<Conf*> conf).size:
        free(at)
