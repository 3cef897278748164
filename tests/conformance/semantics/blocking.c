/* SPDX-License-Identifier: BSD-2-Clause */
/* Receives that sleep, and what may wake them: data, signals of every kind, resets, shutdown and close elsewhere. */
#include "semantics.h"

#include <setjmp.h>

enum call { RECV, READ, READV, RECVFROM, RECVMSG, RECVMMSG, CALLS };

static ssize_t receive_by(enum call call, int fd, void *buffer, size_t bytes)
{
	struct iovec vector = { buffer, bytes };
	struct mmsghdr many = { .msg_hdr = { .msg_iov = &vector, .msg_iovlen = 1 } };
	struct sockaddr_in from;
	socklen_t length = sizeof(from);
	int messages;

	switch (call) {
	case READ:
		return read(fd, buffer, bytes);
	case READV:
		return readv(fd, &vector, 1);
	case RECVFROM:
		return recvfrom(fd, buffer, bytes, 0, (struct sockaddr *)&from, &length);
	case RECVMSG:
		return recvmsg(fd, &many.msg_hdr, 0);
	case RECVMMSG:
		messages = recvmmsg(fd, &many, 1, 0, NULL);
		return messages < 0 ? -1 : (ssize_t)many.msg_len;
	default:
		return recv(fd, buffer, bytes, 0);
	}
}

static void data_later(struct pair *pair, int call)
{
	char buffer[64];

	later_put(SOON_MS, pair->a, "hello");
	GET("first", buffer, receive_by((enum call)call, pair->b, buffer, sizeof(buffer)));
	later_put(0, pair->a, "again");
	GET("second", buffer, receive_by((enum call)call, pair->b, buffer, sizeof(buffer)));
}

/* A handler without SA_RESTART: EINTR, and the data is the next call's. */
static void signal_interrupts(struct pair *pair, int call)
{
	char buffer[64];

	handle(SIGUSR1, 0);
	later_signal(SOON_MS, SIGUSR1);
	later_put(4 * SOON_MS, pair->a, "hello");
	GET("interrupted", buffer, receive_by((enum call)call, pair->b, buffer, sizeof(buffer)));
	note("handled", "%d", handled);
	GET("next", buffer, receive_by((enum call)call, pair->b, buffer, sizeof(buffer)));
}

static void signal_restarts(struct pair *pair, int call)
{
	char buffer[64];

	handle(SIGUSR1, SA_RESTART);
	later_signal(SOON_MS, SIGUSR1);
	later_put(3 * SOON_MS, pair->a, "hello");
	GET("restarted", buffer, receive_by((enum call)call, pair->b, buffer, sizeof(buffer)));
	note("handled", "%d", handled);
}

/* Handlers of both kinds installed; argument 0: the restarting one runs, 1: the other. */
static void signal_both_kinds(struct pair *pair, int interrupts)
{
	handle(SIGUSR1, SA_RESTART);
	handle(SIGUSR2, 0);
	later_signal(SOON_MS, interrupts ? SIGUSR2 : SIGUSR1);
	later_put(4 * SOON_MS, pair->a, "hello");
	get("receive", pair->b, 64, 0);
	note("handled", "%d", handled);
}

/* As above, after both kinds were there and one is gone again. */
static void signal_uninstalled(struct pair *pair, int unused)
{
	(void)unused;
	handle(SIGUSR2, 0);
	signal(SIGUSR2, SIG_DFL);
	signal_restarts(pair, RECV);
}

static void signal_many(struct pair *pair, int flags)
{
	handle(SIGUSR1, flags);
	for (unsigned i = 1; i <= 5; i++)
		later_signal(SOON_MS + i * 20, SIGUSR1);
	later_put(SOON_MS + 150, pair->a, "hello");
	if (flags & SA_RESTART)
		get("receive", pair->b, 64, 0);
	for (unsigned i = 0; i < 5 && !(flags & SA_RESTART); i++)
		get("receive", pair->b, 64, 0);
	note("handled", "%d", handled);
}

