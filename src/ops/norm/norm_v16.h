/* norm_v16.h - RMS norm in sixteen lanes; compiled by norm_avx2.c, norm_avx512.c and norm_neon.c. */
#include "base/cpu.h"
#include "ops/norm/norm.h"
#include "ops/v16.h"

static void norm(const float *x, const float *w, float *y, uint32_t n, float eps)
{
    v16      sum = v16_zero();
    uint32_t k = 0, rest = n % 16;
    for (; k + 16 <= n; k += 16)
        sum = v16_fma(v16_load(x + k), v16_load(x + k), sum);
    if (rest) {
        v16 t = v16_load_n(x + k, rest);
        sum   = v16_fma(t, t, sum);
    }
    v16 s = v16_set1(1.0f / sqrtf(v16_fold(sum) / (float)n + eps));
    for (k = 0; k + 16 <= n; k += 16)
        v16_store(y + k, v16_mul(v16_mul(v16_load(x + k), s), v16_load(w + k)));
    if (rest)
        v16_store_n(y + k, rest, v16_mul(v16_mul(v16_load_n(x + k, rest), s), v16_load_n(w + k, rest)));
}

static void run(const sr_cpujob *j, uint32_t phase)
{
    (void)phase;
    const sr_op   *op = j->op;
    const sr_slot *s  = &j->prog->slot[op->in[0]];
    const float   *in = j->slot[op->in[0]], *w = j->weight[op->w].p;
    float         *out = j->slot[op->out[0]];
    uint32_t       groups = op->dim[2], a, b;
    sr_cpu_share(j, sr_slot_rows(s, j->n) * groups, 1, &a, &b);
    for (uint32_t i = a; i < b; i++) {
        size_t at = (size_t)(i / groups) * s->width + op->dim[1] + (size_t)(i % groups) * op->dim[0];
        norm(in + at, w, out + at, op->dim[0], op->f[0]);
    }
}
