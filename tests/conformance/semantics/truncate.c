/* SPDX-License-Identifier: BSD-2-Clause */
/* MSG_TRUNC, which makes TCP throw bytes away, and receives and sends of no bytes at all. */
#include "semantics.h"

#include <sys/mman.h>
#include <sys/resource.h>

static void discard(struct pair *pair, int with_buffer)
{
	char buffer[16] = "untouched";

	put(pair->a, "abcdef");
	settle();
	TRY("discard", recv(pair->b, with_buffer ? buffer : NULL, 3, MSG_TRUNC | MSG_DONTWAIT));
	note("buffer", "%s", buffer);
	get("rest", pair->b, 64, MSG_DONTWAIT);
}

static void discard_more_than_there_is(struct pair *pair, int unused)
{
	(void)unused;
	put(pair->a, "abcdef");
	settle();
	TRY("discard", recv(pair->b, NULL, 100, MSG_TRUNC | MSG_DONTWAIT));
	TRY("empty", recv(pair->b, NULL, 100, MSG_TRUNC | MSG_DONTWAIT));
	round_trip("trip", pair);
}

static void discard_blocks(struct pair *pair, int unused)
{
	char buffer[8] = "same";

	(void)unused;
	later_put(SOON_MS, pair->a, "abcdef");
	TRY("discard", recv(pair->b, buffer, 3, MSG_TRUNC));
	note("buffer", "%s", buffer);
	get("rest", pair->b, 64, 0);
}

static void discard_waitall(struct pair *pair, int unused)
{
	char buffer[8] = "same";

	(void)unused;
	later_put(SOON_MS, pair->a, "abc");
	later_put(2 * SOON_MS, pair->a, "def");
	TRY("discard", recv(pair->b, buffer, 6, MSG_TRUNC | MSG_WAITALL));
	note("buffer", "%s", buffer);
}

static void discard_large(struct pair *pair, int unused)
{
	size_t total = 0;

	(void)unused;
	later_put_bytes(0, pair->a, 300000, 1);
	while (total < 300000) {
		ssize_t got = recv(pair->b, NULL, 300000 - total, MSG_TRUNC);

		if (got <= 0) {
			note_result("discard", got, errno);
			break;
		}
		total += (size_t)got;
	}
	note("total", "%zu", total);
}

/* More than is copied at once where it must be copied. */
static void discard_all(struct pair *pair, int flags)
{
	const size_t bytes = 10 << 20;

	later_put_bytes(0, pair->a, bytes, 1);
	TRY("discard", recv(pair->b, NULL, bytes, MSG_TRUNC | flags));
	later_join();
	round_trip("trip", pair);
}

/* A message's results are the kernel's to write, in receives that copy nothing too. */
static void discard_message(struct pair *pair, int bytes)
{
	char buffer[8] = "same", control[64];
	struct sockaddr_storage name;
	struct iovec vector = { buffer, (size_t)bytes };
	struct msghdr message = { .msg_name = &name,
				  .msg_namelen = 77,
				  .msg_iov = &vector,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control),
				  .msg_flags = 0x55 };

	TRY("nothing-there", recvmsg(pair->b, &message, MSG_TRUNC | MSG_DONTWAIT));
	note("untouched", "%u %zu %x", message.msg_namelen, (size_t)message.msg_controllen, message.msg_flags);
	put(pair->a, "abcdef");
	settle();
	TRY("discard", recvmsg(pair->b, &message, MSG_TRUNC));
	note("results", "%u %zu %x", message.msg_namelen, (size_t)message.msg_controllen, message.msg_flags);
	note("buffer", "%s", buffer);
	get("rest", pair->b, 64, MSG_DONTWAIT);
}

/* The length of what waits, without copying. */
static void peek_length(struct pair *pair, int bytes)
{
	TRY("empty", recv(pair->b, NULL, 1 << 20, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT));
	put_bytes(pair->a, (size_t)bytes, 3);
	settle();
	TRY("length", recv(pair->b, NULL, 1 << 20, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT));
	put_bytes(pair->a, 3, 4);
	settle();
	TRY("length-more", recv(pair->b, NULL, 1 << 20, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT));
	drain("data", pair->b, (size_t)bytes + 3);
}

/* There is no memory for as much as is asked for, and TCP needs none. */
static void without_memory(struct pair *pair, int bytes)
{
	FILE *sizes = fopen("/proc/self/statm", "r");
	unsigned long pages = 0;

	put_bytes(pair->a, (size_t)bytes, 3);
	settle();
	note("read", "%d", sizes ? fscanf(sizes, "%lu", &pages) : -1);
	struct rlimit limit = { pages * (rlim_t)getpagesize() + (1 << 20), RLIM_INFINITY };
	TRY("limit", setrlimit(RLIMIT_AS, &limit));
	TRY("length", recv(pair->b, NULL, 1 << 30, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT));
	TRY("discard", recv(pair->b, NULL, 1 << 30, MSG_TRUNC | MSG_DONTWAIT));
	round_trip("trip", pair);
}

