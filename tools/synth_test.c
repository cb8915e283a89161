#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "format/synth.h"

static sr_synth *plan(const sr_synthshape *shape, const char *mix, bool encoded)
{
    sr_synth *p = NULL;
    sr_err    e = {0};
    if (sr_synth_plan(shape, sr_mix_find(mix), 7, encoded, &p, &e))
        fail_msg("%s", e.msg);
    return p;
}

static size_t find(const sr_synth *p, const char *name)
{
    for (size_t i = 0; i < p->n_t; i++)
        if (strcmp(p->t[i].name, name) == 0)
            return i;
    fail_msg("no tensor %s", name);
    return 0;
}

/* The sizes of the published files, less their headers. */
static void true_shapes_have_true_sizes(void **state)
{
    (void)state;
    static const struct { const char *shape, *mix; uint64_t bytes; } want[] = {
        {"8b", "Q4_K_M", 4912898048}, {"7b", "Q4_K_M", 4080263168}, {"8b", "F16", 16060522496 + 65 * 4096 * 2}};
    for (size_t i = 0; i < SR_COUNT(want); i++) {
        sr_synth *p = plan(sr_synth_shape(want[i].shape), want[i].mix, false);
        assert_int_equal(p->bytes, want[i].bytes);
        sr_synth_free(p);
    }
    for (unsigned i = 0; sr_synth_shape_at(i); i++)
        for (unsigned m = 0; sr_mix_at(m); m++)
            sr_synth_free(plan(sr_synth_shape_at(i), sr_mix_at(m)->name, false));
    assert_null(sr_synth_shape("9t"));
}

static void any_range_in_any_order_gives_the_same_bytes(void **state)
{
    (void)state;
    for (unsigned m = 0; sr_mix_at(m); m++) {
        sr_synth *p     = plan(sr_synth_shape("tiny"), sr_mix_at(m)->name, false);
        size_t    i     = find(p, "blk.1.ffn_down.weight"), step = sr_synth_chunk_bytes(&p->t[i]);
        uint64_t  n     = sr_synth_chunks(&p->t[i]);
        uint8_t  *whole = malloc((size_t)p->t[i].bytes), *parts = malloc((size_t)p->t[i].bytes);
        sr_synth_fill(p, i, 0, n, whole);
        for (uint64_t c = n; c > 0;) {
            uint64_t k = SR_MIN(c, (uint64_t)7);
            c -= k;
            sr_synth_fill(p, i, c, k, parts + c * step);
        }
        assert_memory_equal(whole, parts, (size_t)p->t[i].bytes);
        free(whole);
        free(parts);
        sr_synth_free(p);
    }
}

static void moments(const float *v, size_t n, double *mean, double *std)
{
    double s = 0, ss = 0;
    for (size_t i = 0; i < n; i++) {
        s += v[i];
        ss += (double)v[i] * v[i];
    }
    *mean = s / (double)n;
    *std  = sqrt(ss / (double)n - *mean * *mean);
}

static void every_format_has_mean_zero_and_the_wanted_spread(void **state)
{
    (void)state;
    for (unsigned m = 0; sr_mix_at(m); m++) {
        sr_synth *p = plan(sr_synth_shape("tiny"), sr_mix_at(m)->name, false);
        for (size_t i = 0; i < p->n_t; i++) {
            const sr_synthtensor *t = &p->t[i];
            if (t->kind != SR_SYNTH_MATRIX)
                continue;
            void  *b = malloc((size_t)t->bytes);
            float *f = malloc((size_t)t->n * sizeof *f);
            double mean, std;
            sr_synth_fill(p, i, 0, sr_synth_chunks(t), b);
            sr_decode_row(t->dtype, b, f, (size_t)t->n);
            moments(f, (size_t)t->n, &mean, &std);
            assert_true(fabs(std / t->std - 1) < 0.03);
            assert_true(fabs(mean) < 6 * t->std / sqrt((double)t->n) + 0.002 * t->std);
            free(b);
            free(f);
        }
        sr_synth_free(p);
    }
}

static void q8_0_never_holds_minus_128(void **state)
{
    (void)state;
    sr_synth *p = plan(sr_synth_shape("tiny"), "Q8_0", false);
    size_t    i = find(p, "blk.0.ffn_up.weight"), n = (size_t)p->t[i].bytes / sizeof(sr_q8_0);
    sr_q8_0  *b = malloc(n * sizeof *b);
    int       low = 0, high = 0;
    sr_synth_fill(p, i, 0, sr_synth_chunks(&p->t[i]), b);
    for (size_t k = 0; k < n; k++) {
        for (int j = 0; j < 32; j++) {
            low  = SR_MIN(low, b[k].qs[j]);
            high = SR_MAX(high, b[k].qs[j]);
        }
    }
    assert_int_equal(low, -127);
    assert_int_equal(high, 127);
    free(b);
    sr_synth_free(p);
}

