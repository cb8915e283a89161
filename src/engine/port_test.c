#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "engine/port.c" /* the damage below is done to its insides */

#define FOREVER UINT64_MAX
#define MS      1000000ull

static sr_port *port_new(size_t command_bytes, size_t event_bytes)
{
    sr_err   err = {0};
    sr_port *p   = NULL;
    assert_int_equal(sr_port_open(&(sr_portcfg){.command_bytes = command_bytes, .event_bytes = event_bytes}, &p, &err), SR_OK);
    return p;
}

static bool fd_readable(const sr_port *p, int timeout_ms)
{
    struct pollfd f = {.fd = sr_port_fd(p), .events = POLLIN};
    return poll(&f, 1, timeout_ms) == 1;
}

/* ---- by value ------------------------------------------------------------------------------------------ */

static void a_request_arrives_by_value_with_all_its_lists(void **state)
{
    (void)state;
    sr_err   err = {0};
    sr_port *p   = port_new(0, 0);
    int32_t  tok[300], stop[] = {7, -9};
    sr_bias  bias[] = {{5, -1.5f}, {6, 2.25f}, {1 << 30, 100}};
    for (int i = 0; i < 300; i++)
        tok[i] = i * 3;
    sr_request q = {.id = 0xfedcba9876543210u, .salt = 42, .what = SR_GENERATE, .tok = tok, .n_tok = 300, .max_new = 17,
                    .min_new = 2, .n = 3, .stop_tok = stop, .n_stop_tok = 2, .ignore_eos = true, .n_logprobs = 6,
                    .priority = -4, .tenant = 11, .deadline_ns = 123456789012345, .window = 64,
                    .sampling = {.temp = 0.75f, .top_p = 0.5f, .top_k = 40, .seed = ~0ull, .bias = bias, .n_bias = 3, .grammar = "rules", .n_grammar = 5}};
    assert_int_equal(sr_port_post(p, &q, &err), SR_OK);
    int32_t want[300];
    memcpy(want, tok, sizeof want);
    memset(tok, 0xff, sizeof tok); /* the caller's memory is his own again */

    sr_command c;
    assert_true(sr_port_take(p, &c));
    assert_int_equal(c.kind, SR_CMD_POST);
    assert_true(c.id == q.id && c.request.id == q.id && c.request.deadline_ns == q.deadline_ns);
    assert_int_equal(c.request.n_tok, 300);
    assert_memory_equal(c.request.tok, want, sizeof want);
    assert_memory_equal(c.request.stop_tok, stop, sizeof stop);
    assert_memory_equal(c.request.sampling.bias, bias, sizeof bias);
    assert_int_equal(c.request.sampling.n_grammar, 5);
    assert_memory_equal(c.request.sampling.grammar, "rules", 5);
    assert_true(c.request.ignore_eos && c.request.priority == -4 && c.request.sampling.temp == 0.75f);
    assert_false(sr_port_take(p, &c));

    assert_true(sr_port_end(p, 5, 2, SR_END_STOP));
    assert_true(sr_port_ack(p, 6, 1, 99));
    assert_true(sr_port_take(p, &c));
    assert_true(c.kind == SR_CMD_END && c.id == 5 && c.choice == 2 && c.reason == SR_END_STOP);
    assert_true(sr_port_take(p, &c));
    assert_true(c.kind == SR_CMD_ACK && c.id == 6 && c.choice == 1 && c.pos == 99);
    sr_port_close(p);
}

