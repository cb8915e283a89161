/* chain_form.cuh - x of a product of up to 16 rows as it is multiplied (chain_few.cuh, chain_sixteen.cuh): whoever makes x writes it so, a product or attention.
 *
 * SR_CHAIN_FORM bytes for 256 inputs of eight rows: B operands of the eight 32-blocks, [block][column][t] of 16 bytes (layout.h), of f16 numbers
 * with a factor for 16 inputs and row; [column][16 inputs] sums of these numbers in f32, and words of the sum of squares that a norm wants, f32 but for
 * eight bits, which are the factor's exponent.  Who has 16 inputs of a row, the first a multiple of 16, has all that there is to know of them.
 * More than eight rows: each 256 inputs have two forms, of eight rows each, whose numbers lie as wgmma's shared memory wants them: [block][column][step, h] of
 * 16 bytes, inputs 16 s + 4 t + 2 h + e of it, t from 0 to 3 (layout.h).
 * Threads: device code. */
#ifndef SR_OPS_LINEAR_CHAIN_FORM_CUH
#define SR_OPS_LINEAR_CHAIN_FORM_CUH
#include "ops/linear/chain.h"
#include "ops/mma.cuh"

enum { FORM_SUMS = 4096 };
static_assert((int)SR_CHAIN_FORM == FORM_SUMS + 1024, "");

/* Who looks at x while it is written sees all of eight bytes or nothing. */
__device__ __forceinline__ void form_store(uint8_t *to, uint2 v)
{
#if __CUDA_ARCH__ >= 700
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(to), "l"((uint64_t)v.y << 32 | v.x) : "memory");
#endif
}

/* The form of 256 inputs and of up to eight rows of which `input` and `column` are; wide: there are more than eight, in two forms side by side. */
__device__ __forceinline__ uint8_t *form_of(uint8_t *form, uint32_t input, uint32_t column, bool wide)
{
    return form + (size_t)((input / 256 << wide) + column / 8) * SR_CHAIN_FORM;
}
/* Where an input's group of four begins; where the sum and the word of its 16 are. */
__device__ __forceinline__ uint8_t *form_four(uint8_t *form, uint32_t input, uint32_t column)
{
    return form + input % 256 / 32 * 512 + (column * 4 + input % 16 / 4) * 16 + input % 32 / 16 * 8;
}
/* The same of more than eight rows: of each four of 16 inputs the first or the last two (h), of the first or the last eight inputs. */
__device__ __forceinline__ uint8_t *form_eight(uint8_t *form, uint32_t input, uint32_t column, uint32_t h, uint32_t eight)
{
    return form + input % 256 / 32 * 512 + column * 64 + input % 32 / 16 * 32 + h * 16 + eight * 8;
}
__device__ __forceinline__ void form_sums(uint8_t *form, uint32_t input, uint32_t column, float sum, float squares, uint32_t exponent)
{
    form_store(form + FORM_SUMS + column * 128 + input % 256 / 16 * 8,
               make_uint2(__float_as_uint(sum), (__float_as_uint(squares) & ~255u) | exponent));
}

/* Over the four lanes of a quad, which `among` names. */
__device__ __forceinline__ float quad_sum(float v, uint32_t among = 0xffffffff)
{
    v += __shfl_xor_sync(among, v, 1);
    return v + __shfl_xor_sync(among, v, 2);
}
__device__ __forceinline__ uint32_t quad_top(uint32_t v, uint32_t among = 0xffffffff)
{
    v = max(v, __shfl_xor_sync(among, v, 1));
    return max(v, __shfl_xor_sync(among, v, 2));
}
/* The largest of four magnitudes, as bits: those of what is no number are above all. */
__device__ __forceinline__ uint32_t top_of(const float4 &v)
{
    return max(max(__float_as_uint(v.x) & 0x7fffffff, __float_as_uint(v.y) & 0x7fffffff),
               max(__float_as_uint(v.z) & 0x7fffffff, __float_as_uint(v.w) & 0x7fffffff));
}
__device__ __forceinline__ uint2 halves_of(const float4 &v, float f) { return make_uint2(sr_pack(v.x * f, v.y * f), sr_pack(v.z * f, v.w * f)); }
__device__ __forceinline__ float sum_of_halves(const uint2 &h)
{
    const float2 a = __half22float2(sr_half2_of(h.x)), b = __half22float2(sr_half2_of(h.y));
    return (a.x + a.y) + (b.x + b.y);
}

/* Four inputs from `input` on by each lane of a quad, which has 16 of them; other quads may be elsewhere.  For a product without a norm. */
__device__ __forceinline__ void form_put(uint8_t *forms, uint32_t input, uint32_t column, bool wide, const float4 &v)
{
    const uint32_t quad = 0xfu << (threadIdx.x % 32 & 28), e = sr_f16_exponent(quad_top(top_of(v), quad));
    const uint2 h       = halves_of(v, sr_f16_power(e));
    uint8_t *form       = form_of(forms, input, column, wide);
    const float sum     = quad_sum(sum_of_halves(h), quad);
    if (wide) {
        const bool odd       = threadIdx.x % 2;
        const uint32_t other = __shfl_xor_sync(quad, odd ? h.x : h.y, 1);
        form_store(form_eight(form, input, column % 8, odd, threadIdx.x % 4 / 2), odd ? make_uint2(other, h.y) : make_uint2(h.x, other));
    } else
        form_store(form_four(form, input, column % 8), h);
    if (threadIdx.x % 4 == 0)
        form_sums(form, input, column % 8, sum, 0, e);
}
#endif
