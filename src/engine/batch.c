/* batch.c - one step's inputs in one block of pinned memory, and the same layout on the device. */
#include <string.h>

#include "base/mem.h"
#include "engine/offload.h"
#include "engine/skip.h"
#include "ops/tree.h"

static size_t place(size_t *at, size_t bytes)
{
    size_t here = *at;
    *at         = sr_align_up(here + bytes, 64);
    return here;
}

typedef struct { size_t n, tok, pos, dst, tree, seq, table, kv_len, out, sampling, end; } offsets;

static offsets layout(const sr_shape *max, uint32_t groups, bool trees, size_t sampling)
{
    size_t  at = 0;
    offsets o;
    o.n        = place(&at, sizeof(sr_shape));
    o.tok      = place(&at, max->tok * sizeof(int32_t));
    o.pos      = place(&at, max->tok * sizeof(int32_t));
    o.dst      = place(&at, (size_t)groups * max->tok * sizeof(uint32_t));
    o.tree     = place(&at, trees ? max->tok * sizeof(uint64_t) : 0);
    o.seq      = place(&at, (max->seq + 1) * sizeof(uint32_t));
    o.table    = place(&at, (size_t)groups * max->seq * max->pages * sizeof(uint32_t));
    o.kv_len   = place(&at, (size_t)groups * max->seq * 2 * sizeof(uint32_t));
    o.out      = place(&at, max->out * sizeof(uint32_t));
    o.sampling = place(&at, sampling);
    o.end      = at;
    return o;
}

uint32_t sr_block_adjust(const sr_model *m)
{
    uint64_t each = SR_MIN(m->cfg.ctx + 2048u, m->code->hp.n_vocab);
    return (uint32_t)SR_MIN(m->cfg.max_seqs * each, 1u << 22);
}

size_t sr_block_mask(const sr_model *m) { return (m->code->hp.n_vocab + 31) / 32 * sizeof(uint32_t); }

static size_t sampling_bytes(const sr_model *m, const sr_shape *max)
{
    return max->out * sizeof(sr_sampdev) + (size_t)sr_block_adjust(m) * sizeof(sr_adjust) + m->cfg.max_seqs * sr_block_mask(m);
}

size_t sr_block_bytes(const sr_model *m, const sr_shape *max) { return layout(max, m->code->prog.n_kv, m->cfg.trees, sampling_bytes(m, max)).end; }

sr_status sr_block_open(sr_model *m, const sr_shape *max, sr_err *err)
{
    sr_block *b       = &m->block;
    b->max            = *max;
    b->sampling_bytes = sampling_bytes(m, max);
    offsets o         = layout(max, m->code->prog.n_kv, m->cfg.trees, b->sampling_bytes);
    b->bytes          = o.end;
    void *host = NULL, *dev = NULL;
    if (m->be->alloc(m->dev, SR_MEM_PINNED, o.end, "step inputs (host)", &host, err))
        return err->status;
    b->host = host;
    memset(b->host, 0, o.end);
    if (m->be->alloc(m->dev, SR_MEM_DEVICE, o.end, "step inputs", &dev, err))
        return err->status;
    b->dev      = dev;
    b->n        = (sr_shape *)(b->host + o.n);
    b->tok      = (int32_t *)(b->host + o.tok);
    b->pos      = (int32_t *)(b->host + o.pos);
    b->dst      = (uint32_t *)(b->host + o.dst);
    b->tree     = m->cfg.trees ? (uint64_t *)(b->host + o.tree) : NULL;
    b->seq      = (uint32_t *)(b->host + o.seq);
    b->table    = (uint32_t *)(b->host + o.table);
    b->kv_len   = (uint32_t *)(b->host + o.kv_len);
    b->out      = (uint32_t *)(b->host + o.out);
    b->sampling = b->host + o.sampling;
    return SR_OK;
}

void sr_block_close(sr_model *m)
{
    m->be->free(m->dev, m->block.host);
    m->be->free(m->dev, m->block.dev);
    m->block = (sr_block){0};
}

static const void *on_device(const sr_block *b, const void *host) { return b->dev + ((const char *)host - b->host); }

