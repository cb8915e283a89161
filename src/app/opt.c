#include "app/opt.h"
#include "app/optdoc.h"
#include "base/mem.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { WORD_MAX = 32, HELP_COL = 28, HELP_WIDTH = 100, OPT_MAX = 64 };

/* Levenshtein distance, a swap of neighbours counted as one (optimal string alignment), of words <= WORD_MAX. */
static unsigned distance(const char *a, const char *b)
{
    unsigned d[3][WORD_MAX + 2];
    size_t   na = strlen(a), nb = strlen(b);
    for (unsigned j = 0; j <= nb; j++)
        d[1][j] = j;
    for (size_t i = 1; i <= na; i++) {
        unsigned *prev2 = d[(i + 2) % 3], *prev = d[i % 3], *row = d[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= nb; j++) {
            unsigned best = prev[j - 1] + (a[i - 1] != b[j - 1]);
            best          = SR_MIN(best, prev[j] + 1);
            best          = SR_MIN(best, row[j - 1] + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = SR_MIN(best, prev2[j - 2] + 1);
            row[j] = best;
        }
    }
    return d[(na + 1) % 3][nb];
}

const char *sr_nearest(const char *word, const char *const *first, size_t n, size_t step)
{
    const char *best = NULL;
    size_t      len  = strlen(word);
    unsigned    near = (unsigned)(len < 4 ? 1 : len < 8 ? 2 : 3) + 1;
    if (len > WORD_MAX)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        const char *w = *(const char *const *)((const char *)first + i * step);
        unsigned    d = strlen(w) <= WORD_MAX ? distance(word, w) : near;
        if (d < near) {
            near = d;
            best = w;
        }
    }
    return best;
}

/* An argument as it may stand in a message: one line, printable. */
typedef struct { char text[80]; } shown;
static const char *show(shown *s, const char *text) { return sr_escape(s->text, sizeof s->text, text, strlen(text)); }

static sr_status bad_range(const sr_opt *o, const char *text, double lo, double hi, sr_err *err)
{
    bool whole = o->kind != SR_OPT_REAL;
    return sr_raise(err, SR_INVALID, whole ? "--%s %s: must be in %.0f .. %.0f" : "--%s %s: must be in %g .. %g", o->name,
                    text, lo, hi);
}

/* A whole number in [lo, hi]; the text ends at `end`. */
static sr_status read_whole(const sr_opt *o, const char *text, const char *end, double lo, double hi, int64_t *out,
                            sr_err *err)
{
    char *stop;
    errno         = 0;
    long long v   = strtoll(text, &stop, 10);
    char word[40];
    sr_escape(word, sizeof word, text, (size_t)(end - text));
    if (text == end || stop != end || strchr(" \t\n+", *text))
        return sr_raise(err, SR_INVALID, "--%s \"%s\": not a whole number", o->name, word);
    if (errno == ERANGE || (double)v < lo || (double)v > hi)
        return bad_range(o, word, lo, hi, err);
    *out = v;
    return SR_OK;
}

static sr_status read_u64(const sr_opt *o, const char *text, sr_err *err)
{
    shown s;
    char *stop;
    errno                = 0;
    unsigned long long v = strtoull(text, &stop, 10);
    if (!*text || *stop || strchr(" \t\n+-", *text) || errno == ERANGE)
        return sr_raise(err, SR_INVALID, "--%s \"%s\": not a whole number in 0 .. %llu", o->name, show(&s, text), ~0ull);
    *(uint64_t *)o->out = v;
    return SR_OK;
}

static sr_status read_real(const sr_opt *o, const char *text, sr_err *err)
{
    shown s;
    char *stop;
    float v = strtof(text, &stop);
    if (!*text || *stop || strchr(" \t\n", *text) || !isfinite(v))
        return sr_raise(err, SR_INVALID, "--%s \"%s\": not a number", o->name, show(&s, text));
    if ((o->lo != 0 || o->hi != 0) && ((double)v < o->lo || (double)v > o->hi))
        return bad_range(o, show(&s, text), o->lo, o->hi, err);
    *(float *)o->out = v;
    return SR_OK;
}

