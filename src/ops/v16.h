/* v16.h - sixteen f32 lanes: one AVX-512 register, two of AVX2, or four of NEON (v16_neon.h).
 *
 * A fast path is written once against this header (<family>_v16.h) and compiled for each, by <family>_avx2.c,
 * <family>_avx512.c and <family>_neon.c.  Every function gives, lane by lane, the bits of the scalar operation that
 * its name says; v16_exp, _log, _tanh follow the steps of mathf.h.  So all give the bits of the reference.
 *
 * Masks:   m16 has a lane per bit (AVX-512), per sign (AVX2) or per word (NEON).   NaN: v16_max(a, b) is b unless a > b.
 * Errors:  none.   Threads: any, pure functions.
 */
#ifndef SR_OPS_V16_H
#define SR_OPS_V16_H
#include "ops/mathf.h"

#if defined(__clang__)
#define V16_UNROLL _Pragma("unroll")
#else
#define V16_UNROLL _Pragma("GCC unroll 16")
#endif
#define V16_FN static inline __attribute__((always_inline, unused))

#if defined(__aarch64__)
#include "ops/v16_neon.h"
#else
#include <immintrin.h>

#if defined(__AVX512F__)
typedef __m512    v16;
typedef __m512i   i16x; /* sixteen int32 */
typedef __mmask16 m16;

