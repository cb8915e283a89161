/* attn_mma: ATTN on tensor cores, the host's side: which kernels a step needs, their grids, the working memory.
 * Sequences with few rows go through the decode kernel, the others through a prefill kernel; a step of single
 * tokens launches the former only.  The two add up in different orders, and how many rows of a sequence a step has
 * depends on who else is in it: a deterministic device has all rows go through a prefill kernel.  Of small programs for several sequences (linear/alike.h)
 * only single tokens go through decode, in one order of additions that follows from their sequence's length alone.
 * Steps with words (ops/tree.h) go the same ways, but for decode's blocks of eight warps and warps alone.  The sm_90 prefill has kernels of its own for them,
 * because its registers are all in use; the others ask for a word in masked tiles, if there are any. */
#include "ops/attn/attn_cuda.h"
#include "ops/attn/attn_mma.h"
#include "ops/linear/between.h"
#include "ops/linear/chain.h"

enum { SHORT = 64, MANY = 4, Q8_MOST = 2048, WIDE_ROWS = 16, SM90_ROWS = 128, CHUNKS = 4, ALONE_MOST = 512, ALONE_WARPS = 5,
       BESIDE_MOST = 1024 /* positions that 16 splits of four runs of 16 see at once */,
       TWO_MOST = 1024,
       ALIKE_LEAST = 256 /* positions of a split: up to there one is as fast as four (notes/0042) */ };

