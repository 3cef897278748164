/* SPDX-License-Identifier: BSD-2-Clause */
/* The closing peer: a send that meets the peer's close.
 *
 *   closing_peer write|send|writev|sendmsg|sendmmsg|sendfile|splice [seed=N] [iterations=N] [bytes=N] [resets=1] [deadline=S]
 *
 * Each iteration makes a connection, warms it up with turns (so that it arms) and lets one thread close one end while another
 * sends on the other, at about the same time. TCP takes that send: if the peer is gone it answers with a reset, and only the
 * next send fails. SIGPIPE, which ends most programs, comes with that one. With resets=1 the peer closes by a reset (SO_LINGER 0):
 * a send that comes after it fails with ECONNRESET, and the next one with EPIPE. One line of JSON: what became of the first
 * send, of the second after it, and of the others until one failed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include "../support/redirecting.h"
#include "../support/watchdog.h"

#define WARM_TURNS 12
#define LATER_SENDS_MAX 500u
#define LATER_AT_ONCE 3u
#define DELAY_NS_MAX 30000u
#define LOOKS_AWAKE 20000u

enum call { CALL_WRITE, CALL_SEND, CALL_WRITEV, CALL_SENDMSG, CALL_SENDMMSG, CALL_SENDFILE, CALL_SPLICE };
static const char *const calls[] = { "write", "send", "writev", "sendmsg", "sendmmsg", "sendfile", "splice" };
enum outcome { TAKEN, CUT_SHORT, BROKEN_PIPE, RESET, OTHER, OUTCOMES };
static const char *const outcomes[] = { "taken", "short", "EPIPE", "ECONNRESET", "other" };

static enum call call;
static unsigned iterations = 3000, bytes = 100, deadline_s = 60, resets;
static char *buffer;
static int file_fd = -1, pipe_fds[2];
static volatile sig_atomic_t signals;

/* Both threads begin an iteration when `round` is theirs; the sender is done when `sent` is. */
static _Atomic unsigned round_now, round_sent;
static _Atomic int sender_fd, first_errno;
static _Atomic uint32_t sender_delay_ns;
static _Atomic ssize_t first_result;
static _Atomic unsigned first_signals;

static void on_pipe(int number)
{
	(void)number;
	signals++;
}

/* What the pipe lacks: a splice that failed has left it there. */
static bool write_to_pipe(void)
{
	int has;

	return ioctl(pipe_fds[0], FIONREAD, &has) == 0 &&
	       ((unsigned)has >= bytes ||
		write(pipe_fds[1], buffer, bytes - (unsigned)has) == (ssize_t)(bytes - (unsigned)has));
}

static ssize_t send_once(int fd)
{
	struct iovec vector = { buffer, bytes };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
	struct mmsghdr many = { .msg_hdr = message };
	off_t start = 0;

	switch (call) {
	case CALL_WRITE:
		return write(fd, buffer, bytes);
	case CALL_SEND:
		return send(fd, buffer, bytes, 0);
	case CALL_WRITEV:
		return writev(fd, &vector, 1);
	case CALL_SENDMSG:
		return sendmsg(fd, &message, 0);
	case CALL_SENDMMSG:
		return sendmmsg(fd, &many, 1, 0) == 1 ? (ssize_t)many.msg_len : -1;
	case CALL_SENDFILE:
		return sendfile(fd, file_fd, &start, bytes);
	case CALL_SPLICE:
		if (!write_to_pipe())
			return -1;
		return splice(pipe_fds[0], NULL, fd, NULL, bytes, 0);
	}
	return -1;
}

