/* linear_cuda_bench - LINEAR's CUDA variants against f64 arithmetic on decoded weights, then times.
 *
 *   strata-bench-linear-cuda [skinny | s8 | f16] ..    below sm_90a: products of many rows of that kind wherever it has the format
 *   strata-bench-linear-cuda check [N [FROM [E]]]  odd shapes of every format, or of N from the FROM-th on, or each E-th of them; exits 1 if any is off
 *   strata-bench-linear-cuda prefill    many rows, TFLOP/s
 *   strata-bench-linear-cuda cuts N     N rows (more than 2): each way to cut the work that may be, expected and measured
 *                                       below sm_90a [of one format]: skinny, and each form and cut of gemm_mma, microseconds
 *   strata-bench-linear-cuda rates      what mma do in a loop without loads
 *   strata-bench-linear-cuda profile N  four launches of each matrix with N rows, for a profiler
 *   strata-bench-linear-cuda zerocopy   weights in page-locked memory, read over the bus
 *   strata-bench-linear-cuda lt         F16, BF16 and Q8_0 beside cuBLASLt's dense products (cublaslt_bench.h)
 *   strata-bench-linear-cuda [speed]    matrices of an 8B model, all layers in turn: more than L2 holds
 *
 * The code that runs is what the driver takes of the build: CUDA_FORCE_PTX_JIT=1 has it compile what a Turing card would get.
 *
 * Tolerance: x is rounded to f16 (2^-12 relative, a third of it on average), independent errors over the
 * inputs, against codes that reach twice the largest weight before their offset is taken off: 4 sigma
 * < 2^-10 * 2 * max|w| * |x|.  Where kernels make x int8 (as linear.h says that CPUs do) the arithmetic is on x so rounded, on the host in
 * the same f32 operations; what is left is f32 sums, 2^-24 of sums of at most 32 max|w| |x| of 256 inputs: 2^-13 is far beyond them.
 * In pairs (gemm90.h) x has 22 bits and weights are not rounded: f32 sums are left, 2^-17. */
#include "ops/cuda_bench.h"
#include "ops/linear/between.h"
#include "ops/linear/cublaslt_bench.h"
#include "ops/linear/gemm90.h"
#include "ops/linear/gemm_mma.h"
#include "ops/linear/layout.h"
#include "ops/linear/linear_cuda.h"
#include "ops/linear/skinny.h"
#include "ops/mma.cuh"

static double read_limit = 4365e9; /* of an H200, measured by a kernel that only reads */
static bool   over_bus;

typedef struct {
    uint32_t n_w, cols, m;
    uint32_t rows[3];
    uint16_t format[3];
    bool bias, residual;
} shape;

typedef struct { /* an op of a shape with `layers` sets of weights; layer 0's values are known on the host */
    shape s;
    uint32_t layers, width, m_room;
    sr_program prog;
    sr_op op;
    sr_slot slot[2];
    sr_weight weight[6];
    sr_wref *ref; /* [layers][6] */
    void *base[2], *scratch;
    sr_shape *count, n, max;
    sr_batch batch;
    float *x, *z, *w, *bias; /* host; w: decoded rows of the pool, row r of weight k is pool row r % pool */
    uint32_t pool;
    double bytes;
} bench_op;

static uint64_t seed = 0x9e3779b97f4a7c15u;

/* Encodes `pool` rows, packs them and lays them one after the other until n rows of each layer are filled. */
static void *weights(bench_op *b, uint32_t k, size_t *layer_bytes, float *decoded)
{
    const shape *s = &b->s;
    size_t row     = sr_row_bytes(s->format[k], s->cols), all;
    uint8_t *file = (uint8_t *)malloc(row * b->pool), *tiles = (uint8_t *)malloc(row * b->pool);
    float *v          = (float *)malloc(s->cols * 4);
    const void **rows = (const void **)malloc(b->pool * sizeof *rows);
    uint16_t layout;
    for (uint32_t r = 0; r < b->pool; r++) {
        for (uint32_t i = 0; i < s->cols; i++)
            v[i] = bench_normal(&seed) * 0.02f + (r % 3 == 0 ? 0.01f : 0);
        rows[r] = file + r * row;
        sr_encode_row(s->format[k], v, file + r * row, s->cols);
        sr_decode_row(s->format[k], file + r * row, decoded + (size_t)r * s->cols, s->cols);
    }
    sr_linear_cuda_pack(s->format[k], b->pool, s->cols, rows, tiles, &layout);
    *layer_bytes = row * s->rows[k];
    all          = *layer_bytes * b->layers;
    uint8_t *d   = NULL;
    if (over_bus)
        CU(cudaHostAlloc((void **)&d, all, cudaHostAllocMapped));
    else
        d = (uint8_t *)bench_alloc(all);
    size_t have  = row * b->pool < all ? row * b->pool : all;
    CU(cudaMemcpy(d, tiles, have, cudaMemcpyDefault));
    for (; have < all; have *= 2)
        CU(cudaMemcpy(d + have, d, have * 2 < all ? have : all - have, cudaMemcpyDefault));
    free(file);
    free(tiles);
    free(v);
    free(rows);
    return d;
}

