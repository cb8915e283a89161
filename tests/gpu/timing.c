/* timing.c - times of launches and steps, and the peaks they are held against. */
#include "gpu.h"

#include <string.h>

#include "engine/internal.h"

enum { TEXT = 40, LINES = 64, RUNS = 6 };
static const char *const models[] = {"models/strata-demo-base-Q4_K_M.gguf", "models/strata-demo-draft-Q8_0.gguf"};

static bool next_row(void *arg, uint32_t pos, const float *logits)
{
    (void)pos, (void)logits;
    ++*(uint32_t *)arg;
    return true;
}

static void steps(sr_model *m, uint32_t tokens, uint32_t runs)
{
    static const int32_t tok[TEXT] = {1, 100, 200, 300, 17, 4};
    for (uint32_t i = 0, rows = 0; i < runs; i++) {
        sr_err err = {0};
        CHECK(sr_model_eval(m, tok, tokens, tokens - 1, next_row, &rows, &err) == SR_OK && rows == i + 1, "%s", err.msg);
    }
}

static sr_optable read_table(sr_model *m, sr_timing next)
{
    static sr_opline line[LINES];
    sr_optable       t   = {.line = line, .cap = LINES};
    sr_err           err = {0};
    CHECK(sr_model_profile(m, next, &t, &err) == SR_OK, "%s", err.msg);
    return t;
}

/* Every op is in one launch, and what they compute is what the program's ops do. */
static void check_lines(const sr_model *m, const sr_optable *t, uint32_t tokens, uint32_t *longest)
{
    const sr_program *p     = &m->code->prog;
    const sr_shape    shape = {.tok = tokens, .out = 1, .seq = 1};
    double            flops = 0, need = 0, bytes = 0, most = 0;
    uint64_t          ops = 0;
    for (uint32_t i = 0; i < p->n_op; i++) {
        sr_cost c = sr_op_cost(p, i, &shape, tokens);
        need += c.flops;
        most += c.bytes;
    }
    for (size_t i = 0; i < t->n; i++) {
        const sr_opline *l = &t->line[i];
        ops += l->stat.calls * l->n_op;
        flops += l->stat.flops;
        bytes += l->stat.bytes;
        *longest = SR_MAX(*longest, l->n_op);
        CHECK(l->stat.ns > 0 && l->stat.bytes > 0, "%s of %s took %llu ns", l->op, l->weights, (unsigned long long)l->stat.ns);
    }
    CHECK(t->steps == RUNS && ops == (uint64_t)RUNS * p->n_op, "%llu steps, %llu ops of %u", (unsigned long long)t->steps, (unsigned long long)ops, p->n_op);
    CHECK(flops > 0.999999 * RUNS * need && flops < 1.000001 * RUNS * need, "%g operations in the lines, %g in the program", flops, RUNS * need);
    CHECK(bytes > 0.5 * RUNS * most && bytes <= 1.000001 * RUNS * most, "%g bytes in the lines, %g in the program", bytes, RUNS * most);
}

static void launches_and_steps_are_timed_as_they_run(void)
{
    for (size_t k = 0; k < SR_COUNT(models); k++) {
        const sr_loadcfg c   = {.path = models[k], .be = &sr_backend_cuda, .ctx = 256, .dev = {.profile = true}};
        sr_err           err = {0};
        sr_model        *m   = NULL;
        uint32_t         longest = 1;
        gpu_device_close(); /* one device of a process has the right to chains */
        if (!CHECK(sr_model_load(&c, &m, &err) == SR_OK, "%s", err.msg))
            return;
        for (uint32_t tokens = 1; tokens <= TEXT; tokens += TEXT - 1) {
            (void)read_table(m, SR_TIME_STEPS);
            steps(m, tokens, RUNS);
            sr_optable s = read_table(m, SR_TIME_OPS);
            CHECK(s.n == 0 && s.steps >= RUNS - 2 && s.steps <= RUNS && s.ns > 0, "%zu lines, %llu steps in %llu ns", s.n, (unsigned long long)s.steps, (unsigned long long)s.ns);
            steps(m, tokens, RUNS);
            sr_optable t = read_table(m, SR_TIME_NOTHING);
            check_lines(m, &t, tokens, &longest);
            double sum = 0;
            for (size_t i = 0; i < t.n; i++)
                sum += (double)t.line[i].stat.ns / RUNS;
            gpu_say("%s%u: %.0f us, in lines %.0f", k || tokens > 1 ? ", " : "", tokens, (double)s.ns * 1e-3 / (double)SR_MAX(s.steps, (uint64_t)1), sum * 1e-3);
            steps(m, tokens, 1);
            t = read_table(m, SR_TIME_NOTHING);
            CHECK(t.n == 0 && t.steps == 0, "%zu lines of steps that were not timed", t.n);
        }
        CHECK(longest > 1, "nothing was launched together");
        sr_model_close(m);
    }
}

static void matrix_units_have_a_peak(void)
{
    sr_peaks p   = {0};
    sr_err   err = {0};
    if (!CHECK(sr_backend_cuda.peaks(gpu_device(), &p, &err) == SR_OK, "%s", err.msg))
        return;
    gpu_say("f16 %.0f TFLOP/s, int8 %.0f TOP/s", p.f16 * 1e-12, p.int8 * 1e-12);
    CHECK(p.f16 > 1e12 && p.f16 < 1e16 && p.int8 > 1e12 && p.int8 < 1e16, "%g and %g", p.f16, p.int8);
}

const gpu_test gpu_timing_tests[] = {
    {"launches_and_steps_are_timed_as_they_run", launches_and_steps_are_timed_as_they_run},
    {"matrix_units_have_a_peak", matrix_units_have_a_peak},
    {NULL, NULL},
};
