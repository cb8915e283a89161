/* model_test: what files are turned into, and which are refused, with the reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "format/gguf_testfile.h"
#include "model/model.h"

/* A model of two layers, F32, with knobs: a key left out or changed, a tensor left out, reshaped or retyped. */
typedef struct {
    const char *arch, *drop_key, *set_key, *drop_tensor, *odd_tensor;
    uint32_t    set_value, odd_type;
    const char *scaling;
    float       factor;
    bool        tied, qk_norm, qkv_bias, rope_freqs, looks_ahead;
} knobs;

enum { DIM = 64, HEADS = 4, KV = 2, HEAD = 16, FF = 96, VOCAB = 40, LAYERS = 2 };

typedef struct { sr_buf kv, tensors; uint64_t n_kv, n_t, at; const knobs *k; } builder;

static void number(builder *b, const char *suffix, uint32_t v)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", b->k->arch, suffix);
    if (b->k->drop_key && strcmp(b->k->drop_key, suffix) == 0)
        return;
    if (b->k->set_key && strcmp(b->k->set_key, suffix) == 0)
        v = b->k->set_value;
    put_kv_u32(&b->kv, key, v);
    b->n_kv++;
}

static void tensor(builder *b, const char *name, uint64_t cols, uint64_t rows)
{
    if (b->k->drop_tensor && strcmp(b->k->drop_tensor, name) == 0)
        return;
    bool     odd  = b->k->odd_tensor && strcmp(b->k->odd_tensor, name) == 0;
    uint32_t type = odd && b->k->odd_type ? b->k->odd_type : SR_F32;
    if (odd && !b->k->odd_type)
        cols += 32;
    put_tensor(&b->tensors, name, rows > 1 ? 2 : 1, (uint64_t[]){cols, rows}, type, b->at);
    b->at += sr_align_up(cols * rows * 4, 32);
    b->n_t++;
}

static void layer(builder *b, unsigned l)
{
    static const struct { const char *name; uint64_t cols, rows; int when; } t[] = {
        {"attn_norm.weight", DIM, 1, 0}, {"attn_q.weight", DIM, HEADS * HEAD, 0}, {"attn_k.weight", DIM, KV * HEAD, 0},
        {"attn_v.weight", DIM, KV * HEAD, 0}, {"attn_output.weight", HEADS * HEAD, DIM, 0}, {"ffn_norm.weight", DIM, 1, 0},
        {"ffn_gate.weight", DIM, FF, 0}, {"ffn_up.weight", DIM, FF, 0}, {"ffn_down.weight", FF, DIM, 0},
        {"attn_q.bias", HEADS * HEAD, 1, 1}, {"attn_k.bias", KV * HEAD, 1, 1}, {"attn_v.bias", KV * HEAD, 1, 1},
        {"attn_q_norm.weight", HEAD, 1, 2}, {"attn_k_norm.weight", HEAD, 1, 2}};
    for (size_t i = 0; i < SR_COUNT(t); i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.%s", l, t[i].name);
        if (t[i].when == 0 || (t[i].when == 1 && b->k->qkv_bias) || (t[i].when == 2 && b->k->qk_norm))
            tensor(b, name, t[i].cols, t[i].rows);
    }
}

