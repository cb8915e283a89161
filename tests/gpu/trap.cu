/* trap.cu - a kernel that faults, for the test of losing a device. */
static __global__ void trap(volatile int *p) { *p = 1; }

extern "C" void gpu_trap(void) { trap<<<1, 1>>>((volatile int *)16); }
