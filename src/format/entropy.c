#include "format/entropy.h"

#include <math.h>
#include <string.h>

#include "ops/quant/quant.h"

typedef struct { uint64_t n[256], all; } counts;

static void count(counts *c, uint32_t v)
{
    c->n[v & 0xff]++;
    c->all++;
}

static double bits_held(const counts *c)
{
    double bits = 0;
    for (uint32_t i = 0; i < 256; i++)
        if (c->n[i])
            bits -= (double)c->n[i] * log2((double)c->n[i] / (double)c->all);
    return bits;
}

static void part(sr_entropy *e, const char *name, double stored, double held)
{
    e->name[e->n_part]   = name;
    e->stored[e->n_part] = stored;
    e->held[e->n_part++] = held;
}

/* Sign and mantissa are counted by their upper eight bits; the two lowest of F16 are taken to be full. */
static void floats(bool brain, const uint16_t *v, size_t n, sr_entropy *out)
{
    counts exponent = {0}, rest = {0};
    for (size_t i = 0; i < n; i++) {
        count(&exponent, brain ? v[i] >> 7 : (v[i] >> 10) & 31u);
        count(&rest, brain ? (v[i] >> 15) << 7 | (v[i] & 127u) : (v[i] >> 15) << 7 | ((v[i] >> 3) & 127u));
    }
    part(out, "exponents", (double)n * (brain ? 8 : 5), bits_held(&exponent));
    part(out, "signs and mantissas", (double)n * (brain ? 8 : 11), bits_held(&rest) + (brain ? 0 : 3.0 * (double)n));
}

/* Scales of 16 bits as two bytes, each by itself. */
static void scale(counts c[2], uint16_t d)
{
    count(&c[0], d & 0xffu);
    count(&c[1], d >> 8);
}

static void q8_0(const sr_q8_0 *b, size_t n, sr_entropy *out)
{
    counts d[2] = {{{0}, 0}, {{0}, 0}}, q = {0};
    for (size_t i = 0; i < n; i++) {
        scale(d, b[i].d);
        for (int k = 0; k < 32; k++)
            count(&q, (uint8_t)b[i].qs[k]);
    }
    part(out, "scales", 16.0 * (double)n, bits_held(&d[0]) + bits_held(&d[1]));
    part(out, "codes", 256.0 * (double)n, bits_held(&q));
}

static void q6_K(const sr_q6_K *b, size_t n, sr_entropy *out)
{
    counts d[2] = {{{0}, 0}, {{0}, 0}}, s = {0}, q = {0};
    for (size_t i = 0; i < n; i++) {
        scale(d, b[i].d);
        for (int k = 0; k < 16; k++)
            count(&s, (uint8_t)b[i].scales[k]);
        for (int h = 0; h < 2; h++) /* halves of 128: four groups of 32, two bits of each in one byte of qh */
            for (int l = 0; l < 32; l++) {
                uint32_t a = b[i].ql[64 * h + l], c = b[i].ql[64 * h + 32 + l], up = b[i].qh[32 * h + l];
                count(&q, (a & 15u) | (up & 3u) << 4);
                count(&q, (c & 15u) | (up >> 2 & 3u) << 4);
                count(&q, a >> 4 | (up >> 4 & 3u) << 4);
                count(&q, c >> 4 | (up >> 6 & 3u) << 4);
            }
    }
    part(out, "scales", (16.0 + 128.0) * (double)n, bits_held(&d[0]) + bits_held(&d[1]) + bits_held(&s));
    part(out, "codes", 6 * 256.0 * (double)n, bits_held(&q));
}

static void q4_K(const sr_q4_K *b, size_t n, sr_entropy *out)
{
    counts d[4] = {{{0}, 0}, {{0}, 0}, {{0}, 0}, {{0}, 0}}, s = {0}, q = {0};
    for (size_t i = 0; i < n; i++) {
        uint8_t sc[8], m[8];
        scale(d, b[i].d);
        scale(d + 2, b[i].dmin);
        sr_k4_scales(b[i].scales, sc, m);
        for (int k = 0; k < 8; k++) {
            count(&s, sc[k]);
            count(&s, m[k] | 64u);
        }
        for (int k = 0; k < 128; k++) {
            count(&q, b[i].qs[k] & 15u);
            count(&q, b[i].qs[k] >> 4);
        }
    }
    /* Two alphabets in one count: a value costs one bit more there than in its own. */
    double scales = bits_held(&s) - 16.0 * (double)n;
    for (int k = 0; k < 4; k++)
        scales += bits_held(&d[k]);
    part(out, "scales", 128.0 * (double)n, scales);
    part(out, "codes", 1024.0 * (double)n, bits_held(&q));
}

bool sr_entropy_measure(uint32_t format, const void *data, size_t bytes, sr_entropy *out)
{
    *out = (sr_entropy){0};
    switch (format) {
    case SR_BF16: floats(true, data, bytes / 2, out); break;
    case SR_F16:  floats(false, data, bytes / 2, out); break;
    case SR_Q8_0: q8_0(data, bytes / sizeof(sr_q8_0), out); break;
    case SR_Q6_K: q6_K(data, bytes / sizeof(sr_q6_K), out); break;
    case SR_Q4_K: q4_K(data, bytes / sizeof(sr_q4_K), out); break;
    default: return false;
    }
    return true;
}
