#include "engine/outlook.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "kv/kv.h"
#include "ops/slots.h"

enum { PAGE = 16, CTX = 8192, CPU_STEP = 512, GPU_STEP = 2048, FEW = 8, SLOTS = 3, PARALLEL_MAX = 4096, ADJUST_MAX = 1 << 22, ADJUST = 2048 };
/* What the driver's context and our margin take of a card when no budget is given (backend/cuda/dev.c leaves 512 MiB). */
#define RESERVE (896ull << 20)
static const uint32_t prompts[SR_OUTLOOK_PROMPTS] = {512, 2048};

typedef struct {                    /* one plan being made */
    const sr_compiled   *c;
    const sr_units      *units;
    const sr_outlookcfg *cfg;
    sr_outlook          *o;
    sr_unit             *u;         /* with rates of the step at hand */
    sr_place            *place;     /* of rows that want more KV */
} outlook;

/* ---- the machine ------------------------------------------------------------------------------------------------ */

static void machine(const sr_outlookcfg *cfg, sr_outlook *o)
{
    const sr_profile *p   = cfg->profile;
    bool              dev = p->dev.arch && !cfg->cpu_only;
    double            cpu = cfg->cpu > 0 ? cfg->cpu : 1;
    sr_hw            *h   = &o->hw;
    o->threads = cfg->threads ? cfg->threads : dev ? sr_plan_threads(p->host.cores) : p->host.cores;
    sr_profile_hw(p, o->threads, h);
    h->vram   = !dev ? 0 : cfg->vram ? cfg->vram : p->dev.vram;
    h->ram    = cfg->ram ? cfg->ram : sr_plan_ram(p->host.ram);
    h->nvme_read = cfg->no_disk ? 0 : cfg->nvme > 0 ? cfg->nvme : h->nvme_read;
    h->cpu_read *= cpu;
    h->cpu_flops *= cpu;
    h->cpu_beside = h->cpu_beside > 0 ? SR_MAX(h->cpu_beside, SR_MIN(h->cpu_beside * cpu, h->dram_read - h->h2d_beside)) : 0;
    if (cfg->h2d > 0 && p->dev.arch)
        sr_plan_bus(h, cfg->h2d);
    h->sync    = dev && h->sync <= 0 ? 40e-6 : h->sync;
    o->reserve = dev && !cfg->vram ? RESERVE : 0;
}

/* ---- the units -------------------------------------------------------------------------------------------------- */

static sr_status lies_as(void *arg, const sr_compiled *c, uint32_t w, sr_ramweight *r, sr_err *err)
{
    const sr_outlookcfg *cfg   = arg;
    const sr_weight     *at    = &c->prog.weight[w];
    double               share = r->format == SR_BF16 ? cfg->code_bf16 : r->format == SR_F16 ? cfg->code_f16 : 0;
    (void)err;
    r->coded  = share > 0 && share < 1;
    r->format = (uint16_t)sr_units_smaller(r->format, cfg->ram_format, at->cols);
    r->bytes  = r->coded ? (uint64_t)(share * (double)r->bytes) : (uint64_t)at->rows * sr_row_bytes(r->format, at->cols);
    return SR_OK;
}

sr_status sr_outlook_units(const sr_compiled *c, const sr_mix *as, const sr_outlookcfg *cfg, sr_units *u, sr_err *err)
{
    uint32_t changed = 0;
    bool     coded   = cfg->code_bf16 > 0 || cfg->code_f16 > 0;
    if (coded && cfg->ram_format)
        return sr_raise(err, SR_INVALID, "weights cannot lie in RAM both coded and in %s", sr_dtype_name(cfg->ram_format));
    if (sr_units_open(c, as, u, err))
        return err->status;
    if ((coded || cfg->ram_format) && sr_units_ram(u, c, as, lies_as, (void *)(uintptr_t)cfg, &changed, err) == SR_OK && !as && cfg->ram_format && !changed)
        sr_raise(err, SR_INVALID, "no weight would be smaller in %s", sr_dtype_name(cfg->ram_format));
    for (uint32_t i = 0; i < u->n && cfg->stream; i++)
        u->u[i].hidden = 0;
    if (err->status)
        sr_units_close(u);
    return err->status;
}

/* The units at the rates of m tokens, of a prompt or one of each sequence. */
static void rate(outlook *k, uint32_t m, bool prompt)
{
    double cpu = k->cfg->cpu > 0 ? k->cfg->cpu : 1;
    sr_units_rate(k->units, k->cfg->profile, k->o->threads, m, prompt, k->u);
    for (uint32_t i = 0; i < k->units->n && cpu != 1; i++) {
        k->u[i].cpu_read *= cpu;
        k->u[i].cpu_flops *= cpu;
        k->u[i].cpu_beside *= cpu;
    }
}

