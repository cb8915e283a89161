/* str() and repr() of values, as CPython prints them. */
#include "text/template_eval.h"
#include "text/template_string.h"
#include "text/template_text.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- floats: the shortest decimal that reads back as the same double ---- */

/* The shortest %e text; at most 17 digits are ever needed.  Any double that some decimal of up to 15 digits
 * names prints as that decimal with 15; with 16 the nearest may fail where the next one up does not (powers
 * of two). */
static void shortest(double f, char *buf, size_t cap)
{
    bool subnormal = fabs(f) < 2.2250738585072014e-308; /* fewer bits: even one digit may do */
    for (int digits = subnormal ? 0 : 14; digits <= 14; digits++) {
        snprintf(buf, cap, "%.*e", digits, f);
        if (strtod(buf, NULL) == f)
            return;
    }
    snprintf(buf, cap, "%.15e", f);
    if (strtod(buf, NULL) == f)
        return;
    char up[64], *e = strchr(buf, 'e'), *d = e - 1;
    snprintf(up, sizeof up, "%.15e", f);
    char *u = up + (d - buf);
    while (u > up && (*u == '9' || *u == '.')) { /* one unit up in the last place */
        *u = *u == '9' ? '0' : *u;
        u--;
    }
    if (*u >= '0' && *u < '9') {
        ++*u;
        if (strtod(up, NULL) == f) {
            memcpy(buf, up, strlen(up) + 1);
            return;
        }
    }
    snprintf(buf, cap, "%.16e", f);
}

