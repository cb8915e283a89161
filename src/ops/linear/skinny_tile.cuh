/* skinny_tile.cuh - one tile of each format against NT x 8 columns, in registers.
 *
 *   at[nt][i] += sum over the tile of w * x, in units of 2^-24 (quantised formats) or 1 (F16, BF16)
 *
 * Codes go into the tensor cores as f16 subnormals (q * 2^-24, exact), 32 or 16 products of one scale at a
 * time; the sum is scaled in f32.  Offsets (minimums; -8, -32, -128) are one further product with the sums of
 * x over 16 inputs, which are kept as two halves so that nothing is lost.  About 2.5 instructions per Q4_K
 * weight and lane.
 *
 * x        get(block, nt): 16 bytes of a lane's column, steps 0 and 1 (the latter divided by 16); block 8: the sums.  In memory (sr_cols), or in
 *          registers (chain_few.cuh)
 */
#ifndef SR_OPS_LINEAR_SKINNY_TILE_CUH
#define SR_OPS_LINEAR_SKINNY_TILE_CUH
#include "ops/linear/layout.h"
#include "ops/mma.cuh"

#define LOW 0x000f000fu
#define HIGH 0x00f000f0u

template <int NT> struct sr_cols { /* where a lane finds x */
    const uint8_t *xs;
    uint32_t row; /* bytes from block to block */
    uint32_t off[NT];
    __device__ __forceinline__ uint4 get(int b, int nt) const { return *(const uint4 *)(xs + b * row + off[nt]); }
};

__device__ __forceinline__ uint4 at16(const uint8_t *p) { return *(const uint4 *)p; }
__device__ __forceinline__ uint2 at8(const uint8_t *p) { return *(const uint2 *)p; }
__device__ __forceinline__ uint32_t at4(const uint8_t *p) { return *(const uint32_t *)p; }

/* The two A fragments of a 32-block from its words of nibbles, of rows g and g + 8: f16 subnormals, those of step 1 times 16. */
__device__ __forceinline__ void nibbles(uint32_t w0, uint32_t w1, sr_frag_a &s0, sr_frag_a &s1)
{
    s0.r[0] = w0 & LOW;
    s0.r[1] = w1 & LOW;
    s0.r[2] = w0 >> 8 & LOW;
    s0.r[3] = w1 >> 8 & LOW;
    s1.r[0] = w0 & HIGH;
    s1.r[1] = w1 & HIGH;
    s1.r[2] = w0 >> 8 & HIGH;
    s1.r[3] = w1 >> 8 & HIGH;
}

/* Where register i = 2h + row finds its further bits, of block b of a pair. */
__device__ __forceinline__ constexpr int fifth_at(int b, int i) { return i / 2 * 8 + b * 2 + i % 2; }
__device__ __forceinline__ constexpr int high_at(int i) { return i / 2 * 8 + i % 2 * 2; }

/* Bits of t at `at` at bit 4. */
__device__ __forceinline__ uint32_t to_fourth(uint32_t t, int at) { return at <= 4 ? t << (4 - at & 31) : t >> (at - 4 & 31); }

/* Bits of t at `at` (step 0) and at + 4 (step 1) go behind the nibble of register i. */
__device__ __forceinline__ void top_bits(uint32_t t, int at, uint32_t mask, int i, sr_frag_a &s0,
                                         sr_frag_a &s1)
{
    t = to_fourth(t, at);
    s0.r[i] |= t & mask;
    s1.r[i] |= t & mask << 4;
}

/* A word of bytes: registers h = 0 and 1. */
__device__ __forceinline__ void bytes_of(uint32_t w, uint32_t &h0, uint32_t &h1)
{
    h0 = __byte_perm(w, 0, 0x4240);
    h1 = __byte_perm(w, 0, 0x4341);
}