static void an_event_arrives_with_alternatives_and_message(void **state)
{
    (void)state;
    sr_port *p = port_new(0, 0);
    sr_alt   alt[20];
    float    vec[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    char     msg[600];
    memset(msg, 'm', sizeof msg - 1);
    msg[599] = 0;
    for (int i = 0; i < 20; i++)
        alt[i] = (sr_alt){i, (float)-i};
    size_t room = sr_port_event_room(p);
    assert_true(sr_port_emit(p, &(sr_event){.id = 1, .kind = SR_EV_TOKEN, .choice = 3, .pos = 4, .token = 5,
                                            .logprob = -0.5f, .alt = alt, .n_alt = 20}));
    assert_true(sr_port_emit(p, &(sr_event){.id = 2, .kind = SR_EV_ERROR, .choice = ~0u, .status = SR_NOMEM,
                                            .alt = alt, .n_alt = 20, .msg = msg}));
    assert_true(room - sr_port_event_room(p) <= 2 * SR_PORT_EVENT_MAX);
    assert_true(sr_port_emit(p, &(sr_event){.id = 3, .kind = SR_EV_DONE, .reason = SR_END_LENGTH, .msg = "",
                                            .usage = {.prompt = 10, .made = 20, .ns_total = 1ull << 40}}));
    assert_true(sr_port_emit(p, &(sr_event){.id = 4, .kind = SR_EV_VECTOR, .vec = vec, .n_vec = 8}));
    sr_event e[8];
    assert_int_equal(sr_port_poll(p, e, 8), 0); /* not flushed */
    sr_port_flush(p);
    assert_true(fd_readable(p, 0));
    assert_int_equal(sr_port_poll(p, e, 8), 4);
    assert_false(fd_readable(p, 0));
    assert_true(e[0].id == 1 && e[0].choice == 3 && e[0].pos == 4 && e[0].token == 5 && e[0].logprob == -0.5f);
    assert_int_equal(e[0].n_alt, 20);
    assert_memory_equal(e[0].alt, alt, sizeof alt);
    assert_null(e[0].msg);
    assert_true(e[1].kind == SR_EV_ERROR && e[1].choice == ~0u && e[1].status == SR_NOMEM);
    assert_int_equal(strlen(e[1].msg), 479); /* cut to the length of an sr_err */
    assert_memory_equal(e[1].alt, alt, sizeof alt);
    assert_true(e[2].kind == SR_EV_DONE && e[2].reason == SR_END_LENGTH && e[2].usage.ns_total == 1ull << 40);
    assert_string_equal(e[2].msg, "");
    assert_memory_equal(e[3].vec, vec, sizeof vec);
    sr_port_close(p);
}

/* ---- limits -------------------------------------------------------------------------------------------- */

static void a_request_larger_than_the_ring_is_refused_with_numbers(void **state)
{
    (void)state;
    sr_port *p   = port_new(1024, 0);
    int32_t  tok[1024] = {0};
    sr_err   err = {0};
    assert_int_equal(sr_port_post(p, &(sr_request){.id = 9, .tok = tok, .n_tok = 1024}, &err), SR_INVALID);
    assert_non_null(strstr(err.msg, "1024 tokens"));
    assert_non_null(strstr(err.msg, "holds 1024"));
    err = (sr_err){0};
    assert_int_equal(sr_port_post(p, &(sr_request){.tok = tok, .n_tok = ~0u,
                                                   .stop_tok = tok, .n_stop_tok = ~0u}, &err), SR_INVALID);
    err = (sr_err){0};
    assert_int_equal(sr_port_post(p, &(sr_request){.tok = tok}, &err), SR_INVALID);
    err = (sr_err){0};
    assert_int_equal(sr_port_post(p, &(sr_request){.tok = tok, .n_tok = 1, .n_stop_tok = 1}, &err), SR_INVALID);
    err = (sr_err){0};
    assert_int_equal(sr_port_post(p, &(sr_request){.tok = tok, .n_tok = 1, .sampling.n_grammar = 1}, &err), SR_INVALID);
    err = (sr_err){0};
    assert_int_equal(sr_port_post(p, &(sr_request){.tok = tok, .n_tok = 1, .sampling.ext = tok}, &err), SR_UNSUPPORTED);
    err = (sr_err){0};
    assert_int_equal(sr_port_post(p, &(sr_request){.tok = tok, .n_tok = 1}, &err), SR_OK);
    sr_port_close(p);
}

static void a_full_ring_is_again_and_leaves_room_to_cancel(void **state)
{
    (void)state;
    enum { EVENTS = 4096 };
    sr_port   *p   = port_new(4096, EVENTS);
    int32_t    tok[100] = {0};
    sr_err     err = {0};
    uint64_t   n   = 0;
    sr_status  s;
    while ((s = sr_port_post(p, &(sr_request){.id = n, .tok = tok, .n_tok = 100}, &err)) == SR_OK)
        n++;
    assert_int_equal(s, SR_AGAIN);
    assert_int_equal(err.status, SR_OK); /* not a fault: no message */
    assert_true(n >= 5);
    uint64_t ends = 0;
    while (sr_port_end(p, ends, ~0u, SR_END_CANCEL))
        ends++;
    assert_true(ends >= EVENTS / 40); /* as many as token events fit */
    sr_command c;
    for (uint64_t i = 0; i < n; i++) {
        assert_true(sr_port_take(p, &c));
        assert_true(c.kind == SR_CMD_POST && c.id == i);
    }
    for (uint64_t i = 0; i < ends; i++) {
        assert_true(sr_port_take(p, &c));
        assert_true(c.kind == SR_CMD_END && c.id == i);
    }
    assert_false(sr_port_take(p, &c));
    assert_int_equal(sr_port_post(p, &(sr_request){.id = n, .tok = tok, .n_tok = 100}, &err), SR_OK);
    sr_port_close(p);
}

static void event_room_is_what_emit_goes_by(void **state)
{
    (void)state;
    sr_port *p = port_new(0, 4096);
    size_t   n = 0, got = 0;
    while (sr_port_event_room(p) >= SR_PORT_EVENT_MAX) {
        assert_true(sr_port_emit(p, &(sr_event){.id = n, .kind = SR_EV_TOKEN}));
        n++;
    }
    while (sr_port_emit(p, &(sr_event){.id = n, .kind = SR_EV_TOKEN}))
        n++;
    sr_port_flush(p);
    sr_event e[7];
    for (size_t k; (k = sr_port_poll(p, e, 7)) > 0;) {
        for (size_t i = 0; i < k; i++)
            assert_int_equal(e[i].id, got++);
        assert_int_equal(fd_readable(p, 0), got < n); /* a poll that leaves events behind leaves the bell on */
    }
    assert_int_equal(got, n);
    assert_int_equal(sr_port_event_room(p), 4096);
    sr_port_close(p);
}

static void gauges_are_shown_together_by_flush_and_sleep(void **state)
{
    (void)state;
    sr_port     *p = port_new(0, 0);
    sr_portstats s;
    sr_port_gauges(p)->ready  = 1;
    sr_port_gauges(p)->max_seqs = 8;
    sr_port_stats(p, &s);
    assert_int_equal(s.ready, 0);
    sr_port_flush(p);
    sr_port_stats(p, &s);
    assert_true(s.ready == 1 && s.max_seqs == 8 && s.fault == 0);
    sr_port_gauges(p)->steps = 3;
    sr_port_sleep(p, 0);
    sr_port_stats(p, &s);
    assert_int_equal(s.steps, 3);
    assert_false(fd_readable(p, 0)); /* gauges alone wake nobody */
    sr_port_close(p);
}

static void opening_fails_cleanly_at_every_allocation(void **state)
{
    (void)state;
    bool fired = true;
    for (uint64_t n = 1; fired; n++) {
        sr_err   err = {0};
        sr_port *p   = NULL;
        sr_fault_arm(SR_FAULT_ALLOC, n);
        sr_status s = sr_port_open(NULL, &p, &err);
        fired       = sr_fault_fired(SR_FAULT_ALLOC);
        sr_fault_arm(SR_FAULT_ALLOC, 0);
        assert_int_equal(s, fired ? SR_NOMEM : SR_OK);
        assert_int_equal(p == NULL, fired);
        sr_port_close(p);
    }
    sr_err   err = {0};
    sr_port *p   = NULL;
    assert_int_equal(sr_port_open(&(sr_portcfg){.command_bytes = 100}, &p, &err), SR_INVALID);
    err = (sr_err){0};
    assert_int_equal(sr_port_open(&(sr_portcfg){.event_bytes = SIZE_MAX / 2}, &p, &err), SR_INVALID);
    sr_port_close(NULL);
}

static void the_steady_state_allocates_nothing(void **state)
{
    (void)state;
    sr_port *p   = port_new(0, 0);
    sr_err   err = {0};
    int32_t  tok[100] = {0};
    uint64_t before   = sr_alloc_count();
    for (int i = 0; i < 100; i++) {
        sr_command c;
        sr_event   e[4];
        assert_int_equal(sr_port_post(p, &(sr_request){.tok = tok, .n_tok = 100}, &err), SR_OK);
        assert_true(sr_port_take(p, &c));
        assert_true(sr_port_emit(p, &(sr_event){.kind = SR_EV_DONE}));
        sr_port_flush(p);
        assert_int_equal(sr_port_poll(p, e, 4), 1);
    }
    assert_true(sr_alloc_count() == before);
    sr_port_close(p);
}

static void a_mad_engine_is_a_fault_and_not_a_crash(void **state)
{
    (void)state;
    uint32_t s = 1, broken = 0;
    for (int i = 0; i < 3000; i++) { /* ASan watches the bounds */
        sr_port     *p = port_new(1024, 4096);
        sr_event     e[8];
        sr_portstats stats;
        sr_alt       alt[3] = {{0, 0}};
        sr_command   c;
        int32_t      tok[20] = {0};
        sr_err       err = {0};
        assert_true(sr_port_emit(p, &(sr_event){.kind = SR_EV_DONE, .alt = alt, .n_alt = 3, .msg = "hello"}));
        assert_int_equal(sr_port_post(p, &(sr_request){.tok = tok, .n_tok = 20}, &err), SR_OK);
        sr_port_flush(p);
        s = s * 1664525u + 1013904223u;
        uint8_t *ring = i % 2 ? p->events.data : p->commands.data;
        ring[(s >> 8) % (i % 2 ? 136 : sizeof(wire_post) + 88)] ^= (uint8_t)(1u << s % 8); /* a bit of length or content */
        for (size_t k = sr_port_poll(p, e, 8); k > 0; k--)
            if (e[k - 1].msg)
                assert_in_range(strlen(e[k - 1].msg), 0, 400);
        if (sr_port_take(p, &c) && c.kind == SR_CMD_POST)
            for (uint32_t k = 0; k < c.request.n_tok; k++)
                assert_in_range((uint32_t)c.request.tok[k] & ((uint32_t)c.request.tok[k] - 1), 0, 0);
        sr_port_stats(p, &stats);
        broken += stats.fault == 1;
        sr_port_close(p);
    }
    assert_in_range(broken, 100, 2900); /* both kinds were met: lengths noticed, contents not ours to judge */
}

/* ---- sleeping ------------------------------------------------------------------------------------------ */

static void sleep_returns_at_once_when_there_is_work_and_keeps_its_time_otherwise(void **state)
{
    (void)state;
    sr_port *p   = port_new(0, 0);
    sr_err   err = {0};
    int32_t  tok = 1;
    uint64_t t   = sr_now_ns();
    sr_port_sleep(p, 20 * MS);
    assert_true(sr_now_ns() - t >= 20 * MS);
    sr_port_wake(p); /* before the sleep: it is not lost */
    sr_port_sleep(p, FOREVER);
    t = sr_now_ns();
    sr_port_sleep(p, 5 * MS); /* and is used up */
    assert_true(sr_now_ns() - t >= 5 * MS);
    assert_int_equal(sr_port_post(p, &(sr_request){.tok = &tok, .n_tok = 1}, &err), SR_OK);
    t = sr_now_ns();
    for (int i = 0; i < 1000; i++)
        sr_port_sleep(p, FOREVER);
    print_message("             sleep with work waiting: %llu ns a call\n", (unsigned long long)(sr_now_ns() - t) / 1000);
    sr_port_close(p);
}

/* A toy engine: for each request START, its tokens, DONE with the number of tokens; it stops at id ~0. */
static void toy_engine(sr_port *p)
{
    for (;;) {
        sr_command c;
        while (sr_port_take(p, &c)) {
            if (c.kind == SR_CMD_POST && c.id == ~0ull)
                return;
            if (c.kind != SR_CMD_POST) {
                sr_port_gauges(p)->cancelled += c.kind == SR_CMD_END;
                sr_port_gauges(p)->tokens_made += c.kind == SR_CMD_ACK;
                continue;
            }
            sr_port_gauges(p)->requests_done++;
            sr_port_gauges(p)->running++; /* always equal: see the reader of the gauges */
            for (uint32_t i = 0; i < c.request.n_tok + 2; i++) {
                sr_event e = {.id = c.id, .kind = SR_EV_TOKEN, .pos = i - 1};
                if (i == 0)
                    e.kind = SR_EV_START;
                else if (i <= c.request.n_tok)
                    e.token = c.request.tok[i - 1];
                else
                    e = (sr_event){.id = c.id, .kind = SR_EV_DONE, .usage.made = c.request.n_tok, .msg = "done"};
                while (!sr_port_emit(p, &e)) {
                    sr_port_flush(p);
                    sr_port_sleep(p, MS / 10);
                }
            }
            if (c.id % 3 == 0)
                sr_port_flush(p);
        }
        sr_port_flush(p);
        sr_port_sleep(p, FOREVER);
    }
}

static void *toy_thread(void *p) { return toy_engine(p), NULL; }

static uint32_t prompt_of(uint64_t id, int32_t *tok)
{
    uint32_t n = 1 + (uint32_t)(id * 2654435761u % 97);
    for (uint32_t i = 0; i < n; i++)
        tok[i] = (int32_t)(id * 31 + i);
    return n;
}

typedef struct { uint8_t *next; uint64_t n, done; } progress; /* next[id]: events of request id seen */

static void drain(sr_port *p, progress *g)
{
    sr_event e[64];
    for (size_t k; (k = sr_port_poll(p, e, 64)) > 0;)
        for (size_t i = 0; i < k; i++) {
            int32_t tok[128];
            assert_true(e[i].id < g->n);
            uint32_t n = prompt_of(e[i].id, tok), at = g->next[e[i].id]++;
            assert_int_equal(e[i].kind, at == 0 ? SR_EV_START : at <= n ? SR_EV_TOKEN : SR_EV_DONE);
            if (e[i].kind == SR_EV_TOKEN) {
                assert_int_equal(e[i].token, tok[at - 1]);
                assert_int_equal(e[i].pos, at - 1);
                if (e[i].pos == 0)
                    assert_true(sr_port_ack(p, e[i].id, 0, 0));
            } else if (e[i].kind == SR_EV_DONE) {
                assert_int_equal(e[i].usage.made, n);
                assert_string_equal(e[i].msg, "done");
                g->done++;
            }
        }
}

static void post_all(sr_port *p, uint64_t n)
{
    progress g = {.next = sr_calloc(n, 1), .n = n};
    sr_err   err = {0};
    int32_t  tok[128];
    assert_non_null(g.next);
    for (uint64_t id = 0; id < n; id++) {
        sr_status s;
        uint32_t  k = prompt_of(id, tok);
        while ((s = sr_port_post(p, &(sr_request){.id = id, .tok = tok, .n_tok = k}, &err)) == SR_AGAIN)
            drain(p, &g);
        assert_int_equal(s, SR_OK);
        if (id % 4 == 0) /* let the engine run dry and sleep */
            while (g.done <= id) {
                assert_true(fd_readable(p, 10000)); /* a lost wake-up ends here */
                drain(p, &g);
            }
    }
    while (g.done < n) {
        assert_true(fd_readable(p, 10000));
        drain(p, &g);
    }
    sr_portstats s;
    sr_port_stats(p, &s);
    assert_int_equal(s.requests_done, n);
    assert_int_equal(sr_port_post(p, &(sr_request){.id = ~0ull, .tok = tok, .n_tok = 1}, &err), SR_OK);
    sr_free(g.next);
}

static void another_process_answers_ten_thousand_requests(void **state)
{
    (void)state;
    sr_port *p   = port_new(64 << 10, 64 << 10); /* small: both rings fill and wrap */
    pid_t    pid = fork();
    if (pid == 0) {
        toy_engine(p);
        _exit(0);
    }
    assert_true(pid > 0);
    post_all(p, 10000);
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    sr_port_close(p);
}

static void a_thread_answers_ten_thousand_requests(void **state)
{
    (void)state;
    sr_port  *p = port_new(64 << 10, 64 << 10);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, toy_thread, p), 0);
    post_all(p, 10000);
    pthread_join(t, NULL);
    sr_port_close(p);
}

