#include "serve/null_engine.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/siphash.h"
#include "ops/op.h"

enum { PAGE_TOKENS = 16, IDLE_NS = 1000000000, BUCKETS = 4096 };

typedef struct choice {
    struct choice *next, *same;            /* in its list; in its bucket */
    uint64_t id, due_ns, deadline_ns;
    uint32_t index, n, n_prompt, scored, made, acked, max_new, window, n_logprobs, n_prompt_logprobs, min_new;
    bool     started, ended, embed;
    sr_endreason why;
    uint32_t n_stop;
    int32_t *stop, *prompt;                /* behind the struct */
} choice;

struct sr_null {
    sr_port     *port;
    sr_nullcfg   cfg;
    pthread_t    thread;
    int          stop;                     /* atomic */
    choice      *running, *waiting, **waiting_end;
    uint32_t     n_running, n_waiting;
    choice      *bucket[BUCKETS];          /* by id: acks come one per choice and half window */
};

static choice **bucket_of(sr_null *e, uint64_t id) { return &e->bucket[(id * 0x9E3779B97F4A7C15u) >> 52]; }

static void forget(sr_null *e, choice *c)
{
    choice **p = bucket_of(e, c->id);
    while (*p != c)
        p = &(*p)->same;
    *p = c->same;
    sr_free(c);
}

/* Room is asked for before a round; only a burst of ends can find none. */
static void emit(sr_null *e, const sr_event *ev)
{
    while (!sr_port_emit(e->port, ev)) {
        sr_port_flush(e->port);
        if (__atomic_load_n(&e->stop, __ATOMIC_ACQUIRE))
            return;
        sr_port_sleep(e->port, 100000);
    }
}

static uint32_t pages(const choice *c) { return (c->n_prompt + c->made + PAGE_TOKENS - 1) / PAGE_TOKENS; }

static void gauges(sr_null *e)
{
    sr_portstats *g = sr_port_gauges(e->port);
    g->ready       = 1;
    g->running     = e->n_running;
    g->waiting     = e->n_waiting;
    g->max_ctx     = e->cfg.ctx;
    g->max_seqs    = e->cfg.max_seqs;
    g->bytes_device  = e->cfg.device;
    g->bytes_outside = e->cfg.outside;
    g->page_tokens = PAGE_TOKENS;
    g->pages_total = (uint64_t)e->cfg.max_seqs * e->cfg.ctx / PAGE_TOKENS;
    g->pages_used = g->paused = 0;
    for (const choice *c = e->running; c; c = c->next) {
        g->pages_used += pages(c);
        g->paused += c->window && c->made - c->acked >= c->window;
    }
    g->pages_free = g->pages_total - SR_MIN(g->pages_total, g->pages_used);
}

static void take_post(sr_null *e, const sr_request *r)
{
    uint32_t n = r->n ? r->n : 1;
    if (n > e->cfg.max_seqs || e->n_waiting + n > e->cfg.queue + e->cfg.max_seqs - e->n_running) {
        bool full = n <= e->cfg.max_seqs;
        emit(e, &(sr_event){.id = r->id, .choice = ~0u, .kind = SR_EV_ERROR, .status = full ? SR_AGAIN : SR_INVALID,
                            .msg = full ? "the queue is full" : "more choices than run at once"});
        return;
    }
    if (r->what == SR_EMBED && !e->cfg.width) {
        emit(e, &(sr_event){.id = r->id, .choice = ~0u, .kind = SR_EV_ERROR, .status = SR_UNSUPPORTED, .msg = "no vectors here"});
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        choice *c = sr_calloc(1, sizeof *c + (r->n_stop_tok + (size_t)r->n_tok) * sizeof(int32_t));
        if (!c) {
            emit(e, &(sr_event){.id = r->id, .choice = i, .kind = SR_EV_ERROR, .status = SR_NOMEM, .msg = "host: a choice"});
            continue;
        }
        uint32_t room = e->cfg.ctx - SR_MIN(e->cfg.ctx, r->n_tok);
        *c = (choice){.id = r->id, .index = i, .n = n, .n_prompt = r->n_tok, .embed = r->what == SR_EMBED, .max_new = r->what != SR_GENERATE ? 0 : SR_MIN(r->max_new, room),
                      .min_new = r->min_new, .window = r->window, .n_logprobs = r->n_logprobs, .n_stop = r->n_stop_tok,
                      .n_prompt_logprobs = r->n_prompt_logprobs, .deadline_ns = r->queue_deadline_ns};
        c->stop   = (int32_t *)(c + 1);
        c->prompt = c->stop + c->n_stop;
        if (c->n_stop)
            memcpy(c->stop, r->stop_tok, c->n_stop * sizeof *c->stop);
        memcpy(c->prompt, r->tok, r->n_tok * sizeof *c->prompt);
        c->same = *bucket_of(e, c->id);
        *bucket_of(e, c->id) = c;
        *e->waiting_end = c;
        e->waiting_end  = &c->next;
        e->n_waiting++;
    }
}

