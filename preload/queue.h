/* SPDX-License-Identifier: BSD-2-Clause */
/* What waits in the two receive queues of a joined end, asked of the kernel without taking anything: the redirected bytes
 * (the psock queue), and behind them TCP's own queue, which they hide. errno is kept.
 */
#ifndef SMACCEL_QUEUE_H
#define SMACCEL_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

/* An error waits on the socket: the next call that asks takes it. */
bool queue_has_error(int fd);
/* Redirected bytes wait. One system call, which takes nothing, not even an error that waits. */
bool queue_has_redirected(int fd);
/* How many, `limit` at the most; they are looked at one by one (a few GB/s). */
int64_t queue_redirected_bytes(int fd, int64_t limit);
/* Takes the redirected bytes, and an urgent one, of a connection that is being dissolved. An error that waits is not taken. */
void queue_discard(int fd);
/* How many bytes TCP's queue has, also behind redirected ones. A page or more takes some six system calls, with urgent
 * data among it more; less takes one. */
int64_t queue_tcp_bytes(int fd);
/* What TCP_INQ counts beside them: an end that has come, and what is behind an urgent byte. As many system calls. */
int64_t queue_beyond_bytes(int fd);
/* What comes next of TCP's queue is behind the urgent mark. */
bool queue_is_at_mark(int fd);
/* SO_OOBINLINE is set: urgent bytes are part of the stream. */
bool queue_takes_urgent(int fd);
/* The peer's FIN has arrived, whatever waits before it. */
bool queue_has_end(int fd);
/* Its own FIN is on its way, and not behind bytes that have still to be sent. */
bool queue_has_sent_end(int fd);
/* False if the socket is certainly in no sockhash. True of one that is, and of one with an urgent byte unread. An error that waits is not
 * taken. */
bool queue_may_be_joined(int fd);

#endif
