/* SPDX-License-Identifier: BSD-2-Clause */
/* The blocked reader: one that sleeps in a receive while its connection joins and arms gets its next byte in time, always.
 *
 *   blocked_reader recv|raw|stdio thread|fork [seed=N] [iterations=N] [deadline=S]
 *
 * End B is read by the reader alone, by libc's recv, by syscall(SYS_recvfrom) past all wrappers, or by fgets; in a thread
 * or in a forked process that shares B. All else is done by the main thread, on both ends: it sends on A what the reader
 * must get, and between that makes turns the other way (sends on B, receives on A), so that A and B want to join and to
 * arm at moments that have nothing to do with where the reader is. A byte is late after 200 ms and stranded after 3 s.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../support/watchdog.h"

#define LATE_US 200000u
#define STRANDED_US 3000000u
#define STALL_US 20000u /* between two looks, each some 20 us after the other: the machine stood still */
#define LINE_BYTES 8    /* seven digits and a newline */
#define ROUNDS 16

enum kind { KIND_RECV, KIND_RAW, KIND_STDIO };

/* Shared with the forked reader. */
struct shared {
	_Atomic uint32_t lines;      /* how many the reader has got */
	_Atomic uint64_t line_at_us; /* and when the last one came */
	_Atomic uint32_t tid;        /* of the reader; 0: it has not started yet */
	_Atomic uint32_t wrong;
	_Atomic uint32_t eagain; /* EAGAIN on this blocking fd: TCP never says that */
	_Atomic uint32_t failed_errno;
};

static struct shared *shared;
static enum kind kind;
static uint64_t worst_us;
static unsigned late_count;
static int reader_fd;

static ssize_t read_line_bytes(char *line)
{
	size_t done = 0;

	while (done < LINE_BYTES) {
		ssize_t got = kind == KIND_RAW
				      ? syscall(SYS_recvfrom, reader_fd, line + done, LINE_BYTES - done, 0, NULL, NULL)
				      : recv(reader_fd, line + done, LINE_BYTES - done, 0);

		if (got < 0 && errno == EAGAIN) {
			shared->eagain++;
			continue;
		}
		if (got <= 0)
			return got;
		done += (size_t)got;
	}
	return LINE_BYTES;
}

static ssize_t read_line(FILE *file, char *line)
{
	if (!file)
		return read_line_bytes(line);
	while (!fgets(line, LINE_BYTES + 1, file)) {
		if (feof(file))
			return 0;
		if (errno != EAGAIN)
			return -1;
		shared->eagain++; /* part of a line may be lost now; stdio does not forgive this */
		clearerr(file);
	}
	return (ssize_t)strlen(line);
}

/* Reads until the end of file. */
static void *reader_main(void *argument)
{
	FILE *file = kind == KIND_STDIO ? fdopen(reader_fd, "r") : NULL;
	char line[LINE_BYTES + 1] = "", expected[LINE_BYTES + 8];
	ssize_t got;

	(void)argument;
	shared->tid = (uint32_t)syscall(SYS_gettid);
	for (unsigned number = 0; (got = read_line(file, line)) > 0; number++) {
		snprintf(expected, sizeof(expected), "%07u\n", number);
		if (got != LINE_BYTES || memcmp(line, expected, LINE_BYTES) != 0)
			shared->wrong++;
		shared->line_at_us = now_us();
		shared->lines++;
	}
	if (got < 0)
		shared->failed_errno = (uint32_t)errno;
	if (file)
		fclose(file);
	return NULL;
}

/* How long the reader has stood in a run queue: awake, but without a processor. That is the machine's doing. */
static uint64_t reader_delay_us(void)
{
	char path[64], text[128], *delay;
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/schedstat", shared->tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[got > 0 ? got : 0] = 0;
	delay = strchr(text, ' '); /* "running waiting slices", in ns */
	return delay ? strtoull(delay, NULL, 10) / 1000 : 0;
}

static void wait_lines(unsigned lines, uint64_t delay_before_us, unsigned iteration, unsigned round, const char *what)
{
	uint64_t start, passed, delay, now, looked_us, stalled_us = 0;

	while (!shared->tid) /* a thread or process that does not run yet sleeps in no receive */
		pause_us(20);
	start = looked_us = now_us();
	while (shared->lines < lines && !shared->failed_errno) {
		now = now_us();
		stalled_us += now - looked_us > STALL_US ? now - looked_us : 0;
		looked_us = now;
		passed = now - start;
		if (passed > STRANDED_US) {
			fprintf(stderr,
				"STRANDED: iteration %u round %u (%s): the reader has %u of %u lines after %llu us\n",
				iteration, round, what, shared->lines, lines, (unsigned long long)passed);
			_exit(EXIT_WRONG);
		}
		if (passed > 50)
			pause_us(20);
		else
			sched_yield();
	}
	passed = shared->line_at_us > start ? shared->line_at_us - start : 0;
	if (passed > LATE_US) {
		now = now_us(); /* the last look may have been long ago */
		stalled_us += now - looked_us > STALL_US ? now - looked_us : 0;
		delay = reader_delay_us() - delay_before_us;
		delay = delay > stalled_us ? delay : stalled_us;
		passed -= delay < passed ? delay : passed;
	}
	if (passed > worst_us)
		worst_us = passed;
	if (passed > LATE_US) {
		late_count++;
		fprintf(stderr, "LATE: iteration %u round %u (%s): %llu us\n", iteration, round, what,
			(unsigned long long)passed);
	}
}

