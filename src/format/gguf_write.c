#include "format/gguf_write.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/mem.h"
#include "format/gguf_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { OUT_BYTES = 1 << 20 }; /* small writes are gathered to this; larger ones go out as they are */

typedef struct {
    const char *name;
    uint32_t    dtype, n_dims;
    uint64_t    ne[4], bytes;
} decl;

struct sr_gguf_writer {
    sr_err   err;       /* first failure of a put_* */
    sr_arena arena;     /* names and paths */
    char    *path, *part;
    char     show[168];
    int      fd;        /* -1 without a file */
    sr_buf  *mem;       /* then: where emit() goes */
    sr_buf   keys;      /* encoded pairs */
    sr_buf   key_names; /* array of const char *, for duplicates */
    sr_buf   decls;     /* array of decl */
    uint64_t n_keys, n_tensors;
    uint32_t align;
    bool     begun;     /* the header is out, declarations are closed */
    uint64_t at_tensor, in_tensor; /* data position */
    uint64_t written;   /* accepted, flushed or not */
    uint8_t *out;
    size_t   n_out;
};

static decl *decl_at(const sr_gguf_writer *w, uint64_t i) { return (decl *)(void *)w->decls.p + i; }

/* ---- the file ------------------------------------------------------------------------------------------ */

/* Opens and locks the partial file.  It may be renamed away between open and lock by the process that held
 * the lock before us: then what we locked is no longer the file of that name, and we try again. */
static sr_status open_part(sr_gguf_writer *w, sr_err *err)
{
    for (;;) {
        struct stat here, named;
        w->fd = sr_fault(SR_FAULT_OPEN) ? (errno = EMFILE, -1) : open(w->part, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
        if (w->fd < 0 || fstat(w->fd, &here) < 0)
            return sr_raise(err, SR_IO, "%s.part: %s", w->show, strerror(errno));
        if (!S_ISREG(here.st_mode))
            return sr_raise(err, SR_INVALID, "%s.part: exists and is not a regular file", w->show);
        if (flock(w->fd, LOCK_EX | LOCK_NB) < 0) {
            int e = errno;
            close(w->fd);
            w->fd = -1; /* not ours: close must not remove it */
            return sr_raise(err, SR_IO, "%s.part: %s", w->show,
                            e == EWOULDBLOCK ? "another process is writing this file" : strerror(e));
        }
        if (stat(w->part, &named) == 0 && named.st_ino == here.st_ino && named.st_dev == here.st_dev)
            break;
        close(w->fd);
    }
    if (ftruncate(w->fd, 0) < 0)
        return sr_raise(err, SR_IO, "%s.part: %s", w->show, strerror(errno));
    return SR_OK;
}

static sr_status open_target(sr_gguf_writer *w, const char *path, sr_err *err)
{
    struct stat st;
    size_t      n = strlen(path);
    sr_gguf_show_path(w->show, sizeof w->show, path);
    w->path = sr_arena_strndup(&w->arena, path, n);
    w->part = sr_arena_alloc(&w->arena, n + sizeof ".part");
    w->out  = sr_malloc(OUT_BYTES);
    if (!w->path || !w->part || !w->out)
        return sr_raise(err, SR_NOMEM, "%s: host memory for a GGUF writer", w->show);
    memcpy(w->part, path, n);
    memcpy(w->part + n, ".part", sizeof ".part");
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) /* renaming over /dev/null would replace it */
        return sr_raise(err, SR_INVALID, "%s: exists and is not a regular file", w->show);
    return open_part(w, err);
}

sr_status sr_gguf_create(const char *path, sr_gguf_writer **out, sr_err *err)
{
    sr_gguf_writer *w = sr_calloc(1, sizeof *w);
    sr_status       s = SR_OK;
    *out = NULL;
    if (!w)
        return sr_raise(err, SR_NOMEM, "host memory for a GGUF writer");
    w->fd    = -1;
    w->align = 32;
    if (path)
        s = open_target(w, path, err);
    else
        snprintf(w->show, sizeof w->show, "(memory)");
    if (s) {
        sr_gguf_abandon(w);
        return s;
    }
    *out = w;
    return SR_OK;
}

