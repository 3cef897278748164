/* SPDX-License-Identifier: BSD-2-Clause */
/* fork, vfork, daemon: several processes (and threads) go on with one connection. */
#define _GNU_SOURCE
#include "process_case.h"

#define BULK (4u << 20)
#define LOCKSTEP_MESSAGES 2000

/* ---- the parent reads, the child writes, at once; then the parent has it alone again ---- */
static void subject_split(struct end *end)
{
	pid_t child = fork_child();

	if (child == 0) {
		end_send(end, BULK);
		_exit(0);
	}
	end_receive(end, BULK);
	wait_for(child, "the writing child");
	end->sent += BULK;
	end_turns(end, WARM_TURNS, false);
	must(close(end->fd));
}

static void driver_split(struct end *end)
{
	end_duplex(end, BULK, BULK);
	end_turns(end, WARM_TURNS, true);
	end_expect_eof(end, 2000);
}

/* ---- the child takes over; FIN comes when the child, the last holder, is gone ---- */
static void subject_takeover(struct end *end)
{
	pid_t child = fork_child();

	if (child == 0) {
		end_turns(end, 4 * WARM_TURNS, false);
		end_duplex(end, BULK, BULK);
		end_turns(end, WARM_TURNS, false);
		note_wait(
			note_fds[0]); /* the parent closed long ago: the driver looks for a FIN that must not be there */
		_exit(0);
	}
	must(close(end->fd));
	wait_for(child, "the child that took over");
	pair_prove();
}

static void driver_takeover(struct end *end)
{
	end_turns(end, 4 * WARM_TURNS, true);
	end_duplex(end, BULK, BULK);
	end_turns(end, WARM_TURNS, true);
	end_expect_quiet(end, 50);
	note_send(note_fds[1]);
	end_expect_eof(end, 2000);
}

/* ---- the child goes, the parent stays: the exit of the child closes nothing ---- */
static void subject_child_leaves(struct end *end)
{
	for (int i = 0; i < 10; i++) {
		pid_t child = fork_child();

		if (child == 0) {
			if (i & 1)
				must(close(end->fd));
			_exit(0);
		}
		end_turns(end, WARM_TURNS / 2, false);
		wait_for(child, "the idle child");
		end_turns(end, WARM_TURNS / 2, false);
	}
	end_duplex(end, BULK, BULK);
	must(close(end->fd));
}

static void driver_child_leaves(struct end *end)
{
	end_turns(end, 10 * (WARM_TURNS / 2) * 2, true);
	end_duplex(end, BULK, BULK);
	end_expect_eof(end, 2000);
}

/* ---- parent and child take turns: one reads and writes, then the other, handing over through pipes ---- */
static void relay(struct end *end, int from, int to, int rounds)
{
	uint64_t sums[2];

	for (int i = 0; i < rounds; i++) {
		if (must(read(from, sums, sizeof(sums))) != sizeof(sums))
			fail("the other process is gone");
		end->sent = sums[0];
		end->received = sums[1];
		end_turns(end, 1 + i % 3, false);
		sums[0] = end->sent;
		sums[1] = end->received;
		must(write(to, sums, sizeof(sums)));
	}
}

static void subject_relay(struct end *end)
{
	int there[2], back[2];
	uint64_t sums[2] = { end->sent, end->received };

	must(pipe(there));
	must(pipe(back));
	pid_t child = fork_child();
	if (child == 0) {
		relay(end, there[0], back[1], 300);
		_exit(0);
	}
	must(write(there[1], sums, sizeof(sums)));
	relay(end, back[0], there[1], 300);
	wait_for(child, "the relay child");
	for (int i = 0; i < 2; i++) {
		close(there[i]);
		close(back[i]);
	}
	must(close(end->fd));
}

static void driver_relay(struct end *end)
{
	end_turns(end, 2 * (100 * (1 + 2 + 3)), true);
	end_expect_eof(end, 2000);
}

/* ---- two readers blocked in recv on one connection: whoever gets a message answers it; none may be stranded ---- */
static void answer_messages(int fd)
{
	uint8_t message[TURN_BYTES];
	ssize_t got;

	while ((got = must(recv(fd, message, sizeof(message), 0))) > 0) {
		if (got != TURN_BYTES)
			fail("a message of %zd bytes", got);
		must(send(fd, message, sizeof(message), MSG_NOSIGNAL));
	}
}

static void subject_two_processes_read(struct end *end)
{
	pid_t child = fork_child();

	answer_messages(end->fd);
	if (child == 0)
		_exit(0);
	wait_for(child, "the second reader");
	must(close(end->fd));
}

static void *answer_thread(void *fd)
{
	answer_messages(*(int *)fd);
	return NULL;
}

static void subject_two_threads_read(struct end *end)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, answer_thread, &end->fd))
		fail("pthread_create");
	answer_messages(end->fd);
	pthread_join(thread, NULL);
	must(close(end->fd));
}