static void empty_receive(struct pair *pair, int flags)
{
	char byte;

	TRY("nothing-there", recv(pair->b, &byte, 0, flags | MSG_DONTWAIT));
	TRY("read-nothing-there", read(pair->b, &byte, 0));
	put(pair->a, "abc");
	settle();
	TRY("data-there", recv(pair->b, &byte, 0, flags));
	TRY("null-buffer", recv(pair->b, NULL, 0, flags));
	get("data", pair->b, 64, 0);
	shutdown(pair->a, SHUT_WR);
	settle();
	TRY("end", recv(pair->b, &byte, 0, flags));
}

/* A receive of no bytes waits until there are some. */
static void empty_receive_blocks(struct pair *pair, int flags)
{
	char byte;
	uint64_t start_ms = clock_ms();

	later_put(100, pair->a, "abc");
	TRY("wait", recv(pair->b, &byte, 0, flags));
	note_waited("waited", start_ms, 100);
	later_join();
	get("data", pair->b, 64, 0);
}

static void empty_receive_error(struct pair *pair, int unused)
{
	char byte;

	(void)unused;
	later_reset(0, pair->a);
	later_join();
	settle();
	TRY("read", read(pair->b, &byte, 0));
	TRY("receive", recv(pair->b, &byte, 0, 0));
	get("next", pair->b, 64, 0);
}

/* What a program that is built with _FORTIFY_SOURCE calls. */
extern ssize_t __recv_chk(int fd, void *buffer, size_t bytes, size_t room, int flags);
extern ssize_t __recvfrom_chk(int fd, void *buffer, size_t bytes, size_t room, int flags, struct sockaddr *address,
			      socklen_t *length);
extern ssize_t __read_chk(int fd, void *buffer, size_t bytes, size_t room);

static ssize_t fortified(int fd, int by_recvfrom, int flags)
{
	char byte;

	return by_recvfrom ? __recvfrom_chk(fd, &byte, 0, 1, flags, NULL, NULL) : __recv_chk(fd, &byte, 0, 1, flags);
}

static void empty_receive_fortified(struct pair *pair, int by_recvfrom)
{
	char byte;
	uint64_t start_ms = clock_ms();

	TRY("nothing-there", fortified(pair->b, by_recvfrom, MSG_DONTWAIT));
	TRY("read-nothing-there", __read_chk(pair->b, &byte, 0, 1));
	later_put(100, pair->a, "abc");
	TRY("wait", fortified(pair->b, by_recvfrom, 0));
	note_waited("waited", start_ms, 100);
	later_join();
	get("data", pair->b, 64, 0);
	later_reset(0, pair->a);
	later_join();
	settle();
	TRY("reset", fortified(pair->b, by_recvfrom, 0));
	get("next", pair->b, 64, 0);
}

/* TCP names no sender: the length becomes 0, also of a receive of no bytes. */
static void empty_receive_from(struct pair *pair, int unused)
{
	struct sockaddr_storage name;
	socklen_t length = sizeof(name);
	char byte;

	(void)unused;
	TRY("nothing-there", recvfrom(pair->b, &byte, 0, MSG_DONTWAIT, (struct sockaddr *)&name, &length));
	note("untouched", "%u", length);
	put(pair->a, "abc");
	settle();
	TRY("data-there", recvfrom(pair->b, &byte, 0, 0, (struct sockaddr *)&name, &length));
	note("length", "%u", length);
	TRY("bad-length", recvfrom(pair->b, &byte, 0, 0, (struct sockaddr *)&name, (socklen_t *)8));
	length = sizeof(name);
	TRY("no-name", recvfrom(pair->b, &byte, 0, MSG_PEEK, NULL, &length));
	note("unnamed", "%u", length);
	get("data", pair->b, 64, 0);
}

static void empty_message(struct pair *pair, int unused)
{
	struct iovec none[2] = { { NULL, 0 }, { NULL, 0 } };
	struct msghdr message = { .msg_iov = none, .msg_iovlen = 2 };

	(void)unused;
	TRY("recvmsg-empty", recvmsg(pair->b, &message, MSG_DONTWAIT));
	TRY("readv-empty", readv(pair->b, none, 2));
	message = (struct msghdr){ 0 };
	TRY("recvmsg-no-vector", recvmsg(pair->b, &message, MSG_DONTWAIT));
	TRY("readv-no-vector", readv(pair->b, NULL, 0));
	put(pair->a, "abc");
	settle();
	message = (struct msghdr){ .msg_iov = none, .msg_iovlen = 2 };
	TRY("recvmsg-data", recvmsg(pair->b, &message, MSG_DONTWAIT));
	TRY("readv-data", readv(pair->b, none, 2));
	get("data", pair->b, 64, 0);
}