/* Byte i of four, as f32 plus 2^23. */
__device__ __forceinline__ float byte_f32(uint32_t w, int i)
{
    return __uint_as_float(__byte_perm(w, 0x4b000000, 0x7550 + i));
}

__device__ __forceinline__ void add_scaled(float at[4], const float v[4], float g, float h)
{
    at[0] = fmaf(v[0], g, at[0]);
    at[1] = fmaf(v[1], g, at[1]);
    at[2] = fmaf(v[2], h, at[2]);
    at[3] = fmaf(v[3], h, at[3]);
}

/* at += (A . sums of x) * (g, h): A's inputs 4t .. 4t+3 are the tile's sixteen 16-groups. */
template <int NT, class X>
__device__ __forceinline__ void offsets(const X &x, const sr_frag_a &a, float g, float h,
                                        float at[NT][4])
{
#pragma unroll
    for (int nt = 0; nt < NT; nt++) {
        uint4 s = x.get(8, nt);
        float v[4];
        sr_mma0(v, a, s.x, s.y);
        sr_mma(v, a, s.z, s.w);
        add_scaled(at[nt], v, g, h);
    }
}

struct kscales {
    uint64_t sc, m;
    float d, dmin;
}; /* of one row: eight 6-bit scales and minimums as bytes */
__device__ __forceinline__ kscales kscales_of(const uint4 &h)
{
    kscales s;
    float2 d = __half22float2(sr_half2_of(h.x));
    s.d      = d.x;
    s.dmin   = d.y;
    s.sc     = (h.y & 0x3f3f3f3f) | (uint64_t)((h.w & 0x0f0f0f0f) | (h.y >> 2 & 0x30303030)) << 32;
    s.m      = (h.z & 0x3f3f3f3f) | (uint64_t)((h.w >> 4 & 0x0f0f0f0f) | (h.z >> 2 & 0x30303030)) << 32;
    return s;
}

/* Q4_K, Q5_K: scales and minimums of 32. */
template <int F, int NT, class X>
__device__ __forceinline__ void tile_k45(const uint8_t *w, const X &x, uint32_t lane,
                                         float at[NT][4])
{
    const uint32_t t = lane % 4;
    kscales s[2] = {kscales_of(at16(w + 2048 + lane / 4 * 16)), kscales_of(at16(w + 2176 + lane / 4 * 16))};
    float big[2] = {s[0].d * -8388608.0f, s[1].d * -8388608.0f};
    uint64_t mg = s[0].m >> (t * 16), mh = s[1].m >> (t * 16);
    sr_frag_a a       = {{__byte_perm((uint32_t)mg, 0, 0x4040), __byte_perm((uint32_t)mh, 0, 0x4040),
                          __byte_perm((uint32_t)mg, 0, 0x4141), __byte_perm((uint32_t)mh, 0, 0x4141)}};
#pragma unroll
    for (int j = 0; j < 4; j++) {
        uint4 q      = at16(w + j * 512 + lane * 16);
        uint32_t top = F == SR_Q5_K ? at4(w + 2304 + lane * 16 + j * 4) : 0;
#pragma unroll
        for (int b = 0; b < 2; b++) {
            sr_frag_a s0, s1;
            nibbles(b ? q.z : q.x, b ? q.w : q.y, s0, s1);
            if (F == SR_Q5_K)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    top_bits(top, fifth_at(b, i), 0x00100010, i, s0, s1);
            float g = fmaf(byte_f32((uint32_t)s[0].sc, b), s[0].d, big[0]); /* exact: six bits times eleven */
            float h = fmaf(byte_f32((uint32_t)s[1].sc, b), s[1].d, big[1]);
#pragma unroll
            for (int nt = 0; nt < NT; nt++) {
                uint4 v = x.get(2 * j + b, nt);
                float p[4];
                sr_mma0(p, s0, v.x, v.y);
                sr_mma(p, s1, v.z, v.w);
                add_scaled(at[nt], p, g, h);
            }
        }
        s[0].sc >>= 16;
        s[1].sc >>= 16;
    }
    offsets<NT>(x, a, -s[0].dmin, -s[1].dmin, at);
}

