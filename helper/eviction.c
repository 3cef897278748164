/* SPDX-License-Identifier: BSD-2-Clause */
/* Evictions: see eviction.h.
 *
 * A user may have thousands of channels, and closing one takes some system calls and may let go hundreds of ends: everybody else would
 * wait for seconds if all were closed in one turn. So they are marked in one turn, which costs next to nothing, and from then on
 * not listened to; they are closed for TURN_NS at a time, and others are served in between. Until the last of them is closed their
 * user gets no new ones, so there is nothing to look for again.
 */
#include "eviction.h"

#include <stdlib.h>
#include <utlist.h>

#include "dispatch.h"
#include "helper.h"
#include "listener.h"
#include "log.h"
#include "session.h"

#define TURN_NS LOOP_NS_PER_MS
#define PAUSE_NS LOOP_NS_PER_MS

struct eviction {
	struct evictions *evictions;
	uint32_t uid;
	struct channel *channels; /* never none: it is over then */
	struct eviction *next, *prev;
};

struct evictions {
	struct helper *helper;
	struct loop_timer timer;
	struct eviction *list;
};

static void expired(struct loop_timer *timer)
{
	struct evictions *evictions = loop_container(timer, struct evictions, timer);
	uint64_t begin_ns = loop_now_ns(), now_ns = begin_ns;
	struct channel *channel;

	for (; evictions->list && now_ns - begin_ns < TURN_NS; now_ns = loop_now_ns()) {
		channel = evictions->list->channels;
		channel->close(channel);
	}
	if (evictions->list)
		loop_timer_set(evictions->helper->loop, timer, now_ns + PAUSE_NS);
}

struct evictions *evictions_new(struct helper *helper)
{
	struct evictions *evictions = calloc(1, sizeof(*evictions));

	if (!evictions)
		return NULL;
	evictions->helper = helper;
	loop_timer_add(helper->loop, &evictions->timer, expired);
	return evictions;
}

void evictions_free(struct evictions *evictions)
{
	free(evictions);
}

static struct eviction *eviction_find(const struct evictions *evictions, uint32_t uid)
{
	struct eviction *eviction;

	DL_SEARCH_SCALAR(evictions->list, eviction, uid, uid);
	return eviction;
}

bool eviction_is_on(const struct evictions *evictions, uint32_t uid)
{
	return eviction_find(evictions, uid) != NULL;
}

static void mark_channel(struct channel *channel, void *context)
{
	struct eviction *eviction = context;

	if (channel->uid != eviction->uid || !channel_is_open(channel))
		return;
	channel->eviction = eviction;
	DL_APPEND2(eviction->channels, channel, evicted_prev, evicted_next);
}

static void mark_session(struct session *session, void *context)
{
	mark_channel(&session->channel, context);
}

void eviction_begin(struct evictions *evictions, uint32_t uid)
{
	struct helper *helper = evictions->helper;
	struct eviction *eviction;

	if (eviction_is_on(evictions, uid))
		return;
	eviction = calloc(1, sizeof(*eviction));
	if (!eviction)
		return; /* his next fd has it tried again */
	eviction->evictions = evictions;
	eviction->uid = uid;
	sessions_each(helper->sessions, mark_session, eviction);
	listener_each_door(helper->listener, mark_channel, eviction);
	if (!eviction->channels) {
		free(eviction);
		return;
	}
	log_debug("uid %u has too many fds that do not close: thrown out", uid);
	DL_APPEND(evictions->list, eviction);
	loop_timer_set(helper->loop, &evictions->timer, loop_now_ns());
}

void eviction_forget(struct channel *channel)
{
	struct eviction *eviction = channel->eviction;

	if (!eviction)
		return;
	channel->eviction = NULL;
	DL_DELETE2(eviction->channels, channel, evicted_prev, evicted_next);
	if (eviction->channels)
		return;
	DL_DELETE(eviction->evictions->list, eviction);
	free(eviction);
}
