/* From tokenizer.ggml.* to the tables.  The GGUF reader has checked every string and array length;
 * what is checked here is what the keys mean to each other. */
#include "base/mem.h"
#include "text/tokenizer_internal.h"

#include <math.h>
#include <string.h>

static const char *show(char out[64], sr_gguf_str s) { return sr_escape(out, 64, s.p, s.n); }

/* llama.cpp takes the strings of a vocabulary as C strings: what follows a NUL does not count. */
static sr_gguf_str c_string(sr_gguf_str s) { return (sr_gguf_str){s.p, strnlen(s.p, s.n)}; }

static bool is(sr_gguf_str s, const char *text) { return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0; }

static sr_status no_memory(sr_err *err) { return sr_raise(err, SR_NOMEM, "host: memory for a tokenizer's tables"); }

static bool put(sr_tokenizer *t, const char *p, size_t n, sr_tokslice *out)
{
    *out = (sr_tokslice){(uint32_t)t->blob.n, (uint32_t)n};
    return sr_buf_add(&t->blob, p, n);
}

/* ---- which kind ----------------------------------------------------------------------------- */

static sr_status load_model(sr_tokenizer *t, const sr_gguf *g, sr_err *err)
{
    sr_gguf_str model = {"", 0}, pre = {"default", 7};
    char        name[64];
    sr_status   s;
    if ((s = sr_gguf_string(g, "tokenizer.ggml.model", &model, err)) ||
        (s = sr_gguf_string(g, "tokenizer.ggml.pre", &pre, err)))
        return s;
    if (!sr_gguf_find(g, "tokenizer.ggml.model"))
        return sr_raise(err, SR_INVALID, "no key \"tokenizer.ggml.model\": the file has no tokenizer");
    if (is(model, "llama")) {
        t->model        = SR_TOKMODEL_SPM;
        t->bos          = 1, t->eos = 2, t->unk = 0;
        t->space_prefix = t->add_bos = t->escape_spaces = true;
        return SR_OK;
    }
    if (is(model, "bert")) {
        t->model   = SR_TOKMODEL_WPM;
        t->bos     = 101, t->unk = 100, t->sep = 102;
        t->add_bos = true;
        return SR_OK;
    }
    if (is(model, "gemma4"))
        pre = (sr_gguf_str){"gemma4", 6};
    else if (!is(model, "gpt2"))
        return sr_raise(err, SR_UNSUPPORTED,
                        "tokenizer.ggml.model \"%s\" is not supported (gpt2, llama, gemma4 and bert are)", show(name, model));
    else
        t->bos = t->eos = 11;
    t->model = SR_TOKMODEL_BPE;
    t->pre   = sr_pretok_find(pre.n ? pre.p : "default", pre.n ? pre.n : 7);
    if (!t->pre)
        return sr_raise(err, SR_UNSUPPORTED, "tokenizer.ggml.pre \"%s\" is not a known pre-tokeniser", show(name, pre));
    unsigned f       = t->pre->flags;
    t->byte_level    = !(f & SR_PRE_RAW);
    t->escape_spaces = f & SR_PRE_SPACE_ESCAPE;
    t->ignore_merges = f & SR_PRE_IGNORE_MERGES;
    t->add_bos       = f & SR_PRE_ADD_BOS;
    t->newline_tokens = f & SR_PRE_NEWLINE_TOKENS;
    if (f & SR_PRE_NO_BOS)
        t->bos = -1;
    return SR_OK;
}

