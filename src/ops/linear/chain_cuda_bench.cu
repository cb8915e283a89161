/* chain_cuda_bench - a layer's products as one chain against one launch each, and where a chain's time goes.
 *
 *   strata-bench-chain-cuda              layers of 8B, 70B and 1.1B, 1 to 8 rows: us a layer, share of the read limit
 *   strata-bench-chain-cuda rows         16 to 128 rows as steps have them: a chain, or launches of norms and gated unit with the product behind them
 *   strata-bench-chain-cuda at M L       layer L of those with M rows: launches, norms and gated unit with the product behind them, against the chain
 *   strata-bench-chain-cuda check M [N]  small layers, or the N-th from 0 on, with M rows, with 3 to 8 once for each form of its first x: for the sanitizer,
 *                                        which faults at a launch of clusters behind those that --launch-count lets it look at
 *
 * Random bytes as weights (scales are small f16 numbers).  Both forms' outputs are compared, each with x rounded its way; more than 2e-2 of their
 * root mean square apart ends the program with 1.  Built with
 * -DSR_CHAIN_TRACE it also prints the clocks between the marks of chain.cuh, median over blocks. */
#include "ops/cuda_bench.h"
#include "ops/linear/chain.h"
#include "ops/linear/chain_form.cuh"
#include "ops/linear/linear_cuda.h"

#define READ_LIMIT 4365e9

enum { X, A, H, GU, ACT, QKV, SLOTS, OPS = 7, WEIGHTS = 9, ROWS = 128 };

typedef struct {
    const char *name;
    uint32_t dim, ff, kv, layers;
    uint16_t format, v, down;
} model;

/* What `check` goes over: all kernels of chains, and each way in which their products are cut up, with as little to do as that takes. */
static const model small_layers[] = {{"pairs, Q4_K", 1024, 1024, 256, 1, SR_Q4_K, SR_Q4_K, SR_Q4_K},
                                     {"down's inputs halved, Q4_K and Q6_K", 2048, 8448, 256, 1, SR_Q4_K, SR_Q6_K, SR_Q6_K},
                                     {"Q5_K and Q6_K", 2048, 2304, 256, 1, SR_Q5_K, SR_Q6_K, SR_Q6_K},
                                     {"down in parts, Q4_K, Q5_K and Q6_K", 512, 24576, 256, 1, SR_Q4_K, SR_Q5_K, SR_Q6_K},
                                     {"Q8_0", 2048, 2304, 256, 1, SR_Q8_0, SR_Q8_0, SR_Q8_0},
                                     {"Q4_0", 2048, 2304, 256, 1, SR_Q4_0, SR_Q4_0, SR_Q4_0},
                                     {"F16", 2048, 2304, 256, 1, SR_F16, SR_F16, SR_F16},
                                     {"BF16", 2048, 2304, 256, 1, SR_BF16, SR_BF16, SR_BF16}};
enum { SMALL_LAYERS = sizeof small_layers / sizeof *small_layers };

typedef struct {
    sr_program prog;
    sr_op op[OPS];
    sr_slot slot[SLOTS];
    sr_weight weight[WEIGHTS];
    sr_wref *ref; /* [layers][WEIGHTS] */
    void *base[SLOTS], *scratch, *pool;
    sr_shape *count;
    double bytes;
    bool plain;   /* the first product's x as f32 always, not as attention leaves it for a chain of several rows */
} layer_bench;

/* Halves below 2^-7, which are small scales of the other formats, too; BF16: from 2^-15 to 2^-7. */
static __global__ void fill(uint32_t *p, size_t n, bool bf16)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
        p[i] = ((uint32_t)i * 2654435761u ^ (uint32_t)(i >> 16) * 40503u) & (bf16 ? 0x03ff03ffu : 0x1fff1fffu) | (bf16 ? 0x38003800u : 0);
}

static __global__ void fill_x(float *p, uint32_t n) /* -1 to 1, every 97th eight times that */
{
    for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        p[i] = (float)(int32_t)(i * 2654435761u ^ i << 13) * 0x1p-31f * (i % 97 ? 1 : 8);
}

/* The first product's x as attention leaves it for a chain of several rows: block `row`, four inputs a thread. */
static __global__ void form_x(uint8_t *form, const float *x, uint32_t n)
{
    for (uint32_t i = threadIdx.x * 4; i < n; i += blockDim.x * 4)
        form_put(form, i, blockIdx.x, gridDim.x > SR_CHAIN_FEW, *(const float4 *)(x + (size_t)blockIdx.x * n + i));
}

