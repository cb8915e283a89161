/* offload.c - what lies where, and a step over it. */
#include "engine/machine_beside.h"
#include "engine/machine_rig.h"
#include "engine/offload.h"
#include "engine/skip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bench.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"

enum { SLOTS = 2, ALIGN = 256, FEW = 8, PROBE_BYTES = 64 << 20, PROBE_TIMES = 5, USUAL_TOKENS = 512,
       BESIDE_SIDE = 4096, BESIDE_BYTES = 256 << 20, BESIDE_PIECE = 16 << 20, BESIDE_NS = 100000000 };

/* ---- what there is -------------------------------------------------------------------------------------------------------- */

static size_t weight_bytes(const sr_program *p, uint32_t w) { return p->weight[w].rows * sr_row_bytes(p->weight[w].format, p->weight[w].cols); }

/* Weights of a unit that move: its matrices.  Vectors always lie on the device. */
static bool moves(const sr_model *m, uint32_t w) { return m->code->tensor[w] && m->code->prog.weight[w].rows > 1; }

/* Bytes of a program unit in a slot; from RAM it may come in another format than from disk. */
static size_t unit_bytes(const sr_model *m, uint32_t unit)
{
    const sr_program *p  = &m->code->prog;
    size_t            at = 0;
    for (uint32_t w = 0; w < p->n_weight; w++)
        if (p->weight[w].unit == unit && moves(m, w))
            at += sr_align_up(m->off->outside[unit] == 1 ? sr_ram_bytes(m, w) : weight_bytes(p, w), ALIGN);
    return at;
}

/* ---- what the machine does ------------------------------------------------------------------------------------------------ */

static sr_status copy_rate(sr_model *m, void *dst, const void *src, size_t bytes, double *out, sr_err *err)
{
    double  v[PROBE_TIMES];
    sr_span s = {.dst = dst, .src = src, .bytes = bytes, .n = 1};
    for (int i = -1; i < PROBE_TIMES; i++) {
        uint64_t t = sr_now_ns();
        if (m->be->copyv(m->dev, SR_Q_IN, &s, 1, err) || m->be->wait(m->dev, m->be->mark(m->dev, SR_Q_IN), UINT64_MAX, err))
            return err->status;
        if (i >= 0)
            v[i] = (double)bytes * 1e9 / (double)SR_MAX(sr_now_ns() - t, 1u);
    }
    *out = sr_bench_spread(v, PROBE_TIMES).median;
    return SR_OK;
}

/* Of most feed-forwards, as they lie in RAM. */
static uint16_t usual_format(const sr_model *m)
{
    const sr_program *p = &m->code->prog;
    for (uint32_t w = 0; w < p->n_weight; w++)
        if (p->weight[w].role == SR_W_FFN_GATE)
            return sr_ram_format(m, w);
    return SR_Q8_0;
}

/* What both sides leave each other of the host's memory. */
static sr_status beside(sr_model *m, size_t piece, uint16_t format, sr_hw *hw, sr_err *err)
{
    const sr_besidecfg c = {.be = m->be, .dev = m->dev, .cpu = sr_share_config(m), .format = format, .side = BESIDE_SIDE, .ns = BESIDE_NS,
                            .pool = sr_rig_pool(0, sr_cpu_memory()), .piece = piece,
                            .bytes = SR_MIN((size_t)BESIDE_BYTES, (size_t)(sr_cpu_memory() / 16))};
    sr_besiderates     r;
    if (sr_machine_beside(&c, &r, err))
        return err->status;
    hw->cpu_read   = SR_MAX(r.alone, r.cpu);
    hw->cpu_beside = r.cpu;
    hw->h2d_beside = r.h2d;
    return SR_OK;
}

/* Page-locked memory is taken at once and never given back: no more is planned than is free, less what the system keeps for others.  A model made in
 * memory lies there already. */
static uint64_t ram_free(const sr_model *m)
{
    uint64_t free = sr_cpu_memory_free(""), all = sr_cpu_memory(), here = sr_gguf_in_memory(m->gguf) && !sr_ram_changes(m) ? m->info.bytes : 0;
    free          = SR_MIN(free, all);
    return sr_plan_ram(free) + SR_MIN(here, all - free);
}

