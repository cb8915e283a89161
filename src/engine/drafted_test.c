/* drafted_test: a tree of drafted tokens in one step gives what its paths give as texts, bit for bit on the CPU; what is no tree is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "backend/fake/fake.h"
#include "engine/tree_kit.h"

static const char *const models[] = {"models/strata-demo-draft-Q8_0.gguf", "synth:tiny-qwen3:q4_0"};

static sr_model *load(const char *path, const sr_backend *be, bool trees, uint16_t kv, uint32_t page)
{
    sr_err     err = {0};
    sr_model  *m   = NULL;
    sr_loadcfg c   = {.path = path, .be = be, .ctx = 512, .max_seqs = 4, .max_step_tokens = 128, .out_rows = 128, .page_tokens = page,
                      .kv_format_k = kv, .kv_format_v = kv, .trees = trees, .dev = {.threads = 2}};
    if (sr_model_load(&c, &m, &err))
        fail_msg("%s", err.msg);
    return m;
}

typedef struct {
    sr_model *m;
    uint32_t  vocab;
    int32_t   prompt[300];
    float    *tree, *text, *beside; /* [128][vocab] */
    sr_err    err;
} scene;

static scene *set(const char *path, const sr_backend *be, uint16_t kv, uint32_t page)
{
    scene *s = sr_calloc(1, sizeof *s);
    s->m     = load(path, be, true, kv, page);
    s->vocab = s->m->info.n_vocab;
    for (uint32_t i = 0; i < SR_COUNT(s->prompt); i++)
        s->prompt[i] = (int32_t)((7 + i * 131) % s->vocab);
    s->tree   = sr_calloc((size_t)128 * s->vocab, sizeof(float));
    s->text   = sr_calloc((size_t)128 * s->vocab, sizeof(float));
    s->beside = sr_calloc((size_t)128 * s->vocab, sizeof(float));
    return s;
}

static void strike(scene *s)
{
    sr_model_close(s->m);
    sr_free(s->tree);
    sr_free(s->text);
    sr_free(s->beside);
    sr_free(s);
}

static void ok(const scene *s, sr_status st)
{
    if (st)
        fail_msg("%s", s->err.msg);
}

/* Logits behind the last of n tokens that follow a text. */
static const float *as_a_text(scene *s, const tree_text *base, const int32_t *more, uint32_t n)
{
    tree_text t = {.n = base->n};
    tree_rows r = {.tok = more, .n = n, .logits = s->text};
    ok(s, sr_kv_fork(base->seq, &t.seq, &s->err));
    ok(s, tree_step(s->m, &t, &r, 1, &s->err));
    tree_close(&t);
    return s->text + (size_t)(n - 1) * s->vocab;
}

static void same(const scene *s, const float *a, const float *b, const char *what, uint32_t i)
{
    for (uint32_t v = 0; v < s->vocab; v++)
        if (memcmp(a + v, b + v, sizeof *a))
            fail_msg("%s %u: logit %u is %.9g, %.9g in a tree", what, i, v, (double)b[v], (double)a[v]);
}

/* A step of a tree, of another tree, and of a text; then the path to a leaf is accepted and the text goes on. */
static void trees_in_a_step(scene *s, uint32_t n_prompt, uint32_t n, uint64_t seed)
{
    int32_t   tok[2][SR_TREE_MOST], along[SR_TREE_MOST + 2];
    int16_t   parent[2][SR_TREE_MOST];
    uint32_t  path[SR_TREE_MOST], depth = 0;
    tree_text t[3], base[3];
    tree_draw(n, s->vocab, &seed, tok[0], parent[0]);
    tree_draw(9, s->vocab, &seed, tok[1], parent[1]);
    for (uint32_t i = 0; i < 3; i++) {
        ok(s, tree_open(s->m, i, s->prompt, n_prompt - i, 50, &t[i], s->text, &s->err));
        base[i].n = t[i].n;
        ok(s, sr_kv_fork(t[i].seq, &base[i].seq, &s->err));
    }
    tree_rows r[3] = {{.tok = tok[0], .parent = parent[0], .n = n, .logits = s->tree},
                      {.tok = tok[1], .parent = parent[1], .n = 9, .logits = s->tree + (size_t)n * s->vocab},
                      {.tok = s->prompt + n_prompt, .n = 3, .logits = s->beside}};
    ok(s, tree_step(s->m, t, r, 3, &s->err));
    for (uint32_t i = 0; i < n; i += 1 + i % 4) {
        depth = tree_path(parent[0], i, path);
        for (uint32_t k = 0; k < depth; k++)
            along[k] = tok[0][path[k]];
        same(s, s->tree + (size_t)i * s->vocab, as_a_text(s, &base[0], along, depth), "drafted token", i);
    }
    depth = tree_path(parent[1], 8, path);
    for (uint32_t k = 0; k < depth; k++)
        along[k] = tok[1][path[k]];
    same(s, s->tree + (size_t)(n + 8) * s->vocab, as_a_text(s, &base[1], along, depth), "drafted token of the other tree", 8);
    same(s, s->beside + (size_t)2 * s->vocab, as_a_text(s, &base[2], r[2].tok, 3), "token beside", 2);

    depth = tree_path(parent[0], n - 1, path); /* accepted */
    ok(s, tree_accept(&t[0], tok[0], path, depth, &s->err));
    for (uint32_t k = 0; k < depth; k++)
        along[k] = tok[0][path[k]];
    along[depth]   = 5;
    tree_rows next = {.tok = along + depth, .n = 1, .logits = s->tree};
    ok(s, tree_step(s->m, t, &next, 1, &s->err));
    same(s, s->tree, as_a_text(s, &base[0], along, depth + 1), "the token behind a path of", depth);
    for (uint32_t i = 0; i < 3; i++) {
        tree_close(&t[i]);
        tree_close(&base[i]);
    }
    assert_true(sr_kv_check(s->m->kv, &s->err));
}

