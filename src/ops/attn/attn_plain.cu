/* attn, plain: attention over pages, causal or of token trees, the variant that takes every head size, window, soft-cap and format.
 * Shapes   attn.h.   Roofline not sought.
 * Mapping  a warp per (token, query head).  32 positions at a time: each lane scores one, then lanes run over head dimensions
 *          for the values.  Query and accumulator of a warp lie in shared memory, so that any head size fits.
 * Numbers  online softmax over runs of 32 instead of chunks of 256: rounding differs from the reference's, a few 2^-24 of sum |p v|.
 * Variants the last one of the table, for what the others do not take.
 * Archs    sm_75+, nothing arch-specific.                                              */
#include "ops/attn/attn_cuda.h"
#include "ops/kernel.cuh"
#include "ops/tree.h"

enum { WARPS = 4 };

typedef struct {
    const float    *qkv;
    float          *out;
    const sr_shape *n;
    const uint32_t *seq, *table, *kv_len; /* table, kv_len: of this group */
    const uint64_t *tree;
    sr_kvbind       kv;
    uint32_t        width, layer, heads, kv_heads, hd, window, max_pages;
    float           scale, cap;
} args;

static __device__ const uint8_t *position(const args &a, uint32_t s, uint32_t head, uint32_t i, bool value)
{
    size_t page = a.table[(size_t)s * a.max_pages + i / a.kv.page_tokens] & 0x3fffffffu;
    return (const uint8_t *)a.kv.base + page * a.kv.stride.page + a.layer * a.kv.stride.layer + value * a.kv.stride.kv +
           head * a.kv.stride.head + i % a.kv.page_tokens * a.kv.stride.tok;
}

static __global__ void __launch_bounds__(WARPS * 32) attend(args a)
{
    extern __shared__ float memory[];
    uint32_t item = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32, t = item / a.heads, h = item % a.heads, s = 0;
    if (t >= a.n->tok)
        return;
    while (t >= a.seq[s + 1])
        s++;
    float   *q = memory + threadIdx.x / 32 * 2 * a.hd, *o = q + a.hd;
    uint32_t kvh = h / (a.heads / a.kv_heads), end = a.kv_len[2 * s + 1] - (a.seq[s + 1] - 1 - t), begin = a.kv_len[2 * s], first = end;
    uint64_t word = a.tree ? a.tree[t] : 0;
    if (word) { /* from here on positions, as in the reference: places are looked up */
        first = end - 1 - sr_tree_own(word);
        end   = first + sr_tree_bits(word);
    }
    if (a.window && end > a.window && end - a.window > begin)
        begin = end - a.window;
    for (uint32_t d = lane; d < a.hd; d += 32) {
        q[d] = a.qkv[(size_t)t * a.width + (size_t)h * a.hd + d];
        o[d] = 0;
    }
    __syncwarp();
    float m = -INFINITY, l = 0;
    for (uint32_t i0 = begin; i0 < end; i0 += 32) {
        uint32_t i = i0 + lane;
        float    x = -INFINITY;
        if (i < end) {
            const uint8_t *k = position(a, s, kvh, sr_tree_place(word, first, i), false);
            float          dot = 0;
            for (uint32_t d = 0; d < a.hd; d++)
                dot = fmaf(q[d], sr_file_at(a.kv.format_k, k, d), dot);
            x = dot * a.scale;
            if (a.cap > 0)
                x = a.cap * sr_tanhf(x / a.cap);
        }
        float top = fmaxf(m, sr_warp_max(x)), keep = sr_expf(m - top), p = sr_expf(x - top);
        m = top;
        l = fmaf(l, keep, sr_warp_sum(p));
        for (uint32_t d = lane; d < a.hd; d += 32) /* a lane's own dimensions: no exchange */
            o[d] *= keep;
        for (uint32_t k = 0; k < 32 && i0 + k < end; k++) {
            const uint8_t *v = position(a, s, kvh, sr_tree_place(word, first, i0 + k), true);
            float          w = __shfl_sync(~0u, p, (int)k);
            for (uint32_t d = lane; d < a.hd; d += 32)
                o[d] = fmaf(w, sr_file_at(a.kv.format_v, v, d), o[d]);
        }
    }
    float inv = 1.0f / l;
    for (uint32_t d = lane; d < a.hd; d += 32)
        a.out[((size_t)t * a.heads + h) * a.hd + d] = o[d] * inv;
}

void sr_attn_plain_launch(const sr_cudajob *j)
{
    const sr_op *op = j->op;
    args         a  = {};
    a.qkv       = (const float *)j->slot[op->in[0]];
    a.out       = (float *)j->slot[op->out[0]];
    a.n         = j->count;
    a.seq       = j->batch->seq;
    a.tree      = j->batch->tree;
    a.table     = j->batch->table + (size_t)op->w * j->max->seq * j->max->pages;
    a.kv_len    = j->batch->kv_len + (size_t)op->w * j->max->seq * 2;
    a.kv        = j->batch->kv[op->w];
    a.width     = j->prog->slot[op->in[0]].width;
    a.layer     = op->n_w;
    a.heads     = op->dim[0];
    a.kv_heads  = op->dim[1];
    a.hd        = op->dim[2];
    a.window    = op->dim[3];
    a.max_pages = j->max->pages;
    a.scale     = op->f[0];
    a.cap       = op->f[1];
    uint32_t items = j->n->tok * a.heads;
    if (items)
        attend<<<(items + WARPS - 1) / WARPS, WARPS * 32, WARPS * 2 * a.hd * sizeof(float), j->stream>>>(a);
}

bool sr_attn_plain_supports(const sr_cudainfo *d, const sr_program *p, const sr_op *op)
{
    (void)d;
    const sr_kvshape *kv = &p->kv[op->w];
    bool              k  = kv->format_k == SR_F16 || kv->format_k == SR_Q8_0, v = kv->format_v == SR_F16 || kv->format_v == SR_Q8_0;
    return k && v && WARPS * 2 * op->dim[2] * sizeof(float) <= 48 * 1024; /* what any card gives without asking */
}
