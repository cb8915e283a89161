/* sample: a token of each wanted row of logits, over the full vocabulary; the logits never leave the device.
 * Shapes   logits [out][vocab] f32; result [out] sr_sampled; parameters in the batch's blob (sample.h).
 * Roofline bytes = 4 * out * vocab (8 where an adjusted copy is written), flops ~ 20 * out * vocab: one row of 128 k is a few us.
 * Mapping  five kernels; rows that a kernel has nothing to do for leave it at once.
 *          scan  (blocks, rows): a run of the vocabulary, kept in registers: its maximum, its sum of exponentials; of rows with penalties,
 *                biases or a mask an adjusted copy in scratch.  Few rows have many short runs, many rows few long ones.
 *          weigh (blocks, rows): counts and weights of tokens by their distance from the maximum, in bins of 1/4.
 *          list  (blocks, rows): tokens of the bins that hold all a filter can keep: hundreds, not the vocabulary.
 *          pick  (rows): joins the runs; greedy and given tokens; filters by radix selection, and the draw from what they keep.
 *          draw  (blocks, rows): rows without filters draw from the whole vocabulary; the last block to arrive writes the result.
 * Orders   A rank is a 64-bit word, smaller first: the bits of the key turned so that they ascend, then the token's id.
 *          A filter is a largest rank that stays.  Sums of weights are integers (sample.h), so no order of summation matters.
 * Slow     typical_p without top_k, and what keeps more than LISTED tokens: one block goes over the vocabulary.
 * Bits     tokens and kept sets are the reference's (-fmad=false); a logprob's sum is taken in double, in another order.
 * Archs    sm_75+, nothing arch-specific.                                              */
#include "base/philox.h"
#include "ops/kernel.cuh"
#include <float.h>

typedef unsigned long long u64;
enum { LONG = 32, /* numbers of a run that a thread of scan keeps, at most */
       SCAN = 256, PICK = 1024, RUN = 1024, MAX_RUNS = 128, BINS = 2048, DEPTHS = 256, LISTED = 16384 };

typedef struct { double sum; float max; uint32_t broken; u64 best; } run_result; /* sum: of exp(x - max); best: see front() */
typedef struct { u64 best; float m, log_sum, top; uint32_t arrived, drawing; } row_state;
typedef struct { uint32_t count[DEPTHS], raw[DEPTHS]; u64 weight[DEPTHS]; uint32_t listed, listed_raw; } row_depths; /* by distance from the maximum */

typedef struct {
    const float   *logits;
    sr_sampled    *out;
    const char    *blob;
    const sr_shape *n;
    float         *adjusted;        /* [out][vocab] */
    uint32_t      *list, *list_raw; /* [out][LISTED]: candidates of the filters; of the alternatives */
    run_result    *run;             /* [out][runs] */
    row_state     *state;           /* [out] */
    row_depths    *depths;          /* [out] */
    uint32_t       vocab, runs, run_len;
} args;

static __device__ const sr_sampdev *params(const args &a, uint32_t row) { return (const sr_sampdev *)a.blob + row; }

/* Whether a row's logits are changed before a token is chosen; where its tokens are chosen from. */
static __device__ bool adjusts(const sr_sampdev *p) { return p->n_adjust || p->mask; }
static __device__ const float *chosen_from(const args &a, uint32_t row)
{
    return (adjusts(params(a, row)) ? a.adjusted : a.logits) + (size_t)row * a.vocab;
}

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
struct smaller { template <typename T> __device__ T operator()(T a, T b) const { return a < b ? a : b; } };
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

/* Numbers k .. k + 3 of a row; beyond the end they are -INFINITY. */
template <bool FOURS>
static __device__ float4 four(const float *x, uint32_t k, uint32_t end)
{
    if (FOURS)
        return k < end ? *(const float4 *)(x + k) : make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
    float4 v;
    v.x = k < end ? x[k] : -INFINITY;
    v.y = k + 1 < end ? x[k + 1] : -INFINITY;
    v.z = k + 2 < end ? x[k + 2] : -INFINITY;
    v.w = k + 3 < end ? x[k + 3] : -INFINITY;
    return v;
}

