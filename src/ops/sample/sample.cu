/* sample: a token of each wanted row of logits, over the full vocabulary; the logits never leave the device.
 * Shapes   logits [out][vocab] f32; result [out] sr_sampled; parameters in the batch's blob (sample.h).
 * Roofline bytes = 8 * out * vocab (read, and the adjusted copy written), flops ~ 20 * out * vocab: one row of 128 k is a few us.
 * Mapping  scan  (blocks, rows): adjusts a run of the vocabulary into scratch; its maximum, its sum of exponentials.
 *          pick  (rows): joins the runs; greedy and given tokens; filters by radix selection, and the draw from what they keep.
 *          draw  (blocks, rows): rows without filters draw from the whole vocabulary; the last block to arrive writes the result.
 * Orders   A rank is a 64-bit word, smaller first: the bits of the key turned so that they ascend, then the token's id.
 *          A filter is a largest rank that stays.  Sums of weights are integers (sample.h), so no order of summation matters.
 * Bits     tokens and kept sets are the reference's (-fmad=false); a logprob's sum is taken in double, in another order.
 * Archs    sm_75+, nothing arch-specific.                                              */
#include "base/philox.h"
#include "ops/kernel.cuh"
#include <float.h>

typedef unsigned long long u64;
enum { SCAN = 256, PICK = 1024, RUN = 4096, MAX_RUNS = 64, BINS = 2048 };

typedef struct { double sum; float max; uint32_t broken; u64 best; } run_result; /* sum: of exp(x - max); best: see front() */
typedef struct { u64 best; float m, log_sum, top; uint32_t arrived, drawing; } row_state;

typedef struct {
    const float   *logits;
    sr_sampled    *out;
    const char    *blob;
    const sr_shape *n;
    float         *adjusted;  /* [out][vocab] */
    uint32_t      *list;      /* [out][vocab]: tokens that filters have left */
    run_result    *run;       /* [out][runs] */
    row_state     *state;     /* [out] */
    uint32_t       vocab, runs, run_len;
} args;

static __device__ const sr_sampdev *params(const args &a, uint32_t row) { return (const sr_sampdev *)a.blob + row; }

/* Bits that ascend with the number; -0 counts as 0. */
static __device__ uint32_t ascending(float x)
{
    uint32_t u = __float_as_uint(x + 0.0f);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}
static __device__ u64 front(float x, uint32_t id) { return (u64)ascending(x) << 32 | (uint32_t)~id; } /* the largest is the first */
static __device__ u64 rank_of(float x, uint32_t id) { return (u64)~ascending(x) << 32 | id; }         /* the smallest is */

static __device__ u64 weight(float a, float top) { return (u64)(sr_expf(a - top) * 0x1p32f); }

/* ---- sums and maxima of a block ------------------------------------------------------------------------------- */

template <typename T, typename OP>
static __device__ T reduce(T v, OP op) /* of all threads, to all threads */
{
    __shared__ T part[32];
    for (int i = 16; i; i /= 2)
        v = op(v, __shfl_xor_sync(~0u, v, i));
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = v;
    __syncthreads();
    v = part[threadIdx.x % 32 < blockDim.x / 32 ? threadIdx.x % 32 : 0];
    for (int i = 16; i; i /= 2)
        v = op(v, __shfl_xor_sync(~0u, v, i));
    return v;
}
struct larger { template <typename T> __device__ T operator()(T a, T b) const { return a > b ? a : b; } };
struct either { __device__ uint32_t operator()(uint32_t a, uint32_t b) const { return a | b; } };

template <typename T>
static __device__ T total(T v)
{
    __shared__ T part[32];
    for (int i = 16; i; i /= 2)
        v += __shfl_xor_sync(~0u, v, i);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = v;
    __syncthreads();
    v = threadIdx.x % 32 < blockDim.x / 32 ? part[threadIdx.x % 32] : T(0);
    for (int i = 16; i; i /= 2)
        v += __shfl_xor_sync(~0u, v, i);
    return v;
}

/* ---- scan ------------------------------------------------------------------------------------------------------ */

