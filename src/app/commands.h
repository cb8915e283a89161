/* commands.h - every command of the program, one function each.
 *
 * argv[0] is the command's name, argv[1] .. its arguments; the result is the exit status: 0 done, 1 failed
 * (one line on stderr says why), 2 wrong usage.  Results go to stdout, everything else to stderr.
 * main() owns the signal for closed pipes and reports what stdout could not take.
 */
#ifndef SR_APP_COMMANDS_H
#define SR_APP_COMMANDS_H
int sr_cmd_ask(int argc, char **argv);
int sr_cmd_bench(int argc, char **argv);
int sr_cmd_chat(int argc, char **argv);
int sr_cmd_detokenize(int argc, char **argv);
int sr_cmd_devices(int argc, char **argv);
int sr_cmd_engine(int argc, char **argv); /* started by a server for itself: worker.h */
int sr_cmd_info(int argc, char **argv);
int sr_cmd_perplexity(int argc, char **argv);
int sr_cmd_plan(int argc, char **argv);
int sr_cmd_probe(int argc, char **argv);
int sr_cmd_quantize(int argc, char **argv);
int sr_cmd_render(int argc, char **argv);
int sr_cmd_serve(int argc, char **argv);
int sr_cmd_tokenize(int argc, char **argv);

typedef struct { const char *name, *help; int (*run)(int argc, char **argv); } sr_appcommand;

/* The environment variable, or NULL: main.c is the only place that reads it. */
const char *sr_app_env(const char *name);
char      **sr_app_environ(void); /* all of it, for a process of ours */
#endif
