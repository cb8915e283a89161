/* Any bytes as a stream of tokens with stop strings: bytes up to the first NUL are stop strings, one per
 * '|'; each further byte is a token.  The output must be valid UTF-8 after every push, hold no stop
 * string, and be the same with pushes one by one as the contract says of the whole. */
#include "text/detok.h"
#include "text/tiny_vocab.h"

#include <string.h>
#include <utf8proc.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void check(bool ok)
{
    if (!ok)
        __builtin_trap();
}

/* Whole code points from there on. */
static void valid_utf8(const sr_buf *b, size_t from)
{
    utf8proc_int32_t cp;
    for (size_t i = from; i < b->n;) {
        utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)b->p + i, (utf8proc_ssize_t)(b->n - i), &cp);
        check(k > 0);
        i += (size_t)k;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static sr_tokenizer *t;
    sr_err               err = {0};
    if (!t)
        check(tiny_tokenizer("spm", &t, &err) == SR_OK);
    const uint8_t *nul = n ? memchr(bytes, 0, n) : NULL;
    if (!nul)
        return 0;
    sr_stopstr  stop[8];
    size_t      n_stop = 0, stopped = 0;
    const char *p = (const char *)bytes, *end = (const char *)nul;
    while (p < end && n_stop < 8) {
        const char *bar = memchr(p, '|', (size_t)(end - p));
        size_t      k   = (size_t)((bar ? bar : end) - p);
        stop[n_stop++]  = (sr_stopstr){p, k};
        p += k + (bar != NULL);
    }
    sr_detok *d   = NULL;
    sr_buf    out = {0};
    if (sr_detok_open(t, stop, n_stop, false, true, &d, &err)) {
        check(err.status == SR_INVALID);
        return 0;
    }
    for (const uint8_t *b = nul + 1; b < bytes + n; b++) { /* tokens 3 .. 258 are the bytes, 259 .. pieces */
        size_t before = out.n;
        check(sr_detok_push(d, *b < 0xF8 ? 3 + *b : 259 + *b, &out, &stopped, &err) == SR_OK);
        valid_utf8(&out, before);
    }
    size_t before = out.n;
    check(sr_detok_flush(d, &out, &err) == SR_OK);
    valid_utf8(&out, before);
    for (size_t i = 0; i < n_stop; i++)
        check(!out.n || !memmem(out.p, out.n, stop[i].p, stop[i].n));
    sr_buf_end(&out);
    sr_detok_close(d);
    return 0;
}
