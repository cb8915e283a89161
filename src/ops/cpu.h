/* cpu.h - how a kernel of an op family is called on the CPU.
 *
 * Every thread of the pool calls run(job, phase) for each phase; the executor puts a barrier after each.
 * Threads share out the work by (thread, n_threads), or by drawing chunks from counters (zero at the start
 * of each phase): one that all share, or one of each thread, which the others draw from when theirs is used up.  Nothing is allocated; working memory is job->scratch, sized by the family's scratch
 * function for the maximum shape and shared by the threads of the op.
 *
 * Order of summation: an output's value may depend on its inputs only, never on shape.tok, the number
 * of threads, the rows a device was given, or the instruction set.  References state the order; fast
 * paths keep it.  (This makes the CPU backend the oracle for every other.)
 *
 * Threads: as said.   Errors: none; supports() has been asked before.
 */
#ifndef SR_OPS_CPU_H
#define SR_OPS_CPU_H
#include "ops/op.h"

typedef struct {
    const sr_program *prog;
    const sr_op      *op;
    const sr_shape   *n, *max;
    void *const      *slot;     /* base of each slot */
    const sr_wref    *weight;   /* by weight id */
    const sr_batch   *batch;
    const sr_sampled *previous; /* what the previous step sampled, for batch.tok < 0 */
    void             *scratch;
    uint32_t          thread, n_threads;
    uint32_t         *next;     /* counters, SR_CPU_NEXT apart: one of each thread; the first is the shared one */
} sr_cpujob;
enum { SR_CPU_NEXT = 16 };      /* a cache line each */

typedef struct {
    const char *family, *isa;   /* "linear", "avx2"; isa "ref": plain C, the specification */
    uint32_t    needs;          /* SR_CPU_* bits, all of which the machine must have (base/cpu.h) */
    uint32_t    phases;
    void (*run)(const sr_cpujob *j, uint32_t phase);
    bool (*supports)(const sr_program *p, const sr_op *op); /* NULL: everything its family has */
    /* Phases of this step, when fewer can do (a single row need not be shared out first); NULL: always `phases`.
     * Depends on the step's counts only, so that all threads agree; the phases left out are the first ones. */
    uint32_t (*skip)(const sr_cpujob *j);
} sr_cpukernel;

static inline uint32_t sr_cpu_take(const sr_cpujob *j) { return __atomic_fetch_add(j->next, 1, __ATOMIC_RELAXED); }
static inline uint32_t sr_cpu_take_of(const sr_cpujob *j, uint32_t thread)
{
    return __atomic_fetch_add(&j->next[(size_t)thread * SR_CPU_NEXT], 1, __ATOMIC_RELAXED);
}

/* This thread's share [*a, *b) of n items in units of `grain`. */
static inline void sr_cpu_share(const sr_cpujob *j, uint32_t n, uint32_t grain, uint32_t *a, uint32_t *b)
{
    uint64_t units = (n + grain - 1) / grain;
    uint64_t lo = units * j->thread / j->n_threads * grain, hi = units * (j->thread + 1) / j->n_threads * grain;
    *a = (uint32_t)(lo < n ? lo : n);
    *b = (uint32_t)(hi < n ? hi : n);
}
#endif
