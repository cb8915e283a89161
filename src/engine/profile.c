/* profile.c - what a program's launches took, added up over layers: the table of `strata bench --ops`; what a step must compute. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/offload.h"
#include "engine/skip.h"

enum { CHAIN = 4 /* names of so many ops are too many */, WAYS = 8 /* launches that begin with an op, in steps of different shapes, at most */ };

/* "blk.3.attn_q.weight" -> "attn_q", added to a list. */
static void add_name(char *list, size_t cap, const char *tensor)
{
    const char *dot = strncmp(tensor, "blk.", 4) == 0 ? strchr(tensor + 4, '.') : NULL;
    const char *p   = dot ? dot + 1 : tensor, *end = strchr(p, '.');
    size_t      n   = strlen(list);
    snprintf(list + n, cap - n, "%s%.*s", n ? "," : "", (int)(end ? (size_t)(end - p) : strlen(p)), p);
}

static void add_format(char *list, size_t cap, uint16_t format)
{
    const char *name = sr_dtype_name(format);
    size_t      n    = strlen(list);
    if (!strstr(list, name))
        snprintf(list + n, cap - n, "%s%s", n ? "," : "", name);
}

/* Weights of an op that are worth a name in a launch of n ops: beside products norms are not. */
static bool named(uint32_t code, uint32_t n) { return code == SR_OP_LINEAR || (n == 1 && (code == SR_OP_EMBED || code == SR_OP_NORM)); }

static void label(const sr_compiled *code, const sr_opstat *s, sr_opline *l)
{
    const sr_program *p = &code->prog;
    *l = (sr_opline){.n_op = s->n_op, .launches = 1};
    if (s->n_op >= CHAIN)
        snprintf(l->op, sizeof l->op, "chain of %u", s->n_op);
    for (const sr_op *op = &p->op[s->op]; op < &p->op[s->op + s->n_op]; op++) {
        size_t at = strlen(l->op);
        if (s->n_op < CHAIN)
            snprintf(l->op + at, sizeof l->op - at, "%s%s", at ? "+" : "", sr_op_name(op->code));
        for (uint32_t i = 0; named(op->code, s->n_op) && i < op->n_w; i++) {
            const sr_tensor *t = code->tensor[op->w + i];
            add_name(l->weights, sizeof l->weights, t ? t->name : "constants");
            add_format(l->format, sizeof l->format, p->weight[op->w + i].format);
        }
        if (op->code == SR_OP_ATTN || op->code == SR_OP_KVWRITE) {
            add_format(l->format, sizeof l->format, p->kv[op->w].format_k);
            add_format(l->format, sizeof l->format, p->kv[op->w].format_v);
        }
    }
}

static void add(sr_opstat *to, const sr_opstat *s)
{
    to->ns += s->ns;
    to->calls += s->calls;
    to->cycles += s->cycles;
    to->bytes += s->bytes;
    to->flops += s->flops;
}

/* Launches of the same kind become a line. */
static sr_status gather(const sr_compiled *code, const sr_timed *t, sr_optable *out, sr_err *err)
{
    out->steps += t->steps;
    out->ns += t->ns;
    for (size_t i = 0, k; i < t->n; i++) {
        sr_opline line;
        label(code, &t->op[i], &line);
        for (k = 0; k < out->n; k++)
            if (!strcmp(out->line[k].op, line.op) && !strcmp(out->line[k].weights, line.weights) && !strcmp(out->line[k].format, line.format))
                break;
        if (k == out->cap)
            return sr_raise(err, SR_INVALID, "more than %zu kinds of launches", out->cap);
        if (k == out->n)
            out->line[out->n++] = line;
        else
            out->line[k].launches++;
        add(&out->line[k].stat, &t->op[i]);
    }
    return SR_OK;
}

static sr_status read_plan(const sr_model *m, const sr_compiled *code, sr_plan *plan, sr_timing next, sr_optable *out, sr_err *err)
{
    sr_timed t = {.cap = (size_t)code->prog.n_op * WAYS};
    if (!(t.op = sr_calloc(t.cap, sizeof *t.op)))
        return sr_raise(err, SR_NOMEM, "host: memory for times of %zu launches", t.cap);
    sr_status s = m->be->profile(plan, next, &t, err);
    if (s == SR_OK && out)
        s = gather(code, &t, out, err);
    sr_free(t.op);
    return s;
}

/* Steps of a few tokens whose weights lie elsewhere have a program of their own. */
sr_status sr_model_profile(sr_model *m, sr_timing next, sr_optable *out, sr_err *err)
{
    const sr_offroute *few = m->off && m->off->route[1].plan ? &m->off->route[1] : NULL;
    if (!m->be->profile)
        return sr_raise(err, SR_UNSUPPORTED, "%s: no times of ops", m->be->name);
    if (out)
        out->n = out->steps = out->ns = 0;
    if (read_plan(m, m->code, m->plan, next, out, err) || (few && read_plan(m, few->code, few->plan, next, out, err)))
        return err->status;
    m->timed = next != SR_TIME_NOTHING;
    return SR_OK;
}

double sr_model_flops(const sr_model *m, const sr_shape *n, uint32_t kv_tokens)
{
    const sr_program *p = &m->code->prog;
    double            flops = 0;
    for (uint32_t i = 0; i < p->n_op; i++)
        if ((p->op[i].code == SR_OP_LINEAR || p->op[i].code == SR_OP_ATTN) && !sr_left_out(m, i))
            flops += sr_op_cost(p, i, n, kv_tokens).flops;
    return flops;
}
