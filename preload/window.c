/* SPDX-License-Identifier: BSD-2-Clause */
/* Clamping the receive window: see window.h. */
#include "window.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "channel.h"
#include "endpoint.h"
#include "quiet.h"
#include "real.h"

/* Younger than the headers of some systems that we build on. */
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
#define BUF_LOCK_RCVBUF 2 /* SOCK_RCVBUF_LOCK */

#define WINDOW_BYTES (256 << 10)
/* A smaller buffer than this leaves room enough at any window. */
#define WINDOW_RCVBUF_BYTES (1 << 20)

static int option(int fd, int level, int name)
{
	int value = 0;
	socklen_t length = sizeof(value);

	return real_getsockopt(fd, level, name, &value, &length) == 0 ? value : 0;
}

static bool set_clamp(int fd, int bytes)
{
	return real_setsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &bytes, sizeof(bytes)) == 0;
}

void window_look(struct conn *conn, int fd)
{
	uint32_t generation = atomic_load(&conn->generation);
	int saved = errno, clamp;

	/* One whose size the application has set does not grow; streams hardly ever redirect to it (fact 12b). */
	if (quiet_is_on() || !(channel_features() & WIRE_FEATURE_CLAMP) ||
	    option(fd, SOL_SOCKET, SO_RCVBUF) <= WINDOW_RCVBUF_BYTES ||
	    (clamp = option(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP)) <= WINDOW_BYTES ||
	    (option(fd, SOL_SOCKET, SO_BUF_LOCK) & BUF_LOCK_RCVBUF) || endpoint_cookie(fd) != conn->cookie)
		goto out;
	atomic_store(&conn->window_clamp, (uint32_t)clamp);
	if (!set_clamp(fd, WINDOW_BYTES) || atomic_load(&conn->generation) != generation)
		atomic_store(&conn->window_clamp, 0);
out:
	errno = saved;
}

void window_restore(struct conn *conn, int fd)
{
	int saved = errno, clamp = (int)atomic_exchange(&conn->window_clamp, 0);

	if (clamp && endpoint_cookie(fd) == conn->cookie)
		set_clamp(fd, clamp);
	errno = saved;
}

void window_set_by_application(struct conn *conn)
{
	atomic_store(&conn->window_clamp, 0);
}

uint32_t window_told(const struct conn *conn)
{
	return atomic_load_explicit(&((struct conn *)conn)->window_clamp, memory_order_relaxed);
}