static void signal_ignored(struct pair *pair, int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	if (how == 0)
		signal(SIGUSR1, SIG_IGN);
	else
		sigprocmask(SIG_BLOCK, &set, NULL);
	handle(SIGUSR2, 0); /* so that the shim must expect EINTR */
	later_signal(SOON_MS, SIGUSR1);
	later_put(3 * SOON_MS, pair->a, "hello");
	get("receive", pair->b, 64, 0);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
/* siginterrupt(3) turns a restarting handler into an interrupting one, and back. */
static void signal_siginterrupt(struct pair *pair, int interrupts)
{
	handle(SIGUSR1, interrupts ? SA_RESTART : 0);
	siginterrupt(SIGUSR1, interrupts);
	later_signal(SOON_MS, SIGUSR1);
	later_put(3 * SOON_MS, pair->a, "hello");
	get("receive", pair->b, 64, 0);
}
#pragma GCC diagnostic pop

/* The handler runs while nothing is there yet, and has nothing to do with the part that comes later. */
static void restarted_before_part(struct pair *pair, int timeout_ms)
{
	struct timeval timeout = { .tv_sec = timeout_ms / 1000 };

	handle(SIGUSR1, SA_RESTART);
	if (timeout_ms)
		setsockopt(pair->b, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	later_signal(SOON_MS, SIGUSR1);
	later_put(2 * SOON_MS, pair->a, "part");
	later_put(4 * SOON_MS, pair->a, "hello");
	get("receive", pair->b, 9, MSG_WAITALL);
	note("handled", "%d", handled);
	later_join();
	get("next", pair->b, 64, MSG_DONTWAIT);
}

static void reset_while_blocked(struct pair *pair, int unused)
{
	int error = -1;
	socklen_t length = sizeof(error);

	(void)unused;
	later_reset(SOON_MS, pair->a);
	get("receive", pair->b, 64, 0);
	get("next", pair->b, 64, 0);
	getsockopt(pair->b, SOL_SOCKET, SO_ERROR, &error, &length);
	note("so_error", "%d", error);
}

static void end_while_blocked(struct pair *pair, int how)
{
	if (how < 0)
		later_close(SOON_MS, pair->a);
	else
		later_shutdown(SOON_MS, pair->a, how);
	get("receive", pair->b, 64, 0);
	get("next", pair->b, 64, 0);
}

static void own_shutdown_while_blocked(struct pair *pair, int how)
{
	later_shutdown(SOON_MS, pair->b, how);
	get("receive", pair->b, 64, 0);
	get("next", pair->b, 64, 0);
	later_join();
	pause_ms(5);
	TRY("peer-send", send(pair->a, "x", 1, MSG_NOSIGNAL));
	settle();
	get("after", pair->b, 64, MSG_DONTWAIT);
	get("peer", pair->a, 64, MSG_DONTWAIT);
}

/* The fd is closed by another thread while this one sleeps: the sleeper still gets the data. */
static void closed_while_blocked(struct pair *pair, int unused)
{
	(void)unused;
	later_close(SOON_MS, pair->b);
	later_put(3 * SOON_MS, pair->a, "hello");
	get("receive", pair->b, 64, 0);
	get("next", pair->b, 64, 0);
	later_join();
	settle();
	get("peer", pair->a, 64, 0);
}

static int replaced[2];
static void replace(void *unused)
{
	(void)unused;
	dup2(replaced[0], replaced[1]);
}

/* The fd's number names another connection when the data comes: the sleeper's is still the first. */
static void replaced_while_blocked(struct pair *pair, int unused)
{
	struct pair other;

	(void)unused;
	pair_make(&other, true);
	replaced[0] = other.b;
	replaced[1] = pair->b;
	later_call(SOON_MS, replace, NULL);
	later_put(3 * SOON_MS, pair->a, "hello");
	get("receive", pair->b, 64, 0);
	later_put(0, other.a, "other");
	get("next", pair->b, 64, 0);
}

static sigjmp_buf escape;
static void jump(int number)
{
	siglongjmp(escape, number);
}

static void jump_out(struct pair *pair, int flags)
{
	struct sigaction action = { .sa_handler = jump, .sa_flags = flags };

	sigaction(SIGUSR1, &action, NULL);
	later_signal(SOON_MS, SIGUSR1);
	if (sigsetjmp(escape, 1) == 0) {
		get("unreached", pair->b, 64, 0);
	} else {
		note("jumped", "yes");
		later_put(SOON_MS, pair->a, "hello");
		get("receive", pair->b, 64, 0);
		round_trip("trip", pair);
	}
}

static struct pair in_handler;
static void handler_sends(int number)
{
	(void)number;
	TRY("handler-send", send(in_handler.b, "question", 8, 0));
}

static void handler_receives(int number)
{
	char text[16];
	int saved = errno; /* as each handler should; what it leaves there instead, a repaired receive may put back */

	(void)number;
	GET("handler-receive", text, recv(in_handler.b, text, sizeof(text), MSG_DONTWAIT));
	errno = saved;
}

static void handler_closes(int number)
{
	(void)number;
	TRY("handler-close", close(in_handler.b));
}

static void answer(void *argument)
{
	char text[16];
	int fd = *(int *)argument;

	GET("question", text, recv(fd, text, sizeof(text), 0));
	put(fd, "answer");
}

static void handler_acts(struct pair *pair, int what)
{
	static void (*const handlers[])(int) = { handler_sends, handler_receives, handler_closes };
	struct sigaction action = { .sa_handler = handlers[what], .sa_flags = what == 2 ? 0 : SA_RESTART };

	in_handler = *pair;
	sigaction(SIGUSR1, &action, NULL);
	later_signal(SOON_MS, SIGUSR1);
	if (what == 0)
		later_call(0, answer, &pair->a);
	else if (what == 1)
		later_put(3 * SOON_MS, pair->a, "hello");
	get("receive", pair->b, 64, 0);
	if (what == 2)
		get("next", pair->b, 64, 0);
}

static void *receiver(void *argument)
{
	char text[16];

	recv(*(int *)argument, text, sizeof(text), 0);
	return NULL;
}

static void *receiver_of_all(void *argument)
{
	char text[16];

	recv(*(int *)argument, text, sizeof(text), MSG_WAITALL);
	return NULL;
}

static void cancelled(struct pair *pair, int part)
{
	pthread_t thread;
	void *value = NULL;

	if (part)
		put(pair->a, "part");
	pthread_create(&thread, NULL, part ? receiver_of_all : receiver, &pair->b);
	pause_ms(SOON_MS);
	for (int i = 0, bytes = part; i < 500 && bytes > 0; i++) {
		pause_ms(1);
		ioctl(pair->b, FIONREAD, &bytes); /* on a busy machine the part is taken later */
	}
	TRY("cancel", pthread_cancel(thread));
	pthread_join(thread, &value);
	note("cancelled", "%s", value == PTHREAD_CANCELED ? "yes" : "no");
	round_trip("trip", pair);
	later_put(SOON_MS, pair->a, "hello");
	get("receive", pair->b, 64, 0);
}

static const struct semantics_case cases[] = {
	{ "recv-data-later", data_later, RECV, 0 },
	{ "read-data-later", data_later, READ, 0 },
	{ "readv-data-later", data_later, READV, 0 },
	{ "recvfrom-data-later", data_later, RECVFROM, 0 },
	{ "recvmsg-data-later", data_later, RECVMSG, 0 },
	{ "recvmmsg-data-later", data_later, RECVMMSG, 0 },
	{ "recv-signal-interrupts", signal_interrupts, RECV, 0 },
	{ "read-signal-interrupts", signal_interrupts, READ, 0 },
	{ "readv-signal-interrupts", signal_interrupts, READV, 0 },
	{ "recvmsg-signal-interrupts", signal_interrupts, RECVMSG, 0 },
	{ "recvmmsg-signal-interrupts", signal_interrupts, RECVMMSG, 0 },
	{ "recv-signal-restarts", signal_restarts, RECV, 0 },
	{ "read-signal-restarts", signal_restarts, READ, 0 },
	{ "readv-signal-restarts", signal_restarts, READV, 0 },
	{ "recvmsg-signal-restarts", signal_restarts, RECVMSG, 0 },
	{ "recvmmsg-signal-restarts", signal_restarts, RECVMMSG, 0 },
	{ "signal-both-kinds-restart-runs", signal_both_kinds, 0, 0 },
	{ "signal-both-kinds-interrupt-runs", signal_both_kinds, 1, 0 },
	{ "signal-uninstalled", signal_uninstalled, 0, 0 },
	{ "signal-many-interrupt", signal_many, 0, 0 },
	{ "signal-many-restart", signal_many, SA_RESTART, 0 },
	{ "signal-ignored", signal_ignored, 0, 0 },
	{ "signal-blocked", signal_ignored, 1, 0 },
	{ "siginterrupt-on", signal_siginterrupt, 1, 0 },
	{ "siginterrupt-off", signal_siginterrupt, 0, 0 },
	{ "waitall-restarted-before-part", restarted_before_part, 0, 0 },
	{ "waitall-interrupted-before-part", restarted_before_part, 2000, 0 },
	{ "reset-while-blocked", reset_while_blocked, 0, 0 },
	{ "fin-while-blocked", end_while_blocked, SHUT_WR, 0 },
	{ "close-while-blocked", end_while_blocked, -1, 0 },
	{ "own-shutdown-rd-while-blocked", own_shutdown_while_blocked, SHUT_RD, 0 },
	{ "own-shutdown-rdwr-while-blocked", own_shutdown_while_blocked, SHUT_RDWR, 0 },
	{ "own-close-while-blocked", closed_while_blocked, 0, 0 },
	{ "fd-replaced-while-blocked", replaced_while_blocked, 0, 0 },
	{ "siglongjmp-out", jump_out, 0, 0 },
	{ "siglongjmp-out-restart", jump_out, SA_RESTART, 0 },
	{ "handler-sends", handler_acts, 0, 0 },
	{ "handler-receives", handler_acts, 1, 0 },
	{ "handler-closes", handler_acts, 2, 0 },
	{ "cancelled", cancelled, 0, 0 },
	{ "cancelled-part", cancelled, 1, 0 },
};
FAMILY(blocking);
