/* ropetable: out[t][i] = cos(pos[t] * freq[i]) * f, out[t][half + i] = sin(..) * f.   rope: rotates the heads of a row in place.
 * Shapes   table [tok][rot] f32; x [tok][width] f32, dim[0] heads of dim[1] from column dim[3], the first dim[2] of each turned.
 * Roofline bytes = 8 * tok * heads * rot: launch bound in one-token steps.
 * Mapping  a thread per pair; one block row per token, so that a block's pairs share a row of the table.
 * Bits     those of the reference: the same polynomials (ops/mathf.h), -fmad=false.
 * Archs    sm_75+, nothing arch-specific.                                              */
#include "ops/kernel.cuh"

enum { THREADS = 128 };

static __global__ void table(const int32_t *pos, const float *freq, const sr_shape *n, uint32_t half, float scale, float *out)
{
    sr_await_forerunner();
    uint32_t t = blockIdx.x, i = blockIdx.y * THREADS + threadIdx.x;
    if (t >= n->tok || i >= half)
        return;
    float s, c;
    sr_sincosf((float)pos[t] * freq[i], &s, &c);
    out[(size_t)t * 2 * half + i]        = c * scale;
    out[(size_t)t * 2 * half + half + i] = s * scale;
}

static __global__ void rope(float *x, const float *cs, const sr_shape *n, uint32_t width, uint32_t heads, uint32_t head_dim, uint32_t half,
                            uint32_t first, bool neox)
{
    sr_await_forerunner();
    uint32_t t = blockIdx.x, k = blockIdx.y * THREADS + threadIdx.x, h = k / half, i = k % half;
    if (t >= n->tok || h >= heads)
        return;
    float *p  = x + (size_t)t * width + first + (size_t)h * head_dim;
    float *p0 = neox ? p + i : p + 2 * i, *p1 = neox ? p + i + half : p + 2 * i + 1;
    float  c = cs[(size_t)t * 2 * half + i], s = cs[(size_t)t * 2 * half + half + i], x0 = *p0, x1 = *p1;
    *p0 = fmaf(x0, c, -(x1 * s));
    *p1 = fmaf(x0, s, x1 * c);
}

static void launch_table(const sr_cudajob *j)
{
    uint32_t half = j->op->dim[0] / 2;
    if (!j->n->tok || !half)
        return;
    sr_launch(j, table, dim3(j->n->tok, (half + THREADS - 1) / THREADS), THREADS, 0, j->batch->pos, (const float *)j->weight[j->op->w].p,
              j->count, half, j->op->f[0], (float *)j->slot[j->op->out[0]]);
}

static void launch_rope(const sr_cudajob *j)
{
    const sr_op *op   = j->op;
    uint32_t     half = op->dim[2] / 2, pairs = op->dim[0] * half;
    if (!j->n->tok || !pairs)
        return;
    sr_launch(j, rope, dim3(j->n->tok, (pairs + THREADS - 1) / THREADS), THREADS, 0, (float *)j->slot[op->in[0]],
              (const float *)j->slot[op->in[1]], j->count, j->prog->slot[op->in[0]].width, op->dim[0], op->dim[1], half, op->dim[3],
              (op->flags & SR_F_NEOX) != 0);
}

extern "C" const sr_cudakernel sr_ropetable_cuda[] = {{"plain", 0, 0, NULL, NULL, launch_table}, {}};
extern "C" const sr_cudakernel sr_rope_cuda[]      = {{"pairs", 0, 0, NULL, NULL, launch_rope}, {}};
