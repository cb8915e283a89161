/* expcode.h - BF16 without loss in fewer bytes: exponents coded, sign and mantissa as they are.
 *
 *     "SRX1" | u32 numbers | u32 numbers in a block | lengths of the 256 exponents' codes, 4 bits each | u32 ends[blocks]
 *            | sign and mantissa [numbers], 8 bits each | codes of block 0 | codes of block 1 ..
 *
 * Exponents of trained weights hold some 2.6 of their 8 bits.  The code is a canonical prefix code of at most 12 bits: one table of 4096
 * entries decodes a number a look.  Blocks begin at bytes and are decoded each by itself, in any order, by any thread (or warp): ends[i] is
 * the byte behind block i's codes.  Integers are little-endian.
 *
 * Owns:    nothing.   Threads: any.
 * Errors:  SR_INVALID: what a damaged text breaks, with where; every read is within its bytes.  SR_NOMEM.
 * Source:  Huffman 1952; DFloat11 (Zhang et al. 2025).
 */
#ifndef SR_FORMAT_EXPCODE_H
#define SR_FORMAT_EXPCODE_H
#include "base/buf.h"
#include "base/err.h"
#include <stdint.h>

enum { SR_EXPCODE_BITS = 12, SR_EXPCODE_BLOCK = 4096 };

typedef struct {                    /* an encoded text, checked and ready */
    const uint8_t *raw, *code;
    const uint8_t *ends;
    uint32_t       n, block, n_block;
    uint16_t       table[1 << SR_EXPCODE_BITS]; /* by the next 12 bits: exponent << 4 | length */
} sr_expcode;

/* Appends the encoded text of n numbers. */
SR_MUSTUSE sr_status sr_expcode_encode(const uint16_t *v, uint32_t n, sr_buf *out, sr_err *err);
SR_MUSTUSE sr_status sr_expcode_open(const void *p, size_t bytes, sr_expcode *out, sr_err *err); /* p is borrowed */
/* Numbers [i * block, ..) of block i, at most x->block of them, to out. */
SR_MUSTUSE sr_status sr_expcode_block(const sr_expcode *x, uint32_t i, uint16_t *out, sr_err *err);
#endif
