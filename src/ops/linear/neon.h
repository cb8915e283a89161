/* neon.h - NEON forms of what LINEAR's kernels need: activations quantised, weights unpacked, integer products, stores.
 *
 * Products      of signed bytes, with the dot product instruction where the including file is compiled with it, and
 *               with 8-bit multiplies into 16-bit sums elsewhere.  All are exact: which four lanes hold the parts of a
 *               sum differs, the sum does not.
 *                   largest codes   Q4_K 15, Q5_K 31, Q6_K 63 (32 too large), Q4_0 -8, Q8_0 -128; x at most 127
 *                   so that 16 bits hold two products of each lane (2 * 128 * 127), of Q4_K and Q5_K four
 * Immediates    stay literals, as macro arguments where need be: clang takes nothing else, gcc not without optimisation.
 *
 * Threads: pure functions.   Errors: none.
 */
#ifndef SR_OPS_LINEAR_NEON_H
#define SR_OPS_LINEAR_NEON_H
#include "ops/linear/rows.h"
#include "ops/v16.h"

/* ---- activations ------------------------------------------------------------------------------------ */

SR_INLINE uint32x4_t sr_bits4(const float *x) { return vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x)), vdupq_n_u32(0x7fffffff)); }

/* Largest magnitude's bits: they order as the numbers do, and infinities and NaNs come last. */
SR_INLINE uint32_t sr_top_bits(const float *x, int n)
{
    uint32x4_t top = vdupq_n_u32(0);
    for (int i = 0; i < n; i += 4)
        top = vmaxq_u32(top, sr_bits4(x + i));
    return vmaxvq_u32(top);
}

/* The first number of largest magnitude, with its sign. */
SR_INLINE float sr_peak(const float *x, uint32_t top)
{
    while (!vmaxvq_u32(vceqq_u32(sr_bits4(x), vdupq_n_u32(top))))
        x += 4;
    while ((sr_bits_of(*x) & 0x7fffffff) != top)
        x++;
    return *x;
}

/* NaN becomes -127. */
SR_INLINE float32x4_t sr_clamp127(float32x4_t v) { return vminnmq_f32(vmaxnmq_f32(v, vdupq_n_f32(-127)), vdupq_n_f32(127)); }

/* Sixteen numbers times k, rounded to nearest even, or halves away from zero. */
SR_INLINE int8x16_t sr_round16(const float *x, float k, bool away)
{
    int32x4_t v[4];
    V16_UNROLL for (int i = 0; i < 4; i++) {
        float32x4_t a = sr_clamp127(vmulq_n_f32(vld1q_f32(x + 4 * i), k));
        v[i]          = away ? vcvtaq_s32_f32(a) : vcvtnq_s32_f32(a);
    }
    int16x8_t lo = vqmovn_high_s32(vqmovn_s32(v[0]), v[1]), hi = vqmovn_high_s32(vqmovn_s32(v[2]), v[3]);
    return vqmovn_high_s16(vqmovn_s16(lo), hi);
}

static inline void sr_quant_k(const float *x, sr_xrow_k *o)
{
    uint32_t top = sr_top_bits(x, 256);
    if (top == 0 || top >= 0x7f800000) {
        memset(o, 0, sizeof *o);
        o->d = top ? NAN : 0;
        return;
    }
    float inv = -127 / sr_peak(x, top);
    o->d      = 1 / inv;
    for (int j = 0; j < 16; j++) {
        int8x16_t q = sr_round16(x + j * 16, inv, false);
        vst1q_s8(o->q + j * 16, q);
        o->sum16[j] = vaddlvq_s8(q);
    }
    for (int j = 0; j < 8; j++)
        o->sum32[j] = (int16_t)(o->sum16[2 * j] + o->sum16[2 * j + 1]);
}

static inline float sr_quant_0(const float *x, int8_t q[32])
{
    uint32_t top = sr_top_bits(x, 32);
    if (top >= 0x7f800000) {
        memset(q, 0, 32);
        return NAN;
    }
    float d = sr_float_of(top) / 127, inv = d != 0 ? 1 / d : 0;
    vst1q_s8(q, sr_round16(x, inv, true));
    vst1q_s8(q + 16, sr_round16(x + 16, inv, true));
    return vgetq_lane_f32(vcvt_f32_f16(vcvt_f16_f32(vdupq_n_f32(d))), 0);
}

static inline int32_t sr_sum_codes(const int8_t q[32]) { return vaddlvq_s8(vld1q_s8(q)) + vaddlvq_s8(vld1q_s8(q + 16)); }

/* ---- weights ---------------------------------------------------------------------------------------- */

/* Four f16 numbers that lie apart. */
SR_INLINE float32x4_t sr_halves4(const uint8_t *const *w, size_t at)
{
    uint64_t all = 0;
    V16_UNROLL for (int r = 0; r < 4; r++) {
        uint16_t h;
        memcpy(&h, w[r] + at, 2);
        all |= (uint64_t)h << 16 * r;
    }
    return vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(all)));
}

