#include "base/clock.h"
#include "kv/kv_testbed.h"

static int32_t count[BED_TOKENS]; /* 0, 1, 2 ...: as good a prompt as any */

static uint32_t page_of(const toy *t, uint32_t g, size_t k)
{
    size_t         first, n;
    const sr_page *table = sr_kv_table(t->s, g, &first, &n);
    assert_in_range(k, first, n - 1);
    return table[k];
}

/* ---- sharing ------------------------------------------------------------------------------------------- */

static void a_second_sequence_finds_the_full_pages_of_the_first(void **state)
{
    (void)state;
    bed b = {.group = {bed_group(16, 0)}};
    toy a, c, d;
    bed_open(&b, 1, 4);
    assert_int_equal(toy_begin(&b, &a, 1, count, 10, 10), 0);
    toy_add(&b, &a, count, 10);
    assert_int_equal(toy_begin(&b, &c, 1, count, 10, 9), 8); /* while the first lives */
    assert_int_equal(page_of(&c, 0, 0), page_of(&a, 0, 0));
    assert_int_equal(page_of(&c, 0, 1), page_of(&a, 0, 1));
    assert_int_equal(bed_stats(&b, 0).in_use, 3);
    toy_end(&a);
    toy_end(&c);
    assert_int_equal(bed_stats(&b, 0).cached, 2);
    int32_t other[10] = {0, 1, 2, 3, 4, 5, 6, 99, 8, 9};
    assert_int_equal(toy_begin(&b, &d, 1, other, 10, 10), 4); /* and after it; up to the first difference */
    assert_int_equal(bed_stats(&b, 0).hits, 12);
    assert_int_equal(bed_stats(&b, 0).misses, 10 + 2 + 6);
    toy_end(&d);
    bed_close(&b);
}

static void reuse_is_limited_by_the_caller_and_divided_by_the_salt(void **state)
{
    (void)state;
    bed b = {.group = {bed_group(16, 0)}};
    toy a, c;
    bed_open(&b, 1, 4);
    toy_begin(&b, &a, 1, count, 12, 12);
    toy_add(&b, &a, count, 12);
    size_t want[] = {0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12};
    for (size_t most = 0; most <= 12; most++) {
        assert_int_equal(toy_begin(&b, &c, 1, count, 12, most), want[most]);
        toy_end(&c);
    }
    assert_int_equal(toy_begin(&b, &c, 2, count, 12, 12), 0);
    toy_add(&b, &c, count, 12); /* the same tokens under another salt are other pages */
    assert_int_not_equal(page_of(&c, 0, 0), page_of(&a, 0, 0));
    toy_end(&a);
    toy_end(&c);
    bed_close(&b);
}

static void fork_shares_full_pages_and_copies_the_last(void **state)
{
    (void)state;
    bed    b   = {.group = {bed_group(16, 0)}};
    sr_err err = {0};
    toy    a, c, d;
    int32_t x[4] = {50, 51, 52, 53};
    bed_open(&b, 1, 4);
    toy_begin(&b, &a, 1, count, 10, 0);
    toy_add(&b, &a, count, 10);
    assert_int_equal(toy_fork(&a, &c, &err), SR_OK);
    assert_int_equal(toy_fork(&a, &d, &err), SR_OK);
    assert_int_equal(bed_stats(&b, 0).in_use, 3); /* nothing is copied before somebody writes */
    uint64_t before = bed_copies(&b);
    toy_add(&b, &c, x, 4);
    toy_add(&b, &d, x + 1, 3);
    assert_int_equal(bed_copies(&b) - before, 2);
    toy_add(&b, &a, x + 2, 1); /* the last holder of the partial page keeps it */
    assert_int_equal(bed_copies(&b) - before, 2);
    assert_int_equal(page_of(&a, 0, 1), page_of(&c, 0, 1));
    assert_int_not_equal(page_of(&a, 0, 2), page_of(&c, 0, 2));
    toy_verify(&b, &a);
    toy_verify(&b, &c);
    toy_verify(&b, &d);
    toy_end(&a);
    toy_verify(&b, &c);
    toy_end(&c);
    toy_verify(&b, &d);
    toy_end(&d);
    bed_close(&b);
}

