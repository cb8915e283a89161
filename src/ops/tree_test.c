/* tree_test: words, positions and places of drafted rows: what they say, and what is no tree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "ops/testkit.h"
#include "ops/tree.h"

static void places_and_windows_follow_from_the_word(void **state)
{
    (void)state;
    uint64_t s = 3;
    for (int round = 0; round < 2000; round++) {
        uint64_t word  = kit_random(&s) & kit_random(&s);
        uint32_t first = kit_below(&s, 500), window = kit_below(&s, 40), own, path[64], n = 0;
        word |= 1ull << (own = kit_below(&s, SR_TREE_MOST));
        word &= own == 63 ? ~0ull : (2ull << own) - 1;
        for (uint32_t b = 0; b < 64; b++)
            if (word >> b & 1)
                path[n++] = b;
        assert_int_equal(sr_tree_bits(word), n);
        assert_int_equal(sr_tree_own(word), own);
        assert_int_equal(path[n - 1], own);
        for (uint32_t i = 0; i < first + n; i++)
            assert_int_equal(sr_tree_place(word, first, i), i < first ? i : first + path[i - first]);
        for (uint32_t b = 0, seen = 0; b < 70; b++) { /* the k-th of a path of n is n - k positions in front of the row's own, and one */
            bool on = b < 64 && word >> b & 1;
            assert_int_equal(sr_tree_sees(word, b, 0), on);
            assert_int_equal(sr_tree_sees(word, b, window), on && (!window || n - seen <= window));
            seen += on;
        }
        assert_int_equal(sr_tree_place(0, first, 7), 7);
    }
}

/* Two sequences of pages of 4: a text of two rows; a text of one row and, from place 6 on, the tree of tree.h. */
typedef struct {
    sr_program prog;
    sr_batch   b;
    sr_shape   n, max;
    uint64_t   tree[80];
    int32_t    pos[80];
    uint32_t   dst[2][80], seq[3], table[2][3][24], len[2][3][2];
} step;

static void fill(step *s, uint32_t drafted)
{
    *s = (step){.prog = {.n_kv = 2}, .n = {.tok = 3 + drafted, .seq = 2, .pages = 24}, .max = {.tok = 80, .seq = 3, .pages = 24}};
    s->b = (sr_batch){.tree = s->tree, .pos = s->pos, .dst = s->dst[0], .seq = s->seq, .table = s->table[0][0], .kv_len = s->len[0][0]};
    static const uint64_t words[] = {1, 3, 7, 9, 25};
    uint32_t end[2] = {9, 6 + drafted};
    s->seq[1] = 2;
    s->seq[2] = 3 + drafted;
    for (uint32_t g = 0; g < 2; g++) {
        s->b.kv[g].page_tokens = 4;
        for (uint32_t q = 0; q < 2; q++) {
            s->len[g][q][1] = end[q];
            for (uint32_t p = 0; p < 24; p++)
                s->table[g][q][p] = (100 * (g + 1) + 50 * q + p) | 1u << 30;
            for (uint32_t t = s->seq[q]; t < s->seq[q + 1]; t++) {
                uint32_t at = end[q] - (s->seq[q + 1] - t);
                s->dst[g][t] = (s->table[g][q][at / 4] & 0x3fffffff) * 4 + at % 4;
                s->pos[t]    = (int32_t)at;
            }
        }
    }
    for (uint32_t i = 0; i < drafted; i++) {
        s->tree[3 + i] = drafted == 5 ? words[i] : i < 63 ? (2ull << i) - 1 : ~0ull;
        s->pos[3 + i]  = (int32_t)(5 + sr_tree_bits(s->tree[3 + i]));
    }
}

static sr_status check(const step *s, sr_err *err)
{
    *err = (sr_err){0};
    return sr_tree_check(&s->prog, &s->b, &s->n, &s->max, err);
}

static void refused(const step *s, const char *why)
{
    sr_err err;
    assert_int_equal(check(s, &err), SR_INVALID);
    if (!strstr(err.msg, why))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
}

static void trees_texts_and_both_are_taken(void **state)
{
    (void)state;
    sr_err err;
    step   s;
    for (uint32_t n = 0; n <= SR_TREE_MOST; n++) {
        fill(&s, n);
        assert_int_equal(check(&s, &err), SR_OK);
    }
}

static void what_is_no_tree_is_named(void **state)
{
    (void)state;
    step s;
    fill(&s, 5);
    s.tree[5] = 3; /* drafted row 2: its parent's */
    refused(&s, "row 5, drafted row 2 of sequence 1, has word 0x3 without its own bit");
    s.tree[5] = 0;
    refused(&s, "row 5, drafted row 2 of sequence 1, has word 0 without its own bit");
    fill(&s, 5);
    s.tree[4] |= 1ull << 40;
    refused(&s, "row 4, drafted row 1 of sequence 1, has word 0x10000000003 with bits behind its own");
    fill(&s, 5);
    s.tree[2] = 2; /* the row in front: then it is the first drafted one */
    refused(&s, "row 2, drafted row 0 of sequence 1, has word 0x2 without its own bit");
    fill(&s, 5);
    s.tree[7] = 1 | 2 | 8 | 16; /* cat and dog on one path */
    refused(&s, "row 7, drafted row 4 of sequence 1, has ancestors 0xb; those of its parent, row 6, are 0x9");
    fill(&s, 5);
    s.pos[7] = 7; /* an ancestor, dog, is at 7 */
    refused(&s, "row 7, drafted row 4 of sequence 1, is at position 7; 6 in front of the tree and 2 ancestors make it 8");
    s.pos[7] = -1;
    refused(&s, "is at position -1");
    fill(&s, 5);
    s.dst[1][6]++;
    refused(&s, "row 6 of sequence 1 is written to 1010 of group 1; its place, 9, is 1009");
    fill(&s, 5);
    s.len[1][1][1]++;
    refused(&s, "sequence 1 ends at place 12 in group 1, at 11 in group 0");
    fill(&s, 65);
    refused(&s, "sequence 1 has more than 64 drafted rows");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_and_windows_follow_from_the_word),
        cmocka_unit_test(trees_texts_and_both_are_taken),
        cmocka_unit_test(what_is_no_tree_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
