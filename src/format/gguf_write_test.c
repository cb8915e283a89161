#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "format/gguf_testfile.h"
#include "format/gguf_write.h"

static char dir[] = "/tmp/sr-gguf-write-XXXXXX";
static char path[64], part[72];

static int make_dir(void **state)
{
    (void)state;
    memcpy(dir + sizeof dir - 7, "XXXXXX", 7);
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/m.gguf", dir);
    snprintf(part, sizeof part, "%s/m.gguf.part", dir);
    return 0;
}

static int drop_dir(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir); /* fails if a partial file is left */
}

static sr_gguf_writer *create(void)
{
    sr_gguf_writer *w = NULL;
    sr_err          e = {0};
    if (sr_gguf_create(path, &w, &e))
        fail_msg("%s", e.msg);
    return w;
}

/* A reader's view written again. */
static sr_status copy(const sr_gguf *g, const char *to, size_t piece, sr_err *err)
{
    sr_gguf_writer *w = NULL;
    sr_status       s = sr_gguf_create(to, &w, err);
    if (s)
        return s;
    for (size_t i = 0; i < sr_gguf_n_kv(g); i++)
        sr_gguf_put_kv(w, sr_gguf_kv_at(g, i));
    for (size_t i = 0; i < sr_gguf_n_tensors(g); i++) {
        const sr_tensor *t = sr_gguf_tensor_at(g, i);
        sr_gguf_put_tensor(w, t->name, t->dtype, t->n_dims, t->ne);
    }
    for (size_t i = 0; i < sr_gguf_n_tensors(g); i++) {
        const sr_tensor *t = sr_gguf_tensor_at(g, i);
        for (uint64_t at = 0; at < t->bytes; at += piece) {
            if ((s = sr_gguf_write(w, (const uint8_t *)t->data + at, (size_t)SR_MIN(piece, t->bytes - at), err))) {
                sr_gguf_abandon(w);
                return s;
            }
        }
    }
    return sr_gguf_finish(w, err);
}

static void assert_same(const sr_gguf *a, const sr_gguf *b)
{
    assert_int_equal(sr_gguf_n_kv(a), sr_gguf_n_kv(b));
    for (size_t i = 0; i < sr_gguf_n_kv(a); i++) {
        const sr_gguf_kv *x = sr_gguf_kv_at(a, i), *y = sr_gguf_kv_at(b, i);
        assert_string_equal(x->key, y->key);
        assert_true(x->type == y->type && x->item == y->item && x->n == y->n);
        for (uint64_t k = 0; x->str && k < x->n; k++) {
            assert_int_equal(x->str[k].n, y->str[k].n);
            assert_memory_equal(x->str[k].p, y->str[k].p, x->str[k].n);
        }
    }
    assert_int_equal(sr_gguf_n_tensors(a), sr_gguf_n_tensors(b));
    for (size_t i = 0; i < sr_gguf_n_tensors(a); i++) {
        const sr_tensor *x = sr_gguf_tensor_at(a, i), *y = sr_gguf_tensor_at(b, i);
        assert_string_equal(x->name, y->name);
        assert_true(x->dtype == y->dtype && x->n_dims == y->n_dims && x->bytes == y->bytes);
        assert_memory_equal(x->ne, y->ne, sizeof x->ne);
        assert_memory_equal(x->data, y->data, x->bytes);
    }
}

static void what_was_read_is_written_the_same(void **state)
{
    (void)state;
    sr_buf   b = {0};
    sr_gguf *a = NULL, *c = NULL;
    sr_err   e = {0};
    put_sample(&b);
    assert_int_equal(sr_gguf_open_mem(b.p, b.n, &a, &e), SR_OK);
    for (size_t piece = 1; piece < 1000; piece = piece * 3 + 1) {
        if (copy(a, path, piece, &e) || sr_gguf_open(path, &c, &e))
            fail_msg("%s", e.msg);
        assert_same(a, c);
        sr_gguf_close(c);
    }
    sr_gguf_close(a);
    sr_buf_end(&b);
}

static void a_real_model_survives_the_round_trip(void **state)
{
    (void)state;
    sr_gguf *a = NULL, *c = NULL;
    sr_err   e = {0};
    assert_int_equal(sr_gguf_open("models/strata-demo-draft-Q8_0.gguf", &a, &e), SR_OK);
    assert_int_equal(copy(a, path, 3 << 20, &e), SR_OK);
    assert_int_equal(sr_gguf_open(path, &c, &e), SR_OK);
    assert_same(a, c);
    sr_gguf_close(c);
    sr_gguf_close(a);
}