static void op_open(bench_op *b, const shape *s, uint32_t layers, uint32_t pool, const sr_cudainfo *dev)
{
    *b        = {};
    b->s      = *s;
    b->layers = layers;
    b->m_room = s->m + 3;
    b->pool   = pool;
    b->ref    = (sr_wref *)calloc(layers * 6, sizeof *b->ref);
    b->w      = (float *)malloc((size_t)s->n_w * pool * s->cols * 4);
    for (uint32_t k = 0; k < s->n_w; k++) {
        size_t bytes;
        uint8_t *d   = (uint8_t *)weights(b, k, &bytes, b->w + (size_t)k * pool * s->cols);
        b->weight[k] = {0, 0, s->format[k], 0, s->rows[k], s->cols};
        for (uint32_t l = 0; l < layers; l++)
            b->ref[l * 6 + k] = {d + l * bytes, 0, s->rows[k], 0, s->cols, s->format[k], SR_LAYOUT_MMA16, 0, 0};
        b->width += s->rows[k];
        b->bytes += (double)bytes;
    }
    b->bias = (float *)malloc(b->width * 4);
    for (uint32_t i = 0; i < b->width; i++)
        b->bias[i] = bench_normal(&seed);
    float *dbias = (float *)bench_alloc(b->width * 4);
    CU(cudaMemcpy(dbias, b->bias, b->width * 4, cudaMemcpyHostToDevice));
    for (uint32_t k = 0, at = 0; k < s->n_w && s->bias; at += s->rows[k++])
        for (uint32_t l = 0; l < layers; l++)
            b->ref[l * 6 + s->n_w + k] = {dbias + at, 0, s->rows[k], 0, 1, SR_F32, 0, 0, 0};
    size_t nx = (size_t)b->m_room * s->cols, ny = (size_t)b->m_room * b->width;
    b->x = (float *)malloc(nx * 4);
    b->z = (float *)malloc(ny * 4);
    for (size_t i = 0; i < nx; i++) /* columns of very different size */
        b->x[i] = bench_normal(&seed) * (i / s->cols % 4 == 1 ? 3e5f : i / s->cols % 4 == 2 ? 1e-6f : 1.0f);
    for (size_t i = 0; i < ny; i++)
        b->z[i] = bench_normal(&seed);
    b->base[0] = bench_alloc(nx * 4);
    b->base[1] = bench_alloc(ny * 4);
    b->count   = (sr_shape *)bench_alloc(sizeof *b->count);
    CU(cudaMemcpy(b->base[0], b->x, nx * 4, cudaMemcpyHostToDevice));
    CU(cudaMemcpy(b->base[1], b->z, ny * 4, cudaMemcpyHostToDevice));
    b->n   = {s->m, s->m, 1, 1};
    b->max = {b->m_room, b->m_room, 1, 1};
    CU(cudaMemcpy(b->count, &b->n, sizeof b->n, cudaMemcpyHostToDevice));
    b->slot[0]       = {s->cols, 0, SR_F32, SR_ROWS_TOK};
    b->slot[1]       = {b->width, 0, SR_F32, SR_ROWS_TOK};
    b->op.code       = SR_OP_LINEAR;
    b->op.flags      = s->bias ? SR_F_BIAS : 0;
    b->op.in[0]      = 0;
    b->op.out[0]     = 1;
    b->op.epilogue   = s->residual ? 1 : SR_NONE;
    b->op.n_w        = s->n_w;
    b->op.dim[0]     = s->cols;
    b->op.dim[1]     = b->width;
    b->prog.op       = &b->op;
    b->prog.n_op     = 1;
    b->prog.slot     = b->slot;
    b->prog.n_slot   = 2;
    b->prog.weight   = b->weight;
    b->prog.n_weight = 6;
    size_t bytes     = sr_linear_mma_scratch(dev, &b->prog, &b->op, &b->max);
    b->scratch       = bench_alloc(bytes);
    CU(cudaMemset(b->scratch, 0, bytes));
}

static void op_close(bench_op *b)
{
    for (uint32_t k = 0; k < b->s.n_w; k++)
        CU(over_bus ? cudaFreeHost((void *)b->ref[k].p) : cudaFree((void *)b->ref[k].p));
    CU(cudaFree(b->base[0]));
    CU(cudaFree(b->base[1]));
    CU(cudaFree(b->scratch));
    CU(cudaFree(b->count));
    free(b->ref);
    free(b->w);
    free(b->bias);
    free(b->x);
    free(b->z);
}

static void launch(const bench_op *b, const sr_cudainfo *dev, uint32_t layer, uint32_t m, cudaStream_t s)
{
    sr_shape n   = {m, m, 1, 1};
    sr_cudajob j = {dev,     &b->prog,           &b->op,    &n,   &b->max,    b->count,
                    b->base, b->ref + layer * 6, &b->batch, NULL, b->scratch, s, NULL};
    sr_linear_mma_launch(&j);
}

