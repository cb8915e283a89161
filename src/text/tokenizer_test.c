#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fault.h"
#include "base/mem.h"
#include "text/tiny_vocab.h"

static const char demo_model[] = "models/strata-demo-base-Q4_K_M.gguf";

/* ---- helpers --------------------------------------------------------------------------------- */

static sr_tokenizer *tiny(const char *kind)
{
    sr_tokenizer *t   = NULL;
    sr_err        err = {0};
    if (tiny_tokenizer(kind, &t, &err))
        fail_msg("%s: %s", kind, err.msg);
    return t;
}

static sr_tokenizer *demo(void)
{
    sr_gguf      *g   = NULL;
    sr_tokenizer *t   = NULL;
    sr_err        err = {0};
    if (sr_gguf_open(demo_model, &g, &err) || sr_tokenizer_open(g, &t, &err))
        fail_msg("%s", err.msg);
    sr_gguf_close(g);
    return t;
}

static sr_ids encode(const sr_tokenizer *t, const char *p, size_t n, unsigned flags)
{
    sr_ids ids = {0};
    sr_err err = {0};
    if (sr_tokenizer_encode(t, p, n, flags, &ids, &err))
        fail_msg("%s", err.msg);
    return ids;
}

static size_t unhex(const char *hex, size_t n, char *out)
{
    for (size_t i = 0; i + 1 < n; i += 2) {
        char two[3] = {hex[i], hex[i + 1], 0};
        out[i / 2]  = (char)strtoul(two, NULL, 16);
    }
    return n / 2;
}

/* "FLAGS HEX:IDS" against t. */
static void check_line(const sr_tokenizer *t, const char *line)
{
    static char text[1 << 16];
    const char *colon = strchr(line, ':');
    assert_non_null(colon);
    size_t      n    = unhex(line + 2, (size_t)(colon - line - 2), text);
    sr_ids      ids  = encode(t, text, n, (unsigned)(line[0] - '0'));
    const char *p    = colon + 1;
    size_t      want = 0;
    for (char *end; *p && *p != '\n'; p = end, want++) {
        long id = strtol(p, &end, 10);
        if (want >= ids.n || ids.p[want] != id)
            fail_msg("token %zu of \"%.*s\" is %d, llama.cpp says %ld", want, (int)n, text,
                     want < ids.n ? ids.p[want] : -1, id);
    }
    assert_int_equal(want, ids.n);
    sr_ids_end(&ids);
}

/* ---- the same ids as llama.cpp ---------------------------------------------------------------- */

static void the_demo_vocabulary_gives_llama_cpps_ids(void **state)
{
    (void)state;
    static char   line[1 << 16];
    sr_tokenizer *t = demo();
    FILE         *f = fopen("tests/data/tokenizer/demo.txt", "r");
    size_t        n = 0;
    assert_non_null(f);
    for (; fgets(line, sizeof line, f); n++)
        check_line(t, line);
    assert_true(n > 200);
    fclose(f);
    sr_tokenizer_close(t);
}

static void made_up_vocabularies_give_llama_cpps_ids(void **state)
{
    (void)state;
    static char   line[1 << 16];
    sr_tokenizer *t = NULL;
    FILE         *f = fopen("tests/data/tokenizer/tiny.txt", "r");
    size_t        kinds = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (line[0] != 'v') {
            check_line(t, line);
            continue;
        }
        line[strcspn(line, "\n")] = 0;
        sr_tokenizer_close(t);
        t = tiny(line + 2);
        kinds++;
    }
    assert_int_equal(kinds, 9);
    fclose(f);
    sr_tokenizer_close(t);
}

/* ---- nothing is lost -------------------------------------------------------------------------- */

static uint32_t draw(uint64_t *s, uint32_t below)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*s >> 33) % below);
}

/* Bytes of all kinds: noise, letters, broken UTF-8, runs. */
static size_t noise(uint64_t *s, char *out, size_t max)
{
    static const char some[] = "ab cde's12\n.\xC3\xA9\xE2\x96\x81\xF0\x9F\x98\x80<|end|>\xED\xA0\x80\xFF";
    size_t            n      = draw(s, (uint32_t)max);
    uint32_t          kind   = draw(s, 3);
    for (size_t i = 0; i < n; i++)
        out[i] = kind == 0 ? (char)draw(s, 256) : kind == 1 && i && draw(s, 8) ? out[i - 1] : some[draw(s, sizeof some - 1)];
    return n;
}

static void byte_level_text_survives_a_round_trip_whatever_the_bytes(void **state)
{
    (void)state;
    sr_tokenizer *t    = demo();
    uint64_t      seed = 5;
    char          text[200];
    for (int i = 0; i < 3000; i++) {
        size_t n   = noise(&seed, text, sizeof text);
        sr_ids ids = encode(t, text, n, (unsigned)i & SR_TOK_PARSE_SPECIAL);
        sr_buf out = {0};
        sr_err err = {0};
        assert_int_equal(sr_tokenizer_decode(t, ids.p, ids.n, true, &out, &err), SR_OK);
        assert_int_equal(out.n, n);
        assert_true(n == 0 || memcmp(out.p, text, n) == 0);
        sr_buf_end(&out);
        sr_ids_end(&ids);
    }
    sr_tokenizer_close(t);
}

