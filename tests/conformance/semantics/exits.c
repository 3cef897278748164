/* SPDX-License-Identifier: BSD-2-Clause */
/* Processes that end, or become another program, with bytes unread; and who is the last to hold a connection: then the peer sees
 * a reset, and before that nothing. */
#include "semantics.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MANY 6
#define ROUNDS 5

enum way { RETURN_EXIT, BY_EXIT, BY__EXIT, BY_QUICK_EXIT, BY_EXIT_GROUP, BY_ABORT, BY_EXEC };

/* In a child. */
static void end_by(enum way way)
{
	char *const arguments[] = { "true", NULL };

	switch (way) {
	case RETURN_EXIT:
		exit(0);
	case BY_EXIT:
		_Exit(0);
	case BY__EXIT:
		_exit(0);
	case BY_QUICK_EXIT:
		quick_exit(0);
	case BY_EXIT_GROUP:
		syscall(SYS_exit_group, 0);
		break;
	case BY_ABORT:
		abort();
	case BY_EXEC:
		execvp("true", arguments);
		break;
	}
	_exit(9);
}

static void await(pid_t child)
{
	int status = 0;

	waitpid(child, &status, 0);
	note("child", "%d", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
}

static void look(const char *field, int fd)
{
	settle();
	note_poll("poll", fd, POLLIN | POLLOUT | POLLRDHUP, 200);
	get(field, fd, 64, MSG_DONTWAIT);
	get("next", fd, 64, MSG_DONTWAIT);
}

/* A child, 0 in itself, that has not got a; `text` waits on b. */
static pid_t begin_child(const struct pair *pair, const char *text)
{
	put(pair->a, text);
	settle();
	pid_t child = fork();
	if (child == 0)
		close(pair->a);
	return child;
}

/* b is the child's alone now. */
static void leave_to(pid_t child, const struct pair *pair)
{
	close(pair->b);
	await(child);
	look("receive", pair->a);
}

/* The child is the only one that has b when it ends. */
static void ends_alone(struct pair *pair, int way)
{
	pid_t child;
	char go[2];
	int gate[2];

	note("pipe", "%d", pipe2(gate, O_CLOEXEC));
	child = begin_child(pair, "unread");
	if (child == 0) {
		if (read(gate[0], go, 1) != 1)
			_exit(8);
		end_by((enum way)way);
	}
	close(pair->b);
	TRY("go", write(gate[1], "x", 1));
	await(child);
	look("receive", pair->a);
}

/* All is read when it ends: no reset. */
static void ends_drained(struct pair *pair, int way)
{
	pid_t child = begin_child(pair, "read");

	if (child == 0) {
		char text[8];

		if (recv(pair->b, text, sizeof(text), 0) != 4)
			_exit(8);
		end_by((enum way)way);
	}
	leave_to(child, pair);
}

/* A handler of atexit() still reads it. */
static struct pair late_pair, polled;
static void read_late(void)
{
	char text[8];

	note("late", "%zd", recv(late_pair.b, text, sizeof(text), MSG_DONTWAIT));
}
static void ends_with_late_reader(struct pair *pair, int unused)
{
	pid_t child = begin_child(pair, "late");

	(void)unused;
	if (child == 0) {
		late_pair = *pair;
		atexit(read_late);
		exit(0);
	}
	leave_to(child, pair);
}

/* Others hold it: nothing happens to the connection. argument 7: vfork, which shares the memory */
static void ends_shared(struct pair *pair, int way)
{
	pid_t child;

	put(pair->a, "unread");
	settle();
	if (way == 7) {
		child = vfork();
		if (child == 0)
			_exit(0);
	} else {
		child = fork();
		if (child == 0)
			end_by((enum way)way);
	}
	await(child);
	settle();
	note_poll("poll", pair->a, POLLIN | POLLRDHUP, 0);
	get("data", pair->b, 64, 0);
	round_trip("trip", pair);
	TRY("close", close(pair->b));
	look("receive", pair->a);
}

/* Several connections, some of them with bytes unread, and one held twice by the process. */
static void ends_with_many(struct pair *pair, int way)
{
	struct pair pairs[MANY];

	pairs[0] = *pair;
	for (int i = 1; i < MANY; i++)
		note("made", "%d", pair_make(&pairs[i], true) || !getenv("LD_PRELOAD"));
	for (int i = 0; i < MANY; i += 2)
		put(pairs[i].a, "unread");
	settle();
	pid_t child = fork();
	if (child == 0) {
		for (int i = 0; i < MANY; i++)
			close(pairs[i].a);
		if (fcntl(pairs[2].b, F_DUPFD_CLOEXEC, 0) < 0)
			_exit(8);
		pause_ms(SOON_MS);
		end_by((enum way)way);
	}
	for (int i = 0; i < MANY; i++)
		close(pairs[i].b);
	await(child);
	for (int i = 0; i < MANY; i++)
		look(i % 2 ? "end" : "receive", pairs[i].a);
}

/* A shell's child has it when the parent closes it with bytes unread; the child reads them. 1: fork before, 2: it does not read */
static void held_by_shell(struct pair *pair, int how)
{
	char command[80], text[16] = "";
	int gate[2];
	FILE *shell;

	note("pipe", "%d", pipe(gate));
	fcntl(gate[1], F_SETFD, FD_CLOEXEC);
	fcntl(pair->b, F_SETFD, 0);
	if (how == 1)
		await(fork() ?: (_exit(0), 0));
	put(pair->a, "unread");
	shutdown(pair->a, SHUT_WR);
	settle();
	snprintf(command, sizeof(command), "read x <&%d; %s <&%d 2>&1", gate[0], how == 2 ? "true" : "cat", pair->b);
	shell = popen(command, "r");
	note("popen", "%d", shell != NULL);
	TRY("close", close(pair->b));
	note_poll("open", pair->a, POLLIN | POLLRDHUP, 20);
	TRY("go", write(gate[1], "x\n", 2));
	note("read", "%zu", fread(text, 1, sizeof(text), shell));
	note("text", "%.16s", text);
	note("pclose", "%d", pclose(shell));
	look("receive", pair->a);
}

/* A child had it, and is gone. */
static void fork_is_over(struct pair *pair, int unused)
{
	pid_t child = fork();

	(void)unused;
	if (child == 0)
		_exit(0);
	await(child);
	put(pair->a, "unread");
	settle();
	TRY("close", close(pair->b));
	look("receive", pair->a);
}

/* Two processes close it at the same time: one of them is the last. Another child had it, too, and has ended. */
enum { BY_END = 1, AFTER_ANOTHER = 2 };
static void both_close_once(struct pair *pair, int how)
{
	int gate[2];
	pid_t child;

	if (how & AFTER_ANOTHER)
		await(fork() ?: (_exit(0), 0));
	note("pipe", "%d", pipe2(gate, O_CLOEXEC));
	child = begin_child(pair, "unread");
	if (child == 0) {
		char byte;

		close(gate[1]);
		if (read(gate[0], &byte, 1) != 0)
			_exit(8);
		if (!(how & BY_END))
			close(pair->b);
		_exit(0);
	}
	close(gate[0]);
	pause_ms(20);
	close(gate[1]);
	leave_to(child, pair);
	close(pair->a);
}

static void both_close(struct pair *pair, int how)
{
	both_close_once(pair, how);
	for (int i = 1; i < ROUNDS; i++) {
		pair_make(pair, true);
		both_close_once(pair, how);
	}
}

/* Other threads of the process are inside calls on it. */
static void *send_much(void *argument)
{
	struct pair *pair = argument;
	char(*much)[8 << 20] = big_buffer(sizeof(*much));

	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < 16 && send(pair->b, much, sizeof(*much), MSG_NOSIGNAL) > 0; i++)
		;
	return NULL;
}
static void ends_with_threads(struct pair *pair, int way)
{
	char *sink = malloc(1 << 20);
	pid_t child = begin_child(pair, "unread");

	if (child == 0) {
		pthread_t thread;

		pthread_create(&thread, NULL, send_much, pair);
		pause_ms(3 * SOON_MS);
		end_by((enum way)way);
	}
	close(pair->b);
	await(child);
	/* What is in the pipe may or may not be read before the reset. */
	while (recv(pair->a, sink, 1 << 20, 0) > 0)
		;
	note("error", "%s", errno_text(errno));
	free(sink);
}

