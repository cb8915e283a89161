#include "app/plan_emit.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* train.l has a V100, which is too old for strata. */
typedef struct { const char *id, *gpu; uint32_t cores, gb; } resource;
static const resource resources[] = {{"basic", NULL, 3, 11},    {"basic.8x", NULL, 31, 116}, {"infer.s", "T4", 3, 10},
                                     {"infer.m", "T4", 7, 26},  {"infer.l", "T4", 15, 58}};
/* What the container needs beside weights, KV and activations: the program, the driver's part in the host's memory, the page cache of
 * what is being read. */
#define LEFT_OVER 1500000000ull

typedef struct {
    const resource *r;
    bool            fits;
    uint64_t        lack, ram, vram_used, ram_used;
    uint32_t        threads, ctx, parallel;
    double          tok_s, all_tok_s, first_s; /* one sequence; `parallel` of them together; a prompt's first token */
    uint32_t        prompt;
} verdict;

static sr_status judge(const sr_planmodel *m, const sr_units *u, const sr_outlookcfg *asked, verdict *v, sr_err *err)
{
    sr_outlookcfg c   = *asked;
    sr_outlook    o   = {0};
    sr_err        no  = {0};
    uint64_t      ram = (uint64_t)v->r->gb * 1000000000ull - LEFT_OVER;
    c.ram      = asked->ram ? SR_MIN(asked->ram, ram) : ram;
    c.threads  = asked->threads ? SR_MIN(asked->threads, v->r->cores) : v->r->cores - (v->r->gpu ? 1 : 0);
    c.no_disk  = c.quick = true;
    c.n_batch  = 2;
    c.batch[0] = 1;
    c.batch[1] = SR_MAX(asked->parallel, 1);
    sr_status s = sr_outlook_make(m->code, u, &c, &o, &no);
    v->fits = s == SR_OK && o.n_row == 2 && o.row[0].fits && o.row[1].fits;
    v->lack = o.sum.vram_short + o.sum.ram_short;
    if (v->fits) {
        v->ram = c.ram, v->threads = o.threads, v->ctx = o.ctx, v->parallel = o.parallel;
        v->vram_used = o.sum.vram_used, v->ram_used = o.sum.ram_used;
        v->tok_s = o.row[0].tok_s, v->all_tok_s = o.row[1].tok_s;
        v->first_s = o.prompt[0].first_s, v->prompt = o.prompt[0].tokens;
    }
    sr_outlook_close(&o);
    return s == SR_OK || s == SR_NOMEM ? SR_OK : sr_raise(err, s, "%s", no.msg);
}

/* The last part of a path, in characters that YAML takes between quotes, and in a comment, without an escape. */
static void plain(const char *path, char *out, size_t cap)
{
    const char *p = strrchr(path, '/');
    size_t      n = 0;
    for (p = p ? p + 1 : path; *p && n + 1 < cap; p++)
        out[n++] = (unsigned char)*p < ' ' || *p == '"' || *p == '\\' || *p == '{' ? '-' : *p;
    out[n] = 0;
}

static void put_head(const sr_planmodel *m, const sr_outlookcfg *asked, const verdict *v, size_t n)
{
    const sr_profile *p = asked->profile;
    char name[256];
    plain(m->id, name, sizeof name);
    printf("# SAP AI Core: strata as a scenario of one's own, for %s (%.2f GB of weights), made by strata plan --emit aicore.\n", name,
           (double)m->bytes * 1e-9);
    puts("# Into the Git repository that an application of the tenant watches; then a configuration with the parameters and the model's artifact,\n"
         "# then a deployment.  Clients: <deployment URL>/v1/...  Needed before: the image in a registry of yours, its docker-registry secret\n"
         "# (`imagePullSecrets`), the model in the object store behind an artifact of kind \"model\".  Not deployed by us.");
    printf("# Predicted from %s (%s, %s), in tokens a second; KV for %u x %u tokens is reserved:\n", p->name, p->source, p->date, v[0].parallel, v[0].ctx);
    for (size_t i = 0; i < n; i++) {
        if (!v[i].fits)
            printf("#   %-8s %-2s %2u cores %3u GB: does not fit, %.2f GB too little\n", v[i].r->id, v[i].r->gpu ? v[i].r->gpu : "-", v[i].r->cores, v[i].r->gb,
                   (double)v[i].lack * 1e-9);
        else
            printf("#   %-8s %-2s %2u cores %3u GB: %.1f for one, %.1f with %u at once; first of a prompt of %u after %.*f s; VRAM %.2f GB, RAM %.2f GB\n",
                   v[i].r->id, v[i].r->gpu ? v[i].r->gpu : "-", v[i].r->cores, v[i].r->gb, v[i].tok_s, v[i].all_tok_s, v[i].parallel, v[i].prompt,
                   v[i].first_s < 1 ? 3 : 1, v[i].first_s, (double)v[i].vram_used * 1e-9, (double)v[i].ram_used * 1e-9);
    }
}

