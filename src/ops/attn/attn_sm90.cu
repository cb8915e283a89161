/* attn_sm90: the host's side of attention on sm_90: the tensor map over the pages, sizes of the launch. */
#include "ops/attn/attn_mma.h"
#include "ops/cuda_driver.h"

typedef CUresult (*encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *, const cuuint64_t *,
                              const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                              CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/* The pool as one matrix: a row per (page, layer, K or V, head, position), head size wide. */
bool sr_attn_sm90_map(sr_attnmma *a, uint32_t hd, CUtensorMap *map)
{
    const sr_kvstride *s = &a->kv.stride;
    size_t row           = s->tok;
    if (a->kv.format_k != SR_F16 || a->kv.format_v != SR_F16 || row != (size_t)hd * 2 || row % 16 || s->page % row || s->layer % row ||
        s->kv % row || s->head % row || (size_t)a->kv.base % 16 || s->page / row > UINT32_MAX)
        return false;
    a->rows.page  = (uint32_t)(s->page / row);
    a->rows.layer = (uint32_t)(s->layer / row);
    a->rows.kv    = (uint32_t)(s->kv / row);
    a->rows.head  = (uint32_t)(s->head / row);
    const bool two  = hd > 64 && hd <= 128; /* blocks of 64 dimensions: see plan90 */
    const bool both = hd == 128;
    a->box_rows     = 16;
    while (!two && a->box_rows < (hd <= 128 ? 128u : 64u) && a->kv.page_tokens % (a->box_rows * 2) == 0)
        a->box_rows *= 2;
    encode_fn encode     = (encode_fn)sr_cuda_driver("cuTensorMapEncodeTiled");
    cuuint64_t size[3]   = {both ? 64 : hd, 0x7fffffff, both ? 2u : 1u}; /* the pool's length is not told to kernels; they read what the table names */
    cuuint64_t stride[2] = {row, 128};
    cuuint32_t box[3]    = {64, a->box_rows, both ? 2u : 1u}, step[3] = {1, 1, 1};
    return encode && !encode(map, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 3, a->kv.base, size, stride, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
                             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}
