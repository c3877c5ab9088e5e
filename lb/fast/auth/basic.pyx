"""auth_basic: is the password that comes with a request the one of its name in a file?

    auth_basic -> auth_known: a verdict of the last seconds, if the file is still the same
               -> auth_ask: a job for the threads (passwords.pyx), PH_ACCESS; auth_take -> auth_run

A verdict is known by a salted SHA-256 of file, name and password: no password is kept. Requests that ask the same while it is
being worked out wait for one job.
"""

cdef enum:
    AUTH_KNOWN = 1024               # verdicts of a worker, in sets of AUTH_WAYS
    AUTH_WAYS = 4
    AUTH_KEEP = 10000               # ms that one is good
    AUTH_FLIGHT_MOST = 1024         # jobs at once


cdef int auth_basic(Request* r, AuthConf* a) noexcept nogil:
    """What auth_basic says: AuthSays, or a status."""
    cdef RequestExtra* x = r.extra
    cdef Str realm = var_text(r, &a.realm)
    cdef Str user, password, file
    cdef Str field = var_field_value(r, F_AUTHORIZATION)
    cdef char* room
    cdef int verdict = x.verdict
    if reply_same(realm, b"off", 3):
        return AUTH_NOTHING
    room = <char*> request_memory(r, field.n + 1)
    if room == NULL:
        return 500
    if field.p == NULL or not auth_credentials(field, room, &user, &password):
        log_request(LOG_INFO, r, b"no user/password was provided for basic authentication", 0, b"")
        return auth_challenge(r, realm)
    file = var_text(r, &a.user_file)
    x.verdict = VERDICT_NONE
    if verdict == VERDICT_NONE:
        verdict = auth_ask(r, file, user, password)
    if verdict == VERDICT_NONE:
        return AUTH_WAITS
    if verdict == VERDICT_GOOD:
        return AUTH_YES
    auth_log(r, verdict, file, user)
    if verdict == VERDICT_UNKNOWN or verdict == VERDICT_WRONG:
        return auth_challenge(r, realm)
    return 403 if verdict == VERDICT_OPEN and x.error == ENOENT else 500


cdef int auth_challenge(Request* r, Str realm) noexcept nogil:
    """401, and the field that goes with it."""
    cdef Out o
    r.challenge.n = 0
    r.challenge.p = <char*> request_memory(r, realm.n + 40)
    if r.challenge.p == NULL:
        return 500
    out_init(&o, r.challenge.p, realm.n + 40)
    out_text(&o, b"WWW-Authenticate: Basic realm=\"")
    out_str(&o, realm)
    out_char(&o, 34)
    header_end_field(&o, r.challenge.p)
    r.challenge.n = <uint32_t> (o.p - r.challenge.p)
    return 401


cdef void auth_log(Request* r, int verdict, Str file, Str user) noexcept nogil:
    """nginx's line for each verdict but a good one."""
    cdef Out o
    cdef int e = r.extra.error
    cdef int level = LOG_ERR if verdict < VERDICT_OPEN or (verdict == VERDICT_OPEN and e == ENOENT) else LOG_CRIT
    if not error_begin(&o, error_logs_of(r), level):
        return
    error_connection(&o, r.client)
    if verdict == VERDICT_UNKNOWN or verdict == VERDICT_WRONG:
        out_text(&o, b"user \"")
        out_escaped(&o, user.p, user.n if user.n < 1024 else 1024)
        out_text(&o, b"\" was not found in \"" if verdict == VERDICT_UNKNOWN else b"\": password mismatch")
    else:
        out_text(&o, b"crypt_r() failed" if verdict == VERDICT_CRYPT else
                 b"open() \"" if verdict == VERDICT_OPEN else b"pread() \"")
    if verdict != VERDICT_WRONG and verdict != VERDICT_CRYPT:
        out_escaped(&o, file.p, file.n if file.n < 1024 else 1024)
        out_text(&o, b"\"" if verdict == VERDICT_UNKNOWN else b"\" failed")
    if verdict >= VERDICT_OPEN:
        error_number(&o, e)
    error_context(&o, r)
    error_end(&o, error_logs_of(r), level)


# ---- verdicts that are known

cdef bint auth_key(Str file, Str user, Str password, uint8_t* key) noexcept nogil:
    cdef EVP_MD_CTX* c = EVP_MD_CTX_new()
    cdef uint32_t n[2]
    if c == NULL:
        return False
    n[0] = file.n
    n[1] = user.n
    EVP_DigestInit_ex(c, EVP_sha256(), NULL)
    EVP_DigestUpdate(c, loop.auth.salt, sizeof(loop.auth.salt))
    EVP_DigestUpdate(c, n, sizeof(n))
    EVP_DigestUpdate(c, file.p, file.n)
    EVP_DigestUpdate(c, user.p, user.n)
    EVP_DigestUpdate(c, password.p, password.n)
    EVP_DigestFinal_ex(c, key, NULL)
    EVP_MD_CTX_free(c)
    return True