/* The form that x takes for weight k in a launch of `rows`; 0: f16 of skinny or gemm90. */
static uint32_t form_of(const bench_op *b, const sr_cudainfo *dev, uint32_t k, uint32_t rows)
{
    for (uint32_t i = 0; i < b->s.n_w; i++)
        if (!sr_gemm_mma_way(dev, b->s.format[i], rows).form)
            return 0;
    return sr_gemm_mma_way(dev, b->s.format[k], rows).form;
}

/* A row of x as products take it. */
static void rounded(uint32_t form, const float *x, uint32_t cols, float *to)
{
    const uint32_t n = form == SR_GEMM_MMA_S8K ? 256 : 32;
    memcpy(to, x, cols * 4);
    if (form != SR_GEMM_MMA_S8K && form != SR_GEMM_MMA_S8)
        return;
    for (uint32_t k = 0; k < cols; k += n) {
        float top = 0;
        for (uint32_t i = 0; i < n; i++)
            top = fmaxf(top, fabsf(x[k + i]));
        const float inv = top > 0 ? 127.0f / top : 0;
        for (uint32_t i = 0; i < n; i++)
            to[k + i] = rintf(x[k + i] * inv) * (top / 127.0f);
    }
}

/* Whether a launch of `rows` is in pairs (gemm90.h). */
static bool in_pairs(const bench_op *b, const sr_cudainfo *dev, uint32_t rows)
{
    for (uint32_t k = 0; k < b->s.n_w; k++)
        if (b->s.format[k] == SR_Q4_0 || b->s.format[k] == SR_Q8_0)
            return false;
    return dev->arch == 90 && !dev->deterministic && rows >= SR_GEMM90_LEAST && sr_small(&b->prog, &b->op, dev->pairs);
}

/* Worst error over the tolerance; every output of `m` rows, or of some rows if the op is large.  rows: of the launch. */
static double worst(const bench_op *b, const sr_cudainfo *dev, uint32_t rows, uint32_t m, uint32_t layer_row_step)
{
    float *taken = (float *)malloc(b->s.cols * 4);
    size_t ny  = (size_t)b->m_room * b->width;
    float *y   = (float *)malloc(ny * 4);
    double bad = 0;
    CU(cudaMemcpy(y, b->base[1], ny * 4, cudaMemcpyDeviceToHost));
    for (uint32_t c = 0; c < b->m_room; c++)
        for (uint32_t k = 0, at = 0; k < b->s.n_w; at += b->s.rows[k++]) {
            const uint32_t form = form_of(b, dev, k, rows);
            rounded(form, b->x + (size_t)c * b->s.cols, b->s.cols, taken);
            for (uint32_t r = 0; r < b->s.rows[k]; r += layer_row_step) {
                const float *w = b->w + ((size_t)k * b->pool + r % b->pool) * b->s.cols, *x = taken;
                double sum = 0, xx = 0, top = 0;
                size_t i = (size_t)c * b->width + at + r;
                if (c >= m) { /* rows beyond the step's are left alone */
                    bad = y[i] == b->z[i] ? bad : 1e9;
                    continue;
                }
                for (uint32_t e = 0; e < b->s.cols; e++) {
                    sum += (double)w[e] * x[e];
                    xx += (double)x[e] * x[e];
                    top = fabs(w[e]) > top ? fabs(w[e]) : top;
                }
                const double share = form == SR_GEMM_MMA_S8K || form == SR_GEMM_MMA_S8 ? 0x1p-13 : in_pairs(b, dev, rows) ? 0x1p-17 : 0x1p-9;
                double tol         = share * top * sqrt(xx) + 1e-6;
                sum += (b->s.bias ? b->bias[at + r] : 0) + (b->s.residual ? b->z[i] : 0);
                double e = fabs(y[i] - sum) / tol;
                if (!(e <= bad))
                    bad = e > 0 ? e : 1e9;
            }
        }
    free(taken);
    free(y);
    return bad;
}

static const uint16_t FORMATS[] = {SR_Q4_K, SR_Q5_K, SR_Q6_K, SR_Q4_0, SR_Q8_0, SR_F16, SR_BF16};
static uint32_t below(uint32_t n) { return (uint32_t)((bench_random(&seed) >> 33) % n); }

static bool check_one(const shape *s, const sr_cudainfo *dev, uint32_t true_m)
{
    bench_op b;
    op_open(&b, s, 1, 48, dev);
    sr_shape n = {true_m, true_m, 1, 1};
    CU(cudaMemcpy(b.count, &n, sizeof n, cudaMemcpyHostToDevice));
    double w = 0;
    for (int again = 0; again < 2; again++) { /* the second run finds the counters as the first left them */
        CU(cudaMemcpy(b.base[1], b.z, (size_t)b.m_room * b.width * 4, cudaMemcpyHostToDevice));
        launch(&b, dev, 0, s->m, 0);
        CU(cudaGetLastError());
        CU(cudaDeviceSynchronize());
        w = fmax(w, worst(&b, dev, s->m, true_m, 1));
    }
    op_close(&b);
    if (w <= 1)
        return true;
    printf("WRONG %.3g x tolerance: m %u (true %u) cols %u bias %d residual %d:", w, s->m, true_m, s->cols,
           s->bias, s->residual);
    for (uint32_t k = 0; k < s->n_w; k++)
        printf(" %s %u", sr_dtype_name(s->format[k]), s->rows[k]);
    printf("\n");
    return false;
}

