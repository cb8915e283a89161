/* gguf.h - a GGUF v3 file, or a split set of them, as metadata and tensors.
 *
 * open() maps the file(s), reads and checks everything up to the tensor data, and touches no tensor
 * data.  After it has succeeded every name, string, array and tensor byte range it hands out lies
 * inside the mapping, so that users need no checks of their own: this is the one place where file
 * bytes are validated (sizes by checked arithmetic, limits below).  "X-00001-of-00003.gguf" opens
 * its siblings too and presents their tensors as one list.
 *
 * Metadata are a private copy; tensor data are the file's own pages: if another program truncates the file
 * afterwards they read as zeros, and sr_gguf_whole() tells (base/guard.h).  sr_gguf_unchanged() asks before a long read.
 *
 * Owns:    the mappings and all it returns, until close().
 * Threads: after open() read-only, any thread.
 * Errors:  SR_INVALID with one line naming file, key or tensor, what is wrong and how much;
 *          SR_UNSUPPORTED for GGUF v1 (v2 is read), big-endian files and tensor types we do not read (named);
 *          SR_IO with errno's text.  Directories, FIFOs and devices are refused.  File content inside
 *          messages is escaped.
 * Limits:  65,536 keys, 65,536 tensors, key <= 1 KiB, tensor name <= 64 bytes, string <= 16 MiB, 8 M strings
 *          in arrays and 256 MiB before the data of one file, 1,024 files, dims <= 4 and each in [1, 2^40],
 *          alignment a power of two in [8, 65,536].
 * Source:  GGUF specification (ggml/docs/gguf.md), version 3.
 */
#ifndef SR_FORMAT_GGUF_H
#define SR_FORMAT_GGUF_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "ops/quant/quant.h"

typedef struct sr_gguf sr_gguf;

typedef enum {
    SR_GGUF_U8, SR_GGUF_I8, SR_GGUF_U16, SR_GGUF_I16, SR_GGUF_U32, SR_GGUF_I32, SR_GGUF_F32,
    SR_GGUF_BOOL, SR_GGUF_STRING, SR_GGUF_ARRAY, SR_GGUF_U64, SR_GGUF_I64, SR_GGUF_F64, SR_GGUF_TYPES
} sr_gguf_type;

typedef struct { const char *p; size_t n; } sr_gguf_str; /* not NUL-terminated; any bytes */

typedef struct {
    const char  *key;              /* NUL-terminated copy */
    sr_gguf_type type, item;       /* item: element type of an array */
    uint64_t     n;                /* elements of an array, else 1 */
    const void  *data;             /* scalars and numeric arrays, unaligned little-endian; NULL for strings */
    const sr_gguf_str *str;        /* strings and arrays of strings: n of them */
} sr_gguf_kv;

typedef struct {
    const char *name;              /* NUL-terminated copy */
    uint32_t    dtype;             /* sr_dtype */
    uint32_t    n_dims;
    uint64_t    ne[4];             /* ne[0] = row length (contiguous); absent dims are 1 */
    uint64_t    bytes;
    const void *data;              /* inside the mapping */
    uint32_t    file;              /* which file of a split set */
    uint64_t    offset;            /* absolute, in that file */
} sr_tensor;

SR_MUSTUSE sr_status sr_gguf_open(const char *path, sr_gguf **out, sr_err *err);
/* The same over bytes in memory (tests, fuzzing, synthetic models); bytes must outlive the object. */
SR_MUSTUSE sr_status sr_gguf_open_mem(const void *bytes, size_t n, sr_gguf **out, sr_err *err);
/* The same over a mapping of the caller's, which the object unmaps in the end, also when this fails. */
SR_MUSTUSE sr_status sr_gguf_open_own(void *map, size_t n, sr_gguf **out, sr_err *err);
void sr_gguf_close(sr_gguf *g);
/* SR_IO: tensor data that somebody has read since open were not there any more, and read as zeros.  Cheap: ask after each use. */
SR_MUSTUSE sr_status sr_gguf_whole(const sr_gguf *g, sr_err *err);
SR_MUSTUSE sr_status sr_gguf_unchanged(const sr_gguf *g, sr_err *err); /* SR_IO: size, time or inode differs */

const char *sr_gguf_path(const sr_gguf *g, uint32_t file);   /* as opened; "(memory)" */
bool        sr_gguf_in_memory(const sr_gguf *g);             /* not the pages of a file */
uint32_t    sr_gguf_files(const sr_gguf *g);
uint64_t    sr_gguf_file_bytes(const sr_gguf *g, uint32_t file);

size_t            sr_gguf_n_kv(const sr_gguf *g);
const sr_gguf_kv *sr_gguf_kv_at(const sr_gguf *g, size_t i);
const sr_gguf_kv *sr_gguf_find(const sr_gguf *g, const char *key);  /* NULL if absent */
size_t            sr_gguf_n_tensors(const sr_gguf *g);
const sr_tensor  *sr_gguf_tensor_at(const sr_gguf *g, size_t i);
const sr_tensor  *sr_gguf_tensor(const sr_gguf *g, const char *name); /* NULL if absent */

/* Typed reads.  Absent: *out keeps its value (the default) and SR_OK.  Present with another type or a
 * value that does not fit: SR_INVALID naming the key.  Any integer type is read as any other. */
SR_MUSTUSE sr_status sr_gguf_u32(const sr_gguf *g, const char *key, uint32_t *out, sr_err *err);
SR_MUSTUSE sr_status sr_gguf_f32(const sr_gguf *g, const char *key, float *out, sr_err *err);
SR_MUSTUSE sr_status sr_gguf_bool(const sr_gguf *g, const char *key, bool *out, sr_err *err);
SR_MUSTUSE sr_status sr_gguf_string(const sr_gguf *g, const char *key, sr_gguf_str *out, sr_err *err);
/* Array of `item` (exactly); absent: *out = NULL. */
SR_MUSTUSE sr_status sr_gguf_array(const sr_gguf *g, const char *key, sr_gguf_type item, const sr_gguf_kv **out,
                                   sr_err *err);
int64_t sr_gguf_int_at(const sr_gguf_kv *kv, uint64_t i);  /* i-th element of an integer or bool array or scalar */
float   sr_gguf_f32_at(const sr_gguf_kv *kv, uint64_t i);  /* i-th element of a float array or scalar */
#endif