cdef AuthKnown* auth_set_of(const uint8_t* key) noexcept nogil:
    return loop.auth.known + (key[0] | <uint32_t> key[1] << 8) % (AUTH_KNOWN // AUTH_WAYS) * AUTH_WAYS


cdef int auth_known(const uint8_t* key, const char* file) noexcept nogil:
    """A verdict that still holds: the file is as it was then. VERDICT_NONE: there is none."""
    cdef AuthKnown* k = auth_set_of(key)
    cdef AuthStamp now
    cdef stat_t st
    cdef int i
    for i in range(AUTH_WAYS):
        if k[i].until > loop.now and memcmp(k[i].key, key, 32) == 0:
            memset(&now, 0, sizeof(now))
            if stat(file, &st) == 0 and auth_stamp(&st, &now) and memcmp(&now, &k[i].stamp, sizeof(now)) == 0:
                return k[i].verdict
            k[i].until = 0
    return VERDICT_NONE


cdef void auth_know(AuthJob* job) noexcept nogil:
    """Keep it in place of the oldest of its set."""
    cdef AuthKnown* k = auth_set_of(job.key)
    cdef int i, at = 0
    if job.verdict >= VERDICT_OPEN:
        return
    for i in range(1, AUTH_WAYS):
        if k[i].until < k[at].until:
            at = i
    memcpy(k[at].key, job.key, 32)
    k[at].until = loop.now + AUTH_KEEP
    k[at].stamp = job.stamp
    k[at].verdict = job.verdict


# ---- jobs

cdef int auth_ask(Request* r, Str file, Str user, Str password) noexcept nogil:
    """A verdict; VERDICT_NONE: it will come."""
    cdef AuthJob* job
    cdef uint8_t key[32]
    cdef uint32_t size = <uint32_t> sizeof(AuthJob) + file.n + user.n + password.n + 3
    cdef int verdict
    r.extra.error = ENOMEM
    if not auth_key(file, user, password, key):
        return VERDICT_CRYPT
    job = <AuthJob*> calloc(1, size)
    if job == NULL:
        return VERDICT_CRYPT
    job.size = size
    job.user_n = user.n
    job.file = <char*> job + sizeof(AuthJob)
    job.user = job.file + file.n + 1
    job.password = job.user + user.n + 1
    memcpy(job.file, file.p, file.n)
    memcpy(job.user, user.p, user.n)
    memcpy(job.password, password.p, password.n)
    memcpy(job.key, key, 32)
    verdict = auth_known(key, job.file)
    if verdict == VERDICT_NONE and auth_join(r, key):
        auth_job_free(job)
    elif verdict == VERDICT_NONE and loop.auth.nflight < AUTH_FLIGHT_MOST:
        auth_send(r, job)
    else:
        auth_job_free(job)
        r.extra.error = EAGAIN
        return verdict if verdict != VERDICT_NONE else VERDICT_CRYPT
    return VERDICT_NONE


cdef bint auth_join(Request* r, const uint8_t* key) noexcept nogil:
    """Wait with those that have asked the same."""
    cdef AuthJob* job = loop.auth.flight
    while job != NULL and memcmp(job.key, key, 32) != 0:
        job = job.flight
    if job == NULL:
        return False
    r.extra.next = job.first
    r.extra.job = job
    job.first = r
    return True


cdef void auth_send(Request* r, AuthJob* job) noexcept nogil:
    cdef uint64_t one = 1
    r.extra.next = NULL
    r.extra.job = job
    job.first = r
    job.flight = loop.auth.flight
    loop.auth.flight = job
    loop.auth.nflight += 1
    loop.st.password_checks += 1
    lb_atomic_push(&loop.auth.asked, job, <void**> &job.next)
    write(loop.auth.bell, &one, sizeof(one))


cdef void auth_job_free(AuthJob* job) noexcept nogil:
    OPENSSL_cleanse(job, job.size)
    free(job)


cdef void auth_take() noexcept nogil:
    """Verdicts have come: who waits goes on."""
    cdef AuthJob* job = <AuthJob*> lb_atomic_swap(&loop.inbox.passwords, NULL)
    cdef AuthJob* after
    while job != NULL:
        after = job.next
        auth_took(job)
        job = after


cdef void auth_took(AuthJob* job) noexcept nogil:
    cdef AuthJob** at = &loop.auth.flight
    cdef Request* r
    while at[0] != job:
        at = &at[0].flight
    at[0] = job.flight
    loop.auth.nflight -= 1
    auth_know(job)
    while job.first != NULL:            # each may end others: the list is looked at anew
        r = job.first
        job.first = r.extra.next
        r.extra.job = NULL
        r.extra.verdict = job.verdict
        r.extra.error = job.error
        auth_run(r)
    auth_job_free(job)


cdef void auth_forget(Request* r) noexcept nogil:
    """It waits no longer: the exchange is over."""
    cdef Request** at
    if r.extra.job == NULL:
        return
    at = &r.extra.job.first
    while at[0] != r:
        at = &at[0].extra.next
    at[0] = r.extra.next
    r.extra.job = NULL


# ---- a worker's part

cdef int auth_begin() except -1:
    """Before the loop runs, where the configuration has auth_basic."""
    cdef AuthState* a = <AuthState*> calloc(1, sizeof(AuthState))
    if a == NULL:
        raise MemoryError()
    a.known = <AuthKnown*> calloc(AUTH_KNOWN, sizeof(AuthKnown))
    a.lock = calloc(1, sizeof(pthread_mutex_t))
    if a.known == NULL or a.lock == NULL:
        raise MemoryError()
    pthread_mutex_init(<pthread_mutex_t*> a.lock, NULL)
    a.bell = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE)
    if a.bell < 0 or RAND_bytes(a.salt, sizeof(a.salt)) != 1:
        raise OSError(errno, "eventfd")
    loop.auth = a
    return 0


cdef void auth_stop() noexcept nogil:
    """The threads end; what they still do comes to nobody."""
    cdef uint64_t many = 1024
    if loop.auth != NULL:
        lb_atomic_store(&loop.auth.stop, 1)
        write(loop.auth.bell, &many, sizeof(many))