/* ---- what is needed --------------------------------------------------------------------------------------------- */

static uint64_t page_bytes(const outlook *k)
{
    uint64_t each = 0;
    for (uint32_t g = 0; g < k->c->prog.n_kv; g++) {
        sr_kvshape s = k->c->prog.kv[g];
        s.format_k   = k->cfg->kv_k ? k->cfg->kv_k : s.format_k;
        s.format_v   = k->cfg->kv_v ? k->cfg->kv_v : s.format_v;
        each += sr_kv_page_bytes(&s, PAGE);
    }
    return each;
}

static uint64_t kv_of(const outlook *k, uint64_t seqs, uint64_t tokens) { return seqs * ((tokens + PAGE - 1) / PAGE) * page_bytes(k); }

/* Activations of the largest step, and its inputs (batch.c). */
static uint64_t scratch_of(const outlook *k)
{
    const sr_outlook *o   = k->o;
    uint32_t          seqs = o->parallel, pages = (o->ctx + PAGE - 1) / PAGE;
    for (uint32_t i = 0; i < k->cfg->n_batch; i++)
        seqs = SR_MAX(seqs, k->cfg->batch[i]);
    sr_shape max    = {.tok = SR_MAX(o->chunk, seqs), .out = seqs, .seq = seqs, .pages = pages};
    uint64_t adjust = SR_MIN((uint64_t)seqs * SR_MIN(o->ctx + ADJUST, k->c->hp.n_vocab), (uint64_t)ADJUST_MAX);
    uint64_t inputs = 12ull * max.tok + 4ull * seqs * (pages + 4) + seqs * sizeof(sr_sampdev) + adjust * sizeof(sr_adjust);
    return o->hw.vram ? sr_device_scratch(&k->c->prog, &max) + inputs : sr_program_scratch(&k->c->prog, &max, o->threads) + 2 * inputs;
}

static sr_needs needs(const outlook *k, uint64_t kv, uint32_t m)
{
    const sr_outlook *o     = k->o;
    uint32_t          depth = k->c->hp.window ? SR_MIN(k->cfg->depth, k->c->hp.window) : k->cfg->depth;
    return (sr_needs){.kv = kv, .kv_read = (uint64_t)m * depth * o->kv_token, .scratch = o->scratch + o->vectors, .reserve = o->reserve,
                      .chunk = o->chunk, .slots = SLOTS, .tokens = m, .few = FEW};
}

/* ---- the parts of an outlook ------------------------------------------------------------------------------------- */

static bool fits(outlook *k, uint64_t kv)
{
    sr_needs     w = needs(k, kv, 1);
    sr_placement p;
    sr_err       ignored = {0};
    return sr_plan_place(&k->o->hw, &w, k->u, k->units->n, k->place, &p, &ignored) == SR_OK;
}

/* The largest n up to `most` whose KV fits; n = lo does. */
static uint32_t edge(outlook *k, uint32_t lo, uint32_t most, bool sequences)
{
    uint32_t hi = most + 1;
    while (hi - lo > 1) {
        uint32_t n = lo + (hi - lo) / 2;
        if (fits(k, sequences ? kv_of(k, n, k->o->ctx) : kv_of(k, k->o->parallel, n)))
            lo = n;
        else
            hi = n;
    }
    return lo;
}

static void room(outlook *k)
{
    sr_outlook *o    = k->o;
    uint64_t    free = o->hw.vram ? o->hw.vram - o->sum.vram_used : o->hw.ram - o->sum.ram_used, one = kv_of(k, 1, o->ctx);
    uint64_t    n    = (o->kv + free) / one, tokens = (o->kv + free) / o->parallel / page_bytes(k) * PAGE;
    o->parallel_most = (uint32_t)SR_MIN(n, (uint64_t)PARALLEL_MAX);
    o->ctx_most      = (uint32_t)SR_MIN(tokens, (uint64_t)k->c->hp.ctx_train);
    if (k->cfg->quick)
        return;
    o->parallel_edge = edge(k, SR_MAX(o->parallel, SR_MIN(o->parallel_most, (uint32_t)PARALLEL_MAX)), PARALLEL_MAX, true);
    o->ctx_edge      = edge(k, SR_MAX(o->ctx, o->ctx_most), k->c->hp.ctx_train, false);
}

