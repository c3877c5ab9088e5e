"""What the fuzzer runs: one input through one pure room, and all that must hold of the answer. abort() when not.

An input is: room (its last two bits; the next one: lenient), two bytes that choose a split, then the text. The text is
copied to a block of exactly its size, so that the address sanitizer sees a byte read past either end. Built by
tests/fuzz/__main__.py; `fuzz_one` has libFuzzer's signature but for the name.
"""

from libc.stdint cimport uint8_t, uint32_t
from lb.fast.message.h1.chunk cimport chunk_decode
from lb.fast.message.h1.head cimport head_parse_request as parse_request, head_parse_response as parse_response
from lb.fast.message.h1.rules cimport rule_status, rule_text
from lb.fast.c.simd cimport LB_TCHAR, LB_VALUE, lb_scan_class
from lb.fast.c.sys cimport abort, free, malloc, memcmp, memcpy, memset
from lb.fast.types cimport (
    Chunked, Field, H_CHUNKED, H_HAS_HOST, Head, LX_ANSWER, LX_BYTES, LX_CODING, LX_LF, LX_REQUEST, P_BAD, P_DONE,
    P_MORE, R_COUNT, R_NONE,
)
from lb.fast.message.h1.uri cimport uri_escape, uri_normalise

cdef enum:
    FIELDS = 12             # few, so that inputs reach the limit


cdef inline void must(bint holds) noexcept nogil:
    if not holds:
        abort()


cdef inline char* copy_of(const char* p, uint32_t n) noexcept nogil:
    cdef char* made = <char*> malloc(n)
    if n > 0:
        memcpy(made, p, n)
    return made


cdef public int fuzz_one(const uint8_t* data, size_t n) noexcept nogil:
    cdef const char* text = <const char*> data + 3
    cdef uint32_t size, cut
    if n < 3 or n > 1 << 20:
        return 0
    size = <uint32_t> n - 3
    cut = (data[1] << 8 | data[2]) % (size + 1)
    if data[0] % 4 == 0:
        check_head(text, size, cut, False, LX_REQUEST if data[0] & 4 else 0)
    elif data[0] % 4 == 1:
        check_head(text, size, cut, True, LX_ANSWER if data[0] & 4 else 0)
    elif data[0] % 4 == 2:
        check_chunks(text, size, cut, data[0] & 4 != 0)
    else:
        check_path(text, size, True)
        check_path(text, size, False)
    return 0


# ---------------------------------------------------------------- heads

cdef int parse(const char* p, uint32_t n, Head* h, Field* fields, bint response, uint8_t lenient) noexcept nogil:
    """From a copy that ends where the text ends; what the caller does not set is not zero."""
    cdef char* text = copy_of(p, n)
    cdef int result
    memset(h, 0xa5, sizeof(Head))
    h.fields = fields
    h.max_fields = FIELDS
    h.max_target = 0
    h.lenient = lenient
    result = parse_response(text, n, h) if response else parse_request(text, n, h)
    free(text)
    return result


cdef void check_head(const char* p, uint32_t n, uint32_t cut, bint response, uint8_t lenient) noexcept nogil:
    cdef Field* fields = <Field*> malloc(FIELDS * sizeof(Field))
    cdef Field* fields_of_part = <Field*> malloc(FIELDS * sizeof(Field))
    cdef Head h, part
    cdef int whole = parse(p, n, &h, fields, response, lenient)
    cdef int before = parse(p, cut, &part, fields_of_part, response, lenient)
    if before == P_BAD:                     # refused is refused, whatever follows
        must(whole == P_BAD and h.rule == part.rule and h.error_at == part.error_at)
    elif before == P_DONE:
        must(whole == P_DONE and h.size == part.size and h.flags == part.flags)
    else:
        must(whole != P_DONE or cut < h.size)
    if whole == P_BAD:
        must(R_NONE < h.rule < R_COUNT and rule_text(h.rule)[0] != 0)
        must(h.error == (502 if response else rule_status(h.rule)))
        must(h.error_at < n and h.error_name + h.error_name_len <= n)
    elif whole == P_DONE:
        check_whole(p, n, &h, response)
        check_written_anew(p, &h, fields_of_part, response)
    if lenient:
        check_lenience(whole, &h, parse(p, n, &part, fields_of_part, response, 0), &part)
    free(fields)
    free(fields_of_part)


