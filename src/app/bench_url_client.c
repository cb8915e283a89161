/* bench_url_client.c - see bench_url_client.h. */
#include "app/bench_url_client.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "app/bench_url_event.h"
#include "app/bench_url_reply.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/philox.h"

enum { SCRATCH = 256 << 10, BODY_MAX = 1 << 20, TICK_MS = 20, READS_PER_TURN = 4, LATE_END_MS = 1000, DIALS_AT_ONCE = 256, HOPELESS = 16, REST_MS = 50 };
typedef enum { OFF, DIALING, BUSY, REST } state;

typedef struct run run;
typedef struct client {
    run          *r;
    struct client *next;           /* in run.spare */
    sr_netconn    net;
    struct event  ev_read, ev_write;
    state         state;
    bool          armed, idle;     /* armed: events are bound to the descriptor; idle: one of those that say nothing */
    bool          again, retried;  /* the connection has carried a request before; this one was sent a second time */
    sr_buf        out, body;       /* body: of an answer that is no stream of events */
    size_t        sent;
    sr_reply      reply;
    sr_sse        sse;
    bool          done, finish, usage;
    int           wrong;           /* 1 + sr_lerr of an event, 0: none */
    int64_t       n_prompt, n_made, n_cached;
    uint64_t      events, start, moved, first, last, ended; /* ns; 0: not yet */
    char          why[SR_LERR_TEXT];
} client;

struct run {
    const sr_loadplan *plan;
    sr_loadstat       *st;
    struct event_base *base;
    struct event      *tick, *alarm;
    client           **all, *spare;
    uint32_t           n_all, cap_all, busy, n_idle, n_idle_up, dialing_idle;
    uint64_t           started, began, now, due, shown, rest_until; /* clients that found nobody ask again a little later */
    bool               over, get;
    sr_buf             json;
    sr_buf            *got;        /* of sr_load_get */
    int                got_status;
    char              *scratch;
};

static void on_read(evutil_socket_t fd, short what, void *arg);
static void on_write(evutil_socket_t fd, short what, void *arg);
static void go_on(client *c);

/* ---- clients --------------------------------------------------------------------------------------------- */

static client *client_new(run *r)
{
    if (r->n_all == r->cap_all) {
        uint32_t n = r->cap_all ? r->cap_all * 2 : 64;
        client **p = sr_realloc(r->all, n * sizeof *p);
        if (!p)
            return NULL;
        r->all     = p;
        r->cap_all = n;
    }
    client *c = sr_calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->r      = r;
    c->net.fd = -1;
    r->all[r->n_all++] = c;
    return c;
}

static void hang_up(client *c)
{
    if (c->armed) {
        event_del(&c->ev_read);
        event_del(&c->ev_write);
    }
    c->armed = c->again = false;
    sr_net_drop(&c->net);
    c->state = OFF;
}

static void client_free(client *c)
{
    hang_up(c);
    sr_buf_end(&c->out);
    sr_buf_end(&c->body);
    sr_reply_end(&c->reply);
    sr_sse_end(&c->sse);
    sr_free(c);
}

static void spare(client *c)
{
    c->next     = c->r->spare;
    c->r->spare = c;
}

/* ---- the end of a request -------------------------------------------------------------------------------- */

static void count_tokens(client *c)
{
    sr_loadstat *st = c->r->st;
    uint64_t     n  = c->events;
    if (c->usage && c->n_made >= 0) {
        n = (uint64_t)c->n_made;
        st->n_usage++;
    } else {
        st->n_guess++;
    }
    st->tokens += n;
    if (c->n_prompt >= 0) {
        st->prompt_tokens += (uint64_t)c->n_prompt;
        st->n_prompt++;
    }
    if (c->n_cached > 0)
        st->cached_tokens += (uint64_t)c->n_cached;
    if (c->ended && n > 1 && c->last > c->first)
        sr_dist_add(&st->tpot, (c->last - c->first) / (n - 1));
}