static uint32_t div_up(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

/* For divided() (attn_view.cuh). */
static uint32_t over(uint32_t d) { return d > 1 ? (uint32_t)((1ull << 32) / d + 1) : 0; }

/* Splits for `items` (sequence, kv head, chunk of rows) and `blocks` at once, none shorter than SR_ATTN_LEAST positions; SR_ATTN_FEW of them may be SHORT.
 * Each sequence is cut into so many by its true length, on the device: inside a graph `positions` may be twice the longest. */
static void cut(sr_attnmma *a, uint32_t blocks, uint32_t items, uint32_t positions, bool few)
{
    uint32_t each = blocks / items, most = div_up(positions, SR_ATTN_LEAST), some = div_up(positions, SHORT);
    some = some < SR_ATTN_FEW ? some : (uint32_t)SR_ATTN_FEW;
    most = few && some > most ? some : most;
    if (each % 16 <= each / 16) /* the join takes 16 at a time: 32 rather than 33 */
        each -= each % 16;
    each      = each < most ? each : most;
    a->splits = each ? each : 1;
    a->least  = few ? (uint32_t)SHORT : (uint32_t)SR_ATTN_LEAST;
}

/* Rows that are split go in chunks of 16; more chunks where there are few sequences. */
static uint32_t chunks_of(uint32_t group, uint32_t seq)
{
    uint32_t most = seq * CHUNKS <= 64 ? (uint32_t)CHUNKS : seq < 64 ? 64 / seq : 1, least = div_up(group, WIDE_ROWS);
    return most > least ? most : least;
}

bool sr_attn_mma_supports(const sr_cudainfo *d, const sr_program *p, const sr_op *op)
{
    (void)d;
    const sr_kvshape *kv = &p->kv[op->w];
    uint32_t hd = op->dim[2], page = p->page_tokens;
    bool formats = kv->format_k == kv->format_v && (kv->format_k == SR_F16 || (kv->format_k == SR_Q8_0 && hd % 32 == 0));
    bool size    = hd == 64 || hd == 80 || hd == 96 || hd == 128 || hd == 256;
    return formats && size && page % 16 == 0 && p->slot[op->in[0]].width % 4 == 0;
}

/* Bytes behind the counters that a chain's x has (linear/chain_form.cuh), where this op's output may become one; parts lie behind them. */
static size_t form_bytes(const sr_cudainfo *d, const sr_op *op)
{
    return d->chains ? (size_t)div_up(op->dim[0] * op->dim[2], 256) * 2 * SR_CHAIN_FORM : 0;
}

/* Programs of small products for several sequences (linear/alike.h): splits by the plan and a sequence's own length, so that those of all sequences run at once. */
static void cut_alike(sr_attnmma *a, const sr_cudajob *j, uint32_t positions)
{
    const uint32_t most = MANY * (uint32_t)j->dev->sms / (j->max->seq * a->kv_heads * a->chunks), need = div_up(positions, ALIKE_LEAST);
    a->splits           = most < SR_ATTN_FEW ? most : (uint32_t)SR_ATTN_FEW;
    a->splits           = a->splits < need ? a->splits : need; /* where they are fewer, ALIKE_LEAST is what binds */
    a->splits           = a->splits ? a->splits : 1;
    a->least            = ALIKE_LEAST;
}

/* What is split has no more parts than run at once, and none shorter than SR_ATTN_LEAST positions, or half as long and of half as many rows. */
size_t sr_attn_mma_scratch(const sr_cudainfo *d, const sr_program *p, const sr_op *op, const sr_shape *max)
{
    size_t parts = 0, at_once = (size_t)MANY * (uint32_t)d->sms;
    if (d->deterministic)
        return SR_CUDA_COUNTERS;
    for (uint32_t seq = 1; seq <= max->seq && parts < at_once; seq++) { /* more sequences may be cut into fewer chunks of rows */
        size_t n = (size_t)seq * op->dim[1] * chunks_of(op->dim[0] / op->dim[1], seq) * div_up(max->pages * p->page_tokens, SR_ATTN_LEAST);
        parts    = n > parts ? n : parts;
    }
    return SR_CUDA_COUNTERS + form_bytes(d, op) + (parts < at_once ? parts : at_once) * WIDE_ROWS * (op->dim[2] + 2) * sizeof(float);
}

/* What cannot be told by an error is told by cudaGetLastError(). */
static cudaLaunchConfig_t config(const sr_cudajob *j, cudaLaunchAttribute *overlap, dim3 grid)
{
    cudaLaunchConfig_t c                                = {};
    *overlap                                            = {};
    overlap->id                                         = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap->val.programmaticStreamSerializationAllowed = 1;
    c.gridDim                                           = grid;
    c.stream                                            = j->stream;
    c.attrs                                             = overlap;
    c.numAttrs                                          = j->dev->pdl && j->dev->arch >= 90 ? 1 : 0;
    return c;
}

/* Rows of one sequence at most: each has a token at least. */
static uint32_t most_rows(const sr_attnmma *a, const sr_cudajob *j)
{
    return (j->n->tok > j->n->seq ? j->n->tok - j->n->seq + 1 : 1) * a->group;
}

/* Most of a sequence; in a graph those of its bucket. */
static uint32_t positions_of(const sr_cudajob *j) { return j->n->pages * j->batch->kv[j->op->w].page_tokens; }

/* Few sequences: as many as blocks of eight warps run at once.  Of Q8_0 two share a multiprocessor, but long ones are faster in smaller blocks. */
static bool in_eights(const sr_attnmma *a, const sr_cudajob *j)
{
    const uint32_t items = j->n->seq * a->kv_heads, sms = (uint32_t)j->dev->sms;
    if (a->kv.format_k != SR_Q8_0 || j->op->dim[2] > 128)
        return items <= sms;
    return j->n->seq == 1 || (items <= 2 * sms && positions_of(j) <= Q8_MOST);
}

/* beside: a chain that leaves room for blocks of four warps comes next, and so, but for the first layer's, came before. */
static void decode(const sr_attnmma *a, const sr_cudajob *j, bool beside)
{
    const uint32_t most    = most_rows(a, j), longest = most < a->split_rows ? most : a->split_rows;
    const bool wide        = longest > 8, same = j->alike;
    cudaLaunchAttribute overlap;
    sr_attnmma b         = *a;
    const uint32_t need  = div_up(longest, wide ? 16 : 8);
    b.chunks             = need < a->chunks ? need : a->chunks;
    const bool bulk      = j->dev->arch >= 90, few = bulk && !wide && (same || (!a->tree && in_eights(a, j)));
    beside               = beside && few && !same && a->kv.format_k == SR_F16 && j->op->dim[2] <= 128 && positions_of(j) <= BESIDE_MOST;
    b.early              = beside;
    const uint32_t items = j->n->seq * a->kv_heads * b.chunks, sms = (uint32_t)j->dev->sms;
    const bool two       = bulk && !wide && a->kv.format_k == SR_F16 && j->op->dim[2] <= 128 &&
                     (same ? items > sms : !few && items <= 2 * sms && positions_of(j) <= TWO_MOST);
    const uint32_t fit   = few ? 1 : j->op->dim[2] > 128 || two ? 2 : wide || !bulk ? 3 : MANY, /* blocks of a multiprocessor that have work */
                   blocks = fit * sms;
    if (same)
        cut_alike(&b, j, positions_of(j));
    else
        cut(&b, blocks, items, positions_of(j), few && items * SR_ATTN_FEW * 2 <= blocks); /* with more blocks than half, short ones bring nothing */
    b.over.group     = over(a->group);
    b.over.kv_heads  = over(a->kv_heads);
    b.over.page_runs = over(a->page_runs);
    b.over.splits    = over(b.splits);
    b.over.parts     = over(a->kv_heads * b.chunks);
    cudaLaunchConfig_t c = config(j, &overlap, dim3(b.splits, a->kv_heads * b.chunks, j->n->seq));
    uint32_t kind        = (wide ? SR_ATTN_WIDE : 0) | (a->kv.format_k == SR_Q8_0 ? SR_ATTN_Q8 : 0) | (bulk ? SR_ATTN_BULK : 0) |
                    (beside ? SR_ATTN_BESIDE : few ? SR_ATTN_ONE : 0) | (two ? SR_ATTN_TWO : 0);
    if (kind == SR_ATTN_BULK && !a->tree && !a->form && j->op->dim[2] == 128 && b.splits == 1 && positions_of(j) <= ALONE_MOST &&
        a->kv_heads * b.chunks * j->n->seq >= ALONE_WARPS * (uint32_t)j->dev->sms)
        kind |= SR_ATTN_ALONE;
    switch (j->op->dim[2]) {
    case 64: (void)sr_attn_decode_64(&b, c, kind); return;
    case 80: (void)sr_attn_decode_80(&b, c, kind); return;
    case 96: (void)sr_attn_decode_96(&b, c, kind); return;
    case 128: (void)sr_attn_decode_128(&b, c, kind); return;
    default: (void)sr_attn_decode_256(&b, c, kind); return;
    }
}

static void prefill(const sr_attnmma *a, const sr_cudajob *j)
{
    cudaLaunchAttribute overlap;
    const bool q8        = a->kv.format_k == SR_Q8_0;
    const uint32_t hd    = j->op->dim[2], rows = hd > 128 ? 48 : hd > 80 ? 192 : 256; /* of a block */
    cudaLaunchConfig_t c = config(j, &overlap, dim3(a->kv_heads, div_up(j->n->tok * a->group, rows) + j->n->seq));
    switch (hd) {
    case 64: (void)sr_attn_prefill_64(a, c, q8); return;
    case 80: (void)sr_attn_prefill_80(a, c, q8); return;
    case 96: (void)sr_attn_prefill_96(a, c, q8); return;
    case 128: (void)sr_attn_prefill_128(a, c, q8); return;
    default: (void)sr_attn_prefill_256(a, c, q8); return;
    }
}

static bool prefill_sm90(sr_attnmma *a, const sr_cudajob *j)
{
    CUtensorMap map = {};
    cudaLaunchAttribute overlap;
    const bool q8 = a->kv.format_k == SR_Q8_0;
    if (j->dev->arch < 90 || (!q8 && !sr_attn_sm90_map(a, j->op->dim[2], &map)))
        return false;
    uint32_t items       = (div_up(j->n->tok * a->group, SM90_ROWS) + j->n->seq) * a->kv_heads, sms = (uint32_t)j->dev->sms;
    cudaLaunchConfig_t c = config(j, &overlap, dim3(items < sms ? items : sms));
    switch (j->op->dim[2]) {
    case 64: (void)sr_attn_sm90_64(a, c, &map, q8); return true;
    case 80: (void)sr_attn_sm90_80(a, c, &map, q8); return true;
    case 96: (void)sr_attn_sm90_96(a, c, &map, q8); return true;
    case 128: (void)sr_attn_sm90_128(a, c, &map, q8); return true;
    default: (void)sr_attn_sm90_256(a, c, &map, q8); return true;
    }
}

/* Rows of pages follow each other, everything 16 bytes read together is aligned so; and there are counters for all. */
static bool fits(const sr_attnmma *a, const sr_cudajob *j)
{
    const sr_kvstride *s = &a->kv.stride;
    size_t odd           = (size_t)a->kv.base | s->page | s->layer | s->kv | s->head;
    uint32_t seq         = j->max->seq > 64 ? j->max->seq : 64;
    return s->tok == sr_row_bytes(a->kv.format_k, j->op->dim[2]) && odd % 16 == 0 && s->page % (s->tok * 16) == 0 &&
           (size_t)seq * a->kv_heads * div_up(a->group, WIDE_ROWS) <= SR_CUDA_TICKETS;
}

/* False: the pages lie as no kernel here expects. */
static bool describe(const sr_cudajob *j, sr_attnmma *a)
{
    const sr_op *op     = j->op;
    const sr_kvbind *kv = &j->batch->kv[op->w];
    a->kv       = *kv;
    a->group    = op->dim[0] / op->dim[1];
    a->kv_heads = op->dim[1];
    if (!fits(a, j))
        return false;
    a->qkv        = (const float *)j->slot[op->in[0]];
    a->out        = (float *)j->slot[op->out[0]];
    a->arrived    = (uint32_t *)j->scratch;
    a->ticket     = a->arrived + SR_CUDA_TICKETS;
    a->partial    = (float *)((char *)j->scratch + SR_CUDA_COUNTERS + form_bytes(j->dev, op));
    a->n          = j->count;
    a->seq        = j->batch->seq;
    a->table      = j->batch->table + (size_t)op->w * j->max->seq * j->max->pages;
    a->kv_len     = j->batch->kv_len + (size_t)op->w * j->max->seq * 2;
    a->tree       = j->n->tok != j->n->seq ? j->batch->tree : NULL; /* what is alone sees what it would see anyway */
    a->width      = j->prog->slot[op->in[0]].width;
    a->layer      = op->n_w;
    a->window     = op->dim[3];
    a->max_pages  = j->max->pages;
    a->page_runs  = kv->page_tokens / 16;
    a->page_step  = (uint32_t)(kv->stride.page / (kv->stride.tok * 16));
    a->scale      = op->f[0];
    a->cap        = op->f[1];
    a->soft       = a->cap > 0 ? 2 * 1.44269504f * a->scale / a->cap : 0;
    a->chunks     = chunks_of(a->group, j->n->seq);
    a->split_rows = j->dev->deterministic ? 0 : j->alike ? a->group : a->chunks * WIDE_ROWS;
    return true;
}

void sr_attn_mma_launch(const sr_cudajob *j)
{
    sr_attnmma a = {};
    if (!j->n->tok || !j->n->seq)
        return;
    if (!describe(j, &a)) { /* another layout: correct, slower */
        sr_attn_plain_launch(j);
        return;
    }
    if (most_rows(&a, j) > a.split_rows && !prefill_sm90(&a, j))
        prefill(&a, j);
    if (a.split_rows)
        decode(&a, j, false);
}

/* Exactly these three, on the same q, k and v; pages and heads as attention has them. */
static bool follow(const sr_program *p, const sr_op *rope, const sr_op *write, const sr_op *attn)
{
    const uint32_t hd = attn->dim[2], q = attn->dim[0] * hd, kv = attn->dim[1] * hd;
    return rope->code == SR_OP_ROPE && write->code == SR_OP_KVWRITE && attn->code == SR_OP_ATTN && rope->in[0] == rope->out[0] &&
           rope->in[0] == write->in[0] && rope->in[0] == attn->in[0] && rope->in[0] != attn->out[0] && rope->dim[3] == 0 &&
           rope->dim[0] == attn->dim[0] + attn->dim[1] && rope->dim[1] == hd && rope->dim[2] >= 2 && rope->dim[2] <= hd && rope->dim[2] % 2 == 0 &&
           write->w == attn->w && write->n_w == attn->n_w && write->dim[0] == q && write->dim[1] == q + kv && write->dim[2] == hd &&
           p->kv[attn->w].kv_heads == attn->dim[1];
}

extern "C" uint32_t sr_rope_kvwrite_attn_cuda(const sr_cudajob *j, uint32_t op, uint32_t end)
{
    const sr_op *rope = &j->prog->op[op];
    sr_cudajob one    = *j;
    sr_attnmma a      = {};
    one.op            = rope + 2;
    if (op + 3 > end || !j->n->tok || j->n->tok != j->n->seq || j->dev->deterministic || !follow(j->prog, rope, rope + 1, rope + 2) ||
        !sr_attn_mma_supports(j->dev, j->prog, one.op) || !describe(&one, &a))
        return 0;
    a.turn.cs   = (const float *)j->slot[rope->in[1]];
    a.turn.dst  = j->batch->dst + (size_t)one.op->w * j->max->tok;
    a.turn.half = rope->dim[2] / 2;
    a.turn.neox = (rope->flags & SR_F_NEOX) != 0;
    if (sr_chain_takes_form_cuda(j, op + 3, end, rope[2].out[0])) { /* then the chain is the next launch of this submit */
        a.form     = (uint8_t *)j->scratch + SR_CUDA_COUNTERS;
        a.form_wide = j->n->tok > SR_CHAIN_FEW;
        a.out      = sr_passes(j->prog, op + 2) ? NULL : a.out;
        *j->formed = op + 3;
    }
    /* A token each: no sequence has more rows than are split.  A chain that takes a form leaves nothing beside it. */
    decode(&a, &one, !a.form && sr_chain_beside_cuda(j, op + 3, end));
    return 3;
}