static sr_buf file(const knobs *k)
{
    builder b = {.k = k};
    sr_buf  f = {0};
    char    key[96];
    put_kv_str(&b.kv, "general.architecture", k->arch);
    b.n_kv++;
    number(&b, "block_count", LAYERS);
    number(&b, "embedding_length", DIM);
    number(&b, "attention.head_count", HEADS);
    number(&b, "attention.head_count_kv", KV);
    number(&b, "feed_forward_length", FF);
    number(&b, "context_length", 512);
    if (k->set_key && (strcmp(k->set_key, "expert_count") == 0 || strcmp(k->set_key, "pooling_type") == 0))
        number(&b, k->set_key, 0);
    if (k->looks_ahead) {
        snprintf(key, sizeof key, "%s.attention.causal", k->arch);
        put_key(&b.kv, key, SR_GGUF_BOOL), put_u8(&b.kv, 0);
        b.n_kv++;
    }
    if (k->scaling) {
        snprintf(key, sizeof key, "%s.rope.scaling.type", k->arch);
        put_kv_str(&b.kv, key, k->scaling);
        snprintf(key, sizeof key, "%s.rope.scaling.factor", k->arch);
        put_key(&b.kv, key, SR_GGUF_F32), put_f32(&b.kv, k->factor);
        b.n_kv += 2;
    }
    tensor(&b, "token_embd.weight", DIM, VOCAB);
    tensor(&b, "output_norm.weight", DIM, 1);
    if (!k->tied)
        tensor(&b, "output.weight", DIM, VOCAB);
    if (k->rope_freqs)
        tensor(&b, "rope_freqs.weight", HEAD / 2, 1);
    for (unsigned l = 0; l < LAYERS; l++)
        layer(&b, l);
    put_head(&f, 3, b.n_t, b.n_kv);
    sr_buf_add(&f, b.kv.p, b.kv.n);
    sr_buf_add(&f, b.tensors.p, b.tensors.n);
    put_pad(&f, 32);
    for (uint64_t i = 0; i < b.at; i += 4)
        put_f32(&f, 2.0f);
    sr_buf_end(&b.kv);
    sr_buf_end(&b.tensors);
    return f;
}

static const sr_compilecfg cfg = {.page_tokens = 16, .kv_format_k = SR_F16, .kv_format_v = SR_F16};

static sr_status compile(const knobs *k, sr_compiled **c, sr_gguf **g, sr_buf *bytes, sr_err *err)
{
    *bytes      = file(k);
    *c          = NULL;
    *g          = NULL;
    sr_status s = sr_gguf_open_mem(bytes->p, bytes->n, g, err);
    return s ? s : sr_compile(*g, &cfg, c, err);
}

static void done(sr_compiled *c, sr_gguf *g, sr_buf *bytes)
{
    sr_compiled_close(c);
    sr_gguf_close(g);
    sr_buf_end(bytes);
}

static uint32_t ops(const sr_program *p, uint32_t code)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_op; i++)
        n += p->op[i].code == code;
    return n;
}

static void three_architectures_become_programs(void **state)
{
    (void)state;
    const knobs models[] = {{.arch = "llama"}, {.arch = "llama", .tied = true}, {.arch = "qwen2", .qkv_bias = true},
                            {.arch = "qwen3", .qk_norm = true}};
    for (size_t i = 0; i < SR_COUNT(models); i++) {
        sr_err       err = {0};
        sr_compiled *c;
        sr_gguf     *g;
        sr_buf       bytes;
        if (compile(&models[i], &c, &g, &bytes, &err))
            fail_msg("%s", err.msg);
        const sr_program *p    = &c->prog;
        bool              norm = models[i].qk_norm;
        assert_int_equal(ops(p, SR_OP_LINEAR), LAYERS * 4 + 1);
        assert_int_equal(ops(p, SR_OP_NORM), LAYERS * (norm ? 4 : 2) + 1);
        assert_int_equal(ops(p, SR_OP_ATTN), LAYERS);
        assert_int_equal(ops(p, SR_OP_GATHER), 2);
        assert_int_equal(ops(p, SR_OP_ROPETABLE), 1);
        assert_int_equal(p->n_segment, LAYERS + 2);
        assert_int_equal(p->segment[p->n_segment], p->n_op);
        assert_int_equal(c->tied, models[i].tied);
        assert_int_equal(p->op[p->n_op - 1].code, SR_OP_SAMPLE);
        for (uint32_t o = 0; o < p->n_op; o++) {
            if (p->op[o].code == SR_OP_ROPE)
                assert_int_equal(p->op[o].flags & SR_F_NEOX, i < 2 ? 0 : SR_F_NEOX);
            if (p->op[o].code == SR_OP_LINEAR && p->op[o].n_w == 3)
                assert_int_equal(p->op[o].flags & SR_F_BIAS, models[i].qkv_bias ? SR_F_BIAS : 0);
            for (int s = 0; s < 4; s++)
                assert_true(p->op[o].in[s] == SR_NONE || p->op[o].in[s] < p->n_slot);
        }
        sr_buf text = {0};
        sr_program_print(p, &text);
        assert_non_null(strstr(text.p, "attn"));
        sr_buf_end(&text);
        done(c, g, &bytes);
    }
}

