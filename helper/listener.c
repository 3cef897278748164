/* SPDX-License-Identifier: BSD-2-Clause */
/* The listener: the SEQPACKET socket that every local user may connect to, and the doors.
 *
 * Two helpers never serve one path: the file is made under a lock (flock on PATH.lock), and a socket that answers is left
 * alone. A file that nobody answers on is what a crash left behind, and replaced.
 *
 * SO_PASSCRED is set on the listening socket, and inherited by each accepted one before anything can be received
 * from it: so every message on a door has the kernel's word on who sent it.
 */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>
#include <utlist.h>

#include "dispatch.h"
#include "eviction.h"
#include "helper.h"
#include "log.h"
#include "loop.h"
#include "policy.h"
#include "replies.h"
#include "shares.h"
#include "sockfacts.h"

#define BACKLOG 4096
#define ACCEPTS_PER_TURN 32
#define FULL_PAUSE_NS (100 * LOOP_NS_PER_MS) /* out of fds: accepting again at once would only spin */
/* A helper that was killed holds its locks for some moments: its successor waits that long. */
#define LOCK_TRIES 100
#define LOCK_PAUSE_US 20000

struct door {
	struct channel channel;
	struct door *next, *prev;
};

struct listener {
	struct loop_source source;
	struct loop_timer resume;
	struct helper *helper;
	struct door *doors;
	int lock_fd;
	bool from_systemd;
	dev_t device; /* of the socket's file, to know it again */
	ino_t inode;
};

/* ---- doors ---- */

static void door_release(struct loop_corpse *corpse)
{
	free(loop_container(corpse, struct door, channel.corpse));
}

static void door_close(struct channel *channel)
{
	struct door *door = loop_container(channel, struct door, channel);
	struct helper *helper = channel->helper;

	DL_DELETE(helper->listener->doors, door);
	policy_give(helper->policy, channel->uid, POLICY_DOORS);
	replies_door_closed(helper->replies, channel);
	shares_forget(helper->shares, channel);
	eviction_forget(channel);
	loop_remove(helper->loop, &channel->source);
	shutdown(channel->source.fd, SHUT_RDWR); /* nothing more comes into its queue */
	if (sockfacts_has_unread(channel->source.fd))
		(void)reaper_put(helper->reaper, channel->source.fd, channel->uid, NULL);
	else
		reaper_close_socket(helper->reaper, channel->source.fd);
	loop_bury(helper->loop, &channel->corpse);
}

static int door_open(struct listener *listener, int fd)
{
	struct helper *helper = listener->helper;
	struct ucred creds;
	socklen_t bytes = sizeof(creds);
	struct door *door;
	int error;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &creds, &bytes) < 0)
		return -errno;
	if (!dispatch_may_come(helper, creds.uid))
		return -EDQUOT;
	error = policy_take(helper->policy, creds.uid, POLICY_DOORS);
	if (error)
		return error;
	door = calloc(1, sizeof(*door));
	error = -ENOMEM;
	if (!door)
		goto out_quota;
	door->channel.source.fd = fd;
	door->channel.source.ready = dispatch_ready;
	door->channel.corpse.release = door_release;
	door->channel.helper = helper;
	door->channel.state = CHANNEL_DOOR;
	door->channel.uid = creds.uid;
	door->channel.close = door_close;
	error = loop_add(helper->loop, &door->channel.source, EPOLLIN);
	if (error)
		goto out_free;
	DL_APPEND(listener->doors, door);
	return 0;
out_free:
	free(door);
out_quota:
	policy_give(helper->policy, creds.uid, POLICY_DOORS);
	return error;
}

static void listener_ready(struct loop_source *source, uint32_t events)
{
	struct listener *listener = loop_container(source, struct listener, source);

	(void)events;
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
				loop_pause(listener->helper->loop, source, 0);
				loop_timer_set(listener->helper->loop, &listener->resume,
					       loop_now_ns() + FULL_PAUSE_NS);
			}
			return;
		}
		if (door_open(listener, fd)) {
			listener->helper->refusals[REASON_TABLE_FULL]++;
			reaper_close_socket(listener->helper->reaper, fd);
		}
	}
}

static void listener_resume(struct loop_timer *timer)
{
	struct listener *listener = loop_container(timer, struct listener, resume);

	loop_pause(listener->helper->loop, &listener->source, EPOLLIN);
}

void listener_each_door(struct listener *listener, void (*visit)(struct channel *channel, void *context), void *context)
{
	struct door *door;

	DL_FOREACH(listener->doors, door)
	visit(&door->channel, context);
}

/* ---- the socket ---- */

/* 0: nobody has that address open, its file is left over. -EADDRINUSE: a helper serves it; -EPROTOTYPE: it is another program's. */
static int find_owner(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int error;

	if (fd < 0)
		return -errno;
	error = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? errno : 0;
	close(fd);
	if (error == ECONNREFUSED || error == ENOENT)
		return 0;
	return error && error != EAGAIN ? -error : -EADDRINUSE; /* EAGAIN: its backlog is full, so it is there */
}

static void make_parent(const char *path)
{
	char *copy = strdup(path), *parent = copy ? dirname(copy) : NULL;

	/* Whatever the umask: who may connect is up to the socket. If it fails, bind() says why. */
	if (parent && mkdir(parent, 0755) == 0)
		chmod(parent, 0755);
	free(copy);
}

