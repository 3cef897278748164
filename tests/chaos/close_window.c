/* SPDX-License-Identifier: BSD-2-Clause */
/* A message that meets a close(): it is not read, so the sender must learn of it by a reset, whenever exactly it came.
 *
 * close_window ROUNDS TURNS DELAY_US connected|accepted [forks|forks-late]: each round is one connection, both ends here, in use before for TURNS turns. A
 * thread sends one byte at the moment at which the named end is closed, or up to DELAY_US later. Over TCP the sender's end is
 * closed by the reset then, whether the byte was there or came after the FIN. "lost" counts the rounds in which it still waits for what
 * is to come. Prints one JSON line, with the longest close().
 *
 * forks: the process forks before the turns, a child that ends at once, and it is the sender that is late. forks-late: after the turns.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "../support/loopback.h"
#include "../support/random.h"
#include "slow_landing.h"

#define SPREAD 3000 /* steps by which one of the two may begin later */
#define PATIENCE_MS 600
#define DEADLINE_S 90

static int ends[2]; /* the sender's, and the one that is closed */
static pthread_barrier_t meeting;
static _Atomic unsigned steps[2];
static _Atomic uint64_t late_us;
static enum { NEVER, EARLY, LATE } forks;
static _Atomic int arrived;
static _Atomic bool over;

static void meet(unsigned who)
{
	pthread_barrier_wait(&meeting);
	atomic_fetch_add(&arrived, 1);
	while (atomic_load(&arrived) < 2)
		;
	for (unsigned i = atomic_load(&steps[who]); i > 0; i--)
		atomic_signal_fence(memory_order_seq_cst);
}

static void *sender(void *unused)
{
	for (;;) {
		meet(0);
		if (atomic_load(&over))
			return unused;
		if (late_us)
			pause_us(late_us);
		if (send(ends[0], "x", 1, MSG_NOSIGNAL) != 1 && errno != EPIPE && errno != ECONNRESET)
			die("send");
		pthread_barrier_wait(&meeting);
	}
}

static void make_child(void)
{
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	if (child < 0 || waitpid(child, NULL, 0) != child)
		die("fork");
}

static void open_connection(int listener, unsigned turns, bool closes_connected)
{
	int connected = loopback_connect("127.0.0.1", loopback_port(listener));
	int accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	char byte;

	if (accepted < 0)
		die("accept");
	ends[0] = closes_connected ? accepted : connected;
	ends[1] = closes_connected ? connected : accepted;
	if (forks == EARLY)
		make_child();
	for (unsigned i = 0; i < turns; i++)
		if (write(ends[0], "q", 1) != 1 || read(ends[1], &byte, 1) != 1 || write(ends[1], "a", 1) != 1 ||
		    read(ends[0], &byte, 1) != 1)
			die("turn");
	if (forks == LATE)
		make_child();
}

static bool is_reset(int fd)
{
	struct tcp_info info;
	socklen_t length = sizeof(info);

	for (int i = 0; i < PATIENCE_MS; i++) {
		if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
			die("TCP_INFO");
		if (info.tcpi_state == TCP_CLOSE)
			return true;
		usleep(1000);
	}
	return false;
}

static uint64_t close_us(int fd)
{
	uint64_t begun_us = now_us();

	if (close(fd))
		die("close");
	return now_us() - begun_us;
}

int main(int argc, char **argv)
{
	unsigned rounds, turns, lost = 0;
	uint64_t delay_us, longest_us = 0;
	struct rng rng = rng_make(1, 0);
	pthread_t thread;

	if (argc == 6)
		forks = strcmp(argv[5], "forks") == 0 ? EARLY : strcmp(argv[5], "forks-late") == 0 ? LATE : NEVER;
	if (argc != 5 && !forks)
		return EXIT_USAGE;
	rounds = (unsigned)atoi(argv[1]);
	turns = (unsigned)atoi(argv[2]);
	delay_us = strtoull(argv[3], NULL, 10);
	alarm(DEADLINE_S);
	int listener = loopback_listen("127.0.0.1", 0, 8, 0);
	if (pthread_barrier_init(&meeting, NULL, 2) || pthread_create(&thread, NULL, sender, NULL) ||
	    pthread_setname_np(thread, SLOW_THREAD))
		die("thread");
	if (forks && delay_us && pthread_setname_np(pthread_self(), SLOW_CLOSER))
		die("name");
	for (unsigned i = 0; i < rounds; i++) {
		open_connection(listener, turns, strcmp(argv[4], "connected") == 0);
		steps[0] = delay_us ? 0 : rng_below(&rng, SPREAD) * (rng_below(&rng, 8) ? 4 : 1);
		steps[1] = delay_us ? 0 : rng_below(&rng, SPREAD);
		late_us = forks ? delay_us : 0;
		arrived = 0;
		meet(1);
		if (delay_us && !forks)
			pause_us(rng_below(&rng, delay_us));
		uint64_t us = close_us(ends[1]);
		longest_us = us > longest_us ? us : longest_us;
		pthread_barrier_wait(&meeting);
		lost += !is_reset(ends[0]);
		close(ends[0]);
	}
	over = true;
	arrived = 0;
	meet(1);
	pthread_join(thread, NULL);
	printf("{\"rounds\": %u, \"lost\": %u, \"longest_us\": %llu}\n", rounds, lost, (unsigned long long)longest_us);
	return 0;
}
