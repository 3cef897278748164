/* SPDX-License-Identifier: BSD-2-Clause */
/* Rare ways to have, to share and to use a connection: fds taken out of another process, POSIX AIO, the
 * standard streams, MPTCP, a socket that changes its family. */
#include "semantics.h"

#include <aio.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* A duplicate that no wrapper has seen: used beside the fd, and after it. */
static void fd_taken(struct pair *pair, int unused)
{
	int process = (int)syscall(SYS_pidfd_open, getpid(), 0);
	struct pair other = *pair;

	(void)unused;
	other.b = (int)syscall(SYS_pidfd_getfd, process, pair->b, 0);
	note("taken", "%s", other.b >= 0 ? "yes" : errno_text(errno));
	round_trip("taken", &other);
	round_trip("own", pair);
	put(pair->a, "abcdef");
	settle();
	get("first", other.b, 2, 0);
	get("second", pair->b, 2, 0);
	close(pair->b);
	get("third", other.b, 64, 0);
	note_poll("open", pair->a, POLLIN | POLLRDHUP, 20);
	round_trip("after", &other);
	close(other.b);
	get("end", pair->a, 64, 0);
}

#define MANY 1500

static ssize_t await_aio(struct aiocb *request)
{
	const struct aiocb *const list[] = { request };
	struct timespec second = { .tv_sec = 2 };

	aio_suspend(list, 1, &second);
	errno = aio_error(request);
	return errno ? -1 : aio_return(request);
}

static void asynchronous(struct pair *pair, int unused)
{
	char text[64] = "";
	struct aiocb in = { .aio_fildes = pair->b, .aio_buf = text, .aio_nbytes = sizeof(text) };
	struct aiocb out = { .aio_fildes = pair->b, .aio_buf = "answer", .aio_nbytes = 6 };

	(void)unused;
	for (int i = 0; i < 2; i++) {
		TRY("read", aio_read(&in));
		pause_ms(SOON_MS);
		put(pair->a, "asynchronous");
		GET("data", text, await_aio(&in));
		TRY("write", aio_write(&out));
		TRY("written", await_aio(&out));
		get("answer", pair->a, 6, MSG_WAITALL);
	}
	round_trip("trip", pair);
}

static void note_line(const char *field, char *line)
{
	if (line)
		line[strcspn(line, "\n")] = 0;
	note(field, "%s", line ? line : "(null)");
}

/* The connection becomes standard input. -1: no signal */
static void standard_input(struct pair *pair, int flags)
{
	char line[64];

	TRY("dup2", dup2(pair->b, 0));
	if (flags >= 0) {
		handle(SIGUSR1, flags);
		later_signal(SOON_MS, SIGUSR1);
	}
	later_put(3 * SOON_MS, pair->a, "first\nsecond\n");
	errno = 0;
	note_line("line", fgets(line, sizeof(line), stdin));
	note("error", "%d", ferror(stdin) != 0);
	later_join();
	settle();
	clearerr(stdin);
	note_line("next", fgets(line, sizeof(line), stdin));
	later_put(SOON_MS, pair->a, "third\n");
	note_line("later", fgets(line, sizeof(line), stdin));
	later_join();
	round_trip("trip", pair);
	shutdown(pair->a, SHUT_WR);
	note_line("end", fgets(line, sizeof(line), stdin));
}

/* Of MPTCP nothing is accelerated; it works. */
static void multipath(struct pair *unused, int argument)
{
	struct sockaddr_in address = loopback_at(0);
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);
	struct pair pair = { socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP), -1 };

	(void)unused;
	(void)argument;
	note("there", "%d", listener >= 0);
	if (listener < 0)
		return;
	TRY("bind", bind(listener, (struct sockaddr *)&address, length));
	TRY("listen", listen(listener, 5));
	getsockname(listener, (struct sockaddr *)&address, &length);
	TRY("connect", connect(pair.a, (struct sockaddr *)&address, length));
	pair.b = accept(listener, NULL, NULL);
	for (int i = 0; i < 20; i++)
		round_trip("trip", &pair);
	later_put_bytes(0, pair.a, 100000, 1);
	drain("large", pair.b, 100000);
	later_join();
	close(pair.a);
	get("end", pair.b, 64, 0);
}

