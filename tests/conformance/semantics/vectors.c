/* SPDX-License-Identifier: BSD-2-Clause */
/* Vectors: readv, writev, recvmsg, sendmsg, recvmmsg, sendmmsg, preadv2, pwritev2 with odd shapes. */
#include "semantics.h"

#include <limits.h>
#include <sys/mman.h>

static void scattered(struct pair *pair, int unused)
{
	char one[2] = "", two[4] = "", three[64] = "";
	struct iovec out[] = { { "ab", 2 }, { NULL, 0 }, { "cdef", 4 }, { "", 0 }, { "g", 1 } };
	struct iovec in[] = { { one, 2 }, { NULL, 0 }, { two, 3 }, { three, sizeof(three) } };

	(void)unused;
	TRY("writev", writev(pair->a, out, 5));
	settle();
	TRY("readv", readv(pair->b, in, 4));
	note("parts", "%.2s %.3s %s", one, two, three);
}

/* As many vectors as there may be, and one more, of a byte each. */
static void many_vectors(struct pair *pair, int count)
{
	struct iovec *vector = calloc((size_t)count, sizeof(*vector));
	char *bytes = malloc((size_t)count), *sink = calloc(1, (size_t)count);
	struct msghdr message = { .msg_iov = vector, .msg_iovlen = (size_t)count };

	fill(bytes, (size_t)count, 3);
	for (int i = 0; i < count; i++)
		vector[i] = (struct iovec){ bytes + i, 1 };
	TRY("writev", writev(pair->a, vector, count));
	TRY("sendmsg", sendmsg(pair->a, &message, 0));
	settle();
	for (int i = 0; i < count; i++)
		vector[i] = (struct iovec){ sink + i, 1 };
	GET("readv", sink, readv(pair->b, vector, count));
	GET("recvmsg", sink, recvmsg(pair->b, &message, MSG_DONTWAIT));
	get("rest", pair->b, 4096, MSG_DONTWAIT);
}

/* A receive that collects a vector of single bytes from sends that come one after the other. */
static void vector_in_parts(struct pair *pair, int count)
{
	struct iovec *vector = calloc((size_t)count, sizeof(*vector));
	char *sink = calloc(1, (size_t)count);
	struct msghdr message = { .msg_iov = vector, .msg_iovlen = (size_t)count };

	for (int i = 0; i < count; i++)
		vector[i] = (struct iovec){ sink + i, 1 };
	put_bytes(pair->a, 3, 1);
	later_put_bytes(SOON_MS, pair->a, 40, 2);
	later_put_bytes(2 * SOON_MS, pair->a, (size_t)count - 43, 3);
	GET("recvmsg", sink, recvmsg(pair->b, &message, MSG_WAITALL));
	later_join();
	get("rest", pair->b, 64, MSG_DONTWAIT);
}

/* Volatile: the compiler is not to see through them. */
static volatile int minus_one = -1;
static volatile size_t largest = SSIZE_MAX;

static void bad_counts(struct pair *pair, int unused)
{
	char byte;
	struct iovec vector = { &byte, 1 }, huge[2] = { { &byte, SSIZE_MAX }, { &byte, 1 } };

	(void)unused;
	TRY("readv-negative", readv(pair->b, &vector, minus_one));
	TRY("writev-negative", writev(pair->a, &vector, minus_one));
	TRY("writev-overflow", writev(pair->a, huge, 2));
	put(pair->a, "abc");
	settle();
	TRY("readv-overflow", readv(pair->b, huge, 2));
	get("data", pair->b, 64, MSG_DONTWAIT);
}

static void message_results(struct pair *pair, int unused)
{
	char text[64], control[256];
	struct sockaddr_storage name;
	struct iovec vector = { text, sizeof(text) };
	struct msghdr message = { .msg_name = &name,
				  .msg_namelen = sizeof(name),
				  .msg_iov = &vector,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control),
				  .msg_flags = 0x5555 };
	socklen_t length = sizeof(name);

	(void)unused;
	put(pair->a, "hello");
	settle();
	GET("recvmsg", text, recvmsg(pair->b, &message, 0));
	note("namelen", "%u", message.msg_namelen);
	note("controllen", "%zu", (size_t)message.msg_controllen);
	note("flags", "%x", message.msg_flags);
	put(pair->a, "world");
	settle();
	GET("recvfrom", text, recvfrom(pair->b, text, 64, 0, (struct sockaddr *)&name, &length));
	note("length", "%u", length);
	message.msg_namelen = sizeof(name);
	message.msg_controllen = sizeof(control);
	GET("recvmsg-empty", text, recvmsg(pair->b, &message, MSG_DONTWAIT));
	note("namelen-empty", "%u", message.msg_namelen);
	shutdown(pair->a, SHUT_WR);
	settle();
	GET("recvmsg-end", text, recvmsg(pair->b, &message, 0));
	note("namelen-end", "%u", message.msg_namelen);
	note("flags-end", "%x", message.msg_flags);
}

