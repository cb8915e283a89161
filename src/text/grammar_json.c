/* grammar_json.c - the pieces of JSON as expressions: strings, numbers in a range, any value, constants.
 *
 * Pieces that many places share are rules of their own, so that their token masks are shared too. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "text/grammar_build.h"

enum { SPACE, CHAR, STRING, VALUE, OBJECT, ARRAY, NUMBER };

/* The rule of a piece, made by the first who asks. */
static sr_gx piece(sr_gbuild *b, int which, sr_gx (*make)(sr_gbuild *))
{
    if (!b->json_rule[which]) {
        uint32_t r = sr_gb_rule(b, NULL, 0);
        if (r == UINT32_MAX)
            return 0;
        b->json_rule[which] = r + 1;
        if (!sr_gb_define(b, r, make(b)))
            return 0;
    }
    return sr_gb_ref(b, b->json_rule[which] - 1);
}

static sr_gx range(sr_gbuild *b, char lo, char hi) { return sr_gb_class(b, &(sr_cprange){(unsigned char)lo, (unsigned char)hi}, 1); }
static sr_gx optional(sr_gbuild *b, sr_gx x) { return sr_gb_rep(b, x, 0, 1); }
static sr_gx digits(sr_gbuild *b, uint32_t min, uint32_t max) { return sr_gb_rep(b, range(b, '0', '9'), min, max); }

/* ---- white space ---------------------------------------------------------------------------------------------- */

static sr_gx make_space(sr_gbuild *b)
{
    static const sr_cprange blank[] = {{'\t', '\t'}, {' ', ' '}};
    return SR_GB_ALT(b, sr_gb_empty(b), sr_gb_str(b, " "), SR_GB_SEQ(b, sr_gb_str(b, "\n"), sr_gb_rep(b, sr_gb_class(b, blank, 2), 0, 20)));
}

sr_gx sr_gj_space(sr_gbuild *b) { return piece(b, SPACE, make_space); }
sr_gx sr_gj_colon(sr_gbuild *b) { return SR_GB_SEQ(b, sr_gb_str(b, ":"), optional(b, sr_gb_str(b, " "))); }
sr_gx sr_gj_comma(sr_gbuild *b) { return SR_GB_SEQ(b, sr_gb_str(b, ","), sr_gj_space(b)); }

/* ---- strings -------------------------------------------------------------------------------------------------- */

sr_gx sr_gj_class(sr_gbuild *b, const sr_cprange *r, uint32_t n)
{
    static const struct { uint32_t c; const char *as; } named[] = {
        {'"', "\\\""}, {'\\', "\\\\"}, {'\b', "\\b"}, {'\f', "\\f"}, {'\n', "\\n"}, {'\r', "\\r"}, {'\t', "\\t"}};
    sr_gx    x[40];
    uint32_t k = 0;
    sr_cpset plain = {0};
    for (uint32_t i = 0; i < n; i++) { /* what is left of the range between the characters that need an escape */
        uint32_t from = SR_MAX(r[i].lo, 0x20u);
        for (int e = 0; e < 2; e++)
            if (named[e].c >= from && named[e].c <= r[i].hi) {
                if (named[e].c > from)
                    sr_cpset_add(&plain, from, named[e].c - 1);
                from = named[e].c + 1;
            }
        if (from <= r[i].hi)
            sr_cpset_add(&plain, from, r[i].hi);
    }
    x[k++] = plain.failed ? sr_gb_nomem(b) : sr_gb_class(b, plain.p, plain.n);
    sr_cpset_end(&plain);
    for (uint32_t c = 0; c <= '\\'; c++) {
        bool in = false;
        for (uint32_t i = 0; i < n && !in; i++)
            in = c >= r[i].lo && c <= r[i].hi;
        if (!in || (c >= 0x20 && c != '"' && c != '\\'))
            continue;
        char        hex[8];
        const char *as = hex;
        snprintf(hex, sizeof hex, "\\u%04x", c);
        for (size_t e = 0; e < SR_COUNT(named); e++)
            as = named[e].c == c ? named[e].as : as;
        x[k++] = sr_gb_str(b, as);
    }
    return sr_gb_alt(b, x, k);
}

