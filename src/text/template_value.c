#include "text/template_value.h"
#include "text/template_text.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- failure and budget ---- */

/* Keeps a message a valid string of UTF-8 when it was cut to fit. */
static void fail_message(sr_trun *R, sr_status s, const char *msg)
{
    char buf[400];
    size_t n = SR_MIN(strlen(msg), sizeof buf - 1);
    memcpy(buf, msg, n);
    buf[sr_tpl_utf8_bad(buf, n)] = 0;
    sr_raise(R->err, s, "%s", buf);
    longjmp(R->fail, 1);
}

void sr_tpl_fail(sr_trun *R, sr_status s, const char *fmt, ...)
{
    char msg[400];
    int n = snprintf(msg, sizeof msg, "line %u: ", R->line);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg + n, sizeof msg - (size_t)n, fmt, ap);
    va_end(ap);
    fail_message(R, s, msg);
    __builtin_unreachable();
}

void sr_tpl_fail_raised(sr_trun *R, const char *p, size_t n)
{
    char msg[400];
    n = SR_MIN(n, sizeof msg - 1);
    memcpy(msg, p, n);
    msg[n] = 0;
    fail_message(R, SR_INVALID, msg);
    __builtin_unreachable();
}

void sr_tpl_fail_limit(sr_trun *R)
{
    sr_tpl_fail(R, SR_INVALID, "template needs more than %llu steps", (unsigned long long)R->max_steps);
}

void sr_tpl_fail_nest(sr_trun *R)
{
    sr_tpl_fail(R, SR_INVALID, "evaluation nested deeper than %d", SR_TPL_NEST);
}

void *sr_tpl_alloc(sr_trun *R, size_t bytes)
{
    void *p = sr_arena_alloc(&R->arena, bytes);
    if (!p &&
        SR_MAX(bytes, (size_t)1 << 20) > R->arena.limit - R->arena.used) /* arenas grow by up to 1 MiB */
        sr_tpl_fail(R, SR_INVALID, "template needs more than %zu MiB of memory", R->arena.limit >> 20);
    if (!p)
        sr_tpl_fail(R, SR_NOMEM, "host: %zu bytes while rendering a template", bytes);
    return p;
}

/* ---- text under construction ---- */

/* A block that strings share: the one that ends at `used` may be appended to in place. */
struct sr_tblob {
    size_t used, cap;
    char data[];
};

static char *room(sr_tbuf *b, size_t n)
{
    size_t need;
    if (!sr_add_size(b->n, n, &need))
        sr_tpl_fail(b->R, SR_INVALID, "string too long");
    if (need > b->cap) {
        size_t cap = SR_MAX(need, b->cap * 2);
        cap        = SR_MAX(cap, 64);
        char *p    = sr_tpl_alloc(b->R, cap);
        if (b->n)
            memcpy(p, b->p, b->n);
        sr_tpl_bytes(b->R, b->n);
        b->p   = p;
        b->cap = cap;
    }
    return b->p + b->n;
}

void sr_tbuf_add(sr_tbuf *b, const char *p, size_t n)
{
    if (!n)
        return;
    memcpy(room(b, n), p, n);
    b->n += n;
    sr_tpl_bytes(b->R, n);
}

void sr_tbuf_z(sr_tbuf *b, const char *s) { sr_tbuf_add(b, s, strlen(s)); }

void sr_tbuf_char(sr_tbuf *b, char c)
{
    *room(b, 1) = c;
    b->n++;
}

void sr_tbuf_cp(sr_tbuf *b, uint32_t cp) { b->n += sr_tpl_put_cp(room(b, 4), cp); }

