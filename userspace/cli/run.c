// SPDX-License-Identifier: MIT
/* wisp run: boot a Linux kernel with its console on the terminal. */
#include "command.h"

#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cpio.h"
#include "file.h"
#include "gdb.h"
#include "machine.h"
#include "size.h"
#include "trace.h"

#define DEFAULT_MEMORY_SIZE	(256ULL << 20)
#define DEFAULT_CMDLINE		"console=ttyS0"
#define TIMEOUT_MAX_S		1000000000.0

#define NS_PER_S		1e9

struct options {
	const char *kernel;
	const char *initrd;
	const char *root;
	const char *append;
	const char *json;	/* file, "-" standard output, NULL none */
	uint64_t memory_size;
	double timeout;		/* seconds, 0: none */
	bool has_gdb;
	uint16_t gdb_port;
	bool has_trace;
	const char *trace;	/* file, NULL standard error */
	bool has_stats;
};

/* What is held from start to end. */
struct run {
	struct options options;
	struct ending ending;
	struct file kernel;
	struct file initrd;
	char *cmdline;
	struct console console;
	struct machine machine;
	struct gdb gdb;
	struct trace trace;
};

/* Options without a letter. */
enum { KEY_GDB = 0x100, KEY_TRACE, KEY_STATS };

static const struct argp_option argp_options[] = {
	{ "kernel", 'k', "FILE", 0, "Linux bzImage, or an ELF kernel with a PVH entry (required)", 0 },
	{ "initrd", 'i', "FILE", 0, "Initramfs", 0 },
	{ "root", 'r', "DIR", 0,
	  "Folder that is packed as an initramfs; the kernel starts its /init",
	  0 },
	{ "append", 'a', "TEXT", 0,
	  "Kernel command line, instead of \"" DEFAULT_CMDLINE "\"", 0 },
	{ "mem", 'm', "SIZE", 0,
	  "Memory, with K, M, G or T behind the number (256M)", 0 },
	{ "timeout", 't', "SECONDS", 0, "Give up after this time", 0 },
	{ "gdb", KEY_GDB, "PORT", 0,
	  "Wait for gdb on this port of 127.0.0.1 (0: any) before the first instruction; \"target remote 127.0.0.1:PORT\" attaches",
	  0 },
	{ "trace", KEY_TRACE, "FILE", OPTION_ARG_OPTIONAL,
	  "Write a line for each exit of the guest to FILE, or to standard error; with --json as JSON objects",
	  0 },
	{ "stats", KEY_STATS, NULL, 0,
	  "At the end tell how often the guest was entered, and why it exited; with --json in that object, too",
	  0 },
	{ "json", 'j', "FILE", OPTION_ARG_OPTIONAL,
	  "At the end write a JSON object that tells how the guest ended to FILE, or as the last line of standard output",
	  0 },
	{ 0 }
};

static const char doc[] =
	"Boot a Linux kernel; its serial console is the terminal.\n"
	"\vCtrl-A x quits, Ctrl-A Ctrl-A sends Ctrl-A.\n"
	"SIGINT, SIGTERM, SIGHUP and SIGQUIT quit, too.\n"
	"\"tsc_early_khz=\" is added to the command line unless it is there.\n"
	"\n"
	"The exit status tells how the guest ended:\n"
	"   0  powered off\n"
	"   1  could not be started, or the host failed\n"
	"   2  rebooted (reset)\n"
	"   3  crashed: a triple fault, or an access that nothing can complete;\n"
	"      registers are printed\n"
	"   4  timed out (--timeout)\n"
	"   5  quit by Ctrl-A x or a signal\n"
	"   6  halted with interrupts off\n"
	"  64  wrong usage";

static int parse_memory_size(const char *text, struct options *options)
{
	if (size_parse(text, &options->memory_size))
		command_misused("--mem %s is not a size: give one such as 256M",
				text);
	else if (!options->memory_size || options->memory_size % WISP_PAGE_SIZE)
		command_misused("--mem %s is not a multiple of 4K above 0: give one such as 256M",
				text);
	return 0;
}

static int parse_timeout(const char *text, struct options *options)
{
	char *end;

	options->timeout = strtod(text, &end);
	if (end == text || *end || !(options->timeout > 0) ||
	    options->timeout > TIMEOUT_MAX_S)
		command_misused("--timeout %s is no number of seconds above 0: give one such as 30",
				text);
	return 0;
}

