"""The pure rooms of HTTP/2, opened to Python: included by _probe.pyx, whose guarded memory it uses."""


cdef class Hpack:
    """One side's table. `read` and `write` keep it as a connection does."""

    cdef HpackTable t
    cdef bint at_end

    def __cinit__(self, uint32_t ceiling=4096, bint at_end=True):
        hpack_init(&self.t, ceiling)
        self.at_end = at_end

    def __dealloc__(self):
        hpack_free(&self.t)

    @property
    def state(self):
        """(entries, their size, bytes of memory)."""
        return self.t.n, self.t.size, self.t.room + 8 * self.t.places

    def read(self, bytes block, uint32_t most=65536):
        """Fields of a block, (name, value, cut); None: it is none."""
        cdef const uint8_t* p = <const uint8_t*> text_memory.hold(block, self.at_end)
        cdef char* room = out_memory.take(2 * most, self.at_end)
        cdef HpackField f
        cdef uint32_t at = 0
        cdef int rc
        found = []
        memset(&f, 0, sizeof(f))
        while True:
            rc = hpack_next(&self.t, p, len(block), &at, room, most, &f)
            if rc == HPACK_BAD:
                return None
            if rc != HPACK_FIELD:
                return found
            if f.cut:
                found.append((f.name_n, f.value_n, True))
            else:
                found.append((f.name[:f.name_n], f.value[:f.value_n], False))

    def write(self, fields, how=HPACK_KEEP):
        """(name, value) ... as a block."""
        cdef char* room
        cdef char* end
        made = b""
        room = out_memory.take(16, self.at_end)
        end = hpack_write_size(&self.t, room)
        made += room[:end - room]
        for name, value in fields:
            room = out_memory.take(len(name) + len(value) + HPACK_ADDED, self.at_end)
            end = hpack_write(&self.t, room, <bytes> name, len(name), <bytes> value, len(value), how)
            assert end - room <= <ssize_t> (len(name) + len(value) + HPACK_ADDED)
            made += room[:end - room]
        return made

    def resize(self, uint32_t most):
        hpack_resize(&self.t, most)
        self.t.told = 1


def huffman_read(bytes text, uint32_t most=65536):
    """The text and its whole length, or None."""
    return both(lambda at_end: huffman_at(text, most, at_end))


cdef huffman_at(bytes text, uint32_t most, bint at_end):
    cdef uint32_t made = 0
    cdef char* room = out_memory.take(most, at_end)
    if not huffman_decode(<const uint8_t*> text_memory.hold(text, at_end), len(text), room, most, &made):
        return None
    return room[:min(made, most)], made


def huffman_write(bytes text):
    return both(lambda at_end: huffman_made(text, at_end))


cdef bytes huffman_made(bytes text, bint at_end):
    cdef const uint8_t* p = <const uint8_t*> text_memory.hold(text, at_end)
    cdef uint32_t n = huffman_size(p, len(text))
    cdef char* room = out_memory.take(n, at_end)
    huffman_encode(p, len(text), <uint8_t*> room)
    return room[:n]


def h2_lines(fields, uint32_t room=65536):
    """The head that these fields make, or what is wrong with them."""
    return both(lambda at_end: h2_lines_at(fields, room, at_end))


cdef h2_lines_at(fields, uint32_t room, bint at_end):
    cdef Lines l
    cdef HpackField f
    cdef char* text = out_memory.take(room, at_end)
    cdef Guarded side = Guarded()
    lines_begin(&l, text, room, side.take(room, at_end), room)
    memset(&f, 0, sizeof(f))
    for name, value in fields:
        f.name = <bytes> name
        f.name_n = len(name)
        f.value = <bytes> value
        f.value_n = len(value)
        if not lines_field(&l, &f):
            break
    lines_end(&l)
    if l.fault == LINES_MALFORMED:
        return l.why.decode()
    if l.fault == LINES_LARGE:
        return "large"
    return text[:l.text.p - text]


def h2_frame(bytes head):
    """(payload, type, flags, stream, FrameError) of 9 bytes, which frame_put writes the same way."""
    cdef Frame f
    cdef char back[9]
    frame_read(<const uint8_t*> <char*> head, &f)
    frame_put(back, f.n, f.type, f.flags, f.id)
    assert back[:5] == head[:5]
    return f.n, f.type, f.flags, f.id, frame_fault(&f)


def h2_strip(bytes payload, uint8_t flags):
    """The field block of a HEADERS, or None."""
    cdef Frame f
    cdef const uint8_t* p = <const uint8_t*> text_memory.hold(payload, True)
    cdef uint32_t n = len(payload)
    f.flags = flags
    if not frame_strip(&f, &p, &n):
        return None
    return (<const char*> p)[:n]
