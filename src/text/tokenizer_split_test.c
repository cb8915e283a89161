#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/cpmap.h"
#include "text/tokenizer_pre.h"

typedef struct { size_t len[2048], n, total; } words;

static bool take(void *arg, const char *word, size_t n)
{
    words *w = arg;
    (void)word;
    assert_true(n > 0 && w->n < SR_COUNT(w->len));
    w->len[w->n++] = n;
    w->total += n;
    return true;
}

static sr_splitter *splitter(const char *name)
{
    sr_splitter     *s   = NULL;
    sr_err           err = {0};
    const sr_pretok *pre = sr_pretok_find(name, strlen(name));
    if (!pre || sr_splitter_open(pre, &s, &err))
        fail_msg("%s: %s", name, pre ? err.msg : "not known");
    return s;
}

static void split(const sr_splitter *s, const char *text, size_t n, words *w)
{
    sr_err err = {0};
    w->n = w->total = 0;
    if (sr_split(s, text, n, take, w, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(w->total, n);
}

static void every_pre_tokeniser_cuts_as_llama_cpp_does(void **state)
{
    (void)state;
    static char  line[1 << 14], text[128][4096];
    static words w;
    size_t       len[128], n = 0, k = 0, names = 0;
    char         name[64] = "";
    sr_splitter *s        = NULL;
    FILE        *f        = fopen("tests/data/tokenizer/splits.txt", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "n %zu\n", &n), 1);
    assert_in_range(n, 30, 128);
    for (size_t i = 0; i < n; i++) {
        assert_non_null(fgets(line, sizeof line, f));
        len[i] = strcspn(line, "\n") / 2;
        for (size_t b = 0; b < len[i]; b++)
            text[i][b] = (char)strtoul((char[]){line[2 * b], line[2 * b + 1], 0}, NULL, 16);
    }
    while (fgets(line, sizeof line, f)) {
        if (line[0] == 'p') {
            assert_true(names == 0 || k == n);
            assert_int_equal(sscanf(line, "p %63s", name), 1);
            sr_splitter_close(s);
            s = splitter(name);
            k = 0;
            names++;
            continue;
        }
        split(s, text[k], len[k], &w);
        char *p = line;
        for (size_t i = 0; i < w.n; i++)
            if (strtoul(p, &p, 10) != w.len[i])
                fail_msg("%s: word %zu of text %zu has %zu bytes, llama.cpp differs: %s", name, i, k, w.len[i], line);
        assert_int_equal(*p, '\n');
        k++;
    }
    assert_int_equal(names, 30);
    assert_int_equal(k, n);
    fclose(f);
    sr_splitter_close(s);
}

static void broken_utf8_is_cut_byte_by_byte_and_nothing_is_lost(void **state)
{
    (void)state;
    static const char *const names[] = {"qwen2", "gpt-4o", "deepseek-llm", "kimi-k2", "youtu"};
    static words             w;
    /* each broken byte is a symbol, like U+FFFD: three of them are one word of symbols */
    static const char text[] = "ab\xFF\xC3(\xE2\x96 c\xC0\x80\xF5";
    for (size_t i = 0; i < SR_COUNT(names); i++) {
        sr_splitter *s = splitter(names[i]);
        for (size_t n = 0; n < sizeof text; n++)
            split(s, text, n, &w);
        sr_splitter_close(s);
    }
    sr_splitter *s = splitter("qwen2");
    split(s, text, sizeof text - 1, &w);
    assert_int_equal(w.n, 4);
    assert_int_equal(w.len[0], 2); /* ab */
    assert_int_equal(w.len[1], 5); /* FF C3 ( E2 96 */
    assert_int_equal(w.len[2], 2); /* " c" */
    assert_int_equal(w.len[3], 3); /* C0 80 F5 */
    sr_splitter_close(s);
}

static void the_hand_written_scanners_are_their_expressions(void **state)
{
    (void)state;
    /* qwen2 but for the contractions is an expression in the table: texts without ' cut alike */
    static words a, b;
    sr_splitter *scan = splitter("qwen2"), *regex = splitter("ufakzeka");
    uint64_t     seed = 1;
    static const char *const bits[] = {"a", "B", "\xC3\xA9", "1", "\xD9\xA3", " ", "  ", "\n", "\r", "\t", "!", "\xE3\x80\x82",
                                       "\xCC\x81", "\xE4\xB8\xAD", "\xE3\x80\x80", "\xC2\xA0", "\xF0\x9F\x98\x80", "\x01", "\xFF"};
    for (int i = 0; i < 20000; i++) {
        char   text[128];
        size_t n = 0;
        for (uint64_t k = 1 + (seed >> 40) % 20; k; k--) {
            seed            = seed * 6364136223846793005u + 1442695040888963407u;
            const char *bit = bits[(seed >> 33) % SR_COUNT(bits)];
            memcpy(text + n, bit, strlen(bit));
            n += strlen(bit);
        }
        split(scan, text, n, &a);
        split(regex, text, n, &b);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.len, b.len, a.n * sizeof *a.len);
    }
    sr_splitter_close(scan);
    sr_splitter_close(regex);
}

