#include "text/template_eval.h"
#include "text/template_text.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { STEPS = 1000000, OUTPUT = 8 << 20, CALLS = 200, MEMORY = 128 << 20 };

/* ---- compiling ---- */

void sr_tpl_cfail(sr_tcomp *c, sr_status s, uint32_t line, const char *fmt, ...)
{
    char msg[400];
    int n = line ? snprintf(msg, sizeof msg, "line %u: ", line) : 0;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg + n, sizeof msg - (size_t)n, fmt, ap);
    va_end(ap);
    msg[sr_tpl_utf8_bad(msg, strlen(msg))] = 0;
    sr_raise(c->err, s, "%s", msg);
    longjmp(c->fail, 1);
}

void *sr_tpl_calloc(sr_tcomp *c, size_t n, size_t size)
{
    void *p = sr_arena_zalloc(c->arena, n, size);
    if (!p && c->arena->used > SR_TPL_MEMORY / 2)
        sr_tpl_cfail(c, SR_INVALID, 0, "template too complex: more than %d MiB to compile it",
                     SR_TPL_MEMORY >> 20);
    if (!p)
        sr_tpl_cfail(c, SR_NOMEM, 0, "host: %zu bytes while compiling a template", n * size);
    return p;
}

static void grow_atoms(sr_tcomp *c)
{
    size_t cap  = c->cap_atoms ? c->cap_atoms * 2 : 256;
    sr_tstr **p = sr_tpl_calloc(c, cap, sizeof *p);
    for (size_t i = 0; i < c->cap_atoms; i++) {
        if (!c->atoms[i])
            continue;
        size_t at = c->atoms[i]->hash & (cap - 1);
        while (p[at])
            at = (at + 1) & (cap - 1);
        p[at] = c->atoms[i];
    }
    c->atoms     = p;
    c->cap_atoms = cap;
}

sr_tstr *sr_tpl_atom(sr_tcomp *c, const char *p, size_t n)
{
    uint64_t hash = sr_tpl_hash_bytes(p, n);
    if (c->n_atoms * 2 >= c->cap_atoms)
        grow_atoms(c);
    size_t at = hash & (c->cap_atoms - 1);
    for (; c->atoms[at]; at = (at + 1) & (c->cap_atoms - 1)) {
        sr_tstr *s = c->atoms[at];
        sr_tpl_work(c, 1, 0);
        if (s->hash == hash && s->n == n && !memcmp(s->p, p, n))
            return s;
    }
    sr_tstr *s   = sr_tpl_calloc(c, 1, sizeof *s);
    *s           = (sr_tstr){.p = p, .n = n, .len = sr_tpl_count(p, n), .hash = hash};
    c->atoms[at] = s;
    c->n_atoms++;
    return s;
}

sr_status sr_template_compile(const char *src, size_t n, sr_template **out, sr_err *err)
{
    sr_template *t = sr_calloc(1, sizeof *t);
    sr_tcomp c     = {.arena = t ? &t->arena : NULL, .err = err};
    if (!t)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a template", sizeof *t);
    t->arena.limit = SR_TPL_MEMORY;
    if (setjmp(c.fail)) {
        sr_template_close(t);
        return err->status;
    }
    if (n > SR_TPL_SOURCE)
        sr_tpl_cfail(&c, SR_INVALID, 0, "a template of %zu bytes, more than %d", n, SR_TPL_SOURCE);
    if (sr_tpl_utf8_bad(src, n) != n)
        sr_tpl_cfail(&c, SR_INVALID, 0, "the template is not UTF-8 at byte %zu", sr_tpl_utf8_bad(src, n));
    t->body = sr_tpl_parse(&c, src, n);
    sr_tpl_scope(&c, t);
    *out = t;
    return SR_OK;
}

void sr_template_close(sr_template *t)
{
    if (t) {
        sr_arena_end(&t->arena);
        sr_free(t);
    }
}

/* ---- rendering ---- */

sr_status sr_template_render(const sr_template *t, const json_t *vars, int64_t now,
                             const sr_template_limits *limits, sr_buf *out, sr_err *err)
{
    sr_template_limits l = limits ? *limits : (sr_template_limits){0};
    sr_trun R            = {.tpl = t, .vars = vars, .now = now, .err = err, .result = out, .kept = out->n};
    if (!json_is_object(vars))
        return sr_raise(err, SR_INVALID, "the variables of a template must be a JSON object");
    R.arena.limit = MEMORY;
    R.max_steps   = l.steps ? l.steps : STEPS;
    R.max_out     = l.output ? l.output : OUTPUT;
    R.max_calls   = (uint32_t)SR_MIN(l.depth ? l.depth : (uint64_t)CALLS, (uint64_t)SR_TPL_NEST);
    if (setjmp(R.fail)) {
        sr_arena_end(&R.arena);
        if (out->p && out->n > R.kept) { /* a failed render leaves nothing */
            out->n         = R.kept;
            out->p[out->n] = 0;
        }
        return err->status;
    }
    R.cache = sr_tpl_dict(&R, 16).d;
    sr_tpl_run(&R);
    sr_arena_end(&R.arena);
    return SR_OK;
}
