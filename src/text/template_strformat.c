/* str.format and the format mini-language: "{:>8.2f} {name!r}".format(..), as Python's string.Formatter does
 * it (the sandbox replaces str.format by that class): fields are looked up with the sandbox's rules, a format
 * specification may hold fields itself, one level deep. */
#include "text/template_eval.h"
#include "text/template_format.h"
#include "text/template_string.h"
#include "text/template_text.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

/* ---- the specification: [[fill]align][sign][z][#][0][width][,|_][.precision][type] ---- */

typedef struct {
    char fill[4];
    size_t fill_n;
    char align; /* '<' '>' '=' '^', 0: the type's own */
    char sign;  /* '+' ' ' '-', 0: none */
    bool z, alt;
    int64_t width, precision; /* -1: none */
    char group;               /* ',' '_', 0: none */
    uint32_t type;            /* 0: none */
} spec;

static bool is_align(const sr_tstr *s, size_t at)
{
    return at < s->n && strchr("<>=^", s->p[at]) && s->p[at];
}

static int64_t digits(sr_trun *R, const sr_tstr *s, size_t *at)
{
    int64_t v = -1;
    for (; *at < s->n && s->p[*at] >= '0' && s->p[*at] <= '9'; ++*at) {
        v = (v < 0 ? 0 : v) * 10 + (s->p[*at] - '0');
        if (v > INT32_MAX)
            sr_tpl_fail(R, SR_INVALID, "too many decimal digits in format string");
    }
    return v;
}

static bool take(const sr_tstr *s, size_t *at, char c)
{
    bool is = *at < s->n && s->p[*at] == c;
    *at += is;
    return is;
}

static spec parse_spec(sr_trun *R, const sr_tstr *s, char natural)
{
    spec f    = {.fill = " ", .fill_n = 1, .width = -1, .precision = -1};
    size_t at = 0, k = 0;
    if (s->n)
        sr_tpl_cp(s->p, s->n, &k);
    bool filled = k && is_align(s, k);
    if (filled) {
        memcpy(f.fill, s->p, f.fill_n = k);
        f.align = s->p[k];
        at      = k + 1;
    } else if (is_align(s, 0)) {
        f.align = s->p[at++];
    }
    if (at < s->n && (s->p[at] == '+' || s->p[at] == ' ' || s->p[at] == '-'))
        f.sign = s->p[at++];
    f.z   = take(s, &at, 'z');
    f.alt = take(s, &at, '#');
    if (!filled && take(s, &at, '0')) {
        f.fill[0] = '0';
        if (!f.align && natural == '>')
            f.align = '=';
    }
    f.width = digits(R, s, &at);
    if (take(s, &at, ','))
        f.group = ',';
    if (take(s, &at, '_')) {
        if (f.group)
            sr_tpl_fail(R, SR_INVALID, "cannot specify both ',' and '_'");
        f.group = '_';
    }
    if (f.group && at < s->n && (s->p[at] == ',' || s->p[at] == '_'))
        sr_tpl_fail(R, SR_INVALID, "cannot specify both ',' and '_'");
    if (take(s, &at, '.') && (f.precision = digits(R, s, &at)) < 0)
        sr_tpl_fail(R, SR_INVALID, "format specifier missing precision");
    if (at < s->n) {
        f.type = sr_tpl_cp(s->p + at, s->n - at, &k);
        if (at + k != s->n)
            sr_tpl_fail(R, SR_INVALID, "invalid format specifier");
    }
    if (f.group && f.type && !(f.type < 0x80 && strchr("defgEG%F", (int)f.type)) &&
        !(f.group == '_' && f.type < 0x80 && strchr("boxX", (int)f.type)))
        sr_tpl_fail(R, SR_INVALID, "cannot specify '%c' with this format type", f.group);
    return f;
}

static void put_fill(sr_tbuf *b, const spec *f, int64_t n)
{
    if (n > 0)
        sr_tbuf_pad(b, f->fill, f->fill_n, (uint64_t)n);
}

