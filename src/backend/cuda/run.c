/* run.c - a program made ready on a CUDA device: variants chosen, slots laid out, addresses bound; and its execution.
 *
 *     scratch   [slots: ops/slots.h][working memory: counters, then what ops take in turns]
 */
#include <string.h>

#include "backend/cuda/graph.h"
#include "backend/cuda/timing.h"
#include "backend/limits.h"
#include "base/fault.h"
#include "base/mem.h"
#include "ops/linear/alike.h"
#include "ops/slots.h"

enum { ALIGN = 256, MAX_ROWS = 65536 }; /* what the engine lets a step have; rows are the x of grids, whose y and z end at 65535 */

struct sr_plan {
    sr_dev               *dev;
    const sr_program     *prog;
    sr_shape              max;
    const sr_cudakernel **kernel;    /* [n_op] */
    void                **slot;      /* [n_slot] */
    sr_wref              *weight;    /* [n_weight] */
    sr_batch              batch;
    void                 *work;
    sr_cudagraphs         graphs;
    sr_cudatiming        *timing;    /* with cfg.profile, else NULL */
};

static const sr_cudakernel *family(uint32_t code)
{
    switch (code) {
    case SR_OP_EMBED: return sr_embed_cuda;
    case SR_OP_NORM: return sr_norm_cuda;
    case SR_OP_LINEAR: return sr_linear_cuda;
    case SR_OP_ROPETABLE: return sr_ropetable_cuda;
    case SR_OP_ROPE: return sr_rope_cuda;
    case SR_OP_KVWRITE: return sr_kvwrite_cuda;
    case SR_OP_ATTN: return sr_attn_cuda;
    case SR_OP_GLU: return sr_glu_cuda;
    case SR_OP_ADD: return sr_add_cuda;
    case SR_OP_GATHER: return sr_gather_cuda;
    case SR_OP_SAMPLE: return sr_sample_cuda;
    default: return NULL;
    }
}

static const sr_cudakernel *choose(const sr_dev *d, const sr_program *p, uint32_t op)
{
    const sr_cudakernel *k = family(p->op[op].code);
    for (; k && k->launch; k++)
        if ((!k->arch_min || d->info.arch >= k->arch_min) && (!k->arch_max || d->info.arch <= k->arch_max) &&
            (!k->supports || k->supports(&d->info, p, &p->op[op])))
            return k;
    return NULL;
}

bool sr_cuda_supports(sr_dev *d, const sr_program *p, uint32_t op) { return choose(d, p, op) != NULL; }

size_t sr_cuda_scratch(sr_dev *d, const sr_program *p, const sr_shape *max)
{
    size_t work = SR_CUDA_COUNTERS;
    for (uint32_t i = 0; i < p->n_op; i++) {
        const sr_cudakernel *k = choose(d, p, i);
        if (k && k->scratch)
            work = SR_MAX(work, k->scratch(&d->info, p, &p->op[i], max));
    }
    return sr_slots_place(p, max, NULL) + sr_align_up(work, ALIGN);
}

static sr_status lay_out(sr_plan *pl, char *scratch, size_t bytes, sr_err *err)
{
    size_t need = sr_cuda_scratch(pl->dev, pl->prog, &pl->max);
    if (bytes < need)
        return sr_raise(err, SR_INVALID, "scratch of %zu bytes given, the program needs %zu", bytes, need);
    size_t *at = sr_calloc(pl->prog->n_slot, sizeof *at);
    if (!at)
        return sr_raise(err, SR_NOMEM, "host: memory for places of %u slots", pl->prog->n_slot);
    size_t end = sr_slots_place(pl->prog, &pl->max, at);
    for (uint32_t i = 0; i < pl->prog->n_slot; i++)
        pl->slot[i] = scratch + at[i];
    sr_free(at);
    pl->work            = scratch + end;
    cudaStream_t stream = pl->dev->queue[SR_Q_COMPUTE].stream;
#ifdef SR_DEBUG /* NaN in every float format: what nobody wrote must not look like a number */
    if (CU(pl->dev, err, cudaMemsetAsync(scratch, 0xff, need, stream)))
        return err->status;
#endif
    return CU(pl->dev, err, cudaMemsetAsync(pl->work, 0, SR_CUDA_COUNTERS, stream));
}