static int check(sr_cudainfo dev, uint32_t formats, uint32_t from, uint32_t each)
{
    static const uint32_t ms[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130};
    uint32_t done = 0, looked = 0, wrong = 0;
    if (each == 0) {
        fprintf(stderr, "strata-bench-linear-cuda: check: every 0th of the shapes is none of them\n");
        return 2;
    }
    const auto look = [&](const shape *s, uint32_t true_m) {
        if (done++ % each)
            return;
        looked++;
        wrong += !check_one(s, &dev, true_m);
    };
    for (size_t f = from; f < sizeof FORMATS / sizeof *FORMATS && f - from < formats; f++) {
        for (size_t i = 0; i < 2 * sizeof ms / sizeof *ms; i++) {
            dev.pairs      = i % 2 ? SR_CUDA_PAIRS : 0;
            uint32_t depth = sr_tile_cols(FORMATS[f]);
            shape s        = {1,
                              depth * (1 + below(i / 2 % 4 == 0 ? 4096 / depth : 1024 / depth)),
                              ms[i / 2],
                              {16 * (1 + below(20))},
                              {FORMATS[f]},
                              i / 2 % 3 == 0,
                              i / 2 % 2 == 0};
            look(&s, s.m);
        }
        for (int i = 0; i < 6; i++) { /* several weights, fewer rows than the bucket, both orders of sums */
            shape s           = {3,
                                 256 * (1 + below(20)),
                                 1 + below(64),
                                 {16 * (1 + below(64)), 16 * (1 + below(9)), 16 * (1 + below(9))},
                                 {FORMATS[f], FORMATS[below(7)], FORMATS[below(7)]},
                                 i % 2 == 1,
                                 i % 3 == 1};
            dev.deterministic = i >= 3;
            dev.chains        = i % 2 == 0;
            look(&s, 1 + below(s.m));
            dev.deterministic = false;
            dev.chains        = true;
        }
        for (uint32_t m = 5; m <= 300; m += m < 65 ? 12 : 117) { /* many rows of many inputs: sums meet over clusters */
            dev.pairs = m % 2 ? SR_CUDA_PAIRS : 0;
            shape s = {1, 256 * (17 + below(40)), m, {16 * (1 + below(16))}, {FORMATS[f]}, true, true};
            look(&s, m);
        }
        for (int i = 0; i < 12; i++) { /* any rows, fewer of them than the bucket, mixtures */
            dev.pairs = i % 4 < 2 ? SR_CUDA_PAIRS : 0;
            shape s = {1 + below(3),
                       256 * (1 + below(9)),
                       1 + below(300),
                       {16 * (1 + below(40)), 16 * (1 + below(9)), 16 * (1 + below(20))},
                       {FORMATS[f], FORMATS[below(7)], FORMATS[i % 2 ? f : below(7)]},
                       i % 2 == 0,
                       i % 3 == 0};
            look(&s, 1 + below(s.m));
        }
    }
    printf("%u cases, %u wrong\n", looked, wrong);
    return wrong ? 1 : 0;
}

