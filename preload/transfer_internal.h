/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by the transfer_*.c files. */
#ifndef SMACCEL_TRANSFER_INTERNAL_H
#define SMACCEL_TRANSFER_INTERNAL_H

#include <errno.h>
#include <fcntl.h>

#include "held.h"
#include "latency.h"
#include "ledger.h"
#include "libc.h"
#include "lifecycle.h"
#include "quiet.h"
#include "real.h"
#include "signals.h"
#include "stops.h"
#include "threads.h"
#include "transfer.h"

/* Asks the kernel. Of a connection's own file mode_is_nonblocking() may know it. */
static inline bool transfer_fd_nonblocking(int fd)
{
	int flags = real_fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_NONBLOCK) != 0;
}

/* fd still names the connection that the call began with. To be asked after every wait and before every further system
 * call: another thread may have closed it, and the number be another file's by now. close() clears the table first. */
static inline bool transfer_fd_is(int fd, struct conn *conn, uint32_t generation)
{
	if (quiet_is_on())
		return true; /* there is no table any more; the number is the application's care, as without us */
	return conn_get(fd) == conn && atomic_load_explicit(&conn->generation, memory_order_relaxed) == generation;
}

/* Marks the thread as inside a call on the connection, when possible not in the middle of another thread's join. The
 * state is to be looked at after this. Ends with thread_leave(). */
static inline uint32_t transfer_enter(struct conn *conn)
{
	uint32_t previous = thread_enter(conn->index);

	if (__builtin_expect(conn_state(conn) == CONN_JOINING, 0)) {
		thread_leave(previous);
		lifecycle_settle(conn);
		previous = thread_enter(conn->index);
	}
	return previous;
}

/* After transfer_enter(). NULL also while another thread's join takes longer than transfer_enter() waits: it may be moving
 * the accounts, and what goes past the ledger meanwhile is added up in the end. */
static inline struct ledger_cell *transfer_ledger(struct conn *conn)
{
	if (__builtin_expect(conn_state(conn) == CONN_JOINING, 0))
		return NULL;
	return atomic_load_explicit(&conn->ledger, memory_order_acquire);
}

/* Adds to an account of the connection. In a process of one thread without a locked operation, but by one instruction, so that
 * no signal handler comes in between. */
static inline void transfer_add(_Atomic uint64_t *sum, uint64_t bytes)
{
#ifdef __x86_64__
	if (libc_single_threaded()) {
		__asm__ volatile("addq %1, %0" : "+m"(*sum) : "er"(bytes) : "cc");
		return;
	}
#endif
	atomic_fetch_add_explicit(sum, bytes, memory_order_relaxed);
}

/* A send that fits in one piece is sent whole or not at all. */
#define TRANSFER_CUT_SHORT_BYTES 2048

/* What admission learns from a call. */
static inline void transfer_count_received(struct conn *conn, size_t bytes)
{
	conn->last_was_receive = 1;
	if (__builtin_expect(bytes >= ADMISSION_LARGE_BYTES, 0))
		conn->turns++;
}
/* True: a window of sends is over. */
static inline bool transfer_counted_sent(struct conn *conn, size_t bytes)
{
	bool is_turn = conn->last_was_receive, is_large = bytes >= ADMISSION_LARGE_BYTES;

	conn->turns += is_turn || is_large;
	conn->last_was_receive = 0;
	return admission_send(&conn->admission, is_turn, bytes);
}
/* As what a file of so many bytes counts. */
static inline size_t transfer_counted_of_file(const struct conn *conn, size_t bytes)
{
	return conn_has_option(conn, CONN_CORKED) && bytes < ADMISSION_CORKED_FILE_BYTES ? 0 : bytes;
}
static inline void transfer_count_sent(struct conn *conn, size_t bytes)
{
	if (transfer_counted_sent(conn, bytes))
		lifecycle_window(conn);
}

/* Of a vector for a part of a call. Few, as they are on the caller's stack, which may be a handler's own: whoever uses them goes on with the
 * next ones. */
#define TRANSFER_WINDOW_IOVECS 16
#define TRANSFER_WINDOWS 64 /* as many as the longest vector (IOV_MAX) has */

/* Fills `out` (room for `capacity`) with the part of `in` that starts `skip` bytes in and is at most `limit` long.
 * Returns the number of iovecs. */
