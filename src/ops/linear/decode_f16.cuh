/* decode_f16.cuh - a tile's weights as f16 numbers in registers: the A fragments that mma m16n8k16 and wgmma take.
 *
 *   decoder<F> d;  d.open(tile, lane);  d.block(tile, lane, b, up, a);     b: 32 inputs of the tile, in order; a: steps 0 and 1; up: 1024 twice
 * (a register: an instruction holds one number of its own, and the mask or the selector is that)
 * Where tiles come from far, what is read and what is made of it are two: d.fetch(tile, lane);  d.take(tile, lane, j) reads 64 inputs ahead of
 * d.open();  d.codes(b, up, a).
 *
 * Codes become exact f16 integers by bits alone (1024 + q is q behind the exponent of 1024), scales and minimums are rounded to f16 once, the
 * weight q * s - m once more: 2^-12 of the weight on average.  About 2.3 instructions a Q4_K weight and lane.
 * Limits: weights of 65504 and more, and block scales d of 64 and more, become infinite.
 * Source: layout.h for where codes lie.                                                                                       */
#ifndef SR_OPS_LINEAR_DECODE_F16_CUH
#define SR_OPS_LINEAR_DECODE_F16_CUH
#include "ops/linear/skinny_tile.cuh"

__device__ __forceinline__ uint32_t fma2(uint32_t a, uint32_t b, uint32_t c)
{
    return sr_half2_bits(__hfma2(sr_half2_of(a), sr_half2_of(b), sr_half2_of(c)));
}
__device__ __forceinline__ uint32_t mul2(uint32_t a, uint32_t b)
{
    return sr_half2_bits(__hmul2(sr_half2_of(a), sr_half2_of(b)));
}
__device__ __forceinline__ uint32_t add2(uint32_t a, uint32_t b)
{
    return sr_half2_bits(__hadd2(sr_half2_of(a), sr_half2_of(b)));
}

/* Twice the same f16 number. */
#define TWICE(h) ((uint32_t)(h) * 0x00010001u)
enum {
    H_1024    = 0x6400,
    H_M1024   = 0xe400,
    H_M1032   = 0xe408, /* -1024 - 8 */
    H_M1056   = 0xe420, /* -1024 - 32 */
    H_M1152   = 0xe480, /* -1024 - 128 */
    H_1_16TH  = 0x2c00,
    H_M64     = 0xd400,
    H_M72     = 0xd480, /* -64 - 8 */
    H_M96     = 0xd600  /* -64 - 32 */
};

/* Eight registers of 1024 + q (step 0), 1024 + 16 q (step 1) from two words of nibbles, of rows g and g + 8. */
__device__ __forceinline__ void codes_of(uint32_t w0, uint32_t w1, uint32_t up, uint32_t a[8])
{
    const uint32_t t0 = w0 >> 8, t1 = w1 >> 8;
    a[0] = (w0 & LOW) | up;
    a[1] = (w1 & LOW) | up;
    a[2] = (t0 & LOW) | up;
    a[3] = (t1 & LOW) | up;
    a[4] = (w0 & HIGH) | up;
    a[5] = (w1 & HIGH) | up;
    a[6] = (t0 & HIGH) | up;
    a[7] = (t1 & HIGH) | up;
}

/* Further bits of register i, as top_bits(). */
__device__ __forceinline__ void codes_top(uint32_t t, int at, uint32_t mask, int i, uint32_t a[8])
{
    t = to_fourth(t, at);
    a[i] |= t & mask;
    a[i + 4] |= t & mask << 4;
}

/* Codes without the 1024, less `zero`; H0, H1: -1024 - zero, -64 - zero. */
template <uint32_t H0, uint32_t H1> __device__ __forceinline__ void codes_free(uint32_t a[8])
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        a[i]     = add2(a[i], TWICE(H0));
        a[i + 4] = fma2(a[i + 4], TWICE(H_1_16TH), TWICE(H1));
    }
}

/* Byte i of a word as 1024 + byte, twice. */
__device__ __forceinline__ uint32_t byte_f16(uint32_t w, int i, uint32_t up) { return __byte_perm(w, up, 0x5050 + 0x0101 * i); }

template <int F> struct decoder;
/* Both at once, where tiles lie near. */
#define READ_THERE                                                                                           \
    __device__ __forceinline__ void open(const uint8_t *w, uint32_t lane)                                    \
    {                                                                                                        \
        fetch(w, lane);                                                                                      \
        open();                                                                                              \
    }                                                                                                        \
    __device__ __forceinline__ void block(const uint8_t *w, uint32_t lane, int b, uint32_t up, uint32_t a[8]) \
    {                                                                                                        \
        if (b % 2 == 0)                                                                                      \
            take(w, lane, b / 2);                                                                            \
        codes(b, up, a);                                                                                     \
    }

