/* SPDX-License-Identifier: BSD-2-Clause */
/* See quiet_record.h. The table of connections, which no wrapper looks at any more, goes on to say which one a number names; no system call
 * is made here. */
#include "quiet_record.h"

#include "quiet.h"

#define WORD_BITS 64

static _Atomic uint64_t stuck[STUCK_KINDS][CONN_FD_MAX / WORD_BITS];
static _Atomic uint32_t *_Atomic table; /* NULL: there are none */

bool quiet_record_is(enum stuck_kind kind, int fd)
{
	return (unsigned)fd < CONN_FD_MAX &&
	       (atomic_load_explicit(&stuck[kind][fd / WORD_BITS], memory_order_relaxed) >> fd % WORD_BITS & 1) != 0;
}

static void set(enum stuck_kind kind, int fd, bool on)
{
	uint64_t bit = UINT64_C(1) << fd % WORD_BITS;

	if (on)
		atomic_fetch_or(&stuck[kind][fd / WORD_BITS], bit);
	else
		atomic_fetch_and(&stuck[kind][fd / WORD_BITS], ~bit);
}

void quiet_record_begin(int fd, enum stuck_kind kind)
{
	atomic_store(&table, conn_table());
	set(STUCK, fd, true);
	set(kind, fd, true);
}

struct conn *quiet_record_conn(int fd)
{
	_Atomic uint32_t *entries = atomic_load_explicit(&table, memory_order_relaxed);
	uint32_t place = entries && quiet_record_is(STUCK, fd) ? atomic_load(&entries[fd]) : 0;

	return (int32_t)place > 0 ? conn_at(entries, place) : NULL;
}

void quiet_stuck_remove(unsigned int first, unsigned int last)
{
	uint32_t high = atomic_load(&conn_fd_high);

	for (uint32_t fd = first; atomic_load(&table) && fd <= last && fd <= high; fd++)
		for (int kind = 0; kind < STUCK_KINDS; kind++)
			set(kind, (int)fd, false);
}

/* All its fds share it. */
static void forget(enum stuck_kind kind, int fd)
{
	const struct conn *conn = quiet_record_conn(fd);
	uint32_t high = atomic_load(&conn_fd_high);

	for (uint32_t other = 0; conn && other <= high; other++)
		if (quiet_record_conn((int)other) == conn)
			set(kind, (int)other, false);
}

void quiet_record_done(int fd)
{
	forget(STUCK_NONBLOCKING, fd);
}

void quiet_stuck_mode(int fd, bool blocks)
{
	forget(blocks ? STUCK_NONBLOCKING : STUCK_BLOCKING, fd);
}

void quiet_stuck_copy(int oldfd, int newfd)
{
	_Atomic uint32_t *entries = atomic_load(&table);
	uint32_t high = atomic_load(&conn_fd_high);

	if (!entries || oldfd == newfd || (unsigned)oldfd >= CONN_FD_MAX || (unsigned)newfd >= CONN_FD_MAX)
		return;
	/* A vfork child that puts it in the place of another number does so in its parent's memory, and cannot be told by a look at the pid
	 * any more. Mostly that is a standard stream's; and a further receive would take what is the parent's own: another datagram. */
	bool is_stream = newfd <= 2;
	while (high < (uint32_t)newfd && quiet_record_is(STUCK, oldfd) &&
	       !atomic_compare_exchange_weak(&conn_fd_high, &high, (uint32_t)newfd))
		;
	atomic_store(&entries[newfd], atomic_load(&entries[oldfd]));
	for (int kind = 0; kind < STUCK_KINDS; kind++)
		set(kind, newfd, !is_stream && kind != STUCK_NONBLOCKING && quiet_record_is(kind, oldfd));
}
