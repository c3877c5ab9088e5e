# The access phase, and passwords that are checked beside the loop. Included by types.pxd.

ctypedef struct AuthConf:   # of a location: satisfy, auth_basic, auth_delay; NULL: allow and deny alone
    uint8_t any             # satisfy any
    uint8_t basic           # auth_basic and auth_basic_user_file
    Value realm
    Value user_file
    int64_t delay           # auth_delay; 0: none

cdef enum AuthStep:         # of the access phase, in nginx's order
    AUTH_ADDRESS = 0        # allow, deny
    AUTH_PASSWORD = 1       # auth_basic
    AUTH_STEPS = 2

cdef enum AuthSays:         # what a step says; else a status
    AUTH_NOTHING = 0
    AUTH_YES = 1
    AUTH_WAITS = 2          # its word is not there yet

cdef enum AuthVerdict:      # on a name and its password
    VERDICT_NONE = 0
    VERDICT_GOOD = 1
    VERDICT_UNKNOWN = 2     # the file does not have the name
    VERDICT_WRONG = 3
    VERDICT_OPEN = 4        # the file cannot be opened: `error`
    VERDICT_READ = 5        # or read
    VERDICT_CRYPT = 6       # crypt(3) failed, or there is no memory

ctypedef struct AuthStamp:  # what a file was when it was read
    uint64_t inode
    uint64_t device
    int64_t size
    int64_t changed         # ns, of data and of the inode
    int64_t changed_inode

ctypedef struct AuthJob:    # for the threads; by malloc, texts behind it
    AuthJob* next
    AuthJob* flight         # of AuthState.flight
    Request* first          # who waits, linked by RequestExtra.next; NULL: nobody any more
    uint8_t key[32]
    char* file              # these three end in a zero byte
    char* user
    char* password
    uint32_t user_n
    uint32_t size           # of it all
    AuthStamp stamp         # from here on: the thread's word
    uint8_t verdict         # AuthVerdict
    int32_t error           # errno

ctypedef struct AuthKnown:  # a verdict that is still good
    uint8_t key[32]
    int64_t until           # loop.now; 0: none
    AuthStamp stamp         # as long as the file is this one
    uint8_t verdict

ctypedef struct AuthState:  # of a worker whose configuration has auth_basic
    void* asked             # AuthJob*, newest first: from the loop to the threads
    AuthJob* queue          # the threads', in order, under `lock`
    AuthJob* queue_last
    void* lock              # a pthread_mutex_t
    int32_t bell            # eventfd: a count for each job
    uint64_t stop
    AuthJob* flight         # from here on the loop's: what was asked and has not come back
    uint32_t nflight
    uint8_t salt[32]        # of all keys
    AuthKnown* known        # AUTH_KNOWN of them

ctypedef struct RequestExtra:       # what few requests have (request_extra)
    AuthJob* job            # whose verdict it waits for
    Request* next           # the next that waits for the same
    uint8_t step            # AuthStep that is asked
    uint8_t verdict         # AuthVerdict that has come
    uint16_t code           # satisfy any: what is answered if nothing says yes
    int32_t error           # errno of the verdict