/* Rates that the plan weighs against each other.  What the caller gives, or knows, is taken as it is. */
static sr_status measure(sr_model *m, const sr_devinfo *di, sr_hw *hw, sr_err *err)
{
    const sr_figures *f       = &m->cfg.figures;
    uint16_t          format  = usual_format(m);
    uint32_t          threads = sr_share_threads(m);
    void    *a = NULL, *host = NULL;
    size_t   bytes   = SR_MIN((size_t)PROBE_BYTES, (size_t)(di->mem_free / 4) / ALIGN * ALIGN);
    *hw              = m->cfg.hw ? *m->cfg.hw : (sr_hw){0};
    bool kept        = !m->cfg.dev.f32_activations; /* what is kept from run to run are rates of int8 products */
    bool known       = m->cfg.hw || (kept && f->known && f->known(f->arg, format, threads, hw));
    hw->vram         = di->mem_free;
    hw->ram          = SR_MIN(m->cfg.ram ? m->cfg.ram : hw->ram ? hw->ram : UINT64_MAX, ram_free(m));
    hw->dev_flops    = hw->dev_flops > 0 ? hw->dev_flops : di->units * 1e12; /* only ranks chunks: any card is beyond its bus there */
    hw->sync         = hw->sync > 0 ? hw->sync : 40e-6;
    if (m->be->alloc(m->dev, SR_MEM_DEVICE, 2 * bytes, "measuring", &a, err) ||
        m->be->alloc(m->dev, SR_MEM_PINNED, bytes, "measuring", &host, err))
        goto done;
    if (hw->h2d <= 0 && copy_rate(m, a, host, bytes, &hw->h2d, err))
        goto done;
    if (hw->dev_read <= 0) {
        if (copy_rate(m, (char *)a + bytes, a, bytes, &hw->dev_read, err))
            goto done;
        hw->dev_read *= 2; /* read and written */
    }
    if (sr_gguf_in_memory(m->gguf))
        hw->nvme_read = 0; /* in no file: nothing of it may stay on a disk */
    if (known && hw->cpu_read <= 0 && sr_share_rate(m, format, &hw->cpu_read, err))
        goto done;
    if (!known && beside(m, SR_MIN(bytes, (size_t)BESIDE_PIECE), format, hw, err))
        goto done;
    if (!known && kept && f->measured)
        f->measured(f->arg, format, threads, hw);
    hw->dram_read = hw->dram_read > 0 ? hw->dram_read : hw->cpu_beside > 0 ? SR_MAX(hw->cpu_read, hw->cpu_beside + hw->h2d_beside) : hw->cpu_read + hw->h2d;
    if (m->cfg.bus > 0)
        sr_plan_bus(hw, m->cfg.bus);
done:
    m->be->free(m->dev, a);
    m->be->free(m->dev, host);
    return err->status;
}

/* Only where RAM is too small: a disk that cannot be read past its cache is no matter for a model that needs none. */
static sr_status measure_disk(sr_model *m, sr_hw *hw, sr_err *err)
{
    const sr_readunit unit = {0, 1};
    const sr_readpart all  = {0, 0, SR_MIN(sr_gguf_file_bytes(m->gguf, 0), (uint64_t)PROBE_BYTES) / SR_READ_ALIGN * SR_READ_ALIGN};
    void             *buf  = sr_aligned(SR_READ_ALIGN, sr_reader_room(&unit, 1, &all));
    if (!buf)
        return sr_raise(err, SR_NOMEM, "host: %llu bytes to read the disk into", (unsigned long long)all.bytes);
    sr_status s = sr_reader_measure(sr_gguf_path(m->gguf, 0), m->cfg.disk_ring ? SR_READ_RING : SR_READ_THREADED, all.bytes, buf, &hw->nvme_read, err);
    sr_free(buf);
    return s;
}

/* ---- the decision --------------------------------------------------------------------------------------------------------- */

typedef struct { uint64_t kv, kv_least, fixed, weights; } need; /* fixed: activations, inputs, vectors, and what pieces are rounded up by */

static need needs(const sr_model *m, const sr_shape *max, uint64_t granule)
{
    const sr_program *p = &m->code->prog;
    const sr_loadcfg *c = &m->cfg;
    need              n = {.fixed = m->be->scratch(m->dev, p, max) + sr_block_bytes(m, max) + SR_DEVICE_PIECES * granule};
    uint64_t per_ctx = (c->ctx + c->page_tokens - 1) / c->page_tokens, usual = (uint64_t)c->max_seqs * (USUAL_TOKENS / c->page_tokens), each = 0;
    for (uint32_t g = 0; g < p->n_kv; g++)
        each += sr_kv_page_bytes(&p->kv[g], c->page_tokens);
    n.kv       = each * (c->kv_pages ? c->kv_pages : SR_MAX(per_ctx, SR_MIN(usual, per_ctx * c->max_seqs)));
    n.kv_least = each * (c->kv_pages ? c->kv_pages : per_ctx);
    for (uint32_t w = 0; w < p->n_weight; w++) {
        bool twice = m->code->tied && p->weight[w].role == SR_W_OUTPUT;
        if (moves(m, w))
            n.weights += twice ? 0 : sr_align_up(weight_bytes(p, w), ALIGN);
        else if (m->code->tensor[w] || m->code->derived[w])
            n.fixed += sr_align_up(weight_bytes(p, w), ALIGN);
    }
    return n;
}

