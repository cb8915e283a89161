/* profile_test.c - profiles: what is read is what was written, what is wrong is named, the shipped ones are sound. */
#include "weights/profile.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "ops/quant/quant.h"

#define HOST "\"host\":{\"cpu\":\"x\",\"cores\":4,\"ram_bytes\":8000000000,\"dram_read_gbs\":{\"1\":10,\"4\":30}," \
             "\"cpu_gemv_gbs\":{\"Q4_K\":{\"4\":24,\"1\":8,\"2\":14}},\"cpu_rows_gbs\":{\"Q4_K\":{\"1\":24,\"8\":12}},\"cpu_gemm_gflops\":{\"Q4_K\":{\"4\":200}}"
#define HEAD "{\"profile\":2,\"name\":\"n\",\"source\":\"measured\",\"date\":\"2026-11-21\","
#define DEVICE "\"device\":{\"name\":\"d\",\"arch\":75,\"vram_bytes\":16000000000,\"dev_read_gbs\":250,\"h2d_gbs\":12.5,\"gemm_tflops\":{\"F16\":{\"512\":30}}"

static const char *const shipped[] = {"t4", "rtx3060", "rtx3090", "h200"};

static sr_status parse(const char *text, sr_profile *p, sr_err *err)
{
    *err = (sr_err){0};
    return sr_profile_parse(text, strlen(text), p, err);
}

static void refuses(const char *text, const char *says)
{
    static sr_profile p;
    sr_err            err;
    assert_int_equal(parse(text, &p, &err), SR_INVALID);
    if (!strstr(err.msg, says))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, says);
}

static void figures_come_in_si_units(void **state)
{
    (void)state;
    static sr_profile p;
    sr_err            err;
    assert_int_equal(parse(HEAD DEVICE ",\"op_us\":3}," HOST "}}", &p, &err), SR_OK);
    assert_true(fabs(p.dev.h2d - 12.5e9) < 1 && fabs(p.dev.op - 3e-6) < 1e-12 && p.dev.vram == 16000000000u);
    assert_true(fabs(p.dev.gemm.c[0].p[0].v - 3e13) < 1 && p.host.cores == 4);
    assert_int_equal(p.host.gemv.c[0].p[0].at, 1); /* sorted */
    assert_int_equal(p.host.gemv.c[0].p[2].at, 4);
    assert_true(p.dev.zero_copy == 0 && p.host.nvme == 0); /* absent: not known */
}

