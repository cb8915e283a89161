/* float_neon.h - F32, F16 and BF16 weights with NEON: activations stay f32, sixteen accumulators a sum, as linear.h says.
 *
 *     one row of x     four rows of weights, which lie apart, straight from the file
 *     a few            two by two
 *     many             weights become a panel of floats once, three rows of it go with two of x: 24 registers of sums
 */
#ifndef SR_OPS_LINEAR_FLOAT_NEON_H
#define SR_OPS_LINEAR_FLOAT_NEON_H
#include "ops/linear/neon.h"

enum { MANY = 8, ROWS = 4, PANEL_R = 3, PANEL_T = 2 }; /* rows of x that are many; of weights together; of a panel with those of x */

SR_INLINE v16 load16(uint32_t format, const uint8_t *p)
{
    if (format == SR_F32) /* a row in a file may start anywhere */
        return (v16){vreinterpretq_f32_u8(vld1q_u8(p)), vreinterpretq_f32_u8(vld1q_u8(p + 16)),
                     vreinterpretq_f32_u8(vld1q_u8(p + 32)), vreinterpretq_f32_u8(vld1q_u8(p + 48))};
    if (format == SR_F16)
        return v16_from_f16(p);
    uint16x8_t lo = vreinterpretq_u16_u8(vld1q_u8(p)), hi = vreinterpretq_u16_u8(vld1q_u8(p + 16));
    return (v16){vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(lo), 16)), vreinterpretq_f32_u32(vshll_high_n_u16(lo, 16)),
                 vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(hi), 16)), vreinterpretq_f32_u32(vshll_high_n_u16(hi, 16))};
}

/* Numbers k .. of a row; those from n on are 0. */
SR_INLINE v16 load_tail(uint32_t format, const uint8_t *p, uint32_t k, uint32_t n)
{
    const uint32_t size = format == SR_F32 ? 4 : 2;
    uint8_t        part[64] = {0};
    if (n - k >= 16)
        return load16(format, p + (size_t)k * size);
    return load16(format, memcpy(part, p + (size_t)k * size, (size_t)(n - k) * size));
}

/* Numbers k .. k+15 of n_r rows of weights and n_t of x. */
SR_INLINE void float_step(uint32_t format, const uint8_t *const *w, int n_r, const float *const *x, int n_t, uint32_t k, uint32_t n, v16 *acc)
{
    v16 v[2];
    V16_UNROLL for (int t = 0; t < n_t; t++)
        v[t] = load_tail(SR_F32, (const uint8_t *)x[t], k, n);
    V16_UNROLL for (int r = 0; r < n_r; r++) {
        v16 u = load_tail(format, w[r], k, n);
        V16_UNROLL for (int t = 0; t < n_t; t++)
            acc[r * n_t + t] = v16_fma(u, v[t], acc[r * n_t + t]);
    }
}

/* At most four sums in all. */
SR_INLINE void float_block(uint32_t format, const uint8_t *const *w, int n_r, const float *const *x, int n_t, uint32_t n, float *out)
{
    v16      acc[4];
    uint32_t k = 0;
    V16_UNROLL for (int i = 0; i < n_r * n_t; i++)
        acc[i] = v16_zero();
    for (; k + 16 <= n; k += 16)
        float_step(format, w, n_r, x, n_t, k, k + 16, acc);
    if (k < n)
        float_step(format, w, n_r, x, n_t, k, n, acc);
    V16_UNROLL for (int i = 0; i < n_r * n_t; i++)
        out[i] = v16_fold(acc[i]);
}

SR_INLINE void floats_of(uint32_t format, const sr_linop *o, const sr_linpart *w, const sr_linrows *rows)
{
    const uint32_t n_t = o->rows == 1 ? 1 : 2, n_r = 4 / n_t;
    for (uint32_t t = 0; t < o->rows; t += n_t)
        for (uint32_t r = 0; r < rows->n; r += n_r) {
            const uint8_t *p[4];
            const float   *x[2];
            float          out[4];
            for (uint32_t i = 0; i < n_r; i++) /* past the end: the last row again, not stored */
                p[i] = sr_row_of(w, rows, r + i);
            for (uint32_t i = 0; i < 2; i++)
                x[i] = o->x + (size_t)SR_MIN(t + i, o->rows - 1) * o->cols + w->col0;
            if (n_t == 1)
                float_block(format, p, 4, x, 1, w->n_col, out);
            else
                float_block(format, p, 2, x, 2, w->n_col, out);
            for (uint32_t i = 0; i < 4; i++)
                if (r + i / n_t < rows->n && t + i % n_t < o->rows)
                    sr_put(o, w, rows->row + (r + i / n_t) * rows->apart, t + i % n_t, out[i]);
        }
}

/* ---- many rows of x --------------------------------------------------------------------------------- */

SR_INLINE void panel_row(uint32_t format, const uint8_t *w, uint32_t n, float *to)
{
    for (uint32_t k = 0; k < n; k += 16)
        v16_store(to + k, load_tail(format, w, k, n));
}

/* Four of the sixteen lanes at a time: few registers for what is multiplied. */
#define QUARTER(part, at)                                                                                              \
    do {                                                                                                               \
        float32x4_t v0 = vld1q_f32(x0 + (at)), v1 = vld1q_f32(x1 + (at));                                              \
        V16_UNROLL for (size_t r = 0; r < PANEL_R; r++) {                                                              \
            float32x4_t u   = vld1q_f32(w + r * stride + (at));                                                        \
            acc[r][0].part  = vfmaq_f32(acc[r][0].part, u, v0);                                                        \
            acc[r][1].part  = vfmaq_f32(acc[r][1].part, u, v1);                                                        \
        }                                                                                                              \
    } while (0)

SR_INLINE void panel_step(const float *w, size_t stride, const float *x0, const float *x1, v16 (*acc)[PANEL_T])
{
    QUARTER(a, 0);
    QUARTER(b, 4);
    QUARTER(c, 8);
    QUARTER(d, 12);
}

SR_INLINE void panel_block(const float *w, size_t stride, const float *const *x, uint32_t n, float (*out)[PANEL_T])
{
    v16      acc[PANEL_R][PANEL_T];
    uint32_t k = 0;
    V16_UNROLL for (int i = 0; i < PANEL_R * PANEL_T; i++)
        acc[i / PANEL_T][i % PANEL_T] = v16_zero();
    for (; k + 16 <= n; k += 16)
        panel_step(w + k, stride, x[0] + k, x[1] + k, acc);
    if (k < n) {
        float tail[PANEL_T][16] = {{0}};
        memcpy(tail[0], x[0] + k, (n - k) * sizeof **tail);
        memcpy(tail[1], x[1] + k, (n - k) * sizeof **tail);
        panel_step(w + k, stride, tail[0], tail[1], acc);
    }
    V16_UNROLL for (int i = 0; i < PANEL_R * PANEL_T; i++)
        out[i / PANEL_T][i % PANEL_T] = v16_fold(acc[i / PANEL_T][i % PANEL_T]);
}

#include "ops/linear/float_panel.h"
#endif