/* Most tokens of a step that the CPU takes part in; small steps have activations of their own. */
static uint32_t most_shared(const sr_model *m)
{
    return SR_MIN((uint32_t)FEW, SR_MIN(m->cfg.max_step_tokens, SR_MIN(m->cfg.max_seqs, (uint32_t)m->cfg.out_rows)));
}

static sr_shape few_shape(const sr_model *m, uint32_t n) { return (sr_shape){.tok = n, .out = n, .seq = n, .pages = m->max.pages}; }

/* With the partial sums, by token and by wanted row. */
static uint64_t few_bytes(const sr_model *m, uint32_t n)
{
    sr_shape few = few_shape(m, n);
    return n ? m->be->scratch(m->dev, &m->code->prog, &few) + 2 * sr_align_up(4ull * n * m->info.n_embd, ALIGN) : 0;
}

static void take_plan(sr_model *m, const sr_place *place, sr_offloadmode mode)
{
    sr_offload *o = m->off;
    uint32_t    head = 1 + 3 * m->info.n_layer;
    o->slot_bytes = 0;
    for (uint32_t u = 0; u < m->code->n_unit; u++) {
        const sr_place *at = &place[sr_units_of(m->code, u == 0 && m->code->tied ? head : u)];
        o->outside[u]      = at->tier == SR_WT_DEVICE ? 0 : at->tier == SR_WT_NVME && u ? 2 : 1;
        if (o->outside[u] && u)
            o->slot_bytes = SR_MAX(o->slot_bytes, unit_bytes(m, u));
    }
    o->few = 0;
    for (uint32_t l = 0; l < m->info.n_layer; l++) {
        const sr_place *ffn = &place[2 * l + 1];
        bool            out = ffn->tier != SR_WT_DEVICE, cut = m->info.n_ff % 256 == 0;
        uint32_t        cpu = !out || ffn->tier == SR_WT_NVME || mode == SR_OFFLOAD_STREAM || mode == SR_OFFLOAD_ZEROCOPY ? 0 : mode == SR_OFFLOAD_CPU && cut ? m->info.n_ff : ffn->cpu_hidden;
        o->device[l] = m->info.n_ff - cpu;
        o->few       = cpu ? most_shared(m) : o->few;
    }
    o->few    = mode == SR_OFFLOAD_ZEROCOPY ? most_shared(m) : o->few;
    o->n_slot = o->slot_bytes ? SLOTS : 0;
}

/* Whether what comes in is not read as it came. */
static bool makes(const sr_model *m) { return m->be->tile || m->cfg.transit == SR_TRANSIT_CODED; }

static size_t slots_bytes(const sr_model *m)
{
    const sr_offload *o = m->off;
    return o->slot_bytes * (o->n_slot + (o->n_slot && makes(m)));
}

static uint64_t resident_bytes(const sr_model *m)
{
    const sr_program *p = &m->code->prog;
    uint64_t          n = 0;
    for (uint32_t w = 0; w < p->n_weight; w++)
        if (moves(m, w) && !sr_is_outside(m, w) && !(m->code->tied && p->weight[w].role == SR_W_OUTPUT))
            n += sr_align_up(weight_bytes(p, w), ALIGN);
    return n;
}

/* Places as the plan says, with the CPU taking part or not.  False: it does not fit, and err says what lacks. */
static bool try_plan(sr_model *m, const need *n, const sr_unit *unit, sr_place *place, sr_offloadmode mode, sr_err *err)
{
    sr_offload *o    = m->off;
    sr_needs    want = {.kv = n->kv, .scratch = n->fixed, .slots = SLOTS + makes(m), .few = FEW};
    want.reserve = (uint64_t)m->code->prog.n_weight * ALIGN + (mode == SR_OFFLOAD_STREAM ? 0 : few_bytes(m, most_shared(m)));
    if (sr_plan_place(&o->hw, &want, unit, 2 * m->info.n_layer + 2, place, &o->sum, err))
        return false;
    take_plan(m, place, mode);
    uint64_t used = n->kv + n->fixed + resident_bytes(m) + slots_bytes(m) + few_bytes(m, o->few);
    if (used <= o->hw.vram)
        return true;
    sr_raise(err, SR_NOMEM, "the plan takes %.3f MB more than there is", (double)(used - o->hw.vram) * 1e-6);
    return false;
}

