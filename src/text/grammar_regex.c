/* grammar_regex.c - regular expressions, ECMA 262's way of writing them, as JSON Schema wants. */
#include <string.h>

#include "base/buf.h"
#include "text/grammar_build.h"

typedef struct {
    sr_gbuild  *b;
    const char *text, *p, *end;
    unsigned    depth;
    bool        json, search, failed;
} parser;

static sr_gx wrong(parser *q, sr_status s, const char *what)
{
    if (!q->failed)
        (void)!sr_raise(q->b->err, s, "regular expression, column %zu: %s", (size_t)(q->p - q->text) + 1, what);
    q->failed = true;
    return 0;
}

static bool at(const parser *q, char c) { return q->p < q->end && *q->p == c; }
static bool ahead(const parser *q, const char *s)
{
    size_t n = strlen(s);
    return (size_t)(q->end - q->p) >= n && memcmp(q->p, s, n) == 0;
}

static sr_gx class_of(parser *q, sr_cpset *s, bool invert)
{
    if (invert)
        sr_cpset_invert(s);
    else
        sr_cpset_tidy(s);
    sr_gx x = q->failed ? 0 : s->failed ? sr_gb_nomem(q->b) : q->json ? sr_gj_class(q->b, s->p, s->n) : sr_gb_class(q->b, s->p, s->n);
    sr_cpset_end(s);
    return x;
}

static sr_gx any(parser *q)
{
    return q->json ? sr_gj_char(q->b) : sr_gb_class(q->b, (sr_cprange[]){{0, 0xd7ff}, {0xe000, SR_G_MAX_CP}}, 2);
}

static bool hex(parser *q, int n, uint32_t *c)
{
    *c = 0;
    for (int i = 0; i < n; i++, q->p++) {
        char d = q->p < q->end ? *q->p : 0;
        if (!((d >= '0' && d <= '9') || ((d | 32) >= 'a' && (d | 32) <= 'f')))
            return wrong(q, SR_INVALID, "a hexadecimal digit is missing");
        *c = *c << 4 | (uint32_t)(d <= '9' ? d - '0' : (d | 32) - 'a' + 10);
    }
    return true;
}

static bool braced(parser *q, uint32_t *c)
{
    *c = 0;
    for (q->p++; !at(q, '}');) {
        uint32_t d;
        if (!hex(q, 1, &d))
            return false;
        *c = *c << 4 | d;
        if (*c > SR_G_MAX_CP)
            return wrong(q, SR_INVALID, "no code point");
    }
    q->p++;
    return true;
}

/* \uHHHH, a pair of them for what lies beyond U+FFFF, or \u{H..}. */
static bool unicode(parser *q, uint32_t *c)
{
    uint32_t low;
    if (at(q, '{'))
        return braced(q, c);
    if (!hex(q, 4, c))
        return false;
    if (*c >= 0xd800 && *c < 0xdc00 && ahead(q, "\\u")) {
        q->p += 2;
        if (!hex(q, 4, &low))
            return false;
        if (low < 0xdc00 || low > 0xdfff)
            return wrong(q, SR_INVALID, "half of a surrogate pair");
        *c = 0x10000 + ((*c - 0xd800) << 10) + (low - 0xdc00);
    }
    return (*c < 0xd800 || *c > 0xdfff) || wrong(q, SR_INVALID, "half of a surrogate pair");
}

static void put(sr_cpset *s, const sr_cprange *r, uint32_t n, bool invert)
{
    sr_cpset t = {0};
    for (uint32_t i = 0; i < n; i++)
        sr_cpset_add(&t, r[i].lo, r[i].hi);
    if (invert)
        sr_cpset_invert(&t);
    for (uint32_t i = 0; i < t.n; i++)
        sr_cpset_add(s, t.p[i].lo, t.p[i].hi);
    s->failed |= t.failed;
    sr_cpset_end(&t);
}

