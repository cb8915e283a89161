/* plan.h - where each unit of weights lies, and how fast that will be: a pure function.
 *
 * Units are taken into device memory in the order attention, head, feed-forward, embedding (what only the device can
 * compute first, what the CPU can share last), the same with the head first, or feed-forward, head, attention, embedding (a
 * model that nearly fits); layers of a kind spread over the model, so that the bus has something to bring while the device computes
 * what it has.  Every prefix of each that fits is priced, the fastest is taken; so more memory or more bandwidth never predicts slower.  A feed-forward unit in RAM is split by hidden units: the CPU computes `cpu_hidden` of them while the
 * bus brings the rest.
 *
 *     step   = sum of unit seconds + kv_read / kv rate, at least what NVMe needs for its bytes; m tokens share every weight
 *     unit   = between + max(bytes / device read, 2 params m / flops)                                         DEVICE
 *              between + max(both(gpu share * max(bytes / bus, 2 params m / flops),
 *                                  cpu share * max(bytes / cpu, 2 params m / cpu flops)), bytes / dram) + sync if shared   in RAM
 *     both   = while bus and CPU read at once each goes at its rate beside the other (cpu_beside, h2d_beside), the one that is
 *              left over at its own.  Not known: the larger; of splits that are equally fast by these figures the one at which the CPU
 *              has what a copy leaves of the memory, min(cpu, dram - bus)
 *     between = launches * op + ends of products + m * bytes passed / copy rate; on a CPU: ops * op
 *     prompt = chunks of max(bytes outside / bus, NVMe, 2 params without the head * tokens / flops + attention + between
 *              + the first slot's bytes / bus + twice the bytes outside / copy rate: tiles are made of them)
 *
 * Rates may be a unit's own (of its formats, at this m); 0 stands for the machine's.
 * It predicts; nothing here moves a byte.  One device; several are not planned yet.
 *
 * Owns:    nothing; arrays are the caller's.   Threads: pure.
 * Errors:  SR_INVALID: a figure that must be positive is not.  SR_NOMEM: it does not fit; which memory, by how much
 *          (vram_short and ram_short of what came nearest).
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
    uint64_t outside;           /* bytes it takes in RAM and on the bus, where these are fewer (coded); 0: all.  On disk it is as stored */
    uint64_t slot, slot_ram;    /* most of it that comes in at once, from disk and from RAM; 0: all; from RAM: as from disk */
    double   dev_read, cpu_read, dev_flops, cpu_flops; /* of its formats in a step of this many tokens; 0: the machine's */
    double   cpu_beside;        /* the CPU's reading of them while the bus is busy, too; 0: what the machine's memory leaves */
    uint32_t ops, launches;     /* of the program; those that a device starts by themselves */
    uint32_t joined;            /* norms and gated units, which a device may take with the product behind them */
    uint32_t turned;            /* rotations with the writing of K and V, which attention does itself where each sequence has a token */
    double   ends;              /* seconds of a device's products that do not go with their size, in a step of this many tokens, and of what attention does beside */
    uint32_t passed;            /* bytes a token that ops between the products read and write */
} sr_unit;

typedef struct {                /* bytes, bytes/s, flops/s, seconds */
    uint64_t vram, ram;         /* budgets; vram 0: no device */
    double   dev_read, h2d, zero_copy, dev_flops;
    double   cpu_read, dram_read, cpu_flops, nvme_read; /* nvme_read 0: nothing may stay on disk */
    double   cpu_beside, h2d_beside; /* both at once, on the same memory; 0: not known */
    double   sync;              /* one handshake between CPU and device */
    double   dev_op, cpu_op;    /* what an op takes however small it is; may be 0 */
    double   dev_kv, cpu_kv;    /* attention's reading of K and V; 0: as weights */
    double   dev_copy;          /* of activations, read and written; 0: costs nothing */
} sr_hw;

typedef struct {
    uint64_t kv, kv_read;       /* of all sequences; read per step */
    uint64_t scratch, draft, reserve;
    uint32_t chunk;             /* tokens of a prefill step; 0: 2048 */
    uint32_t slots;             /* of device memory for what comes in; 0: 2, one is computed from while the other fills */
    uint32_t tokens, few;       /* of a decode step, 0: 1; most that the CPU takes part in, 0: any */
} sr_needs;

typedef struct { uint16_t tier; uint32_t cpu_hidden; uint32_t order; double seconds; } sr_place; /* order: of fetching in a step; ~0u: lies on the device */

typedef struct {
    uint32_t n_slots;           /* stream slots in device memory */
    uint64_t slot_bytes, bytes[4], vram_used, ram_used; /* bytes by tier */
    uint64_t vram_short, ram_short; /* when nothing fits */
    double   token_s, stream_s, cpu_s; /* seconds per step: planned; outside units by the bus only, by the CPU only */
    double   chunk_s;
    uint32_t step_tokens;       /* tokens a step can take before arithmetic is slower than moving weights */
    char     why[200];          /* why it is not faster */
} sr_placement;

/* CPU threads beside a device.  Of 16 cores all: with one left to the host's thread, which sleeps most of a step, 9 to 18 % fewer tokens (notes/0030).  Of few, one
 * is left to it. */
static inline uint32_t sr_plan_threads(uint32_t cores) { return cores >= 8 ? cores : cores > 1 ? cores - 1 : 1; }

/* Of so much RAM what weights may take: 2 GB, at most an eighth, are left to the rest of the system. */
static inline uint64_t sr_plan_ram(uint64_t bytes) { return bytes - (bytes / 8 < 2000000000 ? bytes / 8 : 2000000000); }

typedef struct { double s, device, bus, cpu, dram, disk, kv, ops; } sr_stepcost; /* seconds: of a step; each alone is busy */

/* The machine with another bus: what it takes less, or more, of the memory is the CPU's, or is not.  Figures at 0 stay so. */
void sr_plan_bus(sr_hw *, double h2d);
SR_MUSTUSE sr_status sr_plan_place(const sr_hw *, const sr_needs *, const sr_unit *, uint32_t n, sr_place *out, sr_placement *sum, sr_err *);
/* A step, or a prompt, over units that lie where `place` says.  need->tokens may differ from the placement's: the split between CPU and bus is
 * the best for so many, which an engine finds in some hundred steps of them.  attn_s: of the prompt's attention, alone. */
SR_MUSTUSE sr_status sr_plan_step(const sr_hw *, const sr_needs *need, const sr_unit *, uint32_t n, const sr_place *place, sr_stepcost *, sr_err *);
SR_MUSTUSE sr_status sr_plan_prompt(const sr_hw *, const sr_needs *need, const sr_unit *, uint32_t n, const sr_place *place, uint32_t tokens,
                                    double attn_s, double *seconds, sr_err *);
#endif