/* An IPv6 socket that is connected to an IPv4 one becomes an IPv4 one. argument 1: bytes are unread */
static void family_changed(struct pair *unused, int unread)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), domain = 0, off = 0;
	struct pair pair = { socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), -1 };

	(void)unused;
	setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	bind(listener, (struct sockaddr *)&address, length);
	listen(listener, 5);
	getsockname(listener, (struct sockaddr *)&address, &length);
	struct sockaddr_in four = loopback_at(ntohs(address.sin6_port));
	TRY("connect", connect(pair.a, (struct sockaddr *)&four, sizeof(four)));
	pair.b = accept(listener, NULL, NULL);
	note("armed", "%s", pair_warm_up(&pair) ? "yes" : "no");
	if (unread)
		put(pair.a, "unread");
	settle();
	TRY("change", set_int(pair.b, IPPROTO_IPV6, IPV6_ADDRFORM, AF_INET));
	length = sizeof(domain);
	TRY("domain", getsockopt(pair.b, SOL_SOCKET, SO_DOMAIN, &domain, &length));
	note("four", "%d", domain == AF_INET);
	if (unread)
		get("unread", pair.b, 64, MSG_DONTWAIT);
	round_trip("trip", &pair);
	round_trip("trip-again", &pair);
}

/* What an application gets when it asks for an fd: the lowest that is free, as ever. */
static void numbers(struct pair *pair, int unused)
{
	int ends[2];

	(void)unused;
	note("dup", "%d", dup(pair->b) - pair->b);
	note("open", "%d", open("/dev/null", O_RDONLY | O_CLOEXEC) - pair->b);
	TRY("pipe", pipe2(ends, O_CLOEXEC));
	note("ends", "%d %d", ends[0] - pair->b, ends[1] - pair->b);
	note("socket", "%d", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) - pair->b);
	note("from-100", "%d", fcntl(pair->b, F_DUPFD_CLOEXEC, 100));
	round_trip("trip", pair);
}

#define FILE_BYTES (32 << 20)

static int large_file(void)
{
	int fd = memfd_create("large", MFD_CLOEXEC);

	if (ftruncate(fd, FILE_BYTES) < 0)
		note("FAILED", "ftruncate");
	return fd;
}

/* A sendfile that sleeps in a full pipe is ended by: 0 a signal, SA_RESTART one with that flag */
static void send_file_signal(struct pair *pair, int flags)
{
	int file = large_file();
	char *sink = malloc(1 << 20);
	ssize_t sent, got, total = 0;

	handle(SIGUSR1, flags);
	later_signal(4 * SOON_MS, SIGUSR1);
	sent = sendfile(pair->a, file, NULL, FILE_BYTES);
	note("sent", "%s", sent < 0 ? errno_text(errno) : sent < FILE_BYTES ? "part" : "all");
	note("position", "%s", lseek(file, 0, SEEK_CUR) == sent ? "same" : "other");
	note("handled", "%d", handled);
	shutdown(pair->a, SHUT_WR);
	while ((got = recv(pair->b, sink, 1 << 20, 0)) > 0)
		total += got;
	note("arrived", "%s", total == sent ? "same" : "other");
	note_result("end", got, errno);
}

static const char *pipe_mask(void)
{
	sigset_t now;

	pthread_sigmask(SIG_SETMASK, NULL, &now);
	return sigismember(&now, SIGPIPE) ? "blocked" : "free";
}

static sigjmp_buf away;
static const char *volatile seen_mask;
static void jump_away(int number)
{
	seen_mask = pipe_mask();
	siglongjmp(away, number);
}

/* A handler leaves it, and the mask as it is then: of SIGPIPE it is the program's own, blocked or not. */
static void send_file_jump(struct pair *pair, int how)
{
	struct sigaction action = { .sa_handler = jump_away };
	sigset_t pipe_only;
	int file = large_file();

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	if (how == 1)
		action.sa_mask = pipe_only;
	if (how == 2)
		pthread_sigmask(SIG_BLOCK, &pipe_only, NULL);
	sigaction(SIGUSR1, &action, NULL);
	later_signal(4 * SOON_MS, SIGUSR1);
	if (sigsetjmp(away, 0) == 0) {
		sendfile(pair->a, file, NULL, FILE_BYTES);
		note("unreached", "yes");
	}
	later_join();
	note("in-handler", "%s", seen_mask);
	note("after", "%s", pipe_mask());
}

/* The peer resets, or closes, while it sleeps. */
static void send_file_peer_ends(struct pair *pair, int resets)
{
	int file = large_file();
	ssize_t sent;

	handle(SIGPIPE, SA_RESTART);
	if (resets)
		later_reset(4 * SOON_MS, pair->b);
	else
		later_close(4 * SOON_MS, pair->b);
	sent = sendfile(pair->a, file, NULL, FILE_BYTES);
	note("sent", "%s", sent < 0 ? errno_text(errno) : sent < FILE_BYTES ? "part" : "all");
	note("sigpipe", "%d", handled);
	later_join();
	settle();
	TRY("next", sendfile(pair->a, file, NULL, 100));
	note("sigpipe-next", "%d", handled);
	get("receive", pair->a, 64, MSG_DONTWAIT);
}

