/* The specification of sampling: everything is sorted, nothing is clever. */
#include "base/err.h"
#include "base/mem.h"
#include "base/philox.h"
#include "ops/mathf.h"
#include "ops/sample/sample_internal.h"

#include <string.h>

typedef struct { float key; uint32_t id; } pair; /* ascending by (key, id) */

static bool before(pair a, pair b) { return a.key < b.key || (a.key == b.key && a.id < b.id); }

static void sink(pair *p, size_t i, size_t n)
{
    for (size_t kid; (kid = 2 * i + 1) < n; i = kid) {
        kid += kid + 1 < n && before(p[kid], p[kid + 1]);
        if (!before(p[i], p[kid]))
            return;
        pair t = p[i];
        p[i]   = p[kid];
        p[kid] = t;
    }
}

static void sort(pair *p, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sink(p, i, n);
    while (n-- > 1) {
        pair t = p[0];
        p[0]   = p[n];
        p[n]   = t;
        sink(p, 0, n);
    }
}

typedef struct { /* one row's candidates: kept[0..n) */
    const float *a;
    float        top; /* M */
    pair        *kept;
    size_t       n;
} field;

static uint64_t weight(const field *f, uint32_t id) { return (uint64_t)(sr_expf(f->a[id] - f->top) * 0x1p32f); }

static uint64_t total(const field *f)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < f->n; i++)
        sum += weight(f, f->kept[i].id);
    return sum;
}

static void by_logit(field *f)
{
    for (size_t i = 0; i < f->n; i++)
        f->kept[i].key = -f->a[f->kept[i].id];
    sort(f->kept, f->n);
}

/* Cuts after the first run whose weight reaches the share (with `over`: exceeds it). */
static void cut(field *f, float share, bool over)
{
    double   want = (double)share * (double)total(f);
    uint64_t run  = 0;
    for (size_t i = 0; i < f->n; i++) {
        run += weight(f, f->kept[i].id);
        if (over ? (double)run > want : (double)run >= want) {
            f->n = i + 1;
            return;
        }
    }
}

static void typical(field *f, float share)
{
    uint64_t all = total(f), spread = 0;
    float    log_all = sr_logf((float)all * 0x1p-32f);
    for (size_t i = 0; i < f->n; i++) {
        float x        = f->a[f->kept[i].id] - f->top;
        f->kept[i].key = fmaxf(0.0f, log_all - x);
        spread += (uint64_t)(sr_expf(x) * f->kept[i].key * 0x1p32f);
    }
    float entropy = (float)((double)spread / (double)all);
    for (size_t i = 0; i < f->n; i++)
        f->kept[i].key = fabsf(f->kept[i].key - entropy);
    sort(f->kept, f->n);
    cut(f, share, true);
}

static void filter(field *f, const sr_sampdev *p)
{
    by_logit(f);
    if (p->top_k && p->top_k < f->n)
        f->n = p->top_k;
    if (p->typical_p < 1)
        typical(f, p->typical_p);
    by_logit(f);
    if (p->top_p < 1)
        cut(f, p->top_p, false);
    if (p->min_p > 0) {
        float least = f->a[f->kept[0].id] + sr_logf(fminf(p->min_p, 1.0f));
        while (f->n > 1 && f->a[f->kept[f->n - 1].id] < least)
            f->n--;
    }
}

static int32_t draw(const field *f, const sr_sampdev *p)
{
    float   best = -INFINITY, inv = fminf(1.0f / p->temp, 1e30f);
    int32_t tok  = -1;
    for (size_t i = 0; i < f->n; i++) {
        uint32_t id = f->kept[i].id;
        float    u = sr_uniform(sr_philox4(p->seed, id, p->choice, p->pos, 0).v[0]);
        float    z = fmaf(f->a[id] - f->top, inv, -sr_logf(-sr_logf(u)));
        if (z > best || (z == best && (int32_t)id < tok)) {
            best = z;
            tok  = (int32_t)id;
        }
    }
    return tok;
}

void sr_sample_adjust(float *a, uint32_t vocab, const sr_sampdev *p, const void *blob)
{
    const sr_adjust *list = (const sr_adjust *)((const char *)blob + p->adjust);
    for (uint32_t i = 0; i < p->n_adjust; i++) {
        SR_ASSERT((uint32_t)list[i].tok < vocab, "adjusted token %d of %u", list[i].tok, vocab);
        float *x = &a[list[i].tok];
        if (list[i].count) {
            *x = *x > 0 ? *x / p->rep_penalty : *x * p->rep_penalty;
            *x -= (float)list[i].count * p->freq_penalty + p->pres_penalty;
        }
        *x += list[i].bias;
    }
}

