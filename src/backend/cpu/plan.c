/* plan.c - a program made ready on the CPU: kernels chosen, slots laid out, addresses bound; and its execution. */
#include <string.h>

#include "backend/cpu/internal.h"
#include "backend/limits.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "ops/attn/attn.h"
#include "ops/embed/embed.h"
#include "ops/glu/glu.h"
#include "ops/kvio/kvio.h"
#include "ops/linear/linear.h"
#include "ops/move/move.h"
#include "ops/norm/norm.h"
#include "ops/rope/rope.h"
#include "ops/sample/sample.h"
#include "ops/tree.h"

struct sr_plan {
    sr_dev              *dev;
    const sr_program    *prog;
    sr_shape             max, now;   /* now: the step being executed */
    const sr_cpukernel **kernel;     /* [n_op] */
    void               **slot;       /* [n_slot] */
    sr_wref             *weight;     /* [n_weight] */
    sr_batch             batch;
    sr_opstat           *stat;       /* [n_op] with cfg.profile; an op is never part of a larger one here */
    sr_timing            timing;
    uint64_t             steps, ns_steps;
    void                *scratch;
    uint32_t             first, count; /* the range being executed */
    uint32_t            *next[3];    /* work counters of three consecutive phases, a cache line of each thread */
};

static size_t counters(const sr_plan *pl) { return (size_t)sr_pool_threads(pl->dev->pool) * SR_CPU_NEXT; }

static const sr_cpukernel *const *family(const sr_dev *dev, uint32_t code)
{
    switch (code) {
    case SR_OP_EMBED: return sr_embed_kernels;
    case SR_OP_NORM: return sr_norm_kernels;
    case SR_OP_LINEAR: return dev->cfg.f32_activations ? sr_linear_f32_kernels : sr_linear_kernels;
    case SR_OP_ROPETABLE: return sr_ropetable_kernels;
    case SR_OP_ROPE: return sr_rope_kernels;
    case SR_OP_KVWRITE: return sr_kvio_kernels;
    case SR_OP_ATTN: return sr_attn_kernels;
    case SR_OP_GLU: return sr_glu_kernels;
    case SR_OP_ADD: return sr_add_kernels;
    case SR_OP_GATHER: return sr_gather_kernels;
    case SR_OP_SAMPLE: return sr_sample_kernels;
    default: return NULL;
    }
}

bool sr_cpu_isa_features(const char *isa, uint32_t *out)
{
    static const struct { const char *name; uint32_t allow; } isas[] = {
        {"ref", 0},
        {"avx2", SR_CPU_AVX2},
        {"avx512", SR_CPU_AVX2 | SR_CPU_AVX512 | SR_CPU_AVX512_VNNI | SR_CPU_AVX512_BF16 | SR_CPU_AVX_VNNI},
        {"amx", ~(uint32_t)SR_CPU_ANY_ORDER},
        {"amx-bf16", ~0u}, /* the only one whose answers are not bit for bit the reference's */
        {"neon", SR_CPU_NEON},
        {"neon-dot", SR_CPU_NEON | SR_CPU_NEON_DOT},
    };
    for (size_t i = 0; i < SR_COUNT(isas); i++)
        if (strcmp(isa, isas[i].name) == 0) {
            *out = isas[i].allow;
            return true;
        }
    return false;
}

const char *sr_cpu_isa_name(uint32_t features)
{
    const uint32_t bf16 = SR_CPU_AMX_INT8 | SR_CPU_AMX_BF16 | SR_CPU_AVX512_BF16 | SR_CPU_ANY_ORDER;
    return (features & bf16) == bf16     ? "amx-bf16"
           : features & SR_CPU_AMX_INT8  ? "amx"
           : features & SR_CPU_AVX512_VNNI ? "avx512"
           : features & SR_CPU_AVX2      ? "avx2"
           : features & SR_CPU_NEON_DOT  ? "neon-dot"
           : features & SR_CPU_NEON      ? "neon"
                                         : "ref";
}

const sr_cpukernel *sr_cpu_choose(const sr_dev *dev, const sr_program *p, uint32_t op)
{
    const sr_cpukernel *const *k = family(dev, p->op[op].code);
    for (; k && *k; k++)
        if (((*k)->needs & ~dev->features) == 0 && (!(*k)->supports || (*k)->supports(p, &p->op[op])))
            return *k;
    return NULL;
}

bool sr_cpu_supports(sr_dev *dev, const sr_program *p, uint32_t op) { return sr_cpu_choose(dev, p, op) != NULL; }

