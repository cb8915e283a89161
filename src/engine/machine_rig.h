/* machine_rig.h - a program of equal LINEAR ops, each with weights of its own: opened on a device, timed.
 *
 * Owns:    its device memory, until close.   Threads: one.   Errors: those of the device.
 */
#ifndef SR_ENGINE_MACHINE_RIG_H
#define SR_ENGINE_MACHINE_RIG_H
#include "backend/backend.h"

typedef struct {
    const sr_backend *be;
    sr_dev     *dev;
    sr_program  prog;
    sr_op      *op;
    sr_slot     slot[2];
    sr_weight  *weight;
    sr_wref    *ref;
    sr_plan    *plan;
    sr_shape    max;
    void       *scratch, *pool, *count; /* count: the step's shape, where kernels read it */
    sr_shape   *host_count;
    char       *staging;
    size_t      bytes;                  /* of one weight */
    uint32_t    format;
} sr_rig;

/* Weights [rows][cols], `pool` bytes of them, two at least; steps of up to max_tokens rows of x.  turns: every op multiplies what the one before it
 * has made, as in a model, every second weight being [cols][rows]; else all multiply the same x. */
typedef struct { uint32_t format, rows, cols, max_tokens; bool turns; size_t pool; } sr_rigcfg;
/* Bytes of weights that are read from memory, again and again: eight times the last cache, 768 MB to 4 GB.  (At twice the cache a Xeon of 16
 * threads read 240 GB/s from memory that gives 165.) */
size_t sr_rig_pool(uint64_t cache, uint64_t memory); /* cache 0: the host's */
SR_MUSTUSE sr_status sr_rig_open(const sr_backend *be, sr_dev *d, const sr_rigcfg *cfg, sr_rig *r, sr_err *err);
void sr_rig_close(sr_rig *r);
/* All ops over `tokens` rows of x are sent; wait() returns when they are done. */
SR_MUSTUSE sr_status sr_rig_send(sr_rig *r, uint32_t tokens, sr_err *err);
SR_MUSTUSE sr_status sr_rig_wait(sr_rig *r, sr_err *err);
/* Seconds of an op in the fastest of the pieces of about 2 ms that fill `ns`, and up to 8 times that until three of them agree:
 * what others take of the machine is not the machine's. */
SR_MUSTUSE sr_status sr_rig_time(sr_rig *r, uint32_t tokens, uint64_t ns, double *seconds, sr_err *err);
/* The same while it goes on: the median of the later half of the pieces that fill `ns`, when clocks are what a long prompt meets. */
SR_MUSTUSE sr_status sr_rig_steady(sr_rig *r, uint32_t tokens, uint64_t ns, double *seconds, sr_err *err);
#endif
