/* SPDX-License-Identifier: BSD-2-Clause */
/* The daemon's log: one write(2) a line, so that lines of several threads do not mix. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "log.h"

bool log_verbose;
const char *log_error_mark = "";

/* JOURNAL_STREAM alone says nothing: a child's standard error may be another file (systemd.exec(5)). */
void log_open(void)
{
	const char *stream = getenv("JOURNAL_STREAM"); /* device:inode, decimal */
	char name[2 * 20 + 2];
	struct stat status;

	if (!stream || fstat(STDERR_FILENO, &status) < 0)
		return;
	snprintf(name, sizeof(name), "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
	if (!strcmp(stream, name))
		log_error_mark = SD_ERR;
}

void log_write(const char *mark, const char *format, ...)
{
	char line[512];
	int head = snprintf(line, sizeof(line), "%ssmacceld: ", mark), body;
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
