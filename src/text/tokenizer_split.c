/* From a row of the table to compiled steps, and from text to words.
 *
 *   text --class bytes (one per code point)--> step 1 pieces --> step 2 pieces ... --> words --> word()
 *
 * Steps nest depth first, so that words come out in order and nothing but the class bytes is stored. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/buf.h"
#include "base/mem.h"
#include "text/cpmap.h"
#include "text/tokenizer_pre.h"
#include "text/tokenizer_scan.h"

#include <stdlib.h>
#include <string.h>

enum { SET_SPACE = 16 }; /* value in the set map: white space; 1, 2, 4, 8: the row's sets */

struct sr_splitter {
    const sr_pretok       *pre;
    sr_cpmap               classes, sets;
    bool                   has_sets;
    uint8_t                flags[256]; /* of a class byte: SR_F_* */
    pcre2_general_context *memory;
    pcre2_match_context   *limits;
    pcre2_code            *code[SR_PRE_STEPS];
};

/* ---- compiling ------------------------------------------------------------------------------ */

typedef struct { char name; const char *ascii; uint32_t classes; } property; /* classes: bit per class value */

static const property categories[] = {
    {'L', "A-Za-z", 1 << SR_CP_LETTER | 1 << SR_CP_HAN_LETTER},
    {'U', "A-Z", 1 << SR_CP_LETTER | 1 << SR_CP_HAN_LETTER},
    {'W', "a-z", 1 << SR_CP_LETTER | 1 << SR_CP_HAN_LETTER},
    {'N', "0-9", 1 << SR_CP_NUMBER},
    {'P', "!-#%-*,-/:;?@\\[-\\]_{}", 1 << SR_CP_PUNCT},
    {'S', "$+<->^`|~", 1 << SR_CP_SYMBOL},
    {'M', "", 1 << SR_CP_MARK},
    {'s', "\\t-\\r ", 1 << SR_CP_SPACE},
};
static const property own_sets[] = {
    /* values 0..15 are the sums of 1, 2, 4, 8 */
    {'1', "", 0xAAAA}, {'2', "", 0xCCCC}, {'3', "", 0xF0F0}, {'4', "", 0xFF00}, {'s', "\\t-\\r ", 1u << SET_SPACE},
};

/* The members of a property as the inside of a bracket: each class at each of the four lengths. */
static void put_members(sr_buf *out, const property *p)
{
    sr_buf_str(out, p->ascii);
    for (unsigned v = 0; v < SR_CPMAP_VALUES; v++)
        for (unsigned len = 0; p->classes >> v & 1 && len < 4; len++)
            sr_buf_fmt(out, "\\x%02X", 0x80 | len << 5 | v);
}

static const property *property_of(bool sets, char name)
{
    const property *list = sets ? own_sets : categories;
    for (size_t i = 0; i < (sets ? SR_COUNT(own_sets) : SR_COUNT(categories)); i++)
        if (list[i].name == name)
            return &list[i];
    return NULL;
}

/* The table's notation to a PCRE2 expression over class bytes. */
static sr_status translate(const char *re, bool sets, sr_buf *out, sr_err *err)
{
    bool bracket = false;
    for (const char *p = re; *p; p++) {
        const property *prop = NULL;
        bool            not  = false;
        if (*p == '[' || (*p == ']' && bracket))
            bracket = *p == '[' || !bracket;
        if (*p == '\\' && p[1] == 'p' && p[2] == '{' && p[3] && p[4] == '}')
            prop = property_of(sets, p[3]);
        else if (*p == '\\' && (p[1] == 's' || p[1] == 'S'))
            prop = property_of(sets, 's'), not = p[1] == 'S';
        if (prop) {
            sr_buf_str(out, bracket ? "" : not ? "[^" : "[");
            put_members(out, prop);
            sr_buf_str(out, bracket ? "" : "]");
            p += p[1] == 'p' ? 4 : 1;
        } else {
            SR_ASSERT(*p != '\\' || p[1] != 'p', "no property %s in this step", p);
            sr_buf_char(out, *p);
            if (*p == '\\' && p[1])
                sr_buf_char(out, *++p);
        }
    }
    return out->failed ? sr_raise(err, SR_NOMEM, "host: memory for a pre-tokeniser's expression") : SR_OK;
}

