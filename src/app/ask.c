#include "app/ask.h"
#include "base/mem.h"
#include "format/synth.h"
#include "text/detok.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

const sr_askopts sr_askopts_default = {.temp = 0.7f, .top_p = 0.95f, .min_p = 0.05f, .rep_penalty = 1.0f, .top_k = 40,
                                       .seed = UINT64_MAX};

sr_sampling sr_askopts_sampling(const sr_askopts *o)
{
    sr_sampling s = {.temp = o->temp, .top_p = o->top_p, .min_p = o->min_p, .typical_p = 1, .rep_penalty = o->rep_penalty,
                     .top_k = o->top_k, .rep_last_n = 64, .seed = o->seed};
    if (o->seed == UINT64_MAX && getrandom(&s.seed, sizeof s.seed, 0) != sizeof s.seed)
        s.seed = (uint64_t)time(NULL);
    return s;
}

sr_status sr_text_open(const char *path, sr_text *t, sr_err *err)
{
    sr_gguf *g        = NULL;
    sr_err   chat_err = {0};
    *t                = (sr_text){0};
    if (sr_synth_open(path, false, &g, err) || sr_tokenizer_open(g, &t->tok, err) || sr_specials_open(t->tok, &t->specials, err)) {
        sr_gguf_close(g);
        sr_text_close(t);
        return err->status;
    }
    sr_gguf_close(g);
    const char *src = sr_tokenizer_template(t->tok);
    if (!src)
        snprintf(t->chat_why, sizeof t->chat_why, "the model file has no chat template (tokenizer.chat_template)");
    else if (sr_template_compile(src, strlen(src), &t->chat, &chat_err))
        snprintf(t->chat_why, sizeof t->chat_why, "the model's chat template: %.440s", chat_err.msg);
    return SR_OK;
}

void sr_text_close(sr_text *t)
{
    sr_template_close(t->chat);
    sr_specials_close(t->specials);
    sr_tokenizer_close(t->tok);
    *t = (sr_text){0};
}

bool sr_askout_write(void *out, const char *p, size_t n)
{
    sr_askout *o = out;
    if (o->copy && !sr_buf_add(o->copy, p, n)) {
        o->failed = true;
        o->why    = ENOMEM;
        return false;
    }
    o->last = n ? p[n - 1] : o->last;
    while (n > 0) {
        ssize_t k = write(STDOUT_FILENO, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0) {
            o->failed = true;
            o->why    = errno == EPIPE ? 0 : errno;
            return false;
        }
        p += k;
        n -= (size_t)k;
    }
    return true;
}

json_t *sr_message(const char *role, const char *text, size_t n)
{
    json_t *content = json_stringn(text, n); /* NULL: not UTF-8 */
    return content ? json_pack("{s:s, s:o}", "role", role, "content", content) : NULL;
}

sr_status sr_conversation_ids(const sr_text *t, json_t *messages, sr_ids *out, sr_err *err)
{
    if (!t->chat)
        return sr_raise(err, SR_UNSUPPORTED, "%s", t->chat_why);
    const sr_promptenv env = {.tok = t->tok, .chat = t->chat, .specials = t->specials, .now = (int64_t)time(NULL)};
    const sr_chatinput in  = {.messages = messages, .add_generation_prompt = true};
    sr_chatinfo        info;
    return sr_prompt_chat(&env, &in, out, &info, err);
}

/* Hands out what is certain of the text; false: not wanted. */
static bool hand_out(const sr_ask *a, sr_buf *piece)
{
    bool go_on = piece->n == 0 || a->text(a->arg, piece->p, piece->n);
    sr_buf_drop(piece, piece->n);
    return go_on;
}

/* On a terminal, how far a long prompt has been read; n = 0 takes the line away. */
static void show_prompt(uint32_t n, uint32_t of)
{
    enum { SHORT = 256 }; /* read before anybody could read the figure */
    if (of > SHORT && isatty(STDERR_FILENO)) {
        if (n)
            fprintf(stderr, "\r\033[Kreading the prompt: %u of %u tokens", n, of);
        else
            fputs("\r\033[K", stderr);
    }
}