static void format_str(sr_tbuf *b, sr_tstr *s, const spec *f)
{
    size_t len = sr_tpl_cps(b->R, s), n = s->n;
    if (f->type && f->type != 's')
        sr_tpl_fail(b->R, SR_INVALID, "unknown format code for object of type 'str'");
    if (f->sign || f->z || f->alt || f->align == '=' || f->group)
        sr_tpl_fail(b->R, SR_INVALID, "%s not allowed in string format specifier",
                    f->align == '=' ? "'=' alignment"
                    : f->sign       ? "sign"
                    : f->group      ? "grouping"
                                    : "'#' or 'z'");
    if (f->precision >= 0 && (size_t)f->precision < len) {
        len = (size_t)f->precision;
        n   = sr_tpl_offset(b->R, s, len);
    }
    int64_t pad  = f->width > (int64_t)len ? f->width - (int64_t)len : 0;
    int64_t left = f->align == '>' ? pad : f->align == '^' ? pad / 2 : 0;
    put_fill(b, f, left);
    sr_tbuf_add(b, s->p, n);
    put_fill(b, f, pad - left);
}

/* Whole digits with separators, at least `least` characters wide: built from the right. */
static sr_tval grouped(sr_trun *R, const char *p, size_t n, const spec *f, size_t size, int64_t least)
{
    char buf[2000];
    size_t at    = sizeof buf;
    int64_t left = (int64_t)n;
    if (!f->group) {
        sr_tbuf b = {.R = R};
        if (least > left)
            sr_tbuf_pad(&b, "0", 1, (uint64_t)(least - left));
        sr_tbuf_add(&b, p, n);
        return sr_tbuf_str(&b);
    }
    if (n > 400 || least > 1000)
        sr_tpl_fail(R, SR_UNSUPPORTED, "grouped digits wider than 1000");
    for (bool first = true;; first = false) {
        int64_t want = SR_MAX(SR_MAX(left, least), 1), len = SR_MIN((int64_t)size, want);
        if (!first)
            buf[--at] = f->group;
        for (int64_t i = 0; i < len; i++)
            buf[--at] = left > 0 ? p[--left] : '0';
        least -= len;
        if (left <= 0 && least <= 0)
            break;
        least--;
    }
    char *d = sr_tpl_alloc(R, sizeof buf - at);
    memcpy(d, buf + at, sizeof buf - at);
    return sr_tpl_str(R, d, sizeof buf - at);
}

/* sign, prefix, whole digits, the rest (point, exponent, percent) */
static void put_number(sr_tbuf *b, const spec *f, bool negative, const char *prefix, sr_tval text,
                       size_t whole, size_t size)
{
    const char *sign = negative ? "-" : f->sign == '+' ? "+" : f->sign == ' ' ? " " : "";
    int64_t other    = (int64_t)(strlen(sign) + strlen(prefix) + text.s->n - whole);
    char align       = f->align ? f->align : '>';
    bool zeros       = align == '=' && f->fill_n == 1 && f->fill[0] == '0';
    sr_tval w        = grouped(b->R, text.s->p, whole, f, size, zeros ? f->width - other : 0);
    int64_t pad      = f->width - other - (int64_t)w.s->n;
    pad              = SR_MAX(pad, 0);
    put_fill(b, f, align == '>' ? pad : align == '^' ? pad / 2 : 0);
    sr_tbuf_z(b, sign);
    sr_tbuf_z(b, prefix);
    put_fill(b, f, align == '=' ? pad : 0);
    sr_tbuf_add(b, w.s->p, w.s->n);
    sr_tbuf_add(b, text.s->p + whole, text.s->n - whole);
    put_fill(b, f, align == '<' ? pad : align == '^' ? pad - pad / 2 : 0);
}

