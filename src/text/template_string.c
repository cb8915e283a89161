#include "text/template_string.h"
#include "text/template_iter.h"
#include "text/template_text.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

size_t sr_tpl_offset(sr_trun *R, sr_tstr *s, size_t cp)
{
    if (sr_tis_ascii(R, s))
        return cp;
    size_t at = 0;
    for (; cp && at < s->n; cp--)
        do
            at++;
        while (at < s->n && ((unsigned char)s->p[at] & 0xc0) == 0x80);
    sr_tpl_charge(R, at >> 5);
    return at;
}

sr_tval sr_tpl_case(sr_trun *R, const sr_tstr *s, int to)
{
    sr_tbuf b = {.R = R};
    sr_tpl_put_case(&b, s->p, s->n, (sr_tcase)to);
    return sr_tpl_markup(R, sr_tbuf_str(&b), s->markup);
}

/* ---- strip ---- */

static bool in_set(const sr_tstr *set, const char *p, size_t n)
{
    for (size_t i = 0, k; i < set->n; i += k) {
        sr_tpl_cp(set->p + i, set->n - i, &k);
        if (k == n && !memcmp(set->p + i, p, n))
            return true;
    }
    return false;
}

sr_tval sr_tpl_strip(sr_trun *R, const sr_tstr *s, const sr_tstr *chars, char which)
{
    size_t from = 0, to = s->n, k;
    if (!chars) {
        from = which == 'r' ? 0 : sr_tpl_lstrip_space(s->p, s->n);
        to   = which == 'l' ? s->n : from + sr_tpl_rstrip_space(s->p + from, s->n - from);
    } else {
        for (; which != 'r' && from < to; from += k) {
            sr_tpl_cp(s->p + from, s->n - from, &k);
            if (!in_set(chars, s->p + from, k))
                break;
        }
        while (which != 'l' && to > from) {
            size_t at = sr_tpl_back(s->p, to);
            if (!in_set(chars, s->p + at, to - at))
                break;
            to = at;
        }
        sr_tpl_bytes(R, (s->n - (to - from)) * (chars->n + 1));
    }
    sr_tpl_bytes(R, s->n - (to - from));
    return sr_tpl_substr(R, s, from, to - from);
}

/* ---- split ---- */

static void push_part(sr_trun *R, sr_tval list, const sr_tstr *s, size_t from, size_t to)
{
    sr_tpl_charge(R, 1);
    sr_tpl_push(R, list.l, sr_tpl_substr(R, s, from, to - from));
}

static sr_tval split_space(sr_trun *R, const sr_tstr *s, int64_t max)
{
    sr_tval list = sr_tpl_seq(R, SR_T_LIST, 0);
    size_t at    = sr_tpl_lstrip_space(s->p, s->n), k;
    while (at < s->n) {
        size_t from = at;
        if (max == 0) { /* the rest as it is, its end included */
            push_part(R, list, s, from, s->n);
            break;
        }
        while (at < s->n && !sr_tpl_is_space(sr_tpl_cp(s->p + at, s->n - at, &k)))
            at += k;
        push_part(R, list, s, from, at);
        at += sr_tpl_lstrip_space(s->p + at, s->n - at);
        max--;
    }
    return list;
}

static void need_separator(sr_trun *R, const sr_tstr *sep)
{
    if (!sep->n)
        sr_tpl_fail(R, SR_INVALID, "empty separator");
}

sr_tval sr_tpl_split(sr_trun *R, const sr_tstr *s, const sr_tstr *sep, int64_t max)
{
    sr_tpl_bytes(R, s->n);
    if (!sep)
        return split_space(R, s, max);
    need_separator(R, sep);
    sr_tval list = sr_tpl_seq(R, SR_T_LIST, 0);
    size_t from  = 0;
    const char *hit;
    while (max-- != 0 && (hit = memmem(s->p + from, s->n - from, sep->p, sep->n))) {
        push_part(R, list, s, from, (size_t)(hit - s->p));
        from = (size_t)(hit - s->p) + sep->n;
    }
    push_part(R, list, s, from, s->n);
    return list;
}

