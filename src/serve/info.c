/* info.c - what the server says about itself: health, metrics, models, version and configuration. */
#include <stdio.h>
#include <string.h>

#include "base/jsonw.h"
#include "serve/json_in.h"
#include "serve/internal.h"

static const char JSON[] = "application/json";

void sr_info_live(sr_conn *c) { sr_http_reply(c, 200, JSON, NULL, "{\"status\":\"ok\"}", 15); }

static bool is_id(const char *ours, const char *id, size_t n) { return strlen(ours) == n && memcmp(ours, id, n) == 0; }

static bool known_n(const sr_serve *s, const char *id, size_t n)
{
    bool yes = is_id(s->cfg.model_id, id, n);
    for (uint32_t i = 0; i < s->cfg.n_aliases; i++)
        yes |= is_id(s->cfg.aliases[i], id, n);
    return yes;
}

static bool known(const sr_serve *s, const char *id) { return known_n(s, id, strlen(id)); }

static void unknown_model(const sr_serve *s, sr_conn *c, const char *id)
{
    sr_apierr e = {0};
    sr_api_fail(&e, 404, "model", "model_not_found", "The model '%.200s' does not exist here; there is '%.200s'.", id, s->cfg.model_id);
    sr_reply_error(c, &e);
}

void sr_info_health(sr_serve *s, sr_conn *c, const char *model)
{
    sr_portstats p = {0};
    if (model && !known(s, model)) {
        unknown_model(s, c, model);
        return;
    }
    if (s->ready)
        sr_port_stats(s->port, &p);
    const char *status = p.fault ? "engine failed" : !s->ready || !p.ready ? "loading" : s->quitting ? "stopping" : NULL;
    sr_buf   out = {0};
    sr_jsonw w   = {.out = &out};
    sr_apierr e  = {0};
    sr_json_obj(&w, NULL);
    if (model) { /* KServe's form */
        sr_json_str(&w, "name", model);
        sr_json_bool(&w, "ready", !status);
    }
    sr_json_str(&w, "status", status ? status : "ok");
    if (s->ready && s->env.model.fallback)
        sr_json_bool(&w, "device_fallback", true);
    if (status) {
        sr_buf body = {0};
        sr_api_fail(&e, 503, NULL, "unavailable", "The server is not ready: %s.", status);
        sr_api_error_json(&e, &body);
        if (body.n > 10) /* {"error":{...}} without what is around the inner object */
            sr_json_raw(&w, "error", body.p + 9, body.n - 10);
        sr_buf_end(&body);
    }
    sr_json_end(&w);
    sr_http_reply(c, status ? 503 : 200, JSON, status ? "Retry-After: 1\r\n" : NULL, out.p, out.n);
    sr_buf_end(&out);
}

void sr_info_metrics(sr_serve *s, sr_conn *c, const char *const *names, uint32_t n)
{
    sr_portstats p = {0};
    sr_buf       out = {0};
    if (s->ready)
        sr_port_stats(s->port, &p);
    sr_metrics_text(&(sr_metricsview){.m = &s->metrics, .port = s->ready ? &p : NULL, .route = names, .n_route = n,
                                      .conns = sr_httpd_conns(s->http), .jobs = s->n_busy,
                                      .preparing = s->scribe ? sr_scribe_waiting(s->scribe) : 0,
                                      .refused = sr_httpd_refused(s->http), .slow = sr_httpd_slow(s->http),
                                      .handshakes = sr_httpd_handshakes(s->http), .unshaken = sr_httpd_unshaken(s->http),
                                      .keys = s->keys, .nvml = s->ready ? s->nvml : NULL, .cert_expires = s->tls ? sr_tls_expires(s->tls) : 0,
                                      .fallback = s->ready && s->env.model.fallback, .model = s->cfg.model_id, .ready = s->ready && p.ready && !p.fault}, &out);
    sr_http_reply(c, 200, "text/plain; version=0.0.4; charset=utf-8", NULL, out.p, out.n);
    sr_buf_end(&out);
}

