/* routes.c - which path is what, who may, and the answers that need no engine. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/jsonw.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/siphash.h"
#include "serve/internal.h"

static const char JSON[] = "application/json";

enum { M_GET = 1 << SR_GET | 1 << SR_HEAD, M_POST = 1 << SR_POST };
static const struct { const char *path, *name; unsigned methods; } routes[RT_COUNT] = {
    [RT_NONE]        = {NULL, "none", 0},
    [RT_HEALTH]      = {"/health", "health", M_GET},
    [RT_LIVE]        = {"/health/live", "live", M_GET},
    [RT_READY]       = {"/health/ready", "ready", M_GET},
    [RT_METRICS]     = {"/metrics", "metrics", M_GET},
    [RT_MODELS]      = {"/models", "models", M_GET},
    [RT_MODEL]       = {"/models/", "model", M_GET}, /* and an id that may hold slashes */
    [RT_CHAT]        = {"/chat/completions", "chat", M_POST},
    [RT_COMPLETIONS] = {"/completions", "completions", M_POST},
    [RT_EMBEDDINGS]  = {"/embeddings", "embeddings", M_POST},
};

void sr_reply_error(sr_conn *c, const sr_apierr *e)
{
    sr_buf body = {0};
    char   more[64] = "";
    sr_api_error_json(e, &body);
    if (e->retry_s)
        snprintf(more, sizeof more, "Retry-After: %u\r\n", e->retry_s);
    else if (e->allow)
        snprintf(more, sizeof more, "Allow: %s\r\n", e->allow);
    else if (e->status == 401)
        snprintf(more, sizeof more, "WWW-Authenticate: Bearer\r\n");
    sr_http_reply(c, e->status, JSON, more, body.p, body.n);
    sr_buf_end(&body);
}

/* ---- paths ----------------------------------------------------------------------------------------------- */

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

enum { PATH_BYTES = 2048 };

/* Percent-decoded, slashes collapsed, no slash at the end, prefix and /v1 taken off.  False: not a path we could know. */
static bool tidy(const sr_serve *s, sr_str raw, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < raw.n; i++) {
        char c = raw.p[i];
        if (c == '%') {
            int hi = i + 2 < raw.n ? hex(raw.p[i + 1]) : -1, lo = hi >= 0 ? hex(raw.p[i + 2]) : -1;
            if (lo < 0 || hi * 16 + lo == 0)
                return false;
            c = (char)(hi * 16 + lo);
            i += 2;
        }
        if (c == '/' && n && out[n - 1] == '/')
            continue;
        if (n + 1 == PATH_BYTES)
            return false;
        out[n++] = c;
    }
    while (n > 1 && out[n - 1] == '/')
        n--;
    out[n] = 0;
    size_t m = s->cfg.prefix ? strlen(s->cfg.prefix) : 0;
    if (m && !strncmp(out, s->cfg.prefix, m) && out[m] == '/')
        memmove(out, out + m, n + 1 - m);
    if (!strncmp(out, "/v1/", 4))
        memmove(out, out + 3, strlen(out + 3) + 1);
    return true;
}

static sr_route find(const char *path)
{
    size_t m = strlen(routes[RT_MODEL].path);
    for (int r = RT_NONE + 1; r < RT_COUNT; r++)
        if (r != RT_MODEL && !strcmp(path, routes[r].path))
            return (sr_route)r;
    return !strncmp(path, routes[RT_MODEL].path, m) ? RT_MODEL : RT_NONE;
}

/* ---- keys ------------------------------------------------------------------------------------------------ */

/* All keys are compared over all their bytes, whatever was sent: the time says nothing. */
static bool key_ok(const sr_serve *s, sr_str given)
{
    char     pad[KEY_BYTES] = {0};
    unsigned found = 0;
    bool     fits = given.p && given.n && given.n <= KEY_BYTES;
    if (fits)
        memcpy(pad, given.p, given.n);
    for (uint32_t k = 0; k < s->cfg.n_api_keys; k++) {
        unsigned diff = 0;
        for (int i = 0; i < KEY_BYTES; i++)
            diff |= (unsigned char)(pad[i] ^ s->key[k][i]);
        found |= (diff - 1u) >> 31; /* 1 only when diff is 0 */
    }
    return found && fits;
}