static sr_status read_bytes(const sr_opt *o, const char *text, sr_err *err)
{
    static const struct { const char *name; double factor; } unit[] = {{"", 1}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"KB", 1e3},
        {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
    shown  s;
    char  *stop;
    double v = *text >= '0' && *text <= '9' ? strtod(text, &stop) : -1, factor = 0;
    for (size_t i = 0; v >= 0 && i < SR_COUNT(unit); i++)
        factor = strcasecmp(stop, unit[i].name) == 0 ? unit[i].factor : factor;
    if (factor == 0 || !isfinite(v) || text[strspn(text, "0123456789.")] == 'x')
        return sr_raise(err, SR_INVALID, "--%s \"%s\": not a size; 14G, 1.5G or 512MiB expected", o->name, show(&s, text));
    if ((o->lo != 0 || o->hi != 0) && (v * factor < o->lo || v * factor > o->hi))
        return bad_range(o, show(&s, text), o->lo, o->hi, err);
    if (v * factor >= 0x1p63)
        return sr_raise(err, SR_INVALID, "--%s \"%s\": more than any machine has", o->name, show(&s, text));
    *(uint64_t *)o->out = (uint64_t)(v * factor);
    return SR_OK;
}

static sr_status read_list(const sr_opt *o, const char *text, double lo, double hi, sr_err *err)
{
    sr_optlist *l = o->out;
    l->n          = 0;
    for (const char *at = text;; at++) {
        const char *end = at + strcspn(at, ",");
        int64_t     v   = 0;
        if (l->n == SR_OPT_LIST_MAX)
            return sr_raise(err, SR_INVALID, "--%s: more than %d values", o->name, SR_OPT_LIST_MAX);
        if (read_whole(o, at, end, lo, hi, &v, err))
            return err->status;
        l->v[l->n++] = (uint32_t)v;
        if (!*(at = end))
            return SR_OK;
    }
}

static sr_status read_choice(const sr_opt *o, const char *text, sr_err *err)
{
    shown  s;
    size_t n = strlen(text);
    for (const char *at = o->arg; n > 0 && *at; at += strcspn(at, "|"), at += *at == '|')
        if (strcspn(at, "|") == n && memcmp(at, text, n) == 0) {
            *(const char **)o->out = text;
            return SR_OK;
        }
    return sr_raise(err, SR_INVALID, "--%s \"%s\": must be one of %s", o->name, show(&s, text), o->arg);
}

static sr_status read_value(const sr_opt *o, const char *text, sr_err *err)
{
    bool    all = o->lo == 0 && o->hi == 0;
    double  lo = all ? 0 : o->lo, hi = all ? UINT32_MAX : o->hi;
    int64_t v = 0;
    switch (o->kind) {
    case SR_OPT_FLAG: *(bool *)o->out = true; return SR_OK;
    case SR_OPT_STR: *(const char **)o->out = text; return SR_OK;
    case SR_OPT_CHOICE: return read_choice(o, text, err);
    case SR_OPT_U64: return read_u64(o, text, err);
    case SR_OPT_REAL: return read_real(o, text, err);
    case SR_OPT_BYTES: return read_bytes(o, text, err);
    case SR_OPT_LIST: return read_list(o, text, lo, hi, err);
    case SR_OPT_INT:
        lo = all ? INT32_MIN : lo;
        hi = all ? INT32_MAX : hi;
        if (read_whole(o, text, text + strlen(text), lo, hi, &v, err))
            return err->status;
        *(int32_t *)o->out = (int32_t)v;
        return SR_OK;
    case SR_OPT_UINT: break;
    }
    if (read_whole(o, text, text + strlen(text), lo, hi, &v, err))
        return err->status;
    *(uint32_t *)o->out = (uint32_t)v;
    return SR_OK;
}

static const char *program(const sr_optspec *s) { return s->program ? s->program : "strata"; }

/* The option written in `word` ("--name", "--name=value", "-n", "-nvalue"); *value: what is joined to it, or NULL. */
static sr_status find(const sr_optspec *s, const char *word, const sr_opt **out, const char **value, sr_err *err)
{
    bool   is_long = word[1] == '-';
    size_t n       = is_long ? strcspn(word + 2, "=") : 1;
    char   name[WORD_MAX + 1], seen[80];
    *value = is_long ? (word[2 + n] ? word + 3 + n : NULL) : (word[2] ? word + 2 : NULL);
    for (size_t i = 0; i < s->n_opt; i++) {
        const sr_opt *o = *out = &s->opt[i];
        if (is_long ? strlen(o->name) == n && memcmp(o->name, word + 2, n) == 0 : o->letter == word[1])
            return SR_OK;
    }
    snprintf(name, sizeof name, "%.*s", (int)SR_MIN(n, sizeof name - 1), word + (is_long ? 2 : 1));
    const char *near = is_long && s->n_opt ? sr_nearest(name, &s->opt[0].name, s->n_opt, sizeof *s->opt) : NULL;
    sr_escape(seen, sizeof seen, word, is_long ? n + 2 : 2);
    if (near)
        return sr_raise(err, SR_INVALID, "unknown option %s; did you mean --%s?", seen, near);
    return sr_raise(err, SR_INVALID, "unknown option %s; see %s%s%s --help", seen, program(s),
                    *s->name ? " " : "", s->name);
}

/* Reads the option at argv[*i]; *i moves past its value. */
static sr_status read_option(const sr_optspec *s, int argc, char **argv, int *i, bool *given, sr_err *err)
{
    shown         v;
    const sr_opt *o     = NULL;
    const char   *value = NULL;
    if (find(s, argv[*i], &o, &value, err))
        return err->status;
    if (given[o - s->opt])
        return sr_raise(err, SR_INVALID, "--%s is given twice", o->name);
    given[o - s->opt] = true;
    if (o->kind == SR_OPT_FLAG && value)
        return sr_raise(err, SR_INVALID, "--%s takes no value (found \"%s\")", o->name, show(&v, value));
    if (o->kind != SR_OPT_FLAG && !value) {
        if (*i + 1 >= argc)
            return sr_raise(err, SR_INVALID, "--%s needs a value: --%s %s", o->name, o->name, o->arg);
        value = argv[++*i];
        if (strncmp(value, "--", 2) == 0)
            return sr_raise(err, SR_INVALID, "--%s needs a value, found %s (write --%s=%s if that is the value)", o->name,
                            show(&v, value), o->name, v.text);
    }
    return read_value(o, value, err);
}

sr_status sr_opt_read(const sr_optspec *s, int *argc, char **argv, sr_err *err)
{
    bool given[OPT_MAX] = {false};
    int  n              = 1; /* operands are moved to the front */
    SR_ASSERT(s->n_opt <= OPT_MAX, "%zu options", s->n_opt);
    for (int i = 1; i < *argc; i++)
        if (strcmp(argv[i], "--") == 0)
            break;
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return SR_AGAIN;
    bool options = true;
    for (int i = 1; i < *argc; i++) {
        char *a = argv[i];
        if (options && strcmp(a, "--") == 0) {
            options = false;
        } else if (options && a[0] == '-' && a[1]) {
            if (read_option(s, *argc, argv, &i, given, err))
                return err->status;
        } else if (n > s->max_operands) {
            shown v;
            return sr_raise(err, SR_INVALID, "unexpected operand \"%s\"; see %s%s%s --help",
                            show(&v, a), program(s), *s->name ? " " : "", s->name);
        } else {
            argv[n++] = a;
        }
    }
    *argc = n;
    if (n - 1 < s->min_operands)
        return sr_raise(err, SR_INVALID, "%s is missing: strata %s [options] %s", s->operands, s->name, s->operands);
    return SR_OK;
}

/* Prints `text` from column `col` on, wrapped; the cursor stands at `at`. */
static void print_wrapped(const char *text, int at, int col)
{
    if (at > 0 && at > col - 2) {
        putchar('\n');
        at = 0;
    }
    printf("%*s", col - at, "");
    at = col;
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (at > col && at + 1 + n > HELP_WIDTH) {
            printf("\n%*s", col, "");
            at = col;
        } else if (at > col) {
            putchar(' ');
            at++;
        }
        printf("%.*s", n, text);
        at += n;
        text += n;
        text += strspn(text, " ");
    }
    putchar('\n');
}

