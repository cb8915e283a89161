/* routes.c - which path is what, who may, and what becomes of a request whose head is known. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/siphash.h"
#include "serve/internal.h"

static const char JSON[] = "application/json";

enum { M_GET = 1 << SR_GET | 1 << SR_HEAD, M_POST = 1 << SR_POST };
typedef struct {
    const char *name;                      /* in metrics and logs */
    unsigned    methods;
    sr_api      api;                       /* POST: what the body is; 0: nothing is posted */
    bool        open;                      /* asks for no key */
    sr_errform  errors;
} route;
static const route routes[RT_COUNT] = {
    [RT_NONE]        = {"none", 0, 0, false, SR_ERR_OPENAI},
    [RT_PAGE]        = {"page", M_GET, 0, true, SR_ERR_OPENAI},
    [RT_HEALTH]      = {"health", M_GET, 0, true, SR_ERR_OPENAI},
    [RT_LIVE]        = {"live", M_GET, 0, true, SR_ERR_OPENAI},
    [RT_READY]       = {"ready", M_GET, 0, true, SR_ERR_OPENAI},
    [RT_METRICS]     = {"metrics", M_GET, 0, false, SR_ERR_OPENAI}, /* open unless guard_metrics */
    [RT_VERSION]     = {"version", M_GET, 0, false, SR_ERR_OPENAI},
    [RT_PROPS]       = {"props", M_GET, 0, false, SR_ERR_OPENAI},
    [RT_MODELS]      = {"models", M_GET, 0, false, SR_ERR_OPENAI},
    [RT_MODEL]       = {"model", M_GET, 0, false, SR_ERR_OPENAI},
    [RT_MODEL_READY] = {"model_ready", M_GET, 0, true, SR_ERR_OPENAI},
    [RT_CHAT]        = {"chat", M_POST, SR_API_CHAT, false, SR_ERR_OPENAI},
    [RT_COMPLETIONS] = {"completions", M_POST, SR_API_COMPLETION, false, SR_ERR_OPENAI},
    [RT_EMBEDDINGS]  = {"embeddings", M_POST, SR_API_EMBEDDINGS, false, SR_ERR_OPENAI},
    [RT_TOKENIZE]    = {"tokenize", M_POST, SR_API_TOKENIZE, false, SR_ERR_OPENAI},
    [RT_DETOKENIZE]  = {"detokenize", M_POST, SR_API_DETOKENIZE, false, SR_ERR_OPENAI},
    [RT_TEMPLATE]    = {"apply_template", M_POST, SR_API_TEMPLATE, false, SR_ERR_OPENAI},
    [RT_MESSAGES]    = {"messages", M_POST, SR_API_MESSAGES, false, SR_ERR_ANTHROPIC},
    [RT_COUNT_TOKENS] = {"count_tokens", M_POST, SR_API_COUNT, false, SR_ERR_ANTHROPIC},
    [RT_RESPONSES]   = {"responses", M_POST, SR_API_RESPONSES, false, SR_ERR_OPENAI},
    [RT_OLLAMA_VERSION] = {"ollama_version", M_GET, 0, false, SR_ERR_OLLAMA},
    [RT_OLLAMA_TAGS] = {"ollama_tags", M_GET, 0, false, SR_ERR_OLLAMA},
    [RT_OLLAMA_PS]   = {"ollama_ps", M_GET, 0, false, SR_ERR_OLLAMA},
    [RT_OLLAMA_SHOW] = {"ollama_show", M_POST, 0, false, SR_ERR_OLLAMA},
    [RT_OLLAMA_CHAT] = {"ollama_chat", M_POST, SR_API_OLLAMA_CHAT, false, SR_ERR_OLLAMA},
    [RT_OLLAMA_GENERATE] = {"ollama_generate", M_POST, SR_API_OLLAMA_GENERATE, false, SR_ERR_OLLAMA},
    [RT_OLLAMA_EMBED] = {"ollama_embed", M_POST, SR_API_OLLAMA_EMBED, false, SR_ERR_OLLAMA},
    [RT_OLLAMA_EMBEDDINGS] = {"ollama_embeddings", M_POST, SR_API_OLLAMA_EMBEDDINGS, false, SR_ERR_OLLAMA},
};
/* Without /v1, which may stand in front of any.  A path with '*' holds an id, which may hold slashes. */
static const struct { const char *path; sr_route r; } paths[] = {
    {"/", RT_PAGE}, {"/ui/*", RT_PAGE},
    {"/health", RT_HEALTH}, {"/health/ready", RT_READY}, {"/ready", RT_READY}, {"/v2/health/ready", RT_READY},
    {"/health/live", RT_LIVE}, {"/live", RT_LIVE}, {"/v2/health/live", RT_LIVE}, {"/ping", RT_LIVE},
    {"/metrics", RT_METRICS}, {"/version", RT_VERSION}, {"/props", RT_PROPS},
    {"/v2/models/*/ready", RT_MODEL_READY}, {"/models", RT_MODELS}, {"/models/*", RT_MODEL},
    {"/chat/completions", RT_CHAT}, {"/completions", RT_COMPLETIONS}, {"/embeddings", RT_EMBEDDINGS},
    {"/tokenize", RT_TOKENIZE}, {"/detokenize", RT_DETOKENIZE}, {"/apply-template", RT_TEMPLATE},
    {"/messages", RT_MESSAGES}, {"/messages/count_tokens", RT_COUNT_TOKENS}, {"/responses", RT_RESPONSES},
    {"/api/version", RT_OLLAMA_VERSION}, {"/api/tags", RT_OLLAMA_TAGS}, {"/api/ps", RT_OLLAMA_PS}, {"/api/show", RT_OLLAMA_SHOW}, {"/api/chat", RT_OLLAMA_CHAT}, {"/api/generate", RT_OLLAMA_GENERATE},
    {"/api/embed", RT_OLLAMA_EMBED}, {"/api/embeddings", RT_OLLAMA_EMBEDDINGS},
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
    else if (e->final)
        snprintf(more, sizeof more, "X-Should-Retry: false\r\n");
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
    else if (m && !strcmp(out, s->cfg.prefix))
        out[1] = 0; /* the page under the prefix */
    if (!strncmp(out, "/v1/", 4))
        memmove(out, out + 3, strlen(out + 3) + 1);
    return true;
}

