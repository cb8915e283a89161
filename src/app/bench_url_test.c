/* The parsers of the load test, piece by piece and in every cut; its client against servers that misbehave. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/bench_url_client.h"
#include "app/bench_url_event.h"
#include "app/bench_url_prompt.h"
#include "app/bench_url_reply.h"
#include "app/bench_url_report.h"
#include "base/mem.h"
#include "base/philox.h"

/* ---- server-sent events ---------------------------------------------------------------------------------- */

static void join_event(void *arg, const char *p, size_t n)
{
    sr_buf_add(arg, p, n);
    sr_buf_char(arg, '|');
}

static void events_give(const char *in, const char *want)
{
    size_t n = strlen(in);
    for (size_t cut = 0; cut <= n; cut++) {
        sr_sse s   = {0};
        sr_buf got = {0};
        sr_buf_str(&got, "");
        assert_true(sr_sse_feed(&s, in, cut, join_event, &got) && sr_sse_feed(&s, in + cut, n - cut, join_event, &got));
        sr_sse_finish(&s, join_event, &got);
        assert_string_equal(got.p, want);
        sr_sse_end(&s);
        sr_buf_end(&got);
    }
}

static void events_are_found_however_the_stream_is_cut(void **state)
{
    (void)state;
    events_give("data: a\n\ndata: b\n\n", "a|b|");
    events_give("data: a\r\n\r\ndata:b\r\n\r\n", "a|b|");
    events_give("data: a\r\rdata: b\r\r", "a|b|");
    events_give(": ping\n\ndata: a\n: in between\ndata: b\n\n", "a\nb|");
    events_give("event: x\nid: 7\nretry: 1\ndata: {}\n\n", "{}|");
    events_give("data:\n\ndata\n\ndatax: 1\n\n", "|");
    events_give("data: no empty line", "no empty line|");
    events_give("\n\n\n", "");
    events_give("data:  two blanks\n\n", " two blanks|");
}

static void an_event_without_end_is_refused(void **state)
{
    (void)state;
    sr_sse s = {0};
    sr_buf got = {0};
    char   block[65536];
    bool   ok = true;
    memset(block, 'x', sizeof block);
    for (size_t fed = 0; ok && fed < 3u * SR_SSE_MAX; fed += sizeof block)
        ok = sr_sse_feed(&s, block, sizeof block, join_event, &got);
    assert_false(ok);
    sr_sse_end(&s);
    sr_buf_end(&got);
}

/* ---- facts ----------------------------------------------------------------------------------------------- */

static sr_loadfacts facts(const char *json)
{
    sr_loadfacts f;
    if (!sr_load_facts(json, strlen(json), &f))
        fail_msg("refused: %s", json);
    return f;
}

static void the_chunks_of_known_servers_are_understood(void **state)
{
    (void)state;
    sr_loadfacts f = facts("{\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}");
    assert_true(f.n_text == 0 && !f.finish && !f.usage && !f.error);
    f = facts("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\" a\\n\"},\"logprobs\":{\"content\":[{\"token\":\"a\",\"text\":\"no\"}]},\"finish_reason\":null}]}");
    assert_int_equal(f.n_text, 4);
    f = facts("{\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}");
    assert_int_equal(f.n_text, 2);
    f = facts("{\"choices\":[{\"delta\":{\"reasoning\":\"hm\",\"content\":null}}]}");
    assert_int_equal(f.n_text, 2);
    f = facts("{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}}]}");
    assert_int_equal(f.n_text, 3);
    f = facts("{\"choices\":[{\"text\":\"abc\",\"index\":0,\"finish_reason\":\"length\"}],\"usage\":null}");
    assert_true(f.n_text == 3 && f.finish && !f.usage);
    f = facts("{\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":34,\"total_tokens\":46,\"prompt_tokens_details\":{\"cached_tokens\":8},"
              "\"completion_tokens_details\":{\"reasoning_tokens\":1}}}");
    assert_true(f.usage && f.n_prompt == 12 && f.n_made == 34 && f.n_cached == 8);
    f = facts("{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\",\"code\":500}}");
    assert_true(f.error && strcmp(f.message, "out of memory") == 0);
    f = facts("{\"error\":\"Request failed during generation\",\"error_type\":\"generation\"}"); /* TGI */
    assert_true(f.error && strstr(f.message, "Request failed"));
    f = facts("{\"object\":\"error\",\"message\":\"no such model\",\"code\":404}");              /* vLLM */
    assert_string_equal(f.message, "no such model");
    f = facts("{\"error\":null,\"detail\":\"Not Found\"}");
    assert_true(!f.error && strcmp(f.message, "Not Found") == 0);
    f = facts("{\"usage\":{\"completion_tokens\":-3,\"prompt_tokens\":1.5}}");
    assert_true(f.n_made == -1 && f.n_prompt == -1);
}

