/* SPDX-License-Identifier: BSD-2-Clause */
/* Receives with MSG_TRUNC on an end in the sockhash: TCP counts, and without MSG_PEEK throws away, but copies nothing. Of redirected bytes it
 * is ignored, so they are copied to where nobody looks.
 */
#include <errno.h>
#include <sys/mman.h>

#include "queue.h"
#include "scratch.h"
#include "transfer_internal.h"

#define SCRATCH_PIECES 32u /* all of them in one memory */
#define SCRATCH_PIECE_MAX ((size_t)64 << 20)

/* MSG_PEEK | MSG_TRUNC asks for the length of what waits, TCP's queue behind the redirected bytes included. */
static ssize_t whole_length(const struct receive_call *call, ssize_t result)
{
	if (result <= 0 || !(call->flags & MSG_PEEK) || (size_t)result >= call->bytes ||
	    !queue_has_redirected(call->fd))
		return result;
	int64_t whole = result + queue_tcp_bytes(call->fd);
	return (uint64_t)whole < call->bytes ? whole : (ssize_t)call->bytes;
}

static ssize_t perform_scratch(const struct receive_call *call)
{
	return real_recvmsg(call->fd, call->message, call->flags);
}

/* Memory for pieces of so many bytes, or of less if there is no memory: then the call counts, or throws away, a part. For most calls it is
 * what is in the CPU's cache anyhow: a mapping of its own costs ten times a receive. */
static void *scratch_begin(size_t *piece)
{
	int saved = errno;

	if (*piece > NOWHERE_BYTES) {
		void *memory =
			mmap(NULL, *piece, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (memory != MAP_FAILED)
			return memory;
	}
	errno = saved;
	*piece = NOWHERE_BYTES;
	return scratch_nowhere;
}

static void scratch_end(void *memory, size_t piece)
{
	int saved = errno;

	if (memory != scratch_nowhere)
		munmap(memory, piece);
	errno = saved;
}

ssize_t transfer_receive_truncated(struct conn *conn, const struct receive_call *call, struct ledger_cell *ledger)
{
	struct iovec vector[SCRATCH_PIECES];
	struct msghdr message = *call->message;
	size_t piece = NOWHERE_BYTES, left = call->bytes, count = 0;

	while (piece < SCRATCH_PIECE_MAX && piece * SCRATCH_PIECES < call->bytes)
		piece *= 2;
	void *memory = scratch_begin(&piece);
	for (; left > 0 && count < SCRATCH_PIECES; left -= vector[count++].iov_len)
		vector[count] = (struct iovec){ memory, left < piece ? left : piece };
	message.msg_iov = vector;
	message.msg_iovlen = count;
	struct receive_call scratch = { .fd = call->fd,
					.flags = call->flags & ~MSG_TRUNC,
					.bytes = call->bytes - left,
					.message = &message,
					.perform = perform_scratch,
					.held = call->held };
	ssize_t result = whole_length(call, transfer_receive_repaired(conn, &scratch, ledger));
	scratch_end(memory, piece);
	if (result < 0 || transfer_clear_results(call->fd, call->message) != 0)
		return -1; /* EFAULT, if that is what the header cannot be told */
	call->message->msg_namelen = message.msg_namelen;
	call->message->msg_controllen = message.msg_controllen;
	call->message->msg_flags = message.msg_flags;
	return result;
}
