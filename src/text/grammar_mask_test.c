/* Masks against what accepting says, against PCRE2's partial matching, and against a validator of JSON schemas:
 * text made by taking random allowed tokens must be what was asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <jansson.h>
#include <math.h>
#include <pcre2.h>

#include "base/fault.h"
#include "text/grammar_kit.h"

static kit K;

typedef struct { sr_grammar *g; sr_guide *guide; sr_matcher *m, *probe; } run;

static void run_open(run *r, sr_grammar *g)
{
    sr_err      err = {0};
    size_t      n;
    const void *bytes = sr_grammar_bytes(g, &n);
    r->g              = g;
    if (sr_guide_open(K.lex, bytes, n, &r->guide, &err) || sr_matcher_open(r->guide, &r->m, &err) || sr_matcher_open(r->guide, &r->probe, &err))
        fail_msg("%s", err.msg);
}

static void run_close(run *r)
{
    sr_matcher_close(r->m);
    sr_matcher_close(r->probe);
    sr_guide_close(r->guide);
    sr_grammar_close(r->g);
}

static bool mask(run *r)
{
    sr_err err = {0};
    bool   any;
    if (sr_matcher_mask(r->m, K.mask, &any, &err))
        fail_msg("%s", err.msg);
    return any;
}

static const char *bytes_of(int32_t t, size_t *n) { return sr_tokenizer_piece(K.tok, t, false, n); }

/* A random allowed token; late in the walk what closes things is taken first.  -1: end. */
static int32_t choose(run *r, uint64_t *seed, unsigned step)
{
    static const char *const closing[] = {"\"", "}", "]"};
    int32_t  allowed[KIT_TOKENS];
    uint32_t n = 0, vocab = sr_tokenizer_n_vocab(K.tok);
    bool     any = mask(r);
    if (sr_matcher_can_end(r->m) && (!any || step > 60 || kit_random(seed) % 3 == 0))
        return -1;
    for (size_t i = 0; step > 60 && i < SR_COUNT(closing); i++) {
        int32_t t = sr_tokenizer_find(K.tok, closing[i], 1);
        if (kit_bit(&K, t) && kit_random(seed) % 8)
            return t;
    }
    for (uint32_t t = 0; t < vocab; t++)
        if (kit_bit(&K, (int32_t)t))
            allowed[n++] = (int32_t)t;
    if (!n)
        fail_msg("no token may follow, and the text may not end");
    return allowed[kit_random(seed) % n];
}

/* Walks until the end; false: it was not reached in so many tokens. */
static bool walk(run *r, uint64_t *seed, sr_buf *text, unsigned most)
{
    sr_err err = {0};
    size_t n;
    for (unsigned step = 0; step < most; step++) {
        int32_t t = choose(r, seed, step);
        if (t < 0)
            return true;
        if (sr_matcher_accept(r->m, t, &err))
            fail_msg("an allowed token is not accepted: %s, after %s", err.msg, text->p ? text->p : "");
        const char *p = bytes_of(t, &n);
        sr_buf_add(text, p, n);
    }
    return false;
}

static sr_grammar *must(sr_status s, sr_grammar *g, const sr_err *err)
{
    if (s)
        fail_msg("%s", err->msg);
    return g;
}

static sr_grammar *schema(const char *text)
{
    sr_err      err = {0};
    sr_grammar *g;
    sr_status   s = sr_grammar_schema(text, strlen(text), &g, &err);
    return must(s, g, &err);
}

static sr_grammar *gbnf(const char *text)
{
    sr_err      err = {0};
    sr_grammar *g;
    sr_status   s = sr_grammar_gbnf(text, strlen(text), &g, &err);
    return must(s, g, &err);
}

static sr_grammar *regex(const char *text)
{
    sr_err      err = {0};
    sr_grammar *g;
    sr_status   s = sr_grammar_regex(text, strlen(text), &g, &err);
    return must(s, g, &err);
}

