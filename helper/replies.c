/* SPDX-License-Identifier: BSD-2-Clause */
/* Replies: see replies.h.
 *
 * A text goes to its reader as a memfd, whose memory is the helper's: nobody else is charged for it. A list of connections takes up
 * to 30 MiB, what it lists are claims, and a client that never reads, or keeps what it has read, would hold them all. So the helper
 * keeps an fd of each, and takes the memory back: when its door is closed, which a reader does when he has read, or after REPLY_NS,
 * and sooner if one user has more than TEXTS_PER_USER or BYTES_PER_USER of them. How large one gets that a child is still writing
 * is not known; there is one such a user (stats.c). All users but root together have a bound on their number, as each is an open file.
 */
#include "replies.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#include "dispatch.h"
#include "loop.h"

#define REPLY_NS (10 * LOOP_NS_PER_S) /* the command line waits for half as long */
#define TEXTS_PER_USER 256
#define BYTES_PER_USER (64 << 20)

struct reply {
	int fd;
	uint32_t uid;
	const struct channel *door; /* a name, nothing else */
	uint64_t due_ns;
	uint64_t bytes; /* as far as it is known; for good if the text is sealed */
	bool is_sealed;
	struct reply *next, *prev;
};

struct replies {
	struct loop *loop;
	struct loop_timer timer;
	struct reply *list;        /* oldest first */
	uint32_t users, users_max; /* of all users but root */
};

static void take_back(struct replies *replies, struct reply *reply)
{
	DL_DELETE(replies->list, reply);
	replies->users -= reply->uid != 0;
	(void)!ftruncate(reply->fd, 0);
	close(reply->fd);
	free(reply);
}

static void expired(struct loop_timer *timer)
{
	struct replies *replies = loop_container(timer, struct replies, timer);
	uint64_t now_ns = loop_now_ns();

	while (replies->list && replies->list->due_ns <= now_ns)
		take_back(replies, replies->list);
	if (replies->list)
		loop_timer_set(replies->loop, timer, replies->list->due_ns);
}

struct replies *replies_new(struct loop *loop, uint32_t users_max)
{
	struct replies *replies = calloc(1, sizeof(*replies));

	if (!replies)
		return NULL;
	replies->loop = loop;
	replies->users_max = users_max;
	loop_timer_add(loop, &replies->timer, expired);
	return replies;
}

void replies_free(struct replies *replies)
{
	struct reply *reply, *next;

	if (!replies)
		return;
	DL_FOREACH_SAFE(replies->list, reply, next)
	{
		close(reply->fd);
		free(reply);
	}
	free(replies);
}

/* Asked until the text is sealed: it is looked at for each later one of its user's. */
static uint64_t size_of(struct reply *reply)
{
	struct stat facts;
	int seals;

	if (reply->is_sealed)
		return reply->bytes;
	seals = fcntl(reply->fd, F_GET_SEALS);
	reply->is_sealed = seals >= 0 && (seals & F_SEAL_GROW);
	reply->bytes = fstat(reply->fd, &facts) == 0 ? (uint64_t)facts.st_size : 0;
	return reply->bytes;
}

/* Room for one more. */
static void make_room(struct replies *replies, uint32_t uid)
{
	struct reply *reply, *next;
	uint64_t bytes = 0;
	unsigned count = 0;

	DL_FOREACH_SAFE(replies->list, reply, next)
	{
		if (!uid || replies->users < replies->users_max)
			break;
		if (reply->uid)
			take_back(replies, reply);
	}
	DL_FOREACH(replies->list, reply)
	if (reply->uid == uid) {
		count++;
		bytes += size_of(reply);
	}
	DL_FOREACH_SAFE(replies->list, reply, next)
	{
		if (count < TEXTS_PER_USER && bytes <= BYTES_PER_USER)
			return;
		if (reply->uid != uid)
			continue;
		count--;
		bytes -= size_of(reply);
		take_back(replies, reply);
	}
}

void replies_door_closed(struct replies *replies, const struct channel *door)
{
	struct reply *reply, *next;

	DL_FOREACH_SAFE(replies->list, reply, next)
	if (reply->door == door)
		take_back(replies, reply);
}

int replies_make(struct replies *replies, const struct channel *door)
{
	struct reply *reply;
	int error;

	make_room(replies, door->uid);
	reply = calloc(1, sizeof(*reply));
	if (!reply)
		return -ENOMEM;
	reply->fd = memfd_create("smaccel-reply", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (reply->fd < 0) {
		error = -errno;
		free(reply);
		return error;
	}
	reply->uid = door->uid;
	reply->door = door;
	reply->due_ns = loop_now_ns() + REPLY_NS;
	DL_APPEND(replies->list, reply);
	replies->users += reply->uid != 0;
	loop_timer_set(replies->loop, &replies->timer, reply->due_ns);
	return reply->fd;
}

int replies_write(int fd, const char *text, size_t bytes)
{
	size_t done = 0;

	while (done < bytes) {
		ssize_t written = write(fd, text + done, bytes - done);

		if (written <= 0)
			return -ENOMEM;
		done += (size_t)written;
	}
	/* Not F_SEAL_SHRINK: the memory is taken back. */
	return fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SEAL) < 0 ? -errno : 0;
}
