/* SPDX-License-Identifier: BSD-2-Clause */
/* Ledgers: allocation of memfds by pairs of sessions, and of cells in them.
 *
 * A ledger belongs to two sessions and is never given to a third: what is in it is known to these two processes anyhow. It
 * lives as long as both sessions do, or as one of its cells is in use; without one, only while there is room for it. When all its cells are taken, the pair of
 * sessions gets another one.
 */
#include "ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utlist.h>

#include "wire/memory.h"

/* Cells looked at for one that nobody uses any more. */
#define DETACHED_TRIES 8

struct ledgers {
	struct ledger *list; /* those used last come first */
	uint32_t last_id;
	uint32_t count, max;
};

struct ledgers *ledgers_new(uint32_t last_id, uint32_t max)
{
	struct ledgers *ledgers = calloc(1, sizeof(*ledgers));

	if (!ledgers)
		return NULL;
	ledgers->last_id = last_id;
	ledgers->max = max;
	return ledgers;
}

static void ledger_destroy(struct ledgers *ledgers, struct ledger *ledger)
{
	DL_DELETE(ledgers->list, ledger);
	ledgers->count--;
	close(ledger->fd);
	free(ledger->free_cells);
	free(ledger);
}

void ledgers_free(struct ledgers *ledgers)
{
	if (!ledgers)
		return;
	while (ledgers->list)
		ledger_destroy(ledgers, ledgers->list);
	free(ledgers);
}

/* Its processes keep what they have mapped, until they need the place. */
static int make_room(struct ledgers *ledgers)
{
	struct ledger *last = ledgers->list ? ledgers->list->prev : NULL; /* utlist: the head's is the tail */

	for (uint32_t i = 0; i < ledgers->count && last->used; i++)
		last = last->prev;
	if (!last || last->used)
		return -ENFILE;
	ledger_destroy(ledgers, last);
	return 0;
}

static int ledger_memory(void)
{
	int fd = memfd_create("smaccel-ledger", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int error;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, LEDGER_BYTES) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0)
		return fd;
	error = -errno;
	close(fd);
	return error;
}

static int ledger_make(struct ledgers *ledgers, uint64_t low, uint64_t high, struct ledger **out)
{
	struct ledger *ledger = calloc(1, sizeof(*ledger));
	int error = -ENOMEM;

	if (!ledger)
		return -ENOMEM;
	if (ledgers->count >= ledgers->max && (error = make_room(ledgers)) != 0)
		goto out_free;
	error = -ENOMEM;
	ledger->free_cells = calloc(LEDGER_CELLS, sizeof(*ledger->free_cells));
	if (!ledger->free_cells)
		goto out_free;
	ledger->fd = ledger_memory();
	if (ledger->fd < 0) {
		error = ledger->fd;
		goto out_free;
	}
	for (unsigned i = 0; i < LEDGER_CELLS; i++)
		ledger->free_cells[i] = i;
	ledger->free_count = LEDGER_CELLS;
	ledger->session_id[0] = low;
	ledger->session_id[1] = high;
	if (!++ledgers->last_id) /* 0 means none */
		++ledgers->last_id;
	ledger->id = ledgers->last_id;
	DL_PREPEND(ledgers->list, ledger);
	ledgers->count++;
	*out = ledger;
	return 0;
out_free:
	free(ledger->free_cells);
	free(ledger);
	return error;
}

static bool cell_read(const struct ledger *ledger, uint16_t index, struct ledger_cell *cell)
{
	return pread(ledger->fd, cell, sizeof(*cell), (off_t)index * sizeof(*cell)) == sizeof(*cell);
}

enum cell_use {
	CELL_UNUSED,
	/* By a process that has not noticed yet that its connection left. (It may say so for ever: then the two processes run out of
	 * cells of their own.) */
	CELL_ATTACHED,
	CELL_INHERITED, /* for as long as a child lives, of which nobody knows */
};

