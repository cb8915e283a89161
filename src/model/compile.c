/* compile.c - architecture table and numbers in, a flat program out.
 *
 * Emission is one function per part of a transformer block.  Slots are made when first used and shared by all
 * layers; the last layer works on wanted rows only from its output projection on, since nobody reads the others. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/mem.h"
#include "model/model.h"

typedef struct {
    sr_compiled   *c;
    const sr_gguf *g;
    sr_hparams     hp;
    sr_arena      *mem;
    sr_op         *op;
    sr_slot       *slot;
    sr_weight     *weight;
    uint32_t      *segment;
    uint32_t       max_op, max_weight;
    uint16_t       x, h, qkv, cs, a, gu, act;        /* slots by token */
    uint16_t       xo, ho, ao, guo, acto;            /* and by wanted row */
    const uint8_t *shared;                           /* [n_layer] or NULL */
    sr_err        *err;
} builder;

enum { MAX_SLOTS = 16 };

static uint16_t slot(builder *b, uint32_t width, sr_rows rows, sr_dtype dtype)
{
    sr_program *p = &b->c->prog;
    SR_ASSERT(p->n_slot < MAX_SLOTS, "%u slots", p->n_slot);
    b->slot[p->n_slot] = (sr_slot){.width = width, .dtype = (uint16_t)dtype, .rows = (uint16_t)rows};
    return (uint16_t)p->n_slot++;
}

static sr_op *emit(builder *b, sr_opcode code, uint32_t layer, uint16_t in, uint16_t out)
{
    sr_program *p = &b->c->prog;
    SR_ASSERT(p->n_op < b->max_op, "%u ops", p->n_op);
    sr_op *o = &b->op[p->n_op++];
    *o       = (sr_op){.code = (uint16_t)code, .layer = (uint16_t)layer, .in = {in, SR_NONE, SR_NONE, SR_NONE},
                       .out = {out, SR_NONE, SR_NONE}, .epilogue = SR_NONE};
    return o;
}

static void segment(builder *b) { b->segment[b->c->prog.n_segment++] = b->c->prog.n_op; }

/* Looks the tensor of a role up, checks its shape, gives it the next weight id.  Absent and optional: an id with no
 * tensor (biases), or nothing when `skip`. */
static bool weight(builder *b, uint32_t role, uint32_t layer, uint16_t unit, uint32_t rows, uint32_t cols, uint32_t *id)
{
    const sr_archname *n = sr_arch_tensor(b->hp.arch, role);
    char               name[128];
    SR_ASSERT(n, "role %u", role);
    snprintf(name, sizeof name, n->pattern, layer);
    const sr_tensor *t = sr_gguf_tensor(b->g, name);
    sr_program      *p = &b->c->prog;
    if (!t && !n->optional) {
        sr_raise(b->err, SR_INVALID, "tensor %s is missing", name);
        return false;
    }
    bool vector = rows == 1;
    if (t && (t->ne[0] != cols || t->ne[1] != rows || t->ne[2] != 1 || t->ne[3] != 1)) {
        sr_raise(b->err, SR_INVALID, "tensor %s is %llu x %llu; the hyperparameters ask for %u x %u", name,
                 (unsigned long long)t->ne[0], (unsigned long long)t->ne[1], cols, rows);
        return false;
    }
    if (t && vector && t->dtype != SR_F32) {
        sr_raise(b->err, SR_UNSUPPORTED, "tensor %s is %s; F32 expected", name, sr_dtype_name(t->dtype));
        return false;
    }
    SR_ASSERT(p->n_weight < b->max_weight, "%u weights", p->n_weight);
    b->weight[p->n_weight] = (sr_weight){.role = (uint16_t)role, .layer = (uint16_t)layer,
                                         .format = (uint16_t)(t ? t->dtype : SR_F32), .unit = unit, .rows = rows, .cols = cols};
    b->c->tensor[p->n_weight] = t;
    *id                       = p->n_weight++;
    return true;
}

static bool norm(builder *b, uint32_t role, uint32_t layer, uint16_t unit, uint16_t in, uint16_t out, uint32_t group, uint32_t first,
                 uint32_t groups)
{
    uint32_t w;
    if (!weight(b, role, layer, unit, 1, group, &w))
        return false;
    sr_op *o  = emit(b, SR_OP_NORM, layer, in, out);
    o->unit   = unit;
    o->w      = w;
    o->n_w    = 1;
    o->dim[0] = group;
    o->dim[1] = first;
    o->dim[2] = groups;
    o->f[0]   = b->hp.eps;
    return true;
}

typedef struct { uint32_t role, bias, rows; } matrix; /* bias 0: the role has none (0 is the embedding) */

