/* A fuzz target without a fuzzer: every file of the named folders once, for any compiler. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv); /* few have one */

/* In a block of its own size, so that a checker sees a read past its end.  -1: cannot be read. */
static int feed(const char *path)
{
    FILE *f = fopen(path, "rb");
    long  n = f && !fseek(f, 0, SEEK_END) ? ftell(f) : -1;
    if (n < 0 || fseek(f, 0, SEEK_SET)) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        if (f)
            fclose(f);
        return -1;
    }
    uint8_t *p = malloc((size_t)n);
    int      bad = (n && !p) || fread(p, 1, (size_t)n, f) != (size_t)n ? -1 : 0;
    if (!bad)
        LLVMFuzzerTestOneInput(p, (size_t)n);
    free(p);
    fclose(f);
    return bad;
}

int main(int argc, char **argv)
{
    unsigned done = 0;
    if (LLVMFuzzerInitialize)
        LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        DIR *d = opendir(argv[i]);
        if (!d) {
            fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
            return 1;
        }
        for (struct dirent *e; (e = readdir(d));) {
            char path[4096];
            if (e->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
            if (feed(path)) {
                closedir(d);
                return 1;
            }
            done++;
        }
        closedir(d);
    }
    printf("%u inputs\n", done);
    return done ? 0 : 1;
}
