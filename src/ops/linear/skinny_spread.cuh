/* skinny_spread.cuh - one tile of each quantised format against C = 1, 2 or 4 columns, blocks side by side.
 *
 * An mma has eight columns.  With few columns of x the idle ones take other blocks of 32 inputs: column n of the mma is
 * column n % C of x, and of the inputs only block n / C of each set of 8 / C (all others enter as zeros).  Each block's
 * sum then arrives in an accumulator of its own, and scales are applied once a tile instead of once a block; a lane
 * does so for the blocks that its accumulators belong to:
 *
 *     C = 1   one set     lane (g, t): rows g, g + 8 x blocks 2t, 2t + 1
 *     C = 2   two sets    block t of each set, columns 0 and 1
 *     C = 4   four sets   block t / 2 of each set, columns 2t % 4 and 2t % 4 + 1
 *
 * About 1.7 instructions per Q4_K weight and lane; skinny_tile.cuh's needs 2.5.
 *
 * x        as skinny_tile.cuh's, but block 8 holds the sums over 16 inputs as sixteen f32.
 * at[i]    += what the lane knows of (row g + i / 2 * 8, column of 2t + i % 2), in units of 2^-24; lanes of a quad with
 *          the same column hold parts of it (spread_fold).
 */
#ifndef SR_OPS_LINEAR_SKINNY_SPREAD_CUH
#define SR_OPS_LINEAR_SKINNY_SPREAD_CUH
#include "ops/linear/skinny_tile.cuh"

template <int C> struct sr_spread { /* where a lane finds x of a tile, and which of its blocks it brings */
    static constexpr int G = 8 / C; /* blocks of a set */
    const uint8_t *x, *sum[C == 1 ? 1 : 2];
    uint32_t set, step; /* bytes from set to set; from tile to tile */
    half2 mask[G];
    __device__ __forceinline__ void next(void)
    {
        x += step;
        sum[0] += step;
        if (C > 1)
            sum[C == 1 ? 0 : 1] += step;
    }
};

template <int C> __device__ __forceinline__ sr_spread<C> spread_of(const uint8_t *xs, uint32_t m, uint32_t lane)
{
    const uint32_t g = lane / 4, t = lane % 4, row = m * 64;
    sr_spread<C> s;
    s.set  = s.G * row;
    s.step = 9 * row;
    s.x    = xs + g / C * row + min(g % C, m - 1) * 64 + t * 16;
    if (C == 1)
        s.sum[0] = xs + 8 * row + t * 16;
    else
        for (uint32_t i = 0; i < 2; i++) /* column of 2t + i, first block */
            s.sum[i % (C == 1 ? 1 : 2)] = xs + 8 * row + min((2 * t + i) % C, m - 1) * 64 + 2 * t / C * 8;
#pragma unroll
    for (int i = 0; i < s.G; i++)
        s.mask[i] = __float2half2_rn(g / C == i ? 1.0f : 0.0f);
    return s;
}

/* The block of set k that accumulators of column 2t + i belong to. */
template <int C> __device__ __forceinline__ uint32_t spread_block(uint32_t t, int k, int i)
{
    return C == 1 ? 2 * t + i : 8 / C * k + 2 * t / C;
}

__device__ __forceinline__ uint32_t masked(uint32_t v, half2 mask)
{
    return sr_half2_bits(__hmul2(sr_half2_of(v), mask));
}

/* Sums of 16 inputs of that block: two of them. */
template <int C> __device__ __forceinline__ float2 spread_sums(const sr_spread<C> &x, int k, int i)
{
    return C == 1 ? *(const float2 *)(x.sum[0] + i * 8) : *(const float2 *)(x.sum[i % (C == 1 ? 1 : 2)] + k * x.G * 8);
}

/* Byte `at` (known to the lane) of a word as f32 plus 2^23. */
__device__ __forceinline__ float byte_at_f32(uint32_t w, uint32_t at)
{
    return __uint_as_float(__byte_perm(w, 0x4b000000, 0x7550 + at));
}

