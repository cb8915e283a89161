/* Files that lie, one test each; then every truncation, every flipped bit, and random corruption. */
#include "format/gguf_testkit.h"

/* Refused alike from memory (exactly sized, so that a sanitizer sees a read past the end) and as a file. */
static void refused(sr_buf *b, sr_status want, const char *needle)
{
    sr_gguf *g     = (sr_gguf *)b;
    sr_err   err   = {0};
    uint8_t *exact = malloc(b->n + 1);
    if (b->n)
        memcpy(exact + 1, b->p, b->n);
    assert_int_equal(sr_gguf_open_mem(exact + 1, b->n, &g, &err), want);
    assert_null(g);
    assert_int_equal(err.status, want);
    assert_one_printable_line(err.msg);
    if (!strstr(err.msg, needle))
        fail_msg("message \"%s\" lacks \"%s\"", err.msg, needle);
    free(exact);

    char path[40];
    int  fd = memory_file(b->p, b->n, path);
    err     = (sr_err){0};
    assert_int_equal(sr_gguf_open(path, &g, &err), want);
    assert_null(g);
    assert_one_printable_line(err.msg);
    assert_non_null(strstr(err.msg, path));
    close(fd);
    sr_buf_end(b);
}

/* ---- hostile: one test each ------------------------------------------------------------------------------ */

#define REFUSED(name, status, needle, ...)  \
    static void name##_is_refused(void **state) \
    {                                       \
        (void)state;                        \
        sr_buf b = {0};                     \
        __VA_ARGS__                         \
        refused(&b, status, needle);        \
    }

/* a file with one key-value pair and nothing else: `...` writes it */
#define BAD_KV(name, status, needle, ...) REFUSED(name, status, needle, put_head(&b, 3, 0, 1); __VA_ARGS__)

/* a file with one F32 tensor "w" of these dims, type and offset, and 1024 bytes of data */
#define BAD_TENSOR(name, status, needle, n_dims, dims, type, offset)         \
    REFUSED(name, status, needle, put_head(&b, 3, 1, 0);                     \
            put_tensor(&b, "w", n_dims, (const uint64_t[])dims, type, offset); \
            put_pad(&b, 32); put_data(&b, 1024);)
#define D(...) {__VA_ARGS__}

REFUSED(a_wrong_magic, SR_INVALID, "not a GGUF file: begins with \"GGML\"", put_head(&b, 3, 0, 0); b.p[3] = 'L'; b.p[2] = 'M';)
REFUSED(a_control_byte_in_the_magic, SR_INVALID, "begins with \"\\x1b[2J\"", put_head(&b, 3, 0, 0); memcpy(b.p, "\x1b[2J", 4);)
REFUSED(an_empty_file, SR_INVALID, "", (void)0;)
REFUSED(a_file_of_four_bytes, SR_INVALID, "", sr_buf_str(&b, "GGUF");)
REFUSED(version_0, SR_INVALID, "version 0", put_head(&b, 0, 0, 0);)
REFUSED(version_1, SR_UNSUPPORTED, "version 1", put_head(&b, 1, 0, 0);)
REFUSED(version_4, SR_UNSUPPORTED, "version 4", put_head(&b, 4, 0, 0);)
REFUSED(big_endian, SR_UNSUPPORTED, "big-endian GGUF (version 3)", put_head(&b, 0x03000000, 0, 0);)
REFUSED(a_huge_key_count, SR_INVALID, "18446744073709551615 metadata keys, the limit is 65536", put_head(&b, 3, 0, UINT64_MAX);)
REFUSED(a_huge_tensor_count, SR_INVALID, "18446744073709551615 tensors", put_head(&b, 3, UINT64_MAX, 0);)
REFUSED(one_key_too_many, SR_INVALID, "65537 metadata keys", put_head(&b, 3, 0, 65537);)
REFUSED(one_tensor_too_many, SR_INVALID, "65537 tensors", put_head(&b, 3, 65537, 0);)
REFUSED(more_keys_than_the_file_can_hold, SR_INVALID, "65536 keys and 0 tensors cannot fit in 0 bytes", put_head(&b, 3, 0, 65536);)
REFUSED(more_tensors_than_the_file_can_hold, SR_INVALID, "cannot fit", put_head(&b, 3, 65536, 0); put_data(&b, 1000);)

