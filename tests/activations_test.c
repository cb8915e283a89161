/* activations_test: with the CPU's activations in f32 a quantised file gives the bits of its weights stored as F32.
 *
 * So every answer is that of the weights, and whatever else computes them (a card, a part of the columns) is held against the CPU alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "format/convert.h"

enum { N = 48, ROWS = 12 };

static int32_t text[N];

typedef struct { float *p; uint32_t n; } logits;

static bool keep(void *arg, uint32_t pos, const float *row)
{
    logits *l = arg;
    memcpy(l->p + (size_t)(pos - (N - ROWS)) * l->n, row, l->n * sizeof *row);
    return true;
}

/* Logits of the last positions: the text before them in steps of many tokens, they in steps of three; and the size of a row. */
static float *eval(const char *path, const char *isa, uint32_t threads, bool f32, uint32_t *n)
{
    sr_err     err = {0};
    sr_model  *m   = NULL;
    sr_loadcfg c   = {.path = path, .ctx = 64, .max_seqs = 1, .max_step_tokens = 32, .out_rows = 3, .dev = {.threads = threads, .isa = isa, .f32_activations = f32}};
    if (sr_model_load(&c, &m, &err))
        fail_msg("%s", err.msg);
    logits l = {sr_calloc((size_t)ROWS * sr_model_info(m)->n_vocab, sizeof(float)), sr_model_info(m)->n_vocab};
    assert_int_equal(sr_model_info(m)->f32_activations, f32);
    if (sr_model_eval(m, text, N, N - ROWS, keep, &l, &err))
        fail_msg("%s", err.msg);
    sr_model_close(m);
    *n = ROWS * l.n;
    return l.p;
}

static bool had(const char *isa)
{
    uint32_t has = sr_cpu_features();
    return !isa || (strcmp(isa, "avx2") == 0 && has & SR_CPU_AVX2) || (strcmp(isa, "neon") == 0 && has & SR_CPU_NEON);
}

static void a_quantised_file_gives_the_bits_of_its_weights_in_f32(void **state)
{
    static const char *const file[] = {"models/strata-demo-base-Q4_K_M.gguf", "models/strata-demo-draft-Q8_0.gguf"}, *const isa[] = {NULL, "avx2", "neon"};
    (void)state;
    for (int i = 0; i < N; i++)
        text[i] = 7 + i * 131 % 4000;
    for (size_t f = 0; f < SR_COUNT(file); f++) {
        char   path[] = "activations_test.XXXXXX";
        sr_err err    = {0};
        int    fd     = mkstemp(path);
        const sr_convertcfg c = {.mix = sr_mix_find("F32")};
        assert_true(fd >= 0);
        close(fd);
        if (sr_convert(file[f], path, &c, NULL, &err))
            fail_msg("%s", err.msg);
        uint32_t n;
        float   *want = eval(path, NULL, 2, false, &n), *rounded = eval(file[f], NULL, 2, false, &n);
        unlink(path);
        assert_memory_not_equal(want, rounded, n * sizeof *want); /* the option is what makes it so */
        for (size_t i = 0; i < SR_COUNT(isa); i++) {
            if (!had(isa[i]))
                continue;
            float *got = eval(file[f], isa[i], 1 + (uint32_t)i % 2, true, &n);
            assert_memory_equal(want, got, n * sizeof *want);
            sr_free(got);
        }
        sr_free(want);
        sr_free(rounded);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_quantised_file_gives_the_bits_of_its_weights_in_f32)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
