#include "base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include "base/clock.h"
#include "base/cpu.h"
#include "base/futex.h"
#include "base/mem.h"

struct worker {
    sr_pool  *pool;
    uint32_t  index;
    pthread_t thread;
    bool      started;
};

struct sr_pool {
    _Alignas(64) uint32_t generation; /* grows by one per run: the workers' starting gun */
    uint32_t sleepers;                /* workers asleep on generation */
    _Alignas(64) uint32_t arrived;    /* at the present barrier */
    _Alignas(64) uint32_t round;      /* grows by one per barrier */
    uint32_t round_sleepers;
    _Alignas(64) uint32_t n;
    uint64_t  spin_ns;
    bool      quit, pin;
    sr_poolfn fn;
    void     *arg;
    struct worker *worker;
};

/* Waits until *w != seen: pauses and yields for spin_ns, then sleeps.  *sleepers tells the waker to wake. */
static void await_change(uint32_t *w, uint32_t seen, uint32_t *sleepers, uint64_t spin_ns)
{
    uint64_t start = 0;
    for (uint32_t i = 0; __atomic_load_n(w, __ATOMIC_ACQUIRE) == seen; i++) {
        sr_spin(i);
        if (i < 512 || i % 64)
            continue;
        uint64_t now = sr_now_ns();
        start        = start ? start : now;
        if (now - start < spin_ns)
            continue;
        __atomic_fetch_add(sleepers, 1, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(w, __ATOMIC_SEQ_CST) == seen)
            sr_futex_wait(w, seen, 0, false);
        __atomic_fetch_sub(sleepers, 1, __ATOMIC_SEQ_CST);
        return;
    }
}

static void change(uint32_t *w, uint32_t *sleepers)
{
    __atomic_fetch_add(w, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(sleepers, __ATOMIC_SEQ_CST))
        sr_futex_wake(w, false);
}

void sr_pool_barrier(sr_pool *p)
{
    if (p->n == 1)
        return;
    uint32_t seen = __atomic_load_n(&p->round, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&p->arrived, 1, __ATOMIC_ACQ_REL) == p->n) {
        __atomic_store_n(&p->arrived, 0, __ATOMIC_RELAXED);
        change(&p->round, &p->round_sleepers);
    } else {
        await_change(&p->round, seen, &p->round_sleepers, 200000);
    }
}

static void *work(void *arg)
{
    struct worker *w    = arg;
    sr_pool       *p    = w->pool;
    uint32_t       seen = 0;
    pthread_setname_np(pthread_self(), "strata-worker");
    if (p->pin)
        sr_cpu_pin(w->index, p->n);
    for (;;) {
        await_change(&p->generation, seen, &p->sleepers, p->spin_ns);
        seen++;
        if (p->quit)
            return NULL;
        p->fn(p->arg, w->index);
        sr_pool_barrier(p);
    }
}

sr_status sr_pool_open(uint32_t threads, uint32_t spin_us, bool pin, sr_pool **out, sr_err *err)
{
    sr_pool *p = sr_aligned(64, sizeof *p);
    if (!p)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for the thread pool", sizeof *p);
    memset(p, 0, sizeof *p);
    p->n       = threads ? threads : 1;
    p->spin_ns = (uint64_t)spin_us * 1000;
    p->pin     = pin;
    p->worker  = sr_calloc(p->n, sizeof *p->worker);
    if (!p->worker) {
        sr_raise(err, SR_NOMEM, "host: memory for %u workers", p->n);
        goto fail;
    }
    for (uint32_t i = 1; i < p->n; i++) {
        struct worker *w = &p->worker[i];
        w->pool          = p;
        w->index         = i;
        int rc           = pthread_create(&w->thread, NULL, work, w);
        if (rc) {
            sr_raise(err, SR_IO, "cannot start worker thread %u of %u: %s", i, p->n, strerror(rc));
            goto fail;
        }
        w->started = true;
    }
    *out = p;
    return SR_OK;
fail:
    sr_pool_close(p);
    return err ? err->status : SR_IO;
}

void sr_pool_close(sr_pool *p)
{
    if (!p)
        return;
    p->quit = true;
    change(&p->generation, &p->sleepers);
    for (uint32_t i = 1; p->worker && i < p->n; i++)
        if (p->worker[i].started)
            pthread_join(p->worker[i].thread, NULL);
    sr_free(p->worker);
    sr_free(p);
}

uint32_t sr_pool_threads(const sr_pool *p) { return p->n; }

void sr_pool_run(sr_pool *p, sr_poolfn fn, void *arg)
{
    p->fn  = fn;
    p->arg = arg;
    if (p->n > 1)
        change(&p->generation, &p->sleepers);
    fn(arg, 0);
    sr_pool_barrier(p);
}