sr_status sr_cuda_prepare(sr_dev *d, const sr_program *p, const sr_shape *max, void *scratch, size_t bytes, sr_plan **out, sr_err *err)
{
    sr_err local = {0};
    err          = err ? err : &local;
    if (sr_cuda_enter(d, err))
        return err->status;
    if (max->tok > MAX_ROWS || max->out > MAX_ROWS)
        return sr_raise(err, SR_UNSUPPORTED, "cuda: steps of %u tokens and %u outputs; at most %d", max->tok, max->out, MAX_ROWS);
    sr_plan *pl = sr_calloc(1, sizeof *pl);
    if (!pl)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a plan", sizeof *pl);
    *pl        = (sr_plan){.dev = d, .prog = p, .max = *max};
    pl->kernel = sr_calloc(p->n_op, sizeof *pl->kernel);
    pl->slot   = sr_calloc(p->n_slot, sizeof *pl->slot);
    pl->weight = sr_calloc(p->n_weight, sizeof *pl->weight);
    if (!pl->kernel || !pl->slot || !pl->weight) {
        sr_raise(err, SR_NOMEM, "host: memory for a plan of %u ops", p->n_op);
        goto fail;
    }
    for (uint32_t i = 0; i < p->n_op; i++)
        if (!(pl->kernel[i] = choose(d, p, i))) {
            sr_raise(err, SR_UNSUPPORTED, "cuda:%d: no kernel for op %u (%s, layer %d)", d->index, i, sr_op_name(p->op[i].code),
                     p->op[i].layer == SR_NONE ? -1 : p->op[i].layer);
            goto fail;
        }
    if (lay_out(pl, scratch, bytes, err) || (d->cfg.profile && sr_cudatiming_open(d, p, max, &pl->timing, err)))
        goto fail;
    *out = pl;
    return SR_OK;
fail:
    sr_cuda_discard(pl);
    return err->status;
}

void sr_cuda_discard(sr_plan *pl)
{
    sr_err ignored = {0};
    if (!pl)
        return;
    (void)!sr_cuda_enter(pl->dev, &ignored);
    sr_cuda_drop_graphs(&pl->graphs);
    sr_cudatiming_close(pl->timing);
    sr_free(pl->kernel);
    sr_free(pl->slot);
    sr_free(pl->weight);
    sr_free(pl);
}

sr_status sr_cuda_slot(sr_plan *pl, uint16_t slot, void **out, size_t *bytes)
{
    if (slot >= pl->prog->n_slot)
        return SR_INVALID;
    *out   = pl->slot[slot];
    *bytes = sr_slot_bytes(pl->prog, slot, &pl->max);
    return SR_OK;
}

sr_status sr_cuda_bind(sr_plan *pl, const sr_batch *b, uint32_t w, uint32_t n, const sr_wref *refs, sr_err *err)
{
    if (sr_bind_fits(pl->prog, w, n, err))
        return SR_INVALID;
    for (uint32_t i = 0; b && i < pl->prog->n_kv; i++)
        if (b->kv[i].turned)
            return sr_raise(err, SR_UNSUPPORTED, "cuda: pages whose keys lie in columns");
    sr_status s = sr_cuda_enter(pl->dev, err);
    if (s)
        return s;
    sr_cuda_drop_graphs(&pl->graphs); /* they hold the old addresses */
    if (b)
        pl->batch = *b;
    if (n)
        memcpy(pl->weight + w, refs, n * sizeof *refs);
    return SR_OK;
}

