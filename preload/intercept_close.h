/* SPDX-License-Identifier: BSD-2-Clause */
/* Closes by syscall(), and tables of fds that part. */
#ifndef SMACCEL_INTERCEPT_CLOSE_H
#define SMACCEL_INTERCEPT_CLOSE_H

/* close(2), which libuv calls so that it is no cancellation point: nor is this. Returns as syscall() does. */
long intercept_close_by_call(long number, long fd);
long intercept_close_range_by_call(long number, long first, long last, long flags);
long intercept_dup_by_call(long number, long oldfd, long newfd, long flags); /* dup2 and dup3 */
/* unshare(2) with these flags is about to be called: with CLONE_FILES this thread gets a table of fds of its own. If others go on with the
 * one that there was, the shim takes leave (quiet.h). */
void intercept_unshares(long flags);

#endif
