"""Deadlines: a hashed wheel that is touched at most once per request.

A timer holds its deadline (`at`) apart from the slot where it hangs (`due`). Moving a deadline later is one store; the
wheel finds out when it visits the slot, and hangs the timer again. Only an earlier deadline relinks. 4096 slots of 16 ms:
a turn takes 65 s; a deadline further away is visited once per turn.

    timer_set -> linked at due <= at -> timer_next visits: at == 0: unlinked; at > now: hung again; else: it fires
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from lb.fast.types cimport Timer, Wheel
from lb.fast.c.sys cimport lb_ctz64, memset, unlikely

cdef enum:
    TICK_SHIFT = 4          # 16 ms
    SLOTS = 4096


cdef inline void timer_init(Wheel* w, int64_t now) noexcept nogil:
    cdef int i
    memset(w.busy, 0, sizeof(w.busy))
    for i in range(SLOTS):
        w.slots[i].next = &w.slots[i]
        w.slots[i].prev = &w.slots[i]
    w.tick = now >> TICK_SHIFT
    w.trace = NULL


cdef inline void timer_unlink(Timer* t) noexcept nogil:
    t.prev.next = t.next
    t.next.prev = t.prev
    t.due = 0


cdef inline void timer_link(Wheel* w, Timer* t, int64_t at) noexcept nogil:
    """Hang `t` so that it is visited at `at`, rounded up to a tick (never in a tick that has been visited)."""
    cdef int64_t tick = (at + (1 << TICK_SHIFT) - 1) >> TICK_SHIFT
    cdef uint32_t slot
    cdef Timer* head
    if tick <= w.tick:
        tick = w.tick + 1
    elif tick > w.tick + SLOTS - 1:
        tick = w.tick + SLOTS - 1
    slot = <uint32_t> (tick & (SLOTS - 1))
    head = &w.slots[slot]
    t.due = tick << TICK_SHIFT
    t.prev = head.prev
    t.next = head
    head.prev.next = t
    head.prev = t
    w.busy[slot >> 6] |= (<uint64_t> 1) << (slot & 63)


cdef inline void timer_set(Wheel* w, Timer* t, int64_t at) noexcept nogil:
    if unlikely(w.trace != NULL):
        w.trace(t, at)
    t.at = at
    if t.due == 0:
        timer_link(w, t, at)
    elif at + (1 << TICK_SHIFT) <= t.due:
        timer_unlink(t)
        timer_link(w, t, at)


cdef inline void timer_clear(Timer* t) noexcept nogil:
    """No deadline. The timer stays where it hangs until it is visited, set again or dropped."""
    t.at = 0


cdef inline void timer_drop(Timer* t) noexcept nogil:
    """No deadline, and out of the wheel: before its memory is freed."""
    if t.due != 0:
        timer_unlink(t)
    t.at = 0


cdef inline Timer* timer_next(Wheel* w, int64_t now) noexcept nogil:
    """The next timer whose deadline has passed, unlinked; NULL when there is none. Call until NULL."""
    cdef int64_t end = now >> TICK_SHIFT
    cdef uint32_t slot
    cdef Timer* head
    cdef Timer* t
    if end - w.tick > SLOTS:          # the process was stopped for longer than a turn: each slot once is enough
        w.tick = end - SLOTS
    while w.tick < end:
        slot = <uint32_t> ((w.tick + 1) & (SLOTS - 1))
        if w.busy[slot >> 6] & ((<uint64_t> 1) << (slot & 63)):
            head = &w.slots[slot]
            while head.next != head:
                t = head.next
                timer_unlink(t)
                if t.at == 0:
                    continue
                if t.at > now:        # moved later since: rounding up keeps it out of every slot up to `end`
                    timer_link(w, t, t.at)
                    continue
                return t
            w.busy[slot >> 6] &= ~((<uint64_t> 1) << (slot & 63))
        w.tick += 1
    return NULL


cdef inline int64_t timer_wait(Wheel* w, int64_t now, int64_t most) noexcept nogil:
    """Milliseconds until the next slot that may hold a timer, at most `most`."""
    cdef int64_t tick = w.tick + 1
    cdef int64_t last = (now + most) >> TICK_SHIFT
    cdef uint32_t slot
    cdef uint64_t word
    cdef int64_t wait
    while tick <= last:
        slot = <uint32_t> (tick & (SLOTS - 1))
        word = w.busy[slot >> 6] >> (slot & 63)
        if word:
            tick += lb_ctz64(word)
            wait = (tick << TICK_SHIFT) - now
            if wait < 0:
                return 0
            return wait if wait < most else most
        tick += 64 - (slot & 63)
    return most