static void equal_prompts_computed_at_once_end_up_sharing(void **state)
{
    (void)state;
    bed b = {.group = {bed_group(16, 0), bed_group(16, 0)}};
    toy a, c;
    bed_open(&b, 2, 4);
    toy_begin(&b, &a, 1, count, 10, 10);
    toy_begin(&b, &c, 1, count, 10, 10);
    toy_add(&b, &a, count, 6);
    toy_add(&b, &c, count, 10);
    toy_add(&b, &a, count + 6, 4);
    for (uint32_t g = 0; g < 2; g++) {
        assert_int_equal(page_of(&a, g, 0), page_of(&c, g, 0));
        assert_int_equal(page_of(&a, g, 1), page_of(&c, g, 1));
        assert_int_not_equal(page_of(&a, g, 2), page_of(&c, g, 2));
        assert_int_equal(bed_stats(&b, g).in_use, 4);
    }
    toy_end(&a);
    toy_verify(&b, &c);
    toy_end(&c);
    bed_close(&b);
}

static void colliding_hashes_are_told_apart_by_their_tokens(void **state)
{
    (void)state;
    bed b = {.group = {bed_group(64, 0)}};
    bed_open(&b, 1, 2);
    b.kv->hash_mask = 0; /* all pages have one hash */
    for (int32_t i = 0; i < 8; i++) {
        toy     t;
        int32_t tok[4] = {i, i, 7, 7}; /* second pages equal, first pages not */
        assert_int_equal(toy_begin(&b, &t, 1, tok, 4, 4), 0);
        toy_add(&b, &t, tok, 4);
        toy_end(&t);
    }
    assert_int_equal(bed_stats(&b, 0).cached, 16);
    for (int32_t i = 0; i < 8; i++) {
        toy     t;
        int32_t tok[4] = {i, i, 7, 7}, none[4] = {i, i + 1, 7, 7}, salt[4] = {i, i, 7, 7};
        assert_int_equal(toy_begin(&b, &t, 1, tok, 4, 4), 4); /* its stamps are verified: it is the right one */
        toy_end(&t);
        assert_int_equal(toy_begin(&b, &t, 1, none, 4, 4), 0);
        toy_end(&t);
        assert_int_equal(toy_begin(&b, &t, 2, salt, 4, 4), 0);
        toy_end(&t);
    }
    bed_close(&b);
}

/* ---- room ---------------------------------------------------------------------------------------------- */

static void exhaustion_is_again_and_changes_nothing(void **state)
{
    (void)state;
    bed    b   = {.group = {bed_group(6, 0), bed_group(4, 0)}}; /* the second runs out first */
    sr_err err = {0};
    toy    a, c;
    bed_open(&b, 2, 4);
    toy_begin(&b, &a, 1, count, 6, 6);
    toy_add(&b, &a, count, 6);
    toy_begin(&b, &c, 2, count, 6, 6);
    toy_add(&b, &c, count, 5);
    assert_int_equal(toy_reserve(&c, 4, &err), SR_AGAIN);
    assert_int_equal(err.status, SR_OK);
    assert_int_equal(bed_stats(&b, 0).in_use, 4);
    assert_int_equal(bed_stats(&b, 1).in_use, 4);
    toy_verify(&b, &c);
    bed_check(&b);
    toy_add(&b, &c, count + 5, 3); /* what fits the page it has */
    toy f;
    assert_int_equal(toy_fork(&a, &f, &err), SR_OK);
    assert_int_equal(toy_reserve(&f, 1, &err), SR_AGAIN); /* no page to copy the partial one into */
    toy_verify(&b, &f);
    bed_check(&b);
    assert_int_equal(toy_reserve(&c, 1000, &err), SR_NOMEM); /* will never fit */
    assert_non_null(strstr(err.msg, "there are 6"));
    bed_check(&b);
    toy_end(&a);
    toy_add(&b, &f, count + 6, 1);
    toy_end(&c);
    toy_end(&f);
    bed_close(&b);
}