sr_status sr_cuda_profile(sr_plan *pl, sr_timing next, sr_timed *out, sr_err *err)
{
    if (!pl->timing)
        return sr_raise(err, SR_UNSUPPORTED, "the device was opened without profiling");
    sr_status s = sr_cuda_enter(pl->dev, err);
    return s ? s : sr_cudatiming_read(pl->timing, next, out, err);
}

/* ---- submit ------------------------------------------------------------------------------------------------- */

static sr_cudajob job_of(const sr_plan *pl, const sr_shape *n)
{
    sr_cudajob job = {.dev = &pl->dev->info, .prog = pl->prog, .n = n, .max = &pl->max, .count = pl->batch.n, .slot = pl->slot,
                      .weight = pl->weight, .batch = &pl->batch, .scratch = pl->work,
                      .previous = pl->prog->sampled != SR_NONE ? pl->slot[pl->prog->sampled] : NULL,
                      .stream = pl->dev->queue[SR_Q_COMPUTE].stream};
    job.alike      = sr_alike(&job);
    return job;
}

static uint32_t launch_several(const sr_cudajob *j, uint32_t op, uint32_t end)
{
    uint32_t n = sr_chain_cuda(j, op, end);
    n          = n ? n : sr_fed_linear_cuda(j, op, end);
    n          = n ? n : sr_rope_kvwrite_attn_cuda(j, op, end);
    return n ? n : sr_rope_kvwrite_cuda(j, op, end);
}

static sr_status launch(sr_plan *pl, uint32_t op, uint32_t n, const sr_shape *shape, sr_err *err)
{
    sr_cudajob job   = job_of(pl, shape);
    bool       timed = sr_cudatiming_of_ops(pl->timing);
    uint32_t   formed = 0;
    job.formed        = &formed;
    for (uint32_t i = op, done; i < op + n; i += done) {
        job.op = &pl->prog->op[i];
        if (timed && sr_cudatiming_launch(pl->timing, i, err))
            return err->status;
        done = launch_several(&job, i, op + n);
        if (!done)
            pl->kernel[i]->launch(&job);
        cudaError_t rc = cudaGetLastError();
        if (rc != cudaSuccess) {
            sr_status s = sr_cuda_check(pl->dev, err, "launch", rc);
            sr_while(err, "running op %u (%s, variant %s)", i, sr_op_name(job.op->code), done ? "of several ops" : pl->kernel[i]->variant);
            return s;
        }
        done = done ? done : 1;
        if (timed)
            sr_cudatiming_launched(pl->timing, i, done);
    }
    return SR_OK;
}

static sr_status run(sr_plan *pl, uint32_t op, uint32_t n, const sr_shape *shape, sr_err *err)
{
    sr_shape bucket;
    if (sr_cudatiming_of_ops(pl->timing) || pl->dev->cfg.no_graphs || !sr_cuda_bucket(shape, &pl->max, &bucket))
        return launch(pl, op, n, shape, err);
    return sr_cuda_replay(&pl->graphs, pl->dev, pl, op, n, &bucket, shape, launch, err);
}

sr_status sr_cuda_submit(sr_plan *pl, uint32_t op, uint32_t n, const sr_shape *shape, sr_err *err)
{
    if (sr_submit_fits(pl->prog, &pl->max, op, n, shape, err))
        return SR_INVALID;
    sr_status s = sr_cuda_enter(pl->dev, err);
    if (s)
        return s;
    if (sr_fault(SR_FAULT_SUBMIT)) {
        sr_err e = {0};
        sr_raise(&e, SR_DEVLOST, "cuda:%d: injected failure of a submit", pl->dev->index);
        sr_cuda_fail(pl->dev, &e);
        return SR_OK;
    }
    uint64_t made = pl->graphs.made;
    if (pl->timing && sr_cudatiming_begin(pl->timing, op, n, shape, err))
        return err->status;
    s = run(pl, op, n, shape, err);
    return s || !pl->timing ? s : sr_cudatiming_end(pl->timing, &pl->batch, pl->graphs.made != made, err);
}
