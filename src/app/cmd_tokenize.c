/* strata tokenize, strata detokenize: text to token ids and back, on stdin and stdout.
 *
 * Plain: all of stdin is one text.  --batch-hex: a line is the hex of one string, answered by one line
 * at once, so that a script can keep the program open and ask again. */
#include "app/commands.h"
#include "app/opt.h"
#include "base/mem.h"
#include "text/tokenizer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const char   *name, *model;
    bool          ids, add_special, parse_special, batch;
    sr_tokenizer *t;
    sr_ids        tokens;
    sr_buf        in, out;
    sr_err        err;
} job;

static bool fail(job *j, sr_status s, const char *what)
{
    sr_raise(&j->err, s, "%s", what);
    return false;
}

static sr_status open_model(job *j)
{
    sr_gguf  *g = NULL;
    sr_status s;
    char      shown[160];
    if ((s = sr_gguf_open(j->model, &g, &j->err)))
        return s;
    if ((s = sr_tokenizer_open(g, &j->t, &j->err)))
        sr_while(&j->err, "reading the tokenizer of %s", sr_escape(shown, sizeof shown, j->model, strlen(j->model)));
    sr_gguf_close(g);
    return s;
}

static void close_job(job *j)
{
    sr_tokenizer_close(j->t);
    sr_ids_end(&j->tokens);
    sr_buf_end(&j->in);
    sr_buf_end(&j->out);
}

/* ---- input ---------------------------------------------------------------------------------- */

static bool bad_stdin(job *j)
{
    sr_raise(&j->err, SR_IO, "stdin: %s", strerror(errno));
    return false;
}

static bool read_all(job *j)
{
    for (;;) {
        if (!sr_buf_reserve(&j->in, 1 << 16))
            return fail(j, SR_NOMEM, "host: memory for the text on stdin");
        size_t n = fread(j->in.p + j->in.n, 1, 1 << 16, stdin);
        j->in.n += n;
        if (n == 0)
            break;
    }
    return !ferror(stdin) || bad_stdin(j);
}