/* Q6_K: scales of 16, a step each. */
template <int NT, class X>
__device__ __forceinline__ void tile_k6(const uint8_t *w, const X &x, uint32_t lane,
                                        float at[NT][4])
{
    const uint8_t *sg = w + 2048 + lane / 4 * 16, *sh = sg + 128;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        uint4 q     = at16(w + j * 512 + lane * 16);
        uint2 top   = at8(w + 2304 + j * 256 + lane * 8);
        uint32_t g4 = at4(sg + j * 4) ^ 0x80808080, h4 = at4(sh + j * 4) ^ 0x80808080; /* scales + 128 */
#pragma unroll
        for (int b = 0; b < 2; b++) {
            sr_frag_a s0, s1;
            nibbles(b ? q.z : q.x, b ? q.w : q.y, s0, s1);
#pragma unroll
            for (int i = 0; i < 4; i++)
                top_bits(b ? top.y : top.x, high_at(i), 0x00300030, i, s0, s1);
            float g0 = byte_f32(g4, b * 2) - 8388736.0f, g1 = byte_f32(g4, b * 2 + 1) - 8388736.0f;
            float h0 = byte_f32(h4, b * 2) - 8388736.0f, h1 = byte_f32(h4, b * 2 + 1) - 8388736.0f;
#pragma unroll
            for (int nt = 0; nt < NT; nt++) {
                uint4 v = x.get(2 * j + b, nt);
                float p[4];
                sr_mma0(p, s0, v.x, v.y);
                add_scaled(at[nt], p, g0, h0);
                sr_mma0(p, s1, v.z, v.w);
                add_scaled(at[nt], p, g1, h1);
            }
        }
    }
    const half2 zero = __float2half2_rn(1152.0f); /* 1024 + 128 */
    uint32_t wg = at4(sg + lane % 4 * 4) ^ 0x80808080, wh = at4(sh + lane % 4 * 4) ^ 0x80808080;
    sr_frag_a a;
    a.r[0] = sr_half2_bits(__hsub2(sr_half2_of(__byte_perm(wg, 0x64646464, 0x4140)), zero));
    a.r[1] = sr_half2_bits(__hsub2(sr_half2_of(__byte_perm(wh, 0x64646464, 0x4140)), zero));
    a.r[2] = sr_half2_bits(__hsub2(sr_half2_of(__byte_perm(wg, 0x64646464, 0x4342)), zero));
    a.r[3] = sr_half2_bits(__hsub2(sr_half2_of(__byte_perm(wh, 0x64646464, 0x4342)), zero));
    offsets<NT>(x, a, -32 * 0x1p-24f, -32 * 0x1p-24f, at);
    float dg = __half2float(*(const half *)(w + 3328 + lane / 4 * 2)),
          dh = __half2float(*(const half *)(w + 3344 + lane / 4 * 2));
#pragma unroll
    for (int nt = 0; nt < NT; nt++) {
        at[nt][0] *= dg;
        at[nt][1] *= dg;
        at[nt][2] *= dh;
        at[nt][3] *= dh;
    }
}

