/* reader_internal.h - what the two ways of reading share: four threads that pread (reader.c), one that asks io_uring (reader_ring.c). */
#ifndef SR_WEIGHTS_READER_INTERNAL_H
#define SR_WEIGHTS_READER_INTERNAL_H
#include <pthread.h>
#include <sys/stat.h>
#include <sys/types.h>
#include "weights/reader.h"

enum { SR_READ_AHEAD = 16, SR_READ_THREADS = 4, SR_READ_CHUNK = 4 << 20, SR_READ_DEPTH = 16, SR_READ_RING_CHUNK = 1 << 20 }; /* 16 MiB under way: what an NVMe disk wants to be busy */

struct sr_reader {
    sr_readcfg      cfg;             /* lists are copies */
    int            *fd;
    struct stat    *was;             /* as it was opened: who writes into a file between two steps makes other weights of it */
    const char    **path;
    bool            direct;
    size_t          chunk;           /* bytes of a piece */
    struct io_uring *ring;           /* NULL: threads */
    pthread_t       thread[SR_READ_THREADS];
    uint32_t        started;
    pthread_mutex_t lock;
    pthread_cond_t  work, idle;      /* something to read; nothing is being read */
    bool            quit, settling;  /* settling: only what has been handed out is still read */
    uint64_t        base;            /* read number k is unit (base_unit + k - base) mod n */
    uint32_t        base_unit;
    uint64_t        taken, given;    /* reads that next() has handed out; copies that done() has named */
    sr_point       *copied;          /* [n_unit + AHEAD], by read number: a whole step may be asked for before its first read is over */
    uint64_t        begun, finished; /* reads */
    uint32_t        part; uint64_t at; /* of the read under way: what is to be read next */
    uint32_t        pieces;          /* being read */
    uint64_t        bytes, ns, since;
    sr_err          fail;
    char            how[120];
};

typedef struct {                     /* some blocks of a part, as far as the weights need them: the last may lie beyond the file's end */
    sr_readpart part;
    uint64_t    offset;
    size_t      n, need, done;
    char       *to;
    bool        again, deny;         /* it has failed once; tests: it fails whenever it is asked for */
} sr_readpiece;

/* Locked, all of them. */
bool sr_reader_take(sr_reader *r, sr_readpiece *p);                   /* false: nothing to do now */
bool sr_reader_got(sr_reader *r, sr_readpiece *p, ssize_t got, int code); /* what a read returned; true: the piece is over, or has failed twice, which is kept */
void sr_reader_over(sr_reader *r, const sr_readpiece *p);
void sr_reader_rest(sr_reader *r);                                    /* sleeps until there may be something to do */

/* reader_ring.c: false: there is none, and why. */
bool  sr_ring_open(sr_reader *r, char *why, size_t cap);
void  sr_ring_close(sr_reader *r);
void *sr_ring_serve(void *reader);
#endif
