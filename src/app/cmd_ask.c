/* cmd_ask.c - one question, one answer: the answer alone on stdout, as it comes. */
#include "app/ask.h"
#include "app/commands.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PROMPT_MAX = 64 << 20 };

typedef struct {
    sr_sessioncfg session;
    sr_askopts    draw;
    const char   *prompt, *system;
    uint32_t      max_tokens;
    bool          raw, special, ignore_end;
} options;

static sr_status read_stdin(sr_buf *out, sr_err *err)
{
    char    block[65536];
    ssize_t n;
    out->limit = PROMPT_MAX;
    while ((n = read(STDIN_FILENO, block, sizeof block)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sr_raise(err, SR_IO, "stdin: %s", strerror(errno));
        if (!sr_buf_add(out, block, (size_t)n))
            return sr_raise(err, SR_INVALID, "the prompt on stdin is larger than %d MiB", PROMPT_MAX >> 20);
    }
    return SR_OK;
}

/* From --prompt, the operand, or stdin ("-", or no prompt and stdin is no terminal). */
static sr_status find_prompt(options *o, int argc, char **argv, sr_buf *out, sr_err *err)
{
    const char *text = o->prompt ? o->prompt : argc > 1 ? argv[1] : NULL;
    if (o->prompt && argc > 1)
        return sr_raise(err, SR_INVALID, "two prompts: --prompt and the operand");
    if (!text && isatty(STDIN_FILENO))
        return sr_raise(err, SR_INVALID, "no prompt: strata ask \"Why is the sky blue?\"");
    if (!text || (strcmp(text, "-") == 0 && text != o->prompt))
        return read_stdin(out, err);
    return sr_buf_str(out, text) ? SR_OK : sr_raise(err, SR_NOMEM, "host: memory for the prompt");
}

static sr_status to_ids(const options *o, const sr_text *t, const sr_buf *text, sr_ids *ids, sr_err *err)
{
    const char *p = text->p ? text->p : "";
    if (o->raw)
        return sr_tokenizer_encode(t->tok, p, text->n, SR_TOK_ADD_SPECIAL | SR_TOK_PARSE_SPECIAL, ids, err);
    json_t *messages = json_array();
    bool    ok       = !o->system || json_array_append_new(messages, sr_message("system", o->system, strlen(o->system))) == 0;
    ok               = json_array_append_new(messages, sr_message("user", p, text->n)) == 0 && ok;
    sr_status st     = ok ? sr_conversation_ids(t, messages, ids, err)
                          : sr_raise(err, SR_INVALID, "the prompt is not valid UTF-8 (--raw takes any bytes)");
    json_decref(messages);
    return st == SR_UNSUPPORTED ? sr_while(err, "asking without --raw") : st;
}

static sr_status answer(const options *o, sr_session *s, const sr_text *t, const sr_ids *ids, sr_askout *out, sr_answer *a, sr_err *err)
{
    sr_ask ask = {.tok = ids->p, .n_tok = (uint32_t)ids->n, .max_new = o->max_tokens, .special = o->special,
                  .ignore_end = o->ignore_end, .sampling = sr_askopts_sampling(&o->draw), .text = sr_askout_write, .arg = out};
    if (ids->n == 0)
        return sr_raise(err, SR_INVALID, "the prompt is empty");
    if (o->session.verbose && o->draw.temp > 0)
        fprintf(stderr, "seed %llu\n", (unsigned long long)ask.sampling.seed);
    return sr_session_ask(s, t, &ask, a, err);
}

static int run(options *o, int argc, char **argv)
{
    sr_err      err  = {0};
    sr_buf      prompt = {0};
    sr_text     text   = {0};
    sr_ids      ids  = {0};
    sr_session *s    = NULL;
    sr_askout   out  = {0};
    sr_answer   a    = {0};
    if (find_prompt(o, argc, argv, &prompt, &err) == SR_OK && sr_session_open(&o->session, &s, &err) == SR_OK &&
        sr_text_open(s->path, &text, &err) == SR_OK && to_ids(o, &text, &prompt, &ids, &err) == SR_OK &&
        answer(o, s, &text, &ids, &out, &a, &err) == SR_OK && out.why)
        sr_raise(&err, SR_IO, "stdout: %s", strerror(out.why));
    if (isatty(STDOUT_FILENO) && out.last && out.last != '\n')
        putchar('\n');
    fflush(stdout);
    if (!err.status && (o->session.verbose || (isatty(STDERR_FILENO) && isatty(STDOUT_FILENO)))) {
        char line[200];
        sr_answer_line(&a, line, sizeof line);
        fprintf(stderr, "%s\n", line);
    }
    sr_session_close(s);
    sr_ids_end(&ids);
    sr_text_close(&text);
    sr_buf_end(&prompt);
    if (err.status)
        fprintf(stderr, "strata ask: %s\n", err.msg);
    return err.status ? 1 : a.interrupted ? 130 : 0;
}

int sr_cmd_ask(int argc, char **argv)
{
    options      o     = {.draw = sr_askopts_default, .max_tokens = 512, .session = {.device = "auto", .kv_k = "f16", .kv_v = "f16", .max_seqs = 1}};
    const sr_opt opt[] = {
        SR_O_MODEL(o.session),
        SR_O_STR("prompt", 'p', o.prompt, "TEXT", "the question; the same as the operand"),
        SR_O_STR("system", 0, o.system, "TEXT", "a system message before it"),
        SR_O_UINT("max-tokens", 'n', o.max_tokens, "N", "most tokens of the answer", 1, 1 << 24),
        SR_O_SAMPLING(o.draw),
        SR_O_FLAG("raw", 0, o.raw, "continue the text: no chat template, control tokens in it are read as such"),
        SR_O_FLAG("special", 0, o.special, "show control tokens in the answer as text"),
        SR_O_FLAG("ignore-end", 0, o.ignore_end, "go on past end tokens up to --max-tokens"),
        SR_O_DEVICE(o.session),
        SR_O_VRAM(o.session),
        SR_O_RAM(o.session),
        SR_O_OFFLOAD(o.session), SR_O_TRANSIT(o.session), SR_O_RAM_FORMAT(o.session), SR_O_DISK_IO(o.session),
        SR_O_THREADS(o.session), SR_O_ACTIVATIONS(o.session),
        SR_O_KV_K(o.session),
        SR_O_KV_V(o.session),
        SR_O_CTX(o.session),
        SR_O_SKIP(o.session),
        SR_O_FLAG("verbose", 'v', o.session.verbose, "what was loaded and how fast it went, on stderr"),
    };
    const sr_optspec spec = {"ask", "[PROMPT]",
                             "Ask a model one question. The answer goes to stdout as it comes, everything else to stderr. "
                             "Without a prompt, or with -, the question is read from stdin. Ctrl-C ends the answer.",
                             opt, SR_COUNT(opt), .max_operands = 1,
                             .more = "examples:\n"
                                     "  strata ask \"Tell me about the sea.\"\n"
                                     "  strata ask --raw --temperature 0 -n 40 \"Once upon a time\"\n"
                                     "  git diff | strata ask -m coder.gguf --system \"Review this change.\" -\n"};
    int rc = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
    if (o.raw && o.system) {
        fputs("strata ask: --system needs the chat template, --raw is without it\n", stderr);
        return 2;
    }
    return run(&o, argc, argv);
}
