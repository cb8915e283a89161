#include "format/synth.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 256 };

uint64_t sr_synth_chunks(const sr_synthtensor *t) { return (t->n + CHUNK - 1) / CHUNK; }

size_t sr_synth_chunk_bytes(const sr_synthtensor *t) { return sr_row_bytes(t->dtype, CHUNK); }

/* ---- random words: a counter through splitmix64's finaliser, no state to carry ----------------------------- */

typedef struct { uint64_t at; } rng;

static inline uint64_t mix64(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline uint64_t word(rng *r) { return mix64(r->at += 0x9e3779b97f4a7c15u); }

static inline void words(rng *r, void *dst, size_t n) /* n whole words */
{
    for (size_t i = 0; i < n; i++) {
        uint64_t w = word(r);
        memcpy((char *)dst + i * 8, &w, 8);
    }
}

/* Every chunk starts its own stream, far from all others by the mixing of its number. */
static rng stream(const sr_synth *s, size_t tensor, uint64_t chunk)
{
    return (rng){mix64(mix64(s->seed + 0x632be59bd9b4e019u * (tensor + 1)) + chunk * 0xd1342543de82ef95u)};
}

/* ---- quantised blocks: random codes, scales such that the decoded numbers have mean 0 and the wanted std ---- */

/* Uniform codes 0..15 have std 4.61 about 7.5, so minimum = 7.5 * scale: m = sc and dmin = 7.5 d.  Scales
 * are 32..63 of 63, their rms is 48.4; d varies by a quarter from block to block as it does in real files. */
typedef struct { uint16_t d[8], dmin[8]; } k_scales;

static k_scales scales_of(float std, float code_std, float sc_rms, float middle)
{
    k_scales k;
    for (int i = 0; i < 8; i++) {
        float d   = std / (code_std * sc_rms) * (0.79f + 0.06f * (float)i); /* mean square 1 */
        k.d[i]    = sr_f32_to_f16(d);
        k.dmin[i] = sr_f32_to_f16(sr_f16_to_f32(k.d[i]) * middle);
    }
    return k;
}

/* Packed scales (quant.h) with every minimum equal to its scale, four at a time. */
static inline void random_k4(rng *r, uint8_t p[12])
{
    uint64_t w  = word(r);
    uint32_t a  = ((uint32_t)w & 0x1f1f1f1fu) | 0x20202020u, b = ((uint32_t)(w >> 32) & 0x1f1f1f1fu) | 0x20202020u;
    uint32_t lo = a | (b >> 4 & 0x03030303u) << 6, hi = (b & 0x0f0f0f0fu) * 0x11u;
    memcpy(p, &lo, 4);
    memcpy(p + 4, &lo, 4);
    memcpy(p + 8, &hi, 4);
}

static void chunk_q4_K(rng *r, const k_scales *k, sr_q4_K *b)
{
    unsigned v = (unsigned)(word(r) >> 61);
    b->d       = k->d[v];
    b->dmin    = k->dmin[v];
    random_k4(r, b->scales);
    words(r, b->qs, 16);
}

static void chunk_q5_K(rng *r, const k_scales *k, sr_q5_K *b)
{
    unsigned v = (unsigned)(word(r) >> 61);
    b->d       = k->d[v];
    b->dmin    = k->dmin[v];
    random_k4(r, b->scales);
    words(r, b->qh, 4);
    words(r, b->qs, 16);
}

/* Codes -32..31 have mean -1/2: the random signs of the scales take it out. */
static void chunk_q6_K(rng *r, const k_scales *k, sr_q6_K *b)
{
    b->d = k->d[word(r) >> 61];
    words(r, b->ql, 16);
    words(r, b->qh, 8);
    for (int i = 0; i < 2; i++) {
        uint64_t w = word(r), sign = (w >> 7 & 0x0101010101010101u) * 0xff;
        w = ((w & 0x3f3f3f3f3f3f3f3fu) | 0x4040404040404040u) ^ sign; /* 64..127 or -65..-128 */
        memcpy(b->scales + i * 8, &w, 8);
    }
}

/* Codes -8..7 have mean -1/2: as Q6_K, and as in real files, where the sign of d is the largest number's. */
static void chunk_q4_0(rng *r, const k_scales *k, sr_q4_0 *b, size_t blocks)
{
    for (size_t i = 0; i < blocks; i++) {
        uint64_t v = word(r);
        b[i].d     = (uint16_t)(k->d[v >> 61] ^ (v & 0x8000));
        words(r, b[i].qs, 2);
    }
}

/* The sum of two seven-bit numbers less 127: -127..127 as an encoder makes them, more near 0. */
static void chunk_q8_0(rng *r, const k_scales *k, sr_q8_0 *b, size_t blocks)
{
    for (size_t i = 0; i < blocks; i++) {
        b[i].d = k->d[word(r) >> 61];
        for (int j = 0; j < 4; j++) {
            uint64_t v = (word(r) & 0x7f7f7f7f7f7f7f7fu) + (word(r) & 0x7f7f7f7f7f7f7f7fu); /* bytes 0..254 */
            /* minus 127 in each byte, without borrow: v + 129 mod 256 = (v ^ 0x80) + 1, carries kept inside */
            uint64_t x = v ^ 0x8080808080808080u, low = (x & 0x7f7f7f7f7f7f7f7fu) + 0x0101010101010101u;
            v = low ^ (x & 0x8080808080808080u);
            memcpy(b[i].qs + j * 8, &v, 8);
        }
    }
}

/* ---- floats: the sum of two uniform numbers, two floats from a word ------------------------------------------ */

static void chunk_floats(rng *r, float mean, float std, float *y, size_t n)
{
    const float scale = std / 26755.0f; /* std of the sum of two 16-bit numbers */
    for (size_t i = 0; i < n; i += 2) {
        uint64_t w = word(r);
        int32_t  a = (int32_t)(w & 0xffff) + (int32_t)(w >> 16 & 0xffff) - 65535;
        int32_t  b = (int32_t)(w >> 32 & 0xffff) + (int32_t)(w >> 48) - 65535;
        y[i]       = mean + scale * (float)a;
        if (i + 1 < n)
            y[i + 1] = mean + scale * (float)b;
    }
}

/* f32 to f16 without branches: a loop over it becomes SIMD.  For |f| < 65504 only. */
static inline uint16_t fast_f16(float f)
{
    uint32_t u, a, sign;
    memcpy(&u, &f, 4);
    sign = u >> 16 & 0x8000;
    float half = fabsf(f) * 0x1p-112f; /* now f16's exponent bias; what falls below it becomes an f32 subnormal */
    memcpy(&a, &half, 4);
    a += 0xfff + (a >> 13 & 1);
    return (uint16_t)(sign | a >> 13);
}

static inline uint16_t fast_bf16(float f) /* likewise, not for NaN */
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static void chunk_halves(rng *r, uint32_t dtype, float std, uint16_t *y, size_t n)
{
    float f[CHUNK];
    chunk_floats(r, 0, std, f, n);
    for (size_t i = 0; dtype == SR_F16 && i < n; i++)
        y[i] = fast_f16(f[i]);
    for (size_t i = 0; dtype != SR_F16 && i < n; i++)
        y[i] = fast_bf16(f[i]);
}

/* Llama 3's factors: long waves are stretched by `factor`, short ones kept, a ramp between. */
static void rope_factors(const sr_synthshape *s, float *y)
{
    const double low = 1, high = 4, old = s->rope_orig_ctx;
    for (uint32_t i = 0; i < s->head_dim / 2; i++) {
        double wave = 2 * 3.14159265358979323846 * pow(s->rope_theta, 2.0 * i / s->head_dim);
        double ramp = (old / wave - low) / (high - low);
        y[i]        = wave < old / high ? 1 : wave > old / low ? s->rope_factor : (float)(1 / ((1 - ramp) / s->rope_factor + ramp));
    }
}

/* ---- dispatch ------------------------------------------------------------------------------------------------ */

static void chunk_direct(const sr_synthtensor *t, const k_scales *k, rng *r, void *dst, size_t n)
{
    switch (t->dtype) {
    case SR_F32: chunk_floats(r, t->kind == SR_SYNTH_NORM ? 1 : 0, t->std, dst, n); break;
    case SR_F16:
    case SR_BF16: chunk_halves(r, t->dtype, t->std, dst, n); break;
    case SR_Q4_0: chunk_q4_0(r, k, dst, n / 32); break;
    case SR_Q8_0: chunk_q8_0(r, k, dst, n / 32); break;
    case SR_Q4_K: chunk_q4_K(r, k, dst); break;
    case SR_Q5_K: chunk_q5_K(r, k, dst); break;
    case SR_Q6_K: chunk_q6_K(r, k, dst); break;
    default: SR_ASSERT(false, "synthetic weights of type %u", t->dtype);
    }
}

static k_scales scales_for(const sr_synthtensor *t)
{
    switch (t->dtype) {
    case SR_Q4_0: return scales_of(t->std, 4.637f, 1, 0);
    case SR_Q8_0: return scales_of(t->std, 52.26f, 1, 0);
    case SR_Q4_K: return scales_of(t->std, 4.610f, 48.39f, 7.5f);
    case SR_Q5_K: return scales_of(t->std, 9.233f, 48.39f, 15.5f);
    case SR_Q6_K: return scales_of(t->std, 18.480f, 97.77f, 0);
    default: return (k_scales){{0}, {0}};
    }
}

void sr_synth_fill(const sr_synth *s, size_t i, uint64_t first, uint64_t n, void *dst)
{
    const sr_synthtensor *t = &s->t[i];
    const size_t          step = sr_synth_chunk_bytes(t);
    const k_scales        k    = scales_for(t);
    float                 f[CHUNK];
    if (t->kind == SR_SYNTH_ROPE) {
        rope_factors(&s->shape, dst);
        return;
    }
    for (uint64_t c = first; c < first + n; c++, dst = (char *)dst + step) {
        size_t count = (size_t)SR_MIN((uint64_t)CHUNK, t->n - c * CHUNK);
        rng    r     = stream(s, i, c);
        if (s->encoded && t->kind == SR_SYNTH_MATRIX) {
            chunk_floats(&r, 0, t->std, f, count);
            sr_encode_row(t->dtype, f, dst, count);
        } else {
            chunk_direct(t, &k, &r, dst, count);
        }
    }
}
