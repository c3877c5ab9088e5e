"""The ClientHello of TLS, for `ssl_preread`: the server's name, the version and the ALPN protocols that a client asks for.

Source: RFC 8446 4.1.2 and 5.1, RFC 6066 3, RFC 7301; what counts as one and what is refused is nginx's (compared with 1.22). A
record is read when it is whole. Nothing is copied while more may come: places in the client's bytes are kept, and hello_copy
takes the texts out in the end. What is no hello is P_BAD at once: no variable of it is told then, as in nginx.
"""

from libc.stdint cimport uint8_t, uint32_t
from lb.fast.types cimport ClientHello, P_BAD, P_DONE, P_MORE
from lb.fast.c.sys cimport memset

cdef enum HelloField:       # ClientHello.field: what is read next
    HF_HEADER = 0           # type and length of the handshake message
    HF_VERSION, HF_RANDOM, HF_SESSION_LEN, HF_SESSION, HF_SUITES_LEN, HF_SUITES, HF_METHODS_LEN, HF_METHODS
    HF_EXTENSIONS_LEN, HF_EXTENSION, HF_SKIP, HF_NAMES_LEN, HF_NAME_HEAD, HF_NAME, HF_ALPN_LEN, HF_PROTOCOL_LEN, HF_PROTOCOL
    HF_VERSIONS_LEN


cdef inline void hello_begin(ClientHello* h) noexcept nogil:
    memset(h, 0, sizeof(ClientHello))
    h.want = h.left = 4


cdef inline int hello_parse(ClientHello* h, const uint8_t* p, uint32_t n) noexcept nogil:
    """p[0:n]: all that the client has sent so far, from its first byte; h: as the last call left it."""
    cdef uint32_t size
    cdef int rc
    while n - h.at >= 5:
        if p[h.at] & 0x80 and p[h.at + 2] == 1 and (p[h.at + 3] == 0 or p[h.at + 3] == 3):       # of SSLv2
            h.version = <uint32_t> p[h.at + 3] << 8 | p[h.at + 4]
            return P_DONE
        if p[h.at] != 22 or p[h.at + 1] != 3:
            return P_BAD
        size = <uint32_t> p[h.at + 3] << 8 | p[h.at + 4]
        if n - h.at - 5 < size:
            return P_MORE
        rc = hello_record(h, p, h.at + 5, h.at + 5 + size)
        if rc != P_MORE:
            return rc
        h.at += 5 + size
    return P_MORE


cdef inline int hello_record(ClientHello* h, const uint8_t* p, uint32_t i, uint32_t end) noexcept nogil:
    """The content of a record, p[i:end]: field by field. Numbers (four bytes at most) are gathered, the rest is passed over."""
    cdef uint32_t part
    cdef int rc
    while True:
        part = end - i if end - i < h.want else h.want
        h.want -= part
        h.left -= part
        if hello_is_number(h.field):
            while part:
                h.number = h.number << 8 | p[i]
                i += 1
                part -= 1
        i += part
        if h.want:
            return P_MORE
        rc = hello_next(h, i)
        if rc != P_MORE:
            return rc
        h.number = 0
        if h.left < h.want:         # it says that it ends before
            return P_BAD


cdef inline bint hello_is_number(int field) noexcept nogil:
    return field not in (HF_RANDOM, HF_SESSION, HF_SUITES, HF_METHODS, HF_SKIP, HF_NAME, HF_PROTOCOL)


cdef inline void hello_go(ClientHello* h, int field, uint32_t want) noexcept nogil:
    h.field = <uint8_t> field
    h.want = want


cdef inline int hello_next(ClientHello* h, uint32_t at) noexcept nogil:
    """A field has been read, and `at` is where the next byte lies. P_MORE: h says what comes next."""
    cdef int field = h.field
    if field == HF_HEADER:
        if h.number >> 24 != 1:
            return P_BAD
        h.left = h.number & 0xFFFFFF
        hello_go(h, HF_VERSION, 2)
    elif field == HF_VERSION:
        h.version = h.number
        hello_go(h, HF_RANDOM, 32)
    elif field == HF_RANDOM:
        hello_go(h, HF_SESSION_LEN, 1)
    elif field == HF_SESSION:
        hello_go(h, HF_SUITES_LEN, 2)
    elif field == HF_SUITES:
        hello_go(h, HF_METHODS_LEN, 1)
    elif field in (HF_SESSION_LEN, HF_SUITES_LEN, HF_METHODS_LEN):
        hello_go(h, field + 1, h.number)
    elif field == HF_EXTENSIONS_LEN and h.number != h.left:         # they are the end of the message
        return P_BAD
    elif field == HF_METHODS or field == HF_EXTENSIONS_LEN or field == HF_SKIP:
        if h.left == 0:
            return P_DONE
        if field == HF_METHODS:
            hello_go(h, HF_EXTENSIONS_LEN, 2)
        else:
            hello_go(h, HF_EXTENSION, 4)
    elif field == HF_EXTENSION:
        return hello_extension(h, h.number >> 16, h.number & 0xFFFF)
    else:
        return hello_inside(h, at)
    return P_MORE