static const char *const SCHEMAS[] = {
    "{\"type\":\"object\"}",
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":150},"
    "\"tags\":{\"type\":\"array\",\"items\":{\"type\":\"string\",\"maxLength\":5},\"maxItems\":3}},\"required\":[\"name\"]}",
    "{\"$ref\":\"#/$defs/n\",\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"number\"},\"kids\":{\"type\":\"array\",\"items\":"
    "{\"$ref\":\"#/$defs/n\"}}},\"required\":[\"v\"],\"additionalProperties\":{\"enum\":[\"a\",\"ab\",null]}}}}",
    "{\"type\":\"string\",\"pattern\":\"^(foo|bar)+[^a]?$\"}",
    "{\"anyOf\":[{\"type\":\"string\",\"format\":\"date-time\"},{\"type\":\"array\",\"items\":{\"type\":[\"null\",\"boolean\"]},\"minItems\":2}]}",
};
static const char *const GRAMMARS[] = {
    "root ::= (\"a\" | \"ab\" | \"abc\")* \"x\"?", "root ::= s\ns ::= \"(\" s \")\" s | \"\"", "root ::= ([^\\n]{0,6} \"\\n\")+", "root ::= [^\\n\\u2028]* \"\\n\" .{4,9}",
    "root ::= a b c\na ::= \"a\"*\nb ::= a \"b\"?\nc ::= (a b)? [é日]*", "root ::= x \"\\\"\" | y \"}\"\nx ::= [a-z]+ \"\\\"\"\ny ::= [a-z]+ \"\\\"\" [}]?",
};

static void check_every_token(run *r, const char *what)
{
    uint32_t vocab = (uint32_t)sr_lexicon_words(K.lex) * 32;
    size_t   n;
    mask(r);
    for (uint32_t t = 0; t < vocab; t++) {
        sr_err err = {0};
        sr_matcher_copy(r->probe, r->m);
        bool ok = sr_matcher_accept(r->probe, (int32_t)t, &err) == SR_OK;
        if (ok != kit_bit(&K, (int32_t)t))
            fail_msg("%s: token %u \"%s\": mask %d, accepted %d", what, t, t < sr_tokenizer_n_vocab(K.tok) ? bytes_of((int32_t)t, &n) : "", !ok, ok);
    }
}

static void masks_allow_exactly_what_is_accepted(void **state)
{
    (void)state;
    uint64_t seed = 99;
    for (size_t i = 0; i < SR_COUNT(SCHEMAS) + SR_COUNT(GRAMMARS); i++)
        for (unsigned round = 0; round < 6; round++) {
            const char *what = i < SR_COUNT(SCHEMAS) ? SCHEMAS[i] : GRAMMARS[i - SR_COUNT(SCHEMAS)];
            run         r;
            run_open(&r, i < SR_COUNT(SCHEMAS) ? schema(what) : gbnf(what));
            for (unsigned step = 0; step < 25; step++) {
                sr_err err = {0};
                check_every_token(&r, what);
                int32_t t = choose(&r, &seed, 0);
                if (t < 0)
                    break;
                assert_int_equal(sr_matcher_accept(r.m, t, &err), SR_OK);
            }
            run_close(&r);
        }
}

/* ---- PCRE2 says whether a text may still become a match --------------------------------------------------------- */

static void random_regex(sr_buf *b, uint64_t *seed, unsigned depth)
{
    static const char *const atoms[] = {"a", "b", "ab", "\\d", "[a-c]", "[^a]", ".", "é", "[日a]", "\\w", "x\"", "aaa"};
    static const char *const reps[]  = {"", "", "", "*", "+", "?", "{2}", "{0,3}", "{1,}"};
    unsigned n = 1 + kit_random(seed) % 3;
    for (unsigned i = 0; i < n; i++) {
        if (depth && kit_random(seed) % 3 == 0) {
            sr_buf_str(b, "(?:");
            random_regex(b, seed, depth - 1);
            if (kit_random(seed) % 2) {
                sr_buf_char(b, '|');
                random_regex(b, seed, depth - 1);
            }
            sr_buf_char(b, ')');
        } else {
            sr_buf_str(b, atoms[kit_random(seed) % SR_COUNT(atoms)]);
        }
        sr_buf_str(b, reps[kit_random(seed) % SR_COUNT(reps)]);
    }
}

typedef struct { pcre2_code *code; pcre2_match_data *data; pcre2_match_context *limits; } oracle;

