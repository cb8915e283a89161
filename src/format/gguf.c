#include "format/gguf_internal.h"
#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct sr_gguf {
    sr_arena           arena; /* everything below but the mappings */
    sr_gguf_bytes     *files;
    uint32_t           n_files;
    sr_gguf_kv        *kv; /* of the first file: the others of a set carry only their place in it */
    size_t             n_kv, n_tensors;
    sr_tensor         *tensors;
    const sr_gguf_kv **kv_sorted;
    const sr_tensor  **tensors_sorted;
};

/* ---- split sets: "name-00001-of-00003.gguf" ------------------------------------------------- */

enum { SPLIT_TAIL = sizeof "-00001-of-00003.gguf" - 1 };

/* no < count <= SR_GGUF_MAX_FILES; the remainders only tell the compiler so. */
static void part_tail(char tail[SPLIT_TAIL + 1], uint32_t no, uint32_t count)
{
    snprintf(tail, SPLIT_TAIL + 1, "-%05u-of-%05u.gguf", (no + 1) % 100000, count % 100000);
}

/* The part of `path` before its split tail; false if it has none that says part `no` of `count`. */
static bool split_name(const char *path, uint32_t no, uint32_t count, size_t *stem)
{
    char   tail[SPLIT_TAIL + 1];
    size_t n = strlen(path);
    part_tail(tail, no, count);
    if (n <= SPLIT_TAIL || strcmp(path + n - SPLIT_TAIL, tail) != 0)
        return false;
    *stem = n - SPLIT_TAIL;
    return true;
}

static const sr_gguf_kv *find_in(const sr_gguf_part *p, const char *key)
{
    for (uint32_t i = 0; i < p->n_kv; i++)
        if (strcmp(p->kv[i].key, key) == 0)
            return &p->kv[i];
    return NULL;
}

static bool is_int(sr_gguf_type t)
{
    return t <= SR_GGUF_I32 || t == SR_GGUF_U64 || t == SR_GGUF_I64;
}

/* A non-negative integer of the set's description; absent: keeps *out. */
static sr_status split_value(const sr_gguf_bytes *f, const sr_gguf_part *p, const char *key, uint32_t *out, sr_err *err)
{
    const sr_gguf_kv *kv = find_in(p, key);
    if (!kv)
        return SR_OK;
    if (!is_int(kv->type))
        return sr_raise(err, SR_INVALID, "%s: key \"%s\": its type is %s, must be an integer", f->show, key,
                        sr_gguf_type_name(kv->type));
    int64_t v = sr_gguf_int_at(kv, 0);
    if (v < 0 || v > INT32_MAX)
        return sr_raise(err, SR_INVALID, "%s: key \"%s\": value %" PRId64 " is out of range", f->show, key, v);
    *out = (uint32_t)v;
    return SR_OK;
}

typedef struct { uint32_t no, count, tensors; } split_info;

static sr_status split_read(const sr_gguf_bytes *f, const sr_gguf_part *p, split_info *out, sr_err *err)
{
    sr_status s;
    *out = (split_info){0, 1, UINT32_MAX};
    if ((s = split_value(f, p, "split.no", &out->no, err)) ||
        (s = split_value(f, p, "split.count", &out->count, err)) ||
        (s = split_value(f, p, "split.tensors.count", &out->tensors, err)))
        return s;
    if (out->count == 0) /* llama.cpp takes 0 as "not split" */
        out->count = 1;
    if (out->count > SR_GGUF_MAX_FILES)
        return sr_raise(err, SR_INVALID, "%s: key \"split.count\": %u files, the limit is %d", f->show, out->count,
                        (int)SR_GGUF_MAX_FILES);
    return SR_OK;
}

static sr_status split_check(const sr_gguf_bytes *f, const split_info *want, uint32_t no, const split_info *got,
                             sr_err *err)
{
    if (got->no != no || got->count != want->count)
        return sr_raise(err, SR_INVALID, "%s: says it is part %u of %u, expected part %u of %u", f->show, got->no + 1,
                        got->count, no + 1, want->count);
    if (got->tensors != want->tensors)
        return sr_raise(err, SR_INVALID, "%s: key \"split.tensors.count\": %u, the first part says %u", f->show,
                        got->tensors, want->tensors);
    return SR_OK;
}

