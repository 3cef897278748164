/* SPDX-License-Identifier: BSD-2-Clause */
/* Order: many connections, every byte position-coded, every way to read and to write, both directions at once.
 *
 *   order threads [OPTION=VALUE...]     both ends in this process
 *   order server  [OPTION=VALUE...]     prints "port N", serves all connections, reports
 *   order client port=N [OPTION=VALUE...]
 *
 * Both processes must be given the same seed, connections, bytes and lists. One line of JSON on stdout at the end. Exit
 * status: 0 every byte right; 1 mismatches or errors; 2 set-up; 3 deadline (a dump of all ends that hang on stderr).
 *
 * Styles: duplex has a reading and a writing thread an end; turns sends and waits for the answer; loop is one thread with
 * an edge-triggered epoll for both directions.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>

#include "../support/watchdog.h"
#include "order_end.h"
#include "order_read.h"
#include "order_write.h"

#define CONNECTIONS_MAX 8192u

static struct plan plan = {
	.address = "127.0.0.1",
	.seed = 1,
	.connections = 32,
	.concurrency = 8,
	.pause_max_us = 1000,
	.deadline_s = 120,
	.rcvbuf_every = 8,
	.bytes = 4u << 20,
	.write_max = 1u << 20,
	.styles = (1u << STYLE_COUNT) - 1,
	.readers = (1u << READER_COUNT) - 1,
	.writers = (1u << WRITER_COUNT) - 1,
};
static struct end
	*ends[CONNECTIONS_MAX * 2]; /* [connection * 2 + side]; written before its threads start, for the dump */

static void dump_all(void)
{
	for (unsigned i = 0; i < plan.connections * 2; i++)
		if (ends[i] && !ends[i]->finished)
			end_dump(ends[i]);
}

static void *writer_main(void *argument)
{
	struct end *end = argument;

	while (end->sent < end->total && writer_chunk(end, rng_size(&end->write_rng, plan.write_max)))
		;
	writer_finish(end);
	return NULL;
}

static void end_run_duplex(struct end *end)
{
	pthread_t writer;

	if (pthread_create(&writer, NULL, writer_main, end))
		die("pthread_create");
	if (reader_until(end, end->total))
		reader_finish(end);
	pthread_join(writer, NULL);
}

/* The client asks, the server answers; the sizes come from one generator that both have. */
static void end_run_turns(struct end *end)
{
	struct rng sizes = rng_make(plan.seed ^ 0x70726e73, end->connection);
	uint64_t read_target = 0;
	bool good = true;

	while (good && (end->sent < end->total || end->received < end->total)) {
		size_t size[2] = { rng_size(&sizes, plan.write_max), rng_size(&sizes, plan.write_max) };

		read_target += size[!end->side];
		if (read_target > end->total)
			read_target = end->total;
		if (end->side == 0)
			good = writer_chunk(end, size[0]) && reader_until(end, read_target);
		else
			good = reader_until(end, read_target) && writer_chunk(end, size[1]);
	}
	writer_finish(end);
	if (good)
		reader_finish(end);
}

/* One step of the loop's writing: true if something went out. */
static bool loop_write(struct end *end, size_t *done, size_t *length, bool *writable)
{
	ssize_t got;

	if (*done == *length) {
		*done = 0;
		*length = writer_prepare(end, rng_size(&end->write_rng, plan.write_max));
	}
	got = writer_call(end, end->write_buffer + *done, *length - *done);
	if (got < 0 && errno == EAGAIN) {
		*writable = false;
		return false;
	}
	if (got <= 0) {
		end_fail(end, writer_names[end->writer]);
		return false;
	}
	*done += (size_t)got;
	end->sent += (size_t)got;
	if (end->sent == end->total)
		writer_finish(end);
	return true;
}

