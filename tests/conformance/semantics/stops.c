/* SPDX-License-Identifier: BSD-2-Clause */
/* SIGSTOP and SIGCONT, and what else may end a sleep, in a process with one thread: what happens meanwhile, a child does. Without a
 * handler a stop ends a receive only where SO_RCVTIMEO runs, or a part is there (signal(7)). */
#include "semantics.h"

#include <linux/sched.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#define LONG_MS 2000  /* whole seconds ... */
#define SHORT_MS 700  /* ... and less, which a part is waited for with in another way (transfer_wait.c) */
#define MIXED_MS 1100 /* both */
#define SENT_BYTES (32u << 20)
#define FULL_BYTES (64u << 20) /* more than any pipe holds */
#define APART 512              /* fewer than bpf/stops.bpf.c has words */
#define NAMESAKES_FROM 20      /* numbers that nobody has had lately, or gets soon */
#define NAMESAKES_MAX 60

enum event { NOTHING, STOP, STOP_LONG, STOP_BESIDE, STOP_NOT, CONTINUE, DATA, SIGNAL, END, RESET, ROOM };

static void set_timeout(int fd, int ms)
{
	struct timeval timeout = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0)
		note("FAILED", "setting a timeout");
}

static void take_some(int fd)
{
	static char buffer[1 << 20];

	for (unsigned done = 0; done < SENT_BYTES;) {
		ssize_t bytes = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);

		if (bytes <= 0)
			return;
		done += (unsigned)bytes;
	}
}

