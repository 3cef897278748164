/* SPDX-License-Identifier: BSD-2-Clause */
/* last_words PORT stream|stdout: connects, and ends with a line in a stream of libc's: one of its own for the connection, or stdout,
 * which the connection has become. libc writes it when all handlers have run. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	FILE *stream = stdout;

	if (argc < 3 || fd < 0)
		return 2;
	address.sin_port = htons((uint16_t)atoi(argv[1]));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return 1;
	if (!strcmp(argv[2], "stream"))
		stream = fdopen(fd, "w");
	else if (dup2(fd, STDOUT_FILENO) < 0)
		return 1;
	fputs("line", stream);
	exit(0);
}
