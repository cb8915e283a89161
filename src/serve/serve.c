#include "serve/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/siphash.h"

#define DEFAULT(field, value) ((field) = (field) ? (field) : (value))

static void fill_defaults(sr_servecfg *c)
{
    sr_servelimits *l = &c->limits;
    sr_servetimes  *t = &c->times;
    DEFAULT(l->header_bytes, 32u << 10), DEFAULT(l->url_bytes, 8u << 10), DEFAULT(l->body_bytes, 32u << 20);
    DEFAULT(l->bodies_bytes, 256u << 20), DEFAULT(l->conns, 12288), DEFAULT(l->conns_per_ip, 256), DEFAULT(l->requests, 4096);
    DEFAULT(l->json_depth, 64), DEFAULT(l->json_values, 1u << 20), DEFAULT(l->messages, 4096), DEFAULT(l->prompts, 256);
    DEFAULT(l->inputs, 2048), DEFAULT(l->numbers, 1u << 23);
    DEFAULT(l->choices, 16), DEFAULT(l->stops, 16), DEFAULT(l->stop_bytes, 256), DEFAULT(l->bias, 1024);
    DEFAULT(t->head, 10000), DEFAULT(t->body, 30000), DEFAULT(t->request, 300000), DEFAULT(t->idle, 75000);
    DEFAULT(t->write, 60000), DEFAULT(t->ping, 15000), DEFAULT(t->drain, 30000);
    DEFAULT(c->cors, "*");
}

