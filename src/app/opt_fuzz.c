/* opt_fuzz.c - any command line: parsed or refused with one line, never a crash.  Arguments are separated by NUL. */
#include "app/opt.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char  *s = NULL, *choice = "auto";
    bool         flag = false;
    uint32_t     u = 1;
    int32_t      i = 0;
    uint64_t     big = 0;
    float        real = 0;
    sr_optlist   list = {{0}, 0};
    const sr_opt opt[] = {
        SR_O_STR("model", 'm', s, "FILE", "a file"),
        SR_O_CHOICE("device", 'd', choice, "auto|cpu|cuda", "where"),
        SR_O_FLAG("json", 'j', flag, "a flag"),
        SR_O_UINT("count", 'n', u, "N", "a number", 1, 1000),
        SR_O_INT("priority", 0, i, "P", "a signed number", -5, 5),
        SR_O_U64("seed", 's', big, "S", "a large number"),
        SR_O_REAL("temperature", 't', real, "T", "a fraction", 0, 2),
        SR_O_LIST("sizes", 'p', list, "N,N", "numbers", 0, 100000),
    };
    const sr_optspec spec = {"fuzz", "[FILE]", "A test.", opt, SR_COUNT(opt), .max_operands = 2};
    char            *argv[66], *text = malloc(size + 1);
    int              argc = 1;
    sr_err           err  = {0};
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    argv[0]    = text + size;
    for (size_t at = 0; at < size && argc < 65; at += strlen(text + at) + 1)
        argv[argc++] = text + at;
    argv[argc]   = NULL;
    sr_status st = sr_opt_read(&spec, &argc, argv, &err);
    if (st == SR_INVALID)
        SR_ASSERT(err.msg[0] && !strchr(err.msg, '\n'), "no message, or more than a line");
    if (st == SR_OK)
        SR_ASSERT(argc <= 3 && u >= 1 && u <= 1000 && i >= -5 && i <= 5 && real >= 0 && real <= 2 && list.n <= SR_OPT_LIST_MAX,
                  "a value out of range was accepted");
    free(text);
    return 0;
}