/* ---- speed
 * ------------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    shape s;
    uint32_t in_layer;
} matrix;

static void speed_of(const matrix *m, uint32_t n, const sr_cudainfo *dev, uint32_t layers, const char *title,
                     bool prefill = false)
{
    static const uint32_t few[] = {1, 2, 4, 5, 8, 16, 32, 64}, much[] = {64, 128, 256, 512, 1024, 2048};
    const uint32_t *ms = prefill ? much : few;
    const size_t n_m   = prefill ? sizeof much / sizeof *much : sizeof few / sizeof *few;
    bench_op b[8];
    cudaStream_t s;
    CU(cudaStreamCreate(&s));
    for (uint32_t i = 0; i < n; i++) {
        shape one = m[i].s;
        one.m     = prefill ? 2048 : 64;
        op_open(&b[i], &one, layers, 48, dev);
    }
    printf("%s: us per matrix (%s)\n%4s", title, prefill ? "TFLOP/s" : "share of the read limit", "m");
    for (uint32_t i = 0; i < n; i++)
        printf(" %18s", m[i].name);
    printf(" %18s\n", "layer");
    for (size_t q = 0; q < n_m; q++) {
        sr_shape c = {ms[q], ms[q], 1, 1};
        printf("%4u", ms[q]);
        double work = 0; /* seconds at the limit; or FLOPs */
        for (uint32_t i = 0; i < n; i++)
            CU(cudaMemcpy(b[i].count, &c, sizeof c, cudaMemcpyHostToDevice));
        for (uint32_t i = 0; i < n; i++) {
            float us = bench_graph(s, 11,
                                   [&] {
                                       for (uint32_t l = 0; l < layers; l++)
                                           launch(&b[i], dev, l, ms[q], s);
                                   }) /
                       layers;
            double one = prefill ? 2e-6 * ms[q] * b[i].width * b[i].s.cols : b[i].bytes / read_limit * 1e6;
            work += one;
            printf(" %10.2f (%*.*f)", us, prefill ? 5 : 1, prefill ? 1 : 3, one / us);
        }
        float us = bench_graph(s, 11,
                               [&] {
                                   for (uint32_t l = 0; l < layers; l++)
                                       for (uint32_t i = 0; i < n; i++)
                                           if (m[i].in_layer)
                                               launch(&b[i], dev, l, ms[q], s);
                               }) /
                   layers;
        printf(" %10.2f (%*.*f)\n", us, prefill ? 5 : 1, prefill ? 1 : 3, work / us);
        fflush(stdout);
    }
    for (uint32_t i = 0; i < n; i++) {
        CU(cudaMemcpy(b[i].base[1], b[i].z, (size_t)b[i].m_room * b[i].width * 4, cudaMemcpyHostToDevice));
        sr_shape c = {5, 5, 1, 1};
        CU(cudaMemcpy(b[i].count, &c, sizeof c, cudaMemcpyHostToDevice));
        launch(&b[i], dev, 0, 5, s);
        CU(cudaStreamSynchronize(s));
        double w = worst(&b[i], dev, 5, 5, 509);
        if (w > 1)
            printf("WRONG %s: %.3g x tolerance\n", m[i].name, w);
        op_close(&b[i]);
    }
}

#define M8B(F, V, D)                                                                                         \
    {                                                                                                        \
        {"qkv 6144x4096", {3, 4096, 1, {4096, 1024, 1024}, {F, F, V}, false, false}, 1},                     \
            {"o 4096x4096", {1, 4096, 1, {4096}, {F}, false, true}, 1},                                      \
            {"gate+up 28672x4096", {2, 4096, 1, {14336, 14336}, {F, F}, false, false}, 1},                   \
            {"down 4096x14336", {1, 14336, 1, {4096}, {D}, false, true}, 1},                                 \
    }

static int speed(const sr_cudainfo *dev)
{
    static const matrix q4k[] = M8B(SR_Q4_K, SR_Q4_K, SR_Q4_K), q6k[] = M8B(SR_Q4_K, SR_Q6_K, SR_Q6_K),
                        q8[] = M8B(SR_Q8_0, SR_Q8_0, SR_Q8_0), f16[] = M8B(SR_F16, SR_F16, SR_F16),
                        q5k[]   = M8B(SR_Q5_K, SR_Q5_K, SR_Q5_K);
    static const matrix head[]  = {{"head 128256x4096", {1, 4096, 1, {128256}, {SR_Q6_K}, false, false}, 1}};
    static const matrix small[] = {
        {"qkv 2560x2048", {3, 2048, 1, {2048, 256, 256}, {SR_Q4_K, SR_Q4_K, SR_Q6_K}, false, false}, 1},
        {"o 2048x2048", {1, 2048, 1, {2048}, {SR_Q4_K}, false, true}, 1},
        {"gate+up 11264x2048", {2, 2048, 1, {5632, 5632}, {SR_Q4_K, SR_Q4_K}, false, false}, 1},
        {"down 2048x5632", {1, 5632, 1, {2048}, {SR_Q4_K}, false, true}, 1},
    };
    speed_of(q4k, 4, dev, 32, "8B Q4_K");
    speed_of(q6k, 4, dev, 32, "8B Q4_K with Q6_K v and down");
    speed_of(head, 1, dev, 4, "8B head Q6_K");
    speed_of(q8, 4, dev, 16, "8B Q8_0");
    speed_of(q5k, 4, dev, 16, "8B Q5_K");
    speed_of(f16, 4, dev, 8, "8B F16");
    speed_of(small, 4, dev, 64, "1.1B Q4_K");
    return 0;
}

static int prefill(const sr_cudainfo *dev)
{
    static const matrix q6k[] = M8B(SR_Q4_K, SR_Q6_K, SR_Q6_K), f16[] = M8B(SR_F16, SR_F16, SR_F16);
    speed_of(q6k, 4, dev, 4, "8B Q4_K with Q6_K v and down", true);
    speed_of(f16, 4, dev, 2, "8B F16", true);
    return 0;
}

/* Against a copy of 256 MB by the copy engine, in the same run. */
static int zerocopy(const sr_cudainfo *dev)
{
    static const matrix q4k[] = M8B(SR_Q4_K, SR_Q4_K, SR_Q4_K), bf16[] = M8B(SR_BF16, SR_BF16, SR_BF16);
    const size_t bytes = 256 << 20;
    void *host, *to = bench_alloc(bytes);
    cudaStream_t s;
    CU(cudaHostAlloc(&host, bytes, cudaHostAllocMapped));
    memset(host, 1, bytes);
    CU(cudaStreamCreate(&s));
    float us   = bench_graph(s, 11, [&] { CU(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, s)); });
    read_limit = (double)bytes / us * 1e6;
    printf("copy engine: %.1f GB/s\n", read_limit * 1e-9);
    over_bus = true;
    speed_of(q4k, 4, dev, 6, "8B Q4_K in page-locked memory, share of the copy engine's rate");
    speed_of(bf16, 4, dev, 2, "8B BF16 in page-locked memory, share of the copy engine's rate");
    return 0;
}