/* A pipe that is spliced into a connection without room keeps what was not taken. */
static void splice_in_full(struct pair *pair, int unused)
{
	static char text[60000], sink[1 << 16];
	uint64_t sent = fill_pipe(pair->a), total = 0;
	ssize_t moved = 0, got;
	int ends[2], left = -1;

	(void)unused;
	if (pipe2(ends, O_CLOEXEC) < 0)
		note("FAILED", "pipe");
	fcntl(pair->a, F_SETFL, O_NONBLOCK);
	TRY("write", write(ends[1], text, sizeof(text)));
	for (int i = 0; i < 50 && moved >= 0; i++) {
		moved = splice(ends[0], NULL, pair->a, NULL, sizeof(text), SPLICE_F_NONBLOCK);
		sent += moved > 0 ? (uint64_t)moved : 0;
	}
	note_result("full", moved, errno);
	ioctl(ends[0], FIONREAD, &left);
	while (total < sent && (got = recv(pair->b, sink, sizeof(sink), 0)) > 0)
		total += (uint64_t)got;
	get("no-more", pair->b, 64, MSG_DONTWAIT);
	fcntl(pair->a, F_SETFL, 0);
	moved = left ? splice(ends[0], NULL, pair->a, NULL, sizeof(text), 0) : 0;
	note("rest", "%s", moved == left ? "same" : "other");
}

/* MSG_FASTOPEN on a connection that is up is an error. argument 1: bytes are unread at the other end, 2: at this one */
static void fast_open_connected(struct pair *pair, int unread)
{
	struct iovec vector = { "fast", 4 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };

	if (unread)
		put(unread == 1 ? pair->a : pair->b, "unread");
	settle();
	TRY("send", send(pair->a, "fast", 4, MSG_FASTOPEN | MSG_NOSIGNAL));
	TRY("sendto", sendto(pair->a, "fast", 4, MSG_FASTOPEN | MSG_NOSIGNAL, NULL, 0));
	TRY("sendmsg", sendmsg(pair->a, &message, MSG_FASTOPEN | MSG_NOSIGNAL));
	settle();
	get("other", pair->b, 64, MSG_DONTWAIT);
	get("own", pair->a, 64, MSG_DONTWAIT);
	round_trip("trip", pair);
}

/* More messages than sendmmsg(2) takes at once: recvmmsg(2) has no limit. */
static void many_messages(struct pair *pair, int flags)
{
	static struct mmsghdr messages[MANY];
	static char bytes[MANY][2];
	static struct iovec vectors[MANY];
	struct timeval some = { .tv_sec = 2 };

	for (int i = 0; i < MANY; i++) {
		vectors[i] = (struct iovec){ bytes[i], sizeof(bytes[i]) };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &vectors[i], .msg_iovlen = 1 };
	}
	put_bytes(pair->a, sizeof(bytes), 1);
	settle();
	TRY("timeout", setsockopt(pair->b, SOL_SOCKET, SO_RCVTIMEO, &some, sizeof(some)));
	TRY("received", recvmmsg(pair->b, messages, MANY, flags, NULL));
	note_data("data", &bytes[0][0], sizeof(bytes), 0);
	round_trip("trip", pair);
}

static const struct semantics_case cases[] = {
	{ "recvmmsg-many", many_messages, 0, 0 },
	{ "recvmmsg-many-at-once", many_messages, MSG_DONTWAIT, 0 },
	{ "fast-open-connected", fast_open_connected, 0, 0 },
	{ "fast-open-connected-unread", fast_open_connected, 1, 0 },
	{ "fast-open-connected-own-unread", fast_open_connected, 2, 0 },
	{ "raw-duplicate", fd_taken, 0, 0 },
	{ "aio", asynchronous, 0, 0 },
	{ "stdio-stdin", standard_input, -1, 0 },
	{ "stdio-stdin-signal-interrupts", standard_input, 0, 0 },
	{ "stdio-stdin-signal-restart", standard_input, SA_RESTART, 0 },
	{ "connect-mptcp", multipath, 0, CASE_BARE },
	{ "family-changed", family_changed, 0, CASE_BARE },
	{ "family-changed-unread", family_changed, 1, CASE_BARE },
	{ "fd-numbers", numbers, 0, 0 },
	{ "sendfile-signal-jump", send_file_jump, 0, 0 },
	{ "sendfile-signal-jump-masked", send_file_jump, 1, 0 },
	{ "sendfile-signal-jump-blocked", send_file_jump, 2, 0 },
	{ "sendfile-signal-interrupts", send_file_signal, 0, 0 },
	{ "sendfile-signal-restart", send_file_signal, SA_RESTART, 0 },
	{ "sendfile-peer-closes", send_file_peer_ends, 0, 0 },
	{ "sendfile-peer-resets", send_file_peer_ends, 1, 0 },
	{ "splice-in-full", splice_in_full, 0, 0 },
};
FAMILY(odds);