static void what_is_not_json_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", " ", "{", "}", "[1,]", "{\"a\":1,}", "{\"a\"}", "{\"a\":}", "{a:1}", "[1 2]", "01", "1.", "1e", "-", "+1", "nul",
                                      "truex", "\"a", "\"\\x\"", "\"\\u12g4\"", "\"\\u12", "\"a\nb\"", "{} {}", "{]", "[}", "{\"a\":1]", "[\"a\":1]", "\"\\"};
    static const char *const good[] = {"{}", "[]", " [ ] ", "0", "-0.5e+3", "1E9", "\"\\u00e9\\/\"", "[[],{},null,true,false]", "{\"\":\"\"}"};
    sr_loadfacts f;
    char         deep[200];
    for (size_t i = 0; i < SR_COUNT(bad); i++)
        if (sr_load_facts(bad[i], strlen(bad[i]), &f))
            fail_msg("taken: %s", bad[i]);
    for (size_t i = 0; i < SR_COUNT(good); i++)
        facts(good[i]);
    memset(deep, '[', sizeof deep);
    assert_false(sr_load_facts(deep, sizeof deep, &f));
}

static void the_first_model_is_found(void **state)
{
    (void)state;
    char              id[16];
    static const char list[] = "{\"object\":\"list\",\"models\":[{\"id\":\"x\"}],\"data\":[{\"object\":\"model\",\"id\":\"org/m\"},{\"id\":\"second\"}]}";
    assert_true(sr_load_model_id(list, sizeof list - 1, id, sizeof id));
    assert_string_equal(id, "org/m");
    assert_true(sr_load_model_id("{\"data\":[]}", 11, id, sizeof id));
    assert_string_equal(id, "");
    assert_false(sr_load_model_id("<html>", 6, id, sizeof id));
}

/* ---- responses ------------------------------------------------------------------------------------------- */

static bool join_body(void *arg, const char *p, size_t n) { return sr_buf_add(arg, p, n); }

static sr_replyverdict read_reply(const char *in, size_t cut, bool eof, sr_reply *r, sr_buf *body, size_t *used)
{
    size_t          n = strlen(in), more = 0;
    sr_replyverdict v = sr_reply_feed(r, in, cut, used, join_body, body);
    if (v == SR_REPLY_MORE)
        v = sr_reply_feed(r, in + cut, n - cut, &more, join_body, body);
    *used += more;
    return v == SR_REPLY_MORE && eof ? sr_reply_eof(r) : v;
}

static void reply_gives(const char *in, bool eof, int status, const char *want, size_t left, bool keep)
{
    for (size_t cut = 0, n = strlen(in); cut <= n; cut++) {
        sr_reply r    = {0};
        sr_buf   body = {0};
        size_t   used;
        sr_buf_str(&body, "");
        assert_int_equal(read_reply(in, cut, eof, &r, &body, &used), SR_REPLY_DONE);
        assert_int_equal(r.status, status);
        assert_string_equal(body.p, want);
        assert_int_equal(n - used, left);
        assert_int_equal(r.keep_alive, keep);
        sr_reply_end(&r);
        sr_buf_end(&body);
    }
}

static void bodies_end_by_length_by_chunks_or_with_the_connection(void **state)
{
    (void)state;
    reply_gives("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP", false, 200, "abc", 4, true);
    reply_gives("HTTP/1.1 500 X\r\ncontent-length:0\r\nConnection: close\r\n\r\n", false, 500, "", 0, false);
    reply_gives("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n00000a;x=y\r\n0123456789\r\n0\r\n\r\nZ", false, 200, "abc0123456789", 1, true);
    reply_gives("HTTP/1.1 200 OK\nTransfer-Encoding: gzip, Chunked\n\n1\na\n0\nTrailer: x\n\n", false, 200, "a", 0, true);
    reply_gives("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", false, 204, "", 0, true);
    reply_gives("HTTP/1.0 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\nuntil the end", true, 200, "until the end", 0, false);
    reply_gives("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", false, 200, "x", 0, true);
}

