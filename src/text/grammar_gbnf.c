/* grammar_gbnf.c - llama.cpp's GBNF.
 *
 *     root  ::= item ("," " "? item)*     # a comment
 *     item  ::= "a" | [b-dx] | [^\n]{2,4} | .
 *
 * A rule ends at a line end outside parentheses, unless | comes before it. */
#include "base/buf.h"
#include "text/grammar_build.h"

typedef struct {
    sr_gbuild  *b;
    const char *text, *p, *end;
    unsigned    depth;
    bool        failed;
} parser;

static sr_gx wrong(parser *q, sr_status s, const char *what)
{
    char place[48];
    if (!q->failed)
        (void)!sr_raise(q->b->err, s, "grammar, %s: %s", sr_g_place(place, q->text, q->p), what);
    q->failed = true;
    return 0;
}

static bool at(const parser *q, char c) { return q->p < q->end && *q->p == c; }
static bool word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_'; }

static void space(parser *q, bool lines)
{
    while (q->p < q->end) {
        if (*q->p == '#')
            while (q->p < q->end && *q->p != '\n' && *q->p != '\r')
                q->p++;
        else if (*q->p == ' ' || *q->p == '\t' || (lines && (*q->p == '\n' || *q->p == '\r')))
            q->p++;
        else
            break;
    }
}

static int digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

static bool hex(parser *q, int n, uint32_t *c)
{
    *c = 0;
    for (int i = 0; i < n; i++, q->p++) {
        int d = q->p < q->end ? digit(*q->p) : -1;
        if (d < 0)
            return wrong(q, SR_INVALID, "a hexadecimal digit is missing");
        *c = *c << 4 | (uint32_t)d;
    }
    if (*c > SR_G_MAX_CP || (*c >= 0xd800 && *c <= 0xdfff))
        return wrong(q, SR_INVALID, "no code point");
    return true;
}

/* One character of a literal or a class, escapes resolved. */
static bool character(parser *q, uint32_t *c)
{
    if (!at(q, '\\')) {
        *c = sr_g_decode(&q->p, q->end);
        return *c != UINT32_MAX || wrong(q, SR_INVALID, q->p < q->end ? "not UTF-8" : "ends inside a literal or class");
    }
    char e = q->p + 1 < q->end ? q->p[1] : 0;
    q->p += 2;
    switch (e) {
    case 'x': return hex(q, 2, c);
    case 'u': return hex(q, 4, c);
    case 'U': return hex(q, 8, c);
    case 'n': *c = '\n'; return true;
    case 'r': *c = '\r'; return true;
    case 't': *c = '\t'; return true;
    case '\\': case '"': case '[': case ']': case '-': case '^': *c = (uint32_t)e; return true;
    default: q->p -= 2; return wrong(q, SR_INVALID, "unknown escape");
    }
}

static sr_gx literal(parser *q)
{
    sr_buf   bytes = {0};
    uint32_t c;
    char     u[4];
    q->p++;
    while (!at(q, '"') && character(q, &c))
        sr_buf_add(&bytes, u, sr_g_encode(c, u));
    sr_gx x = 0;
    if (!q->failed) {
        q->p++;
        x = bytes.failed ? sr_gb_nomem(q->b) : sr_gb_lit(q->b, bytes.p, bytes.n);
    }
    sr_buf_end(&bytes);
    return x;
}

static sr_gx class_of(parser *q)
{
    sr_cpset s = {0};
    q->p++;
    bool not = at(q, '^');
    q->p += not;
    while (!at(q, ']') && !q->failed) {
        uint32_t lo, hi;
        if (!character(q, &lo))
            break;
        hi = lo;
        if (at(q, '-') && q->p + 1 < q->end && q->p[1] != ']') {
            q->p++;
            if (!character(q, &hi))
                break;
            if (hi < lo)
                wrong(q, SR_INVALID, "a range that ends before it begins");
        }
        sr_cpset_add(&s, lo, hi);
    }
    q->p += !q->failed;
    if (not)
        sr_cpset_invert(&s);
    else
        sr_cpset_tidy(&s);
    sr_gx x = q->failed ? 0 : s.failed ? sr_gb_nomem(q->b) : sr_gb_class(q->b, s.p, s.n);
    sr_cpset_end(&s);
    return x;
}

static sr_gx alternatives(parser *q, bool nested);

static sr_gx group(parser *q)
{
    if (++q->depth > SR_G_MAX_NEST)
        return wrong(q, SR_INVALID, "parentheses nested more than 64 deep");
    q->p++;
    space(q, true);
    sr_gx x = alternatives(q, true);
    if (x && !at(q, ')'))
        x = wrong(q, SR_INVALID, "a ) is missing");
    q->p += x != 0;
    q->depth--;
    return x;
}

static sr_gx name(parser *q)
{
    const char *from = q->p;
    while (q->p < q->end && word(*q->p))
        q->p++;
    uint32_t r = sr_gb_rule(q->b, from, (size_t)(q->p - from));
    return r == UINT32_MAX ? 0 : sr_gb_ref(q->b, r);
}

