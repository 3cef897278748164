/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls that programs make by libc's syscall(), and threads with a table of fds of their own. */
#include "semantics.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif

/* How what is unread at b loses its last holder. */
enum { CLOSES, CLOSES_RANGE, ENDS, ENDS_BESIDE_THREAD, EXECUTES };

static void *sleep_on(void *unused)
{
	sleep(20);
	return unused;
}

static void give_up(int fd, int way)
{
	char *const arguments[] = { "true", NULL }, *const environment[] = { NULL };
	pthread_t thread;

	switch (way) {
	case CLOSES:
		syscall(SYS_close, fd);
		break;
	case CLOSES_RANGE:
		syscall(SYS_close_range, (unsigned int)fd, (unsigned int)fd, 0);
		break;
	case ENDS_BESIDE_THREAD:
		pthread_create(&thread, NULL, sleep_on, NULL);
		syscall(SYS_exit_group, 0);
		break;
	case ENDS:
		syscall(SYS_exit, 0);
		break;
	case EXECUTES:
		syscall(SYS_execve, "/bin/true", arguments, environment);
	}
}

static void unread_at_last(struct pair *pair, int way)
{
	int status = 0;

	put(pair->a, "unread");
	fcntl(pair->b, F_SETFD, FD_CLOEXEC);
	pid_t child = fork();
	if (child == 0) {
		close(pair->a);
		settle();
		give_up(pair->b, way);
		_exit(way <= CLOSES_RANGE ? 0 : 9);
	}
	close(pair->b);
	waitpid(child, &status, 0);
	note("child", "%d", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
	settle();
	note_poll("poll", pair->a, POLLIN | POLLOUT | POLLRDHUP, 200);
	get("receive", pair->a, 64, MSG_DONTWAIT);
	get("next", pair->a, 64, MSG_DONTWAIT);
}

/* A program that cannot be executed: nothing has happened. */
static void exec_fails_by_call(struct pair *pair, int unused)
{
	char *const arguments[] = { "nothing", NULL };

	(void)unused;
	fcntl(pair->b, F_SETFD, FD_CLOEXEC);
	put(pair->a, "unread");
	settle();
	TRY("exec", syscall(SYS_execve, "/nonexistent/program", arguments, arguments));
	get("receive", pair->b, 64, 0);
	round_trip("trip", pair);
}

enum { UNSHARES, UNSHARES_BY_CALL, UNSHARES_RANGE };
static struct pair shared;
static int parts_by;
static _Atomic bool is_parted, may_end;

static void part(void)
{
	int top = open("/dev/null", O_RDONLY);

	switch (parts_by) {
	case UNSHARES:
		TRY("unshare", unshare(CLONE_FILES));
		break;
	case UNSHARES_BY_CALL:
		TRY("unshare", syscall(SYS_unshare, CLONE_FILES));
		break;
	case UNSHARES_RANGE:
		TRY("unshare", syscall(SYS_close_range, (unsigned int)top, (unsigned int)top, CLOSE_RANGE_UNSHARE));
	}
}

/* Has another file at b's number. */
static void *with_own_table(void *unused)
{
	char byte;
	int null;

	part();
	null = open("/dev/null", O_RDONLY);
	TRY("dup2", dup2(null, shared.b) == shared.b ? 0 : -1);
	GET("own", &byte, read(shared.b, &byte, 1));
	is_parted = true;
	while (!may_end)
		pause_ms(1);
	GET("own-again", &byte, read(shared.b, &byte, 1));
	return unused;
}

static void own_table(struct pair *pair, int how)
{
	pthread_t thread;
	char text[16];

	shared = *pair;
	parts_by = how;
	if (fork() == 0)
		_exit(0); /* from now on the process cannot know that it alone has the connection */
	wait(NULL);
	pthread_create(&thread, NULL, with_own_table, NULL);
	while (!is_parted)
		pause_ms(1);
	put(pair->a, "hello");
	later_put(SOON_MS, pair->a, "world");
	GET("whole", text, recv(pair->b, text, 10, MSG_WAITALL));
	later_join();
	later_signal(SOON_MS, SIGCHLD);
	later_put(3 * SOON_MS, pair->a, "hello");
	GET("beside-signal", text, recv(pair->b, text, 5, 0));
	later_join();
	may_end = true;
	pthread_join(thread, NULL);
	round_trip("trip", pair);
}

/* Where /proc is out of reach, errno stays what it was. */
static void *unshare_table(void *unused)
{
	errno = 0;
	int result = unshare(CLONE_FILES);
	note("errno", "%d %d", result, errno);
	return unused;
}

static void own_table_in_chroot(struct pair *pair, int unused)
{
	pthread_t thread;

	(void)unused;
	TRY("chroot", chroot("/usr"));
	pthread_create(&thread, NULL, sleep_on, NULL);
	pthread_create(&thread, NULL, unshare_table, NULL);
	pthread_join(thread, NULL);
	round_trip("trip", pair);
}

enum limits { BY_SETRLIMIT, BY_PRLIMIT, UNREAD = 2 };

static uint64_t burnt_ms(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}

/* A sandbox: there may be no files any more, and with them no poll(2), of the library neither. */
static void no_files(struct pair *pair, int how)
{
	const struct rlimit none = { 0, 0 };
	const struct timeval soon = { 0, SOON_MS * 1000 };
	uint64_t began;

	if (how & UNREAD) {
		put(pair->a, "unread");
		settle();
	}
	TRY("limit", how & BY_PRLIMIT ? prlimit(0, RLIMIT_NOFILE, &none, NULL) : setrlimit(RLIMIT_NOFILE, &none));
	if (how & UNREAD)
		get("unread", pair->b, 64, 0);
	handle(SIGUSR1, SA_RESTART);
	began = burnt_ms();
	later_signal(SOON_MS, SIGUSR1);
	later_put(12 * SOON_MS, pair->a, "hello");
	get("restarted", pair->b, 64, 0);
	later_join();
	later_put(SOON_MS, pair->a, "abc");
	later_put(8 * SOON_MS, pair->a, "def");
	get("whole", pair->b, 6, MSG_WAITALL);
	later_join();
	TRY("timed", setsockopt(pair->b, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon)));
	get("nothing", pair->b, 64, 0);
	note("burnt", "%s", burnt_ms() - began > 4 * SOON_MS ? "yes" : "no");
}

