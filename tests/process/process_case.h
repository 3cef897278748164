/* SPDX-License-Identifier: BSD-2-Clause */
/* What the programs of this folder share: a case is a conversation of two processes over one loopback connection.
 *
 * The *subject* does what the case is named after (fork, exec, dup2 ...) to its end; the *driver* is an ordinary peer
 * that checks every byte and the end of file. Both first talk FIRST_TURNS turns, or more, so that under the shim the pair is
 * armed when the subject does its deed. The supervisor (main) holds no end of the connection. Every process ends by
 * alarm() if it hangs. What is printed depends on the case only, so that runs with and without the shim compare equal.
 */
#ifndef SMACCEL_TEST_PROCESS_CASE_H
#define SMACCEL_TEST_PROCESS_CASE_H

#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "process_end.h"

#define DEADLINE_S 20
#define HIGH_FD 256 /* the shim keeps its own fds (door, session, mailbox) above this */
#define HIGH_FD_ALLOWED 4

struct process_case {
	const char *name;
	void (*subject)(struct end *end);
	void (*driver)(struct end *end);
	bool low_fds_kept; /* the subject's own fds are the same afterwards, but for end->fd */
};

static volatile int *warm_turns;     /* shared by both: how many there are, once the driver knows; before that 0 */
static int note_fds[2] = { -1, -1 }; /* beside the connection: [0] the subject's, [1] the driver's */

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

/* The driver's part: so many turns that enough were redirected. */
static inline void driver_warm_up(struct end *end)
{
	int redirected = 0;

	for (int turn = 1; !*warm_turns; turn++) {
		uint64_t before = received_by_tcp(end->fd);

		if (turn >= FIRST_TURNS &&
		    (!is_preloaded() || redirected >= REDIRECTED_TURNS || turn >= REDIRECTING_TURNS_MAX))
			*warm_turns = turn;
		end_turns(end, 1, true);
		redirected += received_by_tcp(end->fd) == before;
		if (is_preloaded())
			pause_us(WARM_PAUSE_US);
	}
}

/* A driver of a connection that somebody goes on with: turns, and so much each way. */
#define GOES_ON_BYTES (2u << 20)
static inline void driver_goes_on(struct end *end)
{
	end_turns(end, WARM_TURNS, true);
	end_duplex(end, GOES_ON_BYTES, GOES_ON_BYTES);
	end_expect_eof(end, 2000);
}

static inline void subject_main(const struct process_case *one, struct end *end)
{
	struct fd_view before = fds_look(), after;
	uint64_t own = 1ull << end->fd;

	for (int turn = 1; !*warm_turns || turn <= *warm_turns; turn++)
		end_turns(end, 1, false);
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
	warm_turns = mmap(NULL, sizeof(*warm_turns), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (warm_turns == MAP_FAILED)
		fail("mmap");
	int listener = loopback_listen("127.0.0.1", 0, 8, 0);
	for (unsigned side = 0; side < 2; side++) {
		pids[side] = fork_child();
		if (pids[side])
			continue;
		must(close(note_fds[!side]));
		struct end end = end_open(listener, side, side ? !subject_accepts : subject_accepts);

		if (side == 0)
			subject_main(one, &end);
		driver_warm_up(&end);
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