cdef void check_lenience(int whole, Head* h, int strict, Head* s) noexcept nogil:
    """What the strict parser takes, the lenient one reads as it does; what that waits for, it does not refuse."""
    if strict == P_DONE:
        must(whole == P_DONE and h.lax == 0 and h.size == s.size and h.flags == s.flags and h.nfields == s.nfields)
    must(strict != P_MORE or whole == P_MORE)
    must(strict != P_BAD or whole != P_DONE or h.lax != 0)


cdef bint plain_end(const char* p, Head* h) noexcept nogil:
    if h.lax & LX_LF:
        return p[h.size - 1] == c"\n"
    return h.size >= 4 and memcmp(p + h.size - 4, b"\r\n\r\n" if h.nfields > 0 else b"\r\n", 2) == 0


cdef bint plain_value(const uint8_t* s, uint32_t n, Head* h) noexcept nogil:
    cdef uint32_t i
    if not h.lax & LX_BYTES:
        return lb_scan_class(s, s + n, LB_VALUE) == s + n
    for i in range(n):
        if s[i] in (0, 10, 13):
            return False
    return True


cdef void check_whole(const char* p, uint32_t n, Head* h, bint response) noexcept nogil:
    cdef const uint8_t* s = <const uint8_t*> p
    cdef Field* f
    cdef uint32_t i
    must(h.size <= n and plain_end(p, h) and (h.lax & ~h.lenient) == 0)
    must(not (h.flags & H_CHUNKED and h.content_length >= 0))
    must(h.content_length >= -1 and h.minor <= 1)
    must(h.target + h.target_len <= h.size)
    if response:
        must(100 <= h.status <= 999)
    else:
        must(h.minor == 0 or h.flags & H_HAS_HOST)
        must(h.flags & H_HAS_HOST == 0 or 0 < h.host_len <= h.authority_len)
        must(h.target_len > 0)
        must(h.path_len == 0 or h.target <= h.path <= h.path + h.path_len == h.target + h.target_len)
    for i in range(h.nfields):
        f = &h.fields[i]
        must(f.name_len > 0 and f.name + f.name_len < f.value + 1)
        must(f.value + f.value_len + (2 if h.lax & LX_LF else 4) <= h.size)
        must(lb_scan_class(s + f.name, s + f.name + f.name_len, LB_TCHAR) == s + f.name + f.name_len)
        must(plain_value(s + f.value, f.value_len, h))


cdef inline char* put(char* w, const char* p, uint32_t n) noexcept nogil:
    cdef uint32_t i
    memcpy(w, p, n)
    for i in range(n):                      # what proxy_lenient took
        if (0 <= w[i] < 32 and w[i] not in (9, 10, 13)) or w[i] == 127:
            w[i] = 32
    return w + n


