/* SPDX-License-Identifier: BSD-2-Clause */
/* O_NONBLOCK of a connection's file: see mode.h. */
#include "mode.h"

#include "lifecycle_internal.h"
#include "transfer_internal.h"

bool mode_is_nonblocking(struct conn *conn, int fd)
{
	uint32_t generation = atomic_load_explicit(&conn->generation, memory_order_relaxed);
	uint8_t mode = atomic_load(&conn->mode);

	if (conn_has_option(conn, CONN_MODE_UNSEEN) || quiet_is_on() || !lifecycle_never_shared(conn) ||
	    conn_get(fd) != conn)
		return transfer_fd_nonblocking(fd);
	if (mode & MODE_NONBLOCKING)
		return true;
	bool does_not_wait = transfer_fd_nonblocking(fd);
	if (does_not_wait && transfer_fd_is(fd, conn, generation))
		atomic_compare_exchange_strong(&conn->mode, &mode, (uint8_t)(mode | MODE_NONBLOCKING));
	return does_not_wait;
}
