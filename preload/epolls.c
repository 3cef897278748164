/* SPDX-License-Identifier: BSD-2-Clause */
/* See epolls.h.
 *
 * An item is of a file and of the number by which that was registered, and is deleted by both. Where that number was a duplicate's, which the
 * application has closed since, /proc/self/fdinfo of the instance has it, beside the inode of the file:
 *
 *	tfd:        6 events:       19 data:                6  pos:0 ino:2e0f sdev:9
 *
 * and a duplicate is made once more at that number, if it is free.
 */
#include "epolls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "config.h"
#include "proc.h"
#include "quiet.h"
#include "raw_syscall.h"

#define LOOKS_MAX (1 << 16)
#define TEXT_BYTES 256
#define READS_MAX 65536
#define ITEMS_MAX 16 /* of one file, in one instance */

_Atomic int epolls_high = -1;

/* False: epoll is no instance. */
static bool delete_item(int epoll, int fd)
{
	struct epoll_event unused = { 0 };

	return raw_syscall(SYS_epoll_ctl, epoll, EPOLL_CTL_DEL, fd, &unused) == 0 || errno == ENOENT;
}

static void delete_item_of(int epoll, int fd, int number)
{
	int duplicate = (int)raw_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, number);

	if (duplicate == number)
		delete_item(epoll, number);
	if (duplicate >= 0)
		raw_syscall(SYS_close, duplicate);
}

/* The number of the item that a line is about, if that is of the inode; -1. */
static int number_in(const char *line, ino_t inode)
{
	const char *of = strstr(line, " ino:");

	return strncmp(line, "tfd:", 4) == 0 && of && strtoul(of + 5, NULL, 16) == inode
		       ? (int)strtol(line + 4, NULL, 10)
		       : -1;
}

/* The lowest number above `below` by which the instance has an item of the inode; -1. The file that tells it has a number, too, which may be
 * that very one: it is closed by then. */
static int next_number(int epoll, ino_t inode, int below)
{
	char text[TEXT_BYTES + 1];
	size_t kept = 0;
	int next = -1;
	int info = proc_open("/proc/self/fdinfo/", (uint32_t)epoll, "");

	for (int i = 0; info >= 0 && i < READS_MAX; i++) {
		long bytes = raw_syscall(SYS_read, info, text + kept, TEXT_BYTES - kept);
		char *line = text, *end;

		if (bytes <= 0)
			break;
		text[kept + (size_t)bytes] = 0;
		for (; (end = strchr(line, '\n')); line = end + 1) {
			*end = 0;
			int number = number_in(line, inode);
			if (number > below && (next < 0 || number < next))
				next = number;
		}
		kept = strlen(line);
		memmove(text, line, kept);
	}
	if (info >= 0)
		raw_syscall(SYS_close, info);
	return next;
}

static void delete_others(int epoll, int fd, ino_t inode)
{
	int number = next_number(epoll, inode, -1);

	for (int i = 0; number >= 0 && i < ITEMS_MAX; i++) {
		delete_item_of(epoll, fd, number);
		number = next_number(epoll, inode, number);
	}
}

void epolls_forget(int fd)
{
	int saved = errno, high = atomic_load(&epolls_high);
	struct stat status;
	bool may_read = !quiet_is_on() && !config.trusts_filter && fstat(fd, &status) == 0;

	for (int epoll = 0; epoll <= high && epoll < LOOKS_MAX; epoll++)
		if (delete_item(epoll, fd) && may_read)
			delete_others(epoll, fd, status.st_ino);
	errno = saved;
}
