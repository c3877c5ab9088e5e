"""Variables and values: a compiled value (literals and variables in order) written for one request.

`Value` is made once by compile/compiled.pyx; writing it is a switch per piece, without a look-up by name and without Python. A
reader finds a variable here by the name of its enum: V_REQUEST_URI is $request_uri.
"""

from libc.stdint cimport uint32_t, uint64_t
from lb.fast.io.sockaddr cimport sockaddr_write, sockaddr_write_port
from lb.fast.types cimport (Conn, Env, F_AUTHORIZATION, F_CONTENT_TYPE, F_X_FORWARDED_FOR, FF_BAD_NAME,
                            FF_HOP, Field, Out, Piece, Request, Str, T_ABSOLUTE, Value)
from lb.fast.io.writer cimport (out_char, out_int, out_iso, out_local, out_padded, out_put, out_seconds, out_str, out_text,
                               out_uint)
from lb.fast.auth.basic cimport auth_credentials
from lb.fast.route.variables.client cimport V_CLIENT, var_client
from lb.fast.route.variables.tls cimport V_TLS, var_tls
from lb.fast.route.variables.upstream cimport (V_UPSTREAM, var_missing, var_request_body, var_request_body_file, var_tries,
                                               var_upstream)
from lb.fast.message.h1.uri cimport uri_escape_args
from lb.fast.c.sys cimport (AF_INET, AF_INET6, AF_UNIX, getsockname, memcmp, memset, sockaddr, sockaddr_in, sockaddr_in6,
                            socklen_t, strncasecmp)

cdef enum Variable:
    V_LITERAL = 0
    V_HOST, V_HTTP_, V_ARG_, V_COOKIE_, V_REMOTE_ADDR, V_REMOTE_PORT, V_BINARY_REMOTE_ADDR, V_SERVER_NAME, V_SERVER_PORT
    V_SERVER_ADDR, V_SERVER_PROTOCOL, V_SCHEME, V_REQUEST, V_REQUEST_METHOD, V_REQUEST_URI, V_URI, V_ARGS, V_IS_ARGS
    V_PROXY_HOST, V_PROXY_PORT, V_PROXY_ADD_X_FORWARDED_FOR, V_CONTENT_LENGTH, V_CONTENT_TYPE, V_CONNECTION
    V_CONNECTION_REQUESTS, V_HOSTNAME, V_PID, V_MSEC, V_TIME_ISO8601, V_TIME_LOCAL, V_NGINX_VERSION, V_REQUEST_ID, V_STATUS
    V_BYTES_SENT, V_BODY_BYTES_SENT, V_REQUEST_LENGTH, V_REQUEST_TIME, V_GZIP_RATIO
    V_PROTOCOL, V_BYTES_RECEIVED, V_CONNECTION_TIME, V_PIPE, V_REMOTE_USER, V_REQUEST_PORT, V_IS_REQUEST_PORT
    V_REQUEST_BODY, V_REQUEST_BODY_FILE, V_HTTP2
    V_USER                  # text.n: slot
    V_CAPTURE, V_CAPTURE_ARG    # text.n: group; the latter in the query or URL of a rewrite
    V_DOCUMENT_ROOT, V_REALPATH_ROOT, V_REQUEST_FILENAME    # static/path.pyx


cdef inline Field* var_find_field(Request* r, int field) noexcept nogil:
    """The first field with this FieldId, or NULL."""
    cdef uint32_t i
    for i in range(r.h.nfields):
        if r.h.fields[i].id == field:
            return &r.h.fields[i]
    return NULL


cdef inline Str var_field_value(Request* r, int field) noexcept nogil:
    cdef Field* f = var_find_field(r, field)
    cdef Str s
    s.p = NULL
    s.n = 0
    if f != NULL:
        s.p = r.head + f.value
        s.n = f.value_len
    return s


cdef inline bint var_same_name(const char* field, const char* var, uint32_t n) noexcept nogil:
    """Does this field name match the rest of an $http_ variable: any case, `-` written as `_`?"""
    cdef uint32_t i
    cdef unsigned char c
    for i in range(n):
        c = <unsigned char> field[i]
        if 65 <= c <= 90:
            c += 32
        elif c == 45:
            c = 95
        if c != <unsigned char> var[i]:
            return False
    return True


