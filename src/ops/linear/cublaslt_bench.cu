#include "ops/linear/cublaslt_bench.h"

#include <dlfcn.h>

#include "ops/cuda_bench.h"
#include "ops/linear/layout.h"

#if !__has_include(<cublasLt.h>)
bool sr_lt_open(void)
{
    fprintf(stderr, "lt: this build was made without cublasLt.h of the toolkit (package libcublas-dev)\n");
    return false;
}
void sr_lt_compare(const sr_ltcase *, uint32_t, const uint32_t *, uint32_t) {}
#else
#include <cublasLt.h>
#include <cuda_bf16.h>

enum { ALGOS = 8, TRIES = 5, ROUNDS = 5, REPLAYS = 7, SAMPLES = 16 };
static const size_t WORKSPACE = 64 << 20;

/* ---- the library -------------------------------------------------------------------------------------------------------- */

#define FUNCTIONS(X)                                                                                                              \
    X(Create) X(GetVersion) X(Matmul) X(MatmulAlgoGetHeuristic) X(MatmulDescCreate) X(MatmulDescDestroy) X(MatmulDescSetAttribute) \
    X(MatrixLayoutCreate) X(MatrixLayoutDestroy) X(MatmulPreferenceCreate) X(MatmulPreferenceDestroy) X(MatmulPreferenceSetAttribute)
#define MEMBER(f) decltype(&cublasLt##f) f;
static struct { FUNCTIONS(MEMBER) cublasLtHandle_t handle; void *workspace; } lt;

#define LT(call)                                                                                                                  \
    do {                                                                                                                          \
        cublasStatus_t e_ = (call);                                                                                               \
        if (e_ != CUBLAS_STATUS_SUCCESS) {                                                                                        \
            fprintf(stderr, "%s:%d: %s: cuBLAS status %d\n", __FILE__, __LINE__, #call, (int)e_);                                 \
            exit(1);                                                                                                              \
        }                                                                                                                         \
    } while (0)

bool sr_lt_open(void)
{
    static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12"};
    void *so = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !so; i++)
        if (!(so = dlopen(names[i], RTLD_NOW | RTLD_LOCAL)))
            fprintf(stderr, "lt: %s\n", dlerror());
    if (!so) {
        fprintf(stderr, "lt: there is no cuBLASLt to compare with; LD_LIBRARY_PATH may name the folder it lies in\n");
        return false;
    }
    bool all = true;
#define FIND(f) all &= (lt.f = (decltype(lt.f))dlsym(so, "cublasLt" #f)) != NULL;
    FUNCTIONS(FIND)
    if (!all) {
        fprintf(stderr, "lt: the cuBLASLt found lacks a function that is needed: %s\n", dlerror());
        return false;
    }
    LT(lt.Create(&lt.handle));
    lt.workspace = bench_alloc(WORKSPACE);
    printf("# cuBLASLt %zu\n", lt.GetVersion());
    return true;
}

/* ---- one product of it ---------------------------------------------------------------------------------------------------- */

typedef struct { cudaDataType_t in, out, scale; cublasComputeType_t sums; const char *name; } kind;
typedef struct {
    const kind *k;
    cublasLtMatmulDesc_t   op;
    cublasLtMatrixLayout_t w, x, y;
    cublasLtMatmulHeuristicResult_t algo[ALGOS];
    int n;
} product;

/* Its matrices are columns first: y[m][rows] is theirs of rows x m, w[rows][cols] theirs turned. */
static bool plan(product *p, const kind *k, uint32_t m, uint32_t rows, uint32_t cols)
{
    cublasLtMatmulPreference_t pref;
    const cublasOperation_t    turned = CUBLAS_OP_T;
    *p   = {};
    p->k = k;
    LT(lt.MatmulDescCreate(&p->op, k->sums, k->scale));
    LT(lt.MatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_TRANSA, &turned, sizeof turned));
    LT(lt.MatrixLayoutCreate(&p->w, k->in, cols, rows, cols));
    LT(lt.MatrixLayoutCreate(&p->x, k->in, cols, m, cols));
    LT(lt.MatrixLayoutCreate(&p->y, k->out, rows, m, rows));
    LT(lt.MatmulPreferenceCreate(&pref));
    LT(lt.MatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE, sizeof WORKSPACE));
    const cublasStatus_t s = lt.MatmulAlgoGetHeuristic(lt.handle, p->op, p->w, p->x, p->y, p->y, pref, ALGOS, p->algo, &p->n);
    LT(lt.MatmulPreferenceDestroy(pref));
    return s == CUBLAS_STATUS_SUCCESS && p->n > 0;
}

