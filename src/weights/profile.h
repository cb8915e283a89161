/* profile.h - a machine in figures: what its memory, its buses and its arithmetic give, so that a plan can be made anywhere.
 *
 *     {"profile": 2, "name": "t4", "source": "estimated ...", "date": "2026-11-21", "reference": "...",
 *      "device":   {"name": "Tesla T4", "arch": 75, "vram_bytes": .., "dev_read_gbs": 250, "h2d_gbs": 12.3,
 *                   "gemv_gbs": {"Q4_K": {"1": 200, "8": 180}}, "gemm_tflops": {"Q4_K": {"512": 30}} ..},
 *      "together": {"h2d_gbs": 12, "cpu_gbs": 40, "threads": 8},
 *      "host":     {"cores": 8, "ram_bytes": .., "dram_read_gbs": {"1": 12, "8": 60}, "cpu_gemv_gbs": {"Q4_K": {"1": 8, "8": 45}} ..}}
 *
 * The unit of a field is in its name: gbs are 1e9 bytes a second.  A table over threads or rows of x is a curve.  A machine
 * without a device has no "device"; what was not measured is absent, never 0.  docs/PLAN.md explains every field.
 *
 * Between two points of a curve over threads the rate is interpolated, over rows the time; before the first it grows in
 * proportion (threads) or is that of the first, behind the last it is that of the last.  A format without a curve takes the
 * one with the nearest bits per weight; sr_profile_borrowed() tells.
 *
 * Owns:    plain data.   Threads: any.
 * Errors:  SR_INVALID: field, value and what would be right; a field that is not known, missing or given twice.  SR_IO: the file.
 */
#ifndef SR_WEIGHTS_PROFILE_H
#define SR_WEIGHTS_PROFILE_H
#include <stdbool.h>
#include "base/buf.h"
#include "weights/plan.h"

enum { SR_PROFILE_SIZES = 3, SR_PROFILE_VERSION = 2, SR_CURVE_POINTS = 16, SR_CURVES = 10, SR_PROFILE_BYTES = 65536 };

typedef struct { uint32_t at; double v; } sr_curvepoint;   /* threads or rows; bytes/s or flops/s */
typedef struct { uint32_t format, n; sr_curvepoint p[SR_CURVE_POINTS]; } sr_curve; /* `at` grows */
typedef struct { uint32_t n; sr_curve c[SR_CURVES]; } sr_curves;

typedef struct {                      /* bytes, bytes/s, flops/s, seconds; 0 or empty: not known */
    char name[64], source[96], date[16], reference[400];
    struct {
        char      name[64], driver[32];
        uint32_t  arch, units;        /* arch 0: there is no device */
        uint64_t  vram;
        double    read, copy, h2d, d2h, zero_copy, kv, attn, op, sync; /* copy: read + written; kv, attn: attention reading, and its flops; op: the shortest */
        double    f16, int8;          /* operations/s of the matrix units */
        sr_curves gemv, gemm;         /* over rows of x: bytes of weights; flops, of matrices of 4096 x 14336 */
        sr_curve  by_size[SR_PROFILE_SIZES], by_tokens; /* gemm in Q4_K of other sizes (sr_profile_size()); attn's flops over tokens of a prompt */
        sr_curve  small;              /* gemv in Q4_K of 4096 x 4096, where gemv is of 4096 x 14336; with it both are of products with their launches */
    } dev;
    struct {
        double   h2d, cpu; uint32_t threads; /* a copy to the device while the CPU multiplies */
        sr_curve by_h2d, by_cpu, by_read, by_alone; /* over threads; by_read: plain reads beside the copy; by_alone: products without it, whole passes */
        sr_curves rows;               /* products of few rows beside the copy, whole passes, all threads */
    } together;
    struct {
        char      name[64], isa[16], disk[160];             /* disk: what nvme was read from, or why it was not */
        uint32_t  cores;
        uint64_t  ram;
        sr_curve  dram;               /* over threads */
        sr_curves gemv, rows, gemm;   /* over threads, one row; over rows, all cores; over threads, many rows */
        sr_curves gemv_f32, rows_f32, gemm_f32; /* the same of weights in blocks and activations in f32 (profile_as.h) */
        double    kv, attn, op, nvme;
    } host;
} sr_profile;

SR_MUSTUSE sr_status sr_profile_parse(const char *text, size_t n, sr_profile *out, sr_err *err);
SR_MUSTUSE sr_status sr_profile_read(const char *path, sr_profile *out, sr_err *err);
SR_MUSTUSE sr_status sr_profile_check(const sr_profile *p, sr_err *err); /* what parse() asks of the figures together */
void sr_profile_write(const sr_profile *p, sr_buf *out);                 /* reads back the same, but for the last digits */

double    sr_curve_threads(const sr_curve *c, uint32_t threads);
double    sr_curve_rows(const sr_curve *c, uint32_t rows);
sr_curve *sr_curves_add(sr_curves *c, uint32_t format);                  /* NULL: full */
void      sr_curve_put(sr_curve *c, uint32_t at, double v);              /* in any order; ignored when full */

/* Products of many rows are slower the smaller they are: their rate against that of 4096 x 14336; 1 where it was not measured. */
double sr_profile_size(const sr_profile *p, double params, uint32_t rows);
double sr_profile_attn(const sr_profile *p, uint32_t tokens);            /* of a device, for a prompt; 0: not known */
/* The machine as a plan wants it.  threads 0: all cores. */
void sr_profile_hw(const sr_profile *p, uint32_t threads, sr_hw *out);
/* What weights of a format go at in a step of so many tokens; 0: not known. */
typedef struct { double dev_read, dev_flops, cpu_read, cpu_flops, cpu_beside; } sr_formatrates; /* cpu_beside: while a copy goes on */
/* Seconds that a device's product of so few rows takes beside what goes with its size: its launch or its part of one, x made ready, the first weights
 * waited for, sums joined.  Products of two sizes tell it; dev_read then leaves it out, and no launch is counted beside it.  False, 0: not known. */
bool sr_profile_ends(const sr_profile *p, uint32_t tokens, double *s);
/* Whether a device takes norms and gated units with the product behind them, in one launch, in steps of few tokens. */
bool sr_profile_joins(const sr_profile *p);
sr_formatrates sr_profile_rates(const sr_profile *p, uint32_t threads, uint32_t format, uint32_t tokens);
uint32_t sr_profile_borrowed(const sr_profile *p, bool device, uint32_t format); /* the format whose figures stand in; `format`: its own */
#endif
