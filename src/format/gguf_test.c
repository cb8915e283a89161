#include <fcntl.h>

#include "format/gguf_internal.h"
#include "format/gguf_testkit.h"

static sr_gguf *accepted(sr_buf *b)
{
    sr_gguf *g   = NULL;
    sr_err   err = {0};
    if (sr_gguf_open_mem(b->p, b->n, &g, &err))
        fail_msg("refused: %s", err.msg);
    read_everything(g);
    return g;
}

/* ---- what is valid ------------------------------------------------------------------------------------ */

static void the_demo_model_opens_with_its_tensors_and_tokens(void **state)
{
    (void)state;
    sr_gguf *g   = NULL;
    sr_err   err = {0};
    assert_int_equal(sr_gguf_open("models/strata-demo-draft-Q8_0.gguf", &g, &err), SR_OK);
    uint32_t layers = 0;
    assert_int_equal(sr_gguf_u32(g, "llama.block_count", &layers, &err), SR_OK);
    assert_int_equal(layers, 6);
    const sr_gguf_kv *tok = NULL;
    assert_int_equal(sr_gguf_array(g, "tokenizer.ggml.tokens", SR_GGUF_STRING, &tok, &err), SR_OK);
    assert_int_equal(tok->n, 8192);
    const sr_tensor *t = sr_gguf_tensor(g, "blk.5.attn_q.weight");
    assert_non_null(t);
    assert_int_equal(t->ne[0], 256);
    assert_int_equal(t->dtype, SR_Q8_0);
    assert_int_equal(t->bytes, 256 * 256 / 32 * 34);
    assert_int_equal(sr_gguf_unchanged(g, &err), SR_OK);
    sr_gguf_close(g);
}

static void every_value_type_is_read(void **state)
{
    (void)state;
    sr_buf b = {0};
    put_sample(&b);
    sr_gguf *g = accepted(&b);
    static const struct { const char *key; int64_t v; } ints[] = {
        {"t.u8", 200}, {"t.i8", -100}, {"t.u16", 60000}, {"t.i16", -30000}, {"t.u32", 4000000000},
        {"t.i32", -5}, {"t.bool", 1}, {"t.u64", 1ll << 40}, {"t.i64", -7}, {"general.alignment", 64}};
    for (size_t i = 0; i < SR_COUNT(ints); i++)
        assert_int_equal(sr_gguf_int_at(sr_gguf_find(g, ints[i].key), 0), ints[i].v);
    assert_true(sr_gguf_f32_at(sr_gguf_find(g, "t.f32"), 0) == 1.5f);
    assert_true(sr_gguf_f32_at(sr_gguf_find(g, "t.f64"), 0) == 0.25f);
    const sr_gguf_kv *s = sr_gguf_find(g, "a.str");
    assert_int_equal(s->n, 3);
    assert_memory_equal(s->str[2].p, "thr\xff" "e", 5);
    assert_int_equal(s->str[1].n, 0);
    assert_int_equal(sr_gguf_int_at(sr_gguf_find(g, "a.i32"), 1), -2);
    assert_int_equal(sr_gguf_find(g, "a.empty")->n, 0);
    assert_null(sr_gguf_find(g, "a"));
    assert_null(sr_gguf_find(g, ""));
    assert_null(sr_gguf_kv_at(g, 21));
    sr_gguf_close(g);
    sr_buf_end(&b);
}

static void tensors_have_shape_type_and_place(void **state)
{
    (void)state;
    sr_buf b = {0};
    put_sample(&b);
    sr_gguf         *g = accepted(&b);
    const sr_tensor *t = sr_gguf_tensor(g, "blk.0.w");
    assert_int_equal(sr_gguf_n_tensors(g), 3);
    assert_int_equal(t->n_dims, 4);
    assert_int_equal(t->ne[0], 256);
    assert_int_equal(t->ne[2], 2);
    assert_int_equal(t->bytes, 288);
    assert_int_equal(t->offset % 64, 0);
    assert_int_equal(t->offset + t->bytes, b.n);
    assert_ptr_equal(t->data, b.p + t->offset);
    assert_int_equal(sr_gguf_tensor(g, "output_norm.weight")->ne[1], 1);
    assert_null(sr_gguf_tensor(g, "blk.0.x"));
    assert_null(sr_gguf_tensor_at(g, 3));
    assert_string_equal(sr_gguf_path(g, 0), "(memory)");
    assert_int_equal(sr_gguf_file_bytes(g, 0), b.n);
    assert_int_equal(sr_gguf_files(g), 1);
    sr_gguf_close(g);
    sr_buf_end(&b);
}