V16_FN v16  v16_set1(float x) { return _mm512_set1_ps(x); }
V16_FN v16  v16_load(const float *p) { return _mm512_loadu_ps(p); }
V16_FN void v16_store(float *p, v16 x) { _mm512_storeu_ps(p, x); }
V16_FN v16  v16_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
V16_FN v16  v16_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
V16_FN v16  v16_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
V16_FN v16  v16_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
V16_FN v16  v16_max(v16 a, v16 b) { return _mm512_max_ps(a, b); }
V16_FN v16  v16_min(v16 a, v16 b) { return _mm512_min_ps(a, b); }
V16_FN v16  v16_trunc(v16 x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
V16_FN v16  v16_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }   /*  a*b + c */
V16_FN v16  v16_fnma(v16 a, v16 b, v16 c) { return _mm512_fnmadd_ps(a, b, c); } /* -a*b + c */
V16_FN v16  v16_and_bits(v16 a, uint32_t bits) { return _mm512_and_ps(a, _mm512_castsi512_ps(_mm512_set1_epi32((int)bits))); }
V16_FN v16  v16_or(v16 a, v16 b) { return _mm512_or_ps(a, b); }
V16_FN v16  v16_xor(v16 a, v16 b) { return _mm512_xor_ps(a, b); }
V16_FN m16  v16_lt(v16 a, v16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
V16_FN m16  v16_le(v16 a, v16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
V16_FN m16  v16_eq(v16 a, v16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
V16_FN m16  v16_isnan(v16 a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
V16_FN v16  v16_select(m16 m, v16 yes, v16 no) { return _mm512_mask_blend_ps(m, no, yes); }
V16_FN m16  m16_first(uint32_t n) { return (m16)((1u << n) - 1); } /* lanes below n <= 16 */
V16_FN m16  m16_range(uint32_t a, uint32_t b) { return (m16)(((1u << b) - 1) & ~((1u << a) - 1)); }
V16_FN uint32_t m16_bits(m16 m) { return m; }
V16_FN v16  v16_load_n(const float *p, uint32_t n) { return _mm512_maskz_loadu_ps(m16_first(n), p); } /* others: 0 */
V16_FN void v16_store_n(float *p, uint32_t n, v16 x) { _mm512_mask_storeu_ps(p, m16_first(n), x); }
V16_FN v16  v16_from_f16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
V16_FN v16  v16_from_i8(const void *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p))); }
V16_FN v16  v16_even_twice(v16 x) { return _mm512_moveldup_ps(x); }
V16_FN v16  v16_odd_twice(v16 x) { return _mm512_movehdup_ps(x); }
V16_FN void v16_to_f16(void *p, v16 x)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
V16_FN void v16_to_i8(void *p, v16 x) { _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(x))); } /* whole numbers */
V16_FN i16x i16x_of(v16 x) { return _mm512_castps_si512(x); }
V16_FN v16  v16_of(i16x x) { return _mm512_castsi512_ps(x); }
V16_FN i16x i16x_set1(uint32_t x) { return _mm512_set1_epi32((int)x); }
V16_FN i16x i16x_add(i16x a, i16x b) { return _mm512_add_epi32(a, b); }
V16_FN i16x i16x_sub(i16x a, i16x b) { return _mm512_sub_epi32(a, b); }
V16_FN i16x i16x_and(i16x a, i16x b) { return _mm512_and_si512(a, b); }
V16_FN i16x i16x_xor(i16x a, i16x b) { return _mm512_xor_si512(a, b); }
V16_FN v16  v16_from_i32(i16x a) { return _mm512_cvtepi32_ps(a); }
V16_FN m16  m16_or(m16 a, m16 b) { return (m16)(a | b); }
V16_FN m16  m16_and(m16 a, m16 b) { return (m16)(a & b); }
V16_FN m16  m16_of_bits(uint32_t bits) { return (m16)bits; }
V16_FN i16x i16x_count(uint32_t from) /* from, from+1, ... */
{
    return _mm512_add_epi32(_mm512_set1_epi32((int)from), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}
V16_FN i16x i16x_load(const uint32_t *p) { return _mm512_loadu_si512(p); }
#define i16x_shl(a, n) _mm512_slli_epi32(a, n)
#define i16x_shr(a, n) _mm512_srli_epi32(a, n)
#define i16x_sar(a, n) _mm512_srai_epi32(a, n)

/* Lanes i and i+8, then i+4, i+2, i+1. */
V16_FN float v16_fold(v16 x)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b        = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

V16_FN float v16_top(v16 x)
{
    __m256 a = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b        = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}
#else
typedef struct { __m256 a, b; } v16;
typedef struct { __m256i a, b; } i16x;
typedef struct { __m256 a, b; } m16;
#define V16_2(f, x, y)    ((v16){f((x).a, (y).a), f((x).b, (y).b)})
#define V16_3(f, x, y, z) ((v16){f((x).a, (y).a, (z).a), f((x).b, (y).b, (z).b)})
#define I16_2(f, x, y)    ((i16x){f((x).a, (y).a), f((x).b, (y).b)})
#define M16_2(x, y, op)   ((m16){_mm256_cmp_ps((x).a, (y).a, op), _mm256_cmp_ps((x).b, (y).b, op)})

V16_FN v16  v16_set1(float x) { return (v16){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
V16_FN v16  v16_load(const float *p) { return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
V16_FN void v16_store(float *p, v16 x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
V16_FN v16  v16_add(v16 a, v16 b) { return V16_2(_mm256_add_ps, a, b); }
V16_FN v16  v16_sub(v16 a, v16 b) { return V16_2(_mm256_sub_ps, a, b); }
V16_FN v16  v16_mul(v16 a, v16 b) { return V16_2(_mm256_mul_ps, a, b); }
V16_FN v16  v16_div(v16 a, v16 b) { return V16_2(_mm256_div_ps, a, b); }
V16_FN v16  v16_max(v16 a, v16 b) { return V16_2(_mm256_max_ps, a, b); }
V16_FN v16  v16_min(v16 a, v16 b) { return V16_2(_mm256_min_ps, a, b); }
V16_FN v16  v16_trunc(v16 x)
{
    return (v16){_mm256_round_ps(x.a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC),
                 _mm256_round_ps(x.b, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC)};
}
V16_FN v16  v16_fma(v16 a, v16 b, v16 c) { return V16_3(_mm256_fmadd_ps, a, b, c); }
V16_FN v16  v16_fnma(v16 a, v16 b, v16 c) { return V16_3(_mm256_fnmadd_ps, a, b, c); }
V16_FN v16  v16_or(v16 a, v16 b) { return V16_2(_mm256_or_ps, a, b); }
V16_FN v16  v16_xor(v16 a, v16 b) { return V16_2(_mm256_xor_ps, a, b); }
V16_FN v16  v16_and_bits(v16 a, uint32_t bits)
{
    __m256 m = _mm256_castsi256_ps(_mm256_set1_epi32((int)bits));
    return (v16){_mm256_and_ps(a.a, m), _mm256_and_ps(a.b, m)};
}
V16_FN m16  v16_lt(v16 a, v16 b) { return M16_2(a, b, _CMP_LT_OQ); }
V16_FN m16  v16_le(v16 a, v16 b) { return M16_2(a, b, _CMP_LE_OQ); }
V16_FN m16  v16_eq(v16 a, v16 b) { return M16_2(a, b, _CMP_EQ_OQ); }
V16_FN m16  v16_isnan(v16 a) { return M16_2(a, a, _CMP_UNORD_Q); }
V16_FN v16  v16_select(m16 m, v16 yes, v16 no) { return V16_3(_mm256_blendv_ps, no, yes, m); }
V16_FN m16  m16_range(uint32_t a, uint32_t b)
{
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), lo = _mm256_set1_epi32((int)a - 1), hi = _mm256_set1_epi32((int)b);
    __m256i next = _mm256_add_epi32(lane, _mm256_set1_epi32(8));
    return (m16){_mm256_castsi256_ps(_mm256_and_si256(_mm256_cmpgt_epi32(lane, lo), _mm256_cmpgt_epi32(hi, lane))),
                 _mm256_castsi256_ps(_mm256_and_si256(_mm256_cmpgt_epi32(next, lo), _mm256_cmpgt_epi32(hi, next)))};
}
V16_FN m16      m16_first(uint32_t n) { return m16_range(0, n); }
V16_FN uint32_t m16_bits(m16 m) { return (uint32_t)_mm256_movemask_ps(m.a) | (uint32_t)_mm256_movemask_ps(m.b) << 8; }
V16_FN v16      v16_load_n(const float *p, uint32_t n)
{
    m16 m = m16_first(n);
    return (v16){_mm256_maskload_ps(p, _mm256_castps_si256(m.a)), _mm256_maskload_ps(p + 8, _mm256_castps_si256(m.b))};
}
V16_FN void v16_store_n(float *p, uint32_t n, v16 x)
{
    m16 m = m16_first(n);
    _mm256_maskstore_ps(p, _mm256_castps_si256(m.a), x.a);
    _mm256_maskstore_ps(p + 8, _mm256_castps_si256(m.b), x.b);
}
V16_FN v16 v16_from_f16(const void *p)
{
    const __m128i *h = p;
    return (v16){_mm256_cvtph_ps(_mm_loadu_si128(h)), _mm256_cvtph_ps(_mm_loadu_si128(h + 1))};
}
V16_FN v16 v16_from_i8(const void *p)
{
    __m128i x = _mm_loadu_si128((const __m128i *)p);
    return (v16){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(x, 8)))};
}
V16_FN v16  v16_even_twice(v16 x) { return (v16){_mm256_moveldup_ps(x.a), _mm256_moveldup_ps(x.b)}; }
V16_FN v16  v16_odd_twice(v16 x) { return (v16){_mm256_movehdup_ps(x.a), _mm256_movehdup_ps(x.b)}; }
V16_FN void v16_to_f16(void *p, v16 x)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)p + 1, _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
V16_FN void v16_to_i8(void *p, v16 x)
{
    __m256i w = _mm256_packs_epi32(_mm256_cvttps_epi32(x.a), _mm256_cvttps_epi32(x.b)); /* by lane: a0-3 b0-3 a4-7 b4-7 */
    w         = _mm256_permute4x64_epi64(w, 0xd8);
    _mm_storeu_si128((__m128i *)p, _mm_packs_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1)));
}
V16_FN i16x i16x_of(v16 x) { return (i16x){_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }
V16_FN v16  v16_of(i16x x) { return (v16){_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
V16_FN i16x i16x_set1(uint32_t x) { return (i16x){_mm256_set1_epi32((int)x), _mm256_set1_epi32((int)x)}; }
V16_FN i16x i16x_add(i16x a, i16x b) { return I16_2(_mm256_add_epi32, a, b); }
V16_FN i16x i16x_sub(i16x a, i16x b) { return I16_2(_mm256_sub_epi32, a, b); }
V16_FN i16x i16x_and(i16x a, i16x b) { return I16_2(_mm256_and_si256, a, b); }
V16_FN i16x i16x_xor(i16x a, i16x b) { return I16_2(_mm256_xor_si256, a, b); }
V16_FN v16  v16_from_i32(i16x a) { return (v16){_mm256_cvtepi32_ps(a.a), _mm256_cvtepi32_ps(a.b)}; }
V16_FN m16  m16_or(m16 a, m16 b) { return (m16){_mm256_or_ps(a.a, b.a), _mm256_or_ps(a.b, b.b)}; }
V16_FN m16  m16_and(m16 a, m16 b) { return (m16){_mm256_and_ps(a.a, b.a), _mm256_and_ps(a.b, b.b)}; }
V16_FN m16  m16_of_bits(uint32_t bits)
{
    __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128), x = _mm256_set1_epi32((int)bits), y = _mm256_set1_epi32((int)(bits >> 8));
    return (m16){_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(x, lane), lane)),
                 _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(y, lane), lane))};
}
V16_FN i16x i16x_count(uint32_t from)
{
    __m256i a = _mm256_add_epi32(_mm256_set1_epi32((int)from), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return (i16x){a, _mm256_add_epi32(a, _mm256_set1_epi32(8))};
}
V16_FN i16x i16x_load(const uint32_t *p) { return (i16x){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)(p + 8))}; }
#define i16x_shl(x, n) ((i16x){_mm256_slli_epi32((x).a, n), _mm256_slli_epi32((x).b, n)})
#define i16x_shr(x, n) ((i16x){_mm256_srli_epi32((x).a, n), _mm256_srli_epi32((x).b, n)})
#define i16x_sar(x, n) ((i16x){_mm256_srai_epi32((x).a, n), _mm256_srai_epi32((x).b, n)})

