/* reader_ring.c - weights read from disk by io_uring: one thread keeps sixteen reads under way.
 *
 * Without liburing, or where the kernel forbids it, reader.c's threads do the same work and sr_reader_how() says why. */
#include "weights/reader_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"

#ifdef SR_HAVE_URING
#include <liburing.h>

bool sr_ring_open(sr_reader *r, char *why, size_t cap)
{
    struct io_uring *ring = sr_calloc(1, sizeof *ring);
    int              rc   = !ring ? -ENOMEM : sr_fault(SR_FAULT_OPEN) ? -EPERM : io_uring_queue_init(SR_READ_DEPTH, ring, 0);
    if (rc < 0) {
        snprintf(why, cap, "io_uring: %s", strerror(-rc));
        sr_free(ring);
        return false;
    }
    r->ring = ring;
    return true;
}

void sr_ring_close(sr_reader *r)
{
    if (r->ring)
        io_uring_queue_exit(r->ring);
    sr_free(r->ring);
    r->ring = NULL;
}

static void ask(sr_reader *r, sr_readpiece *p)
{
    struct io_uring_sqe *e = io_uring_get_sqe(r->ring);
    SR_ASSERT(e, "more than %d reads under way", SR_READ_DEPTH);
    p->deny = p->deny || sr_fault(SR_FAULT_READ);
    if (p->deny || sr_fault(SR_FAULT_READ_ONCE)) /* no file: the kernel says so */
        io_uring_prep_read(e, -1, p->to, 1, 0);
    else
        io_uring_prep_read(e, r->fd[p->part.file], p->to + p->done, (unsigned)(p->n - p->done), p->offset + p->done);
    io_uring_sqe_set_data(e, p);
}

/* One read's end.  What came short is asked for again. */
static void answer(sr_reader *r, uint32_t *under_way)
{
    struct io_uring_cqe *c;
    int                  rc;
    pthread_mutex_unlock(&r->lock);
    while ((rc = io_uring_submit_and_wait(r->ring, 1)) == -EINTR || rc == -EAGAIN)
        ;
    pthread_mutex_lock(&r->lock);
    while (io_uring_peek_cqe(r->ring, &c) == 0) {
        sr_readpiece *p   = io_uring_cqe_get_data(c);
        int           res = c->res;
        io_uring_cqe_seen(r->ring, c);
        if (!sr_reader_got(r, p, res < 0 ? -1 : res, res < 0 ? -res : 0)) {
            ask(r, p);
            continue;
        }
        sr_reader_over(r, p);
        p->to = NULL;
        --*under_way;
    }
}

void *sr_ring_serve(void *arg)
{
    sr_reader   *r = arg;
    sr_readpiece piece[SR_READ_DEPTH] = {{.n = 0}};
    uint32_t     under_way = 0;
    pthread_mutex_lock(&r->lock);
    while (!r->quit || under_way) {
        for (uint32_t i = 0; i < SR_READ_DEPTH && !r->quit; i++)
            if (!piece[i].to) {
                if (!sr_reader_take(r, &piece[i])) {
                    piece[i].to = NULL;
                    break;
                }
                ask(r, &piece[i]);
                under_way++;
            }
        if (under_way)
            answer(r, &under_way);
        else if (!r->quit)
            sr_reader_rest(r);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}
#else
bool sr_ring_open(sr_reader *r, char *why, size_t cap)
{
    (void)r;
    snprintf(why, cap, "io_uring: this build has no liburing");
    return false;
}
void sr_ring_close(sr_reader *r) { (void)r; }
void *sr_ring_serve(void *reader) { return reader; }
#endif
