/* SPDX-License-Identifier: BSD-2-Clause */
/* The connected pair of a case, and the traffic that cases have in common. */
#include "semantics.h"

#include <arpa/inet.h>
#include <sys/mman.h>

#define WARM_UP_TURNS 200
#define ALWAYS_TURNS 12 /* without the shim, or where it does not accelerate: enough for the shim's own counts */
#define FULL_CHUNK_BYTES (1u << 20)
#define FULL_BYTES_MAX (64u << 20)
#define FULL_TRIES 8
#define CHUNK_BYTES 65536
#define HUGE_PAGE_BYTES (2u << 20)
#define ACK_DELAY_MS 50
#define STREAM_WRITES 2000
#define STREAM_PLAIN 300 /* more than a window of sends */

bool pair_leaves, pair_streams, pair_is_ipv6, pair_is_unix;

static void fail(const char *what)
{
	note("FAILED", "%s: %s", what, errno_text(errno));
	_exit(1);
}

struct sockaddr_in loopback_at(uint16_t port_h)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port_h) };

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

int listen_any(uint16_t *port_h)
{
	struct sockaddr_in address = loopback_at(0);
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		fail("listening");
	*port_h = ntohs(address.sin_port);
	return fd;
}

static bool is_acknowledged(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t length = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0 || !info.tcpi_unacked;
}

/* The last acknowledgement may be delayed by 40 ms: none is on its way in any arm. */
static void wait_acknowledged(const struct pair *pair)
{
	if (pair_leaves || pair_streams)
		pause_ms(ACK_DELAY_MS); /* for the helper, too */
	for (int i = 0; i < 10 * ACK_DELAY_MS && !(is_acknowledged(pair->a) && is_acknowledged(pair->b)); i++)
		pause_ms(1);
}

int pair_listen(struct any_address *address)
{
	uint16_t port_h;
	int fd = listen_any(&port_h);

	*address = (struct any_address){ .length = sizeof(address->four), .four = loopback_at(port_h) };
	if (!pair_is_ipv6)
		return fd;
	close(fd);
	address->length = sizeof(address->six);
	address->six = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, &address->any, address->length) < 0 || listen(fd, 8) < 0 ||
	    getsockname(fd, &address->any, &address->length) < 0)
		fail("listening");
	return fd;
}

void pair_connect(struct pair *pair)
{
	struct any_address address;
	int listener = pair_listen(&address);

	pair->a = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (pair->a < 0 || connect(pair->a, &address.any, address.length) < 0)
		fail("connecting");
	pair->b = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (pair->b < 0)
		fail("accepting");
	close(listener);
}

static void stream_until_plain(const struct pair *pair);

bool pair_make(struct pair *pair, bool nodelay)
{
	if (pair_is_unix) {
		int ends[2];
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
			fail("socketpair");
		*pair = (struct pair){ ends[0], ends[1] };
		return false;
	}
	pair_connect(pair);
	if (nodelay) {
		set_int(pair->a, IPPROTO_TCP, TCP_NODELAY, 1);
		set_int(pair->b, IPPROTO_TCP, TCP_NODELAY, 1);
	}
	bool armed = pair_warm_up(pair);
	if (pair_streams)
		stream_until_plain(pair);
	if (pair_leaves) { /* for an option, which is then taken back */
		set_int(pair->a, SOL_SOCKET, SO_TIMESTAMP, 1);
		set_int(pair->a, SOL_SOCKET, SO_TIMESTAMP, 0);
		set_int(pair->b, SOL_SOCKET, SO_TIMESTAMP, 1);
		set_int(pair->b, SOL_SOCKET, SO_TIMESTAMP, 0);
	}
	wait_acknowledged(pair);
	return armed;
}

/* Bytes that TCP itself has received: redirected ones are not among them. (glibc's struct tcp_info ends before.) */
static uint64_t received_by_tcp(int fd)
{
	char info[256] = "";
	socklen_t length = sizeof(info);
	uint64_t bytes = 0;

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &length) == 0 && length >= 136)
		memcpy(&bytes, info + 128, sizeof(bytes));
	return bytes;
}

/* As much as an SO_RCVLOWAT that was set early asks for: less does not wake a receive that came first, even one of a byte (TCP's
 * tcp_data_ready() looks at the option alone). */
static bool turn(int from, int to)
{
	uint64_t before = received_by_tcp(to);
	char text[4] = "warm";
	const ssize_t length = sizeof(text);

	if (send(from, text, sizeof(text), MSG_NOSIGNAL) != length || recv(to, text, sizeof(text), 0) != length)
		fail("warm-up");
	return received_by_tcp(to) == before;
}

