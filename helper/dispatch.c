/* SPDX-License-Identifier: BSD-2-Clause */
/* Dispatch: one message, one request.
 *
 * Whatever comes is compared with the table first: type, size, number of fds, kind of channel. What does not fit is a
 * client that does not speak the protocol; its channel is closed and nothing else happens (invariant 9). A handler returns 0,
 * or a negative number to have the channel closed.
 */
#include "dispatch.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "eviction.h"
#include "group.h"
#include "helper.h"
#include "inbox.h"
#include "log.h"
#include "pairing.h"
#include "policy.h"
#include "session.h"
#include "shares.h"
#include "sockfacts.h"
#include "stats.h"
#include "trial.h"
#include "wire/wire.h"

/* A turn's share of one channel: others wait no longer than this. */
#define REQUESTS_PER_TURN 16
#define FILES_OF_CHANNEL 2 /* at the most */
#define TURNS_OF_INBOX (REQUESTS_PER_TURN / INBOX_MAX)

struct row {
	uint16_t type;
	uint16_t size;
	uint8_t fds;
	uint8_t states; /* enum channel_state; ONLY_ASKS */
	int (*handler)(struct request *request);
};

#define ONLY_ASKS 0x80 /* of no use without somebody to be answered */

static const struct row table[] = {
	{ WIRE_HELLO, sizeof(struct wire_hello), 1, CHANNEL_DOOR, session_handle_hello },
	{ WIRE_OFFER, sizeof(struct wire_offer), 0, CHANNEL_SESSION, pairing_handle_offer },
	{ WIRE_JOIN, sizeof(struct wire_join), 1, CHANNEL_SESSION, pairing_handle_join },
	{ WIRE_PIN, sizeof(struct wire_pin), 1, CHANNEL_SESSION, pairing_handle_pin },
	{ WIRE_LEAVE, sizeof(struct wire_pin), 1, CHANNEL_SESSION, pairing_handle_leave },
	{ WIRE_WITHDRAW, sizeof(struct wire_pin), 0, CHANNEL_SESSION, pairing_handle_withdraw },
	{ WIRE_HOLDERS, sizeof(struct wire_holders), 1, CHANNEL_SESSION, pairing_handle_holders },
	{ WIRE_LANDING, sizeof(struct wire_holders), 1, CHANNEL_SESSION, pairing_handle_holders },
	{ WIRE_RETIRE, sizeof(struct wire_retire), 0, CHANNEL_SESSION, pairing_handle_retire },
	{ WIRE_PING, sizeof(struct wire_ping), 0, CHANNEL_SESSION, session_handle_ping },
	{ WIRE_STATUS, sizeof(struct wire_request), 0, CHANNEL_DOOR | ONLY_ASKS, stats_handle_status },
	{ WIRE_CONNECTIONS, sizeof(struct wire_request), 0, CHANNEL_DOOR | ONLY_ASKS, stats_handle_connections },
	{ WIRE_GROUP, sizeof(struct wire_group), 0, CHANNEL_DOOR, group_handle },
	{ WIRE_TRIAL_START, sizeof(struct wire_trial), 0, CHANNEL_DOOR, trial_handle_start },
	{ WIRE_TRIAL_STOP, sizeof(struct wire_request), 0, CHANNEL_DOOR, trial_handle_stop },
	{ WIRE_TRIAL_REPORT, sizeof(struct wire_request), 0, CHANNEL_DOOR | ONLY_ASKS, trial_handle_report },
	{ WIRE_OFF, sizeof(struct wire_request), 0, CHANNEL_DOOR, stats_handle_switch },
	{ WIRE_ON, sizeof(struct wire_request), 0, CHANNEL_DOOR, stats_handle_switch },
};

bool channel_is_open(const struct channel *channel)
{
	return channel->source.ready != NULL;
}

bool channel_is_heard(const struct channel *channel)
{
	return channel_is_open(channel) && !channel->eviction;
}

/* Also counted is what is in nobody's account any more, but not closed. */
static bool has_files(const struct helper *helper, uint32_t uid, uint32_t more)
{
	return policy_has_files(helper->policy, uid, reaper_files_of_users(helper->reaper) + more);
}

bool dispatch_put_away(struct helper *helper, int fd, bool is_quick, uint32_t uid, const struct reaper_tag *tag)
{
	if (is_quick) {
		reaper_close_socket(helper->reaper, fd);
		return true;
	}
	if (reaper_put(helper->reaper, fd, uid, tag) == -EDQUOT || !has_files(helper, uid, 0))
		eviction_begin(helper->evictions, uid);
	return false;
}

bool dispatch_may_come(const struct helper *helper, uint32_t uid)
{
	return !eviction_is_on(helper->evictions, uid) && !reaper_is_full(helper->reaper, uid) &&
	       has_files(helper, uid, FILES_OF_CHANNEL);
}

