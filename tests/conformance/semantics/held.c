/* SPDX-License-Identifier: BSD-2-Clause */
/* A sleeping send holds its file: the number may be closed, or become another file's, while the reader sleeps. The send goes on when
 * the reader does, all its bytes arrive, it returns the whole count, and only then comes the end.
 */
#include "semantics.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define LONG_BYTES (12u << 20)
#define UNREAD_BYTES 700000u /* so much is unread before: more of it than a sender of the shim goes on behind at once */
#define HIGH_FD 700
#define CHILD_MS 12000  /* far longer than 24 MiB take on a busy machine; nothing waits for it */
#define FULL_FILES 1050 /* more than the library's own numbers */

enum how {
	BY_CLOSE,
	BY_FILE,
	BY_SOCKET,
	BY_CLOSE_RANGE,
	BY_CLOSEFROM,
	HOW_MASK = 15,
	TIMED = 16,      /* SO_SNDTIMEO, which is not over before the end */
	UNREAD = 32,     /* behind bytes that are unread */
	AT_ONCE = 64,    /* as soon as the sender sleeps */
	DUPLICATE = 128, /* there is a second number for the same connection */
	FORKS = 256,     /* the process forks after that, and the child lives on */
	TWO = 512,       /* two threads sleep */
	MANY = 1024,     /* sendmmsg */
	VECTOR = 2048,   /* writev */
	FULL = 4096,     /* no number is free */
	LATE = 8192,     /* the reader sends, too, once the fd is closed: nobody will read it */
	EARLY = 16384,   /* ... or before that */
	FRESH = 32768,   /* nothing was sent before */
	FORKED = 65536,  /* a child had it, and is gone */
};

static struct {
	struct pair pair, other;
	int how, file;
	_Atomic pid_t senders[2]; /* 0: has not begun to send */
	_Atomic int done;
} held;

static char state_of(pid_t tid)
{
	char name[64], text[128] = "";

	snprintf(name, sizeof(name), "/proc/self/task/%d/stat", (int)tid);
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	const char *state = got > 0 ? strrchr(text, ')') : NULL;
	return state ? state[2] : 0;
}

static bool all_sleep(void)
{
	for (int i = 0; i < (held.how & TWO ? 2 : 1); i++)
		if (!held.senders[i] || state_of(held.senders[i]) != 'S')
			return false;
	return true;
}

static void wait_senders(void)
{
	uint64_t start_ms = clock_ms();

	while (!all_sleep()) {
		if (clock_ms() - start_ms > 2000)
			return;
		sched_yield();
	}
}

static void fill_up(void)
{
	struct rlimit limit;
	int files = 0;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = FULL_FILES;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		note("FAILED", "setrlimit");
	while (files < FULL_FILES && fcntl(held.file, F_DUPFD_CLOEXEC, 0) >= 0)
		files++;
	note("full", "%s", errno == EMFILE ? "yes" : "no");
}

static void close_it(void)
{
	int fd = held.pair.a;

	if (held.how & FULL)
		fill_up();
	switch (held.how & HOW_MASK) {
	case BY_CLOSE:
		TRY("close", close(fd));
		break;
	case BY_FILE:
		TRY("dup2", dup2(held.file, fd) == fd);
		break;
	case BY_SOCKET:
		TRY("dup3", dup3(held.other.a, fd, O_CLOEXEC) == fd);
		break;
	case BY_CLOSE_RANGE:
		TRY("close-range", close_range((unsigned)fd, (unsigned)fd + 1000, 0));
		break;
	default:
		closefrom(fd);
	}
}

static void closer(void *unused)
{
	(void)unused;
	wait_senders();
	if (!(held.how & AT_ONCE)) {
		pause_ms(2 * SOON_MS);
		wait_senders();
	}
	close_it();
	if ((held.how & FORKS) && fork() == 0) {
		pause_ms(CHILD_MS);
		_exit(0);
	}
	held.done = 1;
}

