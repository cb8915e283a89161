/* drain_test STRATA [ROUNDS] [MODEL]: the end of a server under load, wanted and not.
 *
 *   SIGTERM   while 64 clients stream and new ones come 500 times a second, each on a connection of its own: whoever has
 *             connected is answered, whole or with 503; nobody is cut off; the server ends with 0
 *   SIGKILL   in the same load: the next server starts at once on the same port
 *   SIGKILL   of a server whose engine is a process: that process ends too, and the next server starts
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/bench_url_client.h"
#include "base/clock.h"
#include "base/mem.h"

static pid_t    server;
static uint16_t port;
static char     url[64];

static void die(const char *what)
{
    fprintf(stderr, "drain_test: %s\n", what);
    if (server > 0)
        kill(server, SIGKILL);
    exit(1);
}

/* Starts a server on `at` (0: a free port) and reads where it is. */
static void start(const char *strata, const char *model, uint16_t at, bool process)
{
    int  out[2];
    char line[256] = "", where[16];
    snprintf(where, sizeof where, "%u", at);
    if (pipe(out) || (server = fork()) < 0)
        die("cannot start the server");
    if (server == 0) {
        char *null_engine[] = {(char *)strata, "serve", "--model", (char *)model, "--port", where, "--parallel", "4096", "--connections-per-address", "20000",
                               "--null-engine", "--null-endless", "--null-rate", "100", "--drain-timeout", "120", NULL};
        char *real[] = {(char *)strata, "serve", "--model", (char *)model, "--port", where, "--device", "cpu", "--threads", "1", "--engine", "process", NULL};
        dup2(out[1], STDOUT_FILENO);
        close(out[0]), close(out[1]);
        if (!freopen("/dev/null", "w", stderr))
            _exit(126);
        execv(strata, process ? real : null_engine);
        _exit(127);
    }
    close(out[1]);
    for (size_t n = 0; n + 1 < sizeof line && read(out[0], line + n, 1) == 1 && line[n] != '\n'; n++)
        line[n + 1] = 0;
    close(out[0]);
    const char *colon = strstr(line, "127.0.0.1:");
    if (!colon)
        die("no \"ready\" line");
    port = (uint16_t)strtoul(colon + 10, NULL, 10);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", port);
}

static void body(void *arg, uint64_t index, sr_buf *out)
{
    (void)arg, (void)index;
    sr_buf_str(out, "{\"prompt\":\"Once upon a time\",\"max_tokens\":50,\"temperature\":0,\"stream\":true}");
}

typedef struct { sr_loadplan plan; sr_loadstat *st; pthread_t thread; uint64_t answered; } load;
static int enough; /* the loads end with what they have begun */

static void told(void *arg, const sr_loadstat *st, double seconds)
{
    (void)seconds;
    __atomic_store_n((uint64_t *)arg, st->n_ok, __ATOMIC_RELAXED);
}

static void wait_answers(const load *l, uint64_t n)
{
    for (int i = 0; __atomic_load_n(&l->answered, __ATOMIC_RELAXED) < n; i++) {
        if (i == 6000) {
            const sr_loadstat *s = l->st; /* still being written: good enough to tell what happened */
            fprintf(stderr, "drain_test: %u clients, rate %g: %llu answers, %llu errors (%llu connect, %llu status), at most %u at once, after 120 s\n",
                    l->plan.concurrency, l->plan.rate, (unsigned long long)s->n_ok, (unsigned long long)s->n_error,
                    (unsigned long long)s->errors[SR_LERR_CONNECT], (unsigned long long)s->errors[SR_LERR_STATUS], (uint32_t)s->most);
            if (getenv("DRAIN_HOLD"))
                sleep(600);
            die("no load");
        }
        usleep(20000);
    }
}

static void *run_load(void *arg)
{
    load  *l   = arg;
    sr_err err = {0};
    if (sr_load_run(&l->plan, l->st, &err))
        die(err.msg);
    return NULL;
}

static void begin(load *l, const sr_nettarget *t, uint32_t clients, double rate)
{
    *l = (load){.plan = {.target = t, .path = "/completions", .body = body, .concurrency = clients, .rate = rate, .timeout_ms = 120000,
                         .fresh = rate > 0, .seed = 3, .enough = &enough, .progress = told}, .st = sr_calloc(1, sizeof *l->st)};
    l->plan.arg = &l->answered;
    if (!l->st || pthread_create(&l->thread, NULL, run_load, l))
        die("no load");
}

