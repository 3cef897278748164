/* SPDX-License-Identifier: BSD-2-Clause */
/* Notes: one write(2) a line, so that lines of threads do not mix. */
#include "semantics.h"

#include <stdarg.h>

#define LINE_BYTES 1024
#define TEXT_BYTES_MAX 48

void note(const char *field, const char *format, ...)
{
	char line[LINE_BYTES];
	int saved = errno;
	va_list list;
	int used = snprintf(line, sizeof(line), "%s ", field);

	va_start(list, format);
	used += vsnprintf(line + used, sizeof(line) - (size_t)used - 1, format, list);
	va_end(list);
	if (used > LINE_BYTES - 2)
		used = LINE_BYTES - 2;
	line[used++] = '\n';
	if (write(STDOUT_FILENO, line, (size_t)used) != used)
		_exit(70);
	errno = saved;
}

const char *errno_text(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : "unknown";
}

void note_result(const char *field, ssize_t result, int error)
{
	if (result < 0)
		note(field, "%zd %s", result, errno_text(error));
	else
		note(field, "%zd", result);
}

void note_errno(const char *field, ssize_t result, int error)
{
	if (result >= 0 && error)
		note("errno", "%s %s", field, errno_text(error));
}

/* FNV-1a by words of eight bytes, whose high half is mixed into the low one: many cases note megabytes. */
static uint64_t hash(const unsigned char *data, size_t bytes)
{
	uint64_t sum = UINT64_C(14695981039346656037);

	for (size_t i = 0; i < bytes; i += sizeof(uint64_t)) {
		uint64_t word = 0;

		memcpy(&word, data + i, bytes - i < sizeof(word) ? bytes - i : sizeof(word));
		sum = (sum ^ word) * UINT64_C(1099511628211);
		sum ^= sum >> 32;
	}
	return sum;
}

void note_data(const char *field, const void *data, ssize_t bytes, int error)
{
	const unsigned char *bytes_in = data;
	bool printable = bytes <= TEXT_BYTES_MAX;

	if (bytes < 0 || !data) {
		note_result(field, bytes, error);
		return;
	}
	for (ssize_t i = 0; printable && i < bytes; i++)
		printable = bytes_in[i] >= ' ' && bytes_in[i] < 127;
	if (printable)
		note(field, "%zd \"%.*s\"", bytes, (int)bytes, (const char *)data);
	else
		note(field, "%zd #%016llx", bytes, (unsigned long long)hash(data, (size_t)bytes));
}

/* poll's and epoll's bits are the same. */
void note_events(const char *field, int result, unsigned events, int error)
{
	static const struct {
		unsigned bit;
		const char *name;
	} bits[] = {
		{ POLLIN, "IN" },         { POLLPRI, "PRI" },       { POLLOUT, "OUT" },       { POLLERR, "ERR" },
		{ POLLHUP, "HUP" },       { POLLNVAL, "NVAL" },     { POLLRDNORM, "RDNORM" }, { POLLRDBAND, "RDBAND" },
		{ POLLWRNORM, "WRNORM" }, { POLLWRBAND, "WRBAND" }, { POLLRDHUP, "RDHUP" },
	};
	char text[128] = "";

	if (result < 0) {
		note_result(field, result, error);
		return;
	}
	for (size_t i = 0; result > 0 && i < sizeof(bits) / sizeof(bits[0]); i++)
		if (events & bits[i].bit)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), " %s", bits[i].name);
	note(field, "%d%s", result, text);
}

void note_poll(const char *field, int fd, short events, int timeout_ms)
{
	struct pollfd poller = { .fd = fd, .events = events };
	int result = poll(&poller, 1, timeout_ms);

	note_events(field, result, (unsigned short)poller.revents, errno);
}

void get(const char *field, int fd, size_t bytes, int flags)
{
	char buffer[4096];

	if (bytes > sizeof(buffer))
		bytes = sizeof(buffer);
	memset(buffer, '~', sizeof(buffer));
	GET(field, buffer, recv(fd, buffer, bytes, flags));
}
