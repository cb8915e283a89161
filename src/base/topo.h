/* topo.h - which cores belong to which memory node, and which cores threads should have.
 *
 *     <root>/devices/system/node/online                         "0-1"
 *     <root>/devices/system/node/has_memory                     "0"      (a node may have cores alone)
 *     <root>/devices/system/node/node1/cpulist                  "8-15,24-31"
 *     <root>/devices/system/cpu/cpu8/topology/thread_siblings_list   "8,24"
 *
 * Threads are shared out over the nodes in proportion to their cores, thread 0 and its neighbours on the first node: what
 * neighbouring threads read lies close together.  Within a node each has a core of its own before two share one.
 *
 *     nodes of 4 and 4 cores, 6 threads      node 0: 0 1 2      node 1: 3 4 5
 *
 * Owns:    nothing; sr_topo is plain data.
 * Threads: pure functions of what the files say.
 * Errors:  none: what cannot be read counts as one node with every core allowed.
 * Source:  Linux, Documentation/ABI/stable/sysfs-devices-node, .../sysfs-devices-system-cpu.
 */
#ifndef SR_BASE_TOPO_H
#define SR_BASE_TOPO_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SR_TOPO_CORES = 1024, SR_TOPO_NODES = 64 };

typedef struct { uint64_t w[SR_TOPO_CORES / 64]; } sr_cpubits;
typedef struct { uint16_t cpu, node, rank; } sr_topocore; /* rank: how many of its core's threads come before it */
typedef struct {
    uint64_t    online, memory;      /* bit i: node i is there; has memory */
    uint32_t    n_cores;             /* that are allowed: sorted by node, rank and number */
    sr_topocore core[SR_TOPO_CORES];
} sr_topo;

/* "0-3,8": sets bits below limit; false: not such a list (bits up to the fault are set). */
bool sr_cpubits_parse(const char *list, uint32_t limit, sr_cpubits *out);
static inline bool sr_cpubits_has(const sr_cpubits *b, uint32_t i) { return b->w[i / 64] >> i % 64 & 1; }

void     sr_topo_read(const char *root, const sr_cpubits *allowed, sr_topo *out); /* root: "/sys" */
uint32_t sr_topo_nodes(const sr_topo *t);                                         /* with memory, >= 1 */
/* The core for a thread of so many: an index of t->core.  More threads than cores: around again. */
uint32_t sr_topo_place(const sr_topo *t, uint32_t thread, uint32_t threads);
#endif