#define MESSAGES 4
static void fill_messages(struct mmsghdr *messages, struct iovec *vectors, char (*texts)[8], size_t bytes)
{
	memset(messages, 0, MESSAGES * sizeof(*messages));
	memset(texts, 0, MESSAGES * sizeof(*texts));
	for (int i = 0; i < MESSAGES; i++) {
		vectors[i] = (struct iovec){ texts[i], bytes };
		messages[i].msg_hdr.msg_iov = &vectors[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
}

static void note_messages(const char *field, int result, const struct mmsghdr *messages, char (*texts)[8])
{
	char text[128] = "";

	note_result(field, result, errno);
	for (int i = 0; i < result; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), " %u:%.*s", messages[i].msg_len,
			 (int)messages[i].msg_len, texts[i]);
	note("messages", "%s", text);
}

/* argument: flags of recvmmsg; bytes for two and a half messages wait */
static void receive_messages(struct pair *pair, int flags)
{
	struct mmsghdr messages[MESSAGES];
	struct iovec vectors[MESSAGES];
	char texts[MESSAGES][8];
	struct timespec timeout = { .tv_nsec = 200000000 };

	put(pair->a, "aaaabbbbcc");
	settle();
	if (!(flags & (MSG_DONTWAIT | MSG_WAITFORONE)))
		later_put(SOON_MS, pair->a, flags & MSG_WAITALL ? "ddeeee" : "ddee");
	fill_messages(messages, vectors, texts, 4);
	note_messages("receive", recvmmsg(pair->b, messages, MESSAGES, flags, &timeout), messages, texts);
	later_join();
	settle();
	get("rest", pair->b, 64, MSG_DONTWAIT);
	TRY("none", recvmmsg(pair->b, messages, MESSAGES, MSG_DONTWAIT, NULL));
	TRY("zero", recvmmsg(pair->b, messages, 0, MSG_DONTWAIT, NULL));
	timeout.tv_nsec = 2000000000;
	TRY("bad-time", recvmmsg(pair->b, messages, MESSAGES, MSG_DONTWAIT, &timeout));
	shutdown(pair->a, SHUT_WR);
	settle();
	fill_messages(messages, vectors, texts, 4);
	note_messages("end", recvmmsg(pair->b, messages, 2, 0, NULL), messages, texts);
}

static void receive_messages_error(struct pair *pair, int unused)
{
	struct mmsghdr messages[MESSAGES];
	struct iovec vectors[MESSAGES];
	char texts[MESSAGES][8];

	(void)unused;
	put(pair->a, "aaaabbbb");
	later_reset(0, pair->a);
	later_join();
	settle();
	fill_messages(messages, vectors, texts, 4);
	note_messages("receive", recvmmsg(pair->b, messages, MESSAGES, 0, NULL), messages, texts);
	fill_messages(messages, vectors, texts, 4);
	note_messages("next", recvmmsg(pair->b, messages, MESSAGES, 0, NULL), messages, texts);
	get("last", pair->b, 64, 0);
}

static void end_and_reset(void *fd)
{
	const struct linger none = { .l_onoff = 1 };

	shutdown(*(int *)fd, SHUT_WR);
	setsockopt(*(int *)fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	close(*(int *)fd);
}

/* Behind a FIN the error is no receive's: these messages are empty. */
static void receive_messages_end_midway(struct pair *pair, int unused)
{
	struct mmsghdr messages[MESSAGES];
	struct iovec vectors[MESSAGES];
	char texts[MESSAGES][8];

	(void)unused;
	put(pair->a, "aaaabbbb");
	settle();
	later_call(SOON_MS, end_and_reset, &pair->a);
	fill_messages(messages, vectors, texts, 4);
	note_messages("receive", recvmmsg(pair->b, messages, MESSAGES, 0, NULL), messages, texts);
	later_join();
	settle();
	TRY("next", recvmmsg(pair->b, messages, MESSAGES, 0, NULL));
	get("last", pair->b, 64, 0);
}

/* The peer resets while a later message is waited for: that is the next call's. 0: recvmmsg's, 1: recv's, 2: send's, 3: SO_ERROR's */
static void receive_messages_error_midway(struct pair *pair, int next)
{
	struct mmsghdr messages[MESSAGES];
	struct iovec vectors[MESSAGES];
	char texts[MESSAGES][8];
	int error = -1;
	socklen_t length = sizeof(error);

	put(pair->a, "aaaabbbb");
	settle();
	later_reset(SOON_MS, pair->a);
	fill_messages(messages, vectors, texts, 4);
	note_messages("receive", recvmmsg(pair->b, messages, MESSAGES, 0, NULL), messages, texts);
	later_join();
	settle();
	fill_messages(messages, vectors, texts, 4);
	if (next == 0)
		note_messages("next", recvmmsg(pair->b, messages, MESSAGES, 0, NULL), messages, texts);
	else if (next == 1)
		get("next", pair->b, 64, 0);
	else if (next == 2)
		TRY("next", send(pair->b, "x", 1, MSG_NOSIGNAL));
	else
		TRY("next", getsockopt(pair->b, SOL_SOCKET, SO_ERROR, &error, &length));
	note("error", "%s", error > 0 ? errno_text(error) : "0");
	get("last", pair->b, 64, 0);
	TRY("send", send(pair->b, "x", 1, MSG_NOSIGNAL));
}

/* The same on a connection that has not been accelerated yet, or never is. */
static void receive_messages_error_early(struct pair *unused, int next)
{
	uint16_t port_h;
	int listener = listen_any(&port_h);
	struct sockaddr_in address = loopback_at(port_h);
	struct pair pair = { socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), -1 };

	(void)unused;
	TRY("connect", connect(pair.a, (struct sockaddr *)&address, sizeof(address)));
	pair.b = accept(listener, NULL, NULL);
	receive_messages_error_midway(&pair, next);
}

/* How much of the time is left; and none at all: the call ends after the first message. 2: none, and nothing there for a while */
static void receive_messages_time(struct pair *pair, int what)
{
	struct mmsghdr messages[MESSAGES];
	struct iovec vectors[MESSAGES];
	char texts[MESSAGES][8];
	struct timespec timeout = { .tv_sec = what == 0 ? 50 : 0 };

	if (what == 2)
		later_put(SOON_MS, pair->a, "aaaabbbbccccdddd");
	else
		put(pair->a, "aaaabbbbccccdddd");
	settle();
	fill_messages(messages, vectors, texts, 4);
	note_messages("receive", recvmmsg(pair->b, messages, MESSAGES, 0, &timeout), messages, texts);
	note("left", "%ld", (long)timeout.tv_sec + (timeout.tv_nsec > 0));
	later_join();
	settle();
	get("rest", pair->b, 64, MSG_DONTWAIT);
	timeout = (struct timespec){ .tv_sec = 7 };
	TRY("none", recvmmsg(pair->b, messages, MESSAGES, MSG_DONTWAIT, &timeout));
	note("untouched", "%ld", (long)timeout.tv_sec);
}

/* More messages than one call may have, of a byte each. */
static void many_messages(struct pair *pair, int count)
{
	struct mmsghdr *messages = calloc((size_t)count, sizeof(*messages));
	struct iovec *vectors = calloc((size_t)count, sizeof(*vectors));
	char *bytes = malloc((size_t)count), *sink = calloc(1, (size_t)count);
	int whole = 0;

	fill(bytes, (size_t)count, 3);
	for (int i = 0; i < count; i++) {
		vectors[i] = (struct iovec){ bytes + i, 1 };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &vectors[i], .msg_iovlen = 1 };
	}
	int sent = (int)TRY("send", sendmmsg(pair->a, messages, (unsigned)count, 0));
	for (int i = 0; i < sent; i++)
		whole += messages[i].msg_len == 1;
	note("whole", "%d", whole);
	pause_ms(60);
	for (int i = 0; i < count; i++)
		vectors[i].iov_base = sink + i;
	int got = (int)TRY("receive", recvmmsg(pair->b, messages, (unsigned)count, MSG_DONTWAIT, NULL));
	note("same", "%d", got > 0 && memcmp(bytes, sink, (size_t)got) == 0);
	get("rest", pair->b, 64, MSG_DONTWAIT);
}

