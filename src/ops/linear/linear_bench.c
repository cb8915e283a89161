/* strata-bench-linear: time of LINEAR per format, rows of x and instruction set.
 *
 *   strata-bench-linear [-t threads] [-s ROWSxCOLS] [-p pool MB] [-f q4_k,q8_0] [-r 1,2,4] [-i avx2,ref] [-x] [-c]
 *
 * Each repetition takes the next of several weights, pool MB together, so that one row of x finds them in
 * memory and not in a cache; -x: activations stay f32 (give a small -p to see the cache).  The share is of the read bandwidth that the same
 * threads reach on the same pool, measured first.  All kernels' results are compared bit by bit, but for those whose order of sums is their own (amx-bf16: linear_test).
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/bench.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "ops/linear/linear.h"

enum { MAX_THREADS = 256, MAX_REPS = 200 };
#define MAX_NS 400000000u /* of one line */

typedef struct {
    uint32_t threads, rows, cols;
    size_t   pool;
    const char *formats, *counts, *isas;
    bool     csv, f32;
} options;

typedef struct {                /* what the threads do next; begin counts up when it is set */
    const sr_cpukernel *kernel;
    sr_cpujob           job;
    bool                done;
    uint32_t            threads, begin, at, stop;
    uint32_t            next[MAX_THREADS * SR_CPU_NEXT];
} crew;
typedef struct { crew *c; uint32_t id; } hand;

static void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Everyone arrives, then everyone leaves; the last one clears the share counter. */
static void barrier(crew *c, uint32_t *turn)
{
    uint32_t goal = ++*turn * c->threads;
    if (__atomic_add_fetch(&c->at, 1, __ATOMIC_ACQ_REL) == goal) {
        memset(c->next, 0, c->threads * SR_CPU_NEXT * sizeof *c->next);
        __atomic_store_n(&c->stop, *turn, __ATOMIC_RELEASE);
        return;
    }
    while (__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE) < *turn)
        pause_cpu();
}

static void part_of(crew *c, uint32_t id, uint32_t *turn)
{
    barrier(c, turn);
    sr_cpujob j = c->job;
    j.thread    = id;
    for (uint32_t phase = c->kernel && c->kernel->skip ? c->kernel->skip(&j) : 0; c->kernel && phase < c->kernel->phases; phase++) {
        c->kernel->run(&j, phase);
        if (phase + 1 < c->kernel->phases)
            barrier(c, turn);
    }
    barrier(c, turn);
}

static void *hand_main(void *arg)
{
    hand    *h    = arg;
    uint32_t turn = 0;
    for (;;) {
        part_of(h->c, h->id, &turn);
        if (h->c->done)
            return NULL;
    }
}

