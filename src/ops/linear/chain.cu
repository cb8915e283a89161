/* chain: host side: which ops become a chain, and how its products are cut up (those of chain_few.cuh: chain_few_plan.cu). */
#include "ops/linear/between.h"
#include "ops/linear/chain.h"
#include "ops/linear/cut.h"
#include "ops/linear/gemm90.h"
#include "ops/linear/linear_cuda.h"
#include "ops/linear/skinny.h"

static uint32_t twins_log(const sr_chain *c) { return c->m == 1; } /* log2 of the blocks that share row tiles and have some of their inputs each */
static uint32_t instance_cols(uint32_t m) { return m <= 2 ? m : (uint32_t)SR_CHAIN_COLS; } /* columns of the instance for m rows of x */

static uint32_t formats_of(const sr_chain *c)
{
    uint32_t formats = 0;
    for (uint32_t i = 0; i < c->n; i++)
        for (uint32_t k = 0; k < c->link[i].n_part; k++)
            formats |= 1u << SR_CHAIN_FORMAT(c->link[i].part[k].what);
    return formats;
}

/* ---- cutting up --------------------------------------------------------------------------------------------- */

enum {
    WARPS = 1 << SR_CHAIN_WARPS_LOG,
    SUMS  = 36 << 10, /* most bytes of sums: products with more rows (heads) are as well off by themselves */
    STAGE = 4608,     /* most bytes of a stage of more than one tile, and of what is asked for before x: two tiles of Q4_K */
    LARGE = 64 << 20, /* bytes of a chain's weights from which on four tiles on their way are better than two (notes/0051) */
    DEPTH = 2,        /* stages of a ring at least */
    MIXED = 3,        /* one row, a long chain of several formats: stages of one tile, if there are so many of them (notes/0060) */
    MOST  = 4,        /* and at most */
    HALVES = 1 << SR_F16 | 1 << SR_BF16
};

/* The groups of warps along the inputs with which the busiest warp has least to do; of equals the fewest, since each row
 * tile's end costs time. */
static uint32_t groups_log(const sr_chainlink *s, uint32_t twins)
{
    uint32_t rows = (s->rows_block + (s->rows_extra > 0)) << s->glu, best = 0, least = ~0u;
    for (uint32_t g = 0; g <= SR_CHAIN_WARPS_LOG && 1u << (g + twins) <= s->blocks_k; g++) {
        uint32_t most = div_up(s->blocks_k, 1u << (g + twins)) * div_up(rows, WARPS >> g);
        if (most < least) {
            least = most;
            best  = g;
        }
    }
    return best;
}

/* Stages of up to `most` bytes (one tile at least); the depth of the rings for which `room` bytes are left. */
static uint32_t cut_rings(sr_chain *c, uint32_t most, uint32_t room)
{
    c->stage = 0;
    for (uint32_t i = 0; i < c->n; i++)
        for (uint32_t k = 0; k < c->link[i].n_part; k++) {
            uint32_t *what = &c->link[i].part[k].what, bytes = SR_CHAIN_BYTES(*what), chunk = max_u(most / bytes, 1);
            *what    = SR_CHAIN_WHAT(bytes, chunk, SR_CHAIN_FORMAT(*what));
            c->stage = max_u(c->stage, up128(chunk * bytes));
        }
    c->depth = room / (WARPS * c->stage);
    if (c->depth > MOST)
        c->depth = MOST;
    c->first = max_u(STAGE / c->stage, 1);
    return c->depth;
}

/* The same, with room for a block of attention's beside if there may be one; false: fewer than `least` stages. */
static bool cut_memory(sr_chain *c, uint32_t most, uint32_t least, uint32_t room, bool may)
{
    c->beside = may && room > SR_CUDA_BESIDE && cut_rings(c, most, room - SR_CUDA_BESIDE) >= least;
    return c->beside || cut_rings(c, most, room) >= least;
}

/* A product of `found` into the chain: as a link, or where x is more than `most` 256-blocks as several, each with some of the inputs, whose
 * sums come together before anything else is done with them.  False: a norm needs all of x at once, or there are too many. */
static bool cut_inputs(const sr_chainlink *whole, uint32_t most, sr_chain *c)
{
    const uint32_t n = div_up(whole->blocks_k, most);
    if (c->n + n > SR_CHAIN_LINKS || (n > 1 && (whole->norm || c->m - c->pair == 1)))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        sr_chainlink *s  = &c->link[c->n++];
        const uint32_t k = whole->blocks_k * i / n;
        *s               = *whole;
        s->row_k         = whole->blocks_k;
        s->blocks_k      = whole->blocks_k * (i + 1) / n - k;
        s->cols          = s->blocks_k * 256;
        s->x             = whole->x + k * 256;
        s->later         = i > 0;
        s->more          = i + 1 < n;
        for (uint32_t j = 0; j < s->n_part; j++)
            s->part[j].p += (size_t)k * s->part[j].per * SR_CHAIN_BYTES(s->part[j].what);
    }
    return true;
}

