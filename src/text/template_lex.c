/* Source to tokens.  The rules are Jinja2's regular expressions, written out:
 *
 *   root   text up to "{{", "{%" or "{#".  A "-" after the opening takes all white space before it; without
 *          "+" the blanks between line start and a "{%" or "{#" go too (lstrip_blocks).
 *   block  tokens up to "%}", which takes one newline with it (trim_blocks), "-%}" (all white space) or
 *          "+%}" (nothing), but only where brackets are balanced: in {{ {"a": {}} }} the first "}}" closes
 * dicts. raw    {% raw %} .. {% endraw %}: text as it stands. */
#include "text/template_ast.h"
#include "text/template_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sr_tpl_lex_open(sr_tlex *x, sr_tcomp *c, const char *src, size_t n)
{
    char *s  = sr_tpl_calloc(c, n + 1, 1);
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (src[i] == '\r') {
            s[m++] = '\n';
            if (i + 1 < n && src[i + 1] == '\n')
                i++;
        } else {
            s[m++] = src[i];
        }
    }
    if (m && s[m - 1] == '\n')
        m--; /* keep_trailing_newline is off */
    *x = (sr_tlex){.c = c, .src = s, .n = m, .line = 1, .line_starting = true};
}

/* ---- helpers ---- */

static bool at(const sr_tlex *x, size_t pos, const char *lit)
{
    size_t n = strlen(lit);
    return x->n - pos >= n && !memcmp(x->src + pos, lit, n);
}

static size_t skip_space(const sr_tlex *x, size_t pos)
{
    while (pos < x->n) {
        size_t n;
        uint32_t cp = sr_tpl_cp(x->src + pos, x->n - pos, &n);
        if (!sr_tpl_is_space(cp))
            break;
        pos += n;
    }
    return pos;
}

/* Moves to `end`, counting lines. */
static void advance(sr_tlex *x, size_t end)
{
    for (const char *p = x->src + x->pos, *e = x->src + end; p < e && (p = memchr(p, '\n', (size_t)(e - p)));
         p++)
        x->line++;
    x->line_starting = end > x->pos && x->src[end - 1] == '\n';
    x->pos           = end;
}

static sr_ttok token(const sr_tlex *x, sr_ttok_kind kind) { return (sr_ttok){.kind = kind, .line = x->line}; }

/* The end of a closing tag at pos ("%}", "-%}", "+%}"; close is "%}" or "#}"), or 0. */
static size_t close_tag(const sr_tlex *x, size_t pos, const char *close)
{
    if (x->src[pos] == '-' && at(x, pos + 1, close))
        return skip_space(x, pos + 3);
    if (x->src[pos] == '+' && at(x, pos + 1, close))
        return pos + 3;
    if (!at(x, pos, close))
        return 0;
    return pos + 2 < x->n && x->src[pos + 2] == '\n' ? pos + 3 : pos + 2;
}

/* ---- root ---- */

static size_t word_after(const sr_tlex *x, size_t pos, const char *word)
{
    if (pos < x->n && (x->src[pos] == '-' || x->src[pos] == '+'))
        pos++;
    pos = skip_space(x, pos);
    return at(x, pos, word) ? skip_space(x, pos + strlen(word)) : 0;
}

static size_t raw_begin(const sr_tlex *x, size_t pos) /* end of "{% raw %}" at pos, or 0 */
{
    size_t p = word_after(x, pos + 2, "raw");
    if (p && at(x, p, "-%}"))
        return skip_space(x, p + 3);
    return p && at(x, p, "%}") ? p + 2 : 0;
}

static size_t raw_end(const sr_tlex *x, size_t pos)
{
    size_t p = word_after(x, pos + 2, "endraw");
    return p && p < x->n ? close_tag(x, p, "%}") : 0;
}

/* Text [from, to) before a tag at `to`, after the tag's white space rules. */
static sr_ttok data(sr_tlex *x, size_t from, size_t to, char sign, bool is_var)
{
    const char *s = x->src;
    size_t end    = to;
    if (sign == '-') {
        end = from + sr_tpl_rstrip_space(s + from, to - from);
    } else if (sign != '+' && !is_var) {
        size_t l = to;
        while (l > from && s[l - 1] != '\n')
            l--;
        if ((l > from || x->line_starting) && l < to && skip_space(x, l) >= to)
            end = l;
    }
    sr_ttok t = token(x, SR_TK_DATA);
    t.s       = end > from ? sr_tpl_atom(x->c, s + from, end - from) : NULL;
    return t;
}