static void the_longest_unused_prefix_is_given_up_first_tail_before_head(void **state)
{
    (void)state;
    bed b = {.group = {bed_group(6, 0)}};
    toy a, t;
    bed_open(&b, 1, 4);
    for (uint64_t salt = 1; salt <= 2; salt++) { /* fills the pool: three pages each */
        toy_begin(&b, &t, salt, count, 12, 12);
        toy_add(&b, &t, count, 12);
        toy_end(&t);
    }
    assert_int_equal(toy_begin(&b, &t, 1, count, 12, 12), 12); /* used again: now salt 2 is the older one */
    toy_end(&t);
    toy_begin(&b, &a, 3, count, 4, 4);
    toy_add(&b, &a, count, 8); /* takes two pages */
    assert_int_equal(toy_begin(&b, &t, 2, count, 12, 12), 4);
    toy_end(&t);
    assert_int_equal(toy_begin(&b, &t, 1, count, 12, 12), 12);
    toy_end(&t);
    toy_end(&a);
    bed_close(&b);
}

static void trim_gives_back_what_was_reserved_and_not_committed(void **state)
{
    (void)state;
    bed    b   = {.group = {bed_group(8, 0)}};
    sr_err err = {0};
    toy    a;
    bed_open(&b, 1, 4);
    toy_begin(&b, &a, 1, count, 4, 4);
    assert_int_equal(toy_reserve(&a, 20, &err), SR_OK);
    assert_int_equal(bed_stats(&b, 0).in_use, 5);
    assert_int_equal(toy_commit(&b, &a, count, NULL, 6, &err), SR_OK);
    sr_kv_trim(a.s);
    assert_int_equal(bed_stats(&b, 0).in_use, 2);
    toy_verify(&b, &a);
    a.reserved = 0;
    assert_int_equal(sr_kv_commit(a.s, count, NULL, 1, &err), SR_INVALID);
    assert_non_null(strstr(err.msg, "0 reserved"));
    toy_end(&a);
    bed_close(&b);
}

static void what_nobody_needs_is_not_touched_in_the_steady_state(void **state)
{
    (void)state;
    bed      b = {.group = {bed_group(64, 0), bed_group(64, 8)}};
    uint64_t before = 0;
    bed_open(&b, 2, 4);
    for (int round = 0; round < 50; round++) {
        sr_err err = {0};
        toy    a, c;
        if (round == 2)
            before = sr_alloc_count();
        int32_t tok[40];
        for (int i = 0; i < 40; i++)
            tok[i] = i < 20 ? i : round * 100 + i;
        toy_begin(&b, &a, 1, tok, 40, 40);
        assert_int_equal(toy_reserve(&a, 40 - a.n, &err), SR_OK);
        assert_int_equal(toy_commit(&b, &a, tok + a.n, NULL, 38 - a.n, &err), SR_OK);
        sr_kv_trim(a.s);
        a.reserved = 0;
        assert_int_equal(toy_fork(&a, &c, &err), SR_OK);
        assert_int_equal(toy_reserve(&c, 3, &err), SR_OK);
        toy_end(&a);
        toy_end(&c);
    }
    assert_true(sr_alloc_count() == before);
    bed_close(&b);
}

/* ---- accepted drafts ----------------------------------------------------------------------------------- */

