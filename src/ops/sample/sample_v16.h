/* sample_v16.h - sampling in sixteen lanes, without sorting; compiled by sample_avx2.c, sample_avx512.c and sample_neon.c.
 *
 *     logits --max, NaN?--> --sum of exp--> logprobs
 *        | copied only if adjusted or masked
 *        +--> greedy: first lane equal to the maximum
 *        +--> no filter: draw over all; lanes that could not win with the largest g are skipped unseen
 *        +--> filter: gather what may survive the first filter (few), then each filter on the gathered
 *
 * A filter keeps a prefix of an order; its last member is found by radix selection on sortable keys
 * (histograms of counts and weights), never by sorting.  Gathered tokens stay in order of id, so that ties are kept
 * by lower id.  Before the first filter most tokens are ruled out by one or two vector passes:
 *     top_k   a lower bound of the k-th largest: the k-th largest of the maxima of blocks of 64
 *     top_p   weights of all tokens within 2, 4, 8 .. of the maximum, until they suffice
 */
#include "base/cpu.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/philox.h"
#include "ops/sample/sample_internal.h"
#include "ops/v16.h"

#include <string.h>

enum { BLOCK = 64 };
#define G_MAX 16.7f /* -log(-log(u)) of the largest u is 16.636 */

typedef struct {     /* one row's candidates, in order of id */
    float    *a;     /* adjusted logits */
    uint32_t *id, *key, *at;
    float    *w;     /* sr_expf(a - top) */
    uint32_t  n;
    float     top;
} field;

static uint64_t weight(float w) { return (uint64_t)(w * 0x1p32f); }

/* Floats as integers that sort alike, and back.  -0 counts as 0. */
static uint32_t sortable(float x)
{
    uint32_t u = sr_bits_of(x + 0.0f);
    return u ^ ((uint32_t)((int32_t)u >> 31) | 0x80000000u);
}

static float unsortable(uint32_t k) { return sr_float_of(k & 0x80000000u ? k & 0x7fffffff : ~k); }

/* x[i ..]; lanes from n on: -infinity. */
V16_FN v16 load_or_none(const float *x, uint32_t i, uint32_t n)
{
    if (n - i >= 16)
        return v16_load(x + i);
    return v16_select(m16_first(n - i), v16_load_n(x + i, n - i), v16_set1(-INFINITY));
}

/* ---- whole rows ----------------------------------------------------------------------------------- */

/* The largest; *nan: whether one is NaN (which does not count as largest). */
static float largest(const float *x, uint32_t n, bool *nan)
{
    v16 top = v16_set1(-INFINITY);
    m16 bad = m16_of_bits(0);
    for (uint32_t i = 0; i < n; i += 16) {
        v16 v = load_or_none(x, i, n);
        top   = v16_max(v, top);
        bad   = m16_or(bad, v16_isnan(v));
    }
    *nan = m16_bits(bad) != 0;
    return v16_top(top);
}

static float log_sum_exp(const float *x, uint32_t n, float top)
{
    v16 sum = v16_zero(), m = v16_set1(top);
    for (uint32_t i = 0; i < n; i += 16)
        sum = v16_add(sum, v16_exp(v16_sub(load_or_none(x, i, n), m)));
    return sr_logf(v16_fold(sum));
}

static int32_t first_equal(const float *x, uint32_t n, float top)
{
    v16 t = v16_set1(top);
    for (uint32_t i = 0; i < n; i += 16) {
        uint32_t hit = m16_bits(v16_eq(load_or_none(x, i, n), t));
        if (hit)
            return (int32_t)(i + (uint32_t)__builtin_ctz(hit));
    }
    return -1;
}

static void forbid(float *a, uint32_t n, const uint32_t *mask)
{
    v16 none = v16_set1(-INFINITY);
    for (uint32_t i = 0; i < n; i += 16) {
        m16 allowed = m16_of_bits(mask[i / 32] >> i % 32 & 0xffff);
        if (n - i >= 16)
            v16_store(a + i, v16_select(allowed, v16_load(a + i), none));
        else
            v16_store_n(a + i, n - i, v16_select(allowed, v16_load_n(a + i, n - i), none));
    }
}

/* ---- selection ------------------------------------------------------------------------------------ */

