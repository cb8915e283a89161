/* cmd_quantize.c - a model file in another number format (format/convert.h does the work). */
#include "app/commands.h"
#include "app/opt.h"
#include "base/clock.h"
#include "base/mem.h"
#include "format/convert.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    bool     tensors, shown; /* shown: a line of progress stands on the terminal */
    uint64_t since, last;    /* ns */
    int      signal;         /* that ended it; 0: none */
} view;

/* Between pieces: a signal that waits ends the work, so that nothing half-written is left behind. */
static int pending_signal(void)
{
    static const int which[] = {SIGINT, SIGTERM, SIGHUP};
    sigset_t         set;
    if (sigpending(&set) == 0)
        for (size_t i = 0; i < SR_COUNT(which); i++)
            if (sigismember(&set, which[i]) == 1)
                return which[i];
    return 0;
}

static void hold_signals(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(how, &set, NULL);
}

static void clear_line(view *v)
{
    if (v->shown)
        fputs("\r\033[K", stderr);
    v->shown = false;
}

static void show_tensor(view *v, const sr_convertstep *s)
{
    char name[280];
    clear_line(v);
    sr_escape(name, sizeof name, s->tensor->name, strlen(s->tensor->name));
    printf("%-36s %-5s", name, sr_dtype_name(s->tensor->dtype));
    if (s->to == s->tensor->dtype)
        puts(" kept");
    else
        printf(" -> %-5s relative error %.6f\n", sr_dtype_name(s->to), s->error);
}

static bool on_step(void *arg, const sr_convertstep *s)
{
    view    *v   = arg;
    uint64_t now = sr_now_ns();
    char     name[280];
    if (v->tensors && s->complete)
        show_tensor(v, s);
    if (isatty(STDERR_FILENO) && now - v->last > 100000000u) { /* ten times a second is as fast as one reads */
        double share = (double)s->done / (double)s->total, left = (double)(now - v->since) * 1e-9 / share * (1 - share);
        fprintf(stderr, "\r\033[K%3.0f %%  %s  %.0f s left", share * 100,
                sr_escape(name, sizeof name, s->tensor->name, strlen(s->tensor->name)), left);
        v->last  = now;
        v->shown = true;
    }
    return (v->signal = pending_signal()) == 0;
}

static const sr_mix *find_format(const char *word, sr_err *err)
{
    const sr_mix *m = sr_mix_find(word);
    char          shown[80];
    unsigned      n = 0;
    if (m)
        return m;
    while (sr_mix_at(n))
        n++;
    const char *near = sr_nearest(word, &sr_mix_at(0)->name, n, sizeof(sr_mix));
    sr_escape(shown, sizeof shown, word, strlen(word));
    if (near)
        sr_raise(err, SR_INVALID, "unknown format \"%s\"; did you mean %s?", shown, near);
    else
        sr_raise(err, SR_INVALID, "unknown format \"%s\"; strata quantize --help lists them", shown);
    return NULL;
}

static void summary(const char *to, const sr_mix *mix, const sr_convertstats *st, double seconds)
{
    char shown[400];
    if (st->requantised)
        fprintf(stderr, "note: %u tensors were quantised before: what that lost stays lost\n", st->requantised);
    if (st->fallen_back)
        fprintf(stderr, "note: %u tensors have rows that are not whole blocks of %s and got Q8_0 or F16\n",
                st->fallen_back, sr_dtype_name(mix->base));
    fprintf(stderr, "%s: %s, %u tensors, %.1f MB from %.1f MB, %.2f bits a weight, %.2f s\n",
            sr_escape(shown, sizeof shown, to, strlen(to)), mix->name, st->tensors, (double)st->bytes_out * 1e-6,
            (double)st->bytes_in * 1e-6, (double)st->bytes_out * 8 / (double)st->weights, seconds);
}

static int run(char **path, const sr_mix *mix, uint32_t threads, view *v, sr_err *err)
{
    const sr_convertcfg cfg = {.mix = mix, .threads = threads, .progress = on_step, .arg = v};
    sr_convertstats     st;
    v->since = v->last = sr_now_ns();
    hold_signals(SIG_BLOCK);
    sr_status s = sr_convert(path[0], path[1], &cfg, &st, err);
    clear_line(v);
    if (s == SR_AGAIN)
        return 128 + v->signal; /* as a shell reports a program that a signal ended */
    hold_signals(SIG_UNBLOCK);
    if (!s)
        summary(path[1], mix, &st, (double)(sr_now_ns() - v->since) * 1e-9);
    return s ? 1 : 0;
}

int sr_cmd_quantize(int argc, char **argv)
{
    view         v       = {0};
    uint32_t     threads = 0;
    sr_err       err     = {0};
    char         formats[400];
    const sr_opt opt[] = {
        SR_O_UINT("threads", 't', threads, "N", "CPU threads; without it, all usable cores", 1, 256),
        SR_O_FLAG("tensors", 0, v.tensors, "print each tensor's format and what it lost: root of squared error by squares"),
    };
    int at = snprintf(formats, sizeof formats, "formats, by size:");
    for (unsigned i = 0; sr_mix_at(i); i++)
        at += snprintf(formats + at, sizeof formats - (size_t)at, " %s", sr_mix_at(i)->name);
    snprintf(formats + at, sizeof formats - (size_t)at,
             "\n_S and _M give some tensors more bits, as llama.cpp does; Q4_K and Q5_K are one format for all.\n\n"
             "  strata quantize model-bf16.gguf model-Q4_K_M.gguf Q4_K_M\n");
    const sr_optspec spec = {"quantize", "IN.gguf OUT.gguf FORMAT",
                             "Write a model in another number format; OUT is complete or not there.",
                             opt, SR_COUNT(opt), .min_operands = 3, .max_operands = 3, .more = formats};
    int rc = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
    const sr_mix *mix = find_format(argv[3], &err);
    rc = mix ? run(argv + 1, mix, threads, &v, &err) : 1;
    if (err.status)
        fprintf(stderr, "strata quantize: %s\n", err.msg);
    return rc;
}
