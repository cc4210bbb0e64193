// SPDX-License-Identifier: GPL-2.0
/*
 * The host's kernel writes into a guest's memory for a VMM: vhost, which copies, and
 * files read by O_DIRECT, which would pin. The lab has their modules in /io.
 */
#include <linux/aio_abi.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "../harness.h"
#include "../modules.h"
#include "guest.h"

/* The queues of a vhost-vsock: what the guest gets, and what it sends. */
#define RX	0
#define TX	1

/* Each part of the two rings is in a page of its own. */
#define RINGS		0x100000
#define DESC(queue)	(RINGS + (queue) * 0x10000ULL)
#define AVAIL(queue)	(DESC(queue) + 0x1000)
#define USED(queue)	(DESC(queue) + 0x2000)
#define BUFFERS(queue)	(DESC(queue) + 0x3000)
#define BUFFER_SIZE	0x400
#define RING_SIZE	4

#define CID		77
#define PORT		5000

/* Where the number of buffers is that came back, and what the first of them says. */
#define USED_INDEX	0x102002
#define FIRST_OP	0x10301e

/* Waits for the first buffer, as a driver does that polls. */
SNIPPET(driver, 64,
	"	hlt\n"
	"1:	cmpw $0, " STR(USED_INDEX) "\n"
	"	je 1b\n"
	"	movzwl " STR(FIRST_OP) ", %eax\n"
	"	hlt");

static __u64 word(int fd, __u64 gpa)
{
	__u64 value;

	return pread(fd, &value, 8, gpa) == 8 ? value : ~0ULL;
}

/* ---- vhost --------------------------------------------------------------- */

FIXTURE(vhost) {
	struct guest g;
	int device;
	int kicks[2];
	int calls[2];
	int snapshot;	/* the guest waits, vhost has done nothing yet */
	int fork;
};

static int set_up_queue(struct _test_data_vhost *self, __u32 queue)
{
	struct vhost_vring_state size = { .index = queue, .num = RING_SIZE };
	struct vhost_vring_addr addr = {
		.index = queue,
		.desc_user_addr = (uintptr_t)guest_at(&self->g, DESC(queue)),
		.avail_user_addr = (uintptr_t)guest_at(&self->g, AVAIL(queue)),
		.used_user_addr = (uintptr_t)guest_at(&self->g, USED(queue)),
	};
	struct vhost_vring_file file = { .index = queue };
	struct vring_desc *desc = guest_at(&self->g, DESC(queue));
	struct vring_avail *avail = guest_at(&self->g, AVAIL(queue));
	int ret;

	for (int i = 0; i < RING_SIZE; i++) {
		desc[i].addr = BUFFERS(queue) + i * BUFFER_SIZE;
		desc[i].len = queue == RX ? BUFFER_SIZE :
					    sizeof(struct virtio_vsock_hdr);
		desc[i].flags = queue == RX ? VRING_DESC_F_WRITE : 0;
		avail->ring[i] = i;
	}
	avail->idx = queue == RX ? RING_SIZE : 0;
	self->kicks[queue] = eventfd(0, EFD_CLOEXEC);
	self->calls[queue] = eventfd(0, EFD_CLOEXEC);
	ret = raw(self->device, VHOST_SET_VRING_NUM, &size) ?:
	      raw(self->device, VHOST_SET_VRING_ADDR, &addr);
	file.fd = self->kicks[queue];
	ret = ret ?: raw(self->device, VHOST_SET_VRING_KICK, &file);
	file.fd = self->calls[queue];
	return ret ?: raw(self->device, VHOST_SET_VRING_CALL, &file);
}

static int set_up_device(struct _test_data_vhost *self)
{
	struct {
		struct vhost_memory table;
		struct vhost_memory_region region;
	} memory = {
		.table.nregions = 1,
		.region.memory_size = GUEST_SIZE,
		.region.userspace_addr = (uintptr_t)self->g.memory,
	};
	__u64 features = 1ULL << VIRTIO_F_VERSION_1, cid = CID;

	return raw(self->device, VHOST_SET_OWNER, NULL) ?:
	       raw(self->device, VHOST_SET_FEATURES, &features) ?:
	       raw(self->device, VHOST_SET_MEM_TABLE, &memory) ?:
	       raw(self->device, VHOST_VSOCK_SET_GUEST_CID, &cid) ?:
	       set_up_queue(self, RX) ?: set_up_queue(self, TX);
}

/* Where it is in its rings is what it knows besides the guest's memory. */
static int base_of(struct _test_data_vhost *self, __u32 queue)
{
	struct vhost_vring_state base = { .index = queue };

	return raw(self->device, VHOST_GET_VRING_BASE, &base) ?: (int)base.num;
}