static void accepted_tokens_of_a_tree_are_moved_together(void **state)
{
    (void)state;
    bed      b      = {.group = {bed_group(16, 0), bed_group(16, 6)}};
    sr_err   err    = {0};
    uint32_t from[] = {0, 2, 3, 7, 11};
    toy      a;
    b.group[0].n_ranks = 2; /* devices 0 and 1; the second group on device 2 */
    b.group[1].dev     = 2;
    bed_open(&b, 2, 4);
    toy_begin(&b, &a, 1, count, 4, 4);
    toy_add(&b, &a, count, 7);
    assert_int_equal(toy_reserve(&a, 12, &err), SR_OK);
    assert_int_equal(toy_commit(&b, &a, count + 7, from, 5, &err), SR_OK);
    sr_kv_trim(a.s);
    a.reserved = 0;
    toy_verify(&b, &a);
    bed_check(&b);
    uint64_t before = bed_copies(&b);
    assert_int_equal(toy_reserve(&a, 3, &err), SR_OK);
    assert_int_equal(toy_commit(&b, &a, count + 12, (uint32_t[]){0, 1, 2}, 3, &err), SR_OK);
    assert_int_equal(bed_copies(&b), before); /* what lies in place stays there */
    toy_verify(&b, &a);
    assert_int_equal(toy_reserve(&a, 3, &err), SR_OK);
    assert_int_equal(sr_kv_commit(a.s, count, (uint32_t[]){1, 1}, 2, &err), SR_INVALID);
    err = (sr_err){0};
    assert_int_equal(sr_kv_commit(a.s, count, (uint32_t[]){1, 3}, 2, &err), SR_INVALID);
    err = (sr_err){0};
    toy f;
    assert_int_equal(toy_fork(&a, &f, &err), SR_INVALID); /* something is reserved */
    toy_verify(&b, &a);
    toy_end(&a);
    bed_close(&b);
}

/* Number d of a position's key (or value) of a layer and head, where keys are turned. */
static uint8_t *turned_number(const bed *b, const toy *a, size_t pos, uint32_t layer, uint32_t head, bool value, uint32_t d)
{
    sr_kvbind      k;
    size_t         first, n;
    const sr_page *table = sr_kv_table(a->s, 0, &first, &n);
    sr_kv_layout(b->kv, 0, 0, &k);
    assert_int_equal(k.turned, 1);
    uint8_t *at = host(k.base) + table[pos / 16] * k.stride.page + layer * k.stride.layer + head * k.stride.head;
    return value ? at + k.stride.kv + pos % 16 * k.stride.tok + d * 2 : at + (d * 16 + pos % 16) * 2;
}

static void keys_that_lie_turned_are_moved_by_columns(void **state)
{
    (void)state;
    bed      b      = {.group = {bed_group(8, 0)}, .turned = true};
    sr_err   err    = {0};
    uint32_t from[] = {0, 2, 3, 7, 11};
    toy      a;
    b.group[0].shape.dim_k = b.group[0].shape.dim_v = 8;
    bed_open(&b, 1, 16);
    assert_int_equal(sr_kv_begin(b.kv, 1, count, 4, 0, &a.s, &(size_t){0}, &err), SR_OK);
    assert_int_equal(sr_kv_reserve(a.s, 10, &err), SR_OK);
    assert_int_equal(sr_kv_commit(a.s, count, NULL, 10, &err), SR_OK);
    assert_int_equal(sr_kv_reserve(a.s, 12, &err), SR_OK); /* positions 10 .. 21, over a page's end */
    for (uint32_t i = 0; i < 22 * 64; i++) {
        uint16_t x = (uint16_t)i;
        memcpy(turned_number(&b, &a, i / 64, i / 32 % 2, i / 16 % 2, i / 8 % 2, i % 8), &x, 2);
    }
    assert_int_equal(sr_kv_commit(a.s, count + 10, from, 5, &err), SR_OK);
    for (uint32_t i = 0; i < 15 * 64; i++) {
        uint32_t pos = i / 64, was = pos < 10 ? pos : 10 + from[pos - 10];
        uint16_t x;
        memcpy(&x, turned_number(&b, &a, pos, i / 32 % 2, i / 16 % 2, i / 8 % 2, i % 8), 2);
        assert_int_equal(x, was * 64 + i % 64);
    }
    sr_kv_end(a.s);
    bed_close(&b);
    assert_int_equal(bed_try_open(&b, 1, 8, &err), SR_INVALID);
    assert_non_null(strstr(err.msg, "multiple of 16"));
}