/* The CPU's part wants activations of its own on the device: where they do not fit, everything streams.  False: *err says what lacks. */
static bool try_plans(sr_model *m, const need *n, const sr_unit *unit, sr_place *place, sr_err *err)
{
    sr_err first = {0}, second = {0};
    if (try_plan(m, n, unit, place, m->cfg.offload, &first) ||
        (m->cfg.offload == SR_OFFLOAD_AUTO && first.status == SR_NOMEM && try_plan(m, n, unit, place, SR_OFFLOAD_STREAM, &second)))
        return true;
    sr_raise(err, first.status, "%s", second.status ? second.msg : first.msg);
    return false;
}

static bool fits_with(sr_model *m, const need *n, uint64_t vram, const sr_unit *unit, sr_place *place)
{
    sr_err   ignored = {0};
    uint64_t now     = m->off->hw.vram;
    m->off->hw.vram  = vram;
    bool fits        = try_plans(m, n, unit, place, &ignored);
    m->off->hw.vram  = now;
    return fits;
}

/* KV pages for a context of so many pages, as needs() counts them. */
static need with_context(const sr_model *m, const need *n, uint32_t pages)
{
    const sr_loadcfg *c = &m->cfg;
    uint64_t per_ctx = (c->ctx + c->page_tokens - 1) / c->page_tokens, usual = (uint64_t)c->max_seqs * (USUAL_TOKENS / c->page_tokens);
    need     less = *n;
    less.kv_least = n->kv_least / per_ctx * pages;
    less.kv       = n->kv_least / per_ctx * SR_MAX((uint64_t)pages, SR_MIN(usual, (uint64_t)pages * c->max_seqs));
    return less;
}

/* What the user may change of what does not fit, by the least: the device's memory to the next MB, or the context. */
static void what_fits(sr_model *m, const need *n, const sr_unit *unit, sr_place *place, char *out, size_t cap)
{
    enum { MB = 1000000, LEAST_CTX = 256 };
    uint64_t low = m->off->hw.vram / MB, high = (n->kv + n->fixed + n->weights) / MB + 1;
    out[0] = 0;
    if (high > low && fits_with(m, n, high * MB, unit, place)) {
        while (high - low > 1) {
            uint64_t at = low + (high - low) / 2;
            *(fits_with(m, n, at * MB, unit, place) ? &high : &low) = at;
        }
        snprintf(out, cap, "; %llu MB of the device's memory would do", (unsigned long long)high);
    }
    uint32_t page = m->cfg.page_tokens, some = SR_MAX(LEAST_CTX / page, 1u), many = (m->cfg.ctx + page - 1) / page;
    need     less = with_context(m, n, some);
    if (m->cfg.kv_pages || many <= some || !fits_with(m, &less, m->off->hw.vram, unit, place))
        return;
    while (many - some > 1) {
        uint32_t at = some + (many - some) / 2;
        less        = with_context(m, n, at);
        *(fits_with(m, &less, m->off->hw.vram, unit, place) ? &some : &many) = at;
    }
    size_t used = strlen(out);
    snprintf(out + used, cap - used, "%s a context of %u tokens%s", used ? ", or" : ";", some * page, used ? "" : " would do");
}

static sr_status plan(sr_model *m, const need *n, const sr_unit *unit, sr_err *err)
{
    char        change[120] = "";
    sr_offload *o     = m->off;
    sr_err      why   = {0};
    bool        file  = !sr_gguf_in_memory(m->gguf), little = m->info.bytes > o->hw.ram;
    sr_place   *place = sr_calloc(2 * m->info.n_layer + 2, sizeof *place);
    if (!place)
        return sr_raise(err, SR_NOMEM, "host: memory for a plan of %u layers", m->info.n_layer);
    bool fits = try_plans(m, n, unit, place, &why);
    if (!fits && file && little && o->hw.nvme_read <= 0 && why.status == SR_NOMEM && measure_disk(m, &o->hw, err) == SR_OK) {
        why  = (sr_err){0};
        fits = try_plans(m, n, unit, place, &why);
    }
    if (!fits && !err->status && why.status == SR_NOMEM)
        what_fits(m, n, unit, place, change, sizeof change);
    sr_free(place);
    if (fits || err->status)
        return err->status;
    sr_raise(err, why.status, "%s%s%s", why.msg, !file && little ? "; this model is in no file, so that nothing of it can stay on a disk" : "", change);
    return sr_while(err, "placing %.1f MB of weights, %.1f MB of KV pages and %.1f MB of activations in the %.1f MB that are free",
                    (double)n->weights * 1e-6, (double)n->kv * 1e-6, (double)n->fixed * 1e-6, (double)m->off->hw.vram * 1e-6);
}

