/* strata-bench-grammar [TOKENS]: what a grammar costs per token, on a made-up vocabulary of that size (131072).
 *
 * The vocabulary has what real ones have, whose texts are cut into words before tokens are learned: all bytes, runs of
 * blanks, up to three digits, runs of punctuation (a space in front, line ends behind), words of letters of one, two and three bytes with one space
 * or mark in front, and none with a mark behind.  For each form a text is cut into its
 * longest tokens; mask and accept of each token are timed together, by this thread's processor time:
 *     first     nothing is cached at all
 *     warm      the vocabulary has seen another grammar of that kind: what a new schema pays
 *     again     the same grammar once more: what a request with the same schema pays
 * Each mask is checked to allow the token that comes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bench.h"
#include "text/grammar_kit.h"

enum { MAX_STEPS = 4000, MAX_PIECE = 24 };

static double cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

/* ---- a vocabulary ----------------------------------------------------------------------------------------------- */

typedef struct { sr_buf tokens; int32_t *type; size_t n, cap; uint64_t seed; uint64_t *seen; size_t n_seen; } maker;

/* Adds a token unless it is there. */
static void add(maker *m, const char *p, size_t n)
{
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 1099511628211u;
    h |= 1;
    size_t at = h % m->n_seen;
    while (m->seen[at] && m->seen[at] != h)
        at = (at + 1) % m->n_seen;
    if (m->seen[at] || m->n == m->cap)
        return;
    m->seen[at] = h;
    kit_token(&m->tokens, m->type, &m->n, p, n, SR_TOK_NORMAL);
}

static size_t letters(maker *m, char *out, int kind)
{
    static const char *const syllables[] = {"a", "e", "i", "o", "u", "an", "er", "in", "on", "st", "th", "re", "ti", "al", "en", "ou", "ly", "ing", "tion", "ment", "able", "pre", "com", "s", "d", "t", "k", "m"};
    size_t n = 0, parts = 1 + kit_random(&m->seed) % 4;
    for (size_t i = 0; i < parts; i++) {
        if (kind == 0) {
            const char *s = syllables[kit_random(&m->seed) % SR_COUNT(syllables)];
            memcpy(out + n, s, strlen(s));
            n += strlen(s);
        } else { /* two bytes: U+0430.., three: U+4E00.. */
            uint32_t c = kind == 1 ? 0x430 + (uint32_t)(kit_random(&m->seed) % 64) : 0x4e00 + (uint32_t)(kit_random(&m->seed) % 6000);
            char     u[4];
            size_t   k = kind == 1 ? (u[0] = (char)(0xc0 | c >> 6), u[1] = (char)(0x80 | (c & 63)), 2u)
                                   : (u[0] = (char)(0xe0 | c >> 12), u[1] = (char)(0x80 | (c >> 6 & 63)), u[2] = (char)(0x80 | (c & 63)), 3u);
            memcpy(out + n, u, k);
            n += k;
        }
    }
    return n;
}

static void add_word(maker *m)
{
    static const char *const before[] = {"", " ", " ", " ", "\"", " \"", "_", "/", "."};
    char        w[64];
    uint64_t    r = kit_random(&m->seed);
    const char *b = before[r % SR_COUNT(before)];
    int         kind = (r >> 16) % 10 < 7 ? 0 : (r >> 16) % 10 < 8 ? 1 : 2;
    size_t      n = strlen(b);
    memcpy(w, b, n);
    n += letters(m, w + n, kind);
    if (kind == 0 && (r >> 24) % 4 == 0)
        w[strlen(b)] = (char)(w[strlen(b)] - 32);
    add(m, w, n);
}