static void broken_responses_are_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        /* and cut off, with the connection closed */
        "", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"};
    for (size_t i = 0; i < SR_COUNT(bad); i++)
        for (size_t cut = 0; cut <= strlen(bad[i]); cut++) {
            sr_reply r    = {0};
            sr_buf   body = {0};
            size_t   used;
            if (read_reply(bad[i], cut, true, &r, &body, &used) != SR_REPLY_BAD || !r.why)
                fail_msg("taken: %s", bad[i]);
            sr_reply_end(&r);
            sr_buf_end(&body);
        }
}

/* ---- distributions, addresses, prompts ------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) { return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b; }

static void percentiles_are_within_a_hundredth(void **state)
{
    (void)state;
    enum { N = 20000 };
    static double v[N];
    sr_dist      *d = sr_calloc(1, sizeof *d);
    assert_non_null(d);
    assert_true(sr_dist_at(d, .5) == 0);
    for (uint32_t i = 0; i < N; i++) {
        sr_philox r = sr_philox4(3, i, 0, 0, 0);
        uint64_t  x = (uint64_t)r.v[0] >> (r.v[1] % 30); /* over nine orders of magnitude */
        v[i] = (double)x;
        sr_dist_add(d, x);
    }
    qsort(v, N, sizeof *v, by_value);
    for (double q = 0; q <= 1.0001; q += .01) {
        double exact = v[(size_t)SR_MIN(q * (N - 1) + .5, N - 1.0)], near = v[(size_t)SR_MIN(q * (N - 1) + 1.5, N - 1.0)];
        double got   = sr_dist_at(d, SR_MIN(q, 1.0));
        if (got < exact * .99 - 1 || got > near * 1.01 + 1)
            fail_msg("q %g: %g instead of %g", q, got, exact);
    }
    assert_true(d->min == v[0] && d->max == v[N - 1] && d->n == N);
    sr_free(d);
}

static void addresses_are_read_or_refused(void **state)
{
    (void)state;
    static const struct { const char *url, *host, *port, *base; bool tls; } good[] = {
        {"http://localhost:8080", "localhost", "8080", "/v1", false}, {"https://h/", "h", "443", "/v1", true},
        {"http://[::1]:99/openai/v1/", "::1", "99", "/openai/v1", false}, {"HTTP://10.0.0.1", "10.0.0.1", "80", "/v1", false},
        {"http://[fe80::1]", "fe80::1", "80", "/v1", false}};
    static const char *const bad[] = {"", "localhost:8080", "ftp://x", "http://", "http://:80", "http://x:0", "http://x:65536", "http://x:1a", "http://[::1", "http://[::1]8",
                                      "http://u:p@x", "http://x/?a", "http://x/#a", "http://x y", "http://x\r\nEvil: 1", "http://x:999999999999"};
    sr_nettarget t;
    for (size_t i = 0; i < SR_COUNT(good); i++) {
        sr_err err = {0};
        if (sr_net_parse(good[i].url, &t, &err))
            fail_msg("%s", err.msg);
        assert_string_equal(t.host, good[i].host);
        assert_string_equal(t.port, good[i].port);
        assert_string_equal(t.base, good[i].base);
        assert_int_equal(t.tls, good[i].tls);
    }
    for (size_t i = 0; i < SR_COUNT(bad); i++) {
        sr_err err = {0};
        if (!sr_net_parse(bad[i], &t, &err))
            fail_msg("taken: %s", bad[i]);
        assert_non_null(strstr(err.msg, "a URL is"));
    }
}

static void made_up_prompts_share_their_prefix_and_nothing_else(void **state)
{
    (void)state;
    sr_prompts p = {.model = "m \"1\"", .words = 50, .prefix = 20, .max_tokens = 7, .seed = 5, .usage = true, .ignore_eos = true};
    sr_buf     a = {0}, b = {0}, again = {0};
    sr_prompts_body(&p, 0, &a);
    sr_prompts_body(&p, 1, &b);
    sr_prompts_body(&p, 0, &again);
    assert_string_equal(a.p, again.p);
    assert_string_not_equal(a.p, b.p);
    size_t same = 0, blanks = 0;
    while (a.p[same] == b.p[same])
        blanks += a.p[same++] == ' ';
    assert_in_range(blanks, 20, 23); /* 19 between the prefix's words, one in the name, one behind the prefix, a word in common by chance */
    assert_non_null(strstr(a.p, "\"model\":\"m \\\"1\\\"\",\"prompt\":\""));
    assert_non_null(strstr(a.p, "\"max_tokens\":7,\"temperature\":0,\"ignore_eos\":true,\"stream\":true,\"stream_options\":{\"include_usage\":true}}"));
    sr_buf_end(&a);
    sr_buf_end(&b);
    sr_buf_end(&again);
}