typedef struct {         /* when is a prefix long enough: at so many tokens, or at so much weight */
    uint32_t count;      /* 0: by weight */
    double   want;
    bool     over;       /* weight > want, else >= */
} goal;

static bool reached(const goal *g, uint32_t count, uint64_t run)
{
    if (g->count)
        return count >= g->count;
    return g->over ? (double)run > g->want : (double)run >= g->want;
}

enum { WIDE_BITS = 11, FEW = 4096 }; /* bits of a radix step; for a few keys smaller bins are sooner cleared: 8 */

/* One step: the bin (of `bits` bits above `shift`) in which the goal is reached.  *count, *run: above that bin. */
static int select_bin(const uint32_t *key, const float *w, const uint32_t *at, uint32_t n, int shift, int bits, const goal *g,
                      uint32_t *count, uint64_t *run)
{
    uint32_t here[1 << WIDE_BITS], bins = 1u << bits;
    uint64_t mass[1 << WIDE_BITS];
    memset(here, 0, bins * sizeof *here);
    if (g->count) {
        for (uint32_t i = 0; i < n; i++)
            here[key[at ? at[i] : i] >> shift & (bins - 1)]++;
    } else {
        memset(mass, 0, bins * sizeof *mass);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t k = at ? at[i] : i, b = key[k] >> shift & (bins - 1);
            here[b]++;
            mass[b] += weight(w[k]);
        }
    }
    for (int b = (int)bins - 1; b >= 0; b--) {
        uint64_t more = g->count ? 0 : mass[b];
        if (here[b] && reached(g, *count + here[b], *run + more))
            return b;
        *count += here[b];
        *run += more;
    }
    return -1;
}

/* The key of the last member of the shortest prefix (keys descending) that reaches the goal; false: none does.
 * *count, *run: tokens and weight above that key; at: n words to work in. */
static bool select_key(const uint32_t *key, const float *w, uint32_t *at, uint32_t n, const goal *g, uint32_t *out,
                       uint32_t *count, uint64_t *run)
{
    const uint32_t *from = NULL;
    *count = *out = 0;
    *run = 0;
    for (int shift = 32, bits; shift > 0;) {
        bits = n < FEW ? 8 : SR_MIN((int)WIDE_BITS, shift);
        bits = SR_MIN(bits, shift);
        shift -= bits;
        int b = select_bin(key, w, from, n, shift, bits, g, count, run);
        if (b < 0)
            return false;
        *out |= (uint32_t)b << shift;
        uint32_t left = 0;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t k = from ? from[i] : i;
            at[left]   = k;
            left += key[k] >> shift == *out >> shift;
        }
        from = at;
        n    = left;
    }
    return true;
}

/* Keeps the shortest prefix (keys descending, then id) that reaches the goal. */
static void keep_prefix(field *f, const goal *g)
{
    uint32_t cut, count, n = 0;
    uint64_t run;
    bool     done = false;
    if (!select_key(f->key, f->w, f->at, f->n, g, &cut, &count, &run))
        return;
    for (uint32_t i = 0; i < f->n; i++) {
        if (f->key[i] < cut || (f->key[i] == cut && done))
            continue;
        if (f->key[i] == cut) {
            run += g->count ? 0 : weight(f->w[i]);
            done = reached(g, ++count, run);
        }
        f->a[n]  = f->a[i];
        f->w[n]  = f->w[i];
        f->id[n] = f->id[i];
        n++;
    }
    f->n = n;
}

static void key_by_logit(field *f)
{
    for (uint32_t i = 0; i < f->n; i++)
        f->key[i] = sortable(f->a[i]);
}

/* a lower bound of the k-th largest of x, from maxima of blocks; keys, at: n/64 words each to work in. */
static float floor_of_top(const float *x, uint32_t n, uint32_t k, uint32_t *keys, uint32_t *at)
{
    uint32_t blocks = n / BLOCK, cut, count;
    uint64_t run;
    if (k > blocks)
        return -INFINITY;
    for (uint32_t b = 0; b < blocks; b++) {
        const float *p = x + (size_t)b * BLOCK;
        v16 top = v16_max(v16_load(p), v16_set1(-INFINITY)); /* a NaN is nobody's maximum */
        for (uint32_t i = 16; i < BLOCK; i += 16)
            top = v16_max(v16_load(p + i), top);
        keys[b] = sortable(v16_top(top));
    }
    return select_key(keys, NULL, at, blocks, &(goal){.count = k}, &cut, &count, &run) ? unsortable(cut) : -INFINITY;
}

