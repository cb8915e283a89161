/* attn_cuda_bench - ATTN's CUDA variants against f64 arithmetic on the stored keys and values, then times.
 *
 *   strata-bench-attn-cuda check [CASES [FROM]]    sequences of many kinds; exits 1 if any is off; FROM: others, for runs side by side
 *   strata-bench-attn-cuda [decode|prefill [75]]   long contexts, prompts; shapes of an 8B model; 75: the kernels
 *                                                  that cards before sm_90 get
 *   strata-bench-attn-cuda step [75]               decode with the rotation and the KV write before it, as two launches and as one
 *   strata-bench-attn-cuda tree [75]               drafted rows of a tree (ops/tree.h) against as many rows of a text
 *
 * Tolerance: q, k, v and p are rounded to f16 (2^-11 relative at most): scores are off by 2^-10 * |q| |k| *
 * scale at most, the weights relatively by as much; twice that times the largest value bounds the output. */
#include "ops/attn/attn_cuda.h"
#include "ops/cuda_bench.h"
#include "ops/linear/alike.h"
#include "ops/mma.cuh"
#include "ops/tree.h"

#define READ_LIMIT 4365e9 /* of an H200, measured by a kernel that only reads */
#define SEQS 128
enum { NO_WORDS, CHAINS, STARS, TREES }; /* NO_WORDS: batch.tree is NULL */

typedef struct {
    uint32_t heads, kv_heads, hd, window, page, n_seq, tok[SEQS], past[SEQS], first[SEQS], drafted[SEQS]; /* drafted: of tok, the last ones */
    uint32_t words; /* of the drafted */
    uint16_t format;
    float cap;
} shape;

typedef struct {
    sr_program prog;
    sr_op op, step[4]; /* step: rotation, KV write, attention; and a product, which tells whether the program is small (linear/alike.h) */
    sr_weight weight;
    sr_wref at;
    sr_slot slot[3];
    sr_shape n, max, *count;
    sr_batch batch;
    void *base[3], *scratch; /* base[2]: cosines and sines, one row for all */
    uint8_t *pool;           /* host copy, if checked */
    uint32_t *table, layers; /* host */
    float *q;
    uint64_t *word;          /* [tok] */
    size_t row, pool_bytes;
} bench_op;

static uint64_t seed = 0x9e3779b97f4a7c15u;
static uint32_t below(uint32_t n) { return (uint32_t)((bench_random(&seed) >> 33) % n); }

static void *to_device(const void *p, size_t bytes)
{
    void *d = bench_alloc(bytes);
    CU(cudaMemcpy(d, p, bytes, cudaMemcpyHostToDevice));
    return d;
}

/* Pages lie shuffled; their numbers are random, 64 rows repeated if the pool is large. */
static void fill_pages(bench_op *b, const shape *s, uint32_t pages)
{
    uint32_t n = 0, *order;
    for (uint32_t i = 0; i < s->n_seq; i++)
        n += (s->past[i] + s->tok[i] + s->page - 1) / s->page;
    order = (uint32_t *)malloc(n * 4);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t r = below(i + 1);
        order[i]   = order[r];
        order[r]   = i;
    }
    b->table = (uint32_t *)malloc((size_t)s->n_seq * pages * 4);
    memset(b->table, 0xff, (size_t)s->n_seq * pages * 4);
    for (uint32_t q = 0, at = 0; q < s->n_seq; q++)
        for (uint32_t i = 0; i < (s->past[q] + s->tok[q] + s->page - 1) / s->page; i++)
            b->table[(size_t)q * pages + i] = order[at++];
    free(order);
    b->row        = sr_row_bytes(s->format, s->hd);
    b->pool_bytes = (size_t)n * b->layers * 2 * s->kv_heads * s->page * b->row;
    b->pool       = (uint8_t *)malloc(b->pool_bytes);
    float *v      = (float *)malloc(s->hd * 4);
    size_t some   = b->row * 64 < b->pool_bytes ? b->row * 64 : b->pool_bytes;
    bool all      = b->pool_bytes < (size_t)8 << 20;
    for (size_t at = 0; at < (all ? b->pool_bytes : some); at += b->row) {
        for (uint32_t i = 0; i < s->hd; i++)
            v[i] = bench_normal(&seed);
        sr_encode_row(s->format, v, b->pool + at, s->hd);
    }
    for (size_t have = some; !all && have < b->pool_bytes; have *= 2)
        memcpy(b->pool + have, b->pool, have * 2 < b->pool_bytes ? have : b->pool_bytes - have);
    free(v);
    for (uint32_t q = 0; all && q < s->n_seq; q++) /* what nobody may look at is NaN */
        for (uint32_t p = 0; p < (s->past[q] + s->tok[q] + s->page - 1) / s->page * s->page; p++)
            for (uint32_t h = 0; (p < s->first[q] || p >= s->past[q] + s->tok[q]) && h < b->layers * 2 * s->kv_heads; h++)
                memset(b->pool + (((size_t)b->table[(size_t)q * pages + p / s->page] * b->layers * 2 * s->kv_heads + h) * s->page +
                                  p % s->page) * b->row, 0xff, b->row);
    sr_kvbind *kv   = &b->batch.kv[0];
    kv->page_tokens = s->page;
    kv->kv_heads    = s->kv_heads;
    kv->dim_k = kv->dim_v = s->hd;
    kv->format_k = kv->format_v = s->format;
    kv->stride.tok              = b->row;
    kv->stride.head             = b->row * s->page;
    kv->stride.kv               = kv->stride.head * s->kv_heads;
    kv->stride.layer            = kv->stride.kv * 2;
    kv->stride.page             = kv->stride.layer * b->layers;
    kv->base                    = to_device(b->pool, b->pool_bytes);
}

