// SPDX-License-Identifier: MIT
/* wisp resume: go on with a guest that was saved. */
#include "command.h"
#include "session.h"

struct resume {
	const char *folder;
	struct session session;
};

static const char doc[] =
	"Go on with the guest that was saved in DIR, as often as wanted.\n"
	"\v" SESSION_DOC
	"\n" SESSION_STATUSES;

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct resume *resume = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &resume->session;
		return 0;
	case ARGP_KEY_ARG:
		if (resume->folder)
			command_misused("\"%s\" is a second folder: give one",
					arg);
		resume->folder = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		command_misused("no folder: give one that has a snapshot");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_child children[] = {
	{ &session_argp, 0, NULL, 0 },
	{ 0 }
};

static const struct argp argp = {
	.parser = parse,
	.args_doc = "DIR",
	.doc = doc,
	.children = children,
};

static void try_resume(struct session *session, const char *folder)
{
	struct machine_image image;

	if (session_start(session) ||
	    machine_image_open(&image, folder, &session->ending))
		return;
	if (!machine_fork(&session->machine, &image, &session->ending)) {
		machine_image_seal(&image);
		session_run(session);
		machine_destroy(&session->machine);
	}
	machine_image_close(&image);
}

int command_resume(int argc, char **argv)
{
	struct resume resume = { 0 };

	argp_parse(&argp, argc, argv, 0, NULL, &resume);
	try_resume(&resume.session, resume.folder);
	return session_end(&resume.session);
}