static void sentencepiece_text_survives_but_for_its_marks(void **state)
{
    (void)state;
    sr_tokenizer *t    = tiny("spm");
    const char    text[] = "\xFFhello\0 w\xC3\xA9  \xE2\x96 x";
    sr_ids        ids  = encode(t, text, sizeof text - 1, 0);
    sr_buf        out  = {0};
    sr_err        err  = {0};
    assert_int_equal(sr_tokenizer_decode(t, ids.p, ids.n, true, &out, &err), SR_OK);
    assert_int_equal(out.n, sizeof text - 1); /* the space put in front is out again */
    assert_memory_equal(out.p, text, out.n);
    sr_buf_end(&out);
    sr_ids_end(&ids);
    sr_tokenizer_close(t);
}

static void a_byte_that_no_utf8_has_and_no_token_becomes_a_mark(void **state)
{
    (void)state;
    sr_tokenizer *t = tiny("bpe:qwen2"); /* has no token for FE, nor for 07 */
    sr_ids        a = encode(t, "a\xFE", 2, 0), b = encode(t, "a\xEF\xBF\xBD", 4, 0), c = encode(t, "a\x07", 2, 0);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.p, b.p, a.n * sizeof *a.p);
    assert_int_equal(c.n, 1); /* left out, as llama.cpp does */
    sr_ids_end(&a);
    sr_ids_end(&b);
    sr_ids_end(&c);
    sr_tokenizer_close(t);
}

/* ---- control tokens --------------------------------------------------------------------------- */

static void control_tokens_come_out_of_text_only_when_asked(void **state)
{
    (void)state;
    sr_tokenizer *t      = demo();
    const char    text[] = "a<|im_end|>b";
    int32_t       end    = sr_tokenizer_find(t, "<|im_end|>", 10);
    sr_ids        plain = encode(t, text, sizeof text - 1, 0), parsed = encode(t, text, sizeof text - 1, SR_TOK_PARSE_SPECIAL);
    assert_true(end >= 0);
    assert_int_equal(sr_tokenizer_type(t, end), SR_TOK_CONTROL);
    for (size_t i = 0; i < plain.n; i++)
        assert_true(sr_tokenizer_type(t, plain.p[i]) != SR_TOK_CONTROL);
    assert_int_equal(parsed.n, 3);
    assert_int_equal(parsed.p[1], end);
    sr_ids_end(&plain);
    sr_ids_end(&parsed);
    sr_tokenizer_close(t);
}

/* "a b" and "ab c" merge to the control token "abc" here: a file can say so, text still may not. */
static sr_tokenizer *treacherous(const char *model)
{
    static const char *const text[] = {"<unk>", "abc", "a", "b", "c", "ab", "<s>", "</s>", "<|start|>", "<0x7A>"};
    static const int32_t type[] = {SR_TOK_UNKNOWN, SR_TOK_CONTROL, SR_TOK_NORMAL, SR_TOK_NORMAL, SR_TOK_NORMAL, SR_TOK_NORMAL,
                                   SR_TOK_CONTROL, SR_TOK_NORMAL, SR_TOK_CONTROL, SR_TOK_CONTROL};
    static const float score[SR_COUNT(text)] = {0};
    tiny_gguf     g = {0};
    sr_buf        tokens = {0}, merges = {0};
    sr_tokenizer *t   = NULL;
    sr_err        err = {0};
    for (size_t i = 0; i < SR_COUNT(text); i++)
        tiny_item(&tokens, text[i], strlen(text[i]));
    tiny_item(&merges, "a b", 3);
    tiny_item(&merges, "ab c", 4);
    tiny_str(&g, "tokenizer.ggml.model", model);
    tiny_str(&g, "tokenizer.ggml.pre", "llama-bpe");
    tiny_bool(&g, "tokenizer.ggml.add_space_prefix", false);
    tiny_strings(&g, "tokenizer.ggml.tokens", &tokens);
    tiny_strings(&g, "tokenizer.ggml.merges", &merges);
    tiny_numbers(&g, "tokenizer.ggml.token_type", SR_GGUF_I32, type, SR_COUNT(type));
    tiny_numbers(&g, "tokenizer.ggml.scores", SR_GGUF_F32, score, SR_COUNT(score));
    sr_buf_end(&tokens);
    sr_buf_end(&merges);
    if (tiny_open(&g, &t, &err))
        fail_msg("%s", err.msg);
    return t;
}

