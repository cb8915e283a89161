/* constrain_test: the engine on the small bundled model, with requests that must keep to a grammar, at temperature 1,
 * many at once, beside some that need not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "engine/internal.h"
#include "text/grammar.h"
#include "text/tokenizer.h"

#define MODEL "models/strata-demo-draft-Q8_0.gguf"
enum { MAX_REQ = 24, MAX_CHOICE = 3, MAX_NEW = 120 };

typedef struct { sr_buf text; int32_t tok[MAX_NEW]; uint32_t n, done; sr_endreason reason; sr_status error; char msg[200]; } answer;
typedef struct {
    sr_model     *m;
    sr_port      *port;
    sr_engine    *e;
    sr_tokenizer *tok;
    answer        a[MAX_REQ][MAX_CHOICE];
} world;

static world *open_world(uint32_t pages)
{
    sr_err           err = {0};
    const sr_loadcfg c   = {.path = MODEL, .ctx = 256, .max_seqs = 8, .max_step_tokens = 128, .kv_pages = pages, .dev = {.threads = 2}};
    world           *w   = sr_calloc(1, sizeof *w);
    if (sr_model_load(&c, &w->m, &err) || sr_port_open(NULL, &w->port, &err) || sr_engine_open(w->m, NULL, NULL, w->port, &w->e, &err) ||
        sr_tokenizer_open(w->m->gguf, &w->tok, &err))
        fail_msg("%s", err.msg);
    return w;
}

static void close_world(world *w)
{
    for (int i = 0; i < MAX_REQ * MAX_CHOICE; i++)
        sr_buf_end(&w->a[i / MAX_CHOICE][i % MAX_CHOICE].text);
    sr_engine_close(w->e);
    sr_port_close(w->port);
    sr_model_close(w->m);
    sr_tokenizer_close(w->tok);
    sr_free(w);
}

static void note(world *w, const sr_event *ev)
{
    uint32_t lo = ev->choice == ~0u ? 0 : ev->choice, hi = ev->choice == ~0u ? MAX_CHOICE : ev->choice + 1;
    for (uint32_t c = lo; c < hi; c++) {
        answer     *a = &w->a[ev->id - 1][c];
        size_t      n;
        const char *p;
        if (ev->kind == SR_EV_TOKEN) {
            p               = sr_tokenizer_piece(w->tok, ev->token, true, &n);
            a->tok[a->n++] = ev->token;
            sr_buf_add(&a->text, p, n);
        } else if (ev->kind == SR_EV_DONE) {
            a->done++;
            a->reason = ev->reason;
        } else if (ev->kind == SR_EV_ERROR) {
            a->done++;
            a->error = ev->status;
            snprintf(a->msg, sizeof a->msg, "%.199s", ev->msg);
        }
    }
}

static void run(world *w)
{
    sr_step  st;
    sr_err   err = {0};
    sr_event ev[16];
    for (uint32_t i = 0; i < 20000; i++) {
        sr_status s = sr_engine_step(w->e, &st, &err);
        if (s && s != SR_AGAIN)
            fail_msg("%s", err.msg);
        for (size_t n; (n = sr_port_poll(w->port, ev, 16));)
            for (size_t k = 0; k < n; k++)
                note(w, &ev[k]);
        if (!sr_engine_check(w->e, &err))
            fail_msg("%s", err.msg);
        if (s == SR_AGAIN && w->e->jobs == 0)
            return;
        if (s == SR_AGAIN)
            usleep(100); /* the vocabulary is being made ready */
    }
    fail_msg("the requests do not end");
}

static void post(world *w, uint64_t id, const sr_grammar *g, uint64_t seed, uint32_t n, uint32_t max_new)
{
    static const int32_t prompt[] = {0, 17, 400, 23, 7, 91};
    sr_err               err = {0};
    size_t               bytes = 0, n_end;
    const int32_t       *end = sr_tokenizer_ends(w->tok, &n_end);
    const void          *block = g ? sr_grammar_bytes(g, &bytes) : NULL;
    sr_request           r = {.id = id, .tok = prompt, .n_tok = 6, .max_new = max_new, .n = n, .stop_tok = end, .n_stop_tok = (uint32_t)n_end,
                              .sampling = {.temp = 1, .top_p = 1, .typical_p = 1, .rep_penalty = 1, .seed = seed, .grammar = block, .n_grammar = (uint32_t)bytes}};
    if (sr_port_post(w->port, &r, &err))
        fail_msg("%s", err.msg);
}

