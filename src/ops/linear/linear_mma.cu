/* linear_mma: LINEAR on tensor cores, host side: an op becomes launches of skinny (few columns), gemm90 (more, sm_90a) or gemm_mma (more,
 * elsewhere).
 *
 * Packed weights (layout.h) with the same input columns go in one launch for up to 64 rows of x. */
#include "ops/linear/alike.h"
#include "ops/linear/between.h"
#include "ops/linear/chain.h"
#include "ops/linear/cut.h"
#include "ops/linear/gemm90.h"
#include "ops/linear/gemm_mma.h"
#include "ops/linear/linear_cuda.h"
#include "ops/linear/skinny.h"

/* ---- cutting up
 * -------------------------------------------------------------------------------------------- */

static uint32_t tiles_of(uint32_t m) { return m <= 8 ? 1 : m <= 16 ? 2 : m <= 32 ? 4 : 8; }

static uint32_t log2_of(uint32_t v) { return v <= 1 ? 0 : 1 + log2_of(v / 2); }

/* Shared memory before sums and ring. */
static uint32_t lay_out(sr_skinny *s, uint32_t nt, uint32_t m)
{
    s->at_scale = up128(s->slice_k * 9 * m * 64);
    s->at_bar   = s->at_scale + up128(s->slice_k * nt * 8 * 4);
    s->at_red   = s->at_bar + up128((8 << s->warps_log) * SR_SKINNY_DEPTH);
    return s->at_red;
}

/* Fewest slices of which x, two stages a warp and the sums of nine row tiles fit beside each other. */
static void slice(sr_skinny *s, uint32_t nt, uint32_t m, uint32_t least, uint32_t smem)
{
    for (s->slices = 1;; s->slices++) {
        s->slice_k    = div_up(s->blocks_k, s->slices);
        uint32_t sums = s->slices == 1 ? ((1u << s->warps_log) + 8) * nt * 512 : 0;
        if (lay_out(s, nt, m) + sums + least <= smem || s->slice_k == 1)
            break;
    }
    s->slices = div_up(s->blocks_k, s->slice_k);
}

void sr_skinny_plan(sr_skinny *s, const sr_skinnydev *d, uint32_t plan_m)
{
    enum { ROUND = 64, HALF = 4, CHUNK = 5120 }; /* most row tiles of a round; columns of half blocks; bytes of a stage */
    bool ring = d->arch >= 90, half = ring && plan_m <= HALF;
    uint32_t nt = tiles_of(plan_m), sum = nt * 512, tile = 0, smem, warps,
             least; /* sum: bytes of a warp's for a row tile */
    for (uint32_t i = 0; i < s->n_part; i++) {
        s->part[i].bytes = (uint16_t)sr_tile_bytes(s->part[i].format);
        s->part[i].per   = (uint16_t)(256 / sr_tile_cols(s->part[i].format));
        tile             = s->part[i].bytes > tile ? s->part[i].bytes : tile;
    }
    s->chunk = tile < CHUNK / 2 ? CHUNK / tile : 1;
    s->stage = s->chunk * tile;
    for (;; half = false) { /* half blocks if they need no slices */
        smem         = (half ? (uint32_t)d->smem / 2 : (uint32_t)d->smem) - SR_BLOCK_OWN;
        s->warps_log = log2_of(d->warps ? d->warps : half || nt > 2 ? 8 : 16);
        warps        = 1u << s->warps_log;
        least        = ring ? 2 * warps * s->stage : 0;
        slice(s, nt, plan_m, least, smem);
        if (!half || s->slices == 1)
            break;
    }
    s->grid = (uint32_t)d->sms / s->slices;
    s->grid = min_u(s->grid ? s->grid : 1, s->row_tiles);
    if (half && s->row_tiles >= s->grid * 6)
        s->grid *= 2;
    s->rows_block = s->row_tiles / s->grid;
    s->rows_extra = s->row_tiles % s->grid;
    s->rows_round = s->rows_block + 1;
    s->at_ring    = s->at_red;
    if (s->slices == 1) { /* rounds as long as fit beside two stages, about equal */
        uint32_t most   = min_u((smem - s->at_red - least) / sum - warps + 1, ROUND),
                 rounds = div_up(s->rows_round, most);
        s->rows_round   = div_up(s->rows_round, rounds);
        s->at_ring += (s->rows_round + warps - 1) * sum;
    }
    s->depth = ring ? min_u((smem - s->at_ring) / (warps * s->stage), SR_SKINNY_DEPTH) : 0;
    s->depth = d->depth ? min_u(s->depth, d->depth) : s->depth;
    s->smem  = s->at_ring + warps * s->depth * s->stage;
}

size_t sr_skinny_scratch(const sr_skinny *s)
{
    return s->slices > 1 ? (size_t)s->slices * s->m * s->row_tiles * 16 * 4 : 0;
}