static void plan_end(product *p)
{
    LT(lt.MatrixLayoutDestroy(p->w));
    LT(lt.MatrixLayoutDestroy(p->x));
    LT(lt.MatrixLayoutDestroy(p->y));
    LT(lt.MatmulDescDestroy(p->op));
}

static void multiply(const product *p, int algo, const void *w, const void *x, void *y, cudaStream_t s)
{
    const float   one = 1, none = 0;
    const int32_t whole = 1, zero = 0;
    const bool    ints = p->k->scale == CUDA_R_32I;
    LT(lt.Matmul(lt.handle, p->op, ints ? (const void *)&whole : &one, w, p->w, x, p->x, ints ? (const void *)&zero : &none, y, p->y, y, p->y,
                 &p->algo[algo].algo, lt.workspace, WORKSPACE, s));
}

/* ---- its operands --------------------------------------------------------------------------------------------------------- */

/* Tiles of layout.h to rows, 16 bytes a thread: four inputs of rows g and g + 8. */
static __global__ void unpack(const uint4 *tile, uint64_t n, uint32_t tiles_k, uint2 *row)
{
    for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x) {
        const uint32_t lane = i % 32, step = i / 32 % 4, g = lane / 4, t = lane % 4;
        const uint64_t at = i / 128, words = tiles_k * 16ull; /* of 8 bytes in a row */
        const uint4    v  = tile[i];
        uint2         *to = row + (at / tiles_k * 16 + g) * words + at % tiles_k * 16 + step * 4 + t;
        to[0]         = make_uint2(v.x, v.z);
        to[8 * words] = make_uint2(v.y, v.w);
    }
}

static __global__ void scatter(uint32_t *p, uint64_t n) /* any bytes */
{
    for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x) {
        uint64_t u = i * 0x9e3779b97f4a7c15ull;
        p[i] = (uint32_t)((u ^ u >> 29) * 0xbf58476d1ce4e5b9ull >> 32);
    }
}

static uint32_t rows_of(const sr_ltcase *c)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < c->n_parts; k++)
        n += c->rows[k];
    return n;
}

static void unpack_layer(const sr_ltcase *c, uint32_t layer, char *w, cudaStream_t s)
{
    for (uint32_t k = 0; k < c->n_parts; w += (size_t)c->rows[k++] * c->cols * 2)
        unpack<<<1056, 256, 0, s>>>((const uint4 *)c->tiles[layer][k], (uint64_t)c->rows[k] * c->cols / 8, c->cols / 64, (uint2 *)w);
}

static double number(cudaDataType_t t, const void *p, uint32_t i)
{
    return t == CUDA_R_16F    ? (double)__half2float(((const __half *)p)[i])
           : t == CUDA_R_16BF ? (double)__bfloat162float(((const __nv_bfloat16 *)p)[i])
           : t == CUDA_R_8I   ? ((const int8_t *)p)[i]
           : t == CUDA_R_32I  ? ((const int32_t *)p)[i]
                              : (double)((const float *)p)[i];
}

static size_t size_of(cudaDataType_t t) { return t == CUDA_R_8I ? 1 : t == CUDA_R_32F || t == CUDA_R_32I ? 4 : 2; }

