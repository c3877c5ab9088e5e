# What a server of stream{} says. Included by types.pxd.

ctypedef struct StreamServer:
    Settings settings       # with no `ups`: `show`, `text` or `target`
    const TlsConf* tls      # of clients, or NULL
    Value* text             # `return`
    Value* target           # proxy_pass with variables
    uint32_t buffer         # bytes of one read
    uint8_t plain           # nothing before ups
    uint8_t show            # upstream_show
    uint8_t cut             # proxy_half_close off: the end of one direction ends the session
    uint8_t send_proxy_protocol           # proxy_protocol: servers get a PROXY header of this version; 0: none
    uint8_t delay           # tcp_nodelay off