static sr_status load_ids(sr_tokenizer *t, const sr_gguf *g, sr_err *err)
{
    struct { const char *key; int32_t *id; } ids[] = {
        {"tokenizer.ggml.bos_token_id", &t->bos}, {"tokenizer.ggml.eos_token_id", &t->eos},
        {"tokenizer.ggml.unknown_token_id", &t->unk}, {"tokenizer.ggml.seperator_token_id", &t->sep}};
    sr_status s;
    for (size_t i = 0; i < SR_COUNT(ids); i++) {
        if (*ids[i].id >= 0 && (uint32_t)*ids[i].id >= t->n_vocab) /* a default that this vocabulary has not */
            *ids[i].id = -1;
        if ((s = sr_tok_id_of(t, g, ids[i].key, ids[i].id, err)))
            return s;
    }
    if ((s = sr_gguf_bool(g, "tokenizer.ggml.add_bos_token", &t->add_bos, err)) ||
        (s = sr_gguf_bool(g, "tokenizer.ggml.add_eos_token", &t->add_eos, err)))
        return s;
    if (t->model == SR_TOKMODEL_SPM)
        return sr_gguf_bool(g, "tokenizer.ggml.add_space_prefix", &t->space_prefix, err);
    if (t->model == SR_TOKMODEL_BPE && t->pre->flags & SR_PRE_FORCE_BOS)
        t->add_bos = true;
    return SR_OK;
}

/* ---- tokens --------------------------------------------------------------------------------- */

static bool bytes_of(const sr_gguf_kv *strings, size_t *bytes, sr_err *err)
{
    *bytes = 0;
    for (uint64_t i = 0; i < strings->n; i++)
        *bytes += strings->str[i].n;
    if (*bytes > SR_TOK_MAX_BYTES)
        sr_raise(err, SR_INVALID, "key \"%s\": %zu bytes of text, the limit is %d", strings->key, *bytes, SR_TOK_MAX_BYTES);
    return *bytes <= SR_TOK_MAX_BYTES;
}

static sr_status load_texts(sr_tokenizer *t, const sr_gguf_kv *tokens, sr_err *err)
{
    size_t bytes;
    if (!bytes_of(tokens, &bytes, err))
        return SR_INVALID;
    sr_dict *names = t->byte_level ? &t->by_text : &t->by_key;
    if (!sr_buf_reserve(&t->blob, bytes) || !sr_dict_begin(names, t->n_vocab))
        return no_memory(err);
    for (uint32_t i = 0; i < t->n_vocab; i++) {
        sr_gguf_str s     = c_string(tokens->str[i]);
        size_t      start = t->blob.n;
        if (!(s.n ? put(t, s.p, s.n, &t->text[i]) : sr_buf_fmt(&t->blob, "[EMPTY_%u]", i)))
            return no_memory(err);
        if (s.n == 0) /* the name llama.cpp gives it */
            t->text[i] = (sr_tokslice){(uint32_t)start, (uint32_t)(t->blob.n - start)};
        t->key[i]     = t->text[i];
        int32_t first = sr_dict_add(names, t->blob.p, t->text, (int32_t)i);
        char    name[64];
        if (first < 0)
            return no_memory(err);
        if ((uint32_t)first != i)
            return sr_raise(err, SR_INVALID, "key \"tokenizer.ggml.tokens\": tokens %d and %u are both \"%s\"", first, i,
                            show(name, s));
    }
    return SR_OK;
}

static sr_status load_types(sr_tokenizer *t, const sr_gguf *g, sr_err *err)
{
    static const uint16_t attr[] = {0, SR_ATTR_NORMAL, SR_ATTR_UNKNOWN, SR_ATTR_CONTROL, SR_ATTR_USER, SR_ATTR_UNUSED,
                                    SR_ATTR_BYTE};
    const sr_gguf_kv *types = NULL;
    sr_status         s     = sr_gguf_array(g, "tokenizer.ggml.token_type", SR_GGUF_I32, &types, err);
    if (s)
        return s;
    if (types && types->n < t->n_vocab)
        return sr_raise(err, SR_INVALID, "key \"tokenizer.ggml.token_type\": %llu entries for %u tokens",
                        (unsigned long long)types->n, t->n_vocab);
    for (uint32_t i = 0; i < t->n_vocab; i++) {
        int64_t v  = types ? sr_gguf_int_at(types, i) : SR_TOK_NORMAL;
        t->attr[i] = v > 0 && v < (int64_t)SR_COUNT(attr) ? attr[v] : 0;
    }
    return SR_OK;
}

