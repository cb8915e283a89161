/* main.c - the table of commands, and the only place that reads the environment or ends the process. */
#include "app/commands.h"
#include "app/opt.h"
#include "app/optdoc.h"
#include "backend/backend.h"
#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int cmd_help(int argc, char **argv);
static int cmd_version(int argc, char **argv);

/* In the order a person meets them.  SR_HAVE_TEXT: built with tokenizers, templates and the server (STRATA_SERVER). */
static const sr_appcommand commands[] = {
#ifdef SR_HAVE_TEXT
    {"serve", "serve a model to OpenAI clients", sr_cmd_serve},
    {"chat", "talk to a model", sr_cmd_chat},
    {"ask", "ask one question; the answer goes to stdout", sr_cmd_ask},
#endif
    {"info", "what is in a model file, and whether it is sound", sr_cmd_info},
    {"devices", "what models can be computed on, and why not on the rest", sr_cmd_devices},
    {"plan", "where a model would lie on a machine and how fast it would be", sr_cmd_plan},
    {"probe", "measure this machine, for plans", sr_cmd_probe},
    {"bench", "tokens per second on this machine", sr_cmd_bench},
    {"quantize", "a model file in another number format", sr_cmd_quantize},
#ifdef SR_HAVE_TEXT
    {"perplexity", "how surprised a model is by a text", sr_cmd_perplexity},
    {"tokenize", "text to token ids", sr_cmd_tokenize},
    {"detokenize", "token ids to text", sr_cmd_detokenize},
    {"render", "a chat template and its variables to text", sr_cmd_render},
#endif
    {"version", "the version of this program", cmd_version},
    {"help", "this list; help COMMAND explains one", cmd_help},
};

const char *sr_app_env(const char *name) { return getenv(name); }
char      **sr_app_environ(void) { return environ; }

static const sr_appcommand *find(const char *name)
{
    for (size_t i = 0; i < SR_COUNT(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int unknown(const char *name)
{
    char        shown[80];
    const char *near = sr_nearest(name, &commands[0].name, SR_COUNT(commands), sizeof *commands);
    sr_escape(shown, sizeof shown, name, strlen(name));
    if (near)
        fprintf(stderr, "strata: unknown command \"%s\"; did you mean %s?\n", shown, near);
    else
        fprintf(stderr, "strata: unknown command \"%s\"; see strata --help\n", shown);
    return 2;
}

static void print_overview(FILE *to)
{
    fputs("strata serves large language models on machines with little memory.\n\n"
          "usage: strata COMMAND [options]\n\n", to);
    for (size_t i = 0; i < SR_COUNT(commands); i++)
        fprintf(to, "  %-12s %s\n", commands[i].name, commands[i].help);
    fputs("\nstrata COMMAND --help explains a command and its options.\n", to);
}

static int cmd_version(int argc, char **argv)
{
    const sr_optspec spec = {"version", NULL, "Print the version of this program.", NULL, 0, .max_operands = 0};
    int              rc   = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
    puts("strata " SR_VERSION);
    return 0;
}

static int cmd_help(int argc, char **argv)
{
    const char      *form  = "text";
    const sr_opt     opt[] = {SR_O_CHOICE("as", 0, form, "text|man|bash|zsh|fish", "a manual page, or what a shell needs to complete commands and options")};
    const sr_optspec spec  = {"help", "[COMMAND]", "Explain the program or one command.", opt, SR_COUNT(opt), .max_operands = 1};
    int              rc    = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
    bool text = strcmp(form, "text") == 0;
    if (argc < 2) {
        if (text)
            print_overview(stdout);
        else
            (void)sr_optdoc_program(form, commands, SR_COUNT(commands)); /* parsing knows the forms */
        return 0;
    }
    const sr_appcommand *c = find(argv[1]);
    if (!c)
        return unknown(argv[1]);
    if (!text && strcmp(form, "man") != 0) {
        fprintf(stderr, "strata help: --as %s is for the whole program; leave out \"%s\"\n", form, c->name);
        return 2;
    }
    char *ask[] = {argv[1], text ? (char[]){"--help"} : (char[]){SR_OPT_HELP_AS "man"}, NULL};
    return c->run(2, ask);
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stderr);
        return 2;
    }
    const char *name = argv[1];
    sr_backend_folder(getenv("STRATA_PLUGINS")); /* by the environment, so that an engine in a process of its own has it too */
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    else if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        name = "version";
    else if (name[0] == '-') {
        char shown[80];
        fprintf(stderr, "strata: unknown option %s; options follow the command: strata COMMAND [options]\n",
                sr_escape(shown, sizeof shown, name, strlen(name)));
        return 2;
    }
    if (strcmp(name, "engine") == 0) /* nobody types this */
        return sr_cmd_engine(argc - 1, argv + 1);
    const sr_appcommand *c = find(name);
    return c ? c->run(argc - 1, argv + 1) : unknown(name);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a reader that leaves is seen as EPIPE where we write */
    int rc = dispatch(argc, argv);
    /* A closed pipe is the reader's decision; a full disk is a result that was lost. */
    errno = 0;
    if (fflush(stdout) && errno != EPIPE) {
        fprintf(stderr, "strata: stdout: %s\n", strerror(errno));
        return rc ? rc : 1;
    }
    return rc;
}
