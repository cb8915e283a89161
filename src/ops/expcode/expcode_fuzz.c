/* Any bytes as coded numbers: refused with words, or decoded; then coded again they are the same numbers. */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "ops/expcode/expcode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void again(uint32_t format, const uint16_t *v, uint32_t n)
{
    static uint16_t back[SR_EXPCODE_BLOCK];
    sr_err     err = {0};
    sr_buf     b   = {0};
    sr_expcode x;
    SR_ASSERT(sr_expcode_encode(format, v, n, &b, &err) == SR_OK && sr_expcode_open(b.p, b.n, &x, &err) == SR_OK && x.n == n, "%s", err.msg);
    if (n)
        SR_ASSERT(sr_expcode_block(&x, 0, back, &err) == SR_OK && memcmp(v, back, n * sizeof *v) == 0, "not the same numbers");
    sr_buf_end(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static uint16_t out[1 << 20];
    sr_err     err = {0};
    sr_expcode x;
    if (sr_expcode_open(data, n, &x, &err)) {
        SR_ASSERT(err.msg[0], "a refusal without words");
        return 0;
    }
    for (uint32_t b = 0; b < x.n_block && b < 64; b++) {
        err = (sr_err){0};
        if (sr_expcode_block(&x, b, out, &err))
            SR_ASSERT(err.msg[0], "a refusal without words");
        else
            again(x.format, out, SR_MIN(SR_MIN(x.block, x.n - b * x.block), (uint32_t)SR_EXPCODE_BLOCK));
    }
    return 0;
}
