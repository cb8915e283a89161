/* testkit.h - runs one op with real threads on memory of exactly the promised size, for tests and benches.
 *
 * A kit is a program of one op with up to eight slots and four weights.  Set it up with kit_slot() and
 * kit_weight(), fill shapes and batch, then kit_run(kernel, threads).  kit_free() releases all.
 */
#ifndef SR_OPS_TESTKIT_H
#define SR_OPS_TESTKIT_H
#include "base/cpu.h"
#include "base/mem.h"
#include "ops/cpu.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

typedef struct {
    sr_program prog;
    sr_op      op;
    sr_slot    slot[8];
    sr_weight  weight[4];
    sr_wref    wref[4];
    void      *base[8];
    sr_shape   n, max;
    sr_batch   batch;
    sr_sampled previous[64];
    uint32_t   layers; /* > 1: kit_run_times goes through op.n_w = 0 .. layers-1 in turn */
    void      *owned[64];
    uint32_t   n_owned;
} kit;

static inline void *kit_own(kit *k, size_t bytes)
{
    void *p = sr_aligned(64, bytes ? bytes : 1);
    return k->owned[k->n_owned++] = p;
}

static inline void kit_free(kit *k)
{
    while (k->n_owned)
        sr_free(k->owned[--k->n_owned]);
}

/* xorshift: tests need many numbers, not good ones. */
static inline uint64_t kit_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static inline uint32_t kit_below(uint64_t *state, uint32_t n) { return (uint32_t)((kit_random(state) >> 33) % n); }

/* About normal: the sum of four uniforms in (-1, 1). */
static inline float kit_normal(uint64_t *state)
{
    float s = 0;
    for (int i = 0; i < 4; i++)
        s += (float)(int32_t)(kit_random(state) >> 32) * 0x1p-31f;
    return s * 0.866f;
}

static inline void kit_fill(float *x, size_t n, float scale, uint64_t *state)
{
    for (size_t i = 0; i < n; i++)
        x[i] = kit_normal(state) * scale;
}

static inline float *kit_slot(kit *k, uint32_t id, uint32_t rows_kind, uint32_t width, uint32_t rows)
{
    k->slot[id] = (sr_slot){.width = width, .fixed = rows, .dtype = SR_F32, .rows = (uint16_t)rows_kind};
    return k->base[id] = kit_own(k, (size_t)rows * width * 4);
}

static inline void kit_weight(kit *k, uint32_t id, uint16_t format, const void *p, uint32_t rows, uint32_t cols)
{
    k->weight[id] = (sr_weight){.format = format, .rows = rows, .cols = cols};
    k->wref[id]   = (sr_wref){.p = p, .n_row = rows, .n_col = cols, .format = format};
}

/* All threads have come.  Spins, for benches; gives way now and then, for machines with fewer cores. */
typedef struct { uint32_t n, here, round; } kit_barrier;

static inline void kit_wait(kit_barrier *b)
{
    uint32_t round = __atomic_load_n(&b->round, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&b->here, 1, __ATOMIC_ACQ_REL) == b->n) {
        __atomic_store_n(&b->here, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&b->round, round + 1, __ATOMIC_RELEASE);
        return;
    }
    for (uint32_t i = 1; __atomic_load_n(&b->round, __ATOMIC_ACQUIRE) == round; i++)
        if (i % 4096 == 0)
            sched_yield();
}

typedef struct {
    const sr_cpukernel *kernel;
    sr_cpujob           job;
    kit_barrier        *barrier;
    uint32_t            times, layers;
    sr_op              *op;
} kit_worker;

static inline void *kit_thread(void *arg)
{
    kit_worker *w = arg;
    for (uint32_t i = 0; i < w->times; i++)
        for (uint32_t p = 0; p < w->kernel->phases; p++) {
            w->kernel->run(&w->job, p);
            kit_wait(w->barrier);
            if (w->job.thread == 0)
                __atomic_store_n(w->job.next, 0, __ATOMIC_RELAXED);
            if (w->job.thread == 0 && w->layers > 1 && p + 1 == w->kernel->phases)
                w->op->n_w = (w->op->n_w + 1) % w->layers;
            kit_wait(w->barrier);
        }
    return NULL;
}

static inline void kit_program(kit *k)
{
    k->prog.op       = &k->op;
    k->prog.n_op     = 1;
    k->prog.slot     = k->slot;
    k->prog.n_slot   = 8;
    k->prog.weight   = k->weight;
    k->prog.n_weight = 4;
    k->batch.n       = &k->n;
}

static inline bool kit_can(kit *k, const sr_cpukernel *kernel)
{
    kit_program(k);
    return (sr_cpu_features() & kernel->needs) == kernel->needs && (!kernel->supports || kernel->supports(&k->prog, &k->op));
}

/* Runs the op `times` times.  False: this machine cannot run the kernel, or the kernel does not take the op; nothing was done. */
static inline bool kit_run_times(kit *k, const sr_cpukernel *kernel, uint32_t threads, uint32_t times)
{
    if (!kit_can(k, kernel))
        return false;
    pthread_t   thread[16];
    kit_worker  worker[16];
    kit_barrier barrier = {.n = threads};
    uint32_t    next    = 0;
    void       *scratch = sr_aligned(64, sr_op_scratch(&k->prog, 0, &k->max, threads) + 1);
    for (uint32_t i = 0; i < threads; i++) {
        worker[i] = (kit_worker){kernel, {.prog = &k->prog, .op = &k->op, .n = &k->n, .max = &k->max, .slot = k->base,
                                          .weight = k->wref, .batch = &k->batch, .previous = k->previous,
                                          .scratch = scratch, .thread = i, .n_threads = threads, .next = &next},
                                 &barrier, times, k->layers, &k->op};
        if (i)
            pthread_create(&thread[i], NULL, kit_thread, &worker[i]);
    }
    kit_thread(&worker[0]);
    for (uint32_t i = 1; i < threads; i++)
        pthread_join(thread[i], NULL);
    sr_free(scratch);
    return true;
}

static inline bool kit_run(kit *k, const sr_cpukernel *kernel, uint32_t threads) { return kit_run_times(k, kernel, threads, 1); }
#endif