void sr_info_version(sr_conn *c)
{
    static const char text[] = "{\"version\":\"" SR_VERSION "\"}";
    sr_http_reply(c, 200, JSON, NULL, text, sizeof text - 1);
}

static void put_limits(const sr_servecfg *g, sr_jsonw *w)
{
    const sr_servelimits *l = &g->limits;
    const sr_servetimes  *t = &g->times;
    sr_json_obj(w, "limits");
    sr_json_uint(w, "header_bytes", l->header_bytes);
    sr_json_uint(w, "url_bytes", l->url_bytes);
    sr_json_uint(w, "body_bytes", l->body_bytes);
    sr_json_uint(w, "bodies_bytes", l->bodies_bytes);
    sr_json_uint(w, "connections", l->conns);
    sr_json_uint(w, "connections_per_address", l->conns_per_ip);
    sr_json_uint(w, "requests", l->requests);
    sr_json_uint(w, "json_depth", l->json_depth);
    sr_json_uint(w, "json_values", l->json_values);
    sr_json_uint(w, "messages", l->messages);
    sr_json_uint(w, "prompts", l->prompts);
    sr_json_uint(w, "choices", l->choices);
    sr_json_uint(w, "inputs", l->inputs);
    sr_json_uint(w, "numbers", l->numbers);
    sr_json_uint(w, "stop_strings", l->stops);
    sr_json_uint(w, "stop_bytes", l->stop_bytes);
    sr_json_uint(w, "logit_bias", l->bias);
    sr_json_end(w);
    sr_json_obj(w, "times_ms");
    sr_json_uint(w, "head", t->head);
    sr_json_uint(w, "body_silence", t->body);
    sr_json_uint(w, "body", t->request);
    sr_json_uint(w, "idle", t->idle);
    sr_json_uint(w, "write", t->write);
    sr_json_uint(w, "ping", t->ping);
    sr_json_uint(w, "queue", t->queue);
    sr_json_uint(w, "drain", t->drain);
    sr_json_uint(w, "answer", t->answer);
    sr_json_end(w);
}

static void put_defaults(uint32_t ctx, sr_jsonw *w)
{
    sr_params p;
    sr_params_default(&p, SR_API_CHAT);
    sr_json_obj(w, "default_generation_settings");
    sr_json_uint(w, "n_ctx", ctx);
    sr_json_obj(w, "params");
    sr_json_num(w, "temperature", p.temperature);
    sr_json_num(w, "top_p", p.top_p);
    sr_json_int(w, "top_k", p.top_k);
    sr_json_num(w, "min_p", p.min_p);
    sr_json_num(w, "typical_p", p.typical_p);
    sr_json_num(w, "repeat_penalty", p.rep_penalty);
    sr_json_num(w, "frequency_penalty", p.freq_penalty);
    sr_json_num(w, "presence_penalty", p.pres_penalty);
    sr_json_int(w, "seed", p.seed);
    sr_json_int(w, "max_tokens", p.max_tokens);
    sr_json_end(w);
    sr_json_end(w);
}

static void put_token(const sr_tokenizer *tok, const char *name, int32_t id, sr_jsonw *w)
{
    size_t n = 0;
    const char *p = id < 0 ? NULL : sr_tokenizer_piece(tok, id, true, &n);
    if (p)
        sr_json_strn(w, name, p, n);
    else
        sr_json_null(w, name);
}

