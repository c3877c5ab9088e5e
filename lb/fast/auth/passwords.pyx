"""What the threads of auth_basic do, never the loop: read the file of passwords, and hash what the client gave.

    auth_work: an eventfd tells of a job -> auth_check: open, read, its line, its hash -> Inbox.passwords, the loop wakes

Hashes: {PLAIN}, {SHA}, {SSHA} and apr1 here, all others by crypt(3): bcrypt, SHA-256 and SHA-512 crypt, MD5 crypt,
traditional DES, and whatever else the system's libcrypt knows. A thread works at a lower priority than the loop.
"""

cdef extern from "<crypt.h>" nogil:
    cdef struct crypt_data:
        pass
    char* crypt_r(const char* phrase, const char* setting, crypt_data* data) noexcept

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t* m, void* attr) noexcept
    int pthread_mutex_lock(pthread_mutex_t* m) noexcept
    int pthread_mutex_unlock(pthread_mutex_t* m) noexcept

cdef extern from "<sys/resource.h>" nogil:
    enum:
        PRIO_PROCESS
    int setpriority(int which, int who, int value) noexcept

cdef extern from "<openssl/evp.h>" nogil:
    ctypedef struct EVP_MD_CTX:
        pass
    const EVP_MD* EVP_md5() noexcept
    EVP_MD_CTX* EVP_MD_CTX_new() noexcept
    void EVP_MD_CTX_free(EVP_MD_CTX* c) noexcept
    int EVP_DigestInit_ex(EVP_MD_CTX* c, const EVP_MD* md, void* engine) noexcept
    int EVP_DigestUpdate(EVP_MD_CTX* c, const void* p, size_t n) noexcept
    int EVP_DigestFinal_ex(EVP_MD_CTX* c, uint8_t* out, unsigned int* n) noexcept

cdef extern from "<openssl/crypto.h>" nogil:
    int CRYPTO_memcmp(const void* a, const void* b, size_t n) noexcept

cdef enum:
    AUTH_FILE_MOST = 1 << 26        # bytes of a file of passwords
    AUTH_HASH_MOST = 512            # of one hash
    AUTH_NICE = 5


# ---- a thread

cdef void auth_work() noexcept nogil:
    """Check passwords until auth_stop."""
    cdef AuthJob* job
    cdef uint64_t one
    setpriority(PRIO_PROCESS, 0, AUTH_NICE)         # of this thread
    while True:
        if read(loop.auth.bell, &one, sizeof(one)) != sizeof(one):
            if errno == EINTR:
                continue
            return
        if lb_atomic_load(&loop.auth.stop):
            return
        job = auth_next()
        if job == NULL:
            continue
        auth_check(job)
        OPENSSL_cleanse(job.password, strlen(job.password))
        lb_atomic_push(&loop.inbox.passwords, job, <void**> &job.next)
        one = 1
        write(loop.wake_fd, &one, sizeof(one))


cdef AuthJob* auth_next() noexcept nogil:
    """The one that was asked first. The loop never takes the lock: what it asks comes by a list of its own."""
    cdef AuthState* a = loop.auth
    cdef AuthJob* came
    cdef AuthJob* first = NULL
    cdef AuthJob* last
    cdef AuthJob* after
    pthread_mutex_lock(<pthread_mutex_t*> a.lock)
    came = <AuthJob*> lb_atomic_swap(&a.asked, NULL)
    last = came
    while came != NULL:                 # pushed newest first: turn round
        after = came.next
        came.next = first
        first = came
        came = after
    if first != NULL:
        if a.queue == NULL:
            a.queue = first
        else:
            a.queue_last.next = first
        a.queue_last = last
    first = a.queue
    if first != NULL:
        a.queue = first.next
    pthread_mutex_unlock(<pthread_mutex_t*> a.lock)
    return first


# ---- the file

