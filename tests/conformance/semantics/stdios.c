/* SPDX-License-Identifier: BSD-2-Clause */
/* Bytes that go past the wrappers on an armed connection: stdio, dprintf, raw system calls. */
#include "semantics.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static void note_line(const char *field, char *line)
{
	if (line)
		line[strcspn(line, "\n")] = 0;
	note(field, "%s", line ? line : "(null)");
}

static void streams(struct pair *pair, int two_files)
{
	FILE *in = fdopen(pair->b, two_files ? "r" : "r+"), *out = two_files ? fdopen(dup(pair->b), "w") : in;
	char line[64];

	put(pair->a, "line one\nline");
	note_line("first", fgets(line, sizeof(line), in));
	put(pair->a, " two\nline three\n");
	note_line("second", fgets(line, sizeof(line), in));
	note_line("third", fgets(line, sizeof(line), in));
	TRY("print", fprintf(out, "answer %d\n", 42));
	TRY("flush", fflush(out));
	get("answer", pair->a, 64, 0);
	later_put(SOON_MS, pair->a, "later\n");
	note_line("fourth", fgets(line, sizeof(line), in));
	shutdown(pair->a, SHUT_WR);
	note_line("end", fgets(line, sizeof(line), in));
	note("feof", "%d", feof(in) != 0);
	if (two_files)
		TRY("close-out", fclose(out));
	TRY("close", fclose(in));
	get("peer-end", pair->a, 64, 0);
}

/* Data is unread when the stream is made, and read by both. */
static void stream_with_unread(struct pair *pair, int unused)
{
	char line[64];

	(void)unused;
	put(pair->a, "unread\nnext\n");
	settle();
	get("direct", pair->b, 3, 0);
	FILE *in = fdopen(pair->b, "r");
	setvbuf(in, NULL, _IONBF, 0);
	note_line("rest", fgets(line, sizeof(line), in));
	get("direct-next", pair->b, 64, MSG_DONTWAIT);
	fclose(in);
}

static void stream_signal(struct pair *pair, int flags)
{
	FILE *in = fdopen(pair->b, "r");
	char line[64];

	handle(SIGUSR1, flags);
	later_signal(SOON_MS, SIGUSR1);
	later_put(3 * SOON_MS, pair->a, "hello\n");
	errno = 0;
	note_line("line", fgets(line, sizeof(line), in));
	note("error", "%d %s", ferror(in) != 0, errno ? errno_text(errno) : "0");
}

static void stream_large(struct pair *pair, int unused)
{
	static char buffer[200000];
	FILE *in = fdopen(pair->b, "r");

	(void)unused;
	later_put_bytes(0, pair->a, sizeof(buffer), 3);
	size_t got = fread(buffer, 1, sizeof(buffer), in);
	note_data("data", buffer, (ssize_t)got, 0);
}

static void print_to_fd(struct pair *pair, int unused)
{
	(void)unused;
	for (int i = 0; i < 5; i++) {
		TRY("print", dprintf(pair->a, "number %d", i));
		get("data", pair->b, 64, 0);
		TRY("back", dprintf(pair->b, "back %d", i));
		get("answer", pair->a, 64, 0);
	}
	round_trip("trip", pair);
}

static long raw_receive(int fd, void *buffer, size_t bytes, int flags)
{
	return syscall(SYS_recvfrom, fd, buffer, bytes, flags, NULL, NULL);
}

static void raw_reader(struct pair *pair, int unused)
{
	char text[64];

	(void)unused;
	later_put(SOON_MS, pair->a, "hello");
	GET("blocked", text, raw_receive(pair->b, text, sizeof(text), 0));
	later_join();
	put(pair->a, "mixed");
	settle();
	GET("raw", text, raw_receive(pair->b, text, 2, 0));
	get("wrapped", pair->b, 64, 0);
	GET("raw-empty", text, raw_receive(pair->b, text, 2, MSG_DONTWAIT));
	round_trip("trip", pair);
}

/* A raw sender against a wrapped reader: counts, short reads, FIONREAD. */
static void raw_writer(struct pair *pair, int unused)
{
	static char buffer[30000];
	int bytes = -1;

	(void)unused;
	fill(buffer, sizeof(buffer), 1);
	TRY("raw-send", syscall(SYS_sendto, pair->a, "hello", 5, 0, NULL, 0));
	TRY("raw-large", syscall(SYS_sendto, pair->a, buffer, sizeof(buffer), 0, NULL, 0));
	settle();
	ioctl(pair->b, FIONREAD, &bytes);
	note("unread", "%d", bytes);
	GET("data", buffer, recv(pair->b, buffer, sizeof(buffer), 0));
	get("rest", pair->b, 64, MSG_DONTWAIT);
	round_trip("trip", pair);
}

