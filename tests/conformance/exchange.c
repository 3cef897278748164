/* SPDX-License-Identifier: BSD-2-Clause */
/* Exchange: many connections, one after the other and side by side, each with its own tokens and a few turns of
 * position-coded bytes. For port reuse, equal tuples in two namespaces, and all kinds of addresses.
 *
 *   exchange both|server|client [OPTION=VALUE...]     see `numbers` and options_read()
 *
 * The first bytes both ways are tokens made of (seed, connection); every later byte follows from them too, so a byte that
 * comes from another connection is always noticed. One line of JSON on stdout. Exit status as in loopback.h.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "../support/redirecting.h"
#include "../support/watchdog.h"

#define MESSAGE_MAX (256u << 10)
#define COMPLAINTS_MAX 10u
#define CONNECT_TRIES 200u

enum closing { CLOSE_RST, CLOSE_FIN, CLOSE_SERVER, CLOSE_COUNT, CLOSE_MIX = CLOSE_COUNT };
static const char *const closing_names[] = { "rst", "fin", "server", "mix" };

static unsigned port, client_port, client_ports, connections = 100, concurrency = 4, turns = 10, message_max = 4096;
static unsigned deadline_s = 60, nonblocking, pause_max_us, closing = CLOSE_RST, warm;
static unsigned long long seed = 1;
static const char *listen_on = "127.0.0.1", *connect_to = "127.0.0.1", *bind_to;

static _Atomic unsigned served, mismatches, errors, retries, tickets;
static _Atomic uint64_t verified;

struct hello {
	uint64_t seed;
	uint64_t id;
	uint64_t token;
};

/* One connection as one of its sides sees it. */
struct exchange {
	int fd;
	unsigned side; /* 0 client, 1 server */
	uint64_t id;
	unsigned char *buffer;
	uint64_t sent, received;
};

static void complain(const struct exchange *exchange, bool mismatch, const char *text)
{
	int error = errno;
	unsigned count = mismatch ? ++mismatches : ++errors;

	if (count <= COMPLAINTS_MAX)
		fprintf(stderr,
			"%s: connection %llu %s (fd %d, seed %llu), after %llu bytes out and %llu in: %s (%s)\n",
			mismatch ? "MISMATCH" : "FAILED", (unsigned long long)exchange->id,
			exchange->side ? "server" : "client", exchange->fd, seed, (unsigned long long)exchange->sent,
			(unsigned long long)exchange->received, text, error ? strerror(error) : "end of file");
}

static bool send_bytes(struct exchange *exchange, size_t bytes)
{
	struct pattern pattern = pattern_make(seed, exchange->id, exchange->side, 0);

	pattern_fill(&pattern, exchange->sent, exchange->buffer, bytes);
	if (write_whole(exchange->fd, exchange->buffer, bytes) < 0) {
		complain(exchange, false, "send");
		return false;
	}
	exchange->sent += bytes;
	return true;
}

static bool receive_bytes(struct exchange *exchange, size_t bytes)
{
	struct pattern pattern = pattern_make(seed, exchange->id, !exchange->side, 0);
	ssize_t bad;

	if (read_whole(exchange->fd, exchange->buffer, bytes) < 0) {
		complain(exchange, false, "receive");
		return false;
	}
	bad = pattern_verify(&pattern, exchange->received, exchange->buffer, bytes);
	if (bad >= 0) {
		char text[80];

		errno = EILSEQ;
		snprintf(text, sizeof(text), "byte %zd of a message of %zu", bad, bytes);
		complain(exchange, true, text);
		return false;
	}
	exchange->received += bytes;
	verified += bytes;
	return true;
}

static struct hello hello_make(uint64_t id, unsigned side)
{
	return (struct hello){ .seed = seed, .id = id, .token = pattern_mix(seed ^ pattern_mix(id * 2 + side)) };
}

static bool hello_send(struct exchange *exchange)
{
	struct hello hello = hello_make(exchange->id, exchange->side);

	if (write_whole(exchange->fd, &hello, sizeof(hello)) < 0) {
		complain(exchange, false, "send of the token");
		return false;
	}
	return true;
}

/* The server learns from it which connection this is. */
static bool hello_receive(struct exchange *exchange)
{
	struct hello hello, expected;

	if (read_whole(exchange->fd, &hello, sizeof(hello)) < 0) {
		complain(exchange, false, "receive of the token");
		return false;
	}
	if (exchange->side)
		exchange->id = hello.id;
	expected = hello_make(exchange->id, !exchange->side);
	if (memcmp(&hello, &expected, sizeof(hello)) != 0 || exchange->id >= connections) {
		char text[120];

		errno = EILSEQ;
		snprintf(text, sizeof(text), "a token of seed %llu connection %llu", (unsigned long long)hello.seed,
			 (unsigned long long)hello.id);
		complain(exchange, true, text);
		return false;
	}
	return true;
}

