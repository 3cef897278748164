/* SPDX-License-Identifier: BSD-2-Clause */
/* Phases: connections whose traffic changes its kind all the time, so that they leave for plain TCP and come back.
 *
 *   phases [seed=N] [connections=N] [seconds=N] [deadline=S]
 *
 * Both ends are threads of this process. A phase is one of: turns (request and answer, for some time), a stream of small writes of
 * either end, a stream of large writes of either end, small writes of both ends at once. Every byte is position-coded. Odd
 * connections have a thread of its own for reading, which is blocked in recv while the other leaves and joins. Every third
 * connection has non-blocking fds. One line of JSON at the end. Exit status: 0; 1 wrong bytes; 2 set-up; 3 deadline.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

#include "../support/loopback.h"
#include "../support/pattern.h"
#include "../support/random.h"
#include "../support/watchdog.h"

#define CONNECTIONS_MAX 64
#define BUFFER_BYTES 65536
#define SMALL_MAX 1500

enum kind { TURNS, SMALL_FROM_0, SMALL_FROM_1, LARGE_FROM_0, LARGE_FROM_1, SMALL_BOTH, KIND_COUNT };

struct connection;

struct end {
	struct connection *connection;
	unsigned side;
	int fd;
	bool nonblocking;
	struct pattern out, in;
	_Atomic uint64_t sent, received;
	uint64_t planned_in; /* position at the end of the phase, or of the turn */
	struct rng rng;
	unsigned char write_buffer[BUFFER_BYTES], read_buffer[BUFFER_BYTES];
};

struct connection {
	unsigned number;
	bool has_readers;
	struct end ends[2];
	/* Side 0 decides, and says so before side 1 can ask: what a phase is, and when its turns are over. */
	_Atomic unsigned phases; /* begun */
	_Atomic unsigned kind;
	_Atomic uint64_t bytes; /* of a stream */
	_Atomic bool turns_over, is_last;
	pthread_barrier_t barrier;
};

static struct connection *connections[CONNECTIONS_MAX];
static uint64_t seed = 1, deadline_s = 60;
static unsigned count = 8, seconds = 5;
static _Atomic uint64_t verified, longest_gap_us, phases_done;
static uint64_t end_us;

static void dump(void)
{
	for (unsigned i = 0; i < count; i++)
		for (unsigned side = 0; connections[i] && side < 2; side++)
			fprintf(stderr, "connection %u side %u: phase %u kind %u, sent %llu received %llu\n", i, side,
				connections[i]->phases, connections[i]->kind,
				(unsigned long long)connections[i]->ends[side].sent,
				(unsigned long long)connections[i]->ends[side].received);
}

static void wrong(const struct end *end, const char *what)
{
	fprintf(stderr, "connection %u side %u, phase %u kind %u, at byte %llu: %s (errno %d)\n",
		end->connection->number, end->side, end->connection->phases, end->connection->kind,
		(unsigned long long)end->received, what, errno);
	fflush(NULL);
	_exit(EXIT_WRONG);
}

static void wait_for(int fd, short events)
{
	struct pollfd poller = { .fd = fd, .events = events };

	while (poll(&poller, 1, -1) < 0)
		if (errno != EINTR)
			die("poll");
}

static void put(struct end *end, size_t bytes)
{
	pattern_fill(&end->out, end->sent, end->write_buffer, bytes);
	for (size_t done = 0; done < bytes;) {
		ssize_t result = send(end->fd, end->write_buffer + done, bytes - done, MSG_NOSIGNAL);

		if (result < 0 && errno == EAGAIN && end->nonblocking) {
			wait_for(end->fd, POLLOUT);
			continue;
		}
		if (result <= 0)
			wrong(end, "send");
		done += (size_t)result;
		end->sent += (uint64_t)result;
	}
}