/* Follows one request to its end. */
static sr_status follow(sr_session *s, const sr_ask *a, uint64_t id, int signal_fd, sr_detok *d, sr_answer *out, sr_err *err)
{
    sr_event ev[64];
    sr_buf   piece  = {0};
    bool     wanted = true;
    size_t   n, stopped;
    for (;;) {
        if (sr_session_wait(s, signal_fd, ev, SR_COUNT(ev), &n, err))
            goto end;
        if (n == 0) {
            out->interrupted = true;
            sr_port_end(s->port, id, ~0u, SR_END_CANCEL);
        }
        for (size_t i = 0; i < n; i++) {
            if (ev[i].id != id)
                continue;
            if (ev[i].kind == SR_EV_ERROR) {
                sr_raise(err, ev[i].status, "%s", ev[i].msg);
                goto end;
            }
            if (ev[i].kind == SR_EV_PROGRESS)
                show_prompt(ev[i].pos, a->n_tok);
            if (ev[i].kind == SR_EV_DONE || (ev[i].kind == SR_EV_TOKEN && ev[i].pos == 0))
                show_prompt(0, a->n_tok);
            if (ev[i].kind == SR_EV_TOKEN && wanted && !out->interrupted) {
                if (sr_detok_push(d, ev[i].token, &piece, &stopped, err))
                    goto end;
                if (!(wanted = hand_out(a, &piece)))
                    sr_port_end(s->port, id, ~0u, SR_END_CANCEL);
            }
            if (ev[i].kind == SR_EV_DONE) {
                out->reason    = ev[i].reason;
                out->prompt    = ev[i].usage.prompt;
                out->cached    = ev[i].usage.cached;
                out->made      = ev[i].usage.made;
                out->ns_prompt = ev[i].usage.ns_prompt;
                out->ns_total  = ev[i].usage.ns_total;
                if (wanted && sr_detok_flush(d, &piece, err) == SR_OK)
                    hand_out(a, &piece);
                goto end;
            }
        }
    }
end:
    sr_buf_end(&piece);
    return err->status;
}

sr_status sr_session_ask(sr_session *s, const sr_text *t, const sr_ask *a, sr_answer *out, sr_err *err)
{
    sr_detok  *d = NULL;
    size_t     n_ends;
    sigset_t   sigint, before;
    sr_request r = {.id = ++s->next_id, .what = SR_GENERATE, .tok = a->tok, .n_tok = a->n_tok, .max_new = a->max_new,
                    .ignore_eos = a->ignore_end, .sampling = a->sampling};
    *out         = (sr_answer){0};
    r.stop_tok   = sr_tokenizer_ends(t->tok, &n_ends);
    r.n_stop_tok = a->ignore_end ? 0 : (uint32_t)n_ends;
    if (sr_detok_open(t->tok, NULL, 0, false, a->special, &d, err))
        return err->status;
    sigemptyset(&sigint);
    sigaddset(&sigint, SIGINT);
    pthread_sigmask(SIG_BLOCK, &sigint, &before);
    int       fd = signalfd(-1, &sigint, SFD_CLOEXEC | SFD_NONBLOCK); /* -1: Ctrl-C is seen after the answer */
    sr_status st = sr_port_post(s->port, &r, err);
    if (st == SR_AGAIN)
        st = sr_raise(err, SR_INVALID, "a prompt of %u tokens does not fit the engine's queue", a->n_tok);
    if (st == SR_OK)
        st = follow(s, a, r.id, fd, d, out, err);
    if (fd >= 0)
        close(fd);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    sr_detok_close(d);
    return st;
}

void sr_answer_line(const sr_answer *a, char *out, size_t cap)
{
    double prompt_s = (double)a->ns_prompt * 1e-9, total_s = (double)a->ns_total * 1e-9, made_s = total_s - prompt_s;
    uint32_t computed = a->prompt - SR_MIN(a->cached, a->prompt);
    char     cached[40] = "";
    if (a->cached)
        snprintf(cached, sizeof cached, ", %u from cache", a->cached);
    snprintf(out, cap, "prompt %u tokens%s, %.0f tok/s | answer %u tokens, %.1f tok/s | %.2f s", a->prompt, cached,
             prompt_s > 0 ? computed / prompt_s : 0.0, a->made,
             a->made > 1 && made_s > 0 ? (a->made - 1) / made_s : 0.0, total_s);
}
