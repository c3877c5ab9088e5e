"""What proxy_lenient takes of a server's head beyond the parsers (Lax): made clean, and told of where it is off.

    response_head -> response_clean_values: of a head that was taken
                  -> response_lenient_reads: for the log line of one that was refused
"""


cdef void response_clean_values(char* p, Head* h) noexcept nogil:
    """Control bytes that proxy_lenient took become spaces (RFC 9110 section 5.5): what is written anew has none."""
    cdef uint32_t i
    cdef Field* f
    response_spaces_for_controls(p + h.target, h.target_len)
    for i in range(h.nfields):
        f = &h.fields[i]
        response_spaces_for_controls(p + f.value, f.value_len)
        while f.value_len and p[f.value] == 32:
            f.value += 1
            f.value_len -= 1
        while f.value_len and p[f.value + f.value_len - 1] == 32:
            f.value_len -= 1


cdef void response_spaces_for_controls(char* p, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        if not lb_class[<uint8_t> p[i]] & LB_VALUE:
            p[i] = 32


cdef bint response_lenient_reads(const char* p, uint32_t n, Head* h) noexcept nogil:
    """Would proxy_lenient have taken this refused head, as far as it is here?"""
    cdef Head again
    again.fields = h.fields
    again.max_fields = h.max_fields
    again.max_target = 0
    again.lenient = LX_ANSWER
    return head_parse_response(p, n, &again) != P_BAD