/* \d \w \s and their opposites into s; false: e is none of them. */
static bool shorthand(char e, sr_cpset *s)
{
    static const sr_cprange digits[] = {{'0', '9'}}, words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
                            blanks[] = {{9, 13}, {' ', ' '}, {0xa0, 0xa0}, {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029},
                                        {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};
    switch (e) {
    case 'd': case 'D': put(s, digits, 1, e == 'D'); return true;
    case 'w': case 'W': put(s, words, 4, e == 'W'); return true;
    case 's': case 'S': put(s, blanks, 10, e == 'S'); return true;
    default: return false;
    }
}

/* Behind a backslash: one character. */
static bool escaped(parser *q, uint32_t *c)
{
    char e = q->p < q->end ? *q->p++ : 0;
    switch (e) {
    case 'n': *c = '\n'; return true;
    case 'r': *c = '\r'; return true;
    case 't': *c = '\t'; return true;
    case 'f': *c = '\f'; return true;
    case 'v': *c = '\v'; return true;
    case 'x': return hex(q, 2, c);
    case 'u': return unicode(q, c);
    case '0':
        *c = 0;
        return !(q->p < q->end && *q->p >= '0' && *q->p <= '9') || wrong(q, SR_UNSUPPORTED, "octal escapes");
    default: break;
    }
    if (e && strchr("^$\\.*+?()[]{}|/-,\"'#&~@!%:;<=>_` ", e) != NULL) {
        *c = (uint32_t)e;
        return true;
    }
    q->p -= e != 0;
    if (e >= '1' && e <= '9')
        return wrong(q, SR_UNSUPPORTED, "back references are not supported");
    if (e == 'b' || e == 'B')
        return wrong(q, SR_UNSUPPORTED, "word boundaries (\\b, \\B) are not supported");
    if (e == 'p' || e == 'P')
        return wrong(q, SR_UNSUPPORTED, "Unicode properties (\\p) are not supported");
    return wrong(q, SR_INVALID, e ? "unknown escape" : "ends with a backslash");
}

/* A member of a class: one character in *c, or a shorthand put into s (*c = UINT32_MAX). */
static bool member(parser *q, sr_cpset *s, uint32_t *c)
{
    if (at(q, '\\')) {
        q->p++;
        if (at(q, 'b')) {
            q->p++;
            *c = '\b';
            return true;
        }
        if (q->p < q->end && shorthand(*q->p, s)) {
            q->p++;
            *c = UINT32_MAX;
            return true;
        }
        return escaped(q, c);
    }
    *c = sr_g_decode(&q->p, q->end);
    return *c != UINT32_MAX || wrong(q, SR_INVALID, q->p < q->end ? "not UTF-8" : "a ] is missing");
}

static sr_gx bracket(parser *q)
{
    sr_cpset s = {0};
    q->p++;
    bool not = at(q, '^');
    q->p += not;
    while (!q->failed && !at(q, ']')) {
        uint32_t lo, hi;
        if (!member(q, &s, &lo))
            break;
        if (!at(q, '-') || q->p + 1 >= q->end || q->p[1] == ']') {
            if (lo != UINT32_MAX)
                sr_cpset_add(&s, lo, lo);
            continue;
        }
        q->p++;
        if (!member(q, &s, &hi))
            break;
        if (lo == UINT32_MAX || hi == UINT32_MAX || hi < lo)
            wrong(q, SR_INVALID, "a range without two ends in order");
        sr_cpset_add(&s, lo, hi);
    }
    q->p += !q->failed;
    return class_of(q, &s, not);
}

static sr_gx alternatives(parser *q);

static sr_gx group(parser *q)
{
    q->p++;
    if (at(q, '?')) {
        if (ahead(q, "?:")) {
            q->p += 2;
        } else if (ahead(q, "?<") && !ahead(q, "?<=") && !ahead(q, "?<!")) {
            while (q->p < q->end && *q->p != '>')
                q->p++;
            q->p += q->p < q->end;
        } else {
            return wrong(q, SR_UNSUPPORTED, "look-around and inline flags (?...) are not supported");
        }
    }
    if (++q->depth > SR_G_MAX_NEST)
        return wrong(q, SR_INVALID, "groups nested more than 64 deep");
    sr_gx x = alternatives(q);
    q->depth--;
    if (!q->failed && !at(q, ')'))
        return wrong(q, SR_INVALID, "a ) is missing");
    q->p++;
    return x;
}

static sr_gx one(parser *q, uint32_t c)
{
    sr_cprange r = {c, c};
    return q->json ? sr_gj_class(q->b, &r, 1) : sr_gb_class(q->b, &r, 1);
}

static sr_gx atom(parser *q)
{
    sr_cpset s = {0};
    uint32_t c;
    switch (*q->p) {
    case '(': return group(q);
    case '[': return bracket(q);
    case '*': case '+': case '?': return wrong(q, SR_INVALID, "nothing to repeat");
    case '^': return wrong(q, SR_UNSUPPORTED, "^ elsewhere than at the beginning is not supported");
    case '$': return wrong(q, SR_UNSUPPORTED, "$ elsewhere than at the end is not supported");
    case '.':
        q->p++;
        sr_cpset_add(&s, '\n', '\n');
        sr_cpset_add(&s, '\r', '\r');
        sr_cpset_add(&s, 0x2028, 0x2029);
        return class_of(q, &s, true);
    case '\\':
        q->p++;
        if (q->p < q->end && shorthand(*q->p, &s)) {
            q->p++;
            return class_of(q, &s, false);
        }
        return escaped(q, &c) ? one(q, c) : 0;
    default:
        c = sr_g_decode(&q->p, q->end);
        return c == UINT32_MAX ? wrong(q, SR_INVALID, "not UTF-8") : one(q, c);
    }
}

/* {m} {m,} {m,n} at p; false and nothing read: an ordinary brace. */
static bool counts(parser *q, uint32_t *min, uint32_t *max)
{
    const char *p = q->p + 1;
    uint64_t    v[2] = {0, 0};
    int         k = 0, digits[2] = {0, 0};
    for (; p < q->end && *p != '}'; p++) {
        if (*p == ',' && k == 0)
            k = 1;
        else if (*p >= '0' && *p <= '9')
            v[k] = digits[k]++ < 9 ? v[k] * 10 + (uint64_t)(*p - '0') : SR_G_NOMAX - 1; /* too many, whatever follows */
        else
            return false;
    }
    if (p >= q->end || !digits[0])
        return false;
    q->p = p + 1;
    *min = (uint32_t)v[0];
    *max = k == 0 ? *min : digits[1] ? (uint32_t)v[1] : SR_G_NOMAX;
    return true;
}

static sr_gx repeated(parser *q, sr_gx x)
{
    uint32_t min = 1, max = 1, more;
    if (q->p >= q->end || q->failed)
        return x;
    if (*q->p == '{') {
        if (!counts(q, &min, &max))
            return x;
    } else if (*q->p == '*' || *q->p == '+' || *q->p == '?') {
        min = *q->p == '+';
        max = *q->p == '?' ? 1 : SR_G_NOMAX;
        q->p++;
    } else {
        return x;
    }
    if (at(q, '?'))
        q->p++; /* lazy: the same texts */
    if (at(q, '*') || at(q, '+') || at(q, '?') || (q->p < q->end && *q->p == '{' && counts(q, &more, &more)))
        return wrong(q, SR_UNSUPPORTED, "possessive and doubled repetitions are not supported");
    return sr_gb_rep(q->b, x, min, max);
}

static sr_gx sequence(parser *q)
{
    sr_buf l   = {0};
    bool   top = q->depth == 0, from = false, to = false;
    if (top && at(q, '^')) {
        from = true;
        q->p++;
    }
    sr_gx x = top && q->search && !from ? sr_gb_rep(q->b, any(q), 0, SR_G_NOMAX) : sr_gb_empty(q->b);
    sr_buf_add(&l, &x, sizeof x);
    while (!q->failed && q->p < q->end && *q->p != '|' && *q->p != ')') {
        if (top && *q->p == '$' && (q->p + 1 == q->end || q->p[1] == '|')) {
            to = true;
            q->p++;
            break;
        }
        x = repeated(q, atom(q));
        sr_buf_add(&l, &x, sizeof x);
    }
    if (top && q->search && !to) {
        x = sr_gb_rep(q->b, any(q), 0, SR_G_NOMAX);
        sr_buf_add(&l, &x, sizeof x);
    }
    x = q->failed ? 0 : l.failed ? sr_gb_nomem(q->b) : sr_gb_seq(q->b, (sr_gx *)(void *)l.p, (uint32_t)(l.n / sizeof x));
    sr_buf_end(&l);
    return x;
}

static sr_gx alternatives(parser *q)
{
    sr_buf l = {0};
    sr_gx  x = sequence(q);
    sr_buf_add(&l, &x, sizeof x);
    while (!q->failed && at(q, '|')) {
        q->p++;
        x = sequence(q);
        sr_buf_add(&l, &x, sizeof x);
    }
    x = q->failed ? 0 : l.failed ? sr_gb_nomem(q->b) : sr_gb_alt(q->b, (sr_gx *)(void *)l.p, (uint32_t)(l.n / sizeof x));
    sr_buf_end(&l);
    return x;
}

sr_gx sr_gb_regex(sr_gbuild *b, const char *text, size_t n, bool json, bool search)
{
    parser q = {.b = b, .text = text, .p = text, .end = text + n, .json = json, .search = search};
    sr_gx  x = alternatives(&q);
    if (!q.failed && q.p < q.end)
        return wrong(&q, SR_INVALID, "a ) without its (");
    return x;
}
