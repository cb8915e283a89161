#include "engine/machine_rig.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/bench.h"
#include "base/clock.h"
#include "base/mem.h"

enum { GRAIN = 64, UNLIKE = 16, SPAN = 1024, PIECES = 512, LEAST = 3, PATIENCE = 8, OPS_MOST = 4096 };
#define POOL_LEAST ((size_t)768 << 20)
#define POOL_MOST ((size_t)4 << 30)
#define PIECE_S 2e-3 /* shorter than the turns that an operating system gives: on a machine with other work some run undisturbed */

static sr_status wait_all(sr_rig *r, sr_queue q, sr_err *err) { return r->be->wait(r->dev, r->be->mark(r->dev, q), UINT64_MAX, err); }

static sr_status copy(sr_rig *r, void *dst, const void *src, size_t bytes, sr_err *err)
{
    sr_span   s = {.dst = dst, .src = src, .bytes = bytes, .n = 1};
    sr_status st;
    while ((st = r->be->copyv(r->dev, SR_Q_COMPUTE, &s, 1, err)) == SR_AGAIN)
        if (wait_all(r, SR_Q_COMPUTE, err))
            return err->status;
    return st;
}

/* Numbers as a model's are: a device that multiplies zeros takes less power, so that its clocks fall less than a prompt's do. */
static void fill_numbers(float *x, size_t n, float most, uint32_t *state)
{
    for (size_t i = 0; i < n; i++) {
        *state = *state * 1664525u + 1013904223u;
        x[i]   = (float)(int32_t)*state * 0x1p-31f * most;
    }
}

/* GRAIN rows of weight w, made of a few blocks that are repeated: some formats take a microsecond a number to encode.  Products of products
 * neither grow nor vanish. */
static sr_status make_rows(sr_rig *r, const sr_weight *w, char *rows, sr_err *err)
{
    uint32_t state = 1, span = w->cols % SPAN ? w->cols : SPAN;
    size_t   row = r->bytes / w->rows, part = row / (w->cols / span);
    float   *x = sr_malloc(span * sizeof *x);
    if (!x)
        return sr_raise(err, SR_NOMEM, "host: memory for %u numbers", span);
    for (uint32_t i = 0; i < GRAIN; i++) {
        char *to = rows + i * row;
        if (i >= UNLIKE) {
            memcpy(to, rows + i % UNLIKE * row, row);
            continue;
        }
        fill_numbers(x, span, sqrtf(3 / (float)w->cols), &state);
        sr_encode_row(r->format, x, to, span);
        for (size_t at = part; at < row; at += part)
            memcpy(to + at, to, part);
    }
    sr_free(x);
    return SR_OK;
}

/* Weight w in the staging memory, as the device's kernels want it: the same rows again and again. */
static sr_status make_weight(sr_rig *r, const sr_weight *w, uint16_t *layout, sr_err *err)
{
    size_t      row  = r->bytes / w->rows;
    char       *rows = sr_malloc(GRAIN * row);
    const void *at[GRAIN];
    *layout = 0;
    if (!rows)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes of a weight to measure", GRAIN * row);
    sr_status s = make_rows(r, w, rows, err);
    for (int i = 0; i < GRAIN; i++)
        at[i] = rows + i * row;
    bool packed = s == SR_OK;
    for (uint32_t i = 0; i < w->rows && packed; i += GRAIN) {
        uint32_t n = SR_MIN((uint32_t)GRAIN, w->rows - i);
        packed = r->be->pack && r->be->pack((uint16_t)r->format, n, w->cols, at, r->staging + i * row, layout) == n * row;
    }
    for (uint32_t i = 0; s == SR_OK && i < w->rows && !packed; i++)
        memcpy(r->staging + i * row, at[i % GRAIN], row);
    *layout = packed ? *layout : 0;
    sr_free(rows);
    return s;
}

/* Every step-th weight from `first` on. */
static sr_status put_equal(sr_rig *r, uint32_t first, uint32_t n, uint32_t step, sr_err *err)
{
    const sr_weight *w = &r->weight[first];
    uint16_t         layout;
    if (make_weight(r, w, &layout, err))
        return err->status;
    for (uint32_t i = first; i < n; i += step) {
        char *to  = (char *)r->pool + i * r->bytes;
        r->ref[i] = (sr_wref){.p = to, .n_row = w->rows, .n_col = w->cols, .format = (uint16_t)r->format, .layout = layout};
        if (copy(r, to, r->staging, r->bytes, err))
            return err->status;
    }
    return wait_all(r, SR_Q_COMPUTE, err);
}

