/* What a token is, where the file does not say or is known to say it wrong: the rules of llama.cpp's
 * vocabulary loader, by token text and model name.  One departure: where llama.cpp turns a control
 * token into a user-defined one so that it is shown (gpt-oss' channel marks), text must still not
 * become it unasked: it gets SR_ATTR_GUARD. */
#include "base/mem.h"
#include "text/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

/* Texts of a role, separated by a space; the first that the vocabulary has is taken, in this order
 * (llama.cpp takes any).  An id in the metadata goes before. */
typedef struct { const char *key, *key_old, *texts; bool ends; } role;

static const role roles[] = {
    {"tokenizer.ggml.eot_token_id", NULL,
     "<|eot_id|> <|im_end|> <|end|> <end_of_turn> <|endoftext|> <|end_of_text|> <EOT> _<EOT> [EOT] "
     "<\xEF\xBD\x9C" "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C> <end_of_utterance>", true},
    {"tokenizer.ggml.eom_token_id", NULL, "<|eom_id|>", true},
    {"tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id",
     "<|fim_prefix|> <fim-prefix> <fim_prefix> <\xEF\xBD\x9C" "fim\xE2\x96\x81" "begin\xEF\xBD\x9C> <PRE> \xE2\x96\x81<PRE> "
     "<|code_prefix|> <|prefix|>", false},
    {"tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id",
     "<|fim_suffix|> <fim-suffix> <fim_suffix> <\xEF\xBD\x9C" "fim\xE2\x96\x81hole\xEF\xBD\x9C> <SUF> \xE2\x96\x81<SUF> "
     "<|code_suffix|> <|suffix|>", false},
    {"tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id",
     "<|fim_middle|> <fim-middle> <fim_middle> <\xEF\xBD\x9C" "fim\xE2\x96\x81" "end\xEF\xBD\x9C> <MID> \xE2\x96\x81<MID> "
     "<|code_middle|> <|middle|>", false},
    {"tokenizer.ggml.fim_pad_token_id", NULL, "<|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD]", true},
    {"tokenizer.ggml.fim_rep_token_id", NULL, "<|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame>", true},
    {"tokenizer.ggml.fim_sep_token_id", NULL, "<|file_sep|>", true},
};

static const char end_texts[] =
    "<|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn> <|endoftext|> </s> <|eom_id|> "
    "<EOT> _<EOT> [EOT] [EOS] <|end_of_text|> <end_of_utterance> <eos> <turn|> <|tool_response> "
    "<\xEF\xBD\x9C" "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C> [e~[";

static int32_t find(const sr_tokenizer *t, const char *text) { return sr_tokenizer_find(t, text, strlen(text)); }

/* The next of a list of texts: its id or -1; false at the end. */
static bool next_text(const sr_tokenizer *t, const char **list, int32_t *id)
{
    size_t n = strcspn(*list, " ");
    if (n == 0)
        return false;
    *id = sr_tokenizer_find(t, *list, n);
    *list += n + ((*list)[n] == ' ');
    return true;
}

static bool ends(const sr_tokenizer *t, const char *text)
{
    int32_t id = find(t, text);
    return id >= 0 && t->attr[id] & SR_ATTR_END;
}

static void show(sr_tokenizer *t, int32_t id)
{
    if (id >= 0)
        t->attr[id] = SR_ATTR_USER | (t->attr[id] & SR_ATTR_CONTROL ? SR_ATTR_GUARD : 0);
}

sr_status sr_tok_id_of(const sr_tokenizer *t, const sr_gguf *g, const char *key, int32_t *id, sr_err *err)
{
    uint32_t v = UINT32_MAX;
    if (!key || !sr_gguf_find(g, key))
        return SR_OK;
    sr_status s = sr_gguf_u32(g, key, &v, err);
    if (!s && v >= t->n_vocab)
        return sr_raise(err, SR_INVALID, "key \"%s\": token %u, the vocabulary has 0 to %u", key, v, t->n_vocab - 1);
    if (!s)
        *id = (int32_t)v;
    return s;
}

static sr_status apply_roles(sr_tokenizer *t, const sr_gguf *g, sr_err *err)
{
    for (size_t i = 0; i < SR_COUNT(roles); i++) {
        int32_t     id = -1, hit;
        const char *texts = roles[i].texts;
        sr_status   s     = sr_tok_id_of(t, g, roles[i].key, &id, err);
        if (s || (s = sr_tok_id_of(t, g, roles[i].key_old, &id, err)))
            return s;
        while (id < 0 && next_text(t, &texts, &hit))
            if (hit >= 0) {
                id = hit;
                t->attr[id] |= SR_ATTR_CONTROL;
            }
        if (id >= 0 && roles[i].ends)
            t->attr[id] |= SR_ATTR_END;
    }
    return SR_OK;
}