static sr_status vocabulary(size_t size, sr_tokenizer **out, sr_err *err)
{
    static const char marks[] = "{}[]:,\".()<>=-_;/\\'!#*";
    maker     m = {.type = malloc(size * sizeof(int32_t)), .cap = size - 1, .seed = 42, .n_seen = 4 * size, .seen = calloc(4 * size, sizeof(uint64_t))};
    tiny_gguf g = {0};
    sr_buf    merges = {0};
    char      run[128];
    for (unsigned b = 0; b < 256; b++)
        add(&m, (char[]){(char)b}, 1);
    memset(run, ' ', sizeof run);
    for (size_t n = 2; n < 84; n++)
        add(&m, run, n);
    for (size_t n = 1; n < 40; n++) { /* a line end and what it is indented by */
        run[0] = '\n';
        add(&m, run, n);
    }
    for (int n = 10; n < 1000; n++)
        add(&m, run, (size_t)snprintf(run, sizeof run, "%d", n));
    for (int i = 0; i < 6000; i++) {
        size_t n = 2 + kit_random(&m.seed) % 3, from = kit_random(&m.seed) % 4 == 0, ends = kit_random(&m.seed) % 6 == 0;
        run[0] = ' ';
        for (size_t k = from; k < n; k++)
            run[k] = marks[kit_random(&m.seed) % (sizeof marks - 1)];
        run[n] = '\n';
        add(&m, run, n + ends);
    }
    while (m.n < m.cap)
        add_word(&m);
    kit_token(&m.tokens, m.type, &m.n, "<|end|>", 7, SR_TOK_CONTROL);
    tiny_item(&merges, "a n", 3);
    tiny_str(&g, "tokenizer.ggml.model", "gpt2");
    tiny_str(&g, "tokenizer.ggml.pre", "gpt-2");
    tiny_strings(&g, "tokenizer.ggml.tokens", &m.tokens);
    tiny_numbers(&g, "tokenizer.ggml.token_type", SR_GGUF_I32, m.type, m.n);
    tiny_strings(&g, "tokenizer.ggml.merges", &merges);
    tiny_u32(&g, "tokenizer.ggml.eos_token_id", (uint32_t)m.n - 1);
    sr_buf_end(&m.tokens);
    sr_buf_end(&merges);
    free(m.type);
    free(m.seen);
    return tiny_open(&g, out, err);
}

/* ---- forms and their texts -------------------------------------------------------------------------------------- */

typedef struct { const char *name; char kind; const char *source, *other, *text; } form; /* other: one of that kind, seen before */

#define PERSON(a, b, c, d, e) \
    "{\"type\":\"object\",\"properties\":{\"" a "\":{\"type\":\"string\"},\"" b "\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":150},\"" c "\":{\"type\":\"array\",\"items\":" \
    "{\"type\":\"string\"},\"maxItems\":5},\"" d "\":{\"enum\":[\"red\",\"green\",\"blue\"]},\"" e "\":{\"type\":\"object\",\"properties\":{\"street\":{\"type\":\"string\"}," \
    "\"zip\":{\"type\":\"string\",\"pattern\":\"^[0-9]{5}$\"}},\"required\":[\"street\",\"zip\"]}},\"required\":[\"" a "\",\"" b "\",\"" c "\",\"" d "\",\"" e "\"]}"
#define TREE(v, k) "{\"$ref\":\"#/$defs/n\",\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"" v "\":{\"type\":\"number\"},\"" k "\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/n\"}}},\"required\":[\"" v "\",\"" k "\"]}}}"
static const form forms[] = {
    {"json_object", 'j', "", NULL,
     "{\"title\": \"The interesting preparation of stations\", \"count\": 1234.5, \"list\": [1, 2, {\"deep\": [true, null, \"x\\n\\u00e9\"]}], \"text\": \"комментарий и 中文 in one string, and then some more of it\"}"},
    {"schema, five members", 's', PERSON("name", "age", "tags", "color", "address"), PERSON("n1", "a1", "t1", "c1", "d1"),
     "{\"name\": \"Ada Lovelace the interesting\", \"age\": 36, \"tags\": [\"computer\", \"poetry and more\"], \"color\": \"green\", \"address\": {\"street\": \"Main station 12\", \"zip\": \"12345\"}}"},
    {"the same, indented", 's', PERSON("name", "age", "tags", "color", "address"), PERSON("n2", "a2", "t2", "c2", "d2"),
     "{\n  \"name\": \"Ada\",\n  \"age\": 36,\n  \"tags\": [\n    \"computer\",\n    \"poetry\"\n  ],\n  \"color\": \"green\",\n  \"address\": {\n    \"street\": \"Main\",\n    \"zip\": \"12345\"\n  }\n}"},
    {"recursive schema", 's', TREE("value", "children"), TREE("v", "k"),
     "{\"value\": 1.5, \"children\": [{\"value\": 2, \"children\": []}, {\"value\": -3e4, \"children\": [{\"value\": 4, \"children\": [{\"value\": 5, \"children\": []}]}]}]}"},
    {"string of 20 to 300", 's', "{\"type\":\"string\",\"minLength\":20,\"maxLength\":300}", "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"minLength\":20,\"maxLength\":300}}",
     "\"A sentence that is long enough to be interesting, with stations, preparations and комментарий and 中文 in it, and again the same statement until there is enough of it.\""},
    {"regex", 'r', "[A-Z][a-z]+ [A-Z][a-z]+, [0-9]{4}-[0-9]{2}-[0-9]{2}( .*)?", "[0-9]+ .*", "Ada Lovelace, 1815-12-10 and then anything at all until the end of the line"},
    {"arithmetic (GBNF)", 'g', "root ::= expr\nexpr ::= term ([-+*/] term)*\nterm ::= [0-9]+ | \"(\" expr \")\" | [a-z]+ \"(\" expr (\",\" \" \"? expr)* \")\"\n", NULL,
     "12+(345*max(1, 2, (3+4)*5)-sin(7))/(((8)))"},
};