BAD_KV(an_empty_key, SR_INVALID, "key 0: its name is empty", put_kv_str(&b, "", "value that is long enough");)
BAD_KV(a_key_of_1025_bytes, SR_INVALID, "string of 1025 bytes at offset 24, the limit is 1024",
       put_u64(&b, 1025); put_data(&b, 2000);)
BAD_KV(a_key_longer_than_memory, SR_INVALID, "string of 18446744073709551615 bytes", put_u64(&b, UINT64_MAX); put_data(&b, 50);)
BAD_KV(a_key_past_the_end, SR_INVALID, "truncated: needs 1000 bytes at offset 32, the file ends at 42",
       put_u64(&b, 1000); put_data(&b, 10);)
BAD_KV(a_key_with_a_nul, SR_INVALID, "control byte 0x00", put_u64(&b, 3); sr_buf_add(&b, "a\0b", 3); put_u32(&b, 0); put_u8(&b, 0);)
BAD_KV(a_key_that_drives_a_terminal, SR_INVALID, "\\x1b[31mred", put_kv_str(&b, "\x1b[31mred", "v");)
BAD_KV(an_unknown_value_type, SR_INVALID, "key \"k\": unknown value type 13", put_key(&b, "k", 13); put_u64(&b, 0);)
BAD_KV(a_huge_value_type, SR_INVALID, "unknown value type 4294967295", put_key(&b, "k", UINT32_MAX); put_u64(&b, 0);)
BAD_KV(a_bool_of_two, SR_INVALID, "key \"k\": bool value 2", put_key(&b, "k", SR_GGUF_BOOL); put_u8(&b, 2);)
BAD_KV(a_bool_of_255_in_an_array, SR_INVALID, "bool value 255", put_array(&b, "k", SR_GGUF_BOOL, 3); put_u8(&b, 1);
       put_u8(&b, 0); put_u8(&b, 255);)
BAD_KV(a_string_past_the_end, SR_INVALID, "key \"k\": truncated: needs 100", put_key(&b, "k", SR_GGUF_STRING); put_u64(&b, 100);
       put_data(&b, 99);)
BAD_KV(a_string_over_the_limit, SR_INVALID, "string of 16777217 bytes", put_key(&b, "k", SR_GGUF_STRING); put_u64(&b, 16777217);
       put_data(&b, 64);)
BAD_KV(a_string_length_that_wraps, SR_INVALID, "string of 18446744073709551608 bytes", put_key(&b, "k", SR_GGUF_STRING);
       put_u64(&b, (uint64_t)-8); put_data(&b, 64);)
BAD_KV(an_array_of_arrays, SR_UNSUPPORTED, "key \"k\": array of arrays", put_array(&b, "k", SR_GGUF_ARRAY, 1);
       put_u32(&b, SR_GGUF_U8); put_u64(&b, 1); put_u8(&b, 0);)
BAD_KV(an_array_of_unknown_type, SR_INVALID, "array of unknown type 99", put_array(&b, "k", 99, 1); put_u64(&b, 0);)
BAD_KV(an_array_whose_size_overflows, SR_INVALID, "array of 2305843009213693953 u64: its size overflows",
       put_array(&b, "k", SR_GGUF_U64, (1ull << 61) + 1); put_u64(&b, 0);)
BAD_KV(an_array_past_the_end, SR_INVALID, "truncated: needs 4000 bytes", put_array(&b, "k", SR_GGUF_F32, 1000); put_data(&b, 3999);)
BAD_KV(an_array_of_more_strings_than_fit, SR_INVALID, "truncated: 1000000000000 strings",
       put_array(&b, "k", SR_GGUF_STRING, 1000000000000); put_data(&b, 100);)
BAD_KV(a_string_in_an_array_past_the_end, SR_INVALID, "key \"k\": truncated: needs 50", put_array(&b, "k", SR_GGUF_STRING, 2);
       put_str(&b, "x"); put_u64(&b, 50); put_data(&b, 49);)
REFUSED(a_duplicate_key, SR_INVALID, "duplicate key \"k\"", put_head(&b, 3, 0, 3); put_kv_u32(&b, "k", 1);
        put_kv_u32(&b, "j", 1); put_kv_str(&b, "k", "");)

