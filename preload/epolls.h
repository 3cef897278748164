/* SPDX-License-Identifier: BSD-2-Clause */
/* The numbers below which this process's epoll instances are: those that it has made or waited on.
 *
 * epoll forgets a socket when its last fd is closed, in whatever process. While a late helper has a duplicate that is not the
 * application's close(), and events of a connection that it has forgotten would go on (lent.c).
 */
#ifndef SMACCEL_EPOLLS_H
#define SMACCEL_EPOLLS_H

#include <stdatomic.h>

extern _Atomic int epolls_high; /* the highest number so far; -1: none */

static inline void epolls_note(int epoll)
{
	if (__builtin_expect(epoll > atomic_load_explicit(&epolls_high, memory_order_relaxed), 0))
		atomic_store_explicit(&epolls_high, epoll, memory_order_relaxed);
}

/* fd is open, and is taken out of each of them: a system call a number. Of two threads that note at once the lower number may win: it is
 * noted again by the next wait. So is what was registered under another number that was closed since, unless that is another file's by now
 * (or /proc is not there). Keeps errno. */
void epolls_forget(int fd);

#endif