/* The first of the adjusted, allowed numbers of a run; disallowed ones become -INFINITY. */
static __device__ u64 best_adjusted(float *a, uint32_t first, uint32_t end, const sr_sampdev *p, const char *blob)
{
    const uint32_t *mask = p->mask ? (const uint32_t *)(blob + p->mask) : NULL;
    u64             best = 0;
    __syncthreads();
    adjust(a, first, end, p, blob);
    __syncthreads();
    for (uint32_t k = first + threadIdx.x; k < end; k += SCAN) {
        float v = __ldcg(&a[k]); /* another thread's atomic may have changed it: not from L1 */
        if (mask && !(mask[k / 32] >> k % 32 & 1))
            a[k] = v = -INFINITY;
        if (v > -INFINITY)
            best = larger()(best, front(v, k));
    }
    return best;
}

template <bool FOURS, int KEEP>
static __global__ void __launch_bounds__(SCAN) scan(args g)
{
    sr_await_forerunner();
    uint32_t row = blockIdx.y, first = blockIdx.x * g.run_len, end = min(first + g.run_len, g.vocab), best_at = 0;
    if (row >= g.n->out)
        return;
    const float      *x = g.logits + (size_t)row * g.vocab;
    float            *a = g.adjusted + (size_t)row * g.vocab, m = -INFINITY, most = -INFINITY;
    const sr_sampdev *p = params(g, row);
    const bool        changed = adjusts(p);
    bool              broken = false;
    double            sum = 0;
    if (blockIdx.x == 0)
        for (uint32_t i = threadIdx.x; i < sizeof(row_depths) / 4; i += SCAN)
            ((uint32_t *)&g.depths[row])[i] = 0;
    for (uint32_t tile = first; tile < end; tile += SCAN * KEEP) { /* one, but for enormous vocabularies */
        float4 v[KEEP / 4];
        float  max = -INFINITY;
#pragma unroll
        for (int i = 0; i < KEEP / 4; i++)
            v[i] = four<FOURS>(x, tile + (i * SCAN + threadIdx.x) * 4, end);
#pragma unroll
        for (int i = 0; i < KEEP; i++) {
            float    u = ((const float *)v)[i];
            uint32_t k = tile + (i / 4 * SCAN + threadIdx.x) * 4 + i % 4;
            broken |= u != u;
            max = fmaxf(max, u);
            if (u > most) {
                most    = u;
                best_at = k;
            }
            if (changed && k < end)
                a[k] = u;
        }
        float top = fmaxf(m, reduce(max, larger()));
        if (top > -INFINITY) { /* a run of nothing else adds nothing */
            if (m > -INFINITY)
                sum *= sr_expf(m - top);
#pragma unroll
            for (int i = 0; i < KEEP / 4; i++)
                if (tile + (i * SCAN + threadIdx.x) * 4 < end)
                    sum += (sr_expf(v[i].x - top) + sr_expf(v[i].y - top)) + (sr_expf(v[i].z - top) + sr_expf(v[i].w - top));
        }
        m = top;
    }
    u64 best = changed ? best_adjusted(a, first, end, p, g.blob) : most > -INFINITY ? front(most, best_at) : 0;
    best     = reduce(best, larger());
    sum      = total(sum);
    broken   = __syncthreads_or(broken);
    if (threadIdx.x == 0)
        g.run[(size_t)row * g.runs + blockIdx.x] = {sum, m, broken, best};
}

/* ---- what the runs come to ------------------------------------------------------------------------------------- */

typedef enum { NO_TOKEN, KNOWN, FILTERED, OPEN } row_kind; /* KNOWN: greedy or given */
typedef struct { float m, log_sum, top; u64 best; row_kind kind; } joined;

