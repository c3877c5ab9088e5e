"""check_agent: a program beside the server says how it wants to be used, in HAProxy's words (agent_words.pxd).

    a Check of its own (Peer.agent), on the agent's port -> agent_judge: the line's words -> bits and share of Health.word

Checks and agent do not meet: each has its own bits, and a server is used when none of them takes it out. As in HAProxy, an agent
that does not answer, or says nothing that is known, changes nothing.
"""


cdef void agent_begin(Peer* p, uint32_t servers) noexcept nogil:
    """Behind its check. A unix socket has no port, and so no agent."""
    cdef CheckConf* conf = p.ups.check.agent
    if p.check == NULL or conf == NULL or p.family == AF_UNIX:
        agent_say(p.health, HEALTH_AGENT, 0, HEALTH_WHOLE)      # a configuration before this one may have had one
        return
    p.agent = check_begin(p, conf, servers)
    if p.agent != NULL:
        p.agent.known = 1


cdef void agent_say(Health* h, uint64_t clear, uint64_t raise_, uint64_t share) noexcept nogil:
    """Only the checker writes these bits, and only its one thread."""
    cdef uint64_t word = (h.word & ~(clear | <uint64_t> 255 << HEALTH_SHARE)) | raise_ | share << HEALTH_SHARE
    if word != h.word:
        lb_atomic_store(&h.word, word)
        health_announce(loop.health, h)


cdef int agent_judge(Check* k, const char* p, uint32_t n, bint end) noexcept nogil:
    cdef AgentWords w
    cdef uint32_t size = 0
    if n == 0 or not agent_line(p, n, end, &size):
        return JUDGE_MORE if n < AGENT_LINE else JUDGE_FAIL
    agent_words(p, size, &w)
    if w.known == 0:
        return JUDGE_FAIL
    agent_take(k, &w, p, size)
    return JUDGE_OK


cdef void agent_take(Check* k, AgentWords* w, const char* p, uint32_t n) noexcept nogil:
    cdef Health* h = k.health
    cdef uint64_t before = h.word
    cdef uint64_t share = before >> HEALTH_SHARE & 255
    cdef uint64_t clear = w.clear, raise_ = w.raise_
    cdef uint32_t i
    if w.percent >= 0:
        share = (<uint64_t> w.percent * HEALTH_WHOLE + 50) // 100
        clear |= HEALTH_NO_SHARE
        if w.percent == 0:
            raise_ |= HEALTH_NO_SHARE
    agent_say(h, clear, raise_, share)
    h.agent_len = min(n, <uint32_t> sizeof(h.agent))
    for i in range(h.agent_len):
        h.agent[i] = p[i] if 32 <= p[i] < 127 else c"."
    if h.word != before:
        agent_log(k)


cdef void agent_done(Check* k, bint ok) noexcept nogil:
    """Its line was taken when it came; what else there is changes nothing."""
    pass


cdef void agent_log(Check* k) noexcept nogil:
    cdef Out o
    if not error_begin(&o, &loop.errors, LOG_WARN):
        return
    out_text(&o, b"agent of peer: ")
    out_str(&o, k.peer.name)
    out_text(&o, b" says \"")
    out_escaped(&o, k.health.agent, k.health.agent_len)
    out_text(&o, b"\", upstream: \"")
    out_str(&o, k.peer.ups.name)
    out_char(&o, 34)
    error_end(&o, &loop.errors, LOG_WARN)