static int parse_port(const char *text, struct options *options)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);

	if (end == text || *end || *text == '-' || port > UINT16_MAX)
		command_misused("--gdb %s is not a port: give one such as 1234",
				text);
	options->has_gdb = true;
	options->gdb_port = (uint16_t)port;
	return 0;
}

static int check_options(const struct options *options)
{
	if (!options->kernel)
		command_misused("no kernel: give one with --kernel, such as /boot/vmlinuz");
	if (options->initrd && options->root)
		command_misused("both --initrd and --root: give one of them");
	return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 'k':
		options->kernel = arg;
		return 0;
	case 'i':
		options->initrd = arg;
		return 0;
	case 'r':
		options->root = arg;
		return 0;
	case 'a':
		options->append = arg;
		return 0;
	case 'm':
		return parse_memory_size(arg, options);
	case 't':
		return parse_timeout(arg, options);
	case 'j':
		options->json = arg ?: "-";
		return 0;
	case KEY_GDB:
		return parse_port(arg, options);
	case KEY_TRACE:
		options->has_trace = true;
		options->trace = arg;
		return 0;
	case KEY_STATS:
		options->has_stats = true;
		return 0;
	case ARGP_KEY_ARG:
		command_misused("\"%s\" belongs to no option: see wisp run --help",
				arg);
		return 0;
	case ARGP_KEY_END:
		return check_options(options);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = argp_options,
	.parser = parse,
	.doc = doc,
};

static int fail(struct run *run, const char *what, const char *path, int error)
{
	const char *advice = "give another";
	const char *wrong = strerror(-error);

	if (error == -ENODEV || error == -EISDIR)
		wrong = "not a regular file";
	else if (error == -EACCES)
		advice = "see its permissions";
	else if (error == -ENOMEM)
		advice = "free memory, or give a smaller one";
	ending_set(&run->ending, ENDING_ERROR, "%s %s: %s: %s", what, path,
		   wrong, advice);
	return -1;
}

static int read_file(struct run *run, struct file *file, const char *what,
		     const char *path)
{
	int ret = file_read(file, path);

	return ret ? fail(run, what, path, ret) : 0;
}

static bool has_parameter(const char *cmdline, const char *name)
{
	const char *at = cmdline;

	while ((at = strstr(at, name))) {
		if (at == cmdline || at[-1] == ' ')
			return true;
		at++;
	}
	return false;
}

/* The kernel would look for another root and panic. */
static int check_init(struct run *run, const char *folder)
{
	const char *append = run->options.append ?: "";
	char path[PATH_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "%s/init", folder);
	if (has_parameter(append, "rdinit=") || !lstat(path, &st))
		return 0;
	ending_set(&run->ending, ENDING_ERROR,
		   "--root %s: no init in it: add one, or name another with rdinit= in --append",
		   folder);
	return -1;
}

static int pack_root(struct run *run, const char *folder)
{
	char *culprit = NULL;
	struct stat st;
	int ret;

	if (stat(folder, &st))
		return fail(run, "--root", folder, -errno);
	if (!S_ISDIR(st.st_mode))
		return fail(run, "--root", folder, -ENOTDIR);
	if (check_init(run, folder))
		return -1;
	ret = cpio_pack(&run->initrd, folder, &culprit);
	if (ret)
		fail(run, "--root", culprit ?: folder, ret);
	free(culprit);
	return ret;
}

static int load_files(struct run *run)
{
	const struct options *options = &run->options;

	if (read_file(run, &run->kernel, "--kernel", options->kernel))
		return -1;
	if (options->initrd)
		return read_file(run, &run->initrd, "--initrd",
				 options->initrd);
	if (options->root)
		return pack_root(run, options->root);
	return 0;
}

/* The guest's TSC runs at the host's rate, so nothing need be measured. */
static int make_cmdline(struct run *run)
{
	const char *append = run->options.append ?: DEFAULT_CMDLINE;
	uint32_t khz = run->machine.query.tsc_khz;
	int ret;

	/* In front: what follows "--" is not the kernel's. */
	if (khz && !has_parameter(append, "tsc_early_khz="))
		ret = asprintf(&run->cmdline, "tsc_early_khz=%u %s", khz,
			       append);
	else
		ret = asprintf(&run->cmdline, "%s", append);
	if (ret >= 0)
		return 0;
	run->cmdline = NULL;
	return fail(run, "--append", append, -ENOMEM);
}