static sr_op op_of(uint16_t code, uint16_t in, uint16_t out, uint32_t w, uint32_t n_w, uint32_t d0, uint32_t d1, uint16_t z)
{
    sr_op o    = {};
    o.code     = code;
    o.in[0]    = in;
    o.in[1] = o.in[2] = o.in[3] = o.out[1] = o.out[2] = SR_NONE;
    o.out[0]   = out;
    o.epilogue = z;
    o.w        = w;
    o.n_w      = n_w;
    o.dim[0]   = d0;
    o.dim[1]   = code == SR_OP_NORM ? 0 : d1;
    o.dim[2]   = code == SR_OP_NORM ? 1 : 0;
    o.f[0]     = 1e-5f;
    return o;
}

static void open(layer_bench *b, const model *m, const sr_cudainfo *dev)
{
    const uint32_t width[SLOTS] = {m->dim, m->dim, m->dim, 2 * m->ff, m->ff, m->dim + 2 * m->kv};
    *b           = {};
    b->op[0]     = op_of(SR_OP_LINEAR, A, X, 0, 1, m->dim, m->dim, X);
    b->op[1]     = op_of(SR_OP_NORM, X, H, 1, 1, m->dim, 0, SR_NONE);
    b->op[2]     = op_of(SR_OP_LINEAR, H, GU, 2, 2, m->dim, 2 * m->ff, SR_NONE);
    b->op[3]     = op_of(SR_OP_GLU, GU, ACT, 0, 0, m->ff, 0, SR_NONE);
    b->op[4]     = op_of(SR_OP_LINEAR, ACT, X, 4, 1, m->ff, m->dim, X);
    b->op[5]     = op_of(SR_OP_NORM, X, H, 5, 1, m->dim, 0, SR_NONE);
    b->op[6]     = op_of(SR_OP_LINEAR, H, QKV, 6, 3, m->dim, m->dim + 2 * m->kv, SR_NONE);
    const sr_weight w[WEIGHTS] = {{0, 0, m->format, 0, m->dim, m->dim}, {0, 0, SR_F32, 0, 1, m->dim}, {0, 0, m->format, 0, m->ff, m->dim},
                                  {0, 0, m->format, 0, m->ff, m->dim},  {0, 0, m->down, 0, m->dim, m->ff}, {0, 0, SR_F32, 0, 1, m->dim},
                                  {0, 0, m->format, 0, m->dim, m->dim}, {0, 0, m->format, 0, m->kv, m->dim}, {0, 0, m->v, 0, m->kv, m->dim}};
    memcpy(b->weight, w, sizeof w);
    for (uint32_t i = 0; i < SLOTS; i++) {
        b->slot[i] = {width[i], 0, SR_F32, SR_ROWS_TOK};
        b->base[i] = bench_alloc(width[i] * ROWS * 4);
        CU(cudaMemset(b->base[i], 0, width[i] * ROWS * 4));
    }
    b->ref = (sr_wref *)calloc(m->layers * WEIGHTS, sizeof *b->ref);
    size_t at[WEIGHTS], all = 0;
    for (uint32_t k = 0; k < WEIGHTS; k++) {
        at[k] = all;
        all += (sr_row_bytes(w[k].format, w[k].cols) * w[k].rows + 255) & ~(size_t)255;
        b->bytes += w[k].rows > 1 ? (double)(sr_row_bytes(w[k].format, w[k].cols) * w[k].rows) : 0;
    }
    b->pool = bench_alloc(all * m->layers);
    fill<<<1024, 256>>>((uint32_t *)b->pool, all * m->layers / 4, m->format == SR_BF16);
    for (uint32_t l = 0; l < m->layers; l++)
        for (uint32_t k = 0; k < WEIGHTS; k++)
            b->ref[l * WEIGHTS + k] = {(char *)b->pool + l * all + at[k], 0, w[k].rows, 0, w[k].cols, w[k].format,
                                       (uint16_t)(w[k].rows > 1 ? SR_LAYOUT_MMA16 : SR_LAYOUT_FILE), 0, 0};
    b->prog.op = b->op, b->prog.n_op = OPS, b->prog.slot = b->slot, b->prog.n_slot = SLOTS;
    b->prog.weight = b->weight, b->prog.n_weight = WEIGHTS;
    b->prog.hidden = b->prog.logits = b->prog.sampled = SR_NONE;
    b->count      = (sr_shape *)bench_alloc(sizeof *b->count);
    sr_shape max  = {ROWS, ROWS, ROWS, 1};
    size_t bytes  = SR_CUDA_COUNTERS;
    for (uint32_t i = 0; i < OPS; i++)
        if (b->op[i].code == SR_OP_LINEAR) {
            size_t one = sr_linear_mma_scratch(dev, &b->prog, &b->op[i], &max);
            bytes      = one > bytes ? one : bytes;
        }
    b->scratch = bench_alloc(bytes);
    CU(cudaMemset(b->scratch, 0, bytes));
}

