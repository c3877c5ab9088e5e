"""Structs of logs that need no other: compressors, files that requests name. types.pxd hands these names on with its own."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

ctypedef struct OpenLog

ctypedef struct LogZip:     # the compressor of a log (log/gzip.pyx)
    void* stream            # z_stream
    char* buf               # a member, compressed
    uint32_t room
    uint32_t n
    uint32_t off            # bytes of it that are written
    uint32_t lines          # in it

ctypedef struct OpenLog:    # a name in a LogCache
    OpenLog* prev           # the one used later
    OpenLog* next
    OpenLog* chain          # next name of the same place
    char* name
    uint32_t n
    uint32_t hash
    int32_t fd              # -1: not open
    uint32_t uses
    int64_t used            # when last
    int64_t checked         # when device and inode were looked at
    uint64_t device
    uint64_t inode

ctypedef struct LogCache:   # open_log_file_cache (log/names.pyx)
    LogCache* next          # all of them
    OpenLog** chains
    uint32_t mask
    uint32_t n
    uint32_t most
    uint32_t min_uses
    int64_t inactive
    int64_t valid
    OpenLog* first          # used last
    OpenLog* last
