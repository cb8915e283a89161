/* commands.h - every command of the program, one function each.
 *
 * argv[0] is the command's name, argv[1] .. its arguments; the result is the exit status: 0 done, 1 failed
 * (one line on stderr says why), 2 wrong usage.  Results go to stdout, everything else to stderr.
 * main() owns the signal for closed pipes and reports what stdout could not take.
 */
#ifndef SR_APP_COMMANDS_H
#define SR_APP_COMMANDS_H
/* The environment variable, or NULL: main.c is the only place that reads it. */
const char *sr_app_env(const char *name);
#endif
