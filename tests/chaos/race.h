/* SPDX-License-Identifier: BSD-2-Clause */
/* What send_race and receive_race share: their connections, and whether a fd is left. */
#ifndef SMACCEL_RACE_H
#define SMACCEL_RACE_H

#include <dirent.h>
#include <pthread.h>
#include <unistd.h>

#include "../support/loopback.h"

static inline unsigned count_fds(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned count = 0;

	while (folder && readdir(folder))
		count++;
	if (folder)
		closedir(folder);
	return count;
}

static inline void *race_sleeper(void *unused)
{
	pause();
	return unused;
}

/* The first cancellation of a process opens libgcc_s, which must not get a number that has just been closed. */
static inline void race_cancel_once(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, race_sleeper, NULL) || pthread_cancel(thread) || pthread_join(thread, NULL))
		die("pthread_cancel");
}

/* A connection of this process with itself, used enough to be joined. */
static inline void accepted_pair(int listener, int *fd, int *peer)
{
	*fd = loopback_connect("127.0.0.1", loopback_port(listener));
	*peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (*peer < 0)
		die("accept4");
	for (int i = 0; i < 4; i++) {
		char text[] = "turn";

		if (write_whole(*fd, text, 4) || read_whole(*peer, text, 4) || write_whole(*peer, text, 4) ||
		    read_whole(*fd, text, 4))
			die("turns");
	}
}

#endif
