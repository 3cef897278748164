/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocking sends on a joined end, made of several system calls.
 *
 * With SO_SNDTIMEO, because tcp_bpf_sendmsg hands each page fragment to TCP by itself, and what TCP did not take of it again, each time with
 * the whole time-out anew: one of 24,000 bytes takes twice that long where the pipe is full in the middle of it, and while the reader makes
 * room now and then, a long one never ends. Here its time runs over the whole call: sends that do not wait,
 * and a poll in between, which SIGSTOP and SIGCONT end too, as they end TCP's.
 *
 * Long ones, of several MB, in pieces that are paced one by one (ledger.h). In one call the kernel would redirect up to the gate's bound,
 * 5 MiB, and spill the rest: neither stays in the caches, and the spilled bytes go by TCP (writes of 8 MiB: 0.77 x TCP on one
 * core; in pieces 2.9 x). Not in a process with several threads: their sends would come between the pieces, where the
 * socket's lock keeps them out of TCP's for as long as that need not sleep.
 *
 * TCP may end such a call early and say how much it took, and where it does so is where a signal, an error or a bad address finds
 * it. So a bad address or an error ends the call, and so does a handler that ran; what a later part was told, TCP would tell the
 * next call. That another thread closes the fd is none of these: held.h.
 */
#include "transfer_long.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>

#include "mode.h"
#include "queue.h"
#include "raw_syscall.h"

#define WHOLE_BYTES_MAX ((size_t)1 << 20)
#define PIECE_BYTES ((size_t)256 << 10)
#define PARTS_MAX 1000000

/* While no handler can run: it could put another file in the fd's place, between the look at it and the send. */
struct signals_held {
	unsigned long mask[SIGNAL_MASK_BYTES / sizeof(unsigned long)];
};

static void hold_signals(struct signals_held *held)
{
	const struct signals_held all = { .mask = { ~0UL } };

	raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, held, SIGNAL_MASK_BYTES);
}

static void let_signals(const struct signals_held *held)
{
	raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, held, NULL, SIGNAL_MASK_BYTES);
}

struct parts {
	struct held held;
	int fd; /* the number by which the file can be reached */
	const struct send_call *call;
	struct ledger_cell *ledger;
	int timeout_ms; /* -1: none */
	bool unasked;   /* of that, and whether the fd waits at all: a short call mostly fits, and then needs neither */
	int64_t started_ms;
	struct signals_mark ran;
	bool stopped;     /* redirecting, for want of memory */
	size_t bytes_max; /* of a part */
	size_t done;
};

static ssize_t send_part(const struct parts *parts, size_t *bytes_out)
{
	struct transfer_part part = {
		.done = parts->done, .bytes_max = parts->bytes_max, .flags = parts->call->flags, .waits = true
	};

	if (parts->done || parts->timeout_ms >= 0)
		part.flags |= MSG_DONTWAIT; /* asleep in it with nothing sent, it would be restarted after a handler */
	if (parts->done)
		part.flags |= MSG_NOSIGNAL; /* there is a count to return */
	ssize_t result = transfer_send_part(&parts->held, parts->fd, parts->call, &part, parts->ledger);
	*bytes_out = part.bytes;
	return result;
}

static bool has_file(struct parts *parts)
{
	parts->fd = held_file(&parts->held);
	return parts->fd >= 0;
}

/* Nothing has happened since the call began that TCP's would have ended at. */
static bool goes_on(struct parts *parts)
{
	return !signals_interrupted(parts->ran, true) && !quiet_is_on() && has_file(parts) &&
	       !queue_has_error(parts->fd);
}

/* As long as nothing has been sent. */
static ssize_t send_first_part(struct parts *parts, size_t *bytes_out)
{
	bool may_sleep = parts->timeout_ms < 0;

	if (!may_sleep)
		held_calling(&parts->held, HELD_CALL_BRIEF);
	has_file(parts);
	ssize_t result = send_part(parts, bytes_out);
	if (!may_sleep)
		held_calling(&parts->held, HELD_CALL_OVER);
	return result;
}

/* A part after the first. False: the call ends here. */
static bool send_further_part(struct parts *parts, size_t *bytes_out, ssize_t *result_out)
{
	struct signals_held signals;
	bool goes = goes_on(parts), alone = libc_single_threaded(); /* also before the system call below */

	if (!goes)
		return false;
	if (alone)
		hold_signals(&signals);
	held_calling(&parts->held, HELD_CALL_BRIEF);
	goes = goes_on(parts);
	if (goes)
		*result_out = send_part(parts, bytes_out);
	held_calling(&parts->held, HELD_CALL_OVER);
	if (alone)
		let_signals(&signals);
	return goes;
}

/* What a part was told although the call has a count to return: the next call's. EPIPE stays with the socket. */
static void leave_error(const struct parts *parts)
{
	transfer_take_reported_error(parts->fd);
	transfer_owe_if_same(parts->held.conn, parts->held.generation, errno);
}

