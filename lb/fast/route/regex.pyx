"""Regular expressions by PCRE2: compiled with JIT when the configuration is read, matched with limits.

    regex_check   (Python) is it one? its named captures; lb/config asks this, so that errors get their file and line
    compile_regex     compiled once per configuration (compile/), for all workers
    regex_match   for a request: True, and its captures ($1, $2, named ones) are the request's
    regex_gave_up       the request has met an expression that could not say: 500

The limits are PCRE2's own defaults, as in nginx: what matches there matches here. They bound the time of a match (measured in
doc/limits.md). An expression that reaches one says neither yes nor no, so nothing may follow from it: regex_match logs it and
sets RQ_GAVE_UP, and whoever would act on the request next (reply_status, reply_send, rewrite_run, locate, request_handle_by,
up_start, the writers of heads) answers 500 instead. So does one for which there is no memory. The match data is the loop's,
one for all; captures are offsets, copied into the request's memory.
"""

cdef extern from "pcre.h" nogil:
    ctypedef struct pcre2_code
    ctypedef struct pcre2_match_data
    ctypedef struct pcre2_match_context
    ctypedef struct pcre2_jit_stack
    pcre2_code* pcre2_compile(const unsigned char* pattern, size_t n, uint32_t options, int* error, size_t* at,
                              void* context) noexcept
    void* pcre2_general_context_create(void* (*need)(size_t n, void* data) noexcept,
                                       void (*free)(void* at, void* data) noexcept, void* data) noexcept
    void* pcre2_compile_context_create(void* general) noexcept
    int pcre2_jit_compile(pcre2_code* code, uint32_t options) noexcept
    void pcre2_code_free(pcre2_code* code) noexcept
    int pcre2_pattern_info(const pcre2_code* code, uint32_t what, void* where) noexcept
    pcre2_match_data* pcre2_match_data_create(uint32_t pairs, void* context) noexcept
    void pcre2_match_data_free(pcre2_match_data* data) noexcept
    pcre2_match_context* pcre2_match_context_create(void* context) noexcept
    void pcre2_match_context_free(pcre2_match_context* context) noexcept
    pcre2_jit_stack* pcre2_jit_stack_create(size_t start, size_t most, void* context) noexcept
    void pcre2_jit_stack_free(pcre2_jit_stack* stack) noexcept
    void pcre2_jit_stack_assign(pcre2_match_context* context, void* callback, void* stack) noexcept
    int pcre2_match(const pcre2_code* code, const unsigned char* subject, size_t n, size_t start, uint32_t options,
                    pcre2_match_data* data, pcre2_match_context* context) noexcept
    size_t* pcre2_get_ovector_pointer(pcre2_match_data* data) noexcept
    int pcre2_get_error_message(int error, unsigned char* text, size_t n) noexcept
    int pcre2_set_match_limit(pcre2_match_context* context, uint32_t most) noexcept
    int pcre2_set_heap_limit(pcre2_match_context* context, uint32_t kib) noexcept
    enum:
        PCRE2_CASELESS, PCRE2_JIT_COMPLETE, PCRE2_NO_JIT, PCRE2_ERROR_NOMATCH, PCRE2_ERROR_JIT_STACKLIMIT
        PCRE2_INFO_CAPTURECOUNT, PCRE2_INFO_NAMECOUNT, PCRE2_INFO_NAMEENTRYSIZE, PCRE2_INFO_NAMETABLE

cdef enum:
    JIT_STACK = 524288          # bytes at most; what needs more is interpreted, on the heap
    CHECKER_MATCH = 10000       # backtracks from each place, and KiB of heap, in the process that asks all servers: what one of
    CHECKER_HEAP = 1024         # them answers shall not hold up the others


def regex_check(str pattern, bint caseless=False):
    """(number of groups, ((name, group), ...)) of a regular expression. Raises ValueError with nginx's text."""
    cdef bytes text = os.fsencode(pattern)
    cdef pcre2_code* code = regex_compile(text, caseless)
    cdef uint32_t groups = 0
    pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &groups)
    names = regex_names(code)
    pcre2_code_free(code)
    return groups, names


cdef pcre2_code* regex_compile(bytes text, bint caseless, void* context=NULL) except NULL:
    """In memory of `context` (a pcre2_compile_context)."""
    cdef int error = 0
    cdef size_t at = 0
    cdef unsigned char message[256]
    cdef uint32_t options = PCRE2_CASELESS if caseless else 0
    cdef pcre2_code* code = pcre2_compile(<unsigned char*> text, len(text), options, &error, &at, context)
    if code == NULL:
        pcre2_get_error_message(error, message, sizeof(message))
        said = f'pcre2_compile() failed: {(<char*> message).decode()} in "{os.fsdecode(text)}"'
        raise ValueError(said if at >= <size_t> len(text) else f'{said} at "{os.fsdecode(text[at:])}"')
    return code


