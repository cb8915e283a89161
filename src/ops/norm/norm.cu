/* rmsnorm: y[r][c] = x[r][c] * s * w[c], s = 1 / sqrt(mean_c(x^2) + eps), over groups of columns.
 * Shapes   x, y [rows][width] f32, dim[2] groups of dim[0] columns from dim[1] on; w [dim[0]] f32.  y may be x.
 * Roofline bytes = rows*groups*n*8 + 4n: memory bound; in one-token steps the time is two trips to memory and a reduction.
 * Mapping  a block per (row, group): a warp where a group has at most 256 columns (heads), else 256 or 1024 threads, up to 8 numbers a
 *          thread.  They and their weights are loaded together, the weights while the forerunner still runs; what is beyond is read
 *          twice.
 * Numbers  the sum's order differs from the reference's 16 lanes: |difference| <= n/32 * 2^-24 of s.
 * Archs    sm_75+, nothing arch-specific.                                              */
#include "ops/kernel.cuh"

enum { KEEP = 8 };

template <int THREADS>
static __device__ float block_sum(float v)
{
    __shared__ float part[32];
    v = sr_warp_sum(v);
    if (THREADS == 32)
        return v;
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = v;
    __syncthreads();
    v = threadIdx.x % 32 < THREADS / 32 ? part[threadIdx.x % 32] : 0.0f;
    return sr_warp_sum(v);
}

template <int THREADS>
static __global__ void __launch_bounds__(THREADS) norm(const float *x, const float *w, float *y, sr_devrows rows, uint32_t width,
                                                       uint32_t n, uint32_t first, uint32_t groups, float eps)
{
    float keep[KEEP], scale[KEEP], sum = 0;
#pragma unroll
    for (int i = 0; i < KEEP; i++) {
        uint32_t k = i * THREADS + threadIdx.x;
        scale[i]   = k < n ? w[k] : 0.0f;
    }
    sr_await_forerunner();
    uint32_t row = blockIdx.x / groups;
    if (row >= sr_dev_rows(rows))
        return;
    size_t at = (size_t)row * width + first + (size_t)(blockIdx.x % groups) * n;
    x += at;
    y += at;
#pragma unroll
    for (int i = 0; i < KEEP; i++) {
        uint32_t k = i * THREADS + threadIdx.x;
        keep[i]    = k < n ? x[k] : 0.0f;
        sum        = fmaf(keep[i], keep[i], sum);
    }
    for (uint32_t k = KEEP * THREADS + threadIdx.x; k < n; k += THREADS)
        sum = fmaf(x[k], x[k], sum);
    float s = 1.0f / sqrtf(block_sum<THREADS>(sum) / (float)n + eps);
#pragma unroll
    for (int i = 0; i < KEEP; i++) {
        uint32_t k = i * THREADS + threadIdx.x;
        if (k < n)
            y[k] = keep[i] * s * scale[i];
    }
    for (uint32_t k = KEEP * THREADS + threadIdx.x; k < n; k += THREADS)
        y[k] = x[k] * s * w[k];
}

static void launch(const sr_cudajob *j)
{
    const sr_op   *op   = j->op;
    const sr_slot *s    = &j->prog->slot[op->in[0]];
    uint32_t       rows = sr_slot_rows(s, j->n), n = op->dim[0], groups = op->dim[2];
    const float   *x = (const float *)j->slot[op->in[0]], *w = (const float *)j->weight[op->w].p;
    float         *y = (float *)j->slot[op->out[0]];
    if (!rows || !groups)
        return;
    int  threads = n <= 32 * KEEP ? 32 : n <= 256 * KEEP ? 256 : 1024;
    auto kernel  = threads == 32 ? norm<32> : threads == 256 ? norm<256> : norm<1024>;
    sr_launch(j, kernel, rows * groups, threads, 0, x, w, y, sr_rows_of(j, op->in[0]), s->width, n, op->dim[1], groups, op->f[0]);
}

extern "C" const sr_cudakernel sr_norm_cuda[] = {{"registers", 0, 0, NULL, NULL, launch}, {}};
