/* Forms made to be costly: each compiles within its budget or is refused with a reason, and so do the masks of its first tokens.
 * Costs are this thread's own time, so that a busy machine fails nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <time.h>
#include <unistd.h>

#include "text/grammar_kit.h"

/* Ten times what an optimised build needs, so that one with checkers passes, too. */
enum { COMPILE_MS = 2000, MASK_MS = 2000, STEPS = 40 };

static kit    K;
static double worst_compile, worst_mask;
static char   worst_compile_of[80], worst_mask_of[80];

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void keep(double ms, double *worst, char *of, const char *name)
{
    if (ms > *worst) {
        *worst = ms;
        snprintf(of, 80, "%s", name);
    }
}

/* The first allowed token again and again. */
static void walk(const char *name, sr_grammar *g)
{
    sr_err      err = {0};
    sr_guide   *guide;
    sr_matcher *m = NULL;
    size_t      n;
    const void *bytes = sr_grammar_bytes(g, &n);
    bool        any = true;
    if (sr_guide_open(K.lex, bytes, n, &guide, &err) == SR_OK && sr_matcher_open(guide, &m, &err) == SR_OK)
        for (int i = 0; i < STEPS && any; i++) {
            double    began = cpu_ms();
            sr_status s     = sr_matcher_mask(m, K.mask, &any, &err);
            int32_t   t     = 0;
            while (!s && any && !kit_bit(&K, t))
                t++;
            if (!s && any)
                s = sr_matcher_accept(m, t, &err);
            keep(cpu_ms() - began, &worst_mask, worst_mask_of, name);
            if (s)
                break;
        }
    assert_true(!err.status || err.msg[0]);
    sr_matcher_close(m);
    sr_guide_close(guide);
}

static void bomb(char kind, const char *name, sr_buf *b)
{
    sr_err      err   = {0};
    sr_grammar *g     = NULL;
    double      began = cpu_ms();
    sr_status   s = kind == 'g' ? sr_grammar_gbnf(b->p, b->n, &g, &err) : kind == 'r' ? sr_grammar_regex(b->p, b->n, &g, &err)
                                                                                        : sr_grammar_schema(b->p, b->n, &g, &err);
    keep(cpu_ms() - began, &worst_compile, worst_compile_of, name);
    assert_int_equal(s == SR_OK, g != NULL);
    assert_true(s == SR_OK || (err.msg[0] && (s == SR_INVALID || s == SR_UNSUPPORTED)));
    if (g)
        walk(name, g);
    sr_grammar_close(g);
    b->n = 0;
}

static void times(sr_buf *b, const char *s, size_t n)
{
    while (n--)
        sr_buf_str(b, s);
}

static void grammars(sr_buf *b)
{
    sr_buf_str(b, "root ::= ");
    times(b, "(", 30000);
    times(b, ")", 30000);
    bomb('g', "30,000 parentheses", b);
    sr_buf_str(b, "root ::= "), times(b, "(", 60), sr_buf_str(b, "\"a\""), times(b, ")*", 60);
    bomb('g', "60 stars of stars", b);
    sr_buf_str(b, "root ::= root \"a\" | root root | \"a\" | \"\"");
    bomb('g', "left recursion with many readings", b);
    for (int i = 0; i < 2000; i++)
        sr_buf_fmt(b, "%s%d ::= r%d | r%d\n", i ? "r" : "root ::= r0\nr", i, i + 1, i + 2);
    sr_buf_str(b, "r2000 ::= \"a\"\nr2001 ::= \"b\"\n");
    bomb('g', "a Fibonacci number of paths", b);
    sr_buf_str(b, "root ::= ((((\"a\"?){200}){200}){200}){200}");
    bomb('g', "counts within counts", b);
    sr_buf_str(b, "root ::= \"a\"{65535} | \"b\"{0,65535}");
    bomb('g', "65,535 times", b);
    sr_buf_str(b, "root ::= [^a]{0,3000} [^b]{0,3000} [^c]{0,3000} [^d]{0,3000}");
    bomb('g', "classes that overlap", b);
    sr_buf_str(b, "root ::= \"\"");
    times(b, " | \"abcdefghij\"", 4500);
    bomb('g', "the same 4,500 times", b);
    sr_buf_str(b, "root ::= [");
    for (uint32_t c = 0x4e00; c < 0x4e00 + 2 * 5000; c += 2)
        sr_buf_fmt(b, "\\u%04x", (unsigned)c);
    sr_buf_str(b, "]{0,50}");
    bomb('g', "a class of 5,000 ranges", b);
    sr_buf_str(b, "root ::= s \"x\"\ns ::= \"a\" | \"a\" s s | \"a\" s \"b\" s | \"a\" s s s");
    bomb('g', "many ways to read the same", b);
}

