/* SPDX-License-Identifier: BSD-2-Clause */
/* The state of a trial: see trial_internal.h.
 *
 * What concerns every session or slot is done by a sweep, a share in each turn of the loop: thousands of processes must not make
 * a join wait. Sessions are visited in the order of their ids, so that the sweep needs to remember only the last one's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <utlist.h>

#include "dispatch.h"
#include "group.h"
#include "helper.h"
#include "log.h"
#include "pairing_internal.h"
#include "stats_internal.h"
#include "trial_internal.h"

#define COLLECT_NS LOOP_NS_PER_S
#define SHARE_PAUSE_NS LOOP_NS_PER_MS
#define SHARE_PAGES 2048u
#define SHARE_ENDS 1024u
#define SHARE_SLOTS 1024u
#define NUMBER_MAX ((1u << (32 - RECORDING_TRIAL_SHIFT)) - 1)

static void timer_expired(struct loop_timer *timer);

struct trials *trials_new(struct helper *helper)
{
	struct trials *trials = calloc(1, sizeof(*trials));

	if (!trials)
		return NULL;
	trials->helper = helper;
	loop_timer_add(helper->loop, &trials->timer, timer_expired);
	latency_set_init_trial(&trials->requests);
	latency_set_init_trial(&trials->parts);
	latency_set_init_trial(&trials->connections);
	latency_set_init_trial(&trials->scratch);
	return trials;
}

static void clear_sets(struct trials *trials)
{
	latency_set_clear(&trials->requests);
	latency_set_clear(&trials->parts);
	latency_set_clear(&trials->connections);
	latency_set_clear(&trials->scratch);
}

void trials_free(struct trials *trials)
{
	if (!trials)
		return;
	clear_sets(trials);
	trial_window_close(&trials->window);
	free(trials);
}

uint32_t trial_recording(const struct helper *helper)
{
	const struct trials *trials = helper->trials;

	return trial_is_assigning(trials) ? RECORDING_TRIAL | trials->number << RECORDING_TRIAL_SHIFT : 0;
}

void trial_sinks(struct helper *helper, struct latency_sinks *sinks)
{
	struct trials *trials = helper->trials;
	bool keeps = trial_is_collecting(trials) && trials->state != TRIAL_STARTING;

	sinks->trial = keeps ? &trials->requests : trial_is_collecting(trials) ? &trials->scratch : NULL;
	sinks->parts = keeps ? &trials->parts : NULL;
}

/* ---- sessions ---- */

static void collect(struct trials *trials, struct session *session, uint32_t *budget)
{
	struct latency_memory *memory = session_latency(session);
	struct latency_sinks sinks = { .group = session->group ? group_latencies(session->group) : NULL };

	if (!memory)
		return;
	trial_sinks(trials->helper, &sinks);
	latency_drain(session, &sinks, budget);
	for (unsigned reason = 0; reason < REASON_COUNT; reason++) {
		uint64_t count = latency_take(&memory->unassigned[reason]);

		if (trials->state != TRIAL_STARTING)
			trials->unassigned[reason] += count;
	}
}

void trial_session_closed(struct helper *helper, struct session *session)
{
	uint32_t budget = LATENCY_BUDGET_PAGES;

	if (!trial_is_collecting(helper->trials))
		return;
	collect(helper->trials, session, &budget);
	trial_connections_end(session);
	helper->trials->sessions_ended++;
}

static void tell(struct trials *trials, struct session *session)
{
	atomic_store(&session->memory->recording,
		     (session->group ? RECORDING_GROUP : 0u) | trial_recording(trials->helper));
}

/* The trial is over for all connections of that process, or begins. Offers are matched anew: those that had to stay on
 * plain TCP may join now, and those that an earlier trial's guard has kept out are assigned. */
static uint32_t match_ends(struct trials *trials, struct session *session)
{
	struct registry_end *end;
	uint32_t count = 0;

	DL_FOREACH2(session->ends, end, session_next)
	{
		if (trials->state == TRIAL_ENDING)
			end->arm = LATENCY_ALL;
		if (end->state == END_OFFERED)
			pairing_match(trials->helper, end);
		count++;
	}
	return count;
}

/* ---- sweeps ---- */

static void sweep_begin(struct trials *trials)
{
	trials->cursor = 0;
	trials->slot_cursor = 0;
	loop_timer_set(trials->helper->loop, &trials->timer, loop_now_ns() + SHARE_PAUSE_NS);
}

