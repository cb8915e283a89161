/* bench_url_event.c - see bench_url_event.h. */
#include "app/bench_url_event.h"

#include <string.h>

#include "base/mem.h"

/* ---- server-sent events ---------------------------------------------------------------------------------- */

static void dispatch(sr_sse *s, sr_sse_fn *fn, void *arg)
{
    if (!s->has)
        return;
    if (s->at)
        fn(arg, s->at, s->n);
    else
        fn(arg, s->data.p ? s->data.p : "", s->data.n);
    s->has    = false;
    s->at     = NULL;
    s->data.n = 0;
}

/* Data is kept where it lies as long as it can be: `stays` says that the line outlives this call of feed's loop. */
static void take_line(sr_sse *s, const char *p, size_t n, bool stays, sr_sse_fn *fn, void *arg)
{
    if (n == 0) {
        dispatch(s, fn, arg);
        return;
    }
    if (n < 5 || memcmp(p, "data:", 5) != 0)
        return; /* a comment, or a field we have no use for */
    p += 5, n -= 5;
    if (n && *p == ' ')
        p++, n--;
    if (!s->has && stays) {
        s->at = p, s->n = n;
    } else {
        if (s->at)
            sr_buf_add(&s->data, s->at, s->n);
        s->at = NULL;
        if (s->has)
            sr_buf_char(&s->data, '\n');
        sr_buf_add(&s->data, p, n);
    }
    s->has = true;
}

bool sr_sse_feed(sr_sse *s, const char *p, size_t n, sr_sse_fn *fn, void *arg)
{
    s->line.limit = s->data.limit = SR_SSE_MAX;
    while (n) {
        if (s->after_cr && *p == '\n')
            p++, n--;
        s->after_cr = false;
        if (!n)
            break;
        const char *lf  = memchr(p, '\n', n);
        const char *cr  = memchr(p, '\r', lf ? (size_t)(lf - p) : n);
        const char *end = cr ? cr : lf;
        if (!end || s->line.n)
            sr_buf_add(&s->line, p, end ? (size_t)(end - p) : n);
        if (!end)
            break;
        bool whole = s->line.n == 0;
        take_line(s, whole ? p : s->line.p, whole ? (size_t)(end - p) : s->line.n, whole, fn, arg);
        s->line.n   = 0;
        s->after_cr = *end == '\r';
        n -= (size_t)(end + 1 - p);
        p = end + 1;
    }
    if (s->at) { /* the input goes away */
        sr_buf_add(&s->data, s->at, s->n);
        s->at = NULL;
    }
    return !s->line.failed && !s->data.failed;
}

void sr_sse_finish(sr_sse *s, sr_sse_fn *fn, void *arg)
{
    if (s->line.n)
        take_line(s, s->line.p, s->line.n, false, fn, arg);
    s->line.n = 0;
    dispatch(s, fn, arg);
}

void sr_sse_end(sr_sse *s)
{
    sr_buf_end(&s->line);
    sr_buf_end(&s->data);
    *s = (sr_sse){0};
}

/* ---- JSON ------------------------------------------------------------------------------------------------ */

typedef enum {
    K_NONE, K_ITEM, K_CHOICES, K_DELTA, K_MESSAGE, K_TEXT, K_CONTENT, K_REASONING, K_TOOLS, K_NAME, K_ARGUMENTS, K_FINISH, K_ERROR, K_USAGE,
    K_PROMPT, K_MADE, K_DETAILS, K_CACHED, K_DETAIL, K_DATA, K_ID
} key;

static const struct { const char *name; uint8_t n; uint8_t key; } keys[] = {
#define KEY(s, k) {s, sizeof s - 1, k}
    KEY("choices", K_CHOICES), KEY("delta", K_DELTA), KEY("message", K_MESSAGE), KEY("text", K_TEXT), KEY("content", K_CONTENT),
    KEY("reasoning_content", K_REASONING), KEY("reasoning", K_REASONING), KEY("tool_calls", K_TOOLS), KEY("name", K_NAME),
    KEY("arguments", K_ARGUMENTS), KEY("finish_reason", K_FINISH), KEY("error", K_ERROR), KEY("usage", K_USAGE), KEY("prompt_tokens", K_PROMPT),
    KEY("completion_tokens", K_MADE), KEY("prompt_tokens_details", K_DETAILS), KEY("cached_tokens", K_CACHED), KEY("detail", K_DETAIL),
    KEY("data", K_DATA), KEY("id", K_ID),
#undef KEY
};