/* The next line without its end, into j->in; false at the end of stdin or on an error (in j->err). */
static bool read_line(job *j)
{
    int c;
    j->in.n = 0;
    while ((c = getc_unlocked(stdin)) != EOF && c != '\n')
        if (!sr_buf_char(&j->in, (char)c))
            return fail(j, SR_NOMEM, "host: memory for a line of stdin");
    if (ferror(stdin))
        return bad_stdin(j);
    if (j->in.n && j->in.p[j->in.n - 1] == '\r')
        j->in.n--;
    return c != EOF || j->in.n;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The line's hex to bytes, in place. */
static bool unhex(job *j)
{
    size_t n = j->in.n / 2;
    if (j->in.n % 2)
        return fail(j, SR_INVALID, "an odd number of hex digits");
    for (size_t i = 0; i < n; i++) {
        int hi = hex_digit(j->in.p[2 * i]), lo = hex_digit(j->in.p[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return fail(j, SR_INVALID, "not hex digits");
        j->in.p[i] = (char)(hi << 4 | lo);
    }
    j->in.n = n;
    return true;
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* The decimal ids in j->in. */
static bool parse_ids(job *j)
{
    const char *p = j->in.p, *end = p + j->in.n;
    j->tokens.n = 0;
    while (p < end) {
        int64_t v = 0;
        if (is_space(*p)) {
            p++;
            continue;
        }
        for (; p < end && *p >= '0' && *p <= '9' && v <= INT32_MAX; p++)
            v = 10 * v + (*p - '0');
        if ((p < end && !is_space(*p)) || v > INT32_MAX)
            return fail(j, SR_INVALID, "not token ids");
        if (j->tokens.n == j->tokens.cap) {
            size_t   cap = 2 * j->tokens.cap + 64;
            int32_t *ids = sr_realloc(j->tokens.p, cap * sizeof *ids);
            if (!ids)
                return fail(j, SR_NOMEM, "host: memory for a line of ids");
            j->tokens.p   = ids;
            j->tokens.cap = cap;
        }
        j->tokens.p[j->tokens.n++] = (int32_t)v;
    }
    return true;
}

/* ---- output --------------------------------------------------------------------------------- */

static bool put_id(sr_buf *b, int32_t id)
{
    char  text[12], *p = text + sizeof text;
    do
        *--p = (char)('0' + id % 10);
    while (id /= 10);
    return sr_buf_add(b, p, (size_t)(text + sizeof text - p));
}

static void put_ids(job *j)
{
    for (size_t i = 0; i < j->tokens.n; i++) {
        if (i)
            sr_buf_char(&j->out, ' ');
        put_id(&j->out, j->tokens.p[i]);
    }
    sr_buf_char(&j->out, '\n');
}

/* For people: id, tab, text; one token a line. */
static void put_table(job *j)
{
    for (size_t i = 0; i < j->tokens.n; i++) {
        size_t      n;
        char        shown[256];
        const char *p = sr_tokenizer_piece(j->t, j->tokens.p[i], true, &n);
        put_id(&j->out, j->tokens.p[i]);
        sr_buf_fmt(&j->out, "\t\"%s\"\n", sr_escape(shown, sizeof shown, p, n));
    }
}

static void put_hex(sr_buf *b, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c      = (unsigned char)p[i];
        char          two[2] = {"0123456789abcdef"[c >> 4], "0123456789abcdef"[c & 15]};
        sr_buf_add(b, two, 2);
    }
    sr_buf_char(b, '\n');
}

/* Answers what is in j->out.  A reader that has left ends the work, but is no error. */
static bool flush(job *j)
{
    if (j->out.failed)
        return fail(j, SR_NOMEM, "host: memory for the output");
    bool ok  = fwrite(j->out.p, 1, j->out.n, stdout) == j->out.n && fflush(stdout) == 0;
    j->out.n = 0;
    if (!ok && errno != EPIPE)
        sr_raise(&j->err, SR_IO, "stdout: %s", strerror(errno));
    return ok;
}

/* ---- the commands ---------------------------------------------------------------------------- */

static bool tokenize(job *j)
{
    unsigned flags = (j->add_special ? SR_TOK_ADD_SPECIAL : 0u) | (j->parse_special ? SR_TOK_PARSE_SPECIAL : 0u);
    j->tokens.n    = 0;
    if (sr_tokenizer_encode(j->t, j->in.n ? j->in.p : "", j->in.n, flags, &j->tokens, &j->err))
        return false;
    if (j->ids || j->batch)
        put_ids(j);
    else
        put_table(j);
    return flush(j);
}

static bool detokenize(job *j)
{
    sr_buf text = {0};
    bool   ok   = parse_ids(j) && !sr_tokenizer_decode(j->t, j->tokens.p, j->tokens.n, true, &text, &j->err);
    if (ok) {
        if (j->batch)
            put_hex(&j->out, text.p, text.n);
        else
            sr_buf_add(&j->out, text.p, text.n);
    }
    sr_buf_end(&text);
    return ok && flush(j);
}

static int run(job *j, bool (*one)(job *), bool (*decode)(job *))
{
    bool ok = !open_model(j);
    if (ok && !j->batch)
        ok = read_all(j) && one(j);
    for (size_t line = 1; ok && j->batch && read_line(j); line++) {
        ok = (!decode || decode(j)) && one(j);
        if (!ok)
            sr_while(&j->err, "answering line %zu of stdin", line);
    }
    if (j->err.status)
        fprintf(stderr, "strata %s: %s\n", j->name, j->err.msg);
    int rc = j->err.status ? 1 : 0;
    close_job(j);
    return rc;
}

int sr_cmd_tokenize(int argc, char **argv)
{
    job          j     = {.name = "tokenize"};
    const sr_opt opt[] = {
        SR_O_STR("model", 'm', j.model, "FILE", "GGUF file whose vocabulary is used (tensors are not needed)"),
        SR_O_FLAG("ids", 0, j.ids, "only the ids, on one line"),
        SR_O_FLAG("add-special", 0, j.add_special, "BOS and EOS where the model asks for them"),
        SR_O_FLAG("parse-special", 0, j.parse_special, "control tokens written in the text become control tokens"),
        SR_O_FLAG("batch-hex", 0, j.batch, "each line of stdin is the hex of one text, answered by one line of ids"),
    };
    const sr_optspec spec = {"tokenize", NULL, "Turn the text on stdin into token ids.", opt, SR_COUNT(opt),
                             .more = "example:\n  printf 'Hello' | strata tokenize --model FILE.gguf --ids\n"};
    int              rc   = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
    if (!j.model) {
        fputs("strata tokenize: --model FILE is missing\n", stderr);
        return 2;
    }
    return run(&j, tokenize, unhex);
}

int sr_cmd_detokenize(int argc, char **argv)
{
    job          j     = {.name = "detokenize"};
    const sr_opt opt[] = {
        SR_O_STR("model", 'm', j.model, "FILE", "GGUF file whose vocabulary is used (tensors are not needed)"),
        SR_O_FLAG("batch-hex", 0, j.batch, "each line of stdin is a list of ids, answered by the hex of its bytes"),
    };
    const sr_optspec spec = {"detokenize", NULL, "Turn the token ids on stdin into text.", opt, SR_COUNT(opt),
                             .more = "example:\n  echo 9707 11 | strata detokenize --model FILE.gguf\n"};
    int              rc   = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
    if (!j.model) {
        fputs("strata detokenize: --model FILE is missing\n", stderr);
        return 2;
    }
    return run(&j, detokenize, NULL);
}
