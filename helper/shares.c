/* SPDX-License-Identifier: BSD-2-Clause */
/* Shares: see shares.h.
 *
 * The socket is open to everybody, and a user may have thousands of channels: with a request waiting in each, everybody else's would
 * stand behind them for longer than the shim waits (preload/channel.h). So each user has a bucket of time: it holds BURST_NS, and
 * fills at PART_OF_TIME of real time. Whoever has used it up is put aside, channel by channel as their requests come, and taken up
 * again in that order, some at a time, as it fills: what waits in the loop's queue in between is the others'.
 *
 * Time that nobody else wants is no part of that: before the loop would sleep, some of those put aside are taken up all the same, and are
 * not charged for what they ask then. A user who is alone gets all of the helper.
 *
 * That holds for work. Who has made the loop wait, asleep, has taken time from those who come meanwhile, and would take more as soon as it
 * is back: he is held back, without any of the spare time.
 *
 * A channel that is put aside is out of the epoll set altogether: as a member it would report its hang-up again and again.
 */
#include "shares.h"

#include <stdlib.h>
#include <utlist.h>

#include "dispatch.h"
#include "hash.h"
#include "loop.h"

#define BURST_NS (20 * LOOP_NS_PER_MS)
#define PART_OF_TIME_UP 3 /* 3/4 */
#define PART_OF_TIME_DOWN 4
#define RESUMED_AT_ONCE 8
#define SPARE_AT_ONCE 4 /* so many may be before whoever comes next */
#define PAUSE_NS LOOP_NS_PER_MS
#define WAIT_NS (10 * LOOP_NS_PER_MS) /* less than that occurs when the machine is busy */
#define WAIT_TIMES 8
#define HELD_BACK_MAX_NS (10 * LOOP_NS_PER_S)
#define TABLE_MAX 256 /* from there on it is looked through for full buckets */

struct share {
	uint32_t uid;
	int lost;
	uint64_t full_ns;      /* when its bucket is full again; BURST_NS or more ahead: it is empty */
	uint64_t held_back_ns; /* until then none of the spare time */
	struct channel *aside;
	uint64_t turn; /* the last one that it had of the spare time */
	UT_hash_handle hh;
};

struct shares {
	struct loop *loop;
	struct loop_timer timer;
	struct loop_chore spare; /* wanted while somebody is aside */
	uint64_t turns;
	struct share *table; /* those whose bucket is not full, or was not when it was last looked at */
};

/* A full bucket is as good as none. */
static void forget_full(struct shares *shares, uint64_t now_ns)
{
	struct share *share, *next;

	HASH_ITER (hh, shares->table, share, next) {
		if (share->aside || share->full_ns > now_ns)
			continue;
		HASH_DEL(shares->table, share);
		free(share);
	}
}

static struct share *share_find(const struct shares *shares, uint32_t uid)
{
	struct share *share;

	HASH_FIND(hh, shares->table, &uid, sizeof(uid), share);
	return share;
}

static struct share *share_get(struct shares *shares, uint32_t uid)
{
	struct share *share = share_find(shares, uid);

	if (share)
		return share;
	if (HASH_COUNT(shares->table) >= TABLE_MAX)
		forget_full(shares, loop_now_ns());
	share = calloc(1, sizeof(*share));
	if (!share)
		return NULL;
	share->uid = uid;
	HASH_ADD(hh, shares->table, uid, sizeof(uid), share);
	if (!share->lost)
		return share;
	free(share);
	return NULL;
}

static bool is_empty(const struct share *share, uint64_t now_ns)
{
	return share->full_ns >= now_ns + BURST_NS;
}

/* Some of those that were put aside are watched again. */
static void resume(struct shares *shares, struct share *share, int count, bool is_spare)
{
	for (int i = 0; i < count && share->aside; i++) {
		struct channel *channel = share->aside;

		DL_DELETE2(share->aside, channel, aside_prev, aside_next);
		channel->is_aside = false;
		channel->has_spare = is_spare;
		if (loop_add(shares->loop, &channel->source, EPOLLIN))
			channel->close(channel);
	}
}

