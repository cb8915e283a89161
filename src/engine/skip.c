#include "engine/skip.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "engine/offload.h"

enum { TEXT_LEAST = 16, TEXT_MOST = 512 };

/* ---- blocks of a program ---------------------------------------------------------------------------------------------- */

static uint32_t ffn_of(const sr_program *p, uint32_t layer) /* its norm */
{
    uint32_t i = p->segment[1 + layer];
    while (i < p->segment[2 + layer] && !(p->op[i].code == SR_OP_NORM && p->weight[p->op[i].w].role == SR_W_FFN_NORM))
        i++;
    return i;
}

/* In the last layer the rows that are wanted leave the others here: others read them, with the block or without. */
static bool hands_on(const sr_program *p, const sr_op *o) { return o->code == SR_OP_GATHER && o->in[0] == p->op[0].out[0]; }

sr_status sr_skip_ops(const sr_model *m, const sr_program *p, uint8_t **out, sr_err *err)
{
    *out = NULL;
    if (!m->skip || !m->skip->n_out)
        return SR_OK;
    if (!(*out = sr_calloc(p->n_op, 1)))
        return sr_raise(err, SR_NOMEM, "host: memory for %u ops", p->n_op);
    for (uint32_t l = 0; l < m->info.n_layer; l++)
        for (uint32_t i = p->segment[1 + l], ffn = ffn_of(p, l); i < p->segment[2 + l]; i++)
            (*out)[i] = m->skip->block[2 * l + (i >= ffn)].left_out && !hands_on(p, &p->op[i]);
    return SR_OK;
}

sr_status sr_ops_submit(sr_model *m, sr_plan *plan, const uint8_t *out, uint32_t from, uint32_t to, sr_err *err)
{
    const sr_tap *tap = m->tap;
    for (uint32_t n; from < to; from += n) {
        sr_status s = SR_OK;
        n           = 1;
        if (out && out[from])
            continue;
        if (tap && tap->mark[from] && (s = tap->fn(tap->arg, from, err)) != SR_OK)
            return s;
        while (from + n < to && !(out && out[from + n]) && !(tap && tap->mark[from + n]))
            n++;
        while ((s = m->be->submit(plan, from, n, &m->block.now, err)) == SR_AGAIN)
            if ((s = m->be->wait(m->dev, m->be->mark(m->dev, SR_Q_COMPUTE), UINT64_MAX, err)) != SR_OK)
                break;
        if (s)
            return s;
    }
    return SR_OK;
}

/* ---- what a block changes ----------------------------------------------------------------------------------------------- */

#define NO_BLOCK UINT32_MAX
typedef struct {
    sr_model *m;
    uint32_t *block;              /* by op: the block that begins there, NO_BLOCK */
    float    *now, *before;       /* page-locked; rows of the state */
    uint32_t  open;               /* the block between the two */
    uint16_t  slot;
} measure;