size_t sr_cpu_scratch(sr_dev *dev, const sr_program *p, const sr_shape *max)
{
    return sr_program_scratch(p, max, sr_pool_threads(dev->pool));
}

/* Slots one after another, each on its own cache lines, then the working memory that ops take in turns. */
static sr_status lay_out(sr_plan *pl, char *scratch, size_t bytes, sr_err *err)
{
    size_t need = sr_cpu_scratch(pl->dev, pl->prog, &pl->max), at = 0;
    if (bytes < need)
        return sr_raise(err, SR_INVALID, "scratch of %zu bytes given, the program needs %zu", bytes, need);
    for (uint32_t i = 0; i < pl->prog->n_slot; i++) {
        pl->slot[i] = scratch + at;
        at += sr_align_up((size_t)sr_slot_rows(&pl->prog->slot[i], &pl->max) * pl->prog->slot[i].width * 4, 64);
    }
    pl->scratch = scratch + at;
    return SR_OK;
}

sr_status sr_cpu_prepare(sr_dev *dev, const sr_program *p, const sr_shape *max, void *scratch, size_t bytes, sr_plan **out,
                         sr_err *err)
{
    sr_plan *pl = sr_aligned(64, sizeof *pl);
    if (!pl)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a plan", sizeof *pl);
    memset(pl, 0, sizeof *pl);
    pl->dev    = dev;
    pl->prog   = p;
    pl->max    = *max;
    pl->kernel = sr_calloc(p->n_op, sizeof *pl->kernel);
    pl->slot   = sr_calloc(p->n_slot, sizeof *pl->slot);
    pl->weight = sr_calloc(p->n_weight, sizeof *pl->weight);
    pl->stat   = dev->cfg.profile ? sr_calloc(p->n_op, sizeof *pl->stat) : NULL;
    pl->next[0] = sr_aligned(64, 3 * counters(pl) * sizeof(uint32_t));
    if (!pl->next[0] || !pl->kernel || !pl->slot || !pl->weight || (dev->cfg.profile && !pl->stat)) {
        sr_raise(err, SR_NOMEM, "host: memory for a plan of %u ops", p->n_op);
        goto fail;
    }
    for (size_t i = 1; i < 3; i++)
        pl->next[i] = pl->next[0] + i * counters(pl);
    for (uint32_t i = 0; i < p->n_op; i++)
        if (!(pl->kernel[i] = sr_cpu_choose(dev, p, i))) {
            sr_raise(err, SR_UNSUPPORTED, "cpu: no kernel for op %u (%s, layer %d)", i, sr_op_name(p->op[i].code),
                     p->op[i].layer == SR_NONE ? -1 : p->op[i].layer);
            goto fail;
        }
    if (lay_out(pl, scratch, bytes, err))
        goto fail;
    *out = pl;
    return SR_OK;
fail:
    sr_cpu_discard(pl);
    return err ? err->status : SR_INVALID;
}

void sr_cpu_discard(sr_plan *pl)
{
    if (!pl)
        return;
    sr_free(pl->kernel);
    sr_free(pl->slot);
    sr_free(pl->weight);
    sr_free(pl->stat);
    sr_free(pl->next[0]);
    sr_free(pl);
}

sr_status sr_cpu_slot(sr_plan *pl, uint16_t slot, void **out, size_t *bytes)
{
    if (slot >= pl->prog->n_slot)
        return SR_INVALID;
    *out   = pl->slot[slot];
    *bytes = (size_t)sr_slot_rows(&pl->prog->slot[slot], &pl->max) * pl->prog->slot[slot].width * 4;
    return SR_OK;
}

sr_status sr_cpu_bind(sr_plan *pl, const sr_batch *b, uint32_t w, uint32_t n, const sr_wref *refs, sr_err *err)
{
    if (sr_bind_fits(pl->prog, w, n, err))
        return SR_INVALID;
    for (uint32_t i = 0; i < n; i++)
        if (refs[i].layout != 0)
            return sr_raise(err, SR_UNSUPPORTED, "cpu: weight %u has tile layout %u", w + i, refs[i].layout);
    if (b)
        pl->batch = *b;
    if (n)
        memcpy(pl->weight + w, refs, n * sizeof *refs);
    return SR_OK;
}

