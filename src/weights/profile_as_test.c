/* profile_as_test.c - smaller machines made of a profile, and products with activations in f32. */
#include "weights/profile_as.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ops/quant/quant.h"

#define GB 1e9

static sr_profile p, full;

static void read_h200(void)
{
    sr_err err = {0};
    if (sr_profile_read("profiles/h200.json", &p, &err))
        fail_msg("%s", err.msg);
    full = p;
}

static void limit(const sr_limits *l)
{
    sr_err err = {0};
    if (sr_profile_limit(&p, l, &err))
        fail_msg("%s", err.msg);
}

static void near(double a, double b, double share)
{
    if (fabs(a - b) > share * fabs(b))
        fail_msg("%g is not %g", a, b);
}

static void no_limit_changes_nothing(void **state)
{
    (void)state;
    read_h200();
    limit(&(sr_limits){0});
    assert_memory_equal(&p, &full, sizeof p);
    limit(&(sr_limits){.threads = full.host.cores});
    assert_string_equal(p.source, "measured, limited to 16 threads");
    snprintf(p.source, sizeof p.source, "%s", full.source);
    assert_true(p.host.cores == full.host.cores && p.together.cpu == full.together.cpu && p.host.kv == full.host.kv);
}

/* A limited profile says of itself what the plan says of the whole one with these budgets. */
static void a_slower_bus_leaves_what_the_plan_says(void **state)
{
    (void)state;
    for (uint32_t t = 1; t <= 16; t *= 2) {
        sr_hw want, got;
        read_h200();
        sr_profile_hw(&full, t, &want);
        sr_plan_bus(&want, 6.5 * GB);
        limit(&(sr_limits){.h2d = 6.5 * GB});
        sr_profile_hw(&p, t, &got);
        near(got.h2d, 6.5 * GB, 1e-9);
        near(got.h2d_beside, want.h2d_beside, 1e-9);
        near(got.cpu_beside, want.cpu_beside, 1e-9);
        near(got.cpu_read, want.cpu_read, 1e-9);
        near(got.dram_read, want.dram_read, 1e-9);
    }
    assert_true(p.dev.d2h < full.dev.d2h / 8 && strstr(p.source, "bus 6.5 GB/s"));
}

static void fewer_threads_end_every_curve(void **state)
{
    (void)state;
    sr_hw want, got;
    read_h200();
    limit(&(sr_limits){.threads = 3});
    sr_profile_hw(&full, 3, &want);
    sr_profile_hw(&p, 0, &got);
    assert_int_equal(p.host.cores, 3);
    near(got.cpu_read, want.cpu_read, 1e-6);
    near(got.cpu_beside, want.cpu_beside, 1e-6);
    near(got.h2d_beside, want.h2d_beside, 1e-6);
    for (uint32_t i = 0; i < p.host.gemv.n; i++) {
        const sr_curve *c = &p.host.gemv.c[i];
        assert_int_equal(c->p[c->n - 1].at, 3);
        for (uint32_t rows = 1; rows <= 8; rows *= 2) { /* what several rows read is that of three threads */
            sr_formatrates a = sr_profile_rates(&full, 3, c->format, rows), b = sr_profile_rates(&p, 3, c->format, rows);
            near(b.cpu_read, a.cpu_read, 0.02);
        }
    }
    assert_true(p.together.threads == 3 && p.together.cpu < full.together.cpu);
}

static void the_limited_profile_reads_back(void **state)
{
    (void)state;
    static sr_profile q;
    sr_buf            text = {0};
    sr_err            err  = {0};
    read_h200();
    limit(&(sr_limits){.vram = 14000000000, .ram = 40000000000, .h2d = 6.5 * GB, .nvme = 1.2 * GB, .threads = 4});
    assert_string_equal(p.source, "measured, limited to 14 GB VRAM, 40 GB RAM, bus 6.5 GB/s, disk 1.2 GB/s, 4 threads");
    sr_profile_write(&p, &text);
    if (sr_profile_parse(text.p, text.n, &q, &err))
        fail_msg("%s", err.msg);
    assert_true(q.dev.vram == 14000000000 && q.host.ram == 40000000000 && q.host.cores == 4);
    near(q.host.nvme, 1.2 * GB, 1e-6);
    sr_buf_end(&text);
}

static void what_is_no_limit_is_refused_with_what_there_is(void **state)
{
    (void)state;
    static const struct { sr_limits l; const char *says; } bad[] = {
        {{.vram = 200000000000}, "GB of VRAM of 200: the machine has 150.1"}, {{.ram = 1000000000000}, "GB of RAM of 1000: the machine has 135.1"},
        {{.h2d = 100 * GB}, "a bus in GB/s of 100"}, {{.threads = 17}, "threads of 17: the machine has 16"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sr_err err = {0};
        read_h200();
        assert_int_equal(sr_profile_limit(&p, &bad[i].l, &err), SR_INVALID);
        if (!strstr(err.msg, bad[i].says))
            fail_msg("\"%s\" does not say \"%s\"", err.msg, bad[i].says);
        assert_memory_equal(&p, &full, sizeof p);
    }
    sr_err err = {0};
    p.dev.arch = 0;
    assert_int_equal(sr_profile_limit(&p, &(sr_limits){.h2d = GB}, &err), SR_INVALID);
    assert_non_null(strstr(err.msg, "has no device"));
}

static void products_in_f32_take_the_place_of_those_in_int8(void **state)
{
    (void)state;
    read_h200();
    assert_true(p.host.gemv_f32.n && p.host.rows_f32.n && p.host.gemm_f32.n);
    memset(&p.host.gemv_f32, 0, sizeof p.host.gemv_f32);
    memset(&p.host.rows_f32, 0, sizeof p.host.rows_f32);
    memset(&p.host.gemm_f32, 0, sizeof p.host.gemm_f32);
    sr_profile before = p;
    assert_false(sr_profile_use_f32(&p)); /* now it has none */
    assert_memory_equal(&p, &before, sizeof p);
    sr_curve_put(sr_curves_add(&p.host.gemv_f32, SR_Q4_K), 1, 5 * GB);
    sr_curve_put(&p.host.gemv_f32.c[0], 16, 60 * GB);
    sr_curve_put(sr_curves_add(&p.host.gemm_f32, SR_Q4_K), 16, 500 * GB);
    sr_curve_put(sr_curves_add(&p.host.rows_f32, SR_Q4_K), 1, 60 * GB);
    sr_curve_put(&p.host.rows_f32.c[0], 8, 15 * GB);
    assert_true(sr_profile_use_f32(&p));
    near(sr_profile_rates(&p, 16, SR_Q4_K, 1).cpu_read, 60 * GB, 1e-9);
    near(sr_profile_rates(&p, 16, SR_Q6_K, 8).cpu_read, 15 * GB, 1e-9); /* the nearest that is in blocks */
    near(sr_profile_rates(&p, 16, SR_Q4_K, 8).cpu_beside, 0, 0);
    near(sr_profile_rates(&p, 16, SR_F16, 256).cpu_flops, sr_profile_rates(&full, 16, SR_F16, 256).cpu_flops, 1e-9); /* x of F16 is not rounded */
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(no_limit_changes_nothing), cmocka_unit_test(a_slower_bus_leaves_what_the_plan_says),
        cmocka_unit_test(fewer_threads_end_every_curve), cmocka_unit_test(the_limited_profile_reads_back),
        cmocka_unit_test(what_is_no_limit_is_refused_with_what_there_is), cmocka_unit_test(products_in_f32_take_the_place_of_those_in_int8),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
