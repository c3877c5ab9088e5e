"""The session cache of lb/fast/tls, opened to Python: included by _probe.pyx."""

from lb.fast.c.sys cimport calloc
from lb.fast.tls.session_cache cimport (
    SESSION_MOST, SessionSet, SessionZone, tls_cache_drop, tls_cache_get, tls_cache_put, tls_cache_release,
)


cdef class Sessions:
    """A zone of `sets` sets, in memory of its own."""

    cdef SessionZone zone

    def __cinit__(self, int sets):
        self.zone.nsets = sets
        self.zone.sets = <SessionSet*> calloc(sets, sizeof(SessionSet))

    def __dealloc__(self):
        free(self.zone.sets)

    def put(self, bytes id, bytes text, int now, int until, int pid=1):
        tls_cache_put(&self.zone, pid, <const uint8_t*> PyBytes_AsString(id), len(id), text, len(text), now, until)

    def get(self, bytes id, int now, int pid=1):
        cdef char out[SESSION_MOST]
        n = tls_cache_get(&self.zone, pid, <const uint8_t*> PyBytes_AsString(id), len(id), out, now)
        return out[:n] if n else None

    def drop(self, bytes id, int pid=1):
        tls_cache_drop(&self.zone, pid, <const uint8_t*> PyBytes_AsString(id), len(id))

    def die(self, int pid, bytes rubbish):
        """A worker that was killed in the middle of writing: it holds every lock."""
        for i in range(self.zone.nsets):
            self.zone.sets[i].lock = pid
            memcpy(self.zone.sets[i].room + 16, <char*> rubbish, len(rubbish))

    def spoil(self, bytes rubbish, int end):
        """Rubbish where entries should be."""
        for i in range(self.zone.nsets):
            memcpy(self.zone.sets[i].room, <char*> rubbish, len(rubbish))
            self.zone.sets[i].end = end

    def release(self, int pid):
        return tls_cache_release(&self.zone, pid)

    def has(self, bytes text):
        """Does it lie anywhere in the memory?"""
        return text in (<char*> self.zone.sets)[:self.zone.nsets * sizeof(SessionSet)]
