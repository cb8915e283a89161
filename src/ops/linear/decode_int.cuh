/* decode_int.cuh - a K-quant tile's codes times their scales as f16 numbers in registers: the A fragments that wgmma takes.
 *
 *   whole<F> dec;  dec.open(tile, lane);  dec.block(tile, lane, b, up, a);     b: 32 inputs of the tile, in order; a: steps 0 and 1
 *   weights of row half r:  a * d[r]  [ + minimum * dm[r] ]
 *
 * Q4_K, Q5_K   a = q * scale * 2^-24, whole multiples of 2^-24 below 2^-13: exact.  Codes are f16 subnormals as they are; the minimums are
 *              one more product, with the sums of x over 32 inputs (gemm90.h): minimums() has its A fragment.
 * Q6_K         a = (q - 32) * scale: exact up to 2048, then rounded to f16 once; a second fragment, of what that took, makes it exact.
 * About 1.3 instructions a Q4_K weight and lane.
 * Source: layout.h for where codes lie.                                                                                       */
#ifndef SR_OPS_LINEAR_DECODE_INT_CUH
#define SR_OPS_LINEAR_DECODE_INT_CUH
#include "ops/linear/decode_f16.cuh"

template <int F> struct whole;

/* Q4_K, Q5_K. */
template <int F> struct whole_k45 {
    uint32_t sc[2][2], m[2][2]; /* [row half][first, second four blocks]: bytes */
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
        const uint32_t w0 = b % 2 ? q.z : q.x, w1 = b % 2 ? q.w : q.y, t0 = w0 >> 8, t1 = w1 >> 8;
        a[0] = w0 & LOW;
        a[1] = w1 & LOW;
        a[2] = t0 & LOW;
        a[3] = t1 & LOW;
        a[4] = w0 & HIGH;
        a[5] = w1 & HIGH;
        a[6] = t0 & HIGH;
        a[7] = t1 & HIGH;
        if (F == SR_Q5_K)
#pragma unroll
            for (int i = 0; i < 4; i++)
                codes_top(top, fifth_at(b % 2, i), 0x00100010, i, a);
#pragma unroll
        for (int r = 0; r < 2; r++) { /* codes of step 1 are 16 times what they are */
            const uint32_t s0 = add2(byte_f16(sc[r][b / 4], b % 4, up), TWICE(H_M1024)), s1 = mul2(s0, TWICE(H_1_16TH));
#pragma unroll
            for (int i = r; i < 4; i += 2) {
                a[i]     = mul2(a[i], s0);
                a[i + 4] = mul2(a[i + 4], s1);
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
            d[r] = __half2float(__ushort_as_half(factor[r]));
    }
    __device__ __forceinline__ void block(const uint8_t *w, uint32_t lane, int b, uint32_t up, uint32_t a[8])
    {
        if (b % 2 == 0)
            take(w, lane, b / 2);
        codes_alone(b, up, a);
#pragma unroll
        for (int i = 0; i < 4; i++)
            times(a, i / 2, i % 2, scale(i / 2, b, i % 2, up));
    }
    /* The same, and what a lacks for its roundings: -1, 0 or 1. */
    __device__ __forceinline__ void block(const uint8_t *w, uint32_t lane, int b, uint32_t up, uint32_t a[8], uint32_t lack[8])
    {
        if (b % 2 == 0)
            take(w, lane, b / 2);
        codes_alone(b, up, a);
#pragma unroll
        for (int i = 0; i < 8; i++) { /* step i / 4, row half i % 2 */
            const uint32_t s = scale(i % 2, b, i / 4, up), v = mul2(a[i], s);
            lack[i] = fma2(a[i], s, v ^ 0x80008000); /* of infinitely many digits, less v */
            a[i]    = v;
        }
    }
};
#endif
