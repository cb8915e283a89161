#include "serve/batch_file.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/jsonw.h"
#include "base/mem.h"
#include "base/siphash.h"
#include "serve/internal.h"
#include "serve/json_in.h"

enum { IN_FLIGHT = 16, ID_MAX = 512, WAIT_MS = 50, PIECE = 64 << 10, DONE_FIRST = 1024 };

typedef struct { char *p; size_t n; } name;
typedef struct { name *at; size_t n, cap; uint64_t key[2]; } names; /* a set; open addressing, cap a power of two */

typedef struct { FILE *f; sr_buf text; size_t at, max; bool end, failed; } lines; /* text: read, not given out */

struct batch;
typedef struct item {
    struct batch *b;
    struct item  *next;
    uint64_t      line;
    sr_batchline  l;
} item;

typedef struct batch {
    const sr_batchcfg *cfg;
    sr_serve    *s;
    lines        in;
    FILE        *out;
    names        done, seen;
    item        *again, *again_end; /* the engine's queue was full */
    uint32_t     flying;
    bool         dropping;          /* answers are not written any more */
    uint64_t     line, first_ns;
    sr_batchsum *sum;
    sr_err      *err;
} batch;

/* ---- a set of names ------------------------------------------------------------------------------------------------- */

static name *place(const names *s, const char *p, size_t n)
{
    size_t i = (size_t)sr_siphash64(s->key, p, n) & (s->cap - 1);
    while (s->at[i].p && (s->at[i].n != n || memcmp(s->at[i].p, p, n) != 0))
        i = (i + 1) & (s->cap - 1);
    return &s->at[i];
}

static bool has(const names *s, const char *p, size_t n) { return s->cap && place(s, p, n)->p; }

static bool grow(names *s)
{
    names more = {.cap = s->cap ? 2 * s->cap : DONE_FIRST, .n = s->n, .key = {s->key[0], s->key[1]}};
    if (!(more.at = sr_calloc(more.cap, sizeof *more.at)))
        return false;
    for (size_t i = 0; i < s->cap; i++)
        if (s->at[i].p)
            *place(&more, s->at[i].p, s->at[i].n) = s->at[i];
    sr_free(s->at);
    *s = more;
    return true;
}

static bool put(names *s, const char *p, size_t n)
{
    if (2 * (s->n + 1) > s->cap && !grow(s))
        return false;
    name *to = place(s, p, n);
    if (!to->p) {
        *to = (name){sr_strndup(p, n), n};
        s->n++;
    }
    return to->p != NULL;
}

static void names_end(names *s)
{
    for (size_t i = 0; i < s->cap; i++)
        sr_free(s->at[i].p);
    sr_free(s->at);
}

/* ---- lines of a file ------------------------------------------------------------------------------------------------- */

typedef enum { LINE_END, LINE, LINE_TORN, LINE_LONG } linekind; /* TORN: the last, without its end; LONG: more than max, skipped */

static bool read_more(lines *l)
{
    sr_buf_drop(&l->text, l->at);
    l->at = 0;
    if (!sr_buf_reserve(&l->text, PIECE))
        return false;
    size_t got = fread(l->text.p + l->text.n, 1, PIECE, l->f);
    l->text.n += got;
    l->end    = got == 0;
    l->failed = ferror(l->f) != 0;
    return true;
}

/* The next line without its end; *n bytes at *p, valid until the next call. */
static sr_status next_line(lines *l, const char **p, size_t *n, linekind *kind, sr_err *err)
{
    bool   skip = false;
    size_t seen = 0; /* of the unread text, without an end of line */
    for (;;) {
        char *nl = l->text.n > l->at + seen ? memchr(l->text.p + l->at + seen, '\n', l->text.n - l->at - seen) : NULL;
        seen     = nl ? (size_t)(nl - l->text.p) - l->at : l->text.n - l->at;
        *p       = l->text.p ? l->text.p + l->at : "";
        *n       = seen;
        if (nl || l->end) {
            *kind = nl || seen || skip ? (skip || seen > l->max ? LINE_LONG : nl ? LINE : LINE_TORN) : LINE_END;
            l->at += seen + (nl != NULL);
            return SR_OK;
        }
        if (seen > l->max) {
            skip  = true;
            l->at = l->text.n;
            seen  = 0;
        }
        if (!read_more(l))
            return sr_raise(err, SR_NOMEM, "host: memory for a line of more than %zu bytes", l->text.n);
        if (l->failed)
            return sr_raise(err, SR_IO, "%s", strerror(errno));
    }
}