static void empty_send(struct pair *pair, int unused)
{
	struct iovec none[2] = { { NULL, 0 }, { NULL, 0 } };
	struct msghdr message = { .msg_iov = none, .msg_iovlen = 2 };

	(void)unused;
	handle(SIGPIPE, SA_RESTART);
	TRY("send", send(pair->a, "", 0, 0));
	TRY("send-null", send(pair->a, NULL, 0, 0));
	TRY("write", write(pair->a, "", 0));
	TRY("writev", writev(pair->a, none, 2));
	TRY("writev-no-vector", writev(pair->a, NULL, 0));
	TRY("sendmsg", sendmsg(pair->a, &message, 0));
	settle();
	note_poll("peer", pair->b, POLLIN, 20);
	get("peer-receive", pair->b, 64, MSG_DONTWAIT);
	shutdown(pair->a, SHUT_WR);
	TRY("send-after-shutdown", send(pair->a, "", 0, MSG_NOSIGNAL));
	TRY("write-after-shutdown", write(pair->a, "", 0));
	note("sigpipe", "%d", handled);
}

/* Each call that can send nothing, on an end that is shut down. */
static void empty_send_after_shutdown(struct pair *pair, int unused)
{
	struct iovec none[2] = { { NULL, 0 }, { NULL, 0 } };
	struct msghdr message = { .msg_iov = none, .msg_iovlen = 2 };
	struct mmsghdr many = { .msg_hdr = message };

	(void)unused;
	handle(SIGPIPE, SA_RESTART);
	shutdown(pair->a, SHUT_WR);
	TRY("write", write(pair->a, "", 0));
	TRY("writev", writev(pair->a, none, 2));
	TRY("writev-no-vector", writev(pair->a, NULL, 0));
	note("sigpipe-writev", "%d", handled);
	TRY("pwritev2", pwritev2(pair->a, none, 2, -1, 0));
	TRY("sendto", sendto(pair->a, "", 0, 0, NULL, 0));
	note("sigpipe-sendto", "%d", handled);
	TRY("sendmsg", sendmsg(pair->a, &message, 0));
	note("sigpipe-sendmsg", "%d", handled);
	TRY("sendmmsg", sendmmsg(pair->a, &many, 1, 0));
	TRY("sendmmsg-nosignal", sendmmsg(pair->a, &many, 1, MSG_NOSIGNAL));
	note("sigpipe", "%d", handled);
	get("peer-end", pair->b, 64, 0);
}

/* The results have no place to go to. */
static void discard_readonly_header(struct pair *pair, int flags)
{
	char text[64];
	struct iovec vector = { text, sizeof(text) };
	struct msghdr *message = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*message = (struct msghdr){ .msg_iov = &vector, .msg_iovlen = 1 };
	TRY("protect", mprotect(message, 4096, PROT_READ));
	put(pair->a, "hello");
	settle();
	TRY("recvmsg", recvmsg(pair->b, message, MSG_TRUNC | MSG_DONTWAIT | flags));
	put(pair->a, "later");
	settle();
	get("later", pair->b, 5, MSG_DONTWAIT);
}

/* More than a call takes: it is cut. */
static void huge_length(struct pair *pair, int flags)
{
	char *memory = big_buffer(4096);

	put(pair->a, "abc");
	later_put(SOON_MS, pair->a, "def");
	later_shutdown(3 * SOON_MS, pair->a, SHUT_WR);
	GET("first", memory, recv(pair->b, memory, (size_t)-1, flags));
	later_join();
	GET("second", memory, recvfrom(pair->b, memory, (size_t)-1, flags, NULL, NULL));
	GET("third", memory, recv(pair->b, memory, (size_t)-1, flags));
}

static const struct semantics_case cases[] = {
	{ "trunc-waitall-10m", discard_all, MSG_WAITALL, 0 },
	{ "empty-recv-fortified", empty_receive_fortified, 0, 0 },
	{ "empty-recv-fortified-from", empty_receive_fortified, 1, 0 },
	{ "empty-recv-name", empty_receive_from, 0, 0 },
	{ "empty-send-after-shutdown", empty_send_after_shutdown, 0, 0 },
	{ "trunc-null", discard, 0, 0 },
	{ "trunc-buffer", discard, 1, 0 },
	{ "trunc-more", discard_more_than_there_is, 0, 0 },
	{ "trunc-blocks", discard_blocks, 0, 0 },
	{ "trunc-waitall", discard_waitall, 0, 0 },
	{ "trunc-large", discard_large, 0, 0 },
	{ "trunc-recvmsg", discard_message, 4, 0 },
	{ "trunc-readonly-header", discard_readonly_header, 0, 0 },
	{ "trunc-readonly-header-peek", discard_readonly_header, MSG_PEEK, 0 },
	{ "recv-huge-length-waitall", huge_length, MSG_WAITALL, 0 },
	{ "empty-recvmsg-results", discard_message, 0, 0 },
	{ "peek-trunc-length", peek_length, 6, 0 },
	{ "peek-trunc-length-large", peek_length, 40000, 0 },
	{ "trunc-without-memory", without_memory, 30000, 0 },
	{ "empty-recv", empty_receive, 0, 0 },
	{ "empty-recv-peek", empty_receive, MSG_PEEK, 0 },
	{ "empty-recv-blocks", empty_receive_blocks, 0, 0 },
	{ "empty-recv-peek-blocks", empty_receive_blocks, MSG_PEEK, 0 },
	{ "empty-recv-error", empty_receive_error, 0, 0 },
	{ "empty-recvmsg", empty_message, 0, 0 },
	{ "empty-send", empty_send, 0, 0 },
};
FAMILY(truncate);
