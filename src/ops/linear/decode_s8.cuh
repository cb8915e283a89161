/* decode_s8.cuh - a tile's codes as int8 numbers in registers: the A fragments of mma m16n8k32, of which m16n8k16's are halves.
 *
 *   codes8<F> c;  c.open(tile, lane);  c.take(tile, lane, j);  c.block(b, a);     j: 64 inputs of the tile; b: 32 of them, in order
 *   a[2 s + r]: row half r, the sixteen inputs of step s, of each lane's four 4t + 0, 2, 1, 3, as x has them, too;   weights:
 *
 * Q4_K, Q5_K   (a * scale(r, b) * d[r]) - minimum * dm[r];  minimums(): those of a row's eight blocks, f16, as m16n8k8 takes them
 * Q6_K         a * scale(r, b, s) * d[r];   a is 4 (q - 32): the bits of a code are put where an int8's upper ones lie, its sign flipped
 * Q4_0         a * factor(r, b);            a is 16 (q - 8), likewise
 * Q8_0         a * factor(r, b)
 * Limits: none; a whole block's sum of a * x * scale is below 2^30.  About 0.5 instructions a Q4_K weight and lane.
 * Source: layout.h for where codes lie.                                                                                       */
#ifndef SR_OPS_LINEAR_DECODE_S8_CUH
#define SR_OPS_LINEAR_DECODE_S8_CUH
#include "ops/linear/decode_f16.cuh"

enum : uint32_t { NIBBLES = 0x0f0f0f0f, SIGNS = 0x80808080 };

template <int F> struct codes8;

/* Q4_K, Q5_K. */
template <int F> struct codes8_k45 {
    uint4 head[2], q;
    uint32_t top, sc[2];
    __device__ __forceinline__ void open(const uint8_t *w, uint32_t lane)
    {
#pragma unroll
        for (int r = 0; r < 2; r++)
            head[r] = at16(w + 2048 + r * 128 + lane / 4 * 16);
    }
    __device__ __forceinline__ void take(const uint8_t *w, uint32_t lane, int j)
    {
        q   = at16(w + j * 512 + lane * 16);
        top = F == SR_Q5_K ? at4(w + 2304 + lane * 16 + j * 4) : 0;
    }
    __device__ __forceinline__ void block(int b, uint32_t a[4])
    {
        const uint32_t w[2] = {b % 2 ? q.z : q.x, b % 2 ? q.w : q.y}, u = top >> b % 2 * 2;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const uint32_t n = w[r];
            a[r]     = n & NIBBLES;
            a[r + 2] = n >> 4 & NIBBLES;
            if (F == SR_Q5_K) { /* bits at 4s + r */
                a[r] |= u << (4 - r) & 0x10101010;
                a[r + 2] |= u >> r & 0x10101010;
            }
            if (b % 4 == 0)
                sc[r] = b ? (head[r].w & NIBBLES) | (head[r].y >> 2 & 0x30303030) : head[r].y & 0x3f3f3f3f;
        }
    }
    __device__ __forceinline__ int scale(int r, int b, int) const { return (int)(sc[r] >> b % 4 * 8 & 0xff); }
    __device__ __forceinline__ float factor(int r) const { return __half2float(__low2half(sr_half2_of(head[r].x))); }
    __device__ __forceinline__ float less(int r) const { return -__half2float(__high2half(sr_half2_of(head[r].x))); }
    __device__ __forceinline__ uint32_t minimums(uint32_t lane, int r) const /* of blocks 2t, 2t + 1 */
    {
        const uint32_t m = lane & 2 ? (head[r].w >> 4 & NIBBLES) | (head[r].z >> 2 & 0x30303030) : head[r].z & 0x3f3f3f3f;
        return add2(__byte_perm(m, 0x64646464, lane & 1 ? 0x4342 : 0x4140), TWICE(H_M1024));
    }
};
template <> struct codes8<SR_Q4_K> : codes8_k45<SR_Q4_K> {};
template <> struct codes8<SR_Q5_K> : codes8_k45<SR_Q5_K> {};