cdef bint auth_stamp(const stat_t* st, AuthStamp* s) noexcept nogil:
    s.inode = <uint64_t> st.st_ino
    s.device = <uint64_t> st.st_dev
    s.size = st.st_size
    s.changed = <int64_t> st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec
    s.changed_inode = <int64_t> st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec
    return True


cdef void auth_check(AuthJob* job) noexcept nogil:
    """Its verdict, and what the file was then."""
    cdef stat_t st
    cdef char* text
    cdef int64_t n = 0
    cdef int fd = file_open(job.file, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0)
    if fd < 0:
        job.verdict = VERDICT_OPEN
        job.error = errno
        return
    if fstat(fd, &st) != 0:
        job.verdict = VERDICT_READ
        job.error = errno
        close(fd)
        return
    auth_stamp(&st, &job.stamp)
    text = auth_read(fd, st.st_size, &n, job)
    close(fd)
    if text == NULL:
        return
    job.verdict = auth_judge(job, text, <uint32_t> n)
    OPENSSL_cleanse(text, n)
    free(text)


cdef char* auth_read(int fd, int64_t size, int64_t* n, AuthJob* job) noexcept nogil:
    """The whole file; NULL: job.verdict says why not."""
    cdef char* text
    cdef ssize_t got = 1
    job.verdict = VERDICT_READ
    job.error = EFBIG
    if size > AUTH_FILE_MOST:
        return NULL
    text = <char*> malloc(size + 1)
    job.error = ENOMEM
    if text == NULL:
        return NULL
    while n[0] < size and got > 0:
        got = pread(fd, text + n[0], size - n[0], n[0])
        if got > 0:
            n[0] += got
    if size == 0:                       # of a directory or a pipe, too
        got = pread(fd, text, 1, 0)
        n[0] = got if got > 0 else 0
    if got < 0:
        job.error = errno
        free(text)
        return NULL
    return text


cdef uint8_t auth_judge(AuthJob* job, const char* text, uint32_t n) noexcept nogil:
    cdef char hash[AUTH_HASH_MOST]
    cdef Str found = auth_line(text, n, job.user, job.user_n)
    cdef int rc
    if found.p == NULL:
        return VERDICT_UNKNOWN
    if found.n >= sizeof(hash):
        return VERDICT_WRONG
    memcpy(hash, found.p, found.n)
    hash[found.n] = 0
    rc = auth_matches(job.password, hash, found.n)
    if rc < 0:
        job.error = errno
    OPENSSL_cleanse(hash, sizeof(hash))
    return VERDICT_CRYPT if rc < 0 else VERDICT_GOOD if rc else VERDICT_WRONG


# ---- hashes

cdef int auth_matches(const char* password, const char* hash, uint32_t n) noexcept nogil:
    """Is it the hash of this password? -1: it cannot be worked out (errno)."""
    if strncmp(hash, b"$apr1$", 6) == 0:
        return auth_apr1(password, hash)
    if strncmp(hash, b"{PLAIN}", 7) == 0:
        return auth_same(password, strlen(password), hash + 7, n - 7)
    if strncmp(hash, b"{SSHA}", 6) == 0:
        return auth_sha(password, hash + 6, n - 6, True)
    if strncmp(hash, b"{SHA}", 5) == 0:
        return auth_sha(password, hash + 5, n - 5, False)
    return auth_crypt(password, hash)


cdef bint auth_same(const char* a, size_t n, const char* b, size_t m) noexcept nogil:
    return n == m and CRYPTO_memcmp(a, b, n) == 0


cdef int auth_crypt(const char* password, const char* hash) noexcept nogil:
    cdef crypt_data* data = <crypt_data*> calloc(1, sizeof(crypt_data))
    cdef char* made
    cdef int rc
    if data == NULL:
        return -1
    made = crypt_r(password, hash, data)
    rc = -1 if made == NULL else auth_same(made, strlen(made), hash, strlen(hash))
    OPENSSL_cleanse(data, sizeof(crypt_data))
    free(data)
    return rc


