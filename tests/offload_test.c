/* offload_test: a model larger than its device gives the answers of one that fits, wherever its weights lie.
 *
 * The device is a fake one (backend/fake): memory the host cannot read, slow copies, timelines of its own; so a missing fence or
 * a wrong address shows as wrong numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/fake/fake.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "engine/offload.h"

#define BASE "models/strata-demo-base-Q4_K_M.gguf"
#define DRAFT "models/strata-demo-draft-Q8_0.gguf"
enum { N = 40, MB = 1000000 };

static int32_t text[N];

/* Figures are given, so that the plan is the same on every machine: the CPU twice as fast as the bus. */
static const sr_hw machine = {.dev_read = 100e9, .h2d = 2e9, .cpu_read = 4e9, .dram_read = 6e9, .dev_flops = 1e12, .sync = 1e-6};

static sr_loadcfg config(const char *path, sr_offloadmode mode)
{
    return (sr_loadcfg){.path = path, .be = &sr_backend_fake, .ctx = 48, .max_seqs = 4, .max_step_tokens = 16, .out_rows = 4, .kv_pages = 3,
                        .dev = {.threads = 1}, .offload = mode, .hw = &machine};
}

static sr_model *load(const sr_loadcfg *c)
{
    sr_err    err = {0};
    sr_model *m   = NULL;
    if (sr_model_load(c, &m, &err))
        fail_msg("%s", err.msg);
    return m;
}

typedef struct { float *p; uint32_t n, from; } logits;

static bool keep(void *arg, uint32_t pos, const float *row)
{
    logits *l = arg;
    memcpy(l->p + (size_t)(pos - l->from) * l->n, row, l->n * sizeof *row);
    return true;
}

/* Logits of the last `rows` positions: the text before them in one step, they in steps of four tokens. */
static float *eval(sr_model *m, uint32_t rows)
{
    sr_err err = {0};
    logits l   = {sr_calloc((size_t)rows * m->info.n_vocab, sizeof(float)), m->info.n_vocab, N - rows};
    if (sr_model_eval(m, text, N, N - rows, keep, &l, &err))
        fail_msg("%s", err.msg);
    return l.p;
}

static float *expected(const char *path, uint32_t rows)
{
    sr_loadcfg c = config(path, SR_OFFLOAD_AUTO);
    c.be         = &sr_backend_cpu;
    sr_model *m  = load(&c);
    float    *x  = eval(m, rows);
    sr_model_close(m);
    return x;
}

static double farthest(const float *a, const float *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    return worst;
}

/* The two most likely tokens of a row are farther apart than rounding can turn round, or the same one wins. */
static void same_winners(const float *a, const float *b, uint32_t rows, uint32_t n)
{
    for (uint32_t r = 0; r < rows; r++, a += n, b += n) {
        uint32_t x = 0, y = 0;
        for (uint32_t i = 0; i < n; i++) {
            x = a[i] > a[x] ? i : x;
            y = b[i] > b[y] ? i : y;
        }
        assert_true(x == y || a[x] - a[y] < 4e-2f);
    }
}

static void weights_that_stream_in_give_the_same_bits(void **state)
{
    (void)state;
    const struct { const char *path; uint64_t mb; uint32_t slow; } run[] = {{BASE, 8, 0}, {BASE, 14, 0}, {BASE, 20, 0}, {DRAFT, 6, 0}, {DRAFT, 7, 1}};
    for (size_t i = 0; i < SR_COUNT(run); i++) {
        float *want = expected(run[i].path, 8);
        sr_fake_configure(&(sr_fakecfg){.memory = run[i].mb * MB, .bytes_per_s = run[i].slow ? 1000000000u : 0, .ns_per_command = run[i].slow ? 5000 : 0});
        sr_loadcfg c = config(run[i].path, SR_OFFLOAD_STREAM);
        sr_model  *m = load(&c);
        assert_non_null(m->off);
        assert_true(m->info.bytes_device < m->info.bytes);
        assert_true(m->off->few == 0);
        float *got = eval(m, 8);
        assert_memory_equal(want, got, 8 * m->info.n_vocab * sizeof *got);
        assert_true(sr_stream_bytes(m->off->stream) >= 3 * (m->info.bytes - m->info.bytes_device) / 2); /* three steps, and what came ahead */
        sr_free(got);
        got = eval(m, 8); /* the slots hold what came for this step already */
        assert_memory_equal(want, got, 8 * m->info.n_vocab * sizeof *got);
        sr_model_close(m);
        sr_free(got);
        sr_free(want);
    }
}