static void encoded_weights_are_the_same_in_every_format(void **state)
{
    (void)state;
    sr_synth *a = plan(sr_synth_shape("tiny"), "F32", true), *b = plan(sr_synth_shape("tiny"), "Q4_K_M", true);
    size_t    i = find(a, "blk.1.attn_v.weight"), n = (size_t)a->t[i].n;
    float    *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y), *d = malloc(n * sizeof *d);
    double    mean, std;
    sr_synth_fill(a, i, 0, sr_synth_chunks(&a->t[i]), x);
    sr_synth_fill(b, i, 0, sr_synth_chunks(&b->t[i]), y);
    sr_decode_row(b->t[i].dtype, y, d, n);
    for (size_t k = 0; k < n; k++)
        d[k] -= x[k];
    moments(d, n, &mean, &std);
    assert_true(std < 0.1 * a->t[i].std);
    free(x), free(y), free(d);
    sr_synth_free(a);
    sr_synth_free(b);
}

/* The whole model in memory, as a reader sees it. */
static sr_gguf *in_memory(const sr_synth *p, sr_buf *bytes, sr_err *err)
{
    sr_gguf_writer *w = NULL;
    sr_gguf        *g = NULL;
    if (sr_gguf_create(NULL, &w, err))
        return NULL;
    sr_synth_put_keys(p, w);
    sr_status s = sr_synth_vocab(&p->shape, w, err);
    sr_synth_put_tensors(p, 0, p->n_t, w);
    if (!s)
        s = sr_gguf_header(w, bytes, err);
    sr_gguf_abandon(w);
    for (size_t i = 0; i < p->n_t && !s; i++) {
        if (!sr_buf_reserve(bytes, (size_t)p->t[i].bytes + 32)) {
            s = sr_raise(err, SR_NOMEM, "bytes");
            break;
        }
        sr_synth_fill(p, i, 0, sr_synth_chunks(&p->t[i]), bytes->p + bytes->n);
        bytes->n += (size_t)p->t[i].bytes;
        while (bytes->n % 32)
            sr_buf_char(bytes, 0);
    }
    if (s || sr_gguf_open_mem(bytes->p, bytes->n, &g, err))
        return NULL;
    return g;
}

static void a_model_in_memory_is_a_valid_file(void **state)
{
    (void)state;
    static const char *const names[] = {"tiny", "tiny-qwen2", "tiny-qwen3"};
    for (size_t i = 0; i < SR_COUNT(names); i++) {
        sr_synth *p = plan(sr_synth_shape(names[i]), "Q4_K_M", false);
        sr_buf    b = {0};
        sr_err    e = {0};
        sr_gguf  *g = in_memory(p, &b, &e);
        if (!g)
            fail_msg("%s", e.msg);
        assert_int_equal(sr_gguf_n_tensors(g), p->n_t);
        assert_int_equal(sr_gguf_find(g, "tokenizer.ggml.tokens")->n, p->shape.n_vocab);
        assert_int_equal(sr_gguf_tensor(g, "output.weight") == NULL, p->shape.tied);
        assert_int_equal(sr_gguf_tensor(g, "blk.1.attn_k.bias") != NULL, i == 1);
        assert_int_equal(sr_gguf_tensor(g, "blk.1.attn_k_norm.weight") != NULL, i == 2);
        sr_gguf_close(g);
        sr_buf_end(&b);
        sr_synth_free(p);
    }
}

static void llama3_rope_factors_keep_short_waves_and_stretch_long_ones(void **state)
{
    (void)state;
    sr_synth *p = plan(sr_synth_shape("llama3.1-8b"), "Q4_K_M", false);
    size_t    i = find(p, "rope_freqs.weight");
    float     f[64];
    assert_int_equal(p->t[i].bytes, sizeof f);
    sr_synth_fill(p, i, 0, 1, f);
    assert_true(f[0] == 1 && f[28] == 1 && f[63] == 8 && f[36] == 8);
    for (int k = 1; k < 64; k++)
        assert_true(f[k] >= f[k - 1]);
    assert_true(f[32] > 1 && f[32] < 8);
    sr_synth_free(p);
}

static int by_text(const void *a, const void *b)
{
    const sr_gguf_str *x = a, *y = b;
    int                d = memcmp(x->p, y->p, SR_MIN(x->n, y->n));
    return d ? d : (x->n > y->n) - (x->n < y->n);
}

