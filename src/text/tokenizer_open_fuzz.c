/* Any bytes as a vocabulary.  Byte 0: model, byte 1: pre-tokeniser and settings of encoding, byte 2: flags; then lines: a token
 * (first byte: type and score) or, where that byte is 'm', a merge; a line "t..." is the text to encode.
 * Whatever opens must encode in range, decode, and never make a control token of plain text. */
#include "base/mem.h"
#include "text/tiny_vocab.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void check(bool ok)
{
    if (!ok)
        __builtin_trap();
}

static void use(const sr_tokenizer *t, const char *text, size_t n, unsigned flags, bool barred)
{
    sr_ids ids = {0};
    sr_buf out = {0};
    sr_err err = {0};
    if (sr_tokenizer_encode(t, text, n, flags, &ids, &err))
        check(err.status == SR_INVALID && flags & SR_TOK_ADD_SPECIAL);
    for (size_t i = 0; i < ids.n; i++) {
        size_t len;
        check(ids.p[i] >= 0 && (uint32_t)ids.p[i] < sr_tokenizer_n_vocab(t));
        sr_tokenizer_piece(t, ids.p[i], true, &len);
        /* a control token of one character is that character; [UNK] may be typed control */
        check(flags || !barred || sr_tokenizer_type(t, ids.p[i]) != SR_TOK_CONTROL || len <= 4);
    }
    check(sr_tokenizer_decode(t, ids.p, ids.n, flags & 1, &out, &err) == SR_OK);
    sr_buf_end(&out);
    sr_ids_end(&ids);
}

typedef struct {
    sr_buf  tokens, merges;
    int32_t type[256];
    float   score[256];
    size_t  n, text_n;
    const char *text;
} input;

static void add_line(input *in, const char *p, size_t n)
{
    if (n == 0 || memchr(p, '\xFF', n))
        return;
    if (*p == 't') {
        in->text   = p + 1;
        in->text_n = n - 1;
    } else if (*p == 'm') {
        tiny_item(&in->merges, p + 1, n - 1);
    } else if (in->n < SR_COUNT(in->type)) {
        in->type[in->n]  = *p & 7;
        in->score[in->n] = (float)((unsigned char)*p >> 3);
        in->n++;
        tiny_item(&in->tokens, p + 1, n - 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static const char *const models[] = {"gpt2", "llama", "gemma4", "bert"};
    static const char *const pres[]   = {"gpt-2", "llama-bpe", "qwen2", "deepseek-llm", "default", "tekken"};
    if (n < 4)
        return 0;
    input in = {0};
    for (const char *p = (const char *)bytes + 3, *end = (const char *)bytes + n; p < end;) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        add_line(&in, p, (size_t)((nl ? nl : end) - p));
        p = nl ? nl + 1 : end;
    }
    tiny_gguf g = {0};
    tiny_str(&g, "general.name", bytes[2] & 1 ? "phi-3" : "x");
    tiny_str(&g, "tokenizer.ggml.model", models[bytes[0] % SR_COUNT(models)]);
    tiny_str(&g, "tokenizer.ggml.pre", pres[bytes[1] % SR_COUNT(pres)]);
    tiny_bool(&g, "tokenizer.ggml.add_bos_token", bytes[2] & 2);
    tiny_bool(&g, "tokenizer.ggml.add_space_prefix", bytes[2] & 4);
    tiny_u32(&g, "tokenizer.ggml.unknown_token_id", bytes[2] >> 3);
    tiny_strings(&g, "tokenizer.ggml.tokens", &in.tokens);
    tiny_strings(&g, "tokenizer.ggml.merges", &in.merges);
    tiny_numbers(&g, "tokenizer.ggml.token_type", SR_GGUF_I32, in.type, in.n);
    tiny_numbers(&g, "tokenizer.ggml.scores", SR_GGUF_F32, in.score, in.n);
    sr_buf_end(&in.tokens);
    sr_buf_end(&in.merges);
    sr_tokenizer *t   = NULL;
    sr_err        err = {0};
    if (tiny_open(&g, &t, &err))
        check(err.msg[0] && (err.status == SR_INVALID || err.status == SR_UNSUPPORTED));
    else
        use(t, in.text ? in.text : "", in.text_n, bytes[1] / SR_COUNT(pres) % 4, models[bytes[0] % SR_COUNT(models)][0] != 'b');
    sr_tokenizer_close(t);
    return 0;
}
