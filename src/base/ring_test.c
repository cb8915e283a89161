#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/futex.h"
#include "base/ring.h"

enum { CAP = 4096 };

static uint32_t next_random(uint32_t *s) { return *s = *s * 1664525u + 1013904223u, *s >> 8; }

/* Record number i of a run: its length and bytes follow from i, so that both sides know them. */
static size_t record_fill(uint32_t i, uint8_t *b)
{
    uint32_t s = i * 2654435761u + 1;
    size_t   n = 4 + next_random(&s) % (i % 16 == 0 ? 3000 : 60);
    memcpy(b, &i, 4);
    for (size_t k = 4; k < n; k++)
        b[k] = (uint8_t)(i + k * 7);
    return n;
}

static bool record_put(const sr_ring *r, uint32_t i)
{
    uint8_t b[4096];
    size_t  n = record_fill(i, b), cut = n / 3;
    return sr_ring_put(r, (sr_piece[]){{b, cut}, {NULL, 0}, {b + cut, n - cut}}, 3);
}

/* The number of the record, having compared all of it; ~0u: there was none or it is wrong. */
static uint32_t record_get(const sr_ring *r)
{
    uint8_t  got[4096], want[4096];
    uint32_t i;
    size_t   n = sr_ring_next(r);
    if (n < 4 || n > sizeof got)
        return ~0u;
    sr_ring_get(r, got, n);
    memcpy(&i, got, 4);
    return record_fill(i, want) == n && memcmp(got, want, n) == 0 ? i : ~0u;
}

static sr_ring shared_ring(size_t cap)
{
    void *m = mmap(NULL, sr_ring_bytes(cap), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(m, MAP_FAILED);
    return sr_ring_at(m, cap);
}
static void ring_end(sr_ring *r) { munmap(r->mem, sr_ring_bytes(r->cap)); }

static void records_of_any_size_come_out_as_they_went_in(void **state)
{
    (void)state;
    sr_ring  r = shared_ring(CAP);
    uint32_t s = 7, put = 0, got = 0;
    while (got < 20000) {
        for (uint32_t k = next_random(&s) % 50; k > 0 && record_put(&r, put); k--)
            put++;
        sr_ring_publish(&r);
        for (uint32_t k = next_random(&s) % 50; k > 0 && sr_ring_next(&r); k--)
            assert_int_equal(record_get(&r), got++);
    }
    ring_end(&r);
}

static void a_record_as_large_as_the_ring_fits_at_any_position(void **state)
{
    (void)state;
    sr_ring r = shared_ring(256);
    uint8_t in[248], out[248];
    for (int i = 0; i < 100; i++) {
        assert_true(sr_ring_put(&r, &(sr_piece){"12345", 5}, 1)); /* moves on by 16 each round */
        sr_ring_publish(&r);
        assert_int_equal(sr_ring_next(&r), 5);
        sr_ring_get(&r, out, 5);
        memset(in, i, sizeof in);
        assert_true(sr_ring_put(&r, &(sr_piece){in, sizeof in}, 1));
        assert_int_equal(sr_ring_room(&r), 0);
        sr_ring_publish(&r);
        assert_int_equal(sr_ring_next(&r), sizeof in);
        sr_ring_get(&r, out, sizeof in);
        assert_memory_equal(in, out, sizeof in);
    }
    assert_false(sr_ring_put(&r, &(sr_piece){in, 249}, 1));
    assert_false(sr_ring_put(&r, (sr_piece[]){{in, SIZE_MAX}, {in, 2}}, 2)); /* the sum does not fit */
    assert_false(sr_ring_put(&r, &(sr_piece){in, SIZE_MAX}, 1));
    ring_end(&r);
}

static void a_full_ring_takes_nothing_and_stays_intact(void **state)
{
    (void)state;
    sr_ring  r = shared_ring(CAP);
    uint32_t n = 0;
    while (record_put(&r, n))
        n++;
    size_t room = sr_ring_room(&r);
    assert_false(record_put(&r, n));
    assert_int_equal(sr_ring_room(&r), room);
    sr_ring_publish(&r);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(record_get(&r), i);
    assert_int_equal(sr_ring_next(&r), 0);
    assert_int_equal(sr_ring_room(&r), CAP);
    ring_end(&r);
}

static void nothing_is_seen_before_it_is_published(void **state)
{
    (void)state;
    sr_ring r = shared_ring(CAP);
    assert_false(sr_ring_publish(&r));
    assert_true(record_put(&r, 1));
    assert_true(record_put(&r, 2));
    assert_int_equal(sr_ring_next(&r), 0);
    assert_true(sr_ring_publish(&r));
    assert_false(sr_ring_publish(&r));
    assert_int_equal(record_get(&r), 1);
    assert_int_equal(record_get(&r), 2);
    ring_end(&r);
}

static void a_damaged_ring_is_reported_and_never_left(void **state)
{
    (void)state;
    sr_ring r = shared_ring(256);
    for (uint32_t s = 1, i = 0; i < 5000; i++) { /* ASan watches the bounds */
        uint8_t out[256];
        memset(r.mem, 0, sr_ring_bytes(r.cap));
        assert_true(sr_ring_put(&r, &(sr_piece){"abc", 3}, 1));
        sr_ring_publish(&r);
        uint64_t junk = (uint64_t)next_random(&s) << (next_random(&s) % 41);
        switch (i % 4) {
        case 0: r.mem->head = junk; break;
        case 1: r.mem->tail = junk; break;
        case 2: memcpy(r.data, &junk, 8); break;
        default: r.mem->next = junk; break;
        }
        size_t n = sr_ring_next(&r);
        if (n != 0 && n != SR_RING_BROKEN) {
            assert_in_range(n, 1, sizeof out);
            sr_ring_get(&r, out, n);
        }
        (void)!sr_ring_put(&r, &(sr_piece){out, 100}, 1);
    }
    memset(r.mem, 0, sr_ring_bytes(r.cap));
    r.mem->head = 1000;
    assert_true(sr_ring_next(&r) == SR_RING_BROKEN);
    ring_end(&r);
}

typedef struct { sr_ring r; pthread_mutex_t *lock; uint32_t first, n; } producer;

static void *produce(void *arg)
{
    producer *p = arg;
    for (uint32_t i = p->first; i < p->first + p->n; i++)
        for (uint32_t spin = 0;; spin++) {
            if (p->lock)
                pthread_mutex_lock(p->lock);
            bool ok = record_put(&p->r, i);
            if (ok)
                sr_ring_publish(&p->r);
            if (p->lock)
                pthread_mutex_unlock(p->lock);
            if (ok)
                break;
            sr_spin(spin);
        }
    return NULL;
}

static uint32_t wait_get(const sr_ring *r)
{
    for (uint32_t spin = 0; sr_ring_next(r) == 0; spin++)
        sr_spin(spin);
    return record_get(r);
}

static void one_thread_hands_another_every_record_in_order(void **state)
{
    (void)state;
    producer  p = {.r = shared_ring(CAP), .first = 0, .n = 50000};
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, produce, &p), 0);
    for (uint32_t i = 0; i < p.n; i++)
        assert_int_equal(wait_get(&p.r), i);
    pthread_join(t, NULL);
    assert_int_equal(sr_ring_next(&p.r), 0);
    ring_end(&p.r);
}