static sr_status compile(sr_splitter *s, unsigned i, sr_err *err)
{
    const sr_prestep *step = &s->pre->step[i];
    sr_buf            re   = {0};
    sr_status         st   = translate(step->regex, step->kind == SR_STEP_SETS, &re, err);
    if (!st) {
        pcre2_compile_context *cc = pcre2_compile_context_create(s->memory);
        int                    code = 0;
        PCRE2_SIZE             at   = 0;
        if (cc)
            s->code[i] = pcre2_compile((PCRE2_SPTR)re.p, re.n, 0, &code, &at, cc);
        pcre2_compile_context_free(cc);
        SR_ASSERT(s->code[i] || !cc || code == PCRE2_ERROR_HEAP_FAILED, "expression of \"%s\", error %d at %zu",
                  s->pre->names, code, (size_t)at);
        if (!s->code[i])
            st = sr_raise(err, SR_NOMEM, "host: memory for a pre-tokeniser's expression");
        else
            (void)pcre2_jit_compile(s->code[i], PCRE2_JIT_COMPLETE); /* without JIT the same words, slower */
    }
    sr_buf_end(&re);
    return st;
}

/* "B5 C0-D6": adds `value` to each code point listed. */
static bool add_set(sr_cpmap *m, const char *list, uint8_t value)
{
    bool ok = true;
    while (ok && *list) {
        char    *end;
        uint32_t lo = (uint32_t)strtoul(list, &end, 16), hi = lo;
        if (*end == '-')
            hi = (uint32_t)strtoul(end + 1, &end, 16);
        ok   = sr_cpmap_set(m, lo, hi, 0xFF, value);
        list = end + (*end == ' ');
    }
    return ok;
}

/* The row's sets; white space belongs to none of them (llama.cpp matches it as U+000B). */
static bool build_sets(sr_splitter *s)
{
    bool ok = sr_cpmap_begin(&s->sets);
    for (unsigned i = 0; ok && i < SR_PRE_SETS && s->pre->set[i]; i++)
        ok = add_set(&s->sets, s->pre->set[i], (uint8_t)(1u << i));
    for (size_t i = 0; ok && i + 1 < sr_n_unicode_runs; i++)
        if ((sr_unicode_runs[i] & 15) == SR_CP_SPACE && sr_unicode_runs[i] >> 4 >= 0x80)
            ok = sr_cpmap_set(&s->sets, sr_unicode_runs[i] >> 4, (sr_unicode_runs[i + 1] >> 4) - 1, 0, SET_SPACE);
    return ok;
}

