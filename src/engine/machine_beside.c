#include "engine/machine_beside.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/bench.h"
#include "base/clock.h"
#include "base/mem.h"
#include "engine/machine_rig.h"

enum { AHEAD = 2, LOOK_NS = 50000, PASSES = 5 };

typedef struct {                  /* copies, one after the other, until told to stop */
    const sr_besidecfg *c;
    char     *to, *from;
    size_t    piece;
    pthread_t thread;
    int       stop, failed;
    pthread_mutex_t lock;         /* of the two below */
    uint64_t  done, at;           /* bytes; when the last of them was over */
    sr_err    err;                /* once `failed` */
} feeder;

typedef struct { uint64_t done, at; } copied;

static copied count(feeder *f, uint64_t more)
{
    pthread_mutex_lock(&f->lock);
    f->done += more;
    f->at    = more ? sr_now_ns() : f->at;
    copied c = {f->done, f->at};
    pthread_mutex_unlock(&f->lock);
    return c;
}

static bool stopped(const feeder *f) { return __atomic_load_n(&f->stop, __ATOMIC_ACQUIRE); }

static void *feed(void *arg)
{
    feeder              *f = arg;
    const sr_besidecfg  *c = f->c;
    sr_point             end[AHEAD];
    size_t               at = 0;
    for (uint64_t k = 0; !stopped(f); k++) {
        sr_span s = {.dst = f->to, .src = f->from + at, .bytes = f->piece, .n = 1};
        at        = at + 2 * f->piece <= c->bytes ? at + f->piece : 0;
        while (k >= AHEAD && !sr_reached(end[k % AHEAD]) && !stopped(f))
            nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
        if (k >= AHEAD && sr_reached(end[k % AHEAD]))
            count(f, f->piece);
        if (c->be->copyv(c->dev, SR_Q_IN, &s, 1, &f->err))
            break;
        end[k % AHEAD] = c->be->mark(c->dev, SR_Q_IN);
    }
    sr_err later = {0};
    if (c->be->wait(c->dev, c->be->mark(c->dev, SR_Q_IN), UINT64_MAX, &later) && !f->err.status)
        f->err = later;
    __atomic_store_n(&f->failed, f->err.status != SR_OK, __ATOMIC_RELEASE);
    return NULL;
}

static sr_status pass(sr_rig *r, uint32_t rows, sr_err *err) { return sr_rig_send(r, rows, err) ? err->status : sr_rig_wait(r, err); }

/* Passes over all weights for cfg.ns: the median.  While copies run, at least so long that some of them are over. */
static sr_status products(feeder *f, sr_rig *r, uint32_t rows, bool beside, double *rate, double *h2d, sr_err *err)
{
    double   bytes = (double)r->bytes * r->prog.n_op, v[1024];
    copied   first = count(f, 0), last = first;
    uint64_t from  = sr_now_ns(), t = from;
    uint32_t n     = 0;
    while (n < SR_COUNT(v) && (n < PASSES || t - from < f->c->ns || (beside && last.done < first.done + PASSES * f->piece))) {
        uint64_t before = t;
        if (pass(r, rows, err))
            return err->status;
        t      = sr_now_ns();
        v[n++] = bytes * 1e9 / (double)SR_MAX(t - before, (uint64_t)1);
        last   = count(f, 0);
    }
    *rate = sr_bench_spread(v, n).median;
    *h2d  = (double)(last.done - first.done) * 1e9 / (double)SR_MAX(last.at - first.at, (uint64_t)1);
    return SR_OK;
}

static sr_status under_way(feeder *f, sr_rig *r, sr_besiderates *out, sr_err *err)
{
    double none;
    pthread_mutex_init(&f->lock, NULL);
    if (pass(r, 1, err) || products(f, r, 1, false, &out->alone, &none, err))
        return err->status;
    if (pthread_create(&f->thread, NULL, feed, f))
        return sr_raise(err, SR_IO, "cannot start the thread that copies");
    while (count(f, 0).done == 0 && !__atomic_load_n(&f->failed, __ATOMIC_ACQUIRE))
        nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    sr_status s = products(f, r, 1, true, &out->cpu, &out->h2d, err);
    if (s == SR_OK && f->c->few)
        s = products(f, r, f->c->few, true, &out->few, &none, err);
    if (s == SR_OK && f->c->reads)
        s = sr_bench_read(f->c->cpu.threads, f->c->pool, &out->read, err);
    __atomic_store_n(&f->stop, 1, __ATOMIC_RELEASE);
    pthread_join(f->thread, NULL);
    pthread_mutex_destroy(&f->lock);
    return s ? s : f->err.status ? sr_raise(err, f->err.status, "%s", f->err.msg) : SR_OK;
}

sr_status sr_machine_beside(const sr_besidecfg *c, sr_besiderates *out, sr_err *err)
{
    const sr_rigcfg rc = {.format = c->format, .rows = c->side, .cols = c->side, .max_tokens = SR_MAX(c->few, 1u), .pool = c->pool};
    feeder          f  = {.c = c, .piece = SR_MIN(c->piece, c->bytes)};
    sr_rig          r  = {0};
    sr_dev         *d  = NULL;
    void           *to = NULL, *from = NULL;
    *out               = (sr_besiderates){0};
    if (sr_backend_cpu.open(0, &c->cpu, &d, err) == SR_OK && sr_rig_open(&sr_backend_cpu, d, &rc, &r, err) == SR_OK &&
        c->be->alloc(c->dev, SR_MEM_DEVICE, f.piece, "measuring", &to, err) == SR_OK &&
        c->be->alloc(c->dev, SR_MEM_PINNED, c->bytes, "measuring", &from, err) == SR_OK) {
        f.to   = to;
        f.from = from;
        memset(from, 1, c->bytes);
        (void)!under_way(&f, &r, out, err);
    }
    c->be->free(c->dev, to);
    c->be->free(c->dev, from);
    sr_rig_close(&r);
    if (d)
        sr_backend_cpu.close(d);
    return err->status;
}