static void skip_comment(sr_tlex *x, size_t pos)
{
    uint32_t line = x->line;
    advance(x, pos);
    for (size_t p = pos; p < x->n; p++) {
        size_t end = close_tag(x, p, "#}");
        if (end) {
            advance(x, end);
            return;
        }
    }
    if (pos < x->n)
        sr_tpl_cfail(x->c, SR_INVALID, line, "missing end of comment tag");
}

static sr_ttok raw(sr_tlex *x)
{
    uint32_t line = x->line;
    for (size_t p = x->pos; p + 1 < x->n; p++) {
        size_t end = x->src[p] == '{' && x->src[p + 1] == '%' ? raw_end(x, p) : 0;
        if (end) {
            sr_ttok t = data(x, x->pos, p, p + 2 < x->n ? x->src[p + 2] : 0, false);
            advance(x, end);
            return t;
        }
    }
    if (x->pos < x->n)
        sr_tpl_cfail(x->c, SR_INVALID, line, "missing end of raw directive");
    return token(x, SR_TK_DATA);
}

/* The next token of the root state; data without text means "go on". */
static sr_ttok root(sr_tlex *x)
{
    size_t from = x->pos, p = from;
    for (; p + 1 < x->n; p++) {
        const char *q = memchr(x->src + p, '{', x->n - p - 1);
        if (!q) {
            p = x->n;
            break;
        }
        p = (size_t)(q - x->src);
        if (q[1] == '{' || q[1] == '%' || q[1] == '#')
            break;
    }
    if (p + 1 >= x->n) {
        sr_ttok t = token(x, from < x->n ? SR_TK_DATA : SR_TK_EOF);
        if (from < x->n)
            t.s = sr_tpl_atom(x->c, x->src + from, x->n - from);
        advance(x, x->n);
        return t;
    }
    char what = x->src[p + 1], sign = p + 2 < x->n ? x->src[p + 2] : 0;
    bool var      = what == '{';
    size_t raw_at = what == '%' ? raw_begin(x, p) : 0, tag = p + 2 + (sign == '-' || sign == '+');
    sr_ttok t = data(x, from, p, sign, var);
    advance(x, p);
    if (raw_at) {
        advance(x, raw_at);
        x->held     = raw(x);
        x->has_held = x->held.s != NULL;
    } else if (what == '#') {
        skip_comment(x, tag);
    } else {
        advance(x, tag);
        x->state    = var ? SR_TLEX_VAR : SR_TLEX_BLOCK;
        x->held     = token(x, var ? SR_TK_VAR_BEGIN : SR_TK_BLOCK_BEGIN);
        x->has_held = true;
    }
    return t;
}

/* ---- numbers, names, strings, operators ---- */

static bool digit_of(char c, int base)
{
    if (base == 16)
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    return c >= '0' && c < '0' + base;
}

/* End of digits separated by single "_" at pos; pos when there are none. */
static size_t digits(const sr_tlex *x, size_t pos, int base, bool lead)
{
    size_t p = pos;
    for (;;) {
        size_t q = p < x->n && x->src[p] == '_' && (lead || p > pos) ? p + 1 : p;
        if (q >= x->n || !digit_of(x->src[q], base))
            return p;
        p = q + 1;
    }
}

static size_t float_end(const sr_tlex *x, size_t pos)
{
    const char *s = x->src;
    if (pos && s[pos - 1] == '.')
        return 0; /* a.1.2 is two subscripts */
    size_t p = digits(x, pos, 10, false), frac = p;
    if (p == pos)
        return 0;
    if (p < x->n && s[p] == '.') {
        size_t q = digits(x, p + 1, 10, false);
        if (q > p + 1)
            frac = q;
    }
    if (frac < x->n && (s[frac] == 'e' || s[frac] == 'E')) {
        size_t q = frac + 1;
        if (q < x->n && (s[q] == '+' || s[q] == '-'))
            q++;
        size_t e = digits(x, q, 10, false);
        if (e > q)
            return e;
    }
    return frac > p ? frac : 0;
}

static size_t int_end(const sr_tlex *x, size_t pos, int *base)
{
    const char *s = x->src;
    *base         = 10;
    if (s[pos] == '0') {
        char c = pos + 1 < x->n ? s[pos + 1] | 0x20 : 0;
        int b  = c == 'b' ? 2 : c == 'o' ? 8 : c == 'x' ? 16 : 0;
        if (b) {
            size_t e = digits(x, pos + 2, b, true);
            if (e > pos + 2) {
                *base = b;
                return e;
            }
        }
        for (pos++; pos < x->n;) { /* zeros only: "007" is 00 and 7 */
            size_t q = s[pos] == '_' ? pos + 1 : pos;
            if (q >= x->n || s[q] != '0')
                break;
            pos = q + 1;
        }
        return pos;
    }
    return digits(x, pos, 10, false);
}

