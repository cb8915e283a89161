/* rope_v16.h - rotation in sixteen lanes; compiled by rope_avx2.c, rope_avx512.c and rope_neon.c.
 *
 * Pairs (2i, 2i+1) stay where they are: with x0 in both lanes of a pair and x1 in both lanes, the result is
 * fma(x0, [c, s], x1 * [-s, c]); the two brackets are laid out once per token and serve all its heads.
 */
#include "base/cpu.h"
#include "ops/rope/rope.h"
#include "ops/v16.h"

enum { MAX_ROT = 512 };

static void turn_pairs(float *x, const float *cs, const float *sc, uint32_t rot)
{
    for (uint32_t i = 0; i < rot; i += 16) {
        v16 v = v16_load(x + i);
        v16_store(x + i, v16_fma(v16_even_twice(v), v16_load(cs + i), v16_mul(v16_odd_twice(v), v16_load(sc + i))));
    }
}

static void turn_halves(float *x, const float *cs, uint32_t half)
{
    for (uint32_t i = 0; i < half; i += 16) {
        v16 x0 = v16_load(x + i), x1 = v16_load(x + half + i), c = v16_load(cs + i), s = v16_load(cs + half + i);
        v16_store(x + i, v16_fma(x0, c, v16_neg(v16_mul(x1, s))));
        v16_store(x + half + i, v16_fma(x0, s, v16_mul(x1, c)));
    }
}

static void run(const sr_cpujob *j, uint32_t phase)
{
    (void)phase;
    const sr_op *op = j->op;
    float       *in = j->slot[op->in[0]], cs[MAX_ROT], sc[MAX_ROT];
    const float *table = j->slot[op->in[1]];
    uint32_t     width = j->prog->slot[op->in[0]].width, heads = op->dim[0], rot = op->dim[2], half = rot / 2, a, b;
    bool         neox = op->flags & SR_F_NEOX;
    sr_cpu_share(j, j->n->tok * heads, 1, &a, &b);
    for (uint32_t i = a; i < b; i++) {
        uint32_t     t = i / heads;
        const float *row = table + (size_t)t * rot;
        float       *x = in + (size_t)t * width + op->dim[3] + (size_t)(i % heads) * op->dim[1];
        if (neox) {
            turn_halves(x, row, half);
            continue;
        }
        for (uint32_t k = 0; k < half && (i == a || i % heads == 0); k++) {
            cs[2 * k]     = row[k];
            cs[2 * k + 1] = row[half + k];
            sc[2 * k]     = -row[half + k];
            sc[2 * k + 1] = row[k];
        }
        turn_pairs(x, cs, sc, rot);
    }
}

static bool supports(const sr_program *p, const sr_op *op)
{
    (void)p;
    return op->dim[2] <= MAX_ROT && op->dim[2] % (op->flags & SR_F_NEOX ? 32 : 16) == 0;
}
