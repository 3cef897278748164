/* SPDX-License-Identifier: BSD-2-Clause */
/* See proc.h. */
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "raw_syscall.h"

#define PATH_BYTES 64
#define CALL_BYTES 256 /* ten numbers */
#define DIGITS_MAX 10

int proc_open(const char *before, uint32_t number, const char *after)
{
	char path[PATH_BYTES], digits[DIGITS_MAX + 1];
	char *first = digits + DIGITS_MAX;

	*first = 0;
	do {
		*--first = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	if (strlen(before) + strlen(first) + strlen(after) >= sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(path, before);
	strcat(path, first);
	strcat(path, after);
	return (int)raw_syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
}

/* "46 0x5 0x7ffc0a 0x0 ...", or "running"; -1: asleep, but in no call. */
enum proc_place proc_place_of(int32_t tid, int fd)
{
	char text[CALL_BYTES + 1];
	int file = proc_open("/proc/self/task/", (uint32_t)tid, "/syscall");
	long bytes = file < 0 ? -1 : raw_syscall(SYS_read, file, text, CALL_BYTES);
	char *rest;

	if (file >= 0)
		raw_syscall(SYS_close, file);
	if (bytes <= 0) /* there is no /proc, or it does not say; or no such thread */
		return raw_syscall(SYS_tgkill, getpid(), tid, 0) ? PROC_ELSEWHERE : PROC_MAY_COME_TO_IT;
	text[bytes] = 0;
	if (strtol(text, &rest, 10) < 0 || text[0] == 'r')
		return PROC_MAY_COME_TO_IT;
	return rest != text && *rest == ' ' && strtoul(rest, NULL, 16) == (unsigned long)fd ? PROC_ASLEEP_ON_FD
											    : PROC_ELSEWHERE;
}
