/* grammar_schema.c - a subset of JSON Schema (2020-12, and what draft 7 writes differently), all of it enforced.
 *
 * A schema object is read twice: first every keyword is looked up (unknown: refused, with its pointer), then the
 * one that decides is followed: $ref, const, enum, anyOf/oneOf, allOf, else the types.  A $ref becomes a call of a rule
 * that is compiled after the schema at hand, from a list, so that recursion in the schema is none here. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "text/grammar_build.h"

typedef struct path { const struct path *up; const char *key; size_t index; } path; /* key NULL: an index */
typedef struct { char *pointer; json_t *schema; uint32_t rule; } pending;
typedef struct {
    sr_gbuild *b;
    json_t    *root;
    pending   *todo; uint32_t n_todo, cap_todo;
    const char *base;  /* pointer of what is being compiled */
    unsigned   depth;
} reader;

enum { NULL_T = 1, BOOL_T = 2, INT_T = 4, NUM_T = 8, STR_T = 16, ARR_T = 32, OBJ_T = 64, ALL_T = 127 };

/* ---- messages ------------------------------------------------------------------------------------------------- */

static void spell(const path *p, sr_buf *out)
{
    if (!p)
        return;
    spell(p->up, out);
    if (!p->key) {
        sr_buf_fmt(out, "/%zu", p->index);
        return;
    }
    sr_buf_char(out, '/');
    for (const char *k = p->key; *k; k++) {
        if (*k == '~' || *k == '/')
            sr_buf_str(out, *k == '~' ? "~0" : "~1");
        else
            sr_buf_char(out, *k);
    }
}

static sr_gx wrong(const reader *q, const path *at, sr_status s, const char *key, const char *what)
{
    char   shown[160];
    sr_buf b = {0};
    sr_buf_str(&b, q->base);
    spell(at, &b);
    if (key)
        sr_buf_fmt(&b, "/%s", key);
    (void)!sr_raise(q->b->err, s, "JSON schema, %s: %s", sr_escape(shown, sizeof shown, b.p ? b.p : "", b.n), what);
    sr_buf_end(&b);
    return 0;
}

/* Says where something that has failed already was. */
static sr_gx within(const reader *q, const path *at, const char *key)
{
    char   shown[160];
    sr_buf b = {0};
    sr_buf_str(&b, q->base);
    spell(at, &b);
    (void)!sr_while(q->b->err, "reading %s/%s of a JSON schema", sr_escape(shown, sizeof shown, b.p ? b.p : "", b.n), key);
    sr_buf_end(&b);
    return 0;
}

/* ---- lists of expressions ------------------------------------------------------------------------------------- */

static void put(sr_buf *l, sr_gx x) { sr_buf_add(l, &x, sizeof x); }
static sr_gx end_list(sr_gbuild *b, sr_buf *l, sr_gx (*join)(sr_gbuild *, const sr_gx *, uint32_t))
{
    sr_gx x = l->failed ? sr_gb_nomem(b) : join(b, (const sr_gx *)(const void *)l->p, (uint32_t)(l->n / sizeof x));
    sr_buf_end(l);
    return x;
}

static sr_gx read_schema(reader *q, json_t *s, const path *at);

/* ---- keywords ------------------------------------------------------------------------------------------------- */

static bool one_of(const char *k, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(k, *list) == 0)
            return true;
    return false;
}

static const char *const NOTES[] = {"title", "description", "default", "examples", "example", "$schema", "$id", "id", "$comment", "deprecated",
                                    "readOnly", "writeOnly", "$defs", "definitions", "$anchor", "contentMediaType", "contentEncoding",
                                    "discriminator", NULL}; /* which of its oneOf an object is, for who reads it */
static const char *const KNOWN[] = {"type", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems",
                                    "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "minLength", "maxLength", "pattern", "format",
                                    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "nullable", NULL};