static void scalars_of_each_kind_are_written(void **state)
{
    (void)state;
    sr_gguf_writer *w = create();
    sr_gguf        *g = NULL;
    sr_err          e = {0};
    sr_gguf_put_u32(w, "u32", 7);
    sr_gguf_put_u64(w, "u64", 1ull << 50);
    sr_gguf_put_f32(w, "f32", 0.5f);
    sr_gguf_put_bool(w, "bool", true);
    sr_gguf_put_str(w, "str", "text");
    sr_gguf_put_numbers(w, "i32s", SR_GGUF_I32, (int32_t[]){1, -2}, 2);
    sr_gguf_put_strings(w, "strs", (sr_gguf_str[]){{"a", 1}, {"", 0}}, 2);
    assert_int_equal(sr_gguf_finish(w, &e), SR_OK);
    assert_int_equal(sr_gguf_open(path, &g, &e), SR_OK);
    assert_int_equal(sr_gguf_int_at(sr_gguf_find(g, "u64"), 0), 1ll << 50);
    assert_int_equal(sr_gguf_int_at(sr_gguf_find(g, "bool"), 0), 1);
    assert_int_equal(sr_gguf_int_at(sr_gguf_find(g, "i32s"), 1), -2);
    assert_memory_equal(sr_gguf_find(g, "str")->str->p, "text", 4);
    assert_int_equal(sr_gguf_find(g, "strs")->n, 2);
    sr_gguf_close(g);
}

static void an_alignment_key_moves_the_data(void **state)
{
    (void)state;
    sr_gguf_writer *w = create();
    sr_gguf        *g = NULL;
    sr_err          e = {0};
    float           v[3] = {1, 2, 3};
    sr_gguf_put_u32(w, "general.alignment", 4096);
    for (int i = 0; i < 3; i++)
        sr_gguf_put_tensor(w, (char[]){'a' + (char)i, 0}, SR_F32, 1, (uint64_t[]){1});
    assert_int_equal(sr_gguf_write(w, v, sizeof v, &e), SR_OK); /* one piece for three tensors */
    assert_int_equal(sr_gguf_written(w) % 4096, 0);
    assert_int_equal(sr_gguf_finish(w, &e), SR_OK);
    assert_int_equal(sr_gguf_open(path, &g, &e), SR_OK);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(sr_gguf_tensor_at(g, i)->offset % 4096, 0);
        assert_true(*(const float *)sr_gguf_tensor_at(g, i)->data == v[i]);
    }
    sr_gguf_close(g);
}

static void a_header_can_be_made_without_a_file(void **state)
{
    (void)state;
    sr_gguf_writer *w = NULL;
    sr_gguf        *g = NULL;
    sr_err          e = {0};
    sr_buf          b = {0};
    assert_int_equal(sr_gguf_create(NULL, &w, &e), SR_OK);
    sr_gguf_put_u32(w, "k", 5);
    sr_gguf_put_tensor(w, "t", SR_F32, 1, (uint64_t[]){2});
    assert_int_equal(sr_gguf_header(w, &b, &e), SR_OK);
    assert_int_equal(b.n, sr_gguf_written(w));
    assert_int_equal(sr_gguf_write(w, "1234", 4, &e), SR_INVALID);
    sr_gguf_abandon(w);
    put_f32(&b, 1), put_f32(&b, 2);
    e = (sr_err){0};
    assert_int_equal(sr_gguf_open_mem(b.p, b.n, &g, &e), SR_OK);
    assert_true(((const float *)sr_gguf_tensor(g, "t")->data)[1] == 2);
    sr_gguf_close(g);
    sr_buf_end(&b);
}

/* Runs the puts of `body`, finishes, and expects this refusal and no file. */
#define REFUSED(name, needle, ...)                            \
    static void name##_is_refused(void **state)               \
    {                                                         \
        (void)state;                                          \
        sr_gguf_writer *w = create();                         \
        sr_err          e = {0};                              \
        __VA_ARGS__                                           \
        assert_int_equal(sr_gguf_finish(w, &e), SR_INVALID);  \
        if (!strstr(e.msg, needle))                           \
            fail_msg("message \"%s\" lacks \"%s\"", e.msg, needle); \
        assert_int_not_equal(access(path, F_OK), 0);          \
    }

