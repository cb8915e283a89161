/* profile_fuzz: any bytes as a profile; one that is taken must be written, read back and usable by a plan. */
#include <math.h>
#include <stdint.h>

#include "weights/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static sr_profile p, q; /* 30 KB each */
    sr_err err  = {0};
    sr_buf text = {0};
    sr_hw  hw;
    if (sr_profile_parse((const char *)data, n, &p, &err)) {
        SR_ASSERT(err.msg[0], "refused without a reason");
        return 0;
    }
    sr_profile_write(&p, &text);
    SR_ASSERT(!text.failed && sr_profile_parse(text.p, text.n, &q, &err) == SR_OK, "%s", err.msg);
    sr_buf_end(&text);
    for (uint32_t threads = 0; threads < 20; threads += 7) {
        sr_profile_hw(&p, threads, &hw);
        SR_ASSERT(hw.cpu_read > 0 && isfinite(hw.cpu_read) && hw.dram_read > 0 && isfinite(hw.dram_read), "%g %g", hw.cpu_read, hw.dram_read);
        for (uint32_t tokens = 1; tokens < 5000; tokens *= 3) {
            sr_formatrates r = sr_profile_rates(&p, threads, 12, tokens);
            SR_ASSERT(r.cpu_read > 0 && r.cpu_flops > 0 && (!p.dev.arch || r.dev_flops > 0 || r.dev_read > 0), "%g %g %g", r.cpu_read, r.cpu_flops, r.dev_flops);
        }
    }
    return 0;
}