/* llama.cpp's names where it has one.  No keys, no paths. */
void sr_info_props(sr_serve *s, sr_conn *c)
{
    const sr_servemodel *m = &s->env.model;
    sr_portstats p;
    sr_buf   out = {0};
    sr_jsonw w   = {.out = &out};
    sr_port_stats(s->port, &p);
    sr_json_obj(&w, NULL);
    put_defaults(m->ctx, &w);
    sr_json_uint(&w, "total_slots", p.max_seqs);
    sr_json_str(&w, "model_alias", s->cfg.model_id);
    sr_json_str(&w, "device", m->device);
    sr_json_bool(&w, "strict_model", s->cfg.strict_model);
    sr_json_bool(&w, "api_key", s->keys != NULL);
    sr_json_bool(&w, "guard_metrics", s->cfg.guard_metrics);
    sr_json_str(&w, "api_prefix", s->cfg.prefix);
    sr_json_str(&w, "cors", s->cfg.cors);
    put_limits(&s->cfg, &w);
    sr_json_obj(&w, "modalities");
    sr_json_bool(&w, "vision", false);
    sr_json_bool(&w, "audio", false);
    sr_json_end(&w);
    sr_json_str(&w, "chat_template", m->chat ? m->chat_source : NULL);
    sr_json_obj(&w, "chat");
    sr_json_str(&w, "tool_calls", m->chat ? sr_toolfamily_name(s->env.family) : NULL); /* the form the model writes them in */
    sr_json_str(&w, "thoughts", s->env.think ? s->env.think->open : NULL);
    sr_json_bool(&w, "template_shows_tools", m->chat && !s->env.caps.no_tools);
    sr_json_bool(&w, "template_shows_calls", m->chat && !s->env.caps.no_calls);
    sr_json_bool(&w, "template_takes_system", m->chat && !s->env.caps.no_system);
    sr_json_end(&w);
    put_token(m->tok, "bos_token", sr_tokenizer_bos(m->tok), &w);
    put_token(m->tok, "eos_token", sr_tokenizer_eos(m->tok), &w);
    sr_json_str(&w, "build_info", "strata " SR_VERSION);
    sr_json_end(&w);
    sr_http_reply(c, 200, JSON, NULL, out.p, out.n);
    sr_buf_end(&out);
}

static void model_object(const sr_serve *s, const char *id, sr_jsonw *w)
{
    const sr_servemodel *m = &s->env.model;
    sr_portstats p = {0};
    if (s->ready)
        sr_port_stats(s->port, &p);
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
    if (m->ram)
        sr_json_str(w, "ram_format", m->ram);
    if (p.bytes_device || p.bytes_outside) {
        sr_json_obj(w, "placement"); /* bytes of weights: where they are computed at once, and where they come from in every step */
        sr_json_uint(w, "device", p.bytes_device);
        sr_json_uint(w, "outside", p.bytes_outside);
        sr_json_end(w);
    }
    sr_json_end(w);
    sr_json_end(w);
}

void sr_info_models(sr_serve *s, sr_conn *c)
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

void sr_info_model(sr_serve *s, sr_conn *c, const char *id)
{
    if (!known(s, id)) {
        unknown_model(s, c, id);
        return;
    }
    sr_buf   out = {0};
    sr_jsonw w   = {.out = &out};
    model_object(s, id, &w);
    sr_http_reply(c, 200, JSON, NULL, out.p, out.n);
    sr_buf_end(&out);
}

/* ---- ollama's --------------------------------------------------------------------------------------------- */

static void details(const sr_servemodel *m, sr_jsonw *w)
{
    char size[32];
    bool large = m->n_params >= 1000000000;
    snprintf(size, sizeof size, large ? "%.1fB" : "%.1fM", (double)m->n_params / (large ? 1e9 : 1e6));
    sr_json_obj(w, "details");
    sr_json_str(w, "parent_model", "");
    sr_json_str(w, "format", "gguf");
    sr_json_str(w, "family", m->arch ? m->arch : "");
    sr_json_arr(w, "families");
    if (m->arch)
        sr_json_str(w, NULL, m->arch);
    sr_json_end(w);
    sr_json_str(w, "parameter_size", size);
    sr_json_str(w, "quantization_level", m->ftype ? m->ftype : "");
    sr_json_end(w);
}

static void tag(const sr_serve *s, const char *id, bool loaded, sr_jsonw *w)
{
    const sr_servemodel *m = &s->env.model;
    char when[40];
    sr_json_time(s->created, 0, when);
    sr_json_obj(w, NULL);
    sr_json_str(w, "name", id);
    sr_json_str(w, "model", id);
    sr_json_str(w, "modified_at", when);
    sr_json_uint(w, "size", m->bytes);
    sr_json_str(w, "digest", s->fingerprint); /* of name and version: the file's bytes are not read for it */
    details(m, w);
    if (loaded) {
        sr_json_str(w, "expires_at", "9999-12-31T23:59:59Z"); /* as long as the server runs */
        sr_json_uint(w, "context_length", m->ctx);
    }
    sr_json_end(w);
}

