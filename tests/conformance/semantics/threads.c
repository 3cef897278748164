/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads on one connection: several writers, one that closes or changes something while another is inside. */
#include "semantics.h"

#include <linux/filter.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#ifndef TCP_INQ
#define TCP_INQ 36
#endif

#define WRITERS 4
#define RECORDS 200
#define RECORD_BYTES 8

static struct pair shared;
static _Atomic int wrong;

static void *writer(void *argument)
{
	char record[RECORD_BYTES + 1];

	for (int i = 0; i < RECORDS; i++) {
		snprintf(record, sizeof(record), "%c%06dz", 'a' + (int)(intptr_t)argument, i);
		if (send(shared.a, record, RECORD_BYTES, 0) != RECORD_BYTES)
			wrong++;
	}
	return NULL;
}

/* Records of several writers arrive whole, each writer's in order. */
static void several_writers(struct pair *pair, int unused)
{
	int next[WRITERS] = { 0 }, bad = 0;
	pthread_t writers[WRITERS];
	char record[RECORD_BYTES + 1] = "";

	(void)unused;
	shared = *pair;
	for (intptr_t i = 0; i < WRITERS; i++)
		pthread_create(&writers[i], NULL, writer, (void *)i);
	for (int i = 0; i < WRITERS * RECORDS; i++) {
		if (recv(pair->b, record, RECORD_BYTES, MSG_WAITALL) != RECORD_BYTES)
			break;
		int who = record[0] - 'a', number = 0;
		sscanf(record + 1, "%6d", &number);
		if (who < 0 || who >= WRITERS || record[7] != 'z' || number != next[who]++)
			bad++;
	}
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	note("bad", "%d", bad);
	note("send-errors", "%d", wrong);
}

static _Atomic uint64_t taken;
static _Atomic pid_t taker_tid; /* of the last one that began */

static void *taker(void *argument)
{
	char buffer[777];
	ssize_t got;

	(void)argument;
	taker_tid = gettid();
	while ((got = recv(shared.b, buffer, sizeof(buffer), 0)) > 0)
		taken += (uint64_t)got;
	if (got < 0)
		note("taker", "%s", errno_text(errno));
	return NULL;
}

/* Several readers share a stream: together they get every byte, and all see the end. */
static void several_takers(struct pair *pair, int bytes)
{
	pthread_t takers[3];

	shared = *pair;
	for (int i = 0; i < 3; i++)
		pthread_create(&takers[i], NULL, taker, NULL);
	put_bytes(pair->a, (size_t)bytes, 1);
	pause_ms(10);
	put_bytes(pair->a, 100, 1);
	shutdown(pair->a, SHUT_WR);
	for (int i = 0; i < 3; i++)
		pthread_join(takers[i], NULL);
	note("taken", "%llu", (unsigned long long)taken);
}

/* One thread in a blocking receive, this one receives what it can without blocking. */
static void blocked_and_dontwait(struct pair *pair, int unused)
{
	pthread_t thread;
	char text[16];
	uint64_t own = 0;

	(void)unused;
	shared = *pair;
	pthread_create(&thread, NULL, taker, NULL);
	pause_ms(10);
	for (int i = 0; i < 50; i++) {
		put(pair->a, "1234567890");
		ssize_t got = recv(pair->b, text, sizeof(text), MSG_DONTWAIT);
		own += got > 0 ? (uint64_t)got : 0;
	}
	shutdown(pair->a, SHUT_WR);
	pthread_join(thread, NULL);
	note("sum", "%llu", (unsigned long long)(own + taken));
}

/* Full duplex in four threads. */
static void duplex(struct pair *pair, int bytes)
{
	later_put_bytes(0, pair->a, (size_t)bytes, 1);
	later_put_bytes(0, pair->b, (size_t)bytes, 2);
	later_drain(0, "there", pair->b, (size_t)bytes);
	later_drain(0, "back", pair->a, (size_t)bytes);
	later_join();
}

static void set_nonblocking(void *fd)
{
	fcntl(*(int *)fd, F_SETFL, O_NONBLOCK);
}

static void set_option(void *fd)
{
	set_int(*(int *)fd, SOL_SOCKET, SO_ZEROCOPY, 1);
}

static void set_upper_protocol(void *fd)
{
	setsockopt(*(int *)fd, IPPROTO_TCP, TCP_ULP, "tls", 3);
}