typedef struct { sr_port *p; uint32_t first, n, mixed; } asker;

static void *ask_many(void *arg)
{
    asker  *a = arg;
    sr_err  err = {0};
    int32_t tok[128];
    for (uint32_t i = a->first; i < a->first + a->n; i++) {
        uint32_t k = prompt_of(i, tok);
        while (sr_port_post(a->p, &(sr_request){.id = i, .tok = tok, .n_tok = k}, &err) == SR_AGAIN)
            sched_yield();
        while (!sr_port_end(a->p, i, ~0u, SR_END_CANCEL))
            sched_yield();
        sr_portstats s;
        sr_port_stats(a->p, &s);
        a->mixed += s.running != s.requests_done; /* one flush wrote both */
    }
    return NULL;
}

static void many_threads_ask_at_once_and_every_event_comes(void **state)
{
    (void)state;
    enum { N = 4, EACH = 1500 };
    sr_port  *p = port_new(64 << 10, 64 << 10);
    pthread_t engine, t[N];
    asker     a[N];
    progress  g   = {.next = sr_calloc(N * EACH, 1), .n = N * EACH};
    sr_err    err = {0};
    assert_int_equal(pthread_create(&engine, NULL, toy_thread, p), 0);
    for (uint32_t i = 0; i < N; i++) {
        a[i] = (asker){p, i * EACH, EACH, 0};
        assert_int_equal(pthread_create(&t[i], NULL, ask_many, &a[i]), 0);
    }
    while (g.done < g.n) {
        assert_true(fd_readable(p, 10000));
        drain(p, &g);
    }
    for (uint32_t i = 0; i < N; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(a[i].mixed, 0);
    }
    int32_t tok = 0;
    assert_int_equal(sr_port_post(p, &(sr_request){.id = ~0ull, .tok = &tok, .n_tok = 1}, &err), SR_OK);
    pthread_join(engine, NULL);
    sr_port_sleep(p, 0); /* the engine's side is ours now */
    sr_portstats s;
    sr_port_stats(p, &s);
    assert_int_equal(s.cancelled, g.n);
    sr_free(g.next);
    sr_port_close(p);
}

