/* serve_bench.c - what the server alone costs: the null engine behind it, a counting client in front.
 *
 *     strata-bench-serve MODEL.gguf stream  STREAMS SECONDS        tokens per second, unthrottled; io thread's CPU per token
 *     strata-bench-serve MODEL.gguf paced   STREAMS SECONDS RATE   gaps between tokens beyond 1/RATE, as the clients see them
 *     strata-bench-serve MODEL.gguf first   REQUESTS               from sending a request to its first token, one at a time
 *     strata-bench-serve MODEL.gguf idle    CONNECTIONS            resident bytes per idle connection
 *     strata-bench-serve MODEL.gguf prepare KIB                    a chat of so many KiB: JSON to token ids, against tokenising alone
 *
 * Server, engine and client share the machine's cores, so tokens per CPU second of the io thread is the figure that
 * carries over to another machine.  Each token is a frame of its own.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "format/gguf.h"
#include "serve/null_engine.h"
#include "serve/request.h"
#include "serve/serve.h"

typedef struct {
    sr_serve     *serve;
    sr_port      *port;
    sr_null      *engine;
    sr_tokenizer *tok;
    sr_template  *chat;
    sr_ids        ids;
    pthread_t     io;
} server;

typedef struct { int fd; uint64_t last_ns, tokens; char tail[2]; bool open; } client;

static void die(const char *what)
{
    fprintf(stderr, "strata-bench-serve: %s\n", what);
    _exit(1);
}

static void check(sr_status s, const sr_err *err)
{
    if (s)
        die(err->msg);
}

static void *io_thread(void *arg)
{
    sr_err err = {0};
    check(sr_serve_run(((server *)arg)->serve, &err), &err);
    return NULL;
}

static void start(server *s, const char *model, double rate, uint32_t seqs)
{
    sr_err   err = {0};
    sr_gguf *g   = NULL;
    static const char chat[] = "{% for m in messages %}{{ m.content }}\n{% endfor %}";
    static const char text[] = " The quick brown fox jumps over the lazy dog, again and again, and it does not get tired of it.";
    static const sr_servecfg cfg = {.model_id = "null", .limits = {.conns = 60000, .conns_per_ip = 60000, .requests = 60000},
                                    .times = {.idle = 600000}};
    check(sr_gguf_open(model, &g, &err), &err);
    check(sr_tokenizer_open(g, &s->tok, &err), &err);
    sr_gguf_close(g);
    check(sr_template_compile(chat, sizeof chat - 1, &s->chat, &err), &err);
    check(sr_tokenizer_encode(s->tok, text, sizeof text - 1, 0, &s->ids, &err), &err);
    check(sr_port_open(NULL, &s->port, &err), &err);
    sr_nullcfg n = {.tok = s->ids.p, .n_tok = (uint32_t)s->ids.n, .endless = true, .rate = rate, .max_seqs = seqs, .ctx = 1u << 30, .queue = seqs};
    check(sr_null_open(s->port, &n, &s->engine, &err), &err);
    check(sr_serve_open(&cfg, &s->serve, &err), &err);
    sr_servemodel m = {.port = s->port, .tok = s->tok, .chat = s->chat, .ctx = 1u << 30};
    check(sr_serve_ready(s->serve, &m, &err), &err);
    if (pthread_create(&s->io, NULL, io_thread, s))
        die("no thread");
    usleep(200000);
}

static void stop(server *s)
{
    sr_serve_stop(s->serve);
    sr_serve_stop(s->serve);
    pthread_join(s->io, NULL);
    sr_serve_close(s->serve);
    sr_null_close(s->engine);
    sr_port_close(s->port);
    sr_template_close(s->chat);
    sr_tokenizer_close(s->tok);
    sr_ids_end(&s->ids);
}

static int dial(const server *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(sr_serve_port(s->serve)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a))
        die(strerror(errno));
    return fd;
}

static void ask(int fd, const char *more)
{
    char body[200], q[400];
    int  n = snprintf(body, sizeof body, "{\"messages\":[{\"role\":\"user\",\"content\":\"Hello there.\"}],\"stream\":true%s}", more);
    int  k = snprintf(q, sizeof q, "POST /v1/chat/completions HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\n\r\n%s", n, body);
    if (send(fd, q, (size_t)k, 0) != k)
        die("send");
}

static double cpu_of(pthread_t t)
{
    clockid_t c;
    struct timespec ts = {0};
    if (!pthread_getcpuclockid(t, &c))
        clock_gettime(c, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* Frames end with two line feeds; nothing else in a stream does. */
static uint64_t count_frames(const char *p, size_t n, char *last)
{
    uint64_t k = 0;
    const char *at = p, *end = p + n;
    if (n && *last == '\n' && *p == '\n')
        k++;
    while ((at = memchr(at, '\n', (size_t)(end - at)))) {
        if (at + 1 < end && at[1] == '\n') {
            k++;
            at++;
        }
        at++;
    }
    if (n)
        *last = n >= 2 && p[n - 2] == '\n' ? 0 : p[n - 1];
    return k;
}

