/* A made-up vocabulary of any size: all bytes, then all strings of two and three common characters, each the
 * merge of two shorter ones, so that real text is tokenised into a few characters a token.
 */
#include "format/synth.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static const char common[] = " etaoinshrdlucmfwypvbgkjqxzETAOINSHRDLUCMFWYPVBGKJQXZ0123456789.,;:!?'\"-()/_=+*<>[]{}#$%&@\\|^~`";
enum { N_COMMON = sizeof common - 1, N_SPECIAL = 3 };
static const char *const special[N_SPECIAL] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
static const char chat[] = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
                           "'<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/* token types of GGUF */
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, BYTE = 6 };

typedef struct {
    sr_buf       text; /* all strings, one after the other */
    sr_gguf_str *tok, *merge;
    int32_t     *type;
    float       *score;
    uint32_t     n, n_merge, most;
} vocab;

static void free_vocab(vocab *v)
{
    sr_buf_end(&v->text);
    sr_free(v->tok);
    sr_free(v->merge);
    sr_free(v->type);
    sr_free(v->score);
}

/* Only the length for now: the text moves while it grows; point() sets the pointers at the end. */
static void add(vocab *v, const char *p, size_t n, int32_t type)
{
    if (v->n == v->most)
        return;
    v->tok[v->n]   = (sr_gguf_str){NULL, n};
    v->type[v->n]  = type;
    v->score[v->n] = type == NORMAL ? -(float)v->n : 0;
    v->n++;
    sr_buf_add(&v->text, p, n);
}

/* GPT-2's printable character for a byte, as UTF-8. */
static size_t byte_char(unsigned char b, char out[3])
{
    unsigned c = b, k = 0;
    if (!((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174)) {
        for (unsigned i = 0; i < b; i++)
            k += !((i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174);
        c = 256 + k;
    }
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3f));
    return 2;
}

static size_t piece_char(unsigned char b, bool spm, char out[3])
{
    if (!spm)
        return byte_char(b, out);
    if (b == ' ') {
        memcpy(out, "\xe2\x96\x81", 3);
        return 3;
    }
    out[0] = (char)b;
    return 1;
}

/* Strings of `len` common characters in order, up to `limit` tokens.  Merges: all but the last, and the last. */
static void add_strings(vocab *v, bool spm, unsigned len, uint32_t limit, sr_buf *merges)
{
    uint32_t total = 1;
    for (unsigned i = 0; i < len; i++)
        total *= N_COMMON;
    for (uint32_t i = 0; i < total && v->n < limit; i++) {
        char     s[16], last[3];
        size_t   n = 0, k = 0;
        uint32_t digit = total / N_COMMON;
        for (unsigned j = 0; j < len; j++, digit /= N_COMMON) {
            k = piece_char((unsigned char)common[i / digit % N_COMMON], spm, last);
            memcpy(s + n, last, k);
            n += k;
        }
        add(v, s, n, NORMAL);
        if (merges) {
            v->merge[v->n_merge++] = (sr_gguf_str){NULL, n + 1};
            sr_buf_add(merges, s, n - k);
            sr_buf_char(merges, ' ');
            sr_buf_add(merges, last, k);
        }
    }
}

static void point(sr_gguf_str *v, uint32_t n, const char *text)
{
    for (uint32_t i = 0; i < n; i++) {
        v[i].p = text;
        text += v[i].n;
    }
}

static void put_common(sr_gguf_writer *w, const vocab *v, uint32_t bos, uint32_t eos, bool add_bos)
{
    sr_gguf_put_strings(w, "tokenizer.ggml.tokens", v->tok, v->n);
    sr_gguf_put_numbers(w, "tokenizer.ggml.token_type", SR_GGUF_I32, v->type, v->n);
    sr_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", bos);
    sr_gguf_put_u32(w, "tokenizer.ggml.eos_token_id", eos);
    sr_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", add_bos);
    sr_gguf_put_str(w, "tokenizer.chat_template", chat);
}

static void make_bpe(const sr_synthshape *s, sr_gguf_writer *w, vocab *v, sr_buf *merges)
{
    char out[3];
    for (unsigned b = 0; b < 256; b++) {
        size_t n = byte_char((unsigned char)b, out);
        add(v, out, n, NORMAL);
    }
    add_strings(v, false, 2, s->n_vocab - N_SPECIAL, merges);
    add_strings(v, false, 3, s->n_vocab - N_SPECIAL, merges);
    add_strings(v, false, 4, s->n_vocab - N_SPECIAL, merges);
    for (int i = 0; i < N_SPECIAL; i++)
        add(v, special[i], strlen(special[i]), CONTROL);
    if (v->text.failed || merges->failed)
        return;
    point(v->tok, v->n, v->text.p);
    point(v->merge, v->n_merge, merges->p ? merges->p : "");
    sr_gguf_put_str(w, "tokenizer.ggml.model", "gpt2");
    sr_gguf_put_str(w, "tokenizer.ggml.pre", strcmp(s->arch, "llama") == 0 ? "llama-bpe" : "qwen2");
    sr_gguf_put_strings(w, "tokenizer.ggml.merges", v->merge, v->n_merge);
    put_common(w, v, v->n - 3, v->n - 1, strcmp(s->arch, "llama") == 0);
}