/* Scores as integers in reverse order, so that one comparison serves ranks and scores. */
static uint32_t prio_of(float score)
{
    uint32_t bits;
    if (score == 0)
        score = 0; /* -0 is no smaller */
    memcpy(&bits, &score, sizeof bits);
    return bits >> 31 ? bits : ~(bits | 0x80000000u);
}

static sr_status load_scores(sr_tokenizer *t, const sr_gguf *g, sr_err *err)
{
    const sr_gguf_kv *kv = sr_gguf_find(g, "tokenizer.ggml.scores");
    if (kv && (kv->type != SR_GGUF_ARRAY || (kv->item != SR_GGUF_F32 && kv->item != SR_GGUF_I32)))
        return sr_raise(err, SR_INVALID, "key \"tokenizer.ggml.scores\": must be an array of f32 or i32");
    if (kv && kv->n < t->n_vocab)
        return sr_raise(err, SR_INVALID, "key \"tokenizer.ggml.scores\": %llu entries for %u tokens",
                        (unsigned long long)kv->n, t->n_vocab);
    for (uint32_t i = 0; i < t->n_vocab; i++) {
        float v = !kv ? 0 : kv->item == SR_GGUF_F32 ? sr_gguf_f32_at(kv, i) : (float)sr_gguf_int_at(kv, i);
        if (isnan(v))
            return sr_raise(err, SR_INVALID, "key \"tokenizer.ggml.scores\": the score of token %u is not a number", i);
        t->prio[i] = prio_of(v);
    }
    return SR_OK;
}

static sr_status load_tokens(sr_tokenizer *t, const sr_gguf *g, sr_err *err)
{
    const sr_gguf_kv *tokens = NULL;
    sr_status         s      = sr_gguf_array(g, "tokenizer.ggml.tokens", SR_GGUF_STRING, &tokens, err);
    if (s)
        return s;
    if (!tokens || tokens->n == 0 || tokens->n > SR_TOK_MAX_VOCAB)
        return sr_raise(err, SR_INVALID, "key \"tokenizer.ggml.tokens\": %llu tokens, must be 1 to %d",
                        tokens ? (unsigned long long)tokens->n : 0ull, SR_TOK_MAX_VOCAB);
    t->n_vocab = t->n_sym = t->cap_sym = (uint32_t)tokens->n;
    t->text  = sr_calloc(t->n_vocab, sizeof *t->text);
    t->piece = sr_calloc(t->n_vocab, sizeof *t->piece);
    t->key   = sr_calloc(t->n_vocab, sizeof *t->key);
    t->attr  = sr_calloc(t->n_vocab, sizeof *t->attr);
    t->prio  = sr_calloc(t->n_vocab, sizeof *t->prio);
    t->whole = sr_calloc(t->n_vocab, sizeof *t->whole);
    if (!t->text || !t->piece || !t->key || !t->attr || !t->prio || !t->whole)
        return no_memory(err);
    if ((s = load_texts(t, tokens, err)) || (s = load_types(t, g, err)) || (s = load_scores(t, g, err)))
        return s;
    return SR_OK;
}

/* ---- keys: what a token is in text ------------------------------------------------------------ */

static bool one_char(const char *p, size_t n)
{
    unsigned len;
    sr_cp_next(p, n, &len);
    return len == n;
}

/* Byte-level: the key is the text decoded from the byte alphabet; n 0 if that cannot be. */
static bool decode_key(sr_tokenizer *t, uint32_t i)
{
    size_t n;
    if (!sr_buf_reserve(&t->blob, t->text[i].n))
        return false;
    char *out = t->blob.p + t->blob.n;
    if (!sr_gpt2_decode(sr_tok_at(t, t->text[i]), t->text[i].n, out, &n)) {
        t->key[i] = (sr_tokslice){0, 0};
    } else if (n != t->text[i].n) { /* all ASCII: the text itself will do */
        t->key[i] = (sr_tokslice){(uint32_t)t->blob.n, (uint32_t)n};
        t->blob.n += n;
    }
    /* "\xC3\xB9" as an added token (DeepSeek) is that letter, not the byte F9 which it spells in the alphabet */
    if (t->key[i].n == 1 && !(t->attr[i] & SR_ATTR_NORMAL) &&
        sr_tok_never_utf8((unsigned char)*sr_tok_at(t, t->key[i])))
        t->key[i].n = 0;
    return true;
}