REFUSED(an_empty_key, "key \"\": 0 bytes", sr_gguf_put_u32(w, "", 1);)
REFUSED(a_control_byte_in_a_key, "control byte at position 1", sr_gguf_put_u32(w, "a\n", 1);)
REFUSED(a_duplicate_key, "duplicate key \"k\"", sr_gguf_put_u32(w, "k", 1); sr_gguf_put_str(w, "k", "");)
REFUSED(a_duplicate_tensor, "duplicate tensor \"t\"", sr_gguf_put_tensor(w, "t", SR_F32, 1, (uint64_t[]){1});
        sr_gguf_put_tensor(w, "t", SR_F32, 1, (uint64_t[]){1});)
REFUSED(a_string_over_the_limit, "string of 16777217 bytes, the limit is", static char big[(16 << 20) + 1];
        sr_gguf_put_strings(w, "k", &(sr_gguf_str){big, sizeof big}, 1);)
REFUSED(an_array_of_strings_as_numbers, "array of 1 string", sr_gguf_put_numbers(w, "k", SR_GGUF_STRING, "", 1);)
REFUSED(one_key_too_many, "more than 65536 keys", for (int i = 0; i <= 65536; i++) {
        char key[16]; snprintf(key, sizeof key, "k%d", i); sr_gguf_put_bool(w, key, true); })
REFUSED(one_tensor_too_many, "more than 65536 tensors", for (int i = 0; i <= 65536; i++) {
        char name[16]; snprintf(name, sizeof name, "t%d", i); sr_gguf_put_tensor(w, name, SR_F16, 1, (uint64_t[]){1}); })
REFUSED(a_file_size_that_overflows, "the file's size overflows", for (int i = 0; i < 3; i++)
        sr_gguf_put_tensor(w, (char[]){(char)('a' + i), 0}, SR_F32, 2, (uint64_t[]){1ull << 40, (1ull << 22) - 1});)
REFUSED(a_wrong_alignment, "power of two", sr_gguf_put_u32(w, "general.alignment", 48);)
REFUSED(an_alignment_of_the_wrong_type, "power of two", sr_gguf_put_u64(w, "general.alignment", 64);)
REFUSED(a_partial_block, "tensor \"t\": impossible shape", sr_gguf_put_tensor(w, "t", SR_Q4_K, 1, (uint64_t[]){100});)
REFUSED(a_dimension_of_zero, "tensor \"t\": impossible shape", sr_gguf_put_tensor(w, "t", SR_F32, 2, (uint64_t[]){4, 0});)
REFUSED(an_unknown_type, "type 16", sr_gguf_put_tensor(w, "t", 16, 1, (uint64_t[]){256});)
REFUSED(missing_data, "tensor \"t\": 4 of 8 bytes were written", sr_gguf_put_tensor(w, "t", SR_F32, 1, (uint64_t[]){2});
        assert_int_equal(sr_gguf_write(w, "1234", 4, &e), SR_OK);)
REFUSED(a_declaration_after_data, "declarations after the first data", sr_gguf_put_tensor(w, "t", SR_F32, 1, (uint64_t[]){1});
        assert_int_equal(sr_gguf_write(w, "1234", 4, &e), SR_OK); sr_gguf_put_u32(w, "late", 1);)
REFUSED(the_first_failure, "key \"\": 0 bytes", sr_gguf_put_u32(w, "", 1); sr_gguf_put_u32(w, "\n", 1);)
REFUSED(too_much_data, "1 bytes of data more than the 1 tensors declared", sr_gguf_put_tensor(w, "t", SR_F32, 1, (uint64_t[]){1});
        assert_int_equal(sr_gguf_write(w, "12345", 5, &e), SR_INVALID);)

static void a_target_that_is_not_a_file_is_refused(void **state)
{
    (void)state;
    sr_gguf_writer *w = NULL;
    sr_err          e = {0};
    assert_int_equal(sr_gguf_create(dir, &w, &e), SR_INVALID);
    assert_null(w);
    e = (sr_err){0};
    assert_int_equal(sr_gguf_create("/dev/null", &w, &e), SR_INVALID);
    e = (sr_err){0};
    assert_int_equal(sr_gguf_create("/nonexistent/m.gguf", &w, &e), SR_IO);
    assert_non_null(strstr(e.msg, "No such file"));
}

