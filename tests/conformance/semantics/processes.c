/* SPDX-License-Identifier: BSD-2-Clause */
/* Processes that share or inherit a connection: fork, exec, vfork, posix_spawn, SCM_RIGHTS. */
#include "../../support/rights.h"
#include "semantics.h"

#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

static void join_child(pid_t child)
{
	int status = 0;

	waitpid(child, &status, 0);
	note("child", "%d", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
}

/* Parent and child send on the same socket in turn. */
static void both_send(struct pair *pair, int unused)
{
	int baton[2]; /* the parent's end, the child's */
	pid_t child;
	char token;

	(void)unused;
	TRY("baton", socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, baton));
	child = fork();
	if (child == 0) {
		for (int i = 0; i < 3; i++) {
			put(pair->a, "child");
			if (write(baton[1], "x", 1) != 1 || read(baton[1], &token, 1) != 1)
				_exit(1);
		}
		_exit(0);
	}
	for (int i = 0; i < 3; i++) {
		if (read(baton[0], &token, 1) != 1)
			break;
		get("child", pair->b, 5, MSG_WAITALL);
		put(pair->a, "parent");
		get("parent", pair->b, 6, MSG_WAITALL);
		if (write(baton[0], "x", 1) != 1)
			break;
	}
	join_child(child);
	note_poll("still-open", pair->b, POLLIN | POLLRDHUP, 20);
	round_trip("trip", pair);
}

/* Parent and child receive from the same socket in turn. */
static void both_receive(struct pair *pair, int unused)
{
	pid_t child;

	(void)unused;
	put(pair->a, "first");
	settle();
	child = fork();
	if (child == 0) {
		get("child-first", pair->b, 5, MSG_WAITALL);
		get("child-second", pair->b, 6, MSG_WAITALL);
		_exit(0);
	}
	pause_ms(SOON_MS);
	put(pair->a, "second");
	join_child(child);
	later_put(SOON_MS, pair->a, "third");
	get("parent", pair->b, 5, MSG_WAITALL);
	round_trip("trip", pair);
}

/* The child is asleep in recv when the parent's copy goes. */
static void child_takes_over(struct pair *pair, int exits)
{
	pid_t child = fork();

	if (child == 0) {
		close(pair->a);
		get("child", pair->b, 5, MSG_WAITALL);
		TRY("child-send", send(pair->b, "answer", 6, 0));
		get("child-end", pair->b, 5, 0);
		if (exits)
			_exit(0);
		TRY("child-close", close(pair->b));
		_exit(0);
	}
	close(pair->b);
	pause_ms(SOON_MS);
	put(pair->a, "hello");
	get("answer", pair->a, 6, MSG_WAITALL);
	shutdown(pair->a, SHUT_WR);
	get("end", pair->a, 64, 0);
	join_child(child);
}

/* The child closes, or ends: nothing happens to the connection. 2: it shuts down, which does */
static void child_leaves(struct pair *pair, int how)
{
	pid_t child = fork();

	if (child == 0) {
		if (how == 0) {
			close(pair->a);
			close(pair->b);
		} else if (how == 2) {
			shutdown(pair->b, SHUT_WR);
		}
		_exit(0);
	}
	join_child(child);
	note_poll("poll", pair->a, POLLIN | POLLRDHUP, 20);
	TRY("there", send(pair->a, "there", 5, MSG_NOSIGNAL));
	get("there", pair->b, 5, 0);
	TRY("back", send(pair->b, "back", 4, MSG_NOSIGNAL));
	get("back", pair->a, 64, MSG_DONTWAIT);
}

static void child_leaves_unread(struct pair *pair, int unused)
{
	pid_t child;

	(void)unused;
	put(pair->a, "unread");
	settle();
	child = fork();
	if (child == 0) {
		close(pair->b);
		_exit(0);
	}
	join_child(child);
	settle();
	note_poll("poll", pair->a, POLLIN | POLLRDHUP, 0);
	get("data", pair->b, 64, 0);
	round_trip("trip", pair);
}