static int start_at(struct _test_data_vhost *self, int rx, int tx)
{
	struct vhost_vring_state bases[] = { { RX, rx }, { TX, tx } };
	int running = 1;

	return raw(self->device, VHOST_SET_VRING_BASE, &bases[0]) ?:
	       raw(self->device, VHOST_SET_VRING_BASE, &bases[1]) ?:
	       raw(self->device, VHOST_VSOCK_SET_RUNNING, &running);
}

static int stop(struct _test_data_vhost *self)
{
	int running = 0;

	return raw(self->device, VHOST_VSOCK_SET_RUNNING, &running);
}

FIXTURE_SETUP(vhost)
{
	ASSERT_EQ(0, modules_load("/io"));
	ASSERT_EQ(0, guest_create(&self->g));
	self->device = open("/dev/vhost-vsock", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->device);
	ASSERT_EQ(0, set_up_device(self));
	GUEST_LOAD(&self->g, LONG64, driver);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	self->snapshot = raw_snapshot(self->g.vm);
	ASSERT_LE(0, self->snapshot);
	self->fork = raw_fork(self->g.sys, self->snapshot);
	ASSERT_LE(0, self->fork);
}

FIXTURE_TEARDOWN(vhost)
{
	close(self->device);
	for (int i = 0; i < 2; i++) {
		close(self->kicks[i]);
		close(self->calls[i]);
	}
	close(self->fork);
	close(self->snapshot);
	guest_destroy(&self->g);
}

static bool comes(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, 10000) == 1;
}

static __u16 used_by(int fd, __u32 queue)
{
	return word(fd, USED(queue)) >> 16;
}

/* vhost has used @n buffers of the queue, and says so. */
static bool wait_used(struct _test_data_vhost *self, __u32 queue, __u16 n)
{
	__u64 count;

	while (used_by(self->g.vm, queue) != n)
		if (!comes(self->calls[queue], POLLIN) ||
		    read(self->calls[queue], &count, 8) != 8)
			return false;
	return true;
}

/* Somebody on the host calls the guest. */
static int connect_to_guest(void)
{
	struct sockaddr_vm address = {
		.svm_family = AF_VSOCK, .svm_cid = CID, .svm_port = PORT,
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (connect(fd, (void *)&address, sizeof(address)) && errno != EINPROGRESS)
		return -errno;
	return fd;
}

/* The guest gets the @n-th buffer, and has nobody who listens. */
static int refuse(struct _test_data_vhost *self, __u16 n)
{
	struct virtio_vsock_hdr *got = guest_at(&self->g, BUFFERS(RX)) +
				       n * BUFFER_SIZE;
	struct virtio_vsock_hdr *put = guest_at(&self->g, BUFFERS(TX)) +
				       n * BUFFER_SIZE;
	struct vring_avail *avail = guest_at(&self->g, AVAIL(TX));

	if (got->op != VIRTIO_VSOCK_OP_REQUEST || got->dst_cid != CID ||
	    got->src_cid != VMADDR_CID_HOST || got->dst_port != PORT)
		return -EPROTO;
	*put = (struct virtio_vsock_hdr){
		.src_cid = CID, .dst_cid = VMADDR_CID_HOST,
		.src_port = PORT, .dst_port = got->src_port,
		.type = VIRTIO_VSOCK_TYPE_STREAM, .op = VIRTIO_VSOCK_OP_RST,
	};
	__atomic_store_n(&avail->idx, n + 1, __ATOMIC_RELEASE);
	return eventfd_write(self->kicks[TX], 1) ? -errno : 0;
}

/* A call for the guest, as the @n-th: both queues are used once more. */
static void call(struct __test_metadata *_metadata, struct _test_data_vhost *self,
		 __u16 n)
{
	socklen_t size = sizeof(int);
	int fd = connect_to_guest(), error = 0;

	ASSERT_LE(0, fd);
	ASSERT_TRUE(wait_used(self, RX, n + 1));
	ASSERT_EQ(0, refuse(self, n));
	ASSERT_TRUE(wait_used(self, TX, n + 1));
	/* The guest was understood. */
	ASSERT_TRUE(comes(fd, POLLOUT));
	ASSERT_EQ(0, getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size));
	EXPECT_EQ(ECONNRESET, error);
	close(fd);
}

static void expect_calls(struct __test_metadata *_metadata, int fd, __u16 n)
{
	EXPECT_EQ(n, used_by(fd, RX));
	EXPECT_EQ(n, used_by(fd, TX));
	for (int i = 0; i < RING_SIZE; i++) {
		EXPECT_EQ(i < n ? VMADDR_CID_HOST : 0,
			  word(fd, BUFFERS(RX) + i * BUFFER_SIZE));
	}
}

