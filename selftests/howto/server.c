// SPDX-License-Identifier: GPL-2.0
/*
 * A server that runs each request in a machine of its own: a Linux that booted
 * once, and that nobody else has used. Documentation/snapshots.rst goes through it.
 */
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* What makes the guest ask for the snapshot: a 1 to the control port, 0x5d5. */
static const char save[] =
	"printf '\\001' | dd of=/dev/port bs=1 seek=1493 count=1 2>/dev/null\n";
#define SAVED	7		/* the exit status of "wisp run" then */

static void boot(int in, int out, char **argv)
{
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	execlp("wisp", "wisp", "run", "--kernel", argv[1], "--initrd", argv[2],
	       "--snapshot", argv[3], "--mem", "128M", "--timeout", "300",
	       "--append", "console=ttyS0 quiet", NULL);
	err(1, "wisp");
}

/* Boots a Linux, and saves it where its shell waits for a command. */
static void warm_up(char **argv)
{
	char byte, last = 0;
	int in[2], out[2], status;

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		err(1, "pipe");
	if (!fork())
		boot(in[0], out[1], argv);
	close(in[0]);
	close(out[1]);
	/* The prompt. */
	while (read(out[0], &byte, 1) == 1 && !(last == '#' && byte == ' '))
		last = byte;
	if (write(in[1], save, sizeof(save) - 1) < 0)
		err(1, "wisp run");
	while (read(out[0], &byte, 1) == 1)
		;
	if (wait(&status) < 0 || !WIFEXITED(status) ||
	    WEXITSTATUS(status) != SAVED)
		errx(1, "%s: the guest was not saved", argv[3]);
}

static int listen_at(const char *port)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(port)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 64))
		err(1, "port %s", port);
	return fd;
}

/* One line is the command; the reply is a JSON object. */
static void serve(int client, const char *folder)
{
	FILE *stream = fdopen(client, "r");
	char request[4096];

	if (!stream || !fgets(request, sizeof(request), stream))
		exit(1);
	dup2(client, STDOUT_FILENO);
	execlp("wisp", "wisp", "fork", folder, "--json", "--timeout", "60",
	       "--exec", request, NULL);
	err(1, "wisp");
}

int main(int argc, char **argv)
{
	int server, client;

	if (argc != 5)
		errx(1, "usage: server KERNEL INITRD FOLDER PORT");
	warm_up(argv);
	server = listen_at(argv[4]);
	warnx("ready");
	signal(SIGCHLD, SIG_IGN);	/* nobody waits for them */
	for (;;) {
		client = accept(server, NULL, NULL);
		if (client >= 0 && !fork())
			serve(client, argv[3]);
		close(client);
	}
}