static sr_status load_part(sr_gguf_bytes *f, const char *path, uint32_t index, sr_arena *arena, sr_gguf_part *part,
                           sr_err *err)
{
    sr_status s = sr_gguf_bytes_open(f, path, err);
    if (s || (s = sr_gguf_parse(f, index, arena, part, err)))
        return s;
    return sr_gguf_bytes_seal(f, err);
}

/* Opens parts 1.. of a set whose first part is already files[0]. */
static sr_status open_siblings(sr_gguf *g, const split_info *want, sr_gguf_part *parts, sr_err *err)
{
    sr_gguf_bytes *first = &g->files[0];
    size_t         stem;
    if (want->no != 0)
        return sr_raise(err, SR_INVALID, "%s: is part %u of %u: open the first part", first->show, want->no + 1,
                        want->count);
    if (!split_name(first->path, 0, want->count, &stem))
        return sr_raise(err, SR_INVALID, "%s: is part 1 of %u, but its name does not end in -00001-of-%05u.gguf",
                        first->show, want->count, want->count);
    char *path = sr_arena_strndup(&g->arena, first->path, stem + SPLIT_TAIL);
    if (!path)
        return sr_raise(err, SR_NOMEM, "%s: host memory for the path", first->show);
    for (uint32_t i = 1; i < want->count; i++) {
        split_info got;
        part_tail(path + stem, i, want->count);
        g->n_files  = i + 1;
        sr_status s = load_part(&g->files[i], path, i, &g->arena, &parts[i], err);
        if (s || (s = split_read(&g->files[i], &parts[i], &got, err)) ||
            (s = split_check(&g->files[i], want, i, &got, err)))
            return s;
    }
    return SR_OK;
}

/* ---- the joined view ------------------------------------------------------------------------ */

static sr_status join_tensors(sr_gguf *g, const sr_gguf_part *parts, const split_info *split, sr_err *err)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < g->n_files; i++)
        total += parts[i].n_tensors;
    if (total > SR_GGUF_MAX_TENSORS)
        return sr_raise(err, SR_INVALID, "%s: %" PRIu64 " tensors in %u files, the limit is %d", g->files[0].show, total,
                        g->n_files, (int)SR_GGUF_MAX_TENSORS);
    if (split->count > 1 && split->tensors != UINT32_MAX && split->tensors != total)
        return sr_raise(err, SR_INVALID, "%s: key \"split.tensors.count\" is %u, but the %u files have %" PRIu64,
                        g->files[0].show, split->tensors, g->n_files, total);
    g->n_tensors = (size_t)total;
    g->tensors   = parts[0].tensors;
    if (g->n_files > 1) {
        if (!(g->tensors = sr_arena_zalloc(&g->arena, g->n_tensors, sizeof *g->tensors)))
            return sr_raise(err, SR_NOMEM, "%s: host memory for %zu tensors", g->files[0].show, g->n_tensors);
        for (uint32_t i = 0, at = 0; i < g->n_files; at += parts[i++].n_tensors)
            if (parts[i].n_tensors)
                memcpy(g->tensors + at, parts[i].tensors, parts[i].n_tensors * sizeof *g->tensors);
    }
    return SR_OK;
}

static sr_status index_all(sr_gguf *g, sr_err *err)
{
    g->kv_sorted      = sr_gguf_sort_kv(&g->arena, g->kv, g->n_kv);
    g->tensors_sorted = sr_gguf_sort_tensors(&g->arena, g->tensors, g->n_tensors);
    if (!g->kv_sorted || !g->tensors_sorted)
        return sr_raise(err, SR_NOMEM, "%s: host memory for the index", g->files[0].show);
    for (size_t i = 1; i < g->n_tensors; i++) {
        const sr_tensor *a = g->tensors_sorted[i - 1], *b = g->tensors_sorted[i];
        if (strcmp(a->name, b->name) == 0) {
            char shown[110];
            sr_escape(shown, sizeof shown, b->name, strlen(b->name));
            if (a->file == b->file)
                return sr_raise(err, SR_INVALID, "%s: duplicate tensor \"%s\"", g->files[a->file].show, shown);
            return sr_raise(err, SR_INVALID, "%s: tensor \"%s\" is also in part %u of the set",
                            g->files[SR_MAX(a->file, b->file)].show, shown, SR_MIN(a->file, b->file) + 1);
        }
    }
    return SR_OK;
}