/* Tokens of x at or above `least` (-infinity itself only if `all`) become the candidates.  x may be f->a. */
static void gather(field *f, const float *x, uint32_t vocab, float least, bool all)
{
    v16 t = v16_set1(least), none = v16_set1(-INFINITY);
    f->n = 0;
    for (uint32_t i = 0; i < vocab; i += 16) {
        v16 v   = load_or_none(x, i, vocab);
        m16 hit = all ? v16_le(t, v) : m16_and(v16_le(t, v), v16_lt(none, v));
        for (uint32_t bits = m16_bits(hit) & (vocab - i < 16 ? (1u << (vocab - i)) - 1 : 0xffff); bits; bits &= bits - 1) {
            uint32_t id = i + (uint32_t)__builtin_ctz(bits);
            f->a[f->n]    = x[id];
            f->id[f->n++] = id;
        }
    }
}

static void weigh(field *f, const float *a, uint32_t n)
{
    v16 top = v16_set1(f->top);
    for (uint32_t i = 0; i < n; i += 16) {
        v16 w = v16_exp(v16_sub(load_or_none(a, i, n), top));
        v16_store_n(f->w + i, SR_MIN(16u, n - i), w);
    }
}

/* Weight of the tokens at or above `least`; NaN and forbidden ones weigh nothing. */
static double mass_above(const float *a, const float *w, uint32_t n, float least)
{
    d16 sum = d16_zero();
    v16 t = v16_set1(least), scale = v16_set1(0x1p32f);
    for (uint32_t i = 0; i < n; i += 16) {
        v16 v = v16_trunc(v16_mul(v16_load_n(w + i, SR_MIN(16u, n - i)), scale));
        sum   = d16_add(sum, v16_select(v16_le(t, load_or_none(a, i, n)), v, v16_zero()));
    }
    return d16_sum(sum);
}

static uint64_t total(const field *f)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < f->n; i++)
        sum += weight(f->w[i]);
    return sum;
}

/* ---- filters -------------------------------------------------------------------------------------- */

static void typical(field *f, float share)
{
    uint64_t all = total(f), spread = 0;
    float    log_all = sr_logf((float)all * 0x1p-32f);
    for (uint32_t i = 0; i < f->n; i++)
        spread += (uint64_t)(f->w[i] * fmaxf(0.0f, log_all - (f->a[i] - f->top)) * 0x1p32f);
    float entropy = (float)((double)spread / (double)all);
    for (uint32_t i = 0; i < f->n; i++) /* not negative: the nearest has the largest key */
        f->key[i] = ~sr_bits_of(fabsf(fmaxf(0.0f, log_all - (f->a[i] - f->top)) - entropy));
    keep_prefix(f, &(goal){.want = (double)share * (double)all, .over = true});
}

/* Candidates that contain all that the first filter keeps; *want: what top_p asks for if it is the first. */
static void enter(field *f, const float *a, uint32_t vocab, const sr_sampdev *p, double *want)
{
    float least = -INFINITY;
    if (p->top_k && p->top_k < vocab) {
        least = floor_of_top(a, vocab, p->top_k, f->key, f->at);
    } else if (p->typical_p >= 1 && p->top_p < 1) {
        weigh(f, a, vocab);
        *want = (double)p->top_p * mass_above(a, f->w, vocab, -INFINITY);
        for (float reach = 2; reach <= 32 && least == -INFINITY; reach *= 2)
            if (mass_above(a, f->w, vocab, f->top - reach) >= *want)
                least = f->top - reach;
    } else if (p->typical_p >= 1 && p->min_p > 0) {
        least = f->top + sr_logf(fminf(p->min_p, 1.0f));
    }
    gather(f, a, vocab, least, false);
    weigh(f, f->a, f->n);
}

