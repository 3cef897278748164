/* SPDX-License-Identifier: BSD-2-Clause */
/* FIONREAD of an end in the sockhash: the kernel's own answer misses redirected or passed bytes (fact 6). */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>

#include "channel.h"
#include "lifecycle_internal.h"
#include "queue.h"
#include "transfer_internal.h"

/* The redirected bytes; guess: how many they are to the ledger, so that the peek need not offer more room. */
static int64_t redirected_bytes(int fd, int64_t guess)
{
	int64_t bytes = queue_redirected_bytes(fd, guess + 1);

	return bytes <= guess ? bytes : queue_redirected_bytes(fd, INT_MAX);
}

/* The bytes in both queues. What the kernel says to FIONREAD lacks one of them on some kernels (fact 6). A ledger that agrees with
 * it confirms nothing: it runs ahead of a send under way, and knows nothing of a peer's raw system calls, whose bytes may be
 * those that are left out. */
static int64_t unread_bytes(struct conn *conn, int fd, int64_t kernel_bytes)
{
	uint32_t features = channel_features();
	bool counts_tcp = features & WIRE_FEATURE_FIONREAD_COUNTS_TCP;
	bool counts_psock = features & WIRE_FEATURE_FIONREAD_COUNTS_PSOCK;
	uint32_t previous = transfer_enter(conn);
	struct ledger_cell *ledger = atomic_load_explicit(&conn->ledger, memory_order_acquire);
	int64_t unread = ledger ? ledger_unread_in(conn, ledger) : INT64_MAX;

	thread_leave(previous);
	if (counts_tcp && counts_psock)
		return kernel_bytes;
	if (counts_psock) {
		int64_t tcp_bytes = queue_tcp_bytes(fd);
		/* Of an end that has left the sockhash, here or in another process, both answers are TCP's own. */
		bool left = tcp_bytes > 0 && kernel_bytes > 0 && !queue_has_redirected(fd);
		return left ? kernel_bytes : kernel_bytes + tcp_bytes;
	}
	if (counts_tcp) {
		bool known = unread >= kernel_bytes && unread != INT64_MAX;
		return kernel_bytes + redirected_bytes(fd, known ? unread - kernel_bytes : INT_MAX);
	}
	return queue_tcp_bytes(fd) + queue_redirected_bytes(fd, INT_MAX);
}

/* It was taken out of the sockhash, and no other process can have put it in again. */
static bool is_out(struct conn *conn)
{
	uint32_t state = conn_state(conn);

	return (state == CONN_LEFT || state == CONN_OFFERED) && !lifecycle_is_lent(conn) &&
	       lifecycle_never_shared(conn);
}

int transfer_unread(struct conn *conn, int fd, void *bytes_out)
{
	bool was_out = is_out(conn);
	int saved = errno, bytes;

	if (real_ioctl(fd, FIONREAD, bytes_out) != 0) /* EFAULT too is the kernel's to say */
		return -1;
	if (was_out && is_out(conn))
		return 0;
	memcpy(&bytes, bytes_out, sizeof(bytes));
	int64_t unread = unread_bytes(conn, fd, bytes);
	bytes = unread > INT_MAX ? INT_MAX : (int)unread;
	memcpy(bytes_out, &bytes, sizeof(bytes));
	errno = saved;
	return 0;
}
