/* op.h - the shared nouns: ops, slots, shapes, weight references, one step's inputs.  Plain data.
 *
 * A program is a flat array of 64-byte ops over slots; a slot has rows of a kind (per token, per wanted
 * output, per sequence, fixed) and a width.  Only the counts change from step to step, so there is no
 * graph and no shape inference.  Ops name weights by id (w, n_w: a run such as q,k,v); where a weight
 * lies, and which rows or columns of it a device computes, is in sr_wref.
 *
 *     program   [embed] [rope table] | [norm][linear qkv][rope][kvwrite][attn][linear o + x] ... | [gather][norm][linear head][sample]
 *     slots      x [tok][dim] f32      h, qkv, a, g ...                                            logits [out][vocab]
 *
 * Owns:    nothing; the compiler (model/) owns programs, the engine owns batches.
 * Threads: a program is read-only after compile.  A batch's contents change between steps only.
 */
#ifndef SR_OPS_OP_H
#define SR_OPS_OP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "ops/quant/quant.h"

#define SR_NONE 0xffffu

typedef enum {           /* what an op computes; the fields each uses are in its family's header */
    SR_OP_EMBED,         /* embed/:  out0[tok] = row batch.tok[tok] of weight w, decoded */
    SR_OP_NORM,          /* norm/:   RMS norm of column groups */
    SR_OP_LINEAR,        /* linear/: out0 = in0 . W^T (+ bias) (+ epilogue slot), n_w weights side by side */
    SR_OP_ROPETABLE,     /* rope/:   out0[tok] = cos, sin of pos * inv_freq */
    SR_OP_ROPE,          /* rope/:   rotate heads of in0 in place */
    SR_OP_KVWRITE,       /* kvio/:   K and V of in0 into the pages at batch.dst */
    SR_OP_ATTN,          /* attn/:   attention over the pages of each token's sequence, causal or along its path in a tree */
    SR_OP_GLU,           /* glu/:    out0 = act(gate) * up */
    SR_OP_ADD,           /* move/:   out0 = in0 + in1 (joins partial sums) */
    SR_OP_GATHER,        /* move/:   out0[out] = in0[batch.out[out]] */
    SR_OP_SAMPLE,        /* sample/: out0[out] = token, logprob and alternatives of logits in0 */
    SR_OP_COUNT
} sr_opcode;

typedef enum {            /* how many rows a slot has in this step */
    SR_ROWS_TOK,          /* shape.tok */
    SR_ROWS_PAIR,         /* shape.tok * experts used: (token, expert) pairs, sorted by expert */
    SR_ROWS_OUT,          /* tokens whose logits are wanted: << tok in prefill */
    SR_ROWS_SEQ,          /* one per sequence */
    SR_ROWS_FIXED         /* sr_slot.fixed */
} sr_rows;
typedef struct { uint32_t width, fixed; uint16_t dtype, rows; } sr_slot; /* [rows][width]; dtype F32 or I32 */
typedef struct { uint32_t tok, out, seq, pages; } sr_shape; /* this step, or the maximum; pages: per sequence */

typedef struct {                          /* 64 bytes, position independent: an interpreter kernel can read it */
    uint16_t code, flags, layer, unit;
    uint16_t in[4], out[3], epilogue;     /* slots; SR_NONE = absent */
    uint32_t w, n_w;                      /* weights w .. w+n_w-1: q,k,v,bias.. | gate,up; attn/kvio: KV group, layer in it */
    uint32_t dim[4];                      /* per family */
    float    f[4];                        /* eps, scale, soft-cap ... */
} sr_op;

enum {                                    /* sr_op.flags */
    SR_F_BIAS    = 1,                     /* LINEAR: n_w weights are followed by n_w f32 biases */
    SR_F_NEOX    = 2,                     /* ROPE: pairs (i, i + d/2); else (2i, 2i + 1) */
    SR_F_GELU    = 4                      /* GLU: tanh GELU instead of SiLU */
};

typedef enum {                            /* what a weight is for; precision policy and units go by it */
    SR_W_TOKEN_EMBD, SR_W_OUTPUT_NORM, SR_W_OUTPUT, SR_W_ROPE_FREQS,
    SR_W_ATTN_NORM, SR_W_ATTN_Q, SR_W_ATTN_K, SR_W_ATTN_V, SR_W_ATTN_Q_BIAS, SR_W_ATTN_K_BIAS, SR_W_ATTN_V_BIAS,
    SR_W_ATTN_Q_NORM, SR_W_ATTN_K_NORM, SR_W_ATTN_OUT, SR_W_ATTN_OUT_BIAS,
    SR_W_FFN_NORM, SR_W_FFN_GATE, SR_W_FFN_UP, SR_W_FFN_DOWN, SR_W_ROLES
} sr_role;

typedef struct {                          /* one weight of a program: what it is, not where it lies */
    uint16_t role, layer, format, unit;   /* layer SR_NONE: of no layer; unit: what it moves with */
    uint32_t rows, cols;                  /* as y[rows] = W[rows][cols] . x[cols]; vectors: rows = 1 */
} sr_weight;

typedef struct {              /* where one weight, or this device's share of it, lies */
    const void *p;            /* device memory, a stream slot, or pinned RAM read in place; NULL: not here */
    uint32_t    row0, n_row;  /* output rows this device computes; p points at row0 */
    uint32_t    col0, n_col;  /* input columns it holds (FFN down, tensor parallel): the result is a partial sum */
    uint16_t    format, layout; /* SR_Q4_K ...; 0 = blocks as in the file, else what pack() wrote */
    uint32_t    flags;        /* SR_W_HOST */
    size_t      stride;       /* bytes from row to row of blocks as in the file (a range of columns, in place); 0: rows follow each other */
} sr_wref;
enum { SR_W_HOST = 1 };       /* wref.flags: comes over the bus, choose the zero-copy variant */

