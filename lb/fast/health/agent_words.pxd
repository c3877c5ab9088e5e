"""What an agent says: one line of words in HAProxy's language (its manual, `agent-check`). Pure.

    up  ready  drain  maint  down  stopped  fail  failed  75%  #text to the end of the line

Words stand between blanks, tabs and commas, in any case; one that nobody knows is passed over. What is not said does not change.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from lb.fast.c.sys cimport strncasecmp
from lb.fast.health.word cimport HEALTH_AGENT_DOWN, HEALTH_DRAIN, HEALTH_MAINT

cdef enum:
    AGENT_LINE = 1024           # bytes of the longest line

ctypedef struct AgentWords:
    uint8_t raise_              # bits of Health.word
    uint8_t clear
    int32_t percent             # of its weight, 100 at most; -1: not said
    uint32_t known              # how many words had a meaning
    uint32_t end                # of the words: there the text or the line's end begins


cdef inline bint agent_line(const char* p, uint32_t n, bint end, uint32_t* size) noexcept nogil:
    """Is there a whole line? Its bytes without the line's end; `end`: nothing more comes."""
    cdef uint32_t i = 0
    while i < n and p[i] != 13 and p[i] != 10:
        i += 1
    size[0] = i
    return i < n or end


cdef inline void agent_words(const char* p, uint32_t n, AgentWords* w) noexcept nogil:
    """Of a line. The last of two words that contradict each other counts."""
    cdef uint32_t i = 0, begin
    w.raise_ = w.clear = 0
    w.percent = -1
    w.known = 0
    while i < n and p[i] != 35:
        begin = i
        while i < n and p[i] not in (32, 9, 44, 35):
            i += 1
        if i > begin:
            w.known += agent_word(p + begin, i - begin, w)
        elif p[i] != 35:
            i += 1
    w.end = i


cdef inline bint agent_is(const char* p, uint32_t n, const char* word, uint32_t size) noexcept nogil:
    return n == size and strncasecmp(p, word, size) == 0


cdef inline bint agent_word(const char* p, uint32_t n, AgentWords* w) noexcept nogil:
    """True: it means something."""
    if p[n - 1] == 37:
        return agent_percent(p, n - 1, w)
    if agent_is(p, n, b"up", 2):
        agent_bits(w, 0, HEALTH_AGENT_DOWN)
    elif (agent_is(p, n, b"down", 4) or agent_is(p, n, b"stopped", 7) or agent_is(p, n, b"fail", 4)
          or agent_is(p, n, b"failed", 6)):
        agent_bits(w, HEALTH_AGENT_DOWN, 0)
    elif agent_is(p, n, b"ready", 5):
        agent_bits(w, 0, HEALTH_DRAIN | HEALTH_MAINT)
    elif agent_is(p, n, b"drain", 5):
        agent_bits(w, HEALTH_DRAIN, HEALTH_MAINT)
    elif agent_is(p, n, b"maint", 5):
        agent_bits(w, HEALTH_MAINT, HEALTH_DRAIN)
    else:
        return False
    return True


cdef inline void agent_bits(AgentWords* w, uint8_t set_, uint8_t clear) noexcept nogil:
    w.raise_ = (w.raise_ & ~clear) | set_
    w.clear = (w.clear & ~set_) | clear


cdef inline bint agent_percent(const char* p, uint32_t n, AgentWords* w) noexcept nogil:
    cdef uint32_t i
    cdef int32_t found = 0
    if n == 0 or n > 5:
        return False
    for i in range(n):
        if not 48 <= p[i] <= 57:
            return False
        found = found * 10 + (p[i] - 48)
    w.percent = found if found < 100 else 100
    return True
