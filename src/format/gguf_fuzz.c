/* Any bytes: open, and when they are accepted, touch everything that was handed out. */
#include "format/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void check(bool ok)
{
    if (!ok)
        __builtin_trap();
}

static void touch(const void *p, uint64_t n)
{
    static volatile uint8_t sink;
    for (uint64_t i = 0; i < n; i++)
        sink = ((const uint8_t *)p)[i];
    (void)sink;
}

static void read_key(const sr_gguf *g, const sr_gguf_kv *kv)
{
    sr_err            e = {0};
    uint32_t          u = 0;
    float             f = 0;
    bool              b = false;
    sr_gguf_str       s = {"", 0};
    const sr_gguf_kv *a;
    check(sr_gguf_find(g, kv->key) == kv);
    for (uint64_t i = 0; i < kv->n; i++) {
        if (kv->str)
            touch(kv->str[i].p, kv->str[i].n);
        else if (kv->item == SR_GGUF_F32 || kv->item == SR_GGUF_F64)
            (void)sr_gguf_f32_at(kv, i);
        else
            (void)sr_gguf_int_at(kv, i);
    }
    if (sr_gguf_u32(g, kv->key, &u, &e) || sr_gguf_f32(g, kv->key, &f, &e) || sr_gguf_bool(g, kv->key, &b, &e) ||
        sr_gguf_string(g, kv->key, &s, &e) || sr_gguf_array(g, kv->key, SR_GGUF_STRING, &a, &e))
        check(e.msg[0]);
    touch(s.p, s.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    sr_gguf *g = NULL;
    sr_err   e = {0};
    if (sr_gguf_open_mem(bytes, n, &g, &e)) {
        check(e.msg[0] && !g);
        return 0;
    }
    for (size_t i = 0; i < sr_gguf_n_kv(g); i++)
        read_key(g, sr_gguf_kv_at(g, i));
    for (size_t i = 0; i < sr_gguf_n_tensors(g); i++) {
        const sr_tensor *t = sr_gguf_tensor_at(g, i);
        check(sr_gguf_tensor(g, t->name) == t);
        check(t->bytes == sr_row_bytes(t->dtype, t->ne[0]) * t->ne[1] * t->ne[2] * t->ne[3]);
        touch(t->data, t->bytes);
    }
    sr_gguf_close(g);
    return 0;
}