static sr_gx atom(parser *q)
{
    switch (*q->p) {
    case '"': return literal(q);
    case '[': return class_of(q);
    case '(': return group(q);
    case '.': q->p++; return sr_gb_class(q->b, (sr_cprange[]){{0, 0xd7ff}, {0xe000, SR_G_MAX_CP}}, 2);
    case '<': case '!': return wrong(q, SR_UNSUPPORTED, "tokens as symbols (<...>) are not supported");
    default: return word(*q->p) ? name(q) : wrong(q, SR_INVALID, "a literal, a class, a rule or ( was expected");
    }
}

static bool number(parser *q, uint32_t *n)
{
    uint64_t v = 0;
    if (q->p >= q->end || *q->p < '0' || *q->p > '9')
        return wrong(q, SR_INVALID, "a number is missing");
    for (; q->p < q->end && *q->p >= '0' && *q->p <= '9' && v <= SR_G_MAX_REP; q->p++)
        v = v * 10 + (uint64_t)(*q->p - '0');
    if (v > SR_G_MAX_REP)
        return wrong(q, SR_INVALID, "more than 65535 repetitions");
    *n = (uint32_t)v;
    return true;
}

static sr_gx counted(parser *q, sr_gx x)
{
    uint32_t min, max;
    q->p++;
    space(q, true);
    if (!number(q, &min))
        return 0;
    max = min;
    space(q, true);
    if (at(q, ',')) {
        q->p++;
        space(q, true);
        max = SR_G_NOMAX;
        if (!at(q, '}') && !number(q, &max))
            return 0;
        space(q, true);
    }
    if (!at(q, '}'))
        return wrong(q, SR_INVALID, "a } is missing");
    q->p++;
    return sr_gb_rep(q->b, x, min, max);
}

static sr_gx repeated(parser *q, sr_gx x, bool nested)
{
    for (space(q, nested); x && q->p < q->end; space(q, nested)) {
        if (*q->p == '{') {
            x = counted(q, x);
            continue;
        }
        if (*q->p != '*' && *q->p != '+' && *q->p != '?')
            break;
        x = sr_gb_rep(q->b, x, *q->p == '+', *q->p == '?' ? 1 : SR_G_NOMAX);
        q->p++;
    }
    return x;
}

typedef struct { sr_gx *p; uint32_t n; sr_buf mem; } list;

static void put(list *l, sr_gx x)
{
    sr_buf_add(&l->mem, &x, sizeof x);
    l->p = (sr_gx *)(void *)l->mem.p;
    l->n++;
}

static sr_gx sequence(parser *q, bool nested)
{
    list  l = {0};
    sr_gx x = 1;
    while (!q->failed && q->p < q->end && *q->p != '|' && *q->p != ')' && *q->p != '\n' && *q->p != '\r') {
        x = repeated(q, atom(q), nested);
        if (!x)
            break;
        put(&l, x);
        space(q, nested);
    }
    x = !x || q->failed ? 0 : l.mem.failed ? sr_gb_nomem(q->b) : sr_gb_seq(q->b, l.p, l.n);
    sr_buf_end(&l.mem);
    return x;
}

static sr_gx alternatives(parser *q, bool nested)
{
    list  l = {0};
    sr_gx x = sequence(q, nested);
    put(&l, x);
    while (x && at(q, '|')) {
        q->p++;
        space(q, true);
        x = sequence(q, nested);
        put(&l, x);
    }
    x = !x ? 0 : l.mem.failed ? sr_gb_nomem(q->b) : sr_gb_alt(q->b, l.p, l.n);
    sr_buf_end(&l.mem);
    return x;
}

static bool rule(parser *q)
{
    const char *from = q->p;
    while (q->p < q->end && word(*q->p))
        q->p++;
    size_t n = (size_t)(q->p - from);
    if (n == 0)
        return wrong(q, SR_INVALID, "a rule's name was expected");
    space(q, false);
    if (q->end - q->p < 3 || q->p[0] != ':' || q->p[1] != ':' || q->p[2] != '=')
        return wrong(q, SR_INVALID, "::= was expected");
    q->p += 3;
    space(q, true);
    sr_gx    x = alternatives(q, false);
    uint32_t r = x ? sr_gb_rule(q->b, from, n) : UINT32_MAX;
    if (r == UINT32_MAX)
        return false;
    if (q->p < q->end && *q->p != '\n' && *q->p != '\r')
        return wrong(q, SR_INVALID, "a line end was expected");
    if (!sr_gb_define(q->b, r, x)) {
        q->p = from;
        return wrong(q, SR_INVALID, "a rule of this name is there already");
    }
    return true;
}

sr_gx sr_gb_gbnf(sr_gbuild *b, const char *text, size_t n)
{
    parser   q    = {.b = b, .text = text, .p = text, .end = text + n};
    uint32_t root = sr_gb_rule(b, "root", 4);
    for (space(&q, true); q.p < q.end; space(&q, true))
        if (!rule(&q))
            return 0;
    if (root != UINT32_MAX && !b->rule[root].body) {
        (void)!sr_raise(b->err, SR_INVALID, "grammar: there is no rule \"root\"");
        return 0;
    }
    return root == UINT32_MAX ? 0 : sr_gb_ref(b, root);
}
