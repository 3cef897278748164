/* SPDX-License-Identifier: BSD-2-Clause */
/* Sending on a tracked connection: life steps before, pacing, the call, the accounts after.
 *
 * On an end with a ledger `sent` is raised before the call by all that it may send, so that the reader is never told
 * less than what its queues may hold, and lowered after it by what was not sent. A sender that would block anyway
 * pauses while much is unread (ledger_pace).
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "endpoint.h"
#include "mode.h"
#include "queue.h"
#include "raw_syscall.h"
#include "transfer_short.h"
#include "transfer_internal.h"
#include "transfer_long.h"

/* Longer calls are cut to this by the kernel, but a vector of that length is refused. */
#define CUT_SHORT_BYTES_MAX 0x7ffff000
#define BROKEN_TRIES 3

static void note_spill(struct conn *conn, ssize_t result, const struct send_call *call)
{
	if (__builtin_expect(result < 0, 0) && errno == EAGAIN && !call->waits)
		lifecycle_spilled(conn, call->fd);
}

/* Not of a connection that another thread has closed meanwhile: its place in the ledger may be another's by now. */
static void account(struct conn *conn, const struct send_call *call, struct ledger_cell *ledger, uint32_t generation,
		    ssize_t result)
{
	size_t sent = result > 0 ? (size_t)result : 0, announced = call->bytes;

	if (atomic_load_explicit(&conn->generation, memory_order_relaxed) != generation)
		return;
	if (!ledger) {
		transfer_add(&conn->sent, sent);
		if (__builtin_expect(atomic_load_explicit(&conn->ledger, memory_order_relaxed) != NULL, 0))
			ledger_add_late(conn); /* it was attached meanwhile */
	} else if (sent != announced && atomic_load(&conn->ledger) == ledger) {
		atomic_fetch_sub(&ledger_own(conn, ledger)->sent, announced - sent);
	} else if (sent != announced) { /* it has been taken out, with all that was announced */
		atomic_fetch_sub(&conn->sent, announced - sent);
	}
	transfer_count_sent(conn, call->message ? sent : transfer_counted_of_file(conn, sent));
}

/* As the kernel sends it: to this thread, from this process. */
static void raise_sigpipe(void)
{
	siginfo_t information = { .si_signo = SIGPIPE, .si_code = SI_USER };
	pid_t process = getpid();
	pid_t thread = thread_tid();

	information.si_pid = process;
	information.si_uid = getuid();
	if (raw_syscall(SYS_rt_tgsigqueueinfo, process, thread, SIGPIPE, &information) != 0)
		raw_syscall(SYS_tgkill, process, thread, SIGPIPE);
}

ssize_t transfer_broken_pipe(int flags)
{
	if (!(flags & MSG_NOSIGNAL))
		raise_sigpipe();
	errno = EPIPE;
	return -1;
}

bool transfer_took_reset(int fd)
{
	return endpoint_tcp_state(fd) == TCP_CLOSE && !queue_has_error(fd);
}

/* After transfer_enter(). The ledger is looked for anew: without a turn the connection goes back to TCP. */
static struct turn wait_for_turn(struct conn *conn, struct ledger_cell **ledger, int fd, uint32_t generation,
				 bool may_sleep)
{
	struct turn turn = turn_wait(conn, *ledger, fd, may_sleep);

	if (turn.gave_up && transfer_fd_is(fd, conn, generation) && !quiet_is_on()) {
		lifecycle_make_plain(conn, fd, REASON_NO_TURN);
		*ledger = transfer_ledger(conn);
	}
	return turn;
}

int transfer_shut_down(struct conn *conn, int fd, int how)
{
	uint32_t generation = atomic_load(&conn->generation), previous = transfer_enter(conn);
	struct ledger_cell *ledger = transfer_ledger(conn);
	struct turn turn = { .word = NULL };

	if ((ledger || turn_is_due_without(conn)) && !turn_begin(conn, ledger, &turn))
		turn = wait_for_turn(conn, &ledger, fd, generation, false);
	bool is_there = transfer_fd_is(fd, conn, generation);
	int result = is_there ? real_shutdown(fd, how) : -1, error = is_there ? errno : EBADF;
	turn_end(&turn);
	if (result == 0 && ledger && conn_is_joined(conn) && queue_has_sent_end(fd) &&
	    atomic_load(&conn->generation) == generation)
		ledger_end(conn, ledger);
	thread_leave(previous);
	errno = error;
	return result;
}