static enum cell_use cell_use(const struct ledger *ledger, uint16_t index)
{
	struct ledger_cell cell;

	if (index >= ledger->touched)
		return CELL_UNUSED;
	if (!cell_read(ledger, index, &cell))
		return CELL_ATTACHED;
	if (cell.half[0].inherited || cell.half[1].inherited)
		return CELL_INHERITED;
	return cell.half[0].attached || cell.half[1].attached ? CELL_ATTACHED : CELL_UNUSED;
}

/* The cell to take is at the head of the ring afterwards. One that was inherited leaves it for ever. */
static int find_unused(struct ledger *ledger)
{
	for (int i = 0; i < DETACHED_TRIES && ledger->free_count; i++) {
		uint16_t index = ledger->free_cells[ledger->free_head];
		enum cell_use use = cell_use(ledger, index);

		if (use == CELL_UNUSED)
			return 0;
		ledger->free_head = (ledger->free_head + 1) % LEDGER_CELLS;
		ledger->free_count--;
		if (use == CELL_ATTACHED)
			ledger->free_cells[(ledger->free_head + ledger->free_count++) % LEDGER_CELLS] = index;
	}
	return -EBUSY;
}

int ledger_take(struct ledgers *ledgers, uint64_t session_a, uint64_t session_b, struct ledger **out, uint32_t *cell)
{
	static const struct ledger_cell zero;
	const uint64_t low = session_a < session_b ? session_a : session_b;
	const uint64_t high = session_a < session_b ? session_b : session_a;
	struct ledger *ledger;
	uint16_t index;
	int error;
	off_t at;

	DL_FOREACH(ledgers->list, ledger)
	if (ledger->session_id[0] == low && ledger->session_id[1] == high && ledger->free_count)
		break;
	if (!ledger) {
		error = ledger_make(ledgers, low, high, &ledger);
		if (error)
			return error;
	} else if (ledger != ledgers->list) {
		DL_DELETE(ledgers->list, ledger);
		DL_PREPEND(ledgers->list, ledger);
	}
	error = find_unused(ledger);
	if (error && !ledger->used && !ledger->free_count)
		ledger_destroy(ledgers, ledger); /* there is another one next time */
	if (error)
		return error;
	index = ledger->free_cells[ledger->free_head];
	at = (off_t)index * (off_t)sizeof(zero);
	/* By pwrite: the memory is the clients', nothing they do to it can make this fault. Not into a hole, which reads as zeros: who
	 * makes the page is charged for it. */
	if (index < ledger->touched && lseek(ledger->fd, at, SEEK_DATA) == at &&
	    pwrite(ledger->fd, &zero, sizeof(zero), at) != sizeof(zero))
		return -EIO;
	if (index >= ledger->touched)
		ledger->touched = index + 1;
	ledger->free_head = (ledger->free_head + 1) % LEDGER_CELLS;
	ledger->free_count--;
	ledger->used++;
	*out = ledger;
	*cell = index;
	return 0;
}

void ledger_give(struct ledgers *ledgers, struct ledger *ledger, uint32_t cell)
{
	ledger->free_cells[(ledger->free_head + ledger->free_count) % LEDGER_CELLS] = cell;
	ledger->free_count++;
	ledger->used--;
	if (ledger->orphaned && !ledger->used)
		ledger_destroy(ledgers, ledger);
}

void ledger_session_closed(struct ledgers *ledgers, uint64_t session_id)
{
	struct ledger *ledger, *next;

	DL_FOREACH_SAFE(ledgers->list, ledger, next)
	{
		if (ledger->session_id[0] != session_id && ledger->session_id[1] != session_id)
			continue;
		ledger->orphaned = true;
		if (!ledger->used)
			ledger_destroy(ledgers, ledger);
	}
}

uint32_t ledger_count(const struct ledgers *ledgers)
{
	return ledgers->count;
}