/* By all threads of a block.  log_sum is pick's business alone. */
static __device__ joined join(const args &g, uint32_t row, bool with_sum)
{
    const run_result *r = g.run + (size_t)row * g.runs;
    const sr_sampdev *p = params(g, row);
    float             m = -INFINITY;
    double            sum = 0;
    uint32_t          broken = 0;
    joined            j = {0, 0, 0, 0, NO_TOKEN};
    if (threadIdx.x < g.runs) { /* there are fewer runs than threads */
        m      = r[threadIdx.x].max;
        j.best = r[threadIdx.x].best;
        broken = r[threadIdx.x].broken;
    }
    j.m    = reduce(m, larger());
    j.best = reduce(j.best, larger());
    if (with_sum) {
        if (threadIdx.x < g.runs && m > -INFINITY)
            sum = r[threadIdx.x].sum * exp((double)m - (double)j.m);
        j.log_sum = sr_logf((float)total(sum));
    }
    j.top = j.best ? chosen_from(g, row)[~(uint32_t)j.best] : -INFINITY;
    if (reduce(broken, either()) || !(fabsf(j.m) < INFINITY) || (p->given < 0 && (!j.best || j.top == INFINITY)))
        j.kind = NO_TOKEN;
    else if (p->given >= 0 || p->temp <= 0)
        j.kind = KNOWN;
    else
        j.kind = p->top_k || p->typical_p < 1 || p->top_p < 1 || p->min_p > 0 ? FILTERED : OPEN;
    return j;
}

/* ---- candidates ------------------------------------------------------------------------------------------------ */

/* Falls as a rises, so the bins up to any one hold the likeliest tokens, whatever the rounding of the difference. */
static __device__ uint32_t depth(float a, float top)
{
    float d = (top - a) * 4.0f;
    return d < DEPTHS - 1 ? (uint32_t)d : DEPTHS - 1;
}

/* 64-bit sums in shared memory by native 32-bit additions: a 64-bit one is a loop that many threads of a bin fight over. */
typedef struct { uint32_t lo, hi; } wide;
static __device__ void add(wide *w, u64 v)
{
    uint32_t lo = (uint32_t)v, was = atomicAdd(&w->lo, lo), hi = (uint32_t)(v >> 32) + (was + lo < was);
    if (hi)
        atomicAdd(&w->hi, hi);
}
static __device__ u64 value(wide w) { return (u64)w.hi << 32 | w.lo; }

/* Without typical_p or behind top_k the kept tokens are the likeliest ones. */
static __device__ bool listable(const sr_sampdev *p) { return p->top_k || !(p->typical_p < 1); }

/* May this row have candidates?  Most rows that have none are known by their parameters. */
static __device__ bool asks(const sr_sampdev *p)
{
    return p->n_alt || (p->given < 0 && p->temp > 0 && (p->top_k || p->typical_p < 1 || p->top_p < 1 || p->min_p > 0));
}

static __global__ void __launch_bounds__(SCAN) weigh(args g)
{
    sr_await_forerunner();
    __shared__ uint32_t count[DEPTHS], raw[DEPTHS];
    __shared__ wide     sum[DEPTHS];
    uint32_t row = blockIdx.y, first = blockIdx.x * g.run_len, end = min(first + g.run_len, g.vocab);
    if (row >= g.n->out)
        return;
    const sr_sampdev *p = params(g, row);
    if (!asks(p))
        return;
    joined j = join(g, row, false);
    bool   filters = j.kind == FILTERED && listable(p), alternatives = p->n_alt && j.kind != NO_TOKEN;
    if (!filters && !alternatives)
        return;
    const float *a = chosen_from(g, row), *x = g.logits + (size_t)row * g.vocab;
    for (uint32_t i = threadIdx.x; i < DEPTHS; i += SCAN) {
        count[i] = raw[i] = 0;
        sum[i] = {0, 0};
    }
    __syncthreads();
    for (uint32_t k = first + threadIdx.x; k < end; k += SCAN) {
        if (filters && a[k] > -INFINITY) {
            uint32_t d = depth(a[k], j.top);
            u64      w = weight(a[k], j.top);
            atomicAdd(&count[d], 1u);
            if (w)
                add(&sum[d], w);
        }
        if (alternatives)
            atomicAdd(&raw[depth(x[k], j.m)], 1u);
    }
    __syncthreads();
    row_depths *to = &g.depths[row];
    for (uint32_t i = threadIdx.x; i < DEPTHS; i += SCAN) {
        if (count[i])
            atomicAdd(&to->count[i], count[i]);
        if (value(sum[i]))
            atomicAdd(&to->weight[i], value(sum[i]));
        if (raw[i])
            atomicAdd(&to->raw[i], raw[i]);
    }
}

