/* skip_test: what is left out of a program is left out of every step alike, and what ends early leaves no hole behind it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "backend/fake/fake.h"
#include "base/mem.h"
#include "engine/offload.h"
#include "engine/skip.h"

#define MODEL "models/strata-demo-base-Q4_K_M.gguf"
enum { N = 48, MB = 1000000 };

static int32_t text[N], other[N];

static int make_texts(void **state)
{
    (void)state;
    for (int i = 0; i < N; i++) {
        text[i]  = (i * 7919 + 13) % 8000;
        other[i] = (i * 104729 + 5) % 8000;
    }
    return 0;
}

static sr_loadcfg config(void)
{
    return (sr_loadcfg){.path = MODEL, .ctx = 64, .max_seqs = 4, .max_step_tokens = 48, .out_rows = 8, .dev = {.threads = 1}, .skip_text = text, .n_skip_text = N};
}

static sr_model *load(const sr_loadcfg *c)
{
    sr_err    err = {0};
    sr_model *m   = NULL;
    if (sr_model_load(c, &m, &err))
        fail_msg("%s", err.msg);
    return m;
}

typedef struct { float *to; uint32_t n_vocab, rows; } sink;

static bool take(void *arg, uint32_t pos, const float *logits)
{
    sink *s = arg;
    (void)pos;
    for (uint32_t i = 0; i < s->n_vocab; i++)
        if (!isfinite(logits[i]))
            fail_msg("logit %u at %u is not a number", i, pos);
    memcpy(s->to + (size_t)s->rows++ * s->n_vocab, logits, s->n_vocab * sizeof *logits);
    return true;
}

/* Logits of the last `rows` positions of the other text. */
static float *eval(sr_model *m, uint32_t rows)
{
    sr_err err = {0};
    sink   s   = {.to = sr_calloc((size_t)rows * m->info.n_vocab, sizeof(float)), .n_vocab = m->info.n_vocab};
    if (sr_model_eval(m, other, N, N - rows, take, &s, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(s.rows, rows);
    return s.to;
}

static void same(const float *a, const float *b, size_t n) { assert_memory_equal(a, b, n * sizeof *a); }

/* A threshold that leaves about so many blocks out. */
static float threshold_for(const sr_model *m, uint32_t n)
{
    const sr_blockinfo *b = sr_model_blocks(m);
    for (float t = 0.999f; t > 0; t -= 0.001f) {
        uint32_t above = 0;
        for (uint32_t i = 0; i < 2 * m->info.n_layer; i++)
            above += b[i].cosine > t;
        if (above >= n)
            return t;
    }
    fail_msg("fewer than %u blocks", n);
    return 0;
}

static void leave_out(sr_model *m, float threshold)
{
    sr_err err = {0};
    if (sr_model_skip(m, threshold, &err))
        fail_msg("%s", err.msg);
}

static void a_measure_changes_nothing_and_leaving_blocks_out_does(void **state)
{
    (void)state;
    sr_loadcfg c = config(), plain = config();
    plain.n_skip_text = 0;
    sr_model *m = load(&c), *p = load(&plain);
    assert_null(sr_model_blocks(p));
    const sr_blockinfo *b = sr_model_blocks(m);
    for (uint32_t i = 0; i < 2 * m->info.n_layer; i++) {
        assert_true(b[i].cosine > -1.0001f && b[i].cosine < 1.0001f && b[i].cosine != 0);
        assert_false(b[i].left_out);
    }
    float *want = eval(p, 8), *got = eval(m, 8);
    same(want, got, 8 * m->info.n_vocab);
    sr_free(got);
    leave_out(m, threshold_for(m, 3));
    assert_true(sr_model_skipped(m).blocks >= 3);
    got = eval(m, 8);
    assert_memory_not_equal(want, got, 8 * m->info.n_vocab * sizeof *got);
    sr_free(got);
    leave_out(m, 0); /* and back: no page of the other setting is found */
    got = eval(m, 8);
    same(want, got, 8 * m->info.n_vocab);
    sr_free(got);
    sr_free(want);
    sr_model_close(m);
    sr_model_close(p);
}

/* Leaving out blocks by hand: the residual stream goes past them. */
static void a_block_left_out_is_one_that_adds_nothing(void **state)
{
    (void)state;
    sr_loadcfg c = config();
    sr_model  *m = load(&c);
    sr_skip   *k = m->skip;
    sr_err     err = {0};
    uint32_t   last = 2 * (m->info.n_layer - 1);
    float     *want = NULL;
    for (uint32_t i = 0; i < 2 * m->info.n_layer; i++) /* everything: the head sees the embedding */
        k->block[i].left_out = true;
    k->n_out = 2 * m->info.n_layer;
    k->salt++;
    assert_int_equal(sr_skip_ops(m, &m->code->prog, &k->op, &err), SR_OK);
    want = eval(m, 1);
    int32_t kept = other[0];
    other[0]     = 77; /* no attention: only the last token counts */
    float *got   = eval(m, 1);
    other[0]     = kept;
    same(want, got, m->info.n_vocab);
    sr_free(got);
    uint32_t gathers = 0;
    for (uint32_t i = m->code->prog.segment[m->info.n_layer]; i < m->code->prog.segment[m->info.n_layer + 1]; i++)
        gathers += !k->op[i];
    assert_int_equal(gathers, 1); /* the wanted rows, though the last layer is left out */
    assert_true(k->block[last].left_out);
    sr_free(want);
    sr_model_close(m);
}

static void a_sequence_is_the_same_however_it_is_cut(void **state)
{
    (void)state;
    float *want = NULL;
    for (uint32_t cut = 48; cut; cut = cut == 48 ? 17 : 0) {
        sr_loadcfg c      = config();
        sr_model  *m      = load(&c);
        leave_out(m, threshold_for(m, 4));
        m->block.max.tok = cut; /* prompts in pieces */
        float *got       = eval(m, 8);
        if (want)
            same(want, got, 8 * m->info.n_vocab);
        else
            want = got;
        if (want != got)
            sr_free(got);
        sr_model_close(m);
    }
    sr_free(want);
}

static void what_is_left_out_does_not_come_over_the_bus(void **state)
{
    (void)state;
    sr_loadcfg c = config();
    sr_model  *m = load(&c);
    float      t = threshold_for(m, 12);
    leave_out(m, t);
    float *want = eval(m, 8);
    sr_model_close(m);
    sr_hw machine = {.h2d = 1e9, .dev_read = 1e10, .cpu_read = 1e9, .dram_read = 1e10, .dev_flops = 1e12, .sync = 1e-5};
    c.be = &sr_backend_fake;
    c.hw = &machine;
    c.kv_pages = 6;
    for (int shared = 0; shared < 2; shared++) {
        c.offload = shared ? SR_OFFLOAD_AUTO : SR_OFFLOAD_STREAM;
        sr_fake_configure(&(sr_fakecfg){.memory = 18 * MB});
        m = load(&c);
        assert_non_null(m->off);
        sr_free(eval(m, 8));
        uint64_t before = sr_offload_bytes(m);
        sr_free(eval(m, 8));
        uint64_t all = sr_offload_bytes(m) - before;
        leave_out(m, t);
        sr_free(eval(m, 8)); /* the first brings two units ahead more than it gives back */
        before      = sr_offload_bytes(m);
        float *got  = eval(m, 8);
        uint64_t less = sr_offload_bytes(m) - before;
        assert_true(less < all);
        if (!shared)
            same(want, got, 8 * m->info.n_vocab);
        sr_free(got);
        sr_model_close(m);
    }
    sr_free(want);
}

static void exit_set(sr_model *m, float certain, uint32_t layer)
{
    sr_err err = {0};
    if (sr_model_early_exit(m, certain, layer, &err))
        fail_msg("%s", err.msg);
}

static void an_uncertain_step_ends_as_if_nothing_had_been_tested(void **state)
{
    (void)state;
    sr_loadcfg c = config();
    sr_model  *m = load(&c);
    exit_set(m, 1, 0);
    float *want = eval(m, 8);
    assert_int_equal(sr_model_skipped(m).tested, 0);
    exit_set(m, 0.9999999f, 2);
    float *got = eval(m, 8);
    assert_int_equal(sr_model_skipped(m).tested, 8);
    assert_int_equal(sr_model_skipped(m).exited, 0);
    same(want, got, 8 * m->info.n_vocab);
    sr_free(got);
    exit_set(m, 0, 0);
    got = eval(m, 8); /* eight rows in one step */
    same(want, got, 8 * m->info.n_vocab);
    sr_free(got);
    sr_free(want);
    sr_model_close(m);
}

/* Fresh memory of the fake device is not a number: a layer whose keys nobody wrote would spoil all that follows. */
static void a_token_that_left_early_has_keys_in_every_layer(void **state)
{
    (void)state;
    sr_loadcfg c = config();
    c.be         = &sr_backend_fake;
    sr_fake_configure(&(sr_fakecfg){.ns_per_command = 2000});
    sr_model *m = load(&c);
    assert_null(m->off);
    exit_set(m, 1e-9f, 2); /* all leave */
    float *early = eval(m, 8);
    assert_int_equal(sr_model_skipped(m).exited, 8);
    exit_set(m, 1, 0);
    float *whole = eval(m, 8);
    assert_memory_not_equal(early, whole, 8 * m->info.n_vocab * sizeof *whole);
    sr_free(early);
    sr_free(whole);
    /* Between certain and not: some leave, and those that stay look at their keys. */
    float mix = 0;
    for (float p = 0.5f; p > 1e-6f && mix == 0; p *= 0.7f) {
        uint64_t before = sr_model_skipped(m).exited, tests = sr_model_skipped(m).tested;
        exit_set(m, p, 4);
        sr_free(eval(m, 16));
        uint64_t left = sr_model_skipped(m).exited - before;
        mix           = left > 0 && left < sr_model_skipped(m).tested - tests ? p : 0;
    }
    assert_true(mix > 0);
    sr_model_close(m);
}

static void usage_tells_what_was_left_out(void **state)
{
    (void)state;
    sr_err     err  = {0};
    sr_loadcfg c    = config();
    c.early_exit    = 1e-9f;
    c.exit_layer    = 3;
    sr_model  *m    = load(&c);
    sr_port   *port = NULL;
    sr_engine *e    = NULL;
    sr_event   ev[8];
    sr_step    step;
    bool       done = false;
    if (sr_port_open(NULL, &port, &err) || sr_engine_open(m, NULL, NULL, port, &e, &err))
        fail_msg("%s", err.msg);
    for (uint64_t id = 1; id <= 2; id++) {
        sr_request r = {.id = id, .what = SR_GENERATE, .tok = other, .n_tok = 10 + (uint32_t)id, .max_new = 6, .ignore_eos = true,
                        .sampling = {.top_p = 1, .typical_p = 1, .rep_penalty = 1}};
        assert_int_equal(sr_port_post(port, &r, &err), SR_OK);
    }
    for (int i = 0; i < 100 && !done; i++) {
        sr_status s = sr_engine_step(e, &step, &err);
        assert_true(s == SR_OK || s == SR_AGAIN);
        size_t n = sr_port_poll(port, ev, SR_COUNT(ev));
        for (size_t k = 0; k < n; k++) {
            assert_int_not_equal(ev[k].kind, SR_EV_ERROR);
            if (ev[k].kind != SR_EV_DONE || ev[k].id != 2)
                continue;
            done = true;
            assert_int_equal(ev[k].usage.made, 6);
            assert_int_equal(ev[k].usage.exited, 5); /* the first token is the prompt's, whose step is computed whole */
            assert_int_equal(ev[k].usage.blocks_skipped, 5 * 2 * (m->info.n_layer - 3));
        }
    }
    assert_true(done);
    sr_portstats st;
    sr_port_stats(port, &st);
    assert_int_equal(st.blocks, 2 * m->info.n_layer);
    assert_int_equal(st.exits, 5);
    assert_true(sr_engine_check(e, &err));
    sr_engine_close(e);
    sr_port_close(port);
    sr_model_close(m);
}

static void settings_that_cannot_be_are_named(void **state)
{
    (void)state;
    sr_err     err = {0};
    sr_loadcfg c   = config();
    sr_model  *m   = NULL;
    c.n_skip_text  = 5;
    assert_int_equal(sr_model_load(&c, &m, &err), SR_INVALID);
    assert_non_null(strstr(err.msg, "text of 5 tokens"));
    c.n_skip_text = 0;
    m             = load(&c);
    err           = (sr_err){0};
    assert_int_equal(sr_model_skip(m, 0.9f, &err), SR_INVALID);
    err = (sr_err){0};
    assert_int_equal(sr_model_early_exit(m, 0.9f, m->info.n_layer, &err), SR_INVALID);
    sr_model_close(m);
    sr_hw machine = {.h2d = 1e9, .dev_read = 1e10, .cpu_read = 1e9, .dram_read = 1e10, .dev_flops = 1e12, .sync = 1e-5};
    c.be          = &sr_backend_fake;
    c.hw          = &machine;
    c.kv_pages    = 6;
    c.early_exit  = 0.9f;
    err           = (sr_err){0};
    sr_fake_configure(&(sr_fakecfg){.memory = 18 * MB});
    assert_int_equal(sr_model_load(&c, &m, &err), SR_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_measure_changes_nothing_and_leaving_blocks_out_does), cmocka_unit_test(a_block_left_out_is_one_that_adds_nothing),
        cmocka_unit_test(a_sequence_is_the_same_however_it_is_cut),              cmocka_unit_test(what_is_left_out_does_not_come_over_the_bus),
        cmocka_unit_test(an_uncertain_step_ends_as_if_nothing_had_been_tested),  cmocka_unit_test(a_token_that_left_early_has_keys_in_every_layer),
        cmocka_unit_test(usage_tells_what_was_left_out),                         cmocka_unit_test(settings_that_cannot_be_are_named),
    };
    return cmocka_run_group_tests(tests, make_texts, NULL);
}
