/* glu: out[r][i] = act(gate) * up, gate in columns [0, n) of the input, up in [n, 2n).
 * Shapes   in [rows][2n] f32, out [rows][n] f32.
 * Roofline bytes = 12 * rows * n, memory bound.
 * Mapping  a thread per number, 256 a block: rows of a step are short enough to stay in L2 between the ops.
 * Bits     those of the reference (-fmad=false).
 * Archs    sm_75+, nothing arch-specific.                                              */
#include "ops/glu/act.cuh"
#include "ops/kernel.cuh"

enum { THREADS = 256 };

template <bool GELU>
static __global__ void glu(const float *in, float *out, sr_devrows rows, uint32_t n)
{
    sr_await_forerunner();
    uint32_t r = blockIdx.x, i = blockIdx.y * THREADS + threadIdx.x;
    if (r >= sr_dev_rows(rows) || i >= n)
        return;
    const float *x = in + (size_t)r * 2 * n;
    out[(size_t)r * n + i] = (GELU ? sr_gelu(x[i]) : sr_silu(x[i])) * x[n + i];
}

static void launch(const sr_cudajob *j)
{
    const sr_op *op   = j->op;
    uint32_t     rows = sr_slot_rows(&j->prog->slot[op->in[0]], j->n), n = op->dim[0];
    if (!rows || !n)
        return;
    dim3         grid(rows, (n + THREADS - 1) / THREADS);
    const float *in  = (const float *)j->slot[op->in[0]];
    float       *out = (float *)j->slot[op->out[0]];
    if (op->flags & SR_F_GELU)
        sr_launch(j, glu<true>, grid, THREADS, 0, in, out, sr_rows_of(j, op->in[0]), n);
    else
        sr_launch(j, glu<false>, grid, THREADS, 0, in, out, sr_rows_of(j, op->in[0]), n);
}

extern "C" const sr_cudakernel sr_glu_cuda[] = {{"plain", 0, 0, NULL, NULL, launch}, {}};
