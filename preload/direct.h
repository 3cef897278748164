/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls that most connections live on, made in place.
 *
 * A return from a function is mispredicted when a system call came in between: the kernel has used up the processor's
 * stack of return addresses. Measured on an AMD EPYC under Linux 6.18: 22 ns for each function that a call has to return
 * through, out of 710 ns for a send of 64 bytes. So the wrapper is the only function there is, and makes the system call
 * itself where glibc's function would do no more than that: it is glibc's, and the process has one thread, which has not cancelled itself
 * (intercept_cancel.c), so that the call is no cancellation point.
 */
#ifndef SMACCEL_DIRECT_H
#define SMACCEL_DIRECT_H

#include <errno.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/types.h>

#include "hot.h"
#include "libc.h"
#include "raw_syscall.h"
#include "real.h"

static inline bool direct_is_allowed(void)
{
	return __builtin_expect(hot.direct, 1) && libc_single_threaded();
}

/* The same of a receive on an fd that is no connection of the shim's: behind a filter of system calls others stand in for libc's functions
 * (quiet_stuck.c). */
static inline bool direct_receive_is_allowed(void)
{
	return direct_is_allowed() && !atomic_load_explicit(&hot.quiet, memory_order_relaxed);
}

static inline ssize_t direct_result(long result)
{
	if (__builtin_expect((unsigned long)result < -4095UL, 1))
		return result;
	errno = (int)-result;
	return -1;
}

/* The system calls themselves: a count, or -errno. */
#define DIRECT_RAW static inline __attribute__((always_inline)) long

DIRECT_RAW direct_raw_read(int fd, void *buffer, size_t bytes)
{
	return raw_system_call(SYS_read, fd, (long)buffer, (long)bytes, 0, 0, 0);
}

DIRECT_RAW direct_raw_recv(int fd, void *buffer, size_t bytes, int flags)
{
	return raw_system_call(SYS_recvfrom, fd, (long)buffer, (long)bytes, flags, 0, 0);
}

DIRECT_RAW direct_raw_write(int fd, const void *buffer, size_t bytes)
{
	return raw_system_call(SYS_write, fd, (long)buffer, (long)bytes, 0, 0, 0);
}

DIRECT_RAW direct_raw_send(int fd, const void *buffer, size_t bytes, int flags)
{
	return raw_system_call(SYS_sendto, fd, (long)buffer, (long)bytes, flags, 0, 0);
}

#define DIRECT static inline __attribute__((always_inline)) ssize_t

DIRECT direct_read(int fd, void *buffer, size_t bytes)
{
	if (!direct_is_allowed())
		return hot.read(fd, buffer, bytes);
	return direct_result(direct_raw_read(fd, buffer, bytes));
}

DIRECT direct_recv(int fd, void *buffer, size_t bytes, int flags)
{
	if (!direct_is_allowed())
		return hot.recv(fd, buffer, bytes, flags);
	return direct_result(direct_raw_recv(fd, buffer, bytes, flags));
}

DIRECT direct_write(int fd, const void *buffer, size_t bytes)
{
	if (!direct_is_allowed())
		return hot.write(fd, buffer, bytes);
	return direct_result(direct_raw_write(fd, buffer, bytes));
}

DIRECT direct_send(int fd, const void *buffer, size_t bytes, int flags)
{
	if (!direct_is_allowed())
		return hot.send(fd, buffer, bytes, flags);
	return direct_result(direct_raw_send(fd, buffer, bytes, flags));
}

DIRECT direct_readv(int fd, const struct iovec *vector, int count)
{
	if (!direct_is_allowed())
		return real_readv(fd, vector, count);
	return direct_result(raw_system_call(SYS_readv, fd, (long)vector, count, 0, 0, 0));
}

DIRECT direct_writev(int fd, const struct iovec *vector, int count)
{
	if (!direct_is_allowed())
		return real_writev(fd, vector, count);
	return direct_result(raw_system_call(SYS_writev, fd, (long)vector, count, 0, 0, 0));
}

DIRECT direct_recvmsg(int fd, struct msghdr *message, int flags)
{
	if (!direct_is_allowed())
		return real_recvmsg(fd, message, flags);
	return direct_result(raw_system_call(SYS_recvmsg, fd, (long)message, flags, 0, 0, 0));
}

DIRECT direct_sendmsg(int fd, const struct msghdr *message, int flags)
{
	if (!direct_is_allowed())
		return real_sendmsg(fd, message, flags);
	return direct_result(raw_system_call(SYS_sendmsg, fd, (long)message, flags, 0, 0, 0));
}

static inline __attribute__((always_inline)) int direct_setsockopt(int fd, int level, int name, const void *value,
								   socklen_t length)
{
	if (!direct_is_allowed())
		return real_setsockopt(fd, level, name, value, length);
	return (int)direct_result(raw_system_call(SYS_setsockopt, fd, level, name, (long)value, length, 0));
}

#undef DIRECT

#endif