/* Penalties and biases of the listed tokens in [first, end).  A token listed twice is changed by both entries, in either order. */
static __device__ void adjust(float *a, uint32_t first, uint32_t end, const sr_sampdev *p, const char *blob)
{
    const sr_adjust *list = (const sr_adjust *)(blob + p->adjust);
    for (uint32_t i = threadIdx.x; i < p->n_adjust; i += blockDim.x) {
        sr_adjust e = list[i];
        if ((uint32_t)e.tok < first || (uint32_t)e.tok >= end)
            continue;
        unsigned *at = (unsigned *)&a[e.tok], seen = *at, was;
        do {
            was     = seen;
            float x = __uint_as_float(was);
            if (e.count) {
                x = x > 0 ? x / p->rep_penalty : x * p->rep_penalty;
                x -= (float)e.count * p->freq_penalty + p->pres_penalty;
            }
            x += e.bias;
            seen = atomicCAS(at, was, __float_as_uint(x));
        } while (seen != was);
    }
}

static __global__ void __launch_bounds__(SCAN) scan(args g)
{
    uint32_t row = blockIdx.y, first = blockIdx.x * g.run_len, end = min(first + g.run_len, g.vocab), broken = 0;
    if (row >= g.n->out)
        return;
    const float      *x = g.logits + (size_t)row * g.vocab;
    float            *a = g.adjusted + (size_t)row * g.vocab, max = -INFINITY;
    const sr_sampdev *p = params(g, row);
    for (uint32_t k = first + threadIdx.x; k < end; k += SCAN) {
        float v = x[k];
        a[k]    = v;
        broken |= v != v;
        max = fmaxf(max, v);
    }
    max = reduce(max, larger());
    __syncthreads();
    adjust(a, first, end, p, g.blob);
    __syncthreads();
    const uint32_t *mask = p->mask ? (const uint32_t *)(g.blob + p->mask) : NULL;
    double          sum = 0;
    u64             best = 0;
    for (uint32_t k = first + threadIdx.x; k < end; k += SCAN) {
        float v = __ldcg(&a[k]); /* another thread's atomic may have changed it: not from L1 */
        if (mask && !(mask[k / 32] >> k % 32 & 1))
            a[k] = v = -INFINITY;
        if (v > -INFINITY)
            best = larger()(best, front(v, k));
        sum += sr_expf(x[k] - max);
    }
    best   = reduce(best, larger());
    sum    = total(sum);
    broken = reduce(broken, either());
    if (threadIdx.x == 0)
        g.run[(size_t)row * g.runs + blockIdx.x] = {sum, max, broken, best};
}

/* ---- filters --------------------------------------------------------------------------------------------------- */

typedef struct { /* one row's candidates: those of the list (or all) that pass the limits */
    const float    *a;
    const uint32_t *list; /* NULL: all tokens */
    uint32_t        n;
    float           top, least;      /* M; the smallest number that stays: -FLT_MAX, or what min_p says */
    u64             by_logit, by_surprise; /* largest ranks that stay */
    float           log_all, entropy; /* of typical_p; by_surprise == ~0: not used */
} field;

static __device__ float surprise(const field &f, float a) { return fmaxf(0.0f, f.log_all - (a - f.top)); }
static __device__ u64 surprise_rank(const field &f, float a, uint32_t id)
{
    return (u64)__float_as_uint(fabsf(surprise(f, a) - f.entropy)) << 32 | id;
}
static __device__ uint32_t token_at(const field &f, uint32_t i) { return f.list ? f.list[i] : i; }
static __device__ bool kept(const field &f, float a, uint32_t id)
{
    return a >= f.least && rank_of(a, id) <= f.by_logit &&
           (f.by_surprise == ~0ull || surprise_rank(f, a, id) <= f.by_surprise);
}

typedef struct { uint32_t count[BINS]; u64 sum[BINS]; u64 warp[32]; u64 before; uint32_t found; } histogram;
typedef enum { COUNT, REACHES, EXCEEDS } condition;

static __device__ bool met(condition c, u64 run, double want)
{
    return c == EXCEEDS ? (double)run > want : (double)run >= want;
}

/* Leaves in h->found the first bin that holds anything and up to which the sum of the measure meets the condition (BINS: none),
 * in h->before what lies before it.  Two bins a thread. */
static __device__ void find(histogram *h, condition c, double want, u64 before)
{
    uint32_t t = threadIdx.x, lane = t % 32;
    u64      x0 = c == COUNT ? h->count[2 * t] : h->sum[2 * t], x1 = c == COUNT ? h->count[2 * t + 1] : h->sum[2 * t + 1], run = x0 + x1;
    for (uint32_t i = 1; i < 32; i *= 2) {
        u64 v = __shfl_up_sync(~0u, run, i);
        run += lane >= i ? v : 0;
    }
    if (lane == 31)
        h->warp[t / 32] = run;
    if (t == 0)
        h->found = BINS;
    __syncthreads();
    for (uint32_t w = 0; w < t / 32; w++)
        before += h->warp[w];
    u64 b0 = before + run - x0 - x1, b1 = b0 + x0, b2 = b1 + x1;
    if (h->count[2 * t] && met(c, b1, want))
        atomicMin(&h->found, 2 * t);
    else if (h->count[2 * t + 1] && met(c, b2, want))
        atomicMin(&h->found, 2 * t + 1);
    __syncthreads();
    if (h->found / 2 == t)
        h->before = h->found % 2 ? b1 : b0;
    __syncthreads();
}

