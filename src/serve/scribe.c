/* scribe.c - the thread that parses and tokenises long bodies, so that no stream waits for somebody's 10 MB.
 *
 * Short bodies are prepared at once on the io thread: handing them over would cost more than the work.
 */
#include "serve/internal.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"

enum { AT_ONCE_BYTES = 8 << 10 };

typedef struct work {
    struct work *next;
    sr_api       api;
    sr_buf       body;
    sr_prepared  fn;   /* NULL: forgotten */
    void        *arg;
    sr_prep      prep;
    sr_apierr    e;
} work;

struct sr_scribe {
    sr_serve       *s;
    pthread_t       thread;
    pthread_mutex_t lock;   /* of everything below */
    pthread_cond_t  more;
    work           *todo, *todo_end, *now, *done, *done_end;
    uint32_t        waiting;
    bool            running, stop;
};

static void run(sr_scribe *x, work *w)
{
    sr_prepare(&x->s->env, w->api, w->body.p ? w->body.p : "", w->body.n, &w->prep, &w->e);
    sr_buf_end(&w->body);
}

static void *scribe(void *arg)
{
    sr_scribe *x = arg;
    pthread_mutex_lock(&x->lock);
    for (;;) {
        while (!x->todo && !x->stop)
            pthread_cond_wait(&x->more, &x->lock);
        if (x->stop)
            break;
        work *w = x->now = x->todo;
        x->todo = w->next;
        if (!x->todo)
            x->todo_end = NULL;
        bool wanted = w->fn != NULL;
        pthread_mutex_unlock(&x->lock);
        if (wanted)
            run(x, w);
        pthread_mutex_lock(&x->lock);
        x->now  = NULL;
        w->next = NULL;
        if (x->done_end)
            x->done_end->next = w;
        else
            x->done = w;
        x->done_end = w;
        uint64_t one = 1;
        if (write(x->s->wake_fd, &one, sizeof one) < 0)
            continue; /* the counter is full: it rings anyway */
    }
    pthread_mutex_unlock(&x->lock);
    return NULL;
}

sr_status sr_scribe_open(sr_serve *s, sr_scribe **out, sr_err *err)
{
    sr_scribe *x = sr_calloc(1, sizeof *x);
    if (!x)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for the scribe", sizeof *x);
    x->s = s;
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->more, NULL);
    int e = pthread_create(&x->thread, NULL, scribe, x);
    if (e) {
        sr_scribe_close(x);
        return sr_raise(err, SR_NOMEM, "starting the scribe's thread: %s", strerror(e));
    }
    x->running = true;
    *out = x;
    return SR_OK;
}

/* Compiling a grammar may take longer than parsing the body it comes in: any sign of one sends the body to the thread. */
static bool may_hold_grammar(const sr_buf *b)
{
    static const char *const signs[] = {"_format", "\"format\"", "schema", "grammar", "guided_", "structured_outputs", "\"required\"",
                                        "\"tool_choice\""};
    for (size_t i = 0; b->n && i < SR_COUNT(signs); i++)
        if (memmem(b->p, b->n, signs[i], strlen(signs[i])))
            return true;
    return false;
}

bool sr_scribe_post(sr_scribe *x, sr_api api, sr_buf *body, sr_prepared fn, void *arg)
{
    work *w = sr_calloc(1, sizeof *w);
    if (!w) {
        sr_buf_end(body);
        return false;
    }
    *w    = (work){.api = api, .body = *body, .fn = fn, .arg = arg};
    *body = (sr_buf){0};
    if (w->body.n <= AT_ONCE_BYTES && !may_hold_grammar(&w->body)) {
        run(x, w);
        fn(arg, &w->prep, &w->e);
        sr_free(w);
        return true;
    }
    pthread_mutex_lock(&x->lock);
    if (x->todo_end)
        x->todo_end->next = w;
    else
        x->todo = w;
    x->todo_end = w;
    x->waiting++;
    pthread_cond_signal(&x->more);
    pthread_mutex_unlock(&x->lock);
    return true;
}

void sr_scribe_forget(sr_scribe *x, void *arg)
{
    pthread_mutex_lock(&x->lock);
    for (work *w = x->todo; w; w = w->next)
        if (w->arg == arg) {
            w->fn = NULL;
            sr_buf_end(&w->body);
        }
    for (work *w = x->done; w; w = w->next)
        if (w->arg == arg)
            w->fn = NULL;
    if (x->now && x->now->arg == arg)
        x->now->fn = NULL;
    pthread_mutex_unlock(&x->lock);
}

/* One at a time: what fn does may make us forget another that is done, too. */
static work *take_done(sr_scribe *x)
{
    pthread_mutex_lock(&x->lock);
    work *w = x->done;
    if (w) {
        x->done = w->next;
        if (!x->done)
            x->done_end = NULL;
        x->waiting--;
    }
    pthread_mutex_unlock(&x->lock);
    return w;
}

void sr_scribe_collect(sr_scribe *x)
{
    work *w;
    while ((w = take_done(x))) {
        if (w->fn)
            w->fn(w->arg, &w->prep, &w->e);
        else
            sr_prep_end(&w->prep);
        sr_free(w);
    }
}

uint32_t sr_scribe_waiting(sr_scribe *x)
{
    pthread_mutex_lock(&x->lock);
    uint32_t n = x->waiting;
    pthread_mutex_unlock(&x->lock);
    return n;
}

void sr_scribe_close(sr_scribe *x)
{
    if (!x)
        return;
    if (x->running) {
        pthread_mutex_lock(&x->lock);
        x->stop = true;
        pthread_cond_signal(&x->more);
        pthread_mutex_unlock(&x->lock);
        pthread_join(x->thread, NULL);
    }
    for (int list = 0; list < 2; list++)
        for (work *w = list ? x->done : x->todo, *next; w; w = next) {
            next = w->next;
            sr_buf_end(&w->body);
            sr_prep_end(&w->prep);
            sr_free(w);
        }
    pthread_cond_destroy(&x->more);
    pthread_mutex_destroy(&x->lock);
    sr_free(x);
}