static void what_contradicts_itself_is_refused_by_name(void **state)
{
    (void)state;
    const struct { knobs k; sr_status s; const char *says; } bad[] = {
        {{.arch = "mamba"}, SR_UNSUPPORTED, "mamba"},
        {{.arch = "llama", .drop_key = "block_count"}, SR_INVALID, "llama.block_count is missing"},
        {{.arch = "llama", .set_key = "block_count", .set_value = 0}, SR_INVALID, "llama.block_count is 0"},
        {{.arch = "llama", .set_key = "block_count", .set_value = 3}, SR_INVALID, "blk.2.attn_norm.weight is missing"},
        {{.arch = "llama", .set_key = "block_count", .set_value = 4000000000u}, SR_INVALID, "4000000000"},
        {{.arch = "llama", .set_key = "attention.head_count", .set_value = 3}, SR_INVALID, "no multiple"},
        {{.arch = "llama", .set_key = "attention.head_count", .set_value = 1000}, SR_INVALID, "head dimension 0"},
        {{.arch = "llama", .set_key = "embedding_length", .set_value = 128}, SR_INVALID, "128"},
        {{.arch = "llama", .set_key = "expert_count", .set_value = 8}, SR_UNSUPPORTED, "8 experts"},
        {{.arch = "llama", .drop_tensor = "blk.1.ffn_up.weight"}, SR_INVALID, "blk.1.ffn_up.weight is missing"},
        {{.arch = "llama", .odd_tensor = "blk.0.attn_q.weight"}, SR_INVALID, "blk.0.attn_q.weight is 96 x 64"},
        {{.arch = "llama", .odd_tensor = "output_norm.weight", .odd_type = SR_F16}, SR_UNSUPPORTED, "output_norm.weight is F16"},
        {{.arch = "llama", .drop_tensor = "token_embd.weight"}, SR_INVALID, "token_embd.weight is missing"},
        {{.arch = "qwen2"}, SR_INVALID, "blk.0.attn_q.bias is missing"},
        {{.arch = "qwen3"}, SR_INVALID, "blk.0.attn_q_norm.weight is missing"},
        {{.arch = "llama", .looks_ahead = true}, SR_UNSUPPORTED, "llama.attention.causal is false"},
        {{.arch = "llama", .scaling = "longrope", .factor = 2}, SR_UNSUPPORTED, "longrope"},
        {{.arch = "llama", .scaling = "linear", .factor = -1}, SR_INVALID, "rope.scaling.factor is -1"},
        {{.arch = "llama", .scaling = "yarn", .factor = NAN}, SR_INVALID, "rope.scaling.factor"},
    };
    for (size_t i = 0; i < SR_COUNT(bad); i++) {
        sr_err       err = {0};
        sr_compiled *c;
        sr_gguf     *g;
        sr_buf       bytes;
        sr_status    s = compile(&bad[i].k, &c, &g, &bytes, &err);
        if (s != bad[i].s || !strstr(err.msg, bad[i].says))
            fail_msg("case %zu: %s, \"%s\"; expected \"%s\"", i, sr_status_name(s), err.msg, bad[i].says);
        assert_null(c);
        done(c, g, &bytes);
    }
}