cdef inline void var_http(Out* o, Request* r, Str name) noexcept nogil:
    """$http_NAME: all fields of that name, joined as nginx does: `; ` for Cookie, else `, `.

    $http_host of a target in absolute form is the target's: it stands in place of the field (RFC 9112 section 3.2.2).
    """
    cdef uint32_t i, found = 0
    cdef Field* f
    if r.h.form == T_ABSOLUTE and name.n == 4 and memcmp(name.p, b"host", 4) == 0:
        out_put(o, r.head + r.h.authority, r.h.authority_len)
        return
    for i in range(r.h.nfields):
        f = &r.h.fields[i]
        if f.name_len != name.n or f.flags & FF_BAD_NAME or not var_same_name(r.head + f.name, name.p, name.n):
            continue
        if found:
            out_put(o, b"; " if name.n == 6 and memcmp(name.p, b"cookie", 6) == 0 else b", ", 2)
        out_put(o, r.head + f.value, f.value_len)
        found = 1
    if not found:
        var_missing(o)


cdef inline Str var_find_pair(const char* p, uint32_t n, Str name, char sep, bint spaces) noexcept nogil:
    """The value of NAME in `a=1&b=2` or `a=1; b=2`; names without case, as nginx."""
    cdef uint32_t i = 0, start, eq, k
    cdef Str s
    cdef unsigned char c
    s.p = NULL
    s.n = 0
    while i < n:
        while spaces and i < n and p[i] == 32:
            i += 1
        start = i
        eq = n
        while i < n and p[i] != sep:
            if p[i] == 61 and eq == n:
                eq = i
            i += 1
        if eq < n and eq - start == name.n:
            k = 0
            while k < name.n:
                c = <unsigned char> p[start + k]
                if 65 <= c <= 90:
                    c += 32
                if c != <unsigned char> name.p[k]:
                    break
                k += 1
            if k == name.n:
                s.p = <char*> p + eq + 1
                s.n = i - eq - 1
                return s
        i += 1
    return s


cdef inline void var_binary_address(Out* o, Conn* c) noexcept nogil:
    if c.addr_len and (<sockaddr*> c.addr).sa_family == AF_INET:
        out_put(o, <char*> &(<sockaddr_in*> c.addr).sin_addr, 4)
    elif c.addr_len and (<sockaddr*> c.addr).sa_family == AF_INET6:
        out_put(o, <char*> &(<sockaddr_in6*> c.addr).sin6_addr, 16)
    else:
        out_put(o, b"unix:", 5)


cdef inline void var_local(Out* o, Request* r, bint port) noexcept nogil:
    """$server_addr and $server_port: asks the kernel, as nginx does. Of a unix socket with its path."""
    cdef char sa[128]
    cdef uint32_t n = sizeof(sa)
    memset(sa, 0, sizeof(sa))
    if not r.client.io.local(r.client, sa, &n):
        return
    if port:
        sockaddr_write_port(o, sa, n)
    else:
        sockaddr_write(o, sa, n)
        if (<sockaddr*> sa).sa_family == AF_UNIX:
            out_text(o, sa + 2)         # the path, behind the family


cdef inline void var_host(Out* o, Request* r) noexcept nogil:
    """$host: the request's host in lower case without its port; without one, the server's name."""
    cdef uint32_t i
    cdef unsigned char c
    if r.h.host_len == 0:
        out_str(o, r.srv.name)
        return
    for i in range(r.h.host_len):
        c = <unsigned char> r.head[r.h.host + i]
        out_char(o, <char> (c + 32 if 65 <= c <= 90 else c))


cdef inline void var_forwarded_for(Out* o, Request* r) noexcept nogil:
    """$proxy_add_x_forwarded_for: the client's X-Forwarded-For fields, then its address."""
    cdef uint32_t i
    for i in range(r.h.nfields):
        if r.h.fields[i].id == F_X_FORWARDED_FOR and not r.h.fields[i].flags & FF_HOP:
            out_put(o, r.head + r.h.fields[i].value, r.h.fields[i].value_len)
            out_put(o, b", ", 2)
    sockaddr_write(o, r.client.addr, r.client.addr_len)


