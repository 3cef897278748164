/* SPDX-License-Identifier: BSD-2-Clause */
/* Two ends of a conversation, each a process: for environments of which only one end, or both, may be strange.
 *
 *   talk server                  prints "port N"; serves a few connections until its standard input ends
 *   talk client PORT TURNS       TURNS requests of changing size, each answered by as many bytes, every byte checked
 *   talk client PORT TURNS when-redirecting      so too, once small ones are redirected
 *
 * The answer to a byte is the byte plus one. Memory comes from malloc, of changing sizes, in each turn. The client prints one line
 * of JSON. Built in several ways (environment.mk): nothing here is of one libc alone.
 */
#define _GNU_SOURCE
#include "../support/loopback.h"
#include "../support/redirecting.h"

#define REQUEST_MAX 30000u
#define FILES 10 /* standard input, the listener, connections */
#define DEADLINE_S 30
/* Joining waits for nothing in auto mode: the helper needs some time of its own. */
#define PAUSE_TURNS 100u
#define PAUSE_US 300

static unsigned char byte_of(uint64_t position)
{
	return (unsigned char)(position * 31 + (position >> 8) * 7);
}

/* An answer may be several writes: Nagle's algorithm would wait 40 ms for the acknowledgement of the first. */
static void send_at_once(int fd)
{
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
}

/* True until the end of the stream. */
static bool serve(int fd)
{
	size_t room = 1 + (size_t)rand() % REQUEST_MAX;
	unsigned char *buffer = malloc(room);

	if (!buffer)
		die("malloc");
	ssize_t bytes = read(fd, buffer, room);
	for (ssize_t i = 0; i < bytes; i++)
		buffer[i]++;
	if (bytes < 0 && errno == ECONNRESET)
		bytes = 0; /* a proxy that was itself only looked at */
	if (bytes < 0 || write_whole(fd, buffer, (size_t)bytes) < 0)
		die("server: %s", bytes < 0 ? "read" : "write");
	free(buffer);
	return bytes > 0;
}

static int server(void)
{
	struct pollfd wait[FILES] = { { .fd = STDIN_FILENO, .events = POLLIN } };
	nfds_t files = 2;

	wait[1] = (struct pollfd){ .fd = loopback_listen("127.0.0.1", 0, 8, 0), .events = POLLIN };
	printf("port %u\n", loopback_port(wait[1].fd));
	fflush(stdout);
	while (poll(wait, files, -1) > 0 && !wait[0].revents) {
		for (nfds_t i = files - 1; i > 1; i--) {
			if (!wait[i].revents || serve(wait[i].fd))
				continue;
			close(wait[i].fd);
			wait[i] = wait[--files];
		}
		if (wait[1].revents && files < FILES) {
			wait[files] = (struct pollfd){ .fd = accept(wait[1].fd, NULL, NULL), .events = POLLIN };
			send_at_once(wait[files++].fd);
		}
	}
	return 0;
}

static void turn(int fd, uint64_t *position, size_t bytes)
{
	unsigned char *request = malloc(bytes), *answer = malloc(bytes);

	if (!request || !answer)
		die("malloc");
	for (size_t i = 0; i < bytes; i++)
		request[i] = byte_of(*position + i);
	if (write_whole(fd, request, bytes) < 0)
		die("client: write");
	if (read_whole(fd, answer, bytes) < 0)
		die("client: read");
	for (size_t i = 0; i < bytes; i++)
		if (answer[i] != (unsigned char)(request[i] + 1)) {
			fprintf(stderr, "byte %llu is %02x\n", (unsigned long long)(*position + i), answer[i]);
			_exit(EXIT_WRONG);
		}
	*position += bytes;
	free(request);
	free(answer);
}

struct conversation {
	int fd;
	uint64_t position;
};

static void small_turn(void *argument, int i)
{
	struct conversation *conversation = argument;

	turn(conversation->fd, &conversation->position, 1 + (size_t)i % 100);
}

static int client(unsigned port, unsigned turns, bool when_redirecting)
{
	struct conversation conversation = { .fd = loopback_connect("127.0.0.1", port) };
	int fd = conversation.fd;

	send_at_once(fd);
	if (when_redirecting)
		await_redirecting(fd, small_turn, &conversation);
	uint64_t position = conversation.position, first = position;

	for (unsigned i = 0; i < turns; i++) {
		turn(fd, &position, 1 + (size_t)rand() % (i % 4 ? 200 : REQUEST_MAX));
		if (i < PAUSE_TURNS)
			usleep(PAUSE_US);
	}
	shutdown(fd, SHUT_WR);
	char byte;
	if (read(fd, &byte, 1) != 0)
		die("client: no end of the stream");
	printf("{\"turns\": %u, \"bytes\": %llu}\n", turns, (unsigned long long)(position - first));
	return 0;
}

int main(int argc, char **argv)
{
	alarm(DEADLINE_S);
	if (argc == 2 && !strcmp(argv[1], "server"))
		return server();
	if ((argc == 4 || argc == 5) && !strcmp(argv[1], "client"))
		return client((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]), argc == 5);
	fprintf(stderr, "usage: talk server | client PORT TURNS [when-redirecting]\n");
	return EXIT_USAGE;
}