/* Reads all, and waits for the end. */
static void reader(void *bytes)
{
	for (int i = 0; i < 3000 && !held.done; i++)
		pause_ms(1);
	pause_ms(2 * SOON_MS);
	if (held.how & (LATE | EARLY)) {
		static char rest[65536];
		ssize_t got;

		if (held.how & LATE)
			put(held.pair.b, "late");
		while ((got = recv(held.pair.b, rest, sizeof(rest), 0)) > 0)
			;
		note_result("end", got, errno);
		return;
	}
	uint64_t start_ms = clock_ms();
	drain("drained", held.pair.b, *(size_t *)bytes);
	get("end", held.pair.b, 64, 0);
	if (held.how & FORKS)
		note("before-child", "%s", clock_ms() - start_ms < CHILD_MS * 3 / 4 ? "yes" : "no");
}

static ssize_t send_vector(char *buffer, size_t bytes)
{
	struct iovec parts[] = { { buffer, bytes / 3 }, { buffer + bytes / 3, bytes - bytes / 3 } };

	return writev(held.pair.a, parts, 2);
}

static ssize_t send_many(char *buffer, size_t bytes)
{
	struct iovec parts[] = { { buffer, bytes / 4 },
				 { buffer + bytes / 4, bytes / 4 },
				 { buffer + bytes / 2, bytes / 2 } };
	struct mmsghdr messages[3] = { 0 };
	ssize_t sum = 0;

	for (int i = 0; i < 3; i++)
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &parts[i], .msg_iovlen = 1 };
	int count = sendmmsg(held.pair.a, messages, 3, MSG_NOSIGNAL);

	note("messages", "%d", count);
	for (int i = 0; i < count; i++)
		sum += messages[i].msg_len;
	return count < 0 ? -1 : sum;
}

static void *second_sender(void *buffer)
{
	held.senders[1] = gettid();
	TRY("second", send(held.pair.a, buffer, LONG_BYTES, MSG_NOSIGNAL));
	return NULL;
}