BAD_KV(alignment_0, SR_INVALID, "key \"general.alignment\": alignment 0", put_kv_u32(&b, "general.alignment", 0);)
BAD_KV(alignment_4, SR_INVALID, "alignment 4", put_kv_u32(&b, "general.alignment", 4);)
BAD_KV(alignment_24, SR_INVALID, "alignment 24, valid are powers of two from 8 to 65536", put_kv_u32(&b, "general.alignment", 24);)
BAD_KV(alignment_131072, SR_INVALID, "alignment 131072", put_kv_u32(&b, "general.alignment", 131072);)
BAD_KV(alignment_2_to_the_31, SR_INVALID, "alignment 2147483648", put_kv_u32(&b, "general.alignment", 1u << 31);)
BAD_KV(alignment_as_a_string, SR_INVALID, "its type is string, must be u32", put_kv_str(&b, "general.alignment", "32");)
BAD_KV(alignment_as_i32, SR_INVALID, "its type is i32", put_key(&b, "general.alignment", SR_GGUF_I32); put_u32(&b, 32);)
BAD_KV(alignment_as_an_array, SR_INVALID, "its type is array", put_array(&b, "general.alignment", SR_GGUF_U32, 1); put_u32(&b, 32);)

BAD_TENSOR(zero_dimensions, SR_INVALID, "tensor \"w\": 0 dimensions", 0, D(0), SR_F32, 0)
BAD_TENSOR(five_dimensions, SR_INVALID, "5 dimensions", 5, D(1, 1, 1, 1, 1), SR_F32, 0)
BAD_TENSOR(a_dimension_of_zero, SR_INVALID, "dimension 1 is 0", 2, D(32, 0), SR_F32, 0)
BAD_TENSOR(a_dimension_above_2_to_the_40, SR_INVALID, "dimension 0 is 1099511627777", 1, D((1ull << 40) + 1), SR_F32, 0)
BAD_TENSOR(a_negative_dimension, SR_INVALID, "dimension 0 is 18446744073709551615", 1, D(UINT64_MAX), SR_F32, 0)
BAD_TENSOR(a_product_of_dimensions_that_overflows, SR_INVALID, "product of its 2 dimensions overflows", 2, D(1ull << 40, 1ull << 40), SR_F32, 0)
BAD_TENSOR(a_size_that_overflows, SR_INVALID, "its size overflows", 2, D(1ull << 40, 1ull << 23), SR_F32, 0)
BAD_TENSOR(a_size_that_wraps_to_zero, SR_INVALID, "its size overflows", 3, D(1ull << 32, 1ull << 30, 1), SR_F32, 0)
BAD_TENSOR(a_tensor_of_an_exabyte, SR_INVALID, "but the file ends at", 2, D(1ull << 32, 1ull << 28), SR_F32, 0)
BAD_TENSOR(an_unknown_tensor_type, SR_INVALID, "tensor \"w\": unknown tensor type 43", 1, D(32), 43, 0)
BAD_TENSOR(a_huge_tensor_type, SR_INVALID, "unknown tensor type 4294967295", 1, D(32), UINT32_MAX, 0)
BAD_TENSOR(a_tensor_type_of_the_iq_family, SR_UNSUPPORTED, "tensor type IQ2_XS (17) is not supported", 1, D(256), 17, 0)
BAD_TENSOR(tensor_type_mxfp4, SR_UNSUPPORTED, "tensor type MXFP4 (39)", 1, D(256), 39, 0)
BAD_TENSOR(tensor_type_tq1_0, SR_UNSUPPORTED, "tensor type TQ1_0 (34)", 1, D(256), 34, 0)
BAD_TENSOR(a_withdrawn_tensor_type, SR_UNSUPPORTED, "tensor type Q4_0_4_4 (31)", 1, D(256), 31, 0)
BAD_TENSOR(a_row_that_is_not_whole_blocks, SR_INVALID, "rows of 255 are not whole Q4_K blocks of 256", 2, D(255, 256), SR_Q4_K, 0)
BAD_TENSOR(a_quantised_row_of_one, SR_INVALID, "rows of 1 are not whole Q8_0 blocks of 32", 2, D(1, 32), SR_Q8_0, 0)
BAD_TENSOR(an_unaligned_offset, SR_INVALID, "offset 4 is not a multiple of the alignment 32", 1, D(1), SR_F32, 4)
BAD_TENSOR(an_offset_past_the_end, SR_INVALID, "but the file ends at 1088", 1, D(1), SR_F32, 1024)
BAD_TENSOR(an_offset_that_overflows, SR_INVALID, "offset plus size overflows", 1, D(1), SR_F32, (uint64_t)-32)
BAD_TENSOR(a_tensor_that_ends_past_the_end, SR_INVALID, "1028 bytes at offset 64, but the file ends at 1088", 1, D(257), SR_F32, 0)
REFUSED(an_empty_tensor_name, SR_INVALID, "tensor 0: its name is empty", put_head(&b, 3, 1, 0);
        put_tensor(&b, "", 1, (uint64_t[]){1}, SR_F32, 0); put_data(&b, 64);)
