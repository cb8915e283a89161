/* plan.h - where each unit of weights lies, and how fast that will be: a pure function.
 *
 * Units are taken into device memory in the order attention, head, feed-forward, embedding (what only the device can
 * compute first, what the CPU can share last), the same with the head first, or feed-forward, head, attention, embedding (a
 * model that nearly fits).  Every prefix of each that fits is priced, the fastest is taken; so more memory or more bandwidth
 * never predicts slower.  A feed-forward unit in RAM is split by hidden units: the CPU computes `cpu_hidden` of them while the
 * bus brings the rest.
 *
 *     token  = sum of unit seconds + kv_read / device read, at least what NVMe needs for its bytes
 *     unit   = bytes / device read                                                         DEVICE
 *              max(gpu share / bus, cpu share / cpu, all / dram) + sync if the CPU takes part   in RAM
 *     chunk  = max(bytes outside / bus, 2 * params * tokens / flops, NVMe)
 *
 * It predicts; nothing here moves a byte.  One device; several are not planned yet.
 *
 * Owns:    nothing; arrays are the caller's.   Threads: pure.
 * Errors:  SR_INVALID: a figure that must be positive is not.  SR_NOMEM: it does not fit; which memory, by how much.
 */
#ifndef SR_WEIGHTS_PLAN_H
#define SR_WEIGHTS_PLAN_H
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

typedef enum { SR_UNIT_ATTN, SR_UNIT_HEAD, SR_UNIT_FFN, SR_UNIT_EMBED } sr_unitkind;
typedef enum { SR_WT_DEVICE, SR_WT_PINNED, SR_WT_MAPPED, SR_WT_NVME } sr_weighttier;

typedef struct {
    uint16_t kind, layer;
    uint32_t hidden;            /* FFN: hidden units; a multiple of 256, or it is not split */
    uint64_t bytes, read;       /* stored; read for one token (an embedding: one row) */
    uint64_t params;            /* multiplied per token */
    uint64_t slot;              /* most of it that comes in at once; 0: all */
} sr_unit;

typedef struct {                /* bytes, bytes/s, flops/s, seconds */
    uint64_t vram, ram;         /* budgets; vram 0: no device */
    double   dev_read, h2d, zero_copy, dev_flops;
    double   cpu_read, dram_read, cpu_flops, nvme_read; /* nvme_read 0: nothing may stay on disk */
    double   sync;              /* one handshake between CPU and device */
} sr_hw;

typedef struct {
    uint64_t kv, kv_read;       /* of all sequences; read per token */
    uint64_t scratch, draft, reserve;
    uint32_t chunk;             /* tokens of a prefill step; 0: 2048 */
    uint32_t slots;             /* of device memory for what comes in; 0: 2, one is computed from while the other fills */
} sr_needs;

typedef struct { uint16_t tier; uint32_t cpu_hidden; uint32_t order; double seconds; } sr_place; /* order: of fetching in a step; ~0u: lies on the device */

typedef struct {
    uint32_t n_slots;           /* stream slots in device memory */
    uint64_t slot_bytes, bytes[4], vram_used, ram_used; /* bytes by tier */
    double   token_s, stream_s, cpu_s; /* seconds per token: planned; outside units by the bus only, by the CPU only */
    double   chunk_s;
    uint32_t step_tokens;       /* tokens a step can take before arithmetic is slower than moving weights */
    char     why[200];          /* why it is not faster */
} sr_placement;

SR_MUSTUSE sr_status sr_plan_place(const sr_hw *, const sr_needs *, const sr_unit *, uint32_t n, sr_place *out, sr_placement *sum, sr_err *);
#endif
