/* worker_test STRATA [KILLS] [MODEL] [DEVICE]: a server whose engine's process is killed again and again.
 *
 *   each time   one client streams, two wait behind it (--parallel 1); the engine's process gets a signal
 *   then        the stream ends with an error event, the two get the answer they would have got, /health is 200 again,
 *               the server is the same process, and holds as many descriptors as before
 *   at last     the engine's process is stopped: the server ends with 0 all the same, and the process with it
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "process.h"

static struct sockaddr_in addr;
static pid_t              server;

static void die(const char *what)
{
    fprintf(stderr, "worker_test: %s\n", what);
    if (server > 0)
        kill(server, SIGKILL);
    exit(1);
}

/* The server's address from its "ready:" line. */
static void start_server(const char *strata, const char *model, const char *device)
{
    int  out[2];
    char line[256] = "";
    if (pipe(out) || (server = fork()) < 0)
        die("cannot start the server");
    if (server == 0) {
        dup2(out[1], STDOUT_FILENO);
        close(out[0]), close(out[1]);
        execl(strata, strata, "serve", "--model", model, "--port", "0", "--parallel", "1", "--threads", "1", "--device", device, "--engine",
              "process", (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    for (size_t n = 0; n + 1 < sizeof line && read(out[0], line + n, 1) == 1 && line[n] != '\n'; n++)
        line[n + 1] = 0;
    const char *colon = strstr(line, "127.0.0.1:");
    if (!colon)
        die("no \"ready\" line");
    addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(colon + 10, NULL, 10)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    close(out[0]);
}

static int request(const char *method, const char *path, const char *body)
{
    sr_buf b  = {0};
    int    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sr_buf_fmt(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", method,
               path, strlen(body), body);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) || send(fd, b.p, b.n, MSG_NOSIGNAL) != (ssize_t)b.n)
        die("cannot ask");
    sr_buf_end(&b);
    return fd;
}

/* All of the answer, or what comes until `until` is in it. */
static void answer(int fd, const char *until, sr_buf *out)
{
    char    b[4096];
    ssize_t n;
    while (!(until && out->n && strstr(out->p, until)) && (n = recv(fd, b, sizeof b, 0)) > 0)
        sr_buf_add(out, b, (size_t)n);
    sr_buf_add(out, "", 0);
}

static int ask(bool stream, uint32_t tokens)
{
    char body[256];
    snprintf(body, sizeof body, "{\"prompt\":\"Once upon a time there was\",\"max_tokens\":%u,\"temperature\":0,\"ignore_eos\":true,\"stream\":%s}", tokens,
             stream ? "true" : "false");
    return request("POST", "/v1/completions", body);
}

static char *text_of(int fd)
{
    sr_buf a = {0};
    answer(fd, NULL, &a);
    close(fd);
    char *at = a.p ? strstr(a.p, "\"text\":\"") : NULL, *end = at ? strchr(at + 8, '"') : NULL;
    if (!end) {
        fprintf(stderr, "unexpected: %s\n", a.p ? a.p : "nothing");
        die("no text in an answer");
    }
    char *text = strndup(at + 8, (size_t)(end - at - 8));
    sr_buf_end(&a);
    return text;
}

static int health(void)
{
    sr_buf a  = {0};
    int    fd = request("GET", "/health", "");
    answer(fd, NULL, &a);
    close(fd);
    int status = a.n > 12 ? (int)strtol(a.p + 9, NULL, 10) : 0;
    sr_buf_end(&a);
    return status;
}

static void await_health(void)
{
    for (uint64_t until = sr_now_ns() + 20000000000ull; health() != 200;)
        if (sr_now_ns() > until)
            die("/health did not become 200 again");
        else
            usleep(2000);
}

/* What comes while no engine is there is refused with 503: the two that wait must have come before. */
static void await_waiting(void)
{
    for (uint64_t until = sr_now_ns() + 20000000000ull;;) {
        sr_buf a  = {0};
        int    fd = request("GET", "/metrics", "");
        answer(fd, NULL, &a);
        close(fd);
        bool both = a.p && strstr(a.p, "\nstrata_requests_waiting 2") != NULL;
        sr_buf_end(&a);
        if (both)
            return;
        if (sr_now_ns() > until)
            die("the two requests behind the stream did not come to wait");
    }
}

/* The server's only child. */
static pid_t engine(void)
{
    char path[64], line[64] = "";
    DIR *d;
    struct dirent *e;
    long pid = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)server);
    for (d = opendir(path); d && !pid && (e = readdir(d)) != NULL;) {
        char file[400];
        snprintf(file, sizeof file, "%s/%s/children", path, e->d_name);
        FILE *f = fopen(file, "re");
        if (f && fgets(line, sizeof line, f))
            pid = strtol(line, NULL, 10);
        if (f)
            fclose(f);
    }
    if (d)
        closedir(d);
    return (pid_t)pid;
}

static void one_kill(uint32_t i, const char *expected)
{
    static const int signals[] = {SIGSEGV, SIGKILL, SIGABRT, SIGBUS};
    sr_buf got    = {0};
    pid_t  worker = engine();
    int    stream = ask(true, 500), wait[2];
    answer(stream, "\"text\"", &got); /* it has begun */
    wait[0] = ask(false, 12);
    wait[1] = ask(false, 12);
    await_waiting();
    usleep(i % 5 * 1000);
    if (worker <= 0 || kill(worker, signals[i % SR_COUNT(signals)]))
        die("no engine process to kill");
    answer(stream, NULL, &got);
    close(stream);
    if (!strstr(got.p, "\"error\"") || !strstr(got.p, "engine"))
        die("the stream that was cut off has no error event");
    sr_buf_end(&got);
    for (int k = 0; k < 2; k++) {
        char *text = text_of(wait[k]);
        if (strcmp(text, expected) != 0)
            die("a request that waited got another answer");
        free(text);
    }
    await_health();
    if (engine() == worker || kill(server, 0))
        die("the engine's process is not a new one, or the server is gone");
}

int main(int argc, char **argv)
{
    uint32_t kills = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 20;
    if (argc < 2)
        die("usage: worker_test STRATA [KILLS] [MODEL] [DEVICE]");
    signal(SIGPIPE, SIG_IGN);
    alarm(240); /* a hang is a failure */
    start_server(argv[1], argc > 3 ? argv[3] : "models/strata-demo-base-Q4_K_M.gguf", argc > 4 ? argv[4] : "cpu");
    char *expected = text_of(ask(false, 12));
    one_kill(0, expected);
    usleep(100000); /* connections close a little later than their clients see it */
    uint32_t before = sr_descriptors_of(server);
    uint64_t since  = sr_now_ns();
    for (uint32_t i = 1; i < kills; i++)
        one_kill(i, expected);
    printf("%u of %u kills survived, %.0f ms each\n", kills, kills, (double)(sr_now_ns() - since) * 1e-6 / (kills > 1 ? kills - 1 : 1));
    usleep(100000);
    uint32_t after = sr_descriptors_of(server);
    if (after != before) {
        fprintf(stderr, "%u descriptors before, %u after\n", before, after);
        die("descriptors leaked");
    }
    int   status = 0;
    pid_t stopped = engine();
    if (stopped <= 0 || kill(stopped, SIGSTOP)) /* it hears nothing any more: the server must end all the same */
        die("no engine's process at the end");
    kill(server, SIGTERM);
    if (waitpid(server, &status, 0) != server || !WIFEXITED(status) || WEXITSTATUS(status))
        die("SIGTERM did not end the server with 0");
    if (kill(stopped, 0) == 0)
        die("the stopped engine is still there");
    free(expected);
    return 0;
}
