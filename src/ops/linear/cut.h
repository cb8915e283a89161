/* cut.h - what cutting products up for the multiprocessors is reckoned with, on the host.
 *
 * Owns: nothing.   Threads: pure functions.   Errors: none.
 */
#ifndef SR_OPS_LINEAR_CUT_H
#define SR_OPS_LINEAR_CUT_H
#include <stdint.h>

enum { SR_BLOCK_OWN = 1280 }; /* bytes that kernel and system keep of a block's shared memory */

static inline uint32_t min_u(uint32_t a, uint32_t b) { return a < b ? a : b; }
static inline uint32_t max_u(uint32_t a, uint32_t b) { return a > b ? a : b; }
static inline uint32_t div_up(uint32_t a, uint32_t b) { return (a + b - 1) / b; }
static inline uint32_t up128(uint32_t v) { return (v + 127) & ~127u; }
#endif