static bool stop_at_second(void *arg, const char *word, size_t n)
{
    (void)word;
    (void)n;
    return ++*(int *)arg < 2;
}

static void a_consumer_may_stop(void **state)
{
    (void)state;
    static const char *const names[] = {"qwen2", "deepseek-v3", "afmoe", "superbpe", "deepseek-llm"};
    for (size_t i = 0; i < SR_COUNT(names); i++) {
        sr_splitter *s     = splitter(names[i]);
        int          calls = 0;
        sr_err       err   = {0};
        assert_int_equal(sr_split(s, "one 1234567 three \xE4\xB8\xAD four\n", 27, stop_at_second, &calls, &err), SR_OK);
        assert_int_equal(calls, 2);
        sr_splitter_close(s);
    }
}

static void names_are_whole_words_of_the_table(void **state)
{
    (void)state;
    assert_non_null(sr_pretok_find("llama-bpe", 9));
    assert_non_null(sr_pretok_find("gpt-2", 5));
    assert_non_null(sr_pretok_find("jina-v2-code", 12));
    assert_ptr_equal(sr_pretok_find("llama3", 6), sr_pretok_find("pixtral", 7));
    assert_null(sr_pretok_find("llama", 5));
    assert_null(sr_pretok_find("gpt-2 phi-2", 11));
    assert_null(sr_pretok_find("", 0));
    assert_null(sr_pretok_find("qwen2\0", 6));
}

static void categories_are_those_of_unicode_15_1(void **state)
{
    (void)state;
    static const struct { uint32_t cp; sr_cpclass is; } want[] = {
        {'a', SR_CP_LETTER}, {'_', SR_CP_PUNCT}, {'$', SR_CP_SYMBOL}, {0x0B, SR_CP_SPACE}, {0x85, SR_CP_SPACE},
        {0x00, SR_CP_CONTROL}, {0xBD, SR_CP_NUMBER}, {0x301, SR_CP_MARK}, {0x3000, SR_CP_SPACE}, {0x378, SR_CP_NONE},
        {0x200B, SR_CP_CONTROL}, {0xD800, SR_CP_CONTROL}, {0xE000, SR_CP_CONTROL}, {0xFFFD, SR_CP_SYMBOL},
        {0x2FFC, SR_CP_SYMBOL}, {0x2EBF0, SR_CP_LETTER}, {0x2EE5D, SR_CP_LETTER}, {0x2EE5E, SR_CP_NONE}, /* new in 15.1 */
        {0x10FFFF, SR_CP_NONE}};
    sr_cpmap m;
    assert_true(sr_cpmap_classes(&m));
    for (size_t i = 0; i < SR_COUNT(want); i++)
        assert_int_equal(sr_cpmap_get(&m, want[i].cp), want[i].is);
    uint32_t count[16] = {0};
    for (uint32_t cp = 0; cp < SR_CP_MAX; cp++)
        count[sr_cpmap_get(&m, cp)]++;
    assert_int_equal(count[SR_CP_LETTER], 136726); /* L, N: DerivedGeneralCategory.txt 15.1 */
    assert_int_equal(count[SR_CP_NUMBER], 1831);
    assert_int_equal(count[SR_CP_SPACE], 25); /* PropList.txt White_Space */
    sr_cpmap_end(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pre_tokeniser_cuts_as_llama_cpp_does),
        cmocka_unit_test(broken_utf8_is_cut_byte_by_byte_and_nothing_is_lost),
        cmocka_unit_test(the_hand_written_scanners_are_their_expressions),
        cmocka_unit_test(a_consumer_may_stop),
        cmocka_unit_test(names_are_whole_words_of_the_table),
        cmocka_unit_test(categories_are_those_of_unicode_15_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