/* Every keyword is known; beside `alone` (when there is one) stand only notes and nullable. */
static bool check_keys(const reader *q, json_t *s, const char *alone, const path *at)
{
    const char *k;
    json_t     *v;
    json_object_foreach(s, k, v) {
        (void)v;
        if (one_of(k, NOTES) || strncmp(k, "x-", 2) == 0)
            continue;
        if (!one_of(k, KNOWN))
            return wrong(q, at, SR_UNSUPPORTED, k, "this keyword is not supported");
        if (alone && strcmp(k, alone) != 0 && strcmp(k, "nullable") != 0) {
            char what[80];
            snprintf(what, sizeof what, "not supported beside %s", alone);
            return wrong(q, at, SR_UNSUPPORTED, k, what);
        }
    }
    return true;
}

static bool count_of(const reader *q, json_t *s, const char *key, uint32_t none, uint32_t *out, const path *at)
{
    json_t *v = json_object_get(s, key);
    *out      = none;
    if (!v)
        return true;
    double n = json_number_value(v);
    if (!json_is_number(v) || n < 0 || n != floor(n))
        return wrong(q, at, SR_INVALID, key, "not a whole number from 0 on");
    if (n > SR_G_MAX_REP)
        return wrong(q, at, SR_UNSUPPORTED, key, "more than 65535");
    *out = (uint32_t)n;
    return true;
}

static unsigned type_named(const char *t)
{
    static const struct { const char *name; unsigned bit; } types[] = {
        {"null", NULL_T}, {"boolean", BOOL_T}, {"integer", INT_T}, {"number", NUM_T}, {"string", STR_T}, {"array", ARR_T}, {"object", OBJ_T}};
    for (size_t i = 0; t && i < SR_COUNT(types); i++)
        if (strcmp(t, types[i].name) == 0)
            return types[i].bit;
    return 0;
}

/* The types a schema allows; 0: wrong, said.  Without `type` the other keywords tell; nothing at all: ALL_T. */
static unsigned types_of(const reader *q, json_t *s, const path *at)
{
    static const struct { const char *key; unsigned bit; } tells[] = {
        {"properties", OBJ_T}, {"required", OBJ_T}, {"additionalProperties", OBJ_T}, {"items", ARR_T}, {"prefixItems", ARR_T}, {"minItems", ARR_T},
        {"maxItems", ARR_T}, {"minLength", STR_T}, {"maxLength", STR_T}, {"pattern", STR_T}, {"format", STR_T}, {"minimum", NUM_T}, {"maximum", NUM_T},
        {"exclusiveMinimum", NUM_T}, {"exclusiveMaximum", NUM_T}};
    json_t  *t = json_object_get(s, "type"), *v;
    unsigned m = 0;
    size_t   i;
    if (!t) {
        for (i = 0; i < SR_COUNT(tells); i++)
            m |= json_object_get(s, tells[i].key) ? tells[i].bit : 0;
        return m ? m : ALL_T;
    }
    if (json_is_string(t))
        m = type_named(json_string_value(t));
    json_array_foreach(t, i, v) {
        unsigned bit = type_named(json_string_value(v));
        if (!bit) {
            m = 0;
            break;
        }
        m |= bit;
    }
    return m ? m : wrong(q, at, SR_INVALID, "type", "not one of null, boolean, integer, number, string, array, object, nor a list of them");
}

/* ---- strings and numbers -------------------------------------------------------------------------------------- */

static sr_gx read_string(reader *q, json_t *s, const path *at)
{
    json_t  *pattern = json_object_get(s, "pattern"), *format = json_object_get(s, "format");
    uint32_t min, max;
    if (!count_of(q, s, "minLength", 0, &min, at) || !count_of(q, s, "maxLength", SR_G_NOMAX, &max, at))
        return 0;
    if (max < min)
        return wrong(q, at, SR_INVALID, "maxLength", "less than minLength");
    if ((pattern || format) && (min > !pattern || max != SR_G_NOMAX)) /* no text of a format is empty */
        return wrong(q, at, SR_UNSUPPORTED, pattern ? "pattern" : "format", "not supported together with minLength or maxLength");
    if (pattern) {
        if (!json_is_string(pattern))
            return wrong(q, at, SR_INVALID, "pattern", "not a string");
        sr_gx x = sr_gb_regex(q->b, json_string_value(pattern), json_string_length(pattern), true, true);
        return x ? sr_gj_quoted(q->b, x) : within(q, at, "pattern");
    }
    if (format) { /* beside a pattern it is a note, as the standard has it: generators write both for one thing */
        sr_gx x = json_is_string(format) ? sr_gj_format(q->b, json_string_value(format)) : 0;
        return x || q->b->err->status ? x : wrong(q, at, SR_UNSUPPORTED, "format", "not one of date, time, date-time, duration, uuid, email, hostname, ipv4, ipv6, uri");
    }
    return sr_gj_string(q->b, min, max);
}

