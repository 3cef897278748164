/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads that use a connection from its first moment on, while it joins, is armed, and has no ledger yet.
 *
 *   early_calls messages ROUNDS   several send whole messages, one sits in a receive: none may be torn
 *   early_calls end ROUNDS        one sends, one shuts the sending down: what was sent comes before the end
 *   early_calls edge ROUNDS       an edge-triggered reader that takes a short read for all there is, beside a sender that a handler holds up
 *                                 now and then, as a garbage collector does: it is always woken again
 *
 * Each round is one connection of this process with itself. Prints one JSON line: in how many rounds something was wrong.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#include "../support/random.h"
#include "../support/watchdog.h"

#define DEADLINE_S 100
#define SENDERS 4
#define MESSAGES 300
#define MESSAGE_BYTES 4096
#define SMALL_RCVBUF 131072 /* so that some pass */
#define BURSTS 60
#define STALL_US 1500000
#define UNREAD_MOST 30000

struct head {
	uint32_t sender, number, bytes;
};

static int near_end, far_end;
static uint64_t seed;
static _Atomic bool begun, over;
static _Atomic long received;
static pthread_t held_up;

static void connect_pair(int listener, bool near_reader, pthread_t *reader, void *(*run)(void *))
{
	int on = 1;

	near_end = loopback_connect("127.0.0.1", loopback_port(listener));
	if (near_reader && pthread_create(reader, NULL, run, &near_end))
		die("pthread_create");
	if (near_reader)
		pause_us(1500);
	far_end = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (far_end < 0)
		die("accept4");
	setsockopt(near_end, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(far_end, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	begun = over = false;
	received = 0;
	seed++;
}

static void *discard(void *fd)
{
	char bytes[65536];

	while (recv(*(int *)fd, bytes, sizeof(bytes), 0) > 0)
		;
	return NULL;
}

/* ---- messages ---- */

static void *send_messages(void *argument)
{
	uint32_t sender = (uint32_t)(uintptr_t)argument;
	struct rng rng = rng_make(seed, sender);
	unsigned char message[sizeof(struct head) + MESSAGE_BYTES];

	while (!begun)
		sched_yield();
	for (uint32_t i = 0; i < MESSAGES; i++) {
		struct head head = { sender, i, (uint32_t)rng_below(&rng, MESSAGE_BYTES) };

		memcpy(message, &head, sizeof(head));
		memset(message + sizeof(head), (int)(sender * 16 + i % 16), head.bytes);
		if (write_whole(near_end, message, sizeof(head) + head.bytes))
			die("write");
	}
	return NULL;
}

static bool message_is_whole(uint32_t next[SENDERS])
{
	unsigned char bytes[MESSAGE_BYTES];
	struct head head;

	if (read_whole(far_end, &head, sizeof(head)) || head.sender >= SENDERS || head.number != next[head.sender]++ ||
	    head.bytes >= MESSAGE_BYTES || read_whole(far_end, bytes, head.bytes))
		return false;
	for (uint32_t i = 0; i < head.bytes; i++)
		if (bytes[i] != (unsigned char)(head.sender * 16 + head.number % 16))
			return false;
	return true;
}

static bool play_messages(int listener)
{
	uint32_t next[SENDERS] = { 0 };
	pthread_t senders[SENDERS], reader;

	connect_pair(listener, true, &reader, discard);
	for (uintptr_t i = 0; i < SENDERS; i++)
		if (pthread_create(&senders[i], NULL, send_messages, (void *)i)) /* NOLINT(performance-no-int-to-ptr) */
			die("pthread_create");
	begun = true;
	for (int i = 0; i < SENDERS * MESSAGES; i++)
		if (!message_is_whole(next))
			return false; /* the others' would not fit any more: the last round */
	for (int i = 0; i < SENDERS; i++)
		pthread_join(senders[i], NULL);
	shutdown(far_end, SHUT_RDWR);
	pthread_join(reader, NULL);
	return true;
}

/* ---- the end ---- */

static void *send_on(void *sent_out)
{
	static const char bytes[8192];
	struct rng rng = rng_make(seed, 1);
	long *sent = sent_out;
	ssize_t result;

	while ((result = send(near_end, bytes, 1 + rng_below(&rng, sizeof(bytes) - 1), MSG_NOSIGNAL)) > 0)
		for (*sent += result; *sent - received > UNREAD_MOST && !over;)
			sched_yield();
	return NULL;
}

static void *shut_down(void *unused)
{
	struct rng rng = rng_make(seed, 2);
	long at = 20000 + (long)rng_below(&rng, 200000);

	while (received < at)
		sched_yield();
	shutdown(near_end, SHUT_WR);
	return unused;
}

static bool play_end(int listener)
{
	pthread_t reader, sender, ender;
	char bytes[4096];
	long sent = 0;
	ssize_t got;

	connect_pair(listener, true, &reader, discard);
	size_t room = seed % 2 ? sizeof(bytes) : 64;
	if (pthread_create(&sender, NULL, send_on, &sent) || pthread_create(&ender, NULL, shut_down, NULL))
		die("pthread_create");
	while ((got = recv(far_end, bytes, room, 0)) > 0)
		received += got;
	over = true;
	pthread_join(sender, NULL);
	pthread_join(ender, NULL);
	shutdown(far_end, SHUT_RDWR);
	pthread_join(reader, NULL);
	return received == sent;
}

/* ---- the edge ---- */

static void take_a_nap(int number)
{
	(void)number;
	pause_us(40000);
}

static void *send_small(void *unused)
{
	static const char bytes[500];
	struct rng rng = rng_make(seed, 3);

	while (!over && send(far_end, bytes, 1 + rng_below(&rng, sizeof(bytes) - 1), MSG_NOSIGNAL) > 0)
		pause_us(3);
	return unused;
}

static void *hold_up(void *unused)
{
	struct rng rng = rng_make(seed, 4);

	while (!over) {
		pause_us(rng_below(&rng, 3000));
		if (!over)
			pthread_kill(held_up, SIGUSR1);
		pause_us(40000);
	}
	return unused;
}

static void *read_by_edges(void *unused)
{
	static char bytes[1 << 20];
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int set = epoll_create1(EPOLL_CLOEXEC);
	ssize_t got;

	epoll_ctl(set, EPOLL_CTL_ADD, far_end, &event);
	while (!over) {
		if (epoll_wait(set, &event, 1, 100) != 1)
			continue;
		do {
			got = recv(far_end, bytes, sizeof(bytes), MSG_DONTWAIT);
			received += got > 0 ? got : 0;
		} while (got == (ssize_t)sizeof(bytes));
	}
	close(set);
	return unused;
}

static bool bursts_arrive(void)
{
	static const char bytes[32768];
	struct rng rng = rng_make(seed, 5);
	long sent = 0;

	for (int i = 0; i < 4; i++, pause_us(300))
		sent += send(near_end, bytes, 1, MSG_NOSIGNAL);
	pause_us(2000);
	for (int i = 0; i < BURSTS; i++) {
		for (uint64_t count = 1 + rng_below(&rng, 12); count; count--)
			sent += send(near_end, bytes, 1 + rng_below(&rng, 30000), MSG_NOSIGNAL);
		for (uint64_t begun_us = now_us(); received < sent; pause_us(100))
			if (now_us() - begun_us > STALL_US)
				return false;
	}
	return true;
}

static bool play_edge(int listener)
{
	pthread_t reader, edges, holder;

	connect_pair(listener, true, &reader, discard);
	if (pthread_create(&edges, NULL, read_by_edges, NULL) || pthread_create(&held_up, NULL, send_small, NULL) ||
	    pthread_create(&holder, NULL, hold_up, NULL))
		die("pthread_create");
	bool arrives = bursts_arrive();
	over = true;
	pthread_join(holder, NULL);
	shutdown(near_end, SHUT_RDWR);
	pthread_join(edges, NULL);
	pthread_join(held_up, NULL);
	pthread_join(reader, NULL);
	return arrives;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = take_a_nap, .sa_flags = SA_RESTART };
	bool is_edge = argc > 1 && !strcmp(argv[1], "edge"), is_end = argc > 1 && !strcmp(argv[1], "end");
	int rounds = argc > 2 ? atoi(argv[2]) : 0, wrong = 0;

	if (argc < 3) {
		fprintf(stderr, "usage: early_calls messages|end|edge ROUNDS\n");
		return EXIT_USAGE;
	}
	watchdog_start(DEADLINE_S, NULL);
	sigaction(SIGUSR1, &action, NULL);
	int listener = loopback_listen("127.0.0.1", 0, 8, is_edge ? SMALL_RCVBUF : 0);
	for (int i = 0; i < rounds && (is_edge || is_end || !wrong); i++) {
		wrong += !(is_edge ? play_edge(listener) : is_end ? play_end(listener) : play_messages(listener));
		close(near_end);
		close(far_end);
	}
	printf("{\"rounds\": %d, \"wrong\": %d}\n", rounds, wrong);
	fflush(stdout);
	_exit(0); /* some thread may still send */
}