/* 'g' for a float without type: at least one digit behind the point, unless there is an exponent. */
static void general(sr_tbuf *b, double x, int64_t precision)
{
    precision = precision ? precision : 1;
    sr_tbuf e = {.R = b->R};
    sr_tpl_float_digits(&e, x, 'e', precision - 1, false);
    sr_tbuf_char(&e, 0);
    const char *at = isfinite(x) ? strchr(e.p, 'e') : NULL;
    int exp        = 0;
    for (const char *p = at ? at + 2 : ""; *p; p++)
        exp = exp * 10 + (*p - '0');
    exp = at && at[1] == '-' ? -exp : exp;
    if (at && exp >= precision - 1 &&
        exp < precision) { /* 'g' would still write digits only: here the exponent comes */
        size_t n = (size_t)(at - e.p);
        while (n > 1 && memchr(e.p, '.', n) && (e.p[n - 1] == '0' || e.p[n - 1] == '.'))
            if (e.p[--n] == '.')
                break;
        sr_tbuf_add(b, e.p, n);
        sr_tbuf_z(b, at);
        return;
    }
    size_t from = b->n;
    sr_tpl_float_digits(b, x, 'g', precision, false);
    if (isfinite(x) && !memchr(b->p + from, '.', b->n - from) && !memchr(b->p + from, 'e', b->n - from))
        sr_tbuf_z(b, ".0");
}

static void format_float(sr_tbuf *b, double x, const spec *f)
{
    sr_tbuf t = {.R = b->R};
    char type = (char)(f->type == 'n' ? 'g' : f->type == '%' ? 'f' : f->type);
    if (f->type && !(f->type < 0x80 && strchr("eEfFgGn%", (int)f->type)))
        sr_tpl_fail(b->R, SR_INVALID, "unknown format code for object of type 'float'");
    double v = f->type == '%' ? x * 100 : x;
    if (!type && f->precision < 0)
        sr_tpl_put_float(&t, fabs(v));
    else if (!type)
        general(&t, v, f->precision);
    else
        sr_tpl_float_digits(&t, v, type, f->precision < 0 ? 6 : f->precision, f->alt);
    if (f->alt && !type && isfinite(v) && !memchr(t.p, '.', t.n))
        sr_tpl_fail(b->R, SR_UNSUPPORTED, "'#' in a format without a type");
    if (f->type == '%')
        sr_tbuf_char(&t, '%');
    bool zero = true;
    for (size_t i = 0; i < t.n && t.p[i] != 'e' && t.p[i] != 'E'; i++)
        zero = zero && !(t.p[i] >= '1' && t.p[i] <= '9') && t.p[i] != 'n' && t.p[i] != 'N' && t.p[i] != 'I';
    size_t whole = 0;
    while (whole < t.n && t.p[whole] >= '0' && t.p[whole] <= '9')
        whole++;
    put_number(b, f, signbit(v) && !isnan(v) && !(f->z && zero), "", sr_tbuf_str(&t), whole, 3);
}

static void format_int(sr_tbuf *b, int64_t i, const spec *f)
{
    sr_tbuf t = {.R = b->R};
    int base  = f->type == 'b' ? 2 : f->type == 'o' ? 8 : f->type == 'x' || f->type == 'X' ? 16 : 10;
    if (f->type && f->type < 0x80 && strchr("eEfFgG%", (int)f->type)) {
        format_float(b, (double)i, f);
        return;
    }
    if (f->precision >= 0 || f->z)
        sr_tpl_fail(b->R, SR_INVALID, "precision or 'z' not allowed in integer format specifier");
    if (f->type == 'c') {
        if (f->sign || f->alt || i < 0 || i > 0x10ffff || (i & 0x1ff800) == 0xd800)
            sr_tpl_fail(b->R, SR_INVALID, "%%c arg not in range(0x110000), or sign or '#' with 'c'");
        sr_tbuf_cp(&t, (uint32_t)i);
        spec s  = *f;
        s.type  = 0;
        s.align = f->align ? f->align : '>';
        if (s.align == '=')
            s.align = '>';
        format_str(b, sr_tbuf_str(&t).s, &s);
        return;
    }
    if (f->type && !(f->type < 0x80 && strchr("bdoxXn", (int)f->type)))
        sr_tpl_fail(b->R, SR_INVALID, "unknown format code for object of type 'int'");
    sr_tpl_int_digits(&t, i, base, f->type == 'X');
    const char *prefix = !f->alt          ? ""
                         : base == 2      ? "0b"
                         : base == 8      ? "0o"
                         : f->type == 'X' ? "0X"
                         : base == 16     ? "0x"
                                          : "";
    put_number(b, f, i < 0, prefix, sr_tbuf_str(&t), t.n, base == 10 ? 3 : 4);
}

