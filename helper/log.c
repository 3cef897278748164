/* SPDX-License-Identifier: BSD-2-Clause */
/* The daemon's log: one write(2) a line, so that lines of several threads do not mix. */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "log.h"

bool log_verbose;

void log_write(const char *format, ...)
{
	char line[512];
	int head = snprintf(line, sizeof(line), "smacceld: "), body;
	va_list arguments;
	size_t bytes;

	va_start(arguments, format);
	body = vsnprintf(line + head, sizeof(line) - head - 1, format, arguments);
	va_end(arguments);
	if (body < 0)
		return;
	bytes = head + body;
	if (bytes > sizeof(line) - 2)
		bytes = sizeof(line) - 2;
	line[bytes++] = '\n';
	if (write(STDERR_FILENO, line, bytes) < 0)
		return; /* nobody listens: nothing else can be done */
}