static sr_gx hex_class(sr_gbuild *b, const char *of) /* each letter in both cases */
{
    sr_cpset s = {0};
    for (; *of; of++) {
        sr_cpset_add(&s, (unsigned char)*of, (unsigned char)*of);
        if (*of >= 'a')
            sr_cpset_add(&s, (unsigned char)(*of - 32), (unsigned char)(*of - 32));
    }
    sr_cpset_tidy(&s);
    sr_gx x = s.failed ? sr_gb_nomem(b) : sr_gb_class(b, s.p, s.n);
    sr_cpset_end(&s);
    return x;
}

static sr_gx make_char(sr_gbuild *b)
{
    static const sr_cprange plain[] = {{0x20, 0x21}, {0x23, 0x5b}, {0x5d, 0xd7ff}, {0xe000, SR_G_MAX_CP}};
    static const char       hexes[] = "0123456789abcdef";
    sr_gx d = hex_class(b, "d"), d2 = sr_gb_rep(b, hex_class(b, hexes), 2, 2), d3 = sr_gb_rep(b, hex_class(b, hexes), 3, 3);
    sr_gx whole = SR_GB_SEQ(b, hex_class(b, "0123456789abcef"), d3), below = SR_GB_SEQ(b, d, hex_class(b, "01234567"), d2);
    sr_gx pair = SR_GB_SEQ(b, d, hex_class(b, "89ab"), d2, sr_gb_str(b, "\\u"), d, hex_class(b, "cdef"), d2);
    sr_gx u    = SR_GB_SEQ(b, sr_gb_str(b, "u"), SR_GB_ALT(b, whole, below, pair));
    sr_gx one  = SR_GB_ALT(b, range(b, '"', '"'), range(b, '\\', '\\'), range(b, '/', '/'), range(b, 'b', 'b'), range(b, 'f', 'f'),
                           range(b, 'n', 'n'), range(b, 'r', 'r'), range(b, 't', 't'), u);
    return SR_GB_ALT(b, sr_gb_class(b, plain, 4), SR_GB_SEQ(b, sr_gb_str(b, "\\"), one));
}

/* The same expression every time, inline: a token that ends inside a character is rare, calls at each are dear. */
sr_gx sr_gj_char(sr_gbuild *b)
{
    if (!b->json_rule[CHAR])
        b->json_rule[CHAR] = make_char(b);
    return b->json_rule[CHAR];
}

sr_gx sr_gj_quoted(sr_gbuild *b, sr_gx inside) { return SR_GB_SEQ(b, sr_gb_str(b, "\""), inside, sr_gb_str(b, "\"")); }

static sr_gx make_string(sr_gbuild *b) { return sr_gj_quoted(b, sr_gb_rep(b, sr_gj_char(b), 0, SR_G_NOMAX)); }

sr_gx sr_gj_string(sr_gbuild *b, uint32_t min, uint32_t max)
{
    if (min == 0 && max == SR_G_NOMAX)
        return piece(b, STRING, make_string);
    char     name[48];
    int      n = snprintf(name, sizeof name, "string.%u.%u", min, max);
    uint32_t r = sr_gb_rule(b, name, (size_t)n);
    if (r != UINT32_MAX && !b->rule[r].body && !sr_gb_define(b, r, sr_gj_quoted(b, sr_gb_rep(b, sr_gj_char(b), min, max))))
        return 0;
    return r == UINT32_MAX ? 0 : sr_gb_ref(b, r);
}

/* ---- numbers -------------------------------------------------------------------------------------------------- */

