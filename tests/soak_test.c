/* soak_test STRATA [REQUESTS] [MODEL]: the whole server under many clients, a third of whom walk away.
 *
 *   1  each prompt alone, not streamed                     -> the answers to expect (temperature 0)
 *   2  32 clients streaming at once                        -> every stream complete and equal to its solo answer
 *   3  REQUESTS requests, 32 at a time, a third of them
 *      closed midway (some in the middle of the prompt)    -> the others' answers unchanged
 *   4  afterwards: no page held, nobody running, descriptors as before and memory within 5 %; SIGTERM ends with 0
 *
 * One poll() loop plays all clients. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <dirent.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/philox.h"
#include "process.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { QUARANTINE = 32 * 1024 }; /* KiB: a sanitizer keeps what was freed for a while */
#else
enum { QUARANTINE = 0 };
#endif
enum { PROMPTS = 16, CLIENTS = 32, TOKENS = 24 };

static const char *const themes[PROMPTS] = {
    "Once upon a time there was a little", "The old king called his three sons", "A cell is the smallest", "In the middle of the forest",
    "The price of bread", "She opened the letter and", "Water boils at", "The dog ran after", "My name is", "When the moon came up",
    "The first law of motion", "He said nothing, but", "To make a good soup", "The river was wide and", "Music is", "At the end of the day"};

typedef struct {
    int      fd;
    uint32_t prompt;
    bool     stream, done;
    size_t   leave;         /* close after so many bytes; 0: stay */
    sr_buf   out, in, text;
    size_t   sent, at;      /* at: parsed part of in */
    char     finish[16];
} client;

static struct sockaddr_in addr;
static char              *expected[PROMPTS];

static void die(const char *what)
{
    fprintf(stderr, "soak_test: %s\n", what);
    exit(1);
}

/* A prompt of 20 to 500 tokens: themes repeated, so that prefixes are shared too. */
static void body(sr_buf *b, uint32_t prompt, bool stream)
{
    sr_buf p = {0};
    for (uint32_t i = 0; i <= (prompt % 4) * 12; i++)
        sr_buf_fmt(&p, "%s%s", i ? ". " : "", themes[(prompt + i) % PROMPTS]);
    sr_buf_fmt(b, "{\"model\":\"any\",\"prompt\":\"%s\",\"max_tokens\":%d,\"temperature\":0,\"ignore_eos\":true,\"stream\":%s}", p.p, TOKENS,
               stream ? "true" : "false");
    sr_buf_end(&p);
}

static void start(client *c, uint32_t prompt, bool stream, size_t leave)
{
    sr_buf b = {0};
    *c       = (client){.prompt = prompt, .stream = stream, .leave = leave};
    body(&b, prompt, stream);
    sr_buf_fmt(&c->out, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
               b.n, b.p);
    sr_buf_end(&b);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&addr, sizeof addr))
        die("cannot connect");
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

static void take_json(client *c, const char *p, size_t n)
{
    json_error_t  je;
    json_t       *j  = json_loadb(p, n, 0, &je);
    const json_t *ch = json_array_get(json_object_get(j, "choices"), 0);
    const char   *t = json_string_value(json_object_get(ch, "text")), *f = json_string_value(json_object_get(ch, "finish_reason"));
    if (!ch)
        fprintf(stderr, "unexpected: %.*s\n", (int)n, p);
    if (t)
        sr_buf_str(&c->text, t);
    if (f)
        snprintf(c->finish, sizeof c->finish, "%s", f);
    json_decref(j);
}

/* Whole events in what has come; chunk sizes between them are skipped because they start no line with "data: ". */
static void parse(client *c, bool closed)
{
    if (!c->stream) {
        char *start_ = c->in.n ? strstr(c->in.p, "\r\n\r\n") : NULL;
        if (closed && start_)
            take_json(c, strchr(start_, '{'), strlen(strchr(start_, '{')));
        return;
    }
    for (char *e; c->at < c->in.n && (e = strstr(c->in.p + c->at, "\n\n")) != NULL; c->at = (size_t)(e + 2 - c->in.p)) {
        char *d = strstr(c->in.p + c->at, "data: ");
        if (!d || d > e)
            continue;
        if (strncmp(d + 6, "[DONE]", 6) == 0)
            c->done = true;
        else
            take_json(c, d + 6, (size_t)(e - d - 6));
    }
}