static void close(layer_bench *b)
{
    for (uint32_t i = 0; i < SLOTS; i++)
        CU(cudaFree(b->base[i]));
    CU(cudaFree(b->pool));
    CU(cudaFree(b->count));
    CU(cudaFree(b->scratch));
    free(b->ref);
}

/* joined: as a chain if dev has them, or what else of several ops is a launch.  The ops that were chained. */
static uint32_t run(const layer_bench *b, const sr_cudainfo *dev, bool joined, uint32_t layer, uint32_t m, cudaStream_t s)
{
    sr_shape n = {m, m, m, 1}, max = {ROWS, ROWS, ROWS, 1};
    sr_batch batch = {};
    uint32_t formed = 0; /* the op whose x it is */
    sr_cudajob j = {dev, &b->prog, b->op, &n, &max, b->count, b->base, b->ref + layer * WEIGHTS, &batch, NULL, b->scratch, s, b->plain ? NULL : &formed};
    static const sr_cudakernel *const family[SR_OP_COUNT] = {NULL, sr_norm_cuda, sr_linear_cuda, NULL, NULL, NULL, NULL, sr_glu_cuda};
    uint32_t chained = 0;
    for (uint32_t i = 0; i < OPS;) {
        uint32_t done = joined ? sr_chain_cuda(&j, i, OPS) : 0;
        chained += done;
        done          = joined && !done ? sr_fed_linear_cuda(&j, i, OPS) : done;
        j.op          = &b->op[i];
        if (!done)
            family[b->op[i].code]->launch(&j);
        i += done ? done : 1;
    }
    return chained;
}

/* The largest difference between a chain's outputs and those of one launch each, of their root mean square; *chained: ops of the chain. */
static double difference(const layer_bench *b, const model *m, sr_cudainfo dev, uint32_t rows, uint32_t *chained, cudaStream_t s)
{
    static const int slot[] = {X, QKV};
    const size_t n[2]       = {(size_t)rows * m->dim, (size_t)rows * (m->dim + 2 * m->kv)};
    const sr_shape shape    = {rows, rows, rows, 1};
    double worst            = 0;
    float *y[2][2];
    CU(cudaMemcpy(b->count, &shape, sizeof shape, cudaMemcpyHostToDevice));
    for (int chains = 0; chains < 2; chains++) {
        dev.chains = chains;
        fill_x<<<64, 256, 0, s>>>((float *)b->base[A], ROWS * m->dim);
        fill_x<<<64, 256, 0, s>>>((float *)b->base[X], ROWS * m->dim);
        if (rows <= SR_CHAIN_SIXTEEN)
            form_x<<<rows, 256, 0, s>>>((uint8_t *)b->scratch + SR_CUDA_COUNTERS, (const float *)b->base[A], m->dim);
        *chained = run(b, &dev, chains, 0, rows, s);
        CU(cudaStreamSynchronize(s));
        for (int k = 0; k < 2; k++) {
            y[chains][k] = (float *)malloc(n[k] * sizeof(float));
            CU(cudaMemcpy(y[chains][k], b->base[slot[k]], n[k] * sizeof(float), cudaMemcpyDeviceToHost));
        }
    }
    for (int k = 0; k < 2; k++) {
        double squares = 0, most = 0;
        for (size_t i = 0; i < n[k]; i++) {
            const double d = fabs((double)y[0][k][i] - y[1][k][i]);
            squares += (double)y[0][k][i] * y[0][k][i];
            most = d <= most ? most : d; /* what is no number stays */
        }
        most /= sqrt(squares / (double)n[k]);
        worst = most <= worst ? worst : most;
        free(y[0][k]);
        free(y[1][k]);
    }
    return worst;
}

