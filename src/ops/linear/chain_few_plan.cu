/* chain_few_plan: host side of chain_few.cuh and chain_sixteen.cuh: how a chain's products are cut up where x is written by the product before. */
#include "ops/linear/chain.h"
#include "ops/linear/cut.h"

enum {
    WARPS  = 1 << SR_CHAIN_WARPS_LOG,
    TILES  = 32,   /* most row tiles of a block: a warp's lanes know one each */
    SLOTS  = 3,    /* slots of sums that come round: one is written, one still by others, one is added up; with two all wait (notes/0057) */
    LEAST  = 2,    /* stages of a ring at least, and at most */
    MOST   = 6,
    MOST16 = 12,   /* of a quarter of their bytes, in chain_sixteen.cuh */
    AHEAD  = 2,    /* stages asked for before x */
    LONG   = 4,    /* stages of a ring of which one more is asked for: 0.6 us less of a layer of 8B Q4_K, but 0.7 more with Q6_K, whose ring has three */
    GROUPS = 3,    /* log2 of the groups of warps at least: half of them have every second row tile then */
    HALVED = 32,   /* 256-blocks of inputs beyond which two blocks share them: half as much of x to bring, and 256 of a warp's two times instead of four */
};

/* 256-blocks of inputs of a block. */
static uint32_t most_of(const sr_chainlink *s) { return max_u(s->k_at[1], s->k_at[2] - s->k_at[1]); }

/* Row tiles and inputs of a product; the slots of sums it wants, 0: it cannot be had. */
static uint32_t cut(sr_chainlink *s, uint32_t blocks)
{
    s->halved            = s->blocks_k > HALVED && !s->norm && !s->glu && blocks % 2 == 0;
    const uint32_t unit  = s->row_tiles >> s->glu, sets = blocks >> s->halved;
    s->rows_block        = unit / sets;
    s->rows_extra        = unit % sets;
    s->k_at[0]           = 0;
    s->k_at[1]           = s->blocks_k >> s->halved;
    s->k_at[2]           = s->blocks_k;
    s->row_k             = s->blocks_k;
    s->groups_log        = GROUPS;
    while (s->groups_log < SR_CHAIN_WARPS_LOG && 1u << s->groups_log < most_of(s))
        s->groups_log++;
    const uint32_t rows = (s->rows_block + (s->rows_extra > 0)) << s->glu, pairs = div_up(rows, 2);
    if (rows > TILES || most_of(s) < 1u << GROUPS || s->width % 4)
        return 0;
    return pairs <= SLOTS || most_of(s) > WARPS ? pairs : (uint32_t)SLOTS;
}

/* Whether x of the next product is what this one makes, all of it. */
static bool joins(const sr_chainlink *s, const sr_chainlink *next)
{
    const uint32_t made = s->glu ? s->row_tiles / 2 * 16 : s->row_tiles * 16;
    return next->x == s->y && next->x_stride == s->width && next->cols == s->width && made == s->width;
}

/* Which products add to what product i makes: they wait until all blocks have made it. */
static void read_again(sr_chain *c, uint32_t i)
{
    for (uint32_t k = i + 1; k < c->n; k++)
        if (c->link[k].z && c->link[k].z == c->link[i].y) {
            c->link[i].again    = 1;
            c->link[k].z_behind = i + 1;
        }
}

bool sr_chain_few_plan(const sr_chain *found, const sr_cudainfo *d, sr_chain *c)
{
    const uint32_t smem = (uint32_t)d->smem_block - SR_BLOCK_OWN;
    uint32_t slots = 0, tile = 0;
    *c             = *found;
    c->few         = 1;
    c->blocks      = (uint32_t)d->sms;
    c->twice_1024  = 0x64006400;
    c->twin = c->beside = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        sr_chainlink *s     = &c->link[i];
        const uint32_t want = cut(s, c->blocks);
        if (!want || (i && (!joins(s - 1, s) || (s[-1].halved && s->halved))))
            return false;
        slots = max_u(slots, want);
        c->twin |= s->halved;
        for (uint32_t k = 0; k < s->n_part; k++) {
            if (s->part[k].per != 1 || s->part[k].y0 % 16)
                return false;
            tile = max_u(tile, SR_CHAIN_BYTES(s->part[k].what));
        }
    }
    c->slots      = slots;
    c->at_there   = slots * SR_CHAIN_SLOT;
    c->at_squares = c->at_there + slots * 512;
    c->at_bar     = c->at_squares + WARPS * 32u * SR_CHAIN_PRODUCTS;
    c->at_ring    = c->at_bar + up128(8 * (2 * MOST + 3 * slots + 1 + 2 * SR_CHAIN_PRODUCTS));
    c->stage      = WARPS * tile;
    c->depth      = c->at_ring < smem ? (smem - c->at_ring) / c->stage : 0;
    c->depth      = c->depth > MOST ? (uint32_t)MOST : c->depth;
    c->first      = AHEAD + (c->depth >= LONG);
    c->smem       = c->at_ring + c->depth * c->stage;
    for (uint32_t i = 0; i < c->n; i++)
        read_again(c, i);
    return c->depth >= LEAST;
}

