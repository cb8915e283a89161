#include "ops/attn/attn_plan.h"

#include "base/mem.h"

/* Rows of a full tile: whole tokens, at most SR_ATTN_ROWS rows unless one token has more. */
static uint32_t tile_tokens(const sr_op *op, const sr_shape *max)
{
    uint32_t group = op->dim[0] / op->dim[1], tok = SR_ATTN_ROWS / group;
    return SR_MAX(1u, SR_MIN(tok, max->tok));
}

static uint32_t max_chunks(const sr_program *p, const sr_shape *max)
{
    return (uint32_t)(((size_t)max->pages * p->page_tokens + SR_ATTN_CHUNK - 1) / SR_ATTN_CHUNK);
}

/* Rows times chunks that may be split: enough for 2 tiles a thread of 4096 positions, or one-token tiles of many more. */
static size_t part_slots(const sr_program *p, const sr_op *op, const sr_shape *max, uint32_t workers)
{
    uint32_t rows = tile_tokens(op, max) * (op->dim[0] / op->dim[1]);
    return workers < 2 ? 0 : (size_t)2 * workers * rows * SR_MIN(max_chunks(p, max), 16u);
}

static uint32_t tiles_of(const sr_attn_plan *p, uint32_t s)
{
    const uint32_t *seq = p->job->batch->seq;
    return (seq[s + 1] - seq[s] + p->tile_tok - 1) / p->tile_tok;
}

void sr_attn_span(const sr_cpujob *j, uint32_t s, uint32_t t, uint32_t n, uint32_t *begin, uint32_t *end)
{
    uint32_t a, b, skip;
    sr_attn_visible(j, s, t, begin, &skip);
    sr_attn_visible(j, s, t + n - 1, &skip, end);
    for (uint32_t i = t; i < t + n && sr_attn_word(j, t + n - 1); i++) { /* the last rows of a sequence; deeper ones may come first */
        sr_attn_visible(j, s, i, &a, &b);
        *begin = SR_MIN(*begin, a);
        *end   = SR_MAX(*end, b);
    }
}

/* Sets the cursor on tile `tile` of sequence `seq` (or after the end). */
static void enter(sr_attn_plan *p)
{
    while (p->seq < p->job->n->seq && p->tile >= tiles_of(p, p->seq)) {
        p->seq++;
        p->tile = 0;
    }
    p->n_item = 0;
    if (p->seq == p->job->n->seq)
        return;
    const uint32_t *seq = p->job->batch->seq;
    uint32_t        t0 = seq[p->seq] + (tiles_of(p, p->seq) - 1 - p->tile) * p->tile_tok, begin, end;
    uint32_t        t1 = SR_MIN(t0 + p->tile_tok, seq[p->seq + 1]);
    sr_attn_span(p->job, p->seq, t0, t1 - t0, &begin, &end);
    p->chunk      = begin / SR_ATTN_CHUNK;
    p->chunks     = (end + SR_ATTN_CHUNK - 1) / SR_ATTN_CHUNK - p->chunk;
    size_t need   = (size_t)(t1 - t0) * p->job->op->dim[0] * p->chunks;
    p->tile_split = p->split && p->chunks > 1 && p->used + need <= p->slots;
    p->n_item     = p->job->op->dim[1] * (p->tile_split ? p->chunks : 1);
}

static void leave(sr_attn_plan *p)
{
    uint32_t t0 = (tiles_of(p, p->seq) - 1 - p->tile) * p->tile_tok;
    uint32_t n  = SR_MIN(p->tile_tok, p->job->batch->seq[p->seq + 1] - p->job->batch->seq[p->seq] - t0);
    if (p->tile_split)
        p->used += (size_t)n * p->job->op->dim[0] * p->chunks;
    p->first += p->n_item;
    p->tile++;
    enter(p);
}

static void item_of(const sr_attn_plan *p, uint32_t kv_head, uint32_t chunk, uint32_t chunks, sr_attn_item *out)
{
    const sr_cpujob *j  = p->job;
    uint32_t         t0 = (tiles_of(p, p->seq) - 1 - p->tile) * p->tile_tok, begin = j->batch->seq[p->seq];
    uint32_t         n  = SR_MIN(p->tile_tok, j->batch->seq[p->seq + 1] - begin - t0);
    *out = (sr_attn_item){.seq = p->seq, .tok = begin + t0, .n_tok = n, .kv_head = kv_head, .chunk = p->chunk + chunk, .chunks = chunks};
    if (p->tile_split) {
        float *parts = (float *)j->scratch + j->n_threads * sr_attn_thread_floats(j->op, j->max);
        size_t rows = (size_t)n * p->group, slot = p->used + (size_t)kv_head * rows * p->chunks + rows * chunk;
        out->part = parts + slot * sr_attn_part_floats(j->op);
    }
}

void sr_attn_plan_begin(sr_attn_plan *p, const sr_cpujob *j)
{
    *p = (sr_attn_plan){.job = j, .group = j->op->dim[0] / j->op->dim[1], .tile_tok = tile_tokens(j->op, j->max)};
    p->rows  = p->group * p->tile_tok;
    p->slots = part_slots(j->prog, j->op, j->max, j->n_threads);
    uint32_t tiles = 0;
    for (uint32_t s = 0; s < j->n->seq; s++)
        tiles += tiles_of(p, s);
    p->split = tiles * j->op->dim[1] < 4 * j->n_threads;
    enter(p);
}

bool sr_attn_plan_item(sr_attn_plan *p, uint32_t index, sr_attn_item *out)
{
    while (p->n_item && index >= p->first + p->n_item)
        leave(p);
    if (!p->n_item)
        return false;
    uint32_t k = index - p->first;
    if (p->tile_split)
        item_of(p, k / p->chunks, k % p->chunks, 1, out);
    else
        item_of(p, k, 0, p->chunks, out);
    return true;
}

bool sr_attn_plan_next_split(sr_attn_plan *p, sr_attn_item *out)
{
    if (!p->split)
        return false;
    while (p->n_item && (!p->tile_split || p->first >= p->job->op->dim[1])) { /* `first` counts kv heads here */
        p->first = p->n_item = 0;
        leave(p);
    }
    if (!p->n_item)
        return false;
    item_of(p, p->first++, 0, p->chunks, out);
    return true;
}

/* Queries, scores, a chunk's o, the running o: rows of SR_ATTN_DIM + 16; m, l; a tile of keys, of values. */
size_t sr_attn_thread_floats(const sr_op *op, const sr_shape *max)
{
    size_t rows = (size_t)tile_tokens(op, max) * (op->dim[0] / op->dim[1]);
    size_t fast = rows * (4 * (SR_ATTN_DIM + 16) + 16) + SR_ATTN_DIM * 64 + SR_ATTN_CHUNK * 64;
    return sr_align_up(SR_MAX(fast, 2 * (size_t)op->dim[2]), 16);
}

size_t sr_attn_scratch(const sr_program *p, const sr_op *op, const sr_shape *max, uint32_t workers)
{
    size_t parts = part_slots(p, op, max, workers) * sr_attn_part_floats(op);
    return (workers * sr_attn_thread_floats(op, max) + parts) * sizeof(float);
}
