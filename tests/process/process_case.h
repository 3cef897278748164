/* SPDX-License-Identifier: BSD-2-Clause */
/* What the programs of this folder share: a case is a conversation of two processes over one loopback connection.
 *
 * The *subject* does what the case is named after (fork, exec, dup2 ...) to its end; the *driver* is an ordinary peer
 * that checks every byte and the end of file. Both first talk WARM_TURNS turns, so that under the shim the pair is
 * armed when the subject does its deed. The supervisor (main) holds no end of the connection. Every process ends by
 * alarm() if it hangs. What is printed depends on the case only, so that runs with and without the shim compare equal.
 */
#ifndef SMACCEL_TEST_PROCESS_CASE_H
#define SMACCEL_TEST_PROCESS_CASE_H

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "../support/loopback.h"
#include "../support/pattern.h"
#include "../support/random.h"

#define WARM_TURNS 80
#define WARM_PAUSE_US 400 /* joining waits for nothing in auto mode: the helper needs some time of its own */
#define TURN_BYTES 64
#define DEADLINE_S 20
#define HIGH_FD 256 /* the shim keeps its own fds (door, session, mailbox) above this */
#define HIGH_FD_ALLOWED 4

/* One end of a connection: what was sent and received on it so far, by any process. */
struct end {
	int fd;
	struct pattern out, in;
	uint64_t sent, received;
	struct rng rng;
};

struct process_case {
	const char *name;
	void (*subject)(struct end *end);
	void (*driver)(struct end *end);
	bool low_fds_kept; /* the subject's own fds are the same afterwards, but for end->fd */
};

static const char *case_name = "?";
static int note_fds[2] = { -1, -1 }; /* beside the connection: [0] the subject's, [1] the driver's */

