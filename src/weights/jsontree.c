#include "weights/jsontree.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { DEPTH = 16, NODES = 4096, DIGITS = 64 };

typedef struct {
    const char  *begin, *at, *end;
    char        *out;          /* where the next string goes: no longer than its text */
    sr_jsontree *t;
    sr_err      *err;
} parser;

static sr_status bad(parser *p, const char *what)
{
    unsigned line = 1, column = 1;
    for (const char *c = p->begin; c < p->at; c++) {
        line += *c == '\n';
        column = *c == '\n' ? 1 : column + 1;
    }
    return sr_raise(p->err, SR_INVALID, "invalid JSON: %s (line %u, column %u)", what, line, column);
}

static void blank(parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r'))
        p->at++;
}

static bool take(parser *p, char c)
{
    blank(p);
    if (p->at == p->end || *p->at != c)
        return false;
    p->at++;
    return true;
}

/* ---- strings --------------------------------------------------------------------------------------------------------------- */

static int hex4(parser *p, unsigned *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++, p->at++) {
        char c = p->at < p->end ? *p->at : 0;
        int  v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (v < 0)
            return -1;
        *out = *out * 16 + (unsigned)v;
    }
    return 0;
}

static void put_utf8(parser *p, unsigned c)
{
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (int i = n - 1; i >= 0; i--)
        *p->out++ = (char)(i == n - 1 ? lead[n] | c >> (6 * i) : 0x80 | (c >> (6 * i) & 0x3F));
    if (n == 1)
        p->out[-1] = (char)c;
}

static sr_status escape(parser *p)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    unsigned          c, low;
    if (p->at == p->end)
        return bad(p, "the text ends in a string");
    const char *known = memchr(from, *p->at, sizeof from - 1);
    if (known) {
        *p->out++ = to[known - from];
        p->at++;
        return SR_OK;
    }
    if (*p->at++ != 'u' || hex4(p, &c))
        return bad(p, "an escape that JSON does not have");
    if (c >= 0xD800 && c < 0xDC00) {
        bool pair = p->end - p->at >= 6 && p->at[0] == '\\' && p->at[1] == 'u';
        p->at += pair ? 2 : 0;
        if (!pair || hex4(p, &low) || low < 0xDC00 || low > 0xDFFF)
            return bad(p, "half of a surrogate pair");
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    } else if (c >= 0xDC00 && c <= 0xDFFF) {
        return bad(p, "half of a surrogate pair");
    }
    if (!c)
        return bad(p, "a NUL in a string");
    put_utf8(p, c);
    return SR_OK;
}

/* Bytes of the UTF-8 sequence at p->at; 0: none (RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF). */
static size_t utf8(const parser *p)
{
    const unsigned char *s = (const unsigned char *)p->at;
    size_t   left = (size_t)(p->end - p->at), n = s[0] < 0x80 ? 1 : s[0] >= 0xC2 && s[0] < 0xE0 ? 2 : s[0] >= 0xE0 && s[0] < 0xF0 ? 3 : s[0] >= 0xF0 && s[0] < 0xF5 ? 4 : 0;
    if (!n || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    bool wrong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F);
    return wrong ? 0 : n;
}

/* Behind the opening quote. */
static sr_status string(parser *p, const char **text, size_t *n)
{
    *text = p->out;
    while (p->at < p->end && *p->at != '"') {
        size_t bytes = utf8(p);
        if ((unsigned char)*p->at < 32)
            return bad(p, "a control character in a string");
        if (!bytes)
            return bad(p, "bytes that are not UTF-8");
        if (*p->at == '\\') {
            p->at++;
            if (escape(p))
                return SR_INVALID;
            continue;
        }
        memcpy(p->out, p->at, bytes);
        p->out += bytes;
        p->at += bytes;
    }
    if (p->at == p->end)
        return bad(p, "the text ends in a string");
    p->at++;
    *n        = (size_t)(p->out - *text);
    *p->out++ = 0; /* the closing quote made room for it */
    return SR_OK;
}

/* ---- numbers --------------------------------------------------------------------------------------------------------------- */

static uint32_t digits(parser *p)
{
    const char *from = p->at;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9')
        p->at++;
    return (uint32_t)(p->at - from);
}