static void what_is_wrong_is_named_with_its_value(void **state)
{
    (void)state;
    refuses("", "invalid JSON");
    refuses("{\"name\":", "line 1");
    refuses("[1]", "no JSON object");
    refuses("{}", "profile is not 2");
    refuses("{\"profile\":1}", "profile is not 2");
    refuses(HEAD HOST "},\"cpus\":1}", "cpus is no field of a profile");
    refuses(HEAD HOST ",\"nvme_read_gb\":1}}", "host.nvme_read_gb is no field");
    refuses(HEAD DEVICE "}}", "host is missing");
    refuses(HEAD "\"host\":3}", "host is no object");
    refuses(HEAD "\"host\":{\"cpu\":\"\"}}", "host.cpu is empty");
    refuses(HEAD "\"device\":{\"name\":\"d\"}," HOST "}}", "device.arch is missing");
    refuses(HEAD HOST ",\"nvme_read_gbs\":-3}}", "host.nvme_read_gbs is -3; 0.001 to 100000 expected");
    refuses(HEAD HOST ",\"nvme_read_gbs\":\"fast\"}}", "host.nvme_read_gbs is no number");
    refuses(HEAD HOST ",\"cores\":4}}", "duplicate");
    refuses(HEAD DEVICE ",\"units\":1.5}," HOST "}}", "device.units is no whole number");
    refuses(HEAD DEVICE ",\"gemv_gbs\":{\"Q9_Z\":{\"1\":1}}}," HOST "}}", "device.gemv_gbs.Q9_Z is for no number format");
    refuses(HEAD DEVICE ",\"gemv_gbs\":{\"F16\":{\"0\":1}}}," HOST "}}", "device.gemv_gbs.F16.0 is not for a number of threads or rows");
    refuses(HEAD DEVICE ",\"gemv_gbs\":{\"F16\":{\"1\":1},\"f16\":{\"1\":1}}}," HOST "}}", "device.gemv_gbs.f16 is given twice");
    refuses(HEAD DEVICE ",\"gemv_gbs\":{\"F16\":{}}}," HOST "}}", "device.gemv_gbs.F16 is no object of 1 to");
    refuses(HEAD "\"together\":{\"h2d_gbs\":1,\"cpu_gbs\":1,\"threads\":1}," HOST "}}", "together is given without a device");
    refuses("{\"profile\":2,\"name\":\"n\",\"source\":\"guessed\",\"date\":\"d\"," HOST "}}", "source is \"guessed\"");
    refuses("{\"profile\":2,\"name\":\"n\",\"source\":\"estimated\",\"date\":\"d\"," HOST "}}", "reference is missing");
    refuses("{\"profile\":2,\"name\":\"n\\u007f\",\"source\":\"measured\",\"date\":\"d\"," HOST "}}", "name holds a control character");
    refuses("{\"profile\":2,\"name\":5,\"source\":\"measured\",\"date\":\"d\"," HOST "}}", "name is no string");
    refuses(HEAD DEVICE ",\"units\":0}," HOST "}}", "device.units is 0");
    refuses(HEAD DEVICE ",\"units\":-1}," HOST "}}", "device.units is -1");
    refuses(HEAD DEVICE ",\"gemv_gbs\":{}}," HOST "}}", "device.gemv_gbs is no object of formats");
    refuses(HEAD DEVICE ",\"gemv_gbs\":5}," HOST "}}", "device.gemv_gbs is no object of formats");
    refuses(HEAD DEVICE ",\"gemv_gbs\":{\"F16\":3}}," HOST "}}", "device.gemv_gbs.F16 is no object");
    refuses(HEAD DEVICE ",\"gemv_gbs\":{\"F16\":{\"x\":1}}}," HOST "}}", "device.gemv_gbs.F16.x is not for");
    refuses(HEAD DEVICE ",\"gemv_gbs\":{\"F16\":{\"2x\":1}}}," HOST "}}", "device.gemv_gbs.F16.2x is not for");
    refuses(HEAD DEVICE ",\"gemv_gbs\":{\"F16\":{\"65537\":1}}}," HOST "}}", "device.gemv_gbs.F16.65537 is not for");
    refuses(HEAD DEVICE ",\"gemv_gbs\":{\"F16\":{\"1\":1e300}}}," HOST "}}", "expected");
    refuses(HEAD DEVICE ",\"gemv_gbs\":{\"F16\":{\"1\":1,\"2\":1,\"3\":1,\"4\":1,\"5\":1,\"6\":1,\"7\":1,\"8\":1,\"9\":1,\"10\":1,\"11\":1,\"12\":1,\"13\":1,"
            "\"14\":1,\"15\":1,\"16\":1,\"17\":1}}}," HOST "}}", "no object of 1 to 16");
    refuses("{\"profile\":2,\"name\":\"n\\u001b[1m\",\"source\":\"measured\",\"date\":\"d\"," HOST "}}", "name holds a control character");
}