/* Some outputs against sums on the host of the rows that were multiplied, and these against the weights as they were encoded. */
static void check(const sr_ltcase *c, const kind *k, const char *w, const char *x, const char *y, uint32_t m)
{
    static char hw[65536], hx[65536], hy[8];
    const uint32_t rows = rows_of(c), bytes = c->cols * (uint32_t)size_of(k->in);
    const uint32_t layer = SR_LT_LAYERS - 1; /* multiplied last */
    uint64_t       seed  = 88172645463325252ull;
    for (int i = 0; i < SAMPLES; i++) {
        const uint32_t r = (uint32_t)(bench_random(&seed) % rows), col = (uint32_t)(bench_random(&seed) % m);
        double sum = 0, top = 0;
        CU(cudaMemcpy(hw, w + (size_t)r * bytes, bytes, cudaMemcpyDeviceToHost));
        CU(cudaMemcpy(hx, x + (size_t)col * bytes, bytes, cudaMemcpyDeviceToHost));
        CU(cudaMemcpy(hy, y + ((size_t)col * rows + r) * size_of(k->out), size_of(k->out), cudaMemcpyDeviceToHost));
        uint32_t part = 0, in = r;
        for (; in >= c->rows[part]; part++)
            in -= c->rows[part];
        const float *as_is = c->decoded + ((size_t)part * c->pool + (layer * c->rows[part] + in) % c->pool) * c->cols;
        for (uint32_t e = 0; e < c->cols; e++) {
            const double v = number(k->in, hw, e);
            sum += v * number(k->in, hx, e);
            top += fabs(v * number(k->in, hx, e));
            if (k->in != CUDA_R_8I && v != as_is[e]) {
                printf("WRONG: %s: weight %u of row %u is %g, not %g\n", c->name, e, r, v, as_is[e]);
                return;
            }
        }
        const double got = number(k->out, hy, 0);
        const double rounds = k->out == CUDA_R_16F ? 0x1p-11 : k->out == CUDA_R_16BF ? 0x1p-8 : 0;
        if (!(fabs(got - sum) <= rounds * fabs(sum) + (k->out == CUDA_R_32I ? 0 : 1e-5 * top))) {
            printf("WRONG: %s, %s: row %u of column %u is %g, not %g\n", c->name, k->name, r, col, got, sum);
            return;
        }
    }
}

/* ---- the comparison ------------------------------------------------------------------------------------------------------- */

enum { OURS, ALONE, KINDS };
typedef struct { char *w[SR_LT_LAYERS], *x; } operands;

static const kind dense16[] = {{CUDA_R_16F, CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F, "Lt, f32 out"}, {CUDA_R_16F, CUDA_R_16F, CUDA_R_32F, CUBLAS_COMPUTE_32F, "Lt, f16 out"}},
                  denseb16[] = {{CUDA_R_16BF, CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F, "Lt, f32 out"}, {CUDA_R_16BF, CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F, "Lt, bf16 out"}},
                  int8[] = {{CUDA_R_8I, CUDA_R_32I, CUDA_R_32I, CUBLAS_COMPUTE_32I, "Lt int8, s32 out"}};

static float median(float *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, bench_by_value);
    return v[n / 2];
}

static float time_lt(const product *p, int algo, const operands *o, char *y, cudaStream_t s, int times)
{
    return bench_graph(s, times, [&] {
               for (uint32_t l = 0; l < SR_LT_LAYERS; l++)
                   multiply(p, algo, o->w[l], o->x, y, s);
           }) / (float)SR_LT_LAYERS;
}

static float time_ours(const sr_ltcase *c, bool alone, uint32_t m, cudaStream_t s)
{
    return bench_graph(s, REPLAYS, [&] {
               for (uint32_t l = 0; l < SR_LT_LAYERS; l++)
                   c->run(c->arg, alone, l, m, s);
           }) / (float)SR_LT_LAYERS;
}

/* Microseconds of ours, ours without making x ready, and each kind of theirs; all in turns. */
static void times_of(const sr_ltcase *c, const operands *o, char *y, const kind *k, int n_k, uint32_t m, cudaStream_t s, float *us)
{
    product p[2];
    int     best[2] = {};
    float   t[KINDS + 2][ROUNDS];
    for (int i = 0; i < n_k; i++) {
        float least = INFINITY;
        if (!plan(&p[i], &k[i], m, rows_of(c), c->cols)) {
            printf("%s, %s, %u rows: cuBLASLt has no algorithm\n", c->name, k[i].name, m);
            exit(1);
        }
        for (int a = 0; a < p[i].n; a++) {
            const float one = time_lt(&p[i], a, o, y, s, TRIES);
            best[i]         = one < least ? a : best[i];
            least           = fminf(one, least);
        }
        check(c, &k[i], o->w[SR_LT_LAYERS - 1], o->x, y, m);
    }
    c->count(c->arg, m);
    for (int r = 0; r < ROUNDS; r++) {
        t[OURS][r]  = time_ours(c, false, m, s);
        t[ALONE][r] = time_ours(c, true, m, s);
        for (int i = 0; i < n_k; i++)
            t[KINDS + i][r] = time_lt(&p[i], best[i], o, y, s, REPLAYS);
    }
    for (int i = 0; i < KINDS + n_k; i++)
        us[i] = median(t[i], ROUNDS);
    for (int i = 0; i < n_k; i++)
        plan_end(&p[i]);
}