void sr_tbuf_pad(sr_tbuf *b, const char *fill, size_t n_fill, uint64_t times)
{
    size_t bytes;
    if (!sr_mul_size(n_fill, times, &bytes) || bytes > b->R->arena.limit)
        sr_tpl_fail(b->R, SR_INVALID, "a string of %llu times %zu bytes is past the memory limit",
                    (unsigned long long)times, n_fill);
    if (!bytes)
        return;
    sr_tpl_bytes(b->R, bytes);
    char *d = room(b, bytes);
    memcpy(d, fill, n_fill);
    for (size_t done = n_fill; done < bytes; done *= 2) /* what is there doubles */
        memcpy(d + done, d, SR_MIN(done, bytes - done));
    b->n += bytes;
}

sr_tval sr_tbuf_str(sr_tbuf *b) { return sr_tpl_str(b->R, b->n ? b->p : "", b->n); }

void sr_tpl_out(sr_trun *R, const char *p, size_t n)
{
    if (R->out) {
        sr_tbuf_add(R->out, p, n);
        return;
    }
    if (n > R->max_out - (R->result->n - R->kept))
        sr_tpl_fail(R, SR_INVALID, "output longer than %llu bytes", (unsigned long long)R->max_out);
    if (!sr_buf_add(R->result, p, n))
        sr_tpl_fail(R, SR_NOMEM, "host: no room for %zu bytes of a rendered template", R->result->n + n);
    sr_tpl_bytes(R, n);
}

/* ---- strings ---- */

static sr_tval new_str(sr_trun *R, const char *p, size_t n, bool markup)
{
    sr_tstr *s = sr_tpl_alloc(R, sizeof *s);
    *s         = (sr_tstr){.p = p, .n = n, .len = n ? SIZE_MAX : 0, .markup = markup};
    return (sr_tval){.kind = SR_T_STR, .s = s};
}

sr_tval sr_tpl_str(sr_trun *R, const char *p, size_t n) { return new_str(R, p, n, false); }
sr_tval sr_tpl_strz(sr_trun *R, const char *lit) { return new_str(R, lit, strlen(lit), false); }

sr_tval sr_tpl_substr(sr_trun *R, const sr_tstr *s, size_t at, size_t n)
{
    sr_tval v = new_str(R, s->p + at, n, s->markup);
    if (s->len == s->n)
        v.s->len = n; /* part of ASCII is ASCII */
    return v;
}

sr_tval sr_tpl_markup(sr_trun *R, sr_tval str, bool markup)
{
    if (str.s->markup == markup)
        return str;
    sr_tval v = new_str(R, str.s->p, str.s->n, markup);
    v.s->len  = str.s->len;
    return v;
}

/* The string a with n more bytes behind it, for the caller to fill in; *room points there.  In place where a
 * is the end of a block with room: building a prompt piece by piece stays linear. */
sr_tval sr_tpl_extend(sr_trun *R, const sr_tstr *a, size_t n, char **room)
{
    sr_tblob *t = a->tail;
    size_t total;
    if (!sr_add_size(a->n, n, &total) || total > R->arena.limit)
        sr_tpl_fail(R, SR_INVALID, "a string of more than %zu MiB", R->arena.limit >> 20);
    bool grows = t && a->p + a->n == t->data + t->used;
    if (!grows || t->cap - t->used < n) {
        size_t cap  = grows ? total * 2 : total;
        sr_tblob *q = sr_tpl_alloc(R, sizeof *q + cap);
        *q          = (sr_tblob){.used = a->n, .cap = cap};
        if (a->n)
            memcpy(q->data, a->p, a->n);
        sr_tpl_bytes(R, a->n);
        t = q;
    }
    char *start = t->data + t->used - a->n;
    *room       = t->data + t->used;
    t->used += n;
    sr_tpl_bytes(R, n);
    sr_tval v = new_str(R, start, total, false);
    v.s->tail = t;
    return v;
}

sr_tval sr_tpl_append(sr_trun *R, const sr_tstr *a, const char *p, size_t n)
{
    char *room;
    sr_tval v = sr_tpl_extend(R, a, n, &room);
    if (n)
        memcpy(room, p, n);
    return v;
}

