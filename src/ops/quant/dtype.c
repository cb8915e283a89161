#include "ops/quant/quant.h"
#include "base/mem.h"

#include <strings.h>

/* Every number ggml has given to a tensor type.  Those without a block size are known by name only, so
 * that a refusal can say "IQ2_XS" and not "16"; those ggml has withdrawn from files are named likewise. */
static const sr_dtypeinfo types[] = {
    [SR_F32]  = {"F32", 1, 4},
    [SR_F16]  = {"F16", 1, 2},
    [SR_Q4_0] = {"Q4_0", 32, sizeof(sr_q4_0)},
    [3]       = {"Q4_1", 0, 0},
    [4]       = {"Q4_2", 0, 0},
    [5]       = {"Q4_3", 0, 0},
    [6]       = {"Q5_0", 0, 0},
    [7]       = {"Q5_1", 0, 0},
    [SR_Q8_0] = {"Q8_0", 32, sizeof(sr_q8_0)},
    [9]       = {"Q8_1", 0, 0},
    [10]      = {"Q2_K", 0, 0},
    [11]      = {"Q3_K", 0, 0},
    [SR_Q4_K] = {"Q4_K", 256, sizeof(sr_q4_K)},
    [SR_Q5_K] = {"Q5_K", 256, sizeof(sr_q5_K)},
    [SR_Q6_K] = {"Q6_K", 256, sizeof(sr_q6_K)},
    [SR_Q8_K] = {"Q8_K", 256, sizeof(sr_q8_K)},
    [16]      = {"IQ2_XXS", 0, 0},
    [17]      = {"IQ2_XS", 0, 0},
    [18]      = {"IQ3_XXS", 0, 0},
    [19]      = {"IQ1_S", 0, 0},
    [20]      = {"IQ4_NL", 0, 0},
    [21]      = {"IQ3_S", 0, 0},
    [22]      = {"IQ2_S", 0, 0},
    [23]      = {"IQ4_XS", 0, 0},
    [24]      = {"I8", 0, 0},
    [25]      = {"I16", 0, 0},
    [SR_I32]  = {"I32", 1, 4},
    [27]      = {"I64", 0, 0},
    [28]      = {"F64", 0, 0},
    [29]      = {"IQ1_M", 0, 0},
    [SR_BF16] = {"BF16", 1, 2},
    [31]      = {"Q4_0_4_4", 0, 0},
    [32]      = {"Q4_0_4_8", 0, 0},
    [33]      = {"Q4_0_8_8", 0, 0},
    [34]      = {"TQ1_0", 0, 0},
    [35]      = {"TQ2_0", 0, 0},
    [36]      = {"IQ4_NL_4_4", 0, 0},
    [37]      = {"IQ4_NL_4_8", 0, 0},
    [38]      = {"IQ4_NL_8_8", 0, 0},
    [39]      = {"MXFP4", 0, 0},
    [40]      = {"NVFP4", 0, 0},
    [41]      = {"Q1_0", 0, 0},
    [42]      = {"Q2_0", 0, 0},
};

_Static_assert(sizeof(sr_q4_0) == 18 && sizeof(sr_q8_0) == 34 && sizeof(sr_q4_K) == 144, "file layout");
_Static_assert(sizeof(sr_q5_K) == 176 && sizeof(sr_q6_K) == 210 && sizeof(sr_q8_K) == 292, "file layout");

const sr_dtypeinfo *sr_dtype_info(uint32_t dtype)
{
    return dtype < SR_COUNT(types) && types[dtype].block ? &types[dtype] : NULL;
}

const char *sr_dtype_name(uint32_t dtype)
{
    return dtype < SR_COUNT(types) ? types[dtype].name : NULL;
}

bool sr_dtype_parse(const char *name, sr_dtype *out)
{
    for (uint32_t t = 0; t < SR_COUNT(types); t++) {
        if (types[t].block && strcasecmp(types[t].name, name) == 0) {
            *out = (sr_dtype)t;
            return true;
        }
    }
    return false;
}

size_t sr_row_bytes(uint32_t dtype, size_t n)
{
    const sr_dtypeinfo *t = sr_dtype_info(dtype);
    return t ? n / t->block * t->bytes : 0;
}
