/* SPDX-License-Identifier: BSD-2-Clause */
/* Visits: connection after connection to one server, each of a few turns, as many clients make them.
 *
 *   visits server [port=N] [connections=N] [deadline=S]       prints "port N"; serves that many, or until it is killed
 *   visits client port=N connections=N turns=N [deadline=S]   prints "visits N" every hundred connections, JSON at the end
 *
 * A server that is away for a while, or goes in the middle of a visit, is waited for: it may be replaced by another.
 */
#include "../support/loopback.h"
#include "../support/watchdog.h"

#define MESSAGE_BYTES 64

static uint64_t port, connections, turns = 1, deadline_s = 60;

static void serve(void)
{
	int listener = loopback_listen("127.0.0.1", (unsigned)port, 64, 0);
	char message[MESSAGE_BYTES];

	printf("port %u\n", loopback_port(listener));
	fflush(stdout);
	for (uint64_t served = 0; !connections || served < connections; served++) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			die("accept");
		while (recv(fd, message, sizeof(message), MSG_WAITALL) == MESSAGE_BYTES)
			if (send(fd, message, sizeof(message), MSG_NOSIGNAL) != MESSAGE_BYTES)
				break;
		close(fd);
	}
}

/* False if the server is not there, or has gone. */
static bool visit(void)
{
	char message[MESSAGE_BYTES] = { 1 };
	struct sockaddr_storage address;
	socklen_t length = loopback_address("127.0.0.1", (unsigned)port, &address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	uint64_t done = 0;

	if (fd < 0)
		die("socket");
	if (connect(fd, (struct sockaddr *)&address, length) == 0)
		while (done < turns && send(fd, message, sizeof(message), MSG_NOSIGNAL) == MESSAGE_BYTES &&
		       recv(fd, message, sizeof(message), MSG_WAITALL) == MESSAGE_BYTES)
			done++;
	close(fd);
	return done == turns;
}

int main(int argc, char **argv)
{
	for (int i = 2; i < argc; i++) {
		char *value = strchr(argv[i], '=');
		uint64_t number = value ? strtoull(value + 1, NULL, 0) : 0;

		if (!strncmp(argv[i], "port=", 5))
			port = number;
		else if (!strncmp(argv[i], "connections=", 12))
			connections = number;
		else if (!strncmp(argv[i], "turns=", 6))
			turns = number;
		else if (!strncmp(argv[i], "deadline=", 9))
			deadline_s = number;
		else
			die("visits: %s?", argv[i]);
	}
	watchdog_start((unsigned)deadline_s, NULL);
	if (argc > 1 && !strcmp(argv[1], "server")) {
		serve();
		return 0;
	}
	for (uint64_t made = 0; made < connections;) {
		if (!visit()) {
			pause_us(2000);
			continue;
		}
		if (++made % 100 == 0) {
			printf("visits %llu\n", (unsigned long long)made);
			fflush(stdout);
		}
	}
	printf("{\"connections\": %llu, \"turns\": %llu}\n", (unsigned long long)connections,
	       (unsigned long long)turns);
	return 0;
}
