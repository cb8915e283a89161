/* timing_test: what was timed is what the step needed, launches of several ops are lines of their own, and nothing is timed unasked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "backend/fake/fake.h"
#include "base/mem.h"
#include "engine/offload.h"
#include "ops/linear/between.h"

#define MODEL "models/strata-demo-draft-Q8_0.gguf"
enum { TEXT = 40, LINES = 64, CHAIN = 7 };

static sr_model *load(const sr_backend *be, bool profile)
{
    const sr_loadcfg c   = {.path = MODEL, .be = be, .ctx = 256, .dev = {.threads = 2, .profile = profile}};
    sr_err           err = {0};
    sr_model        *m   = NULL;
    if (sr_model_load(&c, &m, &err))
        fail_msg("%s", err.msg);
    return m;
}

static bool next_row(void *arg, uint32_t pos, const float *logits)
{
    (void)pos, (void)logits;
    ++*(uint32_t *)arg;
    return true;
}

/* A step of n tokens of which the last is wanted. */
static void step_of(sr_model *m, uint32_t n)
{
    int32_t  tok[TEXT];
    uint32_t rows = 0;
    sr_err   err  = {0};
    for (int32_t i = 0; i < TEXT; i++)
        tok[i] = 100 + 7 * i;
    if (sr_model_eval(m, tok, n, n - 1, next_row, &rows, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(rows, 1);
}

static void step(sr_model *m) { step_of(m, TEXT); }

static sr_optable read_table(sr_model *m, sr_timing next)
{
    static sr_opline line[LINES];
    sr_optable       t   = {.line = line, .cap = LINES};
    sr_err           err = {0};
    if (sr_model_profile(m, next, &t, &err))
        fail_msg("%s", err.msg);
    return t;
}

static const sr_opline *find(const sr_optable *t, const char *op, const char *weights)
{
    for (size_t i = 0; i < t->n; i++)
        if (!strcmp(t->line[i].op, op) && !strcmp(t->line[i].weights, weights))
            return &t->line[i];
    fail_msg("no line \"%s\" of %s", op, weights);
    return NULL;
}

static const sr_shape one_step = {.tok = TEXT, .out = 1, .seq = 1};

static void lines_of_a_step_add_up_to_what_it_needs(void **state)
{
    (void)state;
    const sr_backend *on[] = {&sr_backend_cpu, &sr_backend_fake};
    for (size_t k = 0; k < SR_COUNT(on); k++) {
        sr_model *m = load(on[k], true);
        (void)read_table(m, SR_TIME_OPS); /* loading may have computed something */
        for (int i = 0; i < 3; i++)
            step(m);
        sr_optable t     = read_table(m, SR_TIME_NOTHING);
        double     flops = 0;
        uint64_t   calls = 0;
        for (size_t i = 0; i < t.n; i++) {
            flops += !strcmp(t.line[i].op, "linear") || !strcmp(t.line[i].op, "attn") ? t.line[i].stat.flops : 0;
            calls += t.line[i].stat.calls;
            assert_true(t.line[i].n_op == 1 && t.line[i].stat.calls == 3 * t.line[i].launches && t.line[i].stat.bytes > 0);
        }
        assert_true(t.steps == 3 && t.ns == 0 && calls == 3 * m->code->prog.n_op);
        double need = sr_model_flops(m, &one_step, TEXT);
        assert_true(need > 0 && fabs(flops / (3 * need) - 1) < 1e-12);
        sr_model_close(m);
    }
}

static void nothing_is_timed_but_what_was_asked_for(void **state)
{
    (void)state;
    sr_model *m = load(&sr_backend_cpu, true);
    (void)read_table(m, SR_TIME_STEPS);
    step(m);
    step(m);
    sr_optable t = read_table(m, SR_TIME_NOTHING);
    assert_true(t.n == 0 && t.steps == 2 && t.ns > 0);
    step(m);
    t = read_table(m, SR_TIME_OPS);
    assert_true(t.n == 0 && t.steps == 0 && t.ns == 0);
    sr_opline  line[2];
    sr_optable small = {.line = line, .cap = SR_COUNT(line)};
    sr_err     err   = {0};
    step(m);
    assert_int_equal(sr_model_profile(m, SR_TIME_NOTHING, &small, &err), SR_INVALID);
    assert_non_null(strstr(err.msg, "more than 2 kinds of launches"));
    sr_model_close(m);
    m   = load(&sr_backend_cpu, false);
    err = (sr_err){0};
    assert_int_equal(sr_model_profile(m, SR_TIME_OPS, NULL, &err), SR_UNSUPPORTED);
    sr_model_close(m);
}

/* Weights in RAM: steps of a token go by a program in which the CPU has a part, prompts by the whole one. */
static void both_programs_of_a_model_larger_than_its_device_are_timed(void **state)
{
    (void)state;
    static const sr_hw machine = {.dev_read = 100e9, .h2d = 2e9, .cpu_read = 4e9, .dram_read = 6e9, .dev_flops = 1e12, .sync = 1e-6};
    const sr_loadcfg   c = {.path = "models/strata-demo-base-Q4_K_M.gguf", .be = &sr_backend_fake, .ctx = 64, .max_seqs = 4, .max_step_tokens = TEXT, .kv_pages = 12,
                            .hw = &machine, .offload = SR_OFFLOAD_AUTO, .dev = {.threads = 1, .profile = true}};
    static const uint32_t tokens[] = {1, TEXT};
    sr_err   err = {0};
    sr_model *m  = NULL;
    sr_fake_configure(&(sr_fakecfg){.memory = 14000000, .ns_per_command = 2000});
    if (sr_model_load(&c, &m, &err))
        fail_msg("%s", err.msg);
    assert_true(m->off && m->off->few >= 1 && m->off->few < TEXT);
    for (size_t i = 0; i < SR_COUNT(tokens); i++) {
        (void)read_table(m, SR_TIME_STEPS);
        step_of(m, tokens[i]);
        sr_optable t = read_table(m, SR_TIME_OPS);
        assert_true(t.n == 0 && t.steps == 1 && t.ns > 0);
        step_of(m, tokens[i]);
        assert_true((m->ran == m->off->route[1].plan) == (tokens[i] == 1));
        t = read_table(m, SR_TIME_NOTHING);
        const sr_opline *qkv = find(&t, "linear", "attn_q,attn_k,attn_v");
        assert_true(t.steps == 1 && qkv->stat.calls > 0 && qkv->stat.ns > 0);
    }
    sr_model_close(m);
    sr_fake_configure(&(sr_fakecfg){0});
}

/* ---- a device that runs some ops as one ------------------------------------------------------------------------------------- */

static const sr_program *joined_prog;

/* Every norm goes with its product; in layer 1 CHAIN ops from attention's product on are one. */
static uint32_t joined_at(const sr_program *p, uint32_t i)
{
    if (p->op[i].code == SR_OP_LINEAR && p->weight[p->op[i].w].role == SR_W_ATTN_OUT && p->op[i].layer == 1)
        return CHAIN;
    return p->op[i].code == SR_OP_NORM && sr_passes(p, i) ? 2 : 1;
}

static sr_status joined_profile(sr_plan *pl, sr_timing next, sr_timed *out, sr_err *err)
{
    sr_status s = sr_backend_cpu.profile(pl, next, out, err);
    size_t    n = 0;
    for (size_t i = 0, k; s == SR_OK && out && i < out->n; i = k) {
        sr_opstat *to = &out->op[n++];
        *to           = out->op[i];
        to->n_op      = joined_at(joined_prog, to->op);
        for (k = i + 1; k < out->n && out->op[k].op < to->op + to->n_op; k++)
            to->ns += out->op[k].ns;
    }
    if (out)
        out->n = n;
    return s;
}

static void ops_that_run_as_one_are_one_line(void **state)
{
    (void)state;
    sr_backend joined = sr_backend_cpu;
    joined.profile    = joined_profile;
    sr_model *m       = load(&joined, true);
    joined_prog       = &m->code->prog;
    step(m);
    sr_optable       t     = read_table(m, SR_TIME_NOTHING);
    uint32_t         layers = m->info.n_layer;
    const sr_opline *qkv = find(&t, "norm+linear", "attn_q,attn_k,attn_v"), *chain = find(&t, "chain of 7", "attn_output,ffn_gate,ffn_up,ffn_down,attn_q,attn_k,attn_v");
    assert_true(qkv->n_op == 2 && qkv->launches == layers - 1 && chain->n_op == CHAIN && chain->launches == 1);
    assert_string_equal(chain->format, "Q8_0");
    assert_int_equal(find(&t, "linear", "attn_output")->launches, layers - 1);
    assert_int_equal(find(&t, "norm+linear", "ffn_gate,ffn_up")->launches, layers - 1);
    sr_model_close(m);
}

/* A group's bytes: every weight, what comes in, what goes out; what one op hands the next alone is neither written nor read. */
static void what_passes_between_ops_of_a_group_is_not_moved(void **state)
{
    (void)state;
    sr_model         *m = load(&sr_backend_cpu, true);
    const sr_program *p = &m->code->prog;
    uint32_t          pairs = 0;
    for (uint32_t i = 0; i + 1 < p->n_op; i++) {
        const sr_cost a = sr_op_cost(p, i, &one_step, TEXT), b = sr_op_cost(p, i + 1, &one_step, TEXT), one = sr_group_cost(p, i, 1, &one_step, TEXT),
                      two = sr_group_cost(p, i, 2, &one_step, TEXT);
        const sr_slot *s  = &p->slot[p->op[i].out[0] == SR_NONE ? 0 : p->op[i].out[0]];
        assert_true(one.bytes == a.bytes && one.flops == a.flops && two.flops == a.flops + b.flops);
        if (sr_passes(p, i)) {
            pairs++;
            assert_true(two.bytes == a.bytes + b.bytes - 8.0 * sr_slot_rows(s, &one_step) * s->width);
        }
        if (p->op[i].epilogue != SR_NONE && p->op[i + 1].code == SR_OP_NORM) /* the sum is read again behind the feed-forward, or is the last */
            assert_true(two.bytes == a.bytes + b.bytes || p->op[i].layer + 1u == m->info.n_layer);
    }
    assert_true(pairs >= 2 * m->info.n_layer);
    sr_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_a_step_add_up_to_what_it_needs), cmocka_unit_test(nothing_is_timed_but_what_was_asked_for),
        cmocka_unit_test(both_programs_of_a_model_larger_than_its_device_are_timed),
        cmocka_unit_test(ops_that_run_as_one_are_one_line), cmocka_unit_test(what_passes_between_ops_of_a_group_is_not_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
