/* SPDX-License-Identifier: BSD-2-Clause */
/* Abortive ends: close with unread data, SO_LINGER 0, a closed peer, connect(AF_UNSPEC), killed processes. */
#include "semantics.h"

#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void note_error(const char *field, int fd)
{
	int error = -1;
	socklen_t length = sizeof(error);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
	note(field, "%s", error ? errno_text(error) : "0");
}

/* What an end sees whose peer is gone. */
static void look(int fd)
{
	settle();
	note_poll("poll", fd, POLLIN | POLLOUT | POLLRDHUP, 200);
	get("receive", fd, 64, MSG_DONTWAIT);
	get("receive-next", fd, 64, MSG_DONTWAIT);
	TRY("send", send(fd, "x", 1, MSG_NOSIGNAL));
	note_poll("poll-after", fd, POLLIN | POLLOUT | POLLRDHUP, 0);
}

enum unread { ALL_UNREAD, PART_READ, LARGE_UNREAD, PEEKED, HALF_CLOSED, BOTH_UNREAD };

/* close() with unread data resets the connection. */
static void close_unread(struct pair *pair, int what)
{
	put_bytes(pair->a, what == LARGE_UNREAD ? 60000 : 6, 1);
	settle();
	if (what == PART_READ)
		get("part", pair->b, 2, 0);
	else if (what == PEEKED)
		get("peek", pair->b, 64, MSG_PEEK);
	else if (what == HALF_CLOSED)
		shutdown(pair->b, SHUT_WR);
	else if (what == BOTH_UNREAD)
		put(pair->b, "unread too");
	TRY("close", close(pair->b));
	look(pair->a);
}

/* By the other ways to close: 0 close_range, 1 dup2 over it, 2 closefrom, 3 fclose, 4 exit of a child that owns it,
 * 5 SIGKILL of that child */
static void close_unread_by(struct pair *pair, int how)
{
	int status;
	pid_t child;

	put(pair->a, "unread");
	settle();
	if (how == 0) {
		close_range((unsigned)pair->b, (unsigned)pair->b, 0);
	} else if (how == 1) {
		dup2(STDERR_FILENO, pair->b);
	} else if (how == 2) {
		int copy = dup2(pair->b, 900);
		close(pair->b);
		closefrom(copy);
	} else if (how == 3) {
		fclose(fdopen(pair->b, "r+"));
	} else {
		child = fork();
		if (child == 0) {
			close(pair->a);
			pause_ms(SOON_MS);
			if (how == 5)
				kill(getpid(), SIGKILL);
			_exit(0);
		}
		close(pair->b);
		waitpid(child, &status, 0);
	}
	look(pair->a);
}

/* The peer sleeps in recv when the reset comes. */
static void close_unread_while_blocked(struct pair *pair, int unused)
{
	(void)unused;
	put(pair->a, "unread");
	settle();
	later_close(SOON_MS, pair->b);
	get("receive", pair->a, 64, 0);
	get("next", pair->a, 64, 0);
}

static void close_unread_dup(struct pair *pair, int unused)
{
	int copy = dup(pair->b);

	(void)unused;
	put(pair->a, "unread");
	settle();
	close(pair->b);
	note_poll("open", pair->a, POLLIN | POLLRDHUP, 20);
	close(copy);
	look(pair->a);
}

/* A program that another thread starts has it, too, when it is closed: that waits for a writer of its pipe, and then executes. */
static char spawn_pipe[64];
static pid_t spawned;
static void *spawn_program(void *unused)
{
	char *const arguments[] = { "true", NULL };
	posix_spawn_file_actions_t actions;

	(void)unused;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, spawn_pipe, O_RDONLY, 0);
	note("spawn", "%s", errno_text(posix_spawnp(&spawned, "true", &actions, NULL, arguments, environ)));
	return NULL;
}

static void let_it_execute(void *unused)
{
	int writer = open(spawn_pipe, O_WRONLY | O_CLOEXEC);

	(void)unused;
	close(writer);
}

static void close_unread_spawning(struct pair *pair, int has_duplicate)
{
	pthread_t spawner;
	int copy = has_duplicate ? fcntl(pair->b, F_DUPFD_CLOEXEC, 0) : -1;

	snprintf(spawn_pipe, sizeof(spawn_pipe), "/tmp/smaccel-semantics-%d-%d", getpid(), has_duplicate);
	TRY("pipe", mkfifo(spawn_pipe, 0600));
	put(pair->a, "unread");
	pthread_create(&spawner, NULL, spawn_program, NULL);
	pause_ms(2 * SOON_MS); /* its child is in open() */
	note_poll("open", pair->a, POLLIN | POLLRDHUP, 0);
	later_call(5, let_it_execute, NULL);
	close(pair->b);
	if (has_duplicate)
		close(copy);
	later_join();
	pthread_join(spawner, NULL);
	unlink(spawn_pipe);
	waitpid(spawned, NULL, 0);
	look(pair->a);
}