size_t transfer_iov_window(const struct iovec *in, size_t count, size_t skip, size_t limit, struct iovec *out,
			   size_t capacity);

/* The coarse clock, in ms: it advances in steps of up to 10 ms (CONFIG_HZ=100). */
#define TRANSFER_NOW_STEP_MS 10
int64_t transfer_now_ms(void);
/* The same clock itself. A time-out of the kernel's, which it counts in the same steps, is over when this says so of a beginning that
 * transfer_now_ms() told, give or take a ms. */
int64_t transfer_precise_ms(void);

/* lifecycle_step() before a call on fd that has begun: another thread may close fd meanwhile, and the call goes on, as TCP's would. Returns by
 * what number: fd, a duplicate, or -1; held_end() follows. Keeps errno. */
int transfer_step(struct held *held, bool may_join);

/* One system call of a send, and its accounts; ledger NULL: none. */
ssize_t transfer_send_once(struct conn *conn, const struct send_call *call, struct ledger_cell *ledger,
			   uint32_t generation);
/* The same by `fd`, where the call's file can be reached now (held.h); -1: EBADF. */
ssize_t transfer_send_held(const struct held *held, int fd, const struct send_call *call, struct ledger_cell *ledger);

struct transfer_part {
	size_t done;      /* what comes after so many bytes of the call */
	size_t bytes_max; /* at most so many */
	int flags;
	bool waits;
	size_t bytes; /* out: how many it is; fewer where they lie in many pieces */
};
/* Sends that part of a sendmsg()'s bytes. Returns as sendmsg() does. */
ssize_t transfer_send_part(const struct held *held, int fd, const struct send_call *call, struct transfer_part *part,
			   struct ledger_cell *ledger);
/* The same as a send of its own, on its connection (is_again). */
ssize_t transfer_send_part_again(struct conn *conn, const struct send_call *call, struct transfer_part *part);
/* transfer_memory.c: a send on a joined end that returned that, maybe because the reader may have no more memory; `ran` is from before it.
 * The caller is not inside. Returns what TCP would have. */
ssize_t transfer_send_without_memory(struct conn *conn, const struct send_call *call, uint32_t generation,
				     ssize_t result, struct signals_mark ran);
static inline bool transfer_lacks_memory(const struct send_call *call, ssize_t result)
{
	return result < 0 ? errno == ENOMEM : (size_t)result < call->bytes && call->bytes >= TRANSFER_CUT_SHORT_BYTES;
}
/* One with MSG_ZEROCOPY. True: has made it, accounts included (transfer_uncopied.c). The caller is inside. */
bool transfer_send_uncopied(struct conn *conn, const struct send_call *call, struct ledger_cell *ledger,
			    uint32_t generation, ssize_t *result_out);
/* After a send that failed with errno: takes the error from the socket if it is still there. */
void transfer_take_reported_error(int fd);
/* After a send on a joined end that was cut short: it took the error of a reset from the socket, which is the next call's. */
bool transfer_took_reset(int fd);
/* Of a connection that connect() has dissolved TCP tells the error that waits, or that there is none (ENOTCONN). In the sockhash a receive would
 * sleep. True: errno says which. */
bool transfer_has_no_connection(const struct conn *conn, int fd);
/* The error of that, for the next call: EPIPE if the peer had shut down its sending before, as far as its wrappers know. */
void transfer_owe_reset(struct conn *conn, uint32_t generation);
/* EPIPE as TCP gives it, with SIGPIPE unless MSG_NOSIGNAL is among the flags: -1. */
ssize_t transfer_broken_pipe(int flags);
/* transfer_owe_error(), unless the call's connection is over as far as this process is concerned. */
void transfer_owe_if_same(struct conn *conn, uint32_t generation, int error);
/* One that TCP leaves on the socket, of a connection that is over. */
bool transfer_is_connections_error(int error);
/* The results in a message, of a receive that brought nothing but bytes and was made with another message: 0, or -1 and EFAULT. */
int transfer_clear_results(int fd, struct msghdr *message);
/* Of a recvfrom() that wants its sender's address: TCP names none, a length of 0. Said here where the bytes came by another call than the application's.
 * 0, or -1 with errno: EFAULT, EINVAL. */
int transfer_name_nobody(int fd, socklen_t *length);

/* poll(2) of one fd that says EINTR also when the thread was stopped and continued, and always after a handler. 0 also if only some of
 * the time is over. timeout_ms: above 0, or -1 for ever. */