/* One LINEAR of several matrices side by side, their biases behind them if any of them has one. */
static bool linear(builder *b, uint32_t layer, uint16_t unit, const matrix *m, uint32_t n, uint32_t cols, uint16_t in, uint16_t out,
                   uint16_t residual)
{
    uint32_t w = 0, total = 0, id;
    bool     any = false;
    for (uint32_t i = 0; i < n; i++) {
        if (!weight(b, m[i].role, layer, unit, m[i].rows, cols, &id))
            return false;
        w = i ? w : id;
        total += m[i].rows;
    }
    uint32_t after = b->c->prog.n_weight;
    for (uint32_t i = 0; i < n && m[0].bias; i++) {
        if (!weight(b, m[i].bias, layer, unit, 1, m[i].rows, &id))
            return false;
        any |= b->c->tensor[id] != NULL;
    }
    if (!any)
        b->c->prog.n_weight = after; /* ids of absent biases are given back */
    sr_op *o    = emit(b, SR_OP_LINEAR, layer, in, out);
    o->unit     = unit;
    o->flags    = any ? SR_F_BIAS : 0;
    o->w        = w;
    o->n_w      = n;
    o->epilogue = residual;
    o->dim[0]   = cols;
    o->dim[1]   = total;
    return true;
}

static bool attention(builder *b, uint32_t l, bool last)
{
    const sr_hparams *hp   = &b->hp;
    uint32_t          q    = hp->n_head * hp->head_dim, kv = hp->n_head_kv * hp->head_dim;
    uint16_t          unit = (uint16_t)(1 + 3 * l);
    const matrix      qkv[] = {{SR_W_ATTN_Q, SR_W_ATTN_Q_BIAS, q}, {SR_W_ATTN_K, SR_W_ATTN_K_BIAS, kv}, {SR_W_ATTN_V, SR_W_ATTN_V_BIAS, kv}};
    if (!norm(b, SR_W_ATTN_NORM, l, unit, b->x, b->h, hp->n_embd, 0, 1) ||
        !linear(b, l, unit, qkv, 3, hp->n_embd, b->h, b->qkv, SR_NONE))
        return false;
    if (hp->arch->attn.qk_norm &&
        (!norm(b, SR_W_ATTN_Q_NORM, l, unit, b->qkv, b->qkv, hp->head_dim, 0, hp->n_head) ||
         !norm(b, SR_W_ATTN_K_NORM, l, unit, b->qkv, b->qkv, hp->head_dim, q, hp->n_head_kv)))
        return false;

    sr_op *o  = emit(b, SR_OP_ROPE, l, b->qkv, b->qkv);
    o->in[1]  = b->cs;
    o->flags  = sr_arch_rope(hp->arch) == SR_ROPE_NEOX ? SR_F_NEOX : 0;
    o->dim[0] = hp->n_head + hp->n_head_kv;
    o->dim[1] = hp->head_dim;
    o->dim[2] = hp->rope.dims;

    o         = emit(b, SR_OP_KVWRITE, l, b->qkv, SR_NONE);
    o->n_w    = l;
    o->dim[0] = q;
    o->dim[1] = q + kv;
    o->dim[2] = hp->head_dim;

    o         = emit(b, SR_OP_ATTN, l, b->qkv, b->a);
    o->n_w    = l;
    o->dim[0] = hp->n_head;
    o->dim[1] = hp->n_head_kv;
    o->dim[2] = hp->head_dim;
    o->dim[3] = hp->window;
    o->f[0]   = 1.0f / sqrtf((float)hp->head_dim);

    if (last) {
        o         = emit(b, SR_OP_GATHER, l, b->a, b->ao);
        o->dim[0] = q;
        o         = emit(b, SR_OP_GATHER, l, b->x, b->xo);
        o->dim[0] = hp->n_embd;
    }
    const matrix out = {SR_W_ATTN_OUT, SR_W_ATTN_OUT_BIAS, hp->n_embd};
    uint16_t     x = last ? b->xo : b->x;
    return linear(b, l, unit, &out, 1, q, last ? b->ao : b->a, x, x);
}

