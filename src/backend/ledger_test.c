/* ledger_test: a budget kept to the granule, over random pieces beside a plain count of them; lines by tag; failures that leave nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ledger.h"
#include "base/fault.h"
#include "base/mem.h"

enum { MIB = 1 << 20 };

/* Where the driver would have put it: every piece has a place of its own. */
static char place[64][256];

static sr_ledgerentry *take(sr_ledger *l, sr_memkind kind, size_t bytes, const char *tag, int at)
{
    sr_err          err = {0};
    sr_ledgerentry *e   = NULL;
    if (sr_ledger_reserve(l, kind, bytes, tag, &e, &err))
        return NULL;
    sr_ledger_enter(l, e, place[at]);
    return e;
}

static void drop(sr_ledger *l, int at)
{
    sr_ledgerentry *e = sr_ledger_remove(l, place[at]);
    assert_non_null(e);
    sr_ledger_cancel(l, e);
}

static void pieces_count_with_the_granules_they_take(void **state)
{
    (void)state;
    sr_ledger l;
    sr_ledger_open(&l, "card", 10 * MIB + 5, 2 * MIB);
    assert_int_equal(sr_ledger_left(&l), 10 * MIB); /* half a granule is none */
    assert_int_equal(take(&l, SR_MEM_DEVICE, 1, "a", 0)->taken, 2 * MIB);
    assert_int_equal(take(&l, SR_MEM_DEVICE, 2 * MIB, "b", 1)->taken, 2 * MIB);
    assert_int_equal(take(&l, SR_MEM_DEVICE, 0, "nothing", 2)->taken, 2 * MIB); /* has an address, too */
    assert_int_equal(take(&l, SR_MEM_PINNED, 100 * MIB + 1, "host", 3)->taken, 100 * MIB + 1);
    assert_int_equal(sr_ledger_left(&l), 4 * MIB);
    assert_int_equal(take(&l, SR_MEM_DEVICE, 4 * MIB, "all that is left", 4)->taken, 4 * MIB);
    assert_int_equal(sr_ledger_left(&l), 0);
    sr_err          err = {0};
    sr_ledgerentry *e   = NULL;
    assert_int_equal(sr_ledger_reserve(&l, SR_MEM_DEVICE, 3, "one more", &e, &err), SR_NOMEM);
    assert_string_equal(err.msg, "card: 3 bytes of device memory for one more; 0 of the budget of 10 MiB are left");
    err = (sr_err){0};
    assert_int_equal(sr_ledger_reserve(&l, SR_MEM_DEVICE, SIZE_MAX, "far too much", &e, &err), SR_NOMEM);
    assert_null(sr_ledger_remove(&l, &l));
    for (int i = 0; i < 5; i++)
        drop(&l, i);
    assert_int_equal(l.used, 0);
    sr_ledger_close(&l);
}

static void lines_add_up_by_tag_in_the_order_they_came(void **state)
{
    (void)state;
    sr_ledger  l;
    sr_memline line[8];
    sr_ledger_open(&l, "card", 64 * MIB, 1000);
    assert_int_equal(sr_ledger_lines(&l, line, 8), 0);
    take(&l, SR_MEM_DEVICE, 1500, "weights", 0);
    take(&l, SR_MEM_PINNED, 77, "staging", 1);
    take(&l, SR_MEM_DEVICE, 3000, "kv", 2);
    take(&l, SR_MEM_DEVICE, 1, "weights", 3);
    take(&l, SR_MEM_PINNED, 5, "weights", 4); /* the same word for another kind of memory */
    assert_int_equal(sr_ledger_lines(&l, line, 8), 4);
    const sr_memline want[] = {{"staging", SR_MEM_PINNED, 1, 77, 77}, {"kv", SR_MEM_DEVICE, 1, 3000, 3000}, {"weights", SR_MEM_DEVICE, 2, 1501, 3000}, {"weights", SR_MEM_PINNED, 1, 5, 5}};
    for (int i = 0; i < 4; i++) {
        assert_string_equal(line[i].tag, want[i].tag);
        assert_int_equal(line[i].kind, want[i].kind);
        assert_int_equal(line[i].pieces, want[i].pieces);
        assert_int_equal(line[i].bytes, want[i].bytes);
        assert_int_equal(line[i].taken, want[i].taken);
    }
    assert_int_equal(sr_ledger_lines(&l, line, 2), 2); /* no room: those that came last */
    assert_string_equal(line[1].tag, "weights");
    for (int i = 0; i < 5; i++)
        drop(&l, i);
    sr_ledger_close(&l);
}