cdef inline uint64_t var_random(Env* env) noexcept nogil:
    """xorshift128+: not secret."""
    cdef uint64_t x = env.random[0], y = env.random[1]
    env.random[0] = y
    x ^= x << 23
    env.random[1] = x ^ y ^ (x >> 17) ^ (y >> 26)
    return env.random[1] + y


cdef inline void var_request_id(Out* o, Env* env) noexcept nogil:
    """$request_id: 32 hex digits; unique, not secret."""
    cdef uint64_t x
    cdef int _half, _i
    for _half in range(2):
        x = var_random(env)
        for _i in range(16):
            out_put(o, <const char*> b"0123456789abcdef" + (x & 15), 1)
            x >>= 4


cdef inline void var_request_line(Out* o, Request* r) noexcept nogil:
    """$request: the request line as received."""
    cdef uint32_t i = r.h.start
    if r.head == NULL:
        var_missing(o)
        return
    while r.head[i] != 13 and r.head[i] != 10 and r.head[i] != 0:
        i += 1
    out_put(o, r.head + r.h.start, i - r.h.start)


cdef inline void var_pair(Out* o, Request* r, Piece* v, bint cookie) noexcept nogil:
    cdef Str s
    cdef uint32_t i
    if not cookie:
        s = var_find_pair(r.args, r.args_len, v.text, 38, False)
        if s.p == NULL:
            var_missing(o)
        out_str(o, s)
        return
    for i in range(r.h.nfields):
        if r.h.fields[i].name_len == 6 and var_same_name(r.head + r.h.fields[i].name, b"cookie", 6):
            s = var_find_pair(r.head + r.h.fields[i].value, r.h.fields[i].value_len, v.text, 59, True)
            if s.p != NULL:
                out_str(o, s)
                return
    var_missing(o)


cdef inline void var_connection(Out* o, Request* r, Env* env, int var) noexcept nogil:
    cdef Conn* c = r.client
    if var == V_REMOTE_ADDR:
        sockaddr_write(o, c.addr, c.addr_len)
    elif var == V_REMOTE_PORT:
        sockaddr_write_port(o, c.addr, c.addr_len)
    elif var == V_BINARY_REMOTE_ADDR:
        var_binary_address(o, c)
    elif var == V_SERVER_PORT:
        var_local(o, r, True)
    elif var == V_SERVER_ADDR:
        var_local(o, r, False)
    elif var == V_CONNECTION:
        out_uint(o, c.number)
    elif var == V_CONNECTION_REQUESTS:
        out_uint(o, c.served)
    elif var == V_CONNECTION_TIME:
        out_seconds(o, env.now - c.opened)
    elif var == V_PIPE:
        out_char(o, 112 if r.piped else 46)


cdef inline void var_path(Out* o, Request* r) noexcept nogil:
    """The target in origin form, as received: $request_uri, and what goes to a server; `*` for the asterisk form."""
    if r.h.target_len == 0:             # a refused head
        var_missing(o)
        return
    if r.h.path_len == 0:
        out_char(o, 42 if r.h.target_len == 1 and r.head[r.h.target] == 42 else 47)
        return
    if r.head[r.h.path] == 63:
        out_char(o, 47)
    out_put(o, r.head + r.h.path, r.h.path_len)


cdef inline void var_remote_user(Out* o, Request* r) noexcept nogil:
    """$remote_user: the name in `Authorization: Basic` (RFC 7617), as it is given: whether it was checked says auth_basic."""
    cdef Str s = var_field_value(r, F_AUTHORIZATION)
    cdef Str user, password
    if s.p == NULL:
        var_missing(o)
    elif s.n > o.end - o.p:
        o.full = 1
    elif auth_credentials(s, o.p, &user, &password):
        o.p += user.n
    else:
        var_missing(o)


cdef inline void var_request_port(Out* o, Request* r, bint colon) noexcept nogil:
    """$request_port: the port that the client wrote; $is_request_port: `:` if it wrote one."""
    cdef uint32_t n = r.h.authority_len - r.h.host_len
    if r.h.authority_len <= r.h.host_len + 1 or r.head[r.h.authority + r.h.authority_len - n] != 58:
        if not colon:
            var_missing(o)
        return
    if colon:
        out_char(o, 58)
    else:
        out_put(o, r.head + r.h.authority + r.h.host_len + 1, n - 1)