static void a_tree_s_paths_have_the_logits_of_texts(void **state)
{
    (void)state;
    static const uint32_t prompt[] = {4, 16, 37, 230, 255}, drafts[] = {2, 13, 64, 40, 64};
    for (size_t w = 0; w < SR_COUNT(models); w++)
        for (int q8 = 0; q8 < 2; q8++) {
            scene *s = set(models[w], &sr_backend_cpu, q8 ? SR_Q8_0 : SR_F16, w ? 8 : 16); /* pages of 8: keys in rows, and the reference's kernels */
            for (size_t i = (w + (size_t)q8) % 2; i < SR_COUNT(prompt); i += 2)
                trees_in_a_step(s, prompt[i], drafts[i], 3 + i);
            strike(s);
        }
}

static void on_a_device_the_words_are_the_device_s(void **state)
{
    (void)state;
    scene *s = set(models[0], &sr_backend_fake, SR_F16, 16);
    trees_in_a_step(s, 21, 30, 77);
    strike(s);
}

static void what_is_no_tree_is_refused(void **state)
{
    (void)state;
    static const int16_t ahead[] = {-1, 0, 2}, below[] = {-1, -2}, fine[] = {-1, 0, 0};
    scene    *s = set(models[0], &sr_backend_cpu, SR_F16, 16);
    tree_text t;
    ok(s, tree_open(s->m, 0, s->prompt, 20, 20, &t, s->text, &s->err));
    tree_rows r = {.tok = s->prompt, .parent = ahead, .n = 3, .logits = s->tree};
    assert_int_equal(tree_step(s->m, &t, &r, 1, &s->err), SR_INVALID);
    assert_non_null(strstr(s->err.msg, "drafted token 2 of 3 has parent 2; -1 to 1 expected"));
    s->err = (sr_err){0};
    r      = (tree_rows){.tok = s->prompt, .parent = below, .n = 2, .logits = s->tree};
    assert_int_equal(tree_step(s->m, &t, &r, 1, &s->err), SR_INVALID);
    s->err = (sr_err){0};
    int16_t many[70];
    for (int i = 0; i < 70; i++)
        many[i] = (int16_t)(i - 1);
    r = (tree_rows){.tok = s->prompt, .parent = many, .n = 70, .logits = s->tree};
    assert_int_equal(tree_step(s->m, &t, &r, 1, &s->err), SR_INVALID);
    assert_non_null(strstr(s->err.msg, "70 drafted tokens"));
    s->err = (sr_err){0};
    r      = (tree_rows){.tok = s->prompt, .parent = fine, .n = 3, .logits = s->tree}; /* the block is as it was */
    ok(s, tree_step(s->m, &t, &r, 1, &s->err));
    tree_close(&t);
    strike(s);

    sr_err    err = {0};
    sr_model *m   = load(models[0], &sr_backend_cpu, false, 0, 0);
    float    *out = sr_calloc((size_t)3 * m->info.n_vocab, sizeof *out);
    assert_int_equal(tree_open(m, 0, (const int32_t[]){1, 2, 3}, 3, 3, &t, out, &err), SR_OK);
    r = (tree_rows){.tok = (const int32_t[]){1, 2, 3}, .parent = fine, .n = 3, .logits = out};
    assert_int_equal(tree_step(m, &t, &r, 1, &err), SR_UNSUPPORTED);
    tree_close(&t);
    sr_model_close(m);
    sr_free(out);
}

/* Words that do not come from sr_block_draft(): the CPU says so, with the step's status. */
static void a_word_that_is_none_ends_the_step(void **state)
{
    (void)state;
    scene    *s = set(models[0], &sr_backend_cpu, SR_F16, 16);
    sr_block *b = &s->m->block;
    tree_text t;
    ok(s, tree_open(s->m, 0, s->prompt, 20, 20, &t, s->text, &s->err));
    assert_int_equal(sr_kv_reserve(t.seq, 3, &s->err), SR_OK);
    sr_block_begin(b);
    sr_block_add(s->m, t.seq, s->prompt, 20, 3);
    b->tree[1] = 1;
    b->tree[2] = 2; /* it follows the first, and does not say so: its position is that of a row behind it */
    assert_int_equal(sr_model_compute(s->m, &s->err), SR_INVALID);
    assert_non_null(strstr(s->err.msg, "row 2, drafted row 1 of sequence 0, is at position 22"));
    tree_close(&t);
    strike(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_s_paths_have_the_logits_of_texts),
        cmocka_unit_test(on_a_device_the_words_are_the_device_s),
        cmocka_unit_test(what_is_no_tree_is_refused),
        cmocka_unit_test(a_word_that_is_none_ends_the_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