enum { APART, FED, CHAIN }; /* an op a launch; what else is one of several; chains */
static float time_of(const layer_bench *b, const model *m, sr_cudainfo dev, int how, uint32_t rows, cudaStream_t s)
{
    sr_shape n = {rows, rows, rows, 1};
    CU(cudaMemcpy(b->count, &n, sizeof n, cudaMemcpyHostToDevice));
    dev.chains = how == CHAIN;
    run(b, &dev, how != APART, 0, rows, s); /* code is loaded outside the capture */
    CU(cudaStreamSynchronize(s));
    return bench_graph(s, 11, [&] {
               for (uint32_t l = 0; l < m->layers; l++)
                   run(b, &dev, how != APART, l, rows, s);
           }) /
           m->layers;
}

static void show_rows(const layer_bench *b, const model *m, const sr_cudainfo *dev, cudaStream_t s)
{
    static const uint32_t rows[] = {16, 32, 64, 128};
    fill_x<<<64, 256, 0, s>>>((float *)b->base[A], ROWS * m->dim);
    fill_x<<<64, 256, 0, s>>>((float *)b->base[X], ROWS * m->dim);
    for (uint32_t r : rows) {
        const float us = time_of(b, m, *dev, CHAIN, r, s);
        printf("%4u rows  %7.2f (%.3f)\n", r, us, b->bytes / READ_LIMIT * 1e6 / us);
    }
}

/* A layer: launches as steps have them without chains, and the chain, if there is one of so many rows. */
static bool show_chain(const layer_bench *b, const model *m, const sr_cudainfo *dev, uint32_t rows, cudaStream_t s)
{
    uint32_t chained;
    const double d  = difference(b, m, *dev, rows, &chained, s);
    const float fed = time_of(b, m, *dev, FED, rows, s), all = time_of(b, m, *dev, CHAIN, rows, s);
    printf("%4u rows  launches %7.2f (%.3f)", rows, fed, b->bytes / READ_LIMIT * 1e6 / fed);
    if (chained)
        printf("  chain of %u ops %7.2f (%.3f)  outputs differ by %.1e", chained, all, b->bytes / READ_LIMIT * 1e6 / all, d);
    printf("\n");
    return !(d < 2e-2);
}

/* Small layers from..to; a layer of which nothing is chained with so many rows has nothing to show. */
static int check(sr_cudainfo dev, uint32_t rows, uint32_t from, uint32_t to, cudaStream_t s)
{
    bool apart = false;
    dev.pairs  = SR_CUDA_PAIRS;
    for (uint32_t i = from; i < to; i++) {
        const model *m = &small_layers[i];
        uint32_t chained;
        layer_bench b;
        open(&b, m, &dev);
        double d = difference(&b, m, dev, rows, &chained, s);
        if (rows >= SR_CHAIN_FEW_LEAST && rows <= SR_CHAIN_FEW) { /* a chain of a few rows has two ways to its first x */
            b.plain         = true;
            const double d2 = difference(&b, m, dev, rows, &chained, s);
            d               = d2 <= d ? d : d2; /* what is no number stays */
        }
        if (chained)
            printf("%u %s, %u rows: %u of %d ops chained, outputs differ by %.1e\n", i, m->name, rows, chained, OPS, d);
        else
            printf("%u %s, %u rows: no chain\n", i, m->name, rows);
        fflush(stdout);
        apart |= !(d < 2e-2);
        close(&b);
    }
    return apart;
}

#ifdef SR_CHAIN_TRACE
__device__ long long sr_chain_trace[512][64];
static int by_clock(const void *a, const void *b)
{
    long long x = *(const long long *)a, y = *(const long long *)b;
    return (x > y) - (x < y);
}

static void show_trace(const sr_cudainfo *dev)
{
    static long long t[512][64];
    CU(cudaMemcpyFromSymbol(t, sr_chain_trace, sizeof t));
    static const char *const mark[] = {"ring asked", "forerunner", "met", "x staged", "products", "all", "sums"};
    printf("   clocks (median, largest over blocks):");
    for (int e = 1; e < 64; e++) {
        long long d[512];
        int n = 0;
        for (int i = 0; i < dev->sms; i++)
            if (t[i][e] && t[i][e - 1])
                d[n++] = t[i][e] - t[i][e - 1];
        if (!n)
            continue;
        qsort(d, (size_t)n, sizeof *d, by_clock);
        printf("%s %s %lld/%lld", e > 2 && (e - 3) % 5 == 0 ? " |" : "", mark[e < 3 ? e - 1 : 2 + (e - 3) % 5], d[n / 2], d[n - 1]);
    }
    printf("\n");
}
#endif

