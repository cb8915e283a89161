/* spread_int.cuh - one tile of each quantised format against C = 1, 2 or 4 columns, in whole numbers.
 *
 * x of 256 inputs becomes whole numbers below 2^14 with one factor (a power of two), each in two int8 pieces: 256 high + low.  Codes are int8
 * as they are (one AND a register), so a 32-block is one mma m16n8k32; its products with x, their sums and those times the 6-bit scales
 * are exact.  One rounding to f32 a tile and lane, then d.  x itself errs by 2^-15 to 2^-14 of the largest of 256 (f16: 2^-12 of each).
 *
 * An mma has eight columns.  A block takes P = 2C of them, piece and column of x (with scales of 16 inputs 4C: each half apart), so that
 * G = 8 / P blocks of 32 inputs lie side by side, a set: column n is block n / P of the set, of which it has n % 2 (the piece), n / 2 % C (the
 * column of x) and n / 2C % 2 (the half).  All others enter as zeros.  A lane (g, t) then has, in columns 2t and 2t + 1, both pieces of
 * one scale's sum for rows g and g + 8: scale number 4 / C * set + t / C, of column t % C.
 *
 * Four columns take all of an mma: nothing is to be entered as zero.  What a tile subtracts then comes from mma, too, whose A is the minimum, or
 * what codes are less by, in every input: sums of x need not be kept.  Scales of 16 inputs: the 16 others of an mma are that subtraction.
 *
 * About 1.2 instructions per Q4_K weight and lane; skinny_spread.cuh's form needs 1.7.
 *
 * x        xs [block 0..7][column][piece][t][step] words of four int8, in a tile's order (layout.h); then, with one or two columns, [column]
 *          sixteen int32: sums over 16 inputs
 * Source:  PTX ISA, mma.m16n8k32 fragments (A: rows g, g+8 x inputs 4t.., then those of 16 + 4t..; B, C as mma.cuh).                    */
#ifndef SR_OPS_LINEAR_SPREAD_INT_CUH
#define SR_OPS_LINEAR_SPREAD_INT_CUH
#include "ops/linear/skinny_tile.cuh"

enum { INT_BLOCK = 64, INT_TOP = 14 }; /* bytes of a 32-block of a column; bits of x */

template <int C> struct sr_ints { /* where a lane finds x of a tile, and which of its blocks it brings */
    static constexpr int ROW = C * INT_BLOCK, STEP = (C == 4 ? 8 : 9) * ROW, G = 4 / C; /* bytes from block to block, from tile to tile; blocks of a set */
    const uint8_t *x, *half, *sum;
    uint32_t mask[G]; /* 1 or 0: the lane brings block i of a set; with scales of 16, half i % 2 of its block i / 2 */
    __device__ __forceinline__ void next(void)
    {
        x += STEP;
        half += STEP;
        sum += STEP;
    }
};

template <int C> __device__ __forceinline__ sr_ints<C> ints_of(const uint8_t *xs, uint32_t lane)
{
    const uint32_t n = lane / 4, t = lane % 4, at = n / 2 % C * INT_BLOCK + n % 2 * 32 + t * 8;
    sr_ints<C> v;
    v.x    = xs + n / (2 * C) * v.ROW + at;
    v.half = xs + n / (4 * C) * v.ROW + at + n / (2 * C) % 2 * 4;
    v.sum  = xs + 8 * v.ROW + t % C * INT_BLOCK;
#pragma unroll
    for (int i = 0; i < v.G; i++)
        v.mask[i] = n / (2 * C) == i;
    return v;
}

/* Bytes of eight codes of a row, steps 0 and 1. */
__device__ __forceinline__ void bytes_of_nibbles(uint32_t w, uint32_t &s0, uint32_t &s1)
{
    s0 = w & 0x0f0f0f0f;
    s1 = w >> 4 & 0x0f0f0f0f;
}