static sr_status read_prompts(const char *text, bool chat, sr_prompts *p, sr_err *err)
{
    char path[] = "/tmp/bench_url_test.XXXXXX";
    int  fd     = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    *p = (sr_prompts){.model = "m", .chat = chat};
    sr_status s = sr_prompts_read(p, path, err);
    unlink(path);
    return s;
}

static void prompts_of_a_file_are_asked_in_turn(void **state)
{
    (void)state;
    sr_prompts p;
    sr_err     err = {0};
    sr_buf     out = {0};
    assert_int_equal(read_prompts("plain \"text\"\r\n\n{\"prompt\":\"of JSON\"}\n{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", true, &p, &err), SR_OK);
    assert_int_equal(p.n_line, 3);
    sr_prompts_body(&p, 3, &out);
    assert_non_null(strstr(out.p, "\"messages\":[{\"role\":\"user\",\"content\":\"plain \\\"text\\\"\"}]"));
    out.n = 0;
    sr_prompts_body(&p, 1, &out);
    assert_non_null(strstr(out.p, "\"content\":\"of JSON\""));
    out.n = 0;
    sr_prompts_body(&p, 2, &out);
    assert_non_null(strstr(out.p, "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"));
    sr_prompts_close(&p);
    sr_buf_end(&out);
    static const struct { const char *text, *why; } bad[] = {
        {"{\"prompt\":1}\n", ":1: \"prompt\" is not a string"}, {"a\n{\"x\":1}\n", ":2: neither"}, {"{\"messages\":[]}", ":1: messages are for --api chat"},
        {"\n\n", "no prompt in it"}, {"{oops\n", ":1: "}, {"{\"prompt\":[1]}", "is not a string"}};
    for (size_t i = 0; i < SR_COUNT(bad); i++) {
        err = (sr_err){0};
        assert_int_equal(read_prompts(bad[i].text, false, &p, &err), SR_INVALID);
        if (!strstr(err.msg, bad[i].why))
            fail_msg("\"%s\" lacks \"%s\"", err.msg, bad[i].why);
        sr_prompts_close(&p);
    }
}

/* ---- a server that says what it is told to --------------------------------------------------------------- */

typedef struct {
    const char *say;       /* bytes after a request; NULL: never answers */
    bool        keep;      /* goes on reading requests of the same connection */
    bool        slow;      /* a byte at a time */
    uint32_t    per_conn;  /* requests until the connection is closed, 0: as `keep` says */
    int         fd;
    uint16_t    port;
    pthread_t   thread;
    uint32_t    accepted;
} fake;

static bool read_request(int fd)
{
    char   b[65536];
    size_t n = 0;
    while (n < sizeof b - 1) {
        ssize_t k = recv(fd, b + n, sizeof b - 1 - n, 0);
        if (k <= 0)
            return false;
        n += (size_t)k;
        b[n] = 0;
        const char *end = strstr(b, "\r\n\r\n"), *len = strstr(b, "Content-Length: ");
        if (end && n >= (size_t)(end + 4 - b) + (len ? strtoul(len + 16, NULL, 10) : 0))
            return true;
    }
    return false;
}

static void *fake_run(void *arg)
{
    fake *f = arg;
    int   fd;
    while ((fd = accept(f->fd, NULL, NULL)) >= 0) {
        f->accepted++;
        for (uint32_t i = 0; read_request(fd); i++) {
            char b[256];
            if (f->per_conn && i == f->per_conn)
                break; /* read, and closed without a word */
            if (!f->say)
                while (recv(fd, b, sizeof b, 0) > 0)
                    ;
            for (size_t at = 0, n = f->say ? strlen(f->say) : 0, k = f->slow ? 1 : n; at < n; at += k)
                if (send(fd, f->say + at, k, MSG_NOSIGNAL) < 0)
                    break;
            if (!f->keep)
                break;
        }
        close(fd);
    }
    return NULL;
}

