/* gguf_testkit.h - what the reader's tests share: walking an open file, files without a folder. */
#ifndef SR_FORMAT_GGUF_TESTKIT_H
#define SR_FORMAT_GGUF_TESTKIT_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "format/gguf_testfile.h"

static uint64_t sink; /* keeps reads from being optimised away */

/* Touches every byte that an open file hands out. */
static inline void read_everything(const sr_gguf *g)
{
    for (size_t i = 0; i < sr_gguf_n_kv(g); i++) {
        const sr_gguf_kv *kv = sr_gguf_kv_at(g, i);
        assert_ptr_equal(sr_gguf_find(g, kv->key), kv);
        for (uint64_t k = 0; k < kv->n; k++) {
            if (kv->str)
                for (size_t c = 0; c < kv->str[k].n; c++)
                    sink += (unsigned char)kv->str[k].p[c];
            else if (kv->item == SR_GGUF_F32 || kv->item == SR_GGUF_F64)
                sink += sr_gguf_f32_at(kv, k) > 0;
            else
                sink += (uint64_t)sr_gguf_int_at(kv, k);
        }
    }
    for (size_t i = 0; i < sr_gguf_n_tensors(g); i++) {
        const sr_tensor *t = sr_gguf_tensor_at(g, i);
        assert_ptr_equal(sr_gguf_tensor(g, t->name), t);
        assert_non_null(sr_dtype_info(t->dtype));
        for (uint64_t k = 0; k < t->bytes; k++)
            sink += ((const uint8_t *)t->data)[k];
    }
}

static inline void assert_one_printable_line(const char *msg)
{
    assert_true(strlen(msg) > 0 && strlen(msg) < 479);
    for (const char *p = msg; *p; p++)
        assert_true(*p >= 0x20 && *p < 0x7f);
}

/* The bytes as a file that has a path, without a directory to clean up. */
static inline int memory_file(const void *p, size_t n, char path[40])
{
    int fd = memfd_create("gguf-test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), (ssize_t)n);
    snprintf(path, 40, "/proc/self/fd/%d", fd);
    return fd;
}
#endif
