/* topo_test: made-up machines as folders of files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/topo.h"

typedef struct { char root[64], made[64][128]; uint32_t n; } machine;

static void machine_open(machine *m)
{
    memset(m, 0, sizeof *m);
    snprintf(m->root, sizeof m->root, "topo_test.XXXXXX");
    assert_non_null(mkdtemp(m->root));
}

/* Writes root/path, and makes the folders on the way. */
static void put(machine *m, const char *path, const char *text)
{
    char name[128];
    for (const char *p = strchr(path, '/'); p; p = strchr(p + 1, '/')) {
        snprintf(name, sizeof name, "%s/%.*s", m->root, (int)(p - path), path);
        if (mkdir(name, 0700) == 0)
            memcpy(m->made[m->n++], name, sizeof name);
    }
    snprintf(name, sizeof name, "%s/%s", m->root, path);
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    memcpy(m->made[m->n++], name, sizeof name);
}

static void machine_close(machine *m)
{
    while (m->n)
        assert_int_equal(remove(m->made[--m->n]), 0);
    assert_int_equal(rmdir(m->root), 0);
}

static sr_cpubits bits(const char *list)
{
    sr_cpubits b;
    assert_true(sr_cpubits_parse(list, SR_TOPO_CORES, &b));
    return b;
}

static void lists_of_cores_are_read_and_others_refused(void **state)
{
    (void)state;
    sr_cpubits b = bits("0-2,5,64-65\n");
    assert_int_equal(b.w[0], 0x27);
    assert_int_equal(b.w[1], 3);
    b = bits("");
    assert_int_equal(b.w[0], 0);
    assert_true(sr_cpubits_parse("2-4000000000", 8, &b)); /* what lies behind the limit is not asked for */
    assert_int_equal(b.w[0], 0xfc);
    static const char *const bad[] = {"x", "1-", "3-1", "1,,2", "1;2", "-1", "1-2-3", " 1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(sr_cpubits_parse(bad[i], SR_TOPO_CORES, &b));
}

/* Two nodes of four cores, each core of two threads: 0-3 and 8-11 on node 0, 4-7 and 12-15 on node 1. */
static void two_nodes(machine *m)
{
    char path[80], text[16];
    machine_open(m);
    put(m, "devices/system/node/online", "0-1\n");
    put(m, "devices/system/node/has_memory", "0-1\n");
    put(m, "devices/system/node/node0/cpulist", "0-3,8-11\n");
    put(m, "devices/system/node/node1/cpulist", "4-7,12-15\n");
    for (int i = 0; i < 16; i++) {
        snprintf(path, sizeof path, "devices/system/cpu/cpu%d/topology/thread_siblings_list", i);
        snprintf(text, sizeof text, "%d,%d\n", i % 8, i % 8 + 8);
        put(m, path, text);
    }
}

static void threads_are_spread_over_nodes_and_over_cores_before_siblings(void **state)
{
    (void)state;
    machine    m;
    sr_topo    t;
    sr_cpubits all = bits("0-15");
    two_nodes(&m);
    sr_topo_read(m.root, &all, &t);
    assert_int_equal(t.n_cores, 16);
    assert_int_equal(sr_topo_nodes(&t), 2);
    static const struct { uint32_t threads; uint16_t cpu[16]; } want[] = {
        {1, {4}}, {2, {0, 4}}, {4, {0, 1, 4, 5}}, {8, {0, 1, 2, 3, 4, 5, 6, 7}}, {10, {0, 1, 2, 3, 8, 4, 5, 6, 7, 12}},
        {16, {0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15}}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        for (uint32_t k = 0; k < want[i].threads; k++)
            assert_int_equal(t.core[sr_topo_place(&t, k, want[i].threads)].cpu, want[i].cpu[k]);
    for (uint32_t k = 0; k < 40; k++) /* more threads than cores */
        assert_int_equal(sr_topo_place(&t, k, 40), k % 16);
    machine_close(&m);
}

static void only_allowed_cores_are_given(void **state)
{
    (void)state;
    machine    m;
    sr_topo    t;
    sr_cpubits some = bits("2,3,6,10,700");
    two_nodes(&m);
    sr_topo_read(m.root, &some, &t);
    static const sr_topocore want[] = {{2, 0, 0}, {3, 0, 0}, {700, 0, 0}, {10, 0, 1}, {6, 1, 0}}; /* 700: of no node that is told */
    assert_int_equal(t.n_cores, 5);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(t.core[i].cpu, want[i].cpu);
        assert_int_equal(t.core[i].node, want[i].node);
        assert_int_equal(t.core[i].rank, want[i].rank);
    }
    bool used[5] = {false};
    for (uint32_t k = 0; k < 4; k++) { /* nobody shares a core while there is one left */
        uint32_t at = sr_topo_place(&t, k, 4);
        assert_false(used[at]);
        used[at] = true;
    }
    machine_close(&m);
}

static void a_node_without_memory_or_files_does_no_harm(void **state)
{
    (void)state;
    machine    m;
    sr_topo    t;
    sr_cpubits four = bits("0-3");
    machine_open(&m);
    sr_topo_read(m.root, &four, &t); /* no file at all */
    assert_int_equal(sr_topo_nodes(&t), 1);
    assert_int_equal(t.n_cores, 4);
    assert_int_equal(t.core[sr_topo_place(&t, 3, 4)].cpu, 3);
    put(&m, "devices/system/node/online", "0,2\n");
    put(&m, "devices/system/node/has_memory", "2\n");
    put(&m, "devices/system/node/node0/cpulist", "0-1\n");
    put(&m, "devices/system/node/node2/cpulist", "junk\n");
    sr_topo_read(m.root, &four, &t);
    assert_int_equal(t.online, 5);
    assert_int_equal(t.memory, 4);
    assert_int_equal(sr_topo_nodes(&t), 1);
    assert_int_equal(t.n_cores, 4);
    put(&m, "devices/system/node/online", "?\n");
    m.n--; /* named twice */
    sr_topo_read(m.root, &four, &t);
    assert_int_equal(t.online, 1);
    machine_close(&m);
    sr_topo_read(m.root, &(sr_cpubits){{0}}, &t); /* no core is allowed, no file is there */
    assert_int_equal(t.n_cores, 0);
    assert_int_equal(sr_topo_place(&t, 1, 2), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_of_cores_are_read_and_others_refused),
        cmocka_unit_test(threads_are_spread_over_nodes_and_over_cores_before_siblings),
        cmocka_unit_test(only_allowed_cores_are_given),
        cmocka_unit_test(a_node_without_memory_or_files_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