static void a_full_copy_queue_is_waited_for(void **state)
{
    (void)state;
    bed    b   = {.group = {bed_group(8, 0)}};
    sr_err err = {0};
    toy    a, c;
    bed_open(&b, 1, 4);
    toy_begin(&b, &a, 1, count, 4, 4);
    toy_add(&b, &a, count, 2);
    assert_int_equal(toy_fork(&a, &c, &err), SR_OK);
    b.dev[0].full = true;
    toy_add(&b, &c, count + 2, 1);
    assert_int_equal(b.dev[0].waits, 1);
    toy_end(&a);
    toy_end(&c);
    bed_close(&b);
}

/* ---- windows ------------------------------------------------------------------------------------------- */

static void a_windowed_group_gives_back_what_no_token_sees_any_more(void **state)
{
    (void)state;
    bed    b = {.group = {bed_group(16, 0), bed_group(8, 6)}};
    toy    a;
    size_t first, n;
    bed_open(&b, 2, 4);
    toy_begin(&b, &a, 1, count, 4, 4);
    /* The next token, at position n, sees n-5 .. n: page k is behind the window when 4(k+1) <= n-5. */
    size_t want[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3};
    for (size_t i = 0; i < SR_COUNT(want); i++) {
        sr_kv_table(a.s, 1, &first, &n);
        assert_int_equal(first, want[i]);
        toy_add(&b, &a, count + i, 1);
    }
    assert_int_equal(bed_stats(&b, 0).in_use, 5);
    assert_int_equal(bed_stats(&b, 1).in_use, 2);
    toy_end(&a);
    bed_close(&b);
}

static void a_prefix_is_found_when_the_window_before_its_end_is_there(void **state)
{
    (void)state;
    bed b = {.group = {bed_group(32, 0), bed_group(5, 6)}}; /* the second group forgets early */
    toy a, c;
    bed_open(&b, 2, 4);
    toy_begin(&b, &a, 1, count, 40, 40);
    for (int i = 0; i < 40; i += 4)
        toy_add(&b, &a, count + i, 4); /* of group 1, pages 5 .. 9 are left */
    toy_end(&a);
    assert_int_equal(bed_stats(&b, 1).cached, 5);
    assert_int_equal(toy_begin(&b, &c, 1, count, 40, 40), 40);
    size_t first, n;
    sr_kv_table(c.s, 1, &first, &n);
    assert_int_equal(first, 8); /* 41 - 6 = 35: pages 8 and 9 */
    assert_int_equal(n, 10);
    toy_end(&c);
    assert_int_equal(toy_begin(&b, &c, 1, count, 31, 31), 28); /* 29 - 6 = 23: pages 5 and 6 */
    toy_end(&c);
    assert_int_equal(toy_begin(&b, &c, 1, count, 27, 27), 0); /* page 4 is gone, so is all before it */
    toy_end(&c);
    bed_close(&b);
}

static void without_a_full_group_nothing_is_reused(void **state)
{
    (void)state;
    bed b = {.group = {bed_group(8, 6)}};
    toy a;
    bed_open(&b, 1, 4);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(toy_begin(&b, &a, 1, count, 20, 20), 0);
        for (int k = 0; k < 20; k++)
            toy_add(&b, &a, count + k, 1);
        assert_int_equal(bed_stats(&b, 0).in_use, 2);
        toy_end(&a);
        assert_int_equal(bed_stats(&b, 0).free, 8);
    }
    bed_close(&b);
}

/* ---- refusals ------------------------------------------------------------------------------------------ */