enum { DEPTH = 32 }; /* chunks are six deep at most */
typedef struct {
    const char   *p, *end;
    uint8_t       path[DEPTH]; /* the member (or K_ITEM) being read at each depth */
    bool          object[DEPTH];
    unsigned      depth;
    sr_loadfacts *f;
    char         *id;          /* of sr_load_model_id, else NULL */
    size_t        id_cap;
} walk;

static key key_of(const char *p, size_t n)
{
    for (size_t i = 0; i < SR_COUNT(keys); i++)
        if (keys[i].n == n && memcmp(keys[i].name, p, n) == 0)
            return (key)keys[i].key;
    return K_NONE;
}

static void skip_space(walk *w)
{
    while (w->p < w->end && (*w->p == ' ' || *w->p == '\n' || *w->p == '\r' || *w->p == '\t'))
        w->p++;
}

static bool is_hex(char c) { return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f'); }

/* A string from its first quote on; *s, *n: what is between the quotes, escapes as they are. */
static bool take_string(walk *w, const char **s, size_t *n)
{
    const char *p = w->p + 1, *from = p;
    for (; p < w->end && *p != '"'; p++) {
        if ((unsigned char)*p < 0x20)
            return false;
        if (*p != '\\')
            continue;
        if (++p == w->end || !strchr("\"\\/bfnrtu", *p) || !*p)
            return false;
        if (*p != 'u')
            continue;
        if (w->end - p < 5 || !is_hex(p[1]) || !is_hex(p[2]) || !is_hex(p[3]) || !is_hex(p[4]))
            return false;
        p += 4;
    }
    if (p == w->end)
        return false;
    *s   = from;
    *n   = (size_t)(p - from);
    w->p = p + 1;
    return true;
}

static void copy_message(sr_loadfacts *f, const char *s, size_t n)
{
    if (f->message[0])
        return;
    n = SR_MIN(n, sizeof f->message - 1);
    memcpy(f->message, s, n);
    f->message[n] = 0;
}

/* Is the value being read text of an answer? */
static bool is_text(const walk *w)
{
    const uint8_t *k = w->path;
    unsigned       d = w->depth;
    if (d < 3 || k[0] != K_CHOICES || k[1] != K_ITEM)
        return false;
    if (d == 3)
        return k[2] == K_TEXT;
    if (k[2] != K_DELTA && k[2] != K_MESSAGE)
        return false;
    return d == 4 ? k[3] == K_CONTENT || k[3] == K_REASONING : k[3] == K_TOOLS && (k[d - 1] == K_NAME || k[d - 1] == K_ARGUMENTS);
}

static void on_string(walk *w, const char *s, size_t n)
{
    const uint8_t *k = w->path;
    unsigned       d = w->depth;
    if (w->id && d == 3 && k[0] == K_DATA && k[1] == K_ITEM && k[2] == K_ID && !w->id[0] && n < w->id_cap) {
        memcpy(w->id, s, n);
        w->id[n] = 0;
    }
    if (d == 0)
        return;
    if (is_text(w))
        w->f->n_text += n;
    else if (d == 3 && k[0] == K_CHOICES && k[2] == K_FINISH)
        w->f->finish = true;
    else if ((d == 1 && k[0] == K_ERROR) || (d == 2 && k[0] == K_ERROR && k[1] == K_MESSAGE) ||
             (d == 1 && (k[0] == K_MESSAGE || k[0] == K_DETAIL)))
        copy_message(w->f, s, n);
    if (d == 1 && k[0] == K_ERROR)
        w->f->error = true;
}

static void on_number(walk *w, int64_t v)
{
    const uint8_t *k = w->path;
    if (w->depth < 2 || k[0] != K_USAGE)
        return;
    if (w->depth == 2 && k[1] == K_PROMPT)
        w->f->n_prompt = v;
    else if (w->depth == 2 && k[1] == K_MADE)
        w->f->n_made = v;
    else if (w->depth == 3 && k[1] == K_DETAILS && k[2] == K_CACHED)
        w->f->n_cached = v;
}

/* -0.5e+3 and the like; the value only of whole numbers that fit, else -1. */
static bool take_number(walk *w)
{
    const char *p = w->p + (*w->p == '-'), *from = p;
    int64_t     v = 0;
    for (; p < w->end && *p >= '0' && *p <= '9'; p++)
        v = v < 0 || v > INT64_MAX / 10 - 1 ? -1 : v * 10 + (*p - '0');
    if (p == from || (*from == '0' && p - from > 1))
        return false;
    if (p < w->end && *p == '.') {
        const char *digits = ++p;
        while (p < w->end && *p >= '0' && *p <= '9')
            p++;
        if (p == digits)
            return false;
        v = -1;
    }
    if (p < w->end && (*p | 32) == 'e') {
        p += p + 1 < w->end && (p[1] == '+' || p[1] == '-') ? 2 : 1;
        const char *digits = p;
        while (p < w->end && *p >= '0' && *p <= '9')
            p++;
        if (p == digits)
            return false;
        v = -1;
    }
    on_number(w, *w->p == '-' ? -1 : v);
    w->p = p;
    return true;
}

static bool take_word(walk *w)
{
    static const char *const words[] = {"null", "true", "false"};
    for (size_t i = 0; i < SR_COUNT(words); i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(w->end - w->p) >= n && memcmp(w->p, words[i], n) == 0) {
            w->p += n;
            return true;
        }
    }
    return false;
}