static void over(client *c, bool keep)
{
    if (!keep)
        hang_up(c);
    else
        c->state = REST, c->again = true;
    c->r->busy--;
    spare(c);
}

static void went_well(client *c, bool keep)
{
    sr_loadstat *st = c->r->st;
    c->ended = c->ended ? c->ended : c->r->now;
    st->n_ok++;
    sr_dist_add(&st->total, c->ended - c->start);
    count_tokens(c);
    over(c, keep);
}

static void went_wrong(client *c, sr_lerr kind, const char *text)
{
    sr_loadstat *st = c->r->st;
    st->tokens += c->events; /* they came, whatever happened then */
    st->n_guess += c->events > 0;
    sr_load_error(st, kind, c->reply.status, text);
    if (kind == SR_LERR_CONNECT)
        c->r->rest_until = c->r->now + REST_MS * 1000000ull;
    over(c, false);
}

static void dial(client *c);

/* The connection is gone, or what came over it makes no sense. */
static void broke(client *c, sr_lerr kind, const char *why)
{
    if (c->done || (c->finish && kind == SR_LERR_CLOSED)) { /* everything was there; only the end of the framing is missing */
        went_well(c, false);
        return;
    }
    bool fresh = c->reply.status == 0 && c->reply.head.n == 0;
    if (c->again && fresh && !c->retried && (kind == SR_LERR_CLOSED)) { /* closed while it rested */
        c->retried = true;
        hang_up(c);
        c->sent = 0;
        dial(c);
        return;
    }
    went_wrong(c, kind, why);
}

/* The whole answer has come. */
static void answered(client *c)
{
    bool keep = c->reply.keep_alive && !c->r->plan->fresh;
    if (c->r->get) {
        *c->r->got       = c->body;
        c->body          = (sr_buf){0};
        c->r->got_status = c->reply.status;
        went_well(c, false);
        return;
    }
    if (c->reply.status != 200) {
        sr_loadfacts f;
        char         text[SR_LERR_TEXT];
        bool         json = c->body.n && sr_load_facts(c->body.p, c->body.n, &f) && f.message[0];
        snprintf(text, sizeof text, "%d: %.200s", c->reply.status, json ? f.message : c->body.n ? c->body.p : "no body");
        sr_load_error(c->r->st, SR_LERR_STATUS, c->reply.status, text);
        over(c, keep);
        return;
    }
    if (!c->reply.events) {
        went_wrong(c, SR_LERR_REPLY, "the answer is no stream of events (text/event-stream)");
    } else if (c->done || c->finish) {
        went_well(c, keep);
    } else {
        went_wrong(c, SR_LERR_CUT, "the stream ended without a finish_reason and without [DONE]");
    }
}

/* ---- what comes in --------------------------------------------------------------------------------------- */

static void on_event(void *arg, const char *data, size_t n)
{
    client      *c  = arg;
    sr_loadstat *st = c->r->st;
    sr_loadfacts f;
    if (c->wrong || c->done)
        return;
    if (n >= 6 && memcmp(data, "[DONE]", 6) == 0) {
        c->done  = true;
        c->ended = c->r->now;
        return;
    }
    if (n == 0)
        return;
    if (!sr_load_facts(data, n, &f)) {
        c->wrong = 1 + SR_LERR_EVENT;
        snprintf(c->why, sizeof c->why, "not JSON: %.*s", (int)SR_MIN(n, (size_t)120), data);
        return;
    }
    if (f.error) {
        c->wrong = 1 + SR_LERR_STREAM;
        snprintf(c->why, sizeof c->why, "%s", f.message[0] ? f.message : "an error without a message");
        return;
    }
    c->finish |= f.finish;
    if (f.usage && f.n_made >= 0) {
        c->usage    = true;
        c->n_made   = f.n_made;
        c->n_prompt = f.n_prompt;
        c->n_cached = f.n_cached;
    }
    if (!f.n_text)
        return;
    if (!c->first) {
        c->first = c->r->now;
        sr_dist_add(&st->ttft, c->first - c->start);
    } else {
        sr_dist_add(&st->gap, c->r->now - c->last);
    }
    c->last = c->r->now;
    c->events++;
    st->events++;
}

