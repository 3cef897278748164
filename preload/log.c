/* SPDX-License-Identifier: BSD-2-Clause */
/* The shim's log: see log.h.
 *
 * Nothing is kept open: the application may close any fd, and the number may be a client's connection the next time. A file is
 * opened for each line; standard error is written to only while it is the file that it was at the start.
 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "raw_syscall.h"

#include "real.h"

#define LINE_BYTES 512
#define LIMIT_MARGIN_BYTES (128 * LINE_BYTES) /* so many others write at once, at most */

enum log_level log_level;
static char path[PATH_MAX]; /* empty: standard error */
static dev_t stderr_device;
static ino_t stderr_inode;

struct line {
	char text[LINE_BYTES];
	size_t length;
};

static void put(struct line *line, char c)
{
	if (line->length < LINE_BYTES - 1) /* the last byte is the newline's */
		line->text[line->length++] = c;
}

static void put_text(struct line *line, const char *text)
{
	for (text = text ? text : "(null)"; *text; text++)
		put(line, *text);
}

static void put_number(struct line *line, uint64_t value, unsigned base, unsigned width, char fill)
{
	char digits[20];
	unsigned count = 0;

	do {
		digits[count++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value != 0);
	for (; width > count; width--)
		put(line, fill);
	while (count > 0)
		put(line, digits[--count]);
}

static uint64_t next_unsigned(va_list *arguments, unsigned longs)
{
	if (longs == 0)
		return va_arg(*arguments, unsigned);
	return longs == 1 ? va_arg(*arguments, unsigned long) : va_arg(*arguments, unsigned long long);
}

static void put_signed(struct line *line, va_list *arguments, unsigned longs, unsigned width, char fill)
{
	int64_t value = longs == 0 ? va_arg(*arguments, int) : (int64_t)next_unsigned(arguments, longs);

	if (value < 0)
		put(line, '-');
	put_number(line, value < 0 ? -(uint64_t)value : (uint64_t)value, 10, width, fill);
}

/* One conversion, after its '%'. Knows %c %s %d %i %u %x %p %%, the lengths l, ll, z, j and a width. */
static const char *put_conversion(struct line *line, const char *format, va_list *arguments)
{
	char fill = *format == '0' ? '0' : ' ';
	unsigned width = 0, longs = 0;

	for (; *format >= '0' && *format <= '9'; format++)
		width = width * 10 + (unsigned)(*format - '0');
	for (; *format == 'l' || *format == 'z' || *format == 'j'; format++)
		longs++;
	switch (*format) {
	case 'd':
	case 'i':
		put_signed(line, arguments, longs, width, fill);
		break;
	case 'u':
		put_number(line, next_unsigned(arguments, longs), 10, width, fill);
		break;
	case 'x':
		put_number(line, next_unsigned(arguments, longs), 16, width, fill);
		break;
	case 'p':
		put_text(line, "0x");
		put_number(line, (uintptr_t)va_arg(*arguments, void *), 16, 0, ' ');
		break;
	case 's':
		put_text(line, va_arg(*arguments, const char *));
		break;
	case 'c':
		put(line, (char)va_arg(*arguments, int));
		break;
	case '\0':
		return format;
	default:
		put(line, *format);
	}
	return format + 1;
}

static void put_time(struct line *line)
{
	struct timespec now = { 0 };

	clock_read(CLOCK_MONOTONIC, &now);
	put_number(line, (uint64_t)now.tv_sec, 10, 0, ' ');
	put(line, '.');
	put_number(line, (uint64_t)now.tv_nsec / 1000, 10, 6, '0');
}

/* Beyond RLIMIT_FSIZE the kernel sends SIGXFSZ, which ends the application. Nothing is written where the file's end is as near to the limit as
 * others may come meanwhile, nor to standard error, of which nobody knows where in the file it writes: a filter may forbid lseek. */
static bool may_pass_limit(const struct stat *status)
{
	struct rlimit limit;

	if (!S_ISREG(status->st_mode) || getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
		return false;
	return !path[0] || limit.rlim_cur < LIMIT_MARGIN_BYTES ||
	       (rlim_t)status->st_size > limit.rlim_cur - LIMIT_MARGIN_BYTES;
}

/* Raw system calls: a log line is no cancellation point. */
static void write_line(const struct line *line)
{
	int fd = STDERR_FILENO;
	struct stat status;

	if (path[0]) /* a FIFO that nobody reads, or that is full, is not waited for */
		fd = (int)raw_syscall(SYS_openat, AT_FDCWD, path,
				      O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
	if (fd < 0)
		return;
	bool is_ours = fstat(fd, &status) == 0 &&
		       (path[0] || (status.st_dev == stderr_device && status.st_ino == stderr_inode));
	if (is_ours && !may_pass_limit(&status))
		raw_syscall(SYS_write, fd, line->text, line->length);
	if (path[0])
		raw_syscall(SYS_close, fd);
}

void log_write(enum log_level level, const char *format, ...)
{
	static const char *const names[] = { "off", "error", "info", "debug" };
	struct line line = { .length = 0 };
	int saved = errno;
	va_list arguments;

	put_text(&line, "smaccel[");
	put_number(&line, (uint64_t)getpid(), 10, 0, ' ');
	put_text(&line, "] ");
	put_time(&line);
	put(&line, ' ');
	put_text(&line, names[level]);
	put_text(&line, ": ");
	va_start(arguments, format);
	while (*format) {
		if (*format != '%')
			put(&line, *format++);
		else
			format = put_conversion(&line, format + 1, &arguments);
	}
	va_end(arguments);
	line.text[line.length++] = '\n';
	write_line(&line);
	errno = saved;
}

static enum log_level parse_level(const char *setting, size_t length)
{
	static const char *const names[] = { "off", "error", "info", "debug" };

	for (unsigned level = LOG_LEVEL_OFF; level <= LOG_LEVEL_DEBUG; level++)
		if ((length == 1 && setting[0] == (char)('0' + level)) ||
		    (length == strlen(names[level]) && strncmp(setting, names[level], length) == 0))
			return level;
	return LOG_LEVEL_OFF;
}

void log_init(const char *setting)
{
	struct stat status;

	if (!setting)
		return;
	const char *colon = strchr(setting, ':');
	enum log_level level = parse_level(setting, colon ? (size_t)(colon - setting) : strlen(setting));

	if (colon && strlen(colon + 1) >= sizeof(path))
		return;
	if (colon)
		strcpy(path, colon + 1);
	else if (fstat(STDERR_FILENO, &status) == 0) {
		stderr_device = status.st_dev;
		stderr_inode = status.st_ino;
	}
	log_level = level;
}
