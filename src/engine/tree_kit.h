/* tree_kit.h - texts and trees of drafted tokens through a model, step by step, for tests of the CPU's and of a device's.
 *
 *     tree_text t;
 *     tree_open(m, 0, prompt, 30, &t, err)             computed and committed
 *     tree_step(m, &t, 1, draft, parent, 12, at, err)  one step; at[0]: logits of the drafted tokens, [12][vocab]
 *     tree_accept(&t, draft, path, 3, err)             its tokens path[0] < path[1] < path[2] are the text's next ones
 *     tree_close(&t)
 */
#ifndef SR_ENGINE_TREE_KIT_H
#define SR_ENGINE_TREE_KIT_H
#include "base/mem.h"
#include "engine/internal.h"
#include "ops/tree.h"

typedef struct {
    sr_kvseq *seq;
    uint32_t  n; /* tokens */
} tree_text;

typedef struct {
    const int32_t *tok;
    const int16_t *parent; /* NULL: a text */
    uint32_t       n;
    float         *logits; /* [n][vocab] */
} tree_rows;

/* Rows of n_text sequences in one step, all of them wanted. */
static inline sr_status tree_step(sr_model *m, const tree_text *t, const tree_rows *r, uint32_t n_text, sr_err *err)
{
    sr_block *b = &m->block;
    sr_block_begin(b);
    for (uint32_t i = 0; i < n_text; i++) {
        if (sr_kv_reserve(t[i].seq, r[i].n, err))
            return err->status ? err->status : sr_raise(err, SR_NOMEM, "no pages for %u tokens", r[i].n);
        sr_block_add(m, t[i].seq, r[i].tok, t[i].n, r[i].n);
        if (r[i].parent && sr_block_draft(m, r[i].parent, r[i].n, err))
            return err->status;
        for (uint32_t k = 0; k < r[i].n; k++) {
            ((sr_sampdev *)b->sampling)[b->now.out] = (sr_sampdev){.given = r[i].tok[k]};
            b->out[b->now.out++]                    = b->now.tok - r[i].n + k;
            b->drawn++;
        }
    }
    void  *slot;
    size_t bytes, row = m->info.n_vocab * sizeof(float);
    if (sr_model_compute(m, err) || m->be->slot(m->ran, m->code->prog.logits, &slot, &bytes))
        return err->status ? err->status : sr_raise(err, SR_UNSUPPORTED, "logits cannot be read");
    for (uint32_t i = 0, at = 0; i < n_text; at += r[i++].n) {
        sr_span back = {.dst = r[i].logits, .src = (char *)slot + at * row, .n = 1, .bytes = r[i].n * row};
        if (m->be->copyv(m->dev, SR_Q_COMPUTE, &back, 1, err))
            return err->status;
    }
    return m->be->wait(m->dev, m->be->mark(m->dev, SR_Q_COMPUTE), UINT64_MAX, err);
}

/* The tokens at these offsets of the last step (NULL: the first n of them) are the text's next; the others were never there. */
static inline sr_status tree_accept(tree_text *t, const int32_t *tok, const uint32_t *path, uint32_t n, sr_err *err)
{
    int32_t own[SR_TREE_MOST * 4];
    for (uint32_t i = 0; i < n; i++)
        own[i] = tok[path ? path[i] : i];
    sr_status s = sr_kv_commit(t->seq, own, path, n, err);
    sr_kv_trim(t->seq);
    t->n += n;
    return s;
}

/* A text of n tokens, in steps of `piece`; salt: texts of the same share no pages. */
static inline sr_status tree_open(sr_model *m, uint64_t salt, const int32_t *tok, uint32_t n, uint32_t piece, tree_text *t, float *logits, sr_err *err)
{
    size_t cached;
    *t = (tree_text){0};
    if (sr_kv_begin(m->kv, salt, tok, n, 0, &t->seq, &cached, err))
        return err->status;
    for (uint32_t k; t->n < n;) {
        k           = SR_MIN(piece, n - t->n);
        tree_rows r = {.tok = tok + t->n, .n = k, .logits = logits};
        if (tree_step(m, t, &r, 1, err) || tree_accept(t, r.tok, NULL, k, err))
            return err->status;
    }
    return SR_OK;
}

static inline void tree_close(tree_text *t) { sr_kv_end(t->seq); }

/* Random parents, rather late ones: some paths are long. */
static inline void tree_draw(uint32_t n, uint32_t vocab, uint64_t *seed, int32_t *tok, int16_t *parent)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at[2];
        for (int k = 0; k < 3; k++) {
            *seed = *seed * 6364136223846793005u + 1442695040888963407u;
            if (k < 2)
                at[k] = (uint32_t)((*seed >> 33) % (i + 1));
        }
        parent[i] = (int16_t)(SR_MAX(at[0], at[1])) - 1;
        tok[i]    = (int32_t)((*seed >> 33) % vocab);
    }
}

/* The path to a drafted token: offsets, the root first; how many. */
static inline uint32_t tree_path(const int16_t *parent, uint32_t draft, uint32_t *path)
{
    uint32_t n = 0;
    for (int i = (int)draft; i >= 0; i = parent[i])
        n++;
    for (int i = (int)draft, k = (int)n; i >= 0; i = parent[i])
        path[--k] = (uint32_t)i;
    return n;
}
#endif