static void ring(sr_serve *s)
{
    uint64_t one = 1;
    while (write(s->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

/* ---- the loop -------------------------------------------------------------------------------------------- */

static void on_port(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    sr_calls_poll(arg);
}

static bool take_model(sr_serve *s)
{
    s->env.model = s->next;
    s->port      = s->next.port;
    s->port_ev   = event_new(s->base, sr_port_fd(s->port), EV_READ | EV_PERSIST, on_port, s);
    if (!s->port_ev || event_add(s->port_ev, NULL))
        return false;
    s->ready = true;
    return true;
}

enum { TELL_MS = 10000 };

/* What steps with weights from outside took since the last line, beside the prediction of one token's; with -v.  last: now, whenever that was. */
static void tell_steps(sr_serve *s, const sr_portstats *p, bool last)
{
    const sr_portstats *was = &s->told;
    uint64_t            now = sr_serve_now(s), n = p->stream_steps - was->stream_steps;
    if (!last && now - s->told_ns < TELL_MS * 1000000ull)
        return;
    if (p->stream_steps > was->stream_steps) { /* another engine counts anew */
        double ms = 1e-6 / (double)n, step = (double)(p->ns_stream_steps - was->ns_stream_steps) * ms, bus = (double)(p->ns_bus_busy - was->ns_bus_busy) * ms;
        double cpu = (double)(p->ns_cpu_busy - was->ns_cpu_busy) * ms, moved = (double)(p->bus_bytes - was->bus_bytes) * 1e-6 / (double)n;
        sr_logf(SR_LOG_DEBUG, SR_FIELDS(SR_FINT("steps", n), SR_FNUM("step_ms", step), SR_FNUM("predicted_ms", (double)p->ns_predicted * 1e-6),
                                        SR_FNUM("bus_gbs", bus > 0 ? moved / bus : 0), SR_FNUM("bus_idle_ms", SR_MAX(step - bus, 0)),
                                        SR_FNUM("cpu_idle_ms", SR_MAX(step - cpu, 0)), SR_FNUM("cpu_share", (double)p->cpu_share_ppm * 1e-6)),
                "steps with weights from outside the device");
    }
    s->told    = *p;
    s->told_ns = now;
}

static void begin_quit(sr_serve *s)
{
    sr_portstats p;
    if (s->ready) {
        sr_port_stats(s->port, &p);
        tell_steps(s, &p, true);
    }
    sr_log(SR_LOG_INFO, "stopping: %u connections busy, at most %u ms", sr_httpd_busy(s->http), s->cfg.times.drain);
    s->quitting   = true;
    s->quit_at_ns = sr_now_ns() + sr_ms(s->cfg.times.drain);
    sr_httpd_drain(s->http);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    sr_serve *s = arg;
    uint64_t  n;
    while (read(fd, &n, sizeof n) < 0 && errno == EINTR)
        ;
    if (!s->ready && __atomic_load_n(&s->handed, __ATOMIC_ACQUIRE) && !take_model(s))
        sr_log(SR_LOG_ERROR, "no memory to attach the engine");
    if (s->scribe)
        sr_scribe_collect(s->scribe);
    if (!s->quitting && __atomic_load_n(&s->stops, __ATOMIC_ACQUIRE))
        begin_quit(s);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    sr_serve    *s = arg;
    sr_portstats p;
    if (!s->ready)
        return;
    sr_calls_late(s);
    sr_port_stats(s->port, &p);
    tell_steps(s, &p, false);
    if (p.fault) /* nobody will ever answer them */
        sr_calls_abort(s, 500, "engine_failed", "The engine has failed.");
}

/* True when nothing is left to do, or the time for it is over. */
static bool quit_now(sr_serve *s)
{
    if (!s->quitting)
        return false;
    if (!sr_httpd_busy(s->http))
        return true;
    if (sr_now_ns() < s->quit_at_ns && __atomic_load_n(&s->stops, __ATOMIC_ACQUIRE) < 2)
        return false;
    sr_calls_abort(s, 503, "shutting_down", "The server is shutting down.");
    for (int i = 0; i < 8 && sr_httpd_turn(s->http); i++)
        ;
    return true;
}

sr_status sr_serve_run(sr_serve *s, sr_err *err)
{
    bool again = false;
    while (!quit_now(s)) {
        if (event_base_loop(s->base, again ? EVLOOP_NONBLOCK : EVLOOP_ONCE) < 0)
            return sr_raise(err, SR_IO, "event loop: %s", strerror(errno));
        again = sr_httpd_turn(s->http);
    }
    return SR_OK;
}

/* ---- open, ready, stop, close ---------------------------------------------------------------------------- */

static sr_status open_events(sr_serve *s, sr_err *err)
{
    s->base    = event_base_new();
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!s->base || s->wake_fd < 0)
        return sr_raise(err, SR_IO, "event loop: %s", strerror(errno));
    s->wake_ev = event_new(s->base, s->wake_fd, EV_READ | EV_PERSIST, on_wake, s);
    s->tick_ev = event_new(s->base, -1, EV_PERSIST, on_tick, s);
    struct timeval tv = {0, 50000};
    if (!s->wake_ev || !s->tick_ev || event_add(s->wake_ev, NULL) || event_add(s->tick_ev, &tv))
        return sr_raise(err, SR_NOMEM, "host: events");
    return SR_OK;
}

static sr_status open_http(sr_serve *s, sr_err *err)
{
    const sr_servecfg *c = &s->cfg;
    if (!c->tls_cert != !c->tls_key)
        return sr_raise(err, SR_INVALID, "a certificate and its key belong together: only the %s is given", c->tls_cert ? "certificate" : "key");
    if (c->tls_cert && sr_tls_open(c->tls_cert, c->tls_key, &s->tls, err))
        return err->status;
    sr_httpapp app = sr_routes;
    app.app = s;
    sr_httpcfg h = {.host = c->host, .port = c->port,
                    .limits = {c->limits.header_bytes, c->limits.url_bytes, c->limits.body_bytes},
                    .bodies_bytes = c->limits.bodies_bytes, .conns = c->limits.conns, .conns_per_ip = c->limits.conns_per_ip,
                    .head_ms = c->times.head, .body_ms = c->times.body, .request_ms = c->times.request, .idle_ms = c->times.idle,
                    .write_ms = c->times.write, .tls = s->tls, .cors = c->cors[0] ? c->cors : NULL};
    return sr_httpd_open(s->base, &h, &app, &s->http, err);
}

/* Paths are compared with it as they are when decoded and tidied: another spelling would never be met. */
static bool is_prefix(const char *p)
{
    size_t n = strlen(p);
    if (!n)
        return true;
    for (size_t i = 0; i < n; i++)
        if (p[i] <= ' ' || p[i] > '~' || strchr("%?#", p[i]) || (p[i] == '/' && (p[i + 1] == '/' || !p[i + 1])))
            return false;
    return *p == '/';
}

sr_status sr_serve_basics(sr_serve *s, const sr_servecfg *cfg, sr_err *err)
{
    if (cfg->prefix && !is_prefix(cfg->prefix))
        return sr_raise(err, SR_INVALID, "the prefix of paths must be as /openai or /a/b, with '/' in front and none at the end: \"%.100s\"", cfg->prefix);
    if (!cfg->model_id || !cfg->model_id[0])
        return sr_raise(err, SR_INVALID, "the server needs a model id");
    s->cfg     = *cfg;
    s->wake_fd = -1;
    s->created = (int64_t)time(NULL);
    fill_defaults(&s->cfg);
    if (getrandom(s->env.secret, sizeof s->env.secret, 0) != (ssize_t)sizeof s->env.secret)
        return sr_raise(err, SR_IO, "getrandom: %s", strerror(errno));
    snprintf(s->fingerprint, sizeof s->fingerprint, "fp_%012llx",
             (unsigned long long)(sr_siphash64((uint64_t[]){sr_siphash64((uint64_t[]){0, 0}, SR_VERSION, sizeof SR_VERSION), 0}, cfg->model_id, strlen(cfg->model_id)) >> 16));
    s->env.limits       = s->cfg.limits;
    s->env.strict_model = cfg->strict_model;
    s->env.model_id     = cfg->model_id;
    s->env.aliases      = cfg->aliases;
    s->env.n_aliases    = cfg->n_aliases;
    return SR_OK;
}

sr_status sr_serve_open(const sr_servecfg *cfg, sr_serve **out, sr_err *err)
{
    *out        = NULL;
    sr_serve *s = sr_calloc(1, sizeof *s);
    if (!s)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a server", sizeof *s);
    s->wake_fd = -1;
    if (sr_serve_basics(s, cfg, err) || (cfg->n_keys && sr_keys_open(cfg->keys, cfg->n_keys, &s->keys, err)) || open_events(s, err) || open_http(s, err) || sr_scribe_open(s, &s->scribe, err)) {
        sr_serve_close(s);
        return err->status;
    }
    *out = s;
    return SR_OK;
}

uint16_t sr_serve_port(const sr_serve *s) { return sr_httpd_port(s->http); }

sr_status sr_serve_model(sr_serve *s, const sr_servemodel *m, sr_err *err)
{
    if (!m->port || !m->tok || !m->ctx)
        return sr_raise(err, SR_INVALID, "a model needs a port, a tokenizer and a context length");
    sr_status st = sr_specials_open(m->tok, &s->specials, err);
    if (st)
        return st;
    s->env.specials = s->specials; /* not read before `ready`, which the io thread sets after `handed` */
    s->next = *m;
    if (!s->next.chat_source)
        s->next.chat_source = m->chat ? sr_tokenizer_template(m->tok) : NULL;
    s->env.family      = sr_toolfamily_of(s->next.chat_source);
    s->env.think       = sr_thinkmarks_of(s->next.chat_source);
    s->env.caps        = m->chat ? sr_tplcaps_of(m->chat, m->tok) : (sr_tplcaps){0};
    return SR_OK;
}

/* A server without these figures is as good as one with them: why they are not there is for who asks. */
static void watch_gpu(sr_serve *s, const char *uuid)
{
    sr_err err = {0};
    if (!uuid)
        sr_log(SR_LOG_DEBUG, "no figures of a GPU: the model is not on one");
    else if (sr_nvml_open(s->cfg.nvml, uuid, 0, &s->nvml, &err))
        sr_log(SR_LOG_DEBUG, "no figures of the GPU: %s", err.msg);
}

sr_status sr_serve_ready(sr_serve *s, const sr_servemodel *m, sr_err *err)
{
    if (sr_serve_model(s, m, err))
        return err->status;
    watch_gpu(s, m->gpu_uuid);
    __atomic_store_n(&s->handed, 1, __ATOMIC_RELEASE);
    ring(s);
    return SR_OK;
}

void sr_serve_stop(sr_serve *s)
{
    __atomic_fetch_add(&s->stops, 1, __ATOMIC_RELEASE);
    ring(s);
}

sr_status sr_serve_reload(sr_serve *s, sr_err *err) { return s->tls ? sr_tls_reload(s->tls, err) : SR_OK; }

static void event_end(struct event *e)
{
    if (e)
        event_free(e);
}

void sr_serve_close(sr_serve *s)
{
    if (!s)
        return;
    sr_httpd_close(s->http); /* its gone() ends the calls, so port and scribe must still be there */
    sr_tls_close(s->tls);
    sr_scribe_close(s->scribe);
    event_end(s->port_ev);
    event_end(s->wake_ev);
    event_end(s->tick_ev);
    if (s->base)
        event_base_free(s->base);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    sr_keys_close(s->keys);
    sr_nvml_close(s->nvml);
    sr_free(s->slot);
    sr_free(s->late);
    sr_specials_close(s->specials);
    sr_free(s);
}
