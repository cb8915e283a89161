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

static void count_ops(sr_units *s, const sr_compiled *c)
{
    const sr_program *p = &c->prog;
    uint32_t          n = c->hp.n_layer;
    for (uint32_t i = 0; i < p->n_op; i++) {
        const sr_op *o = &p->op[i];
        bool has_unit = o->code == SR_OP_NORM || o->code == SR_OP_LINEAR, rest = o->code == SR_OP_SAMPLE;
        uint32_t to = has_unit ? sr_units_of(c, o->unit) : o->layer >= n ? (rest ? 2 * n : 2 * n + 1) : 2u * o->layer + (o->code == SR_OP_GLU);
        s->u[to].ops++;
    }
    s->n_ops = p->n_op;
}

sr_status sr_units_open(const sr_compiled *c, const sr_mix *as, sr_units *s, sr_err *err)
{
    uint32_t n = c->hp.n_layer;
    *s         = (sr_units){.n = 2 * n + 2};
    s->u       = sr_calloc(s->n, sizeof *s->u);
    s->part    = sr_calloc(s->n, sizeof *s->part);
    if (!s->u || !s->part) {
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
    *s = (sr_units){0};
}

/* One rate for several formats: their times add up. */
void sr_units_rate(const sr_units *s, const sr_profile *p, uint32_t threads, uint32_t tokens, sr_unit *out)
{
    memcpy(out, s->u, s->n * sizeof *out);
    for (uint32_t i = 0; i < s->n; i++) {
        double bytes = 0, params = 0, t[4] = {0};
        for (uint32_t k = 0; k < SR_UNIT_FORMATS && s->part[i][k].bytes; k++) {
            const sr_unitpart *at = &s->part[i][k];
            sr_formatrates     r  = sr_profile_rates(p, threads, at->format, tokens);
            const double       v[4] = {r.dev_read, r.cpu_read, r.dev_flops, r.cpu_flops};
            for (int j = 0; j < 4; j++)
                t[j] += v[j] > 0 ? (double)(j < 2 ? at->bytes : at->params) / v[j] : 0;
            bytes += (double)at->bytes;
            params += (double)at->params;
        }
        out[i].dev_read  = t[0] > 0 ? bytes / t[0] : 0;
        out[i].cpu_read  = t[1] > 0 ? bytes / t[1] : 0;
        out[i].dev_flops = t[2] > 0 ? params / t[2] : 0;
        out[i].cpu_flops = t[3] > 0 ? params / t[3] : 0;
    }
}
