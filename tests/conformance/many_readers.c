/* SPDX-License-Identifier: BSD-2-Clause */
/* Many readers: threads that sleep in a receive on one connection each get a message, whichever way it comes.
 *
 *   many_readers [rounds=N] [readers=N] [first=BYTES] [next=BYTES] [deadline=S]
 *
 * A round: a connection, some turns on it, so that it is armed; then READERS threads call recv() once each on one end and
 * sleep. The other end sends one message of FIRST bytes, and when somebody has it one of NEXT bytes, and so on, until every
 * reader has had one. With a bound between NEXT and FIRST the first message is passed and wakes all readers; all but one find
 * nothing. Who of them went on into a plain TCP receive is never woken by the redirected messages that follow (fact 3), and in
 * the end nobody else is left to take one.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "../support/watchdog.h"

#define READERS_MAX 32u
#define ROOM_BYTES 256u
#define WARM_UP_TURNS 24
#define ASLEEP_US 1000000u
#define STRANDED_US 5000000u

struct reader {
	pthread_t thread;
	_Atomic int tid; /* 0: does not run yet */
	_Atomic bool done;
	ssize_t got;
	int error;
	char buffer[ROOM_BYTES];
};

static struct reader readers[READERS_MAX];
static _Atomic unsigned messages_read;
static unsigned reader_count = 8;
static size_t first_bytes = 16, next_bytes = 8;
static int reader_fd;

static void *reader_main(void *argument)
{
	struct reader *reader = argument;

	reader->tid = (int)syscall(SYS_gettid);
	reader->got = recv(reader_fd, reader->buffer, sizeof(reader->buffer), 0);
	reader->error = errno;
	reader->done = true;
	messages_read++;
	return NULL;
}

/* The state letter of /proc/self/task/TID/stat. */
static char thread_state(int tid)
{
	char path[64], text[128] = "", *end;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return '?';
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	end = strrchr(text, ')');
	return end && end[1] ? end[2] : '?';
}

static bool all_asleep(void)
{
	for (unsigned i = 0; i < reader_count; i++)
		if (!readers[i].done && (!readers[i].tid || thread_state(readers[i].tid) != 'S'))
			return false;
	return true;
}

/* A busy machine may not get them all to sleep in time: that round shows less, and is right all the same. */
static bool wait_asleep(void)
{
	uint64_t start = now_us();

	while (!all_asleep()) {
		if (now_us() - start > ASLEEP_US)
			return false;
		pause_us(50);
	}
	return true;
}

static void wait_read(unsigned count, unsigned round)
{
	uint64_t start = now_us();

	while (messages_read < count) {
		if (now_us() - start > STRANDED_US) {
			fprintf(stderr, "STRANDED: round %u: %u of %u messages were read\n", round, messages_read,
				count);
			_exit(EXIT_WRONG);
		}
		pause_us(20);
	}
}

static void send_message(int fd, unsigned number)
{
	char message[ROOM_BYTES];
	size_t bytes = number ? next_bytes : first_bytes;

	memset(message, 'a' + (int)(number % 26), bytes);
	if (write_whole(fd, message, bytes))
		die("send");
}

/* Each message was read whole, by one reader. */
static void check(unsigned round)
{
	bool seen[READERS_MAX] = { false };

	for (unsigned i = 0; i < reader_count; i++) {
		const struct reader *reader = &readers[i];
		unsigned number = (unsigned)(reader->buffer[0] - 'a');
		ssize_t wanted = (ssize_t)(number ? next_bytes : first_bytes);

		pthread_join(reader->thread, NULL);
		if (reader->got == wanted && number < reader_count && !seen[number]) {
			seen[number] = true;
			continue;
		}
		fprintf(stderr, "FAILED: round %u: a reader got %zd bytes of message %u, error %s\n", round,
			reader->got, number, reader->got < 0 ? strerror(reader->error) : "none");
		_exit(EXIT_WRONG);
	}
}

static void warm_up(int a, int b)
{
	char message[8] = { 0 };

	for (int i = 0; i < WARM_UP_TURNS; i++)
		if (write_whole(a, message, sizeof(message)) || read_whole(b, message, sizeof(message)) ||
		    write_whole(b, message, sizeof(message)) || read_whole(a, message, sizeof(message)))
			die("warm-up");
}

/* True if all readers slept before the first message. */
static bool play(int listener, unsigned round)
{
	int a = loopback_connect("127.0.0.1", loopback_port(listener)), on = 1;
	bool asleep;

	reader_fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (reader_fd < 0)
		die("accept");
	setsockopt(a, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(reader_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	warm_up(a, reader_fd);
	memset(readers, 0, sizeof(readers));
	messages_read = 0;
	for (unsigned i = 0; i < reader_count; i++)
		if (pthread_create(&readers[i].thread, NULL, reader_main, &readers[i]))
			die("pthread_create");
	asleep = wait_asleep();
	for (unsigned i = 0; i < reader_count; i++) {
		send_message(a, i);
		wait_read(i + 1, round);
	}
	check(round);
	close(a);
	close(reader_fd);
	return asleep;
}

int main(int argc, char **argv)
{
	unsigned rounds = 100, deadline_s = 60, asleep = 0;
	int listener = loopback_listen("127.0.0.1", 0, 16, 0);

	signal(SIGPIPE, SIG_IGN);
	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "rounds=", 7))
			rounds = (unsigned)strtoul(argv[i] + 7, NULL, 0);
		else if (!strncmp(argv[i], "readers=", 8))
			reader_count = (unsigned)strtoul(argv[i] + 8, NULL, 0);
		else if (!strncmp(argv[i], "first=", 6))
			first_bytes = strtoul(argv[i] + 6, NULL, 0);
		else if (!strncmp(argv[i], "next=", 5))
			next_bytes = strtoul(argv[i] + 5, NULL, 0);
		else if (!strncmp(argv[i], "deadline=", 9))
			deadline_s = (unsigned)strtoul(argv[i] + 9, NULL, 0);
	}
	if (reader_count < 1 || reader_count > READERS_MAX || first_bytes > ROOM_BYTES || next_bytes > ROOM_BYTES)
		return EXIT_USAGE;
	watchdog_start(deadline_s, NULL);
	for (unsigned i = 0; i < rounds; i++)
		asleep += play(listener, i);
	printf("{\"rounds\": %u, \"asleep\": %u}\n", rounds, asleep);
	return 0;
}