static void producers_with_a_lock_lose_nothing_and_keep_their_own_order(void **state)
{
    (void)state;
    enum { N = 4, EACH = 10000 };
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    producer        p[N];
    pthread_t       t[N];
    uint32_t        next[N];
    sr_ring         r = shared_ring(CAP);
    for (uint32_t i = 0; i < N; i++) {
        next[i] = i * EACH;
        p[i]    = (producer){.r = r, .lock = &lock, .first = i * EACH, .n = EACH};
        assert_int_equal(pthread_create(&t[i], NULL, produce, &p[i]), 0);
    }
    for (uint32_t k = 0; k < N * EACH; k++) {
        uint32_t i = wait_get(&r);
        assert_in_range(i, 0, N * EACH - 1);
        assert_int_equal(i, next[i / EACH]++);
    }
    for (uint32_t i = 0; i < N; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(sr_ring_next(&r), 0);
    ring_end(&r);
}

static void one_process_hands_another_every_record_in_order(void **state)
{
    (void)state;
    producer p   = {.r = shared_ring(CAP), .first = 0, .n = 50000};
    pid_t    pid = fork();
    if (pid == 0) {
        produce(&p);
        _exit(0);
    }
    assert_true(pid > 0);
    for (uint32_t i = 0; i < p.n; i++)
        assert_int_equal(wait_get(&p.r), i);
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    ring_end(&p.r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_of_any_size_come_out_as_they_went_in),
        cmocka_unit_test(a_record_as_large_as_the_ring_fits_at_any_position),
        cmocka_unit_test(a_full_ring_takes_nothing_and_stays_intact),
        cmocka_unit_test(nothing_is_seen_before_it_is_published),
        cmocka_unit_test(a_damaged_ring_is_reported_and_never_left),
        cmocka_unit_test(one_thread_hands_another_every_record_in_order),
        cmocka_unit_test(producers_with_a_lock_lose_nothing_and_keep_their_own_order),
        cmocka_unit_test(one_process_hands_another_every_record_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
