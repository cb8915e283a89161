/* The specification of LINEAR in plain C, on the file's blocks.  Every other kernel gives these bits. */
#include "ops/linear/job.h"

#include <math.h>
#include <string.h>

/* One superblock of a K-quant as integers: 16 sub-blocks of 16, the value of number i is
 * d * sc[i/16] * q[i] - dmin * m[i/32].  Formats with sub-blocks of 32 have sc in pairs. */
typedef struct { float d, dmin; int q[256], sc[16], m[8]; } superblock;

static uint16_t half_at(const void *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return h;
}

static void head_45(const uint8_t *scales, uint16_t d, uint16_t dmin, superblock *s)
{
    uint8_t sc[8], m[8];
    sr_k4_scales(scales, sc, m);
    s->d    = sr_f16_to_f32(d);
    s->dmin = sr_f16_to_f32(dmin);
    for (int j = 0; j < 16; j++) {
        s->sc[j]    = sc[j / 2];
        s->m[j / 2] = m[j / 2];
    }
}

static void unpack(uint32_t format, const unsigned char *p, superblock *s)
{
    memset(s, 0, sizeof *s);
    if (format == SR_Q6_K) {
        const sr_q6_K *w = (const sr_q6_K *)p;
        s->d             = sr_f16_to_f32(half_at(&w->d));
        for (int j = 0; j < 16; j++)
            s->sc[j] = w->scales[j];
        for (int i = 0; i < 256; i++) { /* two halves of 128, each four blocks k of 32 */
            int half = i / 128, k = i / 32 % 4, n = i % 32;
            int low  = w->ql[half * 64 + k % 2 * 32 + n] >> k / 2 * 4 & 15;
            int high = w->qh[half * 32 + n] >> k * 2 & 3;
            s->q[i]  = (low | high << 4) - 32;
        }
        return;
    }
    const sr_q4_K *w4 = (const sr_q4_K *)p;
    const sr_q5_K *w5 = (const sr_q5_K *)p;
    bool           is5 = format == SR_Q5_K;
    head_45(w4->scales, half_at(p), half_at(p + 2), s); /* the two formats begin alike */
    for (int i = 0; i < 256; i++) {
        int at  = i / 64 * 32 + i % 32, j = i / 32;
        int low = (is5 ? w5->qs : w4->qs)[at] >> j % 2 * 4 & 15;
        s->q[i] = low | (is5 ? (w5->qh[i % 32] >> j & 1) << 4 : 0);
    }
}

static float step_k(const superblock *w, bool mins, const sr_q8_K *x, float acc)
{
    int32_t s = 0, t = 0;
    for (int j = 0; j < 16; j++) {
        int32_t dot = 0;
        for (int i = j * 16; i < j * 16 + 16; i++)
            dot += w->q[i] * x->qs[i];
        s += w->sc[j] * dot;
        t += w->m[j / 2] * x->bsums[j];
    }
    acc = fmaf(w->d * x->d, (float)s, acc);
    return mins ? fmaf(-(w->dmin * x->d), (float)t, acc) : acc;
}

static float step_0(uint32_t format, const unsigned char *p, const sr_q8_0 *x, float acc)
{
    const sr_q4_0 *w4  = (const sr_q4_0 *)p;
    const sr_q8_0 *w8  = (const sr_q8_0 *)p;
    int32_t        dot = 0;
    for (int i = 0; i < 32; i++) {
        int q = format == SR_Q8_0 ? w8->qs[i] : (w4->qs[i % 16] >> i / 16 * 4 & 15) - 8;
        dot += q * x->qs[i];
    }
    return fmaf(sr_f16_to_f32(half_at(p)) * sr_f16_to_f32(half_at(&x->d)), (float)dot, acc);
}

static float weight_at(uint32_t format, const unsigned char *p, uint32_t k)
{
    float f;
    if (format == SR_F32) {
        memcpy(&f, p + (size_t)k * 4, 4);
        return f;
    }
    uint16_t h = half_at(p + (size_t)k * 2);
    return format == SR_F16 ? sr_f16_to_f32(h) : sr_bf16_to_f32(h);
}

static float fold(float lane[16])
{
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}

static float dot_float(uint32_t format, const unsigned char *p, const float *x, uint32_t n)
{
    float lane[16] = {0};
    for (uint32_t k = 0; k < (n + 15) / 16 * 16; k++)
        lane[k % 16] = k < n ? fmaf(weight_at(format, p, k), x[k], lane[k % 16]) : fmaf(0, 0, lane[k % 16]);
    return fold(lane);
}

