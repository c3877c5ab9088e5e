"""The loop's time slice.

Who shares the core of a worker's loop (its own puller, the master, a Consul agent of this machine) may run for a whole slice,
3 ms, before a request that has come in is looked at: the kernel keeps a thread that has begun (RUN_TO_PARITY), however nice it
is. A thread with a shorter slice may interrupt it when it wakes: it gets no more time than before, only sooner (EEVDF, since
Linux 6.12; an older kernel takes the call and changes nothing).
"""

cdef extern from "<sys/syscall.h>" nogil:
    enum:
        SYS_sched_getattr, SYS_sched_setattr

cdef extern from "<unistd.h>" nogil:
    long syscall(long number, ...) noexcept

cdef enum:
    SLICE_NS = 100000          # the least that the kernel takes


cdef struct SchedAttr:         # struct sched_attr of sched_setattr(2), its first version
    uint32_t size, policy
    uint64_t flags
    int32_t nice
    uint32_t priority
    uint64_t runtime, deadline, period


cdef void sched_shorten() noexcept nogil:
    """This thread: policy and nice value stay. What the kernel or a seccomp filter refuses stays as it was."""
    cdef SchedAttr a
    memset(&a, 0, sizeof(a))
    if syscall(SYS_sched_getattr, 0, &a, <uint32_t> sizeof(a), 0) != 0 or a.policy != 0:      # 0: SCHED_OTHER
        return
    a.size = sizeof(a)
    a.runtime = SLICE_NS
    syscall(SYS_sched_setattr, 0, &a, 0)
