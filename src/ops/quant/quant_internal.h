/* quant_internal.h - what the encoders share.  See quant.h for the formats. */
#ifndef SR_OPS_QUANT_INTERNAL_H
#define SR_OPS_QUANT_INTERNAL_H
#include <math.h>
#include "ops/quant/quant.h"

enum { SR_QK = 256 }; /* numbers in a superblock of the K formats */

void sr_encode_q4_K(const float *x, sr_q4_K *y, size_t n);
void sr_encode_q5_K(const float *x, sr_q5_K *y, size_t n);
void sr_encode_q6_K(const float *x, sr_q6_K *y, size_t n);

/* NaN goes to lo, so that the result always converts to an integer. */
static inline float sr_clampf(float v, float lo, float hi)
{
    v = v > lo ? v : lo;
    return v < hi ? v : hi;
}

/* Round to nearest even for |v| < 2^22: float arithmetic only, so that loops over it become SIMD. */
static inline float sr_roundf_even(float v) { return v + 12582912.0f - 12582912.0f; }

/* Infinities and NaNs cannot be quantised.  Encoders give such a block the scale NaN: it decodes to NaN and
 * the fault stays visible, where clamping would hide it. */
static inline bool sr_all_finite(const float *x, size_t n)
{
    float bad = 0;
    for (size_t i = 0; i < n; i++)
        bad += x[i] * 0.0f; /* 0, or NaN */
    return bad == 0;
}
#define SR_F16_NAN ((uint16_t)0x7e00)
#endif
