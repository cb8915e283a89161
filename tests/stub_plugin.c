/* A CUDA plugin that computes nothing, for tests of who is taken and why not: MAJOR names its device, ABI_OFF makes it another build's. */
#include <stdio.h>

#include "backend/backend.h"

static sr_status count(int *n, sr_err *err)
{
    (void)err;
    *n = 1;
    return SR_OK;
}

static sr_status info(int i, sr_dev *dev, sr_devinfo *out, sr_err *err)
{
    (void)dev, (void)err;
    *out = (sr_devinfo){.size = out->size, .arch = 75, .units = (uint32_t)i + 40, .mem_total = 16000000000, .mem_free = 15000000000};
    snprintf(out->name, sizeof out->name, "stub for CUDA %d", MAJOR);
    return SR_OK;
}

static const sr_backend table = {.abi = SR_BACKEND_ABI + ABI_OFF, .size = sizeof(sr_backend), .name = "cuda", .build = SR_VERSION, .count = count, .info = info};

__attribute__((visibility("default"))) const sr_backend *sr_backend_entry(void) { return &table; }