/* Reads what there is, at most `bytes`. False: end of file. */
static bool get(struct end *end, size_t bytes)
{
	uint64_t begun_us = now_us(), gap_us, longest = longest_gap_us;
	ssize_t result;

	if (bytes > BUFFER_BYTES)
		bytes = BUFFER_BYTES;
	do {
		if (end->nonblocking)
			wait_for(end->fd, POLLIN);
		result = recv(end->fd, end->read_buffer, bytes, 0);
	} while (result < 0 && errno == EAGAIN && end->nonblocking);
	if (result < 0)
		wrong(end, "recv");
	gap_us = now_us() - begun_us;
	while (!end->connection->has_readers && gap_us > longest &&
	       !atomic_compare_exchange_weak(&longest_gap_us, &longest, gap_us))
		;
	if (pattern_verify(&end->in, end->received, end->read_buffer, (size_t)result) >= 0)
		wrong(end, "a byte out of place");
	end->received += (uint64_t)result;
	verified += (uint64_t)result;
	return result > 0;
}

/* Until that many bytes have come, since the connection began. */
static void get_until(struct end *end, uint64_t position)
{
	while (end->received < position) {
		if (end->connection->has_readers)
			pause_us(20);
		else if (!get(end, (size_t)(position - end->received)))
			wrong(end, "end of file");
	}
}

static void *reader_main(void *argument)
{
	struct end *end = argument;

	while (get(end, 1 + rng_below(&end->rng, BUFFER_BYTES)))
		;
	return NULL;
}

/* Side 0 asks, and says with the last question that it is the last. */
static void take_turns(struct end *end, struct rng *rng)
{
	struct connection *connection = end->connection;
	uint64_t until_us = now_us() + 20000 + rng_below(rng, 80000);
	bool over = false;

	while (!over) {
		/* The same numbers on both sides. */
		size_t question = 1 + rng_below(rng, 300), answer = 1 + rng_below(rng, 3000);

		end->planned_in += end->side ? question : answer;
		if (end->side == 0) {
			over = now_us() >= until_us;
			if (over)
				connection->turns_over = true;
			put(end, question);
			get_until(end, end->planned_in);
		} else {
			get_until(end, end->planned_in);
			over = connection->turns_over;
			put(end, answer);
		}
	}
}

static void stream(struct end *end, uint64_t bytes, size_t write_max)
{
	while (bytes) {
		size_t size = write_max > SMALL_MAX ? write_max : 1 + rng_below(&end->rng, write_max);

		size = size < bytes ? size : (size_t)bytes;
		put(end, size);
		bytes -= size;
	}
}

static void run_phase(struct end *end, enum kind kind, uint64_t bytes, struct rng *rng)
{
	bool sends = false;

	switch (kind) {
	case TURNS:
		take_turns(end, rng);
		return;
	case SMALL_FROM_0:
	case SMALL_FROM_1:
		sends = end->side == (kind == SMALL_FROM_1);
		break;
	case LARGE_FROM_0:
	case LARGE_FROM_1:
		sends = end->side == (kind == LARGE_FROM_1);
		break;
	default: /* both: neither waits for the other before it has sent what fits into a buffer */
		stream(end, bytes, SMALL_MAX);
		end->planned_in += bytes;
		get_until(end, end->planned_in);
		return;
	}
	end->planned_in += sends ? 0 : bytes;
	if (sends)
		stream(end, bytes, kind <= SMALL_FROM_1 ? SMALL_MAX : BUFFER_BYTES);
	else
		get_until(end, end->planned_in);
}

/* What side 0 decides for the next phase: every second one are turns, which is when it comes back. */
static void decide(struct connection *connection, struct rng *rng)
{
	unsigned phase = connection->phases++;
	enum kind kind = phase % 2 == 0 ? TURNS : 1 + rng_below(rng, KIND_COUNT - 1);

	connection->kind = kind;
	connection->bytes = kind == SMALL_BOTH     ? 20000
			    : kind <= SMALL_FROM_1 ? 400000 + rng_below(rng, 1500000)
						   : 1000000 + rng_below(rng, 8000000);
	connection->turns_over = false;
	connection->is_last = now_us() >= end_us;
}