/* Sums of the bins up to each thread's own; for blocks of DEPTHS threads. */
template <typename T>
static __device__ T running(T v)
{
    __shared__ T part[DEPTHS / 32];
    for (uint32_t i = 1; i < 32; i *= 2) {
        T o = __shfl_up_sync(~0u, v, i);
        v += threadIdx.x % 32 >= i ? o : T(0);
    }
    __syncthreads();
    if (threadIdx.x % 32 == 31)
        part[threadIdx.x / 32] = v;
    __syncthreads();
    for (uint32_t w = 0; w < threadIdx.x / 32; w++)
        v += part[w];
    return v;
}

/* The last bin that can hold a token that stays; all threads get it.  Each filter alone bounds it, so the first met is enough. */
static __device__ uint32_t last_depth(const row_depths *d, const sr_sampdev *p)
{
    __shared__ uint32_t last;
    uint32_t t = threadIdx.x;
    u64      count = running((u64)d->count[t]), run = running(d->weight[t]);
    u64      all = total(d->weight[t]);
    if (t == 0)
        last = DEPTHS - 1;
    __syncthreads();
    bool ends = p->top_k        ? count >= p->top_k
                : p->top_p < 1 ? count && (double)run >= (double)p->top_p * (double)all
                               : t >= depth(sr_logf(fminf(p->min_p, 1.0f)), 0.0f) + 1; /* one more for the rounding of M + log */
    if (ends)
        atomicMin(&last, t);
    __syncthreads();
    return last;
}

static __device__ uint32_t last_raw_depth(const row_depths *d, uint32_t n)
{
    __shared__ uint32_t last;
    uint32_t count = running(d->raw[threadIdx.x]);
    if (threadIdx.x == 0)
        last = DEPTHS - 1;
    __syncthreads();
    if (count >= n)
        atomicMin(&last, threadIdx.x);
    __syncthreads();
    return last;
}

static __device__ void append(bool take, uint32_t id, uint32_t *list, uint32_t *used)
{
    uint32_t all = __ballot_sync(~0u, take), lane = threadIdx.x % 32, at = 0;
    if (!all)
        return;
    if (lane == 0)
        at = atomicAdd(used, (uint32_t)__popc(all));
    at = __shfl_sync(~0u, at, 0) + __popc(all & ((1u << lane) - 1));
    if (take && at < LISTED)
        list[at] = id;
}