typedef struct { size_t page, layer, kv, head, tok; } sr_kvstride; /* bytes; kernels know only these */
typedef struct {              /* a group of layers whose pages live together, as kernels see it */
    void       *base;         /* page p of layer l, K (0) or V (1), kv head h, position i in the page: base + p*page + l*layer + ... */
    sr_kvstride stride;
    uint32_t    page_tokens, kv_heads, dim_k, dim_v;
    uint16_t    format_k, format_v;
    uint16_t    turned;       /* 1: keys of sixteen positions lie as [dim][16] F16 where their sixteen rows would (SR_KV_TURN); else 0 */
} sr_kvbind;
enum { SR_KV_TURN = 16 };
enum { SR_KV_GROUPS = 4 };    /* most groups a program may have */

/* Sampling of one wanted row.  Rows lie first in the blob, their adjust lists behind them. */
typedef struct { int32_t tok; uint32_t count; float bias; } sr_adjust; /* occurrences in the penalty window, added bias */
typedef struct {
    float    temp, top_p, min_p, typical_p; /* temp <= 0: greedy; 1, 0, 1: off */
    float    rep_penalty, freq_penalty, pres_penalty;
    uint32_t top_k;                         /* 0: off */
    uint64_t seed;                          /* the draw for token t is philox(seed, choice, pos, t): no state */
    uint32_t choice, pos;
    uint32_t n_alt;                         /* alternatives wanted, <= SR_MAX_ALT */
    int32_t  given;                         /* >= 0: nothing is drawn, this token's logprob is wanted */
    uint32_t adjust, n_adjust;              /* byte offset in the blob, entries */
    uint32_t mask;                          /* byte offset of a bitmask [vocab/32] of allowed tokens; 0: all */
    uint32_t pad;
} sr_sampdev;
enum { SR_MAX_ALT = 20 };
typedef struct {                            /* what SAMPLE writes for a row: 43 words */
    int32_t  tok;
    float    logprob;                       /* of tok, under the model's own distribution: temperature 1, no filter */
    uint32_t n_alt;
    struct { int32_t tok; float logprob; } alt[SR_MAX_ALT]; /* most likely first */
} sr_sampled;

typedef struct {                 /* one step's inputs: DEVICE addresses, fixed for the plan's life, contents change */
    const sr_shape *n;           /* kernels read the true counts here; grids are sized by bucket */
    const int32_t  *tok;         /* [tok]; t < 0: the token that row -1-t of the previous step sampled */
    const int32_t  *pos;         /* [tok] rope position */
    const uint32_t *dst;         /* [groups][max tok] KV slot written: page * page_tokens + i; a sequence's rows one behind the other, whatever pos is */
    const uint64_t *tree;        /* [tok] what a drafted row sees of those drafted beside it: a word (tree.h); 0: it is not drafted; NULL: none is */
    const uint32_t *seq;         /* [seq+1] first token row of each sequence */
    const uint32_t *table;       /* [groups][max seq][max pages] sr_page */
    const uint32_t *kv_len;      /* [groups][max seq][2]: first visible position, end (this step's tokens included) */
    const uint32_t *out;         /* [out] token rows that go to the head */
    const uint16_t *adapter;     /* [seq] LoRA, 0 = none; NULL: no adapters */
    const void     *sampling;    /* [out] sr_sampdev, then lists */
    sr_kvbind       kv[SR_KV_GROUPS]; /* host values, read at bind */
} sr_batch;

typedef struct {                 /* layers whose pages live and die together; kv.h has the pool's side of it */
    uint32_t n_layers, kv_heads, dim_k, dim_v, window;
    uint16_t format_k, format_v;
} sr_kvshape;

typedef struct sr_program {
    const sr_op     *op;     uint32_t n_op;
    const sr_slot   *slot;   uint32_t n_slot;
    const sr_weight *weight; uint32_t n_weight;
    const uint32_t  *segment; uint32_t n_segment; /* first op of: embed, each layer, head; [n_segment] = n_op */
    sr_kvshape       kv[SR_KV_GROUPS]; uint32_t n_kv;
    uint32_t         page_tokens;
    uint16_t         logits, sampled, hidden;     /* slots */
} sr_program;

typedef struct { double bytes, flops; } sr_cost; /* that must be moved and done at least */

#ifdef __cplusplus
extern "C" {
#endif
/* The table of families: one row an opcode (op.c). */
const char *sr_op_name(uint32_t code);
sr_cost  sr_op_cost(const sr_program *p, uint32_t op, const sr_shape *n, uint32_t kv_tokens); /* kv_tokens: visible positions summed over sequences */
/* The same of ops [op, op + n) in one launch: what one of them writes for the next alone is neither written nor read. */
sr_cost  sr_group_cost(const sr_program *p, uint32_t op, uint32_t n_op, const sr_shape *n, uint32_t kv_tokens);
size_t   sr_op_scratch(const sr_program *p, uint32_t op, const sr_shape *max, uint32_t workers); /* bytes of working memory; workers: CPU threads, 1 on a GPU */
uint32_t sr_slot_rows(const sr_slot *s, const sr_shape *n);
size_t   sr_program_scratch(const sr_program *p, const sr_shape *max, uint32_t workers); /* all slots and the largest op scratch, aligned: what prepare() wants */
#ifdef __cplusplus
}
#endif

typedef char sr_op_is_64_bytes[sizeof(sr_op) == 64 ? 1 : -1];
typedef char sr_sampled_is_172_bytes[sizeof(sr_sampled) == 172 ? 1 : -1];
#endif
