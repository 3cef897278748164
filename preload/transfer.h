/* SPDX-License-Identifier: BSD-2-Clause */
/* Receiving and sending on a tracked connection. The wrappers of intercept_*.c describe the call and hand it over here;
 * calls on fds that are not ours never come here.
 */
#ifndef SMACCEL_TRANSFER_H
#define SMACCEL_TRANSFER_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "conn.h"

/* A receive as the application made it. `message` describes it as recvmsg would; for read() and recv() the wrapper fills one
 * iovec and leaves name and control empty. `perform` does the application's own call, unchanged, through libc's real
 * function (so that cancellation points and errno stay libc's). */
struct receive_call {
	int fd;
	int flags;              /* of recv; 0 for read() */
	size_t bytes;           /* room in all iovecs */
	struct msghdr *message; /* msg_namelen, msg_controllen, msg_flags are results for recvmsg() */
	ssize_t (*perform)(const struct receive_call *call);
	/* What is left after `done` bytes, without a wait. NULL: recvmsg() of `message`. */
	ssize_t (*now)(const struct receive_call *call, size_t done);
	const void *arguments; /* for perform and now */
	bool *has_joined; /* NULL, or out, of a raw splice: the end is in the sockhash (fact 8), nothing was done */
	const struct held *held; /* NULL, or fd is the call's own by now (held.h): the connection is closed */
};
ssize_t transfer_receive(struct conn *conn, const struct receive_call *call);
/* How much one call takes at the most, MAX_RW_COUNT of 4 KiB pages: the kernel cuts what recv() asks for, of recvmsg() it refuses more. */
static inline size_t transfer_cut(size_t bytes)
{
	return bytes < 0x7ffff000 ? bytes : 0x7ffff000;
}

/* Of recvmmsg and sendmmsg: all messages by one system call, where the connection is TCP's alone (transfer_batch.c). False: it is not, and nothing was
 * done; else the call's result, and errno. The headers can be read, none has control data, and each has room for, or has, a byte. */
bool transfer_receive_batch(struct conn *conn, int fd, struct mmsghdr *messages, unsigned count, int flags,
			    int *result);
bool transfer_send_batch(struct conn *conn, int fd, struct mmsghdr *messages, unsigned count, int flags, int *result);

/* A send. perform as above. `bytes` is what the call may send at the most. */
struct send_call {
	int fd;
	int flags; /* of send; 0 for write() */
	size_t bytes;
	bool waits; /* MSG_DONTWAIT is not the application's: who made the call waits for room, as a blocking send would */
	bool is_duplicate; /* fd is the call's own (held.h) */
	bool has_waited;   /* for its turn (turn.h), and has it if it was to be had */
	bool is_again;     /* after one that found no memory (transfer_memory.c) */
	bool is_one_of_many; /* the kernel writes the call's result to the application's memory: not to be made of several */
	const struct msghdr *message; /* NULL if the call cannot be expressed so (sendfile, splice) */
	ssize_t (*perform)(const struct send_call *call);
	ssize_t (*perform_quietly)(const struct send_call *call); /* without SIGPIPE; NULL: there is no such way */
	const void *arguments;
};
ssize_t transfer_send(struct conn *conn, const struct send_call *call);
/* SO_ZEROCOPY is set: without it MSG_ZEROCOPY means nothing. Keeps errno. */
bool transfer_copies_nothing(int fd);
/* A send of no bytes on a joined end: 0, or what TCP says to it. */
ssize_t transfer_send_nothing(int fd, int flags);

/* splice(2) out of a tracked socket into a pipe, and ioctl(FIONREAD) of one. Same results as the calls: -1 with errno. */
ssize_t transfer_splice_out(struct conn *conn, int fd, int pipe_fd, size_t bytes, unsigned flags);
int transfer_unread(struct conn *conn, int fd, void *bytes_out);
/* The error that a send took from the socket although it had a count to return: the next call's, where TCP has it. 0: none. */
int transfer_take_owed_error(struct conn *conn);
/* A call that has something to return was told of this error, too: the next call's, if it is one of the connection's end. */
void transfer_owe_error(struct conn *conn, int error);
/* SO_RCVTIMEO or SO_SNDTIMEO in ms; -1: none. Keeps errno. */
int transfer_timeout_ms(int fd, int option);
/* shutdown(2) of its sending, behind what another thread or process is sending: between the verdict on that and its place in the reader's
 * queue nothing but the turn (turn.h) would keep the FIN from being there first. */
int transfer_shut_down(struct conn *conn, int fd, int how);
/* The peer has, and its FIN has come: a receive says 0 from then on, whatever error waits. False: not that its wrappers knew. */
bool transfer_peer_has_ended(struct conn *conn);

#endif
