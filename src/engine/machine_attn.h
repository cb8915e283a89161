/* machine_attn.h - how fast attention reads K and V for one token, and computes for a prompt: op ATTN of 32 heads on 8, F16 pages.
 *
 * Owns:    nothing after return.   Threads: one.   Errors: those of the device.
 */
#ifndef SR_ENGINE_MACHINE_ATTN_H
#define SR_ENGINE_MACHINE_ATTN_H
#include "backend/backend.h"

enum { SR_ATTN_PROMPTS = 2 };
typedef struct { double read, flops[SR_ATTN_PROMPTS]; } sr_attnrates; /* bytes/s; flops/s of prompts of 512 and 2048 tokens */
/* pool: bytes of K and V, more than the caches hold, prompts are no longer than what they hold; ns: at least so long for each figure.  few: the long prompt is left out (0): a CPU takes seconds for it. */
SR_MUSTUSE sr_status sr_attn_rates(const sr_backend *be, sr_dev *d, size_t pool, uint64_t ns, bool few, sr_attnrates *out, sr_err *err);
#endif
