/* SPDX-License-Identifier: BSD-2-Clause */
/* Which fds name a connection that could not leave before a filter came (quiet_stuck.c). */
#ifndef SMACCEL_QUIET_RECORD_H
#define SMACCEL_QUIET_RECORD_H

#include <stdbool.h>

#include "conn.h"

/* A number names one; and its receives are repeated. */
enum stuck_kind { STUCK, STUCK_BLOCKING, STUCK_NONBLOCKING, STUCK_KINDS };

/* While there is a table of connections. */
void quiet_record_begin(int fd, enum stuck_kind kind);
bool quiet_record_is(enum stuck_kind kind, int fd);
/* NULL: none of them. How many redirected bytes are unread all its fds share: in conn->received, as nobody keeps its accounts any more.
 * UINT64_MAX: no helper has pinned it, there is no end to them. */
struct conn *quiet_record_conn(int fd);
/* A receive that does not block has found the end of what was redirected. */
void quiet_record_done(int fd);

#endif