/* Q4_0, Q8_0: f16 scales of 32, no minimum. */
template <int F, int NT, class X>
__device__ __forceinline__ void tile_0(const uint8_t *w, const X &x, uint32_t lane, float at[NT][4])
{
    const uint8_t *sg = w + (F == SR_Q8_0 ? 4096 : 2048) + lane / 4 * 16, *sh = sg + 128;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        float2 dg = __half22float2(sr_half2_of(at4(sg + j * 4))),
               dh = __half22float2(sr_half2_of(at4(sh + j * 4)));
        uint4 q   = at16(w + j * (F == SR_Q8_0 ? 1024 : 512) + lane * 16);
#pragma unroll
        for (int b = 0; b < 2; b++) {
            float g = b ? dg.y : dg.x, h = b ? dh.y : dh.x;
            sr_frag_a s0, s1;
            if (F == SR_Q8_0) {
                if (b)
                    q = at16(w + j * 1024 + 512 + lane * 16);
                bytes_of(q.x, s0.r[0], s0.r[2]);
                bytes_of(q.y, s0.r[1], s0.r[3]);
                bytes_of(q.z, s1.r[0], s1.r[2]);
                bytes_of(q.w, s1.r[1], s1.r[3]);
            } else
                nibbles(b ? q.z : q.x, b ? q.w : q.y, s0, s1);
#pragma unroll
            for (int nt = 0; nt < NT; nt++) {
                uint4 v = x.get(2 * j + b, nt);
                float p[4];
                sr_mma0(p, s0, v.x, v.y);
                if (F == SR_Q8_0) { /* bytes cannot be had times 16 in ten bits */
                    add_scaled(at[nt], p, g, h);
                    sr_mma0(p, s1, v.z, v.w);
                    add_scaled(at[nt], p, g * 16, h * 16);
                } else {
                    sr_mma(p, s1, v.z, v.w);
                    add_scaled(at[nt], p, g, h);
                }
            }
        }
    }
    uint32_t wg = at4(sg + lane % 4 * 4), wh = at4(sh + lane % 4 * 4);
    sr_frag_a a = {{__byte_perm(wg, 0, 0x1010), __byte_perm(wh, 0, 0x1010), __byte_perm(wg, 0, 0x3232),
                    __byte_perm(wh, 0, 0x3232)}};
    constexpr float zero = (F == SR_Q8_0 ? -128 : -8) * 0x1p-24f;
    offsets<NT>(x, a, zero, zero, at);
}

/* bf16 taken as f16: exact for 2^-17 <= |w| <= 65504, which weights keep to. */
__device__ __forceinline__ uint32_t bf16_f16(uint32_t w)
{
    return sr_pack(__uint_as_float(w << 16), __uint_as_float(w & 0xffff0000));
}

/* 64 inputs: blocks b0, b0 + 1. */
template <int F, int NT, class X>
__device__ __forceinline__ void tile_half(const uint8_t *w, const X &x, uint32_t lane, uint32_t b0,
                                          float at[NT][4])
{
    const half2 sixteen = __float2half2_rn(16.0f);
#pragma unroll
    for (int b = 0; b < 2; b++) {
        sr_frag_a s[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            uint4 v = at16(w + (b * 2 + i) * 512 + lane * 16);
            s[i]    = {{v.x, v.y, v.z, v.w}};
#pragma unroll
            for (int k = 0; k < 4 && F == SR_BF16; k++)
                s[i].r[k] = bf16_f16(s[i].r[k]);
        }
#pragma unroll
        for (int nt = 0; nt < NT; nt++) {
            uint4 v = x.get(b0 + b, nt);
            sr_mma(at[nt], s[0], v.x, v.y);
            sr_mma(at[nt], s[1], sr_half2_bits(__hmul2(sr_half2_of(v.z), sixteen)),
                   sr_half2_bits(__hmul2(sr_half2_of(v.w), sixteen)));
        }
    }
}

template <int F, int NT, class X>
__device__ __forceinline__ void tile_multiply(const uint8_t *w, const X &x, uint32_t lane,
                                              uint32_t b0, float at[NT][4])
{
    if constexpr (F == SR_Q4_K || F == SR_Q5_K)
        tile_k45<F, NT>(w, x, lane, at);
    else if constexpr (F == SR_Q6_K)
        tile_k6<NT>(w, x, lane, at);
    else if constexpr (F == SR_Q4_0 || F == SR_Q8_0)
        tile_0<F, NT>(w, x, lane, at);
    else
        tile_half<F, NT>(w, x, lane, b0, at);
}
#endif