static sr_grammar *compile(const form *f, const char *source)
{
    sr_err      err = {0};
    sr_grammar *g;
    size_t      n = strlen(source);
    if (f->kind == 'j' ? sr_grammar_json_object(&g, &err) : f->kind == 'g' ? sr_grammar_gbnf(source, n, &g, &err)
        : f->kind == 'r' ? sr_grammar_regex(source, n, &g, &err) : sr_grammar_schema(source, n, &g, &err)) {
        fprintf(stderr, "%s: %s\n", f->name, err.msg);
        exit(1);
    }
    return g;
}

static size_t cut(const sr_tokenizer *t, const char *text, int32_t *out)
{
    size_t n = 0;
    for (size_t left = strlen(text); left;) {
        size_t k = left < MAX_PIECE ? left : MAX_PIECE;
        char   piece[4 * MAX_PIECE], c[4];
        for (;; k--) { /* tokens are found by their text in the file: bytes as characters */
            size_t m = 0;
            for (size_t i = 0; i < k; i++) {
                size_t w = sr_gpt2_encode((unsigned char)text[i], c);
                memcpy(piece + m, c, w);
                m += w;
            }
            if ((out[n] = sr_tokenizer_find(t, piece, m)) >= 0)
                break;
        }
        n++;
        text += k;
        left -= k;
    }
    return n;
}

typedef struct { double us[MAX_STEPS]; size_t n; } times;