template <> struct codes8<SR_Q6_K> {
    uint4 head[2], q;
    uint2 top;
    uint16_t d[2];
    __device__ __forceinline__ void open(const uint8_t *w, uint32_t lane)
    {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            head[r] = at16(w + 2048 + r * 128 + lane / 4 * 16);
            d[r]    = *(const uint16_t *)(w + 3328 + r * 16 + lane / 4 * 2);
        }
    }
    __device__ __forceinline__ void take(const uint8_t *w, uint32_t lane, int j)
    {
        q   = at16(w + j * 512 + lane * 16);
        top = at8(w + 2304 + j * 256 + lane * 8);
    }
    __device__ __forceinline__ void block(int b, uint32_t a[4])
    {
        const uint32_t w[2] = {b % 2 ? q.z : q.x, b % 2 ? q.w : q.y}, u = (b % 2 ? top.y : top.x) ^ 0xaaaaaaaa;
#pragma unroll
        for (int r = 0; r < 2; r++) { /* two bits at 4s + 2r, the upper one flipped */
            const uint32_t n = w[r];
            a[r]     = (n << 2 & 0x3c3c3c3c) | (u << (6 - 2 * r) & 0xc0c0c0c0);
            a[r + 2] = (n >> 2 & 0x3c3c3c3c) | (u << (2 - 2 * r) & 0xc0c0c0c0);
        }
    }
    __device__ __forceinline__ int scale(int r, int b, int s) const
    {
        const uint32_t v = b / 2 == 0 ? head[r].x : b / 2 == 1 ? head[r].y : b / 2 == 2 ? head[r].z : head[r].w;
        return (int)(v << (24 - (b % 2 * 2 + s) * 8)) >> 24;
    }
    __device__ __forceinline__ float factor(int r) const { return __half2float(__ushort_as_half(d[r])) * 0.25f; }
};

template <int F> struct codes8_0 {
    uint4 head[2], q[F == SR_Q8_0 ? 2 : 1];
    __device__ __forceinline__ void open(const uint8_t *w, uint32_t lane)
    {
#pragma unroll
        for (int r = 0; r < 2; r++)
            head[r] = at16(w + (F == SR_Q8_0 ? 4096 : 2048) + r * 128 + lane / 4 * 16);
    }
    __device__ __forceinline__ void take(const uint8_t *w, uint32_t lane, int j)
    {
#pragma unroll
        for (int i = 0; i < (F == SR_Q8_0 ? 2 : 1); i++)
            q[i] = at16(w + (F == SR_Q8_0 ? j * 1024 + i * 512 : j * 512) + lane * 16);
    }
    __device__ __forceinline__ void block(int b, uint32_t a[4])
    {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            if constexpr (F == SR_Q8_0) {
                const uint4 v = q[b % 2];
                a[r]     = (r ? v.y : v.x) ^ SIGNS;
                a[r + 2] = (r ? v.w : v.z) ^ SIGNS;
            } else {
                const uint32_t n = b % 2 ? r ? q[0].w : q[0].z : r ? q[0].y : q[0].x;
                a[r]     = (n << 4 & ~NIBBLES) ^ SIGNS;
                a[r + 2] = (n & ~NIBBLES) ^ SIGNS;
            }
        }
    }
    __device__ __forceinline__ float factor(int r, int b) const
    {
        const uint32_t v = b / 2 == 0 ? head[r].x : b / 2 == 1 ? head[r].y : b / 2 == 2 ? head[r].z : head[r].w;
        const float2 d   = __half22float2(sr_half2_of(v));
        return (b % 2 ? d.y : d.x) * (F == SR_Q8_0 ? 1.0f : 0.0625f);
    }
};
template <> struct codes8<SR_Q4_0> : codes8_0<SR_Q4_0> {};
template <> struct codes8<SR_Q8_0> : codes8_0<SR_Q8_0> {};
#endif
