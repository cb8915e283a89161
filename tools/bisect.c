#include "bisect.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "engine/internal.h"

typedef struct { sr_model *m; sr_kvseq *seq; float *host; } side;

static sr_status begin(side *s, const int32_t *tok, uint32_t n, size_t bytes, sr_err *err)
{
    void  *p = NULL;
    size_t cached;
    if (s->m->be->alloc(s->m->dev, SR_MEM_PINNED, bytes, "bisect", &p, err) ||
        sr_kv_begin(s->m->kv, 0, tok, n, 0, &s->seq, &cached, err) || sr_kv_reserve(s->seq, n, err))
        return err->status ? err->status : SR_NOMEM;
    s->host     = p;
    sr_block *b = &s->m->block;
    sr_block_begin(b);
    sr_block_add(s->m, s->seq, tok, 0, n);
    ((sr_sampdev *)b->sampling)[0] = (sr_sampdev){.given = tok[n - 1]};
    b->out[b->now.out++]           = n - 1;
    sr_span  span[7 + 3 * SR_KV_GROUPS];
    uint32_t k = sr_block_spans(b, s->m->code->prog.n_kv, span, SR_COUNT(span));
    return s->m->be->copyv(s->m->dev, SR_Q_COMPUTE, span, k, err);
}

static sr_status flush(side *s, sr_err *err)
{
    return s->m->be->wait(s->m->dev, s->m->be->mark(s->m->dev, SR_Q_COMPUTE), UINT64_MAX, err);
}

static sr_status fetch(side *s, uint16_t slot, size_t bytes, bool back, sr_err *err)
{
    void  *p;
    size_t have;
    if (s->m->be->slot(s->m->plan, slot, &p, &have))
        return sr_raise(err, SR_UNSUPPORTED, "%s: slots cannot be read", s->m->be->name);
    sr_span   sp = {.dst = back ? p : s->host, .src = back ? s->host : p, .bytes = bytes, .n = 1};
    sr_status rc = s->m->be->copyv(s->m->dev, SR_Q_COMPUTE, &sp, 1, err);
    return rc ? rc : flush(s, err);
}

static double difference(const float *a, const float *b, size_t n)
{
    double sum = 0, worst = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)a[i];
    double rms = sqrt(sum / (double)(n ? n : 1)) + 1e-30;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]) / (fabs((double)a[i]) + rms);
        worst    = !(d <= worst) ? d : worst; /* a NaN sticks */
    }
    return worst;
}

/* What was sampled is judged by its tokens where bits may differ: logprobs are sums. */
static double tokens_differ(const float *a, const float *b, uint32_t rows)
{
    const sr_sampled *x = (const sr_sampled *)(const void *)a, *y = (const sr_sampled *)(const void *)b;
    uint32_t          n = 0;
    for (uint32_t i = 0; i < rows; i++)
        n += x[i].tok != y[i].tok;
    return n;
}

static sr_status compare(side *a, side *b, uint32_t i, double limit, sr_bisect *out, sr_err *err)
{
    const sr_program *p   = &a->m->code->prog;
    const sr_op      *o   = &p->op[i];
    uint16_t          s   = o->out[0];
    const sr_shape   *now = &a->m->block.now;
    if (a->m->be->submit(a->m->plan, i, 1, now, err) || b->m->be->submit(b->m->plan, i, 1, now, err) || flush(a, err) || flush(b, err))
        return err->status;
    if (s == SR_NONE)
        return SR_OK;
    size_t n = (size_t)sr_slot_rows(&p->slot[s], now) * p->slot[s].width;
    if (fetch(a, s, n * 4, false, err) || fetch(b, s, n * 4, false, err))
        return err->status;
    double d = p->slot[s].dtype == SR_F32             ? difference(a->host, b->host, n)
               : limit > 0 && o->code == SR_OP_SAMPLE ? tokens_differ(a->host, b->host, now->out)
                                                      : memcmp(a->host, b->host, n * 4) != 0;
    out->compared++;
    if (!(d <= limit)) {
        *out = (sr_bisect){.op = i, .code = o->code, .layer = o->layer, .worst = d, .limit = limit, .compared = out->compared};
        return SR_OK;
    }
    out->worst = d > out->worst ? d : out->worst;
    memcpy(b->host, a->host, n * 4);
    return fetch(b, s, n * 4, true, err);
}

static sr_status open_sides(side *a, side *b, const int32_t *tok, uint32_t n, sr_err *err)
{
    const sr_program *p     = &a->m->code->prog;
    size_t            bytes = 0;
    for (uint32_t i = 0; i < p->n_slot; i++)
        bytes = SR_MAX(bytes, (size_t)sr_slot_rows(&p->slot[i], &a->m->block.max) * p->slot[i].width * 4);
    sr_status s = begin(a, tok, n, bytes, err);
    return s ? s : begin(b, tok, n, bytes, err);
}

static void close_sides(side *a, side *b)
{
    sr_kv_end(a->seq);
    sr_kv_end(b->seq);
    a->m->be->free(a->m->dev, a->host);
    b->m->be->free(b->m->dev, b->host);
}

sr_status sr_bisect_whole(sr_model *whole, sr_model *parts, const int32_t *tok, uint32_t n, double limit, sr_bisect *out, sr_err *err)
{
    side              a = {.m = whole}, b = {.m = parts};
    const sr_program *p = &whole->code->prog;
    *out                = (sr_bisect){.op = ~0u, .limit = limit};
    sr_status s         = open_sides(&a, &b, tok, n, err);
    if (s == SR_OK)
        s = whole->be->submit(whole->plan, 0, p->n_op, &whole->block.now, err);
    for (uint32_t i = 0; s == SR_OK && i < p->n_op; i++)
        s = parts->be->submit(parts->plan, i, 1, &parts->block.now, err);
    size_t cols = p->slot[p->logits].width, bytes = whole->block.now.out * cols * 4;
    s           = s ? s : flush(&a, err);
    s           = s ? s : flush(&b, err);
    s           = s ? s : fetch(&a, p->logits, bytes, false, err);
    s           = s ? s : fetch(&b, p->logits, bytes, false, err);
    if (s == SR_OK) {
        out->worst    = difference(a.host, b.host, bytes / 4);
        out->op       = out->worst <= limit ? ~0u : 0;
        out->compared = p->n_op;
    }
    close_sides(&a, &b);
    return s;
}

sr_status sr_bisect_run(sr_model *ma, sr_model *mb, const int32_t *tok, uint32_t n, double limit, sr_bisect *out, sr_err *err)
{
    side              a = {.m = ma}, b = {.m = mb};
    const sr_program *p = &ma->code->prog;
    *out                = (sr_bisect){.op = ~0u, .limit = limit};
    sr_status s         = open_sides(&a, &b, tok, n, err);
    for (uint32_t i = 0; s == SR_OK && i < p->n_op && out->op == ~0u; i++)
        s = compare(&a, &b, i, limit, out, err);
    close_sides(&a, &b);
    return s;
}