V16_FN float v16_fold(v16 x)
{
    __m256 a = _mm256_add_ps(x.a, x.b);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b        = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

V16_FN float v16_top(v16 x)
{
    __m256 a = _mm256_max_ps(x.a, x.b);
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b        = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}
#endif

V16_FN float v16_half(uint16_t h) { return _cvtsh_ss(h); }

/* Words in 64-bit lanes, whose upper halves mean nothing: as philox wants them. */
#if defined(__AVX512F__)
enum { W64_LANES = 8 };
typedef __m512i w64;
V16_FN w64  w64_set1(uint32_t x) { return _mm512_set1_epi64(x); }
V16_FN w64  w64_load(const uint32_t *p) { return _mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i *)p)); }
V16_FN w64  w64_mul(w64 a, w64 b) { return _mm512_mul_epu32(a, b); } /* the full products of the words */
V16_FN w64  w64_high(w64 a) { return _mm512_shuffle_epi32(a, (_MM_PERM_ENUM)0xf5); } /* not a shift: those share the multiplier's port */
V16_FN w64  w64_xor3(w64 a, w64 b, w64 c) { return _mm512_ternarylogic_epi64(a, b, c, 0x96); }
V16_FN void w64_store(uint32_t *p, w64 a) { _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi64_epi32(a)); }
#else
enum { W64_LANES = 4 };
typedef __m256i w64;
V16_FN w64  w64_set1(uint32_t x) { return _mm256_set1_epi64x(x); }
V16_FN w64  w64_load(const uint32_t *p) { return _mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)p)); }
V16_FN w64  w64_mul(w64 a, w64 b) { return _mm256_mul_epu32(a, b); }
V16_FN w64  w64_high(w64 a) { return _mm256_shuffle_epi32(a, 0xf5); }
V16_FN w64  w64_xor3(w64 a, w64 b, w64 c) { return _mm256_xor_si256(_mm256_xor_si256(a, b), c); }
V16_FN void w64_store(uint32_t *p, w64 a)
{
    a = _mm256_permutevar8x32_epi32(a, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7));
    _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(a));
}
#endif