static bool blank(const char *p, size_t n)
{
    while (n && strchr(" \t\r", p[n - 1]))
        n--;
    return n == 0;
}

/* ---- a line of the input ---------------------------------------------------------------------------------------------- */

static bool bad(sr_batchline *l, const char *code, const char *why)
{
    l->code = code;
    snprintf(l->why, sizeof l->why, "%.239s", why);
    return false;
}

static const char *text_of(const json_t *root, const char *key) { return json_string_value(json_object_get(root, key)); }

bool sr_batch_line(const char *p, size_t n, const sr_servelimits *limits, sr_batchline *l)
{
    static const struct { const char *url; sr_api api; } urls[] = {{"/v1/chat/completions", SR_API_CHAT}, {"/v1/completions", SR_API_COMPLETION},
                                                                {"/v1/embeddings", SR_API_EMBEDDINGS}};
    sr_err err = {0};
    *l         = (sr_batchline){0};
    if (sr_json_read(p, n, limits->json_depth + 1, limits->json_values, &l->root, &err))
        return bad(l, "invalid_json", err.msg);
    const json_t *id = json_object_get(l->root, "custom_id");
    if (!json_is_string(id) || !json_string_length(id) || json_string_length(id) > ID_MAX)
        return bad(l, "invalid_custom_id", "'custom_id' must be a string of 1 to 512 bytes.");
    l->custom_id = json_string_value(id);
    l->n_id      = json_string_length(id);
    const char *method = text_of(l->root, "method"), *url = text_of(l->root, "url");
    if (!method || strcmp(method, "POST") != 0)
        return bad(l, "invalid_method", "'method' must be \"POST\".");
    for (size_t i = 0; url && i < SR_COUNT(urls); i++)
        l->api = strcmp(url, urls[i].url) == 0 ? urls[i].api : l->api;
    if (!l->api)
        return bad(l, "invalid_url", "'url' must be \"/v1/chat/completions\", \"/v1/completions\" or \"/v1/embeddings\".");
    l->body = json_object_get(l->root, "body");
    return json_is_object(l->body) ? true : bad(l, "missing_body", "'body' must be an object.");
}

void sr_batch_line_end(sr_batchline *l)
{
    json_decref(l->root);
    *l = (sr_batchline){0};
}

/* ---- what is done already ---------------------------------------------------------------------------------------------- */

/* Results of lines that could not be told by their custom_id are told by their number. */
static bool by_number(const char *code) { return code && (!strcmp(code, "duplicate_custom_id") || !strcmp(code, "invalid_json") || !strcmp(code, "invalid_custom_id") || !strcmp(code, "line_too_long")); }

static sr_status note_done(batch *b, const char *p, size_t n)
{
    sr_err  ignored = {0};
    json_t *root    = NULL;
    bool    ok      = true;
    if (sr_json_read(p, n, b->s->cfg.limits.json_depth + 8, UINT32_MAX, &root, &ignored) == SR_OK) {
        const json_t *id = json_object_get(root, by_number(text_of(json_object_get(root, "error"), "code")) ? "id" : "custom_id");
        json_int_t    status = json_integer_value(json_object_get(json_object_get(root, "response"), "status_code"));
        if (json_is_string(id) && status < 500)
            ok = put(&b->done, json_string_value(id), json_string_length(id));
    }
    json_decref(root);
    return ok ? SR_OK : sr_raise(b->err, SR_NOMEM, "host: memory for the names of %zu results", b->done.n);
}

/* Leaves the file at its end, cut to whole lines. */
static sr_status read_done(batch *b)
{
    const char *path = b->cfg->output, *p;
    lines       l    = {.f = b->out, .max = SIZE_MAX / 4};
    linekind    kind = LINE;
    off_t       whole = 0;
    size_t      n;
    while (kind == LINE) {
        if (next_line(&l, &p, &n, &kind, b->err))
            break;
        if (kind != LINE)
            continue;
        whole += (off_t)n + 1;
        if (note_done(b, p, n))
            break;
    }
    sr_buf_end(&l.text);
    if (b->err->status)
        return sr_while(b->err, "reading %s", path);
    if (ftruncate(fileno(b->out), whole) || fseeko(b->out, whole, SEEK_SET))
        return sr_raise(b->err, SR_IO, "%s: %s", path, strerror(errno));
    return SR_OK;
}