/* The client says whether there is another one; the server answers the same. */
static void warm_turn(void *argument, int i)
{
	struct exchange *exchange = argument;
	signed char again = i >= 0, answer = -1;

	if (write_whole(exchange->fd, &again, 1) < 0 || read_whole(exchange->fd, &answer, 1) < 0 || answer != again)
		complain(exchange, answer != -1, "warm-up");
}

static void exchange_warm_up(struct exchange *exchange)
{
	char again = 1;

	if (!exchange->side) {
		await_redirecting(exchange->fd, warm_turn, exchange);
		warm_turn(exchange, -1);
	}
	while (exchange->side && again) {
		if (read_whole(exchange->fd, &again, 1) < 0 || write_whole(exchange->fd, &again, 1) < 0) {
			complain(exchange, false, "warm-up");
			return;
		}
	}
}

static bool exchange_turns(struct exchange *exchange)
{
	struct rng sizes, pauses;

	if (exchange->side ? !hello_receive(exchange) || !hello_send(exchange)
			   : !hello_send(exchange) || !hello_receive(exchange))
		return false;
	if (warm)
		exchange_warm_up(exchange);
	sizes = rng_make(seed ^ 0x7475726e, exchange->id);
	pauses = rng_make(seed + exchange->side, exchange->id);
	for (unsigned i = 0; i < turns; i++) {
		size_t ask = rng_size(&sizes, message_max), answer = rng_size(&sizes, message_max);

		if (pause_max_us && rng_below(&pauses, 16) == 0)
			pause_us(rng_below(&pauses, pause_max_us));
		if (exchange->side ? !receive_bytes(exchange, ask) || !send_bytes(exchange, answer)
				   : !send_bytes(exchange, ask) || !receive_bytes(exchange, answer))
			return false;
	}
	return true;
}

/* Who closes first, and how. The other side must see what belongs to it, not a byte more. */
static void exchange_close(struct exchange *exchange)
{
	unsigned how = closing == CLOSE_MIX ? (unsigned)(exchange->id % CLOSE_COUNT) : closing;
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };
	unsigned char extra;
	ssize_t got;

	if (how == CLOSE_SERVER ? exchange->side : !exchange->side) {
		if (how == CLOSE_RST)
			setsockopt(exchange->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	} else {
		got = recv(exchange->fd, &extra, 1, 0);
		if (got > 0 || (got < 0 && (how != CLOSE_RST || errno != ECONNRESET)))
			complain(exchange, got > 0, got > 0 ? "bytes after the last one" : "waiting for the close");
	}
	close(exchange->fd);
}

static void exchange_run(struct exchange *exchange)
{
	if (exchange_turns(exchange))
		exchange_close(exchange);
	else
		close(exchange->fd);
}

/* A client socket from the slot's few ports: SO_REUSEADDR, and again if the tuple is not free yet. */
static int client_connect(unsigned slot, unsigned round)
{
	struct sockaddr_storage to, from;
	socklen_t to_length = loopback_address(connect_to, port, &to), from_length;
	unsigned each = client_ports / concurrency ? client_ports / concurrency : 1;
	int on = 1;

	from_length = loopback_address(bind_to ? bind_to : connect_to, client_port + slot * each + round % each, &from);
	for (unsigned try = 0; try < CONNECT_TRIES; try++) {
		int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0)
			die("socket");
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if ((!client_port && !bind_to) || bind(fd, (struct sockaddr *)&from, from_length) == 0) {
			int result = nonblocking ? loopback_connect_nonblocking(fd, (struct sockaddr *)&to, to_length)
						 : connect(fd, (struct sockaddr *)&to, to_length);

			if (result == 0)
				return fd;
		}
		if (errno != EADDRINUSE && errno != EADDRNOTAVAIL && errno != ECONNREFUSED && errno != ECONNRESET)
			die("connect");
		close(fd);
		retries++;
		pause_us(1000);
	}
	die("no free tuple after %u tries", CONNECT_TRIES);
}

static unsigned char *buffer_make(void)
{
	unsigned char *buffer = malloc(MESSAGE_MAX);

	if (!buffer)
		die("malloc");
	return buffer;
}