static void apply_ends(sr_tokenizer *t)
{
    int32_t id;
    for (const char *texts = end_texts; next_text(t, &texts, &id);)
        if (id >= 0)
            t->attr[id] |= SR_ATTR_END | SR_ATTR_CONTROL;
    if (t->eos >= 0)
        t->attr[t->eos] |= SR_ATTR_END;
    /* gpt-oss and solar-open: <|end|> closes a message, not the answer */
    bool call = ends(t, "<|call|>") || ends(t, "<|calls|>");
    if (call && (ends(t, "<|return|>") || ends(t, "<|flush|>")) && ends(t, "<|end|>"))
        show(t, find(t, "<|end|>"));
    if (ends(t, "<|tool_response>") && ends(t, "</s>")) /* gemma 4: </s> is markup */
        t->attr[find(t, "</s>")] = SR_ATTR_NORMAL;
}

/* `what` is in s, ASCII case folded when `fold`. */
static bool contains(sr_gguf_str s, const char *what, bool fold)
{
    size_t n = strlen(what);
    for (size_t i = 0; i + n <= s.n; i++) {
        size_t k = 0;
        while (k < n && (s.p[i + k] == what[k] ||
                         (fold && s.p[i + k] >= 'A' && s.p[i + k] <= 'Z' && (s.p[i + k] | 32) == what[k])))
            k++;
        if (k == n)
            return true;
    }
    return false;
}

static void set_bit(sr_tokenizer *t, const char *text, uint16_t bit, bool on)
{
    int32_t id = find(t, text);
    if (id >= 0)
        t->attr[id] = (uint16_t)((t->attr[id] & ~bit) | (on ? bit : 0));
}

/* White space beside a special token that belongs to it: known by model only. */
static sr_status apply_strips(sr_tokenizer *t, const sr_gguf *g, sr_err *err)
{
    sr_gguf_str name = {"", 0}, pre = {"", 0}, arch = {"", 0};
    sr_status   s;
    if ((s = sr_gguf_string(g, "general.name", &name, err)) ||
        (s = sr_gguf_string(g, "tokenizer.ggml.pre", &pre, err)) ||
        (s = sr_gguf_string(g, "general.architecture", &arch, err)))
        return s;
    if (contains(pre, "jina-v2-de", false) || contains(pre, "jina-v2-es", false) ||
        contains(pre, "jina-v2-code", false) || contains(arch, "nomic-bert-moe", false) || contains(arch, "jina-bert-v3", false)) {
        set_bit(t, "<mask>", SR_ATTR_LSTRIP, true);
    } else if (contains(name, "phi-3", true) || contains(name, "phi3", true)) {
        for (uint32_t i = 0; i < t->n_vocab; i++)
            if (t->attr[i] & (SR_ATTR_CONTROL | SR_ATTR_USER | SR_ATTR_UNKNOWN))
                t->attr[i] |= SR_ATTR_RSTRIP;
        set_bit(t, "</s>", SR_ATTR_RSTRIP, true);
        set_bit(t, "<unk>", SR_ATTR_RSTRIP, false);
        set_bit(t, "<s>", SR_ATTR_RSTRIP, false);
        set_bit(t, "<|endoftext|>", SR_ATTR_RSTRIP, false);
    } else if (contains(name, "modern-bert", true)) {
        set_bit(t, "[MASK]", SR_ATTR_LSTRIP, true);
    }
    for (uint32_t i = 0; i < t->n_vocab; i++)
        t->special_strips |= (t->attr[i] & (SR_ATTR_LSTRIP | SR_ATTR_RSTRIP)) != 0;
    return SR_OK;
}

sr_status sr_tok_attributes(sr_tokenizer *t, const sr_gguf *g, sr_err *err)
{
    static const char *const shown[] = {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"}; /* gpt-oss */
    sr_status                s       = apply_roles(t, g, err);
    if (s)
        return s;
    for (size_t i = 0; i < SR_COUNT(shown); i++)
        show(t, find(t, shown[i]));
    apply_ends(t);
    if ((s = apply_strips(t, g, err)))
        return s;
    for (uint32_t i = 0; i < t->n_vocab; i++)
        t->n_ends += (t->attr[i] & SR_ATTR_END) != 0;
    t->ends = sr_calloc(t->n_ends + 1, sizeof *t->ends);
    if (!t->ends)
        return sr_raise(err, SR_NOMEM, "host: memory for %zu end tokens", t->n_ends);
    for (uint32_t i = 0, k = 0; i < t->n_vocab; i++)
        if (t->attr[i] & SR_ATTR_END)
            t->ends[k++] = (int32_t)i;
    return SR_OK;
}
