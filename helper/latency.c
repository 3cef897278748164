/* SPDX-License-Identifier: BSD-2-Clause */
/* Latencies: see latency.h, and wire/latency.h for what the process does.
 *
 * Counts are exchanged for 0, so that each is seen exactly once while the process goes on counting. What is in the memory may be
 * anything: keys become names of series and nothing else, counts are capped, and pages that the process has never touched
 * are not looked at, so that a client cannot make the helper fill its memory.
 */
#include "latency.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <unistd.h>

#include "policy.h"
#include "session.h"
#include "wire/latency.h"

#define COUNT_MAX (UINT64_C(1) << 40)
#define JSON_COUNT_MAX ((uint64_t)INT64_MAX) /* more is no number to jansson */
#define COUNTS_A_PAGE (SESSION_PAGE_BYTES / sizeof(uint64_t))

const char *latency_arm_name(unsigned arm)
{
	static const char *const names[] = {
		[LATENCY_ALL] = "all", [LATENCY_ACCELERATED] = "accelerated", [LATENCY_PLAIN] = "plain"
	};
	_Static_assert(sizeof(names) / sizeof(names[0]) == LATENCY_ARM_COUNT, "a name for each arm");

	return arm < LATENCY_ARM_COUNT ? names[arm] : "unknown";
}

void latency_set_init(struct latency_set *set, struct policy *policy, uint32_t uid)
{
	*set = (struct latency_set){ .policy = policy, .uid = uid };
}

void latency_set_init_trial(struct latency_set *set)
{
	*set = (struct latency_set){ .policy = NULL };
}

static int charge(const struct latency_set *set)
{
	return set->policy ? policy_take(set->policy, set->uid, POLICY_HISTOGRAMS) : 0;
}

static void give_back(const struct latency_set *set)
{
	if (set->policy)
		policy_give(set->policy, set->uid, POLICY_HISTOGRAMS);
}

void latency_set_clear(struct latency_set *set)
{
	for (uint32_t i = 0; i < set->count; i++) {
		munmap(set->entries[i].histogram, sizeof(struct histogram));
		give_back(set);
	}
	set->count = 0;
	set->lost = set->unrecorded = 0;
}

static struct histogram *histogram_find(const struct latency_set *set, uint32_t key)
{
	for (uint32_t i = 0; i < set->count; i++)
		if (set->entries[i].key == key)
			return set->entries[i].histogram;
	return NULL;
}

static struct histogram *histogram_make(struct latency_set *set, uint32_t key)
{
	struct histogram *histogram;
	int error;

	if (set->count == LATENCY_SET_MAX)
		return NULL;
	error = charge(set);
	if (error == -EDQUOT && set->make_room && set->make_room(set))
		error = charge(set);
	if (error)
		return NULL;
	/* By mmap: only the pages of durations that occur come to exist. */
	histogram = mmap(NULL, sizeof(*histogram), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (histogram == MAP_FAILED) {
		give_back(set);
		return NULL;
	}
	set->entries[set->count].key = key;
	set->entries[set->count++].histogram = histogram;
	return histogram;
}

static void newest_drop(struct latency_set *set)
{
	munmap(set->entries[--set->count].histogram, sizeof(struct histogram));
	give_back(set);
}

/* Both arms or neither: one alone has nothing to be compared with, and the arms would be of different ports. */
static struct histogram *arms_make(struct latency_set *set, uint32_t key)
{
	enum latency_arm other = latency_key_arm(key) == LATENCY_PLAIN ? LATENCY_ACCELERATED : LATENCY_PLAIN;
	struct histogram *histogram = histogram_make(set, key);

	if (!histogram || histogram_make(set, latency_key(latency_key_role(key), other, latency_key_part(key),
							  latency_key_port(key))))
		return histogram;
	newest_drop(set);
	return NULL;
}

struct histogram *latency_set_get(struct latency_set *set, uint32_t key)
{
	struct histogram *histogram = histogram_find(set, key);

