/* cmd_chat.c - a conversation at the terminal: history, commands, and answers that Ctrl-C stops. */
#include "app/ask.h"
#include "app/commands.h"
#include "app/line.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    sr_sessioncfg cfg;
    sr_askopts    draw;
    const char   *system;
    uint32_t      max_tokens;
    sr_session   *session;
    sr_text       text;
    json_t       *messages;
    bool          tty;
} chat;

static const char commands_help[] =
    "  /help          this list\n"
    "  /clear         forget the conversation, keep the system message\n"
    "  /system TEXT   set the system message and start anew; without TEXT, remove it\n"
    "  /save FILE     write the conversation as JSON\n"
    "  /quit          end (as Ctrl-D does)\n"
    "Ctrl-C stops an answer. Alt-Enter begins a new line; pasted text keeps its lines.\n";

static bool has_system(const chat *c)
{
    const char *role = json_string_value(json_object_get(json_array_get(c->messages, 0), "role"));
    return role && strcmp(role, "system") == 0;
}

static void start_anew(chat *c, const char *system)
{
    json_t *m = system && *system ? sr_message("system", system, strlen(system)) : NULL;
    json_array_clear(c->messages);
    if (m)
        json_array_append_new(c->messages, m);
    else if (system && *system)
        fputs("(the system message is not valid UTF-8 and was not taken)\n", stderr);
}

static void save(const chat *c, const char *path)
{
    if (!*path)
        fputs("(/save needs a file name)\n", stderr);
    else if (json_dump_file(c->messages, path, JSON_INDENT(2)))
        fprintf(stderr, "(%s: %s)\n", path, errno ? strerror(errno) : "cannot be written");
    else
        fprintf(stderr, "(%zu messages written to %s)\n", json_array_size(c->messages), path);
}

/* A line that begins with "/"; false: end. */
static bool command(chat *c, const char *line)
{
    size_t      n    = strcspn(line, " ");
    const char *rest = line + n + strspn(line + n, " ");
    errno            = 0;
    if (strncmp(line, "/help", n) == 0 && n == 5) {
        fputs(commands_help, stderr);
    } else if (strncmp(line, "/clear", n) == 0 && n == 6) {
        json_t *first = has_system(c) ? json_incref(json_array_get(c->messages, 0)) : NULL;
        json_array_clear(c->messages);
        if (first)
            json_array_append_new(c->messages, first);
        fputs("(forgotten)\n", stderr);
    } else if (strncmp(line, "/system", n) == 0 && n == 7) {
        start_anew(c, rest);
        fprintf(stderr, "(%s; the conversation starts anew)\n", has_system(c) ? "system message set" : "no system message");
    } else if (strncmp(line, "/save", n) == 0 && n == 5) {
        save(c, rest);
    } else if ((strncmp(line, "/quit", n) == 0 || strncmp(line, "/exit", n) == 0) && n == 5) {
        return false;
    } else {
        fprintf(stderr, "(no command %.*s; /help lists them)\n", (int)SR_MIN(n, (size_t)40), line);
    }
    return true;
}

/* The ids of the conversation; where it is longer than the context, its oldest exchanges go. */
static sr_status fit(chat *c, sr_ids *ids, uint32_t *room, sr_err *err)
{
    uint32_t ctx = c->session->info.ctx, dropped = 0;
    for (;;) {
        ids->n = 0;
        if (sr_conversation_ids(&c->text, c->messages, ids, err))
            return err->status;
        size_t first = has_system(c) ? 1 : 0, n = json_array_size(c->messages);
        size_t keep  = SR_MIN(c->max_tokens, ctx / 4); /* room for an answer that says something */
        if (ids->n + keep <= ctx || n <= first + 1)
            break;
        json_array_remove(c->messages, first); /* a question and its answer */
        if (n > first + 2)
            json_array_remove(c->messages, first);
        dropped++;
    }
    if (dropped)
        fprintf(stderr, "(the oldest %u %s dropped: the context holds %u tokens)\n", dropped,
                dropped == 1 ? "exchange was" : "exchanges were", ctx);
    if (ids->n >= ctx)
        return sr_raise(err, SR_INVALID, "the message has %zu tokens, the context holds %u", ids->n, ctx);
    *room = SR_MIN(c->max_tokens, ctx - (uint32_t)ids->n);
    return SR_OK;
}