/* The A operand of block b: registers (g, step 0), (g + 8, 0), (g, 1), (g + 8, 1). */
template <int F> struct codes_int {
    uint4 word;
    uint2 top;
    __device__ __forceinline__ void block(const uint8_t *w, uint32_t lane, int b, uint32_t a[4])
    {
        if (F == SR_Q8_0) {
            word = at16(w + b * 512 + lane * 16);
            a[0] = word.x, a[1] = word.y, a[2] = word.z, a[3] = word.w;
            return;
        }
        if (b % 2 == 0) {
            word = at16(w + b / 2 * 512 + lane * 16);
            if (F == SR_Q5_K)
                top.x = at4(w + 2304 + lane * 16 + b / 2 * 4);
            if (F == SR_Q6_K)
                top = at8(w + 2304 + b / 2 * 256 + lane * 8);
        }
        bytes_of_nibbles(b % 2 ? word.z : word.x, a[0], a[2]);
        bytes_of_nibbles(b % 2 ? word.w : word.y, a[1], a[3]);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (F == SR_Q5_K)
                a[i] |= to_fourth(top.x, i / 2 * 4 + b % 2 * 2 + i % 2) & 0x10101010;
            if (F == SR_Q6_K)
                a[i] |= to_fourth(b % 2 ? top.y : top.x, i / 2 * 4 + i % 2 * 2) & 0x30303030;
        }
    }
};

/* Sums of the products of each scale that the lane has: v[set][row half]. */
template <int F, int C, int SETS>
__device__ __forceinline__ void int_products(const uint8_t *w, const sr_ints<C> &x, uint32_t lane, int v[SETS][2])
{
    constexpr bool SIXTEEN = F == SR_Q6_K;
    constexpr int G        = 8 / SETS;
    uint32_t b0[SETS], b1[SETS];
    int p[SETS][4];
    codes_int<F> codes;
#pragma unroll
    for (int k = 0; k < SETS; k++) {
        if (SIXTEEN)
            b0[k] = b1[k] = at4((C == 2 ? x.x - x.mask[1] * (x.ROW - 4) : x.half) + k * G * x.ROW);
        else {
            const uint2 u = at8(x.x + k * G * x.ROW);
            b0[k] = u.x, b1[k] = u.y;
        }
#pragma unroll
        for (int i = 0; i < 4; i++)
            p[k][i] = 0;
    }
#pragma unroll
    for (int b = 0; b < 8; b++) {
        const int k = b / G, i = b % G;
        uint32_t a[4];
        codes.block(w, lane, b, a);
        sr_mma_int(p[k], a, b0[k] * x.mask[SIXTEEN ? 2 * i : i], b1[k] * x.mask[SIXTEEN ? 2 * i + 1 : i]);
    }
#pragma unroll
    for (int k = 0; k < SETS; k++) {
        v[k][0] = p[k][0] * 256 + p[k][1];
        v[k][1] = p[k][2] * 256 + p[k][3];
    }
}

/* Byte `at` (known to the lane) of a word: as it is, with its sign. */
__device__ __forceinline__ int byte_of(uint32_t w, uint32_t at) { return (int)__byte_perm(w, 0, 0x4440 + at); }
__device__ __forceinline__ int signed_byte_of(uint32_t w, uint32_t at)
{
    int v;
    asm("prmt.b32 %0, %1, 0, %2;" : "=r"(v) : "r"(w), "r"(at * 0x1111 + 0x8880));
    return v;
}

/* Scales of 32 and minimums: at[row half] gets the lane's part of the tile's sum. */
template <int F, int C> __device__ __forceinline__ void int_k45(const uint8_t *w, const sr_ints<C> &x, uint32_t lane, float at[2])
{
    constexpr int SETS = 2 * C;
    const uint32_t own = lane % 4 / C;
    int v[SETS][2], sum[SETS];
    int_products<F, C, SETS>(w, x, lane, v);
#pragma unroll
    for (int k = 0; k < SETS; k++) {
        const int2 s = *(const int2 *)(x.sum + (k * x.G + own) * 8);
        sum[k]       = s.x + s.y;
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const kscales s = kscales_of(at16(w + 2048 + r * 128 + lane / 4 * 16));
        float codes     = 0;
        int least       = 0;
#pragma unroll
        for (int k = 0; k < SETS; k += 2) { /* two sets: 2 x 32 x 31 x 2^14 x 63 is below 2^31 */
            int two = 0;
#pragma unroll
            for (int i = k; i < k + 2; i++) {
                const uint32_t sc = (uint32_t)(s.sc >> i * x.G / 4 * 32), m = (uint32_t)(s.m >> i * x.G / 4 * 32), b = i * x.G % 4 + own;
                two += v[i][r] * byte_of(sc, b);
                least += sum[i] * byte_of(m, b);
            }
            codes += (float)two;
        }
        at[r] = fmaf(codes, s.d, -s.dmin * (float)least);
    }
}