/* Both formats that have a code, every weight that can be coded, and a step of many tokens as well as steps of four. */
static void weights_that_come_coded_give_the_same_bits(void **state)
{
    (void)state;
    const struct { const char *path; double most; } run[] = {{"synth:tiny:bf16", 0.72}, {"synth:tiny:f16", 0.93}};
    int32_t keep_text[N];
    memcpy(keep_text, text, sizeof text);
    for (int i = 0; i < N; i++)
        text[i] %= 1000;
    for (size_t i = 0; i < 2 * SR_COUNT(run); i++) {
        bool     slow = i % 2;
        float   *want = expected(run[i / 2].path, 8);
        for (int coded = 0; coded < 2; coded++) {
            sr_fake_configure(&(sr_fakecfg){.memory = 4700000, .bytes_per_s = slow ? 300000000u : 0, .ns_per_command = slow ? 5000 : 0});
            sr_loadcfg c = config(run[i / 2].path, slow ? SR_OFFLOAD_AUTO : SR_OFFLOAD_STREAM);
            c.transit    = coded ? SR_TRANSIT_CODED : SR_TRANSIT_RAW;
            sr_model *m  = load(&c);
            assert_non_null(m->off);
            assert_int_equal(m->info.bytes_ram != 0, coded);
            for (int times = 0; times < 2; times++) {
                float *got = eval(m, 8);
                if (coded || !slow) /* uncoded feed-forwards may be shared */
                    assert_memory_equal(want, got, 8 * m->info.n_vocab * sizeof *got);
                sr_free(got);
            }
            if (coded) {
                assert_int_equal(m->off->few, 0);
                assert_true((double)m->info.bytes_ram < run[i / 2].most * (double)m->info.bytes_before);
                assert_true(m->off->sum.ram_used < m->off->sum.bytes[SR_WT_PINNED]); /* the plan knows what the code takes */
            }
            assert_true(!coded || (sr_offload_bytes(m) > 7 * m->info.bytes_ram && sr_offload_bytes(m) <= 9 * m->info.bytes_ram)); /* eight steps */
            sr_model_close(m);
        }
        sr_free(want);
    }
    memcpy(text, keep_text, sizeof text);
}

static void a_model_without_weights_that_have_a_code_is_refused_and_the_cpu_takes_no_coded_ones(void **state)
{
    (void)state;
    static const sr_offloadmode how[] = {SR_OFFLOAD_STREAM, SR_OFFLOAD_CPU};
    static const char *const    says[] = {"no weight would be smaller coded", "cannot lie in RAM coded"};
    for (size_t i = 0; i < SR_COUNT(how); i++) {
        sr_err     err = {0};
        sr_model  *m   = NULL;
        sr_loadcfg c   = config(BASE, how[i]);
        c.transit      = SR_TRANSIT_CODED;
        sr_fake_configure(&(sr_fakecfg){.memory = 14 * MB});
        assert_int_equal(sr_model_load(&c, &m, &err), SR_INVALID);
        assert_non_null(strstr(err.msg, says[i]));
    }
}

