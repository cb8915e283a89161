#include "base/err.h"
#include "base/mem.h"
#include "ops/attn/attn.h"
#include "ops/embed/embed.h"
#include "ops/glu/glu.h"
#include "ops/kvio/kvio.h"
#include "ops/linear/between.h"
#include "ops/linear/linear.h"
#include "ops/move/move.h"
#include "ops/norm/norm.h"
#include "ops/rope/rope.h"
#include "ops/sample/sample.h"

enum { ALIGN = 64 }; /* a cache line, and the widest vector */

typedef sr_cost (*costfn)(const sr_program *, const sr_op *, const sr_shape *);
typedef size_t (*scratchfn)(const sr_program *, const sr_op *, const sr_shape *, uint32_t workers);

static const struct {
    const char *name;
    costfn      cost; /* NULL: attention, which must also be told what is visible */
    scratchfn   scratch;
} family[SR_OP_COUNT] = {
    [SR_OP_EMBED]     = {"embed", sr_embed_cost, NULL},
    [SR_OP_NORM]      = {"norm", sr_norm_cost, NULL},
    [SR_OP_LINEAR]    = {"linear", sr_linear_cost, sr_linear_scratch},
    [SR_OP_ROPETABLE] = {"ropetable", sr_rope_cost, NULL},
    [SR_OP_ROPE]      = {"rope", sr_rope_cost, NULL},
    [SR_OP_KVWRITE]   = {"kvwrite", sr_kvio_cost, NULL},
    [SR_OP_ATTN]      = {"attn", NULL, sr_attn_scratch},
    [SR_OP_GLU]       = {"glu", sr_glu_cost, NULL},
    [SR_OP_ADD]       = {"add", sr_move_cost, NULL},
    [SR_OP_GATHER]    = {"gather", sr_move_cost, NULL},
    [SR_OP_SAMPLE]    = {"sample", sr_sample_cost, sr_sample_scratch},
};

const char *sr_op_name(uint32_t code) { return code < SR_OP_COUNT ? family[code].name : "unknown"; }

sr_cost sr_op_cost(const sr_program *p, uint32_t op, const sr_shape *n, uint32_t kv_tokens)
{
    const sr_op *o = &p->op[op];
    SR_ASSERT(op < p->n_op && o->code < SR_OP_COUNT, "op %u of %u", op, p->n_op);
    return family[o->code].cost ? family[o->code].cost(p, o, n) : sr_attn_cost(p, o, n, kv_tokens);
}

sr_cost sr_group_cost(const sr_program *p, uint32_t op, uint32_t n_op, const sr_shape *n, uint32_t kv_tokens)
{
    sr_cost all = {0};
    for (uint32_t i = op; i < op + n_op; i++) {
        const sr_op *o = &p->op[i];
        sr_cost      c = sr_op_cost(p, i, n, kv_tokens);
        all.bytes += c.bytes;
        all.flops += c.flops;
        if (i + 1 < op + n_op && o->out[0] != SR_NONE && o->out[0] != o->in[0] && p->op[i + 1].in[0] == o->out[0] && !sr_read_later(p, i + 1, o->out[0], i + 1))
            all.bytes -= 2.0 * sr_slot_rows(&p->slot[o->out[0]], n) * p->slot[o->out[0]].width * 4;
    }
    return all;
}

size_t sr_op_scratch(const sr_program *p, uint32_t op, const sr_shape *max, uint32_t workers)
{
    const sr_op *o = &p->op[op];
    SR_ASSERT(op < p->n_op && o->code < SR_OP_COUNT, "op %u of %u", op, p->n_op);
    return family[o->code].scratch ? family[o->code].scratch(p, o, max, workers) : 0;
}

uint32_t sr_slot_rows(const sr_slot *s, const sr_shape *n)
{
    switch (s->rows) {
    case SR_ROWS_TOK: return n->tok;
    case SR_ROWS_PAIR: return n->tok * s->fixed; /* fixed: experts used by a token */
    case SR_ROWS_OUT: return n->out;
    case SR_ROWS_SEQ: return n->seq;
    default: return s->fixed;
    }
}

size_t sr_program_scratch(const sr_program *p, const sr_shape *max, uint32_t workers)
{
    size_t slots = 0, most = 0;
    for (uint32_t i = 0; i < p->n_slot; i++)
        slots += sr_align_up((size_t)sr_slot_rows(&p->slot[i], max) * p->slot[i].width * 4, ALIGN);
    for (uint32_t i = 0; i < p->n_op; i++)
        most = SR_MAX(most, sr_op_scratch(p, i, max, workers));
    return slots + sr_align_up(most, ALIGN);
}
