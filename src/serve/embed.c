#include "serve/embed.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "serve/answer.h"

enum { LOW_WATER = 32 << 10, WHOLE = 1 << 16 }; /* numbers of an answer that is written at once */

/* ---- numbers ----------------------------------------------------------------------------------------------- */

void sr_embed_number(sr_buf *o, float v)
{
    /* Nine significant digits tell floats apart; as an integer they cost a tenth of printf's. */
    static const double scale[] = {1e9, 1e10, 1e11, 1e12};
    double a = fabs((double)v);
    char   s[24];
    int    k = a >= 0.1 ? 0 : a >= 1e-2 ? 1 : a >= 1e-3 ? 2 : 3, n = 9 + k;
    if (a >= 0.999999999 || a < 1e-4) {
        sr_jsonw w = {.out = o};
        sr_json_f32(&w, NULL, v);
        return;
    }
    uint64_t x = (uint64_t)(a * scale[k] + 0.5);
    for (; n > 1 && x % 10 == 0; n--)
        x /= 10;
    char *p = s + sizeof s;
    for (int i = 0; i < n; i++, x /= 10)
        *--p = (char)('0' + x % 10);
    *--p = '.';
    *--p = '0';
    if (v < 0)
        *--p = '-';
    sr_buf_add(o, p, (size_t)(s + sizeof s - p));
}

void sr_embed_base64(sr_buf *o, const float *v, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0, have = 0;
    for (size_t i = 0; i < 4 * n; i++) {
        uint32_t word;
        memcpy(&word, &v[i / 4], sizeof word);
        bits = bits << 8 | (word >> 8 * (i % 4) & 0xff);
        for (have += 8; have >= 6; have -= 6)
            sr_buf_char(o, digits[bits >> (have - 6) & 63]);
    }
    if (have)
        sr_buf_char(o, digits[bits << (6 - have) & 63]);
    for (size_t pad = (3 - 4 * n % 3) % 3; pad; pad--)
        sr_buf_char(o, '=');
}

/* ---- the answer -------------------------------------------------------------------------------------------- */

static void put_vector(const sr_call *k, uint32_t i, sr_buf *o)
{
    const float *v = k->vec + (size_t)i * k->prep.vec.dims;
    if (k->prep.vec.base64) {
        sr_buf_char(o, '"');
        sr_embed_base64(o, v, k->prep.vec.dims);
        sr_buf_char(o, '"');
        return;
    }
    sr_buf_char(o, '[');
    for (uint32_t d = 0; d < k->prep.vec.dims; d++) {
        if (d)
            sr_buf_char(o, ',');
        sr_embed_number(o, v[d]);
    }
    sr_buf_char(o, ']');
}

static void put_head(const sr_call *k, sr_buf *o)
{
    if (k->api == SR_API_EMBEDDINGS) {
        sr_buf_str(o, "{\"object\":\"list\",\"data\":[");
    } else if (k->api == SR_API_OLLAMA_EMBED) {
        sr_buf_str(o, "{\"model\":");
        sr_json_quote(o, k->s->cfg.model_id, strlen(k->s->cfg.model_id));
        sr_buf_str(o, ",\"embeddings\":[");
    } else {
        sr_buf_str(o, "{\"embedding\":");
    }
}

static void put_part(const sr_call *k, uint32_t i, sr_buf *o)
{
    if (i)
        sr_buf_char(o, ',');
    if (k->api == SR_API_EMBEDDINGS)
        sr_buf_fmt(o, "{\"object\":\"embedding\",\"index\":%u,\"embedding\":", i);
    put_vector(k, i, o);
    if (k->api == SR_API_EMBEDDINGS)
        sr_buf_char(o, '}');
}

static void put_tail(const sr_call *k, sr_buf *o)
{
    unsigned long long n = sr_answer_usage(k).prompt;
    if (k->api == SR_API_EMBEDDINGS) {
        sr_buf_str(o, "],\"model\":");
        sr_json_quote(o, k->s->cfg.model_id, strlen(k->s->cfg.model_id));
        sr_buf_fmt(o, ",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}", n, n);
    } else if (k->api == SR_API_OLLAMA_EMBED) {
        sr_buf_fmt(o, "],\"total_duration\":%llu,\"load_duration\":0,\"prompt_eval_count\":%llu}",
                   (unsigned long long)(sr_serve_now(k->s) - k->begun_ns), n);
    } else {
        sr_buf_char(o, '}');
    }
}

static void count(sr_call *k)
{
    sr_vllm *m   = &k->s->metrics.vllm;
    uint64_t now = sr_serve_now(k->s);
    sr_usage u   = sr_answer_usage(k);
    sr_hist_add(&k->s->metrics.total, now - k->begun_ns);
    sr_scaled_add(&m->e2e, sr_scale_request, (double)(now - k->begun_ns) * 1e-9);
    sr_scaled_add(&m->prompt_tokens, sr_scale_tokens, (double)u.prompt);
    m->success[0] += k->n_part;
    if (!k->c)
        return;
    sr_callnote *n = sr_http_note(k->c); /* its key is another's */
    n->prompt      = (uint32_t)u.prompt;
    n->cached      = (uint32_t)u.cached;
    n->n           = k->n_part;
}

void sr_embed_fill(sr_call *k)
{
    sr_conn *c = k->c;
    if (!c || !sr_http_streaming(c))
        return;
    while (k->n_written < k->n_part && sr_http_backlog(c) < LOW_WATER)
        put_part(k, k->n_written++, sr_http_chunk(c));
    if (k->n_written < k->n_part)
        return;
    put_tail(k, sr_http_chunk(c));
    sr_route_mark(c, k->api);
    sr_call_end(k);
    sr_http_stream_end(c);
}

