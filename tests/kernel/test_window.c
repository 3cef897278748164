/* SPDX-License-Identifier: BSD-2-Clause */
/* What a receive window that has grown does to the gate, and how it is closed: a part of KERNEL-FACTS 12b.
 *
 * Runs in a network namespace of its own, whose tcp_rmem it sets.
 */
#define _GNU_SOURCE
#include "kernel_namespace.h"
#include "kernel_test.h"

#include "../support/growing.h"
#include "datapath_internal.h"

#define CLAMP (256 * 1024)
#define MESSAGE (64 * 1024)
#define MESSAGES_MAX 2000 /* 128 MiB */
#define ATTEMPTS 20

/* One message, read at once. True if it was redirected. */
static bool redirects(const int ends[2], const struct sm_direction *direction)
{
	static char message[MESSAGE];
	uint64_t before = direction->redirected_msgs;

	require(write_whole(ends[0], message, sizeof(message)) == 0 &&
		read_whole(ends[1], message, sizeof(message)) == 0);
	return direction->redirected_msgs != before;
}

static int clamp_of(int fd)
{
	int value = 0;
	socklen_t length = sizeof(value);

	require(getsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &value, &length) == 0);
	return value;
}

/* A connection of the real gate with a window that is all that it can be. Not every one that grows has opened it as far. */
static struct datapath *open_grown(int ends[2])
{
	const struct datapath_options options = { .slot_count = 1 };

	for (int i = 0; i < ATTEMPTS; i++) {
		struct datapath *datapath;

		require(datapath_open(&datapath, &options) == 0);
		growing_pair(&ends[0], &ends[1], 0);
		require(datapath_probe_arm(datapath, ends) == 0);
		if (!redirects(ends, &datapath_slots(datapath, NULL)->direction[0]))
			return datapath;
		close(ends[0]);
		close(ends[1]);
		datapath_close(datapath);
	}
	return NULL;
}

int main(void)
{
	const struct sm_direction *direction;
	struct datapath *datapath;
	int ends[2], before, clamp = CLAMP, passed = 0;

	alarm(50);
	enter_namespace();
	datapath = open_grown(ends);
	if (!check(datapath, "fact-12b", "a-window-of-all-of-tcp-rmem-leaves-no-room", "in none of %d connections",
		   ATTEMPTS))
		return kernel_test_finish();
	direction = &datapath_slots(datapath, NULL)->direction[0];
	for (int i = 0; i < 100; i++)
		passed += !redirects(ends, direction);
	check(passed == 100, "fact-12b", "however-often-it-is-tried", "%d of 100 passed", passed);

	before = clamp_of(ends[1]);
	require(setsockopt(ends[1], IPPROTO_TCP, TCP_WINDOW_CLAMP, &clamp, sizeof(clamp)) == 0);
	check(!redirects(ends, direction), "fact-12b", "a-clamp-takes-nothing-back", "-");
	for (passed = 1; passed < MESSAGES_MAX && !redirects(ends, direction); passed++)
		;
	printf("# a buffer of %d bytes, a clamp of %d; %d messages of 64 KiB passed before one was redirected\n",
	       receive_buffer_bytes(ends[1]), before, passed);
	check(passed < MESSAGES_MAX, "fact-12b", "but-the-window-runs-down-to-it", "-");
	check(clamp_of(ends[1]) == CLAMP, "fact-12b", "and-a-buffer-of-tcp-rmem-keeps-it", "%d", clamp_of(ends[1]));
	check(redirects(ends, direction), "fact-12b", "and-all-that-follows-redirects", "-");
	close(ends[0]);
	close(ends[1]);
	datapath_close(datapath);
	return kernel_test_finish();
}
