/* SPDX-License-Identifier: BSD-2-Clause */
/* A service and its clients, to run a trial on: one thread a connection on each side, small requests with a pause between
 * them, every response compared with what was asked. Commands on stdin, a JSON line for each on stdout:
 *   open N      N more connections, which stay
 *   short N K   N connections one after the other, of K requests each, closed again
 *   slow US PORT...  the server sleeps so long before it answers those clients; all others not any more
 *   stats       requests answered so far, connections open
 *   close       closes all connections and waits for their threads
 *
 *   trial_load [--pause-us 10000] [--no-fork 1]
 * The server is a forked process; its port is printed first. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../bench/bench.h"

#define CONNECTIONS_MAX 1024
#define REQUEST_BYTES 64

static struct shared {
	_Atomic uint32_t slow_us[65536]; /* by the client's port */
	_Atomic uint64_t answered;
} * shared;

static unsigned server_port_h;
static unsigned pause_us;
static _Atomic bool closing;
static pthread_t clients[CONNECTIONS_MAX];
static unsigned client_count;

static unsigned peer_port(int fd)
{
	struct sockaddr_in address;
	socklen_t bytes = sizeof(address);

	must(getpeername(fd, (struct sockaddr *)&address, &bytes));
	return ntohs(address.sin_port);
}

static void *serve(void *argument)
{
	int fd = (int)(intptr_t)argument;
	unsigned port_h = peer_port(fd);
	char request[REQUEST_BYTES];

	while (read_message(fd, request, sizeof(request))) {
		unsigned slow_us = atomic_load(&shared->slow_us[port_h]);

		if (slow_us)
			usleep(slow_us);
		write_message(fd, request, sizeof(request));
	}
	close(fd);
	return NULL;
}

static void start_thread(pthread_t *out, void *(*run)(void *argument), void *argument)
{
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 256 * 1024);
	if (pthread_create(out, &attributes, run, argument))
		die("pthread_create");
	pthread_attr_destroy(&attributes);
}

static void accept_all(int listener)
{
	for (;;) {
		int fd = must(accept(listener, NULL, NULL)), one = 1;
		pthread_t thread;

		must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
		start_thread(&thread, serve, (void *)(intptr_t)fd);
		pthread_detach(thread);
	}
}

static void ask(int fd, uint64_t number)
{
	uint64_t request[REQUEST_BYTES / sizeof(uint64_t)], response[REQUEST_BYTES / sizeof(uint64_t)];

	for (size_t i = 0; i < REQUEST_BYTES / sizeof(uint64_t); i++)
		request[i] = number * 8 + i;
	write_message(fd, request, sizeof(request));
	if (!read_message(fd, response, sizeof(response)) || memcmp(request, response, sizeof(request))) {
		fprintf(stderr, "a response is not what was asked\n");
		exit(1);
	}
	atomic_fetch_add(&shared->answered, 1);
}

static int open_connection(void)
{
	int fd = loopback_connect("127.0.0.1", server_port_h), one = 1;

	must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
	return fd;
}

static void *play(void *argument)
{
	int fd = open_connection();

	(void)argument;
	for (uint64_t number = 1; !atomic_load(&closing); number++) {
		ask(fd, number);
		usleep(pause_us);
	}
	close(fd);
	return NULL;
}

static void set_slow(char *words)
{
	unsigned us = (unsigned)strtoul(words, &words, 10);

	for (unsigned port = 0; port < 65536; port++)
		atomic_store(&shared->slow_us[port], 0);
	for (;;) {
		char *end;
		unsigned long port = strtoul(words, &end, 10);

		if (end == words || port > 65535)
			return;
		atomic_store(&shared->slow_us[port], us);
		words = end;
	}
}

static void obey(char *line)
{
	unsigned count = 0, requests = 0;

	if (sscanf(line, "open %u", &count) == 1) {
		for (; count && client_count < CONNECTIONS_MAX; count--)
			start_thread(&clients[client_count++], play, NULL);
	} else if (sscanf(line, "short %u %u", &count, &requests) == 2) {
		for (unsigned i = 0; i < count; i++) {
			int fd = open_connection();

			for (unsigned number = 0; number < requests; number++)
				ask(fd, number);
			close(fd);
		}
	} else if (!strncmp(line, "slow ", 5)) {
		set_slow(line + 5);
	} else if (!strncmp(line, "close", 5)) {
		atomic_store(&closing, true);
		for (unsigned i = 0; i < client_count; i++)
			pthread_join(clients[i], NULL);
		client_count = 0;
		atomic_store(&closing, false);
	}
	printf("{\"answered\": %llu, \"open\": %u}\n", (unsigned long long)atomic_load(&shared->answered),
	       client_count);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int listener = loopback_listen("127.0.0.1", 0, 1024, 0);
	char line[65536];
	pid_t server;

	pause_us = (unsigned)argument(argc, argv, "pause-us", 10000);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	server_port_h = loopback_port(listener);
	bound_lifetime(120);
	server = must(fork());
	if (!server) {
		bound_lifetime(120);
		accept_all(listener);
	}
	close(listener);
	printf("{\"port\": %u, \"server\": %d}\n", server_port_h, (int)server);
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		obey(line);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	return 0;
}