/* The words of a step's tokens: what each drafted one's parent is follows from the kind. */
static void draft(bench_op *b, const shape *s, uint32_t tok)
{
    b->word = (uint64_t *)calloc(tok, sizeof *b->word);
    for (uint32_t q = 0, t = 0; q < s->n_seq; t += s->tok[q++]) {
        uint64_t *word = b->word + t + s->tok[q] - s->drafted[q];
        for (uint32_t i = 0; i < s->drafted[q]; i++) {
            uint32_t parent = s->words == CHAINS ? i : s->words == STARS ? i > 0 : below(i + 1); /* and one less, of which -1 is none */
            word[i]         = (parent ? word[parent - 1] : 0) | 1ull << i;
        }
    }
    if (s->words != NO_WORDS)
        b->batch.tree = (uint64_t *)to_device(b->word, tok * sizeof *b->word);
}

static void op_open(bench_op *b, const shape *s, uint32_t layers, const sr_cudainfo *dev)
{
    *b           = {};
    b->layers    = layers;
    uint32_t tok = 0, pages = 1, seq[SEQS + 1] = {0}, len[2 * SEQS] = {0},
             width = (s->heads + 2 * s->kv_heads) * s->hd;
    for (uint32_t i = 0; i < s->n_seq; i++) {
        uint32_t n = (s->past[i] + s->tok[i] + s->page - 1) / s->page;
        tok += s->tok[i];
        pages          = n > pages ? n : pages;
        seq[i + 1]     = tok;
        len[2 * i]     = s->first[i];
        len[2 * i + 1] = s->past[i] + s->tok[i];
    }
    b->n   = {tok, tok, s->n_seq, pages};
    b->max = b->n;
    fill_pages(b, s, pages);
    draft(b, s, tok);
    b->batch.seq    = (uint32_t *)to_device(seq, sizeof seq);
    b->batch.kv_len = (uint32_t *)to_device(len, sizeof len);
    b->batch.table  = (uint32_t *)to_device(b->table, (size_t)s->n_seq * pages * 4);
    b->count        = (sr_shape *)to_device(&b->n, sizeof b->n);
    b->q            = (float *)malloc((size_t)tok * width * 4);
    for (size_t i = 0; i < (size_t)tok * width; i++)
        b->q[i] = bench_normal(&seed);
    b->base[0] = to_device(b->q, (size_t)tok * width * 4);
    b->base[1] = bench_alloc((size_t)tok * s->heads * s->hd * 4);
    CU(cudaMemset(b->base[1], 0xff, (size_t)tok * s->heads * s->hd * 4));
    b->slot[0]          = {width, 0, SR_F32, SR_ROWS_TOK};
    b->slot[1]          = {s->heads * s->hd, 0, SR_F32, SR_ROWS_TOK};
    b->op.code          = SR_OP_ATTN;
    b->op.out[0]        = 1;
    b->op.dim[0]        = s->heads;
    b->op.dim[1]        = s->kv_heads;
    b->op.dim[2]        = s->hd;
    b->op.dim[3]        = s->window;
    b->op.f[0]          = 1 / sqrtf((float)s->hd);
    b->op.f[1]          = s->cap;
    b->slot[2]          = {s->hd, 0, SR_F32, SR_ROWS_TOK};
    b->prog.slot        = b->slot;
    b->prog.op          = b->step;
    b->prog.n_op        = 4;
    b->prog.weight      = &b->weight;
    b->weight.format    = SR_F16;
    b->weight.rows = b->weight.cols = s->heads * s->hd;
    b->step[3].code     = SR_OP_LINEAR;
    b->step[3].n_w      = 1;
    b->prog.kv[0]       = {layers, s->kv_heads, s->hd, s->hd, s->window, s->format, s->format};
    b->prog.page_tokens = s->page;
    size_t bytes        = sr_attn_mma_scratch(dev, &b->prog, &b->op, &b->max);
    b->scratch          = bench_alloc(bytes);
    CU(cudaMemset(b->scratch, 0xff, bytes));
    CU(cudaMemset(b->scratch, 0, SR_CUDA_COUNTERS));
}

