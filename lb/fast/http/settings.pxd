# What a location and a server of http{} say: made by compile/, read by the loop. Included by types.pxd.

ctypedef struct SetHeader:
    Str name
    Value value
    uint8_t id              # FieldId

ctypedef struct AddField:   # add_header, add_trailer
    Str name
    Value value
    uint8_t always

ctypedef struct RedirectRule:       # proxy_redirect, proxy_cookie_domain, proxy_cookie_path
    Regex* regex            # instead of `pattern`, or NULL
    Value pattern
    Value replacement

cdef enum CookieFlag:
    SC_SECURE = 1
    SC_NO_SECURE = 2
    SC_HTTPONLY = 4
    SC_NO_HTTPONLY = 8
    SC_SAMESITE = 48        # two bits: 16 Strict, 32 Lax, 48 None
    SC_NO_SAMESITE = 64

ctypedef struct CookieRule: # proxy_cookie_flags
    Regex* regex            # instead of `name`, or NULL
    Value name
    uint32_t n
    Value* words            # each comes to a CookieFlag

cdef enum ExpiresKind:
    EX_OFF = 0
    EX_EPOCH = 1
    EX_MAX = 2
    EX_ACCESS = 3
    EX_MODIFIED = 4
    EX_DAILY = 5
    EX_TEXT = 6             # what expires_text comes to

ctypedef struct HeaderFilter:      # what a location makes of an answer's fields (http/header_filter.pxd)
    Str* hide               # proxy_hide_header
    uint32_t nhide
    Str* passed             # proxy_pass_header
    uint32_t npassed
    uint64_t own            # bit per FieldId: Date and Server that pass
    RedirectRule* redirects
    uint32_t nredirects
    RedirectRule* domains
    uint32_t ndomains
    RedirectRule* paths
    uint32_t npaths
    CookieRule* flags
    uint32_t nflags
    AddField* adds
    uint32_t nadds
    AddField* trailers
    uint32_t ntrailers
    uint8_t expires         # ExpiresKind
    uint8_t expires_modified    # EX_TEXT: its times count from Last-Modified
    int64_t expires_seconds
    Value expires_text

cdef enum GzipProxied:      # gzip_proxied
    GP_OFF = 1
    GP_EXPIRED = 2
    GP_NO_CACHE = 4
    GP_NO_STORE = 8
    GP_PRIVATE = 16
    GP_NO_MODIFIED = 32
    GP_NO_ETAG = 64
    GP_AUTH = 128
    GP_ANY = 256

ctypedef struct GzipRules:  # which answers leave compressed (http/gzip.pyx)
    Dict* types             # NULL: any
    int64_t min_length
    uint32_t buffers        # bytes of one piece that leaves
    uint16_t proxied        # GzipProxied
    uint8_t level
    uint8_t minor           # least HTTP/1.minor
    uint8_t vary
    uint8_t msie6           # gzip_disable msie6
    Regex** disable
    uint32_t ndisable

cdef enum BodyFile:
    BODY_FILE_OFF = 0
    BODY_FILE_ON = 1
    BODY_FILE_CLEAN = 2

cdef enum Next:             # proxy_next_upstream
    NX_ERROR = 1
    NX_TIMEOUT = 2
    NX_INVALID = 4
    NX_500 = 8
    NX_502 = 16
    NX_503 = 32
    NX_504 = 64
    NX_403 = 128
    NX_404 = 256
    NX_429 = 512
    NX_NON_IDEMPOTENT = 1024

ctypedef struct NextRule:
    uint16_t mask           # Next
    uint16_t tries          # 0: no limit
    int64_t timeout         # 0: no limit
    uint8_t budget          # proxy_next_upstream_budget: there is one
    uint16_t share          # of it, in 1/10000 of the requests
    uint32_t least          # retries that are let pass in a second whatever the share

cdef enum Ignore:           # proxy_ignore_headers, of those that lb reads
    IGN_REDIRECT = 1
    IGN_BUFFERING = 2

cdef enum Linger:           # lingering_close
    LINGER_OFF = 0
    LINGER_ON = 1
    LINGER_ALWAYS = 2

cdef enum Handler:
    DO_FILE = 0
    DO_PROXY = 1
    DO_TRY = 2              # path_try_files, then Files.behind
    DO_SHOW = 3
    DO_CHECK_STATUS = 4

ctypedef struct Settings:   # what a location of http{} and a server of stream{} say alike (Request.settings)
    Upstream* ups           # NULL: no proxy_pass, or one with variables
    const TlsConf* up_tls   # https:// (with variables: may be), proxy_ssl; or NULL
    uint8_t up_sni          # proxy_ssl_server_name
    Value up_name           # proxy_ssl_name
    Op* ops                 # run before the handler; of a stream server `set`
    uint32_t nops
    uint32_t nlogs
    AccessLog* logs
    ErrorLogs* errors
    Cidrs access            # allow, deny
    RealIp* realip          # NULL: nobody is believed
    Outgoing out
    NextRule next
    int64_t connect_timeout
    int64_t read_timeout    # of a stream server proxy_timeout

