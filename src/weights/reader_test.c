/* reader_test: both ways of reading bring the same bytes, at any offset, in order, and keep the failures they meet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "weights/reader.h"

enum { BYTES = 9 << 20, UNITS = 5 };

static char        path[] = "reader_test.XXXXXX";
static const sr_readhow ways[] = {SR_READ_THREADED, SR_READ_RING};

static uint8_t byte_at(uint64_t i) { return (uint8_t)(i * 2654435761u >> 13 ^ i); }

static int make_file(void **state)
{
    (void)state;
    int   fd = mkstemp(path);
    FILE *f  = fd < 0 ? NULL : fdopen(fd, "wb");
    for (uint64_t i = 0; f && i < BYTES; i++)
        putc(byte_at(i), f);
    return f && fclose(f) == 0 ? 0 : 1;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

/* Parts that begin and end anywhere, longer and shorter than a piece, the file's last byte among them. */
static const sr_readunit units[UNITS] = {{0, 1}, {1, 2}, {3, 1}, {4, 3}, {7, 1}};
static const sr_readpart parts[]      = {{0, 0, 5000000}, {0, 5000001, 17}, {0, 123, 4000000}, {0, BYTES - 1, 1}, {0, 4096, 4096},
                                         {0, 8191, 4097}, {0, 3 << 20, 2 << 20}, {0, BYTES - 3000000, 3000000}};

typedef struct { sr_reader *r; char *staging; uint64_t *word; } bed;

static bed open_reader(sr_readhow how)
{
    const char *const file[] = {path};
    sr_err            err    = {0};
    bed               b      = {.word = sr_aligned(4096, 4096)};
    size_t            room   = sr_reader_room(units, UNITS, parts);
    b.staging                = sr_aligned(4096, 2 * room);
    *b.word                  = 0;
    sr_readcfg c = {.path = file, .n_file = 1, .unit = units, .n_unit = UNITS, .part = parts, .n_part = SR_COUNT(parts),
                    .staging = {b.staging, b.staging + room}, .word = b.word, .how = how};
    if (sr_reader_open(&c, &b.r, &err))
        fail_msg("%s", err.msg);
    return b;
}

static void close_reader(bed *b)
{
    sr_reader_close(b->r);
    sr_free(b->staging);
    sr_free(b->word);
}

static void fetch(bed *b, uint32_t u, bool look)
{
    sr_point    ready;
    const void *at[3];
    sr_reader_next(b->r, u, &ready, at);
    while (!sr_reached(ready))
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    for (uint32_t p = 0; look && p < units[u].n; p++) {
        const sr_readpart *x = &parts[units[u].first + p];
        const uint8_t     *v = at[p];
        for (uint64_t i = 0; i < x->bytes; i++)
            if (v[i] != byte_at(x->offset + i))
                fail_msg("unit %u, part %u, byte %llu", u, p, (unsigned long long)i);
    }
    sr_reader_done(b->r, ready);
}

static void units_come_round_with_the_bytes_of_the_file(void **state)
{
    (void)state;
    for (size_t w = 0; w < SR_COUNT(ways); w++) {
        bed      b = open_reader(ways[w]);
        sr_err   err = {0};
        uint64_t ns;
        assert_non_null(strstr(sr_reader_how(b.r), ways[w] == SR_READ_RING && !strstr(sr_reader_how(b.r), "(io_uring") ? "io_uring, " : "4 threads"));
        for (uint32_t i = 0; i < 3 * UNITS; i++)
            fetch(&b, i % UNITS, true);
        fetch(&b, 3, true); /* a change of mind */
        fetch(&b, 4, true);
        fetch(&b, 0, true);
        assert_int_equal(sr_reader_failed(b.r, &err), SR_OK);
        assert_true(sr_reader_bytes(b.r, &ns) > 3 * 16000000 && ns > 0);
        close_reader(&b);
    }
}

static void a_failed_read_is_kept_and_nobody_waits_for_ever(void **state)
{
    (void)state;
    for (size_t w = 0; w < SR_COUNT(ways); w++) {
        sr_fault_arm(SR_FAULT_READ, 3);
        bed    b   = open_reader(ways[w]);
        sr_err err = {0};
        for (uint32_t i = 0; i < UNITS; i++)
            fetch(&b, i, false);
        sr_fault_arm(SR_FAULT_READ, 0);
        assert_int_equal(sr_reader_failed(b.r, &err), SR_IO);
        assert_non_null(strstr(err.msg, path));
        close_reader(&b);
    }
}