/* A token a sequence: where it goes, and what it is turned by (nothing: only times are wanted). */
static void step_open(bench_op *b, const shape *s)
{
    uint32_t dst[SEQS], q = s->heads * s->hd;
    float *cs = (float *)calloc((size_t)s->n_seq * s->hd, 4);
    for (uint32_t i = 0; i < s->n_seq; i++) {
        dst[i] = b->table[(size_t)i * b->n.pages + s->past[i] / s->page] * s->page + s->past[i] % s->page;
        for (uint32_t d = 0; d < s->hd / 2; d++)
            cs[(size_t)i * s->hd + d] = 1;
    }
    b->batch.dst = (uint32_t *)to_device(dst, sizeof dst);
    b->base[2]   = to_device(cs, (size_t)s->n_seq * s->hd * 4);
    free(cs);
    b->step[0].code   = SR_OP_ROPE;
    b->step[0].in[1]  = 2;
    b->step[0].dim[0] = s->heads + s->kv_heads;
    b->step[0].dim[1] = b->step[0].dim[2] = s->hd;
    b->step[1].code   = SR_OP_KVWRITE;
    b->step[1].dim[0] = q;
    b->step[1].dim[1] = q + s->kv_heads * s->hd;
    b->step[1].dim[2] = s->hd;
    b->step[2]        = b->op;
}

static void op_close(bench_op *b)
{
    void *d[] = {(void *)b->batch.dst, b->base[2],(void *)b->batch.seq, (void *)b->batch.tree,
                 (void *)b->batch.kv_len,
                 (void *)b->batch.table,
                 b->count,
                 b->base[0],
                 b->base[1],
                 b->scratch,
                 b->batch.kv[0].base};
    for (size_t i = 0; i < sizeof d / sizeof *d; i++)
        CU(cudaFree(d[i]));
    free(b->pool);
    free(b->table);
    free(b->q);
    free(b->word);
}

static void launch(bench_op *b, const sr_cudainfo *dev, uint32_t layer, cudaStream_t s)
{
    sr_op op     = b->op;
    op.n_w       = layer;
    sr_cudajob j = {dev,     &b->prog, &op,       &b->n, &b->max,    b->count,
                    b->base, &b->at,   &b->batch, NULL,  b->scratch, s, NULL};
    j.alike      = sr_alike(&j);
    sr_attn_mma_launch(&j);
}

static void launch_step(bench_op *b, const sr_cudainfo *dev, uint32_t layer, cudaStream_t s, bool one)
{
    sr_cudajob j  = {dev, &b->prog, NULL, &b->n, &b->max, b->count, b->base, &b->at, &b->batch, NULL, b->scratch, s, NULL};
    j.alike        = sr_alike(&j);
    b->step[1].n_w = b->step[2].n_w = layer;
    if (one) {
        if (sr_rope_kvwrite_attn_cuda(&j, 0, 3) != 3)
            printf("NOT ONE LAUNCH ");
        return;
    }
    (void)sr_rope_kvwrite_cuda(&j, 0, 3);
    j.op = &b->step[2];
    sr_attn_mma_launch(&j);
}