static void the_made_up_vocabulary_has_no_doubles_and_true_merges(void **state)
{
    (void)state;
    for (int spm = 0; spm < 2; spm++) {
        sr_synthshape shape = *sr_synth_shape("tiny");
        shape.n_vocab       = 32000;
        shape.spm           = spm;
        sr_synth *p = plan(&shape, "Q4_0", false);
        sr_buf    b = {0};
        sr_err    e = {0};
        sr_gguf  *g = in_memory(p, &b, &e);
        if (!g)
            fail_msg("%s", e.msg);
        const sr_gguf_kv *tok = sr_gguf_find(g, "tokenizer.ggml.tokens"), *merge = sr_gguf_find(g, "tokenizer.ggml.merges");
        sr_gguf_str      *v   = malloc((size_t)tok->n * sizeof *v);
        memcpy(v, tok->str, (size_t)tok->n * sizeof *v);
        qsort(v, (size_t)tok->n, sizeof *v, by_text);
        for (uint64_t i = 1; i < tok->n; i++)
            assert_true(by_text(&v[i - 1], &v[i]) < 0);
        assert_int_equal(merge == NULL, spm);
        for (uint64_t i = 0; merge && i < merge->n; i++) {
            const char *s = merge->str[i].p, *gap = memchr(s, ' ', merge->str[i].n);
            char        both[16];
            assert_non_null(gap);
            size_t      l = (size_t)(gap - s), r = merge->str[i].n - l - 1;
            memcpy(both, s, l);
            memcpy(both + l, gap + 1, r);
            assert_non_null(bsearch(&(sr_gguf_str){s, l}, v, (size_t)tok->n, sizeof *v, by_text));
            assert_non_null(bsearch(&(sr_gguf_str){gap + 1, r}, v, (size_t)tok->n, sizeof *v, by_text));
            assert_non_null(bsearch(&(sr_gguf_str){both, l + r}, v, (size_t)tok->n, sizeof *v, by_text));
        }
        free(v);
        sr_gguf_close(g);
        sr_buf_end(&b);
        sr_synth_free(p);
    }
}

static void impossible_shapes_are_refused_with_their_numbers(void **state)
{
    (void)state;
    const sr_synthshape tiny = *sr_synth_shape("tiny");
    sr_synthshape       bad[6] = {tiny, tiny, tiny, tiny, tiny, tiny};
    static const char *const needle[] = {"4 heads are not a multiple of 3 KV heads", "head size 63 is odd", "layers: 0",
                                         "architecture \"gpt2\"", "rope scaling yarn: needs a factor", "width: 2097152"};
    bad[0].n_head_kv    = 3;
    bad[1].head_dim     = 63;
    bad[2].n_layer      = 0;
    bad[3].arch         = "gpt2";
    bad[4].rope_scaling = "yarn";
    bad[5].dim          = 1 << 21;
    for (size_t i = 0; i < SR_COUNT(bad); i++) {
        sr_synth *p = NULL;
        sr_err    e = {0};
        assert_int_not_equal(sr_synth_plan(&bad[i], sr_mix_find("Q4_0"), 1, false, &p, &e), SR_OK);
        assert_non_null(strstr(e.msg, needle[i]));
        assert_null(p);
    }
    sr_synthshape small = tiny;
    sr_gguf_writer *w   = NULL;
    sr_err          e   = {0};
    small.n_vocab       = 100;
    assert_int_equal(sr_gguf_create(NULL, &w, &e), SR_OK);
    assert_int_equal(sr_synth_vocab(&small, w, &e), SR_INVALID);
    assert_non_null(strstr(e.msg, "100 tokens cannot hold all bytes"));
    sr_gguf_abandon(w);
}

static void every_failing_allocation_is_reported(void **state)
{
    (void)state;
    bool fired = true;
    for (uint64_t nth = 1; fired; nth++) {
        sr_synth *p = NULL;
        sr_gguf  *g = NULL;
        sr_buf    b = {0};
        sr_err    e = {0};
        sr_fault_arm(SR_FAULT_ALLOC, nth);
        if (sr_synth_plan(sr_synth_shape("tiny"), sr_mix_find("Q4_0"), 1, false, &p, &e) == SR_OK)
            g = in_memory(p, &b, &e);
        fired = sr_fault_fired(SR_FAULT_ALLOC);
        sr_fault_arm(SR_FAULT_ALLOC, 0);
        assert_int_equal(g == NULL, fired);
        assert_true(g || (e.status == SR_NOMEM && e.msg[0]));
        sr_gguf_close(g);
        sr_buf_end(&b);
        sr_synth_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(true_shapes_have_true_sizes),
        cmocka_unit_test(any_range_in_any_order_gives_the_same_bytes),
        cmocka_unit_test(every_format_has_mean_zero_and_the_wanted_spread),
        cmocka_unit_test(q8_0_never_holds_minus_128),
        cmocka_unit_test(encoded_weights_are_the_same_in_every_format),
        cmocka_unit_test(a_model_in_memory_is_a_valid_file),
        cmocka_unit_test(llama3_rope_factors_keep_short_waves_and_stretch_long_ones),
        cmocka_unit_test(the_made_up_vocabulary_has_no_doubles_and_true_merges),
        cmocka_unit_test(impossible_shapes_are_refused_with_their_numbers),
        cmocka_unit_test(every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
