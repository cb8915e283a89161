/* chain.h - several products of a layer in one launch, from attention's output to the next layer's q, k, v.
 *
 *     ops      [linear o + x] [norm] [linear gate, up] [glu] [linear down + x] [norm] [linear q, k, v]
 *     chain     product 0     product 1: x normed, glu     product 2           product 3: x normed
 *
 * One block a multiprocessor stays for all of them; between two products all blocks meet at a counter.  Norms act
 * on x as it is read, a glu on sums as they are stored, so that neither is a pass of its own.  The ring of each
 * warp (skinny.h) does not end with a product: while a block waits for the others, and while attention runs
 * before the chain, the next product's weights are on their way, up to what shared memory holds (some 20 MB over
 * an H200, 5 us of its bandwidth).
 *
 * Blocks are clusters of two, twins.  With one row (but of small products) they have the same row tiles and half of their inputs each, so that a block
 * reads, rounds and keeps half of x; sums go to the twin that finishes their row tile.  With several rows each has row tiles of its own and makes half
 * of x ready for both; where x has no room beside the rings, the product is several links, each with some of its inputs, whose sums come together.
 * With one row of quantised weights memory and registers are left for a block of attention's, where the ring does not become too short by it:
 * attention then waits beside this chain for its end, and the next chain's blocks come as this one's leave, while attention runs.
 *
 * Three to eight rows (chain_few.cuh): whoever stores y writes with it what the next product multiplies, f16 with a factor for 16 inputs and row, so that
 * nobody else rounds x (chain_form.cuh).  Attention writes the first product's so, where it is launched with the rotation right before the chain (attn_mma.cu
 * asks, and says so in job->formed); else that product takes f32.  x tells whether it is there, so that blocks need not meet
 * between products (Q8_0's do).  Where that kernel has no room (a 70B; halves) up to four rows are chained as two are, more are not.
 *
 * Nine to sixteen rows (chain_sixteen.cuh): the same by wgmma, of K-quants, where the first x is in the form, so with a token a sequence.  Twins share the
 * inputs of every product.  Not where a cluster has more than 32 row tiles, or x goes round and there is a norm, or more than eight of them (a 70B).
 *
 * A chain is found in the ops of one submit: a run of LINEARs, each but the first fed by the one before it, with
 * nothing but a norm of whole rows or a glu between.  The slot between a norm or glu and its product is not
 * written: chains are used only where no other op reads it.  Everything else goes op by op, to the same results
 * within rounding: other architectures than sm_90's own code, deterministic devices, more than SR_CHAIN_SIXTEEN
 * rows, weights not whole and in tiles on the device, mixtures of formats without an instance, small products of three rows and more
 * (gemm90.h, pairs).
 *
 * All blocks must be resident at once: one chain runs on a device at a time (the backend sees to it).
 *
 * One row of small products (SR_CUDA_PAIRS) is two columns: its whole numbers of 15 bits, and as such numbers what they lack.  Alone it then has the
 * numbers that it has among others (gemm90.h, pairs).
 *
 * Owns:    nothing.   Threads: as cuda.h.   Errors: cudaGetLastError().
 */
#ifndef SR_OPS_LINEAR_CHAIN_H
#define SR_OPS_LINEAR_CHAIN_H
#include "ops/cuda.h"
#include "ops/linear/layout.h"

enum { SR_CHAIN_PRODUCTS = 4, SR_CHAIN_LINKS = 8, SR_CHAIN_PARTS = 3, SR_CHAIN_COLS = 4, SR_CHAIN_WARPS_LOG = 4 };
/* chain_few.cuh: fewest and most rows of x; bytes of 256 inputs of them; of a slot of sums; warps beside those that multiply. */
enum { SR_CHAIN_FEW_LEAST = 3, SR_CHAIN_FEW = 8, SR_CHAIN_FORM = 5120, SR_CHAIN_SLOT = 16384, SR_CHAIN_BESIDES = 4 };
/* chain_sixteen.cuh: most rows; bytes of x, its sums and factors in shared memory. */
enum { SR_CHAIN_SIXTEEN = 16, SR_CHAIN_X16 = 70144 };

/* What a kernel knows of a weight's tiles in a word: bytes of one, how many are a stage, format. */
#define SR_CHAIN_WHAT(bytes, chunk, format) ((bytes) | (chunk) << 16 | (uint32_t)(format) << 24)
#define SR_CHAIN_BYTES(what) ((what) & 0xffff)
#define SR_CHAIN_CHUNK(what) ((what) >> 16 & 0xff)
#define SR_CHAIN_FORMAT(what) ((what) >> 24)

