/* cpu.h - what this processor can do, and which cores we may use.
 *
 * Threads: any; the feature word is read once per process.   Errors: none.
 */
#ifndef SR_BASE_CPU_H
#define SR_BASE_CPU_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/topo.h"

enum {
    SR_CPU_AVX2        = 1 << 0, /* with FMA and F16C */
    SR_CPU_AVX512      = 1 << 1, /* F, BW, DQ, VL */
    SR_CPU_AVX512_VNNI = 1 << 2,
    SR_CPU_AVX512_BF16 = 1 << 3,
    SR_CPU_AMX_INT8    = 1 << 4, /* and the kernel lets us use the tile registers */
    SR_CPU_AMX_BF16    = 1 << 5,
    SR_CPU_AVX_VNNI    = 1 << 6,
    SR_CPU_NEON        = 1 << 7,
    SR_CPU_NEON_DOT    = 1 << 8, /* and the rest of ARMv8.2 that a compiler may use with it */
    SR_CPU_ANY_ORDER   = 1 << 9  /* of no processor: who has asked for kernels whose bits are not the reference's adds it */
};

uint32_t    sr_cpu_features(void);      /* SR_CPU_* */
uint32_t    sr_cpu_cores(void);         /* cores this process may use: affinity and cgroup quota honoured, >= 1 */
const char *sr_cpu_name(void);          /* "INTEL(R) XEON(R) PLATINUM 8581C"; "unknown" */
void        sr_cpu_topology(const char *root, sr_topo *out); /* root: "/sys"; the cores that this process may use */
bool        sr_cpu_pin(uint32_t thread, uint32_t threads); /* the calling thread, one of so many, to its core (base/topo.h); false: not possible, and a warning says why */
/* What the calling thread, and threads it creates, touch first from now on: over all nodes with memory, in turns.  Their number;
 * 0: there is one, nothing was done; negative: errno with which the kernel refused. */
int         sr_cpu_interleave(void);
uint64_t    sr_cpu_memory(void);        /* bytes of RAM we may use: cgroup limit honoured */
/* What of it is free now, or could be at once (pages of files): the least that the system and our cgroup say; UINT64_MAX: neither says it.  root: "" */
uint64_t    sr_cpu_memory_free(const char *root);

/* The same on a machine that was read before. */
bool        sr_cpu_pin_on(const sr_topo *t, uint32_t thread, uint32_t threads);
int         sr_cpu_interleave_on(const sr_topo *t);
#endif
