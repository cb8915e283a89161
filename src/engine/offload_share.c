/* offload_share.c - the CPU's part of a feed-forward: rows of gate and up and the matching columns of down, in the file's own bytes.
 *
 * One hand-over each way and one partial sum a layer.  The CPU's activations lie in page-locked memory, so that the device copies
 * to and from them itself. */
#include <string.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "engine/machine_rig.h"
#include "engine/offload.h"

enum { PAGE = 4096, SPIN_US = 500 }; /* between two feed-forwards, while the device does attention */

uint32_t sr_share_gate(const sr_program *p, uint32_t layer)
{
    for (uint32_t i = p->segment[1 + layer]; i < p->segment[2 + layer]; i++)
        if (p->op[i].code == SR_OP_LINEAR && p->weight[p->op[i].w].role == SR_W_FFN_GATE)
            return i;
    return ~0u;
}

/* Ops as the CPU runs them: the residual is the device's to add. */
static sr_status make_program(sr_model *m, sr_err *err)
{
    sr_offload        *o = m->off;
    sr_share          *s = &o->share;
    const sr_compiled *c = o->route[1].code;
    s->prog = c->prog;
    s->op   = sr_calloc(c->prog.n_op, sizeof *s->op);
    if (!s->op)
        return sr_raise(err, SR_NOMEM, "host: memory for %u ops", c->prog.n_op);
    memcpy(s->op, c->prog.op, c->prog.n_op * sizeof *s->op);
    for (uint32_t l = 0; l < m->info.n_layer; l++) {
        uint32_t gate = sr_share_gate(&c->prog, l);
        if (gate == ~0u || o->device[l] == m->info.n_ff)
            continue;
        s->op[gate + 2].epilogue = SR_NONE;
        s->op[gate + 2].out[0]   = c->prog.op[gate + 3].in[1];
    }
    s->prog.op = s->op;
    return SR_OK;
}

static sr_status bind_weights(sr_model *m, sr_err *err)
{
    sr_offload       *o = m->off;
    const sr_program *p = &o->share.prog;
    sr_wref          *r = sr_calloc(p->n_weight, sizeof *r);
    if (!r)
        return sr_raise(err, SR_NOMEM, "host: memory for %u weight references", p->n_weight);
    for (uint32_t w = 0; w < p->n_weight; w++) {
        const sr_weight *x = &p->weight[w];
        r[w] = (sr_wref){.format = x->format};
        if (x->role != SR_W_FFN_GATE && x->role != SR_W_FFN_UP && x->role != SR_W_FFN_DOWN)
            continue;
        uint32_t    first = o->device[x->layer], n = m->info.n_ff - first;
        const char *at    = sr_offload_source(m, w);
        size_t      row   = sr_row_bytes(x->format, x->cols);
        if (!n || !at)
            continue;
        if (x->role == SR_W_FFN_DOWN)
            r[w] = (sr_wref){.p = at + sr_row_bytes(x->format, first), .n_row = x->rows, .col0 = first, .n_col = n, .format = x->format,
                             .stride = row};
        else
            r[w] = (sr_wref){.p = at + first * row, .row0 = first, .n_row = n, .n_col = x->cols, .format = x->format};
    }
    sr_status st = sr_backend_cpu.bind(o->share.plan, &(sr_batch){0}, 0, p->n_weight, r, err);
    sr_free(r);
    return st;
}

sr_status sr_share_rebind(sr_model *m, sr_err *err) { return bind_weights(m, err); }

/* The word that the CPU counts its points in, so that the device can wait for it. */
static sr_status pin_words(sr_model *m, sr_err *err)
{
    sr_share *s  = &m->off->share;
    s->done      = sr_backend_cpu.mark(s->dev, SR_Q_COMPUTE);
    void *page   = (void *)((uintptr_t)s->done.word / PAGE * PAGE);
    if (m->be->pin(m->dev, page, PAGE, true, err))
        return sr_while(err, "page-locking the CPU's timeline");
    s->words = page;
    return SR_OK;
}

sr_devcfg sr_share_config(const sr_model *m)
{
    sr_devcfg cfg = {.threads = m->cfg.dev.threads, .isa = m->cfg.dev.isa, .f32_activations = m->cfg.dev.f32_activations, .pin = m->cfg.dev.pin,
                     .profile = true, .spin_us = m->cfg.dev.spin_us ? m->cfg.dev.spin_us : SPIN_US};
    if (!cfg.threads)
        cfg.threads = sr_plan_threads(sr_cpu_cores());
    return cfg;
}

uint32_t sr_share_threads(const sr_model *m) { return sr_share_config(m).threads; }