static void merges_and_whole_words_never_make_a_control_token(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        sr_tokenizer *t   = treacherous(i ? "llama" : "gpt2");
        sr_ids        ids = encode(t, "abc", 3, 0);
        assert_int_equal(ids.n, 2);
        assert_int_equal(ids.p[0], 5);
        assert_int_equal(ids.p[1], 4);
        sr_ids_end(&ids);
        ids = encode(t, "abc", 3, SR_TOK_PARSE_SPECIAL);
        assert_int_equal(ids.n, 1);
        assert_int_equal(ids.p[0], 1);
        sr_ids_end(&ids);
        sr_tokenizer_close(t);
    }
}

static void a_control_token_named_as_a_byte_is_not_that_byte(void **state)
{
    (void)state;
    sr_tokenizer *t   = treacherous("llama");
    sr_ids        ids = encode(t, "az", 2, 0);
    assert_int_equal(ids.n, 2);
    assert_int_equal(ids.p[0], 2);
    assert_int_equal(ids.p[1], 0); /* <unk> */
    sr_ids_end(&ids);
    sr_tokenizer_close(t);
}

static void a_mark_that_is_shown_is_still_not_taken_from_text(void **state)
{
    (void)state;
    sr_tokenizer *t = treacherous("llama");
    size_t        n;
    sr_ids        ids = encode(t, "<|start|>", 9, 0);
    assert_true(ids.n > 1);
    sr_ids_end(&ids);
    ids = encode(t, "<|start|>", 9, SR_TOK_PARSE_SPECIAL);
    assert_int_equal(ids.n, 1);
    sr_tokenizer_piece(t, ids.p[0], false, &n); /* gpt-oss: shown even where control tokens are not */
    assert_int_equal(n, 9);
    sr_ids_end(&ids);
    sr_tokenizer_close(t);
}

static void end_tokens_are_found_by_name(void **state)
{
    (void)state;
    sr_tokenizer  *t = treacherous("llama"); /* eos is 2 by default, "</s>" ends too, though the file calls it normal */
    size_t         n;
    const int32_t *ends = sr_tokenizer_ends(t, &n);
    assert_int_equal(n, 2);
    assert_int_equal(ends[0], 2);
    assert_int_equal(ends[1], 7);
    assert_true(sr_tokenizer_is_end(t, 7));
    assert_false(sr_tokenizer_is_end(t, 3));
    assert_false(sr_tokenizer_is_end(t, -1));
    assert_int_equal(sr_tokenizer_type(t, 7), SR_TOK_CONTROL);
    sr_tokenizer_close(t);
    t = demo();
    assert_int_equal(sr_tokenizer_bos(t), 0);
    assert_int_equal(sr_tokenizer_eos(t), 2);
    assert_true(sr_tokenizer_adds_bos(t));
    assert_true(sr_tokenizer_is_end(t, 2));
    assert_int_equal(sr_tokenizer_n_vocab(t), 8192);
    assert_non_null(strstr(sr_tokenizer_template(t), "<|im_start|>"));
    assert_int_equal(sr_tokenizer_find(t, "no such token", 13), -1);
    sr_tokenizer_close(t);
}

static void a_token_outside_the_byte_alphabet_is_its_own_text(void **state)
{
    (void)state;
    tiny_gguf     g = {0};
    sr_buf        tokens = {0}, merges = {0};
    sr_tokenizer *t   = NULL;
    sr_err        err = {0};
    size_t        n;
    tiny_item(&tokens, "a", 1);
    tiny_item(&tokens, "\xE2\x80\x8D", 3);
    tiny_item(&merges, "a a", 3);
    tiny_str(&g, "tokenizer.ggml.model", "gpt2");
    tiny_strings(&g, "tokenizer.ggml.tokens", &tokens);
    tiny_strings(&g, "tokenizer.ggml.merges", &merges);
    assert_int_equal(tiny_open(&g, &t, &err), SR_OK);
    assert_memory_equal(sr_tokenizer_piece(t, 1, false, &n), "\xE2\x80\x8D", 3);
    sr_ids ids = encode(t, "\xE2\x80\x8D" "a", 4, 0); /* and no text becomes it */
    assert_int_equal(ids.n, 1);
    assert_int_equal(ids.p[0], 0);
    sr_ids_end(&ids);
    sr_buf_end(&tokens);
    sr_buf_end(&merges);
    sr_tokenizer_close(t);
}

/* ---- long words ------------------------------------------------------------------------------- */

/* The rule written down plainly: join the best pair, leftmost of equals, until none is left. */
typedef struct { size_t at[600]; size_t n; } naive;

static int32_t key_of(const sr_tokenizer *t, const char *p, size_t n)
{
    int32_t id = sr_tokenizer_find(t, p, n);
    return id >= 0 && sr_tokenizer_type(t, id) == SR_TOK_NORMAL ? id : -1;
}