/* files[0] is open or set: parse it, open its siblings, join. */
static sr_status load_set(sr_gguf *g, sr_err *err)
{
    sr_gguf_part first = {0};
    split_info   split;
    sr_status    s = sr_gguf_parse(&g->files[0], 0, &g->arena, &first, err);
    if (s || (s = sr_gguf_bytes_seal(&g->files[0], err)) || (s = split_read(&g->files[0], &first, &split, err)))
        return s;
    sr_gguf_part *parts = sr_arena_zalloc(&g->arena, split.count, sizeof *parts);
    sr_gguf_bytes *files = sr_arena_zalloc(&g->arena, split.count, sizeof *files);
    if (!parts || !files)
        return sr_raise(err, SR_NOMEM, "%s: host memory for %u parts", g->files[0].show, split.count);
    parts[0] = first;
    files[0] = g->files[0];
    g->files = files;
    g->kv    = first.kv;
    g->n_kv  = first.n_kv;
    if (split.count > 1 && !files[0].path)
        return sr_raise(err, SR_UNSUPPORTED, "%s: part %u of a set of %u cannot be opened from memory", files[0].show,
                        split.no + 1, split.count);
    if (split.count > 1 && (s = open_siblings(g, &split, parts, err)))
        return s;
    if ((s = join_tensors(g, parts, &split, err)))
        return s;
    return index_all(g, err);
}

static sr_gguf *new_gguf(sr_err *err)
{
    sr_gguf *g = sr_calloc(1, sizeof *g);
    if (g && (g->files = sr_arena_zalloc(&g->arena, 1, sizeof *g->files))) {
        g->files[0].fd = -1;
        g->n_files     = 1;
        return g;
    }
    sr_raise(err, SR_NOMEM, "host memory for a GGUF handle");
    sr_gguf_close(g);
    return NULL;
}

sr_status sr_gguf_open(const char *path, sr_gguf **out, sr_err *err)
{
    *out       = NULL;
    sr_gguf *g = new_gguf(err);
    if (!g)
        return SR_NOMEM;
    sr_status s = sr_gguf_bytes_open(&g->files[0], path, err);
    if (s || (s = load_set(g, err))) {
        sr_gguf_close(g);
        return s;
    }
    *out = g;
    return SR_OK;
}

static sr_status open_bytes(const void *bytes, size_t n, bool ours, sr_gguf **out, sr_err *err)
{
    *out       = NULL;
    sr_gguf *g = new_gguf(err);
    if (!g) {
        if (ours)
            munmap((void *)(uintptr_t)bytes, n);
        return SR_NOMEM;
    }
    sr_gguf_bytes *f = &g->files[0];
    f->ours          = ours;
    snprintf(f->show, sizeof f->show, "(memory)");
    f->base = bytes;
    f->size = f->owned = n;
    sr_status s = load_set(g, err);
    if (s) {
        sr_gguf_close(g);
        return s;
    }
    *out = g;
    return SR_OK;
}

sr_status sr_gguf_open_mem(const void *bytes, size_t n, sr_gguf **out, sr_err *err) { return open_bytes(bytes, n, false, out, err); }

sr_status sr_gguf_open_own(void *map, size_t n, sr_gguf **out, sr_err *err) { return open_bytes(map, n, true, out, err); }

void sr_gguf_close(sr_gguf *g)
{
    if (!g)
        return;
    for (uint32_t i = 0; i < g->n_files; i++)
        sr_gguf_bytes_close(&g->files[i]);
    sr_arena_end(&g->arena);
    sr_free(g);
}

