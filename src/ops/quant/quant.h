/* quant.h - number formats of weights, activations and KV: block layouts, encode, decode.
 *
 * The formats are GGUF's: a row of n numbers is n/block blocks, each block its own scale.  The block
 * structs below are the bytes in the file, little-endian, no padding; .c and .cu share this header.
 * Type numbers are ggml's, so that a GGUF tensor type needs no table.
 *
 *   format  block  bytes  bits/w  value of weight i in the block
 *   Q4_0      32     18    4.5    d * (q - 8)
 *   Q8_0      32     34    8.5    d * q
 *   Q4_K     256    144    4.5    d * sc[j] * q - dmin * m[j]     j = i/32, sc and m 6 bits
 *   Q5_K     256    176    5.5    as Q4_K, q has a fifth bit
 *   Q6_K     256    210    6.56   d * sc[j] * (q - 32)            j = i/16, sc int8
 *   Q8_K     256    292    -      d * q; activations only: sums of 16 beside the quants
 *
 * Errors:  none; n must be a multiple of the block.  A block holding NaN or infinity is encoded with the
 *          scale NaN, so that it decodes to NaN instead of to something plausible.
 * Threads: any, pure functions.
 * Source:  GGUF and ggml's block formats (ggml/src/ggml-common.h, read as a specification).
 */
#ifndef SR_OPS_QUANT_H
#define SR_OPS_QUANT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    SR_F32  = 0,
    SR_F16  = 1,
    SR_Q4_0 = 2,
    SR_Q8_0 = 8,
    SR_Q4_K = 12,
    SR_Q5_K = 13,
    SR_Q6_K = 14,
    SR_Q8_K = 15, /* activations */
    SR_I32  = 26,
    SR_BF16 = 30,
    SR_DTYPE_NONE = 0xffff
} sr_dtype;

#pragma pack(push, 1)
typedef struct { uint16_t d; uint8_t qs[16]; } sr_q4_0;                  /* low nibbles: 0..15, high: 16..31 */
typedef struct { uint16_t d; int8_t qs[32]; } sr_q8_0;
typedef struct { uint16_t d, dmin; uint8_t scales[12], qs[128]; } sr_q4_K;
typedef struct { uint16_t d, dmin; uint8_t scales[12], qh[32], qs[128]; } sr_q5_K;
typedef struct { uint8_t ql[128], qh[64]; int8_t scales[16]; uint16_t d; } sr_q6_K;
typedef struct { float d; int8_t qs[256]; int16_t bsums[16]; } sr_q8_K;
#pragma pack(pop)

typedef struct {
    const char *name;  /* as llama.cpp prints it: "Q4_K"; NULL: this build does not read the format */
    uint32_t    block; /* numbers in a block */
    uint32_t    bytes; /* bytes of a block */
} sr_dtypeinfo;

const sr_dtypeinfo *sr_dtype_info(uint32_t dtype);       /* NULL for a type we do not read */
const char         *sr_dtype_name(uint32_t dtype);       /* also ggml types we do not read: "IQ2_XS"; else NULL */
bool   sr_dtype_parse(const char *name, sr_dtype *out);  /* "q4_k", "Q4_K", "f16" */
size_t sr_row_bytes(uint32_t dtype, size_t n);           /* n % block == 0 */

void sr_decode_row(uint32_t dtype, const void *src, float *dst, size_t n);
void sr_encode_row(uint32_t dtype, const float *src, void *dst, size_t n); /* round to nearest; K-quants by search */

float    sr_f16_to_f32(uint16_t h);
uint16_t sr_f32_to_f16(float f);   /* round to nearest even, as the hardware does */
float    sr_bf16_to_f32(uint16_t h);
uint16_t sr_f32_to_bf16(float f);

/* The eight 6-bit scales and minimums of a Q4_K or Q5_K superblock. */
void sr_k4_scales(const uint8_t packed[12], uint8_t sc[8], uint8_t m[8]);
#ifdef __cplusplus
}
#endif
#endif