/* The same of blocks, block by block. */
static float dot_blocks(uint32_t format, const unsigned char *p, const float *x, uint32_t n)
{
    float          lane[16] = {0}, w[256];
    const uint32_t step     = sr_linear_kind(format) == SR_LIN_KINDK ? 256 : 32;
    for (uint32_t k = 0; k < n; k++) {
        if (k % step == 0)
            sr_decode_row(format, p + sr_row_bytes(format, k), w, step);
        lane[k % 16] = fmaf(w[k % step], x[k], lane[k % 16]);
    }
    return fold(lane);
}

static void put(const sr_linop *o, const sr_linpart *w, uint32_t r, uint32_t t, float acc)
{
    size_t i = (size_t)t * o->width + w->y0 + r;
    if (w->bias)
        acc += w->bias[r];
    o->y[i] = o->z ? acc + o->z[i] : acc;
}

/* One row of weights against all rows of x. */
static void row(const sr_linop *o, const sr_linpart *w, uint32_t r)
{
    const unsigned char *p = w->p + r * w->row_bytes;
    uint32_t             step = w->kind == SR_LIN_KINDK ? 256 : 32;
    size_t               bytes = sr_row_bytes(w->format, step);
    for (uint32_t t = 0; t < o->rows; t++) {
        size_t         at_k = (size_t)t * (o->cols / 256) + w->col0 / 256, at_0 = (size_t)t * (o->cols / 32) + w->col0 / 32;
        const sr_q8_K *xk   = o->xk ? (const sr_q8_K *)o->xk + at_k : NULL; /* only the kind that this op needs is there */
        const sr_q8_0 *x0   = o->x0 ? (const sr_q8_0 *)o->x0 + at_0 : NULL;
        float          acc = 0;
        if (w->kind == SR_LIN_FLOAT)
            acc = dot_float(w->format, p, o->x + (size_t)t * o->cols + w->col0, w->n_col);
        else
            for (uint32_t b = 0; b < w->n_col / step; b++) {
                superblock s;
                if (w->kind == SR_LIN_KINDK) {
                    unpack(w->format, p + b * bytes, &s);
                    acc = step_k(&s, w->format != SR_Q6_K, xk + b, acc);
                } else
                    acc = step_0(w->format, p + b * bytes, x0 + b, acc);
            }
        put(o, w, r, t, acc);
    }
}

static void run(const sr_cpujob *j, uint32_t phase)
{
    sr_linop o;
    uint32_t a, b;
    sr_linear_unfold(j, &o);
    if (phase == 0) {
        sr_cpu_share(j, o.rows, 1, &a, &b);
        for (uint32_t t = a; t < b; t++) {
            const float *x = o.x + (size_t)t * o.cols;
            if (o.xk)
                sr_encode_row(SR_Q8_K, x, (sr_q8_K *)o.xk + (size_t)t * (o.cols / 256), o.cols);
            if (o.x0)
                sr_encode_row(SR_Q8_0, x, (sr_q8_0 *)o.x0 + (size_t)t * (o.cols / 32), o.cols);
        }
        return;
    }
    sr_linpart w;
    for (uint32_t k = 0; k < o.n_w; k++)
        if (sr_linear_part(j, k, &w)) {
            sr_cpu_share(j, w.n_row, 1, &a, &b);
            for (uint32_t r = a; r < b; r++)
                row(&o, &w, r);
        }
}

const sr_cpukernel sr_linear_ref = {.family = "linear", .isa = "ref", .needs = 0, .phases = 2, .run = run};

static void run_f32(const sr_cpujob *j, uint32_t phase)
{
    sr_linop   o;
    sr_linpart w;
    uint32_t   a, b;
    (void)phase;
    sr_linear_unfold(j, &o);
    for (uint32_t k = 0; k < o.n_w; k++) {
        if (!sr_linear_part(j, k, &w))
            continue;
        sr_cpu_share(j, w.n_row, 1, &a, &b);
        for (uint32_t r = a; r < b; r++)
            for (uint32_t t = 0; t < o.rows; t++) {
                const float *x = o.x + (size_t)t * o.cols + w.col0;
                put(&o, &w, r, t, (w.kind == SR_LIN_FLOAT ? dot_float : dot_blocks)(w.format, w.p + r * w.row_bytes, x, w.n_col));
            }
    }
}

const sr_cpukernel sr_linear_f32_ref = {.family = "linear", .isa = "ref", .needs = 0, .phases = 1, .run = run_f32};