static void done(sr_null *e, const choice *c, sr_endreason why)
{
    sr_portstats *g = sr_port_gauges(e->port);
    g->requests_done++;
    g->cancelled += why == SR_END_CANCEL;
    emit(e, &(sr_event){.id = c->id, .choice = c->index, .kind = SR_EV_DONE, .reason = why,
                        .usage = {.prompt = c->n_prompt, .made = c->made}});
}

static void mark(sr_null *e, const sr_command *k)
{
    for (choice *c = *bucket_of(e, k->id); c; c = c->same) {
        if (c->id != k->id || (k->choice != ~0u && k->choice != c->index))
            continue;
        if (k->kind == SR_CMD_ACK) {
            c->acked = SR_MAX(c->acked, SR_MIN(k->pos, c->made));
        } else {
            c->ended = true;
            c->why   = k->reason;
        }
    }
}

/* Takes ended choices out of a list. */
static uint32_t sweep(sr_null *e, choice **link)
{
    uint32_t n = 0;
    while (*link) {
        choice *c = *link;
        if (!c->ended) {
            link = &c->next;
            continue;
        }
        *link = c->next;
        done(e, c, c->why);
        forget(e, c);
        n++;
    }
    return n;
}

static void commands(sr_null *e)
{
    sr_command k;
    bool ends = false;
    while (sr_port_event_room(e->port) > 4 * SR_PORT_EVENT_MAX && sr_port_take(e->port, &k)) {
        if (k.kind == SR_CMD_POST) {
            take_post(e, &k.request);
        } else {
            mark(e, &k);
            ends |= k.kind == SR_CMD_END;
        }
    }
    if (!ends)
        return;
    e->n_running -= sweep(e, &e->running);
    e->n_waiting -= sweep(e, &e->waiting);
    e->waiting_end = &e->waiting;
    while (*e->waiting_end)
        e->waiting_end = &(*e->waiting_end)->next;
}

static uint32_t alternatives(const sr_null *e, uint32_t n_logprobs, int32_t tok, sr_alt *alt)
{
    uint32_t n = n_logprobs ? SR_MIN(n_logprobs - 1, (uint32_t)SR_MAX_ALT) : 0;
    for (uint32_t i = 0; i < n; i++)
        alt[i] = (sr_alt){i ? e->cfg.tok[i % e->cfg.n_tok] : tok, -0.25f - (float)i};
    return n;
}

static void score_prompt(sr_null *e, choice *c)
{
    sr_alt alt[SR_MAX_ALT];
    while (c->n_prompt_logprobs && c->scored + 1 < c->n_prompt) {
        int32_t tok = c->prompt[++c->scored];
        emit(e, &(sr_event){.id = c->id, .kind = SR_EV_PROMPT, .pos = c->scored, .token = tok, .logprob = -0.25f, .alt = alt,
                            .n_alt = alternatives(e, c->n_prompt_logprobs, tok, alt)});
    }
}

static void admit(sr_null *e, uint64_t now)
{
    while (e->waiting && e->n_running < e->cfg.max_seqs) {
        choice *c = e->waiting;
        e->waiting = c->next;
        if (!e->waiting)
            e->waiting_end = &e->waiting;
        c->next    = e->running;
        e->running = c;
        e->n_waiting--;
        e->n_running++;
        c->due_ns = now + (uint64_t)e->cfg.start_ms * 1000000 + (e->cfg.prompt_rate > 0 ? (uint64_t)(c->n_prompt * 1e9 / e->cfg.prompt_rate) : 0);
        if (c->index == 0) {
            emit(e, &(sr_event){.id = c->id, .kind = SR_EV_START, .usage = {.prompt = c->n_prompt}});
            emit(e, &(sr_event){.id = c->id, .kind = SR_EV_PROGRESS, .pos = c->n_prompt});
            sr_port_gauges(e->port)->tokens_prompt += c->n_prompt;
            score_prompt(e, c);
        }
    }
}

/* Of length 1; the tokens choose its numbers. */
static void vector(sr_null *e, const choice *c)
{
    uint64_t key[2] = {1, 2};
    uint64_t h      = sr_siphash64(key, c->prompt, c->n_prompt * sizeof *c->prompt);
    double   sum    = 0, length;
    for (int round = 0; round < 2; round++) {
        uint64_t x = h;
        length     = sqrt(sum);
        for (uint32_t at = 0, n; at < e->cfg.width; at += n) {
            float v[SR_PORT_VECTOR_MAX];
            n = SR_MIN(e->cfg.width - at, (uint32_t)SR_PORT_VECTOR_MAX);
            for (uint32_t i = 0; i < n; i++) {
                x        = x * 6364136223846793005u + 1442695040888963407u;
                double y = (double)(int32_t)(x >> 32) / 2147483648.0;
                sum += round ? 0 : y * y;
                v[i] = (float)(round ? y / length : 0);
            }
            if (round)
                emit(e, &(sr_event){.id = c->id, .kind = SR_EV_VECTOR, .pos = at, .vec = v, .n_vec = n});
        }
    }
}