/* Q4_K, Q5_K. */
template <int F> struct decoder_k45 {
    uint32_t sc[2][2], m[2][2]; /* [row half][first, second four blocks]: bytes */
    uint32_t d[2], d1024[2], dm[2], dm1024[2];
    uint4 head[2], q;
    uint32_t top;
    __device__ __forceinline__ void fetch(const uint8_t *w, uint32_t lane)
    {
#pragma unroll
        for (int r = 0; r < 2; r++)
            head[r] = at16(w + 2048 + r * 128 + lane / 4 * 16);
    }
    __device__ __forceinline__ void open(void)
    {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const uint4 h = head[r];
            sc[r][0] = h.y & 0x3f3f3f3f;
            sc[r][1] = (h.w & 0x0f0f0f0f) | (h.y >> 2 & 0x30303030);
            m[r][0]  = h.z & 0x3f3f3f3f;
            m[r][1]  = (h.w >> 4 & 0x0f0f0f0f) | (h.z >> 2 & 0x30303030);
            d[r]     = __byte_perm(h.x, 0, 0x1010);
            dm[r]    = __byte_perm(h.x, 0, 0x3232) ^ 0x80008000; /* minus */
            d1024[r]  = mul2(d[r], TWICE(H_M1024));
            dm1024[r] = mul2(dm[r], TWICE(H_M1024));
        }
    }
    __device__ __forceinline__ void take(const uint8_t *w, uint32_t lane, int j)
    {
        q   = at16(w + j * 512 + lane * 16);
        top = F == SR_Q5_K ? at4(w + 2304 + lane * 16 + j * 4) : 0;
    }
    __device__ __forceinline__ void codes(int b, uint32_t up, uint32_t a[8])
    {
        codes_of(b % 2 ? q.z : q.x, b % 2 ? q.w : q.y, up, a);
        if (F == SR_Q5_K)
#pragma unroll
            for (int i = 0; i < 4; i++)
                codes_top(top, fifth_at(b % 2, i), 0x00100010, i, a);
        codes_free<H_M1024, H_M64>(a);
#pragma unroll
        for (int r = 0; r < 2; r++) { /* (1024 + sc) d - 1024 d: rounded once */
            uint32_t s = fma2(byte_f16(sc[r][b / 4], b % 4, up), d[r], d1024[r]), o = fma2(byte_f16(m[r][b / 4], b % 4, up), dm[r], dm1024[r]);
#pragma unroll
            for (int i = r; i < 8; i += 2)
                a[i] = fma2(a[i], s, o);
        }
    }
    READ_THERE
};
template <> struct decoder<SR_Q4_K> : decoder_k45<SR_Q4_K> {};
template <> struct decoder<SR_Q5_K> : decoder_k45<SR_Q5_K> {};

/* Q6_K: a scale per step. */
struct codes_k6 {
    uint4 sc[2];
    uint4 q;
    uint2 top;
    uint16_t factor[2]; /* f16 */
    __device__ __forceinline__ void fetch(const uint8_t *w, uint32_t lane)
    {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            sc[r]     = at16(w + 2048 + r * 128 + lane / 4 * 16);
            factor[r] = *(const uint16_t *)(w + 3328 + r * 16 + lane / 4 * 2);
        }
    }
    __device__ __forceinline__ void open_scales(void)
    {
#pragma unroll
        for (int r = 0; r < 2; r++)
            sc[r] = make_uint4(sc[r].x ^ 0x80808080, sc[r].y ^ 0x80808080, sc[r].z ^ 0x80808080, sc[r].w ^ 0x80808080);
    }
    __device__ __forceinline__ void take(const uint8_t *w, uint32_t lane, int j)
    {
        q   = at16(w + j * 512 + lane * 16);
        top = at8(w + 2304 + j * 256 + lane * 8);
    }
    /* 32 taken off. */
    __device__ __forceinline__ void codes_alone(int b, uint32_t up, uint32_t a[8])
    {
        codes_of(b % 2 ? q.z : q.x, b % 2 ? q.w : q.y, up, a);
#pragma unroll
        for (int i = 0; i < 4; i++)
            codes_top(b % 2 ? top.y : top.x, high_at(i), 0x00300030, i, a);
        codes_free<H_M1056, H_M96>(a);
    }
    /* The scale of step s of block b, row half r, twice. */
    __device__ __forceinline__ uint32_t scale(int r, int b, int s, uint32_t up) const
    {
        const uint32_t v = sr_word(sc[r], b / 2);
        return add2(byte_f16(v, b % 2 * 2 + s, up), TWICE(H_M1152));
    }
    static __device__ __forceinline__ void times(uint32_t a[8], int r, int s, uint32_t f)
    {
        a[s * 4 + r]     = mul2(a[s * 4 + r], f);
        a[s * 4 + r + 2] = mul2(a[s * 4 + r + 2], f);
    }
};