cdef void check_written_anew(const char* p, Head* h, Field* fields, bint response) noexcept nogil:
    """The head that lb would write says the same."""
    cdef char* text = <char*> malloc(h.size + 32 + 4 * h.nfields)
    cdef char* w = text
    cdef Head again
    cdef Field* f
    cdef uint32_t i
    if response:
        w = put(w, b"HTTP/1.1 " if h.minor or h.lax & LX_CODING else b"HTTP/1.0 ", 9)
        w[0] = <char> (48 + h.status // 100)
        w[1] = <char> (48 + h.status // 10 % 10)
        w[2] = <char> (48 + h.status % 10)
        w = put(put(put(w + 3, b" ", 1), p + h.target, h.target_len), b"\r\n", 2)
    else:
        w = put(put(w, p + h.start, h.method_len), b" ", 1)
        w = put(put(w, p + h.target, h.target_len), b" HTTP/1.1\r\n" if h.minor else b" HTTP/1.0\r\n", 11)
    for i in range(h.nfields):
        f = &h.fields[i]
        w = put(put(put(w, p + f.name, f.name_len), b": ", 2), p + f.value, f.value_len)
        w = put(w, b"\r\n", 2)
    w = put(w, b"\r\n", 2)
    must(parse(text, <uint32_t> (w - text), &again, fields, response, 0) == P_DONE)
    must(again.size == <uint32_t> (w - text) and again.nfields == h.nfields)
    must(again.content_length == h.content_length and (again.flags ^ h.flags) & H_CHUNKED == 0)
    if h.lax & (LX_BYTES | LX_CODING):
        free(text)
        return
    must(again.flags == h.flags and again.target_len == h.target_len and again.status == h.status)
    must(again.method == h.method and again.host_len == h.host_len and again.minor == h.minor)
    must(h.host_len == 0 or memcmp(text + again.host, p + h.host, h.host_len) == 0)
    for i in range(h.nfields):
        must(fields[i].id == h.fields[i].id and fields[i].flags == h.fields[i].flags)
        must(fields[i].name_len == h.fields[i].name_len and fields[i].value_len == h.fields[i].value_len)
    free(text)


# ---------------------------------------------------------------- chunks

ctypedef struct Decoded:
    int result
    uint8_t rule
    uint32_t used
    uint32_t size
    char* data


cdef Decoded decode(const char* p, uint32_t n, uint32_t first, uint32_t step, bint lenient) noexcept nogil:
    """In pieces: the first has `first` bytes, the others `step`."""
    cdef Decoded d
    cdef Chunked state
    cdef char* piece
    cdef uint32_t take, used = 0, out_len = 0
    memset(&state, 0, sizeof(Chunked))
    state.lenient = lenient
    d.result = P_MORE
    d.used = 0
    d.size = 0
    d.data = <char*> malloc(n)
    while d.result == P_MORE and d.used < n:
        take = first if d.used == 0 and first > 0 else step
        if take > n - d.used:
            take = n - d.used
        piece = copy_of(p + d.used, take)
        d.result = chunk_decode(&state, piece, take, &used, &out_len)
        must(used <= take and out_len <= used and (d.result != P_MORE or used == take))
        memcpy(d.data + d.size, piece, out_len)
        d.size += out_len
        d.used += used
        free(piece)
    must(state.total == d.size)
    d.rule = state.bad
    return d


cdef void check_chunks(const char* p, uint32_t n, uint32_t cut, bint lenient) noexcept nogil:
    cdef Decoded whole = decode(p, n, n, 1, lenient)
    cdef Decoded halves = decode(p, n, cut, n, lenient)
    cdef Decoded bytes_ = decode(p, n, 1, 1, lenient)
    cdef Decoded strict = decode(p, n, n, 1, False)
    must(strict.result == P_BAD or same(&whole, &strict))
    free(strict.data)
    must(same(&whole, &halves) and same(&whole, &bytes_))
    must((whole.result == P_BAD) == (whole.rule != R_NONE))
    free(whole.data)
    free(halves.data)
    free(bytes_.data)


cdef bint same(Decoded* a, Decoded* b) noexcept nogil:
    return (
        a.result == b.result and a.rule == b.rule and a.used == b.used and a.size == b.size
        and memcmp(a.data, b.data, a.size) == 0
    )


# ---------------------------------------------------------------- paths

cdef void check_path(const char* p, uint32_t n, bint merge) noexcept nogil:
    cdef char* text = copy_of(p, n)
    cdef char* out = <char*> malloc(n)
    cdef char* escaped
    cdef char* again
    cdef uint32_t size = 0, args = 0, escaped_size, again_size = 0
    if uri_normalise(text, n, out, &size, &args, merge) == P_DONE:
        must(0 < size <= n and args <= n)
        must(args == 0 or text[args - 1] == c"?")
        check_normal(out, size, merge)
        escaped = <char*> malloc(3 * size)
        escaped_size = uri_escape(out, size, escaped)
        again = <char*> malloc(escaped_size)
        must(escaped_size <= 3 * size)
        must(uri_normalise(escaped, escaped_size, again, &again_size, &args, merge) == P_DONE)
        must(args == 0 and again_size == size and memcmp(again, out, size) == 0)
        free(escaped)
        free(again)
    else:
        must(size <= n and R_NONE < args < R_COUNT)
    free(text)
    free(out)


cdef void check_normal(const char* out, uint32_t n, bint merge) noexcept nogil:
    """A path from the root without NUL and dot segments; without empty segments where they were merged."""
    cdef uint32_t i, segment = 0
    must(out[0] == c"/")
    for i in range(n + 1):
        if i < n:
            must(out[i] != 0)
        if i == n or out[i] == c"/":
            must(not merge or i == 0 or i == n or segment > 0)
            must(segment != 1 or out[i - 1] != c".")
            must(segment != 2 or out[i - 1] != c"." or out[i - 2] != c".")
            segment = 0
        else:
            segment += 1
