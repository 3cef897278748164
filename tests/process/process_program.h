/* SPDX-License-Identifier: BSD-2-Clause */
/* Programs that get the connection as their standard input and output, and what their peers do. */
#ifndef SMACCEL_TEST_PROCESS_PROGRAM_H
#define SMACCEL_TEST_PROCESS_PROGRAM_H

#include "process_case.h"

#define ECHO (2u << 20)

extern char **environ;

/* The environment without the shim. */
static inline char **environ_bare(void)
{
	static char *bare[256];
	size_t count = 0;

	for (char **one = environ; *one && count < 255; one++)
		if (strncmp(*one, "LD_PRELOAD=", 11))
			bare[count++] = *one;
	bare[count] = NULL;
	return bare;
}

static const char *const cat_command[] = { "cat", NULL };

static inline void driver_echo(struct end *end)
{
	end_echo(end, ECHO);
	must(shutdown(end->fd, SHUT_WR));
	end_expect_eof(end, 5000);
}

/* This very program, as the one that is executed: what it reads as a whole comes in pieces. */
#define WHOLE "--whole"
#define PIECES 4
#define PIECE_BYTES 10
static const char *const whole_command[] = { "/proc/self/exe", WHOLE, NULL };

static inline int echo_whole(void)
{
	char whole[PIECES * PIECE_BYTES];
	ssize_t bytes;

	while ((bytes = recv(STDIN_FILENO, whole, sizeof(whole), MSG_WAITALL)) == sizeof(whole))
		if (write_whole(STDOUT_FILENO, whole, sizeof(whole)))
			return 1;
	return bytes == 0 ? 0 : 1;
}

static inline void driver_whole(struct end *end)
{
	for (unsigned i = 0; i < 8; i++) {
		char whole[PIECES * PIECE_BYTES], answer[sizeof(whole)];

		memset(whole, 'a' + (int)i, sizeof(whole));
		for (unsigned k = 0; k < PIECES; k++) {
			must(send(end->fd, whole + k * PIECE_BYTES, PIECE_BYTES, MSG_NOSIGNAL));
			pause_us(2000);
		}
		if (must(recv(end->fd, answer, sizeof(answer), MSG_WAITALL)) != sizeof(answer) ||
		    memcmp(answer, whole, sizeof(answer)) != 0)
			fail("answer %u is another", i);
	}
	must(shutdown(end->fd, SHUT_WR));
	end_expect_eof(end, 5000);
}

#endif
