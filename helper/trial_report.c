/* SPDX-License-Identifier: BSD-2-Clause */
/* What there is to say of a trial, as JSON for the command line. Made in a child process, from a snapshot: it may add to
 * what it finds. */
#include <inttypes.h>
#include <stdio.h>

#include "dispatch.h"
#include "helper.h"
#include "session.h"
#include "stats_internal.h"
#include "trial_internal.h"

static const char *end_name(enum trial_end end)
{
	static const char *const names[] = { "", "stopped", "duration", "guard", "kill switch" };

	_Static_assert(sizeof(names) / sizeof(names[0]) == TRIAL_END_COUNT, "a name for each end");
	return names[end];
}

static const char *seen_name(enum trial_seen seen)
{
	static const char *const names[] = { "nothing", "all", "window" };

	_Static_assert(sizeof(names) / sizeof(names[0]) == GUARD_SEEN_COUNT, "a name for each");
	return names[seen];
}

static void write_text(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text; text++)
		fputc(*text >= ' ' && *text < 0x7f && *text != '"' && *text != '\\' ? *text : '?', out);
	fputc('"', out);
}

static double seconds(const struct timespec *time)
{
	return (double)time->tv_sec + (double)time->tv_nsec / 1e9;
}

static void write_settings(const struct trials *trials, FILE *out)
{
	const struct wire_trial *settings = &trials->settings;

	fprintf(out, "\"settings\":{\"percent\":%g,\"duration_s\":%" PRIu32 ",\"port\":%u,\"comm\":",
		settings->accelerated_permyriad / 100.0, settings->duration_s, settings->port_h);
	write_text(settings->comm, out);
	if (settings->uid != WIRE_TRIAL_ANY_UID)
		fprintf(out, ",\"uid\":%" PRIu32, settings->uid);
	if (settings->guard_ppm)
		fprintf(out, ",\"guard\":{\"quantile\":%g,\"percent\":%g,\"window_s\":%u}", settings->guard_ppm / 1e6,
			settings->guard_permille / 10.0, settings->window_s);
	fputc('}', out);
}

static void write_arms(const struct trials *trials, FILE *out)
{
	fputs(",\"arms\":{", out);
	for (int arm = LATENCY_ACCELERATED; arm < LATENCY_ARM_COUNT; arm++) {
		const struct trial_arm *one = &trials->arms[arm];
		const struct sm_direction *live = &trials->live[arm];

		fprintf(out,
			"%s\"%s\":{\"pairs\":%" PRIu64 ",\"armed\":%" PRIu64 ",\"redirected_bytes\":%" PRIu64
			",\"redirected_msgs\":%" PRIu64 ",\"passed_bytes\":%" PRIu64 ",\"passed_msgs\":%" PRIu64 "}",
			arm == LATENCY_ACCELERATED ? "" : ",", latency_arm_name((unsigned)arm), one->assigned,
			one->armed, (uint64_t)(one->sums.redirected_bytes + live->redirected_bytes),
			(uint64_t)(one->sums.redirected_msgs + live->redirected_msgs),
			(uint64_t)(one->sums.passed_bytes + live->passed_bytes),
			(uint64_t)(one->sums.passed_msgs + live->passed_msgs));
	}
	fputc('}', out);
}

static void write_unassigned(const struct trials *trials, FILE *out)
{
	const char *separator = "";

	fputs(",\"unassigned\":{", out);
	for (unsigned reason = 0; reason < REASON_COUNT; reason++) {
		if (!trials->unassigned[reason])
			continue;
		fprintf(out, "%s\"%s\":%" PRIu64, separator, reason_name(reason),
			latency_json_count(trials->unassigned[reason]));
		separator = ",";
	}
	fputc('}', out);
}

json_t *trial_status(const struct helper *helper)
{
	const struct trials *trials = helper->trials;
	json_t *status =
		json_pack("{ss sb}", "state", trial_state_name(trials->state), "selection_off", (int)trials->off);

	if (trials->state >= TRIAL_ENDING)
		json_object_set_new(status, "ended_by", json_string(end_name(trials->end)));
	return status;
}

/* What is still running is added to the child's own copy of the sums. */
static void add_live(struct trials *trials)
{
	struct session *session = sessions_first(trials->helper->sessions);

	for (; session && trial_is_collecting(trials); session = session->hh.next)
		trial_connections_add_open(session);
}

static void write_set(const char *name, const struct latency_set *set, FILE *out)
{
	bool first = true;

	fprintf(out, ",\"%s\":[", name);
	latency_set_write(set, &first, out);
	fputc(']', out);
}

static void write_report(struct trials *trials, FILE *out)
{
	uint64_t until_ns = trial_is_assigning(trials) ? loop_now_ns() : trials->ended_ns;

	fprintf(out, "{\"state\":\"%s\"", trial_state_name(trials->state));
	if (trials->state == TRIAL_NONE) {
		fputc('}', out);
		return;
	}
	add_live(trials);
	fprintf(out,
		",\"ended_by\":\"%s\",\"guard_fired\":%s,\"guard_saw\":\"%s\",\"selection_off\":%s,\"number\":%" PRIu32
		",\"started\":%.3f,\"elapsed_s\":%.3f,",
		end_name(trials->end), trials->fired ? "true" : "false", seen_name(trials->seen),
		trials->off ? "true" : "false", trials->number, seconds(&trials->started),
		(double)(until_ns - trials->started_ns) / 1e9);
	write_settings(trials, out);
	write_arms(trials, out);
	write_unassigned(trials, out);
	/* Lost by processes, perhaps of one arm; and those of the ports that the helper has no room for. */
	fprintf(out,
		",\"stuck_pairs\":%" PRIu64 ",\"processes_ended\":%" PRIu64 ",\"latencies_lost\":%" PRIu64
		",\"latencies_left_out\":%" PRIu64 ",\"connections_left_out\":%" PRIu64,
		trials->stuck, trials->sessions_ended, latency_json_count(trials->requests.unrecorded),
		latency_json_count(trials->requests.lost), latency_json_count(trials->connections.lost));
	write_set("requests", &trials->requests, out);
	write_set("parts", &trials->parts, out);
	write_set("connections", &trials->connections, out);
	fputc('}', out);
}

char *trial_report_text(const struct request *request)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	if (!out)
		return NULL;
	write_report(request->helper->trials, out);
	return fclose(out) ? NULL : text;
}
