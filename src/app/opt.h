/* opt.h - a command's options as a table: parsing, ranges, --help and error texts come from it.
 *
 *     uint32_t n = 256;
 *     const sr_opt opt[] = {SR_O_UINT("max-tokens", 'n', n, "N", "most tokens of the answer", 1, 1 << 20)};
 *     const sr_optspec spec = {"ask", "[PROMPT]", "Ask one question.", opt, SR_COUNT(opt), .max_operands = 1};
 *     int rc = sr_opt_parse(&spec, &argc, argv);
 *     if (rc >= 0) return rc;                    argv[1] .. argv[argc - 1] are the operands now
 *
 * Forms: --name VALUE, --name=VALUE, -n VALUE, -nVALUE; flags take no value; "--" ends options; "-" is an operand.
 * What a variable holds before parsing is the default, and --help shows it.  Nothing is ignored: an unknown
 * option, one given twice, a value out of range, an operand too many are errors naming it.
 *
 * Owns:    nothing; strings point into argv.   Threads: one.
 * Errors:  SR_INVALID, one line naming the option, the value and what would be right.
 */
#ifndef SR_APP_OPT_H
#define SR_APP_OPT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

typedef enum {
    SR_OPT_FLAG,   /* bool */
    SR_OPT_STR,    /* const char * */
    SR_OPT_CHOICE, /* const char *: one of the words in `arg`, "auto|cpu" */
    SR_OPT_UINT,   /* uint32_t */
    SR_OPT_U64,    /* uint64_t */
    SR_OPT_INT,    /* int32_t */
    SR_OPT_REAL,   /* float */
    SR_OPT_BYTES,  /* uint64_t: "14G", "512MiB", "1.5G"; K, M, G, T are powers of 1000, KiB .. TiB of 1024 */
    SR_OPT_LIST    /* sr_optlist: "512,2048" */
} sr_optkind;

enum { SR_OPT_LIST_MAX = 32 };
typedef struct { uint32_t v[SR_OPT_LIST_MAX], n; } sr_optlist;

typedef struct {
    const char *name;
    char        letter; /* 0: none */
    sr_optkind  kind;
    void       *out;
    const char *arg, *help; /* as shown by --help */
    double      lo, hi;     /* of numbers, inclusive; both 0: all the type holds */
} sr_opt;
/* One entry each; the variable's type is checked. */
#define SR_O_(name, letter, kind, type, var, arg, help, lo, hi) {name, letter, kind, (type *){&(var)}, arg, help, lo, hi}
#define SR_O_FLAG(name, letter, var, help)        SR_O_(name, letter, SR_OPT_FLAG, bool, var, NULL, help, 0, 0)
#define SR_O_STR(name, letter, var, arg, help)    SR_O_(name, letter, SR_OPT_STR, const char *, var, arg, help, 0, 0)
#define SR_O_CHOICE(name, letter, var, arg, help) SR_O_(name, letter, SR_OPT_CHOICE, const char *, var, arg, help, 0, 0)
#define SR_O_U64(name, letter, var, arg, help)    SR_O_(name, letter, SR_OPT_U64, uint64_t, var, arg, help, 0, 0)
#define SR_O_UINT(name, letter, var, arg, help, lo, hi) SR_O_(name, letter, SR_OPT_UINT, uint32_t, var, arg, help, lo, hi)
#define SR_O_INT(name, letter, var, arg, help, lo, hi)  SR_O_(name, letter, SR_OPT_INT, int32_t, var, arg, help, lo, hi)
#define SR_O_REAL(name, letter, var, arg, help, lo, hi) SR_O_(name, letter, SR_OPT_REAL, float, var, arg, help, lo, hi)
#define SR_O_BYTES(name, letter, var, arg, help, lo, hi) SR_O_(name, letter, SR_OPT_BYTES, uint64_t, var, arg, help, lo, hi)
#define SR_O_LIST(name, letter, var, arg, help, lo, hi) SR_O_(name, letter, SR_OPT_LIST, sr_optlist, var, arg, help, lo, hi)

typedef struct {
    const char   *name, *operands, *about; /* operands: as written in the usage line, or NULL */
    const sr_opt *opt;
    size_t        n_opt;
    int           min_operands, max_operands;
    const char   *more; /* examples, at the end of --help; or NULL */
    const char   *program; /* NULL: "strata"; other programs of the project name themselves */
} sr_optspec;

/* SR_OK: *argc and argv hold the operands; SR_AGAIN: --help was asked for; SR_INVALID. */
SR_MUSTUSE sr_status sr_opt_read(const sr_optspec *, int *argc, char **argv, sr_err *);
/* The same for a command: prints help (stdout) or the error (stderr).  -1: go on; else the exit status.
 * SR_OPT_HELP_AS "FORM" as the only argument prints the table in one of the forms of optdoc.h instead (strata help --as). */
#define SR_OPT_HELP_AS "--help-as="
int sr_opt_parse(const sr_optspec *, int *argc, char **argv);
/* " (default 256)", or "" where there is none to speak of. */
void sr_opt_default(const sr_opt *, char *out, size_t cap);
/* Of n words the one most like `word`, or NULL if none is near.  step: bytes between the char pointers. */
const char *sr_nearest(const char *word, const char *const *first, size_t n, size_t step);
#endif