/* Digits are bounded, so that no model writes digits for ever and every number can be read as a double or an int64. */
enum { INT_DIGITS = 16, FRACTION_DIGITS = 16, EXPONENT_DIGITS = 2 };

static sr_gx make_number(sr_gbuild *b)
{
    static const sr_cprange sign[] = {{'+', '+'}, {'-', '-'}}, e[] = {{'E', 'E'}, {'e', 'e'}};
    sr_gx whole = SR_GB_ALT(b, sr_gb_str(b, "0"), SR_GB_SEQ(b, range(b, '1', '9'), digits(b, 0, INT_DIGITS - 1)));
    sr_gx part  = optional(b, SR_GB_SEQ(b, sr_gb_str(b, "."), digits(b, 1, FRACTION_DIGITS)));
    sr_gx power = optional(b, SR_GB_SEQ(b, sr_gb_class(b, e, 2), optional(b, sr_gb_class(b, sign, 2)), digits(b, 1, EXPONENT_DIGITS)));
    return SR_GB_SEQ(b, optional(b, sr_gb_str(b, "-")), whole, part, power);
}

sr_gx sr_gj_number(sr_gbuild *b) { return piece(b, NUMBER, make_number); }

/* Numbers of n digits from lo to hi, leading zeros written. */
static sr_gx same_length(sr_gbuild *b, const char *lo, const char *hi, uint32_t n)
{
    bool all = true;
    if (n == 0)
        return sr_gb_empty(b);
    for (uint32_t i = 0; i < n; i++)
        all &= lo[i] == '0' && hi[i] == '9';
    if (all)
        return digits(b, n, n);
    if (lo[0] == hi[0])
        return SR_GB_SEQ(b, sr_gb_lit(b, lo, 1), same_length(b, lo + 1, hi + 1, n - 1));
    static const char nines[] = "9999999999999999999", zeros[] = "0000000000000000000";
    sr_gx    x[3];
    uint32_t k = 0;
    char     from = lo[0], to = hi[0];
    if (strncmp(lo + 1, zeros, n - 1) != 0) {
        x[k++] = SR_GB_SEQ(b, sr_gb_lit(b, lo, 1), same_length(b, lo + 1, nines, n - 1));
        from++;
    }
    if (strncmp(hi + 1, nines, n - 1) != 0) {
        x[k++] = SR_GB_SEQ(b, sr_gb_lit(b, hi, 1), same_length(b, zeros, hi + 1, n - 1));
        to--;
    }
    if (from <= to)
        x[k++] = SR_GB_SEQ(b, range(b, from, to), digits(b, n - 1, n - 1));
    return sr_gb_alt(b, x, k);
}

/* Whole numbers from lo to hi without a sign. */
static sr_gx magnitudes(sr_gbuild *b, uint64_t lo, uint64_t hi)
{
    sr_gx    x[20];
    uint32_t k     = 0;
    uint64_t first = 0, last = 9; /* of that many digits */
    for (uint32_t n = 1; n <= 19 && first <= hi; n++) {
        if (last >= lo) {
            char a[24], z[24];
            snprintf(a, sizeof a, "%llu", (unsigned long long)SR_MAX(first, lo));
            snprintf(z, sizeof z, "%llu", (unsigned long long)SR_MIN(last, hi));
            x[k++] = same_length(b, a, z, n);
        }
        first = last + 1;
        last  = n == 18 ? 9999999999999999999u : last * 10 + 9;
    }
    return sr_gb_alt(b, x, k);
}

sr_gx sr_gj_integer(sr_gbuild *b, const int64_t *min, const int64_t *max)
{
    const int64_t big = 9999999999999999;
    int64_t lo = min ? *min : max && *max < -big ? INT64_MIN : -big, hi = max ? *max : min && *min > big ? INT64_MAX : big;
    sr_gx    x[2];
    uint32_t k = 0;
    if (lo > hi) {
        (void)!sr_raise(b->err, SR_INVALID, "no integer lies between the bounds");
        return 0;
    }
    if (hi >= 0)
        x[k++] = magnitudes(b, lo > 0 ? (uint64_t)lo : 0, (uint64_t)hi);
    if (lo < 0)
        x[k++] = SR_GB_SEQ(b, sr_gb_str(b, "-"), magnitudes(b, hi < 0 ? 0 - (uint64_t)hi : 1, 0 - (uint64_t)lo));
    return sr_gb_alt(b, x, k);
}