sr_status sr_offload_decide(sr_model *m, const sr_devinfo *di, sr_err *err)
{
    need n = needs(m, &m->max, di->mem_granule);
    if (di->flags & SR_DEV_HOST || n.weights + n.fixed + n.kv_least <= di->mem_free)
        return SR_OK;
    if (m->cfg.offload == SR_OFFLOAD_NONE)
        return sr_raise(err, SR_NOMEM, "all weights were to lie on the device: %.1f MB of them, %.1f MB of KV pages for a context of %u tokens and %.1f MB of "
                        "activations are %.1f MB more than the %.1f MB that are free", (double)n.weights * 1e-6, (double)n.kv_least * 1e-6, m->cfg.ctx,
                        (double)n.fixed * 1e-6, (double)(n.weights + n.fixed + n.kv_least - di->mem_free) * 1e-6, (double)di->mem_free * 1e-6);
    if (m->code->prog.n_kv != 1)
        return sr_raise(err, SR_UNSUPPORTED, "a model with %u groups of KV pages that does not fit its device", m->code->prog.n_kv);
    sr_units units;
    if (sr_units_open(m->code, NULL, &units, err))
        return err->status;
    m->off = sr_calloc(1, sizeof *m->off);
    if (m->off) {
        m->off->outside = sr_calloc(m->code->n_unit, 1);
        m->off->device  = sr_calloc(m->info.n_layer, sizeof *m->off->device);
    }
    if (!m->off || !m->off->outside || !m->off->device) {
        sr_units_close(&units);
        return sr_raise(err, SR_NOMEM, "host: memory for a plan of %u layers", m->info.n_layer);
    }
    for (uint32_t i = 0; i < units.n && (m->cfg.offload == SR_OFFLOAD_STREAM || m->cfg.offload == SR_OFFLOAD_ZEROCOPY); i++)
        units.u[i].hidden = 0; /* nothing is shared */
    if (sr_ram_units(m, &units, err) == SR_OK && measure(m, di, &m->off->hw, err) == SR_OK)
        (void)!plan(m, &n, units.u, err);
    sr_units_close(&units);
    if (err->status)
        return err->status;
    sr_ram_apply(m, m->code);
    sr_modelinfo *info = &m->info;
    info->bytes_device = resident_bytes(m);
    info->predicted_s  = m->off->sum.token_s;
    for (uint32_t l = 0; l < info->n_layer; l++)
        info->cpu_share += (double)(info->n_ff - m->off->device[l]) / info->n_ff / info->n_layer;
    return SR_OK;
}

/* ---- routes --------------------------------------------------------------------------------------------------------------- */

/* What the device computes of weight w on a route; the plain reference is of the whole. */
static sr_wref part_of(const sr_model *m, const sr_offroute *r, uint32_t w, size_t *piece, const char **from)
{
    const sr_weight *x    = &r->code->prog.weight[w];
    const char      *src  = sr_offload_source(m, w);
    size_t           row  = sr_row_bytes(x->format, x->cols);
    bool             cut  = r != &m->off->route[0] && x->layer != SR_NONE;
    uint32_t         n    = cut ? m->off->device[x->layer] : m->info.n_ff;
    sr_wref          ref  = {.n_row = x->rows, .n_col = x->cols, .format = x->format};
    *piece = row;
    *from  = src;
    if (x->role == SR_W_FFN_GATE || x->role == SR_W_FFN_UP)
        ref.n_row = n;
    if (x->role == SR_W_FFN_DOWN) {
        ref.n_col = n;
        *piece    = sr_row_bytes(x->format, n);
    }
    return ref;
}

static sr_status add_part(sr_model *m, sr_offroute *r, uint32_t w, size_t *at, sr_err *err)
{
    size_t      piece;
    const char *src;
    sr_wref     ref = part_of(m, r, w, &piece, &src);
    size_t      row = sr_row_bytes(ref.format, r->code->prog.weight[w].cols);
    if (!ref.n_row || !ref.n_col) {
        r->weight[w] = (sr_wref){.format = ref.format};
        return SR_OK;
    }
    size_t   coded = sr_offload_coded(m, w);
    uint16_t have  = sr_offload_layout(m, w), make = 0; /* tiles already; to be made of what comes */
    if (!have && m->be->tile)
        make = sr_tile_layout(m, ref.format, ref.n_row, ref.n_col, m->code->tensor[w]->data, row);
    SR_ASSERT(!(coded || have) || piece == row, "a part of a weight that is whole in RAM");
    uint32_t slot = (r->n_unit - 1) % m->off->n_slot;
    ref.layout    = have ? have : make;
    ref.p         = (char *)(make || coded ? m->off->tiles : m->off->slot[slot]) + *at;
    r->weight[w]  = ref;
    r->part[r->n_part++] = (sr_streampart){.src = src, .piece = piece, .step = row, .at = *at, .rows = ref.n_row, .cols = ref.n_col,
                                           .format = ref.format, .layout = make, .coded = coded};
    r->unit[r->n_unit - 1].n++;
    *at += sr_align_up(piece * ref.n_row, ALIGN);
    return *at <= m->off->slot_bytes ? SR_OK : sr_raise(err, SR_INVALID, "a unit of %zu bytes in slots of %zu", *at, m->off->slot_bytes);
}

