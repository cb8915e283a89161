/* managed.cu - what managed memory gives a reader of weights, against the copy engine and against reads in place (notes/0038).
 *
 *     nvcc -O2 -arch=native -o managed bench/managed.cu && ./managed
 *
 * One kernel reads 4 GB; then 3 and 5 GB again and again while all but 4 GB of the card are taken.  GB/s, the last of the readings. */
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#define CU(x)                                                          \
    do {                                                               \
        cudaError_t e_ = (x);                                          \
        if (e_ != cudaSuccess) {                                       \
            fprintf(stderr, "%s: %s\n", #x, cudaGetErrorString(e_));   \
            return 1;                                                  \
        }                                                              \
    } while (0)

static const size_t GB = 1000000000 / 65536 * 65536;
static cudaEvent_t  begun, ended;
static unsigned    *sink;

__global__ void read_all(const uint4 *p, size_t n, unsigned *out)
{
    unsigned s = 0;
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
        s += p[i].x ^ p[i].y ^ p[i].z ^ p[i].w;
    if (s == 12345) /* so that the loads stay */
        *out = s;
}

/* Since `begun` was recorded. */
static double rate(size_t bytes)
{
    float ms = 0;
    cudaEventRecord(ended);
    cudaEventSynchronize(ended);
    cudaEventElapsedTime(&ms, begun, ended);
    return cudaGetLastError() == cudaSuccess ? bytes / ms * 1e-6 : 0; /* 0: it failed */
}

static double reading(const void *p, size_t bytes)
{
    cudaEventRecord(begun);
    read_all<<<1056, 256>>>((const uint4 *)p, bytes / 16, sink);
    return rate(bytes);
}

static double fetching(void *p, size_t bytes)
{
    cudaMemLocation card = {cudaMemLocationTypeDevice, 0};
    cudaEventRecord(begun);
    cudaMemPrefetchAsync(p, bytes, card, 0, 0);
    return rate(bytes);
}

static int advise(void *p, size_t n, cudaMemoryAdvise what, cudaMemLocationType where)
{
    cudaMemLocation l = {where, 0};
    CU(cudaMemAdvise(p, n, what, l));
    return 0;
}

static int page_locked(size_t n)
{
    char *host, *card;
    CU(cudaMallocHost((void **)&host, n));
    memset(host, 1, n);
    CU(cudaMalloc((void **)&card, n));
    for (int i = 0; i < 2; i++) {
        cudaEventRecord(begun);
        CU(cudaMemcpyAsync(card, host, n, cudaMemcpyHostToDevice, 0));
        double v = rate(n);
        if (i)
            printf("copy engine from page-locked memory   %8.1f\n", v);
    }
    reading(host, n);
    printf("page-locked memory read in place      %8.1f\n", reading(host, n));
    reading(card, n);
    printf("memory of the card                    %8.1f\n", reading(card, n));
    CU(cudaFree(card));
    CU(cudaFreeHost(host));
    return 0;
}

static int managed(size_t n)
{
    char *m;
    CU(cudaMallocManaged((void **)&m, n));
    memset(m, 1, n);
    printf("managed, first reading: page faults   %8.1f\n", reading(m, n));
    printf("managed, once it lies on the card     %8.1f\n", reading(m, n));
    memset(m, 2, n);
    printf("managed, prefetched                   %8.1f\n", fetching(m, n));
    if (advise(m, n, cudaMemAdviseSetReadMostly, cudaMemLocationTypeDevice))
        return 1;
    memset(m, 3, n);
    printf("managed, read mostly: prefetched      %8.1f\n", fetching(m, n));
    CU(cudaFree(m));
    CU(cudaMallocManaged((void **)&m, n));
    memset(m, 1, n);
    if (advise(m, n, cudaMemAdviseSetPreferredLocation, cudaMemLocationTypeHost) || advise(m, n, cudaMemAdviseSetAccessedBy, cudaMemLocationTypeDevice))
        return 1;
    reading(m, n);
    printf("managed, kept on the host, in place   %8.1f\n", reading(m, n));
    CU(cudaFree(m));
    return 0;
}

static int crowded(size_t n)
{
    char *m;
    CU(cudaMallocManaged((void **)&m, n));
    memset(m, 1, n);
    reading(m, n);
    reading(m, n);
    printf("managed, %zu GB where 4 are free        %8.1f\n", n / GB, reading(m, n));
    if (advise(m, n, cudaMemAdviseSetReadMostly, cudaMemLocationTypeDevice))
        return 1;
    reading(m, n);
    printf("  the same, read mostly               %8.1f\n", reading(m, n));
    CU(cudaFree(m));
    return 0;
}

int main(void)
{
    size_t left, all;
    char  *rest;
    CU(cudaEventCreate(&begun));
    CU(cudaEventCreate(&ended));
    CU(cudaMalloc((void **)&sink, sizeof *sink));
    if (page_locked(4 * GB) || managed(4 * GB))
        return 1;
    CU(cudaMemGetInfo(&left, &all));
    CU(cudaMalloc((void **)&rest, left - 4 * GB));
    return crowded(3 * GB) || crowded(5 * GB);
}