static bool on_piece(void *arg, const char *p, size_t n)
{
    client *c = arg;
    if (c->reply.status == 200 && c->reply.events && !c->r->get) {
        if (!sr_sse_feed(&c->sse, p, n, on_event, c) && !c->wrong) {
            c->wrong = 1 + SR_LERR_EVENT;
            snprintf(c->why, sizeof c->why, "an event of more than %d bytes", SR_SSE_MAX);
        }
        return !c->wrong;
    }
    if (c->body.n < BODY_MAX)
        sr_buf_add(&c->body, p, SR_MIN(n, BODY_MAX - c->body.n));
    return true;
}

/* False: the request is over. */
static bool take_bytes(client *c, const char *p, size_t n)
{
    size_t          used;
    sr_replyverdict v = sr_reply_feed(&c->reply, p, n, &used, on_piece, c);
    if (c->wrong)
        went_wrong(c, (sr_lerr)(c->wrong - 1), c->why);
    else if (v == SR_REPLY_BAD)
        broke(c, SR_LERR_REPLY, c->reply.why);
    else if (v == SR_REPLY_DONE)
        answered(c);
    else
        return true;
    return false;
}

static void closed(client *c)
{
    sr_replyverdict v = sr_reply_eof(&c->reply);
    c->reply.keep_alive = false;
    if (v == SR_REPLY_DONE) {
        sr_sse_finish(&c->sse, on_event, c);
        if (c->wrong)
            went_wrong(c, (sr_lerr)(c->wrong - 1), c->why);
        else
            answered(c);
    } else {
        broke(c, SR_LERR_CLOSED, c->reply.why);
    }
}

static void on_read(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    client *c = arg;
    run    *r = c->r;
    r->now = sr_now_ns();
    if (c->state == DIALING) {
        go_on(c);
        return;
    }
    if (c->state == REST) { /* nothing was asked: the server has closed */
        r->n_idle_up -= c->idle;
        r->st->idle_lost += c->idle;
        hang_up(c);
        return;
    }
    for (int i = 0; (i < READS_PER_TURN || c->net.ssl) && c->state == BUSY; i++) { /* what TLS has taken in wakes nobody */
        size_t        n = 0;
        sr_netverdict v = sr_net_read(&c->net, r->scratch, SCRATCH, &n);
        if (v == SR_NET_READ)
            return;
        if (v == SR_NET_WRITE) {
            event_add(&c->ev_write, NULL);
            return;
        }
        if (v == SR_NET_END) {
            closed(c);
            return;
        }
        if (v == SR_NET_FAIL) {
            char why[sizeof c->net.why];
            memcpy(why, c->net.why, sizeof why);
            broke(c, SR_LERR_CLOSED, why);
            return;
        }
        c->moved = r->now;
        r->st->bytes += n;
        if (!take_bytes(c, r->scratch, n))
            return;
        if (n < SCRATCH / 2 && !c->net.ssl) /* a plain socket is empty now */
            return;
    }
}

/* ---- what goes out --------------------------------------------------------------------------------------- */

/* No connection: of a client that only keeps one it is counted, of the others it is the answer. */
static void not_there(client *c, sr_lerr kind)
{
    char why[sizeof c->net.why];
    memcpy(why, c->net.why, sizeof why);
    if (!c->idle) {
        went_wrong(c, kind, why);
        return;
    }
    hang_up(c);
    c->r->st->idle_lost++;
}