static void *sleep_until_stopped(void *arg)
{
    void   **a    = arg;
    int     *stop = a[1];
    uint64_t n    = 0;
    for (; !__atomic_load_n(stop, __ATOMIC_RELAXED); n++)
        sr_port_sleep(a[0], FOREVER);
    return NULL;
}

static void a_wake_ends_a_sleep_whenever_it_comes(void **state)
{
    (void)state;
    sr_port *p = port_new(0, 0);
    for (int i = 0; i < 500; i++) {
        int       stop = 0;
        pthread_t t;
        assert_int_equal(pthread_create(&t, NULL, sleep_until_stopped, (void *[]){p, &stop}), 0);
        if (i % 5 == 0)
            sched_yield();
        if (i % 50 == 0)
            usleep(2000);
        __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
        sr_port_wake(p);
        pthread_join(t, NULL); /* hangs if the wake was lost: the test's time limit tells */
    }
    sr_port_close(p);
}

static void a_poster_killed_with_the_lock_does_not_lock_out_the_others(void **state)
{
    void  *list;
    size_t n;
    (void)state;
    if (syscall(SYS_get_robust_list, 0, &list, &n)) /* QEMU: no kernel that would open the locks of the dead */
        skip();
    sr_port *p = port_new(0, 0);
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        if (pid == 0)
            for (uint32_t k = 0;; k++)
                (void)!sr_port_ack(p, 1, 2, k);
        assert_true(pid > 0);
        usleep(1000 + 137 * (useconds_t)i);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        sr_command c;
        uint32_t   k = 0;
        for (; sr_port_take(p, &c); k++)
            assert_true(c.kind == SR_CMD_ACK && c.id == 1 && c.choice == 2);
        assert_true(sr_port_end(p, 5, 0, SR_END_STOP));
        assert_true(sr_port_take(p, &c)); /* perhaps one ack that was put and not yet published, then ours */
        if (c.kind == SR_CMD_ACK)
            assert_true(sr_port_take(p, &c));
        assert_true(c.kind == SR_CMD_END && c.id == 5);
    }
    sr_port_close(p);
}