void sr_block_address(const sr_model *m, sr_batch *out)
{
    const sr_block *b = &m->block;
    *out = (sr_batch){.n = on_device(b, b->n), .tok = on_device(b, b->tok), .pos = on_device(b, b->pos), .dst = on_device(b, b->dst),
                      .tree = b->tree ? on_device(b, b->tree) : NULL, .seq = on_device(b, b->seq), .table = on_device(b, b->table), .kv_len = on_device(b, b->kv_len),
                      .out = on_device(b, b->out), .sampling = on_device(b, b->sampling)};
}

void sr_block_begin(sr_block *b)
{
    b->now           = (sr_shape){0};
    b->seq[0]        = 0;
    b->drawn = b->vectors = 0;
    b->sampling_used = b->max.out * sizeof(sr_sampdev);
}

static uint32_t span(const sr_block *b, sr_span *out, uint32_t n, const void *from, size_t bytes)
{
    if (bytes)
        out[n++] = (sr_span){.dst = b->dev + ((const char *)from - b->host), .src = from, .bytes = bytes, .n = 1};
    return n;
}

uint32_t sr_block_spans(const sr_block *b, uint32_t groups, sr_span *out, uint32_t cap)
{
    uint32_t n = 0;
    SR_ASSERT(cap >= 8 + 3 * groups, "%u spans", cap);
    *b->n = b->now;
    n     = span(b, out, n, b->n, sizeof *b->n);
    n     = span(b, out, n, b->tok, b->now.tok * sizeof *b->tok);
    n     = span(b, out, n, b->pos, b->now.tok * sizeof *b->pos);
    n     = span(b, out, n, b->tree, b->tree ? b->now.tok * sizeof *b->tree : 0);
    n     = span(b, out, n, b->seq, (b->now.seq + 1) * sizeof *b->seq);
    n     = span(b, out, n, b->out, b->now.out * sizeof *b->out);
    for (uint32_t g = 0; g < groups; g++) {
        n = span(b, out, n, b->dst + (size_t)g * b->max.tok, b->now.tok * sizeof *b->dst);
        n = span(b, out, n, b->table + (size_t)g * b->max.seq * b->max.pages, (size_t)b->now.seq * b->max.pages * sizeof *b->table);
        n = span(b, out, n, b->kv_len + (size_t)g * b->max.seq * 2, b->now.seq * 2 * sizeof *b->kv_len);
    }
    /* Rows and lists have a gap between them where a step wants fewer rows than the most: two pieces. */
    n = span(b, out, n, b->sampling, b->now.out * sizeof(sr_sampdev));
    n = span(b, out, n, b->sampling + b->max.out * sizeof(sr_sampdev), b->sampling_used - b->max.out * sizeof(sr_sampdev));
    return n;
}

void sr_block_add(sr_model *m, const sr_kvseq *seq, const int32_t *tok, uint32_t first, uint32_t n)
{
    sr_block         *b   = &m->block;
    const sr_program *p   = &m->code->prog;
    uint32_t          per = p->page_tokens, s = b->now.seq, row = b->now.tok;
    for (uint32_t i = 0; i < n; i++) {
        b->tok[row + i] = tok[i];
        b->pos[row + i] = (int32_t)(first + i);
        if (b->tree)
            b->tree[row + i] = 0;
    }
    for (uint32_t g = 0; g < p->n_kv; g++) {
        size_t         held, pages;
        const sr_page *t     = sr_kv_table(seq, g, &held, &pages);
        uint32_t      *table = b->table + ((size_t)g * b->max.seq + s) * b->max.pages;
        uint32_t      *len   = b->kv_len + ((size_t)g * b->max.seq + s) * 2;
        for (size_t k = held; k < pages; k++)
            table[k] = t[k];
        len[0] = (uint32_t)held * per;
        len[1] = first + n;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t at = first + i;
            b->dst[(size_t)g * b->max.tok + row + i] = (table[at / per] & 0x3fffffffu) * per + at % per;
        }
    }
    b->now.tok += n;
    b->now.seq++;
    b->now.pages       = SR_MAX(b->now.pages, (first + n + per - 1) / per);
    b->seq[b->now.seq] = b->now.tok;
}

