/* embed: y[t][c] = decoded row tok[t] of the embedding matrix, times f[0].
 * Shapes   y [tok][dim] f32; w [vocab][dim] of any format, as in the file or in the head's tiles (tied models).
 * Roofline bytes = tok * (row bytes + 4 dim): microseconds at most; a step of one token reads one row.
 * Mapping  a block of 256 numbers of one row; numbers are decoded one by one, since latency rules, not bandwidth.
 * Bits     those of the reference (-fmad=false).
 * Archs    sm_75+, nothing arch-specific.                                              */
#include "ops/kernel.cuh"

enum { THREADS = 256 };

static __global__ void embed(sr_devweight w, uint32_t row0, const int32_t *tok, const sr_sampled *previous, const sr_shape *n,
                             uint32_t dim, float scale, float *y)
{
    sr_await_forerunner();
    uint32_t t = blockIdx.x, c = blockIdx.y * THREADS + threadIdx.x;
    if (t >= n->tok || c >= dim)
        return;
    int32_t id = tok[t];
    if (id < 0)
        id = previous[-1 - id].tok;
    /* A row that could not be sampled (-1) has ended its request; what its successor computes is not looked at. */
    uint32_t r = id < 0 ? 0 : (uint32_t)id - row0;
    y[(size_t)t * dim + c] = sr_weight_at(w, r, c) * scale;
}

static void launch(const sr_cudajob *j)
{
    uint32_t dim = j->op->dim[0];
    if (!j->n->tok)
        return;
    dim3 grid(j->n->tok, (dim + THREADS - 1) / THREADS);
    sr_launch(j, embed, grid, THREADS, 0, sr_weight_on(&j->weight[j->op->w]), j->weight[j->op->w].row0, j->batch->tok, j->previous,
              j->count, dim, j->op->f[0], (float *)j->slot[j->op->out[0]]);
}

extern "C" const sr_cudakernel sr_embed_cuda[] = {{"plain", 0, 0, NULL, NULL, launch}, {}};