/* One exchange.  A failure leaves the conversation as it was; *gone: nobody reads stdout any more. */
static sr_status exchange(chat *c, const sr_buf *line, bool *gone, sr_err *err)
{
    sr_ids    ids  = {0};
    sr_buf    copy = {0};
    sr_askout out  = {.copy = &copy};
    sr_answer a    = {0};
    uint32_t  room = 0;
    json_t   *user = sr_message("user", line->p, line->n), *said;
    if (!user)
        return sr_raise(err, SR_INVALID, "the message is not valid UTF-8");
    json_array_append(c->messages, user);
    if (fit(c, &ids, &room, err) == SR_OK) {
        sr_ask ask = {.tok = ids.p, .n_tok = (uint32_t)ids.n, .max_new = room, .text = sr_askout_write, .arg = &out,
                      .sampling = sr_askopts_sampling(&c->draw)};
        if (sr_session_ask(c->session, &c->text, &ask, &a, err) == SR_OK && out.why)
            sr_raise(err, SR_IO, "stdout: %s", strerror(out.why));
    }
    *gone = out.failed;
    if (copy.n > 0 || err->status == SR_OK)
        sr_askout_write(&(sr_askout){0}, "\n", 1);
    said = err->status ? NULL : sr_message("assistant", copy.p ? copy.p : "", copy.n);
    if (said)
        json_array_append_new(c->messages, said);
    else
        json_array_remove(c->messages, json_array_size(c->messages) - 1);
    if (c->tty && !err->status) {
        char stats[200];
        sr_answer_line(&a, stats, sizeof stats);
        fprintf(stderr, "\033[2m%s%s\033[0m\n", a.interrupted ? "(stopped) " : "", stats);
    }
    json_decref(user);
    sr_buf_end(&copy);
    sr_ids_end(&ids);
    return err->status;
}

static int talk(chat *c, sr_line *input, sr_err *err)
{
    sr_buf line = {0};
    bool   end = false, gone = false;
    int    rc = 0;
    if (c->tty)
        fprintf(stderr, "%s. /help lists commands, Ctrl-D ends.\n", c->session->id);
    while (!gone && sr_line_read(input, "> ", &line, &end, err) == SR_OK && !end) {
        sr_err one = {0};
        if (line.n == 0 || line.p[strspn(line.p, " \t\n")] == 0)
            continue;
        if (line.p[0] == '/') {
            if (!command(c, line.p))
                break;
        } else if (exchange(c, &line, &gone, &one)) {
            fprintf(stderr, "strata chat: %s\n", one.msg);
            rc = 1;
            if (one.status == SR_DEVLOST)
                break;
        } else {
            rc = 0;
        }
    }
    sr_buf_end(&line);
    return c->tty ? 0 : rc;
}

int sr_cmd_chat(int argc, char **argv)
{
    chat         c     = {.draw = sr_askopts_default, .max_tokens = 4096, .cfg = {.device = "auto", .kv_k = "f16", .kv_v = "f16", .max_seqs = 1}};
    const sr_opt opt[] = {
        SR_O_MODEL(c.cfg),
        SR_O_STR("system", 0, c.system, "TEXT", "a system message"),
        SR_O_UINT("max-tokens", 'n', c.max_tokens, "N", "most tokens of one answer", 1, 1 << 24),
        SR_O_SAMPLING(c.draw),
        SR_O_DEVICE(c.cfg),
        SR_O_VRAM(c.cfg),
        SR_O_RAM(c.cfg),
        SR_O_OFFLOAD(c.cfg), SR_O_TRANSIT(c.cfg), SR_O_RAM_FORMAT(c.cfg), SR_O_DISK_IO(c.cfg),
        SR_O_THREADS(c.cfg), SR_O_ACTIVATIONS(c.cfg),
        SR_O_KV_K(c.cfg),
        SR_O_KV_V(c.cfg),
        SR_O_CTX(c.cfg),
        SR_O_WARMUP(c.cfg),
        SR_O_SKIP(c.cfg),
        SR_O_FLAG("verbose", 'v', c.cfg.verbose, "what was loaded, on stderr"),
    };
    const sr_optspec spec = {"chat", NULL, "Talk to a model. Without a terminal, each line of stdin is a message.", opt,
                             SR_COUNT(opt), .max_operands = 0, .more = commands_help};
    int rc = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
    sr_err   err   = {0};
    sr_line *input = NULL;
    c.messages     = json_array();
    c.tty          = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    c.cfg.warm     = c.tty; /* while the first line is typed */
    rc             = 1;
    if (!c.messages)
        sr_raise(&err, SR_NOMEM, "host: memory for a conversation");
    else if (sr_session_open(&c.cfg, &c.session, &err) == SR_OK && sr_text_open(c.session->path, &c.text, &err) == SR_OK &&
             sr_line_open(STDIN_FILENO, STDOUT_FILENO, &input, &err) == SR_OK) {
        if (!c.text.chat)
            sr_raise(&err, SR_UNSUPPORTED, "%s; strata ask --raw can still be used", c.text.chat_why);
        else {
            start_anew(&c, c.system);
            rc = talk(&c, input, &err);
        }
    }
    sr_line_close(input);
    sr_text_close(&c.text);
    sr_session_close(c.session);
    json_decref(c.messages);
    if (err.status)
        fprintf(stderr, "strata chat: %s\n", err.msg);
    return err.status ? 1 : rc;
}