/* spm only: scores by construction of the test vocabulary, score = -length, so the shortest go first. */
static void merge_naively(const sr_tokenizer *t, const char *w, size_t n, naive *out)
{
    for (size_t i = 0; i <= n; i++)
        out->at[i] = i;
    out->n = n;
    for (;;) {
        size_t best = SIZE_MAX, best_len = SIZE_MAX;
        for (size_t i = 0; i + 1 < out->n; i++) {
            size_t len = out->at[i + 2] - out->at[i];
            if (key_of(t, w + out->at[i], len) >= 0 && len < best_len) {
                best     = i;
                best_len = len;
            }
        }
        if (best == SIZE_MAX)
            return;
        memmove(&out->at[best + 1], &out->at[best + 2], (out->n - best - 1) * sizeof *out->at);
        out->n--;
    }
}

static sr_tokenizer *short_first(void)
{
    tiny_gguf     g      = {0};
    sr_buf        tokens = {0};
    int32_t       type[400];
    float         score[400];
    size_t        n    = 0;
    uint64_t      seed = 11;
    sr_tokenizer *t    = NULL;
    sr_err        err  = {0};
    tiny_item(&tokens, "<unk>", 5);
    type[n] = SR_TOK_UNKNOWN, score[n++] = 0;
    char seen[400][8] = {{0}};
    for (int tries = 0; tries < 500 && n < 260; tries++) {
        char   s[8] = {0};
        size_t len  = tries < 3 ? 1 : 2 + draw(&seed, 5), k;
        for (size_t i = 0; i < len; i++)
            s[i] = (char)('a' + (tries < 3 ? (uint32_t)tries : draw(&seed, 3)));
        for (k = 0; k < n && strcmp(seen[k], s) != 0; k++)
            ;
        if (k < n)
            continue;
        memcpy(seen[n], s, sizeof s);
        tiny_item(&tokens, s, len);
        type[n] = SR_TOK_NORMAL, score[n++] = -(float)len;
    }
    tiny_str(&g, "tokenizer.ggml.model", "llama");
    tiny_bool(&g, "tokenizer.ggml.add_space_prefix", false);
    tiny_strings(&g, "tokenizer.ggml.tokens", &tokens);
    tiny_numbers(&g, "tokenizer.ggml.token_type", SR_GGUF_I32, type, n);
    tiny_numbers(&g, "tokenizer.ggml.scores", SR_GGUF_F32, score, n);
    sr_buf_end(&tokens);
    if (tiny_open(&g, &t, &err))
        fail_msg("%s", err.msg);
    return t;
}

static void words_of_every_length_merge_as_the_plain_rule_says(void **state)
{
    (void)state;
    sr_tokenizer *t    = short_first();
    uint64_t      seed = 3;
    char          w[500];
    static naive  want;
    for (size_t n = 1; n < sizeof w; n += n < 60 ? 1 : 37) { /* around the change from arrays to the heap, and far */
        for (size_t i = 0; i < n; i++)
            w[i] = (char)('a' + draw(&seed, 3));
        merge_naively(t, w, n, &want);
        sr_ids ids = encode(t, w, n, 0);
        assert_int_equal(ids.n, want.n);
        for (size_t i = 0; i < ids.n; i++)
            assert_int_equal(ids.p[i], key_of(t, w + want.at[i], want.at[i + 1] - want.at[i]));
        sr_ids_end(&ids);
    }
    sr_tokenizer_close(t);
}

static void a_text_of_one_letter_is_no_weapon(void **state)
{
    (void)state;
    static const char *const kinds[] = {"bpe:qwen2", "spm", "gemma4", "bpe:tekken", "bpe:exaone-moe", "bpe:deepseek-llm"};
    const size_t             n       = 1 << 17;
    char                    *text    = sr_malloc(n);
    assert_non_null(text);
    for (size_t k = 0; k < SR_COUNT(kinds); k++) {
        sr_tokenizer *t = tiny(kinds[k]);
        for (const char *c = "a \n1\xC3\xFF"; *c; c++) {
            clock_t begin = clock();
            memset(text, *c, n);
            sr_ids ids = encode(t, text, n, SR_TOK_PARSE_SPECIAL);
            assert_true(ids.n > 0 || *c == '\xFF');
            /* quadratic would be minutes; the bound leaves room for sanitizers on a busy machine */
            assert_true((double)(clock() - begin) / CLOCKS_PER_SEC < 20);
            sr_ids_end(&ids);
        }
        sr_tokenizer_close(t);
    }
    sr_free(text);
}

/* ---- refusals --------------------------------------------------------------------------------- */

