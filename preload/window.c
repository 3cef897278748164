/* SPDX-License-Identifier: BSD-2-Clause */
/* Clamping the receive window: see window.h. */
#include "window.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "channel.h"
#include "endpoint.h"
#include "fork.h"
#include "quiet.h"
#include "real.h"

#define WINDOW_BYTES (256 << 10)
/* A smaller buffer than this leaves room enough at any window. */
#define WINDOW_RCVBUF_BYTES (1 << 20)

static bool set_clamp(int fd, int bytes)
{
	return real_setsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &bytes, sizeof(bytes)) == 0;
}

/* Else the kernel has lifted it since, to more than it was before. */
static bool is_clamped(int fd)
{
	return endpoint_option(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP) == WINDOW_BYTES;
}

/* The gate wants the room. */
static bool may_clamp(struct conn *conn)
{
	struct memory_cell *cell = conn_cell(conn);

	return conn_state(conn) == CONN_ARMED && !(cell && (atomic_load(&cell->status) & CELL_PINNED));
}

/* Not where another process may have the socket: it would be told of a clamp that it does not know, and could not lift it. Returns the
 * clamp that it has, or 0. */
static int wants_clamp(const struct conn *conn, int fd)
{
	int clamp;

	if (!(channel_features() & WIRE_FEATURE_CLAMP) || conn->joined_forks != fork_count() ||
	    endpoint_option(fd, SOL_SOCKET, SO_RCVBUF) <= WINDOW_RCVBUF_BYTES)
		return 0;
	clamp = endpoint_option(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP);
	return clamp > WINDOW_BYTES && endpoint_cookie(fd) == conn->cookie ? clamp : 0;
}

static void clamp_window(struct conn *conn, int fd, int clamp)
{
	uint32_t generation = atomic_load(&conn->generation), before = (uint32_t)clamp;

	atomic_store(&conn->window_clamp, before);
	if (!set_clamp(fd, WINDOW_BYTES) || atomic_load(&conn->generation) != generation)
		atomic_compare_exchange_strong(&conn->window_clamp, &before, 0);
	else if (atomic_load(&conn->window_clamp) != before && is_clamped(fd))
		set_clamp(fd, clamp); /* another thread has restored it, before it was set */
	else if (!may_clamp(conn))
		window_restore(conn, fd);
}

void window_look(struct conn *conn, int fd)
{
	int saved = errno, clamp;

	if (quiet_is_on())
		return;
	if (!may_clamp(conn))
		window_restore(conn, fd);
	else if ((clamp = wants_clamp(conn, fd)) != 0)
		clamp_window(conn, fd, clamp);
	errno = saved;
}

void window_restore(struct conn *conn, int fd)
{
	int saved = errno, clamp;

	if (window_is_clamped(conn) && (clamp = (int)atomic_exchange(&conn->window_clamp, 0)) && is_clamped(fd) &&
	    endpoint_cookie(fd) == conn->cookie)
		set_clamp(fd, clamp);
	errno = saved;
}

void window_set_by_application(struct conn *conn)
{
	atomic_store(&conn->window_clamp, 0);
}

int window_told(struct conn *conn, int fd)
{
	int saved = errno, clamp = (int)atomic_load(&conn->window_clamp),
	    real = endpoint_option(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP);

	errno = saved;
	return clamp && real == WINDOW_BYTES ? clamp : real;
}
