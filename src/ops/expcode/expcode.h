/* expcode.h - BF16 and F16 without loss in fewer bytes: the upper part of each number coded, the lower part as it is.
 *
 *     32 B   "SRX2" | u32 numbers | u32 numbers in a block | u32 format | u32 words of codes | 0 0 0
 *     8192 B table: by the next 12 bits, symbol << 4 | length of its code; 0: no code begins so
 *     u32 ends[blocks], to the next 16 bytes | lower parts [numbers], 8 bits each, to the next 16 bytes | words of codes | 32 B of 0
 *
 *             symbol             lower part
 *     BF16    the exponent       sign, mantissa
 *     F16     the upper byte     the lower byte: eight bits of the mantissa
 *
 * Exponents of trained weights hold some 2.6 of their 8 bits, upper bytes of F16 5.6 of 8.  The code is a canonical prefix code of at most
 * 12 bits: one table decodes a number a look.  Codes fill words from the top; a block's begin at a word and ends[i] is the one behind
 * them, so blocks are decoded each by itself, in any order, by any thread.  Integers are little-endian; a text begins at 16 bytes.
 * Blocks are as small as a device's many threads want them: 1024 numbers cost 6 bytes of ends and of words not filled, 0.4 %.
 *
 * The table is sent instead of the codes' lengths because a device has no time to make it.  What is behind the end is for readers that
 * look 32 bytes ahead.
 *
 * Owns:    nothing.   Threads: any.
 * Errors:  SR_INVALID: what a damaged text breaks, with where; every read is within its bytes.  SR_UNSUPPORTED: the format.  SR_NOMEM.
 * Source:  Huffman 1952; DFloat11 (Zhang et al. 2025).
 */
#ifndef SR_OPS_EXPCODE_H
#define SR_OPS_EXPCODE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"

enum { SR_EXPCODE_BITS = 12, SR_EXPCODE_BLOCK = 1024, SR_EXPCODE_ALIGN = 16, SR_EXPCODE_HEAD = 32, SR_EXPCODE_TABLE = 1 << SR_EXPCODE_BITS,
       SR_EXPCODE_BEHIND = 32 };

typedef struct {                    /* an encoded text, checked and ready; borrows its bytes */
    const uint8_t  *raw, *code;
    const uint8_t  *ends, *table;   /* u32, u16 */
    uint32_t        n, block, n_block, words;
    uint16_t        format;
} sr_expcode;

typedef struct {                    /* the code that some numbers get */
    uint16_t format;
    uint16_t code[256];
    uint8_t  length[256];           /* 0: does not occur */
    double   bits;                  /* a number, with its lower part */
    size_t   bytes;                 /* no more than these will be written */
} sr_expmake;

#ifdef __cplusplus
extern "C" {
#endif
bool sr_expcode_knows(uint32_t format);
/* The code of n numbers; step > 1: of every step-th run of 64 of them, to know soon what about they will take. */
SR_MUSTUSE sr_status sr_expcode_plan(uint32_t format, const uint16_t *v, size_t n, uint32_t step, sr_expmake *, sr_err *);
size_t sr_expcode_write(const sr_expmake *, const uint16_t *v, size_t n, void *dst); /* planned with step 1, dst at 16 bytes; bytes written */
SR_MUSTUSE sr_status sr_expcode_encode(uint32_t format, const uint16_t *v, uint32_t n, sr_buf *out, sr_err *err); /* both; out is empty */

SR_MUSTUSE sr_status sr_expcode_open(const void *p, size_t bytes, sr_expcode *out, sr_err *err);
/* Numbers [i * block, ..) of block i, at most x->block of them, to out. */
SR_MUSTUSE sr_status sr_expcode_block(const sr_expcode *x, uint32_t i, uint16_t *out, sr_err *err);

#ifdef __cplusplus
}
#endif

/* Offsets in a text. */
#ifdef __CUDACC__
#define SR_EXPCODE_FN static __host__ __device__ inline
#else
#define SR_EXPCODE_FN static inline
#endif
SR_EXPCODE_FN size_t sr_expcode_up(size_t n) { return (n + SR_EXPCODE_ALIGN - 1) / SR_EXPCODE_ALIGN * SR_EXPCODE_ALIGN; }
SR_EXPCODE_FN size_t sr_expcode_ends(void) { return SR_EXPCODE_HEAD + 2 * SR_EXPCODE_TABLE; }
SR_EXPCODE_FN size_t sr_expcode_raw(size_t blocks) { return sr_expcode_ends() + sr_expcode_up(4 * blocks); }
SR_EXPCODE_FN size_t sr_expcode_codes(size_t blocks, size_t n) { return sr_expcode_raw(blocks) + sr_expcode_up(n); }
#endif
