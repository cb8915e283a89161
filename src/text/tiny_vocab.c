#include "text/tiny_vocab.h"
#include "base/mem.h"
#include "text/tokenizer_internal.h"

#include <string.h>

/* ---- GGUF ------------------------------------------------------------------------------------ */

static void put_u32(sr_buf *b, uint32_t v) { sr_buf_add(b, &v, sizeof v); }
static void put_u64(sr_buf *b, uint64_t v) { sr_buf_add(b, &v, sizeof v); }
static void put_string(sr_buf *b, const char *p, size_t n)
{
    put_u64(b, n);
    sr_buf_add(b, p, n);
}

static void put_key(tiny_gguf *g, const char *key, uint32_t type)
{
    put_string(&g->kv, key, strlen(key));
    put_u32(&g->kv, type);
    g->n++;
}

void tiny_str(tiny_gguf *g, const char *key, const char *value)
{
    put_key(g, key, SR_GGUF_STRING);
    put_string(&g->kv, value, strlen(value));
}

void tiny_u32(tiny_gguf *g, const char *key, uint32_t value)
{
    put_key(g, key, SR_GGUF_U32);
    put_u32(&g->kv, value);
}

void tiny_bool(tiny_gguf *g, const char *key, bool value)
{
    put_key(g, key, SR_GGUF_BOOL);
    sr_buf_char(&g->kv, value);
}

void tiny_numbers(tiny_gguf *g, const char *key, sr_gguf_type item, const void *v, size_t n)
{
    put_key(g, key, SR_GGUF_ARRAY);
    put_u32(&g->kv, item);
    put_u64(&g->kv, n);
    sr_buf_add(&g->kv, v, 4 * n);
}

void tiny_item(sr_buf *list, const char *p, size_t n)
{
    sr_buf_add(list, p, n);
    sr_buf_char(list, '\xFF');
}

/* The n-th item of a list; false: there are fewer. */
static bool item_at(const sr_buf *list, size_t i, const char **p, size_t *n)
{
    const char *at = list->p, *end = list->p + list->n;
    for (; at < end; i--) {
        const char *sep = memchr(at, '\xFF', (size_t)(end - at));
        if (i == 0) {
            *p = at;
            *n = (size_t)(sep - at);
            return true;
        }
        at = sep + 1;
    }
    return false;
}

void tiny_strings(tiny_gguf *g, const char *key, const sr_buf *list)
{
    uint64_t n = 0;
    for (size_t i = 0; i < list->n; i++)
        n += list->p[i] == '\xFF';
    put_key(g, key, SR_GGUF_ARRAY);
    put_u32(&g->kv, SR_GGUF_STRING);
    put_u64(&g->kv, n);
    for (size_t from = 0, i = 0; i < list->n; i++)
        if (list->p[i] == '\xFF') {
            put_string(&g->kv, list->p + from, i - from);
            from = i + 1;
        }
}

void tiny_end(tiny_gguf *g, sr_buf *out)
{
    sr_buf_add(out, "GGUF", 4);
    put_u32(out, 3);
    put_u64(out, 0);
    put_u64(out, g->n);
    sr_buf_add(out, g->kv.p, g->kv.n);
    while (out->n % 32)
        sr_buf_char(out, 0);
    sr_buf_end(&g->kv);
}

/* ---- making up vocabularies ------------------------------------------------------------------- */

typedef struct {
    uint64_t  random;
    bool      bytes; /* strings are written in GPT-2's byte alphabet */
    sr_buf    token, merge;
    int32_t   type[2048];
    float     score[2048];
    size_t    n;
    tiny_gguf g;
} maker;

static uint32_t draw(maker *m, uint32_t below)
{
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((m->random >> 33) % below);
}

static bool has(const sr_buf *list, const char *p, size_t n)
{
    const char *q;
    size_t      k;
    for (size_t at = 0; at < list->n; at += k + 1) {
        q = list->p + at;
        k = (size_t)((const char *)memchr(q, '\xFF', list->n - at) - q);
        if (k == n && memcmp(q, p, n) == 0)
            return true;
    }
    return false;
}

static void encode(const maker *m, const char *p, size_t n, sr_buf *out)
{
    for (size_t i = 0; i < n; i++) {
        char     c[4] = {p[i]};
        unsigned k    = m->bytes ? sr_gpt2_encode((unsigned char)p[i], c) : 1;
        sr_buf_add(out, c, k);
    }
}

/* Adds a token if it is new. */
static void token(maker *m, const char *p, size_t n, int32_t type, float score)
{
    sr_buf text = {0};
    if (type == SR_TOK_NORMAL)
        encode(m, p, n, &text);
    else
        sr_buf_add(&text, p, n);
    if (!has(&m->token, text.p, text.n)) {
        SR_ASSERT(m->n < SR_COUNT(m->type), "more tokens than room");
        m->type[m->n]  = type;
        m->score[m->n] = score;
        m->n++;
        tiny_item(&m->token, text.p, text.n);
    }
    sr_buf_end(&text);
}

static void word(maker *m, const char *text, int32_t type) { token(m, text, strlen(text), type, 0); }