sr_status sr_gguf_unchanged(const sr_gguf *g, sr_err *err)
{
    for (uint32_t i = 0; i < g->n_files; i++) {
        sr_status s = sr_gguf_bytes_recheck(&g->files[i], err);
        if (s)
            return s;
    }
    return SR_OK;
}

sr_status sr_gguf_whole(const sr_gguf *g, sr_err *err)
{
    for (uint32_t i = 0; i < g->n_files; i++)
        if (sr_guard_hit(g->files[i].guard))
            return sr_raise(err, SR_IO, "%s: cut short or unreadable while in use: it had %" PRIu64 " bytes", g->files[i].show,
                            g->files[i].size);
    return SR_OK;
}

/* ---- look-up -------------------------------------------------------------------------------- */

const char *sr_gguf_path(const sr_gguf *g, uint32_t file)
{
    return file >= g->n_files ? NULL : g->files[file].path ? g->files[file].path : "(memory)";
}

bool sr_gguf_in_memory(const sr_gguf *g) { return !g->files[0].mapped; }

uint32_t sr_gguf_files(const sr_gguf *g) { return g->n_files; }

uint64_t sr_gguf_file_bytes(const sr_gguf *g, uint32_t file) { return file < g->n_files ? g->files[file].size : 0; }

size_t sr_gguf_n_kv(const sr_gguf *g) { return g->n_kv; }

const sr_gguf_kv *sr_gguf_kv_at(const sr_gguf *g, size_t i) { return i < g->n_kv ? &g->kv[i] : NULL; }

size_t sr_gguf_n_tensors(const sr_gguf *g) { return g->n_tensors; }

const sr_tensor *sr_gguf_tensor_at(const sr_gguf *g, size_t i) { return i < g->n_tensors ? &g->tensors[i] : NULL; }