static void walk(sr_lexicon *l, const sr_grammar *g, const int32_t *tok, size_t n, uint32_t *mask, times *out)
{
    sr_err      err = {0};
    sr_guide   *guide;
    sr_matcher *m;
    size_t      bytes;
    bool        any;
    const void *block = sr_grammar_bytes(g, &bytes);
    if (sr_guide_open(l, block, bytes, &guide, &err) || sr_matcher_open(guide, &m, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    for (size_t i = 0; i < n; i++) {
        double t0 = cpu_us();
        bool   ok = sr_matcher_mask(m, mask, &any, &err) == SR_OK;
        double t1 = cpu_us();
        ok &= (mask[tok[i] / 32] >> tok[i] % 32 & 1) != 0;
        double t2 = cpu_us();
        ok &= sr_matcher_accept(m, tok[i], &err) == SR_OK;
        if (!ok) {
            fprintf(stderr, "token %zu of the text is not allowed %s\n", i, err.msg);
            exit(1);
        }
        if (out && out->n < MAX_STEPS)
            out->us[out->n++] = t1 - t0 + cpu_us() - t2;
    }
    sr_matcher_close(m);
    sr_guide_close(guide);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void print(const char *name, const char *what, times *t)
{
    qsort(t->us, t->n, sizeof *t->us, by_size);
    double sum = 0;
    for (size_t i = 0; i < t->n; i++)
        sum += t->us[i];
    printf("%-22s %-6s %4zu tokens   median %8.2f us   mean %8.2f   p99 %9.2f   max %9.2f\n", name, what, t->n, t->us[t->n / 2], sum / (double)t->n,
           t->us[(size_t)((double)(t->n - 1) * 0.99)], t->us[t->n - 1]);
    t->n = 0;
}

static sr_lexicon *lexicon(const sr_tokenizer *t, double *ms)
{
    sr_err      err = {0};
    sr_lexicon *l;
    *ms = -cpu_us();
    if (sr_lexicon_open(t, sr_tokenizer_n_vocab(t), &l, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    *ms = (*ms + cpu_us()) / 1e3;
    return l;
}

static void bench(const form *f, const sr_tokenizer *t)
{
    static times   first, warm, again;
    static int32_t tok[MAX_STEPS];
    double         ms, compiled[11];
    size_t         n = cut(t, f->text, tok);
    sr_grammar    *g = compile(f, f->source), *other = f->other ? compile(f, f->other) : NULL;
    uint32_t      *mask = malloc((sr_tokenizer_n_vocab(t) + 31) / 32 * sizeof *mask);
    sr_lexicon    *cold = lexicon(t, &ms);
    for (int i = 0; i < 11; i++) {
        compiled[i] = -cpu_us();
        sr_grammar_close(compile(f, f->source));
        compiled[i] += cpu_us();
    }
    walk(cold, g, tok, n, mask, &first);
    for (int i = 0; i < 5; i++)
        walk(cold, g, tok, n, mask, &again);
    size_t bytes;
    sr_grammar_bytes(g, &bytes);
    printf("%-22s compiles in %.0f us to %zu bytes\n", f->name, sr_bench_spread(compiled, 11).median, bytes);
    print(f->name, "first", &first);
    if (other) { /* the vocabulary knows the other's text, whose strings and spaces are the same */
        sr_lexicon *l = lexicon(t, &ms);
        sr_err      err = {0};
        sr_guide   *guide;
        sr_matcher *m;
        size_t      k;
        bool        any;
        const void *block = sr_grammar_bytes(other, &k);
        if (sr_guide_open(l, block, k, &guide, &err) || sr_matcher_open(guide, &m, &err))
            exit(1);
        uint64_t seed = 1;
        for (int i = 0; i < 3000 && sr_matcher_mask(m, mask, &any, &err) == SR_OK; i++) { /* any way through it */
            uint32_t at = (uint32_t)(kit_random(&seed) % sr_tokenizer_n_vocab(t)), tries = 0;
            while (any && !(mask[at / 32] >> at % 32 & 1) && ++tries < sr_tokenizer_n_vocab(t))
                at = (at + 1) % sr_tokenizer_n_vocab(t);
            if (!any || sr_matcher_accept(m, (int32_t)at, &err)) {
                sr_matcher_close(m);
                if (sr_matcher_open(guide, &m, &err))
                    exit(1);
            }
        }
        sr_matcher_close(m);
        sr_guide_close(guide);
        walk(l, g, tok, n, mask, &warm);
        print(f->name, "warm", &warm);
        sr_lexicon_close(l);
    }
    print(f->name, "again", &again);
    sr_grammar_close(g);
    sr_grammar_close(other);
    sr_lexicon_close(cold);
    free(mask);
}

int main(int argc, char **argv)
{
    sr_err        err  = {0};
    size_t        size = argc > 1 ? strtoul(argv[1], NULL, 10) : 131072;
    sr_tokenizer *t;
    double        ms;
    if (size < 16384 || size > 1 << 20 || vocabulary(size, &t, &err)) {
        fprintf(stderr, "%s\n", err.msg[0] ? err.msg : "16384 to 1048576 tokens");
        return 1;
    }
    sr_lexicon *l = lexicon(t, &ms);
    printf("%u tokens: a trie in %.1f ms, %.1f MB\n", sr_tokenizer_n_vocab(t), ms, 1e-6 * (double)sr_lexicon_memory(l));
    sr_lexicon_close(l);
    for (size_t i = 0; i < SR_COUNT(forms); i++)
        bench(&forms[i], t);
    sr_tokenizer_close(t);
    return 0;
}
