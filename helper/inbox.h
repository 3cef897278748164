/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages that wait in a channel, several in one system call. */
#ifndef SMACCEL_HELPER_INBOX_H
#define SMACCEL_HELPER_INBOX_H

#include "dispatch.h"
#include "wire/wire.h"

/* Few: what is in hand can no longer be taken back by its sender, should this process be stopped just now. */
#define INBOX_MAX 4

struct inbox_message {
	ssize_t bytes; /* 0: end of file; -EMSGSIZE: cut off */
	int fds[WIRE_FDS_MAX];
	size_t fd_count; /* all of them the caller's */
	struct ucred creds;
	union request_message content;
};

/* How many came, at most `room` (INBOX_MAX at most); fewer than asked for: nothing more is there. Or -errno (-EAGAIN). Never
 * blocks. */
int inbox_receive(int socket, struct inbox_message messages[INBOX_MAX], int room);

#endif