bool transfer_peer_has_ended(struct conn *conn)
{
	uint32_t previous = transfer_enter(conn);
	struct ledger_cell *ledger = transfer_ledger(conn);
	bool has_ended = ledger && ledger_has_ended(conn, ledger);

	thread_leave(previous);
	return has_ended;
}

/* tcp_bpf_sendmsg that ends early takes the socket's error, and raises SIGPIPE, although it has a count to return; TCP leaves
 * both to the next call. A connection that is closed with no error on it had one: of a reset.
 *
 * sendfile makes several sends until one fails: there TCP, too, raises SIGPIPE for an EPIPE. */
static void owe_error(struct conn *conn, const struct send_call *call, uint32_t generation, ssize_t result)
{
	int saved = errno;

	if (result > 0 && (size_t)result < call->bytes && !(call->flags & MSG_DONTWAIT) &&
	    transfer_took_reset(call->fd))
		transfer_owe_reset(conn, generation);
	errno = saved;
}

static void end_sendfile(struct conn *conn, const struct send_call *call, ssize_t result)
{
	int saved = errno;

	if (result > 0 && (size_t)result < call->bytes && transfer_took_reset(call->fd) &&
	    transfer_peer_has_ended(conn))
		raise_sigpipe();
	errno = saved;
}

/* The number is another file's by now, and no wrapper has seen how that came: the application's call may be right. */
static bool is_no_socket(ssize_t result)
{
	return __builtin_expect(result < 0, 0) && errno == ENOTSOCK;
}

/* sendfile and splice know no MSG_NOSIGNAL. Their SIGPIPE is for this thread alone, and so is this mask. One that was pending
 * before stays: two are one. */
static ssize_t perform_holding_sigpipe(const struct send_call *call)
{
	const struct timespec at_once = { 0 };
	const uint64_t pipe_only = 1ull << (SIGPIPE - 1);
	uint64_t before, pending = 0;

	raw_syscall(SYS_rt_sigprocmask, SIG_BLOCK, &pipe_only, &before, sizeof(before));
	if (before & pipe_only)
		raw_syscall(SYS_rt_sigpending, &pending, sizeof(pending));
	signals_holds_pipe = !(before & pipe_only);
	ssize_t result = call->perform(call);
	int error = errno;
	signals_holds_pipe = false;
	/* Raised for a call that was cut short, too, where TCP leaves it to the next one. */
	if ((result < 0 ? error == EPIPE : (size_t)result < call->bytes) && !(pending & pipe_only))
		raw_syscall(SYS_rt_sigtimedwait, &pipe_only, NULL, &at_once, sizeof(pipe_only));
	raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(before));
	errno = error;
	return result;
}

/* How a call is made without SIGPIPE; NULL: it cannot. */
static ssize_t (*quiet_way(const struct send_call *call))(const struct send_call *)
{
	if (call->flags & MSG_NOSIGNAL)
		return call->perform;
	if (!call->message)
		return config.trusts_filter ? NULL : perform_holding_sigpipe; /* its calls may not be allowed */
	return call->bytes <= CUT_SHORT_BYTES_MAX ? call->perform_quietly : NULL;
}

/* EPIPE of a joined end. If the peer has closed between the verdict and the enqueue the kernel says so too (fact 13), where TCP takes
 * the send and lets the peer answer with a reset: in these two states it never says EPIPE. The peer is in no sockhash by now, so
 * that the same send goes through TCP. An error that waits, of a reset, comes before EPIPE. `quiet`: SIGPIPE is still to be raised, if it is to be. */
static ssize_t after_broken_pipe(struct conn *conn, const struct send_call *call, uint32_t generation, bool quiet)
{
	ssize_t (*way)(const struct send_call *) = quiet ? quiet_way(call) : NULL;

	for (int i = 0; i < BROKEN_TRIES && (call->is_duplicate || transfer_fd_is(call->fd, conn, generation)); i++) {
		uint8_t state = endpoint_tcp_state(call->fd);

		if (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT && !queue_has_error(call->fd))
			break;
		ssize_t result = way ? way(call) : call->perform(call);
		if (result >= 0 || errno != EPIPE)
			return result;
	}
	errno = EPIPE;
	return quiet ? transfer_broken_pipe(call->flags) : -1;
}