static void a_curve_is_followed_between_its_points(void **state)
{
    (void)state;
    static sr_profile p;
    sr_err            err;
    assert_int_equal(parse(HEAD HOST "}}", &p, &err), SR_OK);
    const sr_curve *c = &p.host.gemv.c[0], *r = &p.host.rows.c[0];
    assert_true(fabs(sr_curve_threads(c, 1) - 8e9) < 1 && fabs(sr_curve_threads(c, 3) - 19e9) < 1);
    assert_true(fabs(sr_curve_threads(c, 4) - 24e9) < 1 && fabs(sr_curve_threads(c, 99) - 24e9) < 1);
    for (uint32_t m = 1; m <= 8; m++) /* the time per byte grows evenly */
        assert_true(fabs(1 / sr_curve_rows(r, m) - (1 + (m - 1) / 7.0) / 24e9) < 1e-15);
    assert_true(fabs(sr_curve_rows(r, 100) - 12e9) < 1);
    sr_formatrates f = sr_profile_rates(&p, 2, SR_Q4_K, 8);
    assert_true(fabs(f.cpu_read - 7e9) < 1 && f.dev_read == 0); /* 14 at two threads, half of it at eight rows */
    assert_int_equal(sr_profile_borrowed(&p, false, SR_Q8_0), SR_Q4_K);
    assert_int_equal(sr_profile_borrowed(&p, false, SR_Q4_K), SR_Q4_K);
}

static void what_both_sides_leave_each_other_is_known_by_threads(void **state)
{
    (void)state;
    static sr_profile p;
    sr_err            err;
    sr_hw             h;
    sr_buf            text = {0};
    assert_int_equal(parse(HEAD DEVICE "},\"together\":{\"h2d_gbs\":11,\"cpu_gbs\":20,\"threads\":4,\"h2d_by_threads_gbs\":{\"2\":12,\"4\":11},"
                           "\"cpu_by_threads_gbs\":{\"2\":10,\"4\":20},\"read_by_threads_gbs\":{\"4\":22}}," HOST "}}", &p, &err), SR_OK);
    sr_profile_hw(&p, 3, &h);
    assert_true(fabs(h.cpu_beside - 15e9) < 1 && fabs(h.h2d_beside - 11.5e9) < 1);
    sr_profile_hw(&p, 1, &h);
    assert_true(fabs(h.cpu_beside - 5e9) < 1 && fabs(h.h2d_beside - 12e9) < 1);
    sr_profile_write(&p, &text);
    assert_int_equal(sr_profile_parse(text.p, text.n, &p, &err), SR_OK);
    assert_true(p.together.by_read.n == 1 && fabs(p.together.by_read.p[0].v - 22e9) < 1e3);
    sr_buf_end(&text);
    assert_int_equal(parse(HEAD DEVICE "},\"together\":{\"h2d_gbs\":11,\"cpu_gbs\":20,\"threads\":4}," HOST "}}", &p, &err), SR_OK);
    sr_profile_hw(&p, 4, &h);
    assert_true(h.cpu_beside == 0 && h.h2d_beside == 0);
}

/* Of eight rows beside the copy: formats without such a figure keep of their rate what the nearest keeps; one row is bound by the memory. */
static void few_rows_beside_a_copy_keep_what_was_measured(void **state)
{
    (void)state;
    static sr_profile p;
    sr_err            err;
    sr_buf            text = {0};
    assert_int_equal(parse(HEAD DEVICE "},\"together\":{\"h2d_gbs\":11,\"cpu_gbs\":20,\"threads\":4,\"cpu_rows_gbs\":{\"Q4_K\":{\"8\":9}}}," HOST "}}", &p, &err), SR_OK);
    sr_formatrates f = sr_profile_rates(&p, 4, SR_Q4_K, 8);
    assert_true(fabs(f.cpu_read - 12e9) < 1 && fabs(f.cpu_beside - 9e9) < 1);
    f = sr_profile_rates(&p, 2, SR_Q8_0, 8);
    assert_true(f.cpu_read > 0 && fabs(f.cpu_beside / f.cpu_read - 0.75) < 1e-9);
    f = sr_profile_rates(&p, 4, SR_Q4_K, 4);
    assert_true(f.cpu_read > 12e9 && fabs(f.cpu_beside / f.cpu_read - 0.75) < 1e-9);
    assert_true(sr_profile_rates(&p, 4, SR_Q4_K, 1).cpu_beside == 0);
    sr_profile_write(&p, &text);
    assert_int_equal(sr_profile_parse(text.p, text.n, &p, &err), SR_OK);
    assert_true(fabs(sr_profile_rates(&p, 4, SR_Q4_K, 8).cpu_beside - 9e9) < 1e3);
    sr_buf_end(&text);
}

