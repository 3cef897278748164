/* SPDX-License-Identifier: BSD-2-Clause */
/* The window of a trial's guard: see trial_window.h.
 *
 * What was recorded between two moments is the difference of what had been recorded until then. A snapshot is kept each ninth of
 * the window, but not more often than the guard looks, which is each second; so each third is up to a ninth of the window, or a second,
 * longer than it was asked to be.
 *
 * Why thirds: the guard looks again and again, for days, and some seconds of hard work on the connections of one arm would show as a
 * difference of the arms. In each third, it must have lasted longer than one of them (of two halves, a short one across the middle
 * would reach both). The thirds are no three independent witnesses: they may be the same connections.
 */
#include "trial_window.h"

#include <string.h>
#include <sys/mman.h>

#define SNAPSHOTS_A_WINDOW 9u

bool trial_window_open(struct trial_window *window, uint64_t length_ns)
{
	void *memory;

	trial_window_close(window);
	memory = mmap(NULL, TRIAL_SNAPSHOTS * sizeof(struct trial_snapshot), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	madvise(memory, TRIAL_SNAPSHOTS * sizeof(struct trial_snapshot),
		MADV_NOHUGEPAGE); /* few of its pages are used */
	*window = (struct trial_window){ .length_ns = length_ns, .snapshots = memory };
	return true;
}

void trial_window_close(struct trial_window *window)
{
	if (window->snapshots)
		munmap(window->snapshots, TRIAL_SNAPSHOTS * sizeof(struct trial_snapshot));
	window->snapshots = NULL;
}

/* What came between; earlier NULL: all. The greatest value of it is not known: that of all does no harm but to a quantile that is the
 * maximum. Writes only what differs: most buckets are 0 for ever. */
static void difference(struct histogram *out, const struct histogram *later, const struct histogram *earlier)
{
	static const struct histogram nothing;

	later = later ? later : &nothing;
	earlier = earlier ? earlier : &nothing;
	if (out->count || later->count > earlier->count)
		for (uint32_t index = 0; index < HISTOGRAM_BUCKETS; index++) {
			uint64_t count = later->counts[index] - earlier->counts[index];

			if (out->counts[index] != count)
				out->counts[index] = count;
		}
	out->count = later->count - earlier->count;
	out->sum_ns = later->sum_ns - earlier->sum_ns;
	out->max_ns = later->max_ns;
}

void trial_window_note(struct trial_window *window, uint64_t now_ns, unsigned role,
		       const struct guard_arm arms[WINDOW_ARMS])
{
	struct trial_snapshot *snapshot = window->snapshots ? &window->snapshots[window->newest] : NULL;

	if (!snapshot)
		return;
	if (window->role != role) {
		for (unsigned i = 0; i < TRIAL_SNAPSHOTS; i++)
			window->snapshots[i].at_ns = 0;
		window->role = role;
	}
	if (snapshot->at_ns && now_ns - snapshot->at_ns < window->length_ns / SNAPSHOTS_A_WINDOW)
		return;
	window->newest = (window->newest + 1) % TRIAL_SNAPSHOTS;
	snapshot = &window->snapshots[window->newest];
	snapshot->at_ns = now_ns;
	for (unsigned arm = 0; arm < WINDOW_ARMS; arm++)
		for (unsigned i = 0; i < LATENCY_PARTS; i++)
			difference(&snapshot->parts[arm][i], arms[arm].parts[i], NULL);
}

/* The youngest that is at least so old; NULL: there is none. */
static const struct trial_snapshot *snapshot_before(const struct trial_window *window, uint64_t now_ns, uint64_t age_ns)
{
	const struct trial_snapshot *found = NULL;

	for (unsigned i = 0; window->snapshots && i < TRIAL_SNAPSHOTS; i++) {
		const struct trial_snapshot *one = &window->snapshots[i];

		if (one->at_ns && now_ns - one->at_ns >= age_ns && (!found || one->at_ns > found->at_ns))
			found = one;
	}
	return found;
}

static bool is_worse_since(const struct trial_snapshot *earlier, const struct guard_arm later[WINDOW_ARMS], double part,
			   double percent)
{
	/* Too large for the stack; the helper has one thread. */
	static struct histogram between[WINDOW_ARMS][LATENCY_PARTS];
	struct guard_arm arms[WINDOW_ARMS];

	for (unsigned arm = 0; arm < WINDOW_ARMS; arm++)
		for (unsigned i = 0; i < LATENCY_PARTS; i++) {
			difference(&between[arm][i], later[arm].parts[i], &earlier->parts[arm][i]);
			arms[arm].parts[i] = &between[arm][i];
		}
	return trial_guard_is_worse(&arms[WINDOW_ACCELERATED], &arms[WINDOW_PLAIN], part, percent);
}

bool trial_window_is_worse(const struct trial_window *window, uint64_t now_ns, const struct guard_arm arms[WINDOW_ARMS],
			   double part, double percent)
{
	struct guard_arm later[WINDOW_ARMS] = { arms[WINDOW_ACCELERATED], arms[WINDOW_PLAIN] };
	uint64_t age_ns = 0;

	for (unsigned third = 0; third < WINDOW_THIRDS; third++) {
		const struct trial_snapshot *earlier =
			snapshot_before(window, now_ns, age_ns + window->length_ns / WINDOW_THIRDS);

		if (!earlier || !is_worse_since(earlier, later, part, percent))
			return false;
		age_ns = now_ns - earlier->at_ns;
		for (unsigned arm = 0; arm < WINDOW_ARMS; arm++)
			for (unsigned i = 0; i < LATENCY_PARTS; i++)
				later[arm].parts[i] = &earlier->parts[arm][i];
	}
	return true;
}
