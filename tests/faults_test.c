/* faults_test: the whole server over a real model while one allocation, open, read, copy, submission or connection fails.
 *
 *     for n = 1, 2, .. until the fault no longer fires:
 *         the n-th call fails  ->  three requests: a stream, two choices with logprobs, a long prompt whose answer has a form
 *         each is answered as in a quiet run, or visibly not at all: an error's status, an error event, a connection cut short
 *         then no page is held, nobody runs, and every sixteenth time three quiet requests are answered as always
 *
 * Faults that end the device (copies, submissions) or come while loading get a new server each time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "format/gguf.h"
#include "process.h"
#include "serve/serve.h"

#define MODEL "models/strata-demo-draft-Q8_0.gguf"
enum { ASKS = 3, BIG = 70000 };

typedef struct {
    sr_model     *model;
    sr_port      *port;
    sr_engine    *engine;
    sr_gguf      *gguf;
    sr_tokenizer *tok;
    sr_template  *chat;
    sr_serve     *serve;
    pthread_t     engine_thread, io_thread;
    volatile int  stop;
    bool          running, listening;
    uint16_t      at;
} world;

typedef struct { int status; bool error, done; char text[2000]; } answer;

static answer      quiet[ASKS];
static char        ask[ASKS][BIG];
static size_t      n_ask[ASKS];
static const char  chatml[] = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                              "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/* ---- a server ---------------------------------------------------------------------------------------------- */

static void *engine_main(void *arg)
{
    world *w   = arg;
    sr_err err = {0};
    (void)!sr_engine_run(w->engine, &w->stop, &err); /* a lost device is what some passes are about */
    return NULL;
}

static void *io_main(void *arg)
{
    world *w   = arg;
    sr_err err = {0};
    (void)!sr_serve_run(w->serve, &err);
    return NULL;
}

static void down(world *w)
{
    if (w->listening) {
        sr_serve_stop(w->serve);
        pthread_join(w->io_thread, NULL);
    }
    if (w->running) {
        __atomic_store_n(&w->stop, 1, __ATOMIC_RELEASE);
        sr_port_wake(w->port);
        pthread_join(w->engine_thread, NULL);
    }
    sr_serve_close(w->serve);
    sr_engine_close(w->engine);
    sr_port_close(w->port);
    sr_template_close(w->chat);
    sr_tokenizer_close(w->tok);
    sr_gguf_close(w->gguf);
    sr_model_close(w->model);
    *w = (world){0};
}

static int health(const world *w);

/* Until the server takes requests. */
static sr_status up(world *w, sr_err *err)
{
    sr_loadcfg  load = {.path = MODEL, .ctx = 512, .max_seqs = 4, .max_step_tokens = 128, .dev = {.threads = 1}};
    sr_servecfg cfg  = {.model_id = "m"};
    *w = (world){0};
    if (sr_gguf_open(MODEL, &w->gguf, err) || sr_tokenizer_open(w->gguf, &w->tok, err) ||
        sr_template_compile(chatml, sizeof chatml - 1, &w->chat, err) || sr_model_load(&load, &w->model, err) ||
        sr_port_open(NULL, &w->port, err) || sr_engine_open(w->model, NULL, NULL, w->port, &w->engine, err) || sr_serve_open(&cfg, &w->serve, err))
        return err->status;
    w->at      = sr_serve_port(w->serve);
    w->running = pthread_create(&w->engine_thread, NULL, engine_main, w) == 0;
    w->listening = pthread_create(&w->io_thread, NULL, io_main, w) == 0;
    sr_servemodel m = {.port = w->port, .tok = w->tok, .chat = w->chat, .chat_source = chatml, .ctx = 512};
    if (sr_serve_ready(w->serve, &m, err))
        return err->status;
    while (health(w) == 503)
        usleep(1000);
    return SR_OK;
}

/* ---- three requests ---------------------------------------------------------------------------------------- */