static bool feed_forward(builder *b, uint32_t l, bool last)
{
    const sr_hparams *hp = &b->hp;
    uint16_t          x = last ? b->xo : b->x, h = last ? b->ho : b->h, gu = last ? b->guo : b->gu, act = last ? b->acto : b->act;
    uint16_t          unit = (uint16_t)(2 + 3 * l);
    const matrix      in[] = {{SR_W_FFN_GATE, 0, hp->n_ff}, {SR_W_FFN_UP, 0, hp->n_ff}};
    const matrix      down = {SR_W_FFN_DOWN, 0, hp->n_embd};
    if (!norm(b, SR_W_FFN_NORM, l, unit, x, h, hp->n_embd, 0, 1) || !linear(b, l, unit, in, 2, hp->n_embd, h, gu, SR_NONE))
        return false;
    sr_op *o  = emit(b, SR_OP_GLU, l, gu, act);
    o->dim[0] = hp->n_ff;
    if (!linear(b, l, (uint16_t)(unit + 1), &down, 1, hp->n_ff, act, x, x))
        return false;
    if (b->shared && b->shared[l]) {
        o         = emit(b, SR_OP_ADD, l, x, x);
        o->in[1]  = b->c->partial[last];
        o->dim[0] = hp->n_embd;
    }
    return true;
}

static bool head(builder *b)
{
    const sr_hparams *hp   = &b->hp;
    sr_program       *p    = &b->c->prog;
    uint16_t          unit = (uint16_t)(1 + 3 * hp->n_layer);
    uint32_t          w;
    if (!norm(b, SR_W_OUTPUT_NORM, SR_NONE, unit, b->xo, b->ho, hp->n_embd, 0, 1) ||
        !weight(b, SR_W_OUTPUT, SR_NONE, unit, hp->n_vocab, hp->n_embd, &w))
        return false;
    if (!b->c->tensor[w]) {
        b->c->tied         = true;
        b->c->tensor[w]    = b->c->tensor[0];
        b->weight[w].format = b->weight[0].format;
    }
    b->c->head = p->n_op;
    sr_op *o  = emit(b, SR_OP_LINEAR, SR_NONE, b->ho, p->logits);
    o->unit   = unit;
    o->w      = w;
    o->n_w    = 1;
    o->dim[0] = hp->n_embd;
    o->dim[1] = hp->n_vocab;
    o         = emit(b, SR_OP_SAMPLE, SR_NONE, p->logits, p->sampled);
    o->dim[0] = hp->n_vocab;
    return true;
}

/* The embedding, and the rotations of this step's positions, once for all layers. */
static bool entry(builder *b)
{
    const sr_hparams *hp = &b->hp;
    uint32_t          w, half = hp->rope.dims / 2;
    if (!weight(b, SR_W_TOKEN_EMBD, SR_NONE, 0, hp->n_vocab, hp->n_embd, &w))
        return false;
    sr_op *o  = emit(b, SR_OP_EMBED, SR_NONE, SR_NONE, b->x);
    o->w      = w;
    o->n_w    = 1;
    o->dim[0] = hp->n_embd;
    o->f[0]   = 1.0f;

    if (!weight(b, SR_W_ROPE_FREQS, SR_NONE, 0, 1, half, &w))
        return false;
    float *inv = sr_arena_alloc(b->mem, half * sizeof *inv);
    if (!inv) {
        sr_raise(b->err, SR_NOMEM, "host: memory for rope frequencies");
        return false;
    }
    float factors[SR_MAX_HEAD_DIM / 2];
    if (b->c->tensor[w])
        memcpy(factors, b->c->tensor[w]->data, half * sizeof *factors);
    for (uint32_t i = 0; b->c->tensor[w] && i < half; i++)
        if (!isfinite(factors[i]) || factors[i] <= 0) {
            sr_raise(b->err, SR_INVALID, "tensor rope_freqs.weight holds %g", (double)factors[i]);
            return false;
        }
    o         = emit(b, SR_OP_ROPETABLE, SR_NONE, SR_NONE, b->cs);
    o->f[0]   = sr_rope_frequencies(hp, b->c->tensor[w] ? factors : NULL, inv);
    o->w      = w;
    o->n_w    = 1;
    o->dim[0] = hp->rope.dims;
    b->c->tensor[w]  = NULL;
    b->c->derived[w] = inv;
    return true;
}

static bool allocate(builder *b)
{
    uint32_t n    = b->hp.n_layer;
    b->max_op     = 4 + n * 16;
    b->max_weight = 5 + n * 16;
    b->op         = sr_arena_zalloc(b->mem, b->max_op, sizeof *b->op);
    b->slot       = sr_arena_zalloc(b->mem, MAX_SLOTS, sizeof *b->slot);
    b->weight     = sr_arena_zalloc(b->mem, b->max_weight, sizeof *b->weight);
    b->segment    = sr_arena_zalloc(b->mem, n + 3, sizeof *b->segment);
    b->c->tensor  = sr_arena_zalloc(b->mem, b->max_weight, sizeof *b->c->tensor);
    b->c->derived = sr_arena_zalloc(b->mem, b->max_weight, sizeof *b->c->derived);
    if (b->op && b->slot && b->weight && b->segment && b->c->tensor && b->c->derived)
        return true;
    sr_raise(b->err, SR_NOMEM, "host: memory for a program of %u layers", n);
    return false;
}