static void a_bad_vocabulary_is_refused_by_name(void **state)
{
    (void)state;
    enum { NO_MODEL, T5, PRE, NO_TOKENS, TWICE, SHORT_TYPES, SHORT_SCORES, NAN_SCORE, NO_MERGES, BAD_EOS, N };
    static const char *const says[N] = {"tokenizer.ggml.model", "\"t5\"", "\"\\x1b[2J\"", "tokenizer.ggml.tokens",
                                        "are both \"a\"", "token_type", "scores", "not a number", "merges", "eos_token_id\": token 3,"};
    for (int bad = 0; bad < N; bad++) {
        tiny_gguf     g      = {0};
        sr_buf        tokens = {0};
        sr_tokenizer *t      = NULL;
        sr_err        err    = {0};
        int32_t       type[] = {1, 1, 1};
        float         score[] = {0, bad == NAN_SCORE ? (float)strtod("nan", NULL) : 0.5f, 0};
        tiny_item(&tokens, "a", 1);
        tiny_item(&tokens, "b", 1);
        tiny_item(&tokens, bad == TWICE ? "a" : "c", 1);
        if (bad != NO_MODEL)
            tiny_str(&g, "tokenizer.ggml.model", bad == T5 ? "t5" : bad == PRE || bad == NO_MERGES ? "gpt2" : "llama");
        if (bad == PRE)
            tiny_str(&g, "tokenizer.ggml.pre", "\x1b[2J");
        if (bad == BAD_EOS)
            tiny_u32(&g, "tokenizer.ggml.eos_token_id", 3);
        if (bad != NO_TOKENS)
            tiny_strings(&g, "tokenizer.ggml.tokens", &tokens);
        tiny_numbers(&g, "tokenizer.ggml.token_type", SR_GGUF_I32, type, bad == SHORT_TYPES ? 2 : 3);
        tiny_numbers(&g, "tokenizer.ggml.scores", SR_GGUF_F32, score, bad == SHORT_SCORES ? 2 : 3);
        sr_buf_end(&tokens);
        sr_status s = tiny_open(&g, &t, &err);
        assert_int_equal(s, bad == T5 || bad == PRE ? SR_UNSUPPORTED : SR_INVALID);
        assert_null(t);
        if (!strstr(err.msg, says[bad]))
            fail_msg("\"%s\" does not say %s", err.msg, says[bad]);
    }
}

/* A vocabulary of few tokens, all of one letter but for `more`; the model, and one key more. */
static sr_status open_with(const char *model, const char *more, void (*add)(tiny_gguf *, const char *), const char *key, sr_tokenizer **t, sr_err *err)
{
    tiny_gguf   g      = {0};
    sr_buf      tokens = {0}, merges = {0};
    int32_t     type[64];
    float       score[64];
    uint32_t    n = 0;
    tiny_item(&tokens, "<s>", 3), tiny_item(&tokens, "</s>", 4), tiny_item(&tokens, "<unk>", 5), n = 3;
    for (char c = 'a'; c <= 'f'; c++, n++)
        tiny_item(&tokens, &c, 1);
    for (const char *p = more, *end; p && *p; p = *end ? end + 1 : end, n++) {
        end = strchrnul(p, '\n');
        tiny_item(&tokens, p, (size_t)(end - p));
    }
    for (uint32_t i = 0; i < n; i++) {
        type[i]  = i < 2 ? SR_TOK_CONTROL : i == 2 ? SR_TOK_UNKNOWN : i < 9 ? SR_TOK_NORMAL : SR_TOK_CONTROL;
        score[i] = 0;
    }
    tiny_item(&merges, "a b", 3);
    tiny_item(&merges, "nospace", 7);
    tiny_item(&merges, "a ", 2);
    tiny_item(&merges, "a \xe2\x82\xac", 5); /* no byte's letter */
    tiny_item(&merges, "<s> a", 5);
    if (model)
        tiny_str(&g, "tokenizer.ggml.model", model);
    tiny_strings(&g, "tokenizer.ggml.tokens", &tokens);
    tiny_numbers(&g, "tokenizer.ggml.token_type", SR_GGUF_I32, type, n);
    if (!key || strcmp(key, "tokenizer.ggml.scores") != 0)
        tiny_numbers(&g, "tokenizer.ggml.scores", SR_GGUF_F32, score, n);
    if (!key || strcmp(key, "tokenizer.ggml.merges") != 0)
        tiny_strings(&g, "tokenizer.ggml.merges", &merges);
    if (add)
        add(&g, key);
    sr_buf_end(&tokens);
    sr_buf_end(&merges);
    *t = NULL;
    return tiny_open(&g, t, err);
}

static void add_number(tiny_gguf *g, const char *key) { tiny_u32(g, key, 1); }
static void add_string(tiny_gguf *g, const char *key) { tiny_str(g, key, "x"); }
static void add_large(tiny_gguf *g, const char *key) { tiny_u32(g, key, 1000); }
static void add_nothing(tiny_gguf *g, const char *key) { (void)g, (void)key; }