static void a_wrong_configuration_is_refused_with_its_numbers(void **state)
{
    (void)state;
    struct { sr_kvgroup g; uint32_t n, page_tokens; sr_status status; const char *says; } wrong[] = {
        {bed_group(8, 0), 1, 0, SR_INVALID, "0 tokens a page"},
        {bed_group(8, 0), 1, 5000, SR_INVALID, "5000 tokens a page"},
        {bed_group(8, 0), 0, 4, SR_INVALID, "0 groups"},
        {bed_group(8, 0), 5, 4, SR_INVALID, "5 groups"},
        {bed_group(0, 0), 1, 4, SR_INVALID, "0 pages"},
        {bed_group(1u << 30, 0), 1, 4, SR_INVALID, "pages"},
        {{.shape = bed_group(8, 0).shape, .pages = {8, 1, 0}}, 1, 4, SR_UNSUPPORTED, "1 pages on the host"},
        {{.shape = bed_group(8, 0).shape, .pages = {8, 0, 3}}, 1, 4, SR_UNSUPPORTED, "3 on disk"},
        {{.shape = bed_group(8, 0).shape, .pages = {8}, .dev = 2, .n_ranks = 2}, 1, 4, SR_INVALID, "devices 2 to 3 of 3"},
        {{.shape = bed_group(8, 0).shape, .pages = {8}, .dev = ~0u}, 1, 4, SR_INVALID, "of 3"},
        {{.shape = bed_group(8, 0).shape, .pages = {8}, .n_ranks = 99}, 1, 4, SR_UNSUPPORTED, "99 ranks"},
        {{.shape = {.n_layers = 1, .kv_heads = 1, .dim_k = 48, .dim_v = 64, .format_k = SR_Q8_0}, .pages = {8}}, 1, 4,
         SR_INVALID, "K 48 of type 8"},
        {{.shape = {.n_layers = 0, .kv_heads = 1, .dim_k = 4, .dim_v = 4}, .pages = {8}}, 1, 4, SR_INVALID, "0 layers"},
        {{.shape = {.n_layers = ~0u, .kv_heads = ~0u, .dim_k = 64, .dim_v = 64}, .pages = {8}}, 1, 4, SR_INVALID, "layers"},
    };
    for (size_t i = 0; i < SR_COUNT(wrong); i++) {
        sr_err err = {0};
        bed    b   = {.group = {wrong[i].g, wrong[i].g, wrong[i].g, wrong[i].g}};
        assert_int_equal(bed_try_open(&b, wrong[i].n, wrong[i].page_tokens, &err), wrong[i].status);
        if (!strstr(err.msg, wrong[i].says))
            fail_msg("\"%s\" does not say \"%s\"", err.msg, wrong[i].says);
        assert_null(b.kv);
    }
    sr_kv_close(NULL);
    sr_kv_end(NULL);
}

static void other_tiers_are_unsupported_and_say_so(void **state)
{
    (void)state;
    bed    b   = {.group = {bed_group(8, 0)}};
    sr_err err = {0};
    toy    a;
    bed_open(&b, 1, 4);
    toy_begin(&b, &a, 1, count, 8, 8);
    toy_add(&b, &a, count, 8);
    assert_int_equal(sr_kv_move(a.s, 0, 2, SR_TIER_HOST, &err), SR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "host"));
    err = (sr_err){0};
    assert_int_equal(sr_kv_move(a.s, 1, 2, SR_TIER_DEVICE, &err), SR_INVALID);
    err = (sr_err){0};
    assert_int_equal(sr_kv_move(a.s, 0, 2, SR_TIER_DEVICE, &err), SR_OK);
    sr_kv_tick(b.kv, 1 << 20);
    toy_end(&a);
    bed_close(&b);
}

static void the_layout_is_the_contracts(void **state)
{
    (void)state;
    bed       b = {.group = {bed_group(8, 0)}};
    sr_kvbind k;
    b.group[0].shape = (sr_kvshape){.n_layers = 3, .kv_heads = 2, .dim_k = 64, .dim_v = 64, .format_k = SR_Q8_0,
                                    .format_v = SR_Q8_0};
    bed_open(&b, 1, 16);
    sr_kv_layout(b.kv, 0, 0, &k);
    assert_int_equal(k.stride.tok, 68);
    assert_int_equal(k.stride.head, 68 * 16);
    assert_int_equal(k.stride.kv, 68 * 16 * 2);
    assert_int_equal(k.stride.layer, 68 * 16 * 2 * 2);
    assert_int_equal(k.stride.page, 68 * 16 * 2 * 2 * 3);
    assert_int_equal(k.stride.page, sr_kv_page_bytes(&b.group[0].shape, 16));
    assert_true(k.page_tokens == 16 && k.kv_heads == 2 && k.dim_k == 64 && k.format_v == SR_Q8_0);
    bed_close(&b);
}