/* Products of a prompt are slower the smaller they are, between the sizes in time over the logarithm of the size. */
static void products_and_attention_of_a_prompt_depend_on_their_size(void **state)
{
    (void)state;
    static sr_profile p, q;
    sr_err            err;
    sr_buf            text = {0};
    const double      mid = 4096.0 * 14336, small = 4096.0 * 4096;
    assert_int_equal(parse(HEAD DEVICE ",\"attn_tflops\":20}," HOST "}}", &p, &err), SR_OK);
    assert_true(sr_profile_size(&p, 1e6, 512) == 1 && sr_profile_size(&p, 1e12, 512) == 1); /* not measured */
    assert_true(fabs(sr_profile_attn(&p, 2048) - 20e12) < 1);
    assert_int_equal(parse(HEAD DEVICE ",\"gemm_4096_tflops\":{\"512\":15},\"gemm_8192_tflops\":{\"512\":40},\"attn_tflops\":20,"
                           "\"attn_by_tokens_tflops\":{\"512\":20,\"2048\":60}}," HOST "}}", &p, &err), SR_OK);
    sr_profile_write(&p, &text);
    assert_int_equal(sr_profile_parse(text.p, text.n, &q, &err), SR_OK);
    sr_buf_end(&text);
    for (sr_profile *x = &p; x; x = x == &p ? &q : NULL) {
        assert_true(fabs(sr_profile_size(x, 1000, 512) - 0.5) < 1e-9 && fabs(sr_profile_size(x, small, 512) - 0.5) < 1e-6);
        assert_true(fabs(sr_profile_size(x, mid, 512) - 1) < 1e-6 && fabs(sr_profile_size(x, sqrt(small * mid), 512) - 1 / 1.5) < 1e-6);
        assert_true(fabs(sr_profile_size(x, 1e12, 512) - 4.0 / 3) < 1e-6);
        assert_true(fabs(sr_profile_attn(x, 512) - 20e12) < 1e6 && fabs(sr_profile_attn(x, 4096) - 60e12) < 1e7);
    }
}

/* In Q4_K 4096 x 4096 are 9.44 MB: 5 us and 3.5 times as much in 10 us say 3 us of ends and 2 us of reading for the smaller one. */
static void two_sizes_of_a_product_tell_what_does_not_go_with_its_size(void **state)
{
    (void)state;
    static sr_profile p;
    sr_err            err;
    const double      bytes = 4096.0 * 4096 / 256 * 144;
    char              text[1024];
    snprintf(text, sizeof text, HEAD "\"device\":{\"name\":\"d\",\"arch\":75,\"vram_bytes\":16000000000,\"dev_read_gbs\":250,\"h2d_gbs\":12.5,\"gemm_tflops\":{\"F16\":{\"128\":30}},"
             "\"gemv_gbs\":{\"Q4_K\":{\"8\":%.9g},\"F16\":{\"8\":4000}},\"gemv_4096_gbs\":{\"8\":%.9g}}," HOST "}}", 3.5 * bytes / 10e-6 * 1e-9, bytes / 5e-6 * 1e-9);
    if (parse(text, &p, &err))
        fail_msg("%s", err.msg);
    double ends;
    assert_true(sr_profile_ends(&p, 8, &ends) && fabs(ends - 3e-6) < 1e-10 && !sr_profile_joins(&p));
    assert_true(fabs(sr_profile_rates(&p, 0, SR_Q4_K, 8).dev_read / (bytes / 2e-6) - 1) < 1e-4);
    assert_true(fabs(sr_profile_rates(&p, 0, SR_F16, 8).dev_read / (4096 * 14336 * 2 / (4096 * 14336 * 2 / 4e12 - 3e-6)) - 1) < 1e-4);
    assert_true(!sr_profile_ends(&p, 128, &ends) && ends == 0); /* a prompt's products are known by size */
    p.dev.arch = 90;                            /* norms come with their product */
    assert_true(sr_profile_joins(&p));
    p.dev.small.n = 0;
    assert_true(!sr_profile_ends(&p, 8, &ends) && ends == 0 && fabs(sr_profile_rates(&p, 0, SR_F16, 8).dev_read - 4e12) < 1e6);
}

