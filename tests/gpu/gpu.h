/* gpu.h - the tests that need a CUDA device: a program of their own, without libraries, so that it can be carried to one.
 *
 *     strata-test-gpu [NAME]..    every test, or those whose name contains a NAME; exit status 1 if one fails
 *
 * An op is described by the same kit as on the CPU (ops/testkit.h); gpu_run() mirrors it on the device.
 */
#ifndef SR_TESTS_GPU_H
#define SR_TESTS_GPU_H
#include <stdio.h>
#include "backend/backend.h"
#include "ops/testkit.h"

extern const sr_backend sr_backend_cuda;

typedef struct { const char *name; void (*run)(void); } gpu_test;
extern const gpu_test gpu_op_tests[], gpu_model_tests[], gpu_alone_tests[], gpu_offload_tests[], gpu_transit_tests[], gpu_timing_tests[], gpu_device_tests[]; /* closed by a NULL name */

/* A failed check is reported and counted; the test goes on only where that makes sense. */
void gpu_fail(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#define CHECK(cond, ...) ((cond) ? true : (gpu_fail(__FILE__, __LINE__, "" __VA_ARGS__), false))
void gpu_say(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* a figure, behind the test's name */

enum { GPU_REPEAT = 64 };
sr_dev *gpu_device(void);     /* opened once, device 0 */
void gpu_device_close(void);  /* opened again when next asked for */
uint64_t gpu_rounding(void);  /* what a budget must have beyond what a model's pieces of memory are, at most */
int gpu_lose_device(void); /* device.c: other processes of tests */
int gpu_first_steps(bool warmup);

typedef struct {
    size_t sampling_bytes, kv_bytes;
    bool   tiles;             /* weights packed where the device has tiles for them */
    void  *out[8];            /* slots that come back, here */
    char  *kv;                /* the pages afterwards; NULL: not wanted */
    uint32_t times;           /* > 0: runs so often and sets ns, of one run */
    uint32_t repeat;          /* > 0: the program is so many of the op, and ns is that of one of them */
    const sr_op *ops;         /* NULL, or the program is these instead */
    uint32_t n_ops;
    bool apart;               /* a submit for each op, not one for all */
    double ns;
} gpu_run_args;
bool gpu_run(kit *k, gpu_run_args *a); /* false: it failed, and said so */
void *gpu_weights(kit *k, uint16_t format, uint32_t rows, uint32_t cols, uint64_t *s); /* of random rows; the kit's */
#endif
