#include "app/optdoc.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { ROFF_WIDTH = 76 }; /* of a source line; escapes are not counted, lint draws the line at 80 */

/* ---- what every form asks of a table ------------------------------------------------------------------------- */

static bool takes_file(const char *arg) { return arg && (strstr(arg, "FILE") || strstr(arg, ".gguf")); }

/* The words of "auto|cpu", one blank between. */
static void print_words(const char *choice)
{
    for (; *choice; choice++)
        putchar(*choice == '|' ? ' ' : *choice);
}

/* Text inside single quotes of a shell; `special` characters get a backslash before them. */
static void print_quoted(const char *text, const char *special, const char *quote)
{
    for (; *text; text++)
        if (*text == '\'')
            fputs(quote, stdout);
        else
            printf(strchr(special, *text) ? "\\%c" : "%c", *text);
}

/* ---- manual pages ---------------------------------------------------------------------------------------------- */

/* Text as roff.  A minus that begins a word is one that is typed, not a hyphen; `typed`: all are, and lines stay as they are. */
static void print_roff(const char *text, bool typed)
{
    int at = 0;
    for (char before = ' '; *text; before = *text++, at++) {
        if (at == 0 && (*text == '.' || *text == '\''))
            fputs("\\&", stdout);
        if (*text == '\n' || (*text == ' ' && !typed && at + (int)strcspn(text + 1, " ") >= ROFF_WIDTH)) {
            putchar('\n');
            at = -1;
        } else if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-' && (typed || !isalnum((unsigned char)before)))
            fputs("\\-", stdout);
        else
            putchar(*text);
    }
}

static void print_title(const char *name)
{
    fputs(".\\\" Made by strata help --as man from the option tables of the program.\n.TH \"", stdout);
    for (; *name; name++)
        if (*name == '-')
            fputs("\\-", stdout);
        else
            putchar(toupper((unsigned char)*name));
    fputs("\" 1 " SR_RELEASED " \"strata " SR_VERSION "\" \"User Commands\"\n.SH NAME\n", stdout);
}

static void man_option(const sr_opt *o)
{
    char def[128], text[512];
    fputs(".TP\n", stdout);
    if (o->letter)
        printf("\\fB\\-%c\\fR, ", o->letter);
    fputs("\\fB\\-\\-", stdout);
    print_roff(o->name, true);
    fputs("\\fR", stdout);
    if (o->arg)
        printf(" \\fI%s\\fR", o->arg);
    putchar('\n');
    sr_opt_default(o, def, sizeof def);
    snprintf(text, sizeof text, "%s%s", o->help, def);
    print_roff(text, false);
    putchar('\n');
}

/* The beginning of `about`, as whatis(1) shows it on one line. */
static void print_summary(const char *about)
{
    size_t n = strcspn(about, ".,:;(");
    while (n > 0 && about[n - 1] == ' ')
        n--;
    for (size_t i = 0; i < n; i++)
        putchar(i ? about[i] : tolower((unsigned char)about[i]));
}

static void man_exit_status(void)
{
    fputs(".SH EXIT STATUS\n"
          "0: done; 1: it failed, and one line on stderr says why;\n2: the command line was wrong.\n", stdout);
}

static void man_page(const sr_optspec *s)
{
    char name[64];
    snprintf(name, sizeof name, "strata-%s", s->name);
    print_title(name);
    printf("strata\\-%s \\- ", s->name);
    print_summary(s->about);
    printf("\n.SH SYNOPSIS\n\\fBstrata %s\\fR", s->name);
    if (s->n_opt)
        fputs(" [\\fIoptions\\fR]", stdout);
    if (s->operands)
        printf(" \\fI%s\\fR", s->operands);
    fputs("\n.SH DESCRIPTION\n", stdout);
    print_roff(s->about, false);
    fputs("\n.SH OPTIONS\n", stdout);
    for (size_t i = 0; i < s->n_opt; i++)
        man_option(&s->opt[i]);
    fputs(".TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nthese options, at the terminal\n", stdout);
    if (s->more) {
        fputs(".SH NOTES\n.nf\n", stdout);
        print_roff(s->more, true);
        fputs(".fi\n", stdout);
    }
    man_exit_status();
    fputs(".SH SEE ALSO\n\\fBstrata\\fR(1)\n", stdout);
}