static const char *find_last(const char *p, size_t n, const char *what, size_t m)
{
    for (size_t i = n >= m ? n - m + 1 : 0; i-- > 0;)
        if (p[i] == what[0] && !memcmp(p + i, what, m))
            return p + i;
    return NULL;
}

sr_tval sr_tpl_rsplit(sr_trun *R, const sr_tstr *s, const sr_tstr *sep, int64_t max)
{
    sr_tval list = sr_tpl_seq(R, SR_T_LIST, 0);
    size_t to    = sep ? s->n : sr_tpl_rstrip_space(s->p, s->n), k;
    const char *hit;
    sr_tpl_bytes(R, s->n * (sep ? sep->n + 1 : 1));
    if (sep) {
        need_separator(R, sep);
        while (max-- != 0 && (hit = find_last(s->p, to, sep->p, sep->n))) {
            push_part(R, list, s, (size_t)(hit - s->p) + sep->n, to);
            to = (size_t)(hit - s->p);
        }
        push_part(R, list, s, 0, to);
    }
    while (!sep && to) {
        size_t from = to;
        if (max-- == 0) {
            push_part(R, list, s, 0, to);
            break;
        }
        while (from && !sr_tpl_is_space(sr_tpl_cp(s->p + sr_tpl_back(s->p, from), 4, &k)))
            from = sr_tpl_back(s->p, from);
        push_part(R, list, s, from, to);
        to = sr_tpl_rstrip_space(s->p, from);
    }
    for (size_t i = 0, n = list.l->n; i < n / 2; i++) {
        sr_tval t            = list.l->p[i];
        list.l->p[i]         = list.l->p[n - 1 - i];
        list.l->p[n - 1 - i] = t;
    }
    return list;
}

sr_tval sr_tpl_splitlines(sr_trun *R, const sr_tstr *s, bool keep)
{
    sr_tval list = sr_tpl_seq(R, SR_T_LIST, 0);
    size_t from = 0, at = 0, k;
    sr_tpl_bytes(R, s->n * 2);
    while (at < s->n) {
        uint32_t cp = sr_tpl_cp(s->p + at, s->n - at, &k);
        if (!sr_tpl_is_line(cp)) {
            at += k;
            continue;
        }
        size_t end = at;
        at += cp == '\r' && at + 1 < s->n && s->p[at + 1] == '\n' ? 2 : k;
        push_part(R, list, s, from, keep ? at : end);
        from = at;
    }
    if (from < s->n)
        push_part(R, list, s, from, s->n);
    return list;
}

/* ---- replace, join, justify ---- */

static sr_tval replace_empty(sr_trun *R, const sr_tstr *s, const sr_tstr *to, int64_t max)
{
    sr_tbuf b = {.R = R};
    size_t k;
    for (size_t at = 0; at <= s->n; at += k) { /* before every character and at the end */
        sr_tpl_charge(R, 1);
        if (max != 0)
            sr_tbuf_add(&b, to->p, to->n);
        max -= max > 0;
        if (at == s->n)
            break;
        sr_tpl_cp(s->p + at, s->n - at, &k);
        sr_tbuf_add(&b, s->p + at, k);
    }
    return sr_tbuf_str(&b);
}

sr_tval sr_tpl_replace(sr_trun *R, const sr_tstr *s, const sr_tstr *old, const sr_tstr *new_, int64_t max)
{
    sr_tbuf b   = {.R = R};
    size_t from = 0;
    const char *hit;
    sr_tpl_bytes(R, s->n);
    if (!old->n)
        return sr_tpl_markup(R, replace_empty(R, s, new_, max), s->markup);
    while (max-- != 0 && (hit = memmem(s->p + from, s->n - from, old->p, old->n))) {
        size_t at = (size_t)(hit - s->p);
        sr_tpl_charge(R, 1);
        sr_tbuf_add(&b, s->p + from, at - from);
        sr_tbuf_add(&b, new_->p, new_->n);
        from = at + old->n;
    }
    if (!from)
        return sr_tpl_substr(R, s, 0, s->n);
    sr_tbuf_add(&b, s->p + from, s->n - from);
    return sr_tpl_markup(R, sr_tbuf_str(&b), s->markup);
}