size_t sr_tpl_cps(sr_trun *R, sr_tstr *s)
{
    if (s->len == SIZE_MAX) {
        s->len = sr_tpl_count(s->p, s->n);
        sr_tpl_bytes(R, s->n);
    }
    return s->len;
}

bool sr_tpl_streq(const sr_tstr *s, const char *lit)
{
    size_t n = strlen(lit);
    return s->n == n && !memcmp(s->p, lit, n);
}

int sr_tpl_cmp_str(const sr_tstr *a, const sr_tstr *b) /* UTF-8 bytes order as code points do */
{
    size_t n = SR_MIN(a->n, b->n);
    int c    = n ? memcmp(a->p, b->p, n) : 0;
    return c ? c : (a->n > b->n) - (a->n < b->n);
}

/* ---- undefined ---- */

sr_tval sr_tpl_undef(sr_trun *R, const char *hint)
{
    sr_tundef *u = sr_tpl_alloc(R, sizeof *u);
    *u           = (sr_tundef){.hint = hint};
    return (sr_tval){.kind = SR_T_UNDEF, .u = u};
}

sr_tval sr_tpl_undef_name(sr_trun *R, sr_tval obj, sr_tval name)
{
    sr_tundef *u = sr_tpl_alloc(R, sizeof *u);
    *u           = (sr_tundef){.obj = obj, .name = name};
    return (sr_tval){.kind = SR_T_UNDEF, .u = u};
}

void sr_tpl_fail_undef(sr_trun *R, sr_tval v)
{
    const sr_tundef *u = v.u;
    char name[100];
    if (!u)
        sr_tpl_fail(R, SR_INVALID, "a value is undefined");
    if (u->hint)
        sr_tpl_fail(R, SR_INVALID, "%s", u->hint);
    sr_tbuf b = {.R = R};
    sr_tpl_put_repr(&b, u->name);
    snprintf(name, sizeof name, "%.*s", (int)SR_MIN(b.n, sizeof name - 1), b.n ? b.p : "");
    name[sr_tpl_utf8_bad(name, strlen(name))] = 0;
    if (u->unsafe)
        sr_tpl_fail(R, SR_INVALID, "access to attribute %s of '%s' object is unsafe", name,
                    sr_tpl_typename(u->obj));
    if (u->obj.kind == SR_T_MISSING)
        sr_tpl_fail(R, SR_INVALID, "%s is undefined", name);
    const char *type = sr_tpl_typename(u->obj), *object = u->obj.kind == SR_T_NONE ? "" : " object";
    if (u->obj.kind == SR_T_NONE)
        type = "None";
    if (u->name.kind != SR_T_STR)
        sr_tpl_fail(R, SR_INVALID, "%s%s has no element %s", type, object, name);
    sr_tpl_fail(R, SR_INVALID, "'%s%s' has no attribute %s", type, object, name);
}

/* ---- lists and dicts ---- */

sr_tval sr_tpl_seq(sr_trun *R, sr_tkind kind, size_t cap)
{
    sr_tseq *l = sr_tpl_alloc(R, sizeof *l);
    size_t bytes;
    *l = (sr_tseq){.cap = cap};
    if (cap) {
        if (!sr_mul_size(cap, sizeof *l->p, &bytes))
            sr_tpl_fail(R, SR_INVALID, "list too long");
        l->p = sr_tpl_alloc(R, bytes);
    }
    return (sr_tval){.kind = kind, .l = l};
}

void sr_tpl_push(sr_trun *R, sr_tseq *l, sr_tval v)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 8;
        sr_tval *p = sr_tpl_alloc(R, cap * sizeof *p);
        if (l->n)
            memcpy(p, l->p, l->n * sizeof *p);
        l->p   = p;
        l->cap = cap;
        sr_tpl_bytes(R, l->n * sizeof *p);
    }
    l->p[l->n++] = v;
}

sr_tval sr_tpl_pair(sr_trun *R, sr_tval a, sr_tval b)
{
    sr_tval t = sr_tpl_seq(R, SR_T_TUPLE, 2);
    t.l->p[0] = a;
    t.l->p[1] = b;
    t.l->n    = 2;
    return t;
}