/* format(v, s) of Python */
static void format_value(sr_tbuf *b, sr_tval v, const sr_tstr *s)
{
    spec f;
    if (!s->n) {
        sr_tpl_put_str(b, v);
        return;
    }
    if (v.kind != SR_T_STR && !sr_tis_num(v))
        sr_tpl_fail(b->R, SR_INVALID, "unsupported format string passed to %s.__format__",
                    sr_tpl_typename(v));
    f = parse_spec(b->R, s, v.kind == SR_T_STR ? '<' : '>');
    if (v.kind == SR_T_STR)
        format_str(b, v.s, &f);
    else if (v.kind == SR_T_FLOAT)
        format_float(b, v.f, &f);
    else
        format_int(b, sr_tas_int(v), &f);
}

/* ---- fields ---- */

typedef struct {
    sr_trun *R;
    const sr_tcall *c;
    int64_t next; /* automatic numbering: the next index; -1: the fields are numbered by hand */
    bool markup;
} formatter;

static bool all_digits(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] < '0' || p[i] > '9')
            return false;
    return n > 0;
}

static sr_tval key_value(sr_trun *R, const char *p, size_t n)
{
    int64_t i = 0;
    if (!all_digits(p, n))
        return sr_tpl_str(R, p, n);
    if (n > 18)
        sr_tpl_fail(R, SR_INVALID, "too many decimal digits in format string");
    for (size_t j = 0; j < n; j++)
        i = i * 10 + (p[j] - '0');
    return sr_tint(i);
}

static sr_tval first_value(formatter *f, sr_tval key)
{
    if (key.kind == SR_T_INT) {
        if (key.i >= (int64_t)f->c->n)
            sr_tpl_fail(f->R, SR_INVALID, "replacement index %lld out of range for positional args tuple",
                        (long long)key.i);
        return f->c->pos[key.i];
    }
    for (size_t i = 0; i < f->c->n_kw; i++)
        if (f->c->kw[i]->n == key.s->n && !memcmp(f->c->kw[i]->p, key.s->p, key.s->n))
            return f->c->kwv[i];
    sr_tpl_fail(f->R, SR_INVALID, "no argument '%.*s' for a format string", (int)SR_MIN(key.s->n, 80u),
                key.s->p);
}

/* name, name.attr, name[key].attr .. */
static sr_tval field(formatter *f, const char *p, size_t n)
{
    sr_trun *R = f->R;
    size_t i   = 0;
    while (i < n && p[i] != '.' && p[i] != '[')
        i++;
    sr_tval v;
    if (n == 0 || (i == n && all_digits(p, n))) {
        if (n == 0 ? f->next < 0 : f->next > 0)
            sr_tpl_fail(R, SR_INVALID, "cannot switch between automatic and manual field numbering");
        v       = first_value(f, n ? key_value(R, p, n) : sr_tint(f->next));
        f->next = n ? -1 : f->next + 1;
    } else {
        v = first_value(f, key_value(R, p, i));
    }
    while (i < n) {
        bool attr   = p[i] == '.';
        size_t from = ++i;
        while (i < n && (attr ? p[i] != '.' && p[i] != '[' : p[i] != ']'))
            i++;
        if (i == from)
            sr_tpl_fail(R, SR_INVALID, "empty attribute in format string");
        if (!attr && i == n)
            sr_tpl_fail(R, SR_INVALID, "missing ']' in format string");
        if (attr)
            v = sr_tpl_getattr(R, v, sr_tpl_str(R, p + from, i - from));
        else
            v = sr_tpl_getitem(R, v, key_value(R, p + from, i - from));
        i += !attr;
        if (!attr && i < n && p[i] != '.' && p[i] != '[')
            sr_tpl_fail(R, SR_INVALID, "only '.' or '[' may follow ']' in format field specifier");
    }
    return v;
}

static sr_tval convert(sr_trun *R, sr_tval v, char to)
{
    sr_tbuf b = {.R = R};
    if (!to)
        return v;
    if (to == 's')
        sr_tpl_put_str(&b, v);
    else if (to == 'r')
        sr_tpl_put_repr(&b, v);
    else if (to == 'a')
        sr_tpl_put_ascii(&b, v);
    else
        sr_tpl_fail(R, SR_INVALID, "unknown conversion specifier");
    return sr_tbuf_str(&b);
}

