#include "app/watchdog.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "base/mem.h"

enum { PREDICTIONS = 20, LOOKS = 8 };
static const uint64_t S = 1000000000u, OFTEN = 1000000, SELDOM = 1000000000u; /* between looks: an eighth of the limit, within these */

struct sr_watchdog {
    const sr_engine *engine;
    uint64_t         limit;
    const char      *device;
    sr_hungfn        hung;
    void            *arg;
    pthread_t        thread;
    pthread_mutex_t  lock;
    pthread_cond_t   over;
    bool             stop;
};

uint64_t sr_watchdog_limit(uint32_t seconds, const sr_modelinfo *i)
{
    uint64_t slow = i->predicted_s > 0 ? (uint64_t)(i->predicted_s * PREDICTIONS * 1e9) : 0;
    return !seconds || i->on_host ? 0 : SR_MAX(seconds * S, slow);
}

/* Until it is time to look again; true: to stop. */
static bool rest(sr_watchdog *d, uint64_t ns)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    uint64_t until = (uint64_t)t.tv_sec * S + (uint64_t)t.tv_nsec + ns;
    t              = (struct timespec){(time_t)(until / S), (long)(until % S)};
    pthread_mutex_lock(&d->lock);
    while (!d->stop && pthread_cond_timedwait(&d->over, &d->lock, &t) == 0) {
    }
    bool stop = d->stop;
    pthread_mutex_unlock(&d->lock);
    return stop;
}

static void *watch(void *arg)
{
    sr_watchdog *d = arg;
    char         why[160];
    while (!rest(d, SR_MIN(SR_MAX(d->limit / LOOKS, OFTEN), SELDOM))) {
        uint64_t busy = sr_engine_busy(d->engine);
        if (busy < d->limit)
            continue;
        snprintf(why, sizeof why, "a step has been on %.60s for %.1f s (--step-timeout): it hangs", d->device, (double)busy * 1e-9);
        d->hung(d->arg, why);
    }
    return NULL;
}

sr_status sr_watchdog_open(const sr_engine *engine, uint64_t limit_ns, const char *device, sr_hungfn hung, void *arg, sr_watchdog **out,
                           sr_err *err)
{
    pthread_condattr_t a;
    sr_watchdog       *d = sr_calloc(1, sizeof *d);
    *out                 = NULL;
    if (!d)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a watchdog", sizeof *d);
    d->engine = engine;
    d->limit  = limit_ns;
    d->device = device;
    d->hung   = hung;
    d->arg    = arg;
    pthread_mutex_init(&d->lock, NULL);
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(&d->over, &a);
    pthread_condattr_destroy(&a);
    if (pthread_create(&d->thread, NULL, watch, d)) {
        sr_free(d);
        return sr_raise(err, SR_IO, "cannot start the watchdog's thread");
    }
    *out = d;
    return SR_OK;
}

void sr_watchdog_close(sr_watchdog *d)
{
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_cond_signal(&d->over);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    pthread_cond_destroy(&d->over);
    pthread_mutex_destroy(&d->lock);
    sr_free(d);
}
