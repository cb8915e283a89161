#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "base/philox.h"
#include "format/convert.h"
#include "format/gguf_write.h"

#define DRAFT "tests/data/strata-demo-draft-bf16.gguf"

static char dir[] = "/tmp/sr-convert-XXXXXX";
static char in[64], out[64], part[72];

static int make_dir(void **state)
{
    (void)state;
    memcpy(dir + sizeof dir - 7, "XXXXXX", 7);
    if (!mkdtemp(dir))
        return -1;
    snprintf(in, sizeof in, "%s/in.gguf", dir);
    snprintf(out, sizeof out, "%s/out.gguf", dir);
    snprintf(part, sizeof part, "%s/out.gguf.part", dir);
    return 0;
}

static int drop_dir(void **state)
{
    (void)state;
    unlink(in);
    unlink(out);
    return rmdir(dir); /* fails if anything else is left */
}

/* ---- a source ------------------------------------------------------------------------------------------------ */

typedef struct { const char *name; uint32_t dtype, n_dims; uint64_t ne[4]; } shape;
static const shape shapes[] = {
    {"token_embd.weight", SR_F32, 2, {256, 40, 1, 1}},       {"output_norm.weight", SR_F32, 1, {256, 1, 1, 1}},
    {"blk.0.attn_norm.weight", SR_F16, 1, {256, 1, 1, 1}},   {"blk.0.attn_q.weight", SR_BF16, 2, {256, 33, 1, 1}},
    {"blk.0.attn_q.bias", SR_F32, 1, {33, 1, 1, 1}},         {"blk.0.attn_v.weight", SR_F16, 2, {512, 16, 1, 1}},
    {"blk.0.ffn_up.weight", SR_F32, 2, {96, 20, 1, 1}},      {"blk.0.ffn_gate.weight", SR_F32, 2, {33, 7, 1, 1}},
    {"blk.0.ffn_down.weight", SR_Q8_0, 2, {256, 17, 1, 1}},  {"blk.0.ffn_up_exps.weight", SR_F32, 3, {256, 5, 3, 1}},
    {"rope_freqs.weight", SR_F32, 1, {32, 1, 1, 1}},         {"blk.0.table", SR_I32, 2, {8, 3, 1, 1}},
};

static float weight(uint32_t tensor, uint64_t i)
{
    sr_philox v = sr_philox4(5, tensor, (uint32_t)i, 0, 0);
    float     s = 0;
    for (int k = 0; k < 4; k++)
        s += (float)v.v[k] * 0x1p-32f - 0.5f;
    return s * 0.1f;
}

static void write_tensor(sr_gguf_writer *w, uint32_t k, float at_3_1)
{
    const shape *t = &shapes[k];
    size_t       n = (size_t)(t->ne[0] * t->ne[1] * t->ne[2]);
    float       *f = malloc(n * sizeof *f);
    void        *b = malloc(sr_row_bytes(t->dtype, n));
    sr_err       e = {0};
    for (size_t i = 0; i < n; i++)
        f[i] = t->dtype == SR_I32 ? (float)i : weight(k, i);
    if (!isnan(at_3_1) || signbit(at_3_1)) /* a plain NaN: nothing special */
        f[3 * t->ne[0] + 1] = at_3_1;
    sr_encode_row(t->dtype, f, b, n);
    assert_int_equal(sr_gguf_write(w, b, sr_row_bytes(t->dtype, n), &e), SR_OK);
    free(f);
    free(b);
}

