/* vector_test: vectors of texts: they are the states that the head reads, and depend on the text alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "backend/fake/fake.h"
#include "base/mem.h"
#include "engine/internal.h"

#define MODEL "models/strata-demo-draft-Q8_0.gguf"
#define BASE "models/strata-demo-base-Q4_K_M.gguf"
enum { MAX_REQ = 16, MAX_DIM = 1024, MAX_TOK = 512 };

typedef struct {
    float     v[MAX_DIM];
    int32_t   tok[64];
    uint32_t  dim, n_tok, done, cached;
    sr_status error;
    char      msg[200];
} answer;
typedef struct {
    sr_model  *m;
    sr_port   *port;
    sr_engine *e;
    answer     a[MAX_REQ];
} world;

static const sr_loadcfg usual = {.path = MODEL, .ctx = 512, .max_seqs = 8, .max_step_tokens = 128, .dev = {.threads = 2}};

static world *open_world(const sr_loadcfg *c, size_t event_bytes)
{
    sr_err err = {0};
    world *w   = sr_calloc(1, sizeof *w);
    if (sr_model_load(c, &w->m, &err) || sr_port_open(&(sr_portcfg){.event_bytes = event_bytes}, &w->port, &err) ||
        sr_engine_open(w->m, NULL, NULL, w->port, &w->e, &err))
        fail_msg("%s", err.msg);
    assert_in_range(w->m->info.n_embd, SR_PORT_VECTOR_MAX + 1, MAX_DIM); /* a vector has several pieces */
    return w;
}

static void close_world(world *w)
{
    sr_portstats s;
    sr_port_stats(w->port, &s);
    assert_int_equal(s.pages_used, 0);
    sr_engine_close(w->e);
    sr_port_close(w->port);
    sr_model_close(w->m);
    sr_free(w);
}

static void poll_all(world *w)
{
    sr_event ev[16];
    size_t   n;
    while ((n = sr_port_poll(w->port, ev, 16)))
        for (size_t i = 0; i < n; i++) {
            assert_in_range(ev[i].id, 1, MAX_REQ);
            answer *a = &w->a[ev[i].id - 1];
            switch (ev[i].kind) {
            case SR_EV_VECTOR:
                assert_int_equal(ev[i].pos, a->dim);
                assert_true(a->dim + ev[i].n_vec <= MAX_DIM);
                memcpy(a->v + a->dim, ev[i].vec, ev[i].n_vec * sizeof *a->v);
                a->dim += ev[i].n_vec;
                break;
            case SR_EV_TOKEN: a->tok[a->n_tok++] = ev[i].token; break;
            case SR_EV_DONE: a->done++; a->cached = ev[i].usage.cached; break;
            case SR_EV_ERROR: a->done++; a->error = ev[i].status; strncpy(a->msg, ev[i].msg, sizeof a->msg - 1); break;
            case SR_EV_START: case SR_EV_PROGRESS: case SR_EV_PROMPT: break;
            }
        }
}

static void steps(world *w, uint32_t most)
{
    sr_step st;
    sr_err  err = {0};
    for (uint32_t i = 0; i < most; i++) {
        sr_status s = sr_engine_step(w->e, &st, &err);
        if (s && s != SR_AGAIN)
            fail_msg("%s", err.msg);
        poll_all(w);
        if (!sr_engine_check(w->e, &err))
            fail_msg("%s", err.msg);
        if (s == SR_AGAIN && w->e->jobs == 0)
            return;
    }
}

static const int32_t *text(uint32_t kind, uint32_t n)
{
    static int32_t p[MAX_REQ][MAX_TOK];
    for (uint32_t i = 0; i < n; i++)
        p[kind][i] = i ? (int32_t)((i * 7919 + kind * 104729 + 13) % 8000 + 3) : 0;
    return p[kind];
}

static sr_request vector_of(uint64_t id, uint32_t kind, uint32_t n, sr_pooling pooling)
{
    return (sr_request){.id = id, .what = SR_EMBED, .tok = text(kind, n), .n_tok = n, .pooling = (uint16_t)pooling};
}

static sr_request story_of(uint64_t id, uint32_t kind, uint32_t n)
{
    return (sr_request){.id = id, .tok = text(kind, n), .n_tok = n, .max_new = 30, .sampling = {.top_p = 1, .typical_p = 1, .rep_penalty = 1}};
}

static void post(world *w, sr_request r)
{
    sr_err err = {0};
    if (sr_port_post(w->port, &r, &err))
        fail_msg("%s", err.msg);
}

