/* machine_beside.h - what a copy to the device and the CPU leave each other of the memory that both read.
 *
 *     bus   |copy|copy|copy|copy|copy|copy|copy|copy|..     a thread keeps two under way
 *     CPU        |products or plain reads |
 *
 * Each alone may read what the memory gives: together they get less, and a plan that divides weights by rates measured one after the
 * other gives too much to the one that takes more of it.  The copies come from more memory than caches hold.
 *
 * Owns:    nothing after return.   Threads: one, and nothing else may use the device.   Errors: those of the devices; SR_NOMEM; SR_IO: no thread.
 */
#ifndef SR_ENGINE_MACHINE_BESIDE_H
#define SR_ENGINE_MACHINE_BESIDE_H
#include "backend/backend.h"

typedef struct {
    const sr_backend *be; sr_dev *dev; /* the device, open */
    sr_devcfg cpu;                     /* how the CPU is opened */
    uint32_t  format, side;            /* of the products' weights, [side][side] */
    size_t    pool, bytes, piece;      /* bytes of weights; of the copies' source, page-locked; of one copy, taken of the device's memory */
    uint64_t  ns;                      /* that products are measured for */
    uint32_t  few;                     /* rows of x of a second kind of products; 0: none */
    bool      reads;                   /* and plain reads, too */
} sr_besidecfg;
/* bytes/s: products alone, beside the copy; the copy beside them; those of few rows beside it, and reads, 0: not asked for */
typedef struct { double alone, cpu, h2d, few, read; } sr_besiderates;

SR_MUSTUSE sr_status sr_machine_beside(const sr_besidecfg *, sr_besiderates *out, sr_err *err);
#endif
