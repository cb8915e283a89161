/* v16_neon.h - v16.h for 64-bit ARM: sixteen f32 lanes are four NEON registers.  Included by v16.h alone.
 *
 * Nothing here needs more than ARMv8.0: conversions of f16 are part of it.  FMAX and FMIN give NaN where x86 gives the
 * second operand, so v16_max and v16_min compare and select.
 */
#ifndef SR_OPS_V16_NEON_H
#define SR_OPS_V16_NEON_H
#include <arm_neon.h>

typedef struct { float32x4_t a, b, c, d; } v16;
typedef struct { uint32x4_t a, b, c, d; } i16x; /* sixteen int32 */
typedef i16x m16;                               /* all ones, or 0 */
#define V16_1(T, f, x)       ((T){f((x).a), f((x).b), f((x).c), f((x).d)})
#define V16_2(T, f, x, y)    ((T){f((x).a, (y).a), f((x).b, (y).b), f((x).c, (y).c), f((x).d, (y).d)})
#define V16_3(T, f, x, y, z) ((T){f((x).a, (y).a, (z).a), f((x).b, (y).b, (z).b), f((x).c, (y).c, (z).c), f((x).d, (y).d, (z).d)})
#define V16_ALL(T, v)        ((T){v, v, v, v})

V16_FN float32x4_t v4_max(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
V16_FN float32x4_t v4_min(float32x4_t a, float32x4_t b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
V16_FN float32x4_t v4_or(float32x4_t a, float32x4_t b) { return vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b))); }
V16_FN float32x4_t v4_xor(float32x4_t a, float32x4_t b) { return vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b))); }
V16_FN float32x4_t v4_from_i32(uint32x4_t a) { return vcvtq_f32_s32(vreinterpretq_s32_u32(a)); }

V16_FN v16  v16_set1(float x) { return V16_ALL(v16, vdupq_n_f32(x)); }
V16_FN v16  v16_load(const float *p) { return (v16){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}; }
V16_FN void v16_store(float *p, v16 x)
{
    vst1q_f32(p, x.a);
    vst1q_f32(p + 4, x.b);
    vst1q_f32(p + 8, x.c);
    vst1q_f32(p + 12, x.d);
}
V16_FN v16  v16_add(v16 a, v16 b) { return V16_2(v16, vaddq_f32, a, b); }
V16_FN v16  v16_sub(v16 a, v16 b) { return V16_2(v16, vsubq_f32, a, b); }
V16_FN v16  v16_mul(v16 a, v16 b) { return V16_2(v16, vmulq_f32, a, b); }
V16_FN v16  v16_div(v16 a, v16 b) { return V16_2(v16, vdivq_f32, a, b); }
V16_FN v16  v16_max(v16 a, v16 b) { return V16_2(v16, v4_max, a, b); }
V16_FN v16  v16_min(v16 a, v16 b) { return V16_2(v16, v4_min, a, b); }
V16_FN v16  v16_trunc(v16 x) { return V16_1(v16, vrndq_f32, x); }
V16_FN v16  v16_fma(v16 a, v16 b, v16 c) { return V16_3(v16, vfmaq_f32, c, a, b); }  /*  a*b + c */
V16_FN v16  v16_fnma(v16 a, v16 b, v16 c) { return V16_3(v16, vfmsq_f32, c, a, b); } /* -a*b + c */
V16_FN v16  v16_or(v16 a, v16 b) { return V16_2(v16, v4_or, a, b); }
V16_FN v16  v16_xor(v16 a, v16 b) { return V16_2(v16, v4_xor, a, b); }
V16_FN m16  v16_lt(v16 a, v16 b) { return V16_2(m16, vcltq_f32, a, b); }
V16_FN m16  v16_le(v16 a, v16 b) { return V16_2(m16, vcleq_f32, a, b); }
V16_FN m16  v16_eq(v16 a, v16 b) { return V16_2(m16, vceqq_f32, a, b); }
V16_FN m16  v16_isnan(v16 a)
{
    m16 same = v16_eq(a, a);
    return V16_1(m16, vmvnq_u32, same);
}
V16_FN v16  v16_select(m16 m, v16 yes, v16 no) { return V16_3(v16, vbslq_f32, m, yes, no); }