TEST_F(vhost, its_copies_are_tracked_and_taken_back)
{
	struct wisp_discard discard = {
		.size = sizeof(discard), .offset = GUEST_DATA, .discard_size = PAGE,
	};
	struct guest *g = &self->g;
	struct guest_thread t;

	EXPECT_FALSE(guest_is_dirty(g->vm, USED(RX)));
	for (int round = 0; round < 4; round++) {
		g->page->complete = 1;
		g->page->want = WISP_STATE_GENERAL;
		guest_thread_start(&t, g, 0);
		ASSERT_EQ(0, start_at(self, 0, 0));
		call(_metadata, self, 0);
		EXPECT_EQ(WISP_EXIT_HLT, guest_thread_join(&t));
		EXPECT_EQ(VIRTIO_VSOCK_OP_REQUEST, g->page->state.general.rax);
		ASSERT_EQ(0, stop(self));
		EXPECT_TRUE(guest_is_dirty(g->vm, USED(RX)));
		EXPECT_TRUE(guest_is_dirty(g->vm, USED(TX)));
		EXPECT_TRUE(guest_is_dirty(g->vm, BUFFERS(RX)));
		EXPECT_FALSE(guest_is_dirty(g->vm, DESC(RX)));
		expect_calls(_metadata, g->vm, 1);
		expect_calls(_metadata, self->snapshot, 0);
		expect_calls(_metadata, self->fork, 0);
		/* Of the two kinds of reset, one after the other. */
		if (round & 1)
			ASSERT_EQ(0, raw(g->fd, WISP_DISCARD, &discard));
		ASSERT_EQ(0, raw_reset(g->vm, self->snapshot));
		expect_calls(_metadata, g->vm, 0);
		EXPECT_EQ(0, *(volatile __u64 *)guest_at(g, BUFFERS(RX)));
	}
}

/* What it could write is not the VM's alone any more, and it goes on. */
TEST_F(vhost, goes_on_over_snapshots)
{
	int snapshots[RING_SIZE], forks[RING_SIZE], rx[RING_SIZE], tx[RING_SIZE];
	struct guest *g = &self->g;

	ASSERT_EQ(0, start_at(self, 0, 0));
	for (int i = 0; i < RING_SIZE; i++) {
		snapshots[i] = raw_snapshot(g->vm);
		ASSERT_LE(0, snapshots[i]);
		forks[i] = raw_fork(g->sys, snapshots[i]);
		ASSERT_LE(0, forks[i]);
		rx[i] = base_of(self, RX);
		tx[i] = base_of(self, TX);
		/* Flags in a ring it may write at any time, behind a call, too. */
		EXPECT_FALSE(guest_is_dirty(g->vm, BUFFERS(RX)));
		call(_metadata, self, i);
		EXPECT_TRUE(guest_is_dirty(g->vm, USED(RX)));
		EXPECT_TRUE(guest_is_dirty(g->vm, USED(TX)));
		EXPECT_TRUE(guest_is_dirty(g->vm, BUFFERS(RX)));
	}
	expect_calls(_metadata, g->vm, RING_SIZE);
	/* And from each of them on again. */
	for (int i = 0; i < RING_SIZE; i++) {
		ASSERT_EQ(0, stop(self));
		ASSERT_EQ(0, raw_reset(g->vm, snapshots[i]));
		expect_calls(_metadata, g->vm, i);
		ASSERT_EQ(0, start_at(self, rx[i], tx[i]));
		call(_metadata, self, i);
		expect_calls(_metadata, g->vm, i + 1);
	}
	for (int i = 0; i < RING_SIZE; i++) {
		expect_calls(_metadata, snapshots[i], i);
		expect_calls(_metadata, forks[i], i);
		close(forks[i]);
		close(snapshots[i]);
	}
}

/* ---- O_DIRECT ------------------------------------------------------------ */

#define DISK		"/dev/ram0"
#define OLD		0x0101010101010101ULL	/* in the guest's pages */
#define ON_DISK		0x5a5a5a5a5a5a5a5aULL

/* A page that the snapshot has, too; one of the VM's own; one that is not there. */
#define SHARED		GUEST_DATA
#define OWN		(GUEST_DATA + 0x1000)
#define HOLE		(GUEST_DATA + 0x2000)

FIXTURE(direct) {
	struct guest g;
	int disk;
	char *buffer;	/* what a disk can be read to */
	int snapshot;
	int fork;
};

