/* cpu_test: the pool's barriers, the queues' order, and what opening a CPU device refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/cpu/internal.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/fault.h"
#include "base/mem.h"

typedef struct {
    sr_pool *pool;
    uint32_t n, rounds;
    uint32_t seen[8], total, wrong;
} counting;

static void count_rounds(void *arg, uint32_t t)
{
    counting *c = arg;
    for (uint32_t r = 1; r <= c->rounds; r++) {
        __atomic_store_n(&c->seen[t], r, __ATOMIC_RELAXED);
        sr_pool_barrier(c->pool);
        for (uint32_t i = 0; i < c->n; i++) /* everybody has stored r, nobody r + 1 */
            if (__atomic_load_n(&c->seen[i], __ATOMIC_RELAXED) != r)
                __atomic_fetch_add(&c->wrong, 1, __ATOMIC_RELAXED);
        sr_pool_barrier(c->pool);
    }
    __atomic_fetch_add(&c->total, 1, __ATOMIC_RELAXED);
}

static void a_barrier_holds_until_all_have_come(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 5; n++) {
        sr_err   err = {0};
        counting c   = {.n = n, .rounds = 300};
        assert_int_equal(sr_pool_open(n, 20, false, &c.pool, &err), SR_OK);
        for (int run = 1; run <= 10; run++) {
            sr_pool_run(c.pool, count_rounds, &c);
            assert_int_equal(c.total, n * (uint32_t)run);
            memset(c.seen, 0, sizeof c.seen);
        }
        usleep(2000); /* long enough for workers to fall asleep */
        sr_pool_run(c.pool, count_rounds, &c);
        assert_int_equal(c.wrong, 0);
        sr_pool_close(c.pool);
    }
}

static sr_dev *open_dev(const sr_devcfg *cfg)
{
    sr_err  err = {0};
    sr_dev *d   = NULL;
    if (sr_backend_cpu.open(0, cfg, &d, &err))
        fail_msg("%s", err.msg);
    return d;
}

static void copies_follow_their_steps_and_marks_their_order(void **state)
{
    (void)state;
    sr_err  err = {0};
    sr_dev *d   = open_dev(&(sr_devcfg){.threads = 1});
    int     src[64], dst[64] = {0};
    for (int i = 0; i < 64; i++)
        src[i] = i + 1;
    sr_span s[2] = {{.dst = dst, .src = src, .bytes = 8, .n = 4, .dst_step = 16, .src_step = 32},
                    {.dst = dst + 32, .src = src, .bytes = 4, .n = 1}};
    assert_int_equal(sr_backend_cpu.copyv(d, SR_Q_IN, s, 2, &err), SR_OK);
    sr_point p = sr_backend_cpu.mark(d, SR_Q_IN);
    assert_int_equal(sr_backend_cpu.wait(d, p, UINT64_MAX, &err), SR_OK);
    assert_true(sr_reached(p));
    for (int k = 0; k < 4; k++) {
        assert_int_equal(dst[4 * k], src[8 * k]);
        assert_int_equal(dst[4 * k + 1], src[8 * k + 1]);
        assert_int_equal(dst[4 * k + 2], 0);
    }
    assert_int_equal(dst[32], 1);
    sr_backend_cpu.close(d);
}

static void a_fence_holds_a_queue_until_the_host_signals(void **state)
{
    (void)state;
    sr_err   err  = {0};
    sr_dev  *d    = open_dev(&(sr_devcfg){.threads = 1});
    uint64_t word = 0;
    int      a = 7, b = 0;
    sr_span  s = {.dst = &b, .src = &a, .bytes = sizeof a, .n = 1};
    sr_backend_cpu.fence(d, SR_Q_OUT, (sr_point){&word, 3});
    assert_int_equal(sr_backend_cpu.copyv(d, SR_Q_OUT, &s, 1, &err), SR_OK);
    sr_point p = sr_backend_cpu.mark(d, SR_Q_OUT);
    assert_int_equal(sr_backend_cpu.wait(d, p, 3000000, &err), SR_AGAIN);
    assert_int_equal(b, 0);
    __atomic_store_n(&word, 3, __ATOMIC_RELEASE);
    assert_int_equal(sr_backend_cpu.wait(d, p, UINT64_MAX, &err), SR_OK);
    assert_int_equal(b, 7);
    sr_backend_cpu.close(d);
}

