"""`root`, `index`, `types`, `path_try_files` of a location, from the model to Files. With the GIL.

Memory and texts are the arena's (compiled.pyx); equal `types` are compiled once.
"""

cdef dict SINCE = {"off": SINCE_OFF, "exact": SINCE_EXACT, "before": SINCE_BEFORE}


cdef int compile_files(Compiled e, Location* l, files) except -1:
    cdef Files* f = <Files*> e.mem(sizeof(Files))
    l.files = f
    f.root = e.value(files.root)
    f.prefix = e.text(e.prefix)
    if files.root and isinstance(files.root[0], str):
        f.trusted = len(os.fsencode(files.root[0]))
    f.alias = files.alias
    f.nindex = len(files.index)
    f.index = <Value*> e.mem(f.nindex * sizeof(Value))
    for i, name in enumerate(files.index):
        f.index[<int> i] = e.value(name)
    f.types = compile_types(e, files.types)
    f.quiet = not files.log_not_found
    f.no_etag = not files.etag
    f.no_ranges = files.max_ranges == 0
    f.since = SINCE[files.if_modified_since]
    l.uses |= e.uses
    return 0


cdef Dict* compile_types(Compiled e, types) except NULL:
    cdef Dict* d
    if types not in e.types:
        d = <Dict*> e.mem(sizeof(Dict))
        compile_dict(e, d, [(extension, <size_t> e.text(kind).p) for extension, kind in types])
        e.types[types] = <size_t> d
    return <Dict*> <size_t> e.types[types]


cdef int compile_try(Compiled e, Location* l, tries, list pending) except -1:
    """path_try_files: before the location's handler."""
    cdef Files* f = l.files
    if tries is None:
        return 0
    f.behind = l.handler
    l.handler = DO_TRY
    f.ntries = len(tries.files)
    f.tries = <TryName*> e.mem(f.ntries * sizeof(TryName))
    for i, (name, is_dir) in enumerate(tries.files):
        f.tries[<int> i].name = e.value(name)
        f.tries[<int> i].is_dir = is_dir
    f.try_status = tries.status
    f.try_last = e.value(tries.last)
    l.uses |= e.uses
    if len(tries.last) == 1 and isinstance(tries.last[0], str) and tries.last[0].startswith("@"):
        pending.append((<size_t> &f.try_named, tries.last[0]))
    return 0