template <> struct decoder<SR_Q6_K> : codes_k6 {
    uint32_t d[2];
    __device__ __forceinline__ void open(void)
    {
        open_scales();
#pragma unroll
        for (int r = 0; r < 2; r++)
            d[r] = TWICE(factor[r]);
    }
    __device__ __forceinline__ void codes(int b, uint32_t up, uint32_t a[8])
    {
        codes_alone(b, up, a);
#pragma unroll
        for (int i = 0; i < 4; i++)
            times(a, i / 2, i % 2, mul2(scale(i / 2, b, i % 2, up), d[i / 2]));
    }
    READ_THERE
};

template <int F> struct decoder_0 {
    uint4 sc[2]; /* eight f16 a row */
    uint4 q[F == SR_Q8_0 ? 2 : 1];
    __device__ __forceinline__ void fetch(const uint8_t *w, uint32_t lane)
    {
#pragma unroll
        for (int r = 0; r < 2; r++)
            sc[r] = at16(w + (F == SR_Q8_0 ? 4096 : 2048) + r * 128 + lane / 4 * 16);
    }
    __device__ __forceinline__ void open(void) {}
    __device__ __forceinline__ void take(const uint8_t *w, uint32_t lane, int j)
    {
#pragma unroll
        for (int i = 0; i < (F == SR_Q8_0 ? 2 : 1); i++)
            q[i] = at16(w + (F == SR_Q8_0 ? j * 1024 + i * 512 : j * 512) + lane * 16);
    }
    __device__ __forceinline__ void codes(int b, uint32_t up, uint32_t a[8])
    {
        if constexpr (F == SR_Q8_0) {
            const uint32_t v[4] = {q[b % 2].x, q[b % 2].y, q[b % 2].z, q[b % 2].w};
#pragma unroll
            for (int i = 0; i < 4; i++) {
                a[i / 2 * 4 + i % 2]     = add2(__byte_perm(v[i], up, 0x5250), TWICE(H_M1152));
                a[i / 2 * 4 + i % 2 + 2] = add2(__byte_perm(v[i], up, 0x5351), TWICE(H_M1152));
            }
        } else {
            codes_of(b % 2 ? q[0].z : q[0].x, b % 2 ? q[0].w : q[0].y, up, a);
            codes_free<H_M1032, H_M72>(a);
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            uint32_t v = sr_word(sc[r], b / 2),
                     s = __byte_perm(v, 0, b % 2 ? 0x3232 : 0x1010);
#pragma unroll
            for (int i = r; i < 8; i += 2)
                a[i] = mul2(a[i], s);
        }
    }
    READ_THERE
};
template <> struct decoder<SR_Q4_0> : decoder_0<SR_Q4_0> {};
template <> struct decoder<SR_Q8_0> : decoder_0<SR_Q8_0> {};

template <int F> struct decoder_half { /* a tile has two blocks */
    uint4 q[4];
    __device__ __forceinline__ void fetch(const uint8_t *, uint32_t) {}
    __device__ __forceinline__ void open(void) {}
    __device__ __forceinline__ void take(const uint8_t *w, uint32_t lane, int)
    {
#pragma unroll
        for (int i = 0; i < 4; i++)
            q[i] = at16(w + i * 512 + lane * 16);
    }
    __device__ __forceinline__ void codes(int b, uint32_t, uint32_t a[8])
    {
#pragma unroll
        for (int s = 0; s < 2; s++) {
            const uint4 v = q[b % 2 * 2 + s];
            a[s * 4]     = F == SR_BF16 ? bf16_f16(v.x) : v.x;
            a[s * 4 + 1] = F == SR_BF16 ? bf16_f16(v.y) : v.y;
            a[s * 4 + 2] = F == SR_BF16 ? bf16_f16(v.z) : v.z;
            a[s * 4 + 3] = F == SR_BF16 ? bf16_f16(v.w) : v.w;
        }
    }
    READ_THERE
};
template <> struct decoder<SR_F16> : decoder_half<SR_F16> {};
template <> struct decoder<SR_BF16> : decoder_half<SR_BF16> {};
#undef READ_THERE
#endif
