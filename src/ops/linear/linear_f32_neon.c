/* LINEAR with activations as they are, on NEON: linear_f32.h. */
#include "ops/linear/float_neon.h"

enum { GROUP = 4, MANY_R = PANEL_R, MANY_T = PANEL_T }; /* rows of weights that go together: 16 registers of sums; 24 */
#define FEW_R(n_t) (4 / (n_t))
#define ASK(p)     __builtin_prefetch(p)
#include "ops/linear/linear_f32.h"

SR_INLINE v16 scales_45(const uint8_t *w)
{
    uint64_t b[2];
    sr_scales_45(w + 4, &b[0], &b[1]);
    return v16_mul(v16_select(m16_first(8), v16_set1(half_of(w)), v16_set1(-half_of(w + 2))), v16_from_i8(b));
}

SR_INLINE bool look_up(uint32_t format, const uint8_t *w, const float *s, float *to)
{
    (void)format, (void)w, (void)s, (void)to;
    return false;
}

SR_INLINE void unpack64(uint32_t format, const uint8_t *w, int i, int8_t *to)
{
    int8x16_t q[4];
    sr_codes(format, w, i, q);
    V16_UNROLL for (int k = 0; k < 4; k++)
        vst1q_s8(to + 16 * k, format == SR_Q6_K ? vsubq_s8(q[k], vdupq_n_s8(32)) : q[k]);
}

SR_INLINE void unpack32(uint32_t format, const uint8_t *w, int8_t *to)
{
    int8x16_t q[2];
    sr_codes_0(format, w, q);
    vst1q_s8(to, q[0]);
    vst1q_s8(to + 16, q[1]);
}

const sr_cpukernel sr_linear_f32_neon = {.family = "linear", .isa = "neon", .needs = SR_CPU_NEON, .phases = 1, .run = run_f32};
