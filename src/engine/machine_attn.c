#include "engine/machine_attn.h"

#include <math.h>
#include <string.h>

#include "base/bench.h"
#include "base/clock.h"
#include "base/mem.h"

/* Layers enough that K and V of a step do not stay in the caches; the context is what is left of the pool. */
enum { HEADS = 32, KV_HEADS = 8, DIM = 128, PAGE = 16, LAYERS = 8, PROMPT = 512, LONG = 2048, CTX_MOST = 8192, PASSES = 64, LEAST = 3 };
enum { TOK_BYTES = DIM * 2, HEAD_BYTES = PAGE * TOK_BYTES, KV_BYTES = KV_HEADS * HEAD_BYTES, LAYER_BYTES = 2 * KV_BYTES };
#define PAGE_BYTES ((size_t)LAYERS * LAYER_BYTES)

typedef struct {                 /* a step's inputs, as they lie on the host and on the device */
    sr_shape n;
    int32_t  pos[LONG];
    uint32_t seq[2], kv_len[2], table[CTX_MOST / PAGE];
} inputs;

typedef struct {
    const sr_backend *be;
    sr_dev    *dev;
    sr_program prog;
    sr_op      op[LAYERS];
    sr_slot    slot[2];
    sr_plan   *plan;
    sr_shape   max;
    uint32_t   ctx;
    void      *scratch, *pages, *in;
    inputs    *host;
    char      *page;             /* page-locked, what the pages hold */
} rig;

static sr_status settle(rig *r, sr_err *err) { return r->be->wait(r->dev, r->be->mark(r->dev, SR_Q_COMPUTE), UINT64_MAX, err); }

static sr_status copy(rig *r, void *dst, const void *src, size_t bytes, sr_err *err)
{
    sr_span   s = {.dst = dst, .src = src, .bytes = bytes, .n = 1};
    sr_status st;
    while ((st = r->be->copyv(r->dev, SR_Q_COMPUTE, &s, 1, err)) == SR_AGAIN)
        if (settle(r, err))
            return err->status;
    return st;
}

static void describe(rig *r)
{
    r->slot[0] = (sr_slot){.width = (HEADS + 2 * KV_HEADS) * DIM, .dtype = SR_F32, .rows = SR_ROWS_TOK};
    r->slot[1] = (sr_slot){.width = HEADS * DIM, .dtype = SR_F32, .rows = SR_ROWS_TOK};
    for (uint32_t i = 0; i < LAYERS; i++)
        r->op[i] = (sr_op){.code = SR_OP_ATTN, .layer = (uint16_t)i, .in = {0, SR_NONE, SR_NONE, SR_NONE}, .out = {1, SR_NONE, SR_NONE},
                           .epilogue = SR_NONE, .n_w = i, .dim = {HEADS, KV_HEADS, DIM, 0}, .f = {1.0f / sqrtf(DIM)}};
    r->prog = (sr_program){.op = r->op, .n_op = LAYERS, .slot = r->slot, .n_slot = 2, .n_kv = 1, .page_tokens = PAGE, .logits = SR_NONE,
                           .sampled = SR_NONE, .hidden = SR_NONE, .kv = {{LAYERS, KV_HEADS, DIM, DIM, 0, SR_F16, SR_F16}}};
}

/* Queries, keys and values are zeros or small numbers: time does not depend on them, but infinities are not wanted. */
static sr_status fill(rig *r, sr_err *err)
{
    void  *q;
    size_t bytes;
    memset(r->page, 0x11, PAGE_BYTES);
    for (uint32_t i = 0; i < r->ctx / PAGE; i++)
        if (copy(r, (char *)r->pages + i * PAGE_BYTES, r->page, PAGE_BYTES, err))
            return err->status;
    if (r->be->slot(r->plan, 0, &q, &bytes))
        return sr_raise(err, SR_INVALID, "%s: no slot 0", r->be->name);
    for (size_t at = 0; at < bytes; at += PAGE_BYTES)
        if (copy(r, (char *)q + at, r->page, SR_MIN(PAGE_BYTES, bytes - at), err))
            return err->status;
    return settle(r, err);
}