static bool allowed(const sr_serve *s, sr_route r, const sr_httphead *h)
{
    if (!s->cfg.n_api_keys || r == RT_HEALTH || r == RT_LIVE || r == RT_READY || (r == RT_METRICS && !s->cfg.guard_metrics))
        return true;
    sr_str bearer = sr_http_header(h, "authorization");
    if (bearer.n > 7 && sr_str_iscase((sr_str){bearer.p, 7}, "Bearer "))
        bearer = (sr_str){bearer.p + 7, bearer.n - 7};
    else
        bearer = (sr_str){NULL, 0};
    return key_ok(s, bearer) || key_ok(s, sr_http_header(h, "x-api-key"));
}

/* ---- answers --------------------------------------------------------------------------------------------- */

static void health(sr_serve *s, sr_conn *c, bool live_only)
{
    sr_portstats p = {0};
    if (s->ready)
        sr_port_stats(s->port, &p);
    const char *status = p.fault ? "engine failed" : !s->ready || !p.ready ? "loading" : s->quitting ? "stopping" : NULL;
    if (!status || live_only) {
        sr_http_reply(c, 200, JSON, NULL, "{\"status\":\"ok\"}", 15);
        return;
    }
    char body[160];
    int  n = snprintf(body, sizeof body,
                      "{\"status\":\"%s\",\"error\":{\"message\":\"The server is not ready: %s.\",\"type\":\"server_error\","
                      "\"param\":null,\"code\":\"unavailable\"}}", status, status);
    sr_http_reply(c, 503, JSON, "Retry-After: 1\r\n", body, (size_t)n);
}

static void metrics(sr_serve *s, sr_conn *c)
{
    const char  *names[RT_COUNT];
    sr_portstats p = {0};
    sr_buf       out = {0};
    for (int i = 0; i < RT_COUNT; i++)
        names[i] = routes[i].name;
    if (s->ready)
        sr_port_stats(s->port, &p);
    sr_metrics_text(&(sr_metricsview){.m = &s->metrics, .port = s->ready ? &p : NULL, .route = names, .n_route = RT_COUNT,
                                      .conns = sr_httpd_conns(s->http), .jobs = s->n_busy,
                                      .preparing = s->scribe ? sr_scribe_waiting(s->scribe) : 0,
                                      .refused = sr_httpd_refused(s->http), .slow = sr_httpd_slow(s->http),
                                      .ready = s->ready && p.ready && !p.fault}, &out);
    sr_http_reply(c, 200, "text/plain; version=0.0.4; charset=utf-8", NULL, out.p, out.n);
    sr_buf_end(&out);
}

static void model_object(const sr_serve *s, const char *id, sr_jsonw *w)
{
    const sr_servemodel *m = &s->env.model;
    sr_json_obj(w, NULL);
    sr_json_str(w, "id", id);
    sr_json_str(w, "object", "model");
    sr_json_int(w, "created", s->created);
    sr_json_str(w, "owned_by", "strata");
    if (strcmp(id, s->cfg.model_id))
        sr_json_str(w, "root", s->cfg.model_id);
    sr_json_uint(w, "max_model_len", m->ctx);
    sr_json_obj(w, "meta");
    sr_json_uint(w, "n_ctx", m->ctx);
    sr_json_uint(w, "n_vocab", sr_tokenizer_n_vocab(m->tok));
    if (m->ctx_train)
        sr_json_uint(w, "n_ctx_train", m->ctx_train);
    if (m->n_embd)
        sr_json_uint(w, "n_embd", m->n_embd);
    if (m->n_params)
        sr_json_uint(w, "n_params", m->n_params);
    if (m->bytes)
        sr_json_uint(w, "size", m->bytes);
    if (m->arch)
        sr_json_str(w, "arch", m->arch);
    if (m->ftype)
        sr_json_str(w, "ftype", m->ftype);
    if (m->device)
        sr_json_str(w, "device", m->device);
    sr_json_end(w);
    sr_json_end(w);
}

static void model_list(sr_serve *s, sr_conn *c)
{
    sr_buf   out = {0};
    sr_jsonw w   = {.out = &out};
    sr_json_obj(&w, NULL);
    sr_json_str(&w, "object", "list");
    sr_json_arr(&w, "data");
    model_object(s, s->cfg.model_id, &w);
    for (uint32_t i = 0; i < s->cfg.n_aliases; i++)
        model_object(s, s->cfg.aliases[i], &w);
    sr_json_end(&w);
    sr_json_end(&w);
    sr_http_reply(c, 200, JSON, NULL, out.p, out.n);
    sr_buf_end(&out);
}