static void run_op(sr_plan *pl, uint32_t i, uint32_t thread, uint32_t *phase_no)
{
    const sr_op *op  = &pl->prog->op[i];
    sr_cpujob    job = {.prog = pl->prog, .op = op, .n = &pl->now, .max = &pl->max, .slot = pl->slot, .weight = pl->weight,
                        .batch = &pl->batch, .scratch = pl->scratch, .thread = thread,
                        .n_threads = sr_pool_threads(pl->dev->pool)};
    if (pl->prog->sampled != SR_NONE)
        job.previous = pl->slot[pl->prog->sampled];
    for (uint32_t ph = pl->kernel[i]->skip ? pl->kernel[i]->skip(&job) : 0; ph < pl->kernel[i]->phases; ph++) {
        /* The next phase's counters are free: their last users passed the previous barrier. */
        uint32_t k = *phase_no % 3;
        pl->next[(k + 1) % 3][(size_t)thread * SR_CPU_NEXT] = 0;
        job.next = pl->next[k];
        pl->kernel[i]->run(&job, ph);
        ++*phase_no;
        sr_pool_barrier(pl->dev->pool);
    }
}

static void run_range(void *arg, uint32_t thread)
{
    sr_plan *pl    = arg;
    uint32_t phase = 0;
    for (uint32_t i = pl->first; i < pl->first + pl->count; i++) {
        bool     timed = pl->stat && pl->timing == SR_TIME_OPS && thread == 0;
        uint64_t t = timed ? sr_now_ns() : 0, cycles = timed ? sr_cycles() : 0;
        run_op(pl, i, thread, &phase);
        if (timed) {
            pl->stat[i].ns += sr_now_ns() - t;
            pl->stat[i].cycles += sr_cycles() - cycles;
            pl->stat[i].calls++;
        }
    }
}

static void add_costs(sr_plan *pl)
{
    uint32_t kv_tokens = 0;
    for (uint32_t s = 0; pl->batch.kv_len && s < pl->now.seq; s++)
        kv_tokens += pl->batch.kv_len[2 * s + 1] - pl->batch.kv_len[2 * s];
    for (uint32_t i = pl->first; i < pl->first + pl->count; i++) {
        sr_cost c = sr_op_cost(pl->prog, i, &pl->now, kv_tokens);
        pl->stat[i].bytes += c.bytes;
        pl->stat[i].flops += c.flops;
    }
}

static sr_status execute(void *arg, uint32_t op, uint32_t n, const sr_shape *shape, sr_err *err)
{
    sr_plan *pl = arg;
    if (pl->batch.tree && sr_tree_check(pl->prog, &pl->batch, shape, &pl->max, err))
        return err->status;
    pl->now   = *shape;
    pl->first = op;
    pl->count = n;
    memset(pl->next[0], 0, 3 * counters(pl) * sizeof(uint32_t));
    uint64_t began = pl->stat ? sr_now_ns() : 0;
    sr_pool_run(pl->dev->pool, run_range, pl);
    if (pl->stat && pl->timing != SR_TIME_NOTHING)
        pl->steps += op == 0;
    if (pl->stat && pl->timing == SR_TIME_STEPS)
        pl->ns_steps += sr_now_ns() - began;
    if (pl->stat && pl->timing == SR_TIME_OPS)
        add_costs(pl);
    return SR_OK;
}

sr_status sr_cpu_submit(sr_plan *pl, uint32_t op, uint32_t n, const sr_shape *shape, sr_err *err)
{
    if (sr_submit_fits(pl->prog, &pl->max, op, n, shape, err))
        return SR_INVALID;
    return sr_cpuqueue_call(pl->dev->queue[SR_Q_COMPUTE], execute, pl, op, n, shape, err);
}

sr_status sr_cpu_profile(sr_plan *pl, sr_timing next, sr_timed *out, sr_err *err)
{
    if (!pl->stat)
        return sr_raise(err, SR_UNSUPPORTED, "the device was opened without profiling");
    if (out) {
        out->n     = 0;
        out->steps = pl->steps;
        out->ns    = pl->ns_steps;
    }
    for (uint32_t i = 0; out && i < pl->prog->n_op; i++) {
        if (!pl->stat[i].calls)
            continue;
        if (out->n == out->cap)
            return sr_raise(err, SR_INVALID, "more than %zu ops were timed", out->cap);
        out->op[out->n]        = pl->stat[i];
        out->op[out->n].op     = i;
        out->op[out->n++].n_op = 1;
    }
    memset(pl->stat, 0, pl->prog->n_op * sizeof *pl->stat);
    pl->steps = pl->ns_steps = 0;
    pl->timing = next;
    return SR_OK;
}