static void a_full_queue_says_again_and_loses_nothing(void **state)
{
    (void)state;
    sr_err   err  = {0};
    sr_dev  *d    = open_dev(&(sr_devcfg){.threads = 1});
    uint64_t word = 0, from = 1, to[1] = {0};
    sr_span  s = {.dst = to, .src = &from, .bytes = 8, .n = 1};
    uint32_t taken = 0;
    sr_backend_cpu.fence(d, SR_Q_COMPUTE, (sr_point){&word, 1});
    while (sr_backend_cpu.copyv(d, SR_Q_COMPUTE, &s, 1, &err) == SR_OK && taken < 100000)
        taken++;
    assert_in_range(taken, 1000, 99999);
    assert_int_equal(err.status, SR_OK); /* not now is no fault */
    __atomic_store_n(&word, 1, __ATOMIC_RELEASE);
    assert_int_equal(sr_backend_cpu.wait(d, sr_backend_cpu.mark(d, SR_Q_COMPUTE), UINT64_MAX, &err), SR_OK);
    assert_int_equal(to[0], 1);
    assert_int_equal(sr_backend_cpu.copyv(d, SR_Q_COMPUTE, &s, 1, &err), SR_OK);
    sr_backend_cpu.close(d);
}

static void a_failure_is_kept_and_told_to_every_later_wait(void **state)
{
    (void)state;
    sr_err  err = {0}, again = {0};
    sr_dev *d = open_dev(&(sr_devcfg){.threads = 1});
    int     a = 1, b = 0;
    sr_span s = {.dst = &b, .src = &a, .bytes = sizeof a, .n = 1};
    sr_fault_arm(SR_FAULT_COPY, 1);
    assert_int_equal(sr_backend_cpu.copyv(d, SR_Q_IN, &s, 1, &err), SR_OK);
    assert_int_equal(sr_backend_cpu.wait(d, sr_backend_cpu.mark(d, SR_Q_IN), UINT64_MAX, &err), SR_DEVLOST);
    assert_non_null(strstr(err.msg, "strata-in"));
    sr_fault_arm(SR_FAULT_COPY, 0);
    assert_int_equal(sr_backend_cpu.copyv(d, SR_Q_IN, &s, 1, &err), SR_OK);
    assert_int_equal(sr_backend_cpu.wait(d, sr_backend_cpu.mark(d, SR_Q_IN), UINT64_MAX, &again), SR_DEVLOST);
    assert_int_equal(b, 0);
    sr_backend_cpu.close(d);
}

static void an_instruction_set_asked_for_is_had_or_refused(void **state)
{
    static const char *const names[] = {"ref", "avx2", "avx512", "amx", "amx-bf16", "neon", "neon-dot"};
    (void)state;
    uint32_t had = 0;
    for (size_t i = 0; i < SR_COUNT(names); i++) {
        sr_err     err = {0};
        sr_dev    *d   = NULL;
        sr_devinfo info = {.size = sizeof info};
        sr_status  s = sr_backend_cpu.open(0, &(sr_devcfg){.threads = 1, .isa = names[i]}, &d, &err);
        if (s == SR_OK) {
            assert_int_equal(sr_backend_cpu.info(0, d, &info, &err), SR_OK);
            assert_string_equal(info.isa, names[i]);
            had++;
        } else {
            assert_int_equal(s, SR_UNSUPPORTED);
            assert_non_null(strstr(err.msg, names[i]));
        }
        sr_backend_cpu.close(d);
    }
    assert_true(had > 0);
}

static void what_cannot_be_opened_is_named(void **state)
{
    (void)state;
    const sr_devcfg bad[]  = {{.isa = "sse9"}, {.threads = 100000}, {.isa = "amx-bf16", .deterministic = true}, {.isa = "amx-bf16", .f32_activations = true}};
    const char     *want[] = {"sse9", "100000", "amx-bf16", "two BF16"};
    for (size_t i = 0; i < SR_COUNT(bad); i++) {
        sr_err  err = {0};
        sr_dev *d   = NULL;
        assert_int_equal(sr_backend_cpu.open(0, &bad[i], &d, &err), SR_INVALID);
        assert_non_null(strstr(err.msg, want[i]));
        assert_null(d);
    }
    for (uint64_t nth = 1, fired = 1; fired; nth++) {
        sr_err  err = {0};
        sr_dev *d   = NULL;
        sr_fault_arm(SR_FAULT_ALLOC, nth);
        sr_status s = sr_backend_cpu.open(0, &(sr_devcfg){.threads = 2}, &d, &err);
        fired       = sr_fault_fired(SR_FAULT_ALLOC);
        sr_fault_arm(SR_FAULT_ALLOC, 0);
        assert_int_equal(s, fired ? SR_NOMEM : SR_OK);
        sr_backend_cpu.close(d);
    }
}