static int boot(struct run *run)
{
	static const char elf_magic[] = { 0x7f, 'E', 'L', 'F' };
	const struct file *kernel = &run->kernel;
	char error[256] = "";
	struct wisp_linux_boot boot = {
		.kernel = run->kernel.data,
		.kernel_size = run->kernel.size,
		.initrd = run->initrd.data,
		.initrd_size = run->initrd.size,
		.cmdline = run->cmdline,
		.memory_size = run->options.memory_size,
		.acpi_rsdp = ACPI_TABLES_GPA,
		.error = error,
		.error_size = sizeof(error),
	};
	int ret;

	if (kernel->size >= sizeof(elf_magic) &&
	    !memcmp(kernel->data, elf_magic, sizeof(elf_magic)))
		ret = wisp_boot_pvh(run->machine.vm, run->machine.page, &boot);
	else
		ret = wisp_boot_linux(run->machine.vm, run->machine.page, &boot);
	if (!ret)
		return 0;
	ending_set(&run->ending, ENDING_ERROR, "%s", error);
	return -1;
}

static int start_gdb(struct run *run)
{
	struct machine *machine = &run->machine;
	uint16_t port = run->options.gdb_port;
	int ret;

	ret = gdb_start(&run->gdb, &port, machine->vm, machine->page,
			machine_wake, machine);
	if (ret) {
		ending_set(&run->ending, ENDING_ERROR,
			   "--gdb %u: %s: give another port", port,
			   strerror(-ret));
		return -1;
	}
	machine->gdb = &run->gdb;
	fprintf(stderr, "wisp: waiting for gdb: target remote 127.0.0.1:%u\n",
		port);
	return 0;
}

static int start_trace(struct run *run)
{
	const char *path = run->options.trace;
	int ret;

	ret = trace_open(&run->trace, path, run->options.json);
	if (ret) {
		ending_set(&run->ending, ENDING_ERROR,
			   "--trace %s: %s: give a file that can be written",
			   path, strerror(-ret));
		return -1;
	}
	run->machine.trace = &run->trace;
	return 0;
}

static void end_trace(struct run *run)
{
	if (trace_close(&run->trace))
		fprintf(stderr, "wisp: --trace: not all of it could be written: free some room\n");
}

static void run_guest(struct run *run, const sigset_t *signals)
{
	struct machine *machine = &run->machine;
	int ret;

	ret = console_start(&run->console, signals, machine_wake, machine);
	if (ret) {
		ending_set(&run->ending, ENDING_ERROR,
			   "no console: %s: close other programs",
			   strerror(-ret));
		return;
	}
	machine->console = &run->console;
	if (run->options.timeout > 0)
		machine->deadline = machine_now() +
			(uint64_t)(run->options.timeout * NS_PER_S);
	machine_run(machine);
	console_stop(&run->console);
	if (run->options.has_stats)
		run->ending.has_stats = !wisp_stats(machine->vm,
						    &run->ending.stats);
}

static void run_watched(struct run *run, const sigset_t *signals)
{
	if (run->options.has_trace && start_trace(run))
		return;
	if (!run->options.has_gdb) {
		run_guest(run, signals);
	} else if (!start_gdb(run)) {
		run_guest(run, signals);
		gdb_end(&run->gdb, (int)run->ending.kind);
	}
	end_trace(run);
}

static void try_run(struct run *run, const sigset_t *signals)
{
	if (load_files(run) ||
	    machine_create(&run->machine, run->options.memory_size,
			   &run->ending))
		return;
	if (!make_cmdline(run) && !boot(run)) {
		/* The guest has its copy. */
		file_free(&run->kernel);
		file_free(&run->initrd);
		run_watched(run, signals);
	}
	machine_destroy(&run->machine);
}

static void write_json(struct run *run)
{
	const char *path = run->options.json;
	FILE *stream = stdout;
	int ret;

	if (!path)
		return;
	if (strcmp(path, "-"))
		stream = fopen(path, "we");
	ret = stream ? ending_print_json(&run->ending, stream) : -1;
	if (stream && stream != stdout && fclose(stream))
		ret = -1;
	if (ret)
		fprintf(stderr, "wisp: --json %s: %s: give a file that can be written\n",
			path, strerror(errno));
}

int command_run(int argc, char **argv)
{
	struct run run = { .options.memory_size = DEFAULT_MEMORY_SIZE };
	sigset_t signals;

	argp_parse(&argp, argc, argv, 0, NULL, &run.options);
	console_setup_signals(&signals);
	try_run(&run, &signals);

	ending_print(&run.ending);
	write_json(&run);
	free(run.cmdline);
	file_free(&run.kernel);
	file_free(&run.initrd);
	return (int)run.ending.kind;
}