static void *end_main(void *argument)
{
	struct end *end = argument;
	struct connection *connection = end->connection;
	struct rng rng = rng_make(seed, 1000 + connection->number); /* the same on both sides, but for decide() */
	struct rng deciding = rng_make(seed, 2000 + connection->number);
	pthread_t reader;
	bool is_last;

	if (connection->has_readers && pthread_create(&reader, NULL, reader_main, end))
		die("pthread_create");
	do {
		if (end->side == 0)
			decide(connection, &deciding);
		pthread_barrier_wait(&connection->barrier);
		is_last = connection->is_last; /* side 0 may be a phase ahead after the next barrier */
		run_phase(end, connection->kind, connection->bytes, &rng);
		pthread_barrier_wait(&connection->barrier);
		phases_done += end->side;
	} while (!is_last);
	if (shutdown(end->fd, SHUT_WR) < 0)
		wrong(end, "shutdown");
	if (connection->has_readers)
		pthread_join(reader, NULL);
	else if (get(end, 1))
		wrong(end, "bytes after the last one");
	if (end->received != connection->ends[!end->side].sent)
		wrong(end, "bytes are missing");
	close(end->fd);
	return NULL;
}

static void connection_open(unsigned number, int listener)
{
	struct connection *connection = calloc(1, sizeof(*connection));

	if (!connection)
		die("calloc");
	connection->number = number;
	connection->has_readers = number % 2;
	pthread_barrier_init(&connection->barrier, NULL, 2);
	connection->ends[0].fd = loopback_connect("127.0.0.1", loopback_port(listener));
	connection->ends[1].fd = accept(listener, NULL, NULL);
	if (connection->ends[1].fd < 0)
		die("accept");
	for (unsigned side = 0; side < 2; side++) {
		struct end *end = &connection->ends[side];

		end->connection = connection;
		end->side = side;
		end->out = pattern_make(seed, number, side, 0);
		end->in = pattern_make(seed, number, !side, 0);
		end->rng = rng_make(seed, number * 2 + side);
		end->nonblocking = number % 3 == 2;
		if (end->nonblocking && fcntl(end->fd, F_SETFL, O_NONBLOCK) < 0)
			die("fcntl");
	}
	connections[number] = connection;
}

static void options_read(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		char *value = strchr(argv[i], '=');
		uint64_t number = value ? strtoull(value + 1, NULL, 0) : 0;

		if (!strncmp(argv[i], "seed=", 5))
			seed = number;
		else if (!strncmp(argv[i], "connections=", 12) && number && number <= CONNECTIONS_MAX)
			count = (unsigned)number;
		else if (!strncmp(argv[i], "seconds=", 8))
			seconds = (unsigned)number;
		else if (!strncmp(argv[i], "deadline=", 9))
			deadline_s = number;
		else
			die("phases: %s?", argv[i]);
	}
}

int main(int argc, char **argv)
{
	int listener = loopback_listen("127.0.0.1", 0, CONNECTIONS_MAX, 0);
	pthread_t threads[2 * CONNECTIONS_MAX];

	options_read(argc, argv);
	watchdog_start((unsigned)deadline_s, dump);
	end_us = now_us() + seconds * 1000000ull;
	for (unsigned i = 0; i < count; i++)
		connection_open(i, listener);
	for (unsigned i = 0; i < 2 * count; i++)
		if (pthread_create(&threads[i], NULL, end_main, &connections[i / 2]->ends[i % 2]))
			die("pthread_create");
	for (unsigned i = 0; i < 2 * count; i++)
		pthread_join(threads[i], NULL);
	printf("{\"connections\": %u, \"phases\": %llu, \"verified\": %llu, \"longest_gap_us\": %llu}\n", count,
	       (unsigned long long)phases_done, (unsigned long long)verified, (unsigned long long)longest_gap_us);
	return 0;
}
