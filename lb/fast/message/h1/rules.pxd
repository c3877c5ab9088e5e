"""What each Rule means, for the error log: `client sent <rule_refusal_text>: <rule_text> at byte <error_at>`.

The heads' parser, the chunk decoder and the path normaliser name a Rule when they refuse; nobody else makes one.
"""

from libc.stdint cimport uint16_t
from lb.fast.types cimport (
    R_CHUNK_END, R_CHUNK_EXT, R_CHUNK_EXT_LONG, R_CHUNK_LINE, R_CHUNK_SIZE, R_CHUNK_SIZE_LONG, R_CODING, R_CODING_10,
    R_CODING_NOT_LAST, R_CODING_TWICE, R_CODING_UNKNOWN, R_CONNECTION, R_CONNECTION_MANY, R_CONNECTION_NAMES,
    R_EMPTY_LINES, R_END_CR, R_EXPECT, R_EXPECT_TWICE, R_FIELDS, R_FOLDED, R_HOST, R_HOST_MISSING, R_HOST_TWICE,
    R_INTERIM_BODY, R_LENGTH, R_LENGTH_AND_CODING, R_LENGTH_TWICE, R_LINE_CR, R_LINE_LF, R_METHOD_BYTE, R_METHOD_LONG,
    R_METHOD_REFUSED, R_NAME_BYTE, R_NAME_EMPTY, R_NAME_LONG, R_NAME_SPACE, R_NO_COLON, R_NO_VERSION,
    R_PATH_ABOVE_ROOT, R_PATH_NUL, R_PATH_START, R_REASON_BYTE, R_SPACE_FIRST, R_STATUS_CODE, R_TARGET_BYTE,
    R_TARGET_FORM, R_TARGET_FRAGMENT, R_TARGET_HOST, R_TARGET_LONG, R_TARGET_PERCENT, R_TRAILER_LONG, R_VALUE_BYTE,
    R_VALUE_CR, R_VALUE_LF, R_VALUE_NUL, R_VERSION, R_VERSION_MAJOR,
)


cdef inline const char* rule_text(int rule) noexcept nogil:
    """The rule that was broken, in the words of the RFCs; "" for R_NONE. Static text."""
    if rule < R_NAME_EMPTY:
        return rule_line_text(rule)
    if rule < R_HOST_MISSING:
        return rule_field_text(rule)
    if rule < R_CHUNK_SIZE:
        return rule_meaning_text(rule)
    return rule_body_text(rule)


cdef inline const char* rule_line_text(int rule) noexcept nogil:
    """Request line and status line."""
    if rule == R_EMPTY_LINES:
        return b"too many empty lines before the request line"
    elif rule == R_METHOD_BYTE:
        return b"invalid byte in method"
    elif rule == R_METHOD_LONG:
        return b"method too long"
    elif rule == R_METHOD_REFUSED:
        return b"method CONNECT or TRACE"
    elif rule == R_TARGET_FORM:
        return b"target is neither a path nor http://"
    elif rule == R_TARGET_BYTE:
        return b"invalid byte in target"
    elif rule == R_TARGET_PERCENT:
        return b"percent sign without two hex digits in target"
    elif rule == R_TARGET_FRAGMENT:
        return b"fragment in target"
    elif rule == R_TARGET_LONG:
        return b"target too long"
    elif rule == R_TARGET_HOST:
        return b"invalid host in target"
    elif rule == R_NO_VERSION:
        return b"request line without HTTP version"
    elif rule == R_VERSION:
        return b"invalid HTTP version"
    elif rule == R_VERSION_MAJOR:
        return b"HTTP version other than 1.x"
    elif rule == R_LINE_CR:
        return b"bare CR in first line"
    elif rule == R_LINE_LF:
        return b"bare LF in first line"
    elif rule == R_STATUS_CODE:
        return b"invalid status code"
    elif rule == R_REASON_BYTE:
        return b"invalid byte in reason phrase"
    return b""


cdef inline const char* rule_field_text(int rule) noexcept nogil:
    """Field lines, of heads and of trailer sections."""
    if rule == R_NAME_EMPTY:
        return b"empty field name"
    elif rule == R_NAME_BYTE:
        return b"invalid byte in field name"
    elif rule == R_NAME_SPACE:
        return b"white space after field name"
    elif rule == R_NAME_LONG:
        return b"field name too long"
    elif rule == R_NO_COLON:
        return b"field line without colon"
    elif rule == R_FOLDED:
        return b"folded field line"
    elif rule == R_SPACE_FIRST:
        return b"white space before first field"
    elif rule == R_VALUE_CR:
        return b"bare CR in field value"
    elif rule == R_VALUE_LF:
        return b"bare LF in field value"
    elif rule == R_VALUE_NUL:
        return b"NUL in field value"
    elif rule == R_VALUE_BYTE:
        return b"control byte in field value"
    elif rule == R_END_CR:
        return b"bare CR at end of fields"
    elif rule == R_FIELDS:
        return b"too many fields"
    return b""


