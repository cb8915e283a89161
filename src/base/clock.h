/* clock.h - monotonic time, and the processor's own counter.   Threads: any. */
#ifndef SR_BASE_CLOCK_H
#define SR_BASE_CLOCK_H
#include <stdint.h>
#include <time.h>

static inline uint64_t sr_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Reference cycles: x86's time stamp counter, which runs at the nominal clock whatever the core does; 0 elsewhere. */
static inline uint64_t sr_cycles(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    return 0;
#endif
}
#endif
