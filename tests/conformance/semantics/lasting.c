/* SPDX-License-Identifier: BSD-2-Clause */
/* A receive that lasts holds its file: the number may be closed, or become another file's, while it waits for more. It gets what
 * comes as if nothing had been, and only then comes the end.
 */
#include "semantics.h"

enum how {
	BY_CLOSE,
	BY_FILE,
	BY_SOCKET,
	BY_CLOSE_RANGE,
	HOW_MASK = 15,
	WAITALL = 16, /* recv(MSG_WAITALL) instead of recvmmsg */
	TIMED = 32,   /* SO_RCVTIMEO, which is not over before the end */
	FIRST = 64,   /* closed before anything has come */
	FRESH = 128,  /* nothing was sent before */
	SIGNAL = 256, /* then a handler ends it, which the application wants restarted */
	BEFORE = 512, /* such a handler runs before it is closed */
};

#define MESSAGES 3
#define PART 4
#define HIGH_FD 700

static struct {
	struct pair pair, other;
	int how, file;
	pthread_t receiver;
	pid_t receiver_id;
} lasting;

static void close_it(void)
{
	int fd = lasting.pair.a;

	switch (lasting.how & HOW_MASK) {
	case BY_CLOSE:
		TRY("close", close(fd));
		break;
	case BY_FILE:
		TRY("dup2", dup2(lasting.file, fd) == fd);
		break;
	case BY_SOCKET:
		TRY("dup3", dup3(lasting.other.a, fd, O_CLOEXEC) == fd);
		break;
	default:
		TRY("close-range", close_range((unsigned)fd, (unsigned)fd + 1000, 0));
	}
}

static void *peer(void *unused)
{
	static const char *const texts[MESSAGES] = { "one ", "two ", "end " };

	pause_ms(2 * SOON_MS);
	if (lasting.how & BEFORE) {
		wait_asleep(lasting.receiver_id);
		pthread_kill(lasting.receiver, SIGUSR1);
		pause_ms(2 * SOON_MS);
	}
	for (int i = 0; i < MESSAGES; i++) {
		wait_asleep(lasting.receiver_id);
		if (i == !(lasting.how & FIRST))
			close_it();
		if (i == 1 && (lasting.how & SIGNAL)) {
			pthread_kill(lasting.receiver, SIGUSR1);
			break;
		}
		put(lasting.pair.b, texts[i]);
		pause_ms(2 * SOON_MS);
	}
	return unused;
}

static void receive_messages(void)
{
	char texts[MESSAGES][8] = { "" };
	struct iovec parts[MESSAGES];
	struct mmsghdr messages[MESSAGES] = { 0 };

	for (int i = 0; i < MESSAGES; i++) {
		parts[i] = (struct iovec){ texts[i], PART };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &parts[i], .msg_iovlen = 1 };
	}
	int count = (int)TRY("messages", recvmmsg(lasting.pair.a, messages, MESSAGES, 0, NULL));

	for (int i = 0; i < count; i++)
		note("message", "%d %.4s %u", i, texts[i], messages[i].msg_len);
}

static void receive_all(void)
{
	char text[MESSAGES * PART + 1] = "";

	GET("all", text, recv(lasting.pair.a, text, MESSAGES * PART, MSG_WAITALL));
}

static void take(struct pair *pair, int how)
{
	struct timeval limit = { .tv_sec = 4 };

	lasting.pair = *pair;
	lasting.how = how;
	lasting.receiver = pthread_self();
	lasting.receiver_id = gettid();
	lasting.file = open("/dev/null", O_RDWR | O_CLOEXEC);
	if ((how & HOW_MASK) == BY_SOCKET)
		pair_make(&lasting.other, true);
	if ((how & HOW_MASK) == BY_CLOSE_RANGE) {
		lasting.pair.a = fcntl(pair->a, F_DUPFD_CLOEXEC, HIGH_FD);
		close(pair->a);
	}
	if (how & TIMED)
		setsockopt(lasting.pair.a, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

static void handler(int number)
{
	(void)number;
}

static void last(struct pair *pair, int how)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	pthread_t thread;

	if (how & FRESH)
		pair_connect(pair);
	take(pair, how);
	sigaction(SIGUSR1, &action, NULL);
	pthread_create(&thread, NULL, peer, NULL);
	if (how & WAITALL)
		receive_all();
	else
		receive_messages();
	/* Before the other thread has ended: it has nothing to do with this. */
	get("end", lasting.pair.b, 64, 0);
	pthread_join(thread, NULL);
	if ((how & HOW_MASK) == BY_SOCKET) {
		note_poll("other", lasting.other.b, POLLIN, 0);
		round_trip("other-trip", &lasting.other);
	}
	TRY("next", send(lasting.pair.a, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT));
}

static const struct semantics_case cases[] = {
	{ "lasting-close", last, BY_CLOSE, 0 },
	{ "lasting-close-first", last, BY_CLOSE | FIRST, 0 },
	{ "lasting-close-timed", last, BY_CLOSE | TIMED, 0 },
	{ "lasting-file", last, BY_FILE, 0 },
	{ "lasting-socket", last, BY_SOCKET, 0 },
	{ "lasting-socket-first", last, BY_SOCKET | FIRST, 0 },
	{ "lasting-range", last, BY_CLOSE_RANGE, 0 },
	{ "lasting-fresh", last, BY_CLOSE | FRESH, CASE_BARE },
	{ "lasting-waitall", last, BY_CLOSE | WAITALL, 0 },
	{ "lasting-waitall-first", last, BY_SOCKET | WAITALL | FIRST, 0 },
	{ "lasting-waitall-timed", last, BY_FILE | WAITALL | TIMED, 0 },
	{ "lasting-waitall-handled", last, BY_CLOSE | WAITALL | FIRST | BEFORE, 0 },
	{ "lasting-signal", last, BY_CLOSE | SIGNAL, 0 },
};
FAMILY(lasting);
