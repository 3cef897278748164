/* SPDX-License-Identifier: BSD-2-Clause */
/* What the kernel can be asked about who is inside a socket: KERNEL-FACTS 19a, 19b, and the pair proof's numbers. */
#define _GNU_SOURCE
#include "kernel_rig.h"

#include <sys/epoll.h>
#include <sys/wait.h>

#include "datapath.h"

static struct datapath *datapath;

/* Facts of an end by its fd. */
static struct sm_facts looked(int fd)
{
	struct sm_look look;
	int error = datapath_look(datapath, fd, &look);

	errno = -error;
	require(error == 0 && look.is_tcp);
	return look.facts;
}

static struct sm_facts inspected(const struct sm_facts *known)
{
	struct sm_facts facts;

	require(datapath_inspect(datapath, known->sk, known->cookie, &facts) == 0 && facts.found);
	return facts;
}

static void test_fact_19a(struct rig *rig)
{
	struct sm_facts facts, known;
	struct sleeper reader;

	rig_connect(rig);
	known = looked(rig->ends[1]);
	check(known.psock_refs == 0, "fact-19a", "a-plain-socket-has-no-psock", "%u", known.psock_refs);

	require(rig_join(rig, 0) == 0 && rig_join(rig, 1) == 0);
	facts = looked(rig->ends[1]);
	check(facts.psock_refs == 1 && !facts.psock_queued, "fact-19a", "joined-and-idle-is-one", "%u",
	      facts.psock_refs);
	rig_redirect(rig, "q");
	facts = inspected(&known);
	check(facts.psock_queued, "fact-19a", "unread-data-shows", "-");
	require(received(rig->ends[1], "q"));
	check(!inspected(&known).psock_queued, "fact-19a", "and-that-it-was-read", "-");
	sleeper_start(&reader, rig->ends[1], 1, 0);
	facts = inspected(&known);
	check(facts.psock_refs == 2 && facts.blocked_threads == 1, "fact-19a", "a-thread-in-recv-holds-one-more", "%u",
	      facts.psock_refs);
	rig_redirect(rig, "w");
	sleeper_join(&reader);
	facts = inspected(&known);
	check(facts.psock_refs == 1, "fact-19a", "and-gives-it-back", "%u", facts.psock_refs);
	rig_close(rig);
}

/* The difference by which the helper tells a stranded reader from one that will wake. */
static void test_stranded_holds_no_reference(struct rig *rig)
{
	struct sleeper reader;
	struct sm_facts facts;

	rig_connect(rig);
	sleeper_start(&reader, rig->ends[1], 1, 0);
	require(rig_join(rig, 0) == 0 && rig_join(rig, 1) == 0);
	facts = looked(rig->ends[1]);
	check(facts.blocked_threads == 1 && facts.psock_refs == 1, "fact-3",
	      "a-stranded-reader-holds-no-psock-reference", "%u blocked, %u references", facts.blocked_threads,
	      facts.psock_refs);
	rig->control->mode = KERNEL_TEST_PASS;
	require(sent(rig->ends[0], "x"));
	sleeper_join(&reader);
	rig_close(rig);
}

static void test_fact_19b_pollers(struct rig *rig)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct sm_facts known;
	pid_t poller;

	rig_connect(rig);
	known = looked(rig->ends[1]);
	require(epoll_ctl(epoll, EPOLL_CTL_ADD, rig->ends[1], &event) == 0);
	poller = fork();
	require(poller >= 0);
	if (!poller) {
		readable_within(rig->ends[1], 5000);
		_exit(0);
	}
	/* There is nothing to wait for: a poller must never count, however long one looks. */
	for (int i = 0; i < 50; i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		known = inspected(&known);
		if (known.blocked_threads)
			break;
	}
	check(known.blocked_threads == 0, "fact-19b", "poll-and-epoll-do-not-count", "%u", known.blocked_threads);
	require(sent(rig->ends[0], "x"));
	require(waitpid(poller, NULL, 0) == poller);
	rig_close(rig);
	close(epoll);
}