REFUSED(a_tensor_name_of_65_bytes, SR_INVALID, "string of 65 bytes at offset 24, the limit is 64", put_head(&b, 3, 1, 0);
        put_tensor(&b, "12345678901234567890123456789012345678901234567890123456789012345", 1, (uint64_t[]){1}, SR_F32, 0);
        put_data(&b, 64);)
REFUSED(a_tensor_name_with_a_newline, SR_INVALID, "control byte 0x0a", put_head(&b, 3, 1, 0);
        put_tensor(&b, "a\nb", 1, (uint64_t[]){1}, SR_F32, 0); put_data(&b, 64);)
REFUSED(a_duplicate_tensor, SR_INVALID, "duplicate tensor \"w\"", put_head(&b, 3, 2, 0);
        put_tensor(&b, "w", 1, (uint64_t[]){1}, SR_F32, 0); put_tensor(&b, "w", 1, (uint64_t[]){1}, SR_F32, 32);
        put_pad(&b, 32); put_data(&b, 64);)
REFUSED(two_tensors_at_one_place, SR_INVALID, "overlaps tensor", put_head(&b, 3, 2, 0);
        put_tensor(&b, "a", 1, (uint64_t[]){1}, SR_F32, 0); put_tensor(&b, "b", 1, (uint64_t[]){1}, SR_F32, 0);
        put_pad(&b, 32); put_data(&b, 64);)
REFUSED(a_tensor_reaching_into_the_next, SR_INVALID, "tensor \"b\": overlaps tensor \"a\"", put_head(&b, 3, 2, 0);
        put_tensor(&b, "b", 1, (uint64_t[]){1}, SR_F32, 32); put_tensor(&b, "a", 1, (uint64_t[]){9}, SR_F32, 0);
        put_pad(&b, 32); put_data(&b, 64);)
REFUSED(a_header_without_its_data_section, SR_INVALID, "but the file ends at", put_head(&b, 3, 1, 0);
        put_tensor(&b, "w", 1, (uint64_t[]){1}, SR_F32, 0);)
REFUSED(a_split_part_in_memory_or_under_another_name, SR_UNSUPPORTED, "", put_head(&b, 3, 0, 1);
        put_key(&b, "split.count", SR_GGUF_U16); sr_buf_add(&b, &(uint16_t){2}, 2);
        sr_gguf *g = NULL; sr_err err = {0}; char path[40]; int fd = memory_file(b.p, b.n, path);
        assert_int_equal(sr_gguf_open(path, &g, &err), SR_INVALID);
        assert_non_null(strstr(err.msg, "its name does not end in -00001-of-00002.gguf"));
        err = (sr_err){0}; close(fd);
        assert_int_equal(sr_gguf_open_mem(b.p, b.n, &g, &err), SR_UNSUPPORTED); sr_buf_end(&b); return;)
REFUSED(a_negative_split_count, SR_INVALID, "key \"split.count\": value -1 is out of range", put_head(&b, 3, 0, 1);
        put_key(&b, "split.count", SR_GGUF_I32); put_u32(&b, (uint32_t)-1);)
REFUSED(a_split_count_as_a_string, SR_INVALID, "its type is string, must be an integer", put_head(&b, 3, 0, 1);
        put_kv_str(&b, "split.count", "3");)
REFUSED(a_set_of_a_million_files, SR_INVALID, "1000000 files, the limit is 1024", put_head(&b, 3, 0, 1);
        put_kv_u32(&b, "split.count", 1000000);)

static void too_many_strings_in_arrays_are_refused(void **state)
{
    (void)state;
    sr_buf   b = {0};
    sr_gguf *g = NULL;
    sr_err   e = {0};
    put_head(&b, 3, 0, 1);
    put_array(&b, "k", SR_GGUF_STRING, (1 << 23) + 1);
    size_t   n = b.n + 8 * ((1 << 23) + 1);
    uint8_t *p = calloc(n, 1);
    memcpy(p, b.p, b.n);
    uint64_t before = sr_alloc_count();
    assert_int_equal(sr_gguf_open_mem(p, n, &g, &e), SR_INVALID);
    assert_non_null(strstr(e.msg, "8388609 strings in arrays, the limit is 8388608"));
    assert_true(sr_alloc_count() - before < 10);
    free(p);
    sr_buf_end(&b);
}