static void a_key_of_another_type_is_refused_by_name(void **state)
{
    (void)state;
    static const struct { const char *model, *key; void (*add)(tiny_gguf *, const char *); } t[] = {
        {NULL, "tokenizer.ggml.model", add_number}, {"gpt2", "tokenizer.ggml.pre", add_number}, {"gpt2", "general.name", add_number},
        {"gpt2", "general.architecture", add_number}, {"gpt2", "tokenizer.ggml.add_bos_token", add_string},
        {"gpt2", "tokenizer.ggml.add_eos_token", add_string}, {"llama", "tokenizer.ggml.add_space_prefix", add_string},
        {"bert", "tokenizer.ggml.normalizer.lowercase", add_string}, {"bert", "tokenizer.ggml.normalizer.strip_accents", add_string},
        {"gpt2", "tokenizer.chat_template", add_number}, {"gpt2", "tokenizer.ggml.bos_token_id", add_string},
        {"gpt2", "tokenizer.ggml.eos_token_id", add_large}, {"gpt2", "tokenizer.ggml.eot_token_id", add_string},
        {"gpt2", "tokenizer.ggml.eot_token_id", add_large}, {"gpt2", "tokenizer.ggml.eom_token_id", add_large},
        {"gpt2", "tokenizer.ggml.fim_pre_token_id", add_large}, {"gpt2", "tokenizer.ggml.prefix_token_id", add_large},
        {"llama", "tokenizer.ggml.scores", add_string}, {"gpt2", "tokenizer.ggml.merges", add_string}, {"gpt2", "tokenizer.ggml.merges", add_nothing},
    };
    for (size_t i = 0; i < SR_COUNT(t); i++) {
        sr_tokenizer *k;
        sr_err        err = {0};
        sr_status     s   = open_with(t[i].model, NULL, t[i].add, t[i].key, &k, &err);
        if (s != SR_INVALID || k || !strstr(err.msg, t[i].key))
            fail_msg("%s: %d \"%s\"", t[i].key, s, err.msg);
    }
}

static void name_phi(tiny_gguf *g, const char *key) { (void)key, tiny_str(g, "general.name", "My PHI-3 mini"); }
static void name_phi3(tiny_gguf *g, const char *key) { (void)key, tiny_str(g, "general.name", "phi3"); }
static void name_modern(tiny_gguf *g, const char *key) { (void)key, tiny_str(g, "general.name", "Modern-BERT"); }
static void name_jina(tiny_gguf *g, const char *key) { (void)key, tiny_str(g, "tokenizer.ggml.pre", "jina-v2-code"); }
static void name_nomic(tiny_gguf *g, const char *key) { (void)key, tiny_str(g, "general.architecture", "nomic-bert-moe"); }
static void name_jina3(tiny_gguf *g, const char *key) { (void)key, tiny_str(g, "general.architecture", "jina-bert-v3"); }
static void name_kimi(tiny_gguf *g, const char *key) { (void)key, tiny_str(g, "tokenizer.ggml.pre", "kimi-k2"); }

/* What llama.cpp knows of a model by its name: white space before or behind special tokens, ends, merges left out. */
static void models_known_by_name_have_their_ways(void **state)
{
    (void)state;
    static const struct { const char *model, *more, *key; void (*add)(tiny_gguf *, const char *); const char *text; int32_t id[4]; uint32_t n; } t[] = {
        {"gpt2", "<|end|>", NULL, name_phi, "a<|end|> \n b", {3, 9, 4}, 3}, {"gpt2", "<|end|>", NULL, name_phi3, "a<|end|>  b", {3, 9, 4}, 3},
        {"gpt2", "[MASK]", NULL, name_modern, "a  [MASK]b", {3, 9, 4}, 3}, {"gpt2", "<mask>", NULL, name_jina, "a  <mask>b", {3, 9, 4}, 3},
        {"gpt2", "<mask>", NULL, name_nomic, "a <mask>b", {3, 9, 4}, 3}, {"gpt2", "<mask>", NULL, name_jina3, "a <mask>b", {3, 9, 4}, 3},
        {"gpt2", "ab", "tokenizer.ggml.merges", name_kimi, "fe", {8, 7}, 2},
    };
    for (size_t i = 0; i < SR_COUNT(t); i++) {
        sr_tokenizer *k;
        sr_err        err = {0};
        sr_ids        ids = {0};
        if (open_with(t[i].model, t[i].more, t[i].add, t[i].key, &k, &err) ||
            sr_tokenizer_encode(k, t[i].text, strlen(t[i].text), SR_TOK_PARSE_SPECIAL, &ids, &err))
            fail_msg("%zu: %s", i, err.msg);
        if (ids.n != t[i].n || memcmp(ids.p, t[i].id, t[i].n * sizeof *ids.p) != 0)
            fail_msg("%zu: %zu ids, first %d %d %d", i, ids.n, ids.p[0], ids.n > 1 ? ids.p[1] : -1, ids.n > 2 ? ids.p[2] : -1);
        sr_ids_end(&ids);
        sr_tokenizer_close(k);
    }
}

static bool is_end_text(const sr_tokenizer *k, const char *text)
{
    int32_t id = sr_tokenizer_find(k, text, strlen(text));
    return id >= 0 && sr_tokenizer_is_end(k, id);
}

