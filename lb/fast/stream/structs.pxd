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
    uint8_t preread         # ssl_preread
    uint32_t preread_buffer # bytes of a hello at most
    int64_t preread_timeout

ctypedef struct ClientHello:    # what ssl_preread has read (stream/client_hello.pxd)
    uint32_t at             # first byte of the first record that was not read yet
    uint32_t want           # bytes of the present field still to come
    uint32_t left           # bytes of the message still to come
    uint32_t list           # bytes of the present extension, and of the list in it, still to come
    uint32_t number         # the present field, as far as it was read
    uint8_t field           # HelloField
    uint8_t has_name        # extensions that were seen
    uint8_t has_alpn
    uint8_t done            # the session went on with it: `name` and `alpn` are there
    uint32_t version        # that the client speaks at most, as its bytes: 0x0304
    uint32_t name_at        # where they lie in the client's bytes, and how long they are without the heads of records
    uint32_t name_len
    uint32_t alpn_at
    uint32_t alpn_len
    Str name                # in the request's memory
    Str alpn                # h2,http/1.1
