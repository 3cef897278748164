/* SPDX-License-Identifier: BSD-2-Clause */
/* Several senders, or several receivers, at work on one connection at the same time. What TCP does then: a message that finds room is
 * written whole, and the bytes of one receive follow each other in the stream.
 *
 *   concurrent senders|readers|passed threads|processes|stopped COUNT SECONDS
 *
 * senders: COUNT of them send messages that begin with their length and are of one letter each; never so much is unread that a send would
 * have to wait for room, where TCP, too, may let another in. The reader takes a message in two receives at least.
 * readers: numbered records, some at a time, and COUNT readers with room for many; less is unread than TCP would cut in the middle of a record.
 * passed: readers in a process to which the connection was passed (SCM_RIGHTS) in the middle.
 * stopped: processes, each of which is stopped now and then, for longer than others wait for who is in the middle of a receive (reader.h).
 * One line of JSON: "messages" (or records), and "torn", how many were not whole (or did not follow the one before in the same receive);
 * after the first torn message there is no telling where the next begins, and the run is over. Exit status as in loopback.h.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../support/loopback.h"
#include "../support/random.h"
#include "../support/rights.h"

#define MESSAGE_MAX 3000u
#define UNREAD_MAX (4 * MESSAGE_MAX)
#define COUNT_MAX 16u
#define TURNS 40
#define RECORD_WORDS 8u
#define RECORDS_AT_ONCE 8u
#define ROOM_WORDS 512u
#define RECORDS_UNREAD_MAX 48000 /* a segment takes 65,483 */
#define DEADLINE_S 30u
#define STOP_US 30000
#define STOPS_APART_US 3000

struct shared {
	_Atomic int64_t unread;
	_Atomic uint64_t messages, torn;
};

static struct shared *shared;
static uint64_t until_us;
static unsigned count;
static bool in_processes, are_stopped;
static int fd;

static void *send_messages(void *argument)
{
	char letter = (char)('a' + (intptr_t)argument), buffer[MESSAGE_MAX];
	struct rng rng = rng_make(1, (uint64_t)(intptr_t)argument);

	memset(buffer, letter, sizeof(buffer));
	while (now_us() < until_us && !shared->torn) {
		uint32_t length = (uint32_t)(sizeof(length) + 4 + rng_below(&rng, MESSAGE_MAX - sizeof(length) - 4));

		memcpy(buffer, &length, sizeof(length));
		while (shared->unread + length > UNREAD_MAX && now_us() < until_us)
			pause_us(20);
		shared->unread += length;
		if (send(fd, buffer, length, MSG_NOSIGNAL) != (ssize_t)length && !shared->torn)
			die("send");
	}
	return NULL;
}

static void *receive_records(void *unused)
{
	uint64_t words[ROOM_WORDS];
	ssize_t got;

	while ((got = recv(fd, words, sizeof(words), 0)) > 0) {
		size_t records = (size_t)got / (RECORD_WORDS * sizeof(*words));

		shared->unread -= got;
		shared->messages += records;
		for (size_t i = 1; i < records; i++)
			if (words[RECORD_WORDS * i] != words[RECORD_WORDS * (i - 1)] + 1) {
				shared->torn++;
				break;
			}
	}
	return unused;
}

static void end_of(pid_t child, bool may_fail)
{
	int status = 0;

	if (waitpid(child, &status, 0) < 0 || (status != 0 && !may_fail))
		die("a process ended with %d", status);
}

static void stop_now_and_then(const pid_t *processes)
{
	struct rng rng = rng_make(2, 0);

	while (now_us() < until_us) {
		pid_t process = processes[rng_below(&rng, count)];

		kill(process, SIGSTOP);
		pause_us(STOP_US);
		kill(process, SIGCONT);
		pause_us(rng_below(&rng, STOPS_APART_US));
	}
}

