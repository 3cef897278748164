/* SPDX-License-Identifier: BSD-2-Clause */
/* A thread's long sends, and another thread that closes the fd, or puts another connection there, at a random moment.
 *
 * send_race ROUNDS [fork]: each round is one connection in this process. A sender sends, with and without SO_SNDTIMEO, by send and
 * sendmmsg; a reader that now and then stops to think takes it all; in the middle the fd is closed. What must hold, as over TCP:
 * the reader gets the bytes of all calls that returned a count, in order, then the end; no call is cut in two, none of its bytes
 * go to the other connection; no fd is left. In some rounds a signal arrives, whose handler may leave by siglongjmp, or the
 * sender is cancelled, or the process forks (in all of them, if asked to) and the child lives on: then too the end must come.
 *
 * Prints one JSON line: "late" are calls that had begun LATE_US before the close and yet ended with EBADF.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "../support/pattern.h"
#include "../support/random.h"
#include "race.h"

#define SEND_BYTES_MAX (1u << 20)
#define MESSAGES 3
#define READ_BYTES 65536
#define DELAY_US_MAX 12000
#define THINK_US_MAX 6000
#define DEADLINE_US 8000000
#define LATE_US 700

enum event { NOTHING, SIGNAL, JUMP, CANCEL, FORK, EVENTS };

struct round {
	struct pattern pattern;
	uint64_t seed;
	int fd, peer, sender_fd;
	enum event event;
	bool timed, many;
	_Atomic bool stops, ended;
	_Atomic uint64_t begun_us, closing_us;
	uint64_t sent, last, received;
	bool part, late;
};

static __thread sigjmp_buf escape;
static __thread volatile sig_atomic_t may_jump;

static void handler(int number)
{
	if (may_jump)
		siglongjmp(escape, number);
}

static void fail(const struct round *round, const char *what)
{
	fprintf(stderr, "send_race: %s (event %d, timed %d, many %d, sent %llu, received %llu)\n", what,
		(int)round->event, round->timed, round->many, (unsigned long long)round->sent,
		(unsigned long long)round->received);
	_exit(EXIT_WRONG);
}

static void await_end(const struct round *round)
{
	for (uint64_t until = now_us() + DEADLINE_US; !round->ended; pause_us(200))
		if (now_us() > until)
			fail(round, "no end");
}

static ssize_t send_many(const struct round *round, unsigned char *buffer, size_t bytes)
{
	struct mmsghdr messages[MESSAGES] = { 0 };
	struct iovec parts[MESSAGES];
	ssize_t sum = 0;

	for (size_t i = 0; i < MESSAGES; i++) {
		size_t from = bytes * i / MESSAGES;

		parts[i] = (struct iovec){ buffer + from, bytes * (i + 1) / MESSAGES - from };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &parts[i], .msg_iovlen = 1 };
	}
	int count = sendmmsg(round->sender_fd, messages, MESSAGES, MSG_NOSIGNAL);

	for (int i = 0; i < count; i++)
		sum += messages[i].msg_len;
	return count < 0 ? -1 : sum;
}

static void *sender(void *argument)
{
	static unsigned char buffer[SEND_BYTES_MAX]; /* one round at a time */
	struct round *round = argument;
	struct rng rng = rng_make(round->seed, 1);
	bool interrupted = round->event == SIGNAL || round->event == JUMP;

	may_jump = round->event == JUMP;
	if (sigsetjmp(escape, 1) != 0) {
		may_jump = 0;
		await_end(round); /* while this thread still lives */
		return NULL;
	}
	while (!round->stops) {
		size_t bytes = SEND_BYTES_MAX / 16 + rng_below(&rng, SEND_BYTES_MAX * 15 / 16);

		pattern_fill(&round->pattern, round->sent, buffer, bytes);
		round->begun_us = now_us();
		ssize_t sent = round->many ? send_many(round, buffer, bytes)
					   : send(round->sender_fd, buffer, bytes, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR && interrupted)
			continue;
		if (sent < 0 && errno != EBADF)
			fail(round, strerror(errno));
		if (sent < 0) {
			round->late = round->closing_us > round->begun_us + LATE_US && !interrupted;
			break;
		}
		round->part |= (size_t)sent < bytes && !interrupted;
		round->sent += (uint64_t)sent;
		round->last = (uint64_t)sent;
	}
	may_jump = 0;
	return NULL;
}

static void *reader(void *argument)
{
	unsigned char *buffer = malloc(READ_BYTES);
	struct round *round = argument;
	struct rng rng = rng_make(round->seed, 2);
	ssize_t got;

	while ((got = recv(round->peer, buffer, READ_BYTES, 0)) > 0) {
		if (pattern_verify(&round->pattern, round->received, buffer, (size_t)got) >= 0)
			fail(round, "wrong bytes");
		round->received += (uint64_t)got;
		if (rng_below(&rng, 20) == 0)
			pause_us(rng_below(&rng, THINK_US_MAX));
	}
	if (got < 0)
		fail(round, strerror(errno));
	free(buffer);
	round->ended = true;
	return NULL;
}