static void fake_start(fake *f)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t          n = sizeof a;
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(f->fd >= 0 && !bind(f->fd, (struct sockaddr *)&a, sizeof a) && !listen(f->fd, 64) && !getsockname(f->fd, (struct sockaddr *)&a, &n));
    f->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&f->thread, NULL, fake_run, f), 0);
}

static void fake_stop(fake *f)
{
    shutdown(f->fd, SHUT_RDWR);
    close(f->fd);
    pthread_join(f->thread, NULL);
}

static void empty_body(void *arg, uint64_t index, sr_buf *out)
{
    (void)arg;
    sr_buf_fmt(out, "{\"index\":%llu}", (unsigned long long)index);
}

static sr_loadstat *load(uint16_t port, sr_loadplan p)
{
    sr_err       err = {0};
    sr_nettarget t;
    char         url[64];
    sr_loadstat *st = sr_calloc(1, sizeof *st);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", port);
    assert_non_null(st);
    assert_int_equal(sr_net_open(url, &(sr_netcfg){0}, &t, &err), SR_OK);
    p.target     = &t;
    p.path       = "/completions";
    p.body       = empty_body;
    p.timeout_ms = p.timeout_ms ? p.timeout_ms : 5000;
    if (sr_load_run(&p, st, &err))
        fail_msg("%s", err.msg);
    sr_net_close(&t);
    return st;
}

#define HEAD_SSE "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#define CHUNK_A  "2e\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\r\n1\r\n\n\r\n"
#define TEXT_A   "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"
#define CLOSING  "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
#define DONE_    "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"

