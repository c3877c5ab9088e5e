"""Answers of Redis and PostgreSQL to a check: does the server live? Pure.

Redis: a line of RESP. PostgreSQL: the first message behind the startup packet (Frontend/Backend Protocol 3.0, "Message Formats").
"""

from libc.stdint cimport uint8_t, uint32_t
from lb.fast.types cimport Str
from lb.fast.c.sys cimport memcmp

cdef enum:
    REDIS_LINE = 512            # bytes of the longest answer to PING
    POSTGRES_MESSAGE = 8192     # of the longest message

cdef enum DatabaseAnswer:
    DB_MORE = 0
    DB_ALIVE = 1
    DB_REFUSES = 2              # `said` is what it says
    DB_INVALID = 3


cdef inline bint database_begins(const char* p, uint32_t n, const char* text, uint32_t size) noexcept nogil:
    return n >= size and memcmp(p, text, size) == 0


cdef inline int redis_answer(const char* p, uint32_t n, uint32_t* size, Str* said) noexcept nogil:
    """To PING. NOAUTH and NOPERM are of a server that lives and does not know us; LOADING, MASTERDOWN and others say no.
    `size`: bytes of the answer."""
    cdef uint32_t i = 0
    if n and p[0] != 43 and p[0] != 45:
        return DB_INVALID
    while i < n and p[i] != 10:
        i += 1
    if i == n:
        return DB_MORE if n < REDIS_LINE else DB_INVALID
    size[0] = i + 1
    if i < 2 or p[i - 1] != 13:
        return DB_INVALID
    if p[0] == 43:
        return DB_ALIVE if i == 6 and database_begins(p, n, b"+PONG\r", 6) else DB_INVALID
    if database_begins(p, i, b"-NOAUTH ", 8) or database_begins(p, i, b"-NOPERM ", 8):
        return DB_ALIVE
    said.p = <char*> p + 1
    said.n = i - 2
    return DB_REFUSES


cdef inline int postgres_answer(const char* p, uint32_t n, Str* said) noexcept nogil:
    """To a startup packet: AuthenticationRequest, or an ErrorResponse that refuses this user. SQLSTATE 57P01 to 57P03 are those
    of a server that starts or stops."""
    cdef const uint8_t* b = <const uint8_t*> p
    cdef uint32_t size
    if n == 0:
        return DB_MORE
    if p[0] != c"R" and p[0] != c"E":
        return DB_INVALID
    if n < 5:
        return DB_MORE
    size = <uint32_t> b[1] << 24 | <uint32_t> b[2] << 16 | <uint32_t> b[3] << 8 | b[4]
    if size < 8 or size > POSTGRES_MESSAGE:
        return DB_INVALID
    if n < 1 + size:
        return DB_MORE
    if p[0] == c"R":
        return DB_ALIVE
    return postgres_error(p + 5, size - 4, said)


cdef inline int postgres_error(const char* p, uint32_t n, Str* said) noexcept nogil:
    """Fields, each a letter and a text with a zero byte behind: S or V severity, C SQLSTATE, M message; a zero byte ends them."""
    cdef uint32_t i = 0, begin
    cdef const char* code = NULL
    cdef bint severe = False
    said.p = NULL
    said.n = 0
    while i < n and p[i]:
        begin = i + 1
        i = begin
        while i < n and p[i]:
            i += 1
        if i == n:
            return DB_INVALID
        if p[begin - 1] == c"C" and i - begin == 5:
            code = p + begin
        elif p[begin - 1] == c"S" or p[begin - 1] == c"V":
            severe = severe or i > begin
        elif p[begin - 1] == c"M":
            said.p = <char*> p + begin
            said.n = i - begin
        i += 1
    if i + 1 != n or code == NULL or not severe:
        return DB_INVALID
    return DB_REFUSES if memcmp(code, b"57P0", 4) == 0 and c"1" <= code[4] <= c"3" else DB_ALIVE