static void send_messages(struct pair *pair, int unused)
{
	struct iovec vectors[] = { { "abc", 3 }, { NULL, 0 }, { "defg", 4 }, { (void *)8, 4 } };
	struct mmsghdr messages[4] = { 0 };

	(void)unused;
	for (int i = 0; i < 4; i++)
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &vectors[i], .msg_iovlen = 1 };
	TRY("three", sendmmsg(pair->a, messages, 3, 0));
	note("lengths", "%u %u %u", messages[0].msg_len, messages[1].msg_len, messages[2].msg_len);
	settle();
	get("data", pair->b, 64, MSG_DONTWAIT);
	TRY("bad-last", sendmmsg(pair->a, messages, 4, 0));
	settle();
	get("data2", pair->b, 64, MSG_DONTWAIT);
	TRY("bad-first", sendmmsg(pair->a, messages + 3, 1, 0));
	TRY("none", sendmmsg(pair->a, messages, 0, 0));
	shutdown(pair->a, SHUT_WR);
	TRY("after-shutdown", sendmmsg(pair->a, messages, 3, MSG_NOSIGNAL));
	settle();
	get("end", pair->b, 64, MSG_DONTWAIT);
}

static void positions(struct pair *pair, int unused)
{
	char text[16];
	struct iovec out = { "hello", 5 }, in = { text, sizeof(text) };

	(void)unused;
	TRY("pwritev2", pwritev2(pair->a, &out, 1, -1, 0));
	settle();
	GET("preadv2", text, preadv2(pair->b, &in, 1, -1, 0));
	TRY("preadv2-nowait", preadv2(pair->b, &in, 1, -1, RWF_NOWAIT));
	TRY("pwritev2-nowait", pwritev2(pair->a, &out, 1, -1, RWF_NOWAIT));
	settle();
	GET("preadv2-nowait-data", text, preadv2(pair->b, &in, 1, -1, RWF_NOWAIT));
	TRY("pread", pread(pair->b, text, 4, 0));
	TRY("pwrite", pwrite(pair->a, "x", 1, 0));
	TRY("preadv2-offset", preadv2(pair->b, &in, 1, 0, 0));
	TRY("preadv2-flags", preadv2(pair->b, &in, 1, -1, 0x40000000));
	TRY("seek", lseek(pair->b, 0, SEEK_CUR));
	TRY("sync", fsync(pair->a));
	round_trip("trip", pair);
}

