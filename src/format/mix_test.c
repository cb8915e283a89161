/* The expected choices are those of llama.cpp v0.5.0's llama_model_quantize() on F16 models of these shapes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "format/mix.h"

static sr_dtype dtype(const char *mix, const sr_mixmodel *m, const char *name, uint64_t row)
{
    return sr_mix_dtype(sr_mix_find(mix), m, name, 2, (uint64_t[]){row, 64});
}

/* One letter per layer: 4, 5, 6 or 8 bits. */
static void assert_layers(const char *mix, const sr_mixmodel *m, const char *tail, const char *want)
{
    char got[128] = {0};
    for (uint32_t i = 0; i < m->n_layer; i++) {
        char     name[64];
        snprintf(name, sizeof name, "blk.%u.%s", i, tail);
        sr_dtype t = dtype(mix, m, name, 256);
        got[i]     = t == SR_Q4_K || t == SR_Q4_0 ? '4' : t == SR_Q5_K ? '5' : t == SR_Q6_K ? '6' : t == SR_Q8_0 ? '8' : '?';
    }
    assert_string_equal(got, want);
}

static void q4_k_m_gives_some_layers_more_bits(void **state)
{
    (void)state;
    const sr_mixmodel m = {"llama", 32, 32, 8, false};
    assert_layers("q4_k_m", &m, "attn_v.weight", "66664464464464464464464464466666");
    assert_layers("q4_k_m", &m, "ffn_down.weight", "66664464464464464464464464466666");
    assert_layers("q5_k_m", &m, "ffn_down.weight", "66665565565565565565565565566666");
    assert_layers("q4_k_m", &m, "ffn_up.weight", "44444444444444444444444444444444");
    assert_layers("q4_k_m", &m, "attn_output.weight", "44444444444444444444444444444444");
    const sr_mixmodel tiny = {"llama", 22, 32, 4, false};
    assert_layers("q4_k_m", &tiny, "attn_v.weight", "6644644644644644644666");
}

static void the_small_mixtures_give_the_first_layers_more(void **state)
{
    (void)state;
    const sr_mixmodel m = {"llama", 32, 32, 8, false};
    assert_layers("q4_k_s", &m, "attn_v.weight", "55554444444444444444444444444444");
    assert_layers("q4_k_s", &m, "ffn_down.weight", "55554444444444444444444444444444");
    assert_layers("q4_k_s", &m, "ffn_up.weight", "44444444444444444444444444444444");
    assert_layers("q5_k_s", &m, "attn_v.weight", "55555555555555555555555555555555");
    assert_layers("q5_k_s", &m, "ffn_down.weight", "55555555555555555555555555555555");
    assert_int_equal(dtype("Q4_K_S", &m, "output.weight", 4096), SR_Q6_K);
    assert_int_equal(dtype("Q5_K_S", &m, "output.weight", 4096), SR_Q6_K);
    const sr_mixmodel tiny = {"llama", 22, 32, 4, false};
    assert_layers("q4_k_s", &tiny, "attn_v.weight", "5555444444444444444444");
    assert_layers("q4_k_s", &tiny, "ffn_down.weight", "5544444444444444444444");
}

/* By llama-quant.cpp: category_is_attn_v() is asked before ATTENTION_QKV. */
static void fused_projections_are_values(void **state)
{
    (void)state;
    const sr_mixmodel m = {"phi3", 32, 32, 32, false};
    assert_layers("q4_k_m", &m, "attn_qkv.weight", "66664464464464464464464464466666");
    assert_layers("q5_k_m", &m, "attn_qkv.weight", "66665565565565565565565565566666");
    assert_layers("q4_k_s", &m, "attn_qkv.weight", "55554444444444444444444444444444");
}

static void seventy_billion_get_more_bits_for_values(void **state)
{
    (void)state;
    const char *with    = "66666666665565565565565565565565565565565565565565565565565565565565566666666666";
    const char *without = "66666666664464464464464464464464464464464464464464464464464464464464466666666666";
    assert_layers("q4_k_m", &(sr_mixmodel){"llama", 80, 64, 8, false}, "attn_v.weight", with);
    assert_layers("q4_k_m", &(sr_mixmodel){"llama", 80, 64, 64, false}, "attn_v.weight", without);
    assert_layers("q4_k_m", &(sr_mixmodel){"qwen2", 80, 64, 8, false}, "attn_v.weight", with);
    assert_layers("q4_k_m", &(sr_mixmodel){"llama", 80, 64, 8, false}, "ffn_down.weight", without);
}