/* The next token of a choice that is due.  False: it is over. */
static bool step(sr_null *e, choice *c)
{
    sr_alt  alt[SR_MAX_ALT];
    int32_t tok = e->cfg.tok[c->made % e->cfg.n_tok];
    bool ends = !e->cfg.endless && c->made == e->cfg.n_tok;
    for (uint32_t i = 0; i < c->n_stop && c->made >= c->min_new; i++)
        ends |= c->stop[i] == tok;
    if (c->embed)
        vector(e, c);
    if (c->made >= c->max_new || ends) {
        done(e, c, c->made >= c->max_new ? SR_END_LENGTH : SR_END_EOS);
        return false;
    }
    if (e->cfg.fail_after && c->made == e->cfg.fail_after) {
        sr_port_gauges(e->port)->requests_failed++;
        emit(e, &(sr_event){.id = c->id, .choice = c->index, .kind = SR_EV_ERROR, .status = SR_DEVLOST, .msg = "made to fail"});
        return false;
    }
    emit(e, &(sr_event){.id = c->id, .choice = c->index, .kind = SR_EV_TOKEN, .pos = c->made, .token = tok, .logprob = -0.25f,
                        .alt = alt, .n_alt = alternatives(e, c->n_logprobs, tok, alt)});
    c->made++;
    sr_port_gauges(e->port)->tokens_made++;
    if (c->made < c->max_new)
        return true;
    done(e, c, SR_END_LENGTH);
    return false;
}

/* One token for everyone who is due.  Returns when the next is. */
static uint64_t round_of(sr_null *e, uint64_t now)
{
    uint64_t next = now + IDLE_NS;
    for (choice **link = &e->running, *c; (c = *link);) {
        bool credit = !c->window || c->made - c->acked < c->window, alive = true;
        if (sr_port_event_room(e->port) < 4 * SR_PORT_EVENT_MAX)
            return now + 100000; /* the poller is behind */
        if (credit && c->due_ns <= now) {
            alive = step(e, c);
            c->due_ns = e->cfg.rate > 0 ? c->due_ns + (uint64_t)(1e9 / e->cfg.rate) : now;
        }
        if (alive) {
            next = credit ? SR_MIN(next, c->due_ns) : next;
            link = &c->next;
        } else {
            *link = c->next;
            forget(e, c);
            e->n_running--;
        }
    }
    sr_port_gauges(e->port)->steps++;
    return next;
}

static void *engine(void *arg)
{
    sr_null *e = arg;
    while (!__atomic_load_n(&e->stop, __ATOMIC_ACQUIRE)) {
        uint64_t now = sr_now_ns();
        if (e->cfg.die_after && sr_port_gauges(e->port)->tokens_made >= e->cfg.die_after) {
            sr_port_gauges(e->port)->fault = 1;
            sr_port_flush(e->port);
            return NULL;
        }
        commands(e);
        admit(e, now);
        uint64_t next = round_of(e, now);
        gauges(e);
        sr_port_flush(e->port);
        now = sr_now_ns();
        if (next > now && !(e->waiting && e->n_running < e->cfg.max_seqs))
            sr_port_sleep(e->port, next - now);
    }
    return NULL;
}

sr_status sr_null_open(sr_port *port, const sr_nullcfg *cfg, sr_null **out, sr_err *err)
{
    if (!cfg->n_tok)
        return sr_raise(err, SR_INVALID, "the null engine needs a text of at least one token");
    sr_null *e = sr_calloc(1, sizeof *e);
    if (!e)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a null engine", sizeof *e);
    e->port = port;
    e->cfg  = *cfg;
    e->cfg.max_seqs = cfg->max_seqs ? cfg->max_seqs : 64;
    e->cfg.ctx      = cfg->ctx ? cfg->ctx : 8192;
    e->cfg.queue    = cfg->queue ? cfg->queue : 1024;
    e->waiting_end  = &e->waiting;
    gauges(e);
    sr_port_flush(port); /* ready: not when its thread gets to it */
    int fail = pthread_create(&e->thread, NULL, engine, e);
    if (fail) {
        sr_free(e);
        return sr_raise(err, SR_NOMEM, "starting the null engine's thread: %s", strerror(fail));
    }
    *out = e;
    return SR_OK;
}

static void free_list(choice *c)
{
    while (c) {
        choice *next = c->next;
        sr_free(c);
        c = next;
    }
}

void sr_null_close(sr_null *e)
{
    if (!e)
        return;
    __atomic_store_n(&e->stop, 1, __ATOMIC_RELEASE);
    sr_port_wake(e->port);
    pthread_join(e->thread, NULL);
    free_list(e->running);
    free_list(e->waiting);
    sr_free(e);
}
