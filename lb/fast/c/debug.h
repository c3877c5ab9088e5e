/* Checks of the engine. BUG_ON: an invariant; compiled in by LB_DEBUG, it prints the place and aborts. COUNT_IF: what
 * should not happen but may, and is dealt with: counted in every build, each place in a counter of its own (a glitch of
 * stats.h, which says what it means), told once in the error log, shown by the status port. */
#ifndef LB_DEBUG_H
#define LB_DEBUG_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef LB_DEBUG
#define BUG_ON(cond)                                                                                      \
    do {                                                                                                  \
        if (__builtin_expect(!!(cond), 0)) {                                                              \
            fprintf(stderr, "lb: [alert] bug: %s in %s at %s:%d\n", #cond, __func__, __FILE__, __LINE__); \
            abort();                                                                                      \
        }                                                                                                 \
    } while (0)
/* How often an exchange went from one phase to another (http/request.pyx), for tests. */
static unsigned long lb_walked[16][16] __attribute__((unused));
#define COUNT_WALK(from, to) (lb_walked[from][to]++)
#define LB_WALKED(from, to) (lb_walked[from][to])
#else
#define BUG_ON(cond) ((void)0)
#define COUNT_WALK(from, to) ((void)0)
#define LB_WALKED(from, to) 0ul
#endif

/* Is the transport of the tests built in (io/cutting.pyx)? */
#ifdef LB_DEBUG
#define LB_CUTTING 1
#else
#define LB_CUTTING 0
#endif
static unsigned long lb_glitches; /* of this process; log_tell_all looks whether there are new ones */
#define COUNT_IF(cond, counter)                 \
    do {                                        \
        if (__builtin_expect(!!(cond), 0)) {    \
            (counter)++;                        \
            lb_glitches++;                      \
        }                                       \
    } while (0)
/* Where a reader of this process's memory begins (lb/fast/compile/layout.pyx, lb/inspect/). It is in .data: in every core. */
static struct lb_beacon {
    char magic[16];
    void* itself; /* NULL: no engine was made here */
    void* loop;
    const char* text;
    unsigned long n;
} lb_beacon __attribute__((used)) = {"lb engine beacon", 0, 0, 0, 0};

#ifndef LB_BUILD_NAME
#define LB_BUILD_NAME "release"
#define LB_BUILD_FLAGS ""
#endif

/* To log between a system call and what asks why it failed. */
static inline void lb_errno_set(int e)
{
    errno = e;
}

#define lb_likely(x) __builtin_expect(!!(x), 1)
#define lb_unlikely(x) __builtin_expect(!!(x), 0)

#endif