/* The 32 products of each block and row: p[k], or p[k] and q[k] for steps 0 and 1 (else q is a help).  LOAD(b, s0, s1): the A fragments. */
template <int C, bool APART, class LOAD>
__device__ __forceinline__ void spread_products(const sr_spread<C> &x, float p[C][4], float q[C][4], float sixteen, const LOAD &load)
{
    uint4 v[C];
#pragma unroll
    for (int k = 0; k < C; k++) {
        v[k] = at16(x.x + k * x.set);
#pragma unroll
        for (int i = 0; i < 4; i++)
            p[k][i] = q[k][i] = 0;
    }
#pragma unroll
    for (int b = 0; b < 8; b++) {
        sr_frag_a s0, s1;
        load(b, s0, s1);
        const int k      = b / x.G;
        const half2 mask = x.mask[b % x.G], mask1 = sixteen == 1 ? mask : __hmul2(mask, __float2half2_rn(sixteen));
        float *first = C == 1 && !APART && b % 2 ? q[k] : p[k]; /* two chains of half the length where there is one set */
        sr_mma(first, s0, masked(v[k].x, mask), masked(v[k].y, mask));
        sr_mma(APART ? q[k] : first, s1, masked(v[k].z, mask1), masked(v[k].w, mask1));
    }
    if (C == 1 && !APART)
#pragma unroll
        for (int i = 0; i < 4; i++)
            p[0][i] += q[0][i];
}

template <int F, int C>
__device__ __forceinline__ void spread_k45(const uint8_t *w, const sr_spread<C> &x, uint32_t lane, float at[4])
{
    const uint32_t t = lane % 4;
    float p[C][4], unused[C][4];
    uint4 word;
    uint32_t top;
    spread_products<C, false>(x, p, unused, 1, [&](int b, sr_frag_a &s0, sr_frag_a &s1) {
        if (b % 2 == 0) {
            word = at16(w + b / 2 * 512 + lane * 16);
            top  = F == SR_Q5_K ? at4(w + 2304 + lane * 16 + b / 2 * 4) : 0;
        }
        nibbles(b % 2 ? word.z : word.x, b % 2 ? word.w : word.y, s0, s1);
        if (F == SR_Q5_K)
#pragma unroll
            for (int i = 0; i < 4; i++)
                top_bits(top, fifth_at(b % 2, i), 0x00100010, i, s0, s1);
    });
#pragma unroll
    for (int h = 0; h < 2; h++) {
        kscales s = kscales_of(at16(w + 2048 + h * 128 + lane / 4 * 16));
        float big = s.d * -8388608.0f, less = s.dmin * -0x1p-24f, big_less = less * -8388608.0f;
#pragma unroll
        for (int k = 0; k < C; k++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                uint32_t b = spread_block<C>(t, k, i), sc = (uint32_t)(s.sc >> b / 4 * 32), m = (uint32_t)(s.m >> b / 4 * 32);
                float2 sum = spread_sums(x, k, i);
                float g    = fmaf(byte_at_f32(sc, b % 4), s.d, big); /* exact: six bits times eleven */
                float l    = fmaf(byte_at_f32(m, b % 4), less, big_less);
                at[2 * h + i] = fmaf(p[k][2 * h + i], g, fmaf(sum.x + sum.y, l, at[2 * h + i]));
            }
    }
}