sr_status sr_block_draft(sr_model *m, const int16_t *parent, uint32_t n, sr_err *err)
{
    sr_block *b    = &m->block;
    uint32_t  rows = b->now.seq ? b->now.tok - b->seq[b->now.seq - 1] : 0, at = b->now.tok - n;
    if (!b->tree)
        return sr_raise(err, SR_UNSUPPORTED, "%u drafted tokens: the model was loaded for steps without", n);
    if (n > SR_TREE_MOST || n > rows)
        return sr_raise(err, SR_INVALID, "%u drafted tokens; the sequence has %u rows in this step, %d may be drafted", n, rows, SR_TREE_MOST);
    for (uint32_t i = 0; i < n; i++)
        if (parent[i] < -1 || parent[i] >= (int32_t)i)
            return sr_raise(err, SR_INVALID, "drafted token %u of %u has parent %d; -1 to %d expected", i, n, parent[i], (int)i - 1);
    int32_t before = n ? b->pos[at] : 0;
    for (uint32_t i = 0; i < n; i++) {
        b->tree[at + i] = (parent[i] < 0 ? 0 : b->tree[at + (uint32_t)parent[i]]) | 1ull << i;
        b->pos[at + i]  = before + (int32_t)sr_tree_bits(b->tree[at + i]) - 1;
    }
    return SR_OK;
}

/* Results of the wanted rows: what was sampled, and their states where a vector is wanted. */
static sr_status fetch(sr_model *m, sr_err *err)
{
    sr_span  back[2] = {{.dst = m->sampled, .src = m->sampled_dev, .n = 1, .bytes = m->block.now.out * sizeof(sr_sampled)}};
    uint32_t n       = m->block.drawn ? 1 : 0;
    void    *states;
    size_t   bytes;
    if (m->block.vectors) {
        if (m->be->slot(m->ran, m->code->prog.hidden, &states, &bytes))
            return sr_raise(err, SR_UNSUPPORTED, "%s: hidden states cannot be read", m->be->name);
        back[n++] = (sr_span){.dst = m->hidden, .src = states, .n = 1, .bytes = (size_t)m->block.now.out * m->info.n_embd * sizeof(float)};
    }
    return n ? m->be->copyv(m->dev, SR_Q_COMPUTE, back, n, err) : SR_OK;
}

/* Weights that come in steps, early exits and times of ops need the host between a step's ops, or after them. */
bool sr_model_flies(const sr_model *m) { return !m->off && !m->skip && !m->tap && !m->timed; }

static sr_status inputs(sr_model *m, sr_err *err)
{
    enum { MAX_SPANS = 8 + 3 * SR_KV_GROUPS };
    sr_span  span[MAX_SPANS];
    uint32_t n = sr_block_spans(&m->block, m->code->prog.n_kv, span, MAX_SPANS);
    return m->be->copyv(m->dev, SR_Q_COMPUTE, span, n, err);
}

sr_status sr_model_launch(sr_model *m, sr_sampled *to, sr_launched *out, sr_err *err)
{
    sr_span   back = {.dst = to, .src = m->sampled_dev, .n = 1, .bytes = m->block.now.out * sizeof(sr_sampled)};
    sr_status s    = inputs(m, err);
    out->taken     = m->be->mark(m->dev, SR_Q_COMPUTE);
    if (s == SR_OK)
        s = sr_ops_submit(m, m->plan, NULL, 0, m->code->prog.n_op, err);
    if (s == SR_OK && back.bytes)
        s = m->be->copyv(m->dev, SR_Q_COMPUTE, &back, 1, err);
    out->done = m->be->mark(m->dev, SR_Q_COMPUTE);
    return s;
}

sr_status sr_model_compute(sr_model *m, sr_err *err)
{
    bool      rest     = true; /* results are still to come */
    bool      headless = m->block.vectors && !m->block.drawn; /* weights that come in every step come to the last */
    sr_status s        = inputs(m, err);
    if (s == SR_OK)
        s = m->off ? sr_offload_submit(m, err) : sr_skip_step(m, headless ? m->code->head : m->code->prog.n_op, &rest, err);
    if (s == SR_OK && rest && m->block.now.out)
        s = fetch(m, err);
    if (s == SR_OK && rest) /* keys of an early exit are waited for by the next step */
        s = m->be->wait(m->dev, m->be->mark(m->dev, SR_Q_COMPUTE), UINT64_MAX, err);
    if (s == SR_OK)
        s = sr_gguf_whole(m->gguf, err);
    if (s == SR_OK && m->off)
        s = sr_offload_failed(m, err);
    if (s == SR_OK && m->off)
        s = sr_balance_end(m, err);
    return s == SR_AGAIN ? sr_raise(err, SR_DEVLOST, "%s: the queue took no more work", m->be->name) : s;
}
