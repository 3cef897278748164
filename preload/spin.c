/* SPDX-License-Identifier: BSD-2-Clause */
/* Waiting awake: see spin.h. */
#include "spin.h"

#include <poll.h>
#include <time.h>

#include "channel.h"
#include "clock.h"
#include "config.h"
#include "transfer_internal.h"

/* A sender that copies 256 KiB, or a reader that takes as much, needs about that long. */
#define ANNOUNCED_NS 40000
#define PAUSES 2           /* between looks */
#define LOOKS_AT_LEDGER 16 /* for one at the socket */
#define MISSES_MAX 6
#define HITS_FACTOR 8      /* the limit is so many times what the last successes took, ... */
#define HITS_FLOOR_NS 5000 /* ... and this */
/* Nobody looks that seldom of his own will: the thread had no CPU. */
#define GAP_NS 300000
#define THREAD_WAITS 16
#define SLEEPS_TRUSTED 64 /* occasions */

__thread struct spin_thread spin_thread __attribute__((tls_model("initial-exec")));

static int64_t now_ns(void)
{
	struct timespec now;

	clock_read(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void pause_briefly(void)
{
	for (int i = 0; i < PAUSES; i++) {
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#elif defined(__aarch64__)
		__asm__ volatile("yield");
#else
		atomic_signal_fence(memory_order_seq_cst);
#endif
	}
}

static int64_t learned_limit(const struct spin_history *history, int64_t limit_ns)
{
	int64_t learned = HITS_FLOOR_NS + HITS_FACTOR * (int64_t)history->hit_ns;

	return history->hit_ns && learned < limit_ns ? learned : limit_ns;
}

/* Threads that share a history may miscount each other's: it is only about how often. */
static void learn(struct spin_history *history, int64_t spent_ns, int result, bool gap)
{
	if (result > 0) {
		history->misses = 0;
		/* Up or down, and never to 0. */
		history->hit_ns += (uint32_t)(((int32_t)((uint32_t)spent_ns - history->hit_ns)) / 4 + 1);
	} else if (result == 0) {
		if (gap)
			history->misses = MISSES_MAX;
		else if (history->misses < MISSES_MAX)
			history->misses++;
		else
			history->hit_ns = 0; /* what was learned holds no more */
		history->skip = (uint8_t)(1u << history->misses);
	}
}

/* Shown by `smaccel status`: what waiting awake has cost this process. */
static void count(uint64_t ns, bool hit)
{
	struct session_memory *memory = channel_memory();

	if (!memory)
		return;
	atomic_fetch_add_explicit(&memory->spin_ns, ns, memory_order_relaxed);
	atomic_fetch_add_explicit(&memory->spins, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&memory->spin_hits, hit, memory_order_relaxed);
}

int spin_until(struct spin_history *history, int64_t limit_ns, spin_look look, void *context)
{
	int64_t start, now, before;
	bool gap = false;
	int result;

	if (history->skip) {
		history->skip--;
		return 0;
	}
	limit_ns = learned_limit(history, limit_ns);
	start = before = now_ns();
	for (;;) {
		result = look(context);
		now = now_ns();
		gap = now - before > GAP_NS;
		if (result || gap || now - start > limit_ns)
			break;
		before = now;
		pause_briefly();
	}
	learn(history, now - start, result, gap);
	count((uint64_t)(now - start), result > 0);
	return result;
}

static bool is_readable(int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };

	return real_poll(&poller, 1, 0) == 1;
}

/* ---- what is known to be coming ---- */

struct awaited {
	struct conn *conn;
	struct ledger_cell *ledger;
	size_t bytes;
	int fd;
	unsigned looks;
};

static int look_for_announced(void *context)
{
	const struct awaited *awaited = context;

	if (is_readable(awaited->fd))
		return 1;
	return ledger_is_owed(awaited->conn, awaited->ledger) ? 0 : -1; /* the send came to nothing */
}

static bool would_sleep(struct spin_history *history, int fd)
{
	if (history->trusted) {
		history->trusted--;
	} else {
		history->trusted = SLEEPS_TRUSTED;
		history->sleeps = !transfer_fd_nonblocking(fd);
	}
	return history->sleeps;
}

bool spin_for_announced(struct conn *conn, struct ledger_cell *ledger, int fd)
{
	struct awaited awaited = { .conn = conn, .ledger = ledger, .fd = fd };

	if (!ledger_cpu_is_other(&ledger_peer(conn, ledger)->send_cpu) || !would_sleep(&conn->announced, fd))
		return false;
	if (is_readable(fd))
		return true;
	return !transfer_fd_nonblocking(fd) &&
	       spin_until(&conn->announced, ANNOUNCED_NS, look_for_announced, &awaited) > 0;
}

static int look_for_room(void *context)
{
	const struct awaited *awaited = context;

	return !ledger_should_pace(awaited->conn, awaited->ledger, awaited->bytes);
}

bool spin_for_room(struct conn *conn, struct ledger_cell *ledger, size_t bytes)
{
	struct awaited awaited = { .conn = conn, .ledger = ledger, .bytes = bytes };

	return ledger_cpu_is_other(&ledger_peer(conn, ledger)->read_cpu) &&
	       spin_until(&conn->announced, ANNOUNCED_NS, look_for_room, &awaited) > 0;
}

/* ---- what may be coming ---- */

/* A look at the ledger is a load, one at the socket a system call, which also slows down the sender that fills its queue. The
 * ledger does not know of everything, an end of file for one. */
static int look_for_readable(void *context)
{
	struct awaited *awaited = context;

	if (awaited->ledger && !ledger_is_owed(awaited->conn, awaited->ledger) &&
	    ++awaited->looks % LOOKS_AT_LEDGER != 0)
		return 0;
	return is_readable(awaited->fd);
}

bool spin_for_readable(struct conn *conn, struct ledger_cell *ledger, int fd)
{
	struct awaited awaited = { .conn = conn, .ledger = ledger, .fd = fd };

	if (!config.spin_ns || (ledger && ledger_cpu_is_own(&ledger_peer(conn, ledger)->send_cpu)))
		return false;
	return !transfer_fd_nonblocking(fd) &&
	       spin_until(&conn->readable, config.spin_ns, look_for_readable, &awaited) > 0;
}

void spin_thread_used(void)
{
	if (config.spin_ns)
		spin_thread.waits_left = THREAD_WAITS;
}
