/* SPDX-License-Identifier: BSD-2-Clause */
/* A thread that no wrapper sees goes for a receive just as its connection is joined (run it with SMACCEL_ADMIT=eager: connect()
 * and accept() join): is it ever asleep where redirected data does not wake it?
 *   reader_race COUNT FROM_US TO_US     COUNT connections, the reader so much behind the begin of connect()
 * Prints {"connections": COUNT, "stranded": how many readers did not get their byte within a second}. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

#include "../support/loopback.h"
#include "../support/random.h"

#define LIMIT_S 60
#define ASLEEP_US 1200 /* the reader's start lies behind us, and so does its way to sleep */
#define PATIENCE_US 1000000
#define NO_CPU_US 15000000 /* a reader that is awake is waited for so long */

enum reader_state { READER_IDLE, READER_GO, READER_END };

static _Atomic int state, fd_to_read, reader_tid;
static _Atomic uint64_t start_us;

/* By a system call of its own. Before the connection is up that gives ENOTCONN. */
static void *read_raw(void *unused)
{
	char byte;

	(void)unused;
	atomic_store(&reader_tid, (int)syscall(SYS_gettid));
	for (;;) {
		while (atomic_load(&state) == READER_IDLE) /* awake: it has to be there in the same microsecond */
			;
		if (atomic_load(&state) == READER_END)
			return NULL;
		while (now_us() < atomic_load(&start_us))
			;
		while (syscall(SYS_read, atomic_load(&fd_to_read), &byte, 1) < 0 &&
		       (errno == ENOTCONN || errno == EAGAIN || errno == EINTR))
			;
		atomic_store(&state, READER_IDLE);
	}
}

/* In the only call that it can sleep in. */
static bool reader_sleeps(void)
{
	char path[64], line[256] = "", *after;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", atomic_load(&reader_tid));
	FILE *file = fopen(path, "re");
	if (!file)
		return true;
	after = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
	fclose(file);
	return !after || after[1] != ' ' || after[2] == 'S';
}

/* False: it has slept for so long. */
static bool reader_is_done(uint64_t within_us)
{
	uint64_t end_us = now_us() + within_us, awake_until_us = now_us() + NO_CPU_US;

	while (atomic_load(&state) != READER_IDLE &&
	       (now_us() < end_us || (now_us() < awake_until_us && !reader_sleeps())))
		pause_us(100);
	return atomic_load(&state) == READER_IDLE;
}

/* True if the reader got its byte. */
static bool one_connection(int listener, uint64_t delay_us)
{
	struct sockaddr_storage address;
	socklen_t length = loopback_address("127.0.0.1", loopback_port(listener), &address);
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), server;
	bool came;

	atomic_store(&fd_to_read, client);
	atomic_store(&start_us, now_us() + delay_us);
	atomic_store(&state, READER_GO);
	if (client < 0 || connect(client, (struct sockaddr *)&address, length) < 0)
		die("connect");
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (server < 0)
		die("accept4");
	pause_us(ASLEEP_US);
	if (send(server, "x", 1, MSG_NOSIGNAL) != 1)
		die("send");
	came = reader_is_done(PATIENCE_US);
	if (!came) { /* the end of the stream wakes it */
		shutdown(server, SHUT_RDWR);
		shutdown(client, SHUT_RDWR);
		if (!reader_is_done(PATIENCE_US))
			die("the reader does not come back");
	}
	close(server);
	close(client);
	return came;
}

int main(int argc, char **argv)
{
	struct rng rng = rng_make(1, 0);
	int listener, count, stranded = 0;
	uint64_t from_us, span_us;
	pthread_t reader;

	if (argc < 4)
		return EXIT_USAGE;
	alarm(LIMIT_S);
	count = atoi(argv[1]);
	from_us = strtoull(argv[2], NULL, 10);
	span_us = strtoull(argv[3], NULL, 10) - from_us;
	listener = loopback_listen("127.0.0.1", 0, 16, 0);
	if (pthread_create(&reader, NULL, read_raw, NULL))
		die("pthread_create");
	for (int i = 0; i < count; i++)
		stranded += !one_connection(listener, from_us + rng_below(&rng, span_us));
	atomic_store(&state, READER_END);
	pthread_join(reader, NULL);
	printf("{\"connections\": %d, \"stranded\": %d}\n", count, stranded);
	return 0;
}