/* Data that arrives after the close. */
/* empty: the send that finds the reset has no bytes */
static void data_after_close(struct pair *pair, int empty)
{
	handle(SIGPIPE, SA_RESTART);
	close(pair->b);
	settle();
	note_poll("poll-closed", pair->a, POLLIN | POLLOUT | POLLRDHUP, 200);
	TRY("first", send(pair->a, "x", 1, 0));
	settle();
	note_poll("poll-reset", pair->a, POLLIN | POLLOUT | POLLRDHUP, 0);
	TRY("second", send(pair->a, "x", !empty, 0));
	note("signals", "%d", handled);
	TRY("third", send(pair->a, "x", 1, MSG_NOSIGNAL));
	note("signals-nosignal", "%d", handled);
	get("receive", pair->a, 64, MSG_DONTWAIT);
	note_error("so_error", pair->a);
}

static void error_option_first(struct pair *pair, int unused)
{
	(void)unused;
	later_reset(0, pair->b);
	later_join();
	settle();
	note_error("so_error", pair->a);
	note_error("so_error-again", pair->a);
	get("receive", pair->a, 64, MSG_DONTWAIT);
	TRY("send", send(pair->a, "x", 1, MSG_NOSIGNAL));
}

/* SO_LINGER 0; argument 1: data of the closer is unread at the peer */
static void linger_zero(struct pair *pair, int data)
{
	if (data)
		put(pair->a, "unread");
	settle();
	later_reset(0, pair->a);
	later_join();
	if (data)
		get("data", pair->b, 64, MSG_DONTWAIT);
	look(pair->b);
}

static void sigpipe_kills(struct pair *pair, int unused)
{
	int status = 0;
	pid_t child = fork();

	(void)unused;
	if (child == 0) {
		signal(SIGPIPE, SIG_DFL);
		shutdown(pair->a, SHUT_WR);
		if (write(pair->a, "x", 1) < 0)
			_exit(3);
		_exit(4);
	}
	waitpid(child, &status, 0);
	note("child", "%s", WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : "exited");
}

static void note_peer(const char *field, int fd)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);

	TRY(field, getpeername(fd, (struct sockaddr *)&address, &length));
}

/* connect(AF_UNSPEC); then the socket connects anew. Bit 0: with unread data; bit 1: nothing is asked between; bit 2: the peer has unread data */
static void dissolve(struct pair *pair, int how)
{
	struct sockaddr nothing = { .sa_family = AF_UNSPEC };
	struct any_address address;
	int listener = pair_listen(&address);

	if (how & 1)
		put(pair->b, "unread");
	if (how & 4)
		put(pair->a, "unread");
	settle();
	TRY("dissolve", connect(pair->a, &nothing, sizeof(nothing)));
	if (!(how & 2)) {
		note_peer("peername", pair->a);
		get("receive", pair->a, 64, how & 4 ? 0 : MSG_DONTWAIT);
		TRY("send", send(pair->a, "x", 1, MSG_NOSIGNAL));
		look(pair->b);
	}
	TRY("connect", connect(pair->a, &address.any, address.length));
	close(pair->b);
	pair_meet_anew(pair, listener);
}

/* The socket has two numbers, and connects anew by one; the other is the last to be closed, with data unread. */
static void dissolve_dup(struct pair *pair, int unused)
{
	struct sockaddr nothing = { .sa_family = AF_UNSPEC };
	struct any_address address;
	int listener = pair_listen(&address), copy = dup(pair->a);

	(void)unused;
	TRY("dissolve", connect(pair->a, &nothing, sizeof(nothing)));
	TRY("connect", connect(pair->a, &address.any, address.length));
	close(pair->b);
	pair->b = accept(listener, NULL, NULL);
	pair_warm_up(pair);
	put(pair->b, "unread");
	settle();
	close(pair->a);
	note_poll("open", pair->b, POLLIN | POLLRDHUP, 20);
	close(copy);
	settle();
	/* Whether a FIN comes before the reset, and so what receives say, depends on the moment. */
	note_poll("reset", pair->b, POLLIN | POLLOUT | POLLRDHUP, 200);
}

static void dissolve_now(void *fd)
{
	struct sockaddr nothing = { .sa_family = AF_UNSPEC };

	TRY("dissolve", connect(*(int *)fd, &nothing, sizeof(nothing)));
}

/* The same while a thread sleeps in a receive. */
static void dissolve_while_blocked(struct pair *pair, int unused)
{
	(void)unused;
	later_call(SOON_MS, dissolve_now, &pair->a);
	later_shutdown(6 * SOON_MS, pair->b, SHUT_WR);
	get("blocked", pair->a, 64, 0);
	later_join();
	get("peer", pair->b, 64, MSG_DONTWAIT);
}

