/* float256.h - F32, F16 and BF16 weights with AVX2: activations stay f32, sixteen accumulators a sum, as linear.h says.
 *
 *     one row of x     four rows of weights, which lie apart, straight from the file
 *     a few            two by two
 *     many             weights become a panel of floats once, three rows of it go with two of x
 */
#ifndef SR_OPS_LINEAR_FLOAT256_H
#define SR_OPS_LINEAR_FLOAT256_H
#include "ops/linear/x86.h"

enum { MANY = 8, ROWS = 4, AHEAD = 1024 }; /* rows of x that are many; of weights together; bytes prefetched in each run */

typedef struct { __m256 a, b; } lanes16;

SR_INLINE lanes16 load16(uint32_t format, const uint8_t *p)
{
    if (format == SR_F32)
        return (lanes16){_mm256_loadu_ps((const float *)(const void *)p), _mm256_loadu_ps((const float *)(const void *)(p + 32))};
    __m128i u = _mm_loadu_si128((const __m128i *)p), v = _mm_loadu_si128((const __m128i *)(p + 16));
    if (format == SR_F16)
        return (lanes16){_mm256_cvtph_ps(u), _mm256_cvtph_ps(v)};
    return (lanes16){_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(u), 16)),
                     _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16))};
}

SR_INLINE float sum16(lanes16 v) /* lanes i and i+8, then i+4, i+2, i+1 */
{
    __m256 a = _mm256_add_ps(v.a, v.b);
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s        = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* n_r rows of weights against n_t rows of x. */
SR_INLINE void float_block(uint32_t format, const uint8_t *const *w, int n_r, const float *const *x, int n_t, uint32_t n,
                           float (*out)[2])
{
    const uint32_t size = format == SR_F32 ? 4 : 2;
    lanes16        acc[2][2];
    for (int i = 0; i < 4; i++)
        acc[i / 2][i % 2] = (lanes16){_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (uint32_t k = 0; k < n; k += 16) {
        lanes16 u[2], v[2];
        uint8_t wt[64];
        float   xt[16];
        for (int r = 0; r < n_r; r++) {
            const uint8_t *p = w[r] + (size_t)k * size;
            if (n - k < 16) { /* the tail as if padded by zeros */
                memset(wt, 0, sizeof wt);
                memcpy(wt, p, (size_t)(n - k) * size);
                p = wt;
            }
            u[r] = load16(format, p);
        }
        for (int t = 0; t < n_t; t++) {
            const float *p = x[t] + k;
            if (n - k < 16) {
                memset(xt, 0, sizeof xt);
                memcpy(xt, p, (n - k) * sizeof *xt);
                p = xt;
            }
            v[t] = load16(SR_F32, (const uint8_t *)p);
        }
        for (int r = 0; r < n_r; r++)
            for (int t = 0; t < n_t; t++) {
                acc[r][t].a = _mm256_fmadd_ps(u[r].a, v[t].a, acc[r][t].a);
                acc[r][t].b = _mm256_fmadd_ps(u[r].b, v[t].b, acc[r][t].b);
            }
    }
    for (int r = 0; r < n_r; r++)
        for (int t = 0; t < n_t; t++)
            out[r][t] = sum16(acc[r][t]);
}

/* Four rows of weights against one of x. */
SR_INLINE void float_single(uint32_t format, const uint8_t *const *w, const float *x, uint32_t n, float *out)
{
    const uint32_t size = format == SR_F32 ? 4 : 2;
    lanes16        acc[ROWS];
    uint32_t       k = 0;
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; r++)
        acc[r] = (lanes16){_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (; k < n; k += 16) {
        uint8_t wt[64];
        float   xt[16] = {0};
        bool    tail   = n - k < 16; /* as if padded by zeros */
        lanes16 v      = load16(SR_F32, tail ? memcpy(xt, x + k, (n - k) * sizeof *xt) : (const uint8_t *)(x + k));
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; r++) {
            const uint8_t *p = w[r] + (size_t)k * size;
            __builtin_prefetch(p + AHEAD);
            if (tail) {
                memset(wt, 0, sizeof wt);
                p = memcpy(wt, p, (size_t)(n - k) * size);
            }
            lanes16 u = load16(format, p);
            acc[r].a  = _mm256_fmadd_ps(u.a, v.a, acc[r].a);
            acc[r].b  = _mm256_fmadd_ps(u.b, v.b, acc[r].b);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; r++)
        out[r] = sum16(acc[r]);
}

SR_INLINE void floats_single(uint32_t format, const sr_linop *o, const sr_linpart *w, const sr_linrows *rows)
{
    for (uint32_t r = 0; r < rows->n; r += ROWS) {
        const uint8_t *p[ROWS];
        float          out[ROWS];
        for (uint32_t i = 0; i < ROWS; i++) /* past the end: the last row again, not stored */
            p[i] = sr_row_of(w, rows, r + i);
        float_single(format, p, o->x + w->col0, w->n_col, out);
        for (uint32_t i = 0; i < ROWS && r + i < rows->n; i++)
            sr_put(o, w, rows->row + (r + i) * rows->apart, 0, out[i]);
    }
}

SR_INLINE void floats_of(uint32_t format, const sr_linop *o, const sr_linpart *w, const sr_linrows *rows)
{
    if (o->rows == 1) {
        floats_single(format, o, w, rows);
        return;
    }
    for (uint32_t t = 0; t < o->rows; t += 2)
        for (uint32_t r = 0; r < rows->n; r += 2) {
            int            n_r = r + 1 < rows->n ? 2 : 1, n_t = t + 1 < o->rows ? 2 : 1;
            const uint8_t *ps[2] = {sr_row_of(w, rows, r), sr_row_of(w, rows, r + 1)};
            const float   *x     = o->x + (size_t)t * o->cols + w->col0, *xs[2] = {x, x + o->cols};
            float          out[2][2];
            if (n_r == 2 && n_t == 2)
                float_block(format, ps, 2, xs, 2, w->n_col, out);
            else if (n_r == 2)
                float_block(format, ps, 2, xs, 1, w->n_col, out);
            else if (n_t == 2)
                float_block(format, ps, 1, xs, 2, w->n_col, out);
            else
                float_block(format, ps, 1, xs, 1, w->n_col, out);
            for (uint32_t i = 0; i < (uint32_t)n_r; i++)
                for (uint32_t k = 0; k < (uint32_t)n_t; k++)
                    sr_put(o, w, rows->row + (r + i) * rows->apart, t + k, out[i][k]);
        }
}

/* Many rows of x: weights become floats once, in the work area, rows of a multiple of 16 with zeros behind; then three of them go with two
 * rows of x, 12 sums and 4 registers of x, the weights from memory. */
enum { PANEL_R = 3, PANEL_T = 2 };

SR_INLINE void panel_row(uint32_t format, const uint8_t *w, uint32_t n, float *to)
{
    const uint32_t size = format == SR_F32 ? 4 : 2;
    uint8_t        tail[64] = {0};
    for (uint32_t k = 0; k < n; k += 16) {
        const uint8_t *p = w + (size_t)k * size;
        if (n - k < 16)
            p = memcpy(tail, p, (size_t)(n - k) * size);
        lanes16 v = load16(format, p);
        _mm256_storeu_ps(to + k, v.a);
        _mm256_storeu_ps(to + k + 8, v.b);
    }
}

SR_INLINE void panel_step(const float *w, size_t stride, const float *const *x, lanes16 (*acc)[PANEL_T])
{
    lanes16 v[PANEL_T];
#pragma GCC unroll 2
    for (int t = 0; t < PANEL_T; t++)
        v[t] = (lanes16){_mm256_loadu_ps(x[t]), _mm256_loadu_ps(x[t] + 8)};
#pragma GCC unroll 3
    for (size_t r = 0; r < PANEL_R; r++)
#pragma GCC unroll 2
        for (int t = 0; t < PANEL_T; t++) {
            acc[r][t].a = _mm256_fmadd_ps(_mm256_loadu_ps(w + r * stride), v[t].a, acc[r][t].a);
            acc[r][t].b = _mm256_fmadd_ps(_mm256_loadu_ps(w + r * stride + 8), v[t].b, acc[r][t].b);
        }
}

SR_INLINE void panel_block(const float *w, size_t stride, const float *const *x, uint32_t n, float (*out)[PANEL_T])
{
    lanes16  acc[PANEL_R][PANEL_T];
    uint32_t k = 0;
#pragma GCC unroll 6
    for (int i = 0; i < PANEL_R * PANEL_T; i++)
        acc[i / PANEL_T][i % PANEL_T] = (lanes16){_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (; k + 16 <= n; k += 16)
        panel_step(w + k, stride, (const float *const[]){x[0] + k, x[1] + k}, acc);
    if (k < n) {
        float tail[PANEL_T][16] = {{0}};
        for (int t = 0; t < PANEL_T; t++)
            memcpy(tail[t], x[t] + k, (n - k) * sizeof **tail);
        panel_step(w + k, stride, (const float *const[]){tail[0], tail[1]}, acc);
    }
#pragma GCC unroll 6
    for (int i = 0; i < PANEL_R * PANEL_T; i++)
        out[i / PANEL_T][i % PANEL_T] = sum16(acc[i / PANEL_T][i % PANEL_T]);
}

#include "ops/linear/float_panel.h"
#endif