static sr_ttok number(sr_tlex *x)
{
    char buf[512];
    int base   = 10;
    size_t end = float_end(x, x->pos), n = 0;
    bool real  = end != 0;
    sr_ttok t  = token(x, real ? SR_TK_FLOAT : SR_TK_INT);
    uint64_t v = 0;
    if (!real)
        end = int_end(x, x->pos, &base);
    if (end - x->pos >= sizeof buf)
        sr_tpl_cfail(x->c, SR_UNSUPPORTED, x->line, "number of %zu characters", end - x->pos);
    for (size_t i = x->pos; i < end; i++)
        if (x->src[i] != '_')
            buf[n++] = x->src[i];
    buf[n] = 0;
    if (real) {
        t.f = strtod(buf, NULL);
    } else {
        for (size_t i = base == 10 ? 0 : 2; i < n; i++) {
            unsigned d = (unsigned)(buf[i] <= '9' ? buf[i] - '0' : (buf[i] | 0x20) - 'a' + 10);
            if (__builtin_mul_overflow(v, (uint64_t)base, &v) || __builtin_add_overflow(v, d, &v) ||
                v > INT64_MAX)
                sr_tpl_cfail(x->c, SR_UNSUPPORTED, x->line, "integer %s does not fit in 64 bits", buf);
        }
        t.i = (int64_t)v;
    }
    advance(x, end);
    return t;
}

static sr_ttok name(sr_tlex *x)
{
    size_t p = x->pos, n;
    bool ok  = true;
    while (p < x->n) {
        uint32_t cp = sr_tpl_cp(x->src + p, x->n - p, &n);
        if (!sr_tpl_is_word(cp))
            break;
        ok = ok && sr_tpl_is_ident(cp, p == x->pos);
        p += n;
    }
    sr_ttok t = token(x, SR_TK_NAME);
    if (!ok)
        sr_tpl_cfail(x->c, SR_INVALID, x->line, "invalid character in identifier");
    t.s = sr_tpl_atom(x->c, x->src + x->pos, p - x->pos);
    advance(x, p);
    return t;
}

static uint32_t hex(sr_tlex *x, size_t *p, size_t end, unsigned n, char what)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < n; i++, ++*p) {
        if (*p >= end || !digit_of(x->src[*p], 16))
            sr_tpl_cfail(x->c, SR_INVALID, x->line, "truncated \\%c escape in a string", what);
        char c = x->src[*p];
        v      = v << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    if (v > 0x10ffff)
        sr_tpl_cfail(x->c, SR_INVALID, x->line, "illegal Unicode character \\U%08x in a string", v);
    if (v >= 0xd800 && v < 0xe000)
        sr_tpl_cfail(x->c, SR_UNSUPPORTED, x->line, "surrogate \\u%04x in a string", v);
    return v;
}

/* One escape at *p (behind the backslash); writes its bytes to d and returns their number. */
static size_t escape(sr_tlex *x, size_t *p, size_t end, char *d)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    unsigned char c = (unsigned char)x->src[*p];
    const char *m   = c ? strchr(from, c) : NULL;
    if (m) {
        ++*p;
        d[0] = to[m - from];
        return 1;
    }
    if (c == '\n') {
        ++*p;
        return 0;
    }
    if (c >= '0' && c <= '7') {
        uint32_t v = 0;
        for (int i = 0; i < 3 && *p < end && x->src[*p] >= '0' && x->src[*p] <= '7'; i++)
            v = v << 3 | (uint32_t)(x->src[(*p)++] - '0');
        return sr_tpl_put_cp(d, v);
    }
    if (c == 'x' || c == 'u' || c == 'U') {
        ++*p;
        return sr_tpl_put_cp(d, hex(x, p, end, c == 'x' ? 2 : c == 'u' ? 4 : 8, (char)c));
    }
    if (c == 'N')
        sr_tpl_cfail(x->c, SR_UNSUPPORTED, x->line, "\\N{name} escape in a string");
    if (c < 0x80) { /* an unknown escape stands for itself */
        d[0] = '\\';
        return 1;
    }
    /* Jinja2 escapes non-ASCII before it decodes, so a backslash before it ends up as two: "\é" is \xe9 spelt
     * out. */
    size_t n;
    uint32_t cp = sr_tpl_cp(x->src + *p, end - *p, &n);
    *p += n;
    return (size_t)snprintf(d, 11, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", cp);
}