/* What a shell's `exec 1000>FILE` does: the library's own fds are among these numbers. */
static void high_numbers(struct pair *pair, int flags)
{
	struct pair second;
	int ends[2];
	char byte = 0;

	TRY("pipe", pipe(ends));
	for (int number = 998; number < 1012; number++) {
		TRY("put", flags < 0 ? dup2(ends[1], number) : dup3(ends[1], number, flags));
		TRY("flags", fcntl(number, F_GETFD));
		round_trip("goes-on", pair);
	}
	TRY("same", dup2(1003, 1003));
	TRY("bad", dup2(-1, 1003));
	TRY("write", write(1003, "x", 1));
	GET("read", &byte, read(ends[0], &byte, 1));
	note("made", "%d", pair_make(&second, true) || !getenv("LD_PRELOAD"));
	round_trip("second", &second);
	put(pair->a, "unread");
	settle();
	TRY("close", close(pair->b));
	pair->b = -1;
	get("peer", pair->a, 64, 0);
	TRY("closed", close(1003));
	TRY("twice", close(1003));
}

static int leave_the_table(void *unused)
{
	(void)unused;
	return (int)syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_UNSHARE);
}

/* A child that shares the table of fds gets its own, without any: the connection is this process's as before. */
static void shared_table(struct pair *pair, int unread)
{
	static char stack[1 << 18] __attribute__((aligned(16)));
	struct linger linger = { 0 };
	socklen_t length = sizeof(linger);
	int status = -1;

	if (unread)
		put(pair->a, "unread");
	pid_t child = clone(leave_the_table, stack + sizeof(stack), CLONE_FILES | SIGCHLD, NULL);
	note("left", "%s", child > 0 && waitpid(child, &status, 0) == child && status == 0 ? "yes" : "no");
	TRY("linger", getsockopt(pair->b, SOL_SOCKET, SO_LINGER, &linger, &length));
	note("resets", "%d", linger.l_onoff);
	if (unread)
		get("data", pair->b, 64, 0);
	round_trip("trip", pair);
	put(pair->b, "reply");
	TRY("close", close(pair->b));
	pair->b = -1;
	get("reply", pair->a, 5, MSG_WAITALL);
	get("end", pair->a, 64, 0);
}

static const struct semantics_case cases[] = {
	{ "call-close-unread", unread_at_last, CLOSES, 0 },
	{ "call-close-range-unread", unread_at_last, CLOSES_RANGE, 0 },
	{ "call-exit-unread", unread_at_last, ENDS, 0 },
	{ "call-exit-group-unread", unread_at_last, ENDS_BESIDE_THREAD, 0 },
	{ "call-exec-unread", unread_at_last, EXECUTES, 0 },
	{ "call-exec-fails-unread", exec_fails_by_call, 0, 0 },
	{ "own-table", own_table, UNSHARES, 0 },
	{ "own-table-call", own_table, UNSHARES_BY_CALL, 0 },
	{ "own-table-range", own_table, UNSHARES_RANGE, 0 },
	{ "own-table-chroot", own_table_in_chroot, 0, 0 },
	{ "shared-table", shared_table, 0, 0 },
	{ "shared-table-unread", shared_table, 1, 0 },
	{ "no-files", no_files, BY_SETRLIMIT, 0 },
	{ "no-files-prlimit", no_files, BY_PRLIMIT, 0 },
	{ "no-files-unread", no_files, UNREAD, 0 },
	{ "high-numbers", high_numbers, -1, 0 },
	{ "high-numbers-dup3", high_numbers, O_CLOEXEC, 0 },
};
FAMILY(bypasses);