/* Twins share the inputs of each product, a cluster has whole row tiles, and warpgroups are as busy where a quad of row tiles is full. */
static bool cut_sixteen(sr_chainlink *s, uint32_t blocks)
{
    const uint32_t unit = s->row_tiles >> s->glu, sets = blocks / 2;
    s->halved           = 1;
    s->rows_block       = unit / sets;
    s->rows_extra       = unit % sets;
    s->k_at[0]          = 0;
    s->k_at[1]          = s->blocks_k / 2;
    s->k_at[2]          = s->blocks_k;
    s->row_k            = s->blocks_k;
    const uint32_t rows = (s->rows_block + (s->rows_extra > 0)) << s->glu, most = most_of(s);
    if (rows > TILES || !s->rows_block || s->k_at[1] < 4 || s->width % 4) /* each cluster has row tiles, each warpgroup inputs */
        return false;
    return most <= 8 || (!s->norm && rows <= 8); /* x stays in shared memory, or goes round for each four row tiles */
}

bool sr_chain_sixteen_plan(const sr_chain *found, const sr_cudainfo *d, sr_chain *c)
{
    const uint32_t smem = (uint32_t)d->smem_block - SR_BLOCK_OWN;
    uint32_t tile       = 0;
    *c                  = *found;
    c->few              = 2;
    c->blocks           = (uint32_t)d->sms & ~1u;
    c->twice_1024       = 0x64006400;
    c->twin             = 1;
    c->beside           = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        sr_chainlink *s = &c->link[i];
        if (!cut_sixteen(s, c->blocks) || (i && !joins(s - 1, s)))
            return false;
        for (uint32_t k = 0; k < s->n_part; k++) {
            if (s->part[k].per != 1 || s->part[k].y0 % 16 || (s->glu && s->part[k].what != s->part[0].what))
                return false;
            tile = max_u(tile, SR_CHAIN_BYTES(s->part[k].what));
        }
    }
    c->slots      = SLOTS;
    c->at_squares = SR_CHAIN_X16 + c->slots * SR_CHAIN_SLOT;
    c->at_bar     = c->at_squares + 256 * SR_CHAIN_PRODUCTS;
    c->at_ring    = c->at_bar + up128(8 * (2 * MOST16 + 2 * c->slots + 1 + 3 * SR_CHAIN_PRODUCTS));
    c->stage      = 4 * tile;
    c->depth      = c->at_ring < smem ? (smem - c->at_ring) / c->stage : 0;
    c->depth      = c->depth > MOST16 ? (uint32_t)MOST16 : c->depth;
    c->first      = c->depth;
    c->smem       = c->at_ring + c->depth * c->stage;
    for (uint32_t i = 0; i < c->n; i++)
        read_again(c, i);
    return c->depth >= 4;
}

size_t sr_chain_few_scratch(uint32_t cols) { return (size_t)SR_CHAIN_PRODUCTS * div_up(cols, 256) * 2 * SR_CHAIN_FORM; }

/* A place for x of each product, that of the first one in front. */
void sr_chain_few_place(sr_chain *c, void *scratch, bool formed)
{
    const size_t form = (size_t)SR_CHAIN_FORM << (c->few == 2); /* of 256 inputs */
    uint8_t *at     = (uint8_t *)scratch + c->link[0].blocks_k * form;
    c->link[0].from = formed ? (const uint8_t *)scratch : NULL;
    c->forms        = at;
    for (uint32_t i = 1; i < c->n; i++) {
        sr_chainlink *s = &c->link[i - 1], *next = &c->link[i];
        s->to           = at;
        next->from      = at;
        s->norm_next    = next->norm;
        if (s->unread)
            s->y = NULL;
        at += next->blocks_k * form;
    }
    c->form_bytes = (uint32_t)(at - c->forms);
}
