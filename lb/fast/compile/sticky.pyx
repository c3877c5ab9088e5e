"""From the model to `sticky`: its values, with the rest of the configuration; the memory of learned sessions, in the master.

A zone is there as long as a configuration that names it: a reload keeps one of the same name and size, with its sessions, and the
workers of both generations use it.
"""

import weakref

cdef object sticky_zones = weakref.WeakValueDictionary()      # (name, bytes) -> StickyZone
cdef dict STICKY_KINDS = {"cookie": STICKY_COOKIE, "route": STICKY_ROUTE, "learn": STICKY_LEARN}


cdef class StickyZone:
    """Memory that all workers share, made before they are forked."""

    cdef StickySet* sets
    cdef size_t size
    cdef object __weakref__

    def __cinit__(self, size_t size):
        self.size = size
        self.sets = <StickySet*> mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)
        if self.sets == <StickySet*> MAP_FAILED:
            self.sets = NULL
            raise OSError(errno, "mmap()")

    def __dealloc__(self):
        if self.sets != NULL:
            munmap(self.sets, self.size)

    @staticmethod
    def get(str name, size_t size):
        zone = sticky_zones.get((name, size))
        if zone is None:
            zone = sticky_zones[name, size] = StickyZone(size)
        return zone


cdef Sticky* compile_sticky(Compiled e, model) except? NULL:
    cdef Sticky* s
    if model is None:
        return NULL
    s = <Sticky*> e.mem(sizeof(Sticky))
    s.kind = STICKY_KINDS[model.kind]
    s.name = e.text(model.name)
    s.expires = model.expires_s
    s.domain = e.value(model.domain)
    s.samesite = e.value(model.samesite)
    s.path = e.text(model.path)
    s.httponly = model.httponly
    s.secure = model.secure
    s.header = model.header
    s.timeout = model.timeout_ms
    s.zone = e.text(model.zone)
    s.size = model.size
    if s.kind == STICKY_COOKIE:
        s.lookup = compile_sticky_cookie(e, model.name)
        s.nlookup = 1
    else:
        s.lookup = compile_sticky_values(e, model.lookup, &s.nlookup)
    e.uses = 0
    s.create = compile_sticky_values(e, model.create, &s.ncreate)
    s.uses = e.uses
    return s


cdef Value* compile_sticky_cookie(Compiled e, str name) except NULL:
    """$cookie_NAME: the first cookie of that name, in whatever case, also where `set` has a variable called so."""
    cdef Value* v = <Value*> e.mem(sizeof(Value))
    v.n = 1
    v.pieces = <Piece*> e.mem(sizeof(Piece))
    v.pieces[0].var = V_COOKIE_
    v.pieces[0].text = e.text(os.fsencode(name).lower())
    return v


cdef Value* compile_sticky_values(Compiled e, values, uint32_t* n) except NULL:
    cdef Value* made = <Value*> e.mem(len(values) * sizeof(Value))
    n[0] = len(values)
    for i, value in enumerate(values):
        made[<int> i] = e.value(value)
    return made


cdef list compile_sticky_zones(Conf* conf):
    """In the master: where the sessions of each upstream are. What has to live as long as `conf`."""
    cdef list kept = []
    cdef uint32_t i
    cdef Sticky* s
    for i in range(conf.nups):
        s = conf.ups[i].sticky
        if s != NULL and s.kind == STICKY_LEARN:
            zone = StickyZone.get(os.fsdecode(s.zone.p[:s.zone.n]), s.size)
            kept.append(zone)
            s.sets = (<StickyZone> zone).sets
            s.nsets = s.size // sizeof(StickySet)
    return kept
