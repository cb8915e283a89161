/* act.cuh - the activations of a gated unit on the device, of the reference's bits where compiled with -fmad=false. */
#ifndef SR_OPS_GLU_ACT_CUH
#define SR_OPS_GLU_ACT_CUH
#include "ops/mathf.h"

static __device__ inline float sr_silu(float g) { return g / (1.0f + sr_expf(-g)); }

static __device__ inline float sr_gelu(float g)
{
    float u = 0.79788456f * fmaf(0.044715f * g * g, g, g);
    return 0.5f * g * (1.0f + sr_tanhf(u));
}
#endif