/* ---- time ---------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void the_round_trip_is_measured(void **state)
{
    (void)state;
    enum { N = 2000 };
    sr_port  *p = port_new(0, 0);
    pthread_t t;
    uint64_t  ns[N];
    sr_err    err = {0};
    int32_t   tok[512] = {0};
    assert_int_equal(pthread_create(&t, NULL, toy_thread, p), 0);
    for (int i = 0; i < N; i++) {
        uint64_t start = sr_now_ns();
        bool     done  = false;
        assert_int_equal(sr_port_post(p, &(sr_request){.id = 1, .tok = tok, .n_tok = 1}, &err), SR_OK);
        while (!done) {
            sr_event e[8];
            assert_true(fd_readable(p, 10000));
            for (size_t k = sr_port_poll(p, e, 8); k > 0; k--)
                done |= e[k - 1].kind == SR_EV_DONE;
        }
        ns[i] = sr_now_ns() - start;
    }
    assert_int_equal(sr_port_post(p, &(sr_request){.id = ~0ull, .tok = tok, .n_tok = 1}, &err), SR_OK);
    pthread_join(t, NULL);
    qsort(ns, N, sizeof *ns, by_value);
    print_message("             post > take > emit > poll, both asleep: median %.1f us, p90 %.1f us\n",
                  (double)ns[N / 2] / 1e3, (double)ns[N * 9 / 10] / 1e3);

    uint64_t start = sr_now_ns();
    for (int i = 0; i < N; i++) {
        sr_command c;
        sr_event   e[4];
        assert_int_equal(sr_port_post(p, &(sr_request){.id = 1, .tok = tok, .n_tok = 512}, &err), SR_OK);
        assert_true(sr_port_take(p, &c));
        assert_true(sr_port_emit(p, &(sr_event){.kind = SR_EV_TOKEN}));
        sr_port_flush(p);
        assert_int_equal(sr_port_poll(p, e, 4), 1);
    }
    print_message("             the same on one thread, 512 tokens: %llu ns\n",
                  (unsigned long long)(sr_now_ns() - start) / N);
    sr_port_close(p);
}

/* ---- an engine that dies ------------------------------------------------------------------------------- */