/* Tensors [first, last) of the table; `special` becomes row 3, column 1 of tensor `where`. */
static void write_source(const char *path, uint32_t first, uint32_t last, int32_t split, uint32_t where, float special)
{
    sr_gguf_writer *w = NULL;
    sr_err          e = {0};
    assert_int_equal(sr_gguf_create(path, &w, &e), SR_OK);
    if (split >= 0) {
        const uint16_t   no = (uint16_t)split, count = 2;
        const int32_t    n    = SR_COUNT(shapes);
        const sr_gguf_kv k[3] = {{"split.no", SR_GGUF_U16, SR_GGUF_U16, 1, &no, NULL},
                                 {"split.count", SR_GGUF_U16, SR_GGUF_U16, 1, &count, NULL},
                                 {"split.tensors.count", SR_GGUF_I32, SR_GGUF_I32, 1, &n, NULL}};
        for (int i = 0; i < 3; i++)
            sr_gguf_put_kv(w, &k[i]);
    }
    if (split <= 0) {
        const int32_t     list[] = {3, -1, 4};
        const sr_gguf_str s[]    = {{"one", 3}, {"t\0wo\xff", 5}, {"", 0}};
        sr_gguf_put_str(w, "general.architecture", "llama");
        sr_gguf_put_u32(w, "general.alignment", 64);
        sr_gguf_put_u64(w, "general.file_type", 0); /* in the middle, with another type than ours */
        sr_gguf_put_u32(w, "llama.block_count", 1);
        sr_gguf_put_f32(w, "a.float", 0.1f);
        sr_gguf_put_bool(w, "a.bool", true);
        sr_gguf_put_numbers(w, "a.list", SR_GGUF_I32, list, 3);
        sr_gguf_put_strings(w, "some.strings", s, 3);
    }
    for (uint32_t i = first; i < last; i++)
        sr_gguf_put_tensor(w, shapes[i].name, shapes[i].dtype, shapes[i].n_dims, shapes[i].ne);
    for (uint32_t i = first; i < last; i++)
        write_tensor(w, i, i == where ? special : NAN);
    assert_int_equal(sr_gguf_finish(w, &e), SR_OK);
}

static void write_plain(void) { write_source(in, 0, SR_COUNT(shapes), -1, UINT32_MAX, 0); }

static sr_status convert(const char *mix, sr_convertstats *stats, sr_err *err)
{
    *err = (sr_err){0};
    return sr_convert(in, out, &(sr_convertcfg){.mix = sr_mix_find(mix), .threads = 2}, stats, err);
}

static sr_gguf *open_file(const char *path)
{
    sr_gguf *g = NULL;
    sr_err   e = {0};
    if (sr_gguf_open(path, &g, &e))
        fail_msg("%s", e.msg);
    return g;
}

static void *bytes_of(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n      = (size_t)ftell(f);
    char *p = malloc(*n);
    rewind(f);
    assert_int_equal(fread(p, 1, *n, f), *n);
    fclose(f);
    return p;
}

static void assert_same_file(const char *a, const char *b)
{
    size_t n, k;
    void  *p = bytes_of(a, &n), *q = bytes_of(b, &k);
    assert_int_equal(n, k);
    assert_memory_equal(p, q, n);
    free(p);
    free(q);
}

/* ---- what comes out ---------------------------------------------------------------------------------------------- */

static void assert_same_value(const sr_gguf_kv *a, const sr_gguf_kv *b)
{
    assert_true(a->type == b->type && a->item == b->item && a->n == b->n);
    for (uint64_t k = 0; k < a->n; k++) {
        if (a->str) {
            assert_int_equal(a->str[k].n, b->str[k].n);
            assert_memory_equal(a->str[k].p, b->str[k].p, a->str[k].n);
        } else if (a->item == SR_GGUF_F32) {
            assert_true(sr_gguf_f32_at(a, k) == sr_gguf_f32_at(b, k));
        } else {
            assert_int_equal(sr_gguf_int_at(a, k), sr_gguf_int_at(b, k));
        }
    }
}

/* Keys in the source's order; the file type replaced where it stood, the version behind. */
static void assert_keys(const sr_gguf *a, const sr_gguf *b, uint32_t ftype)
{
    size_t at = 0;
    for (size_t i = 0; i < sr_gguf_n_kv(a); i++) {
        const sr_gguf_kv *x = sr_gguf_kv_at(a, i), *y = sr_gguf_kv_at(b, at);
        if (strncmp(x->key, "split.", 6) == 0)
            continue;
        at++;
        assert_string_equal(x->key, y->key);
        if (strcmp(x->key, "general.file_type") == 0)
            assert_true(y->type == SR_GGUF_U32 && sr_gguf_int_at(y, 0) == ftype);
        else
            assert_same_value(x, y);
    }
    assert_int_equal(sr_gguf_n_kv(b), at + 1);
    assert_string_equal(sr_gguf_kv_at(b, at)->key, "general.quantization_version");
    assert_int_equal(sr_gguf_int_at(sr_gguf_kv_at(b, at), 0), 2);
}

static double relative_error(const sr_tensor *a, const sr_tensor *b)
{
    size_t n = (size_t)(a->ne[0] * a->ne[1] * a->ne[2]);
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    double p = 0, e = 0;
    sr_decode_row(a->dtype, a->data, x, n);
    sr_decode_row(b->dtype, b->data, y, n);
    for (size_t i = 0; i < n; i++) {
        p += (double)x[i] * (double)x[i];
        e += ((double)y[i] - (double)x[i]) * ((double)y[i] - (double)x[i]);
    }
    free(x);
    free(y);
    return p > 0 ? sqrt(e / p) : 0;
}