static sr_status number(parser *p, sr_jsonnode *v)
{
    const char *from = p->at;
    char        copy[DIGITS], *rest;
    bool        whole = true;
    p->at += *p->at == '-';
    const char *first = p->at;
    uint32_t    n     = digits(p);
    if (!n || (n > 1 && *first == '0'))
        return bad(p, "no number that JSON has");
    if (p->at < p->end && *p->at == '.') {
        p->at++;
        whole = false;
        if (!digits(p))
            return bad(p, "no digit behind the point");
    }
    if (p->at < p->end && (*p->at == 'e' || *p->at == 'E')) {
        p->at++;
        whole = false;
        p->at += p->at < p->end && (*p->at == '+' || *p->at == '-');
        if (!digits(p))
            return bad(p, "no digit in the exponent");
    }
    size_t bytes = (size_t)(p->at - from);
    if (bytes >= sizeof copy)
        return bad(p, "a number with too many digits");
    memcpy(copy, from, bytes);
    copy[bytes] = 0;
    v->number   = strtod(copy, &rest);
    if (*rest || !isfinite(v->number))
        return bad(p, "a number that is too large");
    bool small = whole && fabs(v->number) < 9e18;
    v->kind    = small ? SR_JSON_WHOLE : SR_JSON_REAL;
    v->whole   = small ? strtoll(copy, NULL, 10) : 0;
    return SR_OK;
}

/* ---- values ---------------------------------------------------------------------------------------------------------------- */

static bool word(parser *p, const char *w)
{
    size_t n = strlen(w);
    if ((size_t)(p->end - p->at) < n || memcmp(p->at, w, n) != 0)
        return false;
    p->at += n;
    return true;
}

static sr_status value(parser *p, uint32_t me, int depth);

static sr_status add(parser *p, uint32_t *out)
{
    if (p->t->n == NODES)
        return bad(p, "more values than a file of figures has");
    *out                = p->t->n++;
    p->t->node[*out]    = (sr_jsonnode){0};
    return SR_OK;
}

/* At most 16 calls deep.  Behind the opening bracket. */
static sr_status members(parser *p, uint32_t me, bool object, int depth)
{
    uint32_t last = 0, at = 0;
    char     close = object ? '}' : ']';
    if (take(p, close))
        return SR_OK;
    do {
        size_t n;
        if (add(p, &at))
            return SR_INVALID;
        sr_jsonnode *v = &p->t->node[at];
        if (object && (!take(p, '"') || string(p, &v->key, &n)))
            return p->err->status ? SR_INVALID : bad(p, "a key expected");
        if (object && sr_json_member(p->t, &p->t->node[me], v->key))
            return bad(p, "duplicate object key");
        if (object && !take(p, ':'))
            return bad(p, "\":\" expected");
        if (value(p, at, depth + 1))
            return SR_INVALID;
        *(last ? &p->t->node[last].next : &p->t->node[me].first) = at;
        last = at;
    } while (take(p, ','));
    return take(p, close) ? SR_OK : bad(p, object ? "\",\" or \"}\" expected" : "\",\" or \"]\" expected");
}

static sr_status value(parser *p, uint32_t me, int depth)
{
    sr_jsonnode *v = &p->t->node[me];
    blank(p);
    if (p->at == p->end)
        return bad(p, "a value expected, the text ends");
    switch (*p->at) {
    case '{':
    case '[':
        if (depth >= DEPTH)
            return bad(p, "values in values in values, deeper than 16");
        v->kind = *p->at == '{' ? SR_JSON_OBJECT : SR_JSON_OTHER;
        p->at++;
        return members(p, me, v->kind == SR_JSON_OBJECT, depth);
    case '"':
        p->at++;
        v->kind = SR_JSON_STRING;
        return string(p, &v->text, &v->n_text);
    case 't':
    case 'f':
    case 'n':
        return word(p, "true") || word(p, "false") || word(p, "null") ? SR_OK : bad(p, "a word that JSON does not have");
    default:
        return *p->at == '-' || (*p->at >= '0' && *p->at <= '9') ? number(p, v) : bad(p, "a value expected");
    }
}

sr_status sr_jsontree_parse(const char *text, size_t n, sr_jsontree *t, sr_err *err)
{
    parser   p = {.begin = text, .at = text, .end = text + n, .t = t, .err = err};
    uint32_t top = 0;
    *t = (sr_jsontree){.node = sr_calloc(NODES, sizeof *t->node), .text = sr_malloc(n + 1)};
    if (!t->node || !t->text) {
        sr_jsontree_end(t);
        return sr_raise(err, SR_NOMEM, "host: memory to read %zu bytes of JSON", n);
    }
    p.out = t->text;
    if (add(&p, &top) == SR_OK && value(&p, top, 0) == SR_OK) {
        blank(&p);
        if (p.at == p.end)
            return SR_OK;
        bad(&p, "something behind the end");
    }
    sr_jsontree_end(t);
    return SR_INVALID;
}

void sr_jsontree_end(sr_jsontree *t)
{
    sr_free(t->node);
    sr_free(t->text);
    *t = (sr_jsontree){0};
}

const sr_jsonnode *sr_json_member(const sr_jsontree *t, const sr_jsonnode *o, const char *key)
{
    if (!o || o->kind != SR_JSON_OBJECT)
        return NULL;
    for (const sr_jsonnode *m = sr_json_first(t, o); m; m = sr_json_next(t, m))
        if (strcmp(m->key, key) == 0)
            return m;
    return NULL;
}
