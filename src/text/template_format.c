/* Python's printf-style formatting: "%-5s|%05.1f" % (a, b), "%(key)s" % dict. */
#include "text/template_format.h"
#include "text/template_eval.h"
#include "text/template_string.h"
#include "text/template_text.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- shared with str.format ---- */

void sr_tpl_float_digits(sr_tbuf *b, double f, char type, int64_t precision, bool alt)
{
    char fmt[16], *d;
    if (precision > SR_TPL_PRECISION)
        sr_tpl_fail(b->R, SR_UNSUPPORTED, "a precision of %lld digits, more than %d", (long long)precision,
                    SR_TPL_PRECISION);
    if (isnan(f) || isinf(f)) {
        bool upper = type >= 'A' && type <= 'Z';
        sr_tbuf_z(b, isnan(f) ? (upper ? "NAN" : "nan") : upper ? "INF" : "inf");
        return;
    }
    size_t cap = (size_t)precision + 340; /* 1e308 has 309 digits before the point */
    d          = sr_tpl_alloc(b->R, cap);
    snprintf(fmt, sizeof fmt, "%%%s.*%c", alt ? "#" : "", type);
    int n = snprintf(d, cap, fmt, (int)precision, fabs(f));
    sr_tbuf_add(b, d, (size_t)n);
    sr_tpl_charge(b->R, (uint64_t)precision >> 3);
}

void sr_tpl_int_digits(sr_tbuf *b, int64_t i, int base, bool upper)
{
    char buf[66];
    int at     = 66;
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    do {
        buf[--at] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[u % (unsigned)base];
        u /= (unsigned)base;
    } while (u);
    sr_tbuf_add(b, buf + at, (size_t)(66 - at));
}

int64_t sr_tpl_float_to_int(sr_trun *R, double f)
{
    if (isnan(f) || isinf(f))
        sr_tpl_fail(R, SR_INVALID, "cannot convert float %s to integer", isnan(f) ? "NaN" : "infinity");
    if (!(f >= -9223372036854775808.0 && f < 9223372036854775808.0))
        sr_tpl_fail_overflow(R);
    return (int64_t)f;
}

/* ---- % ---- */

typedef struct {
    sr_trun *R;
    const sr_tstr *fmt;
    size_t at;
    sr_tval args; /* a tuple, or the only argument */
    int64_t n, i; /* a tuple: items and the next one; else -1 and -2, then -1 when taken */
    bool mapping, markup;
    sr_tbuf out;
} formatter;

typedef struct {
    bool left, plus, blank, alt, zero;
    int64_t width, precision; /* -1: none */
    char type;
} spec;

static char peek(const formatter *f) { return f->at < f->fmt->n ? f->fmt->p[f->at] : 0; }

static sr_tval next_arg(formatter *f)
{
    if (f->i >= f->n)
        sr_tpl_fail(f->R, SR_INVALID, "not enough arguments for format string");
    f->i++;
    return f->n < 0 ? f->args : f->args.l->p[f->i - 1];
}

static void read_key(formatter *f)
{
    size_t depth = 1;
    f->at++;
    if (!f->mapping || f->args.kind == SR_T_TUPLE)
        sr_tpl_fail(f->R, SR_INVALID, "format requires a mapping");
    for (; f->at < f->fmt->n; f->at++) {
        char c = f->fmt->p[f->at];
        depth += c == '(';
        depth -= c == ')';
        if (!depth)
            break;
    }
    if (depth)
        sr_tpl_fail(f->R, SR_INVALID, "incomplete format key");
}

static sr_tval keyed(formatter *f, sr_tval map, size_t from)
{
    sr_tval key      = sr_tpl_str(f->R, f->fmt->p + from, f->at - from);
    const sr_tval *v = map.kind == SR_T_DICT ? sr_tpl_dict_get(f->R, map.d, key) : NULL;
    if (map.kind == SR_T_UNDEF)
        sr_tpl_fail_undef(f->R, map);
    if (!v)
        sr_tpl_fail(f->R, SR_INVALID, "no key '%.*s' for a format string", (int)SR_MIN(key.s->n, 80u),
                    key.s->p);
    return *v;
}

static int64_t number(formatter *f)
{
    int64_t v = 0;
    while (peek(f) >= '0' && peek(f) <= '9') {
        v = v * 10 + (f->fmt->p[f->at++] - '0');
        if (v > INT32_MAX)
            sr_tpl_fail(f->R, SR_INVALID, "width or precision too big");
    }
    return v;
}