static sr_status load_keys(sr_tokenizer *t, sr_err *err)
{
    if (t->byte_level && !sr_dict_begin(&t->by_key, t->n_vocab))
        return no_memory(err);
    for (uint32_t i = 0; i < t->n_vocab; i++) {
        if (t->byte_level && !decode_key(t, i))
            return no_memory(err);
        sr_tokslice key = t->key[i];
        if (t->attr[i] & SR_ATTR_CONTROL && !(t->byte_level ? key.n == 1 : one_char(sr_tok_at(t, key), key.n))) {
            t->whole[i] = SR_TOK_BARRED;
            t->prio[i]  = SR_TOK_NO_JOIN;
        }
        if (t->byte_level && key.n && sr_dict_add(&t->by_key, t->blob.p, t->key, (int32_t)i) < 0)
            return no_memory(err);
        t->max_key = SR_MAX(t->max_key, key.n);
    }
    return SR_OK;
}

/* After the merges, which may know bytes that are no tokens. */
static void load_bytes(sr_tokenizer *t)
{
    for (unsigned b = 0; b < 256; b++) {
        char     name[8] = "<0x00>", c = (char)b;
        name[3] = "0123456789ABCDEF"[b >> 4];
        name[4] = "0123456789ABCDEF"[b & 15];
        t->byte_sym[b] = t->byte_level ? sr_tok_find_key(t, &c, 1) : sr_tokenizer_find(t, name, 6);
        if (!t->byte_level && t->byte_sym[b] >= 0 && sr_tok_barred(t, t->byte_sym[b]))
            t->byte_sym[b] = -1; /* a control token of that name: text does not make it */
        if (t->byte_sym[b] < 0 && t->model == SR_TOKMODEL_SPM)
            t->byte_sym[b] = sr_tokenizer_find(t, &c, 1);
    }
}

/* ---- pieces: what a token is as output --------------------------------------------------------- */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "<0xE2>" to its byte, -1 if it is not of this form. */
static int byte_of(const char *p, size_t n)
{
    if (n != 6 || memcmp(p, "<0x", 3) != 0 || p[5] != '>' || hex(p[3]) < 0 || hex(p[4]) < 0)
        return -1;
    return hex(p[3]) << 4 | hex(p[4]);
}

/* Appends text with U+2581 as a space. */
static bool put_unescaped(sr_tokenizer *t, sr_tokslice text, sr_tokslice *out)
{
    if (!sr_buf_reserve(&t->blob, text.n))
        return false;
    const char *p = sr_tok_at(t, text);
    char       *o = t->blob.p + t->blob.n;
    size_t      n = 0;
    for (size_t i = 0; i < text.n;) {
        bool mark = text.n - i >= 3 && memcmp(p + i, "\xE2\x96\x81", 3) == 0;
        o[n++]    = mark ? ' ' : p[i];
        i += mark ? 3 : 1;
    }
    *out = (sr_tokslice){(uint32_t)t->blob.n, (uint32_t)n};
    t->blob.n += n;
    return true;
}

static sr_status load_pieces(sr_tokenizer *t, sr_err *err)
{
    for (uint32_t i = 0; i < t->n_vocab; i++) {
        const char *p    = sr_tok_at(t, t->text[i]);
        int         byte = byte_of(p, t->text[i].n);
        char        c    = (char)byte;
        bool        ok   = true;
        t->piece[i]      = t->text[i];
        if (t->attr[i] & (SR_ATTR_CONTROL | SR_ATTR_USER | SR_ATTR_UNKNOWN))
            continue;
        if (t->attr[i] & SR_ATTR_NORMAL) {
            if (t->byte_level) /* a token outside the byte alphabet is taken as its text */
                t->piece[i] = t->key[i].n ? t->key[i] : t->text[i];
            else if (memmem(p, t->text[i].n, "\xE2\x96\x81", 3))
                ok = put_unescaped(t, t->text[i], &t->piece[i]);
        } else if (t->attr[i] & SR_ATTR_BYTE) {
            if (byte >= 0)
                ok = put(t, &c, 1, &t->piece[i]);
        } else {
            t->piece[i].n = 0; /* unused or undefined: no text */
        }
        if (!ok)
            return no_memory(err);
    }
    return SR_OK;
}