typedef struct { int64_t v; bool given, open; } bound; /* open: exclusive */

static bool read_bound(const reader *q, json_t *s, const char *key, bool open, bound *out, const path *at)
{
    json_t *v = json_object_get(s, key);
    if (!v)
        return true;
    if (!json_is_number(v))
        return wrong(q, at, SR_INVALID, key, "not a number");
    double d = json_number_value(v);
    if (!json_is_integer(v) && (d != floor(d) || fabs(d) > 1e15))
        return wrong(q, at, SR_UNSUPPORTED, key, "only whole numbers are supported as bounds");
    if (out->given)
        return wrong(q, at, SR_UNSUPPORTED, key, "an inclusive and an exclusive bound together are not supported");
    *out = (bound){json_is_integer(v) ? json_integer_value(v) : (int64_t)d, true, open};
    return true;
}

static sr_gx read_integer(reader *q, const path *at, bound lo, bound hi)
{
    if (lo.given && lo.open && lo.v == INT64_MAX)
        return wrong(q, at, SR_INVALID, "exclusiveMinimum", "no integer is larger");
    if (hi.given && hi.open && hi.v == INT64_MIN)
        return wrong(q, at, SR_INVALID, "exclusiveMaximum", "no integer is smaller");
    int64_t a = lo.v + (lo.given && lo.open), z = hi.v - (hi.given && hi.open);
    if (lo.given && hi.given && a > z)
        return wrong(q, at, SR_INVALID, NULL, "no integer lies between the bounds");
    return sr_gj_integer(q->b, lo.given ? &a : NULL, hi.given ? &z : NULL);
}

/* Numbers without a sign from lo to hi (whole): a whole part with any fraction, and the ends themselves. */
static sr_gx magnitudes(sr_gbuild *b, int64_t lo, bool lo_open, int64_t hi, bool hi_open)
{
    const sr_cprange nine = {'0', '9'}, some = {'1', '9'};
    int64_t below = hi - 1, first = lo_open ? lo + 1 : lo;
    sr_gx    dot = sr_gb_str(b, "."), x[3];
    uint32_t k   = 0;
    if (first <= below)
        x[k++] = SR_GB_SEQ(b, sr_gj_integer(b, &first, &below), sr_gb_rep(b, SR_GB_SEQ(b, dot, sr_gb_rep(b, sr_gb_class(b, &nine, 1), 1, 16)), 0, 1));
    if (lo_open && lo < hi)
        x[k++] = SR_GB_SEQ(b, sr_gj_integer(b, &lo, &lo), dot, sr_gb_rep(b, sr_gb_class(b, &nine, 1), 0, 15), sr_gb_class(b, &some, 1));
    if (!hi_open && (hi > lo || !lo_open))
        x[k++] = SR_GB_SEQ(b, sr_gj_integer(b, &hi, &hi), sr_gb_rep(b, SR_GB_SEQ(b, dot, sr_gb_rep(b, sr_gb_str(b, "0"), 1, 16)), 0, 1));
    return k ? sr_gb_alt(b, x, k) : 0;
}