typedef struct { uint32_t *us; size_t n, cap; } gaps;

static uint64_t drain(int ep, client *c, uint64_t until, gaps *g)
{
    static char buf[1 << 18];
    struct epoll_event ev[256];
    uint64_t total = 0;
    for (uint64_t now = sr_now_ns(); now < until; now = sr_now_ns()) {
        int n = epoll_wait(ep, ev, 256, 100);
        now = sr_now_ns();
        for (int i = 0; i < n; i++) {
            client *x = &c[ev[i].data.u32];
            ssize_t k = recv(x->fd, buf, sizeof buf, 0);
            if (k <= 0)
                die("a stream ended");
            uint64_t f = count_frames(buf, (size_t)k, x->tail);
            total += f;
            if (f && g && x->last_ns && g->n < g->cap)
                g->us[g->n++] = (uint32_t)((now - x->last_ns) / 1000);
            if (f)
                x->last_ns = now;
        }
    }
    return total;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void report(const char *what, uint32_t *us, size_t n)
{
    if (!n)
        die("nothing was measured");
    qsort(us, n, sizeof *us, by_value);
    printf("%s: n %zu  p50 %u  p90 %u  p99 %u  p99.9 %u  max %u us\n", what, n, us[n / 2], us[n * 9 / 10], us[n * 99 / 100],
           us[n - 1 - n / 1000], us[n - 1]);
}

static void streams(const char *model, uint32_t n, double seconds, double rate)
{
    server  s = {0};
    client *c = calloc(n, sizeof *c);
    int     ep = epoll_create1(0);
    gaps    g = {.cap = 1 << 24};
    g.us = calloc(g.cap, sizeof *g.us);
    if (!c || ep < 0 || !g.us)
        die("no memory");
    start(&s, model, rate, n);
    for (uint32_t i = 0; i < n; i++) {
        c[i].fd = dial(&s);
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(ep, EPOLL_CTL_ADD, c[i].fd, &e);
        ask(c[i].fd, "");
    }
    drain(ep, c, sr_now_ns() + 1000000000u, NULL);
    sr_portstats a, b;
    uint64_t t0 = sr_now_ns(), frames;
    double   cpu = cpu_of(s.io);
    sr_port_stats(s.port, &a);
    frames = drain(ep, c, t0 + (uint64_t)(seconds * 1e9), rate > 0 ? &g : NULL);
    double dt = (double)(sr_now_ns() - t0) * 1e-9, used = cpu_of(s.io) - cpu;
    sr_port_stats(s.port, &b);
    if ((double)frames < 0.99 * (double)(b.tokens_made - a.tokens_made) - 256.0 * n) /* what is under way is not lost */
        die("fewer frames than tokens");
    printf("%u streams, %.1f s: %.0f tokens/s; io thread: %.0f %% of a core, %.2f us of CPU per token (%.0f tokens per CPU second)\n", n, dt,
           (double)frames / dt, 100 * used / dt, 1e6 * used / (double)frames, (double)frames / used);
    if (rate > 0) {
        for (size_t i = 0; i < g.n; i++) { /* how far from the pace, early or late */
            double d = (double)g.us[i] - 1e6 / rate;
            g.us[i] = (uint32_t)(d < 0 ? -d : d);
        }
        report("distance of a gap from the pace", g.us, g.n);
    }
    for (uint32_t i = 0; i < n; i++)
        close(c[i].fd);
    stop(&s);
    free(c);
    free(g.us);
}

static void first(const char *model, uint32_t n)
{
    server   s = {0};
    uint32_t *us = calloc(n, sizeof *us);
    char     buf[65536];
    start(&s, model, 0, 64);
    int fd = dial(&s);
    for (uint32_t i = 0; us && i < n; i++) {
        uint64_t t = sr_now_ns();
        size_t   have = 0;
        ask(fd, ",\"max_tokens\":1");
        for (bool seen = false;;) {
            ssize_t k = recv(fd, buf + have, sizeof buf - have - 1, 0);
            if (k <= 0)
                die("the answer ended early");
            have += (size_t)k;
            buf[have] = 0;
            if (!seen && strstr(buf, "\"delta\":{\"content\"")) {
                us[i] = (uint32_t)((sr_now_ns() - t) / 1000);
                seen  = true;
            }
            if (have > 5 && !strcmp(buf + have - 5, "0\r\n\r\n"))
                break;
        }
    }
    report("request to first token", us, n);
    close(fd);
    stop(&s);
    free(us);
}

static size_t resident(void)
{
    char  line[100];
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long pages = 0;
    if (!f || !fgets(line, sizeof line, f) || sscanf(line, "%*u %lu", &pages) != 1)
        die("statm");
    fclose(f);
    return pages * 4096;
}

static void idle(const char *model, uint32_t n)
{
    server s = {0};
    int   *fd = calloc(n, sizeof *fd);
    char   buf[2000];
    start(&s, model, 0, 64);
    size_t before = resident();
    for (uint32_t i = 0; fd && i < n; i++) { /* each has asked once: buffers were used and given back */
        fd[i] = dial(&s);
        if (send(fd[i], "GET /health HTTP/1.1\r\nHost: b\r\n\r\n", 34, 0) != 34 || recv(fd[i], buf, sizeof buf, 0) <= 0)
            die("health");
    }
    printf("%u idle connections: %zu resident bytes each (%.1f MB)\n", n, (resident() - before) / n, (double)(resident() - before) * 1e-6);
    for (uint32_t i = 0; fd && i < n; i++)
        close(fd[i]);
    stop(&s);
    free(fd);
}

/* A chat of 1 KiB messages of made-up words. */
static void chat_body(sr_buf *json, sr_buf *text, uint32_t kib)
{
    static const char *const word[] = {"the", "river", "of", "stories", "begins", "where", "a", "mountain", "keeps", "its", "snow,", "and", "runs"};
    uint32_t x = 1;
    sr_buf_str(json, "{\"messages\":[");
    for (uint32_t i = 0; i < kib; i++) {
        sr_buf m = {0};
        while (m.n < 1010) {
            x = x * 1664525u + 1013904223u;
            sr_buf_fmt(&m, "%s ", word[(x >> 16) % SR_COUNT(word)]);
        }
        sr_buf_fmt(json, "%s{\"role\":\"%s\",\"content\":\"%s\"}", i ? "," : "", i % 2 ? "assistant" : "user", m.p);
        sr_buf_fmt(text, "<|im_start|>%s\n%s<|im_end|>\n", i % 2 ? "assistant" : "user", m.p);
        sr_buf_end(&m);
    }
    sr_buf_str(json, "]}");
    if (json->failed || text->failed)
        die("no memory");
}

static void prepare(const char *model, uint32_t kib)
{
    server       s = {0};
    sr_err       err = {0};
    sr_specials *specials;
    sr_template *t;
    sr_buf       json = {0}, text = {0};
    enum { RUNS = 15 };
    uint32_t     whole[RUNS], over[RUNS], alone[RUNS];
    static const char chat[] = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";
    start(&s, model, 0, 1);
    check(sr_specials_open(s.tok, &specials, &err), &err);
    check(sr_template_compile(chat, sizeof chat - 1, &t, &err), &err);
    chat_body(&json, &text, kib);
    sr_prepenv env = {.model = {.tok = s.tok, .chat = t}, .specials = specials, .model_id = "m",
                      .limits = {.json_depth = 64, .json_values = 1 << 20, .messages = 100000, .prompts = 1, .choices = 1}};
    for (int i = 0; i < RUNS; i++) {
        sr_prep   p;
        sr_ids    ids = {0};
        sr_apierr e = {0}, e2 = {0};
        env.model.ctx = 1u << 30;
        uint64_t t0 = sr_now_ns();
        if (!sr_prepare(&env, SR_API_CHAT, json.p, json.n, &p, &e))
            die(e.msg);
        uint64_t t1 = sr_now_ns();
        sr_prep_end(&p);
        env.model.ctx = 64;
        uint64_t t2 = sr_now_ns();
        if (sr_prepare(&env, SR_API_CHAT, json.p, json.n, &p, &e2))
            die("a prompt that does not fit was taken");
        uint64_t t3 = sr_now_ns();
        check(sr_tokenizer_encode(s.tok, text.p, text.n, SR_TOK_PARSE_SPECIAL, &ids, &err), &err);
        uint64_t t4 = sr_now_ns();
        whole[i] = (uint32_t)((t1 - t0) / 1000), over[i] = (uint32_t)((t3 - t2) / 1000), alone[i] = (uint32_t)((t4 - t3) / 1000);
        sr_ids_end(&ids);
    }
    report("JSON to ids", whole, RUNS);
    report("refused: does not fit the context", over, RUNS);
    report("tokenising alone", alone, RUNS);
    sr_buf_end(&json);
    sr_buf_end(&text);
    sr_template_close(t);
    sr_specials_close(specials);
    stop(&s);
}

int main(int argc, char **argv)
{
    struct rlimit l;
    getrlimit(RLIMIT_NOFILE, &l);
    l.rlim_cur = l.rlim_max;
    setrlimit(RLIMIT_NOFILE, &l);
    const char *what = argc > 3 ? argv[2] : "";
    uint32_t n = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
    double seconds = argc > 4 ? strtod(argv[4], NULL) : 3, rate = argc > 5 ? strtod(argv[5], NULL) : 20;
    if (n && !strcmp(what, "stream"))
        streams(argv[1], n, seconds, 0);
    else if (n && !strcmp(what, "paced"))
        streams(argv[1], n, seconds, rate);
    else if (n && !strcmp(what, "first"))
        first(argv[1], n);
    else if (n && !strcmp(what, "idle"))
        idle(argv[1], n);
    else if (n && !strcmp(what, "prepare"))
        prepare(argv[1], n);
    else
        die("usage: strata-bench-serve MODEL.gguf stream STREAMS SECONDS | paced STREAMS SECONDS RATE | first REQUESTS | idle CONNECTIONS | prepare KIB");
    return 0;
}
