/* optdoc.h - the option tables for readers other than a person at a terminal: manual pages, shell completions.
 *
 *     strata help --as man serve | man -l -            sr_optdoc(spec, "man"), a whole page
 *     strata help --as bash > .../completions/strata   sr_optdoc_program("bash", ...): head, each command's part, tail
 *
 * They are made from the tables that parse the command line, by the program that parses it: what they name exists,
 * and what exists they name.  The build makes them (cmake/docs.cmake), nothing of them is kept in the tree.
 *
 * Forms:   man   a page of section 1, man(7) macros
 *          bash  complete -F, plain bash 4 (the bash-completion package is not needed)
 *          zsh   a #compdef function       fish  complete -c lines
 * Owns:    nothing; prints to stdout.   Threads: one.
 * Errors:  false: no such form, nothing was printed.
 */
#ifndef SR_APP_OPTDOC_H
#define SR_APP_OPTDOC_H
#include <stdbool.h>
#include "app/commands.h"
#include "app/opt.h"

/* One command: its page, or its part of a completion. */
bool sr_optdoc(const sr_optspec *, const char *form);
/* The program: strata(1), or a whole completion, for which each command is run with SR_OPT_HELP_AS. */
bool sr_optdoc_program(const char *form, const sr_appcommand *, size_t n);
#endif