/* Worst error over the tolerance, of every `step`-th (token, head), layer 0. */
static double worst(const bench_op *b, const shape *s, uint32_t step)
{
    size_t n_out = (size_t)b->n.tok * s->heads * s->hd;
    float *out = (float *)malloc(n_out * 4), *row = (float *)malloc(s->hd * 4);
    double *w = (double *)malloc(sizeof(double) * b->n.pages * s->page),
           *o = (double *)malloc(s->hd * sizeof(double)), bad = 0;
    CU(cudaMemcpy(out, b->base[1], n_out * 4, cudaMemcpyDeviceToHost));
    const sr_kvbind *kv = &b->batch.kv[0];
    for (uint32_t q = 0, t = 0; q < s->n_seq; q++)
        for (uint32_t i = 0; i < s->tok[q]; i++, t++)
            for (uint32_t h = 0; h < s->heads; h++) {
                if ((t * s->heads + h) % step)
                    continue;
                uint64_t word  = b->word[t];
                uint32_t end = s->past[q] + i + 1, first = word ? end - 1 - sr_tree_own(word) : end;
                end            = word ? first + sr_tree_bits(word) : end;
                uint32_t begin = s->window && end > s->window + s->first[q] ? end - s->window : s->first[q];
                const float *x = b->q + (size_t)t * b->slot[0].width + (size_t)h * s->hd;
                double top = -1e30, sum = 0, qq = 0, peak = 0, kk = 0;
                for (uint32_t d = 0; d < s->hd; d++)
                    qq += (double)x[d] * x[d];
                for (int value = 0; value < 2; value++) {
                    memset(o, 0, s->hd * sizeof *o);
                    for (uint32_t p = begin; p < end; p++) {
                        uint32_t at = sr_tree_place(word, first, p);
                        size_t page = b->table[(size_t)q * b->n.pages + at / s->page];
                        sr_decode_row(s->format,
                                      b->pool + page * kv->stride.page + value * kv->stride.kv +
                                          h / (s->heads / s->kv_heads) * kv->stride.head +
                                          at % s->page * kv->stride.tok,
                                      row, s->hd);
                        double dot = 0, norm = 0;
                        if (value) {
                            double e = exp(w[p] - top);
                            sum += e;
                            for (uint32_t d = 0; d < s->hd; d++) {
                                o[d] += e * row[d];
                                peak = fabs(row[d]) > peak ? fabs(row[d]) : peak;
                            }
                            continue;
                        }
                        for (uint32_t d = 0; d < s->hd; d++) {
                            dot += (double)x[d] * row[d];
                            norm += (double)row[d] * row[d];
                        }
                        w[p] = dot * b->op.f[0];
                        w[p] = s->cap > 0 ? s->cap * tanh(w[p] / s->cap) : w[p];
                        top  = w[p] > top ? w[p] : top;
                        kk   = norm > kk ? norm : kk;
                    }
                }
                double tol = 2 * peak * (0x1p-10 * sqrt(qq * kk) * b->op.f[0] + 0x1p-10);
                for (uint32_t d = 0; d < s->hd; d++) {
                    double e = fabs(out[((size_t)t * s->heads + h) * s->hd + d] - o[d] / sum) / tol;
                    if (!(e <= bad))
                        bad = e > 0 ? e : 1e9;
                }
            }
    free(out);
    free(row);
    free(w);
    free(o);
    return bad;
}