static enum outcome outcome_of(ssize_t result, int error)
{
	if (result >= 0)
		return (size_t)result == bytes ? TAKEN : CUT_SHORT;
	return error == EPIPE ? BROKEN_PIPE : error == ECONNRESET ? RESET : OTHER;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void spin_ns(uint32_t ns)
{
	for (uint64_t end = now_ns() + ns; now_ns() < end;)
		;
}

/* Awake, so that both begin at the same time, but not for as long as the other has no CPU. */
static void await(const _Atomic unsigned *value, unsigned wanted)
{
	for (unsigned looks = 0; *value != wanted; looks++)
		if (looks > LOOKS_AWAKE)
			sched_yield();
}

static void *sender_main(void *argument)
{
	for (unsigned round = 1; round <= iterations; round++) {
		await(&round_now, round);
		spin_ns(sender_delay_ns);
		int before = signals;
		errno = 0;
		first_result = send_once(sender_fd);
		first_errno = errno;
		first_signals = (unsigned)(signals - before);
		round_sent = round;
	}
	return argument;
}

static void warm_up_turn(void *argument, int i)
{
	const int *ends = argument;
	char message[16] = "";

	(void)i;
	if (write_whole(ends[0], message, sizeof(message)) || read_whole(ends[1], message, sizeof(message)) ||
	    write_whole(ends[1], message, sizeof(message)) || read_whole(ends[0], message, sizeof(message)))
		die("warm-up");
}

static void warm_up(int a, int b)
{
	int ends[] = { a, b };

	for (int i = 0; i < WARM_TURNS; i++)
		warm_up_turn(ends, i);
	await_redirecting(b, warm_up_turn, ends);
}

struct tally {
	unsigned first[OUTCOMES], second[OUTCOMES], end[OUTCOMES];
	unsigned first_signals, second_signals, later_taken_max;
};

static const struct linger abortive = { .l_onoff = 1 };

static void one_round(struct tally *tally, unsigned round, struct rng *rng, int listener)
{
	int a = loopback_connect("127.0.0.1", loopback_port(listener)), b = accept(listener, NULL, NULL), on = 1;

	if (a < 0 || b < 0)
		die("connection");
	/* Else a send may wait for the acknowledgement of one from before the pair was armed. */
	setsockopt(a, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(b, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	warm_up(a, b);
	sender_fd = a;
	sender_delay_ns = (uint32_t)rng_below(rng, DELAY_NS_MAX);
	uint32_t own_delay_ns = (uint32_t)rng_below(rng, DELAY_NS_MAX);
	round_now = round;
	spin_ns(own_delay_ns);
	if (resets)
		setsockopt(b, SOL_SOCKET, SO_LINGER, &abortive, sizeof(abortive));
	close(b);
	await(&round_sent, round);
	tally->first[outcome_of(first_result, first_errno)]++;
	tally->first_signals += first_signals;

	unsigned taken = 0;
	for (unsigned i = 0; i < LATER_SENDS_MAX; i++) {
		int before = signals;

		pause_us(i < LATER_AT_ONCE ? 0 : 1000); /* a reset that comes late on a busy machine */
		errno = 0;
		ssize_t result = send_once(a);
		enum outcome outcome = outcome_of(result, errno);

		if (i == 0) {
			tally->second[outcome]++;
			tally->second_signals += (unsigned)(signals - before);
		}
		if (outcome != TAKEN) {
			tally->end[outcome]++;
			break;
		}
		taken++;
	}
	if (taken > tally->later_taken_max)
		tally->later_taken_max = taken;
	close(a);
}

static void print(const char *name, const unsigned *counts)
{
	printf("\"%s\": {", name);
	for (int i = 0; i < OUTCOMES; i++)
		printf("%s\"%s\": %u", i ? ", " : "", outcomes[i], counts[i]);
	printf("}, ");
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_pipe };
	struct tally tally = { 0 };
	unsigned seed = 1;
	pthread_t thread;

	for (int i = 1; i < argc; i++) {
		for (unsigned c = 0; c < sizeof(calls) / sizeof(calls[0]); c++)
			if (!strcmp(argv[i], calls[c]))
				call = (enum call)c;
		sscanf(argv[i], "seed=%u", &seed);
		sscanf(argv[i], "iterations=%u", &iterations);
		sscanf(argv[i], "bytes=%u", &bytes);
		sscanf(argv[i], "deadline=%u", &deadline_s);
		sscanf(argv[i], "resets=%u", &resets);
	}
	watchdog_start(deadline_s, NULL);
	sigaction(SIGPIPE, &action, NULL);
	buffer = calloc(1, bytes + 1);
	file_fd = memfd_create("file", MFD_CLOEXEC);
	if (!buffer || file_fd < 0 || ftruncate(file_fd, bytes) < 0 || pipe2(pipe_fds, O_CLOEXEC) < 0)
		die("memory");
	int listener = loopback_listen("127.0.0.1", 0, 8, 0);
	struct rng rng = rng_make(seed, 0);
	if (pthread_create(&thread, NULL, sender_main, NULL))
		die("pthread_create");
	for (unsigned round = 1; round <= iterations; round++)
		one_round(&tally, round, &rng, listener);
	pthread_join(thread, NULL);
	printf("{");
	print("first", tally.first);
	print("second", tally.second);
	print("end", tally.end);
	printf("\"first_signals\": %u, \"second_signals\": %u, \"later_taken_max\": %u, \"iterations\": %u}\n",
	       tally.first_signals, tally.second_signals, tally.later_taken_max, iterations);
	return 0;
}