static void some_ends_are_none_beside_others(void **state)
{
    (void)state;
    sr_tokenizer *k;
    sr_err        err = {0};
    assert_int_equal(open_with("gpt2", "<|call|>\n<|return|>\n<|end|>", NULL, NULL, &k, &err), SR_OK); /* gpt-oss */
    assert_true(is_end_text(k, "<|call|>") && is_end_text(k, "<|return|>") && !is_end_text(k, "<|end|>"));
    sr_tokenizer_close(k);
    assert_int_equal(open_with("gpt2", "<|calls|>\n<|flush|>\n<|end|>", NULL, NULL, &k, &err), SR_OK); /* solar-open */
    assert_true(is_end_text(k, "<|calls|>") && !is_end_text(k, "<|end|>"));
    sr_tokenizer_close(k);
    assert_int_equal(open_with("gpt2", "<|call|>\n<|end|>", NULL, NULL, &k, &err), SR_OK);
    assert_true(is_end_text(k, "<|end|>"));
    sr_tokenizer_close(k);
    assert_int_equal(open_with("gpt2", "<|tool_response>\n\n", NULL, NULL, &k, &err), SR_OK); /* gemma 4; a token without text */
    assert_false(is_end_text(k, "</s>"));
    assert_int_equal(sr_tokenizer_find(k, "[EMPTY_10]", 10), 10);
    sr_tokenizer_close(k);
}

/* Every range of the CJK characters that are words of their own, its first, its last, and its neighbours outside. */
static void each_chinese_character_is_a_word(void **state)
{
    (void)state;
    static const uint32_t ranges[][2] = {{0x4E00, 0x9FFF}, {0x3400, 0x4DBF}, {0x20000, 0x2A6DF}, {0x2A700, 0x2B81F}, {0x2B920, 0x2CEAF},
                                         {0xF900, 0xFAFF}, {0x2F800, 0x2FA1F}};
    sr_tokenizer *k;
    sr_err        err = {0};
    if (tiny_tokenizer("bert", &k, &err))
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < SR_COUNT(ranges); i++)
        for (int at = 0; at < 4; at++) {
            char     text[16];
            sr_ids   ids = {0};
            uint32_t cp  = at == 0 ? ranges[i][0] - 1 : at == 1 ? ranges[i][0] : at == 2 ? ranges[i][1] : ranges[i][1] + 1;
            unsigned n   = cp < 0x10000 ? 3 : 4;
            text[0] = 'a';
            text[1] = (char)(n == 3 ? 0xE0 | cp >> 12 : 0xF0 | cp >> 18);
            if (n == 4)
                text[2] = (char)(0x80 | (cp >> 12 & 63));
            text[n - 1] = (char)(0x80 | (cp >> 6 & 63));
            text[n]     = (char)(0x80 | (cp & 63));
            text[n + 1] = 'a';
            assert_int_equal(sr_tokenizer_encode(k, text, n + 2, 0, &ids, &err), SR_OK);
            assert_true(ids.n >= 1 && (at == 0 || at == 3 || ids.n == 3)); /* a, what is unknown, a */
            sr_ids_end(&ids);
        }
    sr_tokenizer_close(k);
}

static void ids_outside_the_vocabulary_do_not_decode(void **state)
{
    (void)state;
    sr_tokenizer *t   = tiny("spm");
    sr_buf        out = {0};
    sr_err        err = {0};
    size_t        n   = 9;
    assert_int_equal(sr_tokenizer_decode(t, (int32_t[]){0, 100000}, 2, true, &out, &err), SR_INVALID);
    assert_non_null(strstr(err.msg, "100000 at position 1"));
    sr_tokenizer_piece(t, -5, true, &n);
    assert_int_equal(n, 0);
    sr_buf_end(&out);
    sr_tokenizer_close(t);
}

static void a_model_that_wants_bos_but_has_none_is_told_so(void **state)
{
    (void)state;
    tiny_gguf     g = {0};
    sr_buf        tokens = {0}, merges = {0};
    sr_tokenizer *t   = NULL;
    sr_err        err = {0};
    sr_ids        ids = {0};
    tiny_item(&tokens, "a", 1);
    tiny_item(&merges, "a a", 3);
    tiny_str(&g, "tokenizer.ggml.model", "gpt2");
    tiny_str(&g, "tokenizer.ggml.pre", "llama-bpe"); /* adds BOS, whose default id 11 is not there */
    tiny_strings(&g, "tokenizer.ggml.tokens", &tokens);
    tiny_strings(&g, "tokenizer.ggml.merges", &merges);
    assert_int_equal(tiny_open(&g, &t, &err), SR_OK);
    assert_int_equal(sr_tokenizer_encode(t, "a", 1, SR_TOK_ADD_SPECIAL, &ids, &err), SR_INVALID);
    assert_non_null(strstr(err.msg, "BOS"));
    sr_ids_end(&ids);
    sr_buf_end(&tokens);
    sr_buf_end(&merges);
    sr_tokenizer_close(t);
}

