"""access_log ... gzip: the buffer becomes one member of a gzip file each time it is written; members follow each other.

    log_write -> log_zip_write: LogFile.buf is compressed into LogZip.buf -> log_zip_out: written, to its end once it is begun

A member that a full disk cut in the middle is finished when there is room again; meanwhile lines gather in LogFile.buf.
"""

cdef extern from "zlib.h" nogil:
    ctypedef struct z_stream:
        unsigned char* next_in
        unsigned int avail_in
        unsigned char* next_out
        unsigned int avail_out
    int deflateInit2(z_stream* z, int level, int method, int bits, int memory, int strategy) noexcept
    int deflate(z_stream* z, int flush) noexcept
    int deflateReset(z_stream* z) noexcept
    int deflateEnd(z_stream* z) noexcept
    unsigned long compressBound(unsigned long n) noexcept
    enum:
        Z_FINISH, Z_STREAM_END, Z_DEFLATED, Z_DEFAULT_STRATEGY, Z_OK

cdef enum:
    ZIP_BITS = 31               # a window of 32 KiB, gzip's head and tail
    ZIP_MEMORY = 8
    ZIP_FRAME = 64              # what head and tail need beyond compressBound


cdef LogZip* log_zip_new(LogFile* f, int level) except NULL:
    """With the GIL, before the loop runs."""
    cdef LogZip* z = <LogZip*> calloc(1, sizeof(LogZip))
    if z == NULL:
        raise MemoryError
    z.room = <uint32_t> compressBound(f.room) + ZIP_FRAME
    z.buf = <char*> malloc(z.room)
    z.stream = calloc(1, sizeof(z_stream))
    if z.buf == NULL or z.stream == NULL or deflateInit2(
            <z_stream*> z.stream, level, Z_DEFLATED, ZIP_BITS, ZIP_MEMORY, Z_DEFAULT_STRATEGY) != Z_OK:
        raise MemoryError
    return z


cdef void log_zip_free(LogZip* z) noexcept nogil:
    if z == NULL:
        return
    deflateEnd(<z_stream*> z.stream)
    free(z.stream)
    free(z.buf)
    free(z)


cdef void log_zip_write(LogFile* f) noexcept nogil:
    if not log_zip_out(f):
        return
    log_zip_member(f)
    log_zip_out(f)


cdef void log_zip_member(LogFile* f) noexcept nogil:
    """Compress what waits. It fits: `room` is for a full buffer."""
    cdef z_stream* z = <z_stream*> f.zip.stream
    cdef uint32_t i
    cdef int rc
    f.zip.lines = 0
    for i in range(f.n):
        f.zip.lines += f.buf[i] == 10
    z.next_in = <unsigned char*> f.buf
    z.avail_in = f.n
    z.next_out = <unsigned char*> f.zip.buf
    z.avail_out = f.zip.room
    rc = deflate(z, Z_FINISH)
    BUG_ON(rc != Z_STREAM_END)
    f.zip.off = 0
    f.zip.n = f.zip.room - z.avail_out
    f.n = 0
    deflateReset(z)


cdef bint log_zip_out(LogFile* f) noexcept nogil:
    """Write on at the member that waits. False: some of it still waits."""
    cdef ssize_t got
    if f.zip.off == f.zip.n:
        return True
    got = log_put(f, f.zip.buf + f.zip.off, f.zip.n - f.zip.off)
    if got < 0 and errno != EAGAIN and errno != EINTR and f.zip.off == 0:
        f.dropped += f.zip.lines        # refused, and nothing of it is there: as log_drop
        loop.st.log_dropped += f.zip.lines
        f.zip.n = 0
        return True
    if got > 0:
        f.zip.off += <uint32_t> got
    return f.zip.off == f.zip.n