sr_tval sr_tpl_dict(sr_trun *R, size_t cap)
{
    sr_tdict *d = sr_tpl_alloc(R, sizeof *d);
    *d          = (sr_tdict){.cap = cap};
    if (cap)
        d->e = sr_tpl_alloc(R, cap * sizeof *d->e);
    return (sr_tval){.kind = SR_T_DICT, .d = d};
}

enum { INDEX_FROM = 9 }; /* entries from which a table beats comparing them all */

static void index_put(sr_trun *R, sr_tdict *d, size_t i)
{
    size_t at = d->e[i].hash & d->mask;
    while (d->index[at]) {
        at = (at + 1) & d->mask;
        sr_tpl_charge(R, 1); /* keys made to collide cost their sender steps */
    }
    d->index[at] = (uint32_t)i + 1;
}

static void reindex(sr_trun *R, sr_tdict *d)
{
    size_t slots = 32;
    while (slots < d->cap * 2)
        slots *= 2;
    d->index = sr_tpl_alloc(R, slots * sizeof *d->index);
    d->mask  = slots - 1;
    memset(d->index, 0, slots * sizeof *d->index);
    for (size_t i = 0; i < d->n; i++)
        index_put(R, d, i);
}

static bool key_eq(sr_trun *R, sr_tval a, sr_tval b)
{
    if (a.kind == SR_T_STR && b.kind == SR_T_STR)
        return a.s == b.s || (a.s->n == b.s->n && !memcmp(a.s->p, b.s->p, a.s->n));
    return sr_tpl_eq(R, a, b);
}

static sr_tentry *lookup(sr_trun *R, const sr_tdict *d, sr_tval key, uint64_t *hash)
{
    bool str = key.kind == SR_T_STR;
    *hash    = str && !d->index && d->cap < INDEX_FROM ? 0 : sr_tpl_hash(R, key);
    if (!d->index) {
        for (size_t i = 0; i < d->n; i++)
            if (key_eq(R, d->e[i].key, key))
                return &d->e[i];
        return NULL;
    }
    for (size_t at = *hash & d->mask; d->index[at]; at = (at + 1) & d->mask) {
        sr_tentry *e = &d->e[d->index[at] - 1];
        sr_tpl_charge(R, 1);
        if (e->hash == *hash && key_eq(R, e->key, key))
            return e;
    }
    return NULL;
}

void sr_tpl_dict_set(sr_trun *R, sr_tdict *d, sr_tval key, sr_tval val)
{
    uint64_t hash;
    sr_tentry *e = lookup(R, d, key, &hash);
    if (e) {
        e->val = val;
        return;
    }
    if (d->n >= UINT32_MAX / 2)
        sr_tpl_fail(R, SR_INVALID, "dict too large");
    if (d->n == d->cap) {
        size_t cap   = d->cap ? d->cap * 2 : 4;
        sr_tentry *p = sr_tpl_alloc(R, cap * sizeof *p);
        if (d->n)
            memcpy(p, d->e, d->n * sizeof *p);
        d->e   = p;
        d->cap = cap;
        if (cap >= INDEX_FROM) {
            hash = sr_tpl_hash(R, key);
            for (size_t i = 0; i < d->n; i++)
                d->e[i].hash = sr_tpl_hash(R, d->e[i].key);
            reindex(R, d);
        }
    } else if (!d->index && d->cap >= INDEX_FROM) {
        reindex(R, d);
    }
    d->e[d->n++] = (sr_tentry){key, val, hash};
    if (d->index)
        index_put(R, d, d->n - 1);
}

const sr_tval *sr_tpl_dict_get(sr_trun *R, const sr_tdict *d, sr_tval key)
{
    uint64_t hash;
    sr_tentry *e = lookup(R, d, key, &hash);
    return e ? &e->val : NULL;
}