/* A product of gemm90 as the op would have it, but for the cut; its formats. */
static uint32_t gemm_of(const bench_op *b, uint32_t layer, uint32_t m, sr_gemm90 *g)
{
    sr_gemm90x x = {};
    uint32_t y0 = 0, formats;
    *g          = {};
    g->m        = m;
    g->y        = (float *)b->base[1];
    g->count    = &b->count->tok;
    g->width    = b->width;
    g->blocks_k = (b->s.cols + 255) / 256;
    for (uint32_t k = 0; k < b->s.n_w; y0 += b->s.rows[k++]) {
        const uint32_t depth = sr_tile_cols(b->s.format[k]);
        g->part[k] = {(const uint8_t *)b->ref[layer * 6 + k].p, NULL, 0, b->s.rows[k] / 16, b->s.cols / depth, y0, b->s.format[k], 0};
    }
    g->n_part = sr_gemm90_share(g->part, b->s.n_w, &formats);
    sr_gemm90_place(g, &x, b->scratch);
    return formats;
}

/* The cut that is taken, and those that take least. */
static int cuts(const sr_cudainfo *dev, uint32_t rows)
{
    static const matrix m[] = M8B(SR_Q4_K, SR_Q6_K, SR_Q6_K);
    constexpr uint32_t LAYERS = 8, BEST = 6;
    cudaStream_t st;
    CU(cudaStreamCreate(&st));
    for (uint32_t i = 0; i < 4; i++) {
        struct {
            uint32_t t, s, c;
            double said;
            float us;
        } best[BEST + 1] = {};
        uint32_t n = 0;
        bench_op b;
        shape one = m[i].s;
        sr_gemm90 g;
        one.m = rows;
        op_open(&b, &one, LAYERS, 48, dev);
        sr_shape count = {rows, rows, 1, 1};
        CU(cudaMemcpy(b.count, &count, sizeof count, cudaMemcpyHostToDevice));
        launch(&b, dev, 0, rows, st);
        uint32_t formats = gemm_of(&b, 0, rows, &g);
        sr_gemm90_plan(&g, formats, dev);
        printf("%s, %u rows: takes %u tiles, split %u, cluster %u\n", m[i].name, rows, g.tiles, 1u << g.split_log, 1u << g.cluster_log);
        for (uint32_t c = 0; c <= 3; c++)
            for (uint32_t s = 0; s <= 4; s++)
                for (uint32_t t = 1, units = 0; t <= 16; t++) {
                    const double said = sr_gemm90_cut(&g, formats, dev, t, s, c);
                    if (said < 0 || g.units == units)
                        continue;
                    units    = g.units;
                    float us = bench_graph(st, 5,
                                           [&] {
                                               for (uint32_t l = 0; l < LAYERS; l++) {
                                                   formats = gemm_of(&b, l, rows, &g);
                                                   (void)sr_gemm90_cut(&g, formats, dev, t, s, c);
                                                   sr_gemm90_multiply(&g, formats, dev->pdl, st);
                                               }
                                           }) /
                               (float)LAYERS;
                    uint32_t k = n;
                    for (; k && best[k - 1].us > us; k--)
                        best[k] = best[k - 1];
                    best[k] = {t, s, c, said, us};
                    n += n < BEST;
                }
        for (uint32_t k = 0; k < n; k++)
            printf("  %2u tiles, split %u, cluster %u: %6.2f us, expected %6.2f\n", best[k].t, 1u << best[k].s, 1u << best[k].c, best[k].us, best[k].said / 1750);
        fflush(stdout);
        op_close(&b);
    }
    return 0;
}

/* ---- beside others ------------------------------------------------------------------------------------------------------ */

typedef struct { bench_op b; const sr_cudainfo *dev; } ours;

static void run_ours(void *arg, bool alone, uint32_t layer, uint32_t m, cudaStream_t s)
{
    ours *o = (ours *)arg;
    if (!alone) {
        launch(&o->b, o->dev, layer, m, s);
        return;
    }
    sr_gemm90 g;
    const uint32_t formats = gemm_of(&o->b, layer, m, &g); /* x is ready since the launch before */
    sr_gemm90_plan(&g, formats, o->dev);
    sr_gemm90_multiply(&g, formats, o->dev->pdl, s);
}

static void rows_of_ours(void *arg, uint32_t m)
{
    const sr_shape n = {m, m, 1, 1};
    CU(cudaMemcpy(((ours *)arg)->b.count, &n, sizeof n, cudaMemcpyHostToDevice));
}

