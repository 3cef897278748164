/* SPDX-License-Identifier: BSD-2-Clause */
/* The shim's own fds: see channel_fd.h. */
#include "channel_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "../helper/wire/room.h"
#include "config.h"
#include "log.h"
#include "real.h"

#define MOVE_WAITS_MAX 50 /* of a millisecond */

_Static_assert(CHANNEL_FDS == ROOM_FDS, "the same");
struct channel_fd channel_fds[CHANNEL_FDS] = { { .fd = -1 }, { .fd = -1 }, { .fd = -1 } };

static uint64_t socket_cookie(int fd)
{
	uint64_t cookie = 0;
	socklen_t length = sizeof(cookie);

	if (real_getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) != 0)
		return 0;
	return cookie;
}

int channel_fd_duplicate(int fd)
{
	struct rlimit limit = { .rlim_cur = RLIM_INFINITY };

	getrlimit(RLIMIT_NOFILE, &limit);
	return real_fcntl(fd, F_DUPFD_CLOEXEC, room_fd_lowest(limit.rlim_cur));
}

int channel_fd_set_consume(struct channel_fd *own, int fd)
{
	int high = channel_fd_duplicate(fd);
	int error = high < 0 ? -errno : 0;

	real_close(fd);
	if (error) {
		log_info("no number for a file of the library's own: errno %d; RLIMIT_NOFILE is too small, or its last "
			 "numbers are all in use",
			 -error);
		return error;
	}
	own->cookie = socket_cookie(high);
	atomic_store(&own->fd, high);
	return 0;
}

int channel_fd_connect(struct channel_fd *own)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = real_socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	memcpy(address.sun_path, config.socket_path, sizeof(address.sun_path));
	if (real_connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		int error = -errno;

		log_info("no helper at %s: errno %d", config.socket_path, -error);
		real_close(fd);
		return error;
	}
	return channel_fd_set_consume(own, fd);
}

int channel_fd_get(struct channel_fd *own)
{
	int fd = atomic_load(&own->fd);

	if (fd < 0)
		return -1;
	if (own->cookie != 0 && socket_cookie(fd) == own->cookie)
		return fd;
	/* Closed where no wrapper saw it; the number may be the application's by now: it is not ours to close. */
	atomic_compare_exchange_strong(&own->fd, &fd, -1);
	return -1;
}

int channel_fd_use(struct channel_fd *own)
{
	atomic_fetch_add(&own->users, 1);
	return channel_fd_get(own);
}

void channel_fd_used(struct channel_fd *own)
{
	atomic_fetch_sub(&own->users, 1);
}

/* In time. */
static bool has_no_user(const struct channel_fd *own)
{
	struct timespec pause = { .tv_nsec = 1000000 };

	for (int i = 0; i < MOVE_WAITS_MAX; i++) {
		if (atomic_load(&own->users) == 0)
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

void channel_fd_close(struct channel_fd *own)
{
	int fd = channel_fd_get(own);

	atomic_store(&own->fd, -1);
	if (fd >= 0 && has_no_user(own))
		real_close(fd);
}

bool channel_fd_move(struct channel_fd *own)
{
	int old = channel_fd_get(own);
	/* A look before anything is changed: who does not come back is most often the thread itself, under its handler. */
	int high = old >= 0 && has_no_user(own) ? channel_fd_duplicate(old) : -1;

	if (high < 0)
		return old < 0;
	atomic_store(&own->fd, high);
	/* Whoever looks it up from now on gets the new number: those who had the old one are waited for. */
	bool is_unused = has_no_user(own);
	if (!is_unused)
		atomic_store(&own->fd, old);
	real_close(is_unused ? old : high);
	return is_unused;
}