void sr_skinny_launch(const sr_skinny *s, bool pdl, cudaStream_t stream)
{
    cudaLaunchAttribute attr                        = {};
    cudaLaunchConfig_t config                       = {};
    attr.id                                         = cudaLaunchAttributeProgrammaticStreamSerialization;
    attr.val.programmaticStreamSerializationAllowed = 1;
    config.gridDim                                  = dim3(s->grid, s->slices);
    config.blockDim                                 = dim3(32u << s->warps_log);
    config.dynamicSmemBytes                         = s->smem;
    config.stream                                   = stream;
    config.attrs                                    = &attr;
    config.numAttrs                                 = pdl ? 1 : 0;
    uint32_t format                                 = s->part[0].format;
    for (uint32_t i = 1; i < s->n_part; i++)
        format = s->part[i].format == format ? format : (uint32_t)SR_DTYPE_NONE;
    switch (tiles_of(s->m)) { /* a failure stays in cudaGetLastError() */
    case 1:
        (void)sr_skinny_start1(&config, s, format);
        break;
    case 2:
        (void)sr_skinny_start2(&config, s, format);
        break;
    case 4:
        (void)sr_skinny_start4(&config, s, format);
        break;
    default:
        (void)sr_skinny_start8(&config, s, format);
        break;
    }
}

/* ---- the op
 * ------------------------------------------------------------------------------------------------ */

static const uint32_t *true_rows(const sr_slot *slot, const sr_shape *count)
{
    return slot->rows == SR_ROWS_TOK   ? &count->tok
           : slot->rows == SR_ROWS_OUT ? &count->out
           : slot->rows == SR_ROWS_SEQ ? &count->seq
                                       : NULL;
}

bool sr_skinny_gather(const sr_cudajob *j, sr_skinny *s)
{
    const sr_op *op    = j->op;
    const sr_slot *in  = &j->prog->slot[op->in[0]];
    uint32_t y0        = 0;
    const sr_wref *any = NULL;
    if (op->n_w > SR_SKINNY_PARTS)
        return false;
    for (uint32_t k = 0; k < op->n_w; k++) {
        const sr_wref *w = &j->weight[op->w + k];
        if (w->p && w->n_row) {
            uint32_t depth = sr_tile_cols(w->format);
            if (w->layout != SR_LAYOUT_MMA16 || (any && (any->col0 != w->col0 || any->n_col != w->n_col)))
                return false;
            any              = w;
            sr_skinnypart *p = &s->part[s->n_part++];
            const sr_wref *b = op->flags & SR_F_BIAS ? &j->weight[op->w + op->n_w + k] : NULL;
            p->p             = (const uint8_t *)w->p;
            p->bias          = b && b->p ? (const float *)b->p + w->row0 - b->row0 : NULL;
            p->tile0         = s->row_tiles;
            p->y0            = y0 + w->row0;
            p->format        = w->format;
            p->tiles_k       = w->n_col / depth;
            s->row_tiles += w->n_row / 16;
        }
        y0 += j->prog->weight[op->w + k].rows;
    }
    if (!any)
        return true;
    s->x        = (const float *)j->slot[op->in[0]] + any->col0;
    s->x_stride = in->width;
    s->cols     = any->n_col;
    s->blocks_k = div_up(any->n_col, 256);
    s->width    = j->prog->slot[op->out[0]].width;
    s->y        = (float *)j->slot[op->out[0]];
    s->z        = op->epilogue == SR_NONE ? NULL : (const float *)j->slot[op->epilogue];
    s->count    = true_rows(in, j->count);
    return true;
}

static sr_skinnydev dev_of(const sr_cudainfo *d)
{
    sr_skinnydev v = {d->arch, d->sms, d->smem_block, 0, 0};
    return v;
}

/* Whether an op's products are in pairs (gemm90.h). */
static bool paired(const sr_cudajob *j, const sr_op *op, const sr_skinny *s)
{
    for (uint32_t k = 0; k < s->n_part; k++)
        if (!sr_in_pairs((uint16_t)s->part[k].format))
            return false;
    return sr_small(j->prog, op, j->dev->pairs);
}

static bool has_gemm90(const sr_cudainfo *d) { return d->arch == 90 && !d->deterministic; }
static bool many(const sr_cudainfo *d, uint32_t rows) { return rows >= SR_GEMM90_LEAST && has_gemm90(d); }
static bool by_gemm90(const sr_cudajob *j, uint32_t rows) { return many(j->dev, rows) || (rows && j->alike); }

