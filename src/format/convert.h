/* convert.h - a GGUF file in another number format: what `strata quantize` does.
 *
 *   source (one file or a split set)  ->  mixture names a format per tensor  ->  read, decode, encode  ->  one file
 *
 * Keys are carried over as they are, in their order; general.file_type and general.quantization_version are set,
 * split.* is left out, because the result is one file.  Tensors keep their order and shapes.  A matrix gets what the
 * mixture says (mix.h); of the rest (norms, biases, tables) F16 and BF16 become F32, anything else stays.  A tensor
 * that already has its format is copied byte by byte.  Any number of threads gives the same bytes.
 *
 * Memory:  2 MiB a thread and the source's keys; tensor data are read, not mapped, so that a source that shrinks
 *          meanwhile is an error and not a signal.
 * Owns:    nothing after it returns; a result that is not complete is removed (gguf_write.h).
 * Threads: the caller's, and cfg->threads - 1 of its own, which inherit its signal mask.
 * Errors:  SR_INVALID: the result would replace the source; a number the format cannot hold (naming tensor and
 *          place); what gguf.h and gguf_write.h refuse.  SR_IO, SR_NOMEM.  SR_AGAIN: progress() said stop; no message.
 * Not there: importance matrices, formats chosen per tensor by the caller, splitting the result.
 */
#ifndef SR_FORMAT_CONVERT_H
#define SR_FORMAT_CONVERT_H
#include "format/gguf.h"
#include "format/mix.h"

typedef struct {
    const sr_tensor *tensor;      /* being converted */
    uint32_t         to;          /* sr_dtype it gets */
    uint64_t         done, total; /* bytes of the source's tensors */
    bool             complete;    /* this was the tensor's last piece */
    double           error;       /* then: root of (squared error / squared weights), 0 when copied */
} sr_convertstep;

typedef struct {
    const sr_mix *mix;
    uint32_t      threads; /* 0: all usable cores */
    bool (*progress)(void *arg, const sr_convertstep *step); /* after each piece, by the caller's thread; false: stop */
    void *arg;
} sr_convertcfg;

typedef struct {
    uint64_t weights, bytes_in, bytes_out; /* bytes_in of all source files, bytes_out of the result */
    uint32_t tensors;
    uint32_t fallen_back; /* matrices whose rows are not whole blocks of the mixture's format */
    uint32_t requantised; /* matrices that were quantised before and were not copied */
} sr_convertstats;

/* stats: NULL if not wanted. */
SR_MUSTUSE sr_status sr_convert(const char *from, const char *to, const sr_convertcfg *cfg, sr_convertstats *stats,
                                sr_err *err);
#endif