sr_tval sr_tpl_join(sr_trun *R, const sr_tstr *sep, sr_tval items, bool to_str)
{
    sr_tbuf b    = {.R = R};
    sr_titer *it = sr_tpl_iter(R, items);
    sr_tval v;
    for (size_t i = 0; sr_tpl_next(R, it, &v); i++) {
        if (!to_str && v.kind != SR_T_STR && !sep->markup)
            sr_tpl_fail(R, SR_INVALID, "sequence item %zu: expected str instance, %s found", i,
                        sr_tpl_typename(v));
        if (i)
            sr_tbuf_add(&b, sep->p, sep->n);
        if (!to_str && sep->markup)
            v = sr_tpl_escape(R, v);
        sr_tpl_put_str(&b, v);
    }
    return sr_tpl_markup(R, sr_tbuf_str(&b), sep->markup && !to_str);
}

sr_tval sr_tpl_justify(sr_trun *R, sr_tstr *s, int64_t width, const sr_tstr *fill, char which)
{
    int64_t n = (int64_t)sr_tpl_cps(R, s), pad = width - n;
    sr_tbuf b = {.R = R};
    if (fill && (!fill->n || sr_tpl_count(fill->p, fill->n) != 1))
        sr_tpl_fail(R, SR_INVALID, "the fill character must be exactly one character long");
    if (pad <= 0)
        return (sr_tval){.kind = SR_T_STR, .s = s};
    const char *f = fill ? fill->p : " ";
    size_t f_n    = fill ? fill->n : 1;
    int64_t left  = which == 'l' ? 0 : which == 'r' ? pad : pad / 2 + (pad & width & 1);
    sr_tbuf_pad(&b, f, f_n, (uint64_t)left);
    sr_tbuf_add(&b, s->p, s->n);
    sr_tbuf_pad(&b, f, f_n, (uint64_t)(pad - left));
    return sr_tpl_markup(R, sr_tbuf_str(&b), s->markup);
}

/* ---- HTML ---- */

sr_tval sr_tpl_escape(sr_trun *R, sr_tval v)
{
    if (v.kind == SR_T_STR && v.s->markup)
        return v;
    sr_tval s = sr_tpl_to_str(R, v);
    sr_tbuf b = {.R = R};
    sr_tpl_bytes(R, s.s->n * 4);
    for (size_t i = 0, from = 0; i <= s.s->n; i++) {
        char c         = i < s.s->n ? s.s->p[i] : 0;
        const char *to = c == '&'    ? "&amp;"
                         : c == '<'  ? "&lt;"
                         : c == '>'  ? "&gt;"
                         : c == '\'' ? "&#39;"
                         : c == '"'  ? "&#34;"
                                     : NULL;
        if (to || i == s.s->n) {
            sr_tbuf_add(&b, s.s->p + from, i - from);
            from = i + 1;
        }
        if (to)
            sr_tbuf_z(&b, to);
    }
    return sr_tpl_markup(R, sr_tbuf_str(&b), true);
}

