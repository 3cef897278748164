/* SPDX-License-Identifier: BSD-2-Clause */
/* Who else has a connection that this process is about to close. */
#ifndef SMACCEL_HOLDERS_H
#define SMACCEL_HOLDERS_H

#include <stdbool.h>
#include <stdint.h>

#include "conn.h"

/* This process was forked, and its parent has the connection as well, as far as that one's wrappers know. Leaves a mark there, that this
 * process is about to close it. */
bool holders_parent_has(const struct conn *conn);

/* The same of one whose parent lives (fork_parent_lives()), which a walk over many need not ask each time. */
bool holders_living_parent_has(const struct conn *conn);

/* Nobody has it but for `own` fds of this process. Asks the helper, and waits for those that are about to close it as well: 63 ms
 * at most beside its answers, and 245 more for one that is known to be in its close. Without an answer: what this process knows of its
 * forks. */
bool holders_are_none_but(struct conn *conn, int fd, uint32_t own);

/* Nobody has it but for one fd of this process, by one answer of the helper's: nothing is lost yet, so who else is about to close it is not
 * waited for, and marks of children are left as they are. */
bool holders_are_none_now(struct conn *conn, int fd);

#endif