static int vendor(const sr_cudainfo *dev)
{
    static const matrix f16[] = M8B(SR_F16, SR_F16, SR_F16), bf16[] = M8B(SR_BF16, SR_BF16, SR_BF16), q8[] = M8B(SR_Q8_0, SR_Q8_0, SR_Q8_0);
    static const matrix *const all[] = {f16, bf16, q8};
    static const uint32_t ms[] = {512, 1024, 2048};
    static ours o[4];
    if (dev->arch != 90) {
        fprintf(stderr, "lt: products of code for sm_%d are not those that would be replaced\n", dev->arch);
        return 1;
    }
    if (!sr_lt_open())
        return 1;
    for (const matrix *m : all) {
        sr_ltcase c[4] = {};
        for (uint32_t i = 0; i < 4; i++) {
            shape one = m[i].s;
            one.m        = 2048;
            one.residual = false; /* theirs adds nothing either */
            o[i].dev     = dev;
            op_open(&o[i].b, &one, SR_LT_LAYERS, 48, dev);
            c[i] = {m[i].name, one.format[0], one.cols, one.n_w, {one.rows[0], one.rows[1], one.rows[2]}, {}, o[i].b.w, o[i].b.pool, rows_of_ours, run_ours, &o[i]};
            for (uint32_t l = 0; l < SR_LT_LAYERS; l++)
                for (uint32_t k = 0; k < one.n_w; k++)
                    c[i].tiles[l][k] = o[i].b.ref[l * 6 + k].p;
        }
        sr_lt_compare(c, 4, ms, sizeof ms / sizeof *ms);
        for (uint32_t i = 0; i < 4; i++)
            op_close(&o[i].b);
    }
    return 0;
}

/* A product of gemm_mma as the op would have it, but for form and cut. */
static void tiled_of(const bench_op *b, uint32_t layer, uint32_t m, sr_gemm_mma *g)
{
    sr_gemm_mmax x = {};
    uint32_t y0    = 0;
    x.form         = g->form;
    x.m            = m;
    x.cols         = b->s.cols;
    sr_gemm_mma_place(&x, (char *)b->scratch + SR_CUDA_COUNTERS);
    g->format  = b->s.format[0];
    g->tiles_k = b->s.cols / sr_tile_cols(g->format);
    g->cols    = b->s.cols;
    g->image   = x.image;
    g->beside  = x.beside;
    g->scale   = x.scale;
    g->y       = (float *)b->base[1];
    g->count   = &b->count->tok;
    g->m       = m;
    g->width   = b->width;
    for (uint32_t k = 0; k < b->s.n_w; y0 += b->s.rows[k++])
        g->part[g->n_part++] = {(const uint8_t *)b->ref[layer * 6 + k].p, NULL, 0, b->s.rows[k] / 16, y0};
}

/* Matrices of an 8B model, each in one format: skinny, then each form and cut; the launch that makes x is left out. */
static int tiled_cuts(const sr_cudainfo *dev, uint32_t rows, const char *only)
{
    static const uint16_t formats[] = {SR_Q4_K, SR_Q6_K, SR_Q8_0, SR_F16};
    static const struct {
        bool s8;
        uint32_t row_tiles, n;
    } way[]                   = {{true, 1, 32}, {true, 1, 64}, {false, 1, 32}, {false, 1, 64}, {false, 2, 64}};
    constexpr uint32_t LAYERS = 4;
    cudaStream_t st;
    CU(cudaStreamCreate(&st));
    printf("%5u rows, us                    skinny", rows);
    for (const auto &w : way)
        printf(" %5s %ux%-3u", w.s8 ? "s8" : "f16", w.row_tiles, w.n);
    printf("\n");
    for (uint16_t F : formats) {
        const matrix m[] = M8B(F, F, F);
        for (uint32_t i = 0; i < 4 && (!only || !strcmp(only, sr_dtype_name(F))); i++) {
            bench_op b;
            shape one        = m[i].s;
            sr_cudainfo slow = *dev;
            slow.products    = SR_PRODUCTS_SKINNY;
            one.m            = rows;
            op_open(&b, &one, LAYERS, 48, dev);
            sr_shape count = {rows, rows, 1, 1};
            CU(cudaMemcpy(b.count, &count, sizeof count, cudaMemcpyHostToDevice));
            const float us = bench_graph(st, 3, [&] {
                for (uint32_t l = 0; l < LAYERS; l++)
                    launch(&b, &slow, l, rows, st);
            });
            printf("%-5s %-20s %10.1f", sr_dtype_name(F), m[i].name, us / LAYERS);
            for (const auto &w : way) {
                if ((F == SR_F16 && (w.s8 || w.row_tiles > 1)) || ((F == SR_Q4_K || F == SR_Q6_K) && w.s8 && w.n > 32)) {
                    printf(" %11s", "");
                    continue;
                }
                const float us = bench_graph(st, 5, [&] {
                    for (uint32_t l = 0; l < LAYERS; l++) {
                        sr_gemm_mma g = {};
                        g.form        = !w.s8 ? SR_GEMM_MMA_F16 : F == SR_Q8_0 ? SR_GEMM_MMA_S8 : SR_GEMM_MMA_S8K;
                        g.row_tiles   = w.row_tiles;
                        g.n           = w.n;
                        g.arch        = (uint32_t)dev->arch;
                        tiled_of(&b, l, rows, &g);
                        sr_gemm_mma_multiply(&g, st);
                    }
                });
                printf(" %11.1f", us / LAYERS);
            }
            printf("\n");
            fflush(stdout);
            op_close(&b);
        }
    }
    return 0;
}