/* The row tiles of a product, for a block or for twins, and its warps, the same for all of its links: `s` is the first, which has the fewest inputs.
 * Bytes of sums; 0: more row tiles than a warp's lanes can know. */
static uint32_t cut_rows(const sr_chain *c, sr_chainlink *s)
{
    const uint32_t unit = s->row_tiles >> s->glu, log = twins_log(c);
    s->rows_block       = unit / (c->blocks >> log);
    s->rows_extra       = unit % (c->blocks >> log);
    s->groups_log       = groups_log(s, log);
    const uint32_t most = s->rows_block + (s->rows_extra > 0), here = div_up(most, 1u << log) << s->glu;
    return div_up(most << s->glu, WARPS >> s->groups_log) > 32 ? 0 : here * instance_cols(c->m) * 64 << (s->groups_log + log);
}

/* Cuts the products of `found` up, with no more than `most` 256-blocks of x at a time, and lays shared memory out.  False: there is no room. */
static bool lay_out(const sr_chain *found, uint32_t most, const sr_cudainfo *d, sr_chain *c)
{
    const uint32_t smem = (uint32_t)d->smem_block - SR_BLOCK_OWN, columns = instance_cols(found->m);
    uint32_t x = 0, scale = 0, sums = 0, formats = formats_of(found);
    size_t bytes = 0;
    *c           = *found;
    c->n         = 0;
    c->blocks    = (uint32_t)d->sms & ~twins_log(c);
    for (uint32_t i = 0; i < found->n; i++) {
        const uint32_t first = c->n;
        if (!cut_inputs(&found->link[i], most, c))
            return false;
        sr_chainlink *s = &c->link[first];
        sums            = cut_rows(c, s);
        if (!sums || sums > SUMS || s->blocks_k >> twins_log(c) == 0)
            return false;
        for (uint32_t k = 0; k < s->n_part; k++) {
            const sr_chainpart *w = &s->part[k];
            bytes += (size_t)((k + 1 < s->n_part ? s->part[k + 1].tile0 : s->row_tiles) - w->tile0) * s->row_k * w->per * SR_CHAIN_BYTES(w->what);
        }
        const uint32_t longest = div_up(c->link[c->n - 1].blocks_k, 1u << twins_log(c));
        for (uint32_t k = first; k < c->n; k++) {
            sr_chainlink *l = &c->link[k];
            l->rows_block   = s->rows_block;
            l->rows_extra   = s->rows_extra;
            l->groups_log   = s->groups_log;
            l->at_sums      = up128(longest * SR_CHAIN_X(columns, formats & HALVES));
        }
        x     = max_u(x, s->at_sums + up128(sums));
        scale = max_u(scale, longest * columns * 4);
    }
    c->twin       = c->m == 1 || (c->m - c->pair > 1 && d->sms % 2 == 0 && !(formats & HALVES));
    c->at_scale   = x;
    c->at_squares = c->at_scale + up128(scale);
    c->at_bar     = c->at_squares + up128(2 * WARPS * 4);
    c->at_ring    = c->at_bar + up128(8 * (WARPS * MOST + 1) + 4 * WARPS);
    if (c->at_ring > smem)
        return false;
    const bool mixed = formats & (formats - 1), large = bytes >= LARGE, may = c->m - c->pair == 1 && !(formats & HALVES);
    const uint32_t room = smem - c->at_ring;
    if (!(large && mixed && c->m == 1 && cut_memory(c, 1, MIXED, room, may)) && !cut_memory(c, large && !mixed ? 1 : STAGE, DEPTH, room, may) &&
        cut_rings(c, 1, room) < DEPTH)
        return false;
    c->smem = c->at_ring + WARPS * c->depth * c->stage;
    return true;
}

