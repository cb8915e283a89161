/* reader.h - units of weights read from disk ahead of the stream: the tier below RAM.
 *
 *     disk  --(pread by four threads, or io_uring; O_DIRECT)-->  staging k mod 2  --(the stream's copy on SR_Q_IN)-->  slot
 *
 * Units come round in one fixed order, step after step, so the reader runs ahead by itself: it reads the k-th unit as soon as the
 * copy out of its staging buffer is over, and stores k + 1 to a page-locked word that the device waits for.
 * Files are opened O_DIRECT: what is read once a step would only push other things out of the page cache.  Where the file system
 * refuses that, reads go through the page cache, and direct() says so.
 *
 * Owns:    threads, descriptors.  Staging (page-locked) and the word are borrowed until close().
 * Threads: next() and rewind(): one thread; the rest inside.
 * Errors:  open: SR_IO naming the file, SR_NOMEM.  A read that fails is tried once more; one that fails again, or ends early, is kept, with
 *          file and offset; so is a file that was written to: the word is stored all the same, so that nobody waits for ever, and failed() tells; what was computed
 *          from it must not be used.
 */
#ifndef SR_WEIGHTS_READER_H
#define SR_WEIGHTS_READER_H
#include "backend/backend.h"

typedef struct sr_reader sr_reader;

enum { SR_READ_ALIGN = 4096, SR_READ_BUFFERS = 2 };
typedef struct { uint32_t file; uint64_t offset, bytes; } sr_readpart;
typedef struct { uint32_t first, n; } sr_readunit;    /* parts */
typedef enum { SR_READ_THREADED, SR_READ_RING } sr_readhow; /* RING: io_uring, where the build and the kernel have it; else threads, and how() says why */
typedef struct {
    const char *const *path; uint32_t n_file;
    const sr_readunit *unit; uint32_t n_unit;         /* in the order they come round */
    const sr_readpart *part; uint32_t n_part;
    void              *staging[SR_READ_BUFFERS];      /* page-locked, aligned, sr_reader_room() each */
    volatile uint64_t *word;                          /* page-locked, 0 */
    sr_readhow         how;
} sr_readcfg;

size_t sr_reader_room(const sr_readunit *unit, uint32_t n_unit, const sr_readpart *part); /* of the largest unit */
SR_MUSTUSE sr_status sr_reader_open(const sr_readcfg *, sr_reader **, sr_err *);
void sr_reader_close(sr_reader *);
/* The unit that is next in order, for a consumer that wants unit u (after a change of mind the reader starts again there).
 * *ready: when it is in staging; at[i]: where part i will be. */
void sr_reader_next(sr_reader *, uint32_t u, sr_point *ready, const void **at);
void sr_reader_done(sr_reader *, sr_point copied);    /* the copy out of what next() gave is over at this point */
bool sr_reader_direct(const sr_reader *);
const char *sr_reader_how(const sr_reader *);         /* for people: "4 threads" */
SR_MUSTUSE sr_status sr_reader_failed(sr_reader *, sr_err *);
/* What the disk under a file gives such reads: stretches of `bytes`, one after the other, into `staging` (sr_reader_room of one). */
SR_MUSTUSE sr_status sr_reader_measure(const char *path, sr_readhow, uint64_t bytes, void *staging, double *bytes_per_s, sr_err *err);
uint64_t sr_reader_bytes(const sr_reader *, uint64_t *ns); /* read so far, and the time that took */
#endif