static void filter(field *f, const float *a, uint32_t vocab, const sr_sampdev *p)
{
    double want = -1;
    enter(f, a, vocab, p, &want);
    if (p->top_k && p->top_k < f->n) {
        key_by_logit(f);
        keep_prefix(f, &(goal){.count = p->top_k});
    }
    if (p->typical_p < 1)
        typical(f, p->typical_p);
    if (p->top_p < 1) {
        key_by_logit(f);
        keep_prefix(f, &(goal){.want = want >= 0 ? want : (double)p->top_p * (double)total(f)});
    }
    if (p->min_p > 0) {
        bool  nan;
        float least = largest(f->a, f->n, &nan) + sr_logf(fminf(p->min_p, 1.0f));
        uint32_t n = 0;
        for (uint32_t i = 0; i < f->n; i++)
            if (f->a[i] >= least) {
                f->a[n]    = f->a[i];
                f->id[n++] = f->id[i];
            }
        f->n = n;
    }
}

/* ---- the draw ------------------------------------------------------------------------------------- */

enum { TOGETHER = 64, CHAINS = 4 }; /* tokens perturbed together; philox chains in flight: one alone waits for its products */

/* Word 0 of sr_philox4 for TOGETHER first counters, in place. */
static void philox(uint32_t c[TOGETHER], const sr_sampdev *p)
{
    const w64 m0 = w64_set1(0xD2511F53u), m2 = w64_set1(0xCD9E8D57u);
    for (uint32_t at = 0; at < TOGETHER; at += CHAINS * W64_LANES) {
        w64      c0[CHAINS], c1[CHAINS], c2[CHAINS], c3[CHAINS];
        uint32_t k0 = (uint32_t)p->seed, k1 = (uint32_t)(p->seed >> 32);
        V16_UNROLL for (int v = 0; v < CHAINS; v++) {
            c0[v] = w64_load(c + at + (uint32_t)v * W64_LANES);
            c1[v] = w64_set1(p->choice);
            c2[v] = w64_set1(p->pos);
            c3[v] = w64_set1(0);
        }
        for (int i = 0; i < 10; i++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
            w64 key0 = w64_set1(k0), key1 = w64_set1(k1);
            V16_UNROLL for (int v = 0; v < CHAINS; v++) {
                w64 p0 = w64_mul(c0[v], m0), p2 = w64_mul(c2[v], m2);
                c0[v] = w64_xor3(w64_high(p2), c1[v], key0);
                c2[v] = w64_xor3(w64_high(p0), c3[v], key1);
                c1[v] = p2;
                c3[v] = p0;
            }
        }
        V16_UNROLL for (int v = 0; v < CHAINS; v++)
            w64_store(c + at + (uint32_t)v * W64_LANES, c0[v]);
    }
}

/* -log(-log(u)), u as sr_uniform makes it. */
V16_FN v16 gumbel(i16x bits)
{
    v16 u = v16_mul(v16_add(v16_from_i32(i16x_shr(bits, 9)), v16_set1(0.5f)), v16_set1(1.0f / 8388608.0f));
    return v16_neg(v16_log(v16_neg(v16_log(u))));
}

/* id NULL: token i is a[i].  Tokens are looked at in order of id, so the first of equals stays. */
static int32_t draw(const float *a, const uint32_t *id, uint32_t n, float top, const sr_sampdev *p)
{
    enum { VECS = TOGETHER / 16 };
    float    best = -INFINITY;
    int32_t  tok  = -1;
    v16      m = v16_set1(top), most = v16_set1(G_MAX), inv = v16_set1(fminf(1.0f / p->temp, 1e30f)), x[VECS];
    for (uint32_t i = 0; i < n; i += TOGETHER) {
        m16 may = m16_of_bits(0);
        for (uint32_t v = 0; v < VECS; v++) {
            x[v] = i + 16 * v < n ? v16_sub(load_or_none(a, i + 16 * v, n), m) : v16_set1(-INFINITY);
            may  = m16_or(may, v16_lt(v16_set1(best), v16_fma(x[v], inv, most)));
        }
        if (!m16_bits(may))
            continue;
        uint32_t c[TOGETHER];
        for (uint32_t k = 0; k < TOGETHER; k++)
            c[k] = !id ? i + k : i + k < n ? id[i + k] : 0;
        philox(c, p);
        for (uint32_t v = 0; v < VECS; v++) {
            v16 z = v16_fma(x[v], inv, gumbel(i16x_load(c + 16 * v)));
            if (!m16_bits(v16_lt(v16_set1(best), z)))
                continue;
            best          = v16_top(v16_max(z, v16_set1(-INFINITY)));
            uint32_t lane = i + 16 * v + (uint32_t)__builtin_ctz(m16_bits(v16_eq(z, v16_set1(best))));
            tok           = (int32_t)(id ? id[lane] : lane);
        }
    }
    return tok;
}

