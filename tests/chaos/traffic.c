/* SPDX-License-Identifier: BSD-2-Clause */
/* Traffic that a test commands, line by line, while it does things to the helper.
 *
 * Two processes: a server that returns every byte as it came, a thread a connection, and a client that keeps
 * connections with position-coded traffic going ("traffic serve" and "traffic connect PORT" are one of them alone).
 * The client reads one command a line and answers each with one JSON line:
 *   open N    opens N connections that stay: {"us": [connect + first exchange, ...]}
 *   probe N   opens N one after the other, an exchange each, and closes them: {"us": [...]}
 *   go, halt  traffic on all that stay; halt returns when all are quiet
 *   close     closes all that stay, while halted
 *   turns N   N turns on every connection that stays, while halted
 *   stat      {"bytes": there and back, "turns": N}
 *   quit
 * A wrong byte, an error or a turn that hangs ends the program with a message and status 1.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "../support/loopback.h"
#include "../support/pattern.h"
#include "../support/random.h"

#define CONNECTIONS_MAX 64
#define TURN_MAX (96u << 10)
#define TURN_TIMEOUT_S 5
#define FIRST_BYTES 64

struct connection {
	int fd;
	struct pattern pattern;
	struct rng rng;
	uint64_t offset;
	pthread_t thread;
	pthread_mutex_t lock; /* held for a turn */
};

static struct connection connections[CONNECTIONS_MAX];
static size_t connection_count;
static _Atomic int going;
static _Atomic uint64_t total_bytes, total_turns;
static unsigned server_port;

static void __attribute__((format(printf, 1, 2), noreturn)) fail(const char *format, ...)
{
	char text[200];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	dprintf(STDERR_FILENO, "traffic: %s\n", text);
	_exit(EXIT_WRONG);
}

/* ---- server ---- */
static void *serve(void *argument)
{
	int fd = (int)(intptr_t)argument;
	unsigned char *buffer = malloc(65536);
	ssize_t got;

	while ((got = recv(fd, buffer, 65536, 0)) > 0)
		if (write_whole(fd, buffer, (size_t)got))
			break;
	free(buffer);
	close(fd);
	return NULL;
}

static void serve_all(int listener)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		pthread_t thread;

		if (fd < 0)
			die("accept");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd))
			die("pthread_create");
		pthread_detach(thread);
	}
}

/* ---- client ---- */
static void turn(struct connection *one, size_t bytes)
{
	static __thread unsigned char buffer[TURN_MAX];
	ssize_t wrong;

	pattern_fill(&one->pattern, one->offset, buffer, bytes);
	if (write_whole(one->fd, buffer, bytes))
		fail("send at byte %llu: %s", (unsigned long long)one->offset, strerror(errno));
	memset(buffer, 0, bytes);
	if (read_whole(one->fd, buffer, bytes))
		fail("receive at byte %llu: %s", (unsigned long long)one->offset,
		     errno ? strerror(errno) : "end of file");
	wrong = pattern_verify(&one->pattern, one->offset, buffer, bytes);
	if (wrong >= 0)
		fail("byte %llu is wrong", (unsigned long long)one->offset + (unsigned long long)wrong);
	one->offset += bytes;
	total_bytes += 2 * bytes;
	total_turns++;
}