ssize_t transfer_send_nothing(int fd, int flags)
{
	int error = 0;
	socklen_t length = sizeof(error);

	if (queue_has_error(fd) && real_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error != 0) {
		errno = error;
		return error == EPIPE ? transfer_broken_pipe(flags) : -1;
	}
	switch (endpoint_tcp_state(fd)) {
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
	case TCP_CLOSING:
	case TCP_LAST_ACK:
	case TCP_TIME_WAIT:
	case TCP_CLOSE:
		return transfer_broken_pipe(flags);
	default:
		return 0;
	}
}

static ssize_t perform(struct conn *conn, const struct send_call *call, uint32_t generation)
{
	if (__builtin_expect(!conn_is_joined(conn) && !call->is_duplicate, 1))
		return call->perform(call);
	ssize_t (*quietly)(const struct send_call *) = quiet_way(call);
	ssize_t result = quietly ? quietly(call) : call->perform(call);
	if (is_no_socket(result))
		return call->perform(call);
	if (__builtin_expect(result < 0, 0) && errno == EPIPE)
		result = after_broken_pipe(conn, call, generation, quietly != NULL);
	if (call->bytes >= TRANSFER_CUT_SHORT_BYTES && call->message && quietly)
		owe_error(conn, call, generation, result);
	else if (!call->message && quietly == perform_holding_sigpipe)
		end_sendfile(conn, call, result);
	return result;
}

/* Whoever closes the fd meanwhile leaves a duplicate, as TCP's send would go on, too. */
static ssize_t send_in_turn(struct conn *conn, const struct send_call *call, struct ledger_cell *ledger,
			    uint32_t generation)
{
	struct held held = { .conn = conn, .generation = generation, .fd = call->fd };
	struct send_call here = *call;

	if (!call->is_duplicate)
		held = held_begin(conn, call->fd, generation);
	bool may_sleep = (call->waits || !(call->flags & MSG_DONTWAIT)) && !mode_is_nonblocking(conn, call->fd);
	struct turn turn = wait_for_turn(conn, &ledger, call->fd, generation, may_sleep);
	here.has_waited = true;
	if (atomic_load(&conn->generation) != generation) /* its place in the ledger may be another's by now */
		ledger = NULL;
	ssize_t result = call->is_duplicate ? transfer_send_once(conn, &here, ledger, generation)
					    : transfer_send_held(&held, held_settle(&held), &here, ledger);
	turn_end(&turn);
	held_end(&held);
	return result;
}

ssize_t transfer_send_once(struct conn *conn, const struct send_call *call, struct ledger_cell *ledger,
			   uint32_t generation)
{
	struct turn turn = { .word = NULL };

	/* Not sendfile and splice, which may wait for what they are to send. */
	if ((ledger || turn_is_due_without(conn)) && call->message && !call->has_waited &&
	    !turn_begin(conn, ledger, &turn))
		return send_in_turn(conn, call, ledger, generation);
	if (ledger)
		ledger_announce(conn, ledger, call->bytes);
	ssize_t result = perform(conn, call, generation);
	turn_end(&turn);
	if (atomic_load_explicit(&conn->generation, memory_order_relaxed) == generation)
		note_spill(conn, result, call);
	account(conn, call, ledger, generation, result);
	return result;
}

ssize_t transfer_send_held(const struct held *held, int fd, const struct send_call *call, struct ledger_cell *ledger)
{
	struct conn *conn = held->conn;
	struct send_call here = *call;

	if (fd < 0) {
		errno = EBADF;
		return -1;
	}
	if (fd == held->fd)
		return transfer_send_once(conn, call, ledger, held->generation);
	here.fd = fd;
	here.is_duplicate = true;
	if (atomic_load(&conn->generation) != held->generation)
		ledger = NULL;
	ssize_t result = transfer_send_once(conn, &here, ledger, held->generation);
	if (result < 0)
		transfer_take_reported_error(fd);
	return result;
}

static ssize_t send_whole(struct conn *conn, const struct send_call *call, struct ledger_cell *ledger,
			  uint32_t generation)
{
	/* message NULL: sendfile, splice; `bytes` is then only an upper limit, and the file may be much shorter. */
	if (!ledger || !call->message || (call->flags & (MSG_DONTWAIT | MSG_OOB)) ||
	    !ledger_should_pace(conn, ledger, call->bytes) || mode_is_nonblocking(conn, call->fd))
		return transfer_send_once(conn, call, ledger, generation);
	struct held held = held_begin(conn, call->fd, generation);
	ledger_pace(conn, ledger, call->bytes);
	ssize_t result = transfer_send_held(&held, held_settle(&held), call, ledger);
	held_end(&held);
	return result;
}