bool dispatch_is_privileged(uint32_t uid)
{
	return uid == 0 || uid == geteuid();
}

static int find_row(const struct request *request, size_t bytes, size_t fds, const struct row **out)
{
	int error = wire_check(&request->message, bytes);

	if (error)
		return error;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (table[i].type != request->message.header.type)
			continue;
		if (!(table[i].states & request->channel->state) || table[i].fds != fds || table[i].size != bytes)
			return -EPROTO;
		/* Each unread reply is an fd in flight on the helper's account: one a door. */
		if (table[i].states & CHANNEL_DOOR && !fds && sockfacts_unread_bytes(request->channel->source.fd))
			return -EPROTO;
		*out = &table[i];
		return 0;
	}
	return -EPROTO;
}

static void put_away_all(struct channel *channel, const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		dispatch_put_away(channel->helper, fds[i], sockfacts_closes_quickly(fds[i]), channel->uid, NULL);
}

/* Who asks by a door. The kernel tells the sender of each message, who may be a program that was given the door as its standard output, and
 * does not know what it says: it asks with its own rights only where a privileged user has opened the door. */
static struct ucred who_asks(const struct channel *channel, const struct inbox_message *message)
{
	struct ucred creds = message->creds;

	if (channel->state == CHANNEL_DOOR && creds.uid != (uid_t)-1 && !dispatch_is_privileged(channel->uid))
		creds.uid = channel->uid;
	return creds;
}

/* is_heard: there is somebody at the other end. 0, or negative: the channel has to be closed. */
static int handle(struct channel *channel, const struct inbox_message *message, bool is_heard)
{
	struct request request = {
		.helper = channel->helper,
		.channel = channel,
		.creds = who_asks(channel, message),
		.fd = message->fd_count ? message->fds[0] : -1,
	};
	const struct row *row = NULL;
	int result = message->bytes ? (int)message->bytes : -EPIPE;

	if (message->bytes > 0) {
		memcpy(&request.message, &message->content, (size_t)message->bytes);
		result = find_row(&request, (size_t)message->bytes, message->fd_count, &row);
	}
	if (!row) {
		put_away_all(channel, message->fds, message->fd_count);
		if (message->bytes <= 0)
			return result;
		log_debug("uid %u: malformed message (type %u, %zd bytes, %zu fds)", channel->uid,
			  request.message.header.type, message->bytes, message->fd_count);
		channel->helper->refusals[result == -EPROTONOSUPPORT ? REASON_VERSION : REASON_BAD_REQUEST]++;
		return result;
	}
	if ((row->states & ONLY_ASKS) && !is_heard)
		return -EPIPE;
	if (channel->state == CHANNEL_SESSION)
		request.session = session_of(channel);
	result = row->handler(&request);
	if (request.fd >= 0) /* row->fds is 1 at the most */
		put_away_all(channel, &request.fd, 1);
	return result;
}

void dispatch_ready(struct loop_source *source, uint32_t events)
{
	struct channel *channel = loop_container(source, struct channel, source);
	struct inbox_message messages[INBOX_MAX];
	struct shares *shares = channel->helper->shares;
	const uint32_t uid = channel->uid;
	int result = 0, count = INBOX_MAX;
	uint64_t begin_ns;
	bool is_charged;

	/* Thousands of them may be ready, before others: this is cheaper than to close it. */
	if (!channel_is_heard(channel)) {
		loop_suspend(channel->helper->loop, source);
		return;
	}
	/* A hang-up shows as end of file, too, behind what was sent before it. */
	if (!shares_may_serve(shares, channel, &is_charged))
		return;
	begin_ns = loop_now_ns();
	/* recvmmsg() drops the fds that it has no room, or no number, for: those may be the last ones of sockets that linger. */
	reaper_alarm(channel->helper->reaper);
	if (channel->state == CHANNEL_SESSION)
		pairing_look_for_closed(channel->helper, session_of(channel));
	for (int i = 0; i < TURNS_OF_INBOX && count == INBOX_MAX && !result && channel_is_heard(channel); i++) {
		count = inbox_receive(source->fd, messages, INBOX_MAX);
		if (count < 0 && count != -EAGAIN && count != -EINTR)
			result = count;
		for (int j = 0; j < count; j++)
			if (!result && channel_is_heard(channel))
				result = handle(channel, &messages[j], !(events & EPOLLHUP));
			else
				put_away_all(channel, messages[j].fds, messages[j].fd_count);
	}
	if ((result || channel->eviction) && channel_is_open(channel))
		channel->close(channel);
	if (is_charged)
		shares_charge(shares, uid, begin_ns);
}
