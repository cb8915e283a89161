/* mathf.h - exp, log, tanh, sine and cosine that give the same bits on every machine.
 *
 * The C library's differ between versions and have no vector form.  These are short polynomials in f32
 * evaluated by fma in a stated order (sine and cosine: in double, without fma), so that a vector
 * kernel which follows the same steps in each lane gets the same bits (ops/v16.h does).
 *
 *   function        largest error     range          (errors: mathf_test.c)
 *   sr_expf         0.9 ulp           below -87.3365 (a subnormal result): 0; above 88.7228: infinity
 *   sr_logf         0.8 ulp           all; subnormals too; 0: -infinity; below 0: NaN
 *   sr_tanhf        1.4 ulp           all
 *   sr_sincosf      0.501 ulp         |x| < 1.6e6; then the argument's reduction loses bits slowly
 *
 * NaN in, NaN out.  Errors: none.   Threads: any, pure functions.
 * Source:  polynomials fitted for this file (Remez exchange, relative error); the reductions are
 *          Cody & Waite, "Software Manual for the Elementary Functions", 1980.
 */
#ifndef SR_OPS_MATHF_H
#define SR_OPS_MATHF_H
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifndef SR_HD
#ifdef __CUDACC__
#define SR_HD __host__ __device__ /* compiled with -fmad=false: a contraction would change bits */
#else
#define SR_HD
#endif
#endif

static inline SR_HD uint32_t sr_bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline SR_HD float sr_float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

#define SR_EXP_MIN   (-87.3365f)       /* below: the result would be subnormal, and is 0 */
#define SR_EXP_MAX   88.7228f
#define SR_LOG2E     1.44269502f
#define SR_LN2_HI    0.693147182f      /* f32(ln 2) and what it lacks */
#define SR_LN2_LO    (-1.9046543e-9f)
#define SR_ROUNDER   12582912.0f       /* 1.5 * 2^23: adding it rounds to an integer, kept in the low bits */
#define SR_EXP_C2    4.999999404e-1f
#define SR_EXP_C3    1.666651964e-1f
#define SR_EXP_C4    4.166839644e-2f
#define SR_EXP_C5    8.368789218e-3f
#define SR_EXP_C6    1.381502836e-3f

/* e^x = 2^n * e^r, n = round(x / ln 2), |r| <= ln 2 / 2.  2^n is added to the exponent bits: the limits
 * of x keep the result a normal number. */
static inline SR_HD float sr_expf(float x)
{
    if (!(x <= SR_EXP_MAX))
        return x + INFINITY; /* NaN stays NaN */
    if (x < SR_EXP_MIN)
        return 0.0f;
    float t = fmaf(x, SR_LOG2E, SR_ROUNDER);
    float n = t - SR_ROUNDER;
    float r = fmaf(-n, SR_LN2_HI, x);
    r       = fmaf(-n, SR_LN2_LO, r);
    float q = fmaf(SR_EXP_C6, r, SR_EXP_C5);
    q       = fmaf(q, r, SR_EXP_C4);
    q       = fmaf(q, r, SR_EXP_C3);
    q       = fmaf(q, r, SR_EXP_C2);
    q       = fmaf(q, r, 1.0f);
    q       = fmaf(q, r, 1.0f);
    return sr_float_of(sr_bits_of(q) + (sr_bits_of(t) << 23));
}

#define SR_LOG_C3    3.333331347e-1f
#define SR_LOG_C4    (-2.500000894e-1f)
#define SR_LOG_C5    2.000212371e-1f
#define SR_LOG_C6    (-1.666800380e-1f)
#define SR_LOG_C7    1.421945989e-1f
#define SR_LOG_C8    (-1.240535453e-1f)
#define SR_LOG_C9    1.188865975e-1f
#define SR_LOG_C10   (-1.167742610e-1f)
#define SR_LOG_C11   6.747706980e-2f
#define SR_SQRT_HALF 0x3f3504f3u       /* bits of sqrt(1/2) */

