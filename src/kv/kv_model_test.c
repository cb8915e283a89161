/* kv_model_test.c - random operations against a model that knows what every position of every sequence holds.
 *
 *     kv_model_test [operations [seed]]      default: 10000 for each configuration, seed 1
 */
#include <stdlib.h>

#include "kv/kv_testbed.h"

enum { SEQS = 10, BOOK = 4, LONGEST = 60 };
static uint64_t operations = 10000, first_seed = 1;

typedef struct {
    bed      b;
    toy      seq[SEQS];
    int32_t  want[SEQS][LONGEST]; /* what a sequence is to hold, in the end */
    int32_t  book[BOOK][LONGEST]; /* prompts start as one of these */
    uint64_t random;
    uint64_t began, found, again, forked, shared_writes, moved, failed;
} model;

static uint32_t below(model *m, uint32_t n)
{
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(m->random >> 33) % n;
}

/* Only a fault may fail an operation; the store is whole all the same. */
static void failed(model *m, sr_status s, const sr_err *err)
{
    if (!sr_fault_fired(SR_FAULT_ALLOC) && !sr_fault_fired(SR_FAULT_COPY))
        fail_msg("%s without a fault: %s", sr_status_name(s), err->msg);
    assert_int_not_equal(err->msg[0], 0);
    m->failed++;
}

static void check(model *m)
{
    sr_err err = {0};
    if (sr_kv_check(m->b.kv, &err))
        return;
    if (err.status != SR_NOMEM || !sr_fault_fired(SR_FAULT_ALLOC))
        fail_msg("%s", err.msg);
    bed_check(&m->b); /* the fault hit the check itself */
}

static void verify_all(model *m)
{
    for (int i = 0; i < SEQS; i++)
        if (m->seq[i].s)
            toy_verify(&m->b, &m->seq[i]);
}

static void begin(model *m, uint32_t i)
{
    toy     *t = &m->seq[i];
    int32_t *w = m->want[i];
    sr_err   err = {0};
    uint32_t same = below(m, LONGEST), n = 1 + below(m, LONGEST), reuse[] = {n, n - 1, 0, below(m, n + 1)};
    size_t   most = reuse[below(m, 4)], cached;
    memcpy(w, m->book[below(m, BOOK)], sizeof m->want[i]);
    for (uint32_t k = same; k < LONGEST; k++)
        w[k] = (int32_t)below(m, 2);
    *t = (toy){.salt = 1 + below(m, 8) / 7};
    sr_status s = sr_kv_begin(m->b.kv, t->salt, w, n, most, &t->s, &cached, &err);
    if (s) {
        assert_null(t->s);
        failed(m, s, &err);
        return;
    }
    assert_in_range(cached, 0, most);
    assert_int_equal(cached % m->b.cfg.page_tokens, 0);
    memcpy(t->tok, w, cached * sizeof *w);
    t->n = cached;
    m->began++;
    m->found += cached;
}

static void reserve(model *m, uint32_t i)
{
    toy      *t   = &m->seq[i];
    sr_err    err = {0};
    size_t    n   = 1 + below(m, 8) * (below(m, 4) + 1) / 2;
    if (t->n + n > LONGEST)
        return;
    uint64_t  shared = 0;
    size_t    per    = m->b.cfg.page_tokens;
    if (t->n % per)
        shared = m->b.kv->pool[0].page[t->s->table[0][t->n / per]].refs > 1;
    uint32_t  pages = t->s->pages;
    sr_status s     = toy_reserve(t, n, &err);
    if (s == SR_OK) {
        m->shared_writes += shared;
        return;
    }
    assert_int_equal(t->s->pages, pages);
    assert_int_equal(t->s->reserved, t->reserved);
    if (s == SR_AGAIN)
        m->again++;
    else
        failed(m, s, &err);
}

static void commit(model *m, uint32_t i)
{
    toy     *t   = &m->seq[i];
    sr_err   err = {0};
    uint32_t n   = t->reserved ? below(m, (uint32_t)t->reserved + 1) : 0, from[LONGEST] = {0};
    bool     tree = below(m, 3) == 0;
    for (uint32_t at = 0, k = 0; k < n; k++, at++) { /* skips while enough room is left for the others */
        while (tree && t->reserved - at > n - k && below(m, 2))
            at++;
        from[k] = at;
        m->moved += tree && at != k;
    }
    sr_status s = toy_commit(&m->b, t, m->want[i] + t->n, tree ? from : NULL, n, &err);
    if (s) {
        failed(m, s, &err);
    } else if (below(m, 2)) {
        return; /* what is left of the room stays for the next */
    }
    sr_kv_trim(t->s);
    t->reserved = 0;
}

static void fork_one(model *m, uint32_t i, uint32_t into)
{
    sr_err    err = {0};
    toy      *t = &m->seq[i], *o = &m->seq[into];
    sr_status s = toy_fork(t, o, &err);
    if (s) {
        assert_null(o->s);
        if (t->reserved)
            assert_int_equal(s, SR_INVALID);
        else
            failed(m, s, &err);
        return;
    }
    memcpy(m->want[into], m->want[i], sizeof m->want[i]);
    for (size_t k = o->n; k < LONGEST; k++)
        if (below(m, 4) == 0)
            m->want[into][k] = (int32_t)below(m, 2);
    m->forked++;
}

