/* layout.h - weights as tensor cores want them: tiles of 16 rows x 256 inputs, the same bytes as in the file.
 *
 * A lane reads its part of a tile with 16-byte loads and then holds the A operands of mma m16n8k16 (f16)
 * for it: no ldmatrix, so Turing and Hopper run the same loop.  Since a tile has exactly the bytes of its
 * 16 x 256 weights in the file, device slots, pinned memory and disk are interchangeable.
 *
 *   matrix   [row tile][k tile] tiles, one after the other; F16, BF16: k tiles of 64, else of 256
 *   lane     l = 4g + t holds rows g and g+8 and, of each 32 inputs, the eight 16s + 4t + 2h + e
 *            (s, h, e = 0, 1): element e of register h of mma step s, so that a step covers one Q6_K scale.
 *            Step s has the registers a0 = (row g, h 0), a1 = (row g+8, h 0), a2 = (row g, h 1),
 *            a3 = (row g+8, h 1); the B operand takes four consecutive activations per lane and step.
 *
 *   Q4_K  2304  nibbles 2048 | headers 16 x {d, dmin, scales[12]} as in the file
 *   Q5_K  2816  nibbles 2048 | headers 16 x 16 | fifth bits 512
 *   Q6_K  3360  nibbles 2048 | scales 16 x int8[16] | high pairs 1024 | d 16 x f16
 *   Q4_0  2304  nibbles 2048 | scales 16 x f16[8]
 *   Q8_0  4352  bytes 4096   | scales 16 x f16[8]
 *   F16   2048  64 inputs; BF16 the same
 *
 *   words    a word has codes of one row; byte 2e + h is that of (h, e), so that its even bytes are register h = 0 of f16 numbers, its odd
 *            ones h = 1, and all four are a register of int8 (mma m16n8k32), whose B has the same order: inputs 4t + 0, 2, 1, 3
 *   nibbles  [pair of 32-blocks j][lane][block 2j + 0, 1][row g, g+8] words of eight: low nibbles s 0, high nibbles s 1,
 *            so that w & 0x000f000f are the two f16 numbers q * 2^-24 of step 0 and w & 0x00f000f0 those of
 *            step 1 times 16: f16 subnormals, which tensor cores take at full speed; w & 0x0f0f0f0f are four int8 of step 0.
 *   fifth    [lane][j] words: bit of (block 2j + b, h, row, s, e) at 16e + 8h + 4s + 2b + row
 *   high     [j][lane][b] words: two bits of (h, row, s, e) at 16e + 8h + 4s + 2row
 *   bytes    [32-block][lane][s][row g, g+8] words: q + 128
 *   f16      [32-block][s][lane][h] pairs of words: (g), (g+8), elements e 0, 1 in halves
 *
 * Owns:    nothing.   Threads: pure functions.
 * Errors:  0 where the format or shape has no tiles (n % 16, cols % tile).
 * Source:  PTX ISA, mma.m16n8k16 fragments; the placing of the bits is ours.
 */
#ifndef SR_OPS_LINEAR_LAYOUT_H
#define SR_OPS_LINEAR_LAYOUT_H
#include "ops/quant/quant.h"

enum { SR_LAYOUT_FILE = 0, SR_LAYOUT_MMA16 = 1 }; /* sr_wref.layout */

/* Inputs and bytes of a tile; 0: the format has none. */
#ifdef __CUDACC__
__host__ __device__
#endif
static inline uint32_t sr_tile_cols(uint32_t format)
{
    return format == SR_F16 || format == SR_BF16 ? 64
           : format == SR_Q4_K || format == SR_Q5_K || format == SR_Q6_K || format == SR_Q4_0 || format == SR_Q8_0 ? 256 : 0;
}
#ifdef __CUDACC__
__host__ __device__
#endif
static inline uint32_t sr_tile_bytes(uint32_t format)
{
    return format == SR_Q4_K || format == SR_Q4_0 ? 2304
           : format == SR_Q5_K                    ? 2816
           : format == SR_Q6_K                    ? 3360
           : format == SR_Q8_0                    ? 4352
           : format == SR_F16 || format == SR_BF16 ? 2048 : 0;
}

#ifdef __cplusplus
extern "C" {
#endif
/* n rows of file blocks, in the order given, into tiles at dst; *layout says what was written.  Bytes
 * written. */
size_t sr_linear_cuda_pack(uint16_t format, uint32_t n, uint32_t cols, const void *const *row, void *dst, uint16_t *layout);
/* The inverse. */
size_t sr_linear_cuda_unpack(uint16_t format, uint32_t n, uint32_t cols, const void *src, void *const *row);
#ifdef __cplusplus
}
#endif
#endif
