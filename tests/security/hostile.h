/* SPDX-License-Identifier: BSD-2-Clause */
/* A client of the helper that can be made to misbehave: doors, sessions, requests, and a look whether the helper lives. */
#ifndef SMACCEL_TEST_HOSTILE_H
#define SMACCEL_TEST_HOSTILE_H

#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "../../helper/wire/memory.h"
#include "../../helper/wire/reason.h"
#include "../../helper/wire/wire.c" /* one program, one file */
#include "../support/loopback.h"
#include "../support/random.h"

#define ANSWER_MS 2000 /* a helper that takes longer has been hurt */

static const char *hostile_path;
static struct rng hostile_rng;

struct hostile {
	int door, near, far; /* -1: closed; far is kept, as the shim does */
	struct session_memory *memory;
	uint64_t memory_bytes;
	int memory_fd;
};

static inline int hostile_door(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strncpy(address.sun_path, hostile_path, sizeof(address.sun_path) - 1);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

#define HOSTILE_PATIENCE_US 5000000

static inline bool hostile_wait(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };

	return poll(&wait, 1, ANSWER_MS) == 1;
}

static inline int hostile_hello(int door, int fd)
{
	struct wire_hello hello = { .comm = "hostile" };

	wire_header_init(&hello.header, WIRE_HELLO, sizeof(hello), 0, 0);
	return wire_send(door, &hello, sizeof(hello), fd);
}

/* False: hung up, or too late. */
static inline bool hostile_wait_session(const struct hostile *client)
{
	struct pollfd wait[] = { { .fd = client->near, .events = POLLIN }, { .fd = client->door, .events = POLLIN } };

	return poll(wait, 2, ANSWER_MS) > 0 && wait[0].revents;
}

static inline bool hostile_try_open(struct hostile *client)
{
	struct wire_welcome welcome;
	struct wire_stops stops;
	int pair[2], stops_fd;

	*client = (struct hostile){ .near = -1, .far = -1, .memory_fd = -1 };
	client->door = hostile_door();
	if (client->door < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return false;
	client->near = pair[0];
	client->far = pair[1];
	if (hostile_hello(client->door, client->far) || !hostile_wait_session(client) ||
	    recv(client->near, &stops, sizeof(stops), MSG_PEEK) != sizeof(stops))
		return false;
	if (stops.header.type == WIRE_STOPS) {
		bool is_writable =
			wire_receive(client->near, &stops, sizeof(stops), &stops_fd, NULL) < 0 ||
			mmap(NULL, stops.words * 8, PROT_READ | PROT_WRITE, MAP_SHARED, stops_fd, 0) != MAP_FAILED;
		close(stops_fd);
		if (is_writable || !hostile_wait(client->near))
			return false;
	}
	if (wire_receive(client->near, &welcome, sizeof(welcome), &client->memory_fd, NULL) != sizeof(welcome))
		return false;
	client->memory_bytes = welcome.memory_bytes;
	client->memory = mmap(NULL, welcome.memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, client->memory_fd, 0);
	return client->memory != MAP_FAILED;
}

static inline void hostile_close(struct hostile *client)
{
	if (client->memory && client->memory != MAP_FAILED)
		munmap(client->memory, client->memory_bytes);
	for (int i = 0; i < 4; i++) {
		int fd = (int[]){ client->door, client->near, client->far, client->memory_fd }[i];

		if (fd >= 0)
			close(fd);
	}
}

/* A session of one's own. False: the helper did not give one, however often it was asked. It has no room for a user whose sockets it
 * has not yet got to close (helper/reaper.c). */
static inline bool hostile_open(struct hostile *client)
{
	uint64_t start_us = now_us();

	while (!hostile_try_open(client)) {
		hostile_close(client);
		*client = (struct hostile){ .door = -1, .near = -1, .far = -1, .memory_fd = -1 };
		if (now_us() - start_us > HOSTILE_PATIENCE_US)
			return false;
		pause_us(1000);
	}
	return true;
}

static inline uint64_t hostile_cookie(int fd)
{
	uint64_t cookie = 0;
	socklen_t bytes = sizeof(cookie);

	getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &bytes);
	return cookie;
}

/* JOIN of an honest look; `word` is what the cell says beforehand. */
static inline int hostile_join(struct hostile *client, int fd, uint32_t cell, uint32_t generation, uint32_t word)
{
	struct wire_join join = { .cookie = hostile_cookie(fd), .fd_number = (uint32_t)fd };

	if (cell < MEMORY_CELLS)
		atomic_store(&client->memory->cells[cell].word, word);
	wire_header_init(&join.header, WIRE_JOIN, sizeof(join), cell, generation);
	return wire_send(client->near, &join, sizeof(join), fd);
}

