/* SPDX-License-Identifier: BSD-2-Clause */
/* The way to the helper: see channel.h.
 *
 * `phase` moves NONE -> REQUESTED (hello sent) -> READY and back to NONE when the door hangs up; whoever changes it
 * holds `busy`, a try-lock by tid: a loser goes on without a session, so that nobody, and no signal handler, waits for
 * a thread that holds it. Requests need no lock: a SEQPACKET send is atomic.
 */
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "../helper/wire/wire.h"
#include "channel_breaker.h"
#include "channel_fd.h"
#include "clock.h"
#include "config.h"
#include "latency.h"
#include "ledger.h"
#include "lifecycle.h"
#include "log.h"
#include "raw_syscall.h"
#include "real.h"
#include "session_memory.h"
#include "stops.h"
#include "threads.h"

#define RETRY_MS 100     /* between attempts to reach a helper that is not there */
#define REFUSED_MS 1000  /* before another session is asked for than the one that the helper did not give, or ended */
#define LOOK_AGAIN_MS 20 /* how long a session is taken to stand without a look */
#define DOUBT_MS 200

enum phase { PHASE_NONE, PHASE_REQUESTED, PHASE_READY };

#define door channel_fds[CHANNEL_DOOR]
#define session channel_fds[CHANNEL_SESSION]
#define mailbox channel_fds[CHANNEL_MAILBOX]

static _Atomic uint32_t phase;
static _Atomic int32_t busy; /* tid */
static _Atomic bool shut, hung_up;
static _Atomic uint32_t epoch;
static uint32_t epochs, features;
uint32_t channel_inherited_epochs;
static struct session_memory *_Atomic memory;
static _Atomic int64_t tried_ms, looked_ms;
static int64_t wanted_ms;  /* no session is asked for before that */
static int64_t doubted_ms; /* since when the session has to prove that its helper lives; 0: it need not */

bool channel_lock(void)
{
	int32_t expected = 0;

	return !shut && atomic_compare_exchange_strong(&busy, &expected, thread_tid());
}

void channel_unlock(void)
{
	atomic_store(&busy, 0);
}

uint32_t channel_epoch(void)
{
	return atomic_load(&epoch);
}

uint32_t channel_features(void)
{
	return features;
}

bool channel_has_door(void)
{
	return atomic_load_explicit(&door.fd, memory_order_relaxed) >= 0;
}

static void forget_session(void)
{
	atomic_store(&phase, PHASE_NONE);
	atomic_store(&epoch, 0);
	atomic_store(&hung_up, false);
	doubted_ms = 0;
	latency_session(NULL);
	/* The mapping stays: connections of that session may still look at their cells. */
	channel_fd_close(&session);
	channel_fd_close(&mailbox);
}

/* With the lock. It is over, though this process goes on. */
static void end_session(void)
{
	lifecycle_session_over(atomic_load(&epoch));
	forget_session();
	breaker_close();
}

/* With the lock. Whether a door is open to a living helper. */
static bool door_stands(void)
{
	struct pollfd poller = { .fd = channel_fd_get(&door), .events = 0 };

	if (poller.fd < 0)
		return false;
	if (real_poll(&poller, 1, 0) <= 0) /* EINTR, as of a handler that ran meanwhile, says nothing */
		return true;
	log_info("the helper is gone");
	lifecycle_helper_gone(doubted_ms ? 0 : atomic_load(&epoch));
	channel_fd_close(&door);
	end_session();
	return false;
}

static void connect_door(void)
{
	int64_t now = clock_coarse_ms();

	if (now - atomic_load(&tried_ms) < RETRY_MS && tried_ms != 0)
		return;
	atomic_store(&tried_ms, now);
	if (channel_fd_connect(&door) != 0)
		return;
	if (atomic_load(&phase) == PHASE_NONE)
		return; /* until its WELCOME it has been reached in vain: one of another version closes each door */
	atomic_store(&tried_ms, 0);
	/* The last door was closed, or given away: nobody saw whether the session's helper has gone since. */
	doubted_ms = now;
	breaker_open(0);
}

void channel_open_door(void)
{
	int saved = errno;

	if (atomic_load_explicit(&door.fd, memory_order_relaxed) < 0 && channel_lock()) {
		if (!door_stands())
			connect_door();
		channel_unlock();
	}
	errno = saved;
}

