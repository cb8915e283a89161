#include "engine/units.h"

#include <string.h>

#include "base/mem.h"

/* Program units are embedding, per layer attention, gate+up, down, then head; a plan moves a feed-forward as one. */
uint32_t sr_units_of(const sr_compiled *c, uint32_t unit)
{
    uint32_t n = c->hp.n_layer;
    if (unit == 0)
        return 2 * n + 1;
    return unit == 1 + 3 * n ? 2 * n : (unit - 1) / 3 * 2 + ((unit - 1) % 3 != 0);
}

static void add_part(sr_unitpart *part, uint32_t format, uint64_t bytes, uint64_t params)
{
    for (uint32_t i = 0; i < SR_UNIT_FORMATS; i++)
        if (!part[i].bytes || part[i].format == format || i + 1 == SR_UNIT_FORMATS) { /* a fifth format counts as the fourth */
            part[i].format = part[i].bytes ? part[i].format : format;
            part[i].bytes += bytes;
            part[i].params += params;
            return;
        }
}

uint32_t sr_units_smaller(uint32_t format, uint32_t to, uint32_t cols)
{
    const sr_dtypeinfo *t = to ? sr_dtype_info(to) : NULL;
    return t && cols % t->block == 0 && sr_row_bytes(to, cols) < sr_row_bytes(format, cols) ? to : format;
}

static bool moves(const sr_compiled *c, uint32_t w) { return c->tensor[w] && c->prog.weight[w].rows > 1; }

static size_t row_bytes(const sr_compiled *c, const sr_mix *as, uint32_t w, uint32_t *format)
{
    const sr_weight  *at = &c->prog.weight[w];
    const sr_tensor  *t  = c->tensor[w];
    const sr_mixmodel mm = {c->hp.arch->name, c->hp.n_layer, c->hp.n_head, c->hp.n_head_kv, c->tied};
    uint32_t          f  = as && t ? sr_mix_dtype(as, &mm, t->name, t->n_dims, t->ne) : at->format;
    *format = f == SR_DTYPE_NONE ? at->format : f;
    return sr_row_bytes(*format, at->cols);
}

static void add_weight(sr_units *s, const sr_compiled *c, const sr_mix *as, uint32_t w)
{
    const sr_weight  *at  = &c->prog.weight[w];
    uint32_t          to  = sr_units_of(c, at->unit), f;
    uint64_t          row = row_bytes(c, as, w, &f), bytes = row * at->rows;
    sr_unit          *u   = &s->u[to];
    if (!moves(c, w)) {
        s->vectors += c->tensor[w] || c->derived[w] ? sr_row_bytes(at->format, at->cols) : 0;
        return;
    }
    if (u->kind == SR_UNIT_EMBED) {
        u->bytes = c->tied ? 0 : bytes;
        u->read  = c->tied ? 0 : row;
        s->bytes += u->bytes;
        return;
    }
    u->bytes += bytes;
    u->read += bytes;
    u->params += (uint64_t)at->rows * at->cols;
    u->hidden = u->kind == SR_UNIT_FFN ? c->hp.n_ff : 0;
    s->bytes += bytes;
    s->flops += 2.0 * at->rows * at->cols;
    add_part(s->part[to], f, bytes, (uint64_t)at->rows * at->cols);
    add_part(s->ram[to], f, bytes, (uint64_t)at->rows * at->cols);
}

/* The largest program unit of a plan's unit is what comes in at once. */
static void add_slot(sr_units *s, const sr_compiled *c, const sr_mix *as, uint32_t unit)
{
    uint64_t bytes = 0;
    for (uint32_t w = 0; w < c->prog.n_weight; w++)
        if (c->prog.weight[w].unit == unit && moves(c, w))
            bytes += (uint64_t)row_bytes(c, as, w, &(uint32_t){0}) * c->prog.weight[w].rows;
    sr_unit *u = &s->u[sr_units_of(c, unit)];
    u->slot    = SR_MAX(u->slot, bytes);
}

static void add_product(sr_units *s, const sr_compiled *c, const sr_op *o, uint32_t to)
{
    uint64_t params = 0;
    uint32_t i      = 0;
    for (uint32_t w = o->w; w < o->w + o->n_w; w++)
        params += (uint64_t)c->prog.weight[w].rows * c->prog.weight[w].cols;
    while (i + 1 < SR_UNIT_PRODUCTS && s->product[to][i])
        i++;
    s->product[to][i] += params;
}