static void make_spm(const sr_synthshape *s, sr_gguf_writer *w, vocab *v)
{
    static const char *const first[] = {"<unk>", "<s>", "</s>"};
    char                     out[8];
    for (int i = 0; i < 3; i++)
        add(v, first[i], strlen(first[i]), i == 0 ? UNKNOWN : CONTROL);
    for (unsigned b = 0; b < 256; b++) {
        snprintf(out, sizeof out, "<0x%02X>", b);
        add(v, out, 6, BYTE);
    }
    add_strings(v, true, 1, s->n_vocab - 2, NULL);
    add_strings(v, true, 2, s->n_vocab - 2, NULL);
    add_strings(v, true, 3, s->n_vocab - 2, NULL);
    add_strings(v, true, 4, s->n_vocab - 2, NULL);
    for (int i = 1; i < N_SPECIAL; i++)
        add(v, special[i], strlen(special[i]), CONTROL);
    if (v->text.failed)
        return;
    point(v->tok, v->n, v->text.p);
    sr_gguf_put_str(w, "tokenizer.ggml.model", "llama");
    sr_gguf_put_str(w, "tokenizer.ggml.pre", "default");
    sr_gguf_put_numbers(w, "tokenizer.ggml.scores", SR_GGUF_F32, v->score, v->n);
    sr_gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    put_common(w, v, 1, 2, true);
}

sr_status sr_synth_vocab(const sr_synthshape *s, sr_gguf_writer *w, sr_err *err)
{
    const uint32_t least = 256 + 3 + (s->spm ? N_COMMON + 2 : 0);
    vocab          v     = {.most = s->n_vocab};
    sr_buf         merges = {0};
    sr_status      st     = SR_OK;
    if (s->n_vocab < least)
        return sr_raise(err, SR_INVALID, "a vocabulary of %u tokens cannot hold all bytes: at least %u", s->n_vocab, least);
    v.tok   = sr_calloc(v.most, sizeof *v.tok);
    v.merge = sr_calloc(v.most, sizeof *v.merge);
    v.type  = sr_calloc(v.most, sizeof *v.type);
    v.score = sr_calloc(v.most, sizeof *v.score);
    if (!v.tok || !v.merge || !v.type || !v.score)
        st = sr_raise(err, SR_NOMEM, "host memory for a vocabulary of %u tokens", v.most);
    else if (s->spm)
        make_spm(s, w, &v);
    else
        make_bpe(s, w, &v, &merges);
    if (!st && (v.text.failed || merges.failed))
        st = sr_raise(err, SR_NOMEM, "host memory for a vocabulary of %u tokens", v.most);
    free_vocab(&v);
    sr_buf_end(&merges);
    return st;
}

void sr_synth_no_vocab(const sr_synthshape *s, sr_gguf_writer *w)
{
    char key[96];
    snprintf(key, sizeof key, "%s.vocab_size", s->arch);
    sr_gguf_put_str(w, "tokenizer.ggml.model", "no_vocab");
    if (strcmp(s->arch, "llama") != 0) /* sr_synth_put_keys() has written it for llama */
        sr_gguf_put_u32(w, key, s->n_vocab);
}

sr_status sr_synth_vocab_size(const sr_gguf *from, uint32_t *n, sr_err *err)
{
    const sr_gguf_kv *tok;
    sr_status         s = sr_gguf_array(from, "tokenizer.ggml.tokens", SR_GGUF_STRING, &tok, err);
    if (s)
        return s;
    if (!tok || tok->n < 1 || tok->n > UINT32_MAX)
        return sr_raise(err, SR_INVALID, "%s: has no vocabulary", sr_gguf_path(from, 0));
    *n = (uint32_t)tok->n;
    return SR_OK;
}

void sr_synth_copy_vocab(const sr_gguf *from, sr_gguf_writer *w)
{
    for (size_t i = 0; i < sr_gguf_n_kv(from); i++) {
        const sr_gguf_kv *kv = sr_gguf_kv_at(from, i);
        if (strncmp(kv->key, "tokenizer.", 10) == 0)
            sr_gguf_put_kv(w, kv);
    }
}
