/* rmsnorm: y[r][c] = x[r][c] * s * w[c], s = 1 / sqrt(mean_c(x^2) + eps), over groups of columns.
 * Shapes   x, y [rows][width] f32, dim[2] groups of dim[0] columns from dim[1] on; w [dim[0]] f32.  y may be x.
 * Roofline bytes = rows*groups*n*8 + 4n: memory bound; in one-token steps the time is two trips to memory and a reduction.
 * Mapping  a block per (row, group): a warp where a group has at most 512 columns (heads), else 256, 512 or 1024 threads, 16 numbers a
 *          thread in 16-byte loads where all is aligned.  They and their weights are loaded together, the weights while the
 *          forerunner still runs; what is beyond is read twice.
 * Numbers  the sum's order differs from the reference's 16 lanes: |difference| <= n/32 * 2^-24 of s.
 * Archs    sm_75+, nothing arch-specific.                                              */
#include "ops/kernel.cuh"

enum { KEEP = 16 };

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

/* Number i of a thread is column at(i) of the group; runs of four are consecutive where columns are read by fours. */
template <int THREADS, bool FOURS>
static __device__ uint32_t at(int i)
{
    return FOURS ? (i / 4 * THREADS + threadIdx.x) * 4 + i % 4 : i * THREADS + threadIdx.x;
}

template <int THREADS, bool FOURS>
static __device__ void load(const float *from, uint32_t n, float *to)
{
#pragma unroll
    for (int i = 0; i < KEEP; i += FOURS ? 4 : 1) {
        uint32_t k = at<THREADS, FOURS>(i);
        if (FOURS)
            *(float4 *)&to[i] = k < n ? *(const float4 *)&from[k] : make_float4(0, 0, 0, 0);
        else
            to[i] = k < n ? from[k] : 0.0f;
    }
}

template <int THREADS, bool FOURS>
static __global__ void __launch_bounds__(THREADS) norm(const float *x, const float *w, float *y, sr_devrows rows, uint32_t width,
                                                       uint32_t n, uint32_t first, uint32_t groups, float eps)
{
    __align__(16) float keep[KEEP], scale[KEEP];
    float               sum = 0;
    load<THREADS, FOURS>(w, n, scale);
    sr_await_forerunner();
    uint32_t row = blockIdx.x / groups;
    if (row >= sr_dev_rows(rows))
        return;
    size_t begin = (size_t)row * width + first + (size_t)(blockIdx.x % groups) * n;
    x += begin;
    y += begin;
    load<THREADS, FOURS>(x, n, keep);
#pragma unroll
    for (int i = 0; i < KEEP; i++)
        sum = fmaf(keep[i], keep[i], sum);
    for (uint32_t k = KEEP * THREADS + threadIdx.x; k < n; k += THREADS)
        sum = fmaf(x[k], x[k], sum);
    float s = 1.0f / sqrtf(block_sum<THREADS>(sum) / (float)n + eps);
#pragma unroll
    for (int i = 0; i < KEEP; i++)
        keep[i] = keep[i] * s * scale[i];
#pragma unroll
    for (int i = 0; i < KEEP; i += FOURS ? 4 : 1) {
        uint32_t k = at<THREADS, FOURS>(i);
        if (k < n && FOURS)
            *(float4 *)&y[k] = *(float4 *)&keep[i];
        else if (k < n)
            y[k] = keep[i];
    }
    for (uint32_t k = KEEP * THREADS + threadIdx.x; k < n; k += THREADS)
        y[k] = x[k] * s * w[k];
}

template <int THREADS>
static void start(const sr_cudajob *j, uint32_t rows, bool fours)
{
    const sr_op *op     = j->op;
    auto         kernel = fours ? norm<THREADS, true> : norm<THREADS, false>;
    sr_launch(j, kernel, rows * op->dim[2], THREADS, 0, (const float *)j->slot[op->in[0]], (const float *)j->weight[op->w].p,
              (float *)j->slot[op->out[0]], sr_rows_of(j, op->in[0]), j->prog->slot[op->in[0]].width, op->dim[0], op->dim[1], op->dim[2],
              op->f[0]);
}

static void launch(const sr_cudajob *j)
{
    const sr_op   *op   = j->op;
    const sr_slot *slot = &j->prog->slot[op->in[0]];
    uint32_t       rows = sr_slot_rows(slot, j->n), n = op->dim[0];
    bool           fours = n % 4 == 0 && op->dim[1] % 4 == 0 && slot->width % 4 == 0 && (uintptr_t)j->weight[op->w].p % 16 == 0;
    if (!rows || !op->dim[2])
        return;
    if (n <= 32 * KEEP)
        start<32>(j, rows, fours);
    else if (n <= 256 * KEEP)
        start<256>(j, rows, fours);
    else if (n <= 512 * KEEP)
        start<512>(j, rows, fours);
    else
        start<1024>(j, rows, fours);
}

extern "C" const sr_cudakernel sr_norm_cuda[] = {{"registers", 0, 0, NULL, NULL, launch}, {}};
