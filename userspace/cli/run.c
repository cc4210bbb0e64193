// SPDX-License-Identifier: MIT
/* wisp run: boot a Linux kernel with its console on the terminal. */
#include "command.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cpio.h"
#include "file.h"
#include "session.h"
#include "size.h"

#define DEFAULT_MEMORY_SIZE	(256ULL << 20)
#define DEFAULT_CMDLINE		"console=ttyS0"

struct options {
	const char *kernel;
	const char *initrd;
	const char *root;
	const char *append;
	uint64_t memory_size;
};

/* What is held from start to end. */
struct run {
	struct options options;
	struct session session;
	struct file kernel;
	struct file initrd;
	char *cmdline;
};

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
	{ 0 }
};

static const char doc[] =
	"Boot a Linux kernel; its serial console is the terminal.\n"
	"\v" SESSION_DOC
	"\"tsc_early_khz=\" is added to the command line unless it is there.\n"
	"\n" SESSION_STATUSES;

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

static int check_options(const struct options *options)
{
	if (!options->kernel)
		command_misused("no kernel: give one with --kernel, such as /boot/vmlinuz-$(uname -r)");
	if (options->initrd && options->root)
		command_misused("both --initrd and --root: give one of them");
	return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct run *run = state->input;
	struct options *options = &run->options;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &run->session;
		return 0;
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

static const struct argp_child children[] = {
	{ &session_argp, 0, NULL, 0 },
	{ 0 }
};

static const struct argp argp = {
	.options = argp_options,
	.parser = parse,
	.doc = doc,
	.children = children,
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
	ending_set(&run->session.ending, ENDING_ERROR, "%s %s: %s: %s", what, path,
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
	ending_set(&run->session.ending, ENDING_ERROR,
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
	uint32_t khz = run->session.machine.query.tsc_khz;
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
		ret = wisp_boot_pvh(run->session.machine.vm, run->session.machine.page, &boot);
	else
		ret = wisp_boot_linux(run->session.machine.vm, run->session.machine.page, &boot);
	if (!ret)
		return 0;
	ending_set(&run->session.ending, ENDING_ERROR, "%s", error);
	return -1;
}

static void try_run(struct run *run)
{
	struct machine *machine = &run->session.machine;

	if (session_start(&run->session) || load_files(run) ||
	    machine_create(machine, run->options.memory_size,
			   &run->session.ending))
		return;
	if (!make_cmdline(run) && !boot(run)) {
		/* The guest has its copy. */
		file_free(&run->kernel);
		file_free(&run->initrd);
		session_run(&run->session);
	}
	machine_destroy(machine);
}

int command_run(int argc, char **argv)
{
	struct run run = { .options.memory_size = DEFAULT_MEMORY_SIZE };

	argp_parse(&argp, argc, argv, 0, NULL, &run);
	try_run(&run);
	free(run.cmdline);
	file_free(&run.kernel);
	file_free(&run.initrd);
	return session_end(&run.session);
}
