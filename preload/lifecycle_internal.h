/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by lifecycle.c (towards armed) and leave.c (away from it). */
#ifndef SMACCEL_LIFECYCLE_INTERNAL_H
#define SMACCEL_LIFECYCLE_INTERNAL_H

#include "channel.h"
#include "lifecycle.h"

/* Makes conn->cell this connection's cell in the present session's memory. */
void lifecycle_bind_cell(struct conn *conn, struct session_memory *memory);

/* Sends a request about a cell (its word becomes PENDING) and waits for the end of it, bounded. The result is CELL_DONE,
 * CELL_REFUSED (cell->reason says why) or CELL_ABANDONED (no helper, time-out, closed). */
enum cell_state lifecycle_request(struct conn *conn, int fd, const void *message, size_t bytes);

/* Nothing between these two is a cancellation point; errno is kept. */
struct lifecycle_quiet {
	int saved_errno;
	int cancel_state;
};
struct lifecycle_quiet lifecycle_quiet_begin(void);
void lifecycle_quiet_end(struct lifecycle_quiet quiet);

#endif