static void two_writers_of_one_file_do_not_meet(void **state)
{
    (void)state;
    sr_gguf_writer *a = create(), *b = NULL;
    sr_err          e = {0};
    assert_int_equal(sr_gguf_create(path, &b, &e), SR_IO);
    assert_non_null(strstr(e.msg, "another process is writing"));
    assert_int_equal(access(part, F_OK), 0); /* the first one's file is still there */
    sr_gguf_abandon(a);
    assert_int_not_equal(access(part, F_OK), 0);
}

static void a_stale_partial_file_is_taken_over(void **state)
{
    (void)state;
    FILE *f = fopen(part, "wb");
    fputs("left by a killed process, longer than what follows .................................", f);
    fclose(f);
    sr_gguf_writer *w = create();
    sr_err          e = {0};
    assert_int_equal(sr_gguf_finish(w, &e), SR_OK);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 24);
    assert_int_not_equal(access(part, F_OK), 0);
}

static void an_abandoned_writer_keeps_the_old_file(void **state)
{
    (void)state;
    FILE *f = fopen(path, "wb");
    fputs("old", f);
    fclose(f);
    sr_gguf_writer *w = create();
    sr_gguf_put_u32(w, "k", 1);
    sr_gguf_abandon(w);
    sr_gguf_abandon(NULL);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 3);
}

/* Every allocation and every write fails once; the old file stays until the new one is complete. */
static void every_fault_leaves_the_old_file_or_the_new(void **state)
{
    (void)state;
    sr_buf   b = {0};
    sr_gguf *a = NULL, *c = NULL;
    sr_err   e = {0};
    put_sample(&b);
    assert_int_equal(sr_gguf_open_mem(b.p, b.n, &a, &e), SR_OK);
    static const sr_faultkind kinds[] = {SR_FAULT_ALLOC, SR_FAULT_OPEN, SR_FAULT_WRITE};
    for (size_t i = 0; i < SR_COUNT(kinds); i++) {
        sr_faultkind k     = kinds[i];
        bool         fired = true;
        for (uint64_t nth = 1; fired; nth++) {
            FILE *f = fopen(path, "wb");
            fputs("old", f);
            fclose(f);
            e = (sr_err){0};
            sr_fault_arm(k, nth);
            sr_status s = copy(a, path, 100, &e);
            fired       = sr_fault_fired(k);
            sr_fault_arm(k, 0);
            struct stat st;
            assert_int_equal(stat(path, &st), 0);
            assert_int_not_equal(access(part, F_OK), 0);
            assert_int_equal(s, !fired ? SR_OK : i ? SR_IO : SR_NOMEM);
            assert_true(!fired || (e.msg[0] && st.st_size == 3));
        }
        assert_int_equal(sr_gguf_open(path, &c, &e), SR_OK);
        assert_same(a, c);
        sr_gguf_close(c);
    }
    sr_gguf_close(a);
    sr_buf_end(&b);
}

#define T(name) cmocka_unit_test_setup_teardown(name, make_dir, drop_dir)
#define H(name) T(name##_is_refused)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_was_read_is_written_the_same), T(a_real_model_survives_the_round_trip), T(scalars_of_each_kind_are_written),
        T(an_alignment_key_moves_the_data), T(a_header_can_be_made_without_a_file), H(an_empty_key), H(a_control_byte_in_a_key), H(a_duplicate_key),
        H(a_duplicate_tensor), H(a_wrong_alignment), H(an_alignment_of_the_wrong_type), H(a_partial_block), H(a_string_over_the_limit),
        H(an_array_of_strings_as_numbers), H(one_key_too_many), H(one_tensor_too_many), H(a_file_size_that_overflows),
        H(a_dimension_of_zero), H(an_unknown_type), H(missing_data), H(a_declaration_after_data), H(the_first_failure), H(too_much_data),
        T(a_target_that_is_not_a_file_is_refused), T(two_writers_of_one_file_do_not_meet),
        T(a_stale_partial_file_is_taken_over), T(an_abandoned_writer_keeps_the_old_file),
        T(every_fault_leaves_the_old_file_or_the_new)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