/* A share of the sessions. True: there are no more. */
static bool sweep_sessions(struct trials *trials)
{
	struct session *session = sessions_first(trials->helper->sessions);
	uint32_t pages = SHARE_PAGES, ends = 0;

	for (; session; session = session->hh.next) {
		if (session->id <= trials->cursor)
			continue;
		if (!pages || ends >= SHARE_ENDS)
			return false;
		trials->cursor = session->id;
		if (trials->state == TRIAL_ENDING)
			tell(trials, session);
		collect(trials, session, &pages);
		if (trials->state == TRIAL_ENDING)
			ends += trial_connections_end(session);
		if (trials->state == TRIAL_STARTING)
			tell(trials, session);
		if (trials->state != TRIAL_RUNNING)
			ends += match_ends(trials, session);
		ends++;
	}
	return true;
}

static bool sweep_slots(struct trials *trials)
{
	struct slots *slots = trials->helper->slots;
	uint32_t last = slots_count(slots);

	if (last - trials->slot_cursor > SHARE_SLOTS)
		last = trials->slot_cursor + SHARE_SLOTS;
	for (; trials->slot_cursor < last; trials->slot_cursor++) {
		struct slot *slot;

		if (slot_shared_at(slots, trials->slot_cursor)->state == SM_SLOT_FREE)
			continue; /* and stays untouched */
		slot = slot_at(slots, trials->slot_cursor);
		if (trials->state == TRIAL_ENDING)
			trial_slot_released(trials->helper, slot);
		if (trials->state == TRIAL_STARTING || trials->off)
			trial_slot_found(trials->helper, slot);
	}
	return trials->slot_cursor == slots_count(slots);
}

/* Slots first when it starts: what a session records from the moment it is told is not thrown away any more. */
static bool sweep(struct trials *trials)
{
	switch (trials->state) {
	case TRIAL_STARTING:
		return sweep_slots(trials) && sweep_sessions(trials);
	case TRIAL_ENDING:
		return sweep_sessions(trials) && sweep_slots(trials);
	default:
		return sweep_sessions(trials);
	}
}

/* ---- the course of a trial ---- */

const char *trial_state_name(enum trial_state state)
{
	static const char *const names[] = { "none", "starting", "running", "ending", "ended" };

	_Static_assert(sizeof(names) / sizeof(names[0]) == TRIAL_STATE_COUNT, "a name for each state");
	return names[state];
}

static void state_set(struct trials *trials, enum trial_state state)
{
	log_debug("trial %u: %s -> %s", trials->number, trial_state_name(trials->state), trial_state_name(state));
	trials->state = state;
}

static void log_end(const struct trials *trials, enum trial_end end)
{
	if (end == TRIAL_END_GUARD)
		log_info("trial %u: its guard has fired: what it selects is not accelerated until `smaccel trial stop`",
			 trials->number);
	else if (end == TRIAL_END_DURATION)
		log_info("trial %u: its time is over", trials->number);
	else if (end == TRIAL_END_SWITCH)
		log_info("trial %u: ended by the kill switch", trials->number);
}

/* Who has asked for the end is logged by the request. */
static void trial_finish(struct trials *trials, enum trial_end end)
{
	log_end(trials, end);
	trials->end = end;
	trials->ended_ns = loop_now_ns();
	clock_gettime(CLOCK_REALTIME, &trials->ended);
	trials->off = trials->fired = end == TRIAL_END_GUARD;
	state_set(trials, TRIAL_ENDING);
	sweep_begin(trials);
}

void trial_switched_off(struct helper *helper)
{
	if (trial_is_assigning(helper->trials))
		trial_finish(helper->trials, TRIAL_END_SWITCH);
}

static void collected(struct trials *trials)
{
	uint64_t now_ns = loop_now_ns();

	if (trial_watch(trials, now_ns))
		trial_finish(trials, TRIAL_END_GUARD);
	else if (trials->settings.duration_s &&
		 now_ns - trials->started_ns >= trials->settings.duration_s * LOOP_NS_PER_S)
		trial_finish(trials, TRIAL_END_DURATION);
	else
		loop_timer_set(trials->helper->loop, &trials->timer, now_ns + COLLECT_NS);
	trials->cursor = 0;
}

static void timer_expired(struct loop_timer *timer)
{
	struct trials *trials = loop_container(timer, struct trials, timer);

	if (!trial_is_collecting(trials))
		return;
	if (!sweep(trials)) {
		loop_timer_set(trials->helper->loop, timer, loop_now_ns() + SHARE_PAUSE_NS);
		return;
	}
	if (trials->state == TRIAL_STARTING) {
		latency_set_clear(&trials->scratch);
		state_set(trials, TRIAL_RUNNING);
		trials->cursor = 0;
		loop_timer_set(trials->helper->loop, timer, loop_now_ns() + COLLECT_NS);
	} else if (trials->state == TRIAL_RUNNING) {
		collected(trials);
	} else {
		trial_window_close(&trials->window);
		state_set(trials, TRIAL_ENDED);
	}
}

