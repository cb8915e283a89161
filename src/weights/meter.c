#include "weights/meter.h"

#include <pthread.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

enum { COPIES = 1024, LOOK_NS = 20000, LOOK_MOST_NS = 500000 };

typedef struct { uint64_t bytes, added; sr_point from, over; } copy;

struct sr_meter {
    pthread_t       thread;
    bool            started, quit;
    pthread_mutex_t lock;       /* of everything below */
    pthread_cond_t  change;
    copy            ring[COPIES];
    uint64_t        head, tail; /* added, over */
    sr_metered      total;
};

static bool quits(const sr_meter *m) { return __atomic_load_n(&m->quit, __ATOMIC_ACQUIRE); }

static void rest(uint64_t ns) { nanosleep(&(struct timespec){.tv_nsec = (long)ns}, NULL); }

/* When the point was reached, as far as looking every `often` tells; 0: asked to quit. */
static uint64_t await(const sr_meter *m, sr_point at, uint64_t often)
{
    while (at.word && !sr_reached(at)) {
        if (quits(m))
            return 0;
        rest(often);
    }
    return sr_now_ns();
}

static void *serve(void *arg)
{
    sr_meter *m    = arg;
    uint64_t  last = 0; /* when the copy before was over */
    for (;;) {
        pthread_mutex_lock(&m->lock);
        while (m->head == m->tail && !m->quit)
            pthread_cond_wait(&m->change, &m->lock);
        copy   c   = m->ring[m->tail % COPIES];
        double due = m->total.bytes ? (double)c.bytes * (double)m->total.ns / (double)m->total.bytes : 0;
        bool   out = m->quit;
        pthread_mutex_unlock(&m->lock);
        uint64_t often = SR_MIN(SR_MAX((uint64_t)(due / 32), (uint64_t)LOOK_NS), (uint64_t)LOOK_MOST_NS);
        uint64_t from  = out ? 0 : await(m, c.from, often);
        if (!from)
            return NULL;
        from = SR_MAX(SR_MIN(from, sr_now_ns()), SR_MAX(last, c.added));
        bool seen = !sr_reached(c.over); /* else it may have been over for long */
        if (due > 4 * LOOK_NS && seen)
            rest(SR_MIN((uint64_t)(due / 2), (uint64_t)100000000));
        uint64_t over = await(m, c.over, often);
        if (!over)
            return NULL;
        pthread_mutex_lock(&m->lock);
        if (seen) {
            m->total.bytes += c.bytes;
            m->total.ns += over - SR_MIN(from, over);
        }
        m->tail++;
        pthread_mutex_unlock(&m->lock);
        last = over;
    }
}

sr_status sr_meter_open(sr_meter **out, sr_err *err)
{
    sr_meter *m = sr_calloc(1, sizeof *m);
    if (!m)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a meter", sizeof *m);
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->change, NULL);
    m->started = pthread_create(&m->thread, NULL, serve, m) == 0;
    if (!m->started) {
        sr_meter_close(m);
        return sr_raise(err, SR_IO, "cannot start the thread that measures the bus");
    }
    *out = m;
    return SR_OK;
}

void sr_meter_close(sr_meter *m)
{
    if (!m)
        return;
    pthread_mutex_lock(&m->lock);
    __atomic_store_n(&m->quit, true, __ATOMIC_RELEASE);
    pthread_cond_signal(&m->change);
    pthread_mutex_unlock(&m->lock);
    if (m->started)
        pthread_join(m->thread, NULL);
    pthread_cond_destroy(&m->change);
    pthread_mutex_destroy(&m->lock);
    sr_free(m);
}

void sr_meter_add(sr_meter *m, uint64_t bytes, sr_point from, sr_point over)
{
    pthread_mutex_lock(&m->lock);
    if (m->head - m->tail < COPIES) {
        m->ring[m->head++ % COPIES] = (copy){bytes, sr_now_ns(), from, over};
        pthread_cond_signal(&m->change);
    }
    pthread_mutex_unlock(&m->lock);
}

void sr_meter_total(sr_meter *m, sr_metered *out)
{
    pthread_mutex_lock(&m->lock);
    *out = m->total;
    pthread_mutex_unlock(&m->lock);
}