/* Signed scales of 16, codes less 32. */
template <int C> __device__ __forceinline__ void int_k6(const uint8_t *w, const sr_ints<C> &x, uint32_t lane, float at[2])
{
    constexpr int SETS = 4 * C, N = 4 / C; /* scales of a set */
    const uint32_t own = lane % 4 / C;
    int v[SETS][2];
    int_products<SR_Q6_K, C, SETS>(w, x, lane, v);
    float all[2] = {0, 0};
    uint4 sc[2];
#pragma unroll
    for (int r = 0; r < 2; r++)
        sc[r] = at16(w + 2048 + r * 128 + lane / 4 * 16);
#pragma unroll
    for (int k = 0; k < SETS; k++) {
        const int at32 = *(const int *)(x.sum + (k * N + own) * 4) * 32, j = k * N / 4;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const uint32_t four = sr_word(sc[r], j);
            all[r] += (float)((v[k][r] - at32) * signed_byte_of(four, k * N % 4 + own)); /* 16 x 32 x 2^14 x 128 is 2^30 */
        }
    }
#pragma unroll
    for (int r = 0; r < 2; r++)
        at[r] = all[r] * __half2float(*(const half *)(w + 3328 + r * 16 + lane / 4 * 2));
}

/* Q4_0, Q8_0: f16 scales of 32, codes less 8 or 128. */
template <int F, int C> __device__ __forceinline__ void int_0(const uint8_t *w, const sr_ints<C> &x, uint32_t lane, float at[2])
{
    constexpr int SETS = 2 * C, ZERO = F == SR_Q8_0 ? 128 : 8;
    const uint32_t own    = lane % 4 / C;
    const uint8_t *scales = w + (F == SR_Q8_0 ? 4096 : 2048) + lane / 4 * 16 + own * 2;
    int v[SETS][2];
    int_products<F, C, SETS>(w, x, lane, v);
    at[0] = at[1] = 0;
#pragma unroll
    for (int k = 0; k < SETS; k++) {
        const int2 s   = *(const int2 *)(x.sum + (k * x.G + own) * 8);
        const int zero = (s.x + s.y) * ZERO;
#pragma unroll
        for (int r = 0; r < 2; r++)
            at[r] = fmaf((float)(v[k][r] - zero), __half2float(*(const half *)(scales + r * 128 + k * x.G * 2)), at[r]);
    }
}

/* ---- four columns --------------------------------------------------------------------------------------------- */

template <int F> __device__ __forceinline__ void int_k45_four(const uint8_t *w, const sr_ints<4> &x, uint32_t lane, float at[2])
{
    const kscales s[2] = {kscales_of(at16(w + 2048 + lane / 4 * 16)), kscales_of(at16(w + 2176 + lane / 4 * 16))};
    codes_int<F> codes;
    float sum[2] = {0, 0};
    int two[2]   = {0, 0}, least[4] = {0, 0, 0, 0};
#pragma unroll
    for (int b = 0; b < 8; b++) {
        const uint2 u = at8(x.x + b * x.ROW);
        uint32_t a[4], m[2];
        int p[4] = {0, 0, 0, 0};
        codes.block(w, lane, b, a);
        sr_mma_int(p, a, u.x, u.y);
#pragma unroll
        for (int r = 0; r < 2; r++) { /* two blocks: 2 x 32 x 31 x 2^14 x 63 is below 2^31 */
            m[r] = __byte_perm((uint32_t)(s[r].m >> b / 4 * 32), 0, b % 4 * 0x1111);
            two[r] += (p[2 * r] * 256 + p[2 * r + 1]) * byte_of((uint32_t)(s[r].sc >> b / 4 * 32), b % 4);
            if (b % 2) {
                sum[r] += (float)two[r];
                two[r] = 0;
            }
        }
        const uint32_t minimums[4] = {m[0], m[1], m[0], m[1]};
        sr_mma_int(least, minimums, u.x, u.y);
    }
#pragma unroll
    for (int r = 0; r < 2; r++)
        at[r] = fmaf(sum[r], s[r].d, -s[r].dmin * (float)(least[2 * r] * 256 + least[2 * r + 1]));
}

