/* SPDX-License-Identifier: BSD-2-Clause */
/* SO_RCVTIMEO and SO_SNDTIMEO, alone and with signals; several readers of one socket. */
#include "semantics.h"

#include <stdatomic.h>
#include <sys/time.h>
#include <sys/wait.h>

#define TIMEOUT_MS 120
#define FULL_BYTES (64u << 20) /* more than any pipe holds */

static void set_timeout(int fd, int name, unsigned ms)
{
	struct timeval timeout = { .tv_sec = ms / 1000, .tv_usec = (long)(ms % 1000) * 1000 };

	if (setsockopt(fd, SOL_SOCKET, name, &timeout, sizeof(timeout)) < 0)
		note("FAILED", "setting a timeout");
}

static void expires(struct pair *pair, int flags)
{
	uint64_t start_ms = clock_ms();

	set_timeout(pair->b, SO_RCVTIMEO, TIMEOUT_MS);
	get("receive", pair->b, 64, flags);
	note_waited("waited", start_ms, flags & MSG_DONTWAIT ? 0 : TIMEOUT_MS);
	start_ms = clock_ms();
	get("again", pair->b, 64, flags);
	note_waited("waited-again", start_ms, flags & MSG_DONTWAIT ? 0 : TIMEOUT_MS);
	put(pair->a, "hello");
	get("data", pair->b, 5, flags);
}

/* Below 0 nothing is waited for. */
static void never_waits(struct pair *pair, int flags)
{
	struct timeval timeout = { .tv_sec = -1 };

	TRY("set", setsockopt(pair->b, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)));
	get("receive", pair->b, 64, flags);
	set_timeout(pair->b, SO_RCVTIMEO, 0);
	later_put(SOON_MS, pair->a, "hello");
	get("data", pair->b, 64, 0);
}

