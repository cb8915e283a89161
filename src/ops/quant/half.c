/* The 16-bit floats in portable C: all results equal the hardware's (F16C, AVX512-BF16) in round to nearest
 * even; NaNs stay NaNs and become quiet.
 */
#include "ops/quant/quant.h"

#include <string.h>

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float sr_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 0x1f, man = h & 0x3ff;
    if (exp == 0) /* zero and subnormals: man * 2^-24, exact in f32 */
        return float_of(sign | bits_of((float)man * 0x1p-24f));
    if (exp == 0x1f) /* infinity; a signalling NaN is made quiet */
        return float_of(sign | 0x7f800000 | man << 13 | (man ? 0x400000 : 0));
    return float_of(sign | (exp + 112) << 23 | man << 13);
}

uint16_t sr_f32_to_f16(float f)
{
    uint32_t u = bits_of(f), a = u & 0x7fffffff;
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    if (a > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff));
    if (a >= 0x477ff000) /* 65520: half way from the largest finite number to the next step, ties to even */
        return (uint16_t)(sign | 0x7c00);
    if (a < 0x38800000) /* below 2^-14: adding 0.5 leaves the subnormal's bits, rounded by the adder */
        return (uint16_t)(sign | (bits_of(float_of(a) + 0.5f) - bits_of(0.5f)));
    a += 0xfff + (a >> 13 & 1); /* a carry into the exponent is the right answer */
    return (uint16_t)(sign | (a - ((uint32_t)112 << 23)) >> 13);
}

float sr_bf16_to_f32(uint16_t h) { return float_of((uint32_t)h << 16); }

uint16_t sr_f32_to_bf16(float f)
{
    uint32_t u = bits_of(f);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
