/* grammar_kit.h - a vocabulary to try grammars on, for their tests and fuzzers: all bytes, common runs of JSON, words. */
#ifndef SR_TEXT_GRAMMAR_KIT_H
#define SR_TEXT_GRAMMAR_KIT_H
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "text/grammar_match.h"
#include "text/tiny_vocab.h"
#include "text/tokenizer_internal.h"

#ifdef SR_FUZZ /* each input walks the vocabulary several times */
enum { KIT_TOKENS = 480 };
#else
enum { KIT_TOKENS = 1600 };
#endif
typedef struct { sr_tokenizer *tok; sr_lexicon *lex; uint32_t *mask; } kit;

static inline uint64_t kit_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    return *s ^= *s << 17;
}

static inline void kit_token(sr_buf *list, int32_t *type, size_t *n, const char *bytes, size_t k, int32_t kind)
{
    sr_buf b = {0};
    char   c[4];
    for (size_t i = 0; i < k; i++)
        sr_buf_add(&b, c, kind == SR_TOK_CONTROL ? (size_t)(c[0] = bytes[i], 1) : sr_gpt2_encode((unsigned char)bytes[i], c));
    tiny_item(list, b.p, b.n);
    type[(*n)++] = kind;
    sr_buf_end(&b);
}

static inline sr_status kit_open(kit *k, sr_err *err)
{
    static const char *const runs[] = {
        "\",", "\":", "\": ", "\", \"", "\"}", "\"]", "{\"", "[\"", "[{\"", "}]", "}}", "},", "},{\"", "]}", "[[", "]]", "{}", "[]", "\":{\"", "\":[", " \"",
        "\n ", "\n  ", "\n    ", "  ", "    ", ", ", ",\n", "{\n  \"", "\n}", ": ", "\\n", "\\u", "\\\"", "true", "false", "null", "12", "123", "00", "0.", "-1", "e1",
        "2024-", "T0", "name", "age", "the", " the", " a", "ab", "abc", "aa", "aaa", "aaaaaaaa", "foo", "bar", "é", "日本", "日", "\xe6\x97", "x\"", "ab\":", "e\"}"};
    tiny_gguf g = {0};
    sr_buf    tokens = {0}, merges = {0};
    int32_t   type[KIT_TOKENS];
    uint64_t  seed = 11;
    size_t    n = 0;
    for (unsigned b = 0; b < 256; b++)
        kit_token(&tokens, type, &n, (char[]){(char)b}, 1, SR_TOK_NORMAL);
    for (size_t i = 0; i < SR_COUNT(runs); i++)
        kit_token(&tokens, type, &n, runs[i], strlen(runs[i]), SR_TOK_NORMAL);
    while (n < KIT_TOKENS - 1) { /* pieces put together; none twice */
        static const char *const pieces[] = {"a", "b", "c", "ab", "é", "日", "\xe6", "\xa5", "\"", "\\", "n", "u00", "}", ",", ":", " ", "1", "0", "x", "\n", "foo", "-", "]", "\xf0\x9f", "…", "\u2028", "\xe2"};
        char   t[40] = "";
        size_t at = 0, parts = 2 + kit_random(&seed) % 4;
        sr_buf all = {0};
        char   c[4];
        for (size_t i = 0; i < parts; i++)
            at += (size_t)snprintf(t + at, sizeof t - at, "%s", pieces[kit_random(&seed) % SR_COUNT(pieces)]);
        sr_buf_char(&all, '\xff');
        for (size_t i = 0; i < at; i++)
            sr_buf_add(&all, c, sr_gpt2_encode((unsigned char)t[i], c));
        sr_buf_char(&all, '\xff');
        if (!memmem(tokens.p, tokens.n, all.p, all.n))
            kit_token(&tokens, type, &n, t, at, SR_TOK_NORMAL);
        sr_buf_end(&all);
    }
    kit_token(&tokens, type, &n, "<|end|>", 7, SR_TOK_CONTROL);
    tiny_item(&merges, "a b", 3);
    tiny_str(&g, "tokenizer.ggml.model", "gpt2");
    tiny_str(&g, "tokenizer.ggml.pre", "gpt-2");
    tiny_strings(&g, "tokenizer.ggml.tokens", &tokens);
    tiny_numbers(&g, "tokenizer.ggml.token_type", SR_GGUF_I32, type, n);
    tiny_strings(&g, "tokenizer.ggml.merges", &merges);
    tiny_u32(&g, "tokenizer.ggml.eos_token_id", (uint32_t)n - 1);
    sr_buf_end(&tokens);
    sr_buf_end(&merges);
    *k = (kit){0};
    if (tiny_open(&g, &k->tok, err) || sr_lexicon_open(k->tok, (uint32_t)n + 5, &k->lex, err))
        return err->status;
    k->mask = sr_calloc(sr_lexicon_words(k->lex), sizeof *k->mask);
    return k->mask ? SR_OK : SR_NOMEM;
}

static inline void kit_close(kit *k)
{
    sr_lexicon_close(k->lex);
    sr_tokenizer_close(k->tok);
    sr_free(k->mask);
}

static inline bool kit_bit(const kit *k, int32_t t) { return k->mask[t / 32] >> t % 32 & 1; }

/* For fuzzers: takes allowed tokens as the bytes say; each must be accepted, and some forbidden one must not.  Frees g. */
static inline void kit_walk(sr_grammar *g, const uint8_t *bytes, size_t n)
{
    static kit  k;
    sr_err      err = {0};
    sr_guide   *guide;
    sr_matcher *m = NULL;
    size_t      size;
    bool        any;
    if (!k.lex && kit_open(&k, &err))
        __builtin_trap();
    const void *block = sr_grammar_bytes(g, &size);
    if (sr_guide_open(k.lex, block, size, &guide, &err) == SR_OK && sr_matcher_open(guide, &m, &err) == SR_OK) {
        uint32_t vocab = sr_tokenizer_n_vocab(k.tok);
        for (size_t i = 0; i < 24 && sr_matcher_mask(m, k.mask, &any, &err) == SR_OK && any; i++) {
            uint32_t t = (n ? bytes[i % n] * 7u + (uint32_t)i : 0) % vocab, forbidden = t;
            while (!kit_bit(&k, (int32_t)t))
                t = (t + 1) % vocab;
            sr_status s = SR_INVALID;
            if (!kit_bit(&k, (int32_t)forbidden))
                s = sr_matcher_accept(m, (int32_t)forbidden, &err);
            if (s == SR_OK)
                __builtin_trap();
            err = (sr_err){0};
            s   = sr_matcher_accept(m, (int32_t)t, &err);
            if (s == SR_INVALID)
                __builtin_trap();
            if (s)
                break;
        }
    }
    sr_matcher_close(m);
    sr_guide_close(guide);
    sr_grammar_close(g);
}
#endif