static void typed_reads_convert_integers_and_refuse_the_rest(void **state)
{
    (void)state;
    sr_buf b = {0};
    put_sample(&b);
    sr_gguf    *g = accepted(&b);
    sr_err      e = {0};
    uint32_t    u = 77;
    float       f = 77;
    bool        t = false;
    sr_gguf_str s = {"d", 1};
    const sr_gguf_kv *a;
    assert_int_equal(sr_gguf_u32(g, "absent", &u, &e), SR_OK);
    assert_int_equal(u, 77);
    assert_int_equal(sr_gguf_f32(g, "absent", &f, &e), SR_OK);
    assert_int_equal(sr_gguf_bool(g, "absent", &t, &e), SR_OK);
    assert_int_equal(sr_gguf_string(g, "absent", &s, &e), SR_OK);
    assert_true(f == 77 && !t && s.n == 1);
    assert_int_equal(sr_gguf_u32(g, "t.u8", &u, &e), SR_OK);
    assert_int_equal(u, 200);
    assert_int_equal(sr_gguf_f32(g, "t.f64", &f, &e), SR_OK);
    assert_true(f == 0.25f);
    assert_int_equal(sr_gguf_bool(g, "t.bool", &t, &e), SR_OK);
    assert_true(t);
    assert_int_equal(sr_gguf_string(g, "general.architecture", &s, &e), SR_OK);
    assert_int_equal(s.n, 5);
    assert_int_equal(sr_gguf_array(g, "absent", SR_GGUF_F32, &a, &e), SR_OK);
    assert_null(a);
    static const char *const not_u32[] = {"t.i8", "t.i64", "t.u64", "t.f32", "t.bool", "a.i32", "empty"};
    for (size_t i = 0; i < SR_COUNT(not_u32); i++) {
        e = (sr_err){0};
        assert_int_equal(sr_gguf_u32(g, not_u32[i], &u, &e), SR_INVALID);
        assert_non_null(strstr(e.msg, not_u32[i]));
    }
    assert_int_equal(u, 200);
    e = (sr_err){0};
    assert_int_equal(sr_gguf_f32(g, "t.u8", &f, &e), SR_INVALID);
    assert_non_null(strstr(e.msg, "its type is u8"));
    e = (sr_err){0};
    assert_int_equal(sr_gguf_bool(g, "t.u8", &t, &e), SR_INVALID);
    e = (sr_err){0};
    assert_int_equal(sr_gguf_string(g, "a.str", &s, &e), SR_INVALID);
    assert_non_null(strstr(e.msg, "array of string"));
    e = (sr_err){0};
    assert_int_equal(sr_gguf_array(g, "a.i32", SR_GGUF_U32, &a, &e), SR_INVALID);
    assert_non_null(strstr(e.msg, "must be array of u32"));
    e = (sr_err){0};
    assert_int_equal(sr_gguf_array(g, "t.f32", SR_GGUF_F32, &a, &e), SR_INVALID);
    sr_gguf_close(g);
    sr_buf_end(&b);
}

static void floats_that_are_not_finite_are_refused_when_read(void **state)
{
    (void)state;
    sr_buf b = {0};
    put_head(&b, 3, 0, 2);
    put_key(&b, "nan", SR_GGUF_F32), put_u32(&b, 0x7fc00000);
    put_key(&b, "big", SR_GGUF_F64), sr_buf_add(&b, &(double){1e300}, 8);
    sr_gguf *g = accepted(&b);
    sr_err   e = {0};
    float    f = 3;
    assert_int_equal(sr_gguf_f32(g, "nan", &f, &e), SR_INVALID);
    e = (sr_err){0};
    assert_int_equal(sr_gguf_f32(g, "big", &f, &e), SR_INVALID);
    assert_true(f == 3);
    sr_gguf_close(g);
    sr_buf_end(&b);
}

