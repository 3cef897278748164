/* SPDX-License-Identifier: BSD-2-Clause */
/* The cells of a session's memory: words and status bits, and a walk over those that show a connection. */
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "session.h"

#define CELLS_PER_READ 128
/* Threads of one process woken by one answer. */
#define WAKE_MAX 1024
#define STATUS_TRIES 16

void session_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, WAKE_MAX, NULL, NULL, 0); /* not PRIVATE: the waiter is another process */
}

static bool has_data(const struct session *session, uint64_t page)
{
	off_t offset = (off_t)(page * SESSION_PAGE_BYTES);

	return lseek(session->memory_fd, offset, SEEK_DATA) == offset;
}

/* From then on its pages stay: nobody can punch a hole (shmem_fallocate()), which the helper would fill, and be charged for. What is mapped
 * already can still be written to, and a client that has written to it has mapped it. False: it has made that impossible. */
static bool keep_pages(struct session *session)
{
	if (!session->keeps_pages)
		session->keeps_pages = fcntl(session->memory_fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0 ||
				       (fcntl(session->memory_fd, F_GET_SEALS) & F_SEAL_FUTURE_WRITE);
	return session->keeps_pages;
}

/* Whether the client has ever written to that page. Asked by SEEK_DATA, as a look at the page itself would make it. */
static bool page_touched(struct session *session, uint64_t page)
{
	if (session->touched[page / 8] & 1u << page % 8)
		return true;
	if (!has_data(session, page) || !keep_pages(session) || !has_data(session, page))
		return false;
	session->touched[page / 8] |= 1u << page % 8;
	return true;
}

struct memory_cell *session_cell(struct session *session, uint32_t index)
{
	uint64_t offset;

	if (index == 0 || index >= MEMORY_CELLS)
		return NULL;
	offset = sizeof(struct session_memory) + (uint64_t)index * sizeof(struct memory_cell);
	if (!page_touched(session, offset / SESSION_PAGE_BYTES) ||
	    !page_touched(session, (offset + sizeof(struct memory_cell) - 1) / SESSION_PAGE_BYTES))
		return NULL;
	return &session->memory->cells[index];
}

struct latency_memory *session_latency(struct session *session)
{
	const uint64_t first = LATENCY_OFFSET / SESSION_PAGE_BYTES;
	const uint64_t head = offsetof(struct latency_memory, counts) / SESSION_PAGE_BYTES;
	uint64_t page = first;

	while (page < first + head && !page_touched(session, page))
		page++;
	if (page == first + head)
		return NULL;
	return (struct latency_memory *)((char *)session->memory + LATENCY_OFFSET);
}

void session_status_change(struct session *session, uint32_t index, uint32_t generation, uint32_t clear, uint32_t set)
{
	struct memory_cell *cell = session_cell(session, index);
	uint32_t status, changed;

	if (!cell)
		return;
	/* The shim only ever lowers bits it has seen. A client that does more than that must not hold us up. */
	status = atomic_load(&cell->status);
	for (int i = 0; i < STATUS_TRIES; i++) {
		/* The cell of another connection by now: this one was closed, and we have not been told yet. */
		if (status && cell_word_generation(status) != generation)
			return;
		changed = status ? status : cell_word(generation, 0);
		changed = (changed & ~clear) | set;
		if (atomic_compare_exchange_strong(&cell->status, &status, changed))
			return;
	}
}

void session_status_wake(struct session *session, uint32_t index)
{
	struct memory_cell *cell = session_cell(session, index);

	if (cell)
		session_wake(&cell->status);
}

bool session_word_pending(const struct memory_cell *cell, uint32_t generation)
{
	return atomic_load_explicit(&((struct memory_cell *)cell)->word, memory_order_acquire) ==
	       cell_word(generation, CELL_PENDING);
}

bool session_word_settle(struct memory_cell *cell, uint32_t generation, uint32_t state, enum sm_reason reason)
{
	uint32_t pending = cell_word(generation, CELL_PENDING);

	if (state == CELL_REFUSED)
		cell->reason = reason;
	return atomic_compare_exchange_strong(&cell->word, &pending, cell_word(generation, state));
}

bool session_word_answer(struct memory_cell *cell, uint32_t generation, uint32_t state, enum sm_reason reason)
{
	bool won = session_word_settle(cell, generation, state, reason);

	if (won)
		session_wake(&cell->word);
	return won;
}

void session_word_clear(struct memory_cell *cell, uint32_t generation)
{
	uint32_t abandoned = cell_word(generation, CELL_ABANDONED);

	if (atomic_compare_exchange_strong(&cell->word, &abandoned, cell_word(generation, CELL_IDLE)))
		session_wake(&cell->word);
}

void session_fd_closed(struct sessions *sessions, const struct reaper_tag *tag)
{
	struct session *session = session_find(sessions, tag->session_id);
	struct memory_cell *cell = session ? session_cell(session, tag->cell) : NULL;

	if (!cell || cell_word_generation(atomic_load(&cell->status)) != tag->generation)
		return;
	session_status_change(session, tag->cell, tag->generation, CELL_HELD, 0);
	session_word_clear(cell, tag->generation);
}

/* By pread(): it gives a copy that does not change under us, and makes no page that was never there. */
void session_each_cell(struct session *session,
		       bool (*visit)(struct session *session, uint32_t index, const struct memory_cell *cell,
				     void *context),
		       void *context)
{
	struct memory_cell cells[CELLS_PER_READ];
	const off_t base = sizeof(struct session_memory), size = sizeof(cells[0]);
	off_t at = base + size, end = MEMORY_BYTES;

	while (at < end) {
		off_t data = lseek(session->memory_fd, at, SEEK_DATA);
		ssize_t bytes;

		if (data < 0 || data >= end)
			return; /* nothing but holes from here on */
		if (data > at)  /* back to where a cell begins */
			at = base + (data - base) / size * size;
		bytes = pread(session->memory_fd, cells, sizeof(cells), at);
		if (bytes > end - at) /* what follows is no cell */
			bytes = end - at;
		if (bytes < size)
			return;
		for (ssize_t i = 0; i < bytes / size; i++)
			if (cell_word_state(cells[i].shown & ~CELL_CHILD_MARKS) != CONN_FREE &&
			    !visit(session, (uint32_t)((at - base) / size + i), &cells[i], context))
				return;
		at += bytes / size * size;
	}
}