/* ---- results ---------------------------------------------------------------------------------------------------------- */

static void write_result(batch *b, uint64_t line, const sr_batchline *l, const sr_answered *a)
{
    sr_buf   text = {0};
    sr_jsonw w    = {.out = &text};
    char     id[40];
    snprintf(id, sizeof id, "batch_req_%llu", (unsigned long long)line);
    sr_json_obj(&w, NULL);
    sr_json_str(&w, "id", id);
    if (l->custom_id)
        sr_json_strn(&w, "custom_id", l->custom_id, l->n_id);
    else
        sr_json_null(&w, "custom_id");
    if (a) {
        sr_json_obj(&w, "response");
        sr_json_int(&w, "status_code", a->status);
        sr_json_str(&w, "request_id", a->id);
        sr_json_raw(&w, "body", a->body, a->n);
        sr_json_end(&w);
        sr_json_null(&w, "error");
    } else {
        sr_json_null(&w, "response");
        sr_json_obj(&w, "error");
        sr_json_str(&w, "code", l->code);
        sr_json_str(&w, "message", l->why);
        sr_json_end(&w);
    }
    sr_json_end(&w);
    sr_buf_char(&text, '\n');
    if (text.failed)
        sr_raise(b->err, SR_NOMEM, "host: memory for the result of line %llu", (unsigned long long)line);
    else if (fwrite(text.p, 1, text.n, b->out) != text.n || fflush(b->out))
        sr_raise(b->err, SR_IO, "%s: %s", b->cfg->output, strerror(errno));
    sr_buf_end(&text);
}

static void item_end(item *x)
{
    sr_batch_line_end(&x->l);
    sr_free(x);
}

static bool engine_died(const batch *b)
{
    sr_portstats now;
    sr_port_stats(b->s->port, &now);
    return now.fault;
}

static void answered(void *arg, const sr_answered *a)
{
    item        *x = arg;
    batch       *b = x->b;
    sr_batchsum *s = b->sum;
    b->flying--;
    if (a->status == 429 && !b->dropping) { /* not its fault */
        *(b->again_end ? &b->again_end->next : &b->again) = x;
        b->again_end = x;
        return;
    }
    if (!b->dropping && !b->err->status && !(a->status >= 500 && engine_died(b))) {
        write_result(b, x->line, &x->l, a);
        s->answered += a->status == 200;
        s->refused += a->status != 200;
        s->prompt += a->prompt;
        s->cached += a->cached;
        s->made += a->made;
        s->ns = sr_now_ns() - b->first_ns;
        if (b->cfg->progress)
            b->cfg->progress(b->cfg->arg, s);
    }
    item_end(x);
}

/* ---- the run ---------------------------------------------------------------------------------------------------------- */

static void begin(batch *b, item *x)
{
    b->flying++;
    b->first_ns = b->first_ns ? b->first_ns : sr_now_ns();
    sr_call_offline(b->s, x->l.api, x->l.body, answered, x);
}

static item *take_again(batch *b)
{
    item *x  = b->again;
    b->again = x->next;
    if (!b->again)
        b->again_end = NULL;
    x->next = NULL;
    return x;
}

/* Not done yet, and not twice in the input; else nothing is to be computed. */
static bool wanted(batch *b, item *x, linekind kind, bool ok)
{
    sr_batchline *l = &x->l;
    char          number[40];
    if (kind == LINE_LONG)
        ok = bad(l, "line_too_long", "the line is longer than a request may be.");
    if (ok && has(&b->seen, l->custom_id, l->n_id))
        ok = bad(l, "duplicate_custom_id", "an earlier line has this 'custom_id'.");
    snprintf(number, sizeof number, "batch_req_%llu", (unsigned long long)x->line);
    bool        numbered = by_number(l->code);
    const char *key      = numbered ? number : l->custom_id;
    size_t      n        = numbered ? strlen(number) : l->n_id;
    if (!numbered && !put(&b->seen, key, n)) {
        sr_raise(b->err, SR_NOMEM, "host: memory for the names of %zu requests", b->seen.n);
        return false;
    }
    if (has(&b->done, key, n)) {
        b->sum->skipped++;
        return false;
    }
    if (!ok) {
        b->sum->invalid++;
        write_result(b, x->line, l, NULL);
    }
    return ok;
}

