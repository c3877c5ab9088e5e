"""Name and password of `Authorization: Basic` (RFC 7617), and the line of a file of passwords that is the name's."""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from lb.fast.types cimport Str
from lb.fast.c.sys cimport memchr, memcmp, strncasecmp


cdef inline int auth_base64_digit(unsigned char c) noexcept nogil:
    """-1: none."""
    if 65 <= c <= 90:
        return c - 65
    if 97 <= c <= 122:
        return c - 71
    if 48 <= c <= 57:
        return c + 4
    return 62 if c == 43 else 63 if c == 47 else -1


cdef inline int32_t auth_base64(const char* p, uint32_t n, char* to) noexcept nogil:
    """Decode to at most n bytes; how many. -1: it is none. What follows a `=` does not count, as in nginx."""
    cdef uint32_t i, bits = 0, have = 0
    cdef int32_t made = 0
    cdef int d
    for i in range(n):
        if p[i] == c"=":
            n = i
            break
        d = auth_base64_digit(<unsigned char> p[i])
        if d < 0:
            return -1
        bits = (bits << 6 | <uint32_t> d) & 0xFFFF
        have += 6
        if have >= 8:
            have -= 8
            to[made] = <char> ((bits >> have) & 255)
            made += 1
    return -1 if n % 4 == 1 else made


cdef inline bint auth_credentials(Str field, char* room, Str* user, Str* password) noexcept nogil:
    """Of the field's value, into `room` (field.n bytes); behind the name lies its colon. False: there are none."""
    cdef const char* p = field.p
    cdef char* colon
    cdef uint32_t n = field.n
    cdef int32_t made
    if n < 6 or strncasecmp(p, b"Basic ", 6) != 0:
        return False
    p += 6
    n -= 6
    while n and p[0] == 32:
        p += 1
        n -= 1
    made = auth_base64(p, n, room)
    if made <= 0:
        return False
    colon = <char*> memchr(room, c":", made)
    if colon == NULL or colon == room:
        return False
    user.p = room
    user.n = <uint32_t> (colon - room)
    password.p = colon + 1
    password.n = <uint32_t> (room + made - colon - 1)
    return True


cdef inline Str auth_line(const char* p, uint32_t n, const char* user, uint32_t user_n) noexcept nogil:
    """NAME:HASH[:COMMENT] of this name, in a file of n bytes: its hash; p NULL: it has none. Lines that begin with # are
    comments."""
    cdef const char* end = p + n
    cdef const char* line = p
    cdef const char* last
    cdef Str found
    found.p = NULL
    found.n = 0
    while line < end:
        last = <const char*> memchr(line, 10, end - line)
        if last == NULL:
            last = end
        if (line[0] != c"#" and line[0] != 13 and last - line > user_n and memcmp(line, user, user_n) == 0
                and line[user_n] == c":"):
            found.p = <char*> line + user_n + 1
            while found.p + found.n < last and found.p[found.n] != c":" and found.p[found.n] != 13:
                found.n += 1
            return found
        line = last + 1
    return found