void sr_tpl_put_float(sr_tbuf *b, double f)
{
    char buf[64], digits[24];
    if (isnan(f) || isinf(f)) {
        sr_tbuf_z(b, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    shortest(f, buf, sizeof buf);
    int exp = (int)strtol(strchr(buf, 'e') + 1, NULL, 10), n = 0;
    const char *p = buf;
    if (*p == '-') {
        sr_tbuf_char(b, '-');
        p++;
    }
    for (; *p != 'e'; p++)
        if (*p != '.')
            digits[n++] = *p;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    if (exp < -4 || exp >= 16) {
        sr_tbuf_add(b, digits, 1);
        if (n > 1) {
            sr_tbuf_char(b, '.');
            sr_tbuf_add(b, digits + 1, (size_t)n - 1);
        }
        snprintf(buf, sizeof buf, "e%c%02d", exp < 0 ? '-' : '+', exp < 0 ? -exp : exp);
        sr_tbuf_z(b, buf);
        return;
    }
    if (exp < 0) {
        sr_tbuf_z(b, "0.");
        sr_tbuf_pad(b, "0", 1, (uint64_t)(-exp - 1));
        sr_tbuf_add(b, digits, (size_t)n);
        return;
    }
    int whole = SR_MIN(n, exp + 1);
    sr_tbuf_add(b, digits, (size_t)whole);
    sr_tbuf_pad(b, "0", 1, (uint64_t)(exp + 1 - whole));
    sr_tbuf_char(b, '.');
    if (n > whole)
        sr_tbuf_add(b, digits + whole, (size_t)(n - whole));
    else
        sr_tbuf_char(b, '0');
}

/* ---- repr ---- */

static void put_escaped_cp(sr_tbuf *b, uint32_t cp)
{
    char buf[16];
    snprintf(buf, sizeof buf, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", cp);
    sr_tbuf_z(b, buf);
}

static void put_str_repr(sr_tbuf *b, const sr_tstr *s, bool ascii)
{
    bool single = memchr(s->p, '\'', s->n) && !memchr(s->p, '"', s->n);
    char quote  = single ? '"' : '\'';
    size_t k;
    sr_tpl_charge(b->R, s->n >> 5);
    if (s->markup)
        sr_tbuf_z(b, "Markup(");
    sr_tbuf_char(b, quote);
    for (size_t i = 0; i < s->n; i += k) {
        uint32_t cp = sr_tpl_cp(s->p + i, s->n - i, &k);
        if (cp == (unsigned char)quote || cp == '\\') {
            sr_tbuf_char(b, '\\');
            sr_tbuf_char(b, (char)cp);
        } else if (cp == '\n' || cp == '\r' || cp == '\t') {
            sr_tbuf_z(b, cp == '\n' ? "\\n" : cp == '\r' ? "\\r" : "\\t");
        } else if (!sr_tpl_is_printable(cp) || (ascii && cp > 0x7f)) {
            put_escaped_cp(b, cp);
        } else {
            sr_tbuf_add(b, s->p + i, k);
        }
    }
    sr_tbuf_char(b, quote);
    if (s->markup)
        sr_tbuf_char(b, ')');
}

static void put_int(sr_tbuf *b, int64_t i)
{
    char buf[24];
    snprintf(buf, sizeof buf, "%lld", (long long)i);
    sr_tbuf_z(b, buf);
}

static void put_range(sr_tbuf *b, const sr_trange *r)
{
    char buf[100];
    int n = snprintf(buf, sizeof buf, "range(%lld, %lld", (long long)r->start, (long long)r->stop);
    if (r->step != 1)
        n += snprintf(buf + n, sizeof buf - (size_t)n, ", %lld", (long long)r->step);
    snprintf(buf + n, sizeof buf - (size_t)n, ")");
    sr_tbuf_z(b, buf);
}

static void put(sr_tbuf *b, sr_tval v, bool ascii);

static void put_items(sr_tbuf *b, const sr_tseq *l, char open, char shut, bool ascii)
{
    sr_tbuf_char(b, open);
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            sr_tbuf_z(b, ", ");
        put(b, l->p[i], ascii);
    }
    if (open == '(' && l->n == 1)
        sr_tbuf_char(b, ',');
    sr_tbuf_char(b, shut);
}

static void put_dict(sr_tbuf *b, const sr_tdict *d, bool ascii)
{
    sr_tbuf_char(b, '{');
    for (size_t i = 0; i < d->n; i++) {
        if (i)
            sr_tbuf_z(b, ", ");
        put(b, d->e[i].key, ascii);
        sr_tbuf_z(b, ": ");
        put(b, d->e[i].val, ascii);
    }
    sr_tbuf_char(b, '}');
}

static void put_view(sr_tbuf *b, sr_tval v, bool ascii)
{
    sr_tbuf_z(b, sr_tpl_typename(v));
    sr_tbuf_z(b, "([");
    for (size_t i = 0; i < v.d->n; i++) {
        const sr_tentry *e = &v.d->e[i];
        if (i)
            sr_tbuf_z(b, ", ");
        if (v.sub == SR_TVIEW_ITEMS)
            put(b, sr_tpl_pair(b->R, e->key, e->val), ascii);
        else
            put(b, v.sub == SR_TVIEW_KEYS ? e->key : e->val, ascii);
    }
    sr_tbuf_z(b, "])");
}

static void put_object(sr_tbuf *b, sr_tval v, bool ascii)
{
    sr_tval name;
    switch (v.kind) {
    case SR_T_NS:
        sr_tbuf_z(b, "<Namespace ");
        put_dict(b, v.d, ascii);
        sr_tbuf_char(b, '>');
        return;
    case SR_T_MACRO:
        sr_tbuf_z(b, "<Macro ");
        name = (sr_tval){.kind = SR_T_STR, .s = v.m->def->name};
        if (v.m->def->name)
            put_str_repr(b, name.s, ascii);
        else
            sr_tbuf_z(b, "anonymous");
        sr_tbuf_char(b, '>');
        return;
    case SR_T_LOOP:
        sr_tbuf_z(b, "<LoopContext ");
        put_int(b, v.lp->index0 + 1);
        sr_tbuf_char(b, '/');
        put_int(b, sr_tloop_length(b->R, v.lp));
        sr_tbuf_char(b, '>');
        return;
    case SR_T_FUNC:
        if (v.fn->class_name) {
            sr_tbuf_z(b, "<class '");
            sr_tbuf_z(b, v.fn->class_name);
            sr_tbuf_z(b, "'>");
            return;
        }
        break;
    default:
        break;
    }
    /* Python prints the object's address: a template that shows one is wrong, and no two runs agree */
    sr_tpl_fail(b->R, SR_UNSUPPORTED, "printing a %s object", sr_tpl_typename(v));
}

static void put(sr_tbuf *b, sr_tval v, bool ascii)
{
    sr_tpl_charge(b->R, 1);
    sr_tpl_enter(b->R);
    switch (v.kind) {
    case SR_T_MISSING:
        sr_tbuf_z(b, "missing");
        break;
    case SR_T_UNDEF:
        sr_tbuf_z(b, "Undefined");
        break;
    case SR_T_NONE:
        sr_tbuf_z(b, "None");
        break;
    case SR_T_BOOL:
        sr_tbuf_z(b, v.b ? "True" : "False");
        break;
    case SR_T_INT:
        put_int(b, v.i);
        break;
    case SR_T_FLOAT:
        sr_tpl_put_float(b, v.f);
        break;
    case SR_T_STR:
        put_str_repr(b, v.s, ascii);
        break;
    case SR_T_LIST:
        put_items(b, v.l, '[', ']', ascii);
        break;
    case SR_T_TUPLE:
        put_items(b, v.l, '(', ')', ascii);
        break;
    case SR_T_DICT:
        put_dict(b, v.d, ascii);
        break;
    case SR_T_RANGE:
        put_range(b, v.r);
        break;
    case SR_T_VIEW:
        put_view(b, v, ascii);
        break;
    default:
        put_object(b, v, ascii);
        break;
    }
    sr_tpl_leave(b->R);
}

void sr_tpl_put_repr(sr_tbuf *b, sr_tval v) { put(b, v, false); }
void sr_tpl_put_ascii(sr_tbuf *b, sr_tval v) { put(b, v, true); }

void sr_tpl_put_str(sr_tbuf *b, sr_tval v)
{
    if (v.kind == SR_T_STR)
        sr_tbuf_add(b, v.s->p, v.s->n);
    else if (v.kind != SR_T_UNDEF)
        put(b, v, false);
}

sr_tval sr_tpl_to_str(sr_trun *R, sr_tval v)
{
    if (v.kind == SR_T_STR)
        return sr_tpl_markup(R, v, false);
    sr_tbuf b = {.R = R};
    sr_tpl_put_str(&b, v);
    return sr_tbuf_str(&b);
}

sr_tval sr_tpl_soft_str(sr_trun *R, sr_tval v) { return v.kind == SR_T_STR ? v : sr_tpl_to_str(R, v); }
