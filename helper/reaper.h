/* SPDX-License-Identifier: BSD-2-Clause */
/* Putting received fds away without ever blocking the loop. */
#ifndef SMACCEL_HELPER_REAPER_H
#define SMACCEL_HELPER_REAPER_H

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"

struct reaper;

/* What is told when a fd is gone. */
struct reaper_tag {
	uint64_t session_id; /* 0: nobody waits for it */
	uint32_t cell;
	uint32_t generation;
};

/* `done` is called in the loop's thread, after the fd of `tag` was closed. 0 or -errno. */
int reaper_open(struct reaper **out, struct loop *loop, void (*done)(void *context, const struct reaper_tag *tag),
		void *context);
void reaper_free(struct reaper *reaper); /* what is still queued is left to the end of the process */

/* What the loop does before it sleeps again gives up soon where it would linger: also in a receive, which drops the fds that there
 * is no room for. */
void reaper_alarm(struct reaper *reaper);
/* Closes a socket that a client sent, on the spot, for a few milliseconds at the most. */
void reaper_close_socket(struct reaper *reaper, int fd);
/* Closes any other fd, in a thread: the file behind it may block for ever. Takes the fd. 0, or -EDQUOT: taken as well,
 * but this user has so many such fds waiting that it should be thrown out. Without memory it is
 * closed, and told, before this returns. */
int reaper_put(struct reaper *reaper, int fd, uint32_t uid, const struct reaper_tag *tag);
/* How many fds it has of all users but root. */
uint32_t reaper_files_of_users(struct reaper *reaper);
/* Whether the user has too many fds waiting to be let in again. */
bool reaper_is_full(struct reaper *reaper, uint32_t uid);

#endif
