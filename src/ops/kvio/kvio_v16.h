/* kvio_v16.h - stores keys and values in sixteen lanes; compiled by kvio_avx2.c, kvio_avx512.c and kvio_neon.c. */
#include "base/cpu.h"
#include "ops/kvio/kvio.h"
#include "ops/v16.h"

static void store_f16(const float *x, uint16_t *y, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 16)
        v16_to_f16(y + i, v16_load(x + i));
}

/* Halves away from zero, as roundf: |x| + 0.5 would round 0.49999997 up, so the fraction is looked at. */
V16_FN v16 round_away(v16 x)
{
    v16 t = v16_trunc(x), far = v16_abs(v16_sub(x, t));
    v16 one = v16_or(v16_set1(1.0f), v16_xor(x, v16_abs(x)));
    return v16_select(v16_lt(far, v16_set1(0.5f)), t, v16_add(t, one));
}

/* As sr_encode_row, which also has what a block with infinities or NaNs becomes: rare, so left to it. */
static void store_q8(const float *x, sr_q8_0 *y, uint32_t n)
{
    v16 limit = v16_set1(127.0f);
    for (; n; n -= 32, x += 32, y++) {
        v16   a = v16_load(x), b = v16_load(x + 16);
        v16   sum  = v16_add(v16_mul(a, v16_zero()), v16_mul(b, v16_zero())); /* NaN where not finite */
        float peak = v16_top(v16_max(v16_abs(a), v16_abs(b)));
        if (m16_bits(v16_isnan(sum))) {
            sr_encode_row(SR_Q8_0, x, y, 32);
            continue;
        }
        float d = peak / 127, inv = d != 0 ? 1 / d : 0;
        v16   scale = v16_set1(inv);
        y->d        = sr_f32_to_f16(d);
        v16_to_i8(y->qs, v16_max(v16_min(round_away(v16_mul(a, scale)), limit), v16_neg(limit)));
        v16_to_i8(y->qs + 16, v16_max(v16_min(round_away(v16_mul(b, scale)), limit), v16_neg(limit)));
    }
}

static void store_turned(const float *x, uint16_t *y, uint32_t n)
{
    uint16_t h[16];
    for (uint32_t i = 0; i < n; i += 16, y += 16 * SR_KV_TURN) {
        v16_to_f16(h, v16_load(x + i));
        V16_UNROLL for (size_t k = 0; k < 16; k++)
            y[k * SR_KV_TURN] = h[k];
    }
}

static void store(uint32_t format, const float *x, char *y, uint32_t n)
{
    if (format == SR_F16)
        store_f16(x, (uint16_t *)(void *)y, n);
    else
        store_q8(x, (sr_q8_0 *)(void *)y, n);
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
    sr_cpu_share(j, j->n->tok * kv->kv_heads, 1, &a, &b);
    for (uint32_t i = a; i < b; i++) {
        uint32_t     t = i / kv->kv_heads, h = i % kv->kv_heads;
        const float *row = x + (size_t)t * width + (size_t)h * hd;
        char        *page = (char *)kv->base + dst[t] / kv->page_tokens * st.page + op->n_w * st.layer + h * st.head;
        char        *at   = page + dst[t] % kv->page_tokens * st.tok;
        if (kv->turned)
            store_turned(row + op->dim[0], (uint16_t *)(void *)(page + sr_kv_turned_at(kv, dst[t] % kv->page_tokens)), hd);
        else
            store(kv->format_k, row + op->dim[0], at, hd);
        store(kv->format_v, row + op->dim[1], at + st.kv, hd);
    }
}

static bool supports(const sr_program *p, const sr_op *op)
{
    const sr_kvshape *kv = &p->kv[op->w];
    bool k = kv->format_k == SR_F16 || kv->format_k == SR_Q8_0, v = kv->format_v == SR_F16 || kv->format_v == SR_Q8_0;
    return op->dim[2] % 16 == 0 && k && v;
}