/* Bytes of 256 inputs of x in shared memory: two each, and sums of them, which four columns of whole numbers do without (spread_int.cuh). */
#define SR_CHAIN_X(columns, halves) ((columns) * 64 * ((columns) == 4 && !(halves) ? 8 : 9))

typedef struct { /* a weight of a product */
    const uint8_t *p;
    const float *bias;                  /* or NULL */
    uint32_t tile0, y0;                 /* first row tile, in the product's count (absent: beyond all); column of y of its row 0 */
    uint32_t what, per;                 /* SR_CHAIN_WHAT; tiles to a 256-block */
} sr_chainpart;

typedef struct { /* a product, or some of its inputs */
    uint32_t rows_block, rows_extra;       /* row tiles of a block, of two with one row (with glu pairs of them); one more for the first rows_extra */
    uint32_t groups_log, blocks_k, cols;   /* log2 of a block's warps that share a row tile; 256-blocks of inputs; inputs */
    uint32_t row_k, later, more;           /* 256-blocks from row tile to row tile; 1: not the product's first inputs; not its last */
    uint32_t glu, glu_gelu;                /* 1: y = act(gate) * up of the two parts, whose row tiles go in turn */
    uint32_t width, x_stride;              /* of y and z; of x */
    float eps;
    const float *norm, *x, *z;             /* norm: weights of an RMS norm over x, or NULL; z: as y, or NULL */
    float *y;
    sr_chainpart part[SR_CHAIN_PARTS];
    uint32_t n_part, row_tiles, at_sums;   /* at_sums: offset in shared memory */
    /* of chain_few.cuh */
    uint32_t halved, k_at[3];              /* 1: the two blocks of a cluster share the inputs, 256-blocks from k_at[which] on; rows_block is a cluster's */
    uint32_t unread;                       /* 1: nobody but the next product reads y */
    uint32_t again, z_behind;              /* 1: a later product adds to y; the product behind whose end z is read, counted from 1, 0: none of this chain */
    const uint8_t *from;                   /* x in the form that the product before has written, or NULL */
    uint8_t *to;                           /* that of the next product, or NULL */
    const float *norm_next;                /* weights of the norm that it begins with, or NULL */
} sr_chainlink;

typedef struct {
    uint32_t n, blocks, m, pair;           /* links; blocks; columns: rows of x, but that pair 1 is one row in two of them */
    uint32_t twin;                         /* 1: blocks are clusters of two */
    uint32_t stage, depth, first;          /* a warp's ring: bytes of a stage, stages, how many are asked for before x, which comes the later the more */
    uint32_t beside;                       /* 1: SR_CUDA_BESIDE bytes are left */
    uint32_t at_scale, at_squares, at_bar, at_ring, smem; /* offsets in shared memory; x lies at 0 */
    uint32_t few, slots, at_there, twice_1024; /* chain_few.cuh: 1: its kernel, 2: that of chain_sixteen.cuh; slots of sums, at 0; offset of the twin's sums; as sr_gemm90's */
    uint8_t *forms;                        /* chain_few.cuh: the products' x but the first one's, so many bytes */
    uint32_t form_bytes;
    const uint32_t *count;                 /* device: true rows of this step */
    uint32_t *meet;                        /* device: counter of the blocks' meetings (SR_CUDA_MEET) */
    sr_chainlink link[SR_CHAIN_LINKS];
} sr_chain;

/* NULL: no instance knows all these formats.  chain_k.cu, chain_0.cu, chain_h.cu have the instances of chain.cuh (one row) and chain_rows.cuh. */
typedef cudaError_t (*sr_chainstart)(const cudaLaunchConfig_t *, const sr_chain *);
sr_chainstart sr_chain_start_k(uint32_t formats), sr_chain_start_0(uint32_t formats), sr_chain_start_h(uint32_t formats);
sr_chainstart sr_chain_start_few(uint32_t formats), sr_chain_start_sixteen(uint32_t formats); /* chain_few.cuh, chain_sixteen.cuh */
/* Cuts the products of `found` up for chain_few.cuh; false: it has none of this shape.  chain_few_plan.cu */
bool sr_chain_few_plan(const sr_chain *found, const sr_cudainfo *d, sr_chain *c);
bool sr_chain_sixteen_plan(const sr_chain *found, const sr_cudainfo *d, sr_chain *c); /* for chain_sixteen.cuh */
/* Bytes of scratch behind the counters that such a chain wants of an op with so many inputs; what its products hand on to each other, and where that is put.
 * formed: x of the first one lies at scratch already (chain_form.cuh). */
size_t sr_chain_few_scratch(uint32_t cols);
void sr_chain_few_place(sr_chain *c, void *scratch, bool formed);
#endif