static void stop(client *c)
{
    close(c->fd);
    c->fd = -1;
    sr_buf_end(&c->out);
    sr_buf_end(&c->in);
    sr_buf_end(&c->text);
}

/* True when the client is finished (by itself or because it left). */
static bool serve_client(client *c, short got)
{
    char    buf[16384];
    ssize_t n;
    if ((got & POLLOUT) && c->sent < c->out.n) {
        n = send(c->fd, c->out.p + c->sent, c->out.n - c->sent, MSG_NOSIGNAL);
        c->sent += n > 0 ? (size_t)n : 0;
    }
    if (!(got & (POLLIN | POLLHUP | POLLERR)))
        return false;
    while ((n = recv(c->fd, buf, sizeof buf, 0)) > 0)
        sr_buf_add(&c->in, buf, (size_t)n);
    bool closed = n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
    parse(c, closed);
    return closed || c->done || (c->leave && c->in.n >= c->leave);
}

static uint32_t run(uint32_t total, uint32_t at_once, bool stream, bool leavers)
{
    client        c[CLIENTS];
    struct pollfd pf[CLIENTS];
    uint32_t      started = 0, ended = 0, wrong = 0, left = 0;
    for (uint32_t i = 0; i < at_once; i++)
        c[i].fd = -1;
    for (uint64_t t0 = sr_now_ns(); ended < total;) {
        for (uint32_t i = 0; i < at_once; i++) {
            if (c[i].fd < 0 && started < total) {
                uint32_t r = sr_philox4(7, started, 0, 0, 0).v[0];
                start(&c[i], started % PROMPTS, stream, leavers && started % 3 == 0 ? 1 + r % 3000 : 0);
                started++;
            }
            pf[i] = (struct pollfd){.fd = c[i].fd, .events = (short)(POLLIN | (c[i].fd >= 0 && c[i].sent < c[i].out.n ? POLLOUT : 0))};
        }
        /* One in six of those who leave does so without having read a byte. */
        poll(pf, at_once, 50);
        for (uint32_t i = 0; i < at_once; i++) {
            if (c[i].fd < 0)
                continue;
            bool rude = c[i].leave && c[i].leave < 500 && c[i].sent == c[i].out.n && c[i].out.n;
            if (!serve_client(&c[i], pf[i].revents) && !rude)
                continue;
            if (c[i].leave) {
                left++;
            } else if (strcmp(c[i].text.p ? c[i].text.p : "", expected[c[i].prompt] ? expected[c[i].prompt] : "") ||
                       strcmp(c[i].finish, "length") || (stream && !c[i].done)) {
                if (!expected[c[i].prompt] && c[i].text.n)
                    expected[c[i].prompt] = sr_strdup(c[i].text.p);
                else if (wrong++ < 3)
                    fprintf(stderr, "prompt %u (%s%s): got \"%s\"; expected \"%s\"\n", c[i].prompt, c[i].finish, c[i].done ? "" : ", cut",
                            c[i].text.p ? c[i].text.p : "", expected[c[i].prompt]);
            }
            ended++;
            stop(&c[i]);
        }
        if (sr_now_ns() - t0 > 1200000000000u)
            die("requests did not end within 1200 s");
    }
    printf("%u requests, %u at a time: %u left midway, %u wrong\n", total, at_once, left, wrong);
    return wrong;
}

static double gauge(const char *page, const char *name)
{
    const char *p = page;
    size_t      n = strlen(name);
    while (p && (p = strstr(p, name)) != NULL) {
        if ((p == page || p[-1] == '\n') && (p[n] == ' ' || p[n] == '{'))
            return strtod(strpbrk(p, p[n] == '{' ? "}" : " ") + 1, NULL);
        p += n;
    }
    return -1;
}

