/* entropy.h - how many bits the parts of weights really hold: the bound of any code without loss that looks at values one by one.
 *
 *     BF16   sign | exponent (8) | mantissa (7)        Q8_0   scale (16) | codes (8)
 *     F16    sign | exponent (5) | mantissa (10)       Q6_K   scale (16) | scales (8) | codes (6)
 *                                                      Q4_K   scales (16 + 16 + 96) | codes (4)
 *
 * Counts are of one tensor: a code may have a table for each.  Owns: nothing.   Threads: any.   Errors: false: a format without parts.
 * Source:  Shannon 1948; DFloat11 (Zhang et al. 2025) for exponents of BF16.
 */
#ifndef SR_FORMAT_ENTROPY_H
#define SR_FORMAT_ENTROPY_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SR_ENTROPY_PARTS = 3 };
typedef struct {
    uint32_t    n_part;
    const char *name[SR_ENTROPY_PARTS];                      /* "exponents"; constants */
    double      stored[SR_ENTROPY_PARTS], held[SR_ENTROPY_PARTS]; /* bits, of all values */
} sr_entropy;

bool sr_entropy_measure(uint32_t format, const void *data, size_t bytes, sr_entropy *out);
#endif
