"""The tables of counters (c/stats.h) as Python has them, and a worker's counters by name."""

Counter = namedtuple("Counter", "name kind metric worker_metric help")
ServerCounter = namedtuple("ServerCounter", "name kind metric help at cells servers")


cdef tuple stats_counters():
    cdef const LbCounter* c
    cdef list found = []
    for i in range(LB_COUNTERS_N):
        c = &lb_counters[i]
        found.append(Counter(c.name.decode(), c.kind.decode(), c.metric.decode(), c.worker.decode(), c.help.decode()))
    return tuple(found)


cdef tuple stats_server_counters():
    cdef const LbCounter* c = lb_server_counters
    cdef list found = []
    while c.name != NULL:
        found.append(ServerCounter(
            c.name.decode(), c.kind.decode(), c.metric.decode(), c.help.decode(), c.at, c.cells, bool(c.servers)))
        c += 1
    return tuple(found)


COUNTERS = stats_counters()
SERVER_COUNTERS = stats_server_counters()


STATS_BYTES = (sizeof(WorkerStats), sizeof(ServerStats))     # of one worker, of one server


def stats_size(int workers, int upstreams=0):
    """Bytes of the shared counters of that many workers, and of their ServerStats for so many upstreams."""
    return workers * (sizeof(WorkerStats) + stats_room(upstreams) * sizeof(ServerStats))


def read_stats(shm, int worker):
    """One worker's counters by name; all zero before it has started."""
    cdef const unsigned char[::1] view = shm
    cdef const uint64_t* at = <const uint64_t*> &view[worker * sizeof(WorkerStats)]
    return {one.name: at[lb_counters[<int> i].at] for i, one in enumerate(COUNTERS)}