enum blocked_in { IN_RECV, IN_RAW_READ, IN_STDIO, IN_SEND };

/* A process of its own that blocks on the fd in one of several ways, until the socket is shut down. */
static pid_t start_blocked(int fd, enum blocked_in how)
{
	static char block[65536];
	pid_t child = fork();

	require(child >= 0);
	if (child)
		return child;
	switch (how) {
	case IN_RECV:
		recv(fd, block, 1, 0);
		break;
	case IN_RAW_READ:
		syscall(SYS_read, fd, block, 1);
		break;
	case IN_STDIO:
		fgets(block, sizeof(block), fdopen(fd, "r"));
		break;
	case IN_SEND:
		while (send(fd, block, sizeof(block), MSG_NOSIGNAL) > 0)
			;
		break;
	}
	_exit(0);
}

static void test_fact_19b_blocked(struct rig *rig)
{
	static const char *const names[] = { "recv-in-another-process-counts", "a-raw-read-counts", "stdio-counts",
					     "a-blocked-send-counts" };

	for (int how = IN_RECV; how <= IN_SEND; how++) {
		struct sm_facts known;
		pid_t child;
		bool seen;

		rig_connect(rig);
		known = looked(rig->ends[1]);
		child = start_blocked(rig->ends[1], (enum blocked_in)how);
		seen = wait_until(inspected(&known).blocked_threads == 1, 2000);
		check(seen, "fact-19b", names[how], "%u", inspected(&known).blocked_threads);
		shutdown(rig->ends[1], SHUT_RDWR);
		require(waitpid(child, NULL, 0) == child);
		rig_close(rig);
	}
}

/* E and R of the proof, and by how much write_seq and copied_seq differ from the application's own sums. */
static void test_pair_proof(struct rig *rig)
{
	struct sm_facts client, server;
	uint32_t client_sent, server_sent;

	rig_connect(rig);
	rig_pass(rig, "12345");
	require(received(rig->ends[1], "12345"));
	require(sent(rig->ends[1], "abc") && received(rig->ends[0], "abc"));
	require(wait_until(tcp_bytes_received(rig->ends[0]) == 3, 1000));
	client = looked(rig->ends[0]);
	server = looked(rig->ends[1]);
	client_sent = (uint32_t)(client.snd_una - client.bytes_acked);
	server_sent = (uint32_t)(server.snd_una - server.bytes_acked);
	check((uint32_t)(server.rcv_nxt - server.bytes_received) - client_sent == 1 &&
		      (uint32_t)(client.rcv_nxt - client.bytes_received) == server_sent,
	      "proof", "client-first-the-differences-are-1-and-0", "-");
	check(client.write_seq - client_sent == 6 && server.write_seq - server_sent == 3, "accounts",
	      "write-seq-counts-the-clients-syn-only", "%u of 5, %u of 3", client.write_seq - client_sent,
	      server.write_seq - server_sent);
	check(client.copied_seq - (uint32_t)(client.rcv_nxt - client.bytes_received) == 3 &&
		      server.copied_seq - (uint32_t)(server.rcv_nxt - server.bytes_received) == 5,
	      "accounts", "copied-seq-is-the-bytes-read", "-");
	rig_close(rig);
}

int main(void)
{
	const struct datapath_options options = { .slot_count = 1 };
	struct rig rig;

	alarm(30);
	require(datapath_open(&datapath, &options) == 0);
	rig_load(&rig);
	test_fact_19a(&rig);
	test_stranded_holds_no_reference(&rig);
	test_fact_19b_pollers(&rig);
	test_fact_19b_blocked(&rig);
	test_pair_proof(&rig);
	rig_unload(&rig);
	datapath_close(datapath);
	return kernel_test_finish();
}