cdef inline void var_head(Out* o, Request* r, int var) noexcept nogil:
    if var == V_HOST:
        var_host(o, r)
    elif var == V_SERVER_NAME:
        out_str(o, r.srv.name)
    elif var == V_SERVER_PROTOCOL:
        if r.h.target_len == 0:         # a refused head
            var_missing(o)
        else:
            out_put(o, b"HTTP/2.0" if r.client.h2 != NULL else b"HTTP/1.1" if r.h.minor else b"HTTP/1.0", 8)
    elif var == V_REQUEST:
        var_request_line(o, r)
    elif var == V_REQUEST_METHOD:
        if r.method.n == 0:             # a refused head
            var_missing(o)
        out_str(o, r.method)
    elif var == V_REQUEST_URI:
        var_path(o, r)
    elif var == V_URI:
        out_put(o, r.uri, r.uri_len)
    elif var == V_ARGS:
        if r.args == NULL:
            var_missing(o)
        out_put(o, r.args, r.args_len)
    elif var == V_HTTP2:
        if r.client.h2 == NULL:
            var_missing(o)
        else:
            out_put(o, b"h2c", 2 if r.client.secure else 3)
    elif var == V_IS_ARGS:
        if r.args_len:
            out_char(o, 63)
    elif var == V_CONTENT_LENGTH:
        if r.h.content_length >= 0:
            out_int(o, r.h.content_length)
        else:
            var_missing(o)
    elif var == V_CONTENT_TYPE:
        if var_find_field(r, F_CONTENT_TYPE) == NULL:
            var_missing(o)
        out_str(o, var_field_value(r, F_CONTENT_TYPE))
    elif var == V_PROXY_ADD_X_FORWARDED_FOR:
        var_forwarded_for(o, r)
    elif var == V_REMOTE_USER:
        var_remote_user(o, r)
    elif var == V_REQUEST_PORT or var == V_IS_REQUEST_PORT:
        var_request_port(o, r, var == V_IS_REQUEST_PORT)


cdef inline void var_proxy_port(Out* o, Request* r) noexcept nogil:
    cdef uint32_t i = r.proxy_host.n
    while i and r.proxy_host.p[i - 1] != 58 and r.proxy_host.p[i - 1] != 93:
        i -= 1
    if i and r.proxy_host.p[i - 1] == 58:
        out_put(o, r.proxy_host.p + i, r.proxy_host.n - i)
    else:
        out_text(o, b"443" if r.up_tls != NULL else b"80")


cdef inline uint64_t var_bytes_sent(Request* r) noexcept nogil:
    """What the client's socket took: not what waits in memory or on disk for it."""
    return r.client.put - r.put_at


cdef inline uint64_t var_body_bytes_sent(Request* r) noexcept nogil:
    """The same without heads, with the framing of chunks, as nginx."""
    cdef uint64_t n = var_bytes_sent(r), heads = <uint64_t> r.interim_n + r.head_n
    return n - heads if n > heads else 0


