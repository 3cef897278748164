/* SPDX-License-Identifier: BSD-2-Clause */
/* What a trial's guard is shown, each second: all requests since the trial began, and those of the last so many seconds. The first sees
 * small differences sooner, the second those that begin late. */
#include <string.h>

#include "trial_guard.h"
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

/* Moves to `out` what all series of that role and arm hold. out is zeroed first. */
static void sum(const struct latency_set *set, enum latency_role role, enum latency_arm arm, struct histogram *out)
{
	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < set->count; i++)
		if (latency_key_role(set->entries[i].key) == role && latency_key_arm(set->entries[i].key) == arm)
			histogram_merge(out, set->entries[i].histogram);
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
	static struct histogram accelerated, plain; /* too large for the stack */
	const struct histogram *const arms[] = { [WINDOW_ACCELERATED] = &accelerated, [WINDOW_PLAIN] = &plain };
	double part = trials->settings.guard_ppm / 1e6, percent = trials->settings.guard_permille / 10.0;
	enum latency_role role = main_role(trials);

	if (!trials->settings.guard_ppm)
		return false;
	sum(&trials->requests, role, LATENCY_ACCELERATED, &accelerated);
	sum(&trials->requests, role, LATENCY_PLAIN, &plain);
	trial_window_note(&trials->window, now_ns, role, arms);
	if (trial_guard_is_worse(&accelerated, &plain, part, percent))
		trials->seen = GUARD_SAW_ALL;
	else if (trial_window_is_worse(&trials->window, now_ns, arms, part, percent))
		trials->seen = GUARD_SAW_WINDOW;
	return trials->seen != GUARD_SAW_NOTHING;
}