static void the_head_gets_six_bits_and_a_tied_embedding_is_the_head(void **state)
{
    (void)state;
    const sr_mixmodel untied = {"llama", 32, 32, 8, false}, tied = {"qwen2", 24, 14, 2, true};
    assert_int_equal(dtype("Q4_K_M", &untied, "output.weight", 4096), SR_Q6_K);
    assert_int_equal(dtype("Q4_0", &untied, "output.weight", 4096), SR_Q6_K);
    assert_int_equal(dtype("Q8_0", &untied, "output.weight", 4096), SR_Q8_0);
    assert_int_equal(dtype("Q4_K_M", &untied, "token_embd.weight", 4096), SR_Q4_K);
    assert_int_equal(dtype("Q4_K_M", &tied, "token_embd.weight", 4096), SR_Q6_K);
    assert_int_equal(dtype("Q4_K_M", &tied, "token_embd.weight", 896), SR_Q8_0); /* 896 is not whole blocks of 256 */
}

static void rows_that_do_not_fit_fall_back(void **state)
{
    (void)state;
    const sr_mixmodel m = {"llama", 32, 32, 8, false};
    assert_int_equal(dtype("Q4_K_M", &m, "blk.9.attn_q.weight", 896), SR_Q8_0);
    assert_int_equal(dtype("Q4_0", &m, "blk.9.attn_q.weight", 896), SR_Q4_0);
    assert_int_equal(dtype("Q4_0", &m, "blk.9.attn_q.weight", 100), SR_F16);
    assert_int_equal(dtype("BF16", &m, "blk.9.attn_q.weight", 100), SR_BF16);
}

static void pure_formats_are_the_same_everywhere(void **state)
{
    (void)state;
    const sr_mixmodel m = {"llama", 32, 32, 8, false};
    assert_int_equal(dtype("Q4_K", &m, "output.weight", 4096), SR_Q4_K);
    assert_int_equal(dtype("Q5_K", &m, "blk.0.attn_v.weight", 4096), SR_Q5_K);
    assert_int_equal(dtype("F16", &m, "output.weight", 4096), SR_F16);
}

static void norms_biases_and_vectors_are_left_alone(void **state)
{
    (void)state;
    const sr_mixmodel m = {"qwen3", 28, 16, 8, true};
    const sr_mix     *q = sr_mix_find("Q4_K_M");
    assert_int_equal(sr_mix_dtype(q, &m, "blk.0.attn_norm.weight", 1, (uint64_t[]){1024}), SR_DTYPE_NONE);
    assert_int_equal(sr_mix_dtype(q, &m, "blk.0.attn_q_norm.weight", 2, (uint64_t[]){256, 2}), SR_DTYPE_NONE);
    assert_int_equal(sr_mix_dtype(q, &m, "blk.0.attn_q.bias", 1, (uint64_t[]){1024}), SR_DTYPE_NONE);
    assert_int_equal(sr_mix_dtype(q, &m, "rope_freqs.weight", 1, (uint64_t[]){64}), SR_DTYPE_NONE);
    assert_int_equal(sr_mix_dtype(q, &m, "blk.0.ffn_gate_inp.weight", 2, (uint64_t[]){256, 8}), SR_DTYPE_NONE);
    assert_int_equal(sr_mix_dtype(q, &m, "blk.0.ffn_up.weight", 2, (uint64_t[]){256, 1}), SR_DTYPE_NONE);
    assert_int_equal(sr_mix_dtype(q, &m, "blk.0.ssm_conv1d.weight", 2, (uint64_t[]){256, 4}), SR_DTYPE_NONE);
    assert_int_equal(sr_mix_dtype(q, &m, "blk.0.ffn_up_exps.weight", 3, (uint64_t[]){256, 1, 8}), SR_Q4_K);
}

static void mixtures_are_found_by_name(void **state)
{
    (void)state;
    assert_null(sr_mix_find("IQ2_XS"));
    assert_int_equal(sr_mix_find("q4_k_m")->ftype, 15);
    unsigned n = 0;
    while (sr_mix_at(n))
        n++;
    assert_int_equal(n, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(q4_k_m_gives_some_layers_more_bits),
        cmocka_unit_test(the_small_mixtures_give_the_first_layers_more),
        cmocka_unit_test(fused_projections_are_values),
        cmocka_unit_test(seventy_billion_get_more_bits_for_values),
        cmocka_unit_test(the_head_gets_six_bits_and_a_tied_embedding_is_the_head),
        cmocka_unit_test(rows_that_do_not_fit_fall_back),
        cmocka_unit_test(pure_formats_are_the_same_everywhere),
        cmocka_unit_test(norms_biases_and_vectors_are_left_alone),
        cmocka_unit_test(mixtures_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