static answer alone(const sr_loadcfg *c, sr_request r)
{
    world *w = open_world(c, 0);
    r.id     = 1;
    post(w, r);
    steps(w, 1000);
    answer a = w->a[0];
    assert_int_equal(a.done, 1);
    assert_int_equal(a.error, SR_OK);
    assert_int_equal(a.dim, r.what == SR_EMBED ? w->m->info.n_embd : 0);
    close_world(w);
    return a;
}

static void same(const answer *a, const answer *b)
{
    assert_int_equal(a->error, SR_OK);
    assert_int_equal(a->done, 1);
    assert_int_equal(a->dim, b->dim);
    assert_memory_equal(a->v, b->v, b->dim * sizeof *b->v);
    assert_int_equal(a->n_tok, b->n_tok);
    assert_memory_equal(a->tok, b->tok, b->n_tok * sizeof *b->tok);
}

static double dot(const float *a, const float *b, uint32_t n)
{
    double s = 0;
    for (uint32_t i = 0; i < n; i++)
        s += (double)a[i] * (double)b[i];
    return s;
}

/* ---- the same states in another way: from the logits, which are the head's products with them ------------------------------ */

typedef struct { float *row; uint32_t n_vocab; } kept;
static bool keep(void *arg, uint32_t pos, const float *logits)
{
    kept *k = arg;
    (void)pos;
    memcpy(k->row, logits, k->n_vocab * sizeof *k->row);
    return true;
}

/* The length of the state whose direction is v, from the logits after tok[0..n); what is left of them is returned as a share. */
static double length_of_state(world *w, const int32_t *tok, uint32_t n, const float *v, double *rest)
{
    sr_err           err = {0};
    uint32_t         nv = w->m->info.n_vocab, dim = w->m->info.n_embd;
    const sr_tensor *t  = w->m->code->tensor[w->m->code->prog.op[w->m->code->head].w];
    kept             k  = {sr_calloc(nv, sizeof *k.row), nv};
    float           *y  = sr_calloc(nv, sizeof *y), row[MAX_DIM];
    if (sr_model_eval(w->m, tok, n, n - 1, keep, &k, &err))
        fail_msg("%s", err.msg);
    for (uint32_t i = 0; i < nv; i++) {
        sr_decode_row(t->dtype, (const char *)t->data + i * sr_row_bytes(t->dtype, dim), row, dim);
        y[i] = (float)dot(row, v, dim);
    }
    double length = dot(k.row, y, nv) / dot(y, y, nv), left = 0;
    for (uint32_t i = 0; i < nv; i++)
        left += pow((double)k.row[i] - length * (double)y[i], 2);
    *rest = sqrt(left / dot(k.row, k.row, nv));
    sr_free(k.row);
    sr_free(y);
    return length;
}

static void the_last_tokens_vector_is_the_state_that_the_head_reads(void **state)
{
    (void)state;
    const char *const models[] = {MODEL, BASE};
    for (size_t i = 0; i < SR_COUNT(models); i++) {
        sr_loadcfg c = usual;
        c.path       = models[i];
        world *w     = open_world(&c, 0);
        double rest;
        assert_int_equal(w->m->info.pooling, SR_POOL_LAST); /* the files say nothing */
        post(w, vector_of(1, 1, 75, SR_POOL_MODEL));
        steps(w, 1000);
        assert_true(fabs(dot(w->a[0].v, w->a[0].v, w->a[0].dim) - 1) < 1e-5);
        assert_true(length_of_state(w, text(1, 75), 75, w->a[0].v, &rest) > 0);
        assert_true(rest < 0.02); /* the head's product takes states of eight bits */
        length_of_state(w, text(1, 74), 74, w->a[0].v, &rest);
        assert_true(rest > 0.2);  /* and a neighbour's state is another */
        close_world(w);
    }
}

static void the_mean_is_of_all_states_and_cls_is_the_first(void **state)
{
    (void)state;
    enum { N = 9 };
    world *w = open_world(&usual, 0);
    double sum[MAX_DIM] = {0}, rest, length = 0;
    float  mean[MAX_DIM];
    post(w, vector_of(1, 2, N, SR_POOL_MEAN));
    post(w, vector_of(2, 2, N, SR_POOL_CLS));
    for (uint32_t i = 0; i < N; i++)
        post(w, vector_of(3 + i, 2, i + 1, SR_POOL_LAST));
    steps(w, 1000);
    for (uint32_t i = 0; i < N; i++) {
        double s = length_of_state(w, text(2, N), i + 1, w->a[2 + i].v, &rest);
        for (uint32_t k = 0; k < w->a[0].dim; k++)
            sum[k] += s * (double)w->a[2 + i].v[k];
    }
    for (uint32_t k = 0; k < w->a[0].dim; k++)
        length += sum[k] * sum[k];
    for (uint32_t k = 0; k < w->a[0].dim; k++)
        mean[k] = (float)(sum[k] / sqrt(length));
    assert_true(dot(mean, w->a[0].v, w->a[0].dim) > 0.9999);
    assert_true(dot(w->a[2 + N - 1].v, w->a[0].v, w->a[0].dim) < 0.99);
    same(&w->a[1], &w->a[2]);
    close_world(w);
}