/* ---- requests ---- */

static bool may_ask(const struct request *request)
{
	return dispatch_is_privileged(request->creds.uid);
}

static void log_request(const struct request *request, const char *what)
{
	log_info("trial %u: %s by uid %u, pid %d", request->helper->trials->number, what, request->creds.uid,
		 request->creds.pid);
}

static bool is_same_selection(const struct wire_trial *a, const struct wire_trial *b)
{
	return a->port_h == b->port_h && a->uid == b->uid && !strncmp(a->comm, b->comm, sizeof(a->comm) - 1);
}

static int start(struct trials *trials, const struct wire_trial *settings)
{
	if (trial_is_assigning(trials))
		return -EBUSY;
	/* What the guard has turned off stays so, whatever else is begun: settings name only one selection. */
	if (trials->off && !is_same_selection(&trials->settings, settings))
		return -ECANCELED;
	if (trial_is_collecting(trials))
		return -EAGAIN;
	if (trials->helper->switches->off)
		return -ESHUTDOWN;
	if (!settings->accelerated_permyriad || settings->accelerated_permyriad >= 10000 ||
	    (settings->window_s && settings->window_s < WINDOW_THIRDS) || settings->guard_ppm >= 1000000 ||
	    settings->guard_permille > 1000000)
		return -EINVAL;
	if (getrandom(trials->key, sizeof(trials->key), 0) != sizeof(trials->key))
		return -errno;
	if (!trial_watch_begin(trials, settings))
		return -ENOMEM;
	clear_sets(trials);
	memset(trials->arms, 0, sizeof(trials->arms));
	memset(trials->unassigned, 0, sizeof(trials->unassigned));
	trials->settings = *settings;
	trials->settings.comm[sizeof(settings->comm) - 1] = '\0';
	trials->settings.window_s = trial_window_s(settings);
	trials->number = trials->number % NUMBER_MAX + 1;
	trials->end = TRIAL_END_NOT_YET;
	trials->off = trials->fired = false;
	trials->sessions_ended = 0;
	trials->started_ns = loop_now_ns();
	clock_gettime(CLOCK_REALTIME, &trials->started);
	state_set(trials, TRIAL_STARTING);
	sweep_begin(trials);
	return 0;
}

int trial_handle_start(struct request *request)
{
	int error = may_ask(request) ? start(request->helper->trials, &request->message.trial) : -EPERM;

	if (!error)
		log_request(request, "started");
	stats_reply(request->channel->source.fd, error);
	return 0;
}

/* Also takes back what the guard has turned off. */
static int stop(struct trials *trials)
{
	if (trial_is_assigning(trials)) {
		trial_finish(trials, TRIAL_END_STOPPED);
		return 0;
	}
	if (!trials->off)
		return -EALREADY;
	trials->off = false;
	if (trials->state == TRIAL_ENDED)
		state_set(trials, TRIAL_ENDING);
	sweep_begin(trials); /* who was kept out may come in: once more through all sessions */
	return 0;
}

int trial_handle_stop(struct request *request)
{
	int error = may_ask(request) ? stop(request->helper->trials) : -EPERM;

	if (!error)
		log_request(request, "stopped");
	stats_reply(request->channel->source.fd, error);
	return 0;
}

int trial_handle_report(struct request *request)
{
	struct trials *trials = request->helper->trials;
	struct session *session = sessions_first(request->helper->sessions);
	uint32_t budget = LATENCY_BUDGET_PAGES;

	if (!may_ask(request)) {
		stats_reply(request->channel->source.fd, -EPERM);
		return 0;
	}
	for (; session && trial_is_collecting(trials) && trials->state != TRIAL_STARTING; session = session->hh.next)
		collect(trials, session, &budget);
	/* Not in the child: the counters are shared memory, and a slot may be another pair's a moment later. */
	memset(trials->live, 0, sizeof(trials->live));
	trials->stuck = 0;
	for (struct slot *slot = slots_first(request->helper->slots); slot; slot = slot->used_next) {
		trials->stuck += slot->shared->pins && slot->shared->pin_reason == REASON_TRIAL_PLAIN;
		if (slot->trial == trials->number && trial_is_collecting(trials))
			trial_slot_sums(slot, &trials->live[slot->trial_arm]);
	}
	stats_reply_by_child(request, trial_report_text);
	return 0;
}