static void add_stop(sr_offroute *r, uint32_t op, sr_stopkind kind, uint32_t arg) { r->stop[r->n_stop++] = (sr_stop){op, (uint16_t)kind, arg}; }

/* The reader's number of a unit on disk: they count in the program's order. */
static uint32_t read_unit(const sr_model *m, uint32_t unit)
{
    uint32_t n = 0;
    for (uint32_t u = 0; u < unit; u++)
        n += m->off->outside[u] == 2;
    return n;
}

/* Weights of a LINEAR's unit into the route, when its first op comes. */
static sr_status add_unit(sr_model *m, sr_offroute *r, uint32_t op, sr_err *err)
{
    const sr_program *p    = &r->code->prog;
    uint16_t          unit = p->op[op].unit;
    size_t            at   = 0;
    bool              disk = m->off->outside[unit] == 2;
    r->unit[r->n_unit++]   = (sr_streamunit){.first = r->n_part, .read = disk ? 1 + read_unit(m, unit) : 0};
    add_stop(r, op, STOP_AWAIT, r->n_unit - 1);
    for (uint32_t w = 0; w < p->n_weight; w++)
        if (p->weight[w].unit == unit && moves(m, w) && add_part(m, r, w, &at, err))
            return err->status;
    uint32_t last = op;
    for (uint32_t i = op; i < p->n_op; i++)
        last = p->op[i].code == SR_OP_LINEAR && p->op[i].unit == unit ? i : last;
    add_stop(r, last + 1, STOP_RELEASE, r->n_unit - 1);
    return SR_OK;
}

/* Zero-copy: what lies in RAM is read where it lies. */
static void bind_in_place(sr_model *m, sr_offroute *r)
{
    const sr_program *p = &r->code->prog;
    m->off->read_here   = 0;
    for (uint32_t w = 0; w < p->n_weight; w++) {
        const sr_weight *x = &p->weight[w];
        if (!sr_hold_has(m, w))
            continue;
        r->weight[w] = (sr_wref){.p = sr_offload_source(m, w), .n_row = x->rows, .n_col = x->cols, .format = x->format, .layout = sr_offload_layout(m, w), .flags = SR_W_HOST};
        m->off->read_here += sr_ram_bytes(m, w);
    }
}

static int by_op(const void *a, const void *b)
{
    const sr_stop *x = a, *y = b;
    if (x->op != y->op)
        return x->op < y->op ? -1 : 1;
    /* At one place: what was read is given back, then the partial sum comes, then the other half is handed over, then weights. */
    static const uint8_t order[] = {[STOP_RELEASE] = 0, [STOP_TAKE] = 1, [STOP_GIVE] = 2, [STOP_SKIP] = 3, [STOP_AWAIT] = 4};
    return (int)order[x->kind] - (int)order[y->kind];
}

static sr_status make_route(sr_model *m, uint32_t which, sr_err *err)
{
    sr_offload       *o = m->off;
    sr_offroute      *r = &o->route[which];
    const sr_program *p = &r->code->prog;
    uint32_t          last = SR_NONE; /* unit added */
    r->stop   = sr_calloc(4u * p->n_op, sizeof *r->stop);
    r->unit   = sr_calloc(m->code->n_unit + 1u, sizeof *r->unit);
    r->part   = sr_calloc(p->n_weight + 1u, sizeof *r->part);
    r->weight = sr_calloc(p->n_weight, sizeof *r->weight);
    if (!r->stop || !r->unit || !r->part || !r->weight)
        return sr_raise(err, SR_NOMEM, "host: memory for a route of %u ops", p->n_op);
    memcpy(r->weight, m->weight, p->n_weight * sizeof *r->weight);
    if (sr_skip_ops(m, p, &r->left_out, err))
        return err->status;
    bool in_place = which && m->cfg.offload == SR_OFFLOAD_ZEROCOPY;
    if (in_place)
        bind_in_place(m, r);
    for (uint32_t i = 0; i < p->n_op; i++) {
        const sr_op     *op = &p->op[i];
        const sr_weight *w  = &p->weight[op->w];
        if (op->code != SR_OP_LINEAR || !o->outside[w->unit] || (r->left_out && r->left_out[i]) || (in_place && o->outside[w->unit] == 1))
            continue;
        bool shared = which && w->layer != SR_NONE && o->device[w->layer] != m->info.n_ff;
        if (shared && w->role == SR_W_FFN_GATE) {
            add_stop(r, i, STOP_GIVE, w->layer);
            add_stop(r, i + 3, STOP_TAKE, w->layer);
            if (!o->device[w->layer])
                add_stop(r, i, STOP_SKIP, i + 3);
        }
        bool here = !(shared && !o->device[w->layer] && (w->role == SR_W_FFN_GATE || w->role == SR_W_FFN_DOWN));
        if (here && op->unit != last && add_unit(m, r, i, err))
            return err->status;
        last = op->unit;
    }
    if (o->embedding)
        r->weight[0] = (sr_wref){.p = o->embedding, .n_row = p->weight[0].rows, .n_col = p->weight[0].cols, .format = p->weight[0].format,
                                 .flags = SR_W_HOST};
    qsort(r->stop, r->n_stop, sizeof *r->stop, by_op);
    return SR_OK;
}

