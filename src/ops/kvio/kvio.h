/* kvio.h - writes a step's keys and values into their pages.
 *
 * Op       in[0] qkv [tok][width] f32: K at column dim[0], V at dim[1]; dim[2] = head_dim
 *          w = KV group, n_w = layer within the group.  Token t goes to slot batch.dst[w*max.tok + t] =
 *          page * page_tokens + i; address: see sr_kvbind.  Formats F16 and Q8_0 (blocks of 32 along the head dimension).
 *          Keys of a group that is `turned` (F16) go to columns of sixteen positions: sr_kv_turned_at.
 * Numbers  F16: round to nearest even.  Q8_0: as sr_encode_row.
 */
#ifndef SR_OPS_KVIO_H
#define SR_OPS_KVIO_H
#include "ops/cpu.h"
/* Bytes from a head's place in the page to the first number of position i; the next ones lie SR_KV_TURN numbers apart. */
static inline size_t sr_kv_turned_at(const sr_kvbind *kv, uint32_t i)
{
    return i / SR_KV_TURN * SR_KV_TURN * kv->stride.tok + i % SR_KV_TURN * sizeof(uint16_t);
}
sr_cost sr_kvio_cost(const sr_program *p, const sr_op *op, const sr_shape *n);
extern const sr_cpukernel        sr_kvio_ref, sr_kvio_avx2, sr_kvio_avx512, sr_kvio_neon; /* on their machines */
extern const sr_cpukernel *const sr_kvio_kernels[]; /* best first, NULL-terminated, the reference last */
#endif
