/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocking sends of many MB in a process of one thread, the reader in another process: what ends them early, and what is
 * left for the next call. */
#include "semantics.h"

#include <sys/mman.h>
#include <sys/wait.h>

#define MIB ((size_t)1 << 20)
#define LONG_BYTES (8 * MIB)
#define FAR_TOO_LONG_BYTES (64 * MIB)
#define CHUNK_BYTES (64u << 10)
#define ROUNDS 12

/* The peer's end goes to a child, which does that and ends. */
static pid_t start_peer(struct pair *pair, void (*function)(int fd, int argument), int argument)
{
	pid_t child = fork();

	if (child == 0) {
		close(pair->a);
		function(pair->b, argument);
		_exit(0);
	}
	close(pair->b);
	return child;
}

static void join_peer(pid_t child)
{
	int status = 0;

	waitpid(child, &status, 0);
	if (status)
		note("peer", "%d", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
}

static void read_some(int fd, size_t bytes)
{
	static char buffer[CHUNK_BYTES];
	ssize_t got = 1;

	for (size_t done = 0; done < bytes && got > 0; done += (size_t)got)
		got = recv(fd, buffer, bytes - done < sizeof(buffer) ? bytes - done : sizeof(buffer), 0);
}

static void reset_now(int fd)
{
	struct linger linger = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

static const char *how_much(ssize_t sent, size_t bytes)
{
	return sent < 0 ? errno_text(errno) : (size_t)sent == bytes ? "all" : sent > 0 ? "part" : "nothing";
}

static void peer_drains(int fd, int mib)
{
	drain("there", fd, (size_t)mib * MIB);
	put_bytes(fd, (size_t)mib * MIB, 2);
}

static void whole(struct pair *pair, int mib)
{
	size_t bytes = (size_t)mib * MIB;
	char *buffer = big_buffer(bytes);
	pid_t peer = start_peer(pair, peer_drains, mib);

	fill(buffer, bytes, 1);
	TRY("send", send(pair->a, buffer, bytes, 0));
	drain("back", pair->a, bytes);
	join_peer(peer);
}

static void peer_drains_slowly(int fd, int unused)
{
	(void)unused;
	for (size_t done = 0; done < LONG_BYTES; done += LONG_BYTES / 16) {
		drain("there", fd, LONG_BYTES / 16);
		pause_ms(5);
	}
}

static ssize_t send_how(int fd, const char *buffer, size_t bytes, int how)
{
	struct iovec vector[1024] = { 0 }, halves[2]; /* of every length, none included */
	struct mmsghdr messages[2] = { { .msg_hdr = { .msg_iov = &halves[0], .msg_iovlen = 1 } },
				       { .msg_hdr = { .msg_iov = &halves[1], .msg_iovlen = 1 } } };
	struct msghdr message = { .msg_iov = vector, .msg_iovlen = 1024 };
	size_t each = bytes / 512;

	for (size_t i = 0; i < 1024; i += 2)
		vector[i] = (struct iovec){ (char *)buffer + i / 2 * each, each };
	switch (how) {
	case 0:
		return write(fd, buffer, bytes);
	case 1:
		return sendto(fd, buffer, bytes, 0, NULL, 0);
	case 2:
		return writev(fd, vector, 1024);
	case 3:
		return sendmsg(fd, &message, MSG_NOSIGNAL);
	case 4:
		return send(fd, buffer, bytes, MSG_EOR);
	default: /* the kernel writes how much of each message went out */
		halves[0] = (struct iovec){ (char *)buffer, bytes / 2 };
		halves[1] = (struct iovec){ (char *)buffer + bytes / 2, bytes / 2 };
		note("messages", "%d", sendmmsg(fd, messages, 2, 0));
		return (ssize_t)messages[0].msg_len + messages[1].msg_len;
	}
}

static void each_call(struct pair *pair, int how)
{
	char *buffer = big_buffer(LONG_BYTES);
	struct timeval timeout = { .tv_sec = how == 6 ? 10 : 0 };
	pid_t peer = start_peer(pair, peer_drains_slowly, 0);

	setsockopt(pair->a, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	fill(buffer, LONG_BYTES, 1);
	TRY("send", send_how(pair->a, buffer, LONG_BYTES, how));
	put(pair->a, "x"); /* the peer may be gone: whatever */
	join_peer(peer);
}

/* ---- cut short ---- */

static void peer_signals(int fd, int mib)
{
	read_some(fd, (size_t)mib * MIB);
	pause_ms(3 * SOON_MS);
	kill(getppid(), SIGUSR1);
	pause_ms(2 * SOON_MS);
	shutdown(fd, SHUT_WR);
	read_some(fd, SIZE_MAX);
}

static void peer_signals_soon(int fd, int kib)
{
	read_some(fd, (size_t)kib << 10);
	pause_ms(SOON_MS);
	kill(getppid(), SIGUSR1);
	pause_ms(SOON_MS);
}

/* The pipe is full when a handler runs. 1: one with SA_RESTART, 2: after much has gone through it */
static void signalled(struct pair *pair, int how)
{
	char *buffer = big_buffer(FAR_TOO_LONG_BYTES);
	pid_t peer = start_peer(pair, peer_signals, how == 2 ? 3 : 0);

	handle(SIGUSR1, how == 1 ? SA_RESTART : 0);
	note("sent", "%s", how_much(send(pair->a, buffer, FAR_TOO_LONG_BYTES, 0), FAR_TOO_LONG_BYTES));
	note("handled", "%d", handled);
	close(pair->a);
	join_peer(peer);
}

/* The handler works on the connection: 0 closes it, 1 puts another in its place, 2 sends on it. */
static struct pair handler_other;
static int handler_fd, handler_how;
static void work_on_it(int number)
{
	(void)number;
	handled++;
	if (handler_how == 0)
		close(handler_fd);
	else if (handler_how == 1)
		dup2(handler_other.a, handler_fd);
	else
		send(handler_fd, "handler", 7, MSG_DONTWAIT);
}

static void handler_works(struct pair *pair, int how)
{
	struct sigaction action = { .sa_handler = work_on_it, .sa_flags = SA_RESTART };
	char *buffer = big_buffer(FAR_TOO_LONG_BYTES);
	pid_t peer;

	pair_make(&handler_other, true);
	handler_fd = pair->a;
	handler_how = how;
	sigaction(SIGUSR1, &action, NULL);
	peer = start_peer(pair, peer_signals, 1);
	note("sent", "%s", how_much(send(pair->a, buffer, FAR_TOO_LONG_BYTES, 0), FAR_TOO_LONG_BYTES));
	note("handled", "%d", handled);
	note_poll("other", handler_other.b, POLLIN, 20);
	close(pair->a);
	join_peer(peer);
}

/* At other moments: also when nothing of a piece has gone in yet, and the system call would be restarted, on the other file. */
static void many_handlers_replace(struct pair *pair, int unused)
{
	struct sigaction action = { .sa_handler = work_on_it, .sa_flags = SA_RESTART };
	char *buffer = big_buffer(FAR_TOO_LONG_BYTES);
	int parts = 0, astray = 0;

	(void)unused;
	handler_how = 1;
	sigaction(SIGUSR1, &action, NULL);
	for (int i = 0; i < ROUNDS; i++) {
		struct pair one;

		pair_make(&one, true);
		pair_make(&handler_other, true);
		handler_fd = one.a;
		pid_t peer = start_peer(&one, peer_signals_soon, 64 * i);
		parts += !strcmp(how_much(send(one.a, buffer, FAR_TOO_LONG_BYTES, 0), FAR_TOO_LONG_BYTES), "part");
		join_peer(peer);
		astray += recv(handler_other.b, buffer, 1, MSG_DONTWAIT) == 1;
		close(one.a);
		close(handler_other.a);
		close(handler_other.b);
	}
	note("parts", "%d", parts);
	note("astray", "%d", astray);
	round_trip("trip", pair);
}

static void peer_waits(int fd, int unused)
{
	(void)unused;
	pause_ms(8 * SOON_MS);
	close(fd);
}

static void peer_reads_slowly(int fd, int unused)
{
	(void)unused;
	for (int i = 0; i < 200; i++) {
		read_some(fd, CHUNK_BYTES);
		pause_ms(10);
	}
}

/* The time runs over the whole call, also when there is room now and then. */
static void times_out(struct pair *pair, int slowly)
{
	const unsigned ms = 100;
	struct timeval timeout = { .tv_usec = ms * 1000 };
	char *buffer = big_buffer(FAR_TOO_LONG_BYTES);
	uint64_t start = clock_ms();
	pid_t peer = start_peer(pair, slowly ? peer_reads_slowly : peer_waits, 0);

	setsockopt(pair->a, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	note("sent", "%s", how_much(send(pair->a, buffer, FAR_TOO_LONG_BYTES, 0), FAR_TOO_LONG_BYTES));
	note_waited("waited", start, ms);
	note("late", "%s", clock_ms() - start > 15 * ms ? "yes" : "no");
	close(pair->a);
	join_peer(peer);
}

static void never_waits(struct pair *pair, int flags)
{
	char *buffer = big_buffer(FAR_TOO_LONG_BYTES);
	pid_t peer = start_peer(pair, peer_waits, 0);

	if (!flags)
		fcntl(pair->a, F_SETFL, O_NONBLOCK);
	note("sent", "%s", how_much(send(pair->a, buffer, FAR_TOO_LONG_BYTES, flags), FAR_TOO_LONG_BYTES));
	join_peer(peer);
}

/* ---- errors ---- */

static void peer_reads_and_resets(int fd, int kib)
{
	read_some(fd, (size_t)kib << 10);
	pause_ms(SOON_MS);
	reset_now(fd);
}

static void note_next(const struct pair *pair, const char *buffer, int flags)
{
	note("sigpipe", "%d", handled);
	TRY("next", send(pair->a, buffer, 1, flags));
	note("sigpipe-next", "%d", handled);
	TRY("third", send(pair->a, buffer, 2 * MIB, flags));
	note("sigpipe-third", "%d", handled);
	TRY("receive", recv(pair->a, (char[8]){ 0 }, 8, 0));
}

static void peer_resets(struct pair *pair, int flags)
{
	char *buffer = big_buffer(FAR_TOO_LONG_BYTES);
	pid_t peer = start_peer(pair, peer_reads_and_resets, 3 << 10);

	handle(SIGPIPE, SA_RESTART);
	note("sent", "%s", how_much(send(pair->a, buffer, FAR_TOO_LONG_BYTES, flags), FAR_TOO_LONG_BYTES));
	join_peer(peer);
	note_next(pair, buffer, flags);
}

/* At other moments: early, late, in the middle of pieces. */
static void many_peers_reset(struct pair *pair, int unused)
{
	char *buffer = big_buffer(FAR_TOO_LONG_BYTES);
	int parts = 0, resets = 0, pipes = 0;

	(void)unused;
	handle(SIGPIPE, SA_RESTART);
	for (int i = 0; i < ROUNDS; i++) {
		struct pair one;

		pair_make(&one, true);
		pid_t peer = start_peer(&one, peer_reads_and_resets, 100 + 731 * i);
		parts += !strcmp(how_much(send(one.a, buffer, FAR_TOO_LONG_BYTES, 0), FAR_TOO_LONG_BYTES), "part");
		join_peer(peer);
		resets += send(one.a, buffer, 1, 0) < 0 && errno == ECONNRESET;
		pipes += send(one.a, buffer, 1, 0) < 0 && errno == EPIPE;
		close(one.a);
	}
	note("parts", "%d", parts);
	note("resets", "%d", resets);
	note("pipes", "%d", pipes);
	note("sigpipe", "%d", handled);
	round_trip("trip", pair);
}

static void after_shutdown(struct pair *pair, int flags)
{
	char *buffer = big_buffer(LONG_BYTES);
	pid_t peer = start_peer(pair, peer_waits, 0);

	handle(SIGPIPE, SA_RESTART);
	shutdown(pair->a, SHUT_WR);
	TRY("send", send(pair->a, buffer, LONG_BYTES, flags));
	note("sigpipe", "%d", handled);
	join_peer(peer);
}

static void peer_counts(int fd, int unused)
{
	static char buffer[CHUNK_BYTES];
	uint64_t sum = 0;
	ssize_t got;

	(void)unused;
	while ((got = recv(fd, buffer, sizeof(buffer), 0)) > 0)
		sum += (uint64_t)got;
	note("end", "%zd", got);
	put_bytes(fd, 1, 1);
	if (send(fd, &sum, sizeof(sum), MSG_NOSIGNAL) != sizeof(sum))
		_exit(1);
}

/* The buffer ends in the middle: what was sent is what came. */
static void bad_address(struct pair *pair, int good_mib)
{
	char *buffer = mmap(NULL, LONG_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t counted = 0;
	pid_t peer = start_peer(pair, peer_counts, 0);
	ssize_t sent;

	mprotect(buffer + (size_t)good_mib * MIB, LONG_BYTES - (size_t)good_mib * MIB, PROT_NONE);
	sent = send(pair->a, buffer, LONG_BYTES, 0);
	note("sent", "%s", how_much(sent, LONG_BYTES));
	shutdown(pair->a, SHUT_WR);
	get("mark", pair->a, 1, MSG_WAITALL);
	recv(pair->a, &counted, sizeof(counted), MSG_WAITALL);
	note("counted", "%s", counted == (sent > 0 ? (uint64_t)sent : 0) ? "the same" : "another");
	join_peer(peer);
}

static const struct semantics_case cases[] = {
	{ "long-2m", whole, 2, 0 },
	{ "long-8m", whole, 8, 0 },
	{ "long-20m", whole, 20, 0 },
	{ "long-8m-nagle", whole, 8, CASE_NAGLE },
	{ "long-write", each_call, 0, 0 },
	{ "long-sendto", each_call, 1, 0 },
	{ "long-writev", each_call, 2, 0 },
	{ "long-sendmsg", each_call, 3, 0 },
	{ "long-send-eor", each_call, 4, 0 },
	{ "long-sendmmsg", each_call, 5, 0 },
	{ "long-sendmmsg-sndtimeo", each_call, 6, 0 },
	{ "long-signal", signalled, 0, 0 },
	{ "long-signal-restart", signalled, 1, 0 },
	{ "long-signal-midway", signalled, 2, 0 },
	{ "long-handler-closes", handler_works, 0, 0 },
	{ "long-handler-replaces", handler_works, 1, 0 },
	{ "long-handler-sends", handler_works, 2, 0 },
	{ "many-handlers-replace", many_handlers_replace, 0, 0 },
	{ "long-sndtimeo", times_out, 0, 0 },
	{ "long-sndtimeo-slowly", times_out, 1, 0 },
	{ "long-nonblocking", never_waits, 0, 0 },
	{ "long-dontwait", never_waits, MSG_DONTWAIT, 0 },
	{ "long-peer-resets", peer_resets, 0, 0 },
	{ "long-peer-resets-nosignal", peer_resets, MSG_NOSIGNAL, 0 },
	{ "many-peers-reset", many_peers_reset, 0, 0 },
	{ "long-after-shutdown", after_shutdown, 0, 0 },
	{ "long-after-shutdown-nosignal", after_shutdown, MSG_NOSIGNAL, 0 },
	{ "long-bad-address", bad_address, 3, 0 },
	{ "long-bad-address-first", bad_address, 0, 0 },
};
FAMILY(pieces);