/* What must not be: an answer that breaks off, a connection that ends without a word. */
static uint32_t lost(const load *l, const char *who)
{
    const sr_loadstat *s = l->st;
    printf("  %s: %llu answered, %llu refused, %llu told 503", who, (unsigned long long)s->n_ok, (unsigned long long)s->errors[SR_LERR_CONNECT],
           (unsigned long long)s->errors[SR_LERR_STATUS]);
    uint64_t bad = s->n_error - s->errors[SR_LERR_CONNECT] - s->errors[SR_LERR_STATUS] + s->n_cut;
    for (int i = 0; i < SR_STATUSES && s->status[i].n; i++)
        bad += s->status[i].status == 503 ? 0 : s->status[i].n;
    printf(", %llu lost\n", (unsigned long long)bad);
    for (int k = 0; bad && k < SR_LERR_COUNT; k++)
        if (s->errors[k] && k != SR_LERR_CONNECT)
            printf("    %s: %llu, the first: %s\n", sr_lerr_name[k], (unsigned long long)s->errors[k], s->text[k]);
    return (bad > 0) + (s->n_ok == 0);
}

static int end_of(int sig)
{
    int status = 0;
    kill(server, sig);
    if (waitpid(server, &status, 0) != server)
        die("the server was not to be waited for");
    server = -1;
    return status;
}

static uint32_t stop_under_load(const char *strata, const char *model, int sig)
{
    sr_nettarget t;
    sr_err       err = {0};
    load         streams, comers;
    uint16_t     before;
    uint32_t     bad = 0;
    start(strata, model, 0, false);
    before = port;
    if (sr_net_open(url, &(sr_netcfg){0}, &t, &err))
        die(err.msg);
    __atomic_store_n(&enough, 0, __ATOMIC_RELEASE);
    begin(&streams, &t, 64, 0);
    begin(&comers, &t, 0, 500);
    wait_answers(&streams, 64); /* all of them stream, and some new ones have been answered */
    wait_answers(&comers, 50);
    int status = end_of(sig);
    if (sig == SIGKILL) {
        start(strata, model, before, false); /* or it dies here */
        bad += port != before;
        status = end_of(SIGTERM);
    }
    __atomic_store_n(&enough, 1, __ATOMIC_RELEASE);
    pthread_join(streams.thread, NULL);
    pthread_join(comers.thread, NULL);
    printf("%s under load: the server ended with %d\n", sig == SIGKILL ? "SIGKILL" : "SIGTERM", status);
    bad += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    if (sig == SIGTERM)
        bad += lost(&streams, "64 streams") + lost(&comers, "500 new ones a second");
    sr_free(streams.st);
    sr_free(comers.st);
    sr_net_close(&t);
    return bad;
}

/* The process that computes for `parent`, 0 if there is none. */
static pid_t engine_of(pid_t parent)
{
    DIR                 *d = opendir("/proc");
    const struct dirent *e;
    pid_t                found = 0;
    while (d && (e = readdir(d)) != NULL) {
        char  path[300], line[256] = "";
        long  ppid = -1;
        FILE *f;
        snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
        if (e->d_name[0] < '0' || e->d_name[0] > '9' || !(f = fopen(path, "re")))
            continue;
        const char *close_ = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
        if (close_ && sscanf(close_ + 1, " %*c %ld", &ppid) == 1 && ppid == (long)parent)
            found = (pid_t)strtol(e->d_name, NULL, 10);
        fclose(f);
    }
    if (d)
        closedir(d);
    return found;
}

static uint32_t kill_with_a_worker(const char *strata, const char *model)
{
    start(strata, model, 0, true);
    pid_t worker = engine_of(server);
    uint16_t before = port;
    if (worker <= 0)
        die("no engine's process");
    end_of(SIGKILL);
    bool gone = false;
    for (int i = 0; i < 1200 && !gone; i++) {
        gone = kill(worker, 0) && errno == ESRCH;
        usleep(gone ? 0 : 50000);
    }
    start(strata, model, before, true);
    int status = end_of(SIGTERM);
    printf("SIGKILL of a server with an engine's process: that %s; the next one ended with %d\n", gone ? "ended, too" : "STAYED", status);
    return !gone + (!WIFEXITED(status) || WEXITSTATUS(status) != 0);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: drain_test STRATA [ROUNDS] [MODEL]");
    uint32_t    rounds = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 2, bad = 0;
    const char *model  = argc > 3 ? argv[3] : "models/strata-demo-draft-Q8_0.gguf";
    signal(SIGPIPE, SIG_IGN);
    for (uint32_t i = 0; i < rounds; i++)
        bad += stop_under_load(argv[1], model, SIGTERM);
    bad += stop_under_load(argv[1], model, SIGKILL);
    bad += kill_with_a_worker(argv[1], model);
    printf("%s\n", bad ? "FAILED" : "passed");
    return bad ? 1 : 0;
}
