/* cublaslt_bench.h - products by cuBLASLt beside ours, in one run: would a second layout of dense weights pay?
 *
 * The library is looked for when it is asked for; nothing links to it.  It gets its best case: weights row after row in device memory, x
 * already in the type that is multiplied, sums added to nothing, of its heuristic's first eight algorithms the fastest.
 *
 * Owns:    its copies of weights, and the library, until the program ends.   Threads: one.   Errors: as cuda_bench.h.
 */
#ifndef SR_OPS_LINEAR_CUBLASLT_BENCH_H
#define SR_OPS_LINEAR_CUBLASLT_BENCH_H
#include <cuda_runtime.h>
#include <stdint.h>

enum { SR_LT_LAYERS = 2, SR_LT_PARTS = 3 };

typedef struct { /* a product of ours; what cuBLASLt multiplies is made from its tiles */
    const char    *name;
    uint32_t       format, cols, n_parts, rows[SR_LT_PARTS]; /* SR_F16, SR_BF16; else cuBLASLt multiplies random int8 of the same shape */
    const void    *tiles[SR_LT_LAYERS][SR_LT_PARTS];         /* device */
    const float   *decoded; uint32_t pool;                   /* host: row r of part k, layer l is row k * pool + (l * rows[k] + r) % pool */
    void         (*count)(void *arg, uint32_t m);            /* rows of the launches that follow */
    /* What a step launches, or the product alone with what that left. */
    void         (*run)(void *arg, bool alone, uint32_t layer, uint32_t m, cudaStream_t s);
    void          *arg;
} sr_ltcase;

bool sr_lt_open(void); /* false: it said why not */
/* One line for each product and number of rows, one for their sum. */
void sr_lt_compare(const sr_ltcase *c, uint32_t n, const uint32_t *m, uint32_t n_m);
#endif