/* Connects and makes the first exchange; how long both took, in microseconds. */
static uint64_t connection_open(struct connection *one)
{
	static uint64_t serial;
	struct timeval patience = { .tv_sec = TURN_TIMEOUT_S };
	uint64_t start = now_us();

	one->fd = loopback_connect("127.0.0.1", server_port);
	setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	setsockopt(one->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(one->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	one->offset = 0;
	one->pattern = pattern_make((uint64_t)getpid(), ++serial, 0, 0);
	one->rng = rng_make((uint64_t)getpid(), serial);
	turn(one, FIRST_BYTES);
	return now_us() - start;
}

static void *drive(void *argument)
{
	struct connection *one = argument;

	for (;;) {
		if (!going) {
			pause_us(1000);
			continue;
		}
		pthread_mutex_lock(&one->lock);
		if (going)
			turn(one, rng_below(&one->rng, 4) ? FIRST_BYTES : rng_size(&one->rng, TURN_MAX));
		pthread_mutex_unlock(&one->lock);
		pause_us(rng_below(&one->rng, 400));
	}
	return NULL;
}

static void command_open(size_t count)
{
	printf("{\"us\": [");
	for (size_t i = 0; i < count; i++) {
		struct connection *one = &connections[connection_count];

		if (connection_count == CONNECTIONS_MAX)
			fail("too many connections");
		printf("%s%llu", i ? ", " : "", (unsigned long long)connection_open(one));
		pthread_mutex_init(&one->lock, NULL);
		if (pthread_create(&one->thread, NULL, drive, one))
			die("pthread_create");
		connection_count++;
	}
	printf("]}\n");
}

static void command_probe(size_t count)
{
	printf("{\"us\": [");
	for (size_t i = 0; i < count; i++) {
		struct connection one;

		printf("%s%llu", i ? ", " : "", (unsigned long long)connection_open(&one));
		close(one.fd);
	}
	printf("]}\n");
}

static void command_turns(size_t count)
{
	for (size_t i = 0; i < connection_count; i++)
		for (size_t k = 0; k < count; k++)
			turn(&connections[i], FIRST_BYTES);
	printf("{\"turns\": %zu}\n", count * connection_count);
}

static void command_go(void)
{
	going = 1;
	printf("{}\n");
}

/* Returns when no turn is under way. */
static void halt(void)
{
	going = 0;
	for (size_t i = 0; i < connection_count; i++) {
		pthread_mutex_lock(&connections[i].lock);
		pthread_mutex_unlock(&connections[i].lock);
	}
}

static void command_halt(void)
{
	halt();
	printf("{}\n");
}

/* The threads that drive them stay, and have nothing to do any more. */
static void command_close(void)
{
	for (size_t i = 0; i < connection_count; i++)
		close(connections[i].fd);
	printf("{\"closed\": %zu}\n", connection_count);
}

static void command_loop(void)
{
	char line[64], word[16];
	size_t count;

	while (fgets(line, sizeof(line), stdin)) {
		count = 0;
		if (sscanf(line, "%15s %zu", word, &count) < 1)
			continue;
		if (!strcmp(word, "open"))
			command_open(count);
		else if (!strcmp(word, "probe"))
			command_probe(count);
		else if (!strcmp(word, "turns"))
			command_turns(count);
		else if (!strcmp(word, "go"))
			command_go();
		else if (!strcmp(word, "halt"))
			command_halt();
		else if (!strcmp(word, "close"))
			command_close();
		else if (!strcmp(word, "stat"))
			printf("{\"bytes\": %llu, \"turns\": %llu}\n", (unsigned long long)total_bytes,
			       (unsigned long long)total_turns);
		else if (!strcmp(word, "quit"))
			break;
		fflush(stdout);
	}
	halt();
}

static int run_client(pid_t server)
{
	printf("{\"server\": %d, \"client\": %d}\n", server, getpid());
	fflush(stdout);
	command_loop();
	return 0;
}

int main(int argc, char **argv)
{
	int listener;
	pid_t server;

	signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && !strcmp(argv[1], "connect")) {
		server_port = (unsigned)atoi(argv[2]);
		_exit(run_client(0));
	}
	listener = loopback_listen("127.0.0.1", 0, 128, 0);
	server_port = loopback_port(listener);
	if (argc == 2 && !strcmp(argv[1], "serve")) {
		printf("{\"port\": %u}\n", server_port);
		fflush(stdout);
		serve_all(listener);
	}
	server = fork();
	if (server < 0)
		die("fork");
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve_all(listener);
	}
	close(listener);
	run_client(server);
	kill(server, SIGTERM);
	waitpid(server, NULL, 0);
	_exit(0);
}
