/* gather: out[i] = in[batch.out[i]].   add: out = in0 + in1 (out may be in0).
 * Shapes   rows of dim[0] f32.
 * Roofline bytes = 8 (gather) or 12 (add) * rows * dim: launch bound in one-token steps.
 * Mapping  a thread per number.
 * Archs    sm_75+, nothing arch-specific.                                              */
#include "ops/kernel.cuh"

enum { THREADS = 256 };

static __global__ void gather(const float *in, float *out, const uint32_t *from, const sr_shape *n, uint32_t dim)
{
    sr_await_forerunner();
    uint32_t r = blockIdx.x, i = blockIdx.y * THREADS + threadIdx.x;
    if (r < n->out && i < dim)
        out[(size_t)r * dim + i] = in[(size_t)from[r] * dim + i];
}

static __global__ void add(const float *x, const float *y, float *out, sr_devrows rows, uint32_t dim)
{
    sr_await_forerunner();
    uint32_t r = blockIdx.x, i = blockIdx.y * THREADS + threadIdx.x;
    size_t   at = (size_t)r * dim + i;
    if (r < sr_dev_rows(rows) && i < dim)
        out[at] = x[at] + y[at];
}

static void launch_gather(const sr_cudajob *j)
{
    const sr_op *op = j->op;
    if (j->n->out)
        sr_launch(j, gather, dim3(j->n->out, (op->dim[0] + THREADS - 1) / THREADS), THREADS, 0, (const float *)j->slot[op->in[0]],
                  (float *)j->slot[op->out[0]], j->batch->out, j->count, op->dim[0]);
}

static void launch_add(const sr_cudajob *j)
{
    const sr_op *op   = j->op;
    uint32_t     rows = sr_slot_rows(&j->prog->slot[op->in[0]], j->n);
    if (rows)
        sr_launch(j, add, dim3(rows, (op->dim[0] + THREADS - 1) / THREADS), THREADS, 0, (const float *)j->slot[op->in[0]],
                  (const float *)j->slot[op->in[1]], (float *)j->slot[op->out[0]], sr_rows_of(j, op->in[0]), op->dim[0]);
}

extern "C" const sr_cudakernel sr_gather_cuda[] = {{"plain", 0, 0, NULL, NULL, launch_gather}, {}};
extern "C" const sr_cudakernel sr_add_cuda[]    = {{"plain", 0, 0, NULL, NULL, launch_add}, {}};
