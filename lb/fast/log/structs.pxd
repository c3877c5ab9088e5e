# Logs and where their lines go. Included by types.pxd.

ctypedef struct Syslog:     # a target that takes datagrams (log/syslog.pyx)
    char* sa                # sockaddr
    uint32_t sa_len
    int32_t family
    uint8_t facility
    uint8_t severity        # of access logs
    uint8_t told            # `error` was logged
    int32_t error           # errno of the last failure, 0 once something was sent since
    int64_t retry_at        # when a socket may be made again
    Str head                # " host tag: ", what follows the date
    Str server              # as written

ctypedef struct LogFile:    # access or error log: lines gather here and are written once per turn of the loop, or per buffer
    Str path                # or the text of a `syslog:`
    int32_t fd
    uint32_t n              # bytes waiting
    uint32_t room           # bytes of buf
    uint32_t keep           # buffer=: bytes that may wait; 0: written every turn
    int64_t flush           # flush=: how long they may wait; 0: no limit
    int64_t since           # when the first of them came
    uint8_t waits           # not ours alone, so not O_NONBLOCK: stderr
    uint8_t torn            # buf begins with the rest of a line whose start was written
    char* buf
    uint64_t dropped        # lines lost to a full or failing file
    Syslog* syslog          # NULL: a file. Its buffer holds records, not lines
    LogZip* zip             # gzip, or NULL
    uint8_t zip_level       # 0: no gzip
    int64_t fresh           # fd to use from the next turn on (reopen), swapped atomically; -1: none

cdef enum Escape:           # of log_format
    ESC_DEFAULT = 0         # \xHH, and `-` for what is not there
    ESC_JSON = 1
    ESC_NONE = 2

ctypedef struct AccessLog:
    LogFile* file
    uint8_t combined        # nginx's `combined`: no format of its own
    uint8_t escape          # Escape
    uint8_t conditional     # if=
    Value* name             # of a file that each line names: `file` is where its line is made; or NULL
    LogCache* cache         # of such files, or NULL
    Value format
    Value condition

ctypedef struct ErrorLogs:  # where messages of a level go: those of a location, a server, or the main context
    uint32_t n
    uint32_t most           # the largest of levels: worse messages and those are written
    LogFile** files
    uint32_t* levels
    ErrorLogs* loud         # the same with all levels, for clients that debug_connection names; itself where there is none