static bool build(builder *b, const sr_compilecfg *cfg)
{
    const sr_hparams *hp = &b->hp;
    uint32_t          q  = hp->n_head * hp->head_dim, kv = hp->n_head_kv * hp->head_dim;
    if (!allocate(b))
        return false;
    sr_program *p  = &b->c->prog;
    p->op          = b->op;
    p->slot        = b->slot;
    p->weight      = b->weight;
    p->segment     = b->segment;
    p->page_tokens = cfg->page_tokens;
    p->n_kv        = 1;
    p->kv[0]       = (sr_kvshape){hp->n_layer, hp->n_head_kv, hp->head_dim, hp->head_dim, hp->window, cfg->kv_format_k, cfg->kv_format_v};
    b->x           = slot(b, hp->n_embd, SR_ROWS_TOK, SR_F32);
    b->cs          = slot(b, hp->rope.dims, SR_ROWS_TOK, SR_F32);
    b->h           = slot(b, hp->n_embd, SR_ROWS_TOK, SR_F32);
    b->qkv         = slot(b, q + 2 * kv, SR_ROWS_TOK, SR_F32);
    b->a           = slot(b, q, SR_ROWS_TOK, SR_F32);
    b->gu          = slot(b, 2 * hp->n_ff, SR_ROWS_TOK, SR_F32);
    b->act         = slot(b, hp->n_ff, SR_ROWS_TOK, SR_F32);
    b->xo          = slot(b, hp->n_embd, SR_ROWS_OUT, SR_F32);
    b->ho          = slot(b, hp->n_embd, SR_ROWS_OUT, SR_F32);
    b->ao          = slot(b, q, SR_ROWS_OUT, SR_F32);
    b->guo         = slot(b, 2 * hp->n_ff, SR_ROWS_OUT, SR_F32);
    b->acto        = slot(b, hp->n_ff, SR_ROWS_OUT, SR_F32);
    p->hidden        = b->ho; /* after the final norm: nothing writes it afterwards */
    p->logits        = slot(b, hp->n_vocab, SR_ROWS_OUT, SR_F32);
    p->sampled       = slot(b, sizeof(sr_sampled) / 4, SR_ROWS_OUT, SR_I32);
    b->c->partial[0] = b->c->partial[1] = SR_NONE; /* last: the other slots have the same numbers with and without */
    if (b->shared) {
        b->c->partial[0] = slot(b, hp->n_embd, SR_ROWS_TOK, SR_F32);
        b->c->partial[1] = slot(b, hp->n_embd, SR_ROWS_OUT, SR_F32);
    }
    segment(b);
    if (!entry(b))
        return false;
    for (uint32_t l = 0; l < hp->n_layer; l++) {
        segment(b);
        bool last = l + 1 == hp->n_layer;
        if (!attention(b, l, last) || !feed_forward(b, l, last))
            return false;
    }
    segment(b);
    if (!head(b))
        return false;
    b->segment[p->n_segment] = p->n_op;
    b->c->n_unit             = 2 + 3 * hp->n_layer;
    return true;
}

sr_status sr_compile(const sr_gguf *g, const sr_compilecfg *cfg, sr_compiled **out, sr_err *err)
{
    sr_err   local = {0};
    builder  b     = {.g = g, .shared = cfg->shared, .err = err ? err : &local};
    if (sr_hparams_read(g, &b.hp, b.err))
        return b.err->status;
    if (b.hp.n_embd % 8 || b.hp.n_ff % 8)
        return sr_raise(b.err, SR_UNSUPPORTED, "width %u and feed-forward %u; multiples of 8 expected", b.hp.n_embd, b.hp.n_ff);
    b.c   = sr_calloc(1, sizeof *b.c);
    b.mem = sr_calloc(1, sizeof *b.mem);
    if (!b.c || !b.mem) {
        sr_free(b.mem);
        sr_free(b.c);
        return sr_raise(b.err, SR_NOMEM, "host: memory for a program");
    }
    b.c->owned = b.mem;
    b.c->hp    = b.hp;
    if (!build(&b, cfg)) {
        sr_compiled_close(b.c);
        return b.err->status;
    }
    *out = b.c;
    return SR_OK;
}

void sr_compiled_close(sr_compiled *c)
{
    if (!c)
        return;
    sr_arena_end(c->owned);
    sr_free(c->owned);
    sr_free(c);
}