/* Specials of every kind, some overlapping, some with white space. */
static void specials(maker *m)
{
    word(m, "<|end|>", SR_TOK_CONTROL);
    word(m, "<s>", SR_TOK_CONTROL);
    word(m, "</s>", SR_TOK_CONTROL);
    word(m, "<unk>", SR_TOK_UNKNOWN);
    word(m, "<user>", SR_TOK_USER);
    word(m, "ab<us", SR_TOK_USER);
    word(m, "r>a", SR_TOK_USER);
    word(m, "   ", SR_TOK_USER);
    word(m, "\n\n\n", SR_TOK_USER);
    word(m, "<|pad|>", SR_TOK_UNUSED);
}

/* Merges of random symbols: pieces first holds the characters, and grows by what is made. */
static void merges(maker *m, sr_buf *pieces, size_t n_chars, size_t n)
{
    size_t have = n_chars;
    for (size_t i = 0; i < n; i++) {
        const char *a, *b;
        size_t      na, nb;
        sr_buf      both = {0}, line = {0};
        bool ok = item_at(pieces, draw(m, (uint32_t)have), &a, &na) && item_at(pieces, draw(m, (uint32_t)have), &b, &nb);
        SR_ASSERT(ok, "%zu pieces", have);
        sr_buf_add(&both, a, na);
        sr_buf_add(&both, b, nb);
        if (both.n <= 9) {
            encode(m, a, na, &line);
            sr_buf_char(&line, ' ');
            encode(m, b, nb, &line);
            tiny_item(&m->merge, line.p, line.n);
            if (i % 16) /* some results are no tokens */
                token(m, both.p, both.n, SR_TOK_NORMAL, 0);
            tiny_item(pieces, both.p, both.n);
            have++;
        }
        sr_buf_end(&both);
        sr_buf_end(&line);
    }
}

/* Random strings over an alphabet that no merge need make. */
static void strings(maker *m, const char *const *alphabet, size_t n_alphabet, size_t n, bool scores)
{
    for (size_t i = 0; i < n; i++) {
        sr_buf s = {0};
        for (uint32_t k = 2 + draw(m, 5); k; k--)
            sr_buf_str(&s, alphabet[draw(m, (uint32_t)n_alphabet)]);
        token(m, s.p, s.n, SR_TOK_NORMAL, scores ? -(float)draw(m, 9) : 0);
        sr_buf_end(&s);
    }
}

static void finish(maker *m, const char *model, const char *pre, sr_buf *out)
{
    tiny_gguf *g = &m->g;
    tiny_str(g, "general.architecture", "llama");
    tiny_str(g, "tokenizer.ggml.model", model);
    tiny_str(g, "tokenizer.ggml.pre", pre);
    tiny_strings(g, "tokenizer.ggml.tokens", &m->token);
    tiny_numbers(g, "tokenizer.ggml.token_type", SR_GGUF_I32, m->type, m->n);
    tiny_numbers(g, "tokenizer.ggml.scores", SR_GGUF_F32, m->score, m->n);
    if (m->merge.n)
        tiny_strings(g, "tokenizer.ggml.merges", &m->merge);
    tiny_end(g, out);
    sr_buf_end(&m->token);
    sr_buf_end(&m->merge);
}

static void make_bpe(const char *pre, sr_buf *out)
{
    static const char *const alphabet[] = {"a", "b", "c", "d", "e", "s", "t", " ", "'", "1", "2", "\n", ".", "\xC3", "\xA9"};
    maker                    m = {.random = 1, .bytes = true};
    sr_buf                   pieces = {0};
    for (unsigned b = 0; b < 256; b++)
        if (b != 7 && b != 0xFE && b != 'Q') /* an ASCII control, an upper byte and a letter are missing */
            token(&m, (char[]){(char)b}, 1, SR_TOK_NORMAL, 0);
    specials(&m);
    for (size_t i = 0; i < SR_COUNT(alphabet); i++)
        tiny_item(&pieces, alphabet[i], 1);
    merges(&m, &pieces, SR_COUNT(alphabet), 700);
    strings(&m, alphabet, SR_COUNT(alphabet) - 2, 60, false);
    sr_buf_end(&pieces);
    tiny_str(&m.g, "general.name", "tiny");
    tiny_u32(&m.g, "tokenizer.ggml.bos_token_id", 254);
    tiny_u32(&m.g, "tokenizer.ggml.eos_token_id", 253);
    tiny_bool(&m.g, "tokenizer.ggml.add_bos_token", true);
    tiny_bool(&m.g, "tokenizer.ggml.add_eos_token", true);
    finish(&m, "gpt2", pre, out);
}

static void byte_tokens(maker *m, int skip)
{
    static const char hex[] = "0123456789ABCDEF";
    for (unsigned b = 0; b < 256; b++)
        if ((int)b != skip)
            token(m, (char[]){'<', '0', 'x', hex[b >> 4], hex[b & 15], '>'}, 6, SR_TOK_BYTE, 0);
}

static const char *const letters[] = {"\xE2\x96\x81", "a", "b", "c", "d", "e", "s", "t", "1", "2", "\n", ".", "<", ">",
                                      "\xC3\xA9", "\xE6\x97\xA5", "\xF0\x9F\x98\x80"};

