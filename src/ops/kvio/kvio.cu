/* kvwrite: this step's keys and values into their pages, as F16 or Q8_0.
 * Shapes   x [tok][width] f32: K at column dim[0], V at dim[1], kv_heads of dim[2] each.
 * Roofline bytes = tok * kv_heads * (8 head_dim + stored): launch bound in one-token steps.
 * Mapping  a warp per 32 numbers, one Q8_0 block; blocks over (token, K or V, pieces): a step of one token is one trip to memory.
 * Bits     those of the reference for all finite numbers; an F16 NaN is a NaN, its payload may differ.
 * Archs    sm_75+, nothing arch-specific.                                              */
#include "ops/kernel.cuh"

enum { THREADS = 128, WARPS = THREADS / 32 };

static __device__ void store_q8(sr_q8_0 *y, float x, uint32_t lane)
{
    bool    finite = __all_sync(~0u, x * 0.0f == 0.0f);
    float   peak = sr_warp_max(fabsf(x)), d = peak / 127, inv = d != 0 ? 1 / d : 0;
    float   q = fminf(fmaxf(roundf(x * inv), -127.0f), 127.0f);
    uint8_t *b = (uint8_t *)y;
    b[2 + lane] = finite ? (uint8_t)(int8_t)q : 0;
    if (lane == 0) {
        uint16_t h = finite ? __half_as_ushort(__float2half_rn(d)) : 0x7e00;
        b[0]       = (uint8_t)h;
        b[1]       = (uint8_t)(h >> 8);
    }
}

static __global__ void __launch_bounds__(THREADS) kvwrite(const float *x, sr_kvbind kv, uint32_t layer, const uint32_t *dst,
                                                          const sr_shape *n, uint32_t width, uint32_t k_col, uint32_t v_col, uint32_t hd)
{
    sr_await_forerunner();
    uint32_t t = blockIdx.x, value = blockIdx.y, lane = threadIdx.x % 32;
    if (t >= n->tok)
        return;
    uint32_t format = value ? kv.format_v : kv.format_k, to = dst[t];
    char    *at = (char *)kv.base + to / kv.page_tokens * kv.stride.page + layer * kv.stride.layer + value * kv.stride.kv +
               to % kv.page_tokens * kv.stride.tok;
    const float *row = x + (size_t)t * width + (value ? v_col : k_col);
    uint32_t     pieces = (hd + 31) / 32;
    uint32_t     i = blockIdx.z * WARPS + threadIdx.x / 32, h = i / pieces, d = i % pieces * 32 + lane;
    if (h >= kv.kv_heads)
        return;
    float v = d < hd ? row[(size_t)h * hd + d] : 0.0f;
    at += h * kv.stride.head;
    if (format == SR_Q8_0)
        store_q8((sr_q8_0 *)at + d / 32, v, lane);
    else if (d < hd)
        ((__half *)at)[d] = __float2half_rn(v);
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

static bool supports(const sr_cudainfo *d, const sr_program *p, const sr_op *op)
{
    (void)d;
    const sr_kvshape *kv = &p->kv[op->w];
    bool              k  = kv->format_k == SR_F16 || kv->format_k == SR_Q8_0, v = kv->format_v == SR_F16 || kv->format_v == SR_Q8_0;
    return k && v;
}

extern "C" const sr_cudakernel sr_kvwrite_cuda[] = {{"warp", 0, 0, supports, NULL, launch}, {}};