FIXTURE_SETUP(direct)
{
	ASSERT_EQ(0, modules_load("/io"));
	ASSERT_EQ(0, guest_create(&self->g));
	self->disk = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, self->disk);
	self->buffer = aligned_alloc(PAGE, PAGE);
	memset(self->buffer, (__u8)ON_DISK, PAGE);
	ASSERT_EQ((ssize_t)PAGE, pwrite(self->disk, self->buffer, PAGE, 0));
	memset(guest_at(&self->g, SHARED), (__u8)OLD, PAGE);
	memset(guest_at(&self->g, OWN), (__u8)OLD, PAGE);
	self->snapshot = raw_snapshot(self->g.vm);
	ASSERT_LE(0, self->snapshot);
	self->fork = raw_fork(self->g.sys, self->snapshot);
	ASSERT_LE(0, self->fork);
	*(volatile __u8 *)guest_at(&self->g, OWN) = (__u8)OLD;
}

FIXTURE_TEARDOWN(direct)
{
	free(self->buffer);
	close(self->disk);
	close(self->fork);
	close(self->snapshot);
	guest_destroy(&self->g);
}

/* The first page of the disk, as who does not wait reads it: bytes, or -errno. */
static long read_aio(int disk, void *to)
{
	struct iocb request = {
		.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = disk,
		.aio_buf = (uintptr_t)to, .aio_nbytes = PAGE,
	};
	struct iocb *requests[] = { &request };
	struct io_event event = { .res = -EIO };
	aio_context_t context = 0;
	int ret;

	if (syscall(SYS_io_setup, 1, &context))
		return -errno;
	ret = syscall(SYS_io_submit, context, 1, requests) == 1 ? 0 : -errno;
	if (!ret)
		ret = syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1 ?
			      0 : -errno;
	syscall(SYS_io_destroy, context);
	return ret ?: event.res;
}

static void expect_all(struct __test_metadata *_metadata,
		       struct _test_data_direct *self, __u64 gpa, __u64 value)
{
	EXPECT_EQ(value, word(self->g.vm, gpa));
	EXPECT_EQ(value, word(self->snapshot, gpa));
	EXPECT_EQ(value, word(self->fork, gpa));
	EXPECT_EQ(value, *(__u64 *)guest_at(&self->g, gpa));
}

TEST_F(direct, is_refused)
{
	static const __u64 pages[] = { SHARED, OWN, HOLE };

	/* Not because of the disk. */
	EXPECT_EQ((ssize_t)PAGE, pread(self->disk, self->buffer, PAGE, 0));
	EXPECT_EQ((long)PAGE, read_aio(self->disk, self->buffer));
	/* A page is asked for before it was touched, and again afterwards. */
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
			void *at = guest_at(&self->g, pages[i]);

			EXPECT_EQ(-1, pread(self->disk, at, PAGE, 0));
			EXPECT_EQ(EFAULT, errno);
			EXPECT_EQ(-EFAULT, read_aio(self->disk, at));
			EXPECT_EQ(-1, pwrite(self->disk, at, PAGE, 0));
			EXPECT_EQ(EFAULT, errno);
			expect_all(_metadata, self, pages[i],
				   pages[i] == HOLE ? 0 : OLD);
		}
	}
	/* Nor was the disk written. */
	EXPECT_EQ((ssize_t)PAGE, pread(self->disk, self->buffer, PAGE, 0));
	EXPECT_EQ(ON_DISK, *(__u64 *)self->buffer);
}

/* Without the flag it is a copy, and a write as others are. */
TEST_F(direct, buffered_is_tracked_and_taken_back)
{
	int disk = open(DISK, O_RDONLY | O_CLOEXEC), vm = self->g.vm;

	ASSERT_LE(0, disk);
	for (int round = 0; round < 2; round++) {
		ASSERT_EQ((ssize_t)PAGE, pread(disk, guest_at(&self->g, SHARED),
					       PAGE, 0));
		EXPECT_EQ((long)PAGE, read_aio(disk, guest_at(&self->g, HOLE)));
		EXPECT_EQ(ON_DISK, word(vm, SHARED));
		EXPECT_EQ(ON_DISK, word(vm, HOLE));
		EXPECT_TRUE(guest_is_dirty(vm, SHARED));
		EXPECT_TRUE(guest_is_dirty(vm, HOLE));
		EXPECT_EQ(OLD, word(self->snapshot, SHARED));
		EXPECT_EQ(OLD, word(self->fork, SHARED));
		EXPECT_EQ(0, word(self->fork, HOLE));
		ASSERT_EQ(0, raw_reset(vm, -1));
		expect_all(_metadata, self, SHARED, OLD);
		expect_all(_metadata, self, HOLE, 0);
	}
	close(disk);
}

TEST_HARNESS_MAIN