static void model_one(sr_serve *s, sr_conn *c, const char *id)
{
    bool known = !strcmp(id, s->cfg.model_id);
    for (uint32_t i = 0; i < s->cfg.n_aliases; i++)
        known |= !strcmp(id, s->cfg.aliases[i]);
    if (!known) {
        sr_apierr e = {0};
        sr_api_fail(&e, 404, "model", "model_not_found", "The model '%.200s' does not exist here; there is '%.200s'.", id, s->cfg.model_id);
        sr_reply_error(c, &e);
        return;
    }
    sr_buf   out = {0};
    sr_jsonw w   = {.out = &out};
    model_object(s, id, &w);
    sr_http_reply(c, 200, JSON, NULL, out.p, out.n);
    sr_buf_end(&out);
}

/* ---- the callbacks of http.h ----------------------------------------------------------------------------- */

/* Before a request is taken its route stands in the connection's user pointer; afterwards the call does. */
static const char route_mark[RT_COUNT];

static sr_call *call_of(const sr_conn *c)
{
    const char *u = sr_http_user(c);
    return !u || (u >= route_mark && u < route_mark + RT_COUNT) ? NULL : (sr_call *)sr_http_user(c);
}

static bool visible(sr_str id)
{
    for (size_t i = 0; i < id.n; i++)
        if (id.p[i] <= ' ' || id.p[i] > '~')
            return false;
    return id.n > 0 && id.n <= 64;
}

static void name_request(sr_serve *s, sr_conn *c, const sr_httphead *h)
{
    sr_str id = sr_http_header(h, "x-request-id");
    char   own[32];
    if (!visible(id)) { /* ours; his, if it is one word that may stand in a header */
        uint64_t r[2] = {++s->serial, sr_now_ns()};
        id.n = (size_t)snprintf(own, sizeof own, "req_%016llx", (unsigned long long)sr_siphash64(s->env.secret, r, sizeof r));
        id.p = own;
    }
    sr_http_set_id(c, id.p, id.n);
}

static void preflight(sr_serve *s, sr_conn *c, const sr_httphead *h)
{
    sr_str asked = sr_http_header(h, "access-control-request-headers");
    sr_buf headers = {0};
    sr_buf_str(&headers, "Allow: GET, HEAD, POST, OPTIONS\r\n");
    if (s->cfg.cors[0]) {
        sr_buf_str(&headers, "Access-Control-Allow-Methods: GET, POST, OPTIONS\r\nAccess-Control-Max-Age: 86400\r\n"
                             "Access-Control-Allow-Headers: ");
        if (asked.n) /* "*" does not cover Authorization */
            sr_buf_add(&headers, asked.p, asked.n);
        else
            sr_buf_str(&headers, "authorization, content-type");
        sr_buf_str(&headers, "\r\nVary: Access-Control-Request-Headers\r\n");
    }
    sr_http_reply(c, 204, NULL, headers.failed ? NULL : headers.p, NULL, 0);
    sr_buf_end(&headers);
}

/* What can be said before the body is read.  False: *e says it. */
static bool check_post(sr_serve *s, const sr_httphead *h, sr_apierr *e)
{
    sr_str coding = sr_http_header(h, "content-encoding");
    if (coding.n && !sr_str_iscase(coding, "identity"))
        return sr_api_fail(e, 415, NULL, "unsupported_encoding", "Request bodies must not be compressed (Content-Encoding: identity).");
    if (s->quitting)
        return sr_api_fail(e, 503, NULL, "shutting_down", "The server is shutting down.");
    if (!s->ready)
        return sr_api_fail(e, 503, NULL, "model_loading", "The model is still being loaded.");
    sr_portstats p;
    sr_port_stats(s->port, &p);
    if (p.fault || !p.ready)
        return sr_api_fail(e, 503, NULL, p.fault ? "engine_failed" : "model_loading", "The engine is not ready.");
    return true;
}

static bool method_not_allowed(sr_apierr *e, unsigned methods)
{
    e->allow = methods == M_POST ? "POST, OPTIONS" : "GET, HEAD, OPTIONS";
    return sr_api_fail(e, 405, NULL, "method_not_allowed", "This path takes %s.", e->allow);
}