static int get(const char *path, sr_buf *out)
{
    char    req[128], buf[4096];
    int     fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), status = 0;
    ssize_t n;
    snprintf(req, sizeof req, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0 && send(fd, req, strlen(req), MSG_NOSIGNAL) > 0)
        while ((n = recv(fd, buf, sizeof buf, 0)) > 0)
            sr_buf_add(out, buf, (size_t)n);
    close(fd);
    if (out->n > 12)
        status = (int)strtol(out->p + 9, NULL, 10);
    return status;
}

static long kilobytes(pid_t pid, const char *field)
{
    char  path[64], line[256];
    long  kb = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, field, strlen(field)) == 0)
            kb = strtol(line + strlen(field), NULL, 10);
    if (f)
        fclose(f);
    return kb;
}

static pid_t spawn(const char *strata, const char *model, const char *device)
{
    char port[16];
    socklen_t len = sizeof addr;
    int  fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)&addr, sizeof addr) || getsockname(fd, (struct sockaddr *)&addr, &len))
        die("no free port");
    close(fd);
    snprintf(port, sizeof port, "%u", ntohs(addr.sin_port));
    pid_t pid = fork();
    if (pid == 0) {
        execl(strata, strata, "serve", "--model", model, "--host", "127.0.0.1", "--port", port, "--parallel", "32", "--device", device,
              "--deterministic", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 600; i++) {
        sr_buf b = {0};
        int    s = get("/health", &b);
        sr_buf_end(&b);
        if (s == 200)
            return pid;
        if (waitpid(pid, NULL, WNOHANG) == pid)
            die("the server did not start");
        usleep(50000);
    }
    die("the server was not ready within 30 s");
    return -1;
}

/* Pages of those who left come back within a second. */
static uint32_t settled(void)
{
    double used = -1, running = -1, waiting = -1;
    for (int i = 0; i < 40; i++) {
        sr_buf b = {0};
        get("/metrics", &b);
        used    = gauge(b.p, "strata_kv_blocks_used");
        running = gauge(b.p, "strata_requests_running");
        waiting = gauge(b.p, "strata_requests_waiting");
        sr_buf_end(&b);
        if (used == 0 && running == 0 && waiting == 0)
            return 0;
        usleep(50000);
    }
    fprintf(stderr, "left behind: %g pages used, %g running, %g waiting\n", used, running, waiting);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: soak_test STRATA [REQUESTS] [MODEL] [DEVICE]");
    uint32_t total = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1000;
    signal(SIGPIPE, SIG_IGN);
    pid_t    pid = spawn(argv[1], argc > 3 ? argv[3] : "models/strata-demo-draft-Q8_0.gguf", argc > 4 ? argv[4] : "cpu");
    uint32_t bad = run(PROMPTS, 1, false, false);
    for (int i = 0; i < PROMPTS; i++)
        bad += !expected[i];
    bad += run(CLIENTS, CLIENTS, true, false);
    bad += settled();
    bad += run(SR_MAX(total / 10, 100u), CLIENTS, true, true); /* what caches and buffers grow to, they have grown to */
    bad += settled();
    uint32_t fds = sr_descriptors_of(pid);
    long     rss = kilobytes(pid, "VmRSS:"), own = kilobytes(pid, "RssAnon:");
    bad += run(total, CLIENTS, true, true);
    bad += settled();
    uint32_t fds_after = sr_descriptors_of(pid);
    long     rss_after = kilobytes(pid, "VmRSS:"), own_after = kilobytes(pid, "RssAnon:");
    printf("descriptors %u -> %u, resident %ld -> %ld KiB, of it the server's own %ld -> %ld\n", fds, fds_after, rss, rss_after, own, own_after);
    /* What is allocated must not grow; beside it, the port's rings (5 MiB) become resident as they are written round. */
    bad += fds_after > fds + 1 || own_after > own + SR_MAX(own / 20, QUARANTINE) || rss_after > rss + 8 * 1024 + QUARANTINE;
    int status = -1;
    kill(pid, SIGTERM);
    waitpid(pid, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        fprintf(stderr, "the server ended with status %d\n", status);
        bad++;
    }
    for (int i = 0; i < PROMPTS; i++)
        sr_free(expected[i]);
    printf("%s\n", bad ? "FAILED" : "passed");
    return bad ? 1 : 0;
}
