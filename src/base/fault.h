/* fault.h - make the N-th allocation, open, read, write, copy or connection fail, on purpose.
 *
 * A test arms one kind ("the 17th allocation from now"), runs a scenario, and asks whether the
 * fault fired; it loops N upwards until it no longer fires.  What must hold on every pass: an
 * error with a message, no leak, no crash, and a following run without faults that works.
 * [after SQLite's test_malloc.c]
 *
 * Threads: arm and disarm while no other thread runs the code under test; sr_fault() from any.
 * Cost when not armed: one relaxed load.
 */
#ifndef SR_BASE_FAULT_H
#define SR_BASE_FAULT_H
#include <stdbool.h>
#include <stdint.h>
typedef enum {
    SR_FAULT_ALLOC,  /* host memory (mem.h) */
    SR_FAULT_OPEN,   /* opening and mapping files */
    SR_FAULT_READ,   /* file reads */
    SR_FAULT_WRITE,  /* file writes */
    SR_FAULT_ACCEPT, /* connections */
    SR_FAULT_COPY,   /* device copies */
    SR_FAULT_DEVALLOC,
    SR_FAULT_SUBMIT,
    SR_FAULT_READ_ONCE, /* a read of weights that would work if it were tried again */
    SR_FAULT_COUNT
} sr_faultkind;

void sr_fault_arm(sr_faultkind kind, uint64_t nth); /* nth = 1: the next one; 0: disarm */
bool sr_fault_fired(sr_faultkind kind);             /* since it was armed */
bool sr_fault_slow(sr_faultkind kind);

extern int sr_fault_any; /* how many kinds are armed */

/* True when this call is the one that must fail. */
static inline bool sr_fault(sr_faultkind kind)
{
    return __builtin_expect(__atomic_load_n(&sr_fault_any, __ATOMIC_RELAXED) != 0, 0) && sr_fault_slow(kind);
}
#endif