/* ---- values --------------------------------------------------------------------------------------------------- */

static sr_gx make_object(sr_gbuild *b)
{
    sr_gx member = SR_GB_SEQ(b, sr_gj_string(b, 0, SR_G_NOMAX), sr_gj_colon(b), sr_gj_value(b));
    sr_gx more   = sr_gb_rep(b, SR_GB_SEQ(b, sr_gj_comma(b), member), 0, SR_G_NOMAX);
    sr_gx full   = SR_GB_SEQ(b, sr_gj_space(b), member, more, sr_gj_space(b), sr_gb_str(b, "}"));
    return SR_GB_SEQ(b, sr_gb_str(b, "{"), SR_GB_ALT(b, full, sr_gb_str(b, "}")));
}

sr_gx sr_gj_array(sr_gbuild *b, sr_gx item, uint32_t min, uint32_t max)
{
    if (max == 0)
        return sr_gb_str(b, "[]");
    sr_gx more = sr_gb_rep(b, SR_GB_SEQ(b, sr_gj_comma(b), item), min ? min - 1 : 0, max == SR_G_NOMAX ? max : max - 1);
    sr_gx full = SR_GB_SEQ(b, sr_gj_space(b), item, more, sr_gj_space(b), sr_gb_str(b, "]"));
    return SR_GB_SEQ(b, sr_gb_str(b, "["), min ? full : SR_GB_ALT(b, full, sr_gb_str(b, "]")));
}

static sr_gx make_array(sr_gbuild *b) { return sr_gj_array(b, sr_gj_value(b), 0, SR_G_NOMAX); }

sr_gx sr_gj_object(sr_gbuild *b) { return piece(b, OBJECT, make_object); }

static sr_gx make_value(sr_gbuild *b)
{
    return SR_GB_ALT(b, sr_gj_object(b), piece(b, ARRAY, make_array), sr_gj_string(b, 0, SR_G_NOMAX), sr_gj_number(b),
                     sr_gb_str(b, "true"), sr_gb_str(b, "false"), sr_gb_str(b, "null"));
}

sr_gx sr_gj_value(sr_gbuild *b) { return piece(b, VALUE, make_value); }

static int append(const char *p, size_t n, void *out) { return sr_buf_add(out, p, n) ? 0 : -1; }

static sr_gx scalar(sr_gbuild *b, json_t *v)
{
    sr_buf text = {0};
    sr_gx  x    = 0;
    if (json_dump_callback(v, append, &text, JSON_ENCODE_ANY | JSON_COMPACT) == 0 && !text.failed)
        x = sr_gb_lit(b, text.p, text.n);
    else
        (void)!sr_raise(b->err, SR_NOMEM, "host: no memory for a constant");
    sr_buf_end(&text);
    return x;
}