static void version_2_is_read(void **state)
{
    (void)state;
    sr_buf b = {0};
    put_sample(&b);
    b.p[4]     = 2;
    sr_gguf *g = accepted(&b);
    assert_int_equal(sr_gguf_n_kv(g), 21);
    sr_gguf_close(g);
    sr_buf_end(&b);
}

static void a_file_without_keys_or_tensors_is_valid(void **state)
{
    (void)state;
    sr_buf b = {0};
    put_head(&b, 3, 0, 0);
    sr_gguf *g = accepted(&b);
    assert_null(sr_gguf_find(g, "x"));
    assert_null(sr_gguf_tensor(g, "x"));
    sr_gguf_close(g);
    sr_buf_end(&b);
}

static void a_vocabulary_without_tensors_is_valid(void **state)
{
    (void)state;
    sr_buf b = {0};
    put_head(&b, 3, 0, 1);
    put_array(&b, "tokenizer.ggml.tokens", SR_GGUF_STRING, 2), put_str(&b, "a"), put_str(&b, "b");
    sr_gguf *g = accepted(&b);
    assert_int_equal(sr_gguf_find(g, "tokenizer.ggml.tokens")->n, 2);
    sr_gguf_close(g);
    sr_buf_end(&b);
}

static void tensors_may_lie_in_any_order_with_gaps(void **state)
{
    (void)state;
    sr_buf b = {0};
    put_head(&b, 3, 2, 0);
    put_tensor(&b, "second", 1, (uint64_t[]){8}, SR_F32, 64);
    put_tensor(&b, "first", 1, (uint64_t[]){1}, SR_F16, 0);
    put_pad(&b, 32);
    put_data(&b, 96);
    sr_gguf *g = accepted(&b);
    assert_string_equal(sr_gguf_tensor_at(g, 0)->name, "second"); /* the file's order is kept */
    sr_gguf_close(g);
    sr_buf_end(&b);
}

static void a_tensor_beyond_four_gigabytes_is_found(void **state)
{
    (void)state;
    const uint64_t big = 5ull << 30;
    sr_buf         b   = {0};
    char           path[40];
    put_head(&b, 3, 2, 0);
    put_tensor(&b, "big", 2, (uint64_t[]){1 << 16, big >> 18}, SR_F32, 0);
    put_tensor(&b, "last", 1, (uint64_t[]){1}, SR_F32, big);
    put_pad(&b, 32);
    int fd = memory_file(b.p, b.n, path); /* sparse: takes no memory */
    assert_int_equal(pwrite(fd, "\0\0\x80\x3f", 4, (off_t)(b.n + big)), 4);
    sr_gguf *g   = NULL;
    sr_err   err = {0};
    assert_int_equal(sr_gguf_open(path, &g, &err), SR_OK);
    assert_int_equal(sr_gguf_tensor(g, "big")->bytes, big);
    assert_int_equal(sr_gguf_tensor(g, "last")->offset, b.n + big);
    assert_true(*(const float *)sr_gguf_tensor(g, "last")->data == 1.0f);
    sr_gguf_close(g);
    close(fd);
    sr_buf_end(&b);
}

/* ---- faults and changing files -------------------------------------------------------------------------- */

static void every_failing_allocation_and_read_is_survived(void **state)
{
    (void)state;
    sr_buf b = {0};
    char   path[40];
    put_sample(&b);
    int fd = memory_file(b.p, b.n, path);
    for (int kind = SR_FAULT_ALLOC; kind <= SR_FAULT_READ; kind++) {
        for (uint64_t nth = 1;; nth++) {
            sr_gguf *g = NULL;
            sr_err   e = {0};
            sr_fault_arm((sr_faultkind)kind, nth);
            sr_status s     = sr_gguf_open(path, &g, &e);
            bool      fired = sr_fault_fired((sr_faultkind)kind);
            sr_fault_arm((sr_faultkind)kind, 0);
            if (kind != SR_FAULT_OPEN || s != SR_NOMEM) /* mapping takes memory as well */
                assert_int_equal(s, !fired ? SR_OK : kind == SR_FAULT_ALLOC ? SR_NOMEM : SR_IO);
            if (fired)
                assert_one_printable_line(e.msg);
            else
                read_everything(g);
            sr_gguf_close(g);
            if (!fired)
                break;
            assert_true(nth < 100);
        }
    }
    close(fd);
    sr_buf_end(&b);
}