static uint64_t run_once(crew *c, uint32_t *turn)
{
    uint64_t t = sr_now_ns();
    part_of(c, 0, turn);
    return sr_now_ns() - t;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* ---- data ------------------------------------------------------------------------------------------- */

static uint64_t seed = 1;
static uint32_t draw(void) { return (uint32_t)((seed = seed * 6364136223846793005u + 1442695040888963407u) >> 33); }

/* Random blocks: the time does not depend on the values, but scales must be numbers. */
static void fill(uint32_t format, unsigned char *p, size_t bytes)
{
    const sr_dtypeinfo *t = sr_dtype_info(format);
    for (size_t i = 0; i + 4 <= bytes; i += 4) {
        uint32_t v = draw();
        memcpy(p + i, &v, 4);
    }
    for (size_t i = 0; i < bytes; i += t->bytes) {
        uint16_t d = sr_f32_to_f16((float)(draw() % 1000) / 1000);
        float    f = (float)(draw() % 1000) / 1000;
        memcpy(p + i + (format == SR_Q6_K ? 208 : 0), format == SR_F32 ? (void *)&f : (void *)&d, format == SR_F32 ? 4 : 2);
        if (format == SR_Q4_K || format == SR_Q5_K)
            memcpy(p + i + 2, &d, 2);
    }
}

static bool listed(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (strncasecmp(p, name, n) == 0 && (p[n] == ',' || p[n] == 0))
            return true;
    return !list;
}

/* ---- one format ------------------------------------------------------------------------------------- */

typedef struct { uint64_t median, p10, p90; } timing;

static timing measure(crew *c, uint32_t *turn, sr_wref *ref, const char *weights, size_t bytes, size_t copies)
{
    static uint64_t t[MAX_REPS];
    size_t          n = 0;
    uint64_t        sum = 0;
    while (n < MAX_REPS && (n < 4 || sum < MAX_NS)) {
        ref->p = weights + n % copies * bytes;
        t[n]   = run_once(c, turn);
        sum += t[n++];
    }
    ref->p = weights;
    run_once(c, turn); /* so that all kernels leave the result of the same weights */
    qsort(t, n, sizeof *t, by_size);
    return (timing){t[n / 2], t[n / 10], t[n * 9 / 10]};
}

static int bench_format(const options *o, crew *c, uint32_t *turn, uint32_t format, double bandwidth)
{
    static const uint32_t all_counts[] = {1, 2, 4, 8, 16, 64, 512};
    size_t     bytes = sr_row_bytes(format, o->cols) * o->rows, copies = SR_MAX(o->pool / bytes, 1);
    sr_weight  weight = {.format = (uint16_t)format, .rows = o->rows, .cols = o->cols};
    sr_wref    ref = {.n_row = o->rows, .n_col = o->cols, .format = (uint16_t)format};
    sr_slot    slot[2] = {{.width = o->cols, .rows = SR_ROWS_TOK}, {.width = o->rows, .rows = SR_ROWS_TOK}};
    sr_op      op = {.code = SR_OP_LINEAR, .n_w = 1, .epilogue = SR_NONE, .out = {1}, .dim = {o->cols, o->rows}};
    sr_program prog = {.op = &op, .n_op = 1, .slot = slot, .n_slot = 2, .weight = &weight, .n_weight = 1};
    sr_shape   n = {.tok = 1}, max = {.tok = 512};
    size_t     y_bytes = (size_t)max.tok * o->rows * 4, scratch = sr_linear_scratch(&prog, &op, &max, o->threads);
    unsigned char *w = sr_aligned(64, copies * bytes + 64);
    float     *x = sr_aligned(64, (size_t)max.tok * o->cols * 4), *y = sr_aligned(64, y_bytes), *first = sr_malloc(y_bytes);
    void      *work = sr_aligned(64, scratch), *at[2] = {x, y};
    int        wrong = 0;
    if (!w || !x || !y || !work || !first) {
        fprintf(stderr, "no memory for %zu bytes of %s\n", copies * bytes, sr_dtype_name(format));
        return 1;
    }
    for (size_t k = 0; k < copies; k++)
        k ? memcpy(w + k * bytes, w, bytes) : (void *)(fill(format, w, bytes), w);
    for (size_t i = 0; i < (size_t)max.tok * o->cols; i++)
        x[i] = ((float)(draw() % 2001) - 1000) / 1000;
    c->job = (sr_cpujob){.prog = &prog, .op = &op, .n = &n, .max = &max, .slot = at, .weight = &ref, .scratch = work,
                         .n_threads = o->threads, .next = c->next};
    const sr_cpukernel *const *list = o->f32 ? sr_linear_f32_kernels : sr_linear_kernels;
    for (size_t i = 0; i < SR_COUNT(all_counts); i++) {
        char count[16];
        bool have = false;
        n.tok     = all_counts[i];
        snprintf(count, sizeof count, "%u", n.tok);
        for (uint32_t k = 0; list[k] && listed(o->counts, count); k++) {
            const sr_cpukernel *kernel = list[k];
            bool                slow   = !list[k + 1] && !o->isas; /* the reference */
            const bool                 loose  = kernel->needs & SR_CPU_ANY_ORDER;
            if ((kernel->needs & ~sr_cpu_features() & ~(uint32_t)SR_CPU_ANY_ORDER) || slow || !listed(o->isas, kernel->isa) ||
                (kernel->supports && !kernel->supports(&prog, &op)))
                continue;
            c->kernel   = kernel;
            timing  t   = measure(c, turn, &ref, (char *)w, bytes, copies);
            sr_cost k1  = sr_linear_cost(&prog, &op, &n);
            bool    bad = have && !loose && memcmp(first, y, (size_t)n.tok * o->rows * 4);
            if (!loose)
                memcpy(first, y, (size_t)n.tok * o->rows * 4);
            have |= !loose;
            wrong |= bad;
            printf(o->csv ? "%s,%s,%u,%u,%u,%.1f,%.1f,%.1f,%.2f,%.1f,%.0f%s\n"
                          : "%-5s %-8s %5ux%-5u rows %3u  %9.1f us (%.1f-%.1f) %7.2f GB/s %8.1f GFLOP/s  %3.0f %% of read%s\n",
                   sr_dtype_name(format), kernel->isa, o->rows, o->cols, n.tok, (double)t.median / 1e3, (double)t.p10 / 1e3,
                   (double)t.p90 / 1e3, (double)bytes / (double)t.median, k1.flops / (double)t.median,
                   100 * k1.bytes / (double)t.median / bandwidth, bad ? "  DIFFERS" : "");
            fflush(stdout);
        }
    }
    sr_free(w);
    sr_free(x);
    sr_free(y);
    sr_free(work);
    sr_free(first);
    return wrong;
}

/* GB/s of reading `pool` bytes by all threads, the best of eight. */

static bool parse(int argc, char **argv, options *o)
{
    for (int i = 1; i < argc; i++) {
        const char *v = i + 1 < argc ? argv[i + 1] : "";
        char       *end;
        if (strcmp(argv[i], "-c") == 0) {
            o->csv = true;
            continue;
        }
        if (strcmp(argv[i], "-x") == 0) {
            o->f32 = true;
            continue;
        }
        switch (argv[i][0] == '-' ? argv[i][1] : 0) {
        case 't': o->threads = (uint32_t)strtoul(v, NULL, 10); break;
        case 'p': o->pool = strtoul(v, NULL, 10) * 1000000; break;
        case 'f': o->formats = v; break;
        case 'r': o->counts = v; break;
        case 'i': o->isas = v; break;
        case 's':
            o->rows = (uint32_t)strtoul(v, &end, 10);
            o->cols = *end == 'x' ? (uint32_t)strtoul(end + 1, NULL, 10) : 0;
            break;
        default: return false;
        }
        i++;
    }
    return o->threads >= 1 && o->threads <= MAX_THREADS && o->rows && o->cols && o->cols % 256 == 0 && o->pool;
}

int main(int argc, char **argv)
{
    static const uint32_t formats[] = {SR_Q4_0, SR_Q8_0, SR_Q4_K, SR_Q5_K, SR_Q6_K, SR_F16, SR_BF16, SR_F32};
    options   o = {.threads = sr_cpu_cores(), .rows = 2048, .cols = 2048, .pool = 256000000};
    pthread_t id[MAX_THREADS];
    hand      h[MAX_THREADS];
    static crew c;
    uint32_t  turn = 0;
    int       bad  = 0;
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "usage: %s [-t threads] [-s ROWSxCOLS, COLS a multiple of 256] [-p pool MB] [-f formats]"
                        " [-r 1,2,4,8,16,64,512] [-i isas] [-x activations in f32] [-c csv]\n", argv[0]);
        return 2;
    }
    c.threads = o.threads;
    for (uint32_t i = 1; i < o.threads; i++) {
        h[i] = (hand){&c, i};
        if (pthread_create(&id[i], NULL, hand_main, &h[i])) {
            fprintf(stderr, "cannot start thread %u of %u\n", i, o.threads);
            return 1;
        }
    }
    double bandwidth;
    sr_err err = {0};
    if (sr_bench_read(o.threads, o.pool, &bandwidth, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    bandwidth *= 1e-9;
    if (!o.csv)
        printf("%s, %u threads, pool %zu MB: read %.1f GB/s\n", sr_cpu_name(), o.threads, o.pool / 1000000, bandwidth);
    for (size_t i = 0; i < SR_COUNT(formats); i++)
        if (listed(o.formats, sr_dtype_name(formats[i])))
            bad |= bench_format(&o, &c, &turn, formats[i], bandwidth);
    c.kernel = NULL; /* the last order: nothing to do, go home */
    c.done   = true;
    run_once(&c, &turn);
    for (uint32_t i = 1; i < o.threads; i++)
        pthread_join(id[i], NULL);
    return bad;
}