/* Scales of 16: an mma of 32 inputs is 16 of the codes and the same 16 of what they are less by. */
__device__ __forceinline__ void int_k6_four(const uint8_t *w, const sr_ints<4> &x, uint32_t lane, float at[2])
{
    const uint4 sc[2] = {at16(w + 2048 + lane / 4 * 16), at16(w + 2176 + lane / 4 * 16)};
    codes_int<SR_Q6_K> codes;
    at[0] = at[1] = 0;
#pragma unroll
    for (int b = 0; b < 8; b++) {
        const uint2 u = at8(x.x + b * x.ROW);
        uint32_t a[4];
        codes.block(w, lane, b, a);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const uint32_t less[4] = {a[2 * h], a[2 * h + 1], 0xe0e0e0e0, 0xe0e0e0e0}, bs = h ? u.y : u.x;
            int p[4];
            sr_mma_s8(p, less, bs, bs, 0);
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const uint32_t four = sr_word(sc[r], b / 2);
                at[r] += (float)((p[2 * r] * 256 + p[2 * r + 1]) * signed_byte_of(four, b % 2 * 2 + h)); /* 16 x 32 x 2^14 x 128 is 2^30 */
            }
        }
    }
#pragma unroll
    for (int r = 0; r < 2; r++)
        at[r] *= __half2float(*(const half *)(w + 3328 + r * 16 + lane / 4 * 2));
}

template <int F> __device__ __forceinline__ void int_0_four(const uint8_t *w, const sr_ints<4> &x, uint32_t lane, float at[2])
{
    constexpr uint32_t LESS = F == SR_Q8_0 ? 0x80808080 : 0xf8f8f8f8, less[4] = {LESS, LESS, LESS, LESS};
    const uint8_t *scales = w + (F == SR_Q8_0 ? 4096 : 2048) + lane / 4 * 16;
    const uint4 d[2]      = {at16(scales), at16(scales + 128)};
    codes_int<F> codes;
    at[0] = at[1] = 0;
#pragma unroll
    for (int b = 0; b < 8; b++) {
        const uint2 u = at8(x.x + b * x.ROW);
        uint32_t a[4];
        int p[4];
        codes.block(w, lane, b, a);
        sr_mma_s8(p, less, u.x, u.y, 0);
        sr_mma_int(p, a, u.x, u.y);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const float2 two = __half22float2(sr_half2_of(sr_word(d[r], b / 2)));
            at[r]            = fmaf((float)(p[2 * r] * 256 + p[2 * r + 1]), b % 2 ? two.y : two.x, at[r]);
        }
    }
}

/* at[row half]: what the lane knows of the tile's sum for column lane % C, in units of x's factor; lanes of a quad with the same column have
 * parts of it. */
template <int F, int C> __device__ __forceinline__ void tile_multiply_int(const uint8_t *w, const sr_ints<C> &x, uint32_t lane, float at[2])
{
    if constexpr (C == 4 && (F == SR_Q4_K || F == SR_Q5_K))
        int_k45_four<F>(w, x, lane, at);
    else if constexpr (C == 4 && F == SR_Q6_K)
        int_k6_four(w, x, lane, at);
    else if constexpr (C == 4)
        int_0_four<F>(w, x, lane, at);
    else if constexpr (F == SR_Q4_K || F == SR_Q5_K)
        int_k45<F, C>(w, x, lane, at);
    else if constexpr (F == SR_Q6_K)
        int_k6<C>(w, x, lane, at);
    else
        int_0<F, C>(w, x, lane, at);
}