/* A step s gives a uniform error of s / sqrt(12).  The largest of 32 sums of four uniforms is near 2.3 sigma, so that a
 * step is 2.3 / 7.5, 2.3 / 127 ... sigma.  A quarter is allowed above. */
static double allowed(uint32_t to)
{
    switch (to) {
    case SR_Q4_0: return 0.11;
    case SR_Q4_K: return 0.10;
    case SR_Q5_K: return 0.05;
    case SR_Q6_K: return 0.025;
    case SR_Q8_0: return 0.0066;
    case SR_BF16: return 0x1p-8;
    case SR_F16: return 0x1p-11;
    default: return 0;
    }
}

static void assert_tensors(const sr_gguf *a, const sr_gguf *b, const sr_mix *mix)
{
    const sr_mixmodel m = {"llama", 1, 0, 0, true};
    assert_int_equal(sr_gguf_n_tensors(a), sr_gguf_n_tensors(b));
    for (size_t i = 0; i < sr_gguf_n_tensors(a); i++) {
        const sr_tensor *x = sr_gguf_tensor_at(a, i), *y = sr_gguf_tensor_at(b, i);
        sr_dtype         want = sr_mix_dtype(mix, &m, x->name, x->n_dims, x->ne);
        assert_string_equal(x->name, y->name);
        assert_memory_equal(x->ne, y->ne, sizeof x->ne);
        if (want == SR_DTYPE_NONE)
            want = x->dtype == SR_I32 ? SR_I32 : SR_F32;
        assert_int_equal(y->dtype, want);
        if (x->dtype == want)
            assert_memory_equal(x->data, y->data, x->bytes);
        double e = relative_error(x, y);
        if (e > allowed(want))
            fail_msg("%s as %s: relative error %g", x->name, sr_dtype_name(want), e);
    }
}

static void every_format_keeps_keys_order_shapes_and_the_numbers(void **state)
{
    (void)state;
    sr_err e;
    write_plain();
    for (unsigned i = 0; sr_mix_at(i); i++) {
        sr_convertstats st;
        if (convert(sr_mix_at(i)->name, &st, &e))
            fail_msg("%s", e.msg);
        sr_gguf *a = open_file(in), *b = open_file(out);
        assert_keys(a, b, sr_mix_at(i)->ftype);
        assert_tensors(a, b, sr_mix_at(i));
        assert_int_equal(st.tensors, SR_COUNT(shapes));
        assert_int_equal(st.bytes_out, sr_gguf_file_bytes(b, 0));
        assert_int_equal(st.bytes_in, sr_gguf_file_bytes(a, 0));
        sr_gguf_close(a);
        sr_gguf_close(b);
    }
}

static void the_draft_becomes_the_bundled_q8_0_file_byte_by_byte(void **state)
{
    (void)state;
    sr_err e = {0};
    assert_int_equal(sr_convert(DRAFT, out, &(sr_convertcfg){.mix = sr_mix_find("Q8_0")}, NULL, &e), SR_OK);
    assert_same_file(out, "models/strata-demo-draft-Q8_0.gguf");
}

/* bf16 fits into F32; into F16 it fits where the exponent does, and is rounded to half a step of 2^-24 below. */
static void a_bf16_master_is_exact_in_f32_and_rounded_once_in_f16(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        sr_err e = {0};
        const sr_convertcfg cfg = {.mix = sr_mix_find(k ? "F16" : "F32")};
        assert_int_equal(sr_convert(DRAFT, out, &cfg, NULL, &e), SR_OK);
        sr_gguf *a = open_file(DRAFT), *b = open_file(out);
        for (size_t i = 0; i < sr_gguf_n_tensors(a); i++) {
            const sr_tensor *x = sr_gguf_tensor_at(a, i), *y = sr_gguf_tensor_at(b, i);
            if (x->dtype != SR_BF16) {
                assert_true(y->dtype == x->dtype && memcmp(x->data, y->data, x->bytes) == 0);
                continue;
            }
            for (uint64_t j = 0; j < x->bytes / 2; j++) {
                uint16_t s, h;
                float    got;
                memcpy(&s, (const uint8_t *)x->data + j * 2, 2);
                memcpy(&h, (const uint8_t *)y->data + j * 2, 2);
                memcpy(&got, (const uint8_t *)y->data + j * 4 * !k, 4);
                float want = sr_bf16_to_f32(s), may = fabsf(want) < 0x1p-14f ? 0x1p-25f : 0;
                if (k ? fabsf(sr_f16_to_f32(h) - want) > may : memcmp(&got, &want, 4) != 0)
                    fail_msg("%s, weight %zu: %g", x->name, (size_t)j, (double)want);
            }
        }
        sr_gguf_close(a);
        sr_gguf_close(b);
    }
}

