# Static files. Included by types.pxd.

ctypedef struct TryName:
    Value name
    uint8_t is_dir

cdef enum Since:            # if_modified_since
    SINCE_OFF = 0
    SINCE_EXACT = 1
    SINCE_BEFORE = 2

ctypedef struct Files:      # of a location: which file a path stands for, and how it is sent (static/file.pyx)
    Value root
    Str prefix              # for a root whose variables give a relative path
    uint32_t trusted        # bytes of the root that the configuration itself wrote: `..` there is its own business
    int32_t alias           # bytes of the path that the root replaces; -1: the root is the whole name
    Value* index
    uint32_t nindex
    Dict* types             # by extension: media type, ends in a zero byte
    uint8_t quiet           # log_not_found off
    uint8_t no_etag
    uint8_t no_ranges
    uint8_t since           # Since
    uint8_t behind          # Handler that follows try_files
    uint16_t try_status     # 0: try_last
    TryName* tries
    uint32_t ntries
    Value try_last
    Location* try_named
