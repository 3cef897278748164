/* SPDX-License-Identifier: BSD-2-Clause */
/* When the shim can do no more for a program.
 *
 * Programs that filter their own system calls (seccomp): from then on the shim makes none that the application would not
 * make itself, because any other may end the process.
 *
 * A filter cannot be asked what it allows without the risk of being ended by it. So before the application's filter goes in,
 * the shim takes leave: every connection goes back to plain TCP, the way to the helper is closed, and the table of connections
 * is taken away, which turns each wrapper into a jump to libc. There is no way back: a filter stays for ever.
 *
 * A connection with redirected bytes that nobody has read cannot leave. Its receives then get what can be had by repeating
 * the application's own call (quiet_stuck.c).
 *
 * And programs of which a thread gets a table of fds of its own (unshare): there is one table of connections, and a number would mean
 * this or that file.
 */
#ifndef SMACCEL_QUIET_H
#define SMACCEL_QUIET_H

#include <stdatomic.h>
#include <stdbool.h>

#include "../helper/wire/wire.h"
#include "conn.h"
#include "hot.h"

/* True from the moment on that it begins. */
static inline bool quiet_is_on(void)
{
	return __builtin_expect(atomic_load_explicit(&hot.quiet, memory_order_relaxed), 0);
}

/* Takes leave, for REASON_SECCOMP, REASON_FD_TABLE or REASON_NO_FILES. Before the filter goes in, the table parts, or the limit is set; not from a vfork child. Bounded:
 * QUIET_BUDGET_MS and one time-out of the helper. Keeps errno. */
void quiet_begin(enum sm_reason reason);

/* Whether this program was started under a filter, as the kernel's own file says, or that this cannot be read: then it may have been. For
 * the constructor: opens, reads and closes a file, as the dynamic linker has just done with this library. */
enum quiet_inherited { QUIET_NO_FILTER, QUIET_FILTER, QUIET_NOT_KNOWN } quiet_inherited(void);
/* What that file said of the table of fds: no larger number was open. 0: not known. */
uint32_t quiet_fd_table_size(void);
/* And of the signals: bit n - 1 is set where signal n had a handler. All ones: not known. */
uint64_t quiet_signals_caught(void);

/* ---- quiet_stuck.c, quiet_record.c ---- */
/* The fd's connection could not leave. From now on receives on it are repeated where the sockhash would show. Asks the fd
 * for its flags, so before the filter. */
void quiet_stuck_add(struct conn *conn, int fd);
/* These numbers are about to be other files'. */
void quiet_stuck_remove(unsigned int first, unsigned int last);
/* The application has said whether the fd blocks. */
void quiet_stuck_mode(int fd, bool blocks);
/* newfd has become a duplicate of oldfd. */
void quiet_stuck_copy(int oldfd, int newfd);

#endif