/* With the lock: sends the far end of a fresh pair through the door. */
static void request_session(void)
{
	struct wire_hello hello = { 0 };
	int pair[2];

	if (clock_coarse_ms() < wanted_ms)
		return;
	if (real_socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
		return;
	int door_fd = channel_fd_get(&door);
	wire_header_init(&hello.header, WIRE_HELLO, sizeof(hello), 0, 0);
	hello.group = config.group;
	memcpy(hello.comm, program_invocation_short_name,
	       strnlen(program_invocation_short_name, sizeof(hello.comm) - 1));
	int error = door_fd < 0 ? -ENOTCONN : wire_send(door_fd, &hello, sizeof(hello), pair[1]);
	if (error) {
		log_info("hello: %d", error);
		real_close(pair[0]);
		real_close(pair[1]);
		return;
	}
	int errors = channel_fd_set_consume(&session, pair[0]) | channel_fd_set_consume(&mailbox, pair[1]);
	if (errors) {
		wanted_ms = clock_coarse_ms() + RETRY_MS;
		forget_session();
	} else {
		atomic_store(&phase, PHASE_REQUESTED);
	}
}

/* One message of the helper. */
static void handle_message(const void *message, ssize_t bytes, int fd)
{
	const struct wire_header *header = message;
	unsigned type = wire_check(message, (size_t)bytes) == 0 ? header->type : 0;

	if (type == WIRE_WELCOME && atomic_load(&phase) == PHASE_REQUESTED) {
		struct session_memory *mapping = session_memory_map_consume(message, fd);

		if (mapping) {
			atomic_store(&memory, mapping);
			features = ((const struct wire_welcome *)message)->features;
			latency_session(mapping);
			atomic_store(&epoch, ++epochs);
			atomic_store(&tried_ms, 0);
			breaker_close();
			doubted_ms = 0;
			atomic_store(&phase, PHASE_READY);
			log_info("session %u stands", epochs);
		}
	} else if (type == WIRE_LEDGER && fd >= 0) {
		ledger_add_consume(((const struct wire_ledger *)message)->ledger_id, fd);
	} else if (type == WIRE_STOPS && fd >= 0) {
		stops_session_consume(message, fd);
	} else if (fd >= 0) {
		real_close(fd);
	}
}

static void receive_messages(void)
{
	char message[WIRE_MESSAGE_MAX] __attribute__((aligned(8)));
	int session_fd = channel_fd_get(&session), fd;

	for (int i = 0; i < 64 && session_fd >= 0; i++) {
		ssize_t bytes = wire_receive(session_fd, message, sizeof(message), &fd, NULL);
		if (bytes > 0)
			handle_message(message, bytes, fd);
		else if (bytes == 0)
			atomic_store(&hung_up, true);
		if (bytes <= 0 && bytes != -EMSGSIZE)
			break;
	}
}

void channel_drain(void)
{
	int saved = errno;

	if (channel_lock()) {
		receive_messages();
		channel_unlock();
	}
	errno = saved;
}

void channel_breaker_trip(int silent_ms)
{
	breaker_open(silent_ms);
	log_info("the helper does not answer: plain TCP until it does");
}

/* With the lock. Looks for a sign of life; never waits. A session that is not READY has its WELCOME for that. */
static void breaker_probe(void)
{
	if (breaker_has_answer()) {
		breaker_close();
		doubted_ms = 0;
		log_info("the helper answers again");
	} else if (doubted_ms && clock_coarse_ms() - doubted_ms > DOUBT_MS) {
		end_session(); /* the next look asks for one of whoever is behind the door */
	}
}

static void wait_for_welcome(int wait_ms)
{
	struct pollfd poller = { .fd = channel_fd_get(&session), .events = POLLIN };
	int64_t deadline = clock_coarse_ms() + wait_ms;

	while (poller.fd >= 0 && atomic_load(&phase) == PHASE_REQUESTED) {
		int64_t left = deadline - clock_coarse_ms();
		if (left <= 0 || real_poll(&poller, 1, (int)left) == 0) {
			channel_breaker_trip(wait_ms);
			return;
		}
		receive_messages();
		if (poller.revents & (POLLHUP | POLLERR))
			return;
	}
}

static void wait_for_sign_of_life(void)
{
	struct timespec pause = { .tv_nsec = 1000000 };

	breaker_probe();
	for (int left_ms = breaker_patience_ms(); left_ms > 0 && breaker_patience_ms() > 0; left_ms--) {
		raw_syscall(SYS_nanosleep, &pause, NULL); /* no cancellation point: the lock is held */
		receive_messages();
		breaker_probe();
	}
}

static void advance(int wait_ms)
{
	if (!door_stands()) {
		connect_door();
		if (atomic_load(&door.fd) < 0)
			return;
	}
	if (atomic_load(&hung_up)) {
		log_info("the helper has no session for this process");
		wanted_ms = clock_coarse_ms() + REFUSED_MS;
		end_session();
	} else if (channel_fd_get(&session) < 0 || channel_fd_get(&mailbox) < 0) {
		end_session();
	}
	atomic_store(&looked_ms, clock_coarse_ms());
	if (atomic_load(&phase) == PHASE_NONE && session_memory_has_place())
		request_session();
	if (atomic_load(&phase) == PHASE_REQUESTED)
		receive_messages();
	if (breaker_is_open() && wait_ms >= CHANNEL_WAIT_LONG_MS)
		wait_for_sign_of_life();
	else if (breaker_is_open())
		breaker_probe();
	else if (wait_ms && atomic_load(&phase) == PHASE_REQUESTED)
		wait_for_welcome(wait_ms);
}

/* Another thread is at it: in eager mode its result is worth a bounded wait. */
static void wait_for_other(void)
{
	struct timespec pause = { .tv_nsec = 200000 };

	for (int i = 0; i < CHANNEL_WAIT_MS * 5 && atomic_load(&busy) != 0; i++) {
		if (atomic_load(&busy) == thread_tid())
			return; /* a signal handler on top of it */
		nanosleep(&pause, NULL);
	}
}

enum channel_state channel_session(struct session_memory **memory_out, int wait_ms)
{
	int saved = errno;

	/* Offers come often, and a helper that has just gone costs them nothing. */
	if (!wait_ms && atomic_load(&phase) == PHASE_READY && !breaker_is_open() && !atomic_load(&hung_up) &&
	    clock_coarse_ms() - atomic_load(&looked_ms) < LOOK_AGAIN_MS) {
		*memory_out = atomic_load(&memory);
		return CHANNEL_READY;
	}
	bool locked = channel_lock();

	if (!locked && wait_ms && !breaker_is_open()) {
		wait_for_other();
		locked = channel_lock();
		if (!locked && atomic_load(&busy) != thread_tid()) /* perhaps a handler has left it by siglongjmp */
			channel_breaker_trip(CHANNEL_WAIT_MS);
	}
	if (locked) {
		advance(wait_ms);
		channel_unlock();
	}
	errno = saved;
	if (breaker_is_open())
		return CHANNEL_NONE;
	if (atomic_load(&phase) != PHASE_READY)
		return atomic_load(&phase) == PHASE_REQUESTED ? CHANNEL_STARTING : CHANNEL_NONE;
	*memory_out = atomic_load(&memory);
	return CHANNEL_READY;
}

struct session_memory *channel_memory(void)
{
	bool stands = atomic_load_explicit(&phase, memory_order_relaxed) == PHASE_READY;

	return stands ? atomic_load_explicit(&memory, memory_order_relaxed) : NULL;
}

void channel_shut(void)
{
	if (!channel_lock())
		wait_for_other(); /* what it was at is over, or finds nothing open any more */
	atomic_store(&shut, true);
	forget_session();
	channel_fd_close(&door);
}

int channel_mailbox_use(void)
{
	return channel_fd_use(&mailbox);
}

void channel_mailbox_used(void)
{
	channel_fd_used(&mailbox);
}

void channel_forked(void)
{
	atomic_store(&busy, 0); /* the door is shared with the parent and stays; the session was the parent's */
	breaker_close();
	atomic_store(&session.users, 0);
	atomic_store(&mailbox.users, 0);
	channel_inherited_epochs = epochs;
	forget_session();
	latency_forked();
}

/* This process holds its far end, too: that there is no helper any more is told by the door, and by the session only that the helper has
 * ended it. */
int channel_send(const void *message, size_t bytes, int fd)
{
	int own = channel_fd_use(&session);
	int error = own < 0 ? -ENOTCONN : wire_send(own, message, bytes, fd);

	if (error == -EPIPE) /* while it is used, or it might be the next one that is ended */
		atomic_store(&hung_up, true);
	channel_fd_used(&session);
	return error;
}
