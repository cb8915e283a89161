/* Any bytes as text: byte 0 picks a vocabulary and a setting, with which the rest is encoded.  Ids must be in
 * range, plain text must not become a control token, byte-level text must come back as it was. */
#include "text/tiny_vocab.h"
#include "text/tokenizer_internal.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void check(bool ok)
{
    if (!ok)
        __builtin_trap();
}

enum { KINDS = 10 };
static const char *const kinds[KINDS] = {"full:qwen2", "full:gpt-4o", "full:deepseek-llm", "full:falcon", "full:kimi-k2",
                                         "full:youtu", "spm", "spm-phi3", "gemma4", "bert"};

/* All 256 bytes, and merges: nothing can be lost. */
static sr_status full(const char *pre, sr_tokenizer **out, sr_err *err)
{
    tiny_gguf g = {0};
    sr_buf    tokens = {0}, merges = {0};
    int32_t   type[256 + 26 * 26 + 2];
    size_t    k = 0;
    for (unsigned b = 0; b < 256; b++) {
        char c[4];
        tiny_item(&tokens, c, sr_gpt2_encode((unsigned char)b, c));
        type[k++] = SR_TOK_NORMAL;
    }
    for (char a = 'a'; a <= 'z'; a++)
        for (char b = 'a'; b <= 'z'; b++) {
            tiny_item(&tokens, (char[]){a, b}, 2);
            tiny_item(&merges, (char[]){a, ' ', b}, 3);
            type[k++] = SR_TOK_NORMAL;
        }
    tiny_item(&tokens, "<|end|>", 7);
    type[k++] = SR_TOK_CONTROL;
    tiny_item(&tokens, "  <u>", 5);
    type[k++] = SR_TOK_USER;
    tiny_str(&g, "tokenizer.ggml.model", "gpt2");
    tiny_str(&g, "tokenizer.ggml.pre", pre);
    tiny_strings(&g, "tokenizer.ggml.tokens", &tokens);
    tiny_strings(&g, "tokenizer.ggml.merges", &merges);
    tiny_numbers(&g, "tokenizer.ggml.token_type", SR_GGUF_I32, type, k);
    sr_buf_end(&tokens);
    sr_buf_end(&merges);
    return tiny_open(&g, out, err);
}

static sr_tokenizer *vocabulary(unsigned i)
{
    static sr_tokenizer *made[KINDS];
    sr_err               err = {0};
    if (!made[i])
        check((strncmp(kinds[i], "full:", 5) == 0 ? full(kinds[i] + 5, &made[i], &err)
                                                   : tiny_tokenizer(kinds[i], &made[i], &err)) == SR_OK);
    return made[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    if (n == 0)
        return 0;
    unsigned            which = bytes[0] % KINDS;
    const sr_tokenizer *t     = vocabulary(which);
    const char         *text  = (const char *)bytes + 1;
    unsigned            flags = bytes[0] / KINDS % 4;
    sr_ids              ids   = {0};
    sr_buf              out   = {0};
    sr_err              err   = {0};
    check(flags & SR_TOK_ADD_SPECIAL ? sr_tokenizer_encode(t, text, n - 1, flags, &ids, &err) != SR_NOMEM
                                     : sr_tokenizer_encode(t, text, n - 1, flags, &ids, &err) == SR_OK);
    for (size_t i = 0; i < ids.n; i++) {
        check(ids.p[i] >= 0 && (uint32_t)ids.p[i] < sr_tokenizer_n_vocab(t));
        check(flags || sr_tokenizer_type(t, ids.p[i]) != SR_TOK_CONTROL || which == 9); /* bert's [UNK] is one */
    }
    check(sr_tokenizer_decode(t, ids.p, ids.n, true, &out, &err) == SR_OK);
    if (kinds[which][0] == 'f' && !(flags & SR_TOK_ADD_SPECIAL))
        check(out.n == n - 1 && (n == 1 || memcmp(out.p, text, n - 1) == 0));
    sr_buf_end(&out);
    sr_ids_end(&ids);
    return 0;
}