/* A child that holds what the process has at that moment, until the end of the round. */
static pid_t fork_child(const int rope[2])
{
	char byte;
	pid_t pid = fork();

	if (pid == 0) {
		close(rope[1]);
		_exit(read(rope[0], &byte, 1) != 0);
	}
	return pid;
}

static void disturb(struct round *round, pthread_t thread, struct rng *rng, bool before)
{
	if (before && (round->event == SIGNAL || round->event == JUMP))
		pthread_kill(thread, SIGUSR1);
	if (!before && round->event == SIGNAL && rng_below(rng, 2))
		pthread_kill(thread, SIGUSR1);
	if (round->event == CANCEL && before == (rng_below(rng, 2) == 0))
		pthread_cancel(thread);
}

static void check_other(const struct round *round, int other, int other_peer)
{
	static unsigned char buffer[READ_BYTES];
	bool was_left = round->event == JUMP || round->event == CANCEL; /* the call has told nobody how far it came */
	uint64_t bytes = 0;
	ssize_t got;

	shutdown(other, SHUT_WR);
	while ((got = recv(other_peer, buffer, sizeof(buffer), 0)) > 0) {
		was_left = was_left && pattern_verify(&round->pattern, round->sent + bytes, buffer, (size_t)got) < 0;
		bytes += (uint64_t)got;
	}
	/* A call may have begun after the number had changed: all of it, or from its first byte on if it was left. */
	if (bytes != 0 && bytes != round->last && !was_left)
		fail(round, "the other connection got bytes");
	if (round->event == NOTHING && round->received + bytes != round->sent)
		fail(round, "bytes are lost");
}

static void play(struct round *round, int listener, struct rng *rng)
{
	const struct timeval limit = { .tv_sec = 20 };
	pthread_t threads[2];
	int other, other_peer, rope[2];
	bool replaced = rng_below(rng, 2);
	pid_t child = 0;

	accepted_pair(listener, &round->fd, &round->peer);
	accepted_pair(listener, &other, &other_peer);
	round->sender_fd = round->fd;
	if (pipe2(rope, O_CLOEXEC)) /* now: nothing else takes the number that is closed */
		die("pipe2");
	if (round->timed)
		setsockopt(round->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (pthread_create(&threads[0], NULL, sender, round) || pthread_create(&threads[1], NULL, reader, round))
		die("pthread_create");
	pause_us(rng_below(rng, DELAY_US_MAX));
	disturb(round, threads[0], rng, true);
	if (replaced) /* else its last call might begin on a number that was never closed */
		round->stops = true;
	round->closing_us = now_us();
	if (replaced ? dup2(other, round->fd) != round->fd : close(round->fd) != 0)
		die("close");
	if (round->event == FORK)
		child = fork_child(rope);
	disturb(round, threads[0], rng, false);
	round->stops = true;
	pthread_join(threads[0], NULL);
	await_end(round);
	pthread_join(threads[1], NULL);
	if (replaced)
		close(round->fd);
	check_other(round, other, other_peer);
	close(other);
	close(other_peer);
	close(round->peer);
	close(rope[0]);
	close(rope[1]);
	if (child > 0 && waitpid(child, NULL, 0) != child)
		die("waitpid");
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 200, listener = loopback_listen("127.0.0.1", 0, 8, 0);
	struct rng rng = rng_make((uint64_t)getpid(), now_us());
	bool forks = argc > 2 && strcmp(argv[2], "fork") == 0;
	struct sigaction action = { .sa_handler = handler };
	unsigned late = 0, parts = 0, fds = 0;

	sigaction(SIGUSR1, &action, NULL);
	race_cancel_once();
	for (int i = 0; i < rounds; i++) {
		struct round round = { .pattern = pattern_make((uint64_t)i, 0, 0, 0),
				       .seed = rng_next(&rng),
				       .event = forks                ? FORK
						: rng_below(&rng, 2) ? NOTHING
								     : (enum event)rng_below(&rng, EVENTS),
				       .timed = rng_below(&rng, 2),
				       .many = rng_below(&rng, 4) == 0 };

		play(&round, listener, &rng);
		late += round.late;
		parts += round.part;
		if (i == 0)
			fds = count_fds();
	}
	printf("{\"rounds\": %d, \"late\": %u, \"parts\": %u, \"fds_left\": %d}\n", rounds, late, parts,
	       (int)count_fds() - (int)fds);
	return 0;
}
