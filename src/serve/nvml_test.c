/* The GPU's figures, from a library that says what the test wants (fake_nvml.c). */
#include "serve/test_client.h"

#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "serve/nvml.h"

#define UUID "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"
typedef struct { int init_fails, no_power, lost, stuck, calls, open; unsigned temp; } fake_nvml;
static fake_nvml *fake; /* the test's own handle keeps the library and its state */

static int find_fake(void **state)
{
    (void)state;
    void *lib = dlopen(SR_FAKE_NVML, RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        fail_msg("%s", dlerror());
    fake = dlsym(lib, "fake");
    assert_non_null(fake);
    return 0;
}

static void set(int *what, int v) { __atomic_store_n(what, v, __ATOMIC_RELAXED); }

static sr_gpustat first(sr_nvml *g)
{
    sr_gpustat s = {0};
    for (int i = 0; i < 6000 && !s.at_ns; i++, usleep(10000))
        sr_nvml_read(g, &s);
    assert_true(s.at_ns > 0);
    return s;
}

static void figures_are_in_plain_units_and_grow_new(void **state)
{
    (void)state;
    sr_nvml *g = NULL;
    sr_err   err = {0};
    assert_int_equal(sr_nvml_open(SR_FAKE_NVML, UUID, 20, &g, &err), SR_OK);
    sr_gpustat s = first(g);
    assert_true(s.temp_c == 61 && s.power_limit_w == 700 && s.sm_hz == 1.98e9 && s.mem_hz == 3.201e9);
    assert_true(fabs(s.power_w - 123.456) < 1e-9 && fabs(s.energy_j - 5000000000.5) < 1e-3);
    assert_true(s.mem_used == 40e9 && s.mem_total == 150e9 && fabs(s.busy - 0.87) < 1e-9 && fabs(s.mem_busy - 0.42) < 1e-9);
    assert_true(s.slow_power == 1 && s.slow_heat == 0 && s.slow_hw == 1);
    assert_string_equal(sr_nvml_name(g), "NVIDIA Test 1000");
    set((int *)&fake->temp, 75);
    for (int i = 0; i < 6000 && s.temp_c != 75; i++, usleep(10000))
        sr_nvml_read(g, &s);
    assert_true(s.temp_c == 75);
    set((int *)&fake->temp, 61);
    sr_nvml_close(g);
    assert_int_equal(fake->open, 0);
}

static void a_driver_that_is_not_there_is_said_so(void **state)
{
    (void)state;
    sr_nvml *g = NULL;
    sr_err   err = {0};
    assert_int_equal(sr_nvml_open("libsr-there-is-none.so.1", UUID, 0, &g, &err), SR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "libsr-there-is-none.so.1"));
    err = (sr_err){0};
    assert_int_equal(sr_nvml_open("libc.so.6", UUID, 0, &g, &err), SR_UNSUPPORTED);
    assert_string_equal(err.msg, "libc.so.6 has no nvmlInit_v2");
    err = (sr_err){0};
    assert_int_equal(sr_nvml_open(SR_FAKE_NVML, "GPU-another", 0, &g, &err), SR_UNSUPPORTED);
    assert_string_equal(err.msg, "GPU-another: Not Found");
    err = (sr_err){0};
    fake->init_fails = 1;
    assert_int_equal(sr_nvml_open(SR_FAKE_NVML, UUID, 0, &g, &err), SR_UNSUPPORTED);
    assert_string_equal(err.msg, "nvmlInit: Driver Not Loaded");
    fake->init_fails = 0;
    assert_null(g);
    assert_int_equal(fake->open, 0); /* what was begun was ended */
}

static void get(tc_server *s, const char *path, tc_reply *r)
{
    tc_ask(s, "GET", path, NULL, NULL, r);
    assert_int_equal(r->status, 200);
}

/* Figures are in /metrics from the first sample on, which another thread takes. */
static void first_sample(tc_server *s)
{
    for (int i = 0; i < 2000; i++) {
        tc_reply r = {0};
        get(s, "/metrics", &r);
        bool there = strstr(r.body.p, "strata_gpu_") != NULL;
        tc_reply_end(&r);
        if (there)
            return;
        usleep(10000);
    }
    fail_msg("no figures after 20 s");
}

