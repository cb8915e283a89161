/* reference_test MODEL KEY [REFERENCE] [MAX_DIFF]: logits and greedy choices against Hugging Face transformers in fp32.
 *
 * Each prompt is run with its 64 reference tokens behind it (teacher forcing).  After the prompt the fifty largest
 * logits and the log-sum-exp are compared; after every token the argmax must be the reference's, except where the
 * reference's two best logits were closer than 4e-2.  tests/data/README.md says where the reference comes from. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/engine.h"

typedef struct {
    const json_t *prompt;
    uint32_t      first, n_vocab, diverged, close;
    double        worst;
} state;

static int32_t argmax(const float *x, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return (int32_t)best;
}

static bool row(void *arg, uint32_t pos, const float *logits)
{
    state *s = arg;
    size_t step = pos - s->first;
    if (step == 0) {
        const json_t *ids = json_object_get(s->prompt, "top50_ids"), *want = json_object_get(s->prompt, "top50_logits");
        double        lse = 0, top = logits[argmax(logits, s->n_vocab)];
        for (size_t i = 0; i < json_array_size(ids); i++) {
            double d = fabs(json_real_value(json_array_get(want, i)) - (double)logits[json_integer_value(json_array_get(ids, i))]);
            s->worst = d > s->worst ? d : s->worst;
        }
        for (uint32_t i = 0; i < s->n_vocab; i++)
            lse += exp((double)logits[i] - top);
        double d = fabs(top + log(lse) - json_real_value(json_object_get(s->prompt, "logsumexp")));
        s->worst = d > s->worst ? d : s->worst;
    }
    const json_t *greedy = json_object_get(s->prompt, "greedy");
    if (step < json_array_size(greedy) && argmax(logits, s->n_vocab) != json_integer_value(json_array_get(greedy, step))) {
        double gap = json_real_value(json_array_get(json_object_get(s->prompt, "gap"), step));
        if (gap < 4e-2)
            s->close++;
        else
            s->diverged++;
    }
    return true;
}

static int run(const char *path, const json_t *prompts, double limit, uint32_t threads)
{
    sr_err    err = {0};
    sr_model *m   = NULL;
    if (sr_model_load(&(sr_loadcfg){.path = path, .out_rows = 80, .dev = {.threads = threads}}, &m, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    state s = {.n_vocab = sr_model_info(m)->n_vocab};
    for (size_t k = 0; k < json_array_size(prompts); k++) {
        const json_t *ids, *greedy;
        s.prompt = json_array_get(prompts, k);
        ids      = json_object_get(s.prompt, "ids");
        greedy   = json_object_get(s.prompt, "greedy");
        int32_t  tok[1024];
        uint32_t n = 0;
        for (size_t i = 0; i < json_array_size(ids); i++)
            tok[n++] = (int32_t)json_integer_value(json_array_get(ids, i));
        s.first = n - 1;
        for (size_t i = 0; i < json_array_size(greedy); i++)
            tok[n++] = (int32_t)json_integer_value(json_array_get(greedy, i));
        if (sr_model_eval(m, tok, n, s.first, row, &s, &err)) {
            fprintf(stderr, "%s\n", err.msg);
            sr_model_close(m);
            return 1;
        }
    }
    sr_model_close(m);
    printf("%s: max |logit difference| %.2e (limit %.0e), greedy steps that differ: %u at gaps < 4e-2, %u others\n", path, s.worst, limit,
           s.close, s.diverged);
    return s.worst <= limit && s.diverged == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    const char   *path = argc > 1 ? argv[1] : "tests/data/strata-demo-draft-bf16.gguf", *key = argc > 2 ? argv[2] : "draft";
    const char   *ref   = argc > 3 ? argv[3] : "tests/data/reference.json";
    double        limit = argc > 4 ? strtod(argv[4], NULL) : 2e-2;
    json_error_t  je;
    json_t       *all = json_load_file(ref, 0, &je);
    const json_t *prompts = json_object_get(json_object_get(json_object_get(all, "models"), key), "prompts");
    if (!json_array_size(prompts)) {
        fprintf(stderr, "%s: no prompts of \"%s\" (%s)\n", ref, key, je.text);
        return 1;
    }
    int rc = run(path, prompts, limit, 2);
    json_decref(all);
    return rc;
}