/* The arena asks the heap rarely: keys in front shift where that happens, so that every request fails once. */
static void every_allocation_of_larger_files_may_fail(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < 240; n += 3) {
        sr_buf b     = {0};
        bool   fired = true;
        put_head(&b, 3, n, n + 1);
        for (uint32_t i = 0; i < n; i++) {
            char key[40];
            snprintf(key, sizeof key, "filler.%u.%u", n, i);
            put_kv_str(&b, key, "v");
        }
        put_array(&b, "words", SR_GGUF_STRING, n);
        for (uint32_t i = 0; i < n; i++)
            put_str(&b, "w");
        for (uint32_t i = 0; i < n; i++) {
            char name[40];
            snprintf(name, sizeof name, "t.%u", i);
            put_tensor(&b, name, 1, (uint64_t[]){8}, SR_F32, 32 * (uint64_t)i);
        }
        put_pad(&b, 32);
        put_data(&b, 32 * (size_t)n);
        for (uint64_t nth = 1; fired; nth++) {
            sr_gguf *g = NULL;
            sr_err   e = {0};
            sr_fault_arm(SR_FAULT_ALLOC, nth);
            sr_status s = sr_gguf_open_mem(b.p, b.n, &g, &e);
            fired       = sr_fault_fired(SR_FAULT_ALLOC);
            sr_fault_arm(SR_FAULT_ALLOC, 0);
            assert_int_equal(s, fired ? SR_NOMEM : SR_OK);
            assert_int_equal(e.msg[0] != 0, fired);
            sr_gguf_close(g);
        }
        sr_buf_end(&b);
    }
}

static void a_file_that_shrinks_while_its_header_is_read_is_an_error(void **state)
{
    (void)state;
    sr_buf b = {0};
    char   path[40];
    put_sample(&b);
    int           fd = memory_file(b.p, b.n, path);
    sr_gguf_bytes f  = {0};
    sr_err        e  = {0};
    assert_int_equal(sr_gguf_bytes_open(&f, path, &e), SR_OK);
    assert_int_equal(ftruncate(fd, 100), 0);
    assert_int_equal(sr_gguf_bytes_own(&f, 200, &e), SR_IO);
    assert_non_null(strstr(e.msg, "shrank while being read"));
    sr_gguf_bytes_close(&f);
    close(fd);
    sr_buf_end(&b);
}

static void metadata_survive_the_file_and_the_change_is_noticed(void **state)
{
    (void)state;
    sr_buf b = {0};
    char   path[40];
    put_sample(&b);
    int      fd = memory_file(b.p, b.n, path);
    sr_gguf *g  = NULL;
    sr_err   e  = {0};
    assert_int_equal(sr_gguf_open(path, &g, &e), SR_OK);
    assert_int_equal(sr_gguf_unchanged(g, &e), SR_OK);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_memory_equal(sr_gguf_find(g, "a.str")->str[0].p, "one", 3); /* a mapped page would raise SIGBUS */
    assert_int_equal(sr_gguf_unchanged(g, &e), SR_IO);
    assert_non_null(strstr(e.msg, "now 0"));
    sr_gguf_close(g);
    close(fd);
    sr_buf_end(&b);
}