static oracle oracle_open(const char *source)
{
    sr_buf b = {0};
    int    e;
    size_t at;
    sr_buf_str(&b, "\\A(?:");
    for (const char *p = source; *p; p++) /* ECMAScript's . is not PCRE2's */
        *p == '.' ? sr_buf_str(&b, "[^\\n\\r\\u2028\\u2029]") : sr_buf_char(&b, *p);
    sr_buf_str(&b, ")\\z");
    oracle o = {.code = pcre2_compile((PCRE2_SPTR)b.p, b.n, PCRE2_UTF | PCRE2_ALT_BSUX, &e, &at, NULL)};
    if (!o.code)
        fail_msg("PCRE2 refuses %s", b.p);
    o.data   = pcre2_match_data_create_from_pattern(o.code, NULL);
    o.limits = pcre2_match_context_create(NULL);
    pcre2_set_match_limit(o.limits, 5000); /* it goes back and forth; some of these take it for ever */
    sr_buf_end(&b);
    return o;
}

static void oracle_close(oracle *o)
{
    pcre2_match_data_free(o->data);
    pcre2_match_context_free(o->limits);
    pcre2_code_free(o->code);
}

/* 2: matches, 1: a match may begin so, 0: neither, -1: too hard to say. */
static int oracle_ask(const oracle *o, const char *p, size_t n)
{
    int whole = pcre2_match(o->code, (PCRE2_SPTR)p, n, 0, 0, o->data, o->limits);
    int part  = pcre2_match(o->code, (PCRE2_SPTR)p, n, 0, PCRE2_PARTIAL_HARD, o->data, o->limits);
    if (whole == PCRE2_ERROR_MATCHLIMIT || part == PCRE2_ERROR_MATCHLIMIT)
        return -1;
    return whole >= 0 ? 2 : part == PCRE2_ERROR_PARTIAL || part >= 0;
}

static bool whole_characters(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n) {
        unsigned char c = (unsigned char)p[i];
        size_t        k = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
        if (!k || i + k > n)
            return false;
        for (size_t j = 1; j < k; j++)
            if (((unsigned char)p[i + j] & 0xc0) != 0x80)
                return false;
        if ((c == 0xe0 && (unsigned char)p[i + 1] < 0xa0) || (c == 0xed && (unsigned char)p[i + 1] > 0x9f) ||
            (c == 0xf0 && (unsigned char)p[i + 1] < 0x90) || (c == 0xf4 && (unsigned char)p[i + 1] > 0x8f))
            return false;
        i += k;
    }
    return true;
}

static void masks_of_regexes_agree_with_pcre2(void **state)
{
    (void)state;
    uint64_t seed = 4711;
    for (unsigned round = 0; round < 120; round++) {
        sr_buf source = {0}, text = {0};
        random_regex(&source, &seed, 2);
        oracle o = oracle_open(source.p);
        run    r;
        run_open(&r, regex(source.p));
        for (unsigned step = 0; step < 6; step++) {
            mask(&r);
            for (uint32_t t = 0; t < sr_tokenizer_n_vocab(K.tok); t++) {
                size_t      n, was = text.n;
                const char *p = bytes_of((int32_t)t, &n);
                sr_buf_add(&text, p, n);
                if (n && whole_characters(text.p, text.n)) {
                    int says = oracle_ask(&o, text.p, text.n);
                    if (says >= 0 && (says > 0) != kit_bit(&K, (int32_t)t))
                        fail_msg("%s: \"%s\": mask %d, PCRE2 %d (step %u, token %u of %zu)", source.p, text.p, kit_bit(&K, (int32_t)t), says, step, t, n);
                }
                text.n         = was;
                text.p[text.n] = 0;
            }
            int says = text.n && whole_characters(text.p, text.n) ? oracle_ask(&o, text.p, text.n) : -1;
            if (says >= 0)
                assert_int_equal(says == 2, sr_matcher_can_end(r.m));
            int32_t t = choose(&r, &seed, 0);
            if (t < 0)
                break;
            size_t      n;
            sr_err      err = {0};
            const char *p   = bytes_of(t, &n);
            sr_buf_add(&text, p, n);
            assert_int_equal(sr_matcher_accept(r.m, t, &err), SR_OK);
        }
        run_close(&r);
        oracle_close(&o);
        sr_buf_end(&source);
        sr_buf_end(&text);
    }
}