/* A constant is written with the white space of everything else. */
sr_gx sr_gj_constant(sr_gbuild *b, json_t *v)
{
    sr_buf l = {0};
    sr_gx  x;
    size_t i;
    json_t *item;
    const char *key;
    if (!json_is_object(v) && !json_is_array(v))
        return scalar(b, v);
    bool list = json_is_array(v);
    if (list ? json_array_size(v) == 0 : json_object_size(v) == 0)
        return sr_gb_str(b, list ? "[]" : "{}");
    x = SR_GB_SEQ(b, sr_gb_str(b, list ? "[" : "{"), sr_gj_space(b));
    sr_buf_add(&l, &x, sizeof x);
    if (list) {
        json_array_foreach(v, i, item) {
            x = i ? SR_GB_SEQ(b, sr_gj_comma(b), sr_gj_constant(b, item)) : sr_gj_constant(b, item);
            sr_buf_add(&l, &x, sizeof x);
        }
    } else {
        json_object_foreach(v, key, item) {
            json_t *k = json_string(key);
            x         = SR_GB_SEQ(b, l.n > sizeof x ? sr_gj_comma(b) : sr_gb_empty(b), k ? scalar(b, k) : sr_gb_nomem(b), sr_gj_colon(b), sr_gj_constant(b, item));
            json_decref(k);
            sr_buf_add(&l, &x, sizeof x);
        }
    }
    x = SR_GB_SEQ(b, sr_gj_space(b), sr_gb_str(b, list ? "]" : "}"));
    sr_buf_add(&l, &x, sizeof x);
    x = l.failed ? sr_gb_nomem(b) : sr_gb_seq(b, (sr_gx *)(void *)l.p, (uint32_t)(l.n / sizeof x));
    sr_buf_end(&l);
    return x;
}

/* Formats as expressions.  Where a format's rule is wider than an expression should be, this is a part of it: every text of these is one
 * of the format.  Labels of hosts are not counted. */
#define DATE  "((\\d\\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29|\\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8])))"
#define TIME  "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
#define LABEL "[A-Za-z0-9]+(-+[A-Za-z0-9]+)*"
#define HOST  LABEL "(\\." LABEL ")*"
#define ATOM  "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
#define BYTE  "(\\d|[1-9]\\d|1\\d\\d|2[0-4]\\d|25[0-5])"
#define HEX   "[0-9a-fA-F]"
#define H16   HEX "{1,4}"
#define NUM   "\\d{1,9}"
#define SPAN  "(" NUM "H(" NUM "M(" NUM "S)?)?|" NUM "M(" NUM "S)?|" NUM "S)" /* behind the T of a duration */
#define PCHAR "([A-Za-z0-9._~!$&'()*+,;=:@-]|%" HEX HEX ")"
static const struct { const char *name, *expression; } formats[] = {
    {"date", DATE}, {"time", TIME}, {"date-time", DATE "T" TIME},
    {"duration", "P(" NUM "W|T" SPAN "|(" NUM "Y(" NUM "M(" NUM "D)?)?|" NUM "M(" NUM "D)?|" NUM "D)(T" SPAN ")?)"},
    {"uuid", HEX "{8}-" HEX "{4}-" HEX "{4}-" HEX "{4}-" HEX "{12}"},
    {"email", ATOM "(\\." ATOM ")*@" LABEL "(\\." LABEL ")+"},
    {"hostname", HOST},
    {"ipv4", BYTE "(\\." BYTE "){3}"},
    {"ipv6", "(" H16 ":){7}" H16 "|(" H16 ":){1,7}:|(" H16 ":){1,6}:" H16 "|(" H16 ":){1,5}(:" H16 "){1,2}|(" H16 ":){1,4}(:" H16 "){1,3}|(" H16 ":){1,3}(:" H16 "){1,4}|("
             H16 ":){1,2}(:" H16 "){1,5}|" H16 ":(:" H16 "){1,6}|:((:" H16 "){1,7}|:)"},
    {"uri", "[A-Za-z][A-Za-z0-9+.-]*:(//" HOST "(:\\d{1,5})?(/" PCHAR "*)*|" PCHAR "+(/" PCHAR "*)*)(\\?(" PCHAR "|[/?])*)?(#(" PCHAR "|[/?])*)?"}};

sr_gx sr_gj_format(sr_gbuild *b, const char *name)
{
    for (size_t i = 0; i < SR_COUNT(formats); i++)
        if (strcmp(name, formats[i].name) == 0)
            return sr_gj_quoted(b, sr_gb_regex(b, formats[i].expression, strlen(formats[i].expression), true, false));
    return 0;
}
