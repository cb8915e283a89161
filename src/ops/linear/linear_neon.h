/* linear_neon.h - LINEAR on NEON; compiled by linear_neon.c, and by linear_neondot.c for dot product instructions.
 *
 * Few rows of x (< MANY): the file's blocks are unpacked in registers and multiplied with 1..4 rows of x; four rows
 * of weights go together, so that their sums are reduced together and a lane is a row of weights.
 * More rows, with the dot product: weights become a panel of signed bytes, units of four rows with four consecutive
 * codes of each row side by side, so that a lane is a row of weights from the start and four codes of x are broadcast
 * by the instruction itself.  Eight rows of weights go with four of x: 16 registers of sums, no reduction.
 *
 *     unit   q[k/4]: |row 0: 4 codes|row 1|row 2|row 3|     x   |k..k+3|k+4..|k+8..|k+12..|  as it is quantised
 *
 * More rows without it: as few rows.  (A broadcast costs an instruction there, and two products a sum.)
 */
#include "ops/linear/float_neon.h"

/* gcc keeps what several rows load of x in registers, and puts integer sums off until they are used: both spill.  So between
 * rows of weights x is loaded again (from L1), and a sum is settled where it stands. */
#define LOAD_AGAIN __asm__ volatile("" ::: "memory")
#define SETTLE(v)  __asm__("" : "+w"(v))

/* ---- few rows: K-quants ----------------------------------------------------------------------------- */

/* Scales of a superblock; its minimums, or for Q6_K the scales again, as 16-bit numbers. */
SR_INLINE void scales_of(uint32_t format, const uint8_t *w, sr_subscales *sc, int16x8_t wide[2])
{
    if (format == SR_Q6_K) {
        int8x16_t s = vld1q_s8((const int8_t *)w + 192);
        wide[0]     = vmovl_s8(vget_low_s8(s));
        wide[1]     = vmovl_high_s8(s);
        sr_scale8(sc, 0, wide[0]);
        sr_scale8(sc, 1, wide[1]);
        return;
    }
    uint64_t s, m;
    sr_scales_45(w + 4, &s, &m);
    sr_scale8(sc, 0, sr_widen(s));
    wide[0] = sr_widen(m);
}

/* Blocks 2i and 2i+1 of a superblock, codes q, against those of n_t rows of x: s += scale * products. */
#define BLOCKS(i)                                                                                                      \
    do {                                                                                                               \
        int8x16_t q[4];                                                                                                \
        sr_codes(format, w, i, q);                                                                                     \
        V16_UNROLL for (int t = 0; t < n_t; t++) {                                                                     \
            const int8_t *y = x[t][b].q + 64 * (i);                                                                    \
            if (format == SR_Q6_K) {                                                                                   \
                s[t] = SR_SUB16(s[t], sc, 4 * (i), q[0], y);                                                           \
                s[t] = SR_SUB16(s[t], sc, 4 * (i) + 1, q[1], y + 16);                                                  \
                s[t] = SR_SUB16(s[t], sc, 4 * (i) + 2, q[2], y + 32);                                                  \
                s[t] = SR_SUB16(s[t], sc, 4 * (i) + 3, q[3], y + 48);                                                  \
            } else {                                                                                                   \
                s[t] = SR_SUB32(s[t], sc, 2 * (i) % 8, q, y);                                                          \
                s[t] = SR_SUB32(s[t], sc, (2 * (i) + 1) % 8, q + 2, y + 32);                                           \
            }                                                                                                          \
            SETTLE(s[t]);                                                                                              \
        }                                                                                                              \
    } while (0)