/* Random steps: each sequence a single token, a few, or a prompt. */
static shape random_shape(uint32_t i)
{
    static const uint32_t hds[] = {64, 80, 96, 128, 256}, groups[] = {1, 2, 4, 7, 8, 16, 5, 24, 32}, pages[] = {16, 32, 48, 64, 128, 256};
    shape s    = {};
    s.hd       = hds[i % 5];
    s.format   = i / 5 % 2 && s.hd % 32 == 0 ? SR_Q8_0 : SR_F16;
    s.kv_heads = 1 + below(3);
    s.heads    = s.kv_heads * groups[below(9)];
    s.window   = below(4) ? 0 : 1 + below(300);
    s.page     = pages[below(6)];
    s.cap      = below(5) ? 0 : 5.0f;
    s.n_seq    = 1 + below(5);
    if (i % 6 == 5) { /* many short ones, a token each: a warp alone */
        s.n_seq    = 100 + below(28);
        s.kv_heads = 8;
        s.heads    = 8 * (1 + below(8));
        s.format   = SR_F16;
        s.hd       = 128;
    }
    if (i % 6 == 2) { /* more than run at once in blocks of eight warps */
        s.n_seq    = 20 + below(40);
        s.kv_heads = 7 + below(2);
        s.heads    = s.kv_heads * (1 + below(10));
        s.page     = 16 << below(2);
    }
    uint32_t most = i % 6 == 5 ? 1 : i % 6 == 2 ? 1 + below(4) : i % 3 == 0 ? 1 : i % 3 == 1 ? 8 : 300;
    for (uint32_t q = 0; q < s.n_seq; q++) {
        s.tok[q]   = 1 + below(below(4) ? most : 1);
        s.past[q]  = below(i % 6 == 5 ? 200 : i % 7 == 0 ? 3000 : 300);
        s.first[q] = below(4) ? 0 : below(s.past[q] + 1);
    }
    if (below(2)) { /* trees; or words of which none says anything */
        s.words = below(4) == 0 ? CHAINS : below(4) == 0 ? STARS : TREES;
        for (uint32_t q = 0; q < s.n_seq; q++) {
            uint32_t most = s.tok[q] < SR_TREE_MOST ? s.tok[q] : (uint32_t)SR_TREE_MOST;
            s.drafted[q]  = below(3) == 0 ? 0 : below(2) ? most : below(most + 1);
        }
    }
    return s;
}

/* A chain is a text: on a deterministic device, whose kernels are those of any step, to the bit. */
static bool as_a_text(bench_op *b, const shape *s, const sr_cudainfo *dev)
{
    size_t bytes = (size_t)b->n.tok * s->heads * s->hd * 4;
    const uint64_t *tree = b->batch.tree;
    if (s->words != CHAINS || !dev->deterministic)
        return true;
    char *out[2] = {(char *)malloc(bytes), (char *)malloc(bytes)};
    for (int i = 0; i < 2; i++) {
        b->batch.tree = i ? NULL : tree;
        CU(cudaMemset(b->base[1], 0xff, bytes));
        launch(b, dev, 0, 0);
        CU(cudaMemcpy(out[i], b->base[1], bytes, cudaMemcpyDeviceToHost));
    }
    b->batch.tree = tree;
    bool same     = memcmp(out[0], out[1], bytes) == 0;
    free(out[0]);
    free(out[1]);
    return same;
}

/* Whether what a sequence gets depends on those beside it: each alone, and its last rows alone, to the bit.  Of deterministic devices and small models only. */
static bool as_alone(bench_op *b, const shape *s, const sr_cudainfo *dev)
{
    const size_t row = (size_t)s->heads * s->hd;
    float *out = (float *)malloc(b->n.tok * row * 4), *one = (float *)malloc(b->n.tok * row * 4), *y = (float *)b->base[1];
    CU(cudaMemcpy(out, y, b->n.tok * row * 4, cudaMemcpyDeviceToHost));
    bench_op a = *b;
    bool same  = true;
    for (uint32_t q = 0, t = 0; q < s->n_seq; t += s->tok[q++])
        for (uint32_t part = 0; part < 2; part++) { /* neither a prompt nor a piece of one is a single token */
            const uint32_t skip = part && s->tok[q] >= 4 && !s->drafted[q] ? s->tok[q] / 2 : 0, n = s->tok[q] - skip, seq[2] = {0, n};
            if (part && !skip)
                continue;
            a.n            = {n, n, 1, (s->past[q] + s->tok[q] + s->page - 1) / s->page};
            a.batch.seq    = (uint32_t *)to_device(seq, sizeof seq);
            a.count        = (sr_shape *)to_device(&a.n, sizeof a.n);
            a.batch.kv_len = b->batch.kv_len + 2 * q;
            a.batch.table  = b->batch.table + (size_t)q * b->n.pages;
            a.batch.tree   = b->batch.tree ? b->batch.tree + t + skip : NULL;
            a.base[0]      = (float *)b->base[0] + (size_t)(t + skip) * b->slot[0].width;
            CU(cudaMemset(y, 0xff, n * row * 4));
            launch(&a, dev, 0, 0);
            CU(cudaMemcpy(one, y, n * row * 4, cudaMemcpyDeviceToHost));
            same = same && memcmp(one, out + (t + skip) * row, n * row * 4) == 0;
            CU(cudaFree((void *)a.batch.seq));
            CU(cudaFree(a.count));
        }
    free(out);
    free(one);
    return same;
}