static void driver_lockstep(struct end *end)
{
	uint8_t message[TURN_BYTES], answer[TURN_BYTES];

	for (int i = 0; i < LOCKSTEP_MESSAGES; i++) {
		pattern_fill(&end->out, end->sent, message, sizeof(message));
		end->sent += sizeof(message);
		must(send(end->fd, message, sizeof(message), MSG_NOSIGNAL));
		if (must(recv(end->fd, answer, sizeof(answer), MSG_WAITALL)) != sizeof(answer))
			fail("end of file after %d messages", i);
		if (memcmp(message, answer, sizeof(answer)))
			fail("message %d came back wrong", i);
	}
	must(shutdown(end->fd, SHUT_WR));
	end_expect_eof(end, 2000);
}

/* ---- a preforking server: children accept from a listener that the parent opened ---- */
static void serve_until_quit(int listener)
{
	for (;;) {
		int fd = must(accept(listener, NULL, NULL));
		uint8_t first;

		if (must(recv(fd, &first, 1, MSG_PEEK)) && first == 'q')
			_exit(0);
		answer_messages(fd);
		must(close(fd));
	}
}

static void subject_prefork(struct end *end)
{
	int listener = loopback_listen("127.0.0.1", 0, 64, 0);
	unsigned port = loopback_port(listener);
	pid_t workers[3];

	for (int i = 0; i < 3; i++) {
		workers[i] = fork_child();
		if (workers[i] == 0)
			serve_until_quit(listener);
	}
	must(close(listener));
	must(send(end->fd, &port, sizeof(port), 0));
	for (int i = 0; i < 3; i++)
		wait_for(workers[i], "a worker");
	must(close(end->fd));
}

static void driver_prefork(struct end *end)
{
	unsigned port;

	if (must(recv(end->fd, &port, sizeof(port), MSG_WAITALL)) != sizeof(port))
		fail("no port");
	for (uint64_t i = 0; i < 40; i++) {
		struct end one = { .out = pattern_make((uint64_t)getpid(), i, 0, 0), .rng = rng_make(1, i) };

		while (pattern_byte(&one.out, 0) == 'q') /* the word for "quit" */
			one.out.key++;
		one.in = one.out;
		one.fd = loopback_connect("127.0.0.1", port);
		end_turns(&one, 50, true);
		must(close(one.fd));
	}
	for (int i = 0; i < 3; i++) {
		int fd = loopback_connect("127.0.0.1", port);

		must(send(fd, "q", 1, 0));
		(void)!recv(fd, &(char){ 0 }, 1, 0); /* until the worker is gone: FIN or RST */
		must(close(fd));
	}
	end_expect_eof(end, 2000);
}

/* ---- daemon(): the process that goes on is a grandchild; the session and its threads are the grandparent's ---- */
static void become_daemon(struct end *end, int keep)
{
	must(daemon(1, keep));
	alarm(DEADLINE_S);
	end_turns(end, 4 * WARM_TURNS, false);
	end_duplex(end, BULK, BULK);
	pair_prove();
	end_turns(end, WARM_TURNS, false);
	_exit(0);
}

static void subject_daemon(struct end *end)
{
	become_daemon(end, 1);
}

static void subject_daemon_null(struct end *end)
{
	become_daemon(end, 0);
}

static void driver_daemon(struct end *end)
{
	end_turns(end, 4 * WARM_TURNS, true);
	end_duplex(end, BULK, BULK);
	end_turns(end, WARM_TURNS, true);
	end_expect_eof(end, 2000);
}

/* ---- a vfork child shares the parent's memory but not its fds: closing there must not touch the parent's view ---- */
static void vfork_once(int fd, int how)
{
	pid_t child = vfork();

	if (child == 0) {
		if (how == 0)
			for (int i = 3; i < 1024; i++)
				close(i);
		else if (how == 1)
			close_range(3, ~0u, 0);
		else if (how == 2)
			dup2(STDERR_FILENO, fd);
		execl("/bin/true", "true", (char *)NULL);
		_exit(1);
	}
	wait_for(must(child), "the vfork child");
}

static void subject_vfork(struct end *end)
{
	for (int i = 0; i < 8; i++) {
		vfork_once(end->fd, i % 4);
		end_turns(end, WARM_TURNS, false);
	}
	end_duplex(end, BULK, BULK);
	must(close(end->fd));
	pair_prove();
}

static void driver_vfork(struct end *end)
{
	end_turns(end, 8 * WARM_TURNS, true);
	end_duplex(end, BULK, BULK);
	end_expect_eof(end, 2000);
}

static const struct process_case cases[] = {
	{ "fork-split", subject_split, driver_split, true },
	{ "fork-takeover", subject_takeover, driver_takeover, true },
	{ "fork-child-leaves", subject_child_leaves, driver_child_leaves, true },
	{ "fork-relay", subject_relay, driver_relay, true },
	{ "fork-two-readers", subject_two_processes_read, driver_lockstep, true },
	{ "thread-two-readers", subject_two_threads_read, driver_lockstep, true },
	{ "fork-prefork", subject_prefork, driver_prefork, true },
	{ "daemon", subject_daemon, driver_daemon, false },
	{ "daemon-null", subject_daemon_null, driver_daemon, false },
	{ "vfork", subject_vfork, driver_vfork, true },
};

int main(int argc, char **argv)
{
	return case_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