/* Threads of the process wait for what never comes, and hold the file meanwhile. */
enum { BY_POLL, BY_SELECT, BY_BOTH };
#define POLLED_MS 300
static void *wait_by_poll(void *unused)
{
	struct pollfd poller[] = { { .fd = polled.b, .events = POLLPRI }, { .fd = polled.b, .events = POLLRDHUP } };

	poll(poller, 2, POLLED_MS);
	return unused;
}

static void *wait_by_select(void *unused)
{
	struct timeval limit = { .tv_usec = POLLED_MS * 1000 };
	fd_set urgent = { 0 };

	FD_SET(polled.b, &urgent);
	select(polled.b + 1, NULL, NULL, &urgent, &limit);
	return unused;
}

static void begin_polls(const struct pair *pair, int by)
{
	pthread_t thread;

	polled = *pair;
	if (by != BY_SELECT)
		pthread_create(&thread, NULL, wait_by_poll, NULL);
	if (by != BY_POLL)
		pthread_create(&thread, NULL, wait_by_select, NULL);
	pause_ms(SOON_MS);
}

static void close_polled(struct pair *pair, int by)
{
	put(pair->a, "unread");
	settle();
	begin_polls(pair, by);
	TRY("close", close(pair->b));
	note_poll("later", pair->a, POLLRDHUP, 3 * POLLED_MS);
	look("receive", pair->a);
}

