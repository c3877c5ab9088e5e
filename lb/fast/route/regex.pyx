"""Regular expressions by PCRE2: compiled with JIT when the configuration is read, matched with limits.

    regex_check   (Python) is it one? its named captures; lb/config asks this, so that errors get their file and line
    compile_regex     compiled once per configuration (compile/), for all workers
    regex_match   for a request: True, and its captures ($1, $2, named ones) are the request's

A match that needs too much work is logged and counts as no match: a client cannot hold a worker with a clever path.
The match data is the loop's, one for all; captures are offsets, copied into the request's memory.
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
    int pcre2_set_match_limit(pcre2_match_context* context, uint32_t limit) noexcept
    int pcre2_set_depth_limit(pcre2_match_context* context, uint32_t limit) noexcept
    int pcre2_set_heap_limit(pcre2_match_context* context, uint32_t kib) noexcept
    pcre2_jit_stack* pcre2_jit_stack_create(size_t start, size_t most, void* context) noexcept
    void pcre2_jit_stack_free(pcre2_jit_stack* stack) noexcept
    void pcre2_jit_stack_assign(pcre2_match_context* context, void* callback, void* stack) noexcept
    int pcre2_match(const pcre2_code* code, const unsigned char* subject, size_t n, size_t start, uint32_t options,
                    pcre2_match_data* data, pcre2_match_context* context) noexcept
    size_t* pcre2_get_ovector_pointer(pcre2_match_data* data) noexcept
    int pcre2_get_error_message(int error, unsigned char* text, size_t n) noexcept
    enum:
        PCRE2_CASELESS, PCRE2_JIT_COMPLETE, PCRE2_ERROR_NOMATCH
        PCRE2_INFO_CAPTURECOUNT, PCRE2_INFO_NAMECOUNT, PCRE2_INFO_NAMEENTRYSIZE, PCRE2_INFO_NAMETABLE

cdef enum:
    MATCH_LIMIT = 100000        # backtracks: about a millisecond
    MATCH_HEAP = 1024           # KiB, where there is no JIT
    JIT_STACK = 524288          # bytes at most


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
    """The loop's match data (room for that many groups) and limits."""
    cdef pcre2_match_context* context = pcre2_match_context_create(NULL)
    loop.max_groups = groups + 1
    loop.match_data = pcre2_match_data_create(loop.max_groups, NULL)
    loop.jit_stack = pcre2_jit_stack_create(32768, JIT_STACK, NULL)
    loop.match_context = context
    if context == NULL or loop.match_data == NULL:
        raise MemoryError()
    pcre2_set_match_limit(context, MATCH_LIMIT)
    pcre2_set_depth_limit(context, MATCH_LIMIT)
    pcre2_set_heap_limit(context, MATCH_HEAP)
    if loop.jit_stack != NULL:
        pcre2_jit_stack_assign(context, NULL, loop.jit_stack)
    return 0


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
    """Does it match? Then the captures are parts of p, which must live as long as the request."""
    cdef size_t* at
    cdef uint32_t i
    cdef int rc
    if p == NULL:
        p = b""
    rc = pcre2_match(<pcre2_code*> re.code, <unsigned char*> p, n, 0, 0, <pcre2_match_data*> loop.match_data,
                     <pcre2_match_context*> loop.match_context)
    if rc == PCRE2_ERROR_NOMATCH:
        return False
    if rc <= 0:
        regex_log(r, re, rc)
        return False
    if r.captures == NULL:
        r.captures = <uint32_t*> request_memory(r, loop.max_groups * 2 * sizeof(uint32_t))
        if r.captures == NULL:
            return False
    at = pcre2_get_ovector_pointer(<pcre2_match_data*> loop.match_data)
    for i in range(2 * <uint32_t> rc):
        r.captures[i] = <uint32_t> at[i]
    r.ncaptures = <uint32_t> rc
    r.subject = p
    for i in range(re.nnames):
        var_slot_put(r, re.slots[i], var_capture_text(r, re.nums[i]))
    return True


cdef void regex_log(Request* r, Regex* re, int error) noexcept nogil:
    cdef Out o
    if not error_begin(&o, error_logs_of(r), LOG_ERR):
        return
    error_connection(&o, r.client)
    out_text(&o, b"pcre2_match() failed: ")
    out_int(&o, error)
    out_text(&o, b" using \"")
    out_escaped(&o, re.text.p, re.text.n if re.text.n < 512 else 512)
    out_char(&o, 34)
    error_context(&o, r)
    error_end(&o, error_logs_of(r), LOG_ERR)