static void end(sr_gguf_writer *w)
{
    if (w->fd >= 0)
        close(w->fd);
    sr_buf_end(&w->keys);
    sr_buf_end(&w->key_names);
    sr_buf_end(&w->decls);
    sr_arena_end(&w->arena);
    sr_free(w->out);
    sr_free(w);
}

void sr_gguf_abandon(sr_gguf_writer *w)
{
    if (!w)
        return;
    if (w->fd >= 0)
        unlink(w->part);
    end(w);
}

static sr_status write_all(sr_gguf_writer *w, const uint8_t *p, size_t n, uint64_t at, sr_err *err)
{
    while (n) {
        ssize_t k = sr_fault(SR_FAULT_WRITE) ? (errno = ENOSPC, -1) : write(w->fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return sr_raise(err, SR_IO, "%s.part: writing at %" PRIu64 ": %s", w->show, at,
                            k < 0 ? strerror(errno) : "no progress");
        p += k;
        n -= (size_t)k;
        at += (uint64_t)k;
    }
    return SR_OK;
}

static sr_status flush(sr_gguf_writer *w, sr_err *err)
{
    sr_status s = write_all(w, w->out, w->n_out, w->written - w->n_out, err);
    w->n_out    = 0;
    return s;
}

static sr_status emit(sr_gguf_writer *w, const void *p, size_t n, sr_err *err)
{
    sr_status s;
    if (w->fd < 0) {
        if (!w->mem || !sr_buf_add(w->mem, p, n))
            return sr_raise(err, w->mem ? SR_NOMEM : SR_INVALID, "%s: %s", w->show,
                            w->mem ? "host memory for the header" : "data, but no file");
        w->written += n;
        return SR_OK;
    }
    if (w->n_out + n > OUT_BYTES && (s = flush(w, err)))
        return s;
    if (n > OUT_BYTES) {
        s = write_all(w, p, n, w->written, err);
    } else {
        if (n)
            memcpy(w->out + w->n_out, p, n);
        w->n_out += n;
        s = SR_OK;
    }
    w->written += n;
    return s;
}

static sr_status emit_padding(sr_gguf_writer *w, sr_err *err)
{
    static const uint8_t zeros[4096];
    sr_status            s = SR_OK;
    for (uint64_t left = (w->align - w->written % w->align) % w->align; left && !s;) {
        uint64_t n = SR_MIN(left, (uint64_t)sizeof zeros);
        s          = emit(w, zeros, (size_t)n, err);
        left -= n;
    }
    return s;
}

/* ---- keys ------------------------------------------------------------------------------------------------ */

/* The first failure stays; SR_OK calls pass. */
static bool usable(sr_gguf_writer *w)
{
    if (!w->err.status && w->begun)
        sr_raise(&w->err, SR_INVALID, "%s: declarations after the first data", w->show);
    return !w->err.status;
}

static void check_memory(sr_gguf_writer *w)
{
    if (w->keys.failed || w->key_names.failed || w->decls.failed)
        sr_raise(&w->err, SR_NOMEM, "%s: host memory for the header", w->show);
}

static const char *keep_name(sr_gguf_writer *w, const char *noun, const char *name, size_t limit)
{
    char   shown[110];
    size_t n = strlen(name);
    sr_escape(shown, sizeof shown, name, n);
    if (n == 0 || n > limit) {
        sr_raise(&w->err, SR_INVALID, "%s: %s \"%s\": %zu bytes, valid are 1 to %zu", w->show, noun, shown, n, limit);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f) {
            sr_raise(&w->err, SR_INVALID, "%s: %s \"%s\": control byte at position %zu", w->show, noun, shown, i);
            return NULL;
        }
    }
    char *copy = sr_arena_strndup(&w->arena, name, n);
    if (!copy)
        sr_raise(&w->err, SR_NOMEM, "%s: host memory for the header", w->show);
    return copy;
}

static void raw(sr_gguf_writer *w, const void *p, size_t n) { sr_buf_add(&w->keys, p, n); }

static void raw_u32(sr_gguf_writer *w, uint32_t v) { raw(w, &v, sizeof v); }

static void raw_u64(sr_gguf_writer *w, uint64_t v) { raw(w, &v, sizeof v); }