static void man_program(const sr_appcommand *c, size_t n)
{
    print_title("strata");
    fputs("strata \\- serve large language models on machines with little memory\n"
          ".SH SYNOPSIS\n\\fBstrata\\fR \\fICOMMAND\\fR [\\fIoptions\\fR]\n"
          ".SH DESCRIPTION\n"
          "strata reads model files in the GGUF format, computes on the CPU or a GPU,\n"
          "and answers at the terminal or as a server that OpenAI clients understand.\n"
          "Each command has a page of its own.\n"
          ".SH COMMANDS\n", stdout);
    for (size_t i = 0; i < n; i++) {
        printf(".TP\n\\fBstrata\\-%s\\fR(1)\n", c[i].name);
        print_roff(c[i].help, false);
        putchar('\n');
    }
    fputs(".SH ENVIRONMENT\n"
          ".TP\n\\fBSTRATA_API_KEY\\fR\nthe key that clients of \\fBstrata serve\\fR must send,\nwhere \\-\\-api\\-key is not given\n"
          ".TP\n\\fBSTRATA_PLUGINS\\fR\nthe folder of the CUDA backend; without it,\n\\fI../lib/strata\\fR beside the program's folder\n"
          ".TP\n\\fBNOTIFY_SOCKET\\fR\nset by \\fBsystemd\\fR(1); \\fBstrata serve\\fR tells it\nwhen the model is loaded and when it is ending\n"
          ".SH FILES\n"
          ".TP\n\\fI../share/strata/models\\fR\nfrom the program's folder: the small model that is used when none is named\n", stdout);
    man_exit_status();
    fputs(".SH SEE ALSO\n", stdout);
    for (size_t i = 0; i < n; i++)
        printf("\\fBstrata\\-%s\\fR(1)%s\n", c[i].name, i + 1 < n ? "," : "");
}

/* ---- bash ------------------------------------------------------------------------------------------------------- */

static void bash_arm(const sr_opt *o)
{
    fputs("        ", stdout);
    if (o->letter)
        printf("-%c | ", o->letter);
    printf("--%s) ", o->name);
    if (o->kind == SR_OPT_CHOICE) {
        fputs("words='", stdout);
        print_words(o->arg);
        fputs("' ;;\n", stdout);
    } else {
        fputs(takes_file(o->arg) ? "files=yes ;;\n" : "return ;;\n", stdout); /* else a value that nobody can guess */
    }
}

static void bash_command(const sr_optspec *s)
{
    printf("    %s)\n        words='", s->name);
    for (size_t i = 0; i < s->n_opt; i++)
        printf("--%s ", s->opt[i].name);
    printf("--help' operands=%s\n        case $before in\n", strcmp(s->name, "help") == 0 ? "commands" : takes_file(s->operands) ? "files" : "none");
    for (size_t i = 0; i < s->n_opt; i++)
        if (s->opt[i].kind != SR_OPT_FLAG)
            bash_arm(&s->opt[i]);
    fputs("        *) [[ $word == -* ]] || case $operands in\n"
          "            files) words='' files=yes ;;\n"
          "            commands) words=$commands ;;\n"
          "            esac ;;\n"
          "        esac ;;\n", stdout);
}

/* bash cuts a line at "=", too: --engine=th is three words. */
static const char bash_head[] =
    "# bash completion for strata; made by strata help --as bash\n"
    "_strata() {\n"
    "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words='' files='' operands=''\n"
    "    COMPREPLY=()\n"
    "    if [[ $word == = ]]; then\n"
    "        word=''\n"
    "    elif [[ $before == = ]]; then\n"
    "        before=${COMP_WORDS[COMP_CWORD - 2]}\n"
    "    fi\n";

static void bash_program(const sr_appcommand *c, size_t n)
{
    char as[] = SR_OPT_HELP_AS "bash";
    fputs(bash_head, stdout);
    fputs("    local commands='", stdout);
    for (size_t i = 0; i < n; i++)
        printf(i ? " %s" : "%s", c[i].name);
    fputs("'\n    if ((COMP_CWORD == 1)); then\n"
          "        mapfile -t COMPREPLY < <(compgen -W \"$commands --help --version\" -- \"$word\")\n"
          "        return\n"
          "    fi\n"
          "    case ${COMP_WORDS[1]} in\n", stdout);
    for (size_t i = 0; i < n; i++)
        (void)c[i].run(2, (char *[]){(char *)c[i].name, as, NULL});
    fputs("    esac\n"
          "    if [[ $files ]]; then\n"
          "        compopt -o filenames 2>/dev/null\n"
          "        mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
          "    else\n"
          "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
          "    fi\n"
          "}\n"
          "complete -F _strata strata\n", stdout);
}

/* ---- zsh -------------------------------------------------------------------------------------------------------- */

static void zsh_option(const sr_opt *o)
{
    bool flag = o->kind == SR_OPT_FLAG;
    fputs("        ", stdout);
    if (o->letter)
        printf("'(-%c --%s)'{-%c%s,--%s%s}'[", o->letter, o->name, o->letter, flag ? "" : "+", o->name, flag ? "" : "=");
    else
        printf("'--%s%s[", o->name, flag ? "" : "=");
    print_quoted(o->help, "[]\\", "'\\''");
    putchar(']');
    if (!flag) {
        printf(":%s:", o->name);
        if (o->kind == SR_OPT_CHOICE) {
            putchar('(');
            print_words(o->arg);
            putchar(')');
        } else if (takes_file(o->arg)) {
            fputs("_files", stdout);
        }
    }
    fputs("' \\\n", stdout);
}