static __global__ void __launch_bounds__(SCAN) list(args g)
{
    sr_await_forerunner();
    uint32_t row = blockIdx.y, first = blockIdx.x * g.run_len, end = min(first + g.run_len, g.vocab);
    if (row >= g.n->out)
        return;
    const sr_sampdev *p = params(g, row);
    if (!asks(p))
        return;
    joined j = join(g, row, false);
    bool   filters = j.kind == FILTERED && listable(p), alternatives = p->n_alt && j.kind != NO_TOKEN;
    if (!filters && !alternatives)
        return;
    row_depths  *d = &g.depths[row];
    uint32_t     bound = filters ? last_depth(d, p) : 0, bound_raw = alternatives ? last_raw_depth(d, p->n_alt) : 0;
    const float *a = chosen_from(g, row), *x = g.logits + (size_t)row * g.vocab;
    for (uint32_t k0 = first; k0 < end; k0 += SCAN) {
        uint32_t k = k0 + threadIdx.x;
        if (filters)
            append(k < end && a[k] > -INFINITY && depth(a[k], j.top) <= bound, k, g.list + (size_t)row * LISTED, &d->listed);
        if (alternatives)
            append(k < end && depth(x[k], j.m) <= bound_raw, k, g.list_raw + (size_t)row * LISTED, &d->listed_raw);
    }
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

typedef struct { uint32_t count[BINS]; wide sum[BINS]; u64 warp[32]; u64 before; uint32_t found; } histogram;
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
    u64      x0 = c == COUNT ? h->count[2 * t] : value(h->sum[2 * t]), x1 = c == COUNT ? h->count[2 * t + 1] : value(h->sum[2 * t + 1]), run = x0 + x1;
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
            h->sum[i]   = {0, 0};
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
                add(&h->sum[bin], w);
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

/* all: weight of the whole vocabulary, of which f may be the likeliest part. */
static __device__ void filter(field *f, histogram *h, const sr_sampdev *p, uint32_t vocab, u64 all)
{
    auto logit = [](float a, uint32_t id) { return rank_of(a, id); };
    bool part  = f->list != NULL && !p->top_k && !(p->typical_p < 1);
    if (p->top_k && p->top_k < vocab)
        f->by_logit = select(*f, h, logit, COUNT, (double)p->top_k);
    if (p->typical_p < 1)
        typical(f, h, p->typical_p);
    if (p->top_p < 1) {
        u64 left    = part ? all : total_weight(*f);
        f->by_logit = min(f->by_logit, select(*f, h, logit, REACHES, (double)p->top_p * (double)left));
    }
    if (p->min_p > 0) {
        float most = -INFINITY;
        for (uint32_t i = threadIdx.x; i < f->n; i += PICK) {
            uint32_t id = token_at(*f, i);
            if (kept(*f, f->a[id], id))
                most = fmaxf(most, f->a[id]);
        }
        f->least = fmaxf(-FLT_MAX, reduce(most, larger()) + sr_logf(fminf(p->min_p, 1.0f)));
    }
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
    sr_await_forerunner();
    uint32_t row = blockIdx.y, first = blockIdx.x * g.run_len, end = min(first + g.run_len, g.vocab);
    if (row >= g.n->out || !g.state[row].drawing)
        return;
    row_state        *s = &g.state[row];
    const sr_sampdev *p = params(g, row);
    const float      *a = chosen_from(g, row);
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
static __device__ void alternatives(const args &g, histogram *h, uint32_t row, uint32_t n, const joined &j)
{
    __shared__ u64      rank[SR_MAX_ALT];
    __shared__ uint32_t used;
    sr_sampled *out = &g.out[row];
    uint32_t    listed = g.depths[row].listed_raw;
    field       f = {g.logits + (size_t)row * g.vocab, g.list_raw + (size_t)row * LISTED, listed, j.m, -INFINITY, ~0ull, ~0ull, 0, 0};
    if (listed > LISTED) {
        f.list = NULL;
        f.n    = g.vocab;
    }
    n = min(min(n, g.vocab), (uint32_t)SR_MAX_ALT);
    u64 last = select(f, h, [](float a, uint32_t id) { return rank_of(a, id); }, COUNT, (double)n);
    if (threadIdx.x == 0)
        used = 0;
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < f.n; i += PICK) {
        u64 r = rank_of(f.a[token_at(f, i)], token_at(f, i));
        if (r <= last)
            rank[atomicAdd(&used, 1u)] = r;
    }
    __syncthreads();
    n = used;
    if (threadIdx.x < n) {
        uint32_t place = 0, id = (uint32_t)rank[threadIdx.x];
        for (uint32_t i = 0; i < n; i++)
            place += rank[i] < rank[threadIdx.x];
        out->alt[place].tok     = (int32_t)id;
        out->alt[place].logprob = f.a[id] - j.m - j.log_sum;
    }
    if (threadIdx.x == 0)
        out->n_alt = n;
}

/* One key a thread, ascending: bitonic, by shuffles where the partner is in the same warp. */
static __device__ u64 sorted(u64 v, u64 *shared)
{
    uint32_t t = threadIdx.x;
    for (uint32_t size = 2; size <= PICK; size *= 2)
        for (uint32_t step = size / 2; step; step /= 2) {
            u64 other;
            if (step < 32)
                other = __shfl_xor_sync(~0u, v, (int)step);
            else {
                shared[t] = v;
                __syncthreads();
                other = shared[t ^ step];
                __syncthreads();
            }
            v = ((t & size) == 0) == ((t & step) == 0) ? min(v, other) : max(v, other);
        }
    return v;
}

static __device__ u64 running_weight(u64 v) /* sums up to each thread's own */
{
    __shared__ u64 part[32];
    for (uint32_t i = 1; i < 32; i *= 2) {
        u64 o = __shfl_up_sync(~0u, v, i);
        v += threadIdx.x % 32 >= i ? o : 0;
    }
    if (threadIdx.x % 32 == 31)
        part[threadIdx.x / 32] = v;
    __syncthreads();
    for (uint32_t w = 0; w < threadIdx.x / 32; w++)
        v += part[w];
    return v;
}

/* What the filters leave of at most PICK candidates: sorted by logit every filter but typical_p is a number of first ones. */
static __device__ u64 draw_sorted(const field &f, u64 *shared, const sr_sampdev *p, u64 all)
{
    uint32_t t = threadIdx.x, id = t < f.n ? f.list[t] : 0, n = f.n;
    u64      r = sorted(t < n ? rank_of(f.a[id], id) : ~0ull, shared);
    id = (uint32_t)r;
    if (p->top_k)
        n = min(n, p->top_k);
    float a = t < n ? f.a[id] : -INFINITY;
    if (p->top_p < 1) {
        u64 w = t < n ? weight(a, f.top) : 0, run = running_weight(w);
        if (p->top_k)
            all = total(w);
        n = min(n, reduce(t < n && (double)run >= (double)p->top_p * (double)all ? t + 1 : PICK, smaller()));
    }
    float least = p->min_p > 0 ? fmaxf(-FLT_MAX, reduce(t < n ? a : -INFINITY, larger()) + sr_logf(fminf(p->min_p, 1.0f))) : -FLT_MAX;
    return reduce(t < n && a >= least ? lot(p, inverse(p), a, f.top, id) : 0ull, larger());
}

/* A token of what the filters leave; by all threads. */
static __device__ int32_t draw_filtered(const args &g, histogram *h, uint32_t row, const joined &j)
{
    const sr_sampdev *p = params(g, row);
    const row_depths *d = &g.depths[row];
    field             f = {chosen_from(g, row), g.list + (size_t)row * LISTED, d->listed, j.top, -FLT_MAX, ~0ull, ~0ull, 0, 0};
    if (!listable(p) || d->listed > LISTED) {
        f.list = NULL;
        f.n    = g.vocab;
    }
    u64 all = total(threadIdx.x < DEPTHS ? d->weight[threadIdx.x] : 0), best = 0;
    if (f.list && f.n <= PICK && !(p->typical_p < 1)) {
        best = draw_sorted(f, (u64 *)h, p, all);
        return best ? (int32_t)~(uint32_t)best : -1;
    }
    filter(&f, h, p, g.vocab, all);
    float inv = inverse(p);
    for (uint32_t i = threadIdx.x; i < f.n; i += PICK) {
        uint32_t id = token_at(f, i);
        if (kept(f, f.a[id], id))
            best = larger()(best, lot(p, inv, f.a[id], j.top, id));
    }
    best = reduce(best, larger());
    return best ? (int32_t)~(uint32_t)best : -1;
}

static __global__ void __launch_bounds__(PICK) pick(args g)
{
    sr_await_forerunner();
    extern __shared__ u64 memory[];
    histogram        *h   = (histogram *)memory;
    uint32_t          row = blockIdx.x;
    if (row >= g.n->out)
        return;
    const sr_sampdev *p = params(g, row);
    sr_sampled       *out = &g.out[row];
    joined            j = join(g, row, true);
    for (uint32_t i = threadIdx.x; i < sizeof *out / 4; i += PICK)
        ((uint32_t *)out)[i] = 0;
    __syncthreads();
    int32_t tok = j.kind == FILTERED ? draw_filtered(g, h, row, j)
                  : j.kind == KNOWN  ? p->given >= 0 ? p->given : (int32_t)~(uint32_t)j.best
                                     : -1;
    if (p->n_alt && (tok >= 0 || j.kind == OPEN))
        alternatives(g, h, row, p->n_alt, j);
    if (threadIdx.x)
        return;
    g.state[row] = {0, j.m, j.log_sum, j.top, 0, j.kind == OPEN};
    if (j.kind != OPEN)
        settle(out, g.logits + (size_t)row * g.vocab, tok, j.m, j.log_sum);
}

/* ---- launch ----------------------------------------------------------------------------------------------------- */

static uint32_t runs_of(uint32_t vocab)
{
    uint32_t n = (vocab + RUN - 1) / RUN;
    return n > MAX_RUNS ? (uint32_t)MAX_RUNS : n;
}

static size_t align(size_t n) { return (n + 255) / 256 * 256; }

/* Blocks enough to fill the device are enough: with more, most of the time is their beginnings and ends.  A deterministic device's
 * sums do not depend on how many rows there are. */
static void cut(args *g, const sr_cudainfo *d, uint32_t rows)
{
    uint32_t least = (g->vocab + SCAN * LONG - 1) / (SCAN * LONG), fill = 16 * (uint32_t)d->sms / rows;
    if (!d->deterministic && fill < g->runs)
        g->runs = fill > least ? fill : least < g->runs ? least : g->runs;
    g->run_len = ((g->vocab + g->runs - 1) / g->runs + 3) / 4 * 4;
}

static size_t lay_out(args *g, char *base, uint32_t vocab, uint32_t rows)
{
    size_t at = SR_CUDA_COUNTERS;
    g->vocab    = vocab;
    g->runs     = runs_of(vocab);
    g->adjusted = (float *)(base + at);
    at += align((size_t)rows * vocab * sizeof(float));
    g->list = (uint32_t *)(base + at);
    at += align((size_t)rows * LISTED * sizeof(uint32_t));
    g->list_raw = (uint32_t *)(base + at);
    at += align((size_t)rows * LISTED * sizeof(uint32_t));
    g->depths = (row_depths *)(base + at);
    at += align(rows * sizeof(row_depths));
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

/* KEEP: as few numbers a thread as hold a run. */
template <int KEEP> static void launch_scan(const sr_cudajob *j, dim3 all, const args &g)
{
    if constexpr (KEEP < LONG)
        if (g.run_len > (uint32_t)(SCAN * KEEP)) {
            launch_scan<KEEP * 2>(j, all, g);
            return;
        }
    sr_launch(j, g.vocab % 4 ? scan<false, KEEP> : scan<true, KEEP>, all, SCAN, 0, g);
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
    cut(&g, j->dev, j->n->out);
    dim3 all(g.runs, j->n->out);
    launch_scan<4>(j, all, g);
    sr_launch(j, weigh, all, SCAN, 0, g);
    sr_launch(j, list, all, SCAN, 0, g);
    sr_launch(j, pick, j->n->out, PICK, sizeof(histogram), g);
    sr_launch(j, draw, all, SCAN, 0, g);
}

extern "C" const sr_cudakernel sr_sample_cuda[] = {{"radix", 0, 0, NULL, scratch, launch}, {}};
