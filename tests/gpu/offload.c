/* offload.c - the demo model on a card that is smaller than it: streamed, and shared with the CPU. */
#include "gpu.h"

#include <math.h>

#include "base/clock.h"
#include "engine/offload.h"

#define BASE_Q4 "models/strata-demo-base-Q4_K_M.gguf"
enum { N = 64, ROWS = 16, FEW = 4, MB = 1000000 };

static int32_t text[N];

/* So that the plan is the same beside any card: the CPU twice as fast as the bus. */
static const sr_hw machine = {.dev_read = 1e12, .h2d = 2e9, .cpu_read = 4e9, .dram_read = 6e9, .dev_flops = 1e13, .sync = 1e-6};

static sr_model *load(uint64_t budget, sr_offloadmode mode)
{
    sr_err     err = {0};
    sr_model  *m   = NULL;
    sr_loadcfg c   = {.path = BASE_Q4, .be = &sr_backend_cuda, .ctx = 256, .max_seqs = 4, .max_step_tokens = 64, .out_rows = FEW, .kv_pages = 16,
                      .dev = {.mem_budget = budget}, .offload = mode, .hw = &machine};
    CHECK(sr_model_load(&c, &m, &err) == SR_OK, "%s", err.msg);
    return m;
}

typedef struct { float *p; uint32_t n; } logits;

static bool keep(void *arg, uint32_t pos, const float *row)
{
    logits *l = arg;
    memcpy(l->p + (size_t)(pos - (N - ROWS)) * l->n, row, l->n * sizeof *row);
    return true;
}

static float *eval(sr_model *m)
{
    sr_err err = {0};
    logits l   = {sr_calloc((size_t)ROWS * m->info.n_vocab, sizeof(float)), m->info.n_vocab};
    for (uint32_t i = 0; i < N; i++)
        text[i] = (int32_t)(7 + i * 131 % 4000);
    for (int twice = 0; twice < 3; twice++) /* steps are captured when they come again */
        CHECK(sr_model_eval(m, text, N, N - ROWS, keep, &l, &err) == SR_OK, "%s", err.msg);
    return l.p;
}

/* What everything but the matrices takes, from a model that fits. */
static uint64_t fixed(const sr_model *m) { return m->info.scratch_bytes + sr_block_bytes(m, &m->max) + m->info.kv_bytes + MB / 2; }

static void a_streamed_model_gives_the_bits_of_one_that_fits(void)
{
    sr_model *whole = load(0, SR_OFFLOAD_NONE);
    if (!whole)
        return;
    float *want = eval(whole);
    for (uint64_t mb = 12; mb <= 24; mb += 6) {
        sr_model *m = load(fixed(whole) + mb * MB, SR_OFFLOAD_STREAM);
        if (!m)
            break;
        CHECK(m->off != NULL, "%llu MB: everything fitted", (unsigned long long)mb);
        float *got = eval(m);
        CHECK(memcmp(want, got, (size_t)ROWS * m->info.n_vocab * sizeof *got) == 0, "%llu MB: other logits", (unsigned long long)mb);
        gpu_say("%s%.1f MB of %.1f on the card", mb > 12 ? ", " : "", (double)m->info.bytes_device / MB, (double)m->info.bytes / MB);
        sr_free(got);
        sr_model_close(m);
    }
    sr_free(want);
    sr_model_close(whole);
}

static void a_model_shared_with_the_cpu_agrees_within_rounding(void)
{
    sr_model *whole = load(0, SR_OFFLOAD_NONE);
    if (!whole)
        return;
    float *want = eval(whole);
    for (int cpu = 0; cpu < 2; cpu++) {
        sr_model *m = load(fixed(whole) + 14 * MB, cpu ? SR_OFFLOAD_CPU : SR_OFFLOAD_AUTO);
        if (!m)
            break;
        CHECK(m->off && m->off->few, "nothing is shared");
        float   *got = eval(m);
        uint32_t other = 0, n = m->info.n_vocab;
        double   worst = 0;
        for (uint32_t r = 0; r < ROWS; r++) {
            const float *a = want + (size_t)r * n, *b = got + (size_t)r * n;
            uint32_t     x = 0, y = 0;
            for (uint32_t i = 0; i < n; i++) {
                worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
                x     = a[i] > a[x] ? i : x;
                y     = b[i] > b[y] ? i : y;
            }
            other += x != y && a[x] - a[y] > 4e-2f;
        }
        CHECK(worst < 1 && !other, "logits off by %g, %u of %u rows have another winner", worst, other, ROWS);
        gpu_say("%s%.0f %% of feed-forwards by the CPU: logits within %.2g", cpu ? "; " : "", m->info.cpu_share * 100, worst);
        sr_free(got);
        sr_model_close(m);
    }
    sr_free(want);
    sr_model_close(whole);
}

const gpu_test gpu_offload_tests[] = {
    {"a_streamed_model_gives_the_bits_of_one_that_fits", a_streamed_model_gives_the_bits_of_one_that_fits},
    {"a_model_shared_with_the_cpu_agrees_within_rounding", a_model_shared_with_the_cpu_agrees_within_rounding},
    {NULL, NULL},
};