/* With as much of x at a time as leaves room for the rings. */
static bool plan(const sr_chain *found, const sr_cudainfo *d, sr_chain *c)
{
    if (found->m > SR_CHAIN_FEW)
        return sr_chain_sixteen_plan(found, d, c) && sr_chain_start_sixteen(formats_of(found));
    if (found->m - found->pair >= SR_CHAIN_FEW_LEAST && sr_chain_few_plan(found, d, c) && sr_chain_start_few(formats_of(found)))
        return true;
    if (found->m > SR_CHAIN_COLS)
        return false;
    uint32_t longest = 0, normed = 1;
    for (uint32_t i = 0; i < found->n; i++) {
        longest = max_u(longest, found->link[i].blocks_k);
        normed  = max_u(normed, found->link[i].norm ? found->link[i].blocks_k : 1);
    }
    for (uint32_t n = 1; n <= SR_CHAIN_LINKS; n++)
        if (lay_out(found, max_u(div_up(longest, n), normed), d, c))
            return true;
    return false;
}

/* ---- finding ------------------------------------------------------------------------------------------------ */

/* Every row and input of every weight is here, in tiles. */
static bool whole(const sr_cudajob *j, const sr_op *o)
{
    for (uint32_t k = 0; k < o->n_w; k++) {
        const sr_wref *w   = &j->weight[o->w + k];
        const sr_weight *v = &j->prog->weight[o->w + k];
        if (!w->p || w->layout != SR_LAYOUT_MMA16 || w->row0 || w->n_row != v->rows || w->col0 || w->n_col != v->cols)
            return false;
    }
    return true;
}

/* Whether a row of x is a pair: whole numbers are, halves are not. */
static bool in_pairs(const sr_cudajob *j, const sr_op *o)
{
    for (uint32_t k = 0; k < o->n_w; k++)
        if (j->weight[o->w + k].format == SR_F16 || j->weight[o->w + k].format == SR_BF16)
            return false;
    return sr_small(j->prog, o, j->dev->pairs);
}

/* What the op multiplies and where it stores, into the chain's next product; false: not to be had. */
static bool gather(const sr_cudajob *j, const sr_op *o, sr_chain *c)
{
    sr_cudajob one  = *j;
    sr_skinny s     = {};
    sr_chainlink *a = &c->link[c->n];
    uint32_t m      = sr_slot_rows(&j->prog->slot[o->in[0]], j->n), pair = m == 1 && in_pairs(j, o);
    one.op          = o;
    if (!whole(j, o) || !sr_skinny_gather(&one, &s) || !s.n_part || s.n_part > SR_CHAIN_PARTS || !s.count || s.cols % 256 ||
        m == 0 || m > SR_CHAIN_SIXTEEN || (m >= SR_GEMM90_LEAST && sr_small(j->prog, o, j->dev->pairs)) || j->alike ||
        (c->n && (c->m != m + pair || c->pair != pair || c->count != s.count)))
        return false;
    *a           = sr_chainlink{};
    c->m         = m + pair;
    c->pair      = pair;
    c->count     = s.count;
    a->blocks_k  = s.blocks_k;
    a->cols      = s.cols;
    a->width     = s.width;
    a->x_stride  = s.x_stride;
    a->x         = s.x;
    a->z         = s.z;
    a->y         = s.y;
    a->n_part    = s.n_part;
    a->row_tiles = s.row_tiles;
    for (uint32_t k = 0; k < SR_CHAIN_PARTS; k++) {
        const sr_skinnypart *w = &s.part[k];
        a->part[k].p           = w->p;
        a->part[k].per         = k < s.n_part ? 256 / sr_tile_cols(w->format) : 0;
        a->part[k].bias        = w->bias;
        a->part[k].tile0       = k < s.n_part ? w->tile0 : ~0u;
        a->part[k].y0          = w->y0;
        a->part[k].what        = SR_CHAIN_WHAT(k < s.n_part ? sr_tile_bytes(w->format) : 0, 0, k < s.n_part ? w->format : 0);
    }
    return true;
}

/* Whether op g is the gated unit of product o, whose own output nobody else wants. */
static bool gates(const sr_program *p, const sr_op *o, const sr_op *g, uint32_t behind)
{
    return g->code == SR_OP_GLU && g->in[0] == o->out[0] && g->in[0] != g->out[0] && o->n_w == 2 && !(o->flags & SR_F_BIAS) &&
           o->epilogue == SR_NONE && p->weight[o->w].rows == p->weight[o->w + 1].rows && g->dim[0] == p->weight[o->w].rows &&
           !sr_read_later(p, behind, g->in[0], p->n_op);
}

/* Takes the product at op `i` into the chain, with a norm before it and a glu behind it if they are there; the number
 * of the op behind all, or 0: not to be had. */