static void end_run_loop(struct end *end)
{
	bool writable = true, readable = true;
	size_t done = 0, length = 0;

	while (!end->failed && (end->sent < end->total || end->received < end->total)) {
		struct epoll_event event;

		if (end->sent < end->total && writable)
			loop_write(end, &done, &length, &writable);
		if (end->received < end->total && readable && !end->failed) {
			size_t room = rng_size(&end->read_rng, READ_MAX);
			ssize_t got = reader_call(end, room);

			if (got < 0 && errno == EAGAIN)
				readable = false;
			else if (got <= 0)
				end_fail(end, "read");
			else
				end_check(end, end->read_buffer, (size_t)got, true);
		}
		if ((readable && end->received < end->total) || (writable && end->sent < end->total) || end->failed)
			continue;
		if (end->sent == end->total && end->received == end->total)
			break;
		end->reading = "in the loop's epoll_wait";
		if (epoll_wait(end->epoll_fd, &event, 1, -1) == 1) {
			writable |= (event.events & EPOLLOUT) != 0;
			readable |= (event.events & EPOLLIN) != 0;
			end->hung_up |= (event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
		}
	}
	if (!end->failed)
		reader_finish(end);
}

static void end_run(struct end *end)
{
	end->read_buffer = malloc(READ_MAX);
	end->write_buffer = malloc(plan.write_max);
	if (!end->read_buffer || !end->write_buffer)
		die("malloc");
	if (end->nonblocking)
		fcntl(end->fd, F_SETFL, O_NONBLOCK);
	reader_open(end);
	writer_open(end);
	ends[end->connection * 2 + end->side] = end;
	if (end->style == STYLE_DUPLEX)
		end_run_duplex(end);
	else if (end->style == STYLE_TURNS)
		end_run_turns(end);
	else
		end_run_loop(end);
	end->finished = true;
	finished_count++;
	close(end->fd);
	if (end->epoll_fd >= 0)
		close(end->epoll_fd);
	if (end->file_fd >= 0)
		close(end->file_fd);
	free(end->read_buffer);
	free(end->write_buffer);
}

/* A buffer of the application's choice on some clients. Set before connect() and not small: plain TCP itself stalls for
 * seconds (retransmissions, window probes) where an offered window is taken back or is a segment or two. */
static int client_connect(struct end *end)
{
	int bytes = 0;

	if (plan.rcvbuf_every && rng_below(&end->read_rng, plan.rcvbuf_every) == 0)
		bytes = 262144 << rng_below(&end->read_rng, 3);
	return loopback_connect_with(plan.address, plan.port, bytes);
}

static void *client_main(void *argument)
{
	struct end *end; /* never freed: the dump looks at it */

	for (unsigned id = (unsigned)(uintptr_t)argument; id < plan.connections; id += plan.concurrency) {
		uint64_t hello[2] = { plan.seed, id };

		if (ends[id * 2])
			die("connection %u twice", id);
		end = malloc(sizeof(*end));
		if (!end)
			die("malloc");
		end_init(end, &plan, id, 0);
		end->fd = client_connect(end);
		if (write_whole(end->fd, hello, sizeof(hello)) < 0)
			die("hello");
		end_run(end);
	}
	return NULL;
}

static void *server_end_main(void *argument)
{
	int fd = (int)(intptr_t)argument;
	struct end *end = malloc(sizeof(*end));
	uint64_t hello[2];

	if (!end)
		die("malloc");
	if (read_whole(fd, hello, sizeof(hello)) < 0)
		memset(hello, 0xff, sizeof(hello));
	if (hello[0] != plan.seed || hello[1] >= plan.connections || ends[hello[1] * 2 + 1]) {
		fprintf(stderr, "MISMATCH: the first bytes of a connection are not its hello: %llx %llx\n",
			(unsigned long long)hello[0], (unsigned long long)hello[1]);
		mismatch_count++;
		shutdown(fd, SHUT_RDWR);
		close(fd);
		free(end);
		return NULL;
	}
	end_init(end, &plan, (unsigned)hello[1], 1);
	end->fd = fd;
	end_run(end);
	return NULL;
}

static void *server_main(void *argument)
{
	int listener = (int)(intptr_t)argument;
	pthread_t *threads = calloc(plan.connections, sizeof(*threads));

	for (unsigned i = 0; threads && i < plan.connections; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			die("accept");
		if (pthread_create(&threads[i], NULL, server_end_main, (void *)(intptr_t)fd))
			die("pthread_create");
	}
	for (unsigned i = 0; threads && i < plan.connections; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	close(listener);
	return NULL;
}

static void clients_run(void)
{
	pthread_t *threads = calloc(plan.concurrency, sizeof(*threads));

	for (unsigned i = 0; threads && i < plan.concurrency; i++)
		if (pthread_create(&threads[i], NULL, client_main, (void *)(uintptr_t)i))
			die("pthread_create");
	for (unsigned i = 0; threads && i < plan.concurrency; i++)
		pthread_join(threads[i], NULL);
	free(threads);
}

#include "order_options.h"

int main(int argc, char **argv)
{
	uint64_t started = now_us();
	const char *role = argc > 1 ? argv[1] : "";
	bool threads = !strcmp(role, "threads"), server = !strcmp(role, "server");
	pthread_t acceptor;

	signal(SIGPIPE, SIG_IGN);
	if (!threads && !server && strcmp(role, "client"))
		options_usage(role);
	options_read(argc - 2, argv + 2);
	watchdog_start(plan.deadline_s, dump_all);
	if (threads || server) {
		int listener = loopback_listen(plan.address, plan.port, 1024, 0);

		plan.port = loopback_port(listener);
		printf("port %u\n", plan.port);
		fflush(stdout);
		if (pthread_create(&acceptor, NULL, server_main, (void *)(intptr_t)listener))
			die("pthread_create");
	}
	if (!server)
		clients_run();
	if (threads || server)
		pthread_join(acceptor, NULL);
	printf("{\"bytes\": %llu, \"connections\": %u, \"ends\": %u, \"mismatches\": %u, \"errors\": %u, \"seconds\": "
	       "%.3f}\n",
	       (unsigned long long)verified_bytes, plan.connections, finished_count, mismatch_count, error_count,
	       (double)(now_us() - started) / 1e6);
	return mismatch_count || error_count ? EXIT_WRONG : 0;
}