static void operands_open(const sr_ltcase *c, cudaDataType_t in, uint32_t m, operands *o, cudaStream_t s)
{
    const size_t wb = (size_t)rows_of(c) * c->cols * size_of(in), xb = (size_t)m * c->cols * size_of(in);
    uint64_t     seed = 1234567;
    char        *h    = (char *)malloc(xb);
    for (size_t i = 0; i < xb / size_of(in); i++)
        if (in == CUDA_R_16F)
            ((__half *)h)[i] = __float2half(bench_normal(&seed));
        else if (in == CUDA_R_16BF)
            ((__nv_bfloat16 *)h)[i] = __float2bfloat16(bench_normal(&seed));
        else
            h[i] = (char)(int8_t)(bench_random(&seed) >> 40);
    o->x = (char *)bench_alloc(xb);
    CU(cudaMemcpy(o->x, h, xb, cudaMemcpyHostToDevice));
    free(h);
    for (uint32_t l = 0; l < SR_LT_LAYERS; l++) {
        o->w[l] = (char *)bench_alloc(wb);
        if (in == CUDA_R_8I)
            scatter<<<1056, 256, 0, s>>>((uint32_t *)o->w[l], wb / 4);
        else
            unpack_layer(c, l, o->w[l], s);
    }
    CU(cudaStreamSynchronize(s));
}

static void line(const char *name, uint32_t m, const float *us, int n, double flop)
{
    printf("%-20s %5u", name, m);
    for (int i = 0; i < n; i++)
        printf(" %9.2f %5.0f", us[i], flop / us[i] * 1e-6);
    printf(" %8.3f %8.3f\n", us[KINDS] / us[OURS], us[KINDS] / us[ALONE]);
    fflush(stdout);
}

void sr_lt_compare(const sr_ltcase *c, uint32_t n, const uint32_t *m, uint32_t n_m)
{
    const bool  f16 = c->format == SR_F16, b16 = c->format == SR_BF16;
    const kind *k   = f16 ? dense16 : b16 ? denseb16 : int8;
    const int   n_k = f16 || b16 ? 2 : 1;
    uint32_t    most = 0;
    operands    o[8];
    size_t      largest = 0;
    cudaStream_t s;
    CU(cudaStreamCreate(&s));
    for (uint32_t i = 0; i < n_m; i++)
        most = m[i] > most ? m[i] : most;
    for (uint32_t i = 0; i < n; i++) {
        operands_open(&c[i], k->in, most, &o[i], s);
        const size_t b = (size_t)most * rows_of(&c[i]) * 4;
        largest        = b > largest ? b : largest;
    }
    char *y = (char *)bench_alloc(largest);
    printf("%-20s %5s", sr_dtype_name(c->format), "rows");
    static const char *const ours[] = {"ours", "product only"};
    for (int i = 0; i < KINDS + n_k; i++)
        printf(" %15s", i < KINDS ? ours[i] : k[i - KINDS].name);
    printf(" %8s %8s\n", "Lt/ours", "/product");
    for (uint32_t q = 0; q < n_m; q++) {
        float  all[KINDS + 2] = {}, us[KINDS + 2];
        double flop           = 0;
        for (uint32_t i = 0; i < n; i++) {
            const double one = 2.0 * m[q] * rows_of(&c[i]) * c[i].cols;
            times_of(&c[i], &o[i], y, k, n_k, m[q], s, us);
            line(c[i].name, m[q], us, KINDS + n_k, one);
            flop += one;
            for (int j = 0; j < KINDS + n_k; j++)
                all[j] += us[j];
        }
        line("layer", m[q], all, KINDS + n_k, flop);
    }
    if (k != int8) {
        const float us = bench_graph(s, REPLAYS, [&] {
            for (uint32_t i = 0; i < n; i++)
                unpack_layer(&c[i], 0, o[i].w[0], s);
        });
        double bytes = 0;
        for (uint32_t i = 0; i < n; i++)
            bytes += 2.0 * rows_of(&c[i]) * c[i].cols;
        printf("a layer's tiles to rows: %.1f us, %.0f GB/s read and written\n", us, 2 * bytes / us * 1e-3);
    }
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t l = 0; l < SR_LT_LAYERS; l++)
            CU(cudaFree(o[i].w[l]));
        CU(cudaFree(o[i].x));
    }
    CU(cudaFree(y));
    CU(cudaStreamDestroy(s));
}
#endif