/* Read past the wrappers, then asked by them. */
static void raw_then_counts(struct pair *pair, int unused)
{
	char text[64];
	int bytes = -1;

	(void)unused;
	put(pair->a, "0123456789");
	settle();
	GET("raw", text, raw_receive(pair->b, text, 4, 0));
	ioctl(pair->b, FIONREAD, &bytes);
	note("unread", "%d", bytes);
	get("rest", pair->b, 64, MSG_DONTWAIT);
	put(pair->a, "abc");
	put(pair->a, "defghijklmnopq");
	settle();
	get("both", pair->b, 64, MSG_DONTWAIT);
	ioctl(pair->b, FIONREAD, &bytes);
	note("unread-none", "%d", bytes);
}

static void raw_close(struct pair *pair, int unused)
{
	struct pair next;

	(void)unused;
	TRY("close", syscall(SYS_close, pair->b));
	settle();
	get("end", pair->a, 64, MSG_DONTWAIT);
	pair_make(&next, true); /* takes the number again */
	round_trip("trip", &next);
	TRY("raw-dup2", syscall(SYS_dup3, next.b, next.a, 0));
	settle();
	get("own-end", next.b, 64, MSG_DONTWAIT);
}

/* The number becomes a file's, and no wrapper sees that. */
static void raw_file(struct pair *pair, int unused)
{
	static char buffer[3 << 20], back[64];
	struct iovec vector[2] = { { buffer, 3000 }, { buffer, 10 } };
	int file = memfd_create("file", MFD_CLOEXEC);

	(void)unused;
	TRY("dup2", syscall(SYS_dup3, file, pair->a, 0) == pair->a);
	TRY("write", write(pair->a, "abc", 3));
	TRY("write-3000", write(pair->a, buffer, 3000));
	TRY("write-200k", write(pair->a, buffer, 200000));
	TRY("write-3m", write(pair->a, buffer, sizeof(buffer)));
	TRY("writev", writev(pair->a, vector, 2));
	TRY("send", send(pair->a, "abc", 3, 0));
	TRY("send-3m", send(pair->a, buffer, sizeof(buffer), 0));
	TRY("seek", lseek(pair->a, 0, SEEK_SET));
	GET("read", back, read(pair->a, back, 3));
	TRY("readv", readv(pair->a, vector, 2));
	TRY("recv", recv(pair->a, back, sizeof(back), 0));
	TRY("length", lseek(file, 0, SEEK_END));
}

static int close_unseen(int fd)
{
#if defined(__x86_64__)
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(SYS_close), "D"(fd) : "rcx", "r11", "memory");
	return (int)result;
#else
	return (int)syscall(SYS_close, fd);
#endif
}

/* The number becomes that of a socket that has messages, and no wrapper sees it, or one that libc's syscall() has. Before there were some more for it:
 * two are not taken for one. */
static void raw_messages(struct pair *pair, int by_call)
{
	const struct timeval soon = { .tv_usec = SOON_MS * 1000 };
	int messages[2], process = (int)syscall(SYS_pidfd_open, getpid(), 0);

	put(pair->a, "unread");
	settle();
	TRY("messages", socketpair(AF_UNIX, SOCK_SEQPACKET, 0, messages));
	if (by_call) {
		TRY("dup3", syscall(SYS_dup3, messages[0], pair->b, 0) == pair->b);
	} else { /* a number from outside, where it was free for a moment */
		TRY("close", close_unseen(pair->b));
		TRY("dup", (int)syscall(SYS_pidfd_getfd, process, messages[0], 0) == pair->b);
	}
	TRY("first", send(messages[1], "first", 5, 0));
	TRY("second", send(messages[1], "second", 6, 0));
	get("one", pair->b, 64, 0);
	get("other", pair->b, 64, MSG_DONTWAIT);
	get("none", pair->b, 64, MSG_DONTWAIT);
	TRY("timeout", setsockopt(pair->b, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon)));
	get("timed", pair->b, 64, 0);
}