static void make_asks(void)
{
    static const char *const path[ASKS] = {"/v1/chat/completions", "/v1/completions", "/v1/chat/completions"};
    static char              body[ASKS][BIG - 300];
    snprintf(body[0], sizeof body[0], "{\"messages\":[{\"role\":\"user\",\"content\":\"Tell me of the sea.\"}],\"stream\":true,\"temperature\":0,\"max_tokens\":4,"
             "\"stop\":[\"never said\"],\"logit_bias\":{\"5\":1}}");
    snprintf(body[1], sizeof body[1], "{\"prompt\":\"The old king\",\"n\":2,\"echo\":true,\"logprobs\":2,\"temperature\":0.7,\"seed\":5,\"max_tokens\":3,"
             "\"presence_penalty\":0.5}");
    snprintf(body[2], sizeof body[2], "{\"messages\":[{\"role\":\"user\",\"content\":\"An object.\"}],%*s\"temperature\":0,\"max_tokens\":4,"
             "\"response_format\":{\"type\":\"json_object\"}}", 40000, ""); /* long enough for the thread beside the io thread */
    for (int i = 0; i < ASKS; i++)
        n_ask[i] = (size_t)snprintf(ask[i], sizeof ask[i], "POST %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                                    path[i], strlen(body[i]), body[i]);
}

/* The values of one member, one after the other.  Nothing here takes memory of the heap. */
static void collect(const char *in, const char *member, char *out, size_t cap)
{
    size_t n = strlen(out);
    for (const char *p = in; (p = strstr(p, member)) != NULL;) {
        p += strlen(member);
        for (; *p && *p != '"' && n + 2 < cap; p++) {
            if (*p == '\\')
                out[n++] = *p++;
            out[n++] = *p;
        }
        out[n] = 0;
    }
}

/* The status of what came back, 0 without one. */
static int exchange(const world *w, const char *out, size_t n_out, char *in, size_t cap)
{
    size_t             n  = 0;
    int                fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(w->at), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval     tv = {30, 0};
    ssize_t            k;
    assert_true(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    for (size_t at = 0; at < n_out && (k = send(fd, out + at, n_out - at, MSG_NOSIGNAL)) > 0;)
        at += (size_t)k;
    while ((k = recv(fd, in + n, cap - 1 - n, 0)) > 0)
        n += (size_t)k;
    in[n] = 0;
    close(fd);
    return strncmp(in, "HTTP/1.1 ", 9) == 0 ? (in[9] - '0') * 100 + (in[10] - '0') * 10 + (in[11] - '0') : 0;
}

static int health(const world *w)
{
    static const char get[] = "GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    char              in[4096];
    return exchange(w, get, sizeof get - 1, in, sizeof in);
}

static void one(world *w, int i, answer *a)
{
    static char in[1 << 18];
    *a = (answer){.status = exchange(w, ask[i], n_ask[i], in, sizeof in)};
    const char *body = strstr(in, "\r\n\r\n");
    if (!body)
        return;
    a->error = strstr(body, "\"error\":") != NULL;
    a->done  = i > 0 || strstr(body, "data: [DONE]") != NULL;
    if (a->status == 200) {
        collect(body, "\"content\":\"", a->text, sizeof a->text);
        collect(body, "\"text\":\"", a->text, sizeof a->text);
        collect(body, "\"finish_reason\":\"", a->text, sizeof a->text);
    }
}

/* As in the quiet run, or visibly not an answer. */
static bool same(const answer *a, int i)
{
    if (a->status == 200 && a->done && !a->error) {
        if (strcmp(a->text, quiet[i].text))
            fail_msg("request %d: \"%s\" instead of \"%s\"", i, a->text, quiet[i].text);
        return true;
    }
    assert_true(a->status == 0 || a->status == 200 || ((a->status >= 500 || a->status == 429) && a->error));
    assert_true(a->status != 200 || i == 0); /* only a stream may begin and then break off */
    return false;
}

static uint32_t ask_all(world *w)
{
    uint32_t good = 0;
    answer   a;
    for (int i = 0; i < ASKS; i++) {
        one(w, i, &a);
        good += same(&a, i);
    }
    return good;
}

static void all_is_given_back(world *w)
{
    sr_portstats s;
    uint64_t     until = sr_now_ns() + 60000000000u;
    do
        sr_port_stats(w->port, &s);
    while ((s.pages_used || s.running || s.waiting) && sr_now_ns() < until && usleep(500) == 0);
    assert_int_equal(s.pages_used, 0);
    assert_int_equal(s.running + s.waiting, 0);
    assert_int_equal(s.pages_free + s.pages_cached, s.pages_total);
}

/* ---- tests ------------------------------------------------------------------------------------------------- */

static int make_quiet(void **state)
{
    (void)state;
    world  w;
    sr_err err = {0};
    make_asks();
    if (up(&w, &err)) {
        print_error("%s\n", err.msg);
        return -1;
    }
    for (int i = 0; i < ASKS; i++) {
        one(&w, i, &quiet[i]);
        if (quiet[i].status != 200 || !quiet[i].done || quiet[i].error || !*quiet[i].text)
            return -1;
    }
    down(&w);
    return 0;
}

/* Faults that a running server lives through. */
static void lived_through(sr_faultkind kind, uint64_t least)
{
    world    w;
    sr_err   err   = {0};
    uint64_t n     = 1, failed = 0;
    bool     fired = true;
    assert_int_equal(up(&w, &err), SR_OK);
    assert_int_equal(ask_all(&w), ASKS);
    uint32_t fds = sr_descriptors_of(getpid());
    for (; fired; n++) {
        sr_fault_arm(kind, n);
        failed += ASKS - ask_all(&w);
        fired = sr_fault_fired(kind);
        sr_fault_arm(kind, 0);
        all_is_given_back(&w);
        if (n % 16 == 0)
            assert_int_equal(ask_all(&w), ASKS);
    }
    assert_int_equal(ask_all(&w), ASKS);
    assert_true(n > least);
    assert_in_range(sr_descriptors_of(getpid()), fds - 1, fds + 1);
    print_message("%llu fault points survived, %llu requests refused\n", (unsigned long long)n - 2, (unsigned long long)failed);
    down(&w);
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    lived_through(SR_FAULT_ALLOC, 100);
}

static void any_connection_may_fail_to_be_accepted(void **state)
{
    (void)state;
    lived_through(SR_FAULT_ACCEPT, ASKS);
}

/* Faults that end the loading or the device: an error, and a server that says so. */
static void ended_by(sr_faultkind kind, uint64_t least)
{
    uint64_t n = 1, refused = 0, lost = 0;
    for (bool fired = true; fired; n++) {
        world  w;
        sr_err err = {0};
        sr_fault_arm(kind, n);
        if (up(&w, &err)) {
            assert_true(sr_fault_fired(kind));
            assert_true(err.msg[0] && !strchr(err.msg, '\n'));
            refused++;
        } else {
            uint32_t good = ask_all(&w);
            fired = sr_fault_fired(kind);
            lost += fired;
            assert_true(fired || good == ASKS);
            all_is_given_back(&w);
        }
        sr_fault_arm(kind, 0);
        down(&w);
    }
    assert_true(n > least);
    print_message("%llu fault points survived: %llu while loading, %llu while answering\n", (unsigned long long)n - 2,
                  (unsigned long long)refused, (unsigned long long)lost);
    world  w;
    sr_err err = {0};
    assert_int_equal(up(&w, &err), SR_OK);
    assert_int_equal(ask_all(&w), ASKS);
    down(&w);
}

static void any_file_may_fail_to_open(void **state)
{
    (void)state;
    ended_by(SR_FAULT_OPEN, 2);
}

static void any_read_may_fail(void **state)
{
    (void)state;
    ended_by(SR_FAULT_READ, 1);
}

static void any_memory_of_the_device_may_be_refused(void **state)
{
    (void)state;
    ended_by(SR_FAULT_DEVALLOC, 3);
}

static void any_copy_may_fail(void **state)
{
    (void)state;
    ended_by(SR_FAULT_COPY, 10);
}

static void any_submission_may_fail(void **state)
{
    (void)state;
    ended_by(SR_FAULT_SUBMIT, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(any_connection_may_fail_to_be_accepted),
        cmocka_unit_test(any_file_may_fail_to_open),
        cmocka_unit_test(any_read_may_fail),
        cmocka_unit_test(any_memory_of_the_device_may_be_refused),
        cmocka_unit_test(any_copy_may_fail),
        cmocka_unit_test(any_submission_may_fail),
    };
    return cmocka_run_group_tests(tests, make_quiet, NULL);
}
