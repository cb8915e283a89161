/* scratch_test: what steps of an 8B model take on a card for activations and the kernels' working memory, by the backend's own sums.
 * Needs no device: an H200's figures are given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "backend/cuda/internal.h"
#include "format/synth.h"
#include "model/model.h"

static size_t scratch_of(const char *model, uint16_t kv, const sr_shape *max)
{
    sr_gguf      *g   = NULL;
    sr_compiled  *c   = NULL;
    sr_err        err = {0};
    sr_dev        d   = {.info = {.arch = 90, .sms = 132, .smem_block = 232448, .l2 = 60 << 20, .pdl = true, .chains = true, .pairs = SR_CUDA_PAIRS}};
    sr_compilecfg cfg = {.page_tokens = 16, .kv_format_k = kv, .kv_format_v = kv};
    if (sr_synth_open(model, false, &g, &err) || sr_compile(g, &cfg, &c, &err))
        fail_msg("%s", err.msg);
    size_t bytes = sr_cuda_scratch(&d, &c->prog, max);
    print_message("%s, %u sequences of %u tokens: %.1f MB\n", model, max->seq, max->pages * 16, (double)bytes * 1e-6);
    sr_compiled_close(c);
    sr_gguf_close(g);
    return bytes;
}

static void scratch_of_8b_at_128_sequences_is_at_most_600_mb(void **state)
{
    (void)state;
    sr_shape max = {.tok = 2048, .out = 128, .seq = 128, .pages = 512}, few = {.tok = 2048, .out = 8, .seq = 8, .pages = 256};
    assert_in_range(scratch_of("synth:8b:q4_k_m", SR_F16, &max), 1, 600000000);
    assert_in_range(scratch_of("synth:8b:q8_0", SR_Q8_0, &max), 1, 600000000);
    assert_in_range(scratch_of("synth:8b:f16", SR_F16, &max), 1, 600000000);
    assert_in_range(scratch_of("synth:8b:q4_k_m", SR_F16, &few), 1, 600000000);
}

/* The second program of a shared model takes device memory beside the first: of short contexts, little. */
static void few_tokens_of_short_contexts_take_little(void **state)
{
    (void)state;
    sr_shape few = {.tok = 4, .out = 4, .seq = 4, .pages = 16}, longer = {.tok = 4, .out = 4, .seq = 4, .pages = 512};
    size_t   one = scratch_of("synth:tiny:q4_k_m", SR_F16, &few), more = scratch_of("synth:tiny:q4_k_m", SR_F16, &longer);
    assert_in_range(one, 1, 1500000);
    assert_true(more >= one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(scratch_of_8b_at_128_sequences_is_at_most_600_mb), cmocka_unit_test(few_tokens_of_short_contexts_take_little)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
