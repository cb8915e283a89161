/* base_test.c - errors, memory, arenas, buffers, faults and CPU facts. */
#include "base/arena.h"
#include "base/bench.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

static void first_error_is_kept_and_context_is_appended(void **state)
{
    (void)state;
    sr_err e = {0};
    assert_int_equal(sr_raise(&e, SR_IO, "%s: %s", "/m/x", "gone"), SR_IO);
    assert_int_equal(sr_raise(&e, SR_NOMEM, "a consequence"), SR_IO);
    assert_int_equal(sr_while(&e, "loading layer %d", 3), SR_IO);
    assert_int_equal(sr_while(&e, "starting"), SR_IO);
    assert_string_equal(e.msg, "/m/x: gone < while loading layer 3 < while starting");
    assert_non_null(strstr(e.file, "base_test.c"));
}

static void a_full_message_keeps_its_cause_and_cuts_the_context(void **state)
{
    (void)state;
    sr_err e = {0};
    char   deep[400];
    memset(deep, 'd', sizeof deep - 1);
    deep[sizeof deep - 1] = 0;
    sr_raise(&e, SR_INVALID, "cause");
    for (int i = 0; i < 4; i++)
        sr_while(&e, "%s", deep);
    assert_memory_equal(e.msg, "cause < while ddd", 17);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
}

static void context_without_an_error_writes_nothing(void **state)
{
    (void)state;
    sr_err e = {0};
    assert_int_equal(sr_while(&e, "reading"), SR_OK);
    assert_string_equal(e.msg, "");
    assert_int_equal(sr_raise(NULL, SR_IO, "nobody listens"), SR_IO);
    assert_int_equal(sr_while(NULL, "nobody listens"), SR_OK);
}

static void every_status_has_a_name(void **state)
{
    (void)state;
    for (int s = SR_OK; s <= SR_DEVLOST; s++)
        assert_string_not_equal(sr_status_name((sr_status)s), "unknown");
    assert_string_equal(sr_status_name((sr_status)99), "unknown");
}

static void escaped_bytes_are_printable_and_fit(void **state)
{
    (void)state;
    char out[16];
    assert_string_equal(sr_escape(out, sizeof out, "a\x1b\\b", 4), "a\\x1b\\x5cb");
    assert_string_equal(sr_escape(out, sizeof out, "0123456789abcdefgh", 18), "0123456789ab...");
    assert_string_equal(sr_escape(out, sizeof out, "\0", 1), "\\x00");
    for (unsigned long cap = 0; cap <= sizeof out; cap++)
        assert_true(strlen(sr_escape(out, cap, "\n\n\n\n\n\n\n\n", 8)) < (cap ? cap : 1));
}

static void sizes_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    size_t n = 0;
    assert_true(sr_mul_size(1u << 20, 1u << 20, &n));
    assert_int_equal(n, (size_t)1 << 40);
    assert_false(sr_mul_size(SIZE_MAX / 2 + 1, 2, &n));
    assert_false(sr_add_size(SIZE_MAX, 1, &n));
    assert_int_equal(sr_align_up(1, 16), 16);
    assert_int_equal(sr_align_up(32, 16), 32);
}

static void every_allocation_is_counted_aligned_and_can_be_made_to_fail(void **state)
{
    (void)state;
    uint64_t before = sr_alloc_count();
    void    *p      = sr_aligned(4096, 10);
    assert_int_equal((uintptr_t)p % 4096, 0);
    p = sr_realloc(p, 20);
    assert_non_null(p);
    assert_int_equal(sr_alloc_count() - before, 2);
    sr_fault_arm(SR_FAULT_ALLOC, 2);
    void *a = sr_malloc(1);
    assert_non_null(a);
    assert_false(sr_fault_fired(SR_FAULT_ALLOC));
    assert_null(sr_strdup("x"));
    assert_true(sr_fault_fired(SR_FAULT_ALLOC));
    void *b = sr_calloc(3, 5); /* one shot: the next one works */
    assert_non_null(b);
    sr_free(a);
    sr_free(b);
    sr_free(p);
    sr_free(NULL);
}

static void faults_of_one_kind_leave_the_others_alone_and_disarm(void **state)
{
    (void)state;
    sr_fault_arm(SR_FAULT_READ, 1);
    assert_false(sr_fault(SR_FAULT_WRITE));
    assert_true(sr_fault(SR_FAULT_READ));
    assert_false(sr_fault(SR_FAULT_READ));
    sr_fault_arm(SR_FAULT_WRITE, 5);
    sr_fault_arm(SR_FAULT_WRITE, 0);
    assert_int_equal(sr_fault_any, 0);
    assert_false(sr_fault(SR_FAULT_WRITE));
}