/* The number becomes that of another connection, with bytes unread, and no wrapper sees it. The close is of that number only. */
static void raw_another(struct pair *pair, int unused)
{
	struct linger linger = { 0 };
	socklen_t length = sizeof(linger);
	int process = (int)syscall(SYS_pidfd_open, getpid(), 0);
	struct pair other;

	(void)unused;
	note("made", "%d", pair_make(&other, true) || !getenv("LD_PRELOAD"));
	put(other.a, "unread");
	settle();
	TRY("raw-close", close_unseen(pair->b));
	TRY("dup", (int)syscall(SYS_pidfd_getfd, process, other.b, 0) == pair->b);
	TRY("close", close(pair->b));
	TRY("linger", getsockopt(other.b, SOL_SOCKET, SO_LINGER, &linger, &length));
	note("resets", "%d", linger.l_onoff);
	get("end", pair->a, 64, 0);
	get("data", other.b, 64, 0);
	round_trip("trip", &other);
}

static void raw_signal(struct pair *pair, int flags)
{
	char text[64];

	handle(SIGUSR1, flags);
	later_signal(SOON_MS, SIGUSR1);
	later_put(3 * SOON_MS, pair->a, "hello");
	GET("raw", text, raw_receive(pair->b, text, sizeof(text), 0));
	later_join();
	settle();
	get("wrapped", pair->b, 64, MSG_DONTWAIT);
}

/* glibc's own name of a function, which no header has; musl has none. */
#define SECOND_NAME(name)                                                                                              \
	({                                                                                                             \
		__typeof__(name) *second = (__typeof__(name) *)dlsym(RTLD_DEFAULT, "__" #name);                        \
		second ? second : name;                                                                                \
	})

static void second_names(struct pair *pair, int flags)
{
	struct pollfd poller = { .fd = pair->b, .events = POLLIN };
	char text[64];

	handle(SIGUSR1, flags);
	later_signal(SOON_MS, SIGUSR1);
	later_put(3 * SOON_MS, pair->a, "hello");
	GET("read", text, SECOND_NAME(read)(pair->b, text, sizeof(text)));
	later_join();
	settle();
	get("rest", pair->b, 64, MSG_DONTWAIT);
	TRY("write", SECOND_NAME(write)(pair->a, "abc", 3));
	TRY("send", SECOND_NAME(send)(pair->a, "def", 3, MSG_NOSIGNAL));
	note_events("poll", SECOND_NAME(poll)(&poller, 1, 1000), (unsigned)poller.revents, errno);
	TRY("dup2", SECOND_NAME(dup2)(pair->b, 200) == 200);
	TRY("close", SECOND_NAME(close)(pair->b));
	pair->b = 200;
	settle();
	get("both", pair->b, 64, 0);
	put(pair->a, "unread");
	settle();
	TRY("close-last", SECOND_NAME(close)(pair->b));
	pair->b = -1;
	get("peer", pair->a, 64, 0);
}

/* The stream is made first. */
static void stream_before_connect(struct pair *pair, int flags)
{
	struct any_address address;
	int listener = pair_listen(&address);
	char line[64];

	pair->b = socket(address.any.sa_family, SOCK_STREAM, 0);
	FILE *in = fdopen(pair->b, "r");
	TRY("connect", connect(pair->b, &address.any, address.length));
	pair->a = accept(listener, NULL, NULL);
	pair_warm_up(pair);
	handle(SIGUSR1, flags);
	later_signal(SOON_MS, SIGUSR1);
	later_put(3 * SOON_MS, pair->a, "hello\n");
	note_line("line", fgets(line, sizeof(line), in));
	note("error", "%d", ferror(in) != 0);
}

static const struct semantics_case cases[] = {
	{ "stdio-one-stream", streams, 0, 0 },
	{ "stdio-two-streams", streams, 1, 0 },
	{ "stdio-unread", stream_with_unread, 0, 0 },
	{ "stdio-signal-interrupts", stream_signal, 0, 0 },
	{ "stdio-signal-restart", stream_signal, SA_RESTART, 0 },
	{ "stdio-large", stream_large, 0, 0 },
	{ "stdio-before-connect", stream_before_connect, SA_RESTART, CASE_BARE },
	{ "dprintf", print_to_fd, 0, 0 },
	{ "raw-reader", raw_reader, 0, 0 },
	{ "raw-writer", raw_writer, 0, 0 },
	{ "raw-then-counts", raw_then_counts, 0, 0 },
	{ "raw-close", raw_close, 0, 0 },
	{ "raw-close-another", raw_another, 0, 0 },
	{ "raw-file", raw_file, 0, 0 },
	{ "raw-messages", raw_messages, 0, 0 },
	{ "raw-messages-by-call", raw_messages, 1, 0 },
	{ "raw-signal-interrupts", raw_signal, 0, 0 },
	{ "raw-signal-restart", raw_signal, SA_RESTART, 0 },
	{ "second-names-interrupts", second_names, 0, 0 },
	{ "second-names-restart", second_names, SA_RESTART, 0 },
};
FAMILY(stdios);
