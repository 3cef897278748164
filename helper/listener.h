/* SPDX-License-Identifier: BSD-2-Clause */
/* The helper's socket and the doors: connections to it. */
#ifndef SMACCEL_HELPER_LISTENER_H
#define SMACCEL_HELPER_LISTENER_H

#include <stdint.h>

struct channel;
struct helper;
struct listener;

/* Opens helper->options.socket_path, or takes the socket that systemd passed. -EADDRINUSE: another helper answers there.
 * 0 or -errno with a line on stderr. */
int listener_open(struct listener **out, struct helper *helper);
/* Begins to accept. 0 or -errno. */
int listener_start(struct listener *listener);
/* Closes socket and doors; removes the socket's file if it is still the one made by listener_open(). NULL is fine. */
void listener_close(struct listener *listener);
/* Locks the file for this process, waiting a bounded time for a helper that is just ending. 0, -EADDRINUSE or -errno. */
int listener_lock(int fd);
/* For the watchdog's thread, when the loop is stuck: hangs up all doors, and lets the path's lock go. */
void listener_abandon(struct listener *listener);
void listener_each_door(struct listener *listener, void (*visit)(struct channel *channel, void *context),
			void *context);

#endif