ctypedef struct Location:
    Settings settings
    uint8_t exact
    uint8_t handler         # Handler
    uint8_t check_format    # CheckFormat of check_status
    uint8_t http10          # proxy_http_version 1.0
    uint8_t stream_body     # proxy_request_buffering off
    uint8_t body_file       # BodyFile: client_body_in_file_only
    uint8_t single_buffer   # client_body_in_single_buffer
    uint64_t body_buffer    # client_body_buffer_size
    TempPath body_path
    TempPath temp_path
    uint8_t buffering       # proxy_buffering
    uint8_t ignore          # Ignore
    uint8_t pass_trailers   # proxy_pass_trailers
    uint8_t lenient         # Lax: proxy_lenient
    uint32_t head_max       # proxy_buffer_size
    uint64_t buffers        # proxy_buffers, all of them
    uint64_t temp_max       # proxy_max_temp_file_size
    Value* hints            # early_hints
    uint32_t nhints
    uint8_t bare            # proxy_pass_request_headers off
    uint8_t no_body         # proxy_pass_request_body off
    uint8_t has_body        # proxy_set_body: `body`
    Value body
    Value method            # proxy_method; n 0: the client's
    HeaderFilter* header_filter            # NULL: an answer's fields pass as they are
    GzipRules* gzip         # NULL: off
    uint64_t special        # bit per FieldId of an answer's fields that do not simply pass
    Str pattern
    Str proxy_host
    Str uri                 # URI part of proxy_pass; p NULL: none
    SetHeader* sets
    uint32_t nsets
    uint64_t overridden     # bit per FieldId that a SetHeader replaces
    uint8_t sets_other      # a SetHeader replaces a field with no id
    int64_t write_timeout
    int64_t keepalive_timeout
    uint32_t keepalive_requests
    int64_t header_timeout
    int64_t body_timeout
    int64_t send_timeout
    uint32_t h2_chunk       # http2_chunk_size
    int64_t max_body        # 0: no limit
    uint32_t keepalive_header   # N of `Keep-Alive: timeout=N`
    int64_t keepalive_time
    int64_t keepalive_min   # keepalive_min_timeout: lb itself does not close an idle client before
    int64_t linger_time
    int64_t linger_timeout
    uint8_t linger          # Linger
    uint8_t no_chunks       # chunked_transfer_encoding off
    uint8_t keepalive_off   # 1: msie6, 2: safari
    uint8_t reset           # reset_timedout_connection
    uint8_t no_tokens       # server_tokens off
    Str default_type        # ends in a zero byte
    uint32_t uses           # Uses (route/variables/upstream.pxd): heads that its values need
    LimitRule* limits
    uint32_t nlimits
    uint16_t limit_status
    uint8_t limit_level
    uint8_t limit_dry
    Routes routes           # locations in this one
    Regex* regex            # of a regular expression's location
    uint8_t noregex         # ^~
    uint8_t internal
    uint8_t redirect_to     # `/x/` that sends `/x` here with 301
    uint8_t recursive_error_pages
    uint8_t intercept_errors
    uint8_t absolute_redirect
    uint8_t port_in_redirect
    uint8_t server_name_in_redirect
    ErrorPage* error_pages
    uint32_t nerror_pages
    uint32_t except_methods # limit_except: bit per Method that stays here; 0: no limit_except
    Location* except_loc    # where the others go
    Value* proxy_url        # proxy_pass with variables, or NULL
    Files* files
    Server* srv
    AuthConf* auth          # the access phase has more than allow and deny; or NULL

cdef enum NamesKept:        # field names that are not dropped, beyond those of letters, digits and `-`
    KEEP_PLAIN = 0
    KEEP_UNDERSCORES = 1    # underscores_in_headers on
    KEEP_ALL = 2            # ignore_invalid_headers off: every token

ctypedef struct Server:     # server {} of http
    Str name                # $server_name: the first name
    const TlsConf* tls      # its own, or NULL
    uint32_t line_most      # longest line of a head
    uint32_t head_most      # longest head
    uint32_t fields_most    # most fields
    uint8_t names_kept      # NamesKept
    uint8_t lenient         # Lax: lenient_requests
    uint32_t h2_streams     # http2_max_concurrent_streams
    uint32_t h2_preread     # http2_body_preread_size: what of a body may come before it is asked for
    Routes routes
    Location** named        # @ locations
    uint32_t nnamed
    Op* ops                 # run before a location is looked for
    uint32_t nops
    uint8_t merge_slashes
    Location fallback       # where no location matches
