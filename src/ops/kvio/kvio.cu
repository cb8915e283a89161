/* kvwrite: this step's keys and values into their pages, as F16 or Q8_0; and the same with the rotation before it.
 * Shapes   x [tok][width] f32: K at column dim[0], V at dim[1], kv_heads of dim[2] each.
 * Roofline bytes = tok * kv_heads * (8 head_dim + stored): launch bound in one-token steps.
 * Mapping  a warp per 32 numbers, one Q8_0 block; blocks over (token, K or V, pieces): a step of one token is one trip to memory.
 * Bits     those of the reference for all finite numbers; an F16 NaN is a NaN, its payload may differ.
 * Archs    sm_75+, nothing arch-specific.                                              */
#include "ops/kernel.cuh"
#include "ops/kvio/kvio.cuh"

enum { THREADS = 128, WARPS = THREADS / 32 };

/* The lane's number d of head h of a token's K (value 0) or V (1). */
static __device__ void store(const sr_kvbind &kv, uint32_t layer, uint32_t value, uint32_t to, uint32_t h, uint32_t d, uint32_t hd, float v)
{
    const uint32_t format = value ? kv.format_v : kv.format_k;
    sr_kv_put(format, sr_kv_row(kv, layer, value, to, h), d, hd, sr_kv_encode(format, v));
}

static __global__ void __launch_bounds__(THREADS) kvwrite(const float *x, sr_kvbind kv, uint32_t layer, const uint32_t *dst,
                                                          const sr_shape *n, uint32_t width, uint32_t k_col, uint32_t v_col, uint32_t hd)
{
    sr_await_forerunner();
    uint32_t t = blockIdx.x, value = blockIdx.y, lane = threadIdx.x % 32;
    if (t >= n->tok)
        return;
    const float *row = x + (size_t)t * width + (value ? v_col : k_col);
    uint32_t     pieces = (hd + 31) / 32;
    uint32_t     i = blockIdx.z * WARPS + threadIdx.x / 32, h = i / pieces, d = i % pieces * 32 + lane;
    if (h < kv.kv_heads)
        store(kv, layer, value, dst[t], h, d, hd, d < hd ? row[(size_t)h * hd + d] : 0.0f);
}

static void launch(const sr_cudajob *j)
{
    const sr_op *op = j->op;
    if (!j->n->tok)
        return;
    uint32_t pieces = (op->dim[2] + 31) / 32 * j->batch->kv[op->w].kv_heads;
    sr_launch(j, kvwrite, dim3(j->n->tok, 2, (pieces + WARPS - 1) / WARPS), THREADS, 0, (const float *)j->slot[op->in[0]], j->batch->kv[op->w], op->n_w,
              j->batch->dst + (size_t)op->w * j->max->tok, j->count, j->prog->slot[op->in[0]].width, op->dim[0], op->dim[1], op->dim[2]);
}

/* ---- with the rotation before it ---------------------------------------------------------------------------- */

typedef struct {
    float          *x;
    const float    *cs;
    const uint32_t *dst;
    const sr_shape *n;
    uint32_t        width, layer, hd, half, q_heads, q_blocks, k_col, v_col, neox;
} rotated;

/* Queries turn in place, a thread a pair; keys turn on their way into the pages, so that rows of x keep them unturned:
 * nobody reads them there. */
static __global__ void __launch_bounds__(THREADS) rope_kvwrite(const __grid_constant__ rotated a, const __grid_constant__ sr_kvbind kv)
{
    sr_await_forerunner();
    uint32_t t = blockIdx.x, lane = threadIdx.x % 32;
    if (t >= a.n->tok)
        return;
    float       *row = a.x + (size_t)t * a.width;
    const float *cos = a.cs + (size_t)t * 2 * a.half, *sin = cos + a.half;
    if (blockIdx.y < a.q_blocks) {
        uint32_t k = blockIdx.y * THREADS + threadIdx.x, h = k / a.half, i = k % a.half;
        if (h >= a.q_heads)
            return;
        float *p  = row + (size_t)h * a.hd, *p0 = a.neox ? p + i : p + 2 * i, *p1 = a.neox ? p + i + a.half : p + 2 * i + 1;
        float  x0 = *p0, x1 = *p1;
        *p0 = sr_rotate(x0, x1, cos[i], sin[i], false);
        *p1 = sr_rotate(x0, x1, cos[i], sin[i], true);
        return;
    }
    uint32_t pieces = (a.hd + 31) / 32, all = pieces * kv.kv_heads, i = (blockIdx.y - a.q_blocks) * WARPS + threadIdx.x / 32,
             value = i >= all, h = (i - value * all) / pieces, d = (i - value * all) % pieces * 32 + lane;
    if (h >= kv.kv_heads)
        return;
    const float *p = row + (value ? a.v_col : a.k_col) + (size_t)h * a.hd;
    float        v = d < a.hd ? p[d] : 0.0f;
    if (!value && d < 2 * a.half) {
        uint32_t pair = a.neox ? d % a.half : d / 2, second = a.neox ? d / a.half : d % 2;
        v = sr_rotate(a.neox ? p[pair] : p[2 * pair], a.neox ? p[pair + a.half] : p[2 * pair + 1], cos[pair], sin[pair], second);
    }
    store(kv, a.layer, value, a.dst[t], h, d, a.hd, v);
}

static bool supports(const sr_cudainfo *d, const sr_program *p, const sr_op *op)
{
    (void)d;
    const sr_kvshape *kv = &p->kv[op->w];
    bool              k  = kv->format_k == SR_F16 || kv->format_k == SR_Q8_0, v = kv->format_v == SR_F16 || kv->format_v == SR_Q8_0;
    return k && v;
}

extern "C" const sr_cudakernel sr_kvwrite_cuda[] = {{"warp", 0, 0, supports, NULL, launch}, {}};

extern "C" uint32_t sr_rope_kvwrite_cuda(const sr_cudajob *j, uint32_t op, uint32_t end)
{
    const sr_op *r = &j->prog->op[op], *w = r + 1;
    if (op + 2 > end || r->code != SR_OP_ROPE || w->code != SR_OP_KVWRITE || w->in[0] != r->in[0] || r->out[0] != r->in[0] || r->dim[3] ||
        w->dim[2] != r->dim[1] || !supports(j->dev, j->prog, w))
        return 0;
    const sr_kvbind *kv = &j->batch->kv[w->w];
    rotated          a  = {};
    a.x        = (float *)j->slot[r->in[0]];
    a.cs       = (const float *)j->slot[r->in[1]];
    a.dst      = j->batch->dst + (size_t)w->w * j->max->tok;
    a.n        = j->count;
    a.width    = j->prog->slot[r->in[0]].width;
    a.layer    = w->n_w;
    a.hd       = r->dim[1];
    a.half     = r->dim[2] / 2;
    a.q_heads  = r->dim[0] - kv->kv_heads;
    a.q_blocks = (a.q_heads * a.half + THREADS - 1) / THREADS;
    a.k_col    = w->dim[0];
    a.v_col    = w->dim[1];
    a.neox     = (r->flags & SR_F_NEOX) != 0;
    if (!a.half || a.k_col != a.q_heads * a.hd)
        return 0;
    uint32_t pieces = (a.hd + 31) / 32 * kv->kv_heads * 2;
    if (j->n->tok)
        sr_launch(j, rope_kvwrite, dim3(j->n->tok, a.q_blocks + (pieces + WARPS - 1) / WARPS), THREADS, 0, a, *kv);
    return 2;
}
