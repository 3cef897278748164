/* SPDX-License-Identifier: BSD-2-Clause */
/* The late server: the client sends before accept(), then server and client go on. Are the bytes in order?
 *
 *   late_server thread|process seed=N iterations=N deadline=S
 *
 * The bytes that were sent before accept() lie in the server's TCP queue when its end joins; what is redirected then must
 * not overtake them. In each iteration: chunks before accept, chunks while nobody reads, turns of both. thread: both ends
 * in one thread; process: the server is forked and accepts after a random pause. Of eight iterations one is with Nagle's
 * algorithm, which then waits 40 ms for most acknowledgements of bytes that have passed.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "../support/watchdog.h"

#define CHUNK_MAX 8192u
#define TURNS 120u
#define NAGLE_EVERY 8u

struct side {
	int fd;
	struct pattern out, in;
	uint64_t sent, received;
	const char *name;
};

static unsigned mismatches;
static uint64_t verified;

static struct side side_make(int fd, unsigned which, uint64_t seed, unsigned iteration)
{
	int on = 1;

	if (iteration % NAGLE_EVERY)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return (struct side){ .fd = fd,
			      .name = which ? "server" : "client",
			      .out = pattern_make(seed, iteration, which, 0),
			      .in = pattern_make(seed, iteration, !which, 0) };
}

static void side_send(struct side *side, size_t bytes)
{
	unsigned char buffer[CHUNK_MAX];

	pattern_fill(&side->out, side->sent, buffer, bytes);
	if (write_whole(side->fd, buffer, bytes) < 0)
		die("%s: send", side->name);
	side->sent += bytes;
}

/* Reads until `until` bytes have come, in reads of any size. */
static void side_receive(struct side *side, uint64_t until, struct rng *rng)
{
	unsigned char buffer[CHUNK_MAX];

	while (side->received < until) {
		size_t want = rng_size(rng, CHUNK_MAX);
		ssize_t got, bad;

		if (want > until - side->received)
			want = until - side->received;
		got = recv(side->fd, buffer, want, 0);
		if (got <= 0)
			die("%s: receive after %llu bytes: %zd", side->name, (unsigned long long)side->received, got);
		bad = pattern_verify(&side->in, side->received, buffer, (size_t)got);
		if (bad >= 0) {
			int64_t where =
				got - bad >= 16 ? pattern_locate(&side->in, side->received, buffer + bad, 1 << 20) : -1;

			fprintf(stderr, "MISMATCH: %s at offset %llu; these bytes belong at %lld\n", side->name,
				(unsigned long long)side->received + (unsigned long long)bad, (long long)where);
			mismatches++;
			_exit(EXIT_WRONG);
		}
		side->received += (size_t)got;
		verified += (size_t)got;
	}
}

/* The sizes of an iteration, the same for both sides whatever process they are in. */
struct script {
	unsigned before, unread;
	size_t chunk[32], ask[TURNS], answer[TURNS];
	uint64_t first_bytes;
	unsigned accept_pause_us;
};

static struct script script_make(uint64_t seed, unsigned iteration)
{
	struct rng rng = rng_make(seed, iteration);
	struct script script = { .before = 1 + (unsigned)rng_below(&rng, 16), .unread = (unsigned)rng_below(&rng, 16) };

	for (unsigned i = 0; i < script.before + script.unread; i++)
		script.first_bytes += script.chunk[i] = rng_size(&rng, 4096);
	for (unsigned i = 0; i < TURNS; i++) {
		script.ask[i] = rng_size(&rng, CHUNK_MAX);
		script.answer[i] = rng_size(&rng, CHUNK_MAX);
	}
	script.accept_pause_us = (unsigned)rng_below(&rng, 3000);
	return script;
}

