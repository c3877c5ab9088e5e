"""The table of types: what `check type=` names. One row each: what is sent where the configuration does not say, how an answer
is judged, and whether the connection may serve again."""

cdef enum:
    CHECK_NTYPES = 11           # that `type=` may name; the agent's stands behind them

cdef CheckType CHECK_TYPES[12]
CHECK_TYPES[:] = [
    CheckType(done=NULL, idle=NULL, name=b"tcp", keeps=False, send=NULL, judge=check_tcp_judge),
    CheckType(done=NULL, idle=NULL, name=b"http", keeps=True, send=check_http_send, judge=check_http_judge),
    CheckType(done=NULL, idle=NULL, name=b"ssl_hello", keeps=False, send=check_hello_send, judge=check_hello_judge),
    CheckType(done=NULL, idle=NULL, name=b"mysql", keeps=False, send=NULL, judge=check_mysql_judge),
    CheckType(done=NULL, idle=NULL, name=b"ajp", keeps=True, send=check_ajp_send, judge=check_ajp_judge),
    CheckType(done=NULL, idle=NULL, name=b"fastcgi", keeps=False, send=check_fastcgi_send, judge=check_fastcgi_judge),
    CheckType(done=NULL, idle=NULL, name=b"https", keeps=True, send=check_http_send, judge=check_http_judge),
    CheckType(done=NULL, idle=check_grpc_idle, name=b"grpc", keeps=True, send=check_grpc_send, judge=check_grpc_judge),
    CheckType(done=NULL, idle=check_grpc_idle, name=b"grpcs", keeps=True, send=check_grpc_send, judge=check_grpc_judge),
    CheckType(done=NULL, idle=NULL, name=b"redis", keeps=True, send=check_redis_send, judge=check_redis_judge),
    CheckType(done=NULL, idle=NULL, name=b"postgres", keeps=False, send=check_postgres_send, judge=check_postgres_judge),
    CheckType(done=agent_done, idle=NULL, name=b"agent", keeps=False, send=NULL, judge=agent_judge),
]

CHECK_TYPE_NAMES = tuple([CHECK_TYPES[i].name.decode() for i in range(CHECK_NTYPES)])


cdef const CheckType* check_type_named(str name) except NULL:
    return &CHECK_TYPES[CHECK_TYPE_NAMES.index(name)]


cdef const CheckType* check_type_agent() noexcept:
    return &CHECK_TYPES[CHECK_NTYPES]
