/* SPDX-License-Identifier: BSD-2-Clause */
/* What glibc has and musl has not. Calls that no program of musl's can make fail, in all arms alike. */
#ifndef SMACCEL_SEMANTICS_MUSL_H
#define SMACCEL_SEMANTICS_MUSL_H

#ifndef __GLIBC__

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <time.h>

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif
#ifndef TCP_SEND_QUEUE
#define TCP_NO_QUEUE 0
#define TCP_SEND_QUEUE 2
#endif

#define strerrorname_np(error) strerror(error)
#define sigabbrev_np(number) strsignal(number)

static inline int musl_has_none(void)
{
	errno = ENOSYS;
	return -1;
}
static inline int close_range(unsigned first, unsigned last, int flags)
{
	return (void)first, (void)last, (void)flags, musl_has_none();
}
static inline void closefrom(int first)
{
	(void)first;
}
static inline ssize_t pwritev2(int fd, const struct iovec *vectors, int count, off_t position, int flags)
{
	return (void)fd, (void)vectors, (void)count, (void)position, (void)flags, musl_has_none();
}
static inline ssize_t preadv2(int fd, const struct iovec *vectors, int count, off_t position, int flags)
{
	return (void)fd, (void)vectors, (void)count, (void)position, (void)flags, musl_has_none();
}
static inline int epoll_pwait2(int epoll, struct epoll_event *events, int count, const struct timespec *limit,
			       const sigset_t *mask)
{
	return (void)epoll, (void)events, (void)count, (void)limit, (void)mask, musl_has_none();
}

#endif
#endif