#ifdef SR_DEBUG
static bool is_poison(const bed *b, uint32_t page)
{
    sr_kvbind k;
    sr_kv_layout(b->kv, 0, 0, &k);
    const uint8_t *p = host(k.base) + page * k.stride.page;
    for (size_t i = 0; i < k.stride.page; i++)
        if (p[i] != 0x7e)
            return false;
    return true;
}

static void pages_nobody_has_written_hold_nans(void **state)
{
    (void)state;
    bed b = {.group = {bed_group(4, 0)}};
    toy a;
    bed_open(&b, 1, 4);
    for (uint32_t x = 0; x < 4; x++)
        assert_true(is_poison(&b, x));
    toy_begin(&b, &a, 1, count, 6, 6);
    toy_add(&b, &a, count, 6);
    uint32_t full = page_of(&a, 0, 0), part = page_of(&a, 0, 1);
    toy_end(&a);
    assert_false(is_poison(&b, full)); /* cached */
    assert_true(is_poison(&b, part));
    bed_close(&b);
}
#endif

/* One word of the store set to another value: the check must say so, and be content when it is back. */
static void damage(const bed *b, uint32_t *at, uint32_t value, const char *says)
{
    sr_err   err = {0};
    uint32_t was = *at;
    *at          = value;
    if (sr_kv_check(b->kv, &err) || !strstr(err.msg, says))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, says);
    *at = was;
    bed_check(b);
}

static void every_planted_damage_is_found(void **state)
{
    (void)state;
    bed b = {.group = {bed_group(12, 0), bed_group(12, 8)}}; /* the second has a window of two pages */
    toy a, c;
    bed_open(&b, 2, 4);
    toy_begin(&b, &a, 1, count, 18, 18); /* four full pages and one of two tokens */
    toy_add(&b, &a, count, 18);
    toy_begin(&b, &c, 2, count, 5, 5);
    toy_add(&b, &c, count, 5);
    toy_end(&c); /* a page on the LRU list */
    bed_check(&b);
    sr_kv     *kv = b.kv;
    sr_kvseq  *s  = a.s;
    sr_kvpool *p = &kv->pool[0], *w = &kv->pool[1];
    uint32_t   full = s->table[0][1], part = s->table[0][4], lone = p->page[p->n_pages].next, lru = p->page[p->n_pages + 1].next;
    uint32_t   behind = s->table[1][3];
    damage(&b, &s->cap, 2, "with pages");
    damage(&b, &s->first[1], 0, "with pages");
    damage(&b, &s->pages, 4, "with pages");
    damage(&b, &s->table[1][0], behind, "behind the window");
    damage(&b, &s->table[0][4], 99, "names page 99");
    damage(&b, &p->page[part].node, 3, "belongs to node 3");
    damage(&b, &p->page[full].refs, 9, "has 9 references");
    damage(&b, &p->page[lone].next, 999, "linked wrongly");
    damage(&b, &p->page[lone].prev, lone, "linked wrongly");
    damage(&b, &p->page[lone].refs, 1, "on the free list");
    damage(&b, &p->page[lone].node, full, "on the free list");
    damage(&b, &p->page[lru].node, SR_KV_NONE, "on the LRU list");
    damage(&b, &p->n_free, p->n_free + 1, "counted");
    damage(&b, &p->n_cached, 0, "counted");
    damage(&b, &w->page[behind].node, 0, "belongs to node");
    damage(&b, (uint32_t *)&kv->tok[full * 4], 77, "not where its tokens say");
    damage(&b, &kv->node[full].parent, SR_KV_NONE, "not where its tokens say");
    damage(&b, (uint32_t *)&kv->node[full].hash[1], 5, "not where its tokens say");
    damage(&b, &kv->node[full].children, 7, "children");
    damage(&b, &kv->node[full].page[1], behind, "not its node's");
    damage(&b, &kv->node[full].page[1], SR_KV_NONE, "not its node's");
    damage(&b, &p->page[p->n_pages].prev, lone, "not the last");
    damage(&b, &kv->node[full].page[0], part, "not its node's");
    damage(&b, &kv->bucket[kv->node[full].hash[0] & kv->bucket_mask], SR_KV_NONE, "");
    toy_end(&a);
    bed_close(&b);
}

