#include "base/err.h"
#include "base/mem.h"
#include "ops/attn/attn.h"
#include "ops/attn/attn_plan.h"
#include "ops/mathf.h"

#include <string.h>

typedef struct {
    const sr_cpujob *j;
    const sr_op     *op;
    float           *row, *part; /* [head_dim] each: a decoded K or V row, a chunk's o */
    uint32_t         seq, head, first; /* first, word: tree.h */
    uint64_t         word;
} work;

static void fetch(const work *w, uint32_t i, bool value)
{
    const sr_kvbind *kv = &w->j->batch->kv[w->op->w];
    uint32_t    head = w->head / (w->op->dim[0] / w->op->dim[1]), place = sr_tree_place(w->word, w->first, i), column = place % SR_KV_TURN;
    if (kv->turned && !value) {
        const char *block = sr_attn_row(w->j, w->seq, head, place - column, false);
        for (uint32_t d = 0; d < w->op->dim[2]; d++) {
            uint16_t h;
            memcpy(&h, block + ((size_t)d * SR_KV_TURN + column) * sizeof h, sizeof h);
            w->row[d] = sr_f16_to_f32(h);
        }
        return;
    }
    const char *at = sr_attn_row(w->j, w->seq, head, place, value);
    sr_decode_row(value ? kv->format_v : kv->format_k, at, w->row, w->op->dim[2]);
}

static float score(const work *w, const float *q, uint32_t i)
{
    float dot = 0, cap = w->op->f[1];
    fetch(w, i, false);
    for (uint32_t d = 0; d < w->op->dim[2]; d++)
        dot = fmaf(q[d], w->row[d], dot);
    float s = dot * w->op->f[0];
    return cap > 0 ? cap * sr_tanhf(s / cap) : s;
}

/* m, l and part of positions [a, b), which lie in one chunk. */
static void chunk(const work *w, const float *q, uint32_t a, uint32_t b, float *m, float *l)
{
    float p[SR_ATTN_CHUNK], lane[16] = {0};
    *m = -INFINITY;
    for (uint32_t i = a; i < b; i++) {
        p[i - a] = score(w, q, i);
        *m       = p[i - a] > *m ? p[i - a] : *m;
    }
    memset(w->part, 0, w->op->dim[2] * sizeof *w->part);
    for (uint32_t i = a; i < b; i++) {
        p[i - a] = sr_expf(p[i - a] - *m);
        lane[i % 16] += p[i - a];
        fetch(w, i, true);
        for (uint32_t d = 0; d < w->op->dim[2]; d++)
            w->part[d] = fmaf(p[i - a], w->row[d], w->part[d]);
    }
    *l = sr_fold16(lane);
}

static void attend(const work *w, const float *q, uint32_t begin, uint32_t end, float *out)
{
    uint32_t hd = w->op->dim[2];
    float    m = -INFINITY, l = 0, m2, l2;
    for (uint32_t a = begin, b; a < end; a = b) {
        b = SR_MIN(end, (a / SR_ATTN_CHUNK + 1) * SR_ATTN_CHUNK);
        chunk(w, q, a, b, &m2, &l2);
        if (a == begin) {
            m = m2;
            l = l2;
            memcpy(out, w->part, hd * sizeof *out);
            continue;
        }
        float top = m > m2 ? m : m2, fa = sr_expf(m - top), fb = sr_expf(m2 - top);
        m = top;
        l = fmaf(l, fa, l2 * fb);
        for (uint32_t d = 0; d < hd; d++)
            out[d] = fmaf(out[d], fa, w->part[d] * fb);
    }
    float inv = 1.0f / l;
    for (uint32_t d = 0; d < hd; d++)
        out[d] *= inv;
}

static void run(const sr_cpujob *j, uint32_t phase)
{
    (void)phase;
    const sr_op *op = j->op;
    uint32_t     heads = op->dim[0], hd = op->dim[2], a, b, s = 0;
    uint32_t     width = j->prog->slot[op->in[0]].width;
    float       *scratch = (float *)j->scratch + j->thread * sr_attn_thread_floats(op, j->max);
    const float *in = j->slot[op->in[0]];
    float       *out = j->slot[op->out[0]];
    sr_cpu_share(j, j->n->tok * heads, 1, &a, &b);
    for (uint32_t i = a; i < b; i++) {
        uint32_t t = i / heads, h = i % heads, begin, end;
        while (t >= j->batch->seq[s + 1])
            s++;
        work w = {j, op, scratch, scratch + hd, s, h, sr_attn_first(j, s, t), sr_attn_word(j, t)};
        sr_attn_visible(j, s, t, &begin, &end);
        attend(&w, in + (size_t)t * width + (size_t)h * hd, begin, end, out + ((size_t)t * heads + h) * hd);
    }
}

/* Each token sees on average what its sequence sees at the step's end, less half the step's own tokens. */
sr_cost sr_attn_cost(const sr_program *p, const sr_op *op, const sr_shape *n, uint32_t kv_tokens)
{
    const sr_kvshape *kv = &p->kv[op->w];
    double seqs = n->seq ? n->seq : 1, visible = kv_tokens / seqs, own = n->tok / seqs;
    double stored = (double)(sr_row_bytes(kv->format_k, op->dim[2]) + sr_row_bytes(kv->format_v, op->dim[2]));
    double each   = visible - (own - 1) / 2;
    if (op->dim[3] && visible > op->dim[3] + own - 1)
        visible = op->dim[3] + own - 1;
    if (op->dim[3] && each > op->dim[3])
        each = op->dim[3];
    double q = (double)op->dim[0] * op->dim[2];
    return (sr_cost){.bytes = seqs * visible * op->dim[1] * stored + 8.0 * n->tok * q, .flops = 4 * q * n->tok * each};
}

const sr_cpukernel        sr_attn_ref       = {.family = "attn", .isa = "ref", .phases = 1, .run = run};
const sr_cpukernel *const sr_attn_kernels[] = {
#if defined(__x86_64__)
    &sr_attn_avx512, &sr_attn_avx2,
#elif defined(__aarch64__)
    &sr_attn_neon,
#endif
    &sr_attn_ref, NULL};