static void take(struct pair *pair, int how)
{
	struct timeval limit = { .tv_sec = 4 };

	held.pair = *pair;
	held.how = how;
	held.file = open("/dev/null", O_RDWR | O_CLOEXEC);
	if ((how & HOW_MASK) == BY_SOCKET)
		pair_make(&held.other, true);
	if ((how & HOW_MASK) >= BY_CLOSE_RANGE) {
		held.pair.a = fcntl(pair->a, F_DUPFD_CLOEXEC, HIGH_FD);
		close(pair->a);
	}
	if (how & DUPLICATE)
		held.file = dup(held.pair.a);
	if (how & FORKED)
		waitpid(fork() ?: (_exit(0), 0), NULL, 0);
	if (how & TIMED)
		setsockopt(held.pair.a, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (how & UNREAD)
		put_bytes(held.pair.a, UNREAD_BYTES, 1);
	if (how & EARLY)
		put(pair->b, "early");
}

static void held_while(struct pair *pair, int how)
{
	size_t bytes = LONG_BYTES * (how & TWO ? 2 : 1) + (how & UNREAD ? UNREAD_BYTES : 0);
	char *buffer = big_buffer(LONG_BYTES);
	pthread_t second;

	if (how & FRESH)
		pair_connect(pair);
	take(pair, how);
	if (!(how & TWO))
		fill(buffer, LONG_BYTES, 2);
	later_call(0, closer, NULL);
	later_call(0, reader, &bytes);
	if (how & TWO)
		pthread_create(&second, NULL, second_sender, buffer);
	held.senders[0] = gettid();
	if (how & MANY)
		TRY("sent", send_many(buffer, LONG_BYTES));
	else if (how & VECTOR)
		TRY("sent", send_vector(buffer, LONG_BYTES));
	else
		TRY("sent", send(held.pair.a, buffer, LONG_BYTES, MSG_NOSIGNAL));
	if (how & TWO)
		pthread_join(second, NULL);
	if (how & DUPLICATE) {
		TRY("through-duplicate", send(held.file, "x", 1, MSG_NOSIGNAL));
		close(held.file);
	}
	later_join();
	if ((how & HOW_MASK) == BY_SOCKET) {
		note_poll("other", held.other.b, POLLIN, 0);
		round_trip("other-trip", &held.other);
	}
	TRY("next", send(held.pair.a, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT));
}

static const struct semantics_case cases[] = {
	{ "held-close", held_while, BY_CLOSE, 0 },
	{ "held-close-timed", held_while, BY_CLOSE | TIMED, 0 },
	{ "held-close-unread", held_while, BY_CLOSE | UNREAD | AT_ONCE, 0 },
	{ "held-close-unread-timed", held_while, BY_CLOSE | UNREAD | AT_ONCE | TIMED, 0 },
	{ "held-file", held_while, BY_FILE, 0 },
	{ "held-file-timed", held_while, BY_FILE | TIMED, 0 },
	{ "held-file-unread", held_while, BY_FILE | UNREAD | AT_ONCE, 0 },
	{ "held-socket", held_while, BY_SOCKET, 0 },
	{ "held-socket-timed", held_while, BY_SOCKET | TIMED, 0 },
	{ "held-socket-unread", held_while, BY_SOCKET | UNREAD | AT_ONCE, 0 },
	{ "held-socket-unread-timed", held_while, BY_SOCKET | UNREAD | AT_ONCE | TIMED, 0 },
	{ "held-range-timed", held_while, BY_CLOSE_RANGE | TIMED, 0 },
	{ "held-range-unread", held_while, BY_CLOSE_RANGE | UNREAD | AT_ONCE, 0 },
	{ "held-from-timed", held_while, BY_CLOSEFROM | TIMED, 0 },
	{ "held-duplicate-timed", held_while, BY_CLOSE | DUPLICATE | TIMED, 0 },
	{ "held-duplicate-unread", held_while, BY_CLOSE | DUPLICATE | UNREAD | AT_ONCE, 0 },
	{ "held-fork-timed", held_while, BY_CLOSE | FORKS | TIMED, 0 },
	{ "held-fork-unread", held_while, BY_CLOSE | FORKS | UNREAD | AT_ONCE, 0 },
	{ "held-two", held_while, BY_CLOSE | TWO, 0 },
	{ "held-two-timed", held_while, BY_CLOSE | TWO | TIMED, 0 },
	{ "held-vector-timed", held_while, BY_FILE | VECTOR | TIMED, 0 },
	{ "held-vector-unread", held_while, BY_FILE | VECTOR | UNREAD | AT_ONCE, 0 },
	{ "held-full-timed", held_while, BY_CLOSE | FULL | TIMED, 0 },
	{ "held-full-unread", held_while, BY_CLOSE | FULL | UNREAD | AT_ONCE, 0 },
	{ "held-full-two", held_while, BY_CLOSE | FULL | TWO, 0 },
	{ "held-full-two-timed", held_while, BY_CLOSE | FULL | TWO | TIMED, 0 },
	{ "held-full-two-unread", held_while, BY_CLOSE | FULL | TWO | UNREAD | AT_ONCE, 0 },
	{ "held-late", held_while, BY_CLOSE | LATE, 0 },
	{ "held-late-unread", held_while, BY_CLOSE | LATE | UNREAD | AT_ONCE, 0 },
	{ "held-early", held_while, BY_CLOSE | EARLY, 0 },
	{ "held-early-timed", held_while, BY_CLOSE | EARLY | TIMED, 0 },
	{ "held-early-unread", held_while, BY_CLOSE | EARLY | UNREAD | AT_ONCE, 0 },
	{ "held-early-forked", held_while, BY_CLOSE | EARLY | FORKED, 0 },
	{ "held-early-forked-timed", held_while, BY_CLOSE | EARLY | FORKED | TIMED, 0 },
	{ "held-early-forked-unread", held_while, BY_CLOSE | EARLY | FORKED | UNREAD | AT_ONCE, 0 },
	{ "held-early-forked-full", held_while, BY_CLOSE | EARLY | FORKED | FULL | TIMED, 0 },
	{ "held-many", held_while, BY_SOCKET | MANY, 0 },
	{ "held-many-fresh", held_while, BY_CLOSE | MANY | FRESH, CASE_BARE },
	{ "held-many-timed", held_while, BY_SOCKET | MANY | TIMED, 0 },
	{ "held-many-unread", held_while, BY_CLOSE | MANY | UNREAD | AT_ONCE, 0 },
};
FAMILY(held);