static void *client_main(void *argument)
{
	unsigned slot = (unsigned)(uintptr_t)argument, round = 0;
	struct exchange exchange = { .side = 0, .buffer = buffer_make() };

	for (unsigned id = slot; id < connections; id += concurrency, round++) {
		exchange.id = id;
		exchange.sent = exchange.received = 0;
		exchange.fd = client_connect(slot, round);
		exchange_run(&exchange);
	}
	free(exchange.buffer);
	return NULL;
}

static void *server_main(void *argument)
{
	int listener = (int)(intptr_t)argument;
	struct exchange exchange = { .side = 1, .buffer = buffer_make() };

	while (tickets++ < connections) {
		int on = 1;

		exchange.sent = exchange.received = 0;
		exchange.id = UINT64_MAX;
		exchange.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (exchange.fd < 0)
			die("accept");
		setsockopt(exchange.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		exchange_run(&exchange);
		served++;
	}
	free(exchange.buffer);
	return NULL;
}

static void dump(void)
{
	fprintf(stderr, "served %u of %u, verified %llu bytes, mismatches %u, errors %u, retries %u\n", served,
		connections, (unsigned long long)verified, mismatches, errors, retries);
}

static void usage(const char *what)
{
	fprintf(stderr, "exchange: %s? See the head of exchange.c.\n", what);
	_exit(EXIT_USAGE);
}

static void options_read(int count, char **options)
{
	struct {
		const char *name;
		unsigned *number;
		const char **text;
	} known[] = {
		{ "port", &port, NULL },
		{ "client_port", &client_port, NULL },
		{ "client_ports", &client_ports, NULL },
		{ "connections", &connections, NULL },
		{ "concurrency", &concurrency, NULL },
		{ "turns", &turns, NULL },
		{ "message_max", &message_max, NULL },
		{ "deadline", &deadline_s, NULL },
		{ "nonblocking", &nonblocking, NULL },
		{ "pause_us", &pause_max_us, NULL },
		{ "warm", &warm, NULL }, /* 1: more turns come first, until a late helper has armed the pair */
		{ "listen", NULL, &listen_on },
		{ "connect", NULL, &connect_to },
		{ "bind", NULL, &bind_to },
	};

	for (int i = 0; i < count; i++) {
		char *value = strchr(options[i], '=');
		size_t which = 0, known_count = sizeof(known) / sizeof(known[0]);

		if (!value)
			usage(options[i]);
		*value++ = 0;
		while (which < known_count && strcmp(known[which].name, options[i]) != 0)
			which++;
		if (which < known_count && known[which].number)
			*known[which].number = (unsigned)strtoul(value, NULL, 0);
		else if (which < known_count)
			*known[which].text = value;
		else if (!strcmp(options[i], "seed"))
			seed = strtoull(value, NULL, 0);
		else if (!strcmp(options[i], "close"))
			for (closing = 0; closing < CLOSE_MIX && strcmp(value, closing_names[closing]) != 0;)
				closing++;
		else
			usage(options[i]);
	}
	if (!connections || !concurrency || message_max > MESSAGE_MAX)
		usage("a number out of range");
	if (concurrency > connections)
		concurrency = connections;
}

int main(int argc, char **argv)
{
	const char *role = argc > 1 ? argv[1] : "";
	bool client = strcmp(role, "server") != 0, server = strcmp(role, "client") != 0;
	uint64_t started = now_us();
	pthread_t *threads;
	unsigned count = 0;

	signal(SIGPIPE, SIG_IGN);
	if (client && server && strcmp(role, "both") != 0)
		usage(role);
	options_read(argc - 2, argv + 2);
	watchdog_start(deadline_s, dump);
	threads = calloc(2ul * concurrency, sizeof(*threads));
	if (server) {
		int listener = loopback_listen(listen_on, port, 1024, 0);

		port = loopback_port(listener);
		printf("port %u\n", port);
		fflush(stdout);
		for (unsigned i = 0; i < concurrency; i++)
			if (pthread_create(&threads[count++], NULL, server_main, (void *)(intptr_t)listener))
				die("pthread_create");
	}
	for (unsigned i = 0; client && i < concurrency; i++)
		if (pthread_create(&threads[count++], NULL, client_main, (void *)(uintptr_t)i))
			die("pthread_create");
	while (count)
		pthread_join(threads[--count], NULL);
	printf("{\"connections\": %u, \"bytes\": %llu, \"mismatches\": %u, \"errors\": %u, \"retries\": %u, "
	       "\"seconds\": %.3f}\n",
	       connections, (unsigned long long)verified, mismatches, errors, retries,
	       (double)(now_us() - started) / 1e6);
	free(threads);
	return mismatches || errors ? EXIT_WRONG : 0;
}
