/* Checks of the engine. BUG_ON: an invariant; compiled in by LB_DEBUG, it prints the place and aborts. COUNT_IF: what
 * should not happen but may: counted in the worker's shared block and shown on the status page. */
#ifndef LB_DEBUG_H
#define LB_DEBUG_H

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

#ifndef LB_BUILD_NAME
#define LB_BUILD_NAME "release"
#define LB_BUILD_FLAGS ""
#endif

#define lb_likely(x) __builtin_expect(!!(x), 1)
#define lb_unlikely(x) __builtin_expect(!!(x), 0)

#endif
