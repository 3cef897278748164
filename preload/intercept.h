/* SPDX-License-Identifier: BSD-2-Clause */
/* What the wrappers share: their prototypes, the way past them, and what is done for a number that was just given out.
 *
 * A wrapper is written wrap_NAME and exported as NAME by an assembler label, so that no declaration, macro or redirection of
 * libc's headers gets in its way. Its first act is conn_get(fd); an fd that is not ours goes on to REAL(NAME) at once.
 */
#ifndef SMACCEL_INTERCEPT_H
#define SMACCEL_INTERCEPT_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "conn.h"
#include "real.h"

/* Younger than the headers of some systems that we build on, or not in musl's. */
#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif

/* boot_NAME is the raw system call, in real.c. */
#define INTERCEPT(ret, name, params, args)                                                                             \
	__attribute__((visibility("default"))) ret wrap_##name params __asm__(#name);                                  \
	ret boot_##name params;
#include "intercept.def"
#undef INTERCEPT

/* The function to call for an fd that is not ours. The pointer is NULL until the constructor has run. */
#define REAL(name) (__builtin_expect(real_##name != NULL, 1) ? real_##name : boot_##name)

/* Of a receive by the application's own call. Under a number that is being closed there may still be a joined end, on which MSG_WAITALL goes
 * on in TCP's queue while what comes before is redirected (fact 5): it gets a part, in order. */
static inline int intercept_flags_past(int fd, int flags)
{
	if (__builtin_expect((flags & MSG_WAITALL) && conn_mark(fd) == CONN_MARK_CLOSING, 0))
		return flags & ~MSG_WAITALL;
	return flags;
}

/* The kernel has just given out this number: an entry of it is of a file that was closed where no wrapper saw it. */
void intercept_forget_stale(int fd);
static inline void intercept_new_fd(int fd)
{
	if (conn_get(fd))
		intercept_forget_stale(fd);
	else if (__builtin_expect(conn_mark(fd) == CONN_MARK_CLOSING, 0))
		conn_mark_closed(fd); /* who closes it has not come to that yet */
}

#endif
