/* strata render: a chat template and its variables in, the text a model would see out.
 *
 *     strata render           one JSON object on stdin: {"template": "..", "vars": {..}, "now": 1783168496}
 *     strata render --batch   one such object per line; one {"out": ".."} or {"error": ".."} per line
 *
 * Compiled templates are kept for the next line of a batch when it has the same source. */
#include "app/commands.h"
#include "app/opt.h"
#include "base/buf.h"
#include "base/mem.h"
#include "text/template.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { INPUT = 256 << 20 }; /* bytes of one request; the server's own bound is far below */

typedef struct {
    sr_template *t;
    char *src;
    size_t n;
} compiled;

static void forget(compiled *k)
{
    sr_template_close(k->t);
    sr_free(k->src);
    *k = (compiled){0};
}

static sr_status compile(compiled *k, const char *src, size_t n, sr_err *err)
{
    if (k->t && k->n == n && !memcmp(k->src, src, n))
        return SR_OK;
    forget(k);
    if (sr_template_compile(src, n, &k->t, err))
        return err->status;
    k->src = sr_strndup(src, n);
    k->n   = n;
    return k->src ? SR_OK : sr_raise(err, SR_NOMEM, "host: %zu bytes for a template's source", n);
}

static sr_status render(compiled *k, const char *text, size_t n, sr_buf *out, sr_err *err)
{
    json_error_t je;
    json_t *req = json_loadb(text, n, JSON_ALLOW_NUL, &je), *none = NULL;
    const json_t *src, *vars, *now;
    if (!req)
        return sr_raise(err, SR_INVALID, "request: %s (byte %d)", je.text, je.position);
    src  = json_object_get(req, "template");
    vars = json_object_get(req, "vars");
    now  = json_object_get(req, "now");
    if (!vars)
        vars = none = json_object();
    if (!json_is_string(src))
        sr_raise(err, SR_INVALID, "request: \"template\" must be a string");
    else if (!json_is_object(vars))
        sr_raise(err, SR_INVALID, "request: \"vars\" must be an object");
    else if (now && !json_is_number(now))
        sr_raise(err, SR_INVALID, "request: \"now\" must be a number of seconds");
    else if (!compile(k, json_string_value(src), json_string_length(src), err))
        (void)!sr_template_render(k->t, vars, now ? (int64_t)json_number_value(now) : (int64_t)time(NULL),
                                  NULL, out, err);
    json_decref(none);
    json_decref(req);
    return err->status;
}

/* A message on one line: control characters, which a template may raise, are spelt out. */
static void one_line(sr_buf *b, const char *msg)
{
    for (const unsigned char *p = (const unsigned char *)msg; *p; p++) {
        if (*p == '\n')
            sr_buf_str(b, "\\n");
        else if (*p < 0x20 || *p == 0x7f)
            sr_buf_fmt(b, "\\x%02x", *p);
        else
            sr_buf_char(b, (char)*p);
    }
}

static bool write_out(const sr_buf *b) { return fwrite(b->p ? b->p : "", 1, b->n, stdout) == b->n; }

static int answer_line(compiled *k, const char *line, size_t n)
{
    sr_buf out = {0}, msg = {0};
    sr_err err = {0};
    json_t *o;
    if (render(k, line, n, &out, &err)) {
        one_line(&msg, err.msg);
        o = json_pack("{s:s#}", "error", msg.p ? msg.p : "", (int)msg.n);
    } else {
        o = json_pack("{s:o}", "out", json_stringn(out.p ? out.p : "", out.n));
    }
    int rc = o ? json_dumpf(o, stdout, JSON_COMPACT) : -1;
    if (rc)
        fprintf(stderr, "render: the answer could not be written\n");
    putchar('\n');
    json_decref(o);
    sr_buf_end(&out);
    sr_buf_end(&msg);
    return rc ? 1 : 0;
}

static int batch(void)
{
    compiled k = {0};
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int rc = 0;
    while (!rc && (n = getline(&line, &cap, stdin)) > 0) {
        rc = answer_line(&k, line, (size_t)n);
        fflush(stdout);
    }
    free(line); /* getline takes it from malloc itself */
    forget(&k);
    return rc;
}

static int single(void)
{
    compiled k = {0};
    sr_buf in = {.limit = INPUT}, out = {0}, msg = {0};
    sr_err err = {0};
    char chunk[65536];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, stdin)) > 0 && sr_buf_add(&in, chunk, n))
        ;
    if (ferror(stdin))
        sr_raise(&err, SR_IO, "stdin: %s", strerror(errno));
    else if (in.failed)
        sr_raise(&err, SR_INVALID, "request: more than %d bytes, or no memory for it", INPUT);
    else if (!render(&k, in.p ? in.p : "", in.n, &out, &err) && (!write_out(&out) || fflush(stdout)))
        sr_raise(&err, SR_IO, "stdout: %s", strerror(errno));
    if (err.status) {
        one_line(&msg, err.msg);
        fprintf(stderr, "%s\n", msg.p ? msg.p : "");
    }
    forget(&k);
    sr_buf_end(&in);
    sr_buf_end(&out);
    sr_buf_end(&msg);
    return err.status ? 1 : 0;
}

int sr_cmd_render(int argc, char **argv)
{
    bool lines         = false;
    const sr_opt opt[] = {
        SR_O_FLAG("batch", 0, lines, "one request per line of stdin, one JSON answer per line")};
    const sr_optspec spec = {
        "render",
        NULL,
        "Render a chat template: what a model would see.",
        opt,
        SR_COUNT(opt),
        .more = "stdin: {\"template\": \"..\", \"vars\": {\"messages\": [..]}, \"now\": seconds}"};
    int rc = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
    return lines ? batch() : single();
}
