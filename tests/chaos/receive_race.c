/* SPDX-License-Identifier: BSD-2-Clause */
/* A thread's receives that want much, and another thread that closes the fd, or puts another connection there, at a random moment.
 *
 * receive_race ROUNDS: each round is one connection in this process. A sender sends in small pieces, with pauses; a receiver takes them with
 * MSG_WAITALL or by recvmmsg, with or without SO_RCVTIMEO, now and then beside a second one; in the middle the fd is closed. What must
 * hold, as over TCP: a call that is under way gets all that it wants, in order, and none of the other connection's bytes; then the
 * sender learns that nobody is there any more. In some rounds a signal arrives, or the receiver is cancelled. No fd is left.
 *
 * Prints one JSON line: "parts" are calls that ended with less although nothing had ended them.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "../support/pattern.h"
#include "../support/random.h"
#include "race.h"

#define CALL_BYTES_MAX 3000u
#define PIECE_BYTES_MAX 400u
#define MESSAGES 3
#define DELAY_US_MAX 6000
#define DEADLINE_US 8000000
#define LATE_US 700

enum event { NOTHING, SIGNAL, CANCEL, EVENTS };

struct round {
	struct pattern pattern, other_pattern;
	uint64_t seed;
	int fd, peer, receiver_fd;
	enum event event;
	bool timed, many;
	_Atomic bool stops, ended;
	_Atomic uint64_t closing_us;
	uint64_t received;
	bool part;
};

static void handler(int number)
{
	(void)number;
}

static void fail(const struct round *round, const char *what)
{
	fprintf(stderr, "receive_race: %s (event %d, timed %d, many %d, received %llu)\n", what, (int)round->event,
		round->timed, round->many, (unsigned long long)round->received);
	_exit(EXIT_WRONG);
}

/* -1, or how many bytes came. *short_out: a message but the last one brought less than it was to. */
static ssize_t receive_many(const struct round *round, unsigned char *buffer, size_t bytes, bool *short_out)
{
	struct mmsghdr messages[MESSAGES] = { 0 };
	struct iovec parts[MESSAGES];
	size_t sum = 0;

	for (size_t i = 0; i < MESSAGES; i++) {
		size_t from = bytes * i / MESSAGES;

		parts[i] = (struct iovec){ buffer + from, bytes * (i + 1) / MESSAGES - from };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &parts[i], .msg_iovlen = 1 };
	}
	int count = recvmmsg(round->receiver_fd, messages, MESSAGES, MSG_WAITALL, NULL);

	for (int i = 0; i < count; i++) {
		*short_out |= messages[i].msg_len < parts[i].iov_len;
		memmove(buffer + sum, parts[i].iov_base, messages[i].msg_len);
		sum += messages[i].msg_len;
	}
	return count < 0 ? -1 : (ssize_t)sum;
}

static void *receiver(void *argument)
{
	unsigned char buffer[CALL_BYTES_MAX];
	struct round *round = argument;
	struct rng rng = rng_make(round->seed, 1);

	while (!round->stops) {
		size_t bytes = MESSAGES + rng_below(&rng, CALL_BYTES_MAX - MESSAGES);
		uint64_t begun_us = now_us();
		bool is_short = false;
		ssize_t got = round->many ? receive_many(round, buffer, bytes, &is_short)
					  : recv(round->receiver_fd, buffer, bytes, MSG_WAITALL);

		if (got < 0 && errno == EINTR && round->event == SIGNAL)
			continue;
		if (got < 0 && errno != EBADF)
			fail(round, strerror(errno));
		if (got <= 0)
			break;
		if (pattern_verify(&round->pattern, round->received, buffer, (size_t)got) >= 0) {
			if (pattern_verify(&round->other_pattern, 0, buffer, (size_t)got) >= 0)
				fail(round, "wrong bytes");
			break; /* it began when the number was the other connection's */
		}
		round->received += (uint64_t)got;
		is_short |= (size_t)got < bytes;
		/* Not of a call that may have begun when the number was not the connection's any more. */
		round->part |= is_short && round->event != SIGNAL &&
			       (!round->closing_us || round->closing_us > begun_us + LATE_US);
	}
	return NULL;
}