static sr_gx read_number(reader *q, const path *at, bound lo, bound hi)
{
    enum { SIDES = 2 };
    const int64_t big = 999999999999999;
    sr_gx    x[SIDES];
    uint32_t k = 0;
    if (!lo.given && !hi.given)
        return sr_gj_number(q->b);
    if (llabs(lo.v) > big || llabs(hi.v) > big)
        return wrong(q, at, SR_UNSUPPORTED, NULL, "bounds of a number beyond 999999999999999");
    int64_t a = lo.given ? lo.v : -big, z = hi.given ? hi.v : big;
    if (z >= 0 && !(z == 0 && hi.open)) {
        sr_gx pos = magnitudes(q->b, a > 0 ? a : 0, a >= 0 && lo.open, z, hi.open);
        if (pos)
            x[k++] = pos;
    }
    if (a < 0) { /* 0 is written without a sign */
        sr_gx neg = magnitudes(q->b, z < 0 ? -z : 0, z < 0 ? hi.open : true, -a, lo.open);
        if (neg)
            x[k++] = SR_GB_SEQ(q->b, sr_gb_str(q->b, "-"), neg);
    }
    return k ? sr_gb_alt(q->b, x, k) : q->b->err->status ? 0 : wrong(q, at, SR_INVALID, NULL, "no number lies between the bounds");
}

static sr_gx read_numeric(reader *q, json_t *s, bool whole, const path *at)
{
    bound lo = {0}, hi = {0};
    if (!read_bound(q, s, "minimum", false, &lo, at) || !read_bound(q, s, "exclusiveMinimum", true, &lo, at) ||
        !read_bound(q, s, "maximum", false, &hi, at) || !read_bound(q, s, "exclusiveMaximum", true, &hi, at))
        return 0;
    return whole ? read_integer(q, at, lo, hi) : read_number(q, at, lo, hi);
}

/* ---- arrays --------------------------------------------------------------------------------------------------- */

/* [first, second, ...] then items; min: at least so many (without minItems all of the prefix). */
static sr_gx tuple(reader *q, json_t *prefix, sr_gx rest, uint32_t min, uint32_t max, const path *at)
{
    size_t   n = json_array_size(prefix);
    uint32_t total = (uint32_t)SR_MIN(n, (size_t)max);
    sr_gx    tail  = rest && max > n ? sr_gb_rep(q->b, SR_GB_SEQ(q->b, sr_gj_comma(q->b), rest), min > n ? min - (uint32_t)n : 0,
                                                 max == SR_G_NOMAX ? max : max - (uint32_t)n)
                                     : sr_gb_empty(q->b);
    path up = {at, "prefixItems", 0};
    for (uint32_t i = total; i-- > 0 && tail;) {
        path  here = {&up, NULL, i};
        sr_gx x    = read_schema(q, json_array_get(prefix, i), &here);
        tail       = SR_GB_SEQ(q->b, i ? sr_gj_comma(q->b) : sr_gb_empty(q->b), x, tail);
        if (i >= min && i)
            tail = sr_gb_rep(q->b, tail, 0, 1);
    }
    sr_gx full = SR_GB_SEQ(q->b, sr_gb_str(q->b, "["), sr_gj_space(q->b), tail, sr_gj_space(q->b), sr_gb_str(q->b, "]"));
    return min ? full : SR_GB_ALT(q->b, full, sr_gb_str(q->b, "[]"));
}

static sr_gx read_array(reader *q, json_t *s, const path *at)
{
    json_t  *items = json_object_get(s, "items"), *prefix = json_object_get(s, "prefixItems");
    uint32_t min, max;
    path     here = {at, "items", 0};
    if (!prefix && json_is_array(items)) { /* draft 7 */
        prefix = items;
        items  = NULL;
    }
    uint32_t n = (uint32_t)json_array_size(prefix);
    if (prefix && (!json_is_array(prefix) || !n))
        return wrong(q, at, SR_INVALID, "prefixItems", "not a list with something in it");
    if (!count_of(q, s, "minItems", n, &min, at) || !count_of(q, s, "maxItems", SR_G_NOMAX, &max, at))
        return 0;
    bool none = json_is_false(items) || (prefix && !items);
    if (prefix && !json_object_get(s, "minItems"))
        min = SR_MIN(min, max);
    if (max < min || (none && min > n))
        return wrong(q, at, SR_INVALID, "minItems", "more than there may be");
    if (max == 0 || (none && !prefix))
        return sr_gb_str(q->b, "[]");
    sr_gx item = none ? 0 : items ? read_schema(q, items, &here) : sr_gj_value(q->b);
    if (!none && !item)
        return 0;
    return prefix ? tuple(q, prefix, item, min, max, at) : sr_gj_array(q->b, item, min, max);
}