static void on_head(void *app, sr_conn *c, const sr_httphead *h)
{
    sr_serve *s = app;
    char      path[PATH_BYTES];
    sr_apierr e = {0};
    sr_route  r = tidy(s, h->path, path) ? find(path) : RT_NONE;
    name_request(s, c, h);
    sr_http_set_user(c, (void *)(uintptr_t)&route_mark[r]);
    if (h->method == SR_OPTIONS) {
        preflight(s, c, h);
        return;
    }
    bool ok = allowed(s, r, h) ? true : sr_api_fail(&e, 401, NULL, "invalid_api_key", "Incorrect or missing API key.");
    if (ok && r == RT_NONE)
        ok = sr_api_fail(&e, 404, NULL, "unknown_url", "There is nothing at this path.");
    else if (ok && !(routes[r].methods & 1u << h->method))
        ok = method_not_allowed(&e, routes[r].methods);
    else if (ok && routes[r].methods == M_POST)
        ok = check_post(s, h, &e);
    else if (ok && (r == RT_MODELS || r == RT_MODEL) && !s->ready)
        ok = sr_api_fail(&e, 503, NULL, "model_loading", "The model is still being loaded.");
    if (!ok) {
        sr_reply_error(c, &e);
        return;
    }
    switch (r) {
    case RT_HEALTH:
    case RT_READY:   health(s, c, false); break;
    case RT_LIVE:    health(s, c, true); break;
    case RT_METRICS: metrics(s, c); break;
    case RT_MODELS:  model_list(s, c); break;
    case RT_MODEL:   model_one(s, c, path + strlen(routes[RT_MODEL].path)); break;
    default:         sr_http_accept(c); break;
    }
}

static void on_body(void *app, sr_conn *c, sr_buf *body)
{
    sr_serve *s = app;
    sr_route  r = (sr_route)((const char *)sr_http_user(c) - route_mark);
    if (r == RT_EMBEDDINGS) {
        sr_apierr e = {0};
        sr_buf_end(body);
        sr_api_fail(&e, 400, NULL, "unsupported", "Embeddings are not available on this server yet.");
        sr_reply_error(c, &e);
        return;
    }
    sr_call_begin(s, c, r == RT_CHAT ? SR_API_CHAT : SR_API_COMPLETION, body);
}

static void on_fill(void *app, sr_conn *c)
{
    (void)app;
    if (call_of(c))
        sr_call_fill(call_of(c));
}

static void on_sent(void *app, sr_conn *c)
{
    (void)app;
    if (call_of(c))
        sr_call_sent(call_of(c));
}

static void on_tick(void *app, sr_conn *c, uint64_t now)
{
    (void)app;
    if (call_of(c))
        sr_call_tick(call_of(c), now);
}

void sr_route_mark(sr_conn *c, uint32_t api)
{
    sr_http_set_user(c, (void *)(uintptr_t)&route_mark[api == SR_API_CHAT ? RT_CHAT : RT_COMPLETIONS]);
}

static void on_gone(void *app, sr_conn *c)
{
    sr_serve *s = app;
    if (!call_of(c))
        return;
    sr_metrics_http(&s->metrics, RT_NONE, 499);
    sr_logf(SR_LOG_INFO, SR_FIELDS(SR_FSTR("id", sr_http_id(c))), "client left");
    sr_call_gone(call_of(c));
}

static void on_done(void *app, sr_conn *c, int status)
{
    sr_serve *s = app;
    const char *u = sr_http_user(c);
    uint32_t    r = u && u >= route_mark && u < route_mark + RT_COUNT ? (uint32_t)(u - route_mark) : RT_NONE;
    sr_metrics_http(&s->metrics, r, status);
    sr_logf(SR_LOG_INFO, SR_FIELDS(SR_FSTR("id", sr_http_id(c)), SR_FSTR("route", routes[r].name), SR_FINT("status", status),
            SR_FNUM("ms", (double)(sr_httpd_now(s->http) - sr_http_started(c)) * 1e-6)), "request");
}

static void on_fault(void *app, int status, const char *why, sr_buf *body)
{
    (void)app;
    sr_apierr e = {0};
    sr_api_fail(&e, status, NULL, status == 413 ? "body_too_large" : status == 408 ? "timeout" : NULL, "%s.", why);
    sr_api_error_json(&e, body);
}

const sr_httpapp sr_routes = {.head = on_head, .body = on_body, .fill = on_fill, .sent = on_sent, .gone = on_gone,
                              .tick = on_tick, .done = on_done, .fault = on_fault};