/* Products that the reference of a step takes. */
static double work(const shape *s)
{
    double n = 0;
    for (uint32_t q = 0; q < s->n_seq; q++)
        n += (double)s->tok[q] * s->heads * (s->past[q] + s->tok[q]) * s->hd;
    return n;
}

static int check(sr_cudainfo dev, uint32_t cases, uint32_t from)
{
    const int archs[] = {dev.arch, 75}, codes = dev.arch > 75 ? 2 : 1;
    uint32_t all      = 0;
    for (int code = 0; code < codes; code++) { /* the kernels that such a card would get, too */
        uint32_t wrong = 0, trees = 0, alike = 0;
        double most    = 0;
        seed           = 0x9e3779b97f4a7c15u + from;
        dev.arch       = archs[code];
        for (uint32_t i = from; i < from + cases; i++) {
            shape s           = random_shape(i);
            dev.deterministic = i % 2;
            dev.pairs         = i % 4 ? SR_CUDA_PAIRS : 0;
            bench_op b;
            op_open(&b, &s, 2, &dev);
            for (int again = 0; again < 2; again++)
                launch(&b, &dev, 0, 0);
            CU(cudaGetLastError());
            CU(cudaDeviceSynchronize());
            double w = worst(&b, &s, 1 + (uint32_t)(work(&s) / 2e7));
            most     = w > most ? w : most;
            trees += s.words == STARS || s.words == TREES;
            const uint64_t width = (uint64_t)s.heads * s.hd;
            if (dev.deterministic || (dev.arch == 90 && s.n_seq > 1 && width * width <= dev.pairs)) {
                alike++;
                if (!as_alone(&b, &s, &dev)) {
                    wrong++;
                    printf("WRONG: arch %d case %u: a sequence is not what it is alone\n", dev.arch, i);
                }
            }
            if (!as_a_text(&b, &s, &dev)) {
                wrong++;
                printf("WRONG: arch %d case %u: a chain is no text\n", dev.arch, i);
            }
            if (w > 1) {
                wrong++;
                printf("WRONG %.3g x tolerance: arch %d case %u heads %u/%u hd %u window %u page %u %s cap %g, tok %u past %u first %u of %u, words %u drafted %u\n",
                       w, dev.arch, i, s.heads, s.kv_heads, s.hd, s.window, s.page, sr_dtype_name(s.format), s.cap, s.tok[0], s.past[0],
                       s.first[0], s.n_seq, s.words, s.drafted[0]);
            }
            op_close(&b);
        }
        printf("kernels of sm_%d: %u cases, %u of them trees, %u the same alone, %u wrong, worst %.2f of the tolerance\n", dev.arch, cases, trees, alike, wrong,
               most);
        all += wrong;
    }
    return all ? 1 : 0;
}

