/* sample_internal.h - what the reference and the vector kernels of sampling share. */
#ifndef SR_OPS_SAMPLE_INTERNAL_H
#define SR_OPS_SAMPLE_INTERNAL_H
#include "ops/sample/sample.h"

/* Step 1 without the mask: penalties and biases of the listed tokens. */
void sr_sample_adjust(float *a, uint32_t vocab, const sr_sampdev *p, const void *blob);
#endif