cdef inline const char* rule_meaning_text(int rule) noexcept nogil:
    """What the fields of a head say together."""
    if rule == R_HOST_MISSING:
        return b"no Host field in HTTP/1.1"
    elif rule == R_HOST_TWICE:
        return b"more than one Host field"
    elif rule == R_HOST:
        return b"invalid host in Host field"
    elif rule == R_LENGTH:
        return b"invalid Content-Length"
    elif rule == R_LENGTH_TWICE:
        return b"more than one Content-Length field"
    elif rule == R_LENGTH_AND_CODING:
        return b"both Content-Length and Transfer-Encoding"
    elif rule == R_CODING:
        return b"invalid Transfer-Encoding"
    elif rule == R_CODING_TWICE:
        return b"more than one Transfer-Encoding field"
    elif rule == R_CODING_NOT_LAST:
        return b"chunked is not the last transfer coding"
    elif rule == R_CODING_UNKNOWN:
        return b"unknown transfer coding"
    elif rule == R_CODING_10:
        return b"Transfer-Encoding in HTTP/1.0"
    elif rule == R_CONNECTION:
        return b"invalid Connection field"
    elif rule == R_CONNECTION_NAMES:
        return b"Connection names a field that must stay"
    elif rule == R_CONNECTION_MANY:
        return b"too many names in Connection"
    elif rule == R_EXPECT:
        return b"unknown expectation"
    elif rule == R_EXPECT_TWICE:
        return b"more than one Expect field"
    elif rule == R_INTERIM_BODY:
        return b"interim response with a body"
    return b""


cdef inline const char* rule_body_text(int rule) noexcept nogil:
    """Chunked coding, and paths."""
    if rule == R_CHUNK_SIZE:
        return b"invalid chunk size"
    elif rule == R_CHUNK_SIZE_LONG:
        return b"chunk size too long"
    elif rule == R_CHUNK_LINE:
        return b"chunk size line does not end with CRLF"
    elif rule == R_CHUNK_EXT:
        return b"invalid chunk extension"
    elif rule == R_CHUNK_EXT_LONG:
        return b"chunk extensions too long"
    elif rule == R_CHUNK_END:
        return b"chunk data not followed by CRLF"
    elif rule == R_TRAILER_LONG:
        return b"trailer section too long"
    elif rule == R_PATH_NUL:
        return b"NUL in path"
    elif rule == R_PATH_ABOVE_ROOT:
        return b"path leads above the root"
    elif rule == R_PATH_START:
        return b"path does not start with a slash"
    return b""


cdef inline uint16_t rule_status(int rule) noexcept nogil:
    """The status that answers a request which broke this rule (a response that breaks one is always a 502)."""
    if rule == R_TARGET_LONG:
        return 414
    elif rule == R_METHOD_LONG or rule == R_CODING_UNKNOWN:
        return 501
    elif rule == R_METHOD_REFUSED:
        return 405
    elif rule == R_VERSION_MAJOR:
        return 505
    elif rule == R_EXPECT:
        return 417
    return 400


cdef inline const char* rule_refusal_text(int rule, bint upstream) noexcept nogil:
    """nginx's words for it, behind `client sent ` or `upstream sent `: scripts look for them."""
    if rule < R_NAME_EMPTY:
        if upstream:
            return b"no valid HTTP/1.0 header"
        return rule_line_refusal(rule)
    if rule == R_FIELDS:
        return b"too many header lines"
    if rule < R_HOST_MISSING:
        return b"invalid header" if upstream else b"invalid header line"
    if rule == R_HOST_MISSING:
        return b"HTTP/1.1 request without \"Host\" header"
    elif rule == R_HOST_TWICE:
        return b"duplicate host header"
    elif rule == R_HOST:
        return b"invalid host header"
    elif rule == R_LENGTH:
        return b"invalid \"Content-Length\" header"
    elif rule == R_LENGTH_TWICE:
        return b"duplicate header line"
    elif rule == R_LENGTH_AND_CODING:
        return b"\"Content-Length\" and \"Transfer-Encoding\" headers at the same time"
    elif rule == R_CODING_10:
        return b"HTTP/1.0 request with \"Transfer-Encoding\" header"
    elif rule in (R_CODING, R_CODING_TWICE, R_CODING_NOT_LAST, R_CODING_UNKNOWN):
        return b"unknown \"Transfer-Encoding\""
    return b"invalid header" if upstream else b"invalid request"


cdef inline const char* rule_line_refusal(int rule) noexcept nogil:
    if rule <= R_METHOD_LONG:
        return b"invalid method"
    elif rule == R_TARGET_LONG:
        return b"too long URI"
    elif rule == R_TARGET_HOST:
        return b"invalid host in request line"
    elif rule == R_VERSION_MAJOR:
        return b"invalid version"
    return b"invalid request"
