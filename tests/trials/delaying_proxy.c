/* SPDX-License-Identifier: BSD-2-Clause */
/* A TCP proxy that holds each answer back for a part of the time that it took: the planted difference.
 *
 *   delaying_proxy --port P --to Q     DELAY_PERCENT in the environment: how much; `smaccel ab` sets it in one arm
 *
 * Serves one client, then ends. Messages are of 64 bytes. The time is that from the request's forwarding to its answer, as it was
 * for this very request, so that the planted ratio is what it says whatever the machine does meanwhile.
 */
#include "wait_until_ns.h"

#define MESSAGE_BYTES 64
#define LIFETIME_S 60

int main(int argc, char **argv)
{
	const char *text = getenv("DELAY_PERCENT");
	double part = text ? strtod(text, NULL) / 100 : 0;
	int listener = loopback_listen("127.0.0.1", (unsigned)argument(argc, argv, "port", 0), 4, 0), one = 1;
	int client, server;
	char message[MESSAGE_BYTES];

	bound_lifetime(LIFETIME_S);
	client = must(accept(listener, NULL, NULL));
	server = loopback_connect("127.0.0.1", (unsigned)argument(argc, argv, "to", 0));
	must(setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
	must(setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
	while (read_message(client, message, sizeof(message))) {
		uint64_t asked_ns = now_ns(), answered_ns;

		write_message(server, message, sizeof(message));
		if (!read_message(server, message, sizeof(message)))
			die("the service ended");
		answered_ns = now_ns();
		if (part > 0)
			wait_until_ns(answered_ns + (uint64_t)((double)(answered_ns - asked_ns) * part));
		write_message(client, message, sizeof(message));
	}
	/* `smaccel ab` ends its server: one that ends earlier, while CMD still runs, would be a failed run. */
	pause();
	return 0;
}