static void the_cost_of_a_token_is_measured(void **state)
{
    (void)state;
    enum { N = 4096, ROUNDS = 20 };
    bed      b   = {.group = {bed_group(2 * N / 16, 0)}};
    sr_err   err = {0};
    uint64_t begin = 0, chunk = 0, single = 0;
    bed_open(&b, 1, 16);
    for (int i = 0; i < ROUNDS; i++) {
        sr_kvseq *s;
        size_t    cached;
        uint64_t  t = sr_now_ns();
        assert_int_equal(sr_kv_begin(b.kv, (uint64_t)i, count, N, N, &s, &cached, &err), SR_OK);
        assert_int_equal(sr_kv_reserve(s, N, &err), SR_OK);
        assert_int_equal(sr_kv_commit(s, count, NULL, N, &err), SR_OK);
        chunk += sr_now_ns() - t;
        sr_kv_end(s);
        t = sr_now_ns();
        assert_int_equal(sr_kv_begin(b.kv, (uint64_t)i, count, N, N, &s, &cached, &err), SR_OK);
        begin += sr_now_ns() - t;
        assert_int_equal(cached, N);
        t = sr_now_ns();
        for (int k = 0; k < 1600; k++) {
            assert_int_equal(sr_kv_reserve(s, 1, &err), SR_OK);
            assert_int_equal(sr_kv_commit(s, count + k, NULL, 1, &err), SR_OK);
        }
        single += sr_now_ns() - t;
        sr_kv_end(s);
    }
    print_message("             %d tokens in one step %.1f us; found in the cache %.1f us; one more token %.0f ns\n", N,
                  (double)chunk / ROUNDS / 1e3, (double)begin / ROUNDS / 1e3, (double)single / ROUNDS / 1600);
    bed_close(&b);
}

int main(void)
{
    for (int32_t i = 0; i < BED_TOKENS; i++)
        count[i] = i;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_sequence_finds_the_full_pages_of_the_first),
        cmocka_unit_test(reuse_is_limited_by_the_caller_and_divided_by_the_salt),
        cmocka_unit_test(fork_shares_full_pages_and_copies_the_last),
        cmocka_unit_test(equal_prompts_computed_at_once_end_up_sharing),
        cmocka_unit_test(colliding_hashes_are_told_apart_by_their_tokens),
        cmocka_unit_test(exhaustion_is_again_and_changes_nothing),
        cmocka_unit_test(the_longest_unused_prefix_is_given_up_first_tail_before_head),
        cmocka_unit_test(trim_gives_back_what_was_reserved_and_not_committed),
        cmocka_unit_test(what_nobody_needs_is_not_touched_in_the_steady_state),
        cmocka_unit_test(accepted_tokens_of_a_tree_are_moved_together),
        cmocka_unit_test(keys_that_lie_turned_are_moved_by_columns),
        cmocka_unit_test(a_full_copy_queue_is_waited_for),
        cmocka_unit_test(a_windowed_group_gives_back_what_no_token_sees_any_more),
        cmocka_unit_test(a_prefix_is_found_when_the_window_before_its_end_is_there),
        cmocka_unit_test(without_a_full_group_nothing_is_reused),
        cmocka_unit_test(a_wrong_configuration_is_refused_with_its_numbers),
        cmocka_unit_test(every_planted_damage_is_found),
        cmocka_unit_test(other_tiers_are_unsupported_and_say_so),
        cmocka_unit_test(the_layout_is_the_contracts),
#ifdef SR_DEBUG
        cmocka_unit_test(pages_nobody_has_written_hold_nans),
#endif
        cmocka_unit_test(the_cost_of_a_token_is_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