/* A joined end says 0, or ENOSPC of a very large send, where TCP says EFAULT: nothing could be copied from the buffer. And TCP looks at the
 * connection before it looks there. */
static ssize_t with_bad_address(struct conn *conn, const struct send_call *call, uint32_t generation, ssize_t result)
{
	if (result > 0 || (result < 0 && errno != ENOSPC && errno != EFAULT) || !conn_is_joined(conn))
		return result;
	if (transfer_fd_is(call->fd, conn, generation) && transfer_send_nothing(call->fd, call->flags) < 0)
		return -1;
	errno = EFAULT;
	return -1;
}

static inline bool send_unusual(struct conn *conn, const struct send_call *call, struct ledger_cell *ledger,
				uint32_t generation, ssize_t *result_out)
{
	return (__builtin_expect(call->flags & MSG_ZEROCOPY, 0) &&
		transfer_send_uncopied(conn, call, ledger, generation, result_out)) ||
	       transfer_send_long(conn, call, ledger, generation, result_out);
}

ssize_t transfer_send(struct conn *conn, const struct send_call *call)
{
	uint32_t generation = atomic_load_explicit(&conn->generation, memory_order_relaxed);
	struct held held = { .conn = conn, .generation = generation, .fd = call->fd };
	/* A second send in a row: this end may never come to a receive at which it could join. */
	bool is_due = __builtin_expect(lifecycle_due(conn), 0);
	int fd = is_due ? transfer_step(&held, !conn->last_was_receive) : call->fd;

	uint32_t previous = transfer_enter(conn);
	struct ledger_cell *ledger = transfer_ledger(conn);
	struct latency_send latency = latency_send_begin(conn);
	ssize_t result = -1;
	struct signals_mark ran = signals_ran;
	int owed = 0, saved = errno;

	if (__builtin_expect(fd != call->fd, 0)) {
		result = transfer_send_held(&held, fd, call, ledger);
		held_end(&held);
	} else if (!transfer_fd_is(call->fd, conn, generation)) {
		errno = EBADF; /* closed by another thread in the meantime */
	} else if ((owed = transfer_take_owed_error(conn)) != 0) {
		if (owed == EPIPE)
			(void)transfer_broken_pipe(call->flags);
		errno = owed;
	} else if (!send_unusual(conn, call, ledger, generation, &result)) {
		result = send_whole(conn, call, ledger, generation);
	}
	latency_send_end(conn, call->fd, &latency, result);
	if (result < 0 && !owed && conn_is_joined(conn) && transfer_fd_is(call->fd, conn, generation))
		transfer_take_reported_error(call->fd);
	thread_leave(previous);
	if (call->message && call->bytes > 0)
		result = with_bad_address(conn, call, generation, result);
	if (__builtin_expect(transfer_lacks_memory(call, result), 0) && conn_is_joined(conn))
		result = transfer_send_without_memory(conn, call, generation, result, ran);
	if (result >= 0)
		errno = saved; /* some step of it may have failed */
	return result;
}

ssize_t transfer_short_send_rest(struct conn *conn, const struct send_call *call, struct transfer_short *way,
				 ssize_t result)
{
	if (way->no_signal && is_no_socket(result))
		result = call->perform(call);
	else if (result < 0 && errno == EPIPE && way->no_signal)
		result = after_broken_pipe(conn, call, way->generation, true);
	if (transfer_short_is_same(conn, way))
		note_spill(conn, result, call);
	account(conn, call, way->ledger, way->generation, result);
	if (result < 0 && conn_is_joined(conn) && transfer_fd_is(call->fd, conn, way->generation))
		transfer_take_reported_error(call->fd);
	transfer_short_end(way);
	result = with_bad_address(conn, call, way->generation, result);
	if (result < 0 && errno == ENOMEM && way->no_signal)
		result = transfer_send_without_memory(conn, call, way->generation, result, signals_ran);
	if (result >= 0 && way->no_signal)
		errno = way->saved_errno;
	return result;
}