/* x: NULL, or where the inputs come from (x, from, norm, eps, x_stride). */
static void multiply_many(const sr_cudajob *j, const sr_skinny *s, uint32_t rows, const sr_gemm90x *fed)
{
    sr_gemm90 g  = {};
    sr_gemm90x x = {};
    sr_gemm90part part[SR_SKINNY_PARTS];
    g.m        = rows;
    g.pairs    = paired(j, j->op, s);
    g.alike    = j->alike;
    g.z        = s->z;
    g.y        = s->y;
    g.count    = s->count;
    g.width    = s->width;
    g.blocks_k = s->blocks_k;
    x.x        = s->x;
    x.x_stride = s->x_stride;
    if (fed)
        x = *fed;
    x.cols = s->cols;
    for (uint32_t i = 0; i < s->n_part; i++) {
        const sr_skinnypart *p = &s->part[i];
        const uint32_t behind  = i + 1 < s->n_part ? s->part[i + 1].tile0 : s->row_tiles;
        part[i]                = {p->p, p->bias, 0, behind - p->tile0, p->tiles_k, p->y0, p->format, 0};
    }
    uint32_t all = 0;
    for (uint32_t i = 0; i < s->n_part; i++)
        all |= 1u << s->part[i].format;
    sr_gemm90_place(&g, &x, (char *)j->scratch + SR_CUDA_COUNTERS);
    x.pieces = sr_gemm90_exact(x.n, all);
    sr_gemm90_image(&x, j->dev->pdl, j->stream);
    for (uint32_t i = 0, formats; i < s->n_part; i += g.n_part) {
        g.n_part = sr_gemm90_share(part + i, s->n_part - i, &formats);
        for (uint32_t k = 0; k < g.n_part; k++)
            g.part[k] = part[i + k];
        formats |= g.pairs ? SR_GEMM90_PAIRS : 0;
        sr_gemm90_plan(&g, formats, j->dev);
        sr_gemm90_multiply(&g, formats, j->dev->pdl, j->stream);
    }
}

/* Parts of one format in a launch; parts that want another form of x have it made when it is their turn, unless it is `fed`: what that is made
 * of may lie where y is written.  False: nothing was launched. */
static bool multiply_tiled(const sr_cudajob *j, const sr_skinny *s, uint32_t rows, const sr_gemm_mmax *fed)
{
    sr_gemm_mmaway way[SR_SKINNY_PARTS];
    for (uint32_t i = 0; i < s->n_part; i++) {
        way[i] = sr_gemm_mma_way(j->dev, s->part[i].format, rows);
        if (!way[i].form || (fed && way[i].form != way[0].form))
            return false;
    }
    sr_gemm_mmax x = {};
    x.x            = s->x;
    x.x_stride     = s->x_stride;
    if (fed)
        x = *fed;
    x.m     = rows;
    x.cols  = s->cols;
    x.count = s->count;
    for (uint32_t i = 0; i < s->n_part;) {
        sr_gemm_mma g = {};
        if (x.form != way[i].form) {
            x.form = way[i].form;
            sr_gemm_mma_place(&x, (char *)j->scratch + SR_CUDA_COUNTERS);
            sr_gemm_mma_image(&x, j->stream);
        }
        g.format    = s->part[i].format;
        g.form      = way[i].form;
        g.row_tiles = way[i].row_tiles;
        g.n         = way[i].n;
        g.tiles_k   = s->part[i].tiles_k;
        g.cols      = s->cols;
        g.image     = x.image;
        g.beside    = x.beside;
        g.scale     = x.scale;
        g.z         = s->z;
        g.y         = s->y;
        g.count     = s->count;
        g.m         = rows;
        g.width     = s->width;
        g.arch      = (uint32_t)j->dev->arch;
        for (; i < s->n_part && s->part[i].format == g.format; i++) {
            const sr_skinnypart *p = &s->part[i];
            const uint32_t behind  = i + 1 < s->n_part ? s->part[i + 1].tile0 : s->row_tiles;
            g.part[g.n_part++]     = {p->p, p->bias, 0, behind - p->tile0, p->y0};
        }
        sr_gemm_mma_multiply(&g, j->stream);
    }
    return true;
}

void sr_linear_mma_launch(const sr_cudajob *j)
{
    sr_skinny s    = {};
    sr_skinnydev d = dev_of(j->dev);
    uint32_t rows  = sr_slot_rows(&j->prog->slot[j->op->in[0]], j->n);
    if (!sr_skinny_gather(j, &s)) {
        sr_linear_plain_launch(j);
        return;
    }
    if (!s.n_part)
        return;
    if (by_gemm90(j, rows)) {
        multiply_many(j, &s, rows, NULL);
        return;
    }
    if (multiply_tiled(j, &s, rows, NULL))
        return;
    s.alike   = j->dev->deterministic;
    s.arrived = (uint32_t *)j->scratch;
    s.partial = (float *)((char *)j->scratch + SR_CUDA_COUNTERS);
    for (s.row0 = 0; s.row0 < rows; s.row0 += SR_SKINNY_COLS) {
        s.m = min_u(rows - s.row0, SR_SKINNY_COLS);
        sr_skinny_plan(&s, &d, j->dev->deterministic ? (uint32_t)SR_SKINNY_COLS : s.m);
        sr_skinny_launch(&s, j->dev->pdl && j->dev->arch >= 90, j->stream);
    }
}