static void operation(model *m, uint64_t number)
{
    uint32_t i = below(m, SEQS), o = below(m, SEQS), what = below(m, 100);
    if (!m->seq[i].s && m->seq[o].s && what < 60)
        fork_one(m, o, i);
    else if (!m->seq[i].s)
        begin(m, i);
    else if (what < 40)
        reserve(m, i);
    else if (what < 85)
        commit(m, i);
    else if (what < 92)
        sr_kv_trim(m->seq[i].s), m->seq[i].reserved = 0;
    else
        toy_end(&m->seq[i]);
    check(m);
    if (m->seq[i].s)
        toy_verify(&m->b, &m->seq[i]);
    if (number % 16 == 0)
        verify_all(m);
}

typedef struct { const char *name; sr_kvgroup group[SR_KV_GROUPS]; uint32_t n, page_tokens; uint64_t hash_mask; } setup;

static bool model_open(model *m, const setup *c, uint64_t seed, sr_err *err)
{
    *m = (model){.random = seed * 0x9e3779b97f4a7c15u + 1};
    memcpy(m->b.group, c->group, sizeof c->group);
    if (bed_try_open(&m->b, c->n, c->page_tokens, err))
        return false;
    m->b.kv->hash_mask = c->hash_mask;
    for (uint32_t k = 0; k < BOOK; k++)
        for (uint32_t i = 0; i < LONGEST; i++)
            m->book[k][i] = (int32_t)below(m, 2);
    return true;
}

static void model_close(model *m)
{
    verify_all(m);
    for (int i = 0; i < SEQS; i++)
        toy_end(&m->seq[i]);
    bed_close(&m->b);
}

static setup setups(int i)
{
    sr_kvgroup ranks = bed_group(45, 0), quant = bed_group(50, 0);
    ranks.n_ranks = 2;
    ranks.dev     = 1;
    quant.shape   = (sr_kvshape){.n_layers = 1, .kv_heads = 3, .dim_k = 32, .dim_v = 32, .format_k = SR_Q8_0,
                                 .format_v = SR_F16};
    const setup all[] = {
        {"one group", {bed_group(40, 0)}, 1, 4, ~0ull},
        {"one group, two bits of hash", {bed_group(40, 0)}, 1, 4, 3},
        {"one group, no hash", {bed_group(60, 0)}, 1, 2, 0},
        {"pages of one token", {bed_group(90, 0)}, 1, 1, 7},
        {"full and windowed", {bed_group(45, 0), bed_group(26, 9)}, 2, 4, ~0ull},
        {"windowed before full, quantised and on two ranks", {bed_group(30, 5), ranks, bed_group(33, 16), quant}, 4, 4, 1},
        {"windowed only", {bed_group(22, 7)}, 1, 4, ~0ull},
    };
    return i < (int)SR_COUNT(all) ? all[i] : (setup){0};
}

static void random_operations_never_show_a_sequence_another_ones_tokens(void **state)
{
    (void)state;
    for (int i = 0; setups(i).n; i++) {
        setup  c   = setups(i);
        sr_err err = {0};
        static model m;
        if (!model_open(&m, &c, first_seed, &err))
            fail_msg("%s: %s", c.name, err.msg);
        for (uint64_t k = 0; k < operations; k++)
            operation(&m, k);
        print_message("             %s: %llu begun, %llu tokens found, %llu forked, %llu shared pages written, %llu tokens "
                      "moved, %llu without room\n", c.name, (unsigned long long)m.began, (unsigned long long)m.found,
                      (unsigned long long)m.forked, (unsigned long long)m.shared_writes, (unsigned long long)m.moved,
                      (unsigned long long)m.again);
        if (operations >= 10000) { /* it was not a run in which nothing happened */
            assert_true(m.again > 50 && m.forked > 50 && m.moved > 50 && m.failed == 0);
            assert_true(c.page_tokens == 1 || m.shared_writes > 50);
            assert_true(m.b.kv->spine == SR_KV_NONE ? m.found == 0 : m.found > 1000);
        }
        model_close(&m);
    }
}

static void every_failing_allocation_or_copy_leaves_the_store_whole(void **state)
{
    (void)state;
    const sr_faultkind kinds[] = {SR_FAULT_ALLOC, SR_FAULT_COPY, SR_FAULT_DEVALLOC};
    setup              c       = setups(5);
    for (size_t k = 0; k < SR_COUNT(kinds); k++) {
        bool     fired = true;
        uint64_t n = 0, reported = 0;
        while (fired) {
            static model m;
            sr_err       err = {0};
            sr_fault_arm(kinds[k], ++n);
            bool open = model_open(&m, &c, first_seed, &err);
            for (uint64_t i = 0; open && i < 300; i++)
                operation(&m, i);
            fired = sr_fault_fired(kinds[k]);
            sr_fault_arm(kinds[k], 0);
            reported += !open || m.failed;
            if (!open) {
                assert_true(fired && err.msg[0] && !m.b.kv);
                continue;
            }
            for (uint64_t i = 0; i < 100; i++)
                operation(&m, i);
            model_close(&m);
        }
        print_message("             fault kind %d: %llu points, %llu reported as an error\n", (int)kinds[k],
                      (unsigned long long)n - 1, (unsigned long long)reported);
        assert_true(n > 4 && reported > 3);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1)
        operations = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        first_seed = strtoull(argv[2], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_never_show_a_sequence_another_ones_tokens),
        cmocka_unit_test(every_failing_allocation_or_copy_leaves_the_store_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
