"""From the model to the logs: files, syslog targets, error logs by level, access logs. With the GIL, once.

Each target is one LogFile, however many directives name it. Memory and texts are the arena's (compiled.pyx).
"""

cdef dict ESCAPES = {"default": ESC_DEFAULT, "json": ESC_JSON, "none": ESC_NONE}
cdef dict LEVELS = {"emerg": LOG_EMERG, "alert": LOG_ALERT, "crit": LOG_CRIT, "error": LOG_ERR, "warn": LOG_WARN,
                    "notice": LOG_NOTICE, "info": LOG_INFO, "debug": LOG_DEBUG}


cdef int compile_logs(Compiled e, config, error_logs) except -1:
    """A LogFile for each target. Number 0 is the first error log of the main context; the last is none: lines of files that
    requests name are made in its buffer."""
    cdef LogFile* f
    cdef dict syslogs = dict(config.syslogs)
    cdef list paths = [log.path for log in error_logs] + ["stderr", *config.log_paths, *syslogs, "$"]
    cdef dict places = {path: i for i, path in enumerate(dict.fromkeys(paths))}
    e.log_index = places
    e.conf.nlogs = len(places)
    e.conf.logs = <LogFile*> e.mem(e.conf.nlogs * sizeof(LogFile))
    for path, i in places.items():
        f = &e.conf.logs[<int> i]
        f.path = e.text(path)
        f.fd = -1
        f.fresh = -1
        f.room = LOG_ROOM
        if path in syslogs:
            compile_syslog(e, f, syslogs[path])
    return compile_error_logs(e, &e.conf.errors, [(log.path, log.level) for log in error_logs])


cdef int compile_syslog(Compiled e, LogFile* f, one) except -1:
    cdef Str sa = e.text(publish_sockaddr_bytes(one.address))
    f.syslog = <Syslog*> e.mem(sizeof(Syslog))
    f.syslog.sa = sa.p
    f.syslog.sa_len = sa.n
    f.syslog.family = one.address.family
    f.syslog.facility = one.facility
    f.syslog.severity = one.severity
    f.syslog.head = e.text(head_text(one))
    f.syslog.server = e.text(one.server)
    return 0


cdef int compile_error_logs(Compiled e, ErrorLogs* made, list logs) except -1:
    """`logs`: (path, level) in the order of the file."""
    made.n = len(logs)
    made.files = <LogFile**> e.mem(made.n * sizeof(LogFile*))
    made.levels = <uint32_t*> e.mem(made.n * sizeof(uint32_t))
    for i, (path, level) in enumerate(logs):
        made.files[<int> i] = &e.conf.logs[<int> e.log_index[path]]
        made.levels[<int> i] = LEVELS[level]
        made.most = max(made.most, made.levels[<int> i])
    compile_loud(e, made)
    return 0


cdef int compile_loud(Compiled e, ErrorLogs* made) except -1:
    """The same for the clients of debug_connection: every log has everything."""
    cdef uint32_t i
    made.loud = made
    if made.most >= LOG_DEBUG:
        e.conf.debug = 1
    if e.conf.debug_clients.n == 0:
        return 0
    made.loud = <ErrorLogs*> e.mem(sizeof(ErrorLogs))
    made.loud[0] = made[0]
    made.loud.loud = made.loud
    made.loud.most = LOG_DEBUG
    made.loud.levels = <uint32_t*> e.mem(made.n * sizeof(uint32_t))
    for i in range(made.n):
        made.loud.levels[i] = LOG_DEBUG
    return 0


cdef int compile_debug(Compiled e, config) except -1:
    """debug_connection; before the logs, which differ by it."""
    compile_cidrs(e, &e.conf.debug_clients, config.debug_clients, [False] * len(config.debug_clients))
    e.conf.debug = e.conf.debug_clients.n > 0
    return 0


cdef ErrorLogs* compile_errors(Compiled e, logs) except NULL:
    """Those of a location or stream server; the main ones where it has none."""
    cdef ErrorLogs* made = &e.conf.errors
    if logs:
        made = <ErrorLogs*> e.mem(sizeof(ErrorLogs))
        compile_error_logs(e, made, [(log.path, log.level) for log in logs])
    return made


cdef AccessLog* compile_access_logs(Compiled e, logs) except NULL:
    cdef AccessLog* compiled = <AccessLog*> e.mem(len(logs) * sizeof(AccessLog))
    cdef AccessLog* a
    for i, log in enumerate(logs):
        a = &compiled[<int> i]
        if log.name is not None:
            compile_log_name(e, a, log)
        else:
            a.file = &e.conf.logs[<int> e.log_index[log.path]]
            compile_log_buffer(e, a.file, log)
        a.combined = log.format.value is None
        a.escape = ESCAPES[log.format.escape]
        a.format = e.value(log.format.value or ())
        a.conditional = log.condition is not None
        a.condition = e.value(log.condition or ())
    return compiled


cdef int compile_log_buffer(Compiled e, LogFile* f, log) except -1:
    """buffer= and flush=, of whichever directive for this file has them."""
    if log.buffer <= f.keep:
        return 0
    f.keep = log.buffer
    f.flush = log.flush_ms
    f.room = log.buffer + LOG_ROOM
    f.zip_level = log.gzip
    return 0


cdef int compile_log_name(Compiled e, AccessLog* a, log) except -1:
    """A file that each request names: lines are made in a LogFile of their own, whose descriptor is never used."""
    a.file = &e.conf.logs[e.conf.nlogs - 1]
    a.name = compile_value(e, log.name)
    if log.cache is None:
        return 0
    if log.cache not in e.log_caches:
        e.log_caches[log.cache] = <size_t> compile_log_cache(e, log.cache)
    a.cache = <LogCache*> <size_t> e.log_caches[log.cache]
    return 0


cdef LogCache* compile_log_cache(Compiled e, one) except NULL:
    cdef LogCache* made = <LogCache*> e.mem(sizeof(LogCache))
    made.most = one.most
    made.min_uses = one.min_uses
    made.inactive = one.inactive_ms
    made.valid = one.valid_ms
    made.mask = 15
    while made.mask < made.most and made.mask < 65535:
        made.mask = made.mask * 2 + 1
    made.next = e.conf.log_caches
    e.conf.log_caches = made
    return made