static const char *const SCHEMAS[] = {
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":8},\"age\":{\"type\":\"integer\",\"maximum\":99,\"minimum\":0}},\"required\":[\"name\",\"age\"]}",
    "{\"type\":\"array\",\"items\":{\"enum\":[\"red\",\"green\",null]},\"minItems\":2,\"maxItems\":4}",
    "{\"type\":\"string\",\"format\":\"date\"}",
    "{\"type\":\"object\",\"properties\":{\"ok\":{\"type\":\"boolean\"}},\"required\":[\"ok\"],\"additionalProperties\":false}",
};

static sr_grammar *schema(unsigned i)
{
    sr_err      err = {0};
    sr_grammar *g;
    if (sr_grammar_schema(SCHEMAS[i], strlen(SCHEMAS[i]), &g, &err))
        fail_msg("%s", err.msg);
    return g;
}

static void check_shape(unsigned i, const answer *a)
{
    json_error_t e;
    if (a->error || a->done != 1)
        fail_msg("%u: ended %u times, %s", i, a->done, a->msg);
    if (a->reason != SR_END_EOS) { /* white space between members can use the tokens up: no more than that */
        assert_int_equal(a->reason, SR_END_LENGTH);
        return;
    }
    json_t *v = json_loadb(a->text.p, a->text.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    if (!v)
        fail_msg("%s\n gave %s: %s", SCHEMAS[i], a->text.p, e.text);
    switch (i) {
    case 0:
        assert_int_equal(json_object_size(v), 2);
        assert_true(json_is_string(json_object_get(v, "name")));
        assert_in_range(json_integer_value(json_object_get(v, "age")), 0, 99);
        break;
    case 1: assert_in_range(json_array_size(v), 2, 4); break;
    case 2: assert_int_equal(json_string_length(v), 10); break;
    default: assert_true(json_object_size(v) == 1 && json_is_boolean(json_object_get(v, "ok")));
    }
    json_decref(v);
}

static void many_answers_at_once_keep_to_their_grammars(void **state)
{
    (void)state;
    sr_grammar *g[SR_COUNT(SCHEMAS)];
    unsigned    whole = 0, all = 0;
    for (unsigned i = 0; i < SR_COUNT(SCHEMAS); i++)
        g[i] = schema(i);
    world *w = open_world(0);
    for (unsigned i = 0; i < MAX_REQ; i++) /* every sixth is free to say anything */
        post(w, i + 1, i % 6 == 5 ? NULL : g[i % SR_COUNT(SCHEMAS)], i, 1 + i % MAX_CHOICE, i % 6 == 5 ? 20 : MAX_NEW);
    run(w);
    for (unsigned i = 0; i < MAX_REQ; i++)
        for (unsigned c = 0; c < 1 + i % MAX_CHOICE; c++) {
            if (i % 6 == 5) {
                assert_int_equal(w->a[i][c].done, 1);
                continue;
            }
            check_shape(i % SR_COUNT(SCHEMAS), &w->a[i][c]);
            whole += w->a[i][c].reason == SR_END_EOS;
            all++;
        }
    assert_true(whole * 10 >= all * 9);
    close_world(w);
    for (unsigned i = 0; i < SR_COUNT(SCHEMAS); i++)
        sr_grammar_close(g[i]);
}

/* Three sequences want more pages than there are: some give theirs back and come again. */
static void a_preempted_answer_goes_on_where_it_was(void **state)
{
    (void)state;
    sr_err      err = {0};
    sr_grammar *g;
    answer      alone[3];
    assert_int_equal(sr_grammar_regex("[0-9]{100}", 10, &g, &err), SR_OK);
    for (int together = 0; together < 2; together++) {
        world *w = open_world(16);
        for (uint64_t id = 1; id <= 3; id++) {
            post(w, id, g, 1000 + id, 1, MAX_NEW);
            if (together)
                continue;
            run(w);
            alone[id - 1] = w->a[id - 1][0];
        }
        run(w);
        sr_portstats s;
        sr_port_stats(w->port, &s);
        assert_true((s.preemptions > 0) == together);
        for (uint64_t id = 1; together && id <= 3; id++) {
            const answer *a = &w->a[id - 1][0];
            assert_int_equal(a->reason, SR_END_EOS);
            assert_int_equal(a->text.n, 100);
            assert_int_equal(strspn(a->text.p, "0123456789"), 100);
            assert_int_equal(a->n, alone[id - 1].n);
            assert_memory_equal(a->tok, alone[id - 1].tok, a->n * sizeof(int32_t));
        }
        close_world(w);
    }
    sr_grammar_close(g);
}

static void a_bad_grammar_ends_its_request_alone(void **state)
{
    (void)state;
    static const char ambiguous[] = "root ::= s\ns ::= [^x] | [^x] s s | [^x] s [^y] s | [^x] s s s";
    sr_err      err = {0};
    sr_grammar *good = schema(3), *hard;
    assert_int_equal(sr_grammar_gbnf(ambiguous, sizeof ambiguous - 1, &hard, &err), SR_OK);
    world *w = open_world(0);
    size_t n;
    char   broken[64];
    memcpy(broken, sr_grammar_bytes(good, &n), sizeof broken);
    static const int32_t prompt[] = {0, 5};
    sr_request bad = {.id = 1, .tok = prompt, .n_tok = 2, .max_new = 5, .n = 1, .sampling = {.temp = 1, .grammar = broken, .n_grammar = sizeof broken}};
    assert_int_equal(sr_port_post(w->port, &bad, &err), SR_OK);
    post(w, 2, good, 3, 2, MAX_NEW);
    post(w, 3, hard, 3, 1, MAX_NEW);
    post(w, 4, NULL, 3, 1, 10);
    run(w);
    assert_int_equal(w->a[0][0].error, SR_INVALID);
    check_shape(3, &w->a[1][0]);
    check_shape(3, &w->a[1][1]);
    assert_int_equal(w->a[2][0].error, SR_UNSUPPORTED);
    assert_non_null(strstr(w->a[2][0].msg, "too ambiguous"));
    assert_int_equal(w->a[3][0].done, 1);
    assert_int_equal(w->a[3][0].error, SR_OK);
    close_world(w);
    sr_grammar_close(good);
    sr_grammar_close(hard);
}

static void forget(world *w)
{
    for (int i = 0; i < MAX_REQ * MAX_CHOICE; i++)
        sr_buf_end(&w->a[i / MAX_CHOICE][i % MAX_CHOICE].text);
    memset(w->a, 0, sizeof w->a);
}

/* Ten milliseconds for this vocabulary: a machine that sleeps through them between two steps has seen nothing, and tries again. */
static void others_answer_while_the_vocabulary_is_made_ready(void **state)
{
    (void)state;
    sr_grammar *g    = schema(3);
    bool        seen = false;
    for (int i = 0; i < 50 && !seen; i++) {
        sr_step st;
        sr_err  err = {0};
        world  *w   = open_world(0);
        post(w, 1, g, 1, 2, MAX_NEW); /* first in line, and nobody waits behind it */
        post(w, 2, NULL, 2, 1, 30);
        assert_int_equal(sr_engine_step(w->e, &st, &err), SR_OK);
        assert_true(sr_engine_check(w->e, &err));
        seen = w->e->forming.n == 1 && w->e->running.n == 1 && !w->e->lexicon;
        sr_portstats s;
        sr_port_stats(w->port, &s);
        if (seen)
            assert_int_equal(s.waiting, 1);
        run(w);
        assert_non_null(w->e->lexicon);
        check_shape(3, &w->a[0][0]);
        check_shape(3, &w->a[0][1]);
        assert_int_equal(w->a[1][0].n, 30);
        close_world(w);
    }
    assert_true(seen);
    sr_grammar_close(g);
}

static void who_waits_for_the_vocabulary_may_leave_and_the_engine_may_close(void **state)
{
    (void)state;
    sr_grammar *g = schema(3);
    sr_step     st;
    sr_err      err = {0};
    world      *w   = open_world(0);
    post(w, 1, g, 1, 1, MAX_NEW);
    assert_true(sr_engine_step(w->e, &st, &err) != SR_DEVLOST); /* SR_OK: this thread slept until the other was done */
    sr_port_end(w->port, 1, ~0u, SR_END_CANCEL);
    run(w);
    assert_int_equal(w->a[0][0].done, 1);
    assert_int_equal(w->a[0][0].reason, SR_END_CANCEL);
    assert_int_equal(w->e->jobs, 0);
    close_world(w);
    w = open_world(0);
    post(w, 1, g, 1, 1, MAX_NEW);
    assert_true(sr_engine_step(w->e, &st, &err) != SR_DEVLOST); /* SR_OK: this thread slept until the other was done */
    close_world(w);
    w = open_world(0); /* before anybody asks */
    sr_engine_close(w->e);
    assert_int_equal(sr_engine_open(w->m, &(sr_enginecfg){.grammars = true}, NULL, w->port, &w->e, &err), SR_OK);
    assert_true(w->e->lexmaker != NULL);
    close_world(w);
    sr_grammar_close(g);
}

static void a_vocabulary_that_could_not_be_made_is_made_for_the_next(void **state)
{
    (void)state;
    sr_grammar *g = schema(3);
    world      *w = open_world(0);
    uint32_t    failed = 0;
    for (uint64_t nth = 1, fired = 1; fired && !w->e->lexicon; nth += 1 + nth / 3) {
        forget(w);
        sr_fault_arm(SR_FAULT_ALLOC, nth);
        post(w, 1, g, 1, 1, MAX_NEW);
        for (int i = 0; i < 20000 && !w->a[0][0].done; i++) { /* no check: it allocates */
            sr_step  st;
            sr_err   err = {0};
            sr_event ev[16];
            if (sr_engine_step(w->e, &st, &err) == SR_AGAIN)
                usleep(100);
            for (size_t n = sr_port_poll(w->port, ev, 16), k = 0; k < n; k++)
                note(w, &ev[k]);
        }
        fired = sr_fault_fired(SR_FAULT_ALLOC);
        sr_fault_arm(SR_FAULT_ALLOC, 0);
        assert_int_equal(w->a[0][0].done, 1);
        if (w->a[0][0].error) {
            assert_int_equal(w->a[0][0].error, SR_NOMEM);
            failed++;
        }
    }
    assert_true(failed >= 5);
    forget(w);
    post(w, 1, g, 1, 1, MAX_NEW);
    run(w);
    check_shape(3, &w->a[0][0]);
    close_world(w);
    sr_grammar_close(g);
}

static void guides_are_made_for_those_who_run(void **state)
{
    (void)state;
    sr_err   err = {0};
    sr_step  st;
    sr_event ev[16];
    world   *w = open_world(0);
    for (uint32_t i = 0; i < MAX_REQ; i++) { /* each its own */
        char        regex[40];
        sr_grammar *g;
        int         n = snprintf(regex, sizeof regex, "[a-z]{%u}", 20 + i);
        assert_int_equal(sr_grammar_regex(regex, (size_t)n, &g, &err), SR_OK);
        post(w, i + 1, g, i, 1, MAX_NEW);
        sr_grammar_close(g);
    }
    for (bool ran = false; w->e->jobs || !ran;) {
        uint32_t guides = 0;
        if (sr_engine_step(w->e, &st, &err) == SR_AGAIN)
            usleep(100);
        ran |= w->e->running.n > 0;
        for (size_t n; (n = sr_port_poll(w->port, ev, 16));)
            for (size_t k = 0; k < n; k++)
                note(w, &ev[k]);
        for (uint32_t i = 0; i < SR_JOB_BUCKETS; i++)
            for (const sr_job *j = w->e->bucket[i]; j; j = j->hash_next)
                guides += j->guide != NULL;
        assert_in_range(guides, 0, 8);
    }
    for (uint32_t i = 0; i < MAX_REQ; i++) {
        assert_int_equal(w->a[i][0].error, SR_OK);
        assert_int_equal(w->a[i][0].text.n, 20 + i);
    }
    close_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_answers_at_once_keep_to_their_grammars),
        cmocka_unit_test(a_preempted_answer_goes_on_where_it_was),
        cmocka_unit_test(a_bad_grammar_ends_its_request_alone),
        cmocka_unit_test(others_answer_while_the_vocabulary_is_made_ready),
        cmocka_unit_test(who_waits_for_the_vocabulary_may_leave_and_the_engine_may_close),
        cmocka_unit_test(a_vocabulary_that_could_not_be_made_is_made_for_the_next),
        cmocka_unit_test(guides_are_made_for_those_who_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