/* ---- memory and threads ----------------------------------------------------------------------- */

static bool open_and_encode(const char *kind, sr_err *err)
{
    static const char text[] = "ab<user>abcde  don't <|end|> 12 \xE6\x97\xA5 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    sr_tokenizer     *t      = NULL;
    sr_ids            ids    = {0};
    sr_buf            out    = {0};
    bool ok = !tiny_tokenizer(kind, &t, err) && !sr_tokenizer_encode(t, text, sizeof text - 1, SR_TOK_PARSE_SPECIAL, &ids, err) &&
              !sr_tokenizer_decode(t, ids.p, ids.n, true, &out, err);
    sr_buf_end(&out);
    sr_ids_end(&ids);
    sr_tokenizer_close(t);
    return ok;
}

static void every_failed_allocation_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    static const char *const kinds[] = {"bpe:deepseek-v3", "spm", "bert"};
    for (size_t k = 0; k < SR_COUNT(kinds); k++) {
        sr_buf  warm = {0}; /* how many allocations the vocabulary itself takes: not what is tested */
        uint64_t before = sr_alloc_count(), skip;
        tiny_vocab(kinds[k], &warm);
        skip = sr_alloc_count() - before;
        sr_buf_end(&warm);
        bool fired = true;
        for (uint64_t nth = skip + 1; fired; nth++) {
            sr_err err = {0};
            sr_fault_arm(SR_FAULT_ALLOC, nth);
            bool ok = open_and_encode(kinds[k], &err);
            fired   = sr_fault_fired(SR_FAULT_ALLOC);
            sr_fault_arm(SR_FAULT_ALLOC, 0);
            assert_true(ok || fired); /* both: only PCRE2's JIT did not get its memory */
            assert_true(ok || (err.status == SR_NOMEM && err.msg[0]));
        }
    }
}

typedef struct { const sr_tokenizer *t; size_t n; uint64_t sum; } reader;

static void *encode_in_a_thread(void *arg)
{
    reader  *r    = arg;
    uint64_t seed = 8;
    char     text[100];
    for (int i = 0; i < 300; i++) {
        size_t n   = noise(&seed, text, sizeof text);
        sr_ids ids = {0};
        sr_err err = {0};
        if (sr_tokenizer_encode(r->t, text, n, 0, &ids, &err))
            return NULL;
        for (size_t k = 0; k < ids.n; k++)
            r->sum = r->sum * 31 + (uint64_t)ids.p[k];
        r->n += ids.n;
        sr_ids_end(&ids);
    }
    return r;
}

static void threads_share_a_tokenizer(void **state)
{
    (void)state;
    sr_tokenizer *t    = demo();
    reader        r[4] = {{t, 0, 0}, {t, 0, 0}, {t, 0, 0}, {t, 0, 0}};
    pthread_t     id[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&id[i], NULL, encode_in_a_thread, &r[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(id[i], NULL);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(r[i].sum, r[0].sum);
        assert_true(r[i].n > 1000);
    }
    sr_tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_demo_vocabulary_gives_llama_cpps_ids),
        cmocka_unit_test(made_up_vocabularies_give_llama_cpps_ids),
        cmocka_unit_test(byte_level_text_survives_a_round_trip_whatever_the_bytes),
        cmocka_unit_test(sentencepiece_text_survives_but_for_its_marks),
        cmocka_unit_test(a_byte_that_no_utf8_has_and_no_token_becomes_a_mark),
        cmocka_unit_test(control_tokens_come_out_of_text_only_when_asked),
        cmocka_unit_test(merges_and_whole_words_never_make_a_control_token),
        cmocka_unit_test(a_control_token_named_as_a_byte_is_not_that_byte),
        cmocka_unit_test(a_mark_that_is_shown_is_still_not_taken_from_text),
        cmocka_unit_test(end_tokens_are_found_by_name),
        cmocka_unit_test(a_token_outside_the_byte_alphabet_is_its_own_text),
        cmocka_unit_test(words_of_every_length_merge_as_the_plain_rule_says),
        cmocka_unit_test(a_text_of_one_letter_is_no_weapon),
        cmocka_unit_test(a_bad_vocabulary_is_refused_by_name),
        cmocka_unit_test(a_key_of_another_type_is_refused_by_name),
        cmocka_unit_test(models_known_by_name_have_their_ways),
        cmocka_unit_test(some_ends_are_none_beside_others),
        cmocka_unit_test(each_chinese_character_is_a_word),
        cmocka_unit_test(ids_outside_the_vocabulary_do_not_decode),
        cmocka_unit_test(a_model_that_wants_bos_but_has_none_is_told_so),
        cmocka_unit_test(every_failed_allocation_is_an_error_and_leaks_nothing),
        cmocka_unit_test(threads_share_a_tokenizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