static uint32_t number(const char *s) /* UINT32_MAX: it is none */
{
    char *end;
    const unsigned long v = strtoul(s, &end, 10);
    return *s >= '0' && *s <= '9' && !*end && v < UINT32_MAX ? (uint32_t)v : UINT32_MAX;
}

int main(int n_arg, char **arg)
{
    static const model models[] = {{"8B Q4_K", 4096, 14336, 1024, 24, SR_Q4_K, SR_Q4_K, SR_Q4_K},
                                   {"8B Q4_K, v and down Q6_K", 4096, 14336, 1024, 24, SR_Q4_K, SR_Q6_K, SR_Q6_K},
                                   {"8B Q8_0", 4096, 14336, 1024, 12, SR_Q8_0, SR_Q8_0, SR_Q8_0},
                                   {"8B F16", 4096, 14336, 1024, 8, SR_F16, SR_F16, SR_F16},
                                   {"70B Q4_K", 8192, 28672, 1024, 8, SR_Q4_K, SR_Q4_K, SR_Q4_K},
                                   {"70B Q4_K, v and down Q6_K", 8192, 28672, 1024, 8, SR_Q4_K, SR_Q6_K, SR_Q6_K},
                                   {"70B Q4_K, v Q5_K, down Q6_K", 8192, 28672, 1024, 8, SR_Q4_K, SR_Q5_K, SR_Q6_K},
                                   {"1.1B Q4_K", 2048, 5632, 256, 48, SR_Q4_K, SR_Q4_K, SR_Q4_K}};
    sr_cudainfo dev = bench_device();
    enum { MODELS = sizeof models / sizeof *models };
    const bool checked = n_arg >= 3 && !strcmp(arg[1], "check"), at = n_arg == 4 && !strcmp(arg[1], "at"), many = n_arg == 2 && !strcmp(arg[1], "rows");
    const uint32_t only = checked || at ? number(arg[2]) : 0, layer = n_arg == 4 ? number(arg[3]) : 0;
    bool apart          = false;
    const uint32_t most = at ? (uint32_t)ROWS : (uint32_t)SR_CHAIN_SIXTEEN, layers = at ? (uint32_t)MODELS : (uint32_t)SMALL_LAYERS;
    if (n_arg > 1 && !many && (n_arg > 4 || only < 1 || only > most || layer >= layers)) {
        fprintf(stderr, "usage: %s [rows | at M L | check M [N]], M rows from 1 to %d (at: %d), L from 0 to %d, N to %d\n", arg[0], SR_CHAIN_SIXTEEN, ROWS, MODELS - 1,
                SMALL_LAYERS - 1);
        return 2;
    }
    cudaStream_t s;
    CU(cudaStreamCreate(&s));
    if (checked)
        return check(dev, only, layer, n_arg == 4 ? layer + 1 : (uint32_t)SMALL_LAYERS, s);
    for (const model &m : models) {
        if (at && &m != &models[layer])
            continue;
        layer_bench b;
        open(&b, &m, &dev);
        printf("%s: a layer's four products, us (share of the read limit)\n", m.name);
        if (at)
            apart |= show_chain(&b, &m, &dev, only, s);
        if (many)
            show_rows(&b, &m, &dev, s);
        for (uint32_t rows = 1; rows <= SR_CHAIN_FEW && !many && !at; rows++) {
            uint32_t chained;
            const double d = difference(&b, &m, dev, rows, &chained, s);
            float one = time_of(&b, &m, dev, APART, rows, s), all = time_of(&b, &m, dev, CHAIN, rows, s);
            printf("%4u rows  apart %7.2f (%.3f)  chain %7.2f (%.3f)  outputs differ by %.1e\n", rows, one, b.bytes / READ_LIMIT * 1e6 / one, all,
                   b.bytes / READ_LIMIT * 1e6 / all, d);
            apart |= !(d < 2e-2);
#ifdef SR_CHAIN_TRACE
            show_trace(&dev);
#endif
        }
        fflush(stdout);
        close(&b);
    }
    return apart;
}
