/* attn_numbers.cuh - numbers of stored rows as f16: as they are (F16), or decoded from blocks of 34 bytes (Q8_0).
 *
 * A byte b becomes 1024 + 128 + b by a byte permute, less 1152, times the block's scale: both exact but for the last rounding.
 * Blocks lie at even addresses: eight bytes of one are read as three words and shifted into place.
 */
#ifndef SR_OPS_ATTN_NUMBERS_CUH
#define SR_OPS_ATTN_NUMBERS_CUH
#include "ops/mma.cuh"
#include "ops/quant/quant.h"

/* Four bytes as two pairs. */
__device__ __forceinline__ uint2 four_bytes(uint32_t x, half2 scale)
{
    const half2 zero = __float2half2_rn(1152.0f);
    x ^= 0x80808080;
    return make_uint2(sr_half2_bits(__hmul2(__hsub2(sr_half2_of(__byte_perm(x, 0x64646464, 0x4140)), zero), scale)),
                      sr_half2_bits(__hmul2(__hsub2(sr_half2_of(__byte_perm(x, 0x64646464, 0x4342)), zero), scale)));
}

/* Numbers d .. d + 2 * WORDS - 1 of a row, d a multiple of that, in pairs. */
template <int F, int WORDS> __device__ __forceinline__ void numbers(const uint8_t *row, uint32_t d, uint32_t *out)
{
    if constexpr (F == SR_F16) {
        if constexpr (WORDS == 4) {
            uint4 v = *(const uint4 *)(row + d * 2);
            out[0] = v.x, out[1] = v.y, out[2] = v.z, out[3] = v.w;
        } else if constexpr (WORDS == 2) {
            uint2 v = *(const uint2 *)(row + d * 2);
            out[0] = v.x, out[1] = v.y;
        } else
            out[0] = *(const uint32_t *)(row + d * 2);
    } else {
        const uint8_t *b = row + d / 32 * 34, *p = b + 2 + d % 32;
        const uint32_t odd = (uint32_t)(size_t)p & 2, *w = (const uint32_t *)(p - odd);
        const half2 scale  = __half2half2(*(const half *)b);
        uint32_t low       = w[0];
#pragma unroll
        for (int i = 0; i < WORDS / 2; i++) {
            uint32_t high  = i + 1 < WORDS / 2 || odd ? w[i + 1] : 0;
            uint2 v        = four_bytes(__funnelshift_r(low, high, odd * 8), scale);
            low            = high;
            out[2 * i]     = v.x;
            out[2 * i + 1] = v.y;
        }
    }
}

/* The 32 numbers of a block of Q8_0 as they are stored, shifted into place. */
__device__ __forceinline__ half2 block_bytes(const uint8_t *b, uint32_t w[8])
{
    const uint32_t odd = ~(uint32_t)(size_t)b & 2, *p = (const uint32_t *)(b + 2 - odd); /* of the bytes, two further */
    uint32_t low       = p[0];
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const uint32_t high = i < 7 || odd ? p[i + 1] : 0;
        w[i]                = __funnelshift_r(low, high, odd * 8);
        low                 = high;
    }
    return __half2half2(*(const half *)b);
}

/* Eight numbers as stored, between the load and the decoding. */
template <int F> struct raw8;
template <> struct raw8<SR_F16> {
    uint4 x;
};
template <> struct raw8<SR_Q8_0> {
    uint32_t w[3], scale_odd; /* scale, and 2 << 16 if the bytes begin in the middle of w[0] */
};

template <int F> __device__ __forceinline__ raw8<F> raw_load(const uint8_t *row, uint32_t d)
{
    raw8<F> r;
    if constexpr (F == SR_F16)
        r.x = *(const uint4 *)(row + d * 2);
    else {
        const uint8_t *b = row + d / 32 * 34, *p = b + 2 + d % 32;
        const uint32_t odd = (uint32_t)(size_t)p & 2, *w = (const uint32_t *)(p - odd);
        r.w[0]      = w[0];
        r.w[1]      = w[1];
        r.w[2]      = odd ? w[2] : 0;
        r.scale_odd = *(const uint16_t *)b | odd << 16;
    }
    return r;
}

template <int F> __device__ __forceinline__ uint4 raw_numbers(const raw8<F> &r)
{
    if constexpr (F == SR_F16)
        return r.x;
    else {
        const half2 scale    = sr_half2_of(__byte_perm(r.scale_odd, 0, 0x1010));
        const uint32_t shift = r.scale_odd >> 13 & 16;
        uint2 x = four_bytes(__funnelshift_r(r.w[0], r.w[1], shift), scale), y = four_bytes(__funnelshift_r(r.w[1], r.w[2], shift), scale);
        return make_uint4(x.x, x.y, y.x, y.y);
    }
}
#endif