/* ---- what tensor cores do ---------------------------------------------------------------------------- */

/* Eight products of a warp that do not wait for each other, again and again; INT: of int8. */
template <bool INT> static __global__ void __launch_bounds__(256) mma_loop(int *out, uint32_t times)
{
    float f[8][4] = {};
    int d[8][4]   = {};
    uint32_t a[4] = {threadIdx.x, threadIdx.x * 3, threadIdx.x * 5, threadIdx.x * 7};
    for (uint32_t i = 0; i < times; i++)
#pragma unroll
        for (int k = 0; k < 8; k++)
            if constexpr (INT)
                sr_mma_int(d[k], a, threadIdx.x, i);
            else
                sr_mma(f[k], {{a[0], a[1], a[2], a[3]}}, threadIdx.x, i);
    int sum = 0;
    for (int k = 0; k < 32; k++)
        sum += INT ? d[k / 4][k % 4] : __float_as_int(f[k / 4][k % 4]);
    if (sum == 12345678)
        *out = sum;
}

static int rates(const sr_cudainfo *dev)
{
    constexpr uint32_t TIMES = 4096;
    int *out = (int *)bench_alloc(4);
    cudaStream_t s;
    CU(cudaStreamCreate(&s));
    const uint32_t grid = (uint32_t)dev->sms * 2;
    const double work   = (double)grid * 8 * TIMES * 8 * 2 * 16 * 8; /* of one input */
    const float i8      = bench_graph(s, 11, [&] { mma_loop<true><<<grid, 256, 0, s>>>(out, TIMES); });
    const float f16     = bench_graph(s, 11, [&] { mma_loop<false><<<grid, 256, 0, s>>>(out, TIMES); });
    printf("mma int8, m%s: %.1f Top/s;  mma f16, m16n8k%d: %.1f TFLOP/s\n", dev->arch < 80 ? "8n8k16" : "16n8k32", work * 32 / i8 * 1e-6,
           dev->arch < 80 ? 8 : 16, work * 16 / f16 * 1e-6);
    return 0;
}

/* A few plain launches of each matrix, for a profiler. */
static int profile(const sr_cudainfo *dev, uint32_t rows)
{
    static const matrix m[] = M8B(SR_Q4_K, SR_Q6_K, SR_Q6_K);
    for (uint32_t i = 0; i < 4; i++) {
        bench_op b;
        shape s = m[i].s;
        s.m     = rows;
        op_open(&b, &s, 4, 48, dev);
        for (uint32_t l = 0; l < 4; l++) {
            sr_shape c = {rows, rows, 1, 1};
            CU(cudaMemcpy(b.count, &c, sizeof c, cudaMemcpyHostToDevice));
            launch(&b, dev, l, c.tok, 0);
            CU(cudaDeviceSynchronize());
        }
        op_close(&b);
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const char *const kinds[] = {"", "skinny", "s8", "f16"}; /* SR_PRODUCTS_* */
    sr_cudainfo dev = bench_device();
    dev.chains      = dev.arch == 90;
    dev.pairs       = SR_CUDA_PAIRS;
    for (int i = SR_PRODUCTS_SKINNY; argc > 1 && i <= SR_PRODUCTS_F16; i++)
        if (!strcmp(argv[1], kinds[i])) {
            dev.products = i;
            argv++;
            argc--;
            break;
        }
    if (argc > 1 && !strcmp(argv[1], "check"))
        return check(dev, argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : ~0u, argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0,
                     argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 1);
    if (argc > 2 && !strcmp(argv[1], "cuts"))
        return dev.arch < 90 ? tiled_cuts(&dev, (uint32_t)strtoul(argv[2], NULL, 10), argc > 3 ? argv[3] : NULL) : cuts(&dev, (uint32_t)strtoul(argv[2], NULL, 10));
    if (argc > 1 && !strcmp(argv[1], "rates"))
        return rates(&dev);
    if (argc > 1 && !strcmp(argv[1], "profile"))
        return profile(&dev, argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 16);
    if (argc > 1 && !strcmp(argv[1], "lt"))
        return vendor(&dev);
    if (argc > 1 && !strcmp(argv[1], "zerocopy"))
        return zerocopy(&dev);
    if (argc > 1 && !strcmp(argv[1], "prefill"))
        return prefill(&dev);
    if (argc > 1 && strcmp(argv[1], "speed")) {
        fprintf(stderr, "strata-bench-linear-cuda: \"%s\" is none of its commands\n", argv[1]);
        return 2;
    }
    return speed(&dev);
}
