/* decode_int.cuh - a K-quant tile's codes times their scales as f16 numbers in registers: the A fragments that wgmma takes.
 *
 *   whole<F> dec;  dec.open(tile, lane);  dec.block(tile, lane, b, up, a);     b: 32 inputs of the tile, in order; a: steps 0 and 1
 *   weights of row half r:  a * d[r]  [ + minimum * dm[r] ]
 *
 * Q4_K, Q5_K   a = q * scale * 2^-24, whole multiples of 2^-24 below 2^-13: exact.  Codes are f16 subnormals as they are; the minimums are
 *              one more product, with the sums of x over 32 inputs (gemm90.h): minimums() has its A fragment.
 * Q6_K         a = (q - 32) * scale * 2^-24: exact up to 2048 of these, then rounded to f16 once; a second fragment, of what that took, makes it exact.
 * About 1.3 instructions a Q4_K weight and lane.
 * Source: layout.h for where codes lie.                                                                                       */
#ifndef SR_OPS_LINEAR_DECODE_INT_CUH
#define SR_OPS_LINEAR_DECODE_INT_CUH
#include "ops/linear/decode_f16.cuh"

#define UP_16TH (0x64006400u ^ 0x2c003c00u) /* of `up`, to f16 1 and 1/16 */
#define BOTH_M1152 0xd480e480u /* -1152, -72 */
enum { H_2_M24 = 0x0001, H_M1152_M24 = 0x8480, H_M2_M19 = 0x8020, H_1152_M19 = 0x1880 }; /* f16: 2^-24, -1152 * 2^-24, -2^-19, 1152 * 2^-19 */

template <int F> struct whole;

/* Bytes i and i + 1 of a word as 1024 + byte; one of two f16 numbers twice, which instructions take as it is. */
__device__ __forceinline__ uint32_t bytes_f16(uint32_t w, int i, uint32_t up) { return __byte_perm(w, up, 0x5150 + 0x0101 * i); }
template <bool HIGHER> __device__ __forceinline__ uint32_t twice(uint32_t v)
{
    return sr_half2_bits(HIGHER ? __high2half2(sr_half2_of(v)) : __low2half2(sr_half2_of(v)));
}

/* Eight registers of q (step 0), 16 q (step 1), times 2^-24, from two words of nibbles, of rows g and g + 8. */
__device__ __forceinline__ void codes_low(uint32_t w0, uint32_t w1, uint32_t a[8])
{
    const uint32_t t0 = w0 >> 8, t1 = w1 >> 8;
    a[0] = w0 & LOW;
    a[1] = w1 & LOW;
    a[2] = t0 & LOW;
    a[3] = t1 & LOW;
    a[4] = w0 & HIGH;
    a[5] = w1 & HIGH;
    a[6] = t0 & HIGH;
    a[7] = t1 & HIGH;
}

