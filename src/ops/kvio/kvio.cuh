/* kvio.cuh - a number's way into a page: rotated, coded, put in its place.
 *
 * Shared by kvio.cu and by attention, which in steps of a token a sequence writes what it is about to read (attn/attn_decode.cuh).
 *
 * Threads: device code.  All lanes of a warp call together, with 32 numbers of a head in a row: a block of Q8_0.
 * Bits     those of the reference for all finite numbers, whatever -fmad says; an F16 NaN is a NaN, its payload may differ.
 * Source   ops/rope/rope.h, ops/kvio/kvio.h, ops/quant/quant.h. */
#ifndef SR_OPS_KVIO_CUH
#define SR_OPS_KVIO_CUH
#include "ops/cuda.h"
#include "ops/mma.cuh"
#include "ops/quant/quant.h"

/* One of a pair (x0, x1), turned. */
static __device__ __forceinline__ float sr_rotate(float x0, float x1, float c, float s, bool second)
{
    return second ? fmaf(x0, s, __fmul_rn(x1, c)) : fmaf(x0, c, -__fmul_rn(x1, s));
}

/* Where row `to` of batch.dst has its K (value 0) or V (1) of head h. */
static __device__ __forceinline__ char *sr_kv_row(const sr_kvbind &kv, uint32_t layer, uint32_t value, uint32_t to, uint32_t h)
{
    const uint32_t page = to / kv.page_tokens;
    return (char *)kv.base + page * kv.stride.page + layer * kv.stride.layer + value * kv.stride.kv + (to - page * kv.page_tokens) * kv.stride.tok +
           h * kv.stride.head;
}

typedef struct {
    uint16_t number, scale; /* F16's bits; or a byte, and its block's scale */
} sr_kvcode;

static __device__ __forceinline__ sr_kvcode sr_kv_encode(uint32_t format, float x)
{
    if (format != SR_Q8_0)
        return {__half_as_ushort(__float2half_rn(x)), 0};
    bool     finite = __all_sync(~0u, x * 0.0f == 0.0f);
    float    peak = sr_warp_top(fabsf(x)), d = peak / 127, inv = d != 0 ? 1 / d : 0;
    float    q = fminf(fmaxf(roundf(__fmul_rn(x, inv)), -127.0f), 127.0f);
    uint16_t number = (uint8_t)(int8_t)q, scale = __half_as_ushort(__float2half_rn(d)), none = 0, nan = 0x7e00;
    return {finite ? number : none, finite ? scale : nan};
}

/* Number d of a head's hd. */
static __device__ __forceinline__ void sr_kv_put(uint32_t format, void *row, uint32_t d, uint32_t hd, sr_kvcode c)
{
    if (format != SR_Q8_0) {
        if (d < hd)
            ((uint16_t *)row)[d] = c.number;
        return;
    }
    uint8_t *b    = (uint8_t *)row + d / 32 * sizeof(sr_q8_0);
    b[2 + d % 32] = (uint8_t)c.number;
    if (d % 32 == 0) {
        b[0] = (uint8_t)c.scale;
        b[1] = (uint8_t)(c.scale >> 8);
    }
}
#endif