/* What the first op reads, or that too which an op behind it would have written. */
static sr_status put_numbers(sr_rig *r, uint32_t slot, sr_err *err)
{
    void  *x;
    size_t bytes;
    if (r->be->slot(r->plan, slot, &x, &bytes))
        return sr_raise(err, SR_INVALID, "%s: no slot %u", r->be->name, slot);
    fill_numbers((float *)(void *)r->staging, r->bytes / sizeof(float), 1, &(uint32_t){7});
    for (size_t at = 0; at < bytes; at += r->bytes)
        if (copy(r, (char *)x + at, r->staging, SR_MIN(r->bytes, bytes - at), err))
            return err->status;
    return wait_all(r, SR_Q_COMPUTE, err);
}

static sr_status put_weights(sr_rig *r, uint32_t n, uint32_t step, sr_err *err)
{
    void *host = NULL;
    if (r->be->alloc(r->dev, SR_MEM_PINNED, r->bytes, "measuring", &host, err))
        return err->status;
    r->staging = host;
    if (r->be->alloc(r->dev, SR_MEM_DEVICE, n * r->bytes, "measuring", &r->pool, err))
        return err->status;
    for (uint32_t i = 0; i < step; i++)
        if (put_equal(r, i, n, step, err) || put_numbers(r, i, err))
            return err->status;
    return SR_OK;
}

size_t sr_rig_pool(uint64_t cache, uint64_t memory)
{
    long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    cache   = cache ? cache : l3 > 0 ? (uint64_t)l3 : 0;
    return SR_MIN(SR_MIN(SR_MAX((size_t)cache * 8, POOL_LEAST), POOL_MOST), (size_t)memory / 8);
}

static void describe(sr_rig *r, const sr_rigcfg *c, uint32_t n)
{
    r->slot[0] = (sr_slot){.width = c->cols, .dtype = SR_F32, .rows = SR_ROWS_TOK};
    r->slot[1] = (sr_slot){.width = c->rows, .dtype = SR_F32, .rows = SR_ROWS_TOK};
    for (uint32_t i = 0; i < n; i++) {
        const uint16_t in = c->turns ? i % 2 : 0;
        const uint32_t rows = r->slot[1 - in].width, cols = r->slot[in].width;
        r->weight[i] = (sr_weight){.role = SR_W_FFN_UP, .layer = (uint16_t)i, .format = (uint16_t)c->format, .rows = rows, .cols = cols};
        r->op[i] = (sr_op){.code = SR_OP_LINEAR, .in = {in, SR_NONE, SR_NONE, SR_NONE}, .out = {(uint16_t)(1 - in), SR_NONE, SR_NONE},
                           .epilogue = SR_NONE, .w = i, .n_w = 1, .dim = {cols, rows}};
    }
    r->prog = (sr_program){.op = r->op, .n_op = n, .slot = r->slot, .n_slot = 2, .weight = r->weight, .n_weight = n, .page_tokens = 16,
                           .logits = SR_NONE, .sampled = SR_NONE, .hidden = SR_NONE};
}

sr_status sr_rig_open(const sr_backend *be, sr_dev *d, const sr_rigcfg *c, sr_rig *r, sr_err *err)
{
    size_t   bytes = c->rows * sr_row_bytes(c->format, c->cols);
    uint32_t n     = (uint32_t)SR_MIN(SR_MAX(c->pool / bytes, (size_t)2), (size_t)OPS_MOST);
    *r = (sr_rig){.be = be, .dev = d, .bytes = bytes, .format = c->format,
                  .max = {.tok = c->max_tokens, .out = 1, .seq = 1, .pages = 1}};
    r->op     = sr_calloc(n, sizeof *r->op);
    r->weight = sr_calloc(n, sizeof *r->weight);
    r->ref    = sr_calloc(n, sizeof *r->ref);
    if (!r->op || !r->weight || !r->ref)
        return sr_raise(err, SR_NOMEM, "host: memory for a program of %u ops", n);
    describe(r, c, n);
    size_t need = be->scratch(d, &r->prog, &r->max);
    void  *host = NULL;
    if (be->alloc(d, SR_MEM_DEVICE, need, "measuring", &r->scratch, err) || be->alloc(d, SR_MEM_DEVICE, sizeof(sr_shape), "measuring", &r->count, err) ||
        be->alloc(d, SR_MEM_PINNED, sizeof(sr_shape), "measuring", &host, err))
        return err->status;
    r->host_count  = host;
    *r->host_count = (sr_shape){0}; /* none has been sent yet */
    if (be->prepare(d, &r->prog, &r->max, r->scratch, need, &r->plan, err) || put_weights(r, n, c->turns ? 2 : 1, err))
        return err->status;
    const sr_batch b = {.n = r->count};
    return be->bind(r->plan, &b, 0, n, r->ref, err);
}