static sr_status step_row(outlook *k, uint32_t m, sr_outrow *row, sr_err *err)
{
    sr_outlook   *o     = k->o;
    uint64_t      kv    = SR_MAX(o->kv, kv_of(k, m, (uint64_t)k->cfg->depth + 1));
    sr_needs      w     = needs(k, kv, m), one = needs(k, kv, 1);
    sr_place     *place = o->place;
    sr_placement  p;
    sr_err        no = {0};
    *row = (sr_outrow){.batch = m, .fits = true};
    if (kv > o->kv) { /* as the engine would lie with that much of it */
        rate(k, 1, false);
        place     = k->place;
        row->fits = sr_plan_place(&o->hw, &one, k->u, k->units->n, place, &p, &no) == SR_OK;
        if (!row->fits)
            return no.status == SR_NOMEM ? SR_OK : sr_raise(err, no.status, "%s", no.msg);
        row->moved = p.bytes[SR_WT_DEVICE] != o->sum.bytes[SR_WT_DEVICE];
    }
    rate(k, m, false);
    if (sr_plan_step(&o->hw, &w, k->u, k->units->n, place, &row->cost, err))
        return err->status;
    row->tok_s = m / row->cost.s;
    return SR_OK;
}

static sr_status prompt(outlook *k, uint32_t n, sr_outprompt *out, sr_err *err)
{
    const sr_hparams *hp = &k->c->hp;
    const sr_profile *p  = k->cfg->profile;
    sr_outlook       *o  = k->o;
    sr_needs          w  = needs(k, o->kv, 1);
    double pairs = 0.5 * n * n, flops = 4.0 * hp->n_layer * hp->n_head * hp->head_dim;
    double known = o->hw.vram ? sr_profile_attn(p, SR_MIN(n, o->chunk)) : p->host.attn;
    double attn  = known > 0 ? known : o->hw.vram ? o->hw.dev_flops : o->hw.cpu_flops;
    if (hp->window && n > hp->window)
        pairs = (double)hp->window * n - 0.5 * hp->window * hp->window;
    rate(k, SR_MIN(n, o->chunk), true);
    if (sr_plan_prompt(&o->hw, &w, k->u, k->units->n, o->place, n, flops * pairs / attn, &out->first_s, err))
        return err->status;
    out->tokens = n;
    out->tok_s  = n / out->first_s;
    return SR_OK;
}

static void explain(sr_outlook *o)
{
    const sr_stepcost *c = &o->row[0].cost;
    double             out = c->s - c->device - c->kv - c->ops;
    const struct { const char *what; double s; } part[] = {
        {"reading weights in the device's memory", c->device}, {"attention reading K and V", c->kv}, {"the fixed time of ops", c->ops},
        {"the disk", c->disk >= c->s * 0.999 ? c->s : 0},
        {!o->hw.vram ? c->dram >= c->cpu * 0.98 ? "the host's memory" : "the CPU's products"
         : c->dram > 0.98 * SR_MAX(c->bus, c->cpu) ? "the host's memory, which feeds bus and CPU"
         : c->cpu > 0 ? "bus and CPU, which share what lies outside" : "the bus to the device", out}};
    size_t best = 0;
    for (size_t i = 1; i < SR_COUNT(part); i++)
        best = part[i].s > part[best].s ? i : best;
    snprintf(o->limit, sizeof o->limit, "%s: %.0f %% of a step", part[best].what, 100 * part[best].s / c->s);
}

static sr_status make(outlook *k, sr_err *err)
{
    sr_outlook          *o   = k->o;
    const sr_outlookcfg *cfg = k->cfg;
    machine(cfg, o);
    o->ctx      = cfg->ctx ? cfg->ctx : SR_MIN(k->c->hp.ctx_train, (uint32_t)CTX);
    o->parallel = cfg->parallel ? cfg->parallel : 1;
    o->chunk    = o->hw.vram ? GPU_STEP : CPU_STEP;
    if (o->ctx > k->c->hp.ctx_train)
        return sr_raise(err, SR_INVALID, "context of %u tokens asked; the model was trained for %u", o->ctx, k->c->hp.ctx_train);
    if (page_bytes(k) == 0)
        return sr_raise(err, SR_UNSUPPORTED, "KV pages of heads of %u numbers in these formats", k->c->hp.head_dim);
    o->kv_token = page_bytes(k) / PAGE;
    o->kv       = kv_of(k, o->parallel, o->ctx);
    o->scratch  = scratch_of(k);
    o->vectors  = k->units->vectors;
    o->weights  = k->units->bytes;
    rate(k, 1, false);
    sr_needs w = needs(k, o->kv, 1);
    if (sr_plan_place(&o->hw, &w, k->u, k->units->n, o->place, &o->sum, err))
        return err->status;
    for (uint32_t i = 0; i < k->units->n; i++)
        if (o->place[i].tier == SR_WT_PINNED && k->u[i].outside && k->u[i].outside != k->u[i].bytes) {
            o->ram_before += k->u[i].bytes;
            o->ram_now += k->u[i].outside;
        }
    room(k);
    for (uint32_t i = 0; i < cfg->n_batch; i++)
        if (step_row(k, cfg->batch[i], &o->row[o->n_row++], err))
            return err->status;
    for (uint32_t i = 0; i < SR_OUTLOOK_PROMPTS; i++)
        if (prompt(k, prompts[i], &o->prompt[i], err))
            return err->status;
    if (o->n_row && o->row[0].fits)
        explain(o);
    return SR_OK;
}