/* Four whole numbers, more by 2^15, as the low bits of f32 numbers with exponent 23, into words of low and of high pieces. */
__device__ __forceinline__ void pieces(const float4 &x, float f, uint32_t &high, uint32_t &low, int &sum)
{
    constexpr float UNIT = 12582912.0f + 32768.0f; /* 2^23 + 2^22: units in the last place are whole numbers, negative ones too */
    const uint32_t l[4]  = {__float_as_uint(fmaf(x.x, f, UNIT)), __float_as_uint(fmaf(x.z, f, UNIT)), __float_as_uint(fmaf(x.y, f, UNIT)),
                            __float_as_uint(fmaf(x.w, f, UNIT))}, /* a tile's order */
                   a = __byte_perm(l[0], l[1], 0x5410), b = __byte_perm(l[2], l[3], 0x5410);
    low  = __byte_perm(a, b, 0x6420);
    high = __byte_perm(a + 0x00800080, b + 0x00800080, 0x7531) ^ 0x80808080; /* rounded; no sum of 16 bits reaches the next */
    sum  = (int)(l[0] + l[1] + l[2] + l[3] - 4 * 0x4b408000u);
}

/* What the whole numbers of these 256 inputs lack, 15 bits more, in place of them; top: the largest magnitude of the 256. */
__device__ __forceinline__ void int_lack(float4 &u, float4 &v, float top)
{
    constexpr float UNIT = 12582912.0f; /* as pieces() */
    const uint32_t e = max(__float_as_uint(top) >> 23, INT_TOP + 2u);
    const float f = __uint_as_float((253 + INT_TOP - e) << 23), back = __uint_as_float((e + 1 - INT_TOP) << 23);
    float *x[8] = {&u.x, &u.y, &u.z, &u.w, &v.x, &v.y, &v.z, &v.w};
#pragma unroll
    for (int i = 0; i < 8; i++)
        *x[i] = fmaf(UNIT - fmaf(*x[i], f, UNIT), back, *x[i]);
}

struct here { /* the stores of int_store: into the own block's memory */
    __device__ __forceinline__ void store(void *to, uint2 v) const { *(uint2 *)to = v; }
    __device__ __forceinline__ void store(float *to, float v) const { *to = v; }
};

/* 256 inputs of column c (u: 4t.. of block lane / 4, v: 16 + 4t..), the largest of magnitude top, by to.store() into shared memory; *scale: what the
 * whole numbers are to be multiplied by. */
template <int C, class TO = here>
__device__ __forceinline__ void int_store(const float4 &u, const float4 &v, float top, uint8_t *at, float *scale, const TO &to = TO())
{
    constexpr uint32_t ROW = sr_ints<C>::ROW;
    const uint32_t lane = threadIdx.x % 32, b = lane / 4, t = lane % 4;
    uint32_t e = max(__float_as_uint(top) >> 23, INT_TOP + 2u); /* |x| < 2^(e - 126) */
    float f    = __uint_as_float((253 + INT_TOP - e) << 23);
    uint2 high, low;
    int s0, s1;
    pieces(u, f, high.x, low.x, s0);
    pieces(v, f, high.y, low.y, s1);
    to.store(at + b * ROW + t * 8, high);
    to.store(at + b * ROW + 32 + t * 8, low);
    if constexpr (C < 4) {
#pragma unroll
        for (int j = 1; j < 4; j *= 2) {
            s0 += __shfl_xor_sync(0xffffffff, s0, j);
            s1 += __shfl_xor_sync(0xffffffff, s1, j);
        }
        if (t == 0)
            to.store(at + 8 * ROW + b * 8, make_uint2(s0, s1));
    }
    if (lane == 0) /* what is no number stays none: whole numbers do not know it */
        to.store(scale, __uint_as_float(e == 255 ? 0x7fc00000 : (e + 1 - INT_TOP) << 23));
}
#endif
