/* SPDX-License-Identifier: BSD-2-Clause */
/* Two threads that splice from a connection each into one pipe, which has room for one of them: the other waits, and a signal ends that.
 *
 *   shared_pipe [rounds=N] [named=1] [deadline=S]
 *
 * A round: the pipe is empty, both connections have a page to read, and both threads splice a page at the same time. When one is done the
 * other gets a signal whose handler does not restart calls, until it is back, with EINTR. A thread that has looked at the pipe's room before
 * the other filled it must not wait where no signal reaches it. named=1: a FIFO. Prints one JSON line: how often a splice was interrupted.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "../support/watchdog.h"

#define SIDES 2
#define PAGE_BYTES 4096
#define WARM_UP_TURNS 24
#define STUCK_US 5000000u

static int senders[SIDES], readers[SIDES], ends[2];
static pthread_barrier_t begins;
static _Atomic bool is_back[SIDES];
static ssize_t results[SIDES];
static int errors[SIDES];
static unsigned rounds = 300, interrupted;

static void interrupt(int number)
{
	(void)number;
}

static void *splicer(void *argument)
{
	size_t side = (size_t)argument;

	for (unsigned i = 0; i < rounds; i++) {
		pthread_barrier_wait(&begins);
		results[side] = splice(readers[side], NULL, ends[1], NULL, PAGE_BYTES, 0);
		errors[side] = errno;
		is_back[side] = true;
		pthread_barrier_wait(&begins);
	}
	return NULL;
}

/* Until both are back: who is not yet is interrupted. */
static void interrupt_the_other(const pthread_t *threads, unsigned round)
{
	uint64_t start = now_us();

	while (!is_back[0] && !is_back[1])
		pause_us(20);
	while (!is_back[0] || !is_back[1]) {
		if (now_us() - start > STUCK_US) {
			fprintf(stderr, "STUCK: round %u: no signal reaches a splice that waits for room\n", round);
			_exit(EXIT_WRONG);
		}
		pthread_kill(threads[is_back[0] ? 1 : 0], SIGUSR1);
		pause_us(1000); /* it may have begun to wait only now */
	}
}

/* What was taken is sent again, and what the pipe has is read. */
static void make_good(unsigned round)
{
	char page[PAGE_BYTES] = { 0 };

	for (int side = 0; side < SIDES; side++) {
		if (results[side] < 0 && errors[side] == EINTR) {
			interrupted++;
			continue;
		}
		if (results[side] <= 0) {
			fprintf(stderr, "FAILED: round %u: %s\n", round, strerror(errors[side]));
			_exit(EXIT_WRONG);
		}
		if (read(ends[0], page, (size_t)results[side]) != results[side] ||
		    write_whole(senders[side], page, (size_t)results[side]))
			die("make good");
	}
}

static int open_named(void)
{
	char folder[] = "/tmp/smaccel-fifo-XXXXXX", path[64];

	if (!mkdtemp(folder) || snprintf(path, sizeof(path), "%s/fifo", folder) < 0 || mkfifo(path, 0600))
		return -1;
	ends[0] = open(path, O_RDWR);
	ends[1] = open(path, O_WRONLY);
	unlink(path);
	rmdir(folder);
	return ends[0] < 0 || ends[1] < 0;
}

static void set_up(bool named)
{
	char turn[PAGE_BYTES] = { 0 };

	for (int side = 0; side < SIDES; side++) {
		loopback_pair(&senders[side], &readers[side]);
		for (int i = 0; i < WARM_UP_TURNS; i++) {
			if (write_whole(senders[side], turn, 4) || read_whole(readers[side], turn, 4) ||
			    write_whole(readers[side], turn, 4) || read_whole(senders[side], turn, 4))
				die("warm-up");
			pause_us(1000); /* a join takes about so long */
		}
		if (write_whole(senders[side], turn, sizeof(turn)))
			die("send");
	}
	if ((named ? open_named() : pipe(ends)) || fcntl(ends[1], F_SETPIPE_SZ, PAGE_BYTES) != PAGE_BYTES)
		die("pipe");
}

int main(int argc, char **argv)
{
	const struct sigaction action = { .sa_handler = interrupt };
	unsigned deadline_s = 60;
	bool named = false;
	pthread_t threads[SIDES];

	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "rounds=", 7))
			rounds = (unsigned)strtoul(argv[i] + 7, NULL, 0);
		else if (!strncmp(argv[i], "named=", 6))
			named = strtoul(argv[i] + 6, NULL, 0) != 0;
		else if (!strncmp(argv[i], "deadline=", 9))
			deadline_s = (unsigned)strtoul(argv[i] + 9, NULL, 0);
	}
	watchdog_start(deadline_s, NULL);
	sigaction(SIGUSR1, &action, NULL);
	set_up(named);
	pthread_barrier_init(&begins, NULL, SIDES + 1);
	for (size_t side = 0; side < SIDES; side++)
		if (pthread_create(&threads[side], NULL, splicer, (void *)side))
			die("pthread_create");
	for (unsigned i = 0; i < rounds; i++) {
		is_back[0] = is_back[1] = false;
		pthread_barrier_wait(&begins);
		interrupt_the_other(threads, i);
		pthread_barrier_wait(&begins);
		make_good(i);
	}
	for (int side = 0; side < SIDES; side++)
		pthread_join(threads[side], NULL);
	printf("{\"rounds\": %u, \"interrupted\": %u}\n", rounds, interrupted);
	return 0;
}