static void set_filter(void *fd)
{
	struct sock_filter accept_all = BPF_STMT(BPF_RET | BPF_K, 0xffffffff);
	struct sock_fprog program = { 1, &accept_all };

	setsockopt(*(int *)fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

static void set_timestamp(void *fd)
{
	set_int(*(int *)fd, SOL_SOCKET, SO_TIMESTAMP, 1);
}

static void set_inq(void *fd)
{
	set_int(*(int *)fd, IPPROTO_TCP, TCP_INQ, 1);
}

static void open_stream(void *fd)
{
	if (!fdopen(*(int *)fd, "r"))
		note("FAILED", "fdopen");
}

static void set_lowat(void *fd)
{
	set_int(*(int *)fd, SOL_SOCKET, SO_RCVLOWAT, 4);
}

static void set_timeout(void *fd)
{
	struct timeval timeout = { .tv_usec = 900000 };

	setsockopt(*(int *)fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
}

/* Something is changed while this thread sleeps in recv. */
static void changed_while_blocked(struct pair *pair, int what)
{
	static void (*const changes[])(void *) = { set_nonblocking,    set_option, set_lowat,     set_timeout,
						   set_upper_protocol, set_filter, set_timestamp, set_inq,
						   open_stream };

	later_call(SOON_MS, changes[what], &pair->b);
	later_put(4 * SOON_MS, pair->a, "hello");
	get("receive", pair->b, 64, 0);
	later_join();
	later_put(SOON_MS, pair->a, "again");
	if (what == 0)
		note_poll("poll", pair->b, POLLIN, 1000);
	get("next", pair->b, 64, 0);
}

/* A handler with SA_RESTART runs before that, and after it: the receive begins anew. 1: the fd is closed instead */
static void changed_between_signals(struct pair *pair, int closes)
{
	handle(SIGUSR1, SA_RESTART);
	for (unsigned i = 1; i < 4; i += 2)
		later_signal(i * 2 * SOON_MS, SIGUSR1);
	if (closes)
		later_close(4 * SOON_MS, pair->b);
	else
		later_call(4 * SOON_MS, set_nonblocking, &pair->b);
	later_put(10 * SOON_MS, pair->a, "hello");
	get("receive", pair->b, 64, 0);
	note("handled", "%d", handled);
	later_join();
	get("next", pair->b, 64, 0);
}

static void close_while_polled(struct pair *pair, int unused)
{
	struct pollfd poller = { .fd = pair->b, .events = POLLIN };

	(void)unused;
	later_close(SOON_MS, pair->b);
	TRY("poll", poll(&poller, 1, 12 * SOON_MS));
	later_join();
	settle();
	get("peer", pair->a, 64, MSG_DONTWAIT);
}

enum asleep {
	ASLEEP_RESET,
	ASLEEP_FIN,
	ASLEEP_DATA,
	ASLEEP_TIME,
	ASLEEP_HANDLER,
	ASLEEP_RESTART,
	ASLEEP_WHAT = 7,
	ASLEEP_TIMED = 8,
	ASLEEP_FILE = 16
};

static void put_file_there(void *fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	dup2(null, *(int *)fd);
	close(null);
}

/* The fd is closed while this thread sleeps in recv, or names another file by then; afterwards something comes. */
static void closed_while_asleep(struct pair *pair, int how)
{
	struct timeval timeout = { .tv_usec = 12 * SOON_MS * 1000 };
	int what = how & ASLEEP_WHAT;

	if (how & ASLEEP_TIMED)
		setsockopt(pair->b, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	handle(SIGUSR1, what == ASLEEP_RESTART ? SA_RESTART : 0);
	if (how & ASLEEP_FILE)
		later_call(2 * SOON_MS, put_file_there, &pair->b);
	else
		later_close(2 * SOON_MS, pair->b);
	if (what == ASLEEP_RESET)
		later_reset(6 * SOON_MS, pair->a);
	else if (what == ASLEEP_FIN)
		later_close(6 * SOON_MS, pair->a);
	else if (what == ASLEEP_DATA)
		later_put(6 * SOON_MS, pair->a, "hello");
	else if (what != ASLEEP_TIME)
		later_signal(6 * SOON_MS, SIGUSR1);
	get("receive", pair->b, 64, 0);
	later_join();
	note("handled", "%d", handled);
	settle();
	if (what >= ASLEEP_DATA)
		get("peer", pair->a, 64, MSG_DONTWAIT);
}

/* A second reader arrives while one sleeps; the second one's time-out ends in time. */
static void second_reader_times_out(struct pair *pair, int unused)
{
	pthread_t thread;
	struct timeval timeout = { .tv_usec = 80000 };
	uint64_t start_ms;

	(void)unused;
	shared = *pair;
	taker_tid = 0;
	pthread_create(&thread, NULL, taker, NULL);
	for (int i = 0; i < 1000 && !taker_tid; i++)
		pause_ms(1);
	wait_asleep(taker_tid); /* it has begun without a time-out */
	setsockopt(pair->b, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	start_ms = clock_ms();
	get("receive", pair->b, 64, 0);
	note_waited("waited", start_ms, 80);
	shutdown(pair->a, SHUT_WR);
	pthread_join(thread, NULL);
}

/* What a thread sees that has as small a stack as there may be: 16 KiB. */
static struct {
	ssize_t results[10];
	int count, pipe[2];
} small;

static void keep(ssize_t result)
{
	small.results[small.count++] = result < 0 ? -errno : result;
}

static void *calls_with_small_stack(void *unused)
{
	char bytes[8];
	int waiting = 0;

	keep(ioctl(shared.b, FIONREAD, &waiting));
	keep(waiting);
	keep(splice(shared.b, NULL, small.pipe[1], NULL, 100000, 0));
	put(shared.a, "truncated, and more");
	settle();
	keep(recv(shared.b, NULL, 10, MSG_TRUNC));
	keep(read(shared.b, bytes, sizeof(bytes)));
	keep(send(shared.b, bytes, sizeof(bytes), 0));
	keep(recv(shared.b, bytes, sizeof(bytes), MSG_DONTWAIT));
	keep(recv(shared.b, bytes, sizeof(bytes), MSG_DONTWAIT));
	put(shared.a, "unread");
	settle();
	keep(close(shared.b));
	return unused;
}

static void small_stack(struct pair *pair, int unused)
{
	pthread_attr_t attributes;
	pthread_t thread;
	char field[] = "call 0";

	(void)unused;
	shared = *pair;
	if (pipe(small.pipe) < 0 || pthread_attr_init(&attributes))
		_exit(2);
	pthread_attr_setstacksize(&attributes, 16384);
	pthread_attr_setguardsize(&attributes, 1 << 20); /* nothing reaches past it */
	put_bytes(pair->a, 30000, 1);
	settle();
	pthread_create(&thread, &attributes, calls_with_small_stack, NULL);
	pthread_join(thread, NULL);
	for (int i = 0; i < small.count; i++) {
		field[5] = (char)('0' + i);
		note_result(field, small.results[i], 0);
	}
	get("peer", pair->a, 64, 0);
	get("peer next", pair->a, 64, 0);
}

static const struct semantics_case cases[] = {
	{ "threads-writers", several_writers, 0, 0 },
	{ "threads-readers", several_takers, 50000, 0 },
	{ "threads-readers-large", several_takers, 3000000, 0 },
	{ "threads-blocked-and-dontwait", blocked_and_dontwait, 0, 0 },
	{ "threads-duplex", duplex, 1000000, 0 },
	{ "blocked-then-nonblock-set", changed_while_blocked, 0, 0 },
	{ "blocked-then-zerocopy-set", changed_while_blocked, 1, 0 },
	{ "blocked-then-lowat-set", changed_while_blocked, 2, 0 },
	{ "blocked-then-timeout-set", changed_while_blocked, 3, 0 },
	{ "blocked-then-ulp-set", changed_while_blocked, 4, 0 },
	{ "blocked-then-filter-set", changed_while_blocked, 5, 0 },
	{ "blocked-then-timestamp-set", changed_while_blocked, 6, 0 },
	{ "blocked-then-inq-set", changed_while_blocked, 7, 0 },
	{ "blocked-then-fdopen", changed_while_blocked, 8, 0 },
	{ "nonblock-set-between-signals", changed_between_signals, 0, 0 },
	{ "closed-between-signals", changed_between_signals, 1, 0 },
	{ "close-while-polled", close_while_polled, 0, 0 },
	{ "closed-asleep-reset", closed_while_asleep, ASLEEP_RESET, 0 },
	{ "closed-asleep-reset-file", closed_while_asleep, ASLEEP_RESET | ASLEEP_FILE, 0 },
	{ "closed-asleep-reset-timed", closed_while_asleep, ASLEEP_RESET | ASLEEP_TIMED, 0 },
	{ "closed-asleep-reset-timed-file", closed_while_asleep, ASLEEP_RESET | ASLEEP_TIMED | ASLEEP_FILE, 0 },
	{ "closed-asleep-fin", closed_while_asleep, ASLEEP_FIN, 0 },
	{ "closed-asleep-data-timed", closed_while_asleep, ASLEEP_DATA | ASLEEP_TIMED, 0 },
	{ "closed-asleep-time-timed", closed_while_asleep, ASLEEP_TIME | ASLEEP_TIMED, 0 },
	{ "closed-asleep-time-timed-file", closed_while_asleep, ASLEEP_TIME | ASLEEP_TIMED | ASLEEP_FILE, 0 },
	{ "closed-asleep-handler", closed_while_asleep, ASLEEP_HANDLER, 0 },
	{ "closed-asleep-handler-timed-file", closed_while_asleep, ASLEEP_HANDLER | ASLEEP_TIMED | ASLEEP_FILE, 0 },
	{ "closed-asleep-restart", closed_while_asleep, ASLEEP_RESTART, 0 },
	{ "closed-asleep-restart-file", closed_while_asleep, ASLEEP_RESTART | ASLEEP_FILE, 0 },
	{ "closed-asleep-restart-timed", closed_while_asleep, ASLEEP_RESTART | ASLEEP_TIMED, 0 },
	{ "second-reader-times-out", second_reader_times_out, 0, 0 },
	{ "small-stack", small_stack, 0, 0 },
};
FAMILY(threads);