static void strndup_keeps_embedded_zeros(void **state)
{
    (void)state;
    char *s = sr_strndup("a\0b", 3);
    assert_memory_equal(s, "a\0b\0", 4);
    sr_free(s);
}

static void arena_memory_is_aligned_disjoint_and_freed_at_once(void **state)
{
    (void)state;
    sr_arena       a = {0};
    unsigned char *p[200];
    for (size_t i = 0; i < 200; i++) {
        p[i] = sr_arena_alloc(&a, i * 37);
        assert_int_equal((uintptr_t)p[i] % 16, 0);
        memset(p[i], (int)i, i * 37);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t k = 0; k < i * 37; k++)
            assert_int_equal(p[i][k], (unsigned char)i);
    int *z = sr_arena_zalloc(&a, 100, sizeof *z);
    assert_int_equal(z[99], 0);
    assert_null(sr_arena_zalloc(&a, SIZE_MAX / 2, 4));
    assert_null(sr_arena_alloc(&a, SIZE_MAX));
    assert_string_equal(sr_arena_strndup(&a, "hello", 4), "hell");
    sr_arena_end(&a);
    assert_int_equal(a.used, 0);
    assert_non_null(sr_arena_alloc(&a, 1)); /* usable again */
    sr_arena_end(&a);
    sr_arena_end(NULL);
}

static void arena_stops_at_its_limit(void **state)
{
    (void)state;
    sr_arena a = {.limit = 64 * 1024};
    size_t   n = 0;
    while (sr_arena_alloc(&a, 1000))
        n++;
    assert_in_range(n, 20, 65);
    assert_true(a.used <= a.limit);
    sr_arena_end(&a);
}

static char  order[8];
static void note(void *c) { strncat(order, c, 1); }

static void arena_cleanups_run_newest_first_and_at_once_when_memory_fails(void **state)
{
    (void)state;
    sr_arena a = {0};
    order[0]   = 0;
    assert_int_equal(sr_arena_defer(&a, note, "1"), 0);
    assert_int_equal(sr_arena_defer(&a, note, "2"), 0);
    sr_arena_end(&a);
    assert_string_equal(order, "21");
    sr_fault_arm(SR_FAULT_ALLOC, 1);
    assert_int_equal(sr_arena_defer(&a, note, "3"), -1);
    assert_string_equal(order, "213");
    sr_arena_end(&a);
}

static void buffer_grows_keeps_its_zero_and_drops_from_the_front(void **state)
{
    (void)state;
    sr_buf b = {0};
    for (int i = 0; i < 1000; i++)
        assert_true(sr_buf_fmt(&b, "%03d,", i));
    assert_int_equal(b.n, 4000);
    assert_int_equal(b.p[b.n], 0);
    sr_buf_drop(&b, 3996);
    assert_string_equal(b.p, "999,");
    assert_true(sr_buf_char(&b, 'x') && sr_buf_str(&b, "yz") && sr_buf_add(&b, NULL, 0));
    assert_string_equal(b.p, "999,xyz");
    sr_buf_drop(&b, 100);
    assert_int_equal(b.n, 0);
    sr_buf_end(&b);
    sr_buf_end(NULL);
}

static void buffer_fails_once_for_limit_or_memory_and_keeps_what_it_has(void **state)
{
    (void)state;
    sr_buf b = {.limit = 100};
    assert_true(sr_buf_str(&b, "0123456789"));
    assert_false(sr_buf_fmt(&b, "%100d", 1));
    assert_true(b.failed);
    assert_string_equal(b.p, "0123456789");
    assert_false(sr_buf_char(&b, 'x')); /* sticky */
    sr_buf_end(&b);
    assert_int_equal(b.limit, 100);
    assert_false(b.failed);
    sr_fault_arm(SR_FAULT_ALLOC, 1);
    assert_false(sr_buf_str(&b, "x"));
    assert_true(b.failed);
    sr_buf_end(&b);
    assert_false(sr_buf_reserve(&(sr_buf){.n = 1}, SIZE_MAX));
}

static void cpu_facts_are_stable_and_sane(void **state)
{
    (void)state;
    uint32_t f = sr_cpu_features();
    assert_int_equal(f, sr_cpu_features());
    if (f & SR_CPU_AVX512_VNNI)
        assert_true(f & SR_CPU_AVX512);
    if (f & SR_CPU_AVX512)
        assert_true(f & SR_CPU_AVX2);
    assert_in_range(sr_cpu_cores(), 1, 4096);
    assert_true(sr_cpu_memory() > (64u << 20));
    assert_true(strlen(sr_cpu_name()) > 0);
    uint64_t t = sr_now_ns();
    assert_true(sr_now_ns() >= t);
}