/* ---- objects -------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Key characters other than those of the names that share a prefix of `skip` bytes: sorted names[0 .. n).
 * A name's characters are compared as written in the only spelling that keys have here: no \u for what needs none. */
static sr_gx other_key(sr_gbuild *b, const char *const *name, size_t n, size_t skip, unsigned depth)
{
    static const sr_cprange all[] = {{0, 0xd7ff}, {0xe000, SR_G_MAX_CP}};
    sr_buf   ways = {0};
    sr_cpset left = {0};
    bool     ends = false;
    if (depth > 250) {
        (void)!sr_raise(b->err, SR_UNSUPPORTED, "property names of more than 250 characters beside additionalProperties");
        return 0;
    }
    for (size_t i = 0; i < n;) {
        const char *p = name[i] + skip;
        if (!*p) {
            ends = true;
            i++;
            continue;
        }
        uint32_t c = sr_g_decode(&p, p + strlen(p));
        size_t   k = (size_t)(p - name[i]), z = i + 1;
        while (z < n && strncmp(name[z], name[i], k) == 0)
            z++;
        sr_cprange one = {c, c};
        sr_cpset_add(&left, c, c);
        put(&ways, SR_GB_SEQ(b, sr_gj_class(b, &one, 1), other_key(b, name + i, z - i, k, depth + 1)));
        i = z;
    }
    sr_cpset_invert(&left);
    put(&ways, left.failed ? sr_gb_nomem(b) : SR_GB_SEQ(b, sr_gj_class(b, left.p, left.n), sr_gb_rep(b, sr_gj_class(b, all, 2), 0, SR_G_NOMAX)));
    sr_cpset_end(&left);
    if (!ends)
        put(&ways, sr_gb_empty(b));
    return end_list(b, &ways, sr_gb_alt);
}

static sr_gx key_of(reader *q, const char *key)
{
    json_t *k = json_string(key);
    sr_gx   x = k ? sr_gj_constant(q->b, k) : sr_gb_nomem(q->b);
    json_decref(k);
    return x;
}

/* A member that none of the properties describes, or 0 without an error: there is none. */
static sr_gx extra_member(reader *q, json_t *s, json_t *props, const path *at, bool *none)
{
    json_t     *more = json_object_get(s, "additionalProperties");
    size_t      n = 0, all = json_object_size(props);
    const char *key;
    json_t     *v;
    path        here = {at, "additionalProperties", 0};
    *none = more ? json_is_false(more) : all > 0;
    if (*none)
        return 0;
    sr_gx value = more ? read_schema(q, more, &here) : sr_gj_value(q->b);
    if (!value)
        return 0;
    if (all == 0)
        return SR_GB_SEQ(q->b, sr_gj_string(q->b, 0, SR_G_NOMAX), sr_gj_colon(q->b), value);
    const char **name = sr_malloc(all * sizeof *name);
    if (!name)
        return sr_gb_nomem(q->b);
    json_object_foreach(props, key, v) {
        (void)v;
        name[n++] = key;
    }
    qsort(name, n, sizeof *name, by_name);
    sr_gx other = sr_gj_quoted(q->b, other_key(q->b, name, n, 0, 0));
    sr_free((void *)(uintptr_t)name);
    return SR_GB_SEQ(q->b, other, sr_gj_colon(q->b), value);
}

static bool is_required(json_t *required, const char *key)
{
    size_t  i;
    json_t *v;
    json_array_foreach(required, i, v)
        if (json_is_string(v) && strcmp(json_string_value(v), key) == 0)
            return true;
    return false;
}

