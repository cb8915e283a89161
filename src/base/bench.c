#include "base/bench.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 16 bytes is what every 64-bit target loads at once. */
typedef uint64_t vec __attribute__((vector_size(16)));
enum { LINE = 4, PASSES = 9, BLOCK = 4 * LINE * sizeof(vec), PIECE = 1 << 20 };

typedef struct reader {
    pthread_t          thread;
    pthread_barrier_t *gate;
    struct reader     *all;  /* [n], this one at `index` */
    uint32_t           n, index;
    int               *go; /* 0: others are still being started, 1: all are there, -1: give up */
    size_t             bytes; /* of this thread's part, a multiple of BLOCK */
    uint64_t           sum;
    uint64_t           from[PASSES], to[PASSES];
    vec               *data;
    _Alignas(128) size_t next[PASSES]; /* piece of the part that nobody has taken yet; on a line of its own: others take, too */
} reader;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(const double *v, size_t n, double share)
{
    double at   = share * (double)(n - 1);
    size_t low  = (size_t)at;
    double rest = at - (double)low;
    return low + 1 < n ? v[low] * (1 - rest) + v[low + 1] * rest : v[low];
}

sr_spread sr_bench_spread(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return (sr_spread){v[0], percentile(v, n, 0.1), percentile(v, n, 0.5), percentile(v, n, 0.9), v[n - 1]};
}

/* n vectors as four streams, a cache line of each in turn: the prefetchers follow several streams of a core, and
 * one stream alone leaves 20-30 % of the bandwidth unused (Xeon of the Sapphire Rapids generation: 8.5 against 11.5 GB/s). */
static uint64_t sum_of(const vec *p, size_t n)
{
    vec        a = {0}, b = a, c = a, d = a;
    const vec *q = p + n / 4, *r = q + n / 4, *s = r + n / 4;
    for (size_t i = 0; i < n / 4; i += LINE) {
        a += p[i] + p[i + 1] + p[i + 2] + p[i + 3];
        b += q[i] + q[i + 1] + q[i + 2] + q[i + 3];
        c += r[i] + r[i + 1] + r[i + 2] + r[i + 3];
        d += s[i] + s[i + 1] + s[i + 2] + s[i + 3];
    }
    a = (a ^ b) + (c ^ d);
    return a[0] ^ a[1];
}

/* Its own part, then what others have left of theirs, as products do: a thread that shares its core would else hold all up. */
static uint64_t read_pass(reader *r, int pass)
{
    uint64_t sum = 0;
    for (uint32_t k = 0; k < r->n; k++) {
        reader *o = &r->all[(r->index + k) % r->n];
        size_t  at;
        while ((at = __atomic_fetch_add(&o->next[pass], 1, __ATOMIC_RELAXED) * PIECE) < o->bytes)
            sum += sum_of(o->data + at / sizeof(vec), SR_MIN(o->bytes - at, (size_t)PIECE) / sizeof(vec));
    }
    return sum;
}

/* The thread that reads a part has written it first, so that it lies on its memory node. */
static void *read_part(void *arg)
{
    reader *r = arg;
    memset(r->data, 1, r->bytes);
    int go;
    while ((go = __atomic_load_n(r->go, __ATOMIC_ACQUIRE)) == 0)
        sched_yield();
    for (int i = 0; go > 0 && i < PASSES; i++) {
        pthread_barrier_wait(r->gate);
        r->from[i] = sr_now_ns();
        r->sum += read_pass(r, i);
        r->to[i] = sr_now_ns();
    }
    return NULL;
}

static size_t default_bytes(void)
{
    long   l3   = sysconf(_SC_LEVEL3_CACHE_SIZE);
    size_t want = SR_MAX((size_t)256 << 20, l3 > 0 ? (size_t)l3 * 4 : 0);
    return SR_MIN(want, (size_t)(sr_cpu_memory() / 4));
}

static double rate_of(const reader *r, uint32_t n)
{
    double rates[PASSES - 1]; /* the first pass meets cold TLBs */
    for (int i = 1; i < PASSES; i++) {
        uint64_t from = UINT64_MAX, to = 0, bytes = 0;
        for (uint32_t t = 0; t < n; t++) {
            from = SR_MIN(from, r[t].from[i]);
            to   = SR_MAX(to, r[t].to[i]);
            bytes += r[t].bytes;
        }
        rates[i - 1] = (double)bytes / ((double)(to - from) * 1e-9 + 1e-12);
    }
    return sr_bench_spread(rates, PASSES - 1).median;
}

sr_status sr_bench_read(uint32_t threads, size_t bytes, double *bytes_per_s, sr_err *err)
{
    uint32_t          n = SR_MAX(threads, 1u), started = 0;
    size_t            part = SR_MAX((bytes ? bytes : default_bytes()) / n / BLOCK * BLOCK, (size_t)BLOCK), all;
    int               go = 0;
    pthread_barrier_t gate;
    reader           *r   = sr_aligned(128, n * sizeof *r);
    char             *mem = sr_mul_size(part, n, &all) ? sr_aligned(4096, all) : NULL;
    if (!r || !mem) {
        sr_raise(err, SR_NOMEM, "host: %zu bytes to measure the read bandwidth", part * n);
        goto end;
    }
    pthread_barrier_init(&gate, NULL, n);
    for (; started < n; started++) {
        r[started] = (reader){.gate = &gate, .all = r, .n = n, .index = started, .go = &go, .bytes = part, .data = (vec *)(void *)(mem + part * started)};
        if (pthread_create(&r[started].thread, NULL, read_part, &r[started]))
            break;
    }
    __atomic_store_n(&go, started == n ? 1 : -1, __ATOMIC_RELEASE);
    for (uint32_t i = 0; i < started; i++)
        pthread_join(r[i].thread, NULL);
    pthread_barrier_destroy(&gate);
    if (started == n)
        *bytes_per_s = rate_of(r, n);
    else
        sr_raise(err, SR_IO, "cannot start thread %u of %u", started + 1, n);
end:
    sr_free(mem);
    sr_free(r);
    return err->status;
}