/* ---- getting ready -------------------------------------------------------------------------------------------------------- */

static sr_status open_few(sr_model *m, sr_err *err)
{
    sr_offload   *o = m->off;
    sr_offroute  *r = &o->route[1];
    uint8_t      *shared = sr_calloc(m->info.n_layer, 1), any = 0;
    sr_compilecfg cc = {.page_tokens = m->cfg.page_tokens, .kv_format_k = m->code->prog.kv[0].format_k,
                        .kv_format_v = m->code->prog.kv[0].format_v, .shared = shared};
    if (!shared)
        return sr_raise(err, SR_NOMEM, "host: memory for %u layers", m->info.n_layer);
    for (uint32_t l = 0; l < m->info.n_layer; l++)
        any |= shared[l] = o->device[l] != m->info.n_ff;
    sr_status s = sr_compile(m->gguf, &cc, &r->code, err);
    sr_free(shared);
    if (s)
        return s;
    sr_ram_apply(m, r->code);
    r->max       = few_shape(m, o->few);
    size_t bytes = m->be->scratch(m->dev, &r->code->prog, &r->max), at;
    if (m->be->alloc(m->dev, SR_MEM_DEVICE, bytes, "activations (few tokens)", &r->scratch, err) ||
        m->be->prepare(m->dev, &r->code->prog, &r->max, r->scratch, bytes, &r->plan, err) || (any && sr_share_open(m, err)))
        return err->status;
    return m->be->slot(r->plan, r->code->prog.sampled, &r->sampled, &at);
}

static void end_route(sr_offroute *r)
{
    sr_free(r->stop);
    sr_free(r->left_out);
    sr_free(r->unit);
    sr_free(r->part);
    sr_free(r->weight);
    r->stop     = NULL;
    r->left_out = NULL;
    r->unit     = NULL;
    r->part     = NULL;
    r->weight   = NULL;
    r->n_stop = r->n_unit = r->n_part = 0;
}

static sr_status open_stream(sr_model *m, sr_err *err)
{
    sr_offload  *o  = m->off;
    sr_streamcfg sc = {.be = m->be, .dev = m->dev, .n_slot = SR_MAX(o->n_slot, 1u), .reader = o->reader, .pace = o->pace, .meter = o->balance.meter, .tiles = o->tiles};
    for (uint32_t i = 0; i < (o->few ? 2u : 1u); i++) {
        if (make_route(m, i, err))
            return err->status;
        sc.route[i] = (sr_streamroute){o->route[i].unit, o->route[i].n_unit, o->route[i].part, o->route[i].n_part};
    }
    memcpy(sc.slot, o->slot, sizeof sc.slot);
    return sr_stream_open(&sc, &o->stream, err);
}

sr_status sr_offload_ready(sr_model *m, sr_err *err)
{
    sr_offload  *o = m->off;
    o->route[0]     = (sr_offroute){.code = m->code, .plan = m->plan, .scratch = m->scratch, .max = m->max, .sampled = (void *)(uintptr_t)m->sampled_dev};
    if (sr_hold_weights(m, err) || sr_hold_embedding(m, err) || sr_hold_reader(m, err) || sr_hold_pace(m, err))
        return err->status;
    if (o->n_slot && m->be->alloc(m->dev, SR_MEM_DEVICE, slots_bytes(m), "stream slots", &o->slot[0], err))
        return err->status;
    for (uint32_t i = 1; i < o->n_slot; i++)
        o->slot[i] = (char *)o->slot[0] + i * o->slot_bytes;
    if (o->n_slot && makes(m))
        o->tiles = (char *)o->slot[0] + o->n_slot * o->slot_bytes;
    if ((o->few && open_few(m, err)) || sr_meter_open(&o->balance.meter, err) || open_stream(m, err))
        return err->status;
    return sr_balance_open(m, err);
}