/* ---- of the text alone ------------------------------------------------------------------------------------------------------ */

static void a_vector_depends_on_neither_batch_nor_chunks_nor_threads_nor_cache(void **state)
{
    (void)state;
    static const sr_pooling pools[] = {SR_POOL_LAST, SR_POOL_MEAN, SR_POOL_CLS};
    answer story = alone(&usual, story_of(1, 9, 60));
    for (size_t p = 0; p < SR_COUNT(pools); p++) {
        answer     want = alone(&usual, vector_of(1, 1, 190, pools[p]));
        sr_loadcfg tiny = usual, whole = usual, one = usual;
        tiny.max_step_tokens = 9;
        whole.max_step_tokens = 256, whole.out_rows = 256;
        one.dev.threads = 1;
        answer a = alone(&tiny, vector_of(1, 1, 190, pools[p])), b = alone(&whole, vector_of(1, 1, 190, pools[p]));
        answer c = alone(&one, vector_of(1, 1, 190, pools[p]));
        same(&a, &want);
        same(&b, &want);
        same(&c, &want);
        world *w = open_world(&usual, 0);
        post(w, story_of(1, 9, 60));
        steps(w, 3);
        for (uint32_t i = 2; i <= 9; i++) {
            post(w, i == 5 ? vector_of(5, 1, 190, pools[p]) : i % 2 ? story_of(i, i, 40 * i) : vector_of(i, i, 40 * i, pools[i % 3]));
            steps(w, 2);
        }
        steps(w, 1000);
        same(&w->a[4], &want);
        same(&w->a[0], &story); /* nor do tokens depend on vectors */
        post(w, vector_of(10, 1, 190, pools[p])); /* now its prefix is there: of use only to who does not need its states */
        steps(w, 1000);
        same(&w->a[9], &want);
        assert_int_equal(w->a[9].cached, pools[p] == SR_POOL_LAST ? 176 : 0);
        close_world(w);
    }
}

static void when_pages_run_out_vectors_stay_the_same(void **state)
{
    (void)state;
    sr_loadcfg small = usual;
    small.ctx        = 160;
    small.kv_pages   = 24; /* 384 positions */
    small.max_step_tokens = 24;
    answer want[6];
    for (uint32_t i = 0; i < 6; i++)
        want[i] = alone(&small, vector_of(1, i, 60 + 16 * i, i % 2 ? SR_POOL_MEAN : SR_POOL_LAST));
    world *w = open_world(&small, 0);
    for (uint32_t i = 0; i < 6; i++) {
        sr_request story = story_of(7 + i, i, 60), r = vector_of(i + 1, i, 60 + 16 * i, i % 2 ? SR_POOL_MEAN : SR_POOL_LAST);
        story.priority = 1; /* they come later and want what the vectors have */
        post(w, r);
        steps(w, 1);
        post(w, story);
    }
    steps(w, 4000);
    sr_portstats s;
    sr_port_stats(w->port, &s);
    assert_true(s.preemptions > 0);
    for (uint32_t i = 0; i < 6; i++)
        same(&w->a[i], &want[i]);
    close_world(w);
}

static void vectors_wait_for_room_in_the_ring_and_hold_up_nobody(void **state)
{
    (void)state;
    answer  want = alone(&usual, vector_of(1, 3, 20, SR_POOL_LAST));
    world  *w    = open_world(&usual, (8 + 4 * 8 + 4 + 5) * SR_PORT_EVENT_MAX); /* a step's least, and five events */
    sr_step st;
    sr_err  err = {0};
    for (uint32_t i = 0; i < 8; i++)
        post(w, vector_of(i + 1, 3, 20, SR_POOL_LAST));
    for (int i = 0; i < 20; i++) /* nobody polls */
        assert_true(sr_engine_step(w->e, &st, &err) != SR_DEVLOST);
    assert_true(w->e->jobs > 0 && w->e->jobs < 8);
    steps(w, 1000);
    for (uint32_t i = 0; i < 8; i++)
        same(&w->a[i], &want);
    close_world(w);
}

