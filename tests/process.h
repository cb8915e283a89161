/* process.h - what /proc tells of a process under test. */
#ifndef SR_TESTS_PROCESS_H
#define SR_TESTS_PROCESS_H
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* Open descriptors, give or take the two that a listing has of itself. */
static inline uint32_t sr_descriptors_of(pid_t pid)
{
    char     path[64];
    uint32_t n = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *d = opendir(path);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}
#endif