static int speed(const sr_cudainfo *dev, int decode, int prefill)
{
    static const struct {
        uint32_t n_seq, tok, past;
    } cases[] = {{1, 1, 1023}, {1, 1, 4095}, {1, 1, 6999}, {1, 1, 8191}, {1, 1, 32767}, {4, 1, 4095}, {8, 1, 1023}, {8, 1, 4095},
                 {16, 1, 319}, {16, 1, 4095}, {32, 1, 1023}, {64, 1, 319}, {96, 1, 271}, {128, 1, 271}, {128, 1, 1023},
                 {1, 4, 4092}, {1, 512, 0}, {1, 2048, 0}, {1, 4096, 0}, {1, 8192, 0}, {4, 512, 3584}, {1, 64, 4032}};
    cudaStream_t stream;
    CU(cudaStreamCreate(&stream));
    printf("8B: 32 heads on 8, head size 128, pages of 16\n%5s %5s %6s %6s %10s %10s %8s %9s\n", "seqs",
           "tok", "past", "format", "us", "GB/s", "share", "TFLOP/s");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int q8 = 0; q8 < 2; q8++) {
            if (cases[i].tok > 16 ? !prefill : !decode)
                continue;
            shape s = {};
            s.heads = 32, s.kv_heads = 8, s.hd = 128, s.page = 16, s.n_seq = cases[i].n_seq;
            s.format     = q8 ? SR_Q8_0 : SR_F16;
            double bytes = 0, flops = 0;
            for (uint32_t q = 0; q < s.n_seq; q++) {
                s.tok[q]  = cases[i].tok;
                s.past[q] = cases[i].past;
                bytes +=
                    (double)(s.tok[q] + s.past[q]) * s.kv_heads * 2 * (double)sr_row_bytes(s.format, s.hd);
                flops += 4.0 * s.heads * s.hd * s.tok[q] * (s.past[q] + (s.tok[q] + 1) / 2.0);
            }
            uint32_t layers = (uint32_t)(300e6 / bytes) + 1; /* more than L2, over the layers */
            layers          = layers > 32 ? 32 : layers;
            bench_op b;
            op_open(&b, &s, layers, dev);
            float us = bench_graph(stream, 11,
                                   [&] {
                                       for (uint32_t l = 0; l < layers; l++)
                                           launch(&b, dev, l, stream);
                                   }) /
                       (float)layers;
            launch(&b, dev, 0, stream);
            CU(cudaStreamSynchronize(stream));
            double w = worst(&b, &s, s.tok[0] > 100 ? 65521 : 61);
            printf("%5u %5u %6u %6s %10.2f %10.1f %8.3f %9.1f%s\n", s.n_seq, s.tok[0], s.past[0],
                   sr_dtype_name(s.format), us, bytes / us * 1e-3, bytes / READ_LIMIT * 1e6 / us,
                   flops / us * 1e-6, w > 1 ? "  WRONG" : "");
            fflush(stdout);
            op_close(&b);
        }
    return 0;
}

static int step(const sr_cudainfo *dev)
{
    static const struct {
        uint32_t n_seq, past;
    } cases[] = {{1, 63}, {1, 255}, {1, 319}, {1, 511}, {1, 1023}, {1, 4095}, {2, 255}, {4, 255}, {8, 255}, {16, 255}, {16, 319},
                 {32, 255}, {32, 319}, {64, 255}, {64, 319}, {128, 255}, {8, 1023}, {16, 1023}, {16, 4095}};
    cudaStream_t stream;
    CU(cudaStreamCreate(&stream));
    printf("8B, a layer's rotation, KV write and attention, us\n%5s %6s %6s %10s %10s %10s\n", "seqs", "past", "format", "attention", "two", "one");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int q8 = 0; q8 < 2; q8++) {
            shape s = {};
            s.heads = 32, s.kv_heads = 8, s.hd = 128, s.page = 16, s.n_seq = cases[i].n_seq;
            s.format = q8 ? SR_Q8_0 : SR_F16;
            for (uint32_t q = 0; q < s.n_seq; q++)
                s.tok[q] = 1, s.past[q] = cases[i].past;
            bench_op b;
            double bytes    = (double)s.n_seq * s.past[0] * s.kv_heads * 2 * (double)sr_row_bytes(s.format, s.hd);
            uint32_t layers = (uint32_t)(300e6 / bytes) + 1; /* more than L2, over the layers */
            op_open(&b, &s, layers > 32 ? 32 : layers, dev);
            step_open(&b, &s);
            float us[3];
            for (int how = 0; how < 3; how++)
                us[how] = bench_graph(stream, 15,
                                      [&] {
                                          for (uint32_t l = 0; l < b.layers; l++)
                                              how ? launch_step(&b, dev, l, stream, how == 2) : launch(&b, dev, l, stream);
                                      }) /
                          (float)b.layers;
            printf("%5u %6u %6s %10.2f %10.2f %10.2f\n", s.n_seq, s.past[0], sr_dtype_name(s.format), us[0], us[1], us[2]);
            fflush(stdout);
            op_close(&b);
        }
    return 0;
}

