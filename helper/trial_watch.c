/* SPDX-License-Identifier: BSD-2-Clause */
/* What a trial's guard is shown, each second: all requests since the trial began, and those of the last so many seconds. The first sees
 * small differences sooner, the second those that begin late. */
#include "trial_internal.h"

#define WINDOW_DEFAULT_S 60u

uint16_t trial_window_s(const struct wire_trial *settings)
{
	return settings->window_s ? settings->window_s : WINDOW_DEFAULT_S;
}

bool trial_watch_begin(struct trials *trials, const struct wire_trial *settings)
{
	trials->seen = GUARD_SAW_NOTHING;
	trial_window_close(&trials->window);
	return !settings->guard_ppm || trial_window_open(&trials->window, trial_window_s(settings) * LOOP_NS_PER_S);
}

static struct guard_arm arm_of(const struct latency_set *parts, enum latency_role role, enum latency_arm arm)
{
	struct guard_arm out = { .parts = { NULL } };

	for (uint32_t i = 0; i < parts->count; i++) {
		uint32_t key = parts->entries[i].key;

		if (latency_key_role(key) == role && latency_key_arm(key) == arm)
			out.parts[latency_key_part(key)] = parts->entries[i].histogram;
	}
	return out;
}

/* The clients' side if anything was recorded there, else the servers'. */
static enum latency_role main_role(const struct trials *trials)
{
	for (uint32_t i = 0; i < trials->requests.count; i++)
		if (latency_key_role(trials->requests.entries[i].key) == LATENCY_CLIENT &&
		    trials->requests.entries[i].histogram->count)
			return LATENCY_CLIENT;
	return LATENCY_SERVER;
}

bool trial_watch(struct trials *trials, uint64_t now_ns)
{
	double part = trials->settings.guard_ppm / 1e6, percent = trials->settings.guard_permille / 10.0;
	enum latency_role role = main_role(trials);
	const struct guard_arm arms[] = {
		[WINDOW_ACCELERATED] = arm_of(&trials->parts, role, LATENCY_ACCELERATED),
		[WINDOW_PLAIN] = arm_of(&trials->parts, role, LATENCY_PLAIN),
	};

	if (!trials->settings.guard_ppm)
		return false;
	trial_window_note(&trials->window, now_ns, role, arms);
	if (trials->arms[LATENCY_ACCELERATED].assigned < GUARD_CONNECTIONS_MIN ||
	    trials->arms[LATENCY_PLAIN].assigned < GUARD_CONNECTIONS_MIN)
		return false;
	if (trial_guard_is_worse(&arms[WINDOW_ACCELERATED], &arms[WINDOW_PLAIN], part, percent))
		trials->seen = GUARD_SAW_ALL;
	else if (trial_window_is_worse(&trials->window, now_ns, arms, part, percent))
		trials->seen = GUARD_SAW_WINDOW;
	return trials->seen != GUARD_SAW_NOTHING;
}