/* Small steps read weights where they lie, large ones stream; half of them on disk, too. */
static void weights_that_are_read_in_place_give_the_same_bits(void **state)
{
    (void)state;
    float *want = expected(BASE, 8);
    for (int disk = 0; disk < 2; disk++) {
        sr_hw      hw = machine;
        sr_loadcfg c  = config(BASE, SR_OFFLOAD_ZEROCOPY);
        c.hw          = &hw;
        hw.nvme_read  = disk ? 1e9 : 0;
        hw.ram        = disk ? 8 * MB : 0;
        sr_fake_configure(&(sr_fakecfg){.memory = 14 * MB});
        sr_model *m = load(&c);
        assert_non_null(m->off);
        assert_int_equal(m->off->few, 4);
        assert_true((m->off->reader != NULL) == disk);
        for (int times = 0; times < 2; times++) {
            uint64_t before = sr_offload_bytes(m), came = sr_stream_bytes(m->off->stream);
            float   *got    = eval(m, 8);
            assert_memory_equal(want, got, 8 * m->info.n_vocab * sizeof *got);
            assert_true(sr_offload_bytes(m) - before - (sr_stream_bytes(m->off->stream) - came) == 2 * m->off->read_here); /* two steps of four */
            assert_true(m->off->read_here > 3 * MB);
            sr_free(got);
        }
        sr_model_close(m);
    }
    sr_err     err = {0};
    sr_model  *m   = NULL;
    sr_loadcfg c   = config(BASE, SR_OFFLOAD_ZEROCOPY);
    c.bus          = 1e9;
    assert_int_equal(sr_model_load(&c, &m, &err), SR_INVALID);
    sr_free(want);
}

/* What lies in RAM is encoded anew; where it lies, and who computes it, changes nothing more. */
static void a_smaller_format_in_ram_changes_answers_a_little_and_is_refused_where_it_is_larger(void **state)
{
    (void)state;
    const sr_offloadmode mode[] = {SR_OFFLOAD_STREAM, SR_OFFLOAD_AUTO, SR_OFFLOAD_ZEROCOPY};
    float *want = expected(DRAFT, 8), *first = NULL;
    for (size_t i = 0; i < SR_COUNT(mode); i++) {
        sr_loadcfg c = config(DRAFT, mode[i]);
        c.ram_format = SR_Q6_K;
        sr_fake_configure(&(sr_fakecfg){.memory = 7 * MB});
        sr_model *m = load(&c);
        size_t    n = 8 * m->info.n_vocab;
        assert_non_null(m->off);
        assert_int_equal(m->info.ram_format, SR_Q6_K);
        assert_true((double)m->info.bytes_ram < 0.78 * (double)m->info.bytes_before && (double)m->info.bytes_ram > 0.76 * (double)m->info.bytes_before);
        float *got = eval(m, 8);
        assert_memory_not_equal(want, got, n * sizeof *got);
        assert_true(farthest(want, got, n) < 2);
        if (i == 0)
            first = got;
        else {
            assert_true(farthest(first, got, n) < 2 && (mode[i] == SR_OFFLOAD_AUTO || m->info.bytes_device));
            sr_free(got);
        }
        sr_model_close(m);
    }
    sr_free(first);
    sr_free(want);
    sr_err     err = {0};
    sr_model  *m   = NULL;
    sr_loadcfg c   = config(BASE, SR_OFFLOAD_STREAM);
    c.ram_format   = SR_Q8_0;
    sr_fake_configure(&(sr_fakecfg){.memory = 14 * MB});
    assert_int_equal(sr_model_load(&c, &m, &err), SR_INVALID);
    assert_non_null(strstr(err.msg, "no weight would be smaller in Q8_0"));
    err          = (sr_err){0};
    c.ram_format = SR_Q4_K; /* a part of it is larger than that */
    c.transit    = SR_TRANSIT_CODED;
    assert_int_equal(sr_model_load(&c, &m, &err), SR_INVALID);
    c.transit = SR_TRANSIT_RAW;
    m         = load(&c);
    assert_true(m->info.bytes_ram && m->info.bytes_ram < m->info.bytes_before);
    sr_model_close(m);
}