static sr_port *attach_again(const sr_port *p)
{
    sr_portfds fds = sr_port_fds(p);
    sr_port   *e   = NULL;
    sr_err     err = {0};
    fds = (sr_portfds){dup(fds.memory), dup(fds.work), dup(fds.event)};
    assert_int_equal(sr_port_attach(fds, &e, &err), SR_OK);
    return e;
}

static void post_one(sr_port *p, uint64_t id, uint32_t n)
{
    sr_err  err = {0};
    int32_t tok[] = {(int32_t)id, 2, 3};
    assert_int_equal(sr_port_post(p, &(sr_request){.id = id, .tok = tok, .n_tok = 3, .n = n}, &err), SR_OK);
}

static void say(sr_port *engine, uint64_t id, uint32_t choice, sr_evkind kind)
{
    assert_true(sr_port_emit(engine, &(sr_event){.id = id, .choice = choice, .kind = kind}));
}

/* Requests 1 (begun), 2 (one of two choices done), 3 (all done), 4 and 5 (not begun), 6 (not begun, ended): the engine
 * dies with commands unread and a last event in the ring. */
static void the_begun_fail_and_the_others_are_posted_again(void **state)
{
    (void)state;
    sr_err       err = {0};
    sr_port     *p   = NULL;
    sr_event     ev[16];
    sr_command   c;
    sr_portstats st;
    assert_int_equal(sr_port_open(&(sr_portcfg){.keep = true}, &p, &err), SR_OK);
    sr_port *engine = attach_again(p);
    for (uint64_t id = 1; id <= 5; id++)
        post_one(p, id, id == 2 ? 2 : 1);
    for (int i = 0; i < 4; i++)
        assert_true(sr_port_take(engine, &c));
    sr_port_gauges(engine)->ready = 1;
    for (uint64_t id = 1; id <= 3; id++)
        say(engine, id, UINT32_MAX, SR_EV_START);
    say(engine, 2, 1, SR_EV_DONE);
    say(engine, 3, 0, SR_EV_DONE);
    sr_port_flush(engine);
    assert_int_equal(sr_port_poll(p, ev, 16), 5);
    post_one(p, 6, 2);
    assert_true(sr_port_end(p, 6, UINT32_MAX, SR_END_CANCEL));
    say(engine, 1, 0, SR_EV_TOKEN);
    sr_port_flush(engine);
    say(engine, 2, 0, SR_EV_DONE); /* never shown */
    sr_port_close(engine);

    sr_port_stats(p, &st);
    assert_int_equal(st.ready, 1);
    sr_port_down(p, "signal 11");
    sr_port_stats(p, &st);
    assert_true(st.ready == 0 && st.fault == 0 && st.waiting == 3 && st.restarts == 0);
    assert_false(sr_port_await_renewal(p, MS));
    post_one(p, 7, 1);
    assert_true(fd_readable(p, 0));
    assert_int_equal(sr_port_poll(p, ev, 2), 2); /* in two calls, to cut it in the middle */
    assert_true(ev[0].id == 1 && ev[0].kind == SR_EV_TOKEN);
    assert_true(ev[1].id == 1 && ev[1].kind == SR_EV_ERROR && ev[1].choice == UINT32_MAX && ev[1].status == SR_DEVLOST);
    assert_string_equal(ev[1].msg, "signal 11");
    assert_true(fd_readable(p, 0));
    assert_int_equal(sr_port_poll(p, ev, 16), 3);
    assert_true(ev[0].id == 2 && ev[0].kind == SR_EV_ERROR);
    for (uint32_t i = 0; i < 2; i++)
        assert_true(ev[1 + i].id == 6 && ev[1 + i].kind == SR_EV_DONE && ev[1 + i].choice == i && ev[1 + i].reason == SR_END_CANCEL);
    assert_true(sr_port_await_renewal(p, 0));
    sr_port_stats(p, &st);
    assert_true(st.ready == 0 && st.restarts == 1);

    engine = attach_again(p);
    post_one(p, 8, 1);
    for (uint64_t id = 4; id <= 8; id += id == 5 ? 2 : 1) {
        assert_true(sr_port_take(engine, &c));
        assert_true(c.kind == SR_CMD_POST && c.id == id && c.request.n_tok == 3 && c.request.tok[0] == (int32_t)id);
    }
    assert_false(sr_port_take(engine, &c));
    say(engine, 4, 0, SR_EV_DONE);
    sr_port_flush(engine);
    assert_int_equal(sr_port_poll(p, ev, 16), 1);
    sr_port_close(engine);
    sr_port_close(p);
}

