/* attn_mma.h - what the tensor-core attention kernels are told, and how they are started.
 *
 * A row is a (token, query head of the group) pair of a kv head.  A sequence with up to split_rows rows in this step goes through the
 * decode kernel, which splits its positions over blocks; one with more goes through a prefill kernel.
 * Owns: nothing.   Threads: plain data; starts only launch.   Errors: returned; cudaGetLastError() has them, too. */
#ifndef SR_OPS_ATTN_MMA_H
#define SR_OPS_ATTN_MMA_H
#include "ops/cuda.h"
#include <cuda.h>

typedef struct {          /* in a step of a token a sequence: what is still to be done to its q, k and v */
    const float *cs;      /* the rotation's table; NULL: nothing, pages have k and v */
    const uint32_t *dst;  /* of this group: rows of pages for k and v */
    uint32_t half, neox;  /* pairs that turn; which they are (rope/rope.h) */
} sr_attnturn;

typedef struct {
    const float *qkv;                     /* k and v behind q; they are not looked at without a turn */
    uint8_t *form;                        /* decode but ALONE: of the chain that comes next (linear/chain_form.cuh), or NULL */
    uint32_t form_wide;                   /* 1: it is of more than eight rows */
    float *out, *partial;                 /* out: NULL where only a form is wanted; partial: [seq][kv head][chunk][splits][o rows x hd, m rows, l rows] */
    uint32_t *arrived, *ticket;           /* [seq][kv head][chunk]; items taken, blocks that found none: all zero between launches */
    const sr_shape *n;                    /* true counts */
    const uint32_t *seq, *table, *kv_len; /* table, kv_len: of this group */
    const uint64_t *tree;                 /* words of tokens (ops/tree.h); NULL: none is drafted, or each is alone in its sequence's step */
    sr_kvbind kv;
    sr_attnturn turn;
    struct {
        uint32_t page, layer, kv, head;
    } rows;                               /* strides of kv in rows: coordinates of the tensor map */
    uint32_t width, layer, group, kv_heads, window, max_pages;
    uint32_t page_runs, page_step;        /* runs of 16 positions of a page; from page to page, of one layer and head */
    uint32_t box_rows;                    /* of a box of the tensor map */
    uint32_t split_rows, chunks;          /* see above; a sequence's rows are split into so many chunks at most */
    uint32_t splits, least;               /* most splits of a sequence; positions of one, unless it is the last, while there are not SR_ATTN_FEW, or least is more */
    uint32_t items;                       /* (sequence, kv head, chunk), where each is a warp's; filled in by its start */
    uint32_t early;                       /* decode: the next kernel may begin before the previous one has ended */
    float scale, cap, soft;               /* soft: 2 scale log2 e / cap, 0 without cap */
    struct {
        uint32_t group, kv_heads, page_runs, splits, parts;
    } over;                               /* decode: what divided() takes instead of them; parts: kv_heads * chunks */
} sr_attnmma;

enum { SR_ATTN_LEAST = 128, SR_ATTN_FEW = 8 }; /* positions of a split; splits that may be shorter: more of them take longer to join than positions would */

enum {                 /* of a decode kernel */
    SR_ATTN_WIDE  = 1, /* 16 rows a chunk, not 8 */
    SR_ATTN_Q8    = 2, /* pages of Q8_0, not F16 */
    SR_ATTN_BULK  = 4, /* by bulk copies: sm_90 */
    SR_ATTN_ONE   = 8, /* few sequences: one block of eight warps a multiprocessor; with SR_ATTN_BULK, not SR_ATTN_WIDE */
    SR_ATTN_ALONE = 16, /* a warp for each (sequence, kv head, chunk), whose positions are not split; with SR_ATTN_BULK alone, head size 128 */
    SR_ATTN_BESIDE = 32, /* blocks of four warps that fit beside a chain's (linear/chain.h); with SR_ATTN_BULK alone, head sizes up to 128 */
    SR_ATTN_TWO    = 64 /* two runs of a warp under way, three blocks a multiprocessor; with SR_ATTN_BULK alone, head sizes up to 128.  With SR_ATTN_ONE, too:
                         * its bits by two blocks a multiprocessor, one run of a warp under way */
};

/* Decode: one file per head size.  Grid: splits, kv heads * chunks, sequences. */
cudaError_t sr_attn_decode_64(const sr_attnmma *a, cudaLaunchConfig_t c, uint32_t kind);
cudaError_t sr_attn_decode_80(const sr_attnmma *a, cudaLaunchConfig_t c, uint32_t kind);
cudaError_t sr_attn_decode_96(const sr_attnmma *a, cudaLaunchConfig_t c, uint32_t kind);
cudaError_t sr_attn_decode_128(const sr_attnmma *a, cudaLaunchConfig_t c, uint32_t kind);
cudaError_t sr_attn_decode_256(const sr_attnmma *a, cudaLaunchConfig_t c, uint32_t kind);

/* Prefill: one file per head size.  Grid: kv heads; blocks of 192 rows (256 up to head size 80, 48 above 128), for all rows and one more a
 * sequence. */
cudaError_t sr_attn_prefill_64(const sr_attnmma *a, cudaLaunchConfig_t c, bool q8);
cudaError_t sr_attn_prefill_80(const sr_attnmma *a, cudaLaunchConfig_t c, bool q8);
cudaError_t sr_attn_prefill_96(const sr_attnmma *a, cudaLaunchConfig_t c, bool q8);
cudaError_t sr_attn_prefill_128(const sr_attnmma *a, cudaLaunchConfig_t c, bool q8);
cudaError_t sr_attn_prefill_256(const sr_attnmma *a, cudaLaunchConfig_t c, bool q8);

/* Prefill on sm_90: one file per head size.  Grid: at most one block a multiprocessor.  Q8_0 needs no map. */
cudaError_t sr_attn_sm90_64(const sr_attnmma *a, cudaLaunchConfig_t c, const CUtensorMap *map, bool q8);
cudaError_t sr_attn_sm90_80(const sr_attnmma *a, cudaLaunchConfig_t c, const CUtensorMap *map, bool q8);
cudaError_t sr_attn_sm90_96(const sr_attnmma *a, cudaLaunchConfig_t c, const CUtensorMap *map, bool q8);
cudaError_t sr_attn_sm90_128(const sr_attnmma *a, cudaLaunchConfig_t c, const CUtensorMap *map, bool q8);
cudaError_t sr_attn_sm90_256(const sr_attnmma *a, cudaLaunchConfig_t c, const CUtensorMap *map, bool q8);
/* The pages as a tensor map, strides and boxes in rows; false: this layout cannot be told so. */
bool sr_attn_sm90_map(sr_attnmma *a, uint32_t hd, CUtensorMap *map);
#endif