static void feed_forwards_shared_with_the_cpu_agree_within_rounding(void **state)
{
    (void)state;
    const uint64_t budget[] = {10, 14, 20};
    float         *want     = expected(BASE, 8);
    for (size_t i = 0; i < SR_COUNT(budget); i++)
        for (uint32_t cpu = 0; cpu < 2; cpu++) {
            sr_fake_configure(&(sr_fakecfg){.memory = budget[i] * MB});
            sr_loadcfg c = config(BASE, cpu ? SR_OFFLOAD_CPU : SR_OFFLOAD_AUTO);
            sr_model  *m = load(&c);
            assert_non_null(m->off);
            assert_int_equal(m->off->few, 4);
            assert_true(m->info.cpu_share > 0.05);
            float *got = eval(m, 8); /* a step of many tokens, and two of four: both routes */
            double worst = farthest(want, got, 8 * m->info.n_vocab);
            assert_true(worst < 0.5); /* a partial sum rounds differently, and activations of 8 bits may move by one: logits are some tens */
            same_winners(want, got, 8, m->info.n_vocab);
            sr_model_close(m);
            sr_free(got);
        }
    sr_free(want);
}

/* Nothing is rounded to eight bits: what is left is the order of sums.  The device of these tests has the CPU's kernels. */
static void shared_with_activations_in_f32_nothing_is_left_but_the_order_of_sums(void **state)
{
    (void)state;
    sr_loadcfg alone = config(BASE, SR_OFFLOAD_AUTO);
    alone.be         = &sr_backend_cpu;
    alone.dev.f32_activations = true;
    sr_model *m    = load(&alone);
    float    *want = eval(m, 8);
    sr_model_close(m);
    for (uint32_t i = 0; i < 6; i++) {
        sr_fake_configure(&(sr_fakecfg){.memory = (uint64_t[]){10, 14, 20}[i / 2] * MB});
        sr_loadcfg c = config(BASE, i % 2 ? SR_OFFLOAD_CPU : SR_OFFLOAD_AUTO);
        c.dev.f32_activations = true;
        m = load(&c);
        assert_true(m->info.cpu_share > 0.05 && m->info.f32_activations);
        float *got   = eval(m, 8);
        double worst = farthest(want, got, 8 * m->info.n_vocab);
        if (i % 2 ? worst != 0 : !(worst > 0 && worst < 2e-3)) /* whole feed-forwards: the same bits; rounded to eight bits 0.2 */
            fail_msg("budget %u, mode %u: logits off by %g", i / 2, i % 2, worst);
        sr_model_close(m);
        sr_free(got);
    }
    sr_free(want);
}

static void activations_in_f32_are_refused_where_the_cpu_multiplies_nothing(void **state)
{
    (void)state;
    const struct { uint64_t mb; sr_offloadmode mode; } run[] = {{14, SR_OFFLOAD_STREAM}, {14, SR_OFFLOAD_ZEROCOPY}, {100, SR_OFFLOAD_AUTO}};
    for (size_t i = 0; i < SR_COUNT(run); i++) {
        sr_err    err = {0};
        sr_model *m   = NULL;
        sr_fake_configure(&(sr_fakecfg){.memory = run[i].mb * MB});
        sr_loadcfg c = config(BASE, run[i].mode);
        c.dev.f32_activations = true;
        assert_int_equal(sr_model_load(&c, &m, &err), SR_INVALID);
        assert_non_null(strstr(err.msg, "multiplies no weights"));
        assert_null(m);
    }
}

/* The figures say that the bus is far faster than the CPU; it is far slower. */
static void a_share_that_was_wrong_is_corrected_between_steps(void **state)
{
    (void)state;
    sr_hw      hw   = machine;
    float     *want = expected(BASE, 8);
    sr_loadcfg c    = config(BASE, SR_OFFLOAD_AUTO);
    hw.cpu_read     = 1e9;
    hw.h2d          = 5e9;
    c.hw            = &hw;
    for (int fixed = 0; fixed < 2; fixed++) {
        c.dev.deterministic = fixed;
        sr_fake_configure(&(sr_fakecfg){.memory = 14 * MB, .bytes_per_s = 200000000u});
        sr_model *m = load(&c);
        assert_non_null(m->off);
        assert_true(m->off->few > 0);
        double first            = m->info.cpu_share;
        m->off->balance.window  = 4;
        for (int i = 0; i < (fixed ? 8 : 40) && (fixed || !m->off->balance.changes); i++)
            sr_free(eval(m, 8));
        assert_int_equal(m->off->balance.changes > 0, !fixed);
        if (fixed)
            assert_true(m->info.cpu_share == first);
        else
            assert_true(m->info.cpu_share > first + 0.1);
        for (int i = 0; i < 3; i++) { /* with the share on trial, and whatever comes of it */
            float *got = eval(m, 8);
            assert_true(farthest(want, got, 8 * m->info.n_vocab) < 0.5);
            same_winners(want, got, 8, m->info.n_vocab);
            sr_free(got);
        }
        assert_true(m->off->balance.all.cpu_ns > 0 && m->off->balance.all.cpu_bytes > 0);
        assert_true(m->off->balance.all.cpu_ns < m->off->balance.all.ns);
        if (!fixed) { /* what was measured of the bus is what it was made to do, or less where others have the cores */
            double rate = (double)m->off->balance.all.bus_bytes * 1e9 / (double)m->off->balance.all.bus_ns;
            assert_true(rate > 5e6 && rate < 260e6);
        }
        sr_model_close(m);
    }
    sr_free(want);
}