static bool check_required(const reader *q, json_t *required, json_t *props, const path *at)
{
    size_t  i;
    json_t *v;
    if (required && !json_is_array(required))
        return wrong(q, at, SR_INVALID, "required", "not a list");
    json_array_foreach(required, i, v) {
        if (!json_is_string(v))
            return wrong(q, at, SR_INVALID, "required", "not a list of names");
        if (!json_object_get(props, json_string_value(v)))
            return wrong(q, at, SR_UNSUPPORTED, "required", "a name that is not among properties");
    }
    return true;
}

typedef struct { sr_gx x; bool required; } member;

/* Members from i on.  After a first one each brings its comma; before it, the first present brings none.  The tails are rules,
 * because each is the continuation of several beginnings. */
static sr_gx members(sr_gbuild *b, const member *m, size_t n, sr_gx extra)
{
    sr_gx  tail  = extra ? sr_gb_rep(b, SR_GB_SEQ(b, sr_gj_comma(b), extra), 0, SR_G_NOMAX) : sr_gb_empty(b), first;
    sr_buf begin = {0}; /* ways to begin, none of them empty */
    bool   must  = false;
    if (extra)
        put(&begin, SR_GB_SEQ(b, extra, tail));
    for (size_t i = n; i-- > 0;) {
        uint32_t r    = sr_gb_rule(b, NULL, 0);
        sr_gx    rest = r != UINT32_MAX && sr_gb_define(b, r, tail) ? sr_gb_ref(b, r) : 0, more = SR_GB_SEQ(b, sr_gj_comma(b), m[i].x);
        if (m[i].required)
            begin.n = 0; /* what comes later cannot come first */
        put(&begin, SR_GB_SEQ(b, m[i].x, rest));
        tail = SR_GB_SEQ(b, m[i].required ? more : sr_gb_rep(b, more, 0, 1), rest);
        must |= m[i].required;
    }
    if (!begin.n && !begin.failed)
        return sr_gb_str(b, "{}");
    first      = end_list(b, &begin, sr_gb_alt);
    sr_gx full = SR_GB_SEQ(b, sr_gb_str(b, "{"), sr_gj_space(b), first, sr_gj_space(b), sr_gb_str(b, "}"));
    return must ? full : SR_GB_ALT(b, full, sr_gb_str(b, "{}"));
}

static sr_gx read_object(reader *q, json_t *s, const path *at)
{
    json_t     *props = json_object_get(s, "properties"), *required = json_object_get(s, "required"), *v;
    const char *key;
    size_t      n = 0, all = json_object_size(props);
    bool        none;
    path        up = {at, "properties", 0};
    if (props && !json_is_object(props))
        return wrong(q, at, SR_INVALID, "properties", "not an object");
    if (!check_required(q, required, props, at))
        return 0;
    if (!all && !json_object_get(s, "additionalProperties"))
        return props ? sr_gb_str(q->b, "{}") : sr_gj_object(q->b);
    sr_gx extra = extra_member(q, s, props, at, &none);
    if (!none && !extra)
        return 0;
    member *m = sr_malloc((all + 1) * sizeof *m);
    if (!m)
        return sr_gb_nomem(q->b);
    sr_gx x = 1;
    json_object_foreach(props, key, v) {
        path  here  = {&up, key, 0};
        sr_gx value = x ? read_schema(q, v, &here) : 0;
        x           = SR_GB_SEQ(q->b, key_of(q, key), sr_gj_colon(q->b), value);
        m[n++]      = (member){x, is_required(required, key)};
        if (!x)
            break;
    }
    x = x ? members(q->b, m, n, extra) : 0;
    sr_free(m);
    return x;
}

/* ---- references ----------------------------------------------------------------------------------------------- */

static int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1; }

/* The next segment of a pointer in a URI, with ~0 ~1 and %HH resolved; *p moves behind it. */
static void segment(const char **p, sr_buf *out)
{
    for (; **p && **p != '/'; ++*p) {
        char c = **p;
        if (c == '%' && hex_digit((*p)[1]) >= 0 && hex_digit((*p)[2]) >= 0) {
            c = (char)(hex_digit((*p)[1]) << 4 | hex_digit((*p)[2]));
            *p += 2;
        } else if (c == '~' && ((*p)[1] == '0' || (*p)[1] == '1')) {
            c = (*p)[1] == '0' ? '~' : '/';
            ++*p;
        }
        sr_buf_char(out, c);
    }
}