template <int C> __device__ __forceinline__ void spread_k6(const uint8_t *w, const sr_spread<C> &x, uint32_t lane, float at[4])
{
    const uint32_t t = lane % 4;
    float p[C][4], q[C][4];
    uint4 word;
    uint2 top;
    spread_products<C, true>(x, p, q, 1, [&](int b, sr_frag_a &s0, sr_frag_a &s1) {
        if (b % 2 == 0) {
            word = at16(w + b / 2 * 512 + lane * 16);
            top  = at8(w + 2304 + b / 2 * 256 + lane * 8);
        }
        nibbles(b % 2 ? word.z : word.x, b % 2 ? word.w : word.y, s0, s1);
#pragma unroll
        for (int i = 0; i < 4; i++)
            top_bits(b % 2 ? top.y : top.x, high_at(i), 0x00300030, i, s0, s1);
    });
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const float d = __half2float(*(const half *)(w + 3328 + h * 16 + lane / 4 * 2));
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float v = 0;
#pragma unroll
            for (int k = 0; k < C; k++) { /* groups 2b and 2b + 1 of sixteen: bytes of one word */
                uint32_t b = spread_block<C>(t, k, i), sc = at4(w + 2048 + h * 128 + lane / 4 * 16 + b / 2 * 4) ^ 0x80808080;
                float2 sum = spread_sums(x, k, i);
                float g0   = byte_at_f32(sc, b % 2 * 2) - 8388736.0f, g1 = byte_at_f32(sc, b % 2 * 2 + 1) - 8388736.0f;
                v          = fmaf(fmaf(sum.x, -32 * 0x1p-24f, p[k][2 * h + i]), g0, v);
                v          = fmaf(fmaf(sum.y, -32 * 0x1p-24f, q[k][2 * h + i]), g1, v);
            }
            at[2 * h + i] = fmaf(v, d, at[2 * h + i]);
        }
    }
}

/* Q4_0, Q8_0: bytes cannot be had times 16 in ten bits, so x of step 1 is multiplied instead. */
template <int F, int C> __device__ __forceinline__ void spread_0(const uint8_t *w, const sr_spread<C> &x, uint32_t lane, float at[4])
{
    const uint32_t t = lane % 4;
    float p[C][4], unused[C][4];
    uint4 word;
    spread_products<C, false>(x, p, unused, F == SR_Q8_0 ? 16.0f : 1.0f, [&](int b, sr_frag_a &s0, sr_frag_a &s1) {
        if (F == SR_Q8_0) {
            word = at16(w + b * 512 + lane * 16);
            bytes_of(word.x, s0.r[0], s0.r[2]);
            bytes_of(word.y, s0.r[1], s0.r[3]);
            bytes_of(word.z, s1.r[0], s1.r[2]);
            bytes_of(word.w, s1.r[1], s1.r[3]);
            return;
        }
        if (b % 2 == 0)
            word = at16(w + b / 2 * 512 + lane * 16);
        nibbles(b % 2 ? word.z : word.x, b % 2 ? word.w : word.y, s0, s1);
    });
    constexpr float zero = (F == SR_Q8_0 ? -128 : -8) * 0x1p-24f;
    const uint8_t *scales = w + (F == SR_Q8_0 ? 4096 : 2048) + lane / 4 * 16;
#pragma unroll
    for (int h = 0; h < 2; h++)
#pragma unroll
        for (int k = 0; k < C; k++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float g       = __half2float(*(const half *)(scales + h * 128 + spread_block<C>(t, k, i) * 2));
                float2 sum    = spread_sums(x, k, i);
                at[2 * h + i] = fmaf(fmaf(sum.x + sum.y, zero, p[k][2 * h + i]), g, at[2 * h + i]);
            }
}

template <int F, int C>
__device__ __forceinline__ void tile_multiply_spread(const uint8_t *w, const sr_spread<C> &x, uint32_t lane, float at[4])
{
    if constexpr (F == SR_Q4_K || F == SR_Q5_K)
        spread_k45<F, C>(w, x, lane, at);
    else if constexpr (F == SR_Q6_K)
        spread_k6<C>(w, x, lane, at);
    else
        spread_0<F, C>(w, x, lane, at);
}

/* The lanes' parts become what the accumulators of an mma with C columns are (those of columns beyond C: anything). */
template <int C> __device__ __forceinline__ void spread_fold(float acc[4])
{
    if (C == 1) {
        acc[0] += acc[1];
        acc[2] += acc[3];
    }
#pragma unroll
    for (int i = 0; i < 4; i += C == 1 ? 2 : 1)
#pragma unroll
        for (int j = C == 4 ? 2 : 1; j < 4; j *= 2)
            acc[i] += __shfl_xor_sync(0xffffffff, acc[i], j);
}
#endif
