/* sample_kit.h - rows of logits with everything a request may ask for, for the tests of all kernels. */
#ifndef SR_OPS_SAMPLE_KIT_H
#define SR_OPS_SAMPLE_KIT_H
#include "ops/sample/sample.h"
#include "ops/testkit.h"

enum { ROWS = 48, LISTED = 40 };

static const sr_sampdev PLAIN = {.temp = 1, .top_p = 1, .typical_p = 1, .rep_penalty = 1, .given = -1};

/* ROWS rows of `vocab` logits; each row has room for a list of adjustments and a mask behind the rows. */
static inline void build(kit *k, uint32_t rows, uint32_t vocab)
{
    size_t each = LISTED * sizeof(sr_adjust) + (vocab + 31) / 32 * 4;
    *k          = (kit){.n = {.out = rows}, .max = {.out = rows}};
    k->op       = (sr_op){.code = SR_OP_SAMPLE, .in = {0}, .out = {1}, .dim = {vocab}};
    char *blob  = kit_own(k, rows * (sizeof(sr_sampdev) + each));
    memset(blob, 0, rows * (sizeof(sr_sampdev) + each));
    for (uint32_t i = 0; i < rows; i++) {
        sr_sampdev *p = (sr_sampdev *)(void *)blob + i;
        *p            = PLAIN;
        p->adjust     = (uint32_t)(rows * sizeof *p + i * each);
        p->pos        = i;
    }
    k->batch.sampling = blob;
    kit_slot(k, 0, SR_ROWS_OUT, vocab, rows);
    kit_slot(k, 1, SR_ROWS_OUT, sizeof(sr_sampled) / 4, rows);
}

static inline sr_sampdev *params(kit *k, uint32_t i) { return (sr_sampdev *)(uintptr_t)k->batch.sampling + i; }
static inline sr_adjust  *list(kit *k, uint32_t i) { return (sr_adjust *)((uintptr_t)k->batch.sampling + params(k, i)->adjust); }
static inline float      *logits(kit *k, uint32_t i) { return (float *)k->base[0] + (size_t)i * k->op.dim[0]; }
static inline sr_sampled *result(kit *k, uint32_t i) { return (sr_sampled *)k->base[1] + i; }

static inline uint32_t *mask_of(kit *k, uint32_t i)
{
    params(k, i)->mask = params(k, i)->adjust + LISTED * (uint32_t)sizeof(sr_adjust);
    return (uint32_t *)((uintptr_t)k->batch.sampling + params(k, i)->mask);
}

/* Anything a request may ask for; many ties, for logits are rounded now and then. */
static inline void random_row(kit *k, uint32_t i, uint64_t *s)
{
    uint32_t    vocab = k->op.dim[0];
    sr_sampdev *p     = params(k, i);
    float      *x     = logits(k, i), step = kit_below(s, 3) ? 0 : 0.5f;
    kit_fill(x, vocab, kit_below(s, 2) ? 1 : 6, s);
    for (uint32_t t = 0; t < vocab && step > 0; t++)
        x[t] = step * floorf(x[t] / step);
    if (kit_below(s, 8) == 0)
        x[kit_below(s, vocab)] = -INFINITY;
    p->temp      = kit_below(s, 6) ? 0.3f + 0.1f * (float)kit_below(s, 15) : 0;
    p->top_k     = kit_below(s, 2) ? 0 : 1 + kit_below(s, kit_below(s, 2) ? 50 : vocab + 10);
    p->top_p     = kit_below(s, 2) ? 1 : 0.01f * (float)kit_below(s, 100);
    p->typical_p = kit_below(s, 3) ? 1 : 0.05f * (float)kit_below(s, 20);
    p->min_p     = kit_below(s, 3) ? 0 : 0.02f * (float)kit_below(s, 20);
    p->n_alt     = kit_below(s, 2) ? 0 : kit_below(s, 21);
    p->seed      = kit_random(s);
    p->given     = kit_below(s, 10) ? -1 : (int32_t)kit_below(s, vocab);
    if (kit_below(s, 2)) {
        p->rep_penalty  = 1 + 0.1f * (float)kit_below(s, 8);
        p->freq_penalty = 0.1f * (float)kit_below(s, 10);
        p->pres_penalty = 0.1f * (float)kit_below(s, 10);
        p->n_adjust     = kit_below(s, LISTED + 1);
    }
    for (uint32_t a = 0; a < p->n_adjust; a++)
        list(k, i)[a] = (sr_adjust){(int32_t)kit_below(s, vocab), kit_below(s, 4), kit_below(s, 5) ? 0 : kit_below(s, 3) ? 3 : -INFINITY};
    if (kit_below(s, 4) == 0) {
        uint32_t *mask = mask_of(k, i), dense = kit_below(s, 3);
        for (uint32_t t = 0; t < (vocab + 31) / 32; t++)
            mask[t] = dense == 0 ? 0 : dense == 1 ? 1u << kit_below(s, 32) : (uint32_t)kit_random(s);
    }
    if (kit_below(s, 30) == 0)
        x[kit_below(s, vocab)] = kit_below(s, 2) ? NAN : INFINITY;
}
#endif