static int32_t choose(field *f, const float *logits, uint32_t vocab, float top, const sr_sampdev *p, const void *blob)
{
    const float *a = logits;
    f->top = top;
    if (p->n_adjust || p->mask) {
        bool nan;
        a = memcpy(f->a, logits, vocab * sizeof *a);
        sr_sample_adjust(f->a, vocab, p, blob);
        if (p->mask)
            forbid(f->a, vocab, (const uint32_t *)(const void *)((const char *)blob + p->mask));
        f->top = largest(a, vocab, &nan); /* what a list made NaN cannot be chosen */
    }
    if (!(fabsf(f->top) < INFINITY))
        return -1;
    if (!(p->temp > 0))
        return first_equal(a, vocab, f->top);
    if (!(p->top_k && p->top_k < vocab) && p->typical_p >= 1 && p->top_p >= 1 && p->min_p <= 0)
        return draw(a, NULL, vocab, f->top, p);
    filter(f, a, vocab, p);
    return draw(f->a, f->id, f->n, f->top, p);
}

static void alternatives(field *f, const float *x, uint32_t vocab, uint32_t n, float m, float log_sum, sr_sampled *out)
{
    n = SR_MIN(SR_MIN(n, vocab), (uint32_t)SR_MAX_ALT);
    gather(f, x, vocab, floor_of_top(x, vocab, n, f->key, f->at), true);
    key_by_logit(f);
    keep_prefix(f, &(goal){.count = n});
    for (uint32_t i = 1; i < f->n; i++) /* insertion sort: at most 20, and equal ones stay in order of id */
        for (uint32_t k = i; k && f->a[k - 1] < f->a[k]; k--) {
            float    a  = f->a[k];
            uint32_t id = f->id[k];
            f->a[k]     = f->a[k - 1];
            f->id[k]    = f->id[k - 1];
            f->a[k - 1] = a;
            f->id[k - 1] = id;
        }
    out->n_alt = f->n;
    for (uint32_t i = 0; i < f->n; i++) {
        out->alt[i].tok     = (int32_t)f->id[i];
        out->alt[i].logprob = f->a[i] - m - log_sum;
    }
}

static void run(const sr_cpujob *j, uint32_t phase)
{
    (void)phase;
    uint32_t          vocab = j->op->dim[0], a, b;
    const sr_sampdev *rows  = j->batch->sampling;
    const float      *in    = j->slot[j->op->in[0]];
    sr_sampled       *out   = j->slot[j->op->out[0]];
    size_t            step  = sr_align_up(vocab, 16);
    float            *at    = (float *)j->scratch + j->thread * 5 * step;
    field f = {.a = at, .w = at + step, .id = (uint32_t *)(at + 2 * step), .key = (uint32_t *)(at + 3 * step), .at = (uint32_t *)(at + 4 * step)};
    sr_cpu_share(j, j->n->out, 1, &a, &b);
    for (uint32_t i = a; i < b; i++) {
        const float      *x = in + (size_t)i * vocab;
        const sr_sampdev *p = &rows[i];
        bool              nan;
        float             m = largest(x, vocab, &nan);
        out[i] = (sr_sampled){.tok = -1};
        if (nan || !(fabsf(m) < INFINITY))
            continue;
        SR_ASSERT(p->given < (int32_t)vocab, "given token %d of %u", p->given, vocab);
        int32_t tok = p->given >= 0 ? p->given : choose(&f, x, vocab, m, p, j->batch->sampling);
        if (tok < 0)
            continue;
        float log_sum  = log_sum_exp(x, vocab, m);
        out[i].tok     = tok;
        out[i].logprob = x[tok] - m - log_sum;
        if (p->n_alt)
            alternatives(&f, x, vocab, p->n_alt, m, log_sum, &out[i]);
    }
}