/* Pieces of 2 ms may find the memory of a host with neighbours faster than a model's passes do. */
static void passes_over_all_weights_bound_what_pieces_read(void **state)
{
    (void)state;
    static sr_profile p;
    sr_err            err;
    sr_hw             h;
    assert_int_equal(parse(HEAD DEVICE "},\"together\":{\"h2d_gbs\":11,\"cpu_gbs\":20,\"threads\":4,\"alone_by_threads_gbs\":{\"1\":10,\"4\":18}},"
                           HOST "}}", &p, &err), SR_OK);
    assert_true(fabs(sr_profile_rates(&p, 1, SR_Q4_K, 1).cpu_read - 8e9) < 1); /* never more than the pieces */
    assert_true(fabs(sr_profile_rates(&p, 4, SR_Q4_K, 1).cpu_read - 18e9) < 1);
    assert_true(fabs(sr_profile_rates(&p, 4, SR_Q4_K, 8).cpu_read - 12e9) < 1); /* what is bound by arithmetic does not mind */
    sr_profile_hw(&p, 4, &h);
    assert_true(fabs(h.cpu_read - 18e9) < 1);
}

/* No figure is no rate, and none is borrowed where there is none. */
static void what_no_figure_is_known_for_is_zero(void **state)
{
    (void)state;
    static sr_profile p;
    sr_curve          c = {0};
    sr_curves         all = {0};
    assert_true(sr_curve_threads(&c, 3) == 0 && sr_curve_rows(&c, 3) == 0);
    for (uint32_t i = 0; i < SR_CURVE_POINTS + 3; i++)
        sr_curve_put(&c, i + 1, 1);
    assert_int_equal(c.n, SR_CURVE_POINTS);
    for (uint32_t i = 0; i < SR_CURVES; i++)
        assert_non_null(sr_curves_add(&all, i));
    assert_null(sr_curves_add(&all, 99));
    p = (sr_profile){.dev = {.arch = 75}};
    sr_formatrates r = sr_profile_rates(&p, 4, SR_Q4_K, 8);
    assert_true(r.dev_read == 0 && r.dev_flops == 0 && r.cpu_read == 0 && r.cpu_flops == 0);
    assert_int_equal(sr_profile_borrowed(&p, true, SR_Q4_K), SR_Q4_K);
    assert_int_equal(sr_profile_borrowed(&p, false, SR_Q4_K), SR_Q4_K);
    assert_int_equal(sr_profile_borrowed(&p, false, 9999), 9999); /* of a format that is not known */
    p.dev.gemm = (sr_curves){1, {{SR_F16, 2, {{512, 2e13}, {1024, 3e13}}}}};
    assert_int_equal(sr_profile_borrowed(&p, true, 9999), SR_F16);
    r = sr_profile_rates(&p, 4, SR_Q4_K, 8); /* below its first point: all that is known */
    assert_true(r.dev_flops > 0);
}

static void a_file_that_is_too_large_is_not_read(void **state)
{
    (void)state;
    static sr_profile p;
    static char       blank[SR_PROFILE_BYTES + 1];
    sr_err            err = {0};
    memset(blank, ' ', sizeof blank);
    assert_int_equal(sr_profile_parse(blank, sizeof blank, &p, &err), SR_INVALID);
    assert_non_null(strstr(err.msg, "65536"));
    err = (sr_err){0};
    assert_int_equal(sr_profile_read("src", &p, &err), SR_IO); /* a folder opens, and cannot be read */
    sr_fault_arm(SR_FAULT_ALLOC, 1);
    err = (sr_err){0};
    assert_int_equal(sr_profile_read("profiles/t4.json", &p, &err), SR_NOMEM);
    sr_fault_arm(SR_FAULT_ALLOC, 0);
}