static bool begin_key(sr_gguf_writer *w, const char *key, sr_gguf_type type)
{
    const char *name = usable(w) ? keep_name(w, "key", key, SR_GGUF_MAX_KEY) : NULL;
    if (!name)
        return false;
    if (w->n_keys == SR_GGUF_MAX_KV) {
        sr_raise(&w->err, SR_INVALID, "%s: more than %d keys", w->show, (int)SR_GGUF_MAX_KV);
        return false;
    }
    w->n_keys++;
    sr_buf_add(&w->key_names, &name, sizeof name);
    raw_u64(w, strlen(name));
    raw(w, name, strlen(name));
    raw_u32(w, type);
    return true;
}

static void put_scalar(sr_gguf_writer *w, const char *key, sr_gguf_type type, const void *v)
{
    if (!begin_key(w, key, type))
        return;
    raw(w, v, sr_gguf_type_bytes(type));
    if (strcmp(key, "general.alignment") == 0) {
        uint32_t a = 0;
        if (type == SR_GGUF_U32)
            memcpy(&a, v, sizeof a);
        if (a < 8 || a > 65536 || (a & (a - 1)))
            sr_raise(&w->err, SR_INVALID, "%s: key \"%s\": must be a u32 power of two from 8 to 65536", w->show, key);
        else
            w->align = a;
    }
    check_memory(w);
}

void sr_gguf_put_u32(sr_gguf_writer *w, const char *key, uint32_t v) { put_scalar(w, key, SR_GGUF_U32, &v); }

void sr_gguf_put_u64(sr_gguf_writer *w, const char *key, uint64_t v) { put_scalar(w, key, SR_GGUF_U64, &v); }

void sr_gguf_put_f32(sr_gguf_writer *w, const char *key, float v) { put_scalar(w, key, SR_GGUF_F32, &v); }

void sr_gguf_put_bool(sr_gguf_writer *w, const char *key, bool v)
{
    put_scalar(w, key, SR_GGUF_BOOL, &(uint8_t){v ? 1 : 0});
}

static void raw_str(sr_gguf_writer *w, const char *key, const char *p, size_t n)
{
    if (n > SR_GGUF_MAX_STRING)
        sr_raise(&w->err, SR_INVALID, "%s: key \"%s\": string of %zu bytes, the limit is %d", w->show, key, n,
                 (int)SR_GGUF_MAX_STRING);
    raw_u64(w, n);
    raw(w, p, n);
}

void sr_gguf_put_str(sr_gguf_writer *w, const char *key, const char *v)
{
    if (begin_key(w, key, SR_GGUF_STRING)) {
        raw_str(w, key, v, strlen(v));
        check_memory(w);
    }
}

void sr_gguf_put_numbers(sr_gguf_writer *w, const char *key, sr_gguf_type item, const void *v, uint64_t n)
{
    size_t bytes;
    if (!begin_key(w, key, SR_GGUF_ARRAY))
        return;
    if (!sr_gguf_type_bytes(item) || !sr_mul_size((size_t)n, sr_gguf_type_bytes(item), &bytes)) {
        sr_raise(&w->err, SR_INVALID, "%s: key \"%s\": array of %" PRIu64 " %s", w->show, key, n, sr_gguf_type_name(item));
        return;
    }
    raw_u32(w, item);
    raw_u64(w, n);
    raw(w, v, bytes);
    check_memory(w);
}

void sr_gguf_put_strings(sr_gguf_writer *w, const char *key, const sr_gguf_str *v, uint64_t n)
{
    if (!begin_key(w, key, SR_GGUF_ARRAY))
        return;
    raw_u32(w, SR_GGUF_STRING);
    raw_u64(w, n);
    for (uint64_t i = 0; i < n; i++)
        raw_str(w, key, v[i].p, v[i].n);
    check_memory(w);
}

