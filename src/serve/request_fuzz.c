/* Any bytes as the body of every kind of request: an error names itself, a prepared request keeps its promises.  What is no
 * JSON is so for all of them and tried once; the tree of what is one is made once. */
#include "base/err.h"
#include "format/gguf.h"
#include "serve/json_in.h"
#include "serve/request.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static sr_prepenv env;

/* Run from the top of the source tree: the vocabulary is the demo model's. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    static const char chat[] =
        "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}{% if m.name %} {{ m.name }}{% endif %}\n{{ m.content | trim }}"
        "{% if '</think>' in (m.content or '') %}{{ m.content.split('</think>')[-1] }}{% endif %}"
        "{% for c in m.tool_calls %}{{ c.function.name }} {{ c.function.arguments | tojson }}{% endfor %}{{ m.tool_call_id }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    sr_err err = {0};
    sr_gguf *g = NULL;
    sr_tokenizer *tok = NULL;
    sr_template *t = NULL;
    sr_specials *s = NULL;
    if (sr_gguf_open("models/strata-demo-draft-Q8_0.gguf", &g, &err) || sr_tokenizer_open(g, &tok, &err) ||
        sr_template_compile(chat, sizeof chat - 1, &t, &err) || sr_specials_open(tok, &s, &err))
        SR_ASSERT(0, "%s", err.msg);
    sr_gguf_close(g);
    env = (sr_prepenv){.model = {.tok = tok, .chat = t, .ctx = 512, .n_embd = 64}, .specials = s, .model_id = "m", .family = sr_toolfamily_of(NULL),
                       .limits = {.json_depth = 64, .json_values = 1 << 16, .messages = 64, .prompts = 16, .inputs = 16, .numbers = 1 << 16, .choices = 16,
                                  .stops = 16, .stop_bytes = 256, .bias = 64}};
    return 0;
}

static void check(const sr_prep *p)
{
    const sr_params *q = &p->params;
    SR_ASSERT(p->n_prompt >= 1 && p->n_prompt <= 16 && q->n >= 1 && q->n <= 16 && q->n_stop <= 16 && q->n_bias <= 64, "limits");
    SR_ASSERT(q->temperature >= 0 && q->temperature <= 2 && q->top_p > 0 && q->top_p <= 1 && q->max_tokens >= -1, "ranges");
    for (uint32_t i = 0; i < p->n_prompt; i++) {
        SR_ASSERT(p->prompt[i].ids.n >= 1 && p->prompt[i].ids.n <= env.model.ctx, "%zu ids", p->prompt[i].ids.n);
        for (size_t k = 0; k < p->prompt[i].ids.n; k++)
            SR_ASSERT(p->prompt[i].ids.p[k] >= 0 && (uint32_t)p->prompt[i].ids.p[k] < sr_tokenizer_n_vocab(env.model.tok), "id");
    }
}

static void check_error(const sr_apierr *e)
{
    sr_buf out = {0};
    SR_ASSERT(e->status >= 400 && e->msg[0], "an error without words");
    sr_api_error_json(e, &out);
    json_t *j = json_loadb(out.p, out.n, 0, NULL);
    SR_ASSERT(j, "an error that is not JSON: %s", out.p);
    json_decref(j);
    sr_buf_end(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    sr_err    err  = {0};
    sr_apierr e    = {0};
    sr_prep   p;
    json_t   *root = NULL;
    if (sr_json_read((const char *)data, n, env.limits.json_depth, env.limits.json_values, &root, &err)) {
        SR_ASSERT(!sr_prepare(&env, SR_API_CHAT, (const char *)data, n, &p, &e), "taken, and yet no JSON");
        check_error(&e);
        return 0;
    }
    for (int api = 1; api <= SR_API_ALL; api <<= 1) {
        if (!(api & SR_API_ALL))
            continue;
        e = (sr_apierr){0};
        if (!sr_prepare_tree(&env, (sr_api)api, root, &p, &e)) {
            check_error(&e);
            continue;
        }
        if (!p.reply.n)
            check(&p);
        sr_prep_end(&p);
    }
    json_decref(root);
    return 0;
}