/* ---- merges ----------------------------------------------------------------------------------- */

/* The symbol with this key (at the end of the blob), made if it is new; -1: out of memory.  Merges come in
 * the order of the tokens they make, so `guess` is mostly right, and saves a search in cold memory. */
static int32_t symbol(sr_tokenizer *t, sr_tokslice key, int32_t guess)
{
    const char *p = sr_tok_at(t, key);
    if (guess >= 0 && (uint32_t)guess < t->n_vocab && t->key[guess].n == key.n &&
        memcmp(sr_tok_at(t, t->key[guess]), p, key.n) == 0)
        return guess;
    int32_t sym = sr_tok_find_key(t, p, key.n);
    if (sym != SR_TOK_NOSYM)
        return sym;
    if (t->n_sym == t->cap_sym) {
        uint32_t     cap = t->cap_sym + t->cap_sym / 4 + 64;
        sr_tokslice *k   = sr_realloc(t->key, cap * sizeof *k);
        if (!k)
            return SR_TOK_NOSYM;
        t->key     = k;
        t->cap_sym = cap;
    }
    t->key[t->n_sym] = key;
    return sr_dict_add(&t->by_key, t->blob.p, t->key, (int32_t)t->n_sym++);
}

/* Appends what p[0..n) is in text; false: nothing can be it, or out of memory (blob.failed). */
static bool put_key(sr_tokenizer *t, const char *p, size_t n, sr_tokslice *key)
{
    size_t k = n;
    if (!sr_buf_reserve(&t->blob, n))
        return false;
    char *out = t->blob.p + t->blob.n;
    if (!t->byte_level)
        memcpy(out, p, n);
    else if (!sr_gpt2_decode(p, n, out, &k))
        return false;
    *key = (sr_tokslice){(uint32_t)t->blob.n, (uint32_t)k};
    t->blob.n += k;
    return true;
}

/* "left right": the first space that is not the first byte parts them.  Merges that no text can use are
 * left out, and those that would make a control token.  *made: the token of the merge before.  False: out
 * of memory. */
static bool load_merge(sr_tokenizer *t, sr_gguf_str m, uint32_t rank, int32_t *made)
{
    const char *space = m.n > 1 ? memchr(m.p + 1, ' ', m.n - 1) : NULL;
    if (!space || space + 1 == m.p + m.n)
        return true;
    size_t      n_left = (size_t)(space - m.p), mark = t->blob.n;
    uint32_t    n_sym  = t->n_sym;
    sr_tokslice left, right;
    if (!put_key(t, m.p, n_left, &left) || !put_key(t, space + 1, m.n - n_left - 1, &right)) {
        t->blob.n = mark;
        return !t->blob.failed;
    }
    sr_tokslice both = {left.off, left.n + right.n};
    int32_t     l = symbol(t, left, -1), r = symbol(t, right, -1), sym = symbol(t, both, *made);
    if (l < 0 || r < 0 || sym < 0)
        return false;
    *made = sym + 1;
    if (sr_tok_barred(t, l) || sr_tok_barred(t, r) || sr_tok_barred(t, sym))
        return true;
    sr_merge_put(t, l, r, sym, rank);
    if (!t->byte_level)
        sr_joins_add(t, sr_tok_at(t, both), both.n, left.n);
    if (t->n_sym == n_sym)
        t->blob.n = mark;
    return true;
}