V16_FN i16x i16x_of(v16 x) { return V16_1(i16x, vreinterpretq_u32_f32, x); }
V16_FN v16  v16_of(i16x x) { return V16_1(v16, vreinterpretq_f32_u32, x); }
V16_FN i16x i16x_set1(uint32_t x) { return V16_ALL(i16x, vdupq_n_u32(x)); }
V16_FN i16x i16x_load(const uint32_t *p) { return (i16x){vld1q_u32(p), vld1q_u32(p + 4), vld1q_u32(p + 8), vld1q_u32(p + 12)}; }
V16_FN i16x i16x_add(i16x a, i16x b) { return V16_2(i16x, vaddq_u32, a, b); }
V16_FN i16x i16x_sub(i16x a, i16x b) { return V16_2(i16x, vsubq_u32, a, b); }
V16_FN i16x i16x_and(i16x a, i16x b) { return V16_2(i16x, vandq_u32, a, b); }
V16_FN i16x i16x_xor(i16x a, i16x b) { return V16_2(i16x, veorq_u32, a, b); }
V16_FN v16  v16_from_i32(i16x a) { return V16_1(v16, v4_from_i32, a); }
V16_FN v16  v16_and_bits(v16 a, uint32_t bits) { return v16_of(i16x_and(i16x_of(a), i16x_set1(bits))); }
V16_FN i16x i16x_count(uint32_t from) /* from, from+1, ... */
{
    static const uint32_t lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return i16x_add(i16x_set1(from), i16x_load(lane));
}
#define V4_SAR(x, n)   vreinterpretq_u32_s32(vshrq_n_s32(vreinterpretq_s32_u32(x), n))
#define i16x_shl(x, n) ((i16x){vshlq_n_u32((x).a, n), vshlq_n_u32((x).b, n), vshlq_n_u32((x).c, n), vshlq_n_u32((x).d, n)})
#define i16x_shr(x, n) ((i16x){vshrq_n_u32((x).a, n), vshrq_n_u32((x).b, n), vshrq_n_u32((x).c, n), vshrq_n_u32((x).d, n)})
#define i16x_sar(x, n) ((i16x){V4_SAR((x).a, n), V4_SAR((x).b, n), V4_SAR((x).c, n), V4_SAR((x).d, n)})

V16_FN m16 m16_or(m16 a, m16 b) { return V16_2(m16, vorrq_u32, a, b); }
V16_FN m16 m16_and(m16 a, m16 b) { return V16_2(m16, vandq_u32, a, b); }
V16_FN m16 m16_range(uint32_t a, uint32_t b) /* lanes a .. b-1 */
{
    i16x lane = i16x_count(0), lo = i16x_set1(a), hi = i16x_set1(b);
    return m16_and(V16_2(m16, vcgeq_u32, lane, lo), V16_2(m16, vcltq_u32, lane, hi));
}
V16_FN m16      m16_first(uint32_t n) { return m16_range(0, n); } /* lanes below n <= 16 */
V16_FN uint32_t m16_bits(m16 m)
{
    static const uint8_t place[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint16x8_t ab = vcombine_u16(vmovn_u32(m.a), vmovn_u32(m.b)), cd = vcombine_u16(vmovn_u32(m.c), vmovn_u32(m.d));
    uint8x16_t x = vandq_u8(vcombine_u8(vmovn_u16(ab), vmovn_u16(cd)), vld1q_u8(place));
    return vaddv_u8(vget_low_u8(x)) | (uint32_t)vaddv_u8(vget_high_u8(x)) << 8;
}
V16_FN m16 m16_of_bits(uint32_t bits)
{
    static const uint32_t place[16] = {1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7, 1 << 8,
                                       1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};
    i16x x = i16x_set1(bits), y = i16x_load(place);
    return V16_2(m16, vtstq_u32, x, y);
}

V16_FN v16 v16_load_n(const float *p, uint32_t n) /* lanes from n on: 0 */
{
    float part[16] = {0};
    return v16_load(n < 16 ? memcpy(part, p, n * sizeof *part) : p);
}
V16_FN void v16_store_n(float *p, uint32_t n, v16 x)
{
    float part[16];
    v16_store(n < 16 ? part : p, x);
    if (n < 16)
        memcpy(p, part, n * sizeof *part);
}
V16_FN v16 v16_from_f16(const void *p)
{
    float16x8_t lo = vreinterpretq_f16_u8(vld1q_u8(p)), hi = vreinterpretq_f16_u8(vld1q_u8((const uint8_t *)p + 16));
    return (v16){vcvt_f32_f16(vget_low_f16(lo)), vcvt_high_f32_f16(lo), vcvt_f32_f16(vget_low_f16(hi)), vcvt_high_f32_f16(hi)};
}
V16_FN void v16_to_f16(void *p, v16 x)
{
    vst1q_u8(p, vreinterpretq_u8_f16(vcvt_high_f16_f32(vcvt_f16_f32(x.a), x.b)));
    vst1q_u8((uint8_t *)p + 16, vreinterpretq_u8_f16(vcvt_high_f16_f32(vcvt_f16_f32(x.c), x.d)));
}
V16_FN float v16_half(uint16_t h) { return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h))), 0); }
V16_FN v16   v16_of_i8(int8x16_t x)
{
    int16x8_t lo = vmovl_s8(vget_low_s8(x)), hi = vmovl_high_s8(x);
    return (v16){vcvtq_f32_s32(vmovl_s16(vget_low_s16(lo))), vcvtq_f32_s32(vmovl_high_s16(lo)),
                 vcvtq_f32_s32(vmovl_s16(vget_low_s16(hi))), vcvtq_f32_s32(vmovl_high_s16(hi))};
}
V16_FN v16  v16_from_i8(const void *p) { return v16_of_i8(vld1q_s8(p)); }
V16_FN void v16_to_i8(void *p, v16 x) /* whole numbers */
{
    int16x8_t lo = vqmovn_high_s32(vqmovn_s32(vcvtq_s32_f32(x.a)), vcvtq_s32_f32(x.b));
    int16x8_t hi = vqmovn_high_s32(vqmovn_s32(vcvtq_s32_f32(x.c)), vcvtq_s32_f32(x.d));
    vst1q_s8(p, vqmovn_high_s16(vqmovn_s16(lo), hi));
}
V16_FN v16 v16_even_twice(v16 x) { return V16_2(v16, vtrn1q_f32, x, x); }
V16_FN v16 v16_odd_twice(v16 x) { return V16_2(v16, vtrn2q_f32, x, x); }

