// SPDX-License-Identifier: GPL-2.0
/*
 * The module stays while anything of it is in use, and goes when nothing is.
 * It is loaded again as it was.
 */
#include "../harness.h"
#include "life.h"

FIXTURE(unload) {
	char parameters[1000];
	struct guest g;
};

FIXTURE_SETUP(unload)
{
	save_parameters(self->parameters, sizeof(self->parameters));
	ASSERT_EQ(0, wait_refs(0));
	ASSERT_EQ(0, guest_create(&self->g));
}

FIXTURE_TEARDOWN(unload)
{
	if (access("/dev/wisp", F_OK))
		ASSERT_EQ(0, load(self->parameters));
}

static void close_fds(struct guest *g)
{
	close(g->sys);
	close(g->vm);
	close(g->fd);
}

/* With nothing left but one thing, whatever it is. */
TEST_F(unload, refused_while_in_use)
{
	struct guest *g = &self->g;
	int kept[] = { dup(g->sys), dup(g->vm), dup(g->fd) };

	EXPECT_EQ(-EWOULDBLOCK, unload());
	close_fds(g);
	EXPECT_EQ(-EWOULDBLOCK, unload());
	close(kept[0]);
	close(kept[1]);
	munmap(g->page, PAGE);
	munmap(g->memory, GUEST_SIZE);
	EXPECT_EQ(-EWOULDBLOCK, unload())
		TH_LOG("a memory fd");
	close(kept[2]);
	EXPECT_EQ(0, unload());
	EXPECT_NE(0, access("/dev/wisp", F_OK));
	EXPECT_NE(0, access("/sys/module/wisp", F_OK));
	EXPECT_EQ(-ENOENT, raw_open());
}

TEST_F(unload, refused_while_mapped)
{
	struct guest *g = &self->g;

	close_fds(g);
	EXPECT_EQ(-EWOULDBLOCK, unload());
	munmap(g->page, PAGE);
	EXPECT_EQ(-EWOULDBLOCK, unload())
		TH_LOG("a mapping of memory");
	*g->memory = 1;
	munmap(g->memory, GUEST_SIZE);
	EXPECT_EQ(0, unload());
}

TEST_F(unload, refused_while_a_page_is_mapped)
{
	struct guest *g = &self->g;

	close_fds(g);
	munmap(g->memory, GUEST_SIZE);
	EXPECT_EQ(-EWOULDBLOCK, unload());
	EXPECT_EQ(sizeof(*g->page), g->page->size);
	munmap(g->page, PAGE);
	EXPECT_EQ(0, unload());
}

TEST_F(unload, refused_while_an_fd_is_on_its_way)
{
	struct guest *g = &self->g;
	int sockets[2], fd;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	send_fds(sockets[0], &g->vm, 1);
	munmap(g->page, PAGE);
	munmap(g->memory, GUEST_SIZE);
	close_fds(g);
	EXPECT_EQ(-EWOULDBLOCK, unload());
	ASSERT_TRUE(receive_fds(sockets[1], &fd, 1));
	EXPECT_EQ(0, raw_kick(fd, 0));
	close(fd);
	EXPECT_EQ(0, unload());
}

TEST_F(unload, refused_while_another_process_has_it)
{
	struct guest *g = &self->g;
	int pipes[2];
	char byte;
	pid_t pid;

	ASSERT_EQ(0, pipe(pipes));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(pipes[1]);
		_exit(read(pipes[0], &byte, 1) != 0);
	}
	munmap(g->page, PAGE);
	munmap(g->memory, GUEST_SIZE);
	close_fds(g);
	EXPECT_EQ(-EWOULDBLOCK, unload());
	close(pipes[1]);
	EXPECT_EQ(0, wait_child(pid));
	EXPECT_EQ(0, unload());
}

TEST_HARNESS_MAIN