/* ---- schemas: made at random, obeyed, validated ------------------------------------------------------------------- */

static json_t *random_schema(uint64_t *seed, unsigned depth);

static json_t *random_object(uint64_t *seed, unsigned depth)
{
    static const char *const names[] = {"a", "ab", "name", "é", "x\"y", "foo"};
    json_t  *s = json_pack("{s:s, s:{}, s:[]}", "type", "object", "properties", "required");
    unsigned n = 1 + kit_random(seed) % 4;
    for (unsigned i = 0; i < n; i++) {
        const char *k = names[kit_random(seed) % SR_COUNT(names)];
        json_object_set_new(json_object_get(s, "properties"), k, random_schema(seed, depth - 1));
        if (kit_random(seed) % 2)
            json_array_append_new(json_object_get(s, "required"), json_string(k));
    }
    if (kit_random(seed) % 3 == 0)
        json_object_set_new(s, "additionalProperties", kit_random(seed) % 2 ? json_false() : random_schema(seed, 0));
    return s;
}

static json_t *random_array(uint64_t *seed, unsigned depth)
{
    json_t *s = json_pack("{s:s}", "type", "array");
    if (kit_random(seed) % 4 == 0)
        json_object_set_new(s, "prefixItems", json_pack("[o, o]", random_schema(seed, depth - 1), random_schema(seed, 0)));
    json_object_set_new(s, "items", random_schema(seed, depth - 1));
    if (kit_random(seed) % 2)
        json_object_set_new(s, "minItems", json_integer((json_int_t)(kit_random(seed) % 4)));
    if (kit_random(seed) % 2)
        json_object_set_new(s, "maxItems", json_integer((json_int_t)(3 + kit_random(seed) % 3)));
    return s;
}

static json_t *random_string(uint64_t *seed)
{
    static const char *const patterns[] = {"^a+b?$", "b", "^[^\"\\\\]{2,3}$", "^\\d{3}-\\w+", "a|\"$", "^.{0,4}$"};
    static const char *const formats[]  = {"date", "time", "date-time", "uuid"};
    json_t *s = json_pack("{s:s}", "type", "string");
    switch (kit_random(seed) % 4) {
    case 0: json_object_set_new(s, "pattern", json_string(patterns[kit_random(seed) % SR_COUNT(patterns)])); break;
    case 1: json_object_set_new(s, "format", json_string(formats[kit_random(seed) % SR_COUNT(formats)])); break;
    case 2:
        json_object_set_new(s, "minLength", json_integer((json_int_t)(kit_random(seed) % 4)));
        json_object_set_new(s, "maxLength", json_integer((json_int_t)(4 + kit_random(seed) % 9)));
        break;
    default: break;
    }
    return s;
}

static json_t *random_number(uint64_t *seed)
{
    json_t    *s  = json_pack("{s:s}", "type", kit_random(seed) % 2 ? "integer" : "number");
    json_int_t lo = (json_int_t)(kit_random(seed) % 2000) - 1000, hi = lo + 2 + (json_int_t)(kit_random(seed) % 3000);
    if (kit_random(seed) % 2)
        json_object_set_new(s, kit_random(seed) % 2 ? "minimum" : "exclusiveMinimum", json_integer(lo));
    if (kit_random(seed) % 2)
        json_object_set_new(s, kit_random(seed) % 2 ? "maximum" : "exclusiveMaximum", json_integer(hi));
    return s;
}

static json_t *random_schema(uint64_t *seed, unsigned depth)
{
    switch (kit_random(seed) % (depth ? 10 : 6)) {
    case 0: return random_string(seed);
    case 1: return random_number(seed);
    case 2: return json_pack("{s:s}", "type", kit_random(seed) % 2 ? "boolean" : "null");
    case 3: return json_pack("{s:[s, i, n, {s:[f]}]}", "enum", "red", 17, "k", 1.5);
    case 4: return json_pack("{s:[s,s]}", "type", "string", "integer");
    case 5: return json_pack("{s:s}", "const", "a \"quoted\" \\ word");
    case 6: return json_pack("{s:[o,o]}", "anyOf", random_schema(seed, depth - 1), random_schema(seed, depth - 1));
    case 7: return random_array(seed, depth);
    default: return random_object(seed, depth);
    }
}