static void steps(sr_model *m, uint32_t tok, uint32_t n)
{
    sr_err err = {0};
    for (uint32_t i = 0; i < n; i++) { /* as if the step in the block had been one of so many tokens */
        m->block.now.tok     = tok;
        m->ran               = m->off->route[1].plan;
        m->off->balance.skip = 0;
        sr_balance_begin(m);
        m->off->balance.began -= 300000000; /* a window's length */
        if (sr_balance_end(m, &err))
            fail_msg("%s", err.msg);
    }
}

/* Searches of steps of one token and of four do not know of each other; what was found comes back with them. */
static void each_size_of_steps_has_its_own_share(void **state)
{
    (void)state;
    sr_fake_configure(&(sr_fakecfg){.memory = 14 * MB});
    sr_loadcfg  c = config(BASE, SR_OFFLOAD_AUTO);
    sr_model   *m = load(&c);
    sr_balance *b = &m->off->balance;
    b->window     = 1;
    steps(m, 1, 2);
    assert_true(b->climb[0].step > 0 && !b->climb[1].step && b->changes > 0);
    b->climb[0] = (sr_climb){.kept = 2, .last = b->climb[0].last, .step = 1, .way = 1, .rest = 30};
    b->climb[1] = (sr_climb){.kept = 3, .last = b->climb[0].last, .step = 1, .way = 1, .rest = 30};
    for (int i = 0; i < 3; i++) {
        uint32_t tok = i % 2 ? 4 : 1;
        steps(m, tok, 2); /* the first of them tells that they are of another size */
        for (uint32_t l = 0; l < m->info.n_layer; l++)
            assert_true(m->off->device[l] == m->info.n_ff || m->off->device[l] == (tok == 1 ? 2 : 3) * 256);
    }
    float *want = expected(BASE, 8), *got = eval(m, 8);
    assert_true(farthest(want, got, 8 * m->info.n_vocab) < 0.5);
    sr_free(want);
    sr_free(got);
    sr_model_close(m);
}

/* Half of what lies outside the device does not fit the RAM that may be used either. */
static void weights_read_from_disk_give_the_same_bits(void **state)
{
    (void)state;
    sr_hw      hw   = machine;
    float     *want = expected(BASE, 8);
    sr_loadcfg c    = config(BASE, SR_OFFLOAD_STREAM);
    hw.nvme_read    = 0; /* measured */
    hw.ram          = 8 * MB;
    c.hw            = &hw;
    sr_fake_configure(&(sr_fakecfg){.memory = 12 * MB});
    for (int shared = 0; shared < 2; shared++) {
        c.offload   = shared ? SR_OFFLOAD_AUTO : SR_OFFLOAD_STREAM;
        sr_model *m = load(&c);
        assert_non_null(m->off->reader);
        for (int times = 0; times < 3; times++) {
            float *got = eval(m, 8);
            if (!shared)
                assert_memory_equal(want, got, 8 * m->info.n_vocab * sizeof *got);
            assert_true(farthest(want, got, 8 * m->info.n_vocab) < 0.5);
            sr_free(got);
        }
        uint64_t ns;
        assert_true(sr_reader_bytes(m->off->reader, &ns) > 3 * (m->info.bytes - m->info.bytes_device - hw.ram));
        sr_model_close(m);
    }
    sr_free(want);
}