static bool take_key(walk *w)
{
    const char *s;
    size_t      n;
    skip_space(w);
    if (w->p == w->end || *w->p != '"' || !take_string(w, &s, &n))
        return false;
    w->path[w->depth - 1] = (uint8_t)key_of(s, n);
    skip_space(w);
    return w->p < w->end && *w->p++ == ':';
}

static bool open_container(walk *w, char c)
{
    if (w->depth == DEPTH)
        return false;
    if (w->depth == 1 && c == '{') {
        w->f->error |= w->path[0] == K_ERROR;
        w->f->usage |= w->path[0] == K_USAGE;
    }
    w->object[w->depth] = c == '{';
    w->path[w->depth++] = K_ITEM;
    w->p++;
    return true;
}

/* One value, or the beginning of a container: then *opened. */
static bool take_value(walk *w, bool *opened)
{
    const char *s;
    size_t      n;
    *opened = false;
    skip_space(w);
    if (w->p == w->end)
        return false;
    switch (*w->p) {
    case '{':
    case '[':
        *opened = true;
        return open_container(w, *w->p);
    case '"':
        if (!take_string(w, &s, &n))
            return false;
        on_string(w, s, n);
        return true;
    case 'n':
    case 't':
    case 'f': return take_word(w);
    default: return take_number(w);
    }
}

/* After a value: closes what ends here.  False: not JSON.  *more: another value follows. */
static bool take_end(walk *w, bool fresh, bool *more)
{
    for (;; fresh = false) {
        *more = false;
        skip_space(w);
        if (w->depth == 0)
            return w->p == w->end;
        if (w->p == w->end)
            return false;
        bool object = w->object[w->depth - 1];
        if (*w->p == (object ? '}' : ']')) {
            w->p++;
            w->depth--;
            continue;
        }
        *more = true;
        if (!fresh && *w->p++ != ',')
            return false;
        return !object || take_key(w);
    }
}

static bool walk_all(walk *w)
{
    bool more = true, opened;
    *w->f = (sr_loadfacts){.n_prompt = -1, .n_made = -1, .n_cached = -1};
    while (more)
        if (!take_value(w, &opened) || !take_end(w, opened, &more))
            return false;
    return true;
}

bool sr_load_facts(const char *json, size_t n, sr_loadfacts *out)
{
    walk w = {.p = json, .end = json + n, .f = out};
    return walk_all(&w);
}

bool sr_load_model_id(const char *json, size_t n, char *id, size_t cap)
{
    sr_loadfacts f;
    walk         w = {.p = json, .end = json + n, .f = &f, .id = id, .id_cap = cap};
    id[0] = 0;
    return walk_all(&w);
}
