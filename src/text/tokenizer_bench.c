/* strata-bench-tokenizer TEXT FILE.gguf ...: how fast vocabularies open and cut a text into ids.
 *
 * The text is repeated to 8 MB.  Prints, per file, the time to open the tokenizer and the rate of
 * encoding: median, p10 and p90 of 11 runs, of this thread's processor time (other work on the machine
 * does not count, but takes cache and memory).  The ids are decoded and compared with the text first.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/bench.h"
#include "base/mem.h"
#include "text/tokenizer.h"

enum { RUNS = 11, TEXT_BYTES = 8000000 };

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool read_text(const char *path, sr_buf *text)
{
    FILE  *f = fopen(path, "rb");
    size_t n = 1;
    while (f && n && sr_buf_reserve(text, 1 << 16))
        text->n += n = fread(text->p + text->n, 1, 1 << 16, f);
    if (f)
        fclose(f);
    for (size_t once = text->n; once && text->n + once <= TEXT_BYTES;)
        if (!sr_buf_reserve(text, once) || !sr_buf_add(text, text->p, once))
            return false;
    return text->n != 0;
}

static sr_status bench(const char *path, const sr_buf *text, sr_err *err)
{
    double        rate[RUNS], opened;
    sr_gguf      *g    = NULL;
    sr_tokenizer *t    = NULL;
    sr_ids        ids  = {0};
    sr_buf        back = {0};
    sr_status     s;
    if ((s = sr_gguf_open(path, &g, err)))
        return s;
    opened = -cpu_seconds();
    s      = sr_tokenizer_open(g, &t, err);
    opened += cpu_seconds();
    for (int i = 0; !s && i < RUNS; i++) {
        ids.n   = 0;
        rate[i] = -cpu_seconds();
        s       = sr_tokenizer_encode(t, text->p, text->n, 0, &ids, err);
        rate[i] = 1e-6 * (double)text->n / (rate[i] + cpu_seconds());
    }
    if (!s && !(s = sr_tokenizer_decode(t, ids.p, ids.n, true, &back, err))) {
        sr_spread r    = sr_bench_spread(rate, RUNS);
        bool      same = back.n == text->n && memcmp(back.p, text->p, back.n) == 0;
        printf("%-40s open %6.1f ms, %8zu ids, %6.1f MB/s (%.1f - %.1f)%s\n", path, 1e3 * opened, ids.n, r.median, r.p10,
               r.p90, same ? "" : ", text does not come back");
    }
    sr_buf_end(&back);
    sr_ids_end(&ids);
    sr_tokenizer_close(t);
    sr_gguf_close(g);
    return s;
}

int main(int argc, char **argv)
{
    sr_buf text = {0};
    if (argc < 3 || !read_text(argv[1], &text)) {
        fputs("usage: strata-bench-tokenizer TEXT FILE.gguf ...\n", stderr);
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        sr_err err = {0};
        if (bench(argv[i], &text, &err))
            fprintf(stderr, "%s: %s\n", argv[i], err.msg);
    }
    sr_buf_end(&text);
    return 0;
}