static void any_number_of_threads_gives_the_same_bytes(void **state)
{
    (void)state;
    sr_err e = {0};
    for (uint32_t n = 1; n <= 5; n += 2) {
        const sr_convertcfg cfg = {.mix = sr_mix_find("Q4_K_M"), .threads = n};
        assert_int_equal(sr_convert(DRAFT, n == 1 ? in : out, &cfg, NULL, &e), SR_OK);
        if (n > 1)
            assert_same_file(in, out);
    }
}

static void a_split_set_becomes_one_file_equal_to_that_of_the_whole(void **state)
{
    (void)state;
    char   a[80], b[80], whole[80];
    sr_err e = {0};
    snprintf(a, sizeof a, "%s/s-00001-of-00002.gguf", dir);
    snprintf(b, sizeof b, "%s/s-00002-of-00002.gguf", dir);
    snprintf(whole, sizeof whole, "%s/whole.gguf", dir);
    write_plain();
    write_source(a, 0, 5, 0, UINT32_MAX, 0);
    write_source(b, 5, SR_COUNT(shapes), 1, UINT32_MAX, 0);
    const sr_convertcfg cfg = {.mix = sr_mix_find("Q4_K_M"), .threads = 1};
    assert_int_equal(sr_convert(a, out, &cfg, NULL, &e), SR_OK);
    assert_int_equal(sr_convert(in, whole, &cfg, NULL, &e), SR_OK);
    assert_same_file(out, whole);
    assert_int_equal(sr_convert(a, b, &cfg, NULL, &e), SR_INVALID); /* the second part is a source, too */
    assert_non_null(strstr(e.msg, "is the file to be converted"));
    unlink(a);
    unlink(b);
    unlink(whole);
}

static void what_was_lost_before_and_rows_that_do_not_fit_are_counted(void **state)
{
    (void)state;
    sr_err          e;
    sr_convertstats st;
    write_plain();
    assert_int_equal(convert("Q6_K", &st, &e), SR_OK);
    assert_int_equal(st.requantised, 1); /* ffn_down was Q8_0 */
    assert_int_equal(st.fallen_back, 2); /* rows of 96 and of 33 */
    assert_int_equal(convert("Q8_0", &st, &e), SR_OK);
    assert_int_equal(st.requantised, 0);
    assert_int_equal(st.fallen_back, 1);
    assert_int_equal(convert("F16", &st, &e), SR_OK);
    assert_int_equal(st.requantised, 1);
    assert_int_equal(st.fallen_back, 0);
}

/* ---- what is refused ------------------------------------------------------------------------------------------------ */

static void assert_refused(sr_status want, sr_status got, const sr_err *e, const char *text)
{
    assert_int_equal(got, want);
    if (!strstr(e->msg, text))
        fail_msg("no \"%s\" in: %s", text, e->msg);
    assert_null(strchr(e->msg, '\n'));
    assert_int_not_equal(access(part, F_OK), 0);
    assert_int_not_equal(access(out, F_OK), 0);
}

static void a_number_the_format_cannot_hold_is_named(void **state)
{
    (void)state;
    static const struct { float v; const char *mix, *text; } no[] = {
        {-NAN, "Q8_0", "tensor \"token_embd.weight\": row 3, column 1 is "},
        {INFINITY, "Q4_K_M", "row 3, column 1 is inf, which Q6_K cannot hold"},
        {1e6f, "F16", "row 3, column 1 is 1e+06, which F16 cannot hold"},
        {-1e8f, "Q8_0", "row 3, column 1 is -1e+08, which Q8_0 cannot hold"},
        {3.4e38f, "BF16", "row 3, column 1 is 3.4e+38, which BF16"},
        {1e30f, "Q4_0", "row 3, column 1 is 1e+30, which Q6_K cannot hold"},
        {1e30f, "Q4_K", "column 1 is 1e+30, which Q4_K"},
        {1e30f, "Q5_K", "column 1 is 1e+30, which Q5_K"},
    };
    sr_err e;
    for (size_t i = 0; i < SR_COUNT(no); i++) {
        write_source(in, 0, SR_COUNT(shapes), -1, 0, no[i].v);
        assert_refused(SR_INVALID, convert(no[i].mix, NULL, &e), &e, no[i].text);
    }
    static const struct { float v; const char *mix; } yes[] = {
        {INFINITY, "F16"}, {-NAN, "BF16"}, {1e6f, "BF16"}, {1e6f, "Q8_0"}, {-NAN, "F32"}};
    for (size_t i = 0; i < SR_COUNT(yes); i++) {
        write_source(in, 0, SR_COUNT(shapes), -1, 0, yes[i].v);
        assert_int_equal(convert(yes[i].mix, NULL, &e), SR_OK);
    }
}