/* Of 4096 x 14336 in Q4_K. */
static double product_s(const sr_profile *p, uint32_t rows)
{
    double ends;
    (void)sr_profile_ends(p, rows, &ends);
    return ends + 4096.0 * 14336 / 256 * 144 / sr_profile_rates(p, 0, SR_Q4_K, rows).dev_read;
}

static void the_shipped_profiles_are_sound_and_say_what_they_are(void **state)
{
    (void)state;
    static sr_profile p, q;
    for (size_t i = 0; i < SR_COUNT(shipped); i++) {
        char   path[64];
        sr_err err  = {0};
        sr_buf text = {0};
        sr_hw  hw;
        snprintf(path, sizeof path, "profiles/%s.json", shipped[i]);
        if (sr_profile_read(path, &p, &err))
            fail_msg("%s", err.msg);
        assert_string_equal(p.name, shipped[i]);
        assert_true(p.dev.arch && *p.reference && strncmp(p.source, i < 3 ? "estimated" : "measured", 8) == 0);
        sr_profile_hw(&p, 0, &hw);
        assert_true(hw.cpu_read <= hw.dram_read && hw.h2d < hw.dev_read && hw.dev_flops > hw.cpu_flops && hw.sync > 0 && hw.nvme_read > 0);
        for (uint32_t t = 1; t < p.host.cores; t++)
            assert_true(sr_profile_rates(&p, t, SR_Q4_K, 1).cpu_read <= sr_profile_rates(&p, t + 1, SR_Q4_K, 1).cpu_read);
        for (uint32_t m = 1; m < 64; m++)
            assert_true(product_s(&p, m) <= product_s(&p, m + 1) * 1.03); /* measured figures: one kernel takes 9 to 16 rows in the same time */
        sr_profile_write(&p, &text);
        if (sr_profile_parse(text.p, text.n, &q, &err))
            fail_msg("%s: %s", path, err.msg);
        assert_true(fabs(q.dev.h2d / p.dev.h2d - 1) < 1e-6 && q.dev.gemv.n == p.dev.gemv.n && q.together.threads == p.together.threads);
        assert_string_equal(q.reference, p.reference);
        sr_buf_end(&text);
    }
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
    (void)state;
    static sr_profile p;
    sr_err            err = {0};
    assert_int_equal(sr_profile_read("profiles/none.json", &p, &err), SR_IO);
    assert_non_null(strstr(err.msg, "profiles/none.json: No such file"));
    err = (sr_err){0};
    assert_int_equal(sr_profile_read("README.md", &p, &err), SR_INVALID);
    assert_non_null(strstr(err.msg, "README.md"));
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(figures_come_in_si_units), cmocka_unit_test(what_is_wrong_is_named_with_its_value),
        cmocka_unit_test(a_curve_is_followed_between_its_points), cmocka_unit_test(what_both_sides_leave_each_other_is_known_by_threads), cmocka_unit_test(few_rows_beside_a_copy_keep_what_was_measured),
        cmocka_unit_test(products_and_attention_of_a_prompt_depend_on_their_size), cmocka_unit_test(passes_over_all_weights_bound_what_pieces_read),
        cmocka_unit_test(two_sizes_of_a_product_tell_what_does_not_go_with_its_size), cmocka_unit_test(what_no_figure_is_known_for_is_zero),
        cmocka_unit_test(a_file_that_is_too_large_is_not_read), cmocka_unit_test(the_shipped_profiles_are_sound_and_say_what_they_are),
        cmocka_unit_test(a_file_that_cannot_be_read_is_named),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