static void connected_misuse(struct pair *pair, int unused)
{
	uint16_t port_h;
	int listener = listen_any(&port_h);
	struct sockaddr_in address = loopback_at(port_h);

	(void)unused;
	TRY("connect", connect(pair->a, (struct sockaddr *)&address, sizeof(address)));
	TRY("connect-accepted", connect(pair->b, (struct sockaddr *)&address, sizeof(address)));
	address.sin_port = 0;
	TRY("bind", bind(pair->a, (struct sockaddr *)&address, sizeof(address)));
	TRY("listen", listen(pair->a, 5));
	TRY("accept", accept(pair->a, NULL, NULL));
	TRY("sendto", sendto(pair->a, "abc", 3, 0, (struct sockaddr *)&address, sizeof(address)));
	get("data", pair->b, 64, 0);
	close(listener);
	round_trip("trip", pair);
}

static struct splicing {
	_Atomic pid_t tid; /* 0: not yet */
	int from, to;
} splicing;

static void *splice_one(void *unused)
{
	(void)unused;
	splicing.tid = gettid();
	TRY("spliced", splice(splicing.from, NULL, splicing.to, NULL, 64, 0));
	return NULL;
}

static void feed(void *pipe_end)
{
	TRY("fed", write(*(int *)pipe_end, "spliced", 7));
}

/* A call of another thread holds the socket, and is over soon after. forked: a child had the socket, and is gone. LATE: so, and the thread
 * has no CPU for a while, for all that a close can tell. */
#define LATE 2
static void close_unread_splicing(struct pair *pair, int forked)
{
	pthread_t thread;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		note("FAILED", "pipe2");
	if (forked) {
		waitpid(fork() ?: (_exit(0), 0), NULL, 0);
		pause_ms(2 * SOON_MS); /* so that nobody waits for it */
	}
	put(pair->a, "unread");
	settle();
	splicing = (struct splicing){ .from = ends[0], .to = pair->b };
	pthread_create(&thread, NULL, splice_one, NULL);
	while (!splicing.tid)
		pause_ms(1);
	wait_asleep(splicing.tid);
	later_call(forked == LATE ? 80 : 5, feed, &ends[1]);
	TRY("close", close(pair->b));
	pthread_join(thread, NULL);
	later_join();
	settle();
	get("receive", pair->a, 64, 0);
	get("receive-next", pair->a, 64, 0);
}

static const struct semantics_case cases[] = {
	{ "close-unread", close_unread, ALL_UNREAD, 0 },
	{ "close-unread-part", close_unread, PART_READ, 0 },
	{ "close-unread-large", close_unread, LARGE_UNREAD, 0 },
	{ "close-unread-peeked", close_unread, PEEKED, 0 },
	{ "close-unread-half-closed", close_unread, HALF_CLOSED, 0 },
	{ "close-unread-both", close_unread, BOTH_UNREAD, 0 },
	{ "close-unread-close-range", close_unread_by, 0, 0 },
	{ "close-unread-dup2", close_unread_by, 1, 0 },
	{ "close-unread-closefrom", close_unread_by, 2, 0 },
	{ "close-unread-fclose", close_unread_by, 3, 0 },
	{ "close-unread-exit", close_unread_by, 4, 0 },
	{ "close-unread-killed", close_unread_by, 5, 0 },
	{ "close-unread-while-blocked", close_unread_while_blocked, 0, 0 },
	{ "close-unread-dup", close_unread_dup, 0, 0 },
	{ "close-unread-spawning", close_unread_spawning, 0, 0 },
	{ "close-unread-spawning-dup", close_unread_spawning, 1, 0 },
	{ "close-unread-splicing", close_unread_splicing, 0, 0 },
	{ "close-unread-splicing-forked", close_unread_splicing, 1, 0 },
	{ "close-unread-splicing-late", close_unread_splicing, LATE, 0 },
	{ "send-to-closed", data_after_close, 0, 0 },
	{ "empty-send-to-closed", data_after_close, 1, 0 },
	{ "reset-so-error", error_option_first, 0, 0 },
	{ "linger-zero", linger_zero, 0, 0 },
	{ "linger-zero-data", linger_zero, 1, 0 },
	{ "sigpipe-kills", sigpipe_kills, 0, 0 },
	{ "connect-unspec", dissolve, 0, 0 },
	{ "connect-unspec-unread", dissolve, 1, 0 },
	{ "connect-unspec-unread-anew", dissolve, 3, 0 },
	{ "connect-unspec-peer-unread", dissolve, 4, 0 },
	{ "connect-unspec-dup", dissolve_dup, 0, 0 },
	{ "connect-unspec-while-blocked", dissolve_while_blocked, 0, 0 },
	{ "connected-misuse", connected_misuse, 0, 0 },
};
FAMILY(resets);
