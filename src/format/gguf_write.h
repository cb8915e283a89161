/* gguf_write.h - writes a GGUF v3 file front to back: keys, tensor declarations, then their data in order.
 *
 *     sr_gguf_create(path, &w, err)   sr_gguf_put_*(w, ...)   sr_gguf_put_tensor(w, ...)
 *     sr_gguf_write(w, bytes, n, err) ...   sr_gguf_finish(w, err)
 *
 * Data are streamed: a file of any size needs one buffer.  Everything goes to "path.part", which is locked
 * while it is written; finish() syncs it and renames it to `path`, so that `path` is always either the old
 * file or the complete new one.  A ".part" left behind by a killed process is taken over by the next writer.
 *
 * Owns:    the writer, until finish() or abandon().   Threads: one at a time.
 * Errors:  put_* remember the first failure and ignore what follows; write() and finish() report it.
 *          SR_INVALID: a key or tensor that sr_gguf_open() would refuse (limits in gguf.h), or more or less
 *          data than was declared; SR_IO with errno's text and the offset (disk full, ...).
 * Source:  GGUF specification (ggml/docs/gguf.md), version 3.
 */
#ifndef SR_FORMAT_GGUF_WRITE_H
#define SR_FORMAT_GGUF_WRITE_H
#include "base/buf.h"
#include "format/gguf.h"

typedef struct sr_gguf_writer sr_gguf_writer;

/* path NULL: no file; only sr_gguf_header() may follow the declarations, then abandon(). */
SR_MUSTUSE sr_status sr_gguf_create(const char *path, sr_gguf_writer **out, sr_err *err);

void sr_gguf_put_u32(sr_gguf_writer *w, const char *key, uint32_t v); /* "general.alignment" takes effect too */
void sr_gguf_put_u64(sr_gguf_writer *w, const char *key, uint64_t v);
void sr_gguf_put_f32(sr_gguf_writer *w, const char *key, float v);
void sr_gguf_put_bool(sr_gguf_writer *w, const char *key, bool v);
void sr_gguf_put_str(sr_gguf_writer *w, const char *key, const char *v);
void sr_gguf_put_numbers(sr_gguf_writer *w, const char *key, sr_gguf_type item, const void *v, uint64_t n);
void sr_gguf_put_strings(sr_gguf_writer *w, const char *key, const sr_gguf_str *v, uint64_t n);
void sr_gguf_put_kv(sr_gguf_writer *w, const sr_gguf_kv *kv); /* as it was read from another file */
void sr_gguf_put_tensor(sr_gguf_writer *w, const char *name, uint32_t dtype, uint32_t n_dims, const uint64_t *ne);

/* The next n bytes of data, in the order of declaration; padding is added here.  The first call ends the
 * declarations. */
SR_MUSTUSE sr_status sr_gguf_write(sr_gguf_writer *w, const void *bytes, size_t n, sr_err *err);
uint64_t             sr_gguf_written(const sr_gguf_writer *w); /* bytes of the file so far */

/* Appends everything before the data to *out: for models that are made in memory. */
SR_MUSTUSE sr_status sr_gguf_header(sr_gguf_writer *w, sr_buf *out, sr_err *err);

SR_MUSTUSE sr_status sr_gguf_finish(sr_gguf_writer *w, sr_err *err); /* ends the writer in every case */
void                 sr_gguf_abandon(sr_gguf_writer *w);             /* removes the partial file; NULL is fine */
#endif
