"""Blocks of memory for work in flight: taken when bytes must wait, given back when they have gone.

Size classes 512 B to 64 KiB (doubling); a larger need is its own malloc. Freed blocks go to a LIFO list per class (the last
freed is the hottest) that keeps a bounded number. A connection at rest owns no block. Owner of a block: whoever holds the
pointer; `Pool.out` counts them all, so that a leak shows.
"""

from libc.stdint cimport uint32_t, uint64_t
from lb.fast.types cimport Buf, Out, Pool
from lb.fast.c.sys cimport free, malloc, memcpy, memmove

cdef enum:
    BUF_CLASSES = 8         # 512 << 0 .. 512 << 7
    BUF_SINGLE = 255        # class of a block with a size of its own
    BUF_KEEP = 1 << 20      # bytes of free blocks kept per class


cdef inline char* buf_data(Buf* b) noexcept nogil:
    return (<char*> b) + sizeof(Buf)


cdef inline uint32_t buf_len(Buf* b) noexcept nogil:
    return b.end - b.off


cdef inline Buf* buf_new(Pool* pool, uint32_t need) noexcept nogil:
    """A block that holds at least `need` bytes, or NULL when memory is out."""
    cdef uint32_t cls = 0, size = 512
    cdef Buf* b
    while size < need and cls < BUF_CLASSES:
        size <<= 1
        cls += 1
    if cls == BUF_CLASSES:
        size = need
        cls = BUF_SINGLE
        b = NULL
    else:
        b = pool.free[cls]
    if b != NULL:
        pool.free[cls] = b.next
        pool.nfree[cls] -= 1
    else:
        b = <Buf*> malloc(sizeof(Buf) + size)
        if b == NULL:
            return NULL
        b.cap = size
        b.cls = cls
    b.next = NULL
    b.sealed = 0
    b.off = 0
    b.end = 0
    pool.out += 1
    return b


cdef inline void buf_free(Pool* pool, Buf* b) noexcept nogil:
    pool.out -= 1
    if b.cls == BUF_SINGLE or pool.nfree[b.cls] * b.cap >= BUF_KEEP:
        free(b)
        return
    b.next = pool.free[b.cls]
    pool.free[b.cls] = b
    pool.nfree[b.cls] += 1


cdef inline void buf_free_chain(Pool* pool, Buf* b) noexcept nogil:
    cdef Buf* after
    while b != NULL:
        after = b.next
        buf_free(pool, b)
        b = after


cdef inline Buf* buf_copy(Pool* pool, const char* p, uint32_t n) noexcept nogil:
    """A new block that holds these bytes, or NULL."""
    cdef Buf* b = buf_new(pool, n)
    if b != NULL:
        memcpy(buf_data(b), p, n)
        b.end = n
    return b


cdef inline Buf* buf_append(Pool* pool, Buf* chain, const char* p, uint32_t n) noexcept nogil:
    """Add bytes behind the last block of `chain` (or start one). Returns the chain; NULL only when memory is out."""
    cdef Buf* last
    cdef Buf* b
    if chain == NULL:
        return buf_copy(pool, p, n)
    last = chain
    while last.next != NULL:
        last = last.next
    if last.cap - last.end >= n and not last.sealed:
        memcpy(buf_data(last) + last.end, p, n)
        last.end += n
        return chain
    b = buf_copy(pool, p, n)
    if b == NULL:
        return NULL
    last.next = b
    return chain


cdef inline void buf_pool_drop(Pool* pool) noexcept nogil:
    """Free what the pool keeps."""
    cdef int i
    cdef Buf* b
    for i in range(BUF_CLASSES):
        while pool.free[i] != NULL:
            b = pool.free[i]
            pool.free[i] = b.next
            free(b)
        pool.nfree[i] = 0