static uint32_t take(const sr_cudajob *j, uint32_t i, uint32_t end, sr_chain *c)
{
    const sr_program *p = j->prog;
    const sr_op *norm   = NULL;
    sr_chainlink *a     = &c->link[c->n];
    if (i + 1 < end && sr_whole_norm(p, &p->op[i]) && sr_passes(p, i))
        norm = &p->op[i++];
    const sr_op *o = &p->op[i], *g = o + 1;
    if (i >= end || o->code != SR_OP_LINEAR || !gather(j, o, c))
        return 0;
    if (norm) {
        a->norm = (const float *)j->weight[norm->w].p;
        a->eps  = norm->f[0];
        a->x    = (const float *)j->slot[norm->in[0]];
        if (!a->norm || (uintptr_t)a->norm % 16)
            return 0;
    }
    if (i + 1 < end && gates(p, o, g, i + 2)) {
        a->glu      = 1;
        a->glu_gelu = (g->flags & SR_F_GELU) != 0;
        a->y        = (float *)j->slot[g->out[0]];
        a->width    = p->slot[g->out[0]].width;
        a->unread   = i + 2 < end && sr_passes(p, i + 1);
        i++;
    }
    return i + 1;
}

static sr_chainstart start_of(const sr_chain *c)
{
    const uint32_t formats = formats_of(c);
    if (c->few)
        return c->few == 2 ? sr_chain_start_sixteen(formats) : sr_chain_start_few(formats);
    sr_chainstart s = sr_chain_start_k(formats);
    s               = s ? s : sr_chain_start_0(formats);
    return s ? s : sr_chain_start_h(formats);
}

/* The longest chain from `op` on, cut up; the op behind it, or 0. */
static uint32_t find(const sr_cudajob *j, uint32_t op, uint32_t end, sr_chain *c)
{
    sr_chain found = {}, longer;
    uint32_t next = op, last = 0;
    while (found.n < SR_CHAIN_PRODUCTS && next < end) {
        uint32_t behind = take(j, next, end, &found);
        if (!behind)
            break;
        found.n++;
        if (!plan(&found, j->dev, &longer) || !start_of(&longer))
            break;
        *c   = longer;
        last = next = behind;
    }
    return last;
}

static bool may_begin(const sr_cudajob *j, uint32_t op)
{
    uint32_t code = j->prog->op[op].code;
    return j->dev->chains && !j->dev->deterministic && j->dev->sms > 1 && (code == SR_OP_LINEAR || code == SR_OP_NORM);
}

extern "C" bool sr_chain_beside_cuda(const sr_cudajob *j, uint32_t op, uint32_t end)
{
    sr_chain c = {};
    return op < end && may_begin(j, op) && find(j, op, end, &c) > op + 1 && c.beside;
}

extern "C" bool sr_chain_takes_form_cuda(const sr_cudajob *j, uint32_t op, uint32_t end, uint16_t slot)
{
    sr_chain c = {};
    if (!j->formed || op >= end || !may_begin(j, op) || find(j, op, end, &c) <= op + 1 || !c.few)
        return false;
    const sr_chainlink *a = &c.link[0];
    return !a->norm && a->x == j->slot[slot] && a->cols == j->prog->slot[slot].width && a->x_stride == a->cols;
}

extern "C" uint32_t sr_chain_cuda(const sr_cudajob *j, uint32_t op, uint32_t end)
{
    const sr_cudainfo *d = j->dev;
    if (!may_begin(j, op))
        return 0;
    sr_chain c      = {};
    uint32_t behind = find(j, op, end, &c);
    const bool formed = j->formed && *j->formed == op;
    if (behind <= op + 1 || (c.few == 2 && !formed)) /* a lone product: its own kernel is as good; sixteen rows have no way to an x in f32 */
        return 0;
    c.meet = (uint32_t *)j->scratch + SR_CUDA_MEET;
    if (c.few)
        sr_chain_few_place(&c, (char *)j->scratch + SR_CUDA_COUNTERS, formed);
    cudaLaunchAttribute attr[2] = {};
    cudaLaunchConfig_t config   = {};
    config.gridDim              = dim3(c.blocks);
    config.blockDim             = dim3(32 * (WARPS + (c.few ? SR_CHAIN_BESIDES : 0)));
    config.dynamicSmemBytes     = c.smem;
    config.stream               = j->stream;
    config.attrs                = attr;
    if (d->pdl) {
        attr[config.numAttrs].id                                           = cudaLaunchAttributeProgrammaticStreamSerialization;
        attr[config.numAttrs++].val.programmaticStreamSerializationAllowed = 1;
    }
    if (c.twin) {
        attr[config.numAttrs].id               = cudaLaunchAttributeClusterDimension;
        attr[config.numAttrs++].val.clusterDim = {2, 1, 1};
    }
    (void)start_of(&c)(&config, &c); /* a failure stays in cudaGetLastError() */
    return behind - op;
}
