/* SPDX-License-Identifier: BSD-2-Clause */
/* One request and its end: the wait on the cell's word, and taking a request back (invariant 6).
 *
 * An fd in flight to a stopped helper keeps the connection open (fact 19c). So whoever abandons a request first wins
 * the word, then reads the mailbox, the helper's own queue, until the message is found. Messages of others that come
 * out on the way go back in at its tail: their order among themselves carries no meaning. If the message is not there
 * the helper has taken it; the fd may then stay with it until it runs again, and the connection is marked as lent.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../helper/wire/wire.h"
#include "channel.h"
#include "clock.h"
#include "patience.h"
#include "raw_syscall.h"
#include "real.h"

#define MAILBOX_MESSAGES_MAX 1024

static __thread struct patience patience __attribute__((tls_model("initial-exec")));

/* Takes the request of that cell out of the mailbox. True if it was there. */
static bool take_out_of(int mailbox_fd, uint32_t index, uint32_t generation)
{
	char message[WIRE_MESSAGE_MAX] __attribute__((aligned(8)));
	char first[WIRE_MESSAGE_MAX];
	ssize_t first_bytes = 0;
	int fd;

	for (int i = 0; i < MAILBOX_MESSAGES_MAX && mailbox_fd >= 0; i++) {
		ssize_t bytes = wire_receive(mailbox_fd, message, sizeof(message), &fd, NULL);
		if (bytes <= 0 || (size_t)bytes < sizeof(struct wire_header))
			return false;
		const struct wire_header *header = (const void *)message;
		bool mine = header->cell == index && header->generation == generation &&
			    (header->type == WIRE_JOIN || header->type == WIRE_PIN || header->type == WIRE_LEAVE ||
			     header->type == WIRE_HOLDERS || header->type == WIRE_LANDING);
		bool around = first_bytes == bytes && memcmp(first, message, (size_t)bytes) == 0;

		if (!mine)
			channel_send(message, (size_t)bytes, fd);
		if (fd >= 0)
			real_close(fd);
		if (mine)
			return true;
		if (around)
			return false;
		if (first_bytes == 0) {
			memcpy(first, message, (size_t)bytes);
			first_bytes = bytes;
		}
	}
	return false;
}

static bool mailbox_take_back(uint32_t index, uint32_t generation)
{
	bool was_there = take_out_of(channel_mailbox_use(), index, generation);

	channel_mailbox_used();
	return was_there;
}

bool channel_abandon(struct memory_cell *cell, uint32_t index, uint32_t generation, bool *lent)
{
	uint32_t expected = cell_word(generation, CELL_PENDING);

	if (!atomic_compare_exchange_strong(&cell->word, &expected, cell_word(generation, CELL_ABANDONED)))
		return false;
	int saved = errno;
	*lent = !mailbox_take_back(index, generation);
	if (!*lent) /* nobody else knows of it any more */
		atomic_store(&cell->word, cell_word(generation, CELL_IDLE));
	raw_syscall(SYS_futex, &cell->word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	errno = saved;
	return true;
}

static void spend_since(int64_t begun_us)
{
	patience_spend(&patience, (uint32_t)clock_coarse_ms(), (uint64_t)(clock_us() - begun_us));
}

bool channel_is_prompt(void)
{
	return patience_lasts(&patience, (uint32_t)clock_coarse_ms());
}

enum cell_state channel_wait(struct memory_cell *cell, uint32_t index, uint32_t generation, int wait_ms, bool *lent)
{
	int saved = errno;
	int64_t begun_us = clock_us(), deadline_us = begun_us + wait_ms * 1000;
	uint32_t pending = cell_word(generation, CELL_PENDING);
	uint32_t word = atomic_load(&cell->word), epoch = channel_epoch();

	while (word == pending) {
		if (epoch &&
		    !channel_is_own(epoch)) /* a handler has forked: the request is the parent's, which waits for it */
			return CELL_ABANDONED;

		int64_t left_us = deadline_us - clock_us();
		struct timespec left = { .tv_sec = left_us / 1000000, .tv_nsec = left_us % 1000000 * 1000 };

		if (left_us <= 0) {
			if (channel_abandon(cell, index, generation, lent)) {
				channel_breaker_trip(wait_ms);
				spend_since(begun_us);
				errno = saved;
				return CELL_ABANDONED;
			}
		} else {
			raw_syscall(SYS_futex, &cell->word, FUTEX_WAIT, pending, &left, NULL, 0);
		}
		word = atomic_load(&cell->word);
	}
	spend_since(begun_us);
	errno = saved;
	if (cell_word_generation(word) != (generation & CELL_GENERATION_MASK))
		return CELL_ABANDONED;
	uint32_t state = cell_word_state(word);
	return state == CELL_DONE || state == CELL_REFUSED ? (enum cell_state)state : CELL_ABANDONED;
}