/* The largest rank of the shortest run, in the order of ranks, that meets the condition; ~0: all must stay. */
template <typename RANK>
static __device__ u64 select(const field &f, histogram *h, RANK rank, condition c, double want)
{
    const uint32_t width[6] = {11, 11, 10, 11, 11, 10};
    u64            prefix = 0, before = 0;
    uint32_t       shift = 64;
    for (int level = 0; level < 6; level++) {
        uint32_t bits = width[level];
        shift -= bits;
        for (uint32_t i = threadIdx.x; i < BINS; i += PICK) {
            h->count[i] = 0;
            h->sum[i]   = 0;
        }
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < f.n; i += PICK) {
            uint32_t id = token_at(f, i);
            float    a = f.a[id];
            if (!kept(f, a, id))
                continue;
            u64 r = rank(a, id);
            if (level && r >> (shift + bits) != prefix)
                continue;
            uint32_t bin = (uint32_t)(r >> shift) & ((1u << bits) - 1);
            atomicAdd(&h->count[bin], 1u);
            u64 w = c == COUNT ? 0 : weight(a, f.top);
            if (w)
                atomicAdd(&h->sum[bin], w);
        }
        __syncthreads();
        find(h, c, want, before);
        uint32_t bin = h->found, held = bin < BINS ? h->count[bin] : 0;
        before = h->before;
        __syncthreads();
        if (bin == BINS)
            return ~0ull;
        prefix = prefix << bits | bin;
        if (held == 1)
            break;
    }
    return ((prefix + 1) << shift) - 1; /* shift 0 and prefix ~0 wrap to ~0, as they should */
}

/* Tokens that are kept, to the list; all later passes walk them only. */
static __device__ void gather(field *f, uint32_t *list)
{
    __shared__ uint32_t used;
    if (f->list) /* in place would race: a list is made once */
        return;
    if (threadIdx.x == 0)
        used = 0;
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < f->n; i += PICK)
        if (kept(*f, f->a[i], i))
            list[atomicAdd(&used, 1u)] = i;
    __syncthreads();
    f->n    = used;
    f->list = list;
    __syncthreads();
}

static __device__ u64 total_weight(const field &f)
{
    u64 sum = 0;
    for (uint32_t i = threadIdx.x; i < f.n; i += PICK) {
        uint32_t id = token_at(f, i);
        if (kept(f, f.a[id], id))
            sum += weight(f.a[id], f.top);
    }
    return total(sum);
}

static __device__ void typical(field *f, histogram *h, float share)
{
    u64 all = total_weight(*f), spread = 0;
    f->log_all = sr_logf((float)all * 0x1p-32f);
    for (uint32_t i = threadIdx.x; i < f->n; i += PICK) {
        uint32_t id = token_at(*f, i);
        float    a = f->a[id];
        if (kept(*f, a, id))
            spread += (u64)(sr_expf(a - f->top) * surprise(*f, a) * 0x1p32f);
    }
    spread     = total(spread);
    f->entropy = (float)((double)spread / (double)all);
    field whole = *f;
    f->by_surprise = select(whole, h, [&](float a, uint32_t id) { return surprise_rank(whole, a, id); }, EXCEEDS,
                            (double)share * (double)all);
}

static __device__ void filter(field *f, histogram *h, const sr_sampdev *p, uint32_t *list)
{
    auto logit = [](float a, uint32_t id) { return rank_of(a, id); };
    if (p->top_k && p->top_k < f->n) {
        f->by_logit = select(*f, h, logit, COUNT, (double)p->top_k);
        gather(f, list);
    }
    if (p->typical_p < 1)
        typical(f, h, p->typical_p);
    if (p->top_p < 1)
        f->by_logit = min(f->by_logit, select(*f, h, logit, REACHES, (double)p->top_p * (double)total_weight(*f)));
    if (p->min_p > 0) {
        float most = -INFINITY;
        for (uint32_t i = threadIdx.x; i < f->n; i += PICK) {
            uint32_t id = token_at(*f, i);
            if (kept(*f, f->a[id], id))
                most = fmaxf(most, f->a[id]);
        }
        f->least = fmaxf(-FLT_MAX, reduce(most, larger()) + sr_logf(fminf(p->min_p, 1.0f)));
    }
    gather(f, list);
}

