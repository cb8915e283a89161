/* Arithmetic, concatenation and slices, as Python does them.  Integers are 64-bit: a result that does not fit
 * is an error, never a wrong number. */
#include "text/template_eval.h"
#include "text/template_text.h"
#include "text/template_string.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

void sr_tpl_fail_overflow(sr_trun *R) { sr_tpl_fail(R, SR_UNSUPPORTED, "an integer past 64 bits"); }

int64_t sr_tpl_need_int(sr_trun *R, sr_tval v)
{
    if (v.kind == SR_T_UNDEF)
        sr_tpl_fail_undef(R, v);
    if (!sr_tis_int(v))
        sr_tpl_fail(R, SR_INVALID, "'%s' object cannot be interpreted as an integer", sr_tpl_typename(v));
    return sr_tas_int(v);
}

sr_tstr *sr_tpl_need_str(sr_trun *R, sr_tval v, const char *what)
{
    if (v.kind != SR_T_STR)
        sr_tpl_fail(R, SR_INVALID, "%s must be str, not %s", what, sr_tpl_typename(v));
    return v.s;
}

/* ---- integers and floats ---- */

static int64_t floor_div(sr_trun *R, int64_t a, int64_t b)
{
    if (a == INT64_MIN && b == -1)
        sr_tpl_fail_overflow(R);
    int64_t q = a / b;
    return q - (a % b != 0 && (a < 0) != (b < 0));
}

static int64_t floor_mod(int64_t a, int64_t b)
{
    if (b == -1)
        return 0;
    int64_t m = a % b;
    return m && (m < 0) != (b < 0) ? m + b : m;
}

static double float_mod(double a, double b)
{
    double m = fmod(a, b);
    if (m == 0)
        return copysign(0.0, b);
    return (b < 0) != (m < 0) ? m + b : m;
}

static double float_floor_div(double a, double b)
{
    double m = fmod(a, b), div = (a - m) / b;
    if (m != 0 && (b < 0) != (m < 0))
        div -= 1.0;
    if (div == 0)
        return copysign(0.0, a / b);
    double f = floor(div);
    return div - f > 0.5 ? f + 1.0 : f;
}

static sr_tval int_pow(sr_trun *R, int64_t a, int64_t b)
{
    int64_t r = 1;
    bool over = false;
    if (b < 0) {
        if (!a)
            sr_tpl_fail(R, SR_INVALID, "0.0 cannot be raised to a negative power");
        return sr_tfloat(pow((double)a, (double)b));
    }
    if (a == 0 || a == 1 || a == -1)
        return sr_tint(a == 0 ? b == 0 : a == 1 || b % 2 == 0 ? 1 : -1);
    for (; b && !over; b--)
        over = __builtin_mul_overflow(r, a, &r);
    if (over)
        sr_tpl_fail_overflow(R);
    return sr_tint(r);
}

static sr_tval float_pow(sr_trun *R, double a, double b)
{
    if (a == 0 && b < 0)
        sr_tpl_fail(R, SR_INVALID, "0.0 cannot be raised to a negative power");
    if (a < 0 && isfinite(a) && isfinite(b) && floor(b) != b)
        sr_tpl_fail(R, SR_UNSUPPORTED, "complex numbers");
    double r = pow(a, b);
    if (isinf(r) && isfinite(a) && isfinite(b))
        sr_tpl_fail(R, SR_INVALID, "result of ** is too large");
    return sr_tfloat(r);
}

static sr_tval int_op(sr_trun *R, char op, int64_t a, int64_t b)
{
    int64_t r = 0;
    bool over = false;
    if (!b && (op == '/' || op == 'F' || op == '%'))
        sr_tpl_fail(R, SR_INVALID, op == '/' ? "division by zero" : "integer division or modulo by zero");
    switch (op) {
    case '+':
        over = __builtin_add_overflow(a, b, &r);
        break;
    case '-':
        over = __builtin_sub_overflow(a, b, &r);
        break;
    case '*':
        over = __builtin_mul_overflow(a, b, &r);
        break;
    case 'F':
        r = floor_div(R, a, b);
        break;
    case '%':
        r = floor_mod(a, b);
        break;
    case '/': /* long double holds both exactly, so that only one rounding remains */
        return sr_tfloat((double)((long double)a / (long double)b));
    default:
        return int_pow(R, a, b);
    }
    if (over)
        sr_tpl_fail_overflow(R);
    return sr_tint(r);
}

static sr_tval float_op(sr_trun *R, char op, double a, double b)
{
    if (b == 0 && (op == '/' || op == 'F' || op == '%'))
        sr_tpl_fail(R, SR_INVALID,
                    op == '/' ? "float division by zero" : "float floor division or modulo by zero");
    switch (op) {
    case '+':
        return sr_tfloat(a + b);
    case '-':
        return sr_tfloat(a - b);
    case '*':
        return sr_tfloat(a * b);
    case '/':
        return sr_tfloat(a / b);
    case 'F':
        return sr_tfloat(float_floor_div(a, b));
    case '%':
        return sr_tfloat(float_mod(a, b));
    default:
        return float_pow(R, a, b);
    }
}

