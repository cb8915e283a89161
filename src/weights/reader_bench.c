/* reader_bench - the disk under a file, read past the page cache by threads and by io_uring, in turns.
 *
 *   strata-bench-reader FILE [MB]     units of MB (256; the file must be as long), seven times each: median GB/s, 10th and 90th percentile, CPU time */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/bench.h"
#include "base/mem.h"
#include "weights/reader.h"

enum { TIMES = 7 };

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

int main(int argc, char **argv)
{
    static const char *const name[] = {"threads", "io_uring"};
    uint64_t bytes = (uint64_t)(argc > 2 ? strtod(argv[2], NULL) : 256) * 1000000 / SR_READ_ALIGN * SR_READ_ALIGN;
    double   v[2][TIMES], cpu[2] = {0, 0}, moved = 0;
    sr_err   err = {0};
    void    *staging = sr_aligned(4096, bytes + SR_READ_ALIGN);
    if (argc < 2 || !staging) {
        fprintf(stderr, "usage: strata-bench-reader FILE [MB]\n");
        return 2;
    }
    for (int i = 0; i < TIMES; i++, moved += 3.0 * (double)bytes)
        for (int w = 0; w < 2; w++) {
            double t = cpu_seconds();
            if (sr_reader_measure(argv[1], w ? SR_READ_RING : SR_READ_THREADED, bytes, staging, &v[w][i], &err)) {
                fprintf(stderr, "%s\n", err.msg);
                return 1;
            }
            cpu[w] += cpu_seconds() - t;
        }
    for (int w = 0; w < 2; w++) {
        sr_spread s = sr_bench_spread(v[w], TIMES);
        printf("%-9s %6.2f GB/s (%.2f to %.2f), %.3f s of CPU a GB\n", name[w], s.median * 1e-9, s.p10 * 1e-9, s.p90 * 1e-9, cpu[w] / moved * 1e9);
    }
    sr_free(staging);
    return 0;
}