static sr_status open_rig(rig *r, sr_err *err)
{
    const sr_backend *be = r->be;
    void             *host = NULL, *page = NULL;
    describe(r);
    size_t need = be->scratch(r->dev, &r->prog, &r->max);
    if (be->alloc(r->dev, SR_MEM_DEVICE, need, "measuring", &r->scratch, err) || be->alloc(r->dev, SR_MEM_DEVICE, sizeof *r->host, "measuring", &r->in, err) ||
        be->alloc(r->dev, SR_MEM_DEVICE, r->ctx / PAGE * PAGE_BYTES, "measuring", &r->pages, err) ||
        be->alloc(r->dev, SR_MEM_PINNED, sizeof *r->host, "measuring", &host, err) ||
        be->alloc(r->dev, SR_MEM_PINNED, PAGE_BYTES, "measuring", &page, err))
        return err->status;
    r->host = host;
    r->page = page;
    if (be->prepare(r->dev, &r->prog, &r->max, r->scratch, need, &r->plan, err) || fill(r, err))
        return err->status;
    inputs  *in = r->in;
    sr_batch b  = {.n = &in->n, .pos = in->pos, .seq = in->seq, .table = in->table, .kv_len = in->kv_len};
    b.kv[0]     = (sr_kvbind){.base = r->pages, .stride = {PAGE_BYTES, LAYER_BYTES, KV_BYTES, HEAD_BYTES, TOK_BYTES}, .page_tokens = PAGE,
                              .kv_heads = KV_HEADS, .dim_k = DIM, .dim_v = DIM, .format_k = SR_F16, .format_v = SR_F16};
    return be->bind(r->plan, &b, 0, 0, NULL, err);
}

static void close_rig(rig *r)
{
    sr_err ignored = {0};
    (void)!settle(r, &ignored);
    r->be->discard(r->plan);
    r->be->free(r->dev, r->scratch);
    r->be->free(r->dev, r->in);
    r->be->free(r->dev, r->pages);
    r->be->free(r->dev, r->host);
    r->be->free(r->dev, r->page);
}

/* Seconds of one op over the last `tokens` of `ctx` positions. */
static sr_status time_of(rig *r, uint32_t tokens, uint32_t ctx, uint64_t ns, double *seconds, sr_err *err)
{
    double   v[PASSES];
    uint64_t begin = 0, now = 0;
    uint32_t n     = 0;
    inputs  *h     = r->host;
    h->n      = (sr_shape){.tok = tokens, .out = 1, .seq = 1, .pages = r->max.pages};
    h->seq[0] = h->kv_len[0] = 0;
    h->seq[1]    = tokens;
    h->kv_len[1] = ctx;
    for (uint32_t i = 0; i < tokens; i++)
        h->pos[i] = (int32_t)(ctx - tokens + i);
    for (uint32_t i = 0; i < r->max.pages; i++)
        h->table[i] = i;
    if (copy(r, r->in, h, sizeof *h, err) || settle(r, err))
        return err->status;
    for (int i = -1; i < PASSES && (n < LEAST || now - begin < ns); i++) { /* the first one warms up */
        uint64_t t = sr_now_ns();
        if (r->be->submit(r->plan, 0, LAYERS, &h->n, err) || settle(r, err))
            return err->status;
        now   = sr_now_ns();
        begin = i < 0 ? now : begin;
        if (i >= 0)
            v[n++] = (double)SR_MAX(now - t, (uint64_t)1) * 1e-9 / LAYERS;
    }
    *seconds = sr_bench_spread(v, n).min;
    return SR_OK;
}

sr_status sr_attn_rates(const sr_backend *be, sr_dev *d, size_t pool, uint64_t ns, bool few, sr_attnrates *out, sr_err *err)
{
    uint32_t n = few ? 1 : 2, ctx = (uint32_t)SR_MIN(SR_MAX(pool / PAGE_BYTES, (size_t)1) * PAGE, (size_t)CTX_MOST);
    uint32_t prompt[SR_ATTN_PROMPTS] = {SR_MIN((uint32_t)PROMPT, ctx), SR_MIN((uint32_t)LONG, ctx)};
    rig      r = {.be = be, .dev = d, .ctx = ctx, .max = {.tok = prompt[n - 1], .out = 1, .seq = 1, .pages = ctx / PAGE}};
    double   s;
    *out = (sr_attnrates){0};
    if (open_rig(&r, err) == SR_OK && time_of(&r, 1, ctx, ns, &s, err) == SR_OK)
        out->read = (double)ctx * LAYER_BYTES / PAGE / s;
    for (uint32_t i = 0; i < n && !err->status; i++)
        if (time_of(&r, prompt[i], prompt[i], ns, &s, err) == SR_OK)
            out->flops[i] = 4.0 * HEADS * DIM * 0.5 * prompt[i] * prompt[i] / s;
    close_rig(&r);
    return err->status ? sr_while(err, "measuring attention") : SR_OK;
}