/* cat(1) on the connection. 0 fork and exec, 1 posix_spawn, 2 vfork and exec, 3 as 0, but nothing is unread */
static void run_cat(struct pair *pair, int how)
{
	char *const arguments[] = { "cat", NULL };
	posix_spawn_file_actions_t actions;
	size_t bytes = how == 3 ? 11 : 18;
	int gate[2]; /* closed by the exec */
	pid_t child = -1;

	if (how != 3)
		put(pair->a, "before ");
	settle();
	if (how == 1) {
		posix_spawn_file_actions_init(&actions);
		posix_spawn_file_actions_adddup2(&actions, pair->b, 0);
		posix_spawn_file_actions_adddup2(&actions, pair->b, 1);
		TRY("spawn", posix_spawnp(&child, "cat", &actions, NULL, arguments, environ));
	} else {
		note("pipe", "%d", pipe2(gate, O_CLOEXEC));
		child = how == 2 ? vfork() : fork();
		if (child == 0) {
			dup2(pair->b, 0);
			dup2(pair->b, 1);
			execvp("cat", arguments);
			_exit(127);
		}
	}
	if (how == 3) {
		close(gate[1]);
		TRY("exec", read(gate[0], (char[1]){ 0 }, 1));
	}
	put(pair->a, "after ");
	TRY("close", close(pair->b));
	put(pair->a, "close");
	char text[64];
	size_t done = 0;
	while (done < bytes) {
		ssize_t got = recv(pair->a, text + done, bytes - done, 0);
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	note_data("echo", text, (ssize_t)done, 0);
	shutdown(pair->a, SHUT_WR);
	get("end", pair->a, 64, 0);
	join_child(child);
}

static void run_shell(struct pair *pair, int unused)
{
	char command[64];

	(void)unused;
	fcntl(pair->b, F_SETFD, 0);
	snprintf(command, sizeof(command), "echo from-shell >&%d", pair->b);
	TRY("system", system(command));
	get("data", pair->a, 11, 0);
	round_trip("trip", pair);
}

/* The fd goes over a unix socket, to this very process or to a child. With data unread, or (bit 1) without. */
static void pass_fd(struct pair *pair, int how)
{
	int ends[2], fd = -1, to_child = how & 1;
	pid_t child = -1;

	TRY("socketpair", socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	if (to_child)
		child = fork();
	if (child != 0) {
		if (!(how & 2))
			put(pair->a, "first ");
		TRY("pass", rights_give(ends[0], pair->b));
		close(pair->b);
		put(pair->a, "second");
		settle();
	}
	if (child <= 0) {
		if (child == 0)
			close(pair->b);
		fd = rights_take(ends[1], false);
		pause_ms(SOON_MS);
		get("received", fd, how & 2 ? 6 : 12, MSG_WAITALL);
		TRY("answer-send", send(fd, "answer", 6, 0));
	}
	if (child == 0)
		_exit(0);
	get("answer", pair->a, 6, MSG_WAITALL);
	if (child > 0)
		join_child(child);
	else
		close(fd);
	settle();
	get("end", pair->a, 6, MSG_DONTWAIT);
}

/* A grandchild by a double fork, as daemons do. */
static void daemonised(struct pair *pair, int unused)
{
	pid_t child = fork();

	(void)unused;
	if (child == 0) {
		if (fork() != 0)
			_exit(0);
		close(pair->a);
		pause_ms(SOON_MS);
		get("daemon", pair->b, 5, MSG_WAITALL);
		send(pair->b, "answer", 6, 0);
		_exit(0);
	}
	join_child(child);
	close(pair->b);
	put(pair->a, "hello");
	get("answer", pair->a, 6, MSG_WAITALL);
	get("end", pair->a, 6, 0);
}

/* exec with bytes unread, and an SO_LINGER of the program's own. */
static void exec_lingers(struct pair *pair, int unused)
{
	const struct linger linger = { .l_onoff = 1, .l_linger = 5 };
	char *const arguments[] = { "x", NULL };
	char text[64];
	int gate[2];

	(void)unused;
	note("pipe", "%d", pipe2(gate, O_CLOEXEC));
	put(pair->a, "unread");
	settle();
	pid_t child = fork();
	if (child == 0) {
		close(pair->a);
		setsockopt(pair->b, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		if (read(gate[0], text, 1) != 1)
			_exit(8);
		execvp("true", arguments);
		_exit(7);
	}
	close(pair->b);
	TRY("go", write(gate[1], "x", 1));
	join_child(child);
	settle();
	note_poll("poll", pair->a, POLLIN | POLLRDHUP, 200);
	get("receive", pair->a, 64, MSG_DONTWAIT);
}

/* exec that fails leaves things as they were, an SO_LINGER of the program's own too. */
static void exec_fails(struct pair *pair, int linger_s)
{
	char *const arguments[] = { "x", NULL };
	struct linger linger = { .l_onoff = linger_s > 0, .l_linger = linger_s };
	socklen_t length = sizeof(linger);

	if (linger_s)
		setsockopt(pair->b, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	put(pair->a, "unread");
	settle();
	TRY("exec", execv("/nowhere/to/be/found", arguments));
	TRY("linger", getsockopt(pair->b, SOL_SOCKET, SO_LINGER, &linger, &length));
	note("lingers", "%d %d", linger.l_onoff, linger.l_linger);
	get("data", pair->b, 64, 0);
	round_trip("trip", pair);
	TRY("close", close(pair->b));
	get("end", pair->a, 64, 0);
}

static const struct semantics_case cases[] = {
	{ "fork-both-send", both_send, 0, 0 },
	{ "fork-both-receive", both_receive, 0, 0 },
	{ "fork-child-takes-over", child_takes_over, 0, 0 },
	{ "fork-child-takes-over-exits", child_takes_over, 1, 0 },
	{ "fork-child-closes", child_leaves, 0, 0 },
	{ "fork-child-exits", child_leaves, 1, 0 },
	{ "fork-child-shuts-down", child_leaves, 2, 0 },
	{ "fork-child-closes-unread", child_leaves_unread, 0, 0 },
	{ "exec-cat", run_cat, 0, 0 },
	{ "exec-cat-drained", run_cat, 3, 0 },
	{ "exec-fails-unread", exec_fails, 0, 0 },
	{ "exec-fails-unread-lingering", exec_fails, 5, 0 },
	{ "spawn-cat", run_cat, 1, 0 },
	{ "vfork-cat", run_cat, 2, 0 },
	{ "system-echo", run_shell, 0, 0 },
	{ "pass-fd-self", pass_fd, 2, 0 },
	{ "pass-fd-child", pass_fd, 3, 0 },
	{ "pass-fd-self-unread", pass_fd, 0, 0 },
	{ "pass-fd-child-unread", pass_fd, 1, 0 },
	{ "double-fork", daemonised, 0, 0 },
	{ "exec-lingers-unread", exec_lingers, 0, 0 },
};
FAMILY(processes);
