/* SPDX-License-Identifier: BSD-2-Clause */
/* The way to the helper: the door, the process's session, the retractable mailbox, the breaker.
 *
 * door     a connection to the helper's socket, opened early (before chroot and privilege drop), inherited by children
 * session  a socketpair of this process's own; its far end went to the helper through the door
 * mailbox  a duplicate of that far end: what the helper has not read yet can be taken back out of it (fact 19c)
 * breaker  one time-out, and this process waits for the helper no more until it has shown a sign of life
 *
 * All fds are high, CLOEXEC, and compared by SO_COOKIE before use: an application may close what it does not know.
 */
#ifndef SMACCEL_CHANNEL_H
#define SMACCEL_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../helper/wire/memory.h"

#define CHANNEL_WAIT_MS 50       /* the bound of every wait for the helper ... */
#define CHANNEL_WAIT_LONG_MS 200 /* ... but for one whose answer nothing can stand in for */

/* Connects the door if there is none. Never waits. */
void channel_open_door(void);
bool channel_has_door(void); /* as far as it is known; a load */

enum channel_state {
	CHANNEL_READY,    /* the session stands; *memory is its memory */
	CHANNEL_STARTING, /* asked for, no answer yet: try again some turns later */
	CHANNEL_NONE,     /* no helper, or the breaker is open */
};
/* Starts a session if there is none, and takes notice of a helper that is gone. Waits up to
 * wait_ms for the answer (0: not at all), unless the breaker is open. */
enum channel_state channel_session(struct session_memory **memory, int wait_ms);
uint32_t channel_epoch(void); /* changes with each session; 0: none */
/* That session is, or was, this process's own, not one of the process that forked it. */
static inline bool channel_is_own(uint32_t session_epoch)
{
	extern uint32_t channel_inherited_epochs;

	return session_epoch > channel_inherited_epochs;
}
uint32_t channel_features(void); /* enum wire_feature */

/* Sends a message on the session. 0 or -errno; never waits. */
int channel_send(const void *message, size_t bytes, int fd);

/* For channel_request.c: the far end, and the breaker. */
int channel_mailbox_use(void); /* as channel_fd_use() */
void channel_mailbox_used(void);
void channel_breaker_trip(int silent_ms);

/* Waits, at most so long, for a cell's word to leave PENDING of that generation. On time-out it abandons the request, takes
 * its message back out of the mailbox and opens the breaker. Returns the final state of the word (enum cell_state);
 * CELL_ABANDONED also when another thread abandoned it. *lent is set if the fd was not found in the mailbox, so that
 * the helper may have it. */
enum cell_state channel_wait(struct memory_cell *cell, uint32_t index, uint32_t generation, int wait_ms, bool *lent);
/* Abandons a pending request from any thread or signal handler. True if this call did. */
bool channel_abandon(struct memory_cell *cell, uint32_t index, uint32_t generation, bool *lent);

/* False while this thread has waited for so long that it should begin nothing that may wait, if it can do without (patience.h). */
bool channel_is_prompt(void);

struct session_memory *channel_memory(void); /* of the session that stands; NULL: none. A glance. */

/* Reads announcements (ledgers) without waiting. */
void channel_drain(void);

int channel_next_fd(int from); /* the lowest own fd >= from, or -1: close_range() goes around them */
static inline bool channel_owns_fd(int fd)
{
	return fd >= 0 && channel_next_fd(fd) == fd;
}
/* Where no number is free: puts fd's file in the place of the door, which is opened anew when one is. The number, which is not the
 * channel's any more; -1: there is no door, or it is in use. */
int channel_give_number(int fd);
/* The application wants to put a file of its own to this number of the channel's: the channel moves to another. False: it could not. */
bool channel_leave_number(int number);
void channel_forked(void); /* child: the session is the parent's */
void channel_shut(void);   /* for good: closes all, opens nothing any more; waits CHANNEL_WAIT_MS at most */

#endif
