/* LINEAR with activations as they are, on AVX2, FMA and F16C: linear_f32.h. */
#include "ops/linear/float256.h"

enum { GROUP = 4, MANY_R = 3, MANY_T = 2 }; /* rows of weights that go together: 8 registers of sums; 12 */
#define FEW_R(n_t) ((n_t) == 1 ? 4 : 2)
#define ASK(p)     _mm_prefetch((const char *)(p), _MM_HINT_T0)
#include "ops/linear/linear_f32.h"

SR_INLINE v16 scales_45(const uint8_t *w)
{
    __m128i head = _mm_loadu_si128((const __m128i *)w), q = sr_scales_45x(head);
    __m128  d    = _mm_cvtph_ps(head);
    __m256  sc   = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)), m = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(q, 8)));
    __m256  dmin = _mm256_xor_ps(_mm256_broadcastss_ps(_mm_movehdup_ps(d)), _mm256_set1_ps(-0.0f));
    return (v16){_mm256_mul_ps(_mm256_broadcastss_ps(d), sc), _mm256_mul_ps(dmin, m)};
}

SR_INLINE bool look_up(uint32_t format, const uint8_t *w, const float *s, float *to)
{
    (void)format, (void)w, (void)s, (void)to;
    return false;
}

SR_INLINE void unpack64(uint32_t format, const uint8_t *w, int i, int8_t *to)
{
    __m256i a, b;
    sr_codes(format, w, i, &a, &b);
    if (format == SR_Q6_K) {
        a = _mm256_sub_epi8(a, _mm256_set1_epi8(32));
        b = _mm256_sub_epi8(b, _mm256_set1_epi8(32));
    }
    _mm256_store_si256((__m256i *)to, a);
    _mm256_store_si256((__m256i *)(to + 32), b);
}

SR_INLINE void unpack32(uint32_t format, const uint8_t *w, int8_t *to) { _mm256_store_si256((__m256i *)to, sr_codes_0(format, w)); }

const sr_cpukernel sr_linear_f32_avx2 = {.family = "linear", .isa = "avx2", .needs = SR_CPU_AVX2, .phases = 1, .run = run_f32};