sr_status sr_offload_reroute(sr_model *m, sr_err *err)
{
    sr_offload *o = m->off;
    if (o->reader)
        return sr_raise(err, SR_UNSUPPORTED, "blocks left out of a model with weights on disk");
    for (int q = 0; q < SR_Q_COUNT; q++)
        if (m->be->wait(m->dev, m->be->mark(m->dev, (sr_queue)q), UINT64_MAX, err))
            return err->status;
    o->bytes_before = sr_offload_bytes(m);
    sr_stream_close(o->stream);
    o->stream = NULL;
    for (uint32_t i = 0; i < SR_STREAM_ROUTES; i++)
        end_route(&o->route[i]);
    return open_stream(m, err) ? err->status : sr_offload_bind(m, NULL, err);
}

sr_status sr_offload_bind(sr_model *m, const sr_batch *batch, sr_err *err)
{
    for (uint32_t i = 0; i < (m->off->few ? 2u : 1u); i++) {
        sr_offroute *r = &m->off->route[i];
        if (m->be->bind(r->plan, batch, 0, r->code->prog.n_weight, r->weight, err))
            return err->status;
    }
    return SR_OK;
}

void sr_offload_close(sr_model *m)
{
    sr_offload *o       = m->off;
    sr_err      ignored = {0};
    if (!o)
        return;
    sr_balance_close(m);
    sr_reader_close(o->reader);
    sr_pace_close(o->pace);
    if (m->dev) {
        sr_share_close(m);
        m->be->free(m->dev, o->slot[0]);
        m->be->free(m->dev, o->embedding);
        m->be->discard(o->route[1].plan);
        m->be->free(m->dev, o->route[1].scratch);
        for (uint32_t i = 0; i < o->n_pin; i++)
            (void)m->be->pin(m->dev, o->pin[i].p, o->pin[i].n, false, &ignored);
        m->be->free(m->dev, o->copy);
        m->be->free(m->dev, o->staging);
        m->be->free(m->dev, o->pace_word);
    }
    sr_free(o->runit);
    sr_free(o->rpart);
    sr_stream_close(o->stream);
    sr_compiled_close(o->route[1].code);
    for (uint32_t i = 0; i < SR_STREAM_ROUTES; i++)
        end_route(&o->route[i]);
    sr_free(o->pin);
    sr_free(o->copied);
    sr_free(o->coded);
    sr_free(o->layout);
    sr_free(o->outside);
    sr_free(o->device);
    sr_free(o);
    m->off = NULL;
}

/* ---- a step --------------------------------------------------------------------------------------------------------------- */

static sr_status submit(sr_model *m, const sr_offroute *r, uint32_t from, uint32_t to, sr_err *err)
{
    return sr_ops_submit(m, r->plan, r->left_out, from, to, err);
}

static sr_status stop_at(sr_model *m, const sr_stop *s, sr_err *err)
{
    switch ((sr_stopkind)s->kind) {
    case STOP_GIVE: return sr_share_give(m, s->arg, err);
    case STOP_TAKE: return sr_share_take(m, s->arg, err);
    case STOP_AWAIT: return sr_stream_await(m->off->stream, s->arg, err);
    case STOP_RELEASE: return sr_stream_release(m->off->stream, s->arg, err);
    case STOP_SKIP: break;
    }
    return SR_OK;
}

sr_status sr_offload_submit(sr_model *m, sr_err *err)
{
    sr_offload     *o   = m->off;
    const sr_shape *now = &m->block.now;
    uint32_t        which = o->few && now->tok <= o->few && now->out <= o->few && now->seq <= o->few, at = 0;
    sr_offroute    *r   = &o->route[which];
    m->ran              = r->plan;
    m->sampled_dev      = r->sampled;
    o->read_all += which ? o->read_here : 0;
    sr_balance_begin(m);
    if (sr_stream_begin(o->stream, which, err))
        return err->status;
    for (uint32_t i = 0; i < r->n_stop; i++) {
        const sr_stop *s = &r->stop[i];
        if (submit(m, r, at, s->op, err) || stop_at(m, s, err))
            return err->status;
        at = s->kind == STOP_SKIP ? s->arg : SR_MAX(at, s->op);
    }
    return submit(m, r, at, r->code->prog.n_op, err);
}

sr_status sr_offload_failed(sr_model *m, sr_err *err)
{
    sr_status s = m->off->reader ? sr_reader_failed(m->off->reader, err) : SR_OK;
    return s ? s : sr_share_failed(m, err);
}