static json_t *find(json_t *root, const char *pointer)
{
    json_t *v = root;
    while (v && *pointer == '/') {
        sr_buf name = {0};
        pointer++;
        sr_buf_char(&name, '"');
        segment(&pointer, &name);
        const char *n = name.p ? name.p + 1 : "";
        char       *end;
        if (json_is_array(v))
            v = *n >= '0' && *n <= '9' ? json_array_get(v, (size_t)strtoul(n, &end, 10)) : NULL;
        else
            v = json_object_get(v, n);
        sr_buf_end(&name);
    }
    return v;
}

static sr_gx read_ref(reader *q, json_t *ref, const path *at)
{
    const char *p = json_string_value(ref);
    if (!p)
        return wrong(q, at, SR_INVALID, "$ref", "not a string");
    if (p[0] != '#' || (p[1] && p[1] != '/'))
        return wrong(q, at, SR_UNSUPPORTED, "$ref", "only references into the schema itself (#/...) are supported");
    uint32_t before = q->b->n_rule, r = sr_gb_rule(q->b, p, strlen(p));
    if (r == UINT32_MAX)
        return 0;
    if (q->b->n_rule > before) {
        json_t *target = find(q->root, p + 1);
        if (!target)
            return wrong(q, at, SR_INVALID, "$ref", "leads nowhere");
        if (q->n_todo == q->cap_todo) {
            uint32_t cap  = q->cap_todo ? q->cap_todo * 2 : 16;
            pending *todo = sr_realloc(q->todo, cap * sizeof *todo);
            if (!todo)
                return sr_gb_nomem(q->b);
            q->todo     = todo;
            q->cap_todo = cap;
        }
        char *copy = sr_strdup(p);
        if (!copy)
            return sr_gb_nomem(q->b);
        q->todo[q->n_todo++] = (pending){copy, target, r};
    }
    return sr_gb_ref(q->b, r);
}

/* ---- a schema ------------------------------------------------------------------------------------------------- */

static sr_gx read_any_of(reader *q, json_t *list, const char *key, const path *at)
{
    sr_buf  l = {0};
    size_t  i;
    json_t *v;
    path    up = {at, key, 0};
    if (!json_is_array(list) || !json_array_size(list))
        return wrong(q, at, SR_INVALID, key, "not a list with something in it");
    if (strcmp(key, "allOf") == 0 && json_array_size(list) > 1)
        return wrong(q, at, SR_UNSUPPORTED, key, "only a list of one schema is supported");
    json_array_foreach(list, i, v) {
        path  here = {&up, NULL, i};
        sr_gx x    = read_schema(q, v, &here);
        put(&l, x);
        if (!x)
            break;
    }
    return end_list(q->b, &l, sr_gb_alt);
}

static unsigned type_of(json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return OBJ_T;
    case JSON_ARRAY: return ARR_T;
    case JSON_STRING: return STR_T;
    case JSON_INTEGER: return INT_T | NUM_T;
    case JSON_REAL: return NUM_T;
    case JSON_NULL: return NULL_T;
    default: return BOOL_T;
    }
}

static sr_gx read_enum(reader *q, json_t *s, const char *key, const path *at)
{
    sr_buf   l     = {0};
    json_t  *list  = json_object_get(s, key), *v = list;
    unsigned types = json_object_get(s, "type") ? types_of(q, s, at) : ALL_T;
    bool     many  = strcmp(key, "enum") == 0;
    size_t   i, n = many ? json_array_size(list) : 1;
    const char *k;
    json_t     *other;
    if (!types)
        return 0;
    if (many && (!json_is_array(list) || !n))
        return wrong(q, at, SR_INVALID, key, "not a list with something in it");
    json_object_foreach(s, k, other)
        if (strcmp(k, key) && strcmp(k, "type") && strcmp(k, "nullable") && !one_of(k, NOTES))
            return wrong(q, at, SR_UNSUPPORTED, k, many ? "not supported beside enum" : "not supported beside const");
    for (i = 0; i < n; i++) {
        v = many ? json_array_get(list, i) : list;
        if (type_of(v) & types)
            put(&l, sr_gj_constant(q->b, v));
    }
    if (!l.n && !l.failed)
        return wrong(q, at, SR_INVALID, key, "holds nothing of the type asked for");
    return end_list(q->b, &l, sr_gb_alt);
}