static void a_model_that_is_in_no_file_is_not_read_from_disk(void **state)
{
    (void)state;
    sr_hw      hw  = machine;
    sr_err     err = {0};
    sr_model  *m   = NULL;
    sr_loadcfg c   = config("synth:tiny:f16", SR_OFFLOAD_STREAM);
    hw.ram         = MB;
    c.hw           = &hw;
    sr_fake_configure(&(sr_fakecfg){.memory = 4 * MB});
    for (int known = 0; known < 2; known++, err = (sr_err){0}) {
        hw.nvme_read = known ? 1e9 : 0;
        assert_int_equal(sr_model_load(&c, &m, &err), SR_NOMEM);
        assert_non_null(strstr(err.msg, "MB of RAM too little; this model is in no file, so that nothing of it can stay on a disk"));
        assert_null(strstr(err.msg, "(memory)"));
    }
}

/* More than RAM may hold, but not together with what lies on the device: no disk is wanted, and none is measured. */
static void a_model_that_device_and_ram_hold_together_asks_for_no_disk(void **state)
{
    (void)state;
    sr_hw      hw  = machine;
    sr_err     err = {0};
    sr_model  *m   = NULL;
    sr_loadcfg c   = config("synth:tiny:f16", SR_OFFLOAD_STREAM);
    c.hw           = &hw;
    sr_fake_configure(&(sr_fakecfg){.memory = 4 * MB});
    assert_int_equal(sr_model_load(&c, &m, &err), SR_OK);
    hw.ram = m->info.bytes - m->info.bytes_device / 2;
    assert_true(hw.ram < m->info.bytes && m->info.bytes_device > 0);
    sr_model_close(m);
    assert_int_equal(sr_model_load(&c, &m, &err), SR_OK);
    assert_true(m->off && !m->off->reader && m->off->hw.nvme_read <= 0);
    sr_model_close(m);
}

static void a_paced_bus_takes_its_time_and_changes_no_bit(void **state)
{
    (void)state;
    float     *want = expected(BASE, 8);
    sr_loadcfg c    = config(BASE, SR_OFFLOAD_STREAM);
    c.bus           = 200e6;
    sr_fake_configure(&(sr_fakecfg){.memory = 14 * MB});
    sr_model *m     = load(&c);
    sr_free(eval(m, 8));
    uint64_t before = sr_stream_bytes(m->off->stream), t = sr_now_ns();
    float   *got    = eval(m, 8);
    double   took   = (double)(sr_now_ns() - t) * 1e-9, due = (double)(sr_stream_bytes(m->off->stream) - before) / c.bus;
    assert_memory_equal(want, got, 8 * m->info.n_vocab * sizeof *got);
    assert_true(took > 0.8 * due); /* what comes for the next step is not waited for */
    sr_model_close(m);
    sr_free(got);
    sr_free(want);
}

static void a_failed_read_ends_the_step_with_file_and_place(void **state)
{
    (void)state;
    sr_hw      hw = machine;
    sr_loadcfg c  = config(BASE, SR_OFFLOAD_STREAM);
    hw.nvme_read  = 1e9;
    hw.ram        = 8 * MB;
    c.hw          = &hw;
    sr_fake_configure(&(sr_fakecfg){.memory = 12 * MB});
    for (uint64_t nth = 1; nth < 12; nth += 5) {
        sr_model *m   = load(&c);
        sr_err    err = {0};
        logits    l   = {sr_calloc((size_t)8 * m->info.n_vocab, sizeof(float)), m->info.n_vocab, N - 8};
        sr_fault_arm(SR_FAULT_READ, nth);
        sr_status s = sr_model_eval(m, text, N, N - 8, keep, &l, &err);
        sr_fault_arm(SR_FAULT_READ, 0);
        assert_int_equal(s, SR_IO);
        assert_non_null(strstr(err.msg, BASE));
        sr_free(l.p);
        sr_model_close(m);
    }
}

