/* SPDX-License-Identifier: BSD-2-Clause */
/* Ledgers: memory that two processes share about the connections between them (wire/memory.h). */
#ifndef SMACCEL_HELPER_LEDGER_H
#define SMACCEL_HELPER_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

struct ledgers;

/* One memfd for a pair of sessions; the helper makes it, hands it out and never maps it. */
struct ledger {
	uint32_t id;
	uint64_t session_id[2]; /* ascending; equal for a process that talks to itself */
	int fd;
	bool sent[2];  /* that session has got the fd */
	bool orphaned; /* a session of the two is gone: freed with its last cell */
	uint32_t used;
	uint16_t touched; /* cells from here on were never given to anybody, and are zero */
	uint16_t *
		free_cells; /* a ring: the cell freed last is used last, so all are used once before any is used again */
	uint16_t free_head, free_count; /* with `used` less than LEDGER_CELLS once a child has inherited some */
	struct ledger *next, *prev;
};

/* Ids begin after last_id, which is to be random: a process keeps the ledgers of an earlier helper, under that one's ids. Each takes an fd, and
 * outlives its pairs: at `max` a new one takes the place of the one without pairs that has been used least lately. NULL: out of memory. */
struct ledgers *ledgers_new(uint32_t last_id, uint32_t max);
void ledgers_free(struct ledgers *ledgers);

/* A zeroed cell for a connection between two sessions. *out and *cell; 0 or -errno (then the pair does without): -ENFILE if there are `max`
 * ledgers, all with pairs. */
int ledger_take(struct ledgers *ledgers, uint64_t session_a, uint64_t session_b, struct ledger **out, uint32_t *cell);
void ledger_give(struct ledgers *ledgers, struct ledger *ledger, uint32_t cell);
void ledger_session_closed(struct ledgers *ledgers, uint64_t session_id);
uint32_t ledger_count(const struct ledgers *ledgers);

#endif
