/* SPDX-License-Identifier: BSD-2-Clause */
/* Shares: see shares.h.
 *
 * The socket is open to everybody, and a user may have thousands of channels: with a request waiting in each, everybody else's would
 * stand behind them for longer than the shim waits (preload/channel.h). So each user has a bucket of time: it holds BURST_NS, and
 * fills at PART_OF_TIME of real time. Whoever has used it up is put aside, channel by channel as their requests come, and taken up
 * again in that order, some at a time, as it fills: what waits in the loop's queue in between is the others'.
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
#define PAUSE_NS LOOP_NS_PER_MS
#define TABLE_MAX 256 /* from there on it is looked through for full buckets */

struct share {
	uint32_t uid;
	int lost;
	uint64_t full_ns; /* when its bucket is full again; BURST_NS or more ahead: it is empty */
	struct channel *aside;
	UT_hash_handle hh;
};

struct shares {
	struct loop *loop;
	struct loop_timer timer;
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
static void resume(struct shares *shares, struct share *share)
{
	for (int i = 0; i < RESUMED_AT_ONCE && share->aside; i++) {
		struct channel *channel = share->aside;

		DL_DELETE2(share->aside, channel, aside_prev, aside_next);
		channel->is_aside = false;
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
			resume(shares, share);
		again |= share->aside != NULL;
	}
	if (again)
		loop_timer_set(shares->loop, timer, now_ns + PAUSE_NS);
}

struct shares *shares_new(struct loop *loop)
{
	struct shares *shares = calloc(1, sizeof(*shares));

	if (!shares)
		return NULL;
	shares->loop = loop;
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

bool shares_may_serve(struct shares *shares, struct channel *channel)
{
	struct share *share = channel->uid ? share_find(shares, channel->uid) : NULL;
	uint64_t now_ns = share ? loop_now_ns() : 0;

	if (!share || !is_empty(share, now_ns))
		return true;
	loop_suspend(shares->loop, &channel->source);
	DL_APPEND2(share->aside, channel, aside_prev, aside_next);
	channel->is_aside = true;
	loop_timer_set(shares->loop, &shares->timer, now_ns + PAUSE_NS);
	return false;
}

void shares_charge(struct shares *shares, uint32_t uid, uint64_t begin_ns)
{
	struct share *share = uid ? share_get(shares, uid) : NULL;
	uint64_t now_ns = loop_now_ns();

	if (!share)
		return;
	if (share->full_ns < begin_ns)
		share->full_ns = begin_ns;
	share->full_ns += (now_ns - begin_ns) * PART_OF_TIME_DOWN / PART_OF_TIME_UP;
}

void shares_forget(struct shares *shares, struct channel *channel)
{
	struct share *share = channel->is_aside ? share_find(shares, channel->uid) : NULL;

	if (!share)
		return;
	DL_DELETE2(share->aside, channel, aside_prev, aside_next);
	channel->is_aside = false;
}