static void metadata_larger_than_the_limit_are_refused_unread(void **state)
{
    (void)state;
    sr_buf b = {0};
    char   path[40];
    put_head(&b, 3, 0, 1);
    put_array(&b, "k", SR_GGUF_U8, 1ull << 40);
    int fd = memory_file(b.p, b.n, path);
    assert_int_equal(ftruncate(fd, 1ll << 41), 0);
    sr_gguf *g = NULL;
    sr_err   e = {0};
    assert_int_equal(sr_gguf_open(path, &g, &e), SR_INVALID);
    assert_non_null(strstr(e.msg, "metadata of more than 268435456 bytes"));
    close(fd);
    sr_buf_end(&b);
}

static void directories_fifos_and_devices_are_refused(void **state)
{
    (void)state;
    char dir[] = "/tmp/sr-gguf-XXXXXX", fifo[64];
    assert_non_null(mkdtemp(dir));
    snprintf(fifo, sizeof fifo, "%s/fifo", dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    const struct { const char *path; sr_status want; const char *needle; } bad[] = {
        {dir, SR_INVALID, "is a directory"},
        {fifo, SR_INVALID, "is a FIFO"}, /* and nobody writes to it: this must not wait */
        {"/dev/zero", SR_INVALID, "is a device"},
        {"/nonexistent/x.gguf", SR_IO, "/nonexistent/x.gguf: No such file or directory"},
        {"", SR_IO, "No such file"},
        {"CMakeLists.txt", SR_INVALID, "not a GGUF file: begins with"}};
    for (size_t i = 0; i < SR_COUNT(bad); i++) {
        sr_gguf *g = NULL;
        sr_err   e = {0};
        assert_int_equal(sr_gguf_open(bad[i].path, &g, &e), bad[i].want);
        assert_non_null(strstr(e.msg, bad[i].needle));
    }
    unlink(fifo);
    rmdir(dir);
}

static void a_long_path_leaves_room_for_the_cause(void **state)
{
    (void)state;
    char path[3000];
    memset(path, 'd', sizeof path);
    memcpy(path, "/tmp/", 5);
    memcpy(path + sizeof path - 12, "model.gguf\n", 12);
    sr_gguf *g = NULL;
    sr_err   e = {0};
    assert_int_equal(sr_gguf_open(path, &g, &e), SR_IO);
    assert_one_printable_line(e.msg);
    assert_non_null(strstr(e.msg, "model.gguf\\x0a: File name too long"));
}

/* ---- every byte, every bit ----------------------------------------------------------------------------- */

static void truncation_at_every_byte_is_refused(void **state)
{
    (void)state;
    sr_buf b = {0};
    put_sample(&b);
    for (size_t n = 0; n < b.n; n++) {
        uint8_t *p = malloc(n ? n : 1);
        sr_gguf *g = NULL;
        sr_err   e = {0};
        memcpy(p, b.p, n);
        assert_int_equal(sr_gguf_open_mem(p, n, &g, &e), SR_INVALID);
        assert_one_printable_line(e.msg);
        free(p);
    }
    sr_buf_end(&b);
}

static uint64_t seed;

static uint32_t next(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}

static void try_bytes(const uint8_t *p, size_t n)
{
    sr_gguf *g = NULL;
    sr_err   e = {0};
    if (sr_gguf_open_mem(p, n, &g, &e) == SR_OK) {
        read_everything(g);
        sr_gguf_close(g);
    } else {
        assert_one_printable_line(e.msg);
    }
}

static void every_flipped_bit_is_read_or_refused_cleanly(void **state)
{
    (void)state;
    sr_buf b = {0};
    put_sample(&b);
    uint8_t *p = malloc(b.n);
    memcpy(p, b.p, b.n);
    for (size_t i = 0; i < b.n - 608; i++) { /* 608 bytes of tensor data at the end */
        for (int bit = 0; bit < 8; bit++) {
            p[i] ^= (uint8_t)(1 << bit);
            try_bytes(p, b.n);
            p[i] ^= (uint8_t)(1 << bit);
        }
    }
    free(p);
    sr_buf_end(&b);
}

static void random_corruptions_are_read_or_refused_cleanly(void **state)
{
    (void)state;
    static const uint64_t evil[] = {0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 1u << 31, UINT32_MAX, 1ull << 40,
                                    1ull << 61, 1ull << 63, UINT64_MAX, UINT64_MAX - 7, INT64_MAX};
    sr_buf b = {0};
    put_sample(&b);
    uint8_t *p = malloc(b.n);
    seed       = 1;
    for (int round = 0; round < 20000; round++) {
        size_t n = next() % 4 ? b.n : 1 + next() % b.n;
        memcpy(p, b.p, b.n);
        for (uint32_t k = 1 + next() % 4; k > 0; k--) {
            size_t at = next() % (b.n - 608), width = next() % 3 == 0 ? 1 : next() % 2 ? 4 : 8;
            if (next() % 2)
                memcpy(p + at, &evil[next() % SR_COUNT(evil)], width);
            else
                p[at] = (uint8_t)next();
        }
        uint8_t *exact = malloc(n);
        memcpy(exact, p, n);
        try_bytes(exact, n);
        free(exact);
    }
    free(p);
    sr_buf_end(&b);
}

#define T(name) cmocka_unit_test(name)
#define H(name) cmocka_unit_test(name##_is_refused)

int main(void)
{
    const struct CMUnitTest tests[] = {
        H(a_wrong_magic), H(a_control_byte_in_the_magic), H(an_empty_file), H(a_file_of_four_bytes),
        H(version_0), H(version_1), H(version_4), H(big_endian), H(a_huge_key_count), H(a_huge_tensor_count),
        H(one_key_too_many), H(one_tensor_too_many), H(more_keys_than_the_file_can_hold),
        H(more_tensors_than_the_file_can_hold), H(an_empty_key), H(a_key_of_1025_bytes),
        H(a_key_longer_than_memory), H(a_key_past_the_end), H(a_key_with_a_nul),
        H(a_key_that_drives_a_terminal), H(an_unknown_value_type), H(a_huge_value_type), H(a_bool_of_two),
        H(a_bool_of_255_in_an_array), H(a_string_past_the_end), H(a_string_over_the_limit),
        H(a_string_length_that_wraps), H(an_array_of_arrays), H(an_array_of_unknown_type),
        H(an_array_whose_size_overflows), H(an_array_past_the_end), H(an_array_of_more_strings_than_fit),
        H(a_string_in_an_array_past_the_end), H(a_duplicate_key), H(alignment_0), H(alignment_4),
        H(alignment_24), H(alignment_131072), H(alignment_2_to_the_31), H(alignment_as_a_string),
        H(alignment_as_i32), H(alignment_as_an_array), H(zero_dimensions), H(five_dimensions),
        H(a_dimension_of_zero), H(a_dimension_above_2_to_the_40), H(a_negative_dimension),
        H(a_product_of_dimensions_that_overflows), H(a_size_that_overflows), H(a_size_that_wraps_to_zero),
        H(a_tensor_of_an_exabyte), H(an_unknown_tensor_type), H(a_huge_tensor_type),
        H(a_tensor_type_of_the_iq_family), H(tensor_type_mxfp4), H(tensor_type_tq1_0),
        H(a_withdrawn_tensor_type), H(a_row_that_is_not_whole_blocks), H(a_quantised_row_of_one),
        H(an_unaligned_offset), H(an_offset_past_the_end), H(an_offset_that_overflows),
        H(a_tensor_that_ends_past_the_end), H(an_empty_tensor_name), H(a_tensor_name_of_65_bytes),
        H(a_tensor_name_with_a_newline), H(a_duplicate_tensor), H(two_tensors_at_one_place),
        H(a_tensor_reaching_into_the_next), H(a_header_without_its_data_section),
        H(a_split_part_in_memory_or_under_another_name), H(a_negative_split_count),
        H(a_split_count_as_a_string), H(a_set_of_a_million_files), T(too_many_strings_in_arrays_are_refused),
        T(metadata_larger_than_the_limit_are_refused_unread), T(directories_fifos_and_devices_are_refused),
        T(a_long_path_leaves_room_for_the_cause), T(truncation_at_every_byte_is_refused),
        T(every_flipped_bit_is_read_or_refused_cleanly), T(random_corruptions_are_read_or_refused_cleanly)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
