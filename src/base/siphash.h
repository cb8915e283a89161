/* siphash.h - SipHash-2-4 with 128 bits out: a keyed hash whose collisions cannot be aimed at without the key.
 *
 *     sr_siphash h;
 *     sr_siphash_begin(&h, key);  sr_siphash_add(&h, a, n_a);  ...  sr_siphash_end(&h, out);
 *
 * Pieces are hashed as if they were one string.
 *
 * Owns:    nothing.   Threads: any, one state each.   Errors: none.
 * Source:  Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012; 128-bit output as in the authors'
 *          reference implementation.  Key and output are numbers: their little-endian bytes are the paper's.
 */
#ifndef SR_BASE_SIPHASH_H
#define SR_BASE_SIPHASH_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t v[4];
    uint64_t total; /* bytes so far */
    uint64_t tail;  /* the last total % 8 of them, lowest first */
} sr_siphash;

void sr_siphash_begin(sr_siphash *h, const uint64_t key[2]);
void sr_siphash_add(sr_siphash *h, const void *bytes, size_t n);
void sr_siphash_end(sr_siphash *h, uint64_t out[2]);

/* One string, 64 bits. */
static inline uint64_t sr_siphash64(const uint64_t key[2], const void *bytes, size_t n)
{
    sr_siphash h;
    uint64_t   out[2];
    sr_siphash_begin(&h, key);
    sr_siphash_add(&h, bytes, n);
    sr_siphash_end(&h, out);
    return out[0];
}
#endif
