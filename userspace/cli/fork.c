// SPDX-License-Identifier: MIT
/* wisp fork: run a command in many guests, each as one that was saved. */
#include "command.h"

#include <errno.h>
#include <json.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "host.h"
#include "machine.h"
#include "script.h"
#include "session.h"
#include "utf8.h"

#define NS_PER_S		1e9
#define DEFAULT_TIMEOUT_S	60
#define COUNT_MAX		1000000

struct options {
	const char *folder;
	const char *command;
	unsigned long count;
	double timeout;
	bool has_json;
	bool keeps;
};

/* One that runs, or ran and is kept. */
struct guest {
	struct machine machine;
	struct guest *next;
};

enum { KEY_EXEC = 0x100 };

static const struct argp_option argp_options[] = {
	{ "count", 'n', "N", 0, "How many guests, one after the other (1)", 0 },
	{ "exec", KEY_EXEC, "COMMAND", 0,
	  "What each of them is to run (required)", 0 },
	{ "json", 'j', NULL, 0,
	  "Write a JSON object for each guest, instead of its lines", 0 },
	{ "keep", 'k', NULL, 0,
	  "Keep all guests, stopped, until standard input ends", 0 },
	{ "timeout", 't', "SECONDS", 0, "Give each guest up after this time (60)",
	  0 },
	{ 0 }
};

static const char doc[] =
	"Run a command in guests that are all as the one that was saved in DIR: a shell has to wait on its serial console.\n"
	"\vThe command is typed on the console, and has no input. What it prints is printed with the guest's number before each line.\n"
	"\n"
	"The exit status:\n"
	"   0  the command ended with 0 in each guest\n"
	"   1  in one of them it did not, or did not end\n"
	"  64  wrong usage";

static unsigned long parse_count(const char *text)
{
	char *end;
	unsigned long count = strtoul(text, &end, 10);

	if (end == text || *end || *text == '-' || !count || count > COUNT_MAX)
		command_misused("-n %s is no number of guests: give one such as 100",
				text);
	return count;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 'n':
		options->count = parse_count(arg);
		return 0;
	case 't':
		options->timeout = session_parse_timeout(arg);
		return 0;
	case 'j':
		options->has_json = true;
		return 0;
	case 'k':
		options->keeps = true;
		return 0;
	case KEY_EXEC:
		options->command = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (options->folder)
			command_misused("\"%s\" is a second folder: give one",
					arg);
		options->folder = arg;
		return 0;
	case ARGP_KEY_END:
		if (!options->folder)
			command_misused("no folder: give one that has a snapshot");
		if (!options->command)
			command_misused("no command: give one with --exec, such as \"uname -a\"");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = argp_options,
	.parser = parse,
	.args_doc = "DIR",
	.doc = doc,
};

/* Why the command has no exit status. */
static const char *why_none(const struct ending *ending)
{
	return ending->message[0] ? ending->message : "the guest powered off";
}

static void print_lines(unsigned long number, const struct script *script,
			const struct ending *ending)
{
	const char *at = (const char *)script->output.data;
	const char *end = at + script->output.size;

	while (at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		const char *next = newline ? newline : end;

		/* The last one has none where memory ended. */
		printf("%lu: %.*s\n", number, (int)(next - at), at);
		at = newline ? newline + 1 : end;
	}
	fflush(stdout);
	if (!script->has_ended)
		fprintf(stderr, "wisp: guest %lu: the command did not end: %s\n",
			number, why_none(ending));
	else if (script->status)
		fprintf(stderr, "wisp: guest %lu: the command failed: exit status %d\n",
			number, script->status);
}

static void print_json(unsigned long number, const struct script *script,
		       uint64_t ns, const struct ending *ending)
{
	json_object *object = json_object_new_object();
	struct file text = { 0 };

	/* The guest may print anything; where memory ends, so does this. */
	utf8_append(&text, script->output.data, script->output.size);
	json_object_object_add(object, "fork", json_object_new_uint64(number));
	if (script->has_ended)
		json_object_object_add(object, "status",
				       json_object_new_int(script->status));
	else
		json_object_object_add(object, "message",
				       json_object_new_string(why_none(ending)));
	json_object_object_add(object, "output", json_object_new_string_len(
			(const char *)text.data ?: "", (int)text.size));
	file_free(&text);
	json_object_object_add(object, "ns", json_object_new_uint64(ns));
	printf("%s\n", json_object_to_json_string_ext(object,
						       JSON_C_TO_STRING_PLAIN));
	fflush(stdout);
	json_object_put(object);
}

static void run_script(struct machine *machine, struct script *script,
		       double timeout)
{
	struct console console;

	console_start_script(&console, script);
	machine->console = &console;
	machine->deadline = machine_now(machine) + (uint64_t)(timeout * NS_PER_S);
	machine_run(machine);
}

/* The first one of @kept, or NULL and @ending tells. */
static struct guest *add_guest(struct guest **kept,
			       const struct machine_image *image,
			       struct ending *ending)
{
	struct guest *guest = calloc(1, sizeof(*guest));

	if (!guest) {
		ending_set(ending, ENDING_ERROR, "%s", "no memory: free some");
		return NULL;
	}
	if (machine_fork(&guest->machine, image, ending)) {
		free(guest);
		return NULL;
	}
	guest->next = *kept;
	*kept = guest;
	return guest;
}

static void end_guests(struct guest **kept)
{
	struct guest *guest;

	while ((guest = *kept)) {
		*kept = guest->next;
		machine_destroy(&guest->machine);
		free(guest);
	}
}

/* Returns whether the command ended with 0. */
static bool run_fork(const struct options *options,
		     const struct machine_image *image, unsigned long number,
		     struct guest **kept)
{
	uint64_t start = host_now(), ns;
	struct ending ending = { 0 };
	struct guest *guest;
	struct script script;
	bool good;

	if (script_init(&script, options->command)) {
		ending_set(&ending, ENDING_ERROR, "%s", "no memory: free some");
	} else {
		guest = add_guest(kept, image, &ending);
		if (guest)
			run_script(&guest->machine, &script, options->timeout);
	}
	ns = host_now() - start;
	if (!options->keeps)
		end_guests(kept);
	if (options->has_json)
		print_json(number, &script, ns, &ending);
	else
		print_lines(number, &script, &ending);
	good = script.has_ended && !script.status;
	script_free(&script);
	return good;
}

/* Each guest has a few files open. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void wait_for_end_of_input(void)
{
	char text[64];
	ssize_t got;

	do
		got = read(STDIN_FILENO, text, sizeof(text));
	while (got > 0 || (got < 0 && errno == EINTR));
}

int command_fork(int argc, char **argv)
{
	struct options options = { .count = 1, .timeout = DEFAULT_TIMEOUT_S };
	struct ending ending = { 0 };
	struct machine_image image;
	struct guest *kept = NULL;
	bool good = true;

	argp_parse(&argp, argc, argv, 0, NULL, &options);
	if (options.keeps)
		raise_file_limit();
	if (machine_image_open(&image, options.folder, &ending)) {
		ending_print(&ending);
		return (int)ending.kind;
	}
	for (unsigned long i = 1; i <= options.count; i++)
		good &= run_fork(&options, &image, i, &kept);
	if (options.keeps)
		wait_for_end_of_input();
	end_guests(&kept);
	machine_image_close(&image);
	return command_printed(good ? 0 : 1);
}