sr_tval sr_tpl_negate(sr_trun *R, sr_tval v, bool minus)
{
    if (v.kind == SR_T_UNDEF)
        sr_tpl_fail_undef(R, v);
    if (!sr_tis_num(v))
        sr_tpl_fail(R, SR_INVALID, "bad operand type for unary %c: '%s'", minus ? '-' : '+',
                    sr_tpl_typename(v));
    if (v.kind == SR_T_FLOAT)
        return sr_tfloat(minus ? -v.f : v.f);
    if (minus && v.kind == SR_T_INT && v.i == INT64_MIN)
        sr_tpl_fail_overflow(R);
    return sr_tint(minus ? -sr_tas_int(v) : sr_tas_int(v));
}

/* ---- sequences ---- */

sr_tval sr_tpl_repeat(sr_trun *R, sr_tval v, int64_t times)
{
    if (times < 0)
        times = 0;
    if (v.kind == SR_T_STR) {
        sr_tbuf b = {.R = R};
        sr_tbuf_pad(&b, v.s->p, v.s->n, v.s->n ? (uint64_t)times : 0);
        return sr_tpl_markup(R, sr_tbuf_str(&b), v.s->markup);
    }
    size_t n;
    if (!sr_mul_size(v.l->n, (size_t)times, &n) || n > R->arena.limit / sizeof(sr_tval))
        sr_tpl_fail(R, SR_INVALID, "a list of %zu items %lld times is past the memory limit", v.l->n,
                    (long long)times);
    sr_tval l = sr_tpl_seq(R, v.kind, n);
    sr_tpl_charge(R, n);
    for (int64_t i = 0; n && i < times; i++)
        memcpy(l.l->p + (size_t)i * v.l->n, v.l->p, v.l->n * sizeof *v.l->p);
    l.l->n = n;
    return l;
}

static sr_tval add_seq(sr_trun *R, sr_tval a, sr_tval b)
{
    sr_tval l = sr_tpl_seq(R, a.kind, a.l->n + b.l->n);
    sr_tpl_charge(R, l.l->cap);
    for (size_t i = 0; i < a.l->n; i++)
        sr_tpl_push(R, l.l, a.l->p[i]);
    for (size_t i = 0; i < b.l->n; i++)
        sr_tpl_push(R, l.l, b.l->p[i]);
    return l;
}

static sr_tval add_str(sr_trun *R, sr_tval a, sr_tval b)
{
    if (!a.s->markup && !b.s->markup)
        return sr_tpl_append(R, a.s, b.s->p, b.s->n);
    a = sr_tpl_escape(R, a); /* Markup escapes what joins it */
    b = sr_tpl_escape(R, b);
    return sr_tpl_markup(R, sr_tpl_append(R, a.s, b.s->p, b.s->n), true);
}

sr_tval sr_tpl_binary(sr_trun *R, char op, sr_tval a, sr_tval b)
{
    bool seq_a = a.kind == SR_T_STR || a.kind == SR_T_LIST || a.kind == SR_T_TUPLE;
    bool seq_b = b.kind == SR_T_STR || b.kind == SR_T_LIST || b.kind == SR_T_TUPLE;
    if (sr_tis_num(a) && sr_tis_num(b)) {
        if (a.kind == SR_T_FLOAT || b.kind == SR_T_FLOAT)
            return float_op(R, op, sr_tas_double(a), sr_tas_double(b));
        return int_op(R, op, sr_tas_int(a), sr_tas_int(b));
    }
    if (op == '+' && a.kind == b.kind && seq_a)
        return a.kind == SR_T_STR ? add_str(R, a, b) : add_seq(R, a, b);
    if (op == '*' && seq_a && sr_tis_int(b))
        return sr_tpl_repeat(R, a, sr_tas_int(b));
    if (op == '*' && seq_b && sr_tis_int(a))
        return sr_tpl_repeat(R, b, sr_tas_int(a));
    if (op == '%' && a.kind == SR_T_STR)
        return sr_tpl_percent(R, a, b);
    if (a.kind == SR_T_UNDEF)
        sr_tpl_fail_undef(R, a);
    if (b.kind == SR_T_UNDEF)
        sr_tpl_fail_undef(R, b);
    if (op == '+' && a.kind == SR_T_STR)
        sr_tpl_fail(R, SR_INVALID, "can only concatenate str (not \"%s\") to str", sr_tpl_typename(b));
    if ((a.kind == SR_T_DICT || a.kind == SR_T_VIEW) && a.kind == b.kind && op == '-')
        sr_tpl_fail(R, SR_UNSUPPORTED, "sets");
    sr_tpl_fail(R, SR_INVALID, "unsupported operand type(s) for %s: '%s' and '%s'",
                op == 'F'   ? "//"
                : op == 'P' ? "**"
                            : (const char[2]){op, 0},
                sr_tpl_typename(a), sr_tpl_typename(b));
}