static void dial(client *c)
{
    run          *r = c->r;
    sr_netverdict v = sr_net_connect(r->plan->target, &c->net);
    r->st->connections++;
    if (v == SR_NET_FAIL) {
        not_there(c, SR_LERR_CONNECT);
        return;
    }
    event_assign(&c->ev_read, r->base, c->net.fd, EV_READ | EV_PERSIST, on_read, c);
    event_assign(&c->ev_write, r->base, c->net.fd, EV_WRITE, on_write, c);
    c->armed = true;
    c->state = DIALING;
    event_add(&c->ev_write, NULL);
}

static void send_more(client *c)
{
    while (c->sent < c->out.n) {
        size_t        n = 0;
        sr_netverdict v = sr_net_write(&c->net, c->out.p + c->sent, c->out.n - c->sent, &n);
        if (v == SR_NET_WRITE) {
            event_add(&c->ev_write, NULL);
            return;
        }
        if (v == SR_NET_READ)
            return;
        if (v != SR_NET_OK) {
            char why[sizeof c->net.why];
            snprintf(why, sizeof why, "%s", v == SR_NET_END ? "closed by the server" : c->net.why);
            broke(c, SR_LERR_CLOSED, why);
            return;
        }
        c->sent += n;
        c->moved = c->r->now;
    }
}

/* Brings a connection that is being made, or a request that is being sent, as far as it goes. */
static void go_on(client *c)
{
    run *r = c->r;
    if (c->state == DIALING) {
        sr_netverdict v = sr_net_connected(&c->net);
        if (v == SR_NET_WRITE || v == SR_NET_READ) {
            event_add(v == SR_NET_WRITE ? &c->ev_write : &c->ev_read, NULL);
            return;
        }
        r->dialing_idle -= c->idle;
        if (v != SR_NET_OK) {
            not_there(c, c->net.ssl ? SR_LERR_TLS : SR_LERR_CONNECT);
            return;
        }
        event_add(&c->ev_read, NULL);
        c->state = c->idle ? REST : BUSY;
        r->n_idle_up += c->idle;
    }
    if (c->state == BUSY)
        send_more(c);
}

static void on_write(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    client *c = arg;
    c->r->now = sr_now_ns();
    go_on(c);
}

static void build(client *c, uint64_t index)
{
    run               *r = c->r;
    const sr_loadplan *p = r->plan;
    r->json.n = c->out.n = 0;
    if (!r->get)
        p->body(p->arg, index, &r->json);
    sr_buf_fmt(&c->out, "%s %s%s HTTP/1.1\r\nHost: %s\r\n", r->get ? "GET" : "POST", p->target->base, p->path, p->target->at);
    if (p->api_key)
        sr_buf_fmt(&c->out, "Authorization: Bearer %s\r\n", p->api_key);
    if (r->get)
        sr_buf_str(&c->out, "Accept: application/json\r\nConnection: close\r\n\r\n");
    else
        sr_buf_fmt(&c->out, "%sContent-Type: application/json\r\nAccept: text/event-stream\r\nUser-Agent: strata-bench/%s\r\nContent-Length: %zu\r\n\r\n",
                   p->fresh ? "Connection: close\r\n" : "", SR_VERSION, r->json.n);
    sr_buf_add(&c->out, r->json.p ? r->json.p : "", r->json.n);
    c->out.failed |= r->json.failed;
}

static void begin(client *c, uint64_t from)
{
    run *r = c->r;
    build(c, r->plan->first + r->started++);
    sr_reply_reset(&c->reply);
    sr_sse_end(&c->sse);
    c->body.n = 0;
    c->sent   = 0;
    c->done = c->finish = c->usage = c->retried = false;
    c->wrong  = 0;
    c->n_made = c->n_prompt = c->n_cached = -1;
    c->events = c->first = c->last = c->ended = 0;
    c->start  = from;
    c->moved  = r->now;
    r->busy++;
    r->st->most = SR_MAX(r->st->most, r->busy);
    if (c->out.failed) {
        went_wrong(c, SR_LERR_CONNECT, "no memory for the request");
    } else if (c->state == REST) {
        c->state = BUSY;
        send_more(c);
    } else {
        dial(c);
    }
}

