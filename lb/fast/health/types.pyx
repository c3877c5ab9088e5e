"""The table of types: what `check type=` names. One row each: what is sent where the configuration does not say, how an answer
is judged, and whether the connection may serve again."""

cdef CheckType CHECK_TYPES[6]
CHECK_TYPES[:] = [
    CheckType(name=b"tcp", keeps=False, send=NULL, judge=check_tcp_judge),
    CheckType(name=b"http", keeps=True, send=check_http_send, judge=check_http_judge),
    CheckType(name=b"ssl_hello", keeps=False, send=check_hello_send, judge=check_hello_judge),
    CheckType(name=b"mysql", keeps=False, send=NULL, judge=check_mysql_judge),
    CheckType(name=b"ajp", keeps=True, send=check_ajp_send, judge=check_ajp_judge),
    CheckType(name=b"fastcgi", keeps=False, send=check_fastcgi_send, judge=check_fastcgi_judge),
]

CHECK_TYPE_NAMES = tuple([CHECK_TYPES[i].name.decode() for i in range(6)])


cdef const CheckType* check_type_named(str name) except NULL:
    return &CHECK_TYPES[CHECK_TYPE_NAMES.index(name)]