/* a ~ b ~ c: each to text first, then copied once. */
sr_tval sr_tpl_concat(sr_trun *R, sr_tval *v, size_t n)
{
    size_t more = 0;
    char *room;
    for (size_t i = 0; i < n; i++) {
        if (v[i].kind != SR_T_STR)
            v[i] = sr_tpl_to_str(R, v[i]);
        if (i && !sr_add_size(more, v[i].s->n, &more))
            more = SIZE_MAX; /* refused as too long */
    }
    if (!more)
        return sr_tpl_markup(R, v[0], false);
    sr_tval r = sr_tpl_extend(R, v[0].s, more, &room);
    for (size_t i = 1; i < n; i++) {
        if (v[i].s->n)
            memcpy(room, v[i].s->p, v[i].s->n);
        room += v[i].s->n;
    }
    return r;
}

/* ---- slices ---- */

static int64_t bound(sr_trun *R, sr_tval v, int64_t n, int64_t none, bool down)
{
    if (v.kind == SR_T_NONE)
        return none;
    if (v.kind == SR_T_UNDEF || !sr_tis_int(v))
        sr_tpl_fail(R, SR_INVALID, "slice indices must be integers or None, not %s", sr_tpl_typename(v));
    int64_t i = sr_tas_int(v);
    if (i < 0)
        return i + n < 0 ? (down ? -1 : 0) : i + n;
    return i >= n ? (down ? n - 1 : n) : i;
}

static sr_tval slice_str(sr_trun *R, sr_tstr *s, int64_t start, int64_t step, int64_t count)
{
    sr_tbuf b = {.R = R};
    if (step == 1) {
        size_t from = sr_tpl_offset(R, s, (size_t)start);
        return sr_tpl_substr(R, s, from, sr_tpl_offset(R, s, (size_t)(start + count)) - from);
    }
    if (sr_tis_ascii(R, s)) {
        for (int64_t i = 0; i < count; i++)
            sr_tbuf_char(&b, s->p[start + i * step]);
    } else { /* walk once, from the first wanted character */
        size_t at = sr_tpl_offset(R, s, (size_t)start), k;
        for (int64_t i = 0; i < count; i++) {
            sr_tbuf_cp(&b, sr_tpl_cp(s->p + at, s->n - at, &k));
            for (int64_t j = 0; i + 1 < count && j < (step < 0 ? -step : step); j++) {
                if (step < 0) {
                    at = sr_tpl_back(s->p, at);
                } else {
                    sr_tpl_cp(s->p + at, s->n - at, &k);
                    at += k;
                }
            }
        }
    }
    sr_tpl_charge(R, s->n >> 6);
    return sr_tpl_markup(R, sr_tbuf_str(&b), s->markup);
}

sr_tval sr_tpl_slice(sr_trun *R, sr_tval v, sr_tval start, sr_tval stop, sr_tval step)
{
    if (v.kind == SR_T_UNDEF)
        sr_tpl_fail_undef(R, v);
    if (v.kind != SR_T_STR && v.kind != SR_T_LIST && v.kind != SR_T_TUPLE && v.kind != SR_T_RANGE)
        sr_tpl_fail(R, SR_INVALID,
                    v.kind == SR_T_DICT ? "unhashable type: 'slice' for '%s'"
                                        : "'%s' object is not subscriptable",
                    sr_tpl_typename(v));
    int64_t n = (int64_t)sr_tpl_length(R, v), by = step.kind == SR_T_NONE ? 1 : 0;
    if (!by && !sr_tis_int(step))
        sr_tpl_fail(R, SR_INVALID, "slice indices must be integers or None, not %s", sr_tpl_typename(step));
    if (!by && !(by = sr_tas_int(step)))
        sr_tpl_fail(R, SR_INVALID, "slice step cannot be zero");
    by           = by < -INT64_MAX ? -INT64_MAX : by;
    int64_t from = bound(R, start, n, by < 0 ? n - 1 : 0, by < 0),
            to   = bound(R, stop, n, by < 0 ? -1 : n, by < 0);
    int64_t count =
        by > 0 ? (to > from ? (to - from - 1) / by + 1 : 0) : (from > to ? (from - to - 1) / -by + 1 : 0);
    if (v.kind == SR_T_STR)
        return count ? slice_str(R, v.s, from, by, count) : sr_tpl_markup(R, sr_tpl_strz(R, ""), v.s->markup);
    if (v.kind == SR_T_RANGE) {
        sr_trange *r = sr_tpl_alloc(R, sizeof *r), *o = v.r;
        if (__builtin_mul_overflow(o->step, by, &r->step))
            sr_tpl_fail_overflow(R);
        *r = (sr_trange){o->start + from * o->step, o->start + to * o->step, r->step, count};
        return (sr_tval){.kind = SR_T_RANGE, .r = r};
    }
    sr_tval l = sr_tpl_seq(R, v.kind, (size_t)count);
    sr_tpl_charge(R, (uint64_t)count >> 3);
    for (int64_t i = 0; i < count; i++)
        sr_tpl_push(R, l.l, v.l->p[from + i * by]);
    return l;
}