void sr_rig_close(sr_rig *r)
{
    if (!r->be)
        return;
    sr_err ignored = {0};
    (void)!wait_all(r, SR_Q_COMPUTE, &ignored);
    r->be->discard(r->plan);
    r->be->free(r->dev, r->pool);
    r->be->free(r->dev, r->scratch);
    r->be->free(r->dev, r->count);
    r->be->free(r->dev, r->host_count);
    r->be->free(r->dev, r->staging);
    sr_free(r->op);
    sr_free(r->weight);
    sr_free(r->ref);
    *r = (sr_rig){0};
}

static sr_status set_count(sr_rig *r, uint32_t tokens, sr_err *err)
{
    if (r->host_count->tok == tokens)
        return SR_OK;
    *r->host_count = (sr_shape){.tok = tokens, .out = 1, .seq = 1, .pages = 1};
    return copy(r, r->count, r->host_count, sizeof *r->host_count, err) ? err->status : wait_all(r, SR_Q_COMPUTE, err);
}

static sr_status send(sr_rig *r, uint32_t tokens, uint32_t first, uint32_t n, sr_err *err)
{
    sr_status s;
    if (set_count(r, tokens, err))
        return err->status;
    while ((s = r->be->submit(r->plan, first, n, r->host_count, err)) == SR_AGAIN)
        if (wait_all(r, SR_Q_COMPUTE, err))
            return err->status;
    return s;
}

sr_status sr_rig_send(sr_rig *r, uint32_t tokens, sr_err *err) { return send(r, tokens, 0, r->prog.n_op, err); }
sr_status sr_rig_wait(sr_rig *r, sr_err *err) { return wait_all(r, SR_Q_COMPUTE, err); }

/* Seconds of an op over ops first .. first+n-1. */
static sr_status piece(sr_rig *r, uint32_t tokens, uint32_t first, uint32_t n, double *out, sr_err *err)
{
    uint64_t t = sr_now_ns();
    if (send(r, tokens, first, n, err) || wait_all(r, SR_Q_COMPUTE, err))
        return err->status;
    *out = (double)SR_MAX(sr_now_ns() - t, (uint64_t)1) * 1e-9 / n;
    return SR_OK;
}

/* Whether the fastest piece was no accident: several are about as fast. */
static bool agreed(const double *v, uint32_t n)
{
    double   least = v[0];
    uint32_t near = 0;
    for (uint32_t i = 0; i < n; i++)
        least = SR_MIN(least, v[i]);
    for (uint32_t i = 0; i < n; i++)
        near += v[i] <= least * 1.04;
    return near >= LEAST;
}

sr_status sr_rig_time(sr_rig *r, uint32_t tokens, uint64_t ns, double *seconds, sr_err *err)
{
    double   v[PIECES], once;
    uint32_t n = 0, first = 0;
    if (piece(r, tokens, 0, 1, &once, err) || piece(r, tokens, 1, 1, &once, err)) /* warm; how long is one */
        return err->status;
    uint32_t ops   = (uint32_t)SR_MIN(SR_MAX(PIECE_S / once, 1.0), (double)r->prog.n_op);
    uint64_t begin = sr_now_ns();
    for (uint64_t spent = 0; n < PIECES && (n < LEAST || spent < ns || (spent < PATIENCE * ns && !agreed(v, n))); spent = sr_now_ns() - begin) {
        first = first + ops > r->prog.n_op ? 0 : first; /* all weights in turn: a piece finds its own in memory, not in a cache */
        if (piece(r, tokens, first, ops, &v[n++], err))
            return err->status;
        first += ops;
    }
    *seconds = sr_bench_spread(v, n).min;
    return SR_OK;
}

sr_status sr_rig_steady(sr_rig *r, uint32_t tokens, uint64_t ns, double *seconds, sr_err *err)
{
    double   v[PIECES], once;
    uint32_t n = 0, first = 0;
    if (piece(r, tokens, 0, 1, &once, err) || piece(r, tokens, 1, 1, &once, err))
        return err->status;
    uint32_t ops   = (uint32_t)SR_MIN(SR_MAX(PIECE_S / once, 1.0), (double)r->prog.n_op);
    uint64_t begin = sr_now_ns();
    while (n < 2 * LEAST || (n < PIECES && sr_now_ns() - begin < ns)) {
        first = first + ops > r->prog.n_op ? 0 : first;
        if (piece(r, tokens, first, ops, &v[n++], err))
            return err->status;
        first += ops;
    }
    *seconds = sr_bench_spread(v + n / 2, n - n / 2).median;
    return SR_OK;
}
