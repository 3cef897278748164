/* SPDX-License-Identifier: BSD-2-Clause */
/* What comes while a call holds the receiver's lock waits on sk_backlog. The kernel drops it if that and sk_rmem_alloc, which counts
 * redirected bytes (fact 12), are more than 2 * sk_rcvbuf + sk_sndbuf / 2 + 64 KiB (tcp_add_backlog()). Data is sent again, and a FIN; of a
 * RST that was dropped the reader never learns. gate_leaves_backlog() stays below that. */
#define _GNU_SOURCE
#include "kernel_rig.h"

#include <pthread.h>

#include "../support/withheld_page.h"

#define AWAITED_MS 2000
#define RESET_MS 200 /* on loopback a RST takes well under one */
#define CHUNK_BYTES (64 * 1024)
#define HEADROOM_BYTES (64 * 1024)

struct reader {
	int fd;
	char *memory;
};

static void *receive_withheld(void *argument)
{
	const struct reader *reader = argument;

	require(recv(reader->fd, reader->memory, WITHHELD_BYTES, 0) == WITHHELD_BYTES);
	return NULL;
}

static int option_of(int fd, int name)
{
	socklen_t length = sizeof(int);
	int value;

	require(getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0);
	return value;
}

static void redirect_bytes(struct rig *rig, int bytes)
{
	static char chunk[CHUNK_BYTES];

	rig->control->mode = KERNEL_TEST_REDIRECT;
	for (int part; bytes > 0; bytes -= part) {
		part = bytes < CHUNK_BYTES ? bytes : CHUNK_BYTES;
		require(send(rig->ends[0], chunk, (size_t)part, MSG_DONTWAIT | MSG_NOSIGNAL) == part);
	}
}

/* Whether an end learns of a RST that comes in the middle of its receive, behind so many redirected bytes. */
static bool learns_of_reset(struct rig *rig, int (*bytes_of)(int fd))
{
	const struct linger reset = { .l_onoff = 1 };
	static char chunk[CHUNK_BYTES];
	struct withheld_page page;
	struct reader reader;
	pthread_t thread;

	require(withheld_page_open(&page));
	rig_connect_joined(rig);
	redirect_bytes(rig, bytes_of(rig->ends[1]));
	reader = (struct reader){ .fd = rig->ends[1], .memory = page.memory };
	require(pthread_create(&thread, NULL, receive_withheld, &reader) == 0);
	require(withheld_page_is_awaited(&page, AWAITED_MS));
	require(setsockopt(rig->ends[0], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	close(rig->ends[0]);
	rig->ends[0] = -1;
	require(withheld_page_give(&page));
	pthread_join(thread, NULL);
	while (recv(rig->ends[1], chunk, sizeof(chunk), MSG_DONTWAIT) > 0)
		;
	bool learns = errno == ECONNRESET || (readable_within(rig->ends[1], RESET_MS) &&
					      recv(rig->ends[1], chunk, 1, MSG_DONTWAIT) < 0 && errno == ECONNRESET);
	rig_close(rig);
	withheld_page_close(&page);
	return learns;
}

static int as_the_gate_has_it(int fd)
{
	return option_of(fd, SO_RCVBUF) + option_of(fd, SO_SNDBUF) / 2;
}

static int too_much(int fd)
{
	return 2 * option_of(fd, SO_RCVBUF) + option_of(fd, SO_SNDBUF) / 2 + HEADROOM_BYTES + CHUNK_BYTES;
}

int main(void)
{
	struct rig rig;

	alarm(30);
	rig_load(&rig);
	check(learns_of_reset(&rig, as_the_gate_has_it), "backlog", "a-reset-amid-a-receive-is-seen", "-");
	check(!learns_of_reset(&rig, too_much), "backlog", "behind-too-many-redirected-bytes-it-is-dropped", "-");
	rig_unload(&rig);
	return kernel_test_finish();
}