void sr_gguf_put_kv(sr_gguf_writer *w, const sr_gguf_kv *kv)
{
    if (kv->type == SR_GGUF_ARRAY && kv->item == SR_GGUF_STRING) {
        sr_gguf_put_strings(w, kv->key, kv->str, kv->n);
    } else if (kv->type == SR_GGUF_ARRAY) {
        sr_gguf_put_numbers(w, kv->key, kv->item, kv->data, kv->n);
    } else if (kv->type == SR_GGUF_STRING) {
        if (begin_key(w, kv->key, SR_GGUF_STRING)) {
            raw_str(w, kv->key, kv->str->p, kv->str->n);
            check_memory(w);
        }
    } else {
        put_scalar(w, kv->key, kv->type, kv->data);
    }
}

/* ---- tensors ---------------------------------------------------------------------------------------------- */

static bool shape_bytes(sr_gguf_writer *w, const char *name, decl *d)
{
    const sr_dtypeinfo *t = sr_dtype_info(d->dtype);
    uint64_t            n = 1;
    bool                ok = t && d->n_dims >= 1 && d->n_dims <= 4;
    for (uint32_t i = 0; ok && i < d->n_dims; i++)
        ok = d->ne[i] >= 1 && d->ne[i] <= (uint64_t)1 << 40 && !__builtin_mul_overflow(n, d->ne[i], &n);
    ok = ok && d->ne[0] % t->block == 0 && !__builtin_mul_overflow(n / t->block, (uint64_t)t->bytes, &d->bytes);
    if (!ok)
        sr_raise(&w->err, SR_INVALID, "%s: tensor \"%s\": impossible shape or type (%u dimensions, rows of %" PRIu64 ", type %u)",
                 w->show, name, d->n_dims, d->ne[0], d->dtype);
    return ok;
}

