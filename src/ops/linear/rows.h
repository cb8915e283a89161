/* rows.h - what the SIMD kernels of LINEAR share on every machine: rows of quantised activations, rows of weights, stores, the way through an op.
 *
 * Activations   one sr_xrow_k per (row, 256 numbers) for K-quants; codes, scales and sums apart for Q4_0 and Q8_0.
 *               How numbers become codes is the including file's: sr_quant_k, sr_quant_0, sr_sum_codes.
 *
 * Threads: as job.h says.   Errors: none.
 */
#ifndef SR_OPS_LINEAR_ROWS_H
#define SR_OPS_LINEAR_ROWS_H
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "base/mem.h"
#include "ops/linear/job.h"

#define SR_INLINE static inline __attribute__((always_inline))

typedef struct { int8_t q[256]; int16_t sum16[16], sum32[8]; float d; uint32_t pad[3]; } sr_xrow_k;
typedef char sr_xrow_fits[sizeof(sr_xrow_k) == SR_LIN_XK ? 1 : -1];

/* ---- activations ------------------------------------------------------------------------------------ */

static inline void    sr_quant_k(const float *x, sr_xrow_k *o);     /* sr_encode_row(SR_Q8_K) of 256 numbers: the same bits */
static inline float   sr_quant_0(const float *x, int8_t q[32]);     /* sr_encode_row(SR_Q8_0) of 32; the scale after its rounding to f16 */
static inline int32_t sr_sum_codes(const int8_t q[32]);

SR_INLINE sr_xrow_k *sr_xrow(const sr_linop *o, uint32_t t) { return (sr_xrow_k *)o->xk + (size_t)t * (o->cols / 256); }

/* Row t of the 0 kind from column col on: codes, scales, sums of each 32 codes. */
typedef struct { int8_t *q; float *d; int32_t *sum; } sr_xrow_0;
SR_INLINE sr_xrow_0 sr_xrow0(const sr_linop *o, uint32_t t, uint32_t col)
{
    size_t blocks = o->cols / 32, rows = sr_align_up(o->rows, SR_LIN_TILE), at = t * blocks + col / 32;
    float *d = (float *)(void *)(o->x0 + rows * o->cols);
    return (sr_xrow_0){(int8_t *)o->x0 + at * 32, d + at, (int32_t *)(void *)(d + rows * blocks) + at};
}

static inline void sr_quant_rows(const sr_cpujob *j, const sr_linop *o)
{
    uint32_t a, b, n = o->cols / 256;
    if (o->xk) {
        sr_cpu_share(j, o->rows * n, 1, &a, &b);
        for (uint32_t i = a; i < b; i++)
            sr_quant_k(o->x + (size_t)(i / n) * o->cols + i % n * 256, sr_xrow(o, i / n) + i % n);
    }
    n = o->cols / 32;
    if (o->x0) {
        sr_cpu_share(j, o->rows * n, 8, &a, &b);
        for (uint32_t i = a; i < b; i++) {
            uint32_t t = i / n, k = i % n;
            sr_xrow_0 to = sr_xrow0(o, t, k * 32);
            *to.d        = sr_quant_0(o->x + (size_t)t * o->cols + k * 32, to.q);
            *to.sum      = sr_sum_codes(to.q);
        }
    }
}

/* Instead of phase 0, see sr_linear_skip. */
static inline void sr_quant_alone(const sr_cpujob *j, sr_linop *o)
{
    sr_cpujob one = *j;
    one.thread    = 0;
    one.n_threads = 1;
    o->x0         = o->x0 ? o->work + (o->xk ? sr_align_up(o->cols / 256 * SR_LIN_XK, 64) : 0) : NULL;
    o->xk         = o->xk ? o->work : NULL;
    sr_quant_rows(&one, o);
}

/* ---- weights and results ---------------------------------------------------------------------------- */

/* What lies between the ends of a row's columns here and the beginning of the next row's. */
SR_INLINE size_t sr_row_gap(const sr_linpart *w) { return w->row_bytes - sr_row_bytes(w->format, w->n_col); }

/* From the beginning of a row to what is read `at` bytes on: behind its end the next row, which comes next.  Without that a part of the columns
 * (down's, shared with a GPU) was read at half the rate: what was asked for ahead was nobody's, and every row's beginning was waited for. */
SR_INLINE size_t sr_ahead(size_t at, size_t size, size_t gap) { return at + (at >= size ? gap : 0); }

/* Row i; past the end: the last row again. */
SR_INLINE const uint8_t *sr_row_of(const sr_linpart *w, const sr_linrows *rows, uint32_t i)
{
    return w->p + (size_t)(rows->row + SR_MIN(i, rows->n - 1) * rows->apart) * w->row_bytes;
}

/* The eight scales and minimums of Q4_K and Q5_K as bytes of a word (layout: sr_k4_scales in quant.h). */
SR_INLINE void sr_scales_45(const uint8_t *p, uint64_t *sc, uint64_t *m)
{
    uint32_t a, b, c;
    memcpy(&a, p, 4);
    memcpy(&b, p + 4, 4);
    memcpy(&c, p + 8, 4);
    uint32_t hi = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030), lo = a & 0x3f3f3f3f;
    *sc = lo | (uint64_t)hi << 32;
    hi  = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);
    lo  = b & 0x3f3f3f3f;
    *m  = lo | (uint64_t)hi << 32;
}

SR_INLINE void sr_put(const sr_linop *o, const sr_linpart *w, uint32_t r, uint32_t t, float v)
{
    size_t i = (size_t)t * o->width + w->y0 + r;
    if (w->bias)
        v += w->bias[r];
    o->y[i] = o->z ? v + o->z[i] : v;
}

/* ---- the way through an op -------------------------------------------------------------------------- */

/* Some rows of a part against all of x. */
typedef void (*sr_linfn)(const sr_linop *, const sr_linpart *, const sr_linrows *);

/* Few rows of x: groups of `lanes` rows of weights that lie far apart (job.h). */
SR_INLINE void sr_linear_few(const sr_cpujob *j, const sr_linop *o, uint32_t lanes, sr_linfn floats, sr_linfn coded)
{
    sr_linwalk k;
    sr_linrows rows;
    for (sr_linear_walk(j, lanes, &k); sr_linear_step(&k, &rows);)
        if (k.part.kind == SR_LIN_FLOAT)
            floats(o, &k.part, &rows);
        else
            coded(o, &k.part, &rows);
}

/* Many: panels of `high` rows that follow each other. */
SR_INLINE void sr_linear_many(const sr_cpujob *j, const sr_linop *o, uint32_t high, sr_linfn floats, sr_linfn coded)
{
    sr_linpiece s;
    while (sr_linear_take(j, high, 0, &s)) {
        sr_linrows rows = {.row = s.row, .apart = 1, .n = s.n};
        if (s.part.kind == SR_LIN_FLOAT)
            floats(o, &s.part, &rows);
        else
            coded(o, &s.part, &rows);
    }
}
#endif