static bool valid(json_t *s, json_t *v);

static bool type_is(const char *t, json_t *v)
{
    return !strcmp(t, "object") ? json_is_object(v) : !strcmp(t, "array") ? json_is_array(v) : !strcmp(t, "string") ? json_is_string(v)
         : !strcmp(t, "integer") ? json_is_integer(v) : !strcmp(t, "number") ? json_is_number(v) : !strcmp(t, "boolean") ? json_is_boolean(v)
         : json_is_null(v);
}

static bool type_valid(json_t *t, json_t *v)
{
    size_t  i;
    json_t *one;
    if (!t || json_is_string(t))
        return !t || type_is(json_string_value(t), v);
    json_array_foreach(t, i, one)
        if (type_is(json_string_value(one), v))
            return true;
    return false;
}

static bool found(const char *pattern, const char *p, size_t n)
{
    int         e;
    size_t      at;
    pcre2_code *c = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALT_BSUX, &e, &at, NULL);
    assert_non_null(c);
    pcre2_match_data *d  = pcre2_match_data_create_from_pattern(c, NULL);
    bool              ok = pcre2_match(c, (PCRE2_SPTR)p, n, 0, 0, d, NULL) >= 0;
    pcre2_match_data_free(d);
    pcre2_code_free(c);
    return ok;
}

static bool format_valid(const char *f, const char *p, size_t n)
{
    static const char date[] = "\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])", time[] = "\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?(Z|[+-]\\d\\d:\\d\\d)";
    char all[200];
    snprintf(all, sizeof all, "^%s%s%s$", !strcmp(f, "uuid") ? "[[:xdigit:]]{8}(-[[:xdigit:]]{4}){3}-[[:xdigit:]]{12}" : *f == 'd' ? date : "",
             !strcmp(f, "date-time") ? "T" : "", strstr(f, "time") ? time : "");
    return found(all, p, n);
}

static size_t characters(const char *p)
{
    size_t n = 0;
    for (; *p; p++)
        n += (*p & 0xc0) != 0x80;
    return n;
}

static bool string_valid(json_t *s, json_t *v)
{
    json_t     *pattern = json_object_get(s, "pattern"), *format = json_object_get(s, "format"), *min = json_object_get(s, "minLength"),
               *max = json_object_get(s, "maxLength");
    const char *p = json_string_value(v);
    size_t      n = json_string_length(v), chars = characters(p);
    if (strlen(p) != n)
        return true; /* holds a NUL: the counting here cannot */
    return (!pattern || found(json_string_value(pattern), p, n)) && (!format || format_valid(json_string_value(format), p, n)) &&
           (!min || chars >= (size_t)json_integer_value(min)) && (!max || chars <= (size_t)json_integer_value(max));
}

static bool number_valid(json_t *s, json_t *v)
{
    double  x  = json_number_value(v);
    json_t *lo = json_object_get(s, "minimum"), *hi = json_object_get(s, "maximum"), *above = json_object_get(s, "exclusiveMinimum"),
           *below = json_object_get(s, "exclusiveMaximum");
    /* Sixteen digits behind the point may round to the bound itself. */
    return (!lo || x >= json_number_value(lo)) && (!hi || x <= json_number_value(hi)) && (!above || x >= json_number_value(above)) &&
           (!below || x <= json_number_value(below));
}

static bool array_valid(json_t *s, json_t *v)
{
    json_t *items = json_object_get(s, "items"), *prefix = json_object_get(s, "prefixItems"), *min = json_object_get(s, "minItems"),
           *max = json_object_get(s, "maxItems"), *one;
    size_t i;
    if ((min && json_array_size(v) < (size_t)json_integer_value(min)) || (max && json_array_size(v) > (size_t)json_integer_value(max)))
        return false;
    json_array_foreach(v, i, one)
        if (!valid(i < json_array_size(prefix) ? json_array_get(prefix, i) : items, one))
            return false;
    return true;
}