/* Another process, whose number has the same remainder. */
static void stop_namesake(pid_t process)
{
	pid_t child = -1;

	for (int i = 2 * NAMESAKES_FROM; i < 2 * NAMESAKES_MAX && child < 0; i++) {
		pid_t number = process + (i % 2 ? -1 : 1) * i / 2 * APART;
		struct clone_args arguments = { .exit_signal = SIGCHLD,
						.set_tid = (uintptr_t)&number,
						.set_tid_size = 1 };

		child = (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
	}
	if (child == 0)
		_exit(kill(getpid(), SIGSTOP));
	if (child > 0 && waitpid(child, NULL, WUNTRACED) == child)
		waitpid(kill(child, SIGKILL) ?: child, NULL, 0);
}

static void act(const struct pair *pair, enum event event, pid_t other)
{
	struct linger none = { .l_onoff = 1 };

	switch (event) {
	case NOTHING:
	case DATA:
		return;
	case STOP:
	case STOP_LONG:
	case STOP_BESIDE:
		kill(other, SIGSTOP);
		pause_ms(SOON_MS);
		if (event == STOP_BESIDE)
			stop_namesake(other);
		kill(other, SIGCONT);
		if (event == STOP_LONG)
			pause_ms(LONG_MS);
		return;
	case STOP_NOT: /* blocked */
		kill(other, SIGTSTP);
		return;
	case CONTINUE:
		kill(other, SIGCONT);
		return;
	case SIGNAL:
		kill(other, SIGUSR1);
		return;
	case END:
		shutdown(pair->a, SHUT_WR);
		return;
	case RESET:
		setsockopt(pair->a, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
		close(pair->a);
		return;
	case ROOM:
		take_some(pair->a);
		return;
	}
}

/* In a while, and something arrives after it. The peer is the child's alone. */
static pid_t elsewhere(struct pair *pair, enum event event, unsigned ms)
{
	pid_t self = getpid(), child = fork();

	if (child != 0) {
		close(pair->a);
		return child;
	}
	pause_ms(ms);
	wait_asleep(self);
	act(pair, event, self);
	pause_ms(3 * SOON_MS);
	if (event != END && event != RESET && event != NOTHING)
		put(pair->a, "hello");
	pause_ms(SOON_MS);
	_exit(0);
}

static void receive_meanwhile(struct pair *pair, enum event event, unsigned ms, size_t bytes, int flags)
{
	pid_t child = elsewhere(pair, event, ms);

	get("receive", pair->b, bytes, flags);
	waitpid(child, NULL, 0);
	get("next", pair->b, 64, MSG_DONTWAIT);
}

/* Negative: with MSG_WAITALL; odd: a part is there already. */
static void stopped_and_continued(struct pair *pair, int argument)
{
	int timeout_ms = abs(argument);

	if (timeout_ms > 1)
		set_timeout(pair->b, timeout_ms);
	if (timeout_ms % 2)
		put(pair->a, "part");
	receive_meanwhile(pair, STOP, SOON_MS, 9, argument < 0 ? MSG_WAITALL : 0);
}

/* After a second has gone by. */
static void stopped_late(struct pair *pair, int timeout_ms)
{
	set_timeout(pair->b, timeout_ms);
	receive_meanwhile(pair, STOP, 1000 + SOON_MS, 9, 0);
}

static void stopped_flags(struct pair *pair, int flags)
{
	set_timeout(pair->b, LONG_MS);
	receive_meanwhile(pair, STOP, SOON_MS, 9, flags);
}

/* 0 read, 1 readv, 2 recvmsg, 3 recvfrom, 4 recvmmsg */
static void stopped_call(struct pair *pair, int call)
{
	char buffer[16];
	struct iovec vector = { buffer, sizeof(buffer) };
	struct mmsghdr many = { .msg_hdr = { .msg_iov = &vector, .msg_iovlen = 1 } };

	set_timeout(pair->b, LONG_MS);
	pid_t child = elsewhere(pair, STOP, SOON_MS);
	if (call == 0)
		GET("receive", buffer, read(pair->b, buffer, sizeof(buffer)));
	else if (call == 1)
		GET("receive", buffer, readv(pair->b, &vector, 1));
	else if (call == 2)
		GET("receive", buffer, recvmsg(pair->b, &many.msg_hdr, 0));
	else if (call == 3)
		GET("receive", buffer, recvfrom(pair->b, buffer, sizeof(buffer), 0, NULL, NULL));
	else
		TRY("receive", recvmmsg(pair->b, &many, 1, 0, NULL));
	waitpid(child, NULL, 0);
	get("next", pair->b, 64, MSG_DONTWAIT);
}

/* The time-out is taken back: nothing ends the receive. */
static void stopped_unset(struct pair *pair, int unused)
{
	(void)unused;
	set_timeout(pair->b, LONG_MS);
	set_timeout(pair->b, 0);
	receive_meanwhile(pair, STOP, SOON_MS, 9, 0);
}

static void *nothing(void *unused)
{
	return unused;
}

static void stopped_threads(struct pair *pair, int argument)
{
	pthread_t thread;

	pthread_create(&thread, NULL, nothing, NULL);
	pthread_join(thread, NULL);
	stopped_and_continued(pair, argument);
}

/* No wrapper sees the time-out. */
static void stopped_raw(struct pair *pair, int timeout_ms)
{
	struct timeval timeout = { .tv_sec = timeout_ms / 1000 };

	TRY("set", syscall(SYS_setsockopt, pair->b, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)));
	receive_meanwhile(pair, STOP, SOON_MS, 9, 0);
}

static void *receive_stopped(void *pair)
{
	receive_meanwhile(pair, STOP, SOON_MS, 9, 0);
	return NULL;
}

/* Asleep in a thread that is not the one to which the signal is given. */
static void stopped_second_thread(struct pair *pair, int timeout_ms)
{
	pthread_t thread;

	set_timeout(pair->b, timeout_ms);
	pthread_create(&thread, NULL, receive_stopped, pair);
	pthread_join(thread, NULL);
}

/* In a child, which has the connection from its parent. */
static void stopped_child(struct pair *pair, int timeout_ms)
{
	set_timeout(pair->b, timeout_ms);
	pid_t child = fork();
	if (child == 0) {
		receive_meanwhile(pair, STOP, SOON_MS, 9, 0);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

/* The same in another pid namespace, of which the first process cannot be stopped from within. */
static void stopped_in_namespace(struct pair *pair, int timeout_ms)
{
	TRY("namespace", unshare(CLONE_NEWPID));
	pid_t first = fork();
	if (first == 0) {
		stopped_child(pair, timeout_ms);
		_exit(0);
	}
	waitpid(first, NULL, 0);
}

static void other_events(struct pair *pair, int event)
{
	sigset_t stop;

	sigemptyset(&stop);
	sigaddset(&stop, SIGTSTP);
	sigprocmask(SIG_BLOCK, &stop, NULL);
	set_timeout(pair->b, LONG_MS);
	handle(SIGUSR1, event == SIGNAL ? SA_RESTART : 0);
	receive_meanwhile(pair, (enum event)event, SOON_MS, 9, 0);
	note("handled", "%d", handled);
}

static void alone_interrupted(struct pair *pair, int timeout_ms)
{
	set_timeout(pair->b, timeout_ms);
	handle(SIGUSR1, 0);
	receive_meanwhile(pair, SIGNAL, SOON_MS, 9, 0);
}

/* A send had found no room: what wakes for it does not end the receive. */
static void alone_room(struct pair *pair, int timeout_ms)
{
	set_timeout(pair->b, timeout_ms);
	fcntl(pair->b, F_SETFL, O_NONBLOCK);
	fill_pipe(pair->b);
	fcntl(pair->b, F_SETFL, 0);
	receive_meanwhile(pair, ROOM, SOON_MS, 9, 0);
}

static void alone_expires(struct pair *pair, int timeout_ms)
{
	uint64_t start_ms;

	set_timeout(pair->b, timeout_ms);
	start_ms = clock_ms();
	get("receive", pair->b, 9, 0);
	note_waited("waited", start_ms, (unsigned)timeout_ms);
	put(pair->a, "hello");
	get("data", pair->b, 9, 0);
	fcntl(pair->b, F_SETFL, O_NONBLOCK);
	get("nonblocking", pair->b, 9, 0);
}

/* A blocking send that finds no room for all of it, and nobody reads. */
static void stopped_send(struct pair *pair, int timeout_ms)
{
	struct timeval timeout = { .tv_sec = timeout_ms / 1000 };
	char *buffer = big_buffer(FULL_BYTES);
	uint64_t start_ms;
	ssize_t sent;
	pid_t child;

	setsockopt(pair->b, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	child = elsewhere(pair, STOP_LONG, 10 * SOON_MS);
	start_ms = clock_ms();
	sent = send(pair->b, buffer, FULL_BYTES, MSG_NOSIGNAL);
	note("sent", "%s", sent > 0 && sent < (ssize_t)FULL_BYTES ? "part" : sent < 0 ? errno_text(errno) : "whole");
	note("at-once", "%s", clock_ms() - start_ms < LONG_MS ? "yes" : "no");
	waitpid(child, NULL, 0);
}

static sigjmp_buf escape;
static void jump(int number)
{
	siglongjmp(escape, number);
}

static struct pair in_handler;
static void close_it(int number)
{
	(void)number;
	TRY("handler-close", close(in_handler.b));
}

static void alone_escapes(struct pair *pair, int closes)
{
	struct sigaction action = { .sa_handler = closes ? close_it : jump, .sa_flags = SA_RESTART };

	in_handler = *pair;
	set_timeout(pair->b, LONG_MS);
	sigaction(SIGUSR1, &action, NULL);
	if (sigsetjmp(escape, 1) == 0) {
		receive_meanwhile(pair, SIGNAL, SOON_MS, 9, 0);
		return;
	}
	get("after", pair->b, 9, 0);
}

/* The number becomes a file's, and no wrapper sees that. */
static void alone_raw_file(struct pair *pair, int timeout_ms)
{
	char buffer[16];
	int file = memfd_create("file", MFD_CLOEXEC);

	set_timeout(pair->b, timeout_ms);
	TRY("fill", write(file, "abcdef", 6));
	TRY("seek", lseek(file, 0, SEEK_SET));
	TRY("dup2", syscall(SYS_dup3, file, pair->b, 0) == pair->b);
	GET("read", buffer, read(pair->b, buffer, 3));
	TRY("recv", recv(pair->b, buffer, sizeof(buffer), 0));
}

static const struct semantics_case cases[] = {
	{ "stop-continue", stopped_and_continued, 0, 0 },
	{ "stop-continue-timeout", stopped_and_continued, LONG_MS, 0 },
	{ "stop-continue-timeout-short", stopped_and_continued, SHORT_MS, 0 },
	{ "stop-continue-timeout-late", stopped_late, LONG_MS, 0 },
	{ "stop-continue-timeout-later", stopped_late, MIXED_MS + SHORT_MS, 0 },
	{ "stop-continue-timeout-unset", stopped_unset, 0, 0 },
	{ "stop-continue-timeout-peek", stopped_flags, MSG_PEEK, 0 },
	{ "stop-continue-timeout-read", stopped_call, 0, 0 },
	{ "stop-continue-timeout-readv", stopped_call, 1, 0 },
	{ "stop-continue-timeout-recvmsg", stopped_call, 2, 0 },
	{ "stop-continue-timeout-recvfrom", stopped_call, 3, 0 },
	{ "stop-continue-timeout-recvmmsg", stopped_call, 4, 0 },
	{ "stop-continue-timeout-namesake", other_events, STOP_BESIDE, 0 },
	{ "stop-continue-waitall", stopped_and_continued, -1000, 0 },
	{ "stop-continue-part", stopped_and_continued, -1, 0 },
	{ "stop-continue-timeout-part", stopped_and_continued, -1001, 0 },
	{ "stop-continue-threads", stopped_threads, 0, 0 },
	{ "stop-continue-threads-part", stopped_threads, -1, 0 },
	{ "stop-continue-threads-timeout-part", stopped_threads, -1001, 0 },
	{ "stop-continue-threads-timeout", stopped_threads, LONG_MS, 0 },
	{ "stop-continue-timeout-raw", stopped_raw, LONG_MS, 0 },
	{ "stop-continue-timeout-second-thread", stopped_second_thread, LONG_MS, 0 },
	{ "stop-continue-timeout-child", stopped_child, LONG_MS, 0 },
	{ "stop-continue-timeout-child-namespace", stopped_in_namespace, LONG_MS, 0 },
	{ "stop-continue-send-part", stopped_send, 0, 0 },
	{ "stop-continue-send-timeout-part", stopped_send, 2 * LONG_MS, 0 },
	{ "alone-timeout-data", other_events, DATA, 0 },
	{ "alone-timeout-stop-blocked", other_events, STOP_NOT, 0 },
	{ "alone-timeout-continue", other_events, CONTINUE, 0 },
	{ "alone-timeout-end", other_events, END, 0 },
	{ "alone-timeout-reset", other_events, RESET, 0 },
	{ "alone-timeout-signal-restart", other_events, SIGNAL, 0 },
	{ "alone-timeout-signal-interrupts", alone_interrupted, LONG_MS, 0 },
	{ "alone-timeout-signal-interrupts-short", alone_interrupted, SHORT_MS, 0 },
	{ "alone-timeout-room", alone_room, LONG_MS, 0 },
	{ "alone-timeout-room-short", alone_room, SHORT_MS, 0 },
	{ "alone-timeout-expires", alone_expires, MIXED_MS, 0 },
	{ "alone-timeout-expires-short", alone_expires, 3 * SOON_MS, 0 },
	{ "alone-timeout-raw-file", alone_raw_file, LONG_MS, 0 },
	{ "alone-timeout-siglongjmp-out", alone_escapes, 0, 0 },
	{ "alone-timeout-handler-closes", alone_escapes, 1, 0 },
};
FAMILY(stops);