static void timer_expired(struct loop_timer *timer)
{
	struct shares *shares = loop_container(timer, struct shares, timer);
	uint64_t now_ns = loop_now_ns();
	struct share *share, *next;
	bool again = false;

	HASH_ITER (hh, shares->table, share, next) {
		if (!is_empty(share, now_ns))
			resume(shares, share, RESUMED_AT_ONCE, false);
		again |= share->aside != NULL;
	}
	if (!again)
		return;
	loop_timer_set(shares->loop, timer, now_ns + PAUSE_NS);
	loop_before_sleep(shares->loop, &shares->spare);
}

/* Whose turn it is: of those who have somebody aside, the one who had it longest ago. */
static struct share *find_next(const struct shares *shares)
{
	const uint64_t now_ns = loop_now_ns();
	struct share *share, *next, *found = NULL;

	HASH_ITER (hh, shares->table, share, next)
		if (share->aside && share->held_back_ns <= now_ns && (!found || share->turn < found->turn))
			found = share;
	return found;
}

/* The loop has nothing to do. */
static void spend_spare(struct loop_chore *chore)
{
	struct shares *shares = loop_container(chore, struct shares, spare);
	struct share *share;

	for (int i = 0; i < SPARE_AT_ONCE && (share = find_next(shares)); i++) {
		share->turn = ++shares->turns;
		resume(shares, share, 1, true);
	}
}

struct shares *shares_new(struct loop *loop)
{
	struct shares *shares = calloc(1, sizeof(*shares));

	if (!shares)
		return NULL;
	shares->loop = loop;
	shares->spare.run = spend_spare;
	loop_timer_add(loop, &shares->timer, timer_expired);
	return shares;
}

void shares_free(struct shares *shares)
{
	struct share *share, *next;

	if (!shares)
		return;
	HASH_ITER (hh, shares->table, share, next) {
		HASH_DEL(shares->table, share);
		free(share);
	}
	free(shares);
}

bool shares_may_serve(struct shares *shares, struct channel *channel, bool *is_charged)
{
	struct share *share = channel->uid ? share_find(shares, channel->uid) : NULL;
	uint64_t now_ns = share ? loop_now_ns() : 0;
	bool is_spare = channel->has_spare && !(share && share->held_back_ns > now_ns);

	channel->has_spare = false;
	*is_charged = channel->uid && !is_spare;
	if (share && (share->aside || is_spare))
		loop_before_sleep(shares->loop, &shares->spare);
	if (!share || is_spare || !is_empty(share, now_ns))
		return true;
	loop_suspend(shares->loop, &channel->source);
	DL_APPEND2(share->aside, channel, aside_prev, aside_next);
	channel->is_aside = true;
	loop_timer_set(shares->loop, &shares->timer, now_ns + PAUSE_NS);
	loop_before_sleep(shares->loop, &shares->spare);
	return false;
}

void shares_charge(struct shares *shares, uint32_t uid, uint64_t begin_ns)
{
	struct share *share = share_get(shares, uid);
	uint64_t now_ns = loop_now_ns();

	if (!share)
		return;
	if (share->full_ns < begin_ns)
		share->full_ns = begin_ns;
	share->full_ns += (now_ns - begin_ns) * PART_OF_TIME_DOWN / PART_OF_TIME_UP;
}

bool shares_are_used_up(const struct shares *shares, uint32_t uid)
{
	const struct share *share = uid ? share_find(shares, uid) : NULL;

	return share && is_empty(share, loop_now_ns());
}

void shares_hold_back(struct shares *shares, uint32_t uid, uint64_t begin_ns)
{
	uint64_t now_ns = loop_now_ns(), more_ns = (now_ns - begin_ns) * WAIT_TIMES;
	struct share *share = uid && now_ns - begin_ns >= WAIT_NS ? share_get(shares, uid) : NULL;

	if (!share)
		return;
	share->held_back_ns = now_ns + (more_ns < HELD_BACK_MAX_NS ? more_ns : HELD_BACK_MAX_NS);
	if (share->full_ns < share->held_back_ns + BURST_NS)
		share->full_ns = share->held_back_ns + BURST_NS; /* empty until then */
}

bool shares_are_held_back(const struct shares *shares, uint32_t uid)
{
	const struct share *share = uid ? share_find(shares, uid) : NULL;

	return share && share->held_back_ns > loop_now_ns();
}

void shares_forget(struct shares *shares, struct channel *channel)
{
	struct share *share = channel->is_aside ? share_find(shares, channel->uid) : NULL;

	if (!share)
		return;
	DL_DELETE2(share->aside, channel, aside_prev, aside_next);
	channel->is_aside = false;
}
