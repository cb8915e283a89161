/* gguf_testfile.h - GGUF bytes, right or wrong, for tests: plain appends, nothing is checked. */
#ifndef SR_FORMAT_GGUF_TESTFILE_H
#define SR_FORMAT_GGUF_TESTFILE_H
#include <string.h>
#include "base/buf.h"
#include "format/gguf.h"

static inline void put_u8(sr_buf *b, uint8_t v) { sr_buf_add(b, &v, 1); }
static inline void put_u32(sr_buf *b, uint32_t v) { sr_buf_add(b, &v, 4); }
static inline void put_u64(sr_buf *b, uint64_t v) { sr_buf_add(b, &v, 8); }
static inline void put_f32(sr_buf *b, float v) { sr_buf_add(b, &v, 4); }

static inline void put_str(sr_buf *b, const char *s)
{
    put_u64(b, strlen(s));
    sr_buf_str(b, s);
}

static inline void put_head(sr_buf *b, uint32_t version, uint64_t n_tensors, uint64_t n_kv)
{
    sr_buf_str(b, "GGUF");
    put_u32(b, version);
    put_u64(b, n_tensors);
    put_u64(b, n_kv);
}

static inline void put_key(sr_buf *b, const char *key, uint32_t type)
{
    put_str(b, key);
    put_u32(b, type);
}

static inline void put_kv_u32(sr_buf *b, const char *key, uint32_t v)
{
    put_key(b, key, SR_GGUF_U32);
    put_u32(b, v);
}

static inline void put_kv_str(sr_buf *b, const char *key, const char *v)
{
    put_key(b, key, SR_GGUF_STRING);
    put_str(b, v);
}

static inline void put_array(sr_buf *b, const char *key, uint32_t item, uint64_t n)
{
    put_key(b, key, SR_GGUF_ARRAY);
    put_u32(b, item);
    put_u64(b, n);
}

/* dims: n_dims numbers; offset relative to the data section */
static inline void put_tensor(sr_buf *b, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type,
                              uint64_t offset)
{
    put_str(b, name);
    put_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        put_u64(b, dims[i]);
    put_u32(b, type);
    put_u64(b, offset);
}

static inline void put_pad(sr_buf *b, size_t align)
{
    while (b->n % align)
        put_u8(b, 0);
}

static inline void put_data(sr_buf *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put_u8(b, (uint8_t)(i * 37 + 11));
}

/* A valid file with every value type, arrays, and three tensors; ends with the last tensor's last byte. */
static inline void put_sample(sr_buf *b)
{
    put_head(b, 3, 3, 21);
    put_kv_str(b, "general.architecture", "llama");
    put_kv_u32(b, "general.alignment", 64);
    put_key(b, "t.u8", SR_GGUF_U8), put_u8(b, 200);
    put_key(b, "t.i8", SR_GGUF_I8), put_u8(b, 0x9c);
    put_key(b, "t.u16", SR_GGUF_U16), sr_buf_add(b, &(uint16_t){60000}, 2);
    put_key(b, "t.i16", SR_GGUF_I16), sr_buf_add(b, &(int16_t){-30000}, 2);
    put_key(b, "t.u32", SR_GGUF_U32), put_u32(b, 4000000000u);
    put_key(b, "t.i32", SR_GGUF_I32), put_u32(b, (uint32_t)-5);
    put_key(b, "t.f32", SR_GGUF_F32), put_f32(b, 1.5f);
    put_key(b, "t.bool", SR_GGUF_BOOL), put_u8(b, 1);
    put_key(b, "t.u64", SR_GGUF_U64), put_u64(b, 1ull << 40);
    put_key(b, "t.i64", SR_GGUF_I64), put_u64(b, (uint64_t)-7);
    put_key(b, "t.f64", SR_GGUF_F64), sr_buf_add(b, &(double){0.25}, 8);
    put_array(b, "a.str", SR_GGUF_STRING, 3), put_str(b, "one"), put_str(b, ""), put_str(b, "thr\xff""e");
    put_array(b, "a.f32", SR_GGUF_F32, 2), put_f32(b, -1), put_f32(b, 2);
    put_array(b, "a.i32", SR_GGUF_I32, 3), put_u32(b, 1), put_u32(b, (uint32_t)-2), put_u32(b, 3);
    put_array(b, "a.bool", SR_GGUF_BOOL, 2), put_u8(b, 0), put_u8(b, 1);
    put_array(b, "a.u8", SR_GGUF_U8, 5), sr_buf_str(b, "hello");
    put_array(b, "a.empty", SR_GGUF_U64, 0);
    put_array(b, "a.nostr", SR_GGUF_STRING, 0);
    put_kv_str(b, "empty", "");
    put_tensor(b, "token_embd.weight", 2, (uint64_t[]){64, 3}, SR_Q8_0, 0);         /* 204 bytes */
    put_tensor(b, "output_norm.weight", 1, (uint64_t[]){5}, SR_F32, 256);           /* 20 */
    put_tensor(b, "blk.0.w", 4, (uint64_t[]){256, 1, 2, 1}, SR_Q4_K, 320);          /* 288 */
    put_pad(b, 64);
    put_data(b, 320 + 288);
}
#endif