static void huge_lengths(struct pair *pair, int unused)
{
	/* At a low address: how far it is to the end of the address space decides about EFAULT. */
	char *text = mmap((void *)0x20000000, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec vector[] = { { text, 3 }, { text + 3, 61 } };

	(void)unused;
	put(pair->a, "abc");
	settle();
	GET("recv-1t", text, recv(pair->b, text, (size_t)1 << 40, MSG_DONTWAIT));
	put(pair->a, "def");
	settle();
	GET("read-max", text, read(pair->b, text, largest));
	TRY("recv-size-max", recv(pair->b, text, SIZE_MAX, MSG_DONTWAIT));
	TRY("send-size-max", send(pair->a, text, SIZE_MAX, MSG_DONTWAIT));
	put(pair->a, "ghijk");
	settle();
	GET("rest", text, readv(pair->b, vector, 2));
}

static const struct semantics_case cases[] = {
	{ "vector-scattered", scattered, 0, 0 },
	{ "vector-1023", many_vectors, IOV_MAX - 1, 0 },
	{ "vector-iov-max", many_vectors, IOV_MAX, 0 },
	{ "vector-above-iov-max", many_vectors, IOV_MAX + 1, 0 },
	{ "vector-in-parts", vector_in_parts, IOV_MAX, 0 },
	{ "vector-bad-counts", bad_counts, 0, 0 },
	{ "recvmsg-results", message_results, 0, 0 },
	{ "recvmmsg", receive_messages, 0, 0 },
	{ "recvmmsg-waitall", receive_messages, MSG_WAITALL, 0 },
	{ "recvmmsg-waitforone", receive_messages, MSG_WAITFORONE, 0 },
	{ "recvmmsg-dontwait", receive_messages, MSG_DONTWAIT, 0 },
	{ "recvmmsg-peek", receive_messages, MSG_PEEK | MSG_WAITFORONE, 0 },
	{ "recvmmsg-reset", receive_messages_error, 0, 0 },
	{ "recvmmsg-end-midway", receive_messages_end_midway, 0, 0 },
	{ "recvmmsg-reset-midway", receive_messages_error_midway, 0, 0 },
	{ "recvmmsg-reset-midway-recv", receive_messages_error_midway, 1, 0 },
	{ "recvmmsg-reset-midway-send", receive_messages_error_midway, 2, 0 },
	{ "recvmmsg-reset-midway-so-error", receive_messages_error_midway, 3, 0 },
	{ "recvmmsg-reset-early", receive_messages_error_early, 0, CASE_BARE },
	{ "recvmmsg-reset-early-recv", receive_messages_error_early, 1, CASE_BARE },
	{ "recvmmsg-reset-early-send", receive_messages_error_early, 2, CASE_BARE },
	{ "recvmmsg-reset-early-so-error", receive_messages_error_early, 3, CASE_BARE },
	{ "recvmmsg-time-left", receive_messages_time, 0, 0 },
	{ "recvmmsg-time-zero", receive_messages_time, 1, 0 },
	{ "recvmmsg-time-zero-blocks", receive_messages_time, 2, 0 },
	{ "recvmmsg-iov-max", many_messages, IOV_MAX, 0 },
	{ "recvmmsg-above-iov-max", many_messages, IOV_MAX + 6, 0 },
	{ "sendmmsg", send_messages, 0, 0 },
	{ "positions", positions, 0, 0 },
	{ "huge-lengths", huge_lengths, 0, 0 },
};
FAMILY(vectors);