static void ends_polled(struct pair *pair, int by)
{
	pid_t child = begin_child(pair, "unread");

	if (child == 0) {
		begin_polls(pair, by);
		_exit(0);
	}
	leave_to(child, pair);
}

static const struct semantics_case cases[] = {
	{ "exit-unread", ends_alone, RETURN_EXIT, 0 },
	{ "exit-unread-Exit", ends_alone, BY_EXIT, 0 },
	{ "exit-unread-_exit", ends_alone, BY__EXIT, 0 },
	{ "exit-unread-quick", ends_alone, BY_QUICK_EXIT, 0 },
	{ "exit-unread-group", ends_alone, BY_EXIT_GROUP, 0 },
	{ "exit-unread-exec", ends_alone, BY_EXEC, 0 },
	{ "exit-unread-aborted", ends_alone, BY_ABORT, 0 },
	{ "exit-unread-threads", ends_with_threads, BY__EXIT, 0 },
	{ "exit-drained", ends_drained, RETURN_EXIT, 0 },
	{ "exit-drained-_exit", ends_drained, BY__EXIT, 0 },
	{ "exit-drained-exec", ends_drained, BY_EXEC, 0 },
	{ "exit-late-reader", ends_with_late_reader, 0, 0 },
	{ "exit-shared", ends_shared, RETURN_EXIT, 0 },
	{ "exit-shared-_exit", ends_shared, BY__EXIT, 0 },
	{ "exit-shared-group", ends_shared, BY_EXIT_GROUP, 0 },
	{ "exit-shared-exec", ends_shared, BY_EXEC, 0 },
	{ "exit-shared-vfork", ends_shared, 7, 0 },
	{ "exit-many", ends_with_many, RETURN_EXIT, 0 },
	{ "exit-many-_exit", ends_with_many, BY__EXIT, 0 },
	{ "exit-many-exec", ends_with_many, BY_EXEC, 0 },
	{ "close-held-by-shell", held_by_shell, 0, 0 },
	{ "close-held-by-shell-forked", held_by_shell, 1, 0 },
	{ "close-left-to-shell", held_by_shell, 2, 0 },
	{ "close-after-fork-unread", fork_is_over, 0, 0 },
	{ "close-by-both-unread", both_close, 0, 0 },
	{ "close-by-both-unread-exit", both_close, BY_END, 0 },
	{ "close-by-both-unread-after", both_close, AFTER_ANOTHER, 0 },
	{ "close-by-both-unread-exit-after", both_close, AFTER_ANOTHER | BY_END, 0 },
	{ "close-polled-unread", close_polled, BY_POLL, 0 },
	{ "close-polled-unread-select", close_polled, BY_SELECT, 0 },
	{ "close-polled-unread-both", close_polled, BY_BOTH, 0 },
	{ "exit-polled-unread", ends_polled, BY_POLL, 0 },
	{ "exit-polled-unread-both", ends_polled, BY_BOTH, 0 },
};
FAMILY(exits);