static inline void __attribute__((format(printf, 1, 2), noreturn)) fail(const char *format, ...)
{
	char text[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	dprintf(STDERR_FILENO, "FAIL %s (pid %d): %s\n", case_name, getpid(), text);
	_exit(1);
}

#define must(expression)                                                                                               \
	({                                                                                                             \
		__typeof__(expression) must_value = (expression);                                                      \
		if (must_value < 0)                                                                                    \
			fail("line %d: %s: %s", __LINE__, #expression, strerror(errno));                               \
		must_value;                                                                                            \
	})

static inline void end_send(struct end *end, size_t total)
{
	static __thread uint8_t buffer[65536];

	while (total) {
		size_t bytes = rng_size(&end->rng, total < sizeof(buffer) ? total : sizeof(buffer));

		if (total <= TURN_BYTES)
			bytes = total;
		pattern_fill(&end->out, end->sent, buffer, bytes);
		for (size_t done = 0; done < bytes;)
			done += (size_t)must(send(end->fd, buffer + done, bytes - done, MSG_NOSIGNAL));
		end->sent += bytes;
		total -= bytes;
	}
}

static inline void end_receive(struct end *end, size_t total)
{
	static __thread uint8_t buffer[65536];

	while (total) {
		size_t room = total < sizeof(buffer) ? total : sizeof(buffer);
		ssize_t got = must(recv(end->fd, buffer, room, 0));

		if (got == 0)
			fail("end of file at byte %llu, %zu still to come", (unsigned long long)end->received, total);
		ssize_t wrong = pattern_verify(&end->in, end->received, buffer, (size_t)got);
		if (wrong >= 0)
			fail("byte %llu is wrong", (unsigned long long)end->received + (unsigned long long)wrong);
		end->received += (uint64_t)got;
		total -= (size_t)got;
	}
}

static inline void end_turns(struct end *end, int turns, bool first)
{
	for (int i = 0; i < turns; i++) {
		if (first)
			end_send(end, TURN_BYTES);
		end_receive(end, TURN_BYTES);
		if (!first)
			end_send(end, TURN_BYTES);
	}
}

static inline void *end_send_thread(void *argument)
{
	struct end *end = argument;

	end_send(end, (size_t)end->received); /* here: how much */
	return NULL;
}

/* Both directions at once: `out` bytes go, `in` bytes come. */
static inline void end_duplex(struct end *end, size_t out, size_t in)
{
	struct end sender = *end;
	pthread_t thread;

	sender.received = out;
	if (pthread_create(&thread, NULL, end_send_thread, &sender))
		fail("pthread_create");
	end_receive(end, in);
	pthread_join(thread, NULL);
	end->sent = sender.sent;
	end->rng = sender.rng;
}

/* As end_duplex, with a peer that returns every byte as it came. */
static inline void end_echo(struct end *end, size_t total)
{
	struct end back = *end;

	back.in = end->out;
	back.received = end->sent;
	end_duplex(&back, total, total);
	end->sent = back.sent;
	end->rng = back.rng;
}

/* The peer's FIN, and nothing else, comes within `deadline_ms`. */
static inline void end_expect_eof(struct end *end, int deadline_ms)
{
	struct pollfd wait = { .fd = end->fd, .events = POLLIN };
	char byte;

	if (must(poll(&wait, 1, deadline_ms)) == 0)
		fail("no end of file within %d ms", deadline_ms);
	ssize_t got = must(recv(end->fd, &byte, 1, 0));
	if (got)
		fail("a byte where the end of file should be");
}

/* The peer's next bytes are here, unread: redirected ones keep an end from leaving. */
static inline void end_await(struct end *end)
{
	struct pollfd wait = { .fd = end->fd, .events = POLLIN };

	if (must(poll(&wait, 1, 5000)) == 0)
		fail("nothing comes");
}

static inline void end_expect_quiet(struct end *end, int for_ms)
{
	struct pollfd wait = { .fd = end->fd, .events = POLLIN };

	if (must(poll(&wait, 1, for_ms)))
		fail("something came while the connection should be quiet");
}

/* One process tells the other that it has got somewhere. */
static inline void note_send(int fd)
{
	must(write(fd, "", 1));
}

static inline void note_wait(int fd)
{
	if (must(read(fd, &(char){ 0 }, 1)) != 1)
		fail("the other process is gone");
}

static inline void wait_for(pid_t pid, const char *who)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fail("waitpid of %s: %s", who, strerror(errno));
	if (WIFSIGNALED(status))
		fail("%s ended by signal %d%s", who, WTERMSIG(status), WTERMSIG(status) == SIGALRM ? " (hung)" : "");
	if (WEXITSTATUS(status))
		fail("%s gave exit status %d", who, WEXITSTATUS(status));
}

static inline pid_t fork_child(void)
{
	pid_t pid = must(fork());

	if (pid == 0)
		alarm(DEADLINE_S);
	return pid;
}

/* What is open: bit i for fd i < 64; fds from HIGH_FD on are counted. Any other is a leak. */
struct fd_view {
	uint64_t low;
	int high;
};
static uint8_t fds_foreign[1024]; /* open before the case began: inherited */

static inline DIR *fds_list(void)
{
	DIR *directory = opendir("/proc/self/fd");

	if (!directory)
		fail("/proc/self/fd: %s", strerror(errno));
	return directory;
}

static inline void fds_remember(void)
{
	DIR *directory = fds_list();

	for (struct dirent *entry; (entry = readdir(directory));) {
		unsigned fd = (unsigned)atoi(entry->d_name);

		if (fd >= 64 && fd < sizeof(fds_foreign))
			fds_foreign[fd] = 1;
	}
	closedir(directory);
}

static inline struct fd_view fds_look(void)
{
	struct fd_view view = { 0 };
	DIR *directory = fds_list();

	for (struct dirent *entry; (entry = readdir(directory));) {
		int fd = atoi(entry->d_name);

		if (entry->d_name[0] == '.' || fd == dirfd(directory))
			continue;
		if (fd < 64)
			view.low |= 1ull << fd;
		else if (fd < (int)sizeof(fds_foreign) && fds_foreign[fd])
			continue;
		else if (fd >= HIGH_FD)
			view.high++;
		else
			fail("fd %d is open: neither the case's nor one of the shim's high ones", fd);
	}
	closedir(directory);
	return view;
}

/* A connected pair of loopback ends in this one process: [0] accepted, [1] connected. */
static inline void pair_open(struct end ends[2])
{
	int listener = loopback_listen("127.0.0.1", 0, 8, 0);
	uint64_t seed = (uint64_t)getpid() + 1000000;

	memset(ends, 0, 2 * sizeof(*ends));
	ends[1].fd = loopback_connect("127.0.0.1", loopback_port(listener));
	ends[0].fd = must(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	must(close(listener));
	for (unsigned i = 0; i < 2; i++) {
		ends[i].out = pattern_make(seed, 0, i, 0);
		ends[i].in = pattern_make(seed, 0, !i, 0);
		ends[i].rng = rng_make(seed, i);
	}
}

/* Turns between two ends held by one thread: neither ever blocks. */
static inline void pair_turns(struct end ends[2], int turns)
{
	for (int i = 0; i < turns; i++) {
		end_send(&ends[1], TURN_BYTES);
		end_receive(&ends[0], TURN_BYTES);
		end_send(&ends[0], TURN_BYTES);
		end_receive(&ends[1], TURN_BYTES);
	}
}

/* A new connection between the threads of this process works after whatever the case did. */
static inline void pair_prove(void)
{
	struct end ends[2];

	pair_open(ends);
	pair_turns(ends, WARM_TURNS);
	must(close(ends[0].fd));
	end_expect_eof(&ends[1], 1000);
	must(close(ends[1].fd));
}

static inline void subject_main(const struct process_case *one, struct end *end)
{
	struct fd_view before = fds_look(), after;
	uint64_t own = 1ull << end->fd;

	end_turns(end, WARM_TURNS, false);
	one->subject(end);
	if (one->low_fds_kept) {
		after = fds_look();
		if ((before.low ^ after.low) & ~own)
			fail("fds before %llx, after %llx", (unsigned long long)before.low,
			     (unsigned long long)after.low);
		if (after.high > HIGH_FD_ALLOWED)
			fail("%d high fds are open", after.high);
	}
	_exit(0);
}

/* This process's end of the connection; a program that it executes inherits it. */
static inline struct end end_open(int listener, unsigned side, bool accepts)
{
	uint64_t seed = (uint64_t)getppid();
	struct end end = { .out = pattern_make(seed, 0, side, 0),
			   .in = pattern_make(seed, 0, !side, 0),
			   .rng = rng_make(seed, side) };

	end.fd = accepts ? must(accept(listener, NULL, NULL)) : loopback_connect("127.0.0.1", loopback_port(listener));
	must(fcntl(end.fd, F_SETFD, 0));
	must(setsockopt(end.fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)));
	must(close(listener));
	return end;
}

static inline const struct process_case *case_find(int argc, char **argv, const struct process_case *cases,
						   size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (argc < 2)
			puts(cases[i].name);
		else if (!strcmp(argv[1], cases[i].name))
			return &cases[i];
	}
	if (argc < 2)
		exit(0);
	fail("no such case: %s", argv[1]);
}

/* main() of the programs: CASE [accept|connect], the second says how the subject gets its end. None: lists the cases. */
static inline int case_main(int argc, char **argv, const struct process_case *cases, size_t count)
{
	const struct process_case *one = case_find(argc, argv, cases, count);
	bool subject_accepts = argc < 3 || strcmp(argv[2], "connect");
	pid_t pids[2];

	case_name = one->name;
	fds_remember();
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, note_fds));
	int listener = loopback_listen("127.0.0.1", 0, 8, 0);
	for (unsigned side = 0; side < 2; side++) {
		pids[side] = fork_child();
		if (pids[side])
			continue;
		must(close(note_fds[!side]));
		struct end end = end_open(listener, side, side ? !subject_accepts : subject_accepts);

		if (side == 0)
			subject_main(one, &end);
		for (int turn = 0; turn < WARM_TURNS; turn++) {
			end_turns(&end, 1, true);
			pause_us(WARM_PAUSE_US);
		}
		one->driver(&end);
		_exit(0);
	}
	must(close(listener));
	must(close(note_fds[0]));
	must(close(note_fds[1]));
	wait_for(pids[1], "the driver");
	wait_for(pids[0], "the subject");
	printf("ok %s\n", one->name);
	return 0;
}

#endif