cdef inline void var_gzip_ratio(Out* o, Request* r) noexcept nogil:
    """Bytes before and after, their quotient rounded to two digits."""
    cdef uint64_t hundredths
    if r.gzip_out == 0:
        var_missing(o)
        return
    hundredths = (r.gzip_in * 1000 // r.gzip_out + 5) // 10
    out_uint(o, hundredths // 100)
    out_char(o, 46)
    out_padded(o, <uint32_t> (hundredths % 100), 2)


cdef inline void var_exchange(Out* o, Request* r, Env* env, int var) noexcept nogil:
    if var == V_STATUS:
        if r.status < 100:
            out_put(o, b"000", 3)
        else:
            out_uint(o, r.status)
    elif var == V_BYTES_SENT:
        out_uint(o, var_bytes_sent(r))
    elif var == V_BODY_BYTES_SENT:
        out_uint(o, var_body_bytes_sent(r))
    elif var == V_GZIP_RATIO:
        var_gzip_ratio(o, r)
    elif var == V_REQUEST_LENGTH or var == V_BYTES_RECEIVED:
        out_uint(o, r.received)
    elif var == V_REQUEST_TIME:
        out_seconds(o, env.now - r.start)
    elif var == V_PROXY_HOST:
        out_str(o, r.proxy_host)
    elif var == V_PROXY_PORT:
        var_proxy_port(o, r)


cdef inline void var_env(Out* o, Env* env, int var) noexcept nogil:
    if var == V_HOSTNAME:
        out_str(o, env.hostname)
    elif var == V_PID:
        out_uint(o, env.pid)
    elif var == V_MSEC:
        out_seconds(o, env.wall)
    elif var == V_TIME_ISO8601:
        out_iso(o, &env.local)
    elif var == V_TIME_LOCAL:
        out_local(o, &env.local)
    elif var == V_NGINX_VERSION:
        out_str(o, env.nginx_version)
    elif var == V_REQUEST_ID:
        var_request_id(o, env)


cdef inline void var_capture(Out* o, Request* r, uint32_t n, bint in_args) noexcept nogil:
    """$1 to $9 of the last regular expression that matched; in a rewrite's query or URL escaped, if the target was."""
    cdef char* p
    cdef uint32_t len
    if n >= r.ncaptures or r.captures[2 * n] == 4294967295u:
        return
    p = r.subject + r.captures[2 * n]
    len = r.captures[2 * n + 1] - r.captures[2 * n]
    if not in_args or not var_was_quoted(r):
        out_put(o, p, len)
    elif <size_t> (o.end - o.p) < 3 * <size_t> len:
        o.full = 1
    else:
        o.p += uri_escape_args(p, len, o.p)


cdef inline bint var_was_quoted(Request* r) noexcept nogil:
    """Did the target's path come with a percent sign or a plus?"""
    cdef char* p = r.head + r.h.path
    cdef uint32_t i
    for i in range(r.h.path_len):
        if p[i] == 63:
            return False
        if p[i] == 37 or p[i] == 43:
            return True
    return False


cdef inline void var_write(Out* o, Request* r, Env* env, Piece* v) noexcept nogil:
    cdef int var = v.var
    if var > V_TLS:
        var_tls(o, r.client, env.wall // 1000, var)
    elif var > V_CLIENT:
        var_client(o, r, v)
    elif var > V_UPSTREAM:
        var_upstream(o, r, env, v)
    elif var == V_USER:
        env.user(o, r, v.text.n)
    elif var >= V_DOCUMENT_ROOT:
        env.file(o, r, var)
    elif var == V_CAPTURE or var == V_CAPTURE_ARG:
        var_capture(o, r, v.text.n, var == V_CAPTURE_ARG)
    elif var == V_HTTP_:
        var_http(o, r, v.text)
    elif var == V_ARG_ or var == V_COOKIE_:
        var_pair(o, r, v, var == V_COOKIE_)
    elif var == V_SCHEME:
        out_put(o, b"https", 5 if r.client.secure else 4)
    elif var == V_REQUEST_BODY:
        var_request_body(o, r)
    elif var == V_REQUEST_BODY_FILE:
        var_request_body_file(o, r)
    elif var == V_PROTOCOL:
        out_put(o, b"TCP", 3)
    elif var in (V_REMOTE_ADDR, V_REMOTE_PORT, V_BINARY_REMOTE_ADDR, V_SERVER_PORT, V_SERVER_ADDR, V_CONNECTION,
                 V_CONNECTION_REQUESTS, V_CONNECTION_TIME, V_PIPE):
        var_connection(o, r, env, var)
    elif var in (V_HOSTNAME, V_PID, V_MSEC, V_TIME_ISO8601, V_TIME_LOCAL, V_NGINX_VERSION, V_REQUEST_ID):
        var_env(o, env, var)
    elif var in (V_STATUS, V_BYTES_SENT, V_BODY_BYTES_SENT, V_REQUEST_LENGTH, V_BYTES_RECEIVED, V_REQUEST_TIME, V_PROXY_HOST,
                 V_PROXY_PORT, V_GZIP_RATIO):
        var_exchange(o, r, env, var)
    else:
        var_head(o, r, var)


cdef inline void var_write_value(Out* o, Request* r, Env* env, Value* v) noexcept nogil:
    cdef uint32_t i
    for i in range(v.n):
        if v.pieces[i].var == V_LITERAL:
            out_str(o, v.pieces[i].text)
        else:
            var_write(o, r, env, &v.pieces[i])
