/* keyfile_fuzz.c - any file of API keys: keys and limits within their bounds, or one line that says where it is wrong. */
#include "serve/keys.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sr_servekey key[32];
    uint32_t    n = 0;
    sr_err      err = {0};
    sr_keys    *t = NULL;
    char       *text = malloc(size + 1);
    if (!text)
        return 0;
    if (size)
        memcpy(text, data, size);
    text[size] = 0;
    sr_status st = sr_keyfile_parse(text, key, 32, &n, &err);
    if (st != err.status || n > 32 || (st && memcmp(err.msg, "line ", 5)))
        abort();
    for (uint32_t i = 0; i < n; i++) {
        if (!key[i].key[0] || key[i].at_once > SR_KEY_AT_ONCE || key[i].per_minute > SR_KEY_PER_MINUTE)
            abort();
        key[i].per_minute %= 1000; /* memory for so many times, not for 32 times 800 KB */
    }
    err = (sr_err){0};
    if (!st && n && sr_keys_open(key, n, &t, &err) == SR_OK)
        for (uint32_t i = 0; i < n; i++)
            if (sr_keys_find(t, key[i].key, strlen(key[i].key)) != i + 1)
                abort();
    sr_keys_close(t);
    free(text);
    return 0;
}