/* What a token's op reads and writes; products and attention are measured with theirs. */
static uint32_t passed(const sr_program *p, const sr_op *o)
{
    uint32_t numbers = 0;
    if (o->code != SR_OP_NORM && o->code != SR_OP_GLU && o->code != SR_OP_ROPE && o->code != SR_OP_ADD)
        return 0;
    for (size_t i = 0; i < SR_COUNT(o->in); i++)
        numbers += o->in[i] < p->n_slot ? p->slot[o->in[i]].width : 0;
    for (size_t i = 0; i < SR_COUNT(o->out); i++)
        numbers += o->out[i] < p->n_slot ? p->slot[o->out[i]].width : 0;
    return 4 * numbers;
}

/* As a device launches them (ops/attn/attn_mma.cu): rotation and writing together, in steps of a token a sequence with attention. */
static bool turned(const sr_program *p, uint32_t op)
{
    return op > 0 && op + 1 < p->n_op && p->op[op - 1].code == SR_OP_ROPE && p->op[op].code == SR_OP_KVWRITE && p->op[op + 1].code == SR_OP_ATTN;
}

static void count_ops(sr_units *s, const sr_compiled *c)
{
    const sr_program *p = &c->prog;
    uint32_t          n = c->hp.n_layer;
    for (uint32_t i = 0; i < p->n_op; i++) {
        const sr_op *o = &p->op[i];
        bool has_unit = o->code == SR_OP_NORM || o->code == SR_OP_LINEAR, rest = o->code == SR_OP_SAMPLE;
        uint32_t to = has_unit ? sr_units_of(c, o->unit) : o->layer >= n ? (rest ? 2 * n : 2 * n + 1) : 2u * o->layer + (o->code == SR_OP_GLU);
        s->u[to].ops++;
        s->u[to].joined += o->code == SR_OP_NORM || o->code == SR_OP_GLU;
        s->u[to].turned += turned(p, i);
        s->u[to].launches += o->code != SR_OP_NORM && o->code != SR_OP_GLU && o->code != SR_OP_ROPE && !turned(p, i);
        s->u[to].passed += passed(p, o);
        if (o->code == SR_OP_LINEAR)
            add_product(s, c, o, to);
    }
    s->n_ops = p->n_op;
}

sr_status sr_units_open(const sr_compiled *c, const sr_mix *as, sr_units *s, sr_err *err)
{
    uint32_t n = c->hp.n_layer;
    *s         = (sr_units){.n = 2 * n + 2};
    s->u       = sr_calloc(s->n, sizeof *s->u);
    s->part    = sr_calloc(s->n, sizeof *s->part);
    s->ram     = sr_calloc(s->n, sizeof *s->ram);
    s->product = sr_calloc(s->n, sizeof *s->product);
    if (!s->u || !s->part || !s->ram || !s->product) {
        sr_units_close(s);
        return sr_raise(err, SR_NOMEM, "host: memory for %u units of weights", 2 * n + 2);
    }
    for (uint32_t i = 0; i < s->n; i++)
        s->u[i] = (sr_unit){.kind = (uint16_t)(i == 2 * n ? SR_UNIT_HEAD : i > 2 * n ? SR_UNIT_EMBED : i % 2 ? SR_UNIT_FFN : SR_UNIT_ATTN),
                            .layer = (uint16_t)(i / 2)};
    for (uint32_t w = 0; w < c->prog.n_weight; w++)
        add_weight(s, c, as, w);
    for (uint32_t unit = 1; unit < c->n_unit; unit++)
        add_slot(s, c, as, unit);
    count_ops(s, c);
    for (uint32_t i = 0; i < s->n; i++)
        s->read += s->u[i].read;
    return SR_OK;
}

void sr_units_close(sr_units *s)
{
    sr_free(s->u);
    sr_free(s->part);
    sr_free(s->ram);
    sr_free(s->product);
    *s = (sr_units){0};
}

/* One weight as it lies in RAM; `slot`: bytes by the program's unit. */
static void put_ram(sr_units *s, const sr_compiled *c, uint32_t w, const sr_ramweight *r, uint64_t *slot)
{
    const sr_weight *at = &c->prog.weight[w];
    uint32_t         to = sr_units_of(c, at->unit);
    sr_unit         *u  = &s->u[to];
    u->outside += r->bytes;
    u->hidden = r->coded ? 0 : u->hidden;
    slot[at->unit] += (uint64_t)at->rows * sr_row_bytes(r->format, at->cols);
    u->slot_ram = SR_MAX(u->slot_ram, slot[at->unit]);
    add_part(s->ram[to], r->format, r->bytes, (uint64_t)at->rows * at->cols);
}