static void a_model_that_cannot_fit_says_what_lacks(void **state)
{
    (void)state;
    sr_err     err = {0};
    sr_model  *m   = NULL;
    sr_loadcfg c   = config(BASE, SR_OFFLOAD_AUTO);
    sr_fake_configure(&(sr_fakecfg){.memory = 2 * MB});
    assert_int_equal(sr_model_load(&c, &m, &err), SR_NOMEM);
    assert_non_null(strstr(err.msg, "MB of VRAM"));
    err = (sr_err){0};
    sr_fake_configure(&(sr_fakecfg){.memory = 14 * MB});
    c.offload = SR_OFFLOAD_NONE;
    assert_int_equal(sr_model_load(&c, &m, &err), SR_NOMEM);
    assert_non_null(strstr(err.msg, "all weights were to lie on the device"));
    assert_non_null(strstr(err.msg, "free"));
}

static uint64_t number_before(const char *said, const char *words)
{
    const char *at = strstr(said, words);
    while (at && at > said && at[-1] >= '0' && at[-1] <= '9')
        at--;
    return at ? strtoull(at, NULL, 10) : 0;
}

static void the_change_that_is_offered_fits_and_no_smaller_one_does(void **state)
{
    enum { M = 1000000 };
    (void)state;
    sr_err     err = {0};
    sr_model  *m   = NULL;
    sr_loadcfg c   = config(BASE, SR_OFFLOAD_STREAM);
    c.kv_pages     = 0;
    c.ctx          = 1024;
    sr_fake_configure(&(sr_fakecfg){.memory = 5 * M});
    assert_int_equal(sr_model_load(&c, &m, &err), SR_NOMEM);
    uint64_t mb = number_before(err.msg, " MB of the device's memory would do");
    if (mb <= 5)
        fail_msg("%s", err.msg);
    for (uint64_t less = 0; less < 2; less++, err = (sr_err){0}) {
        sr_fake_configure(&(sr_fakecfg){.memory = (mb - less) * M});
        err = (sr_err){0};
        assert_int_equal(sr_model_load(&c, &m, &err), less ? SR_NOMEM : SR_OK);
        if (!less)
            sr_model_close(m);
    }
    sr_fake_configure(&(sr_fakecfg){.memory = (mb - 1) * M});
    assert_int_equal(sr_model_load(&c, &m, &err), SR_NOMEM);
    const char *said = strstr(err.msg, "or a context of ");
    if (!said)
        fail_msg("%s", err.msg);
    c.ctx = (uint32_t)strtoul(said + 16, NULL, 10);
    err   = (sr_err){0};
    if (sr_model_load(&c, &m, &err))
        fail_msg("%u: %s", c.ctx, err.msg);
    sr_model_close(m);
}

static void the_device_never_holds_more_than_its_budget_and_gives_all_back(void **state)
{
    (void)state;
    for (uint64_t mb = 5; mb < 28; mb += 2) {
        sr_err err = {0};
        sr_fake_configure(&(sr_fakecfg){.memory = mb * MB});
        sr_loadcfg c = config(BASE, SR_OFFLOAD_AUTO);
        sr_model  *m = NULL;
        if (sr_model_load(&c, &m, &err)) { /* the ledger refuses what goes beyond: the plan must not have asked for it */
            if (mb >= 10)
                fail_msg("%u MB: %s", (unsigned)mb, err.msg);
            assert_non_null(strstr(err.msg, "VRAM"));
            continue;
        }
        assert_true(m->info.bytes_device <= mb * MB);
        sr_model_close(m);
    }
}