static int64_t star_or_number(formatter *f)
{
    if (peek(f) != '*')
        return number(f);
    f->at++;
    sr_tval v = next_arg(f);
    if (!sr_tis_int(v) || sr_tas_int(v) > INT32_MAX || sr_tas_int(v) < -INT32_MAX)
        sr_tpl_fail(f->R, SR_INVALID, "* wants int");
    return sr_tas_int(v);
}

static spec read_spec(formatter *f)
{
    spec s = {.width = -1, .precision = -1};
    for (;; f->at++) {
        char c = peek(f);
        if (c == '-')
            s.left = true;
        else if (c == '+')
            s.plus = true;
        else if (c == ' ')
            s.blank = true;
        else if (c == '#')
            s.alt = true;
        else if (c == '0')
            s.zero = true;
        else
            break;
    }
    if (peek(f) == '*' || (peek(f) >= '0' && peek(f) <= '9')) {
        s.width = star_or_number(f);
        if (s.width < 0) {
            s.left  = true;
            s.width = -s.width;
        }
    }
    if (peek(f) == '.') {
        f->at++;
        s.precision = star_or_number(f);
        s.precision = SR_MAX(s.precision, 0);
    }
    if (peek(f) == 'h' || peek(f) == 'l' || peek(f) == 'L')
        f->at++;
    if (f->at >= f->fmt->n)
        sr_tpl_fail(f->R, SR_INVALID, "incomplete format");
    s.type = f->fmt->p[f->at++];
    return s;
}

static void put_text(formatter *f, const spec *s, sr_tval v)
{
    sr_tbuf b = {.R = f->R};
    if (s->type == 'r')
        sr_tpl_put_repr(&b, v);
    else if (s->type == 'a')
        sr_tpl_put_ascii(&b, v);
    else
        sr_tpl_put_str(&b, v);
    sr_tval t = sr_tbuf_str(&b);
    if (f->markup)
        t = s->type == 's' ? sr_tpl_escape(f->R, v) : sr_tpl_escape(f->R, t);
    size_t n = t.s->n;
    if (s->precision >= 0 && (size_t)s->precision < sr_tpl_cps(f->R, t.s)) {
        n = sr_tpl_offset(f->R, t.s, (size_t)s->precision);
        t = sr_tpl_substr(f->R, t.s, 0, n);
    }
    int64_t pad = s->width - (int64_t)sr_tpl_cps(f->R, t.s);
    if (pad > 0 && !s->left)
        sr_tbuf_pad(&f->out, " ", 1, (uint64_t)pad);
    sr_tbuf_add(&f->out, t.s->p, t.s->n);
    if (pad > 0 && s->left)
        sr_tbuf_pad(&f->out, " ", 1, (uint64_t)pad);
}

/* sign, prefix and digits, padded: zeros go between prefix and digits, blanks outside */
static void put_number(formatter *f, const spec *s, bool negative, const char *prefix, sr_tbuf *digits)
{
    const char *sign = negative ? "-" : s->plus ? "+" : s->blank ? " " : "";
    int64_t pad      = s->width - (int64_t)(strlen(sign) + strlen(prefix) + digits->n);
    uint64_t n       = pad > 0 ? (uint64_t)pad : 0;
    if (!s->left && !s->zero)
        sr_tbuf_pad(&f->out, " ", 1, n);
    sr_tbuf_z(&f->out, sign);
    sr_tbuf_z(&f->out, prefix);
    if (!s->left && s->zero)
        sr_tbuf_pad(&f->out, "0", 1, n);
    sr_tbuf_add(&f->out, digits->p, digits->n);
    if (s->left)
        sr_tbuf_pad(&f->out, " ", 1, n);
}

static void put_int(formatter *f, const spec *s, sr_tval v)
{
    bool hex = s->type == 'x' || s->type == 'X', oct = s->type == 'o';
    sr_tbuf b = {.R = f->R}, d = {.R = f->R};
    if (v.kind == SR_T_UNDEF && !hex && !oct)
        sr_tpl_fail_undef(f->R, v);
    if (!sr_tis_num(v) || (v.kind == SR_T_FLOAT && (hex || oct)))
        sr_tpl_fail(f->R, SR_INVALID, "%%%c format: %s is required, not %s", s->type,
                    hex || oct ? "an integer" : "a real number", sr_tpl_typename(v));
    int64_t i = v.kind == SR_T_FLOAT ? sr_tpl_float_to_int(f->R, v.f) : sr_tas_int(v);
    sr_tpl_int_digits(&b, i, hex ? 16 : oct ? 8 : 10, s->type == 'X');
    if (s->precision > (int64_t)b.n)
        sr_tbuf_pad(&d, "0", 1, (uint64_t)s->precision - b.n);
    sr_tbuf_add(&d, b.p, b.n);
    put_number(f, s, i < 0,
               s->alt && s->type == 'x' ? "0x"
               : s->alt && hex          ? "0X"
               : s->alt && oct          ? "0o"
                                        : "",
               &d);
}

