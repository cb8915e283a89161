/* print.c - a program as text: what `strata info --program` shows, and what a diff of two compilers would compare. */
#include "model/model.h"

static void slots(const sr_program *p, const uint16_t *s, int n, sr_buf *out)
{
    static const char *const rows[] = {"tok", "pair", "out", "seq", "fixed"};
    for (int i = 0; i < n; i++)
        if (s[i] != SR_NONE)
            sr_buf_fmt(out, " s%u[%s][%u]", s[i], rows[p->slot[s[i]].rows], p->slot[s[i]].width);
}

void sr_program_print(const sr_program *p, sr_buf *out)
{
    for (uint32_t i = 0, seg = 0; i < p->n_op; i++) {
        const sr_op *o = &p->op[i];
        while (seg < p->n_segment && p->segment[seg] == i)
            sr_buf_fmt(out, "# segment %u\n", seg++);
        sr_buf_fmt(out, "%4u %-9s", i, sr_op_name(o->code));
        slots(p, o->in, 4, out);
        sr_buf_str(out, " ->");
        slots(p, o->out, 3, out);
        if (o->epilogue != SR_NONE)
            sr_buf_fmt(out, " + s%u", o->epilogue);
        if (o->code != SR_OP_ATTN && o->code != SR_OP_KVWRITE)
            for (uint32_t k = 0; k < o->n_w; k++)
                sr_buf_fmt(out, " w%u:%s[%u][%u]", o->w + k, sr_dtype_name(p->weight[o->w + k].format), p->weight[o->w + k].rows,
                           p->weight[o->w + k].cols);
        sr_buf_fmt(out, "%s%s%s\n", o->flags & SR_F_BIAS ? " bias" : "", o->flags & SR_F_NEOX ? " neox" : "",
                   o->flags & SR_F_GELU ? " gelu" : "");
    }
}