static bool object_valid(json_t *s, json_t *v)
{
    json_t     *props = json_object_get(s, "properties"), *required = json_object_get(s, "required"), *more = json_object_get(s, "additionalProperties"), *one;
    const char *k;
    size_t      i;
    json_array_foreach(required, i, one)
        if (!json_object_get(v, json_string_value(one)))
            return false;
    json_object_foreach(v, k, one) {
        json_t *own = json_object_get(props, k);
        if (own ? !valid(own, one) : more && (json_is_false(more) || !valid(more, one)))
            return false;
    }
    return true;
}

static bool valid(json_t *s, json_t *v)
{
    json_t *list = json_object_get(s, "enum"), *any = json_object_get(s, "anyOf"), *one = json_object_get(s, "const");
    size_t  i;
    bool    ok = false;
    if (one)
        return json_equal(one, v);
    json_array_foreach(list ? list : any, i, one)
        ok |= list ? json_equal(one, v) : valid(one, v);
    if (list || any)
        return ok;
    if (!type_valid(json_object_get(s, "type"), v))
        return false;
    return json_is_object(v) ? object_valid(s, v) : json_is_array(v) ? array_valid(s, v) : json_is_string(v) ? string_valid(s, v)
         : json_is_number(v) ? number_valid(s, v) : true;
}

static void random_tokens_under_a_schema_make_valid_json(void **state)
{
    (void)state;
    uint64_t seed = 20260101;
    unsigned ended = 0, all = 0;
    for (unsigned round = 0; round < 400; round++) {
        json_t *s    = random_schema(&seed, 3);
        char   *text = json_dumps(s, 0);
        for (unsigned again = 0; again < 4; again++, all++) {
            sr_buf out = {0};
            run    r;
            run_open(&r, schema(text));
            if (walk(&r, &seed, &out, 3000)) {
                json_error_t e;
                json_t      *v = json_loadb(out.p, out.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
                if (!v && !strstr(e.text, "NUL byte in object key"))
                    fail_msg("%s\n made %s\n which is not JSON: %s", text, out.p, e.text);
                if (v && !valid(s, v))
                    fail_msg("%s\n made %s\n which is not valid", text, out.p);
                json_decref(v);
                ended++;
            }
            run_close(&r);
            sr_buf_end(&out);
        }
        free(text);
        json_decref(s);
    }
    assert_true(ended > all * 98 / 100);
}

/* ---- the rest ----------------------------------------------------------------------------------------------------- */

static void rules_that_say_the_same_share_their_masks(void **state)
{
    (void)state;
    uint64_t seed = 5;
    sr_buf   out  = {0};
    for (int i = 0; i < 2; i++) {
        sr_guidestats before = sr_lexicon_stats(K.lex), after;
        run r;
        run_open(&r, schema(i ? "{\"properties\":{\"other\":{\"type\":\"string\"}},\"required\":[\"other\"]}"
                              : "{\"properties\":{\"q\":{\"type\":\"string\"}},\"required\":[\"q\"]}"));
        assert_true(walk(&r, &seed, &out, 3000));
        after = sr_lexicon_stats(K.lex);
        if (i)
            assert_true(after.shared_hits > before.shared_hits);
        run_close(&r);
    }
    sr_buf_end(&out);
}

/* The automaton of .*a.{13} has 2^14 states and some; in the end the guide must forget and go on. */
static void a_guide_that_is_full_begins_anew(void **state)
{
    (void)state;
    enum { BEHIND = 16, LENGTH = 120000 };
    run      r;
    uint64_t seed = 3;
    static char text[LENGTH];
    run_open(&r, regex("[ab]*a[ab]{16}"));
    uint64_t renewals = sr_lexicon_stats(K.lex).renewals;
    for (size_t i = 0; i < LENGTH; i++) {
        sr_err err = {0};
        text[i]    = kit_random(&seed) % 2 ? 'a' : 'b';
        assert_int_equal(sr_matcher_accept_bytes(r.m, text + i, 1, &err), SR_OK);
        assert_int_equal(sr_matcher_can_end(r.m), i >= BEHIND && text[i - BEHIND] == 'a');
    }
    assert_true(sr_lexicon_stats(K.lex).renewals > renewals);
    run_close(&r);
}

static void what_is_too_ambiguous_ends_with_an_error(void **state)
{
    (void)state;
    sr_err err = {0};
    bool   any;
    run    r;
    run_open(&r, gbnf("root ::= s \"x\"\ns ::= \"a\" | \"a\" s s | \"a\" s \"b\" s | \"a\" s s s"));
    sr_status s = SR_OK;
    for (unsigned i = 0; i < 300 && s == SR_OK; i++) {
        s = sr_matcher_accept_bytes(r.m, "a", 1, &err);
        if (s == SR_OK)
            s = sr_matcher_mask(r.m, K.mask, &any, &err);
    }
    assert_int_equal(s, SR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "too ambiguous"));
    run_close(&r);
}