static void the_source_is_never_the_target_by_any_name(void **state)
{
    (void)state;
    char         name[80];
    size_t       n, k;
    sr_err       e   = {0};
    const sr_convertcfg cfg = {.mix = sr_mix_find("Q8_0"), .threads = 1};
    write_plain();
    void *before = bytes_of(in, &n);
    assert_int_equal(sr_convert(in, in, &cfg, NULL, &e), SR_INVALID);
    e = (sr_err){0};
    assert_int_equal(link(in, out), 0);
    assert_int_equal(sr_convert(in, out, &cfg, NULL, &e), SR_INVALID);
    unlink(out);
    e = (sr_err){0};
    assert_int_equal(symlink(in, out), 0);
    assert_int_equal(sr_convert(in, out, &cfg, NULL, &e), SR_INVALID);
    unlink(out);
    assert_int_equal(rename(in, part), 0); /* the writer would truncate it */
    e = (sr_err){0};
    assert_int_equal(sr_convert(part, out, &cfg, NULL, &e), SR_INVALID);
    assert_non_null(strstr(e.msg, "out.gguf.part: is the file to be converted"));
    assert_int_equal(rename(part, in), 0);
    snprintf(name, sizeof name, "%s/./in.gguf", dir);
    e = (sr_err){0};
    assert_int_equal(sr_convert(name, in, &cfg, NULL, &e), SR_INVALID);
    void *after = bytes_of(in, &k);
    assert_int_equal(n, k);
    assert_memory_equal(before, after, n);
    free(before);
    free(after);
}

static void a_damaged_source_is_refused_before_anything_is_written(void **state)
{
    (void)state;
    size_t n;
    sr_err e;
    write_plain();
    char *p = bytes_of(in, &n);
    for (size_t keep = 0; keep + 64 < n; keep += n / 23) { /* 64: what follows the data is padding */
        FILE *f = fopen(in, "wb");
        fwrite(p, 1, keep, f);
        fclose(f);
        assert_refused(SR_INVALID, convert("Q4_K_M", NULL, &e), &e, "in.gguf");
    }
    free(p);
    unlink(in);
    assert_refused(SR_IO, convert("Q4_K_M", NULL, &e), &e, "No such file");
    write_source(in, 0, 0, -1, UINT32_MAX, 0);
    assert_refused(SR_INVALID, convert("Q4_K_M", NULL, &e), &e, "no tensors: nothing to convert");
}

static void a_target_that_cannot_be_written_is_refused(void **state)
{
    (void)state;
    sr_err              e   = {0};
    const sr_convertcfg cfg = {.mix = sr_mix_find("F16"), .threads = 1};
    write_plain();
    assert_refused(SR_IO, sr_convert(in, "/nonexistent/x.gguf", &cfg, NULL, &e), &e, "x.gguf.part: No such file");
    e = (sr_err){0};
    assert_refused(SR_INVALID, sr_convert(in, dir, &cfg, NULL, &e), &e, "not a regular file");
    e = (sr_err){0};
    assert_refused(SR_INVALID, sr_convert(in, "/dev/full", &cfg, NULL, &e), &e, "not a regular file");
}

/* ---- progress, interruption, faults --------------------------------------------------------------------------------- */

typedef struct {
    uint64_t    last;
    uint32_t    complete, stop_at, calls;
    const char *harm; /* done to the source at the first call */
} watch;