cdef inline int hello_extension(ClientHello* h, uint32_t kind, uint32_t size) noexcept nogil:
    if (kind == 0 and h.has_name) or (kind == 16 and h.has_alpn):       # RFC 8446 4.2: no extension twice
        return P_BAD
    h.list = size
    if kind == 0:
        hello_go(h, HF_NAMES_LEN, 2)
    elif kind == 16:
        hello_go(h, HF_ALPN_LEN, 2)
    elif kind == 43:
        hello_go(h, HF_VERSIONS_LEN, 1)
    else:
        hello_go(h, HF_SKIP, size)
    return P_MORE


cdef inline int hello_inside(ClientHello* h, uint32_t at) noexcept nogil:
    """The same within the extensions of interest."""
    cdef int field = h.field
    cdef uint32_t size = h.number & 0xFFFF
    if field in (HF_NAMES_LEN, HF_ALPN_LEN, HF_VERSIONS_LEN):       # the list is all that is in the extension
        h.list -= 1 if field == HF_VERSIONS_LEN else 2
        if h.list != size:
            return P_BAD
    if field == HF_NAMES_LEN:
        hello_go(h, HF_NAME_HEAD, 3)
    elif field == HF_NAME_HEAD:             # the first name counts, and it is a host's
        if h.number >> 16 or h.list < 3 or h.list - 3 < size:
            return P_BAD
        h.list -= 3 + size
        h.has_name = 1
        h.name_at = at
        h.name_len = size
        hello_go(h, HF_NAME, size)
    elif field == HF_NAME:
        hello_go(h, HF_SKIP, h.list)
    elif field == HF_ALPN_LEN:
        h.has_alpn = 1
        h.alpn_at = at
        h.alpn_len = size
        hello_go(h, HF_PROTOCOL_LEN, 1)
    elif field == HF_PROTOCOL_LEN:
        if size == 0 or h.list < 1 + size:
            return P_BAD
        h.list -= 1 + size
        hello_go(h, HF_PROTOCOL, size)
    elif field == HF_PROTOCOL:
        hello_go(h, HF_PROTOCOL_LEN if h.list else HF_SKIP, 1 if h.list else 0)
    else:                                   # supported_versions: only TLSv1.3 and later have it
        if size == 0:
            return P_BAD
        h.version = 0x0304
        hello_go(h, HF_SKIP, size)
    return P_MORE


cdef inline uint32_t hello_copy(const uint8_t* p, uint32_t at, uint32_t n, char* out) noexcept nogil:
    """n bytes of the message from p[at] on into `out`, without the heads of the records that they are spread over. p: as for
    hello_parse, which has read past them."""
    cdef uint32_t record = 0, end = 0, done = 0
    while done < n:
        while at >= end:            # the record that `at` lies in; at its very end the text goes on in the next one
            end = record + 5 + (<uint32_t> p[record + 3] << 8 | p[record + 4])
            if at < record + 5:
                at = record + 5
            if at >= end:
                record = end
        out[done] = <char> p[at]
        done += 1
        at += 1
    return n


cdef inline uint32_t hello_alpn(char* list, uint32_t n) noexcept nogil:
    """A ProtocolNameList in place as text, h2,http/1.1; its length."""
    cdef uint32_t i = 0, size
    while i < n:
        size = <uint8_t> list[i]
        list[i] = c","
        i += 1 + size
    return n


cdef inline const char* hello_version(uint32_t version) noexcept nogil:
    """As OpenSSL names it; "": nobody knows it."""
    if version == 2: return b"SSLv2"
    if version == 0x0300: return b"SSLv3"
    if version == 0x0301: return b"TLSv1"
    if version == 0x0302: return b"TLSv1.1"
    if version == 0x0303: return b"TLSv1.2"
    return b"TLSv1.3" if version == 0x0304 else b""