/* One superblock against n_t of x: four partial sums each. */
SR_INLINE void dots(uint32_t format, const uint8_t *w, const sr_xrow_k *const *x, int n_t, uint32_t b, int32x4_t *s, int16x8_t *mins)
{
    sr_subscales sc;
    int16x8_t    wide[2];
    scales_of(format, w, &sc, wide);
    V16_UNROLL for (int t = 0; t < n_t; t++) {
        s[t] = vdupq_n_s32(0);
        if (format == SR_Q6_K) { /* the codes are 32 too large */
            const int16_t *y = x[t][b].sum16;
            int32x4_t      k = sr_madd8(sr_madd8(s[t], wide[0], vld1q_s16(y)), wide[1], vld1q_s16(y + 8));
            s[t]             = vnegq_s32(vshlq_n_s32(k, 5));
        }
    }
    BLOCKS(0);
    BLOCKS(1);
    BLOCKS(2);
    BLOCKS(3);
    *mins = wide[0];
}

/* Four rows of weights against n_t rows of x. */
SR_INLINE void rows_k(uint32_t format, const uint8_t *const *w, const sr_xrow_k *const *x, int n_t, uint32_t blocks,
                      float32x4_t *acc)
{
    const size_t size = sr_linear_block(format);
    V16_UNROLL for (int t = 0; t < n_t; t++)
        acc[t] = vdupq_n_f32(0);
    for (uint32_t b = 0; b < blocks; b++) {
        int32x4_t   s[4][4], sum[4];
        int16x8_t   mins[4];
        float32x4_t d = sr_halves4(w, b * size + (format == SR_Q6_K ? 208 : 0)), dmin = sr_halves4(w, b * size + 2);
        V16_UNROLL for (int r = 0; r < 4; r++) {
            dots(format, w[r] + b * size, x, n_t, b, s[r], &mins[r]);
            LOAD_AGAIN;
        }
        V16_UNROLL for (int t = 0; t < n_t; t++) {
            float dx = x[t][b].d;
            V16_UNROLL for (int r = 0; r < 4; r++)
                sum[r] = s[r][t];
            acc[t] = vfmaq_f32(acc[t], vmulq_n_f32(d, dx), vcvtq_f32_s32(sr_sum4(sum)));
            if (format == SR_Q6_K)
                continue;
            V16_UNROLL for (int r = 0; r < 4; r++)
                sum[r] = sr_madd8(vdupq_n_s32(0), mins[r], vld1q_s16(x[t][b].sum32));
            acc[t] = vfmsq_f32(acc[t], vmulq_n_f32(dmin, dx), vcvtq_f32_s32(sr_sum4(sum)));
        }
    }
}

/* ---- few rows: Q4_0, Q8_0 --------------------------------------------------------------------------- */

SR_INLINE void rows_0(uint32_t format, const uint8_t *const *w, const sr_xrow_0 *x, int n_t, uint32_t blocks, float32x4_t *acc)
{
    const size_t size = sr_linear_block(format);
    V16_UNROLL for (int t = 0; t < n_t; t++)
        acc[t] = vdupq_n_f32(0);
    for (uint32_t b = 0; b < blocks; b++) {
        int32x4_t   s[4][4], sum[4];
        float32x4_t d = sr_halves4(w, b * size);
        V16_UNROLL for (int r = 0; r < 4; r++) {
            int8x16_t q[2];
            sr_codes_0(format, w[r] + b * size, q);
            V16_UNROLL for (int t = 0; t < n_t; t++) {
                s[r][t] = sr_dot16(vdupq_n_s32(0), q[0], vld1q_s8(x[t].q + b * 32));
                s[r][t] = sr_dot16(s[r][t], q[1], vld1q_s8(x[t].q + b * 32 + 16));
            }
        }
        V16_UNROLL for (int t = 0; t < n_t; t++) {
            V16_UNROLL for (int r = 0; r < 4; r++)
                sum[r] = s[r][t];
            acc[t] = vfmaq_f32(acc[t], vmulq_n_f32(d, x[t].d[b]), vcvtq_f32_s32(sr_sum4(sum)));
        }
    }
}

/* ---- few rows: driver ------------------------------------------------------------------------------- */

