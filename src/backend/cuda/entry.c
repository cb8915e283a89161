/* entry.c - the plugin's one exported symbol. */
#include "backend/cuda/internal.h"

__attribute__((visibility("default"))) const sr_backend *sr_backend_entry(void) { return &sr_backend_cuda; }