static void nesting_has_an_end(void **state)
{
    (void)state;
    sr_err err = {0};
    run    r;
    int    depth = 0;
    run_open(&r, gbnf("root ::= v\nv ::= \"[\" v \"]\" | \"0\""));
    while (depth < 1000 && sr_matcher_accept_bytes(r.m, "[", 1, &err) == SR_OK)
        if (++depth % 16 == 0)
            check_every_token(&r, "nested");
    assert_in_range(depth, 200, 300);
    check_every_token(&r, "nested at the end");
    err = (sr_err){0};
    assert_int_equal(sr_matcher_accept_bytes(r.m, "0", 1, &err), SR_OK);
    while (depth--)
        assert_int_equal(sr_matcher_accept_bytes(r.m, "]", 1, &err), SR_OK);
    assert_true(sr_matcher_must_end(r.m));
    run_close(&r);
}

/* From the vocabulary to a few tokens; anything may run out of memory, and says so. */
static sr_status all_of_it(sr_err *err)
{
    static const char text[] = "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"maxLength\":40},\"b\":{\"$ref\":\"#\"}},\"additionalProperties\":{\"pattern\":\"x.*\"}}";
    static const char more[] = "root ::= [^a]{2,5} (\"x\" | \"y\")*";
    sr_lexicon *l = NULL;
    sr_grammar *g = NULL, *h = NULL;
    sr_guide   *guide = NULL;
    sr_matcher *m = NULL;
    size_t      n;
    bool        any;
    sr_status   s = sr_lexicon_open(K.tok, sr_tokenizer_n_vocab(K.tok), &l, err);
    if (!s && !(s = sr_grammar_gbnf(more, sizeof more - 1, &h, err)) && !(s = sr_grammar_schema(text, sizeof text - 1, &g, err))) {
        const void *block = sr_grammar_bytes(g, &n);
        s = sr_guide_open(l, block, n, &guide, err);
    }
    if (!s && !(s = sr_matcher_open(guide, &m, err)))
        for (const char *p = "{\"a\": \"abc\", \"zz\":"; *p && !s; p++)
            if (!(s = sr_matcher_mask(m, K.mask, &any, err)))
                s = sr_matcher_accept_bytes(m, p, 1, err);
    sr_matcher_close(m);
    sr_guide_close(guide);
    sr_grammar_close(g);
    sr_grammar_close(h);
    sr_lexicon_close(l);
    return s;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool     fired = true;
    uint64_t n     = 1;
    for (; fired; n++) {
        sr_err err = {0};
        sr_fault_arm(SR_FAULT_ALLOC, n);
        sr_status s = all_of_it(&err);
        fired       = sr_fault_fired(SR_FAULT_ALLOC);
        sr_fault_arm(SR_FAULT_ALLOC, 0);
        if (s != (fired ? SR_NOMEM : SR_OK) && !(fired && s == SR_OK)) /* a mask that is not remembered is still right */
            fail_msg("allocation %llu: %d %s", (unsigned long long)n, s, err.msg);
    }
    assert_true(n > 50);
}

static int begin(void **state)
{
    (void)state;
    return kit_open(&K, &(sr_err){0}) != SR_OK;
}

static int end(void **state)
{
    (void)state;
    kit_close(&K);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_allow_exactly_what_is_accepted),
        cmocka_unit_test(masks_of_regexes_agree_with_pcre2),
        cmocka_unit_test(random_tokens_under_a_schema_make_valid_json),
        cmocka_unit_test(rules_that_say_the_same_share_their_masks),
        cmocka_unit_test(a_guide_that_is_full_begins_anew),
        cmocka_unit_test(what_is_too_ambiguous_ends_with_an_error),
        cmocka_unit_test(nesting_has_an_end),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