/* ---- the run --------------------------------------------------------------------------------------------- */

static client *take_spare(run *r)
{
    client *c = r->spare;
    if (c)
        r->spare = c->next;
    return c ? c : client_new(r);
}

/* -ln(u) / rate, the gap of a Poisson process. */
static uint64_t gap(const run *r)
{
    uint32_t u = sr_philox4(r->plan->seed, (uint32_t)r->started, (uint32_t)(r->started >> 32), 0x10ad, 0).v[0];
    return (uint64_t)(-log(((double)u + 1) / 4294967297.0) / r->plan->rate * 1e9);
}

static bool more(const run *r)
{
    const sr_loadplan *p = r->plan;
    return !r->over && (!p->requests || r->started < p->requests) && !(p->enough && __atomic_load_n(p->enough, __ATOMIC_ACQUIRE));
}

/* Starts what can be started now; with nobody there, in bursts.  False: no memory. */
static bool launch(run *r)
{
    const sr_loadplan *p = r->plan;
    r->now = sr_now_ns();
    if (p->rate <= 0 && r->now < r->rest_until)
        return true;
    for (uint32_t n = 0; more(r) && (p->rate > 0 ? r->due <= r->now : n < p->concurrency && r->busy < p->concurrency); n++) {
        client *c = take_spare(r);
        if (!c)
            return false;
        uint64_t from = p->rate > 0 ? r->due : r->now;
        if (p->rate > 0)
            r->due += gap(r);
        begin(c, from);
    }
    if (p->rate > 0 && more(r)) {
        uint64_t       ns = r->due > r->now ? r->due - r->now : 0;
        struct timeval tv = {(time_t)(ns / 1000000000), (suseconds_t)(ns / 1000 % 1000000)};
        event_add(r->alarm, &tv);
    }
    return true;
}

static void on_alarm(evutil_socket_t fd, short what, void *arg) { (void)fd, (void)what, (void)arg; }

static void cut_off(run *r)
{
    r->over = true;
    for (uint32_t i = 0; i < r->n_all; i++) {
        client *c = r->all[i];
        if (c->idle || (c->state != BUSY && c->state != DIALING))
            continue;
        if (c->done) {
            went_well(c, false);
            continue;
        }
        r->st->n_cut++;
        r->st->tokens += c->events;
        r->st->n_guess += c->events > 0;
        over(c, false);
    }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    run               *r = arg;
    const sr_loadplan *p = r->plan;
    if (!r->began)
        return; /* idle connections are still being opened */
    r->now = sr_now_ns();
    uint64_t silence = (uint64_t)p->timeout_ms * 1000000;
    for (uint32_t i = 0; i < r->n_all; i++) {
        client *c = r->all[i];
        if (c->idle || (c->state != BUSY && c->state != DIALING))
            continue;
        if (c->done && r->now - c->ended > LATE_END_MS * 1000000ull)
            went_well(c, false);
        else if (r->now > c->moved && r->now - c->moved > silence)
            went_wrong(c, SR_LERR_TIMEOUT, c->state == DIALING ? "no connection" : c->reply.status ? "silence within the answer" : "no answer");
    }
    if (p->seconds > 0 && !r->over && (double)(r->now - r->began) >= p->seconds * 1e9)
        cut_off(r);
    if (p->progress && r->now - r->shown > 200000000) {
        r->shown = r->now;
        p->progress(p->arg, r->st, (double)(r->now - r->began) * 1e-9);
    }
}

/* Opens the connections that say nothing, some at a time; those that cannot be opened are counted as lost. */
static sr_status open_idle(run *r, sr_err *err)
{
    while (r->n_idle < r->plan->idle || r->dialing_idle) {
        while (r->n_idle < r->plan->idle && r->dialing_idle < DIALS_AT_ONCE) {
            client *c = client_new(r);
            if (!c)
                return sr_raise(err, SR_NOMEM, "host: memory for %u idle connections", r->plan->idle);
            r->n_idle++;
            c->idle = true;
            r->dialing_idle++;
            dial(c);
            r->dialing_idle -= c->state == OFF;
        }
        if (r->dialing_idle && event_base_loop(r->base, EVLOOP_ONCE) < 0)
            return sr_raise(err, SR_IO, "event loop: failed");
    }
    return SR_OK;
}