static int32_t choose(const float *logits, uint32_t vocab, const sr_sampdev *p, const void *blob, void *scratch)
{
    float *a = scratch;
    field  f = {.a = a, .top = -INFINITY, .kept = (pair *)(a + vocab)};
    memcpy(a, logits, vocab * sizeof *a);
    sr_sample_adjust(a, vocab, p, blob);
    const uint32_t *mask = p->mask ? (const uint32_t *)((const char *)blob + p->mask) : NULL;
    for (uint32_t t = 0; t < vocab; t++) {
        if (mask && !(mask[t / 32] >> t % 32 & 1))
            a[t] = -INFINITY;
        f.top = a[t] > f.top ? a[t] : f.top;
        if (a[t] > -INFINITY)
            f.kept[f.n++] = (pair){.id = t};
    }
    if (!f.n || f.top == INFINITY)
        return -1;
    if (p->temp > 0) {
        filter(&f, p);
        return draw(&f, p);
    }
    by_logit(&f);
    return (int32_t)f.kept[0].id;
}

/* (m, log of the sum of exp(x - m)); false: the row is broken. */
static bool normaliser(const float *x, uint32_t n, float *m, float *log_sum)
{
    float lane[16] = {0};
    *m = -INFINITY;
    for (uint32_t k = 0; k < n; k++) {
        if (x[k] != x[k])
            return false;
        *m = x[k] > *m ? x[k] : *m;
    }
    if (!(fabsf(*m) < INFINITY))
        return false;
    for (uint32_t k = 0; k < n; k++)
        lane[k % 16] += sr_expf(x[k] - *m);
    *log_sum = sr_logf(sr_fold16(lane));
    return true;
}

static void alternatives(const float *x, uint32_t vocab, uint32_t n, float m, float log_sum, pair *p, sr_sampled *out)
{
    for (uint32_t t = 0; t < vocab; t++)
        p[t] = (pair){-x[t], t};
    sort(p, vocab);
    out->n_alt = SR_MIN(SR_MIN(n, vocab), (uint32_t)SR_MAX_ALT);
    for (uint32_t i = 0; i < out->n_alt; i++) {
        out->alt[i].tok     = (int32_t)p[i].id;
        out->alt[i].logprob = x[p[i].id] - m - log_sum;
    }
}

static void run(const sr_cpujob *j, uint32_t phase)
{
    (void)phase;
    uint32_t          vocab = j->op->dim[0], a, b;
    const sr_sampdev *rows = j->batch->sampling;
    const float      *in   = j->slot[j->op->in[0]];
    sr_sampled       *out  = j->slot[j->op->out[0]];
    char             *scratch = (char *)j->scratch + j->thread * sr_sample_scratch(j->prog, j->op, j->max, 1);
    sr_cpu_share(j, j->n->out, 1, &a, &b);
    for (uint32_t i = a; i < b; i++) {
        const float      *x = in + (size_t)i * vocab;
        const sr_sampdev *p = &rows[i];
        float             m, log_sum;
        out[i] = (sr_sampled){.tok = -1};
        if (!normaliser(x, vocab, &m, &log_sum))
            continue;
        SR_ASSERT(p->given < (int32_t)vocab, "given token %d of %u", p->given, vocab);
        int32_t tok = p->given >= 0 ? p->given : choose(x, vocab, p, j->batch->sampling, scratch);
        if (tok < 0)
            continue;
        out[i].tok     = tok;
        out[i].logprob = x[tok] - m - log_sum;
        if (p->n_alt)
            alternatives(x, vocab, p->n_alt, m, log_sum, (pair *)scratch, &out[i]);
    }
}

sr_cost sr_sample_cost(const sr_program *p, const sr_op *op, const sr_shape *n)
{
    (void)p; /* every logit is read once and exponentiated once */
    double numbers = (double)n->out * op->dim[0];
    return (sr_cost){.bytes = 4 * numbers + (double)n->out * sizeof(sr_sampled), .flops = 20 * numbers};
}

size_t sr_sample_scratch(const sr_program *p, const sr_op *op, const sr_shape *max, uint32_t workers)
{
    (void)p;
    (void)max;
    return workers * (sr_align_up((size_t)op->dim[0], 16) * 20);
}

const sr_cpukernel        sr_sample_ref       = {.family = "sample", .isa = "ref", .phases = 1, .run = run};
const sr_cpukernel *const sr_sample_kernels[] = {
#if defined(__x86_64__)
    &sr_sample_avx512, &sr_sample_avx2,
#elif defined(__aarch64__)
    &sr_sample_neon,
#endif
    &sr_sample_ref, NULL};
