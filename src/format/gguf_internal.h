/* gguf_internal.h - what the files of the GGUF reader and writer share.
 *
 *   gguf_file.c    one file's bytes: opening, mapping, the owned copy of its header
 *   gguf_parse.c   one file's header: every check that concerns a single file
 *   gguf.c         the set: sibling files, the joined tensor list, look-up, typed reads
 *   gguf_write.c   the way out (gguf_write.h)
 *   convert.c      from one to the other (convert.h)
 *
 * Invariant of the mapping: [0, owned) is private anonymous memory holding what was read once, so that
 * what has been checked cannot change any more and a file that shrinks meanwhile is a short read (an
 * error), not a SIGBUS; the rest is the file itself, untouched by open.
 */
#ifndef SR_FORMAT_GGUF_INTERNAL_H
#define SR_FORMAT_GGUF_INTERNAL_H
#include <sys/stat.h>
#include "base/arena.h"
#include "base/guard.h"
#include "format/gguf.h"

enum {
    SR_GGUF_MAX_KV      = 65536,
    SR_GGUF_MAX_TENSORS = 65536,
    SR_GGUF_MAX_KEY     = 1024,
    SR_GGUF_MAX_NAME    = 64, /* by the specification */
    SR_GGUF_MAX_STRING  = 16 << 20,
    SR_GGUF_MAX_HEADER  = 256 << 20, /* bytes before the tensor data of one file; real ones have 30 MB */
    SR_GGUF_MAX_STRINGS = 1 << 23,   /* strings in arrays, in one file; the largest vocabularies have 1 M */
    SR_GGUF_MAX_FILES   = 1024,
};

typedef struct {
    char          *path;      /* as opened */
    char           show[168]; /* path for messages: escaped, a long one by its end */
    const uint8_t *base;
    uint64_t       size, owned;
    int            fd;     /* -1 once the header is read, and for bytes in memory */
    bool           mapped; /* base is our mapping of a file */
    bool           ours;   /* base is memory that we unmap */
    sr_guard      *guard;  /* of the mapping */
    struct stat    st;     /* as opened, to notice changes */
} sr_gguf_bytes;

void sr_gguf_show_path(char *out, size_t cap, const char *path); /* what `show` holds; cap as there */

SR_MUSTUSE sr_status sr_gguf_bytes_open(sr_gguf_bytes *f, const char *path, sr_err *err);
SR_MUSTUSE sr_status sr_gguf_bytes_read(const sr_gguf_bytes *f, void *p, uint64_t n, uint64_t at, sr_err *err); /* by the fd */
SR_MUSTUSE sr_status sr_gguf_bytes_own(sr_gguf_bytes *f, uint64_t upto, sr_err *err); /* upto <= size */
SR_MUSTUSE sr_status sr_gguf_bytes_seal(sr_gguf_bytes *f, sr_err *err); /* read-only from now, fd closed */
SR_MUSTUSE sr_status sr_gguf_bytes_recheck(const sr_gguf_bytes *f, sr_err *err);
void                 sr_gguf_bytes_close(sr_gguf_bytes *f);

/* What one file's header says; arrays live in the arena, file content in the mapping. */
typedef struct {
    sr_gguf_kv *kv;
    sr_tensor  *tensors;
    uint32_t    n_kv, n_tensors;
} sr_gguf_part;

SR_MUSTUSE sr_status sr_gguf_parse(sr_gguf_bytes *f, uint32_t index, sr_arena *arena, sr_gguf_part *out,
                                   sr_err *err);

const char *sr_gguf_type_name(uint32_t type); /* "u32" */
size_t      sr_gguf_type_bytes(uint32_t type); /* 0 for strings, arrays and unknown types */

/* Sorted views for look-up and for finding duplicates in n log n, whatever the names are. */
const sr_gguf_kv **sr_gguf_sort_kv(sr_arena *arena, const sr_gguf_kv *kv, size_t n);
const sr_tensor  **sr_gguf_sort_tensors(sr_arena *arena, const sr_tensor *t, size_t n);
#endif
