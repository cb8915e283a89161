#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "format/gguf.h"

static void the_demo_model_opens_with_its_tensors_and_tokens(void **state)
{
    (void)state;
    sr_gguf *g   = NULL;
    sr_err   err = {0};
    assert_int_equal(sr_gguf_open("models/strata-demo-draft-Q8_0.gguf", &g, &err), SR_OK);
    uint32_t layers = 0;
    assert_int_equal(sr_gguf_u32(g, "llama.block_count", &layers, &err), SR_OK);
    assert_int_equal(layers, 6);
    const sr_gguf_kv *tok = NULL;
    assert_int_equal(sr_gguf_array(g, "tokenizer.ggml.tokens", SR_GGUF_STRING, &tok, &err), SR_OK);
    assert_int_equal(tok->n, 8192);
    const sr_tensor *t = sr_gguf_tensor(g, "blk.5.attn_q.weight");
    assert_non_null(t);
    assert_int_equal(t->ne[0], 256);
    assert_int_equal(t->dtype, SR_Q8_0);
    assert_int_equal(t->bytes, 256 * 256 / 32 * 34);
    sr_gguf_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_demo_model_opens_with_its_tensors_and_tokens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