static void a_file_may_say_how_a_text_becomes_a_vector(void **state)
{
    (void)state;
    const knobs k[] = {{.arch = "llama"}, {.arch = "llama", .set_key = "pooling_type", .set_value = 3}};
    for (size_t i = 0; i < SR_COUNT(k); i++) {
        sr_err       err = {0};
        sr_compiled *c;
        sr_gguf     *g;
        sr_buf       bytes;
        assert_int_equal(compile(&k[i], &c, &g, &bytes, &err), SR_OK);
        assert_int_equal(c->hp.pooling, i ? 3 : SR_POOLING_ABSENT);
        assert_int_equal(c->prog.op[c->head].code, SR_OP_LINEAR); /* it reads what a vector is made of */
        assert_int_equal(c->prog.op[c->head].in[0], c->prog.hidden);
        assert_int_equal(c->prog.op[c->head].out[0], c->prog.logits);
        assert_int_equal(c->prog.op[c->head - 1].out[0], c->prog.hidden);
        done(c, g, &bytes);
    }
}

static void rope_scalings_are_frequencies(void **state)
{
    (void)state;
    sr_hparams hp = {.rope = {.dims = 16, .base = 10000, .factor = 1, .ctx_orig = 512, .attn_factor = 1, .beta_fast = 32, .beta_slow = 1}};
    float      plain[8], f[8], factors[8] = {1, 1, 1, 2, 4, 8, 8, 8};
    assert_true(sr_rope_frequencies(&hp, NULL, plain) == 1.0f);
    for (int i = 0; i < 8; i++)
        assert_true(fabs((double)plain[i] - pow(10000, -i / 8.0)) < 1e-7);
    sr_rope_frequencies(&hp, factors, f);
    for (int i = 0; i < 8; i++)
        assert_true(f[i] == plain[i] / factors[i]);
    hp.rope.factor = 4;
    sr_rope_frequencies(&hp, NULL, f);
    for (int i = 0; i < 8; i++)
        assert_true(f[i] == plain[i] / 4);
    hp.rope.yarn    = true;
    float magnitude = sr_rope_frequencies(&hp, NULL, f);
    assert_true(fabsf(magnitude - (1 + 0.1f * logf(4))) < 1e-6f);
    assert_true(f[0] == plain[0]);     /* short wavelengths are kept */
    assert_true(f[7] == plain[7] / 4); /* long ones are stretched */
    for (int i = 0; i < 8; i++)
        assert_true(f[i] <= plain[i] && f[i] >= plain[i] / 4);
}

static void rope_factors_of_the_file_are_used_and_checked(void **state)
{
    (void)state;
    sr_err       err = {0};
    sr_compiled *c;
    sr_gguf     *g;
    sr_buf       bytes;
    knobs        k = {.arch = "llama", .rope_freqs = true}; /* the file's numbers are all 2 */
    assert_int_equal(compile(&k, &c, &g, &bytes, &err), SR_OK);
    uint32_t w = 0;
    while (!c->derived[w])
        w++;
    assert_int_equal(c->prog.weight[w].role, SR_W_ROPE_FREQS);
    assert_true(c->derived[w][0] == 0.5f);
    done(c, g, &bytes);
}

static void no_failed_allocation_leaks(void **state)
{
    (void)state;
    knobs  k     = {.arch = "llama"};
    sr_buf bytes = file(&k);
    for (uint64_t nth = 1, fired = 1; fired; nth++) {
        sr_err       err = {0};
        sr_compiled *c   = NULL;
        sr_gguf     *g   = NULL;
        assert_int_equal(sr_gguf_open_mem(bytes.p, bytes.n, &g, &err), SR_OK);
        sr_fault_arm(SR_FAULT_ALLOC, nth);
        sr_status s = sr_compile(g, &cfg, &c, &err);
        fired       = sr_fault_fired(SR_FAULT_ALLOC);
        sr_fault_arm(SR_FAULT_ALLOC, 0);
        assert_int_equal(s, fired ? SR_NOMEM : SR_OK);
        sr_compiled_close(c);
        sr_gguf_close(g);
    }
    sr_buf_end(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_architectures_become_programs),
        cmocka_unit_test(what_contradicts_itself_is_refused_by_name),
        cmocka_unit_test(a_file_may_say_how_a_text_becomes_a_vector),
        cmocka_unit_test(rope_scalings_are_frequencies),
        cmocka_unit_test(rope_factors_of_the_file_are_used_and_checked),
        cmocka_unit_test(no_failed_allocation_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