static void expires_tiny(struct pair *pair, int unused)
{
	struct timeval timeout = { .tv_usec = 1 };

	(void)unused;
	setsockopt(pair->b, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	get("receive", pair->b, 64, 0);
	round_trip("trip", pair);
}

static void data_in_time(struct pair *pair, int unused)
{
	(void)unused;
	set_timeout(pair->b, SO_RCVTIMEO, 1500);
	later_put(SOON_MS, pair->a, "hello");
	get("receive", pair->b, 64, 0);
}

/* Another process has the socket, and sets it: no wrapper of this one sees that. */
static void set_by_child(struct pair *pair, int signal)
{
	uint64_t start_ms = clock_ms();
	int status;

	pid_t child = fork();
	if (child == 0) {
		set_timeout(pair->b, SO_RCVTIMEO, 3 * TIMEOUT_MS);
		_exit(0);
	}
	waitpid(child, &status, 0);
	if (signal) {
		handle(SIGUSR1, SA_RESTART);
		later_signal(SOON_MS, SIGUSR1);
	}
	get("receive", pair->b, 64, 0);
	note_waited("waited", start_ms, signal ? SOON_MS : 3 * TIMEOUT_MS);
	start_ms = clock_ms();
	get("again", pair->b, 64, 0);
	note_waited("waited-again", start_ms, 3 * TIMEOUT_MS);
	later_put(SOON_MS, pair->a, "hello");
	get("data", pair->b, 5, 0);
}

/* With a time-out no receive is restarted, whatever the handler's flags. */
static void with_signal(struct pair *pair, int flags)
{
	set_timeout(pair->b, SO_RCVTIMEO, 3 * TIMEOUT_MS);
	handle(SIGUSR1, flags);
	later_signal(SOON_MS, SIGUSR1);
	get("receive", pair->b, 64, 0);
	note("handled", "%d", handled);
}

/* A handler of the other kind is installed too, but does not run. */
static void with_signal_both(struct pair *pair, int flags)
{
	handle(SIGUSR2, flags ? 0 : SA_RESTART);
	with_signal(pair, flags);
}

static void with_ignored_signal(struct pair *pair, int unused)
{
	uint64_t start_ms = clock_ms();

	(void)unused;
	signal(SIGUSR1, SIG_IGN);
	set_timeout(pair->b, SO_RCVTIMEO, TIMEOUT_MS);
	later_signal(SOON_MS, SIGUSR1);
	get("receive", pair->b, 64, 0);
	note_waited("waited", start_ms, TIMEOUT_MS);
}

static void waitall_expires(struct pair *pair, int unused)
{
	uint64_t start_ms = clock_ms();

	(void)unused;
	set_timeout(pair->b, SO_RCVTIMEO, 5 * TIMEOUT_MS);
	later_put(SOON_MS, pair->a, "abc");
	get("receive", pair->b, 10, MSG_WAITALL);
	note_waited("waited", start_ms, 5 * TIMEOUT_MS);
	get("next", pair->b, 10, MSG_WAITALL);
}

static void readv_expires(struct pair *pair, int unused)
{
	char first[4], second[4];
	struct iovec vector[] = { { first, 4 }, { second, 4 } };

	(void)unused;
	set_timeout(pair->b, SO_RCVTIMEO, TIMEOUT_MS);
	TRY("readv", readv(pair->b, vector, 2));
	put(pair->a, "abcdef");
	TRY("data", readv(pair->b, vector, 2));
}

/* Nobody reads: a send ends with what went in, and the next with EAGAIN. */
static void send_expires(struct pair *pair, int unused)
{
	char *buffer = big_buffer(FULL_BYTES);
	uint64_t start_ms = clock_ms();
	int rounds = 0;
	ssize_t sent;

	(void)unused;
	set_timeout(pair->a, SO_SNDTIMEO, TIMEOUT_MS);
	sent = send(pair->a, buffer, FULL_BYTES, MSG_NOSIGNAL);
	note("first", "%s", sent > 0 && sent < (ssize_t)FULL_BYTES ? "part" : errno_text(errno));
	note_waited("waited", start_ms, TIMEOUT_MS);
	/* Buffers may still grow a little, by a timer even; then nothing fits any more, in four calls. */
	for (int refused = 0; refused < 4 && rounds < 16; rounds++) {
		sent = send(pair->a, buffer, 1 << 20, MSG_NOSIGNAL);
		refused = sent < 0 ? refused + 1 : 0;
	}
	note_result("last", sent, errno);
	start_ms = clock_ms();
	TRY("again", send(pair->a, buffer, 1 << 20, MSG_NOSIGNAL));
	note_waited("waited-again", start_ms, TIMEOUT_MS);
}

/* A signal while a send sleeps; then the reader takes all. argument: the handler's flags */
static void send_interrupted(struct pair *pair, int flags)
{
	char *buffer = big_buffer(FULL_BYTES), *sink = malloc(1 << 20);
	uint64_t total = 0, taken = 0;
	ssize_t sent, got;

	handle(SIGUSR1, flags);
	later_signal(4 * SOON_MS, SIGUSR1);
	sent = send(pair->a, buffer, FULL_BYTES, MSG_NOSIGNAL);
	note("first", "%s", sent > 0 && sent < (ssize_t)FULL_BYTES ? "part" : sent < 0 ? errno_text(errno) : "whole");
	total = sent > 0 ? (uint64_t)sent : 0;
	note("handled", "%d", handled);
	shutdown(pair->a, SHUT_WR);
	while ((got = recv(pair->b, sink, 1 << 20, 0)) > 0)
		taken += (uint64_t)got;
	note("all-arrived", "%s", total == taken ? "yes" : "no");
}

#define STORM_BYTES (12u << 20)

static void slow_reader(void *argument)
{
	char *all = big_buffer(STORM_BYTES);
	size_t done = 0;

	for (ssize_t got = 1; got > 0 && done<STORM_BYTES; done += got> 0 ? (size_t)got : 0) {
		got = recv(*(int *)argument, all + done, STORM_BYTES - done < 50000 ? STORM_BYTES - done : 50000, 0);
		if (done / 50000 % 8 == 0)
			pause_ms(1);
	}
	note_data("received", all, (ssize_t)done, 0);
}

/* Signals all the time: what each send says is what was sent, to the byte. */
static void send_in_storm(struct pair *pair, int flags)
{
	struct itimerval every = { { .tv_usec = 1500 }, { .tv_usec = 1500 } }, never = { 0 };
	char *all = big_buffer(STORM_BYTES);
	size_t done = 0;

	fill(all, STORM_BYTES, 3);
	later_call(0, slow_reader, &pair->b);
	handle(SIGALRM, flags);
	setitimer(ITIMER_REAL, &every, NULL);
	for (int i = 0; done < STORM_BYTES && i < 100000; i++) {
		size_t want = 1 + (size_t)i * 77777 % 700000;
		ssize_t sent =
			send(pair->a, all + done, want < STORM_BYTES - done ? want : STORM_BYTES - done, MSG_NOSIGNAL);

		if (sent < 0 && errno != EINTR) {
			note_result("send", sent, errno);
			break;
		}
		done += sent > 0 ? (size_t)sent : 0;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	note("sent", "%zu", done);
	shutdown(pair->a, SHUT_WR);
	later_join();
}

/* Nothing fits and a signal comes before a byte went. */
static void send_interrupted_empty(struct pair *pair, int unused)
{
	char *buffer = calloc(1, 1 << 20);

	(void)unused;
	fill_pipe(pair->a);
	handle(SIGUSR1, 0);
	later_signal(SOON_MS, SIGUSR1);
	ssize_t sent = send(pair->a, buffer, 1 << 20, MSG_NOSIGNAL);
	note("send", "%s", sent > 0 || errno == EINTR ? "interrupted" : errno_text(errno));
	note("handled", "%d", handled);
}

#define READERS 3
static _Atomic int results[3]; /* data, end, reset */

static void *reader(void *argument)
{
	char byte;
	ssize_t got = recv(*(int *)argument, &byte, 1, 0);

	if (got > 0)
		results[0]++;
	else if (got == 0)
		results[1]++;
	else if (errno == ECONNRESET)
		results[2]++;
	else
		note("reader", "%s", errno_text(errno));
	return NULL;
}

/* Several threads asleep in recv; argument 0: a byte for each, 1: the end, 2: a reset, 3: bytes for two, then the end,
 * 4: own shutdown. */
static void several_readers(struct pair *pair, int what)
{
	pthread_t readers[READERS];

	for (int i = 0; i < READERS; i++)
		pthread_create(&readers[i], NULL, reader, &pair->b);
	pause_ms(SOON_MS);
	for (int i = 0; i < (what == 0 ? READERS : what == 3 ? 2 : 0); i++) {
		put(pair->a, "x");
		pause_ms(10);
	}
	if (what == 1 || what == 3)
		shutdown(pair->a, SHUT_WR);
	else if (what == 2)
		later_reset(0, pair->a);
	else if (what == 4)
		shutdown(pair->b, SHUT_RD);
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	note("data", "%d", results[0]);
	note("end", "%d", results[1]);
	note("reset", "%d", results[2]);
}

/* The same, each reader with a time-out and no byte. */
static void several_readers_expire(struct pair *pair, int unused)
{
	pthread_t readers[READERS];

	(void)unused;
	set_timeout(pair->b, SO_RCVTIMEO, TIMEOUT_MS);
	for (int i = 0; i < READERS; i++)
		pthread_create(&readers[i], NULL, reader, &pair->b);
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	round_trip("trip", pair);
}

static const struct semantics_case cases[] = {
	{ "rcvtimeo-expires", expires, 0, 0 },
	{ "rcvtimeo-expires-peek", expires, MSG_PEEK, 0 },
	{ "rcvtimeo-expires-waitall", expires, MSG_WAITALL, 0 },
	{ "rcvtimeo-dontwait", expires, MSG_DONTWAIT, 0 },
	{ "rcvtimeo-tiny", expires_tiny, 0, 0 },
	{ "rcvtimeo-negative", never_waits, 0, 0 },
	{ "rcvtimeo-negative-waitall", never_waits, MSG_WAITALL, 0 },
	{ "rcvtimeo-data-in-time", data_in_time, 0, 0 },
	{ "rcvtimeo-set-by-child", set_by_child, 0, 0 },
	{ "rcvtimeo-set-by-child-signal", set_by_child, 1, 0 },
	{ "rcvtimeo-signal-interrupts", with_signal, 0, 0 },
	{ "rcvtimeo-signal-restart", with_signal, SA_RESTART, 0 },
	{ "rcvtimeo-signal-both-interrupts", with_signal_both, 0, 0 },
	{ "rcvtimeo-signal-both-restart", with_signal_both, SA_RESTART, 0 },
	{ "rcvtimeo-signal-ignored", with_ignored_signal, 0, 0 },
	{ "rcvtimeo-waitall-part", waitall_expires, 0, 0 },
	{ "rcvtimeo-readv", readv_expires, 0, 0 },
	{ "sndtimeo-full", send_expires, 0, 0 },
	{ "send-full-signal-interrupts", send_interrupted, 0, 0 },
	{ "send-full-signal-restart", send_interrupted, SA_RESTART, 0 },
	{ "send-signal-storm", send_in_storm, 0, 0 },
	{ "send-signal-storm-restart", send_in_storm, SA_RESTART, 0 },
	{ "send-nothing-fits-signal", send_interrupted_empty, 0, 0 },
	{ "readers-data", several_readers, 0, 0 },
	{ "readers-end", several_readers, 1, 0 },
	{ "readers-reset", several_readers, 2, 0 },
	{ "readers-data-then-end", several_readers, 3, 0 },
	{ "readers-own-shutdown", several_readers, 4, 0 },
	{ "readers-rcvtimeo", several_readers_expire, 0, 0 },
};
FAMILY(timeouts);