/* The id that '*' stands for, at least one byte; NULL: another path. */
static char *id_in(char *path, const char *pattern)
{
    size_t before = (size_t)(strchr(pattern, '*') - pattern), after = strlen(pattern) - before - 1, n = strlen(path);
    if (n <= before + after || memcmp(path, pattern, before) || memcmp(path + n - after, pattern + before + 1, after))
        return NULL;
    path[n - after] = 0;
    return path + before;
}

/* id: what stood for '*', in path, or NULL. */
static sr_route find(char *path, const char **id)
{
    *id = NULL;
    for (size_t i = 0; i < SR_COUNT(paths); i++)
        if (strchr(paths[i].path, '*') ? (*id = id_in(path, paths[i].path)) != NULL : !strcmp(path, paths[i].path))
            return paths[i].r;
    return RT_NONE;
}

/* What is nowhere is told in the form of the dialect that it was looked for in. */
static sr_errform errors_at(sr_route r, const char *path)
{
    if (r != RT_NONE)
        return routes[r].errors;
    return !strncmp(path, "/api/", 5) ? SR_ERR_OLLAMA : !strncmp(path, "/messages/", 10) ? SR_ERR_ANTHROPIC : SR_ERR_OPENAI;
}

/* ---- keys ------------------------------------------------------------------------------------------------ */

/* *key: which of the keys was sent, 1 + index; 0: none was asked for. */
static bool allowed(const sr_serve *s, sr_route r, const sr_httphead *h, uint32_t *key)
{
    *key = 0;
    if (!s->keys || routes[r].open || (r == RT_METRICS && !s->cfg.guard_metrics))
        return true;
    sr_str bearer = sr_http_header(h, "authorization"), other = sr_http_header(h, "x-api-key");
    size_t at = 7;
    if (bearer.n > at && sr_str_iscase((sr_str){bearer.p, at}, "Bearer ")) {
        while (at < bearer.n && bearer.p[at] == ' ') /* one or more: RFC 9110 11.4 */
            at++;
        *key = sr_keys_find(s->keys, bearer.p + at, bearer.n - at);
    }
    if (!*key)
        *key = sr_keys_find(s->keys, other.p, other.n);
    return *key != 0;
}

/* A request that may be made: counted for its key, until release_key(). */
static bool take_key(sr_serve *s, sr_conn *c, uint32_t key, sr_apierr *e)
{
    uint32_t retry_s;
    if (!key)
        return true;
    sr_keyverdict v = sr_keys_take(s->keys, key, sr_httpd_now(s->http), &retry_s);
    if (v == SR_KEY_OK) {
        ((sr_callnote *)sr_http_note(c))->key = key;
        return true;
    }
    const sr_keystat *k = sr_keys_stat(s->keys, key);
    sr_api_fail(e, 429, NULL, "rate_limit_exceeded", "The limit of this API key is reached: %u requests %s.",
                v == SR_KEY_BUSY ? k->at_once : k->per_minute, v == SR_KEY_BUSY ? "at once" : "a minute");
    e->retry_s = retry_s;
    return false;
}

