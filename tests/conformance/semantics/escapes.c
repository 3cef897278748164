/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls that are left by another way than their end: cancellation, siglongjmp, and handlers that call again. */
#include "semantics.h"

#include <setjmp.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

static struct pair shared, other;

enum act { RECEIVE, RECEIVE_ALL, SEND, RECEIVE_SECOND, SPLICE, SENDFILE, ACTS };

static void *act(void *argument)
{
	static char large[12 << 20];
	enum act what = (enum act)(intptr_t)argument;
	int ends[2];

	if (what == RECEIVE || what == RECEIVE_SECOND)
		recv(shared.b, large, 64, 0);
	else if (what == RECEIVE_ALL)
		recv(shared.b, large, 64, MSG_WAITALL);
	else if (what == SEND)
		send(shared.a, large, sizeof(large), 0);
	else if (pipe2(ends, O_CLOEXEC) == 0 && what == SENDFILE)
		sendfile(ends[1], shared.b, NULL, 64);
	else if (what == SPLICE)
		splice(shared.b, NULL, ends[1], NULL, 64, 0);
	return NULL;
}

static void cancel_and_note(const char *field, pthread_t thread)
{
	void *value = NULL;

	TRY(field, pthread_cancel(thread));
	pthread_join(thread, &value);
	note(field, "%s", value == PTHREAD_CANCELED ? "cancelled" : "ended");
}

/* A thread asleep in the call is cancelled; the connection goes on. */
static void cancelled(struct pair *pair, int what)
{
	pthread_t first = 0, thread;

	shared = *pair;
	if (what == RECEIVE_SECOND) {
		pthread_create(&first, NULL, act, (void *)(intptr_t)RECEIVE);
		pause_ms(SOON_MS);
	}
	pthread_create(&thread, NULL, act, (void *)(intptr_t)what);
	pause_ms(SOON_MS);
	if (what == RECEIVE_ALL) {
		put(pair->a, "part");
		int bytes = 1;
		for (int i = 0; i < 500 && bytes > 0; i++) {
			pause_ms(2);
			ioctl(pair->b, FIONREAD, &bytes);
		}
		note("taken", "%s", bytes ? "no" : "yes");
	}
	if (what == SENDFILE) /* no cancellation point */
		later_put(3 * SOON_MS, pair->a, "late");
	cancel_and_note("thread", thread);
	if (first)
		cancel_and_note("first", first);
	if (what == SEND) {
		shutdown(pair->a, SHUT_WR);
		char *sink = malloc(1 << 20);
		ssize_t got;
		while ((got = recv(pair->b, sink, 1 << 20, 0)) > 0)
			;
		note_result("drained", got, errno);
		return;
	}
	later_put(SOON_MS, pair->a, "hello");
	get("receive", pair->b, 64, 0);
	later_join();
	round_trip("trip", pair);
}

#define RACES 300 /* of 4000 it was too late for two or three, under musl, before the shim looked for it */
static void *receive_all_and_test(void *argument)
{
	(void)argument;
	recv(shared.b, (char[2]){ 0 }, 2, MSG_WAITALL);
	pthread_testcancel();
	return NULL;
}

/* A thread is cancelled right as the first part of what it waits for comes: in its sleep, or just before it or after it. It
 * ends then, whatever it has got. */
static void cancelled_as_a_part_comes(struct pair *pair, int unused)
{
	int late = 0, ended = 0;

	(void)unused;
	shared = *pair;
	for (unsigned i = 0; i < RACES; i++) {
		pthread_t thread;
		struct timespec until;
		void *value = NULL;

		pthread_create(&thread, NULL, receive_all_and_test, NULL);
		usleep(i % 2 ? 200
			     : 50); /* it sleeps already, or is about to: no look from outside tells how near it is */
		if (send(pair->a, "1", 1, 0) != 1)
			break;
		for (volatile unsigned spin = i * 97 % 100000; spin; spin--)
			;
		pthread_cancel(thread);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		if (pthread_timedjoin_np(thread, &value, &until) != 0) {
			late++;
			send(pair->a, "2", 1, 0);
			pthread_join(thread, &value);
		}
		ended += value == PTHREAD_CANCELED;
		while (recv(pair->b, (char[8]){ 0 }, 8, MSG_DONTWAIT) > 0)
			;
	}
	note("late", "%d", late);
	note("ended", "%d", ended);
	round_trip("trip", pair);
}

static sigjmp_buf escape;
static void jump(int number)
{
	siglongjmp(escape, number);
}

static void jumped(struct pair *pair, int what)
{
	struct sigaction action = { .sa_handler = jump };

	shared = *pair;
	sigaction(SIGUSR1, &action, NULL);
	for (volatile int i = 0; i < 3; i++) {
		later_signal(SOON_MS, SIGUSR1);
		if (sigsetjmp(escape, 1) == 0) {
			act((void *)(intptr_t)what);
			note("unreached", "yes");
		}
		later_join();
	}
	if (what == SEND) {
		note("jumped", "yes");
		return;
	}
	later_put(SOON_MS, pair->a, "hello");
	get("receive", pair->b, 64, 0);
	later_join();
	round_trip("trip", pair);
}

static void handler_receives_blocking(int number)
{
	char text[16];

	(void)number;
	GET("handler", text, recv(shared.b, text, 5, 0));
}

static void handler_uses_other(int number)
{
	(void)number;
	round_trip("handler-trip", &other);
}

/* A handler calls, on the connection whose receive it interrupts or on another one. */
static void handler_calls(struct pair *pair, int on_other)
{
	struct sigaction action = { .sa_handler = on_other ? handler_uses_other : handler_receives_blocking,
				    .sa_flags = SA_RESTART };

	shared = *pair;
	if (on_other)
		pair_make(&other, true);
	sigaction(SIGUSR1, &action, NULL);
	later_signal(SOON_MS, SIGUSR1);
	if (!on_other)
		later_put(2 * SOON_MS, pair->a, "first");
	later_put(4 * SOON_MS, pair->a, "second");
	get("receive", pair->b, 64, 0);
	later_join();
	round_trip("trip", pair);
}