/* Blocks 2i and 2i+1 (of 32) of a superblock as unsigned codes, two registers each; Q6_K's are 32 too large. */
SR_INLINE void sr_codes(uint32_t format, const uint8_t *w, int i, int8x16_t q[4])
{
    const uint8x16_t low = vdupq_n_u8(15);
    const uint8_t   *p   = format == SR_Q6_K ? w + i / 2 * 64 : w + (format == SR_Q5_K ? 48 : 16) + i * 32;
    const uint8_t   *h   = format == SR_Q6_K ? w + 128 + i / 2 * 32 : w + 16;
    uint8x16_t       c[4];
    if (format == SR_Q6_K) { /* i odd: the upper four bits; two more of block 2i and of 2i+1 */
        V16_UNROLL for (int k = 0; k < 4; k++)
            c[k] = i % 2 ? vshrq_n_u8(vld1q_u8(p + 16 * k), 4) : vandq_u8(vld1q_u8(p + 16 * k), low);
    } else
        V16_UNROLL for (int k = 0; k < 2; k++) {
            uint8x16_t v = vld1q_u8(p + 16 * k);
            c[k]         = vandq_u8(v, low);
            c[k + 2]     = vshrq_n_u8(v, 4);
        }
    V16_UNROLL for (int k = 0; k < 4; k++) {
        if (format != SR_Q4_K) { /* from bit 4 on, one bit of h or two */
            int        left = format == SR_Q5_K ? 4 - 2 * i - k / 2 : i % 2 ? k / 2 * -2 : 4 - k / 2 * 2;
            uint8x16_t high = vshlq_u8(vld1q_u8(h + k % 2 * 16), vdupq_n_s8((int8_t)left));
            c[k]            = vbslq_u8(vdupq_n_u8(format == SR_Q5_K ? 0x10 : 0x30), high, c[k]);
        }
        q[k] = vreinterpretq_s8_u8(c[k]);
    }
}

/* The 32 codes of a Q4_0 or Q8_0 block, signed. */
SR_INLINE void sr_codes_0(uint32_t format, const uint8_t *w, int8x16_t q[2])
{
    if (format == SR_Q8_0) {
        q[0] = vld1q_s8((const int8_t *)w + 2);
        q[1] = vld1q_s8((const int8_t *)w + 18);
        return;
    }
    uint8x16_t v = vld1q_u8(w + 2);
    q[0]         = vsubq_s8(vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15))), vdupq_n_s8(8));
    q[1]         = vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(v, 4)), vdupq_n_s8(8));
}

SR_INLINE int16x8_t sr_widen(uint64_t bytes) { return vreinterpretq_s16_u16(vmovl_u8(vcreate_u8(bytes))); } /* below 128 */

/* ---- products --------------------------------------------------------------------------------------- */

/* acc and the 16 products of a and b, in any lanes. */
SR_INLINE int32x4_t sr_dot16(int32x4_t acc, int8x16_t a, int8x16_t b)
{
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(acc, a, b);
#else
    return vpadalq_s16(acc, vmlal_high_s8(vmull_s8(vget_low_s8(a), vget_low_s8(b)), a, b));
#endif
}

/* The scales of a superblock, eight or sixteen, and s and a scale times the products of a sub-block of 32 or of 16 codes;
 * its number is a literal. */
#if defined(__ARM_FEATURE_DOTPROD)
typedef struct { int32x4_t v[4]; } sr_subscales;
SR_INLINE void sr_scale8(sr_subscales *o, int half, int16x8_t sc)
{
    o->v[2 * half]     = vmovl_s16(vget_low_s16(sc));
    o->v[2 * half + 1] = vmovl_high_s16(sc);
}
#define SR_SUB32(s, scales, at, q, x)                                                                                  \
    vmlaq_laneq_s32(s, vdotq_s32(vdotq_s32(vdupq_n_s32(0), (q)[0], vld1q_s8(x)), (q)[1], vld1q_s8((x) + 16)),          \
                    (scales).v[(at) / 4], (at) % 4)
#define SR_SUB16(s, scales, at, q, x)                                                                                  \
    vmlaq_laneq_s32(s, vdotq_s32(vdupq_n_s32(0), q, vld1q_s8(x)), (scales).v[(at) / 4], (at) % 4)
#else
typedef struct { int16x8_t v[2]; } sr_subscales;
SR_INLINE void sr_scale8(sr_subscales *o, int half, int16x8_t sc) { o->v[half] = sc; }
SR_INLINE int16x8_t sr_mul16(int8x16_t q, int8x16_t x) { return vmlal_high_s8(vmull_s8(vget_low_s8(q), vget_low_s8(x)), q, x); }
SR_INLINE int16x8_t sr_mul32(const int8x16_t *q, const int8_t *x)
{
    int8x16_t x0 = vld1q_s8(x), x1 = vld1q_s8(x + 16);
    return vmlal_high_s8(vmlal_s8(sr_mul16(q[0], x0), vget_low_s8(q[1]), vget_low_s8(x1)), q[1], x1);
}
#define SR_SUBMUL(s, p, scales, at)                                                                                    \
    vmlal_high_laneq_s16(vmlal_laneq_s16(s, vget_low_s16(p), (scales).v[(at) / 8], (at) % 8), p, (scales).v[(at) / 8], (at) % 8)
#define SR_SUB32(s, scales, at, q, x) SR_SUBMUL(s, sr_mul32(q, x), scales, at)
#define SR_SUB16(s, scales, at, q, x) SR_SUBMUL(s, sr_mul16(q, vld1q_s8(x)), scales, at)
#endif

/* Lane i of the result: the sum of v[i]'s lanes. */
SR_INLINE int32x4_t sr_sum4(const int32x4_t v[4]) { return vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3])); }

/* The sum of eight 16-bit products, in four lanes. */
SR_INLINE int32x4_t sr_madd8(int32x4_t acc, int16x8_t a, int16x8_t b)
{
    return vmlal_high_s16(vmlal_s16(acc, vget_low_s16(a), vget_low_s16(b)), a, b);
}
#endif
