/* futex.h - sleep on a 32-bit word until it changes; spin first.
 *
 * sr_pause_until() is how short waits are done everywhere: a few hundred pauses, then yielding (so that a
 * thread with work gets this core), and only the caller decides when to sleep in the kernel.
 *
 * Threads: any; process-private unless `shared`.   Linux only.
 */
#ifndef SR_BASE_FUTEX_H
#define SR_BASE_FUTEX_H
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Returns at once when *w != seen; else sleeps until woken, at most timeout_ns (0: no limit). */
static inline void sr_futex_wait(uint32_t *w, uint32_t seen, uint64_t timeout_ns, bool shared)
{
    struct timespec ts = {(time_t)(timeout_ns / 1000000000u), (long)(timeout_ns % 1000000000u)};
    syscall(SYS_futex, w, shared ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE, seen, timeout_ns ? &ts : NULL, NULL, 0);
}

static inline void sr_futex_wake(uint32_t *w, bool shared)
{
    syscall(SYS_futex, w, shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static inline void sr_cpu_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* The i-th round of a wait loop. */
static inline void sr_spin(uint32_t i)
{
    if (i < 256)
        sr_cpu_pause();
    else
        sched_yield();
}
#endif