static double cosine(const float *a, const float *b, uint32_t n)
{
    double ab = 0, aa = 0, bb = 0;
    for (uint32_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / (sqrt(aa * bb) + 1e-30);
}

static sr_status see(void *arg, uint32_t op, sr_err *err)
{
    measure          *x = arg;
    sr_model         *m = x->m;
    const sr_program *p = &m->code->prog;
    uint16_t          slot = p->op[op].code == SR_OP_LINEAR ? p->op[op].epilogue : p->op[op].in[0];
    uint32_t          rows = sr_slot_rows(&p->slot[slot], &m->block.now), width = p->slot[slot].width;
    void             *at;
    size_t            have;
    float            *was = x->before;
    if (m->be->slot(m->plan, slot, &at, &have))
        return sr_raise(err, SR_UNSUPPORTED, "%s: slots cannot be read", m->be->name);
    x->before = x->now;
    x->now    = was;
    sr_span   span = {.dst = x->now, .src = at, .bytes = (size_t)rows * width * sizeof(float), .n = 1};
    sr_status s    = m->be->copyv(m->dev, SR_Q_COMPUTE, &span, 1, err);
    if (s || (s = m->be->wait(m->dev, m->be->mark(m->dev, SR_Q_COMPUTE), UINT64_MAX, err)) != SR_OK)
        return s;
    if (x->open != NO_BLOCK && slot == x->slot) {
        double   sum   = 0;
        uint32_t first = rows > 1 && p->slot[slot].rows == SR_ROWS_TOK; /* the first token's state is unlike all others */
        for (uint32_t r = first; r < rows; r++)
            sum += cosine(x->before + (size_t)r * width, x->now + (size_t)r * width, width);
        m->skip->block[x->open].cosine = (float)(sum / (rows - first));
    }
    x->open = x->block[op];
    x->slot = slot;
    return SR_OK;
}

static void mark_blocks(const sr_model *m, uint8_t *mark, uint32_t *block)
{
    const sr_program *p = &m->code->prog;
    for (uint32_t i = 0; i < p->n_op; i++)
        block[i] = NO_BLOCK;
    for (uint32_t l = 0; l < m->info.n_layer; l++) {
        uint32_t begin = p->segment[1 + l], ffn = ffn_of(p, l), i = ffn - 1;
        mark[begin] = mark[ffn] = 1;
        if (l + 1 == m->info.n_layer) /* compared where the wanted rows are by themselves */
            mark[begin = i] = 1;
        block[begin]            = 2 * l;
        block[ffn]              = 2 * l + 1;
    }
    mark[p->segment[1 + m->info.n_layer]] = 1;
}

/* One step over the text; the last rows are wanted. */
static sr_status compute_text(sr_model *m, const int32_t *tok, uint32_t n, sr_err *err)
{
    sr_kvseq *seq = NULL;
    size_t    cached;
    sr_block *b = &m->block;
    sr_status s = sr_kv_begin(m->kv, 0, tok, n, 0, &seq, &cached, err);
    if (s == SR_OK && (s = sr_kv_reserve(seq, n, err)) == SR_AGAIN)
        s = sr_raise(err, SR_NOMEM, "the KV pool is too small for a text of %u tokens", n);
    if (s == SR_OK) {
        sr_block_begin(b);
        sr_block_add(m, seq, tok, 0, n);
        for (uint32_t out = SR_MIN(n, b->max.out), i = 0; i < out; i++) {
            ((sr_sampdev *)b->sampling)[i] = (sr_sampdev){.given = tok[n - out + i]};
            b->out[b->now.out++]           = n - out + i;
            b->drawn++;
        }
        s = sr_model_compute(m, err);
    }
    sr_kv_end(seq); /* nothing was committed: no page of it can be found again */
    return s;
}

static sr_status measure_blocks(sr_model *m, sr_err *err)
{
    const sr_program *p    = &m->code->prog;
    uint32_t          n    = SR_MIN(SR_MIN(m->cfg.n_skip_text, (uint32_t)TEXT_MOST), SR_MIN(m->block.max.tok, m->cfg.ctx));
    uint8_t          *mark = sr_calloc(p->n_op, 1);
    measure           x    = {.m = m, .open = NO_BLOCK, .block = sr_calloc(p->n_op, sizeof *x.block)};
    void             *buf  = NULL;
    size_t            one  = (size_t)n * m->info.n_embd * sizeof(float);
    if (n < TEXT_LEAST)
        sr_raise(err, SR_INVALID, "a text of %u tokens to measure blocks with; at least %d must fit a step and the context", n, TEXT_LEAST);
    else if (!mark || !x.block)
        sr_raise(err, SR_NOMEM, "host: memory for %u ops", p->n_op);
    else if (m->be->alloc(m->dev, SR_MEM_PINNED, 2 * one, "states of a text (host)", &buf, err) == SR_OK) {
        x.now    = buf;
        x.before = x.now + (size_t)n * m->info.n_embd;
        mark_blocks(m, mark, x.block);
        m->tap = &(sr_tap){.mark = mark, .fn = see, .arg = &x};
        if (compute_text(m, m->cfg.skip_text, n, err))
            sr_while(err, "measuring what each block changes");
        m->tap = NULL;
    }
    m->be->free(m->dev, buf);
    sr_free(mark);
    sr_free(x.block);
    return err->status;
}

/* ---- settings ----------------------------------------------------------------------------------------------------------- */

const sr_blockinfo *sr_model_blocks(const sr_model *m) { return m->skip && m->cfg.n_skip_text ? m->skip->block : NULL; }

sr_skipcount sr_model_skipped(const sr_model *m)
{
    return m->skip ? (sr_skipcount){m->skip->n_out, m->skip->tested, m->skip->exited} : (sr_skipcount){0};
}

sr_status sr_model_skip(sr_model *m, float threshold, sr_err *err)
{
    sr_skip *k = m->skip;
    if (!sr_model_blocks(m))
        return sr_raise(err, SR_INVALID, "no block was measured: the model was loaded without a text to skip by");
    k->n_out = 0;
    k->salt++;
    for (uint32_t i = 0; i < 2 * m->info.n_layer; i++)
        k->n_out += k->block[i].left_out = threshold > 0 && k->block[i].cosine > threshold;
    k->step_blocks = k->n_out;
    sr_free(k->op);
    if (sr_skip_ops(m, &m->code->prog, &k->op, err))
        return err->status;
    return m->off ? sr_offload_reroute(m, err) : SR_OK;
}

sr_status sr_model_early_exit(sr_model *m, float certain, uint32_t layer, sr_err *err)
{
    const sr_program *p = &m->code->prog;
    uint32_t          n = m->info.n_layer;
    if (certain > 0 && m->off)
        return sr_raise(err, SR_UNSUPPORTED, "early exit of a model whose weights do not all lie on the device");
    if (certain < 0 || certain > 1 || layer >= n)
        return sr_raise(err, SR_INVALID, "early exit after layer %u of %u at a probability of %g; 1 to %u, and 0 to 1, can be", layer, n, (double)certain, n - 1);
    sr_skip *k    = m->skip = m->skip ? m->skip : sr_calloc(1, sizeof *k);
    if (!k || !(k->block = k->block ? k->block : sr_calloc(2 * n, sizeof *k->block)))
        return sr_raise(err, SR_NOMEM, "host: memory for %u layers", n);
    k->salt++;
    k->exit_layer = certain > 0 ? (layer ? layer : SR_MAX(2 * n / 3, 1u)) : 0;
    k->certain    = certain > 0 ? logf(certain) : 0;
    k->exit_op    = p->segment[1 + k->exit_layer];
    k->head       = p->segment[1 + n];
    for (uint32_t i = p->segment[n]; i < k->head; i++)
        k->gather = hands_on(p, &p->op[i]) ? i : k->gather;
    return SR_OK;
}

sr_status sr_skip_open(sr_model *m, sr_err *err)
{
    const sr_loadcfg *c = &m->cfg;
    if (c->early_exit > 0 && sr_model_early_exit(m, c->early_exit, c->exit_layer, err))
        return err->status;
    if (!c->n_skip_text)
        return SR_OK;
    m->skip = m->skip ? m->skip : sr_calloc(1, sizeof *m->skip);
    if (!m->skip || !(m->skip->block = m->skip->block ? m->skip->block : sr_calloc(2 * m->info.n_layer, sizeof *m->skip->block)))
        return sr_raise(err, SR_NOMEM, "host: memory for %u layers", m->info.n_layer);
    uint32_t exit = m->skip->exit_layer;
    m->skip->exit_layer = 0; /* the whole program is measured */
    if (measure_blocks(m, err))
        return err->status;
    m->skip->exit_layer = exit;
    return sr_model_skip(m, c->skip_threshold, err);
}

void sr_skip_close(sr_model *m)
{
    if (!m->skip)
        return;
    sr_free(m->skip->block);
    sr_free(m->skip->op);
    sr_free(m->skip);
    m->skip = NULL;
}

/* ---- a step ------------------------------------------------------------------------------------------------------------- */

/* Every row is a sequence's next token, and none is only to be scored. */
static bool may_exit(const sr_model *m)
{
    const sr_shape *now = &m->block.now;
    if (!sr_exit_on(m) || m->skip->certain == 0 || m->tap || m->block.vectors || now->tok != now->out || now->tok != now->seq)
        return false;
    for (uint32_t i = 0; i < now->out; i++)
        if (((const sr_sampdev *)m->block.sampling)[i].given >= 0)
            return false;
    return true;
}

static sr_status results(sr_model *m, sr_err *err)
{
    sr_span   back = {.dst = m->sampled, .src = m->sampled_dev, .n = 1, .bytes = m->block.now.out * sizeof(sr_sampled)};
    sr_status s    = m->be->copyv(m->dev, SR_Q_COMPUTE, &back, 1, err);
    return s ? s : m->be->wait(m->dev, m->be->mark(m->dev, SR_Q_COMPUTE), UINT64_MAX, err);
}

/* Keys and values of the layers left, of the state as it is. */
static sr_status fill_keys(sr_model *m, sr_err *err)
{
    const sr_program *p = &m->code->prog;
    sr_skip          *k = m->skip;
    for (uint32_t l = k->exit_layer; l < m->info.n_layer; l++) {
        k->step_blocks += !k->block[2 * l].left_out + !k->block[2 * l + 1].left_out;
        if (k->block[2 * l].left_out)
            continue;
        uint32_t i = p->segment[1 + l];
        while (p->op[i].code != SR_OP_KVWRITE)
            i++;
        if (sr_ops_submit(m, m->plan, NULL, p->segment[1 + l], i + 1, err))
            return err->status;
    }
    return SR_OK;
}

sr_status sr_skip_step(sr_model *m, uint32_t to, bool *rest, sr_err *err)
{
    const sr_program *p = &m->code->prog;
    sr_skip          *k = m->skip;
    *rest               = true;
    if (!k)
        return m->tap ? sr_ops_submit(m, m->plan, NULL, 0, to, err) : m->be->submit(m->plan, 0, to, &m->block.now, err);
    k->step_blocks = k->n_out;
    k->step_exited = false;
    if (!may_exit(m))
        return sr_ops_submit(m, m->plan, k->op, 0, to, err);
    if (sr_ops_submit(m, m->plan, k->op, 0, k->exit_op, err) || sr_ops_submit(m, m->plan, NULL, k->gather, k->gather + 1, err) ||
        sr_ops_submit(m, m->plan, NULL, k->head, p->n_op, err) || results(m, err))
        return err->status;
    k->tested++;
    for (uint32_t i = 0; i < m->block.now.out; i++)
        if (m->sampled[i].tok < 0 || m->sampled[i].logprob < k->certain)
            return sr_ops_submit(m, m->plan, k->op, k->exit_op, p->n_op, err);
    k->exited++;
    k->step_exited = true;
    *rest          = false;
    return fill_keys(m, err);
}