SR_INLINE void rows_any(uint32_t format, const sr_linop *o, const sr_linpart *w, const uint8_t *const *p, uint32_t t0,
                        int n_t, float32x4_t *acc)
{
    if (sr_linear_kind(format) == SR_LIN_KINDK) {
        const sr_xrow_k *x[4];
        for (int t = 0; t < n_t; t++)
            x[t] = sr_xrow(o, t0 + (uint32_t)t) + w->col0 / 256;
        rows_k(format, p, x, n_t, w->n_col / 256, acc);
    } else {
        sr_xrow_0 x[4];
        for (int t = 0; t < n_t; t++)
            x[t] = sr_xrow0(o, t0 + (uint32_t)t, w->col0);
        rows_0(format, p, x, n_t, w->n_col / 32, acc);
    }
}

typedef void (*rowsfn)(const sr_linop *o, const sr_linpart *w, const uint8_t *const *p, uint32_t t0, float32x4_t *acc);

#define ROWS_OF(format, n_t)                                                                                           \
    static void format##_##n_t(const sr_linop *o, const sr_linpart *w, const uint8_t *const *p, uint32_t t0, float32x4_t *acc) \
    {                                                                                                                  \
        rows_any(SR_##format, o, w, p, t0, n_t, acc);                                                                  \
    }
#define FEW(format) ROWS_OF(format, 1) ROWS_OF(format, 2) ROWS_OF(format, 3) ROWS_OF(format, 4)
FEW(Q4_0) FEW(Q8_0) FEW(Q4_K) FEW(Q5_K) FEW(Q6_K)
#define FEW_OF(format) {format##_1, format##_2, format##_3, format##_4}

/* At most four rows of weights against all of x. */
static void few(const sr_linop *o, const sr_linpart *w, const sr_linrows *rows)
{
    static const rowsfn of[5][4] = {FEW_OF(Q4_0), FEW_OF(Q8_0), FEW_OF(Q4_K), FEW_OF(Q5_K), FEW_OF(Q6_K)};
    const int      f = w->format == SR_Q4_0 ? 0 : w->format == SR_Q8_0 ? 1 : w->format == SR_Q4_K ? 2 : w->format == SR_Q5_K ? 3 : 4;
    const uint8_t *p[ROWS];
    for (uint32_t i = 0; i < ROWS; i++) /* past the end: the last row again, not stored */
        p[i] = sr_row_of(w, rows, i);
    for (uint32_t t0 = 0; t0 < o->rows; t0 += 4) {
        float32x4_t acc[4];
        float       out[ROWS];
        uint32_t    n_t = SR_MIN(o->rows - t0, 4u);
        of[f][n_t - 1](o, w, p, t0, acc);
        for (uint32_t t = 0; t < n_t; t++) {
            vst1q_f32(out, acc[t]);
            for (uint32_t i = 0; i < rows->n; i++)
                sr_put(o, w, rows->row + i * rows->apart, t0 + t, out[i]);
        }
    }
}

/* ---- many rows -------------------------------------------------------------------------------------- */

enum { PANEL_ROWS = 32 };

#if defined(__ARM_FEATURE_DOTPROD)
#include "ops/linear/panel_neon.h"
#else
/* Rows of a piece, by fours. */
static void many(const sr_linop *o, const sr_linpart *w, const sr_linrows *rows)
{
    for (uint32_t r = 0; r < rows->n; r += ROWS) {
        sr_linrows four = {.row = rows->row + r * rows->apart, .apart = rows->apart, .n = SR_MIN(rows->n - r, (uint32_t)ROWS)};
        few(o, w, &four);
    }
}
#endif

/* ---- the kernel ------------------------------------------------------------------------------------- */

static void run(const sr_cpujob *j, uint32_t phase)
{
    sr_linop o;
    sr_linear_unfold(j, &o);
    if (phase == 0) {
        sr_quant_rows(j, &o);
        return;
    }
    if (sr_linear_skip(j))
        sr_quant_alone(j, &o);
    if (o.rows < MANY)
        sr_linear_few(j, &o, ROWS, floats, few);
    else
        sr_linear_many(j, &o, PANEL_ROWS, floats, many);
}
