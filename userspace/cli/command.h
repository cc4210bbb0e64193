/* SPDX-License-Identifier: MIT */
/* The subcommands. Each returns the exit status. */
#ifndef WISP_CLI_COMMAND_H
#define WISP_CLI_COMMAND_H

int command_info(int argc, char **argv);
int command_run(int argc, char **argv);
int command_resume(int argc, char **argv);
int command_fork(int argc, char **argv);

/* The command line is wrong: says so in one line and exits with 64. */
__attribute__((format(printf, 1, 2), noreturn))
void command_misused(const char *format, ...);

/* Returns @status, unless standard output lacks something: says so, and returns 1. */
int command_printed(int status);

#endif