static void a_failed_copy_loses_the_device_with_its_reason(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth < 200; nth += 23) {
        sr_fake_configure(&(sr_fakecfg){.memory = 12 * MB});
        sr_loadcfg c   = config(BASE, SR_OFFLOAD_AUTO);
        sr_model  *m   = load(&c);
        sr_err     err = {0};
        logits     l   = {sr_calloc((size_t)8 * m->info.n_vocab, sizeof(float)), m->info.n_vocab, N - 8};
        sr_fault_arm(nth % 2 ? SR_FAULT_COPY : SR_FAULT_SUBMIT, nth);
        sr_status s = sr_model_eval(m, text, N, N - 8, keep, &l, &err);
        if (sr_fault_fired(nth % 2 ? SR_FAULT_COPY : SR_FAULT_SUBMIT)) {
            assert_int_equal(s, SR_DEVLOST);
            assert_non_null(strstr(err.msg, "injected"));
        }
        sr_fault_arm(SR_FAULT_COPY, 0);
        sr_fault_arm(SR_FAULT_SUBMIT, 0);
        sr_free(l.p);
        sr_model_close(m);
    }
}

static void no_failed_allocation_leaks_or_crashes(void **state)
{
    (void)state;
    const sr_faultkind kinds[] = {SR_FAULT_ALLOC, SR_FAULT_DEVALLOC};
    for (size_t k = 0; k < 2 * SR_COUNT(kinds); k++)
        for (uint64_t nth = 1, fired = 1; fired; nth += nth < 40 ? 1 : 9) {
            sr_err     err   = {0};
            sr_model  *m     = NULL;
            bool       coded = k >= SR_COUNT(kinds);
            sr_loadcfg c     = config(coded ? "synth:tiny:bf16" : DRAFT, SR_OFFLOAD_AUTO);
            c.transit        = coded ? SR_TRANSIT_CODED : SR_TRANSIT_RAW;
            sr_fake_configure(&(sr_fakecfg){.memory = coded ? 4700000 : 9 * MB});
            sr_fault_arm(kinds[k % SR_COUNT(kinds)], nth);
            sr_status s = sr_model_load(&c, &m, &err);
            fired       = sr_fault_fired(kinds[k % SR_COUNT(kinds)]);
            sr_fault_arm(kinds[k % SR_COUNT(kinds)], 0);
            if (!(s == SR_OK || (fired && s == SR_NOMEM && err.msg[0])))
                fail_msg("allocation %u failed: status %d, %s", (unsigned)nth, s, err.msg);
            sr_model_close(m);
        }
}

int main(void)
{
    for (int i = 0; i < N; i++)
        text[i] = i ? (i * 7919 + 13) % 8000 + 3 : 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_that_stream_in_give_the_same_bits),
        cmocka_unit_test(weights_that_come_coded_give_the_same_bits),
        cmocka_unit_test(a_model_without_weights_that_have_a_code_is_refused_and_the_cpu_takes_no_coded_ones),
        cmocka_unit_test(weights_that_are_read_in_place_give_the_same_bits),
        cmocka_unit_test(a_smaller_format_in_ram_changes_answers_a_little_and_is_refused_where_it_is_larger),
        cmocka_unit_test(feed_forwards_shared_with_the_cpu_agree_within_rounding),
        cmocka_unit_test(shared_with_activations_in_f32_nothing_is_left_but_the_order_of_sums),
        cmocka_unit_test(activations_in_f32_are_refused_where_the_cpu_multiplies_nothing),
        cmocka_unit_test(a_share_that_was_wrong_is_corrected_between_steps),
        cmocka_unit_test(weights_read_from_disk_give_the_same_bits),
        cmocka_unit_test(each_size_of_steps_has_its_own_share),
        cmocka_unit_test(a_paced_bus_takes_its_time_and_changes_no_bit),
        cmocka_unit_test(a_failed_read_ends_the_step_with_file_and_place),
        cmocka_unit_test(a_model_that_cannot_fit_says_what_lacks),
        cmocka_unit_test(the_change_that_is_offered_fits_and_no_smaller_one_does),
        cmocka_unit_test(a_model_that_is_in_no_file_is_not_read_from_disk),
        cmocka_unit_test(a_model_that_device_and_ram_hold_together_asks_for_no_disk),
        cmocka_unit_test(the_device_never_holds_more_than_its_budget_and_gives_all_back),
        cmocka_unit_test(a_failed_copy_loses_the_device_with_its_reason),
        cmocka_unit_test(no_failed_allocation_leaks_or_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
