/* SPDX-License-Identifier: BSD-2-Clause */
/* A reader that is at work on its socket while more comes: its receive waits for memory to copy to, with the socket's lock held. The
 * redirect of a message sleeps for that lock; TCP does not. */
#define _GNU_SOURCE
#include "kernel_pair.h"

#include <pthread.h>

#include "../support/withheld_page.h"
#include "gate.h"

#define SLOTS 1
#define NOTICE_MS 200
#define WAKE_MS 5000

static struct withheld_page page;
static char large[GATE_WORTH_A_WAIT_BYTES];

struct call {
	pthread_t thread;
	int fd;
	_Atomic bool done;
	ssize_t result;
};

static void *receive_withheld(void *argument)
{
	struct call *call = argument;

	call->result = recv(call->fd, page.memory, WITHHELD_BYTES, 0);
	call->done = true;
	return NULL;
}

static void *send_large(void *argument)
{
	struct call *call = argument;

	call->result = send(call->fd, large, sizeof(large), MSG_NOSIGNAL);
	call->done = true;
	return NULL;
}

static void call_start(struct call *call, int fd, void *run(void *))
{
	*call = (struct call){ .fd = fd };
	require(pthread_create(&call->thread, NULL, run, call) == 0);
}

/* A small message, then a large one, while the reader is at work. */
static void test_busy_reader(struct datapath *datapath)
{
	const struct sm_direction *direction;
	struct call reader, writer;
	struct pair pair;
	uint64_t before;

	pair_arm(datapath, &pair, 0);
	direction = &pair.slot->direction[0];
	require(sent(pair.ends[0], "first"));
	call_start(&reader, pair.ends[1], receive_withheld);
	require(withheld_page_is_awaited(&page, WAKE_MS));
	before = now_ns();
	require(sent(pair.ends[0], "second"));
	check(direction->busy_passes == 1 && direction->passed_msgs == 1, "gate",
	      "a-busy-reader-gets-small-messages-by-tcp", "%llu busy, %llu passed",
	      (unsigned long long)direction->busy_passes, (unsigned long long)direction->passed_msgs);
	/* What waits for the reader's lock waits until the page is given. */
	check(now_ns() - before < WAKE_MS * 1000000ull && !reader.done, "gate", "which-do-not-wait-for-it", "%llu ms",
	      (unsigned long long)(now_ns() - before) / 1000000);
	require(withheld_page_give(&page) && pthread_join(reader.thread, NULL) == 0);
	check(reader.result == 5 && received(pair.ends[1], "second") && one_message(&pair) == 1, "gate",
	      "then-redirects-again", "%zd", reader.result);
	withheld_page_close(&page);

	require(withheld_page_open(&page) && sent(pair.ends[0], "first"));
	call_start(&reader, pair.ends[1], receive_withheld);
	require(withheld_page_is_awaited(&page, WAKE_MS));
	before = redirected(&pair, 0);
	call_start(&writer, pair.ends[0], send_large);
	check(!wait_until(writer.done, NOTICE_MS), "fact", "a-redirect-waits-for-the-readers-lock", "%zd",
	      writer.result);
	require(withheld_page_give(&page));
	require(pthread_join(reader.thread, NULL) == 0 && pthread_join(writer.thread, NULL) == 0);
	check(writer.result == sizeof(large) && redirected(&pair, 0) == before + 1, "gate",
	      "which-a-large-message-is-worth", "%zd, %llu", writer.result, (unsigned long long)redirected(&pair, 0));
	withheld_page_close(&page);
	pair_close(&pair);
}

int main(void)
{
	struct datapath *datapath;

	alarm(50);
	pins_name();
	if (!withheld_page_open(&page)) {
		skip("gate", "a-busy-reader", "no userfaultfd");
		return kernel_test_finish();
	}
	for (int probe_read = 0; probe_read < ways_to_read(); probe_read++) {
		const struct datapath_options options = { .slot_count = SLOTS,
							  .pin_dir = pin_dir,
							  .force_probe_read = probe_read };

		require(probe_read == 0 || withheld_page_open(&page));
		require(datapath_open(&datapath, &options) == 0 && datapath_commit(datapath) == 0);
		test_busy_reader(datapath);
		datapath_close(datapath);
		pins_remove();
	}
	return kernel_test_finish();
}