/* While there is no engine, four rings full are taken; then they reach the next one in order, as room appears. */
static void what_waits_for_an_engine_may_exceed_the_ring(void **state)
{
    (void)state;
    sr_err     err = {0};
    sr_port   *p   = NULL;
    sr_command c;
    sr_event   ev[4];
    int32_t    tok[64] = {0};
    uint64_t   posted = 0, seen = 0;
    assert_int_equal(sr_port_open(&(sr_portcfg){.command_bytes = 4096, .keep = true}, &p, &err), SR_OK);
    sr_port_down(p, "killed");
    sr_request q = {.tok = tok, .n_tok = 64};
    for (sr_status s = SR_OK; s == SR_OK; posted += s == SR_OK) {
        q.id = posted + 1;
        s    = sr_port_post(p, &q, &err);
        assert_true(s == SR_OK || s == SR_AGAIN);
    }
    assert_true(posted >= 4 * 4096 / 600);
    assert_int_equal(sr_port_poll(p, ev, 4), 0);
    sr_port *engine = attach_again(p);
    while (seen < posted) {
        uint64_t before = seen;
        while (sr_port_take(engine, &c)) {
            assert_true(c.id == ++seen);
            say(engine, c.id, UINT32_MAX, SR_EV_START);
        }
        assert_true(seen > before);
        sr_port_flush(engine);
        while (sr_port_poll(p, ev, 4)) {
        }
    }
    sr_port_gone(p);
    sr_portstats st;
    sr_port_stats(p, &st);
    assert_int_equal(st.fault, 1);
    sr_port_close(engine);
    sr_port_close(p);
}