/* Sleeps until there is room, or an error. 0, or why the call ends: EAGAIN, EINTR, EBADF (the fd names another file). */
static int await_room(struct parts *parts)
{
	int ready = 0;

	while (ready == 0) {
		int64_t left_ms = -1;

		if (signals_interrupted(parts->ran, true))
			return EINTR;
		if (!has_file(parts))
			return EBADF;
		if (parts->timeout_ms >= 0) {
			left_ms = parts->started_ms + parts->timeout_ms + TRANSFER_NOW_STEP_MS -
				  transfer_now_ms(); /* never too early */
			if (left_ms <= 0)
				return EAGAIN;
		}
		ready = transfer_poll_stoppable(parts->fd, POLLOUT, (int)left_ms, parts->done > 0);
		if (ready < 0 && errno == EINTR)
			return EINTR;
		if (ready > 0 && transfer_is_error_queues(parts->fd, POLLOUT) &&
		    (ready = real_poll(NULL, 0, 1)) < 0) /* not all the CPU for that */
			return EINTR;
	}
	return 0;
}

/* False: the fd does not wait. Keeps errno. */
static bool ask(struct parts *parts)
{
	int saved = errno;

	parts->unasked = false;
	parts->timeout_ms = transfer_timeout_ms(parts->fd, SO_SNDTIMEO);
	parts->started_ms = transfer_now_ms();
	bool waits = !mode_is_nonblocking(parts->held.conn, parts->fd);
	errno = saved;
	return waits;
}

/* A part found that the reader may have no more memory. True: nothing is redirected any more. */
static bool goes_on_by_tcp(struct parts *parts)
{
	struct conn *conn = parts->held.conn;
	bool is_own = parts->fd == parts->held.fd && transfer_fd_is(parts->fd, conn, parts->held.generation);

	if (!is_own || parts->stopped || quiet_is_on())
		return false;
	parts->stopped = true;
	lifecycle_make_plain(conn, parts->fd, REASON_NO_MEMORY);
	parts->ledger = transfer_ledger(conn);
	return true;
}

/* After a part that did not go out whole. True: it is to be waited for room for the rest of it, and there is some. */
static bool goes_on_later(struct parts *parts, bool waited, ssize_t result)
{
	if (result < 0 && errno == ENOMEM)
		return goes_on_by_tcp(parts);
	if (waited || result == 0 || (result < 0 && errno != EAGAIN)) /* 0: a bad address, see transfer_send.c */
		return false;
	if (result > 0 && transfer_took_reset(parts->fd)) {
		transfer_owe_reset(parts->held.conn, parts->held.generation);
		return false;
	}
	if (parts->unasked && has_file(parts)) {
		if (!ask(parts)) {
			if (result < 0 && parts->fd == parts->held.fd)
				lifecycle_spilled(parts->held.conn, parts->fd);
			return false;
		}
		if (parts->timeout_ms < 0 &&
		    !parts->done) { /* the system call itself sleeps, which a handler may restart */
			errno = EINTR;
			return !signals_interrupted(parts->ran, false);
		}
	}
	errno = await_room(parts);
	return errno == 0;
}

/* Before a part. */
static void pace(struct parts *parts)
{
	size_t left = parts->call->bytes - parts->done, bytes = left < parts->bytes_max ? left : parts->bytes_max;
	const struct held *held = &parts->held;

	if (parts->fd != held->fd && atomic_load(&held->conn->generation) != held->generation)
		parts->ledger = NULL; /* it is no connection of this process any more */
	if (!parts->ledger || parts->unasked || !ledger_should_pace(held->conn, parts->ledger, bytes))
		return;
	ledger_pace(held->conn, parts->ledger, bytes);
}

static ssize_t send_parts(struct parts *parts)
{
	const struct send_call *call = parts->call;
	int saved = errno;

	for (int i = 0; i < PARTS_MAX && parts->done < call->bytes; i++) {
		size_t bytes = 0;
		bool waited = parts->done == 0 && parts->timeout_ms < 0; /* in the system call itself */
		ssize_t result;

		pace(parts);
		if (parts->done == 0)
			result = send_first_part(parts, &bytes);
		else if (!send_further_part(parts, &bytes, &result))
			break;
		if (result > 0)
			parts->done += (size_t)result;
		if ((result >= 0 && (size_t)result == bytes) || goes_on_later(parts, waited, result))
			continue;
		if (!parts->done)
			return result;
		if (result < 0)
			leave_error(parts);
		break;
	}
	errno = saved;
	return (ssize_t)parts->done;
}

bool transfer_send_parts(struct conn *conn, const struct send_call *call, struct ledger_cell *ledger,
			 uint32_t generation, ssize_t *result_out)
{
	bool may_cut = ledger && libc_single_threaded();
	struct parts parts = { .fd = call->fd,
			       .call = call,
			       .ledger = ledger,
			       .ran = signals_ran,
			       .bytes_max = may_cut ? PIECE_BYTES : SIZE_MAX };

	if (!call->message || call->is_one_of_many || !call->perform_quietly || call->message->msg_controllen ||
	    call->message->msg_name || (call->flags & ~MSG_NOSIGNAL))
		return false;
	bool has_to_wait = ledger && ledger_should_pace(conn, ledger, call->bytes);
	parts.unasked = call->bytes <= TRANSFER_LONG_BYTES && !has_to_wait;
	parts.held.conn = conn;
	if (!parts.unasked && (!ask(&parts) || (parts.timeout_ms < 0 && !(may_cut && call->bytes > WHOLE_BYTES_MAX))))
		return false;
	parts.held = held_begin(conn, call->fd, generation);
	*result_out = send_parts(&parts);
	held_end(&parts.held);
	return *result_out >= 0 || errno != ENOTSOCK; /* another file's number by now: see transfer_send.c */
}
