# What a server of stream{} says. Included by types.pxd.

ctypedef struct StreamServer:
    Upstream* ups           # NULL: `show`, `text` or `target`
    Value* text             # `return`
    Value* target           # proxy_pass with variables
    Op* ops                 # `set`
    uint32_t nops
    uint32_t buffer         # bytes of one read
    uint8_t plain           # nothing before ups
    uint8_t show            # upstream_show
    Outgoing out
    NextRule next
    uint8_t cut             # proxy_half_close off: the end of one direction ends the session
    uint8_t send_proxy_protocol           # proxy_protocol: servers get a PROXY header of this version; 0: none
    int64_t connect_timeout
    int64_t timeout
    uint8_t delay           # tcp_nodelay off
    Cidrs access            # allow, deny
    RealIp* realip          # NULL: nobody is believed
    AccessLog* logs
    uint32_t nlogs
    ErrorLogs* errors