static void expressions(sr_buf *b)
{
    static const char *const all[] = {"(a|aa)+", "(a*)*b", "((a*)*)*c", "(a|a)*d", "[ab]*a[ab]{5000}", "((((a{999}){999}){999}){999}){999}", "(.*){300}x",
                                      "\\w{5000}\\d{5000}", "(a?b?c?d?e?f?g?h?){3000}", "(x+x+)+y", ".*.*.*.*.*.*.*.*.*.*=.*", "(\\p{L}|\\w|\\d)*"};
    for (size_t i = 0; i < SR_COUNT(all); i++) {
        sr_buf_str(b, all[i]);
        bomb('r', all[i], b);
    }
    times(b, "(a?", 60), times(b, "){9}", 60);
    bomb('r', "60 counts within counts", b);
    times(b, "(a|", 20000);
    bomb('r', "20,000 open alternatives", b);
    times(b, "a?", 5000), times(b, "a", 5000);
    bomb('r', "5,000 optional, 5,000 not", b);
    sr_buf_str(b, "x");
    for (int i = 0; i < 9000; i++)
        sr_buf_fmt(b, "|w%d", i);
    bomb('r', "9,000 words", b);
}

static void schemas(sr_buf *b)
{
    static const char *const all[] = {
        "{\"$ref\":\"#\"}", "{\"anyOf\":[{\"$ref\":\"#\"},{\"$ref\":\"#\"}]}", "{\"type\":\"array\",\"items\":{\"$ref\":\"#\"},\"minItems\":60000}",
        "{\"type\":\"string\",\"minLength\":60000,\"maxLength\":65535}", "{\"type\":\"integer\",\"minimum\":-9223372036854775807,\"maximum\":9223372036854775807}",
        "{\"type\":\"string\",\"pattern\":\"^(a?){5000}a{5000}$\"}", "{\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":{\"maxItems\":65535},\"maxItems\":65535},\"maxItems\":65535}"};
    for (size_t i = 0; i < SR_COUNT(all); i++) {
        sr_buf_str(b, all[i]);
        bomb('s', all[i], b);
    }
    sr_buf_str(b, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{");
    for (int i = 0; i < 60; i++)
        sr_buf_fmt(b, "\"d%d\":{\"anyOf\":[{\"$ref\":\"#/$defs/d%d\"},{\"$ref\":\"#/$defs/d%d\"}]},", i, i + 1, i + 1);
    sr_buf_str(b, "\"d60\":{\"type\":\"null\"}}}");
    bomb('s', "2^60 ways through references", b);
    sr_buf_str(b, "{\"type\":\"object\",\"properties\":{\"p\":{}");
    for (int i = 0; i < 1500; i++)
        sr_buf_fmt(b, ",\"property_%d\":{\"type\":\"integer\"}", i);
    sr_buf_str(b, "}}");
    bomb('s', "1,500 optional members", b);
    sr_buf_str(b, "{\"enum\":[0");
    for (int i = 0; i < 8000; i++)
        sr_buf_fmt(b, ",\"%d\"", i * 7919);
    sr_buf_str(b, "]}");
    bomb('s', "8,000 values", b);
    times(b, "{\"items\":", 31), sr_buf_str(b, "{}"), times(b, "}", 31);
    bomb('s', "31 levels", b);
}

static void each_ends_within_its_budget(void **state)
{
    (void)state;
    sr_buf b = {0};
    grammars(&b);
    expressions(&b);
    schemas(&b);
    sr_buf_end(&b);
    print_message("longest compilation %.1f ms (%s), longest mask %.1f ms (%s)\n", worst_compile, worst_compile_of, worst_mask, worst_mask_of);
    assert_true(worst_compile < COMPILE_MS);
    assert_true(worst_mask < MASK_MS);
}

static size_t resident_kb(void)
{
    size_t pages = 0;
    FILE  *f     = fopen("/proc/self/statm", "re");
    if (!f || fscanf(f, "%*u %zu", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

/* No form is kept for ever: what 5,000 others leave behind is as much as what the first 1,000 did. */
static void ten_thousand_forms_leave_nothing(void **state)
{
    (void)state;
    enum { FORMS = 10000 };
    sr_buf b = {0};
    size_t half = 0;
    for (int i = 0; i < FORMS; i++) {
        sr_err      err = {0};
        sr_grammar *g;
        b.n = 0;
        sr_buf_fmt(&b, "{\"type\":\"object\",\"properties\":{\"k%d\":{\"type\":\"string\",\"maxLength\":%d}},\"required\":[\"k%d\"]}", i, i % 50, i);
        if (sr_grammar_schema(b.p, b.n, &g, &err))
            fail_msg("%s", err.msg);
        walk("one of ten thousand", g);
        sr_grammar_close(g);
        if (i == FORMS / 2)
            half = resident_kb();
    }
    sr_buf_end(&b);
    size_t end = resident_kb();
    print_message("%d forms: %zu KB resident, %zu KB after half of them; %zu KB in the lexicon\n", FORMS, end, half, sr_lexicon_memory(K.lex) / 1024);
#if !defined(__SANITIZE_ADDRESS__)
    assert_true(end < half + 4096);
#endif
    assert_true(sr_lexicon_memory(K.lex) < 64u << 20);
}

static int begin(void **state)
{
    (void)state;
    sr_err err = {0};
    if (kit_open(&K, &err))
        print_error("%s\n", err.msg);
    return err.status != SR_OK;
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
        cmocka_unit_test(each_ends_within_its_budget),
        cmocka_unit_test(ten_thousand_forms_leave_nothing),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