/* Until nobody is there any more. */
static void *sender(void *argument)
{
	unsigned char buffer[PIECE_BYTES_MAX];
	struct round *round = argument;
	struct rng rng = rng_make(round->seed, 2);
	uint64_t sent = 0;

	for (;;) {
		size_t bytes = 1 + rng_below(&rng, PIECE_BYTES_MAX - 1);

		pattern_fill(&round->pattern, sent, buffer, bytes);
		ssize_t result = send(round->peer, buffer, bytes, MSG_NOSIGNAL);
		if (result < 0 && (errno == EPIPE || errno == ECONNRESET))
			break;
		if (result != (ssize_t)bytes)
			fail(round, "send");
		sent += bytes;
		if (rng_below(&rng, 3) == 0)
			pause_us(rng_below(&rng, 300));
	}
	round->ended = true;
	return NULL;
}

/* Enough for a call that begins when the number is this connection's. */
static void send_other(const struct round *round, int other_peer)
{
	unsigned char buffer[CALL_BYTES_MAX];

	pattern_fill(&round->other_pattern, 0, buffer, sizeof(buffer));
	if (write_whole(other_peer, buffer, sizeof(buffer)))
		die("write");
}

static void play(struct round *round, int listener, struct rng *rng)
{
	const struct timeval limit = { .tv_sec = 20 };
	pthread_t threads[2];
	int other, other_peer;
	bool replaced = rng_below(rng, 2);

	accepted_pair(listener, &round->fd, &round->peer);
	accepted_pair(listener, &other, &other_peer);
	round->receiver_fd = round->fd;
	if (round->timed)
		setsockopt(round->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	send_other(round, other_peer);
	if (pthread_create(&threads[0], NULL, receiver, round) || pthread_create(&threads[1], NULL, sender, round))
		die("pthread_create");
	pause_us(rng_below(rng, DELAY_US_MAX));
	if (round->event == SIGNAL)
		pthread_kill(threads[0], SIGUSR1);
	if (round->event == CANCEL)
		pthread_cancel(threads[0]);
	round->closing_us = now_us();
	if (replaced ? dup2(other, round->fd) != round->fd : close(round->fd) != 0)
		die("close");
	round->stops = true;
	pthread_join(threads[0], NULL);
	for (uint64_t until = now_us() + DEADLINE_US; !round->ended; pause_us(200))
		if (now_us() > until)
			fail(round, "no end");
	pthread_join(threads[1], NULL);
	if (replaced)
		close(round->fd);
	close(other);
	close(other_peer);
	close(round->peer);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 200, listener = loopback_listen("127.0.0.1", 0, 8, 0);
	struct rng rng = rng_make((uint64_t)getpid(), now_us());
	struct sigaction action = { .sa_handler = handler };
	unsigned parts = 0, fds = 0;

	sigaction(SIGUSR1, &action, NULL);
	race_cancel_once();
	for (int i = 0; i < rounds; i++) {
		struct round round = { .pattern = pattern_make((uint64_t)i, 0, 0, 0),
				       .other_pattern = pattern_make((uint64_t)i, 1, 0, 0),
				       .seed = rng_next(&rng),
				       .event = rng_below(&rng, 3) ? NOTHING : (enum event)rng_below(&rng, EVENTS),
				       .timed = rng_below(&rng, 2),
				       .many = rng_below(&rng, 2) };

		play(&round, listener, &rng);
		parts += round.part;
		if (i == 0)
			fds = count_fds();
	}
	printf("{\"rounds\": %d, \"parts\": %u, \"fds_left\": %d}\n", rounds, parts, (int)count_fds() - (int)fds);
	return 0;
}