/* ---- several memory nodes: a made-up machine, the real kernel ---- */

enum { MPOL_DEFAULT = 0, MPOL_INTERLEAVE = 3 };

static void put(const char *root, const char *path, const char *text)
{
    char name[160];
    for (const char *p = strchr(path, '/'); p; p = strchr(p + 1, '/')) {
        snprintf(name, sizeof name, "%s/%.*s", root, (int)(p - path), path);
        mkdir(name, 0700);
    }
    snprintf(name, sizeof name, "%s/%s", root, path);
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* Two nodes, the first two cores that we may use on one each; memory: the nodes that have some. */
static void two_nodes(const char *memory, sr_topo *t)
{
    static const char *const files[] = {"devices/system/node/node1/cpulist", "devices/system/node/node0/cpulist", "devices/system/node/has_memory",
                                        "devices/system/node/online", "devices/system/node/node1", "devices/system/node/node0",
                                        "devices/system/node", "devices/system", "devices", ""};
    char     root[] = "cpu_test.XXXXXX", name[160], cores[2][16];
    sr_topo  here;
    sr_cpu_topology("/sys", &here);
    assert_in_range(here.n_cores, 2, SR_TOPO_CORES);
    for (int i = 0; i < 2; i++)
        snprintf(cores[i], sizeof cores[i], "%u\n", here.core[i].cpu);
    assert_non_null(mkdtemp(root));
    put(root, files[3], "0-1\n");
    put(root, files[2], memory);
    put(root, files[1], cores[0]);
    put(root, files[0], cores[1]);
    sr_topo_read(root, &(sr_cpubits){{1ull << here.core[0].cpu % 64 | 1ull << here.core[1].cpu % 64}}, t);
    for (size_t i = 0; i < SR_COUNT(files); i++) {
        snprintf(name, sizeof name, "%s/%s", root, files[i]);
        assert_int_equal(remove(name), 0);
    }
}

static bool fits_here(void) /* two cores, numbers that one word of a set can hold */
{
    sr_topo here;
    sr_cpu_topology("/sys", &here);
    return here.n_cores >= 2 && here.core[0].cpu < 64 && here.core[1].cpu < 64;
}

typedef struct { const sr_topo *t; uint32_t thread; bool ok; cpu_set_t set; } pinned;

static void *pin(void *arg)
{
    pinned *p = arg;
    p->ok     = sr_cpu_pin_on(p->t, p->thread, 2) && sched_getaffinity(0, sizeof p->set, &p->set) == 0;
    return NULL;
}

static void two_threads_of_two_nodes_sit_on_one_each(void **state)
{
    (void)state;
    if (!fits_here())
        skip();
    sr_topo t;
    two_nodes("0-1\n", &t);
    assert_int_equal(t.n_cores, 2);
    assert_int_equal(t.core[0].node, 0);
    assert_int_equal(t.core[1].node, 1);
    for (uint32_t i = 0; i < 2; i++) {
        pinned    p = {.t = &t, .thread = i};
        pthread_t id;
        assert_int_equal(pthread_create(&id, NULL, pin, &p), 0);
        assert_int_equal(pthread_join(id, NULL), 0);
        assert_true(p.ok);
        assert_int_equal(CPU_COUNT(&p.set), 1);
        assert_true(CPU_ISSET(t.core[i].cpu, &p.set));
    }
}

typedef struct { const sr_topo *t; int got, mode, child_mode; unsigned long mask[16]; } spread;

static void *ask_policy(void *arg)
{
    int mode = -1;
    if (syscall(SYS_get_mempolicy, &mode, NULL, 0ul, NULL, 0ul))
        mode = -errno;
    *(int *)arg = mode;
    return NULL;
}

/* In a thread of its own: the policy goes with it. */
static void *interleave(void *arg)
{
    spread   *s = arg;
    pthread_t id;
    s->got  = sr_cpu_interleave_on(s->t);
    s->mode = s->child_mode = -1;
    if (syscall(SYS_get_mempolicy, &s->mode, s->mask, 8 * sizeof s->mask, NULL, 0ul))
        s->mode = -errno;
    if (pthread_create(&id, NULL, ask_policy, &s->child_mode) == 0)
        pthread_join(id, NULL);
    return NULL;
}

static spread spread_on(const sr_topo *t)
{
    spread    s = {.t = t};
    pthread_t id;
    assert_int_equal(pthread_create(&id, NULL, interleave, &s), 0);
    assert_int_equal(pthread_join(id, NULL), 0);
    return s;
}

static void memory_is_interleaved_over_the_nodes_that_have_some(void **state)
{
    (void)state;
    if (!fits_here())
        skip();
    sr_topo t;
    two_nodes("1\n", &t); /* the other has cores alone */
    spread s = spread_on(&t);
    assert_int_equal(s.got, 0);
    if (s.mode == -ENOSYS || s.mode == -EPERM) /* a container may forbid both calls */
        skip();
    assert_int_equal(s.mode, MPOL_DEFAULT);
    two_nodes("0-1\n", &t);
    s = spread_on(&t);
    if (s.got == -EPERM)
        skip();
    assert_int_equal(s.got, 2); /* the kernel leaves out nodes that are not there */
    assert_int_equal(s.mode, MPOL_INTERLEAVE);
    assert_int_equal(s.child_mode, MPOL_INTERLEAVE);
    assert_true(s.mask[0] & 1);
    t.memory = 3ull << 62; /* none of them is there: the kernel's refusal comes back */
    s = spread_on(&t);
    assert_int_equal(s.got, -EINVAL);
    assert_int_equal(s.mode, MPOL_DEFAULT);
}

static void the_devices_name_tells_how_memory_lies(void **state)
{
    static const struct { int nodes; const char *want; } set[] = {
        {0, "INTEL(R) XEON(R) PLATINUM 8581C CPU @ 2.30GHz"},
        {2, "INTEL(R) XEON(R) PLATINUM 8581C , 2 nodes interleaved"},
        {-EPERM, "INTEL(R) XEON(R) PLATINUM , nodes not interleaved: error 1"}};
    char name[64];
    (void)state;
    for (size_t i = 0; i < SR_COUNT(set); i++) {
        sr_cpu_describe(set[0].want, set[i].nodes, name, sizeof name);
        assert_string_equal(name, set[i].want);
    }
}

static void devices_are_picked_by_name_and_never_silently(void **state)
{
    (void)state;
    const sr_backend *be = NULL;
    int               n  = -1;
    char              why[200];
    sr_err            err = {0};
    assert_int_equal(sr_backend_pick("cpu", &be, &n, why, &err), SR_OK);
    assert_ptr_equal(be, &sr_backend_cpu);
    assert_int_equal(sr_backend_pick("auto", &be, &n, why, &err), SR_OK);
    assert_true(be != &sr_backend_cpu || why[0]); /* fell back: says why */
    const char *bad[] = {"cuda:x", "cuda:", "gpu:0", "tpu", "cuda:-1", ""};
    for (size_t i = 0; i < SR_COUNT(bad); i++) {
        sr_err e = {0};
        assert_int_equal(sr_backend_pick(bad[i], &be, &n, why, &e), SR_INVALID);
        assert_non_null(strstr(e.msg, "unknown device"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_barrier_holds_until_all_have_come),
        cmocka_unit_test(copies_follow_their_steps_and_marks_their_order),
        cmocka_unit_test(a_fence_holds_a_queue_until_the_host_signals),
        cmocka_unit_test(a_full_queue_says_again_and_loses_nothing),
        cmocka_unit_test(a_failure_is_kept_and_told_to_every_later_wait),
        cmocka_unit_test(an_instruction_set_asked_for_is_had_or_refused),
        cmocka_unit_test(what_cannot_be_opened_is_named),
        cmocka_unit_test(two_threads_of_two_nodes_sit_on_one_each),
        cmocka_unit_test(memory_is_interleaved_over_the_nodes_that_have_some),
        cmocka_unit_test(the_devices_name_tells_how_memory_lies),
        cmocka_unit_test(devices_are_picked_by_name_and_never_silently),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
