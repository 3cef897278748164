/* SPDX-License-Identifier: BSD-2-Clause */
/* The numbers that the channel's fds have in the process's table, and how they make room for the application's. */
#include <errno.h>
#include <fcntl.h>
#include <time.h>

#include "channel.h"
#include "channel_fd.h"
#include "held.h"
#include "real.h"

int channel_next_fd(int from)
{
	int next = held_next_fd(from);

	for (int i = 0; i < CHANNEL_FDS; i++) {
		int fd = atomic_load_explicit(&channel_fds[i].fd, memory_order_relaxed);

		if (fd >= 0 && fd >= from && (next < 0 || fd < next))
			next = fd;
	}
	return next;
}

int channel_give_number(int fd)
{
	struct channel_fd *door = &channel_fds[CHANNEL_DOOR];
	int number = -1;

	if (!channel_lock())
		return -1;
	if (channel_fd_get(door) >= 0 && (number = real_dup3(fd, door->fd, O_CLOEXEC)) >= 0)
		atomic_store(&door->fd, -1);
	channel_unlock();
	return number;
}

/* Others may take it again and again. */
static bool lock_in_time(void)
{
	struct timespec pause = { .tv_nsec = 200000 };
	bool locked = channel_lock();

	for (int i = 0; !locked && i < CHANNEL_WAIT_MS * 5; i++) {
		nanosleep(&pause, NULL);
		locked = channel_lock();
	}
	return locked;
}

bool channel_leave_number(int number)
{
	int saved = errno;

	if (lock_in_time()) {
		for (int i = 0; i < CHANNEL_FDS; i++)
			if (atomic_load(&channel_fds[i].fd) == number)
				(void)channel_fd_move(&channel_fds[i]);
		channel_unlock();
	}
	errno = saved;
	return !channel_owns_fd(number);
}