/* What a GPU does not tell is left out, the rest is there. */
static void metrics_have_what_the_gpu_tells(void **state)
{
    (void)state;
    tc_server s = {.cfg.nvml = SR_FAKE_NVML, .gpu_uuid = UUID};
    tc_reply  r = {0};
    fake->no_power = 1;
    tc_start(&s);
    first_sample(&s);
    tc_wait_metric(&s, "strata_gpu_temperature_celsius{uuid=\"" UUID "\",name=\"NVIDIA Test 1000\"}", 61);
    get(&s, "/metrics", &r);
    assert_null(strstr(r.body.p, "strata_gpu_power_watts"));
    assert_non_null(strstr(r.body.p, "strata_gpu_power_limit_watts"));
    assert_non_null(strstr(r.body.p, ",reason=\"heat\"} 0\n"));
    assert_non_null(strstr(r.body.p, "strata_gpu_memory_used_bytes{uuid=\"" UUID "\",name=\"NVIDIA Test 1000\"} 40000000000\n"));
    tc_reply_end(&r);
    fake->no_power = 0;
    tc_stop(&s);
    assert_int_equal(fake->open, 0);
}

static void without_a_gpu_there_are_none(void **state)
{
    (void)state;
    tc_server s[2] = {{.cfg.nvml = SR_FAKE_NVML}, {.cfg.nvml = "libsr-there-is-none.so.1", .gpu_uuid = UUID}};
    for (int i = 0; i < 2; i++) {
        tc_reply r = {0};
        tc_start(&s[i]);
        get(&s[i], "/metrics", &r);
        assert_null(strstr(r.body.p, "strata_gpu_"));
        tc_reply_end(&r);
        tc_stop(&s[i]);
    }
}

/* While a call into the driver does not come back, metrics and answers do. */
static void a_driver_that_hangs_holds_up_nobody(void **state)
{
    (void)state;
    tc_server s = {.cfg.nvml = SR_FAKE_NVML, .gpu_uuid = UUID};
    tc_start(&s);
    first_sample(&s);
    set(&fake->stuck, 1);
    int calls = __atomic_load_n(&fake->calls, __ATOMIC_RELAXED), was = calls;
    for (int i = 0; i < 2000 && calls == was; i++, usleep(10000))
        calls = __atomic_load_n(&fake->calls, __ATOMIC_RELAXED); /* the next sample has begun */
    assert_true(calls > was);
    for (int i = 0; i < 50; i++) {
        tc_reply r = {0};
        get(&s, i & 1 ? "/metrics" : "/v1/models", &r); /* or it never ends */
        tc_reply_end(&r);
    }
    assert_int_equal(__atomic_load_n(&fake->calls, __ATOMIC_RELAXED), calls); /* in that call still */
    set(&fake->stuck, 0);
    tc_stop(&s);
}

/* One sample a second, however often it is asked for. */
static void asking_often_asks_the_driver_no_oftener(void **state)
{
    (void)state;
    enum { CALLS = 11 }; /* of a sample */
    tc_server s = {.cfg.nvml = SR_FAKE_NVML, .gpu_uuid = UUID};
    tc_start(&s);
    first_sample(&s);
    uint64_t begun = sr_now_ns();
    set(&fake->calls, 0);
    for (int i = 0; i < 200; i++) {
        tc_reply r = {0};
        get(&s, "/metrics", &r);
        tc_reply_end(&r);
        usleep(5000);
    }
    int calls = __atomic_load_n(&fake->calls, __ATOMIC_RELAXED);
    assert_in_range(calls, 0, (int)(CALLS * ((sr_now_ns() - begun) / 1000000000 + 2))); /* one may have begun before, one may begin now */
    tc_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_in_plain_units_and_grow_new),
        cmocka_unit_test(a_driver_that_is_not_there_is_said_so),
        cmocka_unit_test(metrics_have_what_the_gpu_tells),
        cmocka_unit_test(without_a_gpu_there_are_none),
        cmocka_unit_test(a_driver_that_hangs_holds_up_nobody),
        cmocka_unit_test(asking_often_asks_the_driver_no_oftener),
    };
    return cmocka_run_group_tests(tests, find_fake, NULL);
}