sr_status sr_outlook_make(const sr_compiled *c, const sr_units *u, const sr_outlookcfg *cfg, sr_outlook *o, sr_err *err)
{
    outlook k = {.c = c, .units = u, .cfg = cfg, .o = o};
    *o        = (sr_outlook){.place = sr_calloc(u->n, sizeof *o->place)};
    k.u       = sr_calloc(u->n, sizeof *k.u);
    k.place   = sr_calloc(u->n, sizeof *k.place);
    sr_status s = o->place && k.u && k.place ? make(&k, err) : sr_raise(err, SR_NOMEM, "host: memory for a plan of %u units", u->n);
    sr_free(k.u);
    sr_free(k.place);
    return s;
}

void sr_outlook_close(sr_outlook *o)
{
    sr_free(o->place);
    o->place = NULL;
}

/* ---- changes ----------------------------------------------------------------------------------------------------- */

static sr_status add_change(const sr_compiled *c, const sr_units *u, const sr_outlookcfg *cfg, const char *what, sr_change *out, uint32_t *n, sr_err *err)
{
    sr_outlook o;
    sr_err     no  = {0};
    sr_status  s   = sr_outlook_make(c, u, cfg, &o, &no);
    sr_change *to  = &out[(*n)++];
    snprintf(to->what, sizeof to->what, "%s", what);
    to->tok_s = s == SR_OK && o.n_row && o.row[0].fits ? o.row[0].tok_s : 0;
    sr_outlook_close(&o);
    return s == SR_OK || s == SR_NOMEM ? SR_OK : sr_raise(err, s, "%s", no.msg);
}

/* The largest mixture that makes the model smaller; NULL: none. */
static const sr_mix *smaller(const sr_compiled *c, const sr_units *now)
{
    const sr_mix *found = NULL, *mix;
    uint64_t      most = 0;
    for (unsigned i = 0; (mix = sr_mix_at(i)) != NULL; i++) {
        sr_units u;
        sr_err   ignored = {0};
        if (sr_units_open(c, mix, &u, &ignored)) /* its bytes on the device */
            continue;
        if (u.bytes < now->bytes - now->bytes / 50 && u.bytes > most) {
            most  = u.bytes;
            found = mix;
        }
        sr_units_close(&u);
    }
    return found;
}

sr_status sr_outlook_changes(const sr_compiled *c, const sr_units *u, const sr_outlookcfg *cfg, sr_change out[SR_OUTLOOK_CHANGES], uint32_t *n, sr_err *err)
{
    const sr_profile *p   = cfg->profile;
    bool              dev = p->dev.arch && !cfg->cpu_only;
    sr_outlookcfg     base = *cfg, more;
    char              what[80];
    base.quick = true;
    *n         = 0;
    more       = base;
    more.vram = (cfg->vram ? cfg->vram : p->dev.vram) + 4000000000ull;
    if (dev && add_change(c, u, &more, "4 GB more VRAM", out, n, err))
        return err->status;
    more     = base;
    more.h2d = 2 * (cfg->h2d > 0 ? cfg->h2d : p->dev.h2d);
    if (dev && add_change(c, u, &more, "a bus twice as fast", out, n, err))
        return err->status;
    more = base;
    if (cfg->threads && cfg->threads < p->host.cores) {
        more.threads = p->host.cores;
        snprintf(what, sizeof what, "all %u CPU threads", p->host.cores);
    } else {
        more.cpu = 2;
        snprintf(what, sizeof what, "twice the CPU cores on the same memory");
    }
    if (add_change(c, u, &more, what, out, n, err))
        return err->status;
    more      = base;
    more.kv_k = more.kv_v = SR_Q8_0;
    if ((cfg->kv_k != SR_Q8_0 || cfg->kv_v != SR_Q8_0) && add_change(c, u, &more, "K and V as Q8_0", out, n, err))
        return err->status;
    const sr_mix *mix = smaller(c, u);
    sr_units      small;
    if (!mix)
        return SR_OK;
    if (sr_outlook_units(c, mix, &base, &small, err))
        return err->status;
    snprintf(what, sizeof what, "weights as %s (%.2f GB)", mix->name, (double)small.bytes * 1e-9);
    sr_status s = add_change(c, &small, &base, what, out, n, err);
    sr_units_close(&small);
    return s;
}
