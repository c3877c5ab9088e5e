"""Who may come in: allow and deny, for requests and for sessions.

    handle -> admitted (http: 403 by the location's rules)      tcp_begin -> admitted (stream: status 403 and the end)
"""


cdef bint admitted(Request* r, Cidrs* rules) noexcept nogil:
    """By the first rule that fits the client; logs a refusal."""
    cdef Conn* c = r.client
    cdef Cidr* found = cidr_find(rules, c.addr, c.addr_len)
    if found == NULL or not found.deny:
        return True
    log_request(LOG_ERR, r, b"access forbidden by rule", 0, b"")
    return False