/* ---- draw ------------------------------------------------------------------------------------------------------- */

static __device__ u64 lot(const sr_sampdev *p, float inv, float a, float top, uint32_t id)
{
    float u = sr_uniform(sr_philox4(p->seed, id, p->choice, p->pos, 0).v[0]);
    float z = fmaf(a - top, inv, -sr_logf(-sr_logf(u)));
    return z > -INFINITY ? front(z, id) : 0;
}

static __device__ float inverse(const sr_sampdev *p) { return fminf(1.0f / p->temp, 1e30f); }

static __device__ void settle(sr_sampled *out, const float *x, int32_t tok, float m, float log_sum)
{
    out->tok     = tok;
    out->logprob = tok < 0 ? 0.0f : x[tok] - m - log_sum;
    if (tok < 0)
        out->n_alt = 0;
}

static __global__ void __launch_bounds__(SCAN) draw(args g)
{
    uint32_t row = blockIdx.y, first = blockIdx.x * g.run_len, end = min(first + g.run_len, g.vocab);
    if (row >= g.n->out || !g.state[row].drawing)
        return;
    row_state        *s = &g.state[row];
    const sr_sampdev *p = params(g, row);
    const float      *a = g.adjusted + (size_t)row * g.vocab;
    float             inv = inverse(p), top = s->top;
    u64               best = 0;
    for (uint32_t k = first + threadIdx.x; k < end; k += SCAN)
        if (a[k] > -INFINITY)
            best = larger()(best, lot(p, inv, a[k], top, k));
    best = reduce(best, larger());
    if (threadIdx.x)
        return;
    atomicMax(&s->best, best);
    __threadfence();
    if (atomicAdd(&s->arrived, 1u) + 1 < gridDim.x)
        return;
    __threadfence();
    best = atomicMax(&s->best, 0ull);
    settle(&g.out[row], g.logits + (size_t)row * g.vocab, best ? (int32_t)~(uint32_t)best : -1, s->m, s->log_sum);
}

/* ---- pick ------------------------------------------------------------------------------------------------------- */

/* The n most likely tokens of the model's own distribution, most likely first. */
static __device__ void alternatives(const args &g, histogram *h, uint32_t row, uint32_t n, float m, float log_sum)
{
    __shared__ u64      rank[SR_MAX_ALT];
    __shared__ uint32_t used;
    sr_sampled *out = &g.out[row];
    field       f   = {g.logits + (size_t)row * g.vocab, NULL, g.vocab, m, -INFINITY, ~0ull, ~0ull, 0, 0};
    n = min(min(n, g.vocab), (uint32_t)SR_MAX_ALT);
    u64 last = select(f, h, [](float a, uint32_t id) { return rank_of(a, id); }, COUNT, (double)n);
    if (threadIdx.x == 0)
        used = 0;
    __syncthreads();
    for (uint32_t k = threadIdx.x; k < g.vocab; k += PICK)
        if (rank_of(f.a[k], k) <= last)
            rank[atomicAdd(&used, 1u)] = rank_of(f.a[k], k);
    __syncthreads();
    n = used;
    if (threadIdx.x < n) {
        uint32_t place = 0, id = (uint32_t)rank[threadIdx.x];
        for (uint32_t i = 0; i < n; i++)
            place += rank[i] < rank[threadIdx.x];
        out->alt[place].tok     = (int32_t)id;
        out->alt[place].logprob = f.a[id] - m - log_sum;
    }
    if (threadIdx.x == 0)
        out->n_alt = n;
}

typedef struct { float m, log_sum; u64 best; bool broken; } joined;

static __device__ joined join(const args &g, uint32_t row)
{
    const run_result *r = g.run + (size_t)row * g.runs;
    float             m = -INFINITY;
    double            sum = 0;
    joined            j = {0, 0, 0, false};
    for (uint32_t i = threadIdx.x; i < g.runs; i += PICK) {
        m = fmaxf(m, r[i].max);
        j.best = larger()(j.best, r[i].best);
        j.broken |= r[i].broken;
    }
    j.m = reduce(m, larger());
    for (uint32_t i = threadIdx.x; i < g.runs; i += PICK)
        sum += r[i].max > -INFINITY ? r[i].sum * exp((double)r[i].max - (double)j.m) : 0.0;
    j.log_sum = sr_logf((float)total(sum));
    j.best    = reduce(j.best, larger());
    j.broken  = reduce((uint32_t)j.broken, either()) || !(fabsf(j.m) < INFINITY);
    return j;
}