/* A numeric reference at p (behind "&#"); how many bytes it takes, 0: none. */
static size_t numeric_entity(const char *p, size_t n, sr_tbuf *b)
{
    static const uint16_t c1[32] = {0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021,
                                    0x2c6,  0x2030, 0x160,  0x2039, 0x152,  0x8d,   0x17d,  0x8f,
                                    0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                                    0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178};
    bool hex                     = n && (p[0] | 0x20) == 'x';
    size_t i = hex, digits = 0;
    uint64_t v = 0;
    for (; i < n; i++, digits++) {
        char c = p[i];
        int d  = c >= '0' && c <= '9'                            ? c - '0'
                 : hex && (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                                 : -1;
        if (d < 0)
            break;
        v = SR_MIN(v * (hex ? 16 : 10) + (unsigned)d, (uint64_t)1 << 40);
    }
    if (!digits)
        return 0;
    i += i < n && p[i] == ';';
    if (v == 0 || (v >= 0xd800 && v < 0xe000) || v > 0x10ffff)
        sr_tbuf_cp(b, 0xfffd);
    else if (v >= 0x80 && v < 0xa0)
        sr_tbuf_cp(b, c1[v - 0x80]);
    else if (v == 0x0d || !((v < 0x20 && v != 9 && v != 10 && v != 12) || v == 0x7f ||
                            (v >= 0xfdd0 && v <= 0xfdef) || v == 0x0b || (v & 0xfffe) == 0xfffe))
        sr_tbuf_cp(b, (uint32_t)v);
    return i;
}

sr_tval sr_tpl_unescape(sr_trun *R, const char *p, size_t n)
{
    static const struct {
        const char *name;
        uint32_t cp;
    } known[] = {{"amp;", '&'},     {"lt;", '<'},     {"gt;", '>'},        {"quot;", '"'},
                 {"apos;", '\''},   {"nbsp;", 0xa0},  {"copy;", 0xa9},     {"reg;", 0xae},
                 {"raquo;", 0xbb},  {"laquo;", 0xab}, {"hellip;", 0x2026}, {"mdash;", 0x2014},
                 {"ndash;", 0x2013}};
    sr_tbuf b = {.R = R};
    for (size_t i = 0; i < n;) {
        const char *amp = memchr(p + i, '&', n - i);
        size_t to = amp ? (size_t)(amp - p) : n, len = 0;
        sr_tpl_charge(R, 1);
        sr_tbuf_add(&b, p + i, to - i);
        i = to;
        if (!amp)
            break;
        if (i + 1 < n && p[i + 1] == '#' && (len = numeric_entity(p + i + 2, n - i - 2, &b))) {
            i += 2 + len;
            continue;
        }
        for (size_t j = 0; j < SR_COUNT(known) && !len; j++)
            if (n - i - 1 >= strlen(known[j].name) &&
                !memcmp(p + i + 1, known[j].name, strlen(known[j].name))) {
                sr_tbuf_cp(&b, known[j].cp);
                len = strlen(known[j].name);
            }
        if (!len && i + 1 < n && (p[i + 1] | 0x20) >= 'a' && (p[i + 1] | 0x20) <= 'z')
            sr_tpl_fail(R, SR_UNSUPPORTED, "an HTML entity in striptags: &%.*s", (int)SR_MIN(n - i - 1, 12u),
                        p + i + 1);
        if (!len)
            sr_tbuf_char(&b, '&');
        i += 1 + len;
    }
    return sr_tbuf_str(&b);
}

/* Removes open .. shut, shortest first. */
static sr_tval remove_between(sr_trun *R, const sr_tstr *s, const char *open, const char *shut)
{
    sr_tbuf b   = {.R = R};
    size_t from = 0, n_open = strlen(open), n_shut = strlen(shut);
    for (;;) {
        const char *a = memmem(s->p + from, s->n - from, open, n_open);
        const char *e = a ? memmem(a + n_open, s->n - (size_t)(a - s->p) - n_open, shut, n_shut) : NULL;
        size_t to     = e ? (size_t)(a - s->p) : s->n;
        sr_tpl_charge(R, 1);
        sr_tbuf_add(&b, s->p + from, to - from);
        if (!e)
            return sr_tbuf_str(&b);
        from = (size_t)(e - s->p) + n_shut;
    }
}

sr_tval sr_tpl_striptags(sr_trun *R, const sr_tstr *s)
{
    sr_tval v = remove_between(R, s, "<!--", "-->");
    v         = remove_between(R, v.s, "<", ">");
    v         = sr_tpl_join(R, sr_tpl_strz(R, " ").s, sr_tpl_split(R, v.s, NULL, -1), false);
    return sr_tpl_unescape(R, v.s->p, v.s->n);
}

/* ---- numbers ---- */

/* Copies digits with single underscores between them taken out; false where Python refuses one. */
static bool without_underscores(const char *p, size_t n, char *d, size_t *m)
{
    *m = 0;
    for (size_t i = 0; i < n; i++) {
        bool before = i && p[i - 1] >= '0' && p[i - 1] <= '9',
             after  = i + 1 < n && p[i + 1] >= '0' && p[i + 1] <= '9';
        if (p[i] == '_' && !(before && after))
            return false;
        if (p[i] != '_')
            d[(*m)++] = p[i];
    }
    d[*m] = 0;
    return true;
}

/* White space trimmed, other scripts' digits made ASCII.  False: too long to be a number we read. */
static bool plain_digits(const char *p, size_t n, char *d, size_t cap, size_t *m)
{
    size_t from = sr_tpl_lstrip_space(p, n), to = from + sr_tpl_rstrip_space(p + from, n - from), k;
    *m = 0;
    for (size_t i = from; i < to; i += k) {
        uint32_t cp = sr_tpl_cp(p + i, to - i, &k);
        int v       = cp > 0x7f ? sr_tpl_digit_value(cp) : -1;
        if (*m + 5 > cap)
            return false;
        if (v >= 0)
            d[(*m)++] = (char)('0' + v);
        else
            for (size_t j = 0; j < k; j++)
                d[(*m)++] = p[i + j];
    }
    return true;
}

bool sr_tpl_parse_float(const char *p, size_t n, double *out)
{
    char raw[400], buf[400];
    size_t m, k, i = 0, digits = 0;
    if (!plain_digits(p, n, raw, sizeof raw, &k) || !without_underscores(raw, k, buf, &m) ||
        memchr(buf, 0, m))
        return false;
    bool neg = m && buf[0] == '-';
    i        = m && (buf[0] == '-' || buf[0] == '+');
    if (!strcasecmp(buf + i, "inf") || !strcasecmp(buf + i, "infinity") || !strcasecmp(buf + i, "nan")) {
        *out = (buf[i] | 0x20) == 'i' ? (neg ? -INFINITY : INFINITY) : NAN;
        return true;
    }
    for (; i < m && buf[i] >= '0' && buf[i] <= '9'; i++)
        digits++;
    if (i < m && buf[i] == '.')
        for (i++; i < m && buf[i] >= '0' && buf[i] <= '9'; i++)
            digits++;
    if (digits && i < m && (buf[i] | 0x20) == 'e') {
        size_t e = i + 1;
        e += e < m && (buf[e] == '-' || buf[e] == '+');
        for (i = e; i < m && buf[i] >= '0' && buf[i] <= '9'; i++)
            ;
        if (i == e)
            return false;
    }
    if (!digits || i != m)
        return false;
    *out = strtod(buf, NULL);
    return true;
}

int sr_tpl_parse_int(const char *p, size_t n, int64_t base, int64_t *out)
{
    char buf[400];
    size_t m, i = 0;
    bool over = false, any = false, sep = false;
    int64_t v = 0;
    if (!plain_digits(p, n, buf, sizeof buf,
                      &m)) { /* longer than we read: a number past 64 bits, or no number */
        while (i < n && (strchr("+-_ \n\t\r", p[i]) || (p[i] >= '0' && p[i] <= '9')))
            i++;
        return i == n && n <= 4300 ? -1 : 0;
    }
    bool neg = m && buf[0] == '-';
    i        = m && (buf[0] == '-' || buf[0] == '+');
    if (i + 1 < m && buf[i] == '0') {
        char c = buf[i + 1] | 0x20;
        int b  = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
        if (b && (base == 0 || base == b)) {
            base = b;
            i += 2;
            sep = true; /* 0x_ff is fine */
        } else if (base == 0) {
            for (size_t j = i; j < m; j++) /* 010 in base 0 is refused, 00 is not */
                if (buf[j] != '0' && buf[j] != '_')
                    return 0;
        }
    }
    base = base ? base : 10;
    for (; i < m; i++) {
        char c = buf[i], l = c | 0x20;
        int d = c >= '0' && c <= '9' ? c - '0' : l >= 'a' && l <= 'z' ? l - 'a' + 10 : 99;
        if (c == '_' && sep) {
            sep = false;
            continue;
        }
        if (d >= base)
            return 0;
        any = sep = true;
        over      = over || __builtin_mul_overflow(v, base, &v) ||
               __builtin_sub_overflow(v, d, &v); /* downwards: INT64_MIN */
    }
    if (!any || !sep)
        return 0;
    if (!neg && v == INT64_MIN)
        over = true;
    *out = over ? 0 : neg ? v : -v;
    return over ? -1 : 1;
}
