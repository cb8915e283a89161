#include "weights/pace.h"

#include <pthread.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

enum { COPIES = 4096 }; /* more than a step has units */

typedef struct { uint64_t bytes; sr_point from, over; } copy;

struct sr_pace {
    double             rate;
    volatile uint64_t *word;
    pthread_t          thread;
    bool               started;
    pthread_mutex_t    lock;
    pthread_cond_t     change;
    copy               ring[COPIES];
    uint64_t           head, tail; /* added, due */
    bool               quit;
};

/* A point of a device wakes nobody; a tenth of a millisecond is little beside a unit on a slow bus. */
static bool await(const sr_pace *p, sr_point at, uint64_t due)
{
    while ((at.word && !sr_reached(at)) || sr_now_ns() < due) {
        if (__atomic_load_n(&p->quit, __ATOMIC_ACQUIRE))
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
    return true;
}

static void *serve(void *arg)
{
    sr_pace *p = arg;
    for (;;) {
        pthread_mutex_lock(&p->lock);
        while (p->head == p->tail && !p->quit)
            pthread_cond_wait(&p->change, &p->lock);
        copy c = p->ring[p->tail % COPIES];
        bool quit = p->quit;
        pthread_mutex_unlock(&p->lock);
        if (quit || !await(p, c.from, 0))
            return NULL;
        uint64_t due = sr_now_ns() + (uint64_t)((double)c.bytes * 1e9 / p->rate);
        if (!await(p, c.over, due))
            return NULL;
        pthread_mutex_lock(&p->lock);
        __atomic_store_n(p->word, ++p->tail, __ATOMIC_RELEASE);
        pthread_mutex_unlock(&p->lock);
    }
}

sr_status sr_pace_open(double bytes_per_s, volatile uint64_t *word, sr_pace **out, sr_err *err)
{
    sr_pace *p = sr_calloc(1, sizeof *p);
    if (!p)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a pace", sizeof *p);
    p->rate = bytes_per_s;
    p->word = word;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->change, NULL);
    p->started = pthread_create(&p->thread, NULL, serve, p) == 0;
    if (!p->started) {
        sr_pace_close(p);
        return sr_raise(err, SR_IO, "cannot start the thread of a paced bus");
    }
    *out = p;
    return SR_OK;
}

void sr_pace_close(sr_pace *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    __atomic_store_n(&p->quit, true, __ATOMIC_RELEASE);
    pthread_cond_signal(&p->change);
    pthread_mutex_unlock(&p->lock);
    if (p->started)
        pthread_join(p->thread, NULL);
    pthread_cond_destroy(&p->change);
    pthread_mutex_destroy(&p->lock);
    sr_free(p);
}

sr_point sr_pace_last(const sr_pace *p) { return (sr_point){p->word, p->head}; }

sr_point sr_pace_add(sr_pace *p, uint64_t bytes, sr_point from, sr_point over)
{
    pthread_mutex_lock(&p->lock);
    SR_ASSERT(p->head - p->tail < COPIES, "%d copies are under way", COPIES);
    p->ring[p->head++ % COPIES] = (copy){bytes, from, over};
    pthread_cond_signal(&p->change);
    pthread_mutex_unlock(&p->lock);
    return (sr_point){p->word, p->head};
}