static void answer(sr_call *k)
{
    sr_conn *c    = k->c;
    sr_buf   body = {0};
    count(k);
    if (c && (uint64_t)k->n_part * k->prep.vec.dims > WHOLE) {
        sr_http_stream(c, "application/json", NULL);
        put_head(k, sr_http_chunk(c));
        sr_embed_fill(k);
        return;
    }
    put_head(k, &body);
    for (uint32_t i = 0; i < k->n_part; i++)
        put_part(k, i, &body);
    put_tail(k, &body);
    sr_call_reply(k, &body);
}

/* ---- texts to the engine, vectors back --------------------------------------------------------------------- */

/* Posts texts while there are some and not too many are on their way. */
static bool feed(sr_call *k, sr_apierr *e)
{
    sr_serve    *s = k->s;
    sr_portstats now;
    uint64_t     queue = s->cfg.times.queue;
    sr_port_stats(s->port, &now);
    uint32_t most = 2 * (uint32_t)SR_MAX(now.max_seqs, (uint64_t)1);
    while (k->n_posted < k->n_part && k->n_posted - k->n_over < most) {
        const sr_ids *t   = &k->prep.prompt[k->n_posted].ids;
        sr_err        err = {0};
        if (!sr_call_part_begin(k, k->n_posted))
            return sr_api_fail(e, 503, NULL, "out_of_memory", "No memory for the request.");
        const sr_request r  = {.id = k->part[k->n_posted].id, .salt = k->prep.params.salt, .priority = (int32_t)k->prep.params.priority, .what = SR_EMBED, .tok = t->p, .n_tok = (uint32_t)t->n, .n = 1,
                               .deadline_ns = k->deadline_ns,
                               .queue_deadline_ns = queue ? sr_now_ns() + sr_ms((uint32_t)queue) : 0};
        sr_status        st = sr_port_post(s->port, &r, &err);
        if (st) {
            sr_call_part_done(k, &k->part[k->n_posted]);
            bool later = st == SR_AGAIN && k->n_posted > k->n_over; /* when the next one is over */
            return later ? true : sr_api_fail_err(e, st, err.msg, NULL);
        }
        k->part[k->n_posted++].left = 1;
        s->metrics.tokens_prompt += r.n_tok;
    }
    return true;
}

bool sr_embed_post(sr_call *k, sr_apierr *e)
{
    sr_serve *s = k->s;
    if (s->n_busy >= s->cfg.limits.requests)
        return sr_api_fail(e, 429, NULL, "queue_full", "The server is busy: %u requests are in flight.", s->n_busy);
    k->part = sr_calloc(k->prep.n_prompt, sizeof *k->part);
    k->vec  = sr_calloc((size_t)k->prep.n_prompt * k->prep.vec.dims, sizeof *k->vec);
    if (!k->part || !k->vec)
        return sr_api_fail(e, 503, NULL, "out_of_memory", "No memory for the request.");
    k->n_part    = k->prep.n_prompt;
    k->posted_ns = sr_serve_now(s);
    return feed(k, e);
}

/* A shorter vector is made of the first numbers, of length 1 again. */
static void shorten(float *v, uint32_t dims)
{
    double sum = 0;
    for (uint32_t i = 0; i < dims; i++)
        sum += (double)v[i] * (double)v[i];
    for (uint32_t i = 0; i < dims && sum > 0; i++)
        v[i] = (float)((double)v[i] / sqrt(sum));
}

static void on_done(sr_call *k, uint32_t part, const sr_event *e)
{
    sr_part  *p   = &k->part[part];
    sr_apierr why = {0};
    p->cached     = e->usage.cached;
    sr_call_part_done(k, p);
    k->n_over++;
    if (k->prep.vec.dims < k->s->env.model.n_embd)
        shorten(k->vec + (size_t)part * k->prep.vec.dims, k->prep.vec.dims);
    if (e->reason == SR_END_DEADLINE) {
        sr_call_fail_late(k);
        return;
    }
    if (e->reason == SR_END_CANCEL)
        sr_api_fail(&why, 503, NULL, "out_of_memory", "The engine ended the request.");
    else
        feed(k, &why);
    if (why.status)
        sr_call_fail(k, &why);
    else if (k->n_over == k->n_part)
        answer(k);
}

void sr_embed_event(sr_call *k, uint32_t part, const sr_event *e)
{
    uint32_t  dims = k->prep.vec.dims;
    sr_apierr why  = {0};
    switch (e->kind) {
    case SR_EV_START:
        k->started_ns = k->started ? k->started_ns : sr_serve_now(k->s);
        k->started    = true;
        break;
    case SR_EV_VECTOR:
        if (e->pos < dims)
            memcpy(k->vec + (size_t)part * dims + e->pos, e->vec, SR_MIN(e->n_vec, dims - e->pos) * sizeof *k->vec);
        break;
    case SR_EV_DONE:
        on_done(k, part, e);
        break;
    case SR_EV_ERROR: /* the engine has forgotten the text */
        sr_api_fail_err(&why, e->status, e->msg, NULL);
        sr_call_part_done(k, &k->part[part]);
        sr_call_fail(k, &why);
        break;
    case SR_EV_PROGRESS:
    case SR_EV_PROMPT:
    case SR_EV_TOKEN:
        break;
    }
}
