/* units.h - a model as a plan sees it: units of weights with their bytes, formats and ops, from a compiled program.
 *
 * Units in the order of the program: per layer attention and feed-forward (gate + up and down), then the head, then the
 * embedding (none where the head is the same tensor).  Vectors (norms, biases, rope frequencies) move with nobody: `vectors`.
 *
 *     sum of unit bytes + vectors = bytes of all tensors that the program uses
 *
 * Owns:    its arrays; the compiled model is only read.   Threads: pure.
 * Errors:  SR_NOMEM.
 */
#ifndef SR_ENGINE_UNITS_H
#define SR_ENGINE_UNITS_H
#include "format/mix.h"
#include "model/model.h"
#include "weights/profile.h"

enum { SR_UNIT_FORMATS = 4, SR_UNIT_PRODUCTS = 4 };
typedef struct { uint32_t format; uint64_t bytes, params; } sr_unitpart;
typedef struct {
    sr_unit     *u;
    sr_unitpart (*part)[SR_UNIT_FORMATS]; /* what a unit is made of; bytes 0 ends */
    sr_unitpart (*ram)[SR_UNIT_FORMATS];  /* the same where it lies in RAM beside a device */
    uint64_t    (*product)[SR_UNIT_PRODUCTS]; /* params of each, 0 ends; more are counted with the last */
    uint32_t     n, n_ops;
    uint64_t     bytes, vectors, read;    /* of all units; beside them; by a step of one token */
    double       flops;                   /* of a token */
} sr_units;

/* as: in the formats that this mixture would give; NULL: as they are in the file. */
SR_MUSTUSE sr_status sr_units_open(const sr_compiled *, const sr_mix *as, sr_units *, sr_err *);
void sr_units_close(sr_units *);

/* Weights that lie in RAM beside a device as something else: in a smaller format, or coded, which only the device reads.  fn is told a weight
 * and its format in the file and says what it takes there; *changed: how many are not as in the file. */
typedef struct { uint16_t format; bool coded; uint64_t bytes; } sr_ramweight;
typedef sr_status (*sr_ramfn)(void *arg, const sr_compiled *, uint32_t w, sr_ramweight *as_filed, sr_err *);
SR_MUSTUSE sr_status sr_units_ram(sr_units *, const sr_compiled *, const sr_mix *as, sr_ramfn fn, void *arg, uint32_t *changed, sr_err *);
/* `to`, where a row of so many numbers is smaller in it than in `format`; else `format`. */
uint32_t sr_units_smaller(uint32_t format, uint32_t to, uint32_t cols);
uint32_t sr_units_of(const sr_compiled *, uint32_t unit); /* which of them a unit of the program belongs to */
/* Units with rates of their own for steps of so many tokens; prompt: of one sequence, else a token each.  out: [n] */
void sr_units_rate(const sr_units *, const sr_profile *, uint32_t threads, uint32_t tokens, bool prompt, sr_unit *out);
#endif
