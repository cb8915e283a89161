/* mix.h - which number format each tensor of a file gets: the mixtures people know by name.
 *
 * "Q4_K_M" is not one format: the head, and the value and down projections of some layers, get more bits.
 * The choices are those of llama.cpp's llama-quantize (v0.5.0, without importance matrix), so that a file of
 * ours has the same bytes per layer and compares one to one.  One difference: where a row is not whole blocks
 * of 256 it falls back to Q5_0 or Q5_1, which we do not read; here such a tensor gets Q8_0.  Not there: what
 * it does for models of eight experts and for Falcon.
 *
 * Threads: any, pure functions.
 * Source:  llama.cpp src/llama-quant.cpp, read as a specification; mix_test.c holds its answers.
 */
#ifndef SR_FORMAT_MIX_H
#define SR_FORMAT_MIX_H
#include <stdbool.h>
#include <stdint.h>
#include "ops/quant/quant.h"

typedef enum {
    SR_MIX_PURE,   /* every matrix gets base */
    SR_MIX_HEAD,   /* the head gets Q6_K, or Q8_0 where the base is */
    SR_MIX_SMALL,  /* and a few layers one step more */
    SR_MIX_MEDIUM  /* and half the layers two steps more */
} sr_mixlevel;

typedef struct {
    const char *name;  /* "Q4_K_M" */
    sr_dtype    base;  /* what most matrices get */
    uint32_t    ftype; /* general.file_type */
    sr_mixlevel level;
} sr_mix;

typedef struct {
    const char *arch; /* general.architecture */
    uint32_t    n_layer, n_head, n_head_kv;
    bool        tied; /* no output.weight: the embedding is the head */
} sr_mixmodel;

const sr_mix *sr_mix_find(const char *name); /* any case; NULL: unknown */
const sr_mix *sr_mix_at(unsigned i);         /* i-th by increasing size, then NULL */

/* SR_DTYPE_NONE: not a matrix, leave it as it is (norms, biases, rope factors). */
sr_dtype sr_mix_dtype(const sr_mix *mix, const sr_mixmodel *m, const char *tensor, uint32_t n_dims, const uint64_t *ne);
#endif