sr_status sr_units_ram(sr_units *s, const sr_compiled *c, const sr_mix *as, sr_ramfn fn, void *arg, uint32_t *changed, sr_err *err)
{
    uint64_t *slot = sr_calloc(c->n_unit, sizeof *slot);
    *changed       = 0;
    if (!slot)
        return sr_raise(err, SR_NOMEM, "host: memory for %u units of weights", c->n_unit);
    memset(s->ram, 0, s->n * sizeof *s->ram);
    for (uint32_t i = 0; i < s->n; i++)
        s->u[i].outside = s->u[i].slot_ram = 0;
    for (uint32_t w = 0; w < c->prog.n_weight && !err->status; w++) {
        const sr_weight *at = &c->prog.weight[w];
        uint32_t         f;
        if (!moves(c, w) || s->u[sr_units_of(c, at->unit)].kind == SR_UNIT_EMBED)
            continue;
        uint64_t     bytes = (uint64_t)at->rows * row_bytes(c, as, w, &f);
        sr_ramweight r     = {(uint16_t)f, false, bytes};
        if (fn(arg, c, w, &r, err) == SR_OK) {
            *changed += r.bytes != bytes;
            put_ram(s, c, w, &r, slot);
        }
    }
    sr_free(slot);
    return err->status;
}

/* Bytes a second of several formats, and flops of them: their times add up.  cpu: the CPU's, of weights as they lie in RAM; beside: while a copy
 * goes on, 0 where that is not known of all of them. */
static void rates_of(const sr_unitpart *part, const sr_profile *p, uint32_t threads, uint32_t tokens, bool cpu, double *read, double *flops, double *beside)
{
    double bytes = 0, params = 0, t_read = 0, t_flops = 0, t_beside = 0;
    bool   known = true;
    for (uint32_t k = 0; k < SR_UNIT_FORMATS && part[k].bytes; k++) {
        sr_formatrates r = sr_profile_rates(p, threads, part[k].format, tokens);
        double         b = cpu ? r.cpu_read : r.dev_read, f = cpu ? r.cpu_flops : r.dev_flops;
        t_read += b > 0 ? (double)part[k].bytes / b : 0;
        t_flops += f > 0 ? (double)part[k].params / f : 0;
        t_beside += r.cpu_beside > 0 ? (double)part[k].bytes / r.cpu_beside : 0;
        known = known && r.cpu_beside > 0;
        bytes += (double)part[k].bytes;
        params += (double)part[k].params;
    }
    *read   = t_read > 0 ? bytes / t_read : 0;
    *flops  = t_flops > 0 ? params / t_flops : 0;
    *beside = known && t_beside > 0 ? bytes / t_beside : 0;
}

static uint32_t products_of(const uint64_t *product)
{
    uint32_t n = 0;
    while (n < SR_UNIT_PRODUCTS && product[n])
        n++;
    return n;
}

/* Against products of 4096 x 14336, whose rates are known by format. */
static double by_size(const uint64_t *product, const sr_profile *p, uint32_t tokens)
{
    double all = 0, time = 0;
    for (uint32_t i = 0; i < SR_UNIT_PRODUCTS && product[i]; i++) {
        all += (double)product[i];
        time += (double)product[i] / sr_profile_size(p, (double)product[i], tokens);
    }
    return time > 0 ? all / time : 1;
}

/* What attention takes longer for its sequences' rotation and writing, in launches: of the 3.1 us that one counts on an H200 1.3 are saved (0042). */
static const double TURNED = 0.58;

void sr_units_rate(const sr_units *s, const sr_profile *p, uint32_t threads, uint32_t tokens, bool prompt, sr_unit *out)
{
    double ends, none = 0;
    bool   known = sr_profile_ends(p, tokens, &ends), joins = sr_profile_joins(p);
    memcpy(out, s->u, s->n * sizeof *out);
    for (uint32_t i = 0; i < s->n; i++) {
        rates_of(s->part[i], p, threads, tokens, false, &out[i].dev_read, &out[i].dev_flops, &none);
        out[i].dev_flops *= by_size(s->product[i], p, tokens);
        const uint32_t products = products_of(s->product[i]);
        out[i].launches += (joins ? 0 : out[i].joined) + (prompt ? out[i].turned : 0) - (known ? products : 0);
        out[i].ends = products * ends + (prompt ? 0 : TURNED * out[i].turned * p->dev.op);
        rates_of(s->ram[i], p, threads, tokens, true, &out[i].cpu_read, &out[i].cpu_flops, &out[i].cpu_beside);
    }
}