static void put_float(formatter *f, const spec *s, sr_tval v)
{
    sr_tbuf d = {.R = f->R};
    if (v.kind == SR_T_UNDEF)
        sr_tpl_fail_undef(f->R, v);
    if (!sr_tis_num(v))
        sr_tpl_fail(f->R, SR_INVALID, "must be real number, not %s", sr_tpl_typename(v));
    double x = sr_tas_double(v);
    sr_tpl_float_digits(&d, x, s->type, s->precision < 0 ? 6 : s->precision, s->alt);
    put_number(f, s, signbit(x) && !isnan(x), "", &d);
}

static void put_char(formatter *f, const spec *s, sr_tval v)
{
    sr_tbuf b = {.R = f->R};
    if (v.kind == SR_T_STR && sr_tpl_cps(f->R, v.s) == 1)
        sr_tbuf_add(&b, v.s->p, v.s->n);
    else if (sr_tis_int(v) && sr_tas_int(v) >= 0 && sr_tas_int(v) < 0x110000 &&
             (sr_tas_int(v) & 0x1ff800) != 0xd800)
        sr_tbuf_cp(&b, (uint32_t)sr_tas_int(v));
    else
        sr_tpl_fail(f->R, SR_INVALID, "%%c requires int or char");
    spec t      = *s;
    t.type      = 's';
    t.precision = -1;
    put_text(f, &t, sr_tbuf_str(&b));
}

static void put_arg(formatter *f, const spec *s, sr_tval v)
{
    switch (s->type) {
    case 's':
    case 'r':
    case 'a':
        put_text(f, s, v);
        break;
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X':
        put_int(f, s, v);
        break;
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
        put_float(f, s, v);
        break;
    case 'c':
        put_char(f, s, v);
        break;
    default:
        sr_tpl_fail(f->R, SR_INVALID, "unsupported format character 0x%02x", (unsigned char)s->type);
    }
}

sr_tval sr_tpl_percent(sr_trun *R, sr_tval fmt, sr_tval args)
{
    bool tuple  = args.kind == SR_T_TUPLE;
    formatter f = {.R      = R,
                   .fmt    = fmt.s,
                   .args   = args,
                   .n      = tuple ? (int64_t)args.l->n : -1,
                   .i      = tuple ? 0 : -2,
                   .markup = fmt.s->markup,
                   .out    = {.R = R}};
    /* what Python calls a mapping here: anything with [], but no tuple and no string */
    f.mapping = args.kind == SR_T_DICT || args.kind == SR_T_LIST || args.kind == SR_T_RANGE ||
                args.kind == SR_T_UNDEF;
    sr_tval map = args;
    sr_tpl_bytes(R, fmt.s->n * 4);
    while (f.at < fmt.s->n) {
        const char *p = memchr(fmt.s->p + f.at, '%', fmt.s->n - f.at);
        size_t to     = p ? (size_t)(p - fmt.s->p) : fmt.s->n;
        sr_tbuf_add(&f.out, fmt.s->p + f.at, to - f.at);
        f.at = to + 1;
        if (!p)
            break;
        sr_tpl_charge(R, 1);
        if (peek(&f) == '%') {
            sr_tbuf_char(&f.out, '%');
            f.at++;
            continue;
        }
        if (peek(&f) == '(') {
            size_t from = f.at + 1;
            read_key(&f);
            f.args = keyed(&f, map, from);
            f.n    = -1;
            f.i    = -2;
            f.at++;
        }
        spec s = read_spec(&f);
        put_arg(&f, &s, next_arg(&f));
    }
    if (f.i < f.n && !f.mapping)
        sr_tpl_fail(R, SR_INVALID, "not all arguments converted during string formatting");
    return sr_tpl_markup(R, sr_tbuf_str(&f.out), fmt.s->markup);
}