cdef int auth_sha(const char* password, const char* coded, uint32_t n, bint salted) noexcept nogil:
    """base64(SHA1(password salt) salt)"""
    cdef char given[AUTH_HASH_MOST]
    cdef uint8_t made[64]
    cdef unsigned int size = 0
    cdef int32_t have = auth_base64(coded, n, given)
    cdef EVP_MD_CTX* c
    if have < 20 or (not salted and have != 20):
        return 0
    c = EVP_MD_CTX_new()
    if c == NULL:
        return -1
    EVP_DigestInit_ex(c, EVP_sha1(), NULL)
    EVP_DigestUpdate(c, password, strlen(password))
    EVP_DigestUpdate(c, given + 20, have - 20)
    EVP_DigestFinal_ex(c, made, &size)
    EVP_MD_CTX_free(c)
    return size == 20 and CRYPTO_memcmp(made, given, 20) == 0


cdef int auth_apr1(const char* password, const char* hash) noexcept nogil:
    """Apache's variant of MD5 crypt: $apr1$SALT$HASH."""
    cdef const char* salt = hash + 6
    cdef char text[32]
    cdef uint8_t sum[64]
    cdef size_t n = 0
    cdef EVP_MD_CTX* c = EVP_MD_CTX_new()
    if c == NULL:
        return -1
    while n < 8 and salt[n] and salt[n] != c"$":
        n += 1
    auth_apr1_sum(c, password, salt, n, sum)
    EVP_MD_CTX_free(c)
    auth_apr1_text(sum, text)
    return salt[n] == c"$" and auth_same(text, 22, salt + n + 1, strlen(salt + n + 1))


cdef void auth_apr1_sum(EVP_MD_CTX* c, const char* password, const char* salt, size_t salt_n, uint8_t* sum) noexcept nogil:
    cdef size_t n = strlen(password), i
    cdef uint8_t nothing = 0
    EVP_DigestInit_ex(c, EVP_md5(), NULL)
    EVP_DigestUpdate(c, password, n)
    EVP_DigestUpdate(c, salt, salt_n)
    EVP_DigestUpdate(c, password, n)
    EVP_DigestFinal_ex(c, sum, NULL)
    EVP_DigestInit_ex(c, EVP_md5(), NULL)
    EVP_DigestUpdate(c, password, n)
    EVP_DigestUpdate(c, <const char*> b"$apr1$", 6)
    EVP_DigestUpdate(c, salt, salt_n)
    i = n
    while i:
        EVP_DigestUpdate(c, sum, i if i < 16 else 16)
        i -= i if i < 16 else 16
    i = n
    while i:
        EVP_DigestUpdate(c, <const char*> &nothing if i & 1 else password, 1)
        i >>= 1
    EVP_DigestFinal_ex(c, sum, NULL)
    for i in range(1000):
        EVP_DigestInit_ex(c, EVP_md5(), NULL)
        EVP_DigestUpdate(c, password if i & 1 else <const char*> sum, n if i & 1 else 16)
        if i % 3:
            EVP_DigestUpdate(c, salt, salt_n)
        if i % 7:
            EVP_DigestUpdate(c, password, n)
        EVP_DigestUpdate(c, <const char*> sum if i & 1 else password, 16 if i & 1 else n)
        EVP_DigestFinal_ex(c, sum, NULL)


cdef void auth_apr1_text(const uint8_t* s, char* text) noexcept nogil:
    """22 digits of crypt's base 64."""
    cdef const char* digits = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    cdef uint32_t bits, i, k
    for i in range(5):
        bits = <uint32_t> s[i] << 16 | <uint32_t> s[i + 6] << 8 | s[i + 12 if i < 4 else 5]
        for k in range(4):
            text[4 * i + k] = digits[bits >> 6 * k & 63]
    text[20] = digits[s[11] & 63]
    text[21] = digits[s[11] >> 6]
