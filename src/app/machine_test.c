/* machine_test: figures of an engine's start are kept for the next one, and those of strata probe go before them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/machine.h"
#include "app/paths.h"
#include "backend/fake/fake.h"
#include "base/cpu.h"
#include "base/mem.h"

static char folder[3100];

const char *sr_app_env(const char *name) /* main.c has it: paths.c wants it */
{
    return strcmp(name, "XDG_CACHE_HOME") == 0 ? folder : NULL;
}

static int make_folder(void **state)
{
    (void)state;
    char part[] = "machine_test.XXXXXX", here[3000];
    if (!mkdtemp(part) || !getcwd(here, sizeof here))
        return -1;
    snprintf(folder, sizeof folder, "%s/%s", here, part);
    return 0;
}

static int drop_folder(void **state)
{
    (void)state;
    char command[3200];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static const sr_hw made = {.h2d = 12.5e9, .dev_read = 250e9, .cpu_read = 40e9, .dram_read = 60e9, .cpu_beside = 35e9, .h2d_beside = 12e9};

static bool near(double a, double b) { return fabs(a - b) < 1e-9 * b; }

static void what_was_measured_is_known_the_next_time(void **state)
{
    (void)state;
    sr_machinestart s = {&sr_backend_fake, 0, false}, another = {&sr_backend_fake, 1, false};
    sr_hw           got;
    assert_false(sr_machine_known(&s, SR_Q4_K, 3, &got));
    sr_machine_keep(&s, SR_Q4_K, 3, &made);
    assert_true(sr_machine_known(&s, SR_Q4_K, 3, &got));
    assert_true(near(got.h2d, made.h2d) && near(got.dev_read, made.dev_read) && near(got.cpu_read, made.cpu_read));
    assert_true(near(got.cpu_beside, made.cpu_beside) && near(got.h2d_beside, made.h2d_beside));
    assert_true(got.vram == 0 && got.ram == 0 && got.nvme_read == 0);
    assert_false(sr_machine_known(&s, SR_Q4_K, 4, &got)); /* other threads, another format, another card */
    assert_false(sr_machine_known(&s, SR_Q8_0, 3, &got));
    assert_false(sr_machine_known(&another, SR_Q4_K, 3, &got));
}

static void only_file(char *path, size_t cap)
{
    char command[3200];
    snprintf(command, sizeof command, "ls %s/strata/start-*", folder);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(path, (int)cap, f));
    pclose(f);
    path[strcspn(path, "\n")] = 0;
}

static void a_file_that_says_nonsense_is_measured_again(void **state)
{
    (void)state;
    sr_machinestart   s = {&sr_backend_fake, 0, false};
    sr_hw             got;
    char              path[3400];
    const char *const texts[] = {"", "{", "[]", "{\"h2d_gbs\": 1}", "{\"h2d_gbs\": -1, \"dev_read_gbs\": 2, \"cpu_read_gbs\": 3}",
                                 "{\"h2d_gbs\": \"a\", \"dev_read_gbs\": 2, \"cpu_read_gbs\": 3}"};
    sr_machine_keep(&s, SR_Q4_K, 3, &made);
    only_file(path, sizeof path);
    for (size_t i = 0; i < SR_COUNT(texts); i++) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_true(fputs(texts[i], f) >= 0 && fclose(f) == 0);
        assert_false(sr_machine_known(&s, SR_Q4_K, 3, &got));
        assert_true(got.h2d == 0 && got.cpu_read == 0);
    }
    sr_machine_keep(&s, SR_Q4_K, 3, &made);
    assert_true(sr_machine_known(&s, SR_Q4_K, 3, &got));
}

static void write_profile(const sr_profile *p, const char *path)
{
    sr_buf text = {0};
    sr_profile_write(p, &text);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text.p, 1, text.n, f), text.n);
    fclose(f);
    sr_buf_end(&text);
}

static void a_profile_of_this_machine_goes_before(void **state)
{
    (void)state;
    sr_machinestart s = {&sr_backend_fake, 0, false};
    sr_profile     *p = sr_calloc(1, sizeof *p);
    sr_hw           got;
    char            path[3400], *name;
    sr_machine_keep(&s, SR_Q4_K, 3, &made);
    only_file(path, sizeof path);
    name = strrchr(path, '/') + 1; /* start-...-q4_k-3.json -> probe-....json */
    memcpy(name, "probe", 5);
    *strrchr(path, '-') = 0;
    char *tail = strrchr(path, '-');
    snprintf(tail, 6, ".json");
    snprintf(p->name, sizeof p->name, "this machine");
    snprintf(p->source, sizeof p->source, "measured");
    snprintf(p->date, sizeof p->date, "2026-11-21");
    snprintf(p->dev.name, sizeof p->dev.name, "fake device 0");
    snprintf(p->host.name, sizeof p->host.name, "%s", sr_cpu_name());
    p->dev.arch   = 75;
    p->dev.vram   = 1000000000;
    p->dev.read   = 111e9;
    p->dev.h2d    = 11e9;
    p->host.cores = sr_cpu_cores();
    p->host.ram   = 8000000000;
    sr_curve_put(sr_curves_add(&p->dev.gemm, SR_Q4_K), 512, 1e13);
    sr_curve_put(sr_curves_add(&p->host.gemm, SR_Q4_K), 1, 1e11);
    sr_curve_put(sr_curves_add(&p->host.gemv, SR_Q4_K), 1, 7e9);
    sr_curve_put(&p->host.dram, 1, 20e9);
    write_profile(p, path);
    assert_true(sr_machine_known(&s, SR_Q4_K, 1, &got));
    assert_true(got.h2d > 10.9e9 && got.h2d < 11.1e9);
    assert_true(got.cpu_read > 6.9e9 && got.cpu_read < 7.1e9);
    assert_int_equal(got.vram, 0);
    snprintf(p->host.name, sizeof p->host.name, "another processor"); /* a folder that came from elsewhere */
    write_profile(p, path);
    assert_true(sr_machine_known(&s, SR_Q4_K, 3, &got));
    assert_true(near(got.h2d, made.h2d));
    sr_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_measured_is_known_the_next_time),
        cmocka_unit_test(a_file_that_says_nonsense_is_measured_again),
        cmocka_unit_test(a_profile_of_this_machine_goes_before),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
