/* stream.h - weights that do not fit: brought into slots of device memory ahead of the ops that read them, in every step.
 *
 * Units come in the order of the program, known in advance, so the next ones are under way while one is computed, across the end
 * of a step too: the first units of the next step come while this one ends.
 *
 *     SR_Q_IN       |u0 > slot 0|u1 > slot 1|u2 > slot 0    |u3 > slot 1   |u0 > slot 0 (the next step's) ..
 *     SR_Q_COMPUTE              |tile u0|ops|   |tile u1|ops|    |tile u2|ops| ..
 *
 * A slot holds blocks as they are in the file, or their code.  Where kernels read tiles, or weights come coded, one more buffer of a
 * slot's size takes what is made of them on the device (sr_backend.tile, decode), and the slot is free for the bus before the ops begin.  A unit's addresses never change, so they are
 * bound once and captured steps stay valid.
 *
 * A route is one list of units; two (a step that shares its feed-forwards with the CPU, and one that does not) may use the
 * same slots in turn.
 *
 * Owns:    its lists.  Slots, tiles, sources and the device are borrowed until close().
 * Threads: one, the device's.   Errors: those of copyv() and tile(); the queue's own failures are told by its next wait().
 * Source:  double buffering of layers, FlexGen (Sheng et al. 2023).
 */
#ifndef SR_WEIGHTS_STREAM_H
#define SR_WEIGHTS_STREAM_H
#include "weights/meter.h"
#include "weights/pace.h"
#include "weights/reader.h"

typedef struct sr_stream sr_stream;

typedef struct {                     /* one weight, or some rows or columns of one */
    const void *src;                 /* page-locked; of a unit that is read from disk: not looked at */
    size_t      piece, step;         /* bytes of a row's piece, from one row's to the next one's (equal: all rows in one go) */
    size_t      at;                  /* in the slot, and in the tiles */
    uint32_t    rows, cols;
    uint16_t    format;
    uint16_t    layout;              /* of the tiles that are made of it; 0: none */
    size_t      coded;               /* bytes at src, which are a code of it (ops/expcode); 0: as in the file */
} sr_streampart;
typedef struct { uint32_t first, n, read; } sr_streamunit; /* parts; 1 + the reader's unit with the same parts, 0: in RAM */
typedef struct {
    const sr_streamunit *unit; uint32_t n_unit;      /* in the order of the ops */
    const sr_streampart *part; uint32_t n_part;
} sr_streamroute;

enum { SR_STREAM_SLOTS = 4, SR_STREAM_ROUTES = 2 };
typedef struct {
    const sr_backend *be; sr_dev *dev;
    void             *slot[SR_STREAM_SLOTS]; uint32_t n_slot;
    void             *tiles;         /* what is made of parts; NULL: nothing is */
    sr_reader        *reader;        /* of units on disk; NULL: there are none */
    sr_pace          *pace;          /* of a slower bus; NULL: the machine's own */
    sr_meter         *meter;         /* is told of every copy; NULL: nobody asks */
    sr_streamroute    route[SR_STREAM_ROUTES];
} sr_streamcfg;

SR_MUSTUSE sr_status sr_stream_open(const sr_streamcfg *, sr_stream **, sr_err *);
void sr_stream_close(sr_stream *);   /* nothing may be under way: the caller waited for both queues */

/* A step along a route begins: its first units are under way from here on, if they were not before. */
SR_MUSTUSE sr_status sr_stream_begin(sr_stream *, uint32_t route, sr_err *);
/* Ops submitted after await(u) find unit u's weights; before release(u) all of them must be submitted.  Every unit once, in order. */
SR_MUSTUSE sr_status sr_stream_await(sr_stream *, uint32_t unit, sr_err *);
SR_MUSTUSE sr_status sr_stream_release(sr_stream *, uint32_t unit, sr_err *);
uint64_t sr_stream_bytes(const sr_stream *);         /* put on their way since open */
#endif