static void send_line(int fd, unsigned number)
{
	char line[LINE_BYTES + 8];

	snprintf(line, sizeof(line), "%07u\n", number);
	if (write_whole(fd, line, LINE_BYTES) < 0)
		die("send");
}

static void turn_back(int from, int to)
{
	char answer[LINE_BYTES];

	send_line(from, 1234567);
	if (read_whole(to, answer, LINE_BYTES) < 0)
		die("receive of an answer");
}

static void pause_random(struct rng *rng)
{
	static const unsigned limits_us[] = { 0, 0, 30, 300, 1500 };

	pause_us(rng_below(rng, limits_us[rng_below(rng, 5)]));
}

static pid_t reader_start(bool forked, pthread_t *thread)
{
	pid_t child = 0;

	if (!forked) {
		if (pthread_create(thread, NULL, reader_main, NULL))
			die("pthread_create");
		return 0;
	}
	child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		reader_main(NULL);
		_exit(0);
	}
	return child;
}

static void reader_end(pid_t child, pthread_t thread, unsigned iteration)
{
	if (!child) {
		pthread_join(thread, NULL);
		return;
	}
	for (unsigned waited = 0; waitpid(child, NULL, WNOHANG) == 0; waited++) {
		if (waited > STRANDED_US / 100) {
			fprintf(stderr, "STRANDED: iteration %u: the forked reader sees no end of file\n", iteration);
			kill(child, SIGKILL);
			_exit(EXIT_WRONG);
		}
		pause_us(100);
	}
}

/* Turns by the main thread alone, before there is a reader: some connections arm here, others are about to. */
static void warm_up(struct rng *rng, int a, int b)
{
	unsigned turns = (unsigned)rng_below(rng, 12);
	char line[LINE_BYTES];

	for (unsigned i = 0; i < turns; i++) {
		send_line(a, 0);
		if (read_whole(b, line, LINE_BYTES) < 0)
			die("receive");
		turn_back(b, a);
	}
}

static void iterate(int listener, uint64_t seed, unsigned iteration, bool forked)
{
	struct rng rng = rng_make(seed, iteration);
	int a = loopback_connect("127.0.0.1", loopback_port(listener));
	int b = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	unsigned lines = 0;
	pthread_t thread = 0;
	int on = 1;
	pid_t child;

	if (b < 0)
		die("accept");
	setsockopt(a, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* or Nagle's 40 ms would be most of the time */
	setsockopt(b, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	memset(shared, 0, sizeof(*shared));
	reader_fd = b;
	warm_up(&rng, a, b);
	child = reader_start(forked, &thread);
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned burst = 1 + (rng_below(&rng, 4) == 0);
		uint64_t delay_us;

		pause_random(&rng);
		if (rng_below(&rng, 4))
			turn_back(b, a);
		pause_random(&rng);
		delay_us = round ? reader_delay_us() : 0;
		while (burst--)
			send_line(a, lines++);
		if (rng_below(&rng, 4) == 0)
			turn_back(b, a); /* the line is on its way while B sends */
		wait_lines(lines, delay_us, iteration, round, forked ? "fork" : "thread");
	}
	shutdown(a, SHUT_WR);
	reader_end(child, thread, iteration);
	close(a);
	if (child || kind != KIND_STDIO) /* fclose() has closed it in a thread */
		close(b);
	if (shared->wrong || shared->failed_errno) {
		fprintf(stderr, "FAILED: iteration %u: %u wrong lines, error %s\n", iteration, shared->wrong,
			strerror((int)shared->failed_errno));
		_exit(EXIT_WRONG);
	}
}

int main(int argc, char **argv)
{
	unsigned iterations = 100, deadline_s = 60, eagain = 0;
	uint64_t seed = 1, started = now_us();
	bool forked = argc > 2 && !strcmp(argv[2], "fork");
	int listener = loopback_listen("127.0.0.1", 0, 16, 0);

	signal(SIGPIPE, SIG_IGN);
	if (argc > 1)
		kind = !strcmp(argv[1], "stdio") ? KIND_STDIO : !strcmp(argv[1], "raw") ? KIND_RAW : KIND_RECV;
	for (int i = 3; i < argc; i++) {
		if (!strncmp(argv[i], "seed=", 5))
			seed = strtoull(argv[i] + 5, NULL, 0);
		else if (!strncmp(argv[i], "iterations=", 11))
			iterations = (unsigned)strtoul(argv[i] + 11, NULL, 0);
		else if (!strncmp(argv[i], "deadline=", 9))
			deadline_s = (unsigned)strtoul(argv[i] + 9, NULL, 0);
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	watchdog_start(deadline_s, NULL);
	for (unsigned i = 0; i < iterations; i++) {
		iterate(listener, seed, i, forked);
		eagain += shared->eagain;
	}
	printf("{\"iterations\": %u, \"late\": %u, \"worst_us\": %llu, \"eagain\": %u, \"seconds\": %.3f}\n",
	       iterations, late_count, (unsigned long long)worst_us, eagain, (double)(now_us() - started) / 1e6);
	return late_count ? EXIT_WRONG : 0;
}