int transfer_poll_stoppable(int fd, short events, int timeout_ms, bool has_part);

/* A blocking receive under way: when it began, and what had happened by then. */
struct receive_wait {
	int64_t started_ms; /* RECEIVE_UNBOUNDED: it has no time-out, whatever has been set since */
	int timeout_ms; /* SO_RCVTIMEO, of when it began, as TCP takes it; -1: none, RECEIVE_ASKS: another process may have set it */
	struct signals_mark ran;
	struct stops_mark stopped;
	bool any_handler; /* one with SA_RESTART ends it too: there are bytes to return */
	bool may_lose_fd; /* another thread may put another file under the number, and poll(2) would look at that alone */
};
#define RECEIVE_UNBOUNDED INT64_MIN
#define RECEIVE_ASKS (-2)
struct receive_wait receive_wait_begin(const struct conn *conn);
/* One of a connection that has no time-out, as far as this process knows: neither the clock nor the helper's word of stops is looked at, which
 * lie in pages of their own. */
static inline struct receive_wait receive_wait_begin_unbounded(void)
{
	return (struct receive_wait){ .started_ms = RECEIVE_UNBOUNDED, .ran = signals_ran };
}
/* After a handler with SA_RESTART: TCP's receive begins anew, with the time-out of now. */
void receive_wait_anew(struct receive_wait *wait, int fd);
/* SO_RCVTIMEO in ms of the call that began so; -1: none. */
int receive_wait_timeout_ms(const struct receive_wait *wait, int fd);
/* What happened since then ends it with EINTR, if it was woken and nothing is there. `bounded`: it has SO_RCVTIMEO. */
static inline bool receive_wait_interrupted(const struct receive_wait *wait, bool bounded)
{
	return signals_interrupted(wait->ran, bounded) || (bounded && stops_since(wait->stopped));
}
enum wait_result { WAIT_AGAIN, WAIT_TIMED_OUT, WAIT_INTERRUPTED };
/* Sleeps until the socket is readable, or its receive is to end. */
enum wait_result receive_wait_readable(int fd, struct receive_wait *wait);
/* A receive with SO_RCVTIMEO slept in recv, which ended it with EAGAIN before its time; no handler has run and no stop is noted. True: by
 * a stop without a signal, for nothing else can have been. False: not known. */
bool transfer_was_trapped(struct conn *conn, int fd, const struct receive_wait *wait);
/* What is there is less than a MSG_PEEK | MSG_WAITALL wants. True when it is worth another look. */
bool receive_wait_for_more(int fd, const struct receive_wait *wait);

/* poll(2) of `events` returns at once, but only because the error queue is not empty. */
bool transfer_is_error_queues(int fd, short events);
/* A receive that has got bytes may not go on for more. */
bool transfer_must_end(int fd);
/* A receive on an end that is or was in the sockhash, with TCP's results (transfer_repair.c). */
ssize_t transfer_receive_repaired(struct conn *conn, const struct receive_call *call, struct ledger_cell *ledger);
/* One with MSG_TRUNC (transfer_truncated.c). */
ssize_t transfer_receive_truncated(struct conn *conn, const struct receive_call *call, struct ledger_cell *ledger);
/* transfer_topup.c. One receive that does not wait, of what is left after `done` bytes. */
ssize_t transfer_receive_now(const struct receive_call *call, size_t done);
/* An end whose fd came in a message, and that turns out to be in no sockhash: plain TCP from now on. Not one that has tried to join since:
 * it may try again, and a late helper may have it. */
void transfer_let_go(struct conn *conn, int fd);
/* What there is behind `done` bytes, taken into the same call. was_joined: when it began; another thread may have made the end leave
 * meanwhile, or join. cell: of which the thread is the reader still; afterwards it is not. Returns how many bytes the call has then. Keeps errno. */
ssize_t transfer_top_up(struct conn *conn, const struct receive_call *call, struct ledger_cell *ledger,
			struct memory_cell *cell, bool was_joined, size_t done);
/* The rest of it, after the application's own call has been made. The thread may still be the reader of the cell (NULL: of none); it is not
 * afterwards. */
ssize_t transfer_repair(struct conn *conn, const struct receive_call *call, struct ledger_cell *ledger,
			struct memory_cell *cell, struct receive_wait *wait, uint32_t generation, ssize_t result);

#endif