static void an_address_is_within_a_piece_or_in_none(void **state)
{
    (void)state;
    sr_ledger l;
    sr_ledger_open(&l, "card", MIB, 1);
    take(&l, SR_MEM_DEVICE, 100, "a", 0);
    take(&l, SR_MEM_PINNED, 50, "b", 7);
    assert_true(sr_ledger_holds(&l, place[0], 100));
    assert_true(sr_ledger_holds(&l, place[0] + 40, 60));
    assert_false(sr_ledger_holds(&l, place[0] + 40, 61));
    assert_true(sr_ledger_holds(&l, place[7] + 49, 1));
    assert_false(sr_ledger_holds(&l, place[7] + 50, 1));
    assert_false(sr_ledger_holds(&l, place[3], 1));
    drop(&l, 0);
    assert_false(sr_ledger_holds(&l, place[0], 100));
    drop(&l, 7);
    sr_ledger_close(&l);
}

static void random_pieces_agree_with_a_plain_count(void **state)
{
    (void)state;
    srandom(7);
    for (int round = 0; round < 50; round++) {
        size_t    granule = (size_t)1 << random() % 12, budget = (size_t)(random() % 100000), used = 0, bytes[64] = {0}, refused = 0;
        bool      have[64] = {false};
        sr_ledger l;
        sr_ledger_open(&l, "card", budget, granule);
        for (int i = 0; i < 2000; i++) {
            int    at  = (int)(random() % 64);
            size_t n   = (size_t)(random() % 8000), whole = SR_MAX((n + granule - 1) / granule, (size_t)1) * granule;
            if (have[at]) {
                drop(&l, at);
                used -= bytes[at];
                have[at] = false;
                continue;
            }
            bool fits = used + whole <= budget, got = take(&l, SR_MEM_DEVICE, n, "piece", at) != NULL;
            assert_int_equal(fits, got);
            refused += !fits;
            have[at]  = got;
            bytes[at] = whole;
            used += got ? whole : 0;
            assert_int_equal(l.used, used);
            assert_int_equal(sr_ledger_left(&l), (budget - used) / granule * granule);
        }
        assert_true(budget > 64 * 8192 || refused);
        for (sr_ledgerentry *e; (e = sr_ledger_remove(&l, NULL));)
            sr_ledger_cancel(&l, e);
        assert_int_equal(l.used, 0);
        sr_ledger_close(&l);
    }
}

enum { THREADS = 4, TIMES = 3000 };

static void *hurry(void *arg)
{
    sr_ledger *l = arg;
    size_t     got = 0;
    for (int i = 0; i < TIMES; i++) {
        sr_err          err = {0};
        sr_ledgerentry *e   = NULL;
        char            own;
        while (sr_ledger_reserve(l, SR_MEM_DEVICE, 60, "piece", &e, &err))
            sched_yield(); /* two others have theirs, perhaps without a core */
        got += sr_ledger_left(l) <= 130 - 60;
        if (i % 3 == 0) {
            sr_ledger_cancel(l, e);
            continue;
        }
        sr_ledger_enter(l, e, &own);
        sr_ledger_cancel(l, sr_ledger_remove(l, &own));
    }
    return (void *)got;
}

static void threads_never_take_more_than_there_is(void **state)
{
    (void)state;
    sr_ledger l;
    pthread_t t[THREADS];
    void     *got[THREADS];
    sr_ledger_open(&l, "card", 130, 1); /* two of sixty */
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, hurry, &l), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i], &got[i]);
        assert_int_equal((size_t)got[i], TIMES);
    }
    assert_int_equal(l.used, 0);
    assert_null(l.entries);
    sr_ledger_close(&l);
}

static void without_memory_of_the_host_nothing_is_counted(void **state)
{
    (void)state;
    sr_ledger       l;
    sr_err          err = {0};
    sr_ledgerentry *e   = NULL;
    sr_ledger_open(&l, "card", MIB, 1);
    sr_fault_arm(SR_FAULT_ALLOC, 1);
    assert_int_equal(sr_ledger_reserve(&l, SR_MEM_DEVICE, 10, "a", &e, &err), SR_NOMEM);
    sr_fault_arm(SR_FAULT_ALLOC, 0);
    assert_non_null(strstr(err.msg, "host"));
    assert_int_equal(l.used, 0);
    sr_ledger_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_count_with_the_granules_they_take), cmocka_unit_test(lines_add_up_by_tag_in_the_order_they_came),
        cmocka_unit_test(an_address_is_within_a_piece_or_in_none), cmocka_unit_test(random_pieces_agree_with_a_plain_count),
        cmocka_unit_test(threads_never_take_more_than_there_is), cmocka_unit_test(without_memory_of_the_host_nothing_is_counted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