/* Q4_K, Q5_K. */
template <int F> struct whole_k45 {
    uint32_t sc[2][2], m[2][2]; /* [row half][first, second four blocks]: bytes */
    uint32_t s0[2], s1[2]; /* scales of two blocks, and a sixteenth of them, of each row half */
    float d[2], dm[2];
    uint4 q;
    uint32_t top;
    __device__ __forceinline__ void open(const uint8_t *w, uint32_t lane)
    {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const uint4 h   = at16(w + 2048 + r * 128 + lane / 4 * 16);
            const float2 dd = __half22float2(sr_half2_of(h.x));
            sc[r][0] = h.y & 0x3f3f3f3f;
            sc[r][1] = (h.w & 0x0f0f0f0f) | (h.y >> 2 & 0x30303030);
            m[r][0]  = h.z & 0x3f3f3f3f;
            m[r][1]  = (h.w >> 4 & 0x0f0f0f0f) | (h.z >> 2 & 0x30303030);
            d[r]     = dd.x * 0x1p24f;
            dm[r]    = -dd.y;
        }
    }
    /* Minimums of blocks 2t and 2t + 1, for both halves of the sums. */
    __device__ __forceinline__ void minimums(uint32_t lane, uint32_t up, uint32_t a[4]) const
    {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const uint32_t v = lane & 2 ? m[r][1] : m[r][0], p = __byte_perm(v, up, lane & 1 ? 0x5352 : 0x5150);
            a[r] = a[r + 2] = add2(p, TWICE(H_M1024));
        }
    }
    __device__ __forceinline__ void block(const uint8_t *w, uint32_t lane, int b, uint32_t up, uint32_t a[8])
    {
        if (b % 2 == 0) {
            q   = at16(w + b / 2 * 512 + lane * 16);
            top = F == SR_Q5_K ? at4(w + 2304 + lane * 16 + b / 2 * 4) : 0;
        }
        codes_low(b % 2 ? q.z : q.x, b % 2 ? q.w : q.y, a);
        if (F == SR_Q5_K)
#pragma unroll
            for (int i = 0; i < 4; i++)
                codes_top(top, fifth_at(b % 2, i), 0x00100010, i, a);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            if (b % 2 == 0) { /* codes of step 1 are 16 times what they are */
                s0[r] = add2(bytes_f16(sc[r][b / 4], b % 4, up), TWICE(H_M1024));
                s1[r] = mul2(s0[r], TWICE(H_1_16TH));
            }
            const uint32_t f0 = b % 2 ? twice<true>(s0[r]) : twice<false>(s0[r]), f1 = b % 2 ? twice<true>(s1[r]) : twice<false>(s1[r]);
#pragma unroll
            for (int i = r; i < 4; i += 2) {
                a[i]     = mul2(a[i], f0);
                a[i + 4] = mul2(a[i + 4], f1);
            }
        }
    }
};
template <> struct whole<SR_Q4_K> : whole_k45<SR_Q4_K> {};
template <> struct whole<SR_Q5_K> : whole_k45<SR_Q5_K> {};

template <> struct whole<SR_Q6_K> : codes_k6 {
    float d[2];
    __device__ __forceinline__ void open(const uint8_t *w, uint32_t lane)
    {
        fetch(w, lane);
        open_scales();
#pragma unroll
        for (int r = 0; r < 2; r++)
            d[r] = __half2float(__ushort_as_half(factor[r])) * 0x1p24f;
    }
    __device__ __forceinline__ void block(const uint8_t *w, uint32_t lane, int b, uint32_t up, uint32_t a[8])
    {
        if (b % 2 == 0)
            take(w, lane, b / 2);
        codes_whole(b, a);
#pragma unroll
        for (int r = 0; r < 2; r++) { /* both steps' scales; codes of step 1 are 16 times what they are; 32 is taken off with the scale */
            const uint32_t v = bytes_f16(sr_word(sc[r], b / 2), b % 2 * 2, up), s = fma2(v, up ^ UP_16TH, BOTH_M1152), o = fma2(v, TWICE(H_M2_M19), TWICE(H_1152_M19));
#pragma unroll
            for (int i = r; i < 4; i += 2) {
                a[i]     = fma2(a[i], twice<false>(s), twice<false>(o));
                a[i + 4] = fma2(a[i + 4], twice<true>(s), twice<true>(o));
            }
        }
    }
    /* The same, and what a lacks for its roundings: -1, 0 or 1 times 2^-24. */
    __device__ __forceinline__ void block(const uint8_t *w, uint32_t lane, int b, uint32_t up, uint32_t a[8], uint32_t lack[8])
    {
        if (b % 2 == 0)
            take(w, lane, b / 2);
        codes_alone(b, up, a);
#pragma unroll
        for (int i = 0; i < 8; i++) { /* step i / 4, row half i % 2 */
            const uint32_t both = fma2(bytes_f16(sr_word(sc[i % 2], b / 2), b % 2 * 2, up), TWICE(H_2_M24), TWICE(H_M1152_M24)),
                           s = i / 4 ? twice<true>(both) : twice<false>(both), v = mul2(a[i], s);
            lack[i] = fma2(a[i], s, v ^ 0x80008000); /* of infinitely many digits, less v */
            a[i]    = v;
        }
    }

  private:
    __device__ __forceinline__ void codes_whole(int b, uint32_t a[8]) const
    {
        codes_low(b % 2 ? q.z : q.x, b % 2 ? q.w : q.y, a);
#pragma unroll
        for (int i = 0; i < 4; i++)
            codes_top(b % 2 ? top.y : top.x, high_at(i), 0x00300030, i, a);
    }
};
#endif
