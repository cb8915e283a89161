/* expcode_cuda_bench - how fast a device decodes: matrices of an 8B model, every number compared with what was coded.
 *
 *   strata-bench-expcode-cuda     GB/s of numbers made, and what share of a step on a bus of 55 GB/s that is */
#include "ops/cuda_bench.h"
#include "ops/expcode/expcode_cuda.h"
#include "ops/linear/layout.h"

#define BUS 55e9

typedef struct { const char *name; uint32_t rows, cols; } matrix;

static uint64_t seed = 0x9e3779b97f4a7c15u;

static bool same(uint16_t format, const uint16_t *v, const matrix *m, const void *dev, bool tiles)
{
    size_t    n = (size_t)m->rows * m->cols;
    uint16_t *got = (uint16_t *)malloc(2 * n), *want = (uint16_t *)malloc(2 * n), layout;
    CU(cudaMemcpy(got, dev, 2 * n, cudaMemcpyDeviceToHost));
    memcpy(want, v, 2 * n);
    if (tiles) {
        const void **row = (const void **)malloc(m->rows * sizeof *row);
        for (uint32_t r = 0; r < m->rows; r++)
            row[r] = v + (size_t)r * m->cols;
        sr_linear_cuda_pack(format, m->rows, m->cols, row, want, &layout);
        free(row);
    }
    bool ok = memcmp(want, got, 2 * n) == 0;
    free(got);
    free(want);
    return ok;
}

static bool run(uint16_t format, const matrix *m, cudaStream_t s)
{
    size_t     n = (size_t)m->rows * m->cols, bytes;
    uint16_t  *v = (uint16_t *)malloc(2 * n);
    sr_expmake make;
    sr_err     err = {};
    bool       ok = true;
    for (size_t i = 0; i < n; i++) {
        float x = bench_normal(&seed) * 0.02f;
        v[i]    = format == SR_BF16 ? sr_f32_to_bf16(x) : sr_f32_to_f16(x);
    }
    if (sr_expcode_plan(format, v, n, 1, &make, &err))
        exit(1);
    void *text = aligned_alloc(256, (make.bytes + 255) / 256 * 256), *src = bench_alloc(make.bytes), *dst = bench_alloc(2 * n);
    bytes      = sr_expcode_write(&make, v, n, text);
    CU(cudaMemcpy(src, text, bytes, cudaMemcpyHostToDevice));
    for (int tiles = 0; tiles < 2; tiles++) {
        CU(cudaMemset(dst, 0xff, 2 * n));
        float us = bench_graph(s, 11, [&] { sr_expcode_cuda(s, format, m->rows, m->cols, src, dst, tiles); });
        bool  is = same(format, v, m, dst, tiles);
        printf("%-5s %-22s %-5s %8.2f MB %6.3f coded %9.1f us %8.1f GB/s %5.1f %% of its copy%s\n", sr_dtype_name(format), m->name, tiles ? "tiles" : "rows",
               (double)n * 2e-6, (double)bytes / (2.0 * n), us, 2.0 * n / us * 1e-3, 100 * us * 1e-6 / ((double)bytes / BUS), is ? "" : "  WRONG");
        ok &= is;
    }
    CU(cudaFree(src));
    CU(cudaFree(dst));
    free(text);
    free(v);
    return ok;
}

int main(void)
{
    static const matrix m[] = {{"k 1024x4096", 1024, 4096}, {"q 4096x4096", 4096, 4096}, {"gate 14336x4096", 14336, 4096}, {"down 4096x14336", 4096, 14336}};
    cudaStream_t s;
    bool         ok = true;
    bench_device();
    CU(cudaStreamCreate(&s));
    for (int i = 0; i < 4; i++)
        ok &= run(SR_BF16, &m[i], s);
    ok &= run(SR_F16, &m[2], s);
    return !ok;
}
