/* Any bytes as a line of a batch: a request with all its parts, or a code and words. */
#include <string.h>

#include "base/err.h"
#include "serve/batch_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const sr_servelimits limits = {.json_depth = 64, .json_values = 1 << 16};
    sr_batchline         l;
    if (sr_batch_line((const char *)data, n, &limits, &l)) {
        SR_ASSERT(l.custom_id && l.n_id && json_is_object(l.body) && (l.api == SR_API_CHAT || l.api == SR_API_COMPLETION), "parts");
    } else {
        SR_ASSERT(l.code && *l.code && *l.why, "no words");
    }
    sr_batch_line_end(&l);
    return 0;
}