static void a_device_of_its_own_memory_gives_the_same_vector_also_when_weights_stream_in(void **state)
{
    (void)state;
    static const sr_hw machine = {.dev_read = 100e9, .h2d = 2e9, .cpu_read = 4e9, .dram_read = 6e9, .dev_flops = 1e12, .sync = 1e-6};
    for (uint32_t i = 0; i < 2; i++) {
        sr_loadcfg c = {.path = BASE, .ctx = 64, .max_seqs = 4, .max_step_tokens = 16, .kv_pages = 12, .dev = {.threads = 1}};
        answer last = alone(&c, vector_of(1, 1, 40, SR_POOL_LAST)), mean = alone(&c, vector_of(1, 1, 40, SR_POOL_MEAN));
        sr_fake_configure(&(sr_fakecfg){.memory = i ? 14000000 : 0, .ns_per_command = 2000});
        c.be      = &sr_backend_fake;
        c.hw      = &machine;
        c.offload = SR_OFFLOAD_STREAM;
        world *w  = open_world(&c, 0);
        assert_int_equal(w->m->off != NULL, i);
        post(w, vector_of(1, 1, 40, SR_POOL_LAST));
        post(w, vector_of(2, 1, 40, SR_POOL_MEAN));
        post(w, story_of(3, 2, 20));
        steps(w, 1000);
        same(&w->a[0], &last);
        same(&w->a[1], &mean);
        assert_int_equal(w->a[2].n_tok, 30);
        close_world(w);
    }
    sr_fake_configure(&(sr_fakecfg){0});
}

static void steps_with_vectors_allocate_nothing(void **state)
{
    (void)state;
    sr_loadcfg c      = usual;
    c.max_step_tokens = 16;
    world  *w         = open_world(&c, 0);
    sr_step st;
    sr_err  err = {0};
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 6; i++) {
            sr_request r = vector_of(6 * round + i + 1, i, 100, i % 2 ? SR_POOL_MEAN : SR_POOL_LAST);
            r.salt       = round;
            post(w, r);
        }
        steps(w, round ? 1 : 1000); /* tables of pages grow once */
    }
    uint64_t before = sr_alloc_count();
    for (int i = 0; i < 24; i++)
        assert_int_equal(sr_engine_step(w->e, &st, &err), SR_OK);
    assert_int_equal(sr_alloc_count(), before);
    steps(w, 1000);
    for (uint32_t i = 0; i < 6; i++)
        same(&w->a[6 + i], &w->a[i]);
    close_world(w);
}

static void what_cannot_be_a_vector_says_so(void **state)
{
    (void)state;
    world     *w    = open_world(&usual, 0);
    sr_request r[5] = {vector_of(1, 1, 10, SR_POOL_RANK), vector_of(2, 1, 10, SR_POOL_NONE), vector_of(3, 1, 10, SR_POOL_LAST),
                       vector_of(4, 1, 10, SR_POOL_LAST), vector_of(5, 1, 512, SR_POOL_LAST)};
    r[2].n          = 2;
    r[3].n_prompt_logprobs = 1;
    for (size_t i = 0; i < SR_COUNT(r); i++)
        post(w, r[i]);
    sr_port_end(w->port, 5, ~0u, SR_END_CANCEL);
    steps(w, 1000);
    assert_int_equal(w->a[0].error, SR_UNSUPPORTED);
    assert_non_null(strstr(w->a[0].msg, "rank"));
    assert_int_equal(w->a[1].error, SR_UNSUPPORTED);
    assert_int_equal(w->a[2].error, SR_INVALID);
    assert_int_equal(w->a[3].error, SR_INVALID);
    assert_int_equal(w->a[4].done, 1);
    assert_int_equal(w->a[4].dim, 0);
    close_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_tokens_vector_is_the_state_that_the_head_reads),
        cmocka_unit_test(the_mean_is_of_all_states_and_cls_is_the_first),
        cmocka_unit_test(a_vector_depends_on_neither_batch_nor_chunks_nor_threads_nor_cache),
        cmocka_unit_test(when_pages_run_out_vectors_stay_the_same),
        cmocka_unit_test(vectors_wait_for_room_in_the_ring_and_hold_up_nobody),
        cmocka_unit_test(a_device_of_its_own_memory_gives_the_same_vector_also_when_weights_stream_in),
        cmocka_unit_test(steps_with_vectors_allocate_nothing),
        cmocka_unit_test(what_cannot_be_a_vector_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