static void tags(sr_serve *s, sr_conn *c, bool loaded)
{
    sr_buf   out = {0};
    sr_jsonw w   = {.out = &out};
    sr_json_obj(&w, NULL);
    sr_json_arr(&w, "models");
    tag(s, s->cfg.model_id, loaded, &w);
    for (uint32_t i = 0; i < s->cfg.n_aliases; i++)
        tag(s, s->cfg.aliases[i], loaded, &w);
    sr_json_end(&w);
    sr_json_end(&w);
    sr_http_reply(c, 200, JSON, NULL, out.p, out.n);
    sr_buf_end(&out);
}

void sr_info_tags(sr_serve *s, sr_conn *c) { tags(s, c, false); }
void sr_info_ps(sr_serve *s, sr_conn *c) { tags(s, c, true); }

static void arch_value(const char *arch, const char *name, uint64_t v, sr_jsonw *w)
{
    char key[96];
    snprintf(key, sizeof key, "%.60s.%s", arch, name);
    if (v)
        sr_json_uint(w, key, v);
}

/* {"model": name}, or "name" as old clients have it; a tag ":latest" is none.  False: e says why, and which of ours there are. */
static bool show_wanted(const sr_serve *s, const char *body, size_t n, sr_apierr *e)
{
    enum { MOST = 65536, DEPTH = 16, VALUES = 1000 }; /* a name, and what clients add to it: nothing that a thread of its own would have to read */
    json_t *root = NULL;
    sr_err  err  = {0};
    if (n > MOST)
        return sr_api_fail(e, 413, NULL, NULL, "%zu bytes name a model; %d are enough", n, MOST);
    if (sr_json_read(body, n, DEPTH, VALUES, &root, &err))
        return sr_api_fail_err(e, err.status, err.msg, NULL);
    const char *id = json_string_value(json_object_get(root, "model"));
    char        shown[240];
    if (!id || !*id)
        id = json_string_value(json_object_get(root, "name"));
    size_t k  = id ? strlen(id) : 0;
    bool   ok = k && (known(s, id) || (k > 7 && strcmp(id + k - 7, ":latest") == 0 && known_n(s, id, k - 7)));
    if (!k)
        sr_api_fail(e, 400, "model", NULL, "model is required");
    else if (!ok)
        sr_api_fail(e, 404, "model", "model_not_found", "model '%s' not found; there is '%.200s'", sr_escape(shown, sizeof shown, id, k), s->cfg.model_id);
    json_decref(root);
    return ok;
}

void sr_info_show(sr_serve *s, sr_conn *c, const char *body, size_t n)
{
    const sr_servemodel *m = &s->env.model;
    sr_apierr   e    = {.form = SR_ERR_OLLAMA};
    if (!show_wanted(s, body, n, &e)) {
        sr_reply_error(c, &e);
        return;
    }
    const char *arch = m->arch ? m->arch : "unknown";
    sr_buf   out = {0};
    sr_jsonw w   = {.out = &out};
    sr_json_obj(&w, NULL);
    sr_json_str(&w, "template", m->chat ? m->chat_source : "");
    details(m, &w);
    sr_json_obj(&w, "model_info");
    sr_json_str(&w, "general.architecture", arch);
    sr_json_uint(&w, "general.parameter_count", m->n_params);
    arch_value(arch, "context_length", m->ctx, &w);
    arch_value(arch, "embedding_length", m->n_embd, &w);
    sr_json_end(&w);
    sr_json_arr(&w, "capabilities");
    sr_json_str(&w, NULL, "completion");
    if (m->chat)
        sr_json_str(&w, NULL, "tools");
    if (s->env.think)
        sr_json_str(&w, NULL, "thinking");
    sr_json_end(&w);
    sr_json_end(&w);
    sr_http_reply(c, 200, JSON, NULL, out.p, out.n);
    sr_buf_end(&out);
}