/* Sums in double: exact for whole numbers whose sum is below 2^53. */
#if defined(__AVX512F__)
typedef struct { __m512d a, b; } d16;
V16_FN d16 d16_zero(void) { return (d16){_mm512_setzero_pd(), _mm512_setzero_pd()}; }
V16_FN d16 d16_add(d16 s, v16 x)
{
    return (d16){_mm512_add_pd(s.a, _mm512_cvtps_pd(_mm512_castps512_ps256(x))),
                 _mm512_add_pd(s.b, _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)))};
}
V16_FN double d16_sum(d16 s) { return _mm512_reduce_add_pd(_mm512_add_pd(s.a, s.b)); }
#else
typedef struct { __m256d a, b; } d16;
V16_FN d16 d16_zero(void) { return (d16){_mm256_setzero_pd(), _mm256_setzero_pd()}; }
V16_FN d16 d16_add(d16 s, v16 x)
{
    s.a = _mm256_add_pd(s.a, _mm256_cvtps_pd(_mm256_castps256_ps128(x.a)));
    s.b = _mm256_add_pd(s.b, _mm256_cvtps_pd(_mm256_extractf128_ps(x.a, 1)));
    s.a = _mm256_add_pd(s.a, _mm256_cvtps_pd(_mm256_castps256_ps128(x.b)));
    s.b = _mm256_add_pd(s.b, _mm256_cvtps_pd(_mm256_extractf128_ps(x.b, 1)));
    return s;
}
V16_FN double d16_sum(d16 s)
{
    double v[4];
    _mm256_storeu_pd(v, _mm256_add_pd(s.a, s.b));
    return v[0] + v[1] + v[2] + v[3];
}
#endif
#endif