/* Lanes i and i+8, then i+4, i+2, i+1. */
V16_FN float v16_fold(v16 x)
{
    float32x4_t s = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
    float32x2_t t = vadd_f32(vget_low_f32(s), vget_high_f32(s));
    return vget_lane_f32(vpadd_f32(t, t), 0);
}

V16_FN float v16_top(v16 x)
{
    float32x4_t s = v4_max(v4_max(x.a, x.c), v4_max(x.b, x.d));
    s             = v4_max(s, vextq_f32(s, s, 2));
    return vgetq_lane_f32(v4_max(s, vextq_f32(s, s, 1)), 0);
}

/* Words in 64-bit lanes, whose upper halves mean nothing: as philox wants them. */
enum { W64_LANES = 2 };
typedef uint64x2_t w64;
V16_FN w64  w64_set1(uint32_t x) { return vdupq_n_u64(x); }
V16_FN w64  w64_load(const uint32_t *p) { return vmovl_u32(vld1_u32(p)); }
V16_FN w64  w64_mul(w64 a, w64 b) { return vmull_u32(vmovn_u64(a), vmovn_u64(b)); } /* the full products of the words */
V16_FN w64  w64_high(w64 a) { return vshrq_n_u64(a, 32); }
V16_FN w64  w64_xor3(w64 a, w64 b, w64 c) { return veorq_u64(veorq_u64(a, b), c); }
V16_FN void w64_store(uint32_t *p, w64 a) { vst1_u32(p, vmovn_u64(a)); }

/* Sums in double: exact for whole numbers whose sum is below 2^53. */
typedef struct { float64x2_t a, b; } d16;
V16_FN d16 d16_zero(void) { return (d16){vdupq_n_f64(0), vdupq_n_f64(0)}; }
V16_FN d16 d16_add4(d16 s, float32x4_t x)
{
    return (d16){vaddq_f64(s.a, vcvt_f64_f32(vget_low_f32(x))), vaddq_f64(s.b, vcvt_high_f64_f32(x))};
}
V16_FN d16    d16_add(d16 s, v16 x) { return d16_add4(d16_add4(d16_add4(d16_add4(s, x.a), x.b), x.c), x.d); }
V16_FN double d16_sum(d16 s) { return vaddvq_f64(vaddq_f64(s.a, s.b)); }
#endif