static void make_gemma4(sr_buf *out)
{
    maker  m      = {.random = 2};
    sr_buf pieces = {0};
    specials(&m);
    byte_tokens(&m, 'Q');
    for (size_t i = 0; i < SR_COUNT(letters); i++) {
        word(&m, letters[i], SR_TOK_NORMAL);
        tiny_item(&pieces, letters[i], strlen(letters[i]));
    }
    merges(&m, &pieces, SR_COUNT(letters), 700);
    strings(&m, letters, SR_COUNT(letters), 40, false);
    word(&m, "\n\n", SR_TOK_NORMAL);
    word(&m, "\n\n\n\n\n", SR_TOK_NORMAL);
    sr_buf_end(&pieces);
    tiny_str(&m.g, "general.name", "tiny");
    tiny_u32(&m.g, "tokenizer.ggml.bos_token_id", 1);
    finish(&m, "gemma4", "", out);
}

static void make_spm(const char *name, bool prefix, sr_buf *out)
{
    maker m = {.random = 3};
    word(&m, "<unk>", SR_TOK_UNKNOWN);
    word(&m, "<s>", SR_TOK_CONTROL);
    word(&m, "</s>", SR_TOK_CONTROL);
    byte_tokens(&m, -1);
    specials(&m);
    word(&m, "<|endoftext|>", SR_TOK_CONTROL);
    for (size_t i = 0; i < SR_COUNT(letters) - 1; i++)
        token(&m, letters[i], strlen(letters[i]), SR_TOK_NORMAL, -20);
    strings(&m, letters, SR_COUNT(letters), 600, true);
    strings(&m, letters, 4, 120, true);
    tiny_str(&m.g, "general.name", name);
    tiny_bool(&m.g, "tokenizer.ggml.add_space_prefix", prefix);
    tiny_bool(&m.g, "tokenizer.ggml.add_eos_token", true);
    finish(&m, "llama", "default", out);
}

static void make_bert(sr_buf *out)
{
    static const char *const more[] = {"\xE2\x96\x81", "a", "b", "c", "d", "e", "1", "ss", "\xC3\xB8", "\xCE\xB1", "t"};
    maker                    m      = {.random = 4};
    word(&m, "[UNK]", SR_TOK_CONTROL);
    word(&m, "[CLS]", SR_TOK_CONTROL);
    word(&m, "[SEP]", SR_TOK_CONTROL);
    word(&m, "[MASK]", SR_TOK_CONTROL);
    for (size_t i = 1; i < SR_COUNT(more); i++) {
        char   both[16];
        size_t n = strlen(more[i]);
        memcpy(both, more[0], 3);
        memcpy(both + 3, more[i], n);
        token(&m, more[i], n, SR_TOK_NORMAL, 0);
        token(&m, both, 3 + n, SR_TOK_NORMAL, 0);
    }
    strings(&m, more, SR_COUNT(more), 300, false);
    word(&m, "\xE2\x96\x81,", SR_TOK_NORMAL);
    word(&m, "\xE2\x96\x81\xE4\xB8\xAD", SR_TOK_NORMAL);
    word(&m, "\xE2\x96\x81$", SR_TOK_NORMAL);
    tiny_str(&m.g, "general.name", "tiny");
    tiny_u32(&m.g, "tokenizer.ggml.unknown_token_id", 0);
    tiny_u32(&m.g, "tokenizer.ggml.bos_token_id", 1);
    tiny_u32(&m.g, "tokenizer.ggml.seperator_token_id", 2);
    finish(&m, "bert", "default", out);
}

void tiny_vocab(const char *kind, sr_buf *out)
{
    if (strncmp(kind, "bpe:", 4) == 0)
        make_bpe(kind + 4, out);
    else if (strcmp(kind, "gemma4") == 0)
        make_gemma4(out);
    else if (strcmp(kind, "bert") == 0)
        make_bert(out);
    else
        make_spm(strcmp(kind, "spm-phi3") == 0 ? "Phi-3 tiny" : "tiny", strcmp(kind, "spm-noprefix") != 0, out);
    SR_ASSERT(!out->failed, "no memory");
}

static sr_status open_bytes(sr_buf *bytes, sr_tokenizer **out, sr_err *err)
{
    sr_gguf  *g = NULL;
    sr_status s = sr_gguf_open_mem(bytes->p, bytes->n, &g, err);
    *out        = NULL;
    if (!s)
        s = sr_tokenizer_open(g, out, err);
    sr_gguf_close(g);
    sr_buf_end(bytes);
    return s;
}

sr_status tiny_tokenizer(const char *kind, sr_tokenizer **out, sr_err *err)
{
    sr_buf bytes = {0};
    tiny_vocab(kind, &bytes);
    return open_bytes(&bytes, out, err);
}

sr_status tiny_open(tiny_gguf *g, sr_tokenizer **out, sr_err *err)
{
    sr_buf bytes = {0};
    tiny_end(g, &bytes);
    return open_bytes(&bytes, out, err);
}