static void attaching_to_what_is_no_port_fails(void **state)
{
    (void)state;
    sr_err   err = {0};
    sr_port *p   = NULL, *whole = port_new(0, 0);
    int      fd  = memfd_create("not-a-port", MFD_CLOEXEC);
    assert_int_equal(sr_port_attach((sr_portfds){fd, dup(0), dup(0)}, &p, &err), SR_INVALID);
    fd = memfd_create("not-a-port", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    assert_int_equal(sr_port_attach((sr_portfds){fd, dup(0), dup(0)}, &p, &err), SR_INVALID);
    assert_null(p);
    whole->shm->events_cap += 64;
    assert_int_equal(sr_port_attach((sr_portfds){dup(sr_port_fds(whole).memory), dup(0), dup(0)}, &p, &err), SR_INVALID);
    sr_port_close(whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_begun_fail_and_the_others_are_posted_again),
        cmocka_unit_test(what_waits_for_an_engine_may_exceed_the_ring),
        cmocka_unit_test(attaching_to_what_is_no_port_fails),
        cmocka_unit_test(a_request_arrives_by_value_with_all_its_lists),
        cmocka_unit_test(an_event_arrives_with_alternatives_and_message),
        cmocka_unit_test(a_request_larger_than_the_ring_is_refused_with_numbers),
        cmocka_unit_test(a_full_ring_is_again_and_leaves_room_to_cancel),
        cmocka_unit_test(event_room_is_what_emit_goes_by),
        cmocka_unit_test(gauges_are_shown_together_by_flush_and_sleep),
        cmocka_unit_test(opening_fails_cleanly_at_every_allocation),
        cmocka_unit_test(the_steady_state_allocates_nothing),
        cmocka_unit_test(a_mad_engine_is_a_fault_and_not_a_crash),
        cmocka_unit_test(sleep_returns_at_once_when_there_is_work_and_keeps_its_time_otherwise),
        cmocka_unit_test(another_process_answers_ten_thousand_requests),
        cmocka_unit_test(a_thread_answers_ten_thousand_requests),
        cmocka_unit_test(many_threads_ask_at_once_and_every_event_comes),
        cmocka_unit_test(a_wake_ends_a_sleep_whenever_it_comes),
        cmocka_unit_test(a_poster_killed_with_the_lock_does_not_lock_out_the_others),
        cmocka_unit_test(the_round_trip_is_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
