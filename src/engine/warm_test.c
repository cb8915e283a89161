/* warm_test: a model's memory in few pieces, each with a tag and within the budget; first steps at load that nobody can find afterwards. */
#include "backend/fake/fake.h"
#include "engine/offload.h"
#include "engine/skip.h"
#include "engine/testworld.h"

enum { MB = 1000000, GRANULE = 2 << 20 };
#define BASE "models/strata-demo-base-Q4_K_M.gguf"

static const sr_loadcfg on_fake = {.path = MODEL, .be = &sr_backend_fake, .ctx = 512, .max_seqs = 8, .max_step_tokens = 128, .dev = {.threads = 2}};

static sr_model *load(const sr_loadcfg *c)
{
    sr_err    err = {0};
    sr_model *m   = NULL;
    if (sr_model_load(c, &m, &err))
        fail_msg("%s", err.msg);
    return m;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void weights_lie_one_behind_the_other_in_one_piece(void **state)
{
    (void)state;
    static const char *const path[] = {MODEL, "synth:tiny:f16"}; /* with a head of its own, and one that is the embedding */
    for (size_t k = 0; k < SR_COUNT(path); k++) {
        sr_loadcfg c = on_fake;
        c.path       = path[k];
        sr_model         *m  = load(&c);
        const sr_program *p  = &m->code->prog;
        size_t           *at = sr_calloc(p->n_weight, sizeof *at), bytes = sr_place_offsets(m, at), end = 0, n = 0;
        for (uint32_t w = 0; w < p->n_weight; w++) {
            if (at[w] == SIZE_MAX) {
                assert_true(!m->weight[w].p || m->weight[w].p == m->weight[0].p);
                continue;
            }
            assert_int_equal(at[w] % SR_WEIGHT_ALIGN, 0);
            assert_true(at[w] >= end && at[w] < end + SR_WEIGHT_ALIGN);
            assert_ptr_equal(m->weight[w].p, (char *)m->weights + at[w]);
            end = at[w] + m->weight[w].n_row * sr_row_bytes(m->weight[w].format, m->weight[w].n_col);
            n++;
        }
        assert_true(n > 20 && end <= bytes && bytes < end + SR_WEIGHT_ALIGN);
        assert_int_equal(sr_place_offsets(m, NULL), bytes);
        sr_free(at);
        sr_model_close(m);
    }
}

static void the_ledger_has_a_tag_for_every_byte(void **state)
{
    (void)state;
    sr_fake_configure(&(sr_fakecfg){.granule = GRANULE});
    sr_model  *m  = load(&on_fake);
    sr_devinfo di = {.size = sizeof di};
    sr_err     err = {0};
    uint64_t   taken = 0, bytes = 0;
    uint32_t   pieces = 0;
    assert_int_equal(m->be->info(0, m->dev, &di, &err), SR_OK);
    for (uint32_t i = 0; i < m->info.n_memory; i++) {
        const sr_memline *l = &m->info.memory[i];
        assert_true(l->tag[0] && l->pieces && l->bytes <= l->taken);
        if (l->kind != SR_MEM_DEVICE)
            continue;
        assert_int_equal(l->taken % GRANULE, 0);
        pieces += l->pieces;
        bytes += l->bytes;
        taken += l->taken;
    }
    assert_int_equal(pieces, 4); /* weights, activations, inputs, pages */
    assert_int_equal(di.mem_free, di.mem_total - taken);
    assert_true(bytes >= m->info.bytes + m->info.kv_bytes + m->info.scratch_bytes);
    sr_model_close(m);
    sr_fake_configure(&(sr_fakecfg){0});
    m = load(&usual);
    assert_int_equal(m->info.n_memory, 0); /* a CPU's is the host's */
    sr_model_close(m);
}

/* What a piece is rounded up by is planned with: where a budget is too small the plan says so, not the allocation that comes last. */
static void budgets_are_kept_to_the_granule(void **state)
{
    (void)state;
    uint32_t loaded = 0, refused = 0;
    for (uint64_t kb = 18000; kb < 34000; kb += 500) {
        sr_fake_configure(&(sr_fakecfg){.granule = GRANULE, .memory = kb * 1000});
        sr_loadcfg c = on_fake;
        sr_err     err = {0};
        sr_model  *m = NULL;
        c.max_seqs   = 2;
        c.offload    = SR_OFFLOAD_NONE;
        sr_status s  = sr_model_load(&c, &m, &err);
        if (s) {
            assert_int_equal(s, SR_NOMEM);
            if (!strstr(err.msg, "all weights were to lie on the device"))
                fail_msg("%llu kB: %s", (unsigned long long)kb, err.msg);
        } else {
            assert_true(!m->off && m->kv_pages >= 32);
        }
        loaded += s == SR_OK;
        refused += s != SR_OK;
        sr_model_close(m);
    }
    assert_true(loaded > 3 && refused > 3);
    for (uint64_t mb = 40; mb <= 52; mb += 4) { /* and streams within it */
        sr_fake_configure(&(sr_fakecfg){.granule = GRANULE, .memory = mb * MB});
        sr_loadcfg c = on_fake;
        c.path       = BASE;
        c.max_seqs   = 2;
        c.offload    = SR_OFFLOAD_STREAM;
        sr_model *m  = load(&c);
        assert_non_null(m->off);
        sr_model_close(m);
    }
    sr_fake_configure(&(sr_fakecfg){0});
}

/* ---- first steps -------------------------------------------------------------------------------------------------- */

static void nothing_is_left_of_them(world *w)
{
    sr_portstats s;
    sr_err       err = {0};
    sr_port_stats(w->port, &s);
    assert_true(w->m->info.warm_steps >= 1 && w->m->info.warm_s > 0);
    assert_true(s.ready);
    assert_int_equal(s.steps + s.tokens_made + s.tokens_prompt + s.requests_done, 0);
    assert_int_equal(s.pages_used + s.pages_cached, 0);
    assert_int_equal(s.pages_free, s.pages_total);
    assert_int_equal(s.prefix_hits + s.prefix_misses, 0);
    assert_int_equal(s.exit_tests + s.exits, 0);
    assert_int_equal(s.stream_steps + s.ns_stream_steps + s.bytes_streamed + s.cpu_bytes + s.bus_bytes + s.ns_bus_busy + s.share_changes, 0);
    assert_true(sr_engine_check(w->e, &err));
}

/* The tokens that the first steps had, as a prompt: nothing of it is found. */
static void zeros_are_not_cached(world *w)
{
    static int32_t zero[96];
    sr_request     r = greedy(16, 0, 96, 4);
    r.tok            = zero;
    post(w, &r);
    steps(w, 1000);
    assert_int_equal(w->a[15][0].error, SR_OK);
    assert_int_equal(w->a[15][0].cached, 0);
}

static void answers_are_those_of_a_cold_model(void **state)
{
    (void)state;
    static const struct { uint64_t memory; float exit; const char *path; } with[] = {{0, 0, MODEL}, {33 * MB, 0, BASE}, {0, 0.5f, MODEL}};
    for (size_t i = 0; i < SR_COUNT(with); i++)
        for (int fake = with[i].memory != 0; fake < 2; fake++) {
            answer     was[3];
            sr_loadcfg c  = fake ? on_fake : usual;
            c.path        = with[i].path;
            c.max_seqs    = 2; /* one waits */
            c.early_exit  = with[i].exit;
            c.offload     = with[i].memory ? SR_OFFLOAD_STREAM : SR_OFFLOAD_AUTO;
            sr_fake_configure(&(sr_fakecfg){.memory = with[i].memory});
            for (int warmed = 0; warmed < 2; warmed++) {
                c.warmup = warmed ? SR_WARMUP_ALWAYS : SR_WARMUP_NONE;
                world *w = open_world(&c);
                assert_int_equal(w->m->off != NULL, with[i].memory != 0);
                if (warmed)
                    nothing_is_left_of_them(w);
                else
                    assert_int_equal(w->m->info.warm_steps, 0);
                for (uint32_t k = 0; k < 3; k++) {
                    sr_request r    = greedy(k + 1, k, 20 + 40 * k, 12);
                    r.sampling.temp = k == 1 ? 0.9f : 0;
                    r.sampling.seed = 7;
                    post(w, &r);
                }
                steps(w, 1000);
                for (uint32_t k = 0; k < 3; k++) {
                    if (w->a[k][0].error)
                        fail_msg("%s: %s", with[i].path, w->a[k][0].msg);
                    if (warmed)
                        same(&was[k], &w->a[k][0]);
                    was[k] = w->a[k][0];
                }
                if (warmed)
                    zeros_are_not_cached(w);
                no_page_is_held(w);
                close_world(w);
            }
        }
    sr_fake_configure(&(sr_fakecfg){0});
}

/* Unasked, a model that comes in every step takes none. */
static void weights_that_come_in_every_step_do_not_come_to_warm_up(void **state)
{
    (void)state;
    for (int streams = 0; streams < 2; streams++) {
        sr_loadcfg c = on_fake;
        c.path       = BASE;
        c.max_seqs   = 2;
        c.warmup     = SR_WARMUP_RESIDENT;
        sr_fake_configure(&(sr_fakecfg){.memory = streams ? 33 * MB : 0});
        sr_model *m = load(&c);
        assert_int_equal(m->off != NULL, streams);
        assert_int_equal(m->info.warm_steps != 0, !streams);
        sr_model_close(m);
    }
    sr_fake_configure(&(sr_fakecfg){0});
}

/* Places for 64 sequences, pages for one. */
static void steps_for_which_there_are_no_pages_are_left_out(void **state)
{
    (void)state;
    sr_loadcfg c  = on_fake;
    c.max_seqs    = 64;
    c.kv_pages    = 32;
    c.warmup      = SR_WARMUP_ALWAYS;
    world     *w  = open_world(&c);
    nothing_is_left_of_them(w);
    sr_request r = greedy(1, 1, 500, 4);
    post(w, &r);
    steps(w, 100);
    assert_int_equal(w->a[0][0].n, 4);
    close_world(w);
}

/* Loads with the n-th of a kind failing.  False: there are not so many. */
static bool fails(const sr_loadcfg *c, sr_faultkind kind, uint64_t nth, sr_err *err)
{
    sr_model *m = NULL;
    *err        = (sr_err){0};
    sr_fault_arm(kind, nth);
    sr_status s     = sr_model_load(c, &m, err);
    bool      fired = sr_fault_fired(kind);
    sr_fault_arm(kind, 0);
    assert_true(fired || s == SR_OK); /* a load does without some, threads that help for instance */
    sr_model_close(m);
    return fired;
}

/* The first that the load itself does not have is one of the first steps. */
static void first_steps_that_fail_fail_the_load(void **state)
{
    (void)state;
    static const struct { sr_faultkind kind; sr_status status; } with[] = {{SR_FAULT_SUBMIT, SR_DEVLOST}, {SR_FAULT_COPY, SR_DEVLOST}, {SR_FAULT_ALLOC, SR_NOMEM}};
    sr_loadcfg cold = on_fake, warmed = on_fake;
    sr_err     err;
    cold.max_seqs = warmed.max_seqs = 2;
    warmed.warmup                   = SR_WARMUP_ALWAYS;
    for (size_t i = 0; i < SR_COUNT(with); i++) {
        uint64_t low = 0, high = 1; /* it has the low-th, and not the high-th */
        while (fails(&cold, with[i].kind, high, &err)) {
            low = high;
            high *= 2;
        }
        while (high - low > 1) {
            uint64_t at = low + (high - low) / 2;
            *(fails(&cold, with[i].kind, at, &err) ? &low : &high) = at;
        }
        for (uint64_t nth = high; nth < high + 2; nth++) {
            assert_true(fails(&warmed, with[i].kind, nth, &err));
            assert_int_equal(err.status, with[i].status);
            if (!strstr(err.msg, "to warm up"))
                fail_msg("%s", err.msg);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_lie_one_behind_the_other_in_one_piece), cmocka_unit_test(the_ledger_has_a_tag_for_every_byte),
        cmocka_unit_test(budgets_are_kept_to_the_granule), cmocka_unit_test(answers_are_those_of_a_cold_model),
        cmocka_unit_test(weights_that_come_in_every_step_do_not_come_to_warm_up),
        cmocka_unit_test(steps_for_which_there_are_no_pages_are_left_out), cmocka_unit_test(first_steps_that_fail_fail_the_load)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
