/* SPDX-License-Identifier: BSD-2-Clause */
/* One end of a connection in the programs of this folder, and pairs of them: sending and checking position-coded bytes, warming up. */
#ifndef SMACCEL_TEST_PROCESS_END_H
#define SMACCEL_TEST_PROCESS_END_H

#include <pthread.h>
#include <stdarg.h>

#include "../support/loopback.h"
#include "../support/pattern.h"
#include "../support/random.h"
#include "../support/redirecting.h"

#define WARM_TURNS 80
#define FIRST_TURNS 40      /* before the deed, at the least */
#define REDIRECTED_TURNS 20 /* of them, at the least */
#define PROVE_TURNS_MAX 300
#define WARM_PAUSE_US 400 /* joining waits for nothing in auto mode: the helper needs some time of its own */
#define TURN_BYTES 64

/* One end of a connection: what was sent and received on it so far, by any process. */
struct end {
	int fd;
	struct pattern out, in;
	uint64_t sent, received;
	struct rng rng;
};

static const char *case_name = "?";

static inline void __attribute__((format(printf, 1, 2), noreturn)) fail(const char *format, ...)
{
	char text[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	dprintf(STDERR_FILENO, "FAIL %s (pid %d): %s\n", case_name, getpid(), text);
	_exit(1);
}

#define must(expression)                                                                                               \
	({                                                                                                             \
		__typeof__(expression) must_value = (expression);                                                      \
		if (must_value < 0)                                                                                    \
			fail("line %d: %s: %s", __LINE__, #expression, strerror(errno));                               \
		must_value;                                                                                            \
	})

static inline void end_send(struct end *end, size_t total)
{
	static __thread uint8_t buffer[65536];

	while (total) {
		size_t bytes = rng_size(&end->rng, total < sizeof(buffer) ? total : sizeof(buffer));

		if (total <= TURN_BYTES)
			bytes = total;
		pattern_fill(&end->out, end->sent, buffer, bytes);
		for (size_t done = 0; done < bytes;)
			done += (size_t)must(send(end->fd, buffer + done, bytes - done, MSG_NOSIGNAL));
		end->sent += bytes;
		total -= bytes;
	}
}

static inline void end_receive(struct end *end, size_t total)
{
	static __thread uint8_t buffer[65536];

	while (total) {
		size_t room = total < sizeof(buffer) ? total : sizeof(buffer);
		ssize_t got = must(recv(end->fd, buffer, room, 0));

		if (got == 0)
			fail("end of file at byte %llu, %zu still to come", (unsigned long long)end->received, total);
		ssize_t wrong = pattern_verify(&end->in, end->received, buffer, (size_t)got);
		if (wrong >= 0)
			fail("byte %llu is wrong", (unsigned long long)end->received + (unsigned long long)wrong);
		end->received += (uint64_t)got;
		total -= (size_t)got;
	}
}

static inline void end_turns(struct end *end, int turns, bool first)
{
	for (int i = 0; i < turns; i++) {
		if (first)
			end_send(end, TURN_BYTES);
		end_receive(end, TURN_BYTES);
		if (!first)
			end_send(end, TURN_BYTES);
	}
}

static inline void *end_send_thread(void *argument)
{
	struct end *end = argument;

	end_send(end, (size_t)end->received); /* here: how much */
	return NULL;
}

/* Both directions at once: `out` bytes go, `in` bytes come. */
static inline void end_duplex(struct end *end, size_t out, size_t in)
{
	struct end sender = *end;
	pthread_t thread;

	sender.received = out;
	if (pthread_create(&thread, NULL, end_send_thread, &sender))
		fail("pthread_create");
	end_receive(end, in);
	pthread_join(thread, NULL);
	end->sent = sender.sent;
	end->rng = sender.rng;
}

/* As end_duplex, with a peer that returns every byte as it came. */
static inline void end_echo(struct end *end, size_t total)
{
	struct end back = *end;

	back.in = end->out;
	back.received = end->sent;
	end_duplex(&back, total, total);
	end->sent = back.sent;
	end->rng = back.rng;
}

/* The peer's FIN, and nothing else, comes within `deadline_ms`. */
static inline void end_expect_eof(struct end *end, int deadline_ms)
{
	struct pollfd wait = { .fd = end->fd, .events = POLLIN };
	char byte;

	if (must(poll(&wait, 1, deadline_ms)) == 0)
		fail("no end of file within %d ms", deadline_ms);
	ssize_t got = must(recv(end->fd, &byte, 1, 0));
	if (got)
		fail("a byte where the end of file should be");
}

/* The peer's next bytes are here, unread: redirected ones keep an end from leaving. */
static inline void end_await(struct end *end)
{
	struct pollfd wait = { .fd = end->fd, .events = POLLIN };

	if (must(poll(&wait, 1, 5000)) == 0)
		fail("nothing comes");
}

static inline void end_expect_quiet(struct end *end, int for_ms)
{
	struct pollfd wait = { .fd = end->fd, .events = POLLIN };

	if (must(poll(&wait, 1, for_ms)))
		fail("something came while the connection should be quiet");
}

/* A connected pair of loopback ends in this one process: [0] accepted, [1] connected. */
static inline void pair_open(struct end ends[2])
{
	int listener = loopback_listen("127.0.0.1", 0, 8, 0);
	uint64_t seed = (uint64_t)getpid() + 1000000;

	memset(ends, 0, 2 * sizeof(*ends));
	ends[1].fd = loopback_connect("127.0.0.1", loopback_port(listener));
	ends[0].fd = must(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	must(close(listener));
	for (unsigned i = 0; i < 2; i++) {
		ends[i].out = pattern_make(seed, 0, i, 0);
		ends[i].in = pattern_make(seed, 0, !i, 0);
		ends[i].rng = rng_make(seed, i);
	}
}

/* Turns between two ends held by one thread: neither ever blocks. */
static inline void pair_turns(struct end ends[2], int turns)
{
	for (int i = 0; i < turns; i++) {
		end_send(&ends[1], TURN_BYTES);
		end_receive(&ends[0], TURN_BYTES);
		end_send(&ends[0], TURN_BYTES);
		end_receive(&ends[1], TURN_BYTES);
	}
}

static inline bool is_eager(void)
{
	const char *admit = getenv("SMACCEL_ADMIT");

	return is_preloaded() && admit && !strcmp(admit, "eager");
}

/* A new connection between the threads of this process works after whatever the case did. */
static inline void pair_prove(void)
{
	struct end ends[2];

	pair_open(ends);
	pair_turns(ends, WARM_TURNS);
	for (int turn = 0; is_eager() && turn < PROVE_TURNS_MAX; turn++) {
		uint64_t before = received_by_tcp(ends[0].fd);

		pair_turns(ends, 1);
		if (received_by_tcp(ends[0].fd) == before)
			break;
		pause_us(1000);
	}
	must(close(ends[0].fd));
	end_expect_eof(&ends[1], 1000);
	must(close(ends[1].fd));
}

#endif
