/* SPDX-License-Identifier: BSD-2-Clause */
/* What the rounds of closers.c have in common: what its processes share, the peer, and the turns in which a connection joins. */
#ifndef SMACCEL_CLOSERS_H
#define SMACCEL_CLOSERS_H

#include <stdatomic.h>

#include "../support/watchdog.h"

#define TURNS 6
#define WORD_BYTES 10
#define UNREAD_BYTES 100

struct shared {
	_Atomic uint64_t at_us; /* when they begin to close; 0: not yet */
	_Atomic int sent, ended;
	_Atomic char end; /* 'R', 'F' or something else */
	_Atomic int asked;
	_Atomic int parent_closed; /* in round N */
	_Atomic int two_closed;
	_Atomic uint64_t close_us; /* how long the last one of a child took */
	_Atomic int closing_fd;    /* the first of two is about to close it */
	_Atomic int part_us;       /* what nobody reads comes in two, so long apart; 0: at once */
};
static struct shared *shared;
static int listener;

static inline void await(const _Atomic int *word, int value)
{
	while (*word != value)
		pause_us(100);
}

/* Of each round: turns, bytes that nobody reads, and how it ends. */
static inline void be_peer(void)
{
	char word[UNREAD_BYTES] = { 0 };

	for (int round = 1;; round++) {
		int on = 1;

		await(&shared->asked, round);
		int fd = loopback_connect("127.0.0.1", loopback_port(listener));
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		for (int i = 0; i < TURNS; i++) {
			if (send(fd, word, WORD_BYTES, MSG_NOSIGNAL) != WORD_BYTES ||
			    recv(fd, word, WORD_BYTES, 0) <= 0)
				break;
			pause_us(i == 2 ? 3000 : 0); /* a join may take its time */
		}
		int bytes = shared->part_us ? UNREAD_BYTES / 2 : UNREAD_BYTES;
		(void)!send(fd, word, (size_t)bytes, MSG_NOSIGNAL);
		shared->sent = round;
		if (shared->part_us) {
			pause_us((unsigned)shared->part_us);
			(void)!send(fd, word, UNREAD_BYTES / 2, MSG_NOSIGNAL);
		}
		ssize_t got = recv(fd, word, WORD_BYTES, 0);
		shared->end = got == 0 ? 'F' : got < 0 && errno == ECONNRESET ? 'R' : '?';
		close(fd);
		shared->ended = round;
	}
}

static inline bool take_turns(int fd)
{
	char word[WORD_BYTES];

	for (int i = 0; i < TURNS; i++)
		if (recv(fd, word, sizeof(word), MSG_WAITALL) != sizeof(word) ||
		    send(fd, word, sizeof(word), MSG_NOSIGNAL) != sizeof(word))
			return false;
	return true;
}

static inline int accept_one(void)
{
	int fd = accept(listener, NULL, NULL);

	if (fd < 0)
		die("accept");
	return fd;
}

#endif
