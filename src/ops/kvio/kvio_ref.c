#include "ops/kvio/kvio.h"

#include <string.h>

/* The row as F16, its numbers SR_KV_TURN apart. */
static void store_turned(const float *x, char *at, uint32_t n)
{
    for (uint32_t d = 0; d < n; d++) {
        uint16_t h = sr_f32_to_f16(x[d]);
        memcpy(at + (size_t)d * SR_KV_TURN * sizeof h, &h, sizeof h);
    }
}

static void run(const sr_cpujob *j, uint32_t phase)
{
    (void)phase;
    const sr_op      *op = j->op;
    const sr_kvbind  *kv = &j->batch->kv[op->w];
    const sr_kvstride st = kv->stride;
    const uint32_t   *dst = j->batch->dst + (size_t)op->w * j->max->tok;
    const float      *x = j->slot[op->in[0]];
    uint32_t          width = j->prog->slot[op->in[0]].width, hd = op->dim[2], a, b;
    sr_cpu_share(j, j->n->tok, 1, &a, &b);
    for (uint32_t t = a; t < b; t++) {
        char *page = (char *)kv->base + dst[t] / kv->page_tokens * st.page + op->n_w * st.layer;
        char *at = page + dst[t] % kv->page_tokens * st.tok, *turned = page + sr_kv_turned_at(kv, dst[t] % kv->page_tokens);
        const float *row = x + (size_t)t * width;
        for (uint32_t h = 0; h < kv->kv_heads; h++) {
            if (kv->turned)
                store_turned(row + op->dim[0] + (size_t)h * hd, turned + h * st.head, hd);
            else
                sr_encode_row(kv->format_k, row + op->dim[0] + (size_t)h * hd, at + h * st.head, hd);
            sr_encode_row(kv->format_v, row + op->dim[1] + (size_t)h * hd, at + st.kv + h * st.head, hd);
        }
    }
}

sr_cost sr_kvio_cost(const sr_program *p, const sr_op *op, const sr_shape *n)
{
    const sr_kvshape *kv = &p->kv[op->w];
    double numbers = (double)n->tok * kv->kv_heads * op->dim[2];
    double stored  = (double)(sr_row_bytes(kv->format_k, op->dim[2]) + sr_row_bytes(kv->format_v, op->dim[2]));
    return (sr_cost){.bytes = 8 * numbers + stored * n->tok * kv->kv_heads, .flops = 2 * numbers};
}

const sr_cpukernel        sr_kvio_ref       = {.family = "kvio", .isa = "ref", .phases = 1, .run = run};
const sr_cpukernel *const sr_kvio_kernels[] = {
#if defined(__x86_64__)
    &sr_kvio_avx512, &sr_kvio_avx2,
#elif defined(__aarch64__)
    &sr_kvio_neon,
#endif
    &sr_kvio_ref, NULL};
