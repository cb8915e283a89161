/* linear, plain: y[t][r] = sum_k W[r][k] * x[t][k] (+ bias) (+ z): the variant that takes everything.
 * Shapes   x [rows][dim[0]], y, z [rows][dim[1]] f32; weights of any format, blocks of the file or tiles.
 * Roofline not sought: a number is decoded by itself, some 20 instructions.
 * Mapping  a warp per weight row and eight rows of x, lanes over inputs.
 * Numbers  weights decoded to f32, products and sums in f32: |error| <= k/32 * 2^-24 * sum |w x|.
 * Variants the last one of the table, for what the others do not take.
 * Archs    sm_75+, nothing arch-specific.                                              */
#include "ops/kernel.cuh"
#include "ops/linear/linear_cuda.h"

enum { WARPS = 4, ROWS = 8 };

typedef struct {
    const float *x, *z, *bias;
    float       *y;
    uint32_t     cols, width, n_row, col0, y0;
} part;

static __global__ void __launch_bounds__(WARPS * 32) multiply(sr_devweight w, part p, sr_devrows rows)
{
    uint32_t r = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32, t0 = blockIdx.y * ROWS, n = sr_dev_rows(rows);
    if (r >= p.n_row || t0 >= n)
        return;
    float acc[ROWS] = {};
    for (uint32_t k = lane; k < w.cols; k += 32) {
        float v = sr_weight_at(w, r, k);
#pragma unroll
        for (uint32_t i = 0; i < ROWS; i++)
            if (t0 + i < n)
                acc[i] = fmaf(v, p.x[(size_t)(t0 + i) * p.cols + p.col0 + k], acc[i]);
    }
#pragma unroll
    for (uint32_t i = 0; i < ROWS; i++) {
        float sum = sr_warp_sum(acc[i]);
        if (lane == 0 && t0 + i < n) {
            size_t at = (size_t)(t0 + i) * p.width + p.y0 + r;
            if (p.bias)
                sum += p.bias[r];
            p.y[at] = p.z ? sum + p.z[at] : sum;
        }
    }
}

void sr_linear_plain_launch(const sr_cudajob *j)
{
    const sr_op *op = j->op;
    uint32_t     rows = sr_slot_rows(&j->prog->slot[op->in[0]], j->n), y0 = 0;
    for (uint32_t k = 0; k < op->n_w && rows; y0 += j->prog->weight[op->w + k].rows, k++) {
        const sr_wref *w = &j->weight[op->w + k], *b = op->flags & SR_F_BIAS ? &j->weight[op->w + op->n_w + k] : NULL;
        if (!w->p || !w->n_row)
            continue;
        part p = {(const float *)j->slot[op->in[0]], op->epilogue == SR_NONE ? NULL : (const float *)j->slot[op->epilogue],
                  b && b->p ? (const float *)b->p + w->row0 - b->row0 : NULL, (float *)j->slot[op->out[0]], op->dim[0], op->dim[1],
                  w->n_row, w->col0, y0 + w->row0};
        dim3 grid((w->n_row + WARPS - 1) / WARPS, (rows + ROWS - 1) / ROWS);
        multiply<<<grid, WARPS * 32, 0, j->stream>>>(sr_weight_on(w), p, sr_rows_of(j, op->in[0]));
    }
}
