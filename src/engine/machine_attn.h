/* machine_attn.h - how fast attention reads K and V for one token, and computes for a prompt: op ATTN of 32 heads on 8, F16 pages.
 *
 * Owns:    nothing after return.   Threads: one.   Errors: those of the device.
 */
#ifndef SR_ENGINE_MACHINE_ATTN_H
#define SR_ENGINE_MACHINE_ATTN_H
#include "backend/backend.h"

/* pool: bytes of K and V, more than the caches hold; ns: at least so long for each figure.  bytes/s and flops/s. */
SR_MUSTUSE sr_status sr_attn_rates(const sr_backend *be, sr_dev *d, size_t pool, uint64_t ns, double *read, double *flops, sr_err *err);
#endif