static __global__ void __launch_bounds__(PICK) pick(args g)
{
    extern __shared__ u64 memory[];
    histogram        *h   = (histogram *)memory;
    uint32_t          row = blockIdx.x;
    if (row >= g.n->out)
        return;
    const sr_sampdev *p = params(g, row);
    sr_sampled       *out = &g.out[row];
    const float      *x = g.logits + (size_t)row * g.vocab, *a = g.adjusted + (size_t)row * g.vocab;
    joined            j = join(g, row);
    float             top = j.best ? a[~(uint32_t)j.best] : -INFINITY;
    bool              none = j.broken || (p->given < 0 && (!j.best || top == INFINITY)), filters, open;
    filters = p->top_k || p->typical_p < 1 || p->top_p < 1 || p->min_p > 0;
    open    = !none && p->given < 0 && p->temp > 0;
    for (uint32_t i = threadIdx.x; i < sizeof *out / 4; i += PICK)
        ((uint32_t *)out)[i] = 0;
    __syncthreads();
    int32_t tok = none ? -1 : p->given >= 0 ? p->given : (int32_t)~(uint32_t)j.best;
    if (open && filters) {
        field f = {a, NULL, g.vocab, top, -FLT_MAX, ~0ull, ~0ull, 0, 0};
        filter(&f, h, p, g.list + (size_t)row * g.vocab);
        u64   best = 0;
        float inv = inverse(p);
        for (uint32_t i = threadIdx.x; i < f.n; i += PICK) {
            uint32_t id = f.list[i];
            if (kept(f, f.a[id], id))
                best = larger()(best, lot(p, inv, f.a[id], top, id));
        }
        best = reduce(best, larger());
        tok  = best ? (int32_t)~(uint32_t)best : -1;
    }
    if (p->n_alt && tok >= 0)
        alternatives(g, h, row, p->n_alt, j.m, j.log_sum);
    if (threadIdx.x)
        return;
    g.state[row] = {0, j.m, j.log_sum, top, 0, open && !filters};
    if (!(open && !filters))
        settle(out, x, tok, j.m, j.log_sum);
}

/* ---- launch ----------------------------------------------------------------------------------------------------- */

static uint32_t runs_of(uint32_t vocab)
{
    uint32_t n = (vocab + RUN - 1) / RUN;
    return n > MAX_RUNS ? (uint32_t)MAX_RUNS : n;
}

static size_t align(size_t n) { return (n + 255) / 256 * 256; }

static size_t lay_out(args *g, char *base, uint32_t vocab, uint32_t rows)
{
    size_t at = SR_CUDA_COUNTERS;
    g->vocab    = vocab;
    g->runs     = runs_of(vocab);
    g->run_len  = ((vocab + g->runs - 1) / g->runs + 3) / 4 * 4;
    g->adjusted = (float *)(base + at);
    at += align((size_t)rows * vocab * sizeof(float));
    g->list = (uint32_t *)(base + at);
    at += align((size_t)rows * vocab * sizeof(uint32_t));
    g->run = (run_result *)(base + at);
    at += align((size_t)rows * g->runs * sizeof(run_result));
    g->state = (row_state *)(base + at);
    return at + align(rows * sizeof(row_state));
}

static size_t scratch(const sr_cudainfo *d, const sr_program *p, const sr_op *op, const sr_shape *max)
{
    (void)d, (void)p;
    args g;
    return lay_out(&g, NULL, op->dim[0], max->out);
}

static void launch(const sr_cudajob *j)
{
    args g = {};
    if (!j->n->out)
        return;
    lay_out(&g, (char *)j->scratch, j->op->dim[0], j->max->out);
    g.logits = (const float *)j->slot[j->op->in[0]];
    g.out    = (sr_sampled *)j->slot[j->op->out[0]];
    g.blob   = (const char *)j->batch->sampling;
    g.n      = j->count;
    scan<<<dim3(g.runs, j->n->out), SCAN, 0, j->stream>>>(g);
    pick<<<j->n->out, PICK, sizeof(histogram), j->stream>>>(g);
    draw<<<dim3(g.runs, j->n->out), SCAN, 0, j->stream>>>(g);
}

extern "C" const sr_cudakernel sr_sample_cuda[] = {{"radix", 0, 0, NULL, scratch, launch}, {}};