/* With the product itself, over more weights than any cache holds: a sum over plain memory says 30 % less on some machines. */
sr_status sr_share_rate(const sr_model *m, uint16_t format, double *bytes_per_s, sr_err *err)
{
    enum { SIDE = 4096, NS = 150000000 };
    sr_devcfg       cfg = sr_share_config(m);
    const sr_rigcfg rc  = {.format = format, .rows = SIDE, .cols = SIDE, .max_tokens = 1, .pool = sr_rig_pool(0, sr_cpu_memory())};
    sr_dev         *d   = NULL;
    sr_rig          r   = {0};
    double          s   = 0;
    if (sr_backend_cpu.open(0, &cfg, &d, err))
        return err->status;
    sr_status st = sr_rig_open(&sr_backend_cpu, d, &rc, &r, err);
    st           = st ? st : sr_rig_time(&r, 1, NS, &s, err);
    *bytes_per_s = st ? 0 : (double)r.bytes / s;
    sr_rig_close(&r);
    sr_backend_cpu.close(d);
    return st;
}

sr_status sr_share_open(sr_model *m, sr_err *err)
{
    sr_offload *o   = m->off;
    sr_share   *s   = &o->share;
    sr_devcfg   cfg = sr_share_config(m);
    if (make_program(m, err) || sr_backend_cpu.open(0, &cfg, &s->dev, err))
        return err->status;
    size_t bytes = sr_backend_cpu.scratch(s->dev, &s->prog, &o->route[1].max);
    if (m->be->alloc(m->dev, SR_MEM_PINNED, bytes, "activations (host)", &s->scratch, err))
        return err->status;
    memset(s->scratch, 0, bytes); /* what the CPU does not compute is read as numbers by GLU */
    if (sr_backend_cpu.prepare(s->dev, &s->prog, &o->route[1].max, s->scratch, bytes, &s->plan, err) || bind_weights(m, err))
        return err->status;
    return pin_words(m, err);
}

void sr_share_close(sr_model *m)
{
    sr_share *s       = &m->off->share;
    sr_err    ignored = {0};
    if (s->dev)
        (void)sr_backend_cpu.wait(s->dev, sr_backend_cpu.mark(s->dev, SR_Q_COMPUTE), UINT64_MAX, &ignored);
    if (s->words)
        (void)m->be->pin(m->dev, s->words, PAGE, false, &ignored);
    sr_backend_cpu.discard(s->plan);
    sr_backend_cpu.close(s->dev);
    m->be->free(m->dev, s->scratch);
    sr_free(s->op);
    *s = (sr_share){0};
}

/* The same slot on both devices: rows that this step has. */
static sr_status span_of(sr_model *m, uint16_t slot, void **device, void **host, size_t *bytes, sr_err *err)
{
    const sr_offroute *r = &m->off->route[1];
    const sr_slot  *s = &r->code->prog.slot[slot];
    size_t          cap;
    *bytes = (size_t)sr_slot_rows(s, &m->block.now) * s->width * 4;
    if (m->be->slot(r->plan, slot, device, &cap) || sr_backend_cpu.slot(m->off->share.plan, slot, host, &cap))
        return sr_raise(err, SR_INVALID, "no slot %u", slot);
    return SR_OK;
}

sr_status sr_share_give(sr_model *m, uint32_t layer, sr_err *err)
{
    sr_share *s    = &m->off->share;
    uint32_t  gate = sr_share_gate(&s->prog, layer);
    void     *device, *host;
    size_t    bytes;
    if (span_of(m, s->op[gate].in[0], &device, &host, &bytes, err))
        return err->status;
    sr_span   down = {.dst = host, .src = device, .bytes = bytes, .n = 1};
    sr_status st   = m->be->copyv(m->dev, SR_Q_COMPUTE, &down, 1, err);
    if (st)
        return st;
    sr_backend_cpu.fence(s->dev, SR_Q_COMPUTE, m->be->mark(m->dev, SR_Q_COMPUTE));
    st      = sr_backend_cpu.submit(s->plan, gate, 3, &m->block.now, err);
    s->done = sr_backend_cpu.mark(s->dev, SR_Q_COMPUTE);
    return st;
}

sr_status sr_share_take(sr_model *m, uint32_t layer, sr_err *err)
{
    sr_share *s    = &m->off->share;
    uint32_t  gate = sr_share_gate(&s->prog, layer);
    void     *device, *host;
    size_t    bytes;
    if (span_of(m, s->op[gate + 2].out[0], &device, &host, &bytes, err))
        return err->status;
    sr_span up = {.dst = device, .src = host, .bytes = bytes, .n = 1};
    m->be->fence(m->dev, SR_Q_COMPUTE, s->done);
    return m->be->copyv(m->dev, SR_Q_COMPUTE, &up, 1, err);
}

sr_status sr_share_failed(sr_model *m, sr_err *err)
{
    return !m->off->share.dev ? SR_OK : sr_backend_cpu.wait(m->off->share.dev, m->off->share.done, UINT64_MAX, err);
}
