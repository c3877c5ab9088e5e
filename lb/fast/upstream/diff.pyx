"""Where two answers of Consul differ, as bytes and as entries: pointer work, for which the puller's Python takes milliseconds.

No state; called by the puller thread, with the GIL but for the bytes.
"""

cdef enum:
    DIFF_STEP = 1024          # bytes for one memcmp: the C library's is the fastest loop there is


cdef size_t diff_same_head(const unsigned char* a, const unsigned char* b, size_t n) noexcept nogil:
    """Bytes that are the same from a and b on."""
    cdef size_t at = 0
    while n - at >= DIFF_STEP and memcmp(a + at, b + at, DIFF_STEP) == 0:
        at += DIFF_STEP
    while at < n and a[at] == b[at]:
        at += 1
    return at


cdef size_t diff_same_tail(const unsigned char* a, const unsigned char* b, size_t n) noexcept nogil:
    """Bytes that are the same before a and b."""
    cdef size_t at = 0
    while n - at >= DIFF_STEP and memcmp(a - at - DIFF_STEP, b - at - DIFF_STEP, DIFF_STEP) == 0:
        at += DIFF_STEP
    while at < n and (a - at - 1)[0] == (b - at - 1)[0]:
        at += 1
    return at


cdef inline bint diff_between_objects(const unsigned char* p) noexcept nogil:
    return p[0] == b"}" and p[1] == b"," and p[2] == b"{"


def objects_apart(const unsigned char[::1] a, const unsigned char[::1] b):
    cdef size_t na = a.shape[0], nb = b.shape[0], start, end
    if na < 4 or nb < 4:            # [{}]
        raise ValueError("not a list of objects")
    with nogil:
        start = diff_same_head(&a[0], &b[0], min(na, nb))
        end = na - diff_same_tail(&a[0] + na, &b[0] + nb, min(na, nb) - start)
        if start < na or start < nb:
            while start >= 3 and not diff_between_objects(&a[start - 3]):
                start -= 1
            start = start - 1 if start >= 3 else 1
            while end + 3 <= na and not diff_between_objects(&a[end]):
                end += 1
            end = end + 1 if end + 3 <= na else na - 1
    return None if start == na else (start, na - end)


def carry_over(list old, list values, list new):
    cdef Py_ssize_t i = 0, j = 0, n = len(old), m = len(new)
    cdef list found = [], gone = [], fresh = []
    if len(values) != n:
        raise ValueError(f"{len(values)} values for {n} entries")
    while i < n and j < m:
        if old[i] is new[j]:
            found.append(values[i])
            i += 1
            j += 1
        elif (<tuple> old[i])[0] < (<tuple> new[j])[0]:
            gone.append(i)
            i += 1
        else:
            fresh.append(j)
            found.append(None)
            j += 1
    gone.extend(range(i, n))
    fresh.extend(range(j, m))
    found.extend([None] * (m - j))
    return found, gone, fresh