cdef tuple regex_names(pcre2_code* code):
    """PCRE2's table: entries of one size, each a big-endian group number and a name that ends with NUL."""
    cdef uint32_t n = 0, size = 0, i
    cdef unsigned char* table = NULL
    pcre2_pattern_info(code, PCRE2_INFO_NAMECOUNT, &n)
    pcre2_pattern_info(code, PCRE2_INFO_NAMEENTRYSIZE, &size)
    pcre2_pattern_info(code, PCRE2_INFO_NAMETABLE, &table)
    found = []
    for i in range(n):
        found.append(((<char*> table + i * size + 2).decode("ascii", "replace"), table[i * size] << 8 | table[i * size + 1]))
    return tuple(found)


cdef int regex_init(uint32_t groups) except -1:
    """The loop's match data (room for that many groups). The match context has PCRE2's own limits."""
    cdef pcre2_match_context* context = pcre2_match_context_create(NULL)
    loop.max_groups = groups + 1
    loop.match_data = pcre2_match_data_create(loop.max_groups, NULL)
    loop.jit_stack = pcre2_jit_stack_create(32768, JIT_STACK, NULL)
    loop.match_context = context
    if context == NULL or loop.match_data == NULL:
        raise MemoryError()
    if loop.jit_stack != NULL:
        pcre2_jit_stack_assign(context, NULL, loop.jit_stack)
    return 0


cdef void regex_limit() noexcept:
    """We are the checker."""
    pcre2_set_match_limit(<pcre2_match_context*> loop.match_context, CHECKER_MATCH)
    pcre2_set_heap_limit(<pcre2_match_context*> loop.match_context, CHECKER_HEAP)


cdef int regex_drop() except -1:
    """Frees what regex_init made."""
    if loop.match_context == NULL:
        return 0
    pcre2_match_data_free(<pcre2_match_data*> loop.match_data)
    pcre2_match_context_free(<pcre2_match_context*> loop.match_context)
    if loop.jit_stack != NULL:
        pcre2_jit_stack_free(<pcre2_jit_stack*> loop.jit_stack)
    return 0


cdef bint regex_match(Request* r, Regex* re, char* p, uint32_t n) noexcept nogil:
    """Does it match? Then the captures are parts of p, which must live as long as the request. False and RQ_GAVE_UP: unknown."""
    cdef size_t* at
    cdef uint32_t i
    cdef int rc
    if p == NULL:
        p = b""
    rc = regex_run(re, p, n, 0)
    if rc == PCRE2_ERROR_JIT_STACKLIMIT:
        rc = regex_run(re, p, n, PCRE2_NO_JIT)
    if rc == PCRE2_ERROR_NOMATCH:
        return False
    if rc <= 0:
        regex_log(r, re, rc)
        r.flags |= RQ_GAVE_UP
        return False
    if r.captures == NULL:
        r.captures = <uint32_t*> request_memory(r, loop.max_groups * 2 * sizeof(uint32_t))
        if r.captures == NULL:
            r.flags |= RQ_GAVE_UP
            return False
    at = pcre2_get_ovector_pointer(<pcre2_match_data*> loop.match_data)
    for i in range(2 * <uint32_t> rc):
        r.captures[i] = <uint32_t> at[i]
    r.ncaptures = <uint32_t> rc
    r.subject = p
    for i in range(re.nnames):
        var_slot_put(r, re.slots[i], var_capture_text(r, re.nums[i]))
    return True


cdef int regex_run(Regex* re, const char* p, uint32_t n, uint32_t options) noexcept nogil:
    """pcre2_match with the loop's match data."""
    return pcre2_match(<pcre2_code*> re.code, <unsigned char*> p, n, 0, options, <pcre2_match_data*> loop.match_data,
                       <pcre2_match_context*> loop.match_context)


cdef bint regex_gave_up(Request* r) noexcept nogil:
    """True: an expression has given up, and the request got its 500 for it (a session its end): it goes on no other way."""
    if not r.flags & RQ_GAVE_UP:
        return False
    if r.flags & RQ_TCP:
        r.status = 500
        tcp_end(r)
    else:
        reply_status(r, 500)
    return True


cdef void regex_log(Request* r, Regex* re, int error) noexcept nogil:
    """pcre2_match() failed: -47 using "PATTERN" in FILE:LINE"""
    cdef Out o
    if not error_begin(&o, error_logs_of(r), LOG_ERR):
        return
    error_connection(&o, r.client)
    out_text(&o, b"pcre2_match() failed: ")
    out_int(&o, error)
    out_text(&o, b" using \"")
    out_escaped(&o, re.text.p, re.text.n if re.text.n < 512 else 512)
    out_text(&o, b"\" in ")
    out_str(&o, re.where)
    error_context(&o, r)
    error_end(&o, error_logs_of(r), LOG_ERR)
