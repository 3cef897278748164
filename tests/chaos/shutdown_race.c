/* SPDX-License-Identifier: BSD-2-Clause */
/* What was sent comes before the end of the stream, also if another thread or process shuts down in the middle of a send.
 *
 * shutdown_race ROUNDS SENDERS thread|process [sendfile]: each round is one connection, in use before for some ms, on which SENDERS threads
 * send without a pause until the end is shut down by the main thread, or by a child, at a random moment. "lost" counts the rounds in which
 * the reader was told of the end before it had all that sends have returned. Prints one JSON line, with the bytes read, the longest
 * shutdown() and how many took longer than SLOW_US, but for the time in which its thread waited for a CPU.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/wait.h>

#include "../support/loopback.h"
#include "../support/random.h"
#include "slow_landing.h"

#define TURNS_US 4000 /* until both ends are armed: a send that began before is not waited for */
#define MESSAGE_BYTES 300
#define SENDERS_MAX 8
#define SLOW_US 5000
#define MOMENT_US 3000
#define SHORT_SLEEP_US 300
#define DEADLINE_S 90

static int ends[2];      /* the senders', and the reader's */
static int file_fd = -1; /* sendfile() of it, which takes no turn (preload/turn.h) */
static _Atomic uint64_t sent;
static uint64_t got;

static ssize_t send_message(void)
{
	char message[MESSAGE_BYTES] = "";
	off_t start = 0;

	return file_fd < 0 ? send(ends[0], message, sizeof(message), MSG_NOSIGNAL)
			   : sendfile(ends[0], file_fd, &start, sizeof(message));
}

static void *sender(void *unused)
{
	ssize_t bytes;

	while ((bytes = send_message()) > 0)
		atomic_fetch_add(&sent, (uint64_t)bytes);
	if (errno != EPIPE)
		die("send");
	return unused;
}

static void *reader(void *unused)
{
	static char buffer[65536];
	ssize_t bytes;

	while ((bytes = recv(ends[1], buffer, sizeof(buffer), 0)) > 0)
		got += (uint64_t)bytes;
	if (bytes < 0)
		die("recv");
	return unused;
}

static void open_connection(int listener)
{
	char byte;

	ends[0] = loopback_connect("127.0.0.1", loopback_port(listener));
	ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (ends[1] < 0)
		die("accept");
	for (uint64_t begun_us = now_us(); now_us() < begun_us + TURNS_US;)
		if (write(ends[0], "q", 1) != 1 || read(ends[1], &byte, 1) != 1 || write(ends[1], "a", 1) != 1 ||
		    read(ends[0], &byte, 1) != 1)
			die("turn");
	sent = got = 0;
}

static void start(pthread_t *thread, void *(*function)(void *))
{
	if (pthread_create(thread, NULL, function, NULL))
		die("thread");
}

/* How long this thread was runnable and had no CPU, so far. */
static uint64_t queued_us(void)
{
	FILE *file = fopen("/proc/thread-self/schedstat", "r");
	unsigned long long ran, queued;

	if (!file || fscanf(file, "%llu %llu", &ran, &queued) != 2)
		die("schedstat");
	fclose(file);
	return queued / 1000;
}

static uint64_t shutdown_us(void)
{
	uint64_t queued_before_us = queued_us(), begun_us = now_us();

	if (shutdown(ends[0], SHUT_WR))
		die("shutdown");
	uint64_t us = now_us() - begun_us, queued = queued_us() - queued_before_us;
	return us > queued ? us - queued : 0;
}

static void shut_down_in_child(uint64_t moment_us)
{
	pid_t child = fork();

	if (child == 0) {
		pause_us(moment_us);
		_exit(shutdown(ends[0], SHUT_WR) != 0);
	}
	int status = 0;
	if (child < 0 || waitpid(child, &status, 0) != child || status)
		die("child");
}

int main(int argc, char **argv)
{
	struct rng rng = rng_make(3, 0);
	pthread_t senders[SENDERS_MAX], receiver;
	uint64_t longest_us = 0, bytes = 0;
	unsigned rounds, count, lost = 0, slow = 0;

	if (argc < 4 || (count = (unsigned)atoi(argv[2])) > SENDERS_MAX)
		return EXIT_USAGE;
	rounds = (unsigned)atoi(argv[1]);
	alarm(DEADLINE_S);
	signal(SIGPIPE, SIG_IGN);
	if (argc > 4 && ((file_fd = memfd_create("file", MFD_CLOEXEC)) < 0 || ftruncate(file_fd, MESSAGE_BYTES)))
		die("file");
	int listener = loopback_listen("127.0.0.1", 0, 8, 0);
	for (unsigned i = 0; i < rounds; i++) {
		open_connection(listener);
		start(&receiver, reader);
		for (unsigned j = 0; j < count; j++)
			start(&senders[j], sender);
		pthread_setname_np(senders[0], SLOW_THREAD);
		uint64_t moment_us = SHORT_SLEEP_US + rng_below(&rng, MOMENT_US), us = 0;
		if (strcmp(argv[3], "process") == 0) {
			shut_down_in_child(moment_us);
		} else {
			pause_us(moment_us);
			us = shutdown_us();
		}
		longest_us = us > longest_us ? us : longest_us;
		slow += us > SLOW_US;
		for (unsigned j = 0; j < count; j++)
			pthread_join(senders[j], NULL);
		pthread_join(receiver, NULL);
		lost += got != sent;
		bytes += got;
		close(ends[0]);
		close(ends[1]);
	}
	printf("{\"rounds\": %u, \"lost\": %u, \"bytes\": %llu, \"longest_us\": %llu, \"slow\": %u}\n", rounds, lost,
	       (unsigned long long)bytes, (unsigned long long)longest_us, slow);
	return 0;
}