static inline int hostile_pin(struct hostile *client, enum wire_type type, int fd, uint32_t cell, uint64_t cookie)
{
	struct wire_pin pin = { .cookie = cookie, .reason = REASON_OOB };

	atomic_store(&client->memory->cells[cell % MEMORY_CELLS].word, cell_word(1, CELL_PENDING));
	wire_header_init(&pin.header, type, sizeof(pin), cell, 1);
	return wire_send(client->near, &pin, sizeof(pin), fd);
}

/* The state of the word once it is answered, CELL_PENDING if it is not. */
static inline uint32_t hostile_answer(struct hostile *client, uint32_t cell, uint32_t generation)
{
	uint64_t end_us = now_us() + ANSWER_MS * 1000;

	while (now_us() < end_us) {
		uint32_t word = atomic_load(&client->memory->cells[cell].word);

		if (word != cell_word(generation, CELL_PENDING))
			return cell_word_state(word);
		pause_us(200);
	}
	return CELL_PENDING;
}

/* A connection to oneself over loopback. */
static inline void hostile_pair(int ends[2])
{
	int listener = loopback_listen("127.0.0.1", 0, 8, 0);

	ends[0] = loopback_connect("127.0.0.1", loopback_port(listener));
	ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (ends[1] < 0)
		die("accept4");
	close(listener);
}

#define HOSTILE_LINGER_S 30

/* A pair whose first end waits when it is closed, until the other one, which does not read, is. */
static inline void hostile_lingering_pair(int ends[2])
{
	static char data[4 << 20];
	const struct linger linger = { .l_onoff = 1, .l_linger = HOSTILE_LINGER_S };

	hostile_pair(ends);
	setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	send(ends[0], data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static inline bool hostile_ask(enum wire_type type, int *error)
{
	struct wire_request request;
	struct wire_reply reply;
	int door = hostile_door(), fd = -1;
	bool lives;

	wire_header_init(&request.header, type, sizeof(request), 0, 0);
	lives = door >= 0 && wire_send(door, &request, sizeof(request), -1) == 0 && hostile_wait(door) &&
		wire_receive(door, &reply, sizeof(reply), &fd, NULL) == sizeof(reply);
	if (lives)
		*error = reply.error;
	if (fd >= 0)
		close(fd);
	if (door >= 0)
		close(door);
	return lives;
}

/* Whether the helper answers a request of the command line; how long it took. As patient as hostile_open(). */
static inline bool hostile_helper_lives(enum wire_type type, int *error, uint64_t *took_us)
{
	uint64_t start_us = now_us();
	bool lives;

	while (!(lives = hostile_ask(type, error)) && now_us() - start_us < HOSTILE_PATIENCE_US)
		pause_us(1000);
	*took_us = now_us() - start_us;
	return lives;
}

static inline void hostile_fill(unsigned char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		bytes[i] = (unsigned char)rng_next(&hostile_rng);
}

/* A message that is right in some parts and random in the others. */
static inline size_t hostile_message(unsigned char *bytes, size_t room)
{
	size_t count = rng_below(&hostile_rng, room) + 1;
	unsigned type = (unsigned)rng_below(&hostile_rng, 24);
	struct wire_header header;

	hostile_fill(bytes, room);
	if (rng_below(&hostile_rng, 4) == 0)
		return count;
	if (rng_below(&hostile_rng, 4) && wire_type_size(type))
		count = wire_type_size(type);
	wire_header_init(&header, (enum wire_type)type, count, (uint32_t)rng_below(&hostile_rng, 4),
			 (uint32_t)rng_below(&hostile_rng, 3));
	if (rng_below(&hostile_rng, 8) == 0)
		header.version++;
	memcpy(bytes, &header, count < sizeof(header) ? count : sizeof(header));
	return count;
}

/* Some fd or other. -1: none. The caller closes it. */
static inline int hostile_any_fd(void)
{
	int pair[2] = { -1, -1 }, fd = -1;

	switch (rng_below(&hostile_rng, 12)) {
	case 0:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	case 1:
		if (pipe2(pair, O_CLOEXEC) < 0)
			return -1;
		break;
	case 2:
		return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	case 3:
		return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	case 4:
		return loopback_listen("127.0.0.1", 0, 1, 0);
	case 5:
		return epoll_create1(EPOLL_CLOEXEC);
	case 6:
		return memfd_create("hostile", MFD_CLOEXEC);
	case 7:
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
			return -1;
		break;
	case 8:
		return hostile_door();
	case 9:
		hostile_pair(pair);
		break;
	case 10:
		fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		return fd;
	default:
		return -1;
	}
	close(pair[1]);
	return pair[0];
}

static inline void hostile_send_any(int socket)
{
	unsigned char bytes[WIRE_MESSAGE_MAX + 64];
	size_t count = hostile_message(bytes, sizeof(bytes));
	int fd = hostile_any_fd();

	wire_send(socket, bytes, count, fd);
	if (fd >= 0)
		close(fd);
}

#endif