V16_FN v16 v16_zero(void) { return v16_set1(0.0f); }
V16_FN v16 v16_abs(v16 x) { return v16_and_bits(x, 0x7fffffff); }
V16_FN v16 v16_neg(v16 x) { return v16_xor(x, v16_set1(-0.0f)); }

/* sr_expf */
V16_FN v16 v16_exp(v16 x)
{
    v16 rounder = v16_set1(SR_ROUNDER), one = v16_set1(1.0f);
    v16 t = v16_fma(x, v16_set1(SR_LOG2E), rounder), n = v16_sub(t, rounder);
    v16 r = v16_fnma(n, v16_set1(SR_LN2_HI), x);
    r     = v16_fnma(n, v16_set1(SR_LN2_LO), r);
    v16 q = v16_fma(v16_set1(SR_EXP_C6), r, v16_set1(SR_EXP_C5));
    q     = v16_fma(q, r, v16_set1(SR_EXP_C4));
    q     = v16_fma(q, r, v16_set1(SR_EXP_C3));
    q     = v16_fma(q, r, v16_set1(SR_EXP_C2));
    q     = v16_fma(q, r, one);
    q     = v16_fma(q, r, one);
    q     = v16_of(i16x_add(i16x_of(q), i16x_shl(i16x_of(t), 23)));
    q     = v16_select(v16_lt(x, v16_set1(SR_EXP_MIN)), v16_zero(), q);
    return v16_select(v16_le(x, v16_set1(SR_EXP_MAX)), q, v16_add(x, v16_set1(INFINITY)));
}

/* sr_logf of normal positive numbers: nothing else is asked here. */
V16_FN v16 v16_log(v16 x)
{
    i16x base = i16x_set1(SR_SQRT_HALF), u = i16x_sub(i16x_of(x), base);
    v16  e = v16_from_i32(i16x_sar(u, 23));
    v16  f = v16_sub(v16_of(i16x_add(i16x_and(u, i16x_set1(0x7fffff)), base)), v16_set1(1.0f));
    v16  p = v16_fma(v16_set1(SR_LOG_C11), f, v16_set1(SR_LOG_C10));
    p      = v16_fma(p, f, v16_set1(SR_LOG_C9));
    p      = v16_fma(p, f, v16_set1(SR_LOG_C8));
    p      = v16_fma(p, f, v16_set1(SR_LOG_C7));
    p      = v16_fma(p, f, v16_set1(SR_LOG_C6));
    p      = v16_fma(p, f, v16_set1(SR_LOG_C5));
    p      = v16_fma(p, f, v16_set1(SR_LOG_C4));
    p      = v16_fma(p, f, v16_set1(SR_LOG_C3));
    v16 z = v16_mul(f, f), y = v16_fma(v16_mul(p, f), z, v16_mul(e, v16_set1(SR_LN2_LO)));
    y     = v16_fma(v16_set1(-0.5f), z, y);
    return v16_fma(e, v16_set1(SR_LN2_HI), v16_add(f, y));
}

/* sr_tanhf */
V16_FN v16 v16_tanh(v16 x)
{
    v16 a = v16_abs(x), z = v16_mul(x, x), one = v16_set1(1.0f);
    v16 p = v16_fma(v16_set1(SR_TANH_C11), z, v16_set1(SR_TANH_C9));
    p     = v16_fma(p, z, v16_set1(SR_TANH_C7));
    p     = v16_fma(p, z, v16_set1(SR_TANH_C5));
    p     = v16_fma(p, z, v16_set1(SR_TANH_C3));
    p     = v16_fma(v16_mul(p, z), x, x);
    v16 y = v16_sub(one, v16_div(v16_set1(2.0f), v16_add(v16_exp(v16_add(a, a)), one)));
    y     = v16_or(y, v16_xor(x, a)); /* y >= 0 takes the sign of x */
    return v16_select(v16_lt(a, v16_set1(SR_TANH_SMALL)), p, y);
}
#endif