int listener_lock(int fd)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		usleep(LOCK_PAUSE_US);
	}
	return -EADDRINUSE;
}

static int take_lock(struct listener *listener, const char *path)
{
	char lock_path[sizeof(((struct sockaddr_un *)0)->sun_path) + 8];

	snprintf(lock_path, sizeof(lock_path), "%s.lock", path);
	listener->lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (listener->lock_fd < 0)
		return -errno;
	return listener_lock(listener->lock_fd);
}

static int set_access(const struct options *options, const char *path)
{
	if (options->socket_group != (gid_t)-1 && chown(path, -1, options->socket_group) < 0)
		return -errno;
	return chmod(path, options->settings.socket_mode) < 0 ? -errno : 0;
}

static int bind_path(struct listener *listener, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat facts;
	mode_t mask;
	int error;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	make_parent(path);
	error = take_lock(listener, path);
	if (error)
		return error;
	if (lstat(path, &facts) == 0) {
		if (!S_ISSOCK(facts.st_mode))
			return -EEXIST;
		error = find_owner(&address);
		if (error)
			return error;
		unlink(path);
	}
	listener->source.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener->source.fd < 0)
		return -errno;
	mask = umask(0177); /* nobody else, until set_access() */
	error = bind(listener->source.fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(mask);
	if (error)
		return error;
	if (lstat(path, &facts) < 0)
		return -errno;
	listener->device = facts.st_dev;
	listener->inode = facts.st_ino;
	return set_access(&listener->helper->options, path);
}

/* Its permissions are those of systemd's unit; that other ones were asked for must not go unnoticed. */
static void say_ignored(const struct policy_settings *settings)
{
	struct policy_settings usual;

	policy_settings_init(&usual);
	if (settings->socket_mode != usual.socket_mode || *settings->socket_group)
		log_error("socket-mode and socket-group are ignored: the socket is systemd's "
			  "(SocketMode= and SocketGroup= of its unit)");
}

static int take_systemd_socket(struct listener *listener)
{
	int count = sd_listen_fds(1);

	if (count <= 0)
		return 0;
	if (count > 1 || sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_SEQPACKET, 1, NULL, 0) <= 0) {
		log_error("systemd has to pass one listening SEQPACKET socket (ListenSequentialPacket=)");
		return -EINVAL;
	}
	listener->source.fd = SD_LISTEN_FDS_START;
	listener->from_systemd = true;
	say_ignored(&listener->helper->options.settings);
	return fcntl(listener->source.fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

int listener_open(struct listener **out, struct helper *helper)
{
	struct listener *listener = calloc(1, sizeof(*listener));
	const char *path = helper->options.socket_path;
	const int one = 1;
	int error;

	if (!listener)
		return -ENOMEM;
	listener->helper = helper;
	listener->source.fd = listener->lock_fd = -1;
	listener->source.ready = listener_ready;
	error = take_systemd_socket(listener);
	if (!error && !listener->from_systemd)
		error = bind_path(listener, path);
	if (!error && setsockopt(listener->source.fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) < 0)
		error = -errno;
	if (error) {
		if (error == -EADDRINUSE)
			log_error("another smacceld serves %s", path);
		else if (error == -EEXIST)
			log_error("%s exists and is not a socket", path);
		else if (error == -EPROTOTYPE)
			log_error("%s is the socket of another program", path);
		else
			log_error("cannot listen on %s: %s", path, strerror(-error));
		listener_close(listener);
		return error;
	}
	*out = listener;
	return 0;
}

int listener_start(struct listener *listener)
{
	loop_timer_add(listener->helper->loop, &listener->resume, listener_resume);
	if (!listener->from_systemd && listen(listener->source.fd, BACKLOG) < 0)
		return -errno;
	return loop_add(listener->helper->loop, &listener->source, EPOLLIN);
}

/* The file is removed only if it is still ours. */
static void remove_path(const struct listener *listener)
{
	const char *path = listener->helper->options.socket_path;
	struct stat facts;

	if (listener->inode && lstat(path, &facts) == 0 && facts.st_dev == listener->device &&
	    facts.st_ino == listener->inode)
		unlink(path);
}

void listener_abandon(struct listener *listener)
{
	struct door *door;

	remove_path(listener);
	if (!listener->from_systemd) /* systemd's lives on, for the next helper */
		shutdown(listener->source.fd, SHUT_RDWR);
	DL_FOREACH(listener->doors, door)
	shutdown(door->channel.source.fd, SHUT_RDWR);
	flock(listener->lock_fd, LOCK_UN);
	flock(listener->helper->pins_lock_fd, LOCK_UN);
}

void listener_close(struct listener *listener)
{
	if (!listener)
		return;
	remove_path(listener);
	if (listener->source.fd >= 0 && !listener->helper->reaper) /* it could not be started: nobody has connected */
		close(listener->source.fd);
	else if (listener->source.fd >= 0) /* who was not accepted yet may have sent sockets that linger */
		reaper_close_socket(listener->helper->reaper, listener->source.fd);
	while (listener->doors) /* who comes back now finds nobody, at once */
		door_close(&listener->doors->channel);
	if (listener->lock_fd >= 0)
		close(listener->lock_fd); /* the file stays: removing it would let two helpers hold two locks */
	free(listener);
}