static bool on_step(void *arg, const sr_convertstep *s)
{
    watch *w = arg;
    assert_true(s->done > w->last && s->done <= s->total);
    assert_true(!s->complete || (s->error >= 0 && s->error <= allowed(s->to)));
    assert_true(!s->complete || (s->error == 0) == (s->to == s->tensor->dtype || s->to == SR_F32));
    w->last = s->done;
    w->complete += s->complete;
    if (w->harm && w->calls == 0) {
        FILE *f = strcmp(w->harm, "shrink") == 0 ? NULL : fopen(in, "r+b");
        if (!f)
            assert_int_equal(truncate(in, 3000), 0);
        else
            assert_true(fputc('X', f) != EOF && fclose(f) == 0);
    }
    return ++w->calls != w->stop_at;
}

static sr_status convert_watched(const char *mix, watch *w, sr_err *err)
{
    const sr_convertcfg cfg = {.mix = sr_mix_find(mix), .threads = 1, .progress = on_step, .arg = w};
    return sr_convert(in, out, &cfg, NULL, err);
}

static void progress_rises_to_the_end_and_may_stop_the_work(void **state)
{
    (void)state;
    write_plain();
    for (uint32_t stop = 0; stop <= SR_COUNT(shapes); stop++) {
        watch     w = {.stop_at = stop};
        sr_err    e = {0};
        sr_status s = convert_watched("Q5_K_M", &w, &e);
        assert_int_equal(s, stop ? SR_AGAIN : SR_OK);
        assert_int_equal(e.msg[0], 0);
        assert_int_equal(w.complete, stop ? stop : SR_COUNT(shapes));
        assert_int_equal(access(out, F_OK), stop ? -1 : 0);
        assert_int_not_equal(access(part, F_OK), 0);
        unlink(out);
    }
}

static void a_source_that_changes_meanwhile_is_an_error(void **state)
{
    (void)state;
    static const char *const harm[] = {"shrink", "write"};
    for (size_t i = 0; i < SR_COUNT(harm); i++) {
        watch  w = {.harm = harm[i]};
        sr_err e = {0};
        write_plain();
        sr_status s = convert_watched("Q8_0", &w, &e);
        assert_refused(SR_IO, s, &e, i ? "written to since it was opened" : "shrank while being read");
    }
}

static void every_fault_leaves_the_old_file_or_the_new(void **state)
{
    (void)state;
    static const struct { sr_faultkind kind; sr_status want; } kinds[] = {
        {SR_FAULT_ALLOC, SR_NOMEM}, {SR_FAULT_OPEN, SR_IO}, {SR_FAULT_READ, SR_IO}, {SR_FAULT_WRITE, SR_IO}};
    write_plain();
    for (size_t k = 0; k < SR_COUNT(kinds); k++) {
        bool     fired = true;
        uint64_t nth   = 1;
        for (; fired; nth++) {
            sr_err e;
            FILE  *f = fopen(out, "wb");
            fputs("old", f);
            fclose(f);
            sr_fault_arm(kinds[k].kind, nth);
            sr_status s = convert("Q4_0", NULL, &e);
            fired       = sr_fault_fired(kinds[k].kind);
            sr_fault_arm(kinds[k].kind, 0);
            struct stat st;
            assert_int_equal(stat(out, &st), 0);
            assert_int_not_equal(access(part, F_OK), 0);
            if (kinds[k].kind != SR_FAULT_OPEN || s != SR_NOMEM) /* mapping takes memory as well */
                assert_int_equal(s, fired ? kinds[k].want : SR_OK);
            assert_true(!fired || (e.msg[0] && st.st_size == 3));
        }
        assert_true(nth > 2);
    }
    sr_gguf_close(open_file(out));
}

#define T(name) cmocka_unit_test_setup_teardown(name, make_dir, drop_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(every_format_keeps_keys_order_shapes_and_the_numbers),
        T(the_draft_becomes_the_bundled_q8_0_file_byte_by_byte),
        T(a_bf16_master_is_exact_in_f32_and_rounded_once_in_f16),
        T(any_number_of_threads_gives_the_same_bytes),
        T(a_split_set_becomes_one_file_equal_to_that_of_the_whole),
        T(what_was_lost_before_and_rows_that_do_not_fit_are_counted),
        T(a_number_the_format_cannot_hold_is_named),
        T(the_source_is_never_the_target_by_any_name),
        T(a_damaged_source_is_refused_before_anything_is_written),
        T(a_target_that_cannot_be_written_is_refused),
        T(progress_rises_to_the_end_and_may_stop_the_work),
        T(a_source_that_changes_meanwhile_is_an_error),
        T(every_fault_leaves_the_old_file_or_the_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