static sr_ttok string(sr_tlex *x)
{
    char quote = x->src[x->pos];
    size_t end = x->pos + 1;
    while (end < x->n && x->src[end] != quote)
        end += x->src[end] == '\\' ? 2 : 1;
    if (end >= x->n)
        sr_tpl_cfail(x->c, SR_INVALID, x->line, "unexpected char %c: a string is not closed", quote);
    sr_ttok t = token(x, SR_TK_STRING);
    size_t p = x->pos + 1, m = 0;
    char *d = sr_tpl_calloc(x->c, 6 * (end - p) + 1, 1); /* at worst "\é" grows to \xe9 or \uXXXX */
    while (p < end) {
        if (x->src[p] == '\\') {
            p++;
            m += escape(x, &p, end, d + m);
        } else {
            d[m++] = x->src[p++];
        }
    }
    t.s = sr_tpl_atom(x->c, d, m);
    advance(x, end + 1);
    return t;
}

static sr_ttok operator(sr_tlex *x)
{
    static const char single[] = "+-/*%~[](){}><=.:|,;", open[] = "([{", shut[] = ")]}";
    sr_ttok t       = token(x, SR_TK_OP);
    unsigned char a = (unsigned char)x->src[x->pos],
                  b = x->pos + 1 < x->n ? (unsigned char)x->src[x->pos + 1] : 0;
    bool two = (a == '/' && b == '/') || (a == '*' && b == '*') || (b == '=' && strchr("=!<>", a) && a);
    t.op     = two ? SR_TK2(a, b) : a;
    if (!two && (!a || !strchr(single, a)))
        sr_tpl_cfail(x->c, SR_INVALID, x->line,
                     a >= 0x20 && a < 0x7f ? "unexpected char '%c'" : "unexpected char 0x%02x", a);
    const char *o = two ? NULL : strchr(open, a), *s = two ? NULL : strchr(shut, a);
    if (o) {
        if (x->n_balance == SR_TPL_DEPTH)
            sr_tpl_cfail(x->c, SR_INVALID, x->line, "brackets nested deeper than %d", SR_TPL_DEPTH);
        x->balance[x->n_balance++] = shut[o - open];
    } else if (s) {
        if (!x->n_balance)
            sr_tpl_cfail(x->c, SR_INVALID, x->line, "unexpected '%c'", a);
        if (x->balance[--x->n_balance] != (char)a)
            sr_tpl_cfail(x->c, SR_INVALID, x->line, "unexpected '%c', expected '%c'", a,
                         x->balance[x->n_balance]);
    }
    advance(x, x->pos + 1 + two);
    return t;
}

static size_t tag_end(const sr_tlex *x)
{
    if (x->n_balance)
        return 0;
    if (x->state == SR_TLEX_BLOCK)
        return close_tag(x, x->pos, "%}");
    if (at(x, x->pos, "-}}"))
        return skip_space(x, x->pos + 3);
    return at(x, x->pos, "}}") ? x->pos + 2 : 0;
}

static sr_ttok in_tag(sr_tlex *x)
{
    while (x->pos < x->n) {
        size_t end = tag_end(x), n;
        if (end) {
            sr_ttok t = token(x, x->state == SR_TLEX_VAR ? SR_TK_VAR_END : SR_TK_BLOCK_END);
            x->state  = SR_TLEX_ROOT;
            advance(x, end);
            return t;
        }
        size_t next = skip_space(x, x->pos);
        if (next > x->pos) {
            advance(x, next);
            continue;
        }
        char c      = x->src[x->pos];
        uint32_t cp = sr_tpl_cp(x->src + x->pos, x->n - x->pos, &n);
        if (c >= '0' && c <= '9')
            return number(x);
        if (sr_tpl_is_word(cp))
            return name(x);
        if (c == '\'' || c == '"')
            return string(x);
        return operator(x);
    }
    return token(x, SR_TK_EOF);
}

sr_ttok sr_tpl_lex(sr_tlex *x)
{
    for (;;) {
        sr_ttok t;
        if (x->has_held) {
            x->has_held = false;
            t           = x->held;
        } else {
            t = x->state == SR_TLEX_ROOT ? root(x) : in_tag(x);
        }
        if (t.kind != SR_TK_DATA || t.s)
            return t;
    }
}