/* Han as llama.cpp's Kimi scanner has it: ranges, unassigned code points inside included. */
static bool overlay_han(sr_cpmap *m)
{
    static const uint32_t han[][2] = {{0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF}, {0x2A700, 0x2EBEF},
                                      {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
    for (size_t i = 0; i < SR_COUNT(han); i++)
        for (uint32_t cp = han[i][0]; cp <= han[i][1];) {
            uint8_t  v  = sr_cpmap_get(m, cp);
            uint32_t to = cp;
            while (to < han[i][1] && sr_cpmap_get(m, to + 1) == v) /* a whole page of v at a time, where there is one */
                to += (to & 255) == 255 && m->page[(to + 1) >> 8] == v && to + 256 <= han[i][1] ? 256 : 1;
            if (!sr_cpmap_set(m, cp, to, 0, v == SR_CP_LETTER ? SR_CP_HAN_LETTER : SR_CP_HAN_OTHER))
                return false;
            cp = to + 1;
        }
    return true;
}

static void build_flags(sr_splitter *s)
{
    static const uint8_t of_class[SR_CPMAP_VALUES] = {
        [SR_CP_LETTER] = SR_F_LETTER, [SR_CP_NUMBER] = SR_F_NUMBER,   [SR_CP_SPACE] = SR_F_SPACE,
        [SR_CP_MARK] = SR_F_MARK,     [SR_CP_HAN_OTHER] = SR_F_HAN,   [SR_CP_HAN_LETTER] = SR_F_LETTER | SR_F_HAN};
    for (unsigned b = 0; b < 256; b++)
        s->flags[b] = of_class[b < 0x80 ? sr_cpmap_get(&s->classes, b) : b & 31];
}

static void *pcre_malloc(size_t n, void *unused)
{
    (void)unused;
    return sr_malloc(n);
}
static void pcre_free(void *p, void *unused)
{
    (void)unused;
    sr_free(p);
}

static bool build(sr_splitter *s)
{
    if (!sr_cpmap_classes(&s->classes) || !overlay_han(&s->classes) || !build_sets(s))
        return false;
    build_flags(s);
    s->memory = pcre2_general_context_create(pcre_malloc, pcre_free, NULL);
    s->limits = s->memory ? pcre2_match_context_create(s->memory) : NULL;
    if (s->limits) /* the expressions are ours and linear; words may be of many MB */
        pcre2_set_match_limit(s->limits, UINT32_MAX);
    return s->limits != NULL;
}

sr_status sr_splitter_open(const sr_pretok *pre, sr_splitter **out, sr_err *err)
{
    sr_splitter *s = sr_calloc(1, sizeof *s);
    *out           = NULL;
    if (!s)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a pre-tokeniser", sizeof *s);
    s->pre = pre;
    if (!build(s)) {
        sr_raise(err, SR_NOMEM, "host: memory for a pre-tokeniser's tables");
        goto fail;
    }
    for (unsigned i = 0; i < SR_PRE_STEPS && pre->step[i].kind; i++) {
        s->has_sets |= pre->step[i].kind == SR_STEP_SETS;
        if (pre->step[i].regex && compile(s, i, err))
            goto fail;
    }
    *out = s;
    return SR_OK;
fail:
    sr_splitter_close(s);
    return SR_NOMEM;
}

void sr_splitter_close(sr_splitter *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < SR_PRE_STEPS; i++)
        pcre2_code_free(s->code[i]);
    pcre2_match_context_free(s->limits);
    pcre2_general_context_free(s->memory);
    sr_cpmap_end(&s->classes);
    sr_cpmap_end(&s->sets);
    sr_free(s);
}

/* ---- splitting ------------------------------------------------------------------------------ */

typedef struct {
    const sr_splitter *s;
    const uint8_t     *cls, *set; /* class bytes of the text; set: NULL if the row has no sets */
    const char        *at;        /* the text not yet given out */
    bool               ascii, stopped;
    pcre2_match_data  *match;
    sr_word_fn         word;
    void              *arg;
    sr_err            *err;
    sr_status          status;
} run;

/* Class bytes of text[0..n), which must have room for n; how many. */
static size_t classify(const sr_cpmap *m, const char *text, size_t n, uint8_t *out)
{
    uint8_t *o = out;
    for (size_t i = 0; i < n;) {
        uint64_t eight;
        if (n - i >= 8 && (memcpy(&eight, text + i, 8), !(eight & 0x8080808080808080u))) {
            memcpy(o, &eight, 8);
            o += 8, i += 8;
            continue;
        }
        unsigned len;
        uint32_t cp = sr_cp_next(text + i, n - i, &len);
        *o++        = cp < 0x80 ? (uint8_t)cp : (uint8_t)(0x80 | (len - 1) << 5 | sr_cpmap_get(m, cp));
        i += len;
    }
    return (size_t)(o - out);
}

static bool piece(run *r, unsigned step, size_t at, size_t end);

static bool give_word(run *r, size_t at, size_t end)
{
    size_t n = end - at;
    if (!r->ascii)
        for (size_t i = at; i < end; i++)
            n += r->cls[i] < 0x80 ? 0 : r->cls[i] >> 5 & 3;
    const char *w = r->at;
    r->at += n;
    r->stopped = !r->word(r->arg, w, n);
    return !r->stopped;
}

static bool scan(run *r, unsigned step, size_t at, size_t end, sr_scan_fn next)
{
    while (at < end) {
        size_t to = next(r->s->flags, r->cls, at, end);
        if (!piece(r, step + 1, at, to))
            return false;
        at = to;
    }
    return true;
}

static bool match(run *r, unsigned step, size_t at, size_t end)
{
    const uint8_t    *c   = r->s->pre->step[step].kind == SR_STEP_SETS ? r->set : r->cls;
    const PCRE2_SIZE *hit = pcre2_get_ovector_pointer(r->match); /* shared with the steps inside this one */
    while (at < end) {
        int rc = pcre2_match(r->s->code[step], c + at, end - at, 0, 0, r->match, r->s->limits);
        if (rc == PCRE2_ERROR_NOMATCH)
            return piece(r, step + 1, at, end);
        if (rc < 0) {
            r->status = sr_raise(r->err, rc == PCRE2_ERROR_NOMEMORY ? SR_NOMEM : SR_INVALID,
                                 "pre-tokeniser step %u: PCRE2 error %d in a piece of %zu code points", step + 1, rc,
                                 end - at);
            return false;
        }
        size_t from = at + hit[0], to = at + hit[1];
        SR_ASSERT(to > from, "step %u of \"%s\" matched nothing", step, r->s->pre->names);
        if ((from > at && !piece(r, step + 1, at, from)) || !piece(r, step + 1, from, to))
            return false;
        at = to;
    }
    return true;
}

/* llama.cpp gives the text before a run of digits to the run's first group; so do we. */
static bool digits(run *r, unsigned step, size_t at, size_t end)
{
    for (size_t i = at; i < end;) {
        if (!(r->s->flags[r->cls[i]] & SR_F_NUMBER)) {
            i++;
            continue;
        }
        size_t to = i;
        while (to < end && r->s->flags[r->cls[to]] & SR_F_NUMBER)
            to++;
        for (i += (to - i) % 3 ? (to - i) % 3 : 3;; i += 3) {
            if (!piece(r, step + 1, at, i))
                return false;
            at = i;
            if (i == to)
                break;
        }
    }
    return at == end || piece(r, step + 1, at, end);
}

static bool digits_ascii(run *r, unsigned step, size_t at, size_t end)
{
    for (size_t i = at; i < end;) {
        size_t to = i;
        while (to < end && r->cls[to] >= '0' && r->cls[to] <= '9')
            to++;
        for (i += (to - i) % 3; i < to; i += 3) {
            if (i > at && !piece(r, step + 1, at, i))
                return false;
            at = i;
        }
        i = to + (to < end);
    }
    return at == end || piece(r, step + 1, at, end);
}

static bool tail(run *r, unsigned step, size_t at, size_t end)
{
    size_t i = end;
    while (i > at && r->s->flags[r->cls[i - 1]] & SR_F_SPACE)
        i--;
    return (i == at || piece(r, step + 1, at, i)) && (i == end || piece(r, step + 1, i, end));
}

static bool piece(run *r, unsigned step, size_t at, size_t end)
{
    switch (step < SR_PRE_STEPS ? r->s->pre->step[step].kind : SR_STEP_END) {
    case SR_STEP_REGEX:
    case SR_STEP_SETS:         return match(r, step, at, end);
    case SR_STEP_GPT2:         return scan(r, step, at, end, sr_scan_gpt2);
    case SR_STEP_LLAMA3:       return scan(r, step, at, end, sr_scan_llama3);
    case SR_STEP_QWEN2:        return scan(r, step, at, end, sr_scan_qwen2);
    case SR_STEP_QWEN35:       return scan(r, step, at, end, sr_scan_qwen35);
    case SR_STEP_KIMI:         return scan(r, step, at, end, sr_scan_kimi);
    case SR_STEP_NEWLINES:     return scan(r, step, at, end, sr_scan_newlines);
    case SR_STEP_DIGITS:       return digits(r, step, at, end);
    case SR_STEP_DIGITS_ASCII: return digits_ascii(r, step, at, end);
    case SR_STEP_TAIL:         return tail(r, step, at, end);
    case SR_STEP_END:          break;
    }
    return give_word(r, at, end);
}

sr_status sr_split(const sr_splitter *s, const char *text, size_t n, sr_word_fn word, void *arg, sr_err *err)
{
    if (n == 0)
        return SR_OK;
    uint8_t *cls = sr_malloc(s->has_sets ? 2 * n : n); /* n < 2^31, the caller's limit */
    run      r   = {.s = s, .cls = cls, .at = text, .word = word, .arg = arg, .err = err};
    r.match      = pcre2_match_data_create(1, s->memory);
    if (!cls || !r.match) {
        r.status = sr_raise(err, SR_NOMEM, "host: %zu bytes to tokenise a text", n);
    } else {
        size_t n_cp = classify(&s->classes, text, n, cls);
        r.ascii     = n_cp == n;
        if (s->has_sets) {
            r.set = cls + n;
            classify(&s->sets, text, n, cls + n);
        }
        piece(&r, 0, 0, n_cp);
    }
    pcre2_match_data_free(r.match);
    sr_free(cls);
    return r.status;
}