	if (histogram)
		return histogram;
	return !set->policy && latency_key_arm(key) != LATENCY_ALL ? arms_make(set, key) : histogram_make(set, key);
}

uint64_t latency_json_count(uint64_t count)
{
	return count < JSON_COUNT_MAX ? count : JSON_COUNT_MAX;
}

void latency_write_buckets(const struct histogram *histogram, FILE *out)
{
	const char *separator = "[";

	for (uint32_t index = 0; index < HISTOGRAM_BUCKETS; index++) {
		if (!histogram->counts[index])
			continue;
		fprintf(out, "%s[%" PRIu32 ",%" PRIu64 "]", separator, index,
			latency_json_count(histogram->counts[index]));
		separator = ",";
	}
	fputs(*separator == '[' ? "[]" : "]", out);
}

void latency_set_write(const struct latency_set *set, bool *first, FILE *out)
{
	for (uint32_t i = 0; i < set->count; i++) {
		const struct histogram *histogram = set->entries[i].histogram;
		uint32_t key = set->entries[i].key;

		if (!histogram->count) /* the other arm has some */
			continue;
		fprintf(out,
			"%s{\"role\":\"%s\",\"port\":%u,\"arm\":\"%s\",\"part\":%u,\"count\":%" PRIu64
			",\"sum_ns\":%" PRIu64 ",\"max_ns\":%" PRIu64 ",\"buckets\":",
			*first ? "" : ",", latency_key_role(key) == LATENCY_CLIENT ? "client" : "server",
			latency_key_port(key), latency_arm_name(latency_key_arm(key)), latency_key_part(key),
			latency_json_count(histogram->count), latency_json_count(histogram->sum_ns),
			latency_json_count(histogram->max_ns));
		latency_write_buckets(histogram, out);
		fputc('}', out);
		*first = false;
	}
}

uint64_t latency_take(_Atomic uint64_t *counter)
{
	uint64_t count = atomic_load_explicit(counter, memory_order_relaxed);

	if (!count) /* a page that was only read is not written */
		return 0;
	count = atomic_exchange_explicit(counter, 0, memory_order_relaxed);
	return count < COUNT_MAX ? count : COUNT_MAX;
}

enum { TO_GROUP, TO_TRIAL, TO_PARTS, DESTINATIONS };

/* Where a series goes. Not before something is in it: the names of earlier trials' series stay in a process's memory, and would take the
 * room of those of this one. */
struct destinations {
	bool are_known;
	struct destination {
		struct latency_set *set; /* NULL: nowhere */
		uint32_t key;
		struct histogram *histogram; /* once they are known; NULL: no room */
	} each[DESTINATIONS];
};

static void find_histograms(struct destinations *to)
{
	if (to->are_known)
		return;
	to->are_known = true;
	for (int i = 0; i < DESTINATIONS; i++) {
		struct destination *one = &to->each[i];

		if (i == TO_PARTS && !to->each[TO_TRIAL].histogram)
			one->set = NULL; /* together they are what the trial's set has */
		one->histogram = one->set ? latency_set_get(one->set, one->key) : NULL;
	}
}

static void deliver(struct destinations *to, uint32_t index, uint64_t count)
{
	find_histograms(to);
	for (int i = 0; i < DESTINATIONS; i++) {
		struct destination *one = &to->each[i];

		if (one->histogram)
			histogram_add_counts(one->histogram, index, count);
		else if (one->set)
			one->set->lost += count;
	}
}

static void deliver_sum(struct destinations *to, uint64_t sum_ns, uint64_t max_ns)
{
	if (!sum_ns && !max_ns)
		return;
	find_histograms(to);
	for (int i = 0; i < DESTINATIONS; i++)
		if (to->each[i].histogram)
			histogram_add_sum(to->each[i].histogram, sum_ns, max_ns);
}

/* The pages of one series that exist. False: the budget is used up. */
static bool drain_counts(struct session *session, uint32_t which, struct destinations *to, uint32_t *budget)
{
	struct latency_memory *memory = session_latency(session);
	const off_t begin = LATENCY_OFFSET + (off_t)((char *)memory->counts[which] - (char *)memory);
	const off_t end = begin + (off_t)sizeof(memory->counts[which]);
	off_t at = begin;

	while ((at = lseek(session->memory_fd, at, SEEK_DATA)) >= begin && at < end) {
		uint32_t first = (uint32_t)((at - begin) / (off_t)sizeof(uint64_t));

		if (!*budget)
			return false;
		--*budget;
		for (uint32_t i = first; i < first + COUNTS_A_PAGE && i < HISTOGRAM_BUCKETS; i++) {
			uint64_t count = latency_take(&memory->counts[which][i]);

			if (count)
				deliver(to, i, count);
		}
		at += SESSION_PAGE_BYTES;
	}
	return true;
}

static bool drain_series(struct session *session, uint32_t which, const struct latency_sinks *sinks, uint32_t *budget)
{
	struct latency_series *series = &session_latency(session)->series[which];
	uint32_t key = atomic_load(&series->key), whole = latency_key_of_all_parts(key);
	bool in_arm = latency_key_arm(key) != LATENCY_ALL;
	struct destinations to = { .each = { [TO_GROUP] = { .set = sinks->group, .key = whole },
					     [TO_TRIAL] = { .set = in_arm ? sinks->trial : NULL, .key = whole },
					     [TO_PARTS] = { .set = in_arm ? sinks->parts : NULL,
							    .key = latency_key_of_all_ports(key) } } };
	uint64_t sum_ns, max_ns;

	if (!(key & LATENCY_KEY_USED) || latency_key_arm(key) >= LATENCY_ARM_COUNT || key & LATENCY_KEY_UNUSED_BITS)
		return true;
	if (!to.each[TO_GROUP].set && !to.each[TO_TRIAL].set)
		return true;
	sum_ns = atomic_exchange_explicit(&series->sum_ns, 0, memory_order_relaxed);
	max_ns = atomic_exchange_explicit(&series->max_ns, 0, memory_order_relaxed);
	deliver_sum(&to, sum_ns, max_ns < HISTOGRAM_VALUE_MAX ? max_ns : HISTOGRAM_VALUE_MAX);
	return drain_counts(session, which, &to, budget);
}

bool latency_drain(struct session *session, const struct latency_sinks *sinks, uint32_t *budget)
{
	struct latency_memory *memory = session_latency(session);
	uint64_t unrecorded;
	bool complete = true;

	if (!memory || (!sinks->group && !sinks->trial))
		return true;
	for (uint32_t i = 0; i < LATENCY_SERIES && complete; i++)
		complete = drain_series(session, i, sinks, budget);
	unrecorded = latency_take(&memory->unrecorded);
	if (sinks->group)
		sinks->group->unrecorded += unrecorded;
	if (sinks->trial)
		sinks->trial->unrecorded += unrecorded;
	return complete;
}