static void hostile_servers_are_told_apart(void **state)
{
    (void)state;
    static const struct { const char *say; sr_lerr kind; const char *why; } server[] = {
        {"HTTP/1.1 500 X\r\nContent-Length: 33\r\n\r\n{\"error\":{\"message\":\"no memory\"}} ", SR_LERR_STATUS, "500: no memory"},
        {"HTTP/1.1 429 X\r\nContent-Length: 8\r\n\r\nbusy\x01\x1b[m", SR_LERR_STATUS, "429: busy"},
        {"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", SR_LERR_STATUS, "503: no body"},
        {"", SR_LERR_CLOSED, "closed without an answer"},
        {"HTTP/1.1 200 O", SR_LERR_CLOSED, "closed within the response's head"},
        {HEAD_SSE CHUNK_A, SR_LERR_CLOSED, "closed within the answer"},
        {HEAD_SSE CHUNK_A "0\r\n\r\n", SR_LERR_CUT, "without a finish_reason"},
        {CLOSING TEXT_A, SR_LERR_CUT, "without a finish_reason"},
        {"\x18\x03\x01 this is not HTTP", SR_LERR_REPLY, "not an HTTP"},
        {"\x15\x03\x03 is a record of TLS", SR_LERR_REPLY, "is it https?"},
        {HEAD_SSE "zz\r\n", SR_LERR_REPLY, "framed"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", SR_LERR_REPLY, "no stream of events"},
        {CLOSING "data: {\"choices\":[{\"del\n\n", SR_LERR_EVENT, "not JSON: {\"choices\":[{\"del"},
        {CLOSING TEXT_A "data: {\"error\":{\"message\":\"device lost\"}}\n\n", SR_LERR_STREAM, "device lost"},
    };
    for (size_t i = 0; i < SR_COUNT(server); i++) {
        fake f = {.say = server[i].say};
        fake_start(&f);
        sr_loadstat *st = load(f.port, (sr_loadplan){.concurrency = 1, .requests = 3});
        fake_stop(&f);
        if (st->n_ok || st->errors[server[i].kind] != 3 || st->n_error != 3 || !strstr(st->text[server[i].kind], server[i].why))
            fail_msg("case %zu: %llu of the kind, \"%s\"", i, (unsigned long long)st->errors[server[i].kind], st->text[server[i].kind]);
        for (const char *p = st->text[server[i].kind]; *p; p++)
            assert_true((unsigned char)*p >= ' '); /* a terminal is not told what to do */
        sr_free(st);
    }
}

static void silence_times_out(void **state)
{
    (void)state;
    static const char *const say[] = {NULL, HEAD_SSE CHUNK_A};
    for (size_t i = 0; i < 2; i++) {
        fake f = {.say = say[i], .keep = true};
        fake_start(&f);
        sr_loadstat *st = load(f.port, (sr_loadplan){.concurrency = 1, .requests = 1, .timeout_ms = 1500});
        assert_int_equal(st->errors[SR_LERR_TIMEOUT], 1);
        assert_non_null(strstr(st->text[SR_LERR_TIMEOUT], i ? "silence within the answer" : "no answer"));
        assert_int_equal(st->tokens, i ? 1 : 0);
        fake_stop(&f);
        sr_free(st);
    }
}

static void nobody_there_ends_the_run_early(void **state)
{
    (void)state;
    fake f = {0};
    fake_start(&f);
    fake_stop(&f); /* a port where nobody is */
    sr_loadstat *st = load(f.port, (sr_loadplan){.concurrency = 2, .requests = 1000000});
    assert_true(st->n_ok == 0 && st->errors[SR_LERR_CONNECT] >= 16 && st->errors[SR_LERR_CONNECT] < 100);
    assert_non_null(strstr(st->text[SR_LERR_CONNECT], "refused"));
    sr_free(st);
}

static void answers_are_counted_and_timed(void **state)
{
    (void)state;
    static const char full[] = HEAD_SSE CHUNK_A CHUNK_A
        "4f\r\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":5,\"x\":[]}}\n\n\r\n" DONE_;
    for (int slow = 0; slow < 2; slow++) {
        fake f = {.say = full, .keep = true, .slow = slow};
        fake_start(&f);
        sr_loadstat *st = load(f.port, (sr_loadplan){.concurrency = 1, .requests = 8});
        fake_stop(&f);
        assert_int_equal(st->n_ok, 8);
        assert_int_equal(st->n_error, 0);
        assert_int_equal(st->connections, 1); /* kept */
        assert_int_equal(st->events, 16);
        assert_int_equal(st->tokens, 40);     /* as usage tells, not as events are */
        assert_int_equal(st->prompt_tokens, 56);
        assert_int_equal(st->n_usage, 8);
        assert_true(st->ttft.n == 8 && st->gap.n == 8 && st->total.n == 8 && sr_dist_at(&st->ttft, .5) <= sr_dist_at(&st->total, .5));
        sr_free(st);
    }
}

static void a_kept_connection_that_was_closed_is_replaced_silently(void **state)
{
    (void)state;
    fake f = {.say = HEAD_SSE CHUNK_A DONE_, .keep = true, .per_conn = 2};
    fake_start(&f);
    sr_loadstat *st = load(f.port, (sr_loadplan){.concurrency = 1, .requests = 9});
    fake_stop(&f);
    assert_int_equal(st->n_ok, 9);
    assert_int_equal(st->n_error, 0);
    assert_int_equal(st->connections, f.accepted);
    assert_in_range(st->connections, 5, 6);
    assert_int_equal(st->n_guess, 9); /* no usage: events count */
    sr_free(st);
}

static void an_end_that_is_missing_after_done_is_no_error(void **state)
{
    (void)state;
    fake f = {.say = HEAD_SSE CHUNK_A "e\r\ndata: [DONE]\n\n\r\n"};
    fake_start(&f);
    sr_loadstat *st = load(f.port, (sr_loadplan){.concurrency = 1, .requests = 2});
    fake_stop(&f);
    assert_int_equal(st->n_ok, 2);
    sr_free(st);
}

static void the_end_of_the_time_cuts_off(void **state)
{
    (void)state;
    fake f = {.say = HEAD_SSE CHUNK_A, .keep = true};
    fake_start(&f);
    sr_loadstat *st = load(f.port, (sr_loadplan){.concurrency = 3, .seconds = 1});
    fake_stop(&f);
    assert_int_equal(st->n_cut, 3);
    assert_int_equal(st->n_error, 0);
    assert_int_equal(st->tokens, 1); /* the server serves one connection at a time */
    assert_true(st->seconds > .99 && st->seconds < 60);
    sr_free(st);
}

static void requests_come_at_their_rate(void **state)
{
    (void)state;
    fake f = {.say = HEAD_SSE CHUNK_A DONE_};
    fake_start(&f);
    sr_loadstat *st = load(f.port, (sr_loadplan){.rate = 400, .requests = 200, .seed = 1});
    fake_stop(&f);
    assert_int_equal(st->n_ok, 200);
    assert_in_range((int)(st->seconds * 1000), 350, 60000); /* 500 ms on average; a loaded machine may be late, never early */
    sr_free(st);
}

static void idle_connections_stand_by(void **state)
{
    (void)state;
    fake f = {.say = HEAD_SSE CHUNK_A DONE_};
    fake_start(&f);
    /* The fake serves one connection at a time, so it is stuck with the first idle one: only the opening is looked at. */
    sr_loadstat *st = load(f.port, (sr_loadplan){.concurrency = 1, .requests = 1, .idle = 5, .timeout_ms = 100});
    assert_int_equal(st->idle_lost, 0);
    assert_int_equal(st->connections, 6);
    fake_stop(&f);
    sr_free(st);
}

static void reports_are_whole_in_every_form(void **state)
{
    (void)state;
    sr_loadstat *row = sr_calloc(2, sizeof *row);
    assert_non_null(row);
    for (uint32_t i = 0; i < 2; i++) {
        row[i] = (sr_loadstat){.concurrency = 4 << i, .seconds = 2, .n_ok = 10, .tokens = 100, .events = 100, .n_usage = 10};
        for (uint64_t k = 1; k <= 100; k++)
            sr_dist_add(&row[i].ttft, k * 1000000), sr_dist_add(&row[i].gap, k * 10000), sr_dist_add(&row[i].total, k * 20000000), sr_dist_add(&row[i].tpot, k * 10000);
    }
    sr_load_error(&row[1], SR_LERR_STATUS, 503, "503: <busy>");
    sr_loadreport r   = {"http://x/<&>", "m\"1\"", "chat", "128 words", 64, 0, row, 2};
    sr_buf        out = {0};
    sr_load_head(&r, &out);
    sr_load_line(&row[1], &out);
    sr_load_foot(&r, &out);
    assert_non_null(strstr(out.p, "1 x status (503: 1); the first: 503: <busy>"));
    assert_non_null(strstr(out.p, "50.0 |"));
    out.n = 0;
    sr_load_json(&r, &out);
    sr_loadfacts f;
    assert_true(sr_load_facts(out.p, out.n, &f));
    assert_non_null(strstr(out.p, "\"tok_s\": 50"));
    out.n = 0;
    sr_load_csv(&r, &out);
    const char *csv = strstr(out.p, "\n4,0,2.000,10,0,0,5.000,50.0,50.0,usage,5");
    assert_non_null(csv);
    assert_int_equal(strcspn(csv + 1, "\n"), strlen("4,0,2.000,10,0,0,5.000,50.0,50.0,usage,50.500,90.500,99.500,0.505,0.905,0.995,0.505,0.905,0.995,1010.000,1810.000,1990.000"));
    out.n = 0;
    sr_load_svg(&r, &out);
    assert_non_null(strstr(out.p, "</svg>\n"));
    assert_null(strstr(out.p, "<&>"));
    assert_null(strstr(out.p, "nan"));
    sr_buf_end(&out);
    sr_free(row);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(events_are_found_however_the_stream_is_cut), cmocka_unit_test(an_event_without_end_is_refused),
        cmocka_unit_test(the_chunks_of_known_servers_are_understood), cmocka_unit_test(what_is_not_json_is_refused),
        cmocka_unit_test(the_first_model_is_found), cmocka_unit_test(bodies_end_by_length_by_chunks_or_with_the_connection),
        cmocka_unit_test(broken_responses_are_refused_with_a_reason), cmocka_unit_test(percentiles_are_within_a_hundredth),
        cmocka_unit_test(addresses_are_read_or_refused), cmocka_unit_test(made_up_prompts_share_their_prefix_and_nothing_else),
        cmocka_unit_test(prompts_of_a_file_are_asked_in_turn), cmocka_unit_test(hostile_servers_are_told_apart),
        cmocka_unit_test(silence_times_out), cmocka_unit_test(nobody_there_ends_the_run_early), cmocka_unit_test(answers_are_counted_and_timed),
        cmocka_unit_test(a_kept_connection_that_was_closed_is_replaced_silently), cmocka_unit_test(an_end_that_is_missing_after_done_is_no_error),
        cmocka_unit_test(the_end_of_the_time_cuts_off), cmocka_unit_test(requests_come_at_their_rate), cmocka_unit_test(idle_connections_stand_by),
        cmocka_unit_test(reports_are_whole_in_every_form),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
