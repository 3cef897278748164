/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests: receiving them from a channel, checking them against one table, calling the handler. */
#ifndef SMACCEL_HELPER_DISPATCH_H
#define SMACCEL_HELPER_DISPATCH_H

#include <stdbool.h>
#include <sys/socket.h>

#include "loop.h"
#include "reaper.h"
#include "wire/protocol.h"

struct eviction;
struct helper;
struct session;

/* What a channel is decides what may be asked on it. Bits, for the table. */
enum channel_state {
	CHANNEL_DOOR = 1 << 0,    /* a connection to the helper's socket: HELLO, and the command line's requests */
	CHANNEL_SESSION = 1 << 1, /* one process's own channel, after its HELLO */
};

/* A unix socket with a client behind it. Embedded by its owner (listener.c: doors, session.c: sessions). */
struct channel {
	struct loop_source source;
	struct loop_corpse corpse;
	struct helper *helper;
	enum channel_state state;
	uint32_t uid;   /* whom its fds, quotas and the loop's time are charged to */
	bool is_aside;  /* not watched: its user's requests have had their share (shares.c) */
	bool has_spare; /* it is watched again because the loop had nothing else to do */
	struct channel *aside_next, *aside_prev;
	struct eviction *eviction; /* NULL: none; it is to be closed, and heard no more (eviction.c) */
	struct channel *evicted_next, *evicted_prev;
	void (*close)(struct channel *channel);
};

union request_message {
	struct wire_header header;
	struct wire_hello hello;
	struct wire_offer offer;
	struct wire_join join;
	struct wire_pin pin;
	struct wire_holders holders;
	struct wire_retire retire;
	struct wire_ping ping;
	struct wire_group group;
	struct wire_trial trial;
	unsigned char bytes[WIRE_MESSAGE_MAX];
};

struct request {
	struct helper *helper;
	struct channel *channel;
	struct session *session; /* NULL on a door */
	struct ucred
		creds; /* of who asks, from the kernel (dispatch.c, who_asks); uid -1 if there are none (sessions) */
	int fd;        /* -1 or a received fd; a handler that keeps or closes it sets -1 */
	union request_message message;
};

/* The loop's callback of every channel. A channel that breaks the rules is closed. */
void dispatch_ready(struct loop_source *source, uint32_t events);
/* The administrator: root, or who the helper runs as. */
bool dispatch_is_privileged(uint32_t uid);
bool channel_is_open(const struct channel *channel);
bool channel_is_heard(const struct channel *channel); /* and its user is not being thrown out */

/* Whether that user gets new channels: not while he is being thrown out, until most of what he left is closed, nor while all users but root
 * together have as many files as they may. */
bool dispatch_may_come(const struct helper *helper, uint32_t uid);

/* Puts a received fd away, whatever it is, without blocking. *tag (may be NULL) is told to the reaper's `done` if that
 * takes a while. is_quick: sockfacts_closes_quickly(). True if the fd is closed already. */
bool dispatch_put_away(struct helper *helper, int fd, bool is_quick, uint32_t uid, const struct reaper_tag *tag);

#endif
