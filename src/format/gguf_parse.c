/* One file's header, front to back.  Rules: no byte is read before need() has said that it is inside the
 * file and the header limit; no count is believed before the file is known to be long enough to hold that
 * many of the smallest possible items; all sizes by checked arithmetic.
 */
#include "format/gguf_internal.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MIN_KV     = 8 + 1 + 4 + 1,          /* key of one byte, type, a u8 */
    MIN_TENSOR = 8 + 1 + 4 + 8 + 4 + 8,  /* name of one byte, one dimension */
};

typedef struct {
    sr_gguf_bytes *f;
    sr_arena      *arena;
    sr_err        *err;
    uint64_t       at;
    uint64_t       n_strings;  /* in arrays, so far */
    char           what[200];  /* what is being read, for messages: key "general.name" */
} cursor;

#define FAIL(c, status, ...) fail(c, status, __LINE__, __VA_ARGS__)
static sr_status fail(cursor *c, sr_status s, int line, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static sr_status fail(cursor *c, sr_status s, int line, const char *fmt, ...)
{
    char    text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return sr_raise_(c->err, __FILE__, line, s, "%s: %s%s%s", c->f->show, c->what, *c->what ? ": " : "", text);
}

static sr_status nomem(cursor *c, size_t n, size_t size)
{
    return FAIL(c, SR_NOMEM, "host memory for %zu items of %zu bytes", n, size);
}

/* The next n bytes are there, and are ours to read. */
static sr_status need(cursor *c, uint64_t n)
{
    if (n > c->f->size - c->at)
        return FAIL(c, SR_INVALID, "truncated: needs %" PRIu64 " bytes at offset %" PRIu64 ", the file ends at %" PRIu64,
                    n, c->at, c->f->size);
    if (n > SR_GGUF_MAX_HEADER - SR_MIN(c->at, (uint64_t)SR_GGUF_MAX_HEADER))
        return FAIL(c, SR_INVALID, "metadata of more than %d bytes (%" PRIu64 " at offset %" PRIu64 ")",
                    (int)SR_GGUF_MAX_HEADER, n, c->at);
    return sr_gguf_bytes_own(c->f, c->at + n, c->err);
}

static sr_status get(cursor *c, void *out, size_t n)
{
    sr_status s = need(c, n);
    if (s)
        return s;
    memcpy(out, c->f->base + c->at, n);
    c->at += n;
    return SR_OK;
}

static sr_status get_u32(cursor *c, uint32_t *out) { return get(c, out, sizeof *out); }
static sr_status get_u64(cursor *c, uint64_t *out) { return get(c, out, sizeof *out); }

static sr_status get_str(cursor *c, uint64_t limit, sr_gguf_str *out)
{
    uint64_t  n = 0;
    sr_status s = get_u64(c, &n);
    if (s)
        return s;
    if (n > limit)
        return FAIL(c, SR_INVALID, "string of %" PRIu64 " bytes at offset %" PRIu64 ", the limit is %" PRIu64, n,
                    c->at - 8, limit);
    if ((s = need(c, n)))
        return s;
    *out = (sr_gguf_str){(const char *)c->f->base + c->at, (size_t)n};
    c->at += n;
    return SR_OK;
}

/* Keys and tensor names: short, not empty, printable, so that a C string holds them and a log shows them. */
static sr_status get_name(cursor *c, const char *noun, uint64_t index, uint64_t limit, const char **out)
{
    sr_gguf_str str;
    char        shown[110];
    snprintf(c->what, sizeof c->what, "%s %" PRIu64, noun, index);
    sr_status s = get_str(c, limit, &str);
    if (s)
        return s;
    if (str.n == 0)
        return FAIL(c, SR_INVALID, "its name is empty");
    snprintf(c->what, sizeof c->what, "%s \"%s\"", noun, sr_escape(shown, sizeof shown, str.p, str.n));
    for (size_t i = 0; i < str.n; i++)
        if ((unsigned char)str.p[i] < 0x20 || str.p[i] == 0x7f)
            return FAIL(c, SR_INVALID, "its name has the control byte 0x%02x at position %zu", (unsigned char)str.p[i], i);
    *out = sr_arena_strndup(c->arena, str.p, str.n);
    return *out ? SR_OK : nomem(c, str.n, 1);
}

static const struct {
    const char *name;
    uint8_t     bytes;
} value_types[SR_GGUF_TYPES] = {
    [SR_GGUF_U8] = {"u8", 1},         [SR_GGUF_I8] = {"i8", 1},        [SR_GGUF_U16] = {"u16", 2},
    [SR_GGUF_I16] = {"i16", 2},       [SR_GGUF_U32] = {"u32", 4},      [SR_GGUF_I32] = {"i32", 4},
    [SR_GGUF_F32] = {"f32", 4},       [SR_GGUF_BOOL] = {"bool", 1},    [SR_GGUF_STRING] = {"string", 0},
    [SR_GGUF_ARRAY] = {"array", 0},   [SR_GGUF_U64] = {"u64", 8},      [SR_GGUF_I64] = {"i64", 8},
    [SR_GGUF_F64] = {"f64", 8},
};

const char *sr_gguf_type_name(uint32_t type) { return type < SR_GGUF_TYPES ? value_types[type].name : "unknown"; }

size_t sr_gguf_type_bytes(uint32_t type) { return type < SR_GGUF_TYPES ? value_types[type].bytes : 0; }

static sr_status get_strings(cursor *c, sr_gguf_kv *kv)
{
    if (kv->n > (c->f->size - c->at) / 8)
        return FAIL(c, SR_INVALID, "truncated: %" PRIu64 " strings at offset %" PRIu64 ", the file ends at %" PRIu64,
                    kv->n, c->at, c->f->size);
    c->n_strings += kv->n;
    if (c->n_strings > SR_GGUF_MAX_STRINGS)
        return FAIL(c, SR_INVALID, "%" PRIu64 " strings in arrays, the limit is %d", c->n_strings,
                    (int)SR_GGUF_MAX_STRINGS);
    sr_gguf_str *str = sr_arena_zalloc(c->arena, (size_t)kv->n, sizeof *str);
    if (!str)
        return nomem(c, (size_t)kv->n, sizeof *str);
    for (uint64_t i = 0; i < kv->n; i++) {
        sr_status s = get_str(c, SR_GGUF_MAX_STRING, &str[i]);
        if (s)
            return s;
    }
    kv->str = str;
    return SR_OK;
}

/* n values of one scalar type, left where they are. */
static sr_status get_values(cursor *c, uint32_t type, uint64_t n, const void **data)
{
    uint64_t bytes;
    if (__builtin_mul_overflow(n, (uint64_t)sr_gguf_type_bytes(type), &bytes))
        return FAIL(c, SR_INVALID, "array of %" PRIu64 " %s: its size overflows", n, sr_gguf_type_name(type));
    sr_status s = need(c, bytes);
    if (s)
        return s;
    const uint8_t *p = c->f->base + c->at;
    for (uint64_t i = 0; type == SR_GGUF_BOOL && i < n; i++)
        if (p[i] > 1)
            return FAIL(c, SR_INVALID, "bool value %u at offset %" PRIu64 ", only 0 and 1 are valid", p[i], c->at + i);
    *data = p;
    c->at += bytes;
    return SR_OK;
}

static sr_status get_array(cursor *c, sr_gguf_kv *kv)
{
    uint32_t  item = 0;
    sr_status s    = get_u32(c, &item);
    if (s || (s = get_u64(c, &kv->n)))
        return s;
    if (item == SR_GGUF_ARRAY)
        return FAIL(c, SR_UNSUPPORTED, "array of arrays");
    if (item >= SR_GGUF_TYPES)
        return FAIL(c, SR_INVALID, "array of unknown type %u", item);
    kv->item = (sr_gguf_type)item;
    return item == SR_GGUF_STRING ? get_strings(c, kv) : get_values(c, item, kv->n, &kv->data);
}

static sr_status get_kv(cursor *c, uint32_t index, sr_gguf_kv *kv)
{
    uint32_t  type = 0;
    sr_status s    = get_name(c, "key", index, SR_GGUF_MAX_KEY, &kv->key);
    if (s || (s = get_u32(c, &type)))
        return s;
    if (type >= SR_GGUF_TYPES)
        return FAIL(c, SR_INVALID, "unknown value type %u", type);
    kv->type = kv->item = (sr_gguf_type)type;
    kv->n    = 1;
    if (type == SR_GGUF_ARRAY)
        return get_array(c, kv);
    if (type != SR_GGUF_STRING)
        return get_values(c, type, 1, &kv->data);
    sr_gguf_str *str = sr_arena_alloc(c->arena, sizeof *str);
    if (!str)
        return nomem(c, 1, sizeof *str);
    kv->str = str;
    return get_str(c, SR_GGUF_MAX_STRING, str);
}

/* Shape and type are possible: nothing here depends on where the data lies. */
static sr_status check_shape(cursor *c, sr_tensor *t)
{
    const sr_dtypeinfo *d = sr_dtype_info(t->dtype);
    if (!sr_dtype_name(t->dtype))
        return FAIL(c, SR_INVALID, "unknown tensor type %u", t->dtype);
    if (!d)
        return FAIL(c, SR_UNSUPPORTED, "tensor type %s (%u) is not supported", sr_dtype_name(t->dtype), t->dtype);
    uint64_t n = 1;
    for (uint32_t i = 0; i < t->n_dims; i++) {
        if (t->ne[i] == 0 || t->ne[i] > (uint64_t)1 << 40)
            return FAIL(c, SR_INVALID, "dimension %u is %" PRIu64 ", valid are 1 to 2^40", i, t->ne[i]);
        if (__builtin_mul_overflow(n, t->ne[i], &n))
            return FAIL(c, SR_INVALID, "the product of its %u dimensions overflows", t->n_dims);
    }
    if (t->ne[0] % d->block)
        return FAIL(c, SR_INVALID, "rows of %" PRIu64 " are not whole %s blocks of %u", t->ne[0], d->name, d->block);
    if (__builtin_mul_overflow(n / d->block, (uint64_t)d->bytes, &t->bytes))
        return FAIL(c, SR_INVALID, "its size overflows (%" PRIu64 " numbers of %s)", n, d->name);
    return SR_OK;
}

/* Reads one tensor entry; t->offset is still relative to the data section. */
static sr_status get_tensor(cursor *c, uint32_t index, sr_tensor *t)
{
    sr_status s = get_name(c, "tensor", index, SR_GGUF_MAX_NAME, &t->name);
    if (s || (s = get_u32(c, &t->n_dims)))
        return s;
    if (t->n_dims < 1 || t->n_dims > 4)
        return FAIL(c, SR_INVALID, "%u dimensions, valid are 1 to 4", t->n_dims);
    for (uint32_t i = 0; i < 4; i++) {
        t->ne[i] = 1;
        if (i < t->n_dims && (s = get_u64(c, &t->ne[i])))
            return s;
    }
    if ((s = get_u32(c, &t->dtype)) || (s = get_u64(c, &t->offset)))
        return s;
    return check_shape(c, t);
}

static sr_status get_alignment(cursor *c, const sr_gguf_kv **sorted, size_t n, uint32_t *out)
{
    *out = 32;
    for (size_t i = 0; i < n; i++) {
        const sr_gguf_kv *kv = sorted[i];
        if (strcmp(kv->key, "general.alignment") != 0)
            continue;
        snprintf(c->what, sizeof c->what, "key \"%s\"", kv->key);
        if (kv->type != SR_GGUF_U32)
            return FAIL(c, SR_INVALID, "its type is %s, must be u32", sr_gguf_type_name(kv->type));
        memcpy(out, kv->data, 4);
        if (*out < 8 || *out > 65536 || (*out & (*out - 1)))
            return FAIL(c, SR_INVALID, "alignment %u, valid are powers of two from 8 to 65536", *out);
    }
    return SR_OK;
}

static void name_tensor(cursor *c, const sr_tensor *t)
{
    char shown[110];
    snprintf(c->what, sizeof c->what, "tensor \"%s\"", sr_escape(shown, sizeof shown, t->name, strlen(t->name)));
}

static int by_offset(const void *a, const void *b)
{
    const sr_tensor *x = *(const sr_tensor *const *)a, *y = *(const sr_tensor *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Every byte range is aligned, inside the file, and nobody else's.  Sets offset and data. */
static sr_status place_tensors(cursor *c, sr_gguf_part *p, uint32_t align)
{
    uint64_t data = (c->at + align - 1) / align * align; /* at <= MAX_HEADER: cannot wrap */
    for (uint32_t i = 0; i < p->n_tensors; i++) {
        sr_tensor *t = &p->tensors[i];
        uint64_t   end;
        name_tensor(c, t);
        if (t->offset % align)
            return FAIL(c, SR_INVALID, "offset %" PRIu64 " is not a multiple of the alignment %u", t->offset, align);
        if (__builtin_add_overflow(data, t->offset, &t->offset) || __builtin_add_overflow(t->offset, t->bytes, &end))
            return FAIL(c, SR_INVALID, "offset plus size overflows (%" PRIu64 " bytes)", t->bytes);
        if (end > c->f->size)
            return FAIL(c, SR_INVALID, "%" PRIu64 " bytes at offset %" PRIu64 ", but the file ends at %" PRIu64, t->bytes,
                        t->offset, c->f->size);
        t->data = c->f->base + t->offset;
    }
    const sr_tensor **order = sr_arena_zalloc(c->arena, p->n_tensors, sizeof *order);
    if (!order)
        return nomem(c, p->n_tensors, sizeof *order);
    for (uint32_t i = 0; i < p->n_tensors; i++)
        order[i] = &p->tensors[i];
    qsort(order, p->n_tensors, sizeof *order, by_offset);
    for (uint32_t i = 1; i < p->n_tensors; i++) {
        if (order[i - 1]->offset + order[i - 1]->bytes > order[i]->offset) {
            char shown[110];
            name_tensor(c, order[i]);
            return FAIL(c, SR_INVALID, "overlaps tensor \"%s\" at offset %" PRIu64,
                        sr_escape(shown, sizeof shown, order[i - 1]->name, strlen(order[i - 1]->name)),
                        order[i]->offset);
        }
    }
    return SR_OK;
}

static sr_status get_header(cursor *c, uint64_t *n_tensors, uint64_t *n_kv)
{
    uint32_t  version = 0;
    sr_status s       = need(c, 4);
    if (s)
        return s;
    if (memcmp(c->f->base, "GGUF", 4) != 0) {
        char shown[24];
        return FAIL(c, SR_INVALID, "not a GGUF file: begins with \"%s\"",
                    sr_escape(shown, sizeof shown, (const char *)c->f->base, 4));
    }
    c->at = 4;
    if ((s = get_u32(c, &version)))
        return s;
    if (version && (version & 0xffff) == 0)
        return FAIL(c, SR_UNSUPPORTED, "big-endian GGUF (version %u) is not supported", __builtin_bswap32(version));
    if (version == 1)
        return FAIL(c, SR_UNSUPPORTED, "GGUF version 1 is not supported: convert the file to version 3");
    if (version != 2 && version != 3) /* 2 has the same layout, little-endian by definition */
        return FAIL(c, version > 3 ? SR_UNSUPPORTED : SR_INVALID, "GGUF version %u, known are 2 and 3", version);
    if ((s = get_u64(c, n_tensors)) || (s = get_u64(c, n_kv)))
        return s;
    uint64_t left = c->f->size - c->at;
    if (*n_kv > SR_GGUF_MAX_KV)
        return FAIL(c, SR_INVALID, "%" PRIu64 " metadata keys, the limit is %d", *n_kv, (int)SR_GGUF_MAX_KV);
    if (*n_tensors > SR_GGUF_MAX_TENSORS)
        return FAIL(c, SR_INVALID, "%" PRIu64 " tensors, the limit is %d", *n_tensors, (int)SR_GGUF_MAX_TENSORS);
    if (*n_kv * MIN_KV + *n_tensors * MIN_TENSOR > left)
        return FAIL(c, SR_INVALID, "truncated: %" PRIu64 " keys and %" PRIu64 " tensors cannot fit in %" PRIu64 " bytes",
                    *n_kv, *n_tensors, left);
    return SR_OK;
}

static int kv_by_key(const void *a, const void *b)
{
    return strcmp((*(const sr_gguf_kv *const *)a)->key, (*(const sr_gguf_kv *const *)b)->key);
}

static int tensor_by_name(const void *a, const void *b)
{
    return strcmp((*(const sr_tensor *const *)a)->name, (*(const sr_tensor *const *)b)->name);
}

const sr_gguf_kv **sr_gguf_sort_kv(sr_arena *arena, const sr_gguf_kv *kv, size_t n)
{
    const sr_gguf_kv **v = sr_arena_zalloc(arena, n, sizeof *v);
    for (size_t i = 0; v && i < n; i++)
        v[i] = &kv[i];
    if (v)
        qsort(v, n, sizeof *v, kv_by_key);
    return v;
}

const sr_tensor **sr_gguf_sort_tensors(sr_arena *arena, const sr_tensor *t, size_t n)
{
    const sr_tensor **v = sr_arena_zalloc(arena, n, sizeof *v);
    for (size_t i = 0; v && i < n; i++)
        v[i] = &t[i];
    if (v)
        qsort(v, n, sizeof *v, tensor_by_name);
    return v;
}

static sr_status get_metadata(cursor *c, sr_gguf_part *out, uint32_t *align)
{
    sr_status s;
    if (!(out->kv = sr_arena_zalloc(c->arena, out->n_kv, sizeof *out->kv)))
        return nomem(c, out->n_kv, sizeof *out->kv);
    for (uint32_t i = 0; i < out->n_kv; i++)
        if ((s = get_kv(c, i, &out->kv[i])))
            return s;
    c->what[0]                = 0;
    const sr_gguf_kv **sorted = sr_gguf_sort_kv(c->arena, out->kv, out->n_kv);
    if (!sorted)
        return nomem(c, out->n_kv, sizeof *sorted);
    for (uint32_t i = 1; i < out->n_kv; i++) {
        if (strcmp(sorted[i - 1]->key, sorted[i]->key) == 0) {
            char shown[110];
            return FAIL(c, SR_INVALID, "duplicate key \"%s\"",
                        sr_escape(shown, sizeof shown, sorted[i]->key, strlen(sorted[i]->key)));
        }
    }
    return get_alignment(c, sorted, out->n_kv, align);
}

sr_status sr_gguf_parse(sr_gguf_bytes *f, uint32_t index, sr_arena *arena, sr_gguf_part *out, sr_err *err)
{
    cursor    c = {.f = f, .arena = arena, .err = err};
    uint64_t  n_tensors = 0, n_kv = 0;
    uint32_t  align = 0;
    sr_status s     = get_header(&c, &n_tensors, &n_kv);
    if (s)
        return s;
    *out = (sr_gguf_part){.n_kv = (uint32_t)n_kv, .n_tensors = (uint32_t)n_tensors};
    if ((s = get_metadata(&c, out, &align)))
        return s;
    c.what[0] = 0;
    if (!(out->tensors = sr_arena_zalloc(arena, out->n_tensors, sizeof *out->tensors)))
        return nomem(&c, out->n_tensors, sizeof *out->tensors);
    for (uint32_t i = 0; i < out->n_tensors; i++) {
        out->tensors[i].file = index;
        if ((s = get_tensor(&c, i, &out->tensors[i])))
            return s;
    }
    return place_tensors(&c, out, align);
}