static void a_read_that_fails_once_is_tried_again(void **state)
{
    (void)state;
    for (size_t w = 0; w < SR_COUNT(ways); w++) {
        sr_fault_arm(SR_FAULT_READ_ONCE, 3);
        bed    b   = open_reader(ways[w]);
        sr_err err = {0};
        for (uint32_t i = 0; i < 2 * UNITS; i++)
            fetch(&b, i % UNITS, true);
        assert_true(sr_fault_fired(SR_FAULT_READ_ONCE));
        assert_int_equal(sr_reader_failed(b.r, &err), SR_OK);
        close_reader(&b);
    }
}

static void a_file_that_ended_early_says_where(void **state)
{
    (void)state;
    for (size_t w = 0; w < SR_COUNT(ways); w++) {
        assert_int_equal(truncate(path, BYTES - 5), 0);
        bed    b   = open_reader(ways[w]);
        sr_err err = {0};
        for (uint32_t i = 0; i < UNITS; i++)
            fetch(&b, i, false);
        assert_int_equal(sr_reader_failed(b.r, &err), SR_IO);
        assert_non_null(strstr(err.msg, "ends at byte"));
        close_reader(&b);
        FILE *f = fopen(path, "r+b");
        assert_non_null(f);
        fseek(f, BYTES - 5, SEEK_SET);
        for (uint64_t i = BYTES - 5; i < BYTES; i++)
            putc(byte_at(i), f);
        fclose(f);
    }
}

static void a_file_that_is_written_to_is_told(void **state)
{
    (void)state;
    for (size_t w = 0; w < SR_COUNT(ways); w++) {
        bed    b   = open_reader(ways[w]);
        sr_err err = {0};
        for (uint32_t i = 0; i < 2 * UNITS; i++)
            fetch(&b, i % UNITS, true);
        assert_int_equal(sr_reader_failed(b.r, &err), SR_OK);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL); /* a tick of the file system's clock */
        FILE *f = fopen(path, "r+b"); /* as long as it was */
        assert_non_null(f);
        assert_int_equal(putc(byte_at(0), f), byte_at(0));
        fclose(f);
        for (uint32_t i = 0; i < 2 * UNITS; i++)
            fetch(&b, i % UNITS, false);
        assert_int_equal(sr_reader_failed(b.r, &err), SR_IO);
        assert_non_null(strstr(err.msg, "was written to while its weights are read"));
        close_reader(&b);
    }
}

/* Opened and closed with reads under way. */
static void a_reader_can_be_closed_at_any_time(void **state)
{
    (void)state;
    for (size_t w = 0; w < SR_COUNT(ways); w++)
        for (uint32_t i = 0; i < 20; i++) {
            bed         b = open_reader(ways[w]);
            sr_point    ready;
            const void *at[3];
            sr_reader_next(b.r, i % UNITS, &ready, at);
            nanosleep(&(struct timespec){.tv_nsec = i * 20000}, NULL);
            close_reader(&b);
        }
}

static void without_a_ring_threads_read_and_say_why(void **state)
{
    (void)state;
    sr_fault_arm(SR_FAULT_OPEN, 2); /* the first is the file's */
    bed  b     = open_reader(SR_READ_RING);
    bool fired = sr_fault_fired(SR_FAULT_OPEN);
    sr_fault_arm(SR_FAULT_OPEN, 0);
    assert_non_null(strstr(sr_reader_how(b.r), fired ? "4 threads (io_uring: Operation not permitted)" : "4 threads (io_uring: this build"));
    for (uint32_t i = 0; i < UNITS; i++)
        fetch(&b, i, true);
    close_reader(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_come_round_with_the_bytes_of_the_file),
        cmocka_unit_test(a_failed_read_is_kept_and_nobody_waits_for_ever),
        cmocka_unit_test(a_read_that_fails_once_is_tried_again),
        cmocka_unit_test(a_file_that_ended_early_says_where),
        cmocka_unit_test(a_file_that_is_written_to_is_told), cmocka_unit_test(a_reader_can_be_closed_at_any_time),
        cmocka_unit_test(without_a_ring_threads_read_and_say_why),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