void sr_gguf_put_tensor(sr_gguf_writer *w, const char *name, uint32_t dtype, uint32_t n_dims, const uint64_t *ne)
{
    decl d = {.dtype = dtype, .n_dims = n_dims, .ne = {1, 1, 1, 1}};
    if (!usable(w) || !(d.name = keep_name(w, "tensor", name, SR_GGUF_MAX_NAME)))
        return;
    for (uint32_t i = 0; i < n_dims && i < 4; i++)
        d.ne[i] = ne[i];
    if (w->n_tensors == SR_GGUF_MAX_TENSORS)
        sr_raise(&w->err, SR_INVALID, "%s: more than %d tensors", w->show, (int)SR_GGUF_MAX_TENSORS);
    else if (shape_bytes(w, d.name, &d) && sr_buf_add(&w->decls, &d, sizeof d))
        w->n_tensors++;
    check_memory(w);
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static sr_status refuse_duplicates(sr_gguf_writer *w, const char *noun, const char **v, uint64_t n, sr_err *err)
{
    if (n)
        qsort(v, n, sizeof *v, by_name);
    for (uint64_t i = 1; i < n; i++)
        if (strcmp(v[i - 1], v[i]) == 0)
            return sr_raise(err, SR_INVALID, "%s: duplicate %s \"%s\"", w->show, noun, v[i]);
    return SR_OK;
}

static sr_status check_names(sr_gguf_writer *w, sr_err *err)
{
    const char **names = sr_arena_zalloc(&w->arena, (size_t)w->n_tensors, sizeof *names);
    if (!names)
        return sr_raise(err, SR_NOMEM, "%s: host memory for the header", w->show);
    for (uint64_t i = 0; i < w->n_tensors; i++)
        names[i] = decl_at(w, i)->name;
    sr_status s = refuse_duplicates(w, "tensor", names, w->n_tensors, err);
    return s ? s : refuse_duplicates(w, "key", (const char **)(void *)w->key_names.p, w->n_keys, err);
}

static sr_status emit_u64(sr_gguf_writer *w, uint64_t v, sr_err *err) { return emit(w, &v, sizeof v, err); }

static sr_status emit_decls(sr_gguf_writer *w, sr_err *err)
{
    sr_status s      = SR_OK;
    uint64_t  offset = 0;
    for (uint64_t i = 0; i < w->n_tensors && !s; i++) {
        const decl *d = decl_at(w, i);
        if ((s = emit_u64(w, strlen(d->name), err)) || (s = emit(w, d->name, strlen(d->name), err)) ||
            (s = emit(w, &d->n_dims, 4, err)) || (s = emit(w, d->ne, d->n_dims * sizeof *d->ne, err)) ||
            (s = emit(w, &d->dtype, 4, err)) || (s = emit_u64(w, offset, err)))
            return s;
        uint64_t padded = 0;
        if (__builtin_add_overflow(d->bytes, (uint64_t)w->align - 1, &padded) ||
            __builtin_add_overflow(offset, padded / w->align * w->align, &offset))
            return sr_raise(err, SR_INVALID, "%s: tensor \"%s\": the file's size overflows", w->show, d->name);
    }
    return s;
}

/* Header, keys and declarations, once. */
static sr_status begin_data(sr_gguf_writer *w, sr_err *err)
{
    sr_status s;
    if (w->err.status)
        return sr_raise(err, w->err.status, "%s", w->err.msg);
    if (w->begun)
        return SR_OK;
    w->begun         = true;
    uint32_t version = 3;
    if ((s = check_names(w, err)) || (s = emit(w, "GGUF", 4, err)) || (s = emit(w, &version, 4, err)) ||
        (s = emit_u64(w, w->n_tensors, err)) || (s = emit_u64(w, w->n_keys, err)) ||
        (s = emit(w, w->keys.p, w->keys.n, err)) || (s = emit_decls(w, err)))
        return s;
    return w->n_tensors ? emit_padding(w, err) : SR_OK;
}

sr_status sr_gguf_write(sr_gguf_writer *w, const void *bytes, size_t n, sr_err *err)
{
    const uint8_t *p = bytes;
    sr_status      s = begin_data(w, err);
    while (!s && n) {
        if (w->at_tensor == w->n_tensors) {
            s = sr_raise(err, SR_INVALID, "%s: %zu bytes of data more than the %" PRIu64 " tensors declared", w->show, n,
                         w->n_tensors);
            break;
        }
        uint64_t left = decl_at(w, w->at_tensor)->bytes - w->in_tensor;
        size_t   k    = left < n ? (size_t)left : n;
        s             = emit(w, p, k, err);
        p += k;
        n -= k;
        w->in_tensor += k;
        if (!s && k == left) {
            w->at_tensor++;
            w->in_tensor = 0;
            s            = emit_padding(w, err);
        }
    }
    if (s && !w->err.status)
        sr_raise(&w->err, s, "%s: an earlier write failed", w->show);
    return s;
}

sr_status sr_gguf_header(sr_gguf_writer *w, sr_buf *out, sr_err *err)
{
    SR_ASSERT(w->fd < 0 && !w->begun, "header of a writer with a file, or twice");
    w->mem      = out;
    sr_status s = begin_data(w, err);
    w->mem      = NULL;
    return s;
}

uint64_t sr_gguf_written(const sr_gguf_writer *w) { return w->written; }

/* A rename is durable once the folder is. */
static sr_status sync_folder(sr_gguf_writer *w, sr_err *err)
{
    int fd = open(dirname(w->part), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int ok = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL); /* EINVAL: a file system without the notion */
    sr_status s = ok ? SR_OK : sr_raise(err, SR_IO, "%s: syncing its folder: %s", w->show, strerror(errno));
    if (fd >= 0)
        close(fd);
    return s;
}

sr_status sr_gguf_finish(sr_gguf_writer *w, sr_err *err)
{
    SR_ASSERT(w->fd >= 0, "finish of a writer without a file");
    sr_status s = begin_data(w, err);
    if (!s && w->at_tensor != w->n_tensors)
        s = sr_raise(err, SR_INVALID, "%s: tensor \"%s\": %" PRIu64 " of %" PRIu64 " bytes were written", w->show,
                     decl_at(w, w->at_tensor)->name, w->in_tensor, decl_at(w, w->at_tensor)->bytes);
    if (!s)
        s = flush(w, err);
    if (!s && (sr_fault(SR_FAULT_WRITE) ? (errno = EIO, -1) : fsync(w->fd)) < 0)
        s = sr_raise(err, SR_IO, "%s.part: sync: %s", w->show, strerror(errno));
    if (!s && rename(w->part, w->path) < 0)
        s = sr_raise(err, SR_IO, "%s: %s", w->show, strerror(errno));
    if (s) {
        sr_gguf_abandon(w);
        return s;
    }
    s = sync_folder(w, err);
    end(w);
    return s;
}
