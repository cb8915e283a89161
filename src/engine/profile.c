/* profile.c - what a program's ops took, added up over layers: the table of `strata bench --ops`. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/internal.h"

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

static bool has_weights(uint32_t code) { return code == SR_OP_EMBED || code == SR_OP_NORM || code == SR_OP_LINEAR; }

static void label(const sr_model *m, const sr_op *op, sr_opline *l)
{
    const sr_kvshape *kv = m->code->prog.kv;
    *l = (sr_opline){.n_op = 1};
    snprintf(l->op, sizeof l->op, "%s", sr_op_name(op->code));
    for (uint32_t i = 0; has_weights(op->code) && i < op->n_w; i++) {
        const sr_tensor *t = m->code->tensor[op->w + i];
        add_name(l->weights, sizeof l->weights, t ? t->name : "constants");
        add_format(l->format, sizeof l->format, m->code->prog.weight[op->w + i].format);
    }
    if (op->code == SR_OP_ATTN || op->code == SR_OP_KVWRITE) {
        add_format(l->format, sizeof l->format, kv[op->w].format_k);
        add_format(l->format, sizeof l->format, kv[op->w].format_v);
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

sr_status sr_model_profile(sr_model *m, sr_opline *out, size_t cap, size_t *n, bool reset, sr_err *err)
{
    const sr_program *p    = &m->code->prog;
    sr_opstat        *stat = sr_calloc(p->n_op, sizeof *stat);
    sr_status         s    = SR_OK;
    *n                     = 0;
    if (!stat)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a profile", p->n_op * sizeof *stat);
    if (!m->be->profile)
        s = sr_raise(err, SR_UNSUPPORTED, "%s: no times of single ops", m->be->name);
    else
        s = m->be->profile(m->plan, stat, reset, err);
    for (uint32_t i = 0; s == SR_OK && i < p->n_op; i++) {
        sr_opline line;
        size_t    k = 0;
        label(m, &p->op[i], &line);
        while (k < *n && (strcmp(out[k].op, line.op) || strcmp(out[k].weights, line.weights) || strcmp(out[k].format, line.format)))
            k++;
        if (k == cap)
            s = sr_raise(err, SR_INVALID, "more than %zu kinds of ops", cap);
        else if (k == *n)
            out[(*n)++] = line;
        else
            out[k].n_op++;
        if (s == SR_OK)
            add(&out[k].stat, &stat[i]);
    }
    sr_free(stat);
    return s;
}