static void release_key(sr_serve *s, sr_conn *c)
{
    sr_callnote *n = sr_http_note(c);
    if (n->key)
        sr_keys_release(s->keys, n->key, n->prompt, n->made);
    n->key = 0;
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

/* 00-32 hex digits-16 hex digits-2 hex digits, lower case (W3C Trace Context, version 00). */
static bool is_trace(sr_str t)
{
    static const char form[] = "00-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh";
    bool ok = t.n == sizeof form - 1;
    for (size_t i = 0; ok && i < t.n; i++)
        ok = form[i] == 'h' ? hex(t.p[i]) >= 0 && (t.p[i] < 'A' || t.p[i] > 'F') : t.p[i] == form[i];
    return ok;
}

static void own_name(sr_serve *s, sr_conn *c)
{
    uint64_t r[2] = {++s->serial, sr_now_ns()};
    char     id[32];
    int n = snprintf(id, sizeof id, "req_%016llx", (unsigned long long)sr_siphash64(s->env.secret, r, sizeof r));
    sr_http_set_id(c, id, (size_t)n);
}

static void name_request(sr_serve *s, sr_conn *c, const sr_httphead *h)
{
    sr_str id = sr_http_header(h, "x-request-id");
    if (visible(id)) /* his, if it is one word that may stand in a header */
        sr_http_set_id(c, id.p, id.n);
    else
        own_name(s, c);
    sr_str trace = sr_http_header(h, "traceparent");
    if (is_trace(trace))
        sr_http_set_trace(c, trace.p, trace.n);
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

/* X-Request-Timeout: seconds, as 2 or 1.5. */
static bool take_timeout(sr_conn *c, const sr_httphead *h, sr_apierr *e)
{
    sr_str   v = sr_http_header(h, "x-request-timeout");
    uint64_t us = 0, unit = 1000000; /* of the digit that comes next: 10 million before the point, less and less behind it */
    bool     ok = v.n > 0, point = false;
    for (size_t i = 0; ok && i < v.n; i++) {
        if (v.p[i] == '.' && !point && i && i + 1 < v.n) {
            point = true;
            continue;
        }
        ok = v.p[i] >= '0' && v.p[i] <= '9' && us < UINT64_C(1000000000000);
        if (ok && !point)
            us = us * 10 + (uint64_t)(v.p[i] - '0') * 1000000;
        else if (ok)
            us += (uint64_t)(v.p[i] - '0') * (unit /= 10);
    }
    if (!v.p)
        return true;
    if (!ok || us < 1000 || us > 86400 * UINT64_C(1000000))
        return sr_api_fail(e, 400, "X-Request-Timeout", NULL, "'X-Request-Timeout' must be a number of seconds from 0.001 to 86400.");
    ((sr_callnote *)sr_http_note(c))->timeout_ms = (uint32_t)(us / 1000);
    return true;
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

static bool check_get(sr_serve *s, sr_route r, sr_apierr *e)
{
    bool needs_model = r == RT_MODELS || r == RT_MODEL || r == RT_PROPS || r == RT_OLLAMA_TAGS || r == RT_OLLAMA_PS;
    return !needs_model || s->ready ? true : sr_api_fail(e, 503, NULL, "model_loading", "The model is still being loaded.");
}

static void answer_get(sr_serve *s, sr_conn *c, sr_route r, const char *id)
{
    const char *names[RT_COUNT];
    switch (r) {
    case RT_HEALTH:
    case RT_READY:       sr_info_health(s, c, NULL); break;
    case RT_MODEL_READY: sr_info_health(s, c, id); break;
    case RT_LIVE:        sr_info_live(c); break;
    case RT_OLLAMA_VERSION:
    case RT_VERSION:     sr_info_version(c); break;
    case RT_OLLAMA_TAGS: sr_info_tags(s, c); break;
    case RT_OLLAMA_PS:   sr_info_ps(s, c); break;
    case RT_PROPS:       sr_info_props(s, c); break;
    case RT_MODELS:      sr_info_models(s, c); break;
    case RT_MODEL:       sr_info_model(s, c, id); break;
    default: /* RT_METRICS */
        for (int i = 0; i < RT_COUNT; i++)
            names[i] = routes[i].name;
        sr_info_metrics(s, c, names, RT_COUNT);
        break;
    }
}

static void on_head(void *app, sr_conn *c, const sr_httphead *h)
{
    sr_serve   *s = app;
    char        path[PATH_BYTES] = "";
    const char *id = NULL;
    sr_apierr   e = {0};
    sr_route    r = tidy(s, h->path, path) ? find(path, &id) : RT_NONE;
    if (r == RT_PAGE && !sr_page_has(s, id))
        r = RT_NONE;
    e.form = errors_at(r, path);
    name_request(s, c, h);
    sr_http_set_user(c, (void *)(uintptr_t)&route_mark[r]);
    if (h->method == SR_OPTIONS) {
        preflight(s, c, h);
        return;
    }
    uint32_t key;
    bool ok = allowed(s, r, h, &key) ? true : sr_api_fail(&e, 401, NULL, "invalid_api_key", "Incorrect or missing API key.");
    if (ok && r == RT_NONE)
        ok = sr_api_fail(&e, 404, NULL, "unknown_url", "There is nothing at this path.");
    else if (ok && !(routes[r].methods & 1u << h->method))
        ok = method_not_allowed(&e, routes[r].methods);
    else if (ok)
        ok = routes[r].methods == M_POST ? check_post(s, h, &e) && take_timeout(c, h, &e) && take_key(s, c, key, &e) : check_get(s, r, &e);
    if (!ok)
        sr_reply_error(c, &e);
    else if (routes[r].methods == M_POST)
        sr_http_accept(c);
    else if (r == RT_PAGE)
        sr_page_answer(c, id, h);
    else
        answer_get(s, c, r, id);
}

static void on_body(void *app, sr_conn *c, sr_buf *body)
{
    sr_serve *s = app;
    sr_route  r = (sr_route)((const char *)sr_http_user(c) - route_mark);
    if (r == RT_OLLAMA_SHOW) {
        sr_info_show(s, c, body->p, body->n);
        sr_buf_end(body);
        return;
    }
    sr_call_begin(s, c, routes[r].api, body);
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

static sr_route route_of(uint32_t api)
{
    uint32_t r = RT_COUNT - 1;
    while (r > RT_NONE && routes[r].api != (sr_api)api)
        r--;
    return (sr_route)r;
}

void sr_route_mark(sr_conn *c, uint32_t api) { sr_http_set_user(c, (void *)(uintptr_t)&route_mark[route_of(api)]); }
sr_errform sr_route_errors(uint32_t api) { return routes[route_of(api)].errors; }

/* One line for each request; nothing of what was asked or answered. */
static void log_request(sr_serve *s, sr_conn *c, sr_route r, int status)
{
    const sr_callnote *n  = sr_http_note(c);
    const char *trace = sr_http_trace(c), *key = n->key ? sr_keys_stat(s->keys, n->key)->name : NULL;
    double ms   = (double)(sr_httpd_now(s->http) - sr_http_started(c)) * 1e-6;
    double rate = n->made > n->n && n->decode_ns ? (double)(n->made - n->n) / ((double)n->decode_ns * 1e-9) : 0;
    if (!n->n)
        sr_logf(SR_LOG_INFO, SR_FIELDS(SR_FSTR("id", sr_http_id(c)), SR_FSTR("route", routes[r].name), SR_FINT("status", status),
                SR_FNUM("ms", ms), SR_FSTR("key", key), SR_FSTR("trace", *trace ? trace : NULL)), "request");
    else
        sr_logf(SR_LOG_INFO, SR_FIELDS(SR_FSTR("id", sr_http_id(c)), SR_FSTR("route", routes[r].name), SR_FSTR("model", s->cfg.model_id),
                SR_FINT("status", status), SR_FINT("choices", n->n), SR_FINT("prompt", n->prompt), SR_FINT("cached", n->cached),
                SR_FINT("made", n->made), SR_FINT("thoughts", n->thoughts), SR_FNUM("ttft_ms", (double)n->ttft_ns * 1e-6), SR_FNUM("tok_s", rate),
                SR_FSTR("finish", status == 200 ? n->finish : NULL), SR_FNUM("ms", ms), SR_FSTR("key", key), SR_FSTR("trace", *trace ? trace : NULL)), "request");
}

static void on_gone(void *app, sr_conn *c)
{
    sr_serve *s = app;
    sr_call  *k = call_of(c);
    if (k) {
        sr_route r = route_of(sr_call_api(k));
        sr_metrics_http(&s->metrics, RT_NONE, 499);
        sr_call_gone(k);
        log_request(s, c, r, 499);
    }
    release_key(s, c);
}

static void on_done(void *app, sr_conn *c, int status)
{
    sr_serve *s = app;
    const char *u = sr_http_user(c);
    uint32_t    r = u && u >= route_mark && u < route_mark + RT_COUNT ? (uint32_t)(u - route_mark) : RT_NONE;
    sr_metrics_http(&s->metrics, r, status);
    log_request(s, c, (sr_route)r, status);
    release_key(s, c);
}

static void on_fault(void *app, sr_conn *c, int status, const char *why, sr_buf *body)
{
    sr_apierr e = {0};
    if (!*sr_http_id(c))
        own_name(app, c);
    sr_api_fail(&e, status, NULL, status == 413 ? "body_too_large" : status == 408 ? "timeout" : NULL, "%s.", why);
    sr_api_error_json(&e, body);
}

const sr_httpapp sr_routes = {.head = on_head, .body = on_body, .fill = on_fill, .sent = on_sent, .gone = on_gone,
                              .tick = on_tick, .done = on_done, .fault = on_fault};
