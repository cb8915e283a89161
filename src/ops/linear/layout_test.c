#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/mem.h"
#include "ops/linear/layout.h"
#include "ops/linear/tile.h"
#include "ops/testkit.h"

static const uint16_t FORMATS[] = {SR_Q4_K, SR_Q5_K, SR_Q6_K, SR_Q4_0, SR_Q8_0, SR_F16, SR_BF16};

typedef struct { uint8_t *file, *tiles, *back; size_t row_bytes, bytes; const void *in[64]; void *out[64]; } matrix;

static void any_bytes(matrix *m, uint16_t format, uint32_t n, uint32_t cols, uint64_t seed)
{
    m->row_bytes = sr_row_bytes(format, cols);
    m->bytes     = m->row_bytes * n;
    m->file      = sr_malloc(m->bytes);
    m->tiles     = sr_malloc(m->bytes);
    m->back      = sr_malloc(m->bytes);
    for (size_t i = 0; i < m->bytes; i++)
        m->file[i] = (uint8_t)(kit_random(&seed) >> 40);
    for (uint32_t r = 0; r < n; r++) {
        m->in[r]  = m->file + r * m->row_bytes;
        m->out[r] = m->back + r * m->row_bytes;
    }
}

static void matrix_free(matrix *m)
{
    sr_free(m->file);
    sr_free(m->tiles);
    sr_free(m->back);
}

static void every_byte_comes_back(void **state)
{
    (void)state;
    for (size_t f = 0; f < sizeof FORMATS / sizeof *FORMATS; f++)
        for (uint32_t n = 16; n <= 48; n += 16)
            for (uint32_t cols = sr_tile_cols(FORMATS[f]); cols <= 768; cols += sr_tile_cols(FORMATS[f])) {
                matrix   m;
                uint16_t layout = 99;
                any_bytes(&m, FORMATS[f], n, cols, f * 1000 + n + cols);
                assert_int_equal(sr_linear_cuda_pack(FORMATS[f], n, cols, m.in, m.tiles, &layout), m.bytes);
                assert_int_equal(layout, SR_LAYOUT_MMA16);
                memset(m.back, 0xa5, m.bytes);
                assert_int_equal(sr_linear_cuda_unpack(FORMATS[f], n, cols, m.tiles, m.out), m.bytes);
                assert_memory_equal(m.back, m.file, m.bytes);
                matrix_free(&m);
            }
}

/* A device makes tiles item by item, from rows that lie apart as in its shared memory. */
static void items_make_the_same_tile_as_octets(void **state)
{
    (void)state;
    for (size_t f = 0; f < sizeof FORMATS / sizeof *FORMATS; f++)
        for (uint32_t times = 0; times < 20; times++) {
            matrix   m;
            uint16_t layout;
            uint32_t stride = 640;
            uint8_t *rows = sr_aligned(16, 16 * 640), *tile = sr_aligned(16, sr_tile_bytes(FORMATS[f]));
            any_bytes(&m, FORMATS[f], 16, sr_tile_cols(FORMATS[f]), f * 77 + times);
            assert_int_equal(sr_linear_cuda_pack(FORMATS[f], 16, sr_tile_cols(FORMATS[f]), m.in, m.tiles, &layout), m.bytes);
            assert_int_equal(m.bytes, sr_tile_bytes(FORMATS[f]));
            for (uint32_t r = 0; r < 16; r++)
                memcpy(rows + r * stride, m.in[r], m.row_bytes);
            memset(tile, 0xa5, m.bytes);
            for (uint32_t i = 0; i < SR_TILE_ITEMS; i++)
                sr_tile_item(FORMATS[f], rows, stride, tile, i);
            assert_memory_equal(tile, m.tiles, m.bytes);
            sr_free(rows);
            sr_free(tile);
            matrix_free(&m);
        }
}

/* The kernel's reading of a Q4_K tile, written out once in plain C: what lane, word and bits it takes for
 * (row, k). */
static void a_lane_finds_its_nibbles_where_the_kernel_reads_them(void **state)
{
    (void)state;
    matrix   m;
    uint16_t layout;
    any_bytes(&m, SR_Q4_K, 16, 256, 7);
    sr_linear_cuda_pack(SR_Q4_K, 16, 256, m.in, m.tiles, &layout);
    for (uint32_t lane = 0; lane < 32; lane++)
        for (uint32_t b = 0; b < 8; b++)
            for (uint32_t high_row = 0; high_row < 2; high_row++) {
                uint32_t w;
                memcpy(&w, m.tiles + b / 2 * 512 + lane * 16 + (b % 2 * 2 + high_row) * 4, 4);
                for (uint32_t n = 0; n < 8; n++) { /* nibble n of the word */
                    uint32_t e = n / 4, h = n / 2 % 2, s = n % 2;
                    uint32_t k = b * 32 + s * 16 + lane % 4 * 4 + h * 2 + e, row = lane / 4 + high_row * 8;
                    const sr_q4_K *q = m.in[row];
                    assert_int_equal(w >> n * 4 & 15, q->qs[b / 2 * 32 + k % 32] >> b % 2 * 4 & 15);
                }
            }
    matrix_free(&m);
}

static void shapes_without_tiles_stay_as_in_the_file(void **state)
{
    (void)state;
    matrix   m;
    uint16_t layout = 99;
    any_bytes(&m, SR_Q8_0, 32, 320, 3);
    assert_int_equal(sr_linear_cuda_pack(SR_Q8_0, 32, 320, m.in, m.tiles, &layout), 0);
    assert_int_equal(layout, SR_LAYOUT_FILE);
    assert_int_equal(sr_linear_cuda_pack(SR_Q8_0, 31, 256, m.in, m.tiles, &layout), 0);
    assert_int_equal(sr_linear_cuda_pack(SR_F32, 16, 256, m.in, m.tiles, &layout), 0);
    assert_int_equal(sr_linear_cuda_pack(SR_F16, 16, 96, m.in, m.tiles, &layout), 0);
    matrix_free(&m);
}

static void a_tile_has_the_bytes_of_its_weights(void **state)
{
    (void)state;
    for (size_t f = 0; f < sizeof FORMATS / sizeof *FORMATS; f++)
        assert_int_equal(sr_tile_bytes(FORMATS[f]), 16 * sr_row_bytes(FORMATS[f], sr_tile_cols(FORMATS[f])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_comes_back),
        cmocka_unit_test(items_make_the_same_tile_as_octets),
        cmocka_unit_test(a_lane_finds_its_nibbles_where_the_kernel_reads_them),
        cmocka_unit_test(shapes_without_tiles_stay_as_in_the_file),
        cmocka_unit_test(a_tile_has_the_bytes_of_its_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