/* ---- split sets ----------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t    no, count, total;
    const char *tensor;
} part;

static char dir[] = "/tmp/sr-gguf-split-XXXXXX";

static const char *part_path(uint32_t no, uint32_t count)
{
    static char path[80];
    snprintf(path, sizeof path, "%s/m-%05u-of-%05u.gguf", dir, no, count);
    return path;
}

static void write_part(uint32_t file_no, uint32_t file_count, const part *p)
{
    sr_buf b = {0};
    put_head(&b, 3, 1, p->no == 0 ? 4 : 3);
    put_key(&b, "split.no", SR_GGUF_U16), sr_buf_add(&b, &(uint16_t){(uint16_t)p->no}, 2);
    put_key(&b, "split.count", SR_GGUF_U16), sr_buf_add(&b, &(uint16_t){(uint16_t)p->count}, 2);
    put_key(&b, "split.tensors.count", SR_GGUF_I32), put_u32(&b, p->total);
    if (p->no == 0)
        put_kv_str(&b, "general.architecture", "llama");
    put_tensor(&b, p->tensor, 1, (uint64_t[]){8}, SR_F32, 0);
    put_pad(&b, 32);
    for (int i = 0; i < 8; i++)
        put_f32(&b, (float)p->no);
    FILE *f = fopen(part_path(file_no, file_count), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b.p, 1, b.n, f), b.n);
    fclose(f);
    sr_buf_end(&b);
}

static int make_dir(void **state)
{
    (void)state;
    memcpy(dir + sizeof dir - 7, "XXXXXX", 7);
    return mkdtemp(dir) ? 0 : -1;
}

static int drop_dir(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 3; count++)
        for (uint32_t i = 1; i <= count; i++)
            unlink(part_path(i, count));
    return rmdir(dir);
}

static void a_set_of_three_files_is_one_list_of_tensors(void **state)
{
    (void)state;
    const char *names[] = {"c", "a", "b"};
    for (uint32_t i = 0; i < 3; i++)
        write_part(i + 1, 3, &(part){i, 3, 3, names[i]});
    sr_gguf *g = NULL;
    sr_err   e = {0};
    if (sr_gguf_open(part_path(1, 3), &g, &e))
        fail_msg("%s", e.msg);
    read_everything(g);
    assert_int_equal(sr_gguf_files(g), 3);
    assert_int_equal(sr_gguf_n_tensors(g), 3);
    assert_non_null(sr_gguf_find(g, "general.architecture"));
    for (uint32_t i = 0; i < 3; i++) {
        const sr_tensor *t = sr_gguf_tensor(g, names[i]);
        assert_int_equal(t->file, i);
        assert_true(*(const float *)t->data == (float)i);
        assert_string_equal(sr_gguf_path(g, i), part_path(i + 1, 3));
    }
    assert_null(sr_gguf_path(g, 3));
    sr_gguf_close(g);
}

static void set_refused(uint32_t open_no, const char *needle, sr_status want)
{
    sr_gguf *g = NULL;
    sr_err   e = {0};
    assert_int_equal(sr_gguf_open(part_path(open_no, 2), &g, &e), want);
    assert_one_printable_line(e.msg);
    if (!strstr(e.msg, needle))
        fail_msg("message \"%s\" lacks \"%s\"", e.msg, needle);
}

static void a_file_that_is_written_replaced_or_removed_is_noticed(void **state)
{
    (void)state;
    static const char *const needle[] = {"written to since", "replaced by another file", "No such file"};
    for (int how = 0; how < 3; how++) {
        sr_gguf *g = NULL;
        sr_err   e = {0};
        write_part(1, 1, &(part){0, 1, 1, "a"});
        assert_int_equal(sr_gguf_open(part_path(1, 1), &g, &e), SR_OK);
        if (how == 0) {
            const struct timespec old[2] = {{1, 0}, {1, 0}};
            assert_int_equal(utimensat(AT_FDCWD, part_path(1, 1), old, 0), 0);
        } else if (how == 1) {
            char other[80];
            write_part(1, 2, &(part){0, 1, 1, "a"});
            snprintf(other, sizeof other, "%s", part_path(1, 2));
            assert_int_equal(rename(other, part_path(1, 1)), 0);
        } else {
            unlink(part_path(1, 1));
        }
        assert_int_equal(sr_gguf_unchanged(g, &e), SR_IO);
        assert_non_null(strstr(e.msg, needle[how]));
        sr_gguf_close(g);
    }
}

static void a_split_count_of_zero_means_one_file(void **state)
{
    (void)state;
    sr_gguf *g = NULL;
    sr_err   e = {0};
    write_part(1, 1, &(part){0, 0, 1, "a"});
    assert_int_equal(sr_gguf_open(part_path(1, 1), &g, &e), SR_OK);
    assert_int_equal(sr_gguf_files(g), 1);
    sr_gguf_close(g);
}

static void a_set_with_a_missing_file_is_refused(void **state)
{
    (void)state;
    write_part(1, 2, &(part){0, 2, 2, "a"});
    set_refused(1, "m-00002-of-00002.gguf: No such file", SR_IO);
}

static void a_set_opened_at_its_second_file_is_refused(void **state)
{
    (void)state;
    write_part(2, 2, &(part){1, 2, 2, "b"});
    set_refused(2, "is part 2 of 2: open the first part", SR_INVALID);
}

static void a_set_with_files_in_the_wrong_order_is_refused(void **state)
{
    (void)state;
    write_part(1, 2, &(part){0, 2, 2, "a"});
    write_part(2, 2, &(part){0, 2, 2, "b"});
    set_refused(1, "says it is part 1 of 2, expected part 2 of 2", SR_INVALID);
}

static void a_set_with_a_file_of_another_set_is_refused(void **state)
{
    (void)state;
    write_part(1, 2, &(part){0, 2, 2, "a"});
    write_part(2, 2, &(part){1, 3, 2, "b"});
    set_refused(1, "part 2 of 3, expected part 2 of 2", SR_INVALID);
}

static void a_set_whose_tensor_count_is_wrong_is_refused(void **state)
{
    (void)state;
    write_part(1, 2, &(part){0, 2, 5, "a"});
    write_part(2, 2, &(part){1, 2, 5, "b"});
    set_refused(1, "\"split.tensors.count\" is 5, but the 2 files have 2", SR_INVALID);
}

static void a_set_whose_files_disagree_about_the_count_is_refused(void **state)
{
    (void)state;
    write_part(1, 2, &(part){0, 2, 2, "a"});
    write_part(2, 2, &(part){1, 2, 3, "b"});
    set_refused(1, "\"split.tensors.count\": 3, the first part says 2", SR_INVALID);
}

static void a_set_with_a_tensor_in_two_files_is_refused(void **state)
{
    (void)state;
    write_part(1, 2, &(part){0, 2, 2, "a"});
    write_part(2, 2, &(part){1, 2, 2, "a"});
    set_refused(1, "m-00002-of-00002.gguf: tensor \"a\" is also in part 1 of the set", SR_INVALID);
}

static void a_set_survives_failing_allocations_and_reads(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        write_part(i + 1, 3, &(part){i, 3, 3, i == 0 ? "a" : i == 1 ? "b" : "c"});
    for (int kind = SR_FAULT_ALLOC; kind <= SR_FAULT_READ; kind++) {
        bool fired = true;
        for (uint64_t nth = 1; fired; nth++) {
            sr_gguf *g = NULL;
            sr_err   e = {0};
            sr_fault_arm((sr_faultkind)kind, nth);
            sr_status s = sr_gguf_open(part_path(1, 3), &g, &e);
            fired       = sr_fault_fired((sr_faultkind)kind);
            sr_fault_arm((sr_faultkind)kind, 0);
            assert_int_equal(s == SR_OK, !fired);
            sr_gguf_close(g);
        }
    }
}

#define T(name) cmocka_unit_test(name)
#define S(name) cmocka_unit_test_setup_teardown(name, make_dir, drop_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_demo_model_opens_with_its_tensors_and_tokens), T(every_value_type_is_read),
        T(tensors_have_shape_type_and_place), T(typed_reads_convert_integers_and_refuse_the_rest),
        T(floats_that_are_not_finite_are_refused_when_read), T(version_2_is_read),
        T(a_file_without_keys_or_tensors_is_valid), T(a_vocabulary_without_tensors_is_valid),
        T(tensors_may_lie_in_any_order_with_gaps), T(a_tensor_beyond_four_gigabytes_is_found),
        T(every_failing_allocation_and_read_is_survived), T(every_allocation_of_larger_files_may_fail),
        T(a_file_that_shrinks_while_its_header_is_read_is_an_error),
        T(metadata_survive_the_file_and_the_change_is_noticed),
        S(a_file_that_is_written_replaced_or_removed_is_noticed), S(a_split_count_of_zero_means_one_file),
        S(a_set_of_three_files_is_one_list_of_tensors), S(a_set_with_a_missing_file_is_refused),
        S(a_set_opened_at_its_second_file_is_refused), S(a_set_with_files_in_the_wrong_order_is_refused),
        S(a_set_with_a_file_of_another_set_is_refused), S(a_set_whose_tensor_count_is_wrong_is_refused),
        S(a_set_whose_files_disagree_about_the_count_is_refused),
        S(a_set_with_a_tensor_in_two_files_is_refused), S(a_set_survives_failing_allocations_and_reads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
