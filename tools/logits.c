/* strata-logits MODEL OUT [FIRST] [ISA]: the logits of the ids on stdin, positions FIRST and on, as raw float32 rows:
 * the same form as bench/peers/peer_llama writes, so that two engines can be compared number by number.
 *
 * strata-logits --compare A B N_VOCAB LIMIT: largest difference, its place, KL(A||B) and argmax agreement; exit 1 when the
 * mean KL exceeds LIMIT. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/engine.h"

typedef struct { FILE *f; uint32_t n; } sink;

static bool row(void *arg, uint32_t pos, const float *logits)
{
    sink *s = arg;
    (void)pos;
    return fwrite(logits, sizeof *logits, s->n, s->f) == s->n;
}

static double lse(const float *x, size_t n, double *top)
{
    double sum = 0;
    *top = -1e300;
    for (size_t i = 0; i < n; i++)
        *top = fmax(*top, (double)x[i]);
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - *top);
    return *top + log(sum);
}

static size_t argmax(const float *x, size_t n)
{
    size_t b = 0;
    for (size_t i = 1; i < n; i++)
        b = x[i] > x[b] ? i : b;
    return b;
}

static int compare(const char *pa, const char *pb, size_t n, double limit)
{
    FILE  *fa = fopen(pa, "rbe"), *fb = fopen(pb, "rbe");
    float *a = sr_calloc(n, sizeof *a), *b = sr_calloc(n, sizeof *b);
    size_t rows = 0, same = 0;
    double worst = 0, kl = 0, top, rms = 0;
    while (fa && fb && a && b && fread(a, sizeof *a, n, fa) == n && fread(b, sizeof *b, n, fb) == n) {
        double la = lse(a, n, &top), lb = lse(b, n, &top);
        for (size_t i = 0; i < n; i++) {
            double d = fabs((double)a[i] - (double)b[i]);
            worst    = !(d <= worst) ? d : worst;
            rms += d * d;
            kl += exp((double)a[i] - la) * ((double)a[i] - la - (double)b[i] + lb);
        }
        same += argmax(a, n) == argmax(b, n);
        rows++;
    }
    if (fa)
        fclose(fa);
    if (fb)
        fclose(fb);
    sr_free(a);
    sr_free(b);
    if (!rows) {
        fprintf(stderr, "strata-logits: no rows of %zu floats in %s and %s\n", n, pa, pb);
        return 1;
    }
    kl /= (double)rows;
    printf("rows %zu  max %.3e  rms %.3e  KL %.3e  argmax %.1f %%\n", rows, worst, sqrt(rms / (double)(rows * n)), kl,
           100.0 * (double)same / (double)rows);
    return kl <= limit ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "--compare") == 0)
        return compare(argv[2], argv[3], strtoul(argv[4], NULL, 10), strtod(argv[5], NULL));
    if (argc < 3) {
        fprintf(stderr, "usage: strata-logits MODEL OUT [FIRST] [ISA] <ids | strata-logits --compare A B N_VOCAB MAX_KL\n");
        return 2;
    }
    static int32_t tok[65536];
    uint32_t       n = 0;
    while (n < 65536 && scanf("%d", &tok[n]) == 1)
        n++;
    sr_err     err = {0};
    sr_model  *m   = NULL;
    sr_loadcfg c   = {.path = argv[1], .out_rows = 64, .dev = {.threads = 2, .isa = argc > 4 ? argv[4] : NULL}};
    sink       s   = {.f = fopen(argv[2], "wbe")};
    if (!s.f) {
        perror(argv[2]);
        return 1;
    }
    sr_status rc = sr_model_load(&c, &m, &err);
    if (rc == SR_OK) {
        s.n = sr_model_info(m)->n_vocab;
        rc  = sr_model_eval(m, tok, n, argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0, row, &s, &err);
    }
    if (rc)
        fprintf(stderr, "strata-logits: %s\n", err.msg);
    sr_model_close(m);
    return fclose(s.f) || rc ? 1 : 0;
}