static sr_status load_merges(sr_tokenizer *t, const sr_gguf *g, sr_err *err)
{
    static const sr_gguf_kv none   = {.key = "tokenizer.ggml.merges"};
    const sr_gguf_kv       *merges = NULL;
    sr_status               s      = sr_gguf_array(g, "tokenizer.ggml.merges", SR_GGUF_STRING, &merges, err);
    if (s)
        return s;
    if (!merges && strcmp(t->pre->names, "kimi-k2") == 0) /* its converter may leave them out */
        merges = &none;
    if (!merges || merges->n > SR_TOK_MAX_MERGES)
        return sr_raise(err, SR_INVALID, "key \"tokenizer.ggml.merges\": %llu merges, must be present and at most %d",
                        merges ? (unsigned long long)merges->n : 0ull, SR_TOK_MAX_MERGES);
    size_t   bytes;
    uint32_t cap = 64;
    if (!bytes_of(merges, &bytes, err))
        return SR_INVALID;
    while (cap < merges->n + merges->n / 2)
        cap *= 2;
    t->merge_mask = cap - 1;
    t->merge      = sr_malloc(cap * sizeof *t->merge);
    if (!t->merge || (!t->byte_level && !sr_joins_begin(t)))
        return no_memory(err);
    for (uint32_t i = 0; i < cap; i++)
        t->merge[i].left = SR_TOK_NOSYM;
    int32_t made = -1;
    for (uint32_t i = 0; i < merges->n; i++)
        if (!load_merge(t, c_string(merges->str[i]), i, &made))
            return no_memory(err);
    return SR_OK;
}

/* ---- all of it -------------------------------------------------------------------------------- */

static sr_status load_template(sr_tokenizer *t, const sr_gguf *g, sr_err *err)
{
    sr_gguf_str s  = {NULL, 0};
    sr_status   st = sr_gguf_string(g, "tokenizer.chat_template", &s, err);
    if (st || !s.p)
        return st;
    t->chat_template = sr_strndup(s.p, s.n);
    return t->chat_template ? SR_OK : no_memory(err);
}

static sr_status load_wpm(sr_tokenizer *t, const sr_gguf *g, sr_err *err)
{
    sr_status s;
    t->lowercase = true;
    if ((s = sr_gguf_bool(g, "tokenizer.ggml.normalizer.lowercase", &t->lowercase, err)))
        return s;
    t->strip_accents = t->lowercase;
    if ((s = sr_gguf_bool(g, "tokenizer.ggml.normalizer.strip_accents", &t->strip_accents, err)))
        return s;
    return sr_cpmap_classes(&t->classes) ? SR_OK : no_memory(err);
}

sr_status sr_tok_load(sr_tokenizer *t, const sr_gguf *g, sr_err *err)
{
    sr_status s;
    if ((s = load_model(t, g, err)) || (s = load_tokens(t, g, err)) || (s = load_ids(t, g, err)) ||
        (s = sr_tok_attributes(t, g, err)) || (s = load_keys(t, err)))
        return s;
    if (t->model == SR_TOKMODEL_BPE &&
        ((s = load_merges(t, g, err)) || (s = sr_splitter_open(t->pre, &t->splitter, err))))
        return s;
    if (t->model == SR_TOKMODEL_WPM && (s = load_wpm(t, g, err)))
        return s;
    if (t->model == SR_TOKMODEL_SPM) {
        if (!sr_joins_begin(t))
            return no_memory(err);
        for (uint32_t i = 0; i < t->n_vocab; i++)
            sr_joins_add(t, sr_tok_at(t, t->key[i]), t->key[i].n, 0);
    }
    load_bytes(t);
    if (t->byte_level) {
        sr_encoding e = {.t = t, .out = &t->bad_byte, .err = err};
        bool        ok = sr_encode_word(&e, "\xEF\xBF\xBD", 3);
        sr_encoding_end(&e);
        if (!ok)
            return SR_NOMEM;
    }
    if ((s = load_pieces(t, err)) || (s = sr_special_build(t, err)) || (s = load_template(t, g, err)))
        return s;
    return SR_OK;
}