void sr_opt_default(const sr_opt *o, char *out, size_t cap)
{
    const sr_optlist *l = o->out;
    const char       *s = o->kind == SR_OPT_STR || o->kind == SR_OPT_CHOICE ? *(const char **)o->out : NULL;
    out[0]              = 0;
    if (s)
        snprintf(out, cap, " (default %s)", s);
    else if (o->kind == SR_OPT_UINT && *(uint32_t *)o->out)
        snprintf(out, cap, " (default %u)", *(uint32_t *)o->out);
    else if (o->kind == SR_OPT_REAL && (double)*(float *)o->out >= o->lo) /* else there is none */
        snprintf(out, cap, " (default %g)", (double)*(float *)o->out);
    else if (o->kind == SR_OPT_LIST && l->n) {
        size_t at = (size_t)snprintf(out, cap, " (default ");
        for (uint32_t i = 0; i < l->n && at < cap; i++)
            at += (size_t)snprintf(out + at, cap - at, "%s%u", i ? "," : "", l->v[i]);
        if (at < cap)
            snprintf(out + at, cap - at, ")");
    }
}

static void print_help(const sr_optspec *s)
{
    printf("usage: %s%s%s%s%s%s\n\n", program(s), *s->name ? " " : "", s->name, s->n_opt ? " [options]" : "", s->operands ? " " : "",
           s->operands ? s->operands : "");
    print_wrapped(s->about, 0, 0);
    putchar('\n');
    for (size_t i = 0; i < s->n_opt; i++) {
        const sr_opt *o = &s->opt[i];
        char          text[512], def[128], letter[5] = "    ";
        if (o->letter)
            snprintf(letter, sizeof letter, "-%c, ", o->letter);
        int at = printf("  %s--%s%s%s", letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        sr_opt_default(o, def, sizeof def);
        snprintf(text, sizeof text, "%s%s", o->help, def);
        print_wrapped(text, at, HELP_COL);
    }
    print_wrapped("this text", printf("  -h, --help"), HELP_COL);
    if (s->more)
        printf("\n%s", s->more);
}

int sr_opt_parse(const sr_optspec *s, int *argc, char **argv)
{
    sr_err       err = {0};
    const size_t as  = strlen(SR_OPT_HELP_AS);
    if (*argc == 2 && strncmp(argv[1], SR_OPT_HELP_AS, as) == 0 && sr_optdoc(s, argv[1] + as))
        return 0;
    sr_status st = sr_opt_read(s, argc, argv, &err);
    if (st == SR_AGAIN) {
        print_help(s);
        return 0;
    }
    if (st) {
        fprintf(stderr, "%s%s%s: %s\n", program(s), *s->name ? " " : "", s->name, err.msg);
        return 2;
    }
    return -1;
}