/* A handler with a stack of its own, on which little is left beyond what the kernel saves there. */
#define HANDLER_STACK_BYTES 1600
static struct {
	ssize_t results[8];
	int count;
} small;

static void keep(ssize_t result)
{
	small.results[small.count++] = result < 0 ? -errno : result;
}

static void handler_with_small_stack(int number)
{
	char bytes[8];
	struct iovec halves[2] = { { bytes, 3 }, { bytes + 3, 5 } };
	struct msghdr message = { .msg_iov = halves, .msg_iovlen = 2 };
	int saved = errno;

	(void)number;
	keep(send(other.a, "sent", 4, 0));
	keep(recv(other.b, bytes, sizeof(bytes), 0));
	keep(send(other.a, "all ", 4, 0));
	keep(recv(other.b, bytes, sizeof(bytes), MSG_WAITALL));
	keep(recvmsg(other.b, &message, 0));
	keep(recv(other.b, bytes, sizeof(bytes), MSG_DONTWAIT));
	keep(close(other.b));
	errno = saved;
}

static void handler_on_small_stack(struct pair *pair, int unused)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t bytes = getauxval(AT_MINSIGSTKSZ) + HANDLER_STACK_BYTES, whole = (bytes + page - 1) / page * page;
	char *memory = mmap(NULL, page + whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t stack = { .ss_sp = memory + page, .ss_size = bytes };
	struct sigaction action = { .sa_handler = handler_with_small_stack, .sa_flags = SA_RESTART | SA_ONSTACK };
	char field[] = "call 0";

	(void)unused;
	if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) != 0 || sigaltstack(&stack, NULL) != 0)
		_exit(2);
	pair_make(&other, true);
	put(other.a, "of it before");
	handler_with_small_stack(0); /* on this one: what it calls is found only now, for which the linker needs more */
	small.count = 0;
	pair_make(&other, true);
	sigaction(SIGUSR1, &action, NULL);
	later_signal(SOON_MS, SIGUSR1);
	later_put(3 * SOON_MS, other.a, "of it");
	later_put(6 * SOON_MS, pair->a, "later");
	get("receive", pair->b, 64, 0);
	later_join();
	for (int i = 0; i < small.count; i++) {
		field[5] = (char)('0' + i);
		note_result(field, small.results[i], 0);
	}
	get("peer", other.a, 64, 0);
	round_trip("trip", pair);
}

static volatile int pipe_code;
static volatile bool pipe_own;
static void on_pipe(int number, siginfo_t *information, void *context)
{
	(void)number;
	(void)context;
	pipe_code = information->si_code;
	pipe_own = information->si_pid == getpid() && information->si_uid == getuid();
}

/* SIGPIPE of a send, by each call; and what the handler is told. */
static void sends_to_closed(struct pair *pair, int size)
{
	static char buffer[30000];
	size_t bytes = (size_t)size;
	struct iovec vector = { buffer, bytes };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
	struct mmsghdr many = { .msg_hdr = message };
	struct sigaction action = { .sa_sigaction = on_pipe, .sa_flags = SA_SIGINFO };

	handle(SIGPIPE, 0);
	shutdown(pair->a, SHUT_WR);
	TRY("write", write(pair->a, buffer, bytes));
	TRY("send", send(pair->a, buffer, bytes, 0));
	TRY("sendto", sendto(pair->a, buffer, bytes, 0, NULL, 0));
	TRY("writev", writev(pair->a, &vector, 1));
	TRY("sendmsg", sendmsg(pair->a, &message, 0));
	TRY("sendmmsg", sendmmsg(pair->a, &many, 1, 0));
	TRY("pwritev2", pwritev2(pair->a, &vector, 1, -1, 0));
	note("signals", "%d", handled);
	TRY("quiet", send(pair->a, buffer, bytes, MSG_NOSIGNAL));
	note("signals-quiet", "%d", handled);
	sigaction(SIGPIPE, &action, NULL);
	TRY("told", write(pair->a, buffer, bytes));
	note("code", "%d own %d", pipe_code, pipe_own);
	TRY("empty", write(pair->a, buffer, 0));
	TRY("empty-send", send(pair->a, buffer, 0, MSG_NOSIGNAL));
	note("sigpipe", "%d own %d", pipe_code, pipe_own);
}

static const struct semantics_case cases[] = {
	{ "cancel-recv", cancelled, RECEIVE, 0 },
	{ "cancel-waitall-part", cancelled, RECEIVE_ALL, 0 },
	{ "cancel-second-reader", cancelled, RECEIVE_SECOND, 0 },
	{ "cancel-send", cancelled, SEND, 0 },
	{ "cancel-splice", cancelled, SPLICE, 0 },
	{ "cancel-sendfile", cancelled, SENDFILE, 0 },
	{ "cancel-waitall-race", cancelled_as_a_part_comes, 0, 0 },
	{ "jump-recv", jumped, RECEIVE, 0 },
	{ "jump-waitall", jumped, RECEIVE_ALL, 0 },
	{ "jump-send", jumped, SEND, 0 },
	{ "handler-receives-blocking", handler_calls, 0, 0 },
	{ "handler-uses-other", handler_calls, 1, 0 },
	{ "small-stack-handler", handler_on_small_stack, 0, 0 },
	{ "large-send-to-closed", sends_to_closed, 30000, 0 },
	{ "small-send-to-closed", sends_to_closed, 100, 0 },
};
FAMILY(escapes);