static void one_thread(int listener, uint64_t seed, unsigned iteration)
{
	struct script script = script_make(seed, iteration);
	struct rng rng = rng_make(seed ^ 1, iteration);
	struct side client = side_make(loopback_connect("127.0.0.1", loopback_port(listener)), 0, seed, iteration),
		    server;
	unsigned i;

	for (i = 0; i < script.before; i++)
		side_send(&client, script.chunk[i]);
	server = side_make(accept4(listener, NULL, NULL, SOCK_CLOEXEC), 1, seed, iteration);
	if (server.fd < 0)
		die("accept");
	for (; i < script.before + script.unread; i++)
		side_send(&client, script.chunk[i]);
	/* a first answer before anything was read, then the backlog in pieces with new bytes behind it */
	side_send(&server, script.answer[0]);
	for (i = 0; i < TURNS; i++) {
		uint64_t backlog = client.sent - server.received;

		side_send(&client, script.ask[i]);
		side_receive(&server, server.received + backlog / (1 + rng_below(&rng, 3)), &rng);
		if (i)
			side_send(&server, script.answer[i]);
		side_receive(&client, server.sent, &rng);
	}
	side_receive(&server, client.sent, &rng);
	close(client.fd);
	if (recv(server.fd, &i, 1, 0) != 0)
		die("no end of file");
	close(server.fd);
}

static void process_client(unsigned port, uint64_t seed, unsigned iteration)
{
	struct script script = script_make(seed, iteration);
	struct rng rng = rng_make(seed ^ 2, iteration);
	struct side client = side_make(loopback_connect("127.0.0.1", port), 0, seed, iteration);
	uint64_t answers = 0;

	for (unsigned i = 0; i < script.before + script.unread; i++) {
		side_send(&client, script.chunk[i]);
		if (rng_below(&rng, 4) == 0)
			pause_us(rng_below(&rng, 1000));
	}
	for (unsigned i = 0; i < TURNS; i++) {
		side_send(&client, script.ask[i]);
		answers += script.answer[i];
		side_receive(&client, answers, &rng);
	}
	close(client.fd);
}

static void process_server(int listener, uint64_t seed, unsigned iteration)
{
	struct script script = script_make(seed, iteration);
	struct rng rng = rng_make(seed ^ 3, iteration);
	struct side server;
	uint64_t asked;

	pause_us(script.accept_pause_us);
	server = side_make(accept4(listener, NULL, NULL, SOCK_CLOEXEC), 1, seed, iteration);
	if (server.fd < 0)
		die("accept");
	asked = script.first_bytes;
	for (unsigned i = 0; i < TURNS; i++) {
		asked += script.ask[i];
		side_receive(&server, asked, &rng);
		side_send(&server, script.answer[i]);
	}
	if (recv(server.fd, &asked, 1, 0) != 0)
		die("no end of file");
	close(server.fd);
}

int main(int argc, char **argv)
{
	unsigned iterations = 100, deadline_s = 60;
	uint64_t seed = 1, started = now_us();
	bool process = argc > 1 && !strcmp(argv[1], "process");
	int listener = loopback_listen("127.0.0.1", 0, 64, 0), status = 0;
	pid_t child = 0;

	for (int i = 2; i < argc; i++) {
		if (!strncmp(argv[i], "seed=", 5))
			seed = strtoull(argv[i] + 5, NULL, 0);
		else if (!strncmp(argv[i], "iterations=", 11))
			iterations = (unsigned)strtoul(argv[i] + 11, NULL, 0);
		else if (!strncmp(argv[i], "deadline=", 9))
			deadline_s = (unsigned)strtoul(argv[i] + 9, NULL, 0);
	}
	if (process)
		child = fork();
	watchdog_start(deadline_s, NULL);
	for (unsigned i = 0; i < iterations; i++) {
		if (!process)
			one_thread(listener, seed, i);
		else if (child)
			process_client(loopback_port(listener), seed, i);
		else
			process_server(listener, seed, i);
	}
	if (process && !child)
		_exit(mismatches ? EXIT_WRONG : 0);
	if (process && (waitpid(child, &status, 0) != child || status)) {
		fprintf(stderr, "FAILED: the server process: status %x\n", status);
		return EXIT_WRONG;
	}
	printf("{\"iterations\": %u, \"bytes\": %llu, \"mismatches\": %u, \"seconds\": %.3f}\n", iterations,
	       (unsigned long long)verified, mismatches, (double)(now_us() - started) / 1e6);
	return mismatches ? EXIT_WRONG : 0;
}