static void put_field(formatter *f, sr_tbuf *b, sr_tval v, const sr_tstr *s)
{
    if (!f->markup) {
        format_value(b, v, s);
        return;
    }
    if (v.kind == SR_T_STR && v.s->markup && s->n)
        sr_tpl_fail(f->R, SR_INVALID, "unsupported format specification for Markup");
    sr_tbuf t = {.R = f->R};
    format_value(&t, v, s);
    v = v.kind == SR_T_STR && v.s->markup ? v : sr_tpl_escape(f->R, sr_tbuf_str(&t));
    sr_tpl_put_str(b, v);
}

/* The end of a field that starts behind "{": where its name ends, its conversion, its specification. */
typedef struct {
    size_t name_end, spec, spec_end, end;
    char conversion;
} parts;

static parts parse_field(sr_trun *R, const sr_tstr *s, size_t at)
{
    parts r      = {0};
    char c       = 0;
    size_t depth = 1;
    for (; at < s->n; at++) {
        c = s->p[at];
        if (c == '{')
            sr_tpl_fail(R, SR_INVALID, "unexpected '{' in field name");
        if (c == '[')
            while (at + 1 < s->n && s->p[at + 1] != ']')
                at++;
        if (c == '}' || c == ':' || c == '!')
            break;
    }
    if (at >= s->n)
        sr_tpl_fail(R, SR_INVALID, "expected '}' before end of string");
    r.name_end = at++;
    r.spec = r.spec_end = r.end = at;
    if (c == '}')
        return r;
    if (c == '!') {
        if (at >= s->n)
            sr_tpl_fail(R, SR_INVALID, "end of string while looking for conversion specifier");
        r.conversion = s->p[at++];
        c            = at < s->n ? s->p[at++] : 0;
        r.end        = at;
        if (c == '}')
            return r;
        if (c && c != ':')
            sr_tpl_fail(R, SR_INVALID, "expected ':' after conversion specifier");
    }
    r.spec = at;
    for (; at < s->n; at++) {
        depth += s->p[at] == '{';
        depth -= s->p[at] == '}';
        if (!depth) {
            r.spec_end = at;
            r.end      = at + 1;
            return r;
        }
    }
    sr_tpl_fail(R, SR_INVALID, "unmatched '{' in format spec");
}

static void expand(formatter *f, sr_tbuf *b, const sr_tstr *s, int depth)
{
    sr_trun *R = f->R;
    if (depth < 0)
        sr_tpl_fail(R, SR_INVALID, "max string recursion exceeded");
    for (size_t at = 0; at < s->n;) {
        char c = s->p[at];
        if (c != '{' && c != '}') {
            size_t from = at;
            while (at < s->n && s->p[at] != '{' && s->p[at] != '}')
                at++;
            sr_tbuf_add(b, s->p + from, at - from);
            continue;
        }
        sr_tpl_charge(R, 1);
        if (at + 1 < s->n && s->p[at + 1] == c) {
            sr_tbuf_char(b, c);
            at += 2;
            continue;
        }
        if (c == '}' || at + 1 >= s->n)
            sr_tpl_fail(R, SR_INVALID, "single '%c' encountered in format string", c);
        parts r           = parse_field(R, s, at + 1);
        sr_tval v         = field(f, s->p + at + 1, r.name_end - at - 1);
        sr_tbuf t         = {.R = R};
        v                 = convert(R, v, r.conversion);
        sr_tstr spec_text = {.p = s->p + r.spec, .n = r.spec_end - r.spec, .len = SIZE_MAX};
        expand(f, &t, &spec_text, depth - 1);
        put_field(f, b, v, sr_tbuf_str(&t).s);
        at = r.end;
    }
}

sr_tval sr_tpl_strformat(sr_trun *R, const sr_tstr *fmt, const sr_tcall *c)
{
    formatter f = {.R = R, .c = c, .markup = fmt->markup};
    sr_tbuf b   = {.R = R};
    expand(&f, &b, fmt, 2);
    return sr_tpl_markup(R, sr_tbuf_str(&b), fmt->markup);
}
