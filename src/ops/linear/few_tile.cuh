/* few_tile.cuh - a tile of Q4_K or Q5_K against NT x 8 columns, in as few instructions as we know.
 *
 * The sums are skinny_tile.cuh's (there for what lies where), the numbers come by other ways:
 *   scales    a byte s behind the bytes 64 00 00 is the f32 number 2^73 + s 2^50: a PRMT, and an FMA that takes 2^73 off and multiplies by d, exactly.
 *             `up`, 1024 twice as f16, has these bytes in a register: the instruction's own number is the selector.
 *   minimums  a lane needs those of two blocks, which selectors known from its number give: no shifts of 64 bits.
 * 1.8 instructions a Q4_K weight and lane for 8 columns, the ring's included. */
#ifndef SR_OPS_LINEAR_FEW_TILE_CUH
#define SR_OPS_LINEAR_FEW_TILE_CUH
#include "ops/linear/skinny_tile.cuh"

/* at[nt][i] += the tile's sums in units of 2^-24.  x: as skinny_tile.cuh's. */
template <int F, int NT, class X> __device__ __forceinline__ void few_k45(const uint8_t *w, const X &x, uint32_t lane, uint32_t up, float at[NT][4])
{
    uint32_t sc[2][2];
    float d[2], big[2], least[2];
    sr_frag_a a;
    uint4 q;
    uint32_t top;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const uint4 h    = at16(w + 2048 + r * 128 + lane / 4 * 16);
        const float2 dd  = __half22float2(sr_half2_of(h.x));
        const uint32_t m = lane & 2 ? (h.w >> 4 & 0x0f0f0f0f) | (h.z >> 2 & 0x30303030) : h.z & 0x3f3f3f3f;
        sc[r][0]         = h.y & 0x3f3f3f3f;
        sc[r][1]         = (h.w & 0x0f0f0f0f) | (h.y >> 2 & 0x30303030);
        d[r]             = dd.x * 0x1p-50f;
        big[r]           = dd.x * -0x1p23f;
        least[r]         = -dd.y;
        a.r[r]           = __byte_perm(m, 0, lane & 1 ? 0x4242 : 0x4040);
        a.r[r + 2]       = __byte_perm(m, 0, lane & 1 ? 0x4343 : 0x4141);
    }
#pragma unroll
    for (int nt = 0; nt < NT; nt++) {
        const uint4 s = x.get(8, nt);
        float p[4];
        sr_mma0(p, a, s.x, s.y);
        sr_mma(p, a, s.z, s.w);
        add_scaled(at[nt], p, least[0], least[1]);
    }
#pragma unroll
    for (int b = 0; b < 8; b++) {
        if (b % 2 == 0) {
            q   = at16(w + b / 2 * 512 + lane * 16);
            top = F == SR_Q5_K ? at4(w + 2304 + lane * 16 + b / 2 * 4) : 0;
        }
        sr_frag_a s0, s1;
        float f[2];
        nibbles(b % 2 ? q.z : q.x, b % 2 ? q.w : q.y, s0, s1);
        if (F == SR_Q5_K)
#pragma unroll
            for (int i = 0; i < 4; i++)
                top_bits(top, fifth_at(b % 2, i), 0x00100010, i, s0, s1);
#pragma unroll
        for (int r = 0; r < 2; r++)
            f[r] = fmaf(__uint_as_float(__byte_perm(sc[r][b / 4], up, 0x7440 + b % 4)), d[r], big[r]);
#pragma unroll
        for (int nt = 0; nt < NT; nt++) {
            const uint4 v = x.get(b, nt);
            float p[4];
            sr_mma0(p, s0, v.x, v.y);
            sr_mma(p, s1, v.z, v.w);
            add_scaled(at[nt], p, f[0], f[1]);
        }
    }
}
#endif