/* x = 2^e * m, m in [sqrt(1/2), sqrt(2)), f = m - 1: log x = e ln 2 + f - f^2/2 + f^3 P(f). */
static inline SR_HD float sr_logf(float x)
{
    if (!(x > 0.0f))
        return x == 0.0f ? -INFINITY : NAN;
    if (x == INFINITY)
        return x;
    float scale = 0.0f;
    if (x < 0x1p-126f) {
        x *= 0x1p23f;
        scale = -23.0f;
    }
    uint32_t u = sr_bits_of(x) - SR_SQRT_HALF;
    float    e = (float)((int32_t)u >> 23) + scale;
    float    f = sr_float_of((u & 0x7fffff) + SR_SQRT_HALF) - 1.0f;
    float    p = fmaf(SR_LOG_C11, f, SR_LOG_C10);
    p          = fmaf(p, f, SR_LOG_C9);
    p          = fmaf(p, f, SR_LOG_C8);
    p          = fmaf(p, f, SR_LOG_C7);
    p          = fmaf(p, f, SR_LOG_C6);
    p          = fmaf(p, f, SR_LOG_C5);
    p          = fmaf(p, f, SR_LOG_C4);
    p          = fmaf(p, f, SR_LOG_C3);
    float z = f * f;
    float y = fmaf(p * f, z, e * SR_LN2_LO); /* small terms first */
    y       = fmaf(-0.5f, z, y);
    return fmaf(e, SR_LN2_HI, f + y);
}

#define SR_TANH_SMALL 0.625f           /* below: a polynomial; above: 1 - 2/(e^2x + 1) loses nothing */
#define SR_TANH_C3    (-3.333328366e-1f)
#define SR_TANH_C5    1.333145350e-1f
#define SR_TANH_C7    (-5.374035239e-2f)
#define SR_TANH_C9    2.064057440e-2f
#define SR_TANH_C11   (-5.706169643e-3f)

static inline SR_HD float sr_tanhf(float x)
{
    float a = fabsf(x);
    if (a < SR_TANH_SMALL) {
        float z = x * x;
        float p = fmaf(SR_TANH_C11, z, SR_TANH_C9);
        p       = fmaf(p, z, SR_TANH_C7);
        p       = fmaf(p, z, SR_TANH_C5);
        p       = fmaf(p, z, SR_TANH_C3);
        return fmaf(p * z, x, x);
    }
    float y = 1.0f - 2.0f / (sr_expf(a + a) + 1.0f);
    return copysignf(y, x);
}

/* x = q * pi/2 + r: pi/2 in two parts, the first of 33 bits, so that q times it is exact to q = 2^20. */
static inline SR_HD double sr_quarter(float x, int *q)
{
    double n = rint((double)x * 0.6366197723675814);
    *q       = (int)((int64_t)n & 3);
    return ((double)x - n * 1.5707963267341256) - n * 6.077100506506192e-11;
}

static inline SR_HD double sr_sin_kernel(double r)
{
    double z = r * r;
    return r + r * z * (-0.166666666409869361 + z * (0.00833332931265995046 +
                        z * (-0.000198393122630051014 + z * 2.71810671140327388e-6)));
}

static inline SR_HD double sr_cos_kernel(double r)
{
    double z = r * r;
    return 1.0 - 0.5 * z + z * z * (0.0416666666226705384 + z * (-0.00138888837396632445 +
                           z * (0.000024799516308573692 + z * -2.72099252985357719e-7)));
}

/* Both at once: they share the reduction.  Infinite or NaN: NaN. */
static inline SR_HD void sr_sincosf(float x, float *sine, float *cosine)
{
    if (!(fabsf(x) < INFINITY)) {
        *sine = *cosine = NAN;
        return;
    }
    int    q;
    double r = sr_quarter(x, &q), s = sr_sin_kernel(r), c = sr_cos_kernel(r);
    double a = q & 1 ? c : s, b = q & 1 ? s : c;
    *sine    = (float)(q & 2 ? -a : a);
    *cosine  = (float)((q + 1) & 2 ? -b : b);
}

/* Sixteen partial sums to one: lanes i and i+8, then i+4, i+2, i+1. */
static inline SR_HD float sr_fold16(const float v[16])
{
    float a[8];
    for (int i = 0; i < 8; i++)
        a[i] = v[i] + v[i + 8];
    for (int n = 4; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            a[i] = a[i] + a[i + n];
    return a[0];
}
#endif
