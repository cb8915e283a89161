/* glu_v16.h - gated linear unit in sixteen lanes; compiled by glu_avx2.c, glu_avx512.c and glu_neon.c.
 * The share of a thread is a run of columns: a single row, too, is worth two threads.
 */
#include "base/cpu.h"
#include "base/mem.h"
#include "ops/glu/glu.h"
#include "ops/v16.h"

enum { RUN = 128 }; /* columns of a share: some 0.1 us */

V16_FN v16 silu(v16 g) { return v16_div(g, v16_add(v16_set1(1.0f), v16_exp(v16_neg(g)))); }

V16_FN v16 gelu(v16 g)
{
    v16 cubic = v16_fma(v16_mul(v16_mul(v16_set1(0.044715f), g), g), g, g);
    v16 t     = v16_tanh(v16_mul(v16_set1(0.79788456f), cubic));
    return v16_mul(v16_mul(v16_set1(0.5f), g), v16_add(v16_set1(1.0f), t));
}

V16_FN void columns(const float *gate, const float *up, float *out, uint32_t n, bool is_gelu)
{
    uint32_t i = 0;
    for (; i + 16 <= n; i += 16) {
        v16 g = v16_load(gate + i);
        v16_store(out + i, v16_mul(is_gelu ? gelu(g) : silu(g), v16_load(up + i)));
    }
    if (i < n) {
        v16 g = v16_load_n(gate + i, n - i);
        v16_store_n(out + i, n - i, v16_mul(is_gelu ? gelu(g) : silu(g), v16_load_n(up + i, n - i)));
    }
}

static void run(const sr_cpujob *j, uint32_t phase)
{
    (void)phase;
    uint32_t     n = j->op->dim[0], runs = (n + RUN - 1) / RUN, a, b;
    const float *in  = j->slot[j->op->in[0]];
    float       *out = j->slot[j->op->out[0]];
    sr_cpu_share(j, sr_slot_rows(&j->prog->slot[j->op->in[0]], j->n) * runs, 1, &a, &b);
    for (uint32_t i = a; i < b; i++) {
        uint32_t     c = i % runs * RUN, count = SR_MIN(n - c, (uint32_t)RUN);
        const float *gate = in + (size_t)(i / runs) * 2 * n + c;
        float       *to   = out + (size_t)(i / runs) * n + c;
        if (j->op->flags & SR_F_GELU)
            columns(gate, gate + n, to, count, true);
        else
            columns(gate, gate + n, to, count, false);
    }
}
