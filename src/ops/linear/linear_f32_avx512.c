/* LINEAR with activations as they are, on AVX-512: linear_f32.h. */
#include "ops/linear/codes512.h"

enum { GROUP = 16, MANY_R = 4, MANY_T = 6 }; /* 16 and 24 registers of sums */
#define FEW_R(n_t) (GROUP / (n_t))
#define ASK(p)     _mm_prefetch((const char *)(p), _MM_HINT_T0)
#define floats     sr_floats512
#include "ops/linear/linear_f32.h"

SR_INLINE void unpack64(uint32_t format, const uint8_t *w, int i, int8_t *to)
{
    __m512i q = sr_codes64(format, w, i);
    _mm512_store_si512(to, format == SR_Q6_K ? _mm512_sub_epi8(q, _mm512_set1_epi8(32)) : q);
}

SR_INLINE void unpack32(uint32_t format, const uint8_t *w, int8_t *to) { _mm256_store_si256((__m256i *)to, sr_codes_0(format, w)); }

SR_INLINE v16 scales_45(const uint8_t *w)
{
    const __m512i each = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    __m128i       head = _mm_loadu_si128((const __m128i *)w);
    v16           d    = _mm512_permutexvar_ps(each, _mm512_castps128_ps512(_mm_cvtph_ps(head)));
    d                  = _mm512_xor_ps(d, _mm512_castsi512_ps(_mm512_slli_epi32(each, 31)));
    return v16_mul(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sr_scales_45x(head))));
}

/* Sixteen bytes' low nibbles by one table to `to`, their high nibbles by another to `to` + high. */
SR_INLINE void nibbles(const uint8_t *p, v16 a, v16 b, size_t high, float *to)
{
    __m512i at = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)); /* a look-up reads the low bits alone */
    v16_store(to, _mm512_permutexvar_ps(at, a));
    v16_store(to + high, _mm512_permutexvar_ps(_mm512_srli_epi32(at, 4), b));
}

SR_INLINE bool look_up(uint32_t format, const uint8_t *w, const float *s, float *to)
{
    const v16 code = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    if (format == SR_Q4_0) {
        v16 t = v16_mul(v16_set1(*s), v16_sub(code, v16_set1(8)));
        nibbles(w + 2, t, t, 16, to);
    } else if (format == SR_Q4_K) {
        V16_UNROLL for (int i = 0; i < 4; i++) {
            v16 a = v16_fma(v16_set1(s[2 * i]), code, v16_set1(s[8 + 2 * i])), b = v16_fma(v16_set1(s[2 * i + 1]), code, v16_set1(s[9 + 2 * i]));
            nibbles(w + 16 + 32 * i, a, b, 32, to + 64 * i);
            nibbles(w + 32 + 32 * i, a, b, 32, to + 64 * i + 16);
        }
    } else if (format == SR_Q5_K) {
        _Alignas(64) uint8_t q[256];
        V16_UNROLL for (int i = 0; i < 4; i++)
            _mm512_store_si512(q + 64 * i, sr_codes64(format, w, i));
        V16_UNROLL for (int j = 0; j < 8; j++) {
            v16 d = v16_set1(s[j]), m = v16_set1(s[8 + j]), a = v16_fma(d, code, m), b = v16_fma(d, v16_add(code, v16_set1(16)), m);
            V16_UNROLL for (int k = 0; k < 32; k += 16)
                v16_store(to + 32 * j + k, _mm512_permutex2var_ps(a, _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)(q + 32 * j + k))), b));
        }
    } else
        return false;
    return true;
}

const sr_cpukernel sr_linear_f32_avx512 = {
    .family = "linear", .isa = "avx512", .needs = SR_CPU_AVX512 | SR_CPU_AVX512_VNNI, .phases = 1, .run = run_f32};