static void zsh_command(const sr_optspec *s)
{
    printf("_strata_%s() {\n    _arguments -s \\\n", s->name);
    for (size_t i = 0; i < s->n_opt; i++)
        zsh_option(&s->opt[i]);
    fputs("        '(- *)'{-h,--help}'[help]'", stdout);
    if (strcmp(s->name, "help") == 0)
        fputs(" \\\n        '1:command:_strata_commands'", stdout);
    else if (s->operands)
        printf(" \\\n        '*:operand:%s'", takes_file(s->operands) ? "_files" : "");
    fputs("\n}\n", stdout);
}

static void zsh_program(const sr_appcommand *c, size_t n)
{
    char as[] = SR_OPT_HELP_AS "zsh";
    fputs("#compdef strata\n# zsh completion for strata; made by strata help --as zsh\n_strata_commands() {\n    local -a commands=(\n", stdout);
    for (size_t i = 0; i < n; i++) {
        printf("        '%s:", c[i].name);
        print_quoted(c[i].help, ":\\", "'\\''");
        fputs("'\n", stdout);
    }
    fputs("    )\n    _describe -t commands command commands\n}\n", stdout);
    for (size_t i = 0; i < n; i++)
        (void)c[i].run(2, (char *[]){(char *)c[i].name, as, NULL});
    fputs("_strata() {\n"
          "    local line state\n"
          "    _arguments -C '(- *)'{-h,--help}'[help]' '(- *)'{-V,--version}'[version]' '1:command:_strata_commands' '*::argument:->argument'\n"
          "    if [[ $state == argument ]] && (( $+functions[_strata_$line[1]] )); then\n"
          "        _strata_$line[1]\n"
          "    fi\n"
          "}\n"
          "if [[ $funcstack[1] == _strata ]]; then _strata \"$@\"; else compdef _strata strata; fi\n", stdout);
}

/* ---- fish ------------------------------------------------------------------------------------------------------- */

static void fish_option(const char *command, const sr_opt *o)
{
    printf("complete -c strata -n '__fish_seen_subcommand_from %s' -l %s", command, o->name);
    if (o->letter)
        printf(" -s %c", o->letter);
    if (o->kind == SR_OPT_CHOICE) {
        fputs(" -x -a '", stdout);
        print_words(o->arg);
        putchar('\'');
    } else if (o->kind != SR_OPT_FLAG) {
        fputs(takes_file(o->arg) ? " -r -F" : " -x", stdout);
    }
    fputs(" -d '", stdout);
    print_quoted(o->help, "\\", "\\'");
    fputs("'\n", stdout);
}

static void fish_command(const sr_optspec *s)
{
    for (size_t i = 0; i < s->n_opt; i++)
        fish_option(s->name, &s->opt[i]);
    printf("complete -c strata -n '__fish_seen_subcommand_from %s' -l help -s h -d 'help'\n", s->name);
    if (takes_file(s->operands))
        printf("complete -c strata -n '__fish_seen_subcommand_from %s' -F\n", s->name);
}

static void fish_program(const sr_appcommand *c, size_t n)
{
    char as[] = SR_OPT_HELP_AS "fish";
    fputs("# fish completion for strata; made by strata help --as fish\ncomplete -c strata -f\n", stdout);
    for (size_t i = 0; i < n; i++) {
        printf("complete -c strata -n __fish_use_subcommand -a %s -d '", c[i].name);
        print_quoted(c[i].help, "\\", "\\'");
        fputs("'\n", stdout);
    }
    for (size_t i = 0; i < n; i++)
        (void)c[i].run(2, (char *[]){(char *)c[i].name, as, NULL});
    fputs("complete -c strata -n '__fish_seen_subcommand_from help' -a '", stdout);
    for (size_t i = 0; i < n; i++)
        printf(i ? " %s" : "%s", c[i].name);
    fputs("'\n", stdout);
}

/* ---- by name ---------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*command)(const sr_optspec *);
    void (*program)(const sr_appcommand *, size_t n);
} forms[] = {{"man", man_page, man_program}, {"bash", bash_command, bash_program}, {"zsh", zsh_command, zsh_program}, {"fish", fish_command, fish_program}};

bool sr_optdoc(const sr_optspec *s, const char *form)
{
    for (size_t i = 0; i < SR_COUNT(forms); i++)
        if (strcmp(forms[i].name, form) == 0) {
            forms[i].command(s);
            return true;
        }
    return false;
}

bool sr_optdoc_program(const char *form, const sr_appcommand *c, size_t n)
{
    for (size_t i = 0; i < SR_COUNT(forms); i++)
        if (strcmp(forms[i].name, form) == 0) {
            forms[i].program(c, n);
            return true;
        }
    return false;
}
