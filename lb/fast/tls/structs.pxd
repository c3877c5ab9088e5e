# TLS. Included by types.pxd.

cdef enum TlsVerify:        # ssl_verify_client
    TLS_VERIFY_OFF = 0
    TLS_VERIFY_ON = 1
    TLS_VERIFY_OPTIONAL = 2
    TLS_VERIFY_OPTIONAL_NO_CA = 3

ctypedef struct TlsLazy:    # ssl_certificate and its key with variables (lazy.pyx)
    Value file
    Value key

cdef enum:
    V_TLS_NAME = 999        # Piece.var of these: SNI, before there is a request

ctypedef struct TlsConf:    # what a server says of TLS to its clients, or a location of TLS to its servers
    void* ctx               # SSL_CTX, made by the master before the fork; NULL: no certificates
    void* first             # NULL; or the one that its connections begin with, for callbacks that its own has not
    TicketRing* ring        # ticket keys, the master's; NULL: none
    SessionZone* cache      # ssl_session_cache shared, builtin; or NULL
    uint8_t verify          # TlsVerify
    uint8_t reject          # ssl_reject_handshake
    uint8_t own             # ssl_record_engine: our own records after the handshake
    uint32_t buffer         # ssl_buffer_size: most plaintext of a record
    int64_t handshake_timeout
    uint8_t reuse           # to servers: proxy_ssl_session_reuse
    LogFile* key_log        # to servers: proxy_ssl_key_log, or NULL
    Str groups              # ssl_ecdh_curve; n 0: OpenSSL's
    uint64_t uses           # clients: $ssl_ variables of the whole configuration (var_tls_bit)
    TlsLazy* lazy           # in place of certificates in `ctx`
    uint32_t nlazy
    uint32_t lazy_max       # ssl_certificate_cache; 0: off
    int64_t lazy_inactive   # ms
    int64_t lazy_valid
    void* pairs             # TlsPairs: this worker's cache
    char sid[32]            # what sessions of it are bound to
    int64_t session_timeout # s
    Str alpn                # protocols, each behind its length; n 0: none is chosen
    uint8_t early           # ssl_early_data of some server: its name comes with the first bytes

cdef enum TlsFlag:          # Tls.flags
    TLS_UP = 1              # the handshake is done
    TLS_MORE = 2            # bytes are here that no event will tell of
    TLS_REUSED = 4          # the session was resumed
    TLS_QUIET = 8          # close_notify was sent, or may not be
    TLS_HELLO = 16          # a byte has come
    TLS_CLIENT = 32         # we are the client
    TLS_ENDED = 64          # our own records: the peer's bytes have ended, in whatever way
    TLS_REFUSED = 128       # our own records: one was bad
    TLS_EARLY = 256         # early data was read, the handshake is not done
    TLS_EARLY_OVER = 512    # no more early data will come
    TLS_H2 = 8192           # ALPN has chosen HTTP/2
    TLS_ACME = 4096         # a challenge of tls-alpn-01: nothing follows the handshake
    TLS_UPDATE_DUE = 2048   # our own records: the peer has asked for new keys of ours
    TLS_WAITS = 1024        # to servers: a write waits for the server's part of a renegotiation

ctypedef struct TlsInfo:    # what variables tell of a client's TLS, as text (tls/info.pyx); what is not used has n 0
    int64_t until           # Unix seconds: the end of its certificate's validity; 0: none
    Str texts[25]           # by number of the variable, behind V_TLS

ctypedef struct Tls:        # Conn.io_state of a connection with TLS
    void* ssl               # SSL; NULL: records are our own
    Conn* conn
    const TlsConf* conf     # after the ClientHello: of the server that its name chose
    Server* srv             # http: that server
    Buf* part               # ciphertext that has come and was not used yet
    Buf* plain              # our own records: what a reader had no room for
    TlsRecord record        # our own records; before, secrets of the handshake
    Str name                # SNI, lower case; p NULL: none. To servers: the name that they are asked for
    Str pair                # to servers: the files of a certificate that variables name (Request.up_pair)
    uint16_t flags          # TlsFlag
    uint8_t nsecret         # bytes of each secret
    uint8_t secrets         # how many of the two are here
    uint8_t shown           # the client has shown a certificate
    int16_t verified        # of clients: X509_V_*
    int32_t error           # errno of the socket that ended the handshake, or 0
    TlsInfo* info           # for variables, or NULL
    uint64_t why            # OpenSSL's error of what ended it
    int64_t refused         # to servers: X509_V_* of its certificate; -1: of another name

ctypedef struct TlsSession: # of a server, for its next connection (Peer.sessions)
    TlsSession* next
    const TlsConf* conf
    void* session           # SSL_SESSION
    Str name                # that the server was asked for
    Str pair                # that it was shown

ctypedef struct TlsWorker:  # buffers that all connections of a worker share, during one operation
    Conn* conn              # whose bytes are in them
    char* come              # TLS_COME
    uint32_t off            # first byte not yet used
    uint32_t end
    char* go                # TLS_GO
    uint32_t ngo
    uint8_t pulls           # reads of the socket in this operation
    uint8_t pushed          # some of `go` has left before the operation's end
    uint8_t cut             # it has read enough for one turn
    uint32_t handshakes     # costly steps of handshakes in this turn
    uint64_t turn           # which turn that was
