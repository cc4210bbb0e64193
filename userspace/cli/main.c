// SPDX-License-Identifier: MIT
/* wisp: run virtual machines through /dev/wisp. */
#include <argp.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include <wisp.h>

#include "command.h"

#define STRING(x)	#x
#define VERSION(abi)	"wisp 0.1 (ABI " STRING(abi) ")"

void command_misused(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("wisp: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(EX_USAGE);
}

int command_printed(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	fputs("wisp: some of the output is lost: write it where there is room\n",
	      stderr);
	return 1;
}

struct subcommand {
	const char *name;
	int (*run)(int argc, char **argv);
};

static const struct subcommand subcommands[] = {
	{ "info", command_info },
	{ "run", command_run },
	{ "resume", command_resume },
	{ "fork", command_fork },
};

struct choice {
	const struct subcommand *subcommand;
	int index;		/* of its name in argv */
};

const char *argp_program_version = VERSION(WISP_ABI_VERSION);

static const char doc[] =
	"Run virtual machines through /dev/wisp.\n"
	"\n"
	"Commands:\n"
	"  info    can this host run guests, and if not why\n"
	"  run     boot a Linux kernel\n"
	"  resume  go on with a guest that was saved\n"
	"  fork    run a command in many guests, each as one that was saved\n"
	"\v\"wisp COMMAND --help\" tells more.";

static const struct subcommand *find(const char *name)
{
	for (size_t i = 0; i < sizeof(subcommands) / sizeof(*subcommands); i++)
		if (!strcmp(name, subcommands[i].name))
			return &subcommands[i];
	return NULL;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct choice *choice = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		choice->subcommand = find(arg);
		if (!choice->subcommand)
			command_misused("no command \"%s\": see wisp --help", arg);
		choice->index = state->next - 1;
		/* The rest is the subcommand's. */
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		command_misused("no command given: see wisp --help");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.parser = parse,
	.args_doc = "COMMAND [OPTION...]",
	.doc = doc,
};

/* "wisp run", so that the subcommand's help and errors say so. */
static char *full_name(const char *name)
{
	static char text[32];

	snprintf(text, sizeof(text), "wisp %s", name);
	return text;
}

/* What is opened later must not become the output of somebody who closed that. */
static void open_standard_files(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	struct choice choice = { 0 };

	open_standard_files();
	argp_err_exit_status = EX_USAGE;
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &choice);
	if (!choice.subcommand)
		return EX_USAGE;
	argv += choice.index;
	argv[0] = full_name(choice.subcommand->name);
	return choice.subcommand->run(argc - choice.index, argv);
}