static_assert((int)SR_GEMM90_NORM == (int)SR_GEMM_MMA_NORM && (int)SR_GEMM90_SILU == (int)SR_GEMM_MMA_SILU && (int)SR_GEMM90_GELU == (int)SR_GEMM_MMA_GELU);

/* A norm, or a gated unit, and the product of many rows behind it, of whose input nothing but the kernels' form is written. */
extern "C" uint32_t sr_fed_linear_cuda(const sr_cudajob *j, uint32_t op, uint32_t end)
{
    const sr_program *p = j->prog;
    const sr_op *o      = &p->op[op];
    sr_cudajob next     = *j;
    sr_gemm90x x        = {};
    sr_skinny s         = {};
    if (op + 1 >= end || !sr_passes(p, op) || o->dim[0] % 64)
        return 0;
    uint32_t rows = sr_slot_rows(&p->slot[o->in[0]], j->n);
    if (sr_whole_norm(p, o)) {
        x.from = SR_GEMM90_NORM;
        x.norm = (const float *)j->weight[o->w].p;
        x.eps  = o->f[0];
    } else if (o->code == SR_OP_GLU && o->dim[0] == p->slot[o->out[0]].width && 2 * o->dim[0] == p->slot[o->in[0]].width)
        x.from = o->flags & SR_F_GELU ? SR_GEMM90_GELU : SR_GEMM90_SILU;
    else
        return 0;
    next.op = &p->op[op + 1];
    if ((uintptr_t)x.norm % 16 || !sr_skinny_gather(&next, &s) || !s.n_part || s.cols != o->dim[0])
        return 0;
    x.x        = (const float *)j->slot[o->in[0]];
    x.x_stride = p->slot[o->in[0]].width;
    if (by_gemm90(j, rows)) {
        if (o->dim[0] > SR_GEMM90_KEPT)
            return 0;
        multiply_many(&next, &s, rows, &x);
        return 2;
    }
    sr_gemm_mmax t = {};
    t.x            = x.x;
    t.norm         = x.norm;
    t.eps          = x.eps;
    t.from         = x.from;
    t.x_stride     = x.x_stride;
    return multiply_tiled(&next, &s, rows, &t) ? 2 : 0;
}

/* The most partial sums of any number of rows: more rows need more slices. */
size_t sr_linear_mma_scratch(const sr_cudainfo *d, const sr_program *p, const sr_op *op, const sr_shape *max)
{
    sr_skinnydev v = dev_of(d);
    uint32_t rows  = sr_slot_rows(&p->slot[op->in[0]], max);
    size_t most    = 0;
    for (uint32_t m = 1; m <= min_u(rows, SR_SKINNY_COLS); m++) {
        sr_skinny s = {};
        for (uint32_t k = 0; k < op->n_w && k < SR_SKINNY_PARTS; k++) {
            s.part[s.n_part++].format = p->weight[op->w + k].format;
            s.row_tiles += div_up(p->weight[op->w + k].rows, 16);
        }
        s.m        = m;
        s.blocks_k = div_up(op->dim[0], 256);
        sr_skinny_plan(&s, &v, d->deterministic ? (uint32_t)SR_SKINNY_COLS : m);
        size_t bytes = sr_skinny_scratch(&s);
        most         = bytes > most ? bytes : most;
    }
    const bool pairs = sr_small(p, op, d->pairs); /* whatever their formats become while loading */
    size_t gemm      = many(d, rows) || (pairs && has_gemm90(d) && max->seq > 1) ? sr_gemm90_scratch(rows, op->dim[0], pairs)
                       : d->arch < 90 && !d->deterministic ? sr_gemm_mma_scratch(rows, op->dim[0])
                                                           : 0;
    size_t chain     = many(d, rows) && d->chains ? sr_chain_few_scratch(op->dim[0]) : 0;
    most             = chain > most ? chain : most;
    return SR_CUDA_COUNTERS + (gemm > most ? gemm : most);
}

bool sr_linear_mma_supports(const sr_cudainfo *d, const sr_program *p, const sr_op *op)
{
    (void)d;
    for (uint32_t k = 0; k < op->n_w; k++)
        if (!sr_tile_cols(p->weight[op->w + k].format))
            return false;
    return op->n_w <= SR_SKINNY_PARTS && op->dim[1] <= SR_CUDA_TICKETS * 16;
}