static void put_inputs(const sr_planmodel *m, const char *spec, const verdict *v)
{
    char file[256], name[256];
    bool made_up = strncmp(spec, "synth:", 6) == 0; /* there is no file yet */
    plain(spec, file, sizeof file);
    plain(m->id, name, sizeof name);
    puts("apiVersion: ai.sap.com/v1alpha1\nkind: ServingTemplate\nmetadata:\n  name: strata\n  annotations:\n"
         "    scenarios.ai.sap.com/name: strata\n    scenarios.ai.sap.com/description: Language models in the GGUF format, for OpenAI clients\n"
         "    executables.ai.sap.com/name: strata\n    executables.ai.sap.com/description: strata serve\n    artifacts.ai.sap.com/model.kind: model\n"
         "  labels:\n    scenarios.ai.sap.com/id: strata\n    ai.sap.com/version: " SR_VERSION "\nspec:\n  inputs:\n"
         "    parameters: # each needs `type: string`\n      - {name: image, type: string}");
    printf("      - {name: resourcePlan, type: string, default: %s} # the smallest that holds it; --ram and --threads below are for this one\n", v->r->id);
    if (made_up)
        puts("      - {name: modelFile, type: string} # of the artifact, as model.gguf\n"
             "      - {name: modelName, type: string, default: strata} # what clients ask for");
    else
        printf("      - {name: modelFile, type: string, default: \"%s\"} # of the artifact\n"
               "      - {name: modelName, type: string, default: \"%s\"} # what clients ask for\n", file, name);
    printf("      - {name: contextTokens, type: string, default: \"%u\"}\n      - {name: parallel, type: string, default: \"%u\"}\n", v->ctx, v->parallel);
    puts("      - {name: minReplicas, type: string, default: \"1\"}\n      - {name: maxReplicas, type: string, default: \"1\"}\n"
         "    artifacts:\n      - {name: model}");
}

static void put_word(const char *option, const char *word, const char *usual)
{
    if (word && strcmp(word, usual) != 0)
        printf("              - --%s=%s\n", option, word);
}

static void put_args(const sr_outlookcfg *asked, const sr_emitwords *w, const verdict *v)
{
    puts("            args:\n              - serve\n              - --host=0.0.0.0\n              - --port=8080\n"
         "              - --model=/mnt/models/{{inputs.parameters.modelFile}}\n              - --model-name={{inputs.parameters.modelName}}\n"
         "              - --ctx={{inputs.parameters.contextTokens}}\n              - --parallel={{inputs.parameters.parallel}}");
    printf("              - --device=%s\n              - --threads=%u\n", v->r->gpu ? "cuda" : "cpu", v->threads);
    if (asked->vram)
        printf("              - --vram=%llu\n", (unsigned long long)asked->vram);
    if (v->r->gpu)
        printf("              - --ram=%llu\n", (unsigned long long)v->ram);
    put_word("offload", w->offload, "auto");
    put_word("transit", w->transit, "raw");
    put_word("ram-format", w->ram_format, "");
    put_word("cache-type-k", w->kv_k, "f16");
    put_word("cache-type-v", w->kv_v, "f16");
    put_word("cpu-activations", w->activations, "int8");
    puts("              - --log-json");
}

static void put_template(const sr_outlookcfg *asked, const sr_emitwords *w, const verdict *v)
{
    puts("  template:\n    apiVersion: serving.kserve.io/v1beta1\n    metadata:\n      labels: |\n"
         "        ai.sap.com/resourcePlan: \"{{inputs.parameters.resourcePlan}}\"\n      annotations: |\n        autoscaling.knative.dev/metric: concurrency\n"
         "        autoscaling.knative.dev/target: \"{{inputs.parameters.parallel}}\"\n    spec: |\n      predictor:\n        imagePullSecrets:\n"
         "          - name: registry\n        minReplicas: {{inputs.parameters.minReplicas}}\n        maxReplicas: {{inputs.parameters.maxReplicas}}\n"
         "        terminationGracePeriodSeconds: 40 # --drain-timeout is 30 s\n        containers:\n          - name: kserve-container\n"
         "            image: \"{{inputs.parameters.image}}\"");
    put_args(asked, w, v);
    puts("            env:\n              # KServe's storage initializer fetches the artifact into /mnt/models; both names are fixed there.\n"
         "              - name: STORAGE_URI\n                value: \"{{inputs.artifacts.model}}\"\n            ports:\n              # exactly one\n"
         "              - containerPort: 8080\n                protocol: TCP\n            readinessProbe:\n              httpGet:\n                path: /health\n"
         "                port: 8080\n              periodSeconds: 5\n              failureThreshold: 360");
}

sr_status sr_plan_emit_aicore(const sr_planmodel *m, const char *spec, const sr_units *u, const sr_outlookcfg *asked, const sr_emitwords *words,
                              bool *fits, sr_err *err)
{
    verdict v[SR_COUNT(resources)] = {{0}};
    size_t  n = 0, least = SIZE_MAX;
    for (size_t i = 0; i < SR_COUNT(resources); i++) {
        if (asked->cpu_only != !resources[i].gpu)
            continue;
        v[n].r = &resources[i];
        if (judge(m, u, asked, &v[n], err))
            return sr_while(err, "planning for %s", resources[i].id);
        if (v[n].fits && least == SIZE_MAX)
            least = n;
        n++;
    }
    *fits = least != SIZE_MAX;
    if (!*fits) {
        fprintf(stderr, "strata plan: no resource plan of AI Core holds it: %s (%u GB of RAM%s%s) has %.2f GB too little\n", v[n - 1].r->id, v[n - 1].r->gb,
                v[n - 1].r->gpu ? ", a " : "", v[n - 1].r->gpu ? v[n - 1].r->gpu : "", (double)v[n - 1].lack * 1e-9);
        return SR_OK;
    }
    for (size_t i = 0; i < n; i++) /* for the head, which tells what all of them are for */
        v[i].ctx = v[least].ctx, v[i].parallel = v[least].parallel;
    put_head(m, asked, v, n);
    put_inputs(m, spec, &v[least]);
    put_template(asked, words, &v[least]);
    return SR_OK;
}