/* Drafted rows of each sequence: a tree (parents drawn), as many rows of a text beside words that say nothing, and without words. */
static int trees(const sr_cudainfo *dev)
{
    static const struct {
        uint32_t n_seq, past;
    } cases[] = {{1, 255}, {1, 1023}, {1, 4095}, {4, 1023}, {16, 1023}};
    cudaStream_t stream;
    CU(cudaStreamCreate(&stream));
    printf("8B: 32 heads on 8, head size 128, pages of 16; us\n%5s %5s %6s %6s %10s %10s %10s %8s\n", "seqs", "rows", "past", "format", "text", "no drafts",
           "tree", "tree/text");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (uint32_t rows = 2; rows <= SR_TREE_MOST; rows *= 2)
            for (int q8 = 0; q8 < 2; q8++) {
                float us[3];
                double w = 0;
                for (int how = 0; how < 3; how++) { /* a text, words 0, a tree */
                    shape s = {};
                    s.heads = 32, s.kv_heads = 8, s.hd = 128, s.page = 16, s.n_seq = cases[i].n_seq;
                    s.format = q8 ? SR_Q8_0 : SR_F16;
                    if (how)
                        s.words = TREES;
                    for (uint32_t q = 0; q < s.n_seq; q++)
                        s.tok[q] = rows, s.past[q] = cases[i].past, s.drafted[q] = how == 2 ? rows : 0;
                    double bytes    = (double)s.n_seq * (s.past[0] + rows) * s.kv_heads * 2 * (double)sr_row_bytes(s.format, s.hd);
                    uint32_t layers = (uint32_t)(300e6 / bytes) + 1; /* more than L2, over the layers */
                    bench_op b;
                    op_open(&b, &s, layers > 32 ? 32 : layers, dev);
                    us[how] = bench_graph(stream, 9,
                                          [&] {
                                              for (uint32_t l = 0; l < b.layers; l++)
                                                  launch(&b, dev, l, stream);
                                          }) /
                              (float)b.layers;
                    launch(&b, dev, 0, stream);
                    CU(cudaStreamSynchronize(stream));
                    w = fmax(w, worst(&b, &s, 61));
                    op_close(&b);
                }
                printf("%5u %5u %6u %6s %10.2f %10.2f %10.2f %8.2f%s\n", cases[i].n_seq, rows, cases[i].past, q8 ? "Q8_0" : "F16", us[0], us[1], us[2],
                       us[2] / us[0], w > 1 ? "  WRONG" : "");
                fflush(stdout);
            }
    return 0;
}

/* What the products alone do: sixteen independent sums a warp, operands in registers, numbers of +- 0.25 .. 1. */
static __global__ void __launch_bounds__(256) products(float *out, int n)
{
    float c[16][4] = {};
    uint32_t b[16][2], z = threadIdx.x * 2654435761u + 12345;
    sr_frag_a a;
    auto draw = [&] {
        z = z * 1664525u + 1013904223u;
        return (z & 0x83ff83ffu) | (0x38003800u ^ (z >> 3 & 0x04000400u));
    };
    for (int i = 0; i < 4; i++)
        a.r[i] = draw();
    for (int i = 0; i < 32; i++)
        b[i / 2][i % 2] = draw();
    for (int r = 0; r < n; r++)
#pragma unroll
        for (int i = 0; i < 16; i++)
            sr_mma(c[i], a, b[i][0], b[i][1]);
    for (int i = 1; i < 64; i++)
        c[0][0] += c[i / 4][i % 4];
    out[blockIdx.x * 256 + threadIdx.x] = c[0][0];
}

static double peak(const sr_cudainfo *dev)
{
    const int times = 2000;
    cudaStream_t stream;
    const int blocks = dev->sms * 2;
    float *out       = (float *)bench_alloc((size_t)blocks * 256 * sizeof(float));
    CU(cudaStreamCreate(&stream));
    float us    = bench_graph(stream, 9, [&] { products<<<blocks, 256, 0, stream>>>(out, times); });
    double rate = 2.0 * 16 * 8 * 16 * 16 * times * blocks * 8 / us * 1e-6;
    printf("products alone (%s): %.1f TFLOP/s\n", dev->arch < 80 ? "m16n8k8" : "m16n8k16", rate);
    CU(cudaFree(out));
    return rate;
}

int main(int argc, char **argv)
{
    sr_cudainfo dev = bench_device();
    if (argc > 1 && !strcmp(argv[1], "check"))
        return check(dev, argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 90, argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0);
    if (argc < 2 || argv[1][0] == 'p')
        peak(&dev);
    if (argc > 2)
        dev.arch = (int)strtol(argv[2], NULL, 10);
    if (argc > 1 && !strcmp(argv[1], "step"))
        return step(&dev);
    if (argc > 1 && !strcmp(argv[1], "tree"))
        return trees(&dev);
    return speed(&dev, argc < 2 || argv[1][0] == 'd', argc < 2 || argv[1][0] == 'p');
}
