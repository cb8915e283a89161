/* internal.h - what the files of the CPU backend share. */
#ifndef SR_BACKEND_CPU_INTERNAL_H
#define SR_BACKEND_CPU_INTERNAL_H
#include "backend/backend.h"
#include "base/pool.h"
#include "backend/cpu/queue.h"
#include "ops/cpu.h"

struct sr_dev {
    sr_devcfg    cfg;
    int          index;
    uint32_t     features; /* of the machine, cut down by cfg.isa */
    sr_pool     *pool;
    sr_cpuqueue *queue[SR_Q_COUNT];
    uint64_t     allocated;
    int          nodes;       /* memory lies on so many in turns; see sr_cpu_interleave() */
};

/* cpu.c: the device's name, with how its memory lies */
void sr_cpu_describe(const char *cpu, int nodes, char *out, size_t cap);

/* plan.c */
const sr_cpukernel *sr_cpu_choose(const sr_dev *dev, const sr_program *p, uint32_t op); /* NULL: none can */
bool                sr_cpu_isa_features(const char *isa, uint32_t *out);                /* false: unknown name */
const char         *sr_cpu_isa_name(uint32_t features);                                 /* the widest of them */
bool      sr_cpu_supports(sr_dev *, const sr_program *, uint32_t op);
size_t    sr_cpu_scratch(sr_dev *, const sr_program *, const sr_shape *max);
sr_status sr_cpu_prepare(sr_dev *, const sr_program *, const sr_shape *max, void *scratch, size_t, sr_plan **, sr_err *);
sr_status sr_cpu_slot(sr_plan *, uint16_t slot, void **, size_t *bytes);
sr_status sr_cpu_bind(sr_plan *, const sr_batch *, uint32_t w, uint32_t n, const sr_wref *, sr_err *);
sr_status sr_cpu_submit(sr_plan *, uint32_t op, uint32_t n, const sr_shape *, sr_err *);
void      sr_cpu_discard(sr_plan *);
sr_status sr_cpu_profile(sr_plan *, sr_timing next, sr_timed *out, sr_err *);
#endif