bool pair_warm_up(const struct pair *pair)
{
	bool accelerated = getenv("LD_PRELOAD") && strstr(getenv("LD_PRELOAD"), "libsmaccel");
	unsigned redirected = 0;

	for (unsigned i = 0; i < (accelerated ? WARM_UP_TURNS : ALWAYS_TURNS); i++) {
		bool there = turn(pair->a, pair->b), back = turn(pair->b, pair->a);

		redirected = there && back ? redirected + 1 : 0;
		if (redirected >= 3)
			return true;
		if (i >= ALWAYS_TURNS)
			pause_ms(1);
	}
	return false;
}

void pair_meet_anew(struct pair *pair, int listener)
{
	pair->b = accept(listener, NULL, NULL);
	put(pair->b, "fresh");
	settle();
	get("first-bytes", pair->a, 64, MSG_DONTWAIT);
	pair_warm_up(pair);
	round_trip("trip", pair);
}

/* Small writes in one direction, for which nothing stays joined. */
static void stream_until_plain(const struct pair *pair)
{
	char byte = 0;

	for (int i = 0, plain = 0; i < STREAM_WRITES && plain < STREAM_PLAIN; i++) {
		uint64_t before = received_by_tcp(pair->b);

		if (send(pair->a, &byte, 1, MSG_NOSIGNAL) != 1 || recv(pair->b, &byte, 1, 0) != 1)
			fail("streaming");
		plain = received_by_tcp(pair->b) == before ? 0 : plain + 1;
	}
	pause_ms(ACK_DELAY_MS); /* for the helper, too */
	if (send(pair->a, &byte, 1, MSG_NOSIGNAL) != 1 || recv(pair->b, &byte, 1, 0) != 1)
		fail("streaming");
}

void put_bytes(int fd, size_t bytes, unsigned seed)
{
	char *buffer = big_buffer(bytes + 1);

	fill(buffer, bytes, seed);
	for (size_t done = 0; done < bytes;) {
		ssize_t sent = send(fd, buffer + done, bytes - done, MSG_NOSIGNAL);

		if (sent <= 0)
			fail("put");
		done += (size_t)sent;
	}
}

uint64_t fill_pipe(int fd)
{
	char *buffer = big_buffer(FULL_CHUNK_BYTES);
	uint64_t total = 0;
	int error = 0;

	for (int refused = 0; refused < FULL_TRIES && total < FULL_BYTES_MAX;) {
		ssize_t sent = send(fd, buffer, FULL_CHUNK_BYTES, MSG_DONTWAIT | MSG_NOSIGNAL);

		error = sent < 0 ? errno : 0;
		refused = sent < 0 ? refused + 1 : 0;
		total += sent > 0 ? (uint64_t)sent : 0;
		if (sent < 0)
			pause_ms(5);
	}
	errno = error;
	return total;
}

void put(int fd, const char *text)
{
	size_t bytes = strlen(text);

	if (send(fd, text, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
		fail("put");
}

void read_whole(int fd, char *out, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		ssize_t got = read(fd, out + done, bytes - done);

		if (got <= 0)
			fail("reading from a pipe");
		done += (size_t)got;
	}
}

void *big_buffer(size_t bytes)
{
	if (bytes < HUGE_PAGE_BYTES)
		return calloc(1, bytes);
	char *memory = mmap(NULL, bytes + HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		fail("big buffer");
	memory += -(uintptr_t)memory % HUGE_PAGE_BYTES;
	madvise(memory, bytes, MADV_HUGEPAGE);
	return memory;
}

void fill(void *buffer, size_t bytes, unsigned seed)
{
	unsigned char *out = buffer;

	for (size_t i = 0; i < bytes; i += sizeof(uint64_t)) {
		uint64_t word = (i + seed + 1) * UINT64_C(0x9e3779b97f4a7c15);

		memcpy(out + i, &word, bytes - i < sizeof(word) ? bytes - i : sizeof(word));
	}
}

void drain(const char *field, int fd, size_t bytes)
{
	char *all = big_buffer(bytes + 1);
	size_t done = 0;
	ssize_t got = 1;

	while (done < bytes && got > 0) {
		got = recv(fd, all + done, bytes - done < CHUNK_BYTES ? bytes - done : CHUNK_BYTES, 0);
		if (got > 0)
			done += (size_t)got;
	}
	int error = errno;
	note_data(field, all, (ssize_t)done, 0);
	if (got <= 0)
		note_result("drain-end", got, error);
}

void round_trip(const char *field, const struct pair *pair)
{
	char text[32], answer[32];

	snprintf(text, sizeof(text), "%.16s-there", field);
	ssize_t sent = send(pair->a, text, strlen(text), MSG_NOSIGNAL);
	GET(field, answer, sent < 0 ? sent : recv(pair->b, answer, strlen(text), MSG_WAITALL));
	snprintf(text, sizeof(text), "%.16s-back", field);
	sent = send(pair->b, text, strlen(text), MSG_NOSIGNAL);
	GET(field, answer, sent < 0 ? sent : recv(pair->a, answer, strlen(text), MSG_WAITALL));
}
