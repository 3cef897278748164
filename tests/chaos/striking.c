/* SPDX-License-Identifier: BSD-2-Clause */
/* A library to preload into a helper that strikes one kind of its calls, as strace(1)'s injection would, which stops a process at every call
 * for that. STRIKE=KIND:ACTION:FIRST[:LAST], the KINDs:
 *
 *	names      those that change names in the file system: unlink, rename
 *	bpf        bpf(2), through syscall(3)
 *	listen, epoll_ctl
 *	prctl      the one that begins the end of the start: no privileges from here on
 *	threads    those begun after it
 *
 * The calls FIRST to LAST of that kind (to the last of all: 0, or left out), the first is 1, are not made: ACTION kill ends the helper, whichever
 * of its processes makes the call; any number is their errno.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static char kind[16], action[16];
static unsigned first, last;
static atomic_uint calls;
static pid_t helper;

__attribute__((constructor)) static void read_order(void)
{
	const char *order = getenv("STRIKE");

	helper = getpid();
	if (!order || sscanf(order, "%15[^:]:%15[^:]:%u:%u", kind, action, &first, &last) < 3) {
		fputs("STRIKE=KIND:ACTION:FIRST[:LAST]\n", stderr);
		_exit(3);
	}
}

static bool is_struck(const char *own)
{
	if (strcmp(kind, own) != 0)
		return false;
	unsigned number = atomic_fetch_add(&calls, 1) + 1;
	if (number < first || (last && number > last))
		return false;
	if (!strcmp(action, "kill")) {
		kill(helper, SIGKILL);
		_exit(1);
	}
	errno = atoi(action);
	return true;
}

#define NEXT(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

int unlink(const char *path)
{
	return is_struck("names") ? -1 : NEXT(unlink)(path);
}

int rename(const char *from, const char *to)
{
	return is_struck("names") ? -1 : NEXT(rename)(from, to);
}

int listen(int fd, int backlog)
{
	return is_struck("listen") ? -1 : NEXT(listen)(fd, backlog);
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	return is_struck("epoll_ctl") ? -1 : NEXT(epoll_ctl)(epoll, operation, fd, event);
}

long syscall(long number, ...)
{
	long args[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		args[i] = va_arg(list, long);
	va_end(list);
	return number == __NR_bpf && is_struck("bpf")
		       ? -1
		       : NEXT(syscall)(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

int prctl(int option, ...)
{
	unsigned long args[4];
	va_list list;

	va_start(list, option);
	for (int i = 0; i < 4; i++)
		args[i] = va_arg(list, unsigned long);
	va_end(list);
	return option == PR_SET_NO_NEW_PRIVS && is_struck("prctl")
		       ? -1
		       : NEXT(prctl)(option, args[0], args[1], args[2], args[3]);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument)
{
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && is_struck("threads"))
		return errno;
	return NEXT(pthread_create)(thread, attributes, start, argument);
}
