#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "base/mem.h"
#include "format/synth.h"

static void a_named_model_has_the_tensors_of_its_plan(void **state)
{
    (void)state;
    const char *const names[] = {"synth:tiny:q4_k_m", "synth:tiny-qwen2:Q8_0", "synth:tiny-qwen3:f16"};
    for (size_t k = 0; k < SR_COUNT(names); k++) {
        sr_err    err = {0};
        sr_gguf  *g   = NULL;
        sr_synth *p   = NULL;
        assert_true(sr_synth_named(names[k]));
        assert_int_equal(sr_synth_open(names[k], true, &g, &err), SR_OK);
        assert_int_equal(sr_synth_parse(names[k], &p, &err), SR_OK);
        assert_int_equal(sr_gguf_n_tensors(g), p->n_t);
        for (size_t i = 0; i < p->n_t; i++) {
            const sr_tensor *t    = sr_gguf_tensor(g, p->t[i].name);
            uint64_t         n    = sr_synth_chunks(&p->t[i]);
            unsigned char   *want = sr_malloc((size_t)n * sr_synth_chunk_bytes(&p->t[i]));
            assert_non_null(t);
            assert_int_equal(t->bytes, p->t[i].bytes);
            sr_synth_fill(p, i, 0, n, want);
            assert_memory_equal(t->data, want, t->bytes);
            sr_free(want);
        }
        sr_synth_free(p);
        sr_gguf_close(g);
    }
}

static void without_data_only_the_header_is_made(void **state)
{
    (void)state;
    sr_err   err = {0};
    sr_gguf *g   = NULL;
    assert_int_equal(sr_synth_open("synth:70b:q4_k_m", false, &g, &err), SR_OK); /* 42 GB */
    const sr_tensor *t = sr_gguf_tensor(g, "output.weight");
    assert_non_null(t);
    assert_int_equal(((const unsigned char *)t->data)[t->bytes - 1], 0);
    assert_true(sr_gguf_file_bytes(g, 0) > 40000000000u);
    sr_gguf_close(g);
}

static void other_names_are_files_or_errors(void **state)
{
    (void)state;
    sr_gguf *g = NULL;
    sr_err   err = {0};
    assert_int_equal(sr_synth_open("no/such/file.gguf", true, &g, &err), SR_IO);
    const char *const wrong[] = {"synth:", "synth:8b", "synth:8b:q9", "synth:9z:q4_k_m", "synth:8b:q4_k_m:1"};
    for (size_t i = 0; i < SR_COUNT(wrong); i++) {
        err = (sr_err){0};
        assert_int_equal(sr_synth_open(wrong[i], true, &g, &err), SR_INVALID);
        assert_non_null(strstr(err.msg, "synth:SHAPE:FORMAT"));
        assert_null(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_named_model_has_the_tensors_of_its_plan),
        cmocka_unit_test(without_data_only_the_header_is_made),
        cmocka_unit_test(other_names_are_files_or_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