static sr_status open_run(run *r, sr_err *err)
{
    struct event_config *cfg = event_config_new();
    struct timeval       tv  = {0, TICK_MS * 1000};
    if (cfg) {
        event_config_set_flag(cfg, EVENT_BASE_FLAG_PRECISE_TIMER | EVENT_BASE_FLAG_NOLOCK);
        r->base = event_base_new_with_config(cfg);
        event_config_free(cfg);
    }
    r->scratch = sr_malloc(SCRATCH);
    if (r->base) {
        r->tick  = event_new(r->base, -1, EV_PERSIST, on_tick, r);
        r->alarm = event_new(r->base, -1, 0, on_alarm, r);
    }
    if (!r->scratch || !r->tick || !r->alarm || event_add(r->tick, &tv))
        return sr_raise(err, SR_NOMEM, "host: an event loop");
    return SR_OK;
}

static void close_run(run *r)
{
    for (uint32_t i = 0; i < r->n_all; i++)
        client_free(r->all[i]);
    sr_free(r->all);
    if (r->tick)
        event_free(r->tick);
    if (r->alarm)
        event_free(r->alarm);
    if (r->base)
        event_base_free(r->base);
    sr_buf_end(&r->json);
    sr_free(r->scratch);
}

static bool hopeless(const run *r) { return r->st->n_ok == 0 && r->st->n_error >= HOPELESS && r->st->n_error == r->started - r->busy; }

static sr_status drive(run *r, sr_err *err)
{
    r->began = r->due = r->now = sr_now_ns();
    for (;;) {
        if (!launch(r))
            return sr_raise(err, SR_NOMEM, "host: memory for a client");
        if (r->busy == 0 && !more(r))
            break;
        if (hopeless(r) && !r->over) { /* nothing has gone well: more of it tells nothing */
            cut_off(r);
            continue;
        }
        if (event_base_loop(r->base, EVLOOP_ONCE) < 0)
            return sr_raise(err, SR_IO, "event loop: failed");
    }
    r->st->seconds = (double)(sr_now_ns() - r->began) * 1e-9;
    return SR_OK;
}

static sr_status run_plan(run *r, sr_err *err)
{
    *r->st = (sr_loadstat){.concurrency = r->plan->rate > 0 ? 0 : r->plan->concurrency, .rate = r->plan->rate};
    sr_status s = open_run(r, err);
    if (!s)
        s = open_idle(r, err);
    if (!s)
        s = drive(r, err);
    close_run(r);
    return s;
}

sr_status sr_load_run(const sr_loadplan *plan, sr_loadstat *out, sr_err *err)
{
    run r = {.plan = plan, .st = out};
    return run_plan(&r, err);
}

sr_status sr_load_get(const sr_nettarget *t, const char *path, const char *api_key, uint32_t timeout_ms, int *status, sr_buf *out, sr_err *err)
{
    sr_loadstat *st = sr_calloc(1, sizeof *st);
    if (!st)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a request", sizeof *st);
    sr_loadplan p = {.target = t, .path = path, .api_key = api_key, .concurrency = 1, .requests = 1, .timeout_ms = timeout_ms};
    run         r = {.plan = &p, .st = st, .get = true, .got = out};
    run_plan(&r, err);
    for (int i = 0; i < SR_LERR_COUNT && !err->status; i++)
        if (st->errors[i])
            sr_raise(err, SR_IO, "%s://%s%s%s: %s", t->tls ? "https" : "http", t->at, t->base, path, st->text[i]);
    *status = r.got_status;
    sr_free(st);
    return err->status;
}