static void put_file(const char *root, const char *name, const char *text)
{
    char path[300];
    snprintf(path, sizeof path, "%s%s", root, name);
    for (char *at = strchr(path + strlen(root) + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = 0;
        (void)!mkdir(path, 0700);
        *at = '/';
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0 && fclose(f) == 0);
}

static void free_memory_is_the_least_that_the_system_and_the_cgroup_leave(void **state)
{
    (void)state;
    static const char *const all[] = {"/proc/meminfo", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat",
                                      "/sys/fs/cgroup", "/sys/fs", "/sys", "/proc", ""};
    char root[] = "/tmp/strata-free-XXXXXX", path[300];
    assert_non_null(mkdtemp(root));
    assert_true(sr_cpu_memory_free(root) == UINT64_MAX);
    put_file(root, "/proc/meminfo", "MemTotal:  8000 kB\nMemFree:  100 kB\nMemAvailable:    6000 kB\n");
    assert_int_equal(sr_cpu_memory_free(root), 6000 * 1024);
    put_file(root, "/sys/fs/cgroup/memory.max", "max\n");
    assert_int_equal(sr_cpu_memory_free(root), 6000 * 1024);
    put_file(root, "/sys/fs/cgroup/memory.max", "4000000\n");
    put_file(root, "/sys/fs/cgroup/memory.current", "3000000\n");
    put_file(root, "/sys/fs/cgroup/memory.stat", "anon 2000000\nfile 900000\ninactive_file 600000\nactive_file 300000\n");
    assert_int_equal(sr_cpu_memory_free(root), 1900000);
    put_file(root, "/sys/fs/cgroup/memory.current", "9000000\n"); /* a limit that was lowered */
    assert_int_equal(sr_cpu_memory_free(root), 0);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        snprintf(path, sizeof path, "%s%s", root, all[i]);
        assert_int_equal(remove(path), 0);
    }
    assert_true(sr_cpu_memory_free("") <= sr_cpu_memory());
}

static void spread_sorts_and_interpolates(void **state)
{
    (void)state;
    double    v[] = {5, 1, 4, 2, 3};
    sr_spread s   = sr_bench_spread(v, 5);
    assert_true(s.min == 1 && s.median == 3 && s.max == 5 && s.p10 == 1.4 && s.p90 == 4.6);
    double one[] = {7};
    s            = sr_bench_spread(one, 1);
    assert_true(s.min == 7 && s.p10 == 7 && s.median == 7 && s.max == 7);
}

static void memory_is_read_at_a_plausible_rate_and_failures_are_reported(void **state)
{
    (void)state;
    sr_err e    = {0};
    double rate = 0;
    assert_int_equal(sr_bench_read(2, 8u << 20, &rate, &e), SR_OK);
    assert_true(rate > 1e8 && rate < 1e14);
    sr_fault_arm(SR_FAULT_ALLOC, 2);
    assert_int_equal(sr_bench_read(2, 8u << 20, &rate, &e), SR_NOMEM);
    assert_string_equal(e.msg, "host: 8388608 bytes to measure the read bandwidth");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_error_is_kept_and_context_is_appended),
        cmocka_unit_test(a_full_message_keeps_its_cause_and_cuts_the_context),
        cmocka_unit_test(context_without_an_error_writes_nothing),
        cmocka_unit_test(every_status_has_a_name),
        cmocka_unit_test(escaped_bytes_are_printable_and_fit),
        cmocka_unit_test(sizes_that_do_not_fit_are_refused),
        cmocka_unit_test(every_allocation_is_counted_aligned_and_can_be_made_to_fail),
        cmocka_unit_test(faults_of_one_kind_leave_the_others_alone_and_disarm),
        cmocka_unit_test(strndup_keeps_embedded_zeros),
        cmocka_unit_test(arena_memory_is_aligned_disjoint_and_freed_at_once),
        cmocka_unit_test(arena_stops_at_its_limit),
        cmocka_unit_test(arena_cleanups_run_newest_first_and_at_once_when_memory_fails),
        cmocka_unit_test(buffer_grows_keeps_its_zero_and_drops_from_the_front),
        cmocka_unit_test(buffer_fails_once_for_limit_or_memory_and_keeps_what_it_has),
        cmocka_unit_test(cpu_facts_are_stable_and_sane), cmocka_unit_test(free_memory_is_the_least_that_the_system_and_the_cgroup_leave),
        cmocka_unit_test(spread_sorts_and_interpolates),
        cmocka_unit_test(memory_is_read_at_a_plausible_rate_and_failures_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
