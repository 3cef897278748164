/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a process ends by itself: _exit, _Exit, and behind all handlers and destructors those of exit and quick_exit. (By
 * libc's syscall(): intercept_syscall.c. What a signal ends runs nothing of ours.)
 *
 * exit() runs its handlers last registered first, the dynamic linker's, which runs the destructors of all libraries, among them.
 * A constructor's are the first, and with no library to belong to they are run as themselves, not as a destructor: after
 * everything that may still use a connection.
 */
#include "intercept.h"

#include <stdlib.h>
#include <unistd.h>

#include "intercept_exit.h"
#include "conn.h"
#include "lifecycle.h"
#include "threads.h"

/* As in fork.c: not every libc has both of the second kind. */
extern int __cxa_atexit(void (*function)(void *), void *argument, void *library);
extern int __cxa_at_quick_exit(void (*function)(void *), void *library) __attribute__((weak)); /* glibc */
#pragma weak at_quick_exit                                                                     /* musl */

static void at_exit(void *unused)
{
	(void)unused;
	lifecycle_before_exit(true);
}

static void at_quick(void *unused)
{
	(void)unused;
	lifecycle_before_exit(false);
}

static void at_quick_of_musl(void)
{
	lifecycle_before_exit(false);
}

void intercept_exit_init(void)
{
	__cxa_atexit(at_exit, NULL, NULL);
	if (__cxa_at_quick_exit)
		__cxa_at_quick_exit(at_quick, NULL);
	else if (at_quick_exit)
		at_quick_exit(at_quick_of_musl);
}

void intercept_thread_ends(void)
{
	if (conn_table() && !threads_are_several())
		lifecycle_before_exit(false);
}

void wrap__exit(int status)
{
	lifecycle_before_exit(false);
	REAL(_exit)(status);
	__builtin_trap();
}

void wrap__Exit(int status)
{
	lifecycle_before_exit(false);
	REAL(_Exit)(status);
	__builtin_trap();
}