/* Begins the next request of the input, if there is one. */
static sr_status begin_next(batch *b, bool *more)
{
    const char *p;
    size_t      n;
    linekind    kind;
    *more = false;
    if (next_line(&b->in, &p, &n, &kind, b->err))
        return sr_while(b->err, "reading %s", b->cfg->input);
    if (kind == LINE_END)
        return SR_OK;
    *more = true;
    b->line++;
    if (kind != LINE_LONG && blank(p, n))
        return SR_OK;
    item *x = sr_calloc(1, sizeof *x);
    if (!x)
        return sr_raise(b->err, SR_NOMEM, "host: %zu bytes for a request", sizeof *x);
    b->sum->lines++;
    x->b    = b;
    x->line = b->line;
    bool ok = kind != LINE_LONG && sr_batch_line(p, n, &b->s->cfg.limits, &x->l);
    if (wanted(b, x, kind, ok))
        begin(b, x);
    else
        item_end(x);
    return b->err->status;
}

static sr_status wait_for_answers(batch *b)
{
    struct pollfd fd = {.fd = sr_port_fd(b->s->port), .events = POLLIN};
    if (poll(&fd, 1, WAIT_MS) < 0 && errno != EINTR)
        return sr_raise(b->err, SR_IO, "poll: %s", strerror(errno));
    sr_calls_poll(b->s);
    sr_calls_late(b->s);
    return engine_died(b) ? sr_raise(b->err, SR_DEVLOST, "the engine has died; %llu requests were answered", (unsigned long long)b->sum->answered)
                          : b->err->status;
}

static sr_status run(batch *b)
{
    uint32_t most = b->cfg->in_flight ? b->cfg->in_flight : IN_FLIGHT;
    bool     more = true;
    while (more || b->flying || b->again) {
        while (more && !b->again && b->flying < most)
            if (begin_next(b, &more))
                return b->err->status;
        if ((b->flying || b->again) && wait_for_answers(b))
            return b->err->status;
        uint32_t tries = 0;
        for (item *last = b->again_end; b->again && b->flying < most && tries < most; tries++) {
            item *x = take_again(b);
            begin(b, x);
            if (x == last)
                break;
        }
    }
    return SR_OK;
}

static sr_status open_files(batch *b)
{
    const sr_batchcfg *c = b->cfg;
    struct stat        st;
    b->in.f   = strcmp(c->input, "-") == 0 ? stdin : fopen(c->input, "re");
    b->in.max = b->s->cfg.limits.body_bytes;
    if (!b->in.f)
        return sr_raise(b->err, SR_IO, "%s: %s", c->input, strerror(errno));
    if (stat(c->output, &st) == 0 && !S_ISREG(st.st_mode))
        return sr_raise(b->err, SR_INVALID, "%s: not a regular file; results are read again to go on later", c->output);
    b->out = fopen(c->output, "r+e");
    b->out = b->out || errno != ENOENT ? b->out : fopen(c->output, "w+e");
    return b->out ? read_done(b) : sr_raise(b->err, SR_IO, "%s: %s", c->output, strerror(errno));
}

sr_status sr_batch_run(const sr_batchcfg *cfg, sr_batchsum *sum, sr_err *err)
{
    sr_serve *s = sr_calloc(1, sizeof *s);
    batch     b = {.cfg = cfg, .sum = sum, .err = err, .s = s};
    *sum        = (sr_batchsum){0};
    if (!s)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a batch", sizeof *s);
    s->wake_fd = -1;
    if (sr_serve_basics(s, &(sr_servecfg){.model_id = cfg->model_id, .limits = cfg->limits}, err) == SR_OK &&
        sr_serve_model(s, &cfg->model, err) == SR_OK) {
        s->env.model = s->next;
        s->port      = s->next.port;
        memcpy(b.done.key, s->env.secret, sizeof b.done.key);
        memcpy(b.seen.key, s->env.secret, sizeof b.seen.key);
        if (open_files(&b) == SR_OK)
            run(&b);
        b.dropping = true;
        sr_calls_abort(s, 503, "shutting_down", "The batch has ended.");
        while (b.again)
            item_end(take_again(&b));
    }
    if (b.in.f && b.in.f != stdin)
        fclose(b.in.f);
    if (b.out && fclose(b.out))
        sr_raise(err, SR_IO, "%s: %s", cfg->output, strerror(errno));
    sr_buf_end(&b.in.text);
    names_end(&b.done);
    names_end(&b.seen);
    sr_serve_close(s);
    return err->status;
}