static sr_gx read_types(reader *q, json_t *s, const path *at)
{
    unsigned m = types_of(q, s, at);
    sr_buf   l = {0};
    if (!m)
        return 0;
    if (m == ALL_T && !json_object_get(s, "type"))
        return sr_gj_value(q->b);
    if (m & OBJ_T)
        put(&l, read_object(q, s, at));
    if (m & ARR_T)
        put(&l, read_array(q, s, at));
    if (m & STR_T)
        put(&l, read_string(q, s, at));
    if (m & NUM_T)
        put(&l, read_numeric(q, s, false, at));
    else if (m & INT_T)
        put(&l, read_numeric(q, s, true, at));
    if (m & BOOL_T)
        put(&l, SR_GB_ALT(q->b, sr_gb_str(q->b, "true"), sr_gb_str(q->b, "false")));
    if (m & NULL_T)
        put(&l, sr_gb_str(q->b, "null"));
    return end_list(q->b, &l, sr_gb_alt);
}

static sr_gx read_keys(reader *q, json_t *s, const path *at)
{
    static const char *const deciders[] = {"$ref", "anyOf", "oneOf", "allOf", NULL};
    if (!check_keys(q, s, NULL, at))
        return 0;
    for (const char *const *d = deciders; *d; d++) {
        json_t *v = json_object_get(s, *d);
        if (v)
            return !check_keys(q, s, *d, at) ? 0 : d == deciders ? read_ref(q, v, at) : read_any_of(q, v, *d, at);
    }
    if (json_object_get(s, "const"))
        return read_enum(q, s, "const", at);
    if (json_object_get(s, "enum"))
        return read_enum(q, s, "enum", at);
    return read_types(q, s, at);
}

static sr_gx read_schema(reader *q, json_t *s, const path *at)
{
    if (json_is_true(s))
        return sr_gj_value(q->b);
    if (json_is_false(s))
        return wrong(q, at, SR_UNSUPPORTED, NULL, "false allows nothing");
    if (!json_is_object(s))
        return wrong(q, at, SR_INVALID, NULL, "not a schema: an object, true or false");
    if (q->depth >= SR_G_MAX_NEST)
        return wrong(q, at, SR_INVALID, NULL, "nested more than 64 deep");
    q->depth++;
    sr_gx   x        = read_keys(q, s, at);
    json_t *nullable = json_object_get(s, "nullable");
    q->depth--;
    if (nullable && !json_is_boolean(nullable))
        return wrong(q, at, SR_INVALID, "nullable", "not true or false");
    return x && json_is_true(nullable) ? SR_GB_ALT(q->b, x, sr_gb_str(q->b, "null")) : x;
}

sr_gx sr_gb_schema_text(sr_gbuild *b, const char *text, size_t n)
{
    json_error_t e;
    json_t      *root = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    reader       q    = {.b = b, .root = root, .base = "#"};
    if (!root) {
        (void)!sr_raise(b->err, SR_INVALID, "JSON schema, line %d, column %d: %s", e.line, e.column, e.text);
        return 0;
    }
    sr_gx x = read_schema(&q, root, NULL);
    for (uint32_t i = 0; x && i < q.n_todo; i++) {
        q.base   = q.todo[i].pointer;
        sr_gx r  = read_schema(&q, q.todo[i].schema, NULL);
        if (!r || !sr_gb_define(b, q.todo[i].rule, r))
            x = 0;
    }
    for (uint32_t i = 0; i < q.n_todo; i++)
        sr_free(q.todo[i].pointer);
    sr_free(q.todo);
    json_decref(root);
    return x;
}
