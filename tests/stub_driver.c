/* NVIDIA's driver as far as backend/registry.c asks it, for tests: compiled with what it says. */
#define SAY __attribute__((visibility("default")))

SAY int cuInit(unsigned flags);
SAY int cuDriverGetVersion(int *v);
SAY int cuDeviceGetCount(int *n);
SAY int cuDeviceGetAttribute(int *v, int what, int device);

int cuInit(unsigned flags) { return (int)flags + INIT; }

int cuDriverGetVersion(int *v)
{
    *v = VERSION;
    return 0;
}

int cuDeviceGetCount(int *n)
{
    *n = DEVICES;
    return 0;
}

/* 75, 76: the two digits of the compute capability. */
int cuDeviceGetAttribute(int *v, int what, int device)
{
    *v = what == 75 ? CAPABILITY / 10 : CAPABILITY % 10;
    return device >= DEVICES;
}
