/* Encoding into the K formats: a search, because the best scale is not the one that spans the largest number.
 *
 * Every small block is fitted on its own: candidates for the step size, each candidate's numbers rounded to
 * codes, the best real-valued scale (and offset) for those codes by weighted least squares, the candidate of
 * least weighted error kept.  Then the scales of a superblock are themselves rounded, the codes chosen anew
 * for the rounded scales, and the superblock's own scale fitted once more to the codes.
 * Weights: an error on a large number costs more (it multiplies through the same as its size does).
 */
#include "ops/quant/quant_internal.h"

#include <string.h>

/* Sums run in LANES separate chains, so that the compiler may use SIMD without reordering anything. */
enum { LANES = 8, SUB = 32 };

static float sum_lanes(const float s[LANES])
{
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

/* ---- x ~ scale * code - offset, codes 0..top: Q4_K and Q5_K ------------------------------------------ */

typedef struct { float scale, offset; } affine; /* both >= 0 */

typedef struct { float w, wx, wxx; } moments; /* sums over a block of weight, weight * x, weight * x^2 */

static void weigh(const float x[SUB], float w[SUB], moments *m)
{
    float s[LANES] = {0}, sw[LANES] = {0}, swx[LANES] = {0}, swxx[LANES] = {0};
    for (int i = 0; i < SUB; i += LANES)
        for (int k = 0; k < LANES; k++)
            s[k] += x[i + k] * x[i + k];
    float rms = sqrtf(sum_lanes(s) / SUB);
    for (int i = 0; i < SUB; i += LANES) {
        for (int k = 0; k < LANES; k++) {
            float v = x[i + k], wi = w[i + k] = rms + fabsf(v);
            sw[k] += wi;
            swx[k] += wi * v;
            swxx[k] += wi * v * v;
        }
    }
    *m = (moments){sum_lanes(sw), sum_lanes(swx), sum_lanes(swxx)};
}

/* Rounds x to codes by the step 1/inv from `low`, and returns the best affine map for these codes and its
 * weighted squared error, from sums alone: no second pass over the block. */
static float try_step(const float x[SUB], const float w[SUB], const moments *m, float inv, float low, float top,
                      affine *out)
{
    float sl[LANES] = {0}, sll[LANES] = {0}, slx[LANES] = {0};
    for (int i = 0; i < SUB; i += LANES) {
        for (int k = 0; k < LANES; k++) {
            float q  = sr_roundf_even(sr_clampf(inv * (x[i + k] - low), 0, top));
            float wq = w[i + k] * q;
            sl[k] += wq;
            sll[k] += wq * q;
            slx[k] += wq * x[i + k];
        }
    }
    float l = sum_lanes(sl), ll = sum_lanes(sll), lx = sum_lanes(slx);
    float det = m->w * ll - l * l;
    if (!(det > 0) || !(ll > 0))
        return INFINITY;
    float scale = (m->w * lx - m->wx * l) / det, offset = (l * lx - ll * m->wx) / det;
    if (offset < 0) { /* the format can only subtract */
        offset = 0;
        scale  = lx / ll;
    }
    if (!(scale > 0))
        return INFINITY;
    *out = (affine){scale, offset};
    return m->wxx + scale * (scale * ll - 2 * lx) + offset * (offset * m->w + 2 * m->wx - 2 * scale * l);
}

static affine fit_affine(const float x[SUB], int top)
{
    float   w[SUB], low = 0, high = x[0];
    moments m;
    for (int i = 0; i < SUB; i++) {
        low  = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    if (!(high > low))
        return (affine){0, -low};
    weigh(x, w, &m);
    affine best = {(high - low) / (float)top, -low}, a;
    float  least = INFINITY;
    /* From spanning a little less than the range to more.  Repeating with the winner's own map lowers the error of
     * the block by 0.2 % and raised the KL divergence of two models by 2 %: not done. */
    for (int step = -12; step <= 12; step++) {
        float err = try_step(x, w, &m, ((float)top + 0.1f * (float)step) / (high - low), low, (float)top, &a);
        if (err < least) {
            least = err;
            best  = a;
        }
    }
    return best;
}

static void pack_k4(uint8_t p[12], const uint8_t sc[8], const uint8_t m[8])
{
    for (int j = 0; j < 4; j++) {
        p[j]     = (uint8_t)(sc[j] | (sc[j + 4] >> 4) << 6);
        p[j + 4] = (uint8_t)(m[j] | (m[j + 4] >> 4) << 6);
        p[j + 8] = (uint8_t)((sc[j + 4] & 15) | (m[j + 4] & 15) << 4);
    }
}

typedef struct {
    uint16_t d, dmin;
    uint8_t  sc[8], m[8], q[SR_QK];
} codes; /* a superblock before packing */

static void round_codes(const float x[SR_QK], float top, codes *c)
{
    float d = sr_f16_to_f32(c->d), dmin = sr_f16_to_f32(c->dmin);
    for (int j = 0; j < 8; j++) {
        float s = d * c->sc[j], o = dmin * c->m[j], inv = s > 0 ? 1 / s : 0;
        for (int i = 0; i < SUB; i++)
            c->q[j * SUB + i] = (uint8_t)sr_roundf_even(sr_clampf((x[j * SUB + i] + o) * inv, 0, top));
    }
}

/* Weighted error of a superblock as it will be decoded, and the sums for fitting d and dmin to its codes:
 * x ~ d * A - dmin * B with A = sc * q and B = m. */
static float superblock_error(const float x[SR_QK], const codes *c, double fit[5])
{
    float  d = sr_f16_to_f32(c->d), dmin = sr_f16_to_f32(c->dmin), err = 0;
    memset(fit, 0, 5 * sizeof *fit);
    for (int j = 0; j < 8; j++) {
        float   w[SUB];
        moments mo;
        weigh(x + j * SUB, w, &mo);
        float s[5] = {0}, e = 0, b = c->m[j];
        for (int i = 0; i < SUB; i++) {
            float a = (float)c->sc[j] * c->q[j * SUB + i], v = x[j * SUB + i], diff = d * a - dmin * b - v;
            s[0] += w[i] * a * a;
            s[1] += w[i] * a;
            s[2] += w[i] * a * v;
            e += w[i] * diff * diff;
        }
        fit[0] += s[0];
        fit[1] += s[1] * b;
        fit[2] += (double)mo.w * b * b;
        fit[3] += s[2];
        fit[4] += (double)mo.wx * b;
        err += e;
    }
    return err;
}

/* Fits d and dmin to the codes; keeps the result only where it lowers the error. */
static void refit(const float x[SR_QK], float top, codes *c)
{
    double f[5];
    float  before = superblock_error(x, c, f);
    double det    = f[0] * f[2] - f[1] * f[1], d, dmin;
    if (f[2] > 0 && det > 1e-9 * f[0] * f[2]) {
        d    = (f[3] * f[2] - f[1] * f[4]) / det;
        dmin = (f[1] * f[3] - f[0] * f[4]) / det;
    } else if (f[0] > 0) {
        d    = f[3] / f[0];
        dmin = sr_f16_to_f32(c->dmin);
    } else {
        return;
    }
    if (!(d > 0) || !(dmin >= 0))
        return;
    codes t = *c;
    t.d     = sr_f32_to_f16((float)d);
    t.dmin  = sr_f32_to_f16((float)dmin);
    round_codes(x, top, &t);
    if (superblock_error(x, &t, f) < before)
        *c = t;
}

static void encode_affine(const float x[SR_QK], int top, codes *c)
{
    affine a[8];
    float  max_scale = 0, max_offset = 0;
    memset(c, 0, sizeof *c);
    if (!sr_all_finite(x, SR_QK)) {
        c->d = SR_F16_NAN;
        return;
    }
    for (int j = 0; j < 8; j++) {
        a[j]       = fit_affine(x + j * SUB, top);
        max_scale  = fmaxf(max_scale, a[j].scale);
        max_offset = fmaxf(max_offset, a[j].offset);
    }
    c->d    = sr_f32_to_f16(max_scale / 63);
    c->dmin = sr_f32_to_f16(max_offset / 63);
    for (int j = 0; j < 8; j++) {
        c->sc[j] = (uint8_t)sr_roundf_even(sr_clampf(max_scale > 0 ? 63 / max_scale * a[j].scale : 0, 0, 63));
        c->m[j]  = (uint8_t)sr_roundf_even(sr_clampf(max_offset > 0 ? 63 / max_offset * a[j].offset : 0, 0, 63));
    }
    round_codes(x, (float)top, c);
    refit(x, (float)top, c);
}

void sr_encode_q4_K(const float *x, sr_q4_K *y, size_t n)
{
    for (codes c; n; n -= SR_QK, x += SR_QK, y++) {
        encode_affine(x, 15, &c);
        y->d    = c.d;
        y->dmin = c.dmin;
        pack_k4(y->scales, c.sc, c.m);
        for (int i = 0; i < 128; i++)
            y->qs[i] = (uint8_t)(c.q[i / 32 * 64 + i % 32] | c.q[i / 32 * 64 + 32 + i % 32] << 4);
    }
}

void sr_encode_q5_K(const float *x, sr_q5_K *y, size_t n)
{
    for (codes c; n; n -= SR_QK, x += SR_QK, y++) {
        encode_affine(x, 31, &c);
        y->d    = c.d;
        y->dmin = c.dmin;
        pack_k4(y->scales, c.sc, c.m);
        for (int i = 0; i < 128; i++)
            y->qs[i] = (uint8_t)((c.q[i / 32 * 64 + i % 32] & 15) | (c.q[i / 32 * 64 + 32 + i % 32] & 15) << 4);
        for (int i = 0; i < 32; i++) {
            unsigned h = 0;
            for (int j = 0; j < 8; j++)
                h |= (unsigned)(c.q[j * 32 + i] >> 4) << j;
            y->qh[i] = (uint8_t)h;
        }
    }
}

/* ---- x ~ scale * code, codes -32..31: Q6_K ------------------------------------------------------------- */

enum { SUB6 = 16 };

/* Weight x^2; the best scale for given codes is lx / ll and lowers the error by lx^2 / ll. */
static float fit_symmetric(const float x[SUB6])
{
    float peak = 0, best = 0, gain = 0;
    for (int i = 0; i < SUB6; i++)
        if (fabsf(x[i]) > fabsf(peak))
            peak = x[i];
    if (fabsf(peak) < 1e-15f) /* keeps every quotient below finite */
        return 0;
    for (int step = -9; step <= 9; step++) {
        float inv = -(32 + 0.1f * (float)step) / peak, lx[LANES] = {0}, ll[LANES] = {0};
        for (int i = 0; i < SUB6; i += LANES) {
            for (int k = 0; k < LANES; k++) {
                float v = x[i + k], q = sr_roundf_even(sr_clampf(inv * v, -32, 31)), wq = v * v * q;
                lx[k] += wq * v;
                ll[k] += wq * q;
            }
        }
        float slx = sum_lanes(lx), sll = sum_lanes(ll);
        if (sll > 0 && slx * slx > gain * sll) {
            best = slx / sll;
            gain = slx * best;
        }
    }
    return best != 0 ? best : peak / -32; /* squares that vanish or overflow: span the range */
}

static void encode_block_q6_K(const float x[SR_QK], sr_q6_K *y)
{
    float   scale[16], peak = 0;
    uint8_t q[SR_QK];
    memset(y, 0, sizeof *y);
    if (!sr_all_finite(x, SR_QK)) {
        y->d = SR_F16_NAN;
        return;
    }
    for (int j = 0; j < 16; j++) {
        scale[j] = fit_symmetric(x + j * SUB6);
        if (fabsf(scale[j]) > fabsf(peak))
            peak = scale[j];
    }
    if (peak == 0)
        return;
    y->d    = sr_f32_to_f16(peak / -128);
    float d = sr_f16_to_f32(y->d);
    for (int j = 0; j < 16; j++) {
        y->scales[j] = (int8_t)sr_roundf_even(sr_clampf(-128 / peak * scale[j], -128, 127));
        float s = d * y->scales[j], inv = s != 0 ? 1 / s : 0;
        for (int i = j * SUB6; i < (j + 1) * SUB6; i++)
            q[i] = (uint8_t)(sr_roundf_even(sr_clampf(x[i] * inv, -32, 31)) + 32);
    }
    for (int i = 0; i < 128; i++) { /* layout: see decode_q6_K */
        const uint8_t *p = q + i / 64 * 128 + i % 64;
        y->ql[i]         = (uint8_t)((p[0] & 15) | (p[64] & 15) << 4);
    }
    for (int i = 0; i < 64; i++) {
        const uint8_t *p = q + i / 32 * 128 + i % 32;
        y->qh[i] = (uint8_t)(p[0] >> 4 | (p[32] >> 4) << 2 | (p[64] >> 4) << 4 | (p[96] >> 4) << 6);
    }
}

void sr_encode_q6_K(const float *x, sr_q6_K *y, size_t n)
{
    for (; n; n -= SR_QK, x += SR_QK, y++)
        encode_block_q6_K(x, y);
}