const sr_gguf_kv *sr_gguf_find(const sr_gguf *g, const char *key)
{
    for (size_t lo = 0, hi = g->n_kv; lo < hi;) {
        size_t mid = lo + (hi - lo) / 2;
        int    d   = strcmp(key, g->kv_sorted[mid]->key);
        if (d == 0)
            return g->kv_sorted[mid];
        if (d < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

const sr_tensor *sr_gguf_tensor(const sr_gguf *g, const char *name)
{
    for (size_t lo = 0, hi = g->n_tensors; lo < hi;) {
        size_t mid = lo + (hi - lo) / 2;
        int    d   = strcmp(name, g->tensors_sorted[mid]->name);
        if (d == 0)
            return g->tensors_sorted[mid];
        if (d < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

/* ---- typed reads ---------------------------------------------------------------------------- */

static sr_status wrong_type(const sr_gguf *g, const sr_gguf_kv *kv, const char *want, sr_err *err)
{
    char shown[110];
    sr_escape(shown, sizeof shown, kv->key, strlen(kv->key));
    if (kv->type == SR_GGUF_ARRAY)
        return sr_raise(err, SR_INVALID, "%s: key \"%s\": its type is array of %s, must be %s", g->files[0].show, shown,
                        sr_gguf_type_name(kv->item), want);
    return sr_raise(err, SR_INVALID, "%s: key \"%s\": its type is %s, must be %s", g->files[0].show, shown,
                    sr_gguf_type_name(kv->type), want);
}

sr_status sr_gguf_u32(const sr_gguf *g, const char *key, uint32_t *out, sr_err *err)
{
    const sr_gguf_kv *kv = sr_gguf_find(g, key);
    if (!kv)
        return SR_OK;
    if (!is_int(kv->type))
        return wrong_type(g, kv, "an integer", err);
    int64_t v = sr_gguf_int_at(kv, 0); /* a u64 above INT64_MAX reads as negative: out of range as well */
    if (v < 0 || v > UINT32_MAX)
        return sr_raise(err, SR_INVALID, "%s: key \"%s\": value %" PRId64 " does not fit 32 bits unsigned",
                        g->files[0].show, key, v);
    *out = (uint32_t)v;
    return SR_OK;
}

sr_status sr_gguf_f32(const sr_gguf *g, const char *key, float *out, sr_err *err)
{
    const sr_gguf_kv *kv = sr_gguf_find(g, key);
    if (!kv)
        return SR_OK;
    if (kv->type != SR_GGUF_F32 && kv->type != SR_GGUF_F64)
        return wrong_type(g, kv, "f32 or f64", err);
    float v = sr_gguf_f32_at(kv, 0);
    if (!isfinite(v))
        return sr_raise(err, SR_INVALID, "%s: key \"%s\": value is not a finite number", g->files[0].show, key);
    *out = v;
    return SR_OK;
}

sr_status sr_gguf_bool(const sr_gguf *g, const char *key, bool *out, sr_err *err)
{
    const sr_gguf_kv *kv = sr_gguf_find(g, key);
    if (!kv)
        return SR_OK;
    if (kv->type != SR_GGUF_BOOL)
        return wrong_type(g, kv, "bool", err);
    *out = sr_gguf_int_at(kv, 0) != 0;
    return SR_OK;
}

sr_status sr_gguf_string(const sr_gguf *g, const char *key, sr_gguf_str *out, sr_err *err)
{
    const sr_gguf_kv *kv = sr_gguf_find(g, key);
    if (!kv)
        return SR_OK;
    if (kv->type != SR_GGUF_STRING)
        return wrong_type(g, kv, "string", err);
    *out = *kv->str;
    return SR_OK;
}

sr_status sr_gguf_array(const sr_gguf *g, const char *key, sr_gguf_type item, const sr_gguf_kv **out, sr_err *err)
{
    const sr_gguf_kv *kv = sr_gguf_find(g, key);
    *out                 = NULL;
    if (!kv)
        return SR_OK;
    if (kv->type != SR_GGUF_ARRAY || kv->item != item) {
        char want[40];
        snprintf(want, sizeof want, "array of %s", sr_gguf_type_name(item));
        return wrong_type(g, kv, want, err);
    }
    *out = kv;
    return SR_OK;
}

/* Values lie unaligned in the file: memcpy, never a cast pointer. */
#define AT(type)                                                        \
    do {                                                                \
        type v_;                                                        \
        memcpy(&v_, (const uint8_t *)kv->data + i * sizeof v_, sizeof v_); \
        return (int64_t)v_;                                             \
    } while (0)

int64_t sr_gguf_int_at(const sr_gguf_kv *kv, uint64_t i)
{
    SR_ASSERT(i < kv->n, "element %" PRIu64 " of %" PRIu64, i, kv->n);
    switch (kv->item) {
    case SR_GGUF_U8:
    case SR_GGUF_BOOL: AT(uint8_t);
    case SR_GGUF_I8: AT(int8_t);
    case SR_GGUF_U16: AT(uint16_t);
    case SR_GGUF_I16: AT(int16_t);
    case SR_GGUF_U32: AT(uint32_t);
    case SR_GGUF_I32: AT(int32_t);
    case SR_GGUF_U64:
    case SR_GGUF_I64: AT(int64_t);
    default: break;
    }
    SR_ASSERT(false, "key %s of type %s read as an integer", kv->key, sr_gguf_type_name(kv->item));
    return 0;
}

float sr_gguf_f32_at(const sr_gguf_kv *kv, uint64_t i)
{
    SR_ASSERT(i < kv->n, "element %" PRIu64 " of %" PRIu64, i, kv->n);
    SR_ASSERT(kv->item == SR_GGUF_F32 || kv->item == SR_GGUF_F64, "key %s of type %s read as a float", kv->key,
              sr_gguf_type_name(kv->item));
    if (kv->item == SR_GGUF_F32) {
        float v;
        memcpy(&v, (const uint8_t *)kv->data + i * sizeof v, sizeof v);
        return v;
    }
    double v;
    memcpy(&v, (const uint8_t *)kv->data + i * sizeof v, sizeof v);
    return (float)v;
}
