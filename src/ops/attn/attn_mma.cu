/* attn_mma: ATTN on tensor cores, host side.  Sequences with up to 16 (token, head) rows of a kv head go
 * through the decode kernel,
 * longer ones through the prefill kernel; a step of single tokens launches the former only. */
#include "ops/attn/attn_cuda.h"
#include "ops/attn/attn_mma.h"

enum { ROWS = 16, BLOCK_ROWS = 64, STEP = 64, LEAST = 128 };

static uint32_t div_up(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

/* Splits of `positions` for `items` (sequence, kv head) pairs: enough to fill the device, none shorter than
 * LEAST. */
static void cut(sr_attnmma *a, const sr_cudainfo *d, uint32_t items, uint32_t positions)
{
    uint64_t even = (uint64_t)positions * items / (4u * (uint32_t)d->sms) + 1;
    a->split      = even > LEAST ? div_up((uint32_t)even, STEP) * STEP : (uint32_t)LEAST;
    a->splits     = div_up(positions, a->split) + 1; /* the first may begin anywhere */
}

static uint32_t positions_of(const sr_program *p, uint32_t pages) { return pages * p->page_tokens; }

bool sr_attn_mma_supports(const sr_cudainfo *d, const sr_program *p, const sr_op *op)
{
    (void)d;
    const sr_kvshape *kv = &p->kv[op->w];
    uint32_t hd = op->dim[2], group = op->dim[0] / op->dim[1], page = p->page_tokens;
    bool formats = kv->format_k == kv->format_v && (kv->format_k == SR_F16 || kv->format_k == SR_Q8_0);
    return formats && (hd == 64 || hd == 128 || hd == 256) && group <= ROWS && page >= 16 &&
           (page & (page - 1)) == 0 && p->slot[op->in[0]].width % 4 == 0;
}

size_t sr_attn_mma_scratch(const sr_cudainfo *d, const sr_program *p, const sr_op *op, const sr_shape *max)
{
    size_t most = 0;
    for (uint32_t seq = 1; seq <= max->seq; seq++) { /* fewer sequences, more splits each */
        sr_attnmma a = {};
        cut(&a, d, (d->deterministic ? max->seq : seq) * op->dim[1], positions_of(p, max->pages));
        size_t n = (size_t)seq * op->dim[1] * a.splits;
        most     = n > most ? n : most;
    }
    return SR_CUDA_COUNTERS + most * ROWS * (op->dim[2] + 2) * sizeof(float);
}

static void start(const sr_attnmma *a, uint32_t hd, dim3 grid, bool prefill, const sr_cudajob *j)
{
    cudaLaunchAttribute attr                        = {};
    cudaLaunchConfig_t c                            = {};
    attr.id                                         = cudaLaunchAttributeProgrammaticStreamSerialization;
    attr.val.programmaticStreamSerializationAllowed = 1;
    c.gridDim                                       = grid;
    c.blockDim                                      = dim3(128);
    c.stream                                        = j->stream;
    c.attrs                                         = &attr;
    c.numAttrs                                      = j->dev->pdl && j->dev->arch >= 90 ? 1 : 0;
    bool q8                                         = a->kv.format_k == SR_Q8_0;
    switch (hd) { /* a failure stays in cudaGetLastError() */
    case 64:
        (void)sr_attn_start64(a, &c, prefill, q8);
        break;
    case 128:
        (void)sr_attn_start128(a, &c, prefill, q8);
        break;
    default:
        (void)sr_attn_start256(a, &c, prefill, q8);
        break;
    }
}

void sr_attn_mma_launch(const sr_cudajob *j)
{
    const sr_op *op     = j->op;
    const sr_kvbind *kv = &j->batch->kv[op->w];
    sr_attnmma a        = {};
    bool odd =
        kv->stride.tok % (kv->format_k == SR_F16 ? 16 : 4) || (size_t)kv->base % 16 || kv->stride.head % 4;
    if (odd ||
        j->max->seq * op->dim[1] > SR_CUDA_COUNTERS / 4) { /* strides of another layout: correct, slower */
        sr_attn_plain_launch(j);
        return;
    }
    a.qkv       = (const float *)j->slot[op->in[0]];
    a.out       = (float *)j->slot[op->out[0]];
    a.arrived   = (uint32_t *)j->scratch;
    a.partial   = (float *)((char *)j->scratch + SR_CUDA_COUNTERS);
    a.n         = j->count;
    a.seq       = j->batch->seq;
    a.table     = j->batch->table + (size_t)op->w * j->max->seq * j->max->pages;
    a.kv_len    = j->batch->kv_len + (size_t)op->w * j->max->seq * 2;
    a.kv        = *kv;
    a.width     = j->prog->slot[op->in[0]].width;
    a.layer     = op->n_w;
    a.group     = op->dim[0] / op->dim[1];
    a.kv_heads  = op->dim[1];
    a.window    = op->dim[3];
    a.max_pages = j->max->pages;
    a.scale     = op->f[0];
    a.cap       = op->f[1];
    while (1u << a.page_log < kv->page_tokens)
        a.page_log++;
    bool fixed = j->dev->deterministic;
    cut(&a, j->dev, (fixed ? j->max->seq : j->n->seq) * a.kv_heads,
        positions_of(j->prog, fixed ? j->max->pages : j->n->pages));
    if (!j->n->tok || !j->n->seq)
        return;
    if (j->n->tok > j->n->seq) {
        uint32_t blocks = div_up(j->n->tok * a.group, BLOCK_ROWS) + j->n->seq;
        start(&a, op->dim[2], dim3(blocks, a.kv_heads), true, j);
    }
    start(&a, op->dim[2], dim3(a.splits, a.kv_heads, j->n->seq), false, j);
}