/* COUNT of them, until all have ended. */
static void all_do(void *work(void *))
{
	pthread_t threads[COUNT_MAX];
	pid_t processes[COUNT_MAX];

	for (intptr_t i = 0; i < count; i++) {
		if (!in_processes)
			pthread_create(&threads[i], NULL, work, (void *)i);
		else if ((processes[i] = fork()) == 0) {
			alarm(DEADLINE_S);
			work((void *)i);
			_exit(0);
		}
	}
	if (are_stopped)
		stop_now_and_then(processes);
	for (unsigned i = 0; i < count; i++) {
		if (!in_processes)
			pthread_join(threads[i], NULL);
		else
			end_of(processes[i], false);
	}
}

static void check_messages(void)
{
	char buffer[MESSAGE_MAX];
	uint32_t length;

	while (read_whole(fd, &length, sizeof(length)) == 0) {
		bool torn = length < sizeof(length) || length > MESSAGE_MAX;

		if (!torn && read_whole(fd, buffer, length - sizeof(length)) != 0)
			die("the stream ends in a message");
		for (uint32_t i = 1; !torn && i < length - sizeof(length); i++)
			torn = buffer[i] != buffer[0];
		shared->messages++;
		shared->torn += torn;
		shared->unread -= length;
		if (torn)
			break;
	}
}

static void send_records(void)
{
	uint64_t words[RECORD_WORDS * RECORDS_AT_ONCE] = { 0 }, next = 0;
	struct rng rng = rng_make(1, 0);

	while (now_us() < until_us) {
		size_t records = 1 + rng_below(&rng, RECORDS_AT_ONCE), bytes = records * RECORD_WORDS * sizeof(*words);

		for (size_t i = 0; i < records; i++)
			words[RECORD_WORDS * i] = next++;
		while (shared->unread > RECORDS_UNREAD_MAX && now_us() < until_us)
			pause_us(20);
		shared->unread += bytes;
		if (send(fd, words, bytes, 0) != (ssize_t)bytes)
			die("send");
		pause_us(rng_below(&rng, 8) ? 0 : 50);
	}
}

static void turns(bool first)
{
	char byte = 't';

	for (int i = 0; i < TURNS; i++)
		if ((first && send(fd, &byte, 1, 0) != 1) || recv(fd, &byte, 1, 0) != 1 ||
		    (!first && send(fd, &byte, 1, 0) != 1))
			die("a turn");
}

/* Before there is the connection that it is to be passed. */
static pid_t reading_process(int *channel_out)
{
	int channel[2];
	pid_t process;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, channel) < 0)
		die("socketpair");
	process = fork();
	if (process == 0) {
		alarm(DEADLINE_S);
		fd = rights_take(channel[1], false);
		all_do(receive_records);
		_exit(0);
	}
	*channel_out = channel[0];
	return process;
}

int main(int argc, char **argv)
{
	int listener = loopback_listen("127.0.0.1", 0, 1, 0), on = 1, channel = -1;
	bool senders = argc == 5 && !strcmp(argv[1], "senders"), passed = argc == 5 && !strcmp(argv[1], "passed");
	pid_t child, reader = 0;

	if (argc != 5 || (count = (unsigned)atoi(argv[3])) < 1 || count > COUNT_MAX)
		return EXIT_USAGE;
	are_stopped = !strcmp(argv[2], "stopped");
	in_processes = are_stopped || !strcmp(argv[2], "processes");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	until_us = now_us() + (uint64_t)(atof(argv[4]) * 1e6);
	alarm(DEADLINE_S);
	if (passed)
		reader = reading_process(&channel);
	child = fork();
	fd = child ? accept(listener, NULL, NULL) : loopback_connect("127.0.0.1", loopback_port(listener));
	if (child == 0)
		alarm(DEADLINE_S);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	turns(child == 0);
	if (child == 0) {
		senders ? all_do(send_messages) : send_records();
		return 0;
	}
	if (passed && !rights_give(channel, fd))
		die("SCM_RIGHTS");
	if (!passed)
		senders ? check_messages() : all_do(receive_records);
	close(fd);
	if (passed)
		end_of(reader, false);
	end_of(child, shared->torn);
	printf("{\"messages\": %llu, \"torn\": %llu}\n", (unsigned long long)shared->messages,
	       (unsigned long long)shared->torn);
	return 0;
}
